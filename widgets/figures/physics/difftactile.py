"""A tactile pad: its shape and marks under contact, forces over time, what gradients find and learn, normals from pixels."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, figure, lines, template

_ARMS = {"gradient": "gradient", "cross-entropy": "cross-entropy search", "random": "random search"}


def pressed(
    x: torch.Tensor, rest: torch.Tensor, elements: torch.Tensor, marks: torch.Tensor, outline: torch.Tensor, share: float,
    *, theme: str = "light",
) -> go.Figure:  # fmt: skip
    """A pad (nodes, 2) over an object's outline (n, 2), with its displacement from a stiff pad, 5 times as long, behind each mark.

    ``share``: tangential force over what friction can hold."""
    c = colours(theme)
    edges = torch.cat([elements[:, [0, 1]], elements[:, [1, 2]], elements[:, [2, 0]]]).sort(1).values.unique(dim=0)

    def joined(a, b):
        gap = torch.full_like(a, torch.nan)
        flat = torch.stack([a, b, gap], 1).flatten(0, 1) * 1e3
        return [[None if value != value else value for value in flat[:, k].tolist()] for k in range(2)]

    grid, moves = joined(x[edges[:, 0]], x[edges[:, 1]]), joined(x[marks] - 5 * (x[marks] - rest), x[marks])
    around = (outline * 1e3).tolist()
    traces = [
        go.Scatter(x=[p[0] for p in around], y=[p[1] for p in around], fill="toself", mode="lines", name="object",
                   line={"color": c.muted, "width": 1}),
        go.Scatter(x=grid[0], y=grid[1], mode="lines", name="pad", line={"color": c.series[1], "width": 1}),
        go.Scatter(x=moves[0], y=moves[1], mode="lines", name="displacement of the marks (5 times)",
                   line={"color": c.prediction, "width": 3}),
        go.Scatter(x=(1e3 * x[marks, 0]).tolist(), y=(1e3 * x[marks, 1]).tolist(), mode="markers", name="marks",
                   marker={"color": c.reference, "size": 6}),
    ]  # fmt: skip
    most = float((x[marks] - rest).norm(dim=1).max()) * 1e3
    state = "slips" if share > 0.9 else "holds"
    title = f"The finger {state}: its marks moved by up to {most:.1f} mm"
    fig = figure(*traces, theme=theme, title=title, x="across (mm)", y="height (mm)")
    return fig.update_yaxes(scaleanchor="x", scaleratio=1, range=[-35, 30])


def solid(x: torch.Tensor, faces: torch.Tensor, moved: torch.Tensor, *, theme: str = "light") -> go.Figure:
    """A pad of tetrahedra (nodes, 3) by its boundary faces, coloured by how far each node moved against the base, in mm."""
    values = [(1e3 * x[:, k]).tolist() for k in range(3)]
    corners = [faces[:, k].tolist() for k in range(3)]
    body = go.Mesh3d(x=values[0], y=values[1], z=values[2], i=corners[0], j=corners[1], k=corners[2], flatshading=True,
                     intensity=(1e3 * moved).tolist(), colorscale="Viridis", colorbar={"title": "mm"})  # fmt: skip
    fig = go.Figure(body)
    title = f"Seen from below, the pad gives way by {1e3 * float(moved.max()):.1f} mm"
    axes = {f"{axis}axis": {"title": f"{axis} (mm)"} for axis in "xyz"}
    camera = {"eye": {"x": 1.1, "y": 1.3, "z": -1.2}}
    return fig.update_layout(
        template=template(theme), title_text=lines(title), scene={**axes, "aspectmode": "data", "camera": camera}
    )


def forces(traces: Mapping[str, torch.Tensor], seconds: float, *, theme: str = "light") -> go.Figure:
    """Force traces (frames, d) on the pad in N, normal (solid) and tangential (dotted), over time; the first is the true one."""
    c = colours(theme)
    tones = [c.reference, c.extrapolated, c.matched, c.prediction]
    drawn = []
    for (name, trace), tone in zip(traces.items(), tones):
        time = [1e3 * seconds * (k + 1) for k in range(len(trace))]
        for part, column, dash in (("normal", -1, "solid"), ("tangential", 0, "dot")):
            drawn.append(go.Scatter(x=time, y=trace[:, column].tolist(), mode="lines", name=f"{name}, {part}",
                                    line={"color": tone, "dash": dash, "width": 2}))  # fmt: skip
    first, last = list(traces.values())[0], list(traces.values())[-1]
    if len(traces) == 1:
        title = f"The normal force reaches {float(first[:, -1].max()):.2f} N"
    else:
        gap = float((last - first).norm() / first.norm())
        title = f"With the {list(traces)[-1]} parameters the force is off by {gap:.1%}"
    return figure(*drawn, theme=theme, title=title, x="time (ms)", y="force on the pad (N)")


def cone(trace: torch.Tensor, friction: float, frame: int, *, theme: str = "light") -> go.Figure:
    """Tangential over normal force (frames, 2) inside the friction cone, in N; the last point is the present frame."""
    c = colours(theme)
    normal, tangential = trace[: frame + 1, 1], trace[: frame + 1, 0].abs()
    most = max(0.1, float(trace[:, 1].max()))
    traces = [
        go.Scatter(x=[0, most], y=[0, friction * most], mode="lines", name="μ_f times the normal force",
                   line={"color": c.prediction, "dash": "dash"}),
        go.Scatter(x=normal.tolist(), y=tangential.tolist(), mode="lines", name="path", line={"color": c.series[1]}),
        go.Scatter(x=normal[-1:].tolist(), y=tangential[-1:].tolist(), mode="markers", name="now",
                   marker={"color": c.reference, "size": 10}),
    ]  # fmt: skip
    share = float(tangential[-1] / (friction * normal[-1]).clamp_min(1e-9))
    title = f"The tangential force is at {min(share, 9.99):.0%} of what friction can hold"
    return figure(*traces, theme=theme, title=title, x="normal force (N)", y="tangential force (N)")


def identification(losses: torch.Tensor, *, theme: str = "light") -> go.Figure:
    """Relative squared error of the forces (steps, seeds) over the gradients, one line a seed."""
    c = colours(theme)
    traces = [
        go.Scatter(y=losses[:, k].tolist(), mode="lines", name=f"seed {k}", line={"color": c.matched}, showlegend=False)
        for k in range(losses.shape[1])
    ]
    ratio = float((losses[0] / losses[-1]).median())
    title = f"{len(losses)} gradients lower the force error by a factor of {ratio:.3g}"
    fig = figure(*traces, theme=theme, title=title, x="gradient", y="relative squared force error")
    return fig.update_yaxes(type="log", exponentformat="power")


def evaluations(found: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """Least relative loss so far (evaluations, seeds) of gradient and searches, medians over seeds."""
    c = colours(theme)
    tones = {"gradient": c.matched, "cross-entropy": c.series[0], "random": c.extrapolated}
    traces = [
        go.Scatter(x=list(range(1, len(loss) + 1)), y=loss.median(1).values.tolist(), mode="lines", name=_ARMS[arm],
                   line={"color": tones[arm], "width": 2})
        for arm, loss in found.items()
    ]  # fmt: skip
    last = {_ARMS[arm]: float(loss[-1].median()) for arm, loss in found.items()}
    used = len(found["gradient"]) - 1
    told = ", ".join(f"{name} {value:.2g}" for name, value in last.items())
    title = f"Relative loss after {used} gradients and {len(found['random'])} evaluations of a search: {told}"
    fig = figure(*traces, theme=theme, title=title, x="evaluations", y="least relative loss")
    return fig.update_yaxes(type="log", exponentformat="power").update_xaxes(type="log")


def skills(found: Mapping[str, torch.Tensor], names, *, theme: str = "light") -> go.Figure:
    """Relative errors of three skills: first motion, learned, and learned with and without touch under harder conditions."""
    c = colours(theme)
    kinds = (("start", "first motion", c.extrapolated), ("planned", "learned", c.matched),
             ("with", "harder conditions, with touch", c.series[1]),
             ("without", "harder conditions, without touch", c.series[0]))  # fmt: skip
    bars = [
        go.Bar(x=list(names), y=[float(found[f"{n} {kind}"].mean()) for n in names], name=label, marker={"color": tone})
        for kind, label, tone in kinds
    ]
    left = {name: float((found[f"{name} planned"] / found[f"{name} start"]).mean()) for name in names}
    title = "Of the first motion's error is left: " + ", ".join(f"{name} {share:.0%}" for name, share in left.items())
    fig = figure(*bars, theme=theme, title=title, x="skill", y="relative error", barmode="group")
    return fig.update_yaxes(type="log", exponentformat="power")


def recovery(found: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """Height of the top of an elastic and a plastic block (frames,) against rest, in mm, under a press and after it."""
    c = colours(theme)
    traces = [
        go.Scatter(y=(1e3 * found[name]).tolist(), mode="lines", name=name, line={"color": tone, "width": 2})
        for name, tone in (("elastic", c.matched), ("plastic", c.prediction))
    ]
    lost = 1e3 * found["lost"].mean(0)
    title = f"After the press the plastic block stays {float(lost[1]):.2f} mm lower, the elastic one {float(lost[0]):.2f} mm"
    return figure(*traces, theme=theme, title=title, x="frame", y="top against rest (mm)")


def optical(found: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """A camera image (n, n, 3) of the gel, the true normals and the inferred ones, as colours."""
    parts = {
        "image": found["image"],
        "true normals": found["true"] / 2 + 0.5,
        "inferred normals": found["inferred"] / 2 + 0.5,
    }
    fig = make_subplots(1, 3, subplot_titles=list(parts), horizontal_spacing=0.03)
    for k, picture in enumerate(parts.values(), 1):
        fig.add_trace(go.Image(z=(255 * picture.clamp(0, 1)).round().int().tolist()), 1, k)
    angle, flat = float(found["angle"].mean()), float(found["flat"].mean())
    title = f"Each pixel tells its normal within {angle:.1f}°, where a flat guess is {flat:.0f}° off"
    fig.update_layout(template=template(theme), title_text=lines(title), margin={"t": 90})
    return fig.update_xaxes(visible=False).update_yaxes(visible=False)
