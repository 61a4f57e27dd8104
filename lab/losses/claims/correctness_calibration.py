"""Measurements of the statements about correctness-aware calibration."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F

from lab import datasets, training
from lab.claims import measures
from lab.losses.claims.studies import exact, sampled
from lab.losses.correctness_calibration import (
    confidences,
    fit_calibrator,
    histogram_scaling,
    isotonic_scaling,
    temperature_scaling,
    transform_features,
    vector_scaling,
)

BINS = 15


def calibration_gap(confidence: torch.Tensor, correct: torch.Tensor, bins: int = BINS) -> float:
    """Expected calibration error over ``bins`` equal-width bins: sum of share * |mean confidence - accuracy|."""
    place = (confidence.double() * bins).long().clamp(0, bins - 1)
    count = torch.bincount(place, minlength=bins).double()
    sums = torch.bincount(place, weights=confidence.double() - correct.double(), minlength=bins)
    return float(sums.abs().sum() / count.sum())


def rotated(degrees: float):
    """Images (N, 1, H, W) rotated about their centre."""
    angle = torch.tensor(degrees).deg2rad()
    matrix = torch.stack([torch.stack([angle.cos(), -angle.sin(), 0 * angle]), torch.stack([angle.sin(), angle.cos(), 0 * angle])])

    def transform(x):
        grid = F.affine_grid(matrix.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)

    return transform


TRANSFORMS = (rotated(15.0), rotated(-15.0), lambda x: 0.6 * x + 0.1)


@lru_cache(maxsize=32)
def study(seed: int):
    """ECE and AUROC of every calibrator on clean, noisy and shifted digits, for a network trained on 150 images.

    Returns ``{test set: {calibrator: (ECE, AUROC of confidence for correctness)}}`` and the accuracy of each test set.
    """
    from sklearn.metrics import roc_auc_score

    digits = datasets.load("digits")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(digits.x), generator=generator)
    own, held, fresh = order[:150], order[150:950], order[950:]
    x, y = digits.x, digits.label
    fitted = training.fit(
        lambda s: training.mlp(64, 10, widths=(128,), seed=s), x[own].flatten(1), y[own], seeds=[seed], epochs=80,
        learning_rate=3e-3,
    )  # fmt: skip
    network = fitted.model(0).eval()

    def model(images):
        with torch.no_grad():
            return network(images.flatten(1))

    z, phi, plain_phi = model(x[held]), transform_features(model, x[held], TRANSFORMS), transform_features(model, x[held], ())
    temperature = temperature_scaling(z, y[held])
    vector, isotonic, histogram = (f(z, y[held]) for f in (vector_scaling, isotonic_scaling, histogram_scaling))
    fits = {
        "cross-entropy with transforms": fit_calibrator(z, phi, y[held], loss="cross-entropy", seed=seed),
        "squared error with transforms": fit_calibrator(z, phi, y[held], loss="squared-error", seed=seed),
        "correctness": fit_calibrator(z, phi, y[held], loss="correctness", seed=seed),
        "correctness, balanced": fit_calibrator(z, phi, y[held], loss="balanced", seed=seed),
        "correctness without transforms": fit_calibrator(z, plain_phi, y[held], loss="correctness", seed=seed),
    }
    tests = {
        "clean": x[fresh],
        "noise": x[fresh] + 0.3 * torch.randn(x[fresh].shape, generator=generator),
        "roll": x[fresh].roll(2, -1),
    }
    found, accuracy = {}, {}
    for name, images in tests.items():
        logits = model(images)
        correct = logits.argmax(1) == y[fresh]
        accuracy[name] = float(correct.float().mean())
        features, plain = transform_features(model, images, TRANSFORMS), transform_features(model, images, ())
        with torch.no_grad():
            confidence = {
                "none": confidences(logits, 1.0), "temperature": confidences(logits, temperature),
                "vector": vector(logits).gather(1, logits.argmax(1, keepdim=True))[:, 0], "isotonic": isotonic(logits),
                "histogram": histogram(logits),
                **{k: confidences(logits, f(plain if "without" in k else features)) for k, f in fits.items()},
            }  # fmt: skip
        found[name] = {
            k: (calibration_gap(c, correct), float(roc_auc_score(correct.numpy(), c.numpy()))) for k, c in confidence.items()
        }
    return found, accuracy


def _used(seeds, budget):
    return tuple(seeds)[:2] if budget == "smoke" else tuple(seeds)


def _column(seeds, test, name, field):
    return torch.tensor([study(seed)[0][test][name][field] for seed in seeds], dtype=torch.float64)


def mean_table(seeds, field: int = 0) -> dict[str, dict[str, float]]:
    """Mean over seeds of ECE (``field=0``) or AUROC (``field=1``), calibrator by test set."""
    names = study(seeds[0])[0]["clean"]
    return {
        name: {test: float(_column(seeds, test, name, field).mean()) for test in ("clean", "noise", "roll")} for name in names
    }


@measures("calibration.narrow-miss")
def narrow_miss(data, seeds, budget):
    """Confidence of the cross-entropy calibrator less that of the correctness-aware one on narrow misses.

    A population of narrow misses (wrong prediction at 0.55 of the softmax, true class at 0.4) among confident right answers, with
    one feature that tells the groups apart.
    """
    generator = torch.Generator().manual_seed(seeds[0])
    n = 400
    miss = torch.arange(n) % 2 == 0
    p = torch.full((n, 4), 0.02)
    p[miss, 0], p[miss, 1], p[miss, 2:] = 0.55, 0.40, 0.025
    p[~miss, 0], p[~miss, 1:] = 0.85, 0.05
    z = p.log() + 0.05 * torch.randn(n, 4, generator=generator)
    y = torch.where(miss, 1, 0)
    phi = torch.stack([miss.float(), torch.rand(n, generator=generator)], 1)
    found = {}
    for loss in ("cross-entropy", "correctness"):
        calibrator = fit_calibrator(z, phi, y, loss=loss, seed=seeds[0])
        found[loss] = float(confidences(z, calibrator(phi).detach())[miss].mean())
    found["uncalibrated"] = float(confidences(z, 1.0)[miss].mean())
    value = found["cross-entropy"] - found["correctness"]
    return exact(value, value > 0, {"confidence on narrow misses": found})


@measures("calibration.objectives-differ")
def differ(data, seeds, budget):
    """Share of random rows and pairs of temperatures for which a loss falls while |confidence - correctness| rises."""
    generator = torch.Generator().manual_seed(seeds[0])
    z = 2 * torch.randn(20000, 5, generator=generator)
    y = torch.randint(5, (20000,), generator=generator)
    first, second = torch.exp(torch.rand(2, 20000, generator=generator) * 2 - 1)
    correct = (z.argmax(1) == y).float()

    def values(temperature):
        p = torch.softmax(z / temperature[:, None], 1)
        own = p.gather(1, y[:, None])[:, 0]
        return -own.log(), (p - F.one_hot(y, 5)).square().sum(1), (p.amax(1) - correct).abs()

    before, after = values(first), values(second)
    worse = after[2] > before[2]
    names = ("cross-entropy", "squared error")
    shares = {name: float(((after[k] < before[k]) & worse).float().mean()) for k, name in enumerate(names)}
    smaller = min(shares.values())
    return exact(smaller, smaller > 0, {"share of rows": shares})


@measures("calibration.accuracy-preserved")
def preserved(data, seeds, budget):
    generator = torch.Generator().manual_seed(seeds[0])
    z = 5 * torch.randn(5000, 10, generator=generator)
    temperature = torch.exp(4.6 * torch.rand(5000, 1, generator=generator) - 2.3)
    changed = int(((z / temperature).argmax(1) != z.argmax(1)).sum())
    return exact(float(changed), changed == 0, {"temperatures": [float(temperature.min()), float(temperature.max())]})


@measures("calibration.in-distribution")
def in_distribution(data, seeds, budget):
    """ECE of the (unweighted) correctness-aware calibrator above the best of the others, on data like the calibration data."""
    seeds = _used(seeds, budget)
    others = ("temperature", "vector", "isotonic", "histogram")
    best = min(others, key=lambda name: float(_column(seeds, "clean", name, 0).mean()))
    difference = _column(seeds, "clean", "correctness", 0) - _column(seeds, "clean", best, 0)
    return sampled(difference, 0.01, {"ECE": mean_table(seeds), "best other": best}, seeds=seeds, at_most=True)


@measures("calibration.shifted")
def shifted(data, seeds, budget):
    """ECE of temperature scaling less that of the balanced calibrator on digits moved by two pixels."""
    seeds = _used(seeds, budget)
    gain = _column(seeds, "roll", "temperature", 0) - _column(seeds, "roll", "correctness, balanced", 0)
    accuracy = {test: sum(study(s)[1][test] for s in seeds) / len(seeds) for test in ("clean", "noise", "roll")}
    return sampled(gain, 0.0, {"ECE": mean_table(seeds), "accuracy": accuracy}, seeds=seeds)


@measures("calibration.transforms-inform")
def transforms_inform(data, seeds, budget):
    """AUROC of confidence for correctness with transforms less without, mean over the three test sets."""
    seeds = _used(seeds, budget)
    tests = ("clean", "noise", "roll")
    gain = sum(_column(seeds, t, "correctness", 1) - _column(seeds, t, "correctness without transforms", 1) for t in tests) / 3
    return sampled(gain, 0.0, {"AUROC": mean_table(seeds, 1)}, seeds=seeds)
