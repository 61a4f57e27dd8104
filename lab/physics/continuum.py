r"""Continuum mechanics on deformation gradients F (..., d, d), d = 2 or 3: polar decomposition, strains, materials, rollouts.

A material is a callable F -> Kirchhoff stress tau (Pa, (..., d, d)), a plastic law a callable F_trial -> F. With F = R S,
b = F F^T, J = det F and the Hencky strain eps = log(b)/2

* :class:`Corotated`: tau = 2 mu (F - R) F^T + lambda J (J - 1) I;
* :class:`NeoHookean`: tau = mu (b - I) + lambda ln J I;
* :class:`Hencky`: tau = 2 mu eps + lambda tr(eps) I (St. Venant and Kirchhoff in the Hencky strain);
* :class:`Fluid`: tau = lambda J (J - 1) I, and as a plastic law F -> J^(1/d) I;
* :class:`VonMises`: the deviator of eps returns to the length yield_stress/(2 mu);
* :class:`DruckerPrager`: F -> R in expansion, else the deviator returns by |dev eps| + (d lambda + 2 mu)/(2 mu) tr(eps) alpha.

All derivatives are finite at equal stretches, where those of singular values and eigenvectors are not. :func:`rollout` lets
:func:`lab.kernels.mpm_step` and a pair of laws run, differentiable in everything.

Sources: C. Jiang, C. Schroeder, J. Teran, A. Stomakhin, A. Selle, 'The Material Point Method for Simulating Continuum
Materials', SIGGRAPH Courses 2016, sections 5 and 6; G. Klar et al., 'Drucker-Prager Elastoplasticity for Sand Animation', ACM
Transactions on Graphics 35(4), 2016, section 7; for plane problems all laws are the d = 2 forms of these formulas.

>>> import torch
>>> tau = Corotated.of(young=1e5, poisson=0.2, d=2)(torch.eye(2, dtype=torch.float64)[None])
>>> float(tau.abs().max())
0.0
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.utils.checkpoint import checkpoint as checkpointed

from lab import checks
from lab.kernels import ClosedLaw, MpmState, mpm_roll, mpm_step
from lab.kernels.mpm.public import refuse_step

LEAST_J = 0.05
Law = Callable[[torch.Tensor], torch.Tensor]


def polar(F: torch.Tensor) -> torch.Tensor:
    """The rotation R of F = R S, det R = 1 also where det F < 0; its derivative stays finite at equal stretches.

    In two dimensions R is the direction of (F11 + F22, F21 - F12). In three it comes from a singular value decomposition, and
    dR = R [w]x with (tr(S) I - S) w = axial(R^T dF - dF^T R).
    """
    if F.shape[-1] == 3:
        return _Polar.apply(F)
    a, b = F[..., 0, 0] + F[..., 1, 1], F[..., 1, 0] - F[..., 0, 1]
    length = (a * a + b * b).sqrt().clamp_min(torch.finfo(F.dtype).tiny)
    c, s = a / length, b / length
    return torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2))


class _Polar(torch.autograd.Function):
    @staticmethod
    def forward(ctx, F):
        U, _, V = torch.linalg.svd(F)
        sign = torch.det(U @ V)
        U = torch.cat([U[..., :2], U[..., 2:] * sign[..., None, None]], -1)
        R = U @ V
        ctx.save_for_backward(R, R.mT @ F)
        return R

    @staticmethod
    def backward(ctx, G):
        R, S = ctx.saved_tensors
        K = R.mT @ G
        axial = torch.stack([K[..., 2, 1] - K[..., 1, 2], K[..., 0, 2] - K[..., 2, 0], K[..., 1, 0] - K[..., 0, 1]], -1)
        A = S.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] * torch.eye(3, dtype=S.dtype, device=S.device) - S
        x, y, z = torch.linalg.solve(A, axial).unbind(-1)
        zero = torch.zeros_like(x)
        return R @ torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def invariants(F: torch.Tensor) -> torch.Tensor:
    """What a rotation Q F leaves as it is, zero at rest: tr S - d, the upper part of F^T F - I, J - 1; 5 numbers or 8."""
    d = F.shape[-1]
    with torch.no_grad():
        R = polar(F)
    stretch = (R * F).sum((-2, -1)) - d  # the derivative of tr S in F is R
    rows, columns = torch.triu_indices(d, d, device=F.device)
    green = F.mT @ F - torch.eye(d, dtype=F.dtype, device=F.device)
    return torch.cat([stretch[..., None], green[..., rows, columns], det(F)[..., None] - 1], -1)


def det(F: torch.Tensor) -> torch.Tensor:
    """The determinant written out: no factorization, and a second derivative."""
    if F.shape[-1] == 2:
        return F[..., 0, 0] * F[..., 1, 1] - F[..., 0, 1] * F[..., 1, 0]
    return (F[..., 0, :] * torch.linalg.cross(F[..., 1, :], F[..., 2, :])).sum(-1)


def log_spd(b: torch.Tensor) -> torch.Tensor:
    """The logarithm of symmetric positive definite matrices, with finite derivatives where eigenvalues are equal.

    In two dimensions ln(det b)/2 I + atanh(q)/(q m) (b - m I), m = tr b/2, q = |dev b|/(sqrt(2) m); in three by eigenvectors
    and the divided differences of the logarithm.
    """
    if b.shape[-1] == 3:
        return _Spectral.apply(b, "log")
    m = (b[..., 0, 0] + b[..., 1, 1]) / 2
    half = (b[..., 0, 0] - b[..., 1, 1]) / 2
    q2 = ((half**2 + b[..., 0, 1] * b[..., 1, 0]) / m**2).clamp(0.0, 1 - 1e-7)
    small = q2 < 1e-4
    q = torch.where(small, 0.25, q2).sqrt()
    factor = torch.where(small, 1 + q2 / 3 + q2**2 / 5, torch.atanh(q) / q) / m
    level = torch.log(det(b).clamp_min(torch.finfo(b.dtype).tiny)) / 2
    one = torch.eye(2, dtype=b.dtype, device=b.device)
    return level[..., None, None] * one + factor[..., None, None] * (b - m[..., None, None] * one)


def exp_symmetric(a: torch.Tensor) -> torch.Tensor:
    """The exponential of symmetric matrices, with finite derivatives where eigenvalues are equal."""
    if a.shape[-1] == 3:
        return _Spectral.apply(a, "exp")
    m = (a[..., 0, 0] + a[..., 1, 1]) / 2
    q2 = ((a[..., 0, 0] - a[..., 1, 1]) / 2) ** 2 + a[..., 0, 1] * a[..., 1, 0]
    small = q2 < 1e-4
    q = torch.where(small, 0.25, q2).sqrt()
    even = torch.where(small, 1 + q2 / 2 + q2**2 / 24, torch.cosh(q))
    odd = torch.where(small, 1 + q2 / 6 + q2**2 / 120, torch.sinh(q) / q)
    one = torch.eye(2, dtype=a.dtype, device=a.device)
    deviator = a - m[..., None, None] * one
    return m.exp()[..., None, None] * (even[..., None, None] * one + odd[..., None, None] * deviator)


class _Spectral(torch.autograd.Function):
    """f(a) = N f(l) N^T; the derivative is N (D * (N^T da N)) N^T with the divided differences D of f."""

    @staticmethod
    def forward(ctx, a, name):
        values, N = torch.linalg.eigh(a)
        ctx.name = name
        ctx.save_for_backward(values, N)
        return N * (values.log() if name == "log" else values.exp())[..., None, :] @ N.mT

    @staticmethod
    def backward(ctx, G):
        values, N = ctx.saved_tensors
        p, q = values[..., :, None], values[..., None, :]
        x = (p - q) / q if ctx.name == "log" else p - q
        near = x.abs() < 1e-6
        safe = torch.where(near, 1.0, x)
        if ctx.name == "log":
            D = torch.where(near, 1 - x / 2, torch.log1p(safe) / safe) / q
        else:
            D = torch.where(near, 1 + x / 2, torch.expm1(safe) / safe) * q.exp()
        G = (G + G.mT) / 2
        return N @ (D * (N.mT @ G @ N)) @ N.mT, None


def lame(young: float, poisson: float) -> tuple[float, float]:
    """mu and lambda (Pa) of Young's modulus (Pa) and Poisson's ratio in (-1, 1/2)."""
    young = checks.number("young", young, low=0.0, open_low=True)
    poisson = checks.number("poisson", poisson, low=-1.0, high=0.4999, open_low=True)
    return young / (2 * (1 + poisson)), young * poisson / ((1 + poisson) * (1 - 2 * poisson))


@dataclass(frozen=True)
class _Elastic:
    mu: float
    lam: float
    closed = ""

    def __post_init__(self):
        checks.number("mu", self.mu, low=0.0, open_low=self.closed != "fluid")
        checks.number("lam", self.lam, low=0.0, open_low=self.closed == "fluid")

    @classmethod
    def of(cls, young: float, poisson: float, d: int = 2):
        """The law of Young's modulus (Pa) and Poisson's ratio; the constants are those of three dimensions for any ``d``."""
        return cls(*lame(young, poisson))


class Corotated(_Elastic):
    """tau = 2 mu (F - R) F^T + lambda J (J - 1) I, symmetric since R F^T is."""

    closed = "corotated"

    def __call__(self, F: torch.Tensor) -> torch.Tensor:
        J = det(F)
        return 2 * self.mu * (F - polar(F)) @ F.mT + _isotropic(self.lam * J * (J - 1), F)


class NeoHookean(_Elastic):
    """tau = mu (b - I) + lambda ln J I; J counts as at least 0.05 in the logarithm."""

    closed = "neo-hookean"

    def __call__(self, F: torch.Tensor) -> torch.Tensor:
        level = self.lam * torch.log(det(F).clamp_min(LEAST_J)) - self.mu
        return self.mu * F @ F.mT + _isotropic(level, F)


class Hencky(_Elastic):
    """tau = 2 mu eps + lambda tr(eps) I, eps = log(F F^T)/2."""

    closed = "hencky"

    def __call__(self, F: torch.Tensor) -> torch.Tensor:
        strain = log_spd(F @ F.mT) / 2
        return 2 * self.mu * strain + _isotropic(self.lam * _trace(strain), F)


class Fluid(_Elastic):
    """tau = lambda J (J - 1) I, a weakly compressible fluid (mu is not used)."""

    closed = "fluid"

    def __call__(self, F: torch.Tensor) -> torch.Tensor:
        J = det(F)
        return _isotropic(self.lam * J * (J - 1), F)


@dataclass(frozen=True)
class VonMises:
    """Return of the Hencky strain: where |dev eps| > yield_stress/(2 mu) the deviator is shortened to it, volume unchanged."""

    mu: float
    yield_stress: float
    closed = "von-mises"

    def __call__(self, F: torch.Tensor) -> torch.Tensor:
        strain = log_spd(F @ F.mT) / 2
        deviator = strain - _isotropic(_trace(strain) / F.shape[-1], F)
        size = _length(deviator)
        excess = torch.relu(size - self.yield_stress / (2 * self.mu))
        return exp_symmetric(-(excess / size)[..., None, None] * deviator) @ F


@dataclass(frozen=True)
class DruckerPrager:
    """Sand: no stress in expansion (F -> R), and friction with the angle ``friction`` (degrees) in compression."""

    mu: float
    lam: float
    friction: float = 25.0
    closed = "drucker-prager"

    def __call__(self, F: torch.Tensor) -> torch.Tensor:
        d = F.shape[-1]
        sine = math.sin(math.radians(self.friction))
        alpha = math.sqrt(2 / 3) * 2 * sine / (3 - sine)
        strain = log_spd(F @ F.mT) / 2
        trace = _trace(strain)
        deviator = strain - _isotropic(trace / d, F)
        size = _length(deviator)
        excess = size + (d * self.lam + 2 * self.mu) / (2 * self.mu) * trace * alpha
        share = torch.minimum(torch.relu(excess) / size, torch.ones_like(size))
        change = torch.where((trace >= 0)[..., None, None], -strain, -share[..., None, None] * deviator)
        return exp_symmetric(change) @ F


@dataclass(frozen=True)
class Fluidity:
    """The plastic law of a fluid: F -> J^(1/d) I, which forgets all shear."""

    closed = "fluid"

    def __call__(self, F: torch.Tensor) -> torch.Tensor:
        return _isotropic(det(F).clamp_min(LEAST_J) ** (1 / F.shape[-1]), F)


def closed_law(elastic: _Elastic, plastic=None) -> ClosedLaw:
    """The pair of laws as :func:`lab.kernels.mpm_roll` takes it."""
    more = {name: getattr(plastic, name) for name in ("yield_stress", "friction") if hasattr(plastic, name)}
    return ClosedLaw(elastic.closed, elastic.mu, elastic.lam, plastic=plastic.closed if plastic else "none", **more)


def _trace(a):
    return a.diagonal(dim1=-2, dim2=-1).sum(-1)


def _isotropic(value, F):
    return value[..., None, None] * torch.eye(F.shape[-1], dtype=F.dtype, device=F.device)


def _length(a):
    """The Frobenius norm with a zero derivative at zero."""
    square = (a * a).sum((-2, -1))
    tiny = torch.finfo(a.dtype).tiny
    return torch.where(square > tiny, square.clamp_min(tiny).sqrt(), torch.full_like(square, 1e-12))


@dataclass(frozen=True)
class Scene:
    """The box in which a rollout takes place.

    Attributes:
        cells: grid nodes an axis, one number or d. spacing: dx in m. dt: s a step.
        density: kg/m^d. volume: of one particle at rest in m^d.
        gravity: the vector in m/s^2. wall, layers: as :func:`lab.kernels.mpm_step`.
    """

    cells: int = 24
    spacing: float = 1 / 24
    dt: float = 5e-4
    density: float = 1000.0
    volume: float = 1.0
    gravity: tuple[float, ...] = (0.0, -9.8)
    wall: str = "slip"
    layers: int = 3

    @property
    def options(self) -> dict:
        """The keyword arguments of :func:`lab.kernels.mpm_step`."""
        return {
            "cells": self.cells, "spacing": self.spacing, "dt": self.dt, "mass": self.density * self.volume,
            "volume": self.volume, "gravity": self.gravity, "wall": self.wall, "layers": self.layers,
        }  # fmt: skip

    def refuse_step(self, *laws: _Elastic) -> None:
        """``ValueError`` where a step is longer than dx/sqrt((lambda + 2 mu)/rho) of one of the laws; the limit is named."""
        for law in laws:
            refuse_step(self.dt, self.spacing, math.sqrt((law.lam + 2 * law.mu) / self.density))


@dataclass(frozen=True)
class Rollout:
    """Positions at every step, (steps + 1, scenes, particles, d), and the state after the last."""

    x: torch.Tensor
    last: MpmState = field(repr=False)


def start(x: torch.Tensor, velocity: torch.Tensor | tuple = 0.0, spin: float = 0.0) -> MpmState:
    """Undeformed particles at ``x`` (scenes, particles, d) with one velocity (d,) and, about their centre, one spin (1/s).

    In three dimensions the spin is about the axis (1, 1, 1)/sqrt(3).
    """
    d = x.shape[-1]
    v = torch.zeros_like(x) + torch.as_tensor(velocity, dtype=x.dtype)
    W = torch.zeros(d, d, dtype=x.dtype)
    if d == 2:
        W[0, 1], W[1, 0] = -spin, spin
    else:
        s = spin / math.sqrt(3)
        W += torch.tensor([[0.0, -s, s], [s, 0.0, -s], [-s, s, 0.0]], dtype=x.dtype)
    v = v + (x - x.mean(1, keepdim=True)) @ W.T
    one = torch.eye(d, dtype=x.dtype).expand(*x.shape[:2], d, d).clone()
    return MpmState(x, v, W.expand_as(one).clone(), one)


def rollout(
    state: MpmState,
    stress: Law,
    plastic: Law | None,
    scene: Scene,
    steps: int,
    checkpoint: int = 0,
    *,
    progress: Callable[[float], None] | None = None,
) -> Rollout:
    """``steps`` steps of tau = stress(F), the material point step, F = plastic(F_trial): differentiable in state and laws.

    Args:
        state: x, v, C, F with scenes on the leading axis.
        stress, plastic: callables on (scenes, particles, d, d); ``plastic=None`` leaves the trial F.
        checkpoint: 0 keeps what a gradient needs; k > 0 keeps states each k steps and computes the steps between again.
        progress: called with the share of steps done; an exception from it ends the rollout.

    Raises:
        ValueError: a particle leaves the grid or a value is no longer finite, with the step, scene and particle.
    """
    steps, checkpoint = checks.integer("steps", steps, low=1), checks.integer("checkpoint", checkpoint, low=0)

    def several(first, count, *state):
        seen = []
        for k in range(first, first + count):
            try:
                state = mpm_step(*state, stress(state[3]), **scene.options)
            except ValueError as error:
                raise ValueError(f"step {k}: {error}") from None
            if plastic is not None:
                state = state._replace(F=plastic(state.F))
            seen.append(state.x)
            if progress is not None:
                progress((k + 1) / steps)
        return torch.stack(seen), *state

    if not checkpoint:
        x, *state_new = several(0, steps, *state)
        return Rollout(torch.cat([state[0][None], x]), MpmState(*state_new))
    parts, now = [state[0][None]], tuple(state)
    for first in range(0, steps, checkpoint):
        x, *now = checkpointed(several, first, min(checkpoint, steps - first), *now, use_reentrant=False)
        parts.append(x)
    return Rollout(torch.cat(parts), MpmState(*now))


def record(state: MpmState, elastic: _Elastic, plastic, scene: Scene, steps: int, every: int = 1) -> MpmState:
    """The trajectory of a closed-form material without gradients: x, v, C, F with a leading axis of steps 0, every, ..."""
    return mpm_roll(*state, closed_law(elastic, plastic), steps, every, **scene.options)
