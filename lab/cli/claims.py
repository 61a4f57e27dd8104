"""Commands about the ledger, the studies and the data: claims, claim, list, datasets."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("list")(list_studies)
    app.command("claims")(claims)
    app.command("claim")(claim)
    app.command("datasets")(datasets)


def list_studies(
    room: Annotated[str | None, typer.Option(help="One room only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines.")] = False,
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
    room: Annotated[str | None, typer.Option(help="One room only.")] = None,
    status: Annotated[
        str | None,
        typer.Option(help="holds, 'holds at small scale', refuted, undecided, 'not testable here' or 'not run'."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="One method only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines.")] = False,
) -> None:
    """List every statement of every paper with what the stored runs say about it."""
    from rich.markup import escape

    from lab import checks
    from lab.claims import STATUSES
    from lab.cli import tables
    from lab.report.ledger import rows

    if status is not None:
        checks.choice("status", status, STATUSES)
    found = rows(room)
    if method is not None:
        checks.choice("method", method, sorted({row.claim.method for row in found}))
        found = [row for row in found if row.claim.method == method]
    if status is not None:
        found = [row for row in found if row.status == status]
    if as_json:
        for row in found:
            typer.echo(json.dumps(row.to_dict(), ensure_ascii=False))
        return
    table = tables.plain("status", "claim", "kind", "setting", "measured", "statement")
    for row in found:
        statement = escape(row.claim.text) + (
            f" [dim]({escape(row.claim.untestable)})[/]" if row.claim.untestable else ""
        )
        table.add_row(
            f"[{tables.COLOURS.get(row.status, 'bright_black')}]{row.status}[/]",
            row.claim.id,
            row.claim.kind,
            row.claim.setting,
            escape(row.measured),
            statement,
        )
    tables.console().print(table)
    counts = {name: sum(row.status == name for row in found) for name in STATUSES}
    typer.echo(f"{len(found)} statements: " + ", ".join(f"{count} {name}" for name, count in counts.items() if count))


def claim(
    id: Annotated[str, typer.Argument(help="The id of a statement; `lab claims` lists them.")],
    data: Annotated[str | None, typer.Option(help="Own data: a file, a folder or the name of a data set.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds [default: the statement's].")] = None,
    budget: Annotated[
        str, typer.Option(help="smoke (seconds), default (minutes) or full (the paper's scale).")
    ] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line.")] = False,
) -> None:
    """Measure one statement on this machine, with the built-in data or your own."""
    from lab import claims as ledger
    from lab.report.ledger import keep

    statement = ledger.by_id(id)
    measured = ledger.measure(id, data=data, seeds=seeds, budget=budget)
    keep(measured, own_data=data is not None)
    if as_json:
        typer.echo(json.dumps(measured.to_dict(), ensure_ascii=False, default=str))
    else:
        low, high = measured.interval
        colour = typer.colors.GREEN if measured.holds else typer.colors.RED
        typer.echo(statement.text)
        typer.secho(f"{measured.status}", fg=colour, bold=True, nl=False)
        unit = f" {statement.unit}" if statement.unit else ""
        typer.echo(
            f": {measured.value:.6g}{unit} [{low:.6g}, {high:.6g}], margin {statement.margin:g}, {len(measured.seeds)} seeds, "
            f"{measured.budget} budget, {measured.seconds:.1f} s"
        )
        for name, value in measured.details.items():
            typer.echo(f"  {name}: {value}")
        typer.echo(f"  source: {statement.source}")
    raise typer.Exit(0 if measured.holds else 1)


def datasets() -> None:
    """List the data sets that `lab.datasets.load` knows by name."""
    from lab import datasets as data

    cards = data.cards()
    width = max(len(card.name) for card in cards)
    for kind in dict.fromkeys(card.kind for card in cards):
        typer.secho(kind, bold=True)
        for card in (card for card in cards if card.kind == kind):
            needs = f" (needs the extra '{card.extra}')" if card.extra else ""
            typer.echo(f"  {card.name:{width}}  {card.title}, {card.shape}{needs}")
