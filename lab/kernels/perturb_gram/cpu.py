"""Perturbations drawn in compiled loops; the products that follow are torch's."""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.elementary import FAST, f32
from lab.kernels.philox.cpu import fill_normals, fill_uniforms, fill_words, u64

GAUSSIAN, UNIFORM, MASK = range(3)


@njit(cache=True, nogil=True, fastmath=FAST)
def draw(code, seed, first, stream, paired, a, b, out, start, stop):
    """Rows start .. stop - 1 of ``out`` (count, d): perturbations first + start, ... under ``seed``.

    ``a``, ``b``: scale and 0; low and high; probability and 0.
    """
    d = out.shape[1]
    blocks = (d + 3) // 4
    words, numbers = np.empty((4, blocks), np.uint32), np.empty(4 * blocks, f32)
    for s in range(start, stop):
        index = first + u64(s)
        mirrored = paired and index % u64(2) == u64(1)
        fill_words(seed, index // u64(2) if paired else index, stream, blocks, words)
        if code == GAUSSIAN:
            fill_normals(words, blocks, numbers)
            scale = -a if mirrored else a
            for k in range(d):
                out[s, k] = numbers[k] * scale
            continue
        fill_uniforms(words, blocks, numbers)
        if code == UNIFORM:
            for k in range(d):
                value = a + (b - a) * numbers[k]
                out[s, k] = a + b - value if mirrored else value
        else:
            for k in range(d):
                out[s, k] = f32(1.0) if (numbers[k] <= a) != mirrored else f32(0.0)


def warm():
    """Compile the kernels of this module."""
    draw(GAUSSIAN, u64(0), u64(0), 2, False, f32(1.0), f32(0.0), np.empty((1, 1), f32), 0, 1)
