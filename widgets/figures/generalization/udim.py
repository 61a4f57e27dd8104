"""Crafted domains: the images, what they do to the loss, and what training with them brings."""

from __future__ import annotations

import plotly.graph_objects as go
import torch

from widgets.figures.theme import colours, figure

NAMES = {
    "erm": "ERM", "sam": "SAM", "asam": "ASAM", "gsam": "GSAM", "udim": "UDIM",
    "augmented": "SAM with crafted images",
}  # fmt: skip


def arms_on_shifts(result, *, theme: str = "light") -> go.Figure:
    """Mean accuracy of every arm on the source and on each shift."""
    c = colours(theme)
    shades = {"erm": c.reference, "sam": c.series[0], "asam": c.series[1], "gsam": c.series[2], "udim": c.matched,
              "augmented": c.label}  # fmt: skip
    traces = [
        go.Scatter(
            x=list(result.targets), y=values.mean(0).tolist(), name=NAMES[arm], mode="markers+lines",
            line={"color": shades[arm], "width": 3 if arm == "udim" else 1.5, "dash": "dot" if arm == "augmented" else "solid"},
            marker={"size": 8},
        )
        for arm, values in result.accuracy.items()
    ]  # fmt: skip
    gain = 100 * float((result.shifted("udim") - result.shifted("sam")).mean())
    beyond = 100 * float((result.shifted("udim") - result.shifted("augmented")).mean())
    title = (
        f"On unseen shifts UDIM is {gain:+.1f} points from SAM and {beyond:+.1f} from SAM with the same crafted images"
    )
    return figure(*traces, theme=theme, title=title, x="domain", y="accuracy")


def crafted_images(result, *, theme: str = "light") -> go.Figure:
    """Six held images above their crafted twins."""
    found = result.images
    if not len(found):
        return figure(theme=theme, title="These data are not images")
    page = torch.cat([torch.cat(list(found[:, row]), 1) for row in (0, 1)], 0)
    title = f"A move of {float((found[:, 0] - found[:, 1]).flatten(1).norm(dim=1).mean()):.2g} along the landscape's gradient"
    fig = figure(
        go.Heatmap(z=page.tolist(), colorscale="Greys", reversescale=theme == "dark", colorbar={"title": "intensity"}),
        theme=theme, title=title, x="image and pixel", y="crafted | original",
    )  # fmt: skip
    return fig.update_yaxes(autorange="reversed", scaleanchor="x", showticklabels=False).update_xaxes(
        showticklabels=False
    )


def rises(result, *, theme: str = "light") -> go.Figure:
    """How much each kind of move raises the loss of the SAM models, a bar and one dot a seed."""
    c, words = colours(theme), ["along the gradient", "at random", "against the gradient"]
    mean = result.rise.mean(0)
    bars = go.Bar(x=words, y=mean.tolist(), marker_color=[c.prediction, c.extrapolated, c.matched], showlegend=False)
    dots = [
        go.Scatter(x=words, y=row.tolist(), mode="markers", marker_color=c.reference, showlegend=False)
        for row in result.rise
    ]
    title = f"Crafted images raise the loss by {float(mean[0]):.2f} nats, random moves of that length by {float(mean[1]):.2f}"
    return figure(bars, *dots, theme=theme, title=title, x="perturbation of the images", y="increase in loss (nats)")
