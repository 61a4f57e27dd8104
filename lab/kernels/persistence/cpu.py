"""Component measures of filtered point clouds, graphs and images: numba, exact, linear memory.

Every function returns integer cell ids (or integer ranks of them) and integer weights; values never leave the caller.

Two structures do all the work. Point clouds use the pointer representation of single linkage (Sibson, 'SLINK: an
optimally efficient algorithm for the single-link cluster method', The Computer Journal 1973): inserting the points in
the order of the second parameter updates the minimum spanning forest in O(n) each, and what enters or leaves the forest
is the measure. Graphs and images use a heap-ordered threshold forest: `parent[u]` is reached from `u` at `weight[u]`,
priorities grow to the root, so paths are logarithmic in expectation and an edge is inserted without any sorting.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LAST = np.iinfo(np.int64).max


@njit(cache=True, nogil=True)
def function_rips_components(points, matrix, precomputed):
    """Changes of the minimum spanning tree while points are inserted in the given order.

    ``points`` (n, d) or the distance ``matrix`` (n, n), both already in insertion order. Returns the arrays ``early``,
    ``late``, ``step``, ``weight``: edge (early, late) enters (-1) or leaves (+1) when point ``step`` is inserted; and
    the edges of the final tree ``tree_early``, ``tree_late``.
    """
    n = len(matrix) if precomputed else len(points)
    dimension = 0 if precomputed else points.shape[1]
    level = np.full(n, np.inf)
    level_edge = np.zeros(n, np.int64)
    pointer = np.arange(n)
    reach = np.empty(n)
    reach_edge = np.empty(n, np.int64)
    event = np.empty(4 * n + 16, np.int64)
    step = np.empty(4 * n + 16, np.int64)
    sign = np.empty(4 * n + 16, np.int64)
    count = 0
    for v in range(1, n):
        if precomputed:
            for i in range(v):
                reach[i] = matrix[v, i]
        elif dimension == 2:
            x, y = points[v, 0], points[v, 1]
            for i in range(v):
                reach[i] = (points[i, 0] - x) ** 2 + (points[i, 1] - y) ** 2
        else:
            for i in range(v):
                total = 0.0
                for k in range(dimension):
                    total += (points[i, k] - points[v, k]) ** 2
                reach[i] = total
        tag = v << 32
        for i in range(v):
            reach_edge[i] = tag | i
        while count + 2 * v > len(event):
            event, step, sign = _grown(event), _grown(step), _grown(sign)
        # ties go by edge, so that the edges of the levels are a spanning tree
        # invariant: reach[i] is the shortest unused edge that joins the part of i below its pointer to v
        for i in range(v - 1):
            target = pointer[i]
            carried, carried_edge = reach[i], reach_edge[i]
            if level[i] > carried or (level[i] == carried and level_edge[i] > carried_edge):
                if carried_edge >> 32 == v:
                    event[count], step[count], sign[count] = carried_edge, v, -1
                    count += 1
                level[i], carried = carried, level[i]
                level_edge[i], carried_edge = carried_edge, level_edge[i]
                pointer[i] = v
            if carried < reach[target] or (carried == reach[target] and carried_edge < reach_edge[target]):
                reach[target], carried = carried, reach[target]
                reach_edge[target], carried_edge = carried_edge, reach_edge[target]
            if carried_edge >> 32 != v:
                event[count], step[count], sign[count] = carried_edge, v, 1
                count += 1
        level[v - 1] = reach[v - 1]
        level_edge[v - 1] = reach_edge[v - 1]
        pointer[v - 1] = v
        if level_edge[v - 1] >> 32 == v:
            event[count], step[count], sign[count] = level_edge[v - 1], v, -1
            count += 1
        for i in range(v):
            above = pointer[i]
            if level[i] > level[above] or (level[i] == level[above] and level_edge[i] >= level_edge[above]):
                pointer[i] = v
    mask = (1 << 32) - 1
    used = event[:count]
    tree = level_edge[: max(n - 1, 0)]
    return used & mask, used >> 32, step[:count], sign[:count], tree & mask, tree >> 32


@njit(cache=True, nogil=True)
def _grown(array):
    larger = np.empty(2 * len(array), array.dtype)
    larger[: len(array)] = array
    return larger


@njit(cache=True, nogil=True, inline="always")
def _priority(v):
    """A fixed scrambling of the vertex number (32-bit finalizer), distinct for distinct vertices."""
    h = v & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return h ^ (h >> 16)


@njit(cache=True, nogil=True)
def insert(parent, weight, u, v, w):
    """Insert edge (u, v) of weight ``w`` into the threshold forest.

    Returns the weight that leaves the minimum spanning forest (``w`` itself if the edge changes nothing), or -1 if two
    components were joined.
    """
    while True:
        while weight[u] <= w:
            u = parent[u]
        while weight[v] <= w:
            v = parent[v]
        if u == v:
            return w
        if _priority(u) > _priority(v):
            u, v = v, u
        # u hangs below v from now on; its old link, which is longer, is re-inserted between the two
        old_parent, old_weight = parent[u], weight[u]
        parent[u], weight[u] = v, w
        if old_weight == LAST:
            return -1
        u, w = old_parent, old_weight


@njit(cache=True, nogil=True, inline="always")
def _note(delta, touched, count, key, change, kind):
    if delta[0, key] == 0 and delta[1, key] == 0 and not delta[2, key]:
        delta[2, key] = 1
        touched[count] = key
        count += 1
    delta[kind, key] += change
    return count


@njit(cache=True, nogil=True)
def graph_components(order, vertex_key, start, neighbour, edge_key, keys):
    """Component and Euler measures of a graph whose vertices are inserted in ``order``.

    ``vertex_key`` (V,) and ``edge_key`` (per entry of the neighbour lists ``start``/``neighbour``) are integer
    positions on the first axis, below ``keys``; an edge is never before its vertices. Returns ``key``, ``step`` (the
    vertex whose insertion causes the change), ``components`` and ``euler``: the weights of both measures at that place.
    """
    size = len(vertex_key)
    parent = np.arange(size)
    weight = np.full(size, LAST)
    inserted = np.zeros(size, np.bool_)
    delta = np.zeros((3, keys), np.int64)
    touched = np.empty(keys, np.int64)
    room = 4 * size + 16
    out = np.empty((4, room), np.int64)
    filled = 0
    for v in order:
        inserted[v] = True
        count = _note(delta, touched, 0, vertex_key[v], 1, 0)
        delta[1, vertex_key[v]] += 1
        for position in range(start[v], start[v + 1]):
            u = neighbour[position]
            if not inserted[u] or u == v:
                continue
            key = edge_key[position]
            count = _note(delta, touched, count, key, -1, 1)
            left = insert(parent, weight, u, v, key)
            if left != key:
                count = _note(delta, touched, count, key, -1, 0)
                if left >= 0:
                    count = _note(delta, touched, count, left, 1, 0)
        if filled + count > out.shape[1]:
            out = _grown_table(out, filled + count)
        filled = _flush(delta, touched, count, v, out, filled)
    return out[0, :filled], out[1, :filled], out[2, :filled], out[3, :filled]


@njit(cache=True, nogil=True)
def image_components(order, key, height, width):
    """Component and Euler measures of a 2-D image (pixels are vertices, 4-neighbours, squares) as in
    `graph_components`.

    ``order`` lists flat pixels along the second axis, ``key`` (height * width,) is the position of each on the first.
    """
    size = height * width
    parent = np.arange(size)
    weight = np.full(size, LAST)
    frame = np.zeros((height + 2, width + 2), np.bool_)
    delta = np.zeros((3, size), np.int64)
    touched = np.empty(size, np.int64)
    out = np.empty((4, 4 * size + 16), np.int64)
    filled = 0
    for v in order:
        r, c = v // width, v % width
        frame[r + 1, c + 1] = True
        here = key[v]
        count = _note(delta, touched, 0, here, 1, 0)
        delta[1, here] += 1
        for side in range(4):
            dr = (side == 1) - (side == 3)
            dc = (side == 0) - (side == 2)
            if not frame[r + 1 + dr, c + 1 + dc]:
                continue
            u = v + dr * width + dc
            edge = max(here, key[u])
            count = _note(delta, touched, count, edge, -1, 1)
            left = insert(parent, weight, u, v, edge)
            if left != edge:
                count = _note(delta, touched, count, edge, -1, 0)
                if left >= 0:
                    count = _note(delta, touched, count, left, 1, 0)
        for corner in range(4):
            dr = 1 if corner & 1 else -1
            dc = 1 if corner & 2 else -1
            if frame[r + 1 + dr, c + 1] and frame[r + 1, c + 1 + dc] and frame[r + 1 + dr, c + 1 + dc]:
                square = max(max(here, key[v + dr * width]), max(key[v + dc], key[v + dr * width + dc]))
                count = _note(delta, touched, count, square, 1, 1)
        if filled + count > out.shape[1]:
            out = _grown_table(out, filled + count)
        filled = _flush(delta, touched, count, v, out, filled)
    return out[0, :filled], out[1, :filled], out[2, :filled], out[3, :filled]


@njit(cache=True, nogil=True)
def _flush(delta, touched, count, v, out, filled):
    """Write the non-zero changes of this step and clear them."""
    for position in range(count):
        key = touched[position]
        if delta[0, key] != 0 or delta[1, key] != 0:
            out[0, filled], out[1, filled] = key, v
            out[2, filled], out[3, filled] = delta[0, key], delta[1, key]
            filled += 1
        delta[0, key] = 0
        delta[1, key] = 0
        delta[2, key] = 0
    return filled


@njit(cache=True, nogil=True)
def _grown_table(table, needed):
    larger = np.empty((table.shape[0], 2 * needed), table.dtype)
    larger[:, : table.shape[1]] = table
    return larger


@njit(cache=True, nogil=True)
def elder_pairs(vertex_rank, first, second, sorted_edges):
    """Pairs of the elder rule: for every edge in sorted order, the vertex whose component it ends (-1 if it closes a
    cycle). ``vertex_rank`` orders the births of the vertices."""
    parent = np.arange(len(vertex_rank))
    ended = np.full(len(sorted_edges), -1, np.int64)
    for position in range(len(sorted_edges)):
        edge = sorted_edges[position]
        u, v = _root(parent, first[edge]), _root(parent, second[edge])
        if u == v:
            continue
        # roots are the eldest vertices of their components
        if vertex_rank[u] > vertex_rank[v]:
            u, v = v, u
        parent[v] = u
        ended[position] = v
    return ended


@njit(cache=True, nogil=True)
def _root(parent, v):
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v


@njit(cache=True, nogil=True)
def sliced_rows(place, weight, order, offset):
    """Sorted projections and their weights as `sliced_areas` reads them, from ``place`` and ``order`` (lines, atoms).

    ``order`` sorts each measure, the atoms ``offset[m]``..``offset[m + 1]``, on each line. Every measure is followed by an
    empty atom at infinity; lines come in fours, those added have no mass.
    """
    lines, atoms = place.shape
    measures = len(offset) - 1
    rows = -(-lines // 4) * 4
    ordered, masses = np.zeros((rows, atoms + measures)), np.zeros((rows, atoms + measures))
    for row in range(rows):
        for m in range(measures):
            if row < lines:
                for atom in range(offset[m], offset[m + 1]):
                    ordered[row, atom + m] = place[row, order[row, atom]]
                    masses[row, atom + m] = weight[order[row, atom]]
            ordered[row, offset[m + 1] + m] = np.inf
    return ordered, masses


@njit(cache=True, nogil=True)
def sliced_areas(place, mass, offset, first, second, lines):
    """Areas under |distribution function| of measure minus measure, mean over ``lines``, for many pairs of measures.

    ``place``, ``mass`` (a multiple of 4 rows, atoms): projections and weights of the atoms on each line (rows beyond
    ``lines`` have mass zero), those of measure m at the positions ``offset[m]``..``offset[m + 1]``, increasing, the last
    of each at infinity with mass zero. Pairs are (``first[k]``, ``second[k]``).
    """
    areas = np.zeros(len(first))
    for row in range(0, place.shape[0], 4):
        p0, p1, p2, p3 = place[row], place[row + 1], place[row + 2], place[row + 3]
        m0, m1, m2, m3 = mass[row], mass[row + 1], mass[row + 2], mass[row + 3]
        for k in range(len(first)):
            begin, other = offset[first[k]], offset[second[k]]
            steps = offset[first[k] + 1] - begin + offset[second[k] + 1] - other - 2
            i0 = i1 = i2 = i3 = np.uint64(begin)
            l0 = l1 = l2 = l3 = 0.0
            s0 = s1 = s2 = s3 = 0.0
            a0 = a1 = a2 = a3 = 0.0
            # a merge waits for its own last step: four of them side by side keep the core busy
            for step in range(steps):
                both = np.uint64(begin + other + step)
                i0, l0, s0, a0 = _merge_step(p0, m0, i0, both, l0, s0, a0)
                i1, l1, s1, a1 = _merge_step(p1, m1, i1, both, l1, s1, a1)
                i2, l2, s2, a2 = _merge_step(p2, m2, i2, both, l2, s2, a2)
                i3, l3, s3, a3 = _merge_step(p3, m3, i3, both, l3, s3, a3)
            areas[k] += (a0 + a1 + a2 + a3) / lines
    return areas


@njit(inline="always", nogil=True)
def _merge_step(place, mass, i, both, level, last, area):
    """One atom of two merged lists, the first at ``i``, the second at ``both - i``; infinite ends spare the branches.

    Unsigned positions spare the test for negative ones.
    """
    j = both - i
    a, b = place[i], place[j]
    take = np.int64(a <= b)
    spot = min(a, b)
    area += abs(level) * (spot - last)
    level += take * mass[i] - (1 - take) * mass[j]
    return i + np.uint64(take), level, spot, area


@njit(cache=True, nogil=True)
def sliced_gradient(place, mass, offset, first, second, lines, upstream, order, gradient):
    """Add to ``gradient`` (lines, atoms) the derivative of the sum of ``upstream[k]`` times area k of `sliced_areas`.

    ``order`` (lines, atoms) is that of `sliced_rows`: the atoms have their places back.
    """
    for line in range(lines):
        here, weight, atom = place[line], mass[line], order[line]
        for k in range(len(first)):
            i, j = offset[first[k]], offset[second[k]]
            steps = offset[first[k] + 1] - i + offset[second[k] + 1] - j - 2
            scale = upstream[k] / lines
            level = 0.0
            for _ in range(steps):
                take = np.int64(here[i] <= here[j])
                change = take * weight[i] - (1 - take) * weight[j]
                spot = atom[i - first[k] if take else j - second[k]]
                gradient[line, spot] += scale * (abs(level) - abs(level + change))
                level += change
                i += take
                j += 1 - take


def warm() -> None:
    """Compile every kernel of this module on a tiny input and keep it in the cache."""
    none, line = np.zeros((0, 0)), np.arange(3)
    function_rips_components(np.zeros((3, 2)), none, False)
    graph_components(line, line, np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1]), np.array([1, 1, 2, 2]), 3)
    image_components(np.arange(4), np.arange(4), 2, 2)
    rows, pair = np.tile(np.array([0.0, np.inf, 0.0, np.inf]), (4, 1)), np.zeros(1, np.int64)
    ends = np.array([0, 2, 4])
    sliced_rows(np.zeros((1, 2)), np.zeros(2), np.zeros((1, 2), np.int64), np.array([0, 1, 2]))
    sliced_areas(rows, np.zeros((4, 4)), ends, pair, pair + 1, 1)
    sliced_gradient(
        rows, np.zeros((4, 4)), ends, pair, pair + 1, 1, np.ones(1), np.zeros((1, 2), np.int64), np.zeros((1, 2))
    )
    elder_pairs(line, np.array([0, 1]), np.array([1, 2]), np.arange(2))
