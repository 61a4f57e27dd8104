"""Cells of a volume: the frame they lie in, their codes, levels and voxels.

Inside the kernels a volume has a frame of voxels that enter after all others: one plane before and behind, one row
after each plane, one voxel after each row, which is also the one before the next row. No pass has to ask where the
volume ends: a cell that reaches into the frame is later than every other one.

A vertex or a cube is its voxel (lowest corner), an edge ``4 * anchor + axis``, a square ``4 * anchor + type`` with
``type`` the axis it is orthogonal to. Cells of one dimension are ordered by (level, code), which is one int64 key, and
the level of a cell is the largest of its voxels. Arrays over edges or squares hold one plane for each axis.

Outside the kernels a cell is ``3 * anchor + type`` with anchors of the volume as it came (:func:`public`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

OUTSIDE = np.int32(2**31 - 1)  # the level of the frame
MOST = 1 << 29  # framed voxels whose cells fit 31 bits


@njit(cache=True, nogil=True)
def strides(shape):
    """Steps of flat indices along the three axes of the framed volume."""
    return np.array([(shape[1] + 1) * (shape[2] + 1), shape[2] + 1, 1], np.int64)


def framed_size(shape) -> int:
    """Voxels of the framed volume."""
    return (shape[0] + 2) * (shape[1] + 1) * (shape[2] + 1)


@njit(cache=True, nogil=True)
def framed(flat, shape):
    """The levels ``flat`` (C-order) in their frame."""
    nx, ny, nz = shape
    step = strides(shape)
    out = np.full((nx + 2) * step[0], OUTSIDE, np.int32)
    for x in range(nx):
        for y in range(ny):
            row, base = (x * ny + y) * nz, (x + 1) * step[0] + y * step[1]
            out[base : base + nz] = flat[row : row + nz]
    return out


@njit(cache=True, nogil=True, inline="always")
def sides(kind):
    """The two axes of a square of type ``kind``."""
    return 1 if kind == 0 else 0, 1 if kind == 2 else 2


@njit(cache=True, nogil=True, inline="always")
def edge_level(r, step, edge):
    v = edge >> 2
    return max(r[v], r[v + step[edge & 3]])


@njit(cache=True, nogil=True, inline="always")
def square_level(r, step, square):
    v = square >> 2
    p, q = sides(square & 3)
    return max(max(r[v], r[v + step[p]]), max(r[v + step[q]], r[v + step[p] + step[q]]))


@njit(cache=True, nogil=True, inline="always")
def cube_level(r, step, v):
    w = v + step[0]
    near = max(max(r[v], r[v + 1]), max(r[v + step[1]], r[v + step[1] + 1]))
    return max(near, max(max(r[w], r[w + 1]), max(r[w + step[1]], r[w + step[1] + 1])))


@njit(cache=True, nogil=True)
def public(shape, dimension, cell):
    """The number under which a cell is known outside the kernels."""
    step = strides(shape)
    between = dimension == 1 or dimension == 2
    v = (cell >> 2 if between else cell) - step[0]
    x, rest = v // step[0], v % step[0]
    flat = (x * shape[1] + rest // step[1]) * shape[2] + rest % step[1]
    return 3 * flat + (cell & 3) if between else flat


@njit(cache=True, nogil=True)
def internal(shape, dimension, cell):
    """The reverse of :func:`public`."""
    step = strides(shape)
    between = dimension == 1 or dimension == 2
    flat = cell // 3 if between else cell
    z, rest = flat % shape[2], flat // shape[2]
    v = (rest // shape[1] + 1) * step[0] + rest % shape[1] * step[1] + z
    return 4 * v + cell % 3 if between else v


@njit(cache=True, nogil=True)
def cell_voxel(f, shape, dimension, cell):
    """The voxel that carries the value of the cell with the public number ``cell``. Of equal ones: for edges and squares
    the far corner, then those along the cell's axes in turn, then the anchor; for cubes the first in C-order."""
    step = np.array([shape[1] * shape[2], shape[2], 1], np.int64)
    if dimension == 0:
        return np.int64(cell)
    if dimension == 3:
        best = np.int64(cell)
        for k in range(1, 8):
            v = cell + (k >> 2 & 1) * step[0] + (k >> 1 & 1) * step[1] + (k & 1) * step[2]
            if f[v] > f[best]:
                best = v
        return best
    v, t = np.int64(cell) // 3, np.int64(cell) % 3
    if dimension == 1:
        far = v + step[t]
        return far if f[far] >= f[v] else v
    p, q = sides(t)
    one, two = step[p], step[q]
    best = v + one + two
    for w in (v + one, v + two, v):
        if f[w] > f[best]:
            best = w
    return best
