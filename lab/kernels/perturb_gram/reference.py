"""perturb_gram in torch operations alone, block by block over the perturbations; block sums are added in float64."""

from __future__ import annotations

import torch

HELD = 1 << 17  # products of coordinate pairs held at once: they stay in the cache between their making and their use


def accumulate(blocks, outputs: torch.Tensor, weights: torch.Tensor | None, intercept: bool, *, matrix: bool = True):
    """(matrix, moment, square, total, total of squared weights) in float64.

    ``blocks`` yields (first, xi (k, d)); outputs (n, m); weights ``None``, (m,) or (n, m). With weights of its own each
    instance's matrix is one row of W (n, m) times the table of coordinate products (m, p * p): a single product (both
    halves of the symmetric matrix cost less than gathering one); it is left out without ``matrix``.
    """
    sums = None
    for first, xi in blocks:
        part = slice(first, first + len(xi))
        z = torch.cat([torch.ones_like(xi[:, :1]), xi], dim=1) if intercept else xi
        found = _block(z, outputs[:, part], None if weights is None else weights[..., part], matrix)
        found = [value.double() for value in found]
        sums = found if sums is None else [a + b for a, b in zip(sums, found)]
    first, *rest = sums
    if first.ndim == 2:
        first = first.view(len(first), z.shape[1], z.shape[1])
    return first, *rest


def _block(z, f, w, matrix):
    if w is None:
        count = torch.full((1,), float(len(z)), dtype=z.dtype, device=z.device)
        return (z.T @ z)[None], f @ z, f.square().sum(1), count, count
    if w.ndim == 1:
        weighted = z * w[:, None]
        return (z.T @ weighted)[None], f @ weighted, f.square() @ w, w.sum()[None], w.square().sum()[None]
    products = w @ (z[:, :, None] * z[:, None, :]).flatten(1) if matrix else w.new_zeros(1, 1, 1)
    return products, (f * w) @ z, (f.square() * w).sum(1), w.sum(1), w.square().sum(1)
