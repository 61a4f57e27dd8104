"""Philox 4x32-10 for compiled loops; the words equal those of :mod:`lab.kernels.philox.reference`."""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.elementary import FAST, cos_sin_turn, f32, log, wide

u64 = np.uint64
MASK, SHIFT = u64(0xFFFFFFFF), u64(32)
M0, M1 = u64(0xD2511F53), u64(0xCD9E8D57)
K0, K1 = u64(0x9E3779B9), u64(0xBB67AE85)
WORD, HALF = f32(2.0**-32), f32(2.0**-33)


@njit(cache=True, nogil=True, fastmath=FAST)
def fill_words(seed, index, stream, blocks, out):
    """Words of blocks 0 .. blocks - 1 of item ``index`` into ``out`` (4, >= blocks) uint32."""
    wide()
    low, high, third = index & MASK, index >> SHIFT, u64(stream)
    for b in range(blocks):
        c0, c1, c2, c3 = low, high, u64(b), third
        k0, k1 = seed & MASK, seed >> SHIFT
        for _ in range(10):
            first, second = c0 * M0, c2 * M1
            c0 = (second >> SHIFT) ^ c1 ^ k0
            c1 = second & MASK
            c2 = (first >> SHIFT) ^ c3 ^ k1
            c3 = first & MASK
            k0 = (k0 + K0) & MASK
            k1 = (k1 + K1) & MASK
        out[0, b] = np.uint32(c0)
        out[1, b] = np.uint32(c1)
        out[2, b] = np.uint32(c2)
        out[3, b] = np.uint32(c3)


@njit(cache=True, nogil=True, fastmath=FAST)
def fill_uniforms(words, blocks, out):
    """Uniform numbers in (0, 1] from words (4, >= blocks) into ``out`` (>= 4 blocks,)."""
    for b in range(blocks):
        out[4 * b] = f32(words[0, b]) * WORD + HALF
        out[4 * b + 1] = f32(words[1, b]) * WORD + HALF
        out[4 * b + 2] = f32(words[2, b]) * WORD + HALF
        out[4 * b + 3] = f32(words[3, b]) * WORD + HALF


@njit(cache=True, nogil=True, fastmath=FAST)
def fill_normals(words, blocks, out):
    """Standard normal numbers from words (4, >= blocks) into ``out`` (>= 4 blocks,)."""
    wide()
    for b in range(blocks):
        first = np.sqrt(f32(-2.0) * log(f32(words[0, b]) * WORD + HALF))
        c, s = cos_sin_turn(f32(words[1, b]) * WORD)
        out[4 * b] = first * c
        out[4 * b + 1] = first * s
        second = np.sqrt(f32(-2.0) * log(f32(words[2, b]) * WORD + HALF))
        c, s = cos_sin_turn(f32(words[3, b]) * WORD)
        out[4 * b + 2] = second * c
        out[4 * b + 3] = second * s


def warm():
    """Compile the kernels of this module."""
    words, numbers = np.zeros((4, 2), np.uint32), np.zeros(8, f32)
    fill_words(u64(0), u64(0), u64(0), 2, words)
    fill_uniforms(words, 2, numbers)
    fill_normals(words, 2, numbers)
