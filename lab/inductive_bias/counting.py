"""Counting: the share of draws whose loss is at most ``eps``, with the Clopper-Pearson interval.

From ``m`` draws at most about ``log2 m`` bits can be seen. With no draw below ``eps`` the count still gives a lower
bound.

Source: C. Clopper, E. Pearson, 'The Use of Confidence or Fiducial Limits', Biometrika 1934.
"""

from __future__ import annotations

import math

from lab.inductive_bias.bits import Bits
from lab.inductive_bias.laws import SampleLaw


def enough(law: SampleLaw, eps: float) -> bool:
    """Whether at least one draw reaches ``eps``, or none can ever be expected to (no draw fits the training set)."""
    return len(law.losses) == 0 or bool((law.losses <= eps).any())


def bits(law: SampleLaw, eps: float) -> Bits:
    """``-log2`` of the share of draws with loss at most ``eps``."""
    total, hits = len(law.losses), int((law.losses <= eps).sum())
    meta = {**law.meta, "draws": law.drawn, "kept": total, "hits": hits}
    if total == 0:
        none = (f"none of {law.drawn} draws fits the training set to {law.tolerance}",)
        return Bits(math.nan, (0.0, math.inf), "counting", False, none, eps, meta)
    low, high = share_interval(hits, total)
    reasons = [f"{hits} of {total} draws reach eps"]
    if total < law.drawn:
        reasons.append(f"{law.drawn - total} draws that do not fit the training set were left out")
    if law.optimizer:
        reasons.append("draws of a training procedure, not of a prior's posterior")
    interval = (0.0 - math.log2(high), 0.0 - math.log2(low) if low > 0 else math.inf)
    if hits == 0:
        reasons.append(f"the draws say only: more than {interval[0]:.2f} bits")
        return Bits(interval[0], interval, "counting", False, tuple(reasons), eps, meta)
    return Bits(0.0 - math.log2(hits / total), interval, "counting", True, tuple(reasons), eps, meta)


def share_interval(hits: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a share."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, total - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, total - hits)) if hits < total else 1.0
    return low, high
