"""The tasks and spaces that the notebooks of this room name."""

from __future__ import annotations

import math

import numpy as np

from lab import checks
from lab.inductive_bias.covariances import NNGP, NTK, RBF, Linear, Matern, Patch, Polynomial
from lab.inductive_bias.kernel_space import KernelSpace
from lab.inductive_bias.ranking import cosine_task
from lab.inductive_bias.task import Task

SIZES = {"smoke": (100, 100), "default": (300, 500), "full": (1000, 797)}
COVARIANCES = {"rbf": RBF(), "matern": Matern(nu=1.5), "patches": Patch(5), "nngp": NNGP(3)}


def named_task(name: str, profile: str = "default", *, seed: int = 0) -> Task:
    """``"digits"`` (8 x 8 pixels, ten one-hot classes), ``"cosines"`` (in ten dimensions) or ``"pendulum"`` (control)."""
    checks.choice("profile", profile, SIZES)
    checks.choice("name", name, ("digits", "cosines", "pendulum"))
    n_train, n_test = SIZES[profile]
    if name == "cosines":
        return cosine_task(10, n_train=n_train, n_test=n_test, seed=seed)
    if name == "pendulum":
        return pendulum_task(n_train=n_train, n_test=n_test, seed=seed)
    from lab import datasets

    points = datasets.load("digits")
    x, y = np.asarray(points.x).reshape(len(points.x), -1), np.asarray(points.label)
    order = np.random.default_rng(seed).permutation(len(x))[: n_train + n_test]
    x, y = x[order], y[order]
    return Task((x[:n_train], y[:n_train]), (x[n_train:], y[n_train:]), name="digits")


def named_space(name: str):
    """The covariance behind a word of the notebooks."""
    checks.choice("name", name, COVARIANCES)
    return COVARIANCES[name]


def image_spaces() -> list[KernelSpace]:
    """Eleven spaces for small images: smooth, rough, local, deep and linear."""
    covariances = {
        "RBF, median width": RBF(),
        "RBF, width 1": RBF(1.0),
        "RBF, width 2": RBF(2.0),
        "RBF, width 6": RBF(6.0),
        "Matern 3/2": Matern(),
        "cubic polynomial": Polynomial(3),
        "linear": Linear(),
        "patches 3 x 3": Patch(3),
        "patches 5 x 5": Patch(5),
        "ReLU, 1 layer (NNGP)": NNGP(1),
        "ReLU, 3 layers (NNGP)": NNGP(3),
        "ReLU, 3 layers (NTK)": NTK(3),
    }
    return [KernelSpace(covariance, name=name) for name, covariance in covariances.items()]


def pendulum_task(*, n_train: int = 200, n_test: int = 300, seed: int = 0) -> Task:
    """Control of an inverted pendulum: from (cos angle, sin angle, speed) to the torque of a swing-up controller.

    The controller pumps energy while the pendulum hangs and stabilizes it linearly near the top, with torque clipped to
    ``[-2, 2]``; states are uniform over angle in ``[-pi, pi]`` and speed in ``[-8, 8]`` (the usual benchmark's ranges).
    """
    rng = np.random.default_rng(seed)
    angle, speed = rng.uniform(-math.pi, math.pi, n_train + n_test), rng.uniform(-8, 8, n_train + n_test)
    energy = 0.5 * speed**2 / 3 + 5 * (np.cos(angle) - 1)
    pump = -0.5 * energy * np.sign(speed)
    balance = -10 * np.arctan2(np.sin(angle), np.cos(angle)) - 2 * speed
    torque = np.clip(np.where(np.cos(angle) > 0.9, balance, pump), -2, 2)
    x = np.stack([np.cos(angle), np.sin(angle), speed / 8], 1)
    return Task((x[:n_train], torque[:n_train]), (x[n_train:], torque[n_train:]), name="pendulum")


def few_shot_task(*, ways: int = 5, shots: int = 1, n_test: int = 100, seed: int = 0) -> Task:
    """``ways`` classes of digits with ``shots`` labelled images each."""
    from lab import datasets

    checks.integer("ways", ways, low=2, high=10)
    checks.integer("shots", shots, low=1, high=50)
    points = datasets.load("digits")
    x, y = np.asarray(points.x).reshape(len(points.x), -1), np.asarray(points.label)
    rng = np.random.default_rng(seed)
    classes = rng.permutation(10)[:ways]
    order = rng.permutation(np.flatnonzero(np.isin(y, classes)))
    train = np.concatenate([order[y[order] == c][:shots] for c in classes])
    test = np.setdiff1d(order, train, assume_unique=True)[:n_test]
    return Task((x[train], y[train]), (x[test], y[test]), name=f"{ways} ways, {shots} shots")
