"""Isosurfaces: closed, right in volume, area and genus, and their derivative against closed forms."""

import math

import pytest
import torch

from lab.physics import surfaces as s


def ball(r=0.6, centre=(0.0, 0.0, 0.0)):
    return lambda x: (x - torch.tensor(centre)).norm(dim=-1) - r


def torus(x, big=0.6, small=0.25):
    return ((x[..., :2].norm(dim=-1) - big) ** 2 + x[..., 2] ** 2).sqrt() - small


def test_ball_has_its_area_and_volume_and_normals_point_outwards():
    mesh = s.isosurface(ball(), 48)
    assert float(s.volume(mesh.vertices, mesh.faces)) == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=5e-3)
    assert float(s.area(mesh.vertices, mesh.faces)) == pytest.approx(4 * math.pi * 0.36, rel=5e-3)
    middle = mesh.vertices[mesh.faces].mean(1)
    assert bool(((s.normals(mesh.vertices, mesh.faces) * middle).sum(1) > 0).all())


@pytest.mark.parametrize(("field", "wanted"), [(ball(), 2), (torus, 0)])
def test_meshes_are_closed_and_have_the_genus_of_the_field(field, wanted):
    mesh = s.isosurface(field, 32)
    assert s.closed(mesh.faces) and s.euler(mesh.faces) == wanted


def test_parts_are_counted_and_a_body_that_leaves_the_grid_is_closed_there():
    two = lambda x: torch.minimum(ball(0.3, (-0.5, 0.0, 0.0))(x), ball(0.3, (0.5, 0.0, 0.0))(x))  # noqa: E731
    assert s.euler(s.isosurface(two, 32).faces) == 4
    cut = s.isosurface(ball(0.6, (1.0, 0.0, 0.0)), 32)
    assert s.closed(cut.faces) and s.euler(cut.faces) == 2


@pytest.mark.parametrize("what", ["volume", "area"])
def test_derivative_of_an_ellipsoid_that_is_no_distance_field(what):
    r = torch.tensor(0.6, requires_grad=True)

    def field(x, q=1.2):
        return (x / torch.stack([r, r * q, r])).norm(dim=-1) - 1

    mesh = s.isosurface(lambda x: field(x).detach(), 48)
    measure = s.volume if what == "volume" else s.area
    (found,) = torch.autograd.grad(measure(s.attached(field, mesh), mesh.faces), r)
    size = float(measure(mesh.vertices, mesh.faces))
    wanted = (3 if what == "volume" else 2) * size / 0.6
    assert float(found) == pytest.approx(wanted, rel=0.02)
    (unit,) = torch.autograd.grad(measure(s.attached(field, mesh, unit=True), mesh.faces), r)
    assert abs(float(unit) / wanted - 1) > 0.2


def test_a_narrow_band_gives_the_same_mesh_with_far_fewer_evaluations():
    first = s.sample(ball(), 64)
    moved = ball(0.61)
    near, full = s.sample(moved, 64, before=first), s.sample(moved, 64)
    assert full.evaluations == 64**3 and near.evaluations * 5 < full.evaluations
    a, b = s.surface(near), s.surface(full)
    assert torch.allclose(a.vertices, b.vertices, atol=1e-6) and torch.equal(a.faces, b.faces)


def test_random_points_lie_on_the_surface_and_chamfer_is_a_distance():
    mesh = s.isosurface(ball(), 32)
    points = s.points_on(mesh.vertices, mesh.faces, 500)
    assert float((points.norm(dim=1) - 0.6).abs().max()) < 0.01
    assert float(s.chamfer(points, points)) < 1e-3
    assert float(s.chamfer(points, 1.5 * points)) == pytest.approx(0.3, abs=0.03)


def test_a_field_without_surface_is_refused_in_words():
    with pytest.raises(ValueError, match="change its sign"):
        s.isosurface(lambda x: x.norm(dim=-1) + 1, 8)
    with pytest.raises(ValueError, match="finite"):
        s.isosurface(lambda x: x[..., 0] / 0, 8)
    with pytest.raises(ValueError, match="before"):
        s.sample(ball(), 16, before=s.sample(ball(), 8))
