"""The exact adversary against brute force and its optimality conditions, the flow, its gradient, own equations, refusals."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from lab.physics import aas
from lab.physics.residuals import Box

PLANE = (2.0, 1.0)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bumps(n=16, seed=0):
    return noise(n, n, seed=seed).square() * torch.linspace(0, 1, n, dtype=torch.float64) ** 3


def objective(p, r2, size, beta):
    return float((r2 * p).mean() - beta * aas.smoothness(p, size))


@pytest.mark.parametrize("size", [(2.0,), PLANE, (1.0, 2.0, 0.5)])
def test_closed_form_is_the_maximum_and_has_the_value_of_the_norm(size):
    r2 = noise(*[7] * len(size)).square()
    found = aas.adversary(r2, size, kappa=1.2)
    _, square = aas.potential(r2, size)
    value = r2.mean() + square / (4 * found.beta)
    assert float((found.value - value).abs() / value) < 1e-12
    assert float(found.density.mean()) == pytest.approx(1, abs=1e-12) and float(found.density.min()) >= 0
    for seed in range(3):
        push = noise(*r2.shape, seed=seed + 1)
        other = found.density + 1e-3 * (push - push.mean())
        assert objective(other, r2, size, float(found.beta)) < float(found.value)


def test_the_potential_of_a_cosine_is_the_cosine_over_its_eigenvalue():
    n, side = 200, 2.0
    x = (torch.arange(n, dtype=torch.float64) + 0.5) / n * side
    w, square = aas.potential(3 + torch.cos(torch.pi * x / side), (side,))
    assert torch.allclose(w, torch.cos(torch.pi * x / side) * (side / torch.pi) ** 2, atol=1e-4)
    assert float(square) == pytest.approx(0.5 * (side / np.pi) ** 2, rel=1e-4)


def test_the_obstacle_problem_is_solved_as_by_a_general_quadratic_programme():
    from scipy.optimize import minimize

    r2 = bumps(5, seed=2)
    found = aas.adversary(r2, PLANE, kappa=0.2)

    def cost(p):
        p = torch.tensor(p, dtype=torch.float64, requires_grad=True)
        total = -((r2 * p.reshape(5, 5)).mean() - found.beta * aas.smoothness(p.reshape(5, 5), PLANE))
        (gradient,) = torch.autograd.grad(total, p)
        return float(total.detach()), gradient.numpy()

    best = minimize(cost, np.ones(25), jac=True, method="SLSQP", bounds=[(0, None)] * 25,
                    constraints={"type": "eq", "fun": lambda p: p.mean() - 1, "jac": lambda p: np.full(25, 1 / 25)},
                    options={"maxiter": 1000, "ftol": 1e-14})  # fmt: skip
    assert np.allclose(found.density.numpy().ravel(), best.x, atol=1e-4)
    assert float(found.value) >= -best.fun - 1e-10


@pytest.mark.parametrize("kappa", [0.9, 0.3, 0.03, 0.001])
@pytest.mark.parametrize("seed", range(3))
def test_optimality_conditions_hold_and_clipping_is_worse(kappa, seed):
    r2 = torch.stack([bumps(seed=seed), bumps(seed=seed + 9)])
    found = aas.adversary(r2, PLANE, kappa=kappa)
    p = found.density
    assert float(p.min()) >= 0 and torch.allclose(p.mean((1, 2)), torch.ones(2, dtype=torch.float64))
    p = p.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(((r2 * p).mean((1, 2)) - found.beta * aas.smoothness(p, PLANE)).sum(), p)
    gradient = gradient * r2[0].numel()
    for g, q in zip(gradient, p.detach()):
        level = g[q > 0]
        assert float(level.max() - level.min()) < 1e-9 * float(g.abs().max())  # the same where p > 0
        assert float(g.max() - level.mean()) < 1e-9 * float(g.abs().max())  # and not larger where p = 0
    w, _ = aas.potential(r2, PLANE)
    clipped = (1 + w / (2 * found.beta[:, None, None])).clamp_min(0)
    clipped = clipped / clipped.mean((1, 2), keepdim=True)
    assert objective(clipped[0], r2[0], PLANE, float(found.beta[0])) < float(found.value[0])


def test_at_fixed_beta_the_adversary_fades_with_the_residual_at_fixed_kappa_it_does_not():
    r2 = bumps()
    beta = float(aas.adversary(r2, PLANE, kappa=1.0).beta)
    strong, weak = aas.adversary(r2, PLANE, beta=beta), aas.adversary(r2 / 100, PLANE, beta=beta)
    assert torch.allclose(weak.density - 1, (strong.density - 1) / 100)
    scaled = [aas.adversary(factor * r2, PLANE, kappa=0.3).density for factor in (1.0, 0.01)]
    assert torch.allclose(*scaled, atol=1e-9)
    flat = aas.adversary(torch.ones(4, 4), PLANE, kappa=0.1)
    assert torch.equal(flat.density, torch.ones(4, 4, dtype=torch.float64))


def test_points_follow_the_density_of_the_cells():
    p = torch.tensor([[[0.0, 2.0], [1.0, 1.0]]], dtype=torch.float64)
    x = aas.cells(p, Box((0, 0), (2, 2)), 8000, [torch.Generator().manual_seed(0)])[0]
    shares = [float(((x[:, 0] >= i) & (x[:, 0] < i + 1) & (x[:, 1] >= j) & (x[:, 1] < j + 1)).double().mean())
              for i in (0, 1) for j in (0, 1)]  # fmt: skip
    assert shares == pytest.approx([0, 0.5, 0.25, 0.25], abs=0.02)


def stirred(d, seeds=(0, 1), size=0.3):
    flow = aas.CouplingFlow(d, width=8, seeds=seeds).double()
    for k, p in enumerate(flow.parameters()):
        p.data = p.data + size * noise(*p.shape, seed=k)
    return flow


@pytest.mark.parametrize("d", [2, 3, 5])
def test_the_flow_inverts_and_its_density_is_the_determinant(d):
    flow = stirred(d)
    u = torch.rand(2, 40, d, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
    y, log = flow(u)
    back, again = flow.inverse(y)
    assert torch.allclose(back, u, atol=1e-7) and torch.allclose(log, again, atol=1e-7)
    one = u[:, :1]
    jacobian = torch.autograd.functional.jacobian(lambda v: flow(v)[0].sum(0)[0], one)[:, :, 0]
    for model in range(2):
        assert -float(torch.linalg.slogdet(jacobian[:, model].detach())[1]) == pytest.approx(
            float(log[model, 0].detach()), abs=1e-8
        )


def test_an_untrained_flow_is_uniform_and_a_stirred_one_integrates_to_one():
    assert float(aas.CouplingFlow(3)(torch.rand(1, 9, 3))[1].detach().abs().max()) < 1e-5
    y = Box((0, 0), (1, 1)).centres(200).double()[None].expand(2, -1, -1)
    assert torch.allclose(
        stirred(2, size=0.2).log_density(y).exp().mean(1), torch.ones(2, dtype=torch.float64), atol=5e-3
    )


def test_the_score_function_gradient_is_that_of_the_integral():
    flow, n = stirred(2, (0,), 0.1), 150
    y = Box((0, 0), (1, 1)).centres(n).double()[None]
    r2 = torch.exp(-20 * ((y - 0.6) ** 2).sum(-1))
    parameters = list(flow.parameters())
    integral = torch.autograd.grad((flow.log_density(y).exp() * r2).mean(), parameters)
    log = flow.log_density(y)
    p = log.detach().exp()
    score = torch.autograd.grad((p * (r2 - (p * r2).mean()) * log).mean(), parameters)
    wanted, found = (torch.cat([g.flatten() for g in each]) for each in (integral, score))
    assert float((wanted - found).norm() / wanted.norm()) < 0.01
    draw = torch.rand(1, 50_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        points = flow(draw)[0]
    values = torch.exp(-20 * ((points - 0.6) ** 2).sum(-1))
    ours = torch.autograd.grad(-aas.score_gradient_loss(flow, points, values) * values.std(), parameters)
    ours = torch.cat([g.flatten() for g in ours])
    assert float((wanted - ours).norm() / wanted.norm()) < 0.05


def test_roughness_is_the_weighted_integral_of_the_squared_gradient():
    flow, n, size = stirred(2, (0,), 0.02), 150, (2.0, 1.0)
    y = Box((0, 0), (1, 1)).centres(n).double()[None]
    log = flow.log_density(y).detach().reshape(n, n)
    weight = (4 * y * (1 - y))[0].reshape(n, n, 2)
    slopes = [weight[..., k] * torch.gradient(log, spacing=1 / n, dim=k)[0] / size[k] for k in (0, 1)]
    wanted = float((slopes[0] ** 2 + slopes[1] ** 2).mean())
    assert float(aas.roughness(flow, y, size)) == pytest.approx(wanted, rel=0.02)


def poisson(x, u):
    return -u.laplacian - 2 * torch.pi**2 * torch.sin(torch.pi * x[..., 0]) * torch.sin(torch.pi * x[..., 1])


def test_own_equation_is_solved_saved_and_read_in_a_new_process(tmp_path):
    fitted = aas.fit_solution(poisson, ((0, 1), (0, 1)), steps=150, rate=1e-2, points=100)
    x = torch.tensor([[0.5, 0.5], [0.25, 0.5]])
    assert torch.allclose(fitted(x), torch.tensor([1.0, 0.707]), atol=0.15)
    assert fitted.samples.shape == (1000, 2) and fitted.derivatives(x).gradient.shape == (2, 2)
    fitted.save(tmp_path / "u.pt")
    code = (
        "import sys, torch; from lab.physics.aas import FittedSolution\n"
        "print(FittedSolution.load(sys.argv[1])(torch.tensor([[0.5, 0.5]])).item())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "u.pt")], capture_output=True, text=True, check=True
    )
    assert float(told.stdout) == pytest.approx(float(fitted(x)[0]), abs=1e-6)
    torch.save({"form": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="FittedSolution.save"):
        aas.FittedSolution.load(tmp_path / "other.pt")


def test_a_heat_equation_takes_weights_and_a_seed_gives_the_same_bits():
    def heat(x, u):
        return u.gradient[..., 1] - u.laplacian

    one, two = (aas.fit_solution(heat, ((0, 1), (0, 1)), weights=(1, 0), steps=45, points=20,
                                 boundary=lambda x: torch.sin(torch.pi * x[..., 0]), seed=3) for _ in range(2))  # fmt: skip
    assert torch.equal(one.losses, two.losses) and torch.equal(one.samples, two.samples)


@pytest.mark.parametrize("kind", ["flow", "exact", "uniform"])
def test_every_sampler_trains(kind):
    fitted = aas.fit_solution(poisson, ((0, 1), (0, 1)), sampler=kind, steps=85, points=20)
    assert bool(torch.isfinite(fitted.losses).all())


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: aas.adversary(torch.ones(3, 3), (1, 1)), ValueError, "one of beta and kappa"),
        (lambda: aas.adversary(-torch.ones(3, 3), (1, 1), beta=1), ValueError, "must not be negative"),
        (lambda: aas.adversary(torch.ones(3), (1, 1), beta=1), ValueError, "2 axes"),
        (lambda: aas.adversary(torch.ones(3, 3), (1, 0), beta=1), ValueError, "size must be greater"),
        (lambda: aas.adversary(torch.ones(2, 2, 2, 2), (1, 1, 1, 1), beta=1), ValueError, "number of axes"),
        (lambda: aas.adversary(torch.full((3,), torch.nan), (1,), beta=1), ValueError, "finite"),
        (lambda: aas.adversary(torch.ones(3), (1,), kappa=0), ValueError, "kappa must be greater"),
        (lambda: aas.fit_solution(poisson, ((0, 1),) * 2, kappa=-1.0), ValueError, "kappa must be greater"),
        (lambda: aas.fit_solution(poisson, ((0, 1),) * 2, points=1), ValueError, "points must be at least"),
        (lambda: aas.CouplingFlow(1), ValueError, "d must be at least 2"),
        (lambda: aas.fit_solution(poisson, ((1, 0), (0, 1))), ValueError, "below upper"),
        (lambda: aas.fit_solution(poisson, ((0, 1),) * 4, sampler="exact"), ValueError, "more than 3 dimensions"),
        (lambda: aas.fit_solution(lambda x, u: u.gradient, ((0, 1),) * 2), ValueError, "one value a point"),
        (lambda: aas.fit_solution(lambda x, u: u.value / 0, ((0, 1),) * 2), ValueError, "residual must be finite"),
        (lambda: aas.fit_solution(lambda x, u: 1.0, ((0, 1),) * 2), ValueError, "got float"),
    ],
)
def test_bad_input_is_refused_before_work_starts(call, error, words):
    with pytest.raises(error, match=words):
        call()
