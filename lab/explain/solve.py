"""Weighted least squares for all instances at once, from sums over jackknife groups.

With draws ``i``, basis ``psi_i``, weights ``w_i`` and outputs ``y_i`` the fit solves ``A theta = b`` with
``A = sum_i w_i psi_i psi_i'`` and ``b = sum_i w_i psi_i y_i``. Both are sums over groups of draws, so the fit without
one group costs one subtraction and one solve, and its spread over the groups is the jackknife's standard error.

Where the draws and weights are shared by the instances, ``A`` is as well and one factorisation serves all. Where the
weights are each instance's own (LIME's kernel), leaving out a group is replaced by its first-order form with leverages.

Source: B. Efron, C. Stein, 'The Jackknife Estimate of Variance', Annals of Statistics 1981.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

SINGULAR = 1e12  # condition number from which a solve is by pseudo-inverse and named ill-conditioned


@dataclass(frozen=True)
class Fit:
    """``theta (N, q, C)``; ``deviations (N, G, q, C)`` of the fits without a group; ``residual (N, m, C)`` out of
    sample."""

    theta: torch.Tensor
    deviations: torch.Tensor
    residual: torch.Tensor
    condition: torch.Tensor

    @property
    def groups(self) -> int:
        return self.deviations.shape[1]

    def variance(self) -> torch.Tensor:
        """The jackknife variance ``(N, q, C)``: 0 where nothing was sampled, NaN where one group is all there is."""
        groups = self.groups
        if groups == 0:
            return torch.zeros_like(self.theta)
        if groups == 1:
            return torch.full_like(self.theta, torch.nan)
        centred = self.deviations - self.deviations.mean(1, keepdim=True)
        return (groups - 1) / groups * centred.square().sum(1)

    def mapped(self, matrix: torch.Tensor, offset: torch.Tensor) -> Fit:
        """The fit of ``offset + matrix theta``."""
        return Fit(
            torch.einsum("pq,nqc->npc", matrix, self.theta) + offset,
            torch.einsum("pq,ngqc->ngpc", matrix, self.deviations),
            self.residual,
            self.condition,
        )


def memberships(group: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``(m, G)`` membership of sampled draws in jackknife groups, and ``(m,)`` of enumerated ones."""
    groups = int(group.max()) + 1 if group.numel() else 0
    member = torch.zeros(len(group), groups, dtype=torch.float64)
    sampled = group >= 0
    member[sampled, group[sampled]] = 1.0
    return member, (~sampled).double()


def least_squares(
    psi: torch.Tensor,
    weight: torch.Tensor,
    y: torch.Tensor,
    group: torch.Tensor,
    *,
    ridge: torch.Tensor | None = None,
    extra: torch.Tensor | None = None,
) -> Fit:
    """Fit ``y (N, m, C)`` on ``psi`` (``(m, q)`` or ``(N, m, q)``) with ``weight`` (``(m,)`` or ``(N, m)``), no
    intercept.

    ``ridge (m,)`` and ``extra (N, G + 1, q, C)`` add ``ridge_i I`` to ``A`` and given sums to ``b`` (the Sobolev loss;
    the last entry of ``extra`` belongs to the enumerated draws).
    """
    if psi.ndim == 2 and weight.ndim == 1:
        return _shared(psi, weight, y, group, ridge, extra)
    return _individual(psi, weight, y, group)


def _shared(psi, weight, y, group, ridge, extra) -> Fit:
    instances, draws, channels = y.shape
    member, fixed = memberships(group)
    groups, size = member.shape[1], psi.shape[1]
    if size == 0:
        return Fit(
            y.new_zeros(instances, 0, channels), y.new_zeros(instances, groups, 0, channels), y, _ones(instances)
        )
    select = torch.cat([member, fixed[:, None]], 1) * weight[:, None]  # (m, G + 1)
    present = [g for g in range(groups + 1) if bool((select[:, g] != 0).any())]
    gram = psi.new_zeros(groups + 1, size, size)
    moment = psi.new_zeros(groups + 1, size, instances * channels)
    flat = y.permute(1, 0, 2).reshape(draws, -1)
    rows_of = {}
    for g in present:
        rows = torch.nonzero(select[:, g] != 0)[:, 0]
        rows = slice(None) if len(rows) == draws else rows
        rows_of[g] = rows
        scaled = psi[rows] * select[rows, g, None]
        gram[g] = scaled.T @ psi[rows]
        moment[g] = scaled.T @ flat[rows]
    if ridge is not None:
        gram += torch.einsum("mg,m->g", select, ridge)[:, None, None] * torch.diag(_slopes(psi))
    if extra is not None:
        moment += extra.permute(1, 2, 0, 3).reshape(groups + 1, size, -1)
    whole, right = gram.sum(0), moment.sum(0)
    inverse, condition = _inverse(whole[None])
    theta = inverse[0] @ right
    residual = torch.empty_like(flat)
    if groups > 1:
        # the draws that stay are weighted up, so that enumerated and sampled parts keep their proportion
        grow = groups / (groups - 1)
        sampled, exact = whole - gram[-1], gram[-1]
        without = exact + grow * (sampled - gram[:-1])
        rest = moment[-1] + grow * (right - moment[-1] - moment[:-1])
        left_out, _ = _inverse(without)
        thetas = left_out @ rest
        for g in present:
            fitted = psi[rows_of[g]] @ (thetas[g] if g < groups else theta)
            residual[rows_of[g]] = flat[rows_of[g]] - fitted
        deviations = thetas - theta
    else:
        residual = flat - psi @ theta
        deviations = theta.new_zeros(groups, *theta.shape)
    return Fit(
        theta.view(size, instances, channels).permute(1, 0, 2),
        deviations.view(groups, size, instances, channels).permute(2, 0, 1, 3),
        residual.view(draws, instances, channels).permute(1, 0, 2),
        condition.expand(instances),
    )


