"""Figures of the report machinery: what a notebook costs before it computes anything."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def notebook_seconds(speed, *, theme: str = "light") -> go.Figure:
    """Seconds of a small notebook with a cold and with a warm kernel; ``speed`` is a :class:`lab.report.speed.Speed`."""
    c = colours(theme)
    names = ["fresh kernel", "forked kernel"]
    values = [speed.cold, speed.warm]
    bars = go.Bar(
        x=values,
        y=names,
        orientation="h",
        marker={"color": [c.not_run, c.holds]},
        text=[f"{value:.2f} s" for value in values],
        textposition="auto",
        showlegend=False,
    )
    same = "the same outputs" if speed.equal else "different outputs"
    title = f"A forked kernel is {speed.ratio:.1f}× faster, with {same}"
    if speed.kernels != ("warm",):
        title = "Every kernel started fresh here: forking is not safe or not possible on this machine"
    return figure(bars, theme=theme, title=title, x="median time per notebook (s)", height=260)
