r"""Barcodes of one-parameter filtrations: pairs of cells from exact kernels, then one differentiable gather.

A bar (b, d) of degree k is a class of H_k born at a cell of value b and ended by a cell of value d. The map from the
values of the cells to the bars is differentiable wherever no two of them tie:

.. math:: \frac{\partial b}{\partial f(\sigma)} = \mathbb 1[\sigma = \text{birth cell}], \qquad
          \frac{\partial d}{\partial f(\sigma)} = \mathbb 1[\sigma = \text{death cell}].

Ties are broken by (value, cell id), which selects one element of the Clarke subdifferential. Diagram that never end are
kept apart in ``essential``, so that no infinite number can reach a loss.

Source: Mathieu Carriere, Frederic Chazal, Marc Glisse, Yuichi Ike, Hariprasad Kannan, Yuhei Umeda, 'Optimizing
persistent homology based functions', ICML 2021, sections 3 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lab import checks
from lab.kernels.precision import wide
from lab.topology.persistence import filtrations as fl
from lab.topology.persistence.lists import over_list


@dataclass(frozen=True)
class Diagram:
    """The barcode of one degree, longest bar first.

    ``points`` (k, 2): birth and death of the bars of positive length, differentiable. ``index`` (k, 2): the cells whose
    values they are. ``essential`` (m,): births of the bars that never end, ``essential_index`` (m,) their cells. Half
    precision becomes float32.
    """

    points: torch.Tensor
    index: torch.Tensor
    essential: torch.Tensor
    essential_index: torch.Tensor
    degree: int

    def __post_init__(self):
        object.__setattr__(self, "points", wide(self.points))
        object.__setattr__(self, "essential", wide(self.essential))

    @property
    def lengths(self) -> torch.Tensor:
        """Death minus birth (k,), differentiable."""
        return self.points[:, 1] - self.points[:, 0]

    def __len__(self):
        return len(self.points)

    def to_frame(self):
        """One row a bar: degree, birth, death (infinite for essential bars) and the cells."""
        import pandas as pd

        finite = checks.array(self.points)
        births = checks.array(self.essential)
        cells = self.index.cpu().numpy()
        return pd.DataFrame(
            {
                "degree": self.degree,
                "birth": np.concatenate([finite[:, 0], births]),
                "death": np.concatenate([finite[:, 1], np.full(len(births), np.inf)]),
                "birth_cell": np.concatenate([cells[:, 0], self.essential_index.cpu().numpy()]),
                "death_cell": np.concatenate([cells[:, 1], np.full(len(births), -1)]),
            }
        )

    def save(self, path) -> None:
        """Write all fields as safetensors."""
        from safetensors.torch import save_file

        fields = {name: getattr(self, name).detach().contiguous() for name in _FIELDS}
        save_file({**fields, "degree": torch.tensor(self.degree)}, str(path))

    @classmethod
    def load(cls, path) -> Diagram:
        from safetensors.torch import load_file

        fields = load_file(str(path))
        return cls(**{name: fields[name] for name in _FIELDS}, degree=int(fields["degree"]))


_FIELDS = ("points", "index", "essential", "essential_index")


@over_list
def bars(filtration, degree: int = 0) -> Diagram:
    """Barcode of a one-parameter filtration in one degree.

    Args:
        filtration: Rips, FlagDelaunay, Graph or Image with one parameter, a Slice of a bifiltration, or a list of them
            (then a list comes back; the keyword ``threads`` bounds the workers).
        degree: 0, 1, ...; graphs have degrees 0 and 1, images up to their dimension minus one.

    Raises:
        ValueError: a filtration with several parameters, a degree it does not have.
    """
    checks.integer("degree", degree, low=0)
    device = filtration.source.device
    finite, essential = (torch.as_tensor(cells, device=device) for cells in barcode_cells(filtration, degree))
    values = filtration.gather(0, torch.cat([finite.reshape(-1), essential]))
    checks.refuse_nonfinite(f"the values of the filtration in {values.dtype}", values)
    points = values[: finite.numel()].reshape(-1, 2)
    # ties of the strict order that are no bars of the values
    length = (points[:, 1] - points[:, 0]).detach()
    order = torch.argsort(length, descending=True, stable=True)[: int((length > 0).sum())]
    return Diagram(points[order], finite[order], values[finite.numel() :], essential, degree)


def barcodes(filtration, dimension: int | None = None) -> tuple[Diagram, ...]:
    """The diagrams of the degrees 0 to ``dimension`` of a one-parameter filtration; ``None``: of all degrees that are computed
    without being asked for."""
    highest = filtration.degrees - 1 if dimension is None else checks.integer("dimension", dimension, low=0)
    return tuple(bars(filtration, degree) for degree in range(highest + 1))


def barcode_cells(filtration, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells of the finite bars (k, 2) and of the essential births (m,), empty bars of tied values included."""
    parameters = getattr(filtration, "parameters", None)
    if parameters is None:
        raise TypeError(
            f"filtration must be one of lab.topology.persistence.filtrations, got {type(filtration).__name__}"
        )
    if parameters > 1:
        raise ValueError(
            f"a barcode needs one parameter, got {parameters}; use hilbert, euler, rank or Slice(filtration, ...)"
        )
    for kind, function in _BARCODES.items():
        if isinstance(filtration, kind):
            return function(filtration, degree)
    return filtration.barcode_cells(degree)


