"""Commands about the ledger, the studies and the data: claims, claim, list, datasets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lab.wording import counted

if TYPE_CHECKING:
    from lab.claims.measure import Budget


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("list")(list_studies)
    app.command("claims")(claims)
    app.command("claim")(claim)
    app.command("cite")(cite)
    app.command("datasets")(datasets)


def list_studies(
    room: Annotated[str | None, typer.Option(help="Restrict to one room.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """List the studies: which work, and what the others still miss."""
    from rich.markup import escape

    from lab.cli import tables
    from lab.report.studies import studies

    found = studies(room)
    if as_json:
        for study in found:
            typer.echo(
                json.dumps(
                    {
                        "method": study.method.id,
                        "room": study.method.room,
                        "title": study.method.title,
                        "works": study.works,
                        "missing": study.missing,
                    }
                )
            )
        return
    table = tables.plain("", "method", "room", "title", "notebook")
    for study in found:
        mark = "[green]works[/]" if study.works else f"[yellow]without {', '.join(study.missing)}[/]"
        table.add_row(mark, study.method.id, study.method.room, escape(study.method.title), study.method.notebook)
    tables.console().print(table)
    typer.echo(f"{sum(study.works for study in found)} of {len(found)} studies work")


def claims(
    room: Annotated[str | None, typer.Option(help="Restrict to one room.")] = None,
    status: Annotated[
        str | None,
        typer.Option(help="holds, 'holds at small scale', refuted, undecided, 'not testable here' or 'not run'."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Restrict to one method.")] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="List recorded claims whose rule, tuning or code has changed, and why.")
    ] = False,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Show the sentences of each abstract and the claims that cover them.")
    ] = False,
    export: Annotated[str | None, typer.Option(help="Write csv, json or bibtex to standard output.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """List every statement of every paper: how it is recorded, and what this machine measured."""
    from lab import checks
    from lab import claims as ledger
    from lab.report.store.standing import rows

    if status is not None:
        checks.choice("status", status, ledger.STATUSES)
    if export is not None:
        checks.choice("export", export, ("csv", "json", "bibtex"))
    found = rows(room)
    if method is not None:
        wanted = ledger.method(method).id
        found = [row for row in found if row.claim.method == wanted]
    if status is not None:
        found = [row for row in found if row.status == status]
    if coverage:
        _print_coverage({row.claim.method for row in found})
    elif stale:
        _print_stale(found)
    elif export is not None:
        _export(found, export)
    elif as_json:
        for row in found:
            typer.echo(json.dumps(row.to_dict(), ensure_ascii=False))
    else:
        _print_rows(found)


def _print_rows(found):
    from rich.markup import escape

    from lab.claims import STATUSES
    from lab.cli import tables

    table = tables.plain("status", "claim", "kind", "recorded", "this machine", "statement")
    for row in found:
        notes = [row.claim.untestable, *(f"requires {id}, which is refuted" for id in row.undermined)]
        statement = escape(row.claim.text) + "".join(f" [dim]({escape(note)})[/]" for note in notes if note)
        recorded = f"{row.measured} ({row.provenance})" if row.recorded else ""
        table.add_row(
            f"[{tables.COLOURS.get(row.status, 'bright_black')}]{row.status}[/]", row.claim.id, row.claim.kind,
            escape(recorded), escape(row.measured_here.removeprefix("this machine: ")), statement,
        )  # fmt: skip
    tables.console().print(table)
    counts = {name: sum(row.status == name for row in found) for name in STATUSES}
    typer.echo(
        f"{counted(len(found), 'claim')}: " + ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    )


def _print_stale(found):
    from lab.claims import recorded

    old = recorded.stale()
    listed = [row.claim.id for row in found if row.claim.id in old]
    for id in listed:
        typer.echo(f"{id}: {old[id]}")
    typer.echo(f"{len(listed)} of {sum(row.recorded is not None for row in found)} recorded claims are stale")


def _print_coverage(methods):
    from lab.claims import coverage

    open_ones = 0
    for method in sorted(methods):
        typer.secho(method, bold=True)
        for sentence in coverage.sentences(method):
            covered = ", ".join(sentence.claims) or (
                f"no claim: {sentence.reason}" if sentence.reason else "NOT COVERED"
            )
            open_ones += sentence.is_open
            typer.echo(f"  {sentence.number}. {sentence.text}\n     {covered}")
        if not coverage.sentences(method):
            typer.echo("  the sentences of its abstract are not numbered yet")
    typer.echo(f"{counted(open_ones, 'sentence')} without a claim or a reason")


def _export(found, kind):
    import csv
    import sys

    if kind == "json":
        typer.echo(json.dumps([row.to_dict() for row in found], ensure_ascii=False, indent=1))
    elif kind == "csv":
        names = ("id", "room", "status", "value", "low", "high", "unit", "rule", "replicates", "date", "text", "source")
        writer = csv.DictWriter(sys.stdout, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in found:
            claim = {"id": row.claim.id, "room": row.claim.room, "text": row.claim.text, "source": row.claim.source}
            writer.writerow({**claim, "rule": row.claim.rule_in_words, **(row.recorded or {}), "status": row.status})
    else:
        for row in found:
            recorded = f"{row.status}; {row.measured}; {row.provenance}" if row.recorded else row.status
            note = f"{recorded}. Source: {row.claim.source}".replace("{", "(").replace("}", ")")
            typer.echo(
                f"@misc{{objective-lab-{row.claim.id},\n  title = {{{row.claim.text}}},\n"
                f"  author = {{{{The Objective Lab contributors}}}},\n  note = {{{note}}}\n}}"
            )


def claim(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Claim ids; `lab claims` lists them.")
    ] = None,
    room: Annotated[str | None, typer.Option(help="All claims of a room.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All claims.")] = False,
    replicates: Annotated[
        int | None, typer.Option("--replicates", "--seeds", min=1, help="Number of replicates [default: the claim's].")
    ] = None,
    control: Annotated[bool, typer.Option("--control", help="Also measure the negative control.")] = False,
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="Double the replicates, at most twice, until the verdict is clear.")
    ] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Tune the compared arms again first, and record all trials.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Measure claims and controls that are missing or stale, and record them.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --record: also re-record claims already recorded.")
    ] = False,
    data: Annotated[str | None, typer.Option(help="Your own data: a file, a folder or the name of a data set.")] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side in pixels to which images of a folder are brought.")
    ] = None,
    domain: Annotated[
        str | None, typer.Option(help="Of a table: the column that names the domain of each row.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Of a table: the column to predict.")] = None,
    budget: Annotated[
        str, typer.Option(help="smoke (seconds), default (minutes) or full (the paper's scale).")
    ] = "default",
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Number of processes [default: one per core].")
    ] = None,
    executor: Annotated[str, typer.Option(help="With --record: local or dask.")] = "local",
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, for example tcp://host:8786.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line per claim.")] = False,
) -> None:
    """Measure statements on this machine, with the built-in data or your own; the row's rule gives the verdict."""
    from lab import checks
    from lab import claims as ledger
    from lab.report.store import recording

    rows = (
        recording.rows_of(ids or (), room=room, every=every)
        if ids is None or not _is_method(ids)
        else _rows_of_methods(ids)
    )
    checks.choice("executor", executor, ("local", "dask"))
    for flag, given in (("--data", data is not None), ("--until-decided", until_decided)):
        if record and given:
            raise ValueError(f"--record and {flag} exclude each other: only the row's own measurement is recorded")
    for flag, given in (("--size", size), ("--domain", domain), ("--target", target)):
        if given is not None and data is None:
            raise ValueError(f"{flag} is for your own data; name them with --data")
    if tune:
        for method in dict.fromkeys(row.method for row in rows):
            ledger.tune(method)
            typer.echo(f"tuned {method}: data/benchmarks/tuning/{method}.csv")
        if not record and ids and _is_method(ids):
            return
    if record:
        _record(rows, replicates, force, budget, jobs, executor, scheduler)
        return
    own: Any = None
    if data is not None:
        from lab import datasets as sets

        own = (
            sets.load(data, size=size, target=target)
            if domain is None
            else sets.own_domains(data, column=domain, target=target)
        )
        if own.notes:
            typer.echo(repr(own), err=True)
    scale = cast("Budget", budget)  # checked by the ledger
    verdicts = []
    for row in rows:
        if len(rows) > 1 and (row.untestable or ledger.measuring_function(row.id) is None):
            continue
        if len(rows) > 1 and data is not None and not row.data:
            typer.echo(f"{row.id} is about its own construction and takes no data", err=True)
            continue
        if until_decided:
            measured = recording.until_decided(row.id, budget=scale, data=own)
        else:
            measured = ledger.measure(row.id, data=own, replicates=replicates, budget=scale)
        verdicts.append(measured.verdict)
        beside = (
            ledger.measure(row.id, data=own, replicates=replicates, budget=scale, control=True) if control else None
        )
        _print_measured(row, measured, beside, as_json)
    raise typer.Exit(1 if "refuted" in verdicts else 4 if "undecided" in verdicts and budget != "smoke" else 0)


