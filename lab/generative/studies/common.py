"""What the studies of the room share: point sets with a truth where there is one, digits, results with a file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Self

import torch

from lab import datasets
from lab.generative.mixtures import GaussianMixture
from lab.training import fit, mlp


class Kept:
    """Results that stand in a file: tensors, numbers, words and dictionaries of them."""

    def save(self, path: str | Path) -> None:
        """Write the result."""
        torch.save({field.name: getattr(self, field.name) for field in fields(self)}, Path(path))  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What :meth:`save` wrote; no code is run from the file."""
        return cls(**torch.load(Path(path), weights_only=True))


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points to learn from and held-out ones, standardized; ``truth`` is their law where it is known."""

    train: torch.Tensor
    test: torch.Tensor
    truth: GaussianMixture | None
    name: str


def cloud(name: str, data=None, count: int = 4000) -> Cloud:
    """ "ring" (eight Gaussians, law known), "moons", or the user's points, of which half is held out.

    Raises:
        ValueError: own data that are not points of 2 to 64 coordinates.
    """
    if data is None and name == "ring":
        truth = GaussianMixture.ring()
        return Cloud(truth.sample(count, 71), truth.sample(count, 72), truth, name)
    if data is None:
        from sklearn.datasets import make_moons

        x = torch.from_numpy(make_moons(2 * count, noise=0.08, random_state=0)[0])
    else:
        x, name = points_of(data), "own points"
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))].double()
    centred = x - x.mean(0)
    x = centred / centred.square().mean().sqrt().clamp_min(1e-12)
    return Cloud(x[: len(x) // 2], x[len(x) // 2 :], None, name)


def points_of(data, largest: int = 64) -> torch.Tensor:
    """The numbers of a table or point set, (items, d)."""
    if isinstance(data, datasets.Points):
        x = data.x.flatten(1).double()
    elif isinstance(data, datasets.Table):
        x = data.numeric()[0].double()
    else:
        x = torch.as_tensor(data).double()
    if x.ndim != 2 or not 1 <= x.shape[1] <= largest or len(x) < 20:
        raise ValueError(f"data must be at least 20 points of 1 to {largest} coordinates, got shape {tuple(x.shape)}")
    return x


@dataclass(frozen=True, eq=False)
class Images:
    """Standardized images, flat: ``x`` (items, d) and classes ``y`` to learn from and to be tested on; pixel = mean + scale x.
    ``levels`` of grey in the file."""

    x: torch.Tensor
    y: torch.Tensor
    test: torch.Tensor
    test_y: torch.Tensor
    mean: float
    scale: float
    shape: tuple[int, ...]
    classes: int
    levels: int

    def judge(self, x: torch.Tensor) -> torch.Tensor:
        """Class probabilities (..., classes) of images (..., d) by a network trained on the clean images."""
        return judged(self).predict(x.reshape(-1, x.shape[-1]).float())[0].softmax(-1).reshape(*x.shape[:-1], -1)


@lru_cache(maxsize=3)
def images(name: str = "digits") -> Images:
    """ "digits" (8 x 8) or "mnist" (14 x 14), a fifth held out."""
    found = datasets.load("digits") if name == "digits" else datasets.load("mnist", size=14)
    return images_of(found)


def images_of(found) -> Images:
    """A classification set of small images, such as ``load(folder)`` gives."""
    if not isinstance(found, datasets.Points) or found.label is None:
        raise ValueError("data must be a classification set of images, such as a folder of class folders")
    x, y = found.x.flatten(1).float(), found.label.long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held, rest = order[: len(x) // 5], order[len(x) // 5 :]
    levels = 17 if found.x.shape[-1] == 8 and bool((x * 16 == (x * 16).round()).all()) else 256
    mean, scale = float(x[rest].mean()), float(x[rest].std())
    x = (x - mean) / scale
    return Images(x[rest], y[rest], x[held], y[held], mean, scale, tuple(found.x.shape[1:]), int(y.max()) + 1, levels)


@lru_cache(maxsize=3)
def judged(where: Images):
    """The network of :meth:`Images.judge`."""
    options = {"epochs": 30, "batch_size": 64, "learning_rate": 2e-3, "weight_decay": 1e-4, "optimizer": "adamw"}
    return fit(
        lambda seed: mlp(where.x.shape[1], where.classes, widths=(128,), seed=seed),
        where.x,
        where.y,
        seeds=[900],
        **options,
    )


def shown(values: dict[str, torch.Tensor]) -> dict:
    """Mean and spread over seeds for the details of a measurement."""
    return {
        name: [round(float(one.mean()), 4), round(float(one.std()), 4) if one.numel() > 1 else None]
        for name, one in values.items()
    }


def table(values: dict[str, torch.Tensor], what: str):
    """One row an arm: mean over seeds and its spread."""
    import pandas as pd

    rows = [
        {"arm": arm, what: float(v.mean()), "spread": float(v.std()) if v.numel() > 1 else float("nan")}
        for arm, v in values.items()
    ]
    return pd.DataFrame(rows)
