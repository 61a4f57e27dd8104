"""The genetic search in compiled loops: see :mod:`lab.kernels.genetic`."""

from __future__ import annotations

import numpy as np
from numba import njit

MUTATE, CROSS, SWAP, QUANTILE = 0, 1, 2, 3
EXPLORE, RATE, GRID = 0.05, 0.1, 32


@njit(cache=True, nogil=True)
def uniform(state):
    """A number in [0, 1) from splitmix64; ``state`` is an array of one uint64."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def cell(row, w, levels, cell_column, cell_bins, cell_start):
    """The cell of a row in workload w."""
    place = 0
    for k in range(cell_column.shape[1]):
        j = cell_column[w, k]
        if j < 0:
            break
        bins = cell_bins[w, k]
        code = int(row[j]) if levels[j] > 0 else min(int(row[j] * bins), bins - 1)
        place = place * bins + code
    return cell_start[w] + place


@njit(cache=True, nogil=True)
def inside(row, q, levels, column_start, weight, bound, condition, condition_level):
    """Whether a row answers half-space query q with one."""
    if condition[q] >= 0 and int(row[condition[q]]) != condition_level[q]:
        return False
    score = 0.0
    for j in range(levels.size):
        if levels[j] > 0:
            score += weight[q, column_start[j] + int(row[j])]
        else:
            score += weight[q, column_start[j]] * row[j]
    return score >= bound[q]


@njit(cache=True, nogil=True)
def count_one(table, levels, cell_column, cell_bins, cell_start, cells, column_start, weight, bound, condition,
              condition_level, out):  # fmt: skip
    """Counts of one table into ``out``."""
    out[:] = 0
    for i in range(table.shape[0]):
        for w in range(cell_column.shape[0]):
            out[cell(table[i], w, levels, cell_column, cell_bins, cell_start)] += 1
        for q in range(bound.size):
            if inside(table[i], q, levels, column_start, weight, bound, condition, condition_level):
                out[cells + q] += 1


@njit(cache=True, nogil=True)
def counts(tables, levels, cell_column, cell_bins, cell_start, cells, column_start, weight, bound, condition,
           condition_level):  # fmt: skip
    """Counts (runs, queries) of tables (runs, rows, columns)."""
    out = np.zeros((tables.shape[0], cells + bound.size), np.int64)
    for r in range(tables.shape[0]):
        count_one(tables[r], levels, cell_column, cell_bins, cell_start, cells, column_start, weight, bound, condition,
                  condition_level, out[r])  # fmt: skip
    return out


@njit(cache=True, nogil=True)
def draw_index(cumulative, state):
    """An index with probability proportional to the steps of a cumulative sum."""
    at = uniform(state) * cumulative[-1]
    for k in range(cumulative.size):
        if at < cumulative[k]:
            return k
    return cumulative.size - 1


@njit(cache=True, nogil=True)
def quantiles(table, levels, out):
    """GRID + 1 quantiles of each real column."""
    n = table.shape[0]
    for j in range(levels.size):
        if levels[j] == 0:
            ordered = np.sort(table[:, j])
            for k in range(GRID + 1):
                out[j, k] = ordered[min(n - 1, k * n // GRID)]


@njit(cache=True, nogil=True)
def propose(kind, table, levels, pick, real, edges, state, rows, values):
    """One proposal: ``rows[0:m]`` with their new ``values[0:m]``, m = 1 or 2 returned."""
    n, d = table.shape
    i = int(uniform(state) * n)
    values[0, :] = table[i]
    rows[0] = i
    if kind == QUANTILE:
        j = real[int(uniform(state) * real.size)]
        k = int(uniform(state) * GRID)
        values[0, j] = edges[j, k] + uniform(state) * (edges[j, k + 1] - edges[j, k])
        return 1
    j = draw_index(pick, state)
    if kind == MUTATE:
        values[0, j] = float(int(uniform(state) * levels[j])) if levels[j] > 0 else uniform(state)
        return 1
    other = int(uniform(state) * n)
    values[0, j] = table[other, j]
    if kind == CROSS:
        if d > 1 and uniform(state) < 0.5:
            j = draw_index(pick, state)
            values[0, j] = table[other, j]
        return 1
    if other == i:
        return 1
    rows[1] = other
    values[1, :] = table[other]
    values[1, j] = table[i, j]
    return 2


@njit(cache=True, nogil=True)
def search(tables, levels, cell_column, cell_bins, cell_start, cells, column_start, weight, bound, condition,
           condition_level, targets, active, seeds, generations, proposals, tolerance, incremental):  # fmt: skip
    """Improve each table in place; returns counts and what happened."""
    runs, n, d = tables.shape
    total, queries, workloads = cells + bound.size, bound.size, cell_column.shape[0]
    found = np.zeros((runs, total), np.int64)
    report = np.zeros((runs, 6))
    pick, much = np.zeros(d), 0.0
    for j in range(d):
        much += np.log(max(levels[j], 2)) if levels[j] > 0 else np.log(64.0)
        pick[j] = much
    real = np.nonzero(levels == 0)[0]
    kinds = 4 if real.size > 0 else 3
    touches = np.zeros((workloads, d), np.bool_)
    for w in range(workloads):
        for k in range(cell_column.shape[1]):
            if cell_column[w, k] >= 0:
                touches[w, cell_column[w, k]] = True
    change, touched = np.zeros(total, np.int64), np.empty(4 * (workloads + queries) + 8, np.int64)
    best_change, best_touched = np.zeros(total, np.int64), np.empty(touched.size, np.int64)
    rows, values = np.zeros(2, np.int64), np.zeros((2, d))
    best_rows, best_values = np.zeros(2, np.int64), np.zeros((2, d))
    edges, state = np.zeros((d, GRID + 1)), np.zeros(1, np.uint64)
    fresh, trial = np.zeros(total, np.int64), np.zeros((n, d))
    answers = np.zeros((n, queries), np.bool_)
    new, best_new = np.zeros((2, queries), np.bool_), np.zeros((2, queries), np.bool_)
    shifted = np.zeros((2, d), np.bool_)
    probability = np.zeros(kinds)
    block = max(100, n)
    for r in range(runs):
        state[0] = np.uint64(seeds[r]) * np.uint64(0xD1342543DE82EF95) + np.uint64(0x9E3779B97F4A7C15)
        table, target, count = tables[r], targets[r], found[r]
        count_one(table, levels, cell_column, cell_bins, cell_start, cells, column_start, weight, bound, condition,
                  condition_level, count)  # fmt: skip
        for i in range(n):
            for q in range(queries):
                answers[i, q] = inside(table[i], q, levels, column_start, weight, bound, condition, condition_level)
        loss = 0.0
        for m in range(total):
            if active[r, m]:
                loss += (count[m] - target[m]) ** 2
        before, operator = loss, np.ones(kinds)
        quantiles(table, levels, edges)
        taken = generations
        for generation in range(generations):
            if generation > 0 and generation % block == 0:
                if before - loss <= tolerance * before:
                    taken = generation
                    break
                before = loss
                quantiles(table, levels, edges)
            weights = operator.sum()
            so_far = 0.0
            for a in range(kinds):
                so_far += (1 - EXPLORE) * operator[a] / weights + EXPLORE / kinds
                probability[a] = so_far
            kind = draw_index(probability, state)
            best, best_m, best_used = 0.0, 0, 0
            for _ in range(proposals):
                m = propose(kind, table, levels, pick, real, edges, state, rows, values)
                used, gain = 0, 0.0
                if incremental:
                    for a in range(m):
                        old = table[rows[a]]
                        for j in range(d):
                            shifted[a, j] = old[j] != values[a, j]
                        for w in range(workloads):
                            differs = False
                            for j in range(d):
                                differs = differs or (touches[w, j] and shifted[a, j])
                            if differs:
                                here = cell(old, w, levels, cell_column, cell_bins, cell_start)
                                there = cell(values[a], w, levels, cell_column, cell_bins, cell_start)
                                if here != there:
                                    change[here] -= 1
                                    change[there] += 1
                                    touched[used], touched[used + 1] = here, there
                                    used += 2
                        for q in range(queries):
                            new[a, q] = answers[rows[a], q]
                            differs = False
                            for j in range(d):
                                if shifted[a, j]:
                                    start = column_start[j]
                                    if levels[j] > 0:
                                        differs = (
                                            differs
                                            or weight[q, start + int(old[j])] != weight[q, start + int(values[a, j])]
                                        )
                                    else:
                                        differs = differs or weight[q, start] != 0.0
                                    differs = differs or condition[q] == j
                            if differs:
                                new[a, q] = inside(
                                    values[a], q, levels, column_start, weight, bound, condition, condition_level
                                )
                                if new[a, q] != answers[rows[a], q]:
                                    change[cells + q] += 1 if new[a, q] else -1
                                    touched[used] = cells + q
                                    used += 1
                else:
                    trial[:, :] = table
                    for a in range(m):
                        trial[rows[a]] = values[a]
                    count_one(trial, levels, cell_column, cell_bins, cell_start, cells, column_start, weight, bound,
                              condition, condition_level, fresh)  # fmt: skip
                    for place in range(total):
                        if fresh[place] != count[place] and used < touched.size:
                            change[place] = fresh[place] - count[place]
                            touched[used] = place
                            used += 1
                    for a in range(m):
                        for q in range(queries):
                            new[a, q] = inside(
                                values[a], q, levels, column_start, weight, bound, condition, condition_level
                            )
                for t in range(used):
                    place = touched[t]
                    step = change[place]
                    if step != 0 and active[r, place]:
                        gain -= step * (2 * (count[place] - target[place]) + step)
                    fresh[place] = step
                    change[place] = 0
                    if step == 0:
                        touched[t] = -1
                if gain > best:
                    best, best_m, best_used = gain, m, used
                    for t in range(used):
                        best_touched[t] = touched[t]
                        if touched[t] >= 0:
                            best_change[touched[t]] = fresh[touched[t]]
                    for a in range(m):
                        best_rows[a] = rows[a]
                        best_values[a, :] = values[a]
                        best_new[a, :] = new[a]
            won = 0.0
            if best > 0.0:
                won = 1.0
                loss -= best
                for t in range(best_used):
                    if best_touched[t] >= 0:
                        count[best_touched[t]] += best_change[best_touched[t]]
                for a in range(best_m):
                    table[best_rows[a]] = best_values[a]
                    answers[best_rows[a], :] = best_new[a]
            share = (1 - EXPLORE) * operator[kind] / weights + EXPLORE / kinds
            operator[kind] *= np.exp(RATE * won / (share * kinds))
            operator /= operator.sum()
        report[r, 0], report[r, 1] = loss, taken
        for a in range(kinds):
            report[r, 2 + a] = operator[a]
    return found, report


def warm():
    """Compile the kernels of this module."""
    levels, whole = np.array([2, 0]), np.zeros(1, np.int64)
    table = np.zeros((1, 4, 2))
    layout = (
        levels,
        np.array([[0, 1]]),
        np.array([[2, 2]]),
        whole,
        4,
        np.array([0, 2]),
        np.ones((1, 3)),
        np.ones(1),
        whole - 1,
        whole,
    )
    counts(table, *layout)
    search(table, *layout, np.ones((1, 5)), np.ones((1, 5), np.bool_), whole, 2, 2, 1e-4, True)
