"""Levels: int32 numbers in the order of the values, the same for two volumes that are compared.

Values that are float32 numbers (predictions of networks, masks, most files) carry their order in their bits. Others are
replaced by ranks. The least level is 0.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SPAN = 2**31 - 2  # levels from 0 to here, and the frame above


@njit(cache=True, nogil=True)
def levels(a, b):
    """Levels of two flat float64 arrays on one scale; ``b`` may be empty."""
    short_a, low_a, high_a, bits_a = _short_bits(a)
    short_b, low_b, high_b, bits_b = _short_bits(b)
    low, high = min(low_a, low_b), max(high_a, high_b)
    if short_a and short_b and high - low <= SPAN:
        _shift(bits_a, low)
        _shift(bits_b, low)
        return bits_a, bits_b
    _ranks(a, b, bits_a, bits_b)
    return bits_a, bits_b


@njit(cache=True, nogil=True)
def _short_bits(values):
    """``(all are float32, least, largest, bits)``, the bits in the order of the values."""
    n = len(values)
    short = np.empty(n, np.float32)
    bits = short.view(np.int32)
    same = True
    for k in range(n):
        value = np.float32(values[k]) + np.float32(0.0)  # of the two zeros the positive one
        short[k] = value
        same &= np.float64(value) == values[k]
    low, high = np.int32(2**31 - 1), np.int32(-(2**31))
    if same:
        for k in range(n):
            word = bits[k]
            word ^= (word >> 31) & np.int32(0x7FFFFFFF)
            bits[k] = word
            low, high = min(low, word), max(high, word)
    return same, np.int64(low), np.int64(high), bits


@njit(cache=True, nogil=True)
def _shift(bits, low):
    for k in range(len(bits)):
        bits[k] = np.int64(bits[k]) - low


@njit(cache=True, nogil=True)
def _ranks(a, b, out_a, out_b):
    """Dense ranks among the values of both."""
    n, m = len(a), len(a) + len(b)
    words = np.empty(m, np.uint64)
    _sortable(a.view(np.uint64), a, words[:n])
    _sortable(b.view(np.uint64), b, words[n:])
    low, high = words.min(), words.max()
    shift = np.uint64(0)
    while (high - low) >> shift > np.uint64(0xFFFFFFFF):
        shift += np.uint64(1)
    keys = np.empty(m, np.uint32)
    for k in range(m):
        keys[k] = (words[k] - low) >> shift
    order, keys = ascending(keys)
    if shift > np.uint64(0):
        _settle(order, keys, words)
    rank = 0
    for k in range(m):
        i = order[k]
        if k and (keys[k] != keys[k - 1] or words[i] != words[order[k - 1]]):
            rank += 1
        if i < n:
            out_a[i] = rank
        else:
            out_b[i - n] = rank


@njit(cache=True, nogil=True)
def _sortable(bits, values, out):
    """Words in the order of the values."""
    sign = np.uint64(1 << 63)
    for k in range(len(values)):
        word = bits[k] if values[k] != 0 else np.uint64(0)
        out[k] = ~word if word & sign else word | sign


@njit(cache=True, nogil=True)
def _settle(order, keys, words):
    """Sort the runs whose words agree in the bits that were sorted; long runs by a sort of their own."""
    n = len(order)
    begin = 0
    while begin < n:
        end = begin + 1
        while end < n and keys[end] == keys[begin]:
            end += 1
        if end - begin > 32:
            run = order[begin:end].copy()
            if (words[run] != words[run[0]]).any():
                order[begin:end] = run[np.argsort(words[run], kind="mergesort")]
        else:
            for k in range(begin + 1, end):
                i, at = order[k], k
                while at > begin and words[order[at - 1]] > words[i]:
                    order[at] = order[at - 1]
                    at -= 1
                order[at] = i
        begin = end


@njit(cache=True, nogil=True)
def ascending(keys):
    """``(order, sorted keys)``, stable, of uint32 ``keys``, which are spent: counting sort, 11 bits at a time."""
    n = len(keys)
    other = np.empty(n, np.uint32)
    order, spare = np.arange(n).astype(np.int32), np.empty(n, np.int32)
    if n == 0:
        return order, keys
    high = keys.max()
    bits = 11 if n > 4096 else 8
    begins = np.empty((1 << bits) + 1, np.int64)
    for shift in range(0, 32, bits):
        if high >> shift == 0:
            break
        begins[:] = 0
        for k in range(n):
            begins[(np.int64(keys[k]) >> shift & ((1 << bits) - 1)) + 1] += 1
        for d in range(1 << bits):
            begins[d + 1] += begins[d]
        for k in range(n):
            digit = np.int64(keys[k]) >> shift & ((1 << bits) - 1)
            place = begins[digit]
            begins[digit] = place + 1
            other[place], spare[place] = keys[k], order[k]
        keys, other, order, spare = other, keys, spare, order
    return order, keys
