"""Correctness-aware calibration, interactively: what a narrow miss asks of the temperature."""

import panel as pn
import torch

from lab.losses.correctness_calibration import confidences
from widgets import pages
from widgets.figures import losses as figures
from widgets.figures.losses.correctness_calibration import objectives

TITLE, ROUTE, METHOD = "Correctness-aware calibration", "correctness-calibration", "correctness_calibration"
QUESTION = "The prediction is narrowly wrong: should its confidence rise or fall?"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "true": pn.widgets.FloatSlider(
            label="Probability of the true class", start=0.01, end=0.98, step=0.01, value=0.40
        ),
        "rival": pn.widgets.FloatSlider(
            label="Share of the remaining mass on the top rival", start=0.05, end=1, step=0.01, value=0.92
        ),
        "temperature": pn.widgets.FloatSlider(label="Temperature", start=0.1, end=10, step=0.1, value=2.0),
        "classes": pn.widgets.IntSlider(label="Classes", start=3, end=20, value=4),
    }
    pages.sync(widgets, state)
    curves, bars, table = pages.plot(label="objectives"), pages.plot(label="probabilities"), pages.numbers()
    notice = pages.react(widgets, draw, curves, bars, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(bars, curves), table], notice=notice, method=METHOD)


def draw(true, rival, temperature, classes, theme):
    logits = row(true, rival, classes)
    grid, values = objectives(logits, 1)
    confidence = float(confidences(logits[None], temperature)[0])
    correct = float(int(logits.argmax()) == 1)
    numbers = {
        "confidence at this temperature": confidence,
        "correctness": correct,
        "confidence error": abs(confidence - correct),
        **{f"optimal temperature under {name}": float(grid[int(value.argmin())]) for name, value in values.items()},
    }
    return (
        figures.row_objectives(logits, 1, temperature, theme=theme),
        figures.scaled_probabilities(logits, 1, temperature, theme=theme),
        numbers,
    )


def row(true: float = 0.40, rival: float = 0.92, classes: int = 4) -> torch.Tensor:
    """Logits of one row: class 2 is true, class 1 its rival, the others share what is left."""
    rest = 1 - true
    p = torch.full((classes,), max(rest * (1 - rival), 1e-9) / (classes - 2), dtype=torch.float64)
    p[0], p[1] = rest * rival, true
    return p.log()
