r"""Samplers for any score: reverse diffusion, Langevin correction, probability flow, likelihoods, and the kernel of DDPM.

States are ``x`` (seeds, items, d): every seed has a generator of its own, so that its samples do not depend on the other seeds.
With the forward step x(t) = a x(t - h) + G z of :meth:`lab.generative.sdes.SDE.discretized`, the predictor is

.. math:: x(t - h) = x(t) + (1 - a)\,x(t) + G^2\,s(x(t), t) + G z,

the reverse diffusion sampler (for VP 1 - a means 2 - sqrt(1 - beta h) - 1). The corrector takes Langevin steps at the same time,

.. math:: x \leftarrow x + e\,s(x, t) + \sqrt{2e}\,z, \qquad e = 2 \alpha \bigl(r \|z\| / \|s\|\bigr)^2,

norms averaged over a seed's items, alpha = a^2 (1 for VE), r the signal-to-noise ratio. The last mean is returned without its
noise. Along the probability flow dx/dt = v(x, t) the density obeys d log p_t(x(t)) / dt = - div v, which gives likelihoods.

Source: Y. Song et al., ICLR 2021, equations (13), (39), (40), (46), algorithms 1 to 5, appendices D, F and G; the kernel: J. Ho,
A. Jain, P. Abbeel, 'Denoising diffusion probabilistic models', NeurIPS 2020, equations (6) and (7). The published code takes
steps of 1/N on a grid that stops at ``last``; here a step is as long as the grid says, so that the time passed is 1 - last. It
also defines no alpha for the corrector of sub-VP, which is a^2 here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lab import checks
from lab.generative.sdes import SDE, Score, over
from lab.integrate import dopri5


class Noise:
    """Standard normal and uniform draws (seeds, ...), one generator a seed."""

    def __init__(self, seeds: Sequence[int], dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"):
        self.generators = [
            checks.generator(1_000_003 * (checks.integer("seeds", one, low=0) + 1), device) for one in seeds
        ]
        if not self.generators:
            raise ValueError("seeds must name at least one seed, got none")
        self.options: dict = {"dtype": dtype, "device": device}

    def __call__(self, *shape: int) -> torch.Tensor:
        return torch.stack([torch.randn(*shape, generator=one, **self.options) for one in self.generators])

    def uniform(self, *shape: int) -> torch.Tensor:
        return torch.stack([torch.rand(*shape, generator=one, **self.options) for one in self.generators])


@dataclass(frozen=True, eq=False)
class Samples:
    """``x`` (seeds, items, d), score ``evaluations`` a sample, ``path`` (frames, seeds, items, d) at ``times`` (frames,)."""

    x: torch.Tensor
    evaluations: int
    path: torch.Tensor
    times: torch.Tensor


@dataclass(frozen=True, eq=False)
class Observed:
    """What is known of the samples: coordinates ``known`` (d,) of ``x @ basis`` have the ``values`` (..., d).

    ``basis`` is orthogonal, the identity where not given: inpainting knows pixels, colorization the grey direction of each.
    """

    known: torch.Tensor
    values: torch.Tensor
    basis: torch.Tensor | None = None

    def impose(self, x: torch.Tensor, sde: SDE, t: torch.Tensor | None, noise: Noise) -> torch.Tensor:
        """``x`` with the known coordinates drawn anew from the forward kernel at ``t``; exact values where t is None."""
        turned = x if self.basis is None else x @ self.basis
        values = self.values.to(x).expand(x.shape)
        if t is not None:
            values = sde.noised(values, t, noise(*x.shape[1:]))
        turned = torch.where(self.known, values, turned)
        return turned if self.basis is None else turned @ self.basis.T


def grid(sde: SDE, steps: int) -> torch.Tensor:
    """``steps`` + 1 times from 1 down to ``sde.last``, evenly spaced, float64."""
    return torch.linspace(1.0, sde.last, checks.integer("steps", steps, low=1) + 1, dtype=torch.float64)


@torch.no_grad()
def reverse(
    score: Score,
    sde: SDE,
    items: int,
    dimension: int,
    *,
    seeds: Sequence[int] = (0,),
    steps: int = 1000,
    corrections: int = 0,
    predict: bool = True,
    snr: float = 0.16,
    observed: Observed | None = None,
    denoise: bool = True,
    frames: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Samples:
    """Predictor-corrector sampling from the prior down to ``sde.last``.

    Args:
        score: called with x (seeds, items, d) and a time of shape ().
        items, dimension: samples a seed, coordinates of each.
        steps: of the predictor; evaluations are steps * (1 + corrections).
        corrections: Langevin steps before each prediction; 0 is the predictor alone.
        predict: False leaves out the predictor: annealed Langevin dynamics.
        snr: r of the corrector.
        observed: conditions imposed after every update.
        denoise: the last step without noise.
        frames: states to keep between the ends.

    Raises:
        ValueError, TypeError: numbers that cannot be; for VP too few steps.
        ArithmeticError: samples that are not finite.
    """
    times = grid(sde, steps).to(device=device)
    corrections, items = checks.integer("corrections", corrections, low=0), checks.integer("items", items, low=1)
    dimension, snr = checks.integer("dimension", dimension, low=1), checks.number("snr", snr, low=0.0, open_low=True)
    if not predict and not corrections:
        raise ValueError("corrections must be at least 1 where predict=False, got 0: nothing would move")
    noise = Noise(seeds, dtype, device)
    x = sde.prior_std * noise(items, dimension)
    kept, marks = [x], [float(times[0])]
    wanted = {round(k * steps / frames) for k in range(1, frames + 1)} if frames else set()
    for step, (t, after) in enumerate(zip(times[:-1], times[1:])):
        a, spread = sde.discretized(t, float(t - after))
        a, spread, now = a.to(dtype), spread.to(dtype), t.to(dtype)
        for _ in range(corrections):
            slope, z = score(x, now), noise(items, dimension)
            size = z.norm(dim=-1).mean(-1) / slope.norm(dim=-1).mean(-1).clamp_min(1e-30)
            e = (2 * a**2 * (snr * size) ** 2)[:, None, None]
            mean = x + e * slope
            x = mean + torch.sqrt(2 * e) * z
            if observed is not None:
                x, mean = observed.impose(x, sde, now, noise), observed.impose(mean, sde, now, noise)
        if predict:
            mean = x + (1 - a) * x + spread**2 * score(x, now)
            x = mean + spread * noise(items, dimension)
            if observed is not None:
                later = after.to(dtype)
                x, mean = observed.impose(x, sde, later, noise), observed.impose(mean, sde, later, noise)
        if step + 1 in wanted:
            kept.append(x)
            marks.append(float(after))
    x = mean if denoise else x
    if observed is not None:
        x = observed.impose(x, sde, None, noise)
    if not bool(torch.isfinite(x).all()):
        raise ArithmeticError(
            "samples are not finite: the score or the step size blew up; take more steps or a smaller snr"
        )
    calls = steps * (corrections + int(predict))
    return Samples(x, calls, torch.stack(kept), torch.tensor(marks, dtype=torch.float64))


@torch.no_grad()
def flow(
    score: Score,
    sde: SDE,
    x: torch.Tensor,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    denoise: bool = True,
    backwards: bool = True,
    frames: int = 2,
) -> Samples:
    """Follow the probability flow from states ``x`` at t = 1 to ``sde.last``, or with ``backwards=False`` from there to t = 1.

    ``denoise`` ends with the posterior mean at ``last``. The path has ``frames`` evenly spaced states.
    """
    ends = (1.0, sde.last) if backwards else (sde.last, 1.0)
    times = torch.linspace(*ends, checks.integer("frames", frames, low=2), dtype=torch.float64)
    found = dopri5(lambda t, y: sde.flow(score, y, t), x, times, rtol, atol, norm="mean")
    y, calls = found.y[-1], found.evaluations
    if denoise and backwards:
        t = torch.tensor(sde.last, dtype=y.dtype, device=y.device)
        y, calls = (y + sde.std(t) ** 2 * score(y, t)) / sde.mean(t), calls + 1
    return Samples(y, calls, found.y, times)


def divergence(f, x: torch.Tensor, probes: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """f(x) and its divergence, for x (..., d): exact from d products, or Hutchinson's mean of e' J e over ``probes`` (n,
    ..., d)."""
    if probes is None:
        rows = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        probes = rows.reshape(-1, *(1,) * (x.ndim - 1), x.shape[-1]).expand(-1, *x.shape)
        scale = 1.0
    else:
        scale = 1.0 / len(probes)
    value = f(x)
    slopes = torch.func.vmap(lambda e: (torch.func.jvp(f, (x,), (e,))[1] * e).sum(-1))(probes)
    return value, scale * slopes.sum(0)


@torch.no_grad()
def log_likelihood(
    score: Score,
    sde: SDE,
    x: torch.Tensor,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    probes: int = 0,
    seed: int | torch.Generator = 0,
    start: float = 1e-5,
) -> tuple[torch.Tensor, int]:
    """log p(x) for points ``x`` (..., d) by the flow from ``start`` to 1, and the evaluations used.

    The density is that of the model at t = ``start``. ``probes``: 0 takes the exact divergence (d products an evaluation), n > 0
    Hutchinson's estimate with n Rademacher vectors, fixed along the path: unbiased, noisy.
    """
    x = checks.tensor("x", x, floating=True)
    probes = checks.integer("probes", probes, low=0)
    signs = None
    if probes:
        generator = checks.generator(seed, x.device)
        draws = torch.randint(2, (probes, *x.shape), generator=generator, device=x.device)
        signs = (2 * draws - 1).to(x.dtype)

    def f(t, state):
        value, div = divergence(lambda y: sde.flow(score, y, t), state[..., :-1], signs)
        return torch.cat([value, div[..., None]], -1)

    state = torch.cat([x, torch.zeros_like(x[..., :1])], -1)
    found = dopri5(f, state, [checks.number("start", start, low=0.0, high=0.5), 1.0], rtol, atol, norm="mean")
    end = found.y[-1]
    return sde.prior_log_density(end[..., :-1]) + end[..., -1], found.evaluations


def kernel(
    sde: SDE, x: torch.Tensor, denoised: torch.Tensor, t: torch.Tensor, s: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (..., d) and deviation of x_s given x_t = ``x`` and x_0 = ``denoised``, s < t.

    With a = m_t / m_s and v = std_t^2 - a^2 std_s^2 the mean is (a std_s^2 x_t + v m_s x_0) / std_t^2 and the variance
    v std_s^2 / std_t^2; for VP this is DDPM's posterior.
    """
    a, below, above = sde.mean(t) / sde.mean(s), sde.std(s) ** 2, sde.std(t) ** 2
    v = above - a**2 * below
    mean = over(a * below / above, x) * x + over(v * sde.mean(s) / above, x) * denoised
    return mean, torch.sqrt(v * below / above)
