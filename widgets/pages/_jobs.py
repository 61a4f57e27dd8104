"""The job page: any notebook with a form from its typed parameters, progress by cell, cancel, and the result."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

import panel as pn

from lab import checks, claims
from lab.report import Job, ParameterError, Run, Store, read_parameters, submit
from lab.report.notebook.parameters import Parameter
from lab.report.store.layout import project_root
from widgets.pages import _shared
from widgets.pages._anatomy import numbers
from widgets.pages._layout import claims_pane, head, html
from widgets.pages._runs import dashboard_link, report_link, run_facts
from widgets.pages._state import address, in_session
from widgets.pages._studies import rows_of_run

_POLL_MILLISECONDS = 150
_LOG_LINES = 60

# Jobs that this process started, by run id: a link to a job opens in any browser that may see this server.
_JOBS: dict[str, Job] = {}


def notebooks(folder: Path) -> dict[str, str]:
    """Every notebook below ``folder`` by its place: ``{"topology / betti_matching": "notebooks/topology/..."}``."""
    found = {}
    for path in sorted(folder.rglob("*.ipynb")):
        relative = path.relative_to(folder)
        if not any(part.startswith(".") for part in relative.parts):
            found[" / ".join(relative.with_suffix("").parts)] = f"{folder.name}/{relative.as_posix()}"
    return found


def build(state: dict, folder: Path | None = None) -> pn.Column:
    """The page at ``{"notebook": path, "job": run id, <parameter>: value, ...}``.

    ``folder`` holds the notebooks that may be run, by default those of the project.
    """
    folder = Path(folder or project_root() / "notebooks").resolve()
    available = notebooks(folder)
    if not available:
        empty = f'<div class="lab-empty">There is no notebook in <code>{escape(folder.name)}</code>.</div>'
        return pn.Column(head("New run"), html(empty), sizing_mode="stretch_width", margin=0)
    first = next(iter(available.values()))
    chosen = checks.choice("notebook", state.get("notebook", first), list(available.values()))
    given = {key: value for key, value in state.items() if key not in ("notebook", "job")}
    choose = pn.widgets.Select(label="Notebook", options=available, value=chosen, sizing_mode="stretch_width", margin=0)
    form = Form(folder.parent / chosen, given)
    place = pn.Column(*form.widgets.values(), margin=0, sizing_mode="stretch_width")
    start = pn.widgets.Button(label="Run", button_type="primary", sizing_mode="stretch_width", margin=(8, 0, 0, 0))
    again = pn.widgets.Checkbox(label="Rerun even if nothing has changed", margin=(4, 0))
    notice = html("", "lab-notice", visible=False)
    watch = Watch()
    current = {"form": form}

    def refuse(error):
        notice.object, notice.visible = f'<div role="alert">{escape(str(error))}</div>', True

    def changed(event):
        notice.visible = False
        try:
            current["form"] = Form(folder.parent / event.new, {})
        except ValueError as error:
            refuse(error)
            return
        place.objects = list(current["form"].widgets.values())
        _write_address({"notebook": event.new})

    async def run(_):
        notice.visible = False
        start.disabled = True
        try:
            values = current["form"].values()
            job = await asyncio.to_thread(submit, folder.parent / choose.value, values, force=again.value)
        except (ValueError, OSError) as error:
            refuse(error)
            return
        finally:
            start.disabled = False
        _JOBS[job.id] = job
        _shared.own_job(job.id)
        _write_address({"notebook": choose.value, "job": job.id})
        watch.follow(job)

    choose.param.watch(changed, "value")
    start.on_click(run)
    if "job" in state:
        _reopen(state["job"], watch, refuse)
    side = pn.Column(choose, place, again, start, css_classes=["lab-controls"], margin=0, styles={"flex": "0 0 320px"})
    middle = pn.Column(notice, watch.view, css_classes=["lab-main"], sizing_mode="stretch_width", margin=0,
                       styles={"flex": "1 1 420px", "min-width": "0"})  # fmt: skip
    body = pn.FlexBox(side, middle, css_classes=["lab-body"], gap="24px", sizing_mode="stretch_width", margin=0)
    return pn.Column(
        head("New run", "Choose a notebook and set its parameters; it runs in a separate process."), body,
        css_classes=["lab-page"], sizing_mode="stretch_width", margin=0,
    )  # fmt: skip


class Form:
    """One widget a parameter; :meth:`values` refuses in the notebook's own words."""

    def __init__(self, notebook: Path, given: Mapping):
        self.schema = read_parameters(notebook)
        unknown = [name for name in given if name not in self.schema.parameters]
        if unknown:
            self.schema.resolve({unknown[0]: given[unknown[0]]})
        self.widgets = {
            name: _widget(parameter, parameter.accept(given[name]) if name in given else parameter.default)
            for name, parameter in self.schema.parameters.items()
            if not parameter.computed
        }

    def values(self) -> dict:
        """The parameters that differ from their defaults, accepted.

        Raises:
            ParameterError: naming the parameter, what came and what is wanted.
        """
        values = {}
        for name, widget in self.widgets.items():
            parameter = self.schema.parameters[name]
            if widget.value is None and not _takes_none(parameter.kind):
                raise ParameterError(f"parameter {name!r} must be {parameter.describe()}, got nothing")
            is_text = isinstance(widget, pn.widgets.TextInput) and parameter.kind.name != "text"
            accepted = parameter.accept(widget.value, text=is_text)
            if accepted != parameter.default or type(accepted) is not type(parameter.default):
                values[name] = accepted
        return values


