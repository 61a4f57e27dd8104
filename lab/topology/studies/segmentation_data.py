"""Images for the training study: vessel trees, cells, or tiles of a user's images, drawn anew for every seed.

A network that segments vessels leaves gaps and false bridges; one that segments cells lets neighbours run together and
fills what a nucleus leaves dark. Both kinds are images with uneven brightness and noise, so that no threshold segments
them.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from lab import checks
from lab.datasets import ImageSet
from lab.datasets.vessels import grown

KINDS = ("vessels", "cells")
SIZE = 48


def draw(kind: str, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """``count`` images and masks, both (count, 1, 48, 48), float32.

    Args:
        kind: ``"vessels"`` (trees with three loops) or ``"cells"`` (about a dozen, some with a dark nucleus).
        seed: the whole set follows from it.
    """
    checks.choice("kind", kind, KINDS)
    count = checks.integer("count", count, low=1)
    draws = np.random.default_rng([seed, SIZE])
    one = tissue if kind == "cells" else _vessels
    pairs = [one(draws) for _ in range(count)]
    x, y = (torch.from_numpy(np.stack(side)).float()[:, None] for side in zip(*pairs))
    return x, y


def _vessels(draws):
    return grown((SIZE, SIZE), draws, radius=2.5, generations=5, loops=3, noise=0.2)


def tissue(draws: np.random.Generator, *, cells: int = 16, gap: float = 2.4, noise: float = 0.18):
    """``(image, mask)`` of cells: places nearer to one centre than to any other by ``gap`` pixels, some with a nucleus.

    A fifth of the places stays empty, a third of the cells has a nucleus that is not foreground.
    """
    centres = draws.uniform(0, SIZE, (4 * cells, 2))
    apart = np.sqrt(((centres[:, None] - centres) ** 2).sum(-1)) > 8
    centres = centres[[bool(np.tril(~apart, -1)[k].sum() == 0) for k in range(len(centres))]][:cells]
    cells = len(centres)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    far = np.sqrt((rows[..., None] - centres[:, 0]) ** 2 + (columns[..., None] - centres[:, 1]) ** 2)
    nearest, margin = far.argmin(-1), np.partition(far, 1, -1)
    filled, nucleus = draws.random(cells) > 0.2, draws.random(cells) < 0.35
    mask = filled[nearest] & (margin[..., 1] - margin[..., 0] > gap) & (margin[..., 0] < 9)
    mask &= ~(nucleus[nearest] & (margin[..., 0] < 2.2))
    light = ndimage.gaussian_filter(draws.standard_normal((SIZE, SIZE)), 10)
    seen = ndimage.gaussian_filter(mask.astype(float), 0.8) * draws.uniform(0.55, 1.0, cells)[nearest]
    return 0.2 + 0.6 * seen + 0.08 * light / light.std() + noise * draws.standard_normal((SIZE, SIZE)), mask


def tiles(data: ImageSet, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Tiles of a user's images that hold foreground and background, with their masks.

    Raises:
        ValueError: an image without a label or not 2-D, or fewer than 8 tiles.
    """
    images, labels = [], []
    for item in data:
        image, label = item.image, item.label
        if not isinstance(label, Tensor) or not isinstance(image, Tensor) or image.ndim != 2:
            raise ValueError(f"data must hold 2-D images with labels, got {item.name or 'an image'} without")
        for top in range(0, image.shape[0] - size + 1, size):
            for left in range(0, image.shape[1] - size + 1, size):
                window = (slice(top, top + size), slice(left, left + size))
                share = float((label[window] > 0).float().mean())
                if 0.02 < share < 0.98:
                    images.append(image[window])
                    labels.append((label[window] > 0).float())
    if len(images) < 8:
        raise ValueError(
            f"data must hold at least 8 tiles of {size} pixels with foreground and background, got {len(images)}"
        )
    return torch.stack(images)[:, None], torch.stack(labels)[:, None]


def split(parts: tuple[Tensor, Tensor], seed: int, limit: int = 96) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """At most ``limit`` tiles in an order drawn from ``seed``: images and masks for training, then for testing."""
    x, y = parts
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:limit]
    half = len(order) // 2
    return x[order[:half]], y[order[:half]], x[order[half:]], y[order[half:]]
