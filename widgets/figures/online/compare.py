"""Learners side by side on one data set."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def compared(result, *, theme: str = "light") -> go.Figure:
    """Regret over the rounds, mean over seeds, one line a learner; bandits, which see one loss a round, are dashed."""
    c = colours(theme)
    traces = [
        go.Scatter(
            x=result.at.tolist(), y=values.mean(0).tolist(), name=arm,
            line={"color": c.series[k % 7], "width": 2, "dash": "dash" if "bandit" in arm else "solid"},
        )
        for k, (arm, values) in enumerate(result.regret.items())
    ]  # fmt: skip
    last = {arm: float(values[:, -1].mean()) for arm, values in result.regret.items()}
    best = min(last, key=last.__getitem__)
    title = f"{best} has the lowest regret, {last[best]:.3g} after {int(result.at[-1])} rounds"
    fig = figure(*traces, theme=theme, title=title, x="rounds", y="regret", height=480)
    return fig.update_layout(margin={"b": 140})
