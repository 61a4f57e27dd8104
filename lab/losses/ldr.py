r"""Label-distributionally robust losses: the worst case over the label, penalized towards the uniform distribution.

For scores f of K classes, label y, margin c_k = c for k != y and 0 for k = y, and temperature lambda

.. math:: L_\lambda(f, y) = \max_{p \in \Delta} \sum_k p_k (f_k + c_k - f_y) - \lambda\,\mathrm{KL}(p \,\|\, \tfrac1K)
          = \lambda \log \frac1K \sum_k \exp\frac{f_k + c_k - f_y}{\lambda}.

lambda -> 0 is the Crammer-Singer support vector machine, lambda = 1 with c = 0 cross-entropy less log K, lambda -> infinity
the mean margin, which is symmetric and robust to label noise. The adaptive form also maximizes over lambda, one for each row:

.. math:: \max_{p, \lambda} \sum_k p_k (f_k + c_k - f_y) - \lambda\,\mathrm{KL}(p\,\|\,\tfrac1K)
          - \frac{\alpha \log K}{2 \lambda_0}(\lambda - \lambda_0)^2, \qquad
          \lambda^* = \lambda_0 - \frac{\lambda_0}{\alpha \log K}\,\mathrm{KL}(p^*\,\|\,\tfrac1K),

so that an uncertain row (p near uniform) keeps a large temperature and a confident one a small one.

Source: D. Zhu, Y. Ying, T. Yang, 'Label Distributionally Robust Losses for Multi-class Classification: Consistency,
Robustness and Adaptivity', ICML 2023, equations (3), (5) and (11). The published code takes one step of the fixed point a
visit, from the temperature that it stored for the row; here that is ``num_samples=N`` with ``index``, and without them the
fixed point is solved on each visit.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import nn

from lab import checks
from lab.kernels import label_distributionally_robust
from lab.kernels.precision import wide
from lab.losses.reduction import REDUCTIONS, counted_rows, row_losses

NORMALIZATIONS = ("none", "softplus-mean", "l1-mean")


def ldr_kl_loss(
    logits: Float[torch.Tensor, "n classes *space"],
    target: Int[torch.Tensor, " n *space"],
    temperature: float | torch.Tensor = 10.0,
    *,
    margin: float = 0.1,
    normalize: str = "none",
    weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> torch.Tensor:
    """The label-distributionally robust loss with KL penalty: see the module's formula. Values can be negative.

    Args:
        logits, target, weight, ignore_index, reduction: as ``torch.nn.functional.cross_entropy``.
        temperature: lambda > 0, one number or one per row.
        margin: c >= 0.
        normalize: of the scores before the loss, see :func:`normalize_scores`.

    Raises:
        ValueError: a temperature or margin outside its range, labels out of range, shapes that differ.
    """
    margin = checks.number("margin", margin, low=0.0)
    return row_losses(
        normalize_scores(logits, normalize), target, label_distributionally_robust(margin=margin), temperature=temperature,
        weight=weight, ignore_index=ignore_index, reduction=reduction,
    )  # fmt: skip


def normalize_scores(logits: torch.Tensor, kind: str = "softplus-mean") -> torch.Tensor:
    """Scores on a common scale: ``softplus-mean`` divides softplus(f) by its mean over classes, ``l1-mean`` divides f by the
    mean of its absolute values (at least 1e-6), ``none`` leaves them.

    Raises:
        ValueError, TypeError: another ``kind``; scores that are not finite floating numbers with classes on axis 1.
    """
    checks.choice("normalize", kind, NORMALIZATIONS)
    logits = wide(checks.tensor("logits", logits, floating=True, empty=True))
    if logits.ndim < 2:
        raise ValueError(f"logits must have classes on axis 1, got shape {tuple(logits.shape)}")
    if kind == "none":
        return logits
    scores = nn.functional.softplus(logits) if kind == "softplus-mean" else logits
    return scores / scores.abs().mean(1, keepdim=True).clamp_min(1e-6)


class LDRKLLoss(nn.Module):
    """:func:`ldr_kl_loss` as a module.

    Args:
        temperature: lambda > 0; 1 with ``margin=0`` and ``normalize="none"`` is cross-entropy less log K.
        margin: c >= 0.
        normalize: of the scores, ``"softplus-mean"`` as in the paper's experiments. Scores of mean one give gradients about
            ``temperature`` times smaller than cross-entropy: tune the learning rate on its own.
        weight, ignore_index, reduction: as ``torch.nn.CrossEntropyLoss``.
    """

    weight: torch.Tensor | None

    def __init__(
        self,
        temperature: float = 10.0,
        margin: float = 0.1,
        normalize: str = "softplus-mean",
        *,
        weight: torch.Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ):
        super().__init__()
        self.temperature = checks.number("temperature", temperature, low=0.0, open_low=True)
        self.margin = checks.number("margin", margin, low=0.0)
        self.normalize = checks.choice("normalize", normalize, NORMALIZATIONS)
        self.reduction = checks.choice("reduction", reduction, REDUCTIONS)
        self.ignore_index = checks.integer("ignore_index", ignore_index)
        self.register_buffer("weight", None if weight is None else checks.tensor("weight", weight, ndim=1))

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ldr_kl_loss(
            logits, target, self.temperature, margin=self.margin, normalize=self.normalize, weight=self.weight,
            ignore_index=self.ignore_index, reduction=self.reduction,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, margin={self.margin}, normalize={self.normalize!r}"


def aldr_kl_loss(
    logits: Float[torch.Tensor, "n classes *space"],
    target: Int[torch.Tensor, " n *space"],
    initial_temperature: float = 10.0,
    *,
    alpha: float = 2.0,
    margin: float = 0.1,
    normalize: str = "l1-mean",
    weight: torch.Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> torch.Tensor:
    """The adaptive loss with the fixed point solved for every row, nothing stored; arguments as :class:`ALDRKLLoss`."""
    loss = ALDRKLLoss(
        None,
        initial_temperature,
        alpha,
        margin,
        normalize,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
    )
    return loss(logits, target)


class ALDRKLLoss(nn.Module):
    """The adaptive loss: one temperature a row, from the maximization over both p and lambda.

    Args:
        num_samples: size of the training set; its temperatures then stand in the buffer ``temperatures`` and
            ``forward(logits, target, index)`` takes one step of the fixed point from the stored value, logits of shape
            (N, C). ``None``: the fixed point is solved on every visit, for every pixel of segmentation-shaped logits, and
            nothing is stored. In ``eval()`` nothing is stored either: with ``index`` the step is taken and forgotten,
            without it (rows that were never trained on) the fixed point is solved.
        initial_temperature: lambda_0 > 0.
        alpha: > 1; keeps the temperatures in [lambda_0 (1 - 1/alpha), lambda_0].
        margin, normalize, weight, ignore_index, reduction: as :class:`LDRKLLoss`.
    """

    weight: torch.Tensor | None
    temperatures: torch.Tensor

    def __init__(
        self,
        num_samples: int | None = None,
        initial_temperature: float = 10.0,
        alpha: float = 2.0,
        margin: float = 0.1,
        normalize: str = "l1-mean",
        *,
        weight: torch.Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ):
        super().__init__()
        self.initial_temperature = checks.number("initial_temperature", initial_temperature, low=0.0, open_low=True)
        self.alpha = checks.number("alpha", alpha, low=1.0, open_low=True)
        self.margin = checks.number("margin", margin, low=0.0)
        self.normalize = checks.choice("normalize", normalize, NORMALIZATIONS)
        self.reduction = checks.choice("reduction", reduction, REDUCTIONS)
        self.ignore_index = checks.integer("ignore_index", ignore_index)
        self.register_buffer("weight", None if weight is None else checks.tensor("weight", weight, ndim=1))
        if num_samples is None:
            self.register_buffer("temperatures", None)
        else:
            samples = checks.integer("num_samples", num_samples, low=1)
            self.register_buffer("temperatures", torch.full((samples,), self.initial_temperature))

    def forward(self, logits: torch.Tensor, target: torch.Tensor, index: torch.Tensor | None = None) -> torch.Tensor:
        rows = counted_rows(
            logits, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )
        stored = self.temperatures is not None and (self.training or index is not None)
        if stored:
            index = self._places(index, rows.logits)
        if not rows.target.numel():
            return rows.nothing()
        z, y = rows.scores()
        scores = normalize_scores(z, self.normalize)
        with torch.no_grad():
            shifted = margin_scores(scores, y, self.margin)
            if not stored:
                temperature = adaptive_temperature(shifted, self.initial_temperature, self.alpha)
            else:
                before = self.temperatures[index].to(shifted)
                temperature = adaptive_temperature(
                    shifted, self.initial_temperature, self.alpha, start=before, iterations=1
                )
                if self.training:
                    counted = torch.ones_like(y, dtype=torch.bool) if rows.factor is None else rows.factor > 0
                    self.temperatures[index[counted]] = temperature[counted].to(self.temperatures)
        values = ldr_kl_loss(scores, y, temperature, margin=self.margin, reduction="none")
        scale = self.alpha * math.log(z.shape[1]) / (2 * self.initial_temperature)
        return rows.placed(values - scale * (temperature - self.initial_temperature).square())

    def _places(self, index, logits):
        """The rows' places in the training set, checked."""
        if index is None:
            raise ValueError("index is missing: the rows' places in the training set, since num_samples was given")
        if logits.ndim != 2:
            raise ValueError(f"logits must be (rows, classes) with num_samples, got shape {tuple(logits.shape)}")
        index = checks.tensor("index", index, shape=(len(logits),), empty=True)
        if index.is_floating_point() or index.dtype == torch.bool:
            raise TypeError(f"index must hold integers, got {index.dtype}")
        index = index.long()
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < len(self.temperatures):
            raise ValueError(
                f"index must lie in [0, {len(self.temperatures)}), got values from {int(index.min())} to {int(index.max())}"
            )
        return index

    def extra_repr(self) -> str:
        return f"initial_temperature={self.initial_temperature}, alpha={self.alpha}, margin={self.margin}"


