"""What users of topological losses have asked for in public, one test a wish, as they would try it.

The threads: Betti-matching 1 and 2, pytorch-topological 13 and 24, active-boundary-loss 10, TopoLoss 1, 16, 19, 21 and 26,
TopologyLayer 19, MONAI 5938 and 8239, pytorch_connectomics 203, clDice 24, DSCNet 64, DeepClosing 1, MetricsReloaded 2,
imageSeg-2.5D_topo 6, GUDHI 1162, 1282 and 1288.
"""

import inspect
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from lab import topology
from lab.topology import BettiMatchingLoss, BettiMatchingMetric
from lab.topology.images import batching


def ring(size=16):
    label = torch.zeros(size, size)
    label[3:12, 3:12] = 1
    label[6:9, 6:9] = 0
    return label


def test_three_dimensional_masks_have_an_error_in_every_dimension():
    label = torch.zeros(12, 12, 12)
    label[2:9, 2:9, 2:9] = 1
    label[4:7, 4:7, 4:7] = 0  # a cavity
    prediction = label.clone()
    prediction[4:7, 4:7, 2:4] = 0  # opened to the outside: the cavity is lost
    prediction[10, 10, 10] = 1  # an island
    found = topology.matching_error(prediction, label)
    assert found.error == (1, 0, 1)
    assert found.unmatched_prediction == (1, 0, 0)
    assert found.unmatched_label == (0, 0, 1)


def test_error_of_a_dimension_is_the_number_of_features_without_a_partner():
    prediction, label = ring(), ring()
    prediction[13:15, 13:15] = 1
    prediction[6:9, 6:9] = 1
    error = topology.matching_error(prediction, label)
    assert error.error == (1, 1)
    assert float(topology.match(prediction, label).loss()) == sum(error.error)
    assert "unmatched features" in inspect.getdoc(type(error).error)


def test_the_loss_does_not_stall_the_thread_that_feeds_the_accelerator(monkeypatch):
    gate, plain = threading.Event(), batching.match_rows
    monkeypatch.setattr(
        batching, "match_rows", lambda *stacks, threads: gate.wait(30) and plain(*stacks, threads=threads)
    )
    x, y = torch.rand(2, 1, 16, 16, requires_grad=True), ring().expand(2, 1, 16, 16)
    loss = BettiMatchingLoss(cache=0)
    pending = loss.submit(x, y)
    assert not pending.done()  # this thread is free although no matching has run
    gate.set()
    pending.result().backward()
    assert x.grad.abs().sum() > 0


def test_batches_of_several_classes_train_for_many_steps_without_a_crash():
    draw = torch.Generator().manual_seed(0)
    ids = torch.stack([ring().long(), 2 * ring().flip(0).long(), (ring() + ring().T.flip(0)).long()])[:, None]
    logits = torch.randn(3, 3, 16, 16, generator=draw).requires_grad_()
    loss = BettiMatchingLoss(softmax=True, to_onehot_y=True, include_background=False)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(logits, ids)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.3 * values[0]


def test_arguments_are_those_of_a_dice_loss_and_logits_without_activation_are_refused():
    ours = inspect.signature(BettiMatchingLoss).parameters
    assert {"include_background", "to_onehot_y", "sigmoid", "softmax", "reduction", "weight"} <= set(ours)
    logits, label = 4 * torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(1)), ring()[None, None]
    with pytest.raises(ValueError, match="for logits say sigmoid=True or softmax=True"):
        BettiMatchingLoss()(logits, label)
    found = BettiMatchingLoss(sigmoid=True)(logits, label)
    assert isinstance(found, torch.Tensor)
    assert found.dtype == logits.dtype
    assert found.shape == ()


def test_one_reference_for_both_errors_with_a_stated_protocol_for_patches():
    prediction, label = ring(), ring()
    prediction[1:3, 1:3] = 1
    prediction[3, 3] = 0
    prediction[6:9, 6:9] = 1
    metric = BettiMatchingMetric()
    metric.update([prediction], [label])
    whole = metric.compute().loc["all"]
    assert (whole.matching_error, whole.betti_number_error) == (2, 2)
    tiles = BettiMatchingMetric(patch=8)
    tiles.update([prediction], [label])
    by_hand = [
        topology.matching_error(prediction[i : i + 8, j : j + 8], label[i : i + 8, j : j + 8]).total
        for i in (0, 8)
        for j in (0, 8)
    ]
    assert tiles.compute().loc["all", "matching_error"] == sum(by_hand)
    assert "without overlap" in " ".join(inspect.getdoc(BettiMatchingMetric).split())


def test_connectivity_border_and_direction_are_stated_and_follow_the_statement():
    diagonal = np.zeros((6, 6))
    diagonal[1, 1] = diagonal[2, 2] = 1
    assert topology.barcode(diagonal).betti_numbers(0.5) == (2, 0)  # the foreground is connected through faces
    gap = np.zeros((7, 7))
    gap[1:6, 1:6] = 1
    gap[2:5, 2:5] = 0
    gap[1, 1] = 0  # the background is connected through corners: the ring is open
    assert topology.barcode(gap).betti_numbers(0.5) == (1, 0)
    assert len(topology.barcode(-gap, filtration="sublevel")[0]) == len(topology.barcode(gap)[0])
    words = inspect.getdoc(topology.images.convention)
    assert "V-construction" in words
    assert "border=" in words


@pytest.mark.parametrize("bad", [np.full((3, 3), np.nan), np.zeros((0, 3)), np.zeros((2, 2, 2, 2)), np.array("x")])
def test_bogus_input_is_refused_in_words_and_nothing_crashes(bad):
    with pytest.raises((ValueError, TypeError), match="prediction"):
        topology.match(bad, np.zeros(np.shape(bad)))


def test_training_loop_of_the_readme_runs_as_it_stands():
    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"## Replace your segmentation loss\n+```python\n(.*?)```", text, flags=re.DOTALL)
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    target = ring()[None, None].expand(2, 1, 16, 16)
    names = {
        "batches": [(target + 0.1, target)] * 2,
        "network": network,
        "optimizer": torch.optim.SGD(network.parameters(), 0.1),
        "dice": lambda logits, target: 1 - 2 * (logits.sigmoid() * target).sum() / (logits.sigmoid() + target).sum(),
    }
    before = network.weight.detach().clone()
    exec(code, names)
    assert not torch.equal(network.weight, before)
