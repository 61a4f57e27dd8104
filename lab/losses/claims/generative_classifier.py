"""Measurements of the statements about generative and discriminative linear classifiers."""

from __future__ import annotations

import numpy as np
import torch

from lab.claims import Effects, measures
from lab.losses.comp_sum import conditional_risk
from lab.losses.generative_classifier import error_bound
from lab.losses.studies import generative_classifier as study

BAYES, LOGISTIC = "naive Bayes", "logistic"


@measures("generative_classifier.bound")
def bound(trial):
    """Smallest slack of the bound over the zero-one excess, over random distributions and scores.

    Every second row has two likely classes whose scores nearly tie, where the bound is nearly attained. Control: the root of
    the excess risk alone.
    """
    rows = trial.of(2000, 50000, 500000)
    generator = torch.Generator().manual_seed(trial.seeds[0])
    slack = []
    for classes in (2, 3, 10, 100):
        p = torch.softmax(2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64), 1)
        shift = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
        z = p.log() + torch.rand(rows, 1, generator=generator) * shift
        tilt = 0.2 * torch.rand(rows // 2, generator=generator, dtype=torch.float64)
        p[::2] = 1e-12
        p[::2, 0], p[::2, 1] = (1 + tilt) / 2, (1 - tilt) / 2 - 1e-12 * (classes - 2)
        z[::2] = p[::2].log()
        z[::2, 0], z[::2, 1] = 0.0, 1e-6
        excess = (-(p * torch.log_softmax(z, 1)).sum(1) - conditional_risk(p, 1.0)).clamp_min(0)
        zero_one = p.amax(1) - p.gather(1, z.argmax(1, keepdim=True))[:, 0]
        limit = error_bound(excess / (2 if trial.control else 1))
        slack.append((limit - zero_one).min())
    return Effects(torch.stack(slack).min(), {"distributions": 4 * rows})


@measures("generative_classifier.log-n")
def log_n(trial):
    """Fitted power of the number of features in the sample need of naive Bayes. Control: logistic regression in its place."""
    return _power(trial, LOGISTIC if trial.control else BAYES, 0.0)


@measures("generative_classifier.linear-n")
def linear_n(trial):
    """The same of logistic regression, less 1. Control: naive Bayes in its place."""
    return _power(trial, BAYES if trial.control else LOGISTIC, 1.0)


def _power(trial, name, expected):
    """Power of n in the sample need less the expected one, one least-squares fit a seed."""
    dimensions, found = study.needs(trial.seeds, trial.budget, (name,))
    t = torch.tensor(dimensions, dtype=torch.float64).log()
    t = t - t.mean()
    needed = torch.tensor([found[name, n] for n in dimensions], dtype=torch.float64)
    details = {"samples needed": {str(n): float(row.mean()) for n, row in zip(dimensions, needed)}}
    return Effects((t @ needed.log()) / (t @ t) - expected, details)


def _ratios(trial):
    """Sample need of logistic regression over that of naive Bayes, (seeds, dimensions).

    Control: logistic regression on other samples in the place of naive Bayes.
    """
    dimensions, found = study.needs(trial.seeds, trial.budget)
    against = found
    if trial.control:
        _, other = study.needs([seed + 500 for seed in trial.seeds], trial.budget, (LOGISTIC,))
        against = {(BAYES, n): other[LOGISTIC, n] for n in dimensions}
    ratios = np.array([found[LOGISTIC, n] for n in dimensions]) / np.array([against[BAYES, n] for n in dimensions])
    return ratios.T, {"mean ratio": dict(zip(map(str, dimensions), ratios.mean(1).tolist()))}


@measures("generative_classifier.needs-fewer")
def fewer(trial):
    """Ratio of the sample needs at the smallest number of features."""
    ratios, details = _ratios(trial)
    return Effects(ratios[:, 0], details)


@measures("generative_classifier.ratio-grows")
def ratio_grows(trial):
    """Log of the ratio of the sample needs over the numbers of features."""
    ratios, details = _ratios(trial)
    return Effects(np.log(ratios), details)


def _errors(trial, sizes_of):
    """Errors of both classifiers over the sizes that ``sizes_of(classes, largest)`` names, (sizes, seeds).

    Each seed has a network and a split of its own, or a split of the user's data. Control: the labels are shuffled.
    """
    rows = {BAYES: [], LOGISTIC: []}
    for seed in trial.seeds:
        x, y = study.network_features(seed) if trial.data is None else study.own_features(trial.data)
        if trial.control:
            y = np.random.default_rng(seed).permutation(y)
        sizes = sizes_of(len(np.unique(y)), len(x) * 2 // 3)
        for name, found in study.curves(x, y, sizes, [seed]).items():
            rows[name].append(found[:, 0])
    errors = {name: torch.stack(found, 1).double() for name, found in rows.items()}
    details = {name: dict(zip(map(str, sizes), found.mean(1).tolist())) for name, found in errors.items()}
    return errors, {"error over samples": details}


@measures("generative_classifier.converges-faster")
def converges_faster(trial):
    """Excess over the own error at the largest sample, logistic regression less naive Bayes, mean over small samples."""

    def sizes(classes, largest):
        return *(m * classes for m in (2, 4, 8) if m * classes < largest), largest

    errors, details = _errors(trial, sizes)
    excess = {name: found[:-1] - found[-1] for name, found in errors.items()}
    return Effects((excess[LOGISTIC] - excess[BAYES]).mean(0), details)


@measures("generative_classifier.few-shot")
def few_shot(trial):
    """Error of logistic regression less that of naive Bayes at two labels a class."""
    errors, details = _errors(trial, lambda classes, largest: (2 * classes,))
    return Effects(errors[LOGISTIC][0] - errors[BAYES][0], details)


@measures("generative_classifier.two-regimes")
def two_regimes(trial):
    """Error of naive Bayes less that of logistic regression at the largest sample."""
    errors, details = _errors(trial, lambda classes, largest: (2 * classes, largest))
    return Effects(errors[BAYES][-1] - errors[LOGISTIC][-1], details)
