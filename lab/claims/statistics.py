"""The one place for intervals and tests of measured effects.

Effects are differences, ratios or shares that a measuring function returned, one a replicate. Nothing here knows a claim or a
margin: a bound is handed in, and the verdict is drawn in :mod:`lab.claims.verdict`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

STATISTICS = ("exact", "mean", "median", "share")
EXACT_FLIPS = 20  # up to here all 2^n signs are tried
DRAWS = 100_000


class Interval(NamedTuple):
    """An estimate and its two-sided confidence interval."""

    value: float
    low: float
    high: float


def interval(values: Sequence[float], statistic: str = "mean", level: float = 0.95) -> Interval:
    """Estimate and interval of independent replicates.

    ``mean``: Student's t, x̄ ± t_{(1+level)/2, n-1} s/√n. ``median``: the order statistics x_(k), x_(n+1-k) with the largest k
    whose binomial coverage is at least ``level``. ``share``: Clopper and Pearson's exact binomial interval of replicates that
    are 0 or 1. ``exact``: the mean with both ends equal to it (no sampling error).

    Args:
        values: one number a replicate, shape (n,).
        statistic: one of :data:`STATISTICS`.
        level: two-sided confidence level.

    Returns:
        :class:`Interval`; both ends are infinite where n is too small for the level (one replicate; fewer than six for a
        median at 95 %), and NaN where a value is NaN.

    Raises:
        ValueError: no values, an unknown statistic, shares other than 0 and 1.
    """
    x = np.asarray(values, dtype=float).ravel()
    if statistic not in STATISTICS:
        raise ValueError(f"statistic must be one of {', '.join(STATISTICS)}, got {statistic!r}")
    if not len(x):
        raise ValueError("values is empty; at least one replicate is needed")
    if np.isnan(x).any():
        return Interval(math.nan, math.nan, math.nan)
    if statistic == "exact":
        return Interval(float(x.mean()), float(x.mean()), float(x.mean()))
    return {"mean": _student, "median": _order_statistics, "share": _clopper_pearson}[statistic](x, level)


def _student(x, level):
    from scipy import stats

    mean = float(x.mean())
    if len(x) < 2 or not np.isfinite(x).all():
        return Interval(mean, -math.inf, math.inf)
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
    return Interval(mean, mean - half, mean + half)


def _order_statistics(x, level):
    from scipy import stats

    ordered = np.sort(x)
    middle = float(np.median(ordered))
    k = int(stats.binom.ppf((1 - level) / 2, len(x), 0.5))  # the largest k with P(B < k) <= (1 - level)/2
    while k > 0 and stats.binom.cdf(k - 1, len(x), 0.5) > (1 - level) / 2:
        k -= 1
    if k < 1:
        return Interval(middle, -math.inf, math.inf)
    return Interval(middle, float(ordered[k - 1]), float(ordered[len(x) - k]))


def _clopper_pearson(x, level):
    from scipy import stats

    if not np.isin(x, (0.0, 1.0)).all():
        raise ValueError("replicates of a share must be 0 or 1; the mean of fractions is the statistic 'mean'")
    found = stats.binomtest(int(x.sum()), len(x)).proportion_ci(level, method="exact")
    return Interval(float(x.mean()), float(found.low), float(found.high))


def unpaired(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, level: float = 0.95
) -> Interval:
    """Difference of the means of two independent groups with Welch's interval."""
    from scipy import stats

    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    value = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return Interval(value, -math.inf, math.inf)
    if a.std() == b.std() == 0:
        return Interval(value, value, value)
    found = stats.ttest_ind(a, b, equal_var=False).confidence_interval(level)
    return Interval(value, float(found.low), float(found.high))


def sign_flip(values: Sequence[float], bound: float = 0.0) -> float:
    """One-sided p-value of the hypothesis that paired effects are centred at or below ``bound``.

    The signs of values - bound are exchanged in all 2^n ways (from 21 replicates on in 100,000 drawn ways, the observed one
    counted); p is the share of ways whose sum is at least the observed one. No p-value is below 2^-n: three replicates never
    reach 5 %, five do (1/32). Source: Fisher, 'The Design of Experiments', 1935, section 21.
    """
    x = np.asarray(values, dtype=float).ravel() - bound
    if not len(x) or not np.isfinite(x).all():
        return 1.0
    observed = x.sum() - 1e-12 * np.abs(x).sum()  # sums that differ by rounding alone are ties
    if len(x) <= EXACT_FLIPS:
        sums = np.zeros(1)
        for one in x:
            sums = np.concatenate([sums + one, sums - one])
        return float((sums >= observed).mean())
    signs = np.random.default_rng(0).integers(0, 2, (DRAWS, len(x)), dtype=np.int8) * 2 - 1
    return float(((signs @ x >= observed).sum() + 1) / (DRAWS + 1))


def permutation(first: Sequence[float], second: Sequence[float], bound: float = 0.0) -> float:
    """One-sided p-value of the hypothesis mean(first) - mean(second) <= ``bound`` for unpaired groups.

    All exchanges of the group labels where there are at most 100,000, else that many drawn ones.
    """
    from scipy import stats

    a, b = np.asarray(first, dtype=float) - bound, np.asarray(second, dtype=float)
    found = stats.permutation_test(
        (a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis), permutation_type="independent", alternative="greater",
        n_resamples=DRAWS, vectorized=True, rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.pvalue)


def replicates_needed(values: Sequence[float], region: tuple[float, float], *, level: float = 0.95) -> int | None:
    """About how many replicates put the interval of the mean wholly inside or outside ``region``, from those at hand.

    The distance d of the mean from the nearest end of the region asks for n with t_{n-1} s / √n < d; ``None`` where the mean
    lies on the end, or fewer than two replicates say nothing about the spread.
    """
    from scipy import stats

    x = np.asarray(values, dtype=float).ravel()
    if len(x) < 2 or not np.isfinite(x).all():
        return None
    distance = min((abs(x.mean() - end) for end in region if math.isfinite(end)), default=0.0)
    spread = x.std(ddof=1)
    if distance == 0:
        return None
    n = 5
    while n < 10_000_000 and stats.t.ppf((1 + level) / 2, n - 1) * spread / math.sqrt(n) >= distance:
        n = max(n + 1, int(n * 1.05))
    return n
