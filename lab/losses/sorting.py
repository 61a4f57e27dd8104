r"""Differentiable sorting networks: a doubly stochastic relaxation of the sorting permutation.

A network is a list of layers of compare-and-swap pairs. A pair (a, b) becomes

.. math:: \min\nolimits_\beta = \alpha a + (1 - \alpha) b, \quad \max\nolimits_\beta = (1 - \alpha) a + \alpha b, \qquad
          \alpha = \sigma(\beta (b - a)),

with a sigmoid sigma of odd symmetry about 1/2. The same mixing applied to the columns of the identity yields P in R^{n x n},
P[i, r] the weight of input i at rank r (ascending). Each layer is doubly stochastic, so P is. As the steepness beta grows P tends
to the permutation matrix of the sort wherever values differ.

Sources: F. Petersen, C. Borgelt, H. Kuehne, O. Deussen, 'Differentiable Sorting Networks for Scalable Sorting and Ranking
Supervision', ICML 2021; the Cauchy sigmoid: the same, 'Monotonic Differentiable Sorting Networks', ICLR 2022; the networks:
K. E. Batcher, 'Sorting Networks and Their Applications', AFIPS 1968.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float

from lab import checks

NETWORKS = ("odd-even", "bitonic")
SIGMOIDS = ("cauchy", "logistic", "reciprocal")


def soft_sort(
    values: Float[torch.Tensor, "... n"], steepness: float = 1.0, *, network: str = "odd-even", sigmoid: str = "cauchy"
) -> tuple[Float[torch.Tensor, "... n"], Float[torch.Tensor, "... n n"]]:
    """Softly sorted values (ascending) and the doubly stochastic matrix P[..., i, r].

    Args:
        values: any real numbers; the last axis is sorted, leading axes are a batch.
        steepness: beta > 0, in one over the unit of ``values``.
        network: ``"odd-even"`` (n layers of neighbours) or ``"bitonic"`` (log2(n)(log2(n)+1)/2 layers; other lengths than powers
            of two are padded with +infinity and cut).
        sigmoid: ``"cauchy"`` (arctan), ``"logistic"`` or ``"reciprocal"``.

    Raises:
        ValueError, TypeError: NaN or infinite values, integer dtypes, unknown names.
    """
    x = checks.tensor("values", values, floating=True)
    if x.ndim == 0:
        raise ValueError("values must have at least one axis")
    steepness = checks.number("steepness", steepness, low=0.0, open_low=True)
    checks.choice("network", network, NETWORKS)
    checks.choice("sigmoid", sigmoid, SIGMOIDS)
    n = x.shape[-1]
    half = x.dtype in (torch.float16, torch.bfloat16)
    current = x.float() if half else x
    matrix = torch.eye(n, dtype=current.dtype, device=x.device).expand(*x.shape, n)
    for left, right in layers(n, network):
        a, b = current[..., left], current[..., right]
        alpha = _sigmoid(steepness * (b - a), sigmoid)
        current = _mixed(current, left, right, alpha * a + (1 - alpha) * b, (1 - alpha) * a + alpha * b)
        p, q = matrix[..., left], matrix[..., right]
        mix = alpha.unsqueeze(-2)
        matrix = _mixed(matrix, left, right, mix * p + (1 - mix) * q, (1 - mix) * p + mix * q)
    return (current.to(x.dtype), matrix.to(x.dtype)) if half else (current, matrix)


def soft_sort_permutation(values: torch.Tensor, steepness: float = 1.0, *, network: str = "odd-even") -> torch.Tensor:
    """P of :func:`soft_sort` with the Cauchy sigmoid."""
    return soft_sort(values, steepness, network=network)[1]


@lru_cache(maxsize=64)
def layers(n: int, network: str) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """The compare-and-swap pairs of each layer as (places of the smaller, places of the larger) value."""
    pairs = _odd_even(n) if network == "odd-even" else _bitonic(n)
    return tuple((torch.tensor([a for a, _ in layer]), torch.tensor([b for _, b in layer])) for layer in pairs if layer)


def _odd_even(n):
    return [[(i, i + 1) for i in range(layer % 2, n - 1, 2)] for layer in range(n)]


def _bitonic(n):
    """Batcher's bitonic sorter with every comparator ascending, so that absent places past ``n`` can hold +infinity."""
    found = []
    size = 2
    while size < 2 * n:
        found.append([(i, i ^ (size - 1)) for i in range(n) if i < i ^ (size - 1) < n])
        step = size // 4
        while step:
            found.append([(i, i + step) for i in range(n) if not i & step and i + step < n])
            step //= 2
        size *= 2
    return found


def _sigmoid(x, kind):
    if kind == "cauchy":
        return torch.atan(x) / math.pi + 0.5
    if kind == "logistic":
        return torch.sigmoid(x)
    return 0.5 * (x / (1 + x.abs()) + 1)


def _mixed(tensor, left, right, low, high):
    return tensor.index_copy(-1, left.to(tensor.device), low).index_copy(-1, right.to(tensor.device), high)
