r"""Hard physical constraints scaled by a mixture of experts: a least-squares layer in every block of the domain.

A network gives basis fields b_1, ..., b_N on a grid of space and time; the solution is u = sum_i w_i b_i. A layer picks w so
that the differential equation holds at the points of the grid,

.. math:: w^* = \arg\min_w |F(w)|^2,\quad F = \bigl(\sqrt{c_j}\,R(u, u_t, u_x, ...)_j,\; A w - a,\; \rho w\bigr),

with the residual R of the equation, rows A w = a for initial and boundary values, and a small ridge. Derivatives of the b_i are
taken on the whole grid, before it is split: those of u are then linear in w, and only R is not. :func:`solve` runs
Levenberg-Marquardt for many problems side by side in float64. With g = J^T F the optimum has g = 0, so that for any loss of w*

.. math:: \frac{dw^*}{d\theta} = -H^{-1}\,\frac{\partial g}{\partial\theta},\qquad H = J^T J + \sum_j F_j \nabla^2 F_j .

H must be the full Hessian; J^T J alone (Gauss-Newton) is exact only where F(w*) = 0. Where the loss is :math:`|F(w^*)|^2` itself
the term through w* vanishes (envelope theorem) and w* may be held fixed.

A mixture of experts (:class:`MoEConstraint`) splits the grid into blocks (:func:`expert_split`); each solves for its own w from
its own points, and the blocks are pasted together without an interface term. ``overlap`` lets an expert also see residuals at
points of its neighbours, which the paper does not do. As published, diffusion-sorption gives every expert the rows of the whole
domain (``rows="global"``), Navier-Stokes those of its block (``"local"``).

Source: N. Chalapathi, Y. Du, A. S. Krishnapriyan, 'Scaling physics-informed hard constraints with mixture-of-experts', ICLR 2024,
section 3.

>>> t, x = torch.linspace(0, 1, 9), torch.arange(8) / 8
>>> heat = Equation(lambda u, u_t, u_x, u_xx: u_t - 0.01 * u_xx, t, x)
>>> basis = torch.stack([torch.exp(-0.04 * torch.pi**2 * t)[:, None] * torch.sin(2 * torch.pi * x), 1 + 0 * t[:, None] * x], -1)
>>> found = MoEConstraint(heat)(basis[None], torch.sin(2 * torch.pi * x)[None])
>>> bool(found.converged.all()), [round(v, 2) for v in found.weights.flatten().tolist()]
(True, [1.0, 0.0])
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lab import checks
from lab.physics.spectral import Periodic

Residual = Callable[..., torch.Tensor]


class Unconverged(UserWarning):
    """Some least-squares problems did not reach their tolerance: their implicit gradients are wrong."""


@dataclass(frozen=True)
class Problem:
    """F(w) of P problems side by side.

    ``fields`` (P, K, m, N): value and derivatives of the basis at m points, the arguments of ``residual``, which takes K tensors
    (P, m) and works point by point. ``weight`` (P, m): factors of the residuals, 0 for points that only pad. ``rows`` (P, q, N)
    and ``wanted`` (P, q): linear rows A w = a. ``ridge``: rho.
    """

    residual: Residual
    fields: torch.Tensor
    weight: torch.Tensor
    rows: torch.Tensor
    wanted: torch.Tensor
    ridge: float = 1e-4

    def __getitem__(self, index) -> Problem:
        return replace(self, **{name: getattr(self, name)[index] for name in ("fields", "weight", "rows", "wanted")})

    def double(self) -> Problem:
        """The same in float64."""
        return replace(self, **{name: getattr(self, name).double() for name in ("fields", "weight", "rows", "wanted")})

    def at(self, w: torch.Tensor) -> torch.Tensor:
        """The K fields (P, K, m) of u at weights w (P, N)."""
        P, K, m, N = self.fields.shape
        return torch.bmm(self.fields.reshape(P, K * m, N), w[..., None]).reshape(P, K, m)

    def cost(self, w: torch.Tensor, *, ridge: bool = True) -> torch.Tensor:
        """|F(w)|^2 (P,); with gradients to the basis and w."""
        r = self.weight * self.residual(*self.at(w).unbind(1))
        linear = torch.bmm(self.rows, w[..., None])[..., 0] - self.wanted
        return r.square().sum(1) + linear.square().sum(1) + (self.ridge**2 * w.square().sum(1) if ridge else 0.0)

    def F(self, w: torch.Tensor) -> torch.Tensor:
        """The stacked rows (P, m + q + N)."""
        r = self.weight * self.residual(*self.at(w).unbind(1))
        return torch.cat([r, torch.bmm(self.rows, w[..., None])[..., 0] - self.wanted, self.ridge * w], 1)

    def jacobian(self, w: torch.Tensor) -> torch.Tensor:
        """dF/dw (P, m + q + N, N)."""
        _, first, _ = _pointwise(self.residual, self.at(w), 1)
        ridge = self.ridge * torch.eye(w.shape[1], dtype=w.dtype, device=w.device).expand(len(w), -1, -1)
        return torch.cat([self._tangent(first), self.rows, ridge], 1)

    def _tangent(self, first, columns=0):
        """dR/dw (P, m, N) with the factors of the points, in a tensor with room for more columns."""
        P, _, m, N = self.fields.shape
        J = self.fields.new_empty(P, m, N + columns)
        part, started = J[..., :N], False
        for k, slope in enumerate(first):
            if slope is not None:
                factor = (self.weight * slope)[..., None]
                if started:
                    part.addcmul_(factor, self.fields[:, k])
                else:
                    torch.mul(factor, self.fields[:, k], out=part)
                started = True
        return J if started else J.zero_()

    def model(
        self, w: torch.Tensor, hessian: str = "full", square: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        """|F|^2 (P,), g = J^T F (P, N), J^T J and H (P, N, N); H is J^T J itself with ``hessian="Gauss-Newton"``.

        ``square``: A^T A of the rows, where it is known.
        """
        value, first, second = _pointwise(self.residual, self.at(w), 2 if hessian == "full" else 1)
        N, r = w.shape[1], self.weight * value
        J = self._tangent(first, 1)
        J[..., N] = r
        both = torch.bmm(J.mT, J)  # J^T J, J^T r and r^T r at once
        square = torch.bmm(self.rows.mT, self.rows) if square is None else square
        linear = torch.bmm(self.rows, w[..., None]) - self.wanted[..., None]
        normal = both[:, :N, :N] + square
        normal.diagonal(dim1=1, dim2=2).add_(self.ridge**2)
        g = both[:, :N, N] + torch.bmm(self.rows.mT, linear)[..., 0] + self.ridge**2 * w
        full = normal
        for (k, l), bend in second.items():
            part = torch.bmm((self.fields[:, k] * (r * self.weight * bend)[..., None]).mT, self.fields[:, l])
            full = full + (part if k == l else part + part.mT)
        cost = both[:, N, N] + linear[..., 0].square().sum(1) + self.ridge**2 * w.square().sum(1)
        return cost, g, normal, full


def _pointwise(residual, fields, order):
    """R (P, m), its K first derivatives (None where R does not depend on a field) and second ones {(k, l >= k): (P, m)}."""
    with torch.enable_grad():
        leaves = [f.detach().requires_grad_() for f in fields.unbind(1)]
        value = residual(*leaves)
        first = torch.autograd.grad(value.sum(), leaves, create_graph=order > 1, allow_unused=True)
        second = {}
        if order > 1:
            for k, slope in enumerate(first):
                if slope is not None and slope.requires_grad:
                    bends = torch.autograd.grad(slope.sum(), leaves[k:], retain_graph=True, allow_unused=True)
                    second.update({(k, k + j): b for j, b in enumerate(bends) if b is not None and bool(b.any())})
    return value.detach(), [None if s is None else s.detach() for s in first], second


@dataclass(frozen=True)
class Solution:
    """Weights (P, N), |F|^2 (P,), largest entry of J^T F (P,), iterations (P,), and whether the tolerance was reached (P,)."""

    weights: torch.Tensor
    cost: torch.Tensor
    gradient: torch.Tensor
    iterations: torch.Tensor
    converged: torch.Tensor


@torch.no_grad()
def solve(
    problem: Problem, start: torch.Tensor | None = None, *, tolerance: float = 1e-8, iterations: int = 100
) -> Solution:
    """w* = argmin |F(w)|^2 of all problems by Levenberg-Marquardt, in float64; each stops when max |J^T F| <= tolerance.

    Steps use the full Hessian where, damped, it is positive definite, else J^T J: near the optimum they are Newton's.

    Args:
        start: weights (P, N); zeros by default.
        iterations: at most so many; what has not converged then is marked in the solution.
    """
    checks.number("tolerance", tolerance, low=0.0, open_low=True)
    checks.integer("iterations", iterations, low=0)
    whole = problem.double()
    P, N = len(whole.fields), whole.fields.shape[-1]
    w = torch.zeros(P, N, dtype=torch.float64, device=whole.fields.device) if start is None else start.double().clone()
    square = torch.bmm(whole.rows.mT, whole.rows)
    cost, g, normal, full = whole.model(w, square=square)
    damping, grow = torch.full_like(cost, 1e-3), torch.full_like(cost, 2.0)
    count = torch.zeros(P, dtype=torch.long, device=w.device)
    kept = {"w": w.clone(), "cost": cost.clone(), "g": g.clone()}
    busy, part = torch.arange(P, device=w.device), whole
    for _ in range(iterations):
        going = g.abs().amax(1) > tolerance
        if not bool(going.any()):
            break
        if int(going.sum()) <= 0.7 * len(busy):  # the finished ones leave
            busy, part = busy[going], part[going]
            w, cost, g, normal, full, damping, grow, square = (
                x[going] for x in (w, cost, g, normal, full, damping, grow, square)
            )
            going = going[going]
        scale = torch.diag_embed(damping[:, None] * normal.diagonal(dim1=1, dim2=2))
        factor, bad = torch.linalg.cholesky_ex(full + scale)
        if bool((bad > 0).any()):
            plain, _ = torch.linalg.cholesky_ex(normal + scale)
            factor = torch.where((bad > 0)[:, None, None], plain, factor)
        step = -torch.cholesky_solve(g[..., None], factor)[..., 0]
        step = torch.where(going[:, None] & step.isfinite().all(1, keepdim=True), step, 0.0)
        other = w + step
        new = part.model(other, square=square)
        # |F|^2 falls by -(2 g.s + s.B.s) if the model is right, with (B + scale) s = -g
        told = (-(g * step).sum(1) + (step * (scale @ step[..., None])[..., 0]).sum(1)).clamp_min(1e-300)
        better = new[0] <= cost * (1 + 1e-14)
        gain = (cost - new[0]) / told
        count[busy] += going
        taken = better & going
        w = torch.where(taken[:, None], other, w)
        cost, g = torch.where(taken, new[0], cost), torch.where(taken[:, None], new[1], g)
        normal, full = (torch.where(taken[:, None, None], b, a) for a, b in zip((normal, full), new[2:]))
        eased = damping * (1 - (2 * gain.clamp(0, 1) - 1) ** 3).clamp_min(1 / 10)
        damping = torch.where(taken, eased, damping * grow).clamp(1e-14, 1e14)
        grow = torch.where(taken, 2.0, grow * 2)
        kept["w"][busy], kept["cost"][busy], kept["g"][busy] = w, cost, g
    size = kept["g"].abs().amax(1)
    return Solution(kept["w"], kept["cost"], size, count, size <= tolerance)


class LMLayer(torch.autograd.Function):
    """w* with its implicit gradient to fields, rows and wanted; see :func:`layer`."""

    @staticmethod
    def forward(ctx, fields, rows, wanted, problem, w, hessian):
        ctx.problem, ctx.hessian = problem, hessian
        ctx.save_for_backward(fields, rows, wanted, w)
        return w.to(fields.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        fields, rows, wanted, w = ctx.saved_tensors
        part = replace(ctx.problem, fields=fields, rows=rows, wanted=wanted).double()
        H = part.model(w, ctx.hessian)[3]
        v = -torch.linalg.solve(H, grad.double())
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in (part.fields, part.rows, part.wanted)]
            part = replace(part, fields=leaves[0], rows=leaves[1], wanted=leaves[2])
            u, along = part.at(w), part.at(v).unbind(1)
            value = part.residual(*(fields := u.unbind(1)))
            slopes = torch.autograd.grad(value.sum(), fields, create_graph=True, allow_unused=True)
            tangent = sum(s * p for s, p in zip(slopes, along) if s is not None)
            linear = torch.bmm(leaves[1], w[..., None])[..., 0] - leaves[2]
            swept = (part.weight.square() * value * tangent).sum()
            swept = swept + (torch.bmm(leaves[1], v[..., None])[..., 0] * linear).sum()
            found = torch.autograd.grad(swept, leaves)
        kinds = (ctx.saved_tensors[0].dtype, rows.dtype, wanted.dtype)
        return *(x.to(kind) for x, kind in zip(found, kinds)), None, None, None


def layer(
    problem: Problem, start: torch.Tensor | None = None, *, tolerance: float = 1e-8, iterations: int = 100,
    hessian: str = "full",
) -> Solution:  # fmt: skip
    """:func:`solve` with gradients: those of the weights go to the fields and rows by the implicit function theorem.

    Weights come in the dtype of the fields. Gradients of problems that have not converged are wrong, so these are counted in a
    warning (:class:`Unconverged`) whenever gradients are wanted.

    Args:
        hessian: ``"full"``, or ``"Gauss-Newton"``: J^T J, wrong unless F(w*) = 0.
    """
    checks.choice("hessian", hessian, ("full", "Gauss-Newton"))
    found = solve(problem, start, tolerance=tolerance, iterations=iterations)
    inputs = (problem.fields, problem.rows, problem.wanted)
    lost = int((~found.converged).sum())
    if lost and torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        warnings.warn(f"{lost} of {len(found.converged)} solves did not converge to |J^T F| <= {tolerance:g} "
                      f"in {iterations} iterations; their gradients are wrong", Unconverged, stacklevel=2)  # fmt: skip
    return replace(found, weights=LMLayer.apply(*inputs, problem, found.weights, hessian))


@dataclass(frozen=True)
class Split:
    """Blocks of a grid: ``index`` (E, m) of points that each expert sees, ``present`` (E, m), False where an index only pads, and
    ``owner`` (points,) of each point, flat in row-major order."""

    shape: tuple[int, ...]
    index: torch.Tensor
    present: torch.Tensor
    owner: torch.Tensor

    def __len__(self) -> int:
        return len(self.index)


def expert_split(
    shape: Sequence[int], blocks: Sequence[int | Sequence[int]] = (), *, overlap: int | Sequence[int] = 0,
    periodic: Sequence[bool] = (),
) -> Split:  # fmt: skip
    """Split a grid into E_1 x E_2 x ... blocks.

    Args:
        blocks: for each axis the number of equal blocks, or the first index of every block after the first.
        overlap: how many points beyond its borders an expert sees (its solution is used inside them only), for all axes or each.
        periodic: axes along which an expert sees across the end.

    Raises:
        ValueError: more blocks than points, borders out of order or range.
    """
    shape = tuple(checks.integer("shape", n, low=1) for n in shape)
    blocks = tuple(blocks) or (1,) * len(shape)
    wide = (overlap,) * len(shape) if isinstance(overlap, int) else tuple(overlap)
    around = tuple(periodic) or (False,) * len(shape)
    if not len(blocks) == len(wide) == len(around) == len(shape):
        raise ValueError(f"blocks, overlap and periodic must have one entry an axis of {shape}")
    seen, owner = [], torch.zeros(shape, dtype=torch.long)
    for axis, (n, given, more, wraps) in enumerate(zip(shape, blocks, wide, around)):
        checks.integer("overlap", more, low=0)
        if isinstance(given, int):
            checks.integer("blocks", given, low=1, high=n)
            borders = [round(n * k / given) for k in range(given + 1)]
        else:
            borders = [0, *given, n]
        if any(b <= a for a, b in zip(borders, borders[1:])):
            raise ValueError(f"borders of axis {axis} must rise strictly between 0 and {n}, got {list(borders[1:-1])}")
        ranges = []
        for k, (a, b) in enumerate(zip(borders, borders[1:])):
            if wraps and len(borders) > 2:
                ranges.append(
                    [i % n for i in range(a - more, b + more)][:n] if b - a + 2 * more < n else list(range(n))
                )
            else:
                ranges.append(list(range(max(0, a - more), min(n, b + more))))
            owner.movedim(axis, 0)[a:b] += k * math.prod(len(s) for s in seen)
        seen.append(ranges)
    found: list[torch.Tensor] = [torch.zeros(1, dtype=torch.long)]
    for n, ranges in zip(shape, seen):  # the expert of axis 1 runs fastest, as in owner
        found = [(before[:, None] * n + torch.tensor(r)).flatten() for r in ranges for before in found]
    m = max(map(len, found))
    index = torch.stack([torch.cat([i, i[:1].expand(m - len(i))]) for i in found])
    present = torch.stack([torch.arange(m) < len(i) for i in found])
    return Split(shape, index, present, owner.flatten())


def differences(n: int, spacing: float, order: int, *, periodic: bool = False, accuracy: int = 4) -> torch.Tensor:
    """The matrix (n, n) of a derivative on equidistant points, central, one-sided at the ends unless periodic."""
    width = order + accuracy
    centre = 2 * ((order + 1) // 2) + accuracy - 1
    if n < width:
        raise ValueError(f"an axis needs at least {width} points for differences of order {accuracy}, got {n}")
    D = torch.zeros(n, n, dtype=torch.float64)
    half = centre // 2
    for i in range(n):
        if periodic or half <= i < n - half:
            places = torch.arange(i - half, i + half + 1)
        else:
            first = min(max(i - half, 0), n - width)
            places = torch.arange(first, first + width)
        z = (places - i).double()
        right = torch.zeros(len(z), dtype=torch.float64)
        right[order] = math.factorial(order)
        D[i, places % n] += torch.linalg.solve(z[None] ** torch.arange(len(z))[:, None], right) / spacing**order
    return D


class Equation:
    """R(u, u_t, u_x, u_xx) = 0 on times t and places x, each equidistant, with values u(0, x).

    The residual works point by point: four tensors of one shape in, one out. Without ``left`` and ``right`` x is periodic.

    Args:
        left, right: the boundary condition at an end, c_0 u + c_1 u_x = c_2, as (c_0, c_1, c_2).
        initial_weight: weight of the mean square of initial and boundary rows beside that of the residual.
    """

    def __init__(self, residual: Residual, t, x, *, left=None, right=None, initial_weight: float = 1.0):
        t, x = (checks.tensor(name, value, ndim=1).double() for name, value in (("t", t), ("x", x)))
        steps = []
        for name, axis in (("t", t), ("x", x)):
            if len(axis) < 6:
                raise ValueError(f"{name} must have at least 6 points, got {len(axis)}")
            gaps = axis.diff()
            if not bool((gaps > 0).all()) or float((gaps / gaps.mean() - 1).abs().max()) > 1e-3:
                raise ValueError(f"{name} must rise in equal steps")
            steps.append(float(gaps.mean()))
        if not callable(residual):
            raise TypeError(f"residual must be a function of u, u_t, u_x, u_xx, got {type(residual).__name__}")
        self.residual, self.t, self.x = residual, t, x
        self.periodic = left is None and right is None
        self.left, self.right = left, right
        self.initial_weight = checks.number("initial_weight", initial_weight, low=0.0, open_low=True)
        self.shape = (len(t), len(x))
        self.axes = (False, self.periodic)
        self.names = ("u", "u_t", "u_x", "u_xx")
        self.Dt = differences(len(t), steps[0], 1)
        self.Dx, self.Dxx = (differences(len(x), steps[1], k, periodic=self.periodic) for k in (1, 2))
        probe = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
        answer = residual(probe, probe, probe, probe)
        if not isinstance(answer, torch.Tensor) or answer.shape != probe.shape:
            raise ValueError("residual must return one number a point: a tensor of the shape of u")

    def fields(self, basis: torch.Tensor) -> torch.Tensor:
        """u, u_t, u_x, u_xx (B, 4, points, N) of basis fields (B, nt, nx, N)."""
        Dt, Dx, Dxx = (D.to(basis) for D in (self.Dt, self.Dx, self.Dxx))
        u_t = (Dt @ basis.flatten(2)).reshape(basis.shape)
        return torch.stack([basis, u_t, Dx @ basis, Dxx @ basis], 1).flatten(2, 3)

    @property
    def places(self) -> torch.Tensor:
        """The grid point (q,) to which each linear row belongs."""
        nt, nx = self.shape
        later = torch.arange(nt) * nx
        ends = [later] * (self.left is not None) + [later + nx - 1] * (self.right is not None)
        return torch.cat([torch.arange(nx), *ends])

    def rows(self, basis: torch.Tensor, initial: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows (B, q, N) for initial and boundary values, and what they should give (B, q)."""
        rows, wanted = [basis[:, 0]], [initial]
        for at, given in ((0, self.left), (-1, self.right)):
            if given is not None:
                slope = torch.einsum("x,btxn->btn", self.Dx[at].to(basis), basis)
                rows.append(given[0] * basis[:, :, at] + given[1] * slope)
                wanted.append(initial.new_full((len(initial), self.shape[0]), given[2]))
        return torch.cat(rows, 1), torch.cat(wanted, 1)

    def inputs(self, initial: torch.Tensor, modes: int = 2) -> torch.Tensor:
        """What a network gets at each point: t, two waves in x, the first modes of u(0, x) and its value there: (B, nt, nx, 11)."""
        t = 2 * (self.t - self.t[0]) / (self.t[-1] - self.t[0]) - 1
        period = (self.x[-1] - self.x[0]) * (len(self.x) / (len(self.x) - 1) if self.periodic else 2.0)
        turn = 2 * torch.pi * (self.x - self.x[0]) / period
        waves = torch.stack([f(k * turn) for k in (1, 2) for f in (torch.sin, torch.cos)], -1)
        inner = torch.stack(
            [torch.ones_like(turn), *(f(k * turn) for k in range(1, modes + 1) for f in (torch.sin, torch.cos))]
        )
        modes_of = initial.double() @ torch.linalg.pinv(inner)
        nt, nx = self.shape
        still = modes_of[:, None].expand(-1, nx, -1)
        still = torch.cat([waves.expand(len(initial), -1, -1), still, initial.double()[..., None]], -1)[:, None]
        parts = [t[None, :, None, None].expand(len(initial), nt, nx, 1), still.expand(-1, nt, -1, -1)]
        return torch.cat(parts, -1)


