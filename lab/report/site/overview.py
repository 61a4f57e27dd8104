"""The pages that collect: studies as cards, the ledger of claims, the table of all runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from lab import claims
from lab.report.site import frame
from lab.report.site.notebook import data_script, text_as_html
from lab.report.site.run_page import short, status_mark
from lab.report.site.thumbnail import thumbnail
from lab.report.store.layout import Run, project_root
from lab.report.store.standing import Row
from lab.wording import counted

_BAR = (
    ("holds", "i-holds"),
    ("holds at small scale", "i-small"),
    ("refuted", "i-fails"),
    ("undecided", "i-undecided"),
    ("not testable here", "i-untestable"),
    ("not run", "i-open"),
)
_DOT = dict(_BAR)


def index_page(runs: Sequence[Run], rows: Sequence[Row], sweeps: Sequence[tuple[str, str, int]] = ()) -> str:
    """Cards of the studies in ``runs``, the tally of the ledger, and links to sweeps ``(href, title, runs)``."""
    methods = {method.notebook: method for method in claims.methods() if method.notebook}
    stands = {name: row.status for row in rows for name in (row.claim.id, *row.claim.aliases)}
    cards = "".join(_card(run, methods.get(run.notebook), stands) for run in runs)
    rooms = Counter(_room(run, methods.get(run.notebook)) for run in runs)
    chips = "".join(_chip("room", room, f"{room} {count}") for room, count in sorted(rooms.items()))
    compared = "".join(
        f'<li><a href="{escape(href)}">{escape(title)}</a> <span class="small">{counted(count, "run")}</span></li>'
        for href, title, count in sweeps
    )
    html = (
        "<h1>Measuring what a training objective does to a model</h1>"
        '<p class="lead">Topology of segmentations, explanations as function approximation, inductive bias in bits. '
        "Every claim of every paper is a row in one ledger, with the function that measures it.</p>"
        f"{tally(rows)}"
        f'<div class="filter"><input type="search" placeholder="Filter studies" aria-label="Filter studies">{chips}<span '
        'class="small" id="count"></span></div>'
        f'<div class="cards">{cards}</div>' + (f"<h2>Sweeps</h2><ul>{compared}</ul>" if compared else "")
    )
    return frame.page("Studies", html, here="Studies")


def claims_page(rows: Sequence[Row], pages: dict[str, str]) -> str:
    """The ledger: all statements by method, with status, value and source; ``pages`` maps run ids to their pages."""
    counts = Counter(row.status for row in rows)
    chips = "".join(_chip("status", name, f"{name} {counts[name]}") for name, _ in _BAR if counts[name])
    chips += "".join(_chip("room", room, _words(room)) for room in sorted({row.claim.room for row in rows}))
    groups = []
    for method in claims.methods():
        own = [row for row in rows if row.claim.method == method.id and row.claim.room == method.room]
        if own:
            body = "".join(_claim_row(row, pages) for row in own)
            groups.append(
                f'<section data-group><div class="claim-group"><h3 id="{escape(method.id)}">{escape(method.title)}</h3><span '
                f'class="room">{escape(_words(method.room))}</span></div>'
                f'<p class="small">{escape(method.source)}</p><div class="wide"><table><tbody>{body}</tbody></table></div>'
                "</section>"
            )
    html = (
        '<h1>The ledger of claims</h1><p class="lead">What the papers claim and what was measured here. '
        "A claim that holds at small scale was tested on smaller data or models than the paper's. Verdicts are the "
        "recorded ones, shown next to what this machine measured.</p>"
        f'{tally(rows)}<div class="filter"><input type="search" placeholder="Filter claims" aria-label="Filter '
        f'claims">{chips}<span class="small" id="count"></span></div>{"".join(groups)}'
    )
    return frame.page("Claims", html, here="Claims")


def runs_page(runs: Sequence[Run], pages: dict[str, str]) -> str:
    """The table of all runs as data that the page's script pages through, so that ten thousand are no trouble."""
    rows = [
        {
            "id": run.id,
            "status": run.status,
            "title": run.title,
            "notebook": run.notebook,
            "given": " · ".join(f"{name}={short(value)}" for name, value in run.info["given"].items()),
            "metrics": " · ".join(f"{name} {short(value)}" for name, value in list(run.metrics.items())[:3]),
            "seconds": run.info["seconds"],
            "started": run.info["started"][:19],
            "page": pages.get(run.id, ""),
        }
        for run in runs
    ]
    statuses = "".join(f"<option>{escape(status)}</option>" for status in sorted({run.status for run in runs}))
    heads = (
        ("status", "Status"),
        ("title", "Study"),
        ("given", "Parameters"),
        ("metrics", "Metrics"),
        ("seconds", "Seconds"),
        ("started", "Started"),
    )
    head = "".join(
        f'<th data-sort="{key}"{" class=number" if key == "seconds" else ""}>{name}</th>' for key, name in heads
    )
    html = (
        f'<h1>All runs</h1><p class="lead">{counted(len(runs), "stored run")}, newest first.</p>'
        '<div class="filter"><input type="search" placeholder="Filter runs" aria-label="Filter runs"><select '
        f'aria-label="Status"><option value="">any status</option>{statuses}</select></div>'
        f'<div class="wide"><table id="run-table"><thead><tr>{head}</tr></thead><tbody></tbody></table></div>'
        '<div class="pager"><button type="button" data-step="-1">Back</button><span></span><button type="button" '
        'data-step="1">Next</button></div>'
        f"{data_script({'rows': rows}, 'run-data')}"
    )
    return frame.page("Runs", html, here="Runs")


