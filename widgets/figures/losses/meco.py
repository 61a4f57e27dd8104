"""Slopes, estimates and densities of the compositional likelihood beside noise contrast."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from lab.losses.meco import gaussian_slopes
from widgets.figures.theme import colours, figure, lines, template

NAMES = {"meco": "compositional likelihood", "nce": "noise contrast"}


def likelihood_slopes(mean: float, scale: float, *, theme: str = "light") -> go.Figure:
    """Size of the slope of both population losses over theta, for data N(mean, 1) and noise N(0, scale^2)."""
    c = colours(theme)
    thetas = [mean * k / 60 for k in range(60)] + [mean + 0.05 * k for k in range(1, 21)]
    found = [gaussian_slopes(mean, scale, theta, points=4001) for theta in thetas]
    looks = {"likelihood": (c.holds, "meco"), "noise contrast": (c.fails, "nce")}
    traces = [
        go.Scatter(x=thetas, y=[max(abs(row[key]), 1e-9) for row in found], name=NAMES[name], mode="lines",
                   line={"color": colour, "width": 2.5})
        for key, (colour, name) in looks.items()
    ]  # fmt: skip
    near = gaussian_slopes(mean, scale, mean - 0.1, points=4001)
    ratio = near["noise contrast"] / near["likelihood"]
    title = f"Near the optimum, noise contrast keeps {ratio:.2g} of the likelihood's gradient"
    fig = figure(*traces, theme=theme, title=title, x="θ", y="gradient magnitude (nats per unit of θ)")
    fig.add_vline(x=mean, line={"color": c.muted, "dash": "dot"}, annotation_text="R")
    return fig.update_yaxes(type="log")


def estimate_curves(errors: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """|theta - R| over the steps of stochastic descent; ``errors`` maps ``"meco"`` and ``"nce"`` to (seeds, steps)."""
    c = colours(theme)
    traces, final = [], {}
    for name, colour in (("meco", c.holds), ("nce", c.fails)):
        found = errors[name]
        steps = list(range(1, found.shape[1] + 1))
        for k, row in enumerate(found):
            traces.append(
                go.Scatter(x=steps, y=row.clamp_min(1e-6).tolist(), mode="lines", name=NAMES[name], legendgroup=name,
                           showlegend=k == 0, line={"color": colour, "width": 1.5}, opacity=0.8)
            )  # fmt: skip
        final[name] = float(found[:, -20:].mean())
    title = f"After {len(steps)} steps, error {final['meco']:.2g} with the likelihood, {final['nce']:.2g} with noise contrast"
    fig = figure(*traces, theme=theme, title=title, x="step", y="distance of θ from R")
    return fig.update_xaxes(type="log").update_yaxes(type="log")


def density_maps(
    densities: Mapping[str, torch.Tensor], half: float, nats: Mapping[str, float], *, theme: str = "light"
) -> go.Figure:
    """Normalized densities on a square grid of half-width ``half``; ``nats`` is the test loss shown above each map."""
    names = list(densities)
    fig = make_subplots(
        1, len(names), subplot_titles=[f"{NAMES.get(name, name)}: {nats[name]:.3f} nats" for name in names]
    )
    top = max(float(value.max()) for value in densities.values())
    for k, (_, value) in enumerate(densities.items()):
        axis = torch.linspace(-half, half, len(value)).tolist()
        fig.add_trace(go.Heatmap(z=value.T.tolist(), x=axis, y=axis, zmin=0, zmax=top, showscale=k == 0), 1, k + 1)
    best = min(nats, key=nats.get)
    title = f"{NAMES.get(best, best).capitalize()} fits unseen points best: {nats[best]:.3f} nats"
    fig.update_layout(template=template(theme), title_text=lines(title), height=400, margin_t=76)
    for k in range(len(names)):  # a circle stays a circle
        fig.update_yaxes(scaleanchor=f"x{k + 1}" if k else "x", constrain="domain", col=k + 1)
    fig.update_xaxes(title_text="first coordinate", constrain="domain").update_yaxes(
        title_text="second coordinate", col=1
    )
    return fig
