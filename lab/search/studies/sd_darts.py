"""DARTS, self-distilled by one teacher and by a vote, beside label smoothing, a moving average and sharpness-aware steps."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from lab import study
from lab.search import benchmark, bilevel, sd_darts
from lab.search.bilevel import Recipe
from lab.search.studies.common import Result, task
from lab.search.supernet import Supernet

OTHERS = ("label smoothing", "moving average", "sharpness-aware")


class Setting(study.Setting):
    """A DARTS supernet on pairs of digits, taught by its earlier states."""

    operations: Literal["plain", "s2", "s4", "skip-linear-mlp", "none-noise"] = Field("plain", title="Candidates")
    steps: int = Field(500, ge=1, le=20_000, title="Search steps")
    teachers: int = Field(3, ge=1, le=10, title="Teachers that vote")
    interval: int = Field(50, ge=1, le=2_000, title="Steps between snapshots")
    weight: float = Field(1.0, ge=0.0, le=10.0, title="Weight of the teachers")
    temperature: float = Field(2.0, ge=0.5, le=10.0, title="Temperature")

    PROFILES: ClassVar = {"smoke": {"steps": 10, "interval": 3}, "full": {"steps": 3000, "interval": 300}}


@study.remembered()
def run_pair(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """DARTS and SD-DARTS alone. Control: the teachers' weight is zero."""
    return _judged(setting, ("DARTS", "SD-DARTS"), seeds, data, control, progress)


@study.remembered()
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Searches of every arm. Control: the teachers' weight is zero."""
    return _judged(setting, ("DARTS", "SD-DARTS", "one teacher", *OTHERS), seeds, data, control, progress)


def _judged(setting, names, seeds, data, control, progress):
    where = task(setting.operations, data)
    teachers = sd_darts.VotingTeachers(
        setting.teachers, setting.interval, 0.0 if control else setting.weight, setting.temperature
    )
    one = sd_darts.VotingTeachers(1, setting.interval, teachers.weight, setting.temperature)
    arms: dict[str, dict] = {
        "DARTS": {},
        "SD-DARTS": {"start": teachers.attach},
        "one teacher": {"start": one.attach},
        "label smoothing": {"start": sd_darts.smoothed_labels()},
        "moving average": {"start": sd_darts.moving_teacher()},
        "sharpness-aware": {"step": sd_darts.flat_step()},
    }
    net, recipe = Supernet(where.space), Recipe(steps=setting.steps)
    found = {arm: bilevel.run(net, where.split, recipe, seeds=seeds, progress=progress, **arms[arm]) for arm in names}
    measured = {}
    for arm, one in found.items():
        measured[f"gap, {arm}"] = one.discretization_gap(*where.split.validation)
        measured[f"sharpness, {arm}"] = sd_darts.weight_sharpness(one, *where.split.train)
        measured[f"sharpness in alpha, {arm}"] = sd_darts.alpha_sharpness(one, *where.split.validation)
        measured[f"supernet, {arm}"] = one.validation_accuracy
        measured[f"tau, {arm}"] = where.tau(one.alpha)
    choices = {arm: one.choice for arm, one in found.items()}
    if where.tabular:
        evaluations = max(1, 2 * setting.steps // benchmark.STEPS)
        choices["random search"] = benchmark.table().random_search(evaluations, seeds, where.space)
    accuracy = {arm: where.accuracy(choice) for arm, choice in choices.items()}
    return Result(where.space, choices, accuracy, measured, where.best, tuple(seeds), found)


def sweep(setting, *, seeds, weights=(0.3, 1.0, 3.0), intervals=(1, 50, 100), counts=(1, 3)):
    """Gap and accuracy over gamma, interval and K, one row a setting."""
    import pandas as pd

    where = task(setting.operations)
    net, recipe, rows = Supernet(where.space), Recipe(steps=setting.steps), []
    for weight in weights:
        for interval in intervals:
            for count in counts:
                start = sd_darts.VotingTeachers(count, interval, weight, setting.temperature).attach
                one = bilevel.run(net, where.split, recipe, seeds=seeds, start=start)
                gap = float(one.discretization_gap(*where.split.validation).mean())
                accuracy = float(where.accuracy(one.choice).mean())
                rows.append(
                    {"weight": weight, "interval": interval, "teachers": count, "gap": gap, "accuracy": accuracy}
                )
    return pd.DataFrame(rows)
