"""The wrong classes' log-sum of rowloss and its gradient in compiled loops.

Two layouts: ``rows`` has the classes of one row side by side, ``planes`` (channel-first images) the pixels of one class.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.elementary import FAST, exp, f32, largest, log, wide

TILE = 2048  # scores a step: two passes over a step stay in the first cache
PIXELS = 512


@njit(cache=True, nogil=True, fastmath=FAST)
def rows_forward(z, y, t, margin, out, start, stop):
    """out[i] = log sum_{j != y} exp((z_ij - z_iy + margin)/t_i) of rows start .. stop - 1 of z (rows, classes)."""
    wide()
    classes, lanes = z.shape[1], np.empty(64, f32)
    for i in range(start, stop):
        row, label = z[i], y[i]
        shift, inverse = margin - row[label], f32(1.0) / t[i]
        top, total = f32(-3.0e38), 0.0
        for part in range(2):
            first, last = (0, label) if part == 0 else (label + 1, classes)
            for low in range(first, last, TILE):
                high = min(low + TILE, last)
                scores = row[low:high]
                peak = (largest(scores, lanes) + shift) * inverse
                if peak > top:
                    total *= np.exp(np.float64(top) - np.float64(peak))
                    top = peak
                sum_ = f32(0.0)
                for j in range(len(scores)):
                    sum_ += exp((scores[j] + shift) * inverse - top)
                total += sum_
        out[i] = np.float64(top) + np.log(total)


@njit(cache=True, nogil=True, fastmath=FAST)
def rows_backward(z, y, t, margin, log_u, gradient, dz, dt, start, stop):
    """dz and dt for the gradient of log_u; dz[i, y] is minus the sum of the others."""
    wide()
    classes = z.shape[1]
    for i in range(start, stop):
        row, label, result = z[i], y[i], dz[i]
        shift, inverse, top = margin - row[label], f32(1.0) / t[i], log_u[i]
        factor = gradient[i] * inverse
        moment = 0.0
        for part in range(2):
            first, last = (0, label) if part == 0 else (label + 1, classes)
            for low in range(first, last, TILE):
                high = min(low + TILE, last)
                scores, place = row[low:high], result[low:high]
                sum_ = f32(0.0)
                for j in range(len(scores)):
                    a = (scores[j] + shift) * inverse
                    q = exp(a - top)
                    place[j] = factor * q
                    sum_ += q * a
                moment += sum_
        result[label] = -factor
        dt[i] = -factor * moment


@njit(cache=True, nogil=True, fastmath=FAST)
def planes_forward(z, y, t, margin, out, start, stop):
    """The same for z (batch, classes, pixels), y, t, out (batch, pixels); images start .. stop - 1."""
    wide()
    classes, pixels = z.shape[1], z.shape[2]
    top, total = np.empty(PIXELS, f32), np.empty(PIXELS, f32)
    shift, inverse = np.empty(PIXELS, f32), np.empty(PIXELS, f32)
    for b in range(start, stop):
        for low in range(0, pixels, PIXELS):
            size = min(PIXELS, pixels - low)
            labels = y[b, low : low + size]
            for p in range(size):
                shift[p] = margin - z[b, labels[p], low + p]
                inverse[p] = f32(1.0) / t[b, low + p]
                top[p] = f32(-3.0e38)
                total[p] = f32(0.0)
            for c in range(classes):
                plane = z[b, c, low : low + size]
                for p in range(size):
                    peak = max(top[p], plane[p])
                    top[p] = top[p] if labels[p] == c else peak
            for p in range(size):
                top[p] = (top[p] + shift[p]) * inverse[p]
            for c in range(classes):
                plane = z[b, c, low : low + size]
                for p in range(size):
                    e = exp((plane[p] + shift[p]) * inverse[p] - top[p])
                    total[p] += f32(0.0) if labels[p] == c else e
            for p in range(size):
                out[b, low + p] = top[p] + log(total[p])


@njit(cache=True, nogil=True, fastmath=FAST)
def planes_backward(z, y, t, margin, log_u, gradient, dz, dt, start, stop):
    """The same for z, dz (batch, classes, pixels) and the rest (batch, pixels)."""
    wide()
    classes, pixels = z.shape[1], z.shape[2]
    shift, inverse, moment = np.empty(PIXELS, f32), np.empty(PIXELS, f32), np.empty(PIXELS, f32)
    for b in range(start, stop):
        for low in range(0, pixels, PIXELS):
            size = min(PIXELS, pixels - low)
            labels = y[b, low : low + size]
            top, factor = log_u[b, low : low + size], gradient[b, low : low + size]
            for p in range(size):
                shift[p] = margin - z[b, labels[p], low + p]
                inverse[p] = f32(1.0) / t[b, low + p]
                moment[p] = f32(0.0)
            for c in range(classes):
                plane, result = z[b, c, low : low + size], dz[b, c, low : low + size]
                for p in range(size):
                    a = (plane[p] + shift[p]) * inverse[p]
                    q = f32(-1.0) if labels[p] == c else exp(a - top[p])
                    result[p] = factor[p] * inverse[p] * q
                    moment[p] += f32(0.0) if labels[p] == c else q * a
            for p in range(size):
                dt[b, low + p] = -factor[p] * inverse[p] * moment[p]


def warm():
    """Compile the kernels of this module."""
    z, y, t = np.zeros((1, 2), f32), np.zeros(1, np.int64), np.ones(1, f32)
    rows_forward(z, y, t, f32(0.0), t.copy(), 0, 1)
    rows_backward(z, y, t, f32(0.0), t, t, z.copy(), t.copy(), 0, 1)
    z, y, t = z[:, :, None].copy(), y[None], t[None]
    planes_forward(z, y, t, f32(0.0), t.copy(), 0, 1)
    planes_backward(z, y, t, f32(0.0), t, t, z.copy(), t.copy(), 0, 1)
