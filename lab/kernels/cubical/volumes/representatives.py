"""The voxels of one feature of a volume: by walking from its birth or its death, or from a reduced column.

A component is its voxels before it ends. A loop is the reduced column of the square that fills it: a cycle of edges, the
loop's first edge the last of them, that the squares up to this one bound. A cavity encloses the cubes which are joined
to the one that fills it across squares after the one that closed it; its surface is the voxels on their outline.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.volumes import cells, discrete_gradient, matrix_reduction, union_find
from lab.kernels.cubical.volumes.levels import levels


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
    step = _steps(f.shape)
    return np.unique(np.concatenate([edges // 3, edges // 3 + step[edges % 3]])), nothing


@njit(cache=True, nogil=True)
def component(f, start, edge):
    """Voxels joined to ``start`` by edges before ``edge`` in the order (value, code)."""
    shape, step, flat = f.shape, _steps(f.shape), f.ravel()
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


def loop(f, square):
    """Edges of the reduced column of ``square``, in their order; none if it ends no loop."""
    shape = f.shape
    if not 0 <= square < 3 * f.size:
        return np.empty(0, np.int64)
    r = cells.framed(levels(f.reshape(-1), np.empty(0))[0], shape)
    last, first = discrete_gradient.faces(r, shape), discrete_gradient.cofaces(r, shape)
    _, squares = union_find.cavities(r, first, shape)
    left = discrete_gradient.columns_left(squares, last, first, shape)
    code = cells.internal(shape, 2, square)
    keys = _up_to(r, shape, left, code)
    left = left[keys]
    place = np.searchsorted(left, code)
    if place == len(left) or left[place] != code:
        return np.empty(0, np.int64)
    every = np.zeros(3 * len(r), np.uint8)  # no edge is left out: the column is the whole cycle
    _, spans, pool = matrix_reduction.reduced(r, every, last, r, first, left, shape)
    low, high = spans[place]
    if low < 0:
        pool = np.empty(4, np.int64)
        low, high = 0, matrix_reduction.boundary(r, every, cells.strides(shape), len(r), np.int64(code), pool)
    return np.array(
        [cells.public(shape, 1, edge) for edge in (pool[low:high] & matrix_reduction.LOW).tolist()], np.int64
    )


@njit(cache=True, nogil=True)
def _up_to(r, shape, squares, code):
    """Which of ``squares`` are not after ``code`` in the order (level, code)."""
    step = cells.strides(shape)
    level = cells.square_level(r, step, np.int64(code))
    kept = np.empty(len(squares), np.bool_)
    for k in range(len(squares)):
        own = cells.square_level(r, step, np.int64(squares[k]))
        kept[k] = own < level or (own == level and squares[k] <= code)
    return kept


@njit(cache=True, nogil=True)
def surface(f, square, cube):
    """``(outline, inside)``: voxels of the cubes joined to ``cube`` across squares after ``square``."""
    shape, step, flat = f.shape, _steps(f.shape), f.ravel()
    value = _square_value(flat, step, square)
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
            place = v // step[axis] % shape[axis]
            for forward in range(2):
                if place == (shape[axis] - 2 if forward else 0):
                    continue
                w = v + step[axis] if forward else v - step[axis]
                between = 3 * max(v, w) + axis
                level = _square_value(flat, step, between)
                if not seen[w] and (level > value or (level == value and between > square)):
                    seen[w] = True
                    found[used] = w
                    used += 1
    return np.nonzero((corners > 0) & (corners < 8))[0], np.nonzero(corners == 8)[0]


@njit(cache=True, nogil=True)
def _square_value(flat, step, square):
    v = square // 3
    p, q = cells.sides(square % 3)
    return max(max(flat[v], flat[v + step[p]]), max(flat[v + step[q]], flat[v + step[p] + step[q]]))


@njit(cache=True, nogil=True)
def _steps(shape):
    return np.array([shape[1] * shape[2], shape[2], 1], np.int64)
