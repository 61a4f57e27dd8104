"""Figures that light up together: what a key stands for in each, drawn by the browser without a question to the server.

A figure carries for every key (a bar, an atom, a feature) where it lies in this figure. Pointing at a place of one figure lights
the keys that lie there in every linked figure of the page; a click pins them, Esc releases (``widgets/assets/link.js``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import plotly.graph_objects as go


def part(points: Iterable, *, joined: bool = False, marked: bool = True, axes: tuple[str, str] = ("x", "y")) -> dict:
    """Some of what lights up: places ``(x, y)`` in the figure's coordinates, ringed, and joined by a line where asked."""
    places = [[float(x), float(y)] for x, y in points]
    return {"points": places, "joined": bool(joined), "marked": bool(marked), "axes": list(axes)}


def linked(figure: go.Figure, links: Mapping[str, Sequence[Mapping]]) -> go.Figure:
    """``figure`` with the parts of every key."""
    meta = dict(figure.layout.meta or {})
    figure.layout.meta = {**meta, "links": {str(key): list(parts) for key, parts in links.items()}}
    return figure
