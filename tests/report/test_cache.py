"""The cache: unchanged work is not repeated, changed work is, and the changed input is named."""

import shutil
from pathlib import Path

import pytest

from lab import source
from lab.report.notebook import execution
from lab.report.runs import run as runs
from lab.report.runs.run import answering, execute, plan
from lab.report.store import cache, provenance
from lab.report.store.comparison import diff, rerun
from lab.report.store.layout import Store
from lab.source import loaded_by, modules_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project of its own with the same report machinery: two modules, of which a notebook imports one."""
    root = tmp_path / "project"
    root.mkdir()
    shutil.copytree(ROOT / "lab" / "report", root / "lab" / "report", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "lab" / "claims", root / "lab" / "claims", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "checks.py", "source.py"):
        shutil.copy(ROOT / "lab" / name, root / "lab" / name)
    (root / "requirements.lock").write_text("a==1\n")
    (root / "lab" / "used.py").write_text("from lab import deeper\ndef value():\n    return deeper.VALUE\n")
    (root / "lab" / "deeper.py").write_text("VALUE = 1\n")
    (root / "lab" / "unused.py").write_text("VALUE = 1\n")
    for module in (source, cache, provenance, runs, execution):
        monkeypatch.setattr(module, "project_root", lambda: root)
    monkeypatch.setenv("PYTHONPATH", str(root))
    source._used_by.cache_clear()
    yield root
    source._used_by.cache_clear()


def ask(project):
    """``(reused, metrics, changes)`` of the project's notebook."""
    store = Store(project / "data")
    wanted = plan(project / "study.ipynb")
    known = store.all()
    changes = cache.changes(known[0], wanted.definition) if known else None
    reused = answering(wanted, store) is not None
    run = execute(wanted, store=store)
    assert run.ok
    return reused, run.metrics, changes


def test_only_what_can_be_affected_is_run_again(project, notebook):
    notebook(
        "n: int = 0",
        "import lab.report\nfrom lab.used import value\nlab.report.record('value', value())",
        folder=project,
    )
    assert ask(project) == (False, {"value": 1}, None)
    assert ask(project)[0]
    (project / "lab" / "unused.py").write_text("VALUE = 2\n")
    assert ask(project)[0]
    (project / "lab" / "deeper.py").write_text("VALUE = 2\n")
    assert ask(project) == (False, {"value": 2}, ["module lab.deeper changed"])
    (project / "requirements.lock").write_text("a==2\n")
    reused, _, changes = ask(project)
    assert not reused
    assert "lock was" in changes[0]


def test_a_module_imported_under_a_computed_name_counts(project, notebook):
    source = (
        "import importlib, lab.report\nname = 'unus' + 'ed'\nlab.report.record('value', importlib.import_module('lab.' "
        "+ name).VALUE)"
    )
    notebook("n: int = 0", source, folder=project)
    assert ask(project)[1] == {"value": 1}
    (project / "lab" / "unused.py").write_text("VALUE = 5\n")
    assert ask(project) == (False, {"value": 5}, ["module lab.unused changed"])


def test_a_module_that_changes_while_the_notebook_runs_never_answers_for_it(project, notebook):
    path = project / "lab" / "deeper.py"
    source = (
        f"from lab.used import value\nimport lab.report\nlab.report.record('value', value())\nopen({str(path)!r}, "
        "'w').write('VALUE = 7\\n')"
    )
    notebook("n: int = 0", source, folder=project)
    assert ask(project)[1] == {"value": 1}
    reused, metrics, changes = ask(project)
    assert (reused, metrics) == (False, {"value": 7})
    assert "module lab.deeper changed" in changes[0]


