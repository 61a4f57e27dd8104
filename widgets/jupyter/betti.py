"""BettiExplorer: the matching of your own prediction and label, explored interactively."""

from __future__ import annotations

import ipywidgets
import torch

from lab import topology
from lab.topology.images import convention
from lab.topology.images.barcodes import NAMES
from lab.topology.images.classes import classes, one_class
from widgets.figures.topology import betti as figures
from widgets.jupyter.explorer import Explorer

_WIDTH = {"width": "340px"}
_STYLE = {"description_width": "130px"}


class BettiExplorer(Explorer):
    """Overlay, barcodes and gradient of one pair of images; sliders for threshold and shortest bar.

    ::

        BettiExplorer(prediction, label)                      # the last expression of a cell

    Clicking a bar lights up its feature in the image.

    Args:
        prediction: probabilities (height, width), or (classes, height, width) of several classes (see
            :mod:`lab.topology.images.convention.classes`), numpy or torch; axes of length 1 are dropped.
        label: mask or class ids (height, width), or masks (classes, height, width); with several classes a control chooses
            one.
        image: the picture to draw on; the prediction if ``None``.
        border: ``None`` or ``"foreground"``.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: shapes differ, more than two axes, NaN, infinite values.
    """

    def __init__(self, prediction, label, *, image=None, border: str | None = None, theme: str = "light"):
        self.prediction = convention.image("prediction", prediction, ndim=(2, 3, 4)).squeeze()
        self.label = convention.image("label", label, ndim=(2, 3, 4)).squeeze()
        if self.prediction.ndim not in (2, 3):
            raise ValueError(
                f"prediction must have 2 axes, or 3 with classes first, got {tuple(self.prediction.shape)}"
            )
        one_class(self.prediction, self.label)  # refuses what is no pair
        self.image = None if image is None else convention.image("image", image, ndim=(2, 3)).squeeze()
        self.border, self.theme, self.highlight = border, theme, None
        self._found: dict[int, tuple] = {}
        ids = classes(self.prediction, self.label)
        controls = {
            "threshold": _slider("Threshold", 0.01, 0.99, 0.5),
            "min_length": _slider("Min. persistence", 0.0, 1.0, 0.2),
        }
        if len(ids) > 1 or self.prediction.ndim == 3:
            options = [("any", 0), *((str(i), i) for i in ids)]
            controls["label_id"] = ipywidgets.Dropdown(options=options, value=0, description="Class", layout=_WIDTH)
        super().__init__("Betti matching", controls, self._figures)
        self._listen()

    def _listen(self):
        for trace in self.figures[1].data:
            trace.on_click(self._clicked)

    def _changed(self, event):
        super()._changed(event)
        self._listen()

    @property
    def matching(self) -> topology.Matching:
        """The matching at the present controls."""
        return self._case(self.values.get("label_id", 0))[0]

    def _case(self, label_id):
        if label_id not in self._found:
            prediction, label = one_class(self.prediction, self.label, label_id)
            found = topology.match(prediction, label, border=self.border)
            x = prediction.detach().to(torch.float64).requires_grad_()
            (pull,) = torch.autograd.grad(topology.match(x, label, border=self.border).loss(), x)
            self._found[label_id] = (found, label, pull)
        return self._found[label_id]

    def _figures(self, values):
        found, label, pull = self._case(values.get("label_id", 0))
        errors = topology.matching_error(found.prediction, label, threshold=values["threshold"], border=self.border)
        counts = found.counts()
        rows = [
            {
                "features": NAMES[d],
                **{column: int(counts.iloc[d][column]) for column in counts.columns},
                "matching error of the mask": errors.error[d],
                "Betti number error of the mask": errors.betti_number_error[d],
            }
            for d in found.dimensions
        ]
        length = values["min_length"]
        return [
            figures.overlay(
                found,
                image=self.image,
                threshold=values["threshold"],
                min_length=length,
                highlight=self.highlight,
                theme=self.theme,
            ),
            figures.barcodes(found, min_length=length, highlight=self.highlight, theme=self.theme),
            figures.gradient(found.prediction, pull, theme=self.theme),
            rows,
        ]

    def _clicked(self, trace, points, _):
        if not points.point_inds:
            return
        custom = trace.customdata[points.point_inds[0]]
        if custom is None or custom[0] is None:
            return
        side, d, birth, death = custom
        for bars in (getattr(self.matching.matched[d], side), getattr(self.matching, f"unmatched_{side}")[d]):
            for bar in bars:
                if bar.birth_voxel == birth and bar.death_voxel == death:
                    self.highlight = bar
        self._changed(None)


def _slider(words, low, high, value):
    return ipywidgets.FloatSlider(
        value=value,
        min=low,
        max=high,
        step=0.01,
        description=words,
        continuous_update=False,
        layout=_WIDTH,
        style=_STYLE,
    )
