"""Cells and weights of Euler measures: one atom a simplex or cube, the sign of its dimension."""

from __future__ import annotations

import numpy as np

from lab.topology.persistence import filtrations as fl


def euler_cells(filtration, dimension):
    """One row of cells and one weight a simplex."""
    if isinstance(filtration, fl.Graph):
        values = filtration.values.detach().double().cpu().numpy()
        return _lower_star(values, [np.arange(filtration.size)[:, None], filtration.edges])
    if isinstance(filtration, fl.Image):
        return _image_euler(filtration)
    if not isinstance(filtration, fl.Rips):
        raise TypeError(
            f"filtration must be one of lab.topology.persistence.filtrations, got {type(filtration).__name__}"
        )
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


def edge_cells(first, second, n):
    """Ids of the edges {first, second}."""
    return np.minimum(first, second) * n + np.maximum(first, second)


def merged(index, weight):
    """Sum the weights of rows with the same cells and drop what cancels."""
    if not len(weight):
        return index, weight
    order = np.lexsort(index.T)
    index, weight = index[order], weight[order]
    start = np.flatnonzero(np.concatenate([[True], (np.diff(index, axis=0) != 0).any(1)]))
    total = np.add.reduceat(weight, start)
    return index[start][total != 0], total[total != 0]
