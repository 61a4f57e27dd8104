"""Synthetic images, how they grow, and what networks learn from them."""

from __future__ import annotations

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, figure, lines, template


def condensed(result, arms=None, *, per_class: int = 1, theme: str = "light") -> go.Figure:
    """The first images of each class in the first seed's sets, one row an arm, on one grey scale a row.

    Colour is shown as the mean of its channels, the row of a table as a line of features.
    """
    arms = [arm for arm in (arms or result.sets) if arm in result.sets]
    size = torch.Size(result.shape).numel()
    rows = {arm: _pictures(result.sets[arm][0].flatten(1)[:, :size].unflatten(-1, result.shape)) for arm in arms}
    shown = torch.cat([torch.nonzero(result.y == k).squeeze(1)[:per_class] for k in result.y.unique()])
    best = max(arms, key=lambda arm: float(result.accuracy[arm].mean()))
    title = f"Trained on {len(result.y)} images of {best}, networks reach {float(result.accuracy[best].mean()):.1%}"
    others = [arm for arm in arms if arm != best]
    if others:
        least = min(others, key=lambda arm: float(result.accuracy[arm].mean()))
        title += f", on {least} {float(result.accuracy[least].mean()):.1%}"
    return _grid({arm: values[shown] for arm, values in rows.items()}, title, theme)


def _pictures(items):
    """(items, height, width)."""
    return items[:, None] if items.ndim == 2 else items.mean(1) if items.ndim == 4 else items


def growing(growth, arm: str, frame: int, *, theme: str = "light") -> go.Figure:
    """One recorded frame of a set that is being condensed."""
    accuracy = growth.accuracy[arm]
    title = f"After {int(growth.loops[frame])} networks: accuracy {float(accuracy[frame]):.1%}, initially {float(accuracy[0]):.1%}"
    return _grid({arm: growth.images[arm][frame].float()}, title, theme)


def learning(growth, frame: int, *, theme: str = "light") -> go.Figure:
    """Accuracy of networks trained on each recorded frame, by arm; a line marks the frame."""
    c = colours(theme)
    tones = {"dc": c.prediction, "dcc": c.matched}
    traces = [
        go.Scatter(
            x=growth.loops.tolist(), y=values.tolist(), name=arm, mode="lines+markers",
            line={"color": tones.get(arm, c.series[k % 7]), "width": 2},
        )
        for k, (arm, values) in enumerate(growth.accuracy.items())
    ]  # fmt: skip
    last = {arm: float(values[-1]) for arm, values in growth.accuracy.items()}
    best = max(last, key=last.__getitem__)
    title = f"{best} reaches {last[best]:.1%}, dc {last['dc']:.1%}"
    fig = figure(
        *traces, theme=theme, title=title, x="networks used for matching", y="accuracy of newly trained networks"
    )
    return fig.add_vline(x=int(growth.loops[frame]), line={"color": c.reference, "dash": "dot"})


def accuracies(result, *, theme: str = "light") -> go.Figure:
    """Test accuracy of networks trained on each arm's sets, one dot a seed."""
    c = colours(theme)
    mean = {arm: float(values.mean()) for arm, values in result.accuracy.items()}
    names = sorted(mean, key=mean.__getitem__)
    dots = go.Scatter(
        x=[float(v) for arm in names for v in result.accuracy[arm]], y=[arm for arm in names for _ in result.accuracy[arm]],
        mode="markers", name="seed", marker={"color": c.series[1], "size": 8, "opacity": 0.7},
    )  # fmt: skip
    bars = go.Scatter(
        x=[mean[arm] for arm in names], y=names, mode="markers", name="mean",
        marker={"color": c.reference, "size": 14, "symbol": "line-ns-open", "line": {"width": 3}},
    )  # fmt: skip
    title = f"{names[-1].capitalize()} reaches {mean[names[-1]]:.1%}, {names[0]} {mean[names[0]]:.1%}"
    fig = figure(
        dots, bars, theme=theme, title=title, x="test accuracy of newly trained networks", height=180 + 44 * len(names)
    )
    return fig.update_layout(margin={"l": 130})


def velocities(result, *, theme: str = "light") -> go.Figure:
    """Kernel velocity of networks while they learn from each arm's sets, mean of the seeds."""
    c = colours(theme)
    lines_ = [
        go.Scatter(
            x=list(range(1, len(values) + 1)), y=values.mean(1).tolist(), name=arm, mode="lines+markers",
            line={"color": c.series[k % 7], "width": 2},
        )
        for k, (arm, values) in enumerate(result.velocity.items())
    ]  # fmt: skip
    mean = {arm: float(values.mean()) for arm, values in result.velocity.items()}
    fast = max(mean, key=mean.__getitem__)
    slow = min(mean, key=mean.__getitem__)
    title = f"The kernel changes {mean[fast] / max(mean[slow], 1e-12):.1f} times as fast on {fast} as on {slow}"
    return figure(
        *lines_, theme=theme, title=title, x="training time (tens of steps)", y="1 - cosine of successive kernels"
    )


def by_stage(result, *, theme: str = "light") -> go.Figure:
    """Accuracy on all classes seen so far, by how many pairs of classes have come."""
    c = colours(theme)
    traces = [
        go.Scatter(
            x=list(range(1, len(values) + 1)), y=values.mean(1).tolist(), name=f"memory of {arm}", mode="lines+markers",
            line={"color": {"dcc": c.matched}.get(arm, c.extrapolated), "width": 2},
        )
        for arm, values in result.stages.items()
    ]  # fmt: skip
    last = {arm: float(values[-1].mean()) for arm, values in result.stages.items()}
    title = f"After the last pair {last['dcc']:.1%} with condensed and {last['random']:.1%} with random memory"
    return figure(*traces, theme=theme, title=title, x="pairs of classes seen", y="accuracy on the classes seen")


def _grid(rows: dict, title: str, theme: str) -> go.Figure:
    """Rows of images by name, each row on a scale of its own."""
    count = max(len(images) for images in rows.values())
    fig = make_subplots(len(rows), count, horizontal_spacing=0.008, vertical_spacing=0.02, row_titles=list(rows))
    for i, images in enumerate(rows.values(), 1):
        low, high = min(float(one.min()) for one in images), max(float(one.max()) for one in images)
        for j, image in enumerate(images, 1):
            grey = {"colorscale": "Greys_r", "zmin": low, "zmax": high, "showscale": False, "hoverinfo": "z"}
            fig.add_trace(go.Heatmap(z=image.tolist(), **grey), i, j)
    fig.update_xaxes(visible=False).update_yaxes(visible=False, autorange="reversed")
    height = 90 + 90 * len(rows)
    return fig.update_layout(
        template=template(theme), title_text=lines(title, 80), height=height, margin={"t": 50, "b": 10, "r": 60}
    )
