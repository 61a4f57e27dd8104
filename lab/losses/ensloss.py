r"""EnsLoss: a fresh random convex, calibrated loss for every mini-batch, through its derivatives alone.

Training of a binary classifier with margins s_i = y_i f(x_i), y in {-1, 1}, sees a margin loss phi through g_i = phi'(s_i).
phi is convex iff g is non-decreasing in s, and calibrated iff g(0) < 0 (Bartlett, Jordan, McAuliffe 2006). So draw B negative
numbers, sort them, give the most negative one to the smallest margin, and backpropagate

.. math:: \frac1B \sum_i \bar g_i\, s_i \qquad (\bar g \text{ held constant}).

Magnitudes are |g| = min(BC^{-1}_\lambda(v), clip), v ~ N(0, 1), with the inverse Box-Cox transform exp(v) at lambda = 0 and
max(1 + lambda v, 0)^{1/lambda} else; margins above 1 divide g by s, so that the loss is bounded below.

The value of the surrogate means nothing; watch accuracy or another loss. Source: B. Dai, 'EnsLoss: Stochastic Calibrated Loss
Ensembles for Preventing Overfitting in Classification', ICML 2025, Algorithm 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

from lab import checks

SHIFT = 1e-6  # keeps every derivative strictly negative


class EnsLoss(nn.Module):
    """The random loss of one mini-batch; each call draws another.

    Args:
        box_cox: lambda of the inverse Box-Cox transform in [-1, 1]; 0 gives lognormal magnitudes.
        clip: largest magnitude of a derivative.
        seed: an int or a generator; the draws go on over calls.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    ``forward(logits, target)``: logits of shape (B,) or (B, 1), or (B, 2) whose difference is the score; target in {0, 1}.
    """

    def __init__(self, box_cox: float = 0.0, clip: float = 1.0, *, seed: int | torch.Generator = 0, reduction: str = "mean"):
        super().__init__()
        self.box_cox = checks.number("box_cox", box_cox, low=-1.0, high=1.0)
        self.clip = checks.number("clip", clip, low=0.0, open_low=True)
        self.reduction = checks.choice("reduction", reduction, ("mean", "sum", "none"))
        self.generator = checks.generator(seed)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        s = margins(logits, target)
        g = sample_calibrated_derivatives(s.detach(), self.generator, box_cox=self.box_cox, clip=self.clip)
        values = g * s
        return values if self.reduction == "none" else values.mean() if self.reduction == "mean" else values.sum()

    def extra_repr(self) -> str:
        return f"box_cox={self.box_cox}, clip={self.clip}, reduction={self.reduction!r}"


def margins(logits: torch.Tensor, target: torch.Tensor) -> Float[torch.Tensor, " batch"]:
    """s = (2 t - 1) f for scores f of shape (B,), (B, 1), or (B, 2) with f = z_1 - z_0.

    Raises:
        ValueError: other shapes, or targets other than 0 and 1.
    """
    logits = checks.tensor("logits", logits, ndim=(1, 2), floating=True, empty=True)
    if logits.ndim == 2:
        if logits.shape[1] not in (1, 2):
            raise ValueError(f"logits must have 1 or 2 columns (a binary problem), got shape {tuple(logits.shape)}")
        logits = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
    target = checks.tensor("target", target, empty=True)
    target = target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target
    if tuple(target.shape) != tuple(logits.shape):
        raise ValueError(f"target must have shape {tuple(logits.shape)}, got {tuple(target.shape)}")
    if target.numel() and not bool(((target == 0) | (target == 1)).all()):
        raise ValueError("target must hold only 0 and 1")
    return (2 * target.to(logits.dtype) - 1) * logits


def sample_calibrated_derivatives(
    margins: Float[torch.Tensor, " batch"], generator: torch.Generator, *, box_cox: float = 0.0, clip: float = 1.0,
    tail: bool = True,
) -> Float[torch.Tensor, " batch"]:
    """Random derivatives of one convex, calibrated margin loss at ``margins``.

    Non-decreasing in the margin before the tail correction (``tail=False`` leaves it out), all in [-clip - 1e-6, -1e-6].
    Ties get their derivatives in the order of the batch.
    """
    v = torch.randn(margins.shape, generator=generator, dtype=torch.float64).to(margins)
    if box_cox == 0:
        magnitude = v.exp()
    else:
        magnitude = (1 + box_cox * v).clamp_min(0).pow(1 / box_cox)
    drawn, _ = (-magnitude.clamp_max(clip)).sort()
    g = torch.empty_like(drawn)
    g[margins.argsort(stable=True)] = drawn
    if tail:
        g = g / margins.clamp_min(1)
    return g - SHIFT