@dataclass(frozen=True)
class Constrained:
    """What :class:`MoEConstraint` gives: ``u`` (B, *grid) pasted, ``residual`` (B, *grid) of each point by its expert's weights,
    ``weights`` (B, E, N), and of every solve (B, E) its |F|^2, iterations and whether it converged."""

    u: torch.Tensor
    residual: torch.Tensor
    weights: torch.Tensor
    cost: torch.Tensor
    iterations: torch.Tensor
    converged: torch.Tensor


def jumps(
    basis: torch.Tensor, weights: torch.Tensor, split: Split, axis: int, *, periodic: bool = False
) -> torch.Tensor:
    """Where a block begins along an axis: u by its own weights minus u by those of the block before; 0 elsewhere. (B, *grid)"""
    owner = split.owner.reshape(split.shape)
    before = owner.roll(1, axis)
    if not periodic:
        before.narrow(axis, 0, 1).copy_(owner.narrow(axis, 0, 1))
    return (basis * (weights[:, owner] - weights[:, before]).to(basis)).sum(-1)


class MoEConstraint:
    """Basis fields (B, *grid, N) and initial values -> the constrained solution; one expert is the global hard constraint.

    Args:
        system: an :class:`Equation` or anything with its ``residual``, ``shape``, ``fields``, ``rows`` and ``places``.
        split: blocks of :func:`expert_split`; one block by default.
        rows: which initial and boundary rows an expert sees, those of the whole domain or of its block.
    """

    def __init__(
        self, system, split: Split | None = None, *, rows: str = "global", ridge: float = 1e-4, tolerance: float = 1e-8,
        iterations: int = 100,
    ):  # fmt: skip
        self.system, self.split = system, split or expert_split(system.shape)
        if self.split.shape != tuple(system.shape):
            raise ValueError(f"split must be of the grid {tuple(system.shape)}, got one of {self.split.shape}")
        checks.choice("rows", rows, ("global", "local"))
        self.every = rows == "global"
        self.ridge = checks.number("ridge", ridge, low=0.0)
        self.options: dict[str, Any] = {"tolerance": tolerance, "iterations": iterations}

    def problem(self, basis: torch.Tensor, initial: torch.Tensor, experts: Sequence[int] | None = None) -> Problem:
        """The B x E least-squares problems, instances outermost; mean squares of residuals and rows are what counts."""
        split, B = self.split, len(basis)
        chosen = torch.arange(len(split)) if experts is None else torch.as_tensor(experts)
        index, present = split.index[chosen], split.present[chosen]
        E, N = len(chosen), basis.shape[-1]
        fields = self.system.fields(basis)
        if len(split) > 1:
            fields = fields[:, :, index].transpose(1, 2)
        weight = present / present.sum(1, keepdim=True).double().sqrt()
        rows, wanted = self.system.rows(basis, initial)
        q, factor = rows.shape[1], torch.full((E, rows.shape[1]), 1.0, dtype=torch.float64)
        if not self.every:
            factor = (split.owner[self.system.places] == chosen[:, None]).double()
        factor = (self.system.initial_weight / factor.sum(1, keepdim=True).clamp_min(1)).sqrt() * factor
        rows = (factor[..., None].to(rows) * rows[:, None]).reshape(B * E, q, N)
        wanted = (factor.to(wanted) * wanted[:, None]).reshape(B * E, q)
        weight = weight.to(basis).expand(B, -1, -1).reshape(B * E, -1)
        return Problem(
            self.system.residual, fields.reshape(B * E, -1, index.shape[1], N), weight, rows, wanted, self.ridge
        )

    def __call__(self, basis: torch.Tensor, initial: torch.Tensor, *, hessian: str = "full") -> Constrained:
        """Solve all problems and paste; gradients of ``u`` and ``residual`` to the basis are implicit."""
        basis = checks.tensor("basis", basis, ndim=len(self.system.shape) + 2, floating=True)
        if tuple(basis.shape[1:-1]) != tuple(self.system.shape):
            raise ValueError(
                f"basis must be (instances, *{tuple(self.system.shape)}, fields), got {tuple(basis.shape)}"
            )
        initial = checks.tensor("initial", initial, floating=True).to(basis.dtype)
        if len(initial) != len(basis):
            raise ValueError(f"initial must hold {len(basis)} instances, got {len(initial)}")
        found = layer(self.problem(basis, initial), hessian=hessian, **self.options)
        return self.pasted(basis, found)

    def pasted(self, basis: torch.Tensor, found: Solution) -> Constrained:
        """u and its residual from solutions of :meth:`problem`, each point by the weights of its owner."""
        B, grid = len(basis), tuple(self.system.shape)
        w, owner = found.weights.reshape(B, len(self.split), -1), self.split.owner
        fields = self.system.fields(basis)
        values = torch.einsum("bkmn,bmn->bkm", fields, w[:, owner].to(basis.dtype))
        u = values[:, 0].reshape(B, *grid)
        residual = self.system.residual(*values.unbind(1)).reshape(B, *grid)
        each = (x.reshape(B, -1) for x in (found.cost, found.iterations, found.converged))
        return Constrained(u, residual, w, *each)


