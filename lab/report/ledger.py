"""What the stored runs say about each claim: the ledger's rows joined with the newest measurement of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lab import claims
from lab.claims import Claim, Measured
from lab.report.records import jsonable, number
from lab.report.store import Store, write_atomically

_RANK = {budget: rank for rank, budget in enumerate(claims.BUDGETS)}


@dataclass(frozen=True)
class Row:
    """A claim, its status, and the measurement behind it (``None`` if it was not run)."""

    claim: Claim
    status: str
    measurement: dict[str, Any] | None = None
    run_id: str = ""

    @property
    def measured(self) -> str:
        """Value and interval in words, empty if not run."""
        if self.measurement is None:
            return ""
        value = number(self.measurement["value"])
        low, high = (number(end) for end in self.measurement["interval"])
        interval = "" if low == high else f" [{low:.3g}, {high:.3g}]"
        return f"{value:.4g}{' ' + self.claim.unit if self.claim.unit else ''}{interval}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        names = ("id", "room", "method", "text", "source", "kind", "setting", "margin", "unit", "untestable")
        found = {name: getattr(self.claim, name) for name in names}
        return {**found, "status": self.status, "measurement": self.measurement, "run_id": self.run_id}


def rows(room: str | None = None, *, store: Store | None = None) -> list[Row]:
    """Every claim with its status: of several measurements the one of the largest budget counts, then the newest."""
    best = _measurements(store or Store())
    found = []
    for claim in claims.ledger(room):
        if claim.untestable:
            found.append(Row(claim, "not testable here"))
        elif claim.id in best:
            measurement, run_id = best[claim.id]
            found.append(Row(claim, measurement["status"], measurement, run_id))
        else:
            found.append(Row(claim, "not run"))
    return found


def keep(measured: Measured, *, own_data: bool, store: Store | None = None) -> None:
    """Store a measurement made outside a notebook; one on own data does not speak for the paper and is not stored."""
    if own_data:
        return
    store = store or Store()
    entry = {
        "kind": "claim",
        "name": measured.id,
        **jsonable(measured.to_dict()),
        "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    path = store.runs / ".claims" / f"{measured.id}.{measured.budget}.json"
    write_atomically(path, json.dumps(entry, ensure_ascii=False))


def _measurements(store):
    found: dict[str, tuple[tuple, dict, str]] = {}

    def offer(entry, started, run_id):
        rank = (_RANK.get(entry.get("budget"), -1), started)
        if entry["name"] not in found or rank > found[entry["name"]][0]:
            found[entry["name"]] = (rank, entry, run_id)

    for run in store.all():
        for entry in run.claims.values():
            offer(entry, run.info.get("started", ""), run.id)
    for path in sorted((store.runs / ".claims").glob("*.json")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        offer(entry, entry.get("started", ""), "")
    return {name: (entry, run_id) for name, (_, entry, run_id) in found.items()}
