"""The voxels of one feature of an image, by walking from its birth or its death."""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.images.cells import edge_value


@njit(cache=True, nogil=True)
def cycle(f, dimension, birth, death):
    """``(voxels, inside)`` of the bar (birth cell, death cell) of the sublevel image ``f``, unsorted."""
    height, width = f.shape
    if dimension == 0:
        return component(f.ravel(), height, width, birth, death), np.empty(0, np.int64)
    squares = enclosed(f.ravel(), height, width, birth, death)
    corners = np.zeros(height * width, np.uint8)
    for k in range(len(squares)):
        for step in (0, 1, width, width + 1):
            corners[squares[k] + step] += 1
    outline = np.empty(4 * len(squares), np.int64)
    inside = np.empty(len(squares), np.int64)
    on, within = 0, 0
    for v in range(height * width):
        if corners[v] == 4:
            inside[within] = v
            within += 1
        elif corners[v]:
            outline[on] = v
            on += 1
    return outline[:on], inside[:within]


@njit(cache=True, nogil=True)
def component(f, height, width, start, edge):
    """Voxels joined to ``start`` by edges before ``edge`` in the order (value, code)."""
    value = edge_value(f, width, edge)
    seen = np.zeros(height * width, np.bool_)
    found = np.empty(height * width, np.int64)
    seen[start] = True
    found[0] = start
    done, used = 0, 1
    while done < used:
        v = found[done]
        done += 1
        x, y = v // width, v % width
        for w, code, outside in (
            (v - width, 2 * (v - width), x == 0),
            (v - 1, 2 * (v - 1) + 1, y == 0),
            (v + width, 2 * v, x == height - 1),
            (v + 1, 2 * v + 1, y == width - 1),
        ):
            if outside or seen[w]:
                continue
            level = max(f[v], f[w])
            if level < value or (level == value and code < edge):
                seen[w] = True
                found[used] = w
                used += 1
    return found[:used]


@njit(cache=True, nogil=True)
def enclosed(f, height, width, edge, start):
    """Squares joined to ``start`` across edges after ``edge`` in the order (value, code)."""
    value = edge_value(f, width, edge)
    seen = np.zeros(height * width, np.bool_)
    found = np.empty(height * width, np.int64)
    seen[start] = True
    found[0] = start
    done, used = 0, 1
    while done < used:
        s = found[done]
        done += 1
        x, y = s // width, s % width
        for t, code, outside in (
            (s - 1, 2 * s, y == 0),
            (s - width, 2 * s + 1, x == 0),
            (s + 1, 2 * (s + 1), y == width - 2),
            (s + width, 2 * (s + width) + 1, x == height - 2),
        ):
            if outside or seen[t]:
                continue
            level = edge_value(f, width, code)
            if level > value or (level == value and code > edge):
                seen[t] = True
                found[used] = t
                used += 1
    return found[:used]
