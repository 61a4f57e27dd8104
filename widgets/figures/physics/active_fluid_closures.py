"""Closures of an active fluid: curves over order, errors, maps of kinetic and coarse runs, order over time."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, figure, lines, template


def closure_curves(s: torch.Tensor, curves: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """r = <cos 4> in the eigenframe over the order s of closures in a_2 alone, with the bounds of any density."""
    c = colours(theme)
    bounds = [
        go.Scatter(x=s.tolist(), y=(2 * s**2 - 1).tolist(), mode="lines", line={"color": c.grid}, name="least possible"),
        go.Scatter(x=s.tolist(), y=[1.0] * len(s), mode="lines", line={"color": c.grid}, fill="tonexty",
                   fillcolor="rgba(86,180,233,0.12)", name="largest possible"),
    ]  # fmt: skip
    tones = {"Bingham": c.reference, "quadratic": c.prediction}
    traces = [
        go.Scatter(
            x=s.tolist(), y=r.tolist(), name=name, mode="lines", line={"width": 3, "color": tones.get(name, c.matched)}
        )
        for name, r in curves.items()
    ]
    gap = (curves["invariant"] - curves["Bingham"]).abs().max() if "invariant" in curves else torch.zeros(())
    title = f"The learned closure leaves Bingham's by at most {float(gap):.2f} and never leaves what is possible"
    return figure(*bounds, *traces, theme=theme, title=title, x="order s = |a2|", y="r = <cos 4> in the eigenframe")


def closure_errors(result, *, theme: str = "light") -> go.Figure:
    """Relative error of a_4 at parameters between those that taught, one bar a closure with a dot a seed."""
    c = colours(theme)
    names = sorted(result.errors, key=lambda name: float(result.errors[name].mean()))
    means = [float(result.errors[name].mean()) for name in names]
    shade = [c.extrapolated if name in ("Bingham", "quadratic") else c.matched for name in names]
    bars = go.Bar(x=names, y=means, marker={"color": shade}, name="mean", showlegend=False)
    dots = [
        go.Scatter(x=[name] * len(result.seeds), y=result.errors[name].tolist(), mode="markers", showlegend=False,
                   marker={"color": c.reference, "size": 5})
        for name in names
    ]  # fmt: skip
    share = float((result.errors["strain"] / result.errors["Bingham"]).mean())
    title = f"With the strain rate the closure has {share:.0%} of Bingham's error; neighbours add little"
    return figure(bars, *dots, theme=theme, title=title, x="closure", y="relative error of a4")


def order_maps(
    maps: Mapping[str, torch.Tensor], *, time: float, length: float = 10.0, theme: str = "light"
) -> go.Figure:
    """|a_2| (n, n) of several runs at one time side by side; the first is the reference."""
    names = list(maps)
    fig = make_subplots(1, len(names), subplot_titles=names, horizontal_spacing=0.04)
    for k, name in enumerate(names):
        axis = (torch.arange(maps[name].shape[0]) * length / maps[name].shape[0]).tolist()
        trace = go.Heatmap(z=maps[name].T.tolist(), x=axis, y=axis, zmin=0, zmax=1, showscale=k == len(names) - 1,
                           colorbar={"title": "order"})  # fmt: skip
        fig.add_trace(trace, 1, k + 1)
    first = maps[names[0]]
    errors = ", ".join(
        f"{name} {float((maps[name] - first).square().mean().sqrt() / first.square().mean().sqrt()):.0%}"
        for name in names[1:]
    )
    fig.update_layout(
        template=template(theme), title_text=lines(f"At time {time:.3g} off by: {errors}"), margin={"t": 80}
    )
    fig.update_yaxes(scaleanchor="x").update_xaxes(title_text="x")
    return fig


def order_over_time(orders: Mapping[str, torch.Tensor], dt: float, *, theme: str = "light") -> go.Figure:
    """The mean order over time, one line a run; the first is the kinetic theory."""
    c = colours(theme)
    names = list(orders)
    traces = [
        go.Scatter(x=[dt * k for k in range(len(values))], y=values.tolist(), name=name, mode="lines",
                   line={"color": c.reference if name == names[0] else c.series[k % len(c.series)], "width": 2})
        for k, (name, values) in enumerate(orders.items())
    ]  # fmt: skip
    gaps = {name: abs(float(values[-1] - orders[names[0]][-1])) for name, values in orders.items() if name != names[0]}
    best = min(gaps, key=gaps.__getitem__)
    title = f"At the end {best} is nearest to the kinetic order, off by {gaps[best]:.3f}"
    return figure(*traces, theme=theme, title=title, x="time", y="mean order |a2|")
