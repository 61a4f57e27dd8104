"""Intervals and tests against scipy, enumeration and their own coverage."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from lab.claims.statistics import interval, permutation, replicates_needed, sign_flip, unpaired


def test_student_interval_is_that_of_scipy():
    x = np.random.default_rng(0).normal(1, 2, 9)
    low, high = stats.ttest_1samp(x, 0).confidence_interval(0.9)
    assert interval(x, "mean", 0.9) == pytest.approx((x.mean(), low, high))


def test_one_replicate_says_nothing_about_a_sampled_effect():
    assert interval([3.0], "mean")[1:] == (-np.inf, np.inf)
    assert unpaired([3.0], [1.0, 2.0])[1:] == (-np.inf, np.inf)


def test_median_interval_has_the_smallest_order_statistics_of_sufficient_coverage():
    x = np.arange(1.0, 18.0)
    value, low, high = interval(x, "median")
    k = int(low)
    assert value == 9 and high == 18 - k
    assert 1 - 2 * stats.binom.cdf(k - 1, 17, 0.5) >= 0.95 > 1 - 2 * stats.binom.cdf(k, 17, 0.5)
    assert interval(x[:5], "median")[1:] == (-np.inf, np.inf)
    assert np.isfinite(interval(x[:6], "median")[1:]).all()


def test_median_interval_covers_under_heavy_tails():
    draw = np.random.default_rng(1)
    hits = [low <= 0 <= high for _, low, high in (interval(draw.standard_cauchy(15), "median") for _ in range(1000))]
    assert stats.binomtest(sum(hits), 1000, 0.95, alternative="less").pvalue > 1e-4


def test_share_interval_is_exact_and_refuses_fractions():
    assert interval([1, 1, 1, 0, 1], "share")[1:] == pytest.approx(stats.binomtest(4, 5).proportion_ci(0.95)[:])
    with pytest.raises(ValueError, match="must be 0 or 1"):
        interval([0.5, 1.0], "share")


def test_sign_flip_equals_enumeration_and_is_shifted_to_the_bound():
    x = np.array([0.3, 0.5, -0.1, 0.8, 0.2])
    for bound in (0.0, 0.25):
        sums = [np.dot(signs, x - bound) for signs in product((-1, 1), repeat=5)]
        assert sign_flip(x, bound) == np.mean([total >= (x - bound).sum() - 1e-12 for total in sums])
    assert sign_flip([1.0, 2.0, 3.0]) == 1 / 8
    assert sign_flip([0.0] * 8) == 1.0


def test_many_sign_flips_are_close_to_the_normal_limit():
    x = np.random.default_rng(2).normal(0.2, 1, 60)
    wanted = stats.norm.sf(x.sum() / np.sqrt((x**2).sum()))
    assert sign_flip(x) == pytest.approx(wanted, abs=0.01)


def test_permutation_equals_enumeration():
    a, b = np.array([3.0, 4.0, 5.5]), np.array([1.0, 2.0, 4.5])
    whole = np.concatenate([a, b])
    found = [whole[list(c)].mean() - np.delete(whole, list(c)).mean() for c in combinations(range(6), 3)]
    assert permutation(a, b) == pytest.approx(np.mean(np.array(found) >= a.mean() - b.mean() - 1e-12))


def test_replicates_needed_decide():
    draw = np.random.default_rng(3)
    few = draw.normal(0.3, 1, 8) * 0 + np.linspace(-1.2, 1.8, 8)
    needed = replicates_needed(few, (0.0, np.inf))
    half = few.std(ddof=1) * stats.t.ppf(0.975, needed - 1) / np.sqrt(needed)
    assert half < few.mean() and 20 < needed < 200
    assert replicates_needed([1.0], (0.0, np.inf)) is None


def test_nan_stays_nan_and_no_values_are_refused():
    assert all(np.isnan(end) for end in interval([1.0, np.nan]))
    with pytest.raises(ValueError, match="empty"):
        interval([])
