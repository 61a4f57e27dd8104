"""Where the driver of a run works: in this process, in a process of its own, or on a Dask cluster. Same runs, same store.

A Dask worker needs no disk in common with the caller: the plan carries the notebook, what its parameters name travels by
content, once to each worker, and the run folder comes back as bytes.
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
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lab.report.events import Control, Event
from lab.report.runs.run import Limits, Plan, answering, execute, unsaid
from lab.report.store.cache import content_hash
from lab.report.store.layout import Run, Store, StoreError, writing

Executor = Callable[..., Run]
NAMES = ("local", "process", "dask")
CONNECT_SECONDS = 60
LOST_SECONDS = 60  # a scheduler that does not answer for so long is given up
SAY_SECONDS = 30
MOST_BYTES = 2**28  # that the files named by the parameters of a run may hold to travel to a worker


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
            carried = files_of(plan)
            emit(Event("started", plan.run_id))
            future = self.client.submit(
                remote,
                plan.to_dict(),
                asdict(limits),
                tuple(name for name, _ in carried),
                # the same content has the same key: it travels to a worker once
                *(self.client.scatter(packed, hash=True) for _, packed in carried),
                key=f"{plan.run_id}-{os.urandom(4).hex()}",
                pure=False,
                retries=3,
            )
            gone = threading.Event()

            def stop():
                gone.set()  # to cancel takes a scheduler that answers: nobody waits for that
                threading.Thread(target=future.cancel, kwargs={"force": True}, daemon=True).start()

            control.attach(stop)
            packed = _result(future, gone, self.client, lambda text: emit(Event("waiting", plan.run_id, text=text)))
            if packed is None:
                raise InterruptedError(f"run {plan.run_id} was cancelled")
            with store.work(plan.run_id) as folder:
                unpack(packed, folder)
                _said_here(folder / "run.json", plan)
                return store.publish(folder, plan.run_id)


def _result(future, gone, client, say):
    """What the future brings, ``None`` if it was cancelled; says every half minute what is waited for.

    Raises:
        StoreError: the scheduler has not answered for a minute.
    """
    from concurrent.futures import CancelledError

    from distributed import TimeoutError as WaitTimeout

    answered = said = time.monotonic()
    while not gone.is_set():
        try:
            return future.result(timeout=0.5)
        except (WaitTimeout, TimeoutError):
            pass
        except CancelledError:
            if client.status == "running":
                return None
        now = time.monotonic()
        if client.status == "running":
            answered = now
        elif client.status == "closed" or now - answered > LOST_SECONDS:
            raise StoreError(
                "the Dask scheduler no longer answers; what was finished is kept, and the same command resumes from there"
            )
        if now - said > SAY_SECONDS:
            said = now
            say(_waited_for(client))
        if future.status != "pending":
            time.sleep(0.5)
    return None


def _waited_for(client):
    if client.status != "running":
        return "the Dask scheduler does not answer: waiting for it"
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return (
        f"running on {len(workers)} Dask workers" if workers else "the Dask scheduler has no workers: waiting for one"
    )


def files_of(plan: Plan) -> list[tuple[str, bytes]]:
    """The files and folders that the parameters of ``plan`` name, packed; empty bytes for what is too large to travel."""
    found, total = [], 0
    for name in plan.definition["files"]:
        path = Path(plan.parameters[name])
        inside = [path] if path.is_file() else [item for item in path.rglob("*") if item.is_file()]
        size = sum(item.stat().st_size for item in inside)
        total += size
        found.append((name, b"" if total > MOST_BYTES else pack(path.parent, inside)))
    return found


def remote(plan: dict, limits: dict, names: tuple[str, ...] = (), *packed: bytes) -> bytes:
    """Execute a plan in a private store on a worker and return the run folder, packed.

    ``packed`` are the files that the parameters ``names`` hold; those that the worker has with the same content stay.

    Raises:
        ValueError: a file that was too large to travel is not on the worker.
    """
    with tempfile.TemporaryDirectory(prefix="lab-remote-") as folder:
        inputs = Path(folder).resolve() / "inputs"
        here = Plan(**plan)
        for name, content in zip(names, packed):
            path = Path(here.parameters[name])
            if path.exists() and content_hash(path) == here.definition["files"][name]:
                continue
            if not content:
                raise ValueError(
                    f"{path.name} of parameter {name!r} holds more than {MOST_BYTES // 2**20} MiB and is not on the worker: "
                    "put it on a disk that the workers share"
                )
            unpack(content, inputs / name)
            local = {name: str(inputs / name / path.name)}
            here = replace(here, parameters={**here.parameters, **local}, given={**here.given, **local})
        run = execute(here, store=Store(Path(folder) / "store"), limits=Limits(**limits))
        _without(run.folder / "run.json", str(inputs))
        return pack(run.folder)


def _without(path, inputs):
    """What was read below ``inputs`` counts as the files of parameters do, by their content."""
    info = json.loads(path.read_text(encoding="utf-8"))
    seen = info["observed"]
    seen["data"] = {name: value for name, value in seen["data"].items() if not name.startswith(inputs)}
    seen["folders"] = {name: value for name, value in seen["folders"].items() if not name.startswith(inputs)}
    seen["patterns"] = [
        search for search in seen["patterns"] if not any(str(part).startswith(inputs) for part in search)
    ]
    path.write_text(json.dumps(info, indent=1, ensure_ascii=False), encoding="utf-8")


def _said_here(path, plan):
    """The parameters as the caller gave them, not as they were called on the worker."""
    info = json.loads(path.read_text(encoding="utf-8"))
    info.update(parameters=unsaid(plan.parameters), given=unsaid(plan.given))
    path.write_text(json.dumps(info, indent=1, ensure_ascii=False), encoding="utf-8")


def pack(folder: Path, files: Sequence[Path] | None = None) -> bytes:
    """A folder, or some files of it, as a compressed archive without owner, times and absolute names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=3) as archive:
        for path in sorted(folder.rglob("*") if files is None else files):
            if path.is_file():
                entry = tarfile.TarInfo(str(path.relative_to(folder)))
                entry.size = path.stat().st_size
                with open(path, "rb") as handle:
                    archive.addfile(entry, handle)
    return buffer.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Write a packed folder to ``folder``; names that leave it are refused."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        archive.extractall(folder, filter="data")
