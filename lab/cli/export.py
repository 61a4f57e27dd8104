"""``lab export``: a report as one HTML file, a notebook, PDF or PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("export")(export)


def export(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run, a notebook (its newest run), or a sweep.")],
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML file that works offline.")] = None,
    notebook: Annotated[Path | None, typer.Option(help="Write the executed notebook.")] = None,
    pdf: Annotated[Path | None, typer.Option(help="Write the report to this PDF file.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the whole page to this PNG file.")] = None,
    figures: Annotated[Path | None, typer.Option(help="Write each figure as a PNG file into this folder.")] = None,
) -> None:
    """Write a report as one HTML file, as a notebook, or as PDF or PNG (these need Chromium or Chrome)."""
    from lab.report import site
    from lab.report.site import export as exports
    from lab.report.store.layout import Store

    if all(target is None for target in (html, notebook, pdf, png, figures)):
        raise ValueError("choose what to write: --html, --notebook, --pdf or --png FILE, or --figures FOLDER")
    if notebook is not None:
        typer.echo(exports.to_notebook(Store().find(name), notebook))
    if all(target is None for target in (html, pdf, png, figures)):
        return
    page = site.page_of(name, store=Store())
    if html is not None:
        typer.echo(exports.to_html(page, html))
    if pdf is not None:
        typer.echo(exports.to_pdf(page, pdf))
    if png is not None:
        typer.echo(exports.to_png(page, png))
    for path in exports.to_figures(page, figures) if figures is not None else ():
        typer.echo(path)
