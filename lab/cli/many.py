"""Commands about many runs: sweep, why, rerun, diff, gc."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lab.cli.runs import AsJson, CellTimeout, Force, Jobs, Memory, Parameters, Quiet, Timeout, Trust
from lab.wording import counted

Named = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUES")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("sweep")(sweep)
    app.command("why")(why)
    app.command("rerun")(rerun)
    app.command("diff")(diff)
    app.command("gc")(gc)


def sweep(
    what: Annotated[str, typer.Argument(help="A sweep's YAML file, a notebook, or the id of a sweep to repeat.")],
    grid: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUES", help="Values to combine: noise=0,0.5,1 or noise=0..1:5.")
    ] = None,
    zip_: Annotated[
        list[str] | None, typer.Option("--zip", metavar="NAME=VALUES", help="Values to pair with other --zip.")
    ] = None,
    random: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUES", help="Values to draw from: noise=0..1 or image=a,b.")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Number of random draws.")] = None,
    random_seed: Annotated[int, typer.Option(min=0, help="Seed of the random draws.")] = 0,
    seeds: Annotated[int | None, typer.Option(min=1, help="Run with parameter seed = 0, 1, ...")] = None,
    parameter: Parameters = None,
    name: Annotated[str | None, typer.Option(help="A name for the sweep.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost; run nothing.")] = False,
    executor: Annotated[str, typer.Option(help="local, process or dask.")] = "local",
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, for example tcp://host:8786.")
    ] = None,
    jobs: Jobs = None,
    force: Force = False,
    timeout: Timeout = None,
    cell_timeout: CellTimeout = None,
    memory: Memory = None,
    cold: Annotated[bool, typer.Option("--cold", help="Start a fresh kernel for each run, never a warm one.")] = False,
    trust: Trust = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a notebook over many parameters and compare the results."""
    from lab.cli.progress import Progress
    from lab.cli.runs import limits
    from lab.report import site
    from lab.report.runs import sweeps
    from lab.report.runs.batch import Batch, cores
    from lab.report.store.layout import Store

    options = {"grid": grid, "zip": zip_, "random": random, "samples": samples, "seeds": seeds}
    store = Store()
    wanted = _wanted(what, options, random_seed, parameter, name, store)
    plans = wanted.plans(warm=not cold)
    if dry_run:
        _plan(wanted, plans, store, jobs or cores(), as_json)
        return
    batch = Batch(plans, store=store, limits=limits(timeout, cell_timeout, memory), force=force, trust=trust)
    store.prepare()
    sweeps.remember(wanted, plans, store)
    with Progress(batch, quiet=quiet, as_json=as_json) as progress:
        found = batch.run(jobs=jobs, emit=progress.event, executor=executor, scheduler=scheduler)
    progress.summary(found)
    page = site.render_sweep(wanted.id, store=store)
    failed = sum(not run.ok for run in found)
    if as_json:
        typer.echo(
            json.dumps({"kind": "sweep", "id": wanted.id, "runs": len(found), "failed": failed, "page": str(page)})
        )
    else:
        typer.echo(f"{wanted.id}\n{page}")
    raise typer.Exit(1 if failed else 0)


def why(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run id or a notebook.")], as_json: AsJson = False
) -> None:
    """Say why a stored run would be rerun: which input has changed."""
    from lab.report.runs.run import plan_of
    from lab.report.store import cache
    from lab.report.store.layout import Store

    run = Store().find(name)
    changes = cache.changes(run, plan_of(run).definition)
    if as_json:
        typer.echo(json.dumps({"run_id": run.id, "changes": changes}))
    elif not changes:
        typer.echo(f"{run.id} is up to date: nothing that it depends on has changed")
    else:
        typer.echo(f"{run.id} would be rerun:")
        for change in changes:
            typer.echo(f"  {change}")


def rerun(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run id, or the path of a run.json.")],
    as_json: AsJson = False,
) -> None:
    """Run again what a stored run did and compare every recorded value."""
    from lab.report.store.comparison import load_run
    from lab.report.store.comparison import rerun as again
    from lab.report.store.layout import Store

    run = load_run(name, Store())
    result = again(run)
    if as_json:
        differences = [[item.group, item.name, item.first, item.second] for item in result.differences]
        typer.echo(
            json.dumps(
                {"run_id": run.id, "exact": result.exact, "changes": result.changes, "differences": differences},
                default=str,
            )
        )
        raise typer.Exit(0 if result.exact else 1)
    count = len(run.records)
    if result.exact:
        typer.echo(f"{run.id}: reproduced exactly, {count} recorded value{'s' * (count != 1)}")
    else:
        typer.echo(f"{run.id}: {counted(len(result.differences), 'difference')}")
        for item in result.differences:
            typer.echo(f"  {item.group}: {item.name}: was {item.first}, now {item.second}")
    for change in result.changes:
        typer.echo(f"  input: {change}")
    if not result.exact and not result.changes:
        typer.echo("  no input has changed: the notebook itself is not deterministic")
    raise typer.Exit(0 if result.exact else 1)


def diff(
    first: Annotated[str, typer.Argument(help="A run.")],
    second: Annotated[str, typer.Argument(help="Another run.")],
    as_json: AsJson = False,
) -> None:
    """Say in what two runs differ: parameters, results, modules, packages, origin."""
    from rich.markup import escape

    from lab.cli import tables
    from lab.report.store import comparison
    from lab.report.store.layout import Store

    store = Store()
    runs = [comparison.load_run(name, store) for name in (first, second)]
    found = comparison.diff(*runs)
    if as_json:
        for item in found:
            typer.echo(
                json.dumps(
                    {"group": item.group, "name": item.name, "first": item.first, "second": item.second}, default=str
                )
            )
        return
    if not found:
        typer.echo("The runs are identical.")
        return
    table = tables.plain("", "name", runs[0].id, runs[1].id)
    for item in found:
        table.add_row(item.group, escape(item.name), escape(str(item.first)), escape(str(item.second)))
    tables.console().print(table)


