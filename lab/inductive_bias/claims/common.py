"""What the measuring functions share: the task of a run, and an interval over seeds."""

from __future__ import annotations

import math

import numpy as np

from lab.inductive_bias.task import Task

CHOSEN = "settings chosen after a look at the first seeds (0, 1, ...); judge the statement on others, such as 400 and on"
SIZES = {"smoke": (100, 100), "default": (300, 300), "full": (1000, 500)}


def digits_task(seed: int, budget: str, *, shuffled: bool = False, sizes=None) -> Task:
    """Handwritten digits, eight by eight pixels in [0, 1], ten one-hot classes; ``shuffled`` destroys the labels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    n_train, n_test = sizes or SIZES[budget]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))[: n_train + n_test]
    x, y = x[order] / 16, y[order]
    if shuffled:
        y = rng.permutation(y)
    return Task((x[:n_train], y[:n_train]), (x[n_train:], y[n_train:]), name="digits")


def own_or_digits(data, seed: int, budget: str, *, shuffled: bool = False, sizes=None) -> Task:
    """The user's table, or digits."""
    if data is None:
        return digits_task(seed, budget, shuffled=shuffled, sizes=sizes)
    if not hasattr(data, "frame"):
        raise TypeError(f"data must be a table, got {type(data).__name__}")
    n_train, n_test = sizes or SIZES[budget]
    task = Task.from_table(data, train=0.5, seed=seed)
    task = task.subset(n_train=min(n_train, task.n_train), n_test=min(n_test, task.n_test), seed=seed)
    if shuffled:
        order = np.random.default_rng(seed).permutation(task.n_test)
        task = task.replaced(test_targets=task.test_targets[order])
    return task


def interval(values, level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """Mean over seeds and its Student interval; a single value is its own interval."""
    from scipy.stats import t

    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2 or not np.isfinite(values).all():
        return mean, (mean, mean)
    half = float(t.ppf(0.5 + level / 2, len(values) - 1)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, (mean - half, mean + half)
