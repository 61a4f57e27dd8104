"""Passes over a volume with comparisons alone: how each cell lies among its neighbours.

- ``faces``: the last edge of every square: 1 the near one along its second axis, 2 the far one along its first, 3 the
  far one along its second. The other edge at the anchor is never last.
- ``cofaces``: the first square at every edge. With ``u < w`` the axes beside the edge's: 1 towards lower ``u``, 2 lower
  ``w``, 3 higher ``w``, 4 higher ``u``, which is the order of their codes.
- ``steps_down``: where a voxel's first edge leads if it has the voxel's level (1 to 6: lower x, y, z, higher x, y, z).
- ``steps_out``: across which of its squares, the last one, a cube is left (1 to 3: higher x, y, z; 4: lower z).

An edge that is the last of a square closes a cycle and joins nothing; a square that is the first at an edge closes one
of the dual graph. An edge and a square that name each other are a pair of the reduction as they stand.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.volumes.cells import strides

# the number under which an edge along the first (second) axis of a square has that square, on either side
HIGHER_SECOND, LOWER_SECOND = (3, 3, 4), (2, 2, 1)
HIGHER_FIRST, LOWER_FIRST = (3, 4, 4), (2, 1, 1)
ABSENT = 3  # marks of edges and squares: 0 unknown, 1 joins, 2 joins nothing, 3 not there


@njit(cache=True, nogil=True)
def _rows(shape, cell, kind):
    """Numbers of cells along the axes for edges (1), squares (2) of a kind, and cubes (3)."""
    nx, ny, nz = shape
    if cell == 1:
        return nx - (kind == 0), ny - (kind == 1), nz - (kind == 2)
    if cell == 2:
        return nx - (kind != 0), ny - (kind != 1), nz - (kind != 2)
    return nx - 1, ny - 1, nz - 1


@njit(cache=True, nogil=True)
def _larger(r, one, two, n, out):
    near, far = r[one : one + n], r[two : two + n]
    for z in range(n):
        out[z] = max(near[z], far[z])


@njit(cache=True, nogil=True)
def faces(r, shape):
    """The last edge of every square."""
    step, size = strides(shape), len(r)
    found = np.zeros(3 * size, np.uint8)
    near, far = np.empty(shape[2], np.int32), np.empty(shape[2], np.int32)
    one, two, three = np.uint8(1), np.uint8(2), np.uint8(3)
    for t in range(3):
        p, q = step[1 if t == 0 else 0], step[1 if t == 2 else 2]
        nx, ny, n = _rows(shape, 2, t)
        for x in range(nx):
            for y in range(ny):
                base = (x + 1) * step[0] + y * step[1]
                _larger(r, base, base + q, n, near)
                _larger(r, base + p, base + p + q, n, far)
                first, last = r[base : base + n], r[base + q : base + q + n]
                out = found[t * size + base : t * size + base + n]
                for z in range(n):
                    code = two if last[z] >= first[z] else one
                    out[z] = three if far[z] >= near[z] else code
    return found


@njit(cache=True, nogil=True)
def cofaces(r, shape):
    """The first square at every edge."""
    step, size = strides(shape), len(r)
    found = np.zeros(3 * size, np.uint8)
    own, best = np.empty(shape[2], np.int32), np.empty(shape[2], np.int32)
    for t in range(3):
        u, w = step[1 if t == 0 else 0], step[1 if t == 2 else 2]
        nx, ny, n = _rows(shape, 1, t)
        for x in range(nx):
            for y in range(ny):
                base = (x + 1) * step[0] + y * step[1]
                _larger(r, base, base + step[t], n, own)
                out = found[t * size + base : t * size + base + n]
                out[:] = 1
                _larger(r, base - u, base - u + step[t], n, best)
                for z in range(n):
                    best[z] = max(best[z], own[z])
                _earlier(r, base - w, step[t], n, own, best, out, np.uint8(2))
                _earlier(r, base + w, step[t], n, own, best, out, np.uint8(3))
                _earlier(r, base + u, step[t], n, own, best, out, np.uint8(4))
    return found


@njit(cache=True, nogil=True)
def _earlier(r, base, step, n, own, best, out, code):
    near, far = r[base : base + n], r[base + step : base + step + n]
    for z in range(n):
        level = max(own[z], max(near[z], far[z]))
        out[z] = code if level < best[z] else out[z]
        best[z] = min(best[z], level)


@njit(cache=True, nogil=True)
def steps_down(r, shape):
    """Where a voxel's first edge leads, 0 where it has a higher level than the voxel."""
    step = strides(shape)
    nx, ny, nz = shape
    found = np.zeros(len(r), np.uint8)
    for x in range(nx):
        for y in range(ny):
            base = (x + 1) * step[0] + y * step[1]
            for k in range(5, -1, -1):
                shift = base + step[k - 3] if k > 2 else base - step[k]
                _not_above(r[base : base + nz], r[shift : shift + nz], found[base : base + nz], np.uint8(k + 1))
    return found


@njit(cache=True, nogil=True)
def _not_above(here, there, out, code):
    for z in range(len(here)):
        out[z] = code if there[z] <= here[z] else out[z]


