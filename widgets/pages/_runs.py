"""The run browser: filter, see numbers and claims, compare, open as report or as dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd
import panel as pn

from lab.report import Run
from lab.wording import counted
from widgets import pages
from widgets.pages import _studies
from widgets.pages._anatomy import number_text, numbers
from widgets.pages._layout import head, html, status_badge
from widgets.pages._state import sync

_SHOWN = 200
_ANY = "any"


def build(state: dict) -> pn.Column:
    """The browser at ``{"search": text, "status": word, "compare": [run ids]}``."""
    index = _studies.index()
    statuses = [_ANY, *sorted({run.status for run in index.runs})]
    labels = {f"{run.title} · {short_time(run)} · {run.id}": run.id for run in index.runs[:_SHOWN]}
    widgets = {
        "search": pn.widgets.TextInput(label="Filter", placeholder="title, notebook, parameter or id"),
        "status": pn.widgets.Select(label="Status", options=statuses, value=_ANY),
        "compare": pn.widgets.MultiSelect(label="Compare (choose two or more)", options=labels, value=[], size=8),
    }
    state = {**state, "compare": _known(state.get("compare"), labels)} if "compare" in state else state
    sync(widgets, state)
    table, comparison = html(""), pn.Column(sizing_mode="stretch_width", margin=0)

    def refresh(*_):
        found = matching(index.runs, widgets["search"].value, widgets["status"].value)
        table.object = _table(found, len(index.runs))
        chosen = [run for run in index.runs if run.id in set(widgets["compare"].value)]
        comparison.objects = _comparison(chosen) if len(chosen) > 1 else []

    for widget in widgets.values():
        widget.param.watch(refresh, "value")
    refresh()
    for widget in widgets.values():
        widget.param.update(sizing_mode="stretch_width", margin=(0, 0))
    filters = pn.FlexBox(
        *[pn.Column(widgets[key], styles={"flex": f"{grow} 1 220px"}, margin=0) for key, grow in (("search", 3), ("status", 1))],
        pn.Column(widgets["compare"], styles={"flex": "4 1 320px"}, margin=0),
        gap="16px", sizing_mode="stretch_width", margin=0,
    )  # fmt: skip
    return pn.Column(
        head("Runs", "All executed notebooks with their parameters, metrics and claims."), filters, comparison, table,
        css_classes=["lab-page"], sizing_mode="stretch_width", margin=0,
    )  # fmt: skip


def matching(runs: Sequence[Run], search: str, status: str = _ANY) -> list[Run]:
    """The runs in which every word of ``search`` occurs (title, notebook, id, parameters) and whose status is ``status``."""
    words = search.lower().split()
    found = []
    for run in runs:
        parameters = " ".join(f"{key}={value}" for key, value in run.parameters.items())
        text = f"{run.title} {run.notebook} {run.id} {parameters}".lower()
        if status in (_ANY, run.status) and all(word in text for word in words):
            found.append(run)
    return found


def dashboard_link(run: Run) -> str:
    """The address of the run's page at the run's state, relative to the application, or an empty string."""
    recorded = _studies.page_of(run)
    if not recorded or recorded[0] not in pages.names():
        return ""
    name, state = recorded
    return f"{pages.find(name).route}?{pages.address({'run': run.id, **state})}"


def report_link(run: Run) -> str:
    """The address that opens the run's report, rendering it first where it is not there yet."""
    return f"report?{pages.address({'run': run.id})}"


def short_time(run: Run) -> str:
    """``2026-03-01 12:30`` of the run's start."""
    return str(run.info.get("started", ""))[:16].replace("T", " ")


def run_facts(run: Run) -> str:
    """The run in one paragraph of HTML: status, parameters, links."""
    parameters = " ".join(f"<code>{escape(key)}={escape(str(value))}</code>" for key, value in run.parameters.items())
    return f"{_status(run)} {_links(run)}<div>{parameters}</div>"


def _known(chosen, labels) -> list:
    if not isinstance(chosen, list):
        raise TypeError(f"compare must be a list of run ids, got {chosen!r}")
    return [run_id for run_id in chosen if run_id in labels.values()]


def _status(run: Run) -> str:
    return status_badge("holds" if run.ok else "refuted", run.status)


def _links(run: Run) -> str:
    links = [(dashboard_link(run), "Dashboard"), (report_link(run), "Report")]
    return " · ".join(f'<a href="{escape(target)}">{label}</a>' for target, label in links if target)


def _table(runs: Sequence[Run], total: int) -> str:
    if not total:
        return (
            '<div class="lab-empty">No runs yet. <a href="run">Run a notebook</a>, or <code>make report</code>.</div>'
        )
    if not runs:
        return '<div class="lab-empty">No runs match this filter.</div>'
    rows = []
    for run in runs[:_SHOWN]:
        claims = run.claims.values()
        holds = sum(bool(record.get("holds")) for record in claims)
        tally = f"{holds} of {len(claims)} hold" if claims else ""
        metrics = ", ".join(
            f"{escape(name)} {number_text(value)}"
            for name, value in list(run.metrics.items())[:4] if isinstance(value, (int, float)) and not isinstance(value, bool)
        )  # fmt: skip
        changed = " ".join(f"<code>{escape(key)}={escape(str(value))}</code>" for key, value in run.parameters.items())
        reason = f"<small>{escape(str((run.error or {}).get('message', '')))[:240]}</small>" if run.error else ""
        rows.append(
            f'<tr><th scope="row">{escape(run.title)}<br><small>{escape(run.id)}</small></th><td>{_status(run)}{reason}</td>'
            f'<td>{short_time(run)}</td><td class="wide">{changed}</td><td class="wide">{metrics}</td><td>{tally}</td>'
            f"<td>{_links(run)}</td></tr>"
        )
    columns = ("Run", "Status", "Started", "Parameters", "Metrics", "Claims", "Open")
    heading = "".join(f'<th scope="col">{column}</th>' for column in columns)
    return (
        f'<p aria-live="polite">{len(runs)} of {counted(total, "run")}</p>'
        f'<div class="lab-table" tabindex="0" role="region" aria-label="runs">'
        f"<table><thead><tr>{heading}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _comparison(runs: Sequence[Run]) -> list:
    """Tables of what differs between runs: parameters, numbers, claims; one column a run."""
    names = [f"{run.title} {run.id.rsplit('-', 1)[-1][:8]}" for run in runs]
    parts = [html("<h2>Comparison</h2>")]
    for title, read in (
        ("parameter", lambda run: run.parameters),
        ("number", lambda run: run.metrics),
        ("claim", lambda run: {name: record.get("value") for name, record in run.claims.items()}),
    ):
        content = [read(run) for run in runs]
        keys = list(dict.fromkeys(key for entry in content for key in entry))
        if title == "parameter":
            keys = [key for key in keys if len({repr(entry.get(key)) for entry in content}) > 1]
        if keys:
            rows = [{title: key, **{name: entry.get(key) for name, entry in zip(names, content)}} for key in keys]
            parts.append(numbers(pd.DataFrame(rows, dtype=object), label=f"comparison by {title}"))
    return parts
