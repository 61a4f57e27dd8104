"""Metrics against scikit-learn and against their definitions written out item by item."""

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle

from lab import training
from lab.training import (
    Accuracy,
    AreaUnderCurve,
    Brier,
    CalibrationError,
    ClasswiseCalibrationError,
    Dice,
    IntersectionOverUnion,
    NegativeLogLikelihood,
    accuracy,
    area_under_curve,
    brier,
    calibration_error,
    classwise_calibration_error,
    dice,
    intersection_over_union,
    negative_log_likelihood,
)


def sample(items=400, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(items, classes, generator=generator, dtype=torch.float64)
    targets = torch.where(
        torch.rand(items, generator=generator) < 0.6,
        logits.argmax(dim=1),
        torch.randint(classes, (items,), generator=generator),
    )
    return logits, logits.softmax(dim=1), targets


def binned(confidence, hit, bins):
    """The calibration error over right-closed bins of equal width, bin by bin."""
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidence) if (c > b / bins or b == 0) and c <= (b + 1) / bins]
        if inside:
            total += (
                len(inside)
                / len(confidence)
                * abs(np.mean([hit[i] for i in inside]) - np.mean([confidence[i] for i in inside]))
            )
    return total


def test_classifier_metrics_equal_scikit_learn():
    logits, p, y = sample()
    onehot = np.eye(4)[y.numpy()]
    assert accuracy(p, y) == pytest.approx(oracle.accuracy_score(y, p.argmax(dim=1)))
    assert negative_log_likelihood(p, y) == pytest.approx(oracle.log_loss(y, p.numpy()), rel=1e-9)
    assert negative_log_likelihood(logits, y, logits=True) == pytest.approx(oracle.log_loss(y, p.numpy()), rel=1e-9)
    assert brier(p, y) == pytest.approx(((p.numpy() - onehot) ** 2).sum(axis=1).mean())
    assert area_under_curve(p, y) == pytest.approx(oracle.roc_auc_score(y, p.numpy(), multi_class="ovr"))
    binary = torch.stack([p[:, 0], 1 - p[:, 0]], dim=1)
    assert area_under_curve(binary[:, 1], (y > 0).long()) == pytest.approx(oracle.roc_auc_score(y > 0, binary[:, 1]))
    assert brier(binary, (y > 0).long()) == pytest.approx(2 * oracle.brier_score_loss(y > 0, binary[:, 1]))
    assert accuracy(binary[:, 1], (y > 0).long()) == accuracy(binary, (y > 0).long())


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_calibration_errors_equal_their_definition(bins):
    _, p, y = sample(seed=3)
    hit = (p.argmax(dim=1) == y).numpy()
    assert calibration_error(p, y, bins=bins) == pytest.approx(binned(p.max(dim=1).values.tolist(), hit, bins))
    classwise = np.mean([binned(p[:, k].tolist(), (y == k).numpy(), bins) for k in range(4)])
    assert classwise_calibration_error(p, y, bins=bins) == pytest.approx(classwise)


def test_equal_mass_bins_hold_equally_many():
    _, p, y = sample(items=300)
    metric = CalibrationError(bins=10, binning="mass").update(p, y)
    count, confidence, _ = metric.reliability()
    assert count.tolist() == [[30.0] * 10]
    assert bool((confidence[0].diff() >= 0).all())
    order = p.max(dim=1).values.argsort()
    hit = (p.argmax(dim=1) == y).double()[order].view(10, 30).mean(dim=1)
    wanted = (hit - p.max(dim=1).values[order].view(10, 30).mean(dim=1)).abs().mean()
    assert metric.compute() == pytest.approx(float(wanted))


def test_edges_of_the_bins_are_right_closed():
    p = torch.tensor([[0.5, 0.5], [0.6, 0.4], [1.0, 0.0]], dtype=torch.float64)
    count, _, _ = CalibrationError(bins=2).update(p, torch.tensor([0, 0, 0])).reliability()
    assert count.tolist() == [[1.0, 2.0]]


