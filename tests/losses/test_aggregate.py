import math

import numpy as np
import pandas as pd
import pytest
import torch

from lab import datasets
from lab.claims import measure
from lab.losses.aggregate import (
    AggregateLoss,
    aggregate_loss,
    asymptotic_risk,
    interpolated_ridge,
    make_bags,
    private_bag_means,
    private_noise,
)
from lab.losses.studies import aggregate as study


def test_instance_loss_is_bag_loss_plus_population_variance(generator):
    f = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    ybar = torch.randn(7, generator=generator, dtype=torch.float64)
    spread = f.var(1, correction=0).mean()
    torch.testing.assert_close(aggregate_loss(f, ybar, 1.0), aggregate_loss(f, ybar, 0.0) + spread)
    torch.testing.assert_close(aggregate_loss(f, ybar, 0.3), aggregate_loss(f, ybar, 0.0) + 0.3 * spread)


def test_logistic_instance_loss_is_at_least_the_bag_loss(generator):
    f = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    ybar = torch.rand(7, generator=generator, dtype=torch.float64)
    assert aggregate_loss(f, ybar, 1.0, base="logistic") >= aggregate_loss(f, ybar, 0.0, base="logistic")


@pytest.mark.parametrize("base", ["squared", "logistic"])
def test_gradcheck(base, generator):
    f = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    ybar = torch.rand(3, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: AggregateLoss(0.4, base)(p, ybar), f)


@pytest.mark.parametrize("rho", [0.0, 0.2, 1.0])
def test_linear_estimator_minimizes_the_loss(rho, generator):
    x = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    bags = make_bags(60, 5, 0)
    ybar = (x @ torch.ones(4, dtype=torch.float64))[bags].mean(1) + 0.1 * torch.randn(
        12, generator=generator, dtype=torch.float64
    )
    theta = interpolated_ridge(x, bags, ybar, rho).requires_grad_()
    aggregate_loss((x @ theta)[bags], ybar, rho).backward()
    assert theta.grad.abs().max() < 1e-10


def test_more_features_than_bags_gives_the_least_norm_solution(generator):
    x = torch.randn(40, 30, generator=generator, dtype=torch.float64)
    bags = make_bags(40, 4, 1)
    ybar = torch.randn(10, generator=generator, dtype=torch.float64)
    theta = interpolated_ridge(x, bags, ybar, 0.0)
    means = x[bags].mean(1)
    np.testing.assert_allclose(theta, np.linalg.pinv(means.numpy()) @ ybar.numpy(), atol=1e-10)


def test_bags_partition_the_items():
    bags = make_bags(23, 5, 0)
    assert bags.shape == (4, 5)
    assert len(bags.unique()) == 20


@pytest.mark.parametrize("rho, k", [(0.0, 2), (0.05, 4), (0.3, 2), (0.3, 8), (1.0, 4)])
def test_asymptotic_risk_agrees_with_simulation(rho, k):
    d, ratio, noise = 120, 5.0, 0.5
    n = int(ratio * d)
    theory = asymptotic_risk(rho, items_per_feature=ratio, k=k, signal=1.0, noise=noise**2)
    biases, variances = [], []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(n, d, generator=generator, dtype=torch.float64)
        theta = torch.nn.functional.normalize(torch.randn(d, generator=generator, dtype=torch.float64), dim=0)
        e = noise * torch.randn(n, generator=generator, dtype=torch.float64)
        bags = make_bags(n, k, generator)
        biases.append((interpolated_ridge(x, bags, (x @ theta)[bags].mean(1), rho) - theta).square().sum())
        variances.append(interpolated_ridge(x, bags, e[bags].mean(1), rho).square().sum())
    for found, expected in ((variances, theory["variance"]), (biases, theory["bias"])):
        error = 4 * np.std(found) / len(found) ** 0.5 + 3 / d * expected + 1e-12
        assert np.mean(found) == pytest.approx(expected, abs=error)
        assert error < 0.3 * expected + 1e-9


def test_asymptotic_risk_is_continuous_at_zero_weight_with_more_bags_than_features():
    at_zero = asymptotic_risk(0.0, items_per_feature=8.0, k=2)
    near = asymptotic_risk(1e-7, items_per_feature=8.0, k=2)
    assert near["risk"] == pytest.approx(at_zero["risk"], rel=1e-3)


def test_private_noise_is_the_variance_of_the_release():
    y = torch.zeros(400_000)
    bags = make_bags(400_000, 4, 0)
    released = private_bag_means(y, bags, 0.5, 1.0, seed=1).double()
    # the variance of a bag mean times k is the variance of one response
    assert (released.var() * 4).item() == pytest.approx(private_noise(4, 0.5, 1.0), rel=0.02)
    assert released.abs().mean().item() == pytest.approx(2 / (4 * 0.5), rel=0.02)


def test_responses_are_clipped_before_the_mean():
    y = torch.tensor([100.0, -100.0, 100.0, 100.0])
    released = private_bag_means(y, torch.arange(4)[None], 1e9, 2.0)
    assert released.item() == pytest.approx(1.0, abs=1e-6)


def test_gaussian_noise_of_the_same_variance_is_not_private_for_epsilon(monkeypatch):
    def gaussian(y, bags, epsilon, clip, seed):
        means = y.clamp(-clip, clip)[bags].mean(1)
        noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return means + 2**0.5 * 2 * clip / (bags.shape[1] * epsilon) * noise

    assert measure("aggregate.private-mechanism", budget="smoke").holds
    monkeypatch.setattr(study, "private_bag_means", gaussian)
    excess, bias = study.log_likelihood_excess(0.7, 1.5, 5)
    assert excess > 0.4 and bias < 0.02
    assert measure("aggregate.private-mechanism", budget="smoke").verdict == "refuted"


def test_interpolation_on_a_table_compares_an_interior_weight_with_the_better_end():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 12)), columns=[f"x{k}" for k in range(12)])
    frame["y"] = frame.sum(axis=1) + np.random.default_rng(1).normal(size=400)
    reduction, weights = study.reduction_on_table(datasets.Table(frame, "y", "own"), range(3))
    assert reduction.shape == (3,) and all(0 < rho < 1 for rho in weights)
    at_end, _ = study.reduction_on_table(datasets.Table(frame, "y", "own"), range(3), at_end=True)
    assert (at_end == 0).all()
    with pytest.raises(ValueError, match="numeric target"):
        study.reduction_on_table(datasets.load("digits"), range(3))


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: aggregate_loss(torch.ones(2, 3), torch.ones(3)), "bag_means must have shape"),
        (lambda: aggregate_loss(torch.ones(2, 3), torch.ones(2), 1.5), "rho must be at most 1"),
        (lambda: make_bags(3, 4), "k must be at most n"),
        (lambda: asymptotic_risk(0.5, items_per_feature=0.5, k=2), "greater than 1"),
        (lambda: asymptotic_risk(0.0, items_per_feature=2.0, k=2), "as many bags as features"),
        (lambda: aggregate_loss(torch.full((2, 3), math.nan), torch.ones(2)), "predictions must be finite"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
