"""How much every draw counts: importance weights of a law, and the share of variance that a fit misses under them."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from lab.explain.neighbourhoods import Draws


def raw_importance(law, drawn: Draws, contrast: torch.Tensor) -> torch.Tensor:
    """``law's density / proposal`` for every draw, ``(m,)`` or ``(N, m)``."""
    return torch.exp(law.log_target(drawn.design, contrast) - drawn.log_proposal)


def importance(law, drawn: Draws, contrast: torch.Tensor) -> torch.Tensor:
    """The same with the largest weight 1, safe from underflow where a kernel is narrow."""
    return scaled_importance(law, drawn, contrast)[0]


def scaled_importance(law, drawn: Draws, contrast: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`importance`, and the logarithm of the weight that was divided out."""
    log = law.log_target(drawn.design, contrast) - drawn.log_proposal
    top = log.amax(-1, keepdim=True)
    return torch.exp(log - top), top


def missed(residual: torch.Tensor, outputs: torch.Tensor, weight: torch.Tensor, ends=None) -> torch.Tensor:
    """``Var_w(residual) / Var_w(f)``, ``(N, C)``; 0 where ``f`` is constant and ``g`` too.

    ``ends``: further values ``(N, e, C)`` of ``f``, at which nothing is missed, and their weights ``(e,)``.
    """
    weight = weight.expand(len(outputs), -1)
    whole, tiny = _variance(outputs, weight, ends)
    left, _ = _variance(residual, weight, None if ends is None else (torch.zeros_like(ends[0]), ends[1]))
    return torch.where(whole > tiny, left / whole.clamp_min(1e-300), torch.where(left > tiny, torch.inf, 0.0))


def _variance(values: torch.Tensor, weight: torch.Tensor, ends) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted variance over the draws, ``(N, C)``, from two moments around the plain mean, and its rounding."""
    rows, mass = values.mT, weight[:, None]  # (N, C, m): sums run along memory
    middle = rows.mean(-1, keepdim=True)
    centred = rows - middle
    square = centred.square()
    total = mass.sum(-1)
    first, second = (centred * mass).sum(-1), (square * mass).sum(-1)
    if ends is not None:
        more, own = ends[0].mT - middle, ends[1]
        total = total + own.sum()
        first, second = first + more @ own, second + more.square() @ own
    tiny = torch.finfo(torch.float64).eps * (square.amax(-1).sqrt() + middle[..., 0].abs()).square().clamp_min(1e-300)
    return (second / total - (first / total).square()).clamp_min(0.0), tiny


@lru_cache(maxsize=256)
def student(confidence: float, groups: int) -> float:
    """The quantile that turns a jackknife error over ``groups`` into an interval; NaN for one group."""
    from scipy import stats

    return float(stats.t.ppf(0.5 + confidence / 2, groups - 1)) if groups > 1 else math.nan
