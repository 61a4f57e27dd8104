r"""Structure-preserving operator networks: operators between finite-element spaces, of which only the middle is learned.

A network S = D o P o E maps functions of V_h to functions of W_h:

- E gives the degrees of freedom of the input, by projection M c = (f, phi_i) or by values at nodes (:class:`Space`);
- P, trained, maps degrees of freedom. Channels h on those of W_h go through blocks

  .. math:: h \leftarrow h + W_2\, \sigma(W_1 [h,\; D^{-1} A h,\; b,\; \log h_K] + w_1) + w_2

  with the stiffness A (of vector fields the graph Laplacian of \|M\|) and its diagonal D, so that a neighbour counts as the mesh
  says, a mark b of the boundary, and the mesh
  size h_K relative to the domain. With *levels* the middle blocks act on a coarse mesh: channels g = R h go down by the
  row-normalized transpose R of the interpolation P, and their change comes back, h + P(g' - g), as a V-cycle does;
- D takes the result as coefficients of W_h and writes the boundary values over those on the boundary, so that these are exact; or
  takes it as coefficients of a stream function (2-D) or vector potential (3-D), whose curl in RT0 has no divergence.

So the error splits: |S - S_theta| is at most the error of the discretization plus that of P. Elements of vector fields are
learned as d channels at their degrees of freedom and read by c_i = w_i . v(x_i), exact for constant fields, whatever their signs.

Source: N. Bouziani, N. Boulle, 'Structure-Preserving Operator Learning', arXiv 2410.01065, 2024. The blocks are ours: the paper's
processors are graph networks, which sum over edges and so change with the mesh.

>>> V = Space(unit_square(3), "P1")
>>> net = spon(V, V, boundary=1.0, levels=[unit_square(1)])
>>> out = net(torch.randn(2, V.size, generator=torch.Generator().manual_seed(0)))
>>> bool((out[:, V.boundary] == 1).all())
True
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lab import checks
from lab.physics.finite_elements import Space, as_tensor, mesh_of, unit_square

FREE = "divergence-free"
Boundary = Any  # None, a number, a function of points, coefficients (n,) or (n, components), or FREE


class Sparse(nn.Module):
    """A sparse matrix (m, n), once for each of several models: (models, n, ...) -> (models, m, ...), with its own adjoint."""

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
        return _Product.apply(x.flatten(0, 1).flatten(1), self.A, self.T).reshape(len(x), self.rows, *x.shape[2:])


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, A, T):
        ctx.T = T
        return torch.sparse.mm(A, x)

    @staticmethod
    def backward(ctx, g):
        return torch.sparse.mm(ctx.T, g.contiguous()), None, None


class Geometry(nn.Module):
    """All that the mesh fixes: matrices of E and D, and for every level A, features and the interpolation to the finer one."""

    def __init__(self, source: Space, target: Space, levels, boundary: Boundary, where, models: int, components: int):
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
        fields = _constants(self.work)
        self.register_buffer("weights", fields.float(), persistent=False)
        self._weights = fields
        self.decode = Sparse(_curl(self.work, target), models) if self.free else None
        self.given = levels if isinstance(levels, int) else [mesh_of(*m) if isinstance(m, tuple) else m for m in levels]
        self.levels = nn.ModuleList(_levels(self.work, self.given, models))
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
    """D^-1 A, features (n, 2), and for coarse levels the interpolation to the finer level with its row-normalized transpose."""

    def __init__(self, A, features: torch.Tensor, models: int, up=None):
        super().__init__()
        from scipy.sparse import diags

        d = A.diagonal()  # of one node alone it is 0
        self.mix = Sparse(diags((d > 1e-12 * d.max()) / d.clip(1e-300)) @ A, models)
        self.register_buffer("features", features, persistent=False)
        if up is not None:
            self.up = Sparse(up, models)
            self.down = Sparse(_normalized(up.T), models)


class Spon(nn.Module):
    """The network of :func:`spon`, one model a seed side by side.

    Coefficients are (items, n), with a leading axis of models where there are several and a last one of components where
    a function has several. Results keep the input's dtype. ``scales``: what inputs are divided and outputs
    multiplied by, set by :meth:`fit`.
    """

    def __init__(
        self, input_space: Space, output_space: Space, boundary: Boundary = 0.0, levels: int | Sequence = 2, *,
        where: Callable | None = None, components: tuple[int, int] = (1, 1), channels: int = 24,
        blocks: tuple[int, int, int] = (2, 6, 2), seeds: Sequence[int] = (0,),
    ):  # fmt: skip
        super().__init__()
        self.components = tuple(checks.integer("components", k, low=1) for k in components)
        self.blocks = tuple(checks.integer("blocks", k, low=0) for k in blocks)
        if len(self.components) != 2 or len(self.blocks) != 3:
            raise ValueError(
                f"components must be (in, out) and blocks (before, on the coarsest, after), got {components}, {blocks}"
            )
        self.channels, self.models = checks.integer("channels", channels, low=1), len(seeds)
        self.boundary, self.where = boundary, where
        self.geometry = Geometry(input_space, output_space, levels, boundary, where, self.models, self.components[1])
        generators = [checks.generator(seed) for seed in seeds]
        c, w = self.channels, self.geometry.weights.shape[1]

        def layer(inputs, outputs, size=1.0):
            draw = [torch.randn(inputs, outputs, generator=g) * size / math.sqrt(inputs) for g in generators]
            return nn.ParameterList([torch.stack(draw), torch.zeros(self.models, 1, outputs)])

        depth = len(self.geometry.levels)
        counts = [*[blocks[0]] * (depth - 1), sum(blocks) if depth == 1 else blocks[1], *[blocks[2]] * (depth - 1)]
        self.first = layer(self.components[0] * len(self.geometry.encode) + 2, c)
        self.last = layer(c, self.components[1] * w)
        self.stages = nn.ModuleList(
            nn.ModuleList(nn.ModuleList([layer(2 * c + 2, c), layer(c, c, 0.3)]) for _ in range(count))
            for count in counts
        )
        self.register_buffer("scales", torch.ones(2, self.models, 1, 1, 1))

    def forward(self, c: torch.Tensor) -> torch.Tensor:
        x = self._split("c", c, self.geometry.source.size, self.components[0])
        kind = self.first[0].dtype
        x = x.to(kind).transpose(1, 2) / self.scales[0]
        g = self.geometry
        x = torch.cat([E(x) for E in g.encode], -1)
        h = _linear(torch.cat([x, _spread(g.levels[0].features, x)], -1), self.first)
        h = self._cycle(h, 0)
        out = _linear(h, self.last) * self.scales[1]
        return self._join(g.finish(out.to(c.dtype)).transpose(1, 2), 1)

    def _cycle(self, h, depth):
        level, last = self.geometry.levels[depth], len(self.geometry.levels) - 1
        h = self._smooth(h, level, self.stages[depth])
        if depth < last:
            coarse = self.geometry.levels[depth + 1]
            g = coarse.down(h)
            h = h + coarse.up(self._cycle(g, depth + 1) - g)
            h = self._smooth(h, level, self.stages[2 * last - depth])
        return h

    def _smooth(self, h, level, blocks):
        marks = _spread(level.features, h)
        for first, second in blocks:
            h = h + _linear(nn.functional.gelu(_linear(torch.cat([h, level.mix(h), marks], -1), first)), second)
        return h

    def on(self, input_space: Space, output_space: Space, levels) -> Spon:
        """The same weights on another mesh; ``levels`` as in :func:`spon`, as many as here. Weights are shared, not copied."""
        if isinstance(self.boundary, torch.Tensor):
            raise ValueError("boundary must be a number or a function for another mesh, got coefficients of this one")
        other = copy.copy(self)
        other._modules, other._parameters, other._buffers = (
            dict(self._modules),
            dict(self._parameters),
            dict(self._buffers),
        )
        other.geometry = Geometry(
            input_space, output_space, levels, self.boundary, self.where, self.models, self.components[1]
        )
        if len(other.geometry.levels) != len(self.geometry.levels):
            raise ValueError(
                f"levels must make {len(self.geometry.levels)} levels like the network has, got {len(other.geometry.levels)}"
            )
        return other

    def loss(self, c: torch.Tensor, wanted: torch.Tensor, norm: str = "L2") -> torch.Tensor:
        """|S(c) - wanted|^2 / |wanted|^2 of every item, (items,) or (models, items), in L2 (M) or H1 (M + A)."""
        target = self.geometry.target
        wanted = self._split("wanted", wanted, target.size, self.components[1])
        gap = self._split("out", self(c), target.size, self.components[1]) - wanted
        key = f"_{checks.choice('norm', norm, ('L2', 'H1'))}"
        if key not in self.geometry._modules:
            self.geometry.add_module(
                key, Sparse(target.mass + (target.stiffness if norm == "H1" else 0 * target.mass), self.models)
            )
        K = self.geometry._modules[key]

        def square(v):
            v = v.transpose(1, 2)
            return (v * K(v.contiguous())).sum((1, 3))

        found = square(gap) / square(wanted).clamp_min(1e-30)
        return found if self.models > 1 else found[0]

    def fit(
        self, inputs, outputs, *, steps: int = 500, rate: float = 3e-3, batch: int = 20, norm: str = "L2",
        seed: int | torch.Generator = 0, progress: Callable[[float], None] | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """Train on pairs of coefficients by Adam with a cosine schedule, in place; returns mean losses (steps,) or (steps, models).

        Raises:
            ValueError, TypeError: other shapes than the spaces', not finite, outputs that contradict the boundary values.
        """
        (losses,) = train(
            [self], [(inputs, outputs)], steps=steps, rate=rate, batch=batch, norm=norm, seed=seed, progress=progress
        )
        return losses if self.models > 1 else losses[:, 0]

    def save(self, path: str | Path) -> None:
        """Write mesh, levels, boundary and weights to one file; a boundary that is a function is kept as its coefficients."""
        g = self.geometry
        kept = g.given if isinstance(g.given, int) else [_arrays(mesh) for mesh in g.given]
        torch.save({
            "mesh": _arrays(g.target.mesh), "elements": (g.source.element, g.target.element), "levels": kept,
            "boundary": FREE if g.free else g.values, "mask": g.mask,
            "form": {"components": self.components, "channels": self.channels, "blocks": self.blocks},
            "models": self.models, "weights": self.state_dict(),
        }, path)  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> Spon:
        """Read what :meth:`save` wrote; nothing in the file is executed."""
        kept = torch.load(path, weights_only=True)
        mesh = mesh_of(*kept["mesh"])
        source, target = (Space(mesh, element) for element in kept["elements"])
        levels = kept["levels"] if isinstance(kept["levels"], int) else [mesh_of(*m) for m in kept["levels"]]
        net = cls(source, target, kept["boundary"], levels, seeds=range(kept["models"]), **kept["form"])
        net.geometry.mask = kept["mask"]
        net.load_state_dict(kept["weights"])
        return net.requires_grad_(False)

    def _split(self, name, c, size, components):
        """Coefficients as (models, items, n, components)."""
        shape = [*[self.models] * (self.models > 1), None, size, *[components] * (components > 1)]
        if not isinstance(c, torch.Tensor) or not c.is_floating_point():
            c = checks.tensor(name, c, floating=True)
        if c.ndim != len(shape) or any(w not in (None, g) for w, g in zip(shape, c.shape)):
            checks.tensor(name, c.detach(), shape=shape, finite=False)
        return c.reshape(self.models, -1, size, components)

    def _join(self, c, side):
        """The axes of models and components left out where they are one."""
        c = c[..., 0] if self.components[side] == 1 else c
        return c if self.models > 1 else c[0]


def spon(input_space: Space, output_space: Space, boundary: Boundary = 0.0, levels: int | Sequence = 2, **form) -> Spon:
    """A structure-preserving operator network, ready for :meth:`Spon.fit`, :meth:`Spon.save` and :meth:`Spon.load`.

    Args:
        input_space, output_space: any elements of :class:`Space` on one mesh.
        boundary: what outputs are on the boundary: a number, a function of points (m, d), coefficients (n,), ``None`` for no
            condition, or ``"divergence-free"`` for RT0: the curl of a stream function, with no flow through the boundary.
        levels: meshes from fine to coarse below the spaces' own (``[]`` is the plain network, no multigrid), or how many levels
            algebraic multigrid (pyamg, Ruge-Stueben) makes of the stiffness, the finest included.
        form: ``where`` (points (m, d) -> which part of the boundary the condition holds on), ``components`` (in, out) of each
            function, ``channels``, ``blocks`` (before, on the coarsest mesh, after) and ``seeds``, one model each.

    Raises:
        ValueError, TypeError: spaces on two meshes, a boundary value that the element cannot hold, an odd level.
    """
    return Spon(input_space, output_space, boundary, levels, **form)


def train(
    nets: Sequence[Spon], data: Sequence[tuple[Any, Any]], *, steps: int = 500, rate: float = 3e-3, batch: int = 20,
    norm: str = "L2", seed: int | torch.Generator = 0, progress: Callable[[float], None] | None = None,
) -> list[torch.Tensor]:  # fmt: skip
    """Train one set of weights on one or several meshes (``nets`` from :meth:`Spon.on`), a step on each in turn.

    Returns:
        The mean losses (steps, models) on each mesh.
    """
    first, generator = nets[0], checks.generator(seed)
    steps, batch = checks.integer("steps", steps, low=1), checks.integer("batch", batch, low=1)
    pairs = []
    for net, (a, b) in zip(nets, data, strict=True):
        g = net.geometry
        a = net._split("inputs", checks.tensor("inputs", a, floating=True), g.source.size, net.components[0])
        b = net._split("outputs", checks.tensor("outputs", b, floating=True), g.target.size, net.components[1])
        if a.shape[1] != b.shape[1]:
            raise ValueError(f"inputs and outputs must be as many functions, got {a.shape[1]} and {b.shape[1]}")
        if not g.free and bool(g.mask.any()):
            gap = float((b[:, :, g.mask] - g.values[g.mask].to(b)).abs().max())
            if gap > 1e-4 * float(b.abs().max()):
                raise ValueError(
                    f"outputs must have the boundary values of the network, got values that differ by up to {gap:.3g}"
                )
        pairs.append((a, b))
    with torch.no_grad():
        size = [
            torch.stack([p[k].flatten(1).square().mean(1).sqrt().clamp_min(1e-30) for p in pairs]).mean(0)
            for k in (0, 1)
        ]
        if (
            first.geometry.free
        ):  # the potential's size: that of fluxes, which are its differences, over their share of the domain
            size[1] = size[1] / nets[0].geometry.levels[0].features[:, 1].exp().mean().to(size[1])
        first.scales.copy_(torch.stack(size).reshape(2, -1, 1, 1, 1))
    parameters = list(first.parameters())
    kind = parameters[0].dtype
    pairs = [(net._join(a.to(kind), 0), net._join(b.to(kind), 1)) for net, (a, b) in zip(nets, pairs)]
    optimizer = torch.optim.Adam(parameters, lr=checks.number("rate", rate, low=0.0, open_low=True))
    seen: list[list[torch.Tensor]] = [[] for _ in nets]
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        for net, (a, b), losses in zip(nets, pairs, seen):
            axis = int(first.models > 1)
            chosen = torch.randperm(a.shape[axis], generator=generator)[:batch]
            each = net.loss(a.index_select(axis, chosen), b.index_select(axis, chosen), norm).mean(-1)
            optimizer.zero_grad()
            each.sum().backward()
            optimizer.step()
            losses.append(each.detach().reshape(-1))
        if progress is not None:
            progress((step + 1) / steps)
    return [torch.stack(losses) for losses in seen]


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


def _linear(x, layer):
    weight, bias = layer
    return torch.baddbmm(bias, x.flatten(1, 2), weight).unflatten(1, x.shape[1:3])


def _spread(features, x):
    """Features (n, 2) for all models and items of x (models, n, items, channels)."""
    return features.to(x)[:, None].expand(len(x), -1, x.shape[2], -1)


def _levels(space: Space, given, models: int):
    """The finest level and those below it."""
    from scipy.sparse import csr_matrix

    extent = float((space.points.amax(0) - space.points.amin(0)).norm())

    def features(space):
        edge = torch.zeros(space.size)
        edge[space.boundary] = 1.0
        return torch.stack([edge, (space.spacing / extent).log().float()], 1)

    A, marks = space.stiffness if not space.vector_valued else _graph(space), features(space)
    found = [_Level(A, marks, models)]
    if isinstance(given, int):
        count = checks.integer("levels", given, low=1)
        if count > 1 and space.element not in ("P1", "Q1"):
            nodes = Space(space.mesh, "Q1" if space.cell == "quadrilateral" else "P1")
            A, marks, count = nodes.stiffness, features(nodes), count - 1
            found.append(_Level(A, marks, models, barycentric(space.mesh, space.points)))
            space = nodes
        if count > 1:
            import pyamg

            for level in pyamg.ruge_stuben_solver(_graph(space).tocsr(), max_levels=count).levels[:-1]:
                P = csr_matrix(level.P)
                ratio = math.log(P.shape[0] / P.shape[1]) / space.points.shape[1]
                marks = torch.from_numpy(_normalized(P.T) @ marks.double().numpy()).float() + torch.tensor([0.0, ratio])
                A = P.T @ A @ P
                found.append(_Level(A, marks, models, P))
        return found
    points = space.points
    for mesh in given:
        coarse = Space(mesh, "Q1" if type(mesh).__name__.startswith("MeshQuad") else "P1")
        if coarse.points.shape[1] != points.shape[1] or coarse.size >= len(points):
            raise ValueError(f"levels must get coarser, got a mesh of {coarse.size} points below {len(points)}")
        found.append(_Level(coarse.stiffness, features(coarse), models, barycentric(coarse.mesh, points)))
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


def _constants(space):
    """w (n, d): the degrees of freedom of the constant fields e_k; for scalar functions ones (n, 1)."""
    if not space.vector_valued:
        return torch.ones(space.size, 1, dtype=torch.float64)
    d = space.points.shape[1]
    unit = torch.eye(d, dtype=torch.float64)
    return torch.stack([space.project(lambda x, k=k: unit[k].expand(x.shape)) for k in range(d)], 1)


def _curl(potential: Space, flux: Space):
    """The sparse matrix of the curl from a stream function or vector potential to RT0."""
    from scipy.sparse import diags

    w = _constants(flux).numpy()
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


def _arrays(mesh):
    return torch.from_numpy(mesh.p.T.copy()), torch.from_numpy(mesh.t.T.astype("int64"))


__all__ = ["FREE", "Space", "Spon", "read_functions", "spon", "train", "unit_square"]
