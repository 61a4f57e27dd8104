"""Figures of what a matching of volumes takes: measured, and estimated before it started."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def memory(frame, *, theme: str = "light") -> go.Figure:
    """Peak memory of one matching over the side of the volume, of the lab and of the C++ code (the committed table)."""
    c = colours(theme)
    compared = frame.dropna(subset=["peer_megabytes"])
    sides = [f"{int(side)}³" for side in frame["side"]]
    traces = [
        go.Scatter(
            x=frame["side"],
            y=frame["megabytes"],
            mode="lines+markers",
            name="this lab",
            line={"color": c.matched, "width": 3},
            text=[f"{side}: {s:.3g} s" for side, s in zip(sides, frame["seconds"])],
        ),
        go.Scatter(
            x=compared["side"],
            y=compared["peer_megabytes"],
            mode="lines+markers",
            name="C++ code",
            line={"color": c.reference, "width": 3},
            text=[f"{s:.3g} s" for s in compared["peer_seconds"]],
        ),
    ]
    last = compared.iloc[-1]
    title = f"{int(last['side'])}³ voxels: {last['megabytes']:.0f} MB instead of {last['peer_megabytes']:,.0f} MB"
    fig = figure(
        *traces, theme=theme, title=title, x="voxels per side", y="peak memory of one matching (MB)", height=400
    )
    return fig.update_yaxes(type="log").update_xaxes(tickvals=list(frame["side"]))


def growth(frame, *, theme: str = "light") -> go.Figure:
    """Seconds over the number of voxels, measured and estimated; ``frame`` is ``lab.topology.studies.volume_timing.live``."""
    c = colours(theme)
    sides = [f"{size}³" for size in frame["size"]]
    traces = [
        go.Scatter(
            x=frame["voxels"],
            y=frame["seconds"],
            mode="lines+markers",
            name="measured",
            text=sides,
            line={"color": c.series[0], "width": 2},
        ),
        go.Scatter(
            x=frame["voxels"],
            y=frame["estimated"],
            mode="lines+markers",
            name="estimated in advance",
            text=sides,
            line={"color": c.extrapolated, "width": 2, "dash": "dash"},
        ),
    ]
    last = frame.iloc[-1]
    title = f"{int(last['size'])}³ voxels take {last['seconds']:.2g} s; the estimate was {last['estimated']:.2g} s"
    fig = figure(*traces, theme=theme, title=title, x="voxels", y="CPU time (s)")
    return fig.update_xaxes(type="log").update_yaxes(type="log")
