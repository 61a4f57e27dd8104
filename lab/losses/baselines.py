r"""Losses that comparisons need beside those of the room's papers; arguments as ``torch.nn.CrossEntropyLoss`` beside their own.

With the softmax p of the scores z and label y of K classes:

- symmetric cross-entropy a CE + b RCE, the reverse term with log 0 := A (Y. Wang et al., ICCV 2019, equation (6));
- focal loss -(1 - p_y)^gamma log p_y (T.-Y. Lin et al., ICCV 2017, equation (5));
- label smoothing (1 - e) CE + e/K sum_k -log p_k (C. Szegedy et al., CVPR 2016, Section 7);
- the multi-class margin 1/K sum_{k != y} max(0, m - z_y + z_k) (J. Weston, C. Watkins, ESANN 1999, equation (3)).

All take scores (N, C) or (N, C, ...space), class weights, ignored labels and half precision, which is computed in single.
"""

from __future__ import annotations

import torch
from torch import nn

from lab import checks
from lab.losses.reduction import REDUCTIONS, counted_rows


class _RowLoss(nn.Module):
    """Weights, ignored labels and reduction of a loss of single rows, which :meth:`rows` computes."""

    def __init__(self, weight: torch.Tensor | None, ignore_index: int, reduction: str):
        super().__init__()
        self.reduction = checks.choice("reduction", reduction, REDUCTIONS)
        self.ignore_index = checks.integer("ignore_index", ignore_index)
        self.register_buffer("weight", None if weight is None else checks.tensor("weight", weight, ndim=1))

    def rows(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Losses of scores (N, C) with labels (N,)."""
        raise NotImplementedError

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        found = counted_rows(
            logits, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )
        return found.placed(self.rows(*found.scores())) if found.target.numel() else found.nothing()


class SymmetricCrossEntropyLoss(_RowLoss):
    """alpha * cross-entropy + beta * reverse cross-entropy, the log of a zero label probability set to ``floor``."""

    def __init__(
        self, alpha: float = 0.1, beta: float = 1.0, floor: float = -4.0, *, weight: torch.Tensor | None = None,
        ignore_index: int = -100, reduction: str = "mean",
    ):
        super().__init__(weight, ignore_index, reduction)
        self.alpha = checks.number("alpha", alpha, low=0.0)
        self.beta = checks.number("beta", beta, low=0.0)
        self.floor = checks.number("floor", floor, high=0.0)

    def rows(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        log_p = torch.log_softmax(logits, 1).gather(1, target[:, None])[:, 0]
        # sum over k != y of -p_k * floor
        return -self.alpha * log_p - self.beta * self.floor * -torch.expm1(log_p)


class FocalLoss(_RowLoss):
    """-(1 - p_y)^gamma log p_y."""

    def __init__(
        self, gamma: float = 2.0, *, weight: torch.Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
    ):
        super().__init__(weight, ignore_index, reduction)
        self.gamma = checks.number("gamma", gamma, low=0.0)

    def rows(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        log_p = torch.log_softmax(logits, 1).gather(1, target[:, None])[:, 0]
        rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        return -rest.pow(self.gamma) * log_p


class LabelSmoothingLoss(_RowLoss):
    """Cross-entropy against the label mixed with the uniform distribution by ``smoothing``.

    Class weights multiply a row by the weight of its label (torch's own form weighs every class of the uniform part).
    """

    def __init__(
        self, smoothing: float = 0.1, *, weight: torch.Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
    ):
        super().__init__(weight, ignore_index, reduction)
        self.smoothing = checks.number("smoothing", smoothing, low=0.0, high=1.0)

    def rows(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        log_p = torch.log_softmax(logits, 1)
        own = log_p.gather(1, target[:, None])[:, 0]
        return -(1 - self.smoothing) * own - self.smoothing * log_p.mean(1)


class MultiMarginLoss(_RowLoss):
    """Mean over classes of max(0, margin - z_y + z_k), k != y; for two classes half the hinge loss of the difference."""

    def __init__(
        self, margin: float = 1.0, *, weight: torch.Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
    ):
        super().__init__(weight, ignore_index, reduction)
        self.margin = checks.number("margin", margin, low=0.0)

    def rows(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        missing = (self.margin - logits.gather(1, target[:, None]) + logits).clamp_min(0)
        own = torch.zeros_like(missing, dtype=torch.bool).scatter(1, target[:, None], True)
        return missing.masked_fill(own, 0.0).mean(1)
