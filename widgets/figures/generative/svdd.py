"""Steered clouds beside their tilted law, and rewards against naturalness."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, figure, lines, template


def steered_cloud(cloud, *, theme: str = "light") -> go.Figure:
    """Frozen and steered points over the tilted density."""
    c = colours(theme)
    top = float(cloud.tilted.max())
    ground = go.Heatmap(
        x=cloud.axis.tolist(), y=cloud.axis.tolist(), z=cloud.tilted.clamp_min(top - 8).tolist(), showscale=False, hoverinfo="skip",
        colorscale=[[0, c.background], [1, c.label]],
    )  # fmt: skip
    tones = {"frozen": c.extrapolated, "steered": c.series[0]}
    dots = [
        go.Scatter(
            x=x[:, 0].tolist(), y=x[:, 1].tolist(), mode="markers", name=name,
            marker={"size": 4, "color": tones[name], "opacity": 0.85 if name == "steered" else 0.45},
        )
        for name, x in cloud.points.items()
    ]  # fmt: skip
    means = {name: float(r.mean()) for name, r in cloud.reward.items()}
    title = f"Mean reward {means['steered']:.2f} with {cloud.candidates} candidates, {means['frozen']:.2f} without"
    fig = figure(ground, *dots, theme=theme, title=title)
    fig.update_xaxes(range=[-2.2, 2.2], constrain="domain")
    return fig.update_yaxes(range=[-2.2, 2.2], scaleanchor="x", constrain="domain")


def reward_against_density(cloud, *, theme: str = "light") -> go.Figure:
    """Each point's reward over its log density under the frozen model."""
    c = colours(theme)
    tones = {"frozen": c.extrapolated, "steered": c.series[0]}
    dots = [
        go.Scatter(
            x=cloud.density[name].tolist(), y=cloud.reward[name].tolist(), mode="markers", name=name,
            marker={"size": 5, "color": tones[name], "opacity": 0.5},
        )
        for name in cloud.reward
    ]  # fmt: skip
    loss = float(cloud.density["steered"].mean() - cloud.density["frozen"].mean())
    title = f"Steering changes the mean log density by {loss:+.2f}"
    return figure(*dots, theme=theme, title=title, x="log density under the frozen model", y="reward")


def rewards(result, *, theme: str = "light") -> go.Figure:
    """Mean reward of every arm over its mean log-likelihood under the frozen model."""
    c = colours(theme)
    dots = []
    for k, (arm, values) in enumerate(result.reward.items()):
        means = values.mean(-1)
        spread = float(means.std()) if len(means) > 1 else 0.0
        dots.append(
            go.Scatter(
                x=[result.natural[arm]], y=[float(means.mean())], error_y={"array": [spread]}, mode="markers", name=arm,
                marker={"size": 12, "color": c.series[k % 7]},
            )
        )  # fmt: skip
    best = max(result.reward, key=lambda arm: float(result.reward[arm].mean()))
    frozen = float(result.reward["frozen model"].mean())
    title = f"{best} reaches {float(result.reward[best].mean()):.3g} {result.unit}, the frozen model {frozen:.3g}"
    return figure(
        *dots,
        theme=theme,
        title=title,
        x="mean log-likelihood under the frozen model",
        y=f"reward ({result.unit})",
        height=420,
    )


def histograms(found, *, theme: str = "light") -> go.Figure:
    """Shares of sequences by reward, beside the exact tilted law."""
    c = colours(theme)
    tones = [c.reference, c.extrapolated, c.matched, c.prediction]
    bars = [
        go.Bar(x=list(range(len(h))), y=h.tolist(), name=name, marker={"color": tones[k % 4]})
        for k, (name, h) in enumerate(found.shown.items())
    ]  # fmt: skip
    distance = {arm: float(v.mean()) for arm, v in found.distance.items()}
    title = (
        f"Total variation {distance['SVDD, exact value']:.2f} with exact values, {distance['SVDD, posterior mean']:.2f} with "
        "posterior means"
    )
    return figure(*bars, theme=theme, title=title, x="reward: disjoint 101", y="share of sequences", barmode="group")


def beside_the_law(found, *, theme: str = "light") -> go.Figure:
    """Points of every arm beside exact draws of the tilted law."""
    c = colours(theme)
    names = list(found.shown)
    fig = make_subplots(
        2, 3, subplot_titles=[lines(one, 22) for one in names], horizontal_spacing=0.03, vertical_spacing=0.14
    )
    for k, name in enumerate(names):
        x = found.shown[name][:400]
        marker = {"size": 3, "opacity": 0.6, "color": c.label if k == 0 else c.series[0]}
        fig.add_trace(
            go.Scatter(x=x[:, 0].tolist(), y=x[:, 1].tolist(), mode="markers", marker=marker), k // 3 + 1, k % 3 + 1
        )
    fig.update_xaxes(range=[-2.2, 2.2], showticklabels=False).update_yaxes(range=[-2.2, 2.2], showticklabels=False)
    best = min(found.distance, key=lambda arm: float(found.distance[arm].mean()))
    least, floor = float(found.distance[best].mean()), float(found.floor.mean())
    title = f"{best} comes closest to the tilted law: {least:.3f}, exact draws {floor:.3f}"
    return fig.update_layout(
        template=template(theme), title_text=lines(title, 60), showlegend=False, height=520, margin={"t": 90}
    )


def tradeoff(found, *, theme: str = "light") -> go.Figure:
    """Mean reward over mean log-likelihood for growing numbers of candidates, a line a temperature."""
    c = colours(theme)
    traces = []
    for k, alpha in enumerate(sorted({a for a, _ in found})):
        rows = [(m, *found[a, m]) for a, m in sorted(found) if a == alpha]
        traces.append(
            go.Scatter(
                x=[row[2] for row in rows], y=[row[1] for row in rows], text=[f"M = {row[0]}" for row in rows],
                mode="lines+markers+text",
                textposition="top center", name=f"α = {alpha:g} deviations", line={"color": c.series[k % 7], "width": 2},
            )
        )  # fmt: skip
    title = "More candidates buy reward with naturalness; a temperature sets the exchange rate"
    return figure(
        *traces, theme=theme, title=title, x="mean log-likelihood under the frozen model", y="mean reward", height=420
    )
