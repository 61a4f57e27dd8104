"""The same runs from a process of its own and from a Dask cluster, one worker of which is killed in the middle."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lab.report.runs import executors
from lab.report.runs.batch import Batch
from lab.report.runs.run import plan
from lab.report.store.layout import StoreError

SOURCE = """
import lab, time
lab.report.record('square', n * n)
time.sleep(pause)
print('done', n)
"""


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two worker processes with nothing in common but the network: ``(address, workers)``."""
    module = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
    ]
    file = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    scheduler = subprocess.Popen([*module, "--scheduler-file", str(file)], **quiet)
    worker = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        "--scheduler-file",
        str(file),
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
    ]
    workers = [
        subprocess.Popen([*worker, "--local-directory", str(tmp_path / f"worker-{number}")], **quiet)
        for number in range(2)
    ]
    try:
        import json

        deadline = time.monotonic() + 150
        while not (file.exists() and file.read_text().strip().endswith("}")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=150)
        yield address, workers
    finally:
        for process in (*workers, scheduler):
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            process.wait()


def outputs(run):
    return run.records, run.content()["cells"][-1]["outputs"], run.status


def test_process_and_cluster_give_the_runs_of_the_local_executor(notebook, store, tmp_path, cluster):
    from lab.report.store.layout import Store

    path = notebook("n: int = 0\npause: float = 0.0", SOURCE)
    local = Batch([plan(path, {"n": n}) for n in range(2)], store=store).run(jobs=2)
    process = Batch([plan(path, {"n": n}) for n in range(2)], store=Store(tmp_path / "process")).run(
        jobs=2, executor="process"
    )
    address, workers = cluster
    far = Store(tmp_path / "far")
    dask = Batch([plan(path, {"n": n}) for n in range(2)], store=far).run(executor="dask", scheduler=address)
    assert [run.id for run in local] == [run.id for run in process] == [run.id for run in dask]
    assert [outputs(run) for run in local] == [outputs(run) for run in process] == [outputs(run) for run in dask]
    assert far.ids() == store.ids()

    killed = []

    def kill_one(event):
        if event.kind == "finished" and not killed:
            killed.append(workers[0].pid)
            workers[0].kill()

    batch = Batch([plan(path, {"n": n, "pause": 0.5}) for n in range(3)], store=far)
    runs = batch.run(executor="dask", scheduler=address, emit=kill_one)
    assert killed
    assert [run.metrics for run in runs] == [{"square": n * n} for n in range(3)]
    assert all(run.ok for run in runs)


def test_a_scheduler_that_is_not_there_is_said(notebook, store, monkeypatch):
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.5)
    path = notebook("n: int = 0\npause: float = 0.0", SOURCE)
    with pytest.raises(StoreError, match="does not answer"):
        Batch([plan(path)], store=store).run(executor="dask", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ValueError, match="scheduler is for the executor 'dask'"):
        Batch([plan(path)], store=store).run(scheduler="tcp://127.0.0.1:9")


def test_a_packed_run_cannot_leave_its_folder(tmp_path):
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../outside"), io.BytesIO(b""))
    with pytest.raises(tarfile.FilterError):
        executors.unpack(buffer.getvalue(), tmp_path / "run")
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "a.txt").write_text("x")
    executors.unpack(executors.pack(tmp_path / "run"), tmp_path / "copy")
    assert (tmp_path / "copy" / "a.txt").read_text() == "x"
