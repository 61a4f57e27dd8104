r"""Genetic search of a table whose counting queries have wanted answers: incremental statistics in compiled loops.

A table is a float64 array (runs, rows, columns): codes 0, 1, ... in a column with ``levels[j] > 0``, numbers in [0, 1] where
``levels[j] = 0``. Two kinds of queries are counted, cells first:

- cells: workload w looks at up to k columns ``cell_column[w]`` (-1 pads), a real one cut into ``cell_bins[w]`` equal intervals,
  and counts rows by cell, ``cell_start[w] + mixed radix of the codes``;
- half-spaces: query q counts rows with ``sum_j weight[q, ...] >= bound[q]``, where a column with levels looks its code up in
  ``weight[q, column_start[j] + code]`` and a real one multiplies ``weight[q, column_start[j]]``, and, if ``condition[q] >= 0``,
  only rows whose column ``condition[q]`` has the code ``condition_level[q]``.

Each generation makes proposals from the best table so far, each of which changes one or two rows, and takes the best of them if
it lowers ``sum_m active[m] (count[m] - target[m])^2``. A proposal costs the queries that its rows change, not the table.

Source: T. Liu, J. Tang, G. Vietri, Z. S. Wu, 'Generating Private Synthetic Data with Genetic Algorithms', ICML 2023, algorithm 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

OPERATORS = ("mutate", "cross", "swap", "neighbouring quantiles")
BLOCK = 100  # least number of generations between two looks at the stopping rule


class Layout(NamedTuple):
    """Columns and queries as the arrays that the compiled loops read."""

    levels: np.ndarray
    cell_column: np.ndarray
    cell_bins: np.ndarray
    cell_start: np.ndarray
    cells: int
    column_start: np.ndarray
    weight: np.ndarray
    bound: np.ndarray
    condition: np.ndarray
    condition_level: np.ndarray


def count_queries(tables: np.ndarray, layout: Layout) -> np.ndarray:
    """Counts int64 (runs, queries) of the rows of tables (runs, rows, columns)."""
    from lab.kernels.genetic.cpu import counts

    return counts(_checked(tables, layout), *layout)


def _checked(tables, layout: Layout) -> np.ndarray:
    """Tables as float64 whose codes and numbers lie where the loops may look them up."""
    tables = np.ascontiguousarray(tables, dtype=np.float64)
    if tables.ndim != 3 or tables.shape[2] != len(layout.levels):
        raise ValueError(f"tables must have shape (runs, rows, {len(layout.levels)}), got {tables.shape}")
    top = np.where(layout.levels > 0, layout.levels - 1, 1)
    if not ((tables >= 0) & (tables <= top)).all():
        raise ValueError("tables must hold codes below the levels of their column and numbers in [0, 1]")
    return tables


def search_tables(
    tables: np.ndarray,
    layout: Layout,
    targets: np.ndarray,
    active: np.ndarray,
    seeds: np.ndarray,
    *,
    generations: int,
    proposals: int,
    tolerance: float = 1e-4,
    incremental: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tables after the search, their counts, and what happened, run by run on independent random streams.

    Args:
        tables: starts (runs, rows, columns), left as they are.
        targets: wanted counts (runs, queries), any real numbers.
        active: which queries enter the objective, (runs, queries) of booleans.
        seeds: (runs,) one number a run.
        generations, proposals: how often, and how many proposals each time.
        tolerance: stop when the objective fell by less than this share within max(100, rows) generations.
        incremental: ``False`` counts the whole table anew for every proposal (for comparison; the result is the same).

    Returns:
        tables, counts (runs, queries), and (runs, 6): objective at the end, generations taken, weights of the four operators.
    """
    from lab.kernels.genetic.cpu import search

    made = _checked(tables, layout).copy()
    wanted = (len(made), layout.cells + len(layout.bound))
    if np.shape(targets) != wanted or np.shape(active) != wanted or np.shape(seeds) != wanted[:1]:
        raise ValueError(f"targets and active must have shape {wanted} and seeds {wanted[:1]}, got {np.shape(targets)}")
    found, report = search(
        made, *layout, np.ascontiguousarray(targets, np.float64), np.ascontiguousarray(active, np.bool_),
        np.ascontiguousarray(seeds, np.int64), generations, proposals, tolerance, incremental,
    )  # fmt: skip
    return made, found, report
