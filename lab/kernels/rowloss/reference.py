"""rowloss in torch operations alone: any dtype, any device, any order of differentiation."""

from __future__ import annotations

import math

import torch

from lab.kernels.rowloss.family import RowLoss


def rowloss(logits: torch.Tensor, target: torch.Tensor, temperature: torch.Tensor, weight: torch.Tensor,
            loss: RowLoss) -> torch.Tensor:
    """Losses (B, S) of ``logits`` (B, C, S), ``target`` (B, S) int64, ``temperature`` and ``weight`` (B, S) or scalar.

    log u is a logsumexp over the wrong classes, so that v = log1p(u) keeps its relative accuracy where the softmax of
    the right class rounds to one.
    """
    z = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    t = temperature.to(z.dtype)
    label = target.unsqueeze(1)
    scores = (z - z.gather(1, label) + loss.margin) / (t.unsqueeze(1) if t.ndim else t)
    log_u = torch.logsumexp(scores.scatter(1, label, -math.inf), dim=1)
    if loss.kind == "margin":
        value = -t * log_u
    else:
        value = phi(torch.logaddexp(log_u, torch.zeros_like(log_u)), loss.tau)
        if loss.centred:
            value = value - math.log(logits.shape[1])
        if loss.scaled:
            value = value * t
    return (value * weight.to(z.dtype)).to(logits.dtype)


def phi(v: torch.Tensor, tau: float) -> torch.Tensor:
    """Phi_tau(v) = (exp((1 - tau) v) - 1)/(1 - tau), and v itself at tau = 1."""
    if tau == 1.0:
        return v
    x = (1.0 - tau) * v
    # The derivative of expm1 is taken from its value plus one, which cancels where the value is near -1.
    low = x < -1.0
    return torch.where(low, x.exp() - 1.0, torch.expm1(torch.where(low, 0.0, x))) / (1.0 - tau)
