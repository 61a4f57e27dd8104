"""Condensation, interactively: watch ten images grow into a training set, class by class or with contrastive signals."""

import io

import panel as pn
import torch

from lab.compression.studies import dcc as study
from lab.compression.synthetic import SyntheticSet
from widgets import pages
from widgets.figures import compression as figures

TITLE, ROUTE, METHOD = "Condensation with contrastive signals", "dcc", "dcc"
QUESTION = "Which ten images would you learn the digits from, if ten were all you had?"
EXPLANATION = (
    "Both sets start as the same ten real digits. A network's gradients on them are pulled towards its gradients on thousands of "
    "digits: class by class (dc), or summed over the classes (dcc), where what all digits share cancels. Every frame is a training "
    "set of its own: the curve is the accuracy of networks that saw nothing else."
)


def build(state: dict) -> pn.viewable.Viewable:
    growth = study.growth()
    widgets = {
        "frame": pn.widgets.IntSlider(label="Frame", start=0, end=len(growth.loops) - 1, value=len(growth.loops) - 1),
        "loss": pn.widgets.Select(label="Matching", options=list(growth.images), value="dcc"),
    }
    pages.sync(widgets, state)
    images, curve, table = (
        pages.plot(label="synthetic images", height=200),
        pages.plot(label="accuracy"),
        pages.numbers(),
    )
    notice = pages.react(widgets, draw, images, curve, table)
    download = pn.widgets.FileDownload(
        callback=lambda: packed(widgets["loss"].value, widgets["frame"].value),
        filename="condensed.npz", label="Download the set (NPZ)",
    )  # fmt: skip
    options = {"notice": notice, "method": METHOD, "explanation": EXPLANATION}
    return pages.layout(TITLE, QUESTION, [*widgets.values(), download], [images, curve, table], **options)


def draw(frame, loss, theme):
    growth = study.growth()
    numbers = {
        f"accuracy on {arm} after {int(growth.loops[frame])} networks": float(v[frame])
        for arm, v in growth.accuracy.items()
    }
    return (
        figures.growing(growth, loss, frame, theme=theme),
        figures.learning(growth, frame, theme=theme),
        numbers | {"images in the set": growth.images[loss].shape[1]},
    )


def packed(loss, frame) -> io.BytesIO:
    """A frame as the file that ``SyntheticSet.load`` reads."""
    growth = study.growth()
    images = growth.images[loss][frame].float() / 255
    y = torch.arange(len(growth.classes)).repeat_interleave(len(images) // len(growth.classes))
    file = io.BytesIO()
    SyntheticSet(images, y, method=loss, classes=growth.classes).save(file)
    file.seek(0)
    return file
