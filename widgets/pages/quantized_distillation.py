"""Quantized distillation, interactively: how few bits a student's weights can have."""

import numpy as np
import panel as pn

from lab.compression.studies import quantized_distillation as study
from widgets import pages
from widgets.figures import compression as figures

TITLE, ROUTE, METHOD = "Quantized distillation", "quantized-distillation", "quantized_distillation"
QUESTION = "How few bits can a weight have before the student forgets what the teacher taught it?"
EXPLANATION = (
    "A teacher of two wide layers learned from clean labels; the students see the same digits with 40 % of the labels redrawn. "
    "*Distilled* students compute with quantized weights while they train and follow the teacher; *no teacher* has labels only; "
    "*rounded afterwards* is the full-precision student, quantized once at the end."
)


def build(state: dict) -> pn.viewable.Viewable:
    widgets = {"bits": pn.widgets.IntSlider(label="Bits a weight", start=1, end=8, value=study.Setting.of().low)}
    pages.sync(widgets, state)
    curve, histogram, table = pages.plot(label="accuracy over bits"), pages.plot(label="weights"), pages.numbers()
    notice = pages.react(widgets, draw, curve, histogram, table)
    options = {"notice": notice, "method": METHOD, "explanation": EXPLANATION}
    return pages.layout(TITLE, QUESTION, widgets, [pages.row(curve, histogram), table], **options)


def draw(bits, theme):
    found = study.by_bits()
    plain, coded = (int(one) for one in found["bytes"][bits - 1])
    numbers = {
        **{f"accuracy, {arm}": float(value) for arm, value in zip(found["arms"], found["accuracy"][bits - 1])},
        "accuracy of the teacher": float(found["teacher"]),
        "bytes of the student": plain,
        "bytes, Huffman coded": coded,
        "times smaller than the teacher": round(float(found["teacher_bytes"]) / coded),
    }
    weights = found["weights"][bits - 1].astype(np.float32)
    return (
        figures.over_bits(found, bits, theme=theme),
        figures.levels(found["whole"].astype(np.float32), weights, theme=theme),
        numbers,
    )
