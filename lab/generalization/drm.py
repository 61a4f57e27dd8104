r"""Domain-specific risk minimization: one head a source domain, and the target's own samples say which to trust.

An encoder :math:`\phi` carries heads :math:`h_1, \dots, h_D`, one a source domain, and :math:`h_0` for all. Training minimizes

.. math:: \frac1D \sum_{i=1}^D \mathbb{E}_{(x, y) \sim P_i}\,
          \tfrac12\bigl[\ell(h_i(\phi(x)), y) + \ell(h_0(\phi(x)), y)\bigr].

At test time a gap estimate :math:`g_i` (by default the mean entropy of head i over the unlabelled target samples) weighs the heads,

.. math:: w_i \propto g_i^{-\gamma} \quad (i = 1..D), \qquad p(y | x) = \sum_i w_i\, p_i(y | x),

or the head of smallest gap is taken alone. The bound behind it, for hypotheses :math:`h_i` with labellings :math:`f_i` and any
mixture weights, with TV the total variation distance and the last term the adaptivity gap:

.. math:: e_T\Bigl(\sum_i w_i h_i\Bigr) \le \sum_i w_i \bigl[e_i(h_i) + \mathrm{TV}(P_i, P_T)
          + \min(\mathbb{E}_i |f_i - f_T|, \mathbb{E}_T |f_i - f_T|)\bigr].

Source: Y.-F. Zhang et al., "Domain-Specific Risk Minimization for Out-of-Distribution Generalization", KDD 2023, Section 3. The
released code normalizes the weights over D + 1 heads (the label chosen is the same) and takes the softmax of the combined
probabilities once more before it asks whether a sample is confident; then no confidence exceeds e / (e + K - 1). Here both are
done once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import nn

from lab import checks, training

RULES = ("soft", "hard", "uniform", "all")
SCOPES = ("batch", "sample")
ESTIMATORS = ("entropy", "cosine", "distance", "discriminator")


def drm_loss(
    logits: Float[torch.Tensor, "n heads classes"], label: Int[torch.Tensor, " n"], domain: Int[torch.Tensor, " n"]
) -> Float[torch.Tensor, " n"]:
    """Half the cross-entropy of the item's own head plus half that of the last head, by item.

    Args:
        logits: the last head is the one for all domains.
        label, domain: class and source domain of each item.
    """
    own = logits.gather(1, domain.view(-1, 1, 1).expand(-1, 1, logits.shape[2]))[:, 0]
    return 0.5 * (
        F.cross_entropy(own, label, reduction="none") + F.cross_entropy(logits[:, -1], label, reduction="none")
    )


def entropies(logits: Float[torch.Tensor, "*b n heads classes"]) -> Float[torch.Tensor, "*b n heads"]:
    """Entropy of each head's prediction by item, in nats."""
    log_p = torch.log_softmax(logits, -1)
    return -(log_p.exp() * log_p).sum(-1)


def head_weights(
    gap: Float[torch.Tensor, "*b heads"], rule: str = "soft", power: float = 2.0
) -> Float[torch.Tensor, "*b heads"]:
    """Weights of the domain heads from their gaps, non-negative and of sum 1.

    Args:
        gap: of the domain heads alone.
        rule: ``"soft"``: proportional to ``gap ** -power``; ``"hard"``: 1 for the smallest; ``"uniform"``.
        power: 0 is uniform, infinity is hard.
    """
    if checks.choice("rule", rule, RULES[:3]) == "uniform":
        return torch.full_like(gap, 1 / gap.shape[-1])
    if rule == "hard":
        return F.one_hot(gap.argmin(-1), gap.shape[-1]).to(gap.dtype)
    power = checks.number("power", power, low=0.0)
    return torch.softmax(-power * (gap.clamp_min(0) + 1e-6).log(), -1)


def combine(
    logits: Float[torch.Tensor, "*b n heads classes"],
    *,
    rule: str = "soft",
    scope: str = "batch",
    power: float = 2.0,
    gap: torch.Tensor | None = None,
) -> Float[torch.Tensor, "*b n classes"]:
    """Class probabilities of the weighted domain heads.

    Args:
        logits: the last head is the one for all domains.
        rule: see :func:`head_weights`; ``"all"`` is the last head alone.
        scope: entropies averaged over the ``"batch"`` of n items, or each ``"sample"``'s own.
        gap: (..., domains) in the place of the mean entropy.

    Example:
        >>> combine(torch.tensor([[[9.0, 0], [0, 1], [0, 0]]])).argmax(-1)     # the sure head of two
        tensor([0])
    """
    checks.choice("rule", rule, RULES)
    p = torch.softmax(logits, -1)
    if rule == "all" or p.shape[-2] == 1:
        return p[..., -1, :]
    if gap is None:
        gap = entropies(logits)[..., :-1]
        gap = gap.mean(-2, keepdim=True) if checks.choice("scope", scope, SCOPES) == "batch" else gap
    else:
        gap = gap.unsqueeze(-2)
    return (head_weights(gap, rule, power).unsqueeze(-1) * p[..., :-1, :]).sum(-2)


