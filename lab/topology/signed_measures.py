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
from lab.topology import filtrations as fl
from lab.topology.batches import over_list


@dataclass(frozen=True)
class SignedMeasure:
    """A finite signed measure :math:`\\sum_i w_i \\delta_{x_i}` on R^p.

    ``points`` (k, p) are differentiable, ``weights`` (k,) are integers (int64), ``index`` (k, p) holds the cell of the
    filtration whose value each coordinate is (-1 where there is none).
    """

    points: torch.Tensor
    weights: torch.Tensor
    index: torch.Tensor

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
        places = self.points.detach().cpu().numpy()
        _, first, place = np.unique(places, axis=0, return_index=True, return_inverse=True)
        weight = np.bincount(place.reshape(-1), self.weights.cpu().numpy(), len(first)).astype(np.int64)
        keep = torch.from_numpy(first[weight != 0]).to(self.points.device)
        weight = torch.from_numpy(weight[weight != 0]).to(self.points.device)
        return SignedMeasure(self.points[keep], weight, self.index[keep])

    def snapped(self, filtration, resolution: int) -> SignedMeasure:
        """The measure on a coarse grid, as grid-based libraries compute it: every coordinate moves up to the next of
        ``resolution`` quantiles of its axis, and the cell that owns the grid line carries the gradient of all of
        them."""
        resolution = checks.integer("resolution", resolution, low=1)
        columns = []
        for axis in range(self.parameters):
            ids = self.index[:, axis]
            value, first = np.unique(self.points[:, axis].detach().cpu().numpy(), return_index=True)
            pick = np.unique(np.ceil(np.linspace(0, len(value) - 1, min(resolution, len(value)))).astype(int))
            line = np.searchsorted(value[pick], self.points[:, axis].detach().cpu().numpy())
            columns.append(ids[torch.from_numpy(first[pick][line]).to(ids.device)])
        return _assemble(filtration, torch.stack(columns, 1), self.weights)

    def to_frame(self):
        """One row an atom: coordinates, weight and cells."""
        import pandas as pd

        axes = range(self.parameters)
        data = {f"axis_{a}": self.points[:, a].detach().cpu().numpy() for a in axes}
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
        filtration: any filtration of :mod:`lab.topology.filtrations`, or a list of them (then a list comes back).
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
        pairs = _graph_pairs if isinstance(filtration, fl.Graph) else _image_pairs
        index, components, euler = _two_axes(filtration, shared, pairs)
    measures = []
    for degree in degrees:
        checks.integer("degree", degree, low=0)
        if shared is None or degree > 1:
            measures.append(_hilbert(filtration, degree, grid=grid))
        else:
            weight = components if degree == 0 else components - euler
            measures.append(_assemble(filtration, index[weight != 0], weight[weight != 0]))
    return measures


def _two_axes(filtration, values, pairs, alive=None):
    """Places (k, 2) and the weights of the component and Euler measures of axes 0 and 1, of the vertices ``alive``."""
    key_order = np.argsort(values[0], kind="stable")
    key = np.empty_like(key_order)
    key[key_order] = np.arange(len(key))
    order = np.argsort(values[1], kind="stable")
    if alive is not None:
        order = order[alive[order]]
    ids, step, components, euler = pairs(filtration, order, key)
    return np.stack([key_order[ids], step], 1), components, euler


@over_list
def _hilbert(filtration, degree, *, grid):
    measure = _assemble(filtration, *_hilbert_cells(filtration, degree))
    return measure if grid is None else measure.snapped(filtration, grid)


def _graphs(items):
    return all(isinstance(item, fl.Graph) and item.parameters == items[0].parameters <= 2 for item in items)


def _hilbert_of_union(graphs, degree):
    """Measures of many graphs from one call on their disjoint union, split by the graph of the vertex of each atom."""
    joined, start = union(graphs)
    measure = _assemble(joined, *_hilbert_cells(joined, degree))
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
    return _assemble(filtration, *_merged(*_euler_cells(filtration, dimension)))


