r"""Matching by barcodes alone: the cheapest pairing of bars, wherever their features lie.

The pairing minimizes :math:`\sum_{\text{matched}} |\beta - \beta'|^2 + \sum_{\text{unmatched}} |\beta - \Delta|^2`, the
squared 2-Wasserstein distance of the barcodes, :math:`|\beta - \Delta|^2 = (b - e)^2 / 2`. It knows values and no
places: with a binary label all bars of a dimension are equal, and any of them may be paired with any feature of the
prediction.

Source: Xiaoling Hu, Fuxin Li, Dimitris Samaras, Chao Chen, 'Topology-Preserving Deep Image Segmentation', NeurIPS 2019,
section 3.2 (there on patches; the pairing of short bars there is the same).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab import checks
from lab.kernels.precision import wide
from lab.topology.eager import eager
from lab.topology.images import convention
from lab.topology.images.barcodes import Barcode, Bars, barcode
from lab.topology.persistence.distances import refuse_memory


def wasserstein_pairs(prediction: Bars, label: Bars) -> np.ndarray:
    """Rows (bar of the prediction, bar of the label) of the cheapest pairing; bars in no row are unmatched."""

    from scipy.optimize import linear_sum_assignment

    ours = np.stack([each.detach().double().cpu().numpy() for each in (prediction.birth, prediction.death)], 1)
    theirs = np.stack([each.detach().double().cpu().numpy() for each in (label.birth, label.death)], 1)
    if len(ours) == 0 or len(theirs) == 0:
        return np.empty((0, 2), np.int64)
    refuse_memory(
        "the cheapest pairing", 40 * len(ours) * len(theirs), f"the pairs of {len(ours)} and {len(theirs)} bars"
    )
    alone = [(each[:, 0] - each[:, 1]) ** 2 / 2 for each in (ours, theirs)]
    gain = ((ours[:, None] - theirs[None]) ** 2).sum(2) - alone[0][:, None] - alone[1][None]
    rows, columns = linear_sum_assignment(np.minimum(gain, 0.0))
    kept = gain[rows, columns] < 0
    return np.stack([rows[kept], columns[kept]], 1)


def wasserstein_cost(prediction: Barcode, label: Barcode) -> Tensor:
    """Twice the squared 2-Wasserstein distance, summed over dimensions: on the scale of the Betti matching loss."""
    total: Any = 0.0
    for d in range(len(prediction)):
        ours, theirs = prediction[d], label[d]
        pairs = torch.from_numpy(wasserstein_pairs(ours, theirs))
        one, two = pairs.unbind(1)
        total = (
            total + 2 * ((ours.birth[one] - theirs.birth[two]) ** 2 + (ours.death[one] - theirs.death[two]) ** 2).sum()
        )
        for bars, matched in ((ours, one), (theirs, two)):
            keep = torch.ones(len(bars), dtype=torch.bool)
            keep[matched] = False
            total = total + ((bars.birth[keep] - bars.death[keep]) ** 2).sum()
    return total


class WassersteinMatchingLoss(nn.Module):
    """The loss of the cheapest pairing: what Betti matching is compared with.

    Args:
        sigmoid: the input holds logits.
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` for (batch, classes).

    Shapes: input and target (batch, classes, axes...); the loss is in float32 for float16 and bfloat16.

    Raises:
        ValueError: shapes differ, NaN or infinite values, an unknown reduction, more bars than the memory left holds
            pairs of.
    """

    def __init__(self, *, sigmoid: bool = False, reduction: str = "mean"):
        super().__init__()
        self.sigmoid = bool(sigmoid)
        self.reduction = checks.choice("reduction", reduction, ("mean", "sum", "none"))

    @eager
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        input = checks.tensor("input", input, ndim=(3, 4, 5), floating=True)
        target = checks.tensor("target", target).detach()
        convention.refuse_axes("input", input.shape)
        checks.same_shape("input", input, "target", target)
        convention.refuse_target(target)
        x = wide(input)
        x = (x.sigmoid() if self.sigmoid else x).flatten(0, 1)
        costs = [wasserstein_cost(barcode(one), barcode(two)) for one, two in zip(x, target.to(x.dtype).flatten(0, 1))]
        each = torch.stack(costs).reshape(input.shape[:2])
        return each if self.reduction == "none" else each.mean() if self.reduction == "mean" else each.sum()
