"""Runs: what a good one leaves behind, and that each kind of bad one is told apart and keeps what it had."""

import json
import threading
import time

import pytest

from lab.report import submit
from lab.report.notebook.parameters import ParameterError
from lab.report.runs.batch import Batch
from lab.report.runs.run import Limits, execute, plan
from lab.report.store.layout import Run, StoreError
from lab.report.store.records import recorded


def test_a_run_leaves_one_whole_folder(notebook, store):
    path = notebook(
        "#: # Squares\n\nDo squares grow?",
        "n: int = 3  # 1..9",
        "import lab\nprint('said')\nlab.report.record('square', n**2, unit='m')\nlab.report.record('nan', float('nan'))\n",
        """
        from IPython.display import display
        display({"application/vnd.plotly.v1+json": {"data": [{"type": "bar", "y": [n]}], "layout": {}}}, raw=True)
        """,
    )
    run = execute(plan(path, {"n": 4}), store=store)
    assert run.ok
    assert run.error is None
    assert run.metrics == {"square": 16, "nan": "NaN"}
    assert (run.title, run.info["question"], run.parameters, run.info["given"]) == (
        "Squares",
        "Do squares grow?",
        {"n": 4},
        {"n": 4},
    )
    assert sorted(item.name for item in run.folder.iterdir()) == [
        "figures",
        "log.txt",
        "notebook.ipynb",
        "records.jsonl",
        "run.json",
    ]
    (figure,) = run.figures()
    assert json.loads(figure.read_text())["data"][0]["y"] == [4]
    cells = run.content()["cells"]
    assert cells[2]["metadata"]["tags"] == ["injected-parameters"]
    assert cells[2]["source"] == "# Parameters\nn = 4\n"
    assert run.info["peak_memory"] > 10 * 2**20
    assert "lab.report.store.records" in run.info["observed"]["modules"]
    assert run.info["observed"]["complete"]
    assert run.info["provenance"]["threads"] >= 1
    assert store.ids() == [run.id]
    assert not list((store.runs / ".work").iterdir())


def test_a_bad_parameter_is_refused_before_anything_starts(notebook, store):
    path = notebook("n: int = 3  # 1..9")
    with pytest.raises(ParameterError, match="from 1 to 9, got 10"):
        submit(path, {"n": 10}, store=store)
    assert not store.data.exists()


def test_a_failing_cell_keeps_what_came_before_it(notebook, store):
    path = notebook(
        "n: int = 0", "import lab\nlab.report.record('before', 1)\nprint('printed')", "1 / n", "print('never')"
    )
    run = execute(plan(path), store=store)
    assert run.status == "failed"
    assert (run.error["cell"], run.error["name"], run.error["source"]) == (3, "ZeroDivisionError", "1 / n")
    assert "division by zero" in run.error["traceback"]
    assert "\x1b" not in run.error["traceback"]
    assert run.metrics == {"before": 1}
    cells = run.content()["cells"]
    assert cells[1]["outputs"][0]["text"] == "printed\n"
    assert cells[3]["outputs"] == []


