"""Subplots of images: square pixels, no axes."""

from __future__ import annotations

import plotly.graph_objects as go


def square(fig: go.Figure) -> go.Figure:
    """Hide the axes of all subplots and tie each y axis to the scale of its own x axis."""
    fig.update_xaxes(visible=False, constrain="domain").update_yaxes(visible=False, constrain="domain")
    for axis in fig.select_yaxes():
        axis.scaleanchor = axis.anchor or "x"
    return fig
