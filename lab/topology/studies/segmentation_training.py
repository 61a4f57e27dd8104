"""A training study: one small U-Net, one budget, several losses.

A network is trained with the soft Dice loss; from its weights every arm goes on for the same number of steps with the
same batches. Arms:

- ``dice``: Dice alone;
- ``cldice``: Dice and soft clDice (Shit et al., CVPR 2021);
- ``wasserstein``: Dice and the cheapest pairing of barcodes (Hu et al., NeurIPS 2019);
- ``betti``: Dice and Betti matching (Stucki et al., ICML 2023);
- ``control``: Dice under flips, rotations and changes of contrast, plus the network's own first predictions as soft
  targets: plain losses with augmentation and self-distillation.

Every arm had one number tuned over as many values (:mod:`lab.topology.studies.tuning`), on images of other seeds.
"""

from __future__ import annotations

import copy
import time
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lab import checks, source
from lab.datasets import ImageSet
from lab.topology.images.comparison import cldice, dice
from lab.topology.images.loss import BettiMatchingLoss
from lab.topology.images.metric import matching_error
from lab.topology.images.wasserstein_loss import WassersteinMatchingLoss
from lab.topology.studies import segmentation_data as images
from lab.training import unet
from lab.training.comparison import TUNING_SEEDS, chosen

if TYPE_CHECKING:
    import pandas as pd

ARMS = ("dice", "cldice", "wasserstein", "betti", "control")
GRIDS = {
    "dice": (1e-3, 3e-3, 5e-3, 1e-2, 2e-2),
    "betti": (0.003, 0.005, 0.01, 0.02, 0.03),
    "wasserstein": (0.003, 0.005, 0.01, 0.02, 0.03),
    "cldice": (0.03, 0.1, 0.3, 0.6, 1.0),
    "control": (0.05, 0.1, 0.3, 0.6, 0.9),
}
"""The values that each arm's number is tuned over: of ``dice`` the learning rate, which all arms share; of the others the
factor of their second term, of ``control`` the share of the soft targets."""
TABLE = "segmentation_training.csv"
FRESH, TUNING = 20_100, 9_000  # seed 0 draws stream 20100, the first seed of tuning, 1000, stream 10000
_SIZES = {"smoke": (8, 8, 10, 6), "default": (24, 40, 30, 30), "full": (64, 64, 100, 150)}


def results() -> pd.DataFrame:
    """The committed run of all arms at the default budget: what :func:`train` returned, with the kind of ``images``.

    Raises:
        FileNotFoundError: the project's data folder holds no such table.
    """
    return source.committed_table(TABLE, command=f"python -m {__name__}")


def stream(seed: int) -> int:
    """The stream of images, weights and batches of a seed; those of tuning (1000 and up) lie apart from all others."""
    return seed + (TUNING if seed >= TUNING_SEEDS[0] else FRESH)


def settings(kind: str) -> dict[str, float]:
    """The tuned number of each arm.

    Raises:
        NotTuned: the recorded trials have another grid than ``GRIDS``.
    """
    return chosen("betti_matching", checks.choice("kind", kind, images.KINDS), GRIDS)


def train(
    *,
    seeds=5,
    arms=ARMS,
    budget: str = "default",
    kind: str = "vessels",
    data: ImageSet | None = None,
    weights=None,
    progress=None,
) -> pd.DataFrame:
    """Train every arm for every seed and measure it on images not trained on.

    Args:
        seeds: how many, or which; a seed draws images, weights and batches.
        arms: which of ``ARMS``.
        budget: ``"smoke"``, ``"default"`` or ``"full"``: images for training and for testing, epochs before and after.
        kind: what the images show, ``"vessels"`` or ``"cells"``.
        data: images with labels instead; cut into tiles of 48 pixels, half of them for testing.
        weights: numbers by arm, instead of the tuned ones. A factor 0 switches the second term off.
        progress: called with the finished share of the work.

    Returns:
        one row a seed and arm: ``dice``, ``cldice``, ``betti_number_error``, ``matching_error`` (means over test
        images), ``seconds`` of the arm's training.

    Raises:
        ValueError: an unknown arm, kind or budget, no seed, data without labels or with fewer than 8 tiles that hold
            foreground.
    """
    import pandas as pd

    arms = [checks.choice("arms", arm, ARMS) for arm in arms]
    sizes = _SIZES[checks.choice("budget", budget, _SIZES)]
    seeds = range(checks.integer("seeds", seeds, low=1)) if isinstance(seeds, int) else seeds
    numbers = settings(kind) | (weights or {})
    parts = None if data is None else images.tiles(data)
    rows = []
    for place, seed in enumerate(seeds):
        for k, arm in enumerate(arms):
            rate, factor = float(numbers["dice"]), float(numbers[arm])
            if parts is None:
                row = remembered(kind, stream(seed), arm, factor, rate, sizes)
            else:
                row = _trained(_start(images.split(parts, seed), sizes, seed), arm, factor, rate, sizes, seed)
            rows.append({"seed": seed, "arm": arm} | row)
            if progress is not None:
                progress((place + (k + 1) / len(arms)) / len(seeds))
    return pd.DataFrame(rows)


@lru_cache(maxsize=1024)
def remembered(kind: str, seed: int, arm: str, factor: float, rate: float, sizes: tuple[int, ...]) -> dict[str, float]:
    """One arm on drawn images. It depends on its arguments alone, so that several studies of one session share it."""
    return _trained(_drawn_start(kind, seed, sizes), arm, factor, rate, sizes, seed)


