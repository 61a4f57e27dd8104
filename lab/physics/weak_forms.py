r"""Weak forms on the unit box: compactly supported test functions, flow through random media, Burgers' equation, references.

A law -div F = f holds if int F . grad v = int f v for all test functions v that vanish on the boundary. :class:`WendlandTest`
are radial and piecewise polynomial; :func:`weak_residual` integrates over the ball of each, :func:`lattice_residual` takes one
around every point of a lattice by a convolution.

Source: H. Wendland, 'Piecewise polynomial, positive definite and compactly supported radial functions of minimal degree',
Advances in Computational Mathematics 4, 1995; Y. Zang, P.-S. Koutsourelakis, 'DGNO: A Novel Physics-aware Neural Operator for
Solving Forward and Inverse PDE Problems based on Deep, Generative Probabilistic Modeling', Journal of Computational Physics, 2025.

>>> test = WendlandTest(1, radius=0.5)
>>> value, slope = test(torch.tensor([[0.0], [0.25], [0.5]], dtype=torch.float64))
>>> value.round(decimals=3).tolist(), float(slope[0, 0])
([1.0, 0.172, 0.0], -0.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from lab import checks


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


def lattice_residual(
    x: torch.Tensor, flux: torch.Tensor, source: float, test: WendlandTest
) -> tuple[torch.Tensor, torch.Tensor]:
    """(int s . grad(m v) - int f m v) / int m v of v around every lattice point, (items, points), and int m v, (points,).

    The factor m of :func:`bubble` makes those near the boundary vanish there, so that the residual sees the whole box. Sums over
    one lattice are inexact next to the boundary, where m has a kink; in the mean over random shifts they are exact.

    Args:
        x: a :func:`lattice` (points, d). flux: s (items, d, points). source: f, a constant.
    """
    points, d = round(len(x) ** (1 / x.shape[1])), x.shape[1]
    convolve = (F.conv1d, F.conv2d, F.conv3d)[d - 1]
    value, slope = (each.to(flux) for each in test.kernel(points))
    m, turn = bubble(x)
    both = torch.cat([m * flux, ((flux * turn).sum(1) - source * m)[:, None]], 1).unflatten(-1, (points,) * d)
    reach = len(value) // 2
    found = convolve(both, torch.cat([slope, value[None]])[None], padding=reach).flatten(1)
    weight = convolve(m.reshape(1, 1, *[points] * d), value[None, None], padding=reach).flatten()
    return found / weight, weight


def bubble(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """m(x) = prod sin(π x_i), (points,), of points x (points, d), and its gradient (d, points)."""
    wave, turn = torch.sin(math.pi * x), math.pi * torch.cos(math.pi * x)
    d = x.shape[1]
    others = [torch.cat([wave[:, :i], turn[:, i : i + 1], wave[:, i + 1 :]], 1).prod(1) for i in range(d)]
    return wave.prod(1), torch.stack(others)


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
        return torch.bucketize(a.contiguous(), edges)

    def misfit(self, raw: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """-log p(a | β) (models, items, points) up to a constant."""
        if self.phases is None:
            return (raw[:, 0] - a.log()).square() / (2 * 0.05**2)
        return F.cross_entropy(
            torch.cat([torch.zeros_like(raw[:, :1]), raw], 1), self.label(a).expand(raw[:, 0].shape), reduction="none"
        )

    def solution(self, x: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
        """u (models, items, points) of the decoded first output."""
        return self.scale[0] * bubble(x)[0] * raw

    def place(self, x: torch.Tensor) -> torch.Tensor:
        """Where r_1 and the inputs are compared, of points x in the box: there."""
        return x

    def flux(self, x: torch.Tensor, raw: torch.Tensor, slopes: torch.Tensor | None = None) -> torch.Tensor:
        """s (models, d, items, points) of all decoded outputs; ``slopes``: gradients of the first where ``order`` is 1."""
        return self.scale[1] * raw[:, 1:]

    def local(self, x, a, raw, slopes) -> torch.Tensor:
        """r_1 (models, d, items, points) over its size; ``slopes`` (models, d, items, points) is the first output's gradient."""
        m, turn = bubble(x)
        gradient = self.scale[0] * (m * slopes + turn[:, None] * raw[:, :1])
        return (self.flux(x, raw) / a[:, None] - gradient) / self.slope

    def strong(self, x, a, raw, slopes, curve) -> torch.Tensor:
        """a Lap u + f (models, items, points) over its size: -div(a grad u) = f where a is constant; ``curve``: Laplacian of g."""
        m, turn = bubble(x)
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
