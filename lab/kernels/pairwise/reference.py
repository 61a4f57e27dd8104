r"""pairwise in torch operations alone: any dtype, any device, any order of differentiation; memory n times m.

Kernels of the scaled distance r = |x - y|/l (the points arrive divided by l), and the score of the other reductions:

===============  =================================  ==========================
name             k                                  score
===============  =================================  ==========================
gaussian         exp(-r^2/2)                        log k
laplacian        exp(-r)                            log k
matern32         (1 + sqrt3 r) exp(-sqrt3 r)        log k
matern52         (1 + sqrt5 r + 5 r^2/3) exp(..)    log k
imq              (1 + r^2)^(-1/2)                   log k
energy           -r                                 k
dot              x . y/l^2                          k
===============  =================================  ==========================
"""

from __future__ import annotations

import math

import torch

KERNELS = ("gaussian", "laplacian", "matern32", "matern52", "imq", "energy", "dot")
REDUCTIONS = ("sum", "logsumexp", "argmin")


def scores(x: torch.Tensor, y: torch.Tensor, kernel: str) -> torch.Tensor:
    """Score (n, m) of every pair: log k, and k itself for ``energy`` and ``dot``."""
    if kernel == "dot":
        return x @ y.T
    squared = (x[:, None, :] - y[None, :, :]).square().sum(-1)
    if kernel == "gaussian":
        return -0.5 * squared
    if kernel == "imq":
        return -0.5 * torch.log1p(squared)
    # The square root has no derivative at 0; coinciding points get the subgradient 0.
    zero = squared == 0
    r = torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())
    if kernel in ("laplacian", "energy"):
        return -r
    if kernel == "matern32":
        s = math.sqrt(3.0) * r
        return torch.log1p(s) - s
    s = math.sqrt(5.0) * r
    return torch.log1p(s + s * s / 3.0) - s


def values(x: torch.Tensor, y: torch.Tensor, kernel: str) -> torch.Tensor:
    """k (n, m) of every pair."""
    score = scores(x, y, kernel)
    return score if kernel in ("energy", "dot") else score.exp()


def weighted_sum(x: torch.Tensor, y: torch.Tensor, v: torch.Tensor, kernel: str) -> torch.Tensor:
    """sum_j k(x_i, y_j) v_j for v (m, c): (n, c)."""
    if kernel == "dot":
        return x @ (y.T @ v)
    return values(x, y, kernel) @ v


def logsumexp(x: torch.Tensor, y: torch.Tensor, bias: torch.Tensor, kernel: str) -> torch.Tensor:
    """log sum_j exp(score(x_i, y_j) + bias_j): (n,)."""
    return torch.logsumexp(scores(x, y, kernel) + bias, dim=1)


def argmin(x: torch.Tensor, y: torch.Tensor, bias: torch.Tensor, kernel: str) -> torch.Tensor:
    """argmin_j of -score(x_i, y_j) - bias_j, the first of equal ones: (n,) int64."""
    return torch.argmax(scores(x, y, kernel) + bias, dim=1)
