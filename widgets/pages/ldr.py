"""Label-distributionally robust losses, interactively: turn lambda from the SVM to the mean margin."""

import panel as pn
import torch

from lab.losses.ldr import adaptive_temperature
from widgets import pages
from widgets.figures import losses as figures

TITLE, ROUTE, METHOD = "Label-distributionally robust losses", "ldr", "ldr"
QUESTION = "How much should a loss trust its labels, and can each example decide for itself?"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "temperature": pn.widgets.FloatSlider(label="Temperature λ", start=0.05, end=20, step=0.05, value=3.0),
        "margin": pn.widgets.FloatSlider(label="Margin c", start=0, end=2, step=0.1, value=0.1),
        "alpha": pn.widgets.FloatSlider(label="Adaptivity α", start=1.1, end=5, step=0.1, value=2.0),
    }
    pages.sync(widgets, state)
    spectrum, adaptive, table = (
        pages.plot(label="loss vs. λ"),
        pages.plot(label="adaptive temperatures"),
        pages.numbers(),
    )
    notice = pages.react(widgets, draw, spectrum, adaptive, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(spectrum, adaptive), table], notice=notice, method=METHOD)


def draw(temperature, margin, alpha, theme):
    temperatures = sorted({0.05, 1.0, round(temperature, 2)})
    scores = rows()
    found = adaptive_temperature(scores, temperature, alpha)
    numbers = {
        "smallest temperature of 300 examples": round(float(found.min()), 3),
        "median": round(float(found.median()), 3),
        "largest": round(float(found.max()), 3),
        "lower limit": round(temperature * (1 - 1 / alpha), 3),
    }
    return (
        figures.temperature_spectrum(temperatures, margin, 10, theme=theme),
        figures.adaptive_temperatures(scores, temperature, alpha, theme=theme),
        numbers,
    )


def rows():
    """Scores of 300 rows of ten classes, from doubtful to confident."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.linspace(0, 40, 300, dtype=torch.float64)[:, None]
    return spread * torch.randn(300, 10, generator=generator, dtype=torch.float64)
