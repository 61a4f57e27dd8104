"""Softmax against Max-W, cosine against cosine power annealing, and paths through a grid of widths against a choice by hand."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from lab import datasets, study, training
from lab.search import benchmark, bilevel, sharpdarts
from lab.search.bilevel import Recipe
from lab.search.space import Space
from lab.search.studies.common import Result, task, transferred
from lab.search.supernet import Supernet, retrain

HAND = (1, 2, 3)  # widths that double with depth: 8, 16, 32
WIDTHS = (4, 8, 16, 32)


class Setting(study.Setting):
    """The same supernet searched under two mixing rules and two schedules."""

    operations: Literal["skip-linear-mlp", "none-noise", "s2", "s4", "plain"] = Field(
        "skip-linear-mlp", title="Candidates"
    )
    steps: int = Field(500, ge=1, le=20_000, title="Search steps")
    order: float = Field(2.0, ge=1.0, le=10.0, title="Order of the annealing")

    PROFILES: ClassVar = {"smoke": {"steps": 12}, "full": {"steps": 3000}}


@study.remembered()
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Searches under softmax, Max-W, and Max-W with cosine power annealing. Control: softmax in the place of Max-W."""
    where = task(setting.operations, data)
    rule, power = "softmax" if control else "max-w", sharpdarts.power_schedule(1.0 if control else setting.order)
    recipes = {
        "DARTS": Recipe(steps=setting.steps),
        "Max-W": Recipe(steps=setting.steps, rule=rule),
        "power annealing": Recipe(steps=setting.steps, schedule=power),
        "sharpDARTS": Recipe(steps=setting.steps, rule=rule, schedule=power),
    }
    found = {
        arm: bilevel.run(Supernet(where.space), where.split, recipe, seeds=seeds, progress=progress)
        for arm, recipe in recipes.items()
    }
    accuracy = {arm: where.accuracy(one.choice) for arm, one in found.items()}
    skip = where.space.names.index("skip") if "skip" in where.space.names else -1
    measured = {f"share of skip, {arm}": (one.choice == skip).double().mean(1) for arm, one in found.items()}
    measured |= {f"tau, {arm}": where.tau(one.alpha) for arm, one in found.items()}
    measured |= {f"supernet less network, {arm}": one.validation_accuracy - accuracy[arm] for arm, one in found.items()}
    choices = {arm: one.choice for arm, one in found.items()}
    if where.tabular:
        evaluations = max(1, 2 * setting.steps // benchmark.STEPS)
        choices["random search"] = benchmark.table().random_search(evaluations, seeds, where.space)
        accuracy["random search"] = where.accuracy(choices["random search"])
    return Result(where.space, choices, accuracy, measured, where.best, tuple(seeds), found)


@study.remembered()
def run_grid(setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Accuracy (seeds,) of three-layer networks: a width for each layer by DARTS, by Max-W, by hand, and drawn by lot.

    Control: the narrowest network in the place of the choice by hand, a drawn one in the place of Max-W.
    """
    split = benchmark.digit_pairs()
    grid = sharpdarts.HyperCuboid(split.train[0].shape[1], 2, WIDTHS)
    paths = {
        name: sharpdarts.search_widths(grid, split.train, split.validation, seeds=seeds, rule=rule, steps=setting.steps)
        for name, rule in (("DARTS", "softmax"), ("Max-W", "max-w"))
    }
    drawn = [torch.randint(len(WIDTHS), (3,), generator=torch.Generator().manual_seed(30_000 + seed)) for seed in seeds]
    paths["by lot"] = torch.stack(drawn)
    paths["by hand"] = torch.tensor([(0, 0, 0) if control else HAND]).expand(len(tuple(seeds)), -1)
    if control:
        paths["Max-W"] = paths["by lot"]
    means = {
        path: _retrained(path, split, setting.steps) for rows in paths.values() for path in map(tuple, rows.tolist())
    }
    return {name: torch.tensor([means[tuple(row)] for row in rows.tolist()]).double() for name, rows in paths.items()}


def _retrained(path, split, steps):
    widths = [WIDTHS[index] for index in path]
    x, y = split.train
    fitted = training.fit(
        lambda seed: training.mlp(x.shape[1], 2, widths=widths, seed=seed), x, y, seeds=3, epochs=max(1, steps * 64 // len(x)),
        batch_size=64, learning_rate=3e-3, schedule="cosine",
    )  # fmt: skip
    return float((fitted.predict(split.test[0]).argmax(2) == split.test[1]).double().mean())


@study.remembered()
def run_schedules(setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Test accuracy (seeds,) of the network of perceptrons trained from scratch under two schedules. Control: cosine in both, from
    other seeds."""
    split, space = benchmark.digit_pairs(), benchmark.space("s2")
    x, y = split.train
    found = {}
    for name, schedule in (
        ("cosine", "cosine"),
        ("power", "cosine" if control else sharpdarts.power_schedule(setting.order)),
    ):
        drawn = [seed + 5000 * (control and name == "power") for seed in seeds]
        options = {"seeds": drawn, "epochs": max(1, setting.steps * 64 // len(x)), "schedule": schedule}
        fitted = retrain(space, [("mlp",) * space.places], x, y, **options)["-".join(["mlp"] * space.places)]
        found[name] = (fitted.predict(split.test[0]).argmax(2) == split.test[1]).double().mean(1)
    return found


@study.remembered()
def run_second_set(setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Accuracy (seeds,) of networks trained on MNIST at 8 x 8 pixels, on digits of other writers. Control: networks by lot."""
    result = run(setting, seeds=seeds)
    loaded, other = datasets.load("mnist"), datasets.load("digits")
    train = torch.nn.functional.adaptive_avg_pool2d(loaded.x.float(), 8).flatten(1)[:2000], loaded.label[:2000].long()
    space = Space(result.space.names, 64, 10, cells=2, width=16)
    choices = {arm: result.choices[arm] for arm in ("DARTS", "sharpDARTS")}
    if control:
        choices["sharpDARTS"] = space.random(len(result.seeds), 7)
    return transferred(space, choices, train, (other.x.flatten(1), other.label), epochs=max(1, setting.steps // 25))
