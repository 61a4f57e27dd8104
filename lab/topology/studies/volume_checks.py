"""Checks of matchings and drawings of small volumes against definitions: by sets of cells and elimination, slowly.

A closed path bounds at some moment if it is a sum, over the field with two elements, of boundaries of the squares that
are there. Gaussian elimination decides it, without any of the fast code.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from lab.kernels.cubical import reference
from lab.topology.images.barcodes import Barcode
from lab.topology.images.volume_cycles import curve, surface


@dataclass(frozen=True)
class Checked:
    """How many drawings of how many failed; ``filled_controls`` counts boundaries that the check saw to be filled."""

    failed: int
    drawn: int
    filled_controls: int


def check_drawings(x, bars: Barcode, *, dealt: bool = False) -> Checked:
    """Draw every bar of a small superlevel volume ``x`` and check what is drawn.

    A curve is a closed path of neighbours that runs along the loop's first edge and is no sum of boundaries of squares
    before the loop's last one. A component holds its first voxel and lies in its cycle. A cavity holds its last voxel and
    touches no side of the volume. ``dealt`` checks each drawing as that of the next bar of its dimension.
    """
    failed = drawn = filled = 0
    shown = {d: list(bars[d])[1:] + list(bars[d])[:1] if dealt else list(bars[d]) for d in range(3)}
    for bar, other in zip(bars[1], shown[1]):
        edges = edges_of(curve(x, other).voxels.numpy(), x.shape)
        squares = boundaries_before(-x, bar.death_cell)
        drawn += 1
        failed += edges is None or bar.birth_cell not in edges or bounds(edges, squares)
        filled += bounds(squares[0] ^ squares[-1], squares)
    for bar, other in zip((*bars[0], *bars[2]), (*shown[0], *shown[2])):
        voxels = surface(x, other).voxels.numpy()
        drawn += 1
        if bar.dimension == 0:
            failed += bar.birth_voxel not in voxels
        else:
            places = np.stack(np.unravel_index(voxels, x.shape), axis=1)
            inside = (places > 0).all() and (places < np.array(x.shape) - 1).all()
            failed += bar.death_voxel not in voxels or not inside
    return Checked(int(failed), drawn, int(filled))


def edges_of(voxels, shape) -> set[int] | None:
    """Codes ``3 anchor + axis`` of the edges along a closed path of voxels; ``None`` where two in a row are no neighbours."""
    closed = np.r_[voxels, voxels[0]]
    places = np.stack(np.unravel_index(closed, shape), axis=1)
    found = set()
    for one, two in zip(places, places[1:]):
        if abs(one - two).sum() != 1:
            return None
        axis = int(np.flatnonzero(one != two)[0])
        found.add(3 * int(np.ravel_multi_index(tuple(np.minimum(one, two)), shape)) + axis)
    return found


def boundaries_before(values, square: int) -> list[set[int]]:
    """The edges of each square that enters the sublevel volume before ``square``, in the order (value, code)."""
    shape, flat, squares = values.shape, values.ravel(), []
    step = (shape[1] * shape[2], shape[2], 1)
    for place in product(*(range(length) for length in shape)):
        v = int(np.ravel_multi_index(place, shape))
        for t in range(3):
            p, q = (axis for axis in range(3) if axis != t)
            if place[p] + 1 < shape[p] and place[q] + 1 < shape[q]:
                corners = [v, v + step[p], v + step[q], v + step[p] + step[q]]
                edges = {3 * v + p, 3 * v + q, 3 * corners[1] + q, 3 * corners[2] + p}
                squares.append((flat[corners].max(), 3 * v + t, edges))
    limit = next(entry[:2] for entry in squares if entry[1] == square)
    return [edges for value, code, edges in sorted(squares, key=lambda entry: entry[:2]) if (value, code) < limit]


def bounds(path: set[int], boundaries: list[set[int]]) -> bool:
    """Whether the set of edges is a sum of some of ``boundaries`` over the field with two elements."""
    pivots: dict[int, set[int]] = {}

    def reduced(column):
        while column and max(column) in pivots:
            column = column ^ pivots[max(column)]
        return column

    for column in boundaries:
        rest = reduced(column)
        if rest:
            pivots[max(rest)] = rest
    return not reduced(path)


def kinds_of(found, d: int) -> tuple[list, list, list]:
    """Sorted values of matched, prediction-only and label-only bars of a matching of ``-a`` and ``-b``, in the signs of
    ``a`` and ``b``."""
    level = lambda bars: [(-birth, -death) for birth, death in zip(bars.birth.tolist(), bars.death.tolist())]  # noqa: E731
    pairs = [one + two for one, two in zip(level(found.matched[d].prediction), level(found.matched[d].label))]
    return sorted(pairs), sorted(level(found.unmatched_prediction[d])), sorted(level(found.unmatched_label[d]))


def kinds_of_definition(wanted, a, b) -> tuple[list, list, list]:
    """The same of what :func:`lab.kernels.cubical.reference.match` says of one dimension."""
    level = lambda f, bar: tuple(float(reference.value(f, cell)) for cell in bar)  # noqa: E731
    matched, extra, missing = wanted
    pairs = [level(a, one) + level(b, two) for one, two in matched]
    return sorted(pairs), sorted(level(a, bar) for bar in extra), sorted(level(b, bar) for bar in missing)
