"""Pair reductions in compiled loops: for one point x a tile of points y, whose distances stay in the first cache.

Points y arrive transposed, (d, m), so that every inner loop runs over neighbours in memory. ``code`` numbers the kernels as
in :data:`lab.kernels.pairwise.KERNELS`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.elementary import FAST, exp, exp2, f32, largest, log, wide

GAUSSIAN, LAPLACIAN, MATERN32, MATERN52, IMQ, ENERGY, DOT = range(7)
TILE = 512
R3, R5, T5 = f32(3.0**0.5), f32(5.0**0.5), f32(5.0 / 3.0)
HALF_LOG2E = f32(-0.7213475204444817)


@njit(cache=True, nogil=True, fastmath=FAST)
def measure(point, yt, low, high, code, tile):
    """Squared distances from ``point`` to columns low .. high - 1 of ``yt`` into ``tile``; products for DOT."""
    wide()
    size, d = high - low, len(point)
    if code == DOT:
        tile[:size] = f32(0.0)
        for axis in range(d):
            line, x = yt[axis, low:high], point[axis]
            for k in range(size):
                tile[k] += x * line[k]
        return
    first = (d - 1) % 3 + 1
    a, x = yt[0, low:high], point[0]
    b, y = yt[first // 2, low:high], point[first // 2]
    c, z = yt[first - 1, low:high], point[first - 1]
    if first == 3:
        for k in range(size):
            tile[k] = (x - a[k]) * (x - a[k]) + (y - b[k]) * (y - b[k]) + (z - c[k]) * (z - c[k])
    elif first == 2:
        for k in range(size):
            tile[k] = (x - a[k]) * (x - a[k]) + (z - c[k]) * (z - c[k])
    else:
        for k in range(size):
            tile[k] = (x - a[k]) * (x - a[k])
    for axis in range(first, d, 3):
        a, b, c = yt[axis, low:high], yt[axis + 1, low:high], yt[axis + 2, low:high]
        x, y, z = point[axis], point[axis + 1], point[axis + 2]
        for k in range(size):
            tile[k] += (x - a[k]) * (x - a[k]) + (y - b[k]) * (y - b[k]) + (z - c[k]) * (z - c[k])


@njit(cache=True, nogil=True, fastmath=FAST)
def kernel(tile, size, code):
    """k of the squared distances in ``tile``, in place."""
    wide()
    if code == GAUSSIAN:
        for k in range(size):
            tile[k] = exp2(HALF_LOG2E * tile[k])
    elif code == LAPLACIAN:
        for k in range(size):
            tile[k] = exp(-np.sqrt(tile[k]))
    elif code == MATERN32:
        for k in range(size):
            a = R3 * np.sqrt(tile[k])
            tile[k] = (f32(1.0) + a) * exp(-a)
    elif code == MATERN52:
        for k in range(size):
            a = R5 * np.sqrt(tile[k])
            tile[k] = (f32(1.0) + a + a * a * f32(1.0 / 3.0)) * exp(-a)
    elif code == IMQ:
        for k in range(size):
            tile[k] = f32(1.0) / np.sqrt(f32(1.0) + tile[k])
    elif code == ENERGY:
        for k in range(size):
            tile[k] = -np.sqrt(tile[k])


@njit(cache=True, nogil=True, fastmath=FAST)
def score(tile, size, code):
    """log k (k itself for ENERGY and DOT) of the squared distances in ``tile``, in place."""
    wide()
    if code == GAUSSIAN:
        for k in range(size):
            tile[k] = f32(-0.5) * tile[k]
    elif code == MATERN32:
        for k in range(size):
            a = R3 * np.sqrt(tile[k])
            tile[k] = log(f32(1.0) + a) - a
    elif code == MATERN52:
        for k in range(size):
            a = R5 * np.sqrt(tile[k])
            tile[k] = log(f32(1.0) + a + a * a * f32(1.0 / 3.0)) - a
    elif code == IMQ:
        for k in range(size):
            tile[k] = f32(-0.5) * log(f32(1.0) + tile[k])
    elif code != DOT:
        for k in range(size):
            tile[k] = -np.sqrt(tile[k])


@njit(cache=True, nogil=True, fastmath=FAST)
def slope(tile, size, code, of_score, out):
    """2 dk/d(r^2), or of the score, at the squared distances in ``tile``; 0 where points coincide at a kink."""
    wide()
    zero, one = f32(0.0), f32(1.0)
    if code == GAUSSIAN:
        for k in range(size):
            out[k] = f32(-1.0) if of_score else -exp(f32(-0.5) * tile[k])
    elif code == LAPLACIAN or code == ENERGY:
        for k in range(size):
            r = np.sqrt(tile[k])
            top = one if (of_score or code == ENERGY) else exp(-r)
            out[k] = -top / r if r > zero else zero
    elif code == MATERN32:
        for k in range(size):
            a = R3 * np.sqrt(tile[k])
            out[k] = f32(-3.0) / (one + a) if of_score else f32(-3.0) * exp(-a)
    elif code == MATERN52:
        for k in range(size):
            a = R5 * np.sqrt(tile[k])
            top = -T5 * (one + a)
            out[k] = top / (one + a + a * a * f32(1.0 / 3.0)) if of_score else top * exp(-a)
    elif code == IMQ:
        for k in range(size):
            inverse = one / (one + tile[k])
            out[k] = -inverse if of_score else -inverse * np.sqrt(inverse)
    else:
        for k in range(size):
            out[k] = one


@njit(cache=True, nogil=True, fastmath=FAST)
def weighted_sum(x, yt, vt, code, out, start, stop):
    """out[i, c] = sum_j k(x_i, y_j) v[c, j] for i in start .. stop - 1."""
    wide()
    m, tile = yt.shape[1], np.empty(TILE, f32)
    sums = np.empty(len(vt), np.float64)
    for i in range(start, stop):
        sums[:] = 0.0
        for low in range(0, m, TILE):
            high = min(low + TILE, m)
            size = high - low
            measure(x[i], yt, low, high, code, tile)
            kernel(tile, size, code)
            for c in range(len(vt)):
                line, part = vt[c, low:high], f32(0.0)
                for k in range(size):
                    part += tile[k] * line[k]
                sums[c] += part
        for c in range(len(vt)):
            out[i, c] = sums[c]


@njit(cache=True, nogil=True, fastmath=FAST)
def gaussian_sum3(x, yt, v, out, start, stop):
    """:func:`weighted_sum` of the Gaussian with one column of values in three dimensions, without stored distances."""
    wide()
    m = yt.shape[1]
    for i in range(start, stop):
        x0, x1, x2, total = x[i, 0], x[i, 1], x[i, 2], 0.0
        for low in range(0, m, TILE):
            high = min(low + TILE, m)
            a, b, c, line, part = yt[0, low:high], yt[1, low:high], yt[2, low:high], v[low:high], f32(0.0)
            for k in range(high - low):
                squared = (x0 - a[k]) * (x0 - a[k]) + (x1 - b[k]) * (x1 - b[k]) + (x2 - c[k]) * (x2 - c[k])
                part += exp2(HALF_LOG2E * squared) * line[k]
            total += part
        out[i, 0] = total


@njit(cache=True, nogil=True, fastmath=FAST)
def logsumexp(x, yt, bias, code, out, start, stop):
    """out[i] = log sum_j exp(score(x_i, y_j) + bias_j)."""
    wide()
    m, tile, lanes = yt.shape[1], np.empty(TILE, f32), np.empty(64, f32)
    for i in range(start, stop):
        top, total = f32(-3.0e38), 0.0
        for low in range(0, m, TILE):
            high = min(low + TILE, m)
            size = high - low
            measure(x[i], yt, low, high, code, tile)
            score(tile, size, code)
            line = bias[low:high]
            for k in range(size):
                tile[k] += line[k]
            peak = largest(tile[:size], lanes)
            if peak > top:
                total *= np.exp(np.float64(top) - np.float64(peak))
                top = peak
            part = f32(0.0)
            for k in range(size):
                part += exp(tile[k] - top)
            total += part
        out[i] = np.float64(top) + np.log(total)


@njit(cache=True, nogil=True, fastmath=FAST)
def argmin(x, yt, bias, code, out, start, stop):
    """out[i] = the first j with the largest score(x_i, y_j) + bias_j."""
    wide()
    m, tile, lanes = yt.shape[1], np.empty(TILE, f32), np.empty(64, f32)
    for i in range(start, stop):
        top, best = f32(-3.0e38), 0
        for low in range(0, m, TILE):
            high = min(low + TILE, m)
            size = high - low
            measure(x[i], yt, low, high, code, tile)
            score(tile, size, code)
            line = bias[low:high]
            for k in range(size):
                tile[k] += line[k]
            peak = largest(tile[:size], lanes)
            if peak > top:
                top = peak
                for k in range(size):
                    if tile[k] == peak:
                        best = low + k
                        break
        out[i] = best


@njit(cache=True, nogil=True, fastmath=FAST)
def gradient(x, yt, gt, vt, row, column, code, of_score, dx, da, start, stop):
    """dx[i] = sum_j a_ij 2 dk/d(r^2) (x_i - y_j) (dk/d(x.y) y_j for DOT) and da[i] = sum_j a_ij, where

    a_ij = sum_c g[c, i] v[c, j] for a sum of kernels, and times exp(score + row_i + column_j) with ``of_score``.
    """
    wide()
    d, m = x.shape[1], yt.shape[1]
    tile, other, part = np.empty(TILE, f32), np.empty(TILE, f32), np.empty(TILE, f32)
    sums = np.empty(d, np.float64)
    for i in range(start, stop):
        sums[:] = 0.0
        total = 0.0
        for low in range(0, m, TILE):
            high = min(low + TILE, m)
            size = high - low
            measure(x[i], yt, low, high, code, tile)
            slope(tile, size, code, of_score, other)
            for k in range(size):
                part[k] = f32(0.0)
            for c in range(len(vt)):
                line, g = vt[c, low:high], gt[c, i]
                for k in range(size):
                    part[k] += g * line[k]
            if of_score:
                score(tile, size, code)
                line, shift = column[low:high], row[i]
                sum_ = f32(0.0)
                for k in range(size):
                    part[k] *= exp(tile[k] + (line[k] + shift))
                    sum_ += part[k]
                total += sum_
            for k in range(size):
                other[k] *= part[k]
            for axis in range(d):
                line, p, sum_ = yt[axis, low:high], x[i, axis], f32(0.0)
                if code == DOT:
                    for k in range(size):
                        sum_ += other[k] * line[k]
                else:
                    for k in range(size):
                        sum_ += other[k] * (p - line[k])
                sums[axis] += sum_
        for axis in range(d):
            dx[i, axis] = sums[axis]
        da[i] = total


def warm():
    """Compile the kernels of this module."""
    x, v, line = np.zeros((1, 1), f32), np.ones((1, 1), f32), np.zeros(1, f32)
    weighted_sum(x, x, v, 0, x.copy(), 0, 1)
    gaussian_sum3(np.zeros((1, 3), f32), np.zeros((3, 1), f32), line, x.copy(), 0, 1)
    logsumexp(x, x, line, 0, line.copy(), 0, 1)
    argmin(x, x, line, 0, np.zeros(1, np.int64), 0, 1)
    gradient(x, x, v, v, line, line, 0, False, x.copy(), line.copy(), 0, 1)
