"""Dimension 1 of images: survivors in descending order join basins of squares, and holes find their images.

A component of the complement also carries its largest square in the minimum. Taken over whole basins that square may lie in
a part which is attached only later; where it does, the component is walked as it stands (``flood_squares``) against a
budget. Beyond the budget ``False`` is returned; without contraction (``local=False``) nothing is ever walked.
"""

from __future__ import annotations

import numpy as np

from lab.kernels.cubical.images.cells import edge_value, find
from lab.kernels.cubical.images.components import WALK
from lab.kernels.cubical.images.contraction import BELOW, BESIDE, squares_above_target
from lab.kernels.cubical.inner import inner


@inner
def edge_squares(edges, basin, width):
    """Basins of the two squares at each edge."""
    sides = np.empty((len(edges), 2), np.int32)
    for k in range(len(edges)):
        s = edges[k] >> 1
        sides[k, 0] = basin[s if edges[k] & 1 else s - 1 + width]
        sides[k, 1] = basin[s + width]
    return sides


@inner
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


@inner
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


@inner
def _square_levels(own, roots):
    level = np.empty(len(roots), np.float64)
    level[0] = np.inf
    for i in range(1, len(roots)):
        level[i] = own[roots[i]]
    return level


@inner
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


@inner
def _attached(own, across, width, s, value, edge):
    """Whether square ``s`` is attached to its basin by the edges after ``edge``, which has ``value``."""
    if across[s] == 0 or own[s] > value:
        return True
    if own[s] < value:
        return False
    code = across[s]
    by = 2 * (s + width) + 1 if code == BELOW else 2 * (s + 1) if code == BESIDE else 2 * s + 1
    return by > edge


@inner
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
