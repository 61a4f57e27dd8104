"""The noise mask, interactively: choose the grid and see what the policy covers."""

from lab.generalization.studies.policy_gradient_noise_mask import Setting, run
from widgets import pages
from widgets.figures import generalization as figures

TITLE, ROUTE, METHOD = "Policy gradient-driven noise mask", "policy-gradient-noise-mask", "policy_gradient_noise_mask"
SCORE = pages.Metric("Accuracy on held-out images.", "", "higher")
QUESTION = "Can a small network learn which noise a classifier should be trained under?"


def build(state: dict):
    """Masks beside images, the Beta parameters by cell, and the gain over uniform noise."""
    widgets = pages.controls(Setting, "grid", "kinds")
    pages.sync(widgets, state)
    shown, cells = pages.plot(label="masks beside images"), pages.plot(label="Beta parameters by cell")
    gains, table = (
        pages.plot(label="gains"),
        pages.numbers(metrics=dict.fromkeys(figures.policy_gradient_noise_mask.NAMES.values(), SCORE)),
    )
    notice = pages.react(widgets, draw, shown, cells, gains, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(shown, cells), gains, table], notice=notice, method=METHOD)


def draw(grid, kinds, theme):
    """The figures at these values, from a short training."""
    result = run(Setting.of("smoke", grid=grid, kinds=kinds, items=300, epochs=10, tuning_epochs=3), seeds=(0, 1))
    names = figures.policy_gradient_noise_mask.NAMES
    numbers = {name: f"{float(result.accuracy[arm].mean()):.3f}" for arm, name in names.items()}
    return (
        figures.masks_on_images(result, theme=theme),
        figures.beta_parameters(result, theme=theme),
        figures.gains_by_mode(result, theme=theme),
        numbers,
    )
