"""The material point step: conservation, free fall, gradients, refusals; forms are compared in test_forms."""

import numpy as np
import pytest
import torch

import lab.kernels as kernels
from lab.kernels import spec

OPTIONS = {"spacing": 1 / 12, "dt": 1e-3, "mass": 2.0, "volume": 1e-3}


def scene(d, particles=30, seed=0, dtype=torch.float64, scenes=2, cells=12):
    shape = {"scenes": scenes, "particles": particles, "d": d, "cells": cells}
    found = spec.get("mpm").inputs(shape, dtype=dtype, seed=seed)
    return {name: found[name] for name in ("x", "v", "C", "F", "tau", "force")}


def symmetric(a):
    return (a + a.mT) / 2


def angular_momentum(x, v, C, spacing):
    """Of particles with affine velocity: m (x v^T - v x^T) plus the antisymmetric part of m dx^2/4 C."""
    moment = torch.einsum("sna,snb->sab", x, v) + (spacing**2 / 4 * C.mT).sum(1)
    return moment - moment.mT


@pytest.mark.parametrize("d", [2, 3])
def test_momentum_and_angular_momentum_are_kept_without_walls(d):
    s = scene(d)
    s["tau"] = symmetric(s["tau"])
    s["force"] = torch.zeros_like(s["force"])
    after = kernels.mpm_step(**s, cells=12, layers=0, **OPTIONS)
    assert torch.allclose(after.v.sum(1), s["v"].sum(1), rtol=0, atol=1e-12 * float(s["v"].abs().sum()))
    before = angular_momentum(s["x"], s["v"], s["C"], 1 / 12)
    now = angular_momentum(after.x, after.v, after.C, 1 / 12)
    assert torch.allclose(now, before, rtol=0, atol=1e-12 * float(before.abs().sum() + s["v"].abs().sum()))