def test_a_data_file_that_the_notebook_read_counts(notebook, store, tmp_path, monkeypatch):
    import tempfile

    # the folder for temporary files does not count as data, and the tests live in it
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    monkeypatch.setattr(tempfile, "tempdir", None)
    data = tmp_path / "data.csv"
    data.write_text("1")
    wanted = plan(notebook("n: int = 0", f"import lab\nlab.report.record('x', open({str(data)!r}).read())"))
    run = execute(wanted, store=store)
    assert list(run.info["observed"]["data"]) == [str(data)]
    assert answering(wanted, store)
    data.write_text("2")
    assert cache.changes(run, wanted.definition) == ["data file data.csv changed"]
    assert execute(wanted, store=store).metrics == {"x": "2"}


def test_a_failed_run_is_tried_again(notebook, store):
    wanted = plan(notebook("n: int = 0", "1 / n"))
    assert execute(wanted, store=store).status == "failed"
    assert answering(wanted, store) is None


def test_prose_parameters_and_tags_are_part_of_a_run(notebook):
    first = plan(notebook("#: # Title", "n: int = 0"))
    assert plan(notebook("#: # Other", "n: int = 0")).run_id != first.run_id
    assert plan(notebook("#: # Title", "n: int = 0"), {"n": 1}).run_id != first.run_id
    assert plan(notebook("#: # Title", "n: int = 0"), {"n": 0}).run_id == first.run_id


def test_imports_are_followed_without_running_anything():
    found = modules_of("import lab\nlab.report.record('x', 1)\nfrom lab import checks as c")
    assert {"lab.report.store.records", "lab.checks"} <= found
    assert not {"lab", "lab.report", "lab.topology"} & found
    assert modules_of("from lab.report.site import frame") >= {
        "lab.report.site.frame",
        "lab.report.store.redaction",
        "lab.report.store.layout",
    }


def test_names_are_followed_to_the_modules_that_hold_them():
    meco = modules_of("from lab.losses.studies import meco")
    assert {"lab.losses.studies.meco", "lab.losses.meco"} <= meco
    assert any(name.startswith("lab.training") for name in meco)
    assert not {"lab.losses", "lab.losses.groco", "lab.losses.ldr"} & meco
    assert modules_of("import lab\nlab.losses.EnsLoss()") == modules_of("from lab.losses import EnsLoss")
    assert "lab.losses.groco" not in modules_of("import lab\nlab.losses.EnsLoss()")
    assert {"lab.losses.groco", "lab.losses.ldr"} <= modules_of("from lab import losses\ngetattr(losses, 'x' + 'y')")
    assert {"lab.losses.groco", "lab.losses.ldr"} <= modules_of("import lab\nlab.losses.by_name('ldr-kl')")


def test_what_a_package_brings_with_it_is_in_memory_and_answers_for_nothing():
    used = modules_of("from lab.losses import EnsLoss")
    assert "lab.losses.groco" in loaded_by(used) - used
    assert "lab.topology" not in loaded_by(used)


def test_a_run_repeated_gives_the_recorded_values_or_says_what_differs(notebook, store):
    path = notebook("n: int = 2", "import lab\nlab.report.record('square', n * n)")
    run = execute(plan(path), store=store)
    again = rerun(run)
    assert again.exact
    assert not again.changes
    notebook("n: int = 2", "import lab\nlab.report.record('square', n * n + 1)")
    changed = rerun(run)
    assert not changed.exact
    assert [(item.name, item.first, item.second) for item in changed.differences] == [("square (record 1)", 4, 5)]
    assert changed.changes == ["cell 2 of the notebook changed"]


def test_a_run_is_repeated_from_its_own_copy_where_the_notebook_is_gone(notebook, store):
    path = notebook("n: int = 2", "import lab\nlab.report.record('square', n * n)")
    run = execute(plan(path, {"n": 3}), store=store)
    path.unlink()
    assert rerun(run).exact


def test_two_runs_differ_in_what_was_asked_and_found(notebook, store):
    path = notebook("n: int = 2", "import lab\nlab.report.record('square', n * n)")
    first, second = (execute(plan(path, {"n": n}), store=store) for n in (2, 3))
    assert [(item.group, item.name, item.first, item.second) for item in diff(first, second)] == [
        ("parameters", "n", 2, 3),
        ("metrics", "square", 4, 9),
    ]
