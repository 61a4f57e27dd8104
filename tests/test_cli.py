"""The command line: what it prints, what it refuses, and exit codes that mean something."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import __version__
from lab.claims import method
from lab.cli import join_pairs, main
from lab.cli.many import _axis

ROOT = Path(__file__).parents[1]


@pytest.fixture
def lab(tmp_path, monkeypatch, capsys):
    """Run ``lab`` in this process with a store of its own: ``(exit code, output, messages)``."""
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lab", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, messages = capsys.readouterr()
        return stop.value.code or 0, out, messages

    return run


@pytest.fixture
def lab_in(tmp_path):
    """Run ``lab`` in a project of its own, as a command."""

    def run(project, *arguments):
        environment = {**os.environ, "LAB_DATA": str(tmp_path / "data"), "PYTHONPATH": str(project), "COLUMNS": "200"}
        command = [sys.executable, "-m", "lab", *map(str, arguments)]
        result = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        return result.returncode, result.stdout, result.stderr

    return run


@pytest.fixture
def study(tmp_path):
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": "# Study\n\nWhy?"},
        {
            "cell_type": "code",
            "metadata": {"tags": ["parameters"]},
            "source": "n: int = 2  # 1..9",
            "outputs": [],
            "execution_count": None,
        },
        {
            "cell_type": "code",
            "metadata": {},
            "source": "import lab\nlab.report.record('inverse', 1 / (n - 5), unit='m')",
            "outputs": [],
            "execution_count": None,
        },
    ]
    for number, cell in enumerate(cells):
        cell["id"] = str(number)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = tmp_path / "study.ipynb"
    path.write_text(
        json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


def test_version_and_help(lab):
    assert lab("--version")[:2] == (0, f"lab {__version__}\n")
    code, out, _ = lab("--help")
    assert code == 0
    for command in (
        "run render sweep list show export why rerun diff query serve jupyter claims claim datasets new doctor warm gc kernels"
    ).split():
        assert re.search(rf"\b{command}\b", out), command


def test_what_reading_a_file_does_is_told(lab, tmp_path):
    (tmp_path / "mine.csv").write_text("id;a;kind\n1;1,5;red\n2;2,5;blue\n3;?;red\n4;3,5;blue\n", encoding="utf-8")
    code, out, _ = lab("datasets", str(tmp_path / "mine.csv"))
    assert code == 0
    assert out.startswith("Table 'mine': 4 rows, 3 columns\n")
    for note in ("decimal comma", "column 'id' left out", "'?' read as missing", "target: 'kind', the last column"):
        assert note in out
    code, _, messages = lab("datasets", "nowhere")
    assert code == 2
    assert "the data sets are" in messages
    assert "digits" in lab("datasets")[1]


def test_a_run_prints_its_result_and_writes_its_page(lab, study, tmp_path):
    code, out, _ = lab("run", study, "-p", "n", "3")
    assert code == 0
    assert "inverse = -0.5 m" in out
    page = Path(out.splitlines()[-1])
    assert page.is_file()
    assert page.is_relative_to(tmp_path / "data" / "reports")
    run_id = page.stem
    code, out, _ = lab("run", study, "-p", "n=3", "--no-report")
    assert f"{run_id} (unchanged, from the store)" in out
    assert "inverse" in lab("show", run_id)[1]
    assert json.loads(lab("show", run_id[:-3], "--json")[1])["parameters"] == {"n": 3}
    assert (
        lab("query", "select name, value, unit from metrics", "--json")[1]
        == '{"name": "inverse", "value": -0.5, "unit": "m"}\n'
    )
    assert lab("why", "study")[1] == f"{run_id} is up to date: nothing that it depends on has changed\n"
    assert lab("query", "select value from metrics", "--csv", "-")[1] == "value\n-0.5\n"


def test_a_failing_notebook_is_named_with_cell_and_cause(lab, study):
    code, _, messages = lab("run", study, "-p", "n", "5", "--no-report")
    assert code == 1
    assert "cell 4: ZeroDivisionError: division by zero" in messages
    assert "parameters: n=5" in messages


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run", "STUDY", "-p", "m", "3"], "has no parameter 'm'; it takes n"),
        (["run", "STUDY", "-p", "n", "x"], "'n' must be an integer from 1 to 9, got 'x'"),
        (["run", "STUDY", "-p", "n"], "-p needs a name and a value"),
        (["run", "STUDY", "-p", "n", "1", "-p", "n", "2"], "'n' is given twice"),
        (["run", "betti_matchin"], "there is no notebook 'betti_matchin'"),
        (["run", "STUDY", "--timeout", "0"], "timeout must be greater than 0"),
        (["render"], "there is nothing to render"),
        (["render", "--all", "--front"], "one of them"),
        (["render", "--all", "--profile", "smok"], "did you mean 'smoke'"),
        (["claim", "nothing.at-all"], "no claim has the id 'nothing.at-all'"),
        (["claims", "--status", "hold"], "did you mean 'holds'"),
        (["sweep", "STUDY", "--grid", "n=1..x:3"], "must be low..high"),
        (["sweep", "STUDY", "--random", "n=1..3"], "--random needs --samples"),
        (["query", "select"], "the query failed"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(lab, study, arguments, words):
    code, out, messages = lab(*(str(study) if word == "STUDY" else word for word in arguments))
    assert code == 2
    assert words in messages
    assert "Traceback" not in messages
    assert out == ""


def test_a_missing_run_and_a_taken_port_are_said(lab):
    code, _, messages = lab("show", "nothing")
    assert (code, "there is no run 'nothing'" in messages) == (3, True)
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, messages = lab("serve", "--port", taken.getsockname()[1])
    assert code == 2
    assert "choose another with --port" in messages


def test_a_store_that_cannot_be_written_is_said(lab, study, tmp_path):
    (tmp_path / "data").write_text("")
    code, _, messages = lab("run", study)
    assert code == 3
    assert "cannot be written" in messages


def test_without_chromium_an_export_says_what_is_missing(lab, study, monkeypatch, tmp_path):
    assert lab("run", study, "--no-report")[0] == 0
    code, _, messages = lab("export", "study")
    assert (code, "--pdf or --png FILE, or --figures FOLDER" in messages) == (2, True)
    code, _, messages = lab("export", "nothing", "--pdf", tmp_path / "x.pdf")
    assert (code, "there is no run 'nothing'" in messages) == (3, True)
    monkeypatch.setattr("lab.report.site.export.chromium", lambda: None)
    for option in ("--pdf", "--png", "--figures"):
        code, out, messages = lab("export", "study", option, tmp_path / "x")
        assert (code, out) == (3, "")
        assert "need Chromium or Chrome on PATH: apt-get install chromium" in messages
    assert not (tmp_path / "x").exists()


def test_a_sweep_from_the_command_line(lab, study):
    code, out, _ = lab("sweep", study, "--grid", "n=1,2", "--dry-run")
    assert code == 0
    assert "2 runs, 2 to execute, unknown" in out
    code, out, _ = lab("sweep", study, "--grid", "n=1,2,5", "--cold", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert (lines[-1]["runs"], lines[-1]["failed"]) == (3, 1)
    assert {line["kind"] for line in lines} == {"started", "cell", "finished", "run", "sweep"}
    page = Path(lines[-1]["page"])
    assert f"<code>lab sweep {lines[-1]['id']}</code>" in page.read_text()
    code, out, _ = lab("sweep", lines[-1]["id"], "--dry-run", "--json")
    again = json.loads(out.splitlines()[-1])
    assert (code, again["sweep"], again["runs"], again["waiting"]) == (0, lines[-1]["id"], 3, 1)
    assert "takes no --grid" in lab("sweep", lines[-1]["id"], "--grid", "n=1,2")[2]


def test_claims_studies_and_the_installation_are_listed(lab):
    code, out, _ = lab("claims", "--status", "not testable here", "--json")
    assert code == 0
    assert all(json.loads(line)["untestable"] for line in out.splitlines())
    code, out, _ = lab("list", "--json")
    assert all({"method", "works", "missing"} <= set(json.loads(line)) for line in out.splitlines())
    code, out, _ = lab("doctor")
    assert "Python" in out
    assert "store" in out


def test_a_new_study_works_from_the_first_minute(lab_in, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("lab", "widgets"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", project)
    (project / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", project / "tests")
    code, out, messages = lab_in(project, "new", "losses/softer_hinge", "--title", "Softer hinge")
    assert code == 0, messages
    written = out.splitlines()[:-1]
    assert "lab/losses/softer_hinge.py" in written
    assert all((project / name).is_file() for name in written)
    environment = {**os.environ, "PYTHONPATH": str(project)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/losses"]
    assert (
        "...  "
        in subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=True).stdout
    )
    code, out, messages = lab_in(project, "run", "softer_hinge", "-p", "profile", "smoke")
    assert code == 0, messages
    assert "works: softer_hinge.first-statement = 0.0" in out
    listed = [json.loads(line) for line in lab_in(project, "list", "--json")[1].splitlines()]
    assert {entry["method"]: entry["missing"] for entry in listed}["softer_hinge"] == ["own content"]  # a template's
    for name in written:
        text = (project / name).read_text().replace("(Replace this text.)", "")
        (project / name).write_text(text)
    listed = [json.loads(line) for line in lab_in(project, "list", "--json")[1].splitlines()]
    assert {entry["method"]: entry["works"] for entry in listed}["softer_hinge"]
    assert lab_in(project, "new", "losses/softer_hinge")[0] == 2
    assert "did you mean 'losses'" in lab_in(project, "new", "loses/other")[2]


def test_names_and_values_are_joined():
    assert join_pairs(["run", "x", "-p", "n", "3", "-p", "m=4", "-q"]) == ["run", "x", "-p", "n=3", "-p", "m=4", "-q"]


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("1,2, 3", ["1", "2", "3"]),
        ("0..1:5", {"from": 0, "to": 1, "steps": 5}),
        ("0.001..1:4 log", {"from": 0.001, "to": 1, "steps": 4, "log": True}),
        ("1..9", {"from": 1, "to": 9}),
    ],
)
def test_values_of_an_axis(text, wanted):
    assert _axis("n", text) == wanted


def test_show_says_where_the_parts_of_a_method_stand(lab):
    code, out, _ = lab("show", "kernels", "--json")
    assert code == 0
    found = json.loads(out)["places"]
    assert found["claims"] == ["lab/kernels/claims/kernels.toml", "lab/kernels/claims/kernels.py"]
    for place in (place for paths in found.values() for place in paths):
        path, _, line = place.partition(":")
        assert (ROOT / path).is_file()
        if line:
            name = (ROOT / path).read_text().splitlines()[int(line) - 1]
            assert any(entry.split(":")[1] in name for entry in method("kernels").entry)
    assert len(found["code"]) == len(method("kernels").entry)
    assert "missing" not in lab("show", "kernels")[1].split("study")[0]
