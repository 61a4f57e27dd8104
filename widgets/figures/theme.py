"""One plotly template in two themes, and the one meaning of each colour (Okabe-Ito palette)."""

from __future__ import annotations

import textwrap
from types import SimpleNamespace

import plotly.graph_objects as go

THEMES = ("light", "dark")

COLOURS = {
    "matched": "#009E73",  # matched, or: holds
    "prediction": "#D55E00",  # unmatched in prediction, or: does not hold
    "label": "#0072B2",  # unmatched in label
    "extrapolated": "#999999",  # extrapolated, or: not run
    "series": ("#E69F00", "#56B4E9", "#CC79A7", "#0072B2", "#009E73", "#D55E00", "#999999"),
}
_THEMED = {
    "light": {
        "reference": "#000000",
        "text": "#1d2129",
        "muted": "#5c6370",
        "grid": "#e6e8ec",
        "background": "#ffffff",
    },
    "dark": {
        "reference": "#E8E8E8",
        "text": "#e6e8ec",
        "muted": "#a0a7b4",
        "grid": "#343a46",
        "background": "#1b1e24",
    },
}
TITLE_WIDTH = 40  # characters a line: two figures side by side on a laptop, one on a phone
FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def colours(theme: str = "light") -> SimpleNamespace:
    """Every named colour of the theme.

    ``matched``, ``prediction``, ``label``, ``reference``, ``extrapolated``, ``series``, ``text``, ``muted``, ``grid``,
    ``background``; ``holds``, ``fails`` and ``not_run`` are the same colours under their second meaning.
    """
    if theme not in THEMES:
        raise ValueError(f"theme must be one of {', '.join(map(repr, THEMES))}, got {theme!r}")
    return SimpleNamespace(
        **COLOURS,
        **_THEMED[theme],
        holds=COLOURS["matched"],
        fails=COLOURS["prediction"],
        not_run=COLOURS["extrapolated"],
    )


def template(theme: str = "light") -> go.layout.Template:
    """The plotly template of the lab: quiet axes, the palette above, the title flush left on top, the legend below."""
    c = colours(theme)
    axis = {
        "gridcolor": c.grid,
        "zerolinecolor": c.grid,
        "linecolor": c.muted,
        "tickcolor": c.muted,
        "title": {"font": {"size": 13, "color": c.muted}, "standoff": 8},
        "tickfont": {"size": 11, "color": c.muted},
        "automargin": True,
    }
    scene_axis = {key: axis[key] for key in ("gridcolor", "zerolinecolor", "linecolor")}
    scene_axis |= {"backgroundcolor": c.background}
    gradients = ("heatmap", "contour", "histogram2d", "surface")
    return go.layout.Template(
        data={kind: [{"colorscale": "Viridis", "type": kind}] for kind in gradients},
        layout={
            "font": {"family": FONT, "size": 13, "color": c.text},
            "title": {
                "font": {"size": 14, "weight": 600},
                "x": 0,
                "xref": "container",
                "xanchor": "left",
                "y": 1,
                "yref": "container",
                "yanchor": "top",
                "pad": {"t": 14, "l": 14},
            },
            "paper_bgcolor": c.background,
            "plot_bgcolor": c.background,
            "colorway": list(c.series),
            "xaxis": axis,
            "yaxis": axis,
            "scene": {"xaxis": scene_axis, "yaxis": scene_axis, "zaxis": scene_axis},
            "legend": {
                "orientation": "h",
                "x": 0,
                "xref": "paper",
                "y": 0,
                "yref": "container",
                "yanchor": "bottom",
                "font": {"size": 12},
            },
            "margin": {"l": 56, "r": 24, "t": 40, "b": 52},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": c.muted, "activecolor": c.text},
            "hoverlabel": {"font": {"family": FONT, "size": 12}},
            "colorscale": {"sequential": "Viridis", "diverging": "RdBu"},
        },
    )


def figure(*traces, theme: str = "light", title: str = "", x: str = "", y: str = "", **layout) -> go.Figure:
    """A figure under the lab's template with a title, set in lines, and axis labels."""
    result = go.Figure(data=list(traces))
    heading = lines(title)
    top = 20 + 20 * (heading.count("<br>") + 1) if title else 24
    result.update_layout(template=template(theme), title_text=heading, margin_t=top)
    result.update_layout(**layout)
    if x:
        result.update_xaxes(title_text=x)
    if y:
        result.update_yaxes(title_text=y)
    return result


def lines(text: str, width: int = TITLE_WIDTH) -> str:
    """``text`` broken into lines of at most ``width`` characters with ``<br>``; breaks that it has are kept."""
    parts = [part for line in text.split("<br>") for part in (textwrap.wrap(line, width) or [""])]
    return "<br>".join(parts)
