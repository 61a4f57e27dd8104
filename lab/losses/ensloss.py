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

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import nn

from lab import checks
from lab.kernels.precision import wide
from lab.losses.reduction import REDUCTIONS, counted_rows, whole

SHIFT = 1e-6  # keeps every derivative strictly negative


class EnsLoss(nn.Module):
    """The random loss of one mini-batch; each call draws another.

    Args:
        box_cox: lambda of the inverse Box-Cox transform in [-1, 1]; 0 gives lognormal magnitudes.
        clip: largest magnitude of a derivative.
        seed: an int or a generator; the draws go on over calls, in training: ``eval()`` draws what the next call would and
            leaves the generator where it is.
        weight: one factor for each of the two classes.
        ignore_index: label of rows that do not count; they get no derivative.
        batches: number of equal batches that the logits hold one after the other, each with a draw of its own; for training
            that many models at once.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    ``forward(logits, target)``: logits of shape (B,) or (B, 1, ...space), or (B, 2, ...space) whose difference is the score;
    target in {0, 1} of the shape without axis 1 (or with an axis 1 of length one). All positions of a batch are ranked
    together.
    """

    weight: torch.Tensor | None

    def __init__(
        self,
        box_cox: float = 0.0,
        clip: float = 1.0,
        *,
        seed: int | torch.Generator = 0,
        weight: torch.Tensor | None = None,
        ignore_index: int = -100,
        batches: int = 1,
        reduction: str = "mean",
    ):
        super().__init__()
        self.batches = checks.integer("batches", batches, low=1)
        self.box_cox = checks.number("box_cox", box_cox, low=-1.0, high=1.0)
        self.clip = checks.number("clip", clip, low=0.0, open_low=True)
        self.reduction = checks.choice("reduction", reduction, REDUCTIONS)
        self.ignore_index = checks.integer("ignore_index", ignore_index)
        self.register_buffer("weight", None if weight is None else checks.tensor("weight", weight, shape=(2,)))
        self.generator = checks.generator(seed)

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        generator = self.generator if self.training else self.generator.clone_state()
        return ens_loss(
            logits, target, generator, box_cox=self.box_cox, clip=self.clip, weight=self.weight,
            ignore_index=self.ignore_index, batches=self.batches, reduction=self.reduction,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"box_cox={self.box_cox}, clip={self.clip}, reduction={self.reduction!r}"


def ens_loss(
    logits: torch.Tensor, target: torch.Tensor, seed: int | torch.Generator = 0, *, box_cox: float = 0.0, clip: float = 1.0,
    weight: torch.Tensor | None = None, ignore_index: int = -100, batches: int = 1, reduction: str = "mean",
    derivatives: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:  # fmt: skip
    """One draw of :class:`EnsLoss`, with its arguments; a generator as ``seed`` moves on from call to call.

    ``derivatives`` takes margins and returns derivatives of the same shape, to be used in place of a draw: with those of a
    fixed loss, the gradient is that of the fixed loss.

    Raises:
        ValueError, TypeError: scores of more than two classes, labels other than 0 and 1, shapes that differ, rows that do not
            split into ``batches`` equal parts.
    """
    generator = checks.generator(seed)

    def drawn(margins):
        if derivatives is not None:
            return derivatives(margins)
        return sample_calibrated_derivatives(margins, generator, box_cox=box_cox, clip=clip)

    scores, target = binary_scores(logits, target)
    pairs = torch.stack([torch.zeros_like(scores), scores], 1)
    rows = counted_rows(pairs, target, weight=weight, ignore_index=ignore_index, reduction=reduction)
    if not rows.target.numel():
        return rows.nothing()
    if len(scores) % batches:
        raise ValueError(f"logits must hold {batches} equal batches, got {len(scores)} rows")
    s = (2 * rows.target.to(scores.dtype) - 1) * scores
    counted = s.detach()
    kept = target != ignore_index
    if bool(kept.all()):
        g = drawn(counted.reshape(batches, -1)).reshape(s.shape)
    else:
        g = torch.zeros_like(counted)
        for one, mask, place in zip(*(part.chunk(batches) for part in (counted, kept, g))):
            place[mask] = drawn(one[mask])
    return rows.reduced(g.to(s) * s)


def binary_scores(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores f, of logits (B,), (B, 1, ...) or (B, 2, ...) with f = z_1 - z_0, and targets of their shape.

    Raises:
        ValueError: other shapes.
    """
    logits = wide(checks.tensor("logits", logits, floating=True, empty=True))
    if logits.ndim == 0:
        raise ValueError("logits must have at least 1 axis, got a single number")
    columns = 1
    if logits.ndim > 1:
        columns = logits.shape[1]
        if columns not in (1, 2):
            raise ValueError(f"logits must have 1 or 2 columns (a binary problem), got shape {tuple(logits.shape)}")
        logits = logits[:, 0] if columns == 1 else logits[:, 1] - logits[:, 0]
    target = checks.tensor("target", target, empty=True)
    target = target[:, 0] if target.ndim == logits.ndim + 1 and target.shape[1] == 1 else target
    if tuple(target.shape) != tuple(logits.shape):
        raise ValueError(f"target must have shape {tuple(logits.shape)}, got {tuple(target.shape)}")
    if target.is_floating_point():
        if not bool((target == target.round()).all()):
            raise ValueError("target must hold only 0 and 1")
        target = target.long()
    return logits, target.long() if target.dtype == torch.bool else whole("target", target)


def margins(logits: torch.Tensor, target: torch.Tensor) -> Float[torch.Tensor, " batch *space"]:
    """s = (2 t - 1) f for the scores f of :func:`binary_scores`.

    Raises:
        ValueError: other shapes, or targets other than 0 and 1.
    """
    logits, target = binary_scores(logits, target)
    if target.numel() and not bool(((target == 0) | (target == 1)).all()):
        raise ValueError("target must hold only 0 and 1")
    return (2 * target.to(logits.dtype) - 1) * logits


def sample_calibrated_derivatives(
    margins: Float[torch.Tensor, "*batches rows"],
    generator: torch.Generator,
    *,
    box_cox: float = 0.0,
    clip: float = 1.0,
    tail: bool = True,
) -> Float[torch.Tensor, "*batches rows"]:
    """Random derivatives of one convex, calibrated margin loss for each batch of ``margins``.

    Non-decreasing in the margin before the tail correction (``tail=False`` leaves it out), all in [-clip - 1e-6, -1e-6].
    Ties get their derivatives in the order of the batch.
    """
    v = torch.randn(margins.shape, generator=generator, dtype=torch.float64).to(margins)
    if box_cox == 0:
        magnitude = v.exp()
    else:
        magnitude = (1 + box_cox * v).clamp_min(0).pow(1 / box_cox)
    drawn = (-magnitude.clamp_max(clip)).sort(-1).values
    g = torch.empty_like(drawn).scatter_(-1, margins.argsort(dim=-1, stable=True), drawn)
    if tail:
        g = g / margins.clamp_min(1)
    return g - SHIFT
