"""The studies behind the statements of the method."""

import numpy as np
import pytest
import torch

import lab
from lab.topology.persistence.filtrations import Image, Rips
from lab.topology.studies import clouds, graphs
from lab.topology.studies import persistence as study


def test_every_statement_of_the_abstract_has_a_row_and_a_function_or_a_reason():
    rows = lab.claims.method("persistence").claims
    assert len(rows) >= 18
    for claim in rows:
        assert claim.untestable or lab.claims.measuring_function(claim.id)


def test_rank_by_definition_counts_the_loops_that_survive():
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    filtration = Rips(square)
    assert study.rank_by_definition(filtration, 0, [0.5], [0.9]) == 4
    assert study.rank_by_definition(filtration, 0, [0.5], [1.1]) == 1
    assert study.rank_by_definition(filtration, 1, [1.1], [1.3]) == 1
    assert study.rank_by_definition(filtration, 1, [1.1], [1.5]) == 0


def test_rank_by_definition_of_a_ring_of_pixels():
    ring = torch.ones(2, 3, 3, dtype=torch.float64)
    ring[:, 1, 1] = 5.0
    filtration = Image(ring, parameters=2)
    assert study.rank_by_definition(filtration, 1, [1, 1], [4, 4]) == 1
    assert study.rank_by_definition(filtration, 1, [1, 1], [4, 6]) == 1
    assert study.rank_by_definition(filtration, 1, [1, 1], [6, 6]) == 0


def test_graphs_of_different_hilbert_functions_are_no_witnesses():
    with pytest.raises(ValueError, match="the same Hilbert function"):
        study.rank_difference(study.star((2.0, 3.0)), study.star((2.0, 4.0)))


def test_cloud_settles_with_densities_and_not_when_they_are_dealt_to_the_wrong_points():
    right = clouds.enlarge_loops(2, count=60, steps=30, seed=0)
    wrong = clouds.enlarge_loops(2, count=60, steps=30, seed=0, shuffle=True)
    assert min(right.losses) < right.losses[0]
    assert not np.allclose(right.spread, wrong.spread)


def test_grid_statement_vanishes_on_the_exact_grid():
    found = clouds.grid_errors((10**6,), count=60)
    assert found.cosine == pytest.approx([1.0])
    assert found.relative_error == pytest.approx([0.0], abs=1e-12)


def test_graph_classifier_learns_and_shuffled_labels_teach_nothing():
    learned = [graphs.learned_accuracy(2, count=120, epochs=15, seed=seed) for seed in range(2)]
    shuffled = [graphs.learned_accuracy(2, count=120, epochs=15, seed=seed, shuffle=True) for seed in range(2)]
    assert np.mean(learned) > np.mean(shuffled) + 0.1


def test_race_counts_steps_to_the_target():
    found = clouds.transform_race({"subgradient": study.transforms()["subgradient"]}, count=24, steps=30)
    assert found.steps[0] is not None
    assert found.curves[0][found.steps[0]] >= found.target


def test_regularizer_reports_its_share_of_a_step():
    from lab.topology.studies.autoencoder import embed

    plain, two = (embed(p, steps=12, widths=(32,)) for p in (0, 2))
    assert plain.regularizer_share == 0.0
    assert 0 < two.regularizer_share < 1
    assert two.latent.shape == (len(two.label), 2)
