"""Commands about the installation: doctor, kernels."""

from __future__ import annotations

from typing import Annotated

import typer

kernels = typer.Typer(
    help="The compiled kernels: compile and cache them, or explain what an operation would use.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("doctor")(doctor)
    app.add_typer(kernels, name="kernels")


def doctor() -> None:
    """Say what is installed, what is missing and the line that installs it."""
    from rich.markup import escape

    from lab.cli import tables
    from lab.cli.doctor import checks

    table = tables.plain("", "", "")
    found = checks()
    for check in found:
        mark = {"ok": "[green]ok[/]", "missing": "[yellow]missing[/]", "broken": "[red]broken[/]"}[check.state]
        table.add_row(mark, check.name, escape(check.text))
    tables.console().print(table)
    raise typer.Exit(1 if any(check.state == "broken" for check in found) else 0)


@kernels.command("warm")
def warm() -> None:
    """Compile every CPU kernel and keep it in the cache."""
    from lab import kernels as lab_kernels

    lab_kernels.warm()


@kernels.command("table")
def table() -> None:
    """List the operations and their implementations."""
    from lab import kernels as lab_kernels

    typer.echo(lab_kernels.table())


@kernels.command("explain")
def explain(operation: Annotated[str, typer.Argument(help="An operation; `lab kernels table` lists them.")]) -> None:
    """Say which implementation an operation would use here, and why."""
    from lab import kernels as lab_kernels

    typer.echo(lab_kernels.explain(operation))
