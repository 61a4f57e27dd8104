r"""Betti matching beside the measures it is compared with, in one row.

- Dice :math:`2 |P \cap L| / (|P| + |L|)`: overlap.
- clDice: harmonic mean of the share of the prediction's skeleton inside the label and of the label's skeleton inside
  the prediction (Suprosanna Shit et al., 'clDice: a Novel Topology-Preserving Loss Function for Tubular Structure
  Segmentation', CVPR 2021, equation 1).
- Betti number error and Betti matching error (:mod:`lab.topology.images.convention.metric`), summed over dimensions.
- Wasserstein: twice the squared 2-Wasserstein distance of the barcodes (:mod:`lab.topology.images.convention.wasserstein_loss`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from lab import checks
from lab.topology.images import convention
from lab.topology.images.barcodes import barcode
from lab.topology.images.matching import match
from lab.topology.images.metric import matching_error, probabilities
from lab.topology.images.wasserstein_loss import wasserstein_cost, wasserstein_pairs
from lab.training.metrics import dice as dice

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Companions:
    """All measures of one prediction against one label; errors summed over dimensions."""

    dice: float
    cldice: float
    betti_number_error: int
    matching_error: int
    betti_matching_loss: float
    wasserstein: float


def companions(prediction, label, *, threshold: float = 0.5) -> Companions:
    """Measure one prediction (probabilities) against one label (mask or ids, positive is foreground).

    Raises:
        ValueError: shapes differ, NaN, infinite values, wrong number of axes, a prediction that is not in [0, 1] (8-bit grey values
            are divided by 255), a label that is not whole.
    """
    prediction, label = convention.image("prediction", prediction, ndim=(2, 3)), convention.image("label", label)
    checks.same_shape("prediction", prediction, "label", label)
    prediction = probabilities("prediction", prediction)
    errors = matching_error(prediction, label, threshold=threshold)
    wanted = (label > 0).to(torch.float64)
    return Companions(
        dice(prediction >= threshold, label > 0),
        cldice(prediction >= threshold, label > 0),
        sum(errors.betti_number_error),
        errors.total,
        float(match(prediction, wanted).loss()),
        float(wasserstein_cost(barcode(prediction), barcode(wanted))),
    )


def table(predictions: Mapping[str, object], label, *, threshold: float = 0.5) -> pd.DataFrame:
    """One row of :func:`companions` for each named prediction of the same label."""
    import pandas as pd

    rows = {
        name: asdict(companions(prediction, label, threshold=threshold)) for name, prediction in predictions.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def cldice(prediction, label) -> float:
    """clDice of two masks; 1 if both are empty, 0 if one is."""
    from skimage.morphology import skeletonize

    prediction, label = checks.tensor("prediction", prediction) > 0, checks.tensor("label", label) > 0
    checks.same_shape("prediction", prediction, "label", label)
    one, two = prediction.cpu().numpy(), label.cpu().numpy()
    if not one.any() or not two.any():
        return float(one.any() == two.any())
    bones_one, bones_two = skeletonize(one), skeletonize(two)
    precision, recall = two[bones_one].mean(), one[bones_two].mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


@dataclass(frozen=True)
class Placement:
    """How many of a matching's pairs lie in the same place, by kind of matching."""

    induced: int
    induced_apart: int
    wasserstein: int
    wasserstein_apart: int

    @property
    def induced_share(self) -> float:
        """Share of induced pairs that lie apart; 0 where there are none."""
        return self.induced_apart / max(1, self.induced)

    @property
    def wasserstein_share(self) -> float:
        """Share of Wasserstein pairs that lie apart; 0 where there are none."""
        return self.wasserstein_apart / max(1, self.wasserstein)


def placement(prediction, label, *, partners_of=None) -> Placement:
    """Count the pairs of both matchings whose two features have no voxel in common.

    A component is its voxels just before it dies, a hole is its outline and what it encloses; the label is binarized.
    ``partners_of`` maps the induced matching to the one that is counted in its place.
    """
    prediction, label = convention.image("prediction", prediction, ndim=2), convention.image("label", label)
    checks.same_shape("prediction", prediction, "label", label)
    wanted = (label > 0).to(torch.float64)
    found = match(prediction, wanted) if partners_of is None else partners_of(match(prediction, wanted))
    ours, theirs = barcode(prediction), barcode(wanted)
    counts = [0, 0, 0, 0]
    for d in found.dimensions:
        pairs = list(found.matched[d])
        counts[0] += len(pairs)
        counts[1] += sum(not _meet(prediction, one, wanted, two) for one, two in pairs)
        pairs = [(ours[d][int(i)], theirs[d][int(j)]) for i, j in wasserstein_pairs(ours[d], theirs[d])]
        counts[2] += len(pairs)
        counts[3] += sum(not _meet(prediction, one, wanted, two) for one, two in pairs)
    return Placement(*counts)


def _meet(prediction, one, label, two) -> bool:
    from lab.topology.images.cycles import cycle

    first, second = cycle(prediction, one), cycle(label, two)
    mask = first.mask().view(-1)
    mask[first.inside] = True
    return bool(mask[torch.cat([second.voxels, second.inside])].any())
