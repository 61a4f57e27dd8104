"""Doubly robust reweighting: closed forms, the gradient through the attack, weights, metrics, and one's own classifier."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad

from lab import training
from lab.generalization.doubly_robust_irat import (
    ARMS,
    attack,
    barrier_curvature,
    barrier_optimum,
    baseline_weights,
    class_accuracy,
    eliminated_objective,
    hypergradient,
    tail_accuracy,
    train_done,
    train_stacked,
    worst_weights,
)
from lab.generalization.stacked import stack


@given(st.lists(st.floats(0, 20), min_size=2, max_size=8), st.floats(0.1, 50))
@settings(max_examples=50, deadline=None)
def test_weights_are_a_distribution_and_reach_the_eliminated_value(losses, r):
    losses = torch.tensor(losses, dtype=torch.float64)
    w, n = worst_weights(losses, r), len(losses)
    assert float(w.sum()) == pytest.approx(1)
    divergence = (w * (n * w).clamp_min(1e-300).log()).sum()
    assert float((w * losses).sum() - r * divergence) == pytest.approx(float(eliminated_objective(losses, r)), abs=1e-8)


def test_no_other_weights_reach_more(generator):
    losses = torch.rand(3, generator=generator, dtype=torch.float64) * 3
    best = float(eliminated_objective(losses, 0.5))
    w = torch.distributions.Dirichlet(torch.ones(3, dtype=torch.float64)).sample((4000,))
    values = (w * losses).sum(1) - 0.5 * (w * (3 * w).log()).sum(1)
    assert float(values.max()) <= best + 1e-12
    assert float(values.max()) == pytest.approx(best, abs=1e-2)


def test_limits_of_r_are_the_mean_and_the_worst(generator):
    losses = torch.rand(9, generator=generator, dtype=torch.float64)
    assert float(eliminated_objective(losses, 1e7)) == pytest.approx(float(losses.mean()), abs=1e-6)
    assert float(eliminated_objective(losses, 1e-4)) == pytest.approx(float(losses.max()), abs=1e-3)


def test_attack_on_a_linear_loss_finds_the_closed_form(generator):
    g, epsilon, c = torch.randn(6, 4, generator=generator, dtype=torch.float64), 0.2, 0.05
    best = barrier_optimum(g, epsilon, c)
    grid = torch.linspace(-0.1999, 0.1999, 20001, dtype=torch.float64)
    for value, found in zip(g.flatten(), best.flatten()):
        objective = -value * grid - c * ((epsilon - grid).log() + (epsilon + grid).log())
        assert float(grid[objective.argmin()]) == pytest.approx(float(found), abs=3e-5)
    x = torch.full((6, 4), 0.5, dtype=torch.float64)
    delta, _ = attack(lambda z: ((z - x) * g).sum(1), x, torch.zeros_like(x), epsilon=epsilon, c=c, steps=400)
    torch.testing.assert_close(delta, best, atol=5e-3, rtol=0)
    assert barrier_optimum(torch.zeros(2), epsilon, c).tolist() == [0, 0]
    assert float(barrier_curvature(torch.zeros(1), epsilon, c)) == pytest.approx(2 * c / epsilon**2)


def test_attack_stays_in_the_ball_and_in_the_unit_cube_and_raises_the_loss(generator):
    model = training.mlp(5, 3, seed=0)
    x, y = torch.rand(20, 5, generator=generator), torch.randint(3, (20,), generator=generator)
    rows = lambda z: F.cross_entropy(model(z), y, reduction="none")  # noqa: E731
    delta, needed = attack(rows, x, torch.zeros_like(x), epsilon=0.1, c=1e-4, steps=8)
    assert float(delta.abs().max()) < 0.1
    assert 0 <= float((x + delta).min()) <= float((x + delta).max()) <= 1
    assert float(rows(x + delta).mean()) > float(rows(x).mean())
    assert 0 <= float(needed.min()) <= float(needed.max()) <= 8


def test_gradient_through_a_piecewise_linear_attack_needs_the_barriers_diagonal_alone(generator):
    p = {"w": torch.randn(3, generator=generator, dtype=torch.float64)}
    epsilon, c = 0.2, 0.05
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    rows = lambda p, d: (x + d) @ p["w"]  # noqa: E731
    weights = torch.rand(5, generator=generator, dtype=torch.float64)
    solved = lambda p: barrier_optimum(p["w"].expand(5, 3), epsilon, c)  # noqa: E731
    wanted = grad(lambda p: (weights * rows(p, solved(p))).sum())(p)["w"]
    for exact in (True, False):
        found = hypergradient(rows, p, solved(p), weights, epsilon=epsilon, c=c, exact=exact)["w"]
        torch.testing.assert_close(found, wanted)
    first = hypergradient(rows, p, solved(p), weights, epsilon=epsilon, c=c, implicit=False)["w"]
    assert float((first - wanted).abs().max()) > 1e-3


def test_heuristic_weights_have_mean_one_and_prefer_hard_items():
    logits = torch.tensor([[4.0, 0, 0], [1, 0.9, 0], [0, 3, 0]])
    y, losses, needed = torch.zeros(3, dtype=torch.int64), torch.tensor([0.1, 0.7, 3.0]), torch.tensor([5.0, 2, 0])
    for kind in ("margin", "geometry", "loss"):
        weights = baseline_weights(kind, logits, y, losses, needed, 5)
        assert float(weights.mean()) == pytest.approx(1)
        assert weights.argsort().tolist() == [0, 1, 2]


def test_tail_is_the_mean_of_the_worst_classes():
    label = torch.arange(10).repeat_interleave(4)
    correct = torch.zeros(40, dtype=torch.bool)
    for k in range(10):
        correct[4 * k : 4 * k + k % 5] = True
    assert class_accuracy(correct, label).tolist() == [0, 0.25, 0.5, 0.75, 1] * 2
    assert float(tail_accuracy(correct, label)) == pytest.approx(0.25 / 3)
    assert float(tail_accuracy(correct, label, 1.0)) == pytest.approx(0.5)


def test_large_r_is_plain_adversarial_training_under_the_same_barrier(generator):
    x, y = torch.rand(30, 5, generator=generator), torch.randint(3, (30,), generator=generator)
    models = [training.mlp(5, 3, seed=seed) for seed in (0, 1)]
    run = lambda arm, **options: train_stacked(  # noqa: E731
        models[0], stack(models), x, y, arm, seeds=(0, 1), epochs=2, batch_size=10, c=1e-9, **options
    )
    plain, equal = run("plain"), run("done", r=1e6)
    for name in plain:
        torch.testing.assert_close(plain[name], equal[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_and_leaves_ones_own_model(arm, generator):
    x = torch.rand(60, 4, generator=generator)
    y = (x[:, 0] > 0.5).long()
    start = training.mlp(4, 2, widths=(16,))
    before = [value.clone() for value in start.parameters()]
    model = train_done(start, x, y, arm=arm, epsilon=0.05, epochs=30, learning_rate=1e-2)
    assert all(torch.equal(a, b) for a, b in zip(before, start.parameters()))
    assert float((model(x).argmax(1) == y).float().mean()) > 0.8


def test_bad_arguments_are_refused():
    model, x, y = training.mlp(4, 2), torch.rand(6, 4), torch.zeros(6, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"x must lie in \[0, 1\]"):
        train_done(model, 3 * x + 1, y)
    with pytest.raises(ValueError, match="arm"):
        train_done(model, x, y, arm="best")
    with pytest.raises(ValueError, match="r"):
        eliminated_objective(torch.ones(3), 0.0)
    with pytest.raises(ValueError, match="share"):
        tail_accuracy(torch.ones(3), torch.arange(3), 0.0)
    assert math.isfinite(float(eliminated_objective(torch.tensor([1e4, 0.0]), 0.1)))


def test_coordinates_that_the_inputs_bounds_hold_take_no_part_in_the_hypergradient():
    """A loss linear in delta, whose optimum is known, solved under the bound 0 <= x + delta by hand."""
    theta = torch.tensor([0.7, -0.9], dtype=torch.float64)
    epsilon, c, x = 0.2, 0.05, torch.tensor([[0.5, 0.02]], dtype=torch.float64)

    def optimum(theta):
        return (x + barrier_optimum(theta[None], epsilon, c)).clamp(0, 1) - x

    def rows(p, delta):
        return delta @ p["theta"]

    delta = optimum(theta)
    free = (x + barrier_optimum(theta[None], epsilon, c)) >= 0
    assert free.tolist() == [[True, False]]
    found = hypergradient(
        rows, {"theta": theta}, delta, torch.ones(1, dtype=torch.float64), epsilon=epsilon, c=c, free=free
    )
    for k in range(2):
        ends = []
        for sign in (1, -1):
            moved = theta.clone()
            moved[k] += sign * 1e-6
            ends.append(float(rows({"theta": moved}, optimum(moved))))
        assert float(found["theta"][k]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)
    held = hypergradient(rows, {"theta": theta}, delta, torch.ones(1, dtype=torch.float64), epsilon=epsilon, c=c)
    assert abs(float(held["theta"][1] - found["theta"][1])) > 0.01


def test_the_implicit_arm_learns_where_most_pixels_are_black():
    x = torch.zeros(80, 30)
    y = torch.arange(80) % 2
    x[:, :2] = 0.5
    x[y == 1, 0], x[y == 0, 1] = 0.9, 0.9
    model = train_done(
        training.mlp(30, 2, widths=(16,)), x, y, arm="implicit", epsilon=0.05, epochs=40, learning_rate=1e-2
    )
    assert float((model(x).argmax(1) == y).double().mean()) > 0.95
