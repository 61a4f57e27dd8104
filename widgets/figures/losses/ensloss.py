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
    traces = []
    for k in range(draws):
        g = sample_calibrated_derivatives(margins, generator, box_cox=box_cox)
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
    title = f"{draws} draws for a batch of {batch}: every one non-decreasing up to margin 1 and negative, so convex and calibrated"
    fig = figure(*traces, theme=theme, title=title, x="margin y f(x)", y="derivative of the loss")
    return fig.update_yaxes(range=[-1.6, 0.1])