def test_perfect_calibration_has_no_error_and_overconfidence_has_its_size():
    p = torch.full((100, 2), 0.0, dtype=torch.float64)
    p[:, 0], p[:, 1] = 0.7, 0.3
    assert calibration_error(p, torch.arange(100) % 10 // 7) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error(p, torch.ones(100, dtype=torch.long)) == pytest.approx(0.7)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Accuracy(),
        lambda: Brier(),
        lambda: NegativeLogLikelihood(),
        lambda: CalibrationError(),
        lambda: CalibrationError(binning="mass"),
        lambda: ClasswiseCalibrationError(bins=7),
        lambda: ClasswiseCalibrationError(bins=7, binning="mass"),
        lambda: AreaUnderCurve(),
    ],
)
def test_batches_accumulate_to_the_whole(make):
    _, p, y = sample()
    whole = make().update(p, y).compute()
    metric = make()
    for rows in torch.arange(400).split(77):
        metric.update(p[rows], y[rows])
    assert metric.compute() == pytest.approx(whole, rel=1e-12)
    with pytest.raises(ValueError, match="no batch"):
        metric.reset().compute()


def test_overlaps_equal_scikit_learn_and_average_over_items():
    generator = torch.Generator().manual_seed(0)
    p, y = torch.rand(6, 9, 8, generator=generator), torch.rand(6, 9, 8, generator=generator) > 0.6
    assert dice(p[0], y[0]) == pytest.approx(oracle.f1_score(y[0].flatten(), p[0].flatten() > 0.5))
    assert intersection_over_union(p[0], y[0]) == pytest.approx(
        oracle.jaccard_score(y[0].flatten(), p[0].flatten() > 0.5)
    )
    assert Dice().update(p[:4], y[:4]).update(p[4:], y[4:]).compute() == pytest.approx(
        np.mean([dice(a, b) for a, b in zip(p, y)])
    )
    wanted = np.mean([intersection_over_union(a, b, threshold=0.3) for a, b in zip(p, y)])
    assert IntersectionOverUnion(threshold=0.3).update(p, y).compute() == pytest.approx(wanted)
    assert dice(torch.zeros(3, 3), torch.zeros(3, 3)) == 1.0
    assert intersection_over_union(torch.zeros(3, 3), torch.ones(3, 3)) == 0.0


PROBABILITIES = [
    accuracy,
    brier,
    negative_log_likelihood,
    calibration_error,
    classwise_calibration_error,
    area_under_curve,
]


@pytest.mark.parametrize("metric", PROBABILITIES, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize(
    "p, y, words",
    [
        (torch.tensor([[0.5, float("nan")]]), [0], "finite"),
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), "empty"),
        (torch.full((2, 2), 0.5), [0, 1, 1], "shape"),
        (torch.full((2, 2), 0.5), [0, 2], r"lie in 0\.\.1"),
        (torch.full((2, 2), 0.5), [0, -1], r"lie in 0\.\.1"),
        (torch.full((2, 2, 2), 0.5), [0, 1], "axes"),
        (torch.zeros(2, 2, dtype=torch.complex64), [0, 1], "real"),
        (torch.full((2, 2), 0.5), [0.0, 1.0], "integer"),
    ],
)
def test_bad_input_is_refused(metric, p, y, words):
    with pytest.raises((ValueError, TypeError), match=words):
        metric(p, y if isinstance(y, torch.Tensor) else torch.tensor(y))


def test_logits_given_as_probabilities_are_noticed():
    with pytest.raises(ValueError, match="logits=True"):
        accuracy(torch.tensor([[2.0, -1.0]]), torch.tensor([0]))
    with pytest.raises(ValueError, match="sum to 1"):
        accuracy(torch.tensor([[0.9, 0.9]]), torch.tensor([0]))
    with pytest.raises(ValueError, match="at least two classes"):
        area_under_curve(torch.rand(4), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="same shape"):
        dice(torch.zeros(3, 3), torch.zeros(3, 4))
    with pytest.raises(AttributeError, match="accurracy"):
        _ = training.accurracy
