"""The recorded state of the ledger: ``data/claims/<room>.jsonl``, append-only, one line a measurement of a claim.

A line is written when a claim and its control have been measured in full; of several lines the one with most replicates, then
the newest, counts. Older lines stay as the history of the claim, changed margins included.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import source
from lab.claims.ledger import Claim, by_id, ledger
from lab.claims.registry import measuring_function

if TYPE_CHECKING:
    from lab.claims.measure import Measured

READERS = ("classes", "files", "folders", "grids", "meshes", "paths", "roles", "sounds", "typed")
# what is recorded uses the built-in data, hence no reader of users' files
NOT_COUNTED = ("lab.checks", "lab.report", "lab.claims", "lab.source", *(f"lab.datasets.{name}" for name in READERS))


def line(measured: Measured, control: Measured | None, *, context: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded line of a claim and its control; ``context`` says commit, versions and machine.

    Raises:
        ValueError: a smoke run, own data or parameters, fewer replicates than the row asks for: these never become the
            recorded state.
    """
    claim = by_id(measured.id)
    if measured.budget == "smoke" or measured.own or measured.replicates < claim.replicates:
        raise ValueError(
            f"a measurement of {claim.id!r} with status {measured.status!r} is not the paper's and is not recorded"
        )
    found = {
        "id": claim.id,
        "verdict": measured.verdict,
        "value": measured.value,
        "low": measured.interval[0],
        "high": measured.interval[1],
        "replicates": measured.replicates,
        "unit": claim.unit,
        "values": list(measured.values),
        "p": measured.p,
        "control": None,
        "rule": claim.rule_in_words,
        "rule_hash": claim.rule_hash(),
        "tuning_hash": tuning_hash(claim),
        "code_hash": code_hash(claim),
        "budget": measured.budget,
        "date": datetime.now(UTC).date().isoformat(),
        **context,
        "seconds": round(measured.seconds + (control.seconds if control else 0.0), 2),
    }
    if control is not None:
        low, high = control.interval
        found["control"] = {"value": control.value, "low": low, "high": high, "holds": control.holds}
    return found


def append(room: str, entry: Mapping[str, Any]) -> Path:
    """Append one line to the room's file, in one write that is on the disk when this returns."""
    path = _path(room)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (json.dumps(_plain(entry), ensure_ascii=False, allow_nan=False) + "\n").encode()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a line cut off by a full disk stays alone
            text = b"\n" + text
        os.write(descriptor, text)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path


def history(room: str) -> list[dict[str, Any]]:
    """All lines of a room in the order of writing, ids brought up to date; a line that is no record is left out."""
    path = _path(room)
    if not path.exists():
        return []
    status = path.stat()
    return list(_lines(path, status.st_size, status.st_mtime_ns))


def latest(room: str | None = None) -> dict[str, dict[str, Any]]:
    """The line that counts for each recorded claim, of one room or of all: most replicates, then the newest."""
    rooms = [room] if room else sorted({claim.room for claim in ledger()})
    found: dict[str, dict[str, Any]] = {}
    for entry in (entry for one in rooms for entry in history(one)):
        before = found.get(entry["id"])
        if before is None or entry["replicates"] >= before["replicates"]:
            found[entry["id"]] = entry
    return found


def stale(room: str | None = None) -> dict[str, str]:
    """Why recorded claims no longer stand for the present row, code and tuning: ``{id: why}``."""
    found = {}
    for id, entry in latest(room).items():
        claim = by_id(id)
        reasons = []
        if entry.get("rule_hash") != claim.rule_hash():
            reasons.append(f"the rule was {entry.get('rule', 'another one')}, now {claim.rule_in_words}")
        if entry.get("tuning_hash") != tuning_hash(claim):
            reasons.append("the tuning was repeated")
        if entry.get("code_hash") != code_hash(claim):
            reasons.append("the code changed")
        if reasons:
            found[id] = "; ".join(reasons)
    return found


def code_hash(claim: Claim) -> str:
    """A hash of the measuring function's module and of all that it imports; ``NOT_COUNTED`` do not count."""
    function = measuring_function(claim.id)
    return source.code_hash(function.__module__, without=NOT_COUNTED) if function else ""


def tuning_hash(claim: Claim) -> str:
    """A hash of the record of the method's tuning, empty if there is none."""
    from lab.training.comparison import tuning_hash as of_method

    return of_method(claim.method)


def tuning_trials(claim: Claim) -> list[dict[str, Any]]:
    """The recorded trials of the tuning of the claim's method, see :mod:`lab.training.comparison`."""
    from lab.training.comparison import trials_of

    return trials_of(claim.method)


def _path(room):
    return source.project_root() / "data" / "claims" / f"{room}.jsonl"


@lru_cache(maxsize=64)
def _lines(path, size, time):
    known = {name: claim.id for claim in ledger() for name in (claim.id, *claim.aliases)}
    found = []
    for text in path.read_bytes().splitlines():
        try:
            entry = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError):
            continue
        if isinstance(entry, dict) and entry.get("id") in known and isinstance(entry.get("replicates"), int):
            found.append({**entry, "id": known[entry["id"]]})
    return tuple(found)


def _plain(value):
    """Plain JSON values; infinite ends and NaN as text, which readers turn back with ``float``."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
