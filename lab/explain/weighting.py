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
    log = law.log_target(drawn.design, contrast) - drawn.log_proposal
    return torch.exp(log - log.amax(-1, keepdim=True))


def missed(residual: torch.Tensor, outputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``Var_w(residual) / Var_w(f)``, ``(N, C)``; 0 where ``f`` is constant and ``g`` too."""
    share = (weight / weight.sum(1, keepdim=True))[..., None]
    centred = residual - (share * residual).sum(1, keepdim=True)
    around = outputs - (share * outputs).sum(1, keepdim=True)
    left, whole = (share * centred.square()).sum(1), (share * around.square()).sum(1)
    tiny = torch.finfo(torch.float64).eps * outputs.square().amax(1).clamp_min(1e-300)
    return torch.where(whole > tiny, left / whole.clamp_min(1e-300), torch.where(left > tiny, torch.inf, 0.0))


@lru_cache(maxsize=256)
def student(confidence: float, groups: int) -> float:
    """The quantile that turns a jackknife error over ``groups`` into an interval; NaN for one group."""
    from scipy import stats

    return float(stats.t.ppf(0.5 + confidence / 2, groups - 1)) if groups > 1 else math.nan
