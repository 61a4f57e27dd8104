"""Tasks compared: dimension, training budget, edits that make a task harder."""

from __future__ import annotations

import math

from lab.inductive_bias import task_edits
from lab.inductive_bias.bit_methods import required_bits
from lab.inductive_bias.covariances import RBF
from lab.inductive_bias.kernel_space import KernelSpace
from lab.inductive_bias.ranking import Share, cosine_task, threshold
from lab.inductive_bias.related_measures import bound_2023
from lab.inductive_bias.studies.digits import digits_task
from lab.inductive_bias.task import Task

DIMENSIONS = (6, 8, 10, 15, 20)
EDITS = (
    task_edits.AddDimensions(16),
    task_edits.RotateImages(45.0),
    task_edits.ShuffleFeatures(),
    task_edits.LabelNoise(0.2),
    task_edits.FewerLabels(0.5),
)


def bits_by_dimension(seed: int, sizes: tuple[int, int], *, intrinsic: int | None = None) -> list[float]:
    """Bits of sums of cosines at a fixed error over :data:`DIMENSIONS`; ``intrinsic`` is the dimension of all tasks instead."""
    bits = []
    for index, d in enumerate(DIMENSIONS):
        task = cosine_task(intrinsic or d, n_train=sizes[0], n_test=sizes[1], seed=1000 * seed + index)
        bits.append(required_bits(KernelSpace(RBF(0.5), amplitude=1.0).loss_law(task), 0.1).bits)
    return bits


def bound_and_bits(seed: int) -> tuple[float, float]:
    """log10 of the bound of 2023 and of the exact bits, for sums of cosines in ten dimensions."""
    task = cosine_task(10, n_train=100, n_test=100, seed=seed)
    bits = required_bits(KernelSpace(RBF(0.5), amplitude=1.0).loss_law(task), 0.1).bits
    bound = bound_2023(dimension=10, n_train=100, eps=0.1, radius=math.sqrt(10) / 2, resolution=0.5)
    return bound.log10_bits, math.log10(bits)


def saved_by_labels(task: Task, *, seed: int, share: float = 0.2, noise: float = 0.0) -> float:
    """Bits at half the training set minus bits at all of it, at the same absolute threshold."""
    eps = threshold(Share(share), task)
    space = KernelSpace(RBF(), noise=noise)
    half = task.subset(n_train=max(1, task.n_train // 2), seed=seed)
    return required_bits(space.loss_law(half), eps).bits - required_bits(space.loss_law(task), eps).bits


def designed(seed: int, sizes: tuple[int, int], *, easiest: bool = False) -> tuple[float, str]:
    """Bits that the edit chosen on one split adds on another, beyond the median edit, and its name.

    ``easiest`` takes the cheapest edit instead of the hardest.
    """
    space, rule = KernelSpace(RBF(), noise=1e-3), Share(0.5)
    planned = task_edits.price(space, digits_task(seed, "smoke", sizes=sizes), list(EDITS), rule)
    planned = planned[planned["edit"] != "none"]
    picked = planned.iloc[-1 if easiest else 0]["edit"]
    fresh = task_edits.price(space, digits_task(seed + 10_000, "smoke", sizes=sizes), list(EDITS), rule)
    added = fresh.set_index("edit")["added_bits"]
    return float(added[picked] - added.drop("none").median()), picked
