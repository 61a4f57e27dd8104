"""Tables of the command line."""

from __future__ import annotations

import json
import os
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

COLOURS = {
    "holds": "green",
    "holds at small scale": "green",
    "refuted": "red",
    "undecided": "yellow",
    "not testable here": "bright_black",
    "not run": "bright_black",
}


def console() -> Console:
    """A console on standard output; wide where the output is a file or a pipe, so that nothing is cut."""
    if sys.stdout.isatty():
        return Console()
    return Console(width=int(os.environ.get("COLUMNS", 0)) or 200)


def plain(*columns: str) -> Table:
    """A quiet table with these columns."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column)
    return table


def runs(found, *, as_json: bool = False) -> None:
    """All runs, the newest first."""
    if as_json:
        for run in found:
            print(
                json.dumps(
                    {
                        "id": run.id,
                        "status": run.status,
                        "notebook": run.notebook,
                        "parameters": run.parameters,
                        "metrics": run.metrics,
                    }
                )
            )
        return
    if not found:
        print("No runs yet; `lab run NOTEBOOK` creates one.")
        return
    table = plain("status", "run", "notebook", "given", "seconds", "started")
    for run in found:
        given = " ".join(f"{name}={value}" for name, value in run.info["given"].items())
        style = "green" if run.ok else "red"
        table.add_row(
            f"[{style}]{run.status}[/]",
            run.id,
            escape(run.notebook),
            escape(given),
            f"{run.info['seconds']:.1f}",
            run.info["started"][:16].replace("T", " "),
        )
    console().print(table)


def one_run(run) -> None:
    """One run: how it ended, parameters, metrics, claims, where it came from."""
    out = console()
    style = "green" if run.ok else "red"
    out.print(f"[bold]{escape(run.title)}[/]  [{style}]{run.status}[/]", highlight=False)
    info = run.info
    out.print(
        f"[dim]{run.id} · {escape(run.notebook)} · {info['started']} · {info['seconds']:.1f} s, {info['cpu_seconds']:.1f} s "
        f"CPU, {info['peak_memory'] / 2**20:.0f} MiB · {info['kernel']} kernel[/]",
        highlight=False,
    )
    _section(
        out,
        "Parameters",
        [
            (name, f"{value!r}" + ("" if name in info["given"] else " [dim](default)[/]"))
            for name, value in run.parameters.items()
        ],
    )
    units = {entry["name"]: entry["unit"] for entry in run.records if entry["kind"] == "metric"}
    _section(
        out, "Metrics", [(name, f"{escape(str(value))} {escape(units[name])}") for name, value in run.metrics.items()]
    )
    _section(
        out,
        "Claims",
        [
            (name, f"[{COLOURS[entry['status']]}]{entry['status']}[/] {entry['value']} {entry['interval']}")
            for name, entry in run.claims.items()
        ],
    )
    if run.error:
        error = run.error
        _section(
            out,
            "Error",
            [("cell", str(error["cell"] or "-")), ("cause", escape(f"{error['name']}: {error['message']}"))],
        )
        for text in (error["source"], error["traceback"], error.get("log", "")):
            if text.strip():
                out.print(escape(text.rstrip()), highlight=False)
                out.print()
    git = info["provenance"]["git"]
    state = f"{git['commit'][:10]}{' with changes' if git.get('dirty') else ''}" if git else "no repository"
    origin = info["provenance"]
    _section(
        out,
        "Provenance",
        [
            ("commit", state),
            ("lock", origin["lock"] or "none"),
            ("python", origin["python"]),
            ("device", origin["device"]),
            ("threads", str(origin["threads"])),
            ("modules", str(len(info["observed"]["modules"]))),
        ],
    )
    out.print(f"[dim]{escape(str(run.folder))}[/]", highlight=False, soft_wrap=True)


def _section(out, title, rows):
    if not rows:
        return
    out.print(f"\n[bold]{title}[/]")
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 2))
    for row in rows:
        table.add_row(*row)
    out.print(table)


def one_method(method, store, *, as_json: bool = False) -> None:
    """Where the parts of a method stand, how its claims stand, and its newest run."""
    import json
    from collections import Counter

    from lab.report.store.standing import rows
    from lab.report.studies import places

    found = places(method)
    newest = next((run for run in store.all() if run.notebook == method.notebook), None)
    stands = Counter(row.status for row in rows(method.room, store=store) if row.claim.method == method.id)
    if as_json:
        print(
            json.dumps({"method": method.id, "places": found, "claims": stands, "run": newest.id if newest else None})
        )
        return
    out = console()
    out.print(f"[b]{escape(method.title)}[/]  ({method.id})\n{escape(method.sentence)}\n{escape(method.source)}")
    table = plain("part", "place")
    for part, paths in found.items():
        table.add_row(part, escape(", ".join(paths)) if paths else "[yellow]missing[/]")
    out.print(table)
    out.print("claims: " + ", ".join(f"{count} {status}" for status, count in stands.items()))
    if newest:
        out.print(f"newest run: lab show {newest.id}")
