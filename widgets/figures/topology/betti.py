"""Figures of Betti matching: feature locations, persistence barcodes, where the gradient acts."""

from __future__ import annotations

import base64
import io

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.topology.images.barcodes import NAMES, Bar
from lab.topology.images.matching import Matching
from lab.wording import counted
from widgets.figures.linking import linked, part
from widgets.figures.theme import colours, figure, lines, template

KINDS = ("matched", "unmatched in prediction", "unmatched in label")


def overlay(
    matching: Matching,
    *,
    image=None,
    threshold: float = 0.5,
    min_length: float = 0.2,
    highlight: Bar | None = None,
    theme: str = "light",
) -> go.Figure:
    """The image with the outlines of label and thresholded prediction, and every feature from birth to death voxel.

    ``min_length`` leaves out shorter bars, ``highlight`` lights up one feature's voxels.
    """
    c = colours(theme)
    background = matching.prediction if image is None else image
    prediction, label = plane(matching.prediction), plane(matching.label)
    traces = [picture(background)]
    traces += outline(label > threshold if label.max() <= 1 else label > 0, c.label, "outline of the label", 2)
    traces += outline(prediction >= threshold, c.prediction, f"outline of the prediction at {threshold:g}", 1.4)
    if highlight is not None:
        traces.append(_voxels(matching, highlight, c))
    shown = _listed(matching, min_length)
    for kind, colour, bars in zip(KINDS, (c.matched, c.prediction, c.label), shown):
        traces += _places(bars, matching.shape[-1], colour, kind)
    title = (
        f"{counted(len(shown[0]), 'matched feature')}, {len(shown[1])} unmatched in prediction, {len(shown[2])} unmatched in label "
        f"(persistence ≥ {min_length:g})"
    )
    fig = figure(*traces, theme=theme, title=title, x="column (pixels)", y="row (pixels)", height=560)
    height, width = prediction.shape
    fig.update_yaxes(range=[height - 0.5, -0.5], scaleanchor="x", constrain="domain", showgrid=False, zeroline=False)
    fig.update_xaxes(range=[-0.5, width - 0.5], constrain="domain", showgrid=False, zeroline=False)
    hidden = int(matching.counts().to_numpy().sum()) - sum(len(bars) for bars in shown)
    if hidden:
        fig.add_annotation(
            text=f"{counted(hidden, 'feature')} of persistence below {min_length:g} not shown",
            x=1,
            y=1.0,
            xref="paper",
            yref="paper",
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
            font={"size": 11, "color": c.muted},
        )
    return fig


def barcodes(
    matching: Matching, *, min_length: float = 0.2, most: int = 60, highlight: Bar | None = None, theme: str = "light"
) -> go.Figure:
    """Bars of prediction and label side by side, matched ones in one colour; the longest ``most`` of each side."""
    c = colours(theme)
    fig = make_subplots(cols=2, shared_yaxes=False, horizontal_spacing=0.08)
    named, total, lone = set(), 0, 0
    links: dict[str, list[dict]] = {}
    for column, side in enumerate(("prediction", "label"), start=1):
        rows = []
        for d in matching.dimensions:
            own = KINDS[1] if side == "prediction" else KINDS[2]
            pairs = zip(getattr(matching.matched[d], side), matching.matched[d].prediction)
            rows += [(bar, KINDS[0], d, key_of(first)) for bar, first in pairs]
            rows += [(bar, own, d, key_of(bar)) for bar in getattr(matching, f"unmatched_{side}")[d]]
        rows = [row for row in rows if row[0].length >= min_length]
        total += len(rows)
        lone += sum(row[1] != KINDS[0] for row in rows)
        rows = sorted(rows, key=lambda row: (-row[2], row[0].length))[-most:]
        axes = ("x", "y") if column == 1 else (f"x{column}", f"y{column}")
        for k, (bar, _, _, key) in enumerate(rows):
            links.setdefault(key, []).append(part([(bar.birth, k), (bar.death, k)], joined=True, axes=axes))
        for kind, colour in zip(KINDS, (c.matched, c.prediction, c.label)):
            for d in matching.dimensions:
                chosen = [
                    (k, bar) for k, (bar, word, dimension, _) in enumerate(rows) if word == kind and dimension == d
                ]
                if not chosen:
                    continue
                name = f"{kind}, {NAMES[d]}"
                x, y, text, custom = [], [], [], []
                for k, bar in chosen:
                    place = divmod(bar.birth_voxel, matching.shape[-1])
                    words = f"{NAMES[d][:-1]} of the {side}, {kind}<br>"
                    words += f"{bar.birth:.3f} to {bar.death:.3f}, birth at {place}"
                    x += [bar.birth, bar.death, None]
                    y += [k, k, None]
                    text += [words, words, None]
                    custom += [[side, d, bar.birth_voxel, bar.death_voxel]] * 2 + [None]
                wide = highlight is not None and any(bar == highlight for _, bar in chosen)
                fig.add_trace(
                    go.Scatter(
                        x=x,
                        y=y,
                        mode="lines",
                        name=name,
                        legendgroup=name,
                        showlegend=name not in named,
                        text=text,
                        customdata=custom,
                        hoverinfo="text",
                        line={"color": colour, "width": 4 if wide else 2.5, "dash": "solid" if d == 0 else "dot"},
                    ),
                    row=1,
                    col=column,
                )
                named.add(name)
    reverse = matching.filtration == "superlevel"
    title = f"{lone} of {total} bars of persistence ≥ {min_length:g} are unmatched"
    dressed(fig, theme, title, height=460)
    fig.update_xaxes(autorange="reversed" if reverse else True)
    for column, side in enumerate(("prediction", "label"), start=1):
        fig.update_xaxes(title_text=f"value, {side}", row=1, col=column)
    fig.update_yaxes(showticklabels=False, title_text="")
    fig.update_yaxes(title_text="features", row=1, col=1)
    return linked(fig, links)


