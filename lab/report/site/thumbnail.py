"""A small still picture of a plotly figure as SVG, drawn from its JSON without a browser."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from lab.report.site.sanitize import is_picture

WIDTH, HEIGHT = 320, 180
_SERIES = ("#E69F00", "#56B4E9", "#CC79A7", "#0072B2", "#009E73", "#D55E00", "#999999")
_VIRIDIS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], float)
_RED_BLUE = np.array([[103, 0, 31], [214, 96, 77], [247, 247, 247], [67, 147, 195], [5, 48, 97]], float)
_GREY = np.array([[0, 0, 0], [255, 255, 255]], float)
_SCALES = {"viridis": _VIRIDIS, "rdbu": _RED_BLUE, "gray": _GREY, "greys": _GREY[::-1]}


def thumbnail(figure: Mapping[str, Any]) -> str:
    """SVG of the figure's first panel: lines, points, bars, heat maps and images; an emblem for what is not drawn here."""
    return drawing(figure) or _svg(_emblem())


def drawing(figure: Mapping[str, Any]) -> str:
    """SVG of the figure's first panel as :func:`thumbnail`, or an empty string if nothing of it is drawn here."""
    traces = [trace for trace in figure.get("data", []) if trace.get("visible", True) is True]
    axes = (traces[0].get("xaxis", "x"), traces[0].get("yaxis", "y")) if traces else ("x", "y")
    traces = [trace for trace in traces if (trace.get("xaxis", "x"), trace.get("yaxis", "y")) == axes]
    layout = figure.get("layout", {})
    try:
        marks = _raster(traces, layout, axes) or _vector(traces, layout, axes)
    except (AttributeError, TypeError, ValueError, KeyError, IndexError, OverflowError):
        marks = ""
    return _svg(marks) if marks else ""


def _svg(marks: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="xMidYMid slice" '
        'aria-hidden="true">'
        f"{marks}</svg>"
    )


def values(array: Any) -> np.ndarray:
    """A plotly array: a list, or the packed form ``{"dtype": ..., "bdata": ..., "shape": ...}``."""
    if isinstance(array, Mapping) and "bdata" in array:
        flat = np.frombuffer(base64.b64decode(array["bdata"]), np.dtype(array["dtype"]).newbyteorder("<"))
        shape = array.get("shape")
        return flat.reshape([int(part) for part in str(shape).split(",")]) if shape else flat
    return np.asarray([] if array is None else array)


def _raster(traces, layout, axes):
    for trace in traces:
        kind = trace.get("type")
        if kind in ("heatmap", "contour", "surface") and trace.get("z") is not None:
            z = values(trace["z"]).astype(float)
            if z.ndim != 2 or not z.size:
                continue
            pixels = _coloured(z, trace, layout)
            reverse = str(_axis(layout, axes[1], "y").get("autorange", "")) == "reversed"
            return _picture(pixels if reverse else pixels[::-1]) + _overlay(traces, z.shape, reverse)
        if kind == "image":
            source = trace.get("source")
            if isinstance(source, str) and is_picture(source):
                return (
                    f'<image href="{escape(source, quote=True)}" width="{WIDTH}" height="{HEIGHT}" '
                    'preserveAspectRatio="xMidYMid slice"/>'
                )
            z = values(trace.get("z"))
            if z.ndim == 3:
                return _picture(z[..., :3].astype(np.uint8)) + _overlay(traces, z.shape[:2], True)
    return ""


def _overlay(traces, shape, reverse):
    """Points and lines over a picture, in its pixel coordinates."""
    rows, columns = shape
    scale = max(WIDTH / columns, HEIGHT / rows)
    left, top = (WIDTH - columns * scale) / 2, (HEIGHT - rows * scale) / 2
    parts = []
    for number, trace in enumerate(
        trace for trace in traces if trace.get("type", "scatter") in ("scatter", "scattergl")
    ):
        x, y = values(trace.get("x")), values(trace.get("y"))
        if x.dtype.kind not in "fiuO" or not x.size:
            continue
        x, y = _floats(x), _floats(y)
        y = y if reverse else rows - 1 - y
        parts.append(_scatter(left + (x + 0.5) * scale, top + (y + 0.5) * scale, trace, number, 2.5))
    return "".join(parts)


