r"""Two experiments on point clouds: what a second parameter, density or place, does to the optimization of loops.

*Density.* Loops of a cluttered annulus are enlarged. With lengths alone every point wants to go outward for ever; with
(length, codensity) a loop counts only as far as its points stay dense.

*Place.* Loops are created in uniform points where a function of the plane says so.

Source: Scoccola, Setlur, Loiseaux, Carriere, Oudot, 'Differentiability and Optimization of Multiparameter Persistent
Homology', ICML 2024, section 4 (point clouds).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lab import checks
from lab.topology.persistence.diagrams import bars
from lab.topology.persistence.filtrations import CodensityRips, FlagDelaunay, Rips, codensity
from lab.topology.persistence.objectives import Objective, integral, lengths_between
from lab.topology.persistence.optimize import Step, minimize
from lab.topology.persistence.signed_measures import hilbert

CENTRES = ((0.2, 0.2), (0.8, 0.4), (0.4, 0.7))


@dataclass(frozen=True)
class CloudRun:
    """One optimized cloud: first and last positions, loss and radius of gyration after each step, and the steps."""

    start: torch.Tensor
    end: torch.Tensor
    losses: list[float]
    spread: list[float]
    parameters: int
    history: tuple[Step, ...] = ()

    @property
    def growth(self) -> float:
        """Last radius of gyration over the first."""
        return self.spread[-1] / self.spread[0]

    @property
    def drift(self) -> float:
        """Growth in the second half of the run, per 100 steps, relative to the start: zero where the cloud has settled."""
        half = len(self.spread) // 2
        return 100 * (self.spread[-1] - self.spread[half]) / (len(self.spread) - 1 - half) / self.spread[0]


def gyration(x: torch.Tensor) -> float:
    """Root mean square distance from the mean."""
    return float((x - x.mean(0)).square().sum(1).mean().sqrt())


def cluttered_annulus(count: int = 400, seed: int | torch.Generator = 0) -> torch.Tensor:
    """A quarter of the points uniform in the square [-0.1, 0.2]^2, the rest in the annulus of radii 0.85 to 1."""
    generator = checks.generator(seed)
    clutter = checks.integer("count", count, low=8) // 4
    square = 0.3 * torch.rand(clutter, 2, generator=generator, dtype=torch.float64) - 0.1
    angle = 2 * math.pi * torch.rand(count - clutter, generator=generator, dtype=torch.float64)
    radius = 0.85 + 0.15 * torch.rand(count - clutter, generator=generator, dtype=torch.float64)
    return torch.cat([square, radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)])


def enlarge_loops(
    parameters: int = 2, *, count: int = 400, steps: int = 300, bandwidth: float = 0.1, seed: int = 0, shuffle=False
) -> CloudRun:
    """Enlarge the loops of a cluttered annulus with lengths alone (1) or with lengths and codensity (2).

    Loss: minus the mean 1-norm distance of deaths beyond births over the atoms of the H1 measure of the Delaunay flag
    complex; Adam with step 0.01. ``shuffle`` deals the codensities to the wrong points, which switches the density off.
    """
    checks.choice("parameters", parameters, (1, 2))
    x = cluttered_annulus(count, seed)
    deal = torch.randperm(count, generator=torch.Generator().manual_seed(seed)) if shuffle else torch.arange(count)

    def loss(x):
        filtration = FlagDelaunay(x) if parameters == 1 else FlagDelaunay(x, codensity(x, bandwidth)[deal])
        return -lengths_between(hilbert(filtration, 1))

    found = minimize(loss, x, steps=steps, learning_rate=0.01, keep_path=True)
    spread = [gyration(points) for points in found.path]
    return CloudRun(x, found.x, found.losses, spread, parameters, found.history)


def place_function(x: torch.Tensor, width: float = 0.17) -> torch.Tensor:
    """1 minus three Gaussian bumps at ``CENTRES``: small where loops are wanted."""
    centres = torch.tensor(CENTRES).to(x)
    return 1 - torch.exp(-0.5 * (x[:, None] - centres).square().sum(-1) / width**2).sum(1)


def localized_loops(parameters: int = 2, *, count: int = 500, steps: int = 101, seed: int = 0) -> CloudRun:
    r"""Make loops where :func:`place_function` is small (2), or anywhere (1), from uniform points in the unit square.

    Loss with H1 atoms (r, f): :math:`\sum w\, r\,(0.65 - f)`; with one parameter :math:`\sum w\, r`. Adam, step 0.01.
    """
    checks.choice("parameters", parameters, (1, 2))
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(checks.integer("count", count, low=8), 2, generator=generator, dtype=torch.float64)

    def loss(x):
        if parameters == 1:
            return integral(hilbert(FlagDelaunay(x), 1), lambda atoms: 0.35 * atoms[:, 0])
        measure = hilbert(FlagDelaunay(x, place_function(x)), 1)
        return integral(measure, lambda atoms: atoms[:, 0] * (0.65 - atoms[:, 1]))

    found = minimize(loss, x, steps=steps, learning_rate=0.01, keep_path=True)
    return CloudRun(x, found.x, found.losses, [gyration(p) for p in found.path], parameters, found.history)


def share_in_place(x: torch.Tensor, *, radius: float = 0.2, largest: int = 10) -> float:
    """Share of the length of the ``largest`` loops whose last edge lies within ``radius`` of one of ``CENTRES``."""
    found = bars(FlagDelaunay(x), 1)
    edge = found.index[:largest, 1]
    middle = (x[edge // len(x)] + x[edge % len(x)]) / 2
    near = torch.cdist(middle, torch.tensor(CENTRES).to(x)).amin(1) < radius
    lengths = found.lengths[:largest]
    return float((lengths * near).sum() / lengths.sum().clamp_min(1e-12))


@dataclass(frozen=True)
class GridError:
    """Gradients of measures on snapped grids against exact ones: one row a resolution."""

    resolution: list[int]
    cosine: list[float]
    relative_error: list[float]
    value_error: list[float]


def grid_errors(resolutions=(10, 20, 50, 100, 200, 400), *, count: int = 200, seed: int = 0) -> GridError:
    """Loss and gradient of the H0 measure of a codensity-Rips bifiltration on quantile grids, against the exact ones."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    noise = 0.15 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    x = (torch.stack([angle.cos(), angle.sin()], 1) + noise).requires_grad_()

    def gradient(resolution):
        value = -lengths_between(hilbert(CodensityRips(x, 0.3), 0, grid=resolution))
        return float(value.detach()), torch.autograd.grad(value, x)[0].reshape(-1)

    exact_value, exact = gradient(None)
    rows = [gradient(checks.integer("resolution", resolution, low=2)) for resolution in resolutions]
    return GridError(
        list(resolutions),
        [float(torch.cosine_similarity(g, exact, dim=0)) for _, g in rows],
        [float((g - exact).norm() / exact.norm()) for _, g in rows],
        [abs(value - exact_value) / abs(exact_value) for value, _ in rows],
    )


