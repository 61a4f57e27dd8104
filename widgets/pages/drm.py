"""Domain-specific risk minimization, interactively: leave a domain out and watch which head is trusted."""

import panel as pn

from lab.generalization.studies.drm import Setting, run
from widgets import pages
from widgets.figures import generalization as figures

TITLE, ROUTE, METHOD = "Domain-specific risk minimization", "drm", "drm"
SCORE = pages.Metric("Accuracy on the domain left out.", "", "higher")
QUESTION = "An unseen, unlabelled domain arrives: which head should answer?"
_TARGETS = ("first", "second", "third")


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "target": pn.widgets.Select(label="Domain left out", options=list(_TARGETS), value="second"),
        **pages.controls(Setting, "shift", "power"),
    }
    pages.sync(widgets, state)
    votes, accuracy, table = (
        pages.plot(label="heads"),
        pages.plot(label="accuracy by target"),
        pages.numbers(metrics=dict.fromkeys(("ERM", "entropy-weighted heads", "best head (oracle)"), SCORE)),
    )
    notice = pages.react(widgets, draw, votes, accuracy, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(votes, accuracy), table], notice=notice, method=METHOD)


def draw(target, shift, power, theme):
    result = run(Setting.of("smoke", shift=shift, power=power, items=1200, epochs=10), seeds=(0, 1))
    k = _TARGETS.index(target)
    name = result.targets[k]
    numbers = {
        "left out": name,
        "ERM": round(float(result.unseen["erm"][:, k].mean()), 3),
        "entropy-weighted heads": round(float(result.unseen["soft"][:, k].mean()), 3),
        "best head (oracle)": round(float(result.unseen["best head"][:, k].mean()), 3),
    }
    return (
        figures.head_votes(result, name, theme=theme),
        figures.accuracies_by_target(result, theme=theme),
        numbers,
    )
