"""Measurements of the statements about relaxed architecture search."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.search import rarts
from lab.search.bilevel import Recipe, Search, Split
from lab.search.space import Space
from lab.search.studies import rarts as study
from lab.search.studies.common import shown
from lab.search.supernet import Supernet

PAIRS = ((1.0, 10.0), (10.0, 10.0), (50.0, 50.0))


@measures("rarts.limit-in-closed-form")
def closed(trial):
    """Distance of the end of each path from its closed form. Control: half the coupling in the closed form."""
    found = {}
    for weight, coupling in PAIRS:
        rate = 0.8 / (2 * weight + coupling)
        end = rarts.solvable_path("relaxed", steps=6000, rate=rate, weight=weight, coupling=coupling)[-1]
        limit = rarts.solvable_limit("relaxed", weight=weight, coupling=coupling / 2 if trial.control else coupling)
        found[f"{weight:g}, {coupling:g}"] = max(abs(float(end[0]) - limit[0]), abs(float(end[1]) - limit[1]))
    for xi in (0.0, 0.3, 0.5):
        end = rarts.solvable_path("second", xi=xi, steps=3000)[-1]
        limit = rarts.solvable_limit("second", xi=xi + 0.1 * trial.control)[0]
        found[f"xi {xi:g}"] = abs(float(end[0]) - limit)
    return Effects(list(found.values()), found)


@measures("rarts.relaxed-nears-the-optimum")
def nears(trial):
    """Distance of first-order DARTS from the optimum over that of the relaxed search at lambda = beta = 10, 50.

    Control: first-order DARTS twice.
    """
    first = rarts.solvable_path("first", steps=4000)[-1]
    effects = []
    for size in (10.0, 50.0):
        path = rarts.solvable_path(
            "first" if trial.control else "relaxed", steps=4000, rate=0.8 / (3 * size), weight=size, coupling=size
        )
        effects.append(float((first[:2] - 1).abs().max() / (path[-1, :2] - 1).abs().max()))
    return Effects(effects)


@measures("rarts.objective-falls")
def falls(trial):
    """Largest rise of the relaxed objective along a path with small steps, and the last gradient. Control: steps too large."""
    effects = []
    for weight, coupling in PAIRS[1:]:
        rate = (3.0 if trial.control else 0.5) / (2 * weight + coupling)
        path = rarts.solvable_path("relaxed", steps=12_000, rate=rate, weight=weight, coupling=coupling)
        path = path.clamp(-1e6, 1e6)
        values = rarts.relaxed_objective(*path.T, weight=weight, coupling=coupling)
        point = path[-1].clone().requires_grad_()
        (slope,) = torch.autograd.grad(rarts.relaxed_objective(*point, weight=weight, coupling=coupling), point)
        start = path[:1].clone()
        moved = float((path[-1] - start[0]).abs().max())
        effects += [float(values.diff().max().clamp_min(0)), float(slope.abs().max()), float(moved == 0)]
    return Effects(effects)


@measures("rarts.no-second-derivatives")
def gradients(trial):
    """Largest difference of alpha's gradient from that of the relaxed objective by finite differences. Control: one half alone."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    x = torch.rand(40, 6, generator=generator)
    split = Split.of(x, torch.arange(40) % 2, train=16, validation=16)
    search = Search(
        Supernet(Space(("skip", "tanh", "linear"), 6, 2, cells=1, width=4)),
        split,
        Recipe(batch_size=16, spread=1.0),
        (0,),
    )
    first, second = (
        {name: value.detach().double() + shift * torch.randn(value.shape, generator=generator).double()
         for name, value in search.parameters.items()} for shift in (0.0, 0.1)
    )  # fmt: skip
    search.parameters = first
    search.alpha = search.alpha.detach().double().requires_grad_()
    train, held = ((a.double(), b) for a, b in (search.batch("train"), search.batch("validation")))
    found = rarts.alpha_gradient(search, second, train, held, 3.0)[0]

    def objective(alpha):
        weights = search.weights(alpha)
        half = float(search.losses(held, second, weights))
        return half if trial.control else half + 3.0 * float(search.losses(train, first, weights))

    errors, step = [], 1e-5
    for place in range(3):
        for operation in range(3):
            moved = torch.zeros_like(search.alpha)
            moved[0, place, operation] = step
            slope = (objective(search.alpha.detach() + moved) - objective(search.alpha.detach() - moved)) / (2 * step)
            errors.append(abs(float(found[place, operation]) - slope))
    return Effects(errors)


def _run(trial, **changes):
    return study.run(
        study.Setting.of(trial.budget, **changes), seeds=trial.seeds, data=trial.data, control=trial.control
    )


@measures("rarts.better-than-first-order", stacked=True)
def first_order(trial):
    """Accuracy of RARTS less that of first-order DARTS. Control: first-order DARTS in the place of RARTS."""
    result = _run(trial)
    return Effects(result.gain("RARTS", "first order"), shown(result))


@measures("rarts.as-good-as-second-order", stacked=True)
def second_order(trial):
    """Accuracy of RARTS less that of second-order DARTS. Control: first-order DARTS in the place of RARTS."""
    result = _run(trial)
    return Effects(result.gain("RARTS", "second order"), shown(result))


@measures("rarts.splitting-beats-joint", stacked=True)
def splitting(trial):
    """Accuracy of RARTS less that of joint training on all data. Control: first-order DARTS in the place of RARTS."""
    result = _run(trial)
    return Effects(result.gain("RARTS", "joint"), shown(result))


@measures("rarts.cheaper-than-second-order")
def cheaper(trial):
    """Processor time of a step of RARTS over one of second-order DARTS, with eight seeds. Control: second order twice."""
    effects = []
    for seed in trial.seeds:
        rounds = trial.of(1, 9, 15)
        ours = study.step_seconds("second" if trial.control else rarts.Relaxed(), seed=seed, rounds=rounds)
        effects.append(ours / study.step_seconds("second", seed=seed, rounds=rounds))
    return Effects(effects)


@measures("rarts.coupling-ties-the-networks", stacked=True)
def coupling(trial):
    """Minus the distance of the two networks at couplings 0.01, 0.1, 1. Control: the order of couplings turned."""
    couplings = (0.01, 0.1, 1.0)
    found = study.distances(
        study.Setting.of(trial.budget), couplings[::-1] if trial.control else couplings, seeds=trial.seeds
    )
    return Effects(-found)


@measures("rarts.table", stacked=True)
def table(trial):
    """Regret of first-order DARTS less that of RARTS over all 512 networks. Control: first-order DARTS in the place of RARTS."""
    result = _run(trial, operations="eight")
    return Effects(result.regret("first order") - result.regret("RARTS"), shown(result))


@measures("rarts.width", stacked=True)
def width(trial):
    """Accuracy of relaxed gates less that of pruning by magnitude at equally many units. Control: one unit stays."""
    found = study.run_width(study.Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(
        found["RARTS"] - found["magnitude pruning"], {name: float(values.mean()) for name, values in found.items()}
    )


@measures("rarts.transfer", stacked=True)
def transfer(trial):
    """Accuracy on MNIST of RARTS's networks less that of first-order DARTS's. Control: networks by lot in the place of RARTS's."""
    found = study.run_transfer(study.Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(
        found["RARTS"] - found["first order"], {name: float(values.mean()) for name, values in found.items()}
    )
