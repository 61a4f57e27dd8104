r"""How close samples are to data: distances of distributions, coverage of modes and classes, classifier score.

All take sets (..., n, d) and return one value for each leading index, so that seeds are compared at once.
"""

from __future__ import annotations

import torch

from lab import checks


def sliced_wasserstein(
    x: torch.Tensor, y: torch.Tensor, projections: int = 64, seed: int | torch.Generator = 0
) -> torch.Tensor:
    r"""sqrt of the mean over directions of W_2^2 of the projections; sets of one size. N. Bonneel, J. Rabin, G. Peyre, H.
    Pfister, 2015."""
    x, y = _pair(x, y)
    if x.shape[-2] != y.shape[-2]:
        raise ValueError(f"x and y must have as many points, got {x.shape[-2]} and {y.shape[-2]}")
    draws = torch.randn(
        x.shape[-1],
        checks.integer("projections", projections, low=1),
        generator=checks.generator(seed, x.device),
        dtype=x.dtype,
        device=x.device,
    )
    directions = draws / draws.norm(dim=0)
    gaps = (x @ directions).sort(-2).values - (y @ directions).sort(-2).values
    return gaps.square().mean((-2, -1)).sqrt()


def energy_distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """2 E|x - y| - E|x - x'| - E|y - y'|, the last two over different points (unbiased, so it may be below 0). Szekely,
    Rizzo, 2013."""
    x, y = _pair(x, y)
    return 2 * torch.cdist(x, y).mean((-2, -1)) - _within(torch.cdist(x, x)) - _within(torch.cdist(y, y))


def mmd(x: torch.Tensor, y: torch.Tensor, width: float | None = None) -> torch.Tensor:
    """Unbiased squared maximum mean discrepancy with exp(-|x - y|^2 / (2 width^2)). Gretton et al., JMLR 2012, equation (3).

    ``width``: the median distance within y where not given.
    """
    x, y = _pair(x, y)
    if width is None:
        found = torch.cdist(y, y)
        h = found.flatten(-2).median(-1).values[..., None, None].clamp_min(1e-12)
    else:
        h = torch.as_tensor(checks.number("width", width, low=0.0, open_low=True), dtype=x.dtype)
    kernel = lambda a, b: torch.exp(-0.5 * (torch.cdist(a, b) / h) ** 2)  # noqa: E731
    return _within(kernel(x, x)) + _within(kernel(y, y)) - 2 * kernel(x, y).mean((-2, -1))


def frechet(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """|mean difference|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) of the moments: FID on features of choice. Dowson, Landau, 1982."""
    x, y = _pair(x, y)
    gap = (x.mean(-2) - y.mean(-2)).square().sum(-1)
    covariance = lambda v: (v - v.mean(-2, keepdim=True)).mT @ (v - v.mean(-2, keepdim=True)) / v.shape[-2]  # noqa: E731
    a, b = covariance(x), covariance(y)
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp_min(0).sqrt()[..., None, :] @ vectors.mT
    inner = torch.linalg.eigvalsh(root @ b @ root).clamp_min(0).sqrt().sum(-1)
    return gap + a.diagonal(dim1=-2, dim2=-1).sum(-1) + b.diagonal(dim1=-2, dim2=-1).sum(-1) - 2 * inner


def coverage(x: torch.Tensor, centres: torch.Tensor, radius: float, least: float = 0.25) -> torch.Tensor:
    """Share of ``centres`` (k, d) within whose ``radius`` lie at least ``least`` / k of the samples."""
    near = torch.cdist(x, centres.to(x).expand(*x.shape[:-2], *centres.shape)) <= checks.number(
        "radius", radius, low=0.0
    )
    return (near.to(x.dtype).mean(-2) >= least / len(centres)).to(x.dtype).mean(-1)


def class_coverage(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """exp of the entropy of the classes found, over the number of classes: 1 when all are equally frequent; labels (..., n)."""
    share = torch.nn.functional.one_hot(labels, classes).double().mean(-2)
    return torch.exp(torch.special.entr(share).sum(-1)) / classes


def classifier_score(probabilities: torch.Tensor) -> torch.Tensor:
    """exp E KL(p(y|x) || p(y)) of predicted probabilities (..., n, classes): Inception's score for a classifier of choice."""
    marginal = probabilities.mean(-2, keepdim=True).clamp_min(1e-12)
    inner = (probabilities * (probabilities.clamp_min(1e-12) / marginal).log()).sum(-1)
    return inner.mean(-1).exp()


def _pair(x, y):
    x, y = (checks.tensor(name, value, floating=True) for name, value in (("x", x), ("y", y)))
    if min(x.ndim, y.ndim) < 2 or x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"x and y must be sets (..., n, d) with one d, got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    y = y.to(x)
    return (x, y.expand(*x.shape[:-2], *y.shape[-2:])) if y.ndim < x.ndim else (x, y)


def _within(matrix):
    n = matrix.shape[-1]
    if n < 2:
        raise ValueError("x and y must have at least two points each")
    return (matrix.sum((-2, -1)) - matrix.diagonal(dim1=-2, dim2=-1).sum(-1)) / (n * (n - 1))
