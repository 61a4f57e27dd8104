"""Loops as curves, components and cavities as surfaces: what is drawn is the feature."""

import numpy as np
import pytest
import torch

from lab import topology
from lab.topology.images import volume_cycles
from lab.topology.studies.volume_checks import boundaries_before, bounds, edges_of


def ring(shape=(9, 24, 24), centre=(4, 11, 11), radius=7.0, tube=1.6):
    z, y, x = np.indices(shape)
    around = np.hypot(y - centre[1], x - centre[2]) - radius
    return np.hypot(z - centre[0], around) <= tube


def ball(shape, centre, radius):
    return np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - np.array(centre), axis=-1) <= radius


@pytest.mark.parametrize("kind", ["distinct", "ties"])
def test_curve_is_a_closed_path_that_no_surface_fills_while_the_bar_lasts(kind):
    checked = 0
    for seed in range(6):
        draw = np.random.default_rng(seed)
        x = draw.random((4, 5, 5)) if kind == "distinct" else draw.integers(0, 3, (4, 5, 5)).astype(float)
        for bar in topology.barcode(x)[1]:
            found = topology.curve(x, bar)
            edges = edges_of(found.voxels.numpy(), x.shape)
            assert len(edges) == len(found.voxels) >= 4
            assert bar.birth_cell in edges
            assert min(x.ravel()[found.voxels.numpy()]) == bar.birth
            assert not bounds(edges, boundaries_before(-x, bar.death_cell))
            checked += 1
    assert checked >= 30


def test_the_oracle_sees_a_path_that_is_filled():
    x = np.random.default_rng(0).random((4, 5, 5))
    last = max(topology.barcode(x)[1], key=lambda bar: -bar.death)
    squares = boundaries_before(-x, last.death_cell)
    assert bounds(squares[0] ^ squares[5], squares)
    assert not bounds(edges_of(topology.curve(x, last).voxels.numpy(), x.shape), squares)


def test_curve_is_a_shortest_one():
    x = np.zeros((3, 9, 9))
    x[1, 1:8, 1:8] = 1
    x[1, 3:6, 3:6] = 0
    (bar,) = topology.barcode(x)[1]
    found = topology.curve(x, bar)
    assert len(found.voxels) == 16
    assert found.length == 16
    assert torch.equal(found.points[0], found.points[-1])


def test_spacing_scales_points_and_changes_no_voxel():
    x = ring().astype(float)
    (bar,) = topology.barcode(x)[1]
    plain, stretched = topology.curve(x, bar), topology.curve(x, bar, spacing=(3.0, 0.5, 1.0))
    assert torch.equal(plain.voxels, stretched.voxels)
    assert torch.allclose(plain.points * torch.tensor([3.0, 0.5, 1.0], dtype=torch.float64), stretched.points)
    radius = (plain.points[:, 1:] - 11).norm(dim=1)
    assert 4.5 < float(radius.min()) and float(radius.max()) < 9.5


def euler(surface):
    edges = torch.cat([surface.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])]).sort(dim=1).values
    counts = edges.unique(dim=0, return_counts=True)[1]
    assert bool((counts == 2).all()), "a surface with a rim"
    return len(surface.vertices) - len(counts) + len(surface.faces)


def test_island_of_a_soft_prediction_is_drawn_as_the_island_midway_through_its_life():
    shape = (16, 16, 16)
    island = ball(shape, (11, 11, 11), 2.5)
    x = np.where(island, 0.8, 0.1) + np.where(ball(shape, (4, 4, 4), 3), 0.85, 0)
    (bar,) = topology.barcode(x)[0]
    found = topology.surface(x, bar)
    assert np.array_equal(found.voxels.numpy(), np.flatnonzero(island))
    assert found.level == pytest.approx(0.45)
    assert euler(found) == 2
    assert found.step == 1
    corners = [found.vertices[found.faces[:, k]] - 11 for k in range(3)]
    volume = float((torch.linalg.cross(corners[0], corners[1], dim=1) * corners[2]).sum() / 6)
    assert volume == pytest.approx(island.sum(), rel=0.2), "faces turn inwards"
    assert torch.allclose(found.vertices.mean(0), torch.full((3,), 11.0, dtype=torch.float64), atol=0.05)
    cycle = set(topology.cycle(x, bar).voxels.tolist())
    assert set(found.voxels.tolist()) <= cycle


