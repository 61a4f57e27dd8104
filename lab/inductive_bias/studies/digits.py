"""The task that most experiments of the room measure on: handwritten digits, or the user's table."""

from __future__ import annotations

import numpy as np

from lab.inductive_bias.task import Task

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
