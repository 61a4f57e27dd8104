"""Least-squares layers against scipy and central differences, blocks, stencils, own equations and files, refusals."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from lab.physics import pi_hc_moe as m

DATA = Path(__file__).parents[2] / "data" / "samples"
NT, NX, N = 10, 16, 4


def burgers(u, u_t, u_x, u_xx):
    return u_t + u * u_x - 0.05 * u_xx


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def system():
    return m.Equation(burgers, torch.linspace(0, 1, NT), torch.arange(NX) * 2 * torch.pi / NX)


def fronts(system, count=3, fields=N, seed=0):
    """Smooth basis fields (count, nt, nx, fields) and initial values (count, nx)."""
    c = noise(count, fields, 3, seed=seed)
    t, x = system.t[:, None], system.x
    waves = [torch.sin(x + c[b, i, 0]) * torch.exp(c[b, i, 1] * t) + torch.cos(2 * x) * c[b, i, 2] * t
             for b in range(count) for i in range(fields)]  # fmt: skip
    basis = torch.stack(waves).reshape(count, fields, NT, NX).movedim(1, -1)
    return basis, torch.sin(system.x) * (1 + 0.2 * noise(count, 1, seed=seed + 1))


SPLITS = {
    "one": {},
    "four": {"blocks": (1, 4)},
    "overlap": {"blocks": (1, 4), "overlap": (0, 2)},
    "moved": {"blocks": (2, [3, 9])},
}


def constraint(system, name="one", **options):
    return m.MoEConstraint(system, m.expert_split(system.shape, **SPLITS[name], periodic=system.axes), **options)


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("rows", ["global", "local"])
def test_the_optimum_is_that_of_scipy(system, name, rows):
    basis, initial = fronts(system)
    problem = constraint(system, name, rows=rows).problem(basis, initial)
    found = m.solve(problem, tolerance=1e-11)
    assert bool(found.converged.all())
    for k in range(len(found.weights)):
        one = problem[k : k + 1]
        theirs = least_squares(
            lambda w, one=one: one.F(torch.from_numpy(w)[None])[0].numpy(), np.zeros(N), method="lm", xtol=1e-15, ftol=1e-15,
            gtol=1e-15, jac=lambda w, one=one: one.jacobian(torch.from_numpy(w)[None])[0].numpy(),
        )  # fmt: skip
        assert np.abs(theirs.x - found.weights[k].numpy()).max() < 1e-6
        assert 2 * theirs.cost == pytest.approx(float(found.cost[k]), rel=1e-8)


def test_cost_gradient_and_hessian_are_those_of_the_stacked_rows(system):
    basis, initial = fronts(system)
    problem = constraint(system, "moved", rows="local").problem(basis, initial)
    w = noise(len(problem.fields), N, seed=4)
    assert torch.allclose(problem.cost(w), problem.F(w).square().sum(1))
    cost, g, normal, full = problem.model(w)
    one = problem[3:4]
    half = lambda v: 0.5 * one.F(v[None]).square().sum()  # noqa: E731
    assert torch.allclose(g[3], torch.autograd.functional.jacobian(half, w[3]), atol=1e-10)
    assert torch.allclose(full[3], torch.autograd.functional.hessian(half, w[3]), atol=1e-10)
    J = torch.autograd.functional.jacobian(lambda v: one.F(v[None])[0], w[3])
    assert torch.allclose(one.jacobian(w[3:4])[0], J, atol=1e-12) and torch.allclose(normal[3], J.T @ J, atol=1e-10)


@pytest.mark.parametrize("name", ["one", "overlap"])
def test_implicit_gradients_are_central_differences_and_gauss_newton_is_not(system, name):
    basis, initial = fronts(system, 2, seed=3)
    target, along = noise(2, NT, NX, seed=5), fronts(system, 2, seed=6)[0]
    layer = constraint(system, name, tolerance=1e-12)

    def loss(b, hessian="full"):
        return (layer(b, initial, hessian=hessian).u - target).square().mean()

    h = 1e-5
    wanted = float(loss(basis + h * along) - loss(basis - h * along)) / (2 * h)
    slopes = {}
    for hessian in ("full", "Gauss-Newton"):
        leaf = basis.clone().requires_grad_()
        loss(leaf, hessian).backward()
        slopes[hessian] = float((leaf.grad * along).sum())
    assert slopes["full"] == pytest.approx(wanted, rel=1e-6)
    assert abs(slopes["Gauss-Newton"] / wanted - 1) > 1e-3


def test_gradcheck_of_the_layer_in_fields_rows_and_wanted(system):
    basis, initial = fronts(system, 1)
    problem = constraint(system, "four").problem(basis, initial)

    def weights(fields, rows, wanted):
        part = m.replace(problem, fields=fields, rows=rows, wanted=wanted)
        return m.layer(part[:1], tolerance=1e-12).weights

    keep = torch.randperm(NT * NX // 4, generator=torch.Generator().manual_seed(0))[:6]
    part = m.replace(problem, fields=problem.fields[:1, :, keep], weight=problem.weight[:1, keep])
    problem = m.replace(part, rows=problem.rows[:1, :3], wanted=problem.wanted[:1, :3])
    leaves = [x.clone().requires_grad_() for x in (problem.fields, problem.rows, problem.wanted)]
    assert torch.autograd.gradcheck(weights, leaves, atol=1e-5)


def test_the_envelope_theorem_spares_the_implicit_term(system):
    basis, initial = fronts(system)
    leaf = basis.clone().requires_grad_()
    problem = constraint(system).problem(leaf, initial)
    found = m.layer(problem, tolerance=1e-12)
    (whole,) = torch.autograd.grad(problem.cost(found.weights).sum(), leaf, retain_graph=True)
    (held,) = torch.autograd.grad(problem.cost(found.weights.detach()).sum(), leaf)
    assert torch.allclose(whole, held, atol=1e-10)


def test_blocks_partition_the_grid_overlap_stays_outside_and_padding_weighs_nothing():
    split = m.expert_split((5, 7), (2, [2, 3]))
    assert len(split) == 6 and split.owner.unique().tolist() == list(range(6))
    for e in range(6):
        assert sorted(split.index[e][split.present[e]].tolist()) == (split.owner == e).nonzero().flatten().tolist()
    wide = m.expert_split((5, 7), (2, [2, 3]), overlap=(0, 1), periodic=(False, True))
    assert torch.equal(wide.owner, split.owner)
    assert sorted(set((wide.index[0][wide.present[0]] % 7).tolist())) == [0, 1, 2, 6]
    assert len(m.expert_split((4, 4, 4), (1, 2, 2))) == 4
    with pytest.raises(ValueError, match="rise strictly"):
        m.expert_split((5, 7), (1, [4, 4]))
    with pytest.raises(ValueError, match="blocks"):
        m.expert_split((5, 7), (1, 8))
    with pytest.raises(ValueError, match="one entry an axis"):
        m.expert_split((5, 7), (2,))


def test_blocks_with_their_own_rows_never_leave_more_than_the_whole(system):
    basis, initial = fronts(system)
    whole = constraint(system)(basis, initial)
    parts = constraint(system, "four", rows="local")(basis, initial)
    assert bool((parts.cost.mean(1) <= whole.cost[:, 0] + 1e-8).all())
    assert parts.u.shape == whole.u.shape == (3, NT, NX)
    jumps = m.jumps(basis, parts.weights, constraint(system, "four").split, 1, periodic=True)
    assert (jumps.abs().amax((0, 1)) > 0).nonzero().flatten().tolist() == [0, 4, 8, 12]
    first = (basis * parts.weights[:, 1][:, None, None]).sum(-1) - (basis * parts.weights[:, 0][:, None, None]).sum(-1)
    assert torch.allclose(jumps[:, :, 4], first[:, :, 4])


def test_an_expert_has_no_gradient_at_points_that_it_does_not_see(system):
    basis, initial = fronts(system, 1)
    leaf = basis.clone().requires_grad_()
    moe = constraint(system, "four", rows="local")
    found = moe(leaf, initial)
    found.weights[0, 0].sum().backward()
    touched = leaf.grad.abs().sum((0, 1, 3)) > 0
    assert touched[6:14].sum() == 0 and bool(touched[:4].all())  # the stencil reaches two points further


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("periodic", [False, True])
def test_differences_are_exact_on_quartics_and_of_fourth_order_on_waves(order, periodic):
    errors = []
    for n in (24, 48):
        x = torch.arange(n, dtype=torch.float64) * 2 * torch.pi / n
        D = m.differences(n, float(x[1]), order, periodic=periodic)
        errors.append(float((D @ torch.sin(x) - (torch.cos(x) if order == 1 else -torch.sin(x))).abs().max()))
        if not periodic:
            assert torch.allclose(D @ x**4, 4 * x**3 if order == 1 else 12 * x**2, atol=1e-8)
    assert errors[0] / errors[1] > 11
    with pytest.raises(ValueError, match="points"):
        m.differences(4, 1.0, 2)


def test_fields_of_vorticity_are_those_of_a_taylor_green_vortex():
    t = torch.linspace(0, 1, 8)
    flow = m.Vorticity(t, 16, 0.1)
    x, y = flow.box.points()
    w = 2 * torch.cos(x) * torch.cos(y) * torch.exp(-0.2 * flow.t)[:, None, None]
    fields = flow.fields(w[None, ..., None])[0, ..., 0]
    assert float(flow.residual(*fields).abs().max()) < 1e-5
    v_x, v_y = flow.velocity(w[0])
    assert torch.allclose(v_x, -torch.cos(x) * torch.sin(y), atol=1e-10)
    assert torch.allclose(v_y, torch.sin(x) * torch.cos(y), atol=1e-10)
    basis = torch.stack([w, w * 0 + torch.sin(x)], -1)[None]
    found = m.MoEConstraint(flow, m.expert_split(flow.shape, (1, 2, 2)))(basis, w[:1])
    assert torch.allclose(found.u, w[None], atol=1e-4)


def test_boundary_values_are_rows(system):
    x = torch.linspace(0, 1, 21)
    heat = m.Equation(lambda u, u_t, u_x, u_xx: u_t - u_xx, system.t, x, left=(1, 0, 1), right=(0, 1, 0.5))
    line = (1 + 0.5 * heat.x).expand(NT, -1)
    rows, wanted = heat.rows(line[None, ..., None], line[:1])
    assert torch.allclose(rows[..., 0], wanted) and len(heat.places) == rows.shape[1] == 21 + 2 * NT


def test_unconverged_solves_are_marked_and_warned_of(system):
    basis, initial = fronts(system)
    moe = constraint(system, iterations=1)
    assert not bool(moe(basis, initial).converged.any())
    with pytest.warns(m.Unconverged, match="3 of 3 solves"):
        moe(basis.requires_grad_(), initial)


def test_float32_and_networks_of_both_kinds_pass_through(system):
    basis, initial = fronts(system)
    double, single = (constraint(system)(basis.to(kind), initial.to(kind)) for kind in (torch.float64, torch.float32))
    assert single.u.dtype == torch.float32 and torch.allclose(single.u.double(), double.u, atol=1e-2)
    for kind in ("MLP", "CNN"):
        net = m.BasisOperator(11, 3, 5, kind, seeds=(0, 1))
        inputs = system.inputs(initial).float().expand(2, -1, -1, -1, -1)
        alone = m.BasisOperator(11, 3, 5, kind, seeds=(1,))(inputs[1:])
        assert net(inputs).shape == (2, 3, NT, NX, 3) and torch.allclose(net(inputs)[1:], alone, atol=1e-6)


def test_training_lowers_the_loss_and_seeds_do_not_touch_each_other(system):
    _, initial = fronts(system, 6)
    both = m.BasisOperator(11, N, 8, seeds=(0, 1))
    losses = m.train(both, constraint(system), initial.unflatten(0, (2, 3)), steps=12, rate=1e-2, batch=3)
    assert bool((losses[-1] < losses[0]).all())
    alone = m.BasisOperator(11, N, 8, seeds=(1,))
    again = m.train(alone, constraint(system), initial[None, 3:], steps=12, rate=1e-2, batch=3)
    assert torch.allclose(losses[:3, 1], again[:3, 0], rtol=1e-3)


def fisher(u, u_t, u_x, u_xx):
    return u_t - 0.1 * u_xx - u * (1 - u)


def test_own_equation_own_network_and_a_new_process(tmp_path):
    t, x = torch.linspace(0, 1, 8), torch.arange(16) / 16
    small = {"fields": 4, "width": 8, "blocks": (1, 2), "overlap": (0, 2), "steps": 3}
    fitted = m.fit_constrained(fisher, DATA / "initial_values.npz", t, x, **small)
    found = fitted(DATA / "initial_values.npz")
    fitted.save(tmp_path / "fitted.pt")
    code = (
        "import sys, torch\nfrom lab import physics\n"
        "fisher = lambda u, u_t, u_x, u_xx: u_t - 0.1 * u_xx - u * (1 - u)\n"
        "found = physics.FittedConstraint.load(sys.argv[1], fisher)(sys.argv[2])\nprint(float(found.u.sum()))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "fitted.pt", DATA / "initial_values.npz"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(told.stdout) == pytest.approx(float(found.u.sum()), rel=1e-9)
    own = torch.nn.Sequential(torch.nn.Linear(11, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    mine = m.fit_constrained(fisher, m.read_initial(DATA / "initial_values.npz"), t, x, network=own, steps=2)
    mine.save(tmp_path / "own.pt")
    with pytest.raises(ValueError, match="your own"):
        m.FittedConstraint.load(tmp_path / "own.pt", fisher)
    other = torch.nn.Sequential(torch.nn.Linear(11, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    loaded = m.FittedConstraint.load(tmp_path / "own.pt", fisher, network=other)
    assert torch.equal(loaded(m.read_initial(DATA / "initial_values.npz")).u, mine(DATA / "initial_values.npz").u)


def test_hostile_files_and_wrong_values_are_refused(tmp_path, system):
    t, x = torch.linspace(0, 1, 8), torch.arange(16) / 16
    np.savez(tmp_path / "other.npz", u=np.zeros((2, 16)))
    np.savez(tmp_path / "pickled.npz", initial=np.array([{}], dtype=object))
    (tmp_path / "text.npz").write_text("initial")
    np.savez(tmp_path / "nan.npz", initial=np.full((2, 16), np.nan))
    for name in ("other", "pickled", "text", "nan", "missing"):
        with pytest.raises(ValueError, match="initial"):
            m.fit_constrained(fisher, tmp_path / f"{name}.npz", t, x)
    with pytest.raises(ValueError, match="16 places"):
        m.fit_constrained(fisher, np.zeros((2, 15)), t, x)
    with pytest.raises(ValueError, match="equal steps"):
        m.Equation(fisher, t, torch.tensor([0, 1, 2, 3, 4, 6.0]))
    with pytest.raises(ValueError, match="one number a point"):
        m.Equation(lambda u, *_: u.sum(), t, x)
    with pytest.raises(TypeError, match="function"):
        m.Equation(None, t, x)
    with pytest.raises(ValueError, match="network"):
        m.fit_constrained(fisher, np.zeros((2, 16)), t, x, network=torch.nn.Flatten())
    basis, initial = fronts(system)
    with pytest.raises(ValueError, match="basis"):
        constraint(system)(basis[:, 1:], initial)
    with pytest.raises(ValueError, match="instances"):
        constraint(system)(basis, initial[:2])
    with pytest.raises(ValueError, match="split"):
        m.MoEConstraint(system, m.expert_split((3, 3)))
    with pytest.raises(ValueError, match="rows"):
        m.MoEConstraint(system, rows="some")
    with pytest.raises(ValueError, match="hessian"):
        constraint(system)(basis, initial, hessian="half")
