"""``studies()``: every study of the lab as a table of links, for the start notebook."""

from __future__ import annotations

from html import escape
from itertools import groupby

from lab import checks, claims
from lab.report.store.layout import project_root
from widgets import pages
from widgets.pages import _studies
from widgets.pages._home import ROOMS, rank

EVERY = "all"


class Studies:
    """A table of studies; the last expression of a cell. ``methods`` are the rows in the order shown."""

    def __init__(self, methods: tuple[claims.Method, ...]):
        self.methods = methods

    def __repr__(self) -> str:
        return "\n".join(f"{method.room:16} {method.id:24} {method.title}" for method in self.methods)

    def _repr_html_(self) -> str:
        index = _studies.index()
        parts = []
        for room, methods in groupby(self.methods, lambda method: method.room):
            title, sentence = ROOMS.get(room, (room.replace("_", " ").capitalize(), ""))
            parts.append(
                f'<tr><td colspan="3" style="text-align:left;padding-top:1.2em"><b>{escape(title)}</b> '
                f'<span style="opacity:.75">{escape(sentence)}</span></td></tr>'
            )
            parts.extend(_row(method, index) for method in methods)
        head = "".join(
            f'<th style="text-align:left">{name}</th>' for name in ("Study", "What it is", "Claims, as last measured")
        )
        return f'<table style="width:100%"><thead><tr>{head}</tr></thead><tbody>{"".join(parts)}</tbody></table>'


def studies(room: str = EVERY) -> Studies:
    """All studies, or those of one room, each with a link to its notebook and the state of its claims.

    Raises:
        ValueError: no such room (with the nearest one).
    """
    rooms = sorted({method.room for method in claims.methods()}, key=rank)
    checks.choice("room", room, [EVERY, *rooms])
    found = sorted(claims.methods(), key=lambda method: rank(method.room))
    return Studies(tuple(method for method in found if room in (EVERY, method.room)))


def _row(method: claims.Method, index) -> str:
    has_notebook = bool(method.notebook) and (project_root() / method.notebook).is_file()
    title = escape(method.title)
    if has_notebook:
        title = f'<a href="{escape(method.notebook.removeprefix("notebooks/"))}">{title}</a>'
    page = f"<br><code>explore({method.id!r})</code>" if method.page in pages.names() else ""
    tally = ", ".join(f"{count} {escape(status)}" for status, count in index.tally(method).items())
    cells = (f"{title}{page}", escape(method.sentence), tally)
    return "<tr>" + "".join(f'<td style="text-align:left;vertical-align:top">{cell}</td>' for cell in cells) + "</tr>"
