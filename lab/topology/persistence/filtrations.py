r"""Filtrations of point clouds, graphs and images: integer cells and, for each parameter, a differentiable value of a
cell.

A filtration of a complex K by p parameters is a map :math:`f: K \to \mathbb R^p` with :math:`f(\sigma) \le f(\tau)` for
faces :math:`\sigma \subset \tau`. Descriptors (:mod:`lab.topology.persistence.signed_measures`,
:mod:`lab.topology.persistence.diagrams`) only
compare values; they return, for every coordinate of every atom, the *cell* whose value it is. :meth:`gather` turns
these ids into a tensor: it is the only differentiable operation of the whole chain.

=====================  ====  ==========================================  ==========================================
class                  p     first axis                                  second axis
=====================  ====  ==========================================  ==========================================
``Rips``               1     length of the longest edge
``FunctionRips``       2     length of the longest edge                  largest vertex value
``FlagDelaunay``       1, 2  length of the longest edge                  largest vertex value
``Graph``              any   largest vertex value of function 0          largest vertex value of function 1, ...
``Image``              any   V: largest pixel of the cell                T (p = 1): smallest pixel of the top cells
=====================  ====  ==========================================  ==========================================

Source: Luis Scoccola, Siddharth Setlur, David Loiseaux, Mathieu Carriere, Steve Oudot, 'Differentiability and
Optimization of Multiparameter Persistent Homology', ICML 2024 (PMLR 235), section 3.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from lab import checks
from lab.topology.eager import refuse_transforms
from lab.topology.persistence.delaunay import faces, simplices
from lab.topology.persistence.densities import codensity, density
from lab.topology.persistence.lengths import edge_lengths, power_of_two


class Filtration:
    """What all filtrations share: ``parameters``, ``size`` (points, vertices, pixels), ``source`` (the tensor that the
    values come from), ``gather(axis, cells)``, ``vertices(cell)``."""

    degrees = 2


class Rips(Filtration):
    r"""Vietoris-Rips filtration of a point cloud: a simplex enters at the length of its longest edge.

    Args:
        x: points (n, d), floating; coincident points are allowed.

    Cell ids: the edge {i, j}, i < j, is ``i * n + j``; the vertex i is ``i * n + i``.
    """

    parameters = 1

    def __init__(self, x):
        refuse_transforms("a filtration", x)
        self.x = checks.tensor("x", x, ndim=2, floating=True)
        self.size = len(self.x)
        self.distances = None

    @classmethod
    def from_distances(cls, distances):
        """The filtration of a symmetric matrix (n, n) of non-negative distances with zero diagonal."""
        self = cls.__new__(cls)
        self.distances = _distance_matrix(distances)
        self.x, self.size = None, len(self.distances)
        return self

    @property
    def source(self) -> torch.Tensor:
        return self.distances if self.x is None else self.x

    def gather(self, axis: int, cells: torch.Tensor) -> torch.Tensor:
        """Values (k,) of ``cells`` (k,) on ``axis``, differentiable in the points."""
        _axis(axis, self.parameters)
        return self._lengths(cells)

    def vertices(self, cell: int) -> tuple[int, ...]:
        """The points that carry a cell: both ends of an edge, or one point."""
        i, j = divmod(int(cell), self.size)
        return (i,) if i == j else (i, j)

    def _ends(self, cells):
        first = cells // self.size
        return first, cells - first * self.size

    def _lengths(self, cells):
        first, second = self._ends(cells)
        if self.x is None:
            return self.distances[first, second]
        return edge_lengths(self.x, first, second)

    def numpy(self) -> np.ndarray:
        """Points or distances as a float64 array."""
        return self.source.detach().double().cpu().numpy()

    def coordinates(self) -> np.ndarray:
        """The points in float64, divided by :func:`power_of_two` so that squares of their distances can be compared."""
        return self.numpy() / power_of_two(self.x)

    def matrix(self) -> np.ndarray:
        """Distances (n, n) in float64: symmetric, with an exactly zero diagonal."""
        if self.x is None:
            return self.numpy()
        from scipy.spatial.distance import pdist, squareform

        return squareform(pdist(self.coordinates())) * power_of_two(self.x) if self.size > 1 else np.zeros((1, 1))

    def __repr__(self):
        return f"{type(self).__name__}({self.size} points, {self.parameters} parameter{'s' * (self.parameters > 1)})"


class FunctionRips(Rips):
    r"""Function-Rips bifiltration: a simplex enters at (its longest edge, its largest vertex value).

    .. math:: f(\sigma) = \Big(\max_{i,j\in\sigma} \|x_i - x_j\|,\ \max_{i\in\sigma} f_i\Big)

    Args:
        x: points (n, d), floating.
        f: one value a point (n,), floating. :func:`codensity` gives the density-aware choice.
    """

    parameters = 2

    def __init__(self, x, f):
        super().__init__(x)
        self.f = _vertex_function(f, self.size)

    @classmethod
    def from_distances(cls, distances, f):
        self = cls.__new__(cls)
        self.distances = _distance_matrix(distances)
        self.x, self.size = None, len(self.distances)
        self.f = _vertex_function(f, self.size)
        return self

    def gather(self, axis, cells):
        if _axis(axis, 2) == 0:
            return self._lengths(cells)
        first, second = self._ends(cells)
        here = self.f.index_select(0, first)
        return here if torch.equal(first, second) else torch.maximum(here, self.f.index_select(0, second))


class DensityRips(FunctionRips):
    """Function-Rips with f = minus a Gaussian kernel density estimate: dense regions enter first. ``bandwidth`` > 0."""

    def __init__(self, x, bandwidth: float = 0.3):
        x = checks.tensor("x", x, ndim=2, floating=True)
        super().__init__(x, -density(x, bandwidth))


class CodensityRips(FunctionRips):
    """Function-Rips with f = minus the logarithm of a Gaussian kernel density estimate. ``bandwidth`` > 0."""

    def __init__(self, x, bandwidth: float = 0.3):
        x = checks.tensor("x", x, ndim=2, floating=True)
        super().__init__(x, codensity(x, bandwidth))


class FlagDelaunay(Rips):
    """Delaunay triangulation whose simplices enter at their longest edge and, with ``f``, at their largest vertex
    value.

    The triangulation is computed once, from the points as given, and is then a fixed complex; it has O(n) simplices in
    the plane, so clouds of thousands of points are cheap. Circumradii are not used: their gradients are unbounded near
    flat triangles. Points that span a line are joined in order; a point that coincides with an earlier one hangs on it
    by an edge of length zero.

    Args:
        x: points (n, d), d <= 3, floating.
        f: values (n,), or ``None`` for one parameter.
    """

    def __init__(self, x, f=None):
        super().__init__(x)
        if self.x.shape[1] > 3:
            raise ValueError(f"x must have at most 3 coordinates for a Delaunay triangulation, got {self.x.shape[1]}")
        self.f = None if f is None else _vertex_function(f, self.size)
        self.parameters = 1 if f is None else 2
        self._groups = simplices(self.coordinates())
        self.edges = faces(self._groups, 2)
        self.triangles = faces(self._groups, 3)
        self.dimension = max(group.shape[1] for group in self._groups) - 1

    @property
    def simplices(self) -> list[tuple[int, ...]]:
        """The maximal simplices, vertices in increasing order."""
        return [tuple(int(v) for v in simplex) for group in self._groups for simplex in group]

    @property
    def tetrahedra(self) -> np.ndarray:
        return faces(self._groups, 4)

    gather = FunctionRips.gather

    @property
    def planar(self) -> bool:
        """Whether the complex lies in a plane, where the number of loops is components minus Euler characteristic."""
        return self.dimension <= 2


class Graph(Filtration):
    """A graph filtered by vertex functions: an edge enters with the later of its ends, on every axis.

    Args:
        edges: integer pairs (E, 2), no loops, no edge twice; may be empty.
        vertex_values: values (V,) or (V, p), floating.

    Cell ids: vertex v is ``v``, edge e is ``V + e``.
    """

    def __init__(self, edges, vertex_values):
        refuse_transforms("a filtration", vertex_values)
        values = checks.tensor("vertex_values", vertex_values, ndim=(1, 2), floating=True)
        self.values = values[:, None] if values.ndim == 1 else values
        self.size, self.parameters = self.values.shape
        self.edges = _edge_list(edges, self.size)

    @classmethod
    def many(cls, edges, vertex_values) -> list[Graph]:
        """A graph for every pair of the two lists, checked together: many small graphs cost little more than one.

        Args:
            edges: for each graph, integer pairs (E, 2), an int64 array or what :class:`Graph` takes.
            vertex_values: for each graph, values (V,) or (V, p), floating, with the same p.
        """
        edges, values = list(edges), list(vertex_values)
        if len(edges) != len(values):
            raise ValueError(
                f"edges and vertex_values must hold equally many graphs, got {len(edges)} and {len(values)}"
            )
        plain = all(type(e) is np.ndarray and e.dtype == np.int64 and e.ndim == 2 and e.shape[1] == 2 for e in edges)
        plain = plain and all(isinstance(v, torch.Tensor) and v.shape[1:] == values[0].shape[1:] for v in values)
        if not values or not plain or any(v.dtype != values[0].dtype or v.ndim != 2 or not len(v) for v in values):
            return [cls(*pair) for pair in zip(edges, values)]
        size = np.array([len(v) for v in values])
        start = np.concatenate([[0], np.cumsum(size)])
        joined, counts = np.concatenate(edges), [len(e) for e in edges]
        owner = np.repeat(np.arange(len(edges)), counts)
        if len(joined) and not ((joined >= 0) & (joined < size[owner, None])).all():
            return [cls(*pair) for pair in zip(edges, values)]  # one of them is refused, with its own numbers
        whole = cls(joined + start[owner, None], torch.cat([v.detach() for v in values]))
        pieces = np.split(whole.edges - start[owner, None], np.cumsum(counts)[:-1])
        graphs = []
        for value, piece in zip(values, pieces):
            graph = cls.__new__(cls)
            graph.values, graph.edges, graph.size, graph.parameters = value, piece, len(value), whole.parameters
            graphs.append(graph)
        return graphs

    @property
    def source(self):
        return self.values

    def gather(self, axis, cells):
        """Values (k,) of ``cells`` (k,) on ``axis``, differentiable in the vertex values."""
        values = self.values[:, _axis(axis, self.parameters)]
        is_edge = cells >= self.size
        if not is_edge.any():
            return values.index_select(0, cells)
        ends = torch.from_numpy(self.edges).to(cells.device)
        pair = ends[torch.where(is_edge, cells - self.size, 0)]
        pair = torch.where(is_edge[:, None], pair, cells[:, None])
        return torch.maximum(values.index_select(0, pair[:, 0]), values.index_select(0, pair[:, 1]))

    def vertices(self, cell):
        cell = int(cell)
        return (cell,) if cell < self.size else tuple(int(v) for v in self.edges[cell - self.size])

    def __repr__(self):
        return f"Graph({self.size} vertices, {len(self.edges)} edges, {self.parameters} parameters)"


class Image(Filtration):
    """Cubical filtration of an image, sublevel.

    Construction ``"V"``: pixels are vertices, a cell enters with its largest pixel (4- or 6-connected). Construction
    ``"T"``: pixels are top cells, a cell enters with its smallest pixel (8- or 26-connected). Superlevel is negation.

    Args:
        values: (h, w) or (d, h, w) for one parameter; (p, h, w) with ``parameters=p`` for several.
        construction: ``"V"`` or ``"T"``; several parameters need V, where every cell has one grade.

    Cell ids: the flat C-order index of the pixel whose value a cell takes.
    """

    def __init__(self, values, *, parameters: int = 1, construction: str = "V"):
        refuse_transforms("a filtration", values)
        self.construction = checks.choice("construction", construction, ("V", "T"))
        self.parameters = checks.integer("parameters", parameters, low=1)
        if self.parameters == 1:
            values = checks.tensor("values", values, ndim=(2, 3), floating=True)
            self.shape = tuple(values.shape)
        else:
            if construction == "T":
                raise ValueError(
                    "construction must be 'V' for several parameters: a cell of T would have several grades"
                )
            values = checks.tensor("values", values, ndim=3, floating=True)
            if len(values) != self.parameters:
                raise ValueError(f"values must have shape ({parameters}, height, width), got {tuple(values.shape)}")
            self.shape = tuple(values.shape[1:])
        self.values = values
        self.size = math.prod(self.shape)
        self.degrees = len(self.shape)

    @property
    def source(self):
        return self.values

    def gather(self, axis, cells):
        """Values (k,) of the pixels ``cells`` (k,) on ``axis``."""
        axis = _axis(axis, self.parameters)
        image = self.values if self.parameters == 1 else self.values[axis]
        return image.reshape(-1).index_select(0, cells)

    def vertices(self, cell):
        return (int(cell),)

    def __repr__(self):
        return f"Image({' x '.join(map(str, self.shape))}, {self.parameters} parameters, {self.construction})"


def _edge_list(edges, size) -> np.ndarray:
    """Edges (E, 2) as int64, smaller end first; loops, doubles and unknown vertices are refused."""
    if not isinstance(edges, np.ndarray) or edges.dtype != np.int64:
        edges = checks.tensor("edges", edges, ndim=(1, 2), empty=True)
        if edges.is_floating_point() and edges.numel():
            raise TypeError(f"edges must be integers, got {edges.dtype}")
        edges = edges.detach().cpu().numpy().astype(np.int64)
        edges = edges.reshape(-1, 2) if edges.size == 0 else edges
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"edges must have shape (any, 2), got {edges.shape}")
    if not len(edges):
        return edges
    low, high = np.minimum(edges[:, 0], edges[:, 1]), np.maximum(edges[:, 0], edges[:, 1])
    if np.minimum.reduce(low) < 0 or np.maximum.reduce(high) >= size:
        raise ValueError(f"edges must name vertices 0..{size - 1}, got {low.min()}..{high.max()}")
    codes = low * size + high
    codes.sort()
    if np.count_nonzero(codes[1:] == codes[:-1]):
        raise ValueError(f"edges must differ, got {divmod(int(codes[1:][codes[1:] == codes[:-1]][0]), size)} twice")
    if np.count_nonzero(low == high):
        raise ValueError(f"edges must join two vertices, got a loop at {low[low == high][0]}")
    result = np.empty((len(low), 2), np.int64)
    result[:, 0], result[:, 1] = low, high
    return result


def _axis(axis, parameters):
    return checks.integer("axis", axis, low=0, high=parameters - 1)


def _vertex_function(f, size):
    refuse_transforms("a filtration", f)
    f = checks.tensor("f", f, ndim=1, floating=True)
    if len(f) != size:
        raise ValueError(f"f must have one value a point ({size}), got {len(f)}")
    return f


def _distance_matrix(distances):
    refuse_transforms("a filtration", distances)
    distances = checks.tensor("distances", distances, ndim=2, floating=True)
    if distances.shape[0] != distances.shape[1]:
        raise ValueError(f"distances must be square, got {tuple(distances.shape)}")
    plain = distances.detach()
    if not torch.equal(plain, plain.T):
        raise ValueError("distances must be symmetric; pass (D + D.T) / 2 (torch.cdist is not exactly symmetric)")
    if plain.diagonal().any() or bool((plain < 0).any()):
        raise ValueError("distances must be non-negative with a zero diagonal")
    return distances
