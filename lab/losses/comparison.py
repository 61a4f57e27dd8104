"""One network under many classification losses, at an equal and stated tuning budget.

Every loss gets the same learning rates on the same splits; its rate is the one of the best mean validation accuracy over
the seeds (validation labels carry the same noise as the training labels), or one that an earlier tuning chose, and the test
labels are clean. All models, loss x rate x seed, are trained at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from lab import checks, training
from lab.claims.statistics import interval
from lab.losses.reduction import whole
from lab.losses.registry import BINARY, SEEDED, by_name
from lab.training.comparison import best

if TYPE_CHECKING:
    import pandas

NOISES = ("uniform", "pairs", "next")
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class Comparison:
    """Test results of every loss at its tuned learning rate.

    ``accuracy``, ``calibration_error`` and ``train_accuracy`` map a loss to a tensor over ``seeds``; ``learning_rate`` to
    the chosen rate; ``trials`` is the number of rates that each loss was tuned over, 1 where the rates were given.
    ``validation_accuracy`` maps it to the accuracies that chose, of shape (rates, seeds).
    """

    accuracy: dict[str, torch.Tensor]
    calibration_error: dict[str, torch.Tensor]
    train_accuracy: dict[str, torch.Tensor]
    learning_rate: dict[str, float]
    seeds: tuple[int, ...]
    trials: int
    setting: dict[str, object]
    validation_accuracy: dict[str, torch.Tensor] = field(default_factory=dict)

    def to_frame(self) -> pandas.DataFrame:
        """One row a loss, best first: mean test accuracy with its 95 % interval over seeds, calibration error, rate, trials."""
        import pandas

        rows = []
        for name, values in self.accuracy.items():
            mean, low, high = mean_interval(values, bounds=(0.0, 1.0))
            rows.append({
                "loss": name,
                "accuracy": mean,
                "low": low,
                "high": high,
                "calibration error": float(self.calibration_error[name].mean()),
                "training accuracy": float(self.train_accuracy[name].mean()),
                "learning rate": self.learning_rate[name],
                "trials": self.trials,
                "seeds": len(self.seeds),
            })  # fmt: skip
        return pandas.DataFrame(rows).sort_values("accuracy", ascending=False, ignore_index=True)

    def difference(self, first: str, second: str) -> tuple[float, float, float]:
        """Mean of accuracy(first) - accuracy(second) over paired seeds with its 95 % interval."""
        for role, name in (("first", first), ("second", second)):
            checks.choice(role, name, self.accuracy)
        return mean_interval(self.accuracy[first] - self.accuracy[second], bounds=(-1.0, 1.0))


def compare(
    losses: Sequence[str] | Mapping[str, nn.Module | Callable[[int], nn.Module]],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    noise: float = 0.0,
    noise_kind: str = "uniform",
    imbalance: float = 1.0,
    shift: float = 0.0,
    network: Callable[[int], nn.Module] | None = None,
    seeds: int | Sequence[int] = 5,
    learning_rates: Sequence[float] | Mapping[str, float] = LEARNING_RATES,
    optimizer: str = "adam",
    epochs: int = 40,
    batch_size: int = 64,
    weight_decay: float = 0.0,
    clip: float | None = 5.0,
    test_fraction: float = 0.3,
    validation_fraction: float = 0.2,
    progress=None,
    cancel=None,
) -> Comparison:
    """Train one network under each loss and compare on clean test labels.

    Args:
        losses: names of :func:`lab.losses.names`, or ``{name: loss}`` with a module of ``reduction="none"``, or a function
            seed -> module where the loss of a row depends on its batch, so that each model needs its own.
        x: inputs, shape (items, features...); standardized with the training part's statistics of each split.
        y: labels in [0, classes), shape (items,).
        noise: level of label noise in training and validation labels, see :func:`noisy_labels`.
        imbalance: ratio of the largest to the smallest class in the training part, at least 1 (geometric over classes).
        shift: standard deviation of Gaussian noise added to the standardized test inputs.
        network: seed -> module; a ReLU MLP of width 128 on flattened inputs by default.
        seeds: a number of seeds or which; each draws its own split, noise, weights and batch order.
        learning_rates: the rates every loss is tuned over, by the rule of :func:`lab.training.comparison.best`; or
            ``{loss: rate}``, one for each loss, as an earlier tuning chose it.
        epochs, batch_size, optimizer, weight_decay, clip, progress, cancel: as :func:`lab.training.fit`.

    Raises:
        ValueError: unknown losses, a loss without its rate, a loss for two classes with more of them, fewer than two classes,
            fractions outside (0, 1), too few items for the batch size.
    """
    seeds = tuple(range(checks.integer("seeds", seeds, low=1))) if isinstance(seeds, int) else tuple(seeds)
    rates = _rates(losses, learning_rates)
    trials = len(next(iter(rates.values()), ()))
    modules = _modules(losses, trials * len(seeds), seeds[0] if seeds else 0)
    x = checks.tensor("x", x)
    y = checks.tensor("y", y, shape=(x.shape[0],))
    if y.is_floating_point() and not bool((y == y.round()).all()):
        raise ValueError("y must hold class labels, got numbers that are not whole: a regression target?")
    y = y.long()
    missing = (
        sorted(set(range(int(y.max()) + 1)) - set(y.unique().tolist()))
        if int(y.min()) >= 0 and int(y.max()) < 10**6
        else []
    )
    if missing:
        raise ValueError(
            f"y must hold every class from 0 to {int(y.max())}, but {', '.join(map(str, missing[:5]))} never occur; number the "
            "classes that occur, y.unique(return_inverse=True)[1]"
        )
    x = (
        (x.double() - x.double().mean(0)) if x.dtype in (torch.float64, torch.int64) else x
    )  # large offsets keep their digits
    x = x.to(torch.float32).flatten(1) if network is None else x.to(torch.float32)
    classes = int(y.max()) + 1
    if classes < 2 or int(y.min()) < 0:
        raise ValueError(f"y must hold at least two classes numbered from 0, got {int(y.min())} to {int(y.max())}")
    if classes > 2 and not isinstance(losses, Mapping) and (binary := [name for name in losses if name in BINARY]):
        raise ValueError(
            f"losses: {', '.join(map(repr, binary))} is defined for two classes, y has {classes}; leave it out"
        )
    checks.number("imbalance", imbalance, low=1.0)
    checks.number("shift", shift, low=0.0)
    for name, fraction in (("test_fraction", test_fraction), ("validation_fraction", validation_fraction)):
        checks.number(name, fraction, low=0.01, high=0.9)
    if network is None:
        features = x.shape[1]

        def network(seed):
            return training.mlp(features, classes, widths=(128,), seed=seed)

    splits = [
        _split(x, y, classes, seed, noise, noise_kind, imbalance, shift, test_fraction, validation_fraction)
        for seed in seeds
    ]
    common = min(len(split["train_y"]) for split in splits)  # thinned splits differ by a few items
    for split in splits:
        split["train_x"], split["train_y"] = split["train_x"][:common], split["train_y"][:common]
    grid = [(name, rate, index) for name in modules for rate in rates[name] for index in range(len(seeds))]
    order = torch.tensor([index for _, _, index in grid])
    stacked = {key: torch.stack([split[key] for split in splits]) for key in splits[0]}
    fitted = training.fit(
        [network(seeds[index]) for _, _, index in grid],
        training.PerModel(stacked["train_x"][order]),
        training.PerModel(stacked["train_y"][order]),
        seeds=[seeds[index] for _, _, index in grid],
        loss=[
            modules[name] if isinstance(modules[name], nn.Module) else modules[name](seeds[i]) for name, _, i in grid
        ],
        optimizer=optimizer,
        learning_rate=[rate for _, rate, _ in grid],
        weight_decay=weight_decay,
        schedule="cosine",
        epochs=epochs,
        batch_size=batch_size,
        clip=clip,
        progress=progress,
        cancel=cancel,
    )
    with torch.no_grad():
        outcome = {
            part: fitted.predict(training.PerModel(stacked[f"{part}_x"][order]))
            for part in ("train", "validation", "test")
        }
    correct = {
        part: (logits.argmax(-1) == stacked[f"{part}_y"][order]).float().mean(1) for part, logits in outcome.items()
    }
    shape = (len(modules), trials, len(seeds))
    failed = ~outcome["validation"].flatten(1).isfinite().all(1)
    validation = correct["validation"].masked_fill(failed, torch.nan).reshape(shape)
    chosen_rate = [best(scores) for scores in validation]
    accuracy, train_accuracy, calibration, chosen = {}, {}, {}, {}
    test_y = stacked["test_y"]
    for row, name in enumerate(modules):
        accuracy[name] = correct["test"].reshape(shape)[row, chosen_rate[row]]
        train_accuracy[name] = correct["train"].reshape(shape)[row, chosen_rate[row]]
        logits = outcome["test"].reshape(*shape, *outcome["test"].shape[1:])[row, chosen_rate[row]]
        calibration[name] = torch.tensor([
            float(training.calibration_error(torch.softmax(one, -1), target)) for one, target in zip(logits, test_y)
        ])  # fmt: skip
        chosen[name] = rates[name][chosen_rate[row]]
    setting = {
        "noise": noise, "noise kind": noise_kind, "imbalance": imbalance, "shift": shift, "epochs": epochs,
        "items": int(stacked["train_x"].shape[1]),
        "learning rates": chosen if isinstance(learning_rates, Mapping) else tuple(learning_rates),
    }  # fmt: skip
    return Comparison(
        accuracy, calibration, train_accuracy, chosen, seeds, trials, setting, dict(zip(modules, validation))
    )  # fmt: skip


def noisy_labels(
    y: torch.Tensor, level: float, *, kind: str = "uniform", classes: int | None = None, seed: int | torch.Generator = 0
) -> torch.Tensor:
    """Labels of which a part has been redrawn.

    ``uniform``: each label is redrawn over all K classes with probability ``level`` (so (K - 1)/K of those change);
    ``next``: it becomes the next class with that probability; ``pairs``: classes 2i and 2i + 1 are confused with it.
    """
    checks.choice("kind", kind, NOISES)
    checks.number("level", level, low=0.0, high=1.0)
    y = whole("y", checks.tensor("y", y, empty=True))
    if not y.numel():
        return y.clone()
    classes = int(y.max()) + 1 if classes is None else classes
    generator = checks.generator(seed)
    flip = torch.rand(y.shape, generator=generator) < level
    if kind == "uniform":
        other = torch.randint(classes, y.shape, generator=generator)
    elif kind == "next":
        other = (y + 1) % classes
    else:
        other = torch.where(y % 2 == 0, y + 1, y - 1)
        other = torch.where(other < classes, other, y)
    return torch.where(flip, other, y)


def mean_interval(
    values: torch.Tensor, confidence: float = 0.95, *, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float, float]:
    """Mean and Student-t interval over seeds, cut at the ``bounds`` that no mean of these values can pass; for a single seed
    both ends are the bounds."""
    mean, low, high = interval(torch.as_tensor(values).double().tolist(), "mean", confidence)
    return mean, max(low, bounds[0]), min(high, bounds[1])


def _rates(losses, learning_rates):
    """The rates of each loss, equally many."""
    if not isinstance(learning_rates, Mapping):
        rates = tuple(checks.number("learning_rates", rate, low=0.0, open_low=True) for rate in learning_rates)
        if not rates:
            raise ValueError("learning_rates is empty; at least one rate is needed")
        return dict.fromkeys(losses, rates)
    missing = [name for name in losses if name not in learning_rates]
    if missing:
        raise ValueError(f"learning_rates names no rate for {', '.join(map(repr, missing))}")
    return {
        name: (checks.number(f"learning_rates[{name!r}]", learning_rates[name], low=0.0, open_low=True),)
        for name in losses
    }


def _modules(losses, models, seed):
    if isinstance(losses, Mapping):
        modules = dict(losses)
    else:
        # a loss that draws for a whole batch draws for all of its models side by side
        modules = {
            name: by_name(name, reduction="none", **({"seed": seed, "batches": models} if name in SEEDED else {}))
            for name in losses
        }
    if not modules:
        raise ValueError("losses is empty; name at least one of lab.losses.names()")
    for name, module in modules.items():
        if isinstance(module, nn.Module) and getattr(module, "reduction", None) != "none":
            raise ValueError(f"losses: {name!r} must have reduction='none', one value per row")
    return modules


def _split(x, y, classes, seed, noise, noise_kind, imbalance, shift, test_fraction, validation_fraction):
    generator = checks.generator(seed)
    order = torch.randperm(len(x), generator=generator)
    tests = round(test_fraction * len(x))
    validations = round(validation_fraction * len(x))
    if len(x) - tests - validations < 2 * classes:
        raise ValueError(f"x has {len(x)} items, too few for {classes} classes after the test and validation parts")
    test, validation, train = order.split([tests, validations, len(x) - tests - validations])
    if imbalance > 1:
        train = train[_imbalanced(y[train], classes, imbalance)]
        train = train[torch.randperm(len(train), generator=generator)]
    centre, scale = x[train].mean(0), x[train].std(0)
    scale = torch.where(scale > 1e-6, scale, torch.ones_like(scale))

    def standard(rows):
        return (x[rows] - centre) / scale

    parts = {
        "train_x": standard(train),
        "train_y": noisy_labels(y[train], noise, kind=noise_kind, classes=classes, seed=generator),
        "validation_x": standard(validation),
        "validation_y": noisy_labels(y[validation], noise, kind=noise_kind, classes=classes, seed=generator),
        "test_x": standard(test),
        "test_y": y[test],
    }
    if shift:  # drawn last, so that shifts are compared on equal training parts
        parts["test_x"] = parts["test_x"] + shift * torch.randn(parts["test_x"].shape, generator=generator)
    return parts


def _imbalanced(y, classes, ratio):
    """Rows with class k thinned to ratio^(-k/(K-1)) of the rarest class's share, the total equal over splits."""
    counts = torch.bincount(y, minlength=classes)
    kept = []
    for k in range(classes):
        size = max(1, int(counts.min() * ratio ** (-k / max(classes - 1, 1)) + 0.5))
        kept.append(torch.nonzero(y == k)[:size, 0])
    return torch.cat(kept)
