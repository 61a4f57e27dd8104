"""What the statements about Betti matching are measured on, and what switches the method off in their controls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from torch import Tensor

from lab.datasets import equal_dice_predictions
from lab.kernels.cubical import reference
from lab.topology.images.barcodes import barcode
from lab.topology.images.loss import BettiMatchingLoss
from lab.topology.images.matching import Matching, match
from lab.topology.images.metric import matching_error
from lab.topology.images.wasserstein_loss import wasserstein_pairs
from lab.topology.studies.segmentation import EqualCounts, equal_counts, field, flip_changes


def noise_masks(seed: int, count: int, size: int = 24):
    """Pairs of random masks of several densities."""
    draw = np.random.default_rng([seed, 17])
    for _ in range(count):
        level = draw.uniform(0.25, 0.75, 2)
        yield tuple(torch.from_numpy(draw.random((size, size)) < p) for p in level)


def shuffled(found: Matching) -> Matching:
    """The matching with its partners exchanged: the same bars, other pairs."""
    pairs = [
        replace(pair, label=pair.label.select(torch.arange(len(pair)).roll(1 + len(pair) // 2)))
        for pair in found.matched
    ]
    return replace(found, matched=tuple(pairs))


def outlines(label, *, dice: float = 0.9) -> dict[str, Tensor]:
    """Two predictions of equal Dice that err along outlines only."""
    found = (equal_dice_predictions(label, dice=dice, variants=("boundary",), seed=seed) for seed in range(2))
    return {f"boundary {k}": x for k, each in enumerate(found) for x in each.values()}


def wrong_pairs(count: int, seed: int, *, shift: int = 0) -> tuple[int, int]:
    """``(wrong, pairs)``: matched pairs in which :func:`match` differs from the definition by boundary matrices, and how many the
    definition has, over ``count`` small random images. ``shift`` moves the second image before it is matched."""
    wrong = pairs = 0
    draw = np.random.default_rng([seed, 3])
    for _ in range(count):
        a, b = draw.random((6, 7)), draw.integers(0, 3, (6, 7)) / 2
        found, wanted = match(-a, -np.roll(b, shift, axis=0)), reference.match(a, b)
        for d in range(2):
            mine = _values(found.matched[d])
            exact = sorted(
                tuple(-reference.value(f, cell) for f, cell in zip((a, a, b, b), one + two))
                for one, two in wanted[d][0]
            )
            pairs += len(exact)
            wrong += abs(len(mine) - len(exact)) + sum(one != two for one, two in zip(mine, exact))
    return wrong, pairs


def pair_by_values(prediction, label) -> None:
    """The optimal pairing of the two barcodes by their values, the baseline of :func:`match`."""
    one, two = barcode(prediction), barcode(label)
    for first, second in zip(one.bars, two.bars):
        wasserstein_pairs(first, second)


def exponent(frame: pd.DataFrame, size: str = "pixels") -> float:
    """Slope of the logarithm of ``seconds`` against that of ``size``."""
    return float(np.polyfit(np.log(frame[size]), np.log(frame.seconds), 1)[0])


def with_room(name: str, label: Tensor, seed: int, *, own: bool = False) -> tuple[str, EqualCounts]:
    """:func:`equal_counts` of a label, with predictions whose Betti numbers are the label's; where it has no room to move a
    component, of the next smooth field.

    Raises:
        ValueError: the ``own`` label has no room.
    """
    for attempt in range(1 if own else 50):
        if attempt:
            name, label = field(seed + 1000 * attempt)
        pair = equal_counts(label, seed=seed)
        if pair and not any(sum(matching_error(x, label).betti_number_error) for x in (pair.kept, pair.moved)):
            return name, pair
    raise ValueError(f"label {name!r} has no room to move a component")


def orientation_changes(seed: int, count: int, label: bool) -> float:
    """Share of pairs whose matched values change when an axis of both is flipped: noise with noise, or with a binary label."""
    draw, changed = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        x, y = torch.rand(2, 24, 24, generator=draw, dtype=torch.float64)
        smooth = torch.from_numpy(ndimage.gaussian_filter(y.numpy(), 2))
        changed.append(flip_changes(x, (smooth > smooth.mean()).double() if label else y)[0])
    return float(np.mean(changed))


def gradient_error(size: int, seed: int, *, inverted: bool = False, step: float = 1e-6) -> float:
    """Largest difference of the loss's gradient and central differences, relative to the largest gradient.

    ``inverted`` takes the gradient against the inverted label.
    """
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 1, size, size, generator=draw, dtype=torch.float64, requires_grad=True)
    y = (torch.rand(1, 1, size, size, generator=draw) > 0.5).double()
    BettiMatchingLoss(reduction="sum")(x, 1 - y if inverted else y).backward()
    moves = step * torch.eye(size * size, dtype=torch.float64).reshape(-1, 1, size, size)
    each = BettiMatchingLoss(reduction="none")
    with torch.no_grad():
        stacked = y.expand(size * size, 1, size, size)
        numerical = (each(x + moves, stacked) - each(x - moves, stacked)).reshape(-1) / (2 * step)
    scale = float(x.grad.abs().max())
    if scale == 0:
        raise ValueError("the gradient is zero everywhere: nothing is compared")
    return float((numerical - x.grad.reshape(-1)).abs().max()) / scale


def _values(pairs):
    sides = (pairs.prediction, pairs.label)
    return sorted(zip(*(values.tolist() for bars in sides for values in (bars.birth, bars.death))))
