"""The home page: one card a study, by room, with its picture, its sentence and how its claims stand."""

from __future__ import annotations

from html import escape
from itertools import groupby

import panel as pn

from lab import claims
from widgets import pages
from widgets.pages import _motifs, _studies
from widgets.pages._glossary import mark
from widgets.pages._layout import head, html, status_badge

ROOMS = {
    "topology": ("Topology", "Images, graphs and point clouds become barcodes, matchings, losses and optimization."),
    "explain": ("Explanations", "Post hoc explanations as one thing: approximating a function near a point."),
    "inductive_bias": ("Inductive bias", "How much a learner must already know, in bits."),
    "kernels": ("Kernels", "The fast operations under everything else."),
    "losses": ("Losses", "What an objective asks for, and what a model gives."),
    "generalization": ("Generalization", "When training says something about what was never seen."),
    "search": ("Search", "Objectives over discrete structures."),
    "compression": ("Compression", "Smaller models, measured losses."),
    "generative": ("Generative models", "Objectives that create."),
    "physics": ("Physics", "Objectives that obey a law."),
    "online": ("Online learning", "Deciding while the data arrive."),
}
_INTRODUCTION = (
    "Differentiable objectives and what they do to a model. Every study ends in claims, and every claim is measured on "
    "this machine."
)


def build() -> pn.Column:
    """The page, from the catalog, the pages found by contract and the store's newest runs."""
    index = _studies.index()
    by_name = {page.name: page for page in pages.discover().values()}
    listed = {method.page for method in claims.methods() if method.page}
    sections = []
    for room, methods in groupby(sorted(claims.methods(), key=lambda method: rank(method.room)), lambda m: m.room):
        title, sentence = ROOMS.get(room, (room.replace("_", " ").capitalize(), ""))
        cards = "".join(_card(method, by_name.get(method.page), index) for method in methods)
        sections.append(
            f'<section aria-labelledby="room-{room}"><h2 id="room-{room}">{escape(title)}</h2>'
            f'<p class="lab-room">{escape(sentence)}</p><div class="lab-cards">{cards}</div></section>'
        )
    further = [page for name, page in by_name.items() if name not in listed]
    if further:
        cards = "".join(
            f'<article class="lab-card"><div class="body"><h3><a href="{page.route}">{escape(page.title)}</a></h3></div></article>'
            for page in further
        )
        sections.append(f'<section><h2>Further pages</h2><div class="lab-cards">{cards}</div></section>')
    total = _total(index)
    return pn.Column(
        head("Studies", _INTRODUCTION), html(total, "lab-total"), html("".join(sections), "lab-studies"),
        css_classes=["lab-page"], sizing_mode="stretch_width", margin=0,
    )  # fmt: skip


def rank(room: str) -> int:
    """The place of a room on the home page."""
    return list(ROOMS).index(room) if room in ROOMS else len(ROOMS)


def _total(index) -> str:
    counts = index.tally()
    badges = " ".join(status_badge(status, f"{count} {status}") for status, count in counts.items())
    return f"<p><b>{sum(counts.values())} claims</b> in the ledger: {badges}</p>"


def _card(method, page, index) -> str:
    runs = index.of_notebook(method.notebook)
    drawing = next(filter(None, (_studies.picture_of(run) for run in runs[:3] if run.ok)), "") or _motifs.of(method)
    title = escape(method.title)
    title = f'<a href="{page.route}">{title}</a>' if page else title
    badges = "".join(status_badge(status, f"{count} {status}") for status, count in index.tally(method).items())
    links = []
    if page:
        links.append(f'<a href="{page.route}" aria-label="Open the page of {escape(method.title)}">Open</a>')
    if _has_notebook(method):
        links.append(f'<a href="run?notebook={escape(method.notebook)}">Run notebook</a>')
    if runs:
        links.append(f'<a href="runs?search={escape(method.notebook)}">{len(runs)} run{"s" * (len(runs) > 1)}</a>')
    return (
        f'<article class="lab-card"><div class="thumb">{drawing}</div><div class="body"><h3>{title}</h3>'
        f'<p>{mark(method.sentence)}</p><div class="tally">{badges}</div><div class="links">{"".join(links)}</div></div></article>'
    )


def _has_notebook(method) -> bool:
    from lab.report.store import project_root

    return bool(method.notebook) and (project_root() / method.notebook).is_file()