def test_a_stress_that_is_not_symmetric_turns_the_body():
    s = scene(2)
    after = kernels.mpm_step(**{**s, "force": 0 * s["force"]}, cells=12, layers=0, **OPTIONS)
    before, now = (angular_momentum(x, v, C, 1 / 12) for x, v, C in ((s["x"], s["v"], s["C"]), after[:3]))
    assert float((now - before).abs().max()) > 1e-3


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("word", ["cpu", "reference"])
def test_a_rigid_body_falls_freely_and_keeps_its_affine_velocity(d, word):
    s = scene(d)
    down = torch.zeros(d, dtype=torch.float64)
    down[-1] = -9.8
    W = torch.randn(d, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    W = (W - W.T).expand_as(s["C"])
    v = 0.3 + (W @ s["x"][..., None])[..., 0]
    with kernels.backend(word):
        after = kernels.mpm_step(
            s["x"], v, W, s["F"], 0 * s["tau"], cells=12, layers=0, gravity=tuple(down.tolist()), **OPTIONS
        )
    # an affine velocity field passes through the grid unchanged
    assert torch.allclose(after.v, v + 1e-3 * down, atol=1e-12)
    assert torch.allclose(after.C, W, atol=1e-10)
    assert torch.allclose(after.x, s["x"] + 1e-3 * after.v, atol=1e-15)
    assert torch.allclose(after.F, s["F"] + 1e-3 * W @ s["F"], atol=1e-12)


@pytest.mark.parametrize(("d", "wall"), [(2, "slip"), (2, "stick"), (3, "slip")])
def test_gradients_equal_central_differences(d, wall):
    s = {name: value.requires_grad_() for name, value in scene(d, 4, seed=2, scenes=1, cells=7).items()}

    def function(*values):
        options = {**OPTIONS, "spacing": 1 / 7, "gravity": (0.0,) * (d - 1) + (-3.0,)}
        return tuple(kernels.mpm_step(*values[:5], force=values[5], cells=7, wall=wall, layers=3, **options))

    with kernels.backend("cpu"):
        assert torch.autograd.gradcheck(function, tuple(s.values()), eps=1e-7, atol=1e-5, rtol=1e-4, fast_mode=d == 3)


def test_walls_stop_what_moves_into_them():
    x = torch.tensor([[[1.0, 6.0], [10.0, 6.0], [6.0, 1.0]]], dtype=torch.float64) / 12
    v = torch.tensor([[[-1.0, 2.0], [3.0, 4.0], [5.0, -6.0]]], dtype=torch.float64)
    one = torch.eye(2, dtype=torch.float64).expand(1, 3, 2, 2)
    inputs = (x, v, 0 * one, one, 0 * one)
    slip = kernels.mpm_step(*inputs, cells=12, layers=3, **OPTIONS).v[0]
    assert torch.allclose(slip, torch.tensor([[0.0, 2.0], [0.0, 4.0], [5.0, 0.0]], dtype=torch.float64), atol=1e-12)
    stick = kernels.mpm_step(*inputs, cells=12, wall="stick", layers=3, **OPTIONS).v[0]
    assert float(stick.abs().max()) == 0


@pytest.mark.parametrize("word", ["cpu", "reference"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0, 0.0, 12.0, 1e30])
def test_a_bad_position_is_refused_with_scene_and_particle_before_it_indexes(bad, word):
    s = scene(2)
    s["x"][1, 7, 0] = bad
    with kernels.backend(word), pytest.raises(ValueError, match="scene 1, particle 7"):
        kernels.mpm_step(**s, cells=12, **OPTIONS)


@pytest.mark.parametrize("name", ["v", "C", "tau", "force", "F"])
def test_other_values_that_are_not_finite_are_refused(name):
    for d in (2, 3):
        s = scene(d)
        s[name].view(2, 30, -1)[1, 7, 0] = float("nan")
        with pytest.raises(ValueError, match="finite"):
            kernels.mpm_step(**s, cells=12, **OPTIONS)


def test_bad_arguments_are_refused_in_words():
    s = scene(2)
    for name, change in {
        "cells": {"cells": 3},
        "v": {"v": s["v"][:, :3]},
        "tau": {"tau": s["tau"].float()},
        "mass": {"mass": -1.0},
        "wall": {"wall": "none"},
        "gravity": {"gravity": (1.0, 2.0, 3.0)},
        "x": {"x": s["x"].half()},
        "dt": {"dt": 0.0},
        "layers": {"layers": 7},
    }.items():
        with pytest.raises((ValueError, TypeError), match=name):
            kernels.mpm_step(**{**s, "cells": 12, **OPTIONS, **change})


def test_scenes_do_not_touch_each_other_and_any_layout_is_taken():
    s = scene(2, scenes=3)
    together = kernels.mpm_step(**s, cells=12, **OPTIONS)
    for k in range(3):
        alone = kernels.mpm_step(**{name: value[k : k + 1] for name, value in s.items()}, cells=12, **OPTIONS)
        assert all(torch.equal(a[0], b[k]) for a, b in zip(alone, together))
    turned = {name: value.transpose(0, 1).contiguous().transpose(0, 1) for name, value in s.items()}
    assert torch.equal(kernels.mpm_step(**turned, cells=12, **OPTIONS).x, together.x)
    arrays = {name: value.numpy() for name, value in s.items()}
    assert torch.equal(kernels.mpm_step(**arrays, cells=12, **OPTIONS).x, together.x)


LAWS = [
    ("corotated", "none"),
    ("neo-hookean", "none"),
    ("hencky", "von-mises"),
    ("hencky", "drucker-prager"),
    ("fluid", "fluid"),
]


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize(("elastic", "plastic"), LAWS)
def test_the_compiled_loop_equals_torch_with_the_same_laws(elastic, plastic, d):
    from lab.physics import continuum

    mu, lam = 400.0, 300.0
    made = {
        "corotated": continuum.Corotated, "neo-hookean": continuum.NeoHookean, "hencky": continuum.Hencky,
        "fluid": continuum.Fluid,
    }[elastic](mu, lam)  # fmt: skip
    flow = {
        "none": None, "von-mises": continuum.VonMises(mu, 8.0), "drucker-prager": continuum.DruckerPrager(mu, lam, 30.0),
        "fluid": continuum.Fluidity(),
    }[plastic]  # fmt: skip
    box = continuum.Scene(12, 1 / 12, 1e-3, density=1000.0, volume=1e-3, gravity=(0.0,) * (d - 1) + (-9.8,))
    state = continuum.start(scene(d, 40)["x"], (0.5,) * d, spin=8.0)
    torch_way = continuum.rollout(state, made, flow, box, 20)
    fast = continuum.record(state, made, flow, box, 20, every=10)
    assert fast.x.shape == (3, 2, 40, d)
    assert torch.allclose(fast.x[-1], torch_way.last.x, atol=1e-9)
    assert torch.allclose(fast.F[-1], torch_way.last.F, atol=1e-6)
    assert torch.allclose(fast.x[1], torch_way.x[10], atol=1e-9)


def test_single_precision_follows_double():
    found = {}
    for dtype in (torch.float32, torch.float64):
        s = scene(2, 200, dtype=torch.float64)
        law = kernels.ClosedLaw("corotated", 400.0, 300.0)
        one = torch.eye(2).expand(2, 200, 2, 2)
        state = [value.to(dtype) for value in (s["x"], 0.1 * s["v"], 0 * s["C"], one)]
        found[dtype] = kernels.mpm_roll(*state, law, 100, 100, cells=12, **OPTIONS).x[-1].double()
    assert float((found[torch.float32] - found[torch.float64]).abs().max()) < 2e-5


def test_a_roll_names_the_limit_of_its_step_and_where_it_blew_up():
    s = scene(2)
    law = kernels.ClosedLaw("corotated", 4e6, 3e6)
    one = torch.eye(2, dtype=torch.float64).expand(2, 30, 2, 2)
    state = (s["x"], s["v"], 0 * s["C"], one)
    with pytest.raises(ValueError, match="dt must be at most .* pressure wave"):
        kernels.mpm_roll(*state, law, 10, cells=12, **{**OPTIONS, "dt": 0.05})
    with pytest.raises(ValueError, match=r"step \d+: x must lie inside"):
        kernels.mpm_roll(s["x"], 300 * s["v"], *state[2:], law, 100, cells=12, layers=0, **OPTIONS)
    with pytest.raises(ValueError, match="multiple"):
        kernels.mpm_roll(*state, law, 10, 3, cells=12, **OPTIONS)
    with pytest.raises(ValueError, match="material"):
        kernels.mpm_roll(*state, [law, law], 10, cells=12, **OPTIONS)


def test_materials_of_one_scene_are_told_apart():
    s = scene(2)
    one = torch.eye(2, dtype=torch.float64).expand(2, 30, 2, 2) * 1.05
    state = (s["x"], 0 * s["v"], 0 * s["C"], one)
    soft, hard = kernels.ClosedLaw("corotated", 1.0, 1.0), kernels.ClosedLaw("corotated", 400.0, 300.0)
    which = torch.arange(30) % 2
    both = kernels.mpm_roll(*state, [soft, hard], 5, 5, cells=12, material=which, **OPTIONS)
    for law in (soft, hard):
        alone = kernels.mpm_roll(*state, law, 5, 5, cells=12, **OPTIONS)
        assert not torch.allclose(alone.v[-1], both.v[-1], atol=1e-6)
    swapped = kernels.mpm_roll(*state, [hard, soft], 5, 5, cells=12, material=1 - which, **OPTIONS)
    assert torch.equal(swapped.x, both.x)
    assert np.isfinite(both.x.numpy()).all()