def margin_scores(logits: torch.Tensor, target: torch.Tensor, margin: float) -> torch.Tensor:
    """f_k + c_k - f_y, shape of ``logits`` (N, K)."""
    own = torch.zeros_like(logits, dtype=torch.bool).scatter(1, target.unsqueeze(1), True)
    return logits - logits.gather(1, target.unsqueeze(1)) + margin * (~own).to(logits.dtype)


def adaptive_temperature(
    scores: Float[torch.Tensor, "n classes"],
    initial_temperature: float,
    alpha: float,
    *,
    start: torch.Tensor | None = None,
    iterations: int = 60,
) -> Float[torch.Tensor, " n"]:
    """The temperature of each row from the fixed point lambda = lambda_0 - lambda_0 KL(p_lambda || uniform)/(alpha log K).

    One iteration from a stored value is the published update; ``iterations=60`` from lambda_0 solves the inner problem, and
    ends sooner once no temperature moves by more than rounding.
    """
    scores = wide(scores)
    classes = scores.shape[1]
    temperature = scores.new_full(scores.shape[:1], initial_temperature) if start is None else start
    still = 4 * torch.finfo(scores.dtype).eps * initial_temperature
    for _ in range(iterations):
        log_p = torch.log_softmax(scores / temperature[:, None], 1)
        divergence = (log_p.exp() * (log_p + math.log(classes))).sum(1)
        before, temperature = temperature, initial_temperature * (1 - divergence / (alpha * math.log(classes)))
        if float((temperature - before).abs().max()) <= still:
            break
    return temperature
