"""Experiments with EnsLoss against fixed losses: Gaussians, a table of noise features, and all pairs of digits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import torch

from lab import datasets, training
from lab.claims import tunes
from lab.losses.comparison import Comparison, compare, mean_interval
from lab.losses.ensloss import EnsLoss
from lab.losses.registry import by_name
from lab.losses.studies.common import EPOCHS, table, tune_rates, tuned_rates
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

METHOD = "ensloss"
FIXED = (
    "cross-entropy",
    "multi-margin",
    "sum-exponential",
)  # of two classes: the logistic, hinge and exponential losses
NAMES = (*FIXED, METHOD)
TABLE_NOISE = 0.1
BAYES = 0.5 * float(torch.erfc(torch.tensor(1.0)))  # two coordinates at distance one: Phi(-sqrt(2))


def two_gaussians(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes of ten features, of which two have mean 1 or -1; the Bayes error is :data:`BAYES`."""
    y = torch.randint(2, (n,), generator=generator)
    x = torch.randn(n, 10, generator=generator)
    x[:, :2] += torch.where(y == 1, 1.0, -1.0)[:, None]
    return x, y


def excess_errors(size: int, seeds: Sequence[int], *, shuffled: bool = False) -> torch.Tensor:
    """Error over that of the Bayes classifier of a linear model trained on ``size`` samples, one value a seed.

    ``shuffled``: the training labels are shuffled.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    x, y = (torch.stack(parts) for parts in zip(*(two_gaussians(size, generator) for generator in generators)))
    test_x, test_y = (
        torch.stack(parts) for parts in zip(*(two_gaussians(20000, generator) for generator in generators))
    )
    if shuffled:
        y = torch.stack([row[torch.randperm(size, generator=generator)] for row, generator in zip(y, generators)])
    fitted = training.fit(
        lambda s: training.mlp(10, 2, widths=(), seed=s), training.PerModel(x), training.PerModel(y), seeds=seeds,
        loss=EnsLoss(seed=seeds[0], batches=len(seeds), reduction="none"), learning_rate=1e-2,
        epochs=max(20, 20000 // size), batch_size=64, schedule="cosine",
    )  # fmt: skip
    with torch.no_grad():
        wrong = fitted.predict(training.PerModel(test_x)).argmax(-1) != test_y
    return wrong.double().mean(1) - BAYES


def noisy_table(data=None) -> tuple[torch.Tensor, torch.Tensor]:
    """The user's table of two classes, or breast cancer with 200 noise features added."""
    x, y = table(data, "breast_cancer")
    if int(y.max()) != 1:
        raise ValueError(f"data must have two classes for binary losses, got {int(y.max()) + 1}")
    if data is None:
        noise = torch.randn(len(x), 200, generator=torch.Generator().manual_seed(0))
        x = torch.cat([(x - x.mean(0)) / x.std(0), noise], 1).float()
    return x, y


def on_table(data, seeds: tuple[int, ...], budget: str) -> Comparison:
    """All four losses on :func:`noisy_table`, a tenth of the labels redrawn, at the recorded learning rates.

    On the user's ``data`` they are tuned there.
    """
    return _on_breast_cancer(seeds, budget) if data is None else compare(NAMES, **_setting(data, budget), seeds=seeds)


@lru_cache(maxsize=2)
def _on_breast_cancer(seeds, budget):
    rates = tuned_rates("ensloss", "table", NAMES)
    return compare(NAMES, **_setting(None, budget), seeds=seeds, learning_rates=rates)


def _setting(data, budget):
    x, y = noisy_table(data)

    def network(seed):
        return training.mlp(x.shape[1], 2, widths=(128, 128, 128), seed=seed)

    return {"x": x, "y": y, "network": network, "noise": TABLE_NOISE, "epochs": EPOCHS[budget]}


PAIRS = tuple(combinations(range(10), 2))
BATCH = 32
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def _mlp(seed):
    return training.mlp(64, 2, widths=(64, 64), seed=seed)


def _cnn(seed):
    return training.cnn(1, 2, widths=(8, 16), seed=seed)


ARCHITECTURES = {"mlp 64-64-64-2": (_mlp, True), "cnn 8-16": (_cnn, False)}


