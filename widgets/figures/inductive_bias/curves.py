"""Figures of bits against sizes, dimension, and any column of a table."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets.figures.inductive_bias.words import in_words
from widgets.figures.theme import colours, figure, template


def over_sizes(over_test, over_train, *, theme: str = "light") -> go.Figure:
    """Bits against the number of test points (left) and of training points (right)."""
    c = colours(theme)
    fig = make_subplots(rows=1, cols=2, horizontal_spacing=0.14)
    fig.add_scatter(
        x=over_test["n_test"],
        y=over_test["bits"],
        mode="lines+markers",
        row=1,
        col=1,
        showlegend=False,
        line={"color": c.reference, "width": 2.5},
        name="bits",
    )
    fig.add_scatter(
        x=over_train["n_train"],
        y=over_train["bits"],
        mode="lines+markers",
        row=1,
        col=2,
        showlegend=False,
        line={"color": c.reference, "width": 2.5},
        name="bits",
    )
    first, last = over_train["bits"].iloc[0], over_train["bits"].iloc[-1]
    title = (
        f"{over_train['n_train'].iloc[-1]} labels instead of {over_train['n_train'].iloc[0]} reduce the required bits from "
        f"{in_words(first)} to {in_words(last)}"
    )
    fig.update_layout(template=template(theme), title_text=title)
    fig.update_xaxes(title_text="test points", row=1, col=1)
    fig.update_xaxes(title_text="training points", row=1, col=2)
    fig.update_yaxes(title_text="required bits", rangemode="tozero")
    return fig


def over_dimension(frame, *, theme: str = "light") -> go.Figure:
    """Exact bits against the input dimension, and the bound of 2023 on the same logarithmic axis."""
    c = colours(theme)
    first, last = frame.iloc[0], frame.iloc[-1]
    title = (
        f"From {int(first['dimension'])} to {int(last['dimension'])} dimensions, the required bits grow from "
        f"{first['bits']:.2g} to {last['bits']:.3g}"
    )
    fig = figure(theme=theme, title=title, x="dimension of the inputs", y="required bits")
    bits = np.where(frame["bits"] > 0.01, frame["bits"], np.nan)
    bound = frame["log10_bound"].to_numpy()
    fig.add_scatter(
        x=frame["dimension"],
        y=np.where(bound > 0, 10.0 ** np.clip(bound, -300, 300), np.nan),
        mode="lines+markers",
        name="bound of 2023",
        line={"color": c.extrapolated, "dash": "dash"},
    )
    fig.add_scatter(
        x=frame["dimension"], y=bits, mode="lines+markers", name="exact", line={"color": c.reference, "width": 2.5}
    )
    fig.update_yaxes(type="log", exponentformat="power", dtick=2)
    return fig


def at_scale(frame, *, theme: str = "light") -> go.Figure:
    """Lanczos against exact bits of a large task, with its intervals (``lab.inductive_bias.studies.scale``)."""
    c = colours(theme)
    exact, quick = (frame[frame["method"] == method] for method in ("exact", "lanczos"))
    first = exact.iloc[0]
    title = f"{first['n_train']:,} + {first['n_test']:,} images: the exact law takes {first['cpu_seconds']:.3g} s of CPU time"
    if len(quick):
        title += f", Lanczos is within {100 * quick['difference'].abs().max():.2g} %"
    fig = figure(theme=theme, title=title, x="exact bits", y="difference from exact (%)")
    fig.add_hline(y=0, line={"color": c.reference, "width": 2})
    truth = exact["bits"].to_numpy()[: len(quick)]
    percent = 100 * (quick["bits"].to_numpy() / truth - 1)
    fig.add_scatter(
        x=truth,
        y=percent,
        mode="markers",
        name="Lanczos, 95 % interval",
        marker={"color": c.label, "size": 9},
        error_y={
            "type": "data",
            "array": 100 * (quick["high"] - quick["bits"]).to_numpy() / truth,
            "arrayminus": 100 * (quick["bits"] - quick["low"]).to_numpy() / truth,
            "color": c.label,
        },
    )
    fig.update_xaxes(type="log")
    return fig


def lines(
    frame,
    x: str,
    columns: list[str],
    *,
    title: str,
    x_title: str,
    y_title: str,
    log_y: bool = False,
    theme: str = "light",
) -> go.Figure:
    """Several columns of a table against one, as lines."""
    c = colours(theme)
    fig = figure(theme=theme, title=title, x=x_title, y=y_title)
    for index, column in enumerate(columns):
        colour = c.reference if index == 0 else c.series[(index - 1) % len(c.series)]
        fig.add_scatter(
            x=frame[x], y=frame[column], mode="lines+markers", name=column, line={"color": colour, "width": 2}
        )
    if log_y:
        fig.update_yaxes(type="log")
    return fig
