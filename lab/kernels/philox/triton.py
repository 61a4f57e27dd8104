"""Philox 4x32-10 for Triton kernels; the words equal those of :mod:`lab.kernels.philox.reference`.

With ``FAST`` the normals come from the hardware's approximate logarithm, sine and cosine (within 2e-6 of the reference);
the interpreter cannot run inline assembly and takes the plain functions.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def words(seed, index, block, STREAM: tl.constexpr):
    """Four uint32 words of each (index, block); index int64, block int32, of one shape."""
    low = (index & 0xFFFFFFFF).to(tl.uint32)
    high = ((index >> 32) & 0xFFFFFFFF).to(tl.uint32)
    second = block.to(tl.uint32)
    stream = tl.full(second.shape, STREAM, tl.uint32)
    return tl.philox(seed, low, high, second, stream)


@triton.jit
def uniform(word):
    """Numbers in (0, 1]."""
    return word.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10


@triton.jit
def normal_pair(first, second, FAST: tl.constexpr):
    """Two standard normals from two words, by Box and Muller."""
    u = uniform(first)
    turn = second.to(tl.float32) * 2.3283064365386963e-10
    # The angle in (-pi, pi]: the approximate functions are exact to 2e-7 there.
    angle = tl.where(turn > 0.5, turn - 1.0, turn) * 6.283185307179586
    if FAST:
        radius = tl.inline_asm_elementwise(
            "{ .reg .f32 l; lg2.approx.f32 l, $1; mul.f32 l, l, 0fBFB17218; sqrt.approx.f32 $0, l; }",
            "=f,f",
            [u],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )
        cosine = tl.inline_asm_elementwise(
            "cos.approx.f32 $0, $1;", "=f,f", [angle], dtype=tl.float32, is_pure=True, pack=1
        )
        sine = tl.inline_asm_elementwise(
            "sin.approx.f32 $0, $1;", "=f,f", [angle], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        radius = tl.sqrt(-2.0 * tl.log(u))
        cosine = tl.cos(angle)
        sine = tl.sin(angle)
    return radius * cosine, radius * sine


@triton.jit
def numbers4(seed, index, block, STREAM: tl.constexpr, UNIFORM: tl.constexpr, FAST: tl.constexpr):
    """Four numbers of each (index, block): normals, or with ``UNIFORM`` numbers in (0, 1]."""
    w0, w1, w2, w3 = words(seed, index, block, STREAM)
    if UNIFORM:
        n0, n1, n2, n3 = uniform(w0), uniform(w1), uniform(w2), uniform(w3)
    else:
        n0, n1 = normal_pair(w0, w1, FAST)
        n2, n3 = normal_pair(w2, w3, FAST)
    return n0, n1, n2, n3


@triton.jit
def number(seed, index, place, STREAM: tl.constexpr, UNIFORM: tl.constexpr, FAST: tl.constexpr):
    """Number ``place`` of each item: any place, at four times the work of :func:`numbers4`."""
    n0, n1, n2, n3 = numbers4(seed, index, place // 4, STREAM, UNIFORM, FAST)
    word = place % 4
    return tl.where(word < 2, tl.where(word == 0, n0, n1), tl.where(word == 2, n2, n3))
