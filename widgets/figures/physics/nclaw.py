"""A learned material: its stress over stretch, its errors on what it never saw, bodies beside the true ones."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch

from widgets.figures.theme import colours, figure


def stress_curves(
    stretch: torch.Tensor,
    stress: Mapping[str, torch.Tensor],
    visited: tuple[float, float],
    *,
    mark: float | None = None,
    theme: str = "light",
) -> go.Figure:
    """Kirchhoff stress (Pa) over uniaxial stretch of the true, learned and untrained law; the visited range is shaded."""
    c = colours(theme)
    style = {
        "true": {"color": c.reference, "width": 3},
        "learned": {"color": c.matched, "width": 2},
        "untrained": {"color": c.extrapolated, "width": 2, "dash": "dot"},
    }
    traces = [
        go.Scatter(x=stretch.tolist(), y=(values / 1e3).tolist(), name=name, mode="lines", line=style[name])
        for name, values in stress.items()
    ]
    low, high = max(visited[0], float(stretch[0])), min(visited[1], float(stretch[-1]))
    inside = (stretch >= low) & (stretch <= high)
    gap = (stress["learned"] - stress["true"])[inside].abs().max() / stress["true"][inside].abs().max()
    title = f"Within the range seen in training, the learned stress is off by at most {float(gap):.0%} of the maximum"
    fig = figure(*traces, theme=theme, title=title, x="stretch along one axis", y="Kirchhoff stress (kPa)")
    fig.add_vrect(
        low, high, fillcolor=c.series[1], opacity=0.15, line_width=0, annotation_text="range seen in training"
    )
    if mark is not None:
        fig.add_vline(mark, line={"color": c.muted, "dash": "dash"})
    return fig


def held_out(result, *, theme: str = "light") -> go.Figure:
    """RMS distance to the true motion of every held-out scene: the learned law beside no stress at all, means over seeds."""
    c = colours(theme)
    names = list(result.errors)
    bars = [
        go.Bar(x=names, y=[float(values[name].mean()) for name in names], name=label, marker={"color": colour})
        for label, values, colour in (
            ("learned law", result.errors, c.matched),
            ("no stress", result.zero, c.extrapolated),
        )
    ]
    worst = max(names, key=lambda name: float(result.ratio(name).mean()))
    ratio = float(result.ratio(worst).mean())
    title = f"On its worst scene ({worst}) the law has {ratio:.1%} of the error without stress"
    fig = figure(*bars, theme=theme, title=title, x="held-out scene", y="RMS distance (m)", barmode="group")
    return fig.update_yaxes(type="log")


def bodies(
    true: torch.Tensor,
    learned: torch.Tensor,
    *,
    time: float,
    box: float = 1.0,
    colour: torch.Tensor | None = None,
    label: str = "stress (kPa)",
    theme: str = "light",
) -> go.Figure:
    """Particles (particles, d) of the true and the learned motion at one time (s); ``colour`` shades the learned ones."""
    c = colours(theme)
    kind = go.Scatter if true.shape[1] == 2 else go.Scatter3d
    axes = ("x", "y", "z")[: true.shape[1]]
    shade = {"color": c.matched}
    if colour is not None:
        shade = {"color": colour.tolist(), "colorscale": "Viridis", "showscale": True, "colorbar": {"title": label}}
    markers = (
        ("true", true, {"color": c.reference, "size": 7, "opacity": 0.35}),
        ("learned", learned, {"size": 4, **shade}),
    )
    traces = [
        kind(**dict(zip(axes, points.T.tolist())), mode="markers", name=name, marker=marker)
        for name, points, marker in markers
    ]
    error = float((true - learned).square().sum(1).mean().sqrt())
    title = f"After {time:.3g} s the learned body is {1e3 * error:.2g} mm from the true one"
    fig = figure(*traces, theme=theme, title=title, x="m", y="m")
    if true.shape[1] == 2:
        fig.update_xaxes(range=[0, box]).update_yaxes(range=[0, box], scaleanchor="x")
    return fig


def training(result, *, theme: str = "light") -> go.Figure:
    """Position error in cells over the epochs, one line a seed; steps up are longer segments."""
    c = colours(theme)
    epochs = list(range(1, len(result.loss) + 1))
    traces = [
        go.Scatter(x=epochs, y=result.loss[:, k].sqrt().tolist(), name=f"seed {seed}", mode="lines",
                   line={"color": c.series[k % len(c.series)]})
        for k, seed in enumerate(result.seeds)
    ]  # fmt: skip
    title = "Each longer segment reveals errors that the shorter ones hide"
    fig = figure(*traces, theme=theme, title=title, x="epoch", y="RMS position error (cells)")
    return fig.update_yaxes(type="log")
