"""Networks of thin tubes in a volume: small volumes whose components and loops are what a segmentation gets wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lab import checks
from lab.datasets.fields import _shape
from lab.datasets.sets import ImageSet
from lab.datasets.vessels import _tube


def tube_network(
    shape: Sequence[int] = (24, 24, 24),
    *,
    nodes: int = 7,
    loops: int = 2,
    radius: float = 1.0,
    fading: float = 0.6,
    noise: float = 0.2,
    seed: int | torch.Generator = 0,
) -> ImageSet:
    """Tubes along a random tree of points and ``loops`` further pairs of them, seen faintly in places.

    Points are drawn at a distance of each other, joined by their shortest tree and then by the shortest pairs that are
    left; a pair is one loop more unless its tube touches another. The image is the blurred mask times a smooth random
    field in ``[1 - fading, 1]``, on an uneven background with noise: where the field is low a segmentation breaks the
    tube, where noise is high it sees one.

    Args:
        shape: (depth, height, width), at least 12 voxels each.
        nodes: number of points, at least 2.
        loops: number of further tubes.
        radius: of the tubes in voxels.
        fading: share of the contrast that is lost at the faintest place, in [0, 1].
        noise: standard deviation of the image noise.
        seed: int or ``torch.Generator``.

    Returns:
        ``ImageSet`` with image and label, without predictions.
    """

    from scipy import ndimage

    shape = _shape(shape)
    if len(shape) != 3 or min(shape) < 12:
        raise ValueError(f"shape must be (depth, height, width) of at least 12 voxels each, got {tuple(shape)}")
    nodes = checks.integer("nodes", nodes, low=2, high=200)
    loops = checks.integer("loops", loops, low=0, high=nodes * (nodes - 1) // 2 - nodes + 1)
    radius = checks.number("radius", radius, low=0.5, high=min(shape) / 8)
    fading = checks.number("fading", fading, low=0.0, high=1.0)
    noise = checks.number("noise", noise, low=0.0)
    draws = np.random.default_rng(int(torch.randint(2**62, (1,), generator=checks.generator(seed))))
    points = _apart(draws, np.array(shape, float), nodes, radius)
    mask = np.zeros(shape, dtype=bool)
    for first, second in _joined(points, loops):
        _tube(mask, points[first], points[second], radius)
    field = ndimage.gaussian_filter(draws.standard_normal(shape), 2.5, mode="wrap")
    field = 1 - fading * (field - field.min()) / np.ptp(field)
    background = ndimage.gaussian_filter(draws.standard_normal(shape), min(shape) / 6, mode="wrap")
    background *= 0.05 / (background.std() + 1e-12)
    seen = 0.25 + background + 0.6 * field * ndimage.gaussian_filter(mask.astype(float), 0.6)
    image = np.clip(seen + noise * draws.standard_normal(shape), 0, 1)
    return ImageSet(torch.from_numpy(image.astype(np.float32)), torch.from_numpy(mask), name="tube_network")


def _apart(draws, size, count, radius):
    """Points inside the volume, each the farthest from the earlier ones among some candidates."""
    margin = radius + 2
    points = [draws.uniform(margin, size - 1 - margin)]
    while len(points) < count:
        candidates = draws.uniform(margin, size - 1 - margin, (8, 3))
        distances = np.linalg.norm(candidates[:, None] - np.array(points)[None], axis=-1).min(axis=1)
        points.append(candidates[distances.argmax()])
    return np.array(points)


def _joined(points, loops):
    """Pairs of the shortest tree, then the shortest of the other pairs."""
    count = len(points)
    lengths = np.linalg.norm(points[:, None] - points[None], axis=-1)
    pairs = sorted(((lengths[i, j], i, j) for i in range(count) for j in range(i)), key=lambda pair: pair[0])
    part = list(range(count))
    tree, rest = [], []
    for _, i, j in pairs:
        if part[i] == part[j]:
            rest.append((i, j))
            continue
        tree.append((i, j))
        old, new = part[i], part[j]
        part = [new if p == old else p for p in part]
    return tree + rest[:loops]