def _is_method(ids):
    return all("." not in id for id in ids)


def _rows_of_methods(ids):
    from lab import claims as ledger

    return [row for id in ids for row in ledger.method(id).claims]


def _record(rows, replicates, force, budget, jobs, executor, scheduler):
    from lab.report.runs.batch import cores
    from lab.report.store import recording

    chosen = recording.wanted(rows, replicates=replicates, force=force)
    typer.echo(
        f"{len(chosen)} of {len(rows)} claims to record; the others are already recorded, untestable or lack a control"
    )

    def progress(done, total, what):
        typer.echo(f"  {done}/{total}  {what}", err=True)

    outcome = recording.record(
        chosen, replicates=replicates, budget=budget, jobs=jobs or cores(), executor=executor, scheduler=scheduler,
        progress=progress,
    )  # fmt: skip
    for entry in outcome.lines:
        word = "holds" if entry["control"]["holds"] else "fails"
        found = f"{entry['value']:.4g} {entry['unit']}"
        typer.echo(f"{entry['verdict']}: {entry['id']} = {found}, control {word}, {entry['seconds']:.1f} s")
    for id, reason in outcome.failures.items():
        typer.secho(f"not recorded: {id}: {reason}", fg=typer.colors.RED)
    holding = outcome.controls_that_hold
    share = len(holding) / max(1, outcome.controls)
    typer.echo(f"{len(outcome.lines)} recorded, {len(outcome.failures)} failed")
    typer.echo(f"{len(holding)} of {outcome.controls} recorded controls hold ({share:.1%}; at most 5 % are allowed to)")
    for id in holding:
        typer.echo(f"  the control of {id} holds")
    raise typer.Exit(1 if outcome.failures or share > 0.05 else 0)


