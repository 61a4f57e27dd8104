"""The home page: one card a study, by room, with its picture, its sentence and how its claims stand."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from itertools import groupby
from pathlib import Path

import panel as pn

from lab import claims, datasets
from lab.wording import counted
from widgets import pages
from widgets.pages import _motifs, _stills, _studies
from widgets.pages._glossary import mark
from widgets.pages._layout import head, html, status_badge
from widgets.pages._state import sync

ROOMS = {
    "topology": ("Topology", "Barcodes, matchings, losses and optimization for images, graphs and point clouds."),
    "explain": ("Explanations", "One idea behind all of them: a local approximation of the model."),
    "inductive_bias": ("Inductive bias", "How much a learner must already know, in bits."),
    "kernels": ("Kernels", "The fast operations that everything else is built on."),
    "losses": ("Losses", "What an objective asks for, and what a model learns from it."),
    "generalization": ("Generalization", "What training can say about unseen data."),
    "search": ("Search", "Objectives over discrete structures."),
    "compression": ("Compression", "Smaller training sets, with the loss of accuracy measured."),
    "generative": ("Generative models", "Objectives for models that generate data."),
    "physics": ("Physics", "Objectives constrained by physical laws."),
    "online": ("Online learning", "Decisions made as the data arrive."),
}
TASKS = {
    "topology": "segmentation image volume vessel connectivity shape point cloud graph",
    "explain": "explanation interpretability feature attribution importance tabular model prediction",
    "inductive_bias": "generalization prior kernel network bits",
    "kernels": "speed performance benchmark GPU CPU",
    "losses": "classification training objective calibration contrastive ranking",
    "generalization": "domain generalization distribution shift robustness quantization",
    "search": "architecture search hyperparameter optimization",
    "compression": "dataset condensation distillation quantization small model",
    "generative": "sampling synthesis diffusion density",
    "physics": "simulation differential equation material law",
    "online": "online learning games regret bandit",
}
START = ("betti_matching", "explanations", "inductive_bias")  # where a first visit begins
_ANY = "any"
_WIDTHS = {1: "1 1 290px", 2: "2 1 600px"}  # rooms with few studies share a line
_INTRODUCTION = (
    "Differentiable objectives and what they do to a model. Every study ends in claims; each is recorded next to its "
    "control and can be measured on this machine."
)


def build(state: dict | None = None, survey=None) -> pn.Column:
    """The page at ``{"search": text, "claims": status}``: the catalog, pages found by contract, the newest runs.

    ``survey`` is what :func:`widgets.pages.survey` found; it is asked where ``None``.
    """
    index = _studies.index()
    found, broken = survey or pages.survey()
    by_name = {page.name: page for page in found.values()}
    search = pn.widgets.TextInput(
        label="Search (press /)",
        placeholder="a method, task, data set or parameter: vessel, calibration, digits, temperature",
    )
    status = pn.widgets.Select(label="Claim status", options=[_ANY, *claims.STATUSES], value=_ANY)
    sync({"search": search, "claims": status}, state or {})
    total, studies, begin = html("", "lab-total"), html("", "lab-studies"), html("", "lab-begin")

    def refresh(text):
        methods = matching(claims.methods(), text, index, status.value, by_name)
        begin.object = "" if text.strip() or status.value != _ANY else _start(by_name)
        begin.visible = bool(begin.object)
        further = _further(by_name, text) + _broken(broken, text) if status.value == _ANY else ""
        total.object = _total(index, methods)
        studies.object = (
            _sections(methods, by_name, index) + further or '<div class="lab-empty">No studies match.</div>'
        )

    # every letter filters; the address follows when the field is left
    search.param.watch(lambda event: refresh(event.new), "value_input")
    search.param.watch(lambda event: refresh(event.new), "value")
    status.param.watch(lambda _: refresh(search.value), "value")
    refresh(search.value)
    for widget in (search, status):
        widget.param.update(sizing_mode="stretch_width", margin=0)
    filters = pn.FlexBox(
        pn.Column(search, styles={"flex": "3 1 260px"}, margin=0), pn.Column(status, styles={"flex": "1 1 180px"}, margin=0),
        gap="16px", sizing_mode="stretch_width", max_width=760, margin=(0, 0, 8, 0),
    )  # fmt: skip
    return pn.Column(
        head("Studies", _INTRODUCTION),
        filters,
        begin,
        total,
        studies,
        css_classes=["lab-page"],
        sizing_mode="stretch_width",
        margin=0,
    )


def matching(methods, text: str, index, status: str = _ANY, by_name: Mapping | None = None) -> list[claims.Method]:
    """The methods with a claim of that status in which every word of ``text`` occurs.

    Searched are titles, sentences, sources and claims, the tasks of the room, and what the page says: its question, its
    controls with their choices, and the data sets among these.
    """
    by_name = by_name or {}
    words = text.lower().split()
    return [
        method
        for method in methods
        if (status == _ANY or status in index.tally(method))
        and all(word in _words_of(method, by_name.get(method.page)) for word in words)
    ]


def _words_of(method, page=None) -> str:
    title, sentence = ROOMS.get(method.room, (method.room, ""))
    of_claims = [f"{claim.id} {claim.text}" for claim in method.claims]
    parts = [
        method.title,
        method.id,
        method.sentence,
        method.source,
        title,
        sentence,
        TASKS.get(method.room, ""),
        *of_claims,
    ]
    if page is not None:
        parts.append(_words_of_page(page.build.__code__.co_filename))
    return " ".join(parts).lower()


@lru_cache(maxsize=256)
def _words_of_page(path: str) -> str:
    """The texts in a page's module: question, labels, choices; of data sets among them also the titles of their cards."""
    try:
        tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return ""
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    cards = {card.name: card.title for card in datasets.cards()}
    return " ".join([*found, *(cards[text] for text in found if text in cards)])


