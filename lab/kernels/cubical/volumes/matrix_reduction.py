"""Dimension 1 of volumes: reduction of the boundary matrix of squares over the field with two elements.

Columns are squares in the order of one volume, rows edges in the order of the same or of another one (image
persistence); a row is the int64 key (level, code) of its edge. What never enters:

- squares that begin a cavity (their columns reduce to zero: *clearing*);
- edges that end a component in the order of the rows. A boundary is a cycle, the last edge of a cycle never joins two
  components, and a cycle is known from its other edges; so rows of the spanning forest change no pivot;
- squares and edges that name each other, the square the first at its edge, the edge the last of its square: such a
  square stays as it is and is found from the edge when it is needed.

The other columns are reduced in the order of memory, so that what one needs lies where the one before left it. Where a
column meets a row whose owner comes later in the order, it takes the row and the owner goes on. Only earlier columns are
ever added to later ones, so the pairs are those of the reduction from first to last.

Source of the exchange: Dmitriy Morozov, Arnur Nigmetov, 'Towards Lockfree Persistent Homology', SPAA 2020.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.volumes.cells import sides, square_level, strides

LOW = np.int64(0xFFFFFFFF)
# by axis and number of its first square (see ``stencils.cofaces``): what ``faces`` says if the edge is that square's last
LAST = np.array([[0, 2, 2, 0, 0], [0, 3, 2, 0, 1], [0, 3, 3, 1, 1]], np.uint8)


def pivots(r, marks, last, c, first, squares, shape, report=None):
    """By square of ``squares`` (codes ascending) the code of the edge it is paired with.

    Args:
        r, marks, last: framed levels that order the rows, the marks of their edges, ``faces(r)``.
        c, first: framed levels that order the columns, ``cofaces(c)``.
        squares: ``columns_left`` of the marks of the columns' squares, ``last`` and ``first``.
        report: called with the number of columns after each chunk.
    """
    return reduced(r, marks, last, c, first, squares, shape, report)[0]


def reduced(r, marks, last, c, first, squares, shape, report=None, chunk=1 << 16):
    """:func:`pivots` and what the columns are: ``(pivots, spans, pool)``; column ``k`` is ``pool[slice(*spans[k])]``, keys
    ascending, or the square's boundary where ``spans[k, 0] < 0``."""
    found = np.full(len(squares), -1, np.int32)
    owner = np.full(3 * len(r), -1, np.int32)
    spans = np.full((len(squares), 2), -1, np.int64)
    pool, work, spare = np.empty(4096, np.int64), np.empty(1024, np.int64), np.empty(1024, np.int64)
    state = np.zeros(5, np.int64)
    for end in range(chunk, len(squares) + chunk, chunk):
        end = min(end, len(squares))
        while not advance(end, r, marks, last, c, first, squares, shape, found, owner, spans, pool, work, spare, state):
            longest, top = state[LONGEST] + state[USED] + 8, state[TOP] + state[USED]
            if longest > len(work):
                work, spare = _grown(work, 2 * longest), _grown(spare, 2 * longest)
            if top > len(pool):
                pool = _grown(pool, 2 * top)
        if report is not None:
            report(end)
    return found, spans, pool


NEXT, COLUMN, USED, TOP, LONGEST = range(
    5
)  # the state of a reduction; COLUMN is 0 between columns, else minus number - 1


@njit(cache=True, nogil=True)
def advance(end, r, marks, last, c, first, squares, shape, found, owner, spans, pool, work, spare, state):
    """Reduce the columns up to ``end``; false if there is no room left, to be called again with more."""
    step, size = strides(shape), len(r)
    face = np.empty(4, np.int64)
    start, top, longest = state[NEXT], state[TOP], state[LONGEST]
    k, used = -state[COLUMN] - 1, state[USED]
    plain = False
    while k >= 0 or start < end:
        if k < 0:
            k = start
            start += 1
            used = boundary(r, marks, step, size, np.int64(squares[k]), work)
            plain = True
        if used + longest + 8 > len(work) or top + used > len(pool):
            state[NEXT], state[TOP], state[LONGEST] = start, top, longest
            state[COLUMN], state[USED] = -k - 1, used
            return False
        edge = work[used - 1] & LOW if used > 0 else 0
        v, t = edge >> 2, edge & 3
        number = first[t * size + v]
        anchor, kind = _coface(step, t, v, number)
        if used > 0 and last[kind * size + anchor] == LAST[t, number]:
            used = _add_square(r, marks, step, size, anchor, kind, edge, work, used - 1)
            plain = False
            continue
        held = owner[t * size + v] if used > 0 else -1
        if held < 0:
            if used > 0:
                owner[t * size + v] = k
                found[k] = edge
                if not plain:
                    top = _stored(pool, top, work, used, spans, k)
                    longest = max(longest, used)
            k = -1
            continue
        later = _later(c, step, np.int64(squares[held]), np.int64(squares[k]))
        if later:
            owner[t * size + v] = k
            found[k] = edge
            if not plain:
                top = _stored(pool, top, work, used, spans, k)
                longest = max(longest, used)
        low, high = spans[held, 0], spans[held, 1]
        if low < 0:
            high = boundary(r, marks, step, size, np.int64(squares[held]), face)
            used = _add(work, used, spare, face, 0, high)
        else:
            used = _add(work, used, spare, pool, low, high)
        plain = False
        if later:
            k = np.int64(held)
    state[NEXT], state[TOP], state[LONGEST], state[COLUMN] = start, top, longest, 0
    return True


