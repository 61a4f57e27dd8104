"""One number from every law: methods agree where they can be compared, and say what they cannot support."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.inductive_bias import RBF, DiscreteLaw, EnergyLaw, KernelSpace, SampleLaw, Splitting, required_bits
from lab.inductive_bias import chi_square_fit as fitting
from lab.inductive_bias.bits import Bits
from lab.inductive_bias.saddlepoint import nats
from lab.kernels.chi_square import chi_square_tail

from .cases import digits, random_law


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 10_000), st.floats(0.02, 2.5))
@settings(max_examples=40, deadline=None)
def test_saddlepoint_agrees_with_the_contour(directions, outputs, seed, fraction):
    law = random_law(directions, outputs, seed)
    eps = fraction * law.mean
    exact, fast = required_bits(law, eps).nats, required_bits(law, eps, method="saddlepoint").nats
    loose = 0.05 if directions * outputs < 5 else 0.01
    assert fast == pytest.approx(exact, rel=loose, abs=loose)


def test_saddlepoint_is_sharp_in_the_deep_tail():
    for seed in range(5):
        law = random_law(200, 3, seed)
        eps = law.quantile([100.0, 2000.0])
        exact, fast = required_bits(law, eps).bits, required_bits(law, eps, method="saddlepoint").bits
        assert np.abs(fast / exact - 1).max() < 1e-6


def test_saddlepoint_has_exact_gradients():
    law = random_law(12, 2, 3)
    weights, shifts = law.eigenvalues.clone().requires_grad_(), law.shifts.clone().requires_grad_()
    q = torch.tensor([2.0, 5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, d, t: nats(w, d, 2, t), (weights, shifts, q), rtol=1e-4)


def test_quantile_inverts_the_bits():
    law = random_law(80, 2, 1)
    wanted = torch.tensor([0.01, 1.0, 30.0, 500.0])
    assert required_bits(law, law.quantile(wanted)).bits == pytest.approx(wanted.numpy(), rel=1e-6)


def test_bits_fall_with_eps_and_never_below_zero():
    law = KernelSpace(RBF()).loss_law(digits())
    curve = required_bits(law, np.linspace(0.001, 3 * law.mean, 200))
    assert (np.diff(curve.bits) <= 0).all()
    assert (curve.bits >= 0).all()
    assert list(curve.to_frame().columns)[:2] == ["eps", "bits"]


def test_zero_eps_is_infinite():
    assert required_bits(random_law(), 0.0).bits == math.inf


def test_enumeration_sums_weights():
    law = DiscreteLaw([0.0, 0.1, 0.2, 0.3], np.log([0.125, 0.125, 0.25, 0.5]))
    assert required_bits(law, 0.1).bits == pytest.approx(2.0)
    assert required_bits(law, 0.3).bits == pytest.approx(0.0, abs=1e-12)
    assert required_bits(DiscreteLaw([0.2, 0.3]), 0.1).verdict == "unreachable"


def test_counting_interval_covers_the_exact_value():
    law = random_law(30, 1, 4)
    eps = float(law.quantile([6.0])[0])
    found = [required_bits(SampleLaw(law.sample(2000, seed=seed)), eps) for seed in range(60)]
    assert {each.method for each in found} == {"counting"}
    assert np.mean([each.interval[0] <= 6.0 <= each.interval[1] for each in found]) >= 0.88


def test_draws_that_do_not_fit_the_training_set_are_left_out():
    law = SampleLaw([0.1, 0.1, 0.5, 0.9], train_losses=[0.0, 1.0, 0.0, 0.0], tolerance=0.1)
    assert required_bits(law, 0.2).bits == pytest.approx(math.log2(3))
    none = required_bits(SampleLaw([0.1, 0.2], train_losses=[1.0, 1.0], tolerance=0.1), 0.2)
    assert not none.valid
    assert "fits the training set" in none.sentence()


@pytest.mark.parametrize("target", [12, 60, 120])
def test_splitting_finds_known_rare_events(target):
    errors, covered = [], []
    for seed in range(3):
        law = random_law(60, 1, 100 + seed)
        eps = float(law.quantile([float(target)])[0])
        found = required_bits(law.energy_law(), eps, seed=seed)
        errors.append(abs(found.bits / target - 1))
        covered.append(found.interval[0] <= target <= found.interval[1])
    assert np.median(errors) < 0.03
    assert sum(covered) >= 2


def test_splitting_of_independent_coins_is_the_binomial_law():
    # a discrete loss with plateaus: the share of 24 coordinates that are positive
    from scipy.stats import binom

    law = EnergyLaw(lambda z: (z > 0).double().mean(1), 24)
    for wrong in (0, 2, 4):
        exact = -binom.logcdf(wrong, 24, 0.5) / math.log(2)
        assert required_bits(law, wrong / 24, seed=1).bits == pytest.approx(exact, rel=0.12)


def test_splitting_with_a_constraint_is_conditional():
    # first coordinate given that the second is small: independent, so the condition changes nothing
    law = EnergyLaw(lambda z: z[:, 0].abs(), 2, constraint=lambda z: z[:, 1].abs(), tolerance=0.01)
    from scipy.stats import norm

    found = required_bits(law, 0.001, seed=0)
    assert found.bits == pytest.approx(-math.log2(2 * norm.cdf(0.001) - 1), rel=0.12)
    assert found.meta["bits_to_fit_training"] == pytest.approx(-math.log2(2 * norm.cdf(0.01) - 1), rel=0.15)


def test_impossible_events_stop_and_report():
    # a sign perceptron without bias on XOR: at least one of the four cases is wrong
    x = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    y = torch.tensor([1.0, -1, -1, 1], dtype=torch.float64)
    law = EnergyLaw(lambda z: ((z @ x.T) * y <= 0).double().mean(1), 2)
    found = required_bits(law, 0.0)
    assert found.bits == math.inf
    assert not found.valid
    assert "no lower loss" in found.sentence()
    constant = EnergyLaw(lambda z: torch.ones(len(z), dtype=torch.float64), 3)
    assert required_bits(constant, 0.5).verdict == "not reached"
    assert required_bits(constant, 1.0).bits == pytest.approx(0)


def test_same_seed_gives_the_same_bits():
    law = random_law(20, 1, 2).energy_law()
    assert required_bits(law, 0.01, seed=5) == required_bits(law, 0.01, seed=5)


def test_fit_recovers_its_own_family():
    from scipy.stats import ncx2

    for dof, shift in ((6.0, 0.5), (80.0, 40.0), (600.0, 300.0)):
        x = ncx2.rvs(dof, shift, size=20_000, random_state=1) * 0.01
        found = fitting.fit(x)
        eps = float(np.quantile(x, 1e-3))
        error = found.standard_error(eps)
        exact = -ncx2.logcdf(eps / 0.01, dof, shift)
        assert abs(found.nats(eps) - exact) < 5 * error + 0.02


def test_fit_is_scale_equivariant():
    x = random_law(50, 1, 1).sample(2000, seed=0)
    eps = 0.3 * float(x.mean())
    for scale in (1e-6, 1e3):
        assert fitting.fit(scale * x).nats(scale * eps) == pytest.approx(fitting.fit(x).nats(eps), rel=1e-6)


def test_likelihood_is_the_density_of_the_tail():
    # the closed form with Bessel functions against the derivative of the integrated tail
    for coordinates in ([0.0, -1.0, 0.3], [0.0, -4.0, -2.0], [0.5, -7.0, 4.0], [0.0, 0.4, -3.0]):
        dof, shift, scale = fitting._parameters(coordinates)
        x = np.linspace(0.2, 3, 7)
        exact = chi_square_tail([scale], [shift * scale], dof, x).log_density.numpy()
        assert fitting._log_density(coordinates, x) == pytest.approx(exact, rel=1e-5, abs=1e-5)


def test_sampling_error_falls_with_the_root_of_the_draws():
    from scipy.stats import ncx2

    eps, estimates = 0.35, []
    for seed in range(16):
        x = ncx2.rvs(20, 10, size=1000, random_state=seed) / 30
        estimates.append(fitting.fit(x).nats(eps))
    predicted = fitting.fit(ncx2.rvs(20, 10, size=10_000, random_state=99) / 30).standard_error(eps, 1000)
    assert np.std(estimates) == pytest.approx(predicted, rel=0.5)


def test_deep_extrapolation_is_flagged_and_a_shallow_true_one_is_not():
    law = KernelSpace(RBF(), amplitude=1.0).loss_law(digits(100, 100))
    draws = SampleLaw(law.sample(2000, seed=0))
    deep = required_bits(draws, 0.4 * law.mean, method="fit")
    assert not deep.valid
    assert "extrapolated" in deep.sentence()
    assert deep.interval[1] == math.inf
    from scipy.stats import ncx2

    flagged = 0
    for seed in range(10):
        x = ncx2.rvs(40, 20, size=2000, random_state=seed) / 60
        eps = float(ncx2.ppf(2.0**-14, 40, 20)) / 60
        flagged += not required_bits(SampleLaw(x), eps, method="fit").valid
    assert flagged <= 1


def test_too_few_or_discrete_draws_give_a_bound_only():
    found = required_bits(SampleLaw(np.full(100, 0.5)), 0.1)
    assert not found.valid
    assert found.interval[1] == math.inf
    assert required_bits(SampleLaw([0.3, 0.4]), 0.1).valid is False


def test_settings_of_splitting_are_checked():
    with pytest.raises(ValueError, match="runs"):
        Splitting(runs=2)
    with pytest.raises(ValueError, match="one loss per latent"):
        required_bits(EnergyLaw(lambda z: z, 3), 0.1)


def test_bits_of_a_certain_event_are_zero_without_a_sign():
    found = Bits(-0.0, (-0.0, math.inf), "splitting", False, ("nothing met",), 0.1)
    assert math.copysign(1, found.bits) == math.copysign(1, found.interval[0]) == 1
    assert "-0" not in found.sentence()
