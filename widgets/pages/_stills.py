"""Stored pictures of every page at its defaults: shown in the page itself until the live figures stand.

A still is what ``draw`` returned at the page's defaults, drawn once by plotly in a browser (``python -m tests.browser.stills``):
its pictures as SVG, its numbers, and a fingerprint of its figures, with which a test compares what ``draw`` returns today. A page
that measures time on the machine at hand has none: ``STILL = False`` in its module.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lab.report.site.thumbnail import values
from widgets.figures.theme import _THEMED

FOLDER = Path(__file__).parents[1] / "assets" / "stills"
SIZES = {"wide": 996, "phone": 358}  # pixels that the figures of a page share, in a window of 1400 and of 390
GAP = 16
_COORDINATES = ("x", "y", "z", "lat", "lon", "value")


@dataclass(frozen=True)
class Still:
    """A page at its defaults: pictures of its first figures, the titles of all, its tables, and what to compare."""

    pictures: list[dict[str, str]]  # of the first figures: {"wide": svg, "phone": svg}
    titles: list[str]
    tables: list[list[dict]]
    prints: list[list[dict]]
    thumbnail: str = ""

    def frames(self) -> list[pd.DataFrame]:
        """The tables as the page shows them."""
        return [pd.DataFrame(rows) for rows in self.tables]

    def save(self, page: str, folder: Path = FOLDER) -> Path:
        """Write it where :func:`load` finds it; the same content gives the same bytes."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{page}.json.gz"
        text = json.dumps(asdict(self), ensure_ascii=False)
        packed = bytearray(gzip.compress(text.encode("utf-8"), mtime=0))
        packed[9] = 3  # the system of origin, which versions of Python fill in differently
        path.write_bytes(packed)
        return path


def load(page: str) -> Still | None:
    """The still of a page module, or ``None`` where it has none."""
    path = FOLDER / f"{page}.json.gz"
    try:
        return _load(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return None


@lru_cache(maxsize=128)
def _load(path: Path, _: int) -> Still:
    return Still(**json.loads(gzip.decompress(path.read_bytes())))


def fingerprint(figure: go.Figure) -> list[dict]:
    """What makes a figure the same: of each trace its type, name and coordinates, summed in order to a few numbers."""
    found = []
    for trace in figure.to_plotly_json()["data"]:
        entry = {"type": trace.get("type", "scatter"), "name": str(trace.get("name") or "")}
        for key in _COORDINATES:
            numbers = _numbers(trace.get(key))
            if numbers is not None:
                flat = numbers[np.isfinite(numbers)]
                weighted = flat @ (1.0 + np.arange(len(flat)) % 7)
                entry[key] = [len(flat), float(flat.sum()), float(weighted), float(np.abs(flat).sum())]
        found.append(entry)
    return found


def agree(first: Sequence[Mapping], second: Sequence[Mapping], tolerance: float = 2e-3) -> bool:
    """Whether two fingerprints are of the same figure, up to rounding."""
    if len(first) != len(second):
        return False
    for one, other in zip(first, second):
        if set(one) != set(other) or any(one[key] != other[key] for key in ("type", "name")):
            return False
        for key in set(one) & set(_COORDINATES):
            scale = max(one[key][3], other[key][3], 1e-9)
            if one[key][0] != other[key][0]:
                return False
            if any(abs(a - b) > tolerance * 7 * scale for a, b in zip(one[key][1:], other[key][1:])):
                return False
    return True


def themed(svg: str) -> str:
    """An SVG drawn in the light theme in which ink, grid and paper follow the theme of the page around it."""
    for name, colour in _THEMED["light"].items():
        red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
        for written in (f"rgb({red}, {green}, {blue})", f"rgb({red},{green},{blue})", colour):
            svg = svg.replace(written, f"var(--figure-{name})")
    return svg


def _numbers(coordinate) -> np.ndarray | None:
    """A coordinate of one or two axes as floats; words count as their places."""
    array = values(coordinate)
    try:
        array = np.asarray(array, dtype=float)
    except (TypeError, ValueError):
        array = np.arange(len(array), dtype=float) if array.ndim == 1 else np.empty(0)
    return array if array.ndim in (1, 2) and array.size else None
