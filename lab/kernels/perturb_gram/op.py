"""The custom operation that draws perturbations."""

from __future__ import annotations

import numpy as np
import torch

from lab.kernels import chunks


@torch.library.custom_op("lab::perturbations", mutates_args=())
def draw(
    code: int, count: int, dimension: int, seed: int, start: int, stream: int, paired: bool, a: float, b: float
) -> torch.Tensor:
    """Perturbations start .. start + count - 1 under ``seed`` (mod 2^64): (count, dimension) float32.

    ``code`` is the law's place among the laws, ``a`` and ``b`` its numbers.
    """
    from lab.kernels.perturb_gram import cpu

    out = np.empty((count, dimension), np.float32)
    key, first = np.uint64(seed % 2**64), np.uint64(start)

    def piece(low, high):
        cpu.draw(code, key, first, stream, paired, np.float32(a), np.float32(b), out, low, high)

    chunks.run(piece, count, cost=8.0 * dimension)
    return torch.from_numpy(out)


@draw.register_fake
def _(code, count, dimension, seed, start, stream, paired, a, b):
    return torch.empty(count, dimension)
