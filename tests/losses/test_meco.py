import math

import pytest
import torch

from lab.losses.meco import MECOLoss, estimate_gaussian_mean, gaussian_slopes, nce_loss


def log_density(theta):
    return lambda x: theta * x - x**2 / 2


def test_gradient_is_that_of_the_likelihood_when_the_tracker_is_the_partition_function():
    torch.manual_seed(0)
    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    x = 1.5 + torch.randn(200_000, dtype=torch.float64)
    loss = MECOLoss(torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 2.0), gamma=1.0)
    value = loss(log_density(theta), x)
    (gradient,) = torch.autograd.grad(value, theta)
    assert gradient.item() == pytest.approx(0.7 - 1.5, abs=0.02)
    assert loss.log_u.item() == pytest.approx(0.7**2 / 2 + 0.5 * math.log(2 * math.pi), abs=0.01)
    exact = -(0.7 * x - x**2 / 2).mean().item() + loss.log_u.item()
    assert value.item() == pytest.approx(exact)


def test_tracker_is_a_running_average_in_log_space():
    noise = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 3.0)
    loss = MECOLoss(noise, gamma=0.25)
    x = torch.zeros(4, dtype=torch.float64)
    z1, z2 = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor([2.0, -1.0], dtype=torch.float64)

    def mean_ratio(z):
        return (log_density(0.3)(z) - noise.log_prob(z)).exp().mean()

    loss(log_density(0.3), x, z=z1)
    loss(log_density(0.3), x, z=z2)
    assert loss.log_u.exp().item() == pytest.approx((0.75 * mean_ratio(z1) + 0.25 * mean_ratio(z2)).item())


def test_extreme_ratios_stay_finite():
    noise = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    loss = MECOLoss(noise)
    theta = torch.tensor(400.0, dtype=torch.float64, requires_grad=True)
    x = torch.full((3,), 400.0, dtype=torch.float64)
    value = loss(log_density(theta), x, z=torch.tensor([0.0, 3.0], dtype=torch.float64))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(theta.grad)


def test_slopes_by_quadrature_agree_with_autograd_of_the_noise_contrastive_loss():
    generator = torch.Generator().manual_seed(0)
    theta = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    x = 2 + torch.randn(400_000, generator=generator, dtype=torch.float64)
    z = 2 * torch.randn(400_000, generator=generator, dtype=torch.float64)
    noise = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 2.0)
    c = theta**2 / 2 + 0.5 * math.log(2 * math.pi)
    loss = nce_loss(log_density(theta)(x), noise.log_prob(x), log_density(theta)(z), noise.log_prob(z), c)
    (slope,) = torch.autograd.grad(loss, theta)
    assert gaussian_slopes(2.0, 2.0, 1.0)["noise contrast"] == pytest.approx(slope.item(), abs=5e-3)


def test_noise_contrast_is_flat_near_a_far_optimum_and_the_likelihood_is_not():
    slopes = [gaussian_slopes(r, 1.0, r - 0.1) for r in (2.0, 4.0, 5.0)]
    assert all(s["likelihood"] == pytest.approx(-0.1) for s in slopes)
    contrast = [abs(s["noise contrast"]) for s in slopes]
    assert contrast[0] > contrast[1] > contrast[2]
    assert contrast[2] < 0.01


def test_mean_estimation_is_reproducible_and_converges():
    first = estimate_gaussian_mean(4.0, 2.0, steps=600, seed=3)
    assert torch.equal(first, estimate_gaussian_mean(4.0, 2.0, steps=600, seed=3))
    assert first[-50:].mean() < 0.5 < first[0]
    assert estimate_gaussian_mean(4.0, 2.0, method="nce", steps=600, seed=3)[-50:].mean() > first[-50:].mean()


def test_bad_input_is_refused():
    noise = torch.distributions.Normal(0.0, 1.0)
    with pytest.raises(ValueError, match="gamma must be greater than 0"):
        MECOLoss(noise, gamma=0.0)
    with pytest.raises(ValueError, match="one value per item"):
        MECOLoss(noise)(lambda x: x.sum(), torch.ones(3))
    with pytest.raises(ValueError, match="x must be finite"):
        MECOLoss(noise)(lambda x: x, torch.tensor([math.nan]))
