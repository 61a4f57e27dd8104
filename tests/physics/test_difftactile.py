"""Tactile pads: linear limit, coupling of bodies, gradients of rollouts, optics, own data and refusals."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from lab.kernels.element_step.reference import stress
from lab.physics import continuum
from lab.physics import difftactile as dt

DOUBLE = torch.float64
PAD = dt.Pad.block((0.06, 0.02), (6, 2))


def pressing(frames=6, speed=-0.1, slide=0.0, scenes=1):
    actions = torch.zeros(frames, scenes, 1, 2, dtype=DOUBLE)
    actions[..., 1], actions[..., 0] = speed, slide
    return actions


@pytest.mark.parametrize("d", [2, 3])
def test_small_strains_have_the_stress_of_linear_elasticity(d):
    mu, lam = continuum.lame(8e3, 0.43)
    strain = 1e-5 * torch.randn(d, d, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    linear = mu * (strain + strain.T) + lam * strain.trace() * torch.eye(d, dtype=DOUBLE)
    found = stress(torch.eye(d, dtype=DOUBLE) + strain, *dt.stable_lame(8e3, 0.43, d))
    assert float((found - linear).norm() / linear.norm()) < 1e-4


@pytest.mark.parametrize("face", ["down", "up", "left", "right"])
def test_a_pad_looks_where_it_is_told(face):
    pad = dt.Pad.block((0.06, 0.02), (6, 2), place=(0.1, 0.2), face=face)
    axis, sign = (1, 1) if face in ("down", "up") else (0, 1)
    sign = sign if face in ("down", "left") else -1
    marks, base = pad.mesh.points[pad.marks], pad.mesh.points[pad.mesh.driven >= 0]
    assert torch.allclose(marks[:, axis], torch.tensor([0.1, 0.2][axis], dtype=DOUBLE))
    assert torch.allclose((base - marks)[:, axis], torch.tensor(sign * 0.02, dtype=DOUBLE))
    pair = pad.beside(dt.Pad.block((0.06, 0.02), (6, 2), place=(1.0, 1.0)))
    assert pair.fingers == 2 and len(pair.mesh.points) == 2 * len(pad.mesh.points)


def test_a_free_finger_moves_as_one_and_its_marks_stay():
    found = dt.Scene(PAD, []).roll(pressing(20, 0.0, 0.1))
    assert float(found.markers()[-1].abs().max()) < 2e-3
    assert torch.allclose(found.x[-1] - found.x[0], torch.tensor([0.1 * 20 * 2e-3, 0.0], dtype=DOUBLE), atol=2e-3)


def test_force_on_the_pad_is_what_pushes_the_object():
    disc = dt.Rigid((0.03,), (0.03, -0.03), mass=0.5, inertia=1e-3)
    found = dt.Scene(PAD, [disc]).roll(pressing(12))
    pushed = -(found.force[:, 0, 0] * 2e-3).sum(0)
    assert torch.allclose(0.5 * found.motion[-1, 0, 0, :2], pushed, atol=1e-12)
    assert float(pushed[1]) < -1e-4


def test_a_held_disc_and_the_same_as_a_sampled_distance_give_the_same_forces():
    ours = dt.Scene(PAD, [dt.Rigid((0.03,), (0.03, -0.03))]).roll(pressing(12)).force
    sampled = dt.Rigid.of(
        lambda p: p.norm(dim=1) - 0.03, (0.03, -0.03), low=(-0.04,) * 2, high=(0.04,) * 2, samples=160
    )
    theirs = dt.Scene(PAD, [sampled]).roll(pressing(12)).force
    assert float((ours - theirs).norm() / ours.norm()) < 0.01


def test_the_distance_to_a_mesh_is_that_of_the_ball_it_approximates():
    from lab.physics.shapes import ball_mesh

    mesh = ball_mesh(0.5, 24)
    p = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    found = dt.mesh_distance(mesh.vertices, mesh.faces)(p)
    assert float((found - (p.norm(dim=1) - 0.5)).abs().max()) < 0.02
    cube = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=DOUBLE)] * 3)
    faces = torch.tensor([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                          [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])  # fmt: skip
    q = torch.rand(100, 3, generator=torch.Generator().manual_seed(1), dtype=DOUBLE) * 3 - 1
    apart = (q - 0.5).abs() - 0.5
    exact = apart.clamp_min(0).norm(dim=1) + apart.amax(1).clamp_max(0)
    assert torch.allclose(dt.mesh_distance(cube, faces)(q), exact, atol=1e-12)


def test_gradients_of_a_rollout_equal_central_differences():
    disc = dt.Rigid((0.03,), (0.032, -0.03), mass=0.5, inertia=1e-3, drag=1.0)
    scene = dt.Scene(PAD, [disc], dt.Contact().row(), substeps=5, lame=torch.tensor(PAD.lame, dtype=DOUBLE))

    def function(actions, contact, lame):
        found = replace(scene, contact=contact, lame=lame).roll(actions)
        return found.force, found.pose, found.x[-1] * 100

    leaves = (pressing(6, -0.2, 0.05), scene.contact.clone(), scene.lame.clone())
    leaves = tuple(each.requires_grad_() for each in leaves)
    assert float(function(*leaves)[0].detach().abs().max()) > 0.02
    assert torch.autograd.gradcheck(function, leaves, eps=1e-6, atol=1e-6, rtol=1e-3, fast_mode=True)


def soft(**options):
    return dt.Soft.block((0.04, 0.015), (0.1, 0.035), pitch=5e-3, cells=(20, 16), **options)


@pytest.mark.parametrize("kind", ["elastic", "cable"])
def test_soft_objects_push_back_with_the_opposite_force_and_have_gradients(kind):
    thing = (
        soft() if kind == "elastic" else dt.Cable(torch.tensor([[0.04 + 0.01 * k, 0.03] for k in range(7)]), drag=0.0)
    )
    pad = dt.Pad.block((0.06, 0.02), (6, 2), place=(0.04, 0.0365 if kind == "elastic" else 0.0351))
    scene = dt.Scene(pad, [thing], substeps=4)
    actions = pressing(5, -0.3).requires_grad_()
    found = scene.roll(actions)
    assert float(found.soft_force[0].detach()[-1, 0, 1]) > 1e-3
    (gradient,) = torch.autograd.grad(found.soft_force[0][-1, 0, 1], actions)
    assert bool(torch.isfinite(gradient).all()) and float(gradient[0, 0, 0, 1]) < 0
    step = 1e-5
    ends = [scene.roll(actions.detach() + sign * step * torch.nn.functional.one_hot(torch.tensor(1), 2)).soft_force[0][-1, 0, 1]
            for sign in (1, -1)]  # fmt: skip
    assert float(gradient[..., 1].sum()) == pytest.approx(float((ends[0] - ends[1]) / (2 * step)), rel=1e-3)
    if kind == "cable":
        moved = found.particles[0].detach()
        pushed = -(found.soft_force[0].detach()[:, 0] * 4 * 2e-4).sum(0)
        y0, y1 = moved[0, 0], moved[-1, 0]
        assert float((y1 - y0)[:, 1].mean()) < 0 and float(pushed[1]) < 0


def test_a_stretched_cable_returns_to_its_length_and_a_held_end_stays():
    points = torch.tensor([[0.01 * k, 0.0] for k in range(8)], dtype=DOUBLE)
    cable = dt.Cable(points, held=(0,))
    y, w = (1.05 * points)[None], torch.zeros(1, 8, 2, dtype=DOUBLE)
    for _ in range(400):
        y, w = cable.step(y, w, torch.zeros_like(y), 1e-3)
    assert torch.allclose(y[0, 0], points[0])
    assert torch.allclose((y[:, 1:] - y[:, :-1]).norm(dim=-1), torch.tensor(0.01, dtype=DOUBLE), rtol=2e-3)


def test_contact_parameters_are_found_from_a_saved_trace(tmp_path):
    scene = dt.Scene(PAD, [dt.Rigid((0.03,), (0.03, -0.03))], dt.Contact(40, 200, 1, 0.5))
    actions = torch.cat([pressing(6, -0.15), pressing(6, 0.0, 0.08)])
    forces = scene.roll(actions).force[:, 0, 0]
    table = torch.cat([actions[:, 0, 0], forces], 1)
    (tmp_path / "trace.csv").write_text(
        "vx,vy,fx,fy\n" + "\n".join(",".join(f"{v:.12g}" for v in row) for row in table.tolist())
    )
    start = replace(scene, contact=dt.Contact(30, 150, 1.5, 0.35))
    fitted = dt.fit_contact(start, tmp_path / "trace.csv", steps=40)
    assert float(fitted.losses[-1]) < 0.1 * float(fitted.losses[0])
    assert float(fitted.contact[0, 0]) == pytest.approx(40, rel=0.05)
    fitted.save(tmp_path / "contact.pt")
    load = f"FittedContact.load({str(tmp_path / 'contact.pt')!r})"
    code = f"from lab.physics import difftactile as d; print(d.{load}.contact[0, 0].item())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(found) == float(fitted.contact[0, 0])


@pytest.mark.parametrize(
    ("text", "match"),
    [("vx,vy,fx\n1,2,3\n", "missing are fy"), ("vx,vy,fx,fy\n1,2,3,x\n", "numbers"), ("vx,vy,fx,fy\n1,2,3,nan\n", "finite"),
     ("vx,vy,fx,fy\n", "empty")],
)  # fmt: skip
def test_hostile_traces_are_refused_in_words(tmp_path, text, match):
    (tmp_path / "trace.csv").write_text(text)
    with pytest.raises((ValueError, TypeError), match=match):
        dt.read_trace(tmp_path / "trace.csv")


def test_bad_input_is_refused_in_words():
    disc = dt.Rigid((0.03,), (0.03, -0.03))
    scene = dt.Scene(PAD, [disc])
    with pytest.raises(ValueError, match="dt must be at most"):
        replace(scene, dt=5e-3).roll(pressing())
    with pytest.raises(ValueError, match="actions must end in"):
        scene.roll(torch.zeros(3, 2, 2))
    with pytest.raises(ValueError, match="diverged in substep"):
        replace(scene, contact=dt.Contact(1e9, 0, 0, 0)).roll(pressing(40))
    with pytest.raises(ValueError, match="zero in all frames"):
        dt.fit_contact(scene, pressing(), torch.zeros(6, 2))
    with pytest.raises(ValueError, match="face"):
        dt.Pad.block(face="forward")
    with pytest.raises(TypeError, match="distance"):
        dt.Rigid.of(lambda p: p[:, 0], (0.0, 0.0))
    with pytest.raises(ValueError, match="dt must be at most"):
        soft(young=1e8)
    with pytest.raises(ValueError, match="place"):
        dt.Scene(PAD, [dt.Rigid((0.03,), (0.03,))]).roll(pressing())


def test_a_pixel_network_learns_what_colour_and_place_tell():
    generator = torch.Generator().manual_seed(0)
    slope = 0.3 * torch.randn(2, 12, 12, 2, generator=generator)
    normals = torch.nn.functional.normalize(torch.cat([slope, torch.ones(2, 12, 12, 1)], -1), dim=-1)
    images = 0.5 + 0.4 * normals
    net = dt.fit_optics(images, normals, steps=300, batch=128)
    found = net(dt.pixels(images))
    assert float(torch.rad2deg(torch.acos((found * normals).sum(-1).clamp(-1, 1))).mean()) < 3
    with pytest.raises(ValueError, match="normals"):
        dt.fit_optics(images, normals[:1])


def test_a_pad_of_tetrahedra_presses_a_ball():
    pad = dt.Pad.block((0.03, 0.03, 0.01), (3, 3, 1), young=8e3)
    ball = dt.Rigid((0.02,), (0.015, 0.015, -0.02))
    found = dt.Scene(pad, [ball]).roll(torch.tensor([0.0, 0.0, -0.1]).expand(10, 1, 3))
    assert float(found.force[-1, 0, 0, 2]) > 0.01
    # the mesh is not symmetric, so the side forces are small and not zero
    assert float(found.force[-1, 0, 0, :2].abs().max()) < 0.3 * float(found.force[-1, 0, 0, 2])
