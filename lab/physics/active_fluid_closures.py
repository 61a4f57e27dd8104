r"""Closures of a kinetic theory of an active fluid: rods that swim in the flow they make, by moments of their directions.

The density of rods with angle theta has the even moments f_k = <e^{2 i k theta}> (f_0 = c = 1). With the vorticity w = v_x - u_y,
the strain rate e = E_xx + i E_xy and G = e + zeta f_1

.. math:: \partial_t f_k + u\cdot\nabla f_k = i k w f_k + k\,(G f_{k-1} - \bar G f_{k+1}) + d_T \Delta f_k - 4 k^2 d_R f_k,

.. math:: -\Delta u + \nabla\Pi = \nabla\cdot\Sigma,\quad \nabla\cdot u = 0,\qquad
   \Sigma_{xx} + i\Sigma_{xy} = \tfrac{\alpha}{2} a_2 + \tfrac{\beta}{4}(e + a_4\bar e)
   - \tfrac{\zeta\beta}{4}(a_2 - a_4\bar a_2),

a_2 = f_1, a_4 = f_2. All f_k to a high order are the kinetic theory; with f_1 alone a_4 must be *closed* as a function of a_2
(and e). In two dimensions a closure in a_2 alone is one function of s = |a_2|: a_4 = r(s) (a_2/s)^2 with 2 s^2 - 1 <= r <= 1.
Bingham's is r = I_2/I_0 at s = I_1/I_0 (steady states of irrotational flow). The learned one is

.. math:: r = 2s^2 - 1 + 2(1 - s^2)\,\mathrm{sigmoid}(s^2 g),\qquad
          a_4 = a_2^2\,\bigl(r/s^2 + i\,\mathrm{Im}(e\bar a_2)\,h\bigr),

with networks g and h of s^2 (and |e|^2, Re(e a_2*)): rotated and mirrored inputs give the rotated and mirrored closure.

Source: S. Maddu, S. Weady, M. J. Shelley, 'Learning fast, accurate, and stable closures of a kinetic theory of an active fluid',
Journal of Computational Physics 504, 2024, sections 2 to 4. The paper's tensor equations, with (grad u)_ij = d_j u_i, in the form
of complex moments; the bound on r and the smooth form are ours.

>>> float(Bingham()(torch.tensor(0.5 + 0.0j), None).real.round(decimals=3))
0.137
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lab import checks
from lab.physics.spectral import Periodic, imex

Closure = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


@dataclass(frozen=True)
class ActiveFluid:
    """An active suspension on a periodic square; ``alpha`` and ``zeta`` may be tensors (runs, 1, 1), one value a run.

    Attributes:
        alpha: activity, negative for pushers. zeta: steric alignment. beta: particle stress.
        rotational, translational: diffusion d_R, d_T. n, length: grid. dt: of a step. harmonics: kept by the kinetic theory
            (4 harmonics are 16 angles).
    """

    alpha: float | torch.Tensor = -3.5
    zeta: float | torch.Tensor = 1.0
    beta: float = 0.8
    rotational: float = 0.2
    translational: float = 0.1
    n: int = 32
    length: float = 10.0
    dt: float = 0.02
    harmonics: int = 8
    dtype: torch.dtype = torch.float32

    @property
    def box(self) -> Periodic:
        """The grid."""
        return Periodic(self.n, self.length, self.dtype)


def flow(fluid: ActiveFluid, box: Periodic, a2: torch.Tensor, a4: torch.Tensor, picard: int = 3):
    """u, v, vorticity and strain rate of the moments: the stress contains the strain, so it is solved ``picard`` times."""
    still = fluid.alpha / 2 * a2 - fluid.zeta * fluid.beta / 4 * (a2 - a4 * a2.conj())
    e = torch.zeros_like(a2)
    for _ in range(picard):
        *rest, e = box.stokes(still + fluid.beta / 4 * (e + a4 * e.conj()))
    return *rest, e


def slopes(fluid: ActiveFluid, box: Periodic, f: torch.Tensor, closure: Closure | None) -> torch.Tensor:
    """The slope of the moments f (..., K, n, n) but for diffusion; ``closure`` gives f_2 where K = 1, else f_{K+1} = 0."""
    a2 = f[..., 0, :, :]
    if closure is None:
        a4 = f[..., 1, :, :]
        top = torch.zeros_like(a2)
        u, v, w, e = flow(fluid, box, a2, a4)
    else:
        # a closure that reads the strain takes it from the flow of Bingham's stress, which differs in second order only
        e = None
        if getattr(closure, "needs_strain", False):
            *_, e = flow(fluid, box, a2, _BINGHAM(a2, None), 2)
        a4 = top = closure(a2, e)
        u, v, w, e = flow(fluid, box, a2, a4)
    below = torch.cat([torch.ones_like(f[..., :1, :, :]), f[..., :-1, :, :]], -3)
    above = torch.cat([f[..., 1:, :, :], top[..., None, :, :]], -3)
    order = torch.arange(1, f.shape[-3] + 1, dtype=box.k2.dtype)[:, None, None]
    fx, fy = box.gradient(f)
    G = (e + fluid.zeta * a2)[..., None, :, :]
    u, v, w = (each[..., None, :, :] for each in (u, v, w))
    return -(u * fx + v * fy) + order * (1j * w * f + G * below - G.conj() * above)


def roll(
    fluid: ActiveFluid, f: torch.Tensor, steps: int, every: int = 1, *, closure: Closure | None = None,
    lost: torch.Tensor | None = None, progress: Callable[[float], None] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Moments (frames, ..., K, n, n) from f (..., K, n, n): the kinetic theory, or with ``closure`` the coarse model (K = 1).

    ``lost`` (runs,) is marked where a run blows up, as :func:`lab.physics.spectral.imex` does; without it that is an error.

    Raises:
        ValueError: a blow-up, with its step.
    """
    if closure is not None and f.shape[-3] != 1:
        raise ValueError(f"f must hold the one moment that the coarse model evolves, got {f.shape[-3]}")
    if closure is None and f.shape[-3] < 2:
        raise ValueError("f must hold at least 2 moments where there is no closure, got 1")
    box = fluid.box
    order = torch.arange(1, f.shape[-3] + 1, dtype=fluid.dtype)[:, None, None]
    linear = -fluid.translational * box.k2 - 4 * order**2 * fluid.rotational
    return imex(
        lambda f: slopes(fluid, box, f, closure), linear, box, f, fluid.dt, steps, every, lost=lost, progress=progress
    )


