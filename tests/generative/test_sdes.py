"""Forward processes: moments against the moment equations, chains against their limits, the flow of a Gaussian."""

import math

import pytest
import torch

from lab.generative import SDES, VE, VP, GaussianMixture, SubVP
from lab.integrate import dopri5

DOUBLE = torch.float64


def moments(sde, until):
    """m and the variance by integrating dm/dt = a m, dv/dt = 2 a v + g^2."""

    def f(t, y):
        a = sde.rate(t)
        return torch.stack([a * y[0], 2 * a * y[1] + sde.diffusion(t) ** 2])

    start = torch.stack([torch.ones((), dtype=DOUBLE), sde.std(torch.zeros((), dtype=DOUBLE)) ** 2])
    return dopri5(f, start, [0.0, until], rtol=1e-10, atol=1e-12).y[-1]


@pytest.mark.parametrize("name", SDES)
@pytest.mark.parametrize("t", [0.05, 0.4, 1.0])
def test_moments_solve_the_moment_equations(name, t):
    sde, time = SDES[name](), torch.tensor(t, dtype=DOUBLE)
    mean, variance = moments(sde, t)
    assert float(sde.mean(time)) == pytest.approx(float(mean), rel=1e-7)
    assert float(sde.std(time) ** 2) == pytest.approx(float(variance), rel=1e-7)


def test_the_prior_is_close_to_the_last_marginal_and_sub_vp_has_less_variance():
    t = torch.linspace(0.01, 1, 50, dtype=DOUBLE)
    assert bool((SubVP().std(t) <= VP().std(t)).all())
    assert float(VP().std(t)[-1]) == pytest.approx(1, abs=1e-4)
    assert VE().prior_std == pytest.approx(float(VE().std(t)[-1]))
    x = torch.randn(5, 3, dtype=DOUBLE)
    wanted = torch.distributions.Normal(0.0, 50.0).log_prob(x).sum(1)
    assert torch.allclose(VE().prior_log_density(x), wanted)


@pytest.mark.parametrize("name", SDES)
def test_the_discretized_chain_converges_to_the_marginals(name):
    sde, errors = SDES[name](), []
    for steps in (500, 1000):
        times = torch.linspace(0, 1, steps + 1, dtype=DOUBLE)[1:]
        mean, variance = torch.ones((), dtype=DOUBLE), sde.std(torch.zeros((), dtype=DOUBLE)) ** 2
        for t in times:
            a, noise = sde.discretized(t, 1 / steps)
            mean, variance = a * mean, a**2 * variance + noise**2
        errors.append(max(abs(float(mean - sde.mean(t))), abs(float(variance / sde.std(t) ** 2 - 1))))
    assert errors[1] < 0.6 * errors[0] + 1e-9
    assert errors[1] < 1e-2


def test_times_may_be_one_a_point_and_shapes_stay():
    x, t = torch.randn(4, 5, 3), torch.rand(4, 5)
    for make in SDES.values():
        sde = make()
        each = sde.drift(x, t)
        assert each.shape == x.shape
        assert torch.allclose(each[1, 2], sde.drift(x[1, 2], t[1, 2]))
        assert sde.noised(x, t, torch.zeros_like(x)).shape == x.shape


def test_too_few_steps_and_impossible_constants_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 21"):
        VP().discretized(torch.tensor(1.0), 1 / 19)
    with pytest.raises(ValueError, match="b_1"):
        VP(b_0=2.0, b_1=1.0)
    with pytest.raises(ValueError, match="s_max"):
        VE(s_min=2.0, s_max=1.0)
    with pytest.raises(ValueError, match="last"):
        SubVP(last=-1.0)


@pytest.mark.parametrize("name", SDES)
def test_the_flow_of_a_gaussian_scales_it(name):
    """A Gaussian stays one: the flow maps quantiles to quantiles, x(t) = x(1) std(t) / std(1)."""
    sde, target = SDES[name](), GaussianMixture(torch.zeros(1, 1), 0.7)
    deviation = lambda t: math.sqrt((0.7 * float(sde.mean(t))) ** 2 + float(sde.std(t)) ** 2)  # noqa: E731
    one, last = torch.tensor(1.0, dtype=DOUBLE), torch.tensor(sde.last, dtype=DOUBLE)
    x = torch.linspace(-2, 2, 9, dtype=DOUBLE)[:, None] * deviation(one)
    end = dopri5(lambda t, y: sde.flow(target.at(sde), y, t), x, [1.0, sde.last], rtol=1e-9, atol=1e-10).y[-1]
    assert torch.allclose(end, x * deviation(last) / deviation(one), rtol=1e-6)
