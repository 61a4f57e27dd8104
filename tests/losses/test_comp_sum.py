import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.losses import CompSumLoss, SmoothAdversarialCompSum, by_name, comp_sum_loss, conditional_risk, gamma_tau, t_tau

TAUS = (0.0, 0.5, 1.0, 1.3, 1.7, 2.0, 2.5)


def scores(generator, rows=6, classes=4, scale=3.0):
    return scale * torch.randn(rows, classes, generator=generator, dtype=torch.float64), torch.randint(
        classes, (rows,), generator=generator
    )


def test_tau_one_is_cross_entropy(generator):
    z, y = scores(generator)
    torch.testing.assert_close(comp_sum_loss(z, y, 1.0), torch.nn.functional.cross_entropy(z, y))


@pytest.mark.parametrize("tau", TAUS)
def test_loss_equals_its_formula_in_fifty_digits(tau, generator):
    z, y = scores(generator, scale=20.0)
    values = comp_sum_loss(z, y, tau, reduction="none")
    with mpmath.workdps(50):
        for row, label, value in zip(z.tolist(), y.tolist(), values.tolist()):
            u = mpmath.fsum(mpmath.exp(mpmath.mpf(s) - row[label]) for j, s in enumerate(row) if j != label)
            exact = mpmath.log1p(u) if tau == 1 else ((1 + u) ** (1 - tau) - 1) / (1 - mpmath.mpf(tau))
            assert value == pytest.approx(float(exact), rel=1e-11)


def test_members_with_a_name_are_their_textbook_forms(generator):
    z, y = scores(generator)
    p = torch.softmax(z, 1).gather(1, y[:, None])[:, 0]
    torch.testing.assert_close(comp_sum_loss(z, y, 0.0, reduction="none"), 1 / p - 1)
    torch.testing.assert_close(comp_sum_loss(z, y, 1.7, reduction="none"), (1 - p**0.7) / 0.7)
    torch.testing.assert_close(comp_sum_loss(z, y, 2.0, reduction="none"), 1 - p)


@pytest.mark.parametrize("tau", TAUS)
def test_gradient_agrees_with_finite_differences(tau, generator):
    z, y = scores(generator, scale=1.0)
    assert torch.autograd.gradcheck(lambda s: comp_sum_loss(s, y, tau), z.requires_grad_())


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("scale", [1e3, -1e3])
def test_extreme_scores_stay_finite(tau, scale):
    z = torch.tensor([[scale, 0.0, -scale]], requires_grad=True)
    loss = comp_sum_loss(z, torch.tensor([0]), tau)
    if tau < 1 and scale < 0:
        assert loss > 1e30  # grows like exp((1 - tau) margin), as documented
        return
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(z.grad).all()


def test_small_loss_keeps_its_digits_where_cross_entropy_rounds_to_zero():
    z = torch.tensor([[30.0, 0.0]])
    loss = comp_sum_loss(z, torch.tensor([0]), 1.0)
    assert loss.item() == pytest.approx(math.exp(-30), rel=1e-5)


def test_class_weights_and_ignored_labels_follow_torch(generator):
    z, y = scores(generator, rows=9)
    y[2] = -100
    weight = torch.tensor([0.5, 2.0, 0.0, 1.0], dtype=torch.float64)
    for reduction in ("mean", "sum", "none"):
        ours = CompSumLoss(1.0, weight=weight, reduction=reduction)(z, y)
        torch.testing.assert_close(ours, torch.nn.functional.cross_entropy(z, y, weight=weight, reduction=reduction))


