"""Many runs at once: a few driver threads over one store, each run in a kernel process of its own."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from lab.report.jobs import Control, Event
from lab.report.run import Limits, Plan, answering, execute
from lab.report.store import Run, Store
from lab.report.zygote import SOCKET, Zygote, kernel_environment


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Batch:
    """Plans on their way to runs.

    ``reused`` runs were in the store unchanged; the others are executed by :meth:`run`, ``jobs`` at a time, and a failing one
    does not stop the rest. ``stop()`` ends the running ones, keeps their partial output and starts no others.
    """

    def __init__(
        self, plans: Sequence[Plan], *, store: Store | None = None, limits: Limits | None = None, force: bool = False
    ):
        self.store = store or Store()
        self.limits = limits or Limits.of()
        self.force = force
        self.plans = list({plan.run_id: plan for plan in plans}.values())
        self.reused: dict[str, Run] = {}
        if not force:
            for plan in self.plans:
                run = answering(plan, self.store)
                if run is not None:
                    self.reused[plan.run_id] = run
        self.waiting = [plan for plan in self.plans if plan.run_id not in self.reused]
        self._stopped = threading.Event()
        self._controls: dict[str, Control] = {}

    def run(self, *, jobs: int | None = None, emit: Callable[[Event], None] = lambda event: None) -> list[Run]:
        """Execute what is waiting and return the runs of all plans, in the order of the plans; fewer after :meth:`stop`.

        Raises:
            StoreError: the store cannot be written; what was finished before stays.
        """
        found = dict(self.reused)
        if self.waiting:
            self.store.prepare()
            self.store.sweep_leftovers()
            warm = any(plan.warm for plan in self.waiting) and len(self.waiting) > 1
            with self._zygote(warm), ThreadPoolExecutor(max_workers=max(1, jobs or cores()), thread_name_prefix="lab-driver") as pool:
                futures = [pool.submit(self._one, plan, emit) for plan in self.waiting]
                try:
                    for future in futures:
                        run = future.result()
                        if run is not None:
                            found[run.id] = run
                except BaseException:
                    self.stop()
                    raise
        return [found[plan.run_id] for plan in self.plans if plan.run_id in found]

    def stop(self) -> None:
        """End the running notebooks and start no others."""
        self._stopped.set()
        for control in list(self._controls.values()):
            control.stop("interrupted")

    @contextlib.contextmanager
    def _zygote(self, warm):
        """One zygote for the batch; without one every kernel starts cold."""
        if not warm:
            yield
            return
        with Zygote(kernel_environment(dict(os.environ), self.waiting[0].definition["threads"])) as zygote:
            if zygote.available:
                os.environ[SOCKET] = zygote.path
            try:
                yield
            finally:
                os.environ.pop(SOCKET, None)

    def _one(self, plan, emit):
        if self._stopped.is_set():
            return None
        control = self._controls[plan.run_id] = Control()
        try:
            run = execute(plan, store=self.store, limits=self.limits, force=self.force, emit=emit, control=control)
        finally:
            del self._controls[plan.run_id]
        emit(Event("finished", plan.run_id, text=run.status, seconds=run.info["seconds"]))
        return run
