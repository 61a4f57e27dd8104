"""Regret: the cost of what was played less that of a comparator, over many horizons at once, and how fast it grows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lab import checks
from lab.online.environments import Experts, Quadratic

_STEPS = 60  # of the search for the multiplier of the ball; each halves its interval


def horizons(rounds: int, count: int = 30, least: int = 10) -> torch.Tensor:
    """About ``count`` horizons up to ``rounds``, evenly spaced in their logarithm."""
    rounds = checks.integer("rounds", rounds, low=1)
    grid = torch.logspace(
        torch.log10(torch.tensor(float(min(least, rounds)))), torch.log10(torch.tensor(float(rounds))), count
    )
    return grid.round().long().clamp(1, rounds).unique()


def static(environment, losses: torch.Tensor, at: Sequence[int] | torch.Tensor | None = None) -> torch.Tensor:
    """sum_{t <= T} f_t(x_t) - min_u sum_{t <= T} f_t(u) for each horizon T of ``at``, (batch, horizons).

    Args:
        environment: quadratic losses on a ball (the minimum is that of a trust region, whatever the sign of the curvature) or
            experts (the minimum is the best action's).
        losses: what was paid, (batch, rounds played).
        at: horizons, 1..rounds played; all rounds if None.
    """
    rounds = losses.shape[1]
    at = torch.tensor([rounds]) if at is None else torch.as_tensor(at, dtype=torch.long)
    if at.numel() == 0 or int(at.min()) < 1 or int(at.max()) > rounds or bool((at.diff() < 0).any()):
        raise ValueError(f"at must hold ascending horizons between 1 and {rounds}, got {at.tolist()}")
    paid = losses.cumsum(1)[:, at - 1]
    if isinstance(environment, Experts):
        return paid - environment.table[:, :rounds].cumsum(1)[:, at - 1].amin(-1)
    return paid - best_fixed(environment, at)[0]


def best_fixed(environment: Quadratic, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """min_u sum_{t <= T} f_t(u) on the ball, (batch, horizons), and where it is attained, (batch, horizons, dimension)."""
    last, dimension = int(at.max()), environment.dimension
    slope = environment.slope[:, :last].cumsum(1)[:, at - 1]
    constant = environment.constant[:, :last].cumsum(1)[:, at - 1]
    a = environment.curvature[..., 0].expand(-1, environment.rounds)[:, :last].cumsum(1)[:, at - 1]
    hessian = a[..., None, None] * torch.eye(dimension, dtype=slope.dtype)
    if environment.features is not None:
        parts, begin = [], 0
        for end in at.tolist():
            part = environment.features[:, begin:end]
            parts.append(part.mT @ part)
            begin = end
        hessian = hessian + torch.stack(parts, 1).cumsum(1)
    value, u = trust_region(hessian, slope, environment.radius[:, :, None])
    return value + constant, u


def trust_region(hessian: torch.Tensor, slope: torch.Tensor, radius) -> tuple[torch.Tensor, torch.Tensor]:
    """min x'Hx/2 - b'x over |x| <= radius, and its argument, for symmetric H (..., d, d) of any sign and b (..., d).

    The minimum is at (H + mu)^-1 b with the least mu >= 0 that makes H + mu positive and |x| <= radius, found by bisection.
    """
    values, vectors = torch.linalg.eigh(hessian)
    z = (vectors.mT @ slope[..., None])[..., 0]
    radius = torch.as_tensor(radius, dtype=slope.dtype)
    size = values.abs().amax(-1, keepdim=True).clamp_min(1e-30)
    low = (-values[..., :1]).clamp_min(0) + 1e-14 * size
    high = low + z.norm(dim=-1, keepdim=True) / radius + 1e-14 * size
    inside = (z / (values + low)).norm(dim=-1, keepdim=True) <= radius
    bottom, top = low.clone(), high.clone()
    for _ in range(_STEPS):
        middle = 0.5 * (bottom + top)
        long = (z / (values + middle)).norm(dim=-1, keepdim=True) > radius
        bottom, top = torch.where(long, middle, bottom), torch.where(long, top, middle)
    mu = torch.where(inside, low, 0.5 * (bottom + top))
    x = z / (values + mu)
    gap = (radius.square() - x.square().sum(-1, keepdim=True)).clamp_min(0).sqrt()
    hard = inside & (values[..., :1] < 0)  # the curve stops short of the sphere: go on along the lowest eigenvector
    x = torch.where(hard & (torch.arange(x.shape[-1]) == 0), x + gap, x)
    x = x * (radius / x.norm(dim=-1, keepdim=True).clamp_min(1e-300)).clamp_max(1.0)
    value = (0.5 * values * x.square() - z * x).sum(-1)
    return value, (vectors @ x[..., None])[..., 0]


def dynamic(environment: Quadratic, points: torch.Tensor, comparators: torch.Tensor | None = None) -> torch.Tensor:
    """sum_{s <= t} F_s(x_s) - F_s(u_s) for every t, (batch, rounds): against ``comparators``, or the minimizers of each F_s."""
    u = environment.minimizers() if comparators is None else comparators
    gap = environment.mean_losses(points) - environment.mean_losses(u[:, : points.shape[1]])
    return gap.cumsum(1)


def path_length(comparators: torch.Tensor) -> torch.Tensor:
    """P_T = sum_{t >= 2} |u_t - u_{t-1}| of comparators (batch, rounds, dimension)."""
    return comparators.diff(dim=1).norm(dim=-1).sum(1)


def slope(at: torch.Tensor, regret: torch.Tensor, least: float = 1e-3) -> torch.Tensor:
    """The exponent of growth: least-squares slope of log regret in log T over the last axis.

    Regret below ``least``, negative values included, counts as ``least``: it does not grow.
    """
    x = at.double().log()
    x = x - x.mean()
    return (regret.clamp_min(least).log() * x).sum(-1) / x.square().sum()
