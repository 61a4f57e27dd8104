"""Selections on the same supernets: magnitude, magnitude with tuning, perturbation, lots; trained and frozen alpha."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from lab import study
from lab.search import benchmark, bilevel, darts_pt
from lab.search.bilevel import Recipe
from lab.search.studies.common import Result, task
from lab.search.supernet import Supernet

BASES = ("darts", "second order", "smoothed alpha", "self-distilled", "max-w")


class Setting(study.Setting):
    """A DARTS supernet on pairs of digits, and operations selected from it."""

    operations: Literal["s2", "s4", "plain", "skip-linear-mlp", "none-noise"] = Field("s2", title="Candidates")
    base: Literal["darts", "second order", "smoothed alpha", "self-distilled", "max-w"] = Field("darts", title="Search")
    steps: int = Field(500, ge=1, le=20_000, title="Search steps")
    interval: int = Field(50, ge=0, le=2_000, title="Tuning steps between decisions")
    criterion: Literal["loss", "accuracy"] = Field("loss", title="Judged by")

    PROFILES: ClassVar = {"smoke": {"steps": 16, "interval": 2}, "full": {"steps": 3000, "interval": 300}}


def searched(setting: Setting, seeds, *, data=None, frozen=False, progress=None):
    """The task and the finished search of the setting's base method."""
    where = task(setting.operations, data)
    recipe = Recipe(steps=setting.steps, frozen=frozen, rule="max-w" if setting.base == "max-w" else "softmax")
    options = {"seeds": seeds, "progress": progress}
    if setting.base == "self-distilled":
        from lab.search.sd_darts import VotingTeachers

        options["start"] = VotingTeachers(interval=max(1, setting.steps // 9)).attach
    steps: dict[str, Any] = {"second order": "second", "smoothed alpha": darts_pt.smoothed()}
    return (
        where,
        bilevel.run(Supernet(where.space), where.split, recipe, step=steps.get(setting.base, "first"), **options),
        recipe,
    )


@study.remembered(size=16)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Choices of every rule from the same searches, and their true accuracy.

    Control ``"lots"``: random scores in the place of strengths.
    """
    where, found, recipe = searched(setting, seeds, data=data, progress=progress)
    _, frozen, _ = searched(setting, seeds, data=data, frozen=True)
    score = darts_pt.by_lot if control == "lots" else darts_pt.by_perturbation
    options = {"interval": setting.interval, "criterion": setting.criterion, "recipe": recipe}
    perturbed = darts_pt.select(found, where.split, score=score, **options)
    choices = {
        "magnitude": found.choice,
        "tuned magnitude": darts_pt.select(found, where.split, score=darts_pt.by_magnitude, **options).choice,
        "perturbation": perturbed.choice,
        "frozen alpha": darts_pt.select(frozen, where.split, score=score, **options).choice,
    }
    if where.tabular:
        choices["random search"] = benchmark.table().random_search(
            max(1, 2 * setting.steps // benchmark.STEPS), seeds, where.space
        )
    x, y = where.split.validation
    removed = darts_pt.strengths(found.supernet, found.parameters, found.weights, x, y, criterion=setting.criterion)
    measured = {
        "alpha": found.alpha,
        "strengths": removed,
        "tau of alpha": where.tau(found.alpha),
        "tau of strengths": where.tau(
            torch.rand(removed.shape, generator=torch.Generator().manual_seed(0)) if control else removed
        ),
        "share of skip": (found.choice == _place(where.space, "skip")).double().mean(1),
        "discretization gap": found.discretization_gap(x, y),
        "supernet accuracy": found.validation_accuracy,
    }
    return Result(
        where.space, choices, {arm: where.accuracy(choice) for arm, choice in choices.items()}, measured, where.best, tuple(seeds),
        {"darts": found, "frozen alpha": frozen},
    )  # fmt: skip


def _place(space, name):
    return space.names.index(name) if name in space.names else -1
