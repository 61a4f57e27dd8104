"""Operators without labels: errors by arm, media and flows, phase probability against truth, bands, draws in a stack."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from widgets.figures.physics._square import square as _square
from widgets.figures.theme import colours, figure, lines, template


def errors(values: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """Relative error of u of every arm, mean of seeds, with a dot a seed."""
    c = colours(theme)
    names = list(values)
    means = [float(values[name].mean()) for name in names]
    bars = go.Bar(x=names, y=means, showlegend=False,
                  marker={"color": [c.matched if name == "DGNO" else c.extrapolated for name in names]})  # fmt: skip
    dots = go.Scatter(x=[name for name in names for _ in values[name]], y=[float(v) for name in names for v in values[name]],
                      mode="markers", showlegend=False, marker={"color": c.reference, "size": 5})  # fmt: skip
    mean = float(values["DGNO"].mean())
    title = f"Without a single solution the operator predicts u to {mean:.1%}"
    if "50 labels" in values:
        title += f"; a DeepONet shown 50 solutions to {float(values['50 labels'].mean()):.1%}"
    return figure(bars, dots, theme=theme, title=title, x="training", y="relative error of u")


def maps(pictures: Mapping[str, torch.Tensor], title: str, *, theme: str = "light") -> go.Figure:
    """Fields (n, n) side by side, first axis across; each with its own colours."""
    fig = make_subplots(1, len(pictures), subplot_titles=list(pictures), horizontal_spacing=0.04)
    for k, field in enumerate(pictures.values(), 1):
        fig.add_trace(go.Heatmap(z=field.T.tolist(), showscale=False), 1, k)
    fig.update_layout(template=template(theme), title_text=lines(title), margin={"t": 92})
    return _square(fig)


def phases(
    truth: torch.Tensor | None, probability: torch.Tensor, sensors: torch.Tensor, *, theme: str = "light"
) -> go.Figure:
    """The true phase (n, n) of 0 and 1, if known, and its posterior probability (n, n), with the sensors (sensors, 2) as dots."""
    c = colours(theme)
    shown = {} if truth is None else {"true phase": truth.double()}
    shown["posterior probability"] = probability
    fig = make_subplots(1, len(shown), subplot_titles=list(shown), horizontal_spacing=0.04)
    line = ((torch.arange(len(probability)) + 0.5) / len(probability)).tolist()
    for k, field in enumerate(shown.values(), 1):
        fig.add_trace(
            go.Heatmap(x=line, y=line, z=field.T.tolist(), zmin=0, zmax=1, colorscale="Cividis", showscale=False), 1, k
        )
        fig.add_trace(
            go.Scatter(x=sensors[:, 0].tolist(), y=sensors[:, 1].tolist(), mode="markers", name="sensor", showlegend=k == 1,
                       marker={"color": c.prediction, "size": 6, "line": {"color": "#ffffff", "width": 1}}), 1, k
        )  # fmt: skip
    title = f"{len(sensors)} sensors of u leave "
    if truth is None:
        title += f"{float(((probability > 0.1) & (probability < 0.9)).double().mean()):.0%} of the cells uncertain"
    else:
        title += f"{float(((probability > 0.5) != (truth > 0.5)).double().mean()):.0%} of the cells in the wrong phase"
    fig.update_layout(template=template(theme), title_text=lines(title), margin={"t": 92})
    return _square(fig).update_xaxes(range=[0, 1]).update_yaxes(range=[0, 1])


def band(
    x: torch.Tensor, truth: torch.Tensor | None, draws: torch.Tensor, *, level: float = 0.8, theme: str = "light"
) -> go.Figure:
    """u along a line through the middle: truth (points,), if known, and the band of ``level`` of draws (draws, points)."""
    c = colours(theme)
    low, middle, high = torch.quantile(
        draws, torch.tensor([(1 - level) / 2, 0.5, (1 + level) / 2], dtype=draws.dtype), dim=0
    )
    at = x.tolist()
    traces = [
        go.Scatter(x=at + at[::-1], y=high.tolist() + low.flip(0).tolist(), fill="toself", line={"width": 0},
                   fillcolor="rgba(86,180,233,0.35)", name=f"{level:.0%} band"),
        go.Scatter(x=at, y=middle.tolist(), name="posterior median", line={"color": c.label}),
    ]  # fmt: skip
    title = (
        f"Along the middle, the band of {level:.0%} is {float((high - low).mean() / middle.abs().mean()):.1%} of u wide"
    )
    if truth is not None:
        traces.append(go.Scatter(x=at, y=truth.tolist(), name="truth", line={"color": c.reference, "dash": "dash"}))
        inside = float(((truth >= low) & (truth <= high)).double().mean())
        title = f"Along the middle, {inside:.0%} of u lie in the posterior band of {level:.0%}"
    return figure(*traces, theme=theme, title=title, x="x", y="u")


def stack(draws: torch.Tensor, *, theme: str = "light") -> go.Figure:
    """Phase probabilities of posterior draws (draws, n, n), one above the other."""
    line = ((torch.arange(draws.shape[1]) + 0.5) / draws.shape[1]).tolist()
    sheets = [
        go.Surface(x=line, y=line, z=torch.full(draws.shape[1:], float(k)).tolist(), surfacecolor=sheet.T.tolist(), cmin=0, cmax=1,
                   colorscale="Cividis", showscale=k == 0, opacity=0.9, colorbar={"title": "probability"})
        for k, sheet in enumerate(draws)
    ]  # fmt: skip
    spread = float(draws.std(0).mean())
    fig = figure(
        *sheets, theme=theme, title=f"Posterior draws of the medium differ by {spread:.2f} in the mean over cells"
    )
    return fig.update_layout(scene={"xaxis_title": "x", "yaxis_title": "y", "zaxis_title": "draw"})


def misclassified(shares: Mapping[str, float], *, theme: str = "light") -> go.Figure:
    """Share of misclassified cells by method, noise or number of sensors."""
    c = colours(theme)
    names = list(shares)
    tones = [c.extrapolated if name.startswith(("raw", "no sensors")) else c.matched for name in names]
    bars = go.Bar(x=names, y=[shares[name] for name in names], marker={"color": tones}, showlegend=False)
    best = min(shares, key=shares.__getitem__)
    title = f"Fewest cells are misclassified with {best}: {shares[best]:.1%}"
    return figure(bars, theme=theme, title=title, x="inverse problem", y="share of misclassified cells")