def pair_accuracies(architecture: str, pairs, seeds, rates: dict[str, float], epochs: int) -> dict[str, torch.Tensor]:
    """Test accuracy of a network trained on each pair of digits under each loss, ``{loss: (pairs, seeds)}``; all at once.

    A seed draws its own split: four batches of 32 images to train, the rest (about 220) to test. Adam.
    """
    network, flat = ARCHITECTURES[architecture]
    digits = datasets.load("digits")
    rows = {pair: torch.nonzero((digits.label == pair[0]) | (digits.label == pair[1]))[:, 0] for pair in pairs}
    items = min(len(found) for found in rows.values())
    train = round(0.4 * items) // BATCH * BATCH
    splits = []
    for pair in pairs:
        for seed in seeds:
            order = torch.randperm(
                len(rows[pair]), generator=torch.Generator().manual_seed(100 * seed + PAIRS.index(pair))
            )
            splits.append(rows[pair][order[:items]])
    index = torch.stack(splits)  # (pairs x seeds, items)
    second = torch.tensor([pair[1] for pair in pairs]).repeat_interleave(len(seeds))[:, None]
    x, y = digits.x[index], (digits.label[index] == second).long()
    x = x.flatten(2) if flat else x
    models = len(index)
    losses = [by_name(name, reduction="none") for name in FIXED]
    losses.append(EnsLoss(seed=seeds[0], batches=models, reduction="none"))
    each = [seed for _ in NAMES for _ in pairs for seed in seeds]
    fitted = training.fit(
        [network(seed) for seed in each],
        training.PerModel(x[:, :train].repeat(len(NAMES), *[1] * (x.ndim - 1))),
        training.PerModel(y[:, :train].repeat(len(NAMES), 1)),
        seeds=each,
        loss=[loss for loss in losses for _ in range(models)],
        learning_rate=[rates[name] for name in NAMES for _ in range(models)],
        schedule="cosine", epochs=epochs, batch_size=BATCH, clip=5.0,
    )  # fmt: skip
    with torch.no_grad():
        predicted = fitted.predict(training.PerModel(x[:, train:].repeat(len(NAMES), *[1] * (x.ndim - 1)))).argmax(-1)
    right = (
        (predicted == y[:, train:].repeat(len(NAMES), 1)).double().mean(1).reshape(len(NAMES), len(pairs), len(seeds))
    )
    return dict(zip(NAMES, right))


PAIRS_OF = {"smoke": (PAIRS[::15], 4), "default": (PAIRS, 40), "full": (PAIRS, 150)}  # pairs and epochs


def rates_of(architecture: str) -> dict[str, float]:
    """The recorded learning rate of every loss for the pairs of digits."""
    return chosen("ensloss", f"pairs, {architecture}", dict.fromkeys(NAMES, RATES))


@lru_cache(maxsize=2)
def on_pairs(seeds: tuple[int, ...], budget: str) -> dict[str, dict[str, torch.Tensor]]:
    """Accuracies on the pairs of digits for each architecture and loss, (pairs, seeds)."""
    pairs, epochs = PAIRS_OF[budget]
    accuracy = {}
    for architecture in ARCHITECTURES:
        parts = [  # as many models at once as fit the cache and the memory
            pair_accuracies(architecture, pairs[first : first + 15], seeds, rates_of(architecture), epochs)
            for first in range(0, len(pairs), 15)
        ]
        accuracy[architecture] = {name: torch.cat([part[name] for part in parts]) for name in NAMES}
    return accuracy


def against(fixed: torch.Tensor, ours: torch.Tensor) -> tuple[int, int, int]:
    """Pairs on which the 95 % interval of the paired difference lies above zero, holds zero, lies below it."""
    count = [0, 0, 0]
    for difference in ours - fixed:
        _, low, high = mean_interval(difference)
        count[0 if low > 0 else 2 if high < 0 else 1] += 1
    return count[0], count[1], count[2]


@tunes("ensloss")
def tune_settings(progress=None) -> None:
    """Tune the learning rate of every loss on the table and, on every ninth pair, for each architecture; record all trials."""
    setting = _setting(None, "default")
    trials = [
        tune_rates(
            "table", NAMES, setting.pop("x"), setting.pop("y"), seeds=TUNING_SEEDS[:2], progress=progress, **setting
        )
    ]
    for architecture in ARCHITECTURES:
        seeds = TUNING_SEEDS[:2]
        found = [
            pair_accuracies(architecture, PAIRS[::9], seeds, dict.fromkeys(NAMES, rate), PAIRS_OF["default"][1])
            for rate in RATES
        ]
        trials.append(tune(
            f"pairs, {architecture}", dict.fromkeys(NAMES, RATES),
            lambda name, rates, seeds, found=found: [each[name].mean(0).tolist() for each in found],
            seeds=seeds, progress=progress,
        ))  # fmt: skip
    record("ensloss", *trials)
