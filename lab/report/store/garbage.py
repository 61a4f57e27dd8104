"""What may be deleted: runs that nothing refers to, their pages, and leftovers of drivers that are gone."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lab.report.runs import sweeps
from lab.report.store import standing
from lab.report.store.layout import Run, Store


@dataclass
class Garbage:
    """Runs that nothing refers to, with sizes in bytes, and why each of the others stays."""

    runs: dict[str, int] = field(default_factory=dict)
    pages: list[Path] = field(default_factory=list)
    leftovers: dict[Path, int] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes that deleting would free."""
        return (
            sum(self.runs.values())
            + sum(self.leftovers.values())
            + sum(page.stat().st_size for page in self.pages if page.exists())
        )


def garbage(store: Store, *, days: float = 0.0) -> Garbage:
    """What could be deleted. Never a run that a page links to, a sweep lists, the ledger rests on, or that is a notebook's newest.

    ``days``: younger runs stay too.
    """
    found = Garbage()
    runs = store.all()
    reasons = _reasons(store, runs)
    oldest = time.time() - days * 86400
    for run in runs:
        if run.id in reasons:
            found.kept[run.id] = reasons[run.id]
        elif run.folder.stat().st_mtime > oldest and days > 0:
            found.kept[run.id] = f"younger than {days:g} days"
        else:
            found.runs[run.id] = size_of(run.folder)
    pages = store.data / "reports" / "runs"
    known = {run.id for run in runs}
    linked = _linked(store)
    found.pages = [
        path
        for path in sorted(pages.glob("*.html"))
        if path.stem not in linked and (path.stem in found.runs or path.stem not in known)
    ]
    found.leftovers = {path: size_of(path) for path in _abandoned(store)}
    return found


def delete(found: Garbage, store: Store) -> list[str]:
    """Delete what ``found`` names and return the ids of the deleted runs; a run that is in use right now stays."""
    removed = []
    for run_id in found.runs:
        with store.lock(run_id, wait=False) as held:
            if held and run_id not in _reasons(store, [run for run in [store.get(run_id)] if run], newest=False):
                # out of the way in one step, so that no reader sees half a run
                aside = store.runs / ".work" / f"{run_id}.0.deleted"
                aside.parent.mkdir(exist_ok=True)
                os.rename(store.runs / run_id, aside)
                shutil.rmtree(aside, ignore_errors=True)
                removed.append(run_id)
    for page in found.pages:
        if page.stem in removed or store.get(page.stem) is None:
            page.unlink(missing_ok=True)
    store.sweep_leftovers()
    for path in (store.runs / ".locks").glob("*.lock"):
        if store.get(path.stem) is None:
            with store.lock(path.stem, wait=False) as held:
                if held:
                    path.unlink(missing_ok=True)
    return removed


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _reasons(store: Store, runs: Iterable[Run], *, newest: bool = True) -> dict[str, str]:
    found = {run_id: "a page of the report links to it" for run_id in _linked(store)}
    for sweep in sweeps.remembered(store):
        found |= dict.fromkeys(sweep["runs"], f"sweep {sweep['id']}")
    found |= {row.run_id: f"claim {row.claim.id} rests on it" for row in standing.rows(store=store) if row.run_id}
    if newest:
        latest: dict[str, str] = {}
        for run in runs:
            latest.setdefault(run.notebook, run.id)
        found |= {run_id: f"the newest of {notebook}" for notebook, run_id in latest.items()}
    return found


def _linked(store):
    """Runs whose pages the index, the ledger and the sweeps of the site link to."""
    site = store.data / "reports"
    found = set()
    for path in [site / "index.html", site / "claims.html", *(site / "sweeps").glob("*.html")]:
        if path.exists():
            found |= set(re.findall(r'href="(?:\.\./)?runs/([^"/]+)\.html"', path.read_text(encoding="utf-8")))
    return found


def _abandoned(store):
    for path in (store.runs / ".work").glob("*.*.*"):
        with store.lock(path.name.rsplit(".", 2)[0], wait=False) as held:
            if held:
                yield path
