"""The statements of the method: every row has its function, and what holds stops holding when the effect is switched off."""

import numpy as np
import pytest

import lab
from lab.topology import cloud_studies, graph_studies
from lab.topology.claims import multipers

ROWS = [claim for claim in lab.claims.ledger("topology") if claim.method == "multipers"]


def test_every_statement_of_the_abstract_has_a_row_and_a_function_or_a_reason():
    assert len(ROWS) >= 14
    for claim in ROWS:
        assert claim.untestable or lab.claims.measuring_function(claim.id)


@pytest.mark.parametrize(
    "id",
    [
        "multipers.barcode-is-differentiable-almost-everywhere",
        "multipers.framework-covers-signed-barcodes",
        "multipers.framework-covers-the-landscape",
        "multipers.no-unique-descriptor",
        "multipers.several-parameters-converge",
        "multipers.coarse-grids-bend-gradients",
    ],
)
def test_statement_holds_at_the_smallest_budget(id):
    found = lab.claims.measure(id, seeds=2, budget="smoke")
    assert found.holds, found.details
    assert found.interval[0] <= found.value <= found.interval[1]


def test_gradient_statement_fails_for_a_gradient_that_is_wrong(monkeypatch):
    right = multipers.one_parameter_functions

    def wrong(seed):
        return {name: (lambda x, f=f: 0.9 * f(x) + 0.1 * f(x).detach(), at) for name, (f, at) in right(seed).items()}

    monkeypatch.setattr(multipers, "one_parameter_functions", wrong)
    assert not lab.claims.measure(
        "multipers.barcode-is-differentiable-almost-everywhere", seeds=1, budget="smoke"
    ).holds


def test_convergence_statement_fails_when_both_rules_are_the_same(monkeypatch):
    right = multipers.one_parameter_descent
    monkeypatch.setattr(
        multipers, "one_parameter_descent", lambda seed, rule, steps: right(seed, multipers.StepRule(0.3, 0.9), steps)
    )
    assert not lab.claims.measure("multipers.subgradient-descent-converges", seeds=2, budget="smoke").holds


def test_descriptor_statement_fails_for_equal_filtrations(monkeypatch):
    star = multipers.star
    monkeypatch.setattr(multipers, "star", lambda late: star((2.0, 3.0)))
    assert not lab.claims.measure("multipers.no-unique-descriptor").holds


def test_placement_statement_flips_when_the_second_parameter_is_switched_off():
    on = multipers.two_parameters_place_loops(None, (0,), "smoke")
    off = multipers.two_parameters_place_loops(None, (0,), "smoke", both=1)
    assert on.value > 0.1
    assert off.value == 0.0
    assert not off.holds


def test_cloud_settles_with_densities_and_not_when_they_are_dealt_to_the_wrong_points():
    right = cloud_studies.enlarge_loops(2, count=60, steps=30, seed=0)
    wrong = cloud_studies.enlarge_loops(2, count=60, steps=30, seed=0, shuffle=True)
    assert min(right.losses) < right.losses[0]
    assert not np.allclose(right.spread, wrong.spread)


def test_grid_statement_vanishes_on_the_exact_grid():
    found = cloud_studies.grid_errors((10**6,), count=60)
    assert found.cosine == pytest.approx([1.0])
    assert found.relative_error == pytest.approx([0.0], abs=1e-12)


def test_graph_classifier_learns_and_shuffled_labels_teach_nothing():
    learned = [graph_studies.learned_accuracy(2, count=120, epochs=15, seed=seed) for seed in range(2)]
    shuffled = [graph_studies.learned_accuracy(2, count=120, epochs=15, seed=seed, shuffle=True) for seed in range(2)]
    assert np.mean(learned) > np.mean(shuffled) + 0.1


def test_race_counts_steps_to_the_target():
    found = cloud_studies.transform_race({"subgradient": multipers.transforms()["subgradient"]}, count=24, steps=30)
    assert found.steps[0] is not None
    assert found.curves[0][found.steps[0]] >= found.target


def test_regularizer_reports_its_share_of_a_step():
    from lab.topology.autoencoder_study import embed

    plain, two = (embed(p, steps=12, widths=(32,)) for p in (0, 2))
    assert plain.regularizer_share == 0.0
    assert 0 < two.regularizer_share < 1
    assert two.latent.shape == (len(two.label), 2)
