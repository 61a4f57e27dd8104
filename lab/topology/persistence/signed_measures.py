r"""Signed barcodes as signed measures: integer atoms from exact kernels, then one differentiable gather.

For a filtration :math:`f: K \to \mathbb R^p` the Hilbert function is :math:`\mathrm{hf}_d(r) = \dim H_d(K_{f \le r})`
and its signed measure is the unique finite :math:`\mu = \sum_i w_i \delta_{x_i}` with

.. math:: \mathrm{hf}_d(r) = \mu(\{x : x \le r\}), \qquad w_i \in \mathbb Z.

The Euler measure is :math:`\sum_\sigma (-1)^{\dim\sigma} \delta_{f(\sigma)} = \sum_d (-1)^d \mu_d`. Every coordinate of
every atom is the value of a cell on that axis, so :math:`\mu` is semilinear in :math:`f`: within one order type its
weights are constant and its atoms are coordinates of f, which is what :func:`hilbert` returns and differentiates.

Source: Scoccola, Setlur, Loiseaux, Carriere, Oudot, 'Differentiability and Optimization of Multiparameter Persistent
Homology', ICML 2024; Loiseaux, Scoccola, Carriere, Botnan, Oudot, 'Stable vectorization of multiparameter persistent
homology using signed barcodes as measures', NeurIPS 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lab import checks
from lab.kernels.precision import wide
from lab.topology.persistence import filtrations as fl
from lab.topology.persistence.euler_cells import euler_cells, merged
from lab.topology.persistence.hilbert_cells import graph_pairs, hilbert_cells, image_pairs, two_axes
from lab.topology.persistence.lists import over_list


@dataclass(frozen=True)
class SignedMeasure:
    """A finite signed measure :math:`\\sum_i w_i \\delta_{x_i}` on R^p.

    ``points`` (k, p) are differentiable, ``weights`` (k,) are integers (int64), ``index`` (k, p) holds the cell of the
    filtration whose value each coordinate is (-1 where there is none). Half precision becomes float32.
    """

    points: torch.Tensor
    weights: torch.Tensor
    index: torch.Tensor

    def __post_init__(self):
        object.__setattr__(self, "points", wide(self.points))

    @property
    def parameters(self) -> int:
        return self.points.shape[1]

    @property
    def mass(self) -> int:
        """Total mass, the value of the function far up."""
        return int(self.weights.sum())

    def __len__(self):
        return len(self.weights)

    def __sub__(self, other: SignedMeasure) -> SignedMeasure:
        """The difference of two measures, differentiable in both."""
        return SignedMeasure(
            torch.cat([self.points, other.points]),
            torch.cat([self.weights, -other.weights]),
            torch.cat([self.index, torch.full_like(other.index, -1)]),
        )

    def at(self, grades) -> torch.Tensor:
        """The function of the measure at ``grades`` (m, p): the mass of everything below, int64 (m,)."""
        grades = checks.tensor("grades", grades, shape=(None, self.parameters), finite=False).to(self.points)
        below = (self.points.detach()[None] <= grades[:, None]).all(-1)
        return (below * self.weights).sum(1)

    def reduced(self) -> SignedMeasure:
        """The same measure with one atom a place and none of weight zero; the first cell of a place carries its
        gradient."""
        if len(self) == 0:
            return self
        places = checks.array(self.points)
        _, first, place = np.unique(places, axis=0, return_index=True, return_inverse=True)
        weight = np.bincount(place.reshape(-1), self.weights.cpu().numpy(), len(first)).astype(np.int64)
        keep = torch.from_numpy(first[weight != 0]).to(self.points.device)
        weights = torch.from_numpy(weight[weight != 0]).to(self.points.device)
        return SignedMeasure(self.points[keep], weights, self.index[keep])

    def snapped(self, filtration, resolution: int) -> SignedMeasure:
        """The measure on a coarse grid, as grid-based libraries compute it: every coordinate moves up to the next of
        ``resolution`` quantiles of its axis, and the cell that owns the grid line carries the gradient of all of
        them."""
        resolution = checks.integer("resolution", resolution, low=1)
        columns = []
        for axis in range(self.parameters):
            ids = self.index[:, axis]
            value, first = np.unique(checks.array(self.points[:, axis]), return_index=True)
            pick = np.unique(np.ceil(np.linspace(0, len(value) - 1, min(resolution, len(value)))).astype(int))
            line = np.searchsorted(value[pick], checks.array(self.points[:, axis]))
            columns.append(ids[torch.from_numpy(first[pick][line]).to(ids.device)])
        return _assemble(filtration, torch.stack(columns, 1), self.weights)

    def to_frame(self):
        """One row an atom: coordinates, weight and cells."""
        import pandas as pd

        axes = range(self.parameters)
        data = {f"axis_{a}": checks.array(self.points[:, a]) for a in axes}
        data["weight"] = self.weights.cpu().numpy()
        data.update({f"cell_{a}": self.index[:, a].cpu().numpy() for a in axes})
        return pd.DataFrame(data)

    def save(self, path) -> None:
        """Write points, weights and cells as safetensors."""
        from safetensors.torch import save_file

        save_file(
            {name: getattr(self, name).detach().contiguous() for name in ("points", "weights", "index")}, str(path)
        )

    @classmethod
    def load(cls, path) -> SignedMeasure:
        from safetensors.torch import load_file

        return cls(**load_file(str(path)))


def hilbert(filtration, degree: int = 0, *, grid: int | None = None, threads: int | None = None) -> SignedMeasure:
    """Signed measure of the Hilbert function of H_degree, exact by default.

    Args:
        filtration: any filtration of :mod:`lab.topology.persistence.filtrations`, or a list of them (then a list comes back).
            A list of graphs is computed as one disjoint union, whose measure is the sum of theirs.
        degree: 0 or 1; or several, (0, 1), for a list with one measure each, of graphs and images in one pass.
        grid: ``None`` is exact; an integer snaps each axis to that many quantiles (:meth:`SignedMeasure.snapped`).
        threads: bounds the workers for a list.

    Returns:
        SignedMeasure whose function at every grade r is the dimension of H_degree(K_r). For one parameter the atoms are
        the births (+1) and deaths (-1) of the barcode.

    Raises:
        ValueError: a degree that the filtration does not have or that cannot be computed exactly, with the reason.
    """
    if isinstance(degree, (tuple, list)):
        return _several_degrees(filtration, degree, grid=grid, threads=threads)
    checks.integer("degree", degree, low=0)
    if isinstance(filtration, (list, tuple)) and len(filtration) > 1 and grid is None and _graphs(filtration):
        return _hilbert_of_union(filtration, degree)
    return _hilbert(filtration, degree, grid=grid, threads=threads)


@over_list
def _several_degrees(filtration, degrees, *, grid):
    shared = None
    if isinstance(filtration, (fl.Graph, fl.Image)) and filtration.parameters == 2 and grid is None:
        shared = filtration.values.detach().double().cpu().numpy()
        shared = shared.T if isinstance(filtration, fl.Graph) else shared.reshape(2, -1)
        pairs = graph_pairs if isinstance(filtration, fl.Graph) else image_pairs
        index, components, euler = two_axes(filtration, shared, pairs)
    measures = []
    for degree in degrees:
        checks.integer("degree", degree, low=0)
        if shared is None or degree > 1:
            measures.append(_hilbert(filtration, degree, grid=grid))
        else:
            weight = components if degree == 0 else components - euler
            measures.append(_assemble(filtration, index[weight != 0], weight[weight != 0]))
    return measures


@over_list
def _hilbert(filtration, degree, *, grid):
    measure = _assemble(filtration, *hilbert_cells(filtration, degree))
    return measure if grid is None else measure.snapped(filtration, grid)


def _graphs(items):
    return all(isinstance(item, fl.Graph) and item.parameters == items[0].parameters <= 2 for item in items)


def _hilbert_of_union(graphs, degree):
    """Measures of many graphs from one call on their disjoint union, split by the graph of the vertex of each atom."""
    joined, start = union(graphs)
    measure = _assemble(joined, *hilbert_cells(joined, degree))
    graph = np.searchsorted(start, measure.index[:, 0].cpu().numpy(), side="right") - 1
    order = np.argsort(graph, kind="stable")
    parts = np.bincount(graph, minlength=len(graphs)).tolist()
    order = torch.from_numpy(order).to(measure.index.device)
    index = measure.index[order] - torch.from_numpy(np.repeat(start[:-1], parts)).to(order.device)[:, None]
    pieces = zip(measure.points[order].split(parts), measure.weights[order].split(parts), index.split(parts))
    return [SignedMeasure(*piece) for piece in pieces]


def union(graphs) -> tuple[fl.Graph, np.ndarray]:
    """Disjoint union of graphs, and the first vertex of each (with the total at the end)."""
    start = np.concatenate([[0], np.cumsum([graph.size for graph in graphs])])
    edges = np.concatenate([graph.edges + first for graph, first in zip(graphs, start)])
    joined = fl.Graph.__new__(fl.Graph)
    joined.values, joined.edges = torch.cat([graph.values for graph in graphs]), edges
    joined.size, joined.parameters = joined.values.shape
    return joined, start


@over_list
def euler(filtration, *, max_dimension: int | None = None) -> SignedMeasure:
    """Signed measure of the Euler characteristic, one atom a cell of the complex (cancelled where cells share a grade).

    Args:
        filtration: Graph and Image with any number of parameters, FlagDelaunay, or a Rips filtration of at most 300
            points.
        max_dimension: for Rips filtrations, 1 or 2: the dimension of the skeleton (2 by default).
    """
    if isinstance(filtration, fl.Rips) and not isinstance(filtration, fl.FlagDelaunay):
        dimension = 2 if max_dimension is None else checks.integer("max_dimension", max_dimension, low=0, high=2)
        if filtration.size > 300:
            raise ValueError(
                f"euler of a Rips filtration needs at most 300 points, got {filtration.size}; use FlagDelaunay"
            )
    elif max_dimension is not None:
        raise ValueError(f"max_dimension is for Rips filtrations; {type(filtration).__name__} has its own dimension")
    else:
        dimension = None
    return _assemble(filtration, *merged(*euler_cells(filtration, dimension)))


def _assemble(filtration, index, weights) -> SignedMeasure:
    device = filtration.source.device
    index = torch.as_tensor(index, device=device)
    weights = torch.as_tensor(weights, device=device)
    columns = [wide(filtration.gather(axis, index[:, axis])) for axis in range(filtration.parameters)]
    points = torch.stack(columns, 1)
    checks.refuse_nonfinite(f"the values of the filtration in {points.dtype}", points)
    return SignedMeasure(points, weights, index)
