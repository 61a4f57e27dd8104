"""Neural equations that are easy to solve: evaluations and accuracy of the arms, courses of training, trajectories with steps."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go
import torch

from widgets.figures.theme import colours, figure

NAMES = {"none": "no penalty", "error": "penalty on the error", "stiffness": "penalty on the stiffness"}


def _tones(theme):
    c = colours(theme)
    return {"none": c.extrapolated, "error": c.matched, "stiffness": c.series[1]}


def arms(result, *, theme: str = "light") -> go.Figure:
    """Evaluations of one prediction by arm: the mean and a dot a seed."""
    tones, values = _tones(theme), {arm: found["evaluations"] for arm, found in result.values.items()}
    bars = go.Bar(x=[NAMES[arm] for arm in values], y=[float(v.mean()) for v in values.values()], showlegend=False,
                  marker={"color": [tones[arm] for arm in values]})  # fmt: skip
    dots = [
        go.Scatter(x=[NAMES[arm]] * len(v), y=v.tolist(), mode="markers", showlegend=False,
                   marker={"color": colours(theme).reference, "size": 5})
        for arm, v in values.items()
    ]  # fmt: skip
    plain, ours = (float(values[arm].mean()) for arm in ("none", "error"))
    lost = float((result.values["none"]["accuracy"] - result.values["error"]["accuracy"]).mean())
    title = f"The penalty on the error leaves {ours:.0f} of {plain:.0f} evaluations; accuracy changes by {-100 * lost:+.1f} points"
    return figure(bars, *dots, theme=theme, title=title, x="training", y="evaluations of f per prediction")


def courses(result, *, theme: str = "light") -> go.Figure:
    """Evaluations of every training step of the first seed, one line an arm."""
    tones = _tones(theme)
    traces = [
        go.Scatter(x=list(range(1, len(n) + 1)), y=n.tolist(), name=NAMES[arm], mode="lines",
                   line={"color": tones[arm], "width": 2})
        for arm, n in result.courses.items()
    ]  # fmt: skip
    total = {arm: float(found["training evaluations"].mean()) for arm, found in result.values.items()}
    title = f"Training takes {total['error']:,.0f} evaluations with the error penalized, {total['none']:,.0f} without"
    return figure(*traces, theme=theme, title=title, x="training step", y="evaluations of f")


def sizes(result, *, theme: str = "light") -> go.Figure:
    """The accepted steps of one prediction on the interval, one row an arm."""
    tones, traces = _tones(theme), []
    for arm, steps in result.sizes.items():
        ends = [0.0, *steps.cumsum(0).tolist()]
        traces.append(go.Scatter(x=ends, y=[NAMES[arm]] * len(ends), name=NAMES[arm], mode="lines+markers", showlegend=False,
                                 marker={"color": tones[arm], "size": 10, "symbol": "line-ns-open"},
                                 line={"color": tones[arm]}))  # fmt: skip
    count = {arm: len(steps) for arm, steps in result.sizes.items()}
    title = f"Accepted steps: {', '.join(f'{NAMES[arm]} {n}' for arm, n in count.items())}"
    return figure(*traces, theme=theme, title=title, x="time t", y="training")


def costs(seconds: Mapping[str, float], *, theme: str = "light") -> go.Figure:
    """CPU time of a training step with each penalty over that without."""
    c = colours(theme)
    names = {
        "error": "error",
        "stiffness": "stiffness",
        "derivative 2": "2nd derivative",
        "derivative 3": "3rd derivative",
    }
    ratio = {name: seconds[name] / seconds["none"] for name in names}
    tones = [c.matched, c.series[1], c.prediction, c.prediction]
    bars = go.Bar(x=list(names.values()), y=list(ratio.values()), marker={"color": tones}, showlegend=False)
    dear = ratio["derivative 3"]
    title = (
        f"A training step costs {ratio['error']:.2f} times as much with the error, {dear:.0f} times with derivatives"
    )
    fig = figure(bars, theme=theme, title=title, x="penalty", y="CPU time over that without penalty")
    return fig.add_hline(1.0, line={"color": c.muted, "dash": "dash"})


def trajectories(paths, *, theme: str = "light") -> go.Figure:
    """Paths of held-out points in the plane and one more dimension, a dot at the end of every accepted step."""
    c, traces = colours(theme), []
    for label, tone in ((0, c.series[3]), (1, c.series[0])):
        rows = torch.nonzero(paths.labels == label)[:, 0].tolist()
        x, y, z = (_joined(paths.fine[:, rows, k]) for k in range(3))
        traces.append(
            go.Scatter3d(x=x, y=y, z=z, mode="lines", name=f"class {label}", line={"color": tone, "width": 3})
        )
        x, y, z = (paths.dots[:, rows, k].T.flatten().tolist() for k in range(3))
        traces.append(go.Scatter3d(x=x, y=y, z=z, mode="markers", showlegend=False, marker={"color": tone, "size": 3}))
    title = (
        f"{len(paths.solution.steps)} steps, {paths.solution.evaluations} evaluations, accuracy {paths.accuracy:.1%}"
    )
    fig = figure(*traces, theme=theme, title=title)
    scene = {"xaxis": {"title": {"text": "z₁"}}, "yaxis": {"title": {"text": "z₂"}}, "zaxis": {"title": {"text": "z₃"}}}
    return fig.update_layout(scene=scene)


def _joined(values):
    """Columns one after another, with gaps between."""
    return [v for column in values.T.tolist() for v in (*column, None)]


def estimates(paths, *, theme: str = "light") -> go.Figure:
    """Sizes of the accepted steps over time, with the error and the stability that limit them."""
    c = colours(theme)
    middle = (paths.solution.steps.cumsum(0) - paths.solution.steps / 2).tolist()
    width = paths.solution.steps.tolist()
    traces = [
        go.Bar(x=middle, y=width, width=width, name="size h", marker={"color": c.matched}),
        go.Scatter(x=middle, y=paths.solution.error.tolist(), name="error E", mode="lines+markers", line={"color": c.prediction}),
        go.Scatter(x=middle, y=paths.unstable.tolist(), name="h S / 3.3066", mode="lines+markers", line={"color": c.series[1]}),
    ]  # fmt: skip
    most = f"{float(paths.solution.error.max()):.0%} of the tolerated error"
    title = f"The {len(middle)} steps use at most {most} and {float(paths.unstable.max()):.0%} of the stability bound"
    return figure(*traces, theme=theme, title=title, x="time t", y="size, or share of what is allowed")


def frontier(strengths, evaluations, accuracy, mark: float, *, theme: str = "light") -> go.Figure:
    """Accuracy and evaluations for every λ; the chosen one is ringed."""
    c = colours(theme)
    told = ["no penalty" if s == 0 else f"λ = {s:g}" for s in strengths]
    line = go.Scatter(x=list(evaluations), y=list(accuracy), text=told, mode="lines+markers", showlegend=False,
                      line={"color": c.matched}, marker={"size": 8}, cliponaxis=False)  # fmt: skip
    k = list(strengths).index(mark)
    ring = go.Scatter(x=[evaluations[k]], y=[accuracy[k]], mode="markers+text", text=[told[k]], textposition="bottom center",
                      showlegend=False, cliponaxis=False,
                      marker={"size": 16, "color": c.prediction, "symbol": "circle-open", "line": {"width": 3}})  # fmt: skip
    best = max((a for n, a in zip(evaluations, accuracy) if n <= 0.6 * evaluations[0]), default=None)
    title = "No λ saves two fifths of the evaluations"
    if best is not None:
        title = (
            f"With at most 0.6 of the evaluations the best accuracy is {best:.1%}, without penalty {accuracy[0]:.1%}"
        )
    return figure(line, ring, theme=theme, title=title, x="evaluations of f per prediction", y="accuracy")
