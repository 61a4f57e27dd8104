"""A training study in 3-D: one small 3-D U-Net, one budget, with Betti matching and without.

A network is trained with the soft Dice loss on volumes of thin tubes (:func:`lab.datasets.tube_network`), another set
for every seed; from its weights every arm goes on for the same number of steps with the same batches. Arms:

- ``dice``: Dice alone;
- ``betti``: Dice and Betti matching in dimensions 0, 1 and 2.

Gradients are clipped to norm one: without, some networks of either arm end with empty predictions, from which no
gradient of Dice leads back. Both arms have the learning rate that was tuned on the Dice arm, and the weight of the second term
had as many trials (:mod:`lab.topology.studies.tuning`), on volumes of other seeds.

Source: N. Stucki, V. Buergin, J. C. Paetzold, U. Bauer, 'Efficient Betti Matching Enables Topology-Aware 3D
Segmentation via Persistent Homology', 2024.
"""

from __future__ import annotations

import copy
import time
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lab import checks, source
from lab.datasets import ImageSet, tube_network
from lab.topology.images.comparison import dice
from lab.topology.images.loss import BettiMatchingLoss
from lab.topology.images.metric import matching_error
from lab.topology.studies.segmentation_training import dice_loss, stream
from lab.training import unet
from lab.training.comparison import chosen

if TYPE_CHECKING:
    import pandas as pd

ARMS = ("dice", "betti")
GRIDS = {"dice": (5e-3, 7e-3, 1e-2), "betti": (0.005, 0.01, 0.02)}
"""The values that are tuned over: the learning rate, which both arms share, and the weight of the second term."""
TABLE = "volume_training.csv"
SIZE = 24
_SIZES = {"smoke": (4, 4, 16, 5), "default": (12, 24, 16, 10), "full": (48, 64, 60, 60)}
_BATCH = 4


def results() -> pd.DataFrame:
    """The committed run of both arms at the default budget, as :func:`train` returned it.

    Raises:
        FileNotFoundError: the project's data folder holds no such table.
    """
    return source.committed_table(TABLE, command="python -m lab.topology.studies.volume_training")


def settings() -> dict[str, tuple[float, float]]:
    """The tuned (learning rate, weight) of each arm.

    Raises:
        NotTuned: the recorded trials have another grid than ``GRIDS``.
    """
    found = chosen("betti_volumes", "tubes", GRIDS)
    return {"dice": (found["dice"], 0.0), "betti": (found["dice"], found["betti"])}


def train(
    *, seeds=5, arms=ARMS, budget: str = "default", data: ImageSet | None = None, weights=None, progress=None
) -> pd.DataFrame:
    """Train every arm for every seed and measure it on volumes not trained on.

    Args:
        seeds: how many, or which; a seed draws volumes, weights and batches.
        arms: which of ``ARMS``.
        budget: ``"smoke"``, ``"default"`` or ``"full"``: volumes for training and for testing, epochs before and after.
        data: volumes with labels instead of tubes; cut into blocks of ``SIZE`` voxels, half of them for testing.
        weights: of the second term by arm, instead of the tuned one. A weight 0 switches the method off.
        progress: called with the finished share of the work.

    Returns:
        one row a seed and arm: ``dice``, ``betti_number_error``, ``matching_error`` and its parts ``components``,
        ``loops``, ``cavities`` (means over test volumes), ``seconds`` of the arm's training.

    Raises:
        ValueError: an unknown arm or budget, no seed, data without labels or with fewer than 8 blocks that hold
            foreground.
    """
    import pandas as pd

    arms = [checks.choice("arms", arm, ARMS) for arm in arms]
    sizes = _SIZES[checks.choice("budget", budget, _SIZES)]
    seeds = range(checks.integer("seeds", seeds, low=1)) if isinstance(seeds, int) else seeds
    numbers = settings() | {arm: (settings()[arm][0], float(weight)) for arm, weight in (weights or {}).items()}
    blocks = None if data is None else _blocks(data)
    rows = []
    for place, seed in enumerate(seeds):
        for k, arm in enumerate(arms):
            if blocks is None:
                row = remembered(stream(seed), arm, numbers[arm], sizes)
            else:
                row = _trained(_start(_split(blocks, seed), sizes, seed), arm, numbers[arm], sizes, seed)
            rows.append({"seed": seed, "arm": arm} | row)
            if progress is not None:
                progress((place + (k + 1) / len(arms)) / len(seeds))
    return pd.DataFrame(rows)


