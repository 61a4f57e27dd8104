"""What a notebook says about its run: metrics and measured claims, one JSON line each in the run's ``records.jsonl``.

Both functions work outside a run too; then nothing is written.
"""

from __future__ import annotations

import errno
import json
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from lab.claims import Measured

FOLDER = "LAB_RUN_FOLDER"


def record(name: str, value: Any, *, unit: str = "") -> Any:
    """Record the metric ``name`` of this run and return ``value``.

    Args:
        name: a short name such as ``"dice"``; the same name again keeps both values, the index shows the last.
        value: a number, text, boolean, ``None``, a one-element tensor or array, or a list of these.
        unit: the unit of the value, for example ``"bits"``.

    Raises:
        TypeError: a value of another kind, or a tensor of several elements (record its mean, or ``.tolist()``).
        ValueError: an integer that no float holds.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name must be a text that is not empty, got {name!r}")
    if not isinstance(unit, str):
        raise TypeError(f"unit must be a text, got {unit!r}")
    _write({"kind": "metric", "name": name, "value": _plain(name, value), "unit": unit})
    return value


def claim(
    id: str,
    *,
    replicates: int | Sequence[int] | None = None,
    budget: Literal["smoke", "default", "full"] = "default",
    data=None,
    seeds: int | Sequence[int] | None = None,
) -> Measured:
    """Measure the claim ``id`` on this machine, record it in the run, show it under the cell and return it.

    Arguments, returns and refusals are those of :func:`lab.claims.measure`.
    """
    from lab import claims

    measured = claims.measure(id, data=data, replicates=replicates, seeds=seeds, budget=budget)
    _write({"kind": "claim", "name": measured.id, **jsonable(measured.to_dict())})
    return _show(measured)


def recorded(folder: str | Path) -> list[dict[str, Any]]:
    """The records of a run folder, in the order of writing.

    A line that is no record (half-written, of another form, by another hand) is left out with a warning that names the run.
    """
    path = Path(folder) / "records.jsonl"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for position, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry is not None:
            found.append(entry)
        elif line.strip():
            warnings.warn(f"line {position} of records.jsonl of run {path.parent.name} is no record", stacklevel=2)
    return found


def _entry(line):
    try:
        entry = json.loads(line)
        if entry["kind"] in ("metric", "claim") and isinstance(entry["name"], str):
            number(entry["value"])
            return entry
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        pass
    return None


def number(value: Any) -> float | None:
    """A recorded value as a float (``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` included), or ``None`` for other kinds."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return float(value) if isinstance(value, bool) else None
    if isinstance(value, str):
        return float(value) if value in ("NaN", "Infinity", "-Infinity") else None
    return float(value)


def _write(entry):
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    line = (json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n").encode()
    # one write of one line: a reader sees it whole or not at all
    descriptor = os.open(Path(folder) / "records.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        before = os.fstat(descriptor).st_size
        if os.write(descriptor, line) < len(line):
            os.ftruncate(descriptor, before)
            raise OSError(
                errno.ENOSPC, "the disk is full: the record was not written", str(Path(folder) / "records.jsonl")
            )
    finally:
        os.close(descriptor)


def _plain(name, value):
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        try:
            float(value)
        except OverflowError:
            raise ValueError(
                f"the value of {name!r} must fit a float, got an integer of {value.bit_length():,} bits"
            ) from None
        return value
    if isinstance(value, float):
        return jsonable(value)
    if isinstance(value, (list, tuple)):
        return [_plain(name, item) for item in value]
    if hasattr(value, "item") and hasattr(value, "shape"):
        size = math.prod(value.shape)
        if size != 1:
            raise TypeError(
                f"the value of {name!r} must be one number, got shape {tuple(value.shape)}; record its mean, or value.tolist()"
            )
        return _plain(name, value.item())
    raise TypeError(
        f"the value of {name!r} must be a number, text, boolean or a list of these, got {type(value).__name__}"
    )


def jsonable(value: Any) -> Any:
    """``value`` as plain JSON values; NaN and infinities as text, arrays as lists."""
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    return str(value)


def _show(measured):
    """Display ``measured`` now, and keep it from being displayed again as the last expression of the same cell."""
    import sys
    from dataclasses import fields

    if "IPython" not in sys.modules:
        return measured
    from IPython import get_ipython
    from IPython.display import display

    shell = get_ipython()
    if shell is None:
        return measured
    display(measured)
    kind = type(measured)

    class Shown(kind):
        _cell = shell.execution_count

        def _ipython_display_(self):
            if shell.execution_count != self._cell:
                display(kind(**{item.name: getattr(self, item.name) for item in fields(kind)}))

    Shown.__name__, Shown.__qualname__ = kind.__name__, kind.__qualname__
    return Shown(**{item.name: getattr(measured, item.name) for item in fields(kind)})


__all__ = ["claim", "number", "record", "recorded"]
