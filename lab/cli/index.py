"""Commands about the index of runs: query."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lab.wording import counted

_HELP = """Tables: runs (id, notebook, title, status, started, seconds, cpu_seconds, peak_memory, sweep, kernel, error, commit,
dirty, lock, device, python, threads),
parameters (run_id, name, value, text, given), records (all), metrics (run_id, name, value, text, unit),
claims (run_id, name, value, low, high, holds, status, budget, seeds),
wide (one row a run, columns p_<parameter> and m_<metric>).
For example:
  lab query "select notebook, count(*) as runs, avg(seconds) as seconds from runs group by all"
  lab query "select p_seed, m_dice from wide where status = 'ok' order by m_dice desc limit 10" --csv dice.csv"""


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``app``."""
    app.command("query")(query)


def query(
    sql: Annotated[str | None, typer.Argument(help="An SQL query (DuckDB); without one, describe the tables.")] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write the rows to a CSV file; - means standard output.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines.")] = False,
) -> None:
    """Ask the index of all runs in SQL."""
    from rich.markup import escape

    from lab.report.store import database

    if sql is None:
        typer.echo(_HELP)
        return
    names, rows = database.query(sql)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(dict(zip(names, row)), default=str, ensure_ascii=False))
        return
    if csv_file is not None:
        handle = sys.stdout if str(csv_file) == "-" else open(csv_file, "w", newline="", encoding="utf-8")
        try:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(rows)
        finally:
            if handle is not sys.stdout:
                handle.close()
        return
    from lab.cli import tables

    table = tables.plain(*names)
    for row in rows[:1000]:
        table.add_row(
            *(
                escape("" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value))
                for value in row
            )
        )
    tables.console().print(table)
    typer.echo(counted(len(rows), "row") + (", the first 1000 shown; --csv writes all" if len(rows) > 1000 else ""))
