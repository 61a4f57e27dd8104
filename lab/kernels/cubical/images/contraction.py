"""Local contraction of an image: pointers, the trees they form, and the edges they leave.

A voxel points along its smallest edge if that edge has the voxel's own value; a square points across its largest edge,
which always has the square's value. Each pointer ends or begins a bar of length zero, so the trees of pointers (basins)
may be contracted before anything is sorted. The root of a basin is its first voxel (its last square) in the order of
cells, or the outside. Everything here is a pass over rows with comparisons only.

Arrays over squares have the image's strides. Arrays of their basins have one row more, in front; that row, the last row
and the last column are the outside, basin 0.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.inner import inner

UP, LEFT, DOWN, RIGHT = 1, 2, 3, 4  # pointers of voxels, in the order of their edges
BELOW, BESIDE, ABOVE = 1, 2, 3  # pointers of squares, across their bottom, right or top edge


@inner
def contract(f, local):
    """``(up, across, edges)``: pointers of voxels and of squares, and the edges no pointer uses, in index order.

    ``local=False`` leaves every pointer out.
    """
    height, width = f.shape
    up = np.zeros((height, width), np.uint8)
    across = np.zeros((height, width), np.uint8)
    if local:
        for x in range(height):
            _point_voxels(f, x, up[x])
        for x in range(height - 1):
            _point_squares(f[x], f[x + 1], across[x])
    return up.ravel(), across.ravel(), _survivors(up, across)


@inner
def _point_voxels(f, x, out):
    """The first of up, left, down, right whose neighbour is not larger."""
    height, width = f.shape
    row = f[x]
    above = f[max(x - 1, 0)]
    below = f[min(x + 1, height - 1)]
    has_above = x > 0
    has_below = x < height - 1
    for y in (0, width - 1):
        code = np.uint8(0)
        if y < width - 1 and row[y + 1] <= row[y]:
            code = np.uint8(RIGHT)
        if has_below and below[y] <= row[y]:
            code = np.uint8(DOWN)
        if y > 0 and row[y - 1] <= row[y]:
            code = np.uint8(LEFT)
        if has_above and above[y] <= row[y]:
            code = np.uint8(UP)
        out[y] = code
    here, left, right, over, under, target = row[1:], row[0:], row[2:], above[1:], below[1:], out[1:]
    none, one, two, three, four = np.uint8(0), np.uint8(UP), np.uint8(LEFT), np.uint8(DOWN), np.uint8(RIGHT)
    for y in range(width - 2):
        v = here[y]
        code = four if right[y] <= v else none
        code = three if (under[y] <= v) & has_below else code
        code = two if left[y] <= v else code
        code = one if (over[y] <= v) & has_above else code
        target[y] = code


@inner
def _point_squares(top, bottom, out):
    """The bottom edge, else the right one, else the top one, whichever first attains the square's value."""
    one, two, three = np.uint8(BELOW), np.uint8(BESIDE), np.uint8(ABOVE)
    right_top, right_bottom = top[1:], bottom[1:]
    for y in range(len(top) - 1):
        code = two if right_top[y] >= top[y] else three
        out[y] = one if max(bottom[y], right_bottom[y]) >= max(top[y], right_top[y]) else code


