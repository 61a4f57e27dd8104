"""Figures of tables: spaces ranked by bits, the price of edits, speed against other implementations."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go

from widgets.figures.inductive_bias.words import in_words
from widgets.figures.theme import colours, figure


def ranking(frame, *, theme: str = "light") -> go.Figure:
    """Spaces by required bits, the cheapest on top; unreachable ones are named without a bar.

    Laws of optimizers are another quantity than posteriors of priors: they stand in another colour, and the title
    names the best of the posteriors where there is one.
    """
    c = colours(theme)
    trained = frame["law"].eq("distribution of an optimizer") if "law" in frame else np.zeros(len(frame), dtype=bool)
    ranked = frame[~np.asarray(trained)] if not np.all(trained) else frame
    best = ranked.iloc[0]
    title = (
        f"{best['space']} needs the fewest bits: {in_words(best['bits'])}"
        if math.isfinite(best["bits"])
        else "No space reaches this loss"
    )
    fig = figure(theme=theme, title=title, x="required bits")
    order = list(frame["space"])[::-1]
    for name, mask, colour in (
        ("posterior under a prior", ~np.asarray(trained), c.holds),
        ("distribution of an optimizer", np.asarray(trained), c.series[0]),
    ):
        part = frame[mask & np.isfinite(frame["bits"])]
        if not len(part):
            continue
        plus = np.clip(np.where(np.isfinite(part["high"]), part["high"], part["bits"]) - part["bits"], 0, None)
        minus = np.clip(part["bits"] - part["low"], 0, None)
        shade = [colour if verdict == "valid" else c.extrapolated for verdict in part["verdict"]]
        fig.add_bar(
            y=part["space"],
            x=part["bits"],
            orientation="h",
            marker={"color": shade},
            name=name,
            text=[in_words(value) for value in part["bits"]],
            textposition="auto",
            error_x={"type": "data", "array": plus, "arrayminus": minus, "color": c.muted, "thickness": 1.5},
        )
    fig.update_layout(showlegend=bool(np.any(trained) and not np.all(trained)))
    rest = frame[~np.isfinite(frame["bits"])]
    for name, low, verdict in zip(rest["space"], rest["low"], rest["verdict"]):
        text = verdict if verdict == "unreachable" else f"{verdict} (more than {low:.3g} bits)"
        fig.add_annotation(
            x=0,
            xref="paper",
            y=name,
            text=text,
            xanchor="left",
            showarrow=False,
            xshift=8,
            font={"color": c.fails, "size": 12},
        )
    finite = frame["bits"][np.isfinite(frame["bits"])]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (1.0, 10.0)
    if low > 0.1 and high / low > 30:
        fig.update_xaxes(type="log", range=[math.log10(low) - 0.5, math.log10(high) + 0.3])
    fig.update_yaxes(categoryorder="array", categoryarray=order)
    return fig


def prices(frame, *, theme: str = "light") -> go.Figure:
    """What each edit of a task adds in bits."""
    c = colours(theme)
    edits = frame[(frame["edit"] != "none") & np.isfinite(frame["added_bits"])].iloc[::-1]
    if len(edits):
        dear = edits.iloc[-1]
        title = f"Costliest edit: {dear['edit']}, {dear['added_bits']:+.3g} bits"
    else:
        title = "No edit keeps the task reachable"
    fig = figure(theme=theme, title=title, x="added bits", showlegend=False)
    colour = [c.fails if value > 0 else c.holds for value in edits["added_bits"]]
    fig.add_bar(
        y=edits["edit"],
        x=edits["added_bits"],
        orientation="h",
        marker={"color": colour},
        text=[f"{value:+.3g}" for value in edits["added_bits"]],
        textposition="auto",
    )
    return fig


def speed(table, *, theme: str = "light") -> go.Figure:
    """CPU time of the other side over ours, by case of the committed benchmark table."""
    c = colours(theme)
    table = table.sort_values("ratio")
    best = table.iloc[-1]
    fig = figure(
        theme=theme,
        title=f"{best['case']}: {best['ratio']:,.0f} times faster than {best['peer']}",
        x="CPU time, peer / lab",
        showlegend=False,
        height=120 + 44 * len(table),
    )
    fig.add_vline(x=1, line={"color": c.reference, "width": 1.5})
    fig.add_scatter(
        y=[f"{case}<br>vs. {peer}" for case, peer in zip(table["case"], table["peer"])],
        x=table["ratio"],
        mode="markers",
        marker={"color": [c.holds if r >= f else c.fails for r, f in zip(table["ratio"], table["floor"])], "size": 10},
        error_x={
            "type": "data",
            "array": table["high"] - table["ratio"],
            "color": c.muted,
            "arrayminus": table["ratio"] - table["low"],
        },
    )
    fig.update_xaxes(type="log", exponentformat="power")
    return fig
