"""Search spaces: candidate operations on the edges of a cell, and the genotypes that choose one of them for each edge.

A cell has nodes 0 (its input), 1, ..., n. Every node j > 0 sums one operation of each earlier node i; the last node is the
output. The same choice serves all cells (``shared=True``) or each cell has its own. A network is a stem, the cells in a chain,
layer normalization without weights, and a linear head.

Source: H. Liu, K. Simonyan, Y. Yang, 'DARTS: Differentiable Architecture Search', ICLR 2019, section 2.1. Batch normalization
of the original is layer normalization here: it keeps no running statistics, so masked and stacked networks mean the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import nn

from lab import checks


class Noise(nn.Module):
    """A fixed chaotic function of its input, sqrt(2) sin(1000 (x + roll(x, 1) + k)): unit variance, no gradient, no information.

    It stands for the noise candidate of A. Zela et al., 'Understanding and Robustifying Differentiable Architecture Search',
    ICLR 2020, space S4, and needs no random numbers, so that a network with it is a function.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.detach()
        place = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)
        return 2**0.5 * torch.sin(1000 * (x + x.roll(1, -1) + place))


class Smooth(nn.Module):
    """The mean of three neighbouring features (the pooling candidate of dense cells), features in a ring."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + x.roll(1, -1) + x.roll(-1, -1)) / 3


class Residual(nn.Sequential):
    """x + f(x) with f the layers in turn."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


def _norm(width):
    return nn.LayerNorm(width, elementwise_affine=False)


def _perceptron(hidden):
    return lambda w: nn.Sequential(nn.Linear(w, hidden or w), nn.ReLU(), nn.Linear(hidden or w, w), _norm(w))


