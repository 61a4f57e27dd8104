"""Betti numbers and ranks of maps over Z/2 by elimination on explicit complexes: slow, obvious, independent of the
lab."""

from itertools import combinations, product

import numpy as np


def rank(columns):
    """Rank over Z/2 of columns given as integers whose bits are rows."""
    basis = {}
    for column in columns:
        while column:
            top = column.bit_length()
            if top not in basis:
                basis[top] = column
                break
            column ^= basis[top]
    return len(basis)


def betti(cells, degree):
    """dim H_degree of a complex: ``cells[d]`` maps the name of a d-cell to the names of its faces."""
    chains = len(cells[degree]) if degree < len(cells) else 0
    return chains - rank(boundary(cells, degree)) - rank(boundary(cells, degree + 1))


def boundary(cells, degree):
    """Columns of the boundary of the ``degree``-cells."""
    if not 0 < degree < len(cells):
        return []
    row = {name: k for k, name in enumerate(cells[degree - 1])}
    return [sum(1 << row[face] for face in faces) for faces in cells[degree].values()]


def map_rank(small, large, degree):
    """Rank of H_degree(small) -> H_degree(large) for a subcomplex: dim(Z + B') - dim B'."""
    row = {name: k for k, name in enumerate(large[degree])}
    cycles = kernel([(1 << row[name], small[degree][name]) for name in small[degree]], small, degree)
    boundaries = boundary(large, degree + 1)
    return rank(boundaries + cycles) - rank(boundaries)


def kernel(chains, cells, degree):
    if degree == 0:
        return [bit for bit, _ in chains]
    position = {name: k for k, name in enumerate(cells[degree - 1])}
    basis, found = {}, []
    for bit, faces in chains:
        column = sum(1 << position[face] for face in faces)
        while column:
            top = column.bit_length()
            if top not in basis:
                basis[top] = (column, bit)
                break
            column ^= basis[top][0]
            bit ^= basis[top][1]
        else:
            found.append(bit)
    return found


def below(grades, cells, grade):
    """The subcomplex of cells with grade <= ``grade`` on every axis."""
    return [
        {name: faces for name, faces in layer.items() if np.all(np.asarray(grades[name]) <= grade)} for layer in cells
    ]


def simplicial(maximal, top):
    """All faces up to dimension ``top`` of the given simplices, with their faces."""
    layers = []
    for d in range(top + 1):
        names = sorted({face for simplex in maximal for face in combinations(sorted(simplex), d + 1)})
        layers.append({name: [name[:k] + name[k + 1 :] for k in range(d + 1)] if d else [] for name in names})
    return layers


def flag(n, top):
    return simplicial([tuple(range(n))], min(top, n - 1))


def lower_star(cells, values):
    """Grades of all cells from vertex values (V, p)."""
    return {name: np.max([values[v] for v in name], axis=0) for layer in cells for name in layer}


def function_rips(x, f, top=2):
    cells = flag(len(x), top)
    grades = {}
    for layer in cells:
        for name in layer:
            length = max([np.linalg.norm(x[i] - x[j]) for i, j in combinations(name, 2)], default=0.0)
            grades[name] = (length,) if f is None else (length, max(f[i] for i in name))
    return cells, grades


def cubical(values, construction="V"):
    """Cells and grades of an image (p, *shape); a cell is the tuple of its doubled-grid coordinates."""
    shape = values.shape[1:]
    axes = len(shape)
    layers, grades = [{} for _ in range(axes + 1)], {}
    sizes = [2 * s - 1 if construction == "V" else 2 * s + 1 for s in shape]
    for cell in product(*map(range, sizes)):
        odd = [c % 2 for c in cell]
        if construction == "V":
            pixels = product(*[(c // 2, c // 2 + 1) if o else (c // 2,) for c, o in zip(cell, odd)])
            grade = np.max([values[(slice(None), *p)] for p in pixels], axis=0)
        else:
            near = product(*[(c // 2,) if o else (c // 2 - 1, c // 2) for c, o in zip(cell, odd)])
            inside = [p for p in near if all(0 <= q < s for q, s in zip(p, shape))]
            grade = np.min([values[(slice(None), *p)] for p in inside], axis=0)
        faces = [cell[:k] + (cell[k] + e,) + cell[k + 1 :] for k in range(axes) if odd[k] for e in (-1, 1)]
        layers[sum(odd)][cell] = faces
        grades[cell] = grade
    return layers, grades
