"""Betti matching on one image: which components and loops of the prediction are features of the label, place for
place."""

from __future__ import annotations

from functools import lru_cache

import panel as pn
import param
import torch

from lab import datasets, topology
from widgets import pages, uploads
from widgets.figures.topology import betti as figures

TITLE, ROUTE, METHOD = "Betti matching", "betti-matching", "betti"
QUESTION = "Which components and loops of the prediction are features of the label, in the same place?"
IMAGES = ("coins", "retina", "microaneurysms", "cell", "horse", "page", "smooth_field", "vessel_tree")
VARIANTS = ("mixed", "boundary", "islands", "holes", "breaks", "bridges")


class Pointed(param.Parameterized):
    """The bar under the visitor's pointer, as (side, dimension, birth voxel, death voxel), or ``None``."""

    value = param.Parameter(default=None)


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "threshold": pn.widgets.FloatSlider(label="Threshold", start=0.01, end=0.99, step=0.01, value=0.5),
        "image": pn.widgets.Select(label="Image", options=list(IMAGES), value="coins"),
        "variant": pn.widgets.Select(label="Errors in the prediction (equal Dice)", options=list(VARIANTS), value="mixed"),
        "label_id": pn.widgets.IntInput(label="Class of the label (0: any)", start=0, end=10**6, value=0),
        "min_length": pn.widgets.FloatSlider(label="Shortest bar drawn", start=0.0, end=1.0, step=0.01, value=0.2),
        "border": pn.widgets.Select(label="Border", options=["ends", "foreground frame"], value="ends"),
    }
    pages.sync(widgets, state)
    files = {
        "own_prediction": uploads.Upload("Prediction", kinds=("image",), role="prediction"),
        "own_label": uploads.Upload("Label", kinds=("image",), role="label"),
    }
    pointed = Pointed()
    overlay, bars = pages.plot(label="features on the image", height=560), pages.plot(label="barcodes", height=460)
    pull, table = pages.plot(label="gradient of the loss", height=560), pages.numbers()
    notice = pages.react(widgets | files | {"pointed": pointed}, draw, overlay, bars, pull, table)
    for pane in (bars, overlay):
        pane.param.watch(lambda event: _point(pointed, event.new), "hover_data")
    return pages.layout(
        TITLE, QUESTION, widgets | files, [pages.row(overlay, bars), table, pull], notice=notice, method=METHOD
    )


def draw(threshold, image, variant, label_id, min_length, border, own_prediction, own_label, pointed, theme):
    case = _case(image, variant, label_id, border, Own(own_prediction), Own(own_label))
    found, picture = case[3], case[2]
    overlay = figures.overlay(
        found, image=picture, threshold=threshold, min_length=min_length, highlight=_bar(found, pointed), theme=theme
    )
    return overlay, *_steady(Own(case), threshold, min_length, theme)


@lru_cache(maxsize=32)
def _steady(case, threshold, min_length, theme):
    """What does not follow the pointer: the same objects come back, so that only the overlay is drawn again."""
    prediction, label, _, found, gradient = case.value
    return (
        figures.barcodes(found, min_length=min_length, theme=theme),
        figures.gradient(prediction, gradient, theme=theme),
        numbers(prediction, label, found, threshold),
    )


class Own:
    """A value that is compared by identity, so that results for it can be remembered."""

    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return id(self.value)

    def __eq__(self, other):
        return self.value is other.value


def numbers(prediction, label, found, threshold) -> list[dict]:
    """One row a dimension: the soft matching, and the errors of the thresholded prediction."""
    errors = topology.matching_error(prediction, label, threshold=threshold, border=found.border)
    counts = found.counts()
    return [
        {
            "features": name,
            **{column: int(counts.loc[name, column]) for column in counts.columns},
            "in the mask": errors.betti_prediction[d],
            "in the label": errors.betti_label[d],
            "matching error of the mask": errors.error[d],
            "Betti number error of the mask": errors.betti_number_error[d],
        }
        for d, name in enumerate(counts.index)
    ]


@lru_cache(maxsize=16)
def _case(image, variant, label_id, border, own_prediction, own_label):
    """(prediction, label, picture, matching, gradient of the loss)."""
    frame = None if border == "ends" else "foreground"
    if own_prediction.value is None and own_label.value is None:
        data = datasets.load(image)
        if variant not in data.predictions:
            raise ValueError(f"the label of {image} leaves no room for {variant}; it has {', '.join(data.predictions)}")
        return _matched(data.predictions[variant], _of_class(data.label, label_id), data.image, frame)
    if own_prediction.value is None or own_label.value is None:
        missing = "prediction" if own_prediction.value is None else "label"
        raise ValueError(f"a file for the {missing} is still missing; both must have the same size")
    prediction, label = (torch.as_tensor(each.value.data) for each in (own_prediction, own_label))
    return _matched(prediction.float(), _of_class(label, label_id), prediction, frame)


def _matched(prediction, label, picture, frame):
    found = topology.match(prediction, label, border=frame)
    x = prediction.detach().clone().requires_grad_()
    topology.BettiMatchingLoss(border=frame, cache=0)(x[None, None], label[None, None]).backward()
    return prediction, label, picture, found, x.grad


def _of_class(label, label_id):
    if label_id == 0:
        return label > 0
    chosen = label == label_id
    if not bool(chosen.any()):
        ids = torch.unique(label)
        raise ValueError(f"the label has no class {label_id}; its ids run from {int(ids[0])} to {int(ids[-1])}")
    return chosen


def _point(pointed, data):
    points = (data or {}).get("points") or []
    custom = points[0].get("customdata") if points else None
    pointed.value = tuple(custom) if custom else None


def _bar(found, pointed):
    if pointed is None:
        return None
    side, d, birth, death = pointed
    for bars in (getattr(found.matched[d], side), getattr(found, f"unmatched_{side}")[d]):
        for index in torch.nonzero((bars.birth_voxel == birth) & (bars.death_voxel == death)).flatten().tolist():
            return bars[index]
    return None
