"""Union-find over basins: the bars of one image, their images in another one, and the matched components.

Survivors of :mod:`lab.kernels.cubical.contraction` in ascending order join basins of voxels (dimension 0), in
descending order basins of squares (dimension 1). A component also carries its extreme in a second image. Taken over
whole basins that extreme may lie in a part which is attached only later; where it does, the component is walked as it
stands (``flood_voxels``, ``flood_squares``) against a budget. Beyond the budget ``False`` is returned; without
contraction (``local=False``) nothing is ever walked.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.contraction import (
    BELOW,
    BESIDE,
    DOWN,
    LEFT,
    RIGHT,
    UP,
    contract,
    square_basins,
    squares_above_target,
    voxel_basins,
    voxels_below_target,
)
from lab.kernels.cubical.planar import edge_end, edge_value, find, square_values, stable_order

WALK = 6  # a pass may walk this many times the image


@njit(cache=True, nogil=True)
def plain_bars(f):
    """Bars of positive length of the image ``f``: rows (voxel, edge) and rows (edge, square)."""
    height, width = f.shape
    flat = f.ravel()
    up, across, edges = contract(f, np.bool_(True))
    order, levels = _ordered(flat, width, edges)
    basin, roots = square_basins(across, height, width)
    sides = _edge_squares(edges, basin, width)
    holes, rest = merge_squares(square_values(flat, height, width), edges, order, levels, sides, roots)
    basin, roots = voxel_basins(up, height, width)
    ends = _edge_voxels(edges, basin, width)
    return merge_voxels(flat, edges, order, levels, ends, roots, rest), holes


@njit(cache=True, nogil=True)
def bars_and_images(f, c, ends_c, local):
    """Bars of ``f``, the squares in which the image bars of its holes end in ``c`` (-1: in none of ``ends_c``), and
    whether the walk stayed within its budget. ``c`` holds values of squares, ``ends_c`` the squares that end a hole of
    ``c``."""
    height, width = f.shape
    flat = f.ravel()
    up, across, edges = contract(f, local)
    order, levels = _ordered(flat, width, edges)
    basin, roots = square_basins(across, height, width)
    sides = _edge_squares(edges, basin, width)
    own = square_values(flat, height, width)
    holes, images, rest, done = merge_squares_into(
        flat, own, c, height, width, across, edges, order, levels, sides, basin, roots, ends_c, local
    )
    if not done:
        return holes, holes, images, False
    basin, roots = voxel_basins(up, height, width)
    ends = _edge_voxels(edges, basin, width)
    return merge_voxels(flat, edges, order, levels, ends, roots, rest), holes, images, True


@njit(cache=True, nogil=True)
def prepare(f, local):
    """What the side of one image needs before another one is known; last its bars of dimension 0.

    Returns ``(across, edges, order, levels, basin, roots, sides, bars)``.
    """
    height, width = f.shape
    flat = f.ravel()
    up, across, edges = contract(f, local)
    order, levels = _ordered(flat, width, edges)
    basin, roots = square_basins(across, height, width)
    sides = _edge_squares(edges, basin, width)
    _, rest = merge_squares(square_values(flat, height, width), edges, order, levels, sides, roots)
    basin_0, roots_0 = voxel_basins(up, height, width)
    bars = merge_voxels(flat, edges, order, levels, _edge_voxels(edges, basin_0, width), roots_0, rest)
    return across, edges, order, levels, basin, roots, sides, bars


@njit(cache=True, nogil=True)
def _ordered(f, width, edges):
    values = np.empty(len(edges), np.float64)
    for k in range(len(edges)):
        values[k] = edge_value(f, width, edges[k])
    return stable_order(values)


@njit(cache=True, nogil=True)
def _edge_squares(edges, basin, width):
    """Basins of the two squares at each edge."""
    sides = np.empty((len(edges), 2), np.int32)
    for k in range(len(edges)):
        s = edges[k] >> 1
        sides[k, 0] = basin[s if edges[k] & 1 else s - 1 + width]
        sides[k, 1] = basin[s + width]
    return sides


@njit(cache=True, nogil=True)
def _edge_voxels(edges, basin, width):
    """Basins of the two voxels of each edge."""
    ends = np.empty((len(edges), 2), np.int32)
    for k in range(len(edges)):
        ends[k, 0] = basin[edges[k] >> 1]
        ends[k, 1] = basin[edge_end(width, edges[k])]
    return ends


# --- dimension 0 ------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def merge_voxels(f, edges, order, levels, ends, roots, rest):
    """Rows (voxel, edge) from the merging edges ``rest`` (places in the order, ascending)."""
    count = len(roots)
    parent = np.arange(count).astype(np.int32)
    level = np.empty(count, np.float64)
    for i in range(count):
        level[i] = f[roots[i]]
    bars = np.empty((len(rest), 2), np.int32)
    used = 0
    for r in range(len(rest)):
        k = rest[r]
        at = order[k]
        i, j = find(parent, ends[at, 0]), find(parent, ends[at, 1])
        if i == j:
            continue
        if level[j] < level[i] or (level[j] == level[i] and j < i):
            i, j = j, i
        parent[j] = i
        bars[used, 0], bars[used, 1] = roots[j], edges[at]
        used += level[j] != levels[k]
    return bars[:used]


@njit(cache=True, nogil=True)
def match_components(fa, fb, fc, height, width, up, edges, order, levels, rest, bars_a, bars_b, local):
    """``(done, mates)``: merge the components of c and follow the smallest voxel of each in a and in b."""
    size = height * width
    basin, roots = voxel_basins(up, height, width)
    count = len(roots)
    ends = _edge_voxels(edges, basin, width)
    least_a, value_a = _least(fa, up, height, width, basin, roots, local)
    least_b, value_b = _least(fb, up, height, width, basin, roots, local)
    bar_a = np.full(size, -1, np.int32)
    bar_b = np.full(size, -1, np.int32)
    holds = np.zeros(count, np.uint8)  # bit 0: a bar of a begins in the component, bit 1: one of b
    for i in range(len(bars_a)):
        bar_a[bars_a[i, 0]] = i
        holds[basin[bars_a[i, 0]]] |= 1
    for j in range(len(bars_b)):
        bar_b[bars_b[j, 0]] = j
        holds[basin[bars_b[j, 0]]] |= 2

    parent = np.arange(count).astype(np.int32)
    level = np.empty(count, np.float64)
    for i in range(count):
        level[i] = fc[roots[i]]
    mates = np.empty((min(len(bars_a), len(bars_b)), 2), np.int32)
    used = 0
    budget = WALK * size + 1024
    seen = np.empty(0, np.int32)
    stack = np.empty(0, np.int32)
    walk = 0
    for r in range(len(rest)):
        k = rest[r]
        at = order[k]
        i, j = find(parent, ends[at, 0]), find(parent, ends[at, 1])
        if i == j:
            continue
        value = levels[k]
        elder, younger = (j, i) if level[j] < level[i] or (level[j] == level[i] and j < i) else (i, j)
        if level[younger] != value and (holds[i] | holds[j]) == 3:
            ai, aj, bi, bj = least_a[i], least_a[j], least_b[i], least_b[j]
            a = bar_a[aj if _before(fa, ai, aj) else ai]
            b = bar_b[bj if _before(fb, bi, bj) else bi]
            if local:
                edge = edges[at]
                firm_a_i, firm_a_j = _joined(fc, up, width, ai, value, edge), _joined(fc, up, width, aj, value, edge)
                firm_b_i, firm_b_j = _joined(fc, up, width, bi, value, edge), _joined(fc, up, width, bj, value, edge)
                firm_a, firm_b = firm_a_i and firm_a_j, firm_b_i and firm_b_j
                if not (firm_a and firm_b) and not (firm_a and a < 0) and not (firm_b and b < 0):
                    if len(seen) == 0:
                        seen = np.zeros(size, np.int32)
                        stack = np.empty(size, np.int32)
                    if not (firm_a_i and firm_b_i):
                        walk += 1
                        ai, bi, budget = flood_voxels(
                            fa, fb, fc, height, width, edge >> 1, edge, value, seen, stack, walk, budget
                        )
                    if not (firm_a_j and firm_b_j):
                        walk += 1
                        aj, bj, budget = flood_voxels(
                            fa, fb, fc, height, width, edge_end(width, edge), edge, value, seen, stack, walk, budget
                        )
                    if budget < 0:
                        return False, mates[:0]
                    a = bar_a[aj if _before(fa, ai, aj) else ai]
                    b = bar_b[bj if _before(fb, bi, bj) else bi]
            if a >= 0 and b >= 0:
                mates[used, 0], mates[used, 1] = a, b
                used += 1
        parent[younger] = elder
        holds[elder] |= holds[younger]
        if value_a[younger] < value_a[elder] or (
            value_a[younger] == value_a[elder] and least_a[younger] < least_a[elder]
        ):
            value_a[elder], least_a[elder] = value_a[younger], least_a[younger]
        if value_b[younger] < value_b[elder] or (
            value_b[younger] == value_b[elder] and least_b[younger] < least_b[elder]
        ):
            value_b[elder], least_b[elder] = value_b[younger], least_b[younger]
    return True, mates[:used]


@njit(cache=True, nogil=True)
def _least(g, up, height, width, basin, roots, local):
    """The smallest voxel of every basin in ``g`` and its value."""
    least = roots.copy()
    value = np.empty(len(roots), np.float64)
    for i in range(len(roots)):
        value[i] = g[roots[i]]
    if local:
        candidates = voxels_below_target(g, up, height, width)
        for k in range(len(candidates)):
            v = candidates[k]
            i = basin[v]
            if g[v] < value[i] or (g[v] == value[i] and v < least[i]):
                value[i], least[i] = g[v], v
    return least, value


@njit(cache=True, nogil=True, inline="always")
def _before(f, v, w):
    return f[v] < f[w] or (f[v] == f[w] and v < w)


@njit(cache=True, nogil=True)
def _joined(fc, up, width, v, value, edge):
    """Whether voxel ``v`` is attached to its basin by the edges before ``edge``, which has ``value``."""
    if fc[v] < value or up[v] == 0:
        return True
    if fc[v] > value:
        return False
    code = up[v]
    anchor = v - width if code == UP else v - 1 if code == LEFT else v
    return 2 * anchor + (code == LEFT or code == RIGHT) < edge


@njit(cache=True, nogil=True)
def flood_voxels(fa, fb, fc, height, width, start, edge, value, seen, stack, stamp, budget):
    """Smallest voxel in a and in b of the component of ``start`` in c under the edges before ``edge``."""
    best_a = best_b = start
    seen[start] = stamp
    stack[0] = start
    depth = 1
    while depth:
        depth -= 1
        v = stack[depth]
        budget -= 1
        if budget < 0:
            return best_a, best_b, budget
        if _before(fa, v, best_a):
            best_a = v
        if _before(fb, v, best_b):
            best_b = v
        x, y = v // width, v % width
        for code in (UP, LEFT, DOWN, RIGHT):
            if (
                (code == UP and x == 0)
                or (code == LEFT and y == 0)
                or (code == DOWN and x == height - 1)
                or (code == RIGHT and y == width - 1)
            ):
                continue
            w = v - width if code == UP else v - 1 if code == LEFT else v + width if code == DOWN else v + 1
            if seen[w] == stamp:
                continue
            between = 2 * min(v, w) + (code == LEFT or code == RIGHT)
            level = max(fc[v], fc[w])
            if level < value or (level == value and between < edge):
                seen[w] = stamp
                stack[depth] = w
                depth += 1
    return best_a, best_b, budget


# --- dimension 1 ------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def merge_squares(own, edges, order, levels, sides, roots):
    """Rows (edge, square) and the places in the order, ascending, of edges that merge no squares."""
    count = len(roots)
    parent = np.arange(count).astype(np.int32)
    level = _square_levels(own, roots)
    bars = np.empty((len(edges), 2), np.int32)
    rest = np.empty(len(edges), np.int32)
    used, left = 0, len(edges)
    for k in range(len(edges) - 1, -1, -1):
        at = order[k]
        i, j = find(parent, sides[at, 0]), find(parent, sides[at, 1])
        if i == j:
            left -= 1
            rest[left] = k
            continue
        if level[j] > level[i] or (level[j] == level[i] and j > i):
            i, j = j, i
        parent[j] = i
        bars[used, 0], bars[used, 1] = edges[at], roots[j]
        used += level[j] != levels[k]
    return bars[:used], rest[left:]


@njit(cache=True, nogil=True)
def merge_squares_into(f, own, c, height, width, across, edges, order, levels, sides, basin, roots, ends_c, local):
    """As :func:`merge_squares`, with the square of ``c`` in which the image of each bar ends, and whether it is
    done."""
    size = height * width
    count = len(roots)
    most, most_value = _most(c, across, height, width, basin, roots, local)
    holds = np.zeros(count, np.bool_)
    for k in range(len(ends_c)):
        holds[basin[ends_c[k] + width]] = True
    parent = np.arange(count).astype(np.int32)
    level = _square_levels(own, roots)
    bars = np.empty((len(edges), 2), np.int32)
    images = np.empty(len(edges), np.int32)
    rest = np.empty(len(edges), np.int32)
    used, left = 0, len(edges)
    budget = WALK * size + 1024
    seen = np.empty(0, np.int32)
    stack = np.empty(0, np.int32)
    walk = 0
    for k in range(len(edges) - 1, -1, -1):
        at = order[k]
        i, j = find(parent, sides[at, 0]), find(parent, sides[at, 1])
        if i == j:
            left -= 1
            rest[left] = k
            continue
        value = levels[k]
        elder, younger = (j, i) if level[j] > level[i] or (level[j] == level[i] and j > i) else (i, j)
        if level[younger] != value:
            image = -1
            if holds[i] or holds[j]:
                mi, mj, vi, vj = most[i], most[j], most_value[i], most_value[j]
                if local:
                    edge = edges[at]
                    s = edge >> 1
                    loose_i = mi >= 0 and not _attached(own, across, width, mi, value, edge)
                    loose_j = mj >= 0 and not _attached(own, across, width, mj, value, edge)
                    if (loose_i or loose_j) and len(seen) == 0:
                        seen = np.zeros(size, np.int32)
                        stack = np.empty(size, np.int32)
                    if loose_i:
                        walk += 1
                        start = s - width if edge & 1 else s - 1
                        mi, vi, budget = flood_squares(
                            f, c, height, width, start, edge, value, seen, stack, walk, budget
                        )
                    if loose_j:
                        walk += 1
                        mj, vj, budget = flood_squares(f, c, height, width, s, edge, value, seen, stack, walk, budget)
                    if budget < 0:
                        return bars[:0], images[:0], rest[:0], False
                image = mj if vi > vj or (vi == vj and mi > mj) else mi
            bars[used, 0], bars[used, 1] = edges[at], roots[younger]
            images[used] = image
            used += 1
        parent[younger] = elder
        holds[elder] |= holds[younger]
        if most_value[younger] > most_value[elder] or (
            most_value[younger] == most_value[elder] and most[younger] > most[elder]
        ):
            most[elder], most_value[elder] = most[younger], most_value[younger]
    return bars[:used], images[:used], rest[left:], True


@njit(cache=True, nogil=True)
def _square_levels(own, roots):
    level = np.empty(len(roots), np.float64)
    level[0] = np.inf
    for i in range(1, len(roots)):
        level[i] = own[roots[i]]
    return level


@njit(cache=True, nogil=True)
def _most(c, across, height, width, basin, roots, local):
    """The largest square of every basin in ``c`` (values of squares) and its value; the outside is -1 and infinite."""
    most = roots.copy()
    value = _square_levels(c, roots)
    if local:
        candidates = squares_above_target(c, across, height, width)
        for k in range(len(candidates)):
            s = candidates[k]
            i = basin[s + width]
            if c[s] > value[i] or (c[s] == value[i] and s > most[i]):
                value[i], most[i] = c[s], s
    return most, value


@njit(cache=True, nogil=True)
def _attached(own, across, width, s, value, edge):
    """Whether square ``s`` is attached to its basin by the edges after ``edge``, which has ``value``."""
    if across[s] == 0 or own[s] > value:
        return True
    if own[s] < value:
        return False
    code = across[s]
    by = 2 * (s + width) + 1 if code == BELOW else 2 * (s + 1) if code == BESIDE else 2 * s + 1
    return by > edge


@njit(cache=True, nogil=True)
def flood_squares(f, c, height, width, start, edge, value, seen, stack, stamp, budget):
    """Largest square in ``c``, and its value, of the component of ``start`` in f under the edges after ``edge``."""
    best, best_value = start, c[start]
    seen[start] = stamp
    stack[0] = start
    depth = 1
    while depth:
        depth -= 1
        s = stack[depth]
        budget -= 1
        if budget < 0:
            return best, best_value, budget
        if c[s] > best_value or (c[s] == best_value and s > best):
            best, best_value = s, c[s]
        x, y = s // width, s % width
        for side in range(4):
            if side == 0:
                between, w, out = 2 * s, s - 1, y == 0
            elif side == 1:
                between, w, out = 2 * s + 1, s - width, x == 0
            elif side == 2:
                between, w, out = 2 * (s + 1), s + 1, y == width - 2
            else:
                between, w, out = 2 * (s + width) + 1, s + width, x == height - 2
            level = edge_value(f, width, between)
            if level < value or (level == value and between <= edge):
                continue
            if out:
                return -1, np.inf, budget
            if seen[w] != stamp:
                seen[w] = stamp
                stack[depth] = w
                depth += 1
    return best, best_value, budget
