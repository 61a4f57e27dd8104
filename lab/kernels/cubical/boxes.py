"""Cells of a volume and their order: codes, dense ranks, sorted cells, voxels.

A vertex or a cube is its voxel (flat, C-order, lowest corner), an edge ``3 * anchor + axis``, a square ``3 * anchor +
type`` with ``type`` the axis it is orthogonal to. Cells of one dimension are ordered by (value, code). Values are
replaced by dense ranks (equal values, equal ranks), so that a cell's key is the largest rank of its voxels and one
counting sort in code order gives the order of cells, ties included.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.planar import stable_order


@njit(cache=True, nogil=True)
def strides(shape):
    """Steps of flat indices along the three axes."""
    return np.array([shape[1] * shape[2], shape[2], 1], np.int64)


@njit(cache=True, nogil=True)
def dense_ranks(flat):
    """``(ranks, count)``: int32 ranks of the values, equal where the values are."""
    order, levels = stable_order(flat)
    ranks = np.empty(len(flat), np.int32)
    last = 0
    for k in range(len(flat)):
        if k and levels[k] != levels[k - 1]:
            last += 1
        ranks[order[k]] = last
    return ranks, last + 1


@njit(cache=True, nogil=True)
def cube_ranks(ranks, shape):
    """Key of every cube with the volume's strides; -1 where an anchor has no cube."""
    nx, ny, nz = shape
    keys = np.full(nx * ny * nz, -1, np.int32)
    column = np.empty(nz, np.int32)
    for x in range(nx - 1):
        for y in range(ny - 1):
            base = (x * ny + y) * nz
            for z in range(nz):
                v = base + z
                near = max(ranks[v], ranks[v + nz])
                column[z] = max(near, max(ranks[v + ny * nz], ranks[v + ny * nz + nz]))
            for z in range(nz - 1):
                keys[base + z] = max(column[z], column[z + 1])
    return keys


@njit(cache=True, nogil=True)
def sorted_cells(ranks, count, shape, squares):
    """Codes of all edges (or squares), int32, in the order (value, code)."""
    nx, ny, nz = shape
    step = strides(shape)
    size = nx * ny * nz
    keys = np.full(3 * size, -1, np.int32)
    begins = np.zeros(count + 1, np.int32)
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                v = (x * ny + y) * nz + z
                more = (x < nx - 1, y < ny - 1, z < nz - 1)
                for t in range(3):
                    if squares:
                        p, q = (1 if t == 0 else 0), (1 if t == 2 else 2)
                        if not (more[p] and more[q]):
                            continue
                        one, two = step[p], step[q]
                        key = max(max(ranks[v], ranks[v + one]), max(ranks[v + two], ranks[v + one + two]))
                    else:
                        if not more[t]:
                            continue
                        key = max(ranks[v], ranks[v + step[t]])
                    keys[3 * v + t] = key
                    begins[key + 1] += 1
    for k in range(count):
        begins[k + 1] += begins[k]
    order = np.empty(begins[count], np.int32)
    for cell in range(3 * size):
        key = keys[cell]
        if key >= 0:
            order[begins[key]] = cell
            begins[key] += 1
    return order


@njit(cache=True, nogil=True)
def edge_rank(ranks, step, edge):
    v = edge // 3
    return max(ranks[v], ranks[v + step[edge % 3]])


@njit(cache=True, nogil=True)
def square_rank(ranks, step, square):
    v, t = square // 3, square % 3
    one, two = step[1 if t == 0 else 0], step[1 if t == 2 else 2]
    return max(max(ranks[v], ranks[v + one]), max(ranks[v + two], ranks[v + one + two]))


@njit(cache=True, nogil=True)
def cell_voxel(f, step, dimension, cell):
    """The voxel that carries the cell's value. Of equal ones: for edges and squares the far corner, then those along the
    cell's axes in turn, then the anchor; for cubes the first in C-order."""
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
    one, two = step[1 if t == 0 else 0], step[1 if t == 2 else 2]
    best = v + one + two
    for w in (v + one, v + two, v):
        if f[w] > f[best]:
            best = w
    return best
