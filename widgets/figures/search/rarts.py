"""Paths on the solvable model, and what a relaxed search finds."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def plane(paths: Mapping[str, object], limits: Mapping[str, tuple[float, float]], *, theme: str = "light") -> go.Figure:
    """Paths of (alpha, w) of several methods on the solvable model, their ends, and the bilevel optimum at (1, 1)."""
    c = colours(theme)
    traces = []
    for k, (name, path) in enumerate(paths.items()):
        line = {"color": c.series[k % 7], "width": 2}
        traces.append(go.Scatter(x=path[:, 0].tolist(), y=path[:, 1].tolist(), name=name, mode="lines", line=line))
        a, w = limits[name]
        mark = {"color": c.series[k % 7], "size": 11, "symbol": "x"}
        traces.append(
            go.Scatter(x=[a], y=[w], mode="markers", marker=mark, showlegend=False, hovertext=f"endpoint of {name}")
        )
    star = {"color": c.reference, "size": 14, "symbol": "star"}
    traces.append(go.Scatter(x=[1], y=[1], mode="markers", name="optimum", marker=star))
    nearest = min(limits, key=lambda name: max(abs(value - 1) for value in limits[name]))
    title = f"{nearest} ends closest to the optimum, at α = {limits[nearest][0]:.3f}"
    return figure(*traces, theme=theme, title=title, x="alpha", y="w")
