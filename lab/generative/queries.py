"""Tables of mixed columns and the counting queries asked of them: marginals, ranges, half-spaces, prefixes.

::

    domain = Domain([Column("vote", levels=(0, 1)), Column("age", low=18, high=95)])
    x = domain.encode(frame)                                   # (rows, columns): codes, and numbers in [0, 1]
    queries = marginals(domain, order=2) + prefixes(domain, 100)
    queries.answers(x)                                         # shares of rows, (queries,)

A domain is public: its levels and bounds come from a codebook or from the user, never from the rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lab import checks
from lab.kernels.genetic import Layout, count_queries


@dataclass(frozen=True)
class Column:
    """One column: ``levels`` of a categorical or ordinal one, or bounds ``low < high`` of a real one.

    Args:
        ordinal: the levels are in order: half-spaces and prefixes read them as 0, ..., 1; else as indicators.
        logarithmic: a real column is encoded as log(1 + value - low) over its range, for long tails.
    """

    name: str
    levels: tuple = ()
    low: float = math.nan
    high: float = math.nan
    ordinal: bool = False
    logarithmic: bool = False

    def __post_init__(self):
        object.__setattr__(self, "levels", tuple(self.levels))
        if self.levels:
            if len(set(self.levels)) < len(self.levels):
                raise ValueError(f"levels of {self.name!r} must differ, got {list(self.levels)}")
        elif not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"column {self.name!r} needs levels or finite bounds low < high, got {self.low} and {self.high}"
            )

    @property
    def width(self) -> int:
        """Entries of a weight table: the number of levels, or one."""
        return len(self.levels) or 1


class Domain:
    """The columns of a table, in order."""

    def __init__(self, columns: Sequence[Column]):
        self.columns = tuple(columns)
        names = [column.name for column in self.columns]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"columns must be at least one and have different names, got {names}")
        self.names = tuple(names)
        self.levels = np.array([len(column.levels) for column in self.columns], dtype=np.int64)
        self.start = np.concatenate([[0], np.cumsum([column.width for column in self.columns])]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.columns)

    def encode(self, frame) -> np.ndarray:
        """Rows as float64 (rows, columns); numbers beyond a column's bounds are set to the bound.

        Raises:
            ValueError: a column is missing, holds a missing value or a level that the domain does not list. The message is for
                the keeper of the table and no part of a private release.
        """
        missing = [name for name in self.names if name not in frame.columns]
        if missing:
            raise ValueError(f"table lacks the columns {', '.join(map(repr, missing))}; it has {list(frame.columns)}")
        if len(frame) == 0:
            raise ValueError("table has no rows")
        out = np.empty((len(frame), len(self)))
        for j, column in enumerate(self.columns):
            values = frame[column.name]
            if values.isna().any():
                raise ValueError(
                    f"column {column.name!r} has missing values; give them a level of their own or leave the rows out"
                )
            if column.levels:
                codes = values.map({level: code for code, level in enumerate(column.levels)})
                if codes.isna().any():
                    raise ValueError(
                        f"column {column.name!r} has values beyond its levels {list(column.levels)}; list or map them"
                    )
                out[:, j] = codes.to_numpy()
            else:
                try:
                    numbers = values.to_numpy(dtype=float)
                except (TypeError, ValueError):
                    raise TypeError(
                        f"column {column.name!r} must hold numbers or be given levels, got {values.dtype}"
                    ) from None
                if not np.isfinite(numbers).all():
                    raise ValueError(f"column {column.name!r} must be finite")
                shifted, span = np.clip(numbers, column.low, column.high) - column.low, column.high - column.low
                out[:, j] = np.log1p(shifted) / math.log1p(span) if column.logarithmic else shifted / span
        return out

    def decode(self, x: np.ndarray):
        """A frame from encoded rows."""
        import pandas as pd

        made = {}
        for j, column in enumerate(self.columns):
            if column.levels:
                made[column.name] = [column.levels[int(code)] for code in x[:, j]]
            else:
                span = column.high - column.low
                unit = np.expm1(x[:, j] * math.log1p(span)) if column.logarithmic else x[:, j] * span
                made[column.name] = column.low + unit
        return pd.DataFrame(made)

    def random(self, rows: int, generator: torch.Generator, runs: int = 1) -> np.ndarray:
        """Uniform rows (runs, rows, columns)."""
        u = torch.rand(runs, rows, len(self), generator=generator, dtype=torch.float64).numpy()
        return np.where(self.levels > 0, np.floor(u * self.levels), u)


@dataclass(frozen=True)
class Workload:
    """Queries that are measured together: places ``start`` to ``stop``, how a replaced row can move them, what they are.

    ``sensitivity`` is the largest L2 change of the counts when one row is replaced: sqrt(2) for the cells of a marginal, of
    which a row fills one; sqrt(m) for m half-spaces, each of which may change by one.
    """

    name: str
    start: int
    stop: int
    sensitivity: float
    kind: str


class Queries:
    """Counting queries over a domain in the layout of :mod:`lab.kernels.genetic`; ``+`` joins two sets."""

    def __init__(self, domain: Domain, cells=(), spaces=(), names=()):
        self.domain = domain
        self._cells, self._spaces = (
            tuple(cells),
            tuple(spaces),
        )  # (columns, bins, kind); (weight, bound, condition, level, group)
        self._names = dict(names)
        k = max((len(columns) for columns, *_ in self._cells), default=1)
        cell_column = np.full((len(self._cells), k), -1, dtype=np.int64)
        cell_bins = np.ones((len(self._cells), k), dtype=np.int64)
        sizes = []
        for w, (columns, bins, _) in enumerate(self._cells):
            cell_column[w, : len(columns)], cell_bins[w, : len(columns)] = columns, bins
            sizes.append(math.prod(bins))
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        cells_total = int(starts[-1])
        width = int(domain.start[-1])
        weight = np.array([one[0] for one in self._spaces]).reshape(len(self._spaces), width)
        column = lambda place, kind: np.array([one[place] for one in self._spaces], dtype=kind)  # noqa: E731
        self.layout = Layout(
            domain.levels, cell_column, cell_bins, starts[:-1].copy(), cells_total, domain.start[:-1].copy(), weight,
            column(1, np.float64), column(2, np.int64), column(3, np.int64),
        )  # fmt: skip
        self.workloads: list[Workload] = []
        for w, (columns, _, kind) in enumerate(self._cells):
            label = " x ".join(domain.names[j] for j in columns)
            self.workloads.append(Workload(f"{kind}: {label}", int(starts[w]), int(starts[w + 1]), math.sqrt(2), kind))
        place = 0
        for group, members in itertools.groupby(self._spaces, key=lambda one: one[4]):
            count = len(list(members))
            start = cells_total + place
            self.workloads.append(Workload(f"{group[0]} {group[1]}", start, start + count, math.sqrt(count), group[0]))
            place += count

    def __len__(self) -> int:
        return self.layout.cells + len(self._spaces)

    def __add__(self, other: Queries) -> Queries:
        if other.domain is not self.domain:
            raise ValueError("queries must be over the same domain object to be joined")
        return Queries(self.domain, self._cells + other._cells, self._spaces + other._spaces)

    def answers(self, x) -> np.ndarray:
        """Shares of rows (queries,) of one table, (runs, queries) of several."""
        x = np.asarray(x, dtype=np.float64)
        return (
            count_queries(np.atleast_3d(x) if x.ndim == 3 else x[None], self.layout)[0 if x.ndim == 2 else slice(None)]
            / x.shape[-2]
        )

    def kinds(self) -> dict[str, np.ndarray]:
        """Places of the queries by kind."""
        found: dict[str, list[int]] = {}
        for one in self.workloads:
            found.setdefault(one.kind, []).extend(range(one.start, one.stop))
        return {kind: np.array(places) for kind, places in found.items()}

    def to_frame(self):
        """One row a workload."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"workload": w.name, "queries": w.stop - w.start, "sensitivity of counts": w.sensitivity}
                for w in self.workloads
            ]
        )


