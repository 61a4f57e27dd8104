"""The weighted non-central chi-square tail against closed forms at 50 digits, its own reference, and Monte Carlo."""

import math

import mpmath
import numpy as np
import pytest
import torch

from lab.kernels.chi_square import chi_square_tail


def central(dof, q):
    with mpmath.workdps(50):
        return mpmath.log(mpmath.gammainc(mpmath.mpf(dof) / 2, 0, mpmath.mpf(q) / 2, regularized=True))


def noncentral(dof, shift, q):
    """Poisson mixture of central laws."""
    with mpmath.workdps(50):
        a, total, j = mpmath.mpf(shift) / 2, mpmath.mpf(0), 0
        while True:
            weight = mpmath.exp(-a + j * mpmath.log(a) - mpmath.loggamma(j + 1))
            term = weight * mpmath.gammainc(mpmath.mpf(dof) / 2 + j, 0, mpmath.mpf(q) / 2, regularized=True)
            total += term
            if j > a and term < total * mpmath.mpf(10) ** -30:
                return mpmath.log(total)
            j += 1


def hypoexponential(rates, q):
    """Two degrees of freedom each: a sum of exponentials with distinct rates."""
    with mpmath.workdps(200):
        rates = [mpmath.mpf(rate) for rate in rates]
        total = mpmath.mpf(0)
        for i, rate in enumerate(rates):
            product = mpmath.mpf(1)
            for j, other in enumerate(rates):
                if j != i:
                    product *= other / (other - rate)
            total += product * -mpmath.expm1(-rate * mpmath.mpf(q))
        return mpmath.log(total)


def log_cdf(weights, shifts, dof, q, **options):
    return float(chi_square_tail(weights, shifts, dof, [float(q)], **options).log_cdf[0])


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("dof", [1, 2, 3, 10, 1000, 10000])
def test_central_law_agrees_with_the_incomplete_gamma_function(dof, backend):
    for fraction in (1e-8, 1e-3, 0.1, 0.5, 0.95, 1.0, 1.05, 1.5):
        exact = central(dof, dof * fraction)
        if -20000 < exact < -1e-100:
            got = log_cdf([1.0], 0.0, float(dof), dof * fraction, backend=backend)
            assert abs((mpmath.mpf(got) - exact) / exact) < (1e-13 if backend == "cpu" else 1e-11)


@pytest.mark.parametrize("q", [0.1, 10, 400, 2400, 2700])
def test_noncentral_law_agrees_with_its_poisson_mixture(q):
    exact = noncentral(500, 2000, q)
    assert abs((mpmath.mpf(log_cdf([1.0], 2000.0, 500.0, q)) - exact) / exact) < 1e-13


@pytest.mark.parametrize("q", [1e-3, 0.1, 1.0, 4.0, 12.0])
def test_sum_of_exponentials_agrees_with_its_closed_form(q):
    rates = [1.0 + 0.37 * i for i in range(12)]
    exact = hypoexponential(rates, q)
    got = log_cdf([1 / (2 * rate) for rate in rates], 0.0, 2.0, q)
    assert abs((mpmath.mpf(got) - exact) / exact) < 1e-12


def test_equal_weights_agree_with_one_weight_of_many_degrees():
    for q in (0.01, 3.0, 200.0, 999.0, 1100.0):
        single, many = log_cdf([2.0], 7.0, 500.0, q), log_cdf(np.full(500, 2.0), 7.0 / 500, 1.0, q)
        assert many == pytest.approx(single, rel=1e-11)


def test_backends_agree_on_unequal_weights_and_degrees():
    rng = np.random.default_rng(1)
    weights, shifts = rng.exponential(size=40) ** 3 + 1e-6, rng.exponential(size=40)
    for dof in (1.0, 3.0, rng.integers(1, 6, 40).astype(float), rng.random(40) + 0.2):
        q = torch.tensor([1e-4, 0.1, 3.0, 40.0, 400.0])
        compiled, plain = (chi_square_tail(weights, shifts, dof, q, backend=name) for name in ("cpu", "reference"))
        for name in ("log_cdf", "log_survival", "log_density", "saddle"):
            torch.testing.assert_close(getattr(compiled, name), getattr(plain, name), rtol=1e-9, atol=1e-12)


def test_body_agrees_with_draws():
    rng = np.random.default_rng(2)
    weights, means = np.exp(-np.arange(6) / 2), rng.normal(size=6)
    draws = (weights * (rng.standard_normal((200_000, 6)) + means) ** 2).sum(1)
    for q in np.quantile(draws, [0.01, 0.2, 0.5, 0.9, 0.999]):
        assert math.exp(log_cdf(weights, weights * means**2, 1.0, q)) == pytest.approx((draws <= q).mean(), abs=4e-3)


def test_density_is_the_derivative_of_the_distribution():
    weights, shifts = np.exp(-np.arange(30) / 5), np.linspace(0, 1, 30)
    for q in (0.5, 5.0, 20.0):
        tail = chi_square_tail(weights, shifts, 2.0, [q * (1 - 1e-6), q, q * (1 + 1e-6)])
        slope = float(tail.log_cdf[2] - tail.log_cdf[0]) / (2e-6 * q)
        assert math.exp(float(tail.log_density[1] - tail.log_cdf[1])) == pytest.approx(slope, rel=1e-6)


def test_scaling_weights_and_threshold_together_changes_nothing():
    weights, shifts = np.exp(-np.arange(50) / 9), np.linspace(0, 2, 50)
    for scale in (1e-30, 1e-3, 7.0, 1e20):
        scaled = log_cdf(weights * scale, shifts * scale, 3.0, 2 * scale)
        assert scaled == pytest.approx(log_cdf(weights, shifts, 3.0, 2), rel=1e-12)


def test_both_tails_add_up_to_one_and_order():
    weights = np.exp(-np.arange(200) / 40)
    tail = chi_square_tail(weights, 0.3, 1.0, np.linspace(0.01, 400, 300))
    assert (tail.log_cdf.diff() > -1e-15).all()
    assert (tail.log_survival.diff() < 1e-15).all()
    assert (tail.log_cdf.exp() + tail.log_survival.exp() - 1).abs().max() < 1e-12


def test_thresholds_without_mass_have_probability_zero():
    tail = chi_square_tail([1.0, 2.0], 0.0, 1.0, [0.0, -1.0])
    assert (tail.log_cdf == -math.inf).all()
    assert (tail.log_survival == 0).all()


@pytest.mark.parametrize(
    "arguments, word",
    [
        (([1.0, 0.0], 0.0, 1.0, [1.0]), "weights"),
        (([1.0], -1.0, 1.0, [1.0]), "shifts"),
        (([1.0], 0.0, 0.0, [1.0]), "dof"),
        (([1.0, 2.0], [1.0], 1.0, [1.0]), "shape"),
        (([math.nan], 0.0, 1.0, [1.0]), "weights"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, word):
    with pytest.raises(ValueError, match=word):
        chi_square_tail(*arguments)