def _values(tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()


def component_bars(vertex_value, first, second, edge_value):
    """Elder rule: ended vertex and ending edge (k, 2), both as positions, and the vertices that never end."""
    from lab.kernels.persistence import cpu

    size = len(vertex_value)
    rank = np.empty(size, np.int64)
    rank[np.argsort(vertex_value, kind="stable")] = np.arange(size)
    order = np.argsort(edge_value, kind="stable")
    ended = cpu.elder_pairs(rank, first, second, order)
    joins = ended >= 0
    survives = np.ones(size, bool)
    survives[ended[joins]] = False
    return np.stack([ended[joins], order[joins]], 1), np.flatnonzero(survives), order[~joins]


def flag_bars(matrix, vertex_value, tree, degree):
    """Cells of the bars of a flag filtration given by ``matrix`` (n, n), vertex births and a minimum spanning tree."""
    n = len(vertex_value)
    if degree == 0:
        first, second = tree[:, 0], tree[:, 1]
        value = matrix[first, second]
        pairs, survivors, _ = component_bars(vertex_value, first, second, value)
        edges = np.minimum(first, second) * n + np.maximum(first, second)
        return np.stack([pairs[:, 0] * (n + 1), edges[pairs[:, 1]]], 1), survivors * (n + 1)
    from lab.topology.persistence import rips_loops

    none = np.zeros(0, np.int64)
    if degree == 1:
        return rips_loops.rips_loop_edges(matrix), none
    return _higher_bars(matrix, degree), none


def _higher_bars(matrix, degree):
    """Degrees from 2: the edges that survive the collapse, by rank, go to gudhi's cohomology of sparse flag complexes.

    Every rank is one edge, so values read back are generators, also where lengths tie or edges were collapsed."""
    from gudhi.sklearn import RipsPersistence
    from scipy.sparse import coo_matrix

    from lab.topology.persistence import rips_loops

    n = len(matrix)
    if n < degree + 2:
        return np.zeros((0, 2), np.int64)
    rank, first, second = rips_loops.ranked(matrix)
    rank, kept = rips_loops.collapsed(rank, first, second, ordered=False)
    first, second = first[kept], second[kept]
    sparse = coo_matrix((rank[first, second] + 1.0, (first, second)), shape=(n, n))
    reduction = RipsPersistence(
        homology_dimensions=degree, input_type="distance coo_matrix", num_collapses=0, homology_coeff_field=2, n_jobs=1
    )
    found = np.asarray(reduction.fit_transform([sparse])[0]).reshape(-1, 2)
    position = found[np.isfinite(found).all(1)].astype(np.int64) - 1
    return (first * n + second)[position]


def _rips_bars(rips, degree):
    from lab.kernels.persistence import cpu

    n = rips.size
    if degree > 0:
        return flag_bars(rips.matrix(), np.zeros(n), None, degree)
    raw, none = rips.numpy() if rips.x is None else rips.coordinates(), np.zeros((0, 0))
    *_, early, late = cpu.function_rips_components(
        raw if rips.x is not None else none, none if rips.x is not None else raw, rips.x is None
    )
    cells = early * n + late
    length = _values(rips.gather(0, torch.from_numpy(cells).to(rips.source.device)))
    pairs, survivors, _ = component_bars(np.zeros(n), early, late, length)
    return np.stack([pairs[:, 0] * (n + 1), cells[pairs[:, 1]]], 1), survivors * (n + 1)


def _delaunay_bars(filtration, degree):
    n = filtration.size
    edges = filtration.edges
    cells = edges[:, 0] * n + edges[:, 1]
    value = _values(filtration.gather(0, torch.from_numpy(cells).to(filtration.source.device)))
    return complex_bars(
        np.zeros(n), edges, value, triangle_sides(cells, filtration.triangles, n), filtration.simplices, degree
    )


def triangle_sides(cells, triangles, n):
    """Positions (m, 3) of the sides of the triangles among the edges ``cells``, which are increasing ids."""
    ends = ((0, 1), (0, 2), (1, 2))
    return np.stack([np.searchsorted(cells, triangles[:, a] * n + triangles[:, b]) for a, b in ends], 1)


def complex_bars(vertex_value, edges, edge_value, sides, simplices, degree):
    """Cells of the bars of a complex whose simplices enter with their latest edge; ``sides`` as :func:`triangle_sides`."""
    n = len(vertex_value)
    cells = edges[:, 0] * n + edges[:, 1]
    if degree == 0:
        pairs, survivors, _ = component_bars(vertex_value, edges[:, 0], edges[:, 1], edge_value)
        return np.stack([pairs[:, 0] * (n + 1), cells[pairs[:, 1]]], 1), survivors * (n + 1)
    order = np.argsort(edge_value, kind="stable")
    if degree == 1:
        from lab.kernels.flag import cpu

        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        columns = np.sort(rank[sides], axis=1)[:, ::-1]
        columns = np.concatenate([columns, np.zeros((len(columns), 1), np.int64)], 1)
        columns = np.ascontiguousarray(columns[np.argsort(columns[:, 0], kind="stable")])
        *_, label = cpu.reduce_triangles(len(order), columns)
        birth = np.flatnonzero(label > np.arange(len(label)))
        cycles = component_bars(vertex_value, edges[:, 0], edges[:, 1], edge_value)[2]
        endless = cycles[label[rank[cycles]] < 0]
        return cells[order[np.stack([birth, label[birth]], 1)]], cells[endless]
    return _higher_complex_bars(edges, cells, order, simplices, degree)


def _higher_complex_bars(edges, cells, order, simplices, degree):
    import gudhi

    tree = gudhi.SimplexTree()
    for simplex in simplices:
        tree.insert(simplex, 0.0)
    for simplex, _ in list(tree.get_skeleton(0)):
        tree.assign_filtration(simplex, 0.0)
    position = np.empty(len(order))
    position[order] = np.arange(1, len(order) + 1)
    for simplex, _ in list(tree.get_simplices()):
        tree.assign_filtration(simplex, 0.0)
    for edge, value in zip(edges, position):
        tree.assign_filtration([int(v) for v in edge], value)
    tree.make_filtration_non_decreasing()
    tree.compute_persistence(homology_coeff_field=2, min_persistence=-1, persistence_dim_max=True)
    finite, endless = [], []
    for birth, death in tree.persistence_pairs():
        if len(birth) != degree + 1:
            continue
        begin = cells[order[int(tree.filtration(birth)) - 1]]
        if not death:
            endless.append(begin)
        elif tree.filtration(death) > tree.filtration(birth):
            finite.append((begin, cells[order[int(tree.filtration(death)) - 1]]))
    return np.array(finite, np.int64).reshape(-1, 2), np.array(endless, np.int64)


def _graph_bars(graph, degree):
    if degree > 1:
        raise ValueError(f"degree must be 0 or 1 for a graph, got {degree}")
    return lower_star_bars(graph.edges, _values(graph.values)[:, 0], degree)


def lower_star_bars(edges, value, degree):
    """Cells of the bars of a graph whose edges enter with their later vertex; cells are vertices."""
    rank = np.empty(len(value), np.int64)
    rank[np.argsort(value, kind="stable")] = np.arange(len(value))
    late = np.take_along_axis(edges, rank[edges].argmax(1)[:, None], 1)[:, 0]
    pairs, survivors, cycles = component_bars(value, edges[:, 0], edges[:, 1], rank[late])
    if degree == 0:
        return np.stack([pairs[:, 0], late[pairs[:, 1]]], 1), survivors
    return np.zeros((0, 2), np.int64), late[cycles]


def _image_bars(image, degree):
    axes = len(image.shape)
    if degree >= axes:
        raise ValueError(f"degree must be below {axes} for a {axes}-D image, got {degree}")
    return cubical_bars(_values(image.values), degree, image.construction)


def cubical_bars(values, degree, construction):
    """Cells of the bars of an image: V directly, T through the complement.

    By Alexander duality the bars of degree k of T are those of degree n - 1 - k of V of the negated image inside a
    frame that enters first: birth and death change places. The pixel that fills the frame's last hole is the endless
    component.
    """
    if construction == "V":
        finite = _cubical_pairs(values, degree)
        endless = [int(values.reshape(-1).argmin())] if degree == 0 else []
        return finite, np.array(endless, np.int64)
    axes = values.ndim
    ids = np.pad(np.arange(values.size).reshape(values.shape), 1, constant_values=-1).reshape(-1)
    framed = np.pad(-values, 1, constant_values=-values.max() - 1 - abs(values.max()))
    pairs = ids[_cubical_pairs(framed, axes - 1 - degree)][:, ::-1]
    endless = pairs[pairs[:, 1] < 0, 0]
    return np.ascontiguousarray(pairs[pairs[:, 1] >= 0]), endless


def _cubical_pairs(values, degree):
    """Birth and death pixel (k, 2) of the finite bars of positive length of the V-construction."""
    values = np.ascontiguousarray(values, np.float64) + 0.0
    if values.ndim > 3:
        return _cubical_pairs_by_rank(values, degree)
    if values.ndim == 3:
        from lab.kernels.cubical.volumes import pipeline

        _, voxels, counts = pipeline.barcode_volumes(values[None])
    else:
        from lab.kernels.cubical import cpu

        _, voxels, counts = cpu.barcode_images(values[None] if values.ndim == 2 else values[None, None])
    ends = counts[0].cumsum()
    return voxels[ends[degree] - counts[0, degree] : ends[degree]]


def _cubical_pairs_by_rank(values, degree):
    import gudhi

    # every rank is one pixel, so the values of the pairs are their generators
    order = np.argsort(values.reshape(-1), kind="stable")
    rank = np.empty(values.size)
    rank[order] = np.arange(values.size)
    cubes = gudhi.CubicalComplex(vertices=rank.reshape(values.shape))
    cubes.compute_persistence(homology_coeff_field=2)
    found = np.asarray(cubes.persistence_intervals_in_dimension(degree)).reshape(-1, 2)
    found = order[found[np.isfinite(found).all(1)].astype(np.int64)]
    flat = values.reshape(-1)
    return found[flat[found[:, 0]] != flat[found[:, 1]]]


_BARCODES = {
    fl.FlagDelaunay: _delaunay_bars,
    fl.Rips: _rips_bars,
    fl.Graph: _graph_bars,
    fl.Image: _image_bars,
}