def _print_measured(statement, measured, control, as_json):
    from lab.report.store.standing import effect, keep, rows

    keep(measured)
    if as_json:
        found = {**measured.to_dict(), **({"control_measured": control.to_dict()} if control else {})}
        typer.echo(json.dumps(found, ensure_ascii=False, default=str))
        return
    colour = {"holds": typer.colors.GREEN, "refuted": typer.colors.RED}.get(measured.verdict, typer.colors.YELLOW)
    typer.echo(statement.text)
    typer.secho(measured.status, fg=colour, bold=True, nl=False)
    typer.echo(
        f": {effect(measured.to_dict(), statement.unit)}; holds if {statement.rule_in_words}; {measured.replicates} "
        f"replicate{'s' * (measured.replicates != 1)}, {measured.budget} budget, {measured.seconds:.1f} s"
    )
    if needed := measured.needed:
        typer.echo(f"  about {needed} replicates would decide")
    if control is not None:
        word = "holds too, so the claim is not discriminating" if control.holds else "fails, as it should"
        typer.echo(f"  control ({statement.control}): {effect(control.to_dict(), statement.unit)}, {word}")
    elif statement.control:
        typer.echo(f"  control: {statement.control} (--control measures it)")
    (row,) = (row for row in rows(statement.room) if row.claim.id == statement.id)
    if row.recorded is not None:
        typer.echo(f"  {row.provenance}: {row.status}, {row.measured}")
    for name, value in measured.details.items():
        typer.echo(f"  {name}: {value}")
    typer.echo(f"  source: {statement.source}")
    if statement.published:
        typer.echo(f"  published: {statement.published}")


def cite(method: Annotated[str, typer.Argument(help="A method; `lab list` shows them.")]) -> None:
    """Print BibTeX of a method's paper and of the lab."""
    from lab.claims import citation

    typer.echo(citation.cite(method), nl=False)


def datasets(
    path: Annotated[
        str, typer.Argument(help="A data set, a file (image, volume, CSV, Parquet) or a folder: show how it is read.")
    ] = "",
) -> None:
    """List the data sets that `lab.datasets.load` knows by name, or say what reading a file does to it."""
    from lab import datasets as data

    if path:
        typer.echo(repr(data.load(path)))
        return
    cards = data.cards()
    width = max(len(card.name) for card in cards)
    for kind in dict.fromkeys(card.kind for card in cards):
        typer.secho(kind, bold=True)
        for card in (card for card in cards if card.kind == kind):
            needs = f" (needs the extra '{card.extra}')" if card.extra else ""
            typer.echo(f"  {card.name:{width}}  {card.title}, {card.shape}{needs}")