@njit(cache=True, nogil=True)
def steps_out(r, shape):
    """Through which square a cube is left."""
    step = strides(shape)
    found = np.zeros(len(r), np.uint8)
    nx, ny, n = _rows(shape, 3, 0)
    low, high, far = np.empty(shape[2], np.int32), np.empty(shape[2], np.int32), np.empty(shape[2], np.int32)
    other = np.empty(shape[2], np.int32)
    for x in range(nx):
        for y in range(ny):
            base = (x + 1) * step[0] + y * step[1]
            _larger(r, base, base + 1, n, low)
            _larger(r, base + step[1], base + step[1] + 1, n, high)
            _larger(r, base + step[0], base + step[0] + 1, n, far)
            _larger(r, base + step[0] + step[1], base + step[0] + step[1] + 1, n, other)
            here, next_ = r[base : base + n], r[base + 1 : base + 1 + n]
            out = found[base : base + n]
            for z in range(n):
                code = np.uint8(3) if next_[z] >= here[z] else np.uint8(4)
                out[z] = np.uint8(2) if high[z] >= low[z] else code
            for z in range(n):
                out[z] = np.uint8(1) if max(far[z], other[z]) >= max(low[z], high[z]) else out[z]
    return found


@njit(cache=True, nogil=True)
def marked_edges(down, last, shape):
    """By edge: 1 where a voxel goes down along it, 2 where it is the last of a square, else 0; ``last = faces(r)``."""
    step, size = strides(shape), len(down)
    marks = np.full(3 * size, np.uint8(ABSENT), np.uint8)
    for t in range(3):
        nx, ny, n = _rows(shape, 1, t)
        for x in range(nx):
            for y in range(ny):
                base = (x + 1) * step[0] + y * step[1]
                out = marks[t * size + base : t * size + base + n]
                out[:] = 0
                if t == 0:
                    _mark(out, last, size + base - 1, 2, 2)
                    _mark(out, last, 2 * size + base - step[1], 2, 2)
                elif t == 1:
                    _mark(out, last, base - 1, 2, 2)
                    _mark(out, last, 2 * size + base - step[0], 3, 2)
                    _mark(out, last, 2 * size + base, 1, 2)
                else:
                    _mark(out, last, base - step[1], 3, 2)
                    _mark(out, last, base, 1, 2)
                    _mark(out, last, size + base - step[0], 3, 2)
                    _mark(out, last, size + base, 1, 2)
                _mark(out, down, base, t + 4, 1)
                _mark(out, down, base + step[t], t + 1, 1)
    return marks


@njit(cache=True, nogil=True)
def marked_squares(out, first, shape):
    """By square: 1 where a cube is left through it, 2 where it is the first at an edge, else 0; ``first = cofaces(r)``."""
    step, size = strides(shape), len(out)
    marks = np.full(3 * size, np.uint8(ABSENT), np.uint8)
    for t in range(3):
        p, q = 1 if t == 0 else 0, 1 if t == 2 else 2
        nx, ny, n = _rows(shape, 2, t)
        for x in range(nx):
            for y in range(ny):
                base = (x + 1) * step[0] + y * step[1]
                row = marks[t * size + base : t * size + base + n]
                row[:] = 0
                _mark(row, first, p * size + base, HIGHER_SECOND[t], 2)
                _mark(row, first, q * size + base, HIGHER_FIRST[t], 2)
                _mark(row, first, p * size + base + step[q], LOWER_SECOND[t], 2)
                _mark(row, first, q * size + base + step[p], LOWER_FIRST[t], 2)
                _mark(row, out, base - step[t], t + 1, 1)
                if t == 2:
                    _mark(row, out, base, 4, 1)
    return marks


@njit(cache=True, nogil=True)
def _mark(row, codes, base, code, mark):
    here, code, mark = codes[base : base + len(row)], np.uint8(code), np.uint8(mark)
    for z in range(len(row)):
        row[z] = mark if here[z] == code else row[z]


@njit(cache=True, nogil=True)
def columns_left(marks, last, first, shape):
    """Codes of the squares that enter the reduction, ascending: not marked 1, and not named by their own last edge.

    ``marks`` and ``first`` come from the levels that order the columns, ``last`` from those that order the rows.
    """
    step, size = strides(shape), len(marks) // 3
    nx, ny, nz = shape
    left = np.zeros((3, nz), np.bool_)
    found = np.empty(max(1024, size // 8), np.int32)
    used = 0
    for x in range(nx):
        for y in range(ny):
            base = (x + 1) * step[0] + y * step[1]
            for t in range(3):
                p, q = 1 if t == 0 else 0, 1 if t == 2 else 2
                _unpaired(
                    left[t],
                    marks[t * size + base :],
                    last[t * size + base :],
                    first[q * size + base + step[p] :],
                    first[p * size + base + step[q] :],
                    first[q * size + base :],
                    np.uint8(LOWER_FIRST[t]),
                    np.uint8(LOWER_SECOND[t]),
                    np.uint8(HIGHER_FIRST[t]),
                )
            if used + 3 * nz > len(found):
                grown = np.empty(2 * len(found) + 3 * nz, np.int32)
                grown[:used] = found[:used]
                found = grown
            for z in range(nz):
                for t in range(3):
                    found[used] = 4 * (base + z) + t
                    used += left[t, z]
    return found[:used].copy()


@njit(cache=True, nogil=True)
def _unpaired(out, marks, last, far, beside, near, lower_first, lower_second, higher_first):
    for z in range(len(out)):
        paired = ((last[z] == 3) & (far[z] == lower_first)) | ((last[z] == 2) & (beside[z] == lower_second))
        paired |= (last[z] == 1) & (near[z] == higher_first)
        out[z] = ((marks[z] == 0) | (marks[z] == 2)) & (not paired)
