"""Particles between data and noise, samplers by cost, and what one score of images can do."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from widgets.figures.theme import colours, figure, lines, template


def particles(walk, frame: int, *, kind: str = "reverse", theme: str = "light") -> go.Figure:
    """Particles at a frame over the log density of that time, the directions of the score, and the trails of a few."""
    c, path = colours(theme), getattr(walk, kind)
    axis, density, places, ahead = walk.field(frame)
    top = float(density.max())
    ground = go.Heatmap(
        x=axis.tolist(), y=axis.tolist(), z=density.clamp_min(top - 9).tolist(),
        colorscale="Blues" if theme == "light" else "Viridis",
        showscale=False, hoverinfo="skip", opacity=0.75,
    )  # fmt: skip
    ends = [(float(a), float(b)) for p, v in zip(places, ahead) for a, b in (tuple(p), tuple(p + 0.8 * v))]
    xs, ys = [], []
    for k in range(0, len(ends), 2):
        xs += [ends[k][0], ends[k + 1][0], None]
        ys += [ends[k][1], ends[k + 1][1], None]
    arrows = go.Scatter(x=xs, y=ys, mode="lines", line={"color": c.muted, "width": 1}, name="score", hoverinfo="skip")
    trails = [
        go.Scatter(
            x=path[max(0, frame - 14) : frame + 1, k, 0].tolist(), y=path[max(0, frame - 14) : frame + 1, k, 1].tolist(),
            mode="lines",
            line={"color": c.prediction, "width": 1.2}, opacity=0.7, name="trail", showlegend=k == 0, hoverinfo="skip",
        )
        for k in range(12)
    ]  # fmt: skip
    dots = go.Scatter(
        x=path[frame, :, 0].tolist(), y=path[frame, :, 1].tolist(), mode="markers", name="particles",
        marker={"color": c.series[0], "size": 4, "line": {"width": 0.5, "color": c.reference}},
    )  # fmt: skip
    words = {"reverse": "Reverse process", "flow": "Probability flow"}[kind]
    t = float(walk.times[frame])
    fig = figure(ground, arrows, *trails, dots, theme=theme, title=f"{words}, {walk.sde}, t = {t:.2f}")
    reach = float(axis[-1])
    fig.update_xaxes(range=[-reach, reach], constrain="domain")
    return fig.update_yaxes(range=[-reach, reach], scaleanchor="x", constrain="domain")


def clouds(
    result, arms=("predictor, twice the steps", "predictor-corrector", "flow"), *, theme: str = "light"
) -> go.Figure:
    """Samples of a few arms beside held-out points."""
    c = colours(theme)
    names = ["held-out data", *[arm for arm in arms if arm in result.samples]]
    fig = make_subplots(1, len(names), subplot_titles=[lines(one, 18) for one in names], horizontal_spacing=0.02)
    for k, name in enumerate(names, 1):
        x = (result.data if k == 1 else result.samples[name])[:800]
        marker = {"size": 3, "opacity": 0.6, "color": c.label if k == 1 else c.series[0]}
        fig.add_trace(
            go.Scatter(x=x[:, 0].tolist(), y=x[:, 1].tolist(), mode="markers", marker=marker, name=name), 1, k
        )
    low, high = result.data[:, :2].min(0).values - 0.5, result.data[:, :2].max(0).values + 0.5
    fig.update_xaxes(range=[float(low[0]), float(high[0])], showticklabels=False)
    fig.update_yaxes(range=[float(low[1]), float(high[1])], showticklabels=False)
    title = "Samples of one score by different solvers"
    return fig.update_layout(
        template=template(theme), title_text=title, showlegend=False, height=330, margin={"t": 90, "l": 20}
    )


def by_cost(result, *, theme: str = "light") -> go.Figure:
    """Distance to held-out points over score evaluations, a dot an arm, with its spread over seeds; the line is fresh data."""
    c = colours(theme)
    arms = [arm for arm in result.evaluations]
    traces = []
    for k, arm in enumerate(arms):
        values = result.distance[arm]
        spread = float(values.std()) if len(values) > 1 else 0.0
        traces.append(
            go.Scatter(
                x=[result.evaluations[arm]], y=[float(values.mean())], error_y={"array": [spread]}, name=arm, mode="markers",
                marker={"size": 11, "color": c.series[k % 7]},
            )
        )  # fmt: skip
    best = min(arms, key=lambda arm: float(result.distance[arm].mean()))
    least, floor = float(result.distance[best].mean()), float(result.floor.mean())
    title = f"{best.capitalize()} comes closest: {least:.3f}, fresh data {floor:.3f}"
    fig = figure(
        *traces, theme=theme, title=title, x="score evaluations a sample", y="sliced Wasserstein distance", height=400
    )
    fig.update_yaxes(rangemode="tozero")
    return fig.add_hline(y=float(result.floor.mean()), line={"color": c.reference, "dash": "dot"})


def error_over_time(result, *, theme: str = "light") -> go.Figure:
    """Relative squared error of a learned score at each time."""
    c = colours(theme)
    line = go.Scatter(
        x=result.error_times.tolist(), y=result.error_by_time.mean(1).tolist(), mode="lines+markers",
        line={"color": c.series[1], "width": 2}, name="learned score",
    )  # fmt: skip
    title = f"The learned score is off by {float(result.error.mean()):.1%} of the score's size, most at little noise"
    fig = figure(line, theme=theme, title=title, x="time t", y="relative squared error")
    return fig.update_yaxes(type="log")


def gallery(images, shape, title: str, *, columns: int = 10, names=(), theme: str = "light") -> go.Figure:
    """Images (items, c h w), grey or in colour, on a grid; ``names`` label the rows."""
    channels, height, width = shape
    count = len(images)
    rows = -(-count // columns)
    fig = make_subplots(rows, columns, horizontal_spacing=0.006, vertical_spacing=0.012, row_titles=list(names) or None)
    for k, image in enumerate(images.reshape(count, channels, height, width)):
        place = k // columns + 1, k % columns + 1
        if channels == 3:
            fig.add_trace(go.Image(z=(255 * image.permute(1, 2, 0)).round().tolist(), hoverinfo="skip"), *place)
        else:
            grey = {"colorscale": "Greys_r", "zmin": 0, "zmax": 1, "showscale": False, "hoverinfo": "skip"}
            fig.add_trace(go.Heatmap(z=image[0].flip(0).tolist(), **grey), *place)
    fig.update_xaxes(visible=False).update_yaxes(visible=False)
    heading = lines(title, 80)
    top = 24 + 20 * (heading.count("<br>") + 1)
    right = 90 if names else 10
    return fig.update_layout(
        template=template(theme),
        title_text=heading,
        height=top + 56 * rows,
        margin={"t": top, "b": 10, "l": 10, "r": right},
    )


def asked_for(pictures, *, theme: str = "light") -> go.Figure:
    """Guided images, a column a class."""
    share, free = float(pictures.recognized.double().mean()), float(pictures.unguided.double().mean())
    title = f"A column a class: {share:.0%} recognized as the class asked for, {free:.0%} without guidance"
    count = len(pictures.by_class) // 4
    return gallery(pictures.by_class, pictures.shape, title, columns=count, theme=theme)


def filled_in(pictures, *, theme: str = "light") -> go.Figure:
    """Held-out images with a hidden half, and the half filled in."""
    import torch

    rows = torch.cat([pictures.masked, pictures.inpainted])
    names = ("seen", "filled in")
    return gallery(
        rows,
        pictures.shape,
        "The lower half is hidden, then drawn from the score",
        columns=len(pictures.masked),
        names=names,
        theme=theme,
    )


def coloured(filled, side: int = 8, *, theme: str = "light") -> go.Figure:
    """Grey digits, their colours restored, and the true ones."""
    import torch

    rows = torch.cat([filled.shown[name] for name in ("grey", "coloured", "true")]).flatten(1)
    error = float((filled.distance["coloured"] / filled.distance["unconditional"]).mean())
    title = f"Colours from grey values: {error:.0%} of the error of unconditional samples"
    return gallery(rows, (3, side, side), title, names=("grey", "coloured", "true"), theme=theme)


def joint(filled, *, theme: str = "light") -> go.Figure:
    """The seen and the filled-in coordinate of points, beside exact posterior draws."""
    c = colours(theme)
    names = list(filled.shown)
    fig = make_subplots(
        1, len(names), subplot_titles=[lines(one, 20) for one in names], horizontal_spacing=0.03, shared_yaxes=True
    )
    for k, (name, x) in enumerate(filled.shown.items(), 1):
        marker = {"size": 3, "opacity": 0.6, "color": c.series[k - 1]}
        fig.add_trace(
            go.Scatter(x=x[:800, 0].tolist(), y=x[:800, 1].tolist(), mode="markers", marker=marker, name=name), 1, k
        )
    fig.update_xaxes(title_text="seen").update_yaxes(title_text="filled in", col=1)
    mean = {name: float(v.mean()) for name, v in filled.distance.items()}
    title = f"Distance to the joint law {mean['inpainted']:.3f}, exact posterior {mean['exact posterior']:.3f}"
    return fig.update_layout(
        template=template(theme), title_text=lines(title, 60), showlegend=False, height=340, margin={"t": 90}
    )
