"""Naive Bayes against logistic regression, interactively: few samples, many features."""

from functools import lru_cache

import panel as pn
import torch
from sklearn.linear_model import LogisticRegression

from lab.losses.generative_classifier import SharedVarianceGaussianNB, bayes_error, mixture, mixture_weights
from widgets import pages
from widgets.figures import losses as figures

TITLE, ROUTE, METHOD = "Discriminative vs. generative classifiers", "generative-classifier", "generative_classifier"
QUESTION = "How many samples does a linear classifier need if it models the classes, or only their boundary?"
SIZES, SEEDS = (8, 12, 20, 40, 80, 160, 320), 3


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "samples": pn.widgets.IntSlider(label="Training samples", start=8, end=320, value=24),
        "features": pn.widgets.IntSlider(label="Number of features n", start=2, end=80, value=30),
        "regularization": pn.widgets.FloatSlider(
            label="log₁₀ C (logistic regression)", start=-3, end=3, step=0.5, value=0.0
        ),
        "seed": pn.widgets.IntInput(label="Seed", start=0, end=10**6, value=0),
    }
    pages.sync(widgets, state)
    weights, errors, table = (
        pages.plot(label="learned weights"),
        pages.plot(label="error vs. training samples"),
        pages.numbers(),
    )
    notice = pages.react(widgets, draw, weights, errors, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(weights, errors), table], notice=notice, method=METHOD)


def draw(samples, features, regularization, seed, theme):
    learned, error = classifiers(samples, features, regularization, seed)
    curves = errors_over(features, regularization, seed)
    numbers = {f"test error of {name} at {samples} samples": value for name, value in error.items()}
    numbers["Bayes error"] = bayes_error(features)
    return (
        figures.learned_weights(learned, mixture_weights(features), samples, theme=theme),
        figures.error_over_samples(SIZES, curves, bayes_error(features), theme=theme),
        numbers,
    )


def classifiers(samples: int, features: int, regularization: float, seed: int) -> tuple[dict, dict]:
    """Weights and test errors of both classifiers on a balanced draw of the two-class mixture."""
    x, y = balanced(samples, features, seed)
    fresh_x, fresh_y = mixture(features, 2, 10_000_019 + seed, samples=2000)
    bayes = SharedVarianceGaussianNB().fit(x, y)
    logistic = LogisticRegression(C=10.0**regularization, max_iter=500).fit(x, y)
    # a linear score's weights are what one unit of each feature adds
    probe = torch.cat([torch.zeros(1, features, dtype=torch.float64), torch.eye(features, dtype=torch.float64)]).numpy()
    scores = torch.from_numpy(bayes.decision_function(probe))
    margin = scores[:, 1] - scores[:, 0]
    weights = {"naive Bayes": margin[1:] - margin[0], "logistic": torch.from_numpy(logistic.coef_[0])}
    models = {"naive Bayes": bayes, "logistic": logistic}
    error = {name: float((model.predict(fresh_x.numpy()) != fresh_y.numpy()).mean()) for name, model in models.items()}
    return weights, error


@lru_cache(maxsize=64)
def errors_over(features: int, regularization: float, seed: int) -> dict[str, torch.Tensor]:
    """Test errors over SIZES and three draws, (sizes, draws) a classifier."""
    rows = [[classifiers(size, features, regularization, seed + 1000 * s)[1] for s in range(SEEDS)] for size in SIZES]
    return {name: torch.tensor([[one[name] for one in row] for row in rows]) for name in ("naive Bayes", "logistic")}


def balanced(samples: int, features: int, seed: int):
    """Rows of the mixture with both classes as equal as their number allows."""
    x, y = mixture(features, 2, seed, samples=2 * samples + 60)
    half = samples // 2
    rows = torch.cat([torch.nonzero(y == 0)[:half, 0], torch.nonzero(y == 1)[: samples - half, 0]])
    return x[rows].numpy(), y[rows].numpy()
