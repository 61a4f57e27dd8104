"""Barcodes of volumes and the matchings that inclusions induce, from Oineus, an independent library; behind the door."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import ndimage

from lab.kernels.cubical import reference
from lab.kernels.cubical.volumes import pipeline
from tests.bench.volume_cases import small_pair

STEP = 1e-13  # what sets cells of one value apart, times their place in the order of cells
LONG = 1e-6  # bars of positive length are longer than all steps together


def barcodes(count: int, seed: int) -> dict:
    """Volumes, and those whose bars in dimensions 0, 1 or 2 are not those of Oineus."""
    import oineus

    different, bars = [], np.zeros(3, int)
    for k in range(count):
        a = small_pair(np.random.default_rng([seed, k]))[0] + 0.0
        filtration = oineus.cube_filtration(a)
        whole = oineus.Decomposition(filtration, False)
        whole.reduce(oineus.ReductionParams())
        theirs = whole.diagram(fil=filtration, include_inf_points=False)
        _, voxels, counts = pipeline.barcode_volumes(a[None])
        ends = np.cumsum([0, *counts[0]])
        for d in range(3):
            mine = _sorted(a.reshape(-1)[voxels[ends[d] : ends[d + 1]]])
            other = _sorted(theirs.in_dimension(d) if d < filtration.max_dim else [])  # axes of length 1 span nothing
            bars[d] += len(other)
            if mine.shape != other.shape or (mine != other).any():
                different.append((k, d, a.shape))
    return {"cases": count, "different": different, "bars": bars.tolist()}


def _sorted(bars) -> np.ndarray:
    """Finite bars of positive length as rows (birth, death), sorted."""
    bars = np.asarray(bars, float).reshape(-1, 2)
    bars = bars[np.isfinite(bars).all(1) & (bars[:, 0] != bars[:, 1])]
    return bars[np.lexsort(bars.T)]


def matchings(count: int, seed: int) -> dict:
    """Pairs of bars that go to one bar of the minimum, by cells, against those of the definition by boundary matrices.

    Every cell gets a value of its own, which keeps the order (value, anchor, type), so that nothing is left to choose. The
    definition also matches bars whose image dies before it is born, which no inclusion induces: ``beyond`` counts pairs
    that it alone has although Oineus lets both bars go somewhere, ``missing`` pairs that it has not.
    """
    found = {"pairs": np.zeros(3, int), "empty": np.zeros(3, int), "missing": 0, "beyond": 0}
    for k in range(count):
        draw = np.random.default_rng([seed, k])
        shape = tuple(int(n) for n in draw.integers(4, 7, 3))
        a, b = draw.random((2, *shape)) if k % 3 == 0 else structured(shape, draw)
        c = np.minimum(a, b)
        wanted = reference.match(a, b)
        one, two = (_induced(side, c) for side in (a, b))
        for d in range(3):
            mine = {
                tuple(_single(side, cell, shape) for side, bar in zip((a, b), pair) for cell in bar)
                for pair in wanted[d][0]
            }
            goals = {goal: bar for bar, goal in two[d].items()}
            theirs = {bar + goals[goal] for bar, goal in one[d].items() if goal in goals}
            theirs = {row for row in theirs if row[1] - row[0] > LONG and row[3] - row[2] > LONG}
            found["pairs"][d] += len(theirs)
            found["missing"] += len(theirs - mine)
            beyond = sum(row[:2] in one[d] and row[2:] in two[d] for row in mine - theirs)
            found["beyond"] += beyond
            found["empty"][d] += len(mine - theirs) - beyond
    return found | {"pairs": found["pairs"].tolist(), "empty": found["empty"].tolist()}


def structured(shape, draw):
    """A prediction and its label in sublevel form, with many components, loops and cavities."""
    field = ndimage.gaussian_filter(draw.standard_normal(shape), 0.7)
    field /= field.std()
    level = draw.uniform(-1.2, 1.2)
    logits = 2 * (field - level) + 0.7 * draw.standard_normal(shape)
    return -1 / (1 + np.exp(-logits)), -(field > level).astype(float)


def _induced(f, c) -> list[dict]:
    """By dimension: bars of ``f`` and the bars of positive length of ``c`` to which they go, as (birth, death)."""
    import oineus

    found = oineus.get_induced_matching(_filtration(f), _filtration(c))
    return [
        {
            (bar.birth, bar.death): (goal.birth, goal.death)
            for bar, goal in found.get(d, {}).items()
            if goal.death - goal.birth > LONG and np.isfinite(goal.death)
        }
        for d in range(3)
    ]


def _filtration(f):
    import oineus

    found = oineus.cube_filtration(f)
    values = []
    for cell in found.cells():
        corners = np.array(cell.vertices)
        low = corners.min(0)
        axes = tuple(int(k) for k in np.flatnonzero(corners.max(0) > low))
        values.append(_single(f, (tuple(int(n) for n in low), axes), f.shape))
    found.set_values(np.array(values))
    return found


def _single(f, cell, shape) -> float:
    """The cell's value and a step for its place among all cells: by dimension, then anchor, then type."""
    anchor, axes = cell
    types = list(combinations(range(3), len(axes)))
    if len(axes) == 2:
        types.reverse()
    place = np.ravel_multi_index(anchor, shape) * 3 + types.index(axes)
    return float(reference.value(f, cell) + STEP * (len(axes) * 3 * f.size + place))