def disturbed(fluid: ActiveFluid, runs: int, seed: int | torch.Generator = 0, size: float = 0.1) -> torch.Tensor:
    """Nearly isotropic moments (runs, harmonics, n, n): smooth random a_2 of about ``size``, the others zero."""
    generator, box = checks.generator(seed), fluid.box
    noise = torch.randn(runs, 2, fluid.n, fluid.n, generator=generator, dtype=fluid.dtype)
    smooth = box.field(box.transform(torch.complex(*noise.unbind(1))) * torch.exp(-box.k2 / 2))
    a2 = size * smooth / smooth.abs().square().mean((-2, -1), keepdim=True).sqrt()
    f = torch.zeros(runs, fluid.harmonics, fluid.n, fluid.n, dtype=a2.dtype)
    f[:, 0] = a2
    return f


class Bingham:
    """a_4 of the density exp(xi cos 2(theta - phi)) with the moment a_2; a table of r/s^2 over s^2, linear in between."""

    def __init__(self, points: int = 2001):
        xi = torch.cat(
            [
                torch.linspace(0, 20, points, dtype=torch.float64),
                torch.logspace(1.31, 7, points // 2, dtype=torch.float64),
            ]
        )
        s = torch.special.i1e(xi) / torch.special.i0e(xi)
        ratio = torch.where(xi > 1e-3, 1 - 2 * s / xi.clamp_min(1e-3), xi**2 / 8)  # I_2/I_0
        even = torch.linspace(0, 1, points, dtype=torch.float64)
        where = torch.searchsorted(s, even.sqrt()).clamp(1, len(s) - 1)
        share = (even.sqrt() - s[where - 1]) / (s[where] - s[where - 1])
        r = ratio[where - 1] + share.clamp(0, 1) * (ratio[where] - ratio[where - 1])
        self.table = torch.where(even > 1e-4, r / even.clamp_min(1e-9), 0.5 + even / 12)
        self.table[-1] = 1.0

    def __call__(self, a2: torch.Tensor, e: torch.Tensor | None) -> torch.Tensor:
        table = self.table.to(a2.real.dtype)
        place = (a2.abs().square().clamp(0, 1)) * (len(table) - 1)
        low = place.detach().floor().clamp(0, len(table) - 2).long()
        part = place - low
        return a2**2 * ((1 - part) * table[low] + part * table[low + 1])


_BINGHAM = Bingham()


class Quadratic:
    """a_4 = a_2^2: the fourth moment as the product of second ones, too small in order; shown because it fails."""

    def __call__(self, a2: torch.Tensor, e: torch.Tensor | None) -> torch.Tensor:
        return a2**2


class _Learned(nn.Module):
    """Networks of pointwise features, models side by side: weights (models, in, out), tanh."""

    needs_strain = False
    inputs = outputs = 1

    def __init__(self, width: int = 32, seeds: Sequence[int] = (0,)):
        super().__init__()
        self.models = len(seeds)
        sizes, drawn = (self.inputs, width, width, self.outputs), []
        for seed in seeds:
            generator = checks.generator(seed)
            drawn.append([torch.randn(a, b, generator=generator) / math.sqrt(a) for a, b in zip(sizes, sizes[1:])])
        self.weights = nn.ParameterList(torch.stack(each) for each in zip(*drawn))
        self.biases = nn.ParameterList(torch.zeros(len(seeds), 1, b) for b in sizes[1:])

    def network(self, *features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Outputs of features (models * runs, n, n), which are split evenly among the models."""
        shape = features[0].shape
        h = torch.stack(features, -1).reshape(self.models, -1, len(features))
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            h = torch.baddbmm(bias.to(h), torch.tanh(h) if k else h, weight.to(h))
        return tuple(each.reshape(shape) for each in h.unbind(-1))


class InvariantClosure(_Learned):
    """A closure in a_2 alone: one learned function of s^2, realizable by construction."""

    inputs = outputs = 1

    def forward(self, a2: torch.Tensor, e: torch.Tensor | None = None) -> torch.Tensor:
        s2 = a2.abs().square().clamp_max(1.0)
        (g,) = self.network(s2)
        return a2**2 * ratio(s2, g)


class StrainClosure(_Learned):
    """A closure in a_2 and the strain rate: g and h of s^2, |e|^2, Re(e a_2*), Im(e a_2*)^2, so that mirrors are kept."""

    needs_strain = True
    inputs, outputs = 4, 2

    def forward(self, a2: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        s2, z = a2.abs().square().clamp_max(1.0), e * a2.conj()
        g, h = self.network(s2, e.abs().square(), z.real, z.imag.square())
        return a2**2 * torch.complex(ratio(s2, g), z.imag * h)


class TensorClosure(_Learned):
    """A tensor basis: a_4 = c_1 a_2^2 + c_2 a_2 e + c_3 e^2 with coefficients of the same invariants, not bounded."""

    needs_strain = True
    inputs, outputs = 4, 3

    def forward(self, a2: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        z = e * a2.conj()
        c = self.network(a2.abs().square(), e.abs().square(), z.real, z.imag.square())
        return (0.5 + c[0]) * a2**2 + c[1] * a2 * e + c[2] * e**2


class PlainClosure(_Learned):
    """A network on components: Re and Im of a_2 and e to Re and Im of a_4; nothing about frames is built in."""

    needs_strain = True
    inputs, outputs = 4, 2

    def forward(self, a2: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        return torch.complex(*self.network(a2.real, a2.imag, e.real, e.imag))


class NonlocalClosure(_Learned):
    """:class:`StrainClosure` that also sees a_2 averaged over two neighbourhoods (in grid points), by their invariants."""

    needs_strain = True
    inputs, outputs = 8, 2
    widths = (1.5, 4.0)

    def forward(self, a2: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        s2, z = a2.abs().square().clamp_max(1.0), e * a2.conj()
        features = [s2, e.abs().square(), z.real, z.imag.square()]
        n = a2.shape[-1]
        k = torch.fft.fftfreq(n, dtype=a2.real.dtype) * 2 * torch.pi
        k2 = k[:, None] ** 2 + k[None, :] ** 2
        for width in self.widths:
            near = torch.fft.ifft2(torch.fft.fft2(a2) * torch.exp(-k2 * width**2 / 2))
            features += [near.abs().square(), (near * a2.conj()).real]
        g, h = self.network(*features)
        return a2**2 * torch.complex(ratio(s2, g), z.imag * h)


def ratio(s2: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """r/s^2 of r = 2 s^2 - 1 + 2 (1 - s^2) sigmoid(s^2 g), finite at s = 0."""
    # 2 sigmoid(t) - 1 = tanh(t/2), so r = s^2 + (1 - s^2) tanh(s^2 g/2), and tanh(x)/x is smooth
    x = s2 * g / 2
    small = x.abs() < 1e-2
    safe = torch.where(small, 1.0, x)
    sinc = torch.where(small, 1 - x**2 / 3 + 2 * x**4 / 15 - 17 * x**6 / 315, torch.tanh(safe) / safe)
    return 1 + (1 - s2) * sinc * g / 2


CLOSURES = {
    "invariant": InvariantClosure, "strain": StrainClosure, "tensor": TensorClosure, "plain": PlainClosure,
    "nonlocal": NonlocalClosure,
}  # fmt: skip


def fit(
    closure: nn.Module, a2: torch.Tensor, e: torch.Tensor, a4: torch.Tensor, *, steps: int = 400, rate: float = 5e-3,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Fit to recorded moments (models * samples, n, n), in place; returns the relative square error (steps, models)."""
    optimizer = torch.optim.Adam(closure.parameters(), lr=rate)
    size = a4.abs().square().unflatten(0, (closure.models, -1)).mean((1, 2, 3))
    losses = []
    for k in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * k / steps))
        gap = (closure(a2, e) - a4).abs().square().unflatten(0, (closure.models, -1)).mean((1, 2, 3))
        loss = gap / size
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        losses.append(loss.detach())
        if progress is not None:
            progress((k + 1) / steps)
    return torch.stack(losses)


