"""Experiments with comp-sum losses: members of the family under label noise, and the smooth adversarial form under attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

import torch

from lab import training
from lab.claims import tunes
from lab.losses.comp_sum import SmoothAdversarialCompSum
from lab.losses.comparison import LEARNING_RATES, Comparison, compare
from lab.losses.studies.common import EPOCHS, table, tune_rates, tuned_rates
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

FAMILY = ("sum-exponential", "cross-entropy", "generalized-cross-entropy", "mean-absolute-error")
NOISE = {"clean": 0.0, "noisy": 0.4}  # label noise of the two studies of the family

EPSILON, INNER_STEPS = 0.15, 5
RATES = (1e-3, 3e-3)
METHOD, BASELINES, NO_DEFENCE = "smooth comp-sum", ("adversarial training", "TRADES"), "cross-entropy"
TRAINING = {
    "smoke": {"epochs": 2, "steps": 5, "restarts": 1},
    "default": {"epochs": 20, "steps": 20, "restarts": 2},
    "full": {"epochs": 60, "steps": 50, "restarts": 5},
}


def accuracies(
    data, study: str, seeds: Sequence[int], budget: str, *, noise: float | None = None, shuffled: bool = False
) -> Comparison:
    """All members of :data:`FAMILY` on digits at the learning rates recorded for ``study``, ``"clean"`` or ``"noisy"``.

    On the user's ``data`` they are tuned there. ``noise`` stands in for that of the study; ``shuffled``: labels are shuffled.
    """
    x, y = table(data)
    if shuffled:
        y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    rates = tuned_rates("comp_sum", study, FAMILY) if data is None else LEARNING_RATES
    level = NOISE[study] if noise is None else noise
    return compare(FAMILY, x, y, noise=level, seeds=seeds, epochs=EPOCHS[budget], learning_rates=rates)


def plain(model, inputs, targets):
    """Cross-entropy on clean inputs."""
    return torch.nn.functional.cross_entropy(model(inputs), targets)


def adversarial_training(weight: float) -> Callable:
    """Cross-entropy at inputs moved against it (A. Madry et al., ICLR 2018), a share 1 - ``weight`` of it on clean inputs."""
    generator = torch.Generator().manual_seed(0)

    def objective(model, inputs, targets):
        attacked = inputs + EPSILON * (2 * torch.rand(inputs.shape, generator=generator) - 1)
        attacked = _ascend(inputs, attacked, lambda moved: plain(model, moved, targets))
        return weight * plain(model, attacked, targets) + (1 - weight) * plain(model, inputs, targets)

    return objective


def trades(weight: float) -> Callable:
    """Clean cross-entropy plus ``weight`` times the largest divergence from the clean prediction (H. Zhang et al., ICML 2019)."""
    generator = torch.Generator().manual_seed(0)

    def objective(model, inputs, targets):
        logits = model(inputs)
        reference = torch.log_softmax(logits.detach(), 1)
        start = inputs + 1e-3 * torch.randn(inputs.shape, generator=generator)
        attacked = _ascend(inputs, start, lambda moved: _divergence(reference, torch.log_softmax(model(moved), 1)))
        moved = torch.log_softmax(model(attacked), 1)
        clean = torch.nn.functional.cross_entropy(logits, targets)
        return clean + weight * _divergence(torch.log_softmax(logits, 1), moved)

    return objective


def smooth(weight: float) -> Callable:
    """The smooth adversarial comp-sum loss with tau = 1 and nu = ``weight``."""
    loss = SmoothAdversarialCompSum(1.0, nu=weight, epsilon=EPSILON, steps=INNER_STEPS)
    generator = torch.Generator().manual_seed(0)
    return lambda model, inputs, targets: loss(model, inputs, targets, seed=generator)


OBJECTIVES: dict[str, Callable[[float], Callable]] = {
    NO_DEFENCE: lambda weight: plain,
    "adversarial training": adversarial_training,
    "TRADES": trades,
    METHOD: smooth,
}
_WEIGHTS = {"adversarial training": (0.5, 0.8, 1.0), "TRADES": (1.0, 3.0, 6.0), METHOD: (0.1, 0.3, 0.6)}
GRIDS: dict[str, tuple[tuple[float, float], ...]] = {  # weight and learning rate
    name: tuple((weight, rate) for weight in weights for rate in RATES) for name, weights in _WEIGHTS.items()
}
WITHOUT_DEFENCE = (0.0, 1e-3)  # of cross-entropy, which only shows what no defence gives


def _ascend(inputs, attacked, loss):
    """Signed gradient ascent of ``loss`` from ``attacked`` within EPSILON of ``inputs`` and [0, 1]."""
    for _ in range(INNER_STEPS):
        attacked = attacked.detach().clamp(0, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(attacked), attacked)
        attacked = inputs + (attacked + 0.5 * EPSILON * gradient.sign() - inputs).clamp(-EPSILON, EPSILON)
    return attacked.detach().clamp(0, 1)


def _divergence(first, second):
    return torch.nn.functional.kl_div(second, first, log_target=True, reduction="batchmean")


def attacked(
    x: torch.Tensor, y: torch.Tensor, seeds: Sequence[int], settings: Mapping[str, tuple[float, float]], *, epochs: int,
    steps: int, restarts: int,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:  # fmt: skip
    """Clean and robust test accuracy of every arm of ``settings`` (weight and learning rate), lists over seeds.

    Robust accuracy counts rows that neither PGD with restarts nor APGD on cross-entropy and on the DLR loss turns. Each seed
    draws its own split, weights and order.
    """
    clean, robust = ({name: [] for name in settings} for _ in range(2))
    for seed in seeds:
        parts = split(x, y, seed)
        for name, setting in settings.items():
            model = fitted(name, setting, parts, seed, epochs)
            clean[name].append(_accuracy(model, *parts["test"]))
            robust[name].append(_robust(model, *parts["test"], steps, restarts, seed))
    return clean, robust


def split(x: torch.Tensor, y: torch.Tensor, seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """A quarter to test, a quarter to validate, half to train; features scaled to [0, 1]."""
    x = ((x - x.amin(0)) / (x.amax(0) - x.amin(0)).clamp_min(1e-6)).float()
    quarter = len(x) // 4
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    rows = order.split([quarter, quarter, len(x) - 2 * quarter])
    return {name: (x[each], y[each]) for name, each in zip(("test", "validation", "train"), rows)}


def fitted(name: str, setting: tuple[float, float], parts: Mapping, seed: int, epochs: int) -> torch.nn.Module:
    """A network trained under one arm; one by one: the objectives attack their own model and draw random numbers."""
    weight, rate = setting
    x, y = parts["train"]
    classes = 1 + max(int(labels.max()) for _, labels in parts.values())
    found = training.fit_loop(
        partial(_network, x.shape[1], classes), x, y, seeds=[seed], objective=OBJECTIVES[name](weight), epochs=epochs,
        batch_size=64, learning_rate=rate,
    )  # fmt: skip
    return found.model(0).eval()


def robust_validation(x: torch.Tensor, y: torch.Tensor, name: str, settings, seeds, epochs: int) -> list[list[float]]:
    """Accuracy of every setting of an arm on validation rows under ten steps of PGD, (settings, seeds): what tuning maximizes."""
    scores = []
    for setting in settings:
        scores.append([])
        for seed in seeds:
            parts = split(x, y, seed)
            model = fitted(name, setting, parts, seed, epochs)
            moved = training.pgd(model, *parts["validation"], epsilon=EPSILON, steps=10, seed=seed)
            scores[-1].append(_accuracy(model, moved, parts["validation"][1]))
    return scores


def under_attack(data, seeds: tuple[int, ...], budget: str):
    """:func:`attacked` on digits at the recorded settings, or on the user's ``data`` tuned there; also the settings."""
    return _on_digits(seeds, budget) if data is None else _under_attack(data, seeds, budget)


