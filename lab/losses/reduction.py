r"""What all classification losses of the room share: class weights, ignored labels and the reduction over rows.

With rows i = 1..N, class weights w and kept rows K = {i : y_i != ignore_index}, the reductions of row losses l_i are those of
``torch.nn.functional.cross_entropy``:

.. math:: \text{none: } w_{y_i} l_i \; (0 \text{ where ignored}), \quad \text{sum: } \sum_{i \in K} w_{y_i} l_i, \quad
          \text{mean: } \frac{\sum_{i \in K} w_{y_i} l_i}{\sum_{i \in K} w_{y_i}}

The mean over no rows (an empty batch, or all of it ignored) is 0 with zero gradients, so that such a batch changes nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int

from lab import checks
from lab.kernels import RowLoss, rowloss

REDUCTIONS = ("mean", "sum", "none")


def row_losses(
    logits: Float[torch.Tensor, "n classes *space"],
    target: Int[torch.Tensor, n *space],
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
    checks.choice("reduction", reduction, REDUCTIONS)
    logits = checks.tensor("logits", logits, floating=True, empty=True, finite=False)
    target = checks.tensor("target", target, empty=True)
    if logits.ndim < 2:
        raise ValueError(f"logits must have classes on axis 1, got shape {tuple(logits.shape)}")
    if weight is not None:
        weight = checks.tensor("weight", weight, shape=(logits.shape[1],))
        if bool((weight < 0).any()):
            raise ValueError(f"weight must not be negative, got a smallest value of {float(weight.min()):.6g}")
        weight = weight.to(logits)
    if target.is_floating_point() or target.dtype == torch.bool:
        raise TypeError(f"target must hold integer labels, got {target.dtype}")
    wanted = (logits.shape[0], *logits.shape[2:])
    if tuple(target.shape) != wanted:
        raise ValueError(f"target must have shape {wanted} (logits without axis 1), got {tuple(target.shape)}")
    if target.numel() == 0:
        zero = logits.sum()
        return zero if reduction != "none" else logits.sum(1)
    kept = target != ignore_index
    everything = bool(kept.all())
    safe = target if everything else torch.where(kept, target, 0)
    values = rowloss(logits, safe, loss, temperature=temperature)
    factor = None if weight is None else weight[safe]
    if not everything:
        factor = kept.to(values.dtype) if factor is None else factor * kept
    if factor is not None:
        values = torch.where(factor > 0, values * factor, torch.zeros_like(values))
    if reduction == "none":
        return values
    total = values.sum()
    if reduction == "sum":
        return total
    count = values.numel() if factor is None else factor.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return total / count
