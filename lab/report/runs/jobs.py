"""Runs in the background: ``submit(notebook, parameters)`` returns at once with a job to watch, cancel and wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from lab import checks
from lab.report.events import Control, Event
from lab.report.store.layout import Run, Store

EXECUTORS = ("local", "process")


class Job:
    """A submitted run. ``id`` is its run id; every consumer of :meth:`events` sees all events from the first."""

    def __init__(self, id: str):
        self.id = id
        self.control = Control()
        self._events: list[Event] = []
        self._condition = threading.Condition()
        self._run: Run | None = None
        self._failure: BaseException | None = None
        self._done = False

    @property
    def done(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return self._done

    @property
    def status(self) -> str:
        """``queued``, ``running``, or the status of the finished run."""
        if self._run is not None:
            return self._run.status
        if self._done:
            return "cancelled" if self.control.reason else "failed"
        return "running" if any(event.kind != "queued" for event in self._events) else "queued"

    def events(self, *, timeout: float | None = None) -> Iterator[Event]:
        """Every event from the first to ``finished``, as they come; ends early after ``timeout`` seconds without one."""
        position = 0
        while True:
            with self._condition:
                if not self._condition.wait_for(lambda seen=position: len(self._events) > seen or self._done, timeout):
                    return
                fresh = self._events[position:]
                ended = self._done
            yield from fresh
            position += len(fresh)
            if ended and not fresh:
                return

    def latest(self) -> Event | None:
        """The last event so far, without waiting."""
        return self._events[-1] if self._events else None

    def cancel(self) -> bool:
        """Stop the run now; its partial output is kept. Returns whether there was something to stop."""
        return False if self._done else self.control.stop("cancelled")

    def result(self, *, timeout: float | None = None) -> Run:
        """Wait for the run and return it, whatever its status; see ``Run.ok`` and ``Run.error``.

        Raises:
            TimeoutError: the run has not ended after ``timeout`` seconds.
            StoreError: the store could not be written.
        """
        with self._condition:
            if not self._condition.wait_for(lambda: self._done, timeout):
                raise TimeoutError(f"run {self.id} has not ended after {timeout:g} s")
        if self._failure is not None:
            raise self._failure
        assert self._run is not None
        return self._run

    def _emit(self, event):
        with self._condition:
            self._events.append(event)
            self._condition.notify_all()

    def _finish(self, run=None, failure=None):
        with self._condition:
            self._run, self._failure, self._done = run, failure, True
            self._condition.notify_all()


def submit(
    notebook: str | Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    executor: Literal["local", "process"] = "local",
    force: bool = False,
    timeout: float | None = None,
    cell_timeout: float | None = None,
    memory: float | None = None,
    store: Store | None = None,
) -> Job:
    """Run a notebook in the background.

    Args:
        notebook: path of an ``.ipynb`` file.
        parameters: values that override the notebook's defaults.
        executor: ``"local"`` drives the run from a thread of this process (the notebook itself always has its own kernel
            process); ``"process"`` from a separate process.
        force: run again even if an unchanged run is in the store.
        timeout: seconds for the whole run (default 3600).
        cell_timeout: seconds for one cell (default 1800).
        memory: the kernel's limit in bytes (default: 90 % of the machine's memory).
        store: where the run goes; the project's ``data/runs`` by default.

    Raises:
        ParameterError: unknown name or refused value, before anything starts.
        StoreError: the store cannot be written.
    """
    from lab.report.runs import run as runs

    checks.choice("executor", executor, EXECUTORS)
    limits = runs.Limits.of(timeout=timeout, cell_timeout=cell_timeout, memory=memory)
    store = store or Store()
    plan = runs.plan(notebook, parameters or {})
    store.prepare()
    job = Job(plan.run_id)
    job._emit(Event("queued", job.id))
    threading.Thread(
        target=_drive, args=(job, plan, store, limits, force, executor), daemon=True, name=f"lab-{job.id}"
    ).start()
    return job


def _drive(job, plan, store, limits, force, executor):
    from lab.report.runs.executors import EXECUTE

    began = time.perf_counter()
    try:
        run = EXECUTE[executor](plan, store=store, limits=limits, force=force, emit=job._emit, control=job.control)
    except BaseException as error:  # handed whole to the thread that waits for the result
        job._emit(Event("finished", job.id, text="failed", seconds=time.perf_counter() - began))
        job._finish(failure=error)
        return
    job._emit(Event("finished", job.id, text=run.status, seconds=time.perf_counter() - began))
    job._finish(run=run)
