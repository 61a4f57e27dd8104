"""Measurements of the statements about Betti matching of volumes."""

from __future__ import annotations

import numpy as np

from lab.claims import Effects, measures, tunes
from lab.topology.studies import betti_volumes as study
from lab.topology.studies import segmentation_training as arms
from lab.topology.studies import volume_training as training
from lab.topology.studies.betti_matching import exponent, pair_by_values
from lab.topology.studies.tuning import tune_volumes

tunes("betti_volumes")(tune_volumes)


@measures("betti_volumes.induced-by-inclusions")
def induced_by_inclusions(trial):
    """Bars that the matching puts elsewhere than the definition by boundary matrices does, over the definition's bars. Control: the
    second volume is shifted by one voxel before it is matched."""
    found = np.array([study.wrong_bars(trial.of(1, 4, 30), seed, shift=int(trial.control)) for seed in trial.seeds])
    return Effects(found[:, 0] / found[:, 1], {"bars": int(found[:, 1].sum())})


@measures("betti_volumes.curves-go-around")
def curves_go_around(trial):
    """Share of drawings of random volumes that are not what they are said to be. Control: each drawing is checked as that of the
    next bar."""
    found = np.array([study.failed_drawings(trial.of(1, 3, 20), seed, dealt=trial.control) for seed in trial.seeds])
    details = {"drawings": int(found[:, 1].sum()), "filled paths that the check recognizes": int(found[:, 2].sum())}
    if not details["filled paths that the check recognizes"]:
        raise ValueError("the check recognized no filled path: it would pass any drawing")
    return Effects(found[:, 0] / found[:, 1], details)


@measures("betti_volumes.overlap-is-blind")
def overlap_is_blind(trial):
    """Range of the matching error over predictions of equal Dice, one label a replicate. Control: errors on outlines alone."""
    rows = study.equal_dice_errors(trial.data, trial.seeds, trial.of(24, 32, 64), outlines_only=trial.control)
    return Effects([max(errors.values()) - min(errors.values()) for _, errors in rows], {"matching error": rows})


@measures("betti_volumes.efficient")
def efficient(trial):
    """Exponent of CPU time of one matching of noise against the number of voxels. Control: the optimal pairing of barcodes by
    values."""
    if trial.control:
        frames = [study.growth((8, 11, 14), seed=seed, rounds=1, matcher=pair_by_values) for seed in trial.seeds]
    else:
        sizes = trial.of((12, 16, 24), (24, 32, 48, 64), (32, 48, 64, 96, 128))
        frames = [study.growth(sizes, seed=seed) for seed in trial.seeds]
    return Effects(
        [exponent(frame, "voxels") for frame in frames], {"seconds": dict(zip(frames[0].voxels, frames[0].seconds))}
    )


@measures("betti_volumes.topology-improves", "betti_volumes.several-datasets")
def improves(trial):
    """Matching error of the same 3-D network trained on with Dice alone, less that with Dice and Betti matching. Control: a weight
    of zero."""
    frame = _trained(trial, 0.0)
    return Effects(-arms.gains(frame, "matching_error"), {"means": arms.means(frame)})


@measures("betti_volumes.overlap-preserved")
def preserved(trial):
    """Points of Dice that the same 3-D training gains with Betti matching. Control: a hundred times the weight."""
    frame = _trained(trial, 100 * training.settings()["betti"][1])
    arms.check_trained_apart(frame)
    return Effects(100 * arms.gains(frame, "dice"), {"means": arms.means(frame)})


def _trained(trial, weight):
    weights = {"betti": weight} if trial.control else None
    return training.train(seeds=trial.seeds, budget=trial.budget, data=trial.data, weights=weights)
