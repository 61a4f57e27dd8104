"""What the statements about persistence as an objective are measured on: small losses of clouds, graphs and images.

Barcodes and descriptors are checked against definitions: gudhi's persistence of the same complex with one parameter, and ranks
of the map between two stages of it with several.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lab.topology.persistence.diagrams import bars
from lab.topology.persistence.filtrations import FunctionRips, Graph, Image, Rips, codensity
from lab.topology.persistence.objectives import integral, total_persistence
from lab.topology.persistence.optimize import StepRule, minimize
from lab.topology.persistence.optimizers import BigStep, Continuation, Diffeomorphic, StratifiedSampling, Vanilla
from lab.topology.persistence.ranks import multiparameter_landscape, rank
from lab.topology.persistence.signed_measures import SignedMeasure, euler, hilbert

NEAR = 1e-9  # grades of two sums of squares differ by less; a grade is asked a little above the cells'
FALLING, CONSTANT = StepRule(0.3, 0.9), StepRule(0.3, 0.0)


def grid_graph(side: int) -> np.ndarray:
    """Edges of a triangulated square grid of ``side`` x ``side`` vertices."""
    number = np.arange(side * side).reshape(side, side)
    parts = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:]), (number[:-1, :-1], number[1:, 1:])]
    return np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in parts])


def noisy_hill(side: int, seed: int) -> torch.Tensor:
    """A bowl on the vertices of a grid, with noise."""
    place = torch.cartesian_prod(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side)).double()
    noise = torch.randn(side * side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return place.square().sum(1) + 0.5 * noise


def noisy_circle(count: int, seed: int) -> torch.Tensor:
    """Points near the unit circle."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    noise = 0.15 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], 1) + noise


def share_removed(side: int, steps: int, seed: int, *, sign: int = 1) -> float:
    """Share of the total persistence of components that descent takes from a noisy bowl; ``sign`` -1 climbs."""
    edges, start = grid_graph(side), noisy_hill(side, seed)

    def loss(f):
        return total_persistence(bars(Graph(edges, f), 0))

    found = minimize(lambda f: sign * loss(f), start, steps=steps, learning_rate=0.02)
    return 1 - float(loss(found.x)) / float(loss(start))


@dataclass(frozen=True)
class OneParameter:
    """A filtration of a point ``at``, the degree of its barcode, and gudhi's intervals (k, 2) of the same."""

    make: Callable
    degree: int
    at: torch.Tensor
    intervals: Callable

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """A smooth function of the barcode, sum of sin(1 + birth) cos(death)."""
        return integral(bars(self.make(x), self.degree), lambda p: (1 + p[:, 0]).sin() * p[:, 1].cos())

    def loss_by_definition(self, x: torch.Tensor) -> float:
        """The same of gudhi's barcode."""
        found = self.intervals(x.numpy())
        found = found[np.isfinite(found).all(1) & (found[:, 1] > found[:, 0])]
        return float((np.sin(1 + found[:, 0]) * np.cos(found[:, 1])).sum())


def one_parameter(seed: int) -> dict[str, OneParameter]:
    """Barcodes of a cloud, a graph and an image, and where they are differentiated."""
    import gudhi

    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    values = torch.randn(25, generator=generator, dtype=torch.float64)
    edges = grid_graph(5)

    def tree_of_cloud(x):
        return gudhi.RipsComplex(points=x).create_simplex_tree(max_dimension=2)

    def tree_of_graph(f):
        tree = gudhi.SimplexTree()
        for v, value in enumerate(f):
            tree.insert([v], value)
        for i, j in edges:
            tree.insert([i, j], max(f[i], f[j]))
        return tree

    def intervals(make, degree):
        def found(x):
            complex = make(x)
            complex.compute_persistence(homology_coeff_field=2)
            return np.asarray(complex.persistence_intervals_in_dimension(degree)).reshape(-1, 2)

        return found

    x = noisy_circle(30, seed)
    return {
        "components of a cloud": OneParameter(Rips, 0, x, intervals(tree_of_cloud, 0)),
        "loops of a cloud": OneParameter(Rips, 1, x, intervals(tree_of_cloud, 1)),
        "components of a graph": OneParameter(lambda f: Graph(edges, f), 0, values, intervals(tree_of_graph, 0)),
        "holes of an image": OneParameter(Image, 1, image, intervals(lambda v: gudhi.CubicalComplex(vertices=v), 1)),
    }