@lru_cache(maxsize=2)
def _on_digits(seeds, budget):
    return _under_attack(None, seeds, budget)


def _under_attack(data, seeds, budget):
    x, y = table(data)
    if data is None or budget == "smoke":
        settings = chosen("comp_sum", "under attack", GRIDS)
    else:
        epochs = TRAINING[budget]["epochs"]
        settings = tune(
            "own data", GRIDS, lambda *arm: robust_validation(x, y, *arm, epochs), seeds=TUNING_SEEDS[:2]
        ).chosen
    settings = {NO_DEFENCE: WITHOUT_DEFENCE, **settings}
    return *attacked(x, y, seeds, settings, **TRAINING[budget]), settings


@tunes("comp_sum")
def tune_settings(progress=None) -> None:
    """Tune the learning rates of the family on clean and on noisy labels, and every adversarial arm, and record all trials."""
    x, y = table(None)
    epochs = EPOCHS["default"]
    family = [
        tune_rates(study, FAMILY, x, y, seeds=TUNING_SEEDS[:2], noise=noise, epochs=epochs, progress=progress)
        for study, noise in NOISE.items()
    ]

    def under_attack(arm, settings, seeds):
        return robust_validation(x, y, arm, settings, seeds, TRAINING["default"]["epochs"])

    attacked = tune("under attack", GRIDS, under_attack, seeds=TUNING_SEEDS[:2], progress=progress)
    record("comp_sum", *family, attacked)


def _network(features, classes, seed):
    return training.mlp(features, classes, widths=(128,), seed=seed)


@torch.no_grad()
def _accuracy(model, x, y):
    return float((model(x).argmax(1) == y).double().mean())


def _robust(model, x, y, steps, restarts, seed):
    attacks = (
        training.pgd(model, x, y, epsilon=EPSILON, steps=steps, restarts=restarts, seed=seed),
        training.apgd(model, x, y, epsilon=EPSILON, steps=steps, loss="cross_entropy", seed=seed),
        training.apgd(model, x, y, epsilon=EPSILON, steps=steps, loss="dlr", seed=seed),
    )
    with torch.no_grad():
        right = model(x).argmax(1) == y
        for attacked in attacks:
            right = right & (model(attacked).argmax(1) == y)
    return float(right.double().mean())
