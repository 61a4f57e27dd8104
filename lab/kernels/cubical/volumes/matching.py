"""Which bars of two volumes go to one bar of their minimum ``c``, and rows of cells and voxels from what was found."""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.volumes.cells import (
    OUTSIDE,
    cell_voxel,
    cube_level,
    edge_level,
    public,
    sides,
    square_level,
    strides,
)
from lab.kernels.cubical.volumes.gradient_trees import highest


@njit(cache=True, nogil=True)
def joined(a, b):
    """``(c, a known, b known)``: the levels of the minimum, which is 0 where it is least, and which images are its own.

    Only bars of ``c`` that end above its least level 0 are asked for, so cells at that level may take any order. Where
    one volume is below its own largest level only where ``c`` is least (a mask), these cells take the order of that
    volume, below 0. Then its image in ``c`` has the rows of ``c`` itself, up to an order among rows of its largest level,
    at which none of its bars of positive length begins: both reductions are one.
    """
    size = len(a)
    c = np.empty(size, np.int32)
    for k in range(size):
        c[k] = min(a[k], b[k])
    for turn in range(2):
        mask = a if turn else b
        top = highest(mask)
        known = True
        for k in range(size):
            known &= mask[k] >= top or c[k] == 0
        if known:
            for k in range(size):
                if mask[k] < top:
                    c[k] = mask[k] - top
            return c, turn == 1, turn == 0
    return c, False, False


@njit(cache=True, nogil=True)
def least_reordered(r, c):
    """``(levels, changed)``: ``c`` with its cells at level 0 and below in the order of ``r``, if they are many: their order
    is free, and in this one most columns of the image of ``r`` stay as they are."""
    size, count, low = len(c), 0, 0
    for k in range(size):
        low += c[k] <= 0
        count += c[k] != OUTSIDE
    if 100 * low < count:
        return c, False
    top = highest(r)
    levels = np.empty(size, np.int32)
    for k in range(size):
        levels[k] = r[k] - top if c[k] <= 0 else c[k]
    return levels, True


@njit(cache=True, nogil=True)
def loops(r, squares, found, shape):
    """Rows (edge, square) of positive length."""
    step = strides(shape)
    bars = np.empty((len(squares), 2), np.int32)
    used = 0
    for k in range(len(squares)):
        if edge_level(r, step, np.int64(found[k])) != square_level(r, step, np.int64(squares[k])):
            bars[used, 0], bars[used, 1] = found[k], squares[k]
            used += 1
    return bars[:used].copy()


@njit(cache=True, nogil=True)
def loops_of_minimum(c, squares, found, shape):
    """Squares, ascending, that end a loop of c of positive length above its least level, and the edges that begin it."""
    step = strides(shape)
    ends, begins = np.empty_like(squares), np.empty_like(found)
    used = 0
    for k in range(len(squares)):
        if max(edge_level(c, step, np.int64(found[k])), 0) < square_level(c, step, np.int64(squares[k])):
            ends[used], begins[used] = squares[k], found[k]
            used += 1
    return ends[:used].copy(), begins[:used].copy()


@njit(cache=True, nogil=True)
def creators(ends, squares, found, last, shape):
    """By square of ``ends`` the edge it is paired with: as ``found``, or its last edge where it is not a column."""
    step, size = strides(shape), len(last) // 3
    out = np.empty(len(ends), np.int32)
    k = 0
    for i in range(len(ends)):
        while k < len(squares) and squares[k] < ends[i]:
            k += 1
        if k < len(squares) and squares[k] == ends[i]:
            out[i] = found[k]
            continue
        v, t = np.int64(ends[i]) >> 2, np.int64(ends[i]) & 3
        p, q = sides(t)
        number = last[t * size + v]
        if number == 2:
            out[i] = 4 * (v + step[q]) + p
        else:
            out[i] = 4 * (v + step[p] if number == 3 else v) + q
    return out