def _bins(domain: Domain, columns, bins: int) -> tuple[int, ...]:
    return tuple(int(domain.levels[j]) or bins for j in columns)


def marginals(domain: Domain, order: int = 2, bins: int = 8) -> Queries:
    """All cells of all ``order``-way marginals; real columns are cut into ``bins`` equal intervals."""
    order = checks.integer("order", order, low=1, high=min(3, len(domain)))
    bins = checks.integer("bins", bins, low=2, high=1024)
    chosen = itertools.combinations(range(len(domain)), order)
    return Queries(domain, [(columns, _bins(domain, columns, bins), f"{order}-way marginal") for columns in chosen])


def ranges(domain: Domain, depth: int = 3) -> Queries:
    """Dyadic ranges of every column without levels, and of all pairs of such: cells of 2, 4, ..., 2^depth equal intervals."""
    depth = checks.integer("depth", depth, low=1, high=10)
    real = [j for j in range(len(domain)) if domain.levels[j] == 0]
    if not real:
        raise ValueError("ranges need a column without levels, this domain has none")
    chosen = [(j,) for j in real] + list(itertools.combinations(real, 2))
    return Queries(
        domain, [(columns, (2**level,) * len(columns), "ranges") for columns in chosen for level in range(1, depth + 1)]
    )