def _individual(psi, weight, y, group) -> Fit:
    """Own weights (and designs) for every instance: ``A (N, q, q)`` by one product with all pairs of basis
    functions."""
    instances, draws, channels = y.shape
    size = psi.shape[-1]
    member, _ = memberships(group)
    groups = member.shape[1]
    weight = weight.expand(instances, draws) if weight.ndim == 1 else weight
    weight = weight / weight.sum(1, keepdim=True)
    if psi.ndim == 2:
        gram = weighted_grams(psi, weight)
        moment = (psi.T @ (weight[..., None] * y).permute(1, 0, 2).reshape(draws, -1)).view(size, instances, channels)
        moment = moment.permute(1, 0, 2)
    else:
        scaled = psi * weight[..., None]
        gram, moment = scaled.mT @ psi, scaled.mT @ y
    inverse, condition = _inverse(gram)
    theta = inverse @ moment
    if psi.ndim == 2:
        fitted = (psi @ theta.permute(1, 0, 2).reshape(size, -1)).view(draws, instances, channels).permute(1, 0, 2)
        leverage = weight * quadratic_forms(psi, inverse)
    else:
        fitted = psi @ theta
        leverage = weight * torch.einsum("nmq,nmq->nm", psi @ inverse, psi)
    sampled = (group >= 0).double() if groups else torch.zeros(draws, dtype=torch.float64)
    residual = (y - fitted) / (1 - leverage * sampled).clamp_min(0.05)[..., None]
    if not groups:
        return Fit(theta, theta.new_zeros(instances, 0, size, channels), residual, condition)
    score = residual * weight[..., None]  # (N, m, C)
    scores = theta.new_empty(instances, groups, size, channels)
    for g in range(groups):
        rows = torch.nonzero(group == g)[:, 0]
        part = score[:, rows]
        if psi.ndim == 2:
            block = psi[rows].T @ part.permute(1, 0, 2).reshape(len(rows), -1)
            scores[:, g] = block.view(size, instances, channels).permute(1, 0, 2)
        else:
            scores[:, g] = psi[:, rows].mT @ part
    stacked = scores.permute(0, 2, 1, 3).reshape(instances, size, -1)
    deviations = (
        -(inverse @ stacked).view(instances, size, groups, channels).permute(0, 2, 1, 3) * groups / max(groups - 1, 1)
    )
    return Fit(theta, deviations, residual, condition)


def weighted_grams(psi: torch.Tensor, weight: torch.Tensor, limit: int = 2**25) -> torch.Tensor:
    """``A[n] = sum_i weight[n, i] psi_i psi_i'`` for all instances: ``(N, q, q)`` from ``psi (m, q)``, ``weight (N,
    m)``."""
    draws, size = psi.shape
    first, second = torch.triu_indices(size, size)
    gram = psi.new_empty(len(weight), size, size)
    step = max(1, limit // (8 * draws))
    for start in range(0, len(first), step):
        i, j = first[start : start + step], second[start : start + step]
        block = weight @ (psi[:, i] * psi[:, j])
        gram[:, i, j] = block
        gram[:, j, i] = block
    return gram


def quadratic_forms(psi: torch.Tensor, matrix: torch.Tensor, limit: int = 2**25) -> torch.Tensor:
    """``psi_i' matrix[n] psi_i`` for all instances and draws: ``(N, m)`` from symmetric ``matrix (N, q, q)``."""
    draws, size = psi.shape
    first, second = torch.triu_indices(size, size)
    double = torch.where(first == second, 1.0, 2.0).double()
    out = psi.new_zeros(len(matrix), draws)
    step = max(1, limit // (8 * draws))
    for start in range(0, len(first), step):
        i, j = first[start : start + step], second[start : start + step]
        out += (matrix[:, i, j] * double[start : start + step]) @ (psi[:, i] * psi[:, j]).T
    return out


def _inverse(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverses of symmetric matrices and their 1-norm condition numbers; pseudo-inverses where they are singular."""
    size = gram.shape[-1]
    factor, info = torch.linalg.cholesky_ex(gram)
    inverse = torch.cholesky_inverse(factor) if bool((info == 0).any()) else torch.zeros_like(gram)
    norm = gram.abs().sum(-1).amax(-1)
    condition = norm * inverse.abs().sum(-1).amax(-1)
    bad = (info != 0) | ~(condition < SINGULAR)
    if bool(bad.any()):
        inverse = inverse.clone()
        inverse[bad] = torch.linalg.pinv(gram[bad], rtol=1e-11 * size, hermitian=True)
        condition = torch.where(bad, torch.inf, condition)
    return inverse, condition


def _slopes(psi: torch.Tensor) -> torch.Tensor:
    """1 for basis functions that vary, 0 for the constant one."""
    return (psi != psi[:1]).any(0).double()


def _ones(instances: int) -> torch.Tensor:
    return torch.ones(instances, dtype=torch.float64)
