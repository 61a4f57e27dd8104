"""Quantizers and distillation: bounds, unbiasedness, gradients by finite differences, brute force."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.training import (
    BucketScale,
    LearnedPoints,
    LearnedStep,
    UniformQuantizer,
    distillation_loss,
    learned_step,
    round_straight_through,
)

DOUBLE = torch.float64


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(1, 70), st.integers(0, 1000))
def test_uniform_levels_are_few_and_near(bits, bucket, seed):
    v = 3 * normal(9, 7, seed=seed) + 1
    quantizer = UniformQuantizer(bits, bucket)
    found = quantizer(v)
    scale = BucketScale.of(v, bucket)
    assert found.shape == v.shape
    for start in range(0, 63, bucket):
        piece, own = found.flatten()[start : start + bucket], v.flatten()[start : start + bucket]
        spread = own.max() - own.min()
        assert len(piece.unique()) <= 2**bits
        assert (piece - own).abs().max() <= spread / (2 * quantizer.steps) * (1 + 1e-9) + 1e-15
        assert piece.min() >= own.min() - 1e-12 and piece.max() <= own.max() + 1e-12
    assert torch.allclose(scale.unscale(scale.scale(v)), v)


def test_a_constant_tensor_stays_and_an_empty_one_is_refused():
    assert torch.equal(UniformQuantizer(2)(torch.full((5,), 0.3)), torch.full((5,), 0.3))
    with pytest.raises(ValueError, match="empty"):
        UniformQuantizer(2)(torch.zeros(0))


def test_stochastic_rounding_is_unbiased_and_repeats_with_its_seed():
    v = normal(40)
    quantizer = UniformQuantizer(2, stochastic=True, seed=0)
    draws = torch.stack([quantizer(v) for _ in range(2000)])
    step = (v.max() - v.min()) / 3
    assert (draws.mean(0) - v).abs().max() < 5 * step / 2 / math.sqrt(2000)  # five standard errors
    assert (UniformQuantizer(2)(v) - v).abs().mean() > 5 * (draws.mean(0) - v).abs().mean()
    assert torch.equal(UniformQuantizer(2, stochastic=True, seed=5)(v), UniformQuantizer(2, stochastic=True, seed=5)(v))
    assert len(draws.unique()) == 4


def test_straight_through_gradients_are_the_identity():
    for function in (round_straight_through, UniformQuantizer(3, 4)):
        v = normal(10).requires_grad_()
        weight = normal(10, seed=1)
        (function(v) * weight).sum().backward()
        assert torch.equal(v.grad, weight)
    assert torch.equal(round_straight_through(torch.tensor([0.4, 0.6, 2.5])), torch.tensor([0.0, 1.0, 2.0]))


@pytest.mark.parametrize("signed", [True, False])
def test_learned_step_has_the_gradients_of_its_paper(signed):
    v, bits = 3 * normal(200), 3
    low, high = (-4, 3) if signed else (0, 7)
    step = torch.tensor(0.5, dtype=DOUBLE, requires_grad=True)
    v.requires_grad_()
    weight = normal(200, seed=2)
    found = learned_step(v, step, bits, signed=signed)
    by_v, by_step = torch.autograd.grad((found * weight).sum(), (v, step))
    u = v.detach() / 0.5
    inside = (u > low) & (u < high)
    assert torch.allclose(found.detach(), u.clamp(low, high).round() * 0.5)
    assert torch.equal(by_v, weight * inside)
    slope = torch.where(inside, u.round() - u, u.clamp(low, high))
    assert by_step.item() == pytest.approx(float((weight * slope).sum()) / math.sqrt(200 * high))


def test_learned_step_descends_to_the_best_step_and_keeps_integers():
    v = normal(4000).float()
    quantizer = LearnedStep(bits=3)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        (quantizer(v) - v).square().sum().backward()
        optimizer.step()
    candidates = torch.linspace(0.1, 2, 400)
    errors = torch.stack([(learned_step(v, s, 3) - v).square().sum() for s in candidates])
    assert abs(float(quantizer.step.detach()) - float(candidates[errors.argmin()])) < 0.03
    levels = quantizer.integers(v)
    assert levels.dtype == torch.int32 and -4 <= int(levels.min()) and int(levels.max()) <= 3
    assert torch.allclose(levels * quantizer.step, quantizer(v))


def test_steps_by_channel_equal_one_quantizer_a_channel():
    v = (normal(3, 50) * torch.tensor([[0.1], [1.0], [10.0]], dtype=DOUBLE)).float()
    together = LearnedStep(bits=4, channels=3)
    found = together(v)
    for i in range(3):
        alone = LearnedStep(bits=4)
        assert torch.allclose(alone(v[i]), found[i])
        assert torch.allclose(alone.step, together.step[i])
    with pytest.raises(ValueError, match="3 channels"):
        together(v[:2])


def test_learned_points_take_the_nearest_and_sum_gradients_over_their_values():
    v = normal(6, 11)
    points = LearnedPoints(v, bits=2, bucket=16)
    scale = BucketScale.of(v, 16)
    found = points(v)
    scaled = scale.scale(v)
    distance = (scaled[..., None] - points.points.detach()).abs()
    assert torch.equal(points.indices(v), distance.argmin(-1))
    assert torch.allclose(found, scale.unscale(points.points[distance.argmin(-1)]))
    assert torch.autograd.gradcheck(lambda p: _with(points, p, v), points.points.detach().clone().requires_grad_())
    start = LearnedPoints(v, bits=2, start="quantile").points
    single = BucketScale.of(v).scale(v).flatten()
    assert torch.allclose(start, torch.quantile(single, torch.linspace(0, 1, 4, dtype=DOUBLE)))


def _with(points, values, v):
    from lab.training.quantizers import _NearestPoint

    scale = BucketScale.of(v, points.bucket)
    return scale.unscale(_NearestPoint.apply(values, scale.scale(v))[0])


def test_points_descend_to_those_of_lloyd():
    v = normal(500)
    points = LearnedPoints(v, bits=2)
    optimizer = torch.optim.SGD(points.parameters(), lr=1e-4)
    for _ in range(1500):
        optimizer.zero_grad()
        (points(v) - v).square().sum().backward()
        optimizer.step()
        points.sort()
    scaled = BucketScale.of(v).scale(v).flatten()
    place = points.indices(v).flatten()
    centres = torch.stack([scaled[place == r].mean() for r in range(4)])  # a point at its minimum is its values' mean
    assert torch.allclose(points.points.detach(), centres, atol=1e-3)


def test_points_out_of_order_are_refused():
    points = LearnedPoints(normal(20), bits=1)
    with torch.no_grad():
        points.points.copy_(torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="sort"):
        points(normal(20))
    points.sort()
    points(normal(20))


@pytest.mark.parametrize(
    "make",
    [
        lambda: UniformQuantizer(0),
        lambda: UniformQuantizer(4, 0),
        lambda: LearnedStep(1),
        lambda: LearnedPoints(torch.ones(3), 13),
    ],
)
def test_bad_sizes_of_quantizers_are_refused(make):
    with pytest.raises(ValueError, match="must be at"):
        make()


# distillation


def test_distillation_is_the_sum_of_both_parts():
    z, t, y = normal(8, 5), normal(8, 5, seed=1), torch.arange(8) % 5
    teacher = F.kl_div((z / 3).log_softmax(1), (t / 3).log_softmax(1), log_target=True, reduction="batchmean")
    wanted = 0.6 * 9 * teacher + 0.4 * F.cross_entropy(z, y)
    assert torch.allclose(distillation_loss(z, t, y, temperature=3.0, weight=0.6), wanted)
    items = distillation_loss(z, t, y, temperature=3.0, weight=0.6, reduction="none")
    assert items.shape == (8,) and torch.allclose(items.mean(), wanted)
    assert torch.allclose(distillation_loss(z[None], t[None], y[None], 3.0, 0.6), wanted)


def test_the_teachers_part_vanishes_with_its_gradient_where_both_agree():
    z = normal(4, 3).requires_grad_()
    value = distillation_loss(z, z.detach(), weight=1.0)
    (gradient,) = torch.autograd.grad(value, z)
    assert abs(float(value)) < 1e-12 and gradient.abs().max() < 1e-12
    sure = torch.tensor([[0.0, -torch.inf]], dtype=DOUBLE)
    assert float(
        distillation_loss(torch.zeros(1, 2, dtype=DOUBLE), sure, weight=1.0, temperature=1.0)
    ) == pytest.approx(math.log(2))


def test_bad_arguments_of_distillation_are_refused():
    z = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="targets are needed"):
        distillation_loss(z, z)
    with pytest.raises(ValueError, match="same shape"):
        distillation_loss(z, z[:1], weight=1.0)
    with pytest.raises(ValueError, match="temperature"):
        distillation_loss(z, z, weight=1.0, temperature=0.0)
    with pytest.raises(ValueError, match="targets must have shape"):
        distillation_loss(z, z, torch.zeros(3).long())
