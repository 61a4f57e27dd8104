"""Surrogates above a loss, and what further inner steps bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import plotly.graph_objects as go
import torch

from lab.losses.comparison import mean_interval
from lab.losses.target_surrogates import loss_oracle, target_surrogate
from widgets.figures.theme import colours, figure


def surrogate_slice(
    model: Callable[[torch.Tensor], torch.Tensor],
    loss: Callable[[torch.Tensor], torch.Tensor],
    at: float,
    eta: float,
    grid: torch.Tensor,
    path: Sequence[float] = (),
    *,
    theme: str = "light",
) -> go.Figure:
    """The loss over one parameter and its surrogate at ``at``; ``path`` are the inner iterates.

    ``model`` maps a parameter (a tensor without axes) to outputs, ``loss`` outputs to the summed loss.
    """
    c = colours(theme)
    z_t = model(grid.new_tensor(at))
    value, gradient = loss_oracle(lambda z, _: loss(z), torch.zeros(()))(z_t)

    def bound(w):
        return value + float(target_surrogate(model(grid.new_tensor(w)), z_t, gradient, eta))

    losses = [float(loss(model(w))) for w in grid]
    bounds = [bound(float(w)) for w in grid]
    gap = min(b - a for a, b in zip(losses, bounds))
    holds = gap >= -1e-9 * max(losses)
    traces = [
        go.Scatter(x=grid.tolist(), y=losses, mode="lines", name="loss", line={"color": c.reference, "width": 3}),
        go.Scatter(x=grid.tolist(), y=bounds, mode="lines", name="surrogate",
                   line={"color": c.holds if holds else c.fails, "width": 2.5}),
        go.Scatter(x=[at], y=[value], mode="markers", name="current weight", marker={"color": c.series[0], "size": 13}),
    ]  # fmt: skip
    if path:
        traces.append(
            go.Scatter(x=list(path), y=[bound(w) for w in path], mode="lines+markers", name="inner steps",
                       marker={"color": c.series[2], "size": 8}, line={"color": c.series[2], "width": 1})
        )  # fmt: skip
    above, below = "lies above the loss and touches it", f"dips {-gap:.3g} below the loss: descent is not guaranteed"
    title = f"At η = {eta:g} the surrogate {above if holds else below}"
    fig = figure(*traces, theme=theme, title=title, x="weight", y="summed loss")
    window = [float(grid.min()), float(grid.max())]  # inner steps may leave it
    return fig.update_yaxes(range=[0, 1.25 * max(losses)]).update_xaxes(range=window)


def losses_over_calls(curves: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """Mean loss after each expensive gradient, one arm a curve of shape (seeds, calls); the last call's interval is drawn."""
    c = colours(theme)
    traces, final = [], {}
    for k, (name, found) in enumerate(curves.items()):
        means = found.mean(0).tolist()
        final[name] = means[-1]
        half = [0.0] * len(means)
        if len(found) > 1:
            mean, _, high = mean_interval(found[:, -1])
            half[-1] = high - mean
        traces.append(
            go.Scatter(x=list(range(1, len(means) + 1)), y=means, mode="lines", name=name,
                       line={"color": c.series[k % len(c.series)], "width": 2.5},
                       error_y={"type": "data", "array": half, "thickness": 1})
        )  # fmt: skip
    best, worst = min(final, key=final.get), max(final, key=final.get)
    title = (
        f"After {len(means)} expensive gradients: loss {final[best]:.3g} with {best}, {final[worst]:.3g} with {worst}"
    )
    return figure(*traces, theme=theme, title=title, x="expensive gradients", y="mean loss").update_yaxes(type="log")
