r"""Losses of barcodes and signed measures.

Every one is a sum over atoms of a function of their coordinates, hence definable and locally Lipschitz wherever that
function is, and its autograd gradient is an element of the Clarke subdifferential.

Source: Carriere, Chazal, Glisse, Ike, Kannan, Umeda, 'Optimizing persistent homology based functions', ICML 2021, example
3.6; Scoccola and others, ICML 2024, section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lab import checks
from lab.topology.persistence.diagrams import Diagram, bars
from lab.topology.persistence.signed_measures import SignedMeasure, hilbert


def total_persistence(
    diagram: Diagram, *, order: float = 1.0, weight: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> torch.Tensor:
    r""":math:`\sum_i w(b_i, d_i)\, (d_i - b_i)^{order}` over the finite bars.

    ``weight`` maps the points (k, 2) to (k,); minimizing with weight 1 removes features, with -1 it enlarges them.
    """
    if not isinstance(diagram, Diagram):
        raise TypeError(f"diagram must be a barcode of lab.topology.persistence.diagrams, got {type(diagram).__name__}")
    order = checks.number("order", order, low=0.0, open_low=True)
    length = diagram.lengths.pow(order)
    return length.sum() if weight is None else (weight(diagram.points) * length).sum()


def integral(atoms: SignedMeasure | Diagram, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    r""":math:`\int \phi\, d\mu = \sum_i w_i\, \phi(x_i)`; ``function`` maps points (k, p) to (k,). Bars have weight one."""
    if not isinstance(atoms, (SignedMeasure, Diagram)):
        raise TypeError(f"atoms must be a SignedMeasure or a barcode, got {type(atoms).__name__}")
    values = function(atoms.points)
    if values.shape != atoms.points.shape[:1]:
        raise ValueError(f"function must return one value an atom ({len(atoms)},), got {tuple(values.shape)}")
    return (values if isinstance(atoms, Diagram) else values * atoms.weights).sum()


def lengths_between(measure: SignedMeasure) -> torch.Tensor:
    r""":math:`\big(\sum_{w_i < 0} |w_i|\,\|x_i\|_1 - \sum_{w_i > 0} w_i \|x_i\|_1\big) / \#atoms`: how far deaths lie
    beyond births, the many-parameter form of mean bar length."""
    return -integral(measure, lambda points: points.abs().sum(1)) / max(len(measure), 1)


@dataclass(frozen=True)
class Objective:
    """A loss on a descriptor of a filtration of the parameters, in three parts that optimizers can use separately.

    Args:
        filtration: parameters -> filtration, for example ``Rips`` itself.
        loss: barcode (one parameter) or signed measure (several) -> scalar.
        degree: the homology degree.
        penalty: parameters -> scalar, added to the loss; ``None`` for none.
    """

    filtration: Callable
    loss: Callable
    degree: int = 1
    penalty: Callable | None = None

    def describe(self, x: torch.Tensor):
        """Barcode or signed measure at ``x``."""
        filtration = self.filtration(x)
        return (bars if filtration.parameters == 1 else hilbert)(filtration, self.degree)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        value = self.loss(self.describe(x))
        return value if self.penalty is None else value + self.penalty(x)
