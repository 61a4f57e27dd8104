"""What the statements about training share: arms paired over seeds, and equivalence of the overlap."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from lab.claims import Measured

POINTS = 0.5  # two arms are equivalent within half a point of Dice


def interval(values, level: float = 0.95) -> tuple[float, float]:
    """Interval of Student's t for the mean; a single value is its own interval."""
    values = np.asarray(values, float)
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.mean()), float(values.mean())
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def error_falls(frame: pd.DataFrame, details: dict) -> Measured:
    """Matching error with Dice alone less that with Betti matching; it falls where the interval of 95 % is above zero.

    ``frame`` has one row a seed and arm (``"dice"``, ``"betti"``).
    """
    difference = _paired(frame, "matching_error")
    low, high = interval(-difference)
    return _measured(frame, -difference, (low, high), low > 0, details)


def overlap_stays(frame: pd.DataFrame, details: dict) -> Measured:
    """Points of Dice with Betti matching less those with Dice alone. Equivalent within half a point are two arms whose
    interval of 90 % lies between -0.5 and 0.5: two one-sided tests at 5 %."""
    difference = 100 * _paired(frame, "dice")
    low, high = interval(difference, level=0.9)
    return _measured(frame, difference, (low, high), -POINTS < low and high < POINTS, details)


def _paired(frame, measure):
    wide = frame.pivot(index="seed", columns="arm", values=measure)
    return (wide["betti"] - wide["dice"]).to_numpy()


def _measured(frame, difference, ends, holds, details):
    names = [name for name in ("dice", "cldice", "betti_number_error", "matching_error") if name in frame]
    means = frame.groupby("arm")[names].mean().round(4).to_dict("index")
    found = {"by seed": difference.round(4).tolist(), "means": means, **details}
    return Measured(difference.mean(), ends, holds and len(difference) > 1, found)
