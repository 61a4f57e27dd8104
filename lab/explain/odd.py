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
trees; the dual form, the leave-one-out choice and the jackknife through it are this module's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from lab.explain import solve

RIDGES = (1e-3, 1e-2, 1e-1, 1.0)  # noise variance relative to the variance of all products of three


@dataclass(frozen=True)
class Operator:
    """Everything that depends on the draws alone: ``alpha = inverse h``, ``beta = linear h``, noise ``ridge (P + 1,)``."""

    ridge: torch.Tensor
    inverse: torch.Tensor  # (P + 1, P + 1), rank P + 1 - K
    linear: torch.Tensor  # (K, P + 1)
    cubic: torch.Tensor  # (K, P + 1): the Shapley value of the products of three from alpha


def fit(
    design: torch.Tensor, weight: torch.Tensor, y: torch.Tensor, rise: torch.Tensor, group: torch.Tensor
) -> solve.Fit:
    """Shapley values ``(N, K, C)`` of ``y = f - f(b)`` ``(N, m, C)``, with ``rise = f(x) - f(b)`` ``(N, 1, C)``."""
    instances, draws, channels = y.shape
    count = design.shape[1]
    pairs = design.view(draws // 2, 2, count) if draws % 2 == 0 else None
    if count < 3 or pairs is None or bool((pairs.sum(1) != 1).any()) or bool((group < 0).all()) or draws // 2 <= count:
        return _plain(design, weight, y, rise, group)
    sign = 2 * pairs[:, 0] - 1
    odd = (y[:, 0::2] - y[:, 1::2]).permute(1, 0, 2).reshape(draws // 2, -1) / 2
    odd = torch.cat([odd, rise.permute(1, 0, 2).reshape(1, -1) / 2])  # the pair of both ends is known
    pair_weight, pair_group = weight[0::2] + weight[1::2], group[0::2]
    operators = _operators(sign)
    dual = torch.stack([operator.inverse @ odd for operator in operators])
    left_out = dual / torch.stack([torch.diagonal(operator.inverse) for operator in operators])[..., None]
    score = torch.einsum("p,jpn->jn", pair_weight, left_out[:, :-1].square())
    best = score.argmin(0)
    chosen = dual.gather(0, best[None, None].expand(1, *dual.shape[1:]))[0]
    slope = torch.stack([operator.linear @ odd for operator in operators])
    slope = slope.gather(0, best[None, None].expand(1, *slope.shape[1:]))[0]

    ridge = torch.stack([operator.ridge for operator in operators])[best].T
    pairs_fit = _Pairs(sign, pair_weight, pair_group)
    theta = pairs_fit.shapley(slope, chosen, ridge, operators[0].cubic, None)
    groups = int(pair_group.max()) + 1
    deviations = theta.new_zeros(groups, *theta.shape)
    columns = [torch.nonzero(best == j)[:, 0] for j in range(len(operators))]
    for g in range(groups):
        rows = torch.nonzero(pair_group == g)[:, 0]
        without, tilted = chosen.clone(), slope.clone()
        for operator, mine in zip(operators, columns):
            if len(mine):
                block = torch.linalg.solve(operator.inverse[rows][:, rows], chosen[rows][:, mine])
                without[:, mine] -= operator.inverse[rows].T @ block
                tilted[:, mine] -= operator.linear[:, rows] @ block
        without[rows] = 0
        deviations[g] = pairs_fit.shapley(tilted, without, ridge, operators[0].cubic, g) - theta
    flat = y.permute(1, 0, 2).reshape(draws, -1)
    residual = flat - design @ theta
    for g in range(groups):
        rows = torch.nonzero(group == g)[:, 0]
        residual[rows] -= design[rows] @ deviations[g]
    return solve.Fit(
        theta.view(count, instances, channels).permute(1, 0, 2),
        deviations.view(groups, count, instances, channels).permute(2, 0, 1, 3),
        residual.view(draws, instances, channels).permute(1, 0, 2),
        torch.full((instances,), pairs_fit.condition, dtype=torch.float64),
    )


class _Pairs:
    """KernelSHAP in the space of pairs: ``argmin sum_p w_p (h_p - s_p . phi / 2)^2`` under ``1 . phi = 2 h(1)``."""

    def __init__(self, sign, weight, group):
        count = sign.shape[1]
        self.count = count
        self.across = torch.linalg.svd(torch.ones(1, count, dtype=torch.float64))[2][1:].T
        self.psi, self.weight, self.group, self.sign = sign @ self.across / 2, weight, group, sign
        groups = int(group.max()) + 1
        self.scaled = self.psi * weight[:, None]
        member, fixed = solve.memberships(group)
        self.grams = torch.stack([(self.scaled * member[:, g, None]).T @ self.psi for g in range(groups)])
        self.exact = (self.scaled * fixed[:, None]).T @ self.psi
        self.fixed, self.grow = fixed, groups / max(groups - 1, 1)
        self.total = self.grams.sum(0)
        self.whole, condition = solve._inverse((self.exact + self.total)[None])
        self.condition = float(condition[0])

        self.tilt = sign.sum(1) / count  # what the mean weight explains of a pair

    def shapley(self, slope, dual, ridge, cubic, without: int | None) -> torch.Tensor:
        """Shapley value of the proxy plus KernelSHAP of its residual, which at the fitted pairs is ``ridge * alpha``."""
        left = ridge * dual
        if without is None:
            reader = self.across @ self.whole[0] @ self.scaled.T
        else:
            keep = self.fixed + self.grow * ((self.group >= 0) & (self.group != without)).double()
            gram = self.exact + self.grow * (self.total - self.grams[without])
            reader = self.across @ solve._inverse(gram[None])[0][0] @ (self.scaled * keep[:, None]).T
        along = 2 / self.count - reader @ self.tilt  # what the known ends add
        return 2 * slope + cubic @ dual + reader @ left[:-1] + along[:, None] * left[-1:]


def _plain(design, weight, y, rise, group) -> solve.Fit:
    count = design.shape[1]
    ones = torch.ones(count, dtype=torch.float64)
    along = ones / count
    across = torch.linalg.svd(ones[None])[2][1:].T
    fit = solve.least_squares(design @ across, weight, y - (design @ along)[..., None] * rise, group)
    return fit.mapped(across, along[:, None] * rise)


def _operators(sign: torch.Tensor) -> tuple[Operator, ...]:
    key = (sign.shape, sign.to(torch.int8).numpy().tobytes())
    return _remembered(*key)


@lru_cache(maxsize=4)
def _remembered(shape, content) -> tuple[Operator, ...]:
    """The operators of one set of pairs; they do not depend on ``f``, so equal draws find them again."""
    import numpy as np

    sign = torch.from_numpy(np.frombuffer(content, dtype=np.int8).reshape(shape).copy()).double()
    pairs, count = sign.shape
    sign = torch.cat([sign, torch.ones(1, count, dtype=torch.float64)])
    agreement = sign @ sign.T
    third = (agreement**3 - (3 * count - 2) * agreement) / 6 / math.comb(count, 3)
    total = sign.sum(1, keepdim=True)
    # of the products of three, those with player j: s_j times e_2 of the other signs
    cubic = (sign * ((total - sign).square() - (count - 1)) / 2 * (2 / 3) / math.comb(count, 3)).T.contiguous()
    found = []
    for ridge in RIDGES:
        diagonal = torch.full((pairs + 1,), ridge, dtype=torch.float64)
        diagonal[-1] = 1e-9  # both ends are known, not sampled
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(third + torch.diag(diagonal)))
        side = inverse @ sign
        linear = torch.linalg.solve(sign.T @ side, side.T)
        found.append(Operator(diagonal, inverse - side @ linear, linear, cubic))
    return tuple(found)