def _convolution(kernel, depthwise=False):
    def build(c):
        layers = [nn.Conv2d(c, c, kernel, padding=kernel // 2, groups=c if depthwise else 1)]
        layers += [nn.Conv2d(c, c, 1)] if depthwise else []
        return nn.Sequential(*layers, nn.GroupNorm(1, c, affine=False), nn.ReLU())

    return build


DENSE: dict[str, Callable[[int], nn.Module] | None] = {
    "none": None,
    "skip": lambda w: nn.Identity(),
    "noise": lambda w: Noise(),
    "smooth": lambda w: Smooth(),
    "linear": lambda w: nn.Sequential(nn.Linear(w, w), _norm(w)),
    "tanh": lambda w: nn.Sequential(nn.Linear(w, w), nn.Tanh()),
    "narrow": _perceptron(4),
    "mlp": _perceptron(None),
}
IMAGE: dict[str, Callable[[int], nn.Module] | None] = {
    "none": None,
    "skip": lambda c: nn.Identity(),
    "average3": lambda c: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "conv1": _convolution(1),
    "conv3": _convolution(3),
    "separable3": _convolution(3, depthwise=True),
}
SETS = {
    "plain": ("none", "skip", "noise", "linear", "mlp"),
    "s2": ("skip", "mlp"),
    "s4": ("noise", "mlp"),
    "none-noise": ("none", "noise", "skip", "linear", "mlp"),
    "skip-linear-mlp": ("skip", "linear", "mlp"),
    "eight": tuple(DENSE),
    "image": ("none", "skip", "average3", "conv1", "separable3", "conv3"),
}


@dataclass(frozen=True)
class Space:
    """Which networks a search may choose from.

    Args:
        operations: the name of a set (``plain``, ``s2``, ``s4``, ``none-noise``, ``skip-linear-mlp``, ``eight``, ``image``), names
            of operations, or ``{name: build}`` with ``build(width) -> nn.Module`` of own candidates (``None`` is zero).
            Candidates keep the shape of their input, hold no running statistics and draw no random numbers.
        inputs: features (dense) or channels (images).
        outputs: classes.
        nodes: nodes of a cell beside its input.
        cells: cells in the chain.
        width: features, or channels, of every node.
        image: whether inputs are (items, channels, H, W).
        shared: whether all cells make the same choice.
    """

    operations: str | tuple[str, ...] | Mapping[str, Callable[[int], nn.Module] | None]
    inputs: int
    outputs: int
    nodes: int = 2
    cells: int = 3
    width: int = 24
    image: bool = False
    shared: bool = True

    def __post_init__(self):
        for name in ("inputs", "outputs", "nodes", "cells", "width"):
            checks.integer(name, getattr(self, name), low=1)
        if len(self.names) < 1 or len(set(self.names)) < len(self.names):
            raise ValueError(f"operations must be different names, at least one, got {self.names}")
        for name, build in self.builders.items():
            if build is not None and not callable(build):
                raise TypeError(f"operations[{name!r}] must be callable width -> module, got {type(build).__name__}")

    def __hash__(self):
        return hash(
            (self.names, self.inputs, self.outputs, self.nodes, self.cells, self.width, self.image, self.shared)
        )

    @cached_property
    def builders(self) -> dict[str, Callable[[int], nn.Module] | None]:
        """``{name: build}`` of every candidate, in order."""
        if isinstance(self.operations, Mapping):
            return dict(self.operations)
        names = self.operations
        if isinstance(names, str):
            names = SETS[checks.choice("operations", names, SETS)]
        known = IMAGE if self.image else DENSE
        return {name: known[checks.choice("operations", name, known)] for name in names}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The candidates' names."""
        return tuple(self.builders)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Edges (i, j) of a cell, ordered by their source."""
        return tuple((i, j) for i in range(self.nodes) for j in range(i + 1, self.nodes + 1))

    @property
    def places(self) -> int:
        """How many choices a genotype makes: one for each edge, of each cell unless they are shared."""
        return len(self.edges) * (1 if self.shared else self.cells)

    def place(self, cell: int, edge: int) -> int:
        """Where the choice for an edge of a cell stands."""
        return edge if self.shared else cell * len(self.edges) + edge

    def genotype(self, choice: Sequence[int]) -> Genotype:
        """The genotype of one index into ``names`` for each place."""
        return Genotype(tuple(self.names[int(index)] for index in choice), self.edges, self.cells, self.width)

    def choice(self, genotype: Genotype | Sequence[str]) -> torch.Tensor:
        """Indices (places,) of a genotype, the inverse of :meth:`genotype`."""
        names = genotype.operations if isinstance(genotype, Genotype) else tuple(genotype)
        if len(names) != self.places:
            raise ValueError(f"genotype must name {self.places} operations, one for each edge, got {len(names)}")
        return torch.tensor([self.names.index(checks.choice("genotype", name, self.names)) for name in names])

    def all_choices(self) -> torch.Tensor:
        """Every genotype as indices, (operations^places, places); refused beyond 100,000."""
        if len(self.names) ** self.places > 100_000:
            raise ValueError(f"the space has {len(self.names)}^{self.places} genotypes; draw some instead")
        return torch.tensor(list(product(range(len(self.names)), repeat=self.places)))

    def random(self, count: int, seed: int | torch.Generator = 0) -> torch.Tensor:
        """``count`` genotypes drawn uniformly, as indices (count, places)."""
        return torch.randint(len(self.names), (count, self.places), generator=checks.generator(seed))


@dataclass(frozen=True)
class Genotype:
    """One operation for each edge (of each cell, where cells differ)."""

    operations: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    cells: int = 1
    width: int = 1

    def __str__(self) -> str:
        return "-".join(self.operations)

    def to_json(self) -> str:
        """As one line of JSON: cells, width and ``[from, to, operation]`` of every edge."""
        repeated = [*self.edges] * (len(self.operations) // len(self.edges))
        rows = [[i, j, name] for (i, j), name in zip(repeated, self.operations)]
        return json.dumps({"cells": self.cells, "width": self.width, "edges": rows})

    @classmethod
    def from_json(cls, text: str) -> Genotype:
        """The genotype of :meth:`to_json`; ``ValueError`` for any other text."""
        try:
            found = json.loads(text)
            rows = [(int(i), int(j), str(name)) for i, j, name in found["edges"]]
            edges = tuple(dict.fromkeys((i, j) for i, j, _ in rows))
            return cls(tuple(name for *_, name in rows), edges, int(found["cells"]), int(found["width"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"text is no genotype: {error}; it looks like {cls(('skip',), ((0, 1),)).to_json()}"
            ) from error
