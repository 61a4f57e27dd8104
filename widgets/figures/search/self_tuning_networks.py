"""Hyperparameters over time, and best responses to a penalty."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from widgets.figures.theme import colours, figure


def hyperparameter_paths(tuned, names: Sequence[str], *, theme: str = "light") -> go.Figure:
    """What each hyperparameter was over training, one line a seed."""
    c = colours(theme)
    values = tuned.values()
    traces = [
        go.Scatter(
            x=list(tuned.at),
            y=values[:, s, k].tolist(),
            name=name,
            legendgroup=name,
            showlegend=s == 0,
            mode="lines",
            line={"color": c.series[k % 7], "width": 1.5},
        )  # fmt: skip
        for k, name in enumerate(names)
        for s in range(values.shape[1])
    ]
    moved = (values[-1] - values[0]).mean(0)
    k = int(moved.abs().argmax())
    first, last = float(values[0, :, k].mean()), float(values[-1, :, k].mean())
    title = f"{names[k].capitalize()} goes from {first:.2f} to {last:.2f}"
    return figure(*traces, theme=theme, title=title, x="training step", y="hyperparameter")


def losses_of_arms(result, *, theme: str = "light") -> go.Figure:
    """Test loss of every arm, one dot a network."""
    c = colours(theme)
    mean = {arm: float(values.mean()) for arm, values in result.test.items()}
    names = sorted(mean, key=mean.__getitem__, reverse=True)
    dots = go.Scatter(
        x=[float(value) for arm in names for value in result.test[arm]], y=[arm for arm in names for _ in result.test[arm]],
        mode="markers", name="network", marker={"color": c.series[1], "size": 8, "opacity": 0.7},
    )  # fmt: skip
    mark = {"color": c.reference, "size": 12, "symbol": "line-ns-open", "line": {"width": 3}}
    bars = go.Scatter(x=[mean[arm] for arm in names], y=names, mode="markers", name="mean", marker=mark)
    title = f"{names[-1].capitalize()} has the smallest test loss, {mean[names[-1]]:.3f}"
    return figure(dots, bars, theme=theme, title=title, x="test cross-entropy", height=360).update_layout(
        margin={"l": 160}
    )


def responses(penalties, exact, tangent, at: float, *, theme: str = "light") -> go.Figure:
    """Units of the exact best response over the penalty, and the affine gate around one value."""
    c = colours(theme)
    traces = []
    for k in range(exact.shape[1]):
        for values, dash, name in ((exact, "solid", "exact"), (tangent, "dash", "affine gate")):
            traces.append(
                go.Scatter(
                    x=penalties.tolist(),
                    y=values[:, k].tolist(),
                    mode="lines",
                    name=name,
                    legendgroup=name,
                    showlegend=k == 0,
                    line={"color": c.series[k % 7], "dash": dash, "width": 2},
                )  # fmt: skip
            )
    near = (penalties - at).abs() <= 1
    error = float((exact - tangent).abs()[near].max())
    fig = figure(
        *traces, theme=theme, title=f"Within one unit of the penalty, the affine gate is off by at most {error:.3f}",
        x="log penalty", y="gate of the hidden unit",
    )  # fmt: skip
    return fig.add_vline(x=at, line={"color": c.reference, "dash": "dot"}).update_yaxes(range=[-0.3, 1.3])
