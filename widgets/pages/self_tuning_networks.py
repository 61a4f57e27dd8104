"""Self-tuning networks, interactively: drag the penalty along the exact best response and see the affine gate that follows it."""

import panel as pn
import torch

from lab.search.self_tuning_networks import linear_response
from widgets import pages
from widgets.figures import search as figures

TITLE, ROUTE, METHOD = "Self-tuning networks", "self-tuning-networks", "self_tuning_networks"
QUESTION = "How does a network's best response change with its penalty, and how far does an affine gate follow it?"


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "penalty": pn.widgets.FloatSlider(label="Log penalty", start=-4, end=4, step=0.1, value=0.0),
        "spread": pn.widgets.FloatSlider(label="Eigenvalue spread", start=1, end=100, step=1, value=20.0),
        "units": pn.widgets.IntSlider(label="Hidden units", start=1, end=6, value=4),
    }
    pages.sync(widgets, state)
    curves, table = pages.plot(label="best responses"), pages.numbers()
    notice = pages.react(widgets, draw, curves, table)
    return pages.layout(TITLE, QUESTION, widgets, [curves, table], notice=notice, method=METHOD)


def draw(penalty, spread, units, theme):
    penalties, exact, tangent, slopes = gates(penalty, spread, units)
    place = int((penalties - penalty).abs().argmin())
    rows = [
        {"unit": k + 1, "gate at the penalty": float(exact[place, k]), "its slope": float(slopes[k])}
        for k in range(units)
    ]
    return figures.responses(penalties, exact, tangent, penalty, theme=theme), rows


def gates(penalty, spread, units):
    """Gates of a linear network over the penalty, their tangents at one value, and the slopes there."""
    size = torch.linspace(0, 1, units, dtype=torch.float64)
    inputs = torch.diag((spread ** (size - 0.5)).sqrt() * units**0.5)
    answer = inputs @ torch.ones(units, dtype=torch.float64)
    penalties = torch.linspace(-6, 6, 121, dtype=torch.float64)
    exact = torch.stack([linear_response(inputs, answer, float(one))[2] for one in penalties])
    here = linear_response(inputs, answer, penalty)[2]
    slopes = -here * (1 - here)
    return penalties, exact, here + (penalties - penalty)[:, None] * slopes, slopes
