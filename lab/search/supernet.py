r"""One network that holds all candidates: mixed operations with stacked seeds, one path of it, and the networks cut from it.

The mixed edge of candidates o in O with coefficients w computes \bar o(x) = sum_o w_o o(x); coefficients are an argument, never
a parameter. All weights have the seed as first axis, and candidates of one architecture on all edges that leave a node are one
batched product.

Source: Liu, Simonyan, Yang, 'DARTS', ICLR 2019, equation (2); one path: Cai, Zhu, Han, 'ProxylessNAS', ICLR 2019, equation (2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call, vmap

from lab import checks
from lab.search.space import Genotype, Noise, Residual, Smooth, Space
from lab.training import initialize

_POINTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Identity, Noise, Smooth)


class Supernet:
    """All candidates of a :class:`Space`, for many seeds at once.

    ``initialize(seeds)`` draws the weights, a dict of tensors with the seed as first axis; ``supernet(parameters, weights, x)`` are
    the logits of the mixture and ``supernet.path(parameters, choice, x)`` those of one candidate an edge, of which alone the
    weights are read.
    """

    def __init__(self, space: Space):
        self.space = space
        self.kinds: list[
            tuple[nn.Module, list[int]]
        ] = []  # candidates of one architecture: (template, their places in names)
        self.kind_of: dict[int, tuple[int, int]] = {}
        for place, (name, build) in enumerate(space.builders.items()):
            if build is None:
                continue
            module = _candidate(name, build(space.width))
            same = next((k for k, (other, _) in enumerate(self.kinds) if repr(other) == repr(module)), len(self.kinds))
            if same == len(self.kinds) or not _has_parameters(module):
                same = len(self.kinds)
                self.kinds.append((module, []))
            self.kind_of[place] = (same, len(self.kinds[same][1]))
            self.kinds[same][1].append(place)
        if space.image:
            self.stem = nn.Sequential(
                nn.Conv2d(space.inputs, space.width, 3, padding=1), nn.GroupNorm(1, space.width, affine=False)
            )
        else:
            self.stem = nn.Sequential(
                nn.Linear(space.inputs, space.width), nn.LayerNorm(space.width, elementwise_affine=False)
            )
        self.head = nn.Linear(space.width, space.outputs)
        self._shapes = dict(self._named())
        self._names: dict[tuple, dict[str, str]] = {
            ((cell, source), k): _part({name: name for name in self._shapes}, f"{cell}.{source}.{k}.")
            for cell in range(space.cells)
            for source in range(space.nodes)
            for k in range(len(self.kinds))
        }

    def _named(self):
        """``(name, (leading axes, parameter, owner))`` of every stacked parameter, in the order of drawing."""
        yield from ((f"stem.{name}", ((), *found)) for name, found in _owned(self.stem))
        for cell in range(self.space.cells):
            for source in range(self.space.nodes):
                for k, (module, places) in enumerate(self.kinds):
                    lead = (self.space.nodes - source, len(places))
                    yield from ((f"{cell}.{source}.{k}.{name}", (lead, *found)) for name, found in _owned(module))
        yield from ((f"head.{name}", ((), *found)) for name, found in _owned(self.head))

    def initialize(self, seeds: Sequence[int], dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
        """Weights {name: (seeds, ...)}, uniform in +-1/sqrt(fan_in); a seed's weights do not depend on the other seeds."""
        sizes = {name: math.prod(lead) * value.numel() for name, (lead, value, _) in self._shapes.items()}
        drawn = torch.stack([torch.rand(sum(sizes.values()), generator=checks.generator(int(seed))) for seed in seeds])
        found = {}
        for (name, (lead, value, owner)), part in zip(self._shapes.items(), drawn.split(list(sizes.values()), 1)):
            if isinstance(owner, (nn.GroupNorm, nn.LayerNorm)):
                part = torch.full_like(part, float(name.endswith("weight")))
            else:
                part = (2 * part - 1) / math.sqrt(owner.weight[0].numel())
            found[name] = part.to(dtype).reshape(len(seeds), *lead, *value.shape).contiguous()
        return found

    def __call__(self, parameters: dict[str, torch.Tensor], weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Logits (seeds, items, classes) of the mixture.

        Args:
            parameters: of :meth:`initialize`.
            weights: coefficients (seeds, places, operations).
            x: (items, ...) shared, or (seeds, items, ...); features of a row are flattened in a dense space.
        """
        space, seeds = self.space, len(weights)
        self._check_weights(weights)
        h = self._stem(parameters, self._inputs(x, seeds))
        columns = [[weights[:, :, place] for place in places] for _, places in self.kinds]
        for cell in range(space.cells):
            nodes: list[torch.Tensor | None] = [h, *[None] * space.nodes]
            first = space.place(cell, 0)
            for source in range(space.nodes):
                end = first + space.nodes - source
                for target, y in enumerate(
                    self._leaving(parameters, columns, nodes[source], (cell, source), first, end)
                ):
                    j = source + 1 + target
                    nodes[j] = y if nodes[j] is None else nodes[j] + y
                first = end
            h = nodes[-1]
        return self._head(parameters, h)

    def _leaving(self, parameters, columns, x, where, first, end):
        """What the edges ``first`` to ``end``, which leave one node, carry: one tensor (seeds, items, ...) for each."""
        seeds, count, total = len(x), end - first, None
        ones = [1] * (x.ndim - 1)
        for k, (module, places) in enumerate(self.kinds):
            scales = [column[:, first:end].reshape(seeds, count, *ones) for column in columns[k]]
            if not self._names[where, k]:
                y = _stacked(module, {}, x)[:, None] * scales[0]
            else:
                own = {name: parameters[full].flatten(0, 2) for name, full in self._names[where, k].items()}
                models = count * len(places)
                wide = x[:, None].expand(seeds, models, *x.shape[1:]).flatten(0, 1) if models > 1 else x
                y = _stacked(module, own, wide).unflatten(0, (seeds, count, len(places)))
                y = sum(y[:, :, m] * scale for m, scale in enumerate(scales))
            total = y if total is None else total + y
        return [torch.zeros_like(x)] * count if total is None else total.unbind(1)

    def path(self, parameters: dict[str, torch.Tensor], choice: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Logits of one candidate an edge, ``choice`` (models, places) of indices; only the chosen candidates are computed."""
        plan = self.plan(choice)
        return self.planned(self.take(parameters, plan), plan, x)

    def plan(self, choice: torch.Tensor) -> list[list[tuple[int, torch.Tensor | slice]]]:
        """For each cell and edge the operations in use, each with the models that use it."""
        space = self.space
        choice = checks.tensor("choice", choice, shape=(None, space.places))
        if int(choice.min()) < 0 or int(choice.max()) >= len(space.names):
            raise ValueError(
                f"choice must lie in [0, {len(space.names)}), got {int(choice.min())} to {int(choice.max())}"
            )
        found = []
        for cell in range(space.cells):
            for edge in range(len(space.edges)):
                column = choice[:, space.place(cell, edge)]
                used = [int(one) for one in column.unique()]
                found.append([(one, (column == one).nonzero()[:, 0] if len(used) > 1 else slice(None)) for one in used])
        return found

    def take(
        self, parameters: dict[str, torch.Tensor], plan, rows: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The weights that a plan reads: stem and head, and of each operation in use those of the models that use it.

        Model m of the plan has the weights of seed ``rows[m]``, of seed m where there is no ``rows``.
        """
        shared = {name: value for name, value in parameters.items() if name.startswith(("stem", "head"))}
        found = shared if rows is None else {name: value[rows] for name, value in shared.items()}
        edges = len(self.space.edges)
        for place, row in enumerate(plan):
            cell, edge = divmod(place, edges)
            for operation, models in row:
                if operation not in self.kind_of:
                    continue
                k, slot = self.kind_of[operation]
                source, target = self.space.edges[edge]
                for name, full in self._names[(cell, source), k].items():
                    value = parameters[full][:, target - source - 1, slot]
                    found[f"{cell}.{edge}.{operation}.{name}"] = value[models if rows is None else rows[models]]
        return found

    def planned(
        self, taken: dict[str, torch.Tensor], plan, x: torch.Tensor, *, gates: torch.Tensor | None = None, other=None
    ) -> torch.Tensor:
        """Logits (models, items, classes) of the paths of a plan from the weights of :meth:`take`.

        With ``gates`` (models, places, 2) and ``other``, weights and plan of a second path, an edge carries gates[0] times its
        operation of the first path and gates[1] times that of the second.
        """
        space = self.space
        h = self._stem(taken, self._inputs(x, len(taken["head.weight"])))
        for cell in range(space.cells):
            nodes: list[torch.Tensor | None] = [h, *[None] * space.nodes]
            for edge, (i, j) in enumerate(space.edges):
                source = torch.zeros_like(h) if nodes[i] is None else nodes[i]
                number, prefix = cell * len(space.edges) + edge, f"{cell}.{edge}."
                y = self._carried(taken, plan[number], source, prefix)
                if gates is not None:
                    pair = gates[:, space.place(cell, edge)].reshape(-1, 2, *[1] * (source.ndim - 1))
                    second = self._carried(other[0], other[1][number], source, prefix)
                    y = sum(pair[:, k] * one for k, one in enumerate((y, second)) if one is not None)
                if isinstance(y, torch.Tensor):
                    nodes[j] = y if nodes[j] is None else nodes[j] + y
            h = torch.zeros_like(h) if nodes[-1] is None else nodes[-1]
        return self._head(taken, h)

    def _carried(self, taken, row, x, prefix):
        parts, order = [], []
        for operation, models in row:
            if operation not in self.kind_of:
                if isinstance(models, slice):
                    return None
                parts.append(x.new_zeros(len(models), *x.shape[1:]))
            else:
                start = f"{prefix}{operation}."
                own = {name[len(start) :]: value for name, value in taken.items() if name.startswith(start)}
                parts.append(_stacked(self.kinds[self.kind_of[operation][0]][0], own, x[models]))
            order.append(models)
        return parts[0] if len(parts) == 1 else torch.cat(parts)[torch.argsort(torch.cat(order))]

    def network(self, genotype: Genotype | Sequence[str], seed: int | torch.Generator = 0) -> Network:
        """The plain network of a genotype with fresh weights, ready for :func:`lab.training.fit` or an own loop."""
        return Network(self.space, genotype, seed)

    def _inputs(self, x, seeds):
        rank = 4 if self.space.image else 2
        x = checks.tensor("x", x, finite=False)
        if not self.space.image:
            features = self.space.inputs
            x = x if x.shape[-1] == features else x.flatten(-3) if x.ndim > 3 else x.flatten(-2)
        if x.ndim not in (rank, rank + 1) or x.shape[-1 if rank == 2 else -3] != self.space.inputs:
            raise ValueError(
                f"x must end in {self.space.inputs} {'channels and pixels' if self.space.image else 'features'}, got shape "
                f"{tuple(x.shape)}"
            )
        if x.ndim == rank + 1 and len(x) != seeds:
            raise ValueError(f"x must have one batch for each of the {seeds} seeds, got {len(x)}")
        return x.expand(seeds, *x.shape) if x.ndim == rank else x

    def _check_weights(self, weights):
        space = self.space
        if weights.ndim != 3 or weights.shape[1:] != (space.places, len(space.names)):
            raise ValueError(
                f"weights must have shape (seeds, {space.places}, {len(space.names)}), got {tuple(weights.shape)}"
            )

    def _stem(self, parameters, x):
        return _stacked(self.stem, _part(parameters, "stem."), x.to(parameters["head.weight"].dtype))

    def _head(self, parameters, h):
        if self.space.image:
            h = h.mean((-2, -1))
        return _stacked(self.head, _part(parameters, "head."), nn.functional.layer_norm(h, h.shape[-1:]))


class Network(nn.Module):
    """The network of one genotype: stem, cells, normalization, head. ``(items, ...) -> (items, classes)``."""

    def __init__(self, space: Space, genotype: Genotype | Sequence[str], seed: int | torch.Generator = 0):
        super().__init__()
        whole = Supernet(space)
        self.space, self.genotype = space, space.genotype(space.choice(genotype).tolist())
        self.stem, self.head = whole.stem, whole.head
        self.cells = nn.ModuleList()
        for cell in range(space.cells):
            names = [self.genotype.operations[space.place(cell, edge)] for edge in range(len(space.edges))]
            built = [space.builders[name] for name in names]
            self.cells.append(nn.ModuleList(nn.Module() if build is None else build(space.width) for build in built))
        initialize(self, seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x if self.space.image else x.flatten(1))
        for cell in self.cells:
            nodes = [h, *[torch.zeros_like(h)] * self.space.nodes]
            for (i, j), operation in zip(self.space.edges, cell.children()):
                if type(operation) is not nn.Module:
                    nodes[j] = nodes[j] + operation(nodes[i])
            h = nodes[-1]
        h = h.mean((-2, -1)) if self.space.image else h
        return self.head(nn.functional.layer_norm(h, h.shape[-1:]))


MIXES = ("softmax", "max-w", "gates")


def mix(alpha: torch.Tensor, rule: str = "softmax", *, seed: int | torch.Generator = 0) -> torch.Tensor:
    """Coefficients of the candidates from architecture weights ``alpha`` (..., operations).

    ``softmax``: p = softmax(alpha). ``max-w``: 1 - max(p) + p, the leader's coefficient is one (Hundt, Jain, Hager,
    'sharpDARTS', 2019, section 5). ``gates``: one-hot draws of p (Cai, Zhu, Han, ICLR 2019, equation (2)), without gradient.
    """
    checks.choice("rule", rule, MIXES)
    p = torch.softmax(alpha, -1)
    if rule == "softmax":
        return p
    if rule == "max-w":
        return 1 - p.amax(-1, keepdim=True) + p
    drawn = torch.multinomial(p.detach().flatten(0, -2), 1, generator=checks.generator(seed)).reshape(p.shape[:-1])
    return nn.functional.one_hot(drawn, p.shape[-1]).to(p)


def discretize(alpha: torch.Tensor) -> torch.Tensor:
    """Selection by magnitude: the index of the largest weight of each place, (..., places); the first of equals."""
    return checks.tensor("alpha", alpha).argmax(-1)


def one_hot(choice: torch.Tensor, space: Space, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Coefficients (models, places, operations) that are one at the chosen operation."""
    return nn.functional.one_hot(choice, len(space.names)).to(dtype)


def retrain(space: Space, genotypes: Sequence, x, y, *, seeds=5, epochs=40, learning_rate=3e-3, **options) -> dict:
    """Train the network of each genotype from scratch, ``{genotype: lab.training.Fitted}``; all seeds of one at once.

    ``options`` are those of :func:`lab.training.fit`. Equal genotypes are trained once.
    """
    from lab.training import fit

    found: dict[str, object] = {}
    for genotype in genotypes:
        name = str(space.genotype(space.choice(genotype).tolist()))
        if name not in found:
            options = {"batch_size": 64, "schedule": "cosine", **options}
            found[name] = fit(
                lambda seed, genotype=genotype: Network(space, genotype, seed), x, y, seeds=seeds, epochs=epochs,
                learning_rate=learning_rate, **options,
            )  # fmt: skip
    return found


def counts(space: Space, choice: torch.Tensor, size: tuple[int, int] = (1, 1)) -> tuple[torch.Tensor, torch.Tensor]:
    """Parameters and multiply-adds of the networks ``choice`` (models, places), for images of ``size`` pixels a channel."""
    network, pixels = Supernet(space), math.prod(size)

    def cost(module):
        layers = [m for m in module.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))]
        parameters = sum(value.numel() for value in module.parameters())
        return parameters, sum(m.weight.numel() * (1 if isinstance(m, nn.Linear) else pixels) for m in layers)

    each = torch.zeros(len(space.names), 2, dtype=torch.int64)
    for place, (k, _) in network.kind_of.items():
        each[place] = torch.tensor(cost(network.kinds[k][0]))
    fixed = torch.tensor(cost(network.stem)) + torch.tensor(cost(network.head))
    repeats = space.cells if space.shared else 1
    total = fixed + repeats * each[choice].sum(-2)
    return total[..., 0], total[..., 1]


