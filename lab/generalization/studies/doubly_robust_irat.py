"""Adversarial training with worst-case weights against equal ones and three heuristics, on classes of unequal size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field

from lab import datasets, study, training
from lab.claims import tunes
from lab.generalization.doubly_robust_irat import ARMS, class_accuracy, tail_accuracy, train_stacked
from lab.generalization.stacked import filled, one_of, outputs, stack
from lab.generalization.studies.common import Kept, accuracy, user_points
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

WIDTHS = (64, 64)
RATES = (1e-3, 3e-3, 1e-2, 3e-2)


class Setting(study.Setting):
    """MNIST with classes 5 to 9 rarer than 0 to 4, attacked in the maximum norm."""

    imbalance: float = Field(3.0, ge=1, le=20, title="Images of a frequent over a rare class")
    r: float = Field(1.0, ge=0.1, le=1000, title="Price r of leaving equal weights", json_schema_extra={"step": 0.1})
    epsilon: float = Field(0.08, ge=0.01, le=0.5, title="Strength of the attack", json_schema_extra={"step": 0.01})
    frequent: int = Field(100, ge=4, le=400, title="Images of a frequent class")
    tested: int = Field(400, ge=20, le=1000, title="Test images")
    steps: int = Field(10, ge=1, le=200, title="Steps of the test attack")
    epochs: int = Field(30, ge=1, le=500, title="Epochs")
    size: int = Field(14, ge=7, le=28, title="Side in pixels")

    PROFILES: ClassVar = {
        "smoke": {"frequent": 40, "tested": 200, "steps": 3, "epochs": 10, "epsilon": 0.02},
        "full": {"frequent": 400, "tested": 1000, "steps": 100, "epochs": 100, "size": 28},
    }


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Accuracies (seeds,) by arm: ``clean``, ``pgd``, ``strong`` (right under APGD's cross-entropy and DLR attacks and PGD) and
    its ``tail`` over the worst three classes; ``classes`` (seeds, 10) strong accuracy by class.

    ``weights`` (10,): mean weight of each class's training items for the first "done" model, of mean one.
    """

    seeds: tuple[int, ...]
    clean: dict[str, torch.Tensor]
    pgd: dict[str, torch.Tensor]
    strong: dict[str, torch.Tensor]
    tail: dict[str, torch.Tensor]
    classes: dict[str, torch.Tensor]
    weights: torch.Tensor

    def to_frame(self):
        """One row per arm and seed."""
        import pandas as pd

        names = ("clean", "pgd", "strong", "tail")
        rows = [
            (arm, seed, *(float(getattr(self, name)[arm][i]) for name in names))
            for arm in self.clean
            for i, seed in enumerate(self.seeds)
        ]
        return pd.DataFrame(rows, columns=["arm", "seed", *names])


def unequal(setting: Setting, seeds) -> tuple[torch.Tensor, torch.Tensor]:
    """(seeds, items, pixels) and labels: ``frequent`` images of classes 0 to 4, fewer by the factor ``imbalance`` of the others."""
    points = datasets.load("mnist", size=setting.size, part="train")
    rare = max(1, round(setting.frequent / setting.imbalance))
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        order = torch.stack([torch.randperm(400, generator=generator) for _ in range(10)])  # of each class's images
        counts = [setting.frequent] * 5 + [rare] * 5
        rows.append(torch.cat([order[k, :n] * 10 + k for k, n in enumerate(counts)]))
    places = torch.stack(rows)
    return points.x.flatten(1)[places], points.label[places]


def network(inputs: int, classes: int, seed: int = 0):
    """The classifier of the study."""
    return training.mlp(inputs, classes, widths=WIDTHS, seed=seed)