def _assemble(filtration, index, weights) -> SignedMeasure:
    device = filtration.source.device
    index = torch.as_tensor(index, device=device)
    weights = torch.as_tensor(weights, device=device)
    columns = [filtration.gather(axis, index[:, axis]) for axis in range(filtration.parameters)]
    return SignedMeasure(torch.stack(columns, 1), weights, index)


def _hilbert_cells(filtration, degree):
    for kind, function in _HILBERT.items():
        if isinstance(filtration, kind):
            return function(filtration, degree)
    raise TypeError(f"filtration must be one of lab.topology.filtrations, got {type(filtration).__name__}")


# ---- graphs and images
# -------------------------------------------------------------------------------------------------


def _graph_cells(graph, degree):
    if degree > 1:
        raise ValueError(f"degree must be 0 or 1 for a graph, got {degree}")
    return _over_axes(graph, degree, graph.values.detach().double().cpu().numpy().T, _graph_pairs)


def _image_cells(image, degree):
    if image.parameters == 1:
        return _one_parameter_cells(image, degree)
    if degree > 1:
        raise ValueError(f"degree must be 0 or 1 for a 2-D image, got {degree}")
    return _over_axes(
        image, degree, image.values.detach().double().cpu().numpy().reshape(image.parameters, -1), _image_pairs
    )


def _over_axes(filtration, degree, values, pairs):
    """Cells of p axes from the kernel of two: the third axis and on is swept, and row differences are the measure."""
    parameters = len(values)
    if parameters == 1:
        values = np.concatenate([np.zeros_like(values), values])

    def two_axes(alive):
        index, components, euler = _two_axes(filtration, values, pairs, alive)
        weight = components if degree == 0 else components - euler
        return index[weight != 0], weight[weight != 0]

    def sweep(axis, alive):
        if axis == 1:
            return two_axes(alive)
        below = (np.empty((0, axis), np.int64), np.empty(0, np.int64))
        rows, weights = [], []
        grown = np.zeros_like(alive)
        order = np.argsort(values[axis], kind="stable")
        for v in order[alive[order]]:
            grown[v] = True
            here = sweep(axis - 1, grown)
            changed = _merged(np.concatenate([here[0], below[0]]), np.concatenate([here[1], -below[1]]))
            rows.append(np.concatenate([changed[0], np.full((len(changed[0]), 1), v)], 1))
            weights.append(changed[1])
            below = here
        return np.concatenate(rows), np.concatenate(weights)

    index, weight = sweep(max(parameters, 2) - 1, np.ones(len(values[0]), bool))
    return (index[:, 1:], weight) if parameters == 1 else (index, weight)


def _graph_pairs(graph, order, key):
    from lab.kernels.persistence import cpu

    start, neighbour = _neighbour_lists(graph.edges, graph.size)
    here = np.repeat(np.arange(graph.size), np.diff(start))
    return cpu.graph_components(order, key, start, neighbour, np.maximum(key[here], key[neighbour]), graph.size)


def _image_pairs(image, order, key):
    from lab.kernels.persistence import cpu

    if len(order) < image.size:
        raise ValueError("images have at most two parameters; put the pixels in a Graph for more")
    return cpu.image_components(order, key, *image.shape)


