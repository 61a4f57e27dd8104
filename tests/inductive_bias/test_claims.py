"""Every row has a function, runs at the smoke budget, and its verdict flips when its cause is taken away."""

import pytest

import lab.claims as ledger
from lab.inductive_bias.claims import estimate, models, tasks

ROWS = [row for row in ledger.ledger("inductive_bias") if not row.untestable]
QUICK = [row for row in ROWS if row.id != "bias.sampling-error"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_row_has_a_measuring_function(row):
    assert ledger.measuring_function(row.id) is not None


@pytest.mark.parametrize("row", QUICK, ids=lambda row: row.id)
def test_every_claim_is_measured_at_the_smoke_budget(row):
    found = ledger.measure(row.id, seeds=2 if row.seeds > 1 else 1, budget="smoke")
    assert found.interval[0] <= found.value <= found.interval[1]


def test_exact_bits_are_the_counted_share_and_a_wrong_threshold_is_noticed():
    assert estimate._exact_against_counted((0, 1), 4000).holds
    assert not estimate._exact_against_counted((0, 1), 4000, miscount=1.1).holds


def test_dimension_claim_needs_the_dimension():
    assert tasks._over_dimensions((0, 1, 2), "smoke").holds
    assert not tasks._over_dimensions((0, 1, 2), "smoke", intrinsic=8).holds


def test_labels_save_bits_only_where_they_mean_something():
    assert tasks._over_labels(None, (0, 1, 2), "smoke").holds
    assert not tasks._over_labels(None, (0, 1, 2), "smoke", shuffled=True).holds


def test_design_claim_needs_the_search():
    best = tasks._designed((0, 1), "smoke").value
    worst = tasks._designed((0, 1), "smoke", choose="easiest")
    assert worst.value < best
    assert not worst.holds


def test_locality_is_worth_nothing_between_two_shuffles():
    assert models._saved_by_locality((0, 1, 2), "smoke").holds
    assert not models._saved_by_locality((0, 1, 2), "smoke", shuffled_twice=True).holds


def test_architecture_claim_needs_two_architectures():
    assert models._between(None, (0, 1, 2), "smoke").holds
    assert not models._between(None, (0, 1, 2), "smoke", names=("3 layers", "3 layers")).holds


def test_the_generic_space_in_place_of_networks_encodes_nothing():
    from lab.inductive_bias import RBF

    found = models._encoded(None, (0, 1, 2), "smoke", networks={"generic": RBF(1.0)})
    assert not found.holds
    assert found.value < -100


def test_network_limit_is_the_right_kernel():
    assert models._limit((0,), "smoke", bias=0.5).holds
    assert not models._limit((0,), "smoke", bias=0.5, weight_variance=0.2).holds


def test_ranking_by_bits_needs_the_labels():
    true = models._rank_correlations((0,), "smoke")["hypotheses"]
    shuffled = models._rank_correlations((0,), "smoke", shuffled=True)["hypotheses"]
    assert sum(true) / 4 > 0.85 > sum(shuffled) / 4 + 0.2


def test_large_bits_are_those_of_the_same_task():
    assert max(estimate._large_differences((0,), 120).details["in place"]) < 1e-4
    assert not estimate._large_differences((0,), 120, noise=0.02).holds


def test_copies_of_draws_are_not_more_draws():
    found = estimate._sampling_slope(tuple(range(8)), (200, 1600), correlated=True)
    assert not found.holds


def test_a_table_can_be_passed():
    from lab import datasets

    found = ledger.measure("bias.more-labels", data=datasets.load("wine"), seeds=2, budget="smoke")
    assert found.seeds == (0, 1)
