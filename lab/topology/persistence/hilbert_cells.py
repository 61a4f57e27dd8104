"""Cells and weights of Hilbert measures: what the exact kernels return for graphs, images and point clouds.

Every function returns ``index`` (k, p), the cell whose value each coordinate is, and ``weight`` (k,).
"""

from __future__ import annotations

import numpy as np
import torch

from lab.topology.persistence import filtrations as fl
from lab.topology.persistence import rips_loops
from lab.topology.persistence.euler_cells import edge_cells, euler_cells, merged


def hilbert_cells(filtration, degree):
    for kind, function in _HILBERT.items():
        if isinstance(filtration, kind):
            return function(filtration, degree)
    raise TypeError(f"filtration must be one of lab.topology.persistence.filtrations, got {type(filtration).__name__}")


def two_axes(filtration, values, pairs, alive=None):
    """Places (k, 2) and the weights of the component and Euler measures of axes 0 and 1, of the vertices ``alive``."""
    key_order = np.argsort(values[0], kind="stable")
    key = np.empty_like(key_order)
    key[key_order] = np.arange(len(key))
    order = np.argsort(values[1], kind="stable")
    if alive is not None:
        order = order[alive[order]]
    ids, step, components, euler = pairs(filtration, order, key)
    return np.stack([key_order[ids], step], 1), components, euler


def _graph_cells(graph, degree):
    if degree > 1:
        raise ValueError(f"degree must be 0 or 1 for a graph, got {degree}")
    return _over_axes(graph, degree, graph.values.detach().double().cpu().numpy().T, graph_pairs)


def _image_cells(image, degree):
    if image.parameters == 1:
        return _one_parameter_cells(image, degree)
    if degree > 1:
        raise ValueError(f"degree must be 0 or 1 for a 2-D image, got {degree}")
    return _over_axes(
        image, degree, image.values.detach().double().cpu().numpy().reshape(image.parameters, -1), image_pairs
    )


def _over_axes(filtration, degree, values, pairs):
    """Cells of p axes from the kernel of two: the third axis and on is swept, and row differences are the measure."""
    parameters = len(values)
    if parameters == 1:
        values = np.concatenate([np.zeros_like(values), values])

    def lowest(alive):
        index, components, euler = two_axes(filtration, values, pairs, alive)
        weight = components if degree == 0 else components - euler
        return index[weight != 0], weight[weight != 0]

    def sweep(axis, alive):
        if axis == 1:
            return lowest(alive)
        below = (np.empty((0, axis), np.int64), np.empty(0, np.int64))
        rows, weights = [], []
        grown = np.zeros_like(alive)
        order = np.argsort(values[axis], kind="stable")
        for v in order[alive[order]]:
            grown[v] = True
            here = sweep(axis - 1, grown)
            changed = merged(np.concatenate([here[0], below[0]]), np.concatenate([here[1], -below[1]]))
            rows.append(np.concatenate([changed[0], np.full((len(changed[0]), 1), v)], 1))
            weights.append(changed[1])
            below = here
        return np.concatenate(rows), np.concatenate(weights)

    index, weight = sweep(max(parameters, 2) - 1, np.ones(len(values[0]), bool))
    return (index[:, 1:], weight) if parameters == 1 else (index, weight)


def graph_pairs(graph, order, key):
    from lab.kernels.persistence import cpu

    start, neighbour = _neighbour_lists(graph.edges, graph.size)
    here = np.repeat(np.arange(graph.size), np.diff(start))
    return cpu.graph_components(order, key, start, neighbour, np.maximum(key[here], key[neighbour]), graph.size)


def image_pairs(image, order, key):
    from lab.kernels.persistence import cpu

    if len(order) < image.size:
        raise ValueError("images have at most two parameters; put the pixels in a Graph for more")
    return cpu.image_components(order, key, *image.shape)


def _neighbour_lists(edges, size):
    both = np.concatenate([edges, edges[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    start = np.searchsorted(both[:, 0], np.arange(size + 1))
    return start, np.ascontiguousarray(both[:, 1])


def _function_rips_cells(filtration, degree):
    if degree > 1:
        raise ValueError(f"degree must be 0 or 1 for a function-Rips bifiltration, got {degree}")
    if degree == 1:
        return function_rips_loops(filtration)
    order = np.argsort(filtration.f.detach().double().cpu().numpy(), kind="stable")
    return function_rips_components(filtration, order)[:2]


def function_rips_components(filtration, order):
    """Cells and weights of the H0 measure when the points are inserted in ``order``, and the final tree (n - 1, 2)."""
    from lab.kernels.persistence import cpu

    n, raw = filtration.size, filtration.numpy() if filtration.x is None else filtration.coordinates()
    none = np.zeros((0, 0))
    if filtration.x is None:
        early, late, step, sign, *tree = cpu.function_rips_components(none, raw[np.ix_(order, order)], True)
    else:
        early, late, step, sign, *tree = cpu.function_rips_components(raw[order], none, False)
    vertex = np.arange(n) * (n + 1)
    edges = np.stack([edge_cells(order[early], order[late], n), order[step] * (n + 1)], 1)
    index = np.concatenate([np.stack([vertex, vertex], 1), edges])
    return index, np.concatenate([np.ones(n, np.int64), sign]), np.stack([order[tree[0]], order[tree[1]]], 1)


def function_rips_loops(filtration):
    """Cells (k, 2) and weights (k,) of the H1 measure of a function-Rips bifiltration.

    With z = edges - vertices + components and the rank of the boundary of the triangles, dim H1 = z - rank at every
    grade.
    """
    from lab.kernels.flag import cpu

    n = filtration.size
    order = np.argsort(filtration.f.detach().double().cpu().numpy(), kind="stable")
    index, weight, _ = function_rips_components(filtration, order)
    matrix = filtration.matrix()[np.ix_(order, order)]
    rank, first, second = rips_loops.ranked(matrix)
    rank, kept = rips_loops.collapsed(rank, first, second, ordered=True)
    edge, vertex, sign, _ = cpu.reduce_triangles(len(kept), rips_loops.sorted_triangles(rank, by_vertex=True))
    low, high = order[first[kept]], order[second[kept]]
    cells = np.minimum(low, high) * n + np.maximum(low, high)
    diagonal = np.arange(n) * (n + 1)
    latest = order * (n + 1)
    index = np.concatenate(
        [
            index,
            np.stack([diagonal, diagonal], 1),
            np.stack([cells, latest[np.maximum(first[kept], second[kept])]], 1),
            np.stack([cells[edge], latest[vertex]], 1),
        ]
    )
    ones = np.ones(1, np.int64)
    weight = np.concatenate([weight, -ones.repeat(n), ones.repeat(len(kept)), -sign])
    return merged(index, weight)


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
        return merged(index, components)
    euler_index, euler_weight = euler_cells(filtration, None)
    return merged(np.concatenate([index, euler_index]), np.concatenate([components, -euler_weight]))


def _one_parameter_cells(filtration, degree):
    """Births (+1) and deaths (-1) of the barcode."""
    from lab.topology.persistence.diagrams import barcode_cells

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
