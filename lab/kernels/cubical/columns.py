"""Dimension 1 of volumes: reduction of the boundary matrix of squares over the field with two elements.

Columns are squares in the order of one volume, rows edges in the order of the same or of another one (image
persistence). Two kinds of cells never enter: squares that begin a cavity (their columns reduce to zero: *clearing*),
and edges that end a component in the order of the rows. A boundary is a cycle, the last edge of a cycle never joins
two components, and a cycle is known from its other edges; so rows of the spanning forest change no pivot, and columns
are a third shorter without them.

The last row of every column is found in a pass in the order of memory. A column whose last row is still free is paired
as it stands and not stored (it is its square). Others are sums of
earlier columns, kept as sorted lists of rows; long ones are summed in a tree of bits, 64 children a node.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LONG = 256  # entries above which a column moves to the tree of bits


@njit(cache=True, nogil=True)
def rows_of_edges(edges, tree, size):
    """``(place, edge)``: the row of every edge, -1 for edges of the spanning forest ``tree``, and the edge of each row."""
    place = np.full(3 * size, -1, np.int32)
    back = np.empty(len(edges), np.int32)
    used = 0
    for k in range(len(edges)):
        if not tree[edges[k]]:
            place[edges[k]] = used
            back[used] = edges[k]
            used += 1
    return place, back[:used].copy()


@njit(cache=True, nogil=True)
def _faces(place, step, square, out):
    """Rows of the square's edges, ascending, in ``out``; returns their number."""
    v, t = square // 3, square % 3
    p, q = 1 if t == 0 else 0, 1 if t == 2 else 2
    used = 0
    for k in range(4):
        anchor = v if k < 2 else v + step[q] if k == 2 else v + step[p]
        row = place[3 * anchor + (p if k == 0 or k == 2 else q)]
        if row < 0:
            continue
        at = used
        while at > 0 and out[at - 1] > row:
            out[at] = out[at - 1]
            at -= 1
        out[at] = row
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


@njit(cache=True, nogil=True)
def _flip(bits, heads, levels, row):
    """Change one bit; clear or set the way up where a node empties or fills."""
    for level in range(levels):
        word = heads[level] + (row >> 6)
        before = bits[word]
        after = before ^ (np.uint64(1) << np.uint64(row & 63))
        bits[word] = after
        if (before == 0) == (after == 0):
            return
        row >>= 6


@njit(cache=True, nogil=True)
def _last_bit(word):
    found = 0
    for shift in (32, 16, 8, 4, 2, 1):
        if word >> np.uint64(shift):
            word >>= np.uint64(shift)
            found += shift
    return found


@njit(cache=True, nogil=True)
def _last(bits, heads, levels):
    """The largest row whose bit is set, -1 for none."""
    if bits[heads[levels - 1]] == 0:
        return -1
    row = 0
    for level in range(levels - 1, -1, -1):
        row = 64 * row + _last_bit(bits[heads[level] + row])
    return row


@njit(cache=True, nogil=True)
def _tree(rows):
    """``(bits, heads, levels)`` of an empty tree over so many rows."""
    heads = np.zeros(8, np.int64)
    total, width, levels = 0, rows, 0
    while True:
        width = (width + 63) >> 6
        heads[levels] = total
        total += width
        levels += 1
        if width <= 1:
            break
    return np.zeros(max(total, 1), np.uint64), heads, levels


@njit(cache=True, nogil=True)
def _grown(array, length):
    result = np.empty(2 * length, array.dtype)
    result[: len(array)] = array
    return result


@njit(cache=True, nogil=True)
def _last_rows(shape, cleared, place, step):
    """By square the last row of its column, -1 where there is none: a pass in the order of memory."""
    tops = np.full(len(place), -1, np.int32)
    nx, ny, nz = shape
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                v = (x * ny + y) * nz + z
                more = (x < nx - 1, y < ny - 1, z < nz - 1)
                for t in range(3):
                    p, q = 1 if t == 0 else 0, 1 if t == 2 else 2
                    if more[p] and more[q] and not cleared[3 * v + t]:
                        near = max(place[3 * v + p], place[3 * v + q])
                        far = max(place[3 * (v + step[q]) + p], place[3 * (v + step[p]) + q])
                        tops[3 * v + t] = max(near, far)
    return tops


@njit(cache=True, nogil=True)
def pivots(squares, cleared, place, rows, shape, step):
    """The row with which each of ``squares`` is paired, -1 for those ``cleared`` (and for columns that vanish), and the
    reduced column of the last square, ascending."""
    found = np.full(len(squares), -1, np.int32)
    owner = np.zeros(rows, np.int32)  # 0: free, square + 1: the square itself, -slot - 1: a stored column
    begins = np.zeros(64, np.int64)
    slots = 0
    pool = np.empty(1024, np.int32)
    face, work, spare = np.empty(4, np.int32), np.empty(1024, np.int32), np.empty(1024, np.int32)
    bits, heads, levels = _tree(rows)
    last = face[:0]
    tops = _last_rows(shape, cleared, place, step)
    for k in range(len(squares)):
        square = np.int64(squares[k])
        row = tops[square]
        if row < 0:
            continue
        if owner[row] == 0:
            owner[row] = square + 1
            found[k] = row
            if k == len(squares) - 1:
                last = work[: _faces(place, step, square, work)].copy()
            continue
        used = _faces(place, step, square, work)
        wide = False
        while True:
            held = owner[row]
            if held == 0:
                break
            if held > 0:
                other, low, high = face, 0, _faces(place, step, np.int64(held - 1), face)
            else:
                other, low, high = pool, begins[-held - 1], begins[-held]
            if not wide and used + high - low > LONG:
                wide = True
                for i in range(used):
                    _flip(bits, heads, levels, np.int64(work[i]))
            if wide:
                for i in range(low, high):
                    _flip(bits, heads, levels, np.int64(other[i]))
                row = _last(bits, heads, levels)
                if row < 0:
                    break
            else:
                used = _add(work, used, spare, other, low, high)
                if used == 0:
                    row = -1
                    break
                row = work[used - 1]
        if row < 0:
            continue
        found[k] = row
        begin = begins[slots]
        if wide:
            used = 0
            at = row
            while at >= 0:
                if used == len(work):
                    work = _grown(work, used)
                work[used] = at
                used += 1
                _flip(bits, heads, levels, np.int64(at))
                at = _last(bits, heads, levels)
        if begin + used > len(pool):
            pool = _grown(pool, begin + used)
        for i in range(used):
            pool[begin + i] = work[used - 1 - i] if wide else work[i]
        slots += 1
        if slots == len(begins):
            begins = _grown(begins, slots)
        begins[slots] = begin + used
        owner[row] = -slots
        if k == len(squares) - 1:
            last = pool[begin : begin + used].copy()
    return found, last
