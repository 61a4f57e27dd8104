r"""The deep generative neural operator: one latent vector decodes to a PDE's input and to its solution, trained without labels.

With z ~ N(0, I) and β = tanh(z) every field is a :class:`MultiONet`

.. math:: g(x; \beta) = \frac{1}{L} \sum_{l} \frac{w_l}{\sqrt{W}} \langle t_l(x), b_l(\beta) \rangle + b_0

over the last L of the layers of a trunk on x and of a branch on β (W wide; L = 1 is DeepONet). A phase field has the probabilities
softmax(g), a smooth one log a = g; the solution is u = m(x) g with a factor m that vanishes on the boundary. For
-div(a grad u) = f the flux s = a grad u is a field of its own, and the residuals

.. math:: r_1 = s/a - \nabla u, \qquad r_2 = \int s \cdot \nabla v - \int f v

take part in training as virtual observations of zero; the test functions v are :class:`WendlandTest` functions around every point
of a lattice that is shifted at random in each step. An encoder gives q(z|a), so that training maximizes the evidence bound of
inputs a alone, and inverse problems are solved in z: :func:`invert` draws from p(z | sensors) by Hamiltonian Monte Carlo.

Differences from the published code: trunks are shared between fields, the encoder has a variance (there it is deterministic, so
that z has no prior), layer weights start at 1 (at 0 nothing but b_0 has a gradient at first), r_1 is divided by a.

Source: Y. Zang, P.-S. Koutsourelakis, 'DGNO: A Novel Physics-aware Neural Operator for Solving Forward and Inverse PDE Problems
based on Deep, Generative Probabilistic Modeling', Journal of Computational Physics 538, 2025; H. Wendland, 'Piecewise polynomial,
positive definite and compactly supported radial functions of minimal degree', 1995.

>>> test = WendlandTest(1, radius=0.5)
>>> value, slope = test(torch.tensor([[0.0], [0.25], [0.5]], dtype=torch.float64))
>>> value.round(decimals=3).tolist(), float(slope[0, 0])
([1.0, 0.188, 0.0], -0.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from lab import checks
from lab.physics import hmc


class WendlandTest:
    """v(y) = (1 - r)^(l+2) ((l^2 + 4l + 3) r^2 + (3l + 6) r + 3)/3 at r = |y|/radius < 1, l = floor(d/2) + 3, and 0 beyond: C^4."""

    def __init__(self, d: int, radius: float = 0.1):
        self.d = checks.integer("d", d, low=1, high=3)
        self.radius = checks.number("radius", radius, low=0.0, high=0.5, open_low=True)

    def __call__(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """v (...) and grad v (..., d) at offsets y (..., d) from the centre."""
        l, y = self.d // 2 + 3, y / self.radius
        r = y.norm(dim=-1)
        rest = (1 - r).clamp_min(0.0)
        value = rest ** (l + 2) * ((l * l + 4 * l + 3) * r**2 + (3 * l + 6) * r + 3) / 3
        slope = -(rest ** (l + 1)) * ((l**3 + 8 * l * l + 19 * l + 12) * r + l * l + 7 * l + 12) / 3
        return value, slope[..., None] * y / self.radius

    def points(self, n: int) -> torch.Tensor:
        """Offsets (q, d) of n points a side that lie inside the ball; the spacing is 2 radius/(n - 1)."""
        line = torch.linspace(-1, 1, checks.integer("n", n, low=3), dtype=torch.float64)
        y = torch.cartesian_prod(*[line] * self.d).reshape(-1, self.d)
        return self.radius * y[y.norm(dim=1) < 1 - 1e-12]

    def kernel(self, points: int) -> tuple[torch.Tensor, torch.Tensor]:
        """v (k, ..., k) and grad v (d, k, ..., k) on the points of a lattice of spacing 1/points, in units of the sum of v."""
        reach = math.ceil(self.radius * points)
        line = torch.arange(-reach, reach + 1, dtype=torch.float64) / points
        value, slope = self(torch.cartesian_prod(*[line] * self.d).reshape(*[len(line)] * self.d, self.d))
        return value / value.sum(), slope.movedim(-1, 0) / value.sum()


def weak_residual(
    flux: Callable[[torch.Tensor], torch.Tensor], source: Callable[[torch.Tensor], torch.Tensor], centres: torch.Tensor,
    test: WendlandTest, points: int = 15,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """The two sides of the weak form, int s . grad v_j and int f v_j, (centres,) each, over the integral of v.

    Args:
        flux: x (..., d) -> s (..., d). source: x -> f (...). centres: (centres, d) whose balls lie inside the domain.
        points: integration points a side; at 7 the error is about 1 %, at 15 about 1e-4, at 31 about 1e-6.
    """
    centres = checks.tensor("centres", centres, shape=(None, test.d), floating=True)
    y = test.points(points).to(centres)
    value, slope = test(y)
    x = centres[:, None] + y
    return (flux(x) * slope).sum((-2, -1)) / value.sum(), (source(x) * value).sum(-1) / value.sum()


class MultiONet(nn.Module):
    """Fields (models, outputs, items, points) of x (points, d) in the unit box and β (models, items, latent), models side by side.

    One trunk on x and a branch per output on β, ``depth`` layers of equal width each; the last ``layers`` of them enter.
    The trunk's activation is tanh(sin(π(h + 1))) + h.
    """

    def __init__(
        self, d: int, latent: int, outputs: int, *, width: int = 48, depth: int = 4, layers: int = 3,
        seeds: Sequence[int] = (0,),
    ):  # fmt: skip
        super().__init__()
        self.layers = checks.integer("layers", layers, low=1, high=checks.integer("depth", depth, low=1))
        generators = [checks.generator(seed) for seed in seeds]
        self.width = width

        def drawn(*shape, scale):
            return nn.Parameter(scale * torch.stack([torch.randn(shape, generator=g) for g in generators]))

        def shared(*shape, value=0.0):
            return nn.Parameter(torch.full((len(generators), *shape), value))

        ins = [1.0, *[width**-0.5] * (depth - 1)]
        self.trunks = nn.ParameterList(drawn(width if k else d, width, scale=c) for k, c in enumerate(ins))
        self.shifts = nn.ParameterList(drawn(1, width, scale=0.5) for _ in ins)
        sizes = [latent, *[width] * (depth - 1)]
        self.branches = nn.ParameterList(drawn(outputs, n, width, scale=1.4 * n**-0.5) for n in sizes)
        self.biases = nn.ParameterList(drawn(outputs, 1, width, scale=0.3) for _ in sizes)
        self.weights, self.offset = shared(outputs, 1, layers, 1, value=1.0), shared(outputs, 1, 1)

    def trunk(self, x: torch.Tensor, order: int = 0) -> list[torch.Tensor]:
        """Features (models, points, layers * width); with order 1 their gradients (models, d, ...), with 2 their Laplacians."""
        h, slope, curve = 2 * x - 1, None, None
        kept: list[list[torch.Tensor]] = [[], [], []]
        for k, (weight, shift) in enumerate(zip(self.trunks, self.shifts)):
            h = h @ weight + shift
            if order:
                slope = slope @ weight[:, None] if k else 2 * weight[:, :, None].expand(-1, -1, len(x), -1)
            if order > 1:
                curve = curve @ weight if k else torch.zeros_like(h)
            wave = torch.sin(math.pi * h)
            t = torch.tanh(-wave)
            if order:
                rise, flat = -math.pi * torch.cos(math.pi * h), 1 - t * t
                first = flat * rise + 1
                if order > 1:
                    second = flat * (math.pi**2 * wave) - 2 * t * flat * rise**2
                    curve = first * curve + second * slope.square().sum(1)
                slope = first[:, None] * slope
            h = h + t
            for each, found in zip(kept, (h, slope, curve)):
                each.append(found)
        return [torch.cat(each[-self.layers :], -1) for each in kept[: order + 1]]

    def branch(self, beta: torch.Tensor, only: slice = slice(None)) -> torch.Tensor:
        """Coefficients (models, outputs, items, layers * width) of the trunk's features, of all outputs or a slice of them."""
        h, kept = beta[:, None], []
        for weight, bias in zip(self.branches, self.biases):
            h = F.silu(h @ weight[:, only] + bias[:, only])
            kept.append(h)
        scaled = torch.stack(kept[-self.layers :], -2) * self.weights[:, only] / (self.layers * self.width**0.5)
        return scaled.flatten(-2)

    def forward(self, x: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        return self.join(self.branch(beta), self.trunk(x)[0])

    def join(self, branch: torch.Tensor, features: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Values (models, outputs, items, points) of the outputs from number ``first`` on, whose ``branch`` is given."""
        return branch @ features[:, None].mT + self.offset[:, first : first + branch.shape[1]]


class Darcy:
    """-div(a grad u) = f on the unit box, u = 0 on its boundary, in the mixed form; outputs u and s = a grad u.

    Args:
        phases: the values of a, at least two, ascending; ``None`` for a smooth positive a, decoded as log a with an error of 0.05.
        source: f, a constant.
    """

    def __init__(self, d: int = 2, phases: Sequence[float] | None = (0.5, 1.0), source: float = 1.0):
        self.d, self.phases = checks.integer("d", d, low=1, high=3), None
        if phases is not None:
            self.phases = tuple(checks.number("phases", a, low=0.0, open_low=True) for a in phases)
            if len(self.phases) < 2 or list(self.phases) != sorted(set(self.phases)):
                raise ValueError(f"phases must be at least two ascending values, got {self.phases}")
        self.source = checks.number("source", source)
        self.inputs = len(self.phases) - 1 if self.phases else 1
        self.outputs, self.inner, self.order, self.size = 1 + self.d, self.d, 0, abs(self.source) or 1.0
        middle = math.sqrt(self.phases[0] * self.phases[-1]) if self.phases else 1.0
        self.slope = (
            abs(self.source) / (4 * self.d * middle) or 1.0
        )  # sizes of grad u and s, which the residuals are divided by
        self.scale = [self.slope, *[self.slope * middle] * self.d]

    @property
    def form(self) -> dict:
        """What builds the same problem."""
        return {"d": self.d, "phases": self.phases, "source": self.source}

    def factor(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """m(x) = prod sin(π x_i), (points,), and its gradient (d, points)."""
        wave, turn = torch.sin(math.pi * x), math.pi * torch.cos(math.pi * x)
        others = [torch.cat([wave[:, :i], turn[:, i : i + 1], wave[:, i + 1 :]], 1).prod(1) for i in range(self.d)]
        return wave.prod(1), torch.stack(others)

    def probabilities(self, raw: torch.Tensor) -> torch.Tensor:
        """Probabilities (models, phases, items, points) of decoded inputs (models, inputs, items, points)."""
        return torch.cat([torch.zeros_like(raw[:, :1]), raw], 1).softmax(1)

    def coefficient(self, raw: torch.Tensor) -> torch.Tensor:
        """a (models, items, points): the mean over phases, or exp of the decoded log a."""
        if self.phases is None:
            return raw[:, 0].exp()
        return (self.probabilities(raw) * raw.new_tensor(self.phases)[:, None, None]).sum(1)

    def label(self, a: torch.Tensor) -> torch.Tensor:
        """The phase of every value as a whole number, or log a."""
        if self.phases is None:
            return a.log()
        edges = a.new_tensor([(p + q) / 2 for p, q in zip(self.phases, self.phases[1:])])
        return torch.bucketize(a, edges)

    def misfit(self, raw: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """-log p(a | β) (models, items, points) up to a constant."""
        if self.phases is None:
            return (raw[:, 0] - a.log()).square() / (2 * 0.05**2)
        return F.cross_entropy(
            torch.cat([torch.zeros_like(raw[:, :1]), raw], 1), self.label(a).expand(raw[:, 0].shape), reduction="none"
        )

    def solution(self, x: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        """u (models, items, points) of the decoded first output."""
        return self.scale[0] * self.factor(x)[0] * raw

    def place(self, x: torch.Tensor) -> torch.Tensor:
        """Where r_1 and the inputs are compared, of points x in the box: there."""
        return x

    def flux(self, x: torch.Tensor, raw: torch.Tensor, slopes: torch.Tensor | None = None) -> torch.Tensor:
        """s (models, d, items, points) of all decoded outputs; ``slopes``: gradients of the first where ``order`` is 1."""
        return self.scale[1] * raw[:, 1:]

    def local(self, x, a, raw, slopes) -> torch.Tensor:
        """r_1 (models, d, items, points) over its size; ``slopes`` (models, d, items, points) is the first output's gradient."""
        m, turn = self.factor(x)
        gradient = self.scale[0] * (m * slopes + turn[:, None] * raw[:, :1])
        return (self.flux(x, raw) / a[:, None] - gradient) / self.slope

    def strong(self, x, a, raw, slopes, curve) -> torch.Tensor:
        """a Lap u + f (models, items, points) over its size: -div(a grad u) = f where a is constant; ``curve``: Laplacian of g."""
        m, turn = self.factor(x)
        laplacian = m * (curve - self.d * math.pi**2 * raw[:, 0]) + 2 * (turn[:, None] * slopes).sum(1)
        return (a * self.scale[0] * laplacian + self.source) / self.size


class Burgers:
    """u_t + u u_x = ν u_xx for points (x, t) of the unit square, u = 0 at x = 0 and 1; the input is u(x, 0), an output u(x, t).

    It is -div F = 0 with F = (u^2/2 - ν u_x, u) in space and time, and r_1 = u(x, 0) - input.
    """

    d, inner, inputs, outputs, order, size, source, phases = 2, 1, 1, 1, 1, 1.0, 0.0, None

    def __init__(self, viscosity: float = 0.05):
        self.viscosity = checks.number("viscosity", viscosity, low=0.0, open_low=True)

    @property
    def form(self) -> dict:
        """What builds the same problem."""
        return {"viscosity": self.viscosity}

    def coefficient(self, raw: torch.Tensor) -> torch.Tensor:
        """The decoded u(x, 0) (models, items, points)."""
        return raw[:, 0]

    def label(self, a: torch.Tensor) -> torch.Tensor:
        """The values themselves."""
        return a

    def misfit(self, raw: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """-log p(a | β) with errors of 0.05, up to a constant."""
        return (raw[:, 0] - a).square() / (2 * 0.05**2)

    def place(self, x: torch.Tensor) -> torch.Tensor:
        """The points at t = 0."""
        return torch.stack([x[:, 0], torch.zeros_like(x[:, 0])], 1)

    def solution(self, x: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        """u = sin(π x) g."""
        return torch.sin(math.pi * x[:, 0]) * raw

    def flux(self, x: torch.Tensor, raw: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        """F (models, 2, items, points)."""
        u = self.solution(x, raw[:, 0])
        along = torch.sin(math.pi * x[:, 0]) * slopes[:, 0] + math.pi * torch.cos(math.pi * x[:, 0]) * raw[:, 0]
        return torch.stack([u.square() / 2 - self.viscosity * along, u], 1)

    def local(self, x, a, raw, slopes) -> torch.Tensor:
        """u(x, 0) - input."""
        return (self.solution(x, raw[:, 0]) - a)[:, None]


def reference(a: torch.Tensor, source: float = 1.0, refine: int = 2) -> torch.Tensor:
    """u (items, n + 1, ..., n + 1) at the corners of the cells of a (items, n) or (items, n, n), float64.

    On a line in closed form: s = c - f x and u' = s/a. On a square by Q1 finite elements, ``refine`` a cell and side.
    """
    a = checks.tensor("a", a, ndim=(2, 3), floating=True).double()
    if not bool((a > 0).all()):
        raise ValueError(f"a must be positive, got {float(a.min()):g}")
    n = a.shape[-1]
    if a.ndim == 2:
        middle = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        c = source * (middle / a).mean(1, keepdim=True) / (1 / a).mean(1, keepdim=True)
        return F.pad(((c - source * middle) / a).cumsum(1) / n, (1, 0))
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    m = refine * n
    node = np.arange((m + 1) ** 2).reshape(m + 1, m + 1)
    corner = np.stack([node[:-1, :-1], node[:-1, 1:], node[1:, 1:], node[1:, :-1]], -1).reshape(-1, 4)
    element = np.array([[4, -1, -2, -1], [-1, 4, -1, -2], [-2, -1, 4, -1], [-1, -2, -1, 4]]) / 6
    rows, columns = np.repeat(corner, 4, 1).ravel(), np.tile(corner, 4).ravel()
    inner = node[1:-1, 1:-1].ravel()
    load, found = np.full(len(inner), source / m**2), torch.zeros(len(a), (m + 1) ** 2, dtype=torch.float64)
    for k, field in enumerate(a.numpy()):
        values = field.repeat(refine, 0).repeat(refine, 1).reshape(-1, 1) * element.ravel()
        matrix = coo_matrix((values.ravel(), (rows, columns))).tocsc()[inner][:, inner]
        solved = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(load)
        found[k, inner] = torch.from_numpy(solved)
    return found.reshape(-1, m + 1, m + 1)[:, ::refine, ::refine]


def burgers(a: torch.Tensor, viscosity: float = 0.05, refine: int = 2) -> torch.Tensor:
    """u (items, n + 1, n + 1) at the corners x = i/n, t = j/n from cells a (items, n): differences, Runge-Kutta, float64."""
    n = a.shape[-1]
    m = refine * n
    place = (torch.arange(m + 1, dtype=torch.float64) / refine - 0.5).clamp(0, n - 1)
    low = place.long().clamp_max(n - 2)
    u = torch.lerp(a.double()[:, low], a.double()[:, low + 1], place - low)
    u[:, 0], u[:, -1] = 0.0, 0.0

    def rate(u):
        square = u.square() / 2
        inner = viscosity * (u[:, 2:] - 2 * u[:, 1:-1] + u[:, :-2]) * m**2 - (square[:, 2:] - square[:, :-2]) * m / 2
        return F.pad(inner, (1, 1))

    steps = math.ceil(max(viscosity * m * m * 2, 2.0 * m * float(u.abs().max())) / n) + 1
    dt, kept = 1 / (n * steps), [u]
    for k in range(n * steps):
        k1 = rate(u)
        k2 = rate(u + dt / 2 * k1)
        k3 = rate(u + dt / 2 * k2)
        u = u + dt / 6 * (k1 + 2 * k2 + 2 * k3 + rate(u + dt * k3))
        if (k + 1) % steps == 0:
            kept.append(u)
    return torch.stack(kept, 2)[:, ::refine]


def corners(n: int, d: int) -> torch.Tensor:
    """The points (.., d) of :func:`reference` inside the box."""
    line = torch.arange(1, n, dtype=torch.float64) / n
    return torch.cartesian_prod(*[line] * d).reshape(-1, d)


def lattice(points: int, d: int, shift=0.5) -> torch.Tensor:
    """Points (points^d, d) of spacing 1/points, ``shift`` (d,) of a spacing away from the corner."""
    line = torch.arange(points)
    return (torch.cartesian_prod(*[line] * d).reshape(-1, d) + shift) / points


def at(a: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The cell values a (..., n, ..., n) with d axes at points x (points, d), (..., points)."""
    n, d = a.shape[-1], x.shape[1]
    place = (x * n).long().clamp(0, n - 1)
    index = sum(place[:, i] * n ** (d - 1 - i) for i in range(d))
    return a.flatten(-d)[..., index]


class DGNO(nn.Module):
    """An encoder q(z|a) and a decoder of inputs and outputs, models of all seeds side by side.

    Args:
        problem: :class:`Darcy`, or an object with the same members: another weak form, another decoder of inputs.
        cells: n of inputs with n^d cells. latent: the length of z. layers: L, 1 for DeepONet.
    """

    def __init__(
        self, problem, cells: int, *, latent: int = 16, width: int = 48, depth: int = 4, layers: int = 3, hidden: int = 128,
        seeds: Sequence[int] = (0,),
    ):  # fmt: skip
        super().__init__()
        self.problem, self.cells, self.latent, self.seeds = problem, cells, latent, tuple(seeds)
        self.form = {
            "cells": cells,
            "latent": latent,
            "width": width,
            "depth": depth,
            "layers": layers,
            "hidden": hidden,
        }
        self.decoder = MultiONet(
            problem.d, latent, problem.inputs + problem.outputs, width=width, depth=depth, layers=layers, seeds=seeds
        )
        generators = [checks.generator(1_000_003 + seed) for seed in seeds]
        sizes = [cells**problem.inner, hidden, hidden, 2 * latent]
        self.encoder = nn.ParameterList(
            nn.Parameter(c * n**-0.5 * torch.stack([torch.randn(n, m, generator=g) for g in generators]))
            for n, m, c in zip(sizes, sizes[1:], (1.4, 1.4, 0.5))
        )
        self.steady = nn.ParameterList(nn.Parameter(torch.zeros(len(seeds), 1, n)) for n in sizes[1:])

    @property
    def models(self) -> int:
        """How many models stand side by side."""
        return len(self.seeds)

    def encode(self, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log standard deviation (models, items, latent) of q(z|a) for a (items, n, ...) or (models, items, n, ...)."""
        h = self.problem.label(a).to(self.encoder[0].dtype).flatten(-self.problem.inner)
        h = h.expand(self.models, *h.shape[-2:]) - 0.5 * self.problem.inputs * (self.problem.phases is not None)
        for k, (weight, bias) in enumerate(zip(self.encoder, self.steady)):
            h = h @ weight + bias
            h = F.silu(h) if k < 2 else h
        mean, spread = h.chunk(2, -1)
        return mean, spread - 2.0

    def inputs(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Decoded inputs (models, inputs, items, points): logits of phases, or log a."""
        branch = self.decoder.branch(torch.tanh(z), slice(self.problem.inputs))
        return self.decoder.join(branch, self.decoder.trunk(x)[0])

    def solution(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """u (models, items, points) of z (models, items, latent)."""
        k = self.problem.inputs
        branch = self.decoder.branch(torch.tanh(z), slice(k, k + 1))
        return self.problem.solution(x, self.decoder.join(branch, self.decoder.trunk(x)[0], k)[:, 0])

    def predict(self, a: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """u (models, items, points) at points x (points, d) for inputs a (items, n, ...)."""
        with torch.no_grad():
            return self.solution(self.encode(self._field(a))[0], x.to(self.encoder[0].dtype))

    def _field(self, a):
        a = checks.tensor("a", a, shape=(None, *[self.cells] * self.problem.inner), floating=True)
        if not bool((a > 0).all()) and isinstance(self.problem, Darcy):
            raise ValueError(f"a must be positive, got {float(a.min()):g}")
        return a.to(self.encoder[0].dtype)


def loss(
    model: DGNO, a: torch.Tensor, generator: torch.Generator, *, physics: float = 1.0, form: str = "weak",
    test: WendlandTest, points: int, labels: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """The negative evidence bound per cell with the residuals as virtual observations, (models,), of a (models, items, n, ...).

    Args:
        physics: weight of the residuals.
        form: ``"weak"``: r_1 and r_2; ``"strong"``: the residual of second derivatives in place of both; ``"labels"``: the
            relative square error of ``labels`` (models, items, corners) alone, without noise in z and without residuals.
        points: lattice points a side for the test functions.
    """
    problem, decoder, k, d = model.problem, model.decoder, model.problem.inputs, model.problem.d
    mean, spread = model.encode(a)
    if form == "labels":
        u = model.solution(mean, corners(model.cells, d).to(mean.dtype))
        return ((u - labels).square().mean(-1) / labels.square().mean(-1)).mean(1)
    z = mean + spread.exp() * torch.randn(mean.shape, generator=generator)
    branch = decoder.branch(torch.tanh(z))
    side = min(points, model.cells)
    x = problem.place(lattice(side, d, torch.rand(side**d, d, generator=generator)))
    features = decoder.trunk(x, 0 if physics == 0 else 2 if form == "strong" else 1)
    values, raw = at(a, x[:, : problem.inner]), decoder.join(branch, features[0])
    bound = (mean.square() + (2 * spread).exp() - 1 - 2 * spread).sum(-1).mean(1) / (2 * model.cells**problem.inner)
    bound = bound + problem.misfit(raw[:, :k], values).mean((1, 2))
    if physics == 0:
        return bound
    slopes = branch[:, k : k + 1] @ features[1].mT
    if form == "strong":
        curve = branch[:, k] @ features[2].mT
        return bound + physics * problem.strong(x, values, raw[:, k:], slopes, curve).square().mean((1, 2))
    bound = bound + physics * problem.local(x, values, raw[:, k:], slopes).square().sum(1).mean((1, 2))
    x = lattice(points, d, torch.rand(d, generator=generator))
    features = decoder.trunk(x, problem.order)
    slopes = branch[:, k : k + 1] @ features[1].mT if problem.order else None
    flux = problem.flux(x, decoder.join(branch[:, k:], features[0], k), slopes)
    gradient = test.kernel(points)[1].to(flux)
    pushed = (F.conv1d, F.conv2d, F.conv3d)[d - 1](flux.transpose(1, 2).reshape(-1, d, *[points] * d), gradient[None])
    residual = (pushed.reshape(model.models, a.shape[1], -1) - problem.source) / problem.size
    return bound + physics * residual.square().mean((1, 2))


def train(
    model: DGNO, a: torch.Tensor, *, steps: int, rate: float = 2e-3, batch: int = 16, physics: float = 1.0,
    form: str = "weak", radius: float = 0.1, points: int = 64, labels: torch.Tensor | None = None, seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Train on inputs a (items, n, ...) alone, in place; returns the losses (steps, models). Arguments as in :func:`loss`."""
    generator, optimizer = checks.generator(seed), torch.optim.Adam(model.parameters(), lr=rate)
    a, test, kept = a.float(), WendlandTest(model.problem.d, radius), []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = (
            rate * min(1.0, (step + 1) / 50) * (0.51 + 0.49 * math.cos(math.pi * step / steps))
        )
        items = torch.randint(len(a), (model.models, min(batch, len(a))), generator=generator)
        each = loss(
            model, a[items], generator, physics=physics, form=form, test=test, points=points,
            labels=None if labels is None else labels[items],
        )  # fmt: skip
        optimizer.zero_grad()
        each.sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0 * model.models**0.5)
        optimizer.step()
        kept.append(each.detach())
        if progress is not None:
            progress((step + 1) / steps)
    return torch.stack(kept)


@dataclass(frozen=True)
class Posterior:
    """Draws of p(z | sensors) through a frozen operator.

    z (draws, models, items, chains, latent); error (draws, models, items, chains), the standard deviation of the operator's own
    error; r_hat (models, items), the largest over z; acceptance (models, items, chains).
    """

    operator: DGNO
    z: torch.Tensor
    error: torch.Tensor
    r_hat: torch.Tensor
    acceptance: torch.Tensor

    def _flat(self):
        return self.z.permute(1, 2, 0, 3, 4).flatten(2, 3)  # (models, items, draws, latent)

    def inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Decoded inputs (models, inputs, items, draws, points)."""
        z = self._flat()
        with torch.no_grad():
            return self.operator.inputs(z.flatten(1, 2), x.to(z.dtype)).unflatten(2, z.shape[1:3])

    def probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Posterior probability (models, phases, items, points) of each phase."""
        raw = self.inputs(x)
        return self.operator.problem.probabilities(raw.flatten(2, 3)).unflatten(2, raw.shape[2:4]).mean(3)

    def solutions(self, x: torch.Tensor, seed: int | torch.Generator = 0) -> torch.Tensor:
        """Draws of u (models, items, draws, points): the operator's answer and a draw of its error."""
        z, generator = self._flat(), checks.generator(seed)
        with torch.no_grad():
            u = self.operator.solution(z.flatten(1, 2), x.to(z.dtype)).unflatten(1, z.shape[1:3])
        error = self.error.permute(1, 2, 0, 3).flatten(2)[..., None]
        return u + error * torch.randn(u.shape, generator=generator, dtype=u.dtype)


def invert(
    operator: DGNO, sensors, u=None, *, noise: float, chains: int = 4, starts: int = 8, descent: int = 150, warmup: int = 150,
    draws: int = 100, leapfrog: int = 8, prior: bool = True, seed: int | torch.Generator = 0,
    progress: Callable[[float], None] | None = None,
) -> Posterior:  # fmt: skip
    """The posterior of z from values of u at sensors: u_k = u(x_k; z) + operator's error + noise, z ~ N(0, I).

    The operator's error is normal with standard deviation τ; log τ is drawn along with z, under a normal prior around 2 % of the
    values' size with deviation 1. Chains start from the best of ``starts`` descents.

    Args:
        sensors: (sensors, d) in the unit box, or a table (file) whose columns are the coordinates and then u.
        u: values (sensors,), (items, sensors) or (models, items, sensors).
        noise: standard deviation of the sensors, in units of u.
        prior: False leaves the normal prior of z out.

    Raises:
        ValueError, TypeError: other shapes, sensors outside the box, a negative noise.
    """
    if u is None:
        sensors, u = read_sensors(sensors, operator.problem.d) if isinstance(sensors, (str, Path)) else _split(sensors)
    x = checks.tensor("sensors", sensors, shape=(None, operator.problem.d), floating=True).float()
    if float(x.min()) < 0 or float(x.max()) > 1:
        raise ValueError(
            f"sensors must lie in the unit box, got coordinates from {float(x.min()):g} to {float(x.max()):g}"
        )
    u = checks.tensor("u", u, ndim=(1, 2, 3), floating=True).float()
    u = u.reshape(1, *[1] * (2 - u.ndim), *u.shape) if u.ndim < 3 else u
    if u.shape[-1] != len(x) or u.shape[0] not in (1, operator.models):
        raise ValueError(
            f"u must hold a value for each of {len(x)} sensors (items, sensors), got {tuple(u.shape[-2:])}"
        )
    noise, generator = checks.number("noise", noise, low=0.0), checks.generator(seed)
    starts = max(checks.integer("starts", starts, low=1), checks.integer("chains", chains, low=1))
    u = u.expand(operator.models, *u.shape[1:])
    size = u.square().mean(-1).sqrt().clamp_min(1e-12)[..., None]
    with torch.no_grad():
        features = operator.decoder.trunk(x)[0]
    place, k = {id(p): p.requires_grad for p in operator.parameters()}, operator.problem.inputs
    only, one = slice(k, k + 1), operator.decoder

    def density(w):
        beta = torch.tanh(w[..., :-1])
        raw = one.join(one.branch(beta.flatten(1, 2), only), features, k)[:, 0]
        gap = u[:, :, None] - operator.problem.solution(x, raw).unflatten(1, w.shape[1:3])
        variance = noise**2 + (size * w[..., -1].exp()).square()
        value = (
            -(gap.square().sum(-1) / variance + len(x) * variance.log()) / 2
            - (w[..., -1] - math.log(0.02)).square() / 2
        )
        return value - w[..., :-1].square().sum(-1) / 2 if prior else value

    try:
        operator.requires_grad_(False)
        w = torch.randn(operator.models, u.shape[1], starts, operator.latent + 1, generator=generator)
        w = torch.cat([0.5 * w[..., :-1], torch.full_like(w[..., :1], math.log(0.1))], -1).requires_grad_()
        optimizer = torch.optim.Adam([w], lr=0.05)
        for _ in range(descent):
            optimizer.zero_grad()
            (-density(w).sum()).backward()
            optimizer.step()
        w = w.detach()
        best = density(w).topk(chains, 2).indices
        w = torch.gather(w, 2, best[..., None].expand(*best.shape, w.shape[-1]))
        found = hmc.sample(
            density, w, warmup=warmup, draws=draws, leapfrog=leapfrog, step=0.05, seed=generator, progress=progress
        )
    finally:
        for p in operator.parameters():
            p.requires_grad_(place[id(p)])
    z, error = found.z[..., :-1], size * found.z[..., -1].exp()
    r_hat = hmc.split_r_hat(z.permute(0, 3, 1, 2, 4)).amax(-1)
    return Posterior(operator, z, error, r_hat, found.acceptance)


def _split(table):
    table = checks.tensor("sensors", table, ndim=2, floating=True)
    return table[:, :-1], table[:, -1]


def read_sensors(path: str | Path, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates (sensors, d) and values (sensors,) from a CSV file or table whose columns are the coordinates and then u.

    Raises:
        ValueError: another number of columns, text, missing values.
    """
    from lab import datasets

    path = Path(path)
    frame = datasets.load(path).frame
    names, numeric = list(frame.columns), frame.select_dtypes("number")
    if len(names) != d + 1 or numeric.shape[1] != d + 1:
        raise ValueError(
            f"{path.name} must have {d + 1} columns of numbers, coordinates and u, got {', '.join(map(str, names))}"
        )
    return _split(torch.from_numpy(numeric.to_numpy(dtype="float64").copy()))


def fit_operator(
    a, problem=None, *, steps: int = 600, rate: float = 5e-3, physics: float = 10.0, latent: int = 16, width: int = 64,
    depth: int = 3, layers: int = 3, points: int = 48, radius: float = 0.1, seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> DGNO:  # fmt: skip
    """A trained operator from inputs a (items, n, ...) alone: an array, or a ``.npy`` file; no solution is needed.

    Args:
        problem: :class:`Darcy` (the default, its phases the values that a takes where these are at most six), :class:`Burgers`,
            or an object with the same members.
    """
    if isinstance(a, (str, Path)):
        import numpy as np

        a = np.load(a, allow_pickle=False)
    a = checks.tensor("a", a, ndim=(2, 3), floating=True)
    if problem is None:
        values = a.flatten()[:100_000].unique()
        problem = Darcy(a.ndim - 1, values.tolist() if 1 < len(values) <= 6 else None)
    model = DGNO(problem, a.shape[-1], latent=latent, width=width, depth=depth, layers=layers, seeds=(seed,))
    model._field(a)
    train(model, a, steps=steps, rate=rate, physics=physics, points=points, radius=radius, seed=seed, progress=progress)
    return model.requires_grad_(False)


PROBLEMS = {"Darcy": Darcy, "Burgers": Burgers}


def save_operator(operator: DGNO, path: str | Path) -> None:
    """Write an operator of :class:`Darcy` or :class:`Burgers` to one file; for an own problem keep its ``state_dict()``."""
    name = checks.choice("the operator's problem", type(operator.problem).__name__, PROBLEMS)
    torch.save(
        {"problem": name, "arguments": operator.problem.form, "form": operator.form, "seeds": list(operator.seeds),
         "weights": operator.state_dict()}, path
    )  # fmt: skip


def load_operator(path: str | Path) -> DGNO:
    """Read what :func:`save_operator` wrote; nothing in the file is executed."""
    kept = torch.load(path, weights_only=True)
    problem = PROBLEMS[checks.choice("the file's problem", kept["problem"], PROBLEMS)](**kept["arguments"])
    model = DGNO(problem, **kept["form"], seeds=kept["seeds"])
    model.load_state_dict(kept["weights"])
    return model.requires_grad_(False)