@study.remembered()
def run(setting: Setting, *, seeds, data=None, control: bool | str = False, progress=None) -> Result:
    """Train every arm for all seeds at once and attack each model.

    ``data``: the user's images or table, scaled to [0, 1]; a quarter is tested. ``control="equal"``: r = 1000, equal weights.
    """
    if data is None:
        x, y = unequal(setting, seeds)
        test: Any = datasets.load("mnist", size=setting.size, part="test")
        tested, label = test.x[: setting.tested].flatten(1), test.label[: setting.tested]
    else:
        x, y, tested, label = _own(data, len(seeds))
    classes = int(max(int(y.max()), int(label.max()))) + 1
    model, r = network(x.shape[2], classes), 1000.0 if control == "equal" else setting.r
    rates = chosen("doubly_robust_irat", "imbalanced", dict.fromkeys(ARMS, RATES))
    found: dict[str, dict] = {name: {} for name in ("clean", "pgd", "strong", "tail", "classes")}
    weights = torch.zeros(classes, dtype=torch.float64)
    for arm in ARMS:
        start = stack([network(x.shape[2], classes, seed) for seed in seeds])
        p = train_stacked(
            model, start, x, y, arm, seeds=seeds, epsilon=setting.epsilon, r=r, epochs=setting.epochs,
            learning_rate=rates[arm], progress=progress,
        )  # fmt: skip
        found["clean"][arm] = accuracy(outputs(model, p, tested), label)
        hits = [_hits(filled(model, one_of(p, k)), tested, label, setting) for k in range(len(seeds))]
        found["pgd"][arm] = torch.stack([one[0].double().mean() for one in hits])
        strong = torch.stack([one[1] for one in hits])
        found["strong"][arm] = strong.double().mean(1)
        found["tail"][arm], found["classes"][arm] = tail_accuracy(strong, label), class_accuracy(strong, label)
        if arm == "done":
            weights = _class_weights(filled(model, one_of(p, 0)), x[0], y[0], setting, r, classes)
    return Result(tuple(seeds), **found, weights=weights)


def _own(data, models):
    data = user_points(data)
    first, second = data.split(0.25, seed=0)
    x, y = first.x.flatten(1), first.label
    return x.expand(models, *x.shape), y.expand(models, -1), second.x.flatten(1), second.label


def _hits(model, x, label, setting):
    """Whether each item is right under PGD, and under both APGD attacks."""
    options = {"epsilon": setting.epsilon, "steps": setting.steps, "seed": 0}
    right = lambda inputs: model(inputs).argmax(1) == label  # noqa: E731
    with torch.no_grad():
        pgd = right(training.pgd(model, x, label, **options))
        losses = ("cross_entropy", "dlr") if len(label.unique()) > 2 else ("cross_entropy",)
        strong = pgd.clone()
        for loss in losses:
            strong &= right(training.apgd(model, x, label, loss=loss, **options))
    return pgd, strong


def _class_weights(model, x, y, setting, r, classes):
    adversarial = training.pgd(model, x, y, epsilon=setting.epsilon, steps=5, seed=0)
    with torch.no_grad():
        weight = torch.softmax(torch.nn.functional.cross_entropy(model(adversarial), y, reduction="none") / r, 0) * len(
            y
        )
    member = torch.nn.functional.one_hot(y, classes).double()
    return weight.double() @ member / member.sum(0).clamp_min(1)


@tunes("doubly_robust_irat")
def tune_rates(progress=None) -> None:
    """Learning rates of every arm by accuracy under PGD on held training images."""
    setting, seeds = Setting.of(), TUNING_SEEDS[:2]
    x, y = unequal(setting, seeds)
    points = datasets.load("mnist", size=setting.size, part="train")
    held, label = points.x[-300:].flatten(1), points.label[-300:]
    model = network(x.shape[2], 10)

    def scores(arm, rates, seeds):
        rows = []
        for rate in rates:
            p = train_stacked(
                model, stack([network(x.shape[2], 10, seed) for seed in seeds]), x, y, arm, seeds=seeds, r=setting.r,
                epsilon=setting.epsilon, epochs=setting.epochs, learning_rate=rate,
            )  # fmt: skip
            values = []
            for k in range(len(seeds)):
                one = filled(model, one_of(p, k))
                moved = training.pgd(one, held, label, epsilon=setting.epsilon, steps=10, seed=0)
                with torch.no_grad():
                    values.append(float((one(moved).argmax(1) == label).double().mean()))
            rows.append(values)
        return rows

    record("doubly_robust_irat", tune("imbalanced", dict.fromkeys(ARMS, RATES), scores, seeds=seeds, progress=progress))
