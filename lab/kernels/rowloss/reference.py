"""rowloss in torch operations alone: any dtype, any device, any order of differentiation."""

from __future__ import annotations

import math

import torch

from lab.kernels.rowloss.family import RowLoss


def log_others(
    logits: torch.Tensor, target: torch.Tensor, temperature: torch.Tensor | float, margin: float
) -> torch.Tensor:
    """log u (B, S) of ``logits`` (B, C, S), ``target`` (B, S) int64, ``temperature`` (B, S), scalar or a number.

    It is a logsumexp over the wrong classes alone, so that log(1 + u) keeps its relative accuracy where the softmax of
    the right class rounds to one.
    """
    label = target.unsqueeze(1)
    scores = logits - logits.gather(1, label)
    # On few rows a call costs what its operations cost to start: those without effect are left out.
    if margin:
        scores = scores + margin
    if isinstance(temperature, torch.Tensor):
        scores = scores / (temperature.unsqueeze(1) if temperature.ndim else temperature)
    elif temperature != 1.0:
        scores = scores / temperature
    return torch.logsumexp(scores.scatter(1, label, -math.inf), dim=1)


def value(
    log_u: torch.Tensor, temperature: torch.Tensor | float, weight: torch.Tensor | float, loss: RowLoss, classes: int
) -> torch.Tensor:
    """The loss of each row from its log u."""
    if loss.kind == "margin":
        result = -temperature * log_u
    else:
        result = phi(torch.logaddexp(log_u, log_u.new_zeros(())), loss.tau)
        if loss.centred:
            result = result - math.log(classes)
        if loss.scaled:
            result = result * temperature
    return result * weight if isinstance(weight, torch.Tensor) or weight != 1.0 else result


def phi(v: torch.Tensor, tau: float) -> torch.Tensor:
    """Phi_tau(v) = (exp((1 - tau) v) - 1)/(1 - tau), and v itself at tau = 1."""
    if tau == 1.0:
        return v
    x = (1.0 - tau) * v
    # The derivative of expm1 is taken from its value plus one, which cancels where the value is near -1.
    low = x < -1.0
    return torch.where(low, x.exp() - 1.0, torch.expm1(torch.where(low, 0.0, x))) / (1.0 - tau)
