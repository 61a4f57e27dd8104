"""Experiments with correctness-aware calibration: calibrators of a network trained on few digits, and narrow misses."""

from __future__ import annotations

from functools import lru_cache

import torch

from lab import datasets, training
from lab.datasets.moves import moved
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
TESTS = ("clean", "noise", "roll")
SHUFFLED_LABELS, SHUFFLED_FEATURES = "correctness, labels shuffled", "correctness, features shuffled"


def calibration_gap(confidence: torch.Tensor, correct: torch.Tensor, bins: int = BINS) -> float:
    """Expected calibration error over ``bins`` equal-width bins: sum of share * |mean confidence - accuracy|."""
    place = (confidence.double() * bins).long().clamp(0, bins - 1)
    count = torch.bincount(place, minlength=bins).double()
    sums = torch.bincount(place, weights=confidence.double() - correct.double(), minlength=bins)
    return float(sums.abs().sum() / count.sum())


def rotated(degrees: float):
    """Images (N, 1, H, W) rotated about their centre."""
    angle = torch.tensor(degrees).deg2rad()
    return lambda x: moved(x, angle)


TRANSFORMS = (rotated(15.0), rotated(-15.0), lambda x: 0.6 * x + 0.1)


@lru_cache(maxsize=64)
def study(seed: int, budget: str = "default"):
    """ECE and AUROC of every calibrator on clean, noisy and shifted digits, for a network trained on 150 images.

    Two calibrators are there to fail: one fitted with the labels of other images, one with other images' features.

    Returns ``{test set: {calibrator: (ECE, AUROC of confidence for correctness)}}`` and the accuracy of each test set.
    """
    from sklearn.metrics import roc_auc_score

    epochs, steps = (20, 40) if budget == "smoke" else (80, 500)
    digits = datasets.load("digits")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(digits.x), generator=generator)
    own, held, fresh = order[:150], order[150:950], order[950:]
    x, y = digits.x, digits.label
    fitted = training.fit(
        lambda s: training.mlp(64, 10, widths=(128,), seed=s), x[own].flatten(1), y[own], seeds=[seed], epochs=epochs,
        learning_rate=3e-3,
    )  # fmt: skip
    network = fitted.model(0).eval()

    def model(images):
        with torch.no_grad():
            return network(images.flatten(1))

    def features(images):
        return transform_features(model, images, TRANSFORMS), transform_features(model, images, ())

    tests = {
        "clean": x[fresh],
        "noise": x[fresh] + 0.3 * torch.randn(x[fresh].shape, generator=generator),
        "roll": x[fresh].roll(2, -1),
    }
    shuffled, other = (torch.randperm(n, generator=generator) for n in (len(held), len(fresh)))
    z, (phi, plain_phi) = model(x[held]), features(x[held])
    temperature = temperature_scaling(z, y[held])
    vector, isotonic, histogram = (f(z, y[held]) for f in (vector_scaling, isotonic_scaling, histogram_scaling))
    fits = {
        "cross-entropy with transforms": (phi, y[held], "cross-entropy"),
        "squared error with transforms": (phi, y[held], "squared-error"),
        "correctness": (phi, y[held], "correctness"),
        "correctness, balanced": (phi, y[held], "balanced"),
        "correctness without transforms": (plain_phi, y[held], "correctness"),
        SHUFFLED_LABELS: (phi, y[held][shuffled], "correctness"),
        SHUFFLED_FEATURES: (phi[shuffled], y[held], "correctness"),
    }
    fits = {
        name: fit_calibrator(z, f, labels, loss=loss, steps=steps, seed=seed)
        for name, (f, labels, loss) in fits.items()
    }
    found, accuracy = {}, {}
    for name, images in tests.items():
        logits = model(images)
        correct = logits.argmax(1) == y[fresh]
        accuracy[name] = float(correct.float().mean())
        turned, plain = features(images)
        seen = dict.fromkeys(fits, turned) | {"correctness without transforms": plain, SHUFFLED_FEATURES: turned[other]}
        with torch.no_grad():
            confidence = {
                "none": confidences(logits, 1.0), "temperature": confidences(logits, temperature),
                "vector": vector(logits).gather(1, logits.argmax(1, keepdim=True))[:, 0], "isotonic": isotonic(logits),
                "histogram": histogram(logits),
                **{k: confidences(logits, f(seen[k])) for k, f in fits.items()},
            }  # fmt: skip
        found[name] = {
            k: (calibration_gap(c, correct), float(roc_auc_score(correct.numpy(), c.numpy())))
            for k, c in confidence.items()
        }
    return found, accuracy


