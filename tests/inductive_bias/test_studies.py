"""The room's experiments notice what they are about."""

import math

import numpy as np
import pytest

from lab.inductive_bias import chi_square_fit as fitting
from lab.inductive_bias.studies import estimates, spaces, tasks
from lab.inductive_bias.studies.digits import digits_task, own_or_digits


@pytest.fixture(scope="module")
def digits():
    return digits_task(0, "smoke")


def test_the_fit_reaches_deeper_than_counting_the_same_draws(digits):
    fitted = estimates.depth_reached(digits, draws=2000, seed=0)
    counted = estimates.depth_reached(digits, draws=2000, seed=0, counted=True)
    assert fitted > math.log2(2000) + 3
    assert counted < math.log2(2000) + 0.5


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.8, 1.3, 40.0])
def test_a_wrong_fit_reaches_nowhere_however_many_bits_it_answers(digits, monkeypatch, factor):
    right = fitting.fit

    class Wrong:
        def __init__(self, losses, **options):
            self.right = right(losses, **options)

        def nats(self, eps):
            return factor * self.right.nats(eps)

    monkeypatch.setattr(fitting, "fit", Wrong)
    assert estimates.depth_reached(digits, draws=2000, seed=0) < math.log2(2000)


def test_exact_bits_are_the_counted_share_and_a_wrong_threshold_is_noticed():
    assert estimates.against_counts(0, draws=4000) < 4 < estimates.against_counts(0, draws=4000, factor=1.1)


def test_draws_of_the_family_itself_are_missed_by_less(digits):
    deep = estimates.missed_shares(digits, draws=10_000, seed=0)
    family = estimates.missed_shares(digits, draws=10_000, seed=0, own_family=True)
    assert deep[0] < deep[1] < deep[2]
    assert abs(family[2]) < deep[2] / 2


def test_error_falls_with_the_root_of_the_draws_and_not_with_copies_of_them():
    slopes = [estimates.sampling_slope(seed, (500, 8000), repeats=6) for seed in (0, 1)]
    copies = [estimates.sampling_slope(seed, (500, 8000), repeats=6, correlated=True) for seed in (0, 1)]
    assert np.mean(slopes) < -0.25 < np.mean(copies)


def test_one_architecture_under_every_name_and_a_shuffle_against_a_shuffle(digits):
    bits = spaces.architecture_bits(digits, names=("1 layer", "8 layers"))
    assert bits["1 layer"] != bits["8 layers"]
    images, shuffled = spaces.locality(digits, 0)
    assert images > shuffled
    assert spaces.saved_by_locality(digits) == images


def test_the_published_fit_supports_no_answer_for_finite_sets():
    best, fit = spaces.answers(0, "smoke"), spaces.answers(0, "smoke", published=True)
    assert all(spaces.reachable(answer) for answer in best.values())
    assert not spaces.reachable(fit["all Boolean functions"]) and not spaces.reachable(fit["random network"])


def test_hardest_edit_adds_more_than_the_easiest():
    hardest, name = tasks.designed(0, (80, 60))
    easiest, other = tasks.designed(0, (80, 60), easiest=True)
    assert hardest > 0 > easiest and name != other


def test_a_table_takes_the_place_of_digits_and_other_data_are_refused():
    from lab import datasets

    task = own_or_digits(datasets.load("wine"), 0, "smoke")
    assert task.n_train <= 100 and task.outputs == 3
    with pytest.raises(TypeError, match="must be a table"):
        own_or_digits(np.zeros(3), 0, "smoke")
