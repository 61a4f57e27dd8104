"""Risk of estimators from bag means, over the weight of the instance loss and over the bag size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch

from lab.losses.aggregate import asymptotic_risk, private_noise
from lab.losses.comparison import mean_interval
from widgets.figures.theme import colours, figure

GRID = tuple(k / 100 for k in range(1, 101))


def aggregate_risk(
    k: int,
    noise: float,
    items_per_feature: float = 5.0,
    simulated: Mapping[float, torch.Tensor] | None = None,
    *,
    theme: str = "light",
) -> go.Figure:
    """Asymptotic squared error over the weight rho, with its parts; dots are simulated means with their 95 % intervals.

    ``simulated`` maps a weight to squared parameter errors over seeds.
    """
    c = colours(theme)
    found = [asymptotic_risk(rho, items_per_feature=items_per_feature, k=k, noise=noise) for rho in GRID]
    looks = {"risk": (c.reference, "solid", 3), "bias": (c.series[0], "dash", 2), "variance": (c.series[1], "dash", 2)}
    names = {"risk": "risk (asymptotic formula)", "bias": "squared bias", "variance": "variance"}
    traces = [
        go.Scatter(x=GRID, y=[row[part] for row in found], mode="lines", name=names[part],
                   line={"color": colour, "dash": dash, "width": width})
        for part, (colour, dash, width) in looks.items()
    ]  # fmt: skip
    if simulated:
        rows = [mean_interval(values) for values in simulated.values()]
        half = [high - mean if len(next(iter(simulated.values()))) > 1 else 0.0 for mean, _, high in rows]
        traces.append(
            go.Scatter(x=list(simulated), y=[row[0] for row in rows], mode="markers", name="simulated",
                       marker={"color": c.series[2], "size": 9}, error_y={"type": "data", "array": half, "color": c.series[2]})
        )  # fmt: skip
    risks = [row["risk"] for row in found]
    best = min(range(len(GRID)), key=risks.__getitem__)
    end = min(risks[0], risks[-1])
    title = f"Bags of {k}: the best weight is ρ = {GRID[best]:.2f}"
    gain = 1 - risks[best] / end
    title += f", {gain:.0%} below the better endpoint" if gain >= 0.005 else ", barely better than either endpoint"
    fig = figure(*traces, theme=theme, title=title, x="instance-loss weight ρ", y="squared parameter error")
    return fig.update_yaxes(range=[0, 1.15 * min(max(risks), 4 * risks[best])])


def private_bag_sizes(
    epsilon: float,
    noise: float,
    items_per_feature: float,
    clip: float,
    simulated: Mapping[int, torch.Tensor] | None = None,
    *,
    theme: str = "light",
) -> go.Figure:
    """Risk at the best weight over the bag size, with and without Laplace noise for ``epsilon``; dots are simulated means.

    The formula leaves out what clipping the responses to [-clip, clip] costs.
    """
    c = colours(theme)
    sizes = bag_sizes(items_per_feature)
    private = [best_risk(k, noise + private_noise(k, epsilon, clip), items_per_feature) for k in sizes]
    plain = [best_risk(k, noise, items_per_feature) for k in sizes]
    traces = [
        go.Scatter(x=sizes, y=private, mode="lines", name=f"ε = {epsilon:g}", line={"color": c.reference, "width": 3}),
        go.Scatter(x=sizes, y=plain, mode="lines", name="without privacy", line={"color": c.muted, "dash": "dash"}),
    ]
    if simulated:
        means = [float(torch.as_tensor(values).mean()) for values in simulated.values()]
        traces.append(
            go.Scatter(
                x=list(simulated), y=means, mode="markers", name="simulated", marker={"color": c.series[2], "size": 9}
            )
        )
    best = min(range(len(sizes)), key=private.__getitem__)
    title = f"At ε = {epsilon:g}, bags of {sizes[best]} are best: risk {private[best]:.3g}"
    title += f", versus {private[0]:.3g} for single instances" if best else ""
    fig = figure(*traces, theme=theme, title=title, x="bag size", y="squared parameter error at the best ρ")
    return fig.update_xaxes(type="log", dtick="D2").update_yaxes(range=[0, 1.1 * max(private)])


def bag_sizes(items_per_feature: float) -> list[int]:
    """Bag sizes to show: 1 to 100 in steps that grow, without the size at which there are as many bags as features."""
    sizes = sorted({round(10 ** (k / 12)) for k in range(25)})
    return [k for k in sizes if k != items_per_feature]


def best_risk(k: int, noise: float, items_per_feature: float, weights: Sequence[float] = GRID[1::3]) -> float:
    """Smallest asymptotic risk over the weights; single items have one."""
    rhos = (1.0,) if k == 1 else weights
    return min(asymptotic_risk(rho, items_per_feature=items_per_feature, k=k, noise=noise)["risk"] for rho in rhos)
