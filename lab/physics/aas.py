r"""Adversarial adaptive sampling: a physics-informed network against a density of collocation points.

With r the residual of a differential equation for the network u on a box, and densities p taken relative to the uniform one (mean
p = 1), network and density play

.. math:: \min_u \max_{p \ge 0,\ \langle p\rangle = 1} \langle r^2 p\rangle - \beta \langle |\nabla p|^2\rangle
          + \gamma \langle (u - g)^2\rangle_{\partial\Omega},

:math:`\langle\cdot\rangle` the mean over the box. Where it is not negative the best density is
:math:`p^* = 1 + (-\Delta_N)^{-1}(r^2 - \langle r^2\rangle)/(2\beta)`, and the maximum is

.. math:: \langle r^2\rangle + \frac{1}{4\beta}\,\|r^2 - \langle r^2\rangle\|^2_{H^{-1}} .

The H^-1 norm is to first order the Wasserstein-2 distance of the density r^2 / <r^2> from the uniform one, in units of <r^2>: the
network lowers its residual and flattens it. :func:`adversary` finds p* on a grid, by one cosine transform, or as the exact solution
of the obstacle problem where the formula would be negative. In more dimensions a :class:`CouplingFlow` climbs by the
score-function gradient. The points are used without importance weights on purpose: the loss is <r^2 p>.

Source: K. Tang, J. Zhai, X. Wan, C. Yang, 'Adversarial Adaptive Sampling: Unify PINN and Optimal Transport for the Approximation
of PDEs', ICLR 2024, sections 3 and 4. Their flow is KRnet, and they train it by the same alternation.

>>> r2 = torch.linspace(0, 1, 16, dtype=torch.float64) ** 2
>>> found = adversary(r2, (1.0,), kappa=1.0)      # the least smoothness at which the formula holds
>>> bool((found.density >= -1e-12).all()), round(float(found.density.mean()), 6)
(True, 1.0)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from lab import checks
from lab.physics.residuals import Box, Derivatives, Networks, forward_laplacian


@dataclass(frozen=True)
class Adversary:
    """The density on a grid that maximizes ``reward - beta * smoothness``, for fields (..., n1, ..., nd).

    ``density`` (..., n1, ..., nd) has mean 1; ``reward`` is the mean of r^2 p, ``smoothness`` that of |grad p|^2, ``least`` the
    smallest beta at which the closed form is not negative.
    """

    density: torch.Tensor
    beta: torch.Tensor
    reward: torch.Tensor
    smoothness: torch.Tensor
    least: torch.Tensor

    @property
    def value(self) -> torch.Tensor:
        """The maximum."""
        return self.reward - self.beta * self.smoothness


def potential(r2: torch.Tensor, size: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """w = (-Laplace)^-1 (r2 - mean) without flux through the walls, and the squared H^-1 norm <(r2 - mean) w>, by cosines.

    Args:
        r2: values (..., n1, ..., nd) at the centres of cells.
        size: side lengths (d,) of the box. The Laplacian is that of differences between neighbouring cells.
    """
    import numpy as np
    from scipy.fft import dctn, idctn

    d = len(size)
    shape, axes = tuple(r2.shape[-d:]), tuple(range(-d, 0))
    eigenvalues = np.zeros(shape)
    for axis, (n, side) in enumerate(zip(shape, size)):
        one = (2 * n / side * np.sin(np.pi * np.arange(n) / (2 * n))) ** 2
        eigenvalues = eigenvalues + one.reshape([-1 if k == axis else 1 for k in range(d)])
    eigenvalues[(0,) * d] = np.inf
    modes = dctn(r2.double().numpy(), type=2, norm="ortho", axes=axes)
    w = idctn(modes / eigenvalues, type=2, norm="ortho", axes=axes)
    square = (modes**2 / eigenvalues).sum(axes) / np.prod(shape)
    return torch.from_numpy(w), torch.as_tensor(square)


def smoothness(p: torch.Tensor, size: Sequence[float]) -> torch.Tensor:
    """<|grad p|^2> of (..., n1, ..., nd), by differences between neighbouring cells."""
    d = len(size)
    total = torch.zeros(p.shape[:-d], dtype=p.dtype)
    for axis, side in zip(range(-d, 0), size):
        steps = p.diff(dim=axis) * (p.shape[axis] / side)
        total = total + steps.square().sum(tuple(range(-d, 0))) / p[(0,) * (p.ndim - d)].numel()
    return total


def adversary(
    r2: torch.Tensor, size: Sequence[float], *, beta: float | None = None, kappa: float | None = None
) -> Adversary:
    """The density that maximizes <r2 p> - beta <|grad p|^2> over p >= 0 with <p> = 1, exactly on the grid, in float64.

    Args:
        r2: squared residuals (..., n1, ..., nd), d <= 3, at the centres of cells.
        size: side lengths (d,) of the box.
        beta: smoothness; or ``kappa``: beta in units of the least one at which the closed form is not negative. At a fixed beta
            the density becomes uniform as the residual falls, at a fixed kappa it does not.

    Raises:
        ValueError: both or neither of beta and kappa, negative r2, another number of axes.
    """
    size = tuple(checks.number("size", side, low=0, open_low=True) for side in size)
    d = len(size)
    checks.choice("the number of axes", d, (1, 2, 3))
    r2 = checks.tensor("r2", r2, floating=True).double()
    if r2.ndim < d:
        raise ValueError(f"r2 must end in {d} axes of the box, got shape {tuple(r2.shape)}")
    if bool((r2 < 0).any()):
        raise ValueError(f"r2 must not be negative: it is the square of a residual, got {float(r2.min()):g}")
    if (beta is None) == (kappa is None):
        raise ValueError("give one of beta and kappa")
    name, given = ("beta", beta) if kappa is None else ("kappa", kappa)
    given = checks.number(name, given, low=0, open_low=True)
    axes = tuple(range(-d, 0))
    w, _ = potential(r2, size)
    least = (-w.amin(axes) / 2).clamp_min(0)
    used = torch.full_like(least, given) if kappa is None else given * least
    wide = used.reshape(*used.shape, *[1] * d)
    p = 1 + torch.where(wide > 0, w / (2 * wide).clamp_min(1e-300), 0)
    if bool((used < least).any()):
        flat, fields, betas = p.reshape(-1, *p.shape[-d:]).clone(), r2.reshape(-1, *r2.shape[-d:]), used.flatten()
        for k in (used < least).flatten().nonzero().flatten().tolist():
            flat[k] = _obstacle(fields[k], size, float(betas[k]), flat[k])
        p = flat.reshape(p.shape)
    return Adversary(p, used, (r2 * p).mean(axes), smoothness(p, size), least)


def _obstacle(r2: torch.Tensor, size: Sequence[float], beta: float, start: torch.Tensor) -> torch.Tensor:
    """max <r2 p> - beta <|grad p|^2>, p >= 0, <p> = 1: the active set by Newton's method, from where ``start`` is negative.

    With K the matrix of -Laplace: 2 beta K p = r2 - m + q, q >= 0, q p = 0, and the multiplier m makes <p> = 1.
    """
    import numpy as np
    import scipy.sparse as sp
    from scipy.sparse.linalg import splu

    K, shape = sp.csr_matrix((1, 1)), tuple(r2.shape)
    for n, side in zip(shape, size):
        D = sp.diags([-np.ones(n - 1), np.ones(n - 1)], [0, 1], shape=(n - 1, n)) * (n / side)
        K = sp.kron(K, sp.identity(n)) + sp.kron(sp.identity(K.shape[0]), D.T @ D)
    K = (2 * beta * K).tocsr()
    f, count = r2.flatten().numpy(), r2.numel()
    scale = max(float(np.abs(f).max()), 1e-300)
    zero = start.flatten().numpy() < 0
    for _ in range(500):
        kept = np.flatnonzero(~zero)
        solve = splu(K[kept][:, kept].tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve
        one, two = solve(np.stack([f[kept], np.ones(len(kept))], 1)).T
        m = (one.sum() - count) / two.sum()
        p = np.zeros(count)
        p[kept] = one - m * two
        q = K @ p - f + m
        changed = np.where(zero, q < -1e-12 * scale, p < 0)
        if not changed.any():
            return torch.from_numpy(p.reshape(shape))
        zero = zero ^ changed
    raise RuntimeError("the active set of the obstacle problem did not settle in 500 steps")


def cells(density: torch.Tensor, box: Box, n: int, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """Points (models, n, d) drawn from densities (models, n1, ..., nd) that are constant on every cell."""
    shape = torch.tensor(density.shape[1:])
    weight = density.flatten(1).clamp_min(0)
    found = []
    for row, g in zip(weight, generators):
        index = torch.multinomial(row, n, replacement=True, generator=g)
        place = torch.stack(torch.unravel_index(index, tuple(shape.tolist())), -1)
        found.append((place + torch.rand(n, len(shape), generator=g)) / shape)
    return box.at(torch.stack(found))


class CouplingFlow(nn.Module):
    """A density on the unit cube, d >= 2: affine couplings on logits with tanh networks; untrained it is uniform.

    A coupling moves some coordinates z2 of the logits by the others, z2 <- z2 (1 + 0.6 tanh a) + exp(c) tanh b with (a, b) a
    network of the others' places in the cube, as in KRnet. All seeds side by side.
    """

    def __init__(self, d: int, *, couplings: int = 6, width: int = 32, seeds: Sequence[int] = (0,)):
        super().__init__()
        self.d = checks.integer("d", d, low=2)
        self.form = {"d": d, "couplings": couplings, "width": width}
        order = [torch.arange(d).roll(-k * ((d + 1) // 2)) for k in range(couplings)]
        self.fixed, self.moved = [o[: d // 2] for o in order], [o[d // 2 :] for o in order]
        self.networks = nn.ModuleList(
            Networks(len(a), 2 * len(b), width=width, depth=2, flat=True, seeds=[s + 7919 * k for s in seeds])
            for k, (a, b) in enumerate(zip(self.fixed, self.moved))
        )
        self.shifts = nn.ParameterList(nn.Parameter(torch.zeros(len(seeds), 1, len(b))) for b in self.moved)

    def _coupling(self, k, z):
        a, b = self.networks[k](torch.tanh(z[..., self.fixed[k]] / 2)).chunk(2, -1)
        return 1 + 0.6 * torch.tanh(a), self.shifts[k].clamp(-5, 5).exp() * torch.tanh(b)

    def forward(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Points (models, n, d) of the uniform density to points of p and log p (models, n)."""
        z, stretch = _logit(u), torch.zeros(u.shape[:-1]).to(u)
        base = _logistic(z)
        for k in range(len(self.networks)):
            scale, shift = self._coupling(k, z)
            z = z.index_copy(-1, self.moved[k], z[..., self.moved[k]] * scale + shift)
            stretch = stretch + scale.log().sum(-1)
        return torch.sigmoid(z), base - stretch - _logistic(z)

    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Points of p back to uniform ones, and log p(y)."""
        z, stretch = _logit(y), torch.zeros(y.shape[:-1]).to(y)
        top = _logistic(z)
        for k in reversed(range(len(self.networks))):
            scale, shift = self._coupling(k, z)
            z = z.index_copy(-1, self.moved[k], (z[..., self.moved[k]] - shift) / scale)
            stretch = stretch + scale.log().sum(-1)
        return torch.sigmoid(z), _logistic(z) - stretch - top

    def log_density(self, y: torch.Tensor) -> torch.Tensor:
        """log p (models, n) at points of the unit cube, relative to the uniform density."""
        return self.inverse(y)[1]


def _logit(u):
    """The logit, of the nearest place inside where float rounds to a wall; differentiable twice."""
    edge = 1e-6 if u.dtype == torch.float32 else 1e-12
    u = u.clamp(edge, 1 - edge)
    return u.log() - torch.log1p(-u)


def _logistic(z):
    return (logsigmoid(z) + logsigmoid(-z)).sum(-1)


def score_gradient_loss(flow: CouplingFlow, y: torch.Tensor, r2: torch.Tensor) -> torch.Tensor:
    """A sum over models whose gradient is minus that of E_p[r2] in units of its standard deviation.

    grad E_p[r2] = E_p[(r2 - b) grad log p] for any b; b is the mean over the points y (models, n, d), drawn from p.
    """
    centred = r2 - r2.mean(1, keepdim=True)
    return -(centred / r2.std(1, keepdim=True).clamp_min(1e-30) * flow.log_density(y)).mean(1).sum()


def roughness(flow: CouplingFlow, y: torch.Tensor, size: Sequence[float]) -> torch.Tensor:
    """E_p |W grad log p|^2 (models,) over points y of p in the unit cube, W = diag(4 y (1 - y)): to first order in p - 1 it is
    <|W grad p|^2>.

    It stands in for <|grad p|^2>: in many dimensions p spans orders of magnitude and an estimate of that mean has no use, and
    at the walls a scaled logit makes grad p unbounded, so its weight falls to 0 there.
    """
    y = y.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(flow.log_density(y).sum(), y, create_graph=True)
    return (4 * y * (1 - y) * gradient / gradient.new_tensor(size)).square().sum(-1).mean(1)


Residual = Callable[[torch.Tensor, Derivatives], torch.Tensor]


@dataclass(frozen=True)
class Problem:
    """A differential equation on a box: ``residual(x, u) -> (..., n)`` with u.value, u.gradient, u.laplacian; u = g on the sides.

    ``weights`` are those of the second derivatives in u.laplacian, ``boundary(x)`` is g, 0 by default.
    """

    box: Box
    residual: Residual
    boundary: Callable[[torch.Tensor], torch.Tensor] = field(default=lambda x: torch.zeros_like(x[..., 0]))
    weights: tuple[float, ...] | None = None

    def of(self, net: Networks, x: torch.Tensor) -> torch.Tensor:
        """The residual (models, n) of networks at x (models, n, d)."""
        return self.residual(x, forward_laplacian(net, x, self.weights))

    def scale(self) -> float:
        """The root mean square residual of u = 0 over 4096 points of the box, 1 where it vanishes."""
        x = self.box.uniform(4096, [torch.Generator().manual_seed(0)])
        zero = torch.zeros_like(x[..., 0])
        r = self.residual(x, Derivatives(zero, torch.zeros_like(x), zero))
        if not isinstance(r, torch.Tensor) or r.shape != zero.shape:
            raise ValueError(
                f"residual must return one value a point, {tuple(zero.shape)}, got "
                f"{tuple(r.shape) if isinstance(r, torch.Tensor) else type(r).__name__}"
            )
        checks.refuse_nonfinite("residual", r)
        return float(r.square().mean().sqrt()) or 1.0


class Uniform:
    """Points without an adversary."""

    def __init__(self, box: Box, seeds: Sequence[int]):
        self.box = box

    def refresh(self, r2: Callable[[torch.Tensor], torch.Tensor], generators) -> None:
        """Answer the present residual; ``r2(x)`` gives its square (models, n) at points (models, n, d)."""

    def draw(self, n: int, generators) -> torch.Tensor:
        """Points (models, n, d)."""
        return self.box.uniform(n, generators)


class OnGrid(Uniform):
    """The exact adversary on ``grid`` cells a side, d <= 3.

    ``rule``: ``"adversary"``, ``"residual"`` (p proportional to r2), ``"permuted"`` (the adversary's cells in random order).
    """

    def __init__(self, box: Box, seeds, grid: int = 32, kappa: float = 0.1, rule: str = "adversary"):
        super().__init__(box, seeds)
        self.grid, self.kappa = grid, kappa
        self.rule = checks.choice("rule", rule, ("adversary", "residual", "permuted"))
        self.density = torch.ones(len(seeds), *[grid] * box.d, dtype=torch.float64)

    def refresh(self, r2, generators) -> None:
        x = self.box.centres(self.grid)
        found = r2(x.expand(len(self.density), *x.shape)).double().reshape(self.density.shape)
        if self.rule == "residual":
            self.density = found / found.flatten(1).mean(1).reshape(-1, *[1] * self.box.d).clamp_min(1e-300)
            return
        self.density = adversary(found, self.box.size, kappa=self.kappa).density
        if self.rule == "permuted":
            flat = self.density.flatten(1)
            flat = torch.stack([p[torch.randperm(len(p), generator=g)] for p, g in zip(flat, generators)])
            self.density = flat.reshape(self.density.shape)

    def draw(self, n, generators) -> torch.Tensor:
        return cells(self.density, self.box, n, generators).float()


class ByFlow(Uniform):
    """A flow that climbs by ``climbs`` score-function steps at each refresh; ``mirrored`` reflects its points at the centre.

    ``beta`` is the weight of the roughness in units of the standard deviation of r2 and of the largest side squared.
    """

    def __init__(self, box: Box, seeds, beta: float = 1e-2, climbs: int = 5, rate: float = 5e-3, points: int = 256,
                 mirrored: bool = False):  # fmt: skip
        super().__init__(box, seeds)
        self.flow, self.beta, self.climbs = CouplingFlow(box.d, seeds=seeds), beta * max(box.size) ** 2, climbs
        self.points, self.mirrored = points, mirrored
        self.optimizer = torch.optim.Adam(self.flow.parameters(), lr=rate)

    def refresh(self, r2, generators) -> None:
        for _ in range(self.climbs):
            u = torch.stack([torch.rand(self.points, self.box.d, generator=g) for g in generators])
            with torch.no_grad():
                y = self.flow(u)[0]
            loss = score_gradient_loss(self.flow, y, r2(self.box.at(y)))
            loss = loss + self.beta * roughness(self.flow, y, self.box.size).sum()
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.flow.parameters(), 5.0 * len(generators))
            self.optimizer.step()

    def draw(self, n, generators) -> torch.Tensor:
        u = torch.stack([torch.rand(n, self.box.d, generator=g) for g in generators])
        with torch.no_grad():
            y = self.flow(u)[0]
        return self.box.at(1 - y if self.mirrored else y)


def train(
    problem: Problem, sampler: Uniform, *, seeds: Sequence[int], steps: int, rate: float = 2e-3, points: int = 250,
    every: int = 40, share: float = 0.5, weight: float = 10.0, width: int = 40, depth: int = 3,
    progress: Callable[[float], None] | None = None,
) -> tuple[Networks, torch.Tensor]:  # fmt: skip
    """Networks (one a seed, side by side) trained against ``sampler``, and their losses (steps, models).

    Every step takes ``points`` new points, the ``share`` of them from the sampler and the others uniform, and half as many on the
    sides. The residual is taken in units of :meth:`Problem.scale`.
    """
    net = Networks(problem.box.d, width=width, depth=depth, seeds=seeds)
    generators = [torch.Generator().manual_seed(100_003 * (seed + 1)) for seed in seeds]
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    scale, losses = problem.scale(), torch.empty(steps, len(seeds))

    def r2(x):
        with torch.no_grad():
            return (problem.of(net, x) / scale).square()

    chosen = round(share * points)
    for step in range(steps):
        if step and step % every == 0:
            sampler.refresh(r2, generators)
            if progress is not None:
                progress(step / steps)
        x = torch.cat([sampler.draw(chosen, generators), problem.box.uniform(points - chosen, generators)], 1)
        side = problem.box.boundary(max(1, points // 2), generators)
        wrong = (net(side)[..., 0] - problem.boundary(side)).square().mean(1)
        loss = (problem.of(net, x) / scale).square().mean(1) + weight * wrong
        if not bool(torch.isfinite(loss).all()):
            raise FloatingPointError(f"the loss is not finite at step {step}; use a smaller rate than {rate:g}")
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        losses[step] = loss.detach()
    sampler.refresh(r2, generators)
    return net.requires_grad_(False), losses


@dataclass(frozen=True)
class FittedSolution:
    """A trained network on a box: call it at points (n, d). ``samples`` (1000, d) are the adversary's last points."""

    net: Networks
    box: Box
    samples: torch.Tensor
    losses: torch.Tensor

    def __call__(self, x) -> torch.Tensor:
        x = checks.tensor("x", x, shape=(None, self.box.d), floating=True)
        return self.net(x.float()[None])[0, :, 0].to(x.dtype)

    def derivatives(self, x) -> Derivatives:
        """Value (n,), gradient (n, d) and Laplacian (n,)."""
        x = checks.tensor("x", x, shape=(None, self.box.d), floating=True)
        return Derivatives(*(part[0].to(x.dtype) for part in forward_laplacian(self.net, x.float()[None])))

    def save(self, path: str | Path) -> None:
        """Write everything to one file."""
        kept = {"form": self.net.form, "weights": self.net.state_dict(), "low": self.box.low, "high": self.box.high}
        torch.save({**kept, "samples": self.samples, "losses": self.losses}, path)

    @classmethod
    def load(cls, path: str | Path) -> FittedSolution:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Raises:
            ValueError: a file of another kind.
        """
        kept = torch.load(path, weights_only=True)
        if not isinstance(kept, dict) or not {"form", "weights", "low", "high", "samples", "losses"} <= kept.keys():
            raise ValueError(f"{path} must be a file that FittedSolution.save wrote")
        net = Networks(**kept["form"])
        net.load_state_dict(kept["weights"])
        return cls(net.requires_grad_(False), Box(kept["low"], kept["high"]), kept["samples"], kept["losses"])


def fit_solution(
    residual: Residual, box, *, boundary: Callable[[torch.Tensor], torch.Tensor] | None = None,
    weights: Sequence[float] | None = None, sampler: str = "auto", steps: int = 1500, rate: float = 4e-3, points: int = 250,
    kappa: float = 0.1, seed: int = 0, progress: Callable[[float], None] | None = None,
) -> FittedSolution:  # fmt: skip
    """Solve a differential equation of your own by a network whose points an adversary chooses.

    Args:
        residual: (x, u) -> (..., n), zero where the equation holds; u.value, u.gradient, u.laplacian at x (..., n, d).
        box: ((low, high), ...), one pair an axis.
        boundary: values on the sides, (..., n, d) -> (..., n), 0 by default.
        weights: of the second derivatives in u.laplacian; (1, 0) for a heat equation in (x, t).
        sampler: ``"exact"`` (d <= 3), ``"flow"`` (d >= 2), ``"uniform"``, or ``"auto"``: the first that fits.

    Raises:
        ValueError: a residual of another shape, or not finite at u = 0; a box or sampler that does not fit.
        FloatingPointError: the training diverges; the message names the step.
    """
    box = Box.of(box)
    checks.choice("sampler", sampler, ("auto", "exact", "flow", "uniform"))
    sampler = ("exact" if box.d <= 3 else "flow") if sampler == "auto" else sampler
    if sampler == "exact" and box.d > 3:
        raise ValueError(f"sampler must be 'flow' or 'uniform' in more than 3 dimensions, got 'exact' and {box.d}")
    kinds = {"exact": lambda: OnGrid(box, (seed,), 32 if box.d < 3 else 16, kappa),
             "flow": lambda: ByFlow(box, (seed,)), "uniform": lambda: Uniform(box, (seed,))}  # fmt: skip
    extra = {} if boundary is None else {"boundary": boundary}
    problem = Problem(box, residual, weights=None if weights is None else tuple(weights), **extra)
    steps, points = checks.integer("steps", steps, low=1), checks.integer("points", points, low=4)
    rate = checks.number("rate", rate, low=0, open_low=True)
    checks.number("kappa", kappa, low=0, open_low=True)
    chosen = kinds[sampler]()
    net, losses = train(problem, chosen, seeds=(seed,), steps=steps, rate=rate, points=points, progress=progress)
    samples = chosen.draw(1000, [torch.Generator().manual_seed(seed)])[0]
    return FittedSolution(net, box, samples, losses[:, 0])


__all__ = ["Adversary", "Box", "ByFlow", "CouplingFlow", "FittedSolution", "OnGrid", "Problem", "Uniform", "adversary", "cells",
           "fit_solution", "potential", "roughness", "score_gradient_loss", "smoothness", "train"]  # fmt: skip
