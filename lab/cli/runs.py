"""Commands about single runs: run, render, show, jupyter."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from lab.cli.ports import free_port
from lab.cli.serve import serve

Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter", "-p", metavar="NAME VALUE", help="A parameter of the notebook; may be given several times."
    ),
]
Raw = Annotated[
    list[str] | None,
    typer.Option("--raw", "-r", metavar="NAME VALUE", help="A parameter whose value is taken as text, as it stands."),
]
File = Annotated[
    Path | None,
    typer.Option("--parameters", "-f", help="A YAML or JSON file of parameters; -p and --raw override it."),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Notebooks to run at a time [default: one per core].")
]
Force = Annotated[bool, typer.Option("--force", help="Rerun even if nothing has changed.")]
Trust = Annotated[
    bool, typer.Option("--trust-cache", help="Reuse stored runs also where it is unknown which files they read.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only failures and the result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print events and results as JSON lines.")]
Timeout = Annotated[float | None, typer.Option(help="Time limit for a whole notebook, in seconds [default: 3600].")]
CellTimeout = Annotated[float | None, typer.Option(help="Time limit for one cell, in seconds [default: 1800].")]
Memory = Annotated[
    float | None, typer.Option(help="Memory limit of a notebook in MiB [default: 90 % of the machine's].")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("run")(run)
    app.command("render")(render)
    app.command("show")(show)
    app.command("serve")(serve)
    app.command("jupyter")(jupyter)


def run(
    notebook: Annotated[str, typer.Argument(help="An .ipynb file, or the name of a notebook under notebooks/.")],
    parameter: Parameters = None,
    raw: Raw = None,
    file: File = None,
    force: Force = False,
    timeout: Timeout = None,
    cell_timeout: CellTimeout = None,
    memory: Memory = None,
    kernel: Annotated[str, typer.Option(help="The kernel to use in place of the one that the notebook names.")] = "",
    trust: Trust = False,
    report: Annotated[bool, typer.Option(help="Write the HTML page of the run.")] = True,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Execute one notebook with parameters and write its report."""
    from lab.cli.progress import Progress
    from lab.report.notebook.parameters import Raw as Text
    from lab.report.runs.batch import Batch
    from lab.report.runs.run import plan

    typed, texts = pairs(parameter), pairs(raw)
    for name in sorted(typed.keys() & texts.keys()):
        raise ValueError(f"parameter {name!r} is given twice: by -p and by --raw")
    given = {**_parameters_of(file), **typed, **{name: Text(value) for name, value in texts.items()}}
    plans = [plan(find_notebook(notebook), given, text=True, kernel=kernel)]
    batch = Batch(plans, limits=limits(timeout, cell_timeout, memory), force=force, trust=trust)
    with Progress(batch, quiet=quiet, as_json=as_json) as progress:
        (finished,) = batch.run(jobs=1, emit=progress.event) or [None]
    if finished is None:
        raise KeyboardInterrupt
    from lab.report.site import render_run
    from lab.report.store.layout import StoreError

    try:
        page = render_run(finished) if report else None
    except StoreError:
        progress.result(finished, None)  # the run itself is stored, and said, before the page's error
        raise
    progress.result(finished, page)
    raise typer.Exit(0 if finished.ok else 1)


