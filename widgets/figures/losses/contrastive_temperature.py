"""What the temperature of the contrastive loss does: penalties on negatives, and representations trained with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch

from lab.losses.comparison import mean_interval
from lab.losses.contrastive_temperature import penalty_entropy, relative_penalty
from widgets.figures.theme import colours, figure


def penalties(similarity: torch.Tensor, temperature: float, *, theme: str = "light") -> go.Figure:
    """Relative penalty of each negative against its similarity to the anchor, one anchor with negatives (N,)."""
    c = colours(theme)
    ordered = similarity.sort().values
    penalty = relative_penalty(ordered, temperature)
    bars = go.Bar(x=ordered.tolist(), y=penalty.tolist(), width=0.012, marker={"color": c.reference, "line": {"width": 0}},
                  name="negative")  # fmt: skip
    dots = go.Scatter(x=ordered.tolist(), y=penalty.tolist(), mode="markers", marker={"color": c.reference, "size": 6},
                      name="negative")  # fmt: skip
    count = max(1, round(0.1 * len(ordered)))
    title = (
        f"At τ = {temperature:g} the hardest 10 % of negatives get {float(penalty[-count:].sum()):.0%} of the gradient"
    )
    fig = figure(
        bars,
        dots,
        theme=theme,
        title=title,
        x="similarity of the negative to the anchor",
        y="share of the repulsive gradient",
    )
    fig.add_hline(y=1 / len(ordered), line={"color": c.muted, "dash": "dot"}, annotation_text="equal shares")
    return fig.update_layout(showlegend=False).update_yaxes(rangemode="tozero")


def penalty_entropies(similarity: torch.Tensor, temperature: float, *, theme: str = "light") -> go.Figure:
    """Effective number of negatives, exp(entropy of the penalties), over the temperature; a dot at the present one."""
    c = colours(theme)
    grid = torch.logspace(-2, 1, 91, dtype=similarity.dtype).tolist()
    counts = [math.exp(float(penalty_entropy(similarity, t))) for t in grid]
    now = math.exp(float(penalty_entropy(similarity, temperature)))
    line = go.Scatter(
        x=grid, y=counts, mode="lines", name="all temperatures", line={"color": c.reference, "width": 2.5}
    )
    dot = go.Scatter(x=[temperature], y=[now], mode="markers", name="now", marker={"color": c.series[0], "size": 13})
    title = f"The gradient acts on {now:.1f} of {len(similarity)} negatives; a higher temperature spreads it over more"
    fig = figure(line, dot, theme=theme, title=title, x="temperature", y="effective number of negatives")
    fig.add_hline(y=len(similarity), line={"color": c.muted, "dash": "dot"}, annotation_text="all")
    return fig.update_xaxes(type="log").update_layout(showlegend=False)


def quality_over(
    values: Sequence[float], quality: Mapping[str, torch.Tensor], x: str, y: str = "accuracy on held-out items", *,
    theme: str = "light",
) -> go.Figure:  # fmt: skip
    """An accuracy of representations over a setting of their loss; one curve a name of shape (values, seeds), 95 % intervals."""
    c = colours(theme)
    traces, best = [], {}
    for k, (name, found) in enumerate(quality.items()):
        rows = [mean_interval(row) for row in found]
        means = [row[0] for row in rows]
        half = [row[2] - row[0] if found.shape[1] > 1 else 0.0 for row in rows]
        above = [min(one, 1 - mean) for one, mean in zip(half, means)]  # shares end at one
        top = max(range(len(means)), key=means.__getitem__)
        best[name] = (values[top], means[top])
        colour = c.series[k % len(c.series)]
        traces.append(
            go.Scatter(x=list(values), y=means, mode="lines+markers", name=name, line={"color": colour, "width": 2},
                       error_y={"type": "data", "array": above, "arrayminus": half, "thickness": 1})
        )  # fmt: skip
    title = "Best: " + "; ".join(
        f"{name} {value:.3f} at {x.split(' (')[0]} {place:g}" for name, (place, value) in best.items()
    )
    ticks = {"tickvals": list(values), "ticktext": [f"{value:g}" for value in values], "minor": {"showgrid": False}}
    return figure(*traces, theme=theme, title=title, x=x, y=y).update_xaxes(type="log", **ticks)


def uniformity_tolerance(
    temperatures: Sequence[float], uniformity: torch.Tensor, tolerance: torch.Tensor, *, theme: str = "light"
) -> go.Figure:
    """Tolerance against uniformity of trained features, mean over seeds, one dot a temperature; both (temperatures, seeds)."""
    c = colours(theme)
    u, t = uniformity.mean(1).tolist(), tolerance.mean(1).tolist()
    path = go.Scatter(
        x=u, y=t, mode="lines+markers+text", text=[f"τ = {value:g}" for value in temperatures], textposition="top center",
        line={"color": c.muted, "width": 1.5}, marker={"color": c.series[1], "size": 11}, name="temperature",
    )  # fmt: skip
    title = f"From τ = {temperatures[0]:g} to {temperatures[-1]:g}, tolerance changes from {t[0]:.2f} to {t[-1]:.2f}"
    title += f", uniformity from {u[0]:.2f} to {u[-1]:.2f}"
    fig = figure(path, theme=theme, title=title, x="uniformity (lower is more uniform)", y="within-class tolerance")
    return fig.update_layout(showlegend=False)