def test_segmentation_shaped_logits_equal_their_flattened_form(generator):
    z = torch.randn(2, 5, 4, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(5, (2, 4, 3), generator=generator)
    flat = comp_sum_loss(z.permute(0, 2, 3, 1).reshape(-1, 5), y.reshape(-1), 1.5)
    torch.testing.assert_close(comp_sum_loss(z, y, 1.5), flat)


@pytest.mark.parametrize("target", [torch.empty(0, dtype=torch.long), torch.full((3,), -100)])
def test_batch_without_rows_that_count_has_zero_loss_and_gradient(target):
    z = torch.ones(len(target), 4, requires_grad=True)
    loss = comp_sum_loss(z, target, 1.5)
    loss.backward()
    assert loss.item() == 0
    assert (z.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype, generator):
    z, y = scores(generator)
    value = comp_sum_loss(z.to(dtype), y, 1.3)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(comp_sum_loss(z.to(dtype).double(), y, 1.3).item(), rel=1e-5)


@pytest.mark.parametrize(
    "logits, target, arguments, words",
    [
        (torch.tensor([[float("nan"), 0.0]]), torch.tensor([0]), {}, "logits must be finite"),
        (torch.ones(2, 3), torch.tensor([0, 3]), {}, r"target must lie in \[0, 3\)"),
        (torch.ones(2, 3), torch.tensor([0.0, 1.0]), {}, "integer labels"),
        (torch.ones(2, 3), torch.tensor([0, 1, 1]), {}, r"target must have shape \(2,\)"),
        (torch.ones(2, 1), torch.tensor([0, 0]), {}, "at least 2 classes"),
        (torch.ones(3), torch.tensor([0, 0]), {}, "classes on axis 1"),
        (torch.ones(2, 3), torch.tensor([0, 1]), {"tau": -1.0}, "tau must be at least 0"),
        (torch.ones(2, 3), torch.tensor([0, 1]), {"reduction": "avg"}, "reduction must be one of"),
        (torch.ones(2, 3), torch.tensor([0, 1]), {"weight": torch.ones(2)}, "weight must have shape"),
        (torch.ones(2, 3, dtype=torch.complex64), torch.tensor([0, 1]), {}, "logits must be real"),
    ],
)
def test_bad_input_is_refused_in_words(logits, target, arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        comp_sum_loss(logits, target, **arguments)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 1.5, 1.7])
def test_transform_is_the_excess_risk_of_two_classes(tau):
    """Scores that tie two classes of probability (1 +- b)/2: the surrogate's excess risk by direct computation."""
    for b in (0.01, 0.3, 0.8, 1.0):
        p = torch.tensor([(1 + b) / 2, (1 - b) / 2], dtype=torch.float64)
        tied = comp_sum_loss(torch.zeros(2, 2, dtype=torch.float64), torch.tensor([0, 1]), tau, reduction="none")
        excess = (p * tied).sum() - conditional_risk(p, tau)
        assert t_tau(b, tau, 2).item() == pytest.approx(excess.item(), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 1.6])
def test_conditional_risk_is_the_minimum_over_scores(tau, generator):
    p = torch.softmax(torch.randn(4, generator=generator, dtype=torch.float64), 0)
    z = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([z], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def closure():
        optimizer.zero_grad()
        value = (p * comp_sum_loss(z.expand(4, 4), torch.arange(4), tau, reduction="none")).sum()
        value.backward()
        return value

    optimizer.step(closure)
    assert closure().item() == pytest.approx(conditional_risk(p, tau).item(), abs=1e-9)


@given(st.floats(0, 1), st.sampled_from(TAUS), st.integers(2, 1000))
@settings(max_examples=100, deadline=None)
def test_gamma_inverts_t(beta, tau, classes):
    again = gamma_tau(t_tau(beta, tau, classes), tau, classes)
    assert again.item() == pytest.approx(beta, abs=1e-9)


def test_gamma_of_an_infinite_excess_says_nothing():
    assert gamma_tau(math.inf, 1.0, 10).item() == 1.0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_adversarial_objective_bounds_the_margin_loss_and_stays_in_its_ball(norm, generator):
    linear = torch.nn.Linear(8, 5)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(5, 8, generator=generator))
        linear.bias.zero_()
    x, y = torch.rand(20, 8, generator=generator), torch.randint(5, (20,), generator=generator)
    rho = 1.5
    objective = SmoothAdversarialCompSum(0.0, rho=rho, nu=None, epsilon=0.2, norm=norm, steps=20)
    worst = objective.perturb(linear, x, y, linear(x).detach())
    order = math.inf if norm == "linf" else 2
    assert ((worst - x).flatten(1).norm(p=order, dim=1) <= 0.2 + 1e-6).all()
    assert worst.min() >= 0
    assert worst.max() <= 1
    scores = linear(worst)
    margins = scores.gather(1, y[:, None])[:, 0] - scores.scatter(1, y[:, None], -math.inf).amax(1)
    margin_loss = (1 - margins / rho).clamp(0, 1).mean()
    assert objective(linear, x, y) >= margin_loss


def test_ascent_finds_the_supremum_of_a_linear_model(generator):
    """For linear scores of two classes the distance is |w (x' - x)| with supremum epsilon * ||w||_1."""
    linear = torch.nn.Linear(6, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(2, 6, generator=generator))
    objective = SmoothAdversarialCompSum(1.0, epsilon=0.05, steps=10, bounds=None)
    x, y = torch.rand(4, 6, generator=generator), torch.zeros(4, dtype=torch.long)
    worst = objective.perturb(linear, x, y, linear(x).detach())
    reached = (linear(worst) - linear(x)).detach()
    supremum = 0.05 * (linear.weight[0] - linear.weight[1]).abs().sum()
    np.testing.assert_allclose((reached[:, 0] - reached[:, 1]).abs(), supremum.expand(4).detach(), rtol=1e-4)


def test_losses_by_name():
    assert isinstance(by_name("comp-sum", tau=1.5), CompSumLoss)
    assert by_name("generalized-cross-entropy").tau == 1.7
    with pytest.raises(ValueError, match="did you mean 'cross-entropy'"):
        by_name("cross-entropi")