@lru_cache(maxsize=4)
def _drawn_start(kind, seed, sizes):
    x, y = images.draw(kind, sizes[0] + sizes[1], seed=seed)
    return _start((x[: sizes[0]], y[: sizes[0]], x[sizes[0] :], y[sizes[0] :]), sizes, seed)


def _start(parts, sizes, seed):
    """Images and a network trained on them with Dice: where all arms of a seed begin."""
    network = unet(1, 1, widths=(8, 16), seed=seed)
    _run(network, *parts[:2], "dice", 0.0, sizes[2], 1e-2, seed)
    return network, parts


def _trained(start, arm, factor, rate, sizes, seed) -> dict[str, float]:
    first, (x, y, test_x, test_y) = start
    network = copy.deepcopy(first)
    began = time.process_time()
    _run(network, x, y, arm, factor, sizes[3], rate, 1000 + seed)
    return {"seconds": time.process_time() - began} | measure(network, test_x, test_y)


def measure(network, x: Tensor, y: Tensor) -> dict[str, float]:
    """Means over images of the measures of ``network(x) >= 0`` against ``y``; both (images, 1, height, width)."""
    with torch.no_grad():
        found = torch.cat([network(part) for part in x.split(16)])[:, 0].sigmoid()
    sums = {"dice": 0.0, "cldice": 0.0, "betti_number_error": 0.0, "matching_error": 0.0}
    for one, two in zip(found, y[:, 0] > 0):
        error = matching_error(one, two)
        sums["dice"] += dice(one >= 0.5, two)
        sums["cldice"] += cldice(one >= 0.5, two)
        sums["betti_number_error"] += sum(error.betti_number_error)
        sums["matching_error"] += error.total
    return {name: value / len(x) for name, value in sums.items()}


def gains(frame: pd.DataFrame, measure: str) -> np.ndarray:
    """``measure`` with Betti matching less that with Dice alone, one value a seed; ``frame`` as :func:`train` returns it."""
    wide = frame.pivot(index="seed", columns="arm", values=measure)
    return (wide["betti"] - wide["dice"]).to_numpy()


def check_trained_apart(frame: pd.DataFrame) -> None:
    """Refuse arms that ended alike on every seed: then the second term had no gradient, and equal overlap says nothing."""
    if not gains(frame, "dice").any() and not gains(frame, "matching_error").any():
        raise ValueError("both arms ended with the same networks on every seed; the second term had no effect")


def means(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The mean measures of each arm."""
    names = [name for name in ("dice", "cldice", "betti_number_error", "matching_error") if name in frame]
    return frame.groupby("arm")[names].mean().round(4).to_dict("index")


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """``1 - (2 sum p t + 1) / (sum p + sum t + 1)``, the mean over images."""
    p, t = logits.sigmoid().flatten(1), target.flatten(1)
    return (1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)).mean()


def soft_cldice_loss(logits: Tensor, target: Tensor, *, steps: int = 5) -> Tensor:
    """One minus clDice of soft skeletons (erosions and openings by pooling; Shit et al., algorithm 1)."""
    p = logits.sigmoid()
    bones, wanted = _skeleton(p, steps), _skeleton(target, steps)
    precision = ((bones * target).flatten(1).sum(1) + 1) / (bones.flatten(1).sum(1) + 1)
    recall = ((wanted * p).flatten(1).sum(1) + 1) / (wanted.flatten(1).sum(1) + 1)
    return (1 - 2 * precision * recall / (precision + recall)).mean()


def _skeleton(x, steps):
    erode = lambda x: -F.max_pool2d(-x, 3, 1, 1)  # noqa: E731
    opened = lambda x: F.max_pool2d(erode(x), 3, 1, 1)  # noqa: E731
    bones = F.relu(x - opened(x))
    for _ in range(steps):
        x = erode(x)
        rest = F.relu(x - opened(x))
        bones = bones + F.relu(rest - bones * rest)
    return bones


def _run(network, x, y, arm, factor, epochs, rate, seed):
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed)
    term = {
        "betti": BettiMatchingLoss(sigmoid=True),
        "wasserstein": WassersteinMatchingLoss(sigmoid=True),
        "cldice": soft_cldice_loss,
    }.get(arm)
    teacher = copy.deepcopy(network) if arm == "control" else None
    for _ in range(epochs):
        for index in torch.randperm(len(x), generator=generator).split(8):
            image, target = x[index], y[index]
            if teacher is not None:
                with torch.no_grad():
                    soft = teacher(image).sigmoid()
                image, target, soft = _augment(image, target, soft, generator)
            logits = network(image)
            loss = dice_loss(logits, target)
            if teacher is not None:
                loss = (1 - factor) * loss + factor * F.binary_cross_entropy_with_logits(logits, soft)
            elif term is not None and factor > 0:
                loss = loss + factor * term(logits, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _augment(image, target, soft, generator):
    turns = int(torch.randint(4, (1,), generator=generator))
    flip = bool(torch.randint(2, (1,), generator=generator))
    move = lambda x: torch.rot90(x.flip(-1) if flip else x, turns, (-2, -1))  # noqa: E731
    gain, shift = 0.8 + 0.4 * torch.rand(1, generator=generator), 0.2 * torch.rand(1, generator=generator) - 0.1
    return move(image) * gain + shift, move(target), move(soft)


if __name__ == "__main__":
    import pandas as pd

    frames = [train(seeds=20, kind=name).assign(images=name) for name in images.KINDS]
    pd.concat(frames).round(5).to_csv(
        source.project_root() / "data" / "benchmarks" / TABLE, index=False, lineterminator="\n"
    )
