"""What a run says while it goes on, and what stops it from outside."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Event:
    """One step of a run.

    ``kind`` is ``queued``, ``started``, ``cell``, ``output`` (text that a cell printed), ``waiting`` (for a cluster),
    ``finished``. ``cell`` and ``cells`` count code cells from 1, ``text`` is the first line of the running cell, printed text,
    what is waited for, or the final status.
    """

    kind: Literal["queued", "started", "cell", "output", "waiting", "finished"]
    run_id: str
    cell: int = 0
    cells: int = 0
    text: str = ""
    seconds: float = 0.0

    @property
    def fraction(self) -> float:
        """Share of the code cells that are done, between 0 and 1."""
        if self.kind == "finished":
            return 1.0
        return max(self.cell - 1, 0) / self.cells if self.cells else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {**asdict(self), "fraction": self.fraction}


class Control:
    """What stops a run from outside: the reason, once given, and the process that is to be killed."""

    def __init__(self):
        self.reason: str | None = None
        self._kill = None
        self._lock = threading.Lock()

    def attach(self, kill) -> None:
        """Name the function that kills the kernel; called at once if the run is to be stopped already."""
        with self._lock:
            self._kill = kill
            reason = self.reason
        if reason:
            kill()

    def stop(self, reason: str) -> bool:
        """Kill the kernel for ``reason``; the first reason stays. Returns whether this call was the first."""
        with self._lock:
            first = self.reason is None
            if first:
                self.reason = reason
            kill = self._kill
        if first and kill:
            kill()
        return first
