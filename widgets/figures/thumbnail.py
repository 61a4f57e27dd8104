"""A figure as a small drawing: one SVG text, made without a browser, for cards and lists.

Scatter lines and points, bars, heatmaps and images are drawn in their own colours; axes, words and the other trace types
are left out. A thumbnail says what a figure looks like, it does not replace it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.colors import qualitative, sample_colorscale

from widgets.figures.theme import COLOURS

WIDTH, HEIGHT, MARGIN = 320.0, 180.0, 14.0
_CELLS = (96, 54)
_POINTS = 400


def thumbnail(figure: go.Figure | Mapping) -> str:
    """``figure`` (or its JSON as a mapping) as SVG, ``viewBox`` 320 x 180; an empty string if nothing can be drawn."""
    figure = figure if isinstance(figure, Mapping) else figure.to_plotly_json()
    traces = [trace for trace in figure.get("data", ()) if trace.get("visible", True) is True]
    first = traces[0].get("xaxis", "x") if traces else "x"
    traces = [trace for trace in traces if trace.get("xaxis", "x") == first]
    flipped = _reversed(figure.get("layout", {}), traces)
    shapes = [shape for shape in (_shape(trace, index) for index, trace in enumerate(traces)) if shape is not None]
    if not shapes:
        return ""
    x_low, x_high, y_low, y_high = _box(shapes)

    def place(x, y):
        right = MARGIN + (x - x_low) / (x_high - x_low) * (WIDTH - 2 * MARGIN)
        up = (y - y_low) / (y_high - y_low) * (HEIGHT - 2 * MARGIN)
        return right, (MARGIN + up if flipped else HEIGHT - MARGIN - up)

    body = "".join(draw(place) for _, draw in shapes)
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" aria-hidden="true">{body}</svg>'


def _reversed(layout, traces) -> bool:
    axis = layout.get("yaxis", {})
    if axis.get("autorange") in ("reversed", "min reversed", "max reversed"):
        return True
    limits = axis.get("range")
    if limits and all(isinstance(end, (int, float)) for end in limits):
        return limits[0] > limits[1]
    return any(trace.get("type") == "image" for trace in traces)


def _box(shapes):
    boxes = np.array([box for box, _ in shapes], dtype=float)
    x_low, y_low = boxes[:, 0].min(), boxes[:, 2].min()
    x_high, y_high = boxes[:, 1].max(), boxes[:, 3].max()
    return x_low, x_high if x_high > x_low else x_low + 1, y_low, y_high if y_high > y_low else y_low + 1


def _shape(trace, index):
    """The bounding box of a trace and the function that draws it, or ``None`` for a trace that is not drawn."""
    kind = trace.get("type", "scatter")
    if kind in ("scatter", "scattergl"):
        return _scatter(trace, _colour(trace, index))
    if kind == "bar":
        return _bars(trace, _colour(trace, index))
    if kind == "heatmap":
        return _heatmap(trace)
    return None


def _colour(trace, index) -> str:
    for part in ("line", "marker"):
        colour = (trace.get(part) or {}).get("color")
        if isinstance(colour, str):
            return colour
    return (*COLOURS["series"], *qualitative.Safe)[index % 7]


def _scatter(trace, colour):
    x, y = _numbers(trace.get("x")), _numbers(trace.get("y"))
    if y is None:
        return None
    x = np.arange(len(y), dtype=float) if x is None else x
    length = min(len(x), len(y))
    x, y = x[:length], y[:length]
    good = np.isfinite(x) & np.isfinite(y)
    if not good.any():
        return None
    mode = trace.get("mode") or "lines"
    if mode in ("none", "text"):
        return None

    def draw(place):
        step = max(1, length // _POINTS)
        if "lines" not in mode:
            points = (place(a, b) for a, b in zip(x[good][::step], y[good][::step]))
            return "".join(
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.4" fill="{colour}" opacity=".8"/>' for a, b in points
            )
        path, pen = [], "M"
        step = step if good.all() else 1
        for a, b, is_good in zip(x[::step], y[::step], good[::step]):
            if is_good:
                right, down = place(a, b)
                path.append(f"{pen}{right:.1f} {down:.1f}")
            pen = "L" if is_good else "M"
        return f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="2.2" stroke-linejoin="round"/>'

    return (x[good].min(), x[good].max(), y[good].min(), y[good].max()), draw


def _bars(trace, colour):
    across = trace.get("orientation") == "h"
    values = _numbers(trace.get("x" if across else "y"))
    if values is None or not np.isfinite(values).any():
        return None
    values = np.nan_to_num(values)[:60]
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)

    def draw(place):
        parts = []
        for i, value in enumerate(values):
            ends = [(0.0, i - 0.36), (value, i + 0.36)] if across else [(i - 0.36, 0.0), (i + 0.36, value)]
            (a, b), (c, d) = place(*ends[0]), place(*ends[1])
            left, top = min(a, c), min(b, d)
            parts.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{abs(c - a):.1f}" height="{abs(d - b):.1f}" fill="{colour}"/>'
            )
        return "".join(parts)

    span = (-0.5, len(values) - 0.5)
    return ((low, high, *span) if across else (*span, low, high)), draw


def _heatmap(trace):
    z = _numbers(trace.get("z"), axes=2)
    if z is None or not np.isfinite(z).any():
        return None
    rows = np.linspace(0, z.shape[0] - 1, min(z.shape[0], _CELLS[1])).round().astype(int)
    columns = np.linspace(0, z.shape[1] - 1, min(z.shape[1], _CELLS[0])).round().astype(int)
    small = z[np.ix_(rows, columns)]
    low, high = (trace.get(key) for key in ("zmin", "zmax"))
    low = float(np.nanmin(z)) if low is None else low
    high = float(np.nanmax(z)) if high is None else high
    share = np.nan_to_num(np.clip((small - low) / (high - low if high > low else 1.0), 0, 1))

    def draw(place):
        (left, bottom), (right, top) = place(0.0, 0.0), place(float(z.shape[1]), float(z.shape[0]))
        upside = share if bottom < top else share[::-1]
        return (
            f'<image x="{min(left, right):.1f}" y="{min(bottom, top):.1f}" width="{abs(right - left):.1f}" '
            f'height="{abs(top - bottom):.1f}" preserveAspectRatio="none" href="{_png(upside, trace.get("colorscale"))}"/>'
        )

    return (0.0, float(z.shape[1]), 0.0, float(z.shape[0])), draw


def _png(share: np.ndarray, scale) -> str:
    from PIL import Image

    steps = np.linspace(0, 1, 64)
    name_or_list = (
        [[float(at), colour] for at, colour in scale] if isinstance(scale, (list, tuple)) else scale or "Viridis"
    )
    table = np.array([_rgb(colour) for colour in sample_colorscale(name_or_list, steps)], dtype=np.uint8)
    picture = Image.fromarray(table[(share * 63).astype(int)])
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _rgb(text: str) -> tuple[int, ...]:
    return tuple(round(float(part)) for part in text[text.index("(") + 1 : -1].split(",")[:3])


def _numbers(value, axes: int = 1) -> np.ndarray | None:
    """A coordinate as floats: a list, an array, or plotly's base64 form ``{"dtype", "bdata", "shape"}``."""
    if isinstance(value, Mapping) and "bdata" in value:
        array = np.frombuffer(base64.b64decode(value["bdata"]), dtype=np.dtype(value["dtype"]))
        shape = value.get("shape")
        value = array.reshape([int(size) for size in str(shape).split(",")]) if shape else array
    if value is None:
        return None
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        try:
            array = np.array([np.nan if item is None else float(item) for item in value])
        except (TypeError, ValueError):
            return np.arange(len(value), dtype=float) if axes == 1 else None
    return array if array.ndim == axes and array.size else None