def gc(
    delete: Annotated[
        bool, typer.Option("--delete", help="Actually delete; without it, only report what would be deleted.")
    ] = False,
    days: Annotated[float, typer.Option(min=0, help="Keep runs younger than this.")] = 0.0,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="List every run, and why the others are kept.")
    ] = False,
) -> None:
    """Delete runs that no report, sweep or claim refers to; a dry run with sizes unless --delete is given."""
    from lab.report import site
    from lab.report.store import garbage
    from lab.report.store.layout import Store

    store = Store()
    found = garbage.garbage(store, days=days)
    if verbose:
        for run_id, reason in sorted(found.kept.items()):
            typer.echo(f"keep    {run_id}: {reason}")
        for run_id, size in sorted(found.runs.items()):
            typer.echo(f"delete  {run_id}: {_size(size)}")
    summary = (
        f"{counted(len(found.runs), 'run')}, {counted(len(found.pages), 'page')}, "
        f"{counted(len(found.leftovers), 'leftover')}: {_size(found.size)}; keeping {counted(len(found.kept), 'run')}"
    )
    if not delete:
        typer.echo(f"would delete {summary}; lab gc --delete does it")
        return
    removed = garbage.delete(found, store)
    if (store.data / "reports" / "index.html").exists():
        site.render(store=store)
    typer.echo(
        f"deleted {summary}"
        if len(removed) == len(found.runs)
        else f"deleted {len(removed)} of {summary}; the others are in use"
    )


def _wanted(what, options, random_seed, parameter, name, store):
    from lab.cli.runs import find_notebook, pairs
    from lab.report.runs import sweeps

    known = any(sweep["id"] == what for sweep in sweeps.remembered(store))
    if known or what.endswith((".yaml", ".yml")):
        given = [f"--{key}" for key, value in options.items() if value] + ["-p"] * bool(parameter)
        if given:
            raise ValueError(f"a stored sweep takes no {given[0]}; put it into a YAML file")
        return sweeps.again(what, store) if known else sweeps.from_file(what)
    spec: dict = {"notebook": find_notebook(what)}
    if name:
        spec["name"] = name
    if parameter:
        spec["parameters"] = pairs(parameter)
    for key in ("grid", "zip"):
        if options[key]:
            spec[key] = {axis: _axis(axis, text) for axis, text in pairs(options[key]).items()}
    if options["random"]:
        draw = {axis: _axis(axis, text) for axis, text in pairs(options["random"]).items()}
        if options["samples"] is None:
            raise ValueError("--random needs --samples, the number of draws")
        spec["random"] = {"samples": options["samples"], "seed": random_seed, "draw": draw}
    if options["seeds"]:
        spec["seeds"] = options["seeds"]
    return sweeps.from_mapping(spec, text=True)


def _axis(name, text):
    """``a,b,c`` as a list; ``low..high`` or ``low..high:steps`` as a range, ``log`` at the end for a logarithmic one."""
    words = text.removesuffix("log").rstrip(": ")
    low, dots, rest = words.partition("..")
    if not dots or any(sign in text for sign in "/\\\"'[("):  # a path may go up, a list may hold anything
        return _split(text)
    high, colon, steps = rest.partition(":")
    try:
        found = {"from": _number(low), "to": _number(high)}
        if colon:
            found["steps"] = int(steps)
    except ValueError:
        raise ValueError(f"the range of {name!r} must be low..high or low..high:steps, got {text!r}") from None
    return found | ({"log": True} if words != text.rstrip() and text.rstrip().endswith("log") else {})


def _split(text):
    """The parts between commas that stand outside of brackets and quotation marks; the quotation marks around a part go."""
    parts, depth, quote, start = [], 0, "", 0
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "[({":
            depth += 1
        elif sign in "])}":
            depth -= 1
        elif sign == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    parts = [part.strip() for part in (*parts, text[start:])]
    return [part[1:-1] if len(part) > 1 and part[0] == part[-1] in "\"'" else part for part in parts if part]


def _number(text):
    return int(text) if text.strip().lstrip("+-").isdigit() else float(text)


def _plan(wanted, plans, store, jobs, as_json):
    from rich.markup import escape

    from lab.cli import tables
    from lab.report.runs import sweeps
    from lab.report.runs.run import answering

    seconds, waiting = sweeps.estimate(plans, store, jobs)
    if as_json:
        for plan in plans:
            typer.echo(
                json.dumps({"run_id": plan.run_id, "given": plan.given, "stored": answering(plan, store) is not None})
            )
        typer.echo(json.dumps({"sweep": wanted.id, "runs": len(plans), "waiting": waiting, "seconds": seconds}))
        return
    table = tables.plain("run", "state", *wanted.axes)
    for plan in plans[:200]:
        state = "[green]stored[/]" if answering(plan, store) else "to run"
        table.add_row(plan.run_id, state, *(escape(str(plan.parameters.get(axis))) for axis in wanted.axes))
    tables.console().print(table)
    if len(plans) > 200:
        typer.echo(f"... and {len(plans) - 200} more")
    cost = "unknown cost: the notebook has not run yet" if seconds is None else f"about {seconds:.0f} s on {jobs} jobs"
    typer.echo(f"{wanted.id}: {counted(len(plans), 'run')}, {waiting} to execute, {cost}")


def _size(count):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return ""
