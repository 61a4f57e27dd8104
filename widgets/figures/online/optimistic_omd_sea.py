"""Regret over the rounds, the bounds on it, and the noise and drift that it pays for."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def growth(
    result, environment: str, arms, *, bound: str = "", measure: str = "regret", theme: str = "light"
) -> go.Figure:
    """Regret of some learners in one environment, mean over seeds with the range of seeds as a band, and one learner's bound."""
    c = colours(theme)
    table = getattr(result, measure)
    at = result.at.tolist()
    traces = []
    for k, arm in enumerate(arms):
        values = result.of(table, arm, environment)
        tone = c.matched if arm.startswith("optimistic") and arm != "optimistic FTRL" else c.series[k % 7]
        low, high = values.amin(0).tolist(), values.amax(0).tolist()
        traces.append(
            go.Scatter(
                x=at + at[::-1], y=high + low[::-1], fill="toself", fillcolor=tone, opacity=0.15, line={"width": 0},
                hoverinfo="skip", showlegend=False,
            )
        )  # fmt: skip
        traces.append(go.Scatter(x=at, y=values.mean(0).tolist(), name=arm, line={"color": tone, "width": 2}))
    if bound:
        values = result.of(result.bound, bound, environment).mean(0)
        traces.append(
            go.Scatter(x=at, y=values.tolist(), name=f"bound of {bound}", line={"color": c.reference, "dash": "dash"})
        )
    last = {arm: float(result.of(table, arm, environment)[:, -1].mean()) for arm in arms}
    least = min(last, key=last.__getitem__)
    word = "dynamic regret" if measure == "dynamic" else "regret"
    title = f"{environment}: after {at[-1]} rounds {least} has the lowest {word}, {last[least]:.3g}"
    fig = figure(*traces, theme=theme, title=title, x="rounds", y=word, height=440)
    return fig.update_xaxes(type="log").update_layout(margin={"b": 110})


def across(result, arms, *, theme: str = "light") -> go.Figure:
    """Regret at the last round in every environment, one dot a learner and seed."""
    c = colours(theme)
    traces = []
    for k, arm in enumerate(arms):
        values = result.regret[arm][:, :, -1]
        names = [name for name, row in zip(result.environments, values) for _ in row]
        tone = c.matched if arm == "optimistic" else c.series[k % 7]
        traces.append(
            go.Scatter(
                x=values.flatten().tolist(), y=names, mode="markers", name=arm,
                marker={"color": tone, "size": 9, "opacity": 0.75},
            )
        )  # fmt: skip
    wins = result.regret["optimistic"][:, :, -1].mean(1)
    worst = result.environments[int(wins.argmax())]
    title = f"The optimistic learner has its largest regret where losses are {worst}"
    fig = figure(*traces, theme=theme, title=title, x="regret after the last round", height=420)
    return fig.update_layout(margin={"l": 110, "b": 100})


def strong_bounds(result, environment: str, *, theme: str = "light") -> go.Figure:
    """The two bounds on regret with strongly convex losses, with the regret of the two learners they belong to."""
    c = colours(theme)
    at = result.at.tolist()
    rows = [
        ("bound of mirror descent", result.expected["strongly convex"], c.matched, "dash"),
        ("form with ln T", result.expected["FTRL, strongly convex"], c.prediction, "dash"),
        ("mirror descent", result.regret["optimistic, strongly convex"], c.matched, "solid"),
        ("FTRL", result.regret["FTRL, strongly convex"], c.prediction, "solid"),
    ]
    k = result.environments.index(environment)
    traces = [
        go.Scatter(x=at, y=table[k].mean(0).tolist(), name=name, line={"color": tone, "dash": dash, "width": 2})
        for name, table, tone, dash in rows
    ]
    ratio = float((rows[0][1][k, :, -1] / rows[1][1][k, :, -1]).mean())
    title = f"{environment}: the bound of mirror descent is {ratio:.0%} of the form with ln T"
    fig = figure(*traces, theme=theme, title=title, x="rounds", y="regret", height=420)
    return fig.update_xaxes(type="log").update_layout(margin={"b": 100})


def weather(result, environment: str, *, theme: str = "light") -> go.Figure:
    """Cumulative noise and drift of one environment."""
    c = colours(theme)
    k, at = result.environments.index(environment), result.at.tolist()
    traces = [
        go.Scatter(x=at, y=table[k].mean(0).tolist(), name=name, line={"color": tone, "width": 2})
        for name, table, tone in (("noise", result.noise, c.series[1]), ("drift", result.drift, c.series[0]))
    ]
    n, s = float(result.noise[k, :, -1].mean()), float(result.drift[k, :, -1].mean())
    title = f"{environment}: noise sums to {n:.3g}, drift to {s:.3g}"
    return figure(*traces, theme=theme, title=title, x="rounds", y="cumulative", height=340)
