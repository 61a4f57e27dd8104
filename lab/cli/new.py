"""``lab new ROOM/METHOD``: the files of a study, ready to be filled in."""

from __future__ import annotations

import re
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("new")(new)


def new(
    place: Annotated[str, typer.Argument(metavar="ROOM/METHOD", help="For example losses/focal_loss.")],
    title: Annotated[str | None, typer.Option(help="The study's title [default: from the method's name].")] = None,
) -> None:
    """Create module, test, claims, notebook, page and catalog row of a new study."""
    from lab.cli.templates import create

    room, slash, method = place.partition("/")
    if not slash or not re.fullmatch(r"[a-z][a-z0-9_]*", method):
        raise ValueError(f"expected a room and a method in lower case, for example losses/focal_loss, got {place!r}")
    for path in create(room, method, title or method.replace("_", " ").capitalize()):
        typer.echo(path)
    typer.echo(f"Next: write lab/{room}/{method}.py, then `lab claim {method}.first-statement` and `lab run {method}`")
