"""What measuring functions share that still judge for themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lab.claims import Measured
from lab.losses.comparison import mean_interval


def exact(value: float, holds: bool, details: dict | None = None) -> Measured:
    """A measurement without sampling error."""
    return Measured(value, (value, value), holds, details or {})


def sampled(values, margin: float, details: dict | None = None, *, seeds: Sequence[int], at_most: bool = False) -> Measured:
    """Mean over seeds with its 95 % interval; holds if the whole interval is above 0 and the mean reaches ``margin``.

    ``at_most``: holds if the upper end of the interval is at most ``margin`` instead. ``values`` stand for the first of the
    ``seeds``, as many as the budget allowed.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    mean, low, high = mean_interval(values)
    holds = high <= margin if at_most else low > 0 and mean >= margin
    return Measured(mean, (low, high), holds, details or {}, seeds=tuple(seeds)[: len(values)])
