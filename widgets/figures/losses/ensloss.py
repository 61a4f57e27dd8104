"""The loss derivatives that EnsLoss draws."""

from __future__ import annotations

import plotly.graph_objects as go
import torch

from lab.losses.ensloss import sample_calibrated_derivatives
from widgets.figures.theme import colours, figure


def sampled_derivatives(draws: int, batch: int, box_cox: float, seed: int, *, theme: str = "light") -> go.Figure:
    """Loss derivatives that EnsLoss draws for one batch, several draws, with those of fixed losses."""
    c = colours(theme)
    generator = torch.Generator().manual_seed(seed)
    margins = torch.linspace(-3, 3, batch, dtype=torch.float64)
    traces, good = [], 0
    for k in range(draws):
        g = sample_calibrated_derivatives(margins, generator, box_cox=box_cox)
        inside = g[margins <= 1]
        good += bool((inside.diff() >= 0).all() and (g < 0).all())
        traces.append(
            go.Scatter(
                x=margins.tolist(),
                y=g.tolist(),
                mode="lines",
                name="one draw" if k == 0 else None,
                showlegend=k == 0,
                line={"color": c.series[1], "width": 1.5, "shape": "hv"},
                opacity=0.8,
            )  # fmt: skip
        )
    fixed = {
        "logistic": -torch.sigmoid(-margins),
        "hinge": -(margins < 1).double(),
        "exponential": -torch.exp(-margins).clamp_max(3),
    }
    for k, (name, g) in enumerate(fixed.items()):
        line = {"color": (c.reference, c.series[0], c.series[2])[k], "width": 2.5, "dash": ("solid", "dash", "dot")[k]}
        traces.append(go.Scatter(x=margins.tolist(), y=g.tolist(), mode="lines", name=name, line=line))
    title = f"{good} of {draws} draws for a batch of {batch} are negative and non-decreasing up to margin 1: convex and calibrated"
    fig = figure(*traces, theme=theme, title=title, x="margin y f(x)", y="derivative of the loss")
    return fig.update_yaxes(range=[-1.6, 0.1])


def implied_losses(draws: int, batch: int, box_cox: float, seed: int, *, theme: str = "light") -> go.Figure:
    """The losses whose derivatives are drawn: their integrals from the right end, where every loss is set to zero."""
    c = colours(theme)
    generator = torch.Generator().manual_seed(seed)
    margins = torch.linspace(-3, 3, batch, dtype=torch.float64)
    gap = float(margins[1] - margins[0])
    traces, at = [], []
    wrong = int((margins + 1).abs().argmin())
    for k in range(draws):
        g = sample_calibrated_derivatives(margins, generator, box_cox=box_cox)
        loss = gap * (g.sum() - g.cumsum(0)).neg()
        at.append(float(loss[wrong]))
        line = {"color": c.series[1], "width": 1.5}
        traces.append(
            go.Scatter(
                x=margins.tolist(),
                y=loss.tolist(),
                mode="lines",
                name="one draw",
                showlegend=k == 0,
                line=line,
                opacity=0.8,
            )
        )
    fixed = {
        "logistic": torch.nn.functional.softplus(-margins),
        "hinge": (1 - margins).clamp_min(0),
        "exponential": torch.exp(-margins),
    }
    for k, (name, loss) in enumerate(fixed.items()):
        line = {"color": (c.reference, c.series[0], c.series[2])[k], "width": 2.5, "dash": ("solid", "dash", "dot")[k]}
        traces.append(go.Scatter(x=margins.tolist(), y=(loss - loss[-1]).tolist(), mode="lines", name=name, line=line))
    title = f"Over {draws} draws, an example with margin −1 has a loss {min(at):.2f} to {max(at):.2f} above that at margin 3"
    fig = figure(*traces, theme=theme, title=title, x="margin y f(x)", y="loss above its value at margin 3")
    return fig.update_yaxes(range=[-0.1, 4.5])
