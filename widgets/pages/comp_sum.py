"""Comp-sum losses, interactively: turn tau, watch the loss and its bound change."""

import panel as pn

from lab.losses.comp_sum import gamma_tau
from widgets import pages
from widgets.figures import losses as figures

TITLE, ROUTE, METHOD = "Comp-sum losses", "comp-sum", "comp_sum"
QUESTION = "What does a small surrogate loss guarantee about accuracy, and how does that depend on the loss?"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "tau": pn.widgets.FloatSlider(label="Loss index τ", start=0, end=2.5, step=0.05, value=1.5),
        "classes": pn.widgets.IntSlider(label="Classes", start=2, end=100, value=10),
        "excess": pn.widgets.FloatSlider(label="Excess surrogate risk", start=0.001, end=0.2, step=0.001, value=0.01),
    }
    pages.sync(widgets, state)
    curves, bounds, table = pages.plot(label="loss curves"), pages.plot(label="consistency bounds"), pages.numbers()
    notice = pages.react(widgets, draw, curves, bounds, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(curves, bounds), table], notice=notice, method=METHOD)


def draw(tau, classes, excess, theme):
    now = round(tau, 2)
    taus = sorted({0.0, 1.0, 2.0, now})
    numbers = {f"bound on the excess error at τ = {t:g}": round(float(gamma_tau(excess, t, classes)), 4) for t in taus}
    bounds = figures.consistency_bounds(taus, classes, excess, now, theme=theme)
    return figures.comp_sum_curves(taus, now, theme=theme), bounds, numbers
