"""The exact law of the kernel space: draws, closed forms, invariances, and the edges of what can be reached."""

import math

import numpy as np
import pytest
import torch

from lab.inductive_bias import NNGP, NTK, RBF, KernelSpace, Linear, Matern, Patch, Polynomial, Sum, Task, required_bits

from .cases import digits, smooth

SPACES = [
    RBF(),
    Matern(nu=0.5),
    Matern(nu=2.5),
    Polynomial(4),
    NNGP(2),
    NTK(2),
    Patch(3),
    Patch(5, pooled=True),
    Sum(RBF(), Linear()),
]


def bits(covariance, task, eps, **options):
    return required_bits(KernelSpace(covariance, **options).loss_law(task), eps).bits


@pytest.mark.parametrize("covariance", SPACES, ids=str)
def test_law_agrees_with_the_losses_of_drawn_functions(covariance):
    task = digits(40, 30)
    space = KernelSpace(covariance)
    law = space.loss_law(task)
    losses = task.losses(space.condition(task).draw(20_000, seed=1))
    assert float(losses.mean()) == pytest.approx(law.mean, rel=0.02)
    assert float(losses.std()) == pytest.approx(law.standard_deviation, rel=0.05)
    for quantile in (0.05, 0.5, 0.9):
        eps = float(losses.quantile(quantile))
        assert math.exp(float(law.tail(eps).log_cdf)) == pytest.approx(quantile, abs=0.015)


def test_independent_test_points_give_the_closed_form_chi_square():
    # far apart under a narrow RBF everything is independent: n k losses of variance one
    from scipy.stats import ncx2

    x = np.arange(20.0)[:, None] * 100
    y = np.sin(np.arange(20.0))
    task = Task((x[:10], y[:10]), (x[10:], y[10:]), centre=False)
    for eps in (0.05, 0.5, 2.0):
        exact = -ncx2.logcdf(eps * 10, 10, float((task.test_targets**2).sum())) / math.log(2)
        assert bits(RBF(1.0), task, eps, amplitude=1.0) == pytest.approx(exact, rel=1e-9)


def test_posterior_agrees_with_explicit_formulas_at_high_precision():
    import mpmath

    task = smooth(8, 5)
    space = KernelSpace(RBF(0.5), amplitude=2.0, noise=0.01)
    posterior = space.condition(task)
    with mpmath.workdps(50):

        def gram(a, b):
            return mpmath.matrix(
                [
                    [
                        mpmath.exp(
                            -sum((mpmath.mpf(float(s)) - mpmath.mpf(float(t))) ** 2 for s, t in zip(p, q))
                            / mpmath.mpf("0.5")
                        )
                        for q in b
                    ]
                    for p in a
                ]
            )

        x, u = task.train_inputs, task.test_inputs
        inverse = (gram(x, x) + mpmath.mpf("0.01") * mpmath.eye(8)) ** -1
        cross = gram(x, u)
        mean = cross.T * inverse * mpmath.matrix([float(v) for v in task.train_targets])
        covariance = 2 * (gram(u, u) - cross.T * inverse * cross)
    np.testing.assert_allclose(posterior.mean[:, 0], [float(v) for v in mean], rtol=1e-9)
    np.testing.assert_allclose(posterior.covariance, np.array(covariance.tolist(), dtype=float), rtol=1e-8, atol=1e-12)


def test_order_of_points_changes_nothing():
    task = digits(40, 30)
    shuffled = task.replaced(
        train_inputs=task.train_inputs.flip(0),
        train_targets=task.train_targets.flip(0),
        test_inputs=task.test_inputs.flip(0),
        test_targets=task.test_targets.flip(0),
    )
    assert bits(RBF(), shuffled, 0.05) == pytest.approx(bits(RBF(), task, 0.05), rel=1e-8)


def test_order_and_rotation_of_outputs_changes_nothing():
    task = digits(40, 30)
    q, _ = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    rotated = task.replaced(train_targets=task.train_targets @ q, test_targets=task.test_targets @ q)
    assert bits(RBF(), rotated, 0.05) == pytest.approx(bits(RBF(), task, 0.05), rel=1e-8)


def test_scaling_targets_and_loss_together_changes_nothing():
    task = digits(40, 30)
    scaled = task.replaced(train_targets=1e3 * task.train_targets, test_targets=1e3 * task.test_targets)
    assert bits(RBF(), scaled, 0.05e6) == pytest.approx(bits(RBF(), task, 0.05), rel=1e-8)


def test_every_test_point_twice_changes_nothing():
    task = digits(40, 30)
    doubled = task.replaced(test_inputs=task.test_inputs.repeat(2, 1), test_targets=task.test_targets.repeat(2, 1))
    assert bits(RBF(), doubled, 0.05) == pytest.approx(bits(RBF(), task, 0.05), rel=1e-5)


def test_every_training_point_twice_changes_nothing():
    task = digits(40, 30)
    doubled = task.replaced(train_inputs=task.train_inputs.repeat(2, 1), train_targets=task.train_targets.repeat(2, 1))
    assert bits(RBF(), doubled, 0.05, amplitude=0.1) == pytest.approx(bits(RBF(), task, 0.05, amplitude=0.1), rel=1e-5)


def test_training_points_inside_the_test_set_only_dilute_the_loss():
    task = digits(40, 30)
    mixed = task.replaced(
        test_inputs=torch.cat([task.test_inputs, task.train_inputs]),
        test_targets=torch.cat([task.test_targets, task.train_targets]),
    )
    assert bits(RBF(), mixed, 0.05 * 30 / 70) == pytest.approx(bits(RBF(), task, 0.05), rel=1e-5)


