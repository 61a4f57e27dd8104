"""Betti matching on one image: which components and loops of the prediction are features of the label, place for
place."""

from __future__ import annotations

from functools import lru_cache

import panel as pn

from lab import datasets, topology
from lab.topology.images.barcodes import NAMES
from lab.topology.images.classes import classes, one_class
from widgets import pages
from widgets.figures.linking import linked
from widgets.figures.topology import betti as figures
from widgets.pages import _pairs
from widgets.pages._pairs import Own, numbers
from widgets.pages._state import ahead

TITLE, ROUTE, METHOD = "Betti matching", "betti-matching", "betti_matching"
QUESTION = "Which components and loops of the prediction also exist in the label, at the same place?"
IMAGES = ("coins", "retina", "microaneurysms", "cell", "horse", "page", "smooth_field", "vessel_tree")
EXPLANATION = """
**Point at a bar or a marker** to see the same feature in the other figure; click to pin it, press Esc to release it.
**Feature locations:** filled markers are births, open markers deaths; green features are matched, orange ones are unmatched in
the prediction (false positives), blue ones unmatched in the label (false negatives). **Several classes:** a prediction may have
one leading channel per class (NPY of shape classes x height x width, or a colour image), a label class ids or one mask per
channel. Channel 0 is the background if there are fewer label ids than channels, or if the masks cover every pixel exactly once;
otherwise classes are numbered from the first channel. Class 0 selects the whole foreground.
"""


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
    ahead(draw, widgets | files)
    overlay, bars = pages.plot(label="feature locations", height=560), pages.plot(label="barcodes", height=460)
    pull, table = pages.plot(label="gradient of the loss", height=560), pages.numbers(label="metrics by dimension")
    every, tiles = pages.numbers(label="errors by class"), pages.numbers(label="metrics")
    notice = pages.react(widgets | files, draw, overlay, bars, pull, table, every, tiles)
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


def draw(threshold, image, variant, label_id, min_length, border, own_prediction, own_label, theme):
    case = _case(image, variant, label_id, border, Own(own_prediction), Own(own_label))
    picture = figures.overlay(
        case["found"], image=case["picture"], threshold=threshold, min_length=min_length, theme=theme
    )
    rows = numbers(case["prediction"], case["label"], case["found"], threshold)
    return (
        linked(picture, _links(Own(case["found"]), min_length)),
        figures.barcodes(case["found"], min_length=min_length, theme=theme),
        figures.gradient(case["prediction"], case["gradient"], theme=theme),
        rows,
        by_class(*case["pair"], threshold, case["found"].border),
        _pairs.metrics(rows, case["prediction"], case["label"], threshold),
    )


@lru_cache(maxsize=32)
def _links(found, min_length):
    return figures.feature_links(found.value, min_length=min_length)


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
