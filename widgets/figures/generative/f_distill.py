"""Students of one step: densities over the teacher's, coverage by divergence and noise, weights, a learned ratio, digits."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.generative.score_sde import gallery
from widgets.figures.theme import colours, figure

ORDER = ("Neyman", "softened reverse KL", "reverse KL", "Jensen-Shannon", "squared Hellinger", "forward KL", "Jeffreys")


def student_density(
    result, kind: str, *, high: int = 0, frame: int = -1, other: str = "reverse KL", theme: str = "light"
) -> go.Figure:
    """Density of the first seed's student over the teacher's, beside the student of another divergence; one dimension."""
    c = colours(theme)
    x, p, q = result.densities(kind, high, 0, frame)
    traces = [
        go.Scatter(
            x=x.tolist(), y=p.tolist(), name="teacher", fill="tozeroy", line={"color": c.extrapolated, "width": 1}
        ),
        go.Scatter(x=x.tolist(), y=q.tolist(), name=f"student, {kind}", line={"color": c.series[0], "width": 3}),
    ]
    if other != kind:
        row = result.densities(other, high, 0, frame)[2]
        traces.append(
            go.Scatter(
                x=x.tolist(),
                y=row.tolist(),
                name=f"student, {other}",
                line={"color": c.label, "width": 2, "dash": "dash"},
            )
        )
    title = f"By {kind} the student reaches {result.covered(kind, high, 0, frame):.0%} of the teacher's mass"
    if other != kind:
        title += f", by {other} {result.covered(other, high, 0, frame):.0%}"
    fig = figure(*traces, theme=theme, title=title, x="x, in the units of the data", y="density", height=440)
    top = 1.15 * max(float(max(trace.y)) for trace in traces)
    return fig.update_yaxes(range=[0, top]).update_layout(margin={"b": 110})


def coverage_map(result, *, theme: str = "light") -> go.Figure:
    """Coverage of modes for every divergence and range of noise, mean over seeds."""
    mean = result.coverage.mean(-1)
    heat = go.Heatmap(
        x=[f"{high:g}" for high in result.ranges], y=list(ORDER), z=mean.tolist(), zmin=0, zmax=1, texttemplate="%{z:.2f}",
        colorbar={"title": {"text": "coverage"}},
    )  # fmt: skip
    first = mean[:, 0]
    full = sum(float(v) > 0.9 for v in first)
    title = f"With noise to {result.ranges[0]:g}, {full} of {len(ORDER)} divergences cover the modes"
    return figure(heat, theme=theme, title=title, x="largest noise level, in the units of the data", y="", height=420)


def student_paths(result, *, theme: str = "light") -> go.Figure:
    """Shift and deviation of the first seed's students over their training, at the smallest range of noise; one dimension."""
    c, traces = colours(theme), []
    for k, kind in enumerate(ORDER):
        x, y = result.shift[:, k, 0, 0, 0].abs(), result.factor[:, k, 0, 0, 0, 0].abs()
        marker = {"size": [4] * (len(x) - 1) + [12], "color": c.series[k]}
        traces.append(
            go.Scatter(
                x=x.tolist(), y=y.tolist(), mode="lines+markers", name=kind, marker=marker, line={"color": c.series[k]}
            )
        )
    centred = [kind for k, kind in enumerate(ORDER) if abs(float(result.shift[-1, k, 0, 0, 0])) < 1]
    title = f"{len(centred)} students stay between the modes and widen, {len(ORDER) - len(centred)} shrink onto one"
    fig = figure(*traces, theme=theme, title=title, x="|shift|, in the units of the data", y="deviation", height=480)
    return fig.update_layout(margin={"b": 130})


def weight_spread(result, *, theme: str = "light") -> go.Figure:
    """Variance of h at samples of the students before training, and its correlation with the teacher's density."""
    c = colours(theme)
    kinds = [kind for kind in ORDER if kind != "reverse KL"]
    rows = [ORDER.index(kind) for kind in kinds]
    spread, pull = result.variance.mean(1)[rows], result.emphasis.mean(1)[rows]
    dots = go.Scatter(
        x=spread.tolist(), y=pull.tolist(), mode="markers+text", text=kinds, textposition="top center",
        marker={"size": 12, "color": [c.series[row] for row in rows]},
    )  # fmt: skip
    least = kinds[min((k for k in range(len(kinds)) if pull[k] > 0), key=lambda k: float(spread[k]))]
    title = f"Of weights that rise with the teacher's density those of {least} vary least"
    labels = {"x": "variance of h", "y": "correlation of h with the teacher's density"}
    fig = figure(dots, theme=theme, title=title, height=420, **{"showlegend": False}).update_layout(margin={"r": 60})
    fig.update_xaxes(type="log", title_text=labels["x"]).update_yaxes(title_text=labels["y"], range=[-1.1, 1.25])
    return fig


