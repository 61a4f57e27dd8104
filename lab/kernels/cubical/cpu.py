"""Betti matching and barcodes of images on the CPU: local contraction first, then union-find on the few cells left.

Sublevel filtration, V-construction: voxels are vertices, a cell's value is the maximum over its vertices, cells of one
dimension are ordered by (value, code) with the codes of :mod:`lab.kernels.cubical.images.cells`.

An edge of a planar grid either joins two components of the growing set (it ends a bar of dimension 0) or joins two
components of the shrinking complement (it begins a bar of dimension 1), never both. Both merge forests are found alike:

1. *Pointers* (:mod:`~lab.kernels.cubical.images.contraction`). The smallest edge at a voxel, where its value equals the
   voxel's, joins the voxel to its component in a bar of length zero; the largest edge of a square does so in the
   complement.
2. *Survivors.* Edges that no pointer uses; only these are sorted. Their number is about minima plus maxima.
3. *Union-find* over basins (:mod:`~lab.kernels.cubical.images.merging`): survivors downwards over the squares give dimension
   1, the survivors that merged nothing there give dimension 0 upwards over the voxels (planar duality).

Contracting a pointer early is exact, ties included: at every level it concerns creators of that very level only, whose
bars are empty.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.images.cells import edge_voxel, square_values, square_voxel
from lab.kernels.cubical.images.components import match_components
from lab.kernels.cubical.images.contraction import contract, square_basins
from lab.kernels.cubical.images.holes import edge_squares, merge_squares, merge_squares_into
from lab.kernels.cubical.images.merging import bars_and_images, ordered, plain_bars, prepare
from lab.kernels.cubical.inner import inner


@njit(cache=True, nogil=True)
def match_images(predictions, labels):
    """Match every prediction ``(n, height, width)`` with its label, both float64 in sublevel form.

    Returns ``cells`` and ``voxels``, int64 of shape ``(rows, 4)`` with columns prediction birth, prediction death,
    label birth, label death (-1 where a side is absent), and ``counts`` of shape ``(n, 2, 3)``: rows by item, dimension
    and kind (matched, only in the prediction, only in the label), in this order.
    """
    items, height, width = predictions.shape
    counts = np.zeros((items, 2, 3), np.int64)
    cells = np.empty((64, 4), np.int64)
    used = 0
    for item in range(items):
        for local in (True, False):  # a variable, so that both ways are compiled once
            done, rows, found = match_one(predictions[item], labels[item], local)
            if done:
                break
        cells = _appended(cells, used, rows)
        used += len(rows)
        for d in range(2):
            for kind in range(3):
                counts[item, d, kind] = found[d, kind]
    cells = cells[:used].copy()
    voxels = np.full((used, 4), -1, np.int64)
    row = 0
    for item in range(items):
        stop = row + counts[item].sum()
        a, b = predictions[item].ravel(), labels[item].ravel()
        _fill_voxels(a, b, width, cells[row:stop], voxels[row:stop], counts[item])
        row = stop
    return cells, voxels, counts


@njit(cache=True, nogil=True)
def barcode_images(images):
    """Bars of positive length of every image ``(n, height, width)``: ``cells``, ``voxels`` ``(rows, 2)`` and ``counts
    (n, 2)``."""
    items, height, width = images.shape
    counts = np.zeros((items, 2), np.int64)
    cells = np.empty((64, 2), np.int64)
    used = 0
    for item in range(items):
        parts = plain_bars(images[item])
        for d in range(2):
            cells = _appended(cells, used, parts[d])
            used += len(parts[d])
            counts[item, d] = len(parts[d])
    cells = cells[:used].copy()
    voxels = np.empty((used, 2), np.int64)
    row = 0
    for item in range(items):
        f = images[item].ravel()
        for dimension in range(2):
            for _ in range(counts[item, dimension]):
                _voxels(f, width, dimension, cells[row], voxels[row])
                row += 1
    return cells, voxels, counts


@njit(cache=True, nogil=True)
def match_known(a, b, side):
    """:func:`match_images` of one pair of images whose label's ``side = prepare(b, True)`` is known."""
    done, rows, counts = match_prepared(a, b, side, np.bool_(True))
    if not done:
        done, rows, counts = match_one(a, b, np.bool_(False))
    cells = rows.astype(np.int64)
    voxels = np.full(cells.shape, -1, np.int64)
    _fill_voxels(a.ravel(), b.ravel(), a.shape[1], cells, voxels, counts)
    return cells, voxels, counts.reshape(1, 2, 3)


@inner
def _appended(cells, used, rows):
    """``cells`` with ``rows`` behind its first ``used`` rows; a longer array where they have no room."""
    if used + len(rows) > len(cells):
        longer = np.empty((2 * (used + len(rows)), cells.shape[1]), np.int64)
        for k in range(used):
            for column in range(cells.shape[1]):
                longer[k, column] = cells[k, column]
        cells = longer
    for k in range(len(rows)):
        for column in range(cells.shape[1]):
            cells[used + k, column] = rows[k, column]
    return cells


@inner
def _fill_voxels(a, b, width, cells, voxels, counts):
    row = 0
    for dimension in range(2):
        for _ in range(counts[dimension].sum()):
            if cells[row, 0] >= 0:
                _voxels(a, width, dimension, cells[row, :2], voxels[row, :2])
            if cells[row, 2] >= 0:
                _voxels(b, width, dimension, cells[row, 2:], voxels[row, 2:])
            row += 1


