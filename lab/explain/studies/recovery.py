"""What the methods return where the truth is known: linear and logistic black boxes."""

from __future__ import annotations

import torch

from lab.explain.presets import METHODS, clime, smoothgrad
from lab.explain.studies.models import Subject
from lab.explain.studies.unification import ADDITIVE
from lab.explain.surrogate import Linear, Link


def of_linear(subject: Subject, *, exchanged: bool = False) -> dict[str, float]:
    """Relative L1 distance of each method from its answer on a linear ``f``: the weights (additive noise), or weights times
    input. ``exchanged`` measures from the other answer instead."""
    w, found = subject.weights, {}
    for name, method in METHODS.items():
        weights = method(subject.f, subject.x).weights
        truth = w.expand_as(weights) if (name in ADDITIVE) is not exchanged else w * subject.x
        found[name] = float((weights - truth).abs().sum() / truth.abs().sum())
    return found


def of_logistic(subject: Subject, *, link: Link = "logit") -> float:
    """Largest L1 distance from the weights of a logistic regression to those of a surrogate with ``link`` under noise.

    Explained is the less likely class of every instance: a probability beside 0 keeps its digits, one beside 1 does not.
    """
    f, less, sign = _two_classes(subject)
    worst = 0.0
    for sigma in (0.1, 0.01):
        for method in (clime, smoothgrad):
            weights = sign * method(f, subject.x, sigma=sigma, target=less, model=Linear(link=link)).weights
            worst = max(worst, float((weights - subject.weights).abs().sum(1).max()))
    return worst


def _two_classes(subject: Subject):
    """The probabilities ``(n, 2)`` of a logistic regression, the less likely class of its instances, and its sign."""
    with torch.no_grad():
        offset = torch.logit(subject.f(torch.zeros(1, subject.x.shape[1], dtype=subject.x.dtype)))

    def f(x):
        logit = x @ subject.weights.to(x) + offset
        return torch.stack([torch.sigmoid(-logit), torch.sigmoid(logit)], 1)

    with torch.no_grad():
        less = f(subject.x).argmin(1)
    return f, less, (2 * less - 1).double()[:, None]
