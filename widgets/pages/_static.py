"""The page at the end of a notebook: served as a dashboard, and kept as static output with the same figures and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import panel as pn
import plotly.graph_objects as go

from widgets.pages._anatomy import Numbers, table_html
from widgets.pages._discovery import find
from widgets.pages._record import MIME
from widgets.pages._state import address


@dataclass(frozen=True)
class Static:
    """What a page shows at one state: its figures and its tables of numbers, in the order of the page."""

    page: str
    state: dict
    figures: tuple[go.Figure, ...]
    numbers: tuple[pd.DataFrame, ...]

    def to_dict(self) -> dict:
        """The record that stays in the notebook: page, state, figure titles, and the numbers as rows."""
        return {
            "page": self.page,
            "state": self.state,
            "figures": [figure.layout.title.text or "" for figure in self.figures],
            "numbers": [_rows(frame) for frame in self.numbers],
        }


def static(page: str, state: Mapping, view: Any) -> Static:
    """The figures and tables of a built page, found by walking it."""
    chosen = lambda kind: [pane for pane in view.select(kind) if getattr(pane, "object", None) is not None]  # noqa: E731
    figures = tuple(go.Figure(pane.object) for pane in chosen(pn.pane.Plotly))
    tables = tuple(pane.frame for pane in chosen(Numbers))
    return Static(page, dict(state), figures, tables)


def at(page: str, state: Mapping | None = None) -> Static:
    """What a page shows at ``state``, without a server: ``at("comp_sum", {"tau": 0.5}).figures[0].show()``.

    Raises:
        ValueError: no such page, or a state that the page refuses.
        TypeError: ``state`` is not plain JSON.
    """
    state = _plain_state(state)
    found = find(page)
    return static(found.name, state, found.build(state))


def show(page: str, state: Mapping | None = None) -> pn.viewable.Viewable | None:
    """Build a page at ``state``; the last cell of a notebook.

    Served by Panel, the notebook is the dashboard. Executed in a kernel, the page's figures and numbers become the cell's
    output, beside a record of page and state from which ``lab serve RUN`` rebuilds the same view.

    Args:
        page: the page's module name, ``"betti_matching"``.
        state: plain JSON values, as the page's ``build`` takes them.

    Raises:
        ValueError: no such page, or a state that the page refuses.
        TypeError: ``state`` is not plain JSON.
    """
    state = _plain_state(state)
    found = find(page)
    view = found.build(state)
    view.servable(title=found.title)
    if pn.state.curdoc is not None and pn.state.curdoc.session_context:
        return view
    _emit(static(found.name, state, view), found.route)
    return None


def _rows(frame: pd.DataFrame) -> list[dict]:
    """The rows of a table as plain JSON values, floats in full."""
    return json.loads(json.dumps(frame.to_dict(orient="records"), default=_plain_number))


def _plain_number(value):
    return value.item() if hasattr(value, "item") else str(value)


def _plain_state(state) -> dict:
    if state is None:
        return {}
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise TypeError(f"state must be a mapping from names to plain values, got {type(state).__name__}")
    try:
        return json.loads(json.dumps(dict(state), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"state must hold plain JSON values only: {error}") from error


def _emit(content: Static, route: str) -> None:
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        return
    link = f"/{route}?{address(content.state)}".rstrip("?")
    display(
        {
            MIME: content.to_dict(),
            "text/html": '<p class="lab-page-link">The interactive page of this view: <code>lab serve</code>, then '
            f"<code>{link}</code></p>",
            "text/plain": f"page {content.page}: {link}",
        },
        raw=True,
    )
    for figure in content.figures:
        display(figure)
    for frame in content.numbers:
        display({"text/html": table_html(frame, glossary=False), "text/plain": frame.to_string(index=False)}, raw=True)
