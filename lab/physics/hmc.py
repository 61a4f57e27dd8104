r"""Hamiltonian Monte Carlo for many chains side by side, with step sizes that settle during warm-up.

A chain at z with momentum p ~ N(0, I) follows the leapfrog steps of H = -log π(z) + |p|^2/2 and accepts the end with
probability min(1, exp(H_0 - H_1)), which leaves π invariant at every step size. In warm-up the step size of each chain follows the
dual averaging of Hoffman and Gelman to an acceptance of ``target``; afterwards it is fixed, up to 20 % of jitter that is drawn
before the trajectory and breaks its periods.

Sources: S. Duane, A. Kennedy, B. Pendleton, D. Roweth, 'Hybrid Monte Carlo', Physics Letters B 195, 1987; M. Hoffman, A. Gelman,
'The No-U-Turn Sampler', JMLR 15, 2014, section 3.2.

>>> draws = sample(lambda z: -z.square().sum(-1) / 2, torch.zeros(8, 2), warmup=50, draws=50)
>>> tuple(draws.z.shape), bool(draws.acceptance.mean() > 0.5)
((50, 8, 2), True)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lab import checks


@dataclass(frozen=True)
class Draws:
    """z (draws, ..., d), log density (draws, ...), mean acceptance (...) after warm-up and step size (...) of each chain."""

    z: torch.Tensor
    log_density: torch.Tensor
    acceptance: torch.Tensor
    step: torch.Tensor


def sample(
    log_density: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor, *, warmup: int = 200, draws: int = 200,
    leapfrog: int = 10, step: float = 0.1, target: float = 0.8, seed: int | torch.Generator = 0,
    progress: Callable[[float], None] | None = None,
) -> Draws:  # fmt: skip
    """Draw from exp(log_density) with one chain for every leading index of ``start`` (..., d).

    Args:
        log_density: (..., d) -> (...), differentiable, each chain's own.
        leapfrog: steps of one trajectory.

    Raises:
        ValueError: a start whose log density is not finite.
    """
    z = checks.tensor("start", start, floating=True)
    warmup, draws = checks.integer("warmup", warmup, low=0), checks.integer("draws", draws, low=1)
    leapfrog, generator = checks.integer("leapfrog", leapfrog, low=1), checks.generator(seed)
    target = checks.number("target", target, low=0.1, high=0.99)

    def slope(z):
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = log_density(z)
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), gradient

    value, gradient = slope(z)
    checks.refuse_nonfinite("the log density at start", value)
    chains = value.shape
    size = torch.full(chains, math.log(checks.number("step", step, low=0.0, open_low=True)), dtype=z.dtype)
    centre, mean, gap = size + math.log(10.0), size.clone(), torch.zeros(chains, dtype=z.dtype)
    kept, values, accepted = [], [], torch.zeros(chains, dtype=z.dtype)
    for k in range(warmup + draws):
        e = torch.exp(size + 0.2 * (2 * torch.rand(chains, generator=generator, dtype=z.dtype) - 1))[..., None]
        p = torch.randn(z.shape, generator=generator, dtype=z.dtype)
        energy = p.square().sum(-1) / 2 - value
        new, p = z, p + e / 2 * gradient
        for j in range(leapfrog):
            new = new + e * p
            found, force = slope(new)
            p = p + (e if j < leapfrog - 1 else e / 2) * force
        chance = torch.exp((energy - p.square().sum(-1) / 2 + found).clamp_max(0.0)).nan_to_num(0.0)
        taken = torch.rand(chains, generator=generator, dtype=z.dtype) < chance
        z, gradient = (torch.where(taken[..., None], a, b) for a, b in ((new, z), (force, gradient)))
        value = torch.where(taken, found, value)
        if k < warmup:
            t = k + 1
            gap = gap + (target - chance - gap) / (t + 10)
            size = centre - math.sqrt(t) / 0.05 * gap
            mean = mean + t**-0.75 * (size - mean)
            if t == warmup:
                size = mean
        else:
            kept.append(z)
            values.append(value)
            accepted = accepted + chance
        if progress is not None:
            progress((k + 1) / (warmup + draws))
    return Draws(torch.stack(kept), torch.stack(values), accepted / draws, torch.exp(size))


def split_r_hat(z: torch.Tensor) -> torch.Tensor:
    """Split R-hat (...) of draws (draws, chains, ...): 1 where both halves of all chains agree."""
    half = len(z) // 2
    parts = torch.cat([z[:half], z[half : 2 * half]], 1)
    within, between = parts.var(0).mean(0), parts.mean(0).var(0)
    return ((within * (half - 1) / half + between) / within.clamp_min(1e-300)).sqrt()
