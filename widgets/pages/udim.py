"""Unknown domain inconsistency minimization, interactively: move the images and see what training with them brings."""

from lab.generalization.studies.udim import Setting, run
from widgets import pages
from widgets.figures import generalization as figures

TITLE, ROUTE, METHOD = "Unknown domain inconsistency minimization", "udim", "udim"
SCORE = pages.Metric("Accuracy on unseen shifts.", "", "higher")
QUESTION = "How far must training images be moved to represent unseen domains?"


def build(state: dict):
    """Crafted images and accuracies at the slider's radius."""
    widgets = pages.controls(Setting, "eta", "weight", "sources")
    pages.sync(widgets, state)
    images, rise = pages.plot(label="crafted images"), pages.plot(label="increase in loss")
    arms, table = (
        pages.plot(label="accuracy under shift"),
        pages.numbers(metrics=dict.fromkeys(figures.udim.NAMES.values(), SCORE)),
    )
    notice = pages.react(widgets, draw, images, rise, arms, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(images, rise), arms, table], notice=notice, method=METHOD)


def draw(eta, weight, sources, theme):
    """The figures at these values, from a short training."""
    result = run(Setting.of("smoke", eta=eta, weight=weight, sources=sources, items=300, epochs=15), seeds=(0, 1))
    numbers = {name: round(float(result.shifted(arm).mean()), 3) for arm, name in figures.udim.NAMES.items()}
    return (
        figures.crafted_images(result, theme=theme),
        figures.rises(result, theme=theme),
        figures.arms_on_shifts(result, theme=theme),
        numbers,
    )
