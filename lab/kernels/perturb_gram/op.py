"""The custom operation that draws perturbations."""

from __future__ import annotations

import numpy as np
import torch

from lab.kernels import chunks
from lab.kernels.perturb_gram.law import LAWS, STREAM, Perturbations


def draw(law: Perturbations, count: int, seed: int, start: int) -> torch.Tensor:
    """Perturbations start .. start + count - 1 of ``law`` under ``seed``: (count, dimension) float32."""
    a, b = {"gaussian": (law.scale, 0.0), "uniform": (law.low, law.high), "mask": (law.probability, 0.0)}[law.law]
    signed = seed - 2**64 if seed >= 2**63 else seed
    return _draw(LAWS.index(law.law), count, law.dimension, signed, start, law.paired, a, b)


@torch.library.custom_op("lab::perturbations", mutates_args=())
def _draw(
    code: int, count: int, dimension: int, seed: int, start: int, paired: bool, a: float, b: float
) -> torch.Tensor:
    from lab.kernels.perturb_gram import cpu

    out = np.empty((count, dimension), np.float32)
    key, first = np.uint64(seed % 2**64), np.uint64(start)

    def piece(low, high):
        cpu.draw(code, key, first, STREAM, paired, np.float32(a), np.float32(b), out, low, high)

    chunks.run(piece, count, cost=8.0 * dimension)
    return torch.from_numpy(out)


@_draw.register_fake
def _(code, count, dimension, seed, start, paired, a, b):
    return torch.empty(count, dimension)
