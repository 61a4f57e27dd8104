r"""Losses that comparisons need beside those of the room's papers.

Symmetric cross-entropy (Y. Wang et al., ICCV 2019, equation (6)): a CE + b RCE with log 0 := A in the reverse term. Focal loss
(T.-Y. Lin et al., ICCV 2017, equation (5)): -(1 - p_y)^gamma log p_y. Label smoothing and the multi-class margin are torch's own.
"""

from __future__ import annotations

import torch
from torch import nn

from lab import checks


class SymmetricCrossEntropyLoss(nn.Module):
    """alpha * cross-entropy + beta * reverse cross-entropy, the log of a zero label probability set to ``floor``."""

    def __init__(self, alpha: float = 0.1, beta: float = 1.0, floor: float = -4.0, *, reduction: str = "mean"):
        super().__init__()
        self.alpha = checks.number("alpha", alpha, low=0.0)
        self.beta = checks.number("beta", beta, low=0.0)
        self.floor = checks.number("floor", floor, high=0.0)
        self.reduction = checks.choice("reduction", reduction, ("mean", "sum", "none"))

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        log_p = torch.log_softmax(logits, 1).gather(1, target.unsqueeze(1)).squeeze(1)
        # sum over k != y of -p_k * floor
        values = -self.alpha * log_p - self.beta * self.floor * -torch.expm1(log_p)
        return _reduced(values, self.reduction)


class FocalLoss(nn.Module):
    """-(1 - p_y)^gamma log p_y."""

    def __init__(self, gamma: float = 2.0, *, reduction: str = "mean"):
        super().__init__()
        self.gamma = checks.number("gamma", gamma, low=0.0)
        self.reduction = checks.choice("reduction", reduction, ("mean", "sum", "none"))

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        log_p = torch.log_softmax(logits, 1).gather(1, target.unsqueeze(1)).squeeze(1)
        rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        return _reduced(-rest.pow(self.gamma) * log_p, self.reduction)


def _reduced(values, reduction):
    return values if reduction == "none" else values.mean() if reduction == "mean" else values.sum()
