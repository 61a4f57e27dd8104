"""Target-based surrogates, interactively: a bound above the loss, and what steps on it bring."""

from functools import lru_cache

import panel as pn
import torch
from torch import nn

from lab.losses.target_surrogates import SSO, loss_oracle
from widgets import pages
from widgets.figures import losses as figures

TITLE, ROUTE, METHOD = "Target-based surrogates", "target-surrogates", "target_surrogates"
QUESTION = "If gradients with respect to the outputs are expensive, how far can one of them take the parameters?"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "eta": pn.widgets.FloatSlider(
            label="Step size η in output space (1/L = 4)", start=0.5, end=40, step=0.5, value=4.0
        ),
        "inner": pn.widgets.IntSlider(label="Inner steps", start=1, end=20, value=5),
        "at": pn.widgets.FloatSlider(label="Current weight", start=-4, end=4, step=0.1, value=-2.0),
        "flips": pn.widgets.FloatSlider(label="Fraction of flipped labels", start=0, end=0.5, step=0.05, value=0.2),
    }
    pages.sync(widgets, state)
    bound, curves, table = (
        pages.plot(label="loss and surrogate"),
        pages.plot(label="loss vs. gradient calls"),
        pages.numbers(),
    )
    notice = pages.react(widgets, draw, bound, curves, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(bound, curves), table], notice=notice, method=METHOD)


def draw(eta, inner, at, flips, theme):
    x, y = problem(flips)
    x = x[:, 0]
    grid = torch.linspace(-4.5, 4.5, 121, dtype=torch.float64)
    path = iterates(at, eta, inner, flips)
    curves = {f"{m} inner step" + "s" * (m > 1): descent(eta, m, flips)[None] for m in sorted({1, inner})}

    def loss(z):
        return summed(z, y)

    numbers = {
        "loss at the current weight": float(loss(at * x)),
        f"loss after one call and {inner} inner steps": float(loss(path[-1] * x)),
        "weight after that call": path[-1],
        **{f"mean loss after 12 calls, {name}": float(found[0, -1]) for name, found in curves.items()},
    }
    return (
        figures.surrogate_slice(lambda w: w * x, loss, at, eta, grid, path, theme=theme),
        figures.losses_over_calls(curves, theme=theme),
        numbers,
    )


def summed(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Summed logistic loss of scores (N,) and labels in {0, 1}."""
    return (nn.functional.softplus(z) - y * z).sum()


def problem(flips: float = 0.2, features: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Forty rows of features of unequal spread, and the sign of their sum, flipped with probability ``flips``."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, features, generator=generator, dtype=torch.float64) * torch.logspace(
        0, -1, features, dtype=torch.float64
    )
    wrong = torch.rand(40, generator=generator) < flips
    return x, ((x.sum(1) > 0) ^ wrong).double()


def _model(at, features=1):
    model = nn.Linear(features, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, at)
    return model


@lru_cache(maxsize=64)
def iterates(at: float, eta: float, inner: int, flips: float) -> list[float]:
    """Weights after 0, 1, ..., ``inner`` steps on the surrogate at ``at``; each covers 0.4 of the way to its minimum."""
    x, y = problem(flips)
    length = 0.4 * eta / float(x.square().sum())
    found = [at]
    for steps in range(1, inner + 1):
        model = _model(at)
        SSO(model, eta, steps, length).step(x, _oracle(y))
        found.append(float(model.weight.detach()))
    return found


@lru_cache(maxsize=64)
def descent(eta: float, inner: int, flips: float) -> torch.Tensor:
    """Mean loss after each of 12 calls, for a linear model of ten features from weights 0."""
    x, y = problem(flips, 10)
    model = _model(0.0, 10)
    optimizer = SSO(model, eta, inner)
    found = []
    for _ in range(12):
        optimizer.step(x, _oracle(y))
        found.append(float(summed(model(x).detach()[:, 0], y)) / len(x))
    return torch.tensor(found)


def _oracle(y):
    return loss_oracle(lambda z, target: summed(z[:, 0], target), y)
