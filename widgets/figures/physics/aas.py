"""An adversary of collocation points: residual, density and points, the parts of the maximum, errors, residual maps."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from lab.physics.residuals import Box
from lab.physics.studies.aas import NAMES
from widgets.figures.physics._square import square as _square
from widgets.figures.theme import colours, figure, lines, template


def density_map(
    r2: torch.Tensor, density: torch.Tensor, samples: torch.Tensor, box: Box, *, kappa: float, theme: str = "light"
) -> go.Figure:
    """The squared residual (n, n) and the density p* (n, n) with points (m, 2) drawn from it, side by side."""
    c, n = colours(theme), len(r2)
    axes = [[low + (k + 0.5) * side / n for k in range(n)] for low, side in zip(box.low, box.size)]
    fig = make_subplots(
        1, 2, subplot_titles=["squared residual r²", "density p* and its points"], horizontal_spacing=0.04
    )
    for column, values in enumerate((r2, density), 1):
        fig.add_trace(go.Heatmap(x=axes[0], y=axes[1], z=values.T.tolist(), showscale=False, colorscale="Viridis",
                                 name=("r²", "p*")[column - 1]), 1, column)  # fmt: skip
    fig.add_trace(go.Scatter(x=samples[:, 0].tolist(), y=samples[:, 1].tolist(), mode="markers", hoverinfo="skip",
                             marker={"size": 3, "color": c.series[0], "opacity": 0.8}, showlegend=False), 1, 2)  # fmt: skip
    empty = float((density <= 0).double().mean())
    peak = f"{float(density.max()):.3g} times the uniform one"
    title = f"At κ = {kappa:.2g} the density reaches {peak} and is 0 on {empty:.0%} of the box"
    fig.update_layout(template=template(theme), title_text=lines(title), margin={"t": 110})
    return _square(fig)


def maximum_parts(
    beta: torch.Tensor, reward: torch.Tensor, penalty: torch.Tensor, mean: float, mark: float, *, theme: str = "light"
) -> go.Figure:
    """Both parts of the maximum over beta (k,): the reward <r^2 p> and the smoothness term beta <|grad p|^2>."""
    c, x = colours(theme), beta.tolist()
    traces = [
        go.Scatter(x=x, y=values.tolist(), name=name, mode="lines", line={"color": tone, "width": 2})
        for name, values, tone in (
            ("reward ⟨r² p⟩", reward, c.matched),
            ("smoothness β⟨|∇p|²⟩", penalty, c.prediction),
            ("maximum", reward - penalty, c.series[1]),
        )
    ]
    near = int((beta.log() - torch.tensor(mark).log()).abs().argmin())
    share, paid = (float(each[near]) / max(mean, 1e-300) for each in (reward, penalty))
    title = f"The adversary sees {share:.2g} times the mean squared residual and pays {paid:.2g} for smoothness"
    fig = figure(*traces, theme=theme, title=title, x="smoothness β", y="in units of r²")
    fig.add_hline(mean, line={"color": c.muted, "dash": "dash"}, annotation_text="uniform density")
    fig.add_vline(mark, line={"color": c.reference, "dash": "dot"})
    return fig.update_xaxes(type="log", exponentformat="power")


def density_in_space(density: torch.Tensor, box: Box, *, theme: str = "light") -> go.Figure:
    """Surfaces of equal density (n, n, n) in a box of three dimensions."""
    n = density.shape[0]
    axes = [torch.tensor([low + (k + 0.5) * side / n for k in range(n)]) for low, side in zip(box.low, box.size)]
    x, y, z = (each.flatten().tolist() for each in torch.meshgrid(*axes, indexing="ij"))
    top = float(density.max())
    trace = go.Isosurface(x=x, y=y, z=z, value=density.flatten().tolist(), isomin=0.25 * top, isomax=0.75 * top,
                          surface={"count": 3}, opacity=0.45, colorscale="Viridis", showscale=False,
                          caps={a: {"show": False} for a in "xyz"})  # fmt: skip
    inside = float((density > 0.25 * top).double().mean())
    title = f"In three dimensions the density exceeds a quarter of its peak on {inside:.1%} of the box"
    return figure(trace, theme=theme, title=title, scene={"aspectmode": "cube"})


def errors(result, *, theme: str = "light") -> go.Figure:
    """Relative L2 error and residual rms of every arm, a dot a seed; the error of u = 0 is 1."""
    c = colours(theme)
    arms, shades = list(result.error), {"adversary": c.matched, "flow": c.matched, "residual": c.series[2]}
    fig = make_subplots(1, 2, subplot_titles=["relative L2 error", "residual rms (u = 0: 1)"], horizontal_spacing=0.12)
    for column, values in enumerate((result.error, result.rms), 1):
        for arm in arms:
            fig.add_trace(go.Bar(x=[NAMES[arm]], y=[float(values[arm].mean())], showlegend=False,
                                 marker={"color": shades.get(arm, c.extrapolated)}), 1, column)  # fmt: skip
            fig.add_trace(go.Scatter(x=[NAMES[arm]] * len(values[arm]), y=values[arm].tolist(), mode="markers", showlegend=False,
                                     marker={"color": c.reference, "size": 6}), 1, column)  # fmt: skip
    ours = next((arm for arm in ("adversary", "flow") if arm in arms), arms[-1])
    ratio = float(result.error[ours].mean() / result.error["uniform"].mean())
    title = f"With {NAMES[ours]} the error is {ratio:.2g} times that with uniform points"
    fig.update_layout(template=template(theme), title_text=lines(title), margin={"t": 90})
    fig.update_yaxes(type="log", exponentformat="power").update_xaxes(tickangle=25)
    return fig


def residual_maps(result, *, theme: str = "light") -> go.Figure:
    """r^2 (n, n) of the first seed of every arm after training, on one logarithmic scale."""
    arms = list(result.r2)
    shown = {arm: (result.r2[arm][0].clamp_min(1e-12)).log10() for arm in arms}
    top = max(float(each.max()) for each in shown.values())
    fig = make_subplots(1, len(arms), subplot_titles=[lines(NAMES[arm], 18) for arm in arms], horizontal_spacing=0.03)
    for column, arm in enumerate(arms, 1):
        fig.add_trace(go.Heatmap(z=shown[arm].T.tolist(), zmin=top - 5, zmax=top, showscale=column == len(arms),
                                 colorbar={"title": "log₁₀ r²"}), 1, column)  # fmt: skip
    told = ", ".join(f"{NAMES[arm]} {float(result.ratio[arm][0]):.2g}" for arm in arms)
    fig.update_layout(template=template(theme), title_text=lines(f"Var(r²) / mean²: {told}", 80), margin={"t": 120})
    return _square(fig)


def training_losses(result, *, theme: str = "light") -> go.Figure:
    """Median over the seeds of the sampled loss of every arm; the arms sample different losses."""
    c = colours(theme)
    tones = {"adversary": c.matched, "flow": c.matched, "uniform": c.extrapolated, "residual": c.series[2]}
    traces = [
        go.Scatter(x=list(range(0, len(losses), 5)), y=losses.median(1).values[::5].tolist(), name=NAMES[arm], mode="lines",
                   line={"color": tones.get(arm, c.series[1]), "width": 1.5})
        for arm, losses in result.losses.items()
    ]  # fmt: skip
    last = {arm: float(losses[-max(1, len(losses) // 20) :].median()) for arm, losses in result.losses.items()}
    title = f"The sampled loss ends at {', '.join(f'{value:.2g} ({NAMES[arm]})' for arm, value in last.items())}"
    fig = figure(*traces, theme=theme, title=title, x="training step", y="sampled loss")
    return fig.update_yaxes(type="log", exponentformat="power")


def points_in_more_dimensions(samples: Mapping[str, torch.Tensor], centre: float, *, theme: str = "light") -> go.Figure:
    """Points (m, d) of every arm, first two coordinates; the peak is at ``centre`` in all coordinates."""
    c = colours(theme)
    tones = {"uniform": c.extrapolated, "flow": c.matched, "mirrored": c.prediction}
    traces = [
        go.Scatter(x=x[:, 0].tolist(), y=x[:, 1].tolist(), name=NAMES[arm], mode="markers",
                   marker={"size": 4, "color": tones[arm], "opacity": 0.6})
        for arm, x in samples.items()
    ]  # fmt: skip
    traces.append(go.Scatter(x=[centre], y=[centre], name="peak", mode="markers",
                             marker={"symbol": "x", "size": 12, "color": c.reference}))  # fmt: skip
    shares = {arm: float(((x - centre).norm(dim=1) < 0.75).double().mean()) for arm, x in samples.items()}
    told = ", ".join(f"{share:.0%} of {NAMES[arm]}" for arm, share in shares.items())
    fig = figure(*traces, theme=theme, title=f"Within 0.75 of the peak: {told}", x="x₁", y="x₂")
    return fig.update_yaxes(scaleanchor="x")
