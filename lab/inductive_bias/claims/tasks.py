"""Statements about tasks: dimension, training budget, and the design of harder tasks."""

from __future__ import annotations

import math

import numpy as np

from lab.claims import Measured, measures
from lab.inductive_bias import edits
from lab.inductive_bias.bits import required_bits
from lab.inductive_bias.claims.common import CHOSEN, digits_task, interval, own_or_digits
from lab.inductive_bias.covariances import RBF
from lab.inductive_bias.kernel_space import KernelSpace
from lab.inductive_bias.ranking import Share, cosine_task, threshold


@measures("bias.dimension")
def dimension(data, seeds, budget) -> Measured:
    """Slope of the exact bits over the dimensions 6 to 20, for sums of cosines at a fixed error."""
    return _over_dimensions(seeds, budget)


def _over_dimensions(seeds, budget, *, intrinsic: int | None = None) -> Measured:
    """``intrinsic`` fixes the dimension of the task while the list of dimensions is walked: nothing may grow then."""
    sizes = {"smoke": (100, 100), "default": (200, 400), "full": (400, 800)}[budget]
    dimensions = (6, 8, 10, 15, 20)
    slopes, table = [], []
    for seed in seeds:
        bits = []
        for index, d in enumerate(dimensions):
            task = cosine_task(intrinsic or d, n_train=sizes[0], n_test=sizes[1], seed=1000 * seed + index)
            bits.append(required_bits(KernelSpace(RBF(0.5), amplitude=1.0).loss_law(task), 0.1).bits)
        slopes.append(np.polyfit(dimensions, bits, 1)[0])
        table.append([round(b, 1) for b in bits])
    value, ends = interval(slopes)
    rising = np.all(np.diff(np.mean(table, 0)) > 0)
    return Measured(value, ends, ends[0] > 0 and rising, {"dimensions": list(dimensions), "bits": table})


@measures("bias.more-labels")
def more_labels(data, seeds, budget) -> Measured:
    """Bits at half the training set minus bits at all of it, at the same absolute threshold."""
    return _over_labels(data, seeds, budget)


def _over_labels(data, seeds, budget, *, shuffled: bool = False) -> Measured:
    saved = []
    for seed in seeds:
        task = own_or_digits(data, seed, budget, shuffled=shuffled)
        eps = threshold(Share(0.2 if data is None else 0.5), task)
        space = KernelSpace(RBF(), noise=0.0 if data is None else 0.05)
        half = task.subset(n_train=max(1, task.n_train // 2), seed=seed)
        saved.append(required_bits(space.loss_law(half), eps).bits - required_bits(space.loss_law(task), eps).bits)
    value, ends = interval(saved)
    details = {"saved": [round(v, 1) for v in saved], "threshold": CHOSEN}
    return Measured(value, ends, math.isfinite(value) and ends[0] > 0, details)


@measures("bias.task-design")
def task_design(data, seeds, budget) -> Measured:
    """Edits are chosen on one split; what they add is measured on another, beside the median edit."""
    return _designed(seeds, budget)


def _designed(seeds, budget, *, choose: str = "hardest") -> Measured:
    """``choose="easiest"`` takes the cheapest pair instead: the search must not come out ahead then."""
    options = [
        edits.AddDimensions(16),
        edits.RotateImages(45.0),
        edits.ShuffleFeatures(),
        edits.LabelNoise(0.2),
        edits.FewerLabels(0.5),
    ]
    space, rule = KernelSpace(RBF(), noise=1e-3), Share(0.5)
    sizes = {"smoke": (80, 60), "default": (200, 150), "full": (500, 300)}[budget]
    gains, names = [], []
    for seed in seeds:
        planned = edits.price(space, digits_task(seed, budget, sizes=sizes), options, rule)
        planned = planned[planned["edit"] != "none"]
        picked = planned.iloc[0 if choose == "hardest" else -1]["edit"]
        fresh = edits.price(space, digits_task(seed + 10_000, budget, sizes=sizes), options, rule)
        added = fresh.set_index("edit")["added_bits"]
        gains.append(float(added[picked] - added.drop("none").median()))
        names.append(picked)
    value, ends = interval(gains)
    return Measured(value, ends, math.isfinite(value) and ends[0] > 0, {"chosen": names})
