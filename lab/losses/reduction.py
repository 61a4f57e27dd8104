r"""What all classification losses of the room share: class weights, ignored labels and the reduction over rows.

With rows i = 1..N, class weights w and kept rows K = {i : y_i != ignore_index}, the reductions of row losses l_i are those of
``torch.nn.functional.cross_entropy``:

.. math:: \text{none: } w_{y_i} l_i \; (0 \text{ where ignored}), \quad \text{sum: } \sum_{i \in K} w_{y_i} l_i, \quad
          \text{mean: } \frac{\sum_{i \in K} w_{y_i} l_i}{\sum_{i \in K} w_{y_i}}

The mean over no rows (an empty batch, or all of it ignored) is 0 with zero gradients, so that such a batch changes nothing.

Scores must be finite, in ignored rows too; a class that is out of the question gets a large negative score, not -infinity.
Scores of float16 and bfloat16 are read as float32, in which the loss is computed and returned, with autocast or without;
their gradient has their own dtype.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int

from lab import checks
from lab.kernels import RowLoss, rowloss
from lab.kernels.precision import wide
from lab.kernels.rowloss.public import refuse_overflow

REDUCTIONS = ("mean", "sum", "none")


def row_losses(
    logits: Float[torch.Tensor, "n classes *space"],
    target: Int[torch.Tensor, " n *space"],
    loss: RowLoss,
    *,
    temperature: float | torch.Tensor = 1.0,
    weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> torch.Tensor:
    """Losses of one member of the row-loss family, reduced.

    Args:
        logits: scores (N, C) or (N, C, H, W, ...), classes on axis 1.
        target: integer labels of the shape of ``logits`` without axis 1; rows with ``ignore_index`` do not count.
        loss: a member such as ``lab.kernels.comp_sum(tau)``.
        temperature: one number or one per row.
        weight: one factor per class, shape (C,), or ``None``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError, TypeError: as :func:`lab.kernels.rowloss`; weights of the wrong length or below zero.
    """
    refuse_overflow(logits, loss)
    rows = counted_rows(logits, target, weight=weight, ignore_index=ignore_index, reduction=reduction, finite=False)
    if rows.target.numel() == 0:
        return rows.nothing()
    return rows.reduced(rowloss(rows.logits, rows.target, loss, temperature=temperature))


@dataclass(frozen=True)
class Rows:
    """Checked scores and labels of a batch, and how much each row counts; no scores in half precision.

    ``target`` holds a valid label everywhere (0 where the row is ignored); ``factor`` is one weight a row in the shape of
    ``target``, or ``None`` where all rows count alike.
    """

    logits: torch.Tensor
    target: torch.Tensor
    factor: torch.Tensor | None
    reduction: str

    def reduced(self, values: torch.Tensor) -> torch.Tensor:
        """``values``, one a row in the shape of ``target``, by the formulas of the module."""
        factor = self.factor
        if factor is not None:
            values = torch.where(factor > 0, values * factor, torch.zeros_like(values))
        if self.reduction == "none":
            return values
        total = values.sum()
        if self.reduction == "sum":
            return total
        count = values.numel() if factor is None else factor.sum().clamp_min(torch.finfo(values.dtype).tiny)
        return total / count

    def nothing(self) -> torch.Tensor:
        """The loss of a batch without rows: zero, or an empty tensor for ``"none"``."""
        return self.logits.sum() if self.reduction != "none" else self.logits.sum(1)

    def scores(self) -> tuple[Float[torch.Tensor, "rows classes"], Int[torch.Tensor, " rows"]]:
        """Scores and labels with all positions side by side."""
        z = self.logits
        return z.movedim(1, -1).reshape(-1, z.shape[1]), self.target.reshape(-1)

    def placed(self, values: Float[torch.Tensor, " rows"]) -> torch.Tensor:
        """One value a row of :meth:`scores` back in the shape of the labels, reduced."""
        return self.reduced(values.reshape(self.target.shape))


def counted_rows(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    finite: bool = True,
) -> Rows:
    """Check what every classification loss is given, before any work; arguments as :func:`row_losses`.

    ``finite=False`` leaves the search for NaN and infinite scores to the caller.

    Raises:
        ValueError, TypeError: an unknown reduction, scores that are not real floating numbers with at least two classes on
            axis 1, labels of another shape, not integers or outside [0, classes), weights of the wrong length or below zero.
    """
    checks.choice("reduction", reduction, REDUCTIONS)
    logits = wide(checks.tensor("logits", logits, floating=True, empty=True, finite=finite))
    target = checks.tensor("target", target, empty=True)
    if logits.ndim < 2:
        raise ValueError(f"logits must have classes on axis 1, got shape {tuple(logits.shape)}")
    if weight is not None:
        weight = checks.tensor("weight", weight, shape=(logits.shape[1],))
        if bool((weight < 0).any()):
            raise ValueError(f"weight must not be negative, got a smallest value of {float(weight.min()):.6g}")
        weight = weight.to(logits)
    target = whole("target", target)
    wanted = (logits.shape[0], *logits.shape[2:])
    if tuple(target.shape) != wanted:
        raise ValueError(f"target must have shape {wanted} (logits without axis 1), got {tuple(target.shape)}")
    if target.numel() == 0:
        return Rows(logits, target, None, reduction)
    if logits.shape[1] < 2:
        raise ValueError(f"logits must have at least 2 classes on axis 1, got shape {tuple(logits.shape)}")
    kept = target != ignore_index
    everything = bool(kept.all())
    safe = target if everything else torch.where(kept, target, 0)
    low, high = torch.aminmax(safe)
    if int(low) < 0 or int(high) >= logits.shape[1]:
        raise ValueError(f"target must lie in [0, {logits.shape[1]}), got values from {int(low)} to {int(high)}")
    factor = None if weight is None else weight[safe]
    if not everything:
        factor = kept.to(logits.dtype) if factor is None else factor * kept
    return Rows(logits, safe, factor, reduction)


def whole(name: str, labels: torch.Tensor) -> torch.Tensor:
    """``labels`` as int64, so that no comparison with another integer wraps around.

    Raises:
        TypeError: floating or boolean labels. ValueError: unsigned ones beyond the range of int64.
    """
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"{name} must hold integer labels, got {labels.dtype}")
    wider = labels.long()
    if labels.dtype == torch.uint64 and wider.numel() and int(wider.min()) < 0:
        raise ValueError(f"{name} must hold labels below 2^63, got larger ones in {labels.dtype}")
    return wider


def class_labels(target: torch.Tensor, rows: int, classes: int) -> Int[torch.Tensor, " rows"]:
    """Integer labels of ``rows`` rows in [0, classes), for functions that know neither pixels nor ignored rows.

    Raises:
        ValueError, TypeError: another shape, labels that are not integers or out of range.
    """
    target = whole("target", checks.tensor("target", target, shape=(rows,), empty=True))
    if rows and not 0 <= int(target.min()) <= int(target.max()) < classes:
        raise ValueError(
            f"target must lie in [0, {classes}), got values from {int(target.min())} to {int(target.max())}"
        )
    return target