def render(
    what: Annotated[list[str] | None, typer.Argument(help="Notebooks or folders; all notebooks with --all.")] = None,
    front: Annotated[bool, typer.Option("--front", help="The front-page notebooks, at profile smoke.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Every notebook.")] = False,
    profile: Annotated[
        str | None, typer.Option(help="smoke, default or full, for notebooks that have a profile.")
    ] = None,
    jobs: Jobs = None,
    force: Force = False,
    timeout: Timeout = None,
    cell_timeout: CellTimeout = None,
    memory: Memory = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="Start a fresh kernel for each notebook, never a warm one.")
    ] = False,
    trust: Trust = False,
    site_only: Annotated[
        bool, typer.Option("--site-only", help="Write the site from the stored runs without running anything.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the site [default: data/reports].")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Execute notebooks and write the offline HTML site."""
    from lab import checks
    from lab.cli.progress import Progress
    from lab.report import site
    from lab.report.runs.batch import Batch
    from lab.report.runs.run import plan
    from lab.report.studies import notebooks_of

    if profile is not None:
        checks.choice("profile", profile, ("smoke", "default", "full"))
    if sum((front, every, bool(what))) > 1:
        raise ValueError("give notebooks, --front or --all: exactly one of them")
    if site_only:
        found, failures = None, 0
    else:
        wanted = notebooks_of(what or [], front=front, every=every)
        if not wanted:
            raise ValueError(
                "there is nothing to render: no notebook is marked as front"
                if front
                else "there is nothing to render; name notebooks or give --all"
            )
        chosen = profile or ("smoke" if front else None)
        plans, unreadable = [], {}
        for path in wanted:
            try:
                plans.append(plan(path, _profile(path, chosen), warm=not cold and len(wanted) > 2))
            except ValueError as error:  # one notebook that is none does not stop the others
                unreadable[path] = str(error)
        if not plans:
            raise ValueError("; ".join(unreadable.values()))
        batch = Batch(plans, limits=limits(timeout, cell_timeout, memory), force=force, trust=trust)
        with Progress(batch, quiet=quiet, as_json=as_json) as progress:
            found = batch.run(jobs=jobs, emit=progress.event)
        progress.summary(found)
        for path, why in unreadable.items():
            typer.echo(f"lab: left out {path}: {why}", err=True)
        failures = sum(not item.ok for item in found) + len(unreadable)
    index = site.render(runs=found, folder=out)
    if as_json:
        typer.echo(json.dumps({"kind": "site", "index": str(index), "failed": failures}))
    else:
        typer.echo(str(index))
        if front and not quiet:
            typer.echo(
                "More: make report-all (every notebook at the default profile), lab run NOTEBOOK -p name value, lab serve"
            )
    raise typer.Exit(1 if failures else 0)


def show(
    name: Annotated[
        str | None, typer.Argument(help="A run id or its prefix, a notebook, or a method; default: all runs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the stored runs, one of them with its parameters, metrics, claims and error, or where a method stands."""
    from lab import claims
    from lab.cli import tables
    from lab.report.store.layout import Store

    store = Store()
    known = {word: method for method in claims.methods() for word in (method.id, *method.aliases)}
    if name in known:
        tables.one_method(known[name], store, as_json=as_json)
        return
    if name is None:
        tables.runs(store.all(), as_json=as_json)
        return
    found = store.find(name)
    if as_json:
        typer.echo(json.dumps({**found.info, "records": found.records}, ensure_ascii=False))
    else:
        tables.one_run(found)


def jupyter(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port.")] = 8888,
    notebook: Annotated[str | None, typer.Argument(help="A notebook to open, or a run id.")] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser.")] = True,
) -> None:
    """Open JupyterLab on the notebooks of the project."""
    import os
    import subprocess

    from lab.report.store.layout import Store, project_root

    free_port("127.0.0.1", port)
    target = project_root() / "notebooks" / "start.ipynb"
    if notebook:
        known = Store().get(notebook)
        target = known.folder / "notebook.ipynb" if known else Path(find_notebook(notebook))
    # a run of a store elsewhere is shown from its own folder
    root = project_root() if target.is_relative_to(project_root()) else target.resolve().parent
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--port={port}",
        "--ip=127.0.0.1",
        f"--ServerApp.root_dir={root}",
    ]
    if target.exists():
        command.append(
            f"--LabApp.default_url=/lab/tree/{quote(target.resolve().relative_to(root.resolve()).as_posix())}"
        )
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    raise typer.Exit(subprocess.call(command))


def pairs(texts: list[str] | None) -> dict[str, str]:
    """``["name=value", ...]`` as a dictionary; ``ValueError`` for a text without ``=`` or a name given twice."""
    found: dict[str, str] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"-p needs a name and a value, for example -p seeds 5, got {text!r}")
        if name in found:
            raise ValueError(f"parameter {name!r} is given twice: {found[name]!r} and {value!r}")
        found[name] = value
    return found


def _parameters_of(file):
    """The parameters that a YAML or JSON file holds, with the types that they have there."""
    if file is None:
        return {}
    import yaml

    from lab.report.notebook.parameters import Raw as Text

    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no file {file}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file.name} is not valid YAML: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{file.name} must hold a mapping from parameters to values, got {type(found).__name__}")
    return {name: Text(value) if isinstance(value, str) else value for name, value in found.items()}


def limits(timeout: float | None, cell_timeout: float | None, memory: float | None):
    """The limits that the options ask for."""
    from lab.report.runs.run import Limits

    return Limits.of(timeout=timeout, cell_timeout=cell_timeout, memory=None if memory is None else memory * 2**20)


def find_notebook(name: str) -> str:
    """The path of a notebook given by path or by its name under ``notebooks/``; refused with the nearest name."""
    from lab import checks
    from lab.report.store.layout import project_root

    path = Path(name)
    if path.is_file():
        return str(path)
    root = project_root()
    if (root / path).is_file():
        return str(root / path)
    known = {
        str(found.relative_to(root / "notebooks").with_suffix("")): found
        for found in (root / "notebooks").rglob("*.ipynb")
    }
    wanted = name.removesuffix(".ipynb")
    matching = [found for key, found in known.items() if key == wanted or key.split("/")[-1] == wanted]
    studies = [found for found in matching if found.parent.name != "benchmarks"]
    if len(studies) == 1:  # a benchmark has the name of its study; `benchmarks/NAME` names it
        matching = studies
    if len(matching) == 1:
        return str(matching[0])
    if len(matching) > 1:
        raise ValueError(
            f"{name!r} matches {len(matching)} notebooks: {', '.join(str(found.relative_to(root)) for found in matching)}"
        )
    hint = checks.did_you_mean(wanted, [*known, *(key.split("/")[-1] for key in known)])
    raise ValueError(f"there is no notebook {name!r}{hint or '; `lab list` names the studies'}")


def _profile(path, profile):
    from lab.report.notebook.parameters import read_parameters

    schema = read_parameters(path)
    return {"profile": profile} if profile and "profile" in schema.parameters else {}
