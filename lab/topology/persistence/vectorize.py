r"""Vectors from barcodes and signed measures: images, landscapes, silhouettes, convolutions. Differentiable, batchable.

All take the positions where they are evaluated, so that vectors of different inputs can be compared and learned from.

Source: Henry Adams and others, 'Persistence images', JMLR 2017; Peter Bubenik, 'Statistical topological data analysis
using persistence landscapes', JMLR 2015; Frederic Chazal and others, 'Stochastic convergence of persistence landscapes
and silhouettes', SoCG 2014.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lab import checks
from lab.kernels.precision import without_autocast
from lab.topology.persistence.diagrams import Diagram
from lab.topology.persistence.signed_measures import SignedMeasure


@without_autocast
def convolution(measure: SignedMeasure, grid: Sequence, bandwidth) -> torch.Tensor:
    r"""Gaussian smoothing of a signed measure on a grid.

    .. math:: g(r) = \sum_i w_i \prod_a \exp\!\Big(-\frac{(r_a - x_{i,a})^2}{2 h_a^2}\Big)

    Args:
        measure: p parameters, p <= 3.
        grid: one increasing sequence of positions for each parameter.
        bandwidth: h, a number or one for each parameter.

    Returns:
        Tensor of shape (len(grid[0]), ..., len(grid[p - 1])).
    """
    if not isinstance(measure, SignedMeasure):
        raise TypeError(f"measure must be a SignedMeasure, got {type(measure).__name__}")
    points, weights = measure.points, measure.weights.to(measure.points.dtype)
    grid = _grid(grid, measure.parameters, points)
    widths = _widths(bandwidth, measure.parameters)
    kernels = [
        torch.exp(-0.5 * ((line[None] - points[:, a, None]) / widths[a]).square()) for a, line in enumerate(grid)
    ]
    if len(kernels) == 1:
        return weights @ kernels[0]
    if len(kernels) == 2:
        return (weights[:, None] * kernels[0]).T @ kernels[1]
    return torch.einsum("i,ia,ib,ic->abc", weights, *kernels)


@without_autocast
def persistence_image(
    diagram: Diagram, grid: Sequence, bandwidth, *, weight: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> torch.Tensor:
    """Gaussian image of a barcode over (birth, length); ``weight`` maps lengths (k,) to weights (k,), linear by default.

    ``grid`` holds the positions of births and of lengths; returns (births, lengths)."""
    diagram = _diagram(diagram)
    births, lengths = _grid(grid, 2, diagram.points)
    widths = _widths(bandwidth, 2)
    length = diagram.lengths
    weights = length if weight is None else weight(length)
    first = torch.exp(-0.5 * ((births[None] - diagram.points[:, :1]) / widths[0]).square())
    second = torch.exp(-0.5 * ((lengths[None] - length[:, None]) / widths[1]).square())
    return (weights[:, None] * first).T @ second


def landscape(diagram: Diagram, positions, *, count: int = 5) -> torch.Tensor:
    r"""Landscape functions :math:`\lambda_k(t)`, the k-th largest of :math:`\min(t - b, d - t)^+`: (count, positions)."""
    diagram = _diagram(diagram)
    count = checks.integer("count", count, low=1)
    tents = _tents(diagram, positions)
    if len(tents) < count:
        tents = torch.cat([tents, tents.new_zeros(count - len(tents), tents.shape[1])])
    return tents.topk(count, dim=0).values


def silhouette(diagram: Diagram, positions, *, power: float = 1.0) -> torch.Tensor:
    r"""Mean of the tents weighted by :math:`(d - b)^{power}`: (positions,)."""
    diagram = _diagram(diagram)
    power = checks.number("power", power, low=0.0)
    tents = _tents(diagram, positions)
    if not len(tents):
        return tents.sum(0)
    weights = (diagram.lengths / diagram.lengths.detach().amax()).pow(
        power
    )  # of the longest bar's, so that one of them is 1
    return (weights[:, None] * tents).sum(0) / weights.sum()


def _tents(diagram, positions):
    (line,) = _grid([positions], 1, diagram.points)
    births, deaths = diagram.points[:, :1], diagram.points[:, 1:]
    return torch.minimum(line[None] - births, deaths - line[None]).clamp_min(0)


def _diagram(diagram):
    if not isinstance(diagram, Diagram):
        raise TypeError(f"diagram must be a barcode of lab.topology.persistence.diagrams, got {type(diagram).__name__}")
    return diagram


def _grid(grid, parameters, like):
    grid = [checks.tensor(f"grid[{a}]", line, ndim=1).to(like) for a, line in enumerate(grid)]
    if len(grid) != parameters or parameters > 3:
        raise ValueError(
            f"grid must have one line of positions for each of {parameters} parameters (at most 3), got {len(grid)}"
        )
    return grid


def _widths(bandwidth, parameters):
    widths = [bandwidth] * parameters if isinstance(bandwidth, (int, float)) else list(bandwidth)
    if len(widths) != parameters:
        raise ValueError(f"bandwidth must be a number or {parameters} numbers, got {len(widths)}")
    return [checks.number("bandwidth", width, low=0.0, open_low=True) for width in widths]
