r"""Accounting and mechanisms of differential privacy for counting queries, neighbours by one replaced row.

rho-zCDP adds up over measurements and implies (epsilon, delta) with

.. math:: \delta = \inf_{\alpha > 1} \frac{e^{(\alpha-1)(\alpha\rho-\epsilon)}}{\alpha-1}\Bigl(1-\frac1\alpha\Bigr)^{\alpha}.

Source: M. Bun, T. Steinke, 'Concentrated Differential Privacy', TCC 2016; C. Canonne, G. Kamath, T. Steinke, 'The Discrete Gaussian
for Differential Privacy', NeurIPS 2020, proposition 12.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from lab import checks


def zcdp_delta(rho: float, epsilon: float) -> float:
    """The smallest delta that the conversion proves for rho-zCDP at ``epsilon``.

    >>> round(zcdp_delta(0.5, 4.0), 5)
    0.0002
    """
    rho, epsilon = checks.number("rho", rho, low=0.0), checks.number("epsilon", epsilon, low=0.0)
    if rho == 0:
        return 0.0
    low, high = 0.0, 1.0  # of log(alpha - 1) after widening; the slope in alpha increases
    slope = lambda t: (2 * math.exp(t) + 1) * rho - epsilon - math.log1p(math.exp(-t))  # noqa: E731
    while slope(low) > 0:
        low -= 8.0
    while slope(high) < 0:
        high += 8.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    alpha = 1 + math.exp((low + high) / 2)
    return min(1.0, math.exp((alpha - 1) * (alpha * rho - epsilon + math.log1p(-1 / alpha)) - math.log(alpha)))


def zcdp_epsilon(rho: float, delta: float) -> float:
    """The smallest epsilon that the conversion proves for rho-zCDP at ``delta``."""
    rho, delta = checks.number("rho", rho, low=0.0), _delta(delta)
    low, high = 0.0, rho + 2 * math.sqrt(rho * math.log(1 / delta))  # the closed form is an upper bound
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if zcdp_delta(rho, middle) > delta else (low, middle)
    return high


def zcdp_rho(epsilon: float, delta: float) -> float:
    """The largest rho whose conversion stays within (``epsilon``, ``delta``); infinite for an infinite epsilon."""
    delta = _delta(delta)
    if epsilon == math.inf:
        return math.inf
    epsilon = checks.number("epsilon", epsilon, low=0.0, open_low=True)
    low, high = 0.0, epsilon + 1.0
    while zcdp_delta(high, epsilon) <= delta:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if zcdp_delta(middle, epsilon) <= delta else (low, middle)
    return low


def _delta(delta):
    delta = checks.number("delta", delta, low=0.0, high=1.0, open_low=True)
    if delta == 1:
        raise ValueError("delta must be below 1, got 1.0")
    return delta


def gaussian_mechanism(
    values, sensitivity: float, rho: float, generator: torch.Generator, runs: int = 1
) -> tuple[np.ndarray, float]:
    """``values`` (queries,) with fresh Gaussian noise, (runs, queries), and the deviation sensitivity/sqrt(2 rho) of the noise."""
    values = np.asarray(values, dtype=np.float64)
    sigma = 0.0 if rho == math.inf else sensitivity / math.sqrt(2 * checks.number("rho", rho, low=0.0, open_low=True))
    noise = torch.randn(runs, len(values), generator=generator, dtype=torch.float64).numpy()
    return values + sigma * noise, sigma


def select_workload(errors: np.ndarray, sensitivity: float, rho: float, generator: torch.Generator) -> np.ndarray:
    """Report-noisy-max: the workload (runs,) of the largest ``errors`` (runs, workloads) with Gumbel noise, rho-zCDP.

    An error moves by at most ``sensitivity`` with a row; the noise of scale sensitivity/sqrt(2 rho) is the exponential mechanism
    at epsilon = sqrt(8 rho), which is epsilon^2/8-zCDP.
    """
    scale = 0.0 if rho == math.inf else sensitivity / math.sqrt(2 * rho)
    u = torch.rand(*errors.shape, generator=generator, dtype=torch.float64).clamp_min(1e-300).numpy()
    return (errors - scale * np.log(-np.log(u))).argmax(1)


def private_bounds(values, rho: float, generator: torch.Generator) -> tuple[float, float]:
    """Bounds of numbers within powers of two, rho-zCDP: noised counts of intervals [2^k, 2^(k+1)) of both signs.

    The bounds enclose the intervals whose noised counts exceed what noise alone reaches in one of a thousand tables.

    Raises:
        ValueError: no interval is heavy enough: the budget is too small for so few rows.
    """
    values = np.asarray(values, dtype=np.float64)
    edges = 2.0 ** np.arange(-10, 41)
    grid = np.concatenate([-edges[::-1], [0.0], edges])
    counts = np.histogram(np.clip(values, grid[0], grid[-1]), grid)[0]
    noised, sigma = gaussian_mechanism(counts, math.sqrt(2), rho, generator)
    heavy = np.flatnonzero(noised[0] > max(sigma * math.sqrt(2 * math.log(1000 * len(counts))), 0.5))
    if not len(heavy):
        raise ValueError("private bounds found no interval above the noise; give bounds, or more budget")
    return float(grid[heavy[0]]), float(grid[heavy[-1] + 1])
