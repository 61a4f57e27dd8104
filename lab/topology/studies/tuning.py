"""How the arms of the two training studies were tuned: as many trials each, on seeds that no measurement sees.

The learning rate is tuned on the Dice arm and shared by all, so that no arm has the worse one. Then every other arm tries as
many values of its own number. The rule is the same for all and is what somebody would do who wants better topology and may
not lose overlap: the least matching error among values whose Dice is at most a fifth of a point below the reference, where
there is none the highest Dice. The reference is the best Dice of the Dice arm's own trials and, for the other arms, the Dice
of the value chosen for it.

Where only the mean of a trial over its four seeds was kept, the record holds that. ``lab claim betti_matching --tune`` and
``lab claim betti_volumes --tune`` repeat it; all trials stand in ``data/benchmarks/tuning``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lab.topology.studies import segmentation_training, volume_training
from lab.topology.studies.segmentation_data import KINDS
from lab.training.comparison import TUNING_SEEDS, Trials, best, record, trials_of, tune

if TYPE_CHECKING:
    import pandas as pd

POINTS = 0.002  # a fifth of a point of Dice
PRICE = 1e4  # features for a unit of Dice below that: a hundred for a point, more than any matching error


def segmentation(kind: str, *, seeds=TUNING_SEEDS, grids=None, budget: str = "default", progress=None) -> Trials:
    """All trials of one kind of images."""
    study, sizes = segmentation_training, segmentation_training._SIZES[budget]

    def run(arm, rate, factor, seed):
        return study.remembered(kind, study.stream(seed), arm, factor, rate, sizes)

    return trials(kind, grids or study.GRIDS, run, seeds=seeds, progress=progress)


def volumes(*, seeds=TUNING_SEEDS, grids=None, budget: str = "default", progress=None) -> Trials:
    """All trials of the tubes."""
    study, sizes = volume_training, volume_training._SIZES[budget]

    def run(arm, rate, weight, seed):
        return study.remembered(study.stream(seed), arm, (rate, weight), sizes)

    return trials("tubes", grids or study.GRIDS, run, seeds=seeds, progress=progress)


def trials(name: str, grids, run, *, seeds=TUNING_SEEDS, progress=None) -> Trials:
    """Trials of every arm, the Dice arm first: ``run(arm, rate, number, seed)`` returns its ``dice`` and ``matching_error``."""
    rate = reference = None

    def evaluate(arm, settings, seeds):
        nonlocal rate, reference
        numbers = [(value, 0.0) if arm == "dice" else (rate, value) for value in settings]
        rows = [[run(arm, *pair, seed) for seed in seeds] for pair in numbers]
        dice, error = (np.array([[row[key] for row in line] for line in rows]) for key in ("dice", "matching_error"))
        if arm != "dice":
            return score(dice, error, reference)
        found = score(dice, error, dice.mean(1).max())
        chosen = best(found)
        rate, reference = settings[chosen], dice[chosen].mean()
        return found

    return tune(name, {"dice": grids["dice"], **grids}, evaluate, seeds=seeds, progress=progress)


def score(dice, error, reference: float) -> np.ndarray:
    """Minus the matching error, less ``PRICE`` for each unit by which the setting's mean Dice misses ``reference - POINTS``.

    Args:
        dice, error: shape (settings, seeds).
        reference: the Dice that must not be lost.
    """
    missing = np.maximum(0.0, reference - POINTS - np.mean(dice, axis=1, keepdims=True))
    return -np.asarray(error) - PRICE * missing


def tune_segmentation(*, progress=None) -> None:
    """Tune all arms on both kinds of images and write the record."""
    record("betti_matching", *(segmentation(kind, progress=progress) for kind in KINDS))


def tune_volumes(*, progress=None) -> None:
    """Tune both arms on tubes and write the record."""
    record("betti_volumes", volumes(progress=progress))


def table(method: str, study: str) -> pd.DataFrame:
    """The recorded trials of one study: mean score over seeds, one row an arm and value, which was chosen, whether at an edge."""
    import pandas as pd

    frame = pd.DataFrame(trials_of(method))
    parts = frame[frame.study == study].groupby(["arm", "setting"], sort=False)
    return parts.agg(
        score=("score", "mean"), seeds=("seed", "count"), chosen=("chosen", "any"), edge=("edge", "any")
    ).reset_index()
