"""Classification losses against one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from lab.losses.comparison import Comparison
from widgets.figures.theme import colours, figure


def accuracies(result: Comparison, *, theme: str = "light") -> go.Figure:
    """Test accuracy of each loss over seeds with its 95 % interval; dots are seeds."""
    c = colours(theme)
    frame = result.to_frame().iloc[::-1]
    bar = go.Scatter(
        x=frame["accuracy"],
        y=frame["loss"],
        mode="markers",
        name="mean and 95 % interval",
        marker={"color": c.reference, "size": 10, "symbol": "line-ns-open", "line": {"width": 3}},
        error_x={
            "type": "data",
            "array": np.minimum(np.nan_to_num(frame["high"] - frame["accuracy"], posinf=0.0), 1 - frame["accuracy"]),
            "arrayminus": np.minimum(np.nan_to_num(frame["accuracy"] - frame["low"], posinf=0.0), frame["accuracy"]),
            "color": c.reference,
        },
    )
    dots = go.Scatter(
        x=[float(v) for name in frame["loss"] for v in result.accuracy[name]],
        y=[name for name in frame["loss"] for _ in result.accuracy[name]],
        mode="markers",
        name="seed",
        marker={"color": c.series[1], "size": 7, "opacity": 0.8},
    )
    best, second = frame.iloc[-1], frame.iloc[-2] if len(frame) > 1 else None
    title = f"{best['loss']} reaches {best['accuracy']:.3f}"
    if second is not None:
        mean, low, high = result.difference(best["loss"], second["loss"])
        clear = "significantly ahead of" if low > 0 else "not significantly different from"
        title += f", {clear} {second['loss']} ({second['accuracy']:.3f})"
    fig = figure(dots, bar, theme=theme, title=title, x="accuracy on clean test labels", height=140 + 42 * len(frame))
    return fig.update_layout(margin={"l": 190})


def accuracy_over_noise(results: Mapping[float, Comparison], *, theme: str = "light") -> go.Figure:
    """Mean accuracy of each loss against the level of label noise, with 95 % intervals."""
    c = colours(theme)
    levels = sorted(results)
    names = list(results[levels[0]].accuracy)
    traces = []
    for k, name in enumerate(names):
        rows = [results[level].to_frame().set_index("loss").loc[name] for level in levels]
        traces.append(
            go.Scatter(
                x=levels,
                y=[row["accuracy"] for row in rows],
                error_y={
                    "type": "data",
                    "array": [min(row["high"], 1.0) - row["accuracy"] for row in rows],
                    "arrayminus": [row["accuracy"] - max(row["low"], 0.0) for row in rows],
                    "thickness": 1,
                },
                name=name,
                mode="lines+markers",
                line={"color": c.reference if name == "cross-entropy" else c.series[k % len(c.series)], "width": 2},
            )
        )
    winner = results[levels[-1]].to_frame().iloc[0]
    title = f"At {levels[-1]:.0%} label noise {winner['loss']} leads with {winner['accuracy']:.3f}"
    fig = figure(
        *traces, theme=theme, title=title, x="fraction of redrawn training labels", y="accuracy on clean test labels"
    )
    return fig.update_xaxes(tickformat=".0%")


def pair_wins(counts: Mapping[str, Sequence[int]], *, theme: str = "light") -> go.Figure:
    """Pairs won, drawn and lost against each loss."""
    c = colours(theme)
    names = list(counts)
    parts = (("better", c.holds), ("no difference", c.extrapolated), ("worse", c.fails))
    traces = [
        go.Bar(y=names, x=[counts[name][k] for name in names], name=part, orientation="h", marker={"color": colour})
        for k, (part, colour) in enumerate(parts)
    ]
    won, lost = sum(v[0] for v in counts.values()), sum(v[2] for v in counts.values())
    title = f"{won} comparisons won and {lost} lost of {sum(map(sum, counts.values()))}"
    return figure(*traces, theme=theme, title=title, x="pairs and architectures", barmode="stack", height=280)
