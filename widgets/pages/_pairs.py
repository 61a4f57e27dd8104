"""What the pages about a prediction and its label share: the files of a visitor, classes, numbers by dimension."""

from __future__ import annotations

import numpy as np
import panel as pn
import torch

from lab import topology
from lab.datasets import ImageSet
from lab.datasets.grids import Placed, aligned
from lab.topology.images import comparison
from lab.wording import counted
from widgets.server import uploads

VARIANTS = ("mixed", "boundary", "islands", "holes", "breaks", "bridges")


class Own:
    """A value that is compared by identity, so that results for it can be remembered."""

    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return id(self.value)

    def __eq__(self, other):
        return self.value is other.value


def files(*kinds: str) -> dict[str, uploads.Upload]:
    """The controls for the visitor's prediction and label; with the kind ``"channels"`` one channel a class is taken too."""
    several = "s" if "channels" in kinds else ""
    return {
        f"own_{role}": uploads.Upload(role.capitalize(), kinds=kinds, role=role + several)
        for role in ("prediction", "label")
    }


def choices(names, value: str) -> dict[str, pn.widgets.Widget]:
    """The controls that choose a pair: which, with what errors, which class."""
    return {
        names[0]: pn.widgets.Select(label=names[0].capitalize(), options=list(names[1]), value=value),
        "variant": pn.widgets.Select(
            label="Errors in the prediction (at equal Dice)", options=list(VARIANTS), value="mixed"
        ),
        "label_id": pn.widgets.IntInput(label="Label class (0 = all foreground)", start=0, end=10**6, value=0),
    }


def own_pair(prediction, label):
    """Prediction and label of a visitor as tensors, or ``None`` where there is neither file.

    Raises:
        ValueError: one of the two is missing; volumes of other sizes, directions, spacings or origins.
    """
    if prediction is None and label is None:
        return None
    if prediction is None or label is None:
        missing = "prediction" if prediction is None else "label"
        raise ValueError(f"the {missing} file is still missing; both files must have the same size")
    found = {"prediction": _placed(prediction), "label": _placed(label)}
    if any(one.affine is not None for one in found.values()):
        aligned(found, turn=False)
    return found["prediction"].values.float(), found["label"].values


def _placed(file) -> Placed:
    return Placed(torch.as_tensor(file.data), affine=np.asarray(file.affine, float) if file.affine else None)


def with_errors(data: ImageSet, name: str, variant: str):
    """The prediction of ``data`` that has errors of one kind.

    Raises:
        ValueError: its label leaves no room for them.
    """
    if variant not in data.predictions:
        raise ValueError(
            f"{variant} errors cannot be placed in the label of {name}; available: {', '.join(data.predictions)}"
        )
    return data.predictions[variant]


def numbers(prediction, label, found, threshold) -> list[dict]:
    """One row a dimension: what is matched, and the errors of the thresholded prediction."""
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


def metrics(rows: list[dict], prediction, label, threshold) -> dict[str, float]:
    """The thresholded prediction against its label in four numbers; ``rows`` are those of :func:`numbers`."""
    mask = prediction >= threshold
    return {
        "Dice": comparison.dice(mask, label),
        "clDice": comparison.cldice(mask, label),
        "matching error": sum(row["matching error of the mask"] for row in rows),
        "Betti number error": sum(row["Betti number error of the mask"] for row in rows),
    }


def answer(frames) -> str:
    """The comparison in words, from the tables of :func:`numbers` and :func:`metrics`."""
    rows = frames[0].to_dict("records")
    metrics = dict(zip(frames[-1]["quantity"], frames[-1]["value"]))

    def features(where):
        return (
            " and ".join(counted(int(row[where]), _ONE[row["features"]]) for row in rows if _any(row)) or "no features"
        )

    unmatched = int(metrics["matching error"])
    verdict = (
        "every one matched at the same place"
        if not unmatched
        else f"{counted(unmatched, 'feature')} without a counterpart at the same place"
    )
    return f"At Dice {metrics['Dice']:.3f} the mask has {features('in the mask')}, the label {features('in the label')}: {verdict}."


_ONE = {"components": "component", "loops": "loop", "cavities": "cavity"}


def _any(row) -> bool:
    return row["in the mask"] > 0 or row["in the label"] > 0 or row["features"] == "components"
