"""Policies against optimizers, estimates and bonuses against plain loops, regret by enumeration."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from lab import datasets
from lab.online import CircleProcess, Experts, bandit, learn, linear_process, log_barrier
from lab.online.refined_regret_linear_mdp import (
    dilated_bonus,
    estimates,
    geometric_resampling,
    inverse_covariance,
    learn_circle,
    roll,
    stability,
)
from lab.online.studies import refined_regret_linear_mdp as study
from lab.source import project_root


@given(st.integers(0, 10_000), st.integers(2, 20), st.floats(-3, 1.5))
@settings(max_examples=60, deadline=None)
def test_log_barrier_is_the_root_that_scipy_finds(seed, actions, power):
    generator = torch.Generator().manual_seed(seed)
    losses = 100 * torch.randn(actions, generator=generator, dtype=torch.float64) ** 3
    eta = 10.0**power
    p = log_barrier(losses, eta)
    low, high = float(losses.min()) - actions / eta, float(losses.min()) - 1 / eta
    z = brentq(
        lambda v: float((1 / (eta * (losses - v))).sum()) - 1,
        low - 1e-9,
        high + 1e-12 * abs(high),
        xtol=1e-13,
        rtol=1e-14,
    )
    assert torch.allclose(p, 1 / (eta * (losses - z)), rtol=1e-5, atol=1e-9) and abs(float(p.sum()) - 1) < 1e-12


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_stability_of_the_lemma_for_losses_of_any_sign(seed):
    generator = torch.Generator().manual_seed(seed)
    total, step = 300 * torch.randn(2, 50, 6, generator=generator, dtype=torch.float64)
    eta = 10 ** (4 * torch.rand(50, 1, generator=generator, dtype=torch.float64) - 3)
    cost, refined, _ = stability(total, step, eta)
    assert (cost <= refined * (1 + 1e-9)).all()


def layer(seed=0, pairs=7, d=3):
    generator = torch.Generator().manual_seed(seed)
    phi = torch.randn(pairs, d, generator=generator, dtype=torch.float64)
    q = torch.softmax(torch.randn(pairs, generator=generator, dtype=torch.float64), -1)
    return phi / phi.norm(dim=-1, keepdim=True), q


def test_estimates_equal_their_formula_and_keep_the_mean():
    phi, q = layer()
    inverse = inverse_covariance(phi, q, 0.01)
    wanted = np.linalg.inv(0.01 * np.eye(3) + sum(w * np.outer(f, f) for f, w in zip(phi.numpy(), q.numpy())))
    assert np.allclose(inverse.numpy(), wanted)
    x = phi.numpy() @ wanted @ phi.numpy().T
    togo = np.random.default_rng(0).uniform(0, 2, 7)
    plain, better = estimates(phi.expand(7, 7, 3), inverse, q, phi, torch.from_numpy(togo), 2)
    for visited in range(7):
        assert np.allclose(plain[visited], x[:, visited] * togo[visited])
        low = 2 * (np.minimum(x, 0) @ q.numpy())
        assert np.allclose(better[visited], plain[visited] - 2 * np.minimum(x[:, visited], 0) + low)
    assert torch.allclose(q @ plain, q @ better)
    assert float(better.min()) >= -2 / 0.01**0.5


def test_estimates_have_the_mean_of_the_true_values():
    """With gamma to 0 the mean of Q^ over episodes is the Q-function."""
    world = linear_process([4], seeds=(3,), layers=2)
    policy = torch.softmax(torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64), -1)
    loss, pairs = world.loss(0, 1), world.occupancy(policy)[..., None] * policy
    inverse = inverse_covariance(world.features.flatten(2, 3), pairs.flatten(2), 1e-12)
    visited, togo = roll(world, policy, loss, torch.Generator().manual_seed(0), copies=200_000)
    phi = world.features.flatten(2, 3)[0]
    q = loss[0].clone()
    q[0] += torch.einsum("sat,tb,tb->sa", world.transition[0, 0], policy[0, 1], loss[0, 1])
    for h in range(2):
        theta = inverse[0, h] @ (phi[h][visited[0, :, h]] * togo[0, :, h, None]).mean(0)
        assert torch.allclose(phi[h] @ theta, q[h].flatten(), atol=0.03)


def test_processes_are_probabilities_and_best_is_that_of_enumeration():
    world = linear_process([8], seeds=(0, 1), layers=2, states=2, actions=2)
    assert torch.allclose(world.transition.sum(-1), torch.ones(2, 1, 2, 2, dtype=torch.float64))
    assert (world.transition >= 0).all() and (world.losses >= 0).all() and (world.losses <= 1).all()
    costs = []
    for choice in product(range(2), repeat=4):
        policy = torch.nn.functional.one_hot(torch.tensor(choice), 2).double().reshape(1, 2, 2, 2).expand(2, -1, -1, -1)
        pairs = world.occupancy(policy)[..., None] * policy
        costs.append(sum((pairs * world.loss(k, 2)).sum((1, 2, 3)) for k in range(8)))
    assert torch.allclose(world.best(), torch.stack(costs).amin(0))


def test_dilated_bonus_equals_the_plain_recursion():
    world = linear_process([4], seeds=(0,))
    generator = torch.Generator().manual_seed(0)
    b = torch.rand(1, 3, 3, 4, generator=generator, dtype=torch.float64)
    policy = torch.softmax(torch.randn(1, 3, 3, 4, generator=generator, dtype=torch.float64), -1)
    found = dilated_bonus(b, policy, world.transition, 4 / 3)

    def plain(h, s, a):
        if h == 2:
            return float(b[0, h, s, a])
        ahead = sum(
            float(world.transition[0, h, s, a, t]) * float(policy[0, h + 1, t, c]) * plain(h + 1, t, c)
            for t in range(3)
            for c in range(4)
        )
        return float(b[0, h, s, a]) + 4 / 3 * ahead

    assert abs(float(found[0, 0, 1, 2]) - plain(0, 1, 2)) < 1e-12


def test_geometric_resampling_tends_to_the_inverse():
    phi, q = layer()
    draws = phi[torch.multinomial(q, 400_000, replacement=True, generator=torch.Generator().manual_seed(0))]
    found = geometric_resampling(draws, 0.2, 4000, 100)
    assert torch.allclose(found, inverse_covariance(phi, q, 0.2), rtol=0.05, atol=0.05)


def test_circle_draws_its_density_and_is_linear():
    world = CircleProcess.of(0, 100)
    phi = world.features(torch.tensor([0.7], dtype=torch.float64))[0, 1]
    s = world.move(phi.expand(400_000, 4), torch.Generator().manual_seed(0))
    v = phi[1:3] * 2**0.5
    mean = torch.stack([s.cos().mean(), s.sin().mean()])
    assert torch.allclose(mean, 0.5 * world.rho * v, atol=5e-3)
    assert torch.allclose(phi.norm(), torch.tensor(1.0).double()) and abs(world.best(100) - 2 * world.best(50)) < 5


@pytest.mark.parametrize("method", ["log-barrier", "magnitude-reduced"])
def test_learning_beats_uniform_actions_and_repeats(method):
    world = linear_process([600, 100], seeds=range(4))
    found = learn(world, method, eta=20.0 if method == "log-barrier" else 2.0)
    again = learn(world, method, eta=20.0 if method == "log-barrier" else 2.0)
    wrong = learn(world, method, eta=2.0, control="shuffled")
    assert torch.equal(found.regret, again.regret) and found.regret.shape == (8,)
    assert float(found.regret[:4].mean()) < 0.5 * float(wrong.regret[:4].mean())
    assert (found.paid[4:, 100:] == 0).all() and torch.allclose(
        found.policy.sum(-1), torch.ones(8, 3, 3, dtype=torch.float64)
    )


def test_free_and_continuous_learners_improve():
    free = learn(linear_process([2000], seeds=range(4)), "log-barrier", eta=80.0, bonus=0.01, simulator=False)
    assert float(free.paid[:, -400:].mean()) < float(free.paid[:, :100].mean()) - 0.1
    circle = learn_circle(range(3), 400, eta=20.0, bonus=0.1)
    assert float(circle.paid[:, -100:].mean()) < float(circle.paid[:, :50].mean()) - 0.1


def test_own_losses_from_a_csv(tmp_path):
    table = datasets.load(project_root() / "data" / "samples" / "losses.csv")
    world = bandit(table, seeds=range(6))
    found = learn(world, "log-barrier", eta=20.0)
    losses = torch.tensor(table.frame.to_numpy())
    assert torch.allclose(world.best(), losses.sum(0).min().expand(6))
    assert float(found.regret.mean()) < float(losses.mean(1).sum() - losses.sum(0).min())
    assert Experts.of(table).dimension == 5
    result = study.run(study.Setting.of("smoke"), seeds=(0, 1), data=table)
    assert result.episodes.tolist()[-1] == len(losses)
    bad = tmp_path / "losses.csv"
    bad.write_text("a,b\n" + "0.1,1.7\n" * 8)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        bandit(datasets.load(bad))
    bad.write_text("a,b\n" + "0.1,yes\n" * 8)
    with pytest.raises(TypeError, match="hold no numbers"):
        bandit(datasets.load(bad))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: learn(linear_process([8]), "softmax"), ValueError, "method"),
        (lambda: learn(linear_process([8]), eta=0.0), ValueError, "eta"),
        (lambda: learn(linear_process([8]), bonus=-1.0), ValueError, "bonus"),
        (lambda: learn(linear_process([8]), control="other"), ValueError, "control"),
        (lambda: learn(linear_process([64, 16]), simulator=False), ValueError, "one number of episodes"),
        (lambda: linear_process([2]), ValueError, "episodes"),
        (lambda: linear_process([8], kind="grid"), ValueError, "kind"),
        (lambda: bandit(torch.rand(2, 3)), ValueError, "4 rounds"),
        (lambda: bandit(torch.full((9, 2), float("nan"))), ValueError, "finite"),
        (lambda: learn_circle((0,), 10, "magnitude-reduced"), ValueError, "method"),
    ],
)
def test_bad_input_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_result_saves_loads_and_makes_a_frame(tmp_path):
    result = study.run(study.Setting.of("smoke"), seeds=(0, 1))
    result.save(tmp_path / "result.pt")
    again = study.Result.load(tmp_path / "result.pt")
    assert torch.equal(again.regret["log-barrier"], result.regret["log-barrier"])
    assert set(result.to_frame()["learner"]) == set(result.regret) and result.slope("log-barrier").shape == (2,)
