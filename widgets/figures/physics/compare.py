"""The methods of the room side by side."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def effects(result, *, theme: str = "light") -> go.Figure:
    """What every method leaves of its baseline, one bar a method; left of the dashed line it is less."""
    c, frame = colours(theme), result.to_frame().iloc[::-1]
    told = [f"{what}, baseline: {against}" for what, against in zip(frame["measured"], frame["baseline"])]
    bars = go.Bar(x=frame["ratio"].tolist(), y=frame["method"].tolist(), orientation="h", showlegend=False, hovertext=told,
                  marker={"color": [c.matched if ratio < 1 else c.prediction for ratio in frame["ratio"]]})  # fmt: skip
    better = int((frame["ratio"] < 1).sum())
    title = f"{better} of {len(frame)} methods leave less than their baseline in runs this small"
    fig = figure(bars, theme=theme, title=title, x="method over its baseline", y="", height=440)
    return fig.add_vline(1.0, line={"color": c.muted, "dash": "dash"}).update_xaxes(type="log")
