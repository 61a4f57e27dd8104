"""The studies behind the statements: attacks only take accuracy away, all pairs are trained side by side as one by one."""

import torch

from lab.losses.generative_classifier import mixture
from lab.losses.studies import comp_sum, ensloss, generative_classifier, representations
from lab.training.comparison import trials_of


def test_attacks_only_take_accuracy_away(generator):
    y = torch.arange(80) % 3
    x = torch.rand(3, 6, generator=generator)[y] + 0.1 * torch.rand(80, 6, generator=generator)
    settings = {name: (1.0, 1e-2) for name in comp_sum.OBJECTIVES}
    clean, robust = comp_sum.attacked(x, y, (0,), settings, epochs=2, steps=3, restarts=1)
    assert set(clean) == set(robust) == set(settings)
    assert all(robust[name][0] <= clean[name][0] for name in clean)


def test_recorded_tuning_has_as_many_trials_for_every_arm_on_seeds_of_its_own():
    for method in ("comp_sum", "ensloss", "groco", "contrastive_temperature"):
        counts = {}
        for row in trials_of(method):
            counts.setdefault(row["study"], {}).setdefault(row["arm"], []).append(row["seed"])
        assert counts
        for arms in counts.values():
            assert len({len(seeds) for seeds in arms.values()}) == 1
            assert all(seed >= 1000 for seeds in arms.values() for seed in seeds)


def test_an_untrained_network_has_the_features_of_its_initial_weights_and_shuffled_labels_leave_chance():
    untrained = representations.train("info-nce", 0.5, 3, 0)
    assert untrained == representations.train("groco", 1.0, 3, 0)
    assert untrained != representations.train("info-nce", 0.5, 3, 0, weights=4)
    chance = representations.train("info-nce", 0.5, 3, 0, shuffled=True)
    assert chance.probe < 0.2 and chance.neighbours < 0.2 < untrained.probe


def test_errors_are_measured_on_the_rows_that_are_given():
    x, y = mixture(20, 2, 1, samples=200)
    errors = generative_classifier.curves(x.numpy(), y.numpy(), (20, 100), range(3))
    assert float(errors["naive Bayes"][-1].mean()) < 0.05
    assert errors["logistic"].shape == (2, 3)


def test_pairs_trained_together_equal_pairs_trained_alone():
    rates = dict.fromkeys((*ensloss.FIXED, "ensloss"), 3e-3)
    pairs = (ensloss.PAIRS[3], ensloss.PAIRS[20])
    # one pair at a time keeps as many rows as the smaller of both
    together = ensloss.pair_accuracies("mlp 64-64-64-2", pairs, (4, 5), rates, 2)
    assert {values.shape for values in together.values()} == {(2, 2)}
    smaller = min(range(2), key=lambda k: _rows(pairs[k]))
    alone = ensloss.pair_accuracies("mlp 64-64-64-2", (pairs[smaller],), (4, 5), rates, 2)
    for name in ensloss.FIXED:  # the draws of EnsLoss depend on how many batches stand side by side
        torch.testing.assert_close(together[name][smaller], alone[name][0], atol=0.01, rtol=0)


def _rows(pair):
    from lab import datasets

    label = datasets.load("digits").label
    return int(((label == pair[0]) | (label == pair[1])).sum())


def test_a_win_needs_an_interval_above_zero():
    fixed = torch.tensor([[0.90, 0.91, 0.90], [0.90, 0.95, 0.85], [0.90, 0.91, 0.90]])
    ours = fixed + torch.tensor([[0.05, 0.05, 0.051], [0.01, -0.01, 0.0], [-0.05, -0.05, -0.051]])
    assert ensloss.against(fixed, ours) == (1, 1, 1)
