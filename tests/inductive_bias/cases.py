"""Small problems with known answers, shared by the tests of this room."""

import numpy as np
import torch

from lab.inductive_bias import GaussianQuadraticLaw, Task


def digits(n_train=100, n_test=100, seed=0, metric="mse") -> Task:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))[: n_train + n_test]
    x, y = x[order] / 16, y[order]
    return Task((x[:n_train], y[:n_train]), (x[n_train:], y[n_train:]), metric=metric)


def smooth(n_train=30, n_test=40, dimension=3, seed=0) -> Task:
    rng = np.random.default_rng(seed)
    x, u = rng.random((n_train, dimension)), rng.random((n_test, dimension))
    return Task((x, np.cos(4 * x).sum(1)), (u, np.cos(4 * u).sum(1)))


def random_law(directions=100, outputs=1, seed=0) -> GaussianQuadraticLaw:
    """A fresh exact law with a random decay of its spectrum and random shifts."""
    rng = np.random.default_rng(seed)
    values = np.exp(-np.arange(directions) / (directions * rng.uniform(0.1, 1.0)))
    shifts = values * rng.exponential(size=directions) * rng.uniform(0, 2)
    return GaussianQuadraticLaw(torch.tensor(values), torch.tensor(shifts), outputs, 0.0, directions * outputs)
