"""VolumeExplorer: the matching of your own predicted volume and label, explored interactively."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
import torch

from lab import checks, topology
from lab.topology.images import convention
from widgets.figures.topology import volumes as figures
from widgets.jupyter.explorer import Explorer

_WIDTH = {"width": "340px"}
_STYLE = {"description_width": "130px"}
_SHOWN = {
    "unmatched": figures.KINDS[1:],
    "unmatched in prediction": figures.KINDS[1:2],
    "unmatched in label": figures.KINDS[2:],
    "matched": figures.KINDS[:1],
    "all": figures.KINDS,
}
_DIMENSIONS = {"all": (0, 1, 2), "components": (0,), "loops": (1,), "cavities": (2,)}


class VolumeExplorer(Explorer):
    """Features of one pair of volumes in space and on three linked planes.

    ::

        VolumeExplorer(prediction, label, spacing=(2, 1, 1))      # the last expression of a cell

    Clicking into a plane moves the other two; the feature that is lit up takes them along.

    Args:
        prediction: probabilities (depth, height, width), numpy or torch.
        label: mask or class ids of the same shape; with ids a control chooses the class.
        image: the volume shown on the planes; the prediction if ``None``.
        spacing: lengths of a voxel along the three axes; pictures follow it, the matching does not.
        affine: (4, 4) voxel-to-world matrix of a NIfTI file; it names the directions.
        border: ``None`` or ``"foreground"``.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: shapes differ, not three axes, NaN, infinite values, a spacing that is not positive.
    """

    def __init__(
        self,
        prediction,
        label,
        *,
        image=None,
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
        affine=None,
        border: str | None = None,
        theme: str = "light",
    ):
        self.prediction = convention.image("prediction", prediction, ndim=3)
        self.label = convention.image("label", label, ndim=3)
        checks.same_shape("prediction", self.prediction, "label", self.label)
        self.image = self.prediction if image is None else convention.image("image", image, ndim=3)
        checks.same_shape("prediction", self.prediction, "image", self.image)
        self.spacing, self.affine, self.border, self.theme = tuple(spacing), affine, border, theme
        if len(self.spacing) != 3 or not all(float(length) > 0 for length in self.spacing):
            raise ValueError(f"spacing must be three positive lengths, got {self.spacing}")
        self._found: dict = {}
        self._scenes: dict = {}
        ids = [int(i) for i in torch.unique(self.label.long()).tolist() if i > 0]
        controls = {
            "threshold": ipywidgets.FloatSlider(
                value=0.5,
                min=0.01,
                max=0.99,
                step=0.01,
                description="Threshold",
                continuous_update=False,
                layout=_WIDTH,
                style=_STYLE,
            ),
            "compare": _choice("Compare", ("probabilities", "mask at the threshold")),
            "show": _choice("Features", tuple(_SHOWN)),
            "dimension": _choice("Dimension", tuple(_DIMENSIONS)),
            "min_length": ipywidgets.FloatSlider(
                value=0.2,
                min=0.0,
                max=1.0,
                step=0.01,
                description="Min. persistence",
                continuous_update=False,
                layout=_WIDTH,
                style=_STYLE,
            ),
            "feature": ipywidgets.BoundedIntText(
                value=0, min=0, max=1000, description="Feature", layout=_WIDTH, style=_STYLE
            ),
        }
        for name, which in zip(("axial", "coronal", "sagittal"), figures.planes(affine)):
            last = self.prediction.shape[which.axis] - 1
            controls[name] = ipywidgets.IntSlider(
                value=last // 2,
                min=0,
                max=last,
                description=f"{name.capitalize()} plane",
                continuous_update=False,
                layout=_WIDTH,
                style=_STYLE,
            )
        if len(ids) > 1:
            controls["label_id"] = _choice("Class", [("any", 0), *((str(i), i) for i in ids)])
        super().__init__("Betti matching in 3-D", controls, self._draw_all)
        controls["feature"].observe(self._go_to_feature, names="value")
        self._listen()

    @property
    def matching(self) -> topology.Matching:
        """The matching at the present controls."""
        return self._case(self.values)[1]

    def _case(self, values):
        cut = values["threshold"] if values["compare"] != "probabilities" else None
        key = (cut, values.get("label_id", 0))
        if key not in self._found:
            label = self.label > 0 if key[1] == 0 else self.label == key[1]
            prediction = self.prediction if cut is None else (self.prediction >= cut).float()
            self._found[key] = label, topology.match(prediction, label, border=self.border)
        return self._found[key]

    def _scene(self, values):
        label, found = self._case(values)
        key = (id(found), values["show"], values["dimension"], values["min_length"])
        if key not in self._scenes:
            self._scenes[key] = figures.scene(
                found,
                spacing=self.spacing,
                affine=self.affine,
                kinds=_SHOWN[values["show"]],
                dimensions=_DIMENSIONS[values["dimension"]],
                min_length=values["min_length"],
            )
        return label, self._scenes[key]

    def _draw_all(self, values):
        label, shown = self._scene(values)
        common = {"highlight": values["feature"], "threshold": values["threshold"], "theme": self.theme}
        which = figures.planes(self.affine)
        at = [0, 0, 0]
        for plane in which:
            at[plane.axis] = values[plane.name]
        return [
            figures.view(shown, **common),
            *(figures.plane(shown, self.image, plane, at, **common) for plane in which),
            figures.by_dimension(self.prediction, label, threshold=values["threshold"]).reset_index(),
            figures.listing(shown),
        ]

    def _listen(self):
        for place in (1, 2, 3):
            for trace in self.figures[place].data:
                if trace.type == "heatmap":
                    trace.on_click(lambda _, points, __, place=place: self._move(place, points))

    def _changed(self, event):
        super()._changed(event)
        self._listen()

    def _move(self, place, points):
        if not points.xs:
            return
        for name, length, extent in zip(*self._targets(place), (points.xs[0], points.ys[0])):
            self.controls[name].value = round(extent / length)

    def _targets(self, place):
        plane = figures.planes(self.affine)[place - 1]
        others = {other.axis: other.name for other in figures.planes(self.affine)}
        return [others[plane.across], others[plane.up]], [self.spacing[plane.across], self.spacing[plane.up]]

    def _go_to_feature(self, change):
        shown = self._scene(self.values)[1]
        if 0 < change["new"] <= len(shown.features):
            at = figures.place_of(shown.named(change["new"]), shown.found.shape)
            for plane in figures.planes(self.affine):
                self.controls[plane.name].value = at[plane.axis]


def _choice(words, options):
    return ipywidgets.Dropdown(options=options, description=words, layout=_WIDTH, style=_STYLE)
