"""What losses that are not of rows of scores do with input that makes no sense, and with half precision."""

import re

import pytest
import torch

import lab.losses
from lab.losses import correctness_calibration as calibration
from lab.losses import groco

ROWS, LABELS = torch.linspace(-1, 1, 35).reshape(7, 5), torch.arange(7) % 5
VIEW = torch.linspace(-1, 1, 160).reshape(20, 8)
CALIBRATORS = ("temperature_scaling", "vector_scaling", "isotonic_scaling", "histogram_scaling")
CASES = {
    "temperature 0": (lambda: lab.losses.info_nce(VIEW, VIEW, 0.0), "temperature must be greater than 0"),
    "one row": (lambda: lab.losses.hard_info_nce(VIEW[:1], VIEW[:1]), "at least 2 rows"),
    "two batches": (lambda: lab.losses.GroCoLoss()([VIEW, VIEW[:15]]), r"views\[0\] and views\[1\] must have the same shape"),
    "one view": (lambda: lab.losses.GroCoLoss()([VIEW]), "at least 2 views"),
    "no view": (lambda: lab.losses.GroCoLoss()([]), "at least 2 views"),
    "few negatives": (lambda: lab.losses.GroCoLoss(20)([VIEW, VIEW]), "more than n_negatives = 20"),
    "sigmoid": (lambda: lab.losses.GroCoLoss(sigmoid="step"), "sigmoid must be one of"),
    "only positives": (lambda: groco.group_ordering_loss(torch.rand(2, 4), 4), "positives must be at most 3"),
    "no positives": (lambda: groco.group_ordering_loss(torch.rand(2, 4), 0), "positives must be at least 1"),
    "labels of a calibrator's loss": (lambda: lab.losses.correctness_aware_loss(ROWS, 1.0, LABELS + 9), r"lie in \[0, 5\)"),
    "labels under attack": (
        lambda: lab.losses.SmoothAdversarialCompSum()(torch.nn.Linear(5, 3), ROWS.abs(), LABELS), r"lie in \[0, 3\)"),
    "inputs out of bounds": (
        lambda: lab.losses.SmoothAdversarialCompSum()(torch.nn.Linear(5, 5), ROWS, LABELS), "inputs must lie in bounds"),
    "bounds": (lambda: lab.losses.SmoothAdversarialCompSum(bounds=(1.0, 0.0)), "low < high"),
    "no images": (lambda: lab.losses.energy_set_distance(torch.rand(0, 3, 4, 4), torch.rand(0, 2, 4, 4)), "samples is empty"),
    "numbers for labels": (lambda: lab.losses.compare(["focal"], ROWS, torch.rand(7)), "y must hold class labels"),
    "classes that never occur": (lambda: lab.losses.compare(["focal"], ROWS, torch.arange(7) % 2 * 5), "1, 2, 3, 4 never occur"),
    "classes from one on": (lambda: lab.losses.compare(["focal"], ROWS, torch.arange(7) % 3 + 1), "every class from 0 to 3, but 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_input_without_sense_is_refused_in_words(case):
    call, message = CASES[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", CALIBRATORS)
def test_calibrators_refuse_labels_out_of_range_and_scores_that_are_no_numbers(name):
    with pytest.raises(ValueError, match=r"target must lie in \[0, 5\)"):
        getattr(calibration, name)(ROWS, LABELS + 9)
    with pytest.raises(ValueError, match="logits must be finite"):
        getattr(calibration, name)(ROWS * float("nan"), LABELS)
    with pytest.raises(ValueError, match="logits is empty"):
        getattr(calibration, name)(ROWS[:0], LABELS[:0])
    with pytest.raises(TypeError, match=re.escape("target must hold integer labels, got torch.float32")):
        getattr(calibration, name)(ROWS, LABELS.float())


@pytest.mark.parametrize("distance", ["energy_set_distance", "sinkhorn_set_distance", "generalized_energy_distance"])
def test_set_distances_of_large_masks_in_half_precision_do_not_overflow(distance, generator):
    samples, masks = (torch.rand(1, 3, 300, 300, generator=generator) for _ in range(2))
    exact = getattr(lab.losses, distance)(samples.half().double(), masks.half().double())
    found = getattr(lab.losses, distance)(samples.half(), masks.half())
    assert found.double().item() == pytest.approx(exact.item(), rel=1e-4)


def test_noise_on_no_labels_is_no_labels():
    assert lab.losses.noisy_labels(torch.zeros(0, dtype=torch.long), 0.5).shape == (0,)


def test_table_for_losses_takes_classes_and_fills_what_is_told():
    import numpy as np
    import pandas as pd

    from lab.datasets import Table
    from lab.losses.studies.common import table

    frame = pd.DataFrame({"a": np.arange(30) / 7, "y": [0, 5] * 15})
    frame.loc[3, "a"] = np.nan
    with pytest.raises(ValueError, match="1 rows with missing values"):
        table(Table(frame, "y"))
    x, labels = table(Table(frame, "y"), missing="mean")
    assert (len(x), labels.unique().tolist()) == (30, [0, 1])
    assert len(table(Table(frame, "y"), missing="drop")[0]) == 29
    with pytest.raises(ValueError, match="holds numbers, but the losses are for classes"):
        table(Table(frame.assign(y=np.arange(30) / 3), "y"), missing="mean")
