"""What a run reads without Python's knowledge, and what it reads by listing: no stored run answers for other inputs."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import warnings

import pytest

from lab.report import Run
from lab.report.notebook import execution
from lab.report.notebook.parameters import load_notebook
from lab.report.runs.batch import Batch
from lab.report.runs.run import execute, plan
from lab.report.runs.sweeps import from_mapping
from lab.report.store import cache
from lab.report.store.layout import Store, StoreError
from lab.report.store.records import recorded
from lab.report.store.redaction import hide_secrets


def traced(source, folder):
    """What the look into a process notes while ``source`` runs there."""
    lines = "import lab.report.notebook.trace as t\nt.start()\n" + textwrap.dedent(source) + "\nprint(t.finish())"
    done = subprocess.run([sys.executable, "-c", lines], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_files_below_the_temporary_folder_and_databases_are_inputs(tmp_path):
    import sqlite3

    (tmp_path / "a.csv").write_text("1")
    sqlite3.connect(tmp_path / "b.sqlite").execute("create table t(x)").connection.commit()
    found = traced(
        """
        import sqlite3, os
        open("a.csv").read()
        sqlite3.connect("file:b.sqlite?mode=ro", uri=True).execute("select * from t").fetchall()
        """,
        tmp_path,
    )
    assert found["data"] == [str(tmp_path / "a.csv"), str(tmp_path / "b.sqlite")]
    assert found["unseen"] == []


def test_what_a_run_wrote_itself_is_no_input(tmp_path):
    found = traced("open('own.txt', 'w').write('1'); open('own.txt').read()", tmp_path)
    assert found["data"] == []


def test_listed_folders_and_searched_patterns_are_inputs(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(b"")
    found = traced(
        "import os, glob, pathlib; os.listdir('set'); glob.glob('*.csv'); list(pathlib.Path('set').iterdir())", tmp_path
    )
    assert found["folders"] == [str(tmp_path / "set")]
    assert found["patterns"] == [[str(tmp_path), "*.csv", False]]
    seen = cache.observed(found)
    run = Run("r-0", tmp_path, {"status": "ok", "definition": dict.fromkeys(("cells", "kernel"), ""), "observed": seen})
    wanted = {"cells": "", "parameters": {}, "files": {}, "modules": {}} | dict.fromkeys(
        ("kernel", "lock", "device", "threads")
    )

    def why():
        return [reason for reason in cache.changes(run, wanted) if "set" in reason or "csv" in reason]

    assert not why()
    (tmp_path / "set" / "b.png").write_bytes(b"")
    assert why() == ["the folder set holds other files"]
    (tmp_path / "new.csv").write_text("")
    assert why()[1] == "the pattern *.csv finds other files"


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("import subprocess; subprocess.run(['cat', '/dev/null'])", "the program cat"),
        ("import os; os.system('head -1 /dev/null')", "the program head"),
        ("import os\nif os.fork() == 0: os._exit(0)\nos.wait()", "a process was started"),
        ("import duckdb", "duckdb was loaded"),
        ("import pyarrow.parquet", "pyarrow.parquet was loaded"),
        ("import safetensors", "safetensors was loaded"),
    ],
    ids=["run", "system", "fork", "duckdb", "parquet", "safetensors"],
)
def test_what_reads_unseen_is_named(source, word, tmp_path):
    assert any(word in reason for reason in traced(source, tmp_path)["unseen"])


def test_asking_git_for_the_commit_is_no_unknown_input(tmp_path):
    assert traced("import subprocess; subprocess.run(['git', '--version'])", tmp_path)["unseen"] == []


def test_a_run_with_unknown_inputs_runs_again_unless_trusted(store, notebook):
    path = notebook("x: int = 1", "!cat /dev/null")
    wanted = plan(path)
    run = execute(wanted, store=store)
    assert run.ok and run.info["observed"]["unseen"]
    assert not Batch([wanted], store=store).reused
    assert list(Batch([wanted], store=store, trust=True).reused) == [wanted.run_id]
    assert "unknown which files" in cache.changes(run, wanted.definition)[0]


def test_a_flood_of_output_is_no_timeout_and_its_rest_stands_beside_the_notebook(store, notebook, monkeypatch):
    monkeypatch.setattr(execution, "MOST_TEXT", 2**14)
    path = notebook("x: int = 1", "for i in range(3000): print(f'line {i:06d}')")
    run = execute(plan(path), store=store)
    assert run.ok, run.error
    printed = run.content()["cells"][1]["outputs"][0]["text"]
    text = "".join(printed)
    assert "cut after" in text and len(text) < 2**14 + 200
    rest = (run.folder / "output-002.txt").read_text()
    assert rest.endswith("line 002999\n")


def test_leaving_with_zero_ends_a_notebook_well_and_with_one_not(store, notebook):
    good = execute(plan(notebook("x: int = 1", "import sys; sys.exit(0)", "1 / 0", name="good")), store=store)
    assert good.ok
    assert "ends here" in json.dumps(good.content())
    bad = execute(plan(notebook("x: int = 1", "import sys; sys.exit(3)", name="bad")), store=store)
    assert not bad.ok


def test_a_notebook_without_a_usable_kernel_is_a_failed_run_that_names_what_is_installed(store, notebook):
    path = notebook("x: int = 1")
    for kernel in ({"name": "ir"}, None, {}):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        content["metadata"]["kernelspec"] = kernel
        path.write_text("\ufeff" + json.dumps(content), encoding="utf-8")
        run = execute(plan(path), store=store)
        assert run.status == "kernel died"
        assert "installed kernels: " in run.error["message"] and "--kernel" in run.error["message"]
    assert execute(plan(path, kernel="python3"), store=store).ok


def test_a_notebook_that_removes_the_folder_of_its_run_fails_and_the_batch_goes_on(store, notebook, monkeypatch):
    monkeypatch.setattr(execution, "MOST_TEXT", 100)  # and what it prints then has no place beside the notebook
    remove = "import os, shutil; shutil.rmtree(os.environ['LAB_RUN_FOLDER'])"
    bad = notebook("x: int = 1", remove, "for i in range(100): print('line', i, flush=True)", name="bad")
    good = notebook("x: int = 1", name="good")
    first, second = Batch([plan(bad), plan(good)], store=store).run(jobs=1)
    assert first.status == "failed" and "removed the folder" in first.error["message"]
    assert second.ok


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_what_a_notebook_starts_in_a_session_of_its_own_ends_with_it(store, notebook, tmp_path):
    import psutil

    note = tmp_path / "pid"
    path = notebook(
        "x: int = 1",
        f"import subprocess; open({str(note)!r}, 'w').write("
        "str(subprocess.Popen(['sleep', '600'], start_new_session=True).pid))",
    )
    assert execute(plan(path), store=store).ok
    pid = int(note.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    "cell", [{"cell_type": "magic", "source": ""}, {"source": ""}, 3], ids=["type", "none", "number"]
)
def test_cells_that_are_none_are_refused_in_words(cell, tmp_path):
    path = tmp_path / "odd.ipynb"
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    with pytest.raises(ValueError, match=r"odd.ipynb is not a notebook of format 4"):
        load_notebook(path)


def test_records_by_another_hand_are_left_out_and_the_run_is_named(tmp_path):
    lines = [b'{"kind": "metric", "name": "a", "value": 1}', b"[1, 2]", b'{"kind": "metric", "value": 2}', b"\xff"]
    lines.append(b'{"kind": "metric", "name": "big", "value": 1' + b"0" * 400 + b"}")
    (tmp_path / "records.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    with pytest.warns(UserWarning, match=f"of run {tmp_path.name} is no record"):
        assert [entry["name"] for entry in recorded(tmp_path)] == ["a"]


def test_a_number_that_no_float_holds_is_refused():
    from lab.report import record

    with pytest.raises(ValueError, match="must fit a float, got an integer of 1,329 bits"):
        record("big", 10**400)


@pytest.mark.parametrize("content", [b"\xff", b"[]", b"{}", b"{"], ids=["bytes", "list", "empty", "half"])
def test_a_run_whose_description_is_broken_is_left_out_and_named(content, store):
    folder = store.runs / "odd-1234567890"
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(content)
    with pytest.warns(UserWarning, match="odd-1234567890"):
        assert store.all() == []


def test_what_cannot_be_read_back_is_not_published(store):
    store.prepare()
    with store.work("odd-1234567890") as folder:
        (folder / "run.json").write_text("{")
        (folder / "notebook.ipynb").write_text("{}")
        with pytest.raises(StoreError, match="cannot be read back"):
            store.publish(folder, "odd-1234567890")
    assert store.ids() == []


def test_a_secret_that_is_a_common_word_leaves_keys_and_structure_alone(tmp_path):
    info = {
        "notebook": "notebooks/a.ipynb",
        "status": "ok",
        "parameters": {"note": "status of the notebook"},
        "error": None,
        "definition": {"cells": ["notebook"], "parameters": {"note": "the notebook"}},
    }
    (tmp_path / "run.json").write_text(json.dumps(info))
    (tmp_path / "log.txt").write_text("my notebook")
    (tmp_path / "records.jsonl").write_text('{"kind": "metric", "name": "notebook", "value": "notebook"}\n')
    hide_secrets(tmp_path, ["notebook", "status"])
    found = json.loads((tmp_path / "run.json").read_text())
    assert found.keys() == info.keys() and found["notebook"] == info["notebook"] and found["status"] == "ok"
    assert found["parameters"] == {"note": "[hidden] of the [hidden]"}
    assert found["definition"] == {"cells": ["notebook"], "parameters": {"note": "the [hidden]"}}
    assert (tmp_path / "log.txt").read_text() == "my [hidden]"
    assert json.loads((tmp_path / "records.jsonl").read_text()) == {
        "kind": "metric",
        "name": "[hidden]",
        "value": "[hidden]",
    }


@pytest.mark.parametrize("name", ["../../x", "a/b", "", ".hidden", "x" * 61, 3])
def test_a_sweep_is_named_inside_the_store_or_not_at_all(name, notebook):
    with pytest.raises(ValueError, match="name must be 1 to 60 letters"):
        from_mapping({"notebook": str(notebook("x: int = 1")), "name": name})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a,b", ["a", "b"]),
        ("[8,16],[32]", ["[8,16]", "[32]"]),
        ("'a,b',c", ["a,b", "c"]),
        ("../x.csv,../y.csv", ["../x.csv", "../y.csv"]),
        ("0..1:3", {"from": 0, "to": 1, "steps": 3}),
    ],
    ids=["words", "lists", "quoted", "paths", "range"],
)
def test_values_of_a_grid_keep_lists_quotes_and_paths_whole(text, values):
    from lab.cli.many import _axis

    assert _axis("x", text) == values


def test_parameters_from_a_file_keep_their_types_and_raw_text_stays_text(tmp_path, notebook, monkeypatch):
    from typer.testing import CliRunner

    from lab.cli import app, join_pairs

    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    path = notebook("count: int = 1\nlabel: str | int = 'a'\nsizes: list[int] = [1]", "print(repr(label))")
    file = tmp_path / "given.yaml"
    file.write_text("count: 7\nlabel: '5'\nsizes: [2, 3]\n")

    def run(*words):
        done = CliRunner().invoke(app, join_pairs(["run", str(path), "--no-report", "-q", *map(str, words)]))
        assert done.exit_code == 0, done.output
        return Store(tmp_path / "data").find("study").parameters

    assert run("-f", file) == {"count": 7, "label": "5", "sizes": [2, 3]}
    assert run("--raw", "label", "5", "-p", "count", "2") == {"count": 2, "label": "5", "sizes": [1]}
    assert run("-p", "label", "5") == {"count": 1, "label": 5, "sizes": [1]}
    file.write_text("- 1")
    failed = CliRunner().invoke(app, ["run", str(path), "-f", str(file)])
    assert "must hold a mapping from parameters to values, got list" in str(failed.exception)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_scheduler_s_signal_ends_a_command_as_an_interrupt_does(name, tmp_path, notebook):
    path = notebook("x: int = 1", "import time; print('here', flush=True); time.sleep(600)")
    environment = {**os.environ, "LAB_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-m", "lab", "run", str(path), "--json"]
    number = getattr(signal, name)
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # whoever runs the tests may ignore it, under nohup for example, and children inherit that
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:
        try:
            for line in process.stdout:
                if "here" in line:
                    process.send_signal(number)
                    break
            process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (run,) = Store(tmp_path / "data").all()
    assert run.status == "cancelled"
