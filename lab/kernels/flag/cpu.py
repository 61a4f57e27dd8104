"""Loops of filtered flag complexes: numba, exact over Z/2.

Edges are known by their position in a strict order (value, id), so that every comparison is between integers and every
result names one edge. A vertex is known by its position in the order of the second parameter.

Three steps. `collapse` removes every edge whose closed neighbourhood is, at all grades at once, covered by one vertex
(strong filtration domination: Angel Alonso, Michael Kerber, Siddharth Pritam, 'Filtration-domination in bifiltered
graphs', ALENEX 2023); the homology of every subcomplex stays. `triangles` lists the triangles of what is left. `insert`
reduces boundary columns in the way of Michael Lesnick and Matthew Wright, 'Computing minimal presentations and bigraded
Betti numbers of 2-parameter persistent homology', SIAM J. Applied Algebra and Geometry 2022: a pivot belongs to the
earliest column that can have it, so inserting a column late displaces at most one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

ABSENT = np.int32(2**31 - 1)
BLOCK = 64


@njit(cache=True, nogil=True)
def collapse(rank, first, second, ordered):
    """Remove dominated edges from the symmetric ``rank`` (n, n) int32 in place; returns how many went.

    ``first``, ``second`` list the edges to try, in this order. ``ordered``: a covering vertex must not come after both
    ends (second parameter = position of the vertex). Removed edges get the rank ``ABSENT``.
    """
    n = len(rank)
    removed = 0
    kept_candidate = np.full(n, -1, np.int64)
    for position in range(len(first)):
        u, v = first[position], second[position]
        own = rank[u, v]
        if own == ABSENT:
            continue
        last = max(u, v) + 1 if ordered else n
        found = False
        # neighbouring edges are often covered by the same vertex
        guess = kept_candidate[u]
        if guess >= 0 and guess < last and guess != v and rank[u, guess] < own and rank[v, guess] < own:
            found = _covers(rank, u, v, guess, own)
            w = guess
        if not found:
            row_u, row_v = rank[u], rank[v]
            for candidate in range(last):
                if row_u[candidate] < own and row_v[candidate] < own and candidate != u and candidate != v:
                    if candidate != guess and _covers(rank, u, v, candidate, own):
                        found = True
                        w = candidate
                        break
        if found:
            kept_candidate[u] = w
            rank[u, v] = ABSENT
            rank[v, u] = ABSENT
            removed += 1
    return removed


@njit(cache=True, nogil=True, inline="always")
def _covers(rank, u, v, w, own):
    """Whether every common neighbour x of u and v is joined to w no later than it completes the triangle (u, v, x)."""
    n = len(rank)
    row_u, row_v, row_w = rank[u], rank[v], rank[w]
    for start in range(0, n, BLOCK):
        fails = False
        for x in range(start, min(start + BLOCK, n)):
            fails |= row_w[x] > max(own, max(row_u[x], row_v[x]))
        if fails:
            return False
    return True


@njit(cache=True, nogil=True)
def triangles(rank):
    """Triangles of the graph ``rank`` (n, n): columns (longest, middle, shortest edge, latest vertex), grouped by the
    latest vertex in increasing order."""
    n = len(rank)
    out = np.empty((1024, 4), np.int64)
    count = 0
    near = np.empty(n, np.int64)
    for t in range(n):
        size = 0
        for i in range(t):
            if rank[t, i] != ABSENT:
                near[size] = i
                size += 1
        for a in range(size):
            i = near[a]
            for b in range(a + 1, size):
                j = near[b]
                if rank[i, j] == ABSENT:
                    continue
                if count == len(out):
                    larger = np.empty((2 * count, 4), np.int64)
                    larger[:count] = out
                    out = larger
                x, y, z = rank[t, i], rank[t, j], rank[i, j]
                longest, shortest = max(x, max(y, z)), min(x, min(y, z))
                out[count, 0] = longest
                out[count, 1] = np.int64(x) + y + z - longest - shortest
                out[count, 2] = shortest
                out[count, 3] = t
                count += 1
    return out[:count]


@njit(cache=True, nogil=True)
def storage(rows):
    """Empty reduced matrix: the column with pivot p takes p // 64 + 1 words from ``offset[p]``."""
    offset = np.empty(rows + 1, np.int64)
    total = 0
    for p in range(rows):
        offset[p] = total
        total += p // 64 + 1
    offset[rows] = total
    return np.zeros(total, np.uint64), offset, np.full(rows, -1, np.int64), np.zeros(rows // 64 + 1, np.uint64)


@njit(cache=True, nogil=True)
def insert(words, offset, label, current, pivot, own):
    """Reduce the column in ``current`` with largest row ``pivot`` and label ``own``; ``current`` is left all zero.

    ``label[p]`` is the label of the column whose pivot is p, -1 if there is none. Returns the label of the column that
    became zero (``own`` itself if it was a combination of earlier ones), or -1 if the rank grew.
    """
    while True:
        begin = offset[pivot]
        size = pivot // 64 + 1
        if label[pivot] < 0:
            for k in range(size):
                words[begin + k] = current[k]
                current[k] = 0
            label[pivot] = own
            return -1
        if label[pivot] > own:
            # the earlier column takes the pivot, the later one goes on
            for k in range(size):
                taken = words[begin + k]
                words[begin + k] = current[k]
                current[k] ^= taken
            own, label[pivot] = label[pivot], own
        else:
            for k in range(size):
                current[k] ^= words[begin + k]
        k = size - 1
        while k >= 0 and current[k] == 0:
            k -= 1
        if k < 0:
            return own
        pivot = 64 * k + _top_bit(current[k])


@njit(cache=True, nogil=True, inline="always")
def _top_bit(word):
    bit = 0
    for step in (32, 16, 8, 4, 2, 1):
        if word >> np.uint64(step):
            word >>= np.uint64(step)
            bit += step
    return bit


@njit(cache=True, nogil=True, inline="always")
def _set(current, row):
    current[row >> 6] |= np.uint64(1) << np.uint64(row & 63)


@njit(cache=True, nogil=True)
def reduce_triangles(rows, columns):
    """Insert the ``columns`` (m, 4) of `triangles`, whose entries are edges 0..rows-1, one after the other.

    Returns the changes of the rank: ``edge``, ``vertex``, ``sign`` (+1: a column with this longest edge became
    independent at this vertex, -1: it stopped being so), and the final ``label`` of every pivot: edge p is the birth
    and label[p] the death of a loop.
    """
    words, offset, label, current = storage(rows)
    edge = np.empty(2 * len(columns) + 1, np.int64)
    vertex = np.empty(2 * len(columns) + 1, np.int64)
    sign = np.empty(2 * len(columns) + 1, np.int64)
    count = 0
    for position in range(len(columns)):
        longest = columns[position, 0]
        _set(current, longest)
        _set(current, columns[position, 1])
        _set(current, columns[position, 2])
        gone = insert(words, offset, label, current, longest, longest)
        if gone == longest:
            continue
        edge[count], vertex[count], sign[count] = longest, columns[position, 3], 1
        count += 1
        if gone >= 0:
            edge[count], vertex[count], sign[count] = gone, columns[position, 3], -1
            count += 1
    return edge[:count], vertex[:count], sign[:count], label


@njit(cache=True, nogil=True)
def rank_table(rows, width, columns, column_first, column_second, row_second, row_first, lines):
    """Counts behind the rank invariant on a grid, for one degree.

    ``columns`` (m, width) hold the rows of each boundary, ``column_first``/``column_second`` (m,) and
    ``row_first``/``row_second`` (rows,) are grid positions (``lines`` = (first, second); a position equal to the number
    of lines is never reached); columns are sorted by ``column_second``, then ``column_first``. Returns
    ``table[s, t, s', t']``: the dimension of the boundaries of the complex at (s', t') that are supported at (s, t) <=
    (s', t').
    """
    n_first, n_second = lines
    table = np.zeros((n_first, n_second, n_first, n_second), np.int64)
    position = np.empty(rows, np.int64)
    for t in range(n_second):
        # rows present at t come first, by their first position: a pivot among them is a boundary supported there
        place = 0
        for late in range(2):
            order = np.argsort(row_first, kind="mergesort")
            for row in order:
                if (row_second[row] > t) == (late == 1):
                    position[row] = place
                    place += 1
        words, offset, label, current = storage(rows)
        row_at = np.empty(rows, np.int64)
        for row in range(rows):
            row_at[position[row]] = row
        done = 0
        for later in range(n_second):
            while done < len(columns) and column_second[done] <= later:
                pivot = -1
                if column_first[done] < n_first:
                    for k in range(width):
                        row = position[columns[done, k]]
                        _set(current, row)
                        pivot = max(pivot, row)
                    insert(words, offset, label, current, pivot, column_first[done])
                done += 1
            if later < t:
                continue
            for p in range(rows):
                if label[p] < 0:
                    continue
                row = row_at[p]
                if row_second[row] <= t and row_first[row] < n_first:
                    table[row_first[row], t, label[p], later] += 1
        for s in range(1, n_first):
            table[s, t] += table[s - 1, t]
        for s in range(1, n_first):
            table[:, t, s] += table[:, t, s - 1]
    return table


def warm() -> None:
    """Compile every kernel of this module on a tiny input and keep it in the cache."""
    rank = np.array([[0, 0, 1], [0, 0, 2], [1, 2, 0]], np.int32)
    np.fill_diagonal(rank, -1)
    edges = np.array([1, 0, 0]), np.array([2, 2, 1])
    columns = triangles(rank)
    collapse(rank.copy(), *edges, True)
    reduce_triangles(3, columns)
    none = np.zeros(1, np.int64)
    rank_table(3, 3, columns[:, :3].copy(), none, none, np.zeros(3, np.int64), np.zeros(3, np.int64), (1, 1))
