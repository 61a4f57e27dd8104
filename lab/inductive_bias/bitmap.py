"""The bit map: which test examples demand prior knowledge, and how much.

At the saddlepoint ``s < 0`` the exponent of ``P(loss <= eps)`` is the relative entropy of the law of the hypotheses
that pass to the law of all. It is a sum over eigendirections,

    KL_i = k/2 (g_i - 1 - log g_i) + 2 s^2 lambda_i D_i g_i^2 >= 0,   g_i = 1 / (1 - 2 s lambda_i),

and the eigenvectors carry it to test examples, ``sum_i U_ji^2 KL_i``. What remains of the exact bits, the logarithm
of the integral's prefactor, belongs to no example and is shown apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lab import checks
from lab.inductive_bias.laws import LOG2, GaussianQuadraticLaw


@dataclass(frozen=True, eq=False)
class BitMap:
    """Bits by test example and by direction.

    ``examples (n,)`` add up, with ``remainder``, to ``bits``; so do ``directions (r,)``. ``deletion (n,)`` predicts
    by how much the bits fall when the example leaves the test set (negative: they rise, because an easy example no
    longer pays for the others). ``error (n,)`` is the mean squared error of the example among the hypotheses that
    pass.
    """

    eps: float
    bits: float
    examples: torch.Tensor
    directions: torch.Tensor
    remainder: float
    deletion: torch.Tensor
    error: torch.Tensor

    def to_frame(self):
        import pandas as pd

        return pd.DataFrame(
            {
                "example": range(len(self.examples)),
                "bits": self.examples.numpy(),
                "deletion": self.deletion.numpy(),
                "error": self.error.numpy(),
            }
        )


def bit_map(law: GaussianQuadraticLaw, eps: float) -> BitMap:
    """The bit map of an exact law at ``eps``.

    Raises:
        ValueError: the law has no modes (built with ``modes=False``), ``eps`` is not reachable, or it lies above the
        mean loss,
            where nothing is demanded.
    """
    if not isinstance(law, GaussianQuadraticLaw):
        raise TypeError(f"law must be a GaussianQuadraticLaw (kernel space, squared error), got {type(law).__name__}")
    eps = checks.number("eps", eps, low=0.0)
    if law.modes is None or law.errors is None:
        raise ValueError("law carries no modes; build it with modes=True")
    nats = float(law.nats(eps))
    if not math.isfinite(nats):
        raise ValueError(f"eps {eps:.4g} is not reachable (floor {law.minimum:.4g}); a bit map needs finite bits")
    s = float(law.tail(eps).saddle)
    if s >= 0:
        raise ValueError(f"eps {eps:.4g} is above the mean loss {law.mean:.4g}: no prior knowledge is demanded")
    k, values, modes, errors = law.outputs, law.eigenvalues, law.modes, law.errors
    g = 1 / (1 - 2 * s * values)
    entropy = k / 2 * (g - 1 - g.log()) + 2 * s**2 * values * law.shifts * g**2
    examples = (modes**2) @ entropy
    # directions without variance carry no entropy but belong to the errors
    coordinates = modes.T @ errors
    still = errors - modes @ coordinates
    mean = still + modes @ (g[:, None] * coordinates)
    variance = (modes**2) @ (values * g)
    error = (mean**2).mean(1) + variance
    # leaving out example j: Schur complements of I - 2 s S at the same saddlepoint
    inverse = (modes**2) @ g + (1 - (modes**2).sum(1)).clamp_min(0)
    deletion = s * eps * k - k / 2 * inverse.log() - s * (mean**2).sum(1) / inverse
    return BitMap(
        eps, nats / LOG2, examples / LOG2, entropy / LOG2, (nats - float(entropy.sum())) / LOG2, deletion / LOG2, error
    )
