"""Trees of steps: voxels that go down to one voxel, cubes that are left towards one cube or the outside.

Following a step joins a cell to its component in a bar of length zero, so basins may be joined before anything is
sorted. The root of a basin is its first voxel (its last cube) in the order of cells.

Where components also carry their extreme in another order (images of bars), a step is followed only if that extreme
cannot be met too early: the cell left is not the extreme of any pair it is part of, or it lies at a level at which no
bar of positive length ends (:func:`followed_down`, :func:`followed_out`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.volumes.cells import OUTSIDE, cube_level, strides


@njit(cache=True, nogil=True)
def voxel_basins(down, shape):
    """``(basin, roots)`` of the voxels, numbered in their order."""
    step = strides(shape)
    lead = np.array([0, -step[0], -step[1], -1, step[0], step[1], 1])
    nx, ny, nz = shape
    basin = np.full(len(down), -1, np.int32)
    roots = np.empty(max(64, len(down) // 16), np.int32)
    used = 0
    for x in range(nx):
        for y in range(ny):
            base = (x + 1) * step[0] + y * step[1]
            if used + nz > len(roots):
                roots = np.concatenate((roots, np.empty(len(roots) + nz, np.int32)))
            used = _voxel_roots(down, lead, base, nz, roots, used)
    for i in range(used):
        basin[roots[i]] = i
    for x in range(nx):
        for y in range(ny):
            base = (x + 1) * step[0] + y * step[1]
            for v in range(base, base + nz):
                if basin[v] < 0:
                    _follow(down, lead, v, basin)
    return basin, roots[:used].copy()


@njit(cache=True, nogil=True)
def _voxel_roots(down, lead, base, n, roots, used):
    """Append the voxels of a row that go nowhere, or forward to one that comes back."""
    for v in range(base, base + n):
        code = down[v]
        roots[used] = v
        used += code == 0 or (code > 3 and down[v + lead[code]] == code - 3)
    return used


@njit(cache=True, nogil=True)
def _follow(steps, lead, v, basin):
    """Number all cells from ``v`` to the first that has a number."""
    u = v + lead[steps[v]]
    while basin[u] < 0:
        u += lead[steps[u]]
    found = basin[u]
    while v != u:
        basin[v] = found
        v += lead[steps[v]]


@njit(cache=True, nogil=True)
def cube_basins(out, shape):
    """``(basin, roots)`` of the cubes; basin 0 is the outside and holds every voxel that is not a cube's anchor."""
    step = strides(shape)
    lead = np.array([0, step[0], step[1], 1, -1])
    nx, ny, nz = shape
    basin = np.zeros(len(out), np.int32)
    roots = np.zeros(max(64, len(out) // 16), np.int32)
    used = 1
    for x in range(nx - 1):
        for y in range(ny - 1):
            base = (x + 1) * step[0] + y * step[1]
            basin[base : base + nz - 1] = -1
            if used + nz > len(roots):
                roots = np.concatenate((roots, np.empty(len(roots) + nz, np.int32)))
            used = _cube_roots(out, base, nz - 1, roots, used)
    for i in range(1, used):
        basin[roots[i]] = i
    for x in range(nx - 2, -1, -1):
        for y in range(ny - 2, -1, -1):
            base = (x + 1) * step[0] + y * step[1]
            for v in range(base + nz - 2, base - 1, -1):
                if basin[v] < 0:
                    _follow(out, lead, v, basin)
    return basin, roots[:used].copy()


@njit(cache=True, nogil=True)
def _cube_roots(out, base, n, roots, used):
    """Append the cubes of a row that are not left, or left down to one that is left up again."""
    for v in range(base, base + n):
        code = out[v]
        roots[used] = v
        used += code == 0 or (code == 4 and out[v - 1] == 3)
    return used


@njit(cache=True, nogil=True)
def followed_down(down, c, a, b, shape):
    """The steps of ``c`` that neither the least voxel of ``a`` nor that of ``b`` can meet too early; level 0 of ``c`` and
    below is where its bars cannot end."""
    step = strides(shape)
    nx, ny, nz = shape
    kept = np.zeros(len(down), np.uint8)
    top_a, top_b = highest(a), highest(b)
    for x in range(nx):
        for y in range(ny):
            base = (x + 1) * step[0] + y * step[1]
            for v in range(base, base + nz):
                code = down[v]
                if code == 0:
                    continue
                forward = code > 3
                w = v + step[code - 4] if forward else v - step[code - 1]
                first = a[v] == top_a or a[w] < a[v] or (not forward and a[w] == a[v])
                second = b[v] == top_b or b[w] < b[v] or (not forward and b[w] == b[v])
                if c[v] <= 0 or (first and second):
                    kept[v] = code
    return kept


@njit(cache=True, nogil=True)
def followed_out(out, a, c, shape):
    """The steps of cubes of ``a`` that the last cube of ``c`` (levels of cubes) cannot meet too early."""
    step = strides(shape)
    lead = np.array([0, step[0], step[1], 1, -1])
    nx, ny, nz = shape
    kept = np.zeros(len(out), np.uint8)
    top = highest(a)
    for x in range(nx - 1):
        for y in range(ny - 1):
            base = (x + 1) * step[0] + y * step[1]
            for v in range(base, base + nz - 1):
                code = out[v]
                there = c[v + lead[code]]
                if c[v] <= 0 or there > c[v] or (code < 4 and there == c[v]) or cube_level(a, step, v) == top:
                    kept[v] = code
    return kept


@njit(cache=True, nogil=True)
def highest(r):
    """The largest level of a framed volume."""
    top = np.int32(-(2**31))
    for k in range(len(r)):
        top = max(top, r[k] if r[k] < OUTSIDE else top)
    return top


@njit(cache=True, nogil=True)
def cube_levels(r, shape):
    """The level of every cube, that of the frame where there is none."""
    step = strides(shape)
    nx, ny, nz = shape
    found = np.full(len(r), OUTSIDE, np.int32)
    column = np.empty(nz, np.int32)
    for x in range(nx - 1):
        for y in range(ny - 1):
            base = (x + 1) * step[0] + y * step[1]
            one, two = r[base : base + nz], r[base + step[1] : base + step[1] + nz]
            other = base + step[0]
            three, four = r[other : other + nz], r[other + step[1] : other + step[1] + nz]
            out = found[base : base + nz]
            for z in range(nz):
                column[z] = max(max(one[z], two[z]), max(three[z], four[z]))
            for z in range(nz - 1):
                out[z] = max(column[z], column[z + 1])
    return found


@njit(cache=True, nogil=True)
def least_members(basin, roots, a, c, shape):
    """By basin its first voxel in the order of ``a``; only voxels at level 0 of ``c`` or below can come before the root."""
    step = strides(shape)
    nx, ny, nz = shape
    found = roots.copy()
    for x in range(nx):
        for y in range(ny):
            base = (x + 1) * step[0] + y * step[1]
            for v in range(base, base + nz):
                if c[v] <= 0:
                    i = basin[v]
                    w = found[i]
                    if a[v] < a[w] or (a[v] == a[w] and v < w):
                        found[i] = v
    return found


@njit(cache=True, nogil=True)
def last_members(basin, roots, levels, shape):
    """By basin its last cube in the order of ``levels`` (of cubes)."""
    step = strides(shape)
    nx, ny, nz = shape
    found = roots.copy()
    for x in range(nx - 1):
        for y in range(ny - 1):
            base = (x + 1) * step[0] + y * step[1]
            for v in range(base, base + nz - 1):
                i = basin[v]
                w = found[i]
                if i and (levels[v] > levels[w] or (levels[v] == levels[w] and v > w)):
                    found[i] = v
    return found