@njit(cache=True, nogil=True)
def content_key(words):
    """Two 64-bit numbers that tell apart contents of an array of uint64 words: four lanes of multiply, rotate, add."""
    one, two = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
    lanes = np.array([one, two, one ^ two, one + two], np.uint64)
    n = len(words) // 4 * 4
    l0, l1, l2, l3 = lanes
    for k in range(0, n, 4):
        l0 = _mixed(l0, words[k], two)
        l1 = _mixed(l1, words[k + 1], two)
        l2 = _mixed(l2, words[k + 2], two)
        l3 = _mixed(l3, words[k + 3], two)
    for k in range(n, len(words)):
        l0 = _mixed(l0, words[k], two)
    first = _mixed(_mixed(l0, l1, one), _mixed(l2, l3, one), one)
    second = _mixed(_mixed(l2, l0, two), _mixed(l3, l1, two), two)
    return first, second


@njit(cache=True, nogil=True, inline="always")
def _mixed(lane, word, factor):
    lane = (lane ^ word) * factor
    return (lane << np.uint64(31)) | (lane >> np.uint64(33))


@inner
def _voxels(f, width, dimension, cells, out):
    if dimension == 0:
        out[0], out[1] = cells[0], edge_voxel(f, width, cells[1])
    else:
        out[0], out[1] = edge_voxel(f, width, cells[0]), square_voxel(f, width, cells[1])


@njit(cache=True, nogil=True, inline="always")
def match_one(a, b, local):
    """``(done, rows, counts)`` of one pair. ``local=False`` contracts nothing: slow, and never undone."""
    return match_prepared(a, b, prepare(b, local), local)


@njit(cache=True, nogil=True, inline="always")
def match_prepared(a, b, side, local):
    """As :func:`match_one`, with ``side = prepare(b, local)`` made before."""
    height, width = a.shape
    counts = np.zeros((2, 3), np.int64)
    failed = np.empty((0, 4), np.int32)
    c = np.minimum(a, b)
    fc = c.ravel()
    squares = square_values(fc, height, width)

    up, across, edges = contract(c, local)
    order, levels = ordered(fc, width, edges)
    basin, roots = square_basins(across, height, width)
    holes_c, rest = merge_squares(squares, edges, order, levels, edge_squares(edges, basin, width), roots)
    ends = holes_c[:, 1].copy()

    bars_a, holes_a, images_a, done = bars_and_images(a, squares, ends, local)
    if not done:
        return False, failed, counts
    across_b, edges_b, order_b, levels_b, basin_b, roots_b, sides_b, bars_b = side
    fb = b.ravel()
    holes_b, images_b, _, done = merge_squares_into(
        fb,
        square_values(fb, height, width),
        squares,
        height,
        width,
        across_b,
        edges_b,
        order_b,
        levels_b,
        sides_b,
        basin_b,
        roots_b,
        ends,
        local,
    )
    if not done:
        return False, failed, counts
    done, mates = match_components(
        a.ravel(), fb, fc, height, width, up, edges, order, levels, rest, bars_a, bars_b, local
    )
    if not done:
        return False, failed, counts
    partners = _join(ends, images_a, images_b, height * width)

    rows = np.full((len(bars_a) + len(bars_b) + len(holes_a) + len(holes_b), 4), -1, np.int32)
    used = _emit(rows, np.int64(0), counts[0], bars_a, bars_b, mates)
    used = _emit(rows, used, counts[1], holes_a, holes_b, partners)
    return True, rows[:used], counts


@inner
def _join(ends, images_a, images_b, size):
    """Pairs of holes of a and of b whose image bars end in the same one of the squares ``ends``."""
    where_a = np.full(size, -1, np.int32)
    where_b = np.full(size, -1, np.int32)
    for i in range(len(images_a)):
        if images_a[i] >= 0:
            where_a[images_a[i]] = i
    for j in range(len(images_b)):
        if images_b[j] >= 0:
            where_b[images_b[j]] = j
    mates = np.empty((len(ends), 2), np.int32)
    used = 0
    for k in range(len(ends)):
        i, j = where_a[ends[k]], where_b[ends[k]]
        if i >= 0 and j >= 0:
            mates[used, 0], mates[used, 1] = i, j
            used += 1
    return mates[:used]


@inner
def _emit(rows, used, counts, bars_a, bars_b, mates):
    """Append matched rows, then the rows of one side only."""
    taken_a = np.zeros(len(bars_a), np.bool_)
    taken_b = np.zeros(len(bars_b), np.bool_)
    for k in range(len(mates)):
        i, j = mates[k, 0], mates[k, 1]
        taken_a[i] = taken_b[j] = True
        rows[used, 0], rows[used, 1] = bars_a[i, 0], bars_a[i, 1]
        rows[used, 2], rows[used, 3] = bars_b[j, 0], bars_b[j, 1]
        used += 1
    counts[0] = len(mates)
    for i in range(len(bars_a)):
        if not taken_a[i]:
            rows[used, 0], rows[used, 1] = bars_a[i, 0], bars_a[i, 1]
            used += 1
    counts[1] = len(bars_a) - len(mates)
    for j in range(len(bars_b)):
        if not taken_b[j]:
            rows[used, 2], rows[used, 3] = bars_b[j, 0], bars_b[j, 1]
            used += 1
    counts[2] = len(bars_b) - len(mates)
    return used


def warm():
    """Compile every kernel for the types it is used with, those of volumes too."""
    from lab.kernels.cubical.volumes import pipeline

    pipeline.warm()
    image = np.arange(12.0).reshape(1, 3, 4)
    match_images(image, image.copy())
    barcode_images(image)
    match_known(image[0], image[0], prepare(image[0], True))
    content_key(np.zeros(3, np.uint64))
