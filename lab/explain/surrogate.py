"""The interpretable model ``g`` and the loss under which it approximates ``f``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from lab import checks

Link = Literal["identity", "logit", "log"]


@dataclass(frozen=True)
class Linear:
    """``link(f) ~ g(xi) = intercept + weights . xi`` (``degree=2``: plus products of two players).

    ``link="logit"`` or ``"log"`` fits the transformed output, which recovers a logistic or exponential ``f`` exactly.
    ``penalty`` in [0, 1] makes ``g`` sparse: an L1 penalty as a fraction of the smallest one that sets all weights to
    0.
    """

    intercept: bool = True
    link: Link = "identity"
    degree: int = 1
    penalty: float | None = None

    def __post_init__(self):
        checks.choice("link", self.link, ("identity", "logit", "log"))
        checks.integer("degree", self.degree, low=1, high=2)
        if self.penalty is not None:
            checks.number("penalty", self.penalty, low=0, high=1)

    def basis(self, design: torch.Tensor, squares: bool) -> torch.Tensor:
        """The functions of ``xi`` that ``g`` combines: ``(..., K)``, for degree 2 followed by products (and
        squares)."""
        if self.degree == 1:
            return design
        first, second = pairs(design.shape[-1], squares)
        return torch.cat([design, design[..., first] * design[..., second]], -1)


def pairs(count: int, squares: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the products of two players, in row order; with ``squares`` also of a player with itself."""
    return tuple(torch.triu_indices(count, count, offset=0 if squares else 1))


def interactions(theta: torch.Tensor, count: int, squares: bool) -> torch.Tensor:
    """The symmetric matrix ``(N, K, K, C)`` of product coefficients: ``g`` holds each product of two players once."""
    first, second = pairs(count, squares)
    out = theta.new_zeros(theta.shape[0], count, count, theta.shape[-1])
    out[:, first, second] = theta[:, count:]
    out[:, second, first] = theta[:, count:]
    return out


@dataclass(frozen=True)
class Sobolev:
    """The loss ``(f - g)^2 + weight |grad f - grad g|^2``: for Gaussian draws the same limit as either term alone
    (Stein)."""

    weight: float = 1.0

    def __post_init__(self):
        checks.number("weight", self.weight, low=0)
