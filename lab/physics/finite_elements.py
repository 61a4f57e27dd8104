r"""Finite-element spaces over scikit-fem for learning: matrices, encoders, norms, and interpolation between nested meshes.

A space V_h = span(phi_1, ..., phi_n) gives the mass matrix M_ij = (phi_i, phi_j), a stiffness matrix A (gradients; divergences
for RT0, curls for N1), the degrees of freedom on the boundary, and two ways in: :meth:`Space.project` solves M c = (f, phi_i), and
:meth:`Space.interpolate` takes values at nodes. Coefficients of many functions and channels are tensors (items, n, channels);
:func:`apply` multiplies them by a sparse matrix and differentiates through it.

>>> space = Space(unit_square(2), "P1")
>>> space.size, round(float(space.mass.sum()), 6)
(25, 1.0)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lab import checks

ELEMENTS = {
    "P1": {"triangle": "ElementTriP1", "tetrahedron": "ElementTetP1"},
    "P2": {"triangle": "ElementTriP2", "tetrahedron": "ElementTetP2"},
    "Q1": {"quadrilateral": "ElementQuad1"},
    "CR": {"triangle": "ElementTriCR", "tetrahedron": "ElementTetCR"},
    "RT0": {"triangle": "ElementTriRT0", "tetrahedron": "ElementTetRT0"},
    "N1": {"triangle": "ElementTriN1", "tetrahedron": "ElementTetN0"},
}
NODAL = ("P1", "P2", "Q1")
_MESHES = {"triangle": "MeshTri", "quadrilateral": "MeshQuad", "tetrahedron": "MeshTet"}


class Space:
    """The space of one element on one mesh.

    Args:
        mesh: a mesh of scikit-fem, ``(points, cells)`` for :func:`mesh_of`, or a file for :func:`read_cells`.
        element: P1, P2 (Lagrange), Q1 (on quadrilaterals), CR (Crouzeix-Raviart), RT0 (normal components continuous) or N1
            (first kind of Nedelec, tangential components continuous).

    Raises:
        ValueError: an element that does not exist on the mesh's cells.
    """

    def __init__(self, mesh, element: str = "P1"):
        import skfem

        if isinstance(mesh, (str, Path)):
            mesh = mesh_of(*read_cells(mesh))
        elif isinstance(mesh, (tuple, list)):
            mesh = mesh_of(*mesh)
        self.cell = _cell(mesh)
        kinds = ELEMENTS[checks.choice("element", element, ELEMENTS)]
        if self.cell not in kinds:
            raise ValueError(f"element {element} exists on {' and '.join(kinds)} meshes, got a {self.cell} mesh")
        self.mesh, self.element = mesh, element
        self.basis = skfem.Basis(mesh, getattr(skfem, kinds[self.cell])())
        self.size = int(self.basis.N)

    @property
    def vector_valued(self) -> bool:
        """Whether functions of the space are vector fields."""
        return self.element in ("RT0", "N1")

    @cached_property
    def mass(self):
        """M, sparse."""
        from skfem import BilinearForm
        from skfem.helpers import dot

        form = (lambda u, v, w: dot(u, v)) if self.vector_valued else (lambda u, v, w: u * v)
        return BilinearForm(form).assemble(self.basis).tocsr()

    @cached_property
    def stiffness(self):
        """A, sparse: (grad phi_i, grad phi_j); of divergences for RT0, of curls for N1."""
        from skfem import BilinearForm
        from skfem.helpers import dot, grad

        def form(u, v, w):
            if self.element == "RT0":
                return u.div * v.div
            if self.element == "N1":
                return u.curl * v.curl if self.cell == "triangle" else dot(u.curl, v.curl)
            return dot(grad(u), grad(v))

        return BilinearForm(form).assemble(self.basis).tocsr()

    @cached_property
    def boundary(self) -> torch.Tensor:
        """Indices of the degrees of freedom on the boundary."""
        return torch.from_numpy(self.basis.get_dofs().all().astype("int64"))

    @cached_property
    def points(self) -> torch.Tensor:
        """Where degrees of freedom lie (n, d): nodes, or middles of edges and faces."""
        return torch.from_numpy(self.basis.doflocs.T.copy())

    def interpolate(self, f: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Coefficients (n, ...) of the function with the values of f (points (n, d) -> (n, ...)) at the nodes: P1, P2, Q1."""
        if self.element not in NODAL:
            raise ValueError(f"only {', '.join(NODAL)} have values at nodes, got {self.element}; use project")
        return checks.tensor("values of f", f(self.points), floating=True).double()

    def load(self, f: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """(f, phi_i) for f: points (..., d) -> (...), or (..., d) where functions of the space are vector fields."""
        from skfem import LinearForm

        def form(v, w):
            values = torch.as_tensor(f(torch.from_numpy(w.x.copy()).movedim(0, -1))).double().numpy()
            if not self.vector_valued:
                return values * v
            return sum(values[..., k] * v[k] for k in range(len(w.x)))

        return torch.from_numpy(LinearForm(form).assemble(self.basis))

    def project(self, f: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Coefficients (n,) of the best approximation of f in the mean square: M c = (f, phi_i)."""
        from scipy.sparse.linalg import spsolve

        return torch.from_numpy(spsolve(self.mass.tocsc(), self.load(f).numpy()))

    def norm(self, c: torch.Tensor, kind: str = "L2") -> torch.Tensor:
        """The norm of functions with coefficients (items, n): L2 by M, H1 by M + A, or the energy by A."""
        forms = {"L2": self.mass, "H1": self.mass + self.stiffness, "energy": self.stiffness}
        A = forms[checks.choice("kind", kind, forms)]
        return (c * apply(A, c[..., None])[..., 0]).sum(-1).clamp_min(0).sqrt()

    def at(self, points: torch.Tensor):
        """The sparse matrix (points, n) of values of a scalar space's functions at points (m, d) inside the mesh."""
        if self.vector_valued:
            raise ValueError(f"at needs scalar functions, got the vector fields of {self.element}")
        return self.basis.probes(torch.as_tensor(points).double().numpy().T.copy()).tocsr()

    def evaluate(self, points: torch.Tensor, cells: torch.Tensor, what: str = "value") -> list:
        """Sparse matrices (points, n), one a component: of the functions at points (m, d), each in its cell.

        ``what``: ``"value"``; ``"curl"``, of a scalar function in 2-D (d/dy, -d/dx), a field without divergence; ``"divergence"``
        of RT0.
        """
        import numpy as np
        from scipy.sparse import csr_matrix

        checks.choice("what", what, ("value", "curl", "divergence"))
        cells = cells.numpy()
        at = self.basis.mapping.invF(points.double().numpy().T[:, :, None], tind=cells)
        rows, found = np.arange(len(cells)), []
        for k in range(self.basis.Nbfun):
            field = self.basis.elem.gbasis(self.basis.mapping, at, k, tind=cells)[0]
            if what == "value":
                values = np.asarray(field)[..., 0]
            elif what == "divergence":
                values = np.asarray(field.div)[..., 0]
            elif self.vector_valued:
                values = np.asarray(field.curl)[..., 0]
            else:
                values = np.stack([field.grad[1], -field.grad[0]])[..., 0]
            values = np.atleast_2d(values)
            found.append(np.broadcast_to(values, (len(values), len(cells))))
        columns = self.basis.element_dofs[:, cells]
        return [
            csr_matrix(
                (np.concatenate([f[c] for f in found]), (np.tile(rows, len(found)), columns.ravel())),
                (len(rows), self.size),
            )
            for c in range(found[0].shape[0])
        ]

    @cached_property
    def homes(self) -> torch.Tensor:
        """One cell of each degree of freedom (n,)."""
        home = torch.zeros(self.size, dtype=torch.long)
        dofs = torch.from_numpy(self.basis.element_dofs.astype("int64"))
        home[dofs] = torch.arange(dofs.shape[1]).expand(dofs.shape)
        return home

    @cached_property
    def spacing(self) -> torch.Tensor:
        """The mesh size h at each degree of freedom (n,): the mean over its cells of their longest side."""
        p, t = self.mesh.p, self.mesh.t
        h = torch.from_numpy(max_side(p, t))
        dofs = torch.from_numpy(self.basis.element_dofs.astype("int64"))
        total = torch.zeros(self.size, dtype=torch.float64)
        total.index_add_(0, dofs.flatten(), h.expand(dofs.shape).flatten())
        return total / torch.bincount(dofs.flatten(), minlength=self.size)

    def from_coarse(self, coarse: Space):
        """The sparse interpolation matrix from a coarser space whose functions this nodal space contains or interpolates."""
        if self.element not in NODAL:
            raise ValueError(f"from_coarse needs one of {', '.join(NODAL)}, got {self.element}")
        return coarse.at(self.points)

    def refined(self) -> Space:
        """The same element after every cell is divided; the spaces of P1, P2 and Q1 are nested."""
        return Space(self.mesh.refined(), self.element)

    def solve(self, right: torch.Tensor, A=None) -> torch.Tensor:
        """u (items, n) with A u = right (items, n) inside and u = 0 on the boundary; A is the stiffness if ``None``."""
        from scipy.sparse.linalg import splu

        inside = torch.ones(self.size, dtype=torch.bool)
        inside[self.boundary] = False
        keep = torch.nonzero(inside)[:, 0].numpy()
        A = (self.stiffness if A is None else A).tocsr()[keep][:, keep].tocsc()
        u = torch.zeros(right.shape, dtype=torch.float64)
        u[:, inside] = torch.from_numpy(splu(A).solve(right.double()[:, inside].numpy().T.copy()).T.copy())
        return u


def max_side(points, cells):
    """The longest side (m,) of cells (corners, m) with points (d, n); of a quadrilateral that may be a diagonal."""
    import numpy as np

    corners = points[:, cells]
    gaps = corners[:, :, None] - corners[:, None]
    return np.sqrt((gaps**2).sum(0)).max((0, 1))


def apply(A, x: torch.Tensor) -> torch.Tensor:
    """A sparse matrix (m, n) of scipy or torch times coefficients (items, n, channels): (items, m, channels)."""
    if not isinstance(A, torch.Tensor):
        A = as_tensor(A, x.dtype)
    items, n, channels = x.shape
    if A.shape[1] != n:
        raise ValueError(f"x must have {A.shape[1]} coefficients like the matrix has columns, got {n}")
    flat = torch.sparse.mm(A, x.transpose(0, 1).reshape(n, items * channels))
    return flat.reshape(A.shape[0], items, channels).transpose(0, 1)


def as_tensor(A, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A sparse matrix of scipy as a sparse tensor, for repeated use with :func:`apply`."""
    coo = A.tocoo()
    place = torch.stack([torch.from_numpy(each.astype("int64")) for each in (coo.row, coo.col)])
    values = torch.from_numpy(coo.data.copy()).to(dtype)
    return torch.sparse_coo_tensor(place, values, coo.shape, check_invariants=True).coalesce()


def mesh_of(points, cells) -> Any:
    """A mesh of scikit-fem from points (n, 2 or 3) and cells (m, 3) triangles, (m, 4) quadrilaterals in 2-D or tetrahedra in 3-D.

    Points that lie in the plane z = 0 count as 2-D for triangles. Raises ``ValueError`` in words: other shapes, values that are not
    finite, indices of no point, points without a cell, cells without area, cells that fold over.
    """
    import numpy as np
    import skfem

    points = checks.tensor("points", points, ndim=2, floating=True).double()
    cells = torch.as_tensor(cells)
    if cells.ndim != 2 or cells.dtype.is_floating_point or points.shape[1] not in (2, 3) or len(cells) == 0:
        raise ValueError(
            f"points must be (n, 2 or 3) and cells whole numbers (m, 3 or 4), got {tuple(points.shape)}, {tuple(cells.shape)}"
        )
    cells = cells.long()
    if points.shape[1] == 3 and cells.shape[1] == 3:
        if float(points[:, 2].abs().max()) > 1e-12 * float(points.abs().max().clamp_min(1.0)):
            raise ValueError("triangles must lie in the plane z = 0: surfaces in space are not supported")
        points = points[:, :2]
    kind = {(2, 3): "triangle", (2, 4): "quadrilateral", (3, 4): "tetrahedron"}.get((points.shape[1], cells.shape[1]))
    if kind is None:
        raise ValueError(f"cells of {cells.shape[1]} points in {points.shape[1]} dimensions are not supported")
    if int(cells.min()) < 0 or int(cells.max()) >= len(points):
        raise ValueError(f"cells must index the {len(points)} points, got {int(cells.min())} to {int(cells.max())}")
    if len(torch.unique(cells)) != len(points):
        raise ValueError(f"{len(points) - len(torch.unique(cells))} points belong to no cell")
    corners = points[cells]
    sides = corners[:, 1 : points.shape[1] + 1] - corners[:, :1]
    if kind == "quadrilateral":
        turns = torch.stack(
            [_turn(corners[:, k] - corners[:, k - 1], corners[:, (k + 1) % 4] - corners[:, k]) for k in range(4)]
        )
        size = turns * turns.sum(0).sign()
        if bool((size <= 0).any()):
            raise ValueError(f"{int((size <= 0).any(0).sum())} quadrilaterals are not convex or fold over")
    else:
        size = torch.linalg.det(sides).abs()
        span = sides.norm(dim=2).amax(1) ** points.shape[1]
        if bool((size <= 1e-12 * span).any()):
            raise ValueError(f"{int((size <= 1e-12 * span).sum())} cells have no area or volume")
    return getattr(skfem, _MESHES[kind])(np.ascontiguousarray(points.numpy().T), np.ascontiguousarray(cells.numpy().T))


def _turn(a, b):
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def read_cells(path: str | Path, *, max_bytes: int = 2**28) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and cells of a file: ``.npz`` with ``points`` and ``cells``, or OBJ, STL, PLY with triangles in the plane z = 0.

    Raises:
        ValueError: another ending, too large, missing arrays, or what :func:`lab.datasets.read_mesh` refuses.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        from lab import datasets

        mesh = datasets.read_mesh(path, max_bytes=max_bytes)
        return mesh.vertices, mesh.faces
    import numpy as np

    if path.stat().st_size > max_bytes:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, more than the limit of {max_bytes}")
    with np.load(path, allow_pickle=False) as file:
        if not {"points", "cells"} <= set(file.files):
            raise ValueError(f"{path.name} must hold 'points' and 'cells', got {', '.join(file.files) or 'nothing'}")
        return torch.from_numpy(file["points"]), torch.from_numpy(file["cells"])


def read_functions(path: str | Path, *, max_bytes: int = 2**28) -> torch.Tensor:
    """Coefficients (items, n), one function a row, from a table without header (CSV, TSV) or from ``.npy``.

    Raises:
        ValueError: another ending, too large, rows of different lengths, entries that are no finite numbers.
    """
    import numpy as np

    path = Path(path)
    ending = checks.choice("the ending of path", path.suffix.lower(), (".csv", ".tsv", ".npy"))
    if path.stat().st_size > max_bytes:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, more than the limit of {max_bytes}")
    try:
        if ending == ".npy":
            table = np.load(path, allow_pickle=False, mmap_mode="r")
        else:
            table = np.loadtxt(path, delimiter="," if ending == ".csv" else "\t", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path.name} must be a table of numbers alone: {error}") from None
    return checks.tensor(path.name, np.array(table), ndim=(2, 3), floating=True)


def unit_square(refinements: int, cell: str = "triangle"):
    """The unit square, divided so many times."""
    import skfem

    kind = _MESHES[checks.choice("cell", cell, ("triangle", "quadrilateral"))]
    return getattr(skfem, kind)().refined(checks.integer("refinements", refinements, low=0, high=10))


def _cell(mesh) -> str:
    for base in type(mesh).__mro__:
        for cell, name in _MESHES.items():
            if base.__name__.startswith(name):
                return cell
    raise ValueError(
        f"mesh must be of triangles, quadrilaterals or tetrahedra of scikit-fem, got {type(mesh).__name__}"
    )
