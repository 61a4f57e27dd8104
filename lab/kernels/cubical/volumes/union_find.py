"""Dimensions 0 and 2 by union-find: components over ascending edges, cavities over descending squares of the dual graph.

Only edges and squares that no step uses, that are not known to close a cycle and that join two basins are sorted. The
younger component (larger by (level, voxel)) ends; the younger cavity (smaller by (level, cube)) is the one that the
square begins. Components of a union also carry their extreme in the order of another volume, which gives the images of
bars.

The marks of edges and squares are completed on the way: 1 for those of the two spanning forests.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.images.cells import find
from lab.kernels.cubical.volumes import discrete_gradient, gradient_trees
from lab.kernels.cubical.volumes.cells import cube_level, edge_level, square_level, strides
from lab.kernels.cubical.volumes.levels import ascending


@njit(cache=True, nogil=True)
def components(r, last, shape):
    """``(bars, marks)``: rows (voxel, edge) of positive length, and the marks of edges; ``last = faces(r)``."""
    step = strides(shape)
    down = discrete_gradient.steps_down(r, shape)
    marks = discrete_gradient.marked_edges(down, last, shape)
    basin, roots = gradient_trees.voxel_basins(down, shape)
    edges, ends = _left(marks, basin, shape, 1)
    parent = np.arange(len(roots)).astype(np.int32)
    bars = np.empty((max(len(roots) - 1, 0), 2), np.int32)
    used, left = 0, len(roots) - 1
    for k in _ascending(r, step, edges, False):
        if left == 0:
            break
        i, j = find(parent, ends[k, 0]), find(parent, ends[k, 1])
        if i == j:
            continue
        left -= 1
        edge = np.int64(edges[k])
        marks[(edge & 3) * len(r) + (edge >> 2)] = 1
        if _before(r, roots[j], roots[i]):
            i, j = j, i
        parent[j] = i
        if r[roots[j]] != edge_level(r, step, edge):
            bars[used, 0], bars[used, 1] = roots[j], edge
            used += 1
    return bars[:used].copy(), marks


@njit(cache=True, nogil=True)
def component_mates(a, b, c, last, shape, bars_a, bars_b):
    """``(mates, marks)``: pairs of bars of a and of b that go to one bar of c, and the marks of the edges of c;
    ``last = faces(c)``. No bar of c ends at level 0 or below."""
    step = strides(shape)
    down = gradient_trees.followed_down(discrete_gradient.steps_down(c, shape), c, a, b, shape)
    marks = discrete_gradient.marked_edges(down, last, shape)
    basin, roots = gradient_trees.voxel_basins(down, shape)
    edges, ends = _left(marks, basin, shape, 1)
    least_a = gradient_trees.least_members(basin, roots, a, c, shape)
    least_b = gradient_trees.least_members(basin, roots, b, c, shape)
    parent = np.arange(len(roots)).astype(np.int32)
    bar_a, bar_b = _index(bars_a[:, 0], len(c)), _index(bars_b[:, 0], len(c))
    mates = np.empty((min(len(bars_a), len(bars_b)), 2), np.int32)
    used, left = 0, len(roots) - 1
    for k in _ascending(c, step, edges, False):
        if left == 0:
            break
        i, j = find(parent, ends[k, 0]), find(parent, ends[k, 1])
        if i == j:
            continue
        left -= 1
        edge = np.int64(edges[k])
        marks[(edge & 3) * len(c) + (edge >> 2)] = 1
        if _before(c, roots[j], roots[i]):
            i, j = j, i
        parent[j] = i
        one, two = least_a[i], least_a[j]
        least_a[i], last_a = (two, one) if _before(a, two, one) else (one, two)
        one, two = least_b[i], least_b[j]
        least_b[i], last_b = (two, one) if _before(b, two, one) else (one, two)
        if max(c[roots[j]], 0) < edge_level(c, step, edge) and bar_a[last_a] >= 0 and bar_b[last_b] >= 0:
            mates[used, 0], mates[used, 1] = bar_a[last_a], bar_b[last_b]
            used += 1
    return mates[:used].copy(), marks


@njit(cache=True, nogil=True)
def cavities(r, first, shape):
    """``(bars, marks)``: rows (square, cube) of positive length, and the marks of squares; ``first = cofaces(r)``."""
    out = discrete_gradient.steps_out(r, shape)
    marks = discrete_gradient.marked_squares(out, first, shape)
    basin, roots = gradient_trees.cube_basins(out, shape)
    bars, _ = _holes(r, marks, basin, roots, roots, np.empty(0, np.int32), shape)
    return bars, marks


@njit(cache=True, nogil=True)
def cavity_images(r, first, c, shape):
    """``(bars, images)``: the bars of :func:`cavities`, and the cube in which the image of each ends in the volume with
    the levels ``c`` of cubes, none of whose bars ends at level 0 or below."""
    out = gradient_trees.followed_out(discrete_gradient.steps_out(r, shape), r, c, shape)
    marks = discrete_gradient.marked_squares(out, first, shape)
    basin, roots = gradient_trees.cube_basins(out, shape)
    roots = gradient_trees.last_members(basin, roots, gradient_trees.cube_levels(r, shape), shape)
    return _holes(r, marks, basin, roots, gradient_trees.last_members(basin, roots, c, shape), c, shape)


@njit(cache=True, nogil=True)
def _holes(r, marks, basin, roots, last, c, shape):
    step = strides(shape)
    squares, ends = _left(marks, basin, shape, -1)
    levels = np.empty(len(roots), np.int32)
    for i in range(1, len(roots)):
        levels[i] = cube_level(r, step, roots[i])
    most = last.copy()
    parent = np.arange(len(roots)).astype(np.int32)
    bars, images = np.empty((len(roots) - 1, 2), np.int32), np.empty(len(roots) - 1, np.int32)
    used, left = 0, len(roots) - 1
    for k in _ascending(r, step, squares, True)[::-1]:
        if left == 0:
            break
        i, j = find(parent, ends[k, 0]), find(parent, ends[k, 1])
        if i == j:
            continue
        left -= 1
        square = np.int64(squares[k])
        marks[(square & 3) * len(r) + (square >> 2)] = 1
        if i and (j == 0 or levels[j] > levels[i] or (levels[j] == levels[i] and roots[j] > roots[i])):
            i, j = j, i
        parent[j] = i
        end = roots[j]
        if len(c):
            one, two = most[i], most[j]  # 0: the outside, after every cube
            swap = one and (two == 0 or c[two] > c[one] or (c[two] == c[one] and two > one))
            most[i], end = (two, one) if swap else (one, two)
        if levels[j] != square_level(r, step, square):
            bars[used, 0], bars[used, 1] = square, roots[j]
            images[used] = end
            used += 1
    return bars[:used].copy(), images[:used].copy()


@njit(cache=True, nogil=True)
def _left(marks, basin, shape, way):
    """Codes and basins of the cells without a mark that join two basins, in the order of codes: edges and the voxels at
    their ends (``way`` 1), or squares and the cubes beside them (``way`` -1)."""
    step, size = strides(shape), len(basin)
    nx, ny, nz = shape
    found, ends = np.empty(1024, np.int32), np.empty((1024, 2), np.int32)
    used = 0
    for x in range(nx):
        for y in range(ny):
            base = (x + 1) * step[0] + y * step[1]
            if used + 3 * nz > len(found):
                found, ends = _grown(found, used + 3 * nz), _grown_pairs(ends, used + 3 * nz)
            used = _left_in_row(marks, basin, way * step, size, base, nz, found, ends, used)
    return found[:used], ends[:used]


@njit(cache=True, nogil=True)
def _left_in_row(marks, basin, lead, size, base, n, found, ends, used):
    for v in range(base, base + n):
        for t in range(3):
            if marks[t * size + v] == 0:
                i, j = basin[v], basin[v + lead[t]]
                if i != j:
                    found[used] = 4 * v + t
                    ends[used, 0], ends[used, 1] = i, j
                    used += 1
    return used


@njit(cache=True, nogil=True)
def _ascending(r, step, cells, squares):
    """Places of ``cells`` (codes ascending) in the order (level, code)."""
    keys = np.empty(len(cells), np.uint32)
    low = np.int64(0)
    for turn in range(2):
        for k in range(len(cells)):
            cell = np.int64(cells[k])
            level = np.int64(square_level(r, step, cell) if squares else edge_level(r, step, cell))
            if turn:
                keys[k] = level - low
            else:
                low = min(low, level)
    return ascending(keys)[0]


@njit(cache=True, nogil=True, inline="always")
def _before(r, v, w):
    return r[v] < r[w] or (r[v] == r[w] and v < w)


@njit(cache=True, nogil=True)
def _index(cells, size):
    where = np.full(size, -1, np.int32)
    for k in range(len(cells)):
        where[cells[k]] = k
    return where


@njit(cache=True, nogil=True)
def _grown(array, least):
    result = np.empty(max(2 * len(array), least), array.dtype)
    result[: len(array)] = array
    return result


@njit(cache=True, nogil=True)
def _grown_pairs(array, least):
    result = np.empty((max(2 * len(array), least), 2), array.dtype)
    result[: len(array)] = array
    return result
