"""Gradient-adaptive quantization, interactively: turn tau and watch which step sizes are frozen."""

from lab.generalization.studies.gaqat import Setting, run
from widgets import pages
from widgets.figures import generalization as figures

TITLE, ROUTE, METHOD = "Gradient-adaptive quantization", "gaqat", "gaqat"
QUESTION = "Two forces pull at a quantizer's step size: when is it better not to listen to one of them?"


def build(state: dict):
    """Disorder by layer and window, with the frozen set at the threshold that the slider says."""
    widgets = pages.controls(Setting, "tau", "bits", "freeze")
    pages.sync(widgets, state)
    heat, torn = pages.plot(label="disorder by layer and window"), pages.plot(label="conflicts by layer")
    arms, table = pages.plot(label="accuracy"), pages.numbers()
    notice = pages.react(widgets, draw, heat, torn, arms, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(heat, torn), arms, table], notice=notice, method=METHOD)


def draw(tau, bits, freeze, theme):
    """The figures at these values, from a short training."""
    result = run(Setting.of("smoke", tau=tau, bits=bits, freeze=freeze, items=480, epochs=6, window=8), seeds=(0,))
    numbers = {
        name: f"{float(result.unseen[arm].mean()):.3f} on unseen angles" for arm, name in figures.gaqat.NAMES.items()
    }
    return (
        figures.disorder_map(result, tau, theme=theme),
        figures.conflicts(result, theme=theme),
        figures.accuracy_by_arm(result, theme=theme),
        numbers,
    )