@njit(cache=True, nogil=True)
def boundary(r, marks, step, size, square, out):
    """Keys of the square's edges outside the forest, ascending, in ``out``; returns their number."""
    v, kind = square >> 2, square & 3
    p, q = sides(kind)
    w, u = v + step[q], v + step[p]
    levels = (r[v], r[u], r[w], r[u + step[q]])
    used = 0
    for side in range(4):
        if side == 0:
            anchor, axis, level = v, p, max(levels[0], levels[1])
        elif side == 1:
            anchor, axis, level = v, q, max(levels[0], levels[2])
        elif side == 2:
            anchor, axis, level = w, p, max(levels[2], levels[3])
        else:
            anchor, axis, level = u, q, max(levels[1], levels[3])
        if marks[axis * size + anchor] == 1:
            continue
        key = (np.int64(level) << 32) | (4 * anchor + axis)
        at = used
        while at > 0 and out[at - 1] > key:
            out[at] = out[at - 1]
            at -= 1
        out[at] = key
        used += 1
    return used


@njit(cache=True, nogil=True)
def _add_square(r, marks, step, size, v, kind, known, work, used):
    """Sum of ``work[:used]`` and the square's edges but the one with code ``known``; returns its length."""
    p, q = sides(kind)
    w, u = v + step[q], v + step[p]
    corner, up, beside, far = r[v], r[u], r[w], r[u + step[q]]
    for side in range(4):
        if side == 0:
            anchor, axis, level = v, p, max(corner, up)
        elif side == 1:
            anchor, axis, level = v, q, max(corner, beside)
        elif side == 2:
            anchor, axis, level = w, p, max(beside, far)
        else:
            anchor, axis, level = u, q, max(up, far)
        code = 4 * anchor + axis
        if code == known or marks[axis * size + anchor] == 1:
            continue
        key = (np.int64(level) << 32) | code
        at = used
        while at > 0 and work[at - 1] > key:
            at -= 1
        if at > 0 and work[at - 1] == key:
            for i in range(at - 1, used - 1):
                work[i] = work[i + 1]
            used -= 1
        else:
            for i in range(used, at, -1):
                work[i] = work[i - 1]
            work[at] = key
            used += 1
    return used


@njit(cache=True, nogil=True)
def _add(work, used, spare, other, low, high):
    """Sum of ``work[:used]`` and ``other[low:high]``, both ascending, in ``work``; returns its length."""
    i, j, top = used - 1, high - 1, 0
    while j >= low:
        if i < 0 or work[i] < other[j]:
            spare[top] = other[j]
            top += 1
            j -= 1
        elif work[i] > other[j]:
            spare[top] = work[i]
            top += 1
            i -= 1
        else:
            i -= 1
            j -= 1
    for k in range(top):
        work[i + 1 + k] = spare[top - 1 - k]
    return i + 1 + top


@njit(cache=True, nogil=True, inline="always")
def _coface(step, axis, v, number):
    """Anchor and type of the square with this number at an edge."""
    u, w = 1 if axis == 0 else 0, 1 if axis == 2 else 2
    if number == 1:
        return v - step[u], w
    if number == 2:
        return v - step[w], u
    return (v, u) if number == 3 else (v, w)


@njit(cache=True, nogil=True)
def _later(c, step, one, two):
    first, second = square_level(c, step, one), square_level(c, step, two)
    return first > second or (first == second and one > two)


@njit(cache=True, nogil=True)
def _stored(pool, top, work, used, spans, k):
    """Keep a column, in its old place if it fits; returns the entries of the pool in use."""
    begin = spans[k, 0]
    if begin < 0 or spans[k, 1] - begin < used:
        begin = top
        top += used
    for i in range(used):
        pool[begin + i] = work[i]
    spans[k, 0], spans[k, 1] = begin, begin + used
    return top


@njit(cache=True, nogil=True)
def _grown(array, least):
    result = np.empty(max(2 * len(array), least), array.dtype)
    result[: len(array)] = array
    return result
