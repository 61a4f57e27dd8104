"""Vessel trees in 2-D and 3-D: branching tubes that taper by Murray's law, with a few loops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lab import checks
from lab.datasets.fields import _shape
from lab.datasets.images import labelled
from lab.datasets.sets import ImageSet


def vessel_tree(
    shape: Sequence[int] = (192, 192),
    *,
    radius: float = 4.0,
    generations: int = 6,
    loops: int = 3,
    noise: float = 0.12,
    seed: int | torch.Generator = 0,
) -> ImageSet:
    """A tree of tubes grown from one side, its mask, and a noisy image with uneven background.

    A tube of radius ``r`` ends in two of radii ``r_1, r_2`` with ``r^3 = r_1^3 + r_2^3``, the power that costs least
    (C. D. Murray, 'The physiological principle of minimum work', PNAS 1926). ``loops`` further tubes join tips to other
    branches, which makes rings.

    Args:
        shape: (height, width) or (depth, height, width).
        radius: of the root in voxels.
        generations: of branching, 1 to 10.
        loops: number of joining tubes.
        noise: standard deviation of the image noise.
        seed: int or ``torch.Generator``.
    """
    shape = _shape(shape)
    radius = checks.number("radius", radius, low=1.0, high=min(shape) / 8)
    generations = checks.integer("generations", generations, low=1, high=10)
    loops = checks.integer("loops", loops, low=0, high=100)
    noise = checks.number("noise", noise, low=0.0)
    generator = checks.generator(seed)
    draws = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    image, mask = grown(shape, draws, radius=radius, generations=generations, loops=loops, noise=noise)
    return labelled("vessel_tree", image, mask, generator)


def grown(
    shape: tuple[int, ...], draws: np.random.Generator, *, radius: float, generations: int, loops: int, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask of :func:`vessel_tree` alone, for studies that draw many."""

    from scipy import ndimage

    size = np.array(shape, dtype=float)
    start = size * 0.5
    start[0] = 4.0
    direction = np.zeros(len(shape))
    direction[0] = 1.0
    mask = np.zeros(shape, dtype=bool)
    tips, nodes = [], []
    queue = [(start, direction, radius, 0)]
    while queue:
        point, direction, width, depth = queue.pop()
        end, direction = _grow(mask, point, direction, width, 0.3 * size.min() * 0.8**depth, draws)
        nodes.append(end)
        if depth + 1 == generations or np.any(end < 3) or np.any(end > size - 4):
            tips.append(end)
            continue
        share = draws.uniform(0.3, 0.7)
        for part, side in ((share, 1), (1 - share, -1)):
            queue.append(
                (
                    end,
                    _turn(direction, side * draws.uniform(0.35, 0.8), draws),
                    max(0.9, width * part ** (1 / 3)),
                    depth + 1,
                )
            )
    for index in draws.permutation(len(tips))[:loops]:
        others = [node for node in nodes if 12 < np.linalg.norm(node - tips[index]) < 0.4 * size.min()]
        if others:
            _tube(mask, tips[index], others[draws.integers(len(others))], 1.2)
    background = ndimage.gaussian_filter(draws.standard_normal(shape), min(shape) / 8, mode="wrap")
    background *= 0.08 / (background.std() + 1e-12)
    image = (
        0.3
        + background
        + 0.45 * ndimage.gaussian_filter(mask.astype(float), 0.8)
        + noise * draws.standard_normal(shape)
    )
    return np.clip(image, 0, 1), mask


def _grow(mask, point, direction, width, length, draws):
    """Draw a wavy tube and return its end and last direction."""
    steps = max(3, round(length / 4))
    for _ in range(steps):
        direction = _turn(direction, 0.12 * draws.standard_normal(), draws)
        following = np.clip(point + 4 * direction, 1, np.array(mask.shape) - 2)
        _tube(mask, point, following, width)
        point = following
        if np.any(point < 3) or np.any(point > np.array(mask.shape) - 4):
            break
    return point, direction


def _turn(direction, angle, draws):
    """``direction`` rotated by ``angle`` (radians); in 3-D in a random plane that contains it."""
    if len(direction) == 2:
        other = np.array([-direction[1], direction[0]])
    else:
        other = draws.standard_normal(3)
        other -= other @ direction * direction
        other /= np.linalg.norm(other) + 1e-12
    turned = np.cos(angle) * direction + np.sin(angle) * other
    return turned / np.linalg.norm(turned)


def _tube(mask, first, second, width):
    """Set the voxels within ``width`` of the segment."""
    low = np.maximum(np.floor(np.minimum(first, second) - width - 1), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(first, second) + width + 2), mask.shape).astype(int)
    window = tuple(slice(a, b) for a, b in zip(low, high))
    grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high)), indexing="ij"), axis=-1).astype(float)
    axis = second - first
    along = np.clip((grid - first) @ axis / max(axis @ axis, 1e-12), 0, 1)
    mask[window] |= np.linalg.norm(grid - first - along[..., None] * axis, axis=-1) <= width
