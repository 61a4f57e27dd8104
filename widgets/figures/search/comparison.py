"""Methods against one another: what they reach, and what a search costs."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def accuracy_over_cost(result, *, theme: str = "light") -> go.Figure:
    """Mean accuracy of every method's networks against the processor time of its search."""
    c = colours(theme)
    names = list(result.accuracy)
    mean = {name: float(result.accuracy[name].mean()) for name in names}
    dots = [
        go.Scatter(
            x=[result.seconds[name]],
            y=[mean[name]],
            mode="markers+text",
            text=[name],
            textposition="top center",
            showlegend=False,
            marker={"size": 12, "color": c.reference if name == "random" else c.series[k % 7]},
        )  # fmt: skip
        for k, name in enumerate(names)
    ]
    best = max(names, key=mean.__getitem__)
    title = f"{best} is the most accurate, {mean[best]:.3f}"
    if "random" in mean and best != "random":
        title += f", against {mean['random']:.3f} at random"
    return figure(
        *dots, theme=theme, title=title, x="CPU time of the search (s, all seeds)", y="accuracy of the networks"
    )
