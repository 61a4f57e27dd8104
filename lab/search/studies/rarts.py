"""Relaxed search beside DARTS of first and second order and joint training; their cost a step; widths at equal channels."""

from __future__ import annotations

import time
from typing import ClassVar, Literal

import torch
from pydantic import Field

from lab import datasets, study
from lab.search import benchmark, bilevel, rarts
from lab.search.bilevel import Recipe, Search, Split
from lab.search.space import Space
from lab.search.studies.common import Result, task, transferred
from lab.search.supernet import Supernet


class Setting(study.Setting):
    """A supernet on pairs of digits, searched by two tied networks; and the solvable model."""

    operations: Literal["plain", "s2", "s4", "skip-linear-mlp", "eight"] = Field("skip-linear-mlp", title="Candidates")
    steps: int = Field(500, ge=1, le=20_000, title="Search steps")
    weight: float = Field(1.0, ge=0.1, le=50.0, title="Lambda, weight of the training half")
    coupling: float = Field(0.05, ge=0.0, le=50.0, title="Beta, coupling of the networks")
    keep: int = Field(16, ge=2, le=64, title="Units that stay")

    width_steps: int = Field(1000, ge=1, le=20_000, title="Steps of the width search")

    PROFILES: ClassVar = {"smoke": {"steps": 10, "width_steps": 60}, "full": {"steps": 3000, "width_steps": 5000}}


@study.remembered()
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Searches of every arm and their true accuracy. Control: first-order DARTS in the place of RARTS."""
    where = task(setting.operations, data)
    net, recipe = Supernet(where.space), Recipe(steps=setting.steps)
    relaxed = rarts.Relaxed(setting.weight, setting.coupling)
    arms = {
        "first order": "first",
        "second order": "second",
        "RARTS": "first" if control else relaxed,
        "joint": "joint",
    }
    found = {
        arm: bilevel.run(net, where.split, recipe, seeds=seeds, step=step, progress=progress)
        for arm, step in arms.items()
    }
    measured = {f"tau, {arm}": where.tau(one.alpha) for arm, one in found.items()}
    measured |= {f"supernet, {arm}": one.validation_accuracy for arm, one in found.items()}
    measured |= {
        f"passes, {arm}": torch.full((len(found[arm].seeds),), one.passes / setting.steps) for arm, one in found.items()
    }
    measured["distance"] = torch.zeros(len(tuple(seeds))) if control else relaxed.distance
    choices = {arm: one.choice for arm, one in found.items()}
    if where.tabular:
        evaluations = max(1, 2 * setting.steps // benchmark.STEPS)
        choices["random search"] = benchmark.table().random_search(evaluations, seeds, where.space)
    accuracy = {arm: where.accuracy(choice) for arm, choice in choices.items()}
    return Result(where.space, choices, accuracy, measured, where.best, tuple(seeds), found)


def distances(setting, couplings, *, seeds) -> torch.Tensor:
    """||y - w|| at the end of a search, (seeds, couplings)."""
    where = task(setting.operations)
    net, recipe, found = Supernet(where.space), Recipe(steps=setting.steps), []
    for coupling in couplings:
        step = rarts.Relaxed(setting.weight, coupling)
        bilevel.run(net, where.split, recipe, seeds=seeds, step=step)
        found.append(step.distance)
    return torch.stack(found, 1)


def step_seconds(step, *, operations: str = "plain", rounds: int = 5, seed: int = 0) -> float:
    """Median processor seconds of one step of a search with eight seeds."""
    where = task(operations)
    search = Search(Supernet(where.space), where.split, Recipe(), tuple(range(seed, seed + 8)))
    move = step if callable(step) else bilevel.STEPS[step]
    times = []
    for number in range(rounds + 1):
        search.step_number = number
        train, held = search.batch("train"), search.batch("validation")
        began = time.process_time()
        move(search, train, held)
        times.append(time.process_time() - began)
    return sorted(times[1:])[rounds // 2]


@study.remembered()
def run_width(setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Test accuracy (seeds,) on digits at equally many units: relaxed gates, and one network pruned by the size of its gates.

    Control: one unit stays of the relaxed search.
    """
    digits = datasets.load("digits")
    split = Split.of(digits.x.flatten(1), digits.label, train=500, validation=500)
    x, y = split.test
    found = {}
    for name, relaxed in (("RARTS", True), ("magnitude pruning", False)):
        network, gates = rarts.search_width(
            split.train, split.validation, seeds=seeds, keep=1 if control and relaxed else setting.keep, relaxed=relaxed,
            steps=setting.width_steps, weight=setting.weight, coupling=setting.coupling,
        )  # fmt: skip
        found[name] = (network(x).argmax(2) == y).double().mean(1)
        found[f"units, {name}"] = (gates != 0).double().sum(1)
    return found


@study.remembered()
def run_transfer(setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Test accuracy (seeds,) on MNIST of networks that were found on pairs of digits. Control: networks by lot for RARTS's."""
    result = run(setting, seeds=seeds)
    loaded = datasets.load("mnist")
    images = torch.nn.functional.avg_pool2d(loaded.x.float(), loaded.x.shape[-1] // 14).flatten(1)
    x, y = images[:2000], loaded.label[:2000].long()
    space = Space(result.space.names, images.shape[1], 10, cells=2, width=16)
    choices = {arm: result.choices[arm] for arm in ("first order", "RARTS")}
    if control:
        choices["RARTS"] = space.random(len(result.seeds), 7)
    held = images[2000:4000], loaded.label[2000:4000].long()
    return transferred(space, choices, (x, y), held, epochs=max(1, setting.steps // 25))
