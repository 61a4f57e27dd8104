"""Smooth random fields with labels: the synthetic segmentation task in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lab import checks
from lab.datasets.images import labelled
from lab.datasets.sets import ImageSet


def smooth_field(
    shape: Sequence[int] = (128, 128),
    *,
    scale: float = 6.0,
    fraction: float = 0.4,
    noise: float = 0.15,
    seed: int | torch.Generator = 0,
) -> ImageSet:
    """A Gaussian random field, the label where it is high, and the field seen through noise.

    ``label = f > quantile(f, 1 - fraction)`` for white noise ``f`` smoothed with a Gaussian of ``scale`` voxels (torus
    border); ``image = clip(sigmoid(2 f / std f) + noise * white noise, 0, 1)``.

    Args:
        shape: (height, width) or (depth, height, width).
        scale: standard deviation of the smoothing in voxels.
        fraction: share of the foreground, in (0, 1).
        noise: standard deviation of the image noise.
        seed: int or ``torch.Generator``.
    """

    from scipy import ndimage

    shape = _shape(shape)
    scale = checks.number("scale", scale, low=0.0, open_low=True)
    fraction = checks.number("fraction", fraction, low=0.01, high=0.99)
    noise = checks.number("noise", noise, low=0.0)
    generator = checks.generator(seed)
    white = torch.randn(2, *shape, generator=generator, dtype=torch.float64).numpy()
    field = ndimage.gaussian_filter(white[0], scale, mode="wrap")
    field /= field.std()
    label = field > np.quantile(field, 1 - fraction)
    image = np.clip(1 / (1 + np.exp(-2 * field)) + noise * white[1], 0, 1)
    return labelled("smooth_field", image, label, generator)


def _shape(shape) -> tuple[int, ...]:
    shape = tuple(checks.integer("shape", size, low=8, high=4096) for size in shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"shape must have 2 or 3 axes, got {shape}")
    return shape
