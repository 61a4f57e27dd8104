"""Cells of an image and their order: codes, values, voxels, stable sorting.

A vertex is its voxel (flat, C-order), an edge ``2 * anchor + type``, a square its anchor; ``anchor`` is the corner with
the lowest index, ``type`` the axis of an edge. Cells of one dimension are ordered by (value, code).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.inner import inner


@njit(cache=True, nogil=True, inline="always")
def edge_end(width, edge):
    """The far end of an edge; ``edge >> 1`` is the near one."""
    return (edge >> 1) + (1 if edge & 1 else width)


@njit(cache=True, nogil=True, inline="always")
def edge_value(f, width, edge):
    return max(f[edge >> 1], f[edge_end(width, edge)])


@njit(cache=True, nogil=True, inline="always")
def square_value(f, width, square):
    return max(max(f[square], f[square + 1]), max(f[square + width], f[square + width + 1]))


@inner
def square_values(f, height, width):
    """Value of every square, flat with the image's strides; last row and column are not squares and hold nothing."""
    values = np.empty(height * width, np.float64)
    for x in range(height - 1):
        top, bottom = f[x * width : (x + 1) * width], f[(x + 1) * width : (x + 2) * width]
        right_top, right_bottom = top[1:], bottom[1:]
        out = values[x * width : (x + 1) * width]
        for y in range(width - 1):
            out[y] = max(max(top[y], right_top[y]), max(bottom[y], right_bottom[y]))
    return values


@inner
def edge_voxel(f, width, edge):
    """The voxel that carries the edge's value; of two equal ones the far end."""
    near, far = edge >> 1, edge_end(width, edge)
    return far if f[far] >= f[near] else near


@inner
def square_voxel(f, width, square):
    """The voxel that carries the square's value; of equal ones the far corner, then along axis 0, then along axis 1."""
    value = square_value(f, width, square)
    if f[square + width + 1] == value:
        return square + width + 1
    if f[square + width] == value:
        return square + width
    if f[square + 1] == value:
        return square + 1
    return square


@inner
def stable_order(values):
    """``(order, sorted values)``: stable counting sort by the bits of the values, of those digits only that vary."""
    n = len(values)
    bits = np.empty(n, np.uint64)
    source = values.view(np.uint64)
    sign = np.uint64(1 << 63)
    varies = np.uint64(0)
    for k in range(n):
        word = source[k]
        word = ~word if word & sign else word | sign
        bits[k] = word
        varies |= word ^ bits[0]
    order = np.arange(n).astype(np.int32)
    other_bits, other_order = np.empty_like(bits), np.empty_like(order)
    digit_bits = 11 if n > 4096 else 8
    mask = np.uint64((1 << digit_bits) - 1)
    begins = np.empty((1 << digit_bits) + 1, np.int32)
    for shift in range(0, 64, digit_bits):
        amount = np.uint64(shift)
        if not (varies >> amount) & mask:
            continue
        begins[:] = 0
        for k in range(n):
            begins[np.int64((bits[k] >> amount) & mask) + 1] += 1
        for d in range(len(begins) - 1):
            begins[d + 1] += begins[d]
        for k in range(n):
            digit = np.int64((bits[k] >> amount) & mask)
            place = begins[digit]
            begins[digit] = place + 1
            other_bits[place] = bits[k]
            other_order[place] = order[k]
        bits, other_bits = other_bits, bits
        order, other_order = other_order, order
    ordered = other_bits.view(np.float64)
    for k in range(n):
        ordered[k] = values[order[k]]
    return order, ordered


@njit(cache=True, nogil=True, inline="always")
def find(parent, i):
    """The root of ``i``, halving the path."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
