"""Large volumes: what a matching will cost, said before it starts, and how far it is while it runs.

The cost of a voxel depends on the machine and on the volume (noise has many features, a mask has few), so both are
measured: pieces of the very volumes are matched first, which takes a fraction of a second, and scaled by the count of
voxels. Caches are left behind as volumes grow; the factor for that was fitted between 32 and 256 voxels a side.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from lab import checks
from lab.topology.images import batching, convention

PIECE = 32  # voxels along the sides of a piece
ANNOUNCED = 1 << 22  # voxels from which a matching says what it will take, and shows how far it is
GROWTH = 0.15  # a voxel takes (voxels / voxels of a piece) ** GROWTH times as long
FIXED, BAR = 70.0, 100.0  # bytes a voxel, and bytes for each of the bars


@dataclass(frozen=True)
class Estimate:
    """What one matching takes: seconds of one core, and megabytes beside the two volumes."""

    shape: tuple[int, ...]
    seconds: float
    megabytes: float

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"{size} voxels: about {self.seconds:.2g} s and {self.megabytes:.0f} MB"


def estimate(prediction, label, *, filtration: str = "superlevel", border: str | None = None) -> Estimate:
    """Seconds and megabytes that :func:`lab.topology.match` will take for two volumes, from matching pieces of them.

    Args:
        prediction, label: volumes with three axes, as for :func:`lab.topology.match`.
        filtration, border: as there.

    Returns:
        ``Estimate``; on an idle machine within a factor of two of what it takes, memory likewise.

    Raises:
        ValueError: shapes differ, other than three axes, NaN, infinite values, no voxel, unknown option.
    """
    convention.check_options(filtration, border)
    prediction = convention.image("prediction", prediction, ndim=(3,))
    label = convention.image("label", label, ndim=(3,))
    checks.same_shape("prediction", prediction, "label", label)
    return _estimate(*(convention.sublevel(x, filtration, border) for x in (prediction, label)))


def match_rows(
    prediction: np.ndarray, label: np.ndarray, progress: bool | Callable[[float], None] | None
) -> batching.Rows:
    """:func:`lab.topology.images.batching.match_rows` of one pair of volumes in sublevel form, saying how far it is."""
    from lab.kernels.cubical.volumes import pipeline

    if progress is None:
        progress = prediction.size >= ANNOUNCED
    with _reporting(prediction, label, progress) as report:
        cells, voxels, counts = pipeline.match_volume(prediction, label, None, report)
    return batching.Rows(cells, voxels, counts[None])


def _estimate(a, b) -> Estimate:
    from lab.kernels.cubical.volumes import pipeline

    places = [tuple(slice(*_piece(size, share)) for size in a.shape) for share in (0.25, 0.5, 0.75)]
    pieces = [(np.ascontiguousarray(a[place]), np.ascontiguousarray(b[place])) for place in places]
    pipeline.match_volume(*pieces[0])  # the first call reads the compiled kernels from disk
    voxels, bars = 0, 0
    begin = time.thread_time()
    for piece in pieces:
        bars += 2 * len(pipeline.match_volume(*piece)[0])
        voxels += piece[0].size
    seconds = (time.thread_time() - begin) / voxels * a.size * (len(pieces) * a.size / voxels) ** GROWTH
    return Estimate(a.shape, max(seconds, 1e-4), a.size * (FIXED + BAR * bars / voxels) / 1e6)


def _piece(size, share):
    """A stretch of at most ``PIECE`` around a place."""
    begin = int(max(0, min(share * size - PIECE / 2, size - PIECE)))
    return begin, min(begin + PIECE, size)


@contextmanager
def _reporting(a, b, progress):
    """The function to call with the fraction done: none, the caller's own, or one that moves a bar."""
    if callable(progress):
        yield progress
        return
    if not checks.choice("progress", progress, (True, False)):
        yield None
        return
    from tqdm.auto import tqdm

    text = f"matching {_estimate(a, b)}"
    with tqdm(total=1.0, desc=text, file=sys.stderr, bar_format="{desc} {bar} {percentage:3.0f}% {elapsed}") as bar:
        yield lambda fraction: bar.update(max(0.0, fraction - bar.n))
