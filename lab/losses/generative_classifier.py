r"""Discriminative vs. generative linear classifiers: logistic regression against naive Bayes with shared variances.

Naive Bayes estimates class frequencies pi_k, class means mu_k and one variance per feature

.. math:: \sigma_j^2 = \sum_k \pi_k \mathrm{var}_{k,j}, \qquad
          \mathrm{score}_k(x) = \log \pi_k - \tfrac12 \sum_j \frac{(x_j - \mu_{kj})^2}{\sigma_j^2},

a linear classifier whose parameters need O(log n) samples in the feature dimension n, where logistic regression needs O(n).

Source: C. Zheng, G. Wu, F. Bao, Y. Cao, C. Li, J. Zhu, 'Revisiting Discriminative vs. Generative Classifiers: Theory and
Implications', ICML 2023, Theorems 3.3 and 4.2; for two classes A. Ng, M. Jordan, NeurIPS 2001.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from lab import checks


class SharedVarianceGaussianNB(ClassifierMixin, BaseEstimator):
    """Gaussian naive Bayes whose variances are shared by the classes: a linear classifier, in scikit-learn's form.

    scikit-learn's ``GaussianNB`` has variances of each class, a quadratic boundary: another model than that of the theorem.

    Args:
        variance_floor: added to each variance as a share of the largest one; constant features would dominate without it.
    """

    def __init__(self, variance_floor: float = 1e-9):
        self.variance_floor = variance_floor

    def fit(self, X, y):
        """Fit from scratch on rows ``X`` (n, features) and labels ``y``."""
        for name in ("count_", "sum_", "square_", "classes_"):
            if hasattr(self, name):
                delattr(self, name)
        return self.partial_fit(X, y, classes=np.unique(y))

    def partial_fit(self, X, y, classes: Sequence | None = None):
        """Add rows; the first call names all ``classes``. Equal to ``fit`` on all rows so far."""
        first = not hasattr(self, "classes_")
        X, y = validate_data(self, X, y, reset=first, dtype=np.float64)
        checks.number("variance_floor", self.variance_floor, low=0.0)
        if first:
            if classes is None:
                raise ValueError("classes must be given at the first call of partial_fit")
            self.classes_ = np.sort(np.asarray(classes))
            if len(self.classes_) < 2:
                raise ValueError(f"y must hold at least 2 classes, got {len(self.classes_)}")
            shape = (len(self.classes_), X.shape[1])
            self.count_, self.sum_, self.square_ = np.zeros(shape[0]), np.zeros(shape), np.zeros(shape)
            self.origin_ = X.mean(0)  # sums about one point keep their digits
        place = np.searchsorted(self.classes_, y)
        if (place >= len(self.classes_)).any() or (self.classes_[place] != y).any():
            raise ValueError("y holds a class that was not named at the first call")
        centred = X - self.origin_
        for k in range(len(self.classes_)):
            rows = centred[place == k]
            self.count_[k] += len(rows)
            self.sum_[k] += rows.sum(0)
            self.square_[k] += (rows**2).sum(0)
        return self

    def decision_function(self, X):
        """Scores (n, classes): log prior and log density up to a constant of the row."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64) - self.origin_
        seen = self.count_ > 0
        prior = self.count_ / self.count_.sum()
        mean = self.sum_ / np.maximum(self.count_, 1)[:, None]
        within = np.maximum(self.square_ / np.maximum(self.count_, 1)[:, None] - mean**2, 0.0)
        variance = prior @ within
        # one row a class or constant features: no spread to weigh by, so the nearest mean decides
        spread = variance.max()
        variance = variance + self.variance_floor * spread if spread > 0 else np.ones_like(variance)
        variance = np.maximum(variance, np.finfo(float).tiny)
        weight = mean / variance
        bias = np.log(np.where(seen, prior, 1.0)) - 0.5 * (mean * weight).sum(1)
        return np.where(seen, X @ weight.T + bias, -np.inf)

    def predict_proba(self, X):
        """Class probabilities (n, classes)."""
        scores = self.decision_function(X)
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return scores / scores.sum(1, keepdims=True)

    def predict(self, X):
        """The class of the largest score."""
        return self.classes_[self.decision_function(X).argmax(1)]


