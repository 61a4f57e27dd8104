"""Progress of a batch on the terminal: a live table with the running cells and the time left, plain lines, or JSON lines."""

from __future__ import annotations

import json
import sys
import threading
import time

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

COLOURS = {
    "ok": "green",
    "failed": "red",
    "timeout": "yellow",
    "out of memory": "magenta",
    "kernel died": "red",
    "cancelled": "yellow",
}


class Progress:
    """Shows the events of a :class:`lab.report.runs.batch.Batch`; a context manager that stops the batch on Ctrl-C."""

    def __init__(self, batch, *, quiet: bool = False, as_json: bool = False):
        self.batch, self.quiet, self.as_json = batch, quiet, as_json
        self.console = Console(stderr=True)
        self.names = {plan.run_id: plan for plan in batch.plans}
        self.running: dict[str, object] = {}
        self.done: list[float] = []
        self.began = time.monotonic()
        self._lock = threading.Lock()
        live = not quiet and not as_json and self.console.is_terminal
        self._live = Live(self._table(), console=self.console, refresh_per_second=4, transient=True) if live else None

    def __enter__(self):
        if self._live:
            self._live.start()
        if self.as_json:
            for run_id in self.batch.reused:
                self._line({"kind": "reused", "run_id": run_id})
        return self

    def __exit__(self, kind, error, trace):
        if self._live:
            self._live.stop()
        if kind is KeyboardInterrupt:
            self.batch.stop()

    def event(self, event) -> None:
        """Take one event of a run, from any thread."""
        with self._lock:
            if event.kind == "finished":
                self.running.pop(event.run_id, None)
                self.done.append(event.seconds)
            elif event.kind in ("started", "cell"):
                self.running[event.run_id] = event
            if self.as_json:
                self._line(event.to_dict())
            elif self._live:
                self._live.update(self._table())
            if event.kind == "waiting" and not self.as_json:
                self.console.print(
                    f"[dim]{escape(event.run_id)}: {escape(event.text)}[/]", highlight=False, soft_wrap=True
                )
            if event.kind == "finished" and not self.as_json and (not self.quiet or event.text != "ok"):
                plan = self.names[event.run_id]
                colour = COLOURS.get(event.text, "white")
                self.console.print(
                    f"[{colour}]{event.text:>8}[/]  {escape(plan.notebook)}  [dim]{escape(_short(plan.given))}  "
                    f"{event.seconds:.1f} s  {event.run_id}[/]",
                    highlight=False,
                    soft_wrap=True,
                )

    def summary(self, runs) -> None:
        """One line on all runs, and each failure with its notebook, parameters, cell and cause."""
        if self.as_json:
            for run in runs:
                self._line(
                    {
                        "kind": "run",
                        "run_id": run.id,
                        "status": run.status,
                        "notebook": run.notebook,
                        "parameters": run.parameters,
                    }
                )
            return
        for run in runs:
            if not run.ok:
                self._failure(run)
        failed = sum(not run.ok for run in runs)
        if not self.quiet or failed:
            reused = len(self.batch.reused)
            text = (
                f"{len(runs)} run{'s' * (len(runs) != 1)}: {len(runs) - failed} succeeded, {failed} failed, {reused} "
                "unchanged and reused"
            )
            self.console.print(f"{text}, {time.monotonic() - self.began:.1f} s", highlight=False)
            if self.batch.cold_because:
                self.console.print(f"[dim]every run had a fresh kernel: {self.batch.cold_because}[/]", highlight=False)

    def result(self, run, page) -> None:
        """What one run gave."""
        if self.as_json:
            self._line(
                {"kind": "run", "run_id": run.id, "status": run.status, "metrics": run.metrics, "page": str(page or "")}
            )
            return
        if not run.ok:
            self._failure(run)
        if not self.quiet:
            for entry in run.records:
                if entry["kind"] == "metric":
                    print(f"{entry['name']} = {entry['value']}{' ' + entry['unit'] if entry['unit'] else ''}")
                else:
                    low, high = entry["interval"]
                    print(f"{entry['status']}: {entry['name']} = {entry['value']} [{low}, {high}]")
            reused = " (unchanged, from the store)" if run.id in self.batch.reused else ""
            print(f"{run.status}: {run.id}{reused}")
        if page:
            print(page)

    def _failure(self, run):
        error = run.error or {}
        where = f"cell {error['cell']}" if error.get("cell") else "the kernel"
        self.console.print(
            f"[red]{run.status}[/]: {escape(run.notebook)}, {where}: {escape(error.get('name', ''))}: "
            f"{escape(error.get('message', ''))}",
            highlight=False,
            soft_wrap=True,
        )
        self.console.print(f"  parameters: {escape(_short(run.parameters))}", highlight=False, soft_wrap=True)
        for line in error.get("source", "").splitlines()[:6]:
            self.console.print(f"  | {escape(line)}", highlight=False, soft_wrap=True)
        tail = [line for line in error.get("traceback", "").splitlines() if line.strip()][-3:]
        for line in tail + error.get("log", "").strip().splitlines()[-3:]:
            self.console.print(f"  {escape(line)}", highlight=False, soft_wrap=True, style="dim")
        self.console.print(f"  lab show {run.id}", highlight=False, style="dim")

    def _table(self):
        table = Table.grid(padding=(0, 1))
        total, finished = len(self.names), len(self.batch.reused) + len(self.done)
        table.add_row(f"[bold]{finished}/{total}[/]", self._left(total - finished))
        for run_id, event in list(self.running.items()):
            place = f"cell {event.cell}/{event.cells}" if event.cell else "starting"
            table.add_row(
                f"[dim]{place}[/]", f"{escape(self.names[run_id].notebook)} [dim]{escape(event.text[:60])}[/]"
            )
        return table

    def _left(self, remaining):
        if not self.done or not remaining:
            return ""
        each = (time.monotonic() - self.began) / len(self.done)
        seconds = each * remaining
        return f"[dim]about {seconds:.0f} s left[/]" if seconds < 90 else f"[dim]about {seconds / 60:.0f} min left[/]"

    def _line(self, entry):
        sys.stdout.write(json.dumps(entry, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _short(parameters):
    text = " ".join(f"{name}={value}" for name, value in parameters.items())
    return text if len(text) <= 80 else text[:77] + "..."