def test_cavity_is_drawn_as_the_hollow_and_stays_inside_the_surface_of_its_cycle():
    shape = (14, 14, 14)
    hollow = ball(shape, (7, 6, 7), 2.2)
    x = (ball(shape, (7, 6, 7), 4.5) & ~hollow).astype(float)
    (bar,) = topology.barcode(x)[2]
    found = topology.surface(x, bar, spacing=(2.0, 1.0, 1.0))
    assert np.array_equal(found.voxels.numpy(), np.flatnonzero(hollow))
    assert euler(found) == 2
    assert np.ptp(found.vertices[:, 0].numpy()) == pytest.approx(2 * np.ptp(found.vertices[:, 1].numpy()))
    cycle = topology.cycle(x, bar)
    assert set(found.voxels.tolist()) == set(cycle.inside.tolist())


def test_component_and_cavity_of_every_bar_of_noise_hold_the_voxels_that_begin_and_end_them():
    x = np.random.default_rng(5).random((7, 8, 9))
    bars = topology.barcode(x)
    for bar in bars[0]:
        inside = set(topology.surface(x, bar).voxels.tolist())
        assert bar.birth_voxel in inside
        assert inside <= set(topology.cycle(x, bar).voxels.tolist())
    for bar in bars[2]:
        inside = topology.surface(x, bar).voxels
        places = np.stack(np.unravel_index(inside.numpy(), x.shape))
        assert bar.death_voxel in inside.tolist()
        assert (places > 0).all() and (places.T < np.array(x.shape) - 1).all(), "a cavity that is open"
    assert len(bars[0]) > 20 and len(bars[2]) > 5


def test_drawing_follows_the_matching_that_the_bar_is_of():
    label = ring()
    prediction = 0.1 + 0.8 * label
    prediction[1:3, 1:4, 1:4] = 0.7
    found = topology.match(prediction, label)
    one, two = found.matched[1][0]
    assert isinstance(topology.drawing(found, one), volume_cycles.Curve)
    assert isinstance(topology.drawing(found, two, spacing=(2, 1, 1)), volume_cycles.Curve)
    (island,) = found.unmatched_prediction[0]
    assert len(topology.drawing(found, island).voxels) == 18


@pytest.mark.parametrize("border", [None, "foreground"])
def test_frame_leaves_points_where_they_are(border):
    x = np.zeros((5, 9, 9))
    x[2, 2:7, 2:7] = 1
    x[2, 4, 4] = 0
    bars = topology.barcode(x, border=border)
    (bar,) = bars[1]
    found = topology.curve(x, bar, border=border)
    assert found.points[:, 0].unique().tolist() == [2.0]
    assert 8 <= len(found.voxels) <= 16
    if border is not None:
        assert sum(bars[0].length > 0) == 1
        island = topology.surface(x, bars[0][0], border=border)
        assert np.array_equal(island.voxels.numpy(), np.flatnonzero(x))


def test_large_mesh_is_made_of_blocks_and_says_so():
    mask = ball((90, 20, 20), (45, 10, 10), 9) | np.pad(np.ones((90, 2, 2), bool), [(0, 0), (9, 9), (9, 9)])
    vertices, faces, step = volume_cycles.mesh(mask, most=32)
    assert step == 3
    assert float(vertices[:, 0].max() - vertices[:, 0].min()) == pytest.approx(90, abs=3)
    assert len(volume_cycles.mesh(np.zeros((4, 4, 4)))[1]) == 0


def test_refusals_name_the_argument():
    x = ring().astype(float)
    bars = topology.barcode(x)
    loop = bars[1][0]
    for call, words in (
        (lambda: topology.curve(x[0], loop), "x must have 3 axes"),
        (lambda: topology.curve(x, loop, spacing=(1, 1)), "spacing must be three positive lengths"),
        (lambda: topology.surface(x, loop), "loops are curves"),
        (lambda: topology.surface(x, loop, at=2.0), "at must"),
        (
            lambda: topology.curve(x, bars.endless if hasattr(bars, "endless") else topology.barcode(x).essential),
            "dimension",
        ),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            call()
