"""Polar decomposition, strains, materials and rollouts against scipy, closed forms and differences."""

import numpy as np
import pytest
import scipy.linalg
import torch

from lab.physics import continuum as c

MU, LAM = 3.0, 2.0
ELASTIC = [c.Corotated(MU, LAM), c.NeoHookean(MU, LAM), c.Hencky(MU, LAM), c.Fluid(MU, LAM)]
PLASTIC = [c.VonMises(MU, 0.3), c.DruckerPrager(MU, LAM, 25.0), c.Fluidity()]


def gradients(d, count=20, seed=0, spread=0.2):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, d, d, generator=generator, dtype=torch.float64)
    return torch.eye(d, dtype=torch.float64) + spread * noise


def rotations(d, count=20, seed=1):
    generator = torch.Generator().manual_seed(seed)
    Q, _ = torch.linalg.qr(torch.randn(count, d, d, generator=generator, dtype=torch.float64))
    return torch.cat([Q[..., :-1], Q[..., -1:] * torch.det(Q)[:, None, None]], -1)


@pytest.mark.parametrize("d", [2, 3])
def test_polar_is_scipys_and_stays_a_rotation_where_the_element_is_inverted(d):
    F = gradients(d)
    for one, R in zip(F, c.polar(F)):
        assert np.allclose(R, scipy.linalg.polar(one.numpy())[0], atol=1e-12)
    turned = F.clone()
    turned[:, 0] *= -1
    R = c.polar(turned)
    assert torch.allclose(torch.det(R), torch.ones(20, dtype=torch.float64))
    assert torch.allclose(R.mT @ R, torch.eye(d, dtype=torch.float64).expand_as(R), atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_logarithm_and_exponential_are_scipys(d):
    F = gradients(d)
    b = F @ F.mT
    for one, log in zip(b, c.log_spd(b)):
        assert np.allclose(log, scipy.linalg.logm(one.numpy()), atol=1e-9)
    for one, exp in zip(b, c.exp_symmetric(b)):
        assert np.allclose(exp, scipy.linalg.expm(one.numpy()), atol=1e-9)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(
    "law", [*ELASTIC, *PLASTIC, c.polar, c.invariants], ids=lambda law: getattr(law, "__name__", str(law))
)
def test_derivatives_equal_differences_also_at_equal_stretches(law, d):
    Q = rotations(d, 3)
    equal = 0.9 * Q
    pair = Q @ torch.diag(torch.tensor([0.9, 0.9, 1.1][:d], dtype=torch.float64)) @ rotations(d, 3, 5)
    for F in (gradients(d, 4), equal, pair):
        assert torch.autograd.gradcheck(law, F.clone().requires_grad_(), eps=1e-6, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("law", ELASTIC, ids=str)
def test_elastic_laws_rest_without_stress_turn_with_the_frame_and_are_symmetric(law, d):
    one = torch.eye(d, dtype=torch.float64)[None]
    assert float(law(one).abs().max()) < 1e-14
    F, Q = gradients(d), rotations(d)
    tau = law(F)
    assert torch.allclose(law(Q @ F), Q @ tau @ Q.mT, atol=1e-11)
    assert torch.allclose(tau, tau.mT, atol=1e-11)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("s", [0.8, 1.0, 1.3])
def test_uniaxial_stretch_gives_the_stress_of_the_formulas(d, s):
    F = torch.diag(torch.tensor([s, 1.0, 1.0][:d], dtype=torch.float64))[None]
    volume = LAM * s * (s - 1)
    wanted = {
        c.Corotated: (2 * MU * (s * s - s) + volume, volume),
        c.NeoHookean: (MU * (s * s - 1) + LAM * np.log(s), LAM * np.log(s)),
        c.Hencky: ((2 * MU + LAM) * np.log(s), LAM * np.log(s)),
        c.Fluid: (volume, volume),
    }
    for law in ELASTIC:
        tau = law(F)[0]
        assert np.allclose([tau[0, 0], tau[1, 1]], wanted[type(law)], atol=1e-12), law


@pytest.mark.parametrize("kind", [c.Corotated, c.NeoHookean, c.Hencky])
def test_small_strains_are_linear_elasticity(kind):
    strain = 1e-6 * gradients(3, 5, spread=1.0)
    strain = (strain + strain.mT) / 2
    linear = 2 * MU * strain + c._isotropic(LAM * c._trace(strain), strain)
    assert torch.allclose(kind(MU, LAM)(torch.eye(3) + strain), linear, atol=1e-10)


@pytest.mark.parametrize("d", [2, 3])
def test_von_mises_returns_to_its_surface_and_keeps_volume(d):
    law = PLASTIC[0]
    F = gradients(d)
    after = law(F)

    def deviator(F):
        strain = c.log_spd(F @ F.mT) / 2
        return strain - c._isotropic(c._trace(strain) / d, F)

    before, length = deviator(F).flatten(1).norm(dim=1), deviator(after).flatten(1).norm(dim=1)
    assert bool((before > 0.05).any())
    assert torch.allclose(length, before.clamp_max(0.05), atol=1e-9)
    assert torch.allclose(c.det(after), c.det(F), rtol=1e-12)
    assert torch.allclose(law(after), after, atol=1e-9)
    small = torch.eye(d, dtype=torch.float64) + 0.01 * (F - torch.eye(d, dtype=torch.float64))
    assert torch.allclose(law(small), small, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_sand_bears_no_tension_and_rests_under_its_cone(d):
    law = PLASTIC[1]
    F = 1.1 * rotations(d)
    assert torch.allclose(law(F), F / 1.1, atol=1e-9)
    pressed = 0.9 * torch.eye(d, dtype=torch.float64)[None]
    assert torch.allclose(law(pressed), pressed, atol=1e-12)
    sheared = gradients(d, 40) * 0.85
    once = law(sheared)
    assert torch.allclose(law(once), once, atol=1e-7)


def test_fluid_forgets_shear_and_keeps_volume():
    F = gradients(3)
    after = c.Fluidity()(F)
    assert torch.allclose(c.det(after), c.det(F), rtol=1e-12)
    assert float((after - c._isotropic(after[:, 0, 0], F)).abs().max()) == 0


def box(d=2, **change):
    options = {"cells": 12, "spacing": 1 / 12, "dt": 1e-3, "volume": 1e-3, "gravity": (0.0,) * (d - 1) + (-9.8,)}
    return c.Scene(**{**options, **change})


def points(d, count=20):
    generator = torch.Generator().manual_seed(3)
    return 0.3 + 0.4 * torch.rand(1, count, d, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("d", [2, 3])
def test_gradient_of_a_rollout_equals_differences_with_and_without_checkpoints(d):
    x = points(d, 6)
    state = c.start(x, (0.5,) * d, spin=3.0)
    flow = c.VonMises(400.0, 8.0)

    def end(v, scale, every=0):
        def stress(F):
            return scale * c.Hencky(400.0, 300.0)(F)

        return c.rollout(state._replace(v=v), stress, flow, box(d), 6, checkpoint=every).x[-1].sum((0, 1))

    v, scale = state.v.clone().requires_grad_(), torch.ones((), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(end, (v, scale), eps=1e-6, atol=1e-6, rtol=1e-3)
    plain = torch.autograd.grad(end(v, scale).sum(), (v, scale))
    kept = torch.autograd.grad(end(v, scale, 4).sum(), (v, scale))
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(plain, kept))


def test_a_body_without_walls_falls_as_a_stone_and_keeps_its_angular_momentum():
    x = 0.05 * points(2, 60) + 0.5
    state = c.start(x, (0.0, 0.0), spin=20.0)
    scene = box(layers=0, gravity=(0.0, 0.0), dt=5e-4)
    after = c.rollout(state, c.Corotated.of(2e3, 0.2), None, scene, 60).last

    def angular(s):
        moment = torch.einsum("sna,snb->sab", s.x, s.v) + (scene.spacing**2 / 4 * s.C.mT).sum(1)
        return float(moment[0, 0, 1] - moment[0, 1, 0])

    assert angular(state) == pytest.approx(angular(after), rel=1e-10)
    fallen = c.rollout(state, c.Corotated.of(2e3, 0.2), None, box(layers=0), 60).x[-1].mean(1)[0]
    steps = 60
    drop = -9.8 * 1e-3**2 * steps * (steps + 1) / 2  # symplectic Euler
    assert torch.allclose(fallen, x.mean(1)[0] + torch.tensor([0.0, drop], dtype=torch.float64), atol=1e-12)


def test_a_rollout_says_at_which_step_it_ended_and_a_scene_names_the_longest_step():
    state = c.start(points(2), (400.0, 0.0))
    with pytest.raises(ValueError, match="step 1: x must lie inside"):
        c.rollout(state, c.Corotated(400.0, 300.0), None, box(layers=0), 60)
    with pytest.raises(ValueError, match="dt must be at most"):
        box().refuse_step(c.Corotated.of(1e9, 0.2))
    with pytest.raises(ValueError, match="poisson"):
        c.lame(1.0, 0.5)
