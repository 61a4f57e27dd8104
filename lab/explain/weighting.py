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
    return log.sub_(top).exp_(), top


def missed(residual: torch.Tensor, outputs: torch.Tensor, weight: torch.Tensor, ends=None) -> torch.Tensor:
    """``Var_w(residual) / Var_w(f)``, ``(N, C)``; 0 where ``f`` is constant and ``g`` too.

    ``ends``: further values ``(N, e, C)`` of ``f``, at which nothing is missed, and their weights ``(e,)``.
    """
    mass = weight.expand(len(outputs), -1)[:, None]
    total = mass.sum(-1)
    rows, lost = outputs.mT, residual.mT  # (N, C, m): sums run along memory
    middle = rows.mean(-1, keepdim=True)
    more = None if ends is None else (ends[0].mT - middle, ends[1])
    centred = rows - middle
    low, high = centred.aminmax(dim=-1)
    whole = _variance(centred, mass, total, more)
    left = _variance(lost, mass, total, None if more is None else (torch.zeros_like(more[0]), more[1]))
    reach = torch.maximum(-low, high) + middle[..., 0].abs()
    tiny = torch.finfo(torch.float64).eps * reach.square().clamp_min(1e-300)
    return torch.where(whole > tiny, left / whole.clamp_min(1e-300), torch.where(left > tiny, torch.inf, 0.0))


def _variance(values: torch.Tensor, mass: torch.Tensor, total: torch.Tensor, ends) -> torch.Tensor:
    """Weighted variance over the draws, ``(N, C)``, from two moments of values near 0."""
    weighted = values * mass
    first, second = weighted.sum(-1), torch.linalg.vecdot(weighted, values)
    if ends is not None:
        more, own = ends
        total = total + own.sum()
        first, second = first + more @ own, second + more.square() @ own
    return (second / total - (first / total).square()).clamp_min(0.0)


@lru_cache(maxsize=256)
def student(confidence: float, groups: int) -> float:
    """The quantile that turns a jackknife error over ``groups`` into an interval; NaN for one group."""
    from scipy import stats

    return float(stats.t.ppf(0.5 + confidence / 2, groups - 1)) if groups > 1 else math.nan
