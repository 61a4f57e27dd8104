"""Dimension 0 of images: merging edges in ascending order join basins of voxels, and matched components are found.

A component of the minimum also carries its smallest voxel in either image. Taken over whole basins that voxel may lie in a
part which is attached only later; where it does, the component is walked as it stands (``flood_voxels``) against a budget.
Beyond the budget ``False`` is returned; without contraction (``local=False``) nothing is ever walked.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.images.cells import edge_end, find
from lab.kernels.cubical.images.contraction import DOWN, LEFT, RIGHT, UP, voxel_basins, voxels_below_target
from lab.kernels.cubical.inner import inner

WALK = 6  # a pass may walk this many times the image


@inner
def edge_voxels(edges, basin, width):
    """Basins of the two voxels of each edge."""
    ends = np.empty((len(edges), 2), np.int32)
    for k in range(len(edges)):
        ends[k, 0] = basin[edges[k] >> 1]
        ends[k, 1] = basin[edge_end(width, edges[k])]
    return ends


@inner
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


@inner
def match_components(fa, fb, fc, height, width, up, edges, order, levels, rest, bars_a, bars_b, local):
    """``(done, mates)``: merge the components of c and follow the smallest voxel of each in a and in b."""
    size = height * width
    basin, roots = voxel_basins(up, height, width)
    count = len(roots)
    ends = edge_voxels(edges, basin, width)
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


@inner
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


@inner
def _joined(fc, up, width, v, value, edge):
    """Whether voxel ``v`` is attached to its basin by the edges before ``edge``, which has ``value``."""
    if fc[v] < value or up[v] == 0:
        return True
    if fc[v] > value:
        return False
    code = up[v]
    anchor = v - width if code == UP else v - 1 if code == LEFT else v
    return 2 * anchor + (code == LEFT or code == RIGHT) < edge


@inner
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
