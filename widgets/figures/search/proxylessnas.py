"""Accuracy against latency, and which block stands where."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def front(result, chosen: int = -1, *, theme: str = "light") -> go.Figure:
    """Accuracy of the retrained networks against their latency, one colour a trade-off; ``chosen`` is drawn larger."""
    c = colours(theme)
    dots = [
        go.Scatter(
            x=result.latency[:, k].tolist(),
            y=result.accuracy[:, k].tolist(),
            mode="markers",
            name=f"{level:g}",
            marker={
                "color": c.series[k % 7],
                "size": 18 if k == chosen % len(result.tradeoffs) and chosen >= 0 else 10,
            },
        )  # fmt: skip
        for k, level in enumerate(result.tradeoffs)
    ]
    latency, accuracy = result.latency.mean(0), result.accuracy.mean(0)
    near = [k for k in range(len(latency)) if float(accuracy[k]) >= float(accuracy[0]) - 0.01]
    best = min(near, key=lambda k: float(latency[k]))
    saved = 1 - float(latency[best]) / max(float(latency[0]), 1e-9)
    title = f"At trade-off {result.tradeoffs[best]:g} the networks save {saved:.0%} of the latency within one point"
    return figure(*dots, theme=theme, title=title, x="latency, units of the table", y="accuracy, retrained")


def blocks(space, choices, *, theme: str = "light") -> go.Figure:
    """Which operation each block became: one row a name of ``{name: choice (seeds, blocks)}``, the most frequent of its seeds."""
    c = colours(theme)
    names = list(choices)
    rows = [choices[name].mode(0).values.tolist() for name in names]
    count = len(space.names)
    scale = [[edge / count, c.series[k % 7]] for k in range(count) for edge in (k, k + 1)]
    heat = go.Heatmap(
        z=rows, y=names, x=[f"block {k + 1}" for k in range(len(rows[0]))], zmin=-0.5, zmax=count - 0.5, colorscale=scale,
        showscale=False, text=[[space.names[k] for k in row] for row in rows], texttemplate="%{text}", xgap=3, ygap=3,
    )  # fmt: skip
    kept = [sum(space.names[k] != "skip" for k in row) for row in rows]
    title = f"{names[0]} keeps {kept[0]} of {len(rows[0])} blocks, {names[-1]} {kept[-1]}"
    return figure(heat, theme=theme, title=title, height=160 + 44 * len(names)).update_layout(margin={"l": 150})
