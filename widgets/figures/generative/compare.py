"""Samplers over their budget."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def over_budget(results, *, theme: str = "light") -> go.Figure:
    """Distance to held-out points over score evaluations, a line a sampler; the dotted line is fresh data."""
    c = colours(theme)
    arms = list(results[0].distance)
    traces = [
        go.Scatter(
            x=[one.evaluations[arm] for one in results], y=[float(one.distance[arm].mean()) for one in results], name=arm,
            mode="lines+markers", line={"color": c.series[k % 7], "width": 2},
        )
        for k, arm in enumerate(arms)
    ]  # fmt: skip
    last = {arm: float(results[-1].distance[arm].mean()) for arm in arms}
    best = min(last, key=last.__getitem__)
    title = f"With the largest budget {best} comes closest: {last[best]:.3f}"
    fig = figure(
        *traces, theme=theme, title=title, x="score evaluations a sample", y="sliced Wasserstein distance", height=400
    )
    fig.update_xaxes(type="log").update_yaxes(type="log")
    return fig.add_hline(y=float(results[-1].floor.mean()), line={"color": c.reference, "dash": "dot"})
