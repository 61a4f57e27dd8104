"""Cosine power annealing, and what a mixing rule leaves of the operations."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def schedules(curves: Mapping[str, object], *, theme: str = "light") -> go.Figure:
    """Learning rates over epochs, one line a schedule."""
    c = colours(theme)
    traces, halves = [], {}
    for k, (name, rates) in enumerate(curves.items()):
        values = [float(rate) for rate in rates]
        halves[name] = next(
            e for e, rate in enumerate(values) if rate <= max(values) / 2 and e >= values.index(max(values))
        )
        line = {"color": c.series[k % 7], "width": 2}
        traces.append(go.Scatter(x=list(range(1, len(values) + 1)), y=values, name=name, mode="lines", line=line))
    first, last = min(halves, key=halves.get), max(halves, key=halves.get)
    title = f"{first} halves the rate after {halves[first]} epochs, {last} after {halves[last]}"
    return figure(*traces, theme=theme, title=title, x="epoch", y="learning rate")


def coefficients(names, softmax, max_w, *, theme: str = "light") -> go.Figure:
    """Coefficients of the operations of one edge under both rules."""
    c = colours(theme)
    bars = [
        go.Bar(x=list(names), y=[float(v) for v in values], name=name, marker={"color": colour})
        for name, values, colour in (("softmax", softmax, c.extrapolated), ("Max-W", max_w, c.series[1]))
    ]
    title = f"The leader weighs {float(max(softmax)):.2f} under softmax and {float(max(max_w)):.2f} under Max-W"
    return figure(*bars, theme=theme, title=title, x="operation", y="coefficient", barmode="group")


def choices(result, *, theme: str = "light") -> go.Figure:
    """How often each operation was chosen, by arm, as a share of all edges and searches."""
    c = colours(theme)
    shares = {
        arm: [float((choice == k).double().mean()) for k in range(len(result.space.names))]
        for arm, choice in result.choices.items()
    }
    bars = [
        go.Bar(
            y=list(shares),
            x=[shares[arm][k] for arm in shares],
            name=name,
            orientation="h",
            marker={"color": c.series[k % 7]},
        )
        for k, name in enumerate(result.space.names)
    ]
    arm, row = next(iter(shares.items()))
    most = max(range(len(row)), key=row.__getitem__)
    title = f"{arm} takes {result.space.names[most]} on {row[most]:.0%} of its edges"
    return figure(*bars, theme=theme, title=title, x="share of edges", barmode="stack", height=320).update_layout(
        margin={"l": 130}
    )