def feature_links(matching: Matching, *, min_length: float = 0.2, most: int = 60) -> dict[str, list[dict]]:
    """Where every listed feature lies in the image, for :func:`widgets.figures.linking.linked`.

    Birth and death, joined, and of the ``most`` longest features of each kind the outline: of a component the region that it
    fills when it dies, of a loop the cycle around its hole.
    """
    links = {}
    width = matching.shape[-1]
    for bars in _listed(matching, min_length):
        longest = {id(bar) for bar in sorted(bars, key=lambda bar: -bar.length)[:most]}
        for bar in bars:
            ends = [(voxel % width, voxel // width) for voxel in (bar.birth_voxel, bar.death_voxel)]
            links[key_of(bar)] = [part(ends, joined=True)]
            if id(bar) in longest:
                links[key_of(bar)] += _outlined(matching.cycle(bar).voxels, width)
    return links


def key_of(bar: Bar) -> str:
    """What names a bar in links: side, dimension, birth and death. A matched pair is named by its bar of the prediction."""
    return f"{bar.side}-{bar.dimension}-{bar.birth_voxel}-{bar.death_voxel}"


def _outlined(voxels, width) -> list[dict]:
    """The outline of a set of pixels in few points."""
    from skimage.measure import approximate_polygon, find_contours

    rows, columns = np.divmod(np.asarray(voxels), width)
    if len(rows) == 0:
        return []
    top, left = rows.min() - 1, columns.min() - 1
    mask = np.zeros((rows.max() - top + 2, columns.max() - left + 2))
    mask[rows - top, columns - left] = 1
    lines = [approximate_polygon(line, 0.8) + (top, left) for line in find_contours(mask, 0.5)]
    return [part(np.round(line[:, ::-1], 1), joined=True, marked=False) for line in lines]


def gradient(prediction, gradient, *, image=None, largest: int = 200, theme: str = "light") -> go.Figure:
    """What a step against the gradient does: an arrow up where it raises a pixel, down where it lowers one.

    Arrows begin at their pixel; the longest is a twelfth of the image's height, and lengths are in proportion.
    """
    c = colours(theme)
    prediction, pull = plane(prediction), -plane(gradient)
    height, width = prediction.shape
    order = np.argsort(-np.abs(pull).ravel())[:largest]
    order = order[np.abs(pull).ravel()[order] > 0]
    traces = [picture(prediction if image is None else image)]
    strongest = np.abs(pull).max() or 1.0
    for sign, symbol, colour, name in (
        (1, "triangle-up", c.matched, "raised"),
        (-1, "triangle-down", c.prediction, "lowered"),
    ):
        x, y, words, sizes = [], [], [], []
        for place in order[np.sign(pull.ravel()[order]) == sign].tolist():
            row, column = divmod(place, width)
            strength = pull[row, column] / strongest
            text = f"{name} from {prediction[row, column]:.3f}, gradient {pull[row, column]:.3g}"
            x += [column, column, None]
            y += [row, row - height / 12 * strength, None]
            words += [text, text, None]
            sizes += [3, 4 + 6 * abs(strength), 0]
        traces.append(
            go.Scatter(
                x=x,
                y=y,
                mode="lines+markers",
                name=f"{name} ({int((np.sign(pull) == sign).sum())} pixels)",
                text=words,
                hoverinfo="text",
                line={"color": colour, "width": 1.6},
                marker={
                    "symbol": ["circle", symbol, "circle"] * (len(x) // 3),
                    "color": colour,
                    "size": sizes,
                    "line": {"width": 0.5, "color": c.background},
                },
            )
        )
    touched = int((pull != 0).sum())
    title = f"The gradient is nonzero at {touched} of {prediction.size} pixels: births and deaths of features"
    fig = figure(*traces, theme=theme, title=title, x="column (pixels)", y="row (pixels)", height=560)
    fig.update_yaxes(range=[height - 0.5, -0.5], scaleanchor="x", constrain="domain", showgrid=False)
    fig.update_xaxes(range=[-0.5, width - 0.5], constrain="domain", showgrid=False)
    return fig


def dressed(fig, theme, title, **layout) -> go.Figure:
    """The lab's template and a title set in lines, for figures with several panels."""
    heading = lines(title)
    return fig.update_layout(
        template=template(theme), title_text=heading, margin_t=20 + 20 * (heading.count("<br>") + 1), **layout
    )


def _listed(matching, min_length):
    found = ([], [], [])
    for d in matching.dimensions:
        found[0].extend(bar for bar in matching.matched[d].prediction if bar.length >= min_length)
        found[1].extend(bar for bar in matching.unmatched_prediction[d] if bar.length >= min_length)
        found[2].extend(bar for bar in matching.unmatched_label[d] if bar.length >= min_length)
    return found


def _places(bars, width, colour, kind):
    """Birth (filled) and death (open) of each feature, joined; circles are components, squares are loops."""
    traces = []
    for d, symbol in enumerate(("circle", "square")):
        chosen = [bar for bar in bars if bar.dimension == d]
        if not chosen:
            continue
        x, y, symbols, words, custom = [], [], [], [], []
        for bar in chosen:
            text = f"{NAMES[d][:-1]}, {kind}<br>{bar.birth:.3f} to {bar.death:.3f}"
            for voxel, mark, end in ((bar.birth_voxel, symbol, "birth"), (bar.death_voxel, f"{symbol}-open", "death")):
                x.append(voxel % width)
                y.append(voxel // width)
                symbols.append(mark)
                words.append(f"{text}<br>{end} at ({voxel // width}, {voxel % width})")
                custom.append([bar.side, d, bar.birth_voxel, bar.death_voxel])
            x.append(None)
            y.append(None)
            symbols.append(symbol)
            words.append("")
            custom.append(None)
        marker = {"symbol": symbols, "color": colour, "size": 8, "line": {"width": 1.5, "color": colour}}
        traces.append(
            go.Scatter(
                x=x,
                y=y,
                mode="lines+markers",
                name=f"{kind}, {NAMES[d]} ({len(chosen)})",
                text=words,
                hoverinfo="text",
                customdata=custom,
                line={"color": colour, "width": 1},
                marker=marker,
            )
        )
    return traces


def _voxels(matching, bar, c):
    cycle = matching.cycle(bar)
    width = matching.shape[-1]
    return go.Scatter(
        x=(cycle.voxels % width).tolist(),
        y=(cycle.voxels // width).tolist(),
        mode="markers",
        name="this feature",
        hoverinfo="skip",
        marker={"symbol": "square", "size": 4, "color": c.series[0], "opacity": 0.8},
    )


def outline(mask, colour, name, width) -> list[go.Scatter]:
    """The outline of a mask as one trace, or none where it has no pixel."""
    from skimage.measure import find_contours

    x, y = [], []
    for line in find_contours(np.pad(np.asarray(mask, float), 1), 0.5):
        x += [*(line[:, 1] - 1).round(2).tolist(), None]
        y += [*(line[:, 0] - 1).round(2).tolist(), None]
    if not x:
        return []
    line = {"color": colour, "width": width}
    return [go.Scatter(x=x, y=y, mode="lines", name=name, line=line, hoverinfo="skip")]


def picture(image) -> go.Image:
    """A grey picture as one embedded PNG, light enough for a report."""
    from PIL import Image

    values = plane(image)
    low, high = float(values.min()), float(values.max())
    grey = np.uint8(255 * (values - low) / (high - low)) if high > low else np.full(values.shape, 128, np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).convert("RGB").save(stream, "PNG")
    source = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    return go.Image(source=source, hoverinfo="skip", opacity=0.75)


def plane(x) -> np.ndarray:
    """An image as float64 with two axes."""
    array = x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)
    return array.astype(np.float64).reshape(-1, array.shape[-1])
