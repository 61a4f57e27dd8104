"""Many runs at once: a few driver threads over one store, each run in a kernel process of its own."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from lab.report.events import Control, Event
from lab.report.notebook.forkserver import SOCKET, Zygote, kernel_environment
from lab.report.runs.run import Limits, Plan, answering
from lab.report.store.layout import Run, Store


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Batch:
    """Plans on their way to runs.

    ``reused`` runs were in the store unchanged (``trust``: also those that may have read files which nobody noted); the
    others are executed by :meth:`run`, ``jobs`` at a time, and a failing one does not stop the rest. ``stop()`` ends the
    running ones, keeps their partial output and starts no others.
    ``cold_because`` says after a run why warm plans got fresh kernels (another system than Linux, CUDA, several threads).
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        *,
        store: Store | None = None,
        limits: Limits | None = None,
        force: bool = False,
        trust: bool = False,
    ):
        self.store = store or Store()
        self.limits = limits or Limits.of()
        self.force = force
        self.plans = list({plan.run_id: plan for plan in plans}.values())
        self.reused: dict[str, Run] = {}
        if not force:
            for plan in self.plans:
                run = answering(plan, self.store, trust=trust)
                if run is not None:
                    self.reused[plan.run_id] = run
        self.waiting = [plan for plan in self.plans if plan.run_id not in self.reused]
        self.cold_because = ""
        self._stopped = threading.Event()
        self._controls: dict[str, Control] = {}

    def run(
        self,
        *,
        jobs: int | None = None,
        emit: Callable[[Event], None] = lambda event: None,
        executor: str = "local",
        scheduler: str | None = None,
    ) -> list[Run]:
        """Execute what is waiting and return the runs of all plans, in the order of the plans; fewer after :meth:`stop`.

        Raises:
            StoreError: the store cannot be written, or the cluster does not answer; what was finished before stays.
        """
        from lab.report.runs import executors

        found = dict(self.reused)
        if self.waiting:
            self.store.prepare()
            self.store.sweep_leftovers()
            jobs = min(len(self.waiting), max(1, jobs or cores()))
            with contextlib.ExitStack() as stack:
                execute, slots = stack.enter_context(executors.executor(executor, jobs=jobs, scheduler=scheduler))
                if executor == "local":
                    stack.enter_context(self._zygote())
                pool = stack.enter_context(ThreadPoolExecutor(max_workers=slots, thread_name_prefix="lab-driver"))
                try:
                    # what another driver is at comes last: by then it is done, or its driver is gone
                    for wait in (False, True):
                        waiting = [plan for plan in self.waiting if plan.run_id not in found]
                        futures = [pool.submit(self._one, plan, emit, execute, wait) for plan in waiting]
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
    def _zygote(self):
        """One zygote for the warm plans of the batch; without one every kernel starts cold."""
        if len(self.waiting) < 2 or not any(plan.warm for plan in self.waiting):
            yield
            return
        with Zygote(kernel_environment(dict(os.environ), self.waiting[0].definition["threads"])) as zygote:
            before = os.environ.get(SOCKET)
            self.cold_because = "" if before else zygote.reason
            if zygote.available:
                os.environ[SOCKET] = zygote.path
            try:
                yield
            finally:
                os.environ.pop(SOCKET, None)
                if before is not None:
                    os.environ[SOCKET] = before

    def _one(self, plan, emit, execute, wait):
        if self._stopped.is_set():
            return None
        if not wait:
            with self.store.lock(plan.run_id, wait=False) as free:
                if not free:
                    return None
        control = self._controls[plan.run_id] = Control()
        try:
            run = execute(plan, store=self.store, limits=self.limits, force=self.force, emit=emit, control=control)
        except InterruptedError:
            return None
        finally:
            self._controls.pop(plan.run_id, None)
        emit(Event("finished", plan.run_id, text=run.status, seconds=run.info["seconds"]))
        return run
