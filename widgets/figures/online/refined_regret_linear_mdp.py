"""Regret over episodes, the estimates that learners live with, and what their policies cost as losses change."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure

_BINS = 60


def _tone(c, arm):
    named = {"magnitude-reduced": c.matched, "log-barrier": c.label, "exponential": c.prediction}
    return named.get(arm, c.series[2] if "simulator" in arm else c.extrapolated)


def regrets(result, *, theme: str = "light") -> go.Figure:
    """Mean regret at each horizon with the range over seeds, both axes logarithmic: a slope of 1/2 is the root rate."""
    c, x = colours(theme), result.episodes.tolist()
    traces = []
    for arm, values in result.regret.items():
        mean = values.mean(1)
        above, below = values.amax(1) - mean, mean - values.amin(1)
        bars = {"type": "data", "array": above.tolist(), "arrayminus": below.tolist(), "thickness": 1}
        traces.append(
            go.Scatter(
                x=x, y=mean.clamp_min(0.5).tolist(), name=arm, mode="lines+markers", error_y=bars,
                line={"color": _tone(c, arm), "width": 2},
            )
        )  # fmt: skip
    start = max(float(values[0].mean()) for values in result.regret.values())
    for power, dash in ((0.5, "dot"), (1.0, "dash")):
        y = [1.3 * start * (k / x[0]) ** power for k in x]
        name = "root of K" if power == 0.5 else "K"
        traces.append(
            go.Scatter(x=x, y=y, name=name, mode="lines", line={"color": c.reference, "dash": dash, "width": 1})
        )
    best = min(result.regret, key=lambda arm: float(result.regret[arm][-1].mean()))
    title = f"After {x[-1]} episodes {best} has the lowest regret, {float(result.regret[best][-1].mean()):.3g}"
    fig = figure(*traces, theme=theme, title=title, x="episodes K", y="regret", height=440)
    return fig.update_xaxes(type="log").update_yaxes(type="log").update_layout(margin={"b": 120})


def estimates(result, arms, *, theme: str = "light") -> go.Figure:
    """Histograms of step size times estimate; exponential weights are safe above -1 (dashed)."""
    c = colours(theme)
    low = max(-30.0, min(float(result.sample[arm].min()) for arm in arms))
    high = max(float(result.sample[arm].max()) for arm in arms)
    bins = {"start": low, "end": max(high, low + 1e-6), "size": max((high - low) / _BINS, 1e-9)}
    traces = [
        go.Histogram(
            x=result.sample[arm].clamp_min(low).tolist(), name=arm, opacity=0.6, xbins=bins, marker={"color": _tone(c, arm)},
            histnorm="percent",
        )
        for arm in arms
    ]  # fmt: skip
    least = {arm: float(result.least[arm].min()) for arm in arms}
    worst = min(least, key=least.__getitem__)
    title = f"The least of step size x estimate: {least[worst]:.3g} for {worst}"
    fig = figure(*traces, theme=theme, title=title, x="step size x estimate", y="percent", height=400)
    fig.add_vline(x=-1, line={"color": c.reference, "dash": "dash"})
    return fig.update_layout(barmode="overlay", margin={"b": 100}).update_yaxes(type="log")


def costs(result, arms, *, theme: str = "light") -> go.Figure:
    """Expected loss of an episode under each learner's policy, running mean of a twentieth of the episodes, mean over seeds."""
    c = colours(theme)
    traces = []
    for arm in arms:
        paid = result.paid[arm].mean(0)
        width = max(1, len(paid) // 20)
        total = paid.cumsum(0)
        smooth = (total[width:] - total[:-width]) / width if len(paid) > width else paid
        keep = slice(None, None, max(1, len(smooth) // 400))
        x = list(range(width, len(paid)))[keep] if len(paid) > width else list(range(len(paid)))
        traces.append(go.Scatter(x=x, y=smooth[keep].tolist(), name=arm, line={"color": _tone(c, arm), "width": 2}))
    rounds = result.paid[arms[0]].shape[1]
    best = float(result.best.mean()) / rounds
    traces.append(
        go.Scatter(x=[0, rounds], y=[best, best], name="best fixed policy", line={"color": c.reference, "dash": "dash"})
    )
    title = f"The best fixed policy pays {best:.3g} an episode, uniform actions {best + float(result.random.mean()) / rounds:.3g}"
    fig = figure(*traces, theme=theme, title=title, x="episode", y="expected loss", height=400)
    return fig.update_layout(margin={"b": 100})


def policy(result, arm: str, *, layer: int = 0, theme: str = "light") -> go.Figure:
    """The last policy of the first seed in one layer, states by actions."""
    p = result.policy[arm][layer]
    states, actions = p.shape
    likely = float(p.max())
    grid = go.Heatmap(
        z=p.tolist(), x=[f"action {a + 1}" for a in range(actions)], y=[f"state {s + 1}" for s in range(states)], zmin=0, zmax=1,
        colorbar={"title": "probability"},
    )  # fmt: skip
    title = f"{arm}: the likeliest action of layer {layer + 1} has probability {likely:.2f}"
    return figure(grid, theme=theme, title=title, height=160 + 50 * states)
