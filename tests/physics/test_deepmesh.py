"""Differentiable iso-surfaces: losses against closed forms and differences, descent through genus, own data, refusals."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from lab.physics import deepmesh as d
from lab.physics import surfaces as s
from lab.physics.studies import deepmesh as study
from lab.physics.studies.deepmesh import Setting

DATA = Path(__file__).parents[2] / "data" / "samples"
SMOKE = Setting.of("smoke")


def ball(r):
    return lambda x: x.norm(dim=-1) - r


def posed(mesh):
    return d.Posed(mesh.vertices, mesh.faces)


def test_drag_of_a_sphere_is_its_frontal_area_and_a_plate_along_the_stream_has_none():
    assert float(d.drag(posed(s.isosurface(ball(0.6), 64)))) == pytest.approx(math.pi * 0.36, rel=0.01)
    plate = d.Posed(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]]), torch.tensor([[0, 1, 2], [0, 2, 1]]))
    assert float(d.drag(plate)) == 0
    assert float(d.drag(plate, (0.0, 1.0, 0.0))) == pytest.approx(1.0)


def test_two_layers_inside_the_outline_of_a_ball_and_the_depth_of_its_front():
    sheets, depth = d.layers(posed(s.isosurface(ball(0.6), 48)), 24, 0.06)
    axis = torch.linspace(-1, 1, 24)
    away = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    assert float((sheets[away < 0.4] - 2).abs().max()) < 0.1 and float(sheets[away > 0.85].max()) < 0.01
    inner = away < 0.3
    wanted = -(0.36 - away[inner] ** 2).sqrt()
    assert float((depth[inner] - wanted).abs().max()) < 0.04


def test_what_vertices_ask_of_the_field_is_the_derivative_of_the_loss():
    r = torch.tensor(0.6, requires_grad=True)
    field = lambda x: 3 * (x.norm(dim=-1) - r)  # noqa: E731
    shape = d.IsoSurface(field, 40)
    mesh = shape()
    free = mesh.vertices.detach().requires_grad_()
    (push,) = torch.autograd.grad(s.volume(free, mesh.faces), free)
    asked = d.demand(lambda x: field(x).detach() if not x.requires_grad else field(x), shape.mesh, push)
    # ds/dr = -3, so dV/dr = sum (-asked) * (-3)
    (slope,) = torch.autograd.grad(s.volume(*mesh), r)
    assert float(3 * asked.sum()) == pytest.approx(float(slope), rel=1e-4)
    assert float(slope) == pytest.approx(4 * math.pi * 0.36, rel=0.02)


def test_gradient_of_network_weights_equals_differences_of_remeshed_volumes():
    net = d.NeuralField(width=6, seed=3)
    shape = lambda: s.isosurface(net, 48)  # noqa: E731
    mesh = d.IsoSurface(net, 48)()
    weight = net.biases[-1]
    (slope,) = torch.autograd.grad(s.volume(*mesh), weight)
    found = []
    for step in (1e-2, -1e-2):
        with torch.no_grad():
            weight += step
        one = shape()
        found.append(float(s.volume(one.vertices.double(), one.faces)))
        with torch.no_grad():
            weight -= step
    assert float(slope) == pytest.approx((found[0] - found[1]) / 2e-2, rel=0.02)


def test_a_sphere_becomes_a_torus_and_a_fixed_mesh_does_not():
    true = s.isosurface(study.torus, 40)
    cloud = s.points_on(true.vertices, true.faces, 1000)
    net = d.NeuralField(width=32, seed=1)
    draw = torch.Generator().manual_seed(0)
    prior = lambda: 0.02 * d.eikonal(net, d.uniform(200, draw))  # noqa: E731
    shape = d.IsoSurface(net, 20)
    trace = d.descend(shape, d.chamfer_to(cloud, 500), net.parameters(), steps=80, rate=1e-2, prior=prior)
    assert trace.euler[0] == 2 and trace.euler[-1] == 0 and trace.losses[-1] < 0.4 * trace.losses[0]
    assert trace.evaluations < 80 * 20**3 / 2
    free = d.FixedMesh(study.ball_mesh())
    fixed = d.descend(free, d.chamfer_to(cloud, 500), [free.vertices], steps=20, rate=1e-2, prior=free.rough)
    assert set(fixed.euler) == {2}


def test_the_distance_of_surfaces_is_that_of_concentric_balls_and_zero_for_equal_ones():
    a, b = (s.isosurface(ball(r), 48) for r in (0.5, 0.6))
    assert study.distance(a, b) == pytest.approx(0.1, rel=0.02)
    assert study.distance(a, s.isosurface(ball(0.5), 40)) < 2e-3


def test_shapes_of_the_family_have_the_genus_that_they_state_and_first_order_distances():
    shapes = study.family(6, torch.Generator().manual_seed(0))
    for one in shapes:
        assert s.euler(study.truth(one, 64).faces) == (0 if one[4] > 0 else 2)
    round_one = torch.tensor([0.5, 0.5, 0.5, 2.0, -0.2])
    x = 0.6 * torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    assert torch.allclose(study.solid(x, round_one), torch.full((50,), 0.1), atol=1e-3)


def test_parts_of_a_scene_are_counted():
    case = study.scan(3, resolution=48)
    assert study.parts(case.mesh) == 3
    holes = int((case.shapes[:, 4] > 0).sum())
    assert s.euler(case.mesh.faces) == 6 - 2 * holes
    found = study.centres(case.points)
    assert float(torch.cdist(found, case.places).amin(1).max()) < 0.25


def test_the_field_of_many_codes_is_that_of_each():
    net = d.NeuralField(code=3, width=8, seed=1)
    x, z = torch.randn(2, 5, 3), torch.randn(2, 3)
    both = net(x, z[:, None])
    for k in range(2):
        assert torch.allclose(both[k], net(x[k], z[k]), atol=1e-6)
    assert torch.equal(d.NeuralField(seed=4)(x), d.NeuralField(seed=4)(x))


@pytest.mark.parametrize("ending", ["stl", "obj", "ply", "npz", "csv"])
def test_own_surfaces_are_fitted_saved_loaded_and_exported(tmp_path, ending):
    body = trimesh.creation.icosphere(3, 5.0)
    body.apply_translation((10.0, 0.0, -3.0))
    path = tmp_path / f"own.{ending}"
    points = body.vertices
    if ending == "npz":
        np.savez(path, points=points)
    elif ending == "csv":
        path.write_text("x,y,z\n" + "\n".join(",".join(map(str, row)) for row in points.tolist()))
    else:
        body.export(path)
    fitted = d.fit_surface(path, steps=6, rate=1e-2, resolution=14, width=8)
    mesh = fitted.mesh(32)
    assert torch.allclose(mesh.vertices.mean(0), torch.tensor([10.0, 0.0, -3.0]), atol=0.5)
    assert float(s.volume(mesh.vertices, mesh.faces)) == pytest.approx(4 / 3 * math.pi * 125, rel=0.35)
    assert float(fitted.distance(torch.tensor([[10.0, 0.0, -3.0]]))) < 0
    fitted.save(tmp_path / "surface.pt")
    again = d.FittedSurface.load(tmp_path / "surface.pt")
    assert torch.equal(again.mesh(20).vertices, fitted.mesh(20).vertices)
    again.export(tmp_path / "out.ply", 20)
    assert trimesh.load_mesh(tmp_path / "out.ply").is_watertight


def test_a_sample_of_own_triangles_is_read():
    assert d.fit_surface(DATA / "ring.stl", steps=2, resolution=14, width=8).trace.euler[0] == 2


def test_bad_data_are_refused_in_words(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "evil.npy").rename(tmp_path / "evil.npz")
    hole = np.random.default_rng(0).normal(size=(80, 3))
    hole[3, 1] = np.nan
    for data, words in ((np.zeros((80, 3)), "one place"), (np.ones((80, 2)), "points"), (np.ones((10, 3)), "50 points"),
                        (hole, "finite"), (tmp_path / "other.npz", "'points'"), (tmp_path / "a.exe", "ending"),
                        (tmp_path / "evil.npz", ".")):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=words):
            d.fit_surface(data, steps=1)
    with pytest.raises(ValueError, match="z must be given"):
        d.NeuralField(code=2)(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="step 0: the field must change its sign"):
        d.descend(d.IsoSurface(lambda x: x.norm(dim=-1) + 1, 12), d.drag, [torch.zeros(1, requires_grad=True)], steps=2)
    net = d.NeuralField(width=8)
    with pytest.raises(ValueError, match="step 0: the loss is nan"):
        d.descend(d.IsoSurface(net, 12), lambda mesh: mesh.vertices.sum() * math.nan, net.parameters(), steps=2)


def test_result_is_saved_and_loaded(tmp_path):
    result = study.run(SMOKE, seeds=(0, 1))
    result.save(tmp_path / "result.csv")
    assert len(study.Result.load(tmp_path / "result.csv")) == 2
