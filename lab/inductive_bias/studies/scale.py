"""What bits cost at the size of MNIST: a task of 28 x 28 images of any number, and time, memory and agreement measured."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch

from lab import checks
from lab.datasets.moves import moved
from lab.inductive_bias.bit_methods import required_bits
from lab.inductive_bias.covariances import RBF
from lab.inductive_bias.kernel_space import KernelSpace
from lab.inductive_bias.scale import large_bits, large_law
from lab.inductive_bias.task import Task

SIDE = 28


def image_task(n_train: int = 10_000, n_test: int = 10_000, *, seed: int = 0) -> Task:
    """Handwritten digits enlarged to 28 x 28 pixels, each image turned, shifted and scaled at random: ten classes.

    The originals of training and test images are disjoint halves of scikit-learn's 1797 digits.
    """
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(checks.integer("seed", seed, low=0))
    order = rng.permutation(len(x))
    halves = order[: len(x) // 2], order[len(x) // 2 :]
    parts = []
    for name, size, half in (("n_train", n_train, halves[0]), ("n_test", n_test, halves[1])):
        chosen = rng.choice(half, checks.integer(name, size, low=2))
        parts.append((_enlarged(x[chosen].reshape(-1, 8, 8) / 16, rng), y[chosen]))
    return Task(parts[0], parts[1], name=f"{n_train} + {n_test} images of digits")


def bits_at_scale(
    size: int,
    *,
    shares: Sequence[float] = (0.9, 0.7, 0.5),
    methods: Sequence[str] = ("exact", "lanczos"),
    space: KernelSpace | None = None,
    seed: int = 0,
    progress=None,
):
    """Bits of ``size`` training and ``size`` test images, by each method, with what it took.

    Args:
        size: training images, and test images.
        shares: thresholds, as shares of the mean loss of the space's hypotheses.
        methods: ``"exact"``, which comes first, and ``"lanczos"``.
        space: an RBF of the median distance with noise 0.01 by default.
        progress: called with the name of the finished stage.

    Returns:
        A data frame with a row for each method and threshold: ``n_train, n_test, method, eps, bits, low, high,
        difference`` (relative to exact), and, for the whole of a method's law or for one Lanczos threshold,
        ``wall_seconds, cpu_seconds``; ``peak_mb`` is the most memory that this process has held so far.
    """
    import pandas as pd

    for method in methods:
        checks.choice("methods", method, ("exact", "lanczos"))
    if not methods or methods[0] != "exact":
        raise ValueError(f"methods must begin with 'exact', which sets the thresholds, got {tuple(methods)}")
    space = KernelSpace(RBF(), noise=0.01) if space is None else space
    task = image_task(size, size, seed=seed)
    clock = _clock()
    law = large_law(space, task, progress=progress)
    spent = _spent(clock)
    eps = [checks.number("shares", share, low=0.0) * law.mean for share in shares]
    rows = [_row(task, "exact", required_bits(law, value), spent, 0.0) for value in eps]
    if "lanczos" in methods:
        for value, exact in zip(eps, [row["bits"] for row in rows]):
            clock = _clock()
            found = large_bits(space, task, value, method="lanczos", seed=seed, progress=progress)
            difference = found.bits / exact - 1 if exact > 0 else math.nan
            rows.append(_row(task, "lanczos", found, _spent(clock), difference))
    return pd.DataFrame(rows)


def _row(task, method, found, spent, difference):
    return {
        "n_train": task.n_train,
        "n_test": task.n_test,
        "method": method,
        "eps": found.eps,
        "bits": found.bits,
        "low": found.interval[0],
        "high": found.interval[1],
        "difference": difference,
        **spent,
    }


def _enlarged(images: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """``(n, 8, 8)`` images as ``(n, 784)``: bilinear interpolation at turned, shifted and scaled places."""
    n = len(images)
    angle, zoom = np.deg2rad(rng.normal(0, 8, n)), 1 + rng.normal(0, 0.06, n)
    shift = torch.from_numpy(rng.normal(0, 0.05, (n, 2)))
    source, pose = torch.from_numpy(images)[:, None], [torch.from_numpy(one) for one in (angle, zoom)]
    parts = [
        moved(*(one[start : start + 1000] for one in (source, *pose, shift)), size=(SIDE, SIDE)).reshape(
            -1, SIDE * SIDE
        )
        for start in range(0, n, 1000)
    ]
    return torch.cat(parts)


def _clock():
    return time.perf_counter(), time.process_time()


def _spent(clock):
    wall, cpu = clock
    return {
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    """The most memory this process has held, in MB; NaN where the system does not say."""
    try:
        import resource
    except ImportError:
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
