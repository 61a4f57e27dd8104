"""Fields as meshes: surfaces coloured by what a loss asks for, reconstructions side by side, descent with its genus."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch

from widgets.figures.physics._square import square as _square
from widgets.figures.theme import colours, figure, lines, template

_CAMERA = {"eye": {"x": 1.45, "y": 1.45, "z": 1.1}}
_SCENE = {"camera": _CAMERA, "aspectmode": "data", **{axis: {"visible": False} for axis in ("xaxis", "yaxis", "zaxis")}}


def _solid(mesh, **options) -> go.Mesh3d:
    x, y, z = mesh.vertices.detach().T.tolist()
    i, j, k = mesh.faces.T.tolist()
    light = {"ambient": 0.55, "diffuse": 0.8, "specular": 0.1}
    return go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, lighting=light, flatshading=False, **options)


def demanded(mesh, field_change: torch.Tensor, *, euler: int, step: int, mark=None, theme: str = "light") -> go.Figure:
    """A mesh coloured by how the field answers at each vertex: where it falls, the surface comes out.

    ``mark``: an arrow from one point (3,) to another (3,), the pull.
    """
    c = colours(theme)
    top = max(float(field_change.abs().max()), 1e-9)
    trace = _solid(mesh, intensity=(-field_change).tolist(), cmin=-top, cmax=top, colorscale="RdBu", reversescale=True,
                   colorbar={"title": "outward", "thickness": 12, "len": 0.7})  # fmt: skip
    traces = [trace]
    if mark is not None:
        xs, ys, zs = torch.stack(list(mark)).T.tolist()
        traces.append(
            go.Scatter3d(x=xs, y=ys, z=zs, mode="lines+markers", line={"color": c.prediction, "width": 8},
                         marker={"color": c.prediction, "size": [2, 6]}, showlegend=False)
        )  # fmt: skip
    handles = 1 - euler // 2
    title = f"Step {step}: genus {handles}, Euler characteristic {euler}"
    return figure(*traces, theme=theme, title=title, scene=_SCENE, margin={"l": 0, "r": 0, "b": 0})


def reconstructions(
    meshes: Mapping, *, title: str, points: torch.Tensor | None = None, theme: str = "light"
) -> go.Figure:
    """Meshes side by side in one view, in the order given; ``points`` (n, 3) stand before them."""
    c = colours(theme)
    names = (["scan"] if points is not None else []) + list(meshes)
    span = 2.1
    traces, labels = [], []
    if points is not None:
        x, y, z = points.T.tolist()
        traces.append(
            go.Scatter3d(x=x, y=y, z=z, mode="markers", marker={"size": 1.5, "color": c.muted}, showlegend=False)
        )
    for k, (name, mesh) in enumerate(meshes.items(), len(traces)):
        moved = type(mesh)(mesh.vertices.detach() + torch.tensor([span * k, 0.0, 0.0]), mesh.faces)
        shade = c.reference if name == "true" else c.series[(k + 1) % len(c.series)]
        traces.append(_solid(moved, color="#9aa3b2" if name == "true" else shade, name=name))
    labels = go.Scatter3d(x=[span * k for k in range(len(names))], y=[0.0] * len(names), z=[1.15] * len(names), text=names,
                          mode="text", textfont={"color": c.text, "size": 13}, showlegend=False)  # fmt: skip
    camera = {"eye": {"x": 0.0, "y": -1.9, "z": 0.7}}
    scene = {**_SCENE, "camera": camera}
    return figure(*traces, labels, theme=theme, title=title, scene=scene, margin={"l": 0, "r": 0, "b": 0})  # fmt: skip


def descent(traces: Mapping, *, mark: int | None = None, theme: str = "light") -> go.Figure:
    """The loss over the steps of each arm; a dashed line where the first arm reaches the genus of its last step."""
    c = colours(theme)
    tones = [c.matched, c.extrapolated, *c.series]
    lines_ = [
        go.Scatter(x=list(range(len(one.losses))), y=one.losses.tolist(), mode="lines", name=name, line={"color": tone, "width": 2})
        for (name, one), tone in zip(traces.items(), tones)
    ]  # fmt: skip
    first = next(iter(traces.values()))
    change = next((k for k in range(len(first.euler)) if all(e == first.euler[-1] for e in first.euler[k:])), 0)
    title = (
        f"The genus changes at step {change}: from Euler characteristic {first.euler[0]} to {first.euler[-1]}"
        if first.euler[0] != first.euler[-1]
        else "The genus does not change in these steps"
    )
    fig = figure(*lines_, theme=theme, title=title, x="step", y="loss: Chamfer distance")
    if first.euler[0] != first.euler[-1]:
        fig.add_vline(change, line={"color": c.muted, "dash": "dash"})
    if mark is not None:
        fig.add_vline(mark, line={"color": c.prediction, "dash": "dot"})
    return fig.update_yaxes(type="log")


def derivative_errors(resolutions, general: torch.Tensor, unit: torch.Tensor, *, theme: str = "light") -> go.Figure:
    """Relative error of a derivative over the grid points a side, by the general rule and by the one for distances."""
    c = colours(theme)
    traces = [
        go.Scatter(x=list(resolutions), y=values.abs().tolist(), mode="lines+markers", name=name, line={"color": tone})
        for name, values, tone in (
            ("-grad s / |grad s|^2", general, c.matched),
            ("-grad s / |grad s|, for distances only", unit, c.prediction),
        )
    ]
    off, far = (float(each[-1].abs()) for each in (general, unit))
    title = f"At {list(resolutions)[-1]} points a side: off by {off:.2%}, by the rule for distances {far:.0%}"
    fig = figure(*traces, theme=theme, title=title, x="grid points a side", y="relative error of dV/dr")  # fmt: skip
    return fig.update_yaxes(type="log").update_xaxes(type="log")


def views(seen: torch.Tensor, rendered: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """The observed silhouette (pixels, pixels) beside those of reconstructions."""
    from plotly.subplots import make_subplots

    names = ["observed", *rendered]
    fig = make_subplots(1, len(names), subplot_titles=names, horizontal_spacing=0.03)
    for k, one in enumerate([seen, *rendered.values()]):
        fig.add_trace(go.Heatmap(z=one.T.tolist(), zmin=0, zmax=1, showscale=False), 1, k + 1)
    gaps = ", ".join(f"{name} {float((one - seen).square().mean().sqrt()):.3f}" for name, one in rendered.items())
    fig.update_layout(template=template(theme), title_text=lines(f"Silhouettes off by: {gaps}"), margin={"t": 80})
    return _square(fig)
