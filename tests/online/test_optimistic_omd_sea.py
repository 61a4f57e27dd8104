"""Online learning: losses and minima by brute force, learners against plain loops, bounds on fresh paths, own data, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lab import datasets
from lab.online import (
    SEA,
    AdaGradNorm,
    DynamicMirrorDescent,
    Experts,
    GradientDescent,
    Hedge,
    OptimisticFTRL,
    OptimisticMirrorDescent,
    dynamic_path_bound,
    expected_bound,
    path_bound,
    play,
    random_order,
    regret,
    spectrum,
    stack,
    stream,
)
from lab.online.environments import LOSSES, SPECTRUM, project_ball, project_simplex
from lab.online.learners import Played
from lab.online.studies import optimistic_omd_sea as study
from lab.source import project_root

KINDS = ("convex", "strongly convex", "exp-concave")


def path(rounds=40, dimension=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.4 * torch.randn(rounds, dimension, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_the_losses_and_stay_below_the_constant(loss):
    where = SEA(path(), 0.3, loss=loss, seeds=(0, 1))
    x = where.project(torch.randn(2, 40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    points = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(where.losses(points).sum(), points)
    found = torch.stack([where.gradient(t, x[:, t]) for t in range(40)], 1)
    assert torch.allclose(found, wanted)
    assert (found.norm(dim=-1) <= where.lipschitz + 1e-9).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_noise_and_mean_are_those_of_many_draws(loss):
    mean = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64)
    where = SEA(mean, 0.4, loss=loss, seeds=range(4000))
    edge = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    best = 0.0
    for x in (edge / edge.norm(), -mean[0] / mean[0].norm(), torch.zeros(3, dtype=torch.float64)):
        g = where.gradient(0, x.expand(4000, 3))
        exact = where.mean_curvature[:1] * x - where.mean_slope[:1, 0]
        assert torch.allclose(g.mean(0), exact[0], atol=0.12)
        best = max(best, float((g - exact).square().sum(-1).mean()))
    assert best <= float(where.noise2[0, 0]) * 1.05
    assert best >= float(where.noise2[0, 0]) * 0.9  # attained at one of the points


def test_random_order_draws_from_what_is_left():
    items = path(12)
    where = random_order(items, seeds=(3,))
    drawn = -where.slope[0]
    assert torch.allclose(drawn.sort(dim=0).values, items.sort(dim=0).values)
    for t in (0, 5, 11):
        assert torch.allclose(-where.mean_slope[0, t], drawn[t:].mean(0))
        spread = (drawn[t:] - drawn[t:].mean(0)).square().sum(-1).mean()
        assert torch.allclose(where.noise2[0, t], spread, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_best_fixed_point_is_that_of_scipy(loss):
    where = SEA(path(), 0.3, loss=loss, seeds=(0, 1))
    value, u = regret.best_fixed(where, torch.tensor([7, 40]))
    assert (u.norm(dim=-1) <= 1 + 1e-9).all()
    for batch in range(2):
        for k, rounds in enumerate((7, 40)):

            def total(x, batch=batch, rounds=rounds):
                row = torch.as_tensor(x).expand(2, rounds, 3)
                return float(where.losses(row)[batch].sum())

            inside = {"type": "ineq", "fun": lambda x: 1 - x @ x}
            starts = [np.zeros(3), *np.random.default_rng(0).normal(size=(6, 3)) / 3]
            wanted = min(minimize(total, start, constraints=inside, method="SLSQP", tol=1e-12).fun for start in starts)
            assert abs(float(value[batch, k]) - wanted) < 1e-5
            assert abs(total(u[batch, k].numpy()) - float(value[batch, k])) < 1e-9


def test_trust_region_handles_the_hard_case_and_negative_curvature():
    hessian = torch.diag(torch.tensor([-2.0, 1.0], dtype=torch.float64))
    value, x = regret.trust_region(hessian, torch.tensor([0.0, 1.0], dtype=torch.float64), 1.0)
    grid = torch.linspace(0, 2 * torch.pi, 100_001, dtype=torch.float64)
    wanted = (-grid.cos().square() + 0.5 * grid.sin().square() - grid.sin()).min()
    assert abs(float(value - wanted)) < 1e-6 and abs(float(x.norm()) - 1) < 1e-9


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_projections_are_the_nearest_points(seed):
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.randn(5, 4, generator=generator, dtype=torch.float64)
    p, b = project_simplex(x), project_ball(x, 1.0)
    assert torch.allclose(p.sum(-1), torch.ones(5, dtype=torch.float64)) and (p >= 0).all()
    q = torch.rand(5, 4, generator=generator, dtype=torch.float64)
    q = q / q.sum(-1, keepdim=True)
    for near, other in ((p, q), (b, project_ball(q, 1.0))):  # the angle to every other point of the set is obtuse
        assert (((x - near) * (other - near)).sum(-1) <= 1e-9).all()


def test_metric_projection_solves_its_program():
    where = SEA(torch.full((30, 3), 0.6), 0.5, loss="regression", radius=0.5, seeds=(0, 1))
    learner = OptimisticMirrorDescent("exp-concave", scale=3.0)
    state, x = learner.start(where)
    for t in range(30):
        g = where.gradient(t, x)
        before = state
        state, x = learner.step(state, g)
        inside = {"type": "ineq", "fun": lambda v: 0.25 - v @ v}
        h, y, slope = before.metric[0].numpy(), before.lower[0].numpy(), 3.0 * g[0].numpy()
        cost = lambda v, h=h, y=y, slope=slope: slope @ v + 0.5 * (v - y) @ h @ (v - y)  # noqa: E731
        found = state.lower[0].numpy()
        wanted = minimize(cost, y, constraints=inside, method="SLSQP", tol=1e-13)
        assert cost(found) <= wanted.fun + 1e-6 and found @ found <= 0.25 + 1e-9
        assert torch.allclose(
            state.metric @ state.inverse, torch.eye(3, dtype=torch.float64).expand(2, 3, 3), atol=1e-9
        )


@pytest.mark.parametrize("kind", ["convex", "strongly convex"])
def test_batched_play_equals_a_plain_loop(kind):
    where = SEA(path(), 0.3, loss="squared", seeds=(0, 1, 2))
    played = play(OptimisticMirrorDescent(kind), where)
    d, g, s = 2.0, float(where.lipschitz[1]), 1
    hat, hint, v = np.zeros(3), np.zeros(3), 0.0
    for t in range(40):
        rate = d / np.sqrt(10 * d**2 + 4 * g**2 + v) if kind == "convex" else 2 / (t + 1)
        x = hat - rate * hint
        x = x / max(1, np.linalg.norm(x))
        assert np.allclose(x, played.points[s, t])
        now = x - where.slope[s, t].numpy()
        hat = hat - rate * now
        hat = hat / max(1, np.linalg.norm(hat))
        v, hint = v + ((now - hint) ** 2).sum(), now


def test_follow_the_leader_minimizes_what_it_says():
    where = SEA(path(15), 0.3, loss="squared", seeds=(0,))
    played = play(OptimisticFTRL(True), where)
    t = 9
    g, x = played.gradients[0, :t].numpy(), played.points[0, :t].numpy()
    cost = lambda v: (g.sum(0) + g[-1]) @ v + 0.5 * ((v - x) ** 2).sum()  # noqa: E731
    inside = {"type": "ineq", "fun": lambda v: 1 - v @ v}
    wanted = minimize(cost, np.zeros(3), constraints=inside, method="SLSQP", tol=1e-13).x
    assert np.allclose(played.points[0, t], wanted, atol=1e-5)


@given(st.integers(0, 10_000), st.floats(0, 1.5), st.sampled_from(LOSSES))
@settings(max_examples=40, deadline=None)
def test_path_bounds_hold_on_fresh_environments(seed, noise, loss):
    """Linearized regret where single losses are not convex."""
    where = SEA(path(60, seed=seed), noise, loss=loss, radius=0.7, seeds=(seed,))
    at = torch.arange(1, 61)
    for kind in KINDS:
        fits = {"convex": True, "strongly convex": loss == "squared", "exp-concave": loss in ("squared", "regression")}
        if not fits[kind]:
            continue
        played = play(OptimisticMirrorDescent(kind), where)
        paid = regret.static(where, played.losses, at)
        if loss == "random curvature":
            _, u = regret.best_fixed(where, at)
            products = (played.gradients[:, :, None] * (played.points[:, :, None] - u[:, None])).sum(-1)
            paid = torch.stack([products[:, : t + 1, t].sum(1) for t in range(60)], 1)
        assert (paid <= path_bound(where, played, kind, at) + 1e-9).all(), kind


@given(st.integers(0, 10_000), st.sampled_from(LOSSES))
@settings(max_examples=15, deadline=None)
def test_dynamic_bound_holds_against_any_comparators(seed, loss):
    where = SEA(path(50, seed=seed), 0.4, loss=loss, seeds=(seed,))
    learner = DynamicMirrorDescent()
    played = play(learner, where)
    generator = torch.Generator().manual_seed(seed)
    wild = project_ball(torch.randn(1, 50, 3, generator=generator, dtype=torch.float64), 1.0)
    for u in (where.minimizers(), wild, wild[:, :1].expand(-1, 50, -1)):
        paid = (played.gradients * (played.points - u)).sum((1, 2))
        assert (paid <= dynamic_path_bound(where, played, learner, regret.path_length(u)) + 1e-9).all()


def test_bound_of_mirror_descent_is_below_the_form_with_the_horizon():
    for name in SPECTRUM:
        where = spectrum(name, 300, noise=0.8, seeds=(0, 1))
        at = regret.horizons(300)
        ours, theirs = (expected_bound(where, "strongly convex", at, of=of) for of in ("mirror descent", "FTRL"))
        assert (ours <= theirs * (1 + 1e-12)).all()


def test_stacked_environments_are_played_as_if_alone():
    alone = [
        spectrum(name, 50, loss=loss, seeds=(0, 1))
        for name, loss in (("i.i.d.", "squared"), ("switching", "regression"))
    ]
    both = stack(alone)
    for learner in (
        OptimisticMirrorDescent(),
        GradientDescent(),
        AdaGradNorm(),
        OptimisticMirrorDescent("exp-concave"),
    ):
        wanted = torch.cat([play(learner, one).points for one in alone])
        assert torch.allclose(play(learner, both).points, wanted, atol=1e-12)


def test_experts_and_hedge():
    losses = torch.rand(200, 5, generator=torch.Generator().manual_seed(0))
    where = Experts.of(losses)
    played = play(Hedge(), where)
    assert torch.allclose(played.points.sum(-1), torch.ones(1, 200, dtype=torch.float64))
    paid = float((played.points[0] * losses.double()).sum())
    assert abs(float(regret.static(where, played.losses)[0, 0]) - (paid - float(losses.double().sum(0).min()))) < 1e-9
    for learner in (Hedge(False), OptimisticMirrorDescent(), AdaGradNorm()):
        assert float(regret.static(where, play(learner, where).losses)[0, 0]) < 30
    with pytest.raises(TypeError, match="simplex"):
        play(OptimisticMirrorDescent("exp-concave"), where)


def test_own_stream_from_a_csv(tmp_path):
    table = datasets.load(project_root() / "data" / "samples" / "stream.csv", target="demand")
    x, y, *_ = table.numeric()
    where = stream(x, y)
    played = play(OptimisticMirrorDescent("exp-concave"), where)
    r = float(regret.static(where, played.losses)[0, 0])
    assert abs(r) < float(played.losses.sum()) < float(0.5 * (y / y.abs().max()).double().square().sum())
    with pytest.raises(ValueError, match="data stream"):
        expected_bound(where, "convex", torch.tensor([10]))
    broken = tmp_path / "stream.csv"
    broken.write_text("a,b,demand\n1,2,3\n4,nan_,x\n" + "\x00" * 50)
    with pytest.raises(ValueError):
        datasets.load(broken, target="demand").numeric()


class Escaping:
    """A learner of one's own that leaves the numbers."""

    def start(self, environment):
        return 0, environment.start()

    def step(self, state, gradient):
        return state + 1, gradient / (0.0 if state == 3 else 1.0)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: SEA(torch.zeros(4), 0.1), ValueError, "mean must have"),
        (lambda: SEA(torch.full((4, 2), float("nan"))), ValueError, "finite"),
        (lambda: SEA(torch.zeros(4, 2), -1.0), ValueError, "noise"),
        (lambda: SEA(torch.zeros(4, 2), loss="cubic"), ValueError, "loss"),
        (lambda: SEA(torch.zeros(4, 2), seeds=()), ValueError, "seeds"),
        (lambda: SEA(torch.zeros(4, 2), radius=0.0), ValueError, "radius"),
        (lambda: SEA(torch.zeros(3, 4, 2), seeds=(0, 1)), ValueError, "one path a seed"),
        (lambda: OptimisticMirrorDescent("quadratic"), ValueError, "kind"),
        (lambda: OptimisticMirrorDescent(hint="next"), ValueError, "hint"),
        (
            lambda: play(OptimisticMirrorDescent("strongly convex"), SEA(torch.zeros(4, 2), loss="linear")),
            ValueError,
            "strongly",
        ),
        (lambda: play(GradientDescent(), SEA(torch.zeros(4, 2)), 5), ValueError, "at most 4"),
        (lambda: play(object(), SEA(torch.zeros(4, 2))), TypeError, "learner must have start"),
        (lambda: play(Escaping(), SEA(torch.ones(9, 2))), ValueError, "not finite in round 5"),
        (lambda: play(Hedge(), SEA(torch.zeros(4, 2))), TypeError, "Experts"),
        (lambda: Experts.of(torch.zeros(4, 1)), ValueError, "two actions"),
        (lambda: regret.static(SEA(torch.zeros(4, 2)), torch.zeros(1, 4), [9]), ValueError, "ascending horizons"),
        (lambda: stack([SEA(torch.zeros(4, 2)), SEA(torch.zeros(5, 2))]), ValueError, "agree"),
        (lambda: stream(torch.zeros(4, 2), torch.zeros(3)), ValueError, "target"),
        (lambda: spectrum("foggy", 10), ValueError, "environment"),
    ],
)
def test_bad_input_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_result_saves_loads_and_makes_a_frame(tmp_path):
    result = study.run(study.Setting.of("smoke"), seeds=(0, 1))
    result.save(tmp_path / "result.pt")
    again = study.Result.load(tmp_path / "result.pt")
    assert torch.equal(again.regret["optimistic"], result.regret["optimistic"]) and again.environments == SPECTRUM
    assert set(result.to_frame()["learner"]) == set(result.regret)
    assert isinstance(play(GradientDescent(), SEA(torch.zeros(4, 2))), Played)


def test_no_noise_and_no_drift_cost_nothing_more_as_rounds_go_on():
    where = SEA(torch.tensor([[0.5, 0.0]]).expand(2000, 2), loss="squared")
    paid = regret.static(where, play(OptimisticMirrorDescent(), where).losses, [500, 2000])[0]
    assert abs(float(paid[1] - paid[0])) < 1e-6 and float(paid[1]) < 0.5
