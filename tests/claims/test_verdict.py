"""Verdicts follow from region and interval alone."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.claims import Claim, Effects
from lab.claims.measure import concluded
from lab.claims.verdict import judge, status

ROW = Claim(
    "m.row",
    "t",
    "s",
    "experiment",
    "small",
    "at least",
    1.0,
    statistic="mean",
    replicates=5,
    drawn="seeds",
    control="c",
)
FIVE = (0, 1, 2, 3, 4)
INF = math.inf


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [(1.0, 2.0, 0.04, "holds"), (1.0, 2.0, 0.06, "undecided"), (0.9, 2.0, 0.01, "undecided"), (0.0, 0.9, 1.0, "refuted"),
     (-INF, INF, 0.01, "undecided"), (math.nan, 2.0, 0.01, "undecided")],
)  # fmt: skip
def test_verdict_of_an_interval(low, high, p, verdict):
    assert judge((1.0, INF), 1.5, low, high, exact=False, n=5, p=p) == verdict


@given(st.floats(-3, 3), st.floats(0, 3), st.floats(0, 3), st.sampled_from([(0.5, INF), (-INF, 0.5), (-0.5, 0.5)]))
def test_a_wider_interval_never_makes_a_claim_hold(middle, half, wider, region):
    narrow = judge(region, middle, middle - half, middle + half, exact=False, n=5)
    wide = judge(region, middle, middle - half - wider, middle + half + wider, exact=False, n=5)
    assert wide != "holds" or narrow == "holds"


def test_effects_that_are_all_zero_never_hold_at_margin_zero():
    row = replace(ROW, margin=0.0, why_zero="any gain counts")
    assert concluded(row, Effects([0.0] * 8), range(8)).verdict == "refuted"
    assert concluded(replace(row, rule="at most"), Effects([0.0] * 8), range(8)).verdict == "refuted"
    assert concluded(row, Effects([0.1, 0.2, 0.15, 0.1, 0.12]), FIVE).verdict == "holds"


def test_three_pairs_cannot_hold_and_five_can():
    values = [2.0, 2.01, 2.02, 2.0, 2.01]
    assert concluded(ROW, Effects(values[:3]), FIVE[:3]).verdict == "undecided"
    assert concluded(ROW, Effects(values), FIVE).verdict == "holds"


def test_margin_of_the_row_changes_the_verdict():
    values = Effects([2.0, 2.1, 1.9, 2.05, 2.0])
    assert [concluded(replace(ROW, margin=m), values, FIVE).verdict for m in (1.0, 2.0, 3.0)] == [
        "holds",
        "undecided",
        "refuted",
    ]


def test_at_most_and_within_and_ordered():
    small = Effects([0.1, 0.12, 0.08, 0.11, 0.1])
    assert concluded(replace(ROW, rule="at most"), small, FIVE).verdict == "holds"
    assert concluded(replace(ROW, rule="at most", margin=-1.0), small, FIVE).verdict == "refuted"
    assert concluded(replace(ROW, rule="within"), small, FIVE).verdict == "holds"
    assert concluded(replace(ROW, rule="within", margin=0.05), small, FIVE).verdict == "refuted"
    levels = [[0.0, 1.0 + k / 9, 2.2 + k / 9] for k in range(5)]
    ordered = replace(ROW, rule="ordered", margin=0.5)
    assert concluded(ordered, Effects(levels), FIVE).verdict == "holds"
    assert concluded(ordered, Effects([row[::-1] for row in levels]), FIVE).verdict == "refuted"


def test_equivalence_is_two_one_sided_tests_at_five_percent():
    values = [0.0, 0.9, -0.8, 0.85, -0.95, 0.1, 0.02, -0.1]
    found = concluded(replace(ROW, rule="within"), Effects(values), range(8))
    from lab.claims.statistics import interval

    assert found.interval == interval(values, "mean", 0.90)[1:]


def test_exact_effects_take_the_worst_replicate():
    exact = replace(ROW, kind="identity", statistic="exact", rule="at most", margin=1e-6)
    assert concluded(exact, Effects([1e-9, 1e-3]), (0, 1)).verdict == "refuted"
    assert concluded(exact, Effects(1e-9), (0,)).verdict == "holds"
    assert concluded(exact, Effects(math.nan), (0,)).verdict == "undecided"
    assert concluded(replace(exact, rule="within"), Effects([1e-9, -1e-3]), (0, 1)).value == -1e-3


def test_repetitions_are_not_taken_for_replicates():
    with pytest.raises(ValueError, match="one value a replicate"):
        concluded(ROW, Effects([2.0] * 10), FIVE)


def test_unpaired_arms_and_equal_arms():
    claim = replace(ROW, margin=0.5)
    assert (
        concluded(claim, Effects([3.0, 3.2, 2.9, 3.1, 3.0], against=[1.0, 1.2, 0.9, 1.1, 1.05]), FIVE).verdict
        == "holds"
    )
    equal = [1.0, 1.2, 0.9, 1.1, 1.05]
    assert concluded(claim, Effects(equal, against=equal), FIVE).verdict == "refuted"


def test_status_says_what_the_measurement_may_be_said_of():
    found = concluded(ROW, Effects([2.0, 2.1, 1.9, 2.05, 2.0]), FIVE)
    assert status(found, ROW) == "holds at small scale"
    assert status(found, replace(ROW, setting="paper")) == "holds"
    assert status(replace(found, budget="smoke"), ROW) == "works"
    assert status(replace(found, own="data"), ROW) == "holds (own data)"
    assert status(found, replace(ROW, replicates=8)) == "holds (5 of 8 replicates)"
    assert status(None, ROW) == "not run"
    assert status(None, replace(ROW, untestable="needs a cluster")) == "not testable here"


def test_a_measured_zero_has_no_sign():
    from lab.claims import Effects, by_id
    from lab.claims.measure import concluded

    found = concluded(by_id("target_surrogates.majorizes"), Effects((-0.0, 0.0)), range(3))
    assert str(found.value) == str(found.interval[0]) == "0.0"
