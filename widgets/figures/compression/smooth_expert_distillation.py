"""How experts move, how near students stay, and the sets that come of it."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.compression.dcc import _grid
from widgets.figures.theme import colours, figure


def movements(result, *, theme: str = "light") -> go.Figure:
    """Mean movement of each kind of expert by epoch."""
    c = colours(theme)
    traces = [
        go.Scatter(
            x=list(range(1, values.shape[1] + 1)), y=values.mean(0).tolist(), name=name, mode="lines+markers",
            line={"color": c.series[k % 7], "width": 2},
        )
        for k, (name, values) in enumerate(result.movement.items())
    ]  # fmt: skip
    first = {name: float(values[:, 0].mean()) for name, values in result.movement.items()}
    good = {name: float(values.mean()) for name, values in result.expert_accuracy.items()}
    title = (
        f"Smooth experts move {first['smooth'] / first['plain']:.0%} as far in the first epoch, "
        f"accuracy {good['smooth']:.1%} against {good['plain']:.1%}"
    )
    return figure(*traces, theme=theme, title=title, x="epoch", y="distance moved in weight space")


def expert_paths(paths: dict, *, theme: str = "light") -> go.Figure:
    """Experts' weights after each epoch in a plane, (epochs + 1, 2) by name, from a common start."""
    c = colours(theme)
    traces = []
    for k, (name, path) in enumerate(paths.items()):
        tone = c.series[k % 7]
        traces.append(
            go.Scatter(
                x=[float(p[0]) for p in path], y=[float(p[1]) for p in path], mode="lines+markers", name=name,
                line={"color": tone, "width": 2}, marker={"size": 6, "color": tone},
            )
        )  # fmt: skip
    start = next(iter(paths.values()))[0]
    point = {"color": c.reference, "size": 12, "symbol": "x"}
    traces.append(go.Scatter(x=[float(start[0])], y=[float(start[1])], mode="markers", name="start", marker=point))
    ends = {name: float((path[1] - path[0]).norm()) for name, path in paths.items()}
    far = max(ends, key=ends.__getitem__)
    near = min(ends, key=ends.__getitem__)
    title = (
        f"In this plane {far} goes {ends[far] / max(ends[near], 1e-9):.1f} times as far as {near} in its first epoch"
    )
    return figure(*traces, theme=theme, title=title, x="first principal component", y="second principal component")


def matching(result, *, theme: str = "light") -> go.Figure:
    """The matching loss while the sets are made, mean over seeds, averaged over windows of the iterations."""
    c = colours(theme)
    traces = []
    shown = {name: values for name, values in result.losses.items() if "," not in name}
    for k, (name, values) in enumerate(shown.items()):
        window = max(1, len(values) // 40)
        means = values[: len(values) // window * window].mean(1).unflatten(0, (-1, window)).mean(1)
        x = [window * (place + 1) for place in range(len(means))]
        traces.append(
            go.Scatter(x=x, y=means.tolist(), name=name, mode="lines", line={"color": c.series[k % 7], "width": 2})
        )
    last = {name: float(values[-10:].mean()) for name, values in shown.items()}
    title = f"At the end {last['smooth']:.0%} of the squared way is left along smooth, {last['plain']:.0%} along plain experts"
    return figure(*traces, theme=theme, title=title, x="iteration", y="matching loss")


def chained(result, *, theme: str = "light") -> go.Figure:
    """The error that a student piles up over three segments, one dot a seed."""
    c = colours(theme)
    names = list(reversed(result.chained))
    dots = go.Scatter(
        x=[float(v) for arm in names for v in result.chained[arm]], y=[arm for arm in names for _ in result.chained[arm]],
        mode="markers", name="seed", marker={"color": c.series[1], "size": 8, "opacity": 0.7},
    )  # fmt: skip
    mean = {arm: float(values.mean()) for arm, values in result.chained.items()}
    best = min(mean, key=mean.__getitem__)
    title = f"Over three segments {best} leaves {mean[best]:.0%} of the squared way, plain {mean['plain']:.0%}"
    fig = figure(dots, theme=theme, title=title, x="matching loss after three segments", height=160 + 32 * len(names))
    return fig.update_layout(margin={"l": 170})


def swept_images(curve, place: int, *, theme: str = "light") -> go.Figure:
    """The recorded set of one strength of the penalty."""
    accuracy = curve["accuracy"].mean(1)
    strength = float(curve["strengths"][place])
    name = f"penalty {strength:g}" if strength else "plain experts"
    title = (
        f"Ten images, {name}: networks learn {float(accuracy[place]):.1%}, along plain experts {float(accuracy[0]):.1%}"
    )
    return _grid({name: list(curve["images"][place])}, title, theme)
