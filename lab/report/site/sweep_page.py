"""The page of a sweep: metrics over the axes with intervals over seeds, parallel coordinates, all runs, two runs side by side."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from lab.report.site import frame
from lab.report.site.notebook import data_script, figure
from lab.report.site.run_page import how_made, short
from lab.report.site.thumbnail import thumbnail
from lab.report.store import database
from lab.report.store.layout import Run, Store
from lab.report.store.records import number
from lab.wording import counted

_SERIES = ("#E69F00", "#56B4E9", "#CC79A7", "#0072B2", "#009E73", "#D55E00", "#999999")
_MOST_PICTURES = 60


def sweep_page(sweep: dict[str, Any], store: Store) -> str:
    """The whole page of a remembered sweep."""
    runs = [run for run in map(store.get, sweep["runs"]) if run is not None]
    good = [run for run in runs if run.ok]
    axes = [axis for axis in sweep["axes"] if any(axis in run.parameters for run in runs)]
    metrics = _metrics(good)
    parts = [
        f"<h1>{escape(runs[0].title if runs else sweep['notebook'])}</h1>",
        f'<p class="lead">A sweep of {counted(len(sweep["runs"]), "run")} over {escape(", ".join(axes) or "one point")}: '
        f"{len(good)} succeeded, {len(runs) - len(good)} failed, {len(sweep['runs']) - len(runs)} not run yet.</p>",
        f'<div class="facts"><code>{escape(sweep["id"])}</code></div>',
    ]
    parts.append(_failures([run for run in runs if not run.ok], axes))
    plots = []
    if good and metrics and axes:
        main = _main_axis(axes, good)
        plots = [_curve(metric, main, axes, sweep, store, place) for place, metric in enumerate(metrics[:6])]
        parts.append(f'<h2 id="curves">Metrics over {escape(main)}</h2><div class="grid-2">{"".join(plots)}</div>')
        parts.append(f'<h2 id="parallel">All runs at once</h2>{_parallel(good, axes, metrics, sweep)}')
    parts += [_pictures(good, axes), _table(runs, axes, metrics), _side_by_side(runs)]
    return frame.page(f"Sweep {sweep['id']}", "".join(parts), depth=1, plots=bool(plots))


def _failures(runs, axes):
    """What went wrong where, one line a run; its page has the source, the traceback and the log."""
    lines = []
    for run in runs[:20]:
        error, given = run.error or {}, ", ".join(f"{axis} {short(run.parameters.get(axis))}" for axis in axes)
        where = f"cell {error['cell']}" if error.get("cell") else "the kernel"
        lines.append(
            f'<li><a href="../runs/{run.id}.html">{escape(given or run.id)}</a>: {escape(run.status)} in {where}, '
            f"{escape(error.get('name', ''))}: {escape(error.get('message', ''))}</li>"
        )
    more = f"<li>and {len(runs) - 20} more in the table below</li>" if len(runs) > 20 else ""
    head = f"{counted(len(runs), 'run')} failed"
    return f'<div class="notice" role="alert"><b>{head}</b><ul>{"".join(lines)}{more}</ul></div>' if lines else ""


def _metrics(runs):
    names = dict.fromkeys(name for run in runs for name, value in run.metrics.items() if number(value) is not None)
    return list(names)


def _main_axis(axes, runs):
    """The axis with the most values, numbers before words; seeds are averaged over, not drawn along."""

    def rank(axis):
        values = {short(run.parameters.get(axis)) for run in runs}
        return all(number(run.parameters.get(axis)) is not None for run in runs), len(values)

    return max([axis for axis in axes if axis != "seed"] or axes, key=rank)


def _curve(metric, main, axes, sweep, store, place):
    """Mean over seeds with its 95 % interval against the first axis; further axes are series."""
    others = [axis for axis in axes if axis not in (main, "seed")]
    listed = ", ".join(database._quoted(run_id) for run_id in sweep["runs"])
    rows = database.seed_statistics(store, metric, [main, *others], f"r.id in ({listed}) and r.status = 'ok'")
    groups: dict[tuple, list] = {}
    for row in rows:
        groups.setdefault(tuple(row["at"][axis] for axis in others), []).append(row)
    traces = []
    for index, (key, found) in enumerate(list(groups.items())[:12]):
        colour = _SERIES[index % len(_SERIES)]
        label = ", ".join(f"{axis} {value}" for axis, value in zip(others, key)) or metric
        errors = [0 if row["high"] is None else row["high"] - row["mean"] for row in found]
        x = [_plain(row["at"][main]) for row in found]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": label,
                "x": x,
                "y": [row["mean"] for row in found],
                "error_y": {"type": "data", "array": errors, "visible": any(errors), "thickness": 1.2},
                "line": {"color": colour},
                "marker": {"color": colour},
            }
        )
    seeds = max((row["count"] for row in rows), default=1)
    best = max(rows, key=lambda row: row["mean"], default=None)
    title = f"{metric}: highest at {main} = {short(_plain(best['at'][main]))}" if best else metric
    note = f" (mean and 95 % interval of {seeds} seeds)" if seeds > 1 else ""
    layout = _layout(title, main, metric + note) | {"showlegend": len(traces) > 1, "height": 340}
    return figure({"data": traces, "layout": layout}, f"curve-{place}", how_made(f"lab sweep {sweep['id']}"))


def _parallel(runs, axes, metrics, sweep):
    dimensions = []
    varying = [axis for axis in axes if len({short(run.parameters.get(axis)) for run in runs}) > 1]
    for name in [*varying, *metrics[:8]]:
        values = [run.parameters.get(name) if name in varying else run.metrics.get(name) for run in runs]
        numbers = [number(value) for value in values]
        if all(value is not None for value in numbers):
            dimensions.append({"label": name, "values": numbers})
        else:
            words = list(dict.fromkeys(short(value) for value in values))
            places = [words.index(short(value)) for value in values]
            dimensions.append({"label": name, "values": places, "tickvals": list(range(len(words))), "ticktext": words})
    shade = dimensions[len(varying)]["values"] if len(dimensions) > len(varying) else None
    trace = {
        "type": "parcoords",
        "dimensions": dimensions,
        "line": {"color": shade, "colorscale": "Viridis", "showscale": shade is not None},
    }
    layout = _layout(f"{counted(len(runs), 'run')}, coloured by {metrics[0]}", "", "") | {
        "height": 420,
        "margin": {"l": 70, "r": 60, "t": 110, "b": 40},
    }
    more = '<span class="small">Drag along an axis to choose runs.</span>'
    return figure({"data": [trace], "layout": layout}, "parallel-plot", how_made(f"lab sweep {sweep['id']}", more))


def _pictures(runs, axes):
    cards = []
    for run in runs[:_MOST_PICTURES]:
        figures = run.figures()
        if figures:
            picture = thumbnail(json.loads(figures[0].read_text(encoding="utf-8")))
            label = ", ".join(f"{axis} {short(run.parameters.get(axis))}" for axis in axes)
            cards.append(
                f'<a class="card" href="../runs/{run.id}.html"><div class="picture">{picture}</div><div class="text"><p>'
                f"{escape(label)}</p></div></a>"
            )
    more = f'<p class="small">The first {_MOST_PICTURES} of {len(runs)}.</p>' if len(runs) > _MOST_PICTURES else ""
    return f'<h2 id="pictures">Small multiples</h2><div class="cards">{"".join(cards)}</div>{more}' if cards else ""


def _table(runs, axes, metrics):
    head = "".join(f"<th>{escape(name)}</th>" for name in ("status", *axes, *metrics, "seconds", "run"))
    body = []
    for run in runs:
        mark = f'<span class="status {"good" if run.ok else "bad"}">{escape(run.status)}</span>'
        cells = [mark, *(escape(short(run.parameters.get(axis))) for axis in axes)]
        cells += [escape(short(run.metrics[name])) if name in run.metrics else "" for name in metrics]
        cells += [f"{run.info['seconds']:.1f}", f'<a href="../runs/{run.id}.html">{run.id}</a>']
        body.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return (
        f'<h2 id="table">All runs</h2><div class="wide"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>'
        f"{''.join(body)}</tbody></table></div>"
    )


def _side_by_side(runs):
    if len(runs) < 2:
        return ""
    data = {run.id: _flat(run) for run in runs[:500]}
    labels = {
        run.id: " ".join(f"{name}={short(value)}" for name, value in run.info["given"].items()) or run.id
        for run in runs[:500]
    }

    def box(chosen):
        options = "".join(
            f'<option value="{run_id}"{" selected" if place == chosen else ""}>{escape(label)}</option>'
            for place, (run_id, label) in enumerate(labels.items())
        )
        return f'<select aria-label="Run {chosen + 1}">{options}</select>'

    return (
        f'<h2 id="two">Two runs side by side</h2><div id="diff"><div class="filter">{box(0)}{box(1)}</div><div class="wide"><table>'
        "<thead><tr><th>name</th><th>first</th><th>second</th><th class=number>change</th></tr></thead><tbody></tbody>"
        "</table></div></div>"
        f"{data_script(data, 'diff-data')}"
    )


def _flat(run: Run):
    found = {"status": run.status}
    found |= {name: _simple(value) for name, value in run.parameters.items()}
    found |= {name: _simple(value) for name, value in run.metrics.items()}
    found |= {name: f"{entry['status']} ({short(entry['value'])})" for name, entry in run.claims.items()}
    return found | {
        "seconds": run.info["seconds"],
        "commit": (run.info["provenance"].get("git") or {}).get("commit", "")[:10],
    }


def _simple(value):
    return value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else short(value)


def _plain(text):
    value = None
    try:
        value = float(text)
    except (TypeError, ValueError):
        return text
    return int(value) if value == int(value) and "." not in str(text) and "e" not in str(text) else value


def _layout(title, x, y):
    axis = {
        "gridcolor": "#e6e8ec",
        "zerolinecolor": "#e6e8ec",
        "linecolor": "#5c6370",
        "automargin": True,
        "tickfont": {"color": "#5c6370", "size": 11},
    }
    return {
        "title": {"text": title, "x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 16}},
        "font": {"family": "Inter, system-ui, sans-serif", "size": 13, "color": "#1d2129"},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "xaxis": axis | {"title": {"text": x, "font": {"color": "#5c6370"}}},
        "yaxis": axis | {"title": {"text": y, "font": {"color": "#5c6370"}}},
        "legend": {"orientation": "v", "x": 1.02, "y": 1},
        "margin": {"l": 60, "r": 24, "t": 64, "b": 52},
    }
