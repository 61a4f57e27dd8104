"""The loss: its formula, its gradient, its options, and that it is found again."""

import threading
import time

import pytest
import torch

from lab import topology
from lab.topology import BettiMatchingLoss


def batch(items=2, classes=1, size=9, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(items, classes, size, size + 1, generator=draw, dtype=dtype)
    y = (torch.rand(items, classes, size, size + 1, generator=draw) > 0.5).to(dtype)
    return x, y


def test_loss_is_the_sum_over_matched_and_unmatched_bars():
    x, y = batch(3, 2)
    each = BettiMatchingLoss(reduction="none")(x, y)
    assert each.shape == (3, 2)
    for item in range(3):
        for channel in range(2):
            wanted = topology.match(x[item, channel], y[item, channel]).loss()
            assert float(each[item, channel]) == pytest.approx(float(wanted))
    assert float(BettiMatchingLoss()(x, y)) == pytest.approx(float(each.mean()))
    assert float(BettiMatchingLoss(reduction="sum")(x, y)) == pytest.approx(float(each.sum()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"filtration": "sublevel"},
        {"filtration": "both", "essential": True},
        {"border": "foreground", "essential": True},
        {"push_unmatched": True, "matched_weight": 0.3},
        {"min_persistence": 0.2, "unmatched_weight": 2.0, "dimension_weights": (1.0, 0.5)},
        {"sigmoid": True},
        {"softmax": True, "weight": [1.0, 3.0]},
    ],
)
def test_gradient_equals_finite_differences(options):
    x, y = batch(2, 2, size=5, seed=1)
    x = (4 * x - 2 if options.get("sigmoid") or options.get("softmax") else x).requires_grad_()
    loss = BettiMatchingLoss(**options)
    assert torch.autograd.gradcheck(lambda x: loss(x, y), x, eps=1e-7, atol=1e-5)


def test_gradient_sits_on_the_critical_voxels_only():
    x, y = batch(1)
    x.requires_grad_()
    BettiMatchingLoss()(x, y).backward()
    found = topology.match(x.detach()[0, 0], y[0, 0])
    bars = [bars for d in range(2) for bars in (found.matched[d].prediction, found.unmatched_prediction[d])]
    critical = {int(v) for each in bars for v in (*each.birth_voxel, *each.death_voxel)}
    assert set(torch.nonzero(x.grad.flatten()).flatten().tolist()) <= critical
    assert len(torch.nonzero(x.grad)) > 0.8 * len(critical)


def test_gradient_descent_removes_a_false_island():
    y = torch.zeros(1, 1, 16, 16)
    y[..., 3:8, 3:8] = 1
    x = 0.1 + 0.8 * y
    x[..., 12, 12] = 0.7
    x.requires_grad_()
    loss = BettiMatchingLoss()
    for _ in range(30):
        loss(x, y).backward()
        with torch.no_grad():
            x -= 0.1 * x.grad
            x.grad = None
    assert topology.matching_error(x[0, 0], y[0, 0]).total == 0
    assert float(x[0, 0, 12, 12]) < 0.5
    assert float(x[0, 0, 5, 5]) > 0.85


def test_label_receives_no_gradient_and_float32_stays_float32():
    x, y = batch(dtype=torch.float32)
    loss = BettiMatchingLoss()(x.requires_grad_(), y)
    assert loss.dtype == torch.float32
    loss.backward()
    assert y.grad is None


def test_class_ids_and_background_behave_as_in_dice_losses():
    x, _ = batch(2, 3)
    ids = torch.randint(0, 3, (2, 1, 9, 10), generator=torch.Generator().manual_seed(2))
    onehot = torch.nn.functional.one_hot(ids[:, 0], 3).movedim(-1, 1)
    full = BettiMatchingLoss(reduction="none")(x, onehot)
    assert torch.allclose(BettiMatchingLoss(reduction="none", to_onehot_y=True)(x, ids), full)
    without = BettiMatchingLoss(reduction="none", to_onehot_y=True, include_background=False)(x, ids)
    assert torch.allclose(without, full[:, 1:])


def test_submitted_loss_equals_the_plain_one_and_runs_meanwhile():
    x, y = batch(4, 1, 40)
    plain = x.clone().requires_grad_()
    wanted = BettiMatchingLoss(filtration="both")(plain, y)
    wanted.backward()
    x.requires_grad_()
    pending = BettiMatchingLoss(filtration="both").submit(x, y)
    while not pending.done():
        time.sleep(0.001)
    found = pending.result()
    assert found is pending.result()
    found.backward()
    assert torch.equal(found, wanted)
    assert torch.equal(x.grad, plain.grad)


def test_changed_label_is_not_taken_for_the_one_before():
    x, y = batch(2, 1, 20)
    loss = BettiMatchingLoss()
    first = float(loss(x, y))
    assert float(loss(x, y)) == first
    y[0, 0, 5:9, 5:9] = 1 - y[0, 0, 5:9, 5:9]
    assert float(loss(x, y)) == float(BettiMatchingLoss(cache=0)(x, y)) != first


def test_cached_and_fresh_losses_agree():
    cached = BettiMatchingLoss(cache=8)
    for seed in range(6):
        x, _ = batch(3, 2, 17, seed)
        _, y = batch(3, 2, 17, seed % 2)
        assert float(cached(x, y)) == float(BettiMatchingLoss(cache=0)(x, y))


def test_threads_stay_bounded_and_do_not_change_the_result():
    x, y = batch(8, 1, 64)
    before = threading.active_count()
    one, two = BettiMatchingLoss(threads=1)(x, y), BettiMatchingLoss(threads=2)(x, y)
    assert torch.equal(one, two)
    assert threading.active_count() <= before + 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x, y: BettiMatchingLoss()(8 * x - 4, y), r"probabilities in \[0, 1\].*sigmoid=True"),
        (lambda x, y: BettiMatchingLoss()(x, y[:, :, 1:]), "input and target must have the same shape"),
        (lambda x, y: BettiMatchingLoss()(torch.full_like(x, float("nan")), y), "input must be finite"),
        (lambda x, y: BettiMatchingLoss()(x, torch.full_like(y, float("inf"))), "target must be finite"),
        (lambda x, y: BettiMatchingLoss(softmax=True)(x, y), "at least 2 channels"),
        (lambda x, y: BettiMatchingLoss(sigmoid=True, softmax=True), "exclude each other"),
        (lambda x, y: BettiMatchingLoss(dimension_weights=(1, 1, 1))(x, y), "one value for each of 2 dimensions"),
        (lambda x, y: BettiMatchingLoss(weight=[1.0, 2.0])(x, y), "one value for each of 1 classes"),
        (lambda x, y: BettiMatchingLoss(to_onehot_y=True)(x, 7 * y), "class ids 0 to 0"),
        (lambda x, y: BettiMatchingLoss(reduction="avg"), "reduction must be one of"),
        (lambda x, y: BettiMatchingLoss(min_persistence=-1), "min_persistence must be at least 0"),
    ],
)
def test_bad_input_is_refused_in_words(make, words):
    with pytest.raises(ValueError, match=words):
        make(*batch())
