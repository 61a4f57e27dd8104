"""Sharpness-aware training with and without crafted domains, from one source or three, on shifts that nobody trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch.func import functional_call

from lab import datasets, study
from lab.claims import tunes
from lab.datasets.domains import blurred, coloured, contrast, inverted, noisy, rotated
from lab.generalization.stacked import one_of, outputs, stack
from lab.generalization.studies.common import RATES, Kept, accuracy, has_domains, user_domains, user_points
from lab.generalization.udim import ARMS, craft, inconsistency, small_classifier, train_stacked
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

TARGETS = (rotated(25), rotated(-25), noisy(0.35), blurred(1.0), contrast(0.3))
SHIFTS = {
    "mixed": TARGETS,
    "rotated": tuple(rotated(angle) for angle in (15, 30, 45, 60, 75)),
    "coloured": (coloured(0.2), coloured(0.9)),  # the source is that of flip .1
    "corrupted": (noisy(0.35), blurred(1.0), contrast(0.3), inverted()),
}
SOURCES = {"one": (rotated(0),), "three": (rotated(0), rotated(20), rotated(40))}
HELD = 400  # items of the test part that tune, craft and align; the others are shifted and tested


class Setting(study.Setting):
    """MNIST upright or at three angles, tested turned, noisy, blurred and pale."""

    sources: Literal["one", "three"] = Field("one", title="Source domains")
    shift: Literal["mixed", "rotated", "coloured", "corrupted"] = Field("mixed", title="Shifts of the test images")
    size: int = Field(14, ge=7, le=28, title="Side in pixels")
    items: int = Field(1200, ge=60, le=4000, title="Images in all")
    epochs: int = Field(15, ge=1, le=500, title="Epochs")
    rho: float = Field(0.05, ge=0, le=1, title="Radius rho in the weights", json_schema_extra={"step": 0.01})
    eta: float = Field(2.0, ge=0, le=6, title="Radius eta in the images", json_schema_extra={"step": 0.25})
    weight: float = Field(1.0, ge=0, le=10, title="Weight of the penalty", json_schema_extra={"step": 0.25})

    PROFILES: ClassVar = {"smoke": {"items": 120, "epochs": 2}, "full": {"items": 4000, "size": 28, "epochs": 100}}


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Accuracies (seeds, targets) by arm, the first column the source itself.

    ``inconsistency`` (seeds,) by arm: variance part of I on held items and their crafted twins; ``rise`` (seeds, 3): mean rise of
    the loss of the SAM model on crafted images, on images moved as far at random, and on images moved against the gradient.
    ``images`` (6, 2, side, side): held images and their crafted twins for the first SAM model.
    """

    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    accuracy: dict[str, torch.Tensor]
    inconsistency: dict[str, torch.Tensor]
    rise: torch.Tensor
    images: torch.Tensor

    def to_frame(self):
        """One row per arm, target and seed."""
        import pandas as pd

        rows = [
            (arm, target, seed, float(values[i, j]))
            for arm, values in self.accuracy.items()
            for j, target in enumerate(self.targets)
            for i, seed in enumerate(self.seeds)
        ]
        return pd.DataFrame(rows, columns=["arm", "target", "seed", "accuracy"])

    def shifted(self, arm: str) -> torch.Tensor:
        """Mean accuracy over the shifted targets, (seeds,)."""
        return self.accuracy[arm][:, 1:].mean(1)


