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

from lab.explain.folded import Folded, quadratic_forms
from lab.kernels.perturb_gram import perturb_gram

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


@dataclass(frozen=True)
class Blocks:
    """Draws in the order of their jackknife groups: ``order (m,)``, and ``(group, start, stop)`` of every block."""

    order: torch.Tensor | None
    spans: tuple[tuple[int, int, int], ...]
    groups: int

    @classmethod
    def of(cls, group: torch.Tensor) -> Blocks:
        """Blocks of ``group (m,)``; the enumerated draws (-1) are the block numbered ``groups``."""
        groups = int(group.max()) + 1 if group.numel() else 0
        place = torch.where(group < 0, groups, group)
        stops = torch.bincount(place, minlength=groups + 1).cumsum(0).tolist()
        spans = tuple((g, a, b) for g, (a, b) in enumerate(zip([0, *stops], stops)) if b > a)
        sorted_already = bool((place[1:] >= place[:-1]).all())
        return cls(None if sorted_already else place.argsort(stable=True), spans, groups)

    def sort(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        return values if self.order is None else values.index_select(axis, self.order)

    def unsort(self, values: torch.Tensor) -> torch.Tensor:
        """Back to the order of the draws, along the last axis."""
        return values if self.order is None else torch.empty_like(values).index_copy_(-1, self.order, values)


def _shared(psi, weight, y, group, ridge, extra) -> Fit:
    instances, draws, channels = y.shape
    blocks, size = Blocks.of(group), psi.shape[1]
    groups = blocks.groups
    if size == 0:
        return Fit(
            y.new_zeros(instances, 0, channels), y.new_zeros(instances, groups, 0, channels), y, _ones(instances)
        )
    flat = blocks.sort(rows_of(y), 1)  # (N C, m)
    psi, weight = blocks.sort(psi, 0), blocks.sort(weight, 0)
    scaled = psi * weight[:, None]
    gram = psi.new_zeros(groups + 1, size, size)
    moment = psi.new_zeros(groups + 1, len(flat), size)
    for g, start, stop in blocks.spans:
        gram[g] = scaled[start:stop].T @ psi[start:stop]
        moment[g] = flat[:, start:stop] @ scaled[start:stop]
        if ridge is not None:
            total = (weight[start:stop] * blocks.sort(ridge, 0)[start:stop]).sum()
            gram[g] += total * torch.diag(_slopes(psi))
    if extra is not None:
        moment += extra.permute(1, 0, 3, 2).reshape(groups + 1, -1, size)
    whole, right = gram.sum(0), moment.sum(0)
    inverse, condition = _inverse(whole[None])
    theta = right @ inverse[0]
    deviations = theta.new_zeros(groups, *theta.shape)
    if groups > 1:
        # the draws that stay are weighted up, so that enumerated and sampled parts keep their proportion
        grow = groups / (groups - 1)
        sampled, exact = whole - gram[-1], gram[-1]
        without = exact + grow * (sampled - gram[:-1])
        rest = moment[-1] + grow * (right - moment[-1] - moment[:-1])
        left_out = rest @ _inverse(without)[0]
        deviations = left_out - theta
        residual = torch.empty_like(flat)
        for g, start, stop in blocks.spans:
            fitted = left_out[g] if g < groups else theta
            torch.sub(flat[:, start:stop], fitted @ psi[start:stop].T, out=residual[:, start:stop])
    else:
        residual = flat - theta @ psi.T
    return Fit(
        theta.view(instances, channels, size).mT,
        deviations.view(groups, instances, channels, size).permute(1, 0, 3, 2),
        blocks.unsort(residual).view(instances, channels, draws).mT,
        condition.expand(instances),
    )


def _individual(psi, weight, y, group) -> Fit:
    """Own weights (and designs) for every instance: ``A (N, q, q)`` by one product with all pairs of basis
    functions (:func:`lab.kernels.perturb_gram`)."""
    instances, draws, channels = y.shape
    size, blocks = psi.shape[-1], Blocks.of(group)
    groups = blocks.groups
    weight = weight.expand(instances, draws) if weight.ndim == 1 else weight
    weight = weight / weight.sum(1, keepdim=True)
    pairs = Folded.of(psi, group)
    if pairs is not None:
        return _paired(pairs, weight, y, blocks)
    if psi.ndim == 2:
        normal = perturb_gram(psi, y[..., 0], weight, intercept=False)
        gram = normal.matrix
        moment = normal.moment[..., None] if channels == 1 else psi.T @ (weight[..., None] * y)
    else:
        scaled = psi * weight[..., None]
        gram, moment = scaled.mT @ psi, scaled.mT @ y
    inverse, condition = _inverse(gram)
    theta = inverse @ moment
    leverage = weight * (quadratic_forms(psi, inverse) if psi.ndim == 2 else ((psi @ inverse) * psi).sum(-1))
    if groups == 0:
        leverage = torch.zeros_like(leverage)
    elif blocks.spans[-1][0] == groups:
        leverage = leverage * (group >= 0)
    fitted = psi @ theta if psi.ndim == 3 else (rows_of(theta) @ psi.T).view(instances, channels, draws).mT
    residual = (y - fitted) / (1 - leverage).clamp_min_(0.05)[..., None]
    if not groups:
        return Fit(theta, theta.new_zeros(instances, 0, size, channels), residual, condition)
    score = blocks.sort(rows_of(residual * weight[..., None]), 1)
    scores = theta.new_zeros(instances, groups, channels, size)
    own = blocks.sort(psi, psi.ndim - 2)
    for g, start, stop in blocks.spans:
        if g == groups:
            continue
        part = score[:, start:stop]
        if psi.ndim == 2:
            scores[:, g] = (part @ own[start:stop]).view(instances, channels, size)
        else:
            scores[:, g] = part.view(instances, channels, -1) @ own[:, start:stop]
    return Fit(theta, _without(scores.flatten(1, 2), inverse, groups), residual, condition)


def _paired(pairs: Folded, weight, y, blocks: Blocks) -> Fit:
    """:func:`_individual` for antithetic pairs of shared draws."""
    instances, draws, channels = y.shape
    groups = blocks.groups
    rows = y.mT  # (N, C, m)
    gram, moment = pairs.equations(weight, weight[:, None] * rows)
    inverse, condition = _inverse(gram)
    theta = inverse @ moment
    constant, change = pairs.fitted(theta)
    residual = (rows - constant).view(instances, channels, draws // 2, 2)
    residual[..., 0] -= change
    residual[..., 1] += change
    own = pairs.uncentred(theta)
    if not groups:
        residual = residual.view(instances, channels, draws).mT
        return Fit(own, theta.new_zeros(instances, 0, *theta.shape[1:]), residual, condition)
    stays = pairs.stays(weight, inverse).clamp_min_(0.05)
    if blocks.spans[-1][0] == groups:
        exact = blocks.spans[-1][1]
        stays[:, slice(exact, None) if blocks.order is None else blocks.order[exact:]] = 1.0
    residual = residual.view(instances, channels, draws).div_(stays[:, None])
    score = blocks.sort(residual * weight[:, None], 2)
    scores = pairs.sorted(blocks.order).sums(score, blocks.spans, groups)
    deviations = pairs.uncentred(_without(scores, inverse, groups))
    return Fit(own, deviations, residual.mT, condition)


def _without(scores: torch.Tensor, inverse: torch.Tensor, groups: int) -> torch.Tensor:
    """Changes ``(N, G, q, C)`` of the fit without a group, to first order, from its sums of scores ``(N, G C, q)``."""
    found = (scores @ inverse).view(len(scores), groups, -1, scores.shape[-1])
    return found.mT * (-groups / max(groups - 1, 1))


def rows_of(values: torch.Tensor) -> torch.Tensor:
    """``(N, m, C)`` as one row an instance and output, ``(N C, m)``."""
    return values.mT.reshape(-1, values.shape[1])


def _inverse(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverses ``(..., q, q)`` of symmetric matrices and their 1-norm condition numbers, each matrix for itself.

    Where a matrix is singular to rounding its pseudo-inverse (the least-norm solution), where it is not finite NaN; the
    condition number of both is infinite.
    """
    size = gram.shape[-1]
    factor, info = torch.linalg.cholesky_ex(gram)
    # what a failed factorization leaves behind is unspecified, and one zero pivot would end the whole batch
    failed = info != 0
    inverse = torch.cholesky_inverse(torch.where(failed[..., None, None], torch.eye(size).to(gram), factor))
    condition = gram.abs().sum(-1).amax(-1) * inverse.abs().sum(-1).amax(-1)
    bad = failed | ~(condition < SINGULAR)
    if bool(bad.any()):
        inverse = inverse.clone()
        finite = gram.isfinite().all(-1).all(-1)
        inverse[bad & ~finite] = torch.nan
        singular = bad & finite
        inverse[singular] = torch.linalg.pinv(gram[singular], rtol=1e-11 * size, hermitian=True)
        condition = torch.where(bad, torch.inf, condition)
    return inverse, condition


def _slopes(psi: torch.Tensor) -> torch.Tensor:
    """1 for basis functions that vary, 0 for the constant one."""
    return (psi != psi[:1]).any(0).double()


def _ones(instances: int) -> torch.Tensor:
    return torch.ones(instances, dtype=torch.float64)