@inner
def _survivors(up, across):
    height, width = up.shape
    free_down = np.empty(width, np.uint8)
    free_right = np.empty(width, np.uint8)
    edges = np.empty(max(64, height * width // 8), np.int32)
    used = 0
    for x in range(height):
        last = x == height - 1
        here, after, before = up[x], up[min(x + 1, height - 1)], across[max(x - 1, 0)]
        squares = across[x]
        free_down[0] = not (last or here[0] == DOWN or after[0] == UP)
        for y in range(1, width):
            free_down[y] = (here[y] != DOWN) & (after[y] != UP) & (squares[y - 1] != BESIDE) & (not last)
        for y in range(width - 1):
            unused = (here[y] != RIGHT) & (here[y + 1] != LEFT) & (squares[y] != ABOVE)
            free_right[y] = unused & ((before[y] != BELOW) | (x == 0))
        free_right[width - 1] = 0
        if used + 2 * width > len(edges):
            edges = _longer(edges, used, 2 * width)
        base = 2 * x * width
        for y in range(width):
            edges[used] = base + 2 * y
            used += free_down[y]
            edges[used] = base + 2 * y + 1
            used += free_right[y]
    return edges[:used]


@inner
def voxel_basins(up, height, width):
    """``(basin, roots)``: the basin of every voxel, numbered in the order of their roots."""
    size = height * width
    basin = np.full(size, -1, np.int32)
    roots = np.empty(max(64, size // 16), np.int32)
    count = 0
    mask = np.empty(width, np.uint8)
    for x in range(height):
        row = up[x * width : (x + 1) * width]
        below = up[min(x + 1, height - 1) * width :]
        for y in range(width - 1):
            mask[y] = (row[y] == 0) | ((row[y] == DOWN) & (below[y] == UP)) | ((row[y] == RIGHT) & (row[y + 1] == LEFT))
        y = width - 1
        mask[y] = (row[y] == 0) | ((row[y] == DOWN) & (below[y] == UP))
        if count + width > len(roots):
            roots = _longer(roots, count, width)
        for y in range(width):
            roots[count] = x * width + y
            count += mask[y]
    for i in range(count):
        basin[roots[i]] = i
    steps = np.array([0, -width, -1, width, 1])
    for v in range(size):
        if basin[v] >= 0:
            continue
        u = v + steps[up[v]]
        found = basin[u]
        if found < 0:
            while found < 0:
                u += steps[up[u]]
                found = basin[u]
            u = v
            while basin[u] < 0:
                basin[u] = found
                u += steps[up[u]]
        basin[v] = found
    return basin, roots[:count]


@inner
def square_basins(across, height, width):
    """``(basin, roots)``: the basin of every square (with a row in front), numbered in the order of their roots; basin
    0 is the outside and has the root -1."""
    size = height * width
    basin = np.full(size + width, -1, np.int32)
    for y in range(width):
        basin[y] = basin[size + y] = 0
    roots = np.empty(max(64, size // 16), np.int32)
    roots[0] = -1
    count = 1
    for x in range(height - 1):
        row = across[x * width : (x + 1) * width]
        above = across[max(x - 1, 0) * width :]
        if count + width > len(roots):
            roots = _longer(roots, count, width)
        for y in range(width - 1):
            roots[count] = x * width + y
            count += (row[y] == 0) | ((row[y] == ABOVE) & (above[y] == BELOW) & (x > 0))
        basin[(x + 2) * width - 1] = 0
    for i in range(1, count):
        basin[roots[i] + width] = i
    steps = np.array([0, width, 1, -width])
    shifted = basin[width:]
    for s in range(size - width - 1, -1, -1):
        if shifted[s] >= 0:
            continue
        u = s + steps[across[s]]
        found = basin[u + width]
        if found < 0:
            while found < 0:
                u += steps[across[u]]
                found = basin[u + width]
            u = s
            while shifted[u] < 0:
                shifted[u] = found
                u += steps[across[u]]
        shifted[s] = found
    return basin, roots[:count]


@inner
def voxels_below_target(g, up, height, width):
    """Voxels that may be the smallest of ``g`` in their basin: those below the voxel they point to, and the roots.

    Voxels at the largest value of ``g`` are left out: no bar of ``g`` of positive length begins there.
    """
    size = height * width
    found = np.empty(max(64, size // 4), np.int32)
    used = 0
    mask = np.empty(width, np.uint8)
    top = g.max()
    for x in range(height):
        if used + width > len(found):
            found = _longer(found, used, width)
        row, code = g[x * width : (x + 1) * width], up[x * width : (x + 1) * width]
        over = g[max(x - 1, 0) * width :]
        under = g[min(x + 1, height - 1) * width :]
        mask[0] = _below_target(row[0], over[0], row[0], under[0], row[min(1, width - 1)], code[0], top)
        y = width - 1
        mask[y] = _below_target(row[y], over[y], row[max(y - 1, 0)], under[y], row[y], code[y], top)
        here, right, over, under, code, target = row[1:], row[2:], over[1:], under[1:], code[1:], mask[1:]
        for y in range(width - 2):
            target[y] = _below_target(here[y], over[y], row[y], under[y], right[y], code[y], top)
        for y in range(width):
            found[used] = x * width + y
            used += mask[y]
    return found[:used]


@njit(cache=True, nogil=True, inline="always")
def _below_target(v, over, left, under, right, code, top):
    first = ((code == UP) & (over <= v)) | ((code == LEFT) & (left <= v))
    second = ((code == DOWN) & (under < v)) | ((code == RIGHT) & (right < v))
    return (not (first | second)) & (v < top)


@inner
def squares_above_target(g, across, height, width):
    """Squares that may be the largest of ``g`` (values of squares) in their basin: those above the square they point
    to.

    Squares that point outside and squares at the smallest value of ``g`` are left out: no bar of ``g`` ends in the
    latter.
    """
    size = height * width
    found = np.empty(max(64, size // 4), np.int32)
    used = 0
    mask = np.empty(width, np.uint8)
    bottom = np.inf
    for x in range(height - 1):
        for y in range(width - 1):
            bottom = min(bottom, g[x * width + y])
    for x in range(height - 1):
        if used + width > len(found):
            found = _longer(found, used, width)
        row, code = g[x * width : (x + 1) * width], across[x * width : (x + 1) * width]
        over = g[max(x - 1, 0) * width :]
        under = g[min(x + 1, height - 1) * width :]
        last, first = x == height - 2, x == 0
        right = row[1:]
        for y in range(width - 1):
            v = row[y]
            beaten = ((code[y] == BELOW) & ((under[y] >= v) | last)) | ((code[y] == BESIDE) & (right[y] >= v))
            beaten |= (code[y] == ABOVE) & ((over[y] > v) | first)
            mask[y] = (not beaten) & (v > bottom)
        if width > 1:
            y = width - 2
            mask[y] = mask[y] & (code[y] != BESIDE)
        for y in range(width - 1):
            found[used] = x * width + y
            used += mask[y]
    return found[:used]


@inner
def _longer(found, used, room):
    """An array twice as long and ``room`` more, with the first ``used`` places kept. A loop, since assigning a slice
    compiles the words of its error message too, which takes longer than the rest of a pass."""
    result = np.empty(2 * len(found) + room, np.int32)
    for k in range(used):
        result[k] = found[k]
    return result
