r"""Philox 4x32-10 in torch and in numpy.

The generator maps a counter of four 32-bit words and a key of two to four random words, with no state:

.. math:: (w_0, w_1, w_2, w_3) = \mathrm{Philox}(c_0, c_1, c_2, c_3;\; k_0, k_1)

The lab's layout: key = the 64-bit seed, ``(c0, c1)`` = a 64-bit index (which hypothesis, which perturbation), ``c2``
= the block within the item (numbers 4b .. 4b + 3), ``c3`` = the stream (one number an operation, so that two
operations with one seed draw independent numbers). Anything drawn can therefore be drawn again alone, on any device.

A word w becomes a uniform number float32(w) 2^-32 + 2^-33 in (0, 1], and two words become two normals by Box and
Muller: sqrt(-2 log u(w0)) (cos, sin)(2 pi w1 2^-32). Normals reach 6.76 standard deviations. They are float32 in
    every dtype.

Source: John Salmon, Mark Moraes, Ron Dror, David Shaw, 'Parallel random numbers: as easy as 1, 2, 3', SC 2011,
    section 4.2.
"""

from __future__ import annotations

import math

import numpy as np
import torch

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
MASK = 0xFFFFFFFF
TWO_PI = 2.0 * math.pi


def words(seed: int, index: torch.Tensor, block: torch.Tensor | int, *, stream: int = 0, rounds: int = ROUNDS):
    """Four random words of each (index, block) pair.

    Args:
        seed: key, 0 <= seed < 2^64.
        index: int64 tensor of any shape; broadcasts with ``block``.
        block: int64 tensor or int, 0 <= block < 2^32.
        stream: 0 <= stream < 2^32.
        rounds: 10 is the published default; 7 is the least that passes the published batteries.

    Returns:
        Tuple of four int64 tensors with values in [0, 2^32).
    """
    index, blocks = torch.broadcast_tensors(index, torch.as_tensor(block, dtype=torch.int64, device=index.device))
    c0, c1 = index & MASK, (index >> 32) & MASK
    c2, c3 = blocks & MASK, torch.full_like(blocks, stream)
    k0, k1 = seed & MASK, (seed >> 32) & MASK
    for _ in range(rounds):
        high0, low0 = _multiply(MULTIPLIERS[0], c0)
        high1, low1 = _multiply(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + KEY_STEPS[0]) & MASK, (k1 + KEY_STEPS[1]) & MASK
    return c0, c1, c2, c3


def _multiply(a: int, b: torch.Tensor):
    # The 64-bit product wraps in int64 exactly as in uint64; the mask undoes the sign extension of the shift.
    product = b * a
    return (product >> 32) & MASK, product & MASK


def words_numpy(seed: int, index, block, *, stream: int = 0, rounds: int = ROUNDS) -> np.ndarray:
    """Four random words of each (index, block) pair as uint32, shape (4, ...); the numpy twin of :func:`words`."""
    index, block = np.broadcast_arrays(np.asarray(index, dtype=np.uint64), np.asarray(block, dtype=np.uint64))
    mask, shift = np.uint64(MASK), np.uint64(32)
    c0, c1, c2, c3 = index & mask, index >> shift, block & mask, np.full_like(block, stream)
    k0, k1 = seed & MASK, (seed >> 32) & MASK
    for _ in range(rounds):
        first, second = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            (second >> shift) ^ c1 ^ np.uint64(k0),
            second & mask,
            (first >> shift) ^ c3 ^ np.uint64(k1),
            first & mask,
        )
        k0, k1 = (k0 + KEY_STEPS[0]) & MASK, (k1 + KEY_STEPS[1]) & MASK
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)


def uniforms_from_words(word: torch.Tensor) -> torch.Tensor:
    """float32 numbers in (0, 1] from words."""
    return word.to(torch.float32) * 2.0**-32 + 2.0**-33


def normals_from_words(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two independent float32 standard normals from two words."""
    radius = torch.sqrt(-2.0 * torch.log(uniforms_from_words(first)))
    angle = (second.to(torch.float32) * 2.0**-32).double() * TWO_PI
    return radius * torch.cos(angle).float(), radius * torch.sin(angle).float()


def uniforms(seed: int, index: torch.Tensor, count: int, *, stream: int = 0) -> torch.Tensor:
    """``count`` uniform float32 numbers of each item: index (n,) -> (n, count)."""
    return _items(seed, index, count, stream, lambda w: [uniforms_from_words(x) for x in w])


def normals(seed: int, index: torch.Tensor, count: int, *, stream: int = 0) -> torch.Tensor:
    """``count`` standard normal float32 numbers of each item: index (n,) -> (n, count)."""
    return _items(
        seed, index, count, stream, lambda w: [*normals_from_words(w[0], w[1]), *normals_from_words(w[2], w[3])]
    )


def _items(seed, index, count, stream, convert):
    blocks = torch.arange((count + 3) // 4, device=index.device)
    drawn = convert(words(seed, index[:, None], blocks, stream=stream))
    return torch.stack(drawn, dim=-1).reshape(len(index), -1)[:, :count]