def _candidate(name, module):
    if not isinstance(module, nn.Module):
        raise TypeError(f"operations[{name!r}] must build a torch module, got {type(module).__name__}")
    for layer in module.modules():
        if isinstance(layer, (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)):
            raise TypeError(
                f"operations[{name!r}] holds {type(layer).__name__}, which keeps statistics or draws global random numbers; use "
                "group or layer normalization, and no dropout"
            )
        if next(layer.parameters(recurse=False), None) is not None and not isinstance(
            layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GroupNorm, nn.LayerNorm)
        ):
            raise TypeError(f"operations[{name!r}]: no initial distribution is known for {type(layer).__name__}")
    return module


def _owned(module):
    """``(name, (parameter, layer that owns it))`` of a module."""
    for prefix, layer in module.named_modules():
        for name, value in layer.named_parameters(recurse=False):
            yield f"{prefix}.{name}" if prefix else name, (value.detach(), layer)


def _has_parameters(module) -> bool:
    return next(module.parameters(), None) is not None


def _part(parameters, prefix):
    return {name[len(prefix) :]: value for name, value in parameters.items() if name.startswith(prefix)}


def _stacked(module, parameters, x):
    """``module`` for many models: parameters (models, ...), x (models, items, ...); mapped where no batched form is known."""
    if type(module) in (nn.Sequential, Residual):
        y = x
        for name, layer in module.named_children():
            y = _stacked(layer, _part(parameters, f"{name}."), y)
        return x + y if type(module) is Residual else y
    if type(module) is nn.Linear and x.ndim == 3:
        weight = parameters["weight"].transpose(1, 2)
        return torch.bmm(x, weight) if module.bias is None else torch.baddbmm(parameters["bias"][:, None], x, weight)
    if isinstance(module, _POINTWISE) or (isinstance(module, nn.LayerNorm) and not module.elementwise_affine):
        return module(x)
    if not parameters:
        return vmap(module)(x)
    if type(module) is nn.Conv2d:
        return _convolved(module, parameters, x)
    return vmap(lambda own, z: functional_call(module, own, (z,)))(parameters, x)


def _convolved(module, parameters, x):
    """Convolutions of all models as one grouped convolution."""
    models, items = x.shape[:2]
    merged = x.transpose(0, 1).flatten(1, 2)
    bias = parameters["bias"].flatten() if module.bias is not None else None
    y = nn.functional.conv2d(
        merged,
        parameters["weight"].flatten(0, 1),
        bias,
        module.stride,
        module.padding,
        module.dilation,
        module.groups * models,
    )
    return y.unflatten(1, (models, -1)).transpose(0, 1)
