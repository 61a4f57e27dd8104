"""Selection by perturbation, interactively: take an operation out of a trained supernet and see what it loses."""

import panel as pn
import torch

from lab.search.darts_pt import strengths
from lab.search.studies import darts_pt as study
from lab.search.supernet import mix
from widgets import pages
from widgets.figures import search as figures

TITLE, ROUTE, METHOD = "Selection by perturbation", "darts-pt", "darts_pt"
QUESTION = "Which operation would the supernet miss most, and is it the one with the largest weight?"
STEPS = 100


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        **pages.controls(study.Setting, "operations", "criterion"),
        "removed": pn.widgets.Select(
            label="Operation to remove", options=["nothing", "skip", "mlp", "noise", "linear", "none"], value="skip"
        ),
        "edge": pn.widgets.Select(label="From edge", options=["0→1", "0→2", "1→2"], value="1→2"),
    }
    pages.sync(widgets, state)
    graph, bars, table = pages.plot(label="supernet"), pages.plot(label="strengths", height=460), pages.numbers()
    notice = pages.react(widgets, draw, graph, bars, table)
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(graph, bars), table], notice=notice, method=METHOD)


def draw(operations, criterion, removed, edge, theme):
    where, found, _ = trained(operations)
    space, (x, y) = where.space, where.split.validation
    missed = strengths(found.supernet, found.parameters, found.weights, x, y, criterion=criterion)[0]
    fall = strengths(found.supernet, found.parameters, found.weights, x, y, criterion="accuracy")[0]
    p = mix(found.alpha)[0]
    place = ["0→1", "0→2", "1→2"].index(edge)
    shown, numbers = p.clone(), {"accuracy of the supernet": float(found.validation_accuracy[0])}
    if removed != "nothing" and removed not in space.names:
        numbers["taken away"] = f"nothing: the candidates are {', '.join(space.names)}"
    elif removed != "nothing":
        k = space.names.index(removed)
        shown[place, k] = 0
        numbers[f"accuracy without {removed} on {edge}"] = numbers["accuracy of the supernet"] - float(fall[place, k])
    chosen = [space.genotype(one) for one in (p.argmax(1), missed.argmax(1))]
    truth = where.accuracy(torch.stack([p.argmax(1), missed.argmax(1)]))
    for rule, genotype, accuracy in zip(("magnitude", "perturbation"), chosen, truth):
        numbers[f"{rule}: {genotype}, retrained"] = float(accuracy)
    return (
        figures.graph(space, shown, title="The supernet's cell: thicker lines are larger weights", theme=theme),
        figures.strength_bars(space, p, missed, unit=criterion, theme=theme),
        numbers,
    )


_KEPT: dict = {}


def trained(operations):
    """A short search with one seed, trained once for the process."""
    if operations not in _KEPT:
        _KEPT[operations] = study.searched(study.Setting(operations=operations, steps=STEPS), (0,))
    return _KEPT[operations]
