"""The kernel that needs least: width and amplitude by gradient of the bits, on a split that reports nothing.

The gradient avoids eigenvectors, whose derivatives break where eigenvalues coincide. At the saddlepoint the bits are

    I = s q - K(s) - log B,   K(s) = -k/2 log det(I - 2 s S) + s tr d' (I - 2 s S)^-1 d,

and ``K'(s) = q`` makes the exponent stationary in ``s``: its gradient is that of the log-determinant at a fixed
``s``. The prefactor ``B = e^{l^2/2} Phi(-l)``, ``l = |s| sqrt(K'')``, follows with one Newton step of ``s``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lab import checks
from lab.inductive_bias.laws import LOG2
from lab.inductive_bias.saddlepoint import SQRT2
from lab.inductive_bias.task import Task


def bits(mean, covariance, targets, eps: float) -> torch.Tensor:
    """Required bits of ``N(mean, covariance)`` per output against ``targets (n, k)``, first-order saddlepoint, differentiable.

    Args:
        mean: ``(n, k)``; covariance: ``(n, n)`` positive semidefinite; gradients flow through both.
        eps: mean squared error, below the mean loss.

    Raises:
        ValueError: ``eps`` at or above the mean loss, where no bits are required.
    """
    errors = mean - targets
    n, k = errors.shape
    q = eps * n * k
    if float((k * covariance.diagonal().sum() + (errors**2).sum()).detach()) <= q:
        raise ValueError(f"eps must lie below the mean loss, got {eps}")
    s = _saddle(covariance.detach(), errors.detach(), q)
    _, first, second = _cumulants(covariance, errors, s)
    s = s + (q - first) / second
    value, _, second = _cumulants(covariance, errors, s)
    l = -s * second.sqrt()
    prefactor = torch.log(0.5 * torch.special.erfcx(l / SQRT2))
    return (s * q - value - prefactor) / LOG2


@dataclass(frozen=True)
class LeastBits:
    """What the search found: the parameters, the bits on its own split before and after, and the path."""

    width: float
    amplitude: float
    before: float
    after: float
    path: tuple[float, ...]


def least_bits_kernel(
    task: Task,
    eps: float,
    *,
    width: float | None = None,
    amplitude: float = 1.0,
    noise: float = 1e-6,
    steps: int = 60,
    rate: float = 0.1,
    kernel: Callable | None = None,
) -> LeastBits:
    """Width and amplitude of an RBF that need the fewest bits on ``task``, by Adam on their logarithms.

    Test labels enter the bits: report on another split than the one that this search saw, or the number is a leak.
    ``kernel(squared_distance, width)`` replaces the RBF.
    """
    from lab.inductive_bias.covariances import _flat, _squared_distances, median_distance

    checks.integer("steps", steps, low=1)
    start = (
        median_distance(task.train_inputs) if width is None else checks.number("width", width, low=0.0, open_low=True)
    )
    logs = torch.tensor([math.log(start), math.log(amplitude)], dtype=torch.float64, requires_grad=True)
    x, u = _flat(task.train_inputs), _flat(task.test_inputs)
    squared = [_squared_distances(a, b) for a, b in ((x, x), (x, u), (u, u))]
    shape = kernel or (lambda d, w: torch.exp(-d / (2 * w**2)))
    optimizer = torch.optim.Adam([logs], lr=rate)
    path, best = [], (math.inf, start, amplitude)
    for _ in range(steps):
        w, a = logs.exp()
        k_tt, k_ts, k_ss = (a * shape(d, w) for d in squared)
        factor, info = torch.linalg.cholesky_ex(k_tt + noise * a * torch.eye(len(x), dtype=x.dtype))
        if int(info) != 0:
            break
        whitened = torch.linalg.solve_triangular(factor, torch.cat([k_ts, task.train_targets], 1), upper=False)
        inner, labels = whitened[:, : len(u)], whitened[:, len(u) :]
        try:
            value = bits(inner.T @ labels, k_ss - inner.T @ inner, task.test_targets, eps)
        except ValueError:
            # every hypothesis passes on average: nothing is left to save
            path.append(0.0)
            best = (0.0, float(w.detach()), float(a.detach()))
            break
        if not math.isfinite(float(value.detach())):
            break
        path.append(float(value.detach()))
        if path[-1] < best[0]:
            best = (path[-1], float(w.detach()), float(a.detach()))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    if not path:
        raise ValueError("the covariance of the training points is singular at the starting width; raise noise")
    return LeastBits(best[1], best[2], path[0], best[0], tuple(path))


def _cumulants(covariance, errors, s):
    """``K, K', K''`` from one factorization of ``M = I - 2 s S``."""
    n, k = errors.shape
    identity = torch.eye(n, dtype=covariance.dtype)
    factor = torch.linalg.cholesky(identity - 2 * s * covariance)
    solved = torch.cholesky_solve(torch.cat([covariance, errors], 1), factor)
    inner, pulled = solved[:, :n], solved[:, n:]
    value = -k * factor.diagonal().log().sum() + s * (errors * pulled).sum()
    # d/ds of s e' M^-1 e is e' M^-2 e
    first = k * inner.diagonal().sum() + (pulled**2).sum()
    second = 2 * k * (inner * inner.T).sum() + 4 * (pulled * (inner @ pulled)).sum()
    return value, first, second


def _saddle(covariance, errors, q):
    """The root of ``K'(s) = q`` below zero, from one eigendecomposition without gradients."""
    from lab.inductive_bias.saddlepoint import saddle

    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(1e-14 * float(values[-1]))
    shifts = ((vectors.T @ errors) ** 2).sum(1)
    return saddle(values, shifts, errors.shape[1], torch.tensor([q], dtype=torch.float64))[0]
