"""Measurements of the statements about Betti matching."""

from __future__ import annotations

import numpy as np
import torch

from lab.claims import Effects, measures, tunes
from lab.datasets import equal_dice_predictions
from lab.topology.images.barcodes import barcode
from lab.topology.images.comparison import placement
from lab.topology.images.matching import match
from lab.topology.images.metric import matching_error
from lab.topology.studies import betti_matching as study
from lab.topology.studies import segmentation as studies
from lab.topology.studies import segmentation_training as training
from lab.topology.studies.tuning import tune_segmentation

tunes("betti_matching")(tune_segmentation)


@measures("betti_matching.overlap-is-blind")
def overlap_is_blind(trial):
    """Range of the matching error over predictions of equal Dice, one label a replicate. Control: errors on outlines alone."""
    ranges, rows = [], {}
    for seed, (name, label) in zip(trial.seeds, studies.labels_of(trial.data, trial.seeds, trial.budget)):
        predictions = study.outlines(label) if trial.control else None
        frame = studies.equal_dice_table(label, seed=seed, predictions=predictions)
        ranges.append(float(frame.matching_error.max() - frame.matching_error.min()))
        rows[name] = {"dice": [float(frame.dice.min()), float(frame.dice.max())], "range": ranges[-1]}
    return Effects(ranges, {"labels": rows})


@measures("betti_matching.wasserstein-misplaces")
def wasserstein_misplaces(trial):
    """Share of pairs without a pixel in common, matched by values less matched by inclusions. Control: partners exchanged."""
    found = _placements(trial)
    return Effects([wasserstein - induced for induced, wasserstein in found], {"induced, Wasserstein": found})


@measures("betti_matching.induced-in-place")
def induced_in_place(trial):
    """Share of induced pairs without a pixel in common. Control: partners exchanged."""
    found = _placements(trial)
    return Effects([induced for induced, _ in found], {"induced, Wasserstein": found})


def _placements(trial):
    """Shares of pairs apart, of both matchings: over predictions of equal Dice, one label a replicate."""
    shares = []
    for seed, (_, label) in zip(trial.seeds, studies.labels_of(trial.data, trial.seeds, trial.budget)):
        predictions = equal_dice_predictions(label, variants=("mixed", "islands"), seed=seed)
        found = [
            placement(x, label, partners_of=study.shuffled if trial.control else None) for x in predictions.values()
        ]
        names = ("induced_share", "wasserstein_share")
        shares.append([float(np.mean([getattr(each, share) for each in found])) for share in names])
    return shares


@measures("betti_matching.matched-features-share-a-place")
def share_a_place(trial):
    """Share of matched features of two masks that lie in one feature of their union. Control: partners exchanged."""
    shares = []
    for seed in trial.seeds:
        masks = study.noise_masks(seed, trial.of(5, 50, 500))
        found = np.array(
            [studies.union_shares(*pair, partners_of=study.shuffled if trial.control else None) for pair in masks]
        )
        shares.append(float(found[:, 1].sum() / found[:, 0].sum()))
    return Effects(shares)


@measures("betti_matching.induced-by-inclusions")
def induced_by_inclusions(trial):
    """Pairs in which the matching differs from the definition by boundary matrices, over the definition's pairs. Control: the
    second image is shifted by one pixel before it is matched."""
    found = np.array([study.wrong_pairs(trial.of(3, 10, 50), seed, shift=int(trial.control)) for seed in trial.seeds])
    return Effects(found[:, 0] / found[:, 1], {"pairs": int(found[:, 1].sum())})


@measures("betti_matching.zero-for-equal-images")
def zero_for_equal(trial):
    """Loss of an image with itself and its unmatched bars, over the loss of different images. Control: those."""
    ratios = []
    for seed in trial.seeds:
        draw = torch.Generator().manual_seed(seed)
        x, other = torch.rand(2, 40, 40, generator=draw, dtype=torch.float64)
        found, apart = match(x, other if trial.control else x), float(match(x, other).loss())
        bars = barcode(x)
        lone = sum(abs(len(bars[d]) - len(found.matched[d])) for d in found.dimensions)
        ratios.append((float(found.loss()) + lone) / apart if apart else float("nan"))
    return Effects(ratios)


