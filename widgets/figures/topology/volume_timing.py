"""Figures of what a matching of volumes takes: measured, and estimated before it started."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def growth(frame, *, theme: str = "light") -> go.Figure:
    """Seconds over the number of voxels, measured and estimated; ``frame`` is ``lab.topology.volume_timing.live``."""
    c = colours(theme)
    sides = [f"{size}³" for size in frame["size"]]
    traces = [
        go.Scatter(x=frame["voxels"], y=frame["seconds"], mode="lines+markers", name="measured", text=sides,
                   line={"color": c.series[0], "width": 2}),
        go.Scatter(x=frame["voxels"], y=frame["estimated"], mode="lines+markers", name="estimated before", text=sides,
                   line={"color": c.extrapolated, "width": 2, "dash": "dash"}),
    ]
    last = frame.iloc[-1]
    title = f"{int(last['size'])}³ voxels take {last['seconds']:.2g} s, {last['estimated']:.2g} s were estimated"
    fig = figure(*traces, theme=theme, title=title, x="voxels", y="CPU time (s)")
    return fig.update_xaxes(type="log").update_yaxes(type="log")
