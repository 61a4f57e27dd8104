"""Measures that stand near the required bits: marginal likelihood, prequential code length, held-out loss, the 2023 bound.

Sources: A. P. Dawid, 'Present Position and Potential Developments: The Prequential Approach', Journal of the Royal
Statistical Society A 1984; L. Blier, Y. Ollivier, 'The Description Length of Deep Learning Models', NeurIPS 2018;
A. Boopathy et al., 'Model-agnostic Measure of Generalization Difficulty', ICML 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lab import checks
from lab.inductive_bias.kernel_space import KernelSpace
from lab.inductive_bias.laws import LOG2
from lab.inductive_bias.task import Task


def kernel_measures(space: KernelSpace, task: Task) -> dict[str, float]:
    """``evidence_bits`` and ``prequential_bits`` of the training labels and ``held_out_loss`` of the posterior mean.

    Bits of continuous labels are differential: they depend on the labels' unit and may be negative; differences between
    spaces on one task do not.
    """
    posterior = space.condition(task)
    return {
        "evidence_bits": -posterior.meta["log_marginal_likelihood"] / LOG2,
        "prequential_bits": prequential_bits(space, task),
        "held_out_loss": float(task.losses(posterior.mean[None])[0]),
        "cross_validation_loss": leave_one_out_loss(space, task),
    }


def prequential_bits(space: KernelSpace, task: Task, *, blocks: int = 8) -> float:
    """Code length of the training labels when each block is predicted from the blocks before it.

    ``-sum_b log2 p(Y_b | Y_1, ..., Y_{b-1})`` with hyperparameters (amplitude, median width) refitted before each
    block, as a predictor in sequence has to; the first block is coded with amplitude one. With fixed hyperparameters
    it equals the marginal likelihood exactly, by the chain rule.
    """
    checks.integer("blocks", blocks, low=2)
    edges = torch.linspace(0, task.n_train, min(blocks, task.n_train) + 1).round().long().tolist()
    total = 0.0
    for start, stop in zip(edges[:-1], edges[1:]):
        x, y = task.train_inputs[start:stop], task.train_targets[start:stop]
        if start == 0:
            covariance = _resolved(space, x)
            matrix = covariance(x, x)
            amplitude = 1.0 if space.amplitude == "marglik" else space.amplitude
            mean = torch.zeros_like(y)
            covariance_matrix = amplitude * (matrix + space.noise * torch.eye(len(x), dtype=x.dtype))
        else:
            part = task.replaced(
                train_inputs=task.train_inputs[:start],
                train_targets=task.train_targets[:start],
                test_inputs=x,
                test_targets=y,
            )
            posterior = space.condition(part)
            if not posterior.fits_training:
                return math.inf
            mean = posterior.mean
            noise = posterior.meta["amplitude"] * space.noise
            covariance_matrix = posterior.covariance + noise * torch.eye(len(x), dtype=x.dtype)
        total += _negative_log_density(y - mean, covariance_matrix)
    return total / LOG2


def leave_one_out_loss(space: KernelSpace, task: Task) -> float:
    """Mean squared leave-one-out error of the posterior mean on the training set, ``[K^-1 y]_i / [K^-1]_ii``.

    Source: Rasmussen, Williams, 'Gaussian Processes for Machine Learning', 2006, eq. 5.12.
    """
    covariance = _resolved(space, task.train_inputs)
    matrix = covariance(task.train_inputs, task.train_inputs)
    matrix = matrix + space.noise * torch.eye(task.n_train, dtype=matrix.dtype)
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info) != 0:
        return math.nan
    inverse = torch.cholesky_inverse(factor)
    return float(((inverse @ task.train_targets / inverse.diagonal()[:, None]) ** 2).mean())


@dataclass(frozen=True)
class Bound:
    """An upper bound on the required bits, kept as its logarithm because it overflows in practice."""

    log10_bits: float
    functions: float
    parameters: float

    @property
    def bits(self) -> float:
        return 10**self.log10_bits if self.log10_bits < 300 else math.inf


def bound_2023(
    *,
    dimension: int,
    n_train: int,
    eps: float,
    radius: float,
    resolution: float,
    outputs: int = 1,
    combinations: int = 1,
    amplitude: float = 1.0,
) -> Bound:
    """The same group's earlier measure: band-limited functions on a sphere, a Lipschitz ball around the true one.

    ``bits <= (P - n d) log2( b sqrt(d c) (L / eps) W )``: ``P = 2 d c E`` parameters, ``E`` the number of spherical
    harmonics on the ``m``-sphere up to the frequency ``2 pi radius / resolution``, ``L`` the Lipschitz constant of
    that frequency, ``W`` the distance from a test point to the nearest of ``n`` training points. It grows
    exponentially in ``m``.

    Args:
        dimension: intrinsic dimension ``m`` of the inputs.
        n_train: number ``n`` of training points.
        eps: target error relative to the loss's Lipschitz constant.
        radius: largest norm of an input; ``resolution``: smallest distance that must be told apart.
        outputs: ``d``; ``combinations``: number ``c`` of combinations of discrete features; ``amplitude``: ``b``.
    """
    m = checks.integer("dimension", dimension, low=1)
    n = checks.integer("n_train", n_train, low=1)
    checks.number("eps", eps, low=0.0, open_low=True)
    checks.number("radius", radius, low=0.0, open_low=True)
    checks.number("resolution", resolution, low=0.0, open_low=True)
    frequency = 2 * math.pi * radius / resolution
    degree = (math.sqrt((m - 1) ** 2 + 4 * frequency**2) - (m - 1)) / 2
    log_functions = _log_add(_log_binomial(m + degree, m), _log_binomial(m + degree - 1, m))
    log_parameters = math.log(2 * outputs * combinations) + log_functions
    log_free = log_parameters + math.log1p(-min(n * outputs / math.exp(min(log_parameters, 700)), 1 - 1e-12))
    lipschitz = degree * math.sqrt(outputs) / radius
    log_distance = (
        0.5 * math.log(m / 6)
        + (math.log(2 * combinations) + (m + 1) / 2 * math.log(math.pi) - math.lgamma((m + 1) / 2) - math.log(n)) / m
        + math.log(radius)
    )
    scale = (
        math.log(amplitude)
        + 0.5 * math.log(outputs * combinations)
        - math.log(eps)
        + math.log(max(lipschitz, 1e-300))
        + log_distance
    ) / LOG2
    if scale <= 0:
        return Bound(-math.inf, math.exp(min(log_functions, 700)), math.exp(min(log_parameters, 700)))
    return Bound(
        (log_free + math.log(scale)) / math.log(10),
        math.exp(min(log_functions, 700)),
        math.exp(min(log_parameters, 700)),
    )


def _resolved(space, inputs):
    covariance = space.covariance
    return covariance.resolved(inputs) if hasattr(covariance, "resolved") else covariance


def _negative_log_density(errors, covariance):
    """Of ``(n, k)`` errors, independent over outputs; eigenvalues are floored at rounding."""
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(1e-12 * float(values[-1].clamp_min(1e-300)))
    projected = vectors.T @ errors
    k = errors.shape[1]
    return 0.5 * float((projected**2 / values[:, None]).sum() + k * (2 * math.pi * values).log().sum())


def _log_binomial(n, k):
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) if n > k - 1 else -math.inf


def _log_add(a, b):
    top = max(a, b)
    return top if top == -math.inf else top + math.log(math.exp(a - top) + math.exp(b - top))