def rollout_loss(fluid: ActiveFluid, closure: Closure, windows: torch.Tensor, every: int = 1) -> torch.Tensor:
    """Mean |a_2 - observed|^2 over windows (frames, runs, n, n), ``every`` steps apart, from their first frames; one a run."""
    found = roll(fluid, windows[0][..., None, :, :], every * (len(windows) - 1), every, closure=closure)[..., 0, :, :]
    return (found[1:] - windows[1:]).abs().square().mean((0, -2, -1))


def fit_closure(
    D, fluid: ActiveFluid, dt: float, *, c=1.0, window: int = 20, steps: int = 60, width: int = 32, seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> InvariantClosure:  # fmt: skip
    """A closure from second moments alone, by gradients through the coarse solver over windows of about ``window`` steps.

    Args:
        D: second moments (frames, n, n, 2, 2) with trace c; an array or a ``.npz`` file with ``D`` and, if not 1, ``c``.
        fluid: parameters, with its grid ``n`` and its step. dt: from frame to frame, a multiple of the step.
        c: the concentration, uniform: one number or (frames, n, n).

    Returns:
        The closure, which ``torch.save(closure.state_dict(), path)`` keeps.

    Raises:
        ValueError, TypeError: shapes, non-finite values, a trace that is not c, moments of no density, too few frames.
    """
    if isinstance(D, (str, Path)):
        import numpy as np

        with np.load(D, allow_pickle=False) as file:
            held = getattr(file, "files", [])
            if "D" not in held:
                raise ValueError(
                    f"D must be a .npz file with an array 'D' (frames, n, n, 2, 2), got {', '.join(held) or 'none'}"
                )
            D, c = file["D"], file["c"] if "c" in held else c
    a2 = second_moment(D, c).to(torch.complex64)
    if a2.shape[1] != fluid.n or a2.shape[2] != fluid.n:
        raise ValueError(f"D must have the grid of the fluid, {fluid.n} x {fluid.n}, got {a2.shape[1]} x {a2.shape[2]}")
    every = round(checks.number("dt", dt, low=0.0, open_low=True) / fluid.dt)
    if every < 1 or abs(every * fluid.dt - dt) > 1e-6 * dt:
        raise ValueError(f"dt must be a multiple of the fluid's step {fluid.dt:g}, got {dt:g}")
    frames = max(1, round(window / every))
    if len(a2) < frames + 1:
        raise ValueError(f"D must hold at least {frames + 1} frames for a window of {window} steps, got {len(a2)}")
    law = InvariantClosure(width, (seed,))
    optimizer = torch.optim.Adam(law.parameters(), lr=1e-2)
    starts = torch.linspace(0, len(a2) - frames - 1, 6).long().tolist()
    for k in range(steps):
        part = a2[starts[k % 6] : starts[k % 6] + frames + 1, None]
        loss = rollout_loss(fluid, law, part, every).sum() / part.abs().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if progress is not None:
            progress((k + 1) / steps)
    return law.requires_grad_(False)


def second_moment(D, c=1.0) -> torch.Tensor:
    """a_2 = (D_xx - D_yy + 2 i D_xy)/c of tensors D (..., n, n, 2, 2), refused where they are those of no density."""
    D = checks.tensor("D", D, floating=True)
    if D.ndim < 4 or D.shape[-2:] != (2, 2):
        raise ValueError(f"D must have shape (frames, n, n, 2, 2), got {tuple(D.shape)}")
    c = torch.as_tensor(c, dtype=D.dtype)
    if float((D[..., 0, 1] - D[..., 1, 0]).abs().max()) > 1e-3:
        raise ValueError("D must be symmetric on its last two axes")
    if float((D[..., 0, 0] + D[..., 1, 1] - c).abs().max()) > 1e-2 * float(c.abs().max()):
        raise ValueError("D must have the trace c; pass the concentration as c")
    if float(c.max() - c.min()) > 1e-2 * float(c.abs().max()):
        raise ValueError("c must be uniform: the coarse model here evolves the directions alone")
    a2 = torch.complex(D[..., 0, 0] - D[..., 1, 1], 2 * D[..., 0, 1]) / c
    if float(a2.abs().max()) > 1 + 1e-3:
        raise ValueError(
            f"D must be positive semidefinite: the order |a_2| must be at most 1, got {float(a2.abs().max()):.4g}"
        )
    return a2


def order(a2: torch.Tensor) -> torch.Tensor:
    """The mean of |a_2| over the square: 0 isotropic, 1 aligned."""
    return a2.abs().mean((-2, -1))


def spectrum(fluid: ActiveFluid, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Power of the velocity in shells of one wave number each, (..., n // 3)."""
    box = fluid.box
    shell = (box.k2.sqrt() * fluid.length / (2 * math.pi)).round().long()
    power = (box.transform(u).abs().square() + box.transform(v).abs().square()) / fluid.n**4
    shells = [(power * (shell == k)).sum((-2, -1)) for k in range(1, fluid.n // 3 + 1)]
    return torch.stack(shells, -1)
