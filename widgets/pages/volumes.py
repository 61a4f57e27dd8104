"""Betti matching of volumes: which components, loops and cavities have a partner, in space and on three linked planes."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec

import numpy as np
import panel as pn
import torch

from lab import datasets, topology
from lab.datasets.orientation import planes
from lab.topology.images.barcodes import NAMES
from lab.topology.images.classes import one_class
from widgets import pages
from widgets.figures.topology import volumes as figures
from widgets.pages import _pairs
from widgets.pages._pairs import Own, numbers
from widgets.pages._state import ahead

TITLE, ROUTE, METHOD = "Betti matching in 3-D", "volumes", "betti_volumes"
QUESTION = "Which components, loops and cavities of a predicted volume also exist in the label, at the same place?"
VOLUMES = ("vessel_tree_3d", "smooth_field_3d", "mni_intensity")
SHOWN = {
    "unmatched": figures.KINDS[1:],
    "only in the prediction": figures.KINDS[1:2],
    "only in the label": figures.KINDS[2:],
    "matched": figures.KINDS[:1],
    "all": figures.KINDS,
}
CHOICES = {
    "unmatched": "unmatched",
    "unmatched in prediction (false positive)": "only in the prediction",
    "unmatched in label (false negative)": "only in the label",
    "matched": "matched",
    "all": "all",
}
DIMENSIONS = {"all": (0, 1, 2), **{name: (d,) for d, name in enumerate(NAMES)}}
MOST = 160**3
PLACES = ("axial", "coronal", "sagittal")
EXPLANATION = """
**3-D view:** the label is grey; features unmatched in the prediction (false positives) are orange, unmatched in the label
(false negatives) blue, matched ones green. Components and cavities are surfaces, drawn midway through their lifetimes; a loop
is a shortest closed path through the voxels at its birth. **Planes:** the label's outline is blue, the prediction's at the
threshold orange; dotted lines mark the other two planes. Click in a plane to move the others, or on a marker in 3-D to select
its feature. Voxel spacing and orientation come from the file and affect the display only, never the matching.
"""


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {
        "threshold": pn.widgets.FloatSlider(label="Threshold", start=0.01, end=0.99, step=0.01, value=0.5),
        "compare": pn.widgets.Select(
            label="Compare the label with", options=["probabilities", "mask at the threshold"]
        ),
        "show": pn.widgets.Select(label="Features shown", options=CHOICES, value="unmatched"),
        "dimension": pn.widgets.Select(label="Dimension", options=list(DIMENSIONS), value="all"),
        "min_length": pn.widgets.FloatSlider(
            label="Minimum persistence shown", start=0.0, end=1.0, step=0.01, value=0.2
        ),
        "feature": pn.widgets.IntInput(label="Highlighted feature (0 = none)", start=0, end=1000, value=0),
        "follow": pn.widgets.Checkbox(label="Planes follow the feature", value=True),
        **{
            name: pn.widgets.FloatSlider(
                label=f"{name.capitalize()} plane (relative position)", start=0.0, end=1.0, step=0.001, value=0.5
            )
            for name in PLACES
        },
        **_pairs.choices(("volume", _available()), "vessel_tree_3d"),
    }
    pages.sync(widgets, state)
    files = _pairs.files("volume")
    ahead(draw, widgets | files)
    view = pages.plot(label="features in space", height=460)
    cuts = [pages.plot(label=f"{name} plane", height=460) for name in PLACES]
    table, listing = pages.numbers(label="metrics by dimension"), pages.numbers(label="features shown")
    tiles = pages.numbers(label="metrics")
    notice = pages.react(widgets | files, draw, view, *cuts, table, listing, tiles)
    view.param.watch(lambda event: _choose(widgets, event.new), "click_data")
    for pane in cuts:
        pane.param.watch(lambda event: _move(widgets, event.obj.object, event.new), "click_data")
    main = [pages.row(view, *cuts), table, listing, tiles]
    words = {"method": METHOD, "explanation": EXPLANATION, "answer": _pairs.answer}
    return pages.layout(TITLE, QUESTION, widgets | files, main, notice=notice, **words)


def draw(
    threshold,
    compare,
    show,
    dimension,
    min_length,
    feature,
    follow,
    axial,
    coronal,
    sagittal,
    volume,
    variant,
    label_id,
    own_prediction,
    own_label,
    theme,
):
    cut = None if compare == "probabilities" else threshold
    case = _case(volume, variant, label_id, Own(own_prediction), Own(own_label), cut)
    shown = _scene(Own(case), show, dimension, min_length)
    lit = shown.named(feature)
    unit = case["unit"]
    if lit is not None and follow:
        at = figures.place_of(lit, shown.found.shape)
    else:
        at = [0, 0, 0]
        for which, share in zip(planes(shown.affine), (axial, coronal, sagittal)):
            at[which.axis] = round(share * (shown.found.shape[which.axis] - 1))
    cuts = [
        figures.plane(shown, case["image"], which, at, highlight=feature, threshold=threshold, unit=unit, theme=theme)
        for which in planes(shown.affine)
    ]
    steady = _steady(Own(case), Own(shown), feature, threshold, theme)
    return steady[0], *cuts, *steady[1:]


@lru_cache(maxsize=16)
def _steady(case, shown, feature, threshold, theme):
    """What does not follow the planes: the same objects come back, so that the view in space is not drawn again."""
    case, shown = case.value, shown.value
    view = figures.view(shown, highlight=feature, threshold=threshold, unit=case["unit"], theme=theme)
    rows = numbers(case["prediction"], case["label"], shown.found, threshold)
    metrics = _pairs.metrics(rows, case["prediction"], case["label"], threshold)
    return view, rows, figures.listing(shown), metrics


@lru_cache(maxsize=8)
def _scene(case, show, dimension, min_length):
    case = case.value
    return figures.scene(
        case["found"],
        spacing=case["spacing"],
        affine=case["affine"],
        kinds=SHOWN[show],
        dimensions=DIMENSIONS[dimension],
        min_length=min_length,
    )


@lru_cache(maxsize=6)
def _case(volume, variant, label_id, own_prediction, own_label, threshold):
    """Prediction, label, picture and their matching; of masks where a threshold is given."""
    image, prediction, label, spacing, affine = _pair(volume, variant, own_prediction.value, own_label.value)
    prediction, label = one_class(prediction, label, label_id, axes=3)
    found = topology.match(prediction if threshold is None else (prediction >= threshold).float(), label)
    return {
        "image": image,
        "prediction": prediction,
        "label": label,
        "found": found,
        "spacing": spacing,
        "affine": affine,
        "unit": "mm" if affine is not None else "voxels" if set(spacing) == {1.0} else "file units",
    }


def _pair(volume, variant, own_prediction, own_label):
    pair = _pairs.own_pair(own_prediction, own_label)
    if pair is None:
        data = datasets.load(volume)
        prediction = _pairs.with_errors(data, volume, variant) if data.predictions else data.prediction
        return data.image, prediction, data.label, data.spacing, data.affine
    if own_prediction.shape != own_label.shape:
        sizes = [" x ".join(map(str, each.shape)) for each in (own_prediction, own_label)]
        raise ValueError(f"prediction and label must have the same size, got {sizes[0]} and {sizes[1]}")
    if int(np.prod(own_prediction.shape)) > MOST:
        raise ValueError(
            f"a page matches volumes of at most {MOST:,} voxels, got {int(np.prod(own_prediction.shape)):,}; "
            "for larger ones use: lab run volumes -p prediction_file a.nii.gz -p label_file b.nii.gz"
        )
    affine = next(
        (torch.tensor(each.affine, dtype=torch.float64) for each in (own_prediction, own_label) if each.affine), None
    )
    return pair[0], *pair, own_prediction.spacing or (1.0, 1.0, 1.0), affine


def _available():
    return [name for name in VOLUMES if not datasets.describe(name).extra or find_spec("nilearn") is not None]


def _choose(widgets, data):
    """The feature under a click in space."""
    points = (data or {}).get("points") or []
    custom = points[0].get("customdata") if points else None
    if custom:
        widgets["feature"].value = int(custom[0] if isinstance(custom, (list, tuple)) else custom)


def _move(widgets, figure, data):
    """The other two planes go through a click into one."""
    points = (data or {}).get("points") or []
    if not points or figure is None or "x" not in points[0]:
        return
    shares = {}
    for coordinate, (name, extent) in zip("xy", figure.layout.meta["planes"]):
        shares[name] = min(1.0, max(0.0, round(float(points[0][coordinate]) / extent, 3))) if extent else 0.5
    widgets["follow"].value = False
    for name, share in shares.items():
        widgets[name].value = share
