"""The studies behind the claims about images: training, tuning, and what switches the method off."""

import pandas as pd
import pytest
import torch

from lab import claims
from lab.claims.measure import concluded
from lab.datasets import ImageSet, smooth_field
from lab.topology import matching_error
from lab.topology.images import comparison, matching
from lab.topology.studies import betti_matching as study
from lab.topology.studies import segmentation, segmentation_data, segmentation_training, tuning
from lab.training import comparison as comparison_of_arms


def test_every_row_has_a_function_or_a_reason():
    for claim in claims.method("betti_matching").claims:
        assert claim.untestable or claims.measuring_function(claim.id), claim.id


def test_training_arms_start_from_the_same_weights_and_are_repeatable():
    sizes = (4, 4, 1, 1)
    runs = []
    for _ in range(2):
        segmentation_training._drawn_start.cache_clear()
        start = segmentation_training._drawn_start("cells", 0, sizes)
        runs.append(segmentation_training._trained(start, "betti", 0.1, 1e-3, sizes, 0))
        runs[-1].pop("seconds")
    assert runs[0] == runs[1]


def test_more_sensitive_claim_takes_own_images():
    field = smooth_field((96, 96), seed=4)
    data = ImageSet(image=field.image, label=field.label, name="own")
    found = claims.measure("betti_matching.more-sensitive", data=data, budget="smoke")
    assert found.own == "data"
    assert list(found.details["labels"]) == ["own"]


def test_label_without_room_is_refused():
    label = torch.zeros(32, 32)
    label[8:24, 8:24] = 1
    with pytest.raises(ValueError, match="no room"):
        study.with_room("one square", label, 0, own=True)


def test_exchanged_partners_are_the_same_bars_in_other_pairs():
    plain = [pairs for one, two in study.noise_masks(0, 5) for pairs in matching.match(one, two).matched]
    other = [
        pairs for one, two in study.noise_masks(0, 5) for pairs in study.shuffled(matching.match(one, two)).matched
    ]
    assert any(len(pairs) > 1 for pairs in plain)
    for pairs, again in zip(plain, other):
        assert torch.equal(pairs.prediction.birth_voxel, again.prediction.birth_voxel)
        mine, theirs = pairs.label.birth_voxel.tolist(), again.label.birth_voxel.tolist()
        assert sorted(mine) == sorted(theirs)
        assert (mine != theirs) == (len(pairs) > 1)


def test_displaced_label_keeps_counts_and_dice():
    pair = segmentation.equal_counts(smooth_field((128, 128), seed=0).label)
    label = pair.label
    dice = [comparison.dice(x >= 0.5, label) for x in (pair.kept, pair.moved)]
    assert dice[0] == pytest.approx(dice[1], abs=1e-3)
    assert not torch.equal(pair.kept >= 0.5, pair.moved >= 0.5)


def test_neighbourhood_decides_about_diagonal_lines():
    label = torch.zeros(20, 20)
    line = torch.arange(4, 16)
    label[line, line] = label[line, line + 1] = 1
    thin = torch.zeros(20, 20)
    thin[line, line] = 1
    four, eight = segmentation.connectivity_errors(thin, label)
    assert four == 11
    assert eight == 0
    assert segmentation.inversions([1, 2, 3], [1, 3, 2]) == (1, 3)


def test_recorded_choice_is_what_the_rule_makes_of_the_recorded_scores():
    trials = pd.DataFrame(comparison_of_arms.trials_of("betti_matching"))
    assert set(trials.study) == set(segmentation_data.KINDS)
    for kind, part in trials.groupby("study"):
        means = part.groupby(["arm", "setting"], sort=False).score.mean()
        numbers = segmentation_training.settings(kind)
        assert set(numbers) == set(segmentation_training.ARMS)
        assert {arm: float(means[arm].idxmax()) for arm in numbers} == numbers
    assert trials.groupby(["study", "arm"]).setting.nunique().unique().tolist() == [5]


def test_committed_run_has_every_arm_on_every_seed_and_the_rows_say_what_it_says():
    frame = segmentation_training.results()
    assert frame.groupby(["images", "arm"]).seed.nunique().unique().tolist() == [20]
    assert set(frame.arm) == set(segmentation_training.ARMS)
    for kind, prefix in (("vessels", ""), ("cells", "cells-")):
        part = frame[frame.images == kind]
        pair = part[part.arm.isin(["dice", "betti"])]
        swapped = pair.assign(arm=pair.arm.map({"dice": "betti", "betti": "dice"}))
        verdicts = [
            concluded(
                claims.by_id(f"betti_matching.{prefix}topology-improves"),
                claims.Effects(-segmentation_training.gains(each, "matching_error")), range(20),
            ).verdict
            for each in (pair, swapped)
        ]  # fmt: skip
        assert verdicts == ["holds", "refuted"], kind
        overlap = claims.Effects(100 * segmentation_training.gains(pair, "dice"))
        assert (
            concluded(claims.by_id(f"betti_matching.{prefix}overlap-preserved"), overlap, range(20)).verdict == "holds"
        )


def test_rule_of_tuning_prefers_few_errors_among_values_of_enough_overlap():
    grids = {"dice": (1, 2, 3), "betti": (1, 2, 4), "control": (1, 2, 5)}
    found = {("dice", 1): (0.90, 5.0), ("dice", 2): (0.899, 4.0), ("dice", 3): (0.85, 1.0),
             ("betti", 1): (0.8975, 2.0), ("betti", 2): (0.896, 1.0), ("betti", 4): (0.5, 0.0),
             ("control", 1): (0.7, 1.0), ("control", 2): (0.8, 9.0), ("control", 5): (0.6, 0.0)}  # fmt: skip
    rates = set()

    def run(arm, rate, number, seed):
        rates.add(rate if arm != "dice" else None)
        dice, error = found[arm, rate if arm == "dice" else number]
        return {"dice": dice, "matching_error": error}

    assert tuning.trials("study", grids, run, seeds=(1000, 1001)).chosen == {"dice": 2, "betti": 1, "control": 2}
    assert rates == {None, 2}, "all arms share the rate of the Dice arm"


def test_arms_that_end_alike_say_nothing_about_overlap():
    rows = [{"seed": s, "arm": arm, "dice": 0.8, "matching_error": 2.0} for s in range(3) for arm in ("dice", "betti")]
    with pytest.raises(ValueError, match="the same networks"):
        segmentation_training.check_trained_apart(pd.DataFrame(rows))


def test_tuning_and_the_study_never_share_an_image():
    measured = {segmentation_training.stream(seed) for seed in range(1000)}
    assert not measured & {segmentation_training.stream(seed) for seed in comparison_of_arms.TUNING_SEEDS}


@pytest.mark.parametrize("kind", segmentation_data.KINDS)
def test_drawn_images_follow_their_seed_and_hold_features(kind):
    x, y = segmentation_data.draw(kind, 6, seed=1)
    again, _ = segmentation_data.draw(kind, 6, seed=1)
    assert torch.equal(x, again)
    assert x.shape == y.shape == (6, 1, 48, 48)
    assert set(y.unique().tolist()) == {0.0, 1.0}
    features = [sum(matching_error(mask[0], torch.zeros_like(mask[0])).betti_prediction) for mask in y]
    assert min(features) >= 2 if kind == "cells" else sum(features) > 12