@njit(cache=True, nogil=True)
def loop_mates(images_a, images_b, loops_a, loops_b, size):
    """Pairs of loops of a and of b whose images begin as said and end in one square."""
    where = np.full(3 * size, -1, np.int32)
    mine = np.full(len(images_a), -1, np.int32)
    mates = np.empty((len(images_a), 2), np.int32)
    for i in range(len(loops_a)):
        where[(loops_a[i, 0] & 3) * size + (loops_a[i, 0] >> 2)] = i
    for k in range(len(images_a)):
        mine[k] = where[(images_a[k] & 3) * size + (images_a[k] >> 2)]
    where[:] = -1
    for i in range(len(loops_b)):
        where[(loops_b[i, 0] & 3) * size + (loops_b[i, 0] >> 2)] = i
    used = 0
    for k in range(len(images_b)):
        theirs = where[(images_b[k] & 3) * size + (images_b[k] >> 2)]
        if mine[k] >= 0 and theirs >= 0:
            mates[used, 0], mates[used, 1] = mine[k], theirs
            used += 1
    return mates[:used].copy()


@njit(cache=True, nogil=True)
def cavity_mates(c, holes_c, ends_a, ends_b, shape):
    """Pairs of cavities whose images end in the cube that ends a cavity of c of positive length."""
    step = strides(shape)
    where_a, where_b = np.full(len(c), -1, np.int32), np.full(len(c), -1, np.int32)
    for i in range(len(ends_a)):
        where_a[ends_a[i]] = i
    for j in range(len(ends_b)):
        where_b[ends_b[j]] = j
    mates = np.empty((len(holes_c), 2), np.int32)
    used = 0
    for k in range(len(holes_c)):
        square, cube = np.int64(holes_c[k, 0]), np.int64(holes_c[k, 1])
        i, j = where_a[cube], where_b[cube]
        if i >= 0 and j >= 0 and cube_level(c, step, cube) > max(square_level(c, step, square), 0):
            mates[used, 0], mates[used, 1] = i, j
            used += 1
    return mates[:used].copy()


@njit(cache=True, nogil=True)
def rows(shape, a, b, bars_a, bars_b, mates):
    """``(cells, voxels, counts)`` from the bars of both sides and their mates, by dimension; ``a``, ``b`` flat values."""
    counts = np.zeros((3, 3), np.int64)
    total = 0
    for d in range(3):
        total += len(bars_a[d]) + len(bars_b[d]) - len(mates[d])
    cells = np.full((total, 4), -1, np.int64)
    voxels = np.full((total, 4), -1, np.int64)
    used = 0
    for d in range(3):
        stop = _emit(cells, used, counts[d], bars_a[d], bars_b[d], mates[d])
        for row in range(used, stop):
            for column in range(4):
                if cells[row, column] >= 0:
                    cell = public(shape, d + (column & 1), cells[row, column])
                    cells[row, column] = cell
                    voxels[row, column] = cell_voxel(a if column < 2 else b, shape, d + (column & 1), cell)
        used = stop
    return cells, voxels, counts


@njit(cache=True, nogil=True)
def _emit(cells, used, counts, bars_a, bars_b, mates):
    """Append matched rows, then the rows of one side only."""
    taken_a, taken_b = np.zeros(len(bars_a), np.bool_), np.zeros(len(bars_b), np.bool_)
    for k in range(len(mates)):
        i, j = mates[k, 0], mates[k, 1]
        taken_a[i] = taken_b[j] = True
        cells[used, 0], cells[used, 1] = bars_a[i, 0], bars_a[i, 1]
        cells[used, 2], cells[used, 3] = bars_b[j, 0], bars_b[j, 1]
        used += 1
    for i in range(len(bars_a)):
        if not taken_a[i]:
            cells[used, 0], cells[used, 1] = bars_a[i, 0], bars_a[i, 1]
            used += 1
    for j in range(len(bars_b)):
        if not taken_b[j]:
            cells[used, 2], cells[used, 3] = bars_b[j, 0], bars_b[j, 1]
            used += 1
    counts[0], counts[1], counts[2] = len(mates), len(bars_a) - len(mates), len(bars_b) - len(mates)
    return used


@njit(cache=True, nogil=True)
def one_sided(shape, f, bars):
    """``(cells, voxels)`` of the bars of one volume, by dimension; ``f`` flat values."""
    total = len(bars[0]) + len(bars[1]) + len(bars[2])
    cells, voxels = np.empty((total, 2), np.int64), np.empty((total, 2), np.int64)
    used = 0
    for d in range(3):
        for k in range(len(bars[d])):
            for column in range(2):
                cells[used, column] = public(shape, d + column, np.int64(bars[d][k, column]))
                voxels[used, column] = cell_voxel(f, shape, d + column, cells[used, column])
            used += 1
    return cells, voxels
