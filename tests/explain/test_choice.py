"""Risk, comparison, choice, the theorem, the map of relations and the metrics against what theory says of them."""

import functools
import math

import pytest
import torch

from lab import explain as E
from lab.explain.studies import extensions
from tests.explain.test_presets import instances, network

W = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def linear(z):
    return z @ W


def test_risk_of_a_linear_model_is_zero_everywhere_and_of_a_constant_explanation_one():
    x = instances(3, 3)
    found = E.smoothgrad(linear, x)
    for law in E.questions().values():
        assert E.risk(found, law).value < 1e-12
    other = E.smoothgrad(lambda z: 0 * z.sum(1) + 1.0, x)
    flat = E.risk(other, E.Gaussian(0.1))
    assert flat.value == 0.0


def test_risk_of_a_product_under_noise_has_its_closed_form():
    """f = x1 x2 at (1, 2): Var(xi1 xi2) / Var(f) = s^4 / (5 s^2 + s^4)."""
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    found = E.gradients(lambda z: z[:, 0] * z[:, 1], x)
    for s in (0.3, 1.0):
        judged = E.risk(found, E.Gaussian(s), n_samples=20_000)
        expected = s**4 / (5 * s**2 + s**4)
        assert judged.value == pytest.approx(expected, rel=0.15)
        low, high = judged.interval
        assert low - 0.01 <= expected <= high + 0.01


def test_mask_weights_convert_by_the_distance_from_the_baseline():
    x, baseline = instances(4, 3), instances(1, 3, seed=7)[0]
    found = E.kernelshap(linear, x, baseline=baseline)
    assert E.risk(found, E.Gaussian(0.2)).value < 1e-12
    grouped = E.kernelshap(linear, x, features=torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match="do not convert"):
        E.risk(grouped, E.Gaussian(0.2))


def test_no_method_wins_everywhere_on_a_network_and_all_tie_on_a_linear_model():
    crossed = E.compare(network(6, hidden=24), 1.5 * instances(15, 6), n_samples=400)
    assert crossed.uniform_winner is None
    assert crossed.best["one removed"] == "Occlusion"
    assert crossed.best["coalitions"] == "KernelSHAP"
    straight = E.compare(linear, instances(5, 3), n_samples=200)
    assert straight.uniform_winner is not None
    assert float(straight.value.max()) < 1e-9
    assert crossed.to_frame().shape == (12, 7)


@pytest.mark.parametrize("question", list(E.QUESTIONS))
def test_choice_never_refuses_a_linear_model(question):
    answer = E.choose(linear, instances(4, 3), question)
    assert not answer.refused
    assert answer.risk.value < 1e-12


@pytest.mark.parametrize("question", ["removal", "coalitions"])
def test_choice_refuses_exclusive_or_and_products(question):
    ones = torch.ones(1, 3, dtype=torch.float64)
    for f in (lambda z: (z[:, 0] - z[:, 1]) ** 2, lambda z: z[:, 0] * z[:, 1], lambda z: z.prod(1)):
        answer = E.choose(f, ones, question)
        assert answer.refused
        assert "No linear explanation is faithful" in answer.sentence


def test_choice_names_the_matched_method_and_whether_it_is_ahead():
    f, x = network(6, hidden=24), 1.5 * instances(15, 6)
    removed = E.choose(f, x, "one removed", threshold=1.0)
    assert removed.best == "Occlusion"
    assert removed.significant
    noise = E.choose(f, x, E.Gaussian(0.5), threshold=1.0)
    assert {noise.best, noise.runner_up} == {"SmoothGrad 0.5", "C-LIME 0.5"}
    assert noise.difference < 0.01
    tie = E.choose(linear, instances(4, 3), "noise")
    assert not tie.significant
    with pytest.raises(ValueError, match="did you mean 'noise'"):
        E.choose(f, x, "noisy")


def test_distance_of_a_product_from_the_linear_functions_is_one_on_the_square():
    """min over g of max over [-1, 1]^2 of |x1 x2 - g| is 1: the four corners alternate in sign."""
    found = E.distance(lambda z: z[:, 0] * z[:, 1], torch.zeros(1, 2, dtype=torch.float64))
    assert found.lower == pytest.approx(1.0, abs=1e-9)
    assert found.upper == pytest.approx(1.0, abs=1e-9)
    square = E.distance(lambda z: z[:, 0] ** 2, torch.zeros(1, 1, dtype=torch.float64))
    assert square.lower == pytest.approx(0.5, abs=1e-3)  # x^2 - 1/2 on [-1, 1] is Chebyshev's polynomial over 2
    assert E.distance(linear, torch.zeros(1, 3, dtype=torch.float64)).upper < 1e-9