def _coloured(z, trace, layout):
    step = max(1, math.ceil(max(z.shape[0] / 180, z.shape[1] / 320)))
    z = z[::step, ::step]
    low = trace.get("zmin", np.nanmin(z))
    high = trace.get("zmax", np.nanmax(z))
    share = np.nan_to_num(np.clip((z - low) / (high - low or 1), 0, 1))
    if trace.get("reversescale"):
        share = 1 - share
    scale = _scale(trace.get("colorscale"))
    position = share * (len(scale) - 1)
    below = np.minimum(position.astype(int), len(scale) - 2)
    part = (position - below)[..., None]
    return (scale[below] * (1 - part) + scale[below + 1] * part).astype(np.uint8)


def _scale(given):
    if isinstance(given, str):
        return _SCALES.get(given.lower().removesuffix("_r"), _VIRIDIS)[:: -1 if given.lower().endswith("_r") else 1]
    if isinstance(given, (list, tuple)) and given and isinstance(given[0], (list, tuple)):
        stops = [(float(place), _rgb(colour)) for place, colour in given]
        grid = np.linspace(0, 1, 33)
        places = np.array([place for place, _ in stops])
        return np.stack([np.interp(grid, places, [rgb[channel] for _, rgb in stops]) for channel in range(3)], -1)
    return _VIRIDIS


def _rgb(colour):
    colour = str(colour).strip()
    if colour.startswith("#") and len(colour) in (4, 7, 9):
        digits = colour[1:] if len(colour) > 4 else "".join(digit * 2 for digit in colour[1:])
        return [int(digits[place : place + 2], 16) for place in (0, 2, 4)]
    if colour.startswith("rgb"):
        return [float(part) for part in colour[colour.index("(") + 1 : colour.index(")")].split(",")[:3]]
    return {"white": [255, 255, 255], "black": [0, 0, 0]}.get(colour, [128, 128, 128])


def _picture(pixels):
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, width * 3)], axis=1)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
    href = "data:image/png;base64," + base64.b64encode(png).decode()
    return (
        f'<image href="{href}" width="{WIDTH}" height="{HEIGHT}" preserveAspectRatio="xMidYMid slice" '
        'style="image-rendering:pixelated"/>'
    )


def _vector(traces, layout, axes):
    """Points, lines and bars. Horizontal bars lie: their values run along the width, their names along the height."""
    flat = any(trace.get("type") == "bar" and trace.get("orientation") == "h" for trace in traces)
    drawn = []
    for trace in traces:
        kind = trace.get("type", "scatter")
        x, y = values(trace.get("x")), values(trace.get("y"))
        if kind == "histogram" and (x.size or y.size):
            counts, edges = np.histogram(_floats(x if x.size else y), bins=24)
            drawn.append(("bar", (edges[1:] + edges[:-1]) / 2, counts.astype(float), trace))
        elif kind in ("scatter", "scattergl", "bar", "box", "violin") and (x.size or y.size):
            if kind in ("box", "violin"):
                y = _floats(y if y.size else x)
                x = np.full(len(y), float(len(drawn)))
                trace = {**trace, "mode": "markers"}
            elif flat:
                x, y = y, x
            x = np.arange(len(y)) if not x.size else x
            y = np.arange(len(x)) if not y.size else y
            drawn.append((kind, x, _floats(y), trace))
    drawn = [item for item in drawn if np.isfinite(item[2]).any()]
    if not drawn:
        return ""
    names = list(dict.fromkeys(str(item) for _, x, _, _ in drawn if x.dtype.kind not in "fiub" for item in x))
    drawn = [
        (
            kind,
            _floats(x) if x.dtype.kind in "fiub" else np.array([names.index(str(item)) for item in x], float),
            y,
            trace,
        )
        for kind, x, y, trace in drawn
    ]
    xs, ys = np.concatenate([item[1] for item in drawn]), np.concatenate([item[2] for item in drawn])
    bars = [item for item in drawn if item[0] == "bar"]
    along, upward = _axis(layout, axes[0], "x"), _axis(layout, axes[1], "y")
    if flat:
        to_x, to_y = _mapping(xs, upward, HEIGHT - 22, 22), _mapping(np.append(ys, 0.0), along, 16, WIDTH - 16)
    else:
        to_x = _mapping(xs, along, 16, WIDTH - 16)
        to_y = _mapping(np.append(ys, 0.0) if bars else ys, upward, HEIGHT - 18, 16)
    line = f"M16 12V{HEIGHT - 12}" if flat else f"M16 {HEIGHT - 12}H{WIDTH - 16}"
    marks = [f'<path d="{line}" stroke="currentColor" stroke-opacity=".25"/>']
    for number, (kind, x, y, trace) in enumerate(drawn):
        if kind == "bar":
            order = [id(item[3]) for item in bars].index(id(trace))
            marks.append(_bars(to_x(x), to_y(y), to_y, bars, order, _colour(trace, number), flat))
        else:
            places = (to_y(y), to_x(x)) if flat else (to_x(x), to_y(y))
            marks.append(_scatter(*places, trace, number, 3))
    return "".join(marks)