def sources(setting: Setting, seeds) -> tuple[torch.Tensor, torch.Tensor]:
    """(seeds, items, pixels) and labels: the source domains of every seed, equally many items of each."""
    points = datasets.load("mnist", size=setting.size, part="train")
    xs, ys = [], []
    for seed in seeds:
        shifts = (coloured(0.1),) if setting.shift == "coloured" else SOURCES[setting.sources]
        rows = torch.randperm(4000, generator=torch.Generator().manual_seed(seed))[: setting.items]
        rows = rows[: len(rows) // len(shifts) * len(shifts)]
        parts = [
            datasets.Points(points.x[part], points.label[part], "mnist", points.classes)
            for part in rows.chunk(len(shifts))
        ]
        made = [shift(part, seed=seed) for shift, part in zip(shifts, parts)]
        xs.append(torch.cat([part.x for part in made]).flatten(1))
        ys.append(torch.cat([part.label for part in made]))
    return torch.stack(xs), torch.stack(ys)


def _held(setting, data):
    """``(tuning, crafting items, {target: items})``."""
    if data is None:
        test = datasets.load("mnist", size=setting.size, part="test")
        held, rest = (
            datasets.Points(test.x[k], test.label[k], "mnist", test.classes) for k in (slice(HELD), slice(HELD, None))
        )
        own = coloured(0.1) if setting.shift == "coloured" else rotated(0)
        targets = {"source": own(rest, seed=1)} | {shift.name: shift(rest, seed=1) for shift in SHIFTS[setting.shift]}
        held = own(held, seed=2)
        return held.x.flatten(1), held.label, targets
    half, others = _own(data)[1:]
    return half.x.flatten(1), half.label, {"source": half} | {part.name: part for part in others}


def _own(data):
    """``(training half, held half, others)`` of the user's first domain; of images without domains the held half is shifted."""
    if has_domains(data):
        source, *others = user_domains(data)
        first, second = source.split(0.5, seed=0)
    else:
        first, second = user_points(data, images=True).split(0.5, seed=0)
        others = [shift(second, seed=1) for shift in TARGETS]
    return first, second, others


@study.remembered()
def run(setting: Setting, *, seeds, data=None, control: bool | str = False, progress=None) -> Result:
    """Train every arm for all seeds at once. ``data``: the user's domains, the first the source, or images."""
    if data is None:
        x, y = sources(setting, seeds)
    else:
        part = _own(data)[0]
        x, y = part.x.flatten(1).expand(len(seeds), -1, -1), part.label.expand(len(seeds), -1)
    held, label, targets = _held(setting, data)
    classes = int(max(int(one.label.max()) for one in targets.values())) + 1
    network = small_classifier(x.shape[2], classes)
    rates = chosen("udim", "one", dict.fromkeys(ARMS, RATES))
    trained = {}
    for arm in ARMS:
        start = stack([small_classifier(x.shape[2], classes, seed) for seed in seeds])
        trained[arm] = train_stacked(
            network, start, x, y, arm, seeds=seeds, epochs=setting.epochs, learning_rate=rates[arm], rho=setting.rho,
            eta=setting.eta, weight=setting.weight, progress=progress,
        )  # fmt: skip
    found = {
        arm: torch.stack([accuracy(outputs(network, p, one.x.flatten(1)), one.label) for one in targets.values()], 1)
        for arm, p in trained.items()
    }
    aligned = {
        arm: torch.stack([_apart(network, one_of(p, k), held, label, setting) for k in range(len(seeds))])
        for arm, p in trained.items()
    }
    rises, images = zip(*(_rise(network, one_of(trained["sam"], k), held, label, setting) for k in range(len(seeds))))
    side = round(x.shape[2] ** 0.5)
    pictures = images[0] if side * side == x.shape[2] else torch.zeros(0, 2, side * side)
    return Result(
        tuple(targets), tuple(seeds), found, aligned, torch.stack(rises), pictures.reshape(len(pictures), 2, side, side)
    )


def _loss(network, label):
    return lambda p, x: F.cross_entropy(functional_call(network, p, (x,)), label)


def _apart(network, p, held, label, setting):
    moved = craft(_loss(network, label), p, held, setting.rho, setting.eta)
    with torch.no_grad():
        one, two = (functional_call(network, p, (x,), {"features": True}) for x in (held, moved))
        return inconsistency(*one, *two, label)[0].double()


def _rise(network, p, held, label, setting):
    loss = _loss(network, label)
    up = craft(loss, p, held, setting.rho, setting.eta)
    down = craft(loss, p, held, setting.rho, -setting.eta)
    random = torch.randn(held.shape, generator=torch.Generator().manual_seed(0))
    random = held + setting.eta * random / random.norm(dim=1, keepdim=True)
    with torch.no_grad():
        rise = torch.stack([loss(p, x) - loss(p, held) for x in (up, random, down)])
    return rise.double(), torch.stack([held[:6], up[:6]], 1)


@tunes("udim")
def tune_rates(progress=None) -> None:
    """Learning rates of every arm by accuracy on held items of the source."""
    setting, seeds = Setting.of(), TUNING_SEEDS[:2]
    x, y = sources(setting, seeds)
    held, label, _ = _held(setting, None)
    network = small_classifier(x.shape[2], 10)

    def scores(arm, rates, seeds):
        rows = []
        for rate in rates:
            start = stack([small_classifier(x.shape[2], 10, seed) for seed in seeds])
            p = train_stacked(
                network, start, x, y, arm, seeds=seeds, epochs=setting.epochs, learning_rate=rate, eta=setting.eta
            )
            rows.append(accuracy(outputs(network, p, held), label).numpy())
        return rows

    record("udim", tune("one", dict.fromkeys(ARMS, RATES), scores, seeds=seeds, progress=progress))
