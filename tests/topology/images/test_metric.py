"""Betti matching error, metric and companions: identities, hand-made cases, data sets of any shape."""

import numpy as np
import pytest
import torch

from lab.topology import BettiMatchingMetric, companions, match, matching_error, wasserstein_pairs
from lab.topology.images import comparison
from lab.topology.images.barcodes import barcode
from lab.topology.images.wasserstein_loss import WassersteinMatchingLoss


def ring_and_dot():
    label = torch.zeros(12, 16)
    label[2:8, 2:8] = 1
    label[4:6, 4:6] = 0
    label[9:11, 12:14] = 1
    return label


def test_displaced_component_is_two_errors_and_no_number_error():
    label = ring_and_dot()
    moved = label.clone()
    moved[9:11, 12:14] = 0
    moved[2:4, 12:14] = 1
    found = matching_error(moved, label)
    assert found.error == (2, 0)
    assert found.betti_number_error == (0, 0)
    assert found.betti_label == (2, 1)
    assert matching_error(label, label).total == 0


def test_filled_hole_and_false_hole():
    label = ring_and_dot()
    filled = label.clone()
    filled[4:6, 4:6] = 1
    assert matching_error(filled, label).unmatched_label == (0, 1)
    assert matching_error(label, filled).unmatched_prediction == (0, 1)


def test_empty_prediction_misses_every_feature():
    found = matching_error(torch.zeros(12, 16), ring_and_dot())
    assert found.unmatched_label == (2, 1)
    assert found.error == (2, 1) == found.betti_number_error
    assert matching_error(torch.zeros(4, 4), torch.zeros(4, 4)).total == 0


@pytest.mark.parametrize("seed", range(10))
def test_error_bounds_number_error_and_equals_the_loss_of_masks(seed):
    draw = np.random.default_rng(seed)
    one, two = (draw.random((2, 15, 16)) > 0.5).astype(float)
    found = matching_error(one, two)
    assert all(m >= n for m, n in zip(found.error, found.betti_number_error))
    assert float(match(one, two).loss()) == found.total > 0


def test_metric_adds_up_over_batches_and_shapes():
    draw = torch.Generator().manual_seed(0)
    sizes = [(9, 11), (14, 8), (9, 11)]
    predictions = [torch.rand(size, generator=draw) for size in sizes]
    labels = [torch.rand(size, generator=draw) > 0.5 for size in sizes]
    metric = BettiMatchingMetric()
    metric.update(predictions[:2], labels[:2])
    metric.update(predictions[2:], labels[2:])
    each = [matching_error(x, y) for x, y in zip(predictions, labels)]
    table = metric.compute()
    assert table.loc["all", "matching_error"] == pytest.approx(sum(e.total for e in each) / 3)
    assert table.loc["loops", "unmatched_label"] == pytest.approx(sum(e.unmatched_label[1] for e in each) / 3)
    assert len(metric.to_frame()) == 6
    assert set(metric.to_frame().item) == {0, 1, 2}
    metric.reset()
    with pytest.raises(ValueError, match="call update"):
        metric.compute()


def test_metric_by_classes_leaves_the_background_out_when_asked():
    draw = torch.Generator().manual_seed(1)
    x, y = torch.rand(2, 3, 10, 10, generator=draw), torch.rand(2, 3, 10, 10, generator=draw) > 0.5
    full, rest = BettiMatchingMetric(), BettiMatchingMetric(include_background=False)
    full.update(x, y)
    rest.update(x, y)
    assert full.to_frame()["class"].nunique() == 3
    kept = full.to_frame().query("`class` > 0").matching_error.sum()
    assert rest.to_frame().matching_error.sum() == kept


def test_patches_are_compared_one_by_one():
    label = ring_and_dot()
    metric = BettiMatchingMetric(patch=6)
    metric.update([torch.zeros_like(label)], [label])
    tiles = [t for rows in label.split(6, 0) for t in rows.split(6, 1)]
    wanted = sum(matching_error(torch.zeros_like(t), t).total for t in tiles)
    assert metric.to_frame().matching_error.sum() == wanted
    with pytest.raises(ValueError, match="one size for each of 2 axes"):
        BettiMatchingMetric(patch=(3, 3, 3)).update([label], [label])


def test_cheapest_pairing_is_no_dearer_than_any_other():
    from itertools import permutations

    draw = np.random.default_rng(2)
    one, two = barcode(draw.random((4, 5))), barcode(draw.random((4, 5)))
    ours = torch.stack([one[0].birth, one[0].death], 1).numpy()
    theirs = torch.stack([two[0].birth, two[0].death], 1).numpy()
    alone = [((bars[:, 0] - bars[:, 1]) ** 2 / 2) for bars in (ours, theirs)]

    def cost(pairs):
        left, right = set(range(len(ours))), set(range(len(theirs)))
        total = 0.0
        for i, j in pairs:
            total += ((ours[i] - theirs[j]) ** 2).sum()
            left.discard(i)
            right.discard(j)
        return total + sum(alone[0][i] for i in left) + sum(alone[1][j] for j in right)

    found = cost(wasserstein_pairs(one[0], two[0]).tolist())
    places = [*range(len(theirs)), *[None] * len(ours)]
    best = min(
        cost([(i, j) for i, j in enumerate(order) if j is not None]) for order in set(permutations(places, len(ours)))
    )
    assert found == pytest.approx(best)


def test_wasserstein_loss_has_the_gradient_of_its_pairing_and_is_never_above_betti_matching():
    draw = torch.Generator().manual_seed(3)
    x = torch.rand(1, 1, 7, 8, generator=draw, dtype=torch.float64, requires_grad=True)
    y = (torch.rand(1, 1, 7, 8, generator=draw) > 0.5).double()
    loss = WassersteinMatchingLoss()
    assert torch.autograd.gradcheck(lambda x: loss(x, y), x, eps=1e-7, atol=1e-5)
    assert float(loss(x, y).detach()) <= float(match(x.detach()[0, 0], y[0, 0]).loss()) + 1e-9


def test_companions_agree_with_their_definitions():
    label = ring_and_dot()
    found = companions(label, label)
    assert (found.dice, found.cldice, found.matching_error, found.wasserstein) == (1, 1, 0, 0)
    other = label.clone()
    other[9:11, 12:14] = 0
    found = companions(other, label)
    assert found.matching_error == found.betti_number_error == 1
    assert found.dice == pytest.approx(2 * 32 / (32 + 36))
    assert comparison.cldice(torch.zeros(5, 5), torch.ones(5, 5)) == 0


def test_induced_pairs_share_their_place_where_wasserstein_pairs_do_not():
    label = torch.zeros(30, 30)
    for k in range(4):
        label[3 + 7 * k : 6 + 7 * k, 5:9] = 1
    prediction = 0.05 + 0.9 * label
    prediction[17:20, 5:9] = 0.04
    prediction[10:13, 20:24] = 0.85
    found = comparison.placement(prediction, label)
    assert found.induced_apart == 0
    assert found.induced == 2
    assert found.wasserstein_apart > 0
