"""Measurements of the statements about correctness-aware calibration."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lab.claims import Effects, measures
from lab.losses.correctness_calibration import correctness_aware_loss
from lab.losses.studies import correctness_calibration as study

OTHERS = ("temperature", "vector", "isotonic", "histogram")


@measures("correctness_calibration.narrow-miss")
def narrow_miss(trial):
    """Confidence on narrow misses by the cross-entropy calibrator less that by the correctness-aware one.

    Control: cross-entropy for both.
    """
    steps, rows = trial.of(60, 500, 500), []
    for seed in trial.seeds:
        theirs = study.narrow_misses(seed, "cross-entropy", steps)
        ours = study.narrow_misses(seed, "cross-entropy" if trial.control else "correctness", steps)
        rows.append([theirs["after"], ours["after"], theirs["before"]])
    found = torch.tensor(rows, dtype=torch.float64)
    shown = dict(zip(("cross-entropy", "correctness", "uncalibrated"), found.mean(0).tolist()))
    return Effects(found[:, 0] - found[:, 1], {"confidence on narrow misses": shown})


@measures("correctness_calibration.objectives-differ")
def differ(trial):
    """How much less often a loss moves with |confidence - correctness| than the correctness-aware one does, for two losses.

    Over random rows and pairs of temperatures: the share of rows in which the loss and the error both fall or both rise.
    Control: cross-entropy in the place of the correctness-aware loss.
    """
    rows = trial.of(400, 4000, 20000)
    generator = torch.Generator().manual_seed(trial.seeds[0])
    z = 2 * torch.randn(rows, 5, generator=generator)
    y = torch.randint(5, (rows,), generator=generator)
    temperatures = torch.exp(torch.rand(2, rows, generator=generator) * 2 - 1)
    correct = (z.argmax(1) == y).float()
    p = torch.softmax(z / temperatures[:, :, None], 2)
    cross_entropy = -p[:, torch.arange(rows), y].log()
    aware = torch.tensor([
        [float(correctness_aware_loss(z[i : i + 1], float(t[i]), y[i : i + 1], balance=False)) for i in range(rows)]
        for t in temperatures
    ])  # fmt: skip
    losses = {"cross-entropy": cross_entropy, "squared error": (p - F.one_hot(y, 5)).square().sum(2),
              "correctness-aware": cross_entropy if trial.control else aware}  # fmt: skip
    change = (p.amax(2) - correct).abs().diff(dim=0)[0].sign()
    agreement = {
        name: float((values.diff(dim=0)[0].sign() == change).float().mean()) for name, values in losses.items()
    }
    ours = agreement["correctness-aware"]
    return Effects([ours - agreement["cross-entropy"], ours - agreement["squared error"]], {"agreement": agreement})


@measures("correctness_calibration.accuracy-preserved")
def preserved(trial):
    """Rows whose calibrated confidence is not that of the uncalibrated prediction. Control: vector scaling."""
    rows = trial.of(1000, 5000, 5000)
    confidence, probability = study.scaled_rows(trial.seeds[0], "vector" if trial.control else "temperature", rows)
    return Effects(float((confidence != probability).sum()), {"rows": rows})


@measures("correctness_calibration.in-distribution", stacked=True)
def in_distribution(trial):
    """ECE of the (unweighted) correctness-aware calibrator above the best of the others, on data like the calibration data.

    Control: it is fitted with the labels of other images.
    """
    mean = {name: float(_ece(trial, "clean", name).mean()) for name in OTHERS}
    best = min(mean, key=mean.__getitem__)
    ours = _ece(trial, "clean", study.SHUFFLED_LABELS if trial.control else "correctness")
    return Effects(
        ours - _ece(trial, "clean", best), {"ECE": study.mean_table(trial.seeds, 0, trial.budget), "best other": best}
    )


@measures("correctness_calibration.shifted")
def shifted(trial):
    """ECE of temperature scaling less that of the balanced calibrator on digits moved by two pixels.

    Control: cross-entropy on the same features in the place of the balanced loss.
    """
    ours = "cross-entropy with transforms" if trial.control else "correctness, balanced"
    details = {
        "ECE": study.mean_table(trial.seeds, 0, trial.budget),
        "accuracy": study.accuracies(trial.seeds, trial.budget),
    }
    return Effects(_ece(trial, "roll", "temperature") - _ece(trial, "roll", ours), details)


@measures("correctness_calibration.transforms-inform")
def transforms_inform(trial):
    """AUROC of confidence for correctness with transforms less without, mean over the three test sets.

    Control: the transforms of other images.
    """
    ours = study.SHUFFLED_FEATURES if trial.control else "correctness"
    gains = [
        study.column(trial.seeds, test, ours, 1, trial.budget)
        - study.column(trial.seeds, test, "correctness without transforms", 1, trial.budget)
        for test in study.TESTS
    ]
    return Effects(sum(gains) / len(gains), {"AUROC": study.mean_table(trial.seeds, 1, trial.budget)})


def _ece(trial, test, name):
    return study.column(trial.seeds, test, name, 0, trial.budget)