@pytest.mark.parametrize(
    "source, limits, status, words",
    [
        ("import time; time.sleep(60)", {"cell_timeout": 1.0}, "timeout", "the cell took longer than its limit of 1 s"),
        ("import time; time.sleep(60)", {"timeout": 1.5}, "timeout", "the run took longer than its limit of 1.5 s"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", {}, "kernel died", "the kernel process ended"),
        ("import os; os._exit(3)", {}, "kernel died", "the kernel process ended"),
        (
            "x = bytearray(400 * 2**20)\nimport time; time.sleep(60)",
            {"memory": 300 * 2**20},
            "out of memory",
            "limit of 300 MiB",
        ),
        ("raise MemoryError('too much')", {}, "out of memory", "too much"),
    ],
)
def test_hung_killed_and_greedy_notebooks_are_told_apart(notebook, store, source, limits, status, words):
    path = notebook("n: int = 0", "import lab\nlab.report.record('before', 1)", source)
    run = execute(plan(path), store=store, limits=Limits.of(**limits))
    assert run.status == status
    assert words in run.error["message"]
    assert run.error["cell"] == 3
    assert run.metrics == {"before": 1}
    assert run.info["observed"]["complete"] == (source.startswith("raise"))


def test_bad_notebooks_do_not_stop_the_others(notebook, store):
    path = notebook(
        "n: int = 0",
        """
        import lab, os
        lab.report.record('n', n)
        if n == 1:
            raise ValueError('one')
        if n == 2:
            os._exit(9)
        """,
    )
    runs = Batch([plan(path, {"n": value}) for value in range(4)], store=store).run(jobs=2)
    assert [run.status for run in runs] == ["ok", "failed", "kernel died", "ok"]
    assert [run.metrics for run in runs] == [{"n": value} for value in range(4)]


def test_events_come_by_cell_and_every_consumer_sees_them_all(notebook, store):
    job = submit(notebook("n: int = 0", "print('one')", "x = 2"), store=store)
    run = job.result(timeout=150)
    events = list(job.events())
    assert [event.kind for event in events] == ["queued", "started", "cell", "cell", "output", "cell", "finished"]
    assert [event.cell for event in events if event.kind == "cell"] == [1, 2, 3]
    assert [event.text for event in events if event.kind == "output"] == ["one\n"]
    assert list(job.events()) == events
    assert (job.status, events[-1].fraction, events[-1].text) == ("ok", 1.0, "ok")
    assert isinstance(run, Run)


@pytest.mark.parametrize("executor", ["local", "process"])
def test_a_cancelled_job_ends_at_once_and_keeps_its_output(notebook, store, executor):
    path = notebook(
        "n: int = 0", "import lab\nlab.report.record('before', 1)\nprint('on')", "import time; time.sleep(600)"
    )
    submitted = time.monotonic()
    job = submit(path, store=store, executor=executor)
    for event in job.events(timeout=150):
        if event.kind == "cell" and event.cell == 3:
            break
    asked = time.monotonic()
    assert job.cancel()
    run = job.result(timeout=120)
    # at once, on the scale of how long this machine now takes to start a kernel
    assert time.monotonic() - asked < 10 + 2 * (asked - submitted)
    assert run.status == "cancelled"
    assert run.metrics == {"before": 1}
    assert not job.cancel()


def test_two_drivers_of_one_store_execute_a_run_once(notebook, store, tmp_path):
    path = notebook("n: int = 0", f"open({str(tmp_path / 'count')!r}, 'a').write('x')\nimport time; time.sleep(1)")
    wanted, found = plan(path), []
    drivers = [threading.Thread(target=lambda: found.append(execute(wanted, store=store))) for _ in range(2)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert (tmp_path / "count").read_text() == "x"
    assert [run.id for run in found] == [wanted.run_id] * 2


def test_a_driver_leaves_what_another_is_at_for_the_end(notebook, store):
    path = notebook("n: int = 0", "import lab\nlab.report.record('n', n)")
    plans, order = [plan(path, {"n": n}) for n in range(3)], []

    def finished(event):
        if event.kind == "finished":
            order.append(event.run_id)
            if len(order) == 2:
                release.set()

    release, held = threading.Event(), threading.Event()

    def other_driver():
        with store.lock(plans[0].run_id):
            held.set()
            release.wait(240)

    store.prepare()
    thread = threading.Thread(target=other_driver)
    thread.start()
    held.wait()
    runs = Batch(plans, store=store).run(jobs=1, emit=finished)
    thread.join()
    assert order == [plans[1].run_id, plans[2].run_id, plans[0].run_id]
    assert [run.metrics for run in runs] == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_a_store_that_cannot_be_written_is_refused_in_words(notebook, tmp_path, store):
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot be written.*LAB_DATA"):
        execute(plan(notebook("n: int = 0")), store=store)


def test_a_path_parameter_counts_by_content(notebook, tmp_path):
    path = notebook("from pathlib import Path\ndata: Path = Path('none')")
    data = tmp_path / "x.csv"
    data.write_text("1")
    first = plan(path, {"data": str(data)})
    (tmp_path / "y.csv").write_text("1")
    assert plan(path, {"data": str(tmp_path / "y.csv")}).run_id == first.run_id
    data.write_text("2")
    assert plan(path, {"data": str(data)}).run_id != first.run_id


def test_half_a_record_is_left_out(tmp_path):
    (tmp_path / "records.jsonl").write_text('{"kind": "metric", "name": "a", "value": 1}\n{"kind": "metr')
    with pytest.warns(UserWarning, match="line 2 of records.jsonl"):
        assert recorded(tmp_path) == [{"kind": "metric", "name": "a", "value": 1}]
