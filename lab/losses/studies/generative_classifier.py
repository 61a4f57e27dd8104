"""Experiments with naive Bayes and logistic regression: samples needed on mixtures, errors over samples on frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from lab import datasets, training
from lab.losses.generative_classifier import SharedVarianceGaussianNB, bayes_error, mixture, sample_need
from lab.losses.studies.common import table

DIMENSIONS = {"smoke": (20, 40), "default": (20, 40, 80, 160), "full": (20, 40, 80, 160, 320, 640)}
ESTIMATORS = {"naive Bayes": SharedVarianceGaussianNB, "logistic": lambda: LogisticRegression(max_iter=1000)}


@lru_cache(maxsize=256)
def need(name: str, n: int, seed: int, repeats: int) -> float:
    """Mean smallest sample at which a classifier comes within 0.01 of the Bayes error of the mixture in ``n`` features."""
    sizes = [size for size in sorted({int(4 * 1.2**k) for k in range(40)}) if 4 <= size <= 12 * n]
    return sample_need(
        ESTIMATORS[name], lambda g, m: mixture(n, 2, g, samples=m), bayes_error(n) + 0.01,
        sizes=sizes, repeats=repeats, seed=seed, test=4000,
    ).mean  # fmt: skip


def needs(seeds: Sequence[int], budget: str, names: Sequence[str] = tuple(ESTIMATORS)):
    """The dimensions of a budget and :func:`need` of each classifier there, ``{(name, n): one value a seed}``."""
    repeats = 2 if budget == "smoke" else 5
    found = {(name, n): [need(name, n, seed, repeats) for seed in seeds] for name in names for n in DIMENSIONS[budget]}
    return DIMENSIONS[budget], found


def curves(x, y, sizes, seeds):
    """Test error of both classifiers over the training size, (sizes, seeds); features scaled to [0, 1] on the subset."""
    found = {"naive Bayes": [], "logistic": []}
    for size in sizes:
        row = {name: [] for name in found}
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(x))
            test, pool = order[: len(x) // 3], order[len(x) // 3 :]
            first = [pool[y[pool] == k][0] for k in np.unique(y)]  # every class is seen
            train = np.unique(np.concatenate([first, pool[: max(size - len(first), 0)]]))
            low, high = x[train].min(0), x[train].max(0)
            varying = high - low > 1e-9
            scaled = (x[:, varying] - low[varying]) / (high - low)[varying]
            for name, model in (
                ("naive Bayes", SharedVarianceGaussianNB(1e-2)), ("logistic", LogisticRegression(max_iter=1000)),
            ):  # fmt: skip
                row[name].append(float((model.fit(scaled[train], y[train]).predict(scaled[test]) != y[test]).mean()))
        for name in found:
            found[name].append(row[name])
    return {name: torch.tensor(rows) for name, rows in found.items()}


@lru_cache(maxsize=64)
def network_features(seed: int, epochs: int = 60):
    """Digits as seen by the last hidden layer of a network trained with labels on digits 0-4 and 5-9 of other images."""
    digits = datasets.load("digits")
    x, y = digits.x.flatten(1), digits.label
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    own, rest = order[: len(x) // 3], order[len(x) // 3 :]
    fitted = training.fit(
        lambda s: training.mlp(64, 10, widths=(128, 64), seed=s),
        x[own],
        y[own],
        seeds=[seed],
        epochs=epochs,
        learning_rate=1e-3,
    )
    body = fitted.model(0)[:-1]
    with torch.no_grad():
        return body(x[rest]).numpy().astype(np.float64), y[rest].numpy()


def features_of(name: str):
    """Features and labels for linear classifiers: ``"network"``, or a data set of the lab by name or path."""
    return network_features(0) if name == "network" else own_features(datasets.load(name))


def own_features(data):
    """Features and labels of a data set of classes."""
    x, y = table(data)
    return x.numpy().astype(np.float64), y.numpy()
