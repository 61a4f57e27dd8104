"""KernelSHAP helped by a proxy of odd interactions, fitted on the same draws.

With ``s = 2 z - 1`` every game is a sum of products ``a_T prod_{i in T} s_i``. Antithetic pairs show only the odd part
``h(s) = (v(z) - v(1 - z)) / 2``, the even part never enters a Shapley value, and an odd product gives ``2 a_T / |T|`` to
each member of ``T``. So a fit of the odd part by single players (free) and products of three (ridge) has a Shapley value in
closed form, and KernelSHAP on what it leaves makes the estimate consistent. For a linear ``f`` both steps are exact.

The fit is done in the dual: products of three enter only through the elementary symmetric polynomial of the agreements
``t = s_p . s_q`` of two pairs, ``e_3 = (t^3 - (3 K - 2) t) / 6``, so no column is ever formed. With ``C = e_3 / C(K, 3) +
ridge I`` and the single players ``S``, ``h = S beta + e_3 alpha`` has ``alpha = M h``, ``M = C^-1 - C^-1 S (S' C^-1 S)^-1
S' C^-1``; the residual is ``ridge alpha``, leave-one-out errors are ``alpha_p / M_pp``, and leaving out a group ``g``
subtracts ``M_pg M_gg^-1 alpha_g``. The ridge is chosen for each instance by its leave-one-out error.

Source: the odd-order proxy is published as OddSHAP: arXiv 2602.01399, ICML 2026, which screens interactions by boosted
trees; the dual form, the leave-one-out choice and the error bars through it are this module's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from lab.explain import solve

RIDGES = (1e-3, 1e-2, 1e-1, 1.0)  # noise variance relative to the variance of all products of three
JUDGED = 256  # pairs at which the ridge is judged
LARGEST = 2048  # pairs up to which the dual is formed; beyond, plain KernelSHAP has enough draws


@dataclass(frozen=True)
class Operator:
    """One ridge: leave-one-out errors ``judge' h``, Shapley values ``whole h`` and what they change without the pairs of one
    jackknife group, ``change[g] h``; ``h (P + 1,)`` with both ends."""

    judge: torch.Tensor  # (P + 1, J) float32: leave-one-out errors of the judged pairs
    whole: torch.Tensor  # (K, P + 1)
    change: torch.Tensor  # (G K, P + 1) float32: error bars need no more
    spread: torch.Tensor | None  # the same for error bars on a finite population (:mod:`lab.explain.finite`)


def fit(
    design: torch.Tensor, weight: torch.Tensor, y: torch.Tensor, rise: torch.Tensor, group: torch.Tensor,
    share: torch.Tensor | None = None,
) -> solve.Fit:  # fmt: skip
    """Shapley values ``(N, K, C)`` of ``y = f - f(b)`` ``(N, m, C)``, with ``rise = f(x) - f(b)`` ``(N, 1, C)``.

    ``share``: of :func:`lab.explain.finite.shares`, for error bars on the finite population of masks; those of the jackknife
    without it.
    """
    instances, draws, channels = y.shape
    count, pairs = design.shape[1], draws // 2
    paired = draws % 2 == 0 and not bool((design[0::2] + design[1::2] != 1).any())
    groups = int(group.max()) + 1
    if count < 3 or not paired or groups < 2 or not count < pairs <= LARGEST:
        return _plain(design, weight, y, rise, group)
    sign, pair_group = 2 * design[0::2] - 1, group[0::2]
    pair_weight = weight[0::2] + weight[1::2]
    flat = solve.rows_of(y)
    odd = flat.new_empty(len(flat), pairs + 1)
    torch.sub(flat[:, 0::2], flat[:, 1::2], out=odd[:, :-1])
    odd[:, -1] = rise.reshape(-1)  # the pair of both ends is known
    odd /= 2
    operators, condition = _remembered(_Key(sign, pair_weight, pair_group, share))
    narrow = odd.float()
    best = _least_errors(operators, narrow, pair_weight)
    theta = odd.new_empty(len(odd), count)
    deviations, spread = (odd.new_empty(len(odd), groups, count) for _ in range(2))
    for j, operator in enumerate(operators):
        mine = torch.nonzero(best == j)[:, 0]
        if len(mine):
            theta[mine] = odd[mine] @ operator.whole.T
            deviations[mine] = (narrow[mine] @ operator.change.T).view(-1, groups, count).double()
            own = operator.change if operator.spread is None else operator.spread
            spread[mine] = (narrow[mine] @ own.T).view(-1, groups, count).double()
    blocks = solve.Blocks.of(group)
    residual, own = blocks.sort(flat - theta @ design.T, 1), blocks.sort(design, 0)
    for g, start, stop in blocks.spans:
        if g < groups:
            residual[:, start:stop] -= deviations[:, g] @ own[start:stop].T
    return solve.Fit(
        theta.view(instances, channels, count).mT,
        spread.view(instances, channels, groups, count).permute(0, 2, 3, 1),
        blocks.unsort(residual).view(instances, channels, draws).mT,
        torch.full((instances,), condition, dtype=torch.float64),
    )


def _least_errors(operators: tuple[Operator, ...], narrow: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The ridge of least leave-one-out error for every row of odd parts, judged at up to ``JUDGED`` pairs."""
    judged = weight[_looked_at(len(weight))].float()
    return torch.stack([(narrow @ operator.judge).square_() @ judged for operator in operators]).argmin(0)


