r"""Private-GSD: measure a table's statistics with Gaussian noise, then search a synthetic table that has them, without gradients.

Neighbouring tables differ in one replaced row; n, the number of rows, is public. A group of queries whose counts move by at most
Delta in L2 under a replacement is rho-zCDP when each answer gets Gaussian noise of deviation

.. math:: \sigma = \frac{\Delta / n}{\sqrt{2\rho}},

rho adds up over measurements, and (rho)-zCDP implies (epsilon, delta) with

.. math:: \delta = \inf_{\alpha > 1} \frac{e^{(\alpha-1)(\alpha\rho-\epsilon)}}{\alpha-1}\Bigl(1-\frac1\alpha\Bigr)^{\alpha}.

The search (:mod:`lab.kernels.genetic`) minimizes :math:`\sum_m (S_m(X) - \hat S_m)^2` over tables X and sees noised answers alone:
it is post-processing. The objective is the error itself, so thresholds, half-spaces and prefixes enter as they are.

Not protected: the domain, n, the choice of queries, whether an error was raised, running time. Attacks on the low bits of
floating-point noise (Mironov 2012) are out of scope.

Source: T. Liu, J. Tang, G. Vietri, Z. S. Wu, 'Generating Private Synthetic Data with Genetic Algorithms', ICML 2023, algorithms
1 and 2; the conversion: C. Canonne, G. Kamath, T. Steinke, 'The Discrete Gaussian for Differential Privacy', NeurIPS 2020,
proposition 12; selection: M. Bun, T. Steinke, 'Concentrated Differential Privacy', TCC 2016. As in the published code, proposals
are built from the best table alone; the weights of the operators follow EXP3 with rate 0.1, our reading of its update.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab import checks
from lab.generative.privacy import gaussian_mechanism, private_bounds, select_workload, zcdp_rho
from lab.generative.queries import Column, Domain, Queries, halfspaces, marginals, prefixes
from lab.kernels.genetic import search_tables

CONVENTION = "neighbouring tables differ in one replaced row; the number of rows is public"
BOUNDS_SHARE = 0.1  # of the budget, for all private bounds together


@dataclass(frozen=True, eq=False)
class Release:
    """What left the mechanism: ``noised`` answers (runs, queries), deviations ``sigma`` (runs, queries), which were measured.

    ``x`` are tables (runs, rows, columns) found on them, ``spent`` lists (what, rho) of the first run.
    """

    noised: np.ndarray
    sigma: np.ndarray
    active: np.ndarray
    x: np.ndarray
    spent: list[tuple[str, float]]


def release(
    queries: Queries,
    answers: np.ndarray,
    n: int,
    rho: float,
    *,
    generator: torch.Generator,
    rows: int = 500,
    rounds: int = 0,
    runs: int = 1,
    generations: int = 6000,
    proposals: int = 50,
    search_seed: int = 0,
) -> Release:
    """Noised answers and tables that have them, from the true ``answers`` (queries,) of a table of ``n`` rows.

    The rows themselves are not needed.


    Args:
        rho: the budget, spent in full: equal shares for all workloads, or, with ``rounds`` > 0, a share a round, half of it to
            select the workload that the tables so far answer worst, half to measure that.
        runs: independent repetitions side by side.
    """
    total = len(queries)
    noised, sigma = np.zeros((runs, total)), np.full((runs, total), np.inf)
    active, spent = np.zeros((runs, total), bool), []
    seeds = search_seed + np.arange(runs)
    x = queries.domain.random(rows, torch.Generator().manual_seed(search_seed), runs)
    if not rounds:
        share = rho / len(queries.workloads)
        for one in queries.workloads:
            place = slice(one.start, one.stop)
            noised[:, place], sigma[:, place] = gaussian_mechanism(
                answers[place], one.sensitivity / n, share, generator, runs
            )
            spent.append((f"measure {one.name}", share))
        active[:] = True
        x = genetic_search(queries, noised, x, active, seeds, generations=generations, proposals=proposals)
        return Release(noised, sigma, active, x, spent)
    share = rho / rounds / 2
    for k in range(rounds):
        found = np.abs(queries.answers(x) - answers)
        worst = np.stack([found[:, one.start : one.stop].max(1) for one in queries.workloads], 1)
        done = np.stack([active[:, one.start] for one in queries.workloads], 1)
        chosen = select_workload(np.where(done, -np.inf, worst), 1 / n, share, generator)
        spent += [(f"select in round {k + 1}", share), (f"measure {queries.workloads[chosen[0]].name}", share)]
        for w in np.unique(chosen):
            one, those = queries.workloads[w], chosen == w
            place = slice(one.start, one.stop)
            noised[those, place], sigma[those, place] = gaussian_mechanism(
                answers[place], one.sensitivity / n, share, generator, int(those.sum())
            )
            active[those, place] = True
        x = genetic_search(queries, noised, x, active, seeds, generations=generations, proposals=proposals)
    return Release(noised, sigma, active, x, spent)


def genetic_search(
    queries: Queries,
    noised: np.ndarray,
    start: np.ndarray,
    active: np.ndarray,
    seeds,
    *,
    generations: int = 6000,
    proposals: int = 50,
) -> np.ndarray:
    """Tables (runs, rows, columns) whose active answers follow ``noised`` (runs, queries), from tables ``start`` of that shape."""
    rows = start.shape[1]
    wanted = np.clip(noised, 0.0, 1.0) * rows
    return search_tables(
        start, queries.layout, wanted, active, np.asarray(seeds), generations=generations, proposals=proposals
    )[0]


@dataclass(frozen=True, eq=False)
class Synthetic:
    """A synthetic table and what was spent on it: ``frame`` and ``statement`` may be released, ``noised`` answers too.

    ``statement``: convention, epsilon, delta, rho, the ledger of the budget, rows, queries, bounds, seeds, what is not protected.
    """

    frame: Any
    statement: dict
    noised: np.ndarray
    sigma: np.ndarray
    queries: Queries = field(repr=False)

    def errors(self, table) -> np.ndarray:
        """|synthetic - true| by query, on the true table: for its keeper, not private."""
        domain = self.queries.domain
        return np.abs(
            self.queries.answers(domain.encode(self.frame)) - self.queries.answers(domain.encode(_frame(table)))
        )

    def to_frame(self):
        """The ledger of the budget: one row a spending."""
        import pandas as pd

        return pd.DataFrame(self.statement["spent"], columns=["what", "rho"])

    def save(self, path: str | Path) -> None:
        """Write ``path`` (the table as CSV) and beside it ``path.json`` (the statement)."""
        path = Path(path)
        self.frame.to_csv(path, index=False)
        Path(f"{path}.json").write_text(json.dumps(self.statement, indent=1), encoding="utf-8")

    @staticmethod
    def load(path: str | Path):
        """(frame, statement) of a saved table."""
        import pandas as pd

        return pd.read_csv(path), json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))


def synthesize(
    table,
    epsilon: float,
    delta: float,
    *,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    levels: Mapping[str, Sequence] | None = None,
    public_levels: Sequence[str] = (),
    private_bounds_of: Sequence[str] = (),
    domain: Domain | None = None,
    queries: Queries | Callable[[Domain], Queries] | None = None,
    rows: int = 500,
    rounds: int = 0,
    generations: int = 6000,
    proposals: int = 50,
    seed: int | None = None,
    search_seed: int = 0,
) -> Synthetic:
    """A synthetic table of a private one, (epsilon, delta)-differentially private for a replaced row.

    Args:
        table: a frame or :class:`lab.datasets.Table`.
        epsilon, delta: the guarantee; ``math.inf`` adds no noise and protects nothing.
        bounds: low and high of each column of numbers, from you, never from the rows; numbers beyond are set to the bound.
        levels: the values of each categorical column. ``public_levels`` names columns whose values you declare public.
        private_bounds_of: columns of numbers whose bounds are estimated privately, for a tenth of the budget.
        domain: all of that at once, as a :class:`~lab.generative.queries.Domain`.
        queries: what to measure, or a function of the domain that makes it; if ``None``, two-way marginals, 60 half-spaces
            and 60 prefixes.
        rows: of the synthetic table.
        rounds: 0 measures everything; k selects and measures k workloads one after the other.
        seed: of the noise. ``None`` draws it from the operating system and keeps it nowhere; a number makes the noise
            repeatable, and whoever knows it can take the noise away.
        search_seed: of the search, which is no secret.

    Raises:
        ValueError: a column without levels or bounds; a table that does not fit the domain.
    """
    frame = _frame(table)
    rho = zcdp_rho(epsilon, delta)
    entropy = secrets.randbits(63) if seed is None else checks.integer("seed", seed, low=0)
    generator = torch.Generator().manual_seed(entropy)
    search_seed = checks.integer("search_seed", search_seed, low=0)
    rows, rounds = checks.integer("rows", rows, low=1), checks.integer("rounds", rounds, low=0)
    generations, proposals = (
        checks.integer("generations", generations, low=0),
        checks.integer("proposals", proposals, low=1),
    )
    spent: list[tuple[str, float]] = []
    if domain is None:
        domain, spent = _domain(frame, bounds or {}, levels or {}, public_levels, private_bounds_of, rho, generator)
    elif bounds or levels or public_levels or private_bounds_of:
        raise ValueError(
            "domain already states levels and bounds; give either it or bounds, levels, public_levels, private_bounds_of"
        )
    queries = _usual(domain) if queries is None else queries if isinstance(queries, Queries) else queries(domain)
    if queries.domain is not domain:
        raise ValueError(
            "queries must be over the domain that is given as domain; pass a function of the domain to make them"
        )
    if rounds > len(queries.workloads):
        raise ValueError(f"rounds must be at most the {len(queries.workloads)} workloads, got {rounds}")
    x = domain.encode(frame)
    left = rho - sum(one for _, one in spent) if rho < math.inf else rho
    found = release(
        queries, queries.answers(x), len(x), left, generator=generator, rows=rows, rounds=rounds, generations=generations,
        proposals=proposals, search_seed=search_seed,
    )  # fmt: skip
    statement = {
        "epsilon": epsilon, "delta": delta, "rho": rho, "convention": CONVENTION, "spent": [*spent, *found.spent],
        "rows of the private table": len(x), "rows": rows, "queries": len(queries),
        "columns": [_described(c) for c in domain.columns],
        "noise seed": "from the operating system, not kept" if seed is None else f"{seed}: whoever knows it can remove the noise",
        "search seed": search_seed,
        "not protected": "domain, number of rows, choice of queries, running time, errors raised; attacks on the low bits "
        "of floating-point noise are out of scope",
    }  # fmt: skip
    return Synthetic(domain.decode(found.x[0]), statement, found.noised[0], found.sigma[0], queries)


def _usual(domain: Domain) -> Queries:
    found = marginals(domain, min(2, len(domain))) + halfspaces(domain, 60)
    ordered = any(not column.levels or column.ordinal for column in domain.columns)
    return found + prefixes(domain, 60) if ordered else found


def _frame(table):
    import pandas as pd

    frame = getattr(table, "frame", table)
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"table must be a pandas frame or a lab.datasets.Table, got {type(table).__name__}")
    return frame


def _domain(frame, bounds, levels, public, private, rho, generator):
    """The domain that was stated, and what private bounds cost."""
    for given, what in (
        (bounds, "bounds"),
        (levels, "levels"),
        (public, "public_levels"),
        (private, "private_bounds_of"),
    ):
        unknown = [name for name in given if name not in frame.columns]
        if unknown:
            raise ValueError(
                f"{what} names {unknown[0]!r}, which is no column{checks.did_you_mean(unknown[0], frame.columns)}"
            )
    columns, spent = [], []
    for name in frame.columns:
        numeric = frame[name].dtype.kind in "iufb"
        if name in levels or name in public:
            values = list(levels[name]) if name in levels else sorted(frame[name].dropna().unique().tolist())
            columns.append(
                Column(str(name), levels=tuple(values), ordinal=all(isinstance(v, (int, float)) for v in values))
            )
        elif name in bounds:
            columns.append(Column(str(name), low=float(bounds[name][0]), high=float(bounds[name][1])))
        elif name in private:
            share = BOUNDS_SHARE * rho / len(private) if rho < math.inf else rho
            low, high = private_bounds(frame[name].to_numpy(dtype=float), share, generator)
            columns.append(Column(str(name), low=low, high=high))
            spent.append((f"bounds of {name}", share))
        else:
            how = (
                f"bounds={{{name!r}: (low, high)}} or private_bounds_of=[{name!r}]"
                if numeric
                else f"levels={{{name!r}: [...]}}"
            )
            raise ValueError(
                f"column {name!r} has no stated values: give {how}, or public_levels=[{name!r}] if its values are public; "
                "nothing is taken from the rows without being asked"
            )
    return Domain(columns), spent


def _described(column: Column) -> str:
    return (
        f"{column.name}: {len(column.levels)} levels"
        if column.levels
        else f"{column.name}: {column.low:g} to {column.high:g}"
    )
