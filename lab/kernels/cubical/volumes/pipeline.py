"""Betti matching and barcodes of volumes on the CPU, in dimensions 0, 1 and 2.

Sublevel filtration, V-construction: voxels are vertices, a cell's value is the maximum over its vertices, cells of one
dimension are ordered by (value, code) with the codes of :mod:`lab.kernels.cubical.volumes.cells`.

1. *Levels* (:mod:`~lab.kernels.cubical.volumes.levels`) stand for values. Passes over them
   (:mod:`~lab.kernels.cubical.volumes.discrete_gradient`) find most bars of length zero with comparisons alone.
2. *Components and cavities*: union-find of the basins that are left, on the grid and on its dual
   (:mod:`~lab.kernels.cubical.volumes.union_find`).
3. *Loops*: reduction of the columns that are left (:mod:`~lab.kernels.cubical.volumes.matrix_reduction`), of the prediction, the
   label, their minimum ``c``, and the images of the first two in ``c``, which have rows in the order of one side and columns in
   the order of ``c``. What nobody asks for is not computed: without a loop on one side none is matched, and the image of
   a mask is that of ``c`` (:func:`~lab.kernels.cubical.volumes.matching.joined`).

A bar of the prediction and one of the label are matched when the images of both end in the same cell as one bar of
``c`` of positive length, as :mod:`lab.kernels.cubical.reference` says it literally.

Each step is a compiled function that holds no lock; between steps, and between pieces of a reduction, ``report`` is
called with the fraction that is done, and an interrupt is heard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lab.kernels.cubical.volumes import cells as boxes
from lab.kernels.cubical.volumes import discrete_gradient, matching, matrix_reduction, representatives, union_find
from lab.kernels.cubical.volumes.gradient_trees import cube_levels
from lab.kernels.cubical.volumes.levels import levels

Report = Callable[[float], None]


class Side(NamedTuple):
    """What one volume gives alone: bars by dimension, the last edge of every square, the marks of edges."""

    components: np.ndarray
    loops: np.ndarray
    cavities: np.ndarray
    last: np.ndarray
    marks: np.ndarray

    @property
    def bars(self):
        return self[:3]


def match_volumes(predictions, labels, report: Report | None = None):
    """Match every prediction ``(n, x, y, z)`` with its label, both float64 in sublevel form.

    Returns ``cells`` and ``voxels``, int64 of shape ``(rows, 4)`` with columns prediction birth, prediction death,
    label birth, label death (-1 where a side is absent), and ``counts`` of shape ``(n, 3, 3)``: rows by item, dimension
    and kind (matched, only in the prediction, only in the label), in this order.
    """
    n = len(predictions)
    parts = [
        match_volume(a, b, None, _part(report, k / n, (k + 1) / n)) for k, (a, b) in enumerate(zip(predictions, labels))
    ]
    return _joined(parts)


def barcode_volumes(volumes, report: Report | None = None):
    """Bars of positive length of every volume ``(n, x, y, z)``: ``cells``, ``voxels`` ``(rows, 2)`` and ``counts
    (n, 3)``."""
    n = len(volumes)
    return _joined([barcode_volume(f, _part(report, k / n, (k + 1) / n)) for k, f in enumerate(volumes)])


def match_volume(a, b, known: Side | None = None, report: Report | None = None):
    """``(cells, voxels, counts)`` of one pair; ``known`` is :func:`prepare` of ``b``, made before."""
    shape = a.shape
    _check(shape)
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    one, two = levels(flat_a, flat_b)
    one, two = boxes.framed(one, shape), boxes.framed(two, shape)
    label = side(two, shape, _part(report, 0.02, 0.2)) if known is None else known
    prediction = side(one, shape, _part(report, 0.2, 0.45))
    found = _mates(one, two, prediction, label, shape, report)
    del one, two
    result = matching.rows(shape, flat_a, flat_b, prediction.bars, label.bars, found)
    if report is not None:
        report(1.0)
    return result


def barcode_volume(f, report: Report | None = None):
    """``(cells, voxels, counts)`` of one volume."""
    bars = prepare(f, report).bars
    return *matching.one_sided(f.shape, f.reshape(-1), bars), np.array([len(each) for each in bars])


def prepare(f, report: Report | None = None) -> Side:
    """What the side of one volume needs before another one is known."""
    _check(f.shape)
    r = boxes.framed(levels(f.reshape(-1), np.empty(0))[0], f.shape)
    return side(r, f.shape, report)


def side(r, shape, report: Report | None = None) -> Side:
    """:func:`prepare` from framed levels."""
    last = discrete_gradient.faces(r, shape)
    components, marks = union_find.components(r, last, shape)
    first = discrete_gradient.cofaces(r, shape)
    cavities, squares = union_find.cavities(r, first, shape)
    left = discrete_gradient.columns_left(squares, last, first, shape)
    del squares
    found = matrix_reduction.pivots(r, marks, last, r, first, left, shape, _counted(report, 0.3, 1.0, len(left)))
    return Side(components, matching.loops(r, left, found, shape), cavities, last, marks)


def _mates(a, b, prediction, label, shape, report):
    """By dimension the pairs of bars that go to one bar of the minimum."""
    nothing = np.empty((0, 2), np.int32)
    zero, one, two = (len(x) > 0 and len(y) > 0 for x, y in zip(prediction.bars, label.bars))
    found = [nothing, nothing, nothing]
    if not (zero or one or two):
        return tuple(found)
    c, known_a, known_b = matching.joined(a, b)
    if zero or one:
        last = discrete_gradient.faces(c, shape)
        found[0], marks = union_find.component_mates(a, b, c, last, shape, prediction.components, label.components)
    if one or two:
        first = discrete_gradient.cofaces(c, shape)
        holes, squares = union_find.cavities(c, first, shape)
    if two:
        cubes = cube_levels(c, shape)
        ends = [union_find.cavity_images(r, discrete_gradient.cofaces(r, shape), cubes, shape) for r in (a, b)]
        found[2] = matching.cavity_mates(
            c, holes, *[_as_listed(bars, *end) for bars, end in zip((prediction.cavities, label.cavities), ends)], shape
        )
    if one:
        left = discrete_gradient.columns_left(squares, last, first, shape)
        born = matrix_reduction.pivots(c, marks, last, c, first, left, shape, _counted(report, 0.5, 0.65, len(left)))
        del marks, last
        ends, born = matching.loops_of_minimum(c, left, born, shape)
        parts = _part(report, 0.65, 0.8), _part(report, 0.8, 0.95)
        images = [
            born if known else _image(r, each, c, first, squares, ends, shape, part)
            for r, each, known, part in zip((a, b), (prediction, label), (known_a, known_b), parts)
        ]
        found[1] = matching.loop_mates(*images, prediction.loops, label.loops, len(c))
    return tuple(found)


def _image(r, each: Side, c, first, squares, ends, shape, report):
    """By square of ``ends`` the edge in which the image of ``r`` in ``c`` pairs it."""
    order, changed = matching.least_reordered(r, c)
    if changed:
        first = discrete_gradient.cofaces(order, shape)
        _, squares = union_find.cavities(order, first, shape)
    left = discrete_gradient.columns_left(squares, each.last, first, shape)
    report = _counted(report, 0.0, 1.0, len(left))
    found = matrix_reduction.pivots(r, each.marks, each.last, order, first, left, shape, report)
    return matching.creators(ends, left, found, each.last, shape)


def _as_listed(bars, again, images):
    """Images in the order of ``bars``, which ``again`` lists in another one: no cube ends two bars."""
    if len(bars) != len(again):
        raise AssertionError("two ways to the cavities disagree")
    return images[np.argsort(again[:, 1])][np.argsort(np.argsort(bars[:, 1]))]


def cycle(f, dimension, birth, death):
    """``(voxels, inside)`` of one bar of the sublevel volume ``f`` (see :mod:`lab.kernels.cubical.volumes.representatives`)."""
    return representatives.cycle(f, dimension, birth, death)


def _check(shape):
    if boxes.framed_size(shape) >= boxes.MOST:
        raise ValueError(f"a volume must have fewer than {boxes.MOST} voxels with its frame, got shape {tuple(shape)}")


def _joined(parts):
    return tuple(np.concatenate([part[k] for part in parts]) for k in range(2)) + (np.stack([p[2] for p in parts]),)


def _part(report, low, high):
    """``report`` for a step that leads from ``low`` to ``high``."""
    return None if report is None else lambda fraction: report(low + (high - low) * fraction)


def _counted(report, low, high, total):
    """``report`` for a reduction of so many columns."""
    return None if report is None else lambda count: report(low + (high - low) * count / total)


def warm():
    """Compile every kernel for the types it is used with."""
    draw = np.random.default_rng(0)
    volume = draw.random((1, 6, 7, 8))
    match_volumes(volume, draw.random((1, 6, 7, 8)))
    match_volumes(volume, (volume > 0.5).astype(float))
    cells, _, counts = barcode_volumes(volume)
    for row, d in zip(cells.tolist(), np.repeat(np.arange(3), counts[0]).tolist()):
        cycle(volume[0], d, *row)
