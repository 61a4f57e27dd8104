r"""Elliptic operators on grids, matrix-free and sparse: -div(k grad) + shift with walls, openings and obstacles.

Unknowns are cells of a grid of spacing h. A face between two cells carries the harmonic mean of their coefficients; an *open*
side of the box has the value 0 one spacing outside, a *wall* and the face of an obstacle carry no flux:

.. math:: (A x)_i = \sigma x_i + h^{-2} \sum_{j \sim i} k_{ij} (x_i - x_j),

which is symmetric and, unless no side is open and the shift is 0, positive definite. Cells inside obstacles are no unknowns:
their values stay 0. :func:`conjugate_gradients`, :func:`incomplete_cholesky` and :func:`multigrid` are the usual solvers.

>>> A = Grid((4, 4))
>>> A(torch.ones(4, 4, dtype=torch.float64))[0]
tensor([2., 1., 1., 2.], dtype=torch.float64)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lab import checks

Sides = str | Sequence[tuple[str, str]]


class Grid:
    """The operator for cells (n1, ..., nd), d = 1, 2 or 3; apply it to (..., n1, ..., nd) in float32 or float64.

    Args:
        shape: cells a side. spacing: h.
        sides: ``"open"``, ``"wall"``, or a pair (low, high) of these for each axis.
        obstacle: True in solid cells. coefficient: k > 0 in every cell, 1 if ``None``.
        shift, scale: sigma >= 0, and a factor of the differences: shift 1 and scale dt are I + dt A.

    Raises:
        ValueError: wrong shapes, a coefficient that is not positive, no fluid cell.
    """

    def __init__(
        self, shape: Sequence[int], *, spacing: float = 1.0, sides: Sides = "open", obstacle=None, coefficient=None,
        shift: float = 0.0, scale: float = 1.0,
    ):  # fmt: skip
        self.shape = tuple(checks.integer("shape", n, low=1) for n in shape)
        d = len(self.shape)
        if d not in (1, 2, 3):
            raise ValueError(f"shape must have 1, 2 or 3 numbers, got {d}")
        sides = [(sides, sides)] * d if isinstance(sides, str) else list(sides)
        if len(sides) != d:
            raise ValueError(f"sides must have a pair for each of {d} axes, got {len(sides)}")
        self.fluid = torch.ones(self.shape, dtype=torch.bool)
        if obstacle is not None:
            self.fluid = ~checks.tensor("obstacle", obstacle, shape=self.shape).bool()
        if not bool(self.fluid.any()):
            raise ValueError("obstacle must leave a cell free, got an obstacle everywhere")
        k = torch.ones(self.shape, dtype=torch.float64)
        if coefficient is not None:
            k = checks.tensor("coefficient", coefficient, shape=self.shape, floating=True).double()
            if not bool((k > 0).all()):
                raise ValueError(f"coefficient must be positive, got {float(k.min()):g}")
        self.shift = checks.number("shift", shift, low=0.0)
        unit = (
            checks.number("scale", scale, low=0.0, open_low=True)
            / checks.number("spacing", spacing, low=0.0, open_low=True) ** 2
        )
        diagonal = torch.full(self.shape, self.shift, dtype=torch.float64)
        self.faces, self.singular = [], self.shift == 0
        for axis, (low, high) in enumerate(sides):
            n = self.shape[axis]
            a, b = k.narrow(axis, 0, n - 1), k.narrow(axis, 1, n - 1)
            face = unit * 2 * a * b / (a + b) * (self.fluid.narrow(axis, 0, n - 1) & self.fluid.narrow(axis, 1, n - 1))
            diagonal.narrow(axis, 0, n - 1).add_(face)
            diagonal.narrow(axis, 1, n - 1).add_(face)
            for side, place in ((low, 0), (high, n - 1)):
                if checks.choice("sides", side, ("open", "wall")) == "open":
                    diagonal.narrow(axis, place, 1).add_(unit * k.narrow(axis, place, 1))
                    self.singular = False
            self.faces.append(face)
        self.diagonal = torch.where(self.fluid, diagonal, 1.0)
        self._kept = {}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        diagonal, faces = self._of(x.dtype)
        y = diagonal * x
        for axis, face in enumerate(faces, -len(self.shape)):
            n = x.shape[axis]
            y.narrow(axis, 0, n - 1).sub_(face * x.narrow(axis, 1, n - 1))
            y.narrow(axis, 1, n - 1).sub_(face * x.narrow(axis, 0, n - 1))
        return y

    def _of(self, dtype):
        if dtype not in self._kept:
            self._kept[dtype] = self.diagonal.to(dtype), [face.to(dtype) for face in self.faces]
        return self._kept[dtype]

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """x with zeros in obstacles, and without its mean where A does not see constants."""
        x = torch.where(self.fluid, x, 0.0)
        if self.singular:
            axes = tuple(range(-len(self.shape), 0))
            x = torch.where(self.fluid, x - x.sum(axes, keepdim=True) / self.fluid.sum(), 0.0)
        return x

    def matrix(self):
        """The operator as a sparse matrix of scipy, rows of obstacles those of the identity."""
        import numpy as np
        from scipy.sparse import coo_matrix

        index = np.arange(math.prod(self.shape)).reshape(self.shape)
        rows, columns, values = [index.ravel()], [index.ravel()], [self.diagonal.numpy().ravel()]
        for axis, face in enumerate(self.faces):
            a, b = (np.take(index, range(k, self.shape[axis] - 1 + k), axis).ravel() for k in (0, 1))
            weight = -face.numpy().ravel()
            held = weight != 0
            rows += [a[held], b[held]]
            columns += [b[held], a[held]]
            values += [weight[held]] * 2
        n = index.size
        return coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (n, n)).tocsr()


class Matrix:
    """A user's symmetric positive definite matrix (n, n) whose unknowns lie on a grid (n1, ..., nd) with n cells.

    Raises:
        ValueError, TypeError: not square, another number of unknowns than cells, non-finite entries, not symmetric, or not
            positive definite (pivots of the factorization, up to 50,000 unknowns; beyond, the iteration finds out).
    """

    singular = False

    def __init__(self, A, grid: Sequence[int]):
        from scipy.sparse import csr_matrix, issparse

        A = csr_matrix(A if issparse(A) else checks.tensor("A", A, ndim=2, floating=True).double().numpy()).astype(
            float
        )
        self.shape = tuple(checks.integer("grid", n, low=1) for n in grid)
        if A.shape[0] != A.shape[1] or A.shape[0] != math.prod(self.shape):
            raise ValueError(f"A must be square with as many rows as grid {self.shape} has cells, got {A.shape}")
        checks.refuse_nonfinite("A", torch.from_numpy(A.data))
        size = abs(A).max()
        gap = abs(A - A.T).max()
        if gap > 1e-9 * size:
            raise ValueError(
                f"A must be symmetric, got entries that differ from those of its transpose by up to {gap:.3g}"
            )
        if not definite(A):
            raise ValueError("A must be positive definite: its factorization has a pivot that is not positive")
        self._matrix = A
        self.fluid = torch.ones(self.shape, dtype=torch.bool)
        coo = A.tocoo()
        place = torch.stack([torch.from_numpy(each.astype("int64")) for each in (coo.row, coo.col)])
        values = torch.from_numpy(coo.data)
        self._torch = {
            dtype: torch.sparse_coo_tensor(place, values.to(dtype), A.shape, check_invariants=True).coalesce()
            for dtype in (torch.float32, torch.float64)
        }

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, self._matrix.shape[0])
        return (self._torch[x.dtype] @ flat.T).T.reshape(x.shape)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """x itself."""
        return x

    def matrix(self):
        """The matrix as scipy's."""
        return self._matrix


