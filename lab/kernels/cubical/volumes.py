"""Betti matching and barcodes of volumes on the CPU, in dimensions 0, 1 and 2.

Sublevel filtration, V-construction: voxels are vertices, a cell's value is the maximum over its vertices, cells of one
dimension are ordered by (value, code) with the codes of :mod:`lab.kernels.cubical.boxes`.

- Components and cavities: union-find on the grid and on its dual (:mod:`~lab.kernels.cubical.forests`).
- Loops: five reductions (:mod:`~lab.kernels.cubical.columns`): prediction, label, their minimum ``c``, and the images
  of the first two in ``c``, which have rows in the order of one side and columns in the order of ``c``.

A bar of the prediction and one of the label are matched when the images of both end in the same cell as one bar of
``c`` of positive length, as :mod:`lab.kernels.cubical.reference` says it literally.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical import tracing
from lab.kernels.cubical.boxes import cell_voxel, cube_ranks, dense_ranks, edge_rank, sorted_cells, square_rank, strides
from lab.kernels.cubical.columns import pivots, rows_of_edges
from lab.kernels.cubical.forests import cavities, component_mates, components


def match_volumes(predictions, labels):
    """Match every prediction ``(n, x, y, z)`` with its label, both float64 in sublevel form.

    Returns ``cells`` and ``voxels``, int64 of shape ``(rows, 4)`` with columns prediction birth, prediction death,
    label birth, label death (-1 where a side is absent), and ``counts`` of shape ``(n, 3, 3)``: rows by item, dimension
    and kind (matched, only in the prediction, only in the label), in this order.
    """
    parts = [match_volume(a, b) for a, b in zip(predictions, labels)]
    return tuple(np.concatenate([part[k] for part in parts]) for k in range(2)) + (np.stack([p[2] for p in parts]),)


def cycle(f, dimension, birth, death):
    """``(voxels, inside)`` of one bar of the sublevel volume ``f`` (see :mod:`lab.kernels.cubical.tracing`)."""
    return tracing.cycle(f, dimension, birth, death)


def barcode_volumes(volumes):
    """Bars of positive length of every volume ``(n, x, y, z)``: ``cells``, ``voxels`` ``(rows, 2)`` and ``counts
    (n, 3)``."""
    parts = [barcode_volume(f) for f in volumes]
    return tuple(np.concatenate([part[k] for part in parts]) for k in range(2)) + (np.stack([p[2] for p in parts]),)


@njit(cache=True, nogil=True)
def match_volume(a, b):
    """``(cells, voxels, counts)`` of one pair."""
    shape = a.shape
    step = strides(shape)
    fa, fb = a.ravel(), b.ravel()
    ranks, count = dense_ranks(np.minimum(fa, fb))
    cubes = cube_ranks(ranks, shape)
    squares = sorted_cells(ranks, count, shape, True)
    cavities_c, _, cleared = cavities(ranks, cubes, cubes, squares, step)

    ranks_a, rows_a, back_a, bars_a, loops_a, holes_a, ends_a = _side(fa, shape, step, cubes)
    images_a = _edges(pivots(squares, cleared, rows_a, len(back_a), shape, step)[0], back_a)
    ranks_b, rows_b, back_b, bars_b, loops_b, holes_b, ends_b = _side(fb, shape, step, cubes)
    images_b = _edges(pivots(squares, cleared, rows_b, len(back_b), shape, step)[0], back_b)

    edges = sorted_cells(ranks, count, shape, False)
    mates_0, tree = component_mates(ranks_a, ranks_b, ranks, edges, step, bars_a, bars_b)
    rows, back = rows_of_edges(edges, tree, len(ranks))
    found = _edges(pivots(squares, cleared, rows, len(back), shape, step)[0], back)
    mates_1 = _loop_mates(ranks, step, squares, found, images_a, images_b, loops_a, loops_b)
    mates_2 = _cavity_mates(cavities_c, ends_a, ends_b, len(ranks))

    counts = np.zeros((3, 3), np.int64)
    total = len(bars_a) + len(bars_b) + len(loops_a) + len(loops_b) + len(holes_a) + len(holes_b)
    cells = np.full((total, 4), -1, np.int64)
    used = _emit(cells, 0, counts[0], bars_a, bars_b, mates_0)
    used = _emit(cells, used, counts[1], loops_a, loops_b, mates_1)
    used = _emit(cells, used, counts[2], holes_a, holes_b, mates_2)
    cells = cells[:used].copy()
    voxels = np.full((used, 4), -1, np.int64)
    row = 0
    for d in range(3):
        for _ in range(counts[d].sum()):
            for column in range(4):
                if cells[row, column] >= 0:
                    f = fa if column < 2 else fb
                    voxels[row, column] = cell_voxel(f, step, d + (column & 1), cells[row, column])
            row += 1
    return cells, voxels, counts


@njit(cache=True, nogil=True)
def barcode_volume(f):
    """``(cells, voxels, counts)`` of one volume."""
    shape = f.shape
    step = strides(shape)
    flat = f.ravel()
    _, _, _, bars, loops, holes, _ = _side(flat, shape, step, np.empty(0, np.int32))
    counts = np.array([len(bars), len(loops), len(holes)])
    cells = np.concatenate((bars, loops, holes)).astype(np.int64)
    voxels = np.empty(cells.shape, np.int64)
    for row in range(len(cells)):
        d = 0 if row < counts[0] else 1 if row < counts[0] + counts[1] else 2
        for column in range(2):
            voxels[row, column] = cell_voxel(flat, step, d + column, cells[row, column])
    return cells, voxels, counts


@njit(cache=True, nogil=True)
def _side(flat, shape, step, cubes_c):
    """What one volume gives alone, and the cubes in which the images of its cavities end in c.

    Returns ``(ranks, rows, edges of rows, bars 0, bars 1, bars 2, ends of the images of bars 2)``.
    """
    ranks, count = dense_ranks(flat)
    cubes = cube_ranks(ranks, shape)
    squares = sorted_cells(ranks, count, shape, True)
    others = cubes if len(cubes_c) == 0 else cubes_c
    holes, ends, cleared = cavities(ranks, cubes, others, squares, step)
    edges = sorted_cells(ranks, count, shape, False)
    bars, tree = components(ranks, edges, step)
    rows, back = rows_of_edges(edges, tree, len(ranks))
    found = _edges(pivots(squares, cleared, rows, len(back), shape, step)[0], back)
    return ranks, rows, back, bars, _loops(ranks, step, squares, found), holes, ends


@njit(cache=True, nogil=True)
def _edges(rows, back):
    for k in range(len(rows)):
        if rows[k] >= 0:
            rows[k] = back[rows[k]]
    return rows


@njit(cache=True, nogil=True)
def _loops(ranks, step, squares, found):
    """Rows (edge, square) of positive length."""
    bars = np.empty((len(squares), 2), np.int32)
    used = 0
    for k in range(len(squares)):
        if found[k] < 0:
            continue
        edge, square = np.int64(found[k]), np.int64(squares[k])
        if edge_rank(ranks, step, edge) != square_rank(ranks, step, square):
            bars[used, 0], bars[used, 1] = edge, square
            used += 1
    return bars[:used].copy()


@njit(cache=True, nogil=True)
def _loop_mates(ranks, step, squares, found, images_a, images_b, loops_a, loops_b):
    """Pairs of loops of a and b whose images end in the same square as a loop of c of positive length."""
    bar_a, bar_b = np.full(3 * len(ranks), -1, np.int32), np.full(3 * len(ranks), -1, np.int32)
    for i in range(len(loops_a)):
        bar_a[loops_a[i, 0]] = i
    for j in range(len(loops_b)):
        bar_b[loops_b[j, 0]] = j
    mates = np.empty((min(len(loops_a), len(loops_b)), 2), np.int32)
    used = 0
    for k in range(len(squares)):
        if found[k] < 0 or images_a[k] < 0 or images_b[k] < 0:
            continue
        i, j = bar_a[images_a[k]], bar_b[images_b[k]]
        if i < 0 or j < 0:
            continue
        if edge_rank(ranks, step, np.int64(found[k])) != square_rank(ranks, step, np.int64(squares[k])):
            mates[used, 0], mates[used, 1] = i, j
            used += 1
    return mates[:used]


@njit(cache=True, nogil=True)
def _cavity_mates(holes_c, ends_a, ends_b, size):
    """Pairs of cavities of a and b whose images end in the same cube as a cavity of c."""
    where_a, where_b = np.full(size + 1, -1, np.int32), np.full(size + 1, -1, np.int32)
    for i in range(len(ends_a)):
        where_a[ends_a[i]] = i
    for j in range(len(ends_b)):
        where_b[ends_b[j]] = j
    mates = np.empty((len(holes_c), 2), np.int32)
    used = 0
    for k in range(len(holes_c)):
        i, j = where_a[holes_c[k, 1]], where_b[holes_c[k, 1]]
        if i >= 0 and j >= 0:
            mates[used, 0], mates[used, 1] = i, j
            used += 1
    return mates[:used]


@njit(cache=True, nogil=True)
def _emit(rows, used, counts, bars_a, bars_b, mates):
    """Append matched rows, then the rows of one side only."""
    taken_a, taken_b = np.zeros(len(bars_a), np.bool_), np.zeros(len(bars_b), np.bool_)
    for k in range(len(mates)):
        i, j = mates[k]
        taken_a[i] = taken_b[j] = True
        rows[used, 0], rows[used, 1] = bars_a[i]
        rows[used, 2], rows[used, 3] = bars_b[j]
        used += 1
    counts[0] = len(mates)
    for i in range(len(bars_a)):
        if not taken_a[i]:
            rows[used, 0], rows[used, 1] = bars_a[i]
            used += 1
    counts[1] = len(bars_a) - len(mates)
    for j in range(len(bars_b)):
        if not taken_b[j]:
            rows[used, 2], rows[used, 3] = bars_b[j]
            used += 1
    counts[2] = len(bars_b) - len(mates)
    return used


def warm():
    """Compile every kernel for the types it is used with."""
    volume = np.random.default_rng(0).permutation(60.0 + np.arange(60)).reshape(1, 3, 4, 5)
    match_volumes(volume, volume.copy())
    cells, _, counts = barcode_volumes(volume)
    for row, d in zip(cells.tolist(), np.repeat(np.arange(3), counts[0]).tolist()):
        cycle(volume[0], d, *row)
