"""What the store knows about each study: latest run, claims as last measured, a picture. Read once a second at most."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from lab import claims
from lab.report import Run, Store
from lab.report.site.thumbnail import drawing
from lab.report.store import standing
from lab.report.store.standing import Row
from widgets.pages._record import page_of_notebook

_FRESH_SECONDS = 1.0
_memory: dict[str, tuple[float, Index]] = {}


@dataclass(frozen=True)
class Index:
    """All runs, newest first, and the ledger joined with the measurement that counts for each claim."""

    runs: tuple[Run, ...] = ()
    rows: dict[str, Row] = field(default_factory=dict)

    def of_notebook(self, notebook: str) -> tuple[Run, ...]:
        """The runs of one notebook, newest first."""
        return tuple(run for run in self.runs if run.notebook == notebook)

    def tally(self, method: claims.Method | None = None) -> dict[str, int]:
        """How many claims of the method, or of the whole ledger, have each status."""
        found = [row.status for row in self.rows.values() if method is None or row.claim.method == method.id]
        return {status: found.count(status) for status in claims.STATUSES if status in found}


def rows_of_run(run: Run, method: str) -> dict[str, Row]:
    """The method's claims as this one run measured them; those it did not measure are 'not run'."""
    measured = run.claims
    return {
        claim.id: Row(claim, measured[claim.id]["status"], here=measured[claim.id], run_id=run.id)
        if claim.id in measured
        else Row(claim, "not testable here" if claim.untestable else "not run")
        for claim in claims.ledger()
        if claim.method == method
    }


def index() -> Index:
    """The present content of the store."""
    store = Store()
    key = str(store.runs)
    known = _memory.get(key)
    if known and time.monotonic() - known[0] < _FRESH_SECONDS:
        return known[1]
    found = Index(tuple(store.all()), {row.claim.id: row for row in standing.rows(store=store)})
    _memory[key] = (time.monotonic(), found)
    return found


def forget() -> None:
    """Read the store anew at the next question: something was just measured."""
    _memory.clear()


def page_of(run: Run) -> tuple[str, dict] | None:
    """Page module and state that a run recorded, or ``None``."""
    return _page_of(str(run.folder / "notebook.ipynb"), run.info.get("started", ""))


def picture_of(run: Run) -> str:
    """The first figure of a run that can be drawn small, as SVG, or an empty string."""
    return _picture_of(str(run.folder), run.info.get("started", ""))


@lru_cache(maxsize=512)
def _page_of(path: str, started: str):
    try:
        return page_of_notebook(path)
    except (OSError, ValueError, KeyError):
        return None


@lru_cache(maxsize=512)
def _picture_of(folder: str, started: str) -> str:
    for path in sorted((Path(folder) / "figures").glob("*.json")):
        try:
            picture = drawing(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
        if picture:
            return picture
    return ""
