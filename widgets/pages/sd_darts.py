"""Self-distilled search, interactively: how often and by how many earlier states a supernet is taught."""

import panel as pn

from lab.search.studies import sd_darts as study
from widgets import pages
from widgets.figures import search as figures

TITLE, ROUTE, METHOD = "Self-distilled search", "sd-darts", "sd_darts"
QUESTION = "How much of its accuracy does a supernet keep when it is discretized, and do its earlier states help?"
STEPS = 60


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "interval": pn.widgets.IntSlider(label="Steps between snapshots", start=1, end=STEPS - 1, value=10),
        **pages.controls(study.Setting, "teachers", "weight", "operations"),
    }
    pages.sync(widgets, state)
    bars, paths, table = pages.plot(label="gaps"), pages.plot(label="architecture weights"), pages.numbers()
    notice = pages.react(widgets, draw, bars, paths, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(bars, paths), table], notice=notice, method=METHOD)


def draw(interval, teachers, weight, operations, theme):
    setting = study.Setting(operations=operations, interval=interval, teachers=teachers, weight=weight, steps=STEPS)
    result = study.run_pair(setting, seeds=(0,))
    numbers = [
        {
            "arm": arm,
            "supernet": float(result.measured[f"supernet, {arm}"][0]),
            "lost in discretization": float(result.measured[f"gap, {arm}"][0]),
            "sharpness in α": float(result.measured[f"sharpness in alpha, {arm}"][0]),
            "network": result.genotypes(arm)[0],
            "retrained": float(result.accuracy[arm][0]),
        }
        for arm in ("DARTS", "SD-DARTS")
    ]
    return figures.gaps(result, theme=theme), figures.alpha_paths(result.searched["SD-DARTS"], theme=theme), numbers
