"""The claims about volumes hold for the method and flip where it is switched off."""

import numpy as np
import pandas as pd
import pytest
import torch

from lab import claims, topology
from lab.datasets import ImageSet, tube_network
from lab.topology import volume_checks, volume_cycles, volume_training, volume_tuning
from lab.topology.claims import volumes


@pytest.mark.parametrize("name", ["induced-by-inclusions", "curves-go-around", "overlap-is-blind"])
def test_claims_hold(name):
    assert claims.measure(f"volumes.{name}", seeds=1, budget="smoke").holds


def test_time_grows_almost_in_proportion():
    found = claims.measure("volumes.efficient", budget="smoke")
    assert 0.5 < found.value < 2
    assert found.holds == (found.value < 1.3)


def test_matching_that_ignores_places_is_not_the_induced_one(monkeypatch):
    def by_order(a, b):
        found = topology.match(a, b)
        rolled = topology.match(a, np.roll(b, 1, axis=0))
        return topology.Matching(
            rolled.matched, rolled.unmatched_prediction, rolled.unmatched_label, found.essential, found.prediction, found.label
        )

    monkeypatch.setattr(volumes, "match", by_order)
    assert not claims.measure("volumes.induced-by-inclusions", seeds=2, budget="smoke").holds


def test_paths_that_stop_at_the_wrong_voxels_fail_the_check(monkeypatch):
    honest = volume_cycles.curve

    def lazy(x, bar):
        found = honest(x, bar)
        keep = found.voxels[: max(4, len(found.voxels) - 1)]
        return volume_cycles.Curve(bar, found.points, keep if len(found.voxels) > 4 else found.voxels.flip(0)[[0, 1, 1, 2]])

    monkeypatch.setattr(volume_checks, "curve", lazy)
    assert not claims.measure("volumes.curves-go-around", seeds=1, budget="smoke").holds


def test_predictions_without_topological_errors_do_not_show_blindness(monkeypatch):
    monkeypatch.setattr(volumes, "equal_dice_predictions", lambda label, **_: {"one": label.float(), "two": label.float()})
    assert not claims.measure("volumes.overlap-is-blind", seeds=1, budget="smoke").holds


@pytest.fixture(scope="module")
def small():
    """Each arm once on two seeds, and Betti matching switched off."""
    sizes = {"seeds": (0, 1), "budget": "smoke"}
    on = volume_training.train(**sizes)
    off = volume_training.train(**sizes, arms=("betti",), settings={"betti": (volume_training.SETTINGS["dice"][0], 0.0)})
    return on, off


def test_arms_start_alike_and_a_weight_of_zero_is_dice_alone(small):
    on, off = small
    plain = on[on.arm == "dice"].drop(columns=["arm", "seconds"]).reset_index(drop=True)
    assert plain.equals(off.drop(columns=["arm", "seconds"]).reset_index(drop=True))
    assert not plain.equals(on[on.arm == "betti"].drop(columns=["arm", "seconds"]).reset_index(drop=True))
    assert (on.matching_error == on.components + on.loops + on.cavities).all()


def test_training_claims_follow_the_differences_of_the_seeds(monkeypatch):
    def frames(better, dice):
        rows = []
        for seed in range(5):
            rows.append({"seed": seed, "arm": "dice", "dice": 0.8, "betti_number_error": 1.0, "matching_error": 3 + 0.1 * seed})
            rows.append({"seed": seed, "arm": "betti", "dice": 0.8 + dice, "betti_number_error": 1.0,
                         "matching_error": 3 + 0.1 * seed - better + 0.05 * (-1) ** seed})
        return pd.DataFrame(rows)

    for better, dice, improves, preserved in ((0.5, 0.001, True, True), (-0.5, 0.001, False, True), (0.5, -0.02, True, False),
                                              (0.0, 0.02, False, False)):
        monkeypatch.setattr(volume_training, "train", lambda better=better, dice=dice, **_: frames(better, dice))
        assert claims.measure("volumes.topology-improves", seeds=5).holds is improves
        assert claims.measure("volumes.overlap-preserved", seeds=5).holds is preserved


def test_own_volumes_are_cut_into_blocks():
    sets = [tube_network((48, 48, 24), nodes=14, seed=k) for k in range(3)]
    blocks = volume_training._blocks(ImageSet.of(sets))
    assert blocks[0].shape[1:] == (1, 24, 24, 24)
    assert 8 <= len(blocks[0]) <= 12
    with pytest.raises(ValueError, match="at least 8 blocks"):
        volume_training.train(seeds=1, budget="smoke", data=tube_network((30, 30, 30)))
    with pytest.raises(ValueError, match="volumes with labels"):
        volume_training.train(seeds=1, budget="smoke", data=ImageSet(torch.rand(30, 30), torch.rand(30, 30) > 0.5))


def test_settings_are_what_the_rule_makes_of_as_many_committed_trials_an_arm():
    trials = volume_tuning.table()
    assert volume_tuning.chosen(trials) == volume_training.SETTINGS
    assert trials.groupby("arm").size().nunique() == 1
    assert {arm: list(zip(part.rate, part.weight)) for arm, part in trials.groupby("arm")} == volume_tuning.GRID
    assert volume_training.FRESH - volume_training.TUNING > 1000


def test_committed_run_pairs_its_arms_and_has_all_seeds():
    frame = volume_training.results()
    assert set(frame.arm) == set(volume_training.ARMS)
    assert frame.groupby("arm").seed.apply(list).map(tuple).nunique() == 1
    assert frame.seed.nunique() >= 10


def test_tubes_have_the_loops_they_are_given():
    counts = [len(topology.barcode(tube_network((32, 32, 32), loops=k, seed=3).label.double())[1]) for k in (0, 3)]
    assert counts == [0, 3]
    assert len(topology.barcode(tube_network((32, 32, 32), seed=3).label.double())[0]) == 0, "one component"
    with pytest.raises(ValueError, match="at least 12 voxels"):
        tube_network((8, 24, 24))
