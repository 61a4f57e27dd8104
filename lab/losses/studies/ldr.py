"""Experiments with label-distributionally robust losses: networks under label noise, and the temperatures of their rows."""

from __future__ import annotations

from functools import lru_cache

import torch

from lab import training
from lab.claims import tunes
from lab.losses.comparison import Comparison, compare, noisy_labels
from lab.losses.ldr import ALDRKLLoss
from lab.losses.studies.common import EPOCHS, table, tuned_rates
from lab.training.comparison import TUNING_SEEDS, record, tune

LOSSES = (
    "cross-entropy", "generalized-cross-entropy", "mean-absolute-error", "sum-exponential", "symmetric-cross-entropy", "focal",
    "label-smoothing", "multi-margin", "ldr-kl", "ldr-kl-small-temperature", "aldr-kl",
)  # fmt: skip
RATES = (
    3e-4,
    1e-3,
    3e-3,
    1e-2,
    3e-2,
)  # wider than elsewhere: normalized scores at a large temperature have small gradients
NOISES = (
    ("uniform", 0.3),
    ("uniform", 0.6),
    ("next", 0.3),
    ("pairs", 0.3),
)  # labels redrawn, or taken for another class
SETTINGS = (("uniform", 0.0), *NOISES[1:])  # what the suite of losses is trained under

SEEDS = TUNING_SEEDS[:2]  # eleven losses by five rates by four noises are 220 networks for each seed


def epochs(budget: str) -> int:
    """Three quarters of the room's epochs, at least six."""
    return max(6, EPOCHS[budget] * 3 // 4)


@tunes("ldr")
def tune_suite(progress=None) -> None:
    """Tune the learning rate of every loss on digits under each noise, at the default number of epochs, and write the record."""
    record("ldr", *(_tune(kind, level, progress) for kind, level in SETTINGS))


def _tune(kind, level, progress):
    options = {"noise": level, "noise_kind": kind, "epochs": epochs("default"), "seeds": SEEDS, "learning_rates": RATES}
    found = compare(LOSSES, *table(None), **options).validation_accuracy  # all losses at once
    arms = dict.fromkeys(LOSSES, RATES)
    return tune(
        f"{kind} {level:g}", arms, lambda loss, rates, seeds: found[loss].numpy(), seeds=SEEDS, progress=progress
    )


def under_noise(names, kind: str, level: float, seeds, budget: str, data=None) -> Comparison:
    """Networks trained under each loss and label noise at the learning rates that were tuned on digits."""
    rates = tuned_rates("ldr", f"{kind} {level:g}", names, rates=RATES)
    return compare(
        names,
        *table(data),
        noise=level,
        noise_kind=kind,
        seeds=tuple(seeds),
        epochs=epochs(budget),
        learning_rates=rates,
    )


def mean_ranks(seeds, budget: str, data=None, losses=LOSSES) -> dict[str, torch.Tensor]:
    """Rank of every loss by test accuracy, 1 the best and ties shared, averaged over the noise settings, ``{loss: (seeds,)}``."""
    settings = SETTINGS[:2] if budget == "smoke" else SETTINGS
    found = []
    for kind, level in settings:
        result = under_noise(losses, kind, level, seeds, budget, data)
        accuracy = torch.stack([result.accuracy[name] for name in losses]).double()
        above = (accuracy[None] > accuracy[:, None]).sum(1)
        level_with = (accuracy[None] == accuracy[:, None]).sum(1)
        found.append(above + (level_with + 1) / 2)
    return dict(zip(losses, torch.stack(found).mean(0)))


@lru_cache(maxsize=2)
def ranks_on_digits(seeds: tuple[int, ...], budget: str) -> dict[str, torch.Tensor]:
    """:func:`mean_ranks` on the built-in digits, remembered."""
    return mean_ranks(seeds, budget)


def temperature_gaps(x, y, settings, *, seeds, epochs, shuffled: bool = False) -> dict[str, torch.Tensor]:
    """Mean temperature of mislabelled less clean rows after training under each noise, one value a seed; all models at once.

    One loss keeps the temperatures of all models: row i of model m has place m * items + i. ``shuffled`` exchanges which rows
    are called mislabelled.
    """
    classes, items = int(y.max()) + 1, len(x)
    runs = [(kind, level, seed) for kind, level in settings for seed in seeds]
    noisy = torch.stack([noisy_labels(y, level, kind=kind, classes=classes, seed=seed) for kind, level, seed in runs])
    places = torch.arange(len(runs) * items).reshape(len(runs), items)
    stored = ALDRKLLoss(len(runs) * items, initial_temperature=1.0, reduction="none")

    def loss(logits, target):
        return stored(logits, target[:, 0], target[:, 1])

    setattr(loss, "reduction", "none")  # noqa: B010 - what says that a loss gives one value per item
    training.fit(
        [training.mlp(x.shape[1], classes, widths=(128,), seed=seed) for _, _, seed in runs], x.float(),
        training.PerModel(torch.stack([noisy, places], 2)), seeds=[seed for _, _, seed in runs], loss=loss,
        learning_rate=3e-3, epochs=epochs, batch_size=64,
    )  # fmt: skip
    temperature, wrong = stored.temperatures.reshape(len(runs), items).double(), noisy != y
    if shuffled:
        order = torch.randperm(items, generator=torch.Generator().manual_seed(0))
        wrong = wrong[:, order]
    gap = (temperature * wrong).sum(1) / wrong.sum(1) - (temperature * ~wrong).sum(1) / (~wrong).sum(1)
    names = [f"{kind} {level:g}" for kind, level in settings]
    return dict(zip(names, gap.reshape(len(settings), len(seeds))))
