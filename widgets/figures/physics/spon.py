"""Operator networks on meshes: functions on triangles, errors by arm, domain and mesh, a flow, a beam."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from widgets.figures.physics._square import square as _square
from widgets.figures.theme import colours, figure, lines, template

_NAMES = {"multigrid": "multigrid network", "plain": "plain network", "discretization": "finite elements on this mesh"}


def functions(
    points: torch.Tensor, cells: torch.Tensor, shown: Mapping[str, torch.Tensor], error: float, *, theme: str = "light"
) -> go.Figure:
    """Nodal functions (n,) side by side on triangles; solution and predictions share their colours, the title tells the error."""
    names = list(shown)
    fig = make_subplots(
        1, len(names), subplot_titles=[_NAMES.get(name, name) for name in names], horizontal_spacing=0.03
    )
    alike = [v for name, v in shown.items() if name not in ("force", "error")]
    limit = max([float(v.abs().max()) for v in alike] or [1.0]) or 1.0
    for k, (name, values) in enumerate(shown.items(), 1):
        top = limit if name != "force" else float(values.abs().max()) or 1.0
        top = (float(values.abs().max()) or 1.0) if name == "error" else top
        for trace in _patches(points, cells, values[cells].mean(1) / top):
            fig.add_trace(trace, 1, k)
    told = f"The prediction is {error:.1%} of the solution's norm away, and exact on the boundary"
    fig.update_layout(template=template(theme), title_text=lines(told), margin={"t": 88}, showlegend=False)
    return _square(fig)


def _patches(points, cells, values, bands: int = 24):
    """Triangles filled by their value in [-1, 1], all of one band in one trace."""
    from plotly.colors import sample_colorscale

    tones = sample_colorscale("RdBu", [1 - (b + 0.5) / bands for b in range(bands)])
    band = ((values.double().clamp(-1, 1) + 1) / 2 * bands).long().clamp_max(bands - 1)
    traces = []
    for b in band.unique().tolist():
        corners = points[cells[band == b]][:, [0, 1, 2, 0]]
        x, y = (
            [v for row in corners[..., axis].tolist() for v in (*(round(one, 4) for one in row), None)]
            for axis in (0, 1)
        )
        traces.append(go.Scatter(x=x, y=y, mode="lines", fill="toself", fillcolor=tones[b], hoverinfo="skip",
                                 meta={"colorscale": "RdBu"},
                                 line={"color": tones[b], "width": 0.5}, showlegend=False))  # fmt: skip
    return traces


def arms(result, *, theme: str = "light") -> go.Figure:
    """Errors in L2 and H1 of both networks and of the discretization, a dot a seed."""
    c = colours(theme)
    tones = {"multigrid": c.matched, "plain": c.series[0], "discretization": c.extrapolated}
    traces = []
    for arm, tone in tones.items():
        means = [100 * float(result.errors[arm, norm].mean()) for norm in ("L2", "H1")]
        traces.append(go.Bar(x=["L2", "H1"], y=means, name=_NAMES[arm], marker={"color": tone}))
    ours, plain = (float(result.errors[arm, "L2"].mean()) for arm in ("multigrid", "plain"))
    title = f"In L2 the multigrid network errs by {ours:.1%}, the plain one by {plain:.1%}"
    return figure(*traces, theme=theme, title=title, x="norm", y="relative error (%)", barmode="group")


def losses(curves: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """Relative square errors (steps, seeds) in training, the mean over seeds."""
    c = colours(theme)
    tones = {"multigrid": c.matched, "plain": c.series[0]}
    traces = [
        go.Scatter(x=list(range(1, len(v) + 1)), y=v.mean(1).tolist(), name=_NAMES.get(name, name), mode="lines",
                   line={"color": tones.get(name, c.series[1])})
        for name, v in curves.items()
    ]  # fmt: skip
    best = min(curves, key=lambda name: float(curves[name][-10:].mean()))
    title = f"The {_NAMES.get(best, best)} ends with the smaller loss"
    return figure(*traces, theme=theme, title=title, x="training step", y="relative square error").update_yaxes(
        type="log"
    )


def accuracy_against_time(found: Mapping[str, torch.Tensor], held: int, *, theme: str = "light") -> go.Figure:
    """Errors (seeds, meshes) over the time of a forward pass per function, one point a mesh."""
    c = colours(theme)
    x = (1e6 * found["seconds"].mean(0) / held).tolist()
    y = (100 * found["errors"].mean(0)).tolist()
    text = [f"{n} nodes" for n in found["nodes"].tolist()]
    trace = go.Scatter(x=x, y=y, text=text, mode="lines+markers+text", textposition="top center", line={"color": c.matched},
                       showlegend=False)  # fmt: skip
    title = f"{text[-1]} instead of {text[0]} take {x[-1] / x[0]:.1f} times as long and leave {y[-1] / y[0]:.0%} of the error"
    return figure(trace, theme=theme, title=title, x="time per function (μs)", y="relative error (%)")


def by_case(found: Mapping[str, torch.Tensor], *, case: str = "domain", theme: str = "light") -> go.Figure:
    """Errors (seeds,) by case as bars."""
    c = colours(theme)
    means = {name: 100 * float(v.mean()) for name, v in found.items()}
    worst = max(means, key=means.__getitem__)
    bars = go.Bar(x=list(means), y=list(means.values()), marker={"color": c.matched}, showlegend=False)
    title = f"The largest error is {means[worst]:.0f} %: {worst}"
    return figure(bars, theme=theme, title=title, x=case, y="relative error (%)")


def flow(
    found: Mapping[str, torch.Tensor], points: torch.Tensor, cells: torch.Tensor, *, theme: str = "light"
) -> go.Figure:
    """Speeds before the step, after it, and predicted."""
    names = ("before", "after", "predicted")
    fig = make_subplots(1, 3, subplot_titles=names, horizontal_spacing=0.03)
    top = float(found["shown"].abs().max()) or 1.0
    for k, values in enumerate(found["shown"], 1):
        for trace in _patches(points, cells, values / top):
            fig.add_trace(trace, 1, k)
    ours, still = (float(found[name].mean()) for name in ("network", "persistence"))
    left = float(found["divergence"].max())
    told = f"The flow changes by {still:.0%}; the prediction is {ours:.0%} off and its largest net flux {left:.0e}"
    fig.update_layout(template=template(theme), title_text=lines(told), margin={"t": 88}, showlegend=False)
    return _square(fig)


def beam(found: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """The deformed beam: solution and prediction."""
    c = colours(theme)
    traces = []
    for name, u, tone in zip(("solution", "prediction"), found["shown"], (c.reference, c.matched)):
        corners = (found["points"] + u)[found["cells"]][:, [0, 1, 2, 0]]
        x, y = ([v for row in corners[..., axis].tolist() for v in (*row, None)] for axis in (0, 1))
        traces.append(go.Scatter(x=x, y=y, mode="lines", name=name, line={"color": tone, "width": 1.5}))
    ours, linear = (float(found[name].mean()) for name in ("network", "linear"))
    title = f"The network errs by {ours:.0%} of the displacement, linear elasticity by {linear:.0%}"
    fig = figure(*traces, theme=theme, title=title, x="x (heights)", y="y (heights)")
    return fig.update_yaxes(scaleanchor="x")