@dataclass(frozen=True)
class Race:
    """Steps and seconds that each transform needs to reach the target; ``None`` where it does not."""

    names: list[str]
    steps: list[int | None]
    seconds: list[float]
    curves: list[list[float]]
    target: float


def transform_race(transforms: dict, *, count: int = 60, steps: int = 60, target: float = 0.25, seed: int = 0) -> Race:
    """Enlarge the longest loop of a noisy circle by ``target`` (relative) with each transform, plain steps of one size.

    Every transform moves the cloud by the same length a step (directions are normalized), so that steps compare.
    """
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    x = torch.stack([angle.cos(), angle.sin()], 1) + noise
    objective = Objective(Rips, lambda diagram: -diagram.lengths[:1].sum(), degree=1)
    start = float(bars(Rips(x), 1).lengths[0])
    goal = -(1 + target) * start
    rows = []
    for name, transform in transforms.items():

        def normalized(loss, x, generator, transform=transform):
            value, direction = transform(loss, x, generator)
            return value, direction / direction.norm().clamp_min(1e-12)

        found = minimize(
            objective, x, steps=steps, optimizer="sgd", learning_rate=0.1, transform=normalized, target=goal, seed=seed
        )
        reached = len(found.losses) - 1 if found.reason == "target reached" else None
        seconds = sum(step.seconds for step in found.history)
        rows.append((name, reached, seconds, [-loss / start for loss in found.losses]))
    names, steps_taken, spent, curves = (list(column) for column in zip(*rows))
    return Race(names, steps_taken, spent, curves, target=1 + target)
