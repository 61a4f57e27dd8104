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
from lab.report.store.layout import Store, StoreError

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


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_parameters_name_travels_to_a_worker_that_has_no_such_files(cluster, tmp_path, notebook, kind):
    own = tmp_path / "own"
    own.mkdir()
    (own / "x.csv").write_text("1,2,3")
    path = notebook(
        "from pathlib import Path\ndata: Path = Path('none')",
        "import lab\nname = data if data.is_file() else next(iter(data.iterdir()))",
        "lab.report.record('sum', sum(map(int, name.read_text().split(','))))\nlab.report.record('parent', str(data.parent))",
    )
    address, _ = cluster
    store = Store(tmp_path / "far")
    wanted = plan(path, {"data": str(own / "x.csv" if kind == "file" else own)})
    # what stands here is moved away once it is planned: a worker that could read it would not find it
    content = executors.files_of(wanted)
    os.rename(own, tmp_path / "elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executors, "files_of", lambda plan: content)
        (run,) = Batch([wanted], store=store).run(executor="dask", scheduler=address)
    assert run.ok, run.error
    assert run.metrics["sum"] == 6 and str(tmp_path / "own") not in run.metrics["parent"]
    assert run.parameters["data"] == wanted.parameters["data"]
    os.rename(tmp_path / "elsewhere", own)
    assert list(Batch([wanted], store=store).reused) == [wanted.run_id]  # by content, also here


def test_a_file_too_large_to_travel_is_refused_in_words_where_it_is_missing(tmp_path, notebook, monkeypatch):
    big = tmp_path / "big.csv"
    big.write_text("1" * 100)
    path = notebook("from pathlib import Path\ndata: Path = Path('none')")
    wanted = plan(path, {"data": str(big)})
    monkeypatch.setattr(executors, "MOST_BYTES", 50)
    assert executors.files_of(wanted) == [("data", b"")]
    big.unlink()
    with pytest.raises(ValueError, match="big.csv of parameter 'data' holds more than"):
        executors.remote(wanted.to_dict(), {}, ("data",), b"")


def test_a_scheduler_that_dies_ends_the_batch_in_words(cluster, tmp_path, notebook, monkeypatch):
    import psutil

    monkeypatch.setattr(executors, "LOST_SECONDS", 2)
    monkeypatch.setattr(executors, "SAY_SECONDS", 0.2)
    address, _ = cluster
    path = notebook("n: int = 3\npause: float = 600.0", SOURCE)
    said = []

    def emit(event):
        said.append(event)
        if event.kind == "started":
            owner = next(
                process
                for process in psutil.process_iter(["cmdline"])
                if {"distributed.cli.dask_scheduler", str(tmp_path / "scheduler.json")}
                <= {*(process.info["cmdline"] or ())}
            )
            owner.kill()

    with pytest.raises(StoreError, match="no longer answers; what was finished is kept"):
        Batch([plan(path)], store=Store(tmp_path / "far")).run(executor="dask", scheduler=address, emit=emit)
    assert any(event.kind == "waiting" for event in said)
