"""Where the driver of a run works: in this process, in a process of its own, or on a Dask cluster. Same runs, same store.

A Dask worker needs no disk in common with the caller: the plan carries the notebook, the run folder comes back as bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from lab.report.events import Control, Event
from lab.report.runs.run import Limits, Plan, answering, execute
from lab.report.store.layout import Run, Store, StoreError, writing

Executor = Callable[..., Run]
NAMES = ("local", "process", "dask")
CONNECT_SECONDS = 60


def in_process(
    plan: Plan,
    *,
    store: Store,
    limits: Limits,
    force: bool = False,
    emit: Callable[[Event], None] = lambda event: None,
    control: Control,
) -> Run:
    """Execute ``plan`` from a separate driver process; what kills the driver does not touch this one."""
    if not force and (run := answering(plan, store)):
        return run
    command = [sys.executable, "-m", "lab.report.runs.worker", str(store.data)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def stop():
        # the worker turns SIGTERM into an orderly stop that keeps the partial output
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)

    control.attach(stop)
    assert process.stdin is not None and process.stdout is not None  # both are pipes
    json.dump({"plan": plan.to_dict(), "limits": asdict(limits), "force": force}, process.stdin)
    process.stdin.close()
    failure = ""
    for line in process.stdout:
        entry = json.loads(line)
        if "failure" in entry:
            failure = entry["failure"]
        elif entry["kind"] != "finished":
            emit(Event(**entry))
    code = process.wait()
    run = store.get(plan.run_id)
    if failure or run is None or code not in (0, 1):
        raise StoreError(failure or f"the driver process of run {plan.run_id} ended with exit code {code}")
    return run


EXECUTE: dict[str, Executor] = {"local": execute, "process": in_process}


@contextlib.contextmanager
def executor(name: str, *, jobs: int, scheduler: str | None = None) -> Iterator[tuple[Executor, int]]:
    """The executor ``name`` and how many runs it takes at a time.

    ``"dask"`` connects to ``scheduler`` (for example ``tcp://host:8786``) or starts a cluster of ``jobs`` worker processes.

    Raises:
        ValueError: a scheduler for an executor that has none.
        StoreError: the scheduler does not answer.
    """
    from lab import checks

    checks.choice("executor", name, NAMES)
    if scheduler and name != "dask":
        raise ValueError(f"scheduler is for the executor 'dask', got executor {name!r}")
    if name != "dask":
        yield EXECUTE[name], jobs
        return
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        if scheduler:
            address = scheduler
        else:
            cluster = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                host="127.0.0.1",
                memory_limit=0,
            )
            address = stack.enter_context(cluster)
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS, set_as_default=False))
        except OSError as error:
            raise StoreError(f"the Dask scheduler {scheduler} does not answer: {error}") from None
        workers = client.scheduler_info(n_workers=-1)["workers"]
        slots = sum(worker["nthreads"] for worker in workers.values())
        if not slots:
            raise StoreError(f"the Dask scheduler {scheduler} has no workers")
        yield _Dask(client), slots


class _Dask:
    """Runs through a Dask client; a run whose worker is lost is executed again on another."""

    def __init__(self, client):
        self.client = client

    def __call__(self, plan, *, store, limits, force=False, emit=lambda event: None, control):
        store.prepare()
        with writing(f"the store {store.runs}"), store.lock(plan.run_id):
            if not force and (run := answering(plan, store)):
                return run
            emit(Event("started", plan.run_id))
            future = self.client.submit(
                remote,
                plan.to_dict(),
                asdict(limits),
                key=f"{plan.run_id}-{os.urandom(4).hex()}",
                pure=False,
                retries=3,
            )
            gone = threading.Event()
            control.attach(lambda: (gone.set(), future.cancel(force=True)))
            packed = _result(future, gone)
            if packed is None:
                raise InterruptedError(f"run {plan.run_id} was cancelled")
            with store.work(plan.run_id) as folder:
                unpack(packed, folder)
                return store.publish(folder, plan.run_id)


def _result(future, gone):
    from concurrent.futures import CancelledError

    from distributed import TimeoutError as WaitTimeout

    while not gone.is_set():
        try:
            return future.result(timeout=0.5)
        except (WaitTimeout, TimeoutError):
            continue
        except CancelledError:
            return None
    return None


def remote(plan: dict, limits: dict) -> bytes:
    """Execute a plan in a private store on a worker and return the run folder, packed."""
    with tempfile.TemporaryDirectory(prefix="lab-remote-") as folder:
        run = execute(Plan(**plan), store=Store(folder), limits=Limits(**limits))
        return pack(run.folder)


def pack(folder: Path) -> bytes:
    """A run folder as a compressed archive without owner, times and absolute names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=3) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = tarfile.TarInfo(str(path.relative_to(folder)))
                entry.size = path.stat().st_size
                with open(path, "rb") as handle:
                    archive.addfile(entry, handle)
    return buffer.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Write a packed run folder to ``folder``; names that leave it are refused."""
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")