def directional_error(function, at, seed: int, *, values=None, elsewhere: bool = False, step: float = 1e-6) -> float:
    """Relative error of the automatic derivative of ``function`` along a random direction.

    The truth is the central difference of ``values`` (``function`` itself if ``None``). ``elsewhere`` takes the gradient at
    another point, drawn within a tenth of ``at``.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(at.shape, generator=generator, dtype=torch.float64)
    point = at.clone()
    if elsewhere:
        point = point + 0.1 * torch.randn(at.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(function(point.requires_grad_()), point)
    slope = float((gradient * direction).sum())
    with torch.no_grad():
        ends = [float((values or function)(at + s * direction)) for s in (step, -step)]
    return abs((ends[0] - ends[1]) / (2 * step) - slope) / max(1.0, abs(slope))


def wrong_ranks(case: OneParameter, seed: int, *, dealt: bool = False, count: int = 10) -> int:
    """Pairs of levels at which the rank read from the barcode differs from its definition, of ``count`` drawn ones.

    Bars that are born by the first level and die after the second are counted. ``dealt`` gives the deaths to other births.
    """
    filtration = case.make(case.at)
    diagram, pool = bars(filtration, case.degree), levels(filtration)[:, 0]
    points = diagram.points.detach().numpy()
    if dealt:
        points = np.stack([points[:, 0], np.roll(points[:, 1], len(points) // 2)], 1)
    born = diagram.essential.detach().numpy()
    draw, wrong = np.random.default_rng(seed), 0
    for _ in range(count):
        low, high = np.sort(draw.choice(pool, 2)) + NEAR
        found = ((points[:, 0] <= low) & (points[:, 1] > high)).sum() + (born <= low).sum()
        wrong += int(found != rank_by_definition(filtration, case.degree, [low], [high]))
    return wrong


def cells_of(filtration) -> list[tuple[np.ndarray, np.ndarray]]:
    """Simplices (m, d + 1) of each dimension up to two with their grades (m, parameters), of a cloud or a graph."""
    if isinstance(filtration, Graph):
        values = filtration.values.detach().numpy()
        return [(np.arange(len(values))[:, None], values), (filtration.edges, values[filtration.edges].max(1))]
    distance = filtration.matrix()
    found = []
    for top in range(3):
        simplices = np.stack(np.meshgrid(*[np.arange(filtration.size)] * (top + 1), indexing="ij"), -1).reshape(
            -1, top + 1
        )
        simplices = simplices[(np.diff(simplices, axis=1) > 0).all(1)]
        grades = [distance[simplices[:, :, None], simplices[:, None]].max((1, 2))]
        if filtration.parameters == 2:
            grades.append(filtration.f.detach().numpy()[simplices].max(1))
        found.append((simplices, np.stack(grades, 1)))
    return found


def levels(filtration) -> np.ndarray:
    """The grades (m, parameters) at which something enters."""
    if isinstance(filtration, Image):
        return _pixels(filtration).reshape(-1, filtration.parameters)
    return np.concatenate([grades for _, grades in cells_of(filtration)])


def _pixels(image):
    values = image.values.detach().numpy().reshape(image.parameters, *image.shape)
    return np.moveaxis(values, 0, -1)


def rank_by_definition(filtration, degree: int, lower, upper) -> int:
    """Rank of the map in homology from the cells at or below grade ``lower`` to those at or below ``upper``, by gudhi."""
    import gudhi

    def stage(grades):
        return np.where((grades <= lower).all(-1), 0.0, np.where((grades <= upper).all(-1), 1.0, 2.0))

    if isinstance(filtration, Image):
        complex, options = gudhi.CubicalComplex(vertices=stage(_pixels(filtration))), {}
    else:
        complex, options = gudhi.SimplexTree(), {"persistence_dim_max": True}
        for simplices, grades in cells_of(filtration):
            complex.insert_batch(np.ascontiguousarray(simplices.T, dtype=np.int32), stage(grades))
    complex.compute_persistence(homology_coeff_field=2, **options)
    found = complex.persistence_intervals_in_dimension(degree)
    return int(sum(birth < 0.5 and death > 1.5 for birth, death in np.asarray(found).reshape(-1, 2)))


@dataclass(frozen=True)
class Signed:
    """A bifiltration of a point ``at`` and one of its signed barcodes."""

    make: Callable
    descriptor: str
    degree: int
    at: torch.Tensor

    def measure(self, filtration) -> SignedMeasure:
        if self.descriptor == "euler":
            return euler(filtration)
        if self.descriptor == "rank":
            return rank(filtration, self.degree, grid=None).signed_barcode()
        return hilbert(filtration, self.degree)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        """A smooth function of the signed barcode."""
        return integral(self.measure(self.make(x)), lambda p: (p * 0.7).sin().prod(1))

    def wrong_values(self, seed: int, *, count: int = 5) -> int:
        """Grades, of ``count`` drawn ones, at which the descriptor differs from its definition."""
        filtration = self.make(self.at)
        pool, draw, wrong = levels(filtration), np.random.default_rng(seed), 0
        for _ in range(count):
            one, two, three = pool[draw.integers(len(pool), size=3)]
            low = np.maximum(one, two) + NEAR
            high = np.maximum(low, three + NEAR) if self.descriptor == "rank" else low
            wrong += int(self._at(filtration, low, high) != self._by_definition(filtration, low, high))
        return wrong

    def _at(self, filtration, low, high):
        low, high = torch.from_numpy(low)[None], torch.from_numpy(high)[None]
        if self.descriptor == "rank":
            return int(rank(filtration, self.degree, grid=None).at(low, high))
        return int(self.measure(filtration).at(low))

    def _by_definition(self, filtration, low, high):
        if self.descriptor != "euler":
            return rank_by_definition(filtration, self.degree, low, high)
        return sum((-1) ** d * int((grades <= low).all(1).sum()) for d, (_, grades) in enumerate(cells_of(filtration)))


def signed_barcodes(seed: int) -> dict[str, Signed]:
    """Hilbert, Euler and rank measures of a cloud, an image and graphs."""
    generator = torch.Generator().manual_seed(seed)
    x = noisy_circle(20, seed)
    image = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    values = torch.randn(16, 2, generator=generator, dtype=torch.float64)
    edges = grid_graph(4)
    return {
        "Hilbert, components of a cloud": Signed(_cloud, "hilbert", 0, x),
        "Hilbert, loops of a cloud": Signed(_cloud, "hilbert", 1, x),
        "Hilbert, holes of an image": Signed(lambda v: Image(v, parameters=2), "hilbert", 1, image),
        "Euler, graph": Signed(lambda v: Graph(edges, v), "euler", 0, values),
        "rank, components of a graph": Signed(lambda v: Graph(edges, v), "rank", 0, values),
    }


def _cloud(x):
    return FunctionRips(x, codensity(x, 0.4))


@dataclass(frozen=True)
class Landscape:
    """The first two landscapes of a cloud in one degree, on a small grid."""

    degree: int
    grid = ([0.2, 0.5, 0.8, 1.1], [1.0, 1.3, 1.6, 1.9])

    def values(self, x: torch.Tensor) -> torch.Tensor:
        return multiparameter_landscape(_cloud(x), self.degree, self.grid, count=2)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        return self.values(x).square().sum()

    def wrong_values(self, x: torch.Tensor, *, near: float = 1e-6) -> int:
        """Places on the diagonal of the grid at which lambda_k is not the largest distance with a rank of at least k."""
        found, filtration, wrong = self.values(x).detach(), _cloud(x), 0
        for k in range(2):
            for p in range(4):
                place, size = np.array([self.grid[0][p], self.grid[1][p]]), float(found[k, p, p])
                inside, outside = max(size - near, 0.0), size + near
                wrong += int(self._rank(filtration, place, outside) > k)
                wrong += int(size > near and self._rank(filtration, place, inside) <= k)
        return wrong

    def _rank(self, filtration, place, size):
        return rank_by_definition(filtration, self.degree, place - size, place + size)


def last_movement(losses) -> float:
    """Spread of the loss over the last fifth of a run, relative to its first value."""
    tail = np.asarray(losses[-max(5, len(losses) // 5) :])
    return float(tail.std() / max(abs(losses[0]), 1e-12))


def one_parameter_descent(seed: int, rule: StepRule, steps: int):
    """Total persistence of components plus a pull to the start: a loss with kinks and a bounded minimizer."""
    x = noisy_circle(20, seed)

    def loss(y):
        return total_persistence(bars(Rips(y), 0)) + 0.5 * (y - x).square().sum()

    return minimize(loss, x, steps=steps, optimizer="sgd", learning_rate=rule)


def two_parameter_descent(
    seed: int, rule: StepRule, *, count: int, steps: int, sign: int = 1, pull: float = 0.5
) -> list[float]:
    """Losses of descent on minus the 1-norms of a Hilbert measure plus a pull to the start; ``sign`` -1 climbs.

    Without ``pull`` the loss has no minimum.
    """
    x = noisy_circle(count, seed)

    def loss(y):
        measure = hilbert(FunctionRips(y, codensity(y, 0.3)), 0)
        return -integral(measure, lambda p: p.sum(1)) / len(x) + pull * (y - x).square().sum()

    found = minimize(lambda y: sign * loss(y), x, steps=steps, optimizer="sgd", learning_rate=rule)
    return [sign * value for value in found.losses]


def decrease(losses) -> float:
    """How far the last loss lies below the first, relative to the first."""
    return (losses[0] - losses[-1]) / abs(losses[0])


def star(late: tuple[float, float]) -> Graph:
    """Centre -1, leaves 0 and 1, joined to it through vertices of the values ``late``; the second axis repeats the first."""
    values = torch.tensor([-1.0, 0.0, 1.0, *late], dtype=torch.float64)
    return Graph([(0, 3), (3, 1), (0, 4), (4, 2)], torch.stack([values, values], 1))


def rank_difference(first: Graph, second: Graph) -> int:
    """Rank from grade 0 to grade 2 of the second graph less that of the first.

    Raises:
        ValueError: the graphs have different Hilbert functions.
    """
    grades = torch.cartesian_prod(*[torch.arange(-2.0, 5.0, 0.5).double()] * 2)
    one, two = (hilbert(graph, 0).at(grades) for graph in (first, second))
    if not torch.equal(one, two):
        raise ValueError("first and second must have the same Hilbert function")
    low, high = torch.zeros(1, 2).double(), torch.full((1, 2), 2.0).double()
    before, after = (int(rank(graph, 0, grid=None).at(low, high)) for graph in (first, second))
    return after - before


def transforms() -> dict:
    """The five transforms of the race, one setting each."""
    return {
        "subgradient": Vanilla(),
        "stratified sampling": StratifiedSampling(0.02, 8),
        "big steps": BigStep(0.2),
        "continuation": Continuation(),
        "diffeomorphic": Diffeomorphic(0.3),
    }


def moved_subgradients() -> dict:
    """The plain subgradient five times, four of them at a point moved by up to a hundredth: what the best of four gains."""
    return {"subgradient": Vanilla(), **{f"moved by {k} / 400": StratifiedSampling(k / 400, 1) for k in range(1, 5)}}


def best_saving(race, steps: int) -> float:
    """Share of the plain subgradient's steps that the best of the others saves."""
    taken = [number or steps for number in race.steps]
    return 1 - min(taken[1:]) / taken[0]