def _takes_none(kind) -> bool:
    return kind.name in ("none", "any") or any(_takes_none(item) for item in kind.items if kind.name == "union")


def _widget(parameter: Parameter, value) -> pn.widgets.Widget:
    """The widget that fits the parameter's kind; its label carries unit and meaning."""
    unit = f" [{parameter.unit}]" if parameter.unit else ""
    meaning = _literally(parameter.help or parameter.describe())
    common = {
        "label": f"{parameter.name}{unit}", "description": meaning, "sizing_mode": "stretch_width", "margin": (4, 0),
    }  # fmt: skip
    kind, low, high = parameter.kind, parameter.low, parameter.high
    if kind.name in ("choice", "enum"):
        return pn.widgets.Select(options=list(kind.options), value=value, **common)
    if kind.name == "boolean":
        return pn.widgets.Checkbox(value=value, label=common["label"], margin=(4, 0))
    if kind.name == "integer":
        return pn.widgets.IntInput(value=value, start=_int(low), end=_int(high), **common)
    if kind.name in ("number", "real"):
        step = (high - low) / 100 if low is not None and high is not None else 0.1
        return pn.widgets.FloatInput(value=value, start=low, end=high, step=step, **common)
    text = value if isinstance(value, str) else json.dumps(value)
    return pn.widgets.TextInput(value=text, placeholder=parameter.describe(), **common)


