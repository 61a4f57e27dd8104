"""Compositional likelihood, interactively: move data and noise apart, watch noise contrast go flat."""

import panel as pn
import torch

from lab.losses.meco import estimate_gaussian_mean, gaussian_slopes
from widgets import pages
from widgets.figures import losses as figures

TITLE, ROUTE, METHOD = "Unnormalized models by compositional optimization", "meco", "meco"
QUESTION = "Why is noise-contrastive estimation slow when noise and data are far apart, and what does the likelihood need instead?"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "mean": pn.widgets.FloatSlider(label="Data mean R", start=1, end=10, step=0.5, value=5.0),
        "scale": pn.widgets.FloatSlider(label="Noise standard deviation s", start=0.5, end=10, step=0.5, value=3.0),
        "gamma": pn.widgets.FloatSlider(label="Moving-average weight γ", start=0.05, end=1, step=0.05, value=0.5),
        "rate": pn.widgets.FloatSlider(label="Learning rate", start=0.02, end=0.5, step=0.02, value=0.1),
    }
    pages.sync(widgets, state)
    slopes, errors, table = (
        pages.plot(label="gradients of both losses"),
        pages.plot(label="error vs. steps"),
        pages.numbers(),
    )
    notice = pages.react(widgets, draw, slopes, errors, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(slopes, errors), table], notice=notice, method=METHOD)


def draw(mean, scale, gamma, rate, theme):
    errors = {name: estimates(name, mean, scale, gamma, rate)[None] for name in ("meco", "nce")}
    near, start = (gaussian_slopes(mean, scale, theta, points=4001) for theta in (mean - 0.1, 0.0))
    numbers = {
        "likelihood gradient at R − 0.1": near["likelihood"],
        "noise-contrastive gradient at R − 0.1": near["noise contrast"],
        "likelihood gradient at 0": start["likelihood"],
        "noise-contrastive gradient at 0": start["noise contrast"],
        "likelihood error after 400 steps": float(errors["meco"][:, -20:].mean()),
        "noise-contrastive error after 400 steps": float(errors["nce"][:, -20:].mean()),
    }
    return figures.likelihood_slopes(mean, scale, theme=theme), figures.estimate_curves(errors, theme=theme), numbers


def estimates(method: str, mean: float, scale: float, gamma: float, rate: float) -> torch.Tensor:
    """Distances from R over 400 steps with batches of 256."""
    return estimate_gaussian_mean(mean, scale, method=method, steps=400, gamma=gamma, learning_rate=rate)
