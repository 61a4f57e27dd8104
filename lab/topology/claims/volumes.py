"""Measurements of the statements about Betti matching of volumes."""

from __future__ import annotations

import time

import numpy as np
import torch
from scipy import stats

from lab.claims import Measured, measures
from lab.datasets import equal_dice_predictions, smooth_field, tube_network
from lab.kernels.cubical import reference
from lab.topology import volume_checks, volume_training, volume_tuning
from lab.topology.barcodes import barcode
from lab.topology.claims.training import error_falls, interval, overlap_stays
from lab.topology.matching import match
from lab.topology.metric import matching_error


@measures("volumes.induced-by-inclusions")
def induced_by_inclusions(data, seeds, budget):
    """Bars that :func:`match` puts elsewhere than the definition by boundary matrices does, over small random volumes."""
    wrong = bars = 0
    for seed in seeds:
        draw = np.random.default_rng([seed, 5])
        for _ in range({"smoke": 1, "default": 4, "full": 30}[budget]):
            a, b = draw.random((3, 4, 4)), draw.integers(0, 3, (3, 4, 4)) / 2
            found, wanted = match(-a, -b), reference.match(a, b)
            for d in range(3):
                mine, exact = volume_checks.kinds_of(found, d), volume_checks.kinds_of_definition(wanted[d], a, b)
                for one, two in zip(mine, exact):
                    bars += len(two)
                    wrong += abs(len(one) - len(two)) + sum(x != y for x, y in zip(one, two))
    return Measured(wrong, (wrong, wrong), wrong == 0 and bars > 0, {"bars": bars})


@measures("volumes.curves-go-around")
def curves_go_around(data, seeds, budget):
    """Drawings of random volumes that are not what they are said to be, of how many."""
    failed = drawn = filled = 0
    for seed in seeds:
        draw = np.random.default_rng([seed, 7])
        for k in range({"smoke": 1, "default": 3, "full": 20}[budget]):
            x = draw.random((4, 5, 5)) if k % 2 == 0 else draw.integers(0, 3, (4, 5, 5)).astype(float)
            found = volume_checks.check_drawings(x, barcode(x))
            failed, drawn, filled = failed + found.failed, drawn + found.drawn, filled + found.filled_controls
    holds = failed == 0 and drawn > 0 and filled > 0
    return Measured(failed, (failed, failed), holds, {"drawings": drawn, "filled paths that the check recognizes": filled})


@measures("volumes.overlap-is-blind")
def overlap_is_blind(data, seeds, budget):
    """Range of the matching error over predictions of equal Dice, the least over labels."""
    if data is not None:
        labels = {item.name or f"volume {k}": item.label > 0 for k, item in enumerate(data)}
    else:
        size = {"smoke": 24, "default": 32, "full": 64}[budget]
        labels = {f"tubes {seed}": tube_network((size,) * 3, radius=2.0, seed=seed).label for seed in seeds}
    ranges, rows = [], {}
    for name, label in labels.items():
        errors = {
            kind: matching_error(x, label).total
            for kind, x in equal_dice_predictions(label, dice=0.9, variants=("boundary", "islands", "breaks"), seed=0).items()
        }
        ranges.append(max(errors.values()) - min(errors.values()) if errors else 0)
        rows[name] = errors
    return Measured(min(ranges), (min(ranges), max(ranges)), min(ranges) > 0, {"matching error": rows})


@measures("volumes.efficient")
def efficient(data, seeds, budget):
    """Exponent of CPU time of one matching against the number of voxels: the least of three runs each."""
    sizes = {"smoke": (16, 24, 32), "default": (24, 32, 48, 64), "full": (32, 48, 64, 96, 128)}[budget]
    slopes, table = [], {}
    for seed in seeds:
        times = []
        for size in sizes:
            field = smooth_field((size,) * 3, scale=4.0, seed=seed)
            prediction, label = field.prediction, field.label > 0
            runs = []
            for _ in range(3):
                began = time.process_time()
                match(prediction, label)
                runs.append(time.process_time() - began)
            times.append(min(runs))
        table = {f"{size}^3": round(1e9 * seconds / size**3) for size, seconds in zip(sizes, times)}
        slopes.append(float(stats.linregress(3 * np.log(sizes), np.log(times)).slope))
    low, high = interval(slopes)
    return Measured(np.mean(slopes), (low, high), np.mean(slopes) < 1.3, {"nanoseconds per voxel": table})


@measures("volumes.topology-improves")
def improves(data, seeds, budget):
    """Matching error of the same 3-D network trained on with Dice alone, less that with Dice and Betti matching."""
    return error_falls(*_trained(data, seeds, budget))


@measures("volumes.overlap-preserved")
def preserved(data, seeds, budget):
    """Points of Dice that the same 3-D training gains with Betti matching: equivalent within half a point, or not."""
    return overlap_stays(*_trained(data, seeds, budget))


def _trained(data, seeds, budget):
    arms = ("dice", "betti")
    frame = volume_training.train(seeds=seeds, arms=arms, budget=budget, data=data)
    details = {
        "tuning trials": {arm: len(volume_tuning.GRID[arm]) for arm in arms},
        "settings (learning rate, weight)": {arm: volume_training.SETTINGS[arm] for arm in arms},
        "threads": torch.get_num_threads(),
    }
    return frame, details