def column(seeds, test: str, name: str, field: int, budget: str = "default") -> torch.Tensor:
    """ECE (``field=0``) or AUROC (``field=1``) of one calibrator on one test set, (seeds,)."""
    return torch.tensor([study(seed, budget)[0][test][name][field] for seed in seeds], dtype=torch.float64)


def mean_table(seeds, field: int = 0, budget: str = "default") -> dict[str, dict[str, float]]:
    """Mean over seeds of ECE (``field=0``) or AUROC (``field=1``), calibrator by test set; without those that are there to fail."""
    names = [name for name in study(seeds[0], budget)[0]["clean"] if name not in (SHUFFLED_LABELS, SHUFFLED_FEATURES)]
    return {name: {test: float(column(seeds, test, name, field, budget).mean()) for test in TESTS} for name in names}


def accuracies(seeds, budget: str = "default") -> dict[str, float]:
    """Mean accuracy over seeds on each test set."""
    return {test: sum(study(seed, budget)[1][test] for seed in seeds) / len(seeds) for test in TESTS}


def narrow_misses(seed: int, loss: str, steps: int = 500) -> dict[str, float]:
    """Mean confidence on narrow misses before and after a calibrator trained by ``loss``.

    A population of narrow misses (wrong prediction at 0.55 of the softmax, true class at 0.4) among confident right answers, with
    one feature that tells the groups apart.
    """
    generator = torch.Generator().manual_seed(seed)
    n = 400
    miss = torch.arange(n) % 2 == 0
    p = torch.full((n, 4), 0.02)
    p[miss, 0], p[miss, 1], p[miss, 2:] = 0.55, 0.40, 0.025
    p[~miss, 0], p[~miss, 1:] = 0.85, 0.05
    z = p.log() + 0.05 * torch.randn(n, 4, generator=generator)
    phi = torch.stack([miss.float(), torch.rand(n, generator=generator)], 1)
    calibrator = fit_calibrator(z, phi, torch.where(miss, 1, 0), loss=loss, steps=steps, seed=seed)
    with torch.no_grad():
        after = confidences(z, calibrator(phi))
    return {"before": float(confidences(z, 1.0)[miss].mean()), "after": float(after[miss].mean())}


def scaled_rows(seed: int, scaling: str = "temperature", rows: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    """Calibrated confidence of each of ``rows`` logits, and the calibrated probability of the uncalibrated prediction.

    ``scaling="temperature"`` fits an adaptive temperature by correctness, ``"vector"`` a scale and an offset for each class.
    Labels follow the softmax of the logits with offsets of the classes, so that offsets are worth learning.
    """
    generator = torch.Generator().manual_seed(seed)
    z = 5 * torch.randn(rows, 10, generator=generator)
    y = torch.multinomial(torch.softmax(z + torch.linspace(-4, 4, 10), 1), 1, generator=generator)[:, 0]
    place = z.argmax(1, keepdim=True)
    if scaling == "vector":
        probabilities = vector_scaling(z, y)(z)
        return probabilities.amax(1), probabilities.gather(1, place)[:, 0]
    phi = torch.cat([torch.softmax(z, 1).topk(4).values, torch.rand(rows, 1, generator=generator)], 1)
    calibrator = fit_calibrator(z, phi, y, steps=100, seed=seed)
    with torch.no_grad():
        temperature = calibrator(phi)
        return confidences(z, temperature), torch.softmax(z / temperature[:, None], 1).gather(1, place)[:, 0]
