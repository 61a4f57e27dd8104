"""Exact mixtures against scipy, autograd, quadrature and brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from lab.generative import VP, GaussianMixture

DOUBLE = torch.float64


def mixture(k=4, d=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return GaussianMixture(
        torch.randn(k, d, generator=g), 0.2 + torch.rand(k, generator=g), 0.1 + torch.rand(k, generator=g)
    )


@pytest.mark.parametrize("m, s", [(1.0, 0.0), (0.6, 0.8), (1.0, 3.0)])
def test_density_is_that_of_scipy(m, s):
    target, x = mixture(), torch.randn(7, 3, dtype=DOUBLE)
    parts = [
        np.log(float(w)) + multivariate_normal(m * mu.numpy(), (m * float(v)) ** 2 + s**2).logpdf(x.numpy())
        for w, mu, v in zip(target.weights, target.means, target.stds)
    ]
    assert np.allclose(target.log_density(x, m, s).numpy(), logsumexp(parts, axis=0))
    assert torch.allclose(target.log_density(x, m, s), target.noised(m, s).log_density(x))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.floats(0.05, 1), st.floats(0.0, 5), st.integers(0, 99))
def test_score_is_the_gradient_and_tweedie_joins_it_to_the_posterior_mean(k, d, m, s, seed):
    target = mixture(k, d, seed)
    x = torch.randn(2, 3, d, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE).requires_grad_()
    (gradient,) = torch.autograd.grad(target.log_density(x, m, s).sum(), x)
    score = target.score(x, m, s)
    assert torch.allclose(score, gradient, rtol=1e-7, atol=1e-9)
    assert torch.allclose(m * target.posterior_mean(x, m, s), x + s**2 * score, rtol=1e-7, atol=1e-7)
    assert torch.allclose(target.responsibilities(x, m, s).sum(-1), torch.ones(2, 3, dtype=DOUBLE))


def test_posterior_mean_by_quadrature():
    target, m, s, x = (
        GaussianMixture(torch.tensor([[-1.0], [2.0]]), torch.tensor([0.3, 0.7]), torch.tensor([1.0, 3.0])),
        0.7,
        0.9,
        0.4,
    )
    p = lambda u: 0.25 * norm.pdf(u, -1, 0.3) + 0.75 * norm.pdf(u, 2, 0.7)  # noqa: E731
    weight = lambda u: p(u) * norm.pdf(x, m * u, s)  # noqa: E731
    wanted = quad(lambda u: u * weight(u), -8, 8, limit=200)[0] / quad(weight, -8, 8, limit=200)[0]
    assert float(target.posterior_mean(torch.tensor([x], dtype=DOUBLE), m, s)) == pytest.approx(wanted, rel=1e-6)


def test_levels_may_differ_by_point_and_dtype_and_shape_stay():
    target, x = mixture(), torch.randn(2, 5, 3)
    t = torch.rand(2, 5)
    found = target.at(VP())(x, t)
    assert found.dtype == torch.float32 and found.shape == x.shape
    assert torch.allclose(found[1, 3], target.at(VP())(x[1, 3], t[1, 3]), atol=1e-5)
    assert target.denoiser(VP())(x, t).shape == x.shape
    assert target.score(x.half()).dtype == torch.float16


def test_gradcheck_of_score_and_points_as_components():
    assert torch.autograd.gradcheck(
        lambda x: mixture().score(x, 0.5, 0.5), torch.randn(2, 3, dtype=DOUBLE, requires_grad=True)
    )
    points = GaussianMixture(torch.tensor([[0.0, 0.0], [3.0, 1.0]]), 0.0)
    assert torch.allclose(points.posterior_mean(torch.tensor([[2.9, 1.0]]), 1.0, 0.1), torch.tensor([[3.0, 1.0]]))


def test_samples_have_the_moments_and_repeat():
    target = mixture()
    x = target.sample(200_000, 3)
    assert torch.equal(x, target.sample(200_000, 3))
    mean = target.weights @ target.means
    second = target.weights @ (target.means.square() + target.stds[:, None].square())
    assert torch.allclose(x.mean(0), mean, atol=0.02) and torch.allclose(x.square().mean(0), second, atol=0.05)


def test_condition_is_the_normalized_slice():
    target, known = mixture(), torch.tensor([True, False, False])
    seen, x = torch.tensor([0.3], dtype=DOUBLE), torch.randn(6, 2, dtype=DOUBLE)
    joint = target.log_density(torch.cat([seen.expand(6, 1), x], 1))
    marginal = GaussianMixture(target.means[:, :1], target.stds, target.weights).log_density(seen)
    assert torch.allclose(target.condition(known, seen).log_density(x), joint - marginal)
    with pytest.raises(ValueError, match="leave a coordinate open"):
        target.condition(torch.ones(3).bool(), torch.zeros(3))


def test_parameters_and_points_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="means must have 2 axes"):
        GaussianMixture(torch.zeros(3), 1.0)
    with pytest.raises(ValueError, match="stds must be at least 0"):
        GaussianMixture(torch.zeros(2, 1), -1.0)
    with pytest.raises(ValueError, match="weights must be positive"):
        GaussianMixture(torch.zeros(2, 1), 1.0, torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="stds must have shape"):
        GaussianMixture(torch.zeros(2, 1), torch.ones(3))
    with pytest.raises(ValueError, match="x must end in 3 coordinates"):
        mixture().score(torch.zeros(2, 2))
    with pytest.raises(TypeError, match="floating-point"):
        mixture().score(torch.zeros(2, 3, dtype=torch.int64))
