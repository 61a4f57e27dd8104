"""Betti matching on one image: which components and loops of the prediction are features of the label, place for
place."""

from __future__ import annotations

from functools import lru_cache

import panel as pn
import param
import torch

from lab import datasets, topology
from lab.topology.images.barcodes import NAMES
from lab.topology.images.classes import classes, one_class
from widgets import pages
from widgets.figures.topology import betti as figures
from widgets.pages import _pairs
from widgets.pages._pairs import Own, numbers
from widgets.pages._state import ahead

TITLE, ROUTE, METHOD = "Betti matching", "betti-matching", "betti_matching"
QUESTION = "Which components and loops of the prediction also exist in the label, at the same place?"
IMAGES = ("coins", "retina", "microaneurysms", "cell", "horse", "page", "smooth_field", "vessel_tree")
EXPLANATION = """
**Feature locations:** filled markers are births, open markers deaths; green features are matched, orange ones are unmatched in
the prediction (false positives), blue ones unmatched in the label (false negatives). **Several classes:** a prediction may have
one leading channel per class (NPY of shape classes x height x width, or a colour image), a label class ids or one mask per
channel. Channel 0 is the background if there are fewer label ids than channels, or if the masks cover every pixel exactly once;
otherwise classes are numbered from the first channel. Class 0 selects the whole foreground.
"""


class Pointed(param.Parameterized):
    """The bar under the visitor's pointer, as (side, dimension, birth voxel, death voxel), or ``None``."""

    value = param.Parameter(default=None)


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "threshold": pn.widgets.FloatSlider(label="Threshold", start=0.01, end=0.99, step=0.01, value=0.5),
        **_pairs.choices(("image", IMAGES), "coins"),
        "min_length": pn.widgets.FloatSlider(
            label="Minimum persistence shown", start=0.0, end=1.0, step=0.01, value=0.2
        ),
        "border": pn.widgets.Select(label="Border", options=["ends", "foreground frame"], value="ends"),
    }
    pages.sync(widgets, state)
    files = _pairs.files("image", "channels")
    pointed = Pointed()
    ahead(draw, widgets | files | {"pointed": pointed})
    overlay, bars = pages.plot(label="feature locations", height=560), pages.plot(label="barcodes", height=460)
    pull, table = pages.plot(label="gradient of the loss", height=560), pages.numbers(label="metrics by dimension")
    every, tiles = pages.numbers(label="errors by class"), pages.numbers(label="metrics")
    notice = pages.react(widgets | files | {"pointed": pointed}, draw, overlay, bars, pull, table, every, tiles)
    for pane in (bars, overlay):
        pane.param.watch(lambda event: _point(pointed, event.new), "hover_data")
    return pages.layout(
        TITLE,
        QUESTION,
        widgets | files,
        [pages.row(overlay, bars), table, every, pull, tiles],
        notice=notice,
        method=METHOD,
        explanation=EXPLANATION,
        answer=_pairs.answer,
    )


def draw(threshold, image, variant, label_id, min_length, border, own_prediction, own_label, pointed, theme):
    case = _case(image, variant, label_id, border, Own(own_prediction), Own(own_label))
    found, picture = case["found"], case["picture"]
    overlay = figures.overlay(
        found, image=picture, threshold=threshold, min_length=min_length, highlight=_bar(found, pointed), theme=theme
    )
    return overlay, *_steady(Own(case), threshold, min_length, theme)


@lru_cache(maxsize=32)
def _steady(case, threshold, min_length, theme):
    """What does not follow the pointer: the same objects come back, so that only the overlay is drawn again."""
    case = case.value
    rows = numbers(case["prediction"], case["label"], case["found"], threshold)
    return (
        figures.barcodes(case["found"], min_length=min_length, theme=theme),
        figures.gradient(case["prediction"], case["gradient"], theme=theme),
        rows,
        by_class(*case["pair"], threshold, case["found"].border),
        _pairs.metrics(rows, case["prediction"], case["label"], threshold),
    )


def by_class(prediction, label, threshold, border, most: int = 12) -> list[dict]:
    """One row a class, of the first ``most``, where the prediction has several: the errors of its mask at the threshold."""
    rows = []
    for each in classes(prediction, label)[:most] if prediction.ndim > 2 else ():
        error = topology.matching_error(*one_class(prediction, label, each), threshold=threshold, border=border)
        rows.append(
            {
                "class": str(each),
                "matching error of the mask": error.total,
                "Betti number error of the mask": sum(error.betti_number_error),
                **{f"matching error, {name}": count for name, count in zip(NAMES, error.error)},
            }
        )
    return rows


@lru_cache(maxsize=16)
def _case(image, variant, label_id, border, own_prediction, own_label):
    """The pair with all its classes, the chosen one's prediction, label and matching, the gradient of its loss."""
    frame = None if border == "ends" else "foreground"
    pair, picture = _pairs.own_pair(own_prediction.value, own_label.value), None
    if pair is None:
        data = datasets.load(image)
        pair, picture = (_pairs.with_errors(data, image, variant), data.label), data.image
    prediction, label = one_class(*pair, label_id)
    x = prediction.detach().clone().requires_grad_()
    topology.BettiMatchingLoss(border=frame, cache=0)(x[None, None], label[None, None]).backward()
    return {
        "pair": pair,
        "prediction": prediction,
        "label": label,
        "picture": prediction if picture is None else picture,
        "found": topology.match(prediction, label, border=frame),
        "gradient": x.grad,
    }


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
