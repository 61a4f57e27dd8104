"""Distribution of a weighted sum of non-central chi-squares, in log space and to rounding at any depth.

``Q = sum_i w_i chi2'_{m_i}(d_i / w_i)``: weights ``w_i > 0``, degrees of freedom ``m_i > 0`` (real), and ``d_i >= 0``,
the non-centrality times the weight. :func:`chi_square_tail` gives ``log P(Q <= q)``, ``log P(Q > q)``, the log density.

Its cumulant generating function is ``K(s) = sum_i -m_i/2 log(1 - 2 s w_i) + s d_i / (1 - 2 s w_i)``, and

    P(Q <= q) = 1/(2 pi i) int e^{K(s) - s q} / (-s) ds        on a contour left of 0,
    P(Q > q)  = 1/(2 pi i) int e^{K(s) - s q} / s ds           between 0 and 1 / (2 max w).

The contour runs through the saddlepoint ``K'(s) = q`` along the hyperbola ``s + sigma (i sinh t + b (cosh t - 1))``,
which opens to the right around the branch cut; the trapezoid rule converges exponentially on it. Absolute-accuracy
methods (Imhof 1961, Davies 1980) lose all digits below 1e-12; here the relative error is that of the exponent.

Source: H. E. Daniels, 'Saddlepoint Approximations in Statistics', Annals of Mathematical Statistics 1954 (saddlepoint);
A. Talbot, 'The Accurate Numerical Inversion of Laplace Transforms', IMA Journal of Applied Mathematics 1979 (contour).
"""

from __future__ import annotations

import math
import numbers
from typing import NamedTuple

import torch

from lab import checks


class Tail(NamedTuple):
    """Natural logarithms at each threshold, float64 tensors of the shape of ``q``; ``saddle`` is the saddlepoint."""

    log_cdf: torch.Tensor
    log_survival: torch.Tensor
    log_density: torch.Tensor
    saddle: torch.Tensor


def chi_square_tail(weights, shifts, dof, q, *, backend: str = "cpu") -> Tail:
    """``log P(Q <= q)``, ``log P(Q > q)`` and ``log f(q)`` of ``Q = sum_i w_i chi2'_{m_i}(d_i / w_i)``.

    Args:
        weights: ``(n,)`` positive weights ``w``.
        shifts: ``(n,)`` shifts ``d >= 0`` (squared lengths of the means), or one number for all.
        dof: ``(n,)`` degrees of freedom ``m > 0``, or one number for all.
        q: thresholds of any shape; ``q <= 0`` has probability zero.
        backend: ``"cpu"`` (compiled, about 0.4 ms at 1000 weights) or ``"reference"`` (torch, complex logarithms).

    Raises:
        ValueError: a weight or degree of freedom that is not positive, a negative shift, sizes that differ.

    The relative error of ``log_cdf`` is about 1e-14 from 0.01 to 10,000 nats; where ``P`` is near one, ``log_cdf`` is
    computed from the upper tail and keeps its relative accuracy.
    """
    checks.choice("backend", backend, ("cpu", "reference"))
    weights = checks.tensor("weights", weights, ndim=1).detach().to("cpu", torch.float64).contiguous()
    shifts = _per_weight("shifts", shifts, weights)
    dof = _per_weight("dof", dof, weights)
    thresholds = checks.tensor("q", q, empty=True).detach().to("cpu", torch.float64)
    if not bool((weights > 0).all()):
        raise ValueError(f"weights must be positive, got a minimum of {float(weights.min())}")
    if not bool((dof > 0).all()):
        raise ValueError(f"dof must be positive, got a minimum of {float(dof.min())}")
    if not bool((shifts >= 0).all()):
        raise ValueError(f"shifts must not be negative, got a minimum of {float(shifts.min())}")
    flat = thresholds.reshape(-1).contiguous()
    scale = float(weights.max())
    normal = (weights / scale, shifts / scale, dof, flat / scale)
    if backend == "cpu":
        from lab.kernels.chi_square.cpu import tails

        columns = torch.from_numpy(tails(*(part.numpy() for part in normal)))
    else:
        from lab.kernels.chi_square.reference import tails

        columns = tails(*normal)
    log_cdf, log_survival, log_density, saddle = columns.T.reshape(4, *thresholds.shape)
    return Tail(log_cdf, log_survival, log_density - math.log(scale), saddle / scale)


def _per_weight(name, value, weights):
    if isinstance(value, numbers.Real):
        return torch.full_like(weights, checks.number(name, value))
    value = checks.tensor(name, value, ndim=1).detach().to("cpu", torch.float64)
    checks.same_shape("weights", weights, name, value)
    return value.contiguous()
