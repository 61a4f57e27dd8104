"""How a network learns a score: errors over the steps, their four parts, and the field itself."""

from __future__ import annotations

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def learning_curves(result, *, mark: int | None = None, theme: str = "light") -> go.Figure:
    """Training loss, error of the denoiser and of the kernel, mean over seeds; a line marks a step, a diamond the rule's."""
    c, x = colours(theme), result.at.clamp_min(1).tolist()
    rows = [
        ("training loss, noisy labels", result.train, c.extrapolated, "solid"),
        ("error of the network", result.test, c.prediction, "solid"),
        ("error of kernel regression", result.kernel, c.label, "dash"),
    ]
    traces = [
        go.Scatter(x=x, y=table.mean(1).tolist(), name=name, line={"color": tone, "dash": dash, "width": 2})
        for name, table, tone, dash in rows
    ]
    mean = result.test.mean(1)
    best, stop = int(mean.argmin()), int(result.stop.float().mean().round())
    traces.append(
        go.Scatter(
            x=[x[stop]], y=[float(mean[stop])], name="stopping rule", mode="markers",
            marker={"symbol": "diamond", "size": 12, "color": c.matched},
        )
    )  # fmt: skip
    title = (
        f"The error is least after {x[best]} steps, {float(mean[best]):.3g}, and {float(mean[-1]):.3g} after {x[-1]}"
    )
    fig = figure(*traces, theme=theme, title=title, x="steps of gradient descent", y="mean squared", height=440)
    if mark is not None:
        fig.add_vline(x=x[mark], line={"color": c.reference, "dash": "dot"})
    return fig.update_xaxes(type="log").update_layout(margin={"b": 110})


def error_parts(result, *, theme: str = "light") -> go.Figure:
    """The four parts of the error over the steps, root mean squares, mean over seeds."""
    c, x = colours(theme), result.at.clamp_min(1).tolist()
    traces = [
        go.Scatter(x=x, y=table.mean(1).tolist(), name=name, line={"color": c.series[k], "width": 2})
        for k, (name, table) in enumerate(result.parts.items())
    ]
    last = {name: float(table[-1].mean()) for name, table in result.parts.items()}
    largest = max(last, key=last.__getitem__)
    title = f"At the end the largest part is {largest}, {last[largest]:.2g}"
    fig = figure(*traces, theme=theme, title=title, x="steps of gradient descent", y="root mean square", height=400)
    return fig.update_xaxes(type="log").update_layout(margin={"b": 90})


def score_field(result, index: int, time: float = 0.5, *, theme: str = "light") -> go.Figure:
    """The learned score of the first seed after a recorded step, arrows beside the exact ones, at one noise level."""
    c = colours(theme)
    x, learned, exact = result.field(index, time)
    traces = []
    longest = float(exact.norm(dim=1).max())
    for name, field, tone in (("exact", exact, c.extrapolated), ("learned", learned, c.prediction)):
        tip = x + 0.24 * field / longest * min(1.0, longest / float(field.norm(dim=1).max()))
        none = [None] * len(x)
        xs = [v for row in zip(x[:, 0].tolist(), tip[:, 0].tolist(), none) for v in row]
        ys = [v for row in zip(x[:, 1].tolist(), tip[:, 1].tolist(), none) for v in row]
        traces.append(go.Scatter(x=xs, y=ys, mode="lines", name=f"{name} score", line={"color": tone, "width": 2}))
    traces.append(
        go.Scatter(
            x=result.points[:, 0].tolist(), y=result.points[:, 1].tolist(), mode="markers", name="noisy training points",
            marker={"size": 5, "color": c.label, "opacity": 0.6},
        )
    )  # fmt: skip
    off = float((learned - exact).square().sum(1).mean().sqrt())
    title = f"Score at t = {time:g} after {int(result.at[index])} steps: off by {off:.2g} on average"
    fig = figure(*traces, theme=theme, title=title, x="x₁", y="x₂", height=480)
    fig.update_yaxes(scaleanchor="x", range=[-1.8, 1.8]).update_xaxes(range=[-1.8, 1.8])
    return fig.update_layout(margin={"b": 100})
