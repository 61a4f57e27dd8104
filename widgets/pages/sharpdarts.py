"""sharpDARTS, interactively: the order of the annealing, and what Max-W does to the coefficients of an edge."""

import panel as pn
import torch

from lab.search.sharpdarts import cosine_power_annealing
from lab.search.studies.sharpdarts import Setting
from lab.search.supernet import mix
from widgets import pages
from widgets.figures import search as figures

TITLE, ROUTE, METHOD = "sharpDARTS", "sharpdarts", "sharpdarts"
QUESTION = "What happens to the operations of an edge as one of them takes the lead?"
NAMES = ("skip", "linear", "mlp")


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "lead": pn.widgets.FloatSlider(label="Lead of skip in α", start=-3, end=5, step=0.1, value=1.0),
        **pages.controls(Setting, "order"),
        "warm_up": pn.widgets.IntSlider(label="Epochs of warm-up", start=0, end=50, value=0),
    }
    pages.sync(widgets, state)
    bars, curves, table = pages.plot(label="coefficients"), pages.plot(label="schedules"), pages.numbers()
    notice = pages.react(widgets, draw, bars, curves, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(bars, curves), table], notice=notice, method=METHOD)


def draw(lead, order, warm_up, theme):
    alpha = torch.tensor([lead, 0.0, -0.5], dtype=torch.float64, requires_grad=True)
    curves = {
        "cosine": cosine_power_annealing(300, order=1.0, warm_up=warm_up),
        f"order {order:g}": cosine_power_annealing(300, order=order, warm_up=warm_up),
    }
    numbers = []
    for rule in ("softmax", "max-w"):
        w = mix(alpha, rule)
        (slope,) = torch.autograd.grad(w[0], alpha, retain_graph=True)
        numbers.append(
            {
                "rule": rule,
                **{name: float(v) for name, v in zip(NAMES, w.detach())},
                "gradient of skip's own weight": float(slope[0]),
            }
        )
    soft, sharp = mix(alpha.detach()), mix(alpha.detach(), "max-w")
    return figures.coefficients(NAMES, soft, sharp, theme=theme), figures.schedules(curves, theme=theme), numbers
