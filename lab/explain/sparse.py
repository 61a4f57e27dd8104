"""Sparse surrogates: an L1 penalty by coordinate descent for all instances at once, and its jackknife."""

from __future__ import annotations

import torch

from lab.explain import solve


def fit(psi, weight, outputs, group, free: int, penalty: float) -> solve.Fit:
    """The L1-penalised fit and its jackknife over groups, by coordinate descent on the same sums."""
    instances = outputs.shape[0]
    member, fixed = solve.memberships(group)
    weight = weight.expand(instances, -1)
    weight = weight / weight.sum(1, keepdim=True)

    def fitted(keep):
        mass = weight * keep
        scaled = (psi if psi.ndim == 3 else psi.expand(instances, -1, -1)) * mass[..., None]
        return descend(scaled.mT @ psi, scaled.mT @ outputs, free, penalty)

    theta = fitted(torch.ones(len(group), dtype=torch.float64))
    groups = member.shape[1]
    deviations = theta.new_zeros(instances, groups, *theta.shape[1:])
    for g in range(groups):
        deviations[:, g] = fitted(1 - member[:, g]) - theta
    residual = outputs - psi @ theta
    return solve.Fit(theta, deviations, residual, torch.ones(instances, dtype=torch.float64))


def descend(gram: torch.Tensor, moment: torch.Tensor, free: int, fraction: float, sweeps: int = 500) -> torch.Tensor:
    """``argmin theta'A theta / 2 - b'theta + lam |theta|_1`` by coordinate descent, the first ``free`` unpenalised.

    ``lam`` is ``fraction`` of the smallest penalty that sets all penalised coefficients to zero, for every right-hand
    side. Shapes: ``gram (N, q, q)``, ``moment (N, q, C)``. Source: J. Friedman, T. Hastie, R. Tibshirani,
    'Regularization Paths for Generalized Linear Models via Coordinate Descent', Journal of Statistical Software 2010.
    """
    diagonal = torch.diagonal(gram, dim1=-2, dim2=-1).clamp_min(1e-300)
    theta = torch.zeros_like(moment)
    if free:
        theta[:, :free] = torch.linalg.pinv(gram[:, :free, :free], hermitian=True) @ moment[:, :free]
    lam = fraction * (moment - gram @ theta)[:, free:].abs().amax(1)
    for _ in range(sweeps):
        before = theta.clone()
        for j in range(theta.shape[1]):
            partial = moment[:, j] - (gram[:, j, None] @ theta)[:, 0] + diagonal[:, j, None] * theta[:, j]
            shrunk = partial if j < free else torch.sign(partial) * (partial.abs() - lam).clamp_min(0)
            theta[:, j] = shrunk / diagonal[:, j, None]
        if float((theta - before).abs().max()) <= 1e-10 * max(float(theta.abs().max()), 1e-300):
            break
    return theta
