"""Sweeps: which runs they ask for, what they refuse, and what their page and the index say."""

import json

import pytest

from lab.report import site
from lab.report.notebook.parameters import ParameterError
from lab.report.runs import sweeps
from lab.report.runs.batch import Batch
from lab.report.runs.run import execute, plan
from lab.report.store import database
from lab.report.store.garbage import delete, garbage
from lab.report.store.layout import Store, StoreError


@pytest.fixture
def path(notebook):
    return notebook(
        "#: # Lines\n\nWhat grows?",
        "n: int = 1  # 0..99\nrate: float = 1.0\nkind: str = 'a'\nseed: int = 0",
        "import lab\nlab.report.record('value', n * rate + 0.1 * seed, unit='m')",
    )


def points(path, **spec):
    return [dict(point) for point in sweeps.from_mapping({"notebook": str(path), **spec}).points]


def test_grid_zip_list_and_seeds_multiply(path):
    found = points(path, parameters={"kind": "b"}, grid={"n": [1, 2]}, zip={"rate": [0.5, 1.5]}, seeds=2)
    assert len(found) == 8
    assert found[0] == {"kind": "b", "n": 1, "rate": 0.5, "seed": 0}
    assert points(path, list=[{"n": 1}, {"n": 2, "kind": "c"}]) == [{"n": 1}, {"n": 2, "kind": "c"}]
    assert [point["n"] for point in points(path, grid={"n": {"from": 0, "to": 10, "steps": 3}})] == [0, 5, 10]
    assert [point["rate"] for point in points(path, grid={"rate": {"from": 0.1, "to": 0.5, "steps": 5}})] == [
        *(0.1, 0.2, 0.3, 0.4, 0.5)
    ]
    logarithmic = [
        point["rate"] for point in points(path, grid={"rate": {"from": 0.01, "to": 1, "steps": 3, "log": True}})
    ]
    assert logarithmic == pytest.approx([0.01, 0.1, 1])


def test_random_draws_are_the_same_for_the_same_seed(path):
    spec = {
        "samples": 5,
        "seed": 3,
        "draw": {"rate": {"from": 0.1, "to": 1, "log": True}, "n": {"from": 1, "to": 9}, "kind": ["a", "b"]},
    }
    first = points(path, random=spec)
    assert first == points(path, random=spec)
    assert first != points(path, random={**spec, "seed": 4})
    assert all(0.1 <= point["rate"] <= 1 and isinstance(point["n"], int) for point in first)


@pytest.mark.parametrize(
    "spec, words",
    [
        ({"gird": {}}, "no key 'gird'; did you mean 'grid'"),
        ({"grid": {"m": [1]}}, "no parameter 'm'"),
        ({"grid": {"n": [1, 100]}}, "from 0 to 99, got 100"),
        ({"grid": {"n": 5}}, "must be a list"),
        ({"zip": {"n": [1, 2], "rate": [1]}}, "lists of one length, got n: 2, rate: 1"),
        ({"grid": {"n": [1]}, "zip": {"n": [2]}}, "'n' stands in two parts"),
        ({"random": {"samples": 3}}, "random needs draw"),
        ({"grid": {"rate": {"from": 0, "to": 1, "steps": 3, "log": True}}}, "needs positive ends"),
    ],
)
def test_a_wrong_sweep_is_refused_before_anything_starts(path, spec, words):
    with pytest.raises((ValueError, ParameterError)) as refusal:
        sweeps.from_mapping({"notebook": str(path), **spec})
    assert words in str(refusal.value)


def test_a_sweep_of_a_plain_papermill_notebook(notebook):
    path = notebook("alpha = 0.1\nname = 'x'", "print(alpha)")
    sweep = sweeps.from_mapping({"notebook": str(path), "grid": {"alpha": ["0.5", "1"]}}, text=True)
    assert [plan.parameters for plan in sweep.plans()] == [{"alpha": 0.5, "name": "x"}, {"alpha": 1, "name": "x"}]


