"""Measurements of the statements about persistence as an objective."""

from __future__ import annotations

import math

import numpy as np
import torch

from lab.claims import Measured, by_id, measures
from lab.topology.cloud_studies import enlarge_loops, grid_errors, localized_loops, share_in_place, transform_race
from lab.topology.diagrams import bars
from lab.topology.filtrations import FunctionRips, Graph, Image, Rips, codensity
from lab.topology.graph_studies import descriptor_scores, learned_accuracy
from lab.topology.objectives import integral, total_persistence
from lab.topology.optimize import StepRule, minimize
from lab.topology.ranks import multiparameter_landscape, rank
from lab.topology.signed_measures import euler, hilbert
from lab.topology.transforms import BigStep, Continuation, Diffeomorphic, StratifiedSampling, Vanilla


def interval(values) -> tuple[float, tuple[float, float]]:
    """Mean and 95 % interval of Student's t over seeds; one seed alone gives a point."""
    from scipy.stats import t

    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) == 1:
        return mean, (mean, mean)
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, (mean - half, mean + half)


def _effect(id, values, seeds, details, more=True) -> Measured:
    """Holds if the lower end of the interval is above the margin and every further condition is met."""
    mean, ends = interval(values)
    return Measured(
        mean, ends, ends[0] > by_id(id).margin and more, {"by seed": list(map(float, values)), **details}, seeds=seeds
    )


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


@measures("multipers.functions-can-be-optimized")
def functions_can_be_optimized(data, seeds, budget):
    side, steps = {"smoke": (6, 60), "default": (10, 150), "full": (30, 400)}[budget]
    edges = grid_graph(side)

    def loss(f):
        return total_persistence(bars(Graph(edges, f), 0))

    removed = []
    for seed in seeds:
        start = noisy_hill(side, seed)
        found = minimize(loss, start, steps=steps, learning_rate=0.02)
        removed.append(1 - float(loss(found.x)) / float(loss(start)))
    return _effect("multipers.functions-can-be-optimized", removed, seeds, {"vertices": side * side, "steps": steps})


def directional_error(function, at: torch.Tensor, seed: int, step: float = 1e-6) -> float:
    """Relative error of the automatic derivative along a random direction against a central difference."""
    direction = torch.randn(at.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    point = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(point), point)
    slope = float((gradient * direction).sum())
    with torch.no_grad():
        ends = [float(function(at + s * direction)) for s in (step, -step)]
    return abs((ends[0] - ends[1]) / (2 * step) - slope) / max(1.0, abs(slope))


def _cloud(count, seed):
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    noise = 0.15 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], 1) + noise