class Vorticity:
    """w_t + v . grad w = nu Lap w on a periodic square of side 2 pi, v of stream function -Lap^{-1} w: times (nt,), n x n points.

    Fields are w, w_t, w_x, w_y, Lap w and the two velocities, all linear in the basis: in space by Fourier transforms of the
    whole grid, in time by differences. Every initial value is a row.
    """

    names = ("w", "w_t", "w_x", "w_y", "Lap w", "v_x", "v_y")
    axes = (False, True, True)

    def __init__(self, t, n: int, nu: float, *, initial_weight: float = 1.0):
        self.t, self.nu = checks.tensor("t", t, ndim=1).double(), checks.number("nu", nu, low=0.0)
        self.box = Periodic(n, 2 * math.pi)
        self.shape, self.initial_weight = (len(self.t), n, n), initial_weight
        self.Dt = differences(len(self.t), float(self.t[1] - self.t[0]), 1)

    def residual(self, w, w_t, w_x, w_y, bent, v_x, v_y):
        """w_t + v . grad w - nu Lap w."""
        return w_t + v_x * w_x + v_y * w_y - self.nu * bent

    def velocity(self, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The flow (psi_y, -psi_x) of vorticities (..., n, n) with mean 0."""
        f, k2 = torch.fft.fft2(w.double()), self.box.k2
        psi = torch.where(k2 > 0, f / torch.where(k2 > 0, k2, 1.0), 0.0)
        v = torch.fft.ifft2(torch.stack([1j * self.box.ky * psi, -1j * self.box.kx * psi])).real
        return v[0], v[1]

    def fields(self, basis: torch.Tensor) -> torch.Tensor:
        """The seven fields (B, 7, points, N) of basis fields (B, nt, n, n, N)."""
        w = basis.double().movedim(-1, 1)
        w_t = torch.einsum("st,bktxy->bksxy", self.Dt.to(w), w)
        found = torch.stack([w, w_t, *self.box.gradient(w), self.box.laplacian(w), *self.velocity(w)], 1)
        return found.flatten(3).transpose(2, 3).to(basis)

    @property
    def places(self) -> torch.Tensor:
        """The grid point of each row."""
        return torch.arange(self.shape[1] * self.shape[2])

    def rows(self, basis: torch.Tensor, initial: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows for the initial vorticity, and its values."""
        return basis[:, 0].flatten(1, 2), initial.flatten(1)

    def inputs(self, initial: torch.Tensor) -> torch.Tensor:
        """At each point: t, the initial vorticity, its derivatives and flow, and what changes it first (B, nt, n, n, 8)."""
        w = initial.double()
        (a, b), bent, (v_x, v_y) = self.box.gradient(w), self.box.laplacian(w), self.velocity(w)
        still = torch.stack([w, a, b, 0.2 * bent, v_x, v_y, v_x * a + v_y * b], -1)[:, None]
        t = (2 * (self.t - self.t[0]) / (self.t[-1] - self.t[0]) - 1)[None, :, None, None, None]
        return torch.cat([t.expand(len(w), -1, *w.shape[1:], 1), still.expand(-1, len(self.t), -1, -1, -1)], -1)


class BasisOperator(nn.Module):
    """Features at grid points (S, B, *grid, inputs) -> N basis fields (S, B, *grid, N) of S networks side by side.

    ``kind``: ``"MLP"``, three hidden layers of tanh, point by point, or ``"CNN"``, the same with stencils of 3 points an axis,
    the edges repeated; the features also go straight into the last layer. ``mix`` (S, N) are trained weights, which the soft
    constraint uses in place of w*.
    """

    def __init__(
        self, inputs: int, fields: int = 16, width: int = 48, kind: str = "MLP", seeds: Sequence[int] = (0,), axes: int = 2
    ):  # fmt: skip
        super().__init__()
        checks.choice("kind", kind, ("MLP", "CNN"))
        self.form = {"inputs": inputs, "fields": fields, "width": width, "kind": kind, "axes": axes}
        self.kind, sizes = kind, [(inputs, width), (width, width), (width, width), (width + inputs, fields)]
        generators = [checks.generator(seed) for seed in seeds]
        taps = 3**axes if kind == "CNN" else 1
        self.layers = nn.ParameterList(
            torch.stack([torch.randn(a * taps, b, generator=g) / math.sqrt(a * taps) for g in generators])
            for a, b in sizes
        )
        self.shifts = nn.ParameterList(
            torch.stack([0.1 * torch.randn(1, b, generator=g) for g in generators]) for _, b in sizes
        )
        self.mix = nn.Parameter(torch.stack([torch.randn(fields, generator=g) / math.sqrt(fields) for g in generators]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = x.shape[:-1]
        features = x
        for k, (weight, shift) in enumerate(zip(self.layers, self.shifts)):
            if k == len(self.layers) - 1:
                x = torch.cat([x, features], -1)
            if self.kind == "CNN":
                for axis in range(2, len(shape)):
                    first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
                    wide = torch.cat([first, x, last], axis)
                    x = torch.cat([wide.narrow(axis, j, shape[axis]) for j in range(3)], -1)
            x = torch.baddbmm(shift, x.reshape(len(x), -1, x.shape[-1]), weight)
            x = (x if k == len(self.layers) - 1 else torch.tanh(x)).reshape(*shape, -1)
        return x


def train(
    net: nn.Module, constraint: MoEConstraint, initial: torch.Tensor, *, steps: int, rate: float, batch: int = 4, seed: int = 0,
    soft: bool = False, progress: Callable[[float], None] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Train S networks side by side on initial values (S, instances, ...), without solutions, in place; losses (steps, S).

    The loss is the mean of |F|^2 over instances and experts, at w* held fixed (envelope theorem), or with ``soft`` at the trained
    weights ``net.mix``. Adam, its step size falling to 0 as a cosine; gradients are cut at norm 1 in each network.
    """
    S, I = initial.shape[:2]
    generator, batch = checks.generator(seed), min(batch, initial.shape[1])
    features = constraint.system.inputs(initial.flatten(0, 1)).unflatten(0, (S, I)).float()
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=rate), []
    lost = 0
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        take = torch.stack([torch.randperm(I, generator=generator)[:batch] for _ in range(S)])
        rows = torch.arange(S)[:, None]
        basis = net(features[rows, take]).double().flatten(0, 1)
        problem = constraint.problem(basis, initial[rows, take].flatten(0, 1).double())
        if soft:
            w = net.mix.double().repeat_interleave(batch, 0).repeat_interleave(len(constraint.split), 0)
        else:
            held = replace(problem, fields=problem.fields.detach(), rows=problem.rows.detach())
            found = solve(held, **constraint.options)
            w, lost = found.weights, lost + int((~found.converged).sum())
        each = problem.cost(w).reshape(S, -1).mean(1)
        optimizer.zero_grad()
        each.sum().backward()
        slopes = [p.grad for p in net.parameters() if p.grad is not None]
        size = torch.stack([g.reshape(S, -1).square().sum(1) for g in slopes]).sum(0).sqrt().clamp_min(1.0)[:, None]
        for g in slopes:
            g.copy_((g.reshape(S, -1) / size).reshape(g.shape))
        optimizer.step()
        losses.append(each.detach())
        if progress is not None:
            progress((step + 1) / steps)
    if lost:
        share = lost / (steps * S * batch * len(constraint.split))
        warnings.warn(f"{share:.1%} of all solves of the training did not converge", Unconverged, stacklevel=2)
    return torch.stack(losses)


class _Alone(nn.Module):
    """A user's network (B, *grid, inputs) -> (B, *grid, N) as the only one of a stack."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x[0])[None]


@dataclass(frozen=True)
class FittedConstraint:
    """A trained network with its constraint and losses (steps,): initial values (instances, nx) -> :class:`Constrained`."""

    net: nn.Module
    constraint: MoEConstraint
    losses: torch.Tensor
    shape: dict

    def basis(self, initial: torch.Tensor) -> torch.Tensor:
        """Basis fields (instances, nt, nx, N) in float64."""
        with torch.no_grad():
            return self.net(self.constraint.system.inputs(initial)[None].float())[0].double()

    def __call__(self, initial) -> Constrained:
        initial = read_initial(initial, self.constraint.system.shape[1])
        with torch.no_grad():
            return self.constraint(self.basis(initial), initial)

    def save(self, path: str | Path) -> None:
        """Write weights, grid and blocks to one file; the residual and a network of your own are code and are not in it."""
        torch.save({"weights": self.net.state_dict(), "losses": self.losses, "shape": self.shape}, path)

    @classmethod
    def load(cls, path: str | Path, residual: Residual, *, network: nn.Module | None = None) -> FittedConstraint:
        """Read what :meth:`save` wrote, with the residual, and the network if it was your own; no code in the file is run."""
        kept = torch.load(path, weights_only=True)
        shape = kept["shape"]
        if (shape["form"] is None) != (network is not None):
            raise ValueError("network must be given if and only if the saved one was your own")
        constraint = _constraint(residual, shape)
        net = BasisOperator(**shape["form"]) if network is None else _Alone(network)
        net.load_state_dict(kept["weights"])
        return cls(net.requires_grad_(False), constraint, kept["losses"], shape)


def _constraint(residual, shape) -> MoEConstraint:
    system = Equation(residual, shape["t"], shape["x"], left=shape["left"], right=shape["right"])
    split = expert_split(system.shape, shape["blocks"], overlap=shape["overlap"], periodic=system.axes)
    return MoEConstraint(system, split, rows=shape["rows"], tolerance=shape["tolerance"])


def read_initial(initial, points: int | None = None) -> torch.Tensor:
    """Initial values (instances, nx) in float64, from an array or a ``.npz`` file with an array ``initial``."""
    if isinstance(initial, (str, Path)):
        try:
            with np.load(initial, allow_pickle=False) as file:
                held = list(file)
                values = file["initial"] if "initial" in held else None
        except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError) as error:
            raise ValueError(f"initial: {initial} is not a readable .npz file ({error})") from None
        if values is None:
            raise ValueError(f"initial must be a .npz file with an array 'initial', got {', '.join(held) or 'none'}")
        initial = values
    found = checks.tensor("initial", initial, ndim=2, floating=True).double()
    if points is not None and found.shape[1] != points:
        raise ValueError(f"initial must have one value for each of the {points} places, got {found.shape[1]}")
    return found


def fit_constrained(
    residual: Residual, initial, t, x, *, network: nn.Module | None = None, fields: int = 16, width: int = 48,
    blocks: Sequence[int | Sequence[int]] = (1, 1), overlap: int | Sequence[int] = 0, rows: str = "global", left=None, right=None,
    steps: int = 100, rate: float = 3e-3, batch: int = 4, tolerance: float = 1e-6, seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> FittedConstraint:  # fmt: skip
    """Train a network under a hard constraint for an equation of your own, without solutions.

    Args:
        residual: (u, u_t, u_x, u_xx) -> R, point by point.
        initial: u(0, x) of the instances to train on, (instances, nx), or a ``.npz`` file with it as ``initial``.
        t, x: the grid, see :class:`Equation`, as are ``left`` and ``right``.
        network: your own, features (B, nt, nx, 11) of :meth:`Equation.inputs` -> basis fields (B, nt, nx, N); trained in place.
        blocks, overlap, rows: see :func:`expert_split` and :class:`MoEConstraint`.
    """
    t, x = (checks.tensor(name, value, ndim=1).double() for name, value in (("t", t), ("x", x)))
    form: dict[str, Any] = {"inputs": 11, "fields": fields, "width": width}
    ends = {
        name: None if end is None else tuple(float(c) for c in end) for name, end in (("left", left), ("right", right))
    }
    shape = {"t": t, "x": x, **ends, "blocks": tuple(blocks), "overlap": overlap, "rows": rows, "tolerance": tolerance,
             "form": form if network is None else None}  # fmt: skip
    constraint = _constraint(residual, shape)
    values = read_initial(initial, len(x))
    net = BasisOperator(**form, seeds=(seed,)) if network is None else _Alone(network)
    if network is not None:
        probe = constraint.system.inputs(values[:1]).float()
        answer = network(probe)
        got = tuple(getattr(answer, "shape", ()))
        if len(got) != 4 or got[:3] != tuple(probe.shape[:3]):
            raise ValueError(f"network must map {tuple(probe.shape)} to (1, {len(t)}, {len(x)}, N), got {got}")
    losses = train(net, constraint, values[None], steps=steps, rate=rate, batch=batch, seed=seed, progress=progress)[
        :, 0
    ]
    return FittedConstraint(net.requires_grad_(False), constraint, losses, shape)