def gap_estimates(
    logits: torch.Tensor, features: torch.Tensor, source: torch.Tensor, domain: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Four estimates (domains,) of each domain head's gap on unlabelled target items; smaller is nearer.

    ``entropy`` of the head; ``cosine``: one less the mean cosine of target features with the domain's mean feature; ``distance``
    to that mean; ``discriminator``: one less the mean posterior of the domain by a linear discriminant with shared covariance.

    Args:
        logits: (n, domains + 1, classes) and ``features`` (n, f) of the target items.
        source: (m, f) features of the source items, ``domain`` (m,) theirs.
    """
    count = logits.shape[-2] - 1
    means = torch.stack([source[domain == i].mean(0) for i in range(count)])
    centred = source - means[domain]
    covariance = centred.T @ centred / len(source)
    scale = covariance.diagonal().mean().clamp_min(1e-12)
    directions = torch.linalg.solve(covariance + 1e-3 * scale * torch.eye(len(covariance)).to(covariance), means.T).T
    scores = features @ directions.T - 0.5 * (means * directions).sum(1)
    return {
        "entropy": entropies(logits)[:, :-1].mean(0),
        "cosine": 1 - F.cosine_similarity(features[:, None], means[None], dim=-1).mean(0),
        "distance": torch.cdist(features, means).mean(0),
        "discriminator": 1 - torch.softmax(scores, 1).mean(0),
    }


def adapt_heads(
    weight: Float[torch.Tensor, "*b out f"],
    bias: Float[torch.Tensor, "*b out"],
    features: Float[torch.Tensor, "*b n f"],
    classes: int,
    *,
    beta: float = 0.8,
    learning_rate: float = 0.05,
    batch: int = 32,
    rule: str = "soft",
    power: float = 2.0,
    coded: bool = False,
    shuffle: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Online: predict a batch, then one descent step of all heads on its confident pseudo-labels; never reset.

    Args:
        weight, bias: of the heads stacked, ``out`` = (domains + 1) classes; leading axes are models, all adapted at once.
        features: of the target items in their order of arrival.
        beta: a sample counts if the largest combined probability reaches it.
        coded: the released code's test: softmax of the probabilities once more.
        shuffle: draws the pseudo-labels' order: the control.

    Returns:
        ``(probabilities (..., n, classes), share of samples that counted (...,), largest confidence seen (...,))``.
    """
    beta = checks.number("beta", beta, low=0.0, high=1.0)
    learning_rate = checks.number("learning_rate", learning_rate, low=0.0)
    batch = checks.integer("batch", batch, low=1)
    weight, bias = weight.detach().clone(), bias.detach().clone()
    found, counted, largest = [], torch.zeros(weight.shape[:-2]), torch.zeros(weight.shape[:-2])
    for z in features.split(batch, dim=-2):
        with torch.enable_grad():
            w, b = weight.requires_grad_(), bias.requires_grad_()
            logits = (z @ w.transpose(-1, -2) + b.unsqueeze(-2)).unflatten(-1, (-1, classes))
            p = combine(logits.detach(), rule=rule, power=power)
            confidence, label = (torch.softmax(p, -1) if coded else p).max(-1)
            keep = confidence >= beta
            if shuffle is not None:
                label = label[..., torch.randperm(label.shape[-1], generator=shuffle)]
            losses = -torch.log_softmax(logits, -1).gather(-1, label[..., None, None].expand(*logits.shape[:-1], 1))
            loss = ((losses[..., 0].mean(-1) * keep).sum(-1) / keep.sum(-1).clamp_min(1)).sum()
            steps = torch.autograd.grad(loss, (w, b))
        weight, bias = (one.detach() - learning_rate * step for one, step in zip((w, b), steps))
        found.append(p)
        counted, largest = counted + keep.sum(-1), torch.maximum(largest, confidence.amax(-1))
    return torch.cat(found, -2), counted / features.shape[-2], largest


class DRMClassifier(nn.Module):
    """An encoder with one linear head a source domain and one for all.

    Args:
        encoder: module ``x -> (n, features)``; used as it is.
        features: width of what it returns.
        domains, classes: numbers of source domains and classes.
        seed: draws the heads.

    Example:
        >>> model = DRMClassifier(training.mlp(4, 8, widths=(8,)), 8, domains=2, classes=3)
        >>> model(torch.zeros(5, 4)).shape, model.predict(torch.zeros(5, 4)).shape
        (torch.Size([5, 3, 3]), torch.Size([5, 3]))
    """

    def __init__(
        self, encoder: nn.Module, features: int, domains: int, classes: int, *, seed: int | torch.Generator = 0
    ):
        super().__init__()
        self.encoder, self.classes = encoder, checks.integer("classes", classes, low=2)
        heads = checks.integer("domains", domains, low=1) + 1
        self.heads = training.initialize(nn.Linear(features, heads * self.classes), seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, domains + 1, classes): one product for all heads."""
        return self.heads(self.encoder(x)).unflatten(-1, (-1, self.classes))

    def training_loss(self, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """The loss of one batch ``(x, label)`` of each source domain."""
        if len(batches) != self.heads.out_features // self.classes - 1:
            raise ValueError(
                f"batches must be one for each of the {self.heads.out_features // self.classes - 1} source domains, got "
                f"{len(batches)}"
            )
        each = [drm_loss(self(x), y, torch.full_like(y, i)).mean() for i, (x, y) in enumerate(batches)]
        return torch.stack(each).mean()

    @torch.no_grad()
    def predict(self, x: torch.Tensor, *, rule: str = "soft", scope: str = "batch", power: float = 2.0) -> torch.Tensor:
        """Class probabilities (n, classes); the heads are weighed by their entropies over all of ``x`` (see :func:`combine`)."""
        return combine(self(x), rule=rule, scope=scope, power=power)

    @torch.no_grad()
    def adapt(self, x: torch.Tensor, *, beta: float = 0.8, learning_rate: float = 0.05, batch: int = 32):
        """Class probabilities (n, classes) of :func:`adapt_heads` over ``x`` in its order; the module stays as it was."""
        z = self.encoder(x)
        return adapt_heads(
            self.heads.weight, self.heads.bias, z, self.classes, beta=beta, learning_rate=learning_rate, batch=batch
        )[0]


def train_drm(
    model: DRMClassifier,
    sources: Sequence,
    *,
    epochs: int = 30,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    seed: int = 0,
    progress=None,
) -> DRMClassifier:
    """A trained copy of ``model``; ``sources`` are ``lab.datasets.Points``, one a domain in the order of the heads.

    Domains count by their share of the items; give them equally many, or call ``model.training_loss`` in an own loop.
    """
    x, targets = stacked(sources)

    def loss(logits, target):
        return drm_loss(logits, target[:, 0], target[:, 1])

    setattr(loss, "reduction", "none")  # noqa: B010 - what says that a loss gives one value per item
    fitted = training.fit(
        [model], x, targets, seeds=[seed], loss=loss, epochs=epochs, learning_rate=learning_rate, batch_size=batch_size,
        progress=progress,
    )  # fmt: skip
    trained: Any = fitted.model(0)
    return trained


def stacked(sources: Sequence) -> tuple[torch.Tensor, torch.Tensor]:
    """The items of all sources, and (items, 2) of label and domain."""
    x = torch.cat([source.x for source in sources])
    pairs = [torch.stack([source.label, torch.full_like(source.label, i)], 1) for i, source in enumerate(sources)]
    return x, torch.cat(pairs)


def adaptivity_bound(
    sources: torch.Tensor, target: torch.Tensor, labels: torch.Tensor, truth: torch.Tensor, hypotheses: torch.Tensor,
    weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """``(target risk, bound, adaptivity gap term)`` of the module's bound on a finite input space of m points.

    Args:
        sources: (domains, m) probabilities, ``target`` (m,).
        labels: (domains, m) values in [0, 1], the labelling of each source; ``truth`` (m,) that of the target.
        hypotheses: (domains, m) in [0, 1]; ``weights`` (domains,) of sum 1.
    """
    risk = (target * ((weights[:, None] * hypotheses).sum(0) - truth).abs()).sum()
    own = (sources * (hypotheses - labels).abs()).sum(1)
    variation = 0.5 * (sources - target).abs().sum(1)
    shift = (labels - truth).abs()
    gap = torch.minimum((sources * shift).sum(1), (target * shift).sum(1))
    return risk, (weights * (own + variation + gap)).sum(), (weights * gap).sum()
