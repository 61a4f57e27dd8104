"""All estimates of one law over a range of thresholds, for tables and figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from lab import checks
from lab.inductive_bias import chi_square_fit as fitting
from lab.inductive_bias.bit_methods import required_bits
from lab.inductive_bias.laws import LOG2, GaussianQuadraticLaw


@dataclass(frozen=True, eq=False)
class Estimates:
    """Bits at each ``eps`` by every route, from the same draws where draws are used.

    ``exact``; ``counted (m,)`` for the ``m`` draws ``losses`` in order; ``fitted`` with its ``fitted_error`` (both of
    the scaled non-central chi-square); ``gamma`` (a shifted gamma with equal moments). ``seen = log2(draws)`` is the
    depth up to which draws can be seen at all.
    """

    eps: np.ndarray
    exact: np.ndarray
    losses: np.ndarray
    fitted: np.ndarray
    fitted_error: np.ndarray
    gamma: np.ndarray
    draws: int
    mean: float
    reached: float
    floor: float
    meta: dict

    @property
    def seen(self) -> float:
        return math.log2(self.draws)

    @property
    def counted(self) -> np.ndarray:
        return np.maximum(0.0, -np.log2(np.arange(1, self.draws + 1) / self.draws))

    def missed_share(self) -> np.ndarray:
        """``1 - fitted / exact`` at each ``eps``."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1 - self.fitted / self.exact

    def to_frame(self):
        import pandas as pd

        return pd.DataFrame(
            {
                "eps": self.eps,
                "exact": self.exact,
                "fitted": self.fitted,
                "fitted_error": self.fitted_error,
                "gamma": self.gamma,
            }
        )


def estimates(
    law: GaussianQuadraticLaw,
    *,
    draws: int = 10_000,
    points: int = 80,
    deepest: float | None = None,
    seed: int | torch.Generator = 0,
) -> Estimates:
    """Every estimate of ``law`` between the mean loss and the depth of ``deepest`` bits.

    Args:
        law: an exact law.
        draws: number of drawn losses.
        points: number of thresholds.
        deepest: bits at the smallest threshold; by default the larger of 40 log2(draws) and the bits of half the loss
            of the posterior mean, at most 20,000.
    """
    if not isinstance(law, GaussianQuadraticLaw):
        raise TypeError(f"law must be a GaussianQuadraticLaw, got {type(law).__name__}")
    draws = checks.integer("draws", draws, low=100)
    if not law.fits_training or len(law.eigenvalues) == 0:
        raise ValueError("law must allow more than one hypothesis that fits the training set")
    if deepest is None:
        half = float(law.nats(max(0.5 * law.posterior_mean_loss, law.minimum * 1.01))) / LOG2
        deepest = min(max(40 * math.log2(draws), half if math.isfinite(half) else 0.0), 20_000.0)
    edges = law.quantile([deepest, 0.05])
    eps = np.geomspace(float(edges[0]), float(edges[1]), checks.integer("points", points, low=2))
    losses = law.sample(draws, seed=seed).sort().values
    fitted = fitting.fit(losses)
    return Estimates(
        eps=eps,
        exact=np.asarray(required_bits(law, eps).bits),
        losses=losses.numpy(),
        fitted=np.array([fitted.nats(float(e)) for e in eps]) / LOG2,
        fitted_error=np.array([fitted.standard_error(float(e)) for e in eps]) / LOG2,
        gamma=np.array([fitting.shifted_gamma_nats(losses, float(e)) for e in eps]) / LOG2,
        draws=draws,
        mean=law.mean,
        reached=law.posterior_mean_loss,
        floor=law.minimum,
        meta=dict(law.meta),
    )
