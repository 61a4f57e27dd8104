"""Compiled matching of volumes against boundary-matrix reduction, gudhi, and the definition of each cycle."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lab import topology
from lab.kernels.cubical import cpu, reference
from lab.kernels.cubical.volumes import cells as boxes
from lab.kernels.cubical.volumes import discrete_gradient, levels, matrix_reduction, pipeline


def pairs_of_volumes(seed):
    draw = np.random.default_rng(seed)
    shape = tuple(draw.integers(1, 5, 3))
    real, binary = draw.random(shape), (draw.random(shape) > 0.5).astype(float)
    yield real, draw.random(shape)
    yield real, binary
    yield binary, (draw.random(shape) > 0.5).astype(float)
    yield draw.integers(0, 3, shape).astype(float), draw.integers(0, 4, shape).astype(float)
    yield np.full(shape, 0.5), binary
    yield real, real + draw.integers(-1, 2, shape) * np.spacing(real)


def larger_volumes(seed):
    draw = np.random.default_rng(seed)
    shape = tuple(draw.integers(7, 15, 3))
    field = ndimage.gaussian_filter(draw.standard_normal(shape), 1.5)
    yield draw.random(shape)
    yield np.round(field, 2)
    yield (field > 0).astype(float)
    yield draw.integers(0, 4, shape) / 3


def code(f, cell, dimension):
    anchor, axes = cell
    flat = int(np.ravel_multi_index(anchor, f.shape))
    if dimension in (0, 3):
        return flat
    return 3 * flat + (axes[0] if dimension == 1 else ({0, 1, 2} - set(axes)).pop())


@pytest.mark.parametrize("seed", range(12))
def test_matching_equals_boundary_matrix_reduction_in_cells_and_voxels(seed):
    for a, b in pairs_of_volumes(seed):
        cells, voxels, counts = pipeline.match_volumes(a[None], b[None])
        wanted, row = reference.match(a, b), 0
        sides = (a, a, b, b)
        for d in range(3):
            matched = [(*one, *two) for one, two in wanted[d][0]]
            alone = [(*bar, None, None) for bar in wanted[d][1]], [(None, None, *bar) for bar in wanted[d][2]]
            for kind, rows in enumerate((matched, *alone)):
                stop = row + counts[0, d, kind]
                numbers = [
                    tuple(-1 if c is None else code(f, c, d + k % 2) for k, (f, c) in enumerate(zip(sides, bar)))
                    for bar in rows
                ]
                places = [
                    tuple(
                        -1 if c is None else int(np.ravel_multi_index(reference.voxel(f, c), f.shape))
                        for f, c in zip(sides, bar)
                    )
                    for bar in rows
                ]
                assert sorted(map(tuple, cells[row:stop].tolist())) == sorted(numbers)
                assert sorted(map(tuple, voxels[row:stop].tolist())) == sorted(places)
                row = stop
        assert row == len(cells)


@pytest.mark.parametrize("seed", range(4))
def test_barcodes_equal_gudhi(seed):
    import gudhi

    for f in larger_volumes(seed):
        _, voxels, counts = pipeline.barcode_volumes(f[None])
        complex_ = gudhi.CubicalComplex(vertices=f)
        complex_.compute_persistence(min_persistence=0.0)
        start = 0
        for d in range(3):
            part = f.ravel()[voxels[start : start + counts[0, d]]]
            start += counts[0, d]
            wanted = complex_.persistence_intervals_in_dimension(d)
            wanted = wanted[np.isfinite(wanted).all(1)].reshape(-1, 2)
            assert sorted(map(tuple, part)) == sorted(map(tuple, wanted))


@pytest.mark.parametrize("axis", range(3))
def test_a_volume_of_one_layer_is_an_image(axis):
    draw = np.random.default_rng(axis)
    ties = draw.integers(0, 3, (8, 7)) / 2, draw.integers(0, 2, (8, 7)) + 0.0
    for a, b in ((draw.random((9, 11)), draw.random((9, 11))), ties):
        _, places, counts = pipeline.match_volumes(np.expand_dims(a, axis)[None], np.expand_dims(b, axis)[None])
        _, flat, wanted = cpu.match_images(a[None], b[None])
        assert counts[0, 2].sum() == 0
        assert np.array_equal(counts[0, :2], wanted[0])
        assert sorted(map(tuple, places)) == sorted(map(tuple, flat))


def test_columns_add_as_sets_do():
    draw = np.random.default_rng(0)
    r, shape = boxes.framed(draw.integers(0, 9, 60).astype(np.int32), (3, 4, 5)), (3, 4, 5)
    step, size = boxes.strides(shape), len(r)
    marks = (draw.random(3 * size) < 0.2).astype(np.uint8)
    work, spare, out = np.empty(500, np.int64), np.empty(500, np.int64), np.empty(4, np.int64)
    held, used = set(), 0
    for k in range(300):
        v, kind = (int(draw.integers(n - 1)) for n in shape), int(draw.integers(3))
        anchor = sum((x + (axis == 0)) * int(s) for axis, (x, s) in enumerate(zip(v, step)))
        low = matrix_reduction.boundary(r, marks, step, size, 4 * anchor + kind, out)
        held ^= set(out[:low].tolist())
        if k % 2:
            used = matrix_reduction._add(work, used, spare, out, 0, low)
        else:
            used = matrix_reduction._add_square(r, marks, step, size, anchor, kind, np.int64(-1), work, used)
        assert work[:used].tolist() == sorted(held)
    assert used > 20


@pytest.mark.parametrize("seed", range(3))
def test_levels_keep_the_order_of_values_of_both_volumes(seed):
    draw = np.random.default_rng(seed)
    short = draw.standard_normal(500).astype(np.float32).astype(float)
    close = 1 + np.sort(draw.random(900))[::-1] * 2.0**-40
    for a, b in (
        (short, -(short > 0).astype(float)),
        (draw.random(400), draw.integers(0, 3, 400) / 3),
        (close, close[:300] + 1e-15),
        (np.zeros(5), np.array([-0.0, 1e300, -1e300, 0.1, -0.0])),
        (np.r_[-1e300, close], close),
        (short, np.empty(0)),
        (np.array([3e38, -3e38]), np.array([0.0])),
    ):
        found = np.concatenate(levels.levels(a.copy(), b.copy()))
        values = np.concatenate([a, b])
        assert found.min() == 0
        assert np.array_equal(np.unique(values, return_inverse=True)[1], np.unique(found, return_inverse=True)[1])


def test_passes_find_the_first_and_the_last_of_the_cells_around():
    draw = np.random.default_rng(1)
    shape = (3, 4, 5)
    f = draw.integers(0, 4, shape).astype(float)
    r = boxes.framed(levels.levels(f.ravel(), np.empty(0))[0], shape)
    last, first = discrete_gradient.faces(r, shape), discrete_gradient.cofaces(r, shape)
    edges, squares = reference._cells(f, 1), reference._cells(f, 2)
    at = {cell: k for k, cell in enumerate(edges)}
    for square in squares:
        around = sorted(reference._faces(square), key=at.get)
        t, v = divmod(boxes.internal(shape, 2, code(f, square, 2)), 4)[::-1]
        p, q = square[1]
        far = {1: (square[0], (q,)), 2: (moved(square[0], q), (p,)), 3: (moved(square[0], p), (q,))}
        assert far[int(last[t * len(r) + v])] == around[-1]
    for edge in edges:
        above = [square for square in squares if edge in set(reference._faces(square))]
        t, v = divmod(boxes.internal(shape, 1, code(f, edge, 1)), 4)[::-1]
        anchor, kind = matrix_reduction._coface.py_func(boxes.strides(shape), t, v, int(first[t * len(r) + v]))
        assert boxes.public(shape, 2, 4 * anchor + kind) == code(f, above[0], 2)


def moved(anchor, axis):
    return tuple(x + (k == axis) for k, x in enumerate(anchor))


def test_components_and_cavities_of_cycles_are_connected_regions():
    draw = np.random.default_rng(1)
    f = ndimage.gaussian_filter(draw.standard_normal((14, 15, 16)), 1.5)
    bars = topology.barcode(f, filtration="sublevel")
    cube = np.ones((3, 3, 3))
    for bar in bars[0]:
        voxels = topology.cycle(f, bar, filtration="sublevel").voxels.numpy()
        labels, _ = ndimage.label(f < bar.death)
        wanted = np.flatnonzero(labels.ravel() == labels.ravel()[bar.birth_voxel])
        assert set(wanted) <= set(voxels)
        assert (f.ravel()[np.setdiff1d(voxels, wanted)] == bar.death).all()  # joined by an edge of that level, in time
    for bar in bars[2]:
        found = topology.cycle(f, bar, filtration="sublevel")
        labels, _ = ndimage.label(f > bar.birth, structure=cube)
        wanted = np.flatnonzero(labels.ravel() == labels.ravel()[bar.death_voxel])
        assert set(wanted) <= set(found.inside.tolist())
        assert (f.ravel()[np.setdiff1d(found.inside, wanted)] <= bar.birth).all()  # islands inside
        assert (f.ravel()[found.voxels] <= bar.birth).all()
    assert min(len(bars[0]), len(bars[2])) > 2


def test_loops_of_cycles_are_closed_and_go_around_the_hole():
    x, y, z = np.mgrid[:21, :21, :11] - np.array([10, 10, 5])[:, None, None, None]
    ring = (np.hypot(x, y) - 6) ** 2 + z**2 + 1e-3 * np.random.default_rng(2).random(x.shape)
    (bar,) = (bar for bar in topology.barcode(ring, filtration="sublevel")[1] if bar.length > 10)
    mask = topology.cycle(ring, bar, filtration="sublevel").mask().numpy()
    assert ring[mask].max() == bar.birth
    angles = np.sort(np.arctan2(y[mask], x[mask]))
    assert np.diff(angles, append=angles[0] + 2 * np.pi).max() < 0.5
    draw = np.random.default_rng(3)
    f = draw.random((6, 7, 8))
    from lab.kernels.cubical.volumes import representatives

    step = np.array([56, 8, 1])
    cells, _, counts = pipeline.barcode_volumes(f[None])
    for edge, square in cells[counts[0, 0] : counts[0, :2].sum()]:
        edges = representatives.loop(f, square)
        ends, often = np.unique(np.concatenate([edges // 3, edges // 3 + step[edges % 3]]), return_counts=True)
        assert edges[-1] == edge
        assert (often % 2 == 0).all()
        assert f.ravel()[ends].max() == max(f.ravel()[edge // 3], f.ravel()[edge // 3 + step[edge % 3]])


def test_cycle_of_another_volume_is_refused():
    f = np.random.default_rng(4).random((5, 5, 5))
    bar = topology.barcode(f)[1][0]
    with pytest.raises(ValueError, match="bar must be a bar of x"):
        topology.cycle(f[::-1].copy(), bar)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"filtration": "both", "border": "foreground", "essential": True},
        {"dimension_weights": (1.0, 0.5, 2.0), "min_persistence": 0.05, "push_unmatched": True},
    ],
)
def test_gradient_of_the_loss_of_volumes_equals_finite_differences(options):
    draw = torch.Generator().manual_seed(5)
    x = torch.rand(2, 1, 4, 3, 4, generator=draw, dtype=torch.float64).requires_grad_()
    y = (torch.rand(2, 1, 4, 3, 4, generator=draw) > 0.5).double()
    loss = topology.BettiMatchingLoss(**options)
    assert torch.autograd.gradcheck(lambda x: loss(x, y), x, eps=1e-7, atol=1e-5)


def test_items_and_threads_do_not_change_the_result():
    draw = np.random.default_rng(6)
    a, b = draw.random((4, 20, 21, 22)), (draw.random((4, 20, 21, 22)) > 0.5).astype(float)
    one = topology.match_batch(a, b, threads=1)
    two = topology.match_batch(a, b, threads=2)
    for k, (first, second) in enumerate(zip(one, two)):
        assert first.to_frame().equals(second.to_frame())
        assert first.counts().equals(topology.match(a[k], b[k]).counts())
        assert float(first.loss()) > 0


def test_volume_against_itself_matches_every_bar():
    f = np.random.default_rng(7).random((8, 9, 10))
    found = topology.match(f, f)
    for d, bars in enumerate(topology.barcode(f)):
        assert len(found.matched[d]) == len(bars) > 10
        assert len(found.unmatched_prediction[d]) == len(found.unmatched_label[d]) == 0