def test_a_finished_sweep_is_compared_indexed_and_protected(path, tmp_path):
    store = Store(tmp_path / "data")
    (tmp_path / "sweep.yaml").write_text("notebook: study.ipynb\ngrid: {n: [1, 2]}\nseeds: 2\n")
    sweep = sweeps.from_file(tmp_path / "sweep.yaml")
    plans = sweep.plans(warm=False)
    assert sweeps.estimate(plans, store, 2) == (None, 4)
    runs = Batch(plans, store=store).run(jobs=2)
    sweeps.remember(sweep, plans, store)
    assert sweeps.estimate(plans, store, 2) == (0.0, 0)
    assert len(Batch(sweep.plans(warm=False), store=store).reused) == 4

    statistics = database.seed_statistics(store, "value", ["n"])
    assert [(entry["at"], entry["count"]) for entry in statistics] == [({"n": "1"}, 2), ({"n": "2"}, 2)]
    assert statistics[0]["mean"] == pytest.approx(1.05)
    # two seeds 0.1 apart: standard error 0.05, Student quantile 12.706
    assert statistics[0]["high"] - statistics[0]["mean"] == pytest.approx(12.706 * 0.05, rel=1e-3)

    page = site.render_sweep(sweep.id[:8], store=store).read_text()
    assert page.count('"type":"parcoords"') == 1
    assert "A sweep of 4 runs over n, seed: 4 succeeded, 0 failed" in page
    stored = json.loads(page.split('id="diff-data">')[1].split("</script>")[0])
    assert {entry["value"] for entry in stored.values()} == {1.0, 1.1, 2.0, 2.1}

    loose = execute(plan(path, {"n": 9}), store=store)
    later = execute(plan(path, {"n": 8}), store=store)
    older = min((loose, later), key=lambda run: store.all().index(run) * -1)
    found = garbage(store)
    assert set(found.runs) == {older.id}
    assert {run.id for run in runs} <= set(found.kept)
    assert delete(found, store) == [older.id]
    assert store.get(older.id) is None
    assert len(store.ids()) == 5
    with pytest.raises(StoreError, match="there is no sweep"):
        sweeps.remembered(store, "nothing")


def test_the_page_of_a_sweep_says_what_went_wrong_where(notebook, tmp_path):
    store = Store(tmp_path / "data")
    path = notebook("n: int = 0", "1 / (n - 1)")
    sweep = sweeps.from_mapping({"notebook": str(path), "grid": {"n": [0, 1]}})
    Batch(plans := sweep.plans(warm=False), store=store).run(jobs=2)
    sweeps.remember(sweep, plans, store)
    page = site.render_sweep(sweep.id, store=store).read_text()
    assert ">n 1</a>: failed in cell 3, ZeroDivisionError: division by zero</li>" in page
    assert page.count("</li>") == 1


def synthetic(store, count):
    """Runs as a driver leaves them, without executing anything."""
    for number in range(count):
        folder = store.runs / f"study-{number:06d}"
        (folder / "figures").mkdir(parents=True)
        info = {
            "schema": 1, "id": folder.name, "notebook": "notebooks/a/study.ipynb", "title": "Study",
            "question": "", "status": "ok", "error": None,
            "parameters": {"n": number % 10, "seed": number // 10}, "given": {"n": number % 10, "seed": number // 10},
            "sweep": "",
            "started": f"2026-01-01T00:{number % 60:02d}:00+00:00", "seconds": 1.0, "cpu_seconds": 1.0,
            "peak_memory": 1, "kernel": "warm", "definition": {"cells": []},
            "observed": {"modules": {}, "packages": {}, "data": {}},
            "provenance": {"git": {}, "lock": "", "device": "cpu", "python": "3.11", "threads": 1, "system": "Linux", "cores": 2},
        }  # fmt: skip
        (folder / "run.json").write_text(json.dumps(info))
        (folder / "notebook.ipynb").write_text('{"cells": [], "metadata": {}}')
        (folder / "records.jsonl").write_text(
            json.dumps({"kind": "metric", "name": "value", "value": number / 7, "unit": ""}) + "\n"
        )


def test_the_index_follows_the_store(store):
    synthetic(store, 30)
    assert database.query("select count(*), sum(value) from metrics", store)[1] == [
        (30, pytest.approx(sum(range(30)) / 7))
    ]
    import shutil

    shutil.rmtree(store.runs / "study-000029")
    assert database.query("select count(*) from runs", store)[1] == [(29,)]
    names, rows = database.query("select p_n, avg(m_value) from wide group by p_n order by p_n", store)
    assert len(rows) == 10
    with pytest.raises(ValueError, match="the query failed"):
        database.query("select nonsense from nowhere", store)
    page = site.render(store=store).parent / "runs.html"
    assert page.read_text().count('"id":"study-') == 29
