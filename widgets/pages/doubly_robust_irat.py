"""Doubly robust reweighting, interactively: turn the price of unequal weights and watch the weakest classes."""

from lab.generalization.studies.doubly_robust_irat import Setting, run
from widgets import pages
from widgets.figures import generalization as figures

TITLE, ROUTE, METHOD = "Doubly robust reweighted adversarial training", "doubly-robust-irat", "doubly_robust_irat"
QUESTION = "Who is left behind by adversarial training, and what does it cost to help them?"


def build(state: dict):
    """Robust accuracy by class and the classes' weights at the price that the slider says."""
    widgets = pages.controls(Setting, "r", "epsilon", "imbalance")
    widgets["r"].end = 5.0
    pages.sync(widgets, state)
    bars, weights, table = pages.plot(label="robust accuracy by class"), pages.plot(label="weights"), pages.numbers()
    notice = pages.react(widgets, draw, bars, weights, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(bars, weights), table], notice=notice, method=METHOD)


def draw(r, epsilon, imbalance, theme):
    """The figures at these values, from a short training."""
    setting = Setting.of("smoke", r=r, epsilon=epsilon, imbalance=imbalance, frequent=60, epochs=10, tested=200)
    result = run(setting, seeds=(0,))
    numbers = {
        name: f"{float(result.clean[arm].mean()):.2f} clean, {float(result.strong[arm].mean()):.2f} attacked, "
        f"{float(result.tail[arm].mean()):.2f} worst three classes"
        for arm, name in figures.doubly_robust_irat.NAMES.items()
    }
    return figures.class_bars(result, theme=theme), figures.class_weights(result, theme=theme), numbers
