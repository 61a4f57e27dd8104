"""The straight path from the baseline, integrated with a certificate.

``phi = (x - b) * mean of grad f(b + a (x - b)) over a in [low, high]`` by Gauss-Legendre quadrature. On every piece of
the path the attributions must sum to the rise of ``f`` over it (completeness), which is known from two values of ``f``:
pieces where they do not are halved until the whole gap is below the tolerance. The kinks of ReLU networks cost one
bisection a digit.

Source: M. Sundararajan, A. Taly, Q. Yan, 'Axiomatic Attribution for Deep Networks', ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from lab.explain.weighting import missed

PIECE = 8  # nodes on a refined piece
DEPTH = 40  # halvings of a piece
MANY = 256  # pieces an instance, on average, beyond which they are the rounding of f and refinement ends


@dataclass(frozen=True)
class Integral:
    """``weights`` and ``error (N, K, C)`` (estimated quadrature error), ``gap``, ``centre`` (mean of ``f`` over the
    path) and ``risk`` ``(N, C)``; ``nodes`` evaluated at most for one instance."""

    weights: torch.Tensor
    error: torch.Tensor
    gap: torch.Tensor
    centre: torch.Tensor
    risk: torch.Tensor
    nodes: int


def integrate(box, low: float, high: float, nodes: int, until: float | None) -> Integral:
    """Integrate over ``[low, high]`` with ``nodes`` nodes, then refine until every gap is below ``until``."""
    players = box.players
    count = players.count
    place, share = _legendre(nodes)
    scale = low + (high - low) * place
    outputs, sums = box.gradients(scale[:, None].expand(nodes, count), share[:, None], "mix")
    weights = sums[:, 0]
    rise = (_end(box, high) - _end(box, low)) / (high - low)
    signed = weights.sum(1) - rise
    gap = signed.abs()
    # what the gap says about one weight: the share of the unexplained rise that its size would carry
    error = gap[:, None] * weights.abs() / weights.abs().sum(1, keepdim=True).clamp_min(1e-300)
    used = nodes
    if until is not None and bool((gap > until).any()):
        open_ = torch.nonzero((gap > until).any(1))[:, 0]
        weights, error, gap = weights.clone(), error.clone(), gap.clone()
        weights[open_], gap[open_], error[open_], more = _refine(box, open_, low, high, until)
        used += more
    centre = torch.einsum("m,nmc->nc", share, outputs)
    fitted = scale[None, :, None] * weights.sum(1)[:, None]
    residual = outputs - fitted
    risk = missed(residual, outputs, share)
    return Integral(weights, error, gap, centre, risk, used)


def _end(box, place: float) -> torch.Tensor:
    """``f`` at one place of the path, ``(N, C)``."""
    if place == 1:
        return box.at_x
    if place == 0:
        return box.at_baseline(None)
    return box.values(torch.full((1, box.players.count), place, dtype=torch.float64), None)[:, 0]


def _refine(box, instances: torch.Tensor, low: float, high: float, until: float):
    """Halve the pieces that break completeness, for all instances at once; pieces are rows of one table."""
    owner = instances
    start, stop = torch.full((len(owner),), low).double(), torch.full((len(owner),), high).double()
    total = torch.zeros(box.players.instances, box.players.count, box.at_x.shape[1], dtype=torch.float64)
    slack, error = torch.zeros_like(total[:, 0]), torch.zeros_like(total)
    used = torch.zeros(box.players.instances, dtype=torch.long)
    precision = 2 * torch.finfo(box.players.x.dtype).eps
    parent = None
    for depth in range(DEPTH):
        found, rise, size = (part / (high - low) for part in _pieces(box, owner, start, stop))
        used.index_add_(0, owner, torch.full((len(owner),), PIECE + 2))
        short = found.sum(1) - rise
        length = ((stop - start) / (high - low)).clamp_min(2.0**-12)[:, None]
        # below the rounding of f itself a piece cannot be told from a perfect one
        fine = (short.abs() <= torch.maximum(0.5 * until * length, precision * size)).all(1) | (depth == DEPTH - 1)
        if int((~fine).sum()) > MANY * len(instances):
            fine |= True
        change = found if parent is None else (found[0::2] + found[1::2] - parent).repeat_interleave(2, 0) / 2
        total.index_add_(0, owner[fine], found[fine])
        slack.index_add_(0, owner[fine], short[fine])
        error.index_add_(0, owner[fine], torch.minimum(change.abs(), short.abs()[:, None])[fine])
        go = ~fine
        if not bool(go.any()):
            break
        parent, middle = found[go], (start[go] + stop[go]) / 2
        owner = owner[go].repeat_interleave(2)
        start, stop = torch.stack([start[go], middle], 1).reshape(-1), torch.stack([middle, stop[go]], 1).reshape(-1)
    return total[instances], slack[instances].abs(), error[instances], int(used.max())


def _pieces(box, owner: torch.Tensor, start: torch.Tensor, stop: torch.Tensor):
    """Integral of the gradient ``(P, K, C)``, rise and size of ``f`` ``(P, C)`` on every piece."""
    part = box.restricted(owner)
    count = part.players.count
    place, share = _legendre(PIECE)
    length = (stop - start)[:, None]
    node = start[:, None] + length * place
    _, sums = part.gradients(node[..., None].expand(-1, -1, count), (share * length)[..., None], "mix")
    ends = torch.stack([start, stop], 1)[..., None].expand(-1, -1, count)
    values = part.values(ends, None)
    box.rows += part.rows
    return sums[:, 0], values[:, 1] - values[:, 0], values.abs().amax(1)


@lru_cache(maxsize=32)
def _legendre(nodes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes in (0, 1) and weights that sum to 1."""
    place, weight = np.polynomial.legendre.leggauss(nodes)
    return torch.from_numpy((place + 1) / 2), torch.from_numpy(weight / 2)
