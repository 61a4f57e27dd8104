"""Equal tuning in one place: every arm of a comparison gets its own grid, the same seeds, the same rule, and a record.

:func:`tune` scores every setting of every arm on seeds that no measurement uses, chooses by one rule and returns all trials;
:func:`record` writes them to ``data/benchmarks/tuning/<method>.csv``; measurements read their settings back with
:func:`chosen`, which refuses a grid that has changed since::

    ARMS = {"ordering": (1.0, 3.0, 10.0), "contrast": (0.05, 0.2, 0.5)}
    trials = tune("neighbours", ARMS, scores, seeds=range(1000, 1004))
    record("groco", trials)
    chosen("groco", "neighbours", ARMS)      # {"ordering": 3.0, "contrast": 0.05}
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lab import checks

TUNING_SEEDS = tuple(range(1000, 1004))  # measurements draw 0, 1, ... and never reach them
COLUMNS = ("study", "arm", "setting", "seed", "score", "chosen", "edge")


class NotTuned(LookupError):
    """There is no record of the tuning that a measurement needs, or its grid has changed."""


@dataclass(frozen=True)
class Trials:
    """All trials of one study: ``scores[arm]`` has shape (settings, seeds), ``choice[arm]`` is an index into the grid."""

    study: str
    arms: dict[str, tuple]
    seeds: tuple[int, ...]
    scores: dict[str, np.ndarray]
    choice: dict[str, int]

    @property
    def chosen(self) -> dict[str, Any]:
        """The chosen setting of each arm."""
        return {arm: self.arms[arm][index] for arm, index in self.choice.items()}

    @property
    def at_edge(self) -> dict[str, bool]:
        """Whether the choice of an arm is the smallest or largest tried value of one of its numbers: its grid may be too narrow."""
        return {arm: is_edge(self.arms[arm], index) for arm, index in self.choice.items()}


def tune(
    study: str,
    arms: Mapping[str, Sequence[Any]],
    evaluate: Callable[[str, tuple, tuple[int, ...]], Any],
    *,
    seeds: Iterable[int] = TUNING_SEEDS,
    progress=None,
) -> Trials:
    """Score every setting of every arm and choose one for each, by :func:`best`.

    Args:
        study: a name within the method's record.
        arms: ``{arm: settings}``; a setting is a number, text, or tuple of these. Arms of a comparison get as many settings
            each, unless an arm has nothing to tune (one setting).
        evaluate: ``(arm, settings, seeds)`` -> scores of shape (settings, seeds), larger is better, NaN for a failed training.
        seeds: seeds of the tuning; :data:`TUNING_SEEDS` unless there is a reason.
        progress: called with (done, all) after each arm.

    Raises:
        ValueError: no arms, an empty grid, unequal numbers of settings, scores of another shape.
    """
    seeds = tuple(checks.integer("seeds", seed, low=0) for seed in seeds)
    grids = {name: tuple(settings) for name, settings in arms.items()}
    sizes = {len(settings) for settings in grids.values()} - {1}
    if not grids or not all(grids.values()) or not seeds:
        raise ValueError("arms and seeds must not be empty, nor any arm's settings")
    if len(sizes) > 1:
        counts = ", ".join(f"{name} {len(settings)}" for name, settings in grids.items())
        raise ValueError(f"arms must be tuned equally, got settings: {counts}")
    scores = {}
    for done, (name, settings) in enumerate(grids.items(), 1):
        found: np.ndarray = np.array(evaluate(name, settings, seeds), dtype=np.float64)
        if found.shape != (len(settings), len(seeds)):
            raise ValueError(f"scores of {name!r} must have shape {(len(settings), len(seeds))}, got {found.shape}")
        scores[name] = found
        if progress is not None:
            progress(done, len(grids))
    return Trials(study, grids, seeds, scores, {name: best(found) for name, found in scores.items()})


def best(scores) -> int:
    """The index of the best mean score over seeds, shape (settings, seeds); of tied settings the middle one.

    A setting with a NaN score (a failed training) loses to all others; ties are scores that differ by less than 1e-12 of their
    size. Taking the middle of the tied settings favours no end of a grid.
    """
    scores = np.asarray(scores, dtype=float)
    means = np.where(np.isnan(scores).any(1), -np.inf, np.nan_to_num(scores, nan=-np.inf).mean(1))
    top = means.max()
    tied = np.flatnonzero(means >= top - 1e-12 * max(1.0, abs(top))) if np.isfinite(top) else np.arange(len(means))
    return int(tied[(len(tied) - 1) // 2])


def is_edge(settings: Sequence[Any], index: int) -> bool:
    """Whether a number of ``settings[index]`` is the smallest or largest of those tried, where at least two were."""
    rows = [one if isinstance(one, (tuple, list)) else (one,) for one in settings]
    for column, value in zip(zip(*rows), rows[index]):
        numbers = {one for one in column if isinstance(one, (int, float)) and not isinstance(one, bool)}
        if len(numbers) > 1 and value in (min(numbers), max(numbers)):
            return True
    return False


def record(method: str, *trials: Trials) -> Path:
    """Write all trials of a method to ``data/benchmarks/tuning/<method>.csv``, one row a trial, and return the path.

    Records from before this format kept means over seeds only: there ``seed`` is a range such as ``1000-1003``, one row for all.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in trials:
        for arm, settings in one.arms.items():
            for index, setting in enumerate(settings):
                for seed, score in zip(one.seeds, one.scores[arm][index]):
                    taken = index == one.choice[arm]
                    edge = taken and one.at_edge[arm]
                    writer.writerow([one.study, arm, _text(setting), seed, f"{score:.6g}", int(taken), int(edge)])
    path = _path(method)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text.getvalue(), encoding="utf-8")
    part.replace(path)
    return path


def chosen(method: str, study: str, arms: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The recorded choice for each of ``arms``.

    Raises:
        NotTuned: no record, or a grid other than the recorded one, with the command that tunes again.
    """
    recorded = {arm: [] for arm in arms}
    taken = {}
    for row in trials_of(method):
        if row["study"] == study and row["arm"] in recorded:
            if row["setting"] not in recorded[row["arm"]]:
                recorded[row["arm"]].append(row["setting"])
            if row["chosen"]:
                taken[row["arm"]] = row["setting"]
    for arm, settings in arms.items():
        wanted = [_text(setting) for setting in settings]
        if recorded[arm] != wanted:
            state = "was tuned over another grid" if recorded[arm] else "has not been tuned"
            raise NotTuned(f"{arm!r} of {study!r} {state}; `lab claim {method} --tune` tunes it again")
    return {arm: next(s for s in settings if _text(s) == taken[arm]) for arm, settings in arms.items()}


def trials_of(method: str) -> list[dict[str, Any]]:
    """The recorded trials of a method, one dict a row with the keys of :data:`COLUMNS`; empty if there are none."""
    path = _path(method)
    return [dict(row) for row in _rows(path, path.stat().st_mtime_ns)] if path.exists() else []


def tuning_hash(method: str) -> str:
    """A short hash of the record of a method's tuning, empty if there is none."""
    path = _path(method)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.exists() else ""


@lru_cache(maxsize=64)
def _rows(path, time):
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    for row in found:
        row["seed"] = int(row["seed"]) if row["seed"].isdigit() else row["seed"]
        row.update(score=float(row["score"]), chosen=row["chosen"] == "1", edge=row["edge"] == "1")
    return found


def _text(setting):
    return json.dumps(setting)


def _path(method):
    from lab.source import project_root

    return project_root() / "data" / "benchmarks" / "tuning" / f"{method}.csv"
