"""Small sets that stand for large ones: kept in files, trained on, and judged by networks that never saw them made."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import nn

from lab import checks
from lab.training import Fitted, PerModel, Stack, fit, mlp

STEPS, RATE = 300, 0.01  # of the training that judges a set, the same for every method


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """A few items that a network learns from in the place of many.

    Attributes:
        x: items (items, ...), in the units that networks take.
        y: classes (items,).
        mean, scale: ``x * scale + mean`` are the units of the data that were given.
        learning_rate: the rate that belongs to the set where a method learned one.
        method: how it was made.
        classes: names of the classes.

    >>> made = SyntheticSet(torch.zeros(2, 4), torch.tensor([0, 1]))
    >>> len(made)
    2
    """

    x: torch.Tensor
    y: torch.Tensor
    mean: float = 0.0
    scale: float = 1.0
    learning_rate: float | None = None
    method: str = ""
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    @property
    def images(self) -> torch.Tensor:
        """The items in the units of the given data."""
        return self.x * self.scale + self.mean

    def train(self, network: Callable[[int], nn.Module] | None = None, *, seeds: int | Sequence[int] = 1) -> Fitted:
        """Networks trained on the set alone, all at once; ``fitted.predict(x)`` takes standardized inputs, as ``x`` here."""
        network = network or network_for(self.x, int(self.y.max()) + 1)
        return fit(network, self.x, self.y, seeds=seeds, **_recipe(self.learning_rate))

    def standardized(self, images: torch.Tensor) -> torch.Tensor:
        """Images in the given units as the inputs of networks trained on the set."""
        return (checks.tensor("images", images).float() - self.mean) / self.scale

    def save(self, path: str | Path | IO[bytes]) -> None:
        """Write the set as NPZ, to a path or an open file."""
        np.savez_compressed(
            path, x=checks.array(self.x), y=self.y.numpy(), mean=self.mean, scale=self.scale, method=self.method,
            learning_rate=np.nan if self.learning_rate is None else self.learning_rate, classes=np.array(self.classes, dtype=str),
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> SyntheticSet:
        """What :meth:`save` wrote.

        Raises:
            ValueError: a file that holds no such set.
        """
        with np.load(Path(path), allow_pickle=False) as file:
            missing = {"x", "y", "mean", "scale", "learning_rate", "method", "classes"} - set(file.files)
            if missing:
                raise ValueError(f"{Path(path).name} holds no synthetic set: {', '.join(sorted(missing))} is missing")
            rate = float(file["learning_rate"])
            return cls(
                torch.from_numpy(file["x"]), torch.from_numpy(file["y"]), float(file["mean"]), float(file["scale"]),
                None if np.isnan(rate) else rate, str(file["method"]), tuple(map(str, file["classes"])),
            )  # fmt: skip


def network_for(x: torch.Tensor, classes: int) -> Callable[[int], nn.Module]:
    """The small fully connected network of the room, seed -> module: flattened items through two layers of 128 units."""
    flat = x[0].numel()

    def network(seed: int) -> nn.Module:
        layers = mlp(flat, classes, widths=(128, 128), seed=seed)
        return nn.Sequential(nn.Flatten(), *layers) if x.ndim > 2 else layers

    return network


def evaluate(
    sets: torch.Tensor,
    y: torch.Tensor,
    test: tuple[torch.Tensor, torch.Tensor],
    *,
    network: Callable[[int], nn.Module] | None = None,
    networks: int = 5,
    learning_rate: float | Sequence[float] | None = None,
    steps: int = STEPS,
    seed: int = 0,
) -> torch.Tensor:
    """Test accuracy of fresh networks trained on each set, (sets, networks); all sets and networks in one stacked training.

    Args:
        sets: (sets, items, ...), one set a row; ``y`` (items,) or (sets, items) are their classes.
        test: inputs and classes that no set has seen.
        networks: fresh networks a set; the same for every set, so that sets are compared on equal terms.
        learning_rate: one for all or one a set.
        steps: full-batch steps with momentum, the same for every set.
        seed: of the first network.
    """
    count, networks = len(sets), checks.integer("networks", networks, low=1)
    y = y.expand(count, -1) if y.ndim == 1 else y
    classes = max(int(y.max()), int(test[1].max())) + 1
    network = network or network_for(sets[0], classes)
    models = [network(seed + k) for k in range(networks)] * count
    rates = learning_rate if isinstance(learning_rate, Sequence) else [learning_rate] * count
    x, smaller, bases = _in_own_span(models, sets.repeat_interleave(networks, 0))
    fitted = fit(
        smaller,
        PerModel(x),
        PerModel(y.repeat_interleave(networks, 0)),
        seeds=range(count * networks),
        **_recipe([rate or RATE for rate in rates for _ in range(networks)], steps),
    )
    right = _lifted(fitted, models, bases).predict(test[0]).argmax(2) == test[1]
    return right.double().mean(1).reshape(count, networks)


def _in_own_span(models, x):
    """Items (models, items, ...) and models in coordinates of the items' span, an exact saving where items are fewer than features.

    All gradients of the first weights W lie in the span of the rows of x = C Q, Q orthonormal. Descent from W on x thus moves W Q^T
    as descent from W Q^T does on C, and nothing else of W.
    """
    layers = list(models[0]) if type(models[0]) is nn.Sequential else []
    flat = bool(layers) and type(layers[0]) is nn.Flatten
    items, features = x.shape[1], x[0, 0].numel()
    if len(layers) <= flat or type(layers[flat]) is not nn.Linear or items >= features:
        return x, models, None
    basis = torch.linalg.qr(x.flatten(2).transpose(1, 2)).Q  # (models, features, items)
    smaller = []
    for model, own in zip(models, basis):
        first = model[flat]
        fresh = nn.Linear(items, first.out_features, bias=first.bias is not None, dtype=first.weight.dtype)
        with torch.no_grad():
            fresh.weight.copy_(first.weight @ own)
            if first.bias is not None:
                fresh.bias.copy_(first.bias)
        smaller.append(nn.Sequential(fresh, *copy.deepcopy(list(model)[flat + 1 :])))
    return x.flatten(2) @ basis, smaller, basis


def _lifted(fitted, models, basis):
    """The trained models of :func:`_in_own_span` with first weights for all features again."""
    if basis is None:
        return fitted
    flat = type(models[0][0]) is nn.Flatten
    full = []
    for k, (model, own) in enumerate(zip(models, basis)):
        trained, first = fitted.model(k), copy.deepcopy(model[flat])
        with torch.no_grad():
            first.weight += (trained[0].weight - first.weight @ own) @ own.T
            if first.bias is not None:
                first.bias.copy_(trained[0].bias)
        full.append(nn.Sequential(*list(model)[:flat], first, *list(trained)[1:]).requires_grad_())
    return replace(fitted, stack=Stack(full).requires_grad_(False))


def _recipe(rate, steps=STEPS):
    return {"optimizer": "momentum", "learning_rate": rate or RATE, "epochs": steps, "batch_size": None}


def by_class(y: torch.Tensor) -> list[torch.Tensor]:
    """The places of each class, 0, 1, ..., in order.

    Raises:
        ValueError: a class without items, or classes that are not 0, 1, ...
    """
    if y.is_floating_point() or y.ndim != 1 or int(y.min()) < 0:
        raise ValueError("y must hold integer classes 0, 1, ... on one axis")
    places = [torch.nonzero(y == k).squeeze(1) for k in range(int(y.max()) + 1)]
    empty = [k for k, place in enumerate(places) if not len(place)]
    if empty:
        raise ValueError(
            f"y has no items of class {', '.join(map(str, empty))}; number the classes 0, 1, ... without gaps"
        )
    return places


def random_items(y: torch.Tensor, per_class: int, seeds: Sequence[int]) -> torch.Tensor:
    """Places of ``per_class`` items of each class, drawn without return, (seeds, classes * per_class), class by class."""
    places = by_class(y)
    least = min(map(len, places))
    per_class = checks.integer("per_class", per_class, low=1)
    if per_class > least:
        raise ValueError(f"per_class must be at most {least}, the items of the smallest class, got {per_class}")
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.cat([place[torch.randperm(len(place), generator=generator)[:per_class]] for place in places]))
    return torch.stack(rows)
