"""What a mesh fixes in a network between finite-element spaces: matrices of encoder and decoder, and the levels of multigrid.

:class:`Geometry` holds them all for one mesh; :func:`barycentric` interpolates between any two meshes, :func:`curl_matrix` maps a
stream function or vector potential to the fluxes of its curl, :class:`Sparse` multiplies the channels of several models at once.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from lab import checks
from lab.physics.finite_elements import Space, as_tensor, mesh_of

FREE = "divergence-free"
Boundary = Any  # None, a number, a function of points, coefficients (n,) or (n, components), or FREE


class Sparse(nn.Module):
    """A sparse matrix (m, n), once for each of several models: (models, n, ...) -> (models, m, ...), with its own adjoint."""

    A: torch.Tensor
    T: torch.Tensor

    def __init__(self, A, models: int):
        super().__init__()
        from scipy.sparse import identity, kron

        stacked = kron(identity(models), A) if models > 1 else A
        self.rows = A.shape[0]
        self.register_buffer("A", as_tensor(stacked, torch.float32), persistent=False)
        self.register_buffer("T", as_tensor(stacked.T, torch.float32), persistent=False)
        self._exact = stacked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.A.dtype != x.dtype:  # from the matrix in float64, not from its rounded copy
            self.A, self.T = (as_tensor(B, x.dtype).to(x.device) for B in (self._exact, self._exact.T))
        return Product.apply(x.flatten(0, 1).flatten(1), self.A, self.T).reshape(len(x), self.rows, *x.shape[2:])


class Product(torch.autograd.Function):
    """A x with the adjoint T g, T the transpose of A."""

    @staticmethod
    def forward(ctx, x, A, T):
        ctx.T = T
        return torch.sparse.mm(A, x)

    @staticmethod
    def backward(ctx, g):
        return torch.sparse.mm(ctx.T, g.contiguous()), None, None


class Geometry(nn.Module):
    """All that the mesh fixes: matrices of E and D, and for every level A, features and the interpolation to the finer one."""

    def __init__(
        self,
        source: Space,
        target: Space,
        levels,
        boundary: Boundary,
        where,
        models: int,
        components: int,
        power: float,
    ):
        super().__init__()
        if not _same_mesh(source.mesh, target.mesh):
            raise ValueError("input_space and output_space must lie on one mesh; interpolate to a common one first")
        self.source, self.target, self.free = source, target, isinstance(boundary, str) and boundary == FREE
        if self.free and target.element != "RT0":
            raise ValueError(f"boundary '{FREE}' needs an output_space of RT0, got {target.element}")
        flat = target.points.shape[1] == 2
        self.work = Space(target.mesh, "P1" if flat else "N1") if self.free else target
        if self.free and target.cell == "quadrilateral":
            raise ValueError(f"boundary '{FREE}' needs triangles or tetrahedra")
        self.encode = nn.ModuleList(Sparse(E, models) for E in source.evaluate(self.work.points, self.work.homes))
        fields = constant_fields(self.work)
        self.register_buffer("weights", fields.float(), persistent=False)
        self._weights = fields
        self.decode = Sparse(curl_matrix(self.work, target), models) if self.free else None
        self.given = levels if isinstance(levels, int) else [mesh_of(*m) if isinstance(m, tuple) else m for m in levels]
        self.levels = nn.ModuleList(_levels(self.work, self.given, models, power))
        mask = torch.zeros(self.work.size, dtype=torch.bool)
        if boundary is not None:
            edge = self.work.boundary
            chosen = torch.ones(len(edge), dtype=torch.bool)
            if where is not None:
                chosen = torch.as_tensor(where(self.work.points[edge])).bool()
                if chosen.shape != edge.shape:
                    raise ValueError(
                        f"where must give one truth value for each of {len(edge)} boundary points, got {tuple(chosen.shape)}"
                    )
            mask[edge[chosen]] = True
        self.register_buffer("mask", mask, persistent=False)
        values = (
            torch.zeros(self.work.size, components, dtype=torch.float64)
            if self.free
            else _values(target, boundary, components)
        )
        self.register_buffer("values", values, persistent=False)

    def finish(self, v: torch.Tensor) -> torch.Tensor:
        """D: fields (models, n, items, components * d) at the degrees of freedom -> coefficients (models, m, items, components)."""
        weights = self._weights.to(v)
        c = (v.unflatten(-1, (-1, weights.shape[1])) * weights[:, None, None]).sum(-1)
        c = torch.where(self.mask[:, None, None], self.values.to(v)[:, None], c)
        return self.decode(c) if self.decode is not None else c


class _Level(nn.Module):
    """h_K^-p D^-1 A, features (n, 2), and for coarse levels the interpolation to the finer level and its restriction."""

    def __init__(self, A, features: torch.Tensor, models: int, power: float, up=None):
        super().__init__()
        from scipy.sparse import diags

        d = A.diagonal()  # of one node alone it is 0
        weight = (-power * features[:, 1].double()).exp().numpy() * (d > 1e-12 * d.max()) / d.clip(1e-300)
        self.mix = Sparse(diags(weight) @ A, models)
        self.register_buffer("features", features, persistent=False)
        if up is not None:
            self.up = Sparse(up, models)
            self.down = Sparse(_normalized(up.T), models)


def _levels(space: Space, given, models: int, power: float):
    """The finest level and those below it."""
    from scipy.sparse import csr_matrix

    extent = float((space.points.amax(0) - space.points.amin(0)).norm())

    def features(space):
        edge = torch.zeros(space.size)
        edge[space.boundary] = 1.0
        return torch.stack([edge, (space.spacing / extent).log().float()], 1)

    A, marks = space.stiffness if not space.vector_valued else _graph(space), features(space)
    found = [_Level(A, marks, models, power)]
    if isinstance(given, int):
        count = checks.integer("levels", given, low=1)
        if count > 1 and space.element not in ("P1", "Q1"):
            nodes = Space(space.mesh, "Q1" if space.cell == "quadrilateral" else "P1")
            A, marks, count = nodes.stiffness, features(nodes), count - 1
            found.append(_Level(A, marks, models, power, barycentric(space.mesh, space.points)))
            space = nodes
        if count > 1:
            import pyamg

            for level in pyamg.ruge_stuben_solver(_graph(space).tocsr(), max_levels=count).levels[:-1]:
                P = csr_matrix(level.P)
                ratio = math.log(P.shape[0] / P.shape[1]) / space.points.shape[1]
                marks = torch.from_numpy(_normalized(P.T) @ marks.double().numpy()).float() + torch.tensor([0.0, ratio])
                A = P.T @ A @ P
                found.append(_Level(A, marks, models, power, P))
        return found
    points = space.points
    for mesh in given:
        coarse = Space(mesh, "Q1" if type(mesh).__name__.startswith("MeshQuad") else "P1")
        if coarse.points.shape[1] != points.shape[1] or coarse.size >= len(points):
            raise ValueError(f"levels must get coarser, got a mesh of {coarse.size} points below {len(points)}")
        found.append(_Level(coarse.stiffness, features(coarse), models, power, barycentric(coarse.mesh, points)))
        points = coarse.points
    return found


def barycentric(mesh, points: torch.Tensor):
    """Linear interpolation (points, vertices) from a mesh; a point outside takes the nearest values, by clamped weights."""
    from scipy.sparse import csr_matrix

    simplices = mesh.to_meshtri() if hasattr(mesh, "to_meshtri") else mesh
    p, t = (torch.from_numpy(each.copy()) for each in (simplices.p.T, simplices.t.T))
    corners = p[t.long()]
    inverse = torch.linalg.inv((corners[:, 1:] - corners[:, :1]).transpose(1, 2))
    rows, weights = [], []
    for some in points.double().split(max(1, 2**22 // len(t))):
        rest = torch.einsum("cij,pcj->pci", inverse, some[:, None] - corners[:, 0])
        every = torch.cat([1 - rest.sum(2, keepdim=True), rest], 2)
        best = every.amin(2).argmax(1)
        w = every[torch.arange(len(some)), best].clamp_min(0)
        w[w < 1e-12] = 0
        rows.append(t[best])
        weights.append(w / w.sum(1, keepdim=True))
    columns, weight = torch.cat(rows), torch.cat(weights)
    place = torch.arange(len(columns))[:, None].expand(columns.shape)
    P = csr_matrix(
        (weight.flatten().numpy(), (place.flatten().numpy(), columns.flatten().numpy())), (len(points), len(p))
    )
    P.eliminate_zeros()
    return P


def _normalized(A):
    """A matrix with rows that sum to one."""
    import numpy as np
    from scipy.sparse import diags

    total = np.asarray(A.sum(1)).ravel()
    return diags(1 / np.where(np.abs(total) > 1e-12, total, 1.0)) @ A


def _graph(space):
    """The graph Laplacian with the sizes of M's entries as weights: it does not see the signs of vector fields' facets."""
    import numpy as np
    from scipy.sparse import diags

    G = abs(space.mass)
    return (diags(np.asarray(G.sum(1)).ravel()) - G).tocsr()


def constant_fields(space):
    """w (n, d): the degrees of freedom of the constant fields e_k; for scalar functions ones (n, 1)."""
    if not space.vector_valued:
        return torch.ones(space.size, 1, dtype=torch.float64)
    d = space.points.shape[1]
    unit = torch.eye(d, dtype=torch.float64)
    return torch.stack([space.project(lambda x, k=k: unit[k].expand(x.shape)) for k in range(d)], 1)


def curl_matrix(potential: Space, flux: Space):
    """The sparse matrix of the curl from a stream function or vector potential to RT0."""
    from scipy.sparse import diags

    w = constant_fields(flux).numpy()
    parts = potential.evaluate(flux.points, flux.homes, "curl")
    C = sum(diags(w[:, k]) @ part for k, part in enumerate(parts)).tocsr()
    C.data[abs(C.data) < 1e-12 * abs(C.data).max()] = 0
    C.eliminate_zeros()
    return C


def _values(space, boundary, components):
    """The coefficients (n, components) that the boundary's are overwritten with."""
    if boundary is None:
        return torch.zeros(space.size, components, dtype=torch.float64)
    if callable(boundary):
        g = space.project(boundary) if space.vector_valued else torch.as_tensor(boundary(space.points)).double()
    elif isinstance(boundary, (int, float)):
        if space.vector_valued and boundary != 0:
            raise ValueError(
                f"boundary must be 0, a function or coefficients for the vector fields of {space.element}, got {boundary}"
            )
        g = torch.full((space.size,), checks.number("boundary", boundary), dtype=torch.float64)
    else:
        g = checks.tensor("boundary", boundary, floating=True).double()
    g = g[:, None].expand(-1, components) if g.ndim == 1 else g
    return checks.tensor("boundary", g.contiguous(), shape=(space.size, components))


def _same_mesh(a, b):
    return a is b or (
        a.p.shape == b.p.shape and a.t.shape == b.t.shape and bool((a.p == b.p).all()) and bool((a.t == b.t).all())
    )


def arrays(mesh):
    """Points (n, d) and cells (m, corners) of a mesh."""
    return torch.from_numpy(mesh.p.T.copy()), torch.from_numpy(mesh.t.T.astype("int64"))