def learned_ratio(ratios, *, theme: str = "light") -> go.Figure:
    """The critic's log ratio over the exact one, first seed."""
    c = colours(theme)
    x, y = ratios.exact[0, :800], ratios.learned[0, :800]
    dots = go.Scatter(
        x=x.tolist(), y=y.tolist(), mode="markers", name="noised samples of the student",
        marker={"size": 4, "color": ratios.t[0, :800].tolist(), "colorbar": {"title": {"text": "t"}}, "opacity": 0.7},
    )  # fmt: skip
    ends = [max(-6.0, float(x.min())), min(6.0, float(x.max()))]
    line = go.Scatter(x=ends, y=ends, mode="lines", name="exact", line={"color": c.reference, "dash": "dot"})
    title = f"The critic explains {float(ratios.explained.mean()):.0%} of the log ratio's variance"
    fig = figure(
        dots, line, theme=theme, title=title, x="exact log ratio, nats", y="logit of the critic, nats", height=440
    )
    fig.update_xaxes(range=[ends[0] - 0.3, ends[1] + 0.3]).update_yaxes(range=[ends[0] - 2, ends[1] + 2])
    return fig.update_layout(margin={"b": 90})


def normalization(ratios, *, theme: str = "light") -> go.Figure:
    """Error of learned weights after one and after both stages of normalization, a pair of bars for each divergence."""
    c = colours(theme)
    bars = [
        go.Bar(x=list(ORDER), y=table.mean(1).tolist(), name=name, marker={"color": c.series[k]})
        for k, (name, table) in enumerate(ratios.error.items())
    ]
    first, both = (table.mean(1) for table in ratios.error.values())
    better = int((both < first).sum())
    title = f"Both stages bring the weights of {better} of {len(ORDER)} divergences nearer than the second alone"
    fig = figure(*bars, theme=theme, title=title, y="mean |h − exact h|, both of mean 1", height=440)
    return fig.update_layout(margin={"b": 140})


def one_step_digits(pictures, *, theme: str = "light") -> go.Figure:
    """One image a class by the teacher, by its denoiser used once and by every student, a row each."""
    import torch

    arms = [arm for arm in pictures.samples if arm != "its denoiser once"]
    images = torch.cat([pictures.samples[arm] for arm in arms])
    low, high = float(images.quantile(0.02)), float(images.quantile(0.98))
    students = torch.stack([pictures.recognized[kind] for kind in ORDER])
    title = (
        f"The class asked for has probability {float(students.mean()):.0%} in one evaluation, "
        f"{float(pictures.recognized['teacher'].mean()):.0%} in the teacher's {pictures.evaluations['teacher']}"
    )
    columns = len(pictures.samples[arms[0]])
    shown = ((images - low) / (high - low)).clamp(0, 1)
    fig = gallery(shown, pictures.shape, title, columns=columns, names=arms, theme=theme)
    for note in fig.layout.annotations:
        note.textangle, note.xanchor, note.font.size = 0, "left", 10
    return fig.update_layout(margin={"r": 130})


def one_step_distance(pictures, *, theme: str = "light") -> go.Figure:
    """Frechet distance of every arm, with its spread over seeds; the line is the distance of training images."""
    c, arms = colours(theme), list(pictures.distance)
    means = [float(v.mean()) for v in pictures.distance.values()]
    spread = [float(v.std()) if len(v) > 1 else 0.0 for v in pictures.distance.values()]
    tones = [c.extrapolated if arm not in ORDER else c.series[ORDER.index(arm)] for arm in arms]
    bars = go.Bar(x=arms, y=means, error_y={"array": spread}, marker={"color": tones}, showlegend=False)
    best = min(ORDER, key=lambda kind: float(pictures.distance[kind].mean()))
    title = (
        f"Nearest in one evaluation: {best}, {float(pictures.distance[best].mean()):.2f}; by the reverse KL "
        f"{float(pictures.distance['reverse KL'].mean()):.2f}"
    )
    fig = figure(bars, theme=theme, title=title, y="Fréchet distance, 16 components", height=440)
    return fig.add_hline(y=float(pictures.floor.mean()), line={"color": c.reference, "dash": "dot"})