@lru_cache(maxsize=512)
def remembered(seed: int, arm: str, setting: tuple[float, float], sizes: tuple[int, ...]) -> dict[str, float]:
    """One arm on tubes. It depends on its arguments alone, so that several studies of one session share it."""
    return _trained(_tube_start(seed, sizes), arm, setting, sizes, seed)


@lru_cache(maxsize=8)
def _tube_start(seed, sizes):
    generator = torch.Generator().manual_seed(seed)
    sets = [tube_network((SIZE,) * 3, radius=1.4, noise=0.15, seed=generator) for _ in range(sizes[0] + sizes[1])]
    x = torch.stack([item.image for item in sets])[:, None]
    y = torch.stack([item.label for item in sets])[:, None].float()
    return _start((x[: sizes[0]], y[: sizes[0]], x[sizes[0] :], y[sizes[0] :]), sizes, seed)


def _start(volumes, sizes, seed):
    """Volumes and a network trained on them with Dice: where all arms of a seed begin."""
    network = unet(1, 1, widths=(8, 16), dimension=3, seed=seed)
    _run(network, *volumes[:2], "dice", (1e-2, 0.0), sizes[2], seed)
    return network, volumes


def _trained(start, arm, setting, sizes, seed) -> dict[str, float]:
    first, (x, y, test_x, test_y) = start
    network = copy.deepcopy(first)
    began = time.process_time()
    _run(network, x, y, arm, setting, sizes[3], 1000 + seed)
    return {"seconds": time.process_time() - began} | measure(network, test_x, test_y)


def measure(network, x: Tensor, y: Tensor) -> dict[str, float]:
    """Means over volumes of the measures of ``network(x) >= 0`` against ``y``; both (volumes, 1, axes...)."""
    with torch.no_grad():
        found = torch.cat([network(part) for part in x.split(_BATCH)])[:, 0].sigmoid()
    sums = dict.fromkeys(("dice", "betti_number_error", "matching_error", "components", "loops", "cavities"), 0.0)
    for one, two in zip(found, y[:, 0] > 0):
        error = matching_error(one, two)
        sums["dice"] += dice(one >= 0.5, two)
        sums["betti_number_error"] += sum(error.betti_number_error)
        sums["matching_error"] += error.total
        for name, count in zip(("components", "loops", "cavities"), error.error):
            sums[name] += count
    return {name: value / len(x) for name, value in sums.items()}


def _run(network, x, y, arm, setting, epochs, seed):
    rate, weight = setting
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed)
    term = BettiMatchingLoss(sigmoid=True) if arm == "betti" and weight > 0 else None
    for _ in range(epochs):
        for index in torch.randperm(len(x), generator=generator).split(_BATCH):
            logits = network(x[index])
            loss = dice_loss(logits, y[index])
            if term is not None:
                loss = loss + weight * term(logits, y[index])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()


def _blocks(data):
    volumes, labels = [], []
    for item in data:
        if item.label is None or item.image.ndim != 3:
            raise ValueError(f"data must hold volumes with labels, got {item.name or 'an image'} without")
        cuts = [range(0, length - SIZE + 1, SIZE) for length in item.image.shape]
        for corner in torch.cartesian_prod(*(torch.tensor(list(cut), dtype=torch.long) for cut in cuts)).tolist():
            window = tuple(slice(low, low + SIZE) for low in corner)
            share = float((item.label[window] > 0).float().mean())
            if 0.005 < share < 0.995:
                volumes.append(item.image[window])
                labels.append((item.label[window] > 0).float())
    if len(volumes) < 8:
        raise ValueError(
            f"data must hold at least 8 blocks of {SIZE} voxels with foreground and background, got {len(volumes)}"
        )
    return torch.stack(volumes)[:, None], torch.stack(labels)[:, None]


def _split(blocks, seed, limit=40):
    x, y = blocks
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:limit]
    half = len(order) // 2
    return x[order[:half]], y[order[:half]], x[order[half:]], y[order[half:]]


if __name__ == "__main__":
    import pandas as pd

    frames = []
    for seed in range(20):
        frames.append(train(seeds=(seed,)).round(5))
        pd.concat(frames).to_csv(
            source.project_root() / "data" / "benchmarks" / TABLE, index=False, lineterminator="\n"
        )