def _start(by_name) -> str:
    """A row of three pages for a first visit, each with its question."""
    methods = {method.page: method for method in claims.methods()}
    cards = []
    for name in START:
        page, method = by_name.get(name), methods.get(name)
        if page is None or method is None:
            continue
        question = getattr(sys.modules.get(page.build.__module__), "QUESTION", "") or method.sentence
        cards.append(
            f'<a class="lab-card lab-start" href="{page.route}"><div class="thumb">{_drawing(method, ())}</div>'
            f'<div class="body"><h3>{escape(page.title)}</h3><p>{escape(question)}</p></div></a>'
        )
    return (
        f'<section aria-label="Start here"><h2>Start here</h2><div class="lab-cards">{"".join(cards)}</div></section>'
        if cards
        else ""
    )


def _drawing(method, runs) -> str:
    """The first figure of the method's page at its defaults, of its last run, or a quiet drawing."""
    still = _stills.load(method.page) if method.page else None
    if still is not None and still.thumbnail:
        return _stills.themed(still.thumbnail)
    return next(filter(None, (_studies.picture_of(run) for run in runs[:3] if run.ok)), "") or _motifs.of(method)


def _sections(methods, by_name, index) -> str:
    sections = []
    for room, group in groupby(sorted(methods, key=lambda method: rank(method.room)), lambda method: method.room):
        title, sentence = ROOMS.get(room, (room.replace("_", " ").capitalize(), ""))
        cards = [_card(method, by_name.get(method.page), index) for method in group]
        sections.append(
            f'<section aria-label="{escape(title)}" style="flex: {_WIDTHS.get(len(cards), "1 1 100%")}"><h2>{escape(title)}</h2>'
            f'<p class="lab-room">{escape(sentence)}</p><div class="lab-cards">{"".join(cards)}</div></section>'
        )
    return f'<div class="lab-rooms">{"".join(sections)}</div>' if sections else ""


def _further(by_name, text) -> str:
    """Pages that no method of the catalog names."""
    listed = {method.page for method in claims.methods() if method.page}
    words = text.lower().split()
    cards = "".join(
        f'<article class="lab-card"><div class="body"><h3><a href="{page.route}">{escape(page.title)}</a></h3></div></article>'
        for name, page in by_name.items()
        if name not in listed and all(word in page.title.lower() for word in words)
    )
    return f'<section><h2>Other pages</h2><div class="lab-cards">{cards}</div></section>' if cards else ""


def _broken(broken: Mapping[str, str], text: str) -> str:
    """Pages that cannot be shown, each with the reason."""
    words = text.lower().split()
    cards = "".join(
        f'<article class="lab-card"><div class="body"><h3><a href="{route_of_module(name)}">{escape(name)}</a></h3>'
        f"<p>{status_badge('refuted', 'failed to load')} <code>{escape(reason)}</code></p></div></article>"
        for name, reason in broken.items()
        if all(word in f"{name} {reason}".lower() for word in words)
    )
    return f'<section><h2>Pages that failed to load</h2><div class="lab-cards">{cards}</div></section>' if cards else ""


def route_of_module(name: str) -> str:
    """Where a module that names no route is told of."""
    return name.replace("_", "-")


def rank(room: str) -> int:
    """The place of a room on the home page."""
    return list(ROOMS).index(room) if room in ROOMS else len(ROOMS)


def _total(index, methods) -> str:
    """How the claims of the methods stand, as words with colours."""
    tallies = [index.tally(method) for method in methods]
    counts = {status: sum(tally.get(status, 0) for tally in tallies) for status in claims.STATUSES}
    badges = " ".join(status_badge(status, f"{count} {status}") for status, count in counts.items() if count)
    studies = counted(len(methods), "study")
    return (
        f'<p aria-live="polite"><b>{studies}, {counted(sum(counts.values()), "claim")}</b> in the ledger: {badges}</p>'
    )


def _card(method, page, index) -> str:
    runs = index.of_notebook(method.notebook)
    drawing = _drawing(method, runs)
    title = escape(method.title)
    title = f'<a href="{page.route}">{title}</a>' if page else title
    badges = "".join(status_badge(status, f"{count} {status}") for status, count in index.tally(method).items())
    links = []
    if page:
        links.append(f'<a href="{page.route}" aria-label="Open {escape(method.title)}">Open</a>')
    if _has_notebook(method):
        links.append(f'<a href="run?notebook={escape(method.notebook)}">Run notebook</a>')
    if runs:
        links.append(f'<a href="runs?search={escape(method.notebook)}">{counted(len(runs), "run")}</a>')
    return (
        f'<article class="lab-card"><div class="thumb">{drawing}</div><div class="body"><h3>{title}</h3>'
        f'<p>{mark(method.sentence)}</p><div class="tally">{badges}</div><div class="links">{"".join(links)}</div></div></article>'
    )


def _has_notebook(method) -> bool:
    from lab.report.store.layout import project_root

    return bool(method.notebook) and (project_root() / method.notebook).is_file()