def halfspaces(domain: Domain, count: int = 100, seed: int = 0, group: int = 20) -> Queries:
    """``count`` random half-spaces, measured in groups: Gaussian weights, cut where uniform rows split in halves."""
    count, group = checks.integer("count", count, low=1), checks.integer("group", group, low=1)
    generator = torch.Generator().manual_seed(checks.integer("seed", seed, low=0))
    normal = torch.randn(count, int(domain.start[-1]), generator=generator, dtype=torch.float64).numpy()
    for j, column in enumerate(domain.columns):
        if column.levels and column.ordinal:
            place = slice(domain.start[j], domain.start[j + 1])
            normal[:, place] = normal[:, domain.start[j], None] * np.linspace(0, 1, len(column.levels))
    rows = domain.random(400, generator)[0]
    score = np.median(scores(domain, normal, rows), axis=0)
    return Queries(domain, (), [(normal[q], score[q], -1, 0, ("half-spaces", q // group)) for q in range(count)])


def prefixes(domain: Domain, count: int = 100, seed: int = 0, group: int = 20) -> Queries:
    """``count`` prefixes "column <= t", every second one among the rows of one level of another column; thresholds are uniform.

    Only columns without levels, or with ordered ones, have prefixes.
    """
    count, group = checks.integer("count", count, low=1), checks.integer("group", group, low=1)
    generator = torch.Generator().manual_seed(checks.integer("seed", seed, low=0) + 7919)
    ordered = [j for j, column in enumerate(domain.columns) if not column.levels or column.ordinal]
    labelled = [j for j, column in enumerate(domain.columns) if column.levels]
    if not ordered:
        raise ValueError("prefixes need a column without levels or with ordinal ones, this domain has none")
    u = torch.rand(count, 4, generator=generator, dtype=torch.float64).numpy()
    found = []
    real = [j for j in ordered if not domain.levels[j]]
    for q in range(count):
        pool = real if real and q % 4 < 2 else ordered  # half of them on real columns
        j = pool[int(u[q, 0] * len(pool))]
        weight = np.zeros(int(domain.start[-1]))
        size = int(domain.levels[j])
        weight[domain.start[j] : domain.start[j + 1]] = -np.linspace(0, 1, size) if size else -1.0
        others = [i for i in labelled if i != j]
        condition = others[int(u[q, 2] * len(others))] if q % 2 and others else -1
        level = int(u[q, 3] * domain.levels[condition]) if condition >= 0 else 0
        found.append((weight, -u[q, 1], condition, level, ("prefixes", q // group)))
    return Queries(domain, (), found)


def scores(domain: Domain, weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Weighted sums (rows, queries) of encoded rows (rows, columns) under weight tables (queries, width)."""
    total = np.zeros((len(x), len(weight)))
    for j in range(len(domain)):
        start = domain.start[j]
        total += weight[:, start + x[:, j].astype(int)].T if domain.levels[j] else np.outer(x[:, j], weight[:, start])
    return total
