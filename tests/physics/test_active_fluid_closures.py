"""Spectral solver, kinetic theory and closures: Stokes modes, growth rates, Bingham by quadrature, own data, refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lab.physics import active_fluid_closures as a
from lab.physics.spectral import Periodic, imex
from lab.physics.studies import active_fluid_closures as study
from lab.physics.studies.active_fluid_closures import Setting

DATA = Path(__file__).parents[2] / "data" / "samples"
SMOKE = Setting.of("smoke")


def test_derivatives_of_waves_are_exact():
    box = Periodic(16, 2.0)
    x, y = box.points()
    f = torch.sin(torch.pi * x) * torch.cos(2 * torch.pi * y)
    fx, fy = box.gradient(f)
    assert torch.allclose(fx, torch.pi * torch.cos(torch.pi * x) * torch.cos(2 * torch.pi * y), atol=1e-12)
    assert torch.allclose(fy, -2 * torch.pi * torch.sin(torch.pi * x) * torch.sin(2 * torch.pi * y), atol=1e-12)
    assert torch.allclose(box.laplacian(f), -5 * torch.pi**2 * f, atol=1e-10)
    high = torch.cos(7 * torch.pi * x)
    assert float(box.dealias(f + high).sub(f).abs().max()) < 1e-12


def test_stokes_flow_of_one_mode_solves_the_equation():
    box = Periodic(24, 3.0)
    x, y = box.points()
    k = 2 * torch.pi / 3
    stress = torch.complex(torch.sin(k * x + 2 * k * y), torch.cos(k * y))
    u, v, w, e = box.stokes(stress)
    ux, uy = box.gradient(u)
    vx, vy = box.gradient(v)
    assert float((ux + vy).abs().max()) < 1e-12
    assert torch.allclose(w, vx - uy, atol=1e-12)
    assert torch.allclose(e, torch.complex(ux, (uy + vx) / 2), atol=1e-12)
    (sx, sy), (tx, ty) = box.gradient(stress.real), box.gradient(stress.imag)
    curl = box.gradient(-box.laplacian(v) - (tx - sy))[0] - box.gradient(-box.laplacian(u) - (sx + ty))[1]
    assert float(curl.abs().max()) < 1e-9


def test_the_stepper_is_of_second_order_and_names_the_step_of_a_blow_up():
    box = Periodic(4, 1.0)
    state = torch.ones(1, 4, 4, dtype=torch.float64)
    errors = []
    for steps in (20, 40):
        end = imex(lambda y: -(y**2), torch.zeros(4, 4, dtype=torch.float64), box, state, 1 / steps, steps, steps)[-1]
        errors.append(float((end - 0.5).abs().max()))
    assert errors[0] / errors[1] > 3.4
    with pytest.raises(ValueError, match=r"step \d+: the field blows up"):
        imex(lambda y: 50 * y**2, torch.zeros(4, 4, dtype=torch.float64), box, state, 0.1, 50)
    lost = torch.zeros(2, dtype=torch.bool)
    two = torch.cat([state, 0 * state])
    found = imex(lambda y: 50 * y**2, torch.zeros(4, 4, dtype=torch.float64), box, two, 0.1, 50, lost=lost)
    assert lost.tolist() == [True, False] and bool(torch.isfinite(found).all())


def test_uniform_order_grows_at_zeta_less_four_rotational_diffusions():
    fluid = a.ActiveFluid(0.0, 1.4, n=4, dt=1e-3, dtype=torch.float64)
    f = torch.zeros(1, 8, 4, 4, dtype=torch.complex128)
    f[:, 0] = 1e-6
    end = a.roll(fluid, f, 200, 200)[-1][0, 0, 0, 0]
    assert float(end.real.log() - np.log(1e-6)) / 0.2 == pytest.approx(1.4 - 0.8, abs=1e-3)


def test_isotropic_fluid_without_activity_stays_isotropic():
    fluid = a.ActiveFluid(n=8)
    f = torch.zeros(1, 4, 8, 8, dtype=torch.complex64)
    assert float(a.roll(fluid, f, 20, 20)[-1].abs().max()) == 0
    assert float(a.roll(fluid, f[:, :1], 20, 20, closure=a.Bingham())[-1].abs().max()) == 0


@pytest.mark.parametrize("xi", [0.01, 0.5, 2.0, 8.0, 40.0])
def test_bingham_is_the_moment_of_its_density(xi):
    theta = torch.linspace(0, 2 * torch.pi, 4001, dtype=torch.float64)[:-1]
    density = torch.exp(xi * (torch.cos(2 * (theta - 0.4)) - 1))
    density = density / density.sum()
    a2, a4 = ((density * torch.exp(1j * k * theta)).sum() for k in (2, 4))
    assert abs(complex(a.Bingham()(a2, None) - a4)) < 1e-5


def test_steady_states_of_aligning_rods_are_bingham_states():
    fluid = a.ActiveFluid(0.0, 1.4, beta=0.0, n=4, harmonics=12, dt=0.02, dtype=torch.float64)
    f = torch.zeros(1, 12, 4, 4, dtype=torch.complex128)
    f[:, 0] = 0.1
    end = a.roll(fluid, f, 3000, 3000)[-1]
    assert float(end[0, 0].abs().max()) > 0.3
    assert float((a.Bingham()(end[:, 0], None) - end[:, 1]).abs().max()) < 1e-6


@pytest.mark.parametrize("name", a.CLOSURES)
def test_closures_are_differentiable_at_isotropy_and_stack_models(name):
    law = a.CLOSURES[name](4, (1, 2)).double()
    draw = torch.Generator().manual_seed(0)
    a2, e = (0.3 * torch.randn(4, 6, 6, generator=draw, dtype=torch.complex128) for _ in range(2))
    a2[:, 0, 0] = 0
    both = law(a2, e)
    for k, seed in enumerate((1, 2)):
        alone = a.CLOSURES[name](4, (seed,)).double()(a2[2 * k : 2 * k + 2], e[2 * k : 2 * k + 2])
        assert torch.allclose(alone, both[2 * k : 2 * k + 2])
    a2.requires_grad_()
    (slope,) = torch.autograd.grad(law(a2, e).abs().square().sum(), a2)
    assert bool(torch.isfinite(torch.view_as_real(slope)).all())


def test_gradient_through_the_coarse_solver_equals_differences():
    fluid = a.ActiveFluid(n=6, dt=0.05, dtype=torch.float64)
    first = a.disturbed(fluid, 1, 0, 0.3)[:, :1]
    target = a.disturbed(fluid, 1, 1, 0.3)[:, 0]

    def loss(alpha, zeta):
        windows = torch.stack([first[:, 0], target, target, target])
        return a.rollout_loss(a.ActiveFluid(alpha, zeta, n=6, dt=0.05, dtype=torch.float64), a.Bingham(), windows)

    point = tuple(torch.tensor([[[x]]], dtype=torch.float64, requires_grad=True) for x in (-3.0, 0.9))
    assert torch.autograd.gradcheck(loss, point, eps=1e-6, atol=1e-7, rtol=1e-3)


def test_own_moments_give_a_closure_that_is_saved_and_loaded(tmp_path):
    fluid = a.ActiveFluid(-3.5, 1.0, n=24)
    law = a.fit_closure(DATA / "active_fluid.npz", fluid, dt=0.2, steps=4, width=8)
    torch.save(law.state_dict(), tmp_path / "closure.pt")
    again = a.InvariantClosure(8)
    again.load_state_dict(torch.load(tmp_path / "closure.pt", weights_only=True))
    a2 = torch.complex(torch.rand(1, 5, 5), torch.zeros(1, 5, 5))
    assert torch.equal(law(a2), again(a2))
    start = a.second_moment(np.load(DATA / "active_fluid.npz")["D"]).to(torch.complex64)[:1, None]
    assert torch.isfinite(a.roll(fluid, start, 20, 20, closure=again)[-1].abs()).all()


def test_bad_moments_are_refused_in_words(tmp_path):
    D = np.load(DATA / "active_fluid.npz")["D"]
    fluid = a.ActiveFluid(-3.5, 1.0, n=24)
    odd = D.copy()
    odd[..., 0, 1] += 0.1
    wild = D.copy()
    wild[..., 0, 0] += 2
    wild[..., 1, 1] -= 2
    hole = D.copy()
    hole[0, 0, 0] = np.nan
    for value, words in ((odd, "symmetric"), (wild, "at most 1"), (2 * D, "trace"), (hole, "finite"), (D[:2], "frames"),
                         (D[..., 0], "shape"), (D[:, :8, :8], "grid")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            a.fit_closure(value, fluid, 0.2, steps=1)
    with pytest.raises(ValueError, match="multiple"):
        a.fit_closure(D, fluid, 0.03, steps=1)
    np.savez(tmp_path / "wrong.npz", E=D)
    with pytest.raises(ValueError, match="'D'"):
        a.fit_closure(tmp_path / "wrong.npz", fluid, 0.2)
    np.savez(tmp_path / "objects.npz", D=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="[Oo]bject|pickle"):
        a.fit_closure(tmp_path / "objects.npz", fluid, 0.2)
    with pytest.raises(ValueError, match="moment"):
        a.roll(fluid, torch.zeros(1, 3, 24, 24, dtype=torch.complex64), 1, closure=a.Bingham())


def test_a_study_says_what_it_found(tmp_path):
    result = study.run(SMOKE, seeds=(0, 1))
    assert set(result.errors) == {"Bingham", "quadratic", *a.CLOSURES}
    assert all(values.shape == (2,) for values in result.errors.values())
    assert float(result.errors["strain"].mean()) < float(result.errors["quadratic"].mean())
    result.save(tmp_path / "errors.csv")
    assert len(study.Result.load(tmp_path / "errors.csv")) == 7
