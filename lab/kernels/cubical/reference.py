"""Barcodes and Betti matching by reduction of boundary matrices: slow, for small images of any number of axes.

The definitions taken literally, without union-find, duality or clearing: cells in the order (value, anchor, type), the
boundary matrix over the field with two elements, columns added until no two have the same lowest row. The image of ``K_a``
in ``K_c`` reduces the same matrix with rows in the order of ``a`` and columns in the order of ``c``.

Source: David Cohen-Steiner, Herbert Edelsbrunner, John Harer, Dmitriy Morozov, 'Persistent Homology for Kernels, Images,
and Cokernels', SODA 2009.
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np


def barcode(f) -> list[list[tuple]]:
    """Bars of positive length by dimension, as (creator, destroyer); a cell is (anchor, axes), both tuples."""
    f = np.asarray(f, np.float64)
    found = []
    for d in range(f.ndim):
        pairs = _reduce(_cells(f, d), _cells(f, d + 1))
        found.append([(s, t) for s, t in pairs if value(f, s) != value(f, t)])
    return found


def match(a, b) -> list[tuple[list, list, list]]:
    """By dimension: matched ``(bar of a, bar of b)``, bars of ``a`` only, bars of ``b`` only."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    c = np.minimum(a, b)
    bars_a, bars_b = barcode(a), barcode(b)
    found = []
    for d in range(a.ndim):
        creator_a, creator_b = ({t: s for s, t in image(side, c, d)} for side in (a, b))
        by_birth_a = {s: (s, t) for s, t in bars_a[d]}
        by_birth_b = {s: (s, t) for s, t in bars_b[d]}
        matched = []
        for s, t in image(c, c, d):
            if value(c, s) == value(c, t):
                continue
            one, two = by_birth_a.get(creator_a.get(t)), by_birth_b.get(creator_b.get(t))
            if one and two:
                matched.append((one, two))
        taken_a, taken_b = {one for one, _ in matched}, {two for _, two in matched}
        found.append(
            (
                matched,
                [bar for bar in bars_a[d] if bar not in taken_a],
                [bar for bar in bars_b[d] if bar not in taken_b],
            )
        )
    return found


def image(f, c, dimension: int) -> list[tuple]:
    """(creator in the order of ``f``, destroyer in that of ``c``) of the image of ``K_f`` in ``K_c``, where ``c <= f``."""
    return _reduce(_cells(f, dimension), _cells(c, dimension + 1))


def value(f, cell) -> float:
    """The largest value of the cell's voxels."""
    return max(f[corner] for corner in _corners(cell))


def voxel(f, cell) -> tuple[int, ...]:
    """The voxel that carries the cell's value. Of equal ones: for edges and squares the far corner, then those along the
    cell's axes in turn, then the anchor; for cubes the first in C-order."""
    corners = _corners(cell)
    if len(cell[1]) < 3:
        corners = [corners[-1], *corners[1:-1][::-1], corners[0]]
    level = value(f, cell)
    return next(corner for corner in corners if f[corner] == level)


def _cells(f, dimension):
    """Cells of one dimension in the order of ``f``: by (value, anchor, type)."""
    found = []
    types = list(combinations(range(f.ndim), dimension))
    if dimension == 2 and f.ndim == 3:
        types.reverse()  # the type of a square is the axis it is orthogonal to
    for axes in types:
        sizes = [size - (axis in axes) for axis, size in enumerate(f.shape)]
        found += [(anchor, axes) for anchor in product(*map(range, sizes))]
    return sorted(found, key=lambda cell: (value(f, cell), cell[0], types.index(cell[1])))


def _corners(cell):
    anchor, axes = cell
    steps = product(*([0, 1] if axis in axes else [0] for axis in range(len(anchor))))
    return [tuple(x + s for x, s in zip(anchor, step)) for step in steps]


def _faces(cell):
    anchor, axes = cell
    for axis in axes:
        rest = tuple(other for other in axes if other != axis)
        yield anchor, rest
        yield tuple(x + (k == axis) for k, x in enumerate(anchor)), rest


def _reduce(rows, columns):
    """Pairs (lowest row, column) of the reduced boundary matrix with rows and columns in the given orders."""
    place = {cell: k for k, cell in enumerate(rows)}
    owner, pairs = {}, []
    for cell in columns:
        column = {place[face] for face in _faces(cell)}
        while column and max(column) in owner:
            column = column ^ owner[max(column)]
        if column:
            owner[max(column)] = column
            pairs.append((rows[max(column)], cell))
    return pairs
