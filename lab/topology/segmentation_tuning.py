"""How the arms of the training study were tuned: as many trials each, on images that the study never tests on.

The learning rate is tuned on the Dice arm and shared by all, so that a baseline never has the worse one. Then every
other arm tries as many values of its own number. Four seeds a value, from a stream of their own. The rule is the same
for all arms and is what somebody would do who wants better topology and may not lose overlap: the lowest matching error
among values whose Dice is at most a fifth of a point below the reference; where there is none, the highest Dice. The
reference is the best Dice of the Dice arm's own trials, and, for the other arms, the Dice of the value chosen for it.

``python -m lab.topology.segmentation_tuning`` writes the table of all trials; ``SETTINGS`` of
:mod:`lab.topology.segmentation_training` are what the rule makes of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lab.topology import segmentation_training as study
from lab.topology.segmentation_data import KINDS

if TYPE_CHECKING:
    import pandas as pd

GRIDS = {
    "dice": (1e-3, 3e-3, 5e-3, 1e-2, 2e-2),
    "betti": (0.003, 0.005, 0.01, 0.02, 0.03),
    "wasserstein": (0.003, 0.005, 0.01, 0.02, 0.03),
    "cldice": (0.03, 0.1, 0.3, 0.6, 1.0),
    "control": (0.05, 0.1, 0.3, 0.6, 0.9),
}
SEEDS = (0, 1, 2, 3)
POINTS = 0.002  # a fifth of a point of Dice
TABLE = Path(__file__).parents[2] / "data" / "benchmarks" / "segmentation_tuning.csv"


def trials(kind: str, *, seeds=SEEDS, grids=None, budget: str = "default") -> pd.DataFrame:
    """Every trial of one kind of images: means over seeds, one row an arm and value, the Dice arm first."""
    grids = grids or GRIDS
    frame = _trials(kind, {"dice": grids["dice"]}, None, seeds, budget)
    rate = chosen(frame)["dice"]
    return _joined([frame, _trials(kind, {arm: grids[arm] for arm in grids if arm != "dice"}, rate, seeds, budget)])


def chosen(frame: pd.DataFrame) -> dict[str, float]:
    """The value that the rule picks for each arm of one kind's trials."""
    dice = frame[frame.arm == "dice"]
    best = pick(dice, dice.dice.max())
    others = {arm: pick(frame[frame.arm == arm], best.dice) for arm in frame.arm.unique() if arm != "dice"}
    return {arm: float(row.value) for arm, row in {"dice": best, **others}.items()}


def pick(part: pd.DataFrame, reference: float) -> pd.Series:
    """The row of least ``matching_error`` among those whose ``dice`` is at least ``reference - POINTS``; of the highest
    Dice where there is none."""
    good = part[part.dice >= reference - POINTS]
    return good.loc[good.matching_error.idxmin()] if len(good) else part.loc[part.dice.idxmax()]


def _trials(kind, grids, rate, seeds, budget):
    import pandas as pd

    rows = []
    for arm, values in grids.items():
        for value in values:
            runs = [
                study.remembered(kind, study.TUNING + seed, arm, 0.0 if arm == "dice" else value, rate or value,
                                 study._SIZES[budget])
                for seed in seeds
            ]
            means = pd.DataFrame(runs).drop(columns="seconds").mean().round(5)
            rows.append({"images": kind, "arm": arm, "value": value, "seeds": len(runs)} | means.to_dict())
    return pd.DataFrame(rows)


def _joined(frames):
    import pandas as pd

    return pd.concat(frames, ignore_index=True)


def table() -> pd.DataFrame:
    """The committed trials of both kinds of images.

    Raises:
        FileNotFoundError: the project's data folder holds no such table.
    """
    import pandas as pd

    if not TABLE.exists():
        raise FileNotFoundError(f"no table at data/benchmarks/{TABLE.name}; `python -m {__name__}` writes it")
    return pd.read_csv(TABLE)


if __name__ == "__main__":
    frames = []
    for name in KINDS:
        frames.append(trials(name))
        print(frames[-1].to_string(), chosen(frames[-1]), flush=True)
        _joined(frames).to_csv(TABLE, index=False, lineterminator="\n")
