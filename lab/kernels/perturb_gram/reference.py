"""perturb_gram in torch operations alone, block by block over the perturbations; block sums are added in float64."""

from __future__ import annotations

from functools import lru_cache

import torch

HELD = 1 << 17  # products of coordinate pairs held at once: they stay in the cache between their making and their use
NARROW = (
    64  # coordinates up to which each pair is multiplied once: beyond, blocks are too short for a loop over coordinates
)


def accumulate(blocks, outputs: torch.Tensor, weights: torch.Tensor | None, intercept: bool, *, matrix: bool = True):
    """(matrix, moment, square, total, total of squared weights) in float64.

    ``blocks`` yields (first, xi (k, d)); outputs (n, m); weights ``None``, (m,) or (n, m). With weights of its own each
    instance's matrix is one row of W (n, m) times the table of coordinate products; it is left out without ``matrix``.
    """
    sums = None
    for first, xi in blocks:
        part = slice(first, first + len(xi))
        z = torch.cat([torch.ones_like(xi[:, :1]), xi], dim=1) if intercept else xi
        found = _block(z, outputs[:, part], None if weights is None else weights[..., part], matrix)
        found = [value.double() for value in found]
        sums = found if sums is None else [a + b for a, b in zip(sums, found)]
    first, *rest = sums
    p = z.shape[1]
    if first.ndim == 2:
        first = (first if first.shape[1] == p * p else first[:, triangle(p)[1]]).view(len(first), p, p)
    return first, *rest


def _block(z, f, w, matrix):
    if w is None:
        count = torch.full((1,), float(len(z)), dtype=z.dtype, device=z.device)
        return (z.T @ z)[None], f @ z, f.square().sum(1), count, count
    if w.ndim == 1:
        weighted = z * w[:, None]
        return (z.T @ weighted)[None], f @ weighted, f.square() @ w, w.sum()[None], w.square().sum()[None]
    own = w.new_zeros(1, 1, 1) if not matrix else _matrices(z, w)
    weighted = f * w
    return own, weighted @ z, (weighted * f).sum(1), w.sum(1), w.square().sum(1)


def _matrices(z, w):
    """Every row of ``w`` times the products of all pairs of coordinates: (n, p * p), or only those of the triangle."""
    if z.shape[1] > NARROW:
        return w @ (z[:, :, None] * z[:, None, :]).flatten(1)
    return w @ products(z).T


def products(z: torch.Tensor) -> torch.Tensor:
    """``z_i z_j`` of all pairs ``i <= j`` of coordinates of z (k, p), in row order: (p (p + 1) / 2, k)."""
    rows = z.T.contiguous()
    return torch.cat([rows[i] * rows[i:] for i in range(len(rows))])


@lru_cache(maxsize=64)
def triangle(p: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the upper triangle lies in a flat (p * p) matrix, and where each entry of the matrix lies in the triangle."""
    first, second = torch.triu_indices(p, p)
    place = torch.empty(p, p, dtype=torch.long)
    place[first, second] = place[second, first] = torch.arange(len(first))
    return first * p + second, place.flatten()
