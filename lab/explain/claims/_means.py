"""What the measuring functions share: a mean with its interval, and the subjects of a budget."""

from __future__ import annotations

import torch

from lab.claims import Measured
from lab.explain import studies

FAMILIES = {
    "smoke": ("linear", "relu network"),
    "default": ("linear", "tanh network", "relu network", "deep relu network"),
    "full": ("linear", "tanh network", "relu network", "deep relu network"),
}
INSTANCES = {"smoke": 10, "default": 30, "full": 100}


def subjects(data, seed: int, budget: str, *, families=None, columns: int = 0) -> list[studies.Subject]:
    """The table subjects of one seed."""
    return studies.tables(
        data,
        families=families or FAMILIES[budget],
        seed=seed,
        instances=INSTANCES[budget],
        columns=columns,
        budget=budget,
    )


def mean_interval(values) -> tuple[float, tuple[float, float]]:
    """Mean and 95 % t interval of independent values; a single value stands for itself."""
    from scipy import stats

    values = torch.as_tensor(values, dtype=torch.float64)
    mean = float(values.mean())
    if len(values) == 1:
        return mean, (mean, mean)
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std() / len(values) ** 0.5)
    return mean, (mean - half, mean + half)


def share_interval(hits) -> tuple[float, tuple[float, float]]:
    """Share of ones and its 95 % Wilson interval."""
    from scipy import stats

    hits = torch.as_tensor(hits, dtype=torch.float64)
    found = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95, method="wilson")
    return float(hits.mean()), (float(found.low), float(found.high))


def exact(value: float, holds: bool, **details) -> Measured:
    """A measurement without spread."""
    return Measured(value, (value, value), holds, details)