def definite(A, largest: int = 50_000) -> bool:
    """Whether all pivots of a symmetric sparse matrix are positive; taken for granted above ``largest`` unknowns."""
    import numpy as np
    from scipy.sparse.linalg import splu

    if not (A.diagonal() > 0).all():
        return False
    if A.shape[0] > largest:
        return True
    try:
        order = splu(A.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except RuntimeError:
        return False
    pivots = order.U.diagonal()
    return bool((pivots > 1e-13 * np.abs(pivots).max()).all())


def read_system(path: str | Path, *, max_bytes: int = 2**28) -> tuple[Any, Any]:
    """A sparse matrix and a right-hand side from a file: (A, b), b ``None`` where the file has none.

    ``.npz`` as ``scipy.sparse.save_npz`` writes it (CSR), optionally with ``b``; or Matrix Market (``.mtx``).

    Raises:
        ValueError: another ending, too large, missing arrays, indices outside the matrix.
    """
    import numpy as np
    from scipy.sparse import csr_matrix

    path = Path(path)
    checks.choice("the ending of path", path.suffix.lower(), (".npz", ".mtx"))
    if path.stat().st_size > max_bytes:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, more than the limit of {max_bytes}")
    if path.suffix.lower() == ".mtx":
        return _matrix_market(path), None
    with np.load(path, allow_pickle=False) as file:
        wanted = {"data", "indices", "indptr", "shape"}
        if not wanted <= set(file.files):
            raise ValueError(
                f"{path.name} must hold {', '.join(sorted(wanted))} of a CSR matrix, got {', '.join(file.files)}"
            )
        data, indices, pointers, shape = (file[name] for name in ("data", "indices", "indptr", "shape"))
        b = file["b"] if "b" in file.files else None
    rows = int(shape[0]) if shape.shape == (2,) and shape[0] == shape[1] else -1
    if (
        rows < 1
        or len(pointers) != rows + 1
        or len(indices) != len(data)
        or pointers[0] != 0
        or pointers[-1] != len(data)
    ):
        raise ValueError(f"{path.name} is no square CSR matrix: its arrays have other lengths than its shape says")
    if (np.diff(pointers) < 0).any() or (len(indices) and (indices.min() < 0 or indices.max() >= rows)):
        raise ValueError(f"{path.name} has indices outside its {rows} rows and columns")
    checks.refuse_nonfinite("data", torch.from_numpy(np.asarray(data, dtype=float)))
    return csr_matrix((data.astype(float), indices, pointers), (rows, rows)), b


def _matrix_market(path):
    from scipy.io import mmread
    from scipy.sparse import csr_matrix

    with path.open("rb") as file:
        head = file.readline(2**12)
        line = next((row for row in iter(lambda: file.readline(2**12), b"") if not row.startswith(b"%")), b"")
    sizes = line.split()
    if (
        not head.startswith(b"%%MatrixMarket matrix coordinate")
        or len(sizes) != 3
        or not all(s.isdigit() for s in sizes)
    ):
        raise ValueError(f"{path.name} must be a Matrix Market file of coordinates")
    rows, columns, entries = map(int, sizes)
    if rows != columns or entries > path.stat().st_size or rows > 8 * max(entries, 1):
        raise ValueError(
            f"{path.name} states {rows} x {columns} with {entries} entries: not square, or it misstates its size"
        )
    try:
        return csr_matrix(mmread(path))
    except Exception as error:  # whatever the parser stumbles over
        raise ValueError(f"{path.name} is damaged: {type(error).__name__}") from None


@dataclass(frozen=True)
class Solved:
    """One solution of a usual solver: iterations, seconds of CPU time to set up and to iterate."""

    x: torch.Tensor
    iterations: int
    setup: float
    seconds: float


def incomplete_cholesky(A: Grid):
    """IC(0) as a function r -> (L L^T)^{-1} r of flat numpy vectors.

    On these stencils no two neighbours of a cell are neighbours, so L has the off-diagonal entries a_ij / l_jj and
    l_ii^2 = a_ii - sum_j l_ij^2, computed along the diagonals i + j + k = const. of the grid.
    """
    import numpy as np
    from scipy.sparse import diags, tril
    from scipy.sparse.linalg import splu

    pivots, faces = A.diagonal.numpy().copy(), [face.numpy() for face in A.faces]
    places = np.indices(A.shape)
    level = places.sum(0)
    for front in range(1, int(level.max()) + 1):
        here = np.nonzero(level == front)
        for axis, face in enumerate(faces):
            inside = here[axis] > 0
            at = tuple(p[inside] for p in here)
            before = tuple(p - (k == axis) for k, p in enumerate(at))
            pivots[at] -= face[before] ** 2 / pivots[before]
    root = np.sqrt(pivots.ravel())
    lower = tril(A.matrix(), -1).tocsc() @ diags(1 / root) + diags(root)
    solve = splu(lower.tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0.0).solve
    return lambda r: solve(solve(r), "T")


def multigrid(A):
    """One V-cycle of algebraic multigrid (pyamg, Ruge-Stueben) as a function of flat numpy vectors."""
    import pyamg

    return pyamg.ruge_stuben_solver(A.matrix()).aspreconditioner(cycle="V").matvec


def conjugate_gradients(
    A, b: torch.Tensor, tolerance: float = 1e-4, *, preconditioner: Callable | None = None, iterations: int = 100_000
) -> Solved:
    """Conjugate gradients on one right-hand side (n1, ..., nd) until |r| < tolerance |b|, in float64.

    ``preconditioner``: ``None``, :func:`incomplete_cholesky` or :func:`multigrid`.
    """
    import numpy as np

    begin = time.process_time()
    M = preconditioner(A) if preconditioner else lambda r: r
    matrix = A.matrix()
    set_up = time.process_time() - begin
    r = A.project(b.double()).numpy().ravel().copy()
    x, goal = np.zeros_like(r), tolerance * np.linalg.norm(r)
    count, p, old, begin = 0, 0.0, 1.0, time.process_time()
    while np.linalg.norm(r) > goal and count < iterations:
        z = M(r)
        new = r @ z
        p = z + (new / old) * p if count else z
        q = matrix @ p
        step = new / (p @ q)
        x += step * p
        r = r - step * q
        old, count = new, count + 1
    return Solved(torch.from_numpy(x).reshape(A.shape), count, set_up, time.process_time() - begin)
