"""How fast notebooks become reports: against plain papermill, and against the targets of the store, the index and the site.

Against papermill: wall time on two cores, since overlapping runs is the point; papermill is measured before and after and the
faster of the two readings counts. Outputs are compared before anything is timed. Rows that say so are processor time.
"""

import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from lab.kernels import timing
from lab.report import site, submit
from lab.report.runs.batch import Batch
from lab.report.runs.run import plan
from lab.report.store import database
from lab.report.store.layout import Store
from tests.bench.frame import Row, write

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

CELLS = (
    "n: int = 0\nseconds: float = 0.0",
    "import numpy as np, pandas as pd, torch\nimport plotly.graph_objects as go\nimport lab",
    "import time\nbegan = time.process_time()\nwhile time.process_time() - began < seconds:\n    pass",
    "x = np.linspace(0, 9, 200)\ngo.Figure(go.Scatter(x=x, y=np.sin(n * x)))",
    "go.Figure(go.Heatmap(z=np.outer(x[:50], x[:50]) + n))",
    "lab.report.record('energy', float((torch.sin(n * torch.tensor(x)) ** 2).mean()))\npd.DataFrame({'x': x[:5]})",
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Equal thread counts on both sides."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = {name: os.environ.get(name) for name in (*names, "PLOTLY_RENDERER")}
    os.environ.update(dict.fromkeys(names, "1"), PLOTLY_RENDERER="plotly_mimetype")
    yield
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def study(tmp_path):
    """A small report: imports, two figures, a table, a metric, and ``seconds`` of computing."""
    cells = []
    for number, source in enumerate(CELLS):
        metadata = {} if number else {"tags": ["parameters"]}
        cells.append(
            {
                "cell_type": "code",
                "id": str(number),
                "metadata": metadata,
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
        )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = tmp_path / "study.ipynb"
    path.write_text(
        json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


def row(case, peer, ours, theirs, target, floor=0.0, low=None, high=None, difference=0.0):
    found = theirs / ours
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("papermill", "nbclient", "ipykernel", "plotly", "duckdb")
    )
    ends = (found if low is None else low, found if high is None else high)
    return Row(
        case,
        peer,
        1e3 * ours,
        1e3 * theirs,
        found,
        *ends,
        difference,
        target,
        floor,
        versions,
        timing.machine(),
        datetime.date.today().isoformat(),
    )


def outputs(cells):
    """All outputs with texts in one piece: figures and tables as they stand in the file."""
    found = []
    for cell in cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            found.append({kind: "".join(value) if isinstance(value, list) else value for kind, value in data.items()})
    return json.dumps(found, sort_keys=True)


def serial_papermill(study, folder, count, seconds):
    """Plain papermill, one notebook after the other: wall seconds a notebook and the outputs."""
    import papermill

    folder.mkdir(exist_ok=True)
    began, found = time.perf_counter(), []
    for n in range(count):
        out = folder / f"{n}.ipynb"
        papermill.execute_notebook(str(study), str(out), {"n": n, "seconds": seconds}, progress_bar=False)
    elapsed = (time.perf_counter() - began) / count
    for n in range(count):
        found.append(outputs(json.loads((folder / f"{n}.ipynb").read_text())["cells"]))
    return elapsed, found


def batch(study, folder, count, seconds, warm):
    """The lab's batch on two cores, its start included: wall seconds a notebook and the outputs."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    runs = Batch([plan(study, {"n": n, "seconds": seconds}, warm=warm) for n in range(count)], store=Store(folder)).run(
        jobs=2
    )
    elapsed = (time.perf_counter() - began) / count
    assert all(run.ok for run in runs)
    assert {run.info["kernel"] for run in runs} == {"warm" if warm else "cold"}
    return elapsed, [outputs(run.content()["cells"]) for run in runs]


@pytest.mark.parametrize(
    "seconds, count, peers, target, floor",
    [(0.0, 50, 8, 15.0, 12.0), (10.0, 4, 1, 2.0, 1.5), (60.0, 4, 1, 1.8, 1.2)],
    ids=["overhead", "10 s", "60 s"],
)
def test_fifty_small_reports_against_serial_papermill(study, tmp_path, seconds, count, peers, target, floor):
    import papermill  # noqa: F401 - its import is not part of a notebook's time

    label = f"notebooks of {seconds:g} s of computing" if seconds else "small notebooks"
    before, expected = serial_papermill(study, tmp_path / "before", peers, seconds)
    warm, got = batch(study, tmp_path / "warm", count, seconds, warm=True)
    assert got[:peers] == expected[: len(got)]
    cold, got = batch(study, tmp_path / "cold", min(count, 8), seconds, warm=False)
    assert got[:peers] == expected[: len(got)]
    after, _ = serial_papermill(study, tmp_path / "after", peers, seconds)
    peer = min(before, after)
    ends = sorted((before, after))
    found = [
        row(
            f"{count} {label}, warm kernels, a notebook",
            "serial papermill",
            warm,
            peer,
            target,
            floor,
            ends[0] / warm,
            ends[1] / warm,
        ),
        row(
            f"{min(count, 8)} {label}, cold kernels, a notebook",
            "serial papermill",
            cold,
            peer,
            1.5,
            1.0,
            ends[0] / cold,
            ends[1] / cold,
        ),
    ]
    write("report", found)
    print(*found, sep="\n")


def test_an_unchanged_sweep_of_fifty_is_answered_from_the_store(study, tmp_path):
    environment = {**os.environ, "LAB_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-m", "lab", "sweep", str(study), "--grid", "n=" + ",".join(map(str, range(50))), "-q"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    case = "second run of an unchanged sweep of 50, command included (processor time)"
    found = row(case, "target of 2 s", sorted(times)[1], 2.0, 1.0)
    write("report", [found])
    print(found)


def synthetic(store, count):
    """Runs as drivers leave them, without executing anything."""
    for number in range(count):
        folder = store.runs / f"study-{number:06d}"
        (folder / "figures").mkdir(parents=True)
        given = {"n": number % 100, "seed": number // 100}
        info = {
            "schema": 1, "id": folder.name, "notebook": "notebooks/a/study.ipynb", "title": "Study",
            "question": "Why?", "status": "ok", "error": None,
            "parameters": given, "given": given, "sweep": "",
            "started": f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
            "seconds": 1.0, "cpu_seconds": 1.0, "peak_memory": 1, "kernel": "warm", "definition": {"cells": []},
            "observed": {"modules": {}, "packages": {}, "data": {}},
            "provenance": {"git": {}, "lock": "", "device": "cpu", "python": "3.11", "threads": 1, "system": "Linux", "cores": 2},
        }  # fmt: skip
        (folder / "run.json").write_text(json.dumps(info))
        (folder / "notebook.ipynb").write_text('{"cells": [], "metadata": {}}')
        records = [
            {"kind": "metric", "name": name, "value": number / 7 + len(name), "unit": ""}
            for name in ("dice", "loss", "error")
        ]
        (folder / "records.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in records))


def test_ten_thousand_runs_are_queried_and_shown(tmp_path):
    from playwright.sync_api import sync_playwright

    store = Store(tmp_path / "data")
    synthetic(store, 10_000)
    sql = (
        "select p.value, avg(m.value), count(*) from metrics m join parameters p on p.run_id = m.run_id and p.name = 'n' "
        "where m.name = 'dice' group by 1"
    )
    began = time.perf_counter()
    database.query(sql, store)
    first = time.perf_counter() - began
    times = []
    for _ in range(5):
        began = time.process_time()
        _, rows = database.query(sql, store)
        times.append(time.process_time() - began)
    assert len(rows) == 100
    page = site.render(store=store).parent / "runs.html"
    from lab.report.site.export import chromium

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        paints = []
        for _ in range(3):
            tab = browser.new_page()
            tab.goto(f"file://{page}")
            tab.wait_for_function(
                "() => performance.getEntriesByName('first-contentful-paint').length && "
                "document.querySelector('#run-table tbody tr')"
            )
            paints.append(
                tab.evaluate(
                    "() => Math.max(performance.getEntriesByName('first-contentful-paint')[0].startTime, "
                    "performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart)"
                )
                / 1e3
            )
            tab.close()
        browser.close()
    found = [
        row("query over 10,000 runs, index up to date (processor time)", "target of 0.3 s", sorted(times)[2], 0.3, 1.0),
        row("first query over 10,000 new runs, index built", "target of 30 s", first, 30.0, 1.0),
        row("page of 10,000 runs: first paint with rows", "target of 2 s", sorted(paints)[1], 2.0, 1.0),
    ]
    write("report", found)
    print(*found, sep="\n")


def test_cancel_ends_a_job(study, tmp_path):
    times = []
    for number in range(5):
        job = submit(study, {"n": number, "seconds": 60.0}, store=Store(tmp_path / "data"))
        for event in job.events(timeout=120):
            if event.kind == "cell" and event.text == "import time":
                break
        time.sleep(0.3)
        began = time.perf_counter()
        job.cancel()
        run = job.result(timeout=30)
        times.append(time.perf_counter() - began)
        assert run.status == "cancelled"
    found = row("cancel of a running job until its run is stored", "target of 0.5 s", sorted(times)[2], 0.5, 1.0)
    write("report", [found])
    print(found, times)


def sweep_command(study, count):
    return [
        sys.executable,
        "-m",
        "lab",
        "sweep",
        str(study),
        "--grid",
        "n=" + ",".join(map(str, range(count))),
        "--quiet",
    ]


def kept(store):
    """Every run with all that was recorded, drawn and printed; a run that is not whole fails here."""
    found = {}
    for run_id in store.ids():
        run = store.get(run_id)
        assert run is not None
        assert run.ok
        figures = [path.read_bytes() for path in run.figures()]
        found[run_id] = (
            run.parameters,
            (run.folder / "records.jsonl").read_bytes(),
            figures,
            outputs(run.content()["cells"]),
        )
    return found


def test_twenty_kills_lose_double_and_half_write_nothing(study, tmp_path):
    """Whole commands, from their imports to the page of the sweep, are killed at times uniform over an undisturbed one."""
    count, generator = 12, random.Random(1)
    calm = Store(tmp_path / "calm")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    began = time.perf_counter()
    subprocess.run(sweep_command(study, count), env={**os.environ, "LAB_DATA": str(calm.data)}, check=True, **quiet)
    length = time.perf_counter() - began
    wanted = kept(calm)
    assert len(wanted) == count
    kills, finished, at, seen = 0, 0, [], {}
    store = Store(tmp_path / "store-0")
    while kills < 20:
        environment = {**os.environ, "LAB_DATA": str(store.data)}
        driver = subprocess.Popen(sweep_command(study, count), env=environment, **quiet)
        moment = generator.uniform(0, length)
        try:
            driver.wait(moment)
        except subprocess.TimeoutExpired:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            kills += 1
            found = kept(store)
            at.append(f"{moment:.1f} s: {len(found)}")
            assert found == {run_id: wanted[run_id] for run_id in found}
            assert seen.get(store.data, set()) <= set(found)
            seen[store.data] = set(found)
            assert database.query("select count(*), count(distinct id) from runs", store)[1] == [(len(found),) * 2]
            for page in store.data.rglob("reports/**/*.html"):
                assert page.read_text().endswith("</html>\n")
            if len(found) == count:  # the kill hit the end: what follows begins anew
                finished += 1
                store = Store(tmp_path / f"store-{finished}")
        else:
            assert kept(store) == wanted
            finished += 1
            store = Store(tmp_path / f"store-{finished}")
    subprocess.run(sweep_command(study, count), env={**os.environ, "LAB_DATA": str(store.data)}, check=True, **quiet)
    assert kept(store) == wanted
    assert not list((store.runs / ".work").iterdir())
    print(f"{kills} kills over a sweep of {length:.0f} s (moment: runs kept): {', '.join(at)}")


def test_pages_are_small(study, tmp_path):
    store = Store(tmp_path / "data")
    (run,) = Batch([plan(study)], store=store).run()
    page = site.render(runs=[run], store=store).parent / "runs" / f"{run.id}.html"
    data = sum(path.stat().st_size for path in run.figures())
    size = page.stat().st_size - data
    print(
        f"page without data {size / 1024:.0f} KiB, data {data / 1024:.0f} KiB, assets once "
        f"{sum(p.stat().st_size for p in Path(page.parents[1] / 'assets').iterdir()) / 2**20:.1f} MiB"
    )
    assert size < 350_000
