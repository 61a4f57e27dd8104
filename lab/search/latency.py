r"""What a candidate costs: seconds measured on this machine, or multiply-adds; and the expected cost of a distribution.

.. math:: E[\mathrm{lat}] = \sum_i \sum_j p_{ij} F(o_j)

is differentiable in the probabilities p. Source: Cai, Zhu, Han, 'ProxylessNAS', ICLR 2019, equations (5) and (6).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from lab import checks
from lab.search.space import Space


@dataclass(frozen=True)
class LatencyTable:
    """The cost of each candidate of one place, in ``unit``."""

    costs: Mapping[str, float]
    unit: str = "seconds"

    def __post_init__(self):
        for name, cost in self.costs.items():
            checks.number(f"costs[{name!r}]", cost, low=0.0)

    @classmethod
    def measure(
        cls, space: Space, *, batch: int = 1, repeats: int = 31, warm_up: int = 5, size: int = 8
    ) -> LatencyTable:
        """Median seconds of a forward pass of each candidate on a batch of ``batch`` items, after ``warm_up`` passes.

        Images have ``size`` x ``size`` pixels. The zero operation costs nothing.
        """
        for name, value in (("batch", batch), ("repeats", repeats), ("size", size)):
            checks.integer(name, value, low=1)
        x = torch.zeros(batch, space.width, size, size) if space.image else torch.zeros(batch, space.width)
        return cls({name: _median(build, space.width, x, repeats, warm_up) for name, build in space.builders.items()})

    @classmethod
    def multiply_adds(cls, space: Space, *, size: int = 8) -> LatencyTable:
        """Multiply-adds of each candidate for one item; of convolutions on ``size`` x ``size`` pixels."""
        costs = {}
        for name, build in space.builders.items():
            layers = [] if build is None else list(build(space.width).modules())
            dense = sum(layer.weight.numel() for layer in layers if isinstance(layer, nn.Linear))
            costs[name] = float(dense + size**2 * sum(m.weight.numel() for m in layers if isinstance(m, nn.Conv2d)))
        return cls(costs, "multiply-adds")

    @classmethod
    def from_csv(cls, path, unit: str = "seconds") -> LatencyTable:
        """A table from a file with the columns ``operation`` and ``cost``.

        Raises:
            ValueError: other columns, an operation twice, or a cost that is no number of at least 0.
        """
        import csv

        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows or not {"operation", "cost"} <= set(rows[0]):
            raise ValueError(
                f"path must be a CSV file with the columns operation and cost, got {list(rows[0]) if rows else 'no rows'}"
            )
        costs: dict[str, float] = {}
        for row in rows:
            if row["operation"] in costs:
                raise ValueError(f"operation {row['operation']!r} stands twice in {path}")
            try:
                costs[row["operation"]] = float(row["cost"])
            except (TypeError, ValueError):
                raise ValueError(f"the cost of {row['operation']!r} must be a number, got {row['cost']!r}") from None
        return cls(costs, unit)

    def vector(self, space: Space) -> torch.Tensor:
        """Costs in the order of the space's candidates."""
        missing = [name for name in space.names if name not in self.costs]
        if missing:
            raise ValueError(f"the table has no cost of {', '.join(missing)}; it has {', '.join(self.costs)}")
        return torch.tensor([self.costs[name] for name in space.names])

    def expected(self, probabilities: torch.Tensor, space: Space) -> torch.Tensor:
        """Expected cost of a network from probabilities (..., places, operations); of shared cells all are counted."""
        repeats = space.cells if space.shared else 1
        return repeats * (probabilities * self.vector(space).to(probabilities)).sum((-2, -1))

    def of(self, choice: torch.Tensor, space: Space) -> torch.Tensor:
        """Cost of networks ``choice`` (..., places)."""
        return (space.cells if space.shared else 1) * self.vector(space)[choice].sum(-1)


def _median(build, width, x, repeats, warm_up):
    if build is None:
        return 0.0
    module, times = build(width), []
    with torch.no_grad():
        for number in range(warm_up + repeats):
            began = time.perf_counter()
            module(x)
            if number >= warm_up:
                times.append(time.perf_counter() - began)
    return sorted(times)[repeats // 2]
