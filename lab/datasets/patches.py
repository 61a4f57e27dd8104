"""Image classification sets cut from images that installed packages ship."""

from __future__ import annotations

import numpy as np
import torch

from lab import checks
from lab.datasets.resampling import halved
from lab.datasets.sets import Points

TEXTURES = ("brick", "grass", "gravel")


def textures(
    count: int = 3000, *, size: int = 32, noise: float = 0.0, part: str = "all", seed: int | torch.Generator = 0
) -> Points:
    """Random patches of brick, grass and gravel, rotated by multiples of 90 degrees and mirrored.

    Patches are cut from the 512 x 512 photographs halved to 256 x 256; each patch is shifted and scaled to mean 0.5 and
    standard deviation 0.2 (then clipped to [0, 1]), so that brightness does not give the class away.

    Args:
        count: number of patches; the classes alternate.
        size: side of a patch, 4 to 96 pixels.
        noise: share of labels replaced by another class, uniformly.
        part: "train" cuts from the upper two thirds of the photographs, "test" from the lower third (they share
            no pixel), "all" anywhere.
        seed: int or ``torch.Generator``.

    Returns:
        ``Points`` with ``x`` (count, 1, size, size) and int64 labels.
    """
    from skimage import data

    count, size = checks.integer("count", count, low=1, high=1_000_000), checks.integer("size", size, low=4, high=96)
    noise = checks.number("noise", noise, low=0.0, high=1.0)
    part = checks.choice("part", part, ("all", "train", "test"))
    generator = checks.generator(seed)
    pages = np.stack([halved(getattr(data, name)() / 255.0) for name in TEXTURES])
    pages = {"all": pages, "train": pages[:, :170], "test": pages[:, 170:]}[part]
    if size > pages.shape[1]:
        raise ValueError(f"size must be at most {pages.shape[1]} for part={part!r}, got {size}")
    label = torch.arange(count) % len(TEXTURES)
    corner = [torch.randint(pages.shape[axis] - size + 1, (count,), generator=generator).numpy() for axis in (1, 2)]
    rows, columns = (first[:, None] + np.arange(size) for first in corner)
    x = torch.from_numpy(pages[label.numpy()[:, None, None], rows[:, :, None], columns[:, None, :]]).float()
    pose = torch.randint(8, (count,), generator=generator)
    for turn in range(8):
        chosen = pose == turn
        turned = torch.rot90(x[chosen], turn % 4, dims=(1, 2))
        x[chosen] = turned.flip(2) if turn >= 4 else turned
    x = 0.5 + 0.2 * (x - x.mean(dim=(1, 2), keepdim=True)) / (x.std(dim=(1, 2), keepdim=True) + 1e-6)
    return Points(x.clamp(0, 1)[:, None], corrupt(label, len(TEXTURES), noise, generator), "textures", TEXTURES)


def corrupt(label: torch.Tensor, classes: int, noise: float, seed: int | torch.Generator) -> torch.Tensor:
    """``label`` with a share ``noise`` of its entries (rounded) moved to another class, drawn uniformly."""
    generator = checks.generator(seed)
    wrong = torch.randperm(len(label), generator=generator)[: round(noise * len(label))]
    shift = torch.randint(1, max(2, classes), (len(wrong),), generator=generator)
    label = label.clone()
    label[wrong] = (label[wrong] + shift) % classes
    return label


def digits() -> Points:
    """The 1797 handwritten digits of scikit-learn, 8 x 8 pixels in [0, 1]."""
    from sklearn.datasets import load_digits

    stored = load_digits()
    x = torch.from_numpy(stored.images / 16.0).float()[:, None]
    return Points(x, torch.from_numpy(stored.target.astype(np.int64)), "digits", tuple(map(str, range(10))))


def faces() -> Points:
    """100 faces and 100 other patches, 25 x 25 pixels in [0, 1] (Labeled Faces in the Wild, the subset of scikit-image)."""
    from skimage import data

    x = torch.from_numpy(data.lfw_subset().astype(np.float32))
    return Points(
        (x - x.min()).div(x.max() - x.min())[:, None], (torch.arange(200) < 100).long(), "faces", ("other", "face")
    )