def one_parameter_functions(seed):
    """Smooth functions of barcodes and where they are differentiated: a cloud, a graph, an image."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    values = torch.randn(25, generator=generator, dtype=torch.float64)
    edges = grid_graph(5)

    def smooth(diagram):
        return integral(diagram, lambda p: p[:, 0].sin() * p[:, 1].cos())

    return {
        "components of a cloud": (lambda x: smooth(bars(Rips(x), 0)), _cloud(30, seed)),
        "loops of a cloud": (lambda x: smooth(bars(Rips(x), 1)), _cloud(30, seed)),
        "components of a graph": (lambda f: smooth(bars(Graph(edges, f), 0)), values),
        "holes of an image": (lambda v: smooth(bars(Image(v), 1)), image),
    }


@measures("multipers.barcode-is-differentiable-almost-everywhere")
def barcode_is_differentiable(data, seeds, budget):
    worst = {}
    for seed in seeds:
        for name, (function, at) in one_parameter_functions(seed).items():
            worst[name] = max(worst.get(name, 0.0), directional_error(function, at, seed))
    value = max(worst.values())
    holds = value < by_id("multipers.barcode-is-differentiable-almost-everywhere").margin
    return Measured(value, (value, value), holds, {"largest error": worst}, seeds=seeds)


def last_movement(losses) -> float:
    """Spread of the loss over the last fifth of a run, relative to its first value."""
    tail = np.asarray(losses[-max(5, len(losses) // 5) :])
    return float(tail.std() / max(abs(losses[0]), 1e-12))


def one_parameter_descent(seed, rule, steps):
    """Total persistence of components plus a pull to the start: a loss with kinks and a bounded minimizer."""
    x = _cloud(20, seed)

    def loss(y):
        return total_persistence(bars(Rips(y), 0)) + 0.5 * (y - x).square().sum()

    return minimize(loss, x, steps=steps, optimizer="sgd", learning_rate=rule)


@measures("multipers.subgradient-descent-converges")
def subgradient_converges(data, seeds, budget):
    steps = {"smoke": 150, "default": 500, "full": 3000}[budget]
    good, bad = StepRule(0.3, 0.9), StepRule(0.3, 0.0)
    calm, rough, ratio = [], [], []
    for seed in seeds:
        calm.append(last_movement(one_parameter_descent(seed, good, steps).losses))
        rough.append(last_movement(one_parameter_descent(seed, bad, steps).losses))
        ratio.append(math.log10(rough[-1] / max(calm[-1], 1e-15)))
    details = {"vanishing step": calm, "constant step": rough, "rules": [str(good), str(bad)]}
    return _effect(
        "multipers.subgradient-descent-converges", ratio, seeds, details, good.converges and not bad.converges
    )


def star(late: tuple[float, float]) -> Graph:
    """Centre -1, leaves 0 and 1, joined to it through vertices of the values ``late``; the second axis repeats the first."""
    values = torch.tensor([-1.0, 0.0, 1.0, *late], dtype=torch.float64)
    return Graph([(0, 3), (3, 1), (0, 4), (4, 2)], torch.stack([values, values], 1))


@measures("multipers.no-unique-descriptor")
def no_unique_descriptor(data, seeds, budget):
    """Bars [0, 2) and [1, 3) against [0, 3) and [1, 2): the same dimensions everywhere, different ranks."""
    first, second = star((2.0, 3.0)), star((3.0, 2.0))
    grades = torch.cartesian_prod(*[torch.arange(-2.0, 5.0, 0.5).double()] * 2)
    same = torch.equal(hilbert(first, 0).at(grades), hilbert(second, 0).at(grades))
    tables = [rank(graph, 0, grid=None).table for graph in (first, second)]
    differ = int((tables[0] != tables[1]).sum())
    return Measured(differ, (differ, differ), same and differ > 0, {"Hilbert functions equal": same})


def signed_barcode_functions(seed):
    generator = torch.Generator().manual_seed(seed)
    x = _cloud(20, seed)
    image = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    values = torch.randn(16, 2, generator=generator, dtype=torch.float64)
    edges = grid_graph(4)

    def smooth(measure):
        return integral(measure, lambda p: (p * 0.7).sin().prod(1))

    def rips(x):
        return FunctionRips(x, codensity(x, 0.4))

    return {
        "Hilbert, components of a cloud": (lambda x: smooth(hilbert(rips(x), 0)), x),
        "Hilbert, loops of a cloud": (lambda x: smooth(hilbert(rips(x), 1)), x),
        "Hilbert, holes of an image": (lambda v: smooth(hilbert(Image(v, parameters=2), 1)), image),
        "Euler, graph": (lambda v: smooth(euler(Graph(edges, v))), values),
        "rank, components of a graph": (lambda v: smooth(rank(Graph(edges, v), 0, grid=None).signed_barcode()), values),
    }


@measures("multipers.framework-covers-signed-barcodes")
def signed_barcodes_are_differentiable(data, seeds, budget):
    worst = {}
    for seed in seeds:
        for name, (function, at) in signed_barcode_functions(seed).items():
            worst[name] = max(worst.get(name, 0.0), directional_error(function, at, seed))
    value = max(worst.values())
    holds = value < by_id("multipers.framework-covers-signed-barcodes").margin
    return Measured(value, (value, value), holds, {"largest error": worst}, seeds=seeds)


@measures("multipers.framework-covers-the-landscape")
def landscape_is_differentiable(data, seeds, budget):
    grid = [[0.2, 0.5, 0.8, 1.1], [1.0, 1.3, 1.6, 1.9]]
    worst = 0.0
    for seed in seeds:
        for degree in (0, 1):

            def function(x, degree=degree):
                filtration = FunctionRips(x, codensity(x, 0.4))
                return multiparameter_landscape(filtration, degree, grid, count=2).square().sum()

            point = _cloud(20, seed).requires_grad_()
            if function(point).requires_grad:
                worst = max(worst, directional_error(function, _cloud(20, seed), seed))
    holds = worst < by_id("multipers.framework-covers-the-landscape").margin
    return Measured(worst, (worst, worst), holds, seeds=seeds)


@measures("multipers.several-parameters-converge")
def several_parameters_converge(data, seeds, budget):
    count, steps = {"smoke": (20, 80), "default": (40, 250), "full": (200, 1500)}[budget]
    decrease, calm = [], []
    for seed in seeds:
        x = _cloud(count, seed)

        def loss(y, x=x):
            measure = hilbert(FunctionRips(y, codensity(y, 0.3)), 0)
            return -integral(measure, lambda p: p.sum(1)) / len(x) + 0.5 * (y - x).square().sum()

        found = minimize(loss, x, steps=steps, optimizer="sgd", learning_rate=StepRule(0.3, 0.9))
        decrease.append((found.losses[0] - min(found.losses)) / abs(found.losses[0]))
        calm.append(last_movement(found.losses))
    rests = max(calm) < 0.01
    details = {"spread of the loss at the end": calm, "points": count, "steps": steps}
    return _effect("multipers.several-parameters-converge", decrease, seeds, details, rests)


@measures("multipers.two-parameters-keep-the-cloud-together")
def two_parameters_keep_together(data, seeds, budget, shuffle=False):
    """``shuffle`` deals the codensities to the wrong points: density is then no guide, the control of this claim."""
    count, steps = {"smoke": (60, 100), "default": (120, 300), "full": (400, 600)}[budget]
    one, two = [], []
    for seed in seeds:
        one.append(enlarge_loops(1, count=count, steps=steps, seed=seed).drift)
        two.append(enlarge_loops(2, count=count, steps=steps, seed=seed, shuffle=shuffle).drift)
    details = {"one parameter": one, "two parameters": two, "points": count, "steps": steps}
    return _effect("multipers.two-parameters-keep-the-cloud-together", np.subtract(one, two), seeds, details)


@measures("multipers.two-parameters-place-loops")
def two_parameters_place_loops(data, seeds, budget, both=2):
    """``both`` = 1 leaves the second parameter out of the second arm as well: the control of this claim."""
    count, steps = {"smoke": (150, 40), "default": (300, 100), "full": (500, 101)}[budget]
    one, two = [], []
    for seed in seeds:
        one.append(share_in_place(localized_loops(1, count=count, steps=steps, seed=seed).end))
        two.append(share_in_place(localized_loops(both, count=count, steps=steps, seed=seed).end))
    details = {"one parameter": one, "two parameters": two, "points": count, "steps": steps}
    return _effect("multipers.two-parameters-place-loops", np.subtract(two, one), seeds, details)


@measures("multipers.two-parameters-classify-better")
def two_parameters_classify(data, seeds, budget):
    count, epochs = {"smoke": (60, 8), "default": (150, 40), "full": (600, 100)}[budget]
    one, two = ([learned_accuracy(p, count=count, epochs=epochs, seed=seed) for seed in seeds] for p in (1, 2))
    one, two = list(one), list(two)
    details = {"one parameter": one, "two parameters": two, "graphs": count, "tuning trials per arm": 1}
    return _effect("multipers.two-parameters-classify-better", np.subtract(two, one), seeds, details)


@measures("multipers.two-parameters-embed-better")
def two_parameters_embed(data, seeds, budget):
    from lab.topology.autoencoder_study import embed

    steps = {"smoke": 60, "default": 300, "full": 2000}[budget]
    gains, runs = [], []
    for seed in seeds:
        plain, two = (embed(p, steps=steps, seed=seed) for p in (0, 2))
        gains.append(1 - two.shape_distance / plain.shape_distance)
        runs.append(
            {
                "shape distance": [plain.shape_distance, two.shape_distance],
                "trustworthiness": [plain.trustworthiness, two.trustworthiness],
                "reconstruction": [plain.reconstruction, two.reconstruction],
                "share of a step": two.regularizer_share,
            }
        )
    cheap = max(run["share of a step"] for run in runs) < 0.2
    return _effect("multipers.two-parameters-embed-better", gains, seeds, {"runs": runs, "steps": steps}, cheap)


@measures("multipers.simplest-descriptors-suffice")
def simplest_descriptors(data, seeds, budget):
    count, splits = {"smoke": (36, 4), "default": (90, 8), "full": (300, 20)}[budget]
    differences, tables, cheaper = [], [], True
    for seed in seeds:
        found = descriptor_scores(count=count, splits=splits, seed=seed)
        mean = dict(zip(found.names, (float(np.mean(scores)) for scores in found.accuracy)))
        cost = dict(zip(found.names, found.seconds))
        differences.append(max(mean["hilbert"], mean["euler"]) - max(mean["rank"], mean["landscape"]))
        cheaper &= max(cost["hilbert"], cost["euler"]) < min(cost["rank"], cost["landscape"])
        tables.append({"accuracy": mean, "seconds": cost})
    return _effect("multipers.simplest-descriptors-suffice", differences, seeds, {"by seed": tables}, cheaper)


@measures("multipers.coarse-grids-bend-gradients")
def coarse_grids(data, seeds, budget):
    count = {"smoke": 100, "default": 200, "full": 500}[budget]
    found = [grid_errors((50, 10**6), count=count, seed=seed) for seed in seeds]
    bend = [1 - error.cosine[0] for error in found]
    exact_again = max(abs(1 - error.cosine[1]) for error in found) < 1e-9
    details = {"relative error of the value": [error.value_error[0] for error in found], "points": count}
    return _effect("multipers.coarse-grids-bend-gradients", bend, seeds, details, exact_again)


def transforms() -> dict:
    """The five transforms of the race, one setting each."""
    return {
        "subgradient": Vanilla(),
        "stratified sampling": StratifiedSampling(0.02, 8),
        "big steps": BigStep(0.2),
        "continuation": Continuation(),
        "diffeomorphic": Diffeomorphic(0.3),
    }


@measures("multipers.transforms-save-steps")
def transforms_save_steps(data, seeds, budget):
    count, steps = {"smoke": (24, 40), "default": (40, 60), "full": (100, 150)}[budget]
    saved, table = [], []
    for seed in seeds:
        race = transform_race(transforms(), count=count, steps=steps, seed=seed)
        taken = dict(zip(race.names, race.steps))
        plain = taken["subgradient"] or steps
        best = min((taken[name] or steps) for name in race.names[1:])
        saved.append(1 - best / plain)
        table.append({name: {"steps": s, "seconds": t} for name, s, t in zip(race.names, race.steps, race.seconds)})
    return _effect(
        "multipers.transforms-save-steps", saved, seeds, {"by seed": table, "tuning trials per transform": 1}
    )
