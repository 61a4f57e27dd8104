"""Direct search with one path, interactively: slide the price of latency along the front and see the blocks shrink."""

import panel as pn
import torch

from lab.search.studies import proxylessnas as study
from widgets import pages
from widgets.figures import search as figures

TITLE, ROUTE, METHOD = "Direct search with one path", "proxylessnas", "proxylessnas"
QUESTION = "How much latency can a network give up before its accuracy falls, and which blocks are dropped first?"
SHORT = {"steps": 400, "retraining": 200}


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "tradeoff": pn.widgets.Select(label="Latency penalty", options=list(study.TRADEOFFS), value=0.1),
        **pages.controls(study.Setting, "mode", "noise"),
    }
    pages.sync(widgets, state)
    front, blocks, table = pages.plot(label="front"), pages.plot(label="blocks"), pages.numbers()
    notice = pages.react(widgets, draw, front, blocks, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(front, blocks), table], notice=notice, method=METHOD)


def draw(tradeoff, mode, noise, theme):
    result = study.run(study.Setting(mode=mode, noise=noise, **SHORT), seeds=(0,))
    k = result.tradeoffs.index(tradeoff)
    chosen = {f"trade-off {level:g}": result.choice[:, place] for place, level in enumerate(result.tradeoffs)}
    p = torch.softmax(result.alpha[0, k], -1)
    rows = [
        {"block": place + 1, **{name: float(p[place, o]) for o, name in enumerate(result.space.names)}}
        for place in range(len(p))
    ]
    return figures.front(result, k, theme=theme), figures.blocks(result.space, chosen, theme=theme), rows
