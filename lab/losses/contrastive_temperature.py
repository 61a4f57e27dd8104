r"""The contrastive loss and what its temperature does: hardness-aware penalties, uniformity and tolerance.

For unit features a_i and second views b_j with similarities s_ij = a_i . b_j and temperature t

.. math:: L_i = -\log \frac{e^{s_{ii}/t}}{\sum_j e^{s_{ij}/t}}, \qquad
          r_i(s_{ij}) = \frac{|\partial L_i/\partial s_{ij}|}{|\partial L_i/\partial s_{ii}|}
          = \frac{e^{s_{ij}/t}}{\sum_{k \ne i} e^{s_{ik}/t}} \quad (j \ne i):

the push on negatives is a Boltzmann distribution over their similarities, whose entropy grows with t. As t -> 0 only the hardest
negative counts; as t -> infinity all count alike.

Source: F. Wang, H. Liu, 'Understanding the Behaviour of Contrastive Loss', CVPR 2021, equations (1) to (9).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int

from lab import checks
from lab.kernels import infonce
from lab.kernels.precision import wide, without_autocast

REDUCTIONS = ("mean", "sum", "none")


@without_autocast
def info_nce(
    a: Float[torch.Tensor, "n features"],
    b: Float[torch.Tensor, "n features"],
    temperature: float = 0.1,
    *,
    reduction: str = "mean",
) -> torch.Tensor:
    """The contrastive loss of each a_i with positive b_i and the other rows of ``b`` as negatives.

    Args:
        a, b: features of two views, shape (N, D); normalized here to unit length.
        temperature: t > 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: shapes that differ, fewer than two rows, a row of zeros, a temperature that is not positive.
    """
    a, b = _views(a, b)
    values = infonce(normalize(a), normalize(b), temperature=temperature)
    return _reduced(values, reduction)


@without_autocast
def hard_info_nce(
    a: Float[torch.Tensor, "n features"],
    b: Float[torch.Tensor, "n features"],
    temperature: float = 0.1,
    hardest: float = 0.1,
    *,
    reduction: str = "mean",
) -> torch.Tensor:
    """The contrastive loss over the hardest negatives alone: the share ``hardest`` of largest similarity of each row.

    Raises:
        ValueError: as :func:`info_nce`; a share outside (0, 1].
    """
    a, b = _views(a, b)
    temperature = checks.number("temperature", temperature, low=0.0, open_low=True)
    hardest = checks.number("hardest", hardest, low=0.0, high=1.0, open_low=True)
    similarity = normalize(a) @ normalize(b).T / temperature
    n = len(similarity)
    diagonal = torch.eye(n, dtype=torch.bool, device=a.device)
    negatives = similarity.masked_fill(diagonal, -torch.inf)
    kept = max(1, round(hardest * (n - 1)))
    hard = negatives.topk(kept, dim=1).values
    positive = similarity.diagonal()
    values = torch.logsumexp(torch.cat([positive[:, None], hard], 1), 1) - positive
    return _reduced(values, reduction)


def relative_penalty(similarity: Float[torch.Tensor, "... negatives"], temperature: float) -> torch.Tensor:
    """r over the negatives: the softmax of ``similarity / temperature`` along the last axis."""
    temperature = checks.number("temperature", temperature, low=0.0, open_low=True)
    return torch.softmax(wide(checks.tensor("similarity", similarity, floating=True)) / temperature, -1)


def penalty_entropy(similarity: Float[torch.Tensor, "... negatives"], temperature: float) -> torch.Tensor:
    """Entropy of the relative penalty in nats, shape of ``similarity`` without its last axis."""
    r = relative_penalty(similarity, temperature)
    return -torch.special.xlogy(r, r).sum(-1)


@without_autocast
def uniformity(features: Float[torch.Tensor, "n features"], t: float = 2.0) -> torch.Tensor:
    r"""log of the mean of exp(-t ||f_i - f_j||^2) over pairs i != j of unit features; more negative is more uniform.

    Source: T. Wang, P. Isola, 'Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere', ICML 2020, equation (5).
    """
    f = normalize(_features(features))
    squared = torch.pdist(f).square()
    return torch.logsumexp(-t * squared, 0) - torch.log(torch.tensor(float(len(squared)), dtype=f.dtype))


@without_autocast
def tolerance(features: Float[torch.Tensor, "n features"], labels: Int[torch.Tensor, " n"]) -> torch.Tensor:
    """Mean similarity of pairs i != j of one class: the published sum divided by the share of such pairs.

    The paper's expectation runs over all pairs and counts those of different classes as zero; divided by the share of pairs
    of one class it does not depend on the number of classes.
    """
    f = normalize(_features(features))
    labels = checks.tensor("labels", labels, shape=(len(f),))
    same = labels[:, None] == labels[None, :]
    same.fill_diagonal_(False)
    if not bool(same.any()):
        raise ValueError("labels has no two items of one class; tolerance needs at least one such pair")
    return (f @ f.T)[same].mean()


def normalize(features: torch.Tensor) -> torch.Tensor:
    """Rows of unit length; half precision becomes float32, in which exponentials of s/t do not overflow.

    Raises:
        ValueError: a row of zeros, which has no direction (and, divided by a small number instead, a gradient of 1e12).
    """
    features = wide(features)
    largest = features.detach().abs().amax(1, keepdim=True)
    if not bool((largest > 0).all()):
        row = int((largest[:, 0] == 0).to(torch.uint8).argmax())
        raise ValueError(f"features must have a direction in every row, got zeros in row {row} of {len(features)}")
    return torch.nn.functional.normalize(features / largest, dim=1)  # squares of rows of any length are in range


def _features(features):
    features = checks.tensor("features", features, ndim=2, floating=True)
    if len(features) < 2:
        raise ValueError(f"features must have at least 2 rows, got {len(features)}")
    return features


def _views(a, b):
    a = checks.tensor("a", a, ndim=2, floating=True)
    b = checks.tensor("b", b, ndim=2, floating=True)
    checks.same_shape("a", a, "b", b)
    if len(a) < 2:
        raise ValueError(f"a must have at least 2 rows (one negative), got {len(a)}")
    return a, b


def _reduced(values, reduction):
    checks.choice("reduction", reduction, REDUCTIONS)
    return values if reduction == "none" else values.mean() if reduction == "mean" else values.sum()
