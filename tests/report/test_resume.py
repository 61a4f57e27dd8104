"""A driver that is killed: nothing lost, nothing doubled, nothing half-written, and the same command goes on."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from lab.report.runs.batch import Batch
from lab.report.runs.run import plan
from lab.report.store.layout import Store

SOURCE = """
import lab, os, time
lab.report.record('begin', n)
time.sleep(0.05)
lab.report.record('square', n * n)
print('done', n)
"""
DRIVER = """
import sys
from lab.report.runs.batch import Batch
from lab.report.runs.run import plan
from lab.report.store.layout import Store
batch = Batch([plan(sys.argv[1], {"n": n}, warm=False) for n in range(int(sys.argv[3]))], store=Store(sys.argv[2]))
print("ready", flush=True)
batch.run(jobs=2, emit=lambda event: print(event.kind, flush=True) if event.kind == "finished" else None)
"""


def whole(store):
    """Every run in the store, each checked to be whole; nothing else lies beside them."""
    found = {}
    for run_id in store.ids():
        run = store.get(run_id)
        assert run is not None, run_id
        assert sorted(path.name for path in run.folder.iterdir()) == [
            "figures",
            "log.txt",
            "notebook.ipynb",
            "records.jsonl",
            "run.json",
        ]
        json.loads((run.folder / "notebook.ipynb").read_text())
        assert run.ok
        found[run_id] = (run.parameters["n"], (run.folder / "records.jsonl").read_bytes())
    return found


def test_a_sweep_whose_driver_is_killed_again_and_again_ends_as_an_undisturbed_one(notebook, tmp_path):
    path, count = notebook("n: int = 0", SOURCE), 6
    calm = Store(tmp_path / "calm")
    Batch([plan(path, {"n": n}, warm=False) for n in range(count)], store=calm).run(jobs=2)
    wanted = whole(calm)
    assert len(wanted) == count

    disturbed, generator, kills = Store(tmp_path / "disturbed"), random.Random(0), 0
    command = [sys.executable, "-c", DRIVER, str(path), str(disturbed.data), str(count)]
    while kills < 4:
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert driver.stdout.readline() == "ready\n"
        # one kill while the kernels start, one on a finished run, the others anywhere
        if kills % 2:
            driver.stdout.readline()
        else:
            time.sleep(generator.uniform(0.5, 2.5))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        driver.stdout.close()
        kills += 1
        found = whole(disturbed)
        assert found == {run_id: wanted[run_id] for run_id in found}
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert whole(disturbed) == wanted
    assert not list((disturbed.runs / ".work").iterdir())


def test_kernels_end_with_their_driver(notebook, tmp_path):
    path = notebook(
        "n: int = 0",
        f"import os, time\nopen({str(tmp_path / 'pid')!r} + str(n), 'w').write(str(os.getpid()))\ntime.sleep(60)",
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(path), str(tmp_path / "data"), "2"], stdout=subprocess.PIPE, text=True
    )
    files = [tmp_path / f"pid{n}" for n in range(2)]
    wait_for(lambda: all(file.exists() and file.read_text() for file in files))
    driver.kill()
    driver.wait()
    driver.stdout.close()
    for file in files:
        wait_for(lambda file=file: not alive(int(file.read_text())))


def test_a_new_run_replaces_the_old_one_in_one_step(notebook, store):
    from lab.report.runs.run import execute

    wanted = plan(notebook("n: int = 0", "import lab, os\nlab.report.record('pid', os.getpid())"))
    first = execute(wanted, store=store).metrics["pid"]
    second = execute(wanted, store=store, force=True).metrics["pid"]
    assert first != second
    assert store.ids() == [wanted.run_id]
    assert not list((store.runs / ".work").iterdir())


@pytest.mark.parametrize("owner_lives", [True, False])
def test_leftovers_are_removed_only_when_their_driver_is_gone(store, owner_lives):
    store.prepare()
    with store.lock("study-1") as held:
        assert held
        with store.work("study-1") as folder:
            if not owner_lives:
                kept = folder.with_name("study-2.1.dead")
                folder.rename(kept)
            assert store.sweep_leftovers() == (0 if owner_lives else 1)
            assert folder.exists() == owner_lives


def wait_for(condition, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as handle:
        return handle.read().split(")")[1].split()[0] != "Z"
