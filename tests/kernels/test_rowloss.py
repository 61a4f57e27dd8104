"""rowloss: identities with torch, extreme logits, layouts, finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import lab.kernels as kernels

generator = torch.Generator().manual_seed(7)
WORDS = ("cpu", "reference")


def sample(n=40, c=9, dtype=torch.float32):
    return 3 * torch.randn(n, c, generator=generator).to(dtype), torch.randint(c, (n,), generator=generator)


@pytest.mark.parametrize("word", WORDS)
def test_tau_one_is_cross_entropy(word):
    z, y = sample()
    with kernels.backend(word):
        assert torch.allclose(kernels.rowloss(z, y), F.cross_entropy(z, y, reduction="none"), rtol=1e-5)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    ("loss", "of_p"),
    [
        (kernels.comp_sum(0.0), lambda p: 1 / p - 1),
        (kernels.generalized_cross_entropy(0.7), lambda p: (1 - p**0.7) / 0.7),
        (kernels.mean_absolute_error(), lambda p: 1 - p),
        (kernels.comp_sum(0.5), lambda p: (p**-0.5 - 1) / 0.5),
    ],
)
def test_members_are_their_functions_of_the_right_class_probability(word, loss, of_p):
    z, y = sample()
    p = z.double().softmax(1)[torch.arange(len(y)), y]
    with kernels.backend(word):
        assert torch.allclose(kernels.rowloss(z, y, loss).double(), of_p(p), rtol=2e-5)


def test_comp_sum_is_continuous_at_tau_one():
    z, y = sample(dtype=torch.float64)
    near = [kernels.rowloss(z, y, kernels.comp_sum(1 + e)) for e in (-1e-9, 0.0, 1e-9)]
    assert torch.allclose(near[0], near[1], rtol=1e-7)
    assert torch.allclose(near[2], near[1], rtol=1e-7)


@pytest.mark.parametrize("word", WORDS)
def test_robust_loss_has_its_two_limits(word):
    z, y = sample()
    with kernels.backend(word):
        one = kernels.rowloss(z, y, kernels.label_distributionally_robust(margin=0.0))
        assert torch.allclose(one, F.cross_entropy(z, y, reduction="none") - math.log(9), atol=1e-5)
        small = kernels.rowloss(z, y, kernels.label_distributionally_robust(margin=0.5), temperature=1e-3)
    gap = z - z.gather(1, y[:, None]) + 0.5
    gap.scatter_(1, y[:, None], 0.0)
    assert torch.allclose(small, gap.amax(1), atol=5e-3)


@pytest.mark.parametrize("word", WORDS)
def test_margin_of_two_classes_is_their_difference_and_weights_are_its_derivative(word):
    z, y = sample(c=2)
    z.requires_grad_()
    g = -torch.rand(len(y), generator=generator)
    with kernels.backend(word):
        loss = kernels.rowloss(z, y, kernels.margin(), weight=g)
        loss.sum().backward()
    s = (z.gather(1, y[:, None]) - z.gather(1, 1 - y[:, None]))[:, 0]
    assert torch.allclose(loss, g * s, atol=1e-5)
    assert torch.allclose(z.grad.gather(1, y[:, None])[:, 0], g)


def test_ensloss_with_logistic_derivatives_has_the_gradient_of_the_logistic_loss():
    z, y = sample(c=2, dtype=torch.float64)
    z.requires_grad_()
    s = kernels.rowloss(z, y, kernels.margin())
    (found,) = torch.autograd.grad((s * -torch.sigmoid(-s).detach()).sum(), z)
    (exact,) = torch.autograd.grad(F.softplus(-(z.gather(1, y[:, None]) - z.gather(1, 1 - y[:, None]))).sum(), z)
    assert torch.allclose(found, exact, atol=1e-12)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("gap", [18.0, 30.0, 60.0, 80.0])
def test_loss_and_gradient_keep_their_digits_at_extreme_margins(word, gap):
    z = torch.tensor([[gap, 0.0, -1.0], [0.0, gap, 2.0]]).requires_grad_()
    y = torch.tensor([0, 0])
    with kernels.backend(word):
        loss = kernels.rowloss(z, y)
        loss.sum().backward()
    u = math.exp(-gap) + math.exp(-gap - 1)
    assert loss[0].item() == pytest.approx(math.log1p(u), rel=1e-5)
    assert F.cross_entropy(z, y, reduction="none")[0].item() == 0.0
    assert z.grad[0, 0].item() == pytest.approx(-u, rel=1e-5)
    assert loss[1].item() == pytest.approx(gap + math.log1p(math.exp(-gap) + math.exp(2 - gap)), rel=1e-6)


@pytest.mark.parametrize("word", WORDS)
def test_scores_of_any_size_give_finite_losses_and_gradients(word):
    z = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 3e4]]).requires_grad_()
    with kernels.backend(word):
        for loss in (kernels.comp_sum(), kernels.comp_sum(1.7), kernels.mean_absolute_error(), kernels.margin()):
            value = kernels.rowloss(z, torch.tensor([0, 0]), loss)
            (gradient,) = torch.autograd.grad(value.sum(), z)
            assert torch.isfinite(value).all()
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_images_equal_their_pixels_as_rows(word, memory):
    z = torch.randn(2, 5, 30, 41, generator=generator).contiguous(memory_format=memory)
    y = torch.randint(5, (2, 30, 41), generator=generator)
    t = 0.5 + torch.rand(2, 30, 41, generator=generator)
    rows = z.permute(0, 2, 3, 1).reshape(-1, 5)
    with kernels.backend(word):
        found = kernels.rowloss(z, y, kernels.comp_sum(1.2), temperature=t)
        exact = kernels.rowloss(rows, y.reshape(-1), kernels.comp_sum(1.2), temperature=t.reshape(-1))
    assert found.shape == (2, 30, 41)
    assert torch.allclose(found.reshape(-1), exact, rtol=1e-5, atol=1e-7)


def test_strided_scores_give_what_their_copies_give():
    z = torch.randn(50, 2000, generator=generator)[:, ::2]
    y = torch.randint(1000, (50,), generator=generator)
    with kernels.backend("cpu"):
        assert torch.equal(kernels.rowloss(z, y), kernels.rowloss(z.contiguous(), y))
        turned = torch.randn(1000, 50, generator=generator).T
        assert torch.equal(kernels.rowloss(turned, y), kernels.rowloss(turned.contiguous(), y))


@pytest.mark.parametrize(
    "loss",
    [
        kernels.comp_sum(0.4, margin=0.2),
        kernels.comp_sum(1.0),
        kernels.comp_sum(1.6),
        kernels.label_distributionally_robust(),
        kernels.margin(),
    ],
)
def test_gradients_agree_with_finite_differences(loss):
    z, y = sample(4, 5, torch.float64)
    t = 0.5 + torch.rand(4, generator=generator, dtype=torch.float64)
    w = torch.rand(4, generator=generator, dtype=torch.float64)
    arguments = [x.requires_grad_() for x in (z, t, w)]
    assert torch.autograd.gradcheck(lambda z, t, w: kernels.rowloss(z, y, loss, temperature=t, weight=w), arguments)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(2, 300), st.floats(-50, 50), st.integers(0, 2**31))
def test_losses_do_not_change_with_a_shift_of_all_scores(n, c, shift, seed):
    g = torch.Generator().manual_seed(seed)
    z, y = torch.randn(n, c, generator=g), torch.randint(c, (n,), generator=g)
    with kernels.backend("cpu"):
        a, b = kernels.rowloss(z, y), kernels.rowloss(z + shift, y)
    assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    assert (a > 0).all()


def test_kl_dro_weights_give_the_gradient_of_the_log_mean_exponential():
    losses = torch.rand(20, generator=generator, dtype=torch.float64).requires_grad_()
    weight = kernels.kl_dro_weights(losses, 0.3)
    exact = 0.3 * (torch.logsumexp(losses / 0.3, 0) - math.log(20))
    (gradient,) = torch.autograd.grad(exact, losses)
    assert torch.allclose(weight / 20, gradient)
    assert not weight.requires_grad
    assert float(weight.mean()) == pytest.approx(1.0)
    assert torch.allclose(kernels.kl_dro_weights(losses, 1e9), torch.ones(20, dtype=torch.float64))


def test_output_keeps_dtype_and_float16_refuses_tau_below_one():
    z, y = sample()
    assert kernels.rowloss(z.bfloat16(), y).dtype == torch.bfloat16
    assert kernels.rowloss(z.double(), y).dtype == torch.float64
    with pytest.raises(TypeError, match="float16 overflow"):
        kernels.rowloss(z.half(), y, kernels.comp_sum(0.5))
