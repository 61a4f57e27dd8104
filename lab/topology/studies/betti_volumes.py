"""What the statements about Betti matching of volumes are measured on."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import torch

from lab.datasets import ImageSet, equal_dice_predictions, tube_network
from lab.kernels.cubical import reference
from lab.topology.images.barcodes import barcode
from lab.topology.images.matching import match
from lab.topology.images.metric import matching_error
from lab.topology.studies import volume_checks


def wrong_bars(count: int, seed: int, *, shift: int = 0) -> tuple[int, int]:
    """``(wrong, bars)``: bars that :func:`match` puts elsewhere than the definition by boundary matrices, and how many there are,
    over ``count`` small random volumes. ``shift`` moves the second volume before it is matched."""
    wrong = bars = 0
    draw = np.random.default_rng([seed, 5])
    for _ in range(count):
        a, b = draw.random((3, 4, 4)), draw.integers(0, 3, (3, 4, 4)) / 2
        found, wanted = match(-a, -np.roll(b, shift, axis=0)), reference.match(a, b)
        for d in range(3):
            mine, exact = volume_checks.kinds_of(found, d), volume_checks.kinds_of_definition(wanted[d], a, b)
            for one, two in zip(mine, exact):
                bars += len(two)
                wrong += abs(len(one) - len(two)) + sum(x != y for x, y in zip(one, two))
    return wrong, bars


def failed_drawings(count: int, seed: int, *, dealt: bool = False) -> tuple[int, int, int]:
    """``(failed, drawn, filled)`` of ``volume_checks.check_drawings`` over ``count`` small random volumes."""
    draw, total = np.random.default_rng([seed, 7]), np.zeros(3, int)
    for k in range(count):
        x = draw.random((4, 5, 5)) if k % 2 == 0 else draw.integers(0, 3, (4, 5, 5)).astype(float)
        found = volume_checks.check_drawings(x, barcode(x), dealt=dealt)
        total += (found.failed, found.drawn, found.filled_controls)
    return tuple(total.tolist())


def equal_dice_errors(
    data: ImageSet | None, seeds, size: int, *, outlines_only: bool = False
) -> list[tuple[str, dict[str, int]]]:
    """Matching errors of predictions of equal Dice, a label for each seed: of ``data`` in turn, else networks of tubes."""
    kinds = [("boundary",)] * 2 if outlines_only else [("boundary", "islands", "breaks")]
    items = None if data is None else [(item.name or f"volume {k}", item.label > 0) for k, item in enumerate(data)]
    rows = []
    for seed in seeds:
        name, label = items[seed % len(items)] if items else (f"tubes {seed}", _tubes(size, seed))
        errors = {
            f"{kind} {k}" if outlines_only else kind: matching_error(x, label).total
            for k, variants in enumerate(kinds)
            for kind, x in equal_dice_predictions(label, dice=0.9, variants=variants, seed=seed + k).items()
        }
        if not errors:
            raise ValueError(f"label {name!r} has no predictions of equal Dice")
        rows.append((name, errors))
    return rows


def _tubes(size, seed):
    return tube_network((size,) * 3, radius=2.0, seed=seed).label


def growth(sizes, *, seed: int = 0, rounds: int = 3, matcher=match) -> pd.DataFrame:
    """Process CPU time of one matching of two volumes of noise against the number of voxels: the least of ``rounds`` each."""
    rows = []
    for size in sizes:
        prediction, label = torch.from_numpy(np.random.default_rng([seed, size]).random((2, size, size, size)))
        times = []
        for _ in range(rounds):
            began = time.process_time()
            matcher(prediction, label)
            times.append(time.process_time() - began)
        rows.append({"voxels": size**3, "seconds": min(times)})
    return pd.DataFrame(rows)
