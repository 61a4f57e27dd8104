"""How each claim stands: the recorded state that ships with the project, beside what this machine has measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lab.claims import BUDGETS, STATUSES, Claim, Measured, ledger
from lab.claims import by_id as claim_of
from lab.claims.recorded import latest
from lab.report.store.layout import Store, write_atomically
from lab.report.store.records import jsonable, number

_RANK = {budget: rank for rank, budget in enumerate(BUDGETS)}


@dataclass(frozen=True)
class Row:
    """A claim and how it stands.

    ``status`` is the recorded one; where nothing is recorded, that of a whole measurement on this machine. ``recorded`` is the
    line of ``data/claims``, ``here`` the measurement of this machine that counts, from run ``run_id`` if a notebook made it.
    ``undermined`` names refuted claims that this one requires.
    """

    claim: Claim
    status: str
    recorded: Mapping[str, Any] | None = None
    here: Mapping[str, Any] | None = None
    run_id: str = ""
    undermined: tuple[str, ...] = ()

    @property
    def measured(self) -> str:
        """The effect behind the status with its interval: the recorded one, or a whole measurement of this machine."""
        if self.recorded is not None:
            return effect(self.recorded, self.claim.unit)
        if self.here is None or self.status in ("not run", "not testable here"):
            return ""
        return effect(self.here, self.claim.unit)

    @property
    def provenance(self) -> str:
        """When and from how much the recorded effect comes, for example ``recorded 2026-12-01, 20 replicates``."""
        if self.recorded is None:
            return ""
        return f"recorded {self.recorded['date']}, {_replicates(self.recorded['replicates'])}"

    @property
    def control(self) -> str:
        """What the recorded negative control gave, in words."""
        found = (self.recorded or {}).get("control")
        if not found:
            return ""
        word = "holds too, so the claim is not discriminating" if found["holds"] else "fails, as it should"
        return f"control {effect(found, '')} {word}"

    @property
    def measured_here(self) -> str:
        """What this machine measured, for example ``this machine: 3 of 8 replicates, 0.2 [0.1, 0.3]``."""
        if self.here is None:
            return ""
        count = self.here.get("replicates", len(self.here.get("seeds", ())))
        wanted = self.claim.replicates
        words = f"{count} of {wanted} replicates" if count < wanted else _replicates(count)
        budget = "" if self.here.get("budget") == "default" else f", {self.here.get('budget', '')} budget"
        return f"this machine: {words}{budget}, {effect(self.here, self.claim.unit)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        names = (
            "id", "room", "method", "text", "source", "kind", "setting", "rule", "margin", "unit", "statistic", "replicates",
            "drawn", "control", "published", "untestable", "data",
        )  # fmt: skip
        found = {name: getattr(self.claim, name) for name in names}
        here = {"status": self.status, "recorded": self.recorded, "here": self.here, "run_id": self.run_id}
        return {**found, **here, "undermined": list(self.undermined)}


def effect(entry: Mapping[str, Any], unit: str) -> str:
    """Value, unit and interval of a recorded line or a measurement, in words."""
    value, (low, high) = number_of(entry["value"]), ends(entry)
    interval = "" if low == high else f" [{low:.3g}, {high:.3g}]"
    return f"{value:.4g}{' ' + unit if unit else ''}{interval}"


def ends(entry: Mapping[str, Any]) -> tuple[float, float]:
    """The interval of a recorded line (``low``, ``high``) or of a measurement (``interval``)."""
    low, high = entry["interval"] if "interval" in entry else (entry["low"], entry["high"])
    return number_of(low), number_of(high)


def number_of(value: Any) -> float:
    """A number that JSON may hold as text (``"inf"``, ``"NaN"``, ``"Infinity"``)."""
    found = number(value)
    return float(value) if found is None else found


def rows(room: str | None = None, *, store: Store | None = None) -> list[Row]:
    """Every claim as it stands.

    Of several measurements of this machine the one with the largest budget, then most replicates, then the newest counts.
    """
    recorded, here = latest(room), _measurements(store or Store())
    refuted = {id for id, line in recorded.items() if line["verdict"] == "refuted"}
    found = []
    for claim in ledger(room):
        line = recorded.get(claim.id)
        measurement, run_id = here.get(claim.id, (None, ""))
        undermined = tuple(id for id in (claim_of(needed).id for needed in claim.requires) if id in refuted)
        found.append(Row(claim, _status(claim, line, measurement), line, measurement, run_id, undermined))
    return found


def _status(claim, line, measurement):
    if line is not None:
        small = line["verdict"] == "holds" and claim.setting == "small"
        return "holds at small scale" if small else line["verdict"]
    if measurement is not None and measurement.get("status") in STATUSES:
        return measurement["status"]
    return "not testable here" if claim.untestable else "not run"


def keep(measured: Measured, *, store: Store | None = None) -> None:
    """Store a measurement made outside a notebook; one on own data does not speak for the paper and is not stored."""
    if measured.own or measured.control:
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
    names = {name: claim.id for claim in ledger() for name in (claim.id, *claim.aliases)}

    def offer(entry, started, run_id):
        id = names.get(entry["name"])
        if id is None or entry.get("own"):
            return
        rank = (_RANK.get(entry.get("budget"), -1), len(entry.get("seeds", ())), started)
        if id not in found or rank > found[id][0]:
            found[id] = (rank, entry, run_id)

    for run in store.all():
        for entry in run.claims.values():
            offer(entry, run.info.get("started", ""), run.id)
    for path in sorted((store.runs / ".claims").glob("*.json")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        offer(entry, entry.get("started", ""), "")
    return {id: (entry, run_id) for id, (_, entry, run_id) in found.items()}


def _replicates(count):
    return f"{count} replicate{'s' * (count != 1)}"