def _literally(text: str) -> str:
    """Words of a stranger's notebook for a description, read as Markdown with HTML: every mark stands for itself."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def _int(end):
    return None if end is None else int(end)


class Watch:
    """The right side of the page: what a job does now, and what it left."""

    def __init__(self):
        self.status = html('<div class="lab-empty">The run will appear here.</div>')
        self.cancel = pn.widgets.Button(label="Cancel", button_type="danger", visible=False, margin=0)
        self.log = html("", visible=False)
        self.result = pn.Column(sizing_mode="stretch_width", margin=0)
        self.view = pn.Column(
            self.status, self.cancel, self.log, self.result,
            css_classes=["lab-watch"], sizing_mode="stretch_width", margin=0,
        )  # fmt: skip
        self.cancel.on_click(self._cancel)
        self._job: Job | None = None
        self._poll = None

    def follow(self, job: Job) -> None:
        """Show the job until it ends, and then its result."""
        self._job = job
        self.result.objects = []
        self.cancel.visible = not job.done
        self._refresh()
        if not job.done and in_session() and self._poll is None:
            self._poll = pn.state.add_periodic_callback(self._refresh, period=_POLL_MILLISECONDS)

    def show(self, run: Run) -> None:
        """A run of the store, without its events."""
        self.status.object = f"<h2>{escape(run.title)}</h2>{run_facts(run)}"
        self.result.objects = _result(run)

    def _cancel(self, _):
        if self._job is not None:
            self._job.cancel()
            self.cancel.visible = False
            self._refresh()

    def _refresh(self):
        job = self._job
        events = list(job.events(timeout=0))
        self.status.object = _progress(job, events)
        printed = [line for event in events if event.kind == "output" for line in event.text.splitlines()]
        tail = escape("\n".join(printed[-_LOG_LINES:]))
        self.log.object = f"<details open><summary>Output</summary><pre>{tail}</pre></details>"
        self.log.visible = bool(printed)
        if job.done:
            if self._poll is not None:
                self._poll.stop()
                self._poll = None
            self.cancel.visible = False
            self.result.objects = self._end(job)

    def _end(self, job):
        try:
            return _result(job.result(timeout=1))
        except Exception as error:
            return [html(f'<div role="alert">The run ended without a result: {escape(str(error))}</div>', "lab-notice")]


def _progress(job: Job, events) -> str:
    cells = [event for event in events if event.kind == "cell"]
    steps = []
    for position, event in enumerate(cells):
        is_last = position == len(cells) - 1
        state = "done" if not is_last else "running"
        if job.done and is_last:
            state = "done" if job.status == "ok" else "failed"
        steps.append(
            f'<li class="{state}">{escape(event.text or "cell")} <small>cell {event.cell} of {event.cells}</small></li>'
        )
    share = 1.0 if job.done else (cells[-1].fraction if cells else 0.0)
    if job.control.reason and not job.done:  # its processes are killed already; what they left is being stored
        words = f"{job.control.reason}; saving partial results"
    else:
        words = f"{job.status}" + (f", {share:.0%}" if not job.done and cells else "")
    return (
        f'<h2 id="lab-job-status" aria-live="polite">Run {escape(job.id)}: {escape(words)}</h2>'
        f'<progress max="1" value="{share:.3f}" aria-labelledby="lab-job-status"></progress>'
        f'<ol class="lab-steps">{"".join(steps)}</ol>'
    )


def _result(run: Run) -> list:
    parts = []
    if run.error:
        error = run.error
        where = f" in cell {error['cell']} of the notebook" if error.get("cell") else ""
        text = f"<b>{escape(run.status)}{where}</b>: {escape(str(error.get('name', '')))} {escape(str(error.get('message', '')))}"
        parts.append(html(f'<div role="alert">{text}</div>', "lab-notice"))
        if error.get("traceback"):
            parts.append(
                html(f"<details><summary>Traceback</summary><pre>{escape(_plain(error['traceback']))}</pre></details>")
            )
    links = []
    if dashboard_link(run):
        links.append(f'<a href="{escape(dashboard_link(run))}"><b>Open as dashboard</b></a>')
    links.append(f'<a href="{escape(report_link(run))}"><b>Open as report</b></a>')
    parts.append(html(f"<p>{' · '.join(links)}</p>"))
    numeric = {name: value for name, value in run.metrics.items() if isinstance(value, (int, float, str, bool))}
    if numeric:
        parts.append(numbers(numeric))
    measured = {claim.method for claim in claims.ledger() if claim.id in run.claims}
    parts.extend(claims_pane(method, rows_of_run(run, method)) for method in sorted(measured))
    return parts


def _plain(traceback) -> str:
    text = "\n".join(traceback) if isinstance(traceback, list) else str(traceback)
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _reopen(job_id, watch, refuse) -> None:
    if job_id in _JOBS:
        watch.follow(_JOBS[job_id])
        return
    run = Store().get(str(job_id)) if isinstance(job_id, str) and Path(job_id).name == job_id else None
    if run is None:
        refuse(f"unknown job {job_id!r}: it is neither on this server nor among the stored runs")
    else:
        watch.show(run)


def _write_address(state: Mapping) -> None:
    if in_session() and pn.state.location is not None:
        pn.state.location.search = f"?{address(state)}"
