"""infonce in torch operations alone: the dense form, and the same in blocks of rows computed again backward."""

from __future__ import annotations

import math

import torch
from torch.utils.checkpoint import checkpoint

from lab.kernels import dispatch

BLOCK = 1 << 24  # numbers of the product held at once


def dense(a: torch.Tensor, b: torch.Tensor, temperature: torch.Tensor, first: int = 0) -> torch.Tensor:
    """Losses of rows ``first`` .. ``first + len(a)`` whose positives are the rows of ``b`` with the same numbers."""
    if a.dtype in (torch.float16, torch.bfloat16):
        return dense(a.float(), b.float(), temperature, first).to(a.dtype)
    t = temperature.to(a.dtype)
    positive = (a * b[first : first + len(a)]).sum(1)
    # The positive leaves the sum and comes back through log1p: the loss keeps its relative accuracy near zero.
    difference = (a @ b.T - positive[:, None]) / t
    others = torch.diagonal_scatter(difference, torch.full_like(positive, -math.inf), offset=first)
    log_u = torch.logsumexp(others, dim=1)
    return torch.logaddexp(log_u, torch.zeros_like(log_u))


def blocked(a: torch.Tensor, b: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """:func:`dense` with memory of one block."""
    rows = max(1, BLOCK // len(b))
    if len(a) <= rows:
        return dense(a, b, temperature)
    pieces = list(enumerate(a.split(rows)))
    if torch.is_grad_enabled() and dispatch.eager() and any(x.requires_grad for x in (a, b, temperature)):
        return torch.cat([checkpoint(dense, x, b, temperature, k * rows, use_reentrant=False) for k, x in pieces])
    return torch.cat([dense(x, b, temperature, k * rows) for k, x in pieces])
