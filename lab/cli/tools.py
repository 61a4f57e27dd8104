"""Commands about the installation and its kernels: doctor, kernels, warm."""

from __future__ import annotations

from typing import Annotated

import typer

kernels = typer.Typer(
    help="The compiled kernels: compile and cache them, or explain what an operation would use.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("doctor")(doctor)
    app.command("warm", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(warm)
    app.add_typer(kernels, name="kernels")


def doctor(
    sbom: Annotated[
        bool,
        typer.Option(
            "--sbom", help="Write the bill of materials instead: every package and its licence, CycloneDX JSON."
        ),
    ] = False,
) -> None:
    """Say what is installed, what is missing and the line that installs it."""
    if sbom:
        from lab.cli.bom import bill

        typer.echo(bill())
        return
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


def warm(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="For example: papermill in.ipynb out.ipynb -p n 3")
    ] = None,
) -> None:
    """Give a Jupyter command (papermill, jupyter execute, ...) kernels that have imported already; wait without one."""
    import os
    import shlex
    import subprocess

    from lab.report.notebook.forkserver import Zygote, jupyter_environment, kernel_environment
    from lab.report.store import provenance

    with Zygote(kernel_environment(dict(os.environ), provenance.threads())) as zygote:
        if not zygote.available:
            typer.echo(f"lab: kernels start cold: {zygote.reason}", err=True)
        environment = jupyter_environment(zygote)
        if command:
            try:
                raise typer.Exit(subprocess.call(command, env=environment))
            except FileNotFoundError:
                raise ValueError(f"there is no command {command[0]!r} on PATH") from None
        if not zygote.available:
            raise typer.Exit(1)
        for name in sorted(environment):
            if os.environ.get(name) != environment[name]:
                typer.echo(f"export {name}={shlex.quote(environment[name])}")
        typer.echo("Kernels of a shell with these lines are forked from here until Ctrl-C.", err=True)
        try:
            zygote.wait()
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


@kernels.command("warm")
def compile_all() -> None:
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
