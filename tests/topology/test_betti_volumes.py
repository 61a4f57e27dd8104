"""The studies behind the claims about volumes: training, tuning, drawings, and what switches the method off."""

import pandas as pd
import pytest
import torch

from lab import topology
from lab.datasets import ImageSet, tube_network
from lab.topology.images import volume_cycles
from lab.topology.studies import betti_volumes as study
from lab.topology.studies import volume_checks, volume_training
from lab.training import comparison


def test_paths_that_stop_at_the_wrong_voxels_fail_the_check(monkeypatch):
    honest = volume_cycles.curve

    def lazy(x, bar):
        found = honest(x, bar)
        keep = found.voxels[: max(4, len(found.voxels) - 1)]
        return volume_cycles.Curve(
            bar, found.points, keep if len(found.voxels) > 4 else found.voxels.flip(0)[[0, 1, 1, 2]]
        )

    assert study.failed_drawings(1, 0)[0] == 0
    monkeypatch.setattr(volume_checks, "curve", lazy)
    assert study.failed_drawings(1, 0)[0] > 0


@pytest.fixture(scope="module")
def small():
    """Each arm once on two seeds, and Betti matching switched off."""
    sizes = {"seeds": (0, 1), "budget": "smoke"}
    on = volume_training.train(**sizes)
    off = volume_training.train(**sizes, arms=("betti",), weights={"betti": 0.0})
    return on, off


def test_arms_start_alike_and_a_weight_of_zero_is_dice_alone(small):
    on, off = small
    plain = on[on.arm == "dice"].drop(columns=["arm", "seconds"]).reset_index(drop=True)
    assert plain.equals(off.drop(columns=["arm", "seconds"]).reset_index(drop=True))
    assert not plain.equals(on[on.arm == "betti"].drop(columns=["arm", "seconds"]).reset_index(drop=True))
    assert (on.matching_error == on.components + on.loops + on.cavities).all()


def test_own_volumes_are_cut_into_blocks():
    sets = [tube_network((48, 48, 24), nodes=14, seed=k) for k in range(3)]
    blocks = volume_training._blocks(ImageSet.of(sets))
    assert blocks[0].shape[1:] == (1, 24, 24, 24)
    assert 8 <= len(blocks[0]) <= 12
    with pytest.raises(ValueError, match="at least 8 blocks"):
        volume_training.train(seeds=1, budget="smoke", data=tube_network((30, 30, 30)))
    with pytest.raises(ValueError, match="volumes with labels"):
        volume_training.train(seeds=1, budget="smoke", data=ImageSet(torch.rand(30, 30), torch.rand(30, 30) > 0.5))


def test_recorded_choice_is_what_the_rule_makes_of_the_recorded_scores_and_the_rate_is_shared():
    trials = pd.DataFrame(comparison.trials_of("betti_volumes"))
    means = trials.groupby(["arm", "setting"], sort=False).score.mean()
    best = {arm: float(means[arm].idxmax()) for arm in volume_training.ARMS}
    assert volume_training.settings() == {"dice": (best["dice"], 0.0), "betti": (best["dice"], best["betti"])}
    assert trials.groupby("arm").setting.nunique().unique().tolist() == [3]


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
