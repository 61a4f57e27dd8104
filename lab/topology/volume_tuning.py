"""How both arms of the 3-D training study were tuned: as many trials each, on volumes that the study never tests on.

A trial is a learning rate and, of Betti matching, the weight of its term. The rule is that of the study in 2-D
(:func:`lab.topology.segmentation_tuning.pick`): the least matching error among trials whose Dice is at most a fifth of a
point below the reference. The reference is the best Dice of the Dice arm's own trials, and, for Betti matching, the Dice
of the trial chosen there.

``python -m lab.topology.volume_tuning`` writes the table of all trials; ``SETTINGS`` of
:mod:`lab.topology.volume_training` are what the rule makes of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lab.topology import volume_training as study
from lab.topology.segmentation_tuning import pick

if TYPE_CHECKING:
    import pandas as pd

GRID = {
    "dice": [(rate, 0.0) for rate in (1e-3, 3e-3, 5e-3, 7e-3, 1e-2, 1.5e-2, 2e-2, 3e-2)],
    "betti": [(5e-3, 0.005), (5e-3, 0.01), (5e-3, 0.02), (1e-2, 0.003), (1e-2, 0.005), (1e-2, 0.01), (1e-2, 0.02), (2e-2, 0.01)],
}
SEEDS = (0, 1, 2, 3)
TABLE = Path(__file__).parents[2] / "data" / "benchmarks" / "volume_tuning.csv"


def trials(*, seeds=SEEDS, grid=None, budget: str = "default") -> pd.DataFrame:
    """Every trial: means over seeds, one row an arm, learning rate and weight."""
    import pandas as pd

    rows = []
    for arm, settings in (grid or GRID).items():
        for rate, weight in settings:
            runs = [study.remembered(study.TUNING + seed, arm, (rate, weight), study._SIZES[budget]) for seed in seeds]
            means = pd.DataFrame(runs).drop(columns="seconds").mean().round(5)
            rows.append({"arm": arm, "rate": rate, "weight": weight, "seeds": len(runs)} | means.to_dict())
    return pd.DataFrame(rows)


def chosen(frame: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """The (learning rate, weight) that the rule picks for each arm."""
    dice = frame[frame.arm == "dice"]
    best = pick(dice, dice.dice.max())
    rows = {"dice": best} | {arm: pick(frame[frame.arm == arm], best.dice) for arm in frame.arm.unique() if arm != "dice"}
    return {arm: (float(row.rate), float(row.weight)) for arm, row in rows.items()}


def table() -> pd.DataFrame:
    """The committed trials.

    Raises:
        FileNotFoundError: the project's data folder holds no such table.
    """
    import pandas as pd

    if not TABLE.exists():
        raise FileNotFoundError(f"no table at data/benchmarks/{TABLE.name}; `python -m {__name__}` writes it")
    return pd.read_csv(TABLE)


if __name__ == "__main__":
    frame = trials()
    print(frame.to_string(), chosen(frame), flush=True)
    frame.to_csv(TABLE, index=False, lineterminator="\n")