def _bars(places, ends, to_y, bars, order, colour, flat):
    """Bars from zero, or from the edge where the axis is logarithmic."""
    edge = 16.0 if flat else HEIGHT - 12.0
    zero = float(to_y(np.array([0.0]))[0])
    start = zero if math.isfinite(zero) else edge
    slots = max(2, len(np.unique(np.concatenate([item[1] for item in bars]))))
    wide = 0.72 * ((HEIGHT if flat else WIDTH) - 32) / slots / len(bars)
    found = []
    for place, end in zip(places, ends):
        if math.isfinite(place) and math.isfinite(end):
            side, low, long = place + wide * (order - len(bars) / 2), min(end, start), abs(end - start)
            x, y, width, height = (low, side, long, wide) if flat else (side, low, wide, long)
            found.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>')
    return "".join(found)


def _scatter(x, y, trace, number, radius):
    colour = _colour(trace, number)
    mode = trace.get("mode") or ("lines" if len(x) > 20 else "lines+markers")
    parts = []
    good = np.isfinite(x) & np.isfinite(y)
    if "lines" in mode:
        step = max(1, len(x) // 400)
        commands, pen = [], "M"
        for place, height, fine in zip(x[::step], y[::step], good[::step]):
            if not fine:
                pen = "M"
                continue
            commands.append(f"{pen}{place:.1f} {height:.1f}")
            pen = "L"
        line = trace.get("line", {})
        dash = ' stroke-dasharray="5 4"' if line.get("dash") not in (None, "solid") else ""
        filled = f'fill="{_fill(trace, colour)}" fill-opacity=".25"' if trace.get("fill") else 'fill="none"'
        parts.append(
            f'<path d="{"".join(commands)}" {filled} stroke="{colour}" stroke-width="2" stroke-linejoin="round"{dash}/>'
        )
    if "markers" in mode:
        step = max(1, len(x) // 300)
        spots = "".join(
            f'<circle cx="{place:.1f}" cy="{height:.1f}" r="{radius}"/>'
            for place, height, fine in zip(x[::step], y[::step], good[::step])
            if fine
        )
        parts.append(f'<g fill="{colour}" fill-opacity=".85">{spots}</g>')
    return "".join(parts)


def _floats(array):
    if array.dtype.kind in "fiub":
        return array.astype(float)
    return np.array([float(item) if isinstance(item, (int, float)) else math.nan for item in array.ravel()], float)


def _colour(trace, number):
    for place in (trace.get("line", {}), trace.get("marker", {})):
        colour = place.get("color")
        if isinstance(colour, str):
            return "currentColor" if colour.lower() in ("#000000", "#e8e8e8", "black") else escape(colour, quote=True)
    return _SERIES[number % len(_SERIES)]


def _fill(trace, colour):
    given = trace.get("fillcolor")
    return escape(given, quote=True) if isinstance(given, str) and not given.startswith("rgba") else colour


def _axis(layout, name, letter):
    return layout.get(f"{letter}axis{name[1:]}", {}) or {}


def _mapping(data, axis, start, end):
    """A function from data to pixels, linear or logarithmic, over the axis's range or the data's."""
    logarithmic = axis.get("type") == "log"
    data = data[np.isfinite(data)]
    if logarithmic:
        data = np.log10(data[data > 0])
    low, high = (float(data.min()), float(data.max())) if data.size else (0.0, 1.0)
    given = axis.get("range")
    if isinstance(given, (list, tuple)) and len(given) == 2 and all(isinstance(limit, (int, float)) for limit in given):
        low, high = given
    elif axis.get("autorange") == "reversed":
        low, high = high, low
    if low == high:
        low, high = low - 0.5, high + 0.5

    def convert(values):
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log10(values) if logarithmic else values
        return start + (values - low) / (high - low) * (end - start)

    return convert


def _emblem():
    ridges = []
    for row in range(7):
        points = []
        for column in range(33):
            x = column / 32
            lift = 46 * math.exp(-30 * (x - 0.35 - 0.03 * row) ** 2) + 30 * math.exp(-60 * (x - 0.75 + 0.02 * row) ** 2)
            points.append(f"{24 + 272 * x:.1f} {70 + 14 * row - lift * (1 - row / 8):.1f}")
        ridges.append(
            f'<path d="M{"L".join(points)}" fill="none" stroke="{_SERIES[row % 5]}" stroke-width="2" stroke-opacity=".8"/>'
        )
    return "".join(ridges)
