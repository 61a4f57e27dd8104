"""EnsLoss, interactively: draw random calibrated losses."""

import panel as pn
import torch

from lab.losses.ensloss import sample_calibrated_derivatives
from widgets import pages
from widgets.figures import losses as figures

TITLE, ROUTE, METHOD = "EnsLoss", "ensloss", "ensloss"
QUESTION = "If training only sees the derivatives of a loss, why commit to a single loss?"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "draws": pn.widgets.IntSlider(label="Number of draws", start=1, end=20, value=5),
        "batch": pn.widgets.IntSlider(label="Batch size", start=2, end=256, value=64),
        "box_cox": pn.widgets.FloatSlider(
            label="Box-Cox exponent of the magnitudes", start=-1, end=1, step=0.1, value=0.0
        ),
        "seed": pn.widgets.IntInput(label="Seed", start=0, end=10**6, value=0),
    }
    pages.sync(widgets, state)
    derivatives, losses = pages.plot(label="sampled derivatives"), pages.plot(label="losses with these derivatives")
    table = pages.numbers()
    notice = pages.react(widgets, draw, derivatives, losses, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(derivatives, losses), table], notice=notice, method=METHOD)


def draw(draws, batch, box_cox, seed, theme):
    generator = torch.Generator().manual_seed(seed)
    margins = torch.linspace(-3, 3, batch, dtype=torch.float64)
    sampled = torch.stack([
        sample_calibrated_derivatives(margins, generator, box_cox=box_cox, tail=False) for _ in range(200)
    ])  # fmt: skip
    numbers = {
        "draws checked": 200,
        "non-decreasing in the margin": int((sampled.diff(dim=1) >= 0).all(1).sum()),
        "negative everywhere": int((sampled < 0).all(1).sum()),
        "mean magnitude": round(float(-sampled.mean()), 3),
        "share of clipped magnitudes": round(float((sampled <= -1).double().mean()), 3),
    }
    return (
        figures.sampled_derivatives(draws, batch, box_cox, seed, theme=theme),
        figures.implied_losses(draws, batch, box_cox, seed, theme=theme),
        numbers,
    )
