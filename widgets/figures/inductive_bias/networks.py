"""Figures of networks and of calibration: random Boolean functions, growing width, splitting against known answers."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def boolean_prior(counts, complexity, *, theme: str = "light") -> go.Figure:
    """Bits of each Boolean function under random networks against the complexity of its truth table."""
    c = colours(theme)
    counts, complexity = np.asarray(counts, dtype=float), np.asarray(complexity, dtype=float)
    total = counts.sum()
    seen = counts > 0
    bits = -np.log2(counts[seen] / total)
    uniform = math.log2(len(counts))
    simple = counts[complexity <= np.quantile(complexity, 0.1)].sum() / total
    fig = figure(
        theme=theme,
        x="complexity of the truth table (bits)",
        y="-log2 P(function), bits",
        title=f"Random networks put {100 * simple:.0f} % of their probability mass on the simplest tenth of all functions",
    )
    fig.add_hline(
        y=uniform,
        line={"color": c.extrapolated, "dash": "dash"},
        annotation_text="uniform distribution",
        annotation_position="bottom right",
        annotation_font={"color": c.muted, "size": 11},
    )
    rng = np.random.default_rng(0)
    fig.add_scattergl(
        x=complexity[seen] + rng.uniform(-0.4, 0.4, seen.sum()),
        y=bits,
        mode="markers",
        name="function",
        marker={"color": c.label, "size": 3, "opacity": 0.35},
        hoverinfo="skip",
    )
    levels = np.unique(complexity[seen])
    median = [np.median(bits[complexity[seen] == level]) for level in levels]
    fig.add_scatter(x=levels, y=median, mode="lines+markers", name="median", line={"color": c.reference, "width": 2})
    return fig


def network_widths(frame, *, theme: str = "light") -> go.Figure:
    """Bits of random networks by width (``width, bits, low, high``) and the exact bits of their limit (``exact``)."""
    c = colours(theme)
    exact = float(frame["exact"].iloc[0])
    last = frame.iloc[-1]
    fig = figure(
        theme=theme,
        x="width of the hidden layer",
        y="bits to fit the training labels",
        title=f"At width {int(last['width'])} random networks need {last['bits']:.3g} bits; "
        f"their infinite-width limit needs {exact:.3g}",
    )
    fig.add_hline(
        y=exact,
        line={"color": c.reference, "width": 2.5},
        annotation_text="exact, infinite width",
        annotation_position="top left",
    )
    fig.add_scatter(
        x=frame["width"],
        y=frame["bits"],
        mode="lines+markers",
        name="splitting",
        line={"color": c.label},
        error_y={
            "type": "data",
            "array": frame["high"] - frame["bits"],
            "arrayminus": frame["bits"] - frame["low"],
            "color": c.label,
        },
    )
    fig.update_xaxes(type="log", tickvals=list(frame["width"]), ticktext=[str(w) for w in frame["width"]])
    return fig


def splitting_calibration(frame, *, theme: str = "light") -> go.Figure:
    """Splitting against the known answer: ``exact, bits, low, high``."""
    c = colours(theme)
    error = 100 * np.abs(frame["bits"] / frame["exact"] - 1)
    inside = ((frame["low"] <= frame["exact"]) & (frame["exact"] <= frame["high"])).mean()
    fig = figure(
        theme=theme,
        x="exact bits",
        y="splitting / exact",
        title=f"Splitting has a median error of {np.median(error):.1f} %; {100 * inside:.0f} % of its intervals cover the truth",
    )
    fig.add_hline(y=1, line={"color": c.reference, "width": 2})
    ratio = frame["bits"] / frame["exact"]
    fig.add_scatter(
        x=frame["exact"],
        y=ratio,
        mode="markers",
        name="estimate",
        marker={"color": c.label, "size": 7},
        error_y={
            "type": "data",
            "array": frame["high"] / frame["exact"] - ratio,
            "arrayminus": ratio - frame["low"] / frame["exact"],
            "color": c.label,
            "thickness": 1,
        },
    )
    fig.update_xaxes(type="log")
    return fig
