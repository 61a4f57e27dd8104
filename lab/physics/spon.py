r"""Structure-preserving operator networks: operators between finite-element spaces, of which only the middle is learned.

A network S = D o P o E maps functions of V_h to functions of W_h:

- E gives the degrees of freedom of the input, by projection M c = (f, phi_i) or by values at nodes (:class:`Space`);
- P, trained, maps degrees of freedom. Channels h on those of W_h go through blocks

  .. math:: h \leftarrow h + W_2\, \sigma(W_1 [h,\; h_K^{-p} D^{-1} A h,\; b,\; \log h_K] + w_1) + w_2

  with the stiffness A (of vector fields the graph Laplacian of \|M\|) and its diagonal D, so that a neighbour counts as the mesh
  says, a mark b of the boundary, and the mesh size h_K relative to the domain; D^{-1} A alone (p = 0) counts hops, and is small on
  smooth functions. With *levels* the middle blocks act on a coarse mesh: channels g = R h go down by the
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
from lab.physics.finite_elements import Space, mesh_of, read_functions, unit_square
from lab.physics.mesh_hierarchy import FREE, Boundary, Geometry, Sparse, arrays


class Spon(nn.Module):
    """The network of :func:`spon`, one model a seed side by side.

    Coefficients are (items, n), with a leading axis of models where there are several and a last one of components where
    a function has several. Results keep the input's dtype. ``scales``: what inputs are divided and outputs
    multiplied by, set by :meth:`fit`.
    """

    def __init__(
        self, input_space: Space, output_space: Space, boundary: Boundary = 0.0, levels: int | Sequence = 2, *,
        where: Callable | None = None, components: tuple[int, int] = (1, 1), channels: int = 24,
        blocks: tuple[int, int, int] = (2, 6, 2), power: float = 0.5, seeds: Sequence[int] = (0,),
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
        self.power = checks.number("power", power)
        self.geometry = self._geometry(input_space, output_space, levels)
        generators = [checks.generator(seed) for seed in seeds]
        c, w = self.channels, self.geometry.weights.shape[1]

        def layer(inputs, outputs, size=1.0):
            draw = [torch.randn(inputs, outputs, generator=g) * size / math.sqrt(inputs) for g in generators]
            return nn.ParameterList([torch.stack(draw), torch.zeros(self.models, 1, outputs)])

        depth = len(self.geometry.levels)
        counts = [*[blocks[0]] * (depth - 1), sum(blocks) if depth == 1 else blocks[1], *[blocks[2]] * (depth - 1)]
        self.first = layer(self.components[0] * len(self.geometry.encode) + 2, c)
        self.last = layer(c, self.components[1] * w, 0.1)
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

    def _geometry(self, source, target, levels):
        return Geometry(source, target, levels, self.boundary, self.where, self.models, self.components[1], self.power)

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
        other.geometry = self._geometry(input_space, output_space, levels)
        if len(other.geometry.levels) != len(self.geometry.levels):
            raise ValueError(f"levels must make {len(self.geometry.levels)} levels, got {len(other.geometry.levels)}")
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
        kept = g.given if isinstance(g.given, int) else [arrays(mesh) for mesh in g.given]
        torch.save({
            "mesh": arrays(g.target.mesh), "elements": (g.source.element, g.target.element), "levels": kept,
            "boundary": FREE if g.free else self.boundary if isinstance(self.boundary, (int, float)) else g.values, "mask": g.mask,
            "form": {"components": self.components, "channels": self.channels, "blocks": self.blocks,
                     "power": self.power},
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
        if not torch.equal(net.geometry.mask, kept["mask"]):
            net.boundary, net.geometry.mask = (
                net.geometry.values,
                kept["mask"],
            )  # a part that another mesh does not know
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
            function, ``channels``, ``blocks`` (before, on the coarsest mesh, after), ``power`` p and ``seeds``, one model each.

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
                raise ValueError(f"outputs must have the network's boundary values, got ones up to {gap:.3g} away")
        pairs.append((a, b))
    with torch.no_grad():
        size = [
            torch.stack([p[k].flatten(1).square().mean(1).sqrt().clamp_min(1e-30) for p in pairs]).mean(0)
            for k in (0, 1)
        ]
        if first.geometry.free:  # the size of potentials whose curls are the first outputs
            from scipy.sparse.linalg import lsqr

            m, n = first.geometry.target.size, first.geometry.work.size
            C = first.geometry.decode._exact.tocsr()[:m, :n]
            potentials = [lsqr(C, each.double().numpy())[0] for each in pairs[0][1][:, 0, :, 0]]
            size[1] = torch.tensor([float((p**2).mean() ** 0.5) for p in potentials]).to(size[1]).clamp_min(1e-30)
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


def _linear(x, layer):
    weight, bias = layer
    return torch.baddbmm(bias, x.flatten(1, 2), weight).unflatten(1, x.shape[1:3])


def _spread(features, x):
    """Features (n, 2) for all models and items of x (models, n, items, channels)."""
    return features.to(x)[:, None].expand(len(x), -1, x.shape[2], -1)


__all__ = ["FREE", "Space", "Spon", "read_functions", "spon", "train", "unit_square"]
