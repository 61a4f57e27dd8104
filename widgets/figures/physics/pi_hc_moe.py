"""Hard constraints in blocks: the solution over space and time, residual and error, jumps at the borders, arms, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, figure, lines, template

_NAMES = {
    "soft": "soft constraint",
    "hard": "hard, one block",
    "published": "blocks as published",
    "overlap": "blocks, overlapping",
}


def _tones(c):
    return {"soft": c.extrapolated, "hard": c.label, "published": c.series[0], "overlap": c.matched}


def solution(
    u: torch.Tensor, owner: torch.Tensor, t: torch.Tensor, x: torch.Tensor, *, error: float, whole: float, theme: str = "light"
) -> go.Figure:  # fmt: skip
    """u (nt, nx) as a surface, one colour a block of ``owner`` (nt, nx); relative errors of it and of one block."""
    c = colours(theme)
    blocks = owner.unique().tolist()
    steps = [(k / len(blocks), c.series[b % len(c.series)]) for k, b in enumerate(blocks)]
    ends = [((k + 1) / len(blocks), tone) for k, (_, tone) in enumerate(steps)]
    scale = [end for pair in zip(steps, ends) for end in pair]
    fig = go.Figure(
        go.Surface(x=x.tolist(), y=t.tolist(), z=u.tolist(), surfacecolor=owner.tolist(), cmin=-0.5, cmax=len(blocks) - 0.5,
                   colorscale=scale, showscale=False, lighting={"ambient": 0.7, "diffuse": 0.6})
    )  # fmt: skip
    word = "more accurate" if error < whole else "less accurate"
    title = f"{len(blocks)} block{'s' * (len(blocks) > 1)}: relative error {error:.1%}"
    if len(blocks) > 1:
        title += f", {word} than one block with {whole:.1%}"
    axes = {"xaxis_title": "x", "yaxis_title": "t", "zaxis_title": "u"}
    eye = {"eye": {"x": -1.7, "y": -1.7, "z": 1.0}}
    fig.update_layout(
        template=template(theme), title_text=lines(title), scene={**axes, "camera": eye}, margin={"t": 72}
    )
    return fig


def maps(
    residual: torch.Tensor, error: torch.Tensor, t: torch.Tensor, x: torch.Tensor, borders: Sequence[int] = (), *,
    theme: str = "light",
) -> go.Figure:  # fmt: skip
    """Residual and error (nt, nx) over x and t, each on its own scale, with the borders of the blocks."""
    c = colours(theme)
    fig = make_subplots(1, 2, subplot_titles=["residual", "error of u"], horizontal_spacing=0.3)
    for k, values in enumerate((residual, error)):
        top = max(float(values.abs().max()), 1e-12)
        bar = {"thickness": 8, "len": 0.8, "x": 0.36 + 0.65 * k}
        fig.add_trace(
            go.Heatmap(x=x.tolist(), y=t.tolist(), z=values.tolist(), zmin=-top, zmax=top, colorscale="RdBu", colorbar=bar),
            1, k + 1,
        )  # fmt: skip
        for b in borders:
            at = float(x[b] + x[b - 1]) / 2
            fig.add_vline(at, line={"color": c.muted, "dash": "dot", "width": 1}, row=1, col=k + 1)
    size = [float(v.square().mean().sqrt()) for v in (residual, error)]
    title = f"Root mean square: residual {size[0]:.3g}, error {size[1]:.3g}"
    fig.update_xaxes(title_text="x").update_yaxes(title_text="t", col=1)
    return fig.update_layout(template=template(theme), title_text=lines(title), margin={"t": 96})


def jumps(t: torch.Tensor, found: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """Jumps of u (nt,) at the borders over time."""
    c = colours(theme)
    traces = [
        go.Scatter(
            x=t.tolist(), y=values.tolist(), name=name, mode="lines", line={"color": c.series[k % len(c.series)]}
        )
        for k, (name, values) in enumerate(found.items())
    ]
    if not found:
        return figure(go.Scatter(x=[], y=[]), theme=theme, title="One block has no borders", x="t", y="jump of u")
    where, top = max(((name, float(v.abs().max())) for name, v in found.items()), key=lambda one: one[1])
    return figure(*traces, theme=theme, title=f"u jumps by up to {top:.3g}, at {where}", x="t", y="jump of u")


def arms(result, *, theme: str = "light") -> go.Figure:
    """Relative error on unseen instances of every arm, with a dot a seed."""
    c = colours(theme)
    tones, names = _tones(c), list(result.arms)
    means = {arm: float(one.error.mean()) for arm, one in result.arms.items()}
    bars = go.Bar(x=[_NAMES[a] for a in names], y=[means[a] for a in names], marker={"color": [tones[a] for a in names]},
                  showlegend=False)  # fmt: skip
    dots = go.Scatter(x=[_NAMES[a] for a in names for _ in result.seeds], y=[float(e) for a in names for e in result.arms[a].error],
                      mode="markers", marker={"color": c.reference, "size": 6}, showlegend=False)  # fmt: skip
    best = min(means, key=means.__getitem__)
    title = f"Most accurate: {_NAMES[best]}, with {means[best]:.1%} where the soft constraint has {means['soft']:.1%}"
    return figure(bars, dots, theme=theme, title=title, x="constraint", y="relative error of u")


def losses(result, *, theme: str = "light") -> go.Figure:
    """|F|^2 over the steps of training, mean of the seeds."""
    c = colours(theme)
    tones = _tones(c)
    traces = [
        go.Scatter(x=list(range(1, len(values) + 1)), y=values.mean(1).tolist(), name=_NAMES[arm], mode="lines",
                   line={"color": tones[arm], "width": 1.5})
        for arm, values in result.losses.items()
    ]  # fmt: skip
    last = {arm: float(v[-max(1, len(v) // 10) :].mean()) for arm, v in result.losses.items()}
    title = f"The hard constraint reaches a loss of {last['hard']:.2g}, the soft one {last['soft']:.2g}"
    fig = figure(*traces, theme=theme, title=title, x="training step", y="loss |F|²")
    return fig.update_yaxes(type="log", exponentformat="power")


def costs(found: Sequence[Mapping[str, float]], what: str = "solve", *, theme: str = "light") -> go.Figure:
    """Wall time (``"solve"``, ``"inference"``, ``"training"``) or ``"memory"`` of one block and of four experts over the points."""
    c = colours(theme)
    memory = what == "memory"
    four = "largest of four experts" if memory else "four experts, two threads"
    unit, factor = ("peak memory (MB)", 1e-6) if memory else (f"wall time of one {what} (ms)", 1e3)
    traces = [
        go.Scatter(x=[one["points"] for one in found], y=[factor * one[f"{what} {k}"] for one in found], name=name,
                   mode="lines+markers", line={"color": tone})
        for k, name, tone in ((1, "one block", c.label), (4, four, c.matched))
    ]  # fmt: skip
    last = found[-1]
    share = last[f"{what} 4"] / last[f"{what} 1"]
    thing = "memory" if memory else "wall time"
    title = f"At {last['points']:,} points the experts take {share:.0%} of the {thing} of one block"
    return figure(*traces, theme=theme, title=title, x="points", y=unit)