@pytest.mark.parametrize("name", list(E.METHODS))
def test_every_explanation_has_an_adversary_that_reaches_the_distance(name):
    f, x = network(4, hidden=12), instances(1, 4)
    broken = E.adversary(E.METHODS[name](f, x), points=128)
    assert broken.holds
    assert broken.distance.lower > 0.01
    assert broken.reached >= broken.distance.lower
    near = E.METHODS[name](f, x)
    law = E.risk(near, broken.neighbourhood, n_samples=200)
    assert law.value > E.risk(near, near.neighbourhood).value


def test_relations_have_the_rates_of_the_theory():
    edges = {edge.id: edge for edge in E.relations(network(8, hidden=24), instances(6, 8), draws=1024)}
    assert len(edges) >= 7
    for edge in edges.values():
        gap = edge.slope - edge.expected
        assert (gap if edge.parameter == "draws" else abs(gap)) < 0.3, edge


def test_infidelity_is_the_risk_of_a_tied_surrogate():
    x = instances(3, 3)
    assert float(E.infidelity(E.occlusion(linear, x), E.LeaveOneOut()).max()) < 1e-20
    f = network(5)
    own = E.infidelity(E.occlusion(f, instances(3, 5)), E.LeaveOneOut())
    assert float(own.max()) < 1e-20
    assert float(E.infidelity(E.gradients(f, instances(3, 5)), E.LeaveOneOut()).min()) > 1e-8


def test_metrics_order_a_faithful_explanation_before_a_reversed_one():
    w = torch.arange(1.0, 9.0, dtype=torch.float64)
    x = torch.ones(2, 8, dtype=torch.float64)
    good = E.occlusion(lambda z: z @ w, x)
    bad = E.occlusion(lambda z: z @ w.flip(0), x)
    swapped = type(bad)(**{**bad.__dict__, "problem": good.problem})
    assert bool((E.deletion(good).area < E.deletion(swapped).area).all())
    assert bool((E.insertion(good).area > E.insertion(swapped).area).all())
    important, least = E.prediction_gap(good), E.prediction_gap(good, important=False)
    assert bool((important > least).all())
    assert float(E.recovery(good, w).max()) < 1e-12
    assert float(E.recovery(swapped, w).min()) > 1


def test_max_sensitivity_is_zero_for_constant_weights():
    x = instances(3, 3)
    assert float(E.max_sensitivity(E.gradients, linear, x).max()) < 1e-12
    rough = E.max_sensitivity(functools.partial(E.smoothgrad, n_samples=100), network(3, hidden=40), x, radius=0.5)
    assert float(rough.min()) > 0.01


def test_minimax_has_a_smaller_worst_risk_than_any_single_law():
    f, x = network(5, hidden=24), 1.5 * instances(4, 5)
    laws = [E.Gaussian(0.3), E.Masks(E.Uniform())]
    found = extensions.minimax(f, x, laws)
    task = E.prepare(f, x)
    for law in laws:
        single = task.explain(law, E.Linear(), "squared")
        assert bool((found.worst <= extensions.worst_risk(task, single, laws) + 1e-6).all())
    torch.testing.assert_close(found.mixture.sum(1), torch.ones(4, dtype=torch.float64))


def gains(play, seeds=4):
    """Geometric mean over ``seeds`` of new over old error, by method and ground."""
    played = [play(seed) for seed in range(seeds)]
    return {
        (one.method, one.where): math.prod(round_[k].new / round_[k].old for round_ in played) ** (1 / seeds)
        for k, one in enumerate(played[0])
    }


def test_new_methods_win_their_contests_and_gain_nothing_on_the_ground_of_the_old():
    """Single seeds of the closest contests spread by 3 % (odd-order proxy) to 25 % (tempering), in both directions."""
    won = gains(lambda seed: extensions.contests(seed=seed, budget="smoke"))
    lost = gains(lambda seed: extensions.losses(seed=seed))
    assert len(won) == len(lost) == 9
    assert {ground: ratio for ground, ratio in won.items() if ratio > 0.9} == {}
    assert {ground: ratio for ground, ratio in lost.items() if ratio < 0.95} == {}
