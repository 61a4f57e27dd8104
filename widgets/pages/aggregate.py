"""Learning from bag means, interactively: turn bag size and noise, watch the best weight move."""

from functools import lru_cache

import panel as pn
import torch

from lab.losses.aggregate import asymptotic_risk
from lab.losses.studies.aggregate import simulate
from widgets import pages
from widgets.figures import losses as figures

TITLE, ROUTE, METHOD = "Learning from aggregate responses", "aggregate", "aggregate"
QUESTION = (
    "When only bag means of the responses are known, should you fit the bags, the instances, or a mixture of both?"
)
ITEMS_PER_FEATURE, CLIP = 5.0, 3.0


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "k": pn.widgets.IntSlider(label="Bag size", start=2, end=12, value=4),
        "noise": pn.widgets.FloatSlider(
            label="Response noise (standard deviation σ)", start=0.1, end=3, step=0.1, value=0.5
        ),
        "rho": pn.widgets.FloatSlider(label="Instance-loss weight ρ", start=0.05, end=1, step=0.05, value=0.3),
        "epsilon": pn.widgets.FloatSlider(label="Privacy budget ε", start=0.2, end=5, step=0.1, value=1.0),
    }
    pages.sync(widgets, state)
    risk, private, table = (
        pages.plot(label="risk vs. instance-loss weight"),
        pages.plot(label="risk vs. bag size"),
        pages.numbers(),
    )
    notice = pages.react(widgets, draw, risk, private, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(risk, private), table], notice=notice, method=METHOD)


def draw(k, noise, rho, epsilon, theme):
    weights = sorted({0.1, 0.5, 1.0, round(rho, 2)})
    found = asymptotic_risk(rho, items_per_feature=ITEMS_PER_FEATURE, k=k, noise=noise**2)
    errors = simulated(k, noise, tuple(weights))
    at = {weight: errors[:, i] for i, weight in enumerate(weights)}
    numbers = {
        f"squared bias at ρ = {rho:g}": found["bias"],
        "variance": found["variance"],
        "risk (asymptotic formula)": found["risk"],
        "risk (mean of 6 simulations, 40 features)": float(at[round(rho, 2)].mean()),
    }
    return (
        figures.aggregate_risk(k, noise**2, ITEMS_PER_FEATURE, at, theme=theme),
        figures.private_bag_sizes(epsilon, noise**2, 100.0, CLIP, theme=theme),
        numbers,
    )


@lru_cache(maxsize=64)
def simulated(k: int, noise: float, weights: tuple[float, ...]) -> torch.Tensor:
    """Squared parameter errors of 6 simulations, (6, weights)."""
    n = int(40 * ITEMS_PER_FEATURE)
    return torch.stack([simulate(seed, weights, n=n, d=40, k=k, noise=noise)[:, 0] for seed in range(6)])