def _neighbour_lists(edges, size):
    both = np.concatenate([edges, edges[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    start = np.searchsorted(both[:, 0], np.arange(size + 1))
    return start, np.ascontiguousarray(both[:, 1])


# ---- point clouds
# ------------------------------------------------------------------------------------------------------


def _function_rips_cells(filtration, degree):
    if degree > 1:
        raise ValueError(f"degree must be 0 or 1 for a function-Rips bifiltration, got {degree}")
    if degree == 1:
        from lab.topology.rips_loops import function_rips_loops

        return function_rips_loops(filtration)
    order = np.argsort(filtration.f.detach().double().cpu().numpy(), kind="stable")
    return function_rips_components(filtration, order)[:2]


def function_rips_components(filtration, order):
    """Cells and weights of the H0 measure when the points are inserted in ``order``, and the final tree (n - 1, 2)."""
    from lab.kernels.persistence import cpu

    n, raw = filtration.size, filtration.numpy()
    none = np.zeros((0, 0))
    if filtration.x is None:
        early, late, step, sign, *tree = cpu.function_rips_components(none, raw[np.ix_(order, order)], True)
    else:
        early, late, step, sign, *tree = cpu.function_rips_components(raw[order], none, False)
    vertex = np.arange(n) * (n + 1)
    edges = np.stack([edge_cells(order[early], order[late], n), order[step] * (n + 1)], 1)
    index = np.concatenate([np.stack([vertex, vertex], 1), edges])
    return index, np.concatenate([np.ones(n, np.int64), sign]), np.stack([order[tree[0]], order[tree[1]]], 1)


def edge_cells(first, second, n):
    """Ids of the edges {first, second}."""
    return np.minimum(first, second) * n + np.maximum(first, second)


def _delaunay_cells(filtration, degree):
    if filtration.parameters == 1:
        return _one_parameter_cells(filtration, degree)
    if degree > 1 or (degree == 1 and not filtration.planar):
        raise ValueError(
            f"degree must be 0{' or 1' * filtration.planar} for this FlagDelaunay bifiltration, got {degree}"
        )
    from lab.kernels.persistence import cpu

    n = filtration.size
    order = np.argsort(filtration.f.detach().double().cpu().numpy(), kind="stable")
    start, neighbour = _neighbour_lists(filtration.edges, n)
    here = np.repeat(np.arange(n), np.diff(start))
    cells = edge_cells(here, neighbour, n)
    length = filtration.gather(0, torch.from_numpy(cells)).detach().double().cpu().numpy()
    by_length = np.lexsort((cells, length))
    distinct = np.concatenate([[True], np.diff(cells[by_length]) != 0]) if len(cells) else np.zeros(0, bool)
    key = np.empty(len(cells), np.int64)
    key[by_length] = np.cumsum(distinct)
    owner = np.concatenate([[-1], cells[by_length][distinct]])
    ids, step, components, _ = cpu.graph_components(order, np.zeros(n, np.int64), start, neighbour, key, len(owner))
    cell = np.where(ids == 0, step * (n + 1), owner[ids])
    index = np.stack([cell, step * (n + 1)], 1)
    if degree == 0:
        return _merged(index, components)
    euler_index, euler_weight = _euler_cells(filtration, None)
    return _merged(np.concatenate([index, euler_index]), np.concatenate([components, -euler_weight]))


def _one_parameter_cells(filtration, degree):
    """Births (+1) and deaths (-1) of the barcode."""
    from lab.topology.diagrams import barcode_cells

    finite, essential = barcode_cells(filtration, degree)
    index = np.concatenate([finite[:, 0], essential, finite[:, 1]])
    weight = np.concatenate([np.ones(len(finite) + len(essential), np.int64), -np.ones(len(finite), np.int64)])
    return index[:, None], weight


_HILBERT = {
    fl.FlagDelaunay: _delaunay_cells,
    fl.FunctionRips: _function_rips_cells,
    fl.Rips: _one_parameter_cells,
    fl.Graph: _graph_cells,
    fl.Image: _image_cells,
}


# ---- Euler measures
# ----------------------------------------------------------------------------------------------------


def _euler_cells(filtration, dimension):
    """One row of cells and one weight a simplex."""
    if isinstance(filtration, fl.Graph):
        values = filtration.values.detach().double().cpu().numpy()
        return _lower_star(values, [np.arange(filtration.size)[:, None], filtration.edges])
    if isinstance(filtration, fl.Image):
        return _image_euler(filtration)
    if not isinstance(filtration, fl.Rips):
        raise TypeError(f"filtration must be one of lab.topology.filtrations, got {type(filtration).__name__}")
    n = filtration.size
    if isinstance(filtration, fl.FlagDelaunay):
        simplices = [np.arange(n)[:, None], filtration.edges, filtration.triangles, filtration.tetrahedra]
    else:
        from itertools import combinations

        simplices = [
            np.array(list(combinations(range(n), k + 1)), np.int64).reshape(-1, k + 1) for k in range(dimension + 1)
        ]
    matrix = filtration.matrix()
    f = None if filtration.parameters == 1 else filtration.f.detach().double().cpu().numpy()
    rows, weights = [], []
    for size, group in enumerate(simplices, 1):
        if not len(group):
            continue
        columns = [_longest_edge(group, matrix)]
        if f is not None:
            columns.append(np.take_along_axis(group, f[group].argmax(1)[:, None], 1)[:, 0] * (n + 1))
        rows.append(np.stack(columns, 1))
        weights.append(np.full(len(group), 1 if size % 2 else -1, np.int64))
    return np.concatenate(rows), np.concatenate(weights)


def _longest_edge(group, matrix):
    n, size = len(matrix), group.shape[1]
    if size == 1:
        return group[:, 0] * (n + 1)
    pairs = [(a, b) for a in range(size) for b in range(a + 1, size)]
    lengths = np.stack([matrix[group[:, a], group[:, b]] for a, b in pairs], 1)
    cells = np.stack([edge_cells(group[:, a], group[:, b], n) for a, b in pairs], 1)
    return np.take_along_axis(cells, lengths.argmax(1)[:, None], 1)[:, 0]


def _lower_star(values, groups):
    rows, weights = [], []
    for sign, group in zip((1, -1, 1, -1), groups):
        late = values[group].argmax(1)
        rows.append(np.take_along_axis(group, late, 1))
        weights.append(np.full(len(group), sign, np.int64))
    return np.concatenate(rows), np.concatenate(weights)


def _image_euler(image):
    """Every cube of the grid complex: in V it takes the largest of its pixels, in T the smallest of its top cells."""
    from itertools import product

    values = image.values.detach().double().cpu().numpy().reshape(image.parameters, *image.shape)
    ids = np.arange(image.size).reshape(image.shape)
    axes = len(image.shape)
    rows, weights = [], []
    if image.construction == "T":
        values = np.pad(values, [(0, 0)] + [(1, 1)] * axes, constant_values=np.inf)
        ids = np.pad(ids, 1, constant_values=-1)
    for span in product((0, 1), repeat=axes):
        corners = list(product(*[(0, 1) if wide else (0,) for wide in span]))
        cut = [tuple(slice(c, size - s + c) for c, s, size in zip(corner, span, ids.shape)) for corner in corners]
        stack = np.stack([values[(slice(None), *part)].reshape(image.parameters, -1) for part in cut])
        names = np.stack([ids[part].reshape(-1) for part in cut])
        pick = stack.argmax(0) if image.construction == "V" else stack.argmin(0)
        found = np.take_along_axis(names, pick, 0).T
        kept = (found >= 0).all(1)
        dimension = sum(span) if image.construction == "V" else axes - sum(span)
        rows.append(found[kept])
        weights.append(np.full(int(kept.sum()), 1 if dimension % 2 == 0 else -1, np.int64))
    return np.concatenate(rows), np.concatenate(weights)


def _merged(index, weight):
    """Sum the weights of rows with the same cells and drop what cancels."""
    if not len(weight):
        return index, weight
    order = np.lexsort(index.T)
    index, weight = index[order], weight[order]
    start = np.flatnonzero(np.concatenate([[True], (np.diff(index, axis=0) != 0).any(1)]))
    total = np.add.reduceat(weight, start)
    return index[start][total != 0], total[total != 0]
