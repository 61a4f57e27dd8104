"""``lab export``: a report as PDF or PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("export")(export)


def export(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run, a notebook (its newest run), or a sweep.")],
    pdf: Annotated[Path | None, typer.Option(help="Write the report to this PDF file.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the whole page to this PNG file.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Write each figure as a PNG file into this folder.")] = None,
) -> None:
    """Write a report as PDF or PNG (needs Chromium or Chrome)."""
    from lab.report import site
    from lab.report.site import export as exports
    from lab.report.store.layout import Store

    if pdf is None and png is None and figures is None:
        raise ValueError("choose what to write: --pdf FILE, --png FILE or --figures FOLDER")
    page = site.page_of(name, store=Store())
    if pdf is not None:
        typer.echo(exports.to_pdf(page, pdf))
    if png is not None:
        typer.echo(exports.to_png(page, png))
    for path in exports.to_figures(page, figures) if figures is not None else ():
        typer.echo(path)
