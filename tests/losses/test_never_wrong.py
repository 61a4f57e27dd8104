"""Labels of every integer type, automatic mixed precision, evaluation that changes nothing, and values out of range."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import lab
from lab.losses import pulaski
from lab.losses.contrastive_temperature import hard_info_nce, info_nce, tolerance, uniformity
from lab.losses.correctness_calibration import correctness_aware_loss, temperature_scaling
from lab.losses.groco import GroCoLoss
from lab.losses.ldr import ALDRKLLoss
from lab.losses.meco import MECOLoss
from lab.losses.registry import BINARY

NAMES = lab.losses.names()
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64]


def make(name, **arguments):
    return lab.losses.by_name(name, **arguments)


def batch(name, rows=(6,), dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    classes = 2 if name in BINARY else 200
    z = torch.randn(rows[0], classes, *rows[1:], generator=draw).to(dtype)
    return z, torch.randint(min(classes, 120), rows, generator=draw)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_labels_of_every_integer_type_are_the_same_labels(name, dtype):
    z, y = batch(name)
    wanted = make(name)(z, y)
    assert torch.equal(make(name)(z, y.to(dtype)), wanted)
    kept = make(name, ignore_index=int(y[0]))(z, y)
    assert torch.equal(make(name, ignore_index=int(y[0]))(z, y.to(dtype)), kept)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BINARY])
def test_narrow_label_is_not_taken_for_the_ignored_one_after_wrapping(name):
    z, _ = batch(name)
    y = torch.tensor([156, 0, 3, 156, 7, 9])  # 156 is -100 in eight bits
    wanted = make(name, reduction="none")(z, y)
    found = make(name, reduction="none")(z, y.to(torch.uint8))
    assert torch.equal(found, wanted)
    assert bool((found[[0, 3]] != 0).all())
    y = torch.tensor([-1, 0, 3, -1, 7, 9])
    wanted = make(name, ignore_index=-1, reduction="none")(z, y)
    assert torch.equal(make(name, ignore_index=-1, reduction="none")(z, y.to(torch.int8)), wanted)
    with pytest.raises(ValueError, match=r"target must lie in \[0, 200\), got values from -1 to"):
        make(name, ignore_index=255)(z, y.to(torch.int8))


@pytest.mark.parametrize("name", NAMES)
def test_labels_beyond_int64_are_refused(name):
    z, y = batch(name)
    with pytest.raises(ValueError, match=r"integers beyond 2\^53"):
        make(name)(z, torch.from_numpy(y.numpy().astype(np.uint64) + np.uint64(2**64 - 100)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_loss_under_autocast_is_that_of_its_logits_in_float32(name, dtype, reduction):
    if name == "sum-exponential" and dtype == torch.float16:
        return  # refused: tests/losses/test_training_loop.py
    z, y = batch(name, (4, 60, 60))
    layer = nn.Conv2d(z.shape[1], z.shape[1], 1)
    with torch.autocast("cpu", dtype=dtype):
        logits = layer(30 * z)
        assert logits.dtype == dtype
        found = make(name, reduction=reduction)(logits, y)
    wanted = make(name, reduction=reduction)(logits.detach().float(), y)
    assert found.dtype == torch.float32
    assert torch.allclose(found, wanted, rtol=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert gradient.dtype == dtype
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("reduction", "scale"), [("sum", 2.0**-6), ("mean", 2.0**10)])
def test_gradient_scaler_does_not_lose_steps_to_a_loss_of_many_pixels(reduction, scale):
    layer = nn.Conv2d(3, 3, 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-6)
    x = torch.randn(1, 3, 400, 400, generator=torch.Generator().manual_seed(0))
    y = torch.randint(3, (1, 400, 400), generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.float16):
        loss = make("focal", reduction=reduction)(layer(x), y)
    assert math.isfinite(float(loss.detach()))
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == scale


@pytest.mark.parametrize("bad", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("place", ["wrong class", "right class", "ignored row"])
@pytest.mark.parametrize("name", NAMES)
def test_scores_that_are_not_finite_are_refused_by_every_loss(name, place, bad):
    z, y = batch(name)
    z[0, int(y[0]) if place == "right class" else (int(y[0]) + 1) % z.shape[1]] = bad
    y[0] = -100 if place == "ignored row" else y[0]
    with pytest.raises(ValueError, match="logits must be finite, got 1 "):
        make(name)(z, y)


def test_evaluation_of_the_adaptive_loss_needs_no_index_and_stores_nothing():
    z, y = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0])
    loss = ALDRKLLoss(num_samples=20)
    loss(z, y, torch.arange(5))
    stored = loss.temperatures.clone()
    loss.eval()
    assert torch.equal(loss(z, y), ALDRKLLoss()(z, y))
    with_index = loss(z, y, torch.arange(5))
    assert torch.equal(loss.temperatures, stored)
    assert torch.equal(loss.train()(z, y, torch.arange(5)), with_index)
    assert not torch.equal(loss.temperatures, stored)
    with pytest.raises(ValueError, match="index is missing"):
        loss(z, y)


def density(x):
    return 0.3 * x - x**2 / 2


def noise(scale=2.0):
    return torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), scale)


def test_evaluation_of_the_likelihood_loss_leaves_its_tracker():
    x, z = torch.tensor([0.1, 0.4], dtype=torch.float64), torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64)
    loss = MECOLoss(noise())
    fresh = MECOLoss(noise()).eval()
    assert float(fresh(density, x, z=z)) == float(loss(density, x, z=z))
    assert math.isnan(float(fresh.log_u))
    tracked = loss.log_u.clone()
    value = loss.eval()(density, x, z=2 * z)
    assert torch.equal(loss.log_u, tracked)
    assert float(loss.train()(density, x, z=2 * z)) == float(value)
    assert not torch.equal(loss.log_u, tracked)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
def test_infinite_batch_is_refused_and_poisons_nothing(value):
    x, z = torch.tensor([0.1, 0.4], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    loss = MECOLoss(noise())
    loss(density, x, z=z)
    tracked = loss.log_u.clone()
    with pytest.raises(ValueError, match="finite mean of pt/q over 2 draws"):
        loss(lambda items: torch.full_like(items, value), x, z=z)
    with pytest.raises(ValueError, match=r"log_density\(x\) must be finite"):
        loss(lambda items: density(items) + (value if items is x else 0), x, z=z)
    assert torch.equal(loss.log_u, tracked)


def test_noise_outside_of_the_support_has_weight_zero():
    theta = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    def half_line(items):
        return torch.where(items > 0, -theta * items, -torch.inf)

    x, z = torch.tensor([0.1, 0.4], dtype=torch.float64), torch.tensor([-1.0, 0.5, 1.0, -2.0], dtype=torch.float64)
    loss = MECOLoss(noise(), gamma=1.0)
    value = loss(half_line, x, z=z)
    (gradient,) = torch.autograd.grad(value, theta)
    weight = torch.where(z > 0, (-theta.detach() * z - noise().log_prob(z)).exp(), 0.0)
    assert float(gradient) == pytest.approx(float(x.mean() - (weight * z).sum() / weight.sum()))
    assert float(value) == pytest.approx(float((theta.detach() * x).mean() + weight.mean().log()))


def test_evaluation_of_the_drawn_loss_leaves_its_generator():
    z, y = batch("ensloss", (30,))
    one, two = make("ensloss", seed=3), make("ensloss", seed=3)
    for _ in range(3):
        one.eval()(z, y)
    assert torch.equal(one.train()(z, y), two(z, y))


SETS = [pulaski.energy_set_distance, pulaski.sinkhorn_set_distance, pulaski.generalized_energy_distance]


@pytest.mark.parametrize("distance", SETS)
def test_masks_of_0_and_255_and_logits_are_refused_by_set_distances(distance):
    s, y = torch.rand(1, 2, 8, 8), (torch.rand(1, 3, 8, 8) > 0.5).to(torch.uint8)
    assert torch.equal(distance(s, y), distance(s, y.bool()))
    assert torch.equal(distance(s, y), distance(s, y.float()))
    with pytest.raises(ValueError, match=r"raters must hold masks with values in \[0, 1\], got 0 to 255"):
        distance(s, 255 * y)
    with pytest.raises(ValueError, match=r"samples must hold masks with values in \[0, 1\]"):
        distance(8 * s - 4, y)
    with pytest.raises(ValueError, match="raters must hold masks"):
        pulaski.set_loss(pulaski.TinyProbUNet(widths=(4, 8)), torch.rand(1, 1, 8, 8), 255 * y)


@pytest.mark.parametrize("scale", [1e-6, 0.01, 1000.0, 1e6])
def test_temperature_scales_with_the_logits(scale):
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(4, (400,), generator=draw)
    z = torch.randn(400, 4, generator=draw, dtype=torch.float64) + 1.5 * nn.functional.one_hot(y, 4)
    grid = torch.logspace(-2, 2, 20_001, dtype=torch.float64)
    losses = torch.stack([nn.functional.cross_entropy(z / t, y) for t in grid[8000:12_000:4]])
    best = float(grid[8000:12_000:4][losses.argmin()])
    assert temperature_scaling(z, y) == pytest.approx(best, rel=1e-3)
    assert temperature_scaling(scale * z, y) == pytest.approx(scale * best, rel=1e-3)


def test_temperature_beyond_the_range_is_said():
    y = torch.tensor([0, 1, 2, 0])
    right = 3.0 * nn.functional.one_hot(y, 3)
    with pytest.warns(UserWarning, match="no row is predicted wrong"):
        assert 0 < temperature_scaling(right, y) < 0.1
    with pytest.warns(UserWarning, match="no more than chance"):
        assert temperature_scaling(-right, y) > 100
    with pytest.raises(ValueError, match="must differ between classes"):
        temperature_scaling(torch.ones(4, 3), y)


CONTRASTIVE = {
    "info_nce": lambda a: info_nce(a, a.roll(1, 1)),
    "hard_info_nce": lambda a: hard_info_nce(a, a.roll(1, 1)),
    "uniformity": uniformity,
    "tolerance": lambda a: tolerance(a, torch.arange(len(a)) % 2),
    "groco": lambda a: GroCoLoss(3)([a, a.roll(1, 1)]),
}


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_feature_without_direction_is_refused_and_length_does_not_matter(name):
    a = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    wanted = CONTRASTIVE[name](a)
    lengths = torch.tensor([1e-30, 1e-20, 1.0, 1e20, 1e30, 1.0, 1e-38, 3.0])[:, None]
    assert float(CONTRASTIVE[name](lengths * a)) == pytest.approx(float(wanted), rel=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(CONTRASTIVE[name](a)) == float(wanted)
    a[3] = 0
    with pytest.raises(ValueError, match="direction in every row, got zeros in row 3 of 8"):
        CONTRASTIVE[name](a)


def test_margins_of_half_precision_at_their_optimum_have_a_finite_gradient():
    from lab.losses.comp_sum import margin_distance

    z = torch.zeros(3, 4, dtype=torch.float16, requires_grad=True)
    margin_distance(z, torch.zeros(3, 4, dtype=torch.float16), torch.tensor([0, 1, 2])).sum().backward()
    assert torch.isfinite(z.grad).all()
    logits, y = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)).half(), torch.arange(500) % 4
    wanted = correctness_aware_loss(logits.double(), 1.3, y)
    assert float(correctness_aware_loss(logits, 1.3, y)) == pytest.approx(float(wanted), rel=1e-5)
