"""Every claim holds at smoke, and fails where the method is switched off or labels are shuffled."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from lab import claims
from lab.datasets import ImageSet, smooth_field
from lab.topology import (
    comparison,
    matching_error,
    segmentation_data,
    segmentation_studies,
    segmentation_training,
    segmentation_tuning,
)
from lab.topology.claims import training

QUICK = [
    "betti.wasserstein-misplaces", "betti.zero-for-equal-images", "betti.induced-by-inclusions", "betti.induced-in-place",
    "betti.matched-features-share-a-place", "betti.error-counts-features", "betti.bounds-betti-number-error",
    "betti.more-sensitive", "betti.differentiable", "betti.depends-on-orientation", "betti.overlap-is-blind",
]  # fmt: skip


@pytest.mark.parametrize("claim", QUICK)
def test_claim_holds_at_smoke(claim):
    found = claims.measure(claim, budget="smoke")
    assert found.holds, found
    assert found.interval[0] <= found.value <= found.interval[1] or found.interval[0] == found.interval[1]


def test_every_row_has_a_function_or_a_reason():
    (method,) = (method for method in claims.methods("topology") if method.id == "betti")
    for claim in method.claims:
        assert bool(claim.untestable) != (claims.measuring_function(claim.id) is not None), claim.id


@pytest.mark.parametrize("claim", ["betti.induced-in-place", "betti.wasserstein-misplaces"])
def test_claims_about_places_fail_when_partners_are_shuffled(claim, monkeypatch):
    plain = comparison.match

    def shuffled(prediction, label):
        found = plain(prediction, label)
        pairs = [
            replace(pair, label=pair.label.select(torch.arange(len(pair)).roll(1 + len(pair) // 2))) for pair in found.matched
        ]
        return replace(found, matched=tuple(pairs))

    monkeypatch.setattr(comparison, "match", shuffled)
    assert not claims.measure(claim, budget="smoke").holds


def test_overlap_claim_fails_on_predictions_that_differ_on_outlines_only(monkeypatch):
    plain = segmentation_studies.equal_dice_predictions
    only = lambda label, **options: {"boundary": plain(label, **{**options, "variants": ("boundary",)})["boundary"]}  # noqa: E731
    monkeypatch.setattr(segmentation_studies, "equal_dice_predictions", only)
    assert not claims.measure("betti.overlap-is-blind", budget="smoke").holds


@pytest.mark.parametrize(("kind", "claim"), [("vessels", "betti.topology-improves"), ("cells", "betti.cells-topology-improves")])
def test_topology_claim_does_not_hold_without_the_betti_term(kind, claim, monkeypatch):
    monkeypatch.setitem(segmentation_training.SETTINGS[kind], "betti", 0.0)
    monkeypatch.setitem(segmentation_training._SIZES, "smoke", (8, 4, 2, 1))
    found = claims.measure(claim, seeds=2, budget="smoke")
    assert found.details["images"] == kind
    assert found.value == 0
    assert not found.holds


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
    found = claims.measure("betti.more-sensitive", data=data, budget="smoke")
    assert list(found.details["labels"]) == ["own"]


def test_interval_of_student():
    low, high = training.interval([1.0, 2.0, 3.0])
    assert low == pytest.approx(2 - 4.302653 / 3**0.5)
    assert high == pytest.approx(2 + 4.302653 / 3**0.5)


def test_displaced_label_keeps_counts_and_dice():
    pair = segmentation_studies.equal_counts(smooth_field((128, 128), seed=0).label)
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
    four, eight = segmentation_studies.connectivity_errors(thin, label)
    assert four == 11
    assert eight == 0
    assert segmentation_studies.inversions([1, 2, 3], [1, 3, 2]) == (1, 3)


def test_settings_of_the_study_are_what_the_rule_makes_of_the_committed_trials():
    trials = segmentation_tuning.table()
    for kind, settings in segmentation_training.SETTINGS.items():
        assert segmentation_tuning.chosen(trials[trials.images == kind]) == settings
    counts = trials.groupby(["images", "arm"]).size()
    assert counts.min() == counts.max() == 5
    assert set(trials.arm) == set(segmentation_training.ARMS)


def test_committed_run_has_every_arm_on_every_seed_and_the_claims_say_what_it_says():
    frame = segmentation_training.results()
    assert frame.groupby(["images", "arm"]).seed.nunique().unique().tolist() == [20]
    assert set(frame.arm) == set(segmentation_training.ARMS)
    for kind, part in frame.groupby("images"):
        pair = part[part.arm.isin(["dice", "betti"])]
        fallen, kept = training.error_falls(pair, {}), training.overlap_stays(pair, {})
        swapped = pair.assign(arm=pair.arm.map({"dice": "betti", "betti": "dice"}))
        assert fallen.holds and kept.holds, kind
        assert not training.error_falls(swapped, {}).holds


def test_rule_of_tuning_prefers_few_errors_among_values_of_enough_overlap():
    rows = [("dice", 1, 0.90, 5.0), ("dice", 2, 0.899, 4.0), ("dice", 3, 0.85, 1.0),
            ("betti", 1, 0.8975, 2.0), ("betti", 2, 0.896, 1.0), ("control", 1, 0.7, 1.0), ("control", 2, 0.8, 9.0)]
    frame = pd.DataFrame(rows, columns=["arm", "value", "dice", "matching_error"])
    assert segmentation_tuning.chosen(frame) == {"dice": 2.0, "betti": 1.0, "control": 2.0}


def test_tuning_and_the_study_never_share_an_image():
    one, _ = segmentation_data.draw("vessels", 4, seed=segmentation_training.TUNING)
    two, _ = segmentation_data.draw("vessels", 4, seed=segmentation_training.FRESH)
    assert not torch.equal(one, two)
    assert segmentation_training.FRESH - segmentation_training.TUNING > 1000


@pytest.mark.parametrize("kind", segmentation_data.KINDS)
def test_drawn_images_follow_their_seed_and_hold_features(kind):
    x, y = segmentation_data.draw(kind, 6, seed=1)
    again, _ = segmentation_data.draw(kind, 6, seed=1)
    assert torch.equal(x, again)
    assert x.shape == y.shape == (6, 1, 48, 48)
    assert set(y.unique().tolist()) == {0.0, 1.0}
    features = [sum(matching_error(mask[0], torch.zeros_like(mask[0])).betti_prediction) for mask in y]
    assert min(features) >= 2 if kind == "cells" else sum(features) > 12


def test_equivalence_is_two_sided(monkeypatch):
    def trained(*, seeds, **_):
        rows = [{"seed": s, "arm": arm, "dice": 0.8 + 0.01 * (arm == "betti") + 1e-4 * s, "cldice": 0.9,
                 "betti_number_error": 1.0, "matching_error": 2.0 - 1e-3 * s * (arm == "betti")}
                for s in seeds for arm in ("dice", "betti")]
        return pd.DataFrame(rows)

    monkeypatch.setattr(segmentation_training, "train", trained)
    for claim in ("betti.overlap-preserved", "betti.cells-overlap-preserved"):
        assert not claims.measure(claim, seeds=5, budget="smoke").holds  # better by a point is no equivalence