def tally(rows: Sequence[Row]) -> str:
    """The ledger in one bar."""
    if not rows:
        return ""
    counts = Counter(row.status for row in rows)
    bar = "".join(
        f'<i class="{kind}" style="flex:{counts[name]}" title="{counts[name]} {name}"></i>'
        for name, kind in _BAR
        if counts[name]
    )
    legend = "".join(f"<span>{status_mark(name)} <b>{counts[name]}</b></span>" for name, _ in _BAR if counts[name])
    return (
        f'<div class="tally" role="img" aria-label="{counted(len(rows), "claim")} by status">{bar}</div><div class="legend">'
        f'{legend}<span class="small">of {counted(len(rows), "claim")}</span></div>'
    )


def _card(run, method, stands):
    figures = run.figures()
    picture = (
        thumbnail(json.loads(figures[_main_figure(run, figures)].read_text(encoding="utf-8")))
        if figures
        else thumbnail({})
    )
    room = _room(run, method)
    question = run.info.get("question") or (method.sentence if method else "")
    dots = "".join(
        f'<i class="{_DOT.get(stands.get(name), "i-open")}" title="{escape(name)}: {escape(stands.get(name, "not run"))}"></i>'
        for name in run.claims
    )
    state = f'<span class="dots">{dots}</span>' if dots else "<span></span>"
    if not run.ok:
        state = f'<span class="status bad">{escape(run.status)}</span>'
    words = escape(f"{run.title} {question} {room} {run.notebook} {run.status}".lower(), quote=True)
    profile = run.parameters.get("profile", "")
    return (
        f'<a class="card" href="runs/{run.id}.html" data-words="{words}" data-room="{escape(room)}"><div class="picture">'
        f"{picture}</div>"
        f'<div class="text"><span class="room">{escape(room)}</span><h3>{text_as_html(run.title)}</h3><p>'
        f"{text_as_html(question)}</p>"
        f'<div class="foot">{state}<span>{escape(str(profile))}{" · " if profile else ""}{run.info["seconds"]:.0f} s</span>'
        "</div></div></a>"
    )


def _main_figure(run, figures):
    """A notebook's metadata may name its figure for the card (``{"lab": {"thumbnail": 2}}``, from 1); else the first.

    It is read from the notebook as it stands, since it changes no result, or from the run's copy where that is gone.
    """
    source = project_root() / run.notebook
    content = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else run.content()
    wanted = content.get("metadata", {}).get("lab", {}).get("thumbnail", 1)
    return min(max(int(wanted), 1), len(figures)) - 1


def _claim_row(row, pages):
    claim = row.claim
    words = escape(f"{claim.id} {claim.text} {claim.source} {row.status} {claim.room}".lower(), quote=True)
    reason = f'<div class="small">{escape(claim.untestable)}</div>' if claim.untestable else ""
    measured = f'<a href="claims/{escape(claim.id)}.html">{escape(row.measured)}</a>' if row.measured else ""
    here = escape(row.measured_here)
    if row.run_id in pages:
        here = f'<a href="{pages[row.run_id]}">{here}</a>'
    notes = [escape(row.provenance), escape(row.control), here if row.recorded or not row.measured else ""]
    notes += [f"requires {escape(id)}, which is refuted" for id in row.undermined]
    beside = "".join(f'<div class="small">{note}</div>' for note in notes if note)
    return (
        f'<tr data-words="{words}" data-status="{escape(row.status)}" data-room="{escape(claim.room)}"><td>'
        f"{status_mark(row.status)}</td>"
        f'<td><a class="plain" href="claims/{escape(claim.id)}.html">{text_as_html(claim.text)}</a>{reason}<div class=small>'
        f"{escape(claim.id)} · {escape(claim.kind)} · {escape(claim.setting)} setting</div></td>"
        f'<td class="effect">{measured}{beside}</td></tr>'
    )


def _room(run, method):
    if method:
        return _words(method.room)
    parts = Path(run.notebook).parts
    return _words(parts[1]) if len(parts) > 2 else "notebooks"


def _words(room):
    return room.replace("_", " ")


def _chip(key, value, text):
    return (
        f'<button type="button" class="chip" data-key="{key}" data-value="{escape(value, quote=True)}" '
        f'aria-pressed="false">{escape(text)}</button>'
    )
