r"""Losses that comparisons need beside those of the room's papers; arguments as ``torch.nn.CrossEntropyLoss`` beside their own.

With the softmax p of the scores z and label y of K classes:

- symmetric cross-entropy a CE + b RCE, the reverse term with log 0 := A (Y. Wang et al., ICCV 2019, equation (6));
- focal loss -(1 - p_y)^gamma log p_y (T.-Y. Lin et al., ICCV 2017, equation (5));
- label smoothing (1 - e) CE + e/K sum_k -log p_k (C. Szegedy et al., CVPR 2016, Section 7);
- the multi-class margin 1/K sum_{k != y} max(0, m - z_y + z_k) (J. Weston, C. Watkins, ESANN 1999, equation (3)).

All take scores (N, C) or (N, C, ...space), class weights, ignored labels and half precision, which is computed in single; a
function of each stands beside the module.
"""

from __future__ import annotations

import torch
from torch import nn

from lab import checks
from lab.losses.reduction import REDUCTIONS, counted_rows

Weight = torch.Tensor | None


def symmetric_cross_entropy_loss(
    logits: torch.Tensor, target: torch.Tensor, alpha: float = 0.1, beta: float = 1.0, floor: float = -4.0, *,
    weight: Weight = None, ignore_index: int = -100, reduction: str = "mean",
) -> torch.Tensor:  # fmt: skip
    """alpha * cross-entropy + beta * reverse cross-entropy, the log of a zero label probability set to ``floor``."""
    alpha, beta = checks.number("alpha", alpha, low=0.0), checks.number("beta", beta, low=0.0)
    floor = checks.number("floor", floor, high=0.0)

    def rows(z, y):
        log_p = torch.log_softmax(z, 1).gather(1, y[:, None])[:, 0]
        # sum over k != y of -p_k * floor
        return -alpha * log_p - beta * floor * -torch.expm1(log_p)

    return _reduced(rows, logits, target, weight, ignore_index, reduction)


def focal_loss(
    logits: torch.Tensor, target: torch.Tensor, gamma: float = 2.0, *, weight: Weight = None, ignore_index: int = -100,
    reduction: str = "mean",
) -> torch.Tensor:  # fmt: skip
    """-(1 - p_y)^gamma log p_y."""
    gamma = checks.number("gamma", gamma, low=0.0)

    def rows(z, y):
        log_p = torch.log_softmax(z, 1).gather(1, y[:, None])[:, 0]
        rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        return -rest.pow(gamma) * log_p

    return _reduced(rows, logits, target, weight, ignore_index, reduction)


def label_smoothing_loss(
    logits: torch.Tensor, target: torch.Tensor, smoothing: float = 0.1, *, weight: Weight = None, ignore_index: int = -100,
    reduction: str = "mean",
) -> torch.Tensor:  # fmt: skip
    """Cross-entropy against the label mixed with the uniform distribution by ``smoothing``.

    Class weights multiply a row by the weight of its label (torch's own form weighs every class of the uniform part).
    """
    smoothing = checks.number("smoothing", smoothing, low=0.0, high=1.0)

    def rows(z, y):
        log_p = torch.log_softmax(z, 1)
        return -(1 - smoothing) * log_p.gather(1, y[:, None])[:, 0] - smoothing * log_p.mean(1)

    return _reduced(rows, logits, target, weight, ignore_index, reduction)


def multi_margin_loss(
    logits: torch.Tensor, target: torch.Tensor, margin: float = 1.0, *, weight: Weight = None, ignore_index: int = -100,
    reduction: str = "mean",
) -> torch.Tensor:  # fmt: skip
    """Mean over classes of max(0, margin - z_y + z_k), k != y; for two classes half the hinge loss of the difference."""
    margin = checks.number("margin", margin, low=0.0)

    def rows(z, y):
        missing = (margin - z.gather(1, y[:, None]) + z).clamp_min(0)
        own = torch.zeros_like(missing, dtype=torch.bool).scatter(1, y[:, None], True)
        return missing.masked_fill(own, 0.0).mean(1)

    return _reduced(rows, logits, target, weight, ignore_index, reduction)


class _RowLoss(nn.Module):
    """What the modules share: class weights, the ignored label and the reduction."""

    def __init__(self, weight: Weight, ignore_index: int, reduction: str):
        super().__init__()
        self.reduction = checks.choice("reduction", reduction, REDUCTIONS)
        self.ignore_index = checks.integer("ignore_index", ignore_index)
        self.register_buffer("weight", None if weight is None else checks.tensor("weight", weight, ndim=1))

    def extra_repr(self) -> str:
        own = [name for name in ("alpha", "beta", "floor", "gamma", "smoothing", "margin") if hasattr(self, name)]
        return ", ".join(f"{name}={getattr(self, name)}" for name in own) + f", reduction={self.reduction!r}"

    @property
    def common(self) -> dict:
        """The arguments that every function takes."""
        return {"weight": self.weight, "ignore_index": self.ignore_index, "reduction": self.reduction}


class SymmetricCrossEntropyLoss(_RowLoss):
    """:func:`symmetric_cross_entropy_loss` as a module."""

    def __init__(
        self, alpha: float = 0.1, beta: float = 1.0, floor: float = -4.0, *, weight: Weight = None, ignore_index: int = -100,
        reduction: str = "mean",
    ):  # fmt: skip
        super().__init__(weight, ignore_index, reduction)
        self.alpha = checks.number("alpha", alpha, low=0.0)
        self.beta = checks.number("beta", beta, low=0.0)
        self.floor = checks.number("floor", floor, high=0.0)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return symmetric_cross_entropy_loss(logits, target, self.alpha, self.beta, self.floor, **self.common)


class FocalLoss(_RowLoss):
    """:func:`focal_loss` as a module."""

    def __init__(self, gamma: float = 2.0, *, weight: Weight = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(weight, ignore_index, reduction)
        self.gamma = checks.number("gamma", gamma, low=0.0)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return focal_loss(logits, target, self.gamma, **self.common)


class LabelSmoothingLoss(_RowLoss):
    """:func:`label_smoothing_loss` as a module."""

    def __init__(
        self, smoothing: float = 0.1, *, weight: Weight = None, ignore_index: int = -100, reduction: str = "mean"
    ):
        super().__init__(weight, ignore_index, reduction)
        self.smoothing = checks.number("smoothing", smoothing, low=0.0, high=1.0)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return label_smoothing_loss(logits, target, self.smoothing, **self.common)


class MultiMarginLoss(_RowLoss):
    """:func:`multi_margin_loss` as a module."""

    def __init__(
        self, margin: float = 1.0, *, weight: Weight = None, ignore_index: int = -100, reduction: str = "mean"
    ):
        super().__init__(weight, ignore_index, reduction)
        self.margin = checks.number("margin", margin, low=0.0)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return multi_margin_loss(logits, target, self.margin, **self.common)


def _reduced(rows, logits, target, weight, ignore_index, reduction):
    """``rows`` of scores (rows, C) and labels, with weights, ignored labels and the reduction."""
    found = counted_rows(logits, target, weight=weight, ignore_index=ignore_index, reduction=reduction)
    return found.placed(rows(*found.scores())) if found.target.numel() else found.nothing()
