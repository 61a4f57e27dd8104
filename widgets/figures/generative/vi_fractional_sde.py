"""Fractional noise: paths on one Brownian motion, errors of the approximation, evidence over H, bridges, videos."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, figure, lines, template


def paths(x, times, *, hurst: float, theme: str = "light") -> go.Figure:
    """Paths (paths, times) of the approximation."""
    c = colours(theme)
    traces = [
        go.Scatter(
            x=times.tolist(),
            y=one.tolist(),
            mode="lines",
            showlegend=False,
            line={"color": c.series[k % 7], "width": 1.5},
        )
        for k, one in enumerate(x)
    ]
    word = "rough, turning back" if hurst < 0.45 else "smooth, keeping its direction" if hurst > 0.55 else "Brownian"
    return figure(*traces, theme=theme, title=f"H = {hurst:.2f}: {word}", x="time", y="value")


def approximation(indices, errors: dict, *, now: float | None = None, theme: str = "light") -> go.Figure:
    """Relative mean square error over H by label."""
    c = colours(theme)
    tones = (c.matched, c.series[1], c.prediction, c.series[0])
    traces = [
        go.Scatter(
            x=list(indices)[: len(values)], y=[max(float(v), 1e-12) for v in values], name=label, mode="lines",
            line={"color": tones[k % 4], "dash": "dash" if "trapezoid" in label else "solid"},
        )
        for k, (label, values) in enumerate(errors.items())
    ]  # fmt: skip
    title = "A few processes follow type II closely; rough paths need faster rates"
    fig = figure(*traces, theme=theme, title=title, x="Hurst index H", y="mean square error over variance")
    if now is not None:
        fig.add_vline(x=now, line={"dash": "dot", "color": c.reference})
    return fig.update_yaxes(type="log", exponentformat="power")


def profile(result, *, theme: str = "light") -> go.Figure:
    """Evidence bound over H for the first data set, with the estimates."""
    c = colours(theme)
    curve = go.Scatter(
        x=result.profile[:, 0].tolist(),
        y=result.profile[:, 1].tolist(),
        name="evidence bound",
        line={"color": c.matched},
    )
    title = f"The bound is largest at H = {float(result.elbo[0]):.2f}"
    truth = float(result.truth[0])
    fig = figure(curve, theme=theme, title=title, x="Hurst index H", y="nats a series")
    fig.add_vline(x=truth, line={"dash": "dot", "color": c.reference}, annotation_text="true index")
    return fig


def estimates(result, *, theme: str = "light") -> go.Figure:
    """Estimates of H by method, one dot a data set."""
    c = colours(theme)
    found = {"variogram": result.variogram, "exact likelihood": result.likelihood, "evidence bound": result.elbo}
    tones = (c.prediction, c.muted, c.matched)
    dots = [
        go.Scatter(
            x=values.tolist(),
            y=[name] * len(values),
            mode="markers",
            showlegend=False,
            marker={"size": 9, "color": tone},
        )
        for (name, values), tone in zip(found.items(), tones)
    ]
    error = float((result.elbo - result.truth).abs().mean())
    title = f"The bound misses H by {error:.3f} on average, in {result.seconds['evidence bound']:.2f} s"
    fig = figure(*dots, theme=theme, title=title, x="Hurst index", height=280)
    fig.add_vline(x=float(result.truth[0]), line={"dash": "dot", "color": c.reference})
    return fig.update_layout(margin={"l": 130})


def bridge(result, *, theme: str = "light") -> go.Figure:
    """Deviation over time of the learned bridge beside the exact one, and some paths."""
    c = colours(theme)
    times = result.times.tolist()
    traces = [
        go.Scatter(
            x=times, y=one.tolist(), mode="lines", showlegend=False, opacity=0.25, line={"color": c.muted, "width": 1}
        )
        for one in result.paths
    ]
    traces.append(
        go.Scatter(
            x=times, y=result.deviation[0].tolist(), name="learned deviation", line={"color": c.matched, "width": 3}
        )
    )
    exact = {"color": c.reference, "dash": "dot", "width": 3}
    traces.append(go.Scatter(x=times, y=result.exact.tolist(), name="exact deviation", line=exact))
    title = f"The curves differ by at most {float(result.largest()[0]):.0%} of the maximum"
    return figure(*traces, theme=theme, title=title, x="time", y="value, and deviation over paths")


def frames(result, *, side: int = 16, every: int = 2, theme: str = "light") -> go.Figure:
    """A video held out, and its predictions after the first half, by noise."""
    names = ["held out", "fractional", "ordinary"]
    shown = result.frames[:, ::every]
    fig = make_subplots(
        len(shown), shown.shape[1], row_titles=names, horizontal_spacing=0.006, vertical_spacing=0.02,
        column_titles=[f"{every * k + 1}" for k in range(shown.shape[1])],
    )  # fmt: skip
    for i, row in enumerate(shown, 1):
        for j, image in enumerate(row, 1):
            grey = {"colorscale": "Greys_r", "zmin": 0, "zmax": 1, "showscale": False, "hoverinfo": "skip"}
            fig.add_trace(go.Heatmap(z=image.reshape(side, side).tolist(), **grey), i, j)
    fig.update_xaxes(visible=False).update_yaxes(visible=False, autorange="reversed")
    half = result.frames.shape[1] // 2
    title = f"Frames 1 to {half} are seen, the others predicted"
    return fig.update_layout(
        template=template(theme),
        title_text=lines(title, 80),
        height=120 + 90 * len(shown),
        margin={"t": 70, "b": 10, "r": 80},
    )
