"""Sets of masks and the distances between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch

from lab.losses.comparison import mean_interval
from widgets.figures.theme import colours, figure


def mask_sets(
    image: torch.Tensor, raters: torch.Tensor, samples: torch.Tensor, *, title: str = "", theme: str = "light"
) -> go.Figure:
    """One image (H, W) in the first row with its raters' masks (R, H, W); below it rows of samples (N, H, W) of a model."""
    height, width = image.shape
    columns = max(len(raters) + 1, 5)
    low, high = image.min(), image.max()
    first = [(image - low) / (high - low).clamp_min(1e-9), *raters]
    rows = [first] + [list(samples[k : k + columns]) for k in range(0, len(samples), columns)]
    gap = 2
    canvas = torch.full((len(rows) * (height + gap) - gap, columns * (width + gap) - gap), torch.nan)
    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            canvas[i * (height + gap) : i * (height + gap) + height, j * (width + gap) : j * (width + gap) + width] = (
                tile
            )
    marks = [
        (j * (width + gap) + (width - 1) / 2, -2.0, name) for j, name in enumerate(["image", *["rater"] * len(raters)])
    ]
    marks += [(-2.0, i * (height + gap) + height / 2, "samples") for i in range(1, len(rows))][:1]
    values = [[None if bool(v.isnan()) else float(v) for v in line] for line in canvas]
    heat = go.Heatmap(z=values, zmin=0, zmax=1, showscale=False, colorscale="Gray", hoverongaps=False)
    if not title:
        spread = float(samples.var(0, correction=0).sum() / raters.var(0, correction=0).sum().clamp_min(1e-9))
        title = f"The samples vary {spread:.0%} as much as the raters do"
    fig = figure(heat, theme=theme, title=title)
    for x, y, name in marks:
        side = name == "samples"
        fig.add_annotation(x=x, y=y, text=name, showarrow=False, textangle=-90 if side else 0, font={"size": 12})
    fig.update_xaxes(visible=False, range=[-4, canvas.shape[1]], constrain="domain")
    return fig.update_yaxes(visible=False, range=[canvas.shape[0], -4], scaleanchor="x", constrain="domain")


def distance_profile(
    shares: Sequence[float], distances: Mapping[str, Sequence[float]], now: float, *, theme: str = "light"
) -> go.Figure:
    """Set distances over the share of samples that hold the lesion in doubt; each with a dot at its smallest value."""
    c = colours(theme)
    traces, best = [], {}
    for k, (name, values) in enumerate(distances.items()):
        place = min(range(len(values)), key=lambda i, values=values: values[i])
        best[name] = shares[place]
        colour = (c.reference, *c.series)[k]
        traces += [
            go.Scatter(x=list(shares), y=list(values), mode="lines", name=name, line={"color": colour, "width": 2.5}),
            go.Scatter(x=[shares[place]], y=[values[place]], mode="markers", showlegend=False,
                       marker={"color": colour, "size": 11}),
        ]  # fmt: skip
    if len(set(best.values())) == 1:
        shown = f"{next(iter(best.values())):.0%}"
    else:
        shown = ", ".join(f"{share:.0%} ({name})" for name, share in best.items())
    title = f"Closest to the raters when {shown} of the samples contain the lesion"
    x, y = "share of samples with the disputed lesion", "distance to the raters' masks"
    fig = figure(*traces, theme=theme, title=title, x=x, y=y)
    fig.add_vline(x=now, line={"color": c.muted, "dash": "dot"}, annotation_text="now")
    return fig.update_xaxes(tickformat=".0%").update_yaxes(rangemode="tozero")


def set_distances(found: Mapping[str, torch.Tensor], *, theme: str = "light") -> go.Figure:
    """Generalized energy distance of each training loss over seeds with its 95 % interval; smaller is better."""
    c = colours(theme)
    names = sorted(found, key=lambda name: -float(found[name].mean()))
    rows = {name: mean_interval(found[name]) for name in names}
    half = [rows[name][2] - rows[name][0] if found[name].numel() > 1 else 0.0 for name in names]
    below = [min(one, rows[name][0]) for one, name in zip(half, names)]  # a distance is not negative
    mean = go.Scatter(
        x=[rows[name][0] for name in names], y=names, mode="markers", name="mean and 95 % interval",
        marker={"color": c.reference, "size": 10, "symbol": "line-ns-open", "line": {"width": 3}},
        error_x={"type": "data", "array": half, "arrayminus": below, "color": c.reference},
    )  # fmt: skip
    dots = go.Scatter(
        x=[float(v) for name in names for v in found[name]], y=[name for name in names for _ in found[name]], mode="markers",
        name="seed", marker={"color": c.series[1], "size": 7, "opacity": 0.8},
    )  # fmt: skip
    best, worst = names[-1], names[0]
    title = f"Distance from the raters: {rows[best][0]:.2f} when trained with {best}, {rows[worst][0]:.2f} with {worst}"
    fig = figure(
        dots,
        mean,
        theme=theme,
        title=title,
        x="generalized energy distance on test images",
        height=150 + 42 * len(names),
    )
    return fig.update_layout(margin={"l": 220})
