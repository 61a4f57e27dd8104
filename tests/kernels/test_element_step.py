"""The element step: laws of mechanics, contact by hand, gradients, refusals; forms are compared in test_forms."""

import math

import pytest
import torch

import lab.kernels as kernels
from lab.kernels import Bodies, ElementMesh, element_step
from lab.kernels.element_step import reference
from lab.kernels.element_step.public import block

DOUBLE = torch.float64
TRIANGLE = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]


def normal(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def mesh_of(cells, **options):
    return ElementMesh.of(*block(cells, len(cells)), density=1.0, **options)


def advance(mesh, x, v=None, drive=None, **options):
    drive = x.new_zeros(len(x), int((mesh.driven >= 0).sum()), x.shape[2]) if drive is None else drive
    return element_step(
        x, torch.zeros_like(x) if v is None else v, drive, mesh=mesh, **{"lame": (1.0, 2.0), "dt": 1e-2, **options}
    )


@pytest.mark.parametrize("cells", [(3, 2), (2, 2, 1)])
def test_meshes_fill_their_box_and_hold_its_mass(cells):
    mesh = mesh_of(cells)
    assert float(mesh.volume.sum()) == pytest.approx(math.prod(cells))
    assert float(mesh.mass.sum()) == pytest.approx(math.prod(cells))
    # a right triangle of legs 1 has altitude 1/sqrt(2); so has a tetrahedron on a path of edges of a cube
    assert mesh.height == pytest.approx(1 / 2**0.5)


@pytest.mark.parametrize("word", ["cpu", "reference"])
@pytest.mark.parametrize("cells", [(3, 2), (2, 2, 1)])
def test_a_body_at_rest_stays_there_and_a_turned_one_too(cells, word):
    mesh, d = mesh_of(cells), len(cells)
    Q = torch.linalg.qr(normal(d, d))[0]
    Q = Q if torch.det(Q) > 0 else Q[:, [1, 0, *range(2, d)]]
    x = (mesh.points @ Q.T + 0.3)[None]
    with kernels.backend(word):
        after = advance(mesh, x, substeps=5)
    assert float((after.x - x).abs().max()) < 1e-14


@pytest.mark.parametrize("d", [2, 3])
def test_stress_is_the_gradient_of_the_energy_and_vanishes_at_rest(d):
    F = (torch.eye(d, dtype=DOUBLE) + 0.3 * normal(20, d, d)).requires_grad_()
    (exact,) = torch.autograd.grad(reference.energy(F, 1.3, 2.1).sum(), F)
    assert float((reference.stress(F, 1.3, 2.1) - exact).detach().abs().max()) < 1e-12
    one = torch.eye(d, dtype=DOUBLE)
    assert float(reference.stress(one, 1e4, 3e5).abs().max()) < 1e-9
    assert abs(float(reference.energy(one, 1e4, 3e5))) < 1e-9


@pytest.mark.parametrize("cells", [(3, 2), (2, 2, 1)])
def test_inner_forces_keep_momentum_and_angular_momentum(cells):
    mesh = mesh_of(cells)
    x = mesh.points + 0.1 * normal(2, *mesh.points.shape)
    after = advance(mesh, x, viscosity=0.0)
    momentum = mesh.mass[:, None] * after.v
    assert float(momentum.abs().max()) > 1e-3
    assert float(momentum.sum(1).abs().max()) < 1e-15
    moment = torch.einsum("sna,snb->sab", x, momentum)
    assert float((moment - moment.mT).abs().max()) < 1e-14


def test_energy_of_a_free_body_is_kept_to_the_order_of_the_step():
    mesh = mesh_of((3, 2))
    start = (mesh.points * torch.tensor([1.1, 0.95], dtype=DOUBLE))[None]

    def drift(dt):
        x, v = start, torch.zeros_like(start)
        after = advance(mesh, x, v, dt=dt, substeps=round(2.0 / dt))
        edges = (after.x[:, mesh.elements[:, 1:]] - after.x[:, mesh.elements[:, :1]]).mT
        inner = (mesh.volume * reference.energy(edges @ mesh.inverse, 1.0, 2.0)).sum()
        return float((mesh.mass[:, None] * after.v.square()).sum() / 2 + inner - before)

    edges = (start[:, mesh.elements[:, 1:]] - start[:, mesh.elements[:, :1]]).mT
    before = float((mesh.volume * reference.energy(edges @ mesh.inverse, 1.0, 2.0)).sum())
    assert abs(drift(0.005)) < 0.02 * before
    assert abs(drift(0.0025)) < 0.6 * abs(drift(0.005)) + 1e-6


@pytest.mark.parametrize("word", ["cpu", "reference"])
def test_contact_of_one_node_by_hand(word):
    mesh = ElementMesh.of(TRIANGLE, [[0, 1, 2]], density=6.0, surface=torch.tensor([1]))  # each node has 1 kg
    x = mesh.points[None]
    pose = torch.tensor(
        [[[1.9, 0.0, 0.0]]], dtype=DOUBLE
    )  # a disc of radius 1 overlaps node 1 by 0.1; its normal is (-1, 0)
    v = torch.zeros_like(x)
    v[0, 1] = torch.tensor([0.5, 0.2], dtype=DOUBLE)  # inwards at 0.5, along at 0.2
    bodies = Bodies.of([(1.0,)], d=2, mass=2.0, inertia=0.5)
    options = {"bodies": bodies, "pose": pose, "dt": 0.1, "lame": (0.0, 0.0)}
    with kernels.backend(word):
        slides = advance(mesh, x, v, contact=(10.0, 4.0, 50.0, 0.5), **options)
        sticks = advance(mesh, x, v, contact=(10.0, 4.0, 2.0, 0.5), **options)
    normal_force = (10.0 + 4.0 * 0.5) * 0.1
    assert torch.allclose(slides.contact_force[0, 0], torch.tensor([-normal_force, -0.5 * normal_force], dtype=DOUBLE))
    assert torch.allclose(sticks.contact_force[0, 0], torch.tensor([-normal_force, -2.0 * 0.2], dtype=DOUBLE))
    assert torch.allclose(slides.v[0, 1], v[0, 1] + 0.1 * slides.contact_force[0, 0])
    # the body is pushed back with the same force, and turned by it at the arm (-0.9, 0)
    assert torch.allclose(slides.motion[0, 0, :2], -0.1 / 2.0 * slides.contact_force[0, 0])
    assert float(slides.motion[0, 0, 2]) == pytest.approx(0.1 / 0.5 * 0.9 * -0.5 * normal_force)


def pressed(d, shape=None, seed=3):
    cells = (3, *[1] * (d - 1))
    points, elements = block(cells, d)
    low = (points[:, -1] == 0).nonzero().flatten().tolist()
    mesh = ElementMesh.of(points, elements, density=1.0, driven=low)
    pose = torch.nn.functional.pad(torch.tensor([[1.4, *[1.3] * (d - 1)]], dtype=DOUBLE), (0, 3 - d), value=0.3)[None]
    found = {
        "x": points[None] + 0.05 * normal(1, *points.shape, seed=seed), "v": 0.3 * normal(1, *points.shape, seed=seed + 1),
        "drive": 0.3 * normal(1, len(low), d, seed=seed + 2), "pose": pose, "motion": 0.3 * normal(1, 1, 3, seed=seed + 3),
        "load": normal(1, 1, 3), "force": normal(1, *points.shape, seed=seed + 4),
        "lame": torch.tensor([1.0, 2.0], dtype=DOUBLE), "contact": torch.tensor([20.0, 5.0, 2.0, 0.4], dtype=DOUBLE),
    }  # fmt: skip
    bodies = Bodies.of([shape or (*[0.4] * d, 0.3)], d=d, mass=2.0, inertia=3.0, drag=0.2)
    return mesh, bodies, found


def ball(p):
    return p.norm(dim=1) - 0.7


@pytest.mark.parametrize(("d", "sampled"), [(2, False), (3, False), (2, True), (3, True)])
def test_gradients_equal_central_differences(d, sampled):
    shape = (ball, (-1.1,) * d, (1.1,) * d, 12) if sampled else None
    mesh, bodies, found = pressed(d, shape)
    names = list(found)

    def function(*values):
        return tuple(
            element_step(**dict(zip(names, values)), mesh=mesh, bodies=bodies, dt=1e-2, substeps=3, viscosity=0.2)
        )

    with kernels.backend("cpu"):
        leaves = tuple(value.requires_grad_() for value in found.values())
        assert float(function(*leaves)[4].detach().abs().max()) > 0.1  # it does touch
        assert torch.autograd.gradcheck(function, leaves, eps=1e-7, atol=1e-5, rtol=1e-4, fast_mode=True)
    with kernels.backend("reference"):
        exact = torch.cat([each.flatten() for each in function(*leaves)])
    with kernels.backend("cpu"):
        assert torch.allclose(torch.cat([each.flatten() for each in function(*leaves)]), exact, atol=1e-13)


def test_sampled_distances_approach_the_closed_form():
    distances = []
    for samples in (20, 40):
        bodies = Bodies.of([(ball, (-1.1, -1.1), (1.1, 1.1), samples)], d=2)
        p = 0.7 * torch.nn.functional.normalize(normal(50, 2), dim=1)
        found, n = reference.signed_distance(p, bodies.shapes[0], bodies.layouts[0], bodies.field)
        distances.append(float(found.abs().max()))
        assert float((n - p / 0.7).norm(dim=1).max()) < 0.05
    assert distances[1] < 0.3 * distances[0] < 0.3 * (2.2 / 19) ** 2 / 8 / 0.7 * 1.2


def test_k_t_has_no_gradient_where_contact_slides_and_mu_f_none_where_it_sticks():
    for kt, silent, heard in ((1e3, 2, 3), (1e-3, 3, 2)):
        mesh, bodies, found = pressed(2)
        contact = torch.tensor([20.0, 5.0, kt, 0.4], dtype=DOUBLE, requires_grad=True)
        element_step(**{**found, "contact": contact}, mesh=mesh, bodies=bodies, dt=1e-3).contact_force.sum().backward()
        assert float(contact.grad[silent]) == 0 != float(contact.grad[heard])


def test_many_substeps_equal_many_calls_and_scenes_do_not_touch_each_other():
    mesh, bodies, found = pressed(2)
    options = {"mesh": mesh, "bodies": bodies, "dt": 1e-2}
    together = element_step(**found, **options, substeps=6)
    now = found
    for _ in range(6):
        after = element_step(**now, **options)
        now = {**now, "x": after.x, "v": after.v, "pose": after.pose, "motion": after.motion}
    assert all(torch.equal(a, b) for a, b in zip(together[:4], after[:4]))
    pair = {name: value.repeat(2, *[1] * (value.ndim - 1)) for name, value in found.items() if value.ndim > 1}
    pair["force"][1] = 0
    assert torch.equal(element_step(**{**found, **pair}, **options, substeps=6).x[0], together.x[0])


@pytest.mark.parametrize("word", ["cpu", "reference"])
def test_a_step_above_the_limit_is_refused_by_name(word):
    mesh = mesh_of((3, 2))
    limit = mesh.height / 2.0  # sqrt((lambda + 2 mu)/rho) = 2
    with kernels.backend(word):
        advance(mesh, mesh.points[None], dt=0.999 * limit)
        with pytest.raises(ValueError, match=f"dt must be at most {limit:.4g}"):
            advance(mesh, mesh.points[None], dt=1.001 * limit)
        with pytest.raises(ValueError, match="viscosity"):
            advance(mesh, mesh.points[None], viscosity=50.0)


@pytest.mark.parametrize("word", ["cpu", "reference"])
def test_a_run_that_diverges_names_scene_substep_and_node(word):
    mesh, bodies, found = pressed(2)
    found["contact"] = torch.tensor([1e9, 1e9, 1e9, 1.0], dtype=DOUBLE)
    with kernels.backend(word), pytest.raises(ValueError, match=r"substep \d+ of scene 0, first at node \d+"):
        element_step(**found, mesh=mesh, bodies=bodies, dt=1e-2, substeps=50)


def test_bad_arguments_are_refused_in_words():
    mesh, bodies, found = pressed(2)
    for name, change in {
        "x": {"x": found["x"][:, :3]},
        "v": {"v": found["v"] * torch.nan},
        "drive": {"drive": found["drive"][:, :1]},
        "load": {"load": found["load"][:, :, :2]},
        "lame": {"lame": (-1.0, 1.0)},
        "contact": {"contact": (1.0, 2.0, 3.0)},
        "force": {"force": found["force"].float()},
        "substeps": {"substeps": 0},
    }.items():
        with pytest.raises((ValueError, TypeError), match=name):
            element_step(**{**found, "mesh": mesh, "bodies": bodies, "dt": 1e-3, **change})
    for match, arguments in {
        "element 0": ([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], [[0, 1, 2]]),
        "nodes in": (TRIANGLE, [[0, 1, 3]]),
        "point 3": ([*TRIANGLE, [2.0, 2.0]], [[0, 1, 2]]),
    }.items():
        with pytest.raises(ValueError, match=match):
            ElementMesh.of(*arguments)
    with pytest.raises(ValueError, match="negative inside"):
        Bodies.of([(lambda p: p.norm(dim=1), (-1, -1), (1, 1), 8)], d=2)
    with pytest.raises(ValueError, match="mass"):
        Bodies.of([(1.0,)], d=2, mass=-1.0)
