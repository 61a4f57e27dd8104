"""Robust accuracy by class and by way of weighing, and the weights themselves."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure

NAMES = {
    "plain": "equal weights", "done": "worst weights, tracked", "implicit": "the same, through the attack",
    "batch": "worst weights of the batch", "margin": "by margin", "geometry": "by attack steps", "loss": "by loss",
}  # fmt: skip


def class_bars(result, *, theme: str = "light") -> go.Figure:
    """Robust accuracy by class of plain and of doubly robust training."""
    c, places = colours(theme), list(range(result.weights.shape[0]))
    bars = [
        go.Bar(x=places, y=result.classes[arm].mean(0).tolist(), name=NAMES[arm], marker_color=shade)
        for arm, shade in (("plain", c.extrapolated), ("done", c.matched))
    ]
    gain = 100 * float((result.tail["done"] - result.tail["plain"]).mean())
    title = f"Worst-case weights move the three weakest classes by {gain:+.1f} points"
    return figure(*bars, theme=theme, title=title, x="class", y="accuracy under the strong attacks", barmode="group")


def class_weights(result, *, theme: str = "light") -> go.Figure:
    """Mean weight of each class's training items, of mean one over the items."""
    c, places = colours(theme), list(range(result.weights.shape[0]))
    bars = go.Bar(x=places, y=result.weights.tolist(), marker_color=c.series[1], showlegend=False)
    top = int(result.weights.argmax())
    title = f"Class {top} weighs most, {float(result.weights.max() / result.weights.min()):.1f} times the least"
    fig = figure(bars, theme=theme, title=title, x="class", y="mean weight of its items")
    return fig.add_hline(y=1.0, line={"color": c.reference, "dash": "dot"}, annotation_text="equal weights")


def robustness(result, *, theme: str = "light") -> go.Figure:
    """Mean against tail robust accuracy of every way of weighing: means with one dot a seed."""
    c, traces = colours(theme), []
    for k, (arm, name) in enumerate(NAMES.items()):
        shade = c.reference if arm == "plain" else c.matched if arm == "done" else c.series[k % 7]
        mean, tail = result.strong[arm], result.tail[arm]
        traces.append(
            go.Scatter(
                x=mean.tolist(), y=tail.tolist(), mode="markers", marker={"color": shade, "size": 6, "opacity": 0.4},
                showlegend=False,
            )
        )  # fmt: skip
        traces.append(
            go.Scatter(
                x=[float(mean.mean())], y=[float(tail.mean())], mode="markers", name=name,
                marker={"color": shade, "size": 13, "symbol": "diamond"},
            )
        )  # fmt: skip
    best = max(NAMES, key=lambda arm: float(result.tail[arm].mean()))
    title = f"The weakest classes fare best with weights '{NAMES[best]}' ({float(result.tail[best].mean()):.3f})"
    return figure(
        *traces, theme=theme, title=title, x="mean robust accuracy", y="robust accuracy of the worst 3 classes"
    )
