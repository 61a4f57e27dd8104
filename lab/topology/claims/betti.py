"""Measurements of the statements about Betti matching."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from lab.claims import Measured, measures
from lab.kernels.cubical import reference
from lab.topology import segmentation_studies as studies
from lab.topology import segmentation_training as training
from lab.topology import segmentation_tuning as tuning
from lab.topology.claims.training import error_falls, interval, overlap_stays
from lab.topology.comparison import placement
from lab.topology.loss import BettiMatchingLoss
from lab.topology.matching import match
from lab.topology.metric import matching_error


def _noise_masks(seed, count, size=24):
    """Pairs of random masks of several densities."""
    draw = np.random.default_rng([seed, 17])
    for _ in range(count):
        level = draw.uniform(0.25, 0.75, 2)
        yield tuple(torch.from_numpy(draw.random((size, size)) < p) for p in level)


@measures("betti.overlap-is-blind")
def overlap_is_blind(data, seeds, budget):
    """Range of the matching error over predictions of equal Dice, the least over labels."""
    ranges, rows = [], {}
    for name, label in studies.labels_of(data, seeds, budget):
        frame = studies.equal_dice_table(label, seed=seeds[0])
        ranges.append(float(frame.matching_error.max() - frame.matching_error.min()))
        rows[name] = {"dice": [float(frame.dice.min()), float(frame.dice.max())], "range": ranges[-1]}
    return Measured(min(ranges), (min(ranges), max(ranges)), min(ranges) > 0, {"labels": rows})


@measures("betti.wasserstein-misplaces", "betti.induced-in-place")
def in_place(data, seeds, budget, *, id):
    """Share of pairs whose features have no pixel in common, over predictions of equal Dice."""
    counts = np.zeros(4)
    shares = []
    for _, label in studies.labels_of(data, seeds, "smoke" if budget == "smoke" else "default"):
        for x in _predictions(data, label, seeds[0], ("mixed", "islands")):
            found = placement(x, label)
            counts += (found.induced, found.induced_apart, found.wasserstein, found.wasserstein_apart)
            shares.append((found.induced_share, found.wasserstein_share))
    shares = np.array(shares)
    details = dict(zip(("induced pairs", "induced apart", "Wasserstein pairs", "Wasserstein apart"), counts.tolist()))
    if id == "betti.induced-in-place":
        value = counts[1] / max(1, counts[0])
        return Measured(value, (shares[:, 0].min(), shares[:, 0].max()), counts[0] > 0 and value < 0.25, details)
    difference = shares[:, 1] - shares[:, 0]
    low, high = interval(difference)
    return Measured(difference.mean(), (low, high), low > 0, details)


def _predictions(data, label, seed, variants):
    if data is not None and data.prediction is not None and not data.items:
        return [data.prediction]
    found = studies.equal_dice_predictions(label, variants=variants, seed=seed)
    return list(found.values())


@measures("betti.matched-features-share-a-place")
def share_a_place(data, seeds, budget):
    """Share of matched features of two masks that lie in one feature of the union of the masks."""
    pairs = together = 0
    for seed in seeds:
        for one, two in _noise_masks(seed, {"smoke": 10, "default": 50, "full": 500}[budget]):
            found = studies.union_shares(one, two)
            pairs, together = pairs + found[0], together + found[1]
    value = together / max(1, pairs)
    low, high = stats.binomtest(together, max(1, pairs)).proportion_ci(0.95)
    return Measured(value, (low, high), pairs > 0 and low > 0.9, {"matched features": pairs})


@measures("betti.induced-by-inclusions")
def induced_by_inclusions(data, seeds, budget):
    """Matched pairs in which :func:`match` differs from the definition by boundary matrices, over small random images."""
    wrong = pairs = 0
    for seed in seeds:
        draw = np.random.default_rng([seed, 3])
        for _ in range({"smoke": 3, "default": 10, "full": 50}[budget]):
            a, b = draw.random((6, 7)), draw.integers(0, 3, (6, 7)) / 2
            found, wanted = match(-a, -b), reference.match(a, b)
            for d in range(2):
                mine = _values(found.matched[d])
                exact = sorted(
                    tuple(-reference.value(f, cell) for f, cell in zip((a, a, b, b), one + two)) for one, two in wanted[d][0]
                )
                pairs += len(exact)
                wrong += abs(len(mine) - len(exact)) + sum(one != two for one, two in zip(mine, exact))
    return Measured(wrong, (wrong, wrong), wrong == 0 and pairs > 0, {"matched pairs": pairs})


def _values(pairs):
    sides = (pairs.prediction, pairs.label)
    return sorted(zip(*(values.tolist() for bars in sides for values in (bars.birth, bars.death))))


@measures("betti.zero-for-equal-images")
def zero_for_equal(data, seeds, budget):
    """Largest loss and number of unmatched bars of an image matched with itself; other images give more than zero."""
    worst, least = 0.0, float("inf")
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        x, other = torch.rand(2, 40, 40, generator=draw, dtype=torch.float64)
        found = match(x, x)
        lone = sum(len(found.unmatched_prediction[d]) + len(found.unmatched_label[d]) for d in found.dimensions)
        worst = max(worst, float(found.loss()) + lone)
        least = min(least, float(match(x, other).loss()))
    return Measured(worst, (worst, worst), worst == 0 and least > 0, {"loss between different images, least": least})


@measures("betti.efficient")
def efficient(data, seeds, budget):
    """Exponent of CPU time against pixels."""
    sizes = {"smoke": (128, 256, 512), "default": (128, 256, 512, 1024), "full": (128, 256, 512, 1024, 2048, 4096)}[budget]
    frames = [studies.growth(sizes, seed=seed) for seed in seeds]
    slopes = [stats.linregress(np.log(f.pixels), np.log(f.seconds)).slope for f in frames]
    each = zip(frames[0].pixels, frames[0].nanoseconds_per_pixel)
    details = {"nanoseconds per pixel": {int(p): round(float(v), 1) for p, v in each}}
    low, high = interval(slopes)
    return Measured(np.mean(slopes), (low, high), np.mean(slopes) < 1.3, details)


@measures("betti.error-counts-features")
def error_counts(data, seeds, budget):
    """Largest difference between the loss of two masks and the number of unmatched features."""
    worst, total = 0.0, 0
    for seed in seeds:
        for one, two in _noise_masks(seed, {"smoke": 10, "default": 50, "full": 500}[budget]):
            error = matching_error(one.double(), two)
            worst = max(worst, abs(float(match(one.double(), two.double()).loss()) - error.total))
            total += error.total
    return Measured(worst, (worst, worst), worst == 0 and total > 0, {"unmatched features": total})


@measures("betti.bounds-betti-number-error")
def bounds(data, seeds, budget):
    """Least difference of matching error and Betti number error, by dimension."""
    slack, strict = float("inf"), 0
    for seed in seeds:
        for one, two in _noise_masks(seed, {"smoke": 10, "default": 50, "full": 500}[budget]):
            error = matching_error(one.double(), two)
            gaps = [m - n for m, n in zip(error.error, error.betti_number_error)]
            slack, strict = min(slack, *gaps), strict + (max(gaps) > 0)
    return Measured(slack, (slack, slack), slack >= 0 and strict > 0, {"pairs where it is strictly larger": strict})


@measures("betti.more-sensitive")
def more_sensitive(data, seeds, budget):
    """Matching error of displaced features less that of none, at equal Dice and equal Betti numbers."""
    differences, rows = [], {}
    for name, label in studies.labels_of(data, seeds, budget):
        pair = studies.equal_counts(label, seed=seeds[0])
        if pair is None:
            continue
        kept, moved = matching_error(pair.kept, label), matching_error(pair.moved, label)
        rows[name] = {"moved": pair.moves, "matching errors": [kept.total, moved.total],
                      "Betti number errors": [sum(kept.betti_number_error), sum(moved.betti_number_error)]}
        equal = kept.betti_number_error == moved.betti_number_error
        differences.append(moved.total - kept.total if equal else 0)
    if not differences:
        return Measured(float("nan"), (float("nan"), float("nan")), False, {"reason": "no label has room to move a component"})
    return Measured(np.mean(differences), (min(differences), max(differences)), min(differences) > 0, {"labels": rows})


@measures("betti.differentiable")
def differentiable(data, seeds, budget):
    """Largest difference of gradient and central difference, relative to the largest gradient."""
    worst, largest = 0.0, 0.0
    loss = BettiMatchingLoss(reduction="sum")
    size, step = {"smoke": 6, "default": 10, "full": 20}[budget], 1e-6
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        x = torch.rand(1, 1, size, size, generator=draw, dtype=torch.float64, requires_grad=True)
        y = (torch.rand(1, 1, size, size, generator=draw) > 0.5).double()
        loss(x, y).backward()
        moves = step * torch.eye(size * size, dtype=torch.float64).reshape(-1, 1, size, size)
        each = BettiMatchingLoss(reduction="none")
        with torch.no_grad():
            stacked = y.expand(size * size, 1, size, size)
            numerical = (each(x + moves, stacked) - each(x - moves, stacked)).reshape(-1) / (2 * step)
        scale = float(x.grad.abs().max())
        largest = max(largest, scale)
        worst = max(worst, float((numerical - x.grad.reshape(-1)).abs().max()) / max(scale, 1e-12))
    return Measured(worst, (worst, worst), worst < 1e-5 and largest > 0, {"largest gradient": largest})


@measures("betti.topology-improves", "betti.cells-topology-improves")
def improves(data, seeds, budget, *, id):
    """Matching error of the same network trained on with Dice alone, less that with Dice and Betti matching."""
    return error_falls(*_trained(data, seeds, budget, id))


@measures("betti.overlap-preserved", "betti.cells-overlap-preserved")
def preserved(data, seeds, budget, *, id):
    """Points of Dice that the same training gains with Betti matching: equivalent within half a point, or not."""
    return overlap_stays(*_trained(data, seeds, budget, id))


def _trained(data, seeds, budget, id):
    """The run that a statement is about, and what a reader needs to know of it."""
    kind = "cells" if id.startswith("betti.cells") else "vessels"
    frame = training.train(seeds=seeds, arms=("dice", "betti"), budget=budget, kind=kind, data=data)
    trials = {arm: len(tuning.GRIDS[arm]) for arm in ("dice", "betti")}
    settings = {"learning rate": training.SETTINGS[kind]["dice"], "weight": training.SETTINGS[kind]["betti"]}
    return frame, {"images": "own" if data is not None else kind, "tuning trials": trials, "settings": settings}


@measures("betti.depends-on-orientation")
def depends_on_orientation(data, seeds, budget):
    """Share of pairs whose matched values change when an axis of both images is flipped: noise with noise, less noise
    with a binary label."""
    shares = {}
    for kind in ("noise", "label"):
        changed = []
        for seed in seeds:
            draw = torch.Generator().manual_seed(seed)
            for _ in range({"smoke": 4, "default": 10, "full": 50}[budget]):
                x, y = torch.rand(2, 24, 24, generator=draw, dtype=torch.float64)
                smooth = torch.from_numpy(studies.ndimage.gaussian_filter(y.numpy(), 2))
                label = (smooth > smooth.mean()).double()
                changed.append(studies.flip_changes(x, y if kind == "noise" else label)[0])
        shares[kind] = float(np.mean(changed))
    value = shares["noise"] - shares["label"]
    return Measured(value, (value, value), value > 0, {"share of pairs that change": shares})
