"""Explanations themselves: weights with intervals, segments of an image, equivalence of methods."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab import checks
from widgets.figures.theme import colours, figure, template


def weights(
    explanations, *, instance: int = 0, top: int = 8, output: int = 0, values=None, names=None, theme: str = "light"
) -> go.Figure:
    """Several explanations of one instance side by side: the ``top`` features by mean share, with intervals.

    ``explanations`` maps methods to explanations of the same instances; ``values`` are the instance's own, for the
    labels; ``names`` the features' where the explanations have none. The panels want some 560 pixels of width.
    """
    c = colours(theme)
    methods = list(explanations)
    first = explanations[methods[0]]
    checks.integer("instance", instance, low=0, high=len(first.weights) - 1)
    names = first.names if names is None else names
    table = {name: _of(one, instance, output) for name, one in explanations.items()}
    share = np.mean([np.abs(w) / max(np.abs(w).sum(), 1e-300) for w, _ in table.values()], axis=0)
    order = np.argsort(-share, kind="stable")[:top][::-1]
    labels = [_label(names[j], values, j) for j in order]
    columns = min(4, len(methods))
    rows = -(-len(methods) // columns)
    result = make_subplots(
        rows, columns, subplot_titles=[_two_lines(name) for name in methods], shared_yaxes=True, horizontal_spacing=0.035,
        vertical_spacing=0.2,
    )  # fmt: skip
    for place, (name, (weight, half)) in enumerate(table.items()):
        result.add_trace(
            go.Bar(
                x=weight[order],
                y=labels,
                orientation="h",
                showlegend=False,
                name=name,
                marker_color=[c.series[3] if w >= 0 else c.fails for w in weight[order]],
                error_x={"array": half[order], "color": c.text, "thickness": 1.2, "width": 3},
                hovertemplate="%{y}: %{x:.4g}<extra>" + name + "</extra>",
            ),
            row=place // columns + 1,
            col=place % columns + 1,
        )
    count = len({int(np.argmax(np.abs(weight))) for weight, _ in table.values()})
    plural = "all agree on the top feature" if count == 1 else f"{count} different top features"
    result.update_layout(
        template=template(theme),
        height=200 + 210 * rows,
        margin={"l": 150, "t": 110},
        title={
            "text": f"{len(methods)} explanations of one prediction: {plural}"
            "<br><sub>weights with intervals; positive blue, negative orange</sub>",
            "y": 0.97,
            "yanchor": "top",
        },
    )
    result.update_xaxes(nticks=3, tickangle=0, exponentformat="e")
    result.update_annotations(font_size=13)
    return result


def segments(image, labels, found, *, names=None, theme: str = "light") -> go.Figure:
    """Weights of superpixels over an image ``(H, W)``; ``found`` maps names to weights of one value a segment."""
    image, labels = np.asarray(image, dtype=float), np.asarray(labels)
    if image.shape != labels.shape:
        raise ValueError(f"image and labels must have the same shape, got {image.shape} and {labels.shape}")
    maps = {name: np.asarray(w)[np.searchsorted(np.unique(labels), labels)] for name, w in found.items()}
    result = make_subplots(1, len(maps) + 1, subplot_titles=["image", *maps], horizontal_spacing=0.02)
    result.add_trace(go.Heatmap(z=image, colorscale="Greys_r", showscale=False, hoverinfo="skip"), row=1, col=1)
    for place, (name, weight) in enumerate(maps.items()):
        top = float(np.abs(weight).max()) or 1.0
        result.add_trace(
            go.Heatmap(
                z=weight / top,
                zmin=-1,
                zmax=1,
                colorscale="RdBu",
                showscale=place == len(maps) - 1,
                name=name,
                hovertemplate="%{z:.2f}<extra>" + name + "</extra>",
                colorbar={"title": "weight"},
            ),
            row=1,
            col=place + 2,
        )
    tops = {name: int(np.unique(labels)[int(np.argmax(np.abs(np.asarray(w))))]) for name, w in found.items()}
    agree = len(set(tops.values())) == 1
    words = "rank the same segment" if agree else f"rank {len(set(tops.values()))} different segments"
    result.update_layout(
        template=template(theme),
        height=370,
        margin={"t": 120},
        title={
            "text": f"{len(maps)} methods {words} first<br><sub>weights in units of the largest; blue raises the output</sub>",
            "y": 0.96,
            "yanchor": "top",
        },
    )
    result.update_annotations(font_size=13)
    result.update_xaxes(showticklabels=False, showgrid=False, ticks="")
    result.update_yaxes(showticklabels=False, showgrid=False, ticks="", autorange="reversed")
    for axis in range(1, len(maps) + 2):
        result.update_yaxes(scaleanchor=f"x{axis if axis > 1 else ''}", row=1, col=axis)
    return result


def heatmap(found, *, theme: str = "light") -> go.Figure:
    """Distances between published methods (rows) and instances of the framework (columns); own instances are framed."""
    distance = found.distance.numpy()
    near = int(found.own_nearest().sum())
    c = colours(theme)
    trace = go.Heatmap(
        z=np.log10(np.maximum(distance, 1e-4)),
        x=found.names,
        y=found.names,
        colorscale="Viridis",
        customdata=distance,
        hovertemplate="%{y} to %{x}: %{customdata:.3g}<extra></extra>",
        text=[[f"{v:.2g}" for v in row] for row in distance],
        texttemplate="%{text}",
        textfont={"size": 11},
        zmin=-4,
        zmax=1,
        colorbar={
            "title": "distance",
            "tickvals": [-4, -3, -2, -1, 0, 1],
            "ticktext": ["≤1e-4", ".001", ".01", ".1", "1", "10"],
        },
    )
    result = figure(
        trace,
        theme=theme,
        x="instance of the framework",
        y="method as published",
        height=520,
        title=f"{near} of {len(found.names)} methods are closest to their own instance<br><sub>relative L2 distance, "
        f"{found.title}</sub>",
    )
    for i in range(len(found.names)):
        result.add_shape(
            type="rect", x0=i - 0.5, x1=i + 0.5, y0=i - 0.5, y1=i + 0.5, line={"color": c.fails, "width": 2}
        )
    result.update_yaxes(autorange="reversed")
    result.update_xaxes(tickangle=-35)
    return result


def _of(explanation, instance: int, output: int) -> tuple[np.ndarray, np.ndarray]:
    weight, error = explanation.weights[instance], explanation.standard_error[instance]
    if weight.ndim == 2:
        weight, error = weight[:, output], error[:, output]
    return weight.numpy(), np.nan_to_num(explanation.quantile * error.numpy())


def _two_lines(name: str) -> str:
    """A title of several words on two lines, so that narrow panels keep theirs apart."""
    first, _, rest = name.partition(" ")
    return f"{first}<br>{rest}" if rest else name


def _label(name: str, values, place: int) -> str:
    short = name if len(name) <= 22 else name[:21] + "…"
    if values is None:
        return short
    value = values[place]
    return f"{short} = {value:.3g}" if isinstance(value, (int, float, np.number)) else f"{short} = {value}"
