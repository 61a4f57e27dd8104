"""Relaxed architecture search, interactively: three methods on the model whose end points are known."""

import panel as pn

from lab.search.rarts import solvable_limit, solvable_path
from widgets import pages
from widgets.figures import search as figures

TITLE, ROUTE, METHOD = "Relaxed architecture search", "rarts", "rarts"
QUESTION = "Where do three bilevel solvers converge, and what do the penalties of the relaxed one do?"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "weight": pn.widgets.FloatSlider(
            label="λ, weight of the training half", start=0.5, end=50, step=0.5, value=10.0
        ),
        "coupling": pn.widgets.FloatSlider(label="β, coupling of the networks", start=1, end=50, step=0.5, value=10.0),
        "xi": pn.widgets.FloatSlider(
            label="Inner learning rate of second-order DARTS", start=0, end=1, step=0.05, value=0.1
        ),
    }
    pages.sync(widgets, state)
    plane, table = pages.plot(label="paths", height=520), pages.numbers()
    notice = pages.react(widgets, draw, plane, table)
    return pages.layout(TITLE, QUESTION, widgets, [plane, table], notice=notice, method=METHOD)


def draw(weight, coupling, xi, theme):
    paths, limits = model(weight, coupling, xi)
    rows = [
        {
            "method": name,
            "final α": limit[0],
            "final w": limit[1],
            "steps to within 0.01": _steps(paths[name], limit),
        }
        for name, limit in limits.items()
    ]
    return figures.plane(paths, limits, theme=theme), rows


def model(weight, coupling, xi):
    """Paths and ends of the three methods at these penalties, with steps that are stable."""
    options = {
        "first-order DARTS": {"method": "first", "rate": 0.05},
        "second-order DARTS": {"method": "second", "rate": 0.05, "xi": xi},
        "RARTS": {
            "method": "relaxed",
            "rate": min(0.05, 0.8 / (2 * weight + coupling)),
            "weight": weight,
            "coupling": coupling,
        },
    }
    paths = {name: solvable_path(steps=1500, **how) for name, how in options.items()}
    ends = {name: {key: value for key, value in how.items() if key != "rate"} for name, how in options.items()}
    return paths, {name: solvable_limit(**how) for name, how in ends.items()}


def _steps(path, limit):
    far = ((path[:, 0] - limit[0]).abs() > 0.01) | ((path[:, 1] - limit[1]).abs() > 0.01)
    return int(far.nonzero()[-1]) + 1 if bool(far.any()) else 0
