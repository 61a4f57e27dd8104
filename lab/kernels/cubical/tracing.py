"""The voxels of one feature of a volume: by walking from its birth or its death, or from a reduced column.

A component is its voxels before it ends. A loop is the reduced column of the square that fills it: a cycle of edges, the
loop's first edge the last of them, that the squares up to this one bound. A cavity encloses the cubes which are joined
to the one that fills it across squares after the one that closed it; its surface is the voxels on their outline.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.boxes import cube_ranks, dense_ranks, sorted_cells, square_rank, strides
from lab.kernels.cubical.columns import pivots, rows_of_edges
from lab.kernels.cubical.forests import cavities


def cycle(f, dimension, birth, death):
    """``(voxels, inside)`` of the bar (birth cell, death cell) of the sublevel volume ``f``, unsorted; ``inside`` is what
    a cavity encloses, empty for components and loops.

    Raises:
        ValueError: a loop that is not a bar of ``f``.
    """
    nothing = np.empty(0, np.int64)
    if dimension == 0:
        return component(f, birth, death), nothing
    if dimension == 2:
        return surface(f, birth, death)
    edges = loop(f, death)
    if len(edges) == 0 or edges[-1] != birth:
        raise ValueError(f"bar must be a bar of x, got the loop from edge {birth} to square {death}, which x has not")
    step = strides(f.shape)
    return np.unique(np.concatenate([edges // 3, edges // 3 + step[edges % 3]])), nothing


@njit(cache=True, nogil=True)
def component(f, start, edge):
    """Voxels joined to ``start`` by edges before ``edge`` in the order (value, code)."""
    shape, step, flat = f.shape, strides(f.shape), f.ravel()
    value = max(flat[edge // 3], flat[edge // 3 + step[edge % 3]])
    seen = np.zeros(flat.size, np.bool_)
    found = np.empty(flat.size, np.int64)
    seen[start] = True
    found[0] = start
    done, used = 0, 1
    while done < used:
        v = found[done]
        done += 1
        for axis in range(3):
            place = v // step[axis] % shape[axis]
            for forward in range(2):
                if place == (shape[axis] - 1 if forward else 0):
                    continue
                w = v + step[axis] if forward else v - step[axis]
                level = max(flat[v], flat[w])
                if not seen[w] and (level < value or (level == value and 3 * min(v, w) + axis < edge)):
                    seen[w] = True
                    found[used] = w
                    used += 1
    return found[:used]


@njit(cache=True, nogil=True)
def loop(f, square):
    """Edges of the reduced column of ``square``, in their order."""
    shape, step = f.shape, strides(f.shape)
    ranks, count = dense_ranks(f.ravel())
    cubes = cube_ranks(ranks, shape)
    squares = sorted_cells(ranks, count, shape, True)
    _, _, cleared = cavities(ranks, cubes, cubes, squares, step)
    edges = sorted_cells(ranks, count, shape, False)
    place, back = rows_of_edges(edges, np.zeros(3 * len(ranks), np.bool_), len(ranks))
    stop = 0
    while stop < len(squares) and squares[stop] != square:
        stop += 1
    _, last = pivots(squares[: stop + 1], cleared, place, len(back), shape, step)
    found = np.empty(len(last), np.int64)
    for k in range(len(last)):
        found[k] = back[last[k]]
    return found


@njit(cache=True, nogil=True)
def surface(f, square, cube):
    """``(outline, inside)``: voxels of the cubes joined to ``cube`` across squares after ``square``."""
    step, flat = strides(f.shape), f.ravel()
    ranks, _ = dense_ranks(flat)
    cubes = cube_ranks(ranks, f.shape)
    key = square_rank(ranks, step, square)
    seen = np.zeros(flat.size, np.bool_)
    found = np.empty(flat.size, np.int64)
    seen[cube] = True
    found[0] = cube
    done, used = 0, 1
    corners = np.zeros(flat.size, np.uint8)
    while done < used:
        v = found[done]
        done += 1
        for k in range(8):
            corners[v + (k >> 2) * step[0] + (k >> 1 & 1) * step[1] + (k & 1) * step[2]] += 1
        for axis in range(3):
            for forward in range(2):
                w = v + step[axis] if forward else v - step[axis]
                if w < 0 or w >= flat.size or cubes[w] < 0 or seen[w]:
                    continue
                between = 3 * max(v, w) + axis
                level = square_rank(ranks, step, between)
                if level > key or (level == key and between > square):
                    seen[w] = True
                    found[used] = w
                    used += 1
    return np.nonzero((corners > 0) & (corners < 8))[0], np.nonzero(corners == 8)[0]
