"""Measurements of the statements about generative and discriminative linear classifiers."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from lab import datasets, training
from lab.claims import Measured, measures
from lab.losses.claims.studies import exact, sampled
from lab.losses.comp_sum import conditional_risk
from lab.losses.comparison import mean_interval
from lab.losses.generative_classifier import SharedVarianceGaussianNB, bayes_error, mixture, sample_need
from lab.losses.studies.common import table


@measures("generative-classifier.bound")
def bound(data, seeds, budget):
    """Smallest slack of sqrt(2 (excess logistic risk)) over the zero-one excess, over random distributions and scores."""
    rows = {"smoke": 2000, "default": 50000, "full": 500000}[budget]
    generator = torch.Generator().manual_seed(seeds[0])
    slack = float("inf")
    for classes in (2, 3, 10, 100):
        p = torch.softmax(2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64), 1)
        shift = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
        z = p.log() + torch.rand(rows, 1, generator=generator) * shift
        excess = -(p * torch.log_softmax(z, 1)).sum(1) - conditional_risk(p, 1.0)
        zero_one = p.amax(1) - p.gather(1, z.argmax(1, keepdim=True))[:, 0]
        slack = min(slack, float(((2 * excess.clamp_min(0)).sqrt() - zero_one).min()))
    return exact(slack, slack >= -1e-9, {"distributions": 4 * rows})


@lru_cache(maxsize=2)
def needs(seeds: tuple[int, ...], budget: str):
    """Mean sample need of both classifiers over the feature dimension, one value per seed."""
    dimensions = {"smoke": (20, 40), "default": (20, 40, 80, 160), "full": (20, 40, 80, 160, 320, 640)}[budget]
    seeds = seeds[:2] if budget == "smoke" else seeds
    repeats = 2 if budget == "smoke" else 5
    found = {}
    for n in dimensions:
        sizes = sorted({int(4 * 1.2**k) for k in range(40)})
        sizes = [size for size in sizes if 4 <= size <= 12 * n]
        for name, estimator in (("naive Bayes", SharedVarianceGaussianNB), ("logistic", lambda: LogisticRegression(max_iter=1000))):
            found[name, n] = [
                sample_need(
                    estimator, lambda g, m, n=n: mixture(n, 2, g, samples=m), bayes_error(n) + 0.01,
                    sizes=sizes, repeats=repeats, seed=seed, test=4000,
                ).mean
                for seed in seeds
            ]  # fmt: skip
    return dimensions, found, seeds


def _power(dimensions, found, name):
    """Power of n in the sample need, one least-squares fit a seed."""
    t = torch.tensor([math.log(n) for n in dimensions])
    t = t - t.mean()
    logs = torch.tensor([found[name, n] for n in dimensions]).log()
    return (t @ logs) / (t @ t)


@measures("generative-classifier.log-n")
def log_n(data, seeds, budget):
    """Fitted power of the feature dimension in the sample need of naive Bayes; at most one half (log n has power near zero)."""
    dimensions, found, used = needs(tuple(seeds), budget)
    shown = {str(n): float(np.mean(found["naive Bayes", n])) for n in dimensions}
    return sampled(_power(dimensions, found, "naive Bayes"), 0.5, {"samples needed": shown}, seeds=used, at_most=True)


@measures("generative-classifier.linear-n")
def linear_n(data, seeds, budget):
    """Fitted power of the feature dimension in the sample need of logistic regression; above one half and at most about one."""
    dimensions, found, used = needs(tuple(seeds), budget)
    shown = {str(n): float(np.mean(found["logistic", n])) for n in dimensions}
    mean, low, high = mean_interval(_power(dimensions, found, "logistic"))
    return Measured(mean, (low, high), low >= 0.5 and low <= 1.1, {"samples needed": shown}, seeds=tuple(used))


@measures("generative-classifier.needs-fewer")
def fewer(data, seeds, budget):
    """Ratio of sample needs at the smallest dimension; it must also grow over the dimensions."""
    dimensions, found, used = needs(tuple(seeds), budget)
    ratios = {n: torch.tensor(found["logistic", n]) / torch.tensor(found["naive Bayes", n]) for n in dimensions}
    mean, low, high = mean_interval(ratios[dimensions[0]])
    grows = all(float(ratios[a].mean()) < float(ratios[b].mean()) for a, b in zip(dimensions, dimensions[1:]))
    details = {"ratio": {str(n): float(r.mean()) for n, r in ratios.items()}, "grows": grows}
    return Measured(mean, (low, high), mean >= 3 and low > 1 and grows, details, seeds=tuple(used))


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


@lru_cache(maxsize=4)
def network_features(seed: int, epochs: int = 60):
    """Digits as seen by the last hidden layer of a network trained with labels on digits 0-4 and 5-9 of other images."""
    digits = datasets.load("digits")
    x, y = digits.x.flatten(1), digits.label
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    own, rest = order[: len(x) // 3], order[len(x) // 3 :]
    fitted = training.fit(
        lambda s: training.mlp(64, 10, widths=(128, 64), seed=s), x[own], y[own], seeds=[seed], epochs=epochs, learning_rate=1e-3
    )
    body = fitted.model(0)[:-1]
    with torch.no_grad():
        return body(x[rest]).numpy().astype(np.float64), y[rest].numpy()


def features_of(name: str):
    """Features and labels for linear classifiers: ``"network"``, or a data set of the lab by name or path."""
    return network_features(0) if name == "network" else _own(datasets.load(name))


def _own(data):
    x, y = table(data)
    return x.numpy().astype(np.float64), y.numpy()


@measures("generative-classifier.converges-faster")
def converges_faster(data, seeds, budget):
    """Excess over the own error at the largest sample, logistic regression less naive Bayes; the smallest over small samples."""
    seeds = seeds[:5] if budget == "smoke" else seeds
    x, y = network_features(0) if data is None else _own(data)
    largest, classes = len(x) * 2 // 3, len(np.unique(y))
    sizes = [m * classes for m in (2, 4, 8) if m * classes < largest]
    found = curves(x, y, (*sizes, largest), seeds)
    excess = {name: errors[:-1] - errors[-1] for name, errors in found.items()}
    differences = excess["logistic"] - excess["naive Bayes"]
    smallest = differences[int(differences.mean(1).argmin())]
    details = {name: dict(zip(map(str, (*sizes, largest)), errors.mean(1).tolist())) for name, errors in found.items()}
    return sampled(smallest, 0.0, {"error over samples": details}, seeds=seeds)


@measures("generative-classifier.few-shot")
def few_shot(data, seeds, budget):
    """Error of logistic regression less that of naive Bayes at two labels a class, on frozen features (or the user's table)."""
    seeds = seeds[:5] if budget == "smoke" else seeds
    x, y = network_features(0) if data is None else _own(data)
    found = curves(x, y, (2 * len(np.unique(y)),), seeds)
    return sampled(found["logistic"][0] - found["naive Bayes"][0], 0.0, {"size": 2 * len(np.unique(y))}, seeds=seeds)


@measures("generative-classifier.two-regimes")
def two_regimes(data, seeds, budget):
    """Advantage of naive Bayes at the smallest and of logistic regression at the largest sample; the smaller of the two."""
    seeds = seeds[:5] if budget == "smoke" else seeds
    x, y = network_features(0) if data is None else _own(data)
    largest = len(x) * 2 // 3
    sizes = (2 * len(np.unique(y)), largest)
    found = curves(x, y, sizes, seeds)
    few, many = found["logistic"][0] - found["naive Bayes"][0], found["naive Bayes"][1] - found["logistic"][1]
    smaller = few if float(few.mean()) < float(many.mean()) else many
    details = {"advantage of naive Bayes with few": float(few.mean()), "of logistic regression with many": float(many.mean())}
    return sampled(smaller, 0.0, details, seeds=seeds)
