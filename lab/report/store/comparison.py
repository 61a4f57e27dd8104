"""Runs against runs: what differs between two, and whether a repeated run gives the recorded values again."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.report.runs.run import Limits, execute, plan_of
from lab.report.store import cache
from lab.report.store.layout import Run, Store

# measured by the clock: never the same twice
_CLOCK = ("seconds", "time")


@dataclass(frozen=True)
class Difference:
    """One thing in which two runs differ: its ``group`` (parameters, metrics, claims, ...), name and both values."""

    group: str
    name: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Repetition:
    """A run done again: ``exact`` if every recorded value is the same; else ``differences`` and the ``changes`` of its inputs."""

    run: Run
    again: Run
    changes: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether metrics and claims are the same to the last digit and the status is the same."""
        return not self.differences


def diff(first: Run, second: Run) -> list[Difference]:
    """Everything in which two runs differ, results before origins."""
    found = []
    groups = (
        ("run", _facts(first), _facts(second)),
        ("parameters", first.parameters, second.parameters),
        ("metrics", first.metrics, second.metrics),
        ("claims", _claims(first), _claims(second)),
        ("figures", _figures(first), _figures(second)),
        ("cells", *_cells(first, second)),
        ("modules", first.info["observed"]["modules"], second.info["observed"]["modules"]),
        ("data", first.info["observed"]["data"], second.info["observed"]["data"]),
        ("packages", first.info["observed"]["packages"], second.info["observed"]["packages"]),
        ("origin", _origin(first), _origin(second)),
    )
    for group, before, after in groups:
        for name in dict.fromkeys([*before, *after]):
            if before.get(name) != after.get(name):
                found.append(Difference(group, name, before.get(name), after.get(name)))
    return found


def rerun(run: Run, *, limits: Limits | None = None) -> Repetition:
    """Execute the run's notebook with the run's parameters again, beside the store, and compare what was recorded.

    Raises:
        ParameterError: the notebook no longer takes the run's parameters.
    """
    wanted = plan_of(run)
    changes = cache.changes(run, wanted.definition)
    with tempfile.TemporaryDirectory(prefix="lab-rerun-") as folder:
        again = execute(wanted, store=Store(folder), limits=limits, force=True)
        found = _recorded_differences(run, again)
    return Repetition(run, again, changes, found)


def load_run(place: str | Path, store: Store) -> Run:
    """The run called ``place`` in the store, or the run whose ``run.json`` or folder it is."""
    path = Path(place)
    if path.name == "run.json" and path.is_file():
        path = path.parent
    if (path / "run.json").is_file():
        info = json.loads((path / "run.json").read_text(encoding="utf-8"))
        return Run(info["id"], path, info)
    return store.find(str(place))


def _recorded_differences(run, again):
    found = []
    if run.status != again.status:
        found.append(Difference("run", "status", run.status, again.status))
    before, after = _entries(run), _entries(again)
    if len(before) != len(after):
        found.append(Difference("run", "number of records", len(before), len(after)))
    for number, (old, new) in enumerate(zip(before, after)):
        if old != new:
            value = "value" if old.get("value") != new.get("value") else "details"
            found.append(
                Difference(old["kind"] + "s", f"{old['name']} (record {number + 1})", old.get(value), new.get(value))
            )
    return found


def _entries(run):
    return [{key: value for key, value in entry.items() if key not in _CLOCK} for entry in run.records]


def _facts(run):
    return {"notebook": run.notebook, "status": run.status}


def _claims(run):
    return {name: f"{entry['status']}: {entry['value']} {entry['interval']}" for name, entry in run.claims.items()}


def _figures(run):
    from lab.source import file_hash

    return {path.name: file_hash(path)[:12] for path in run.figures()}


def _cells(first, second):
    return tuple(
        {f"cell {number}": value for number, value in enumerate(run.info["definition"]["cells"], 1)}
        for run in (first, second)
    )


def _origin(run):
    origin = run.info["provenance"]
    git = origin.get("git") or {}
    names = ("system", "python", "cores", "device", "lock", "threads")
    return {
        **{name: origin.get(name) for name in names},
        "commit": git.get("commit"),
        "uncommitted": git.get("difference"),
    }