def _looked_at(pairs: int) -> torch.Tensor:
    return torch.arange(0, pairs, -(-pairs // JUDGED))


def _plain(design, weight, y, rise, group) -> solve.Fit:
    count = design.shape[1]
    ones = torch.ones(count, dtype=torch.float64)
    along = ones / count
    across = torch.linalg.svd(ones[None])[2][1:].T
    fit = solve.least_squares(design @ across, weight, y - (design @ along)[..., None] * rise, group)
    return fit.mapped(across, along[:, None] * rise)


class _Key:
    """Pairs, weights and groups as a key of the cache: equal draws have equal bytes."""

    def __init__(self, sign: torch.Tensor, weight: torch.Tensor, group: torch.Tensor, share: torch.Tensor | None):
        self.parts = (sign, weight, group, share)
        said = (sign.to(torch.int8), weight, group, *(() if share is None else (share,)))
        self.content = (sign.shape, *(part.numpy().tobytes() for part in said))

    def __hash__(self):
        return hash(self.content)

    def __eq__(self, other):
        return self.content == other.content


@lru_cache(maxsize=2)
def _remembered(key: _Key) -> tuple[tuple[Operator, ...], float]:
    """The operators of one set of pairs. They do not depend on ``f``, so the next explanation finds them again."""
    sign, weight, group, share = key.parts
    pairs, count = sign.shape
    readers, condition = _readers(sign, weight, group)
    sign = torch.cat([sign, torch.ones(1, count, dtype=torch.float64)])
    agreement = sign @ sign.T
    third = (agreement**3 - (3 * count - 2) * agreement) / 6 / math.comb(count, 3)
    total = sign.sum(1, keepdim=True)
    # of the products of three, those with player j: s_j times e_2 of the other signs
    cubic = (sign * ((total - sign).square() - (count - 1)) / 2 * (2 / 3) / math.comb(count, 3)).T
    members = [torch.nonzero(group == g)[:, 0] for g in range(len(readers) - 1)]
    found = []
    for ridge in RIDGES:
        diagonal = torch.full((pairs + 1,), ridge, dtype=torch.float64)
        diagonal[-1] = 1e-9  # both ends are known, not sampled
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(third + torch.diag(diagonal)))
        side = inverse @ sign
        linear = torch.linalg.solve(sign.T @ side, side.T)
        inverse = inverse - side @ linear
        maps = cubic + readers * diagonal  # what alpha adds: its products of three, and KernelSHAP of the residual
        plain = (maps.reshape(-1, pairs + 1) @ inverse).view(*maps.shape) + 2 * linear
        without = plain[:-1]
        for g, rows in enumerate(members):
            block = torch.linalg.solve(inverse[rows][:, rows], inverse[rows])
            without[g] -= (maps[g] @ inverse[:, rows] + 2 * linear[:, rows]) @ block
        look = _looked_at(pairs)
        judge = (inverse[:, look] / torch.diagonal(inverse)[look]).float()
        change = (without - plain[-1]).float().flatten(0, 1)
        spread = None
        if share is not None:
            missed = (
                inverse[:pairs] / torch.diagonal(inverse)[:pairs, None]
            )  # leave-one-out errors, read as KernelSHAP would
            spread = torch.cat([(readers[-1][:, :pairs] * mine) @ missed for mine in share]).float()
        found.append(Operator(judge, plain[-1].clone(), change, spread))
    return tuple(found), condition


def _readers(sign: torch.Tensor, weight: torch.Tensor, group: torch.Tensor) -> tuple[torch.Tensor, float]:
    """KernelSHAP in the space of pairs, ``argmin sum_p w_p (h_p - s_p . phi / 2)^2`` under ``1 . phi = 2 h(1)``, as matrices.

    ``(G + 1, K, P + 1)``: without each jackknife group, and at the end with all; and the condition number of the last.
    """
    count = sign.shape[1]
    across = torch.linalg.svd(torch.ones(1, count, dtype=torch.float64))[2][1:].T
    psi = sign @ across / 2
    groups = int(group.max()) + 1
    keep = (group[None] != torch.arange(groups)[:, None]).double()
    # the pairs that stay are weighted up, so that enumerated and sampled parts keep their proportion
    keep = torch.where(group < 0, 1.0, keep * groups / (groups - 1))
    mass = torch.cat([keep, torch.ones(1, len(group), dtype=torch.float64)]) * weight
    scaled = psi * mass[..., None]
    inverse, condition = solve._inverse(scaled.mT @ psi)
    reader = across @ inverse @ scaled.mT
    ends = 2 / count - reader @ (sign.sum(1) / count)  # what the known ends add
    return torch.cat([reader, ends[..., None]], -1), float(condition[-1])