def test_contradicting_training_labels_cannot_be_fitted():
    task = digits(40, 30)
    x, y = task.train_inputs, task.train_targets
    twice = task.replaced(train_inputs=torch.cat([x, x[:1]]), train_targets=torch.cat([y, -y[:1]]))
    found = required_bits(KernelSpace(RBF()).loss_law(twice), 0.05)
    assert found.bits == math.inf
    assert "fits the training set" in found.sentence()
    assert math.isfinite(bits(RBF(), twice, 0.05, noise=0.1))


def test_linear_functions_cannot_reach_a_nonlinear_training_set():
    found = required_bits(KernelSpace(Linear()).loss_law(digits(100, 50)), 0.05)
    assert found.verdict == "unreachable"


def test_contradicting_test_labels_set_a_floor():
    task = digits(40, 20)
    both = task.replaced(
        test_inputs=task.test_inputs.repeat(2, 1), test_targets=torch.cat([task.test_targets, task.test_targets + 1])
    )
    law = KernelSpace(RBF()).loss_law(both)
    assert law.minimum == pytest.approx(0.25, rel=1e-6)
    found = required_bits(law, 0.2)
    assert found.bits == math.inf
    assert "floor" in found.sentence()
    assert math.isfinite(required_bits(law, 0.3).bits)


def test_training_and_test_set_equal_needs_no_bits():
    task = smooth(20, 5)
    same = task.replaced(test_inputs=task.train_inputs, test_targets=task.train_targets)
    assert required_bits(KernelSpace(RBF(0.3)).loss_law(same), 1e-6).bits == pytest.approx(0, abs=1e-9)


def test_constant_labels_are_defined():
    x = np.random.default_rng(0).random((20, 2))
    task = Task((x[:10], np.zeros(10)), (x[10:], np.zeros(10)))
    found = required_bits(KernelSpace(RBF(), amplitude=1.0).loss_law(task), 0.1)
    assert 0 < found.bits < math.inf
    assert math.isfinite(required_bits(KernelSpace(RBF()).loss_law(task), 0.1).bits)


def test_shuffled_test_labels_need_more_bits():
    task = digits(100, 60)
    shuffled = task.replaced(
        test_targets=task.test_targets[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    )
    assert bits(RBF(), shuffled, 0.05) > 3 * bits(RBF(), task, 0.05)


def test_marginal_likelihood_amplitude_is_the_maximum():
    task = digits(50, 20)
    best = KernelSpace(RBF(2.0)).condition(task).meta
    for factor in (0.8, 1.25):
        other = KernelSpace(RBF(2.0), amplitude=factor * best["amplitude"]).condition(task).meta
        assert other["log_marginal_likelihood"] < best["log_marginal_likelihood"]


def test_error_rate_of_a_kernel_space_is_an_energy():
    task = digits(60, 20, metric="error")
    law = KernelSpace(RBF(2.0)).loss_law(task)
    losses = law.sample(4000, seed=0)
    assert set(np.round(losses.numpy() * 20, 9) % 1) == {0.0}
    eps = float(losses.quantile(0.02))
    counted, split = (required_bits(law, eps, method=name) for name in ("counting", "splitting"))
    assert split.bits == pytest.approx(counted.bits, abs=0.7)


def test_mass_of_a_linear_model_class_inside_the_space():
    task = smooth(20, 30)
    features = torch.cat([torch.ones(30, 1, dtype=torch.float64), task.test_inputs], 1)
    law = KernelSpace(RBF(0.5)).class_law(task, features)
    near, far = required_bits(law, 1e-3).bits, required_bits(law, 1e-1).bits
    assert near > far > 0
    whole = KernelSpace(RBF(0.5)).class_law(task, torch.eye(30, dtype=torch.float64))
    assert required_bits(whole, 1e-6).bits == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "build, word",
    [
        (lambda: Task(([[1.0], [math.nan]], [0.0, 1.0]), ([[1.0]], [0.0])), "train inputs"),
        (lambda: Task(([[1.0]], [0.0, 1.0]), ([[1.0]], [0.0])), "equal length"),
        (lambda: Task(([[1.0]], [0.0]), ([[1.0, 2.0]], [0.0])), "features"),
        (lambda: Task(([[1.0], [2.0]], [1, 1]), ([[1.0]], [1])), "one class"),
        (lambda: Task(([[1.0]], [0.0]), ([[1.0]], [0.0]), metric="auc"), "metric"),
        (lambda: KernelSpace(RBF(), amplitude=-1.0), "amplitude"),
        (lambda: KernelSpace(RBF(), amplitude="best"), "amplitude"),
        (lambda: RBF(0.0), "width"),
        (lambda: Patch(9).resolved(torch.zeros(3, 64)), "size"),
        (lambda: required_bits(KernelSpace(RBF()).loss_law(smooth()), -1.0), "eps"),
        (lambda: required_bits(KernelSpace(RBF()).loss_law(smooth()), 0.1, method="enumeration"), "method"),
    ],
)
def test_bad_input_is_refused_by_name(build, word):
    with pytest.raises(ValueError, match=word):
        build()


def test_wrong_kinds_are_refused():
    with pytest.raises(TypeError, match="law"):
        required_bits([1.0, 2.0], 0.1)
    with pytest.raises(TypeError, match="train"):
        Task(np.zeros((3, 2)), (np.zeros((3, 2)), np.zeros(3)))
