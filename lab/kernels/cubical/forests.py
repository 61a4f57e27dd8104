"""Dimensions 0 and 2 of volumes by union-find: components over edges, cavities over squares of the dual graph.

Ascending edges join voxels, the younger component (larger by (rank, voxel)) ends. Descending squares join cubes and the
outside, the younger cavity (smaller by (rank, cube)) is the one that the square begins. Components of a union also
carry their extreme in the order of another volume, which gives the images of bars.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.boxes import edge_rank, square_rank
from lab.kernels.cubical.planar import find


@njit(cache=True, nogil=True)
def components(ranks, edges, step):
    """``(bars, tree)``: rows (voxel, edge) of positive length, and by code whether an edge joins two components."""
    size = len(ranks)
    parent = np.arange(size).astype(np.int32)
    tree = np.zeros(3 * size, np.bool_)
    bars = np.empty((64, 2), np.int32)
    used, left = 0, size - 1
    for k in range(len(edges)):
        if left == 0:
            break
        edge = np.int64(edges[k])
        v = edge // 3
        i, j = find(parent, v), find(parent, v + step[edge % 3])
        if i == j:
            continue
        left -= 1
        tree[edge] = True
        if ranks[j] < ranks[i] or (ranks[j] == ranks[i] and j < i):
            i, j = j, i
        parent[j] = i
        if ranks[j] != edge_rank(ranks, step, edge):
            if used == len(bars):
                bars = _longer(bars)
            bars[used, 0], bars[used, 1] = j, edge
            used += 1
    return bars[:used], tree


@njit(cache=True, nogil=True)
def component_mates(ranks_a, ranks_b, ranks, edges, step, bars_a, bars_b):
    """``(mates, tree)``: pairs of bars of a and of b that go to one bar of c (``ranks``, ``edges``), and its forest."""
    size = len(ranks)
    parent = np.arange(size).astype(np.int32)
    least_a, least_b = parent.copy(), parent.copy()
    tree = np.zeros(3 * size, np.bool_)
    bar_a, bar_b = _index(bars_a[:, 0], size), _index(bars_b[:, 0], size)
    mates = np.empty((min(len(bars_a), len(bars_b)), 2), np.int32)
    used, left = 0, size - 1
    for k in range(len(edges)):
        if left == 0:
            break
        edge = np.int64(edges[k])
        v = edge // 3
        i, j = find(parent, v), find(parent, v + step[edge % 3])
        if i == j:
            continue
        left -= 1
        tree[edge] = True
        if ranks[j] < ranks[i] or (ranks[j] == ranks[i] and j < i):
            i, j = j, i
        parent[j] = i
        first_a, last_a = _sorted_pair(ranks_a, least_a[i], least_a[j])
        first_b, last_b = _sorted_pair(ranks_b, least_b[i], least_b[j])
        least_a[i], least_b[i] = first_a, first_b
        if ranks[j] != edge_rank(ranks, step, edge) and bar_a[last_a] >= 0 and bar_b[last_b] >= 0:
            mates[used, 0], mates[used, 1] = bar_a[last_a], bar_b[last_b]
            used += 1
    return mates[:used], tree


@njit(cache=True, nogil=True)
def cavities(ranks, cubes, others, squares, step):
    """``(bars, images, begins)`` of the volume with ``ranks`` and the keys ``cubes``.

    ``bars`` are rows (square, cube) of positive length, ``images`` the cube in which the image of each ends in the
    volume with cube keys ``others``, ``begins`` says by code which squares begin a cavity of any length.
    """
    size = len(cubes)
    parent = np.empty(size + 1, np.int32)
    left = 0
    for v in range(size):
        parent[v] = v if cubes[v] >= 0 else size
        left += cubes[v] >= 0
    parent[size] = size
    most = np.arange(size + 1).astype(np.int32)
    begins = np.zeros(3 * size, np.bool_)
    bars = np.empty((64, 2), np.int32)
    images = np.empty(64, np.int32)
    used = 0
    for k in range(len(squares) - 1, -1, -1):
        if left == 0:
            break
        square = np.int64(squares[k])
        v = square // 3
        w = v - step[square % 3]  # beside the volume's lower sides this is an anchor without a cube, or negative
        i, j = find(parent, v), find(parent, size if w < 0 else w)
        if i == j:
            continue
        left -= 1
        begins[square] = True
        if i != size and (j == size or cubes[j] > cubes[i] or (cubes[j] == cubes[i] and j > i)):
            i, j = j, i
        parent[j] = i
        mi, mj = most[i], most[j]
        if mi != size and (mj == size or others[mj] > others[mi] or (others[mj] == others[mi] and mj > mi)):
            mi, mj = mj, mi
        most[i] = mi
        if cubes[j] != square_rank(ranks, step, square):
            if used == len(bars):
                bars, images = _longer(bars), np.append(images, images)
            bars[used, 0], bars[used, 1] = square, j
            images[used] = mj
            used += 1
    return bars[:used], images[:used], begins


@njit(cache=True, nogil=True)
def _index(cells, size):
    where = np.full(size, -1, np.int32)
    for k in range(len(cells)):
        where[cells[k]] = k
    return where


@njit(cache=True, nogil=True)
def _sorted_pair(ranks, v, w):
    if ranks[w] < ranks[v] or (ranks[w] == ranks[v] and w < v):
        return w, v
    return v, w


@njit(cache=True, nogil=True)
def _longer(rows):
    result = np.empty((2 * len(rows), 2), np.int32)
    result[: len(rows)] = rows
    return result
