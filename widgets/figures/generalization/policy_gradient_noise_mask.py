"""What a noise policy proposes, and what pre-training under its masks brings."""

from __future__ import annotations

import plotly.graph_objects as go
import torch

from widgets.figures.theme import colours, figure

NAMES = {
    "none": "no mask", "uniform": "uniform noise", "split": "policy", "permuted": "policy, losses permuted",
    "coded": "policy, released objective",
}  # fmt: skip


def masks_on_images(result, *, theme: str = "light") -> go.Figure:
    """Eight images above their masks above their products."""
    rows = [torch.cat(list(part), 1) for part in (result.images, result.masks, result.images * result.masks)]
    page = torch.cat(rows, 0)
    title = f"The masks keep {100 * float(result.masks.mean()):.0f} % of the intensity on average"
    fig = figure(
        go.Heatmap(z=page.tolist(), colorscale="Greys", reversescale=theme == "dark", colorbar={"title": "intensity"}),
        theme=theme, title=title, x="image and pixel", y="product | mask | image",
    )  # fmt: skip
    return fig.update_yaxes(autorange="reversed", scaleanchor="x", showticklabels=False).update_xaxes(
        showticklabels=False
    )


def beta_parameters(result, *, theme: str = "light") -> go.Figure:
    """Mean of the proposed Beta distribution by cell of the grid."""
    mean = result.alpha / (result.alpha + result.beta)
    title = f"Proposed means lie between {float(mean.min()):.2f} and {float(mean.max()):.2f} over the cells"
    heat = go.Heatmap(z=mean.tolist(), zmin=0, zmax=1, colorscale="Cividis", colorbar={"title": "mean of the mask"})
    return figure(heat, theme=theme, title=title, x="cell", y="cell").update_yaxes(autorange="reversed")


def gains_by_mode(result, *, theme: str = "light") -> go.Figure:
    """Accuracy and transfer of every way of pre-training less those without masks; one dot a seed."""
    c, traces = colours(theme), []
    for name, shade, found in (
        ("classification", c.series[1], result.accuracy), ("unseen classes", c.series[2], result.transfer),
    ):  # fmt: skip
        gains = {arm: 100 * (found[arm] - found["none"]) for arm in NAMES if arm != "none"}
        traces.append(
            go.Scatter(
                x=[NAMES[arm] for arm in gains for _ in gains[arm]], y=[float(v) for arm in gains for v in gains[arm]],
                mode="markers", name=name, marker={"color": shade, "size": 9, "opacity": 0.7},
            )
        )  # fmt: skip
    own, other = (100 * float((result.accuracy[arm] - result.accuracy["none"]).mean()) for arm in ("split", "uniform"))
    title = f"The policy's masks bring {own:+.1f} points, uniform noise {other:+.1f}"
    fig = figure(*traces, theme=theme, title=title, x="masks in pre-training", y="points over no mask")
    return fig.add_hline(y=0, line={"color": c.reference, "dash": "dot"})
