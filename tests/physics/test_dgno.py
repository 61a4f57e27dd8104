"""Weak forms, networks and their derivatives, exact and finite-element references, a sampler with known answers, own data."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.physics import dgno as D
from lab.physics import hmc

DATA = Path(__file__).parents[2] / "data" / "samples"


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def small(problem, n=8, **changes):
    return D.DGNO(problem, n, **{"latent": 3, "width": 8, "depth": 2, "layers": 2, "hidden": 8, **changes})


@pytest.mark.parametrize("d", [1, 2, 3])
def test_test_functions_are_smooth_with_the_gradient_that_they_state(d):
    test = D.WendlandTest(d, 0.3)
    y = 0.2 * (2 * torch.rand(20, d, generator=draw(), dtype=torch.float64) - 1)
    y.requires_grad_()
    value, slope = test(y)
    (exact,) = torch.autograd.grad(value.sum(), y)
    assert torch.allclose(slope, exact, atol=1e-10)
    edge, steep = test(torch.eye(d, dtype=torch.float64) * torch.tensor(0.3))
    assert float(edge.abs().max()) < 1e-20 and float(steep.abs().max()) < 1e-20
    assert float(test(torch.zeros(1, d, dtype=torch.float64))[0]) == 1.0


@pytest.mark.parametrize("d", [1, 2])
def test_the_weak_form_of_a_smooth_flux_is_its_divergence_and_converges_with_the_points(d):
    def flux(x):
        return torch.stack([torch.sin(2 * x.sum(-1) + i) for i in range(d)], -1)

    def source(x):
        return -sum(2 * torch.cos(2 * x.sum(-1) + i) for i in range(d))

    centres, test = 0.3 + 0.4 * torch.rand(10, d, generator=draw(), dtype=torch.float64), D.WendlandTest(d, 0.1)
    gaps = []
    for n in (7, 15, 31):
        left, right = D.weak_residual(flux, source, centres, test, n)
        gaps.append(float((left - right).abs().max() / right.abs().max()))
    assert gaps[0] > gaps[1] > gaps[2] and gaps[1] < 1e-3 and gaps[2] < 1e-6


def test_the_lattice_residual_of_a_flux_with_the_right_divergence_vanishes_inside_and_at_the_edge_in_the_mean_over_shifts():
    points, test, total = 40, D.WendlandTest(2, 0.2), 0.0
    for i in range(8):
        for j in range(8):
            x = D.lattice(points, 2, torch.tensor([(i + 0.5) / 8, (j + 0.5) / 8])).double()
            s = torch.stack([x[:, 0] / 2 + x[:, 1], x[:, 1] / 2 - x[:, 0]])[None]  # divergence 1
            right, weight = D.lattice_residual(x, s, -1.0, test)
            wrong, _ = D.lattice_residual(x, s, 0.0, test)
            assert float(right[:, (x - 0.5).norm(dim=1) < 0.1].abs().max()) < 2e-3
            assert torch.allclose(
                wrong - right, -torch.ones_like(right), atol=1e-9
            )  # they differ by the source, everywhere
            total = total + right * weight / weight.mean() / 64
    single = float((right * weight / weight.mean()).abs().max())
    assert float(total.abs().max()) < 0.06 and float(total.abs().mean()) < 5e-3 and single > 0.1


def test_derivatives_of_the_trunk_are_those_of_autograd():
    net = D.MultiONet(2, 3, 2, width=6, depth=3, layers=2, seeds=(0, 1)).double()
    x = torch.rand(5, 2, generator=draw(), dtype=torch.float64)
    features, slope, curve = net.trunk(x, 2)
    for model, j in ((0, 0), (0, 7), (1, 11)):

        def one(p, model=model, j=j):
            return net.trunk(p[None])[0][model, 0, j]

        exact = torch.stack([torch.autograd.functional.jacobian(one, q) for q in x])
        hessian = torch.stack([torch.autograd.functional.hessian(one, q) for q in x])
        assert torch.allclose(slope[model, :, :, j].T, exact, atol=1e-9)
        assert torch.allclose(curve[model, :, j], hessian.diagonal(dim1=1, dim2=2).sum(1), atol=1e-8)
    assert features.shape == (2, 5, 12)


def test_one_layer_is_deeponet_and_models_side_by_side_equal_each_alone():
    x, beta = torch.rand(4, 1, generator=draw()), torch.rand(2, 3, 5, generator=draw(1))
    both = D.MultiONet(1, 5, 2, width=6, depth=3, layers=1, seeds=(0, 1))
    alone = D.MultiONet(1, 5, 2, width=6, depth=3, layers=1, seeds=(1,))
    assert torch.allclose(both(x, beta)[1:], alone(x, beta[1:]), atol=1e-6)
    inner = (both.branch(beta)[:, :, :, None] * both.trunk(x)[0][:, None, None]).sum(-1)
    assert torch.allclose(both(x, beta), inner, atol=1e-6)  # offsets start at 0


@pytest.mark.parametrize("d", [1, 2])
def test_the_factor_keeps_the_solution_zero_on_the_boundary(d):
    model = small(D.Darcy(d))
    x = torch.rand(20, d, generator=draw())
    x[::2, 0], x[1::2, -1] = 0.0, 1.0
    u = model.solution(torch.randn(1, 4, 3, generator=draw(1)), x).detach()
    inside = model.solution(torch.randn(1, 4, 3, generator=draw(1)), torch.full((1, d), 0.4)).detach()
    assert float(u.abs().max()) < 1e-6 < float(inside.abs().max())
    x = torch.rand(6, d, generator=draw(2), dtype=torch.float64).requires_grad_()
    m, slope = D.bubble(x)
    assert torch.allclose(torch.autograd.grad(m.sum(), x)[0].T, slope, atol=1e-12)


def test_residuals_vanish_on_an_exact_solution_and_gradients_are_right():
    problem, x = D.Darcy(1, (1.0, 4.0), source=2.0), D.lattice(9, 1).double()
    # u = x (1 - x) for a = 1: g = u/(scale m), s = 1 - 2 x
    u, slope, m = x[:, 0] * (1 - x[:, 0]), 1 - 2 * x[:, 0], D.bubble(x)
    g = u / (problem.scale[0] * m[0])
    turned = (slope - problem.scale[0] * m[1][0] * g) / (problem.scale[0] * m[0])
    raw = torch.stack([g, slope / problem.scale[1]])[None, :, None]
    a = torch.ones(1, 1, 9, dtype=torch.float64)
    assert float(problem.local(x, a, raw, turned[None, None, None]).abs().max()) < 1e-12
    model = small(D.Darcy(2)).double()
    parameters = [model.decoder.trunks[0], model.decoder.branches[1], model.decoder.weights]
    fields = torch.tensor([0.5, 1.0], dtype=torch.float64)[torch.randint(2, (1, 2, 8, 8), generator=draw())]

    def value(*_):
        return D.loss(model, fields, draw(3), test=D.WendlandTest(2, 0.3), points=9)

    try:
        torch.set_default_dtype(torch.float64)
        assert torch.autograd.gradcheck(value, parameters, fast_mode=True, atol=1e-5)
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_reference_on_a_line_is_exact_and_on_a_square_that_of_finite_elements():
    a = torch.tensor([[1.0, 1, 5, 5, 1, 5, 5, 5]], dtype=torch.float64)
    u, n = D.reference(a)[0], 8
    x = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    assert float(u[0]) == 0 and abs(float(u[-1])) < 1e-15
    flux = a[0] * u.diff() * n  # the mean of s over a cell is s in its middle: s' = -1 without a jump
    assert torch.allclose(flux.diff() * n, -torch.ones(n - 1, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(D.reference(torch.ones(1, n))[0], x * (1 - x) / 2, atol=1e-12)
    import skfem
    from skfem.helpers import dot, grad

    field = 0.5 + torch.rand(1, 4, 4, generator=draw(), dtype=torch.float64)
    mesh = skfem.MeshQuad.init_tensor(np.linspace(0, 1, 17), np.linspace(0, 1, 17))
    basis = skfem.Basis(mesh, skfem.ElementQuad1())
    values = field[0].numpy()[tuple((basis.global_coordinates().value * 4).astype(int).clip(0, 3))]
    stiff = skfem.BilinearForm(lambda u, v, w: w.a * dot(grad(u), grad(v))).assemble(basis, a=values)
    load = skfem.LinearForm(lambda v, w: 2.0 * v).assemble(basis)
    theirs = skfem.solve(*skfem.condense(stiff, load, D=basis.get_dofs()))
    ours = D.reference(field, source=2.0, refine=4)[0]
    for i, j in ((1, 2), (3, 1), (2, 2)):
        at = int(np.abs(mesh.p - np.array([[i / 4], [j / 4]])).sum(0).argmin())
        assert float(ours[i, j]) == pytest.approx(theirs[at], rel=1e-9)


def test_burgers_reference_follows_a_decaying_mode_and_its_flux_is_conserved():
    x = (torch.arange(32) + 0.5) / 32
    small_wave = 1e-3 * torch.sin(math.pi * x)[None]
    u = D.burgers(small_wave, 0.1)[0]
    exact = 1e-3 * math.exp(-0.1 * math.pi**2) * math.sin(math.pi / 2)
    assert u.shape == (33, 33) and float(u[16, -1]) == pytest.approx(exact, rel=1e-2)
    assert float(u[0].abs().max()) == 0


def test_the_sampler_draws_from_a_linear_gaussian_posterior():
    g = draw(0)
    A = torch.randn(6, 3, generator=g, dtype=torch.float64)
    y, noise = torch.randn(6, generator=g, dtype=torch.float64), 0.5
    precision = torch.eye(3, dtype=torch.float64) + A.T @ A / noise**2
    cover = torch.linalg.inv(precision)
    mean = cover @ A.T @ y / noise**2

    def density(z):
        return -((y - z @ A.T) ** 2).sum(-1) / (2 * noise**2) - z.square().sum(-1) / 2

    found = hmc.sample(density, torch.zeros(40, 3, dtype=torch.float64), warmup=150, draws=150, leapfrog=6)
    z = found.z.flatten(0, 1)
    assert torch.allclose(z.mean(0), mean, atol=0.05)
    assert torch.allclose(z.T.cov(), cover, atol=0.12 * float(cover.diagonal().max()))
    assert 0.6 < float(found.acceptance.mean()) < 0.98
    assert float(hmc.split_r_hat(found.z).max()) < 1.05
    with pytest.raises(ValueError, match="log density at start"):
        hmc.sample(lambda z: z.sum(-1) / 0, torch.zeros(2, 3))


@pytest.mark.parametrize("problem", [D.Darcy(1, (0.2, 1.0)), D.Darcy(2, (0.5, 0.7, 1.0)), D.Darcy(2, None), D.Burgers()],
                         ids=["line", "three phases", "smooth", "Burgers"])  # fmt: skip
def test_training_without_labels_lowers_the_loss_and_keeps_the_operator_in_a_file(problem, tmp_path):
    n, g = 8, draw(0)
    shape = (20, *[n] * problem.inner)
    if problem.phases:
        a = torch.tensor(problem.phases)[torch.randint(len(problem.phases), shape, generator=g)]
    else:
        a = 0.5 + torch.rand(shape, generator=g)
    model = small(problem, n, seeds=(0, 1))
    losses = D.train(model, a, steps=25, rate=1e-2, points=10, radius=0.3)
    assert losses.shape == (25, 2) and bool((losses[-5:].mean(0) < losses[:5].mean(0)).all())
    D.save_operator(model, tmp_path / "m.pt")
    x = D.corners(n, problem.d)
    assert torch.equal(D.load_operator(tmp_path / "m.pt").predict(a, x), model.predict(a, x))


@pytest.mark.slow
def test_a_short_training_learns_the_solution_and_the_inverse_finds_the_jump():
    n, g = 16, draw(0)
    x = (torch.arange(n) + 0.5) / n
    a = torch.where(x > 0.1 + 0.8 * torch.rand(400, 1, generator=g), 1.0, 0.2)
    model = D.fit_operator(a, steps=600, latent=4, width=24, points=32, radius=0.2, rate=1e-2, physics=5.0)
    assert model.problem.phases == pytest.approx((0.2, 1.0))
    places, test = D.corners(n, 1), a[:20]
    u = D.reference(test)[:, 1:-1]
    error = ((model.predict(test, places)[0] - u).norm(dim=1) / u.norm(dim=1)).mean()
    mean = ((u.mean(0) - u).norm(dim=1) / u.norm(dim=1)).mean()
    assert float(error) < 0.5 * float(mean)
    own = D.invert(model, places[::3], u[:3, ::3], noise=0.005, warmup=60, draws=40)
    guess = own.probabilities(D.lattice(n, 1))[0, 1] > 0.5
    assert float((guess != (test[:3] > 0.5)).double().mean()) < 0.1
    assert all(p.requires_grad is False for p in model.parameters())


def test_own_tables_are_read_and_predict_in_a_new_process(tmp_path):
    model = small(D.Darcy(1))
    D.save_operator(model, tmp_path / "m.pt")
    (tmp_path / "s.csv").write_text("x,u\n0.1,0.02\n0.4,0.1\n0.8,0.05\n")
    script = (
        "from lab import physics; m = physics.load_operator('m.pt'); "
        "p = physics.invert(m, 's.csv', noise=0.01, warmup=3, draws=2, descent=2); print(tuple(p.z.shape))"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "(2, 1, 1, 4, 3)"


def test_hostile_tables_and_bad_arguments_are_refused_in_words(tmp_path):
    model, bad = small(D.Darcy(1)), tmp_path / "s.csv"
    for text, words in (("x,y,u\n0.1,0.2,0.3\n0.2,0.3,0.4\n", "2 columns"), ("x,u\n0.1,hello\n0.2,there\n", "2 columns|numbers"),
                        ("x,u\n1.5,0.2\n0.5,0.1\n", "unit box"), ("x,u\n0.5,\n0.4,0.1\n", "finite|NaN|missing")):  # fmt: skip
        bad.write_text(text)
        with pytest.raises((ValueError, TypeError), match=words):
            D.invert(model, bad, noise=0.1)
    with pytest.raises(ValueError, match="value for each"):
        D.invert(model, torch.rand(3, 1), torch.rand(4), noise=0.1)
    with pytest.raises(ValueError, match="noise must be at least 0"):
        D.invert(model, torch.rand(3, 1), torch.rand(3), noise=-1.0)
    with pytest.raises(ValueError, match="ascending"):
        D.Darcy(2, (1.0, 0.5))
    with pytest.raises(ValueError, match="a must be positive"):
        model.predict(-torch.ones(1, 8), torch.rand(2, 1))
    with pytest.raises(ValueError, match="a must have shape"):
        model.predict(torch.ones(1, 9), torch.rand(2, 1))
    with pytest.raises(ValueError, match="a must be positive"):
        D.reference(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="layers must be at most"):
        D.MultiONet(1, 2, 1, depth=2, layers=3)
    with pytest.raises(ValueError, match="radius"):
        D.WendlandTest(2, 0.7)
    torch.save({"problem": "os.system", "arguments": {}, "form": {}, "seeds": [0], "weights": {}}, tmp_path / "m.pt")
    with pytest.raises(ValueError, match="the file's problem"):
        D.load_operator(tmp_path / "m.pt")