@measures("betti_matching.efficient")
def efficient(trial):
    """Exponent of CPU time against pixels, of noise images. Control: the optimal pairing of barcodes by values."""
    if trial.control:
        slow = {"rounds": 1, "matcher": study.pair_by_values}
        frames = [studies.growth((32, 48, 64), seed=seed, noise=True, **slow) for seed in trial.seeds]
    else:
        sizes = trial.of((64, 128, 256), (128, 256, 512, 1024), (128, 256, 512, 1024, 2048, 4096))
        frames = [studies.growth(sizes, seed=seed, noise=True) for seed in trial.seeds]
    each = zip(frames[0].pixels, frames[0].nanoseconds_per_pixel)
    details = {"nanoseconds per pixel": {int(p): round(float(v), 1) for p, v in each}}
    return Effects([study.exponent(frame) for frame in frames], details)


@measures("betti_matching.error-counts-features")
def error_counts(trial):
    """Largest difference between the loss of two masks and the number of unmatched features. Control: the Betti number error in
    place of the matching error."""
    worst, total = 0.0, 0
    for one, two in _masks(trial):
        error = matching_error(one.double(), two)
        counted = sum(error.betti_number_error) if trial.control else error.total
        worst, total = max(worst, abs(float(match(one.double(), two.double()).loss()) - counted)), total + error.total
    if total == 0:
        raise ValueError("no mask has an unmatched feature: nothing is counted")
    return Effects(worst, {"unmatched features": total})


@measures("betti_matching.bounds-betti-number-error")
def bounds(trial):
    """Least difference of matching error and Betti number error over dimensions. Control: the two exchanged."""
    gaps = []
    for one, two in _masks(trial):
        error = matching_error(one.double(), two)
        gaps += [m - n for m, n in zip(error.error, error.betti_number_error)]
    if not any(gaps):
        raise ValueError("the two errors agree on every pair of masks: nothing is bounded")
    return Effects(
        min(-gap if trial.control else gap for gap in gaps), {"where they differ": int(np.count_nonzero(gaps))}
    )


def _masks(trial):
    return (pair for seed in trial.seeds for pair in study.noise_masks(seed, trial.of(10, 50, 500)))


@measures("betti_matching.more-sensitive")
def more_sensitive(trial):
    """Matching error of displaced features less that of none, at equal Dice and the label's own Betti numbers. Control: nothing is
    displaced."""
    differences, rows = [], {}
    for seed, (name, label) in zip(trial.seeds, studies.labels_of(trial.data, trial.seeds, trial.budget)):
        name, pair = study.with_room(name, label, seed, own=trial.data is not None)
        errors = [matching_error(x, pair.label).total for x in (pair.kept, pair.kept if trial.control else pair.moved)]
        rows[name] = {"moved": pair.moves, "matching errors": errors}
        differences.append(errors[1] - errors[0])
    return Effects(differences, {"labels": rows})


@measures("betti_matching.differentiable")
def differentiable(trial):
    """Largest difference of gradient and central difference, relative to the largest gradient. Control: the gradient against the
    inverted label."""
    return Effects([study.gradient_error(trial.of(6, 10, 20), seed, inverted=trial.control) for seed in trial.seeds])


@measures("betti_matching.topology-improves", "betti_matching.cells-topology-improves", "betti_matching.six-datasets")
def improves(trial):
    """Matching error of the same network trained on with Dice alone, less that with Dice and Betti matching. Control: the weight of
    the second term is zero."""
    frame = _trained(trial, 0.0)
    return Effects(-training.gains(frame, "matching_error"), {"means": training.means(frame), "images": _kind(trial)})


@measures("betti_matching.overlap-preserved", "betti_matching.cells-overlap-preserved")
def preserved(trial):
    """Points of Dice that the same training gains with Betti matching. Control: a hundred times the weight."""
    frame = _trained(trial, 100 * training.settings(_kind(trial))["betti"])
    training.check_trained_apart(frame)
    return Effects(100 * training.gains(frame, "dice"), {"means": training.means(frame), "images": _kind(trial)})


def _trained(trial, weight):
    return training.train(
        seeds=trial.seeds, arms=("dice", "betti"), budget=trial.budget, kind=_kind(trial), data=trial.data,
        weights={"betti": weight} if trial.control else None,
    )  # fmt: skip


def _kind(trial):
    return "cells" if "cells" in trial.claim.id else "vessels"


@measures("betti_matching.depends-on-orientation")
def depends_on_orientation(trial):
    """Share of pairs that change when an axis is flipped: noise with noise, less noise with a binary label. Control: noise in place
    of the label."""
    count = trial.of(4, 10, 50)
    noise, label = (
        [study.orientation_changes(seed, count, binary) for seed in trial.seeds]
        for binary in (False, not trial.control)
    )
    return Effects(np.subtract(noise, label), {"noise": noise, "label": label})
