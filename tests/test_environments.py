"""What installs: every pin has a wheel for every Python, and conda's pip step ends in a laboratory that works.

Needs a package index, minutes and, for the second, some gigabytes of disk: ``make test-environments``.
"""

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
pytestmark = [pytest.mark.network, pytest.mark.timeout(3600)]


def ran(*command, cwd=ROOT):
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(list(map(str, command)), cwd=cwd, env=variables, capture_output=True, text=True)


def test_pythons_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert tuple(named) == PYTHONS
    assert project["requires-python"] == ">=3.11,<3.15"


@pytest.mark.parametrize("python", PYTHONS)
def test_every_pin_has_a_wheel(python, tmp_path):
    locks = ("requirements.lock", "requirements-data.lock")
    pins = [pin for lock in locks for pin in (ROOT / lock).read_text(encoding="utf-8").split()]
    missing = []
    while True:
        (tmp_path / "pins").write_text("\n".join(pin for pin in pins if pin not in missing), encoding="utf-8")
        found = ran(sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--no-deps",
                    "--only-binary", ":all:", "--python-version", python, "--target", tmp_path / "none", "-r",
                    tmp_path / "pins")  # fmt: skip
        if found.returncode == 0:
            break
        said = re.search(r"No matching distribution found for (\S+)", found.stderr)
        assert said and said[1] in pins, found.stderr[-2000:]
        missing.append(said[1])
    assert missing == []


def test_pip_step_of_conda_ends_in_a_laboratory_that_works(tmp_path):
    """conda writes the pip part into a requirements file beside environment.yml and runs ``pip install -U -r`` on it."""
    import yaml

    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (part,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    folder = tmp_path / "project"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    venv.create(tmp_path / "env", with_pip=True)
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    (folder / "condaenv.requirements.txt").write_text("\n".join(part) + "\n", encoding="utf-8")
    for command in (
        (
            scripts / "python",
            "-m",
            "pip",
            "install",
            "-q",
            "-U",
            "-r",
            "condaenv.requirements.txt",
            "--exists-action=b",
        ),
        (scripts / "python", "-m", "pip", "check"),
        (scripts / "lab", "list"),
    ):
        done = ran(*command, cwd=folder)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "betti_matching" in done.stdout