def mixture(
    n: int, classes: int = 2, seed: int | torch.Generator = 0, *, samples: int
) -> tuple[Float[torch.Tensor, "samples n"], Int[torch.Tensor, " samples"]]:
    """Gaussian mixture on which naive Bayes is right: class 0 has mean -1 in every feature, class k >= 1 has 2^(k-1).

    Independent features; the first half has variance n, the rest 1.
    """
    generator = checks.generator(seed)
    n = checks.integer("n", n, low=2)
    classes = checks.integer("classes", classes, low=2)
    y = torch.randint(classes, (samples,), generator=generator)
    means = torch.tensor([-1.0, *(2.0 ** (k - 1) for k in range(1, classes))], dtype=torch.float64)
    scale = torch.ones(n, dtype=torch.float64)
    scale[: n // 2] = math.sqrt(n)
    return means[y][:, None] + scale * torch.randn(samples, n, generator=generator, dtype=torch.float64), y


def mixture_weights(n: int) -> Float[torch.Tensor, " n"]:
    """Weights of the Bayes rule of the two-class :func:`mixture`, up to a factor: difference of means over variance."""
    n = checks.integer("n", n, low=2)
    weights = torch.ones(n, dtype=torch.float64)
    weights[: n // 2] = 1 / n
    return weights


def bayes_error(n: int) -> float:
    """Bayes error of the two-class :func:`mixture`: Phi(-sqrt((n//2)/n + (n - n//2)))."""
    n = checks.integer("n", n, low=2)
    return 0.5 * math.erfc(math.sqrt((n // 2) / n + (n - n // 2)) / math.sqrt(2))


def error_bound(excess: float | torch.Tensor) -> torch.Tensor:
    """Largest zero-one excess risk at an ``excess`` risk of the multiclass logistic loss: sqrt(2 excess), Theorem 3.3."""
    excess = checks.tensor("excess", excess, empty=True).to(torch.float64)
    if excess.numel() and float(excess.min()) < 0:
        raise ValueError(f"excess must be at least 0, got {float(excess.min()):.6g}")
    return (2 * excess).sqrt()


@dataclass(frozen=True)
class SampleNeed:
    """Smallest sample size that reaches ``target`` error, one per repeat (``inf`` where none of the grid does), and the curve."""

    sizes: tuple[float, ...]
    errors: dict[int, tuple[float, ...]]
    target: float

    @property
    def mean(self) -> float:
        """Mean need over the repeats."""
        return float(np.mean(self.sizes))


def sample_need(
    estimator: Callable[[], BaseEstimator],
    sampler: Callable[[torch.Generator, int], tuple[torch.Tensor, torch.Tensor]],
    target: float,
    *,
    sizes: Sequence[int],
    repeats: int = 5,
    seed: int = 0,
    test: int = 10_000,
) -> SampleNeed:
    """Smallest of the increasing ``sizes`` at which a fresh ``estimator()`` has test error at most ``target``.

    ``sampler(generator, samples) -> (x, y)``. Every repeat has its own pool and test set; samples grow within it, and those
    that miss a class are extended to the next size.
    """
    needs, curve = [], {}
    for repeat in range(checks.integer("repeats", repeats, low=1)):
        generator = torch.Generator().manual_seed(1000 * seed + repeat)
        x, y = (v.numpy() for v in sampler(generator, max(sizes)))
        test_x, test_y = (v.numpy() for v in sampler(generator, test))
        everything = np.unique(test_y)
        need = math.inf
        for size in sizes:
            if len(np.unique(y[:size])) < len(everything):
                continue
            error = float((estimator().fit(x[:size], y[:size]).predict(test_x) != test_y).mean())
            curve.setdefault(size, []).append(error)
            if error <= target:
                need = size
                break
        needs.append(need)
    return SampleNeed(tuple(needs), {size: tuple(v) for size, v in curve.items()}, target)
