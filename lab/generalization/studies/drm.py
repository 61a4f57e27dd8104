"""Heads by domain against one head for all, on domains that were seen and on one that was not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from lab import study, training
from lab.claims import tunes
from lab.generalization.drm import ESTIMATORS, adapt_heads, combine, drm_loss, gap_estimates
from lab.generalization.studies.common import (
    RATES,
    Kept,
    Task,
    accuracy,
    rank_correlation,
    shifted,
    tasks,
    user_domains,
)
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

ARMS = ("erm", "drm", "coral", "drm + coral")
RULES = ("soft", "hard", "uniform", "all", "soft by sample", "permuted", "best head")
WIDTHS = (128, 64)


class Setting(study.Setting):
    """MNIST in three colours or six angles, an encoder of two layers, one domain left out in turn."""

    shift: Literal["coloured", "rotated"] = Field("coloured", title="Shift")
    size: int = Field(14, ge=7, le=28, title="Side in pixels")
    items: int = Field(3000, ge=120, le=5000, title="Images in all")
    epochs: int = Field(20, ge=1, le=500, title="Epochs")
    power: float = Field(2.0, ge=0, le=10, title="Power of the weights", json_schema_extra={"step": 0.5})
    penalty: float = Field(1.0, ge=0, le=100, title="Weight of CORAL")
    beta: float = Field(0.8, ge=0, le=1, title="Confidence that counts")

    PROFILES: ClassVar = {
        "smoke": {"items": 450, "epochs": 12, "beta": 0.5},
        "full": {"items": 5000, "size": 28, "epochs": 100},
    }


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Accuracies (seeds, targets): ``seen`` on held items of the sources, ``unseen`` on the target, by arm and rule.

    ``correlation`` of each gap estimate with the heads' target errors, ``permuted`` of each with its neighbours'; ``adapted``
    online accuracy on the target with and without adaptation; ``entropy`` and ``heads`` (seeds, targets, heads) mean entropy
    and target accuracy of each domain head.
    """

    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    seen: dict[str, torch.Tensor]
    unseen: dict[str, torch.Tensor]
    correlation: dict[str, torch.Tensor]
    permuted: dict[str, torch.Tensor]
    adapted: dict[str, torch.Tensor]
    entropy: torch.Tensor
    heads: torch.Tensor

    def to_frame(self):
        """One row per rule, target and seed: accuracy on seen domains and on the target."""
        import pandas as pd

        rows = [
            (name, target, seed, float(self.seen[name][i, j]), float(self.unseen[name][i, j]))
            for name in self.seen
            for j, target in enumerate(self.targets)
            for i, seed in enumerate(self.seeds)
        ]
        return pd.DataFrame(rows, columns=["rule", "target", "seed", "seen", "unseen"])


class _Traced(nn.Module):
    """Features and logits in one row, (n, features + heads * classes)."""

    def __init__(self, inputs, heads, classes, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.encoder = nn.Sequential(training.mlp(inputs, WIDTHS[1], widths=WIDTHS[:1], seed=generator), nn.ReLU())
        self.heads = training.initialize(nn.Linear(WIDTHS[1], heads * classes), generator)

    def forward(self, x):
        z = self.encoder(x)
        return torch.cat([z, self.heads(z)], -1)


def coral(z: torch.Tensor, domain: torch.Tensor, count: int) -> torch.Tensor:
    """Mean squared difference of means and covariances of features between pairs of domains (B. Sun, K. Saenko 2016)."""
    masks = F.one_hot(domain, count).to(z.dtype)
    shares = masks / masks.sum(0).clamp_min(1.0)
    means = shares.T @ z
    covariances = torch.einsum("nd,nf,ng->dfg", shares, z, z) - means[:, :, None] * means[:, None, :]
    first, second = torch.triu_indices(count, count, 1)
    apart = (means[first] - means[second]).square().mean() + (covariances[first] - covariances[second]).square().mean()
    return apart


def _loss(arm: str, domains: int, classes: int, penalty: float):
    heads = domains + 1 if arm.startswith("drm") else 1

    def rows(out, target):
        logits = out[..., WIDTHS[1] :].unflatten(-1, (heads, classes))
        if heads == 1:
            return F.cross_entropy(logits[:, 0], target[:, 0], reduction="none")
        return drm_loss(logits, target[:, 0], target[:, 1])

    def penalized(out, target):
        return rows(out, target).mean() + penalty * coral(out[:, : WIDTHS[1]], target[:, 1], domains)

    setattr(rows, "reduction", "none")  # noqa: B010 - what says that a loss gives one value per item
    return heads, penalized if arm.endswith("coral") else rows


def fitted(arm: str, work: list[Task], seeds, rates, epochs: int, classes: int, penalty: float = 1.0, progress=None):
    """All tasks at once, one model each."""
    domains = len(work[0].held)
    heads, loss = _loss(arm, domains, classes, penalty)
    inputs = work[0].x.shape[1]
    return training.fit(
        [_Traced(inputs, heads, classes, seed) for seed in seeds],
        training.PerModel(torch.stack([task.x for task in work])),
        training.PerModel(torch.stack([task.targets for task in work])),
        seeds=seeds, loss=loss, epochs=epochs, batch_size=64, learning_rate=rates, progress=progress,
    )  # fmt: skip


@study.remembered()
def run(setting: Setting, *, seeds, data=None, control: bool | str = False, progress=None) -> Result:
    """Train every arm on all targets and seeds at once and evaluate every rule.

    ``data``: the user's domains (the setting's shift is then not used), or images, which are shifted. ``control="shuffled"``:
    pseudo-labels of the adaptation are permuted within their batch.
    """
    made = [
        shifted(setting.shift, setting.size, setting.items, seed)
        if data is None
        else user_domains(data, setting.shift, seed)
        for seed in seeds
    ]
    work = [task for one, seed in zip(made, seeds) for task in tasks(one, seed)]
    names, classes = made[0].names, int(max(int(task.target.label.max()) for task in work)) + 1
    runs = [seed for seed in seeds for _ in names]
    rates = _rates(setting.shift)
    models = {
        arm: fitted(arm, work, runs, rates[arm], setting.epochs, classes, setting.penalty, progress) for arm in ARMS
    }
    found = [_evaluated(setting, k, task, models, classes, control) for k, task in enumerate(work)]

    def gathered(part):
        return {
            name: torch.stack([one[part][name] for one in found]).reshape(len(seeds), len(names))
            for name in found[0][part]
        }

    def heads(name):
        return torch.stack([one[name] for one in found]).reshape(len(seeds), len(names), -1)

    return Result(
        names, tuple(seeds), gathered("seen"), gathered("unseen"), gathered("correlation"), gathered("permuted"),
        gathered("adapted"), heads("entropy"), heads("heads"),
    )  # fmt: skip


def _evaluated(setting, k, task, models, classes, control):
    """All accuracies of one task by its models."""

    def outputs(arm, x):
        out = models[arm].model(k)(x.flatten(1))
        return out[:, : WIDTHS[1]], out[:, WIDTHS[1] :].unflatten(-1, (-1, classes))

    with torch.no_grad():
        seen = {name: [] for name in (*ARMS[::2], *RULES, "drm + coral")}
        for part in task.held:
            for name, p in _answers(outputs, part.x, part.label, setting.power).items():
                seen[name].append(accuracy(p, part.label))
        answers = _answers(outputs, task.target.x, task.target.label, setting.power)
        unseen = {name: accuracy(p, task.target.label) for name, p in answers.items()}
        z, logits = outputs("drm", task.target.x)
        source, _ = outputs("drm", task.x)
        own = torch.stack([accuracy(logits[:, i], task.target.label) for i in range(logits.shape[1] - 1)])
        gaps = gap_estimates(logits, z, source, task.targets[:, 1])
        model = models["drm"].model(k)
        order = torch.Generator().manual_seed(k)
        shuffle = torch.Generator().manual_seed(k) if control == "shuffled" else None
        parts = {"before": [], "after": []}
        for _ in range(3):  # orders of arrival
            rows = torch.randperm(len(z), generator=order)
            for name, rate in (("before", 0.0), ("after", 0.05)):
                p, _, _ = adapt_heads(
                    model.heads.weight, model.heads.bias, z[rows], classes, beta=setting.beta, learning_rate=rate,
                    power=setting.power, shuffle=shuffle,
                )  # fmt: skip
                parts[name].append(accuracy(p, task.target.label[rows]))
    return {
        "seen": {name: torch.stack(values).mean() for name, values in seen.items()},
        "unseen": unseen,
        "correlation": {name: rank_correlation(gaps[name], 1 - own) for name in ESTIMATORS},
        "permuted": {name: rank_correlation(gaps[name].roll(1), 1 - own) for name in ESTIMATORS},
        "adapted": {name: torch.stack(values).mean() for name, values in parts.items()},
        "entropy": gaps["entropy"],
        "heads": own,
    }


def _answers(outputs, x, label, power):
    """Class probabilities of every arm and rule on one domain."""
    found = {arm: outputs(arm, x)[1][:, -1] for arm in ("erm", "coral")}
    _, logits = outputs("drm", x)
    for rule in RULES[:4]:
        found[rule] = combine(logits, rule=rule, power=power)
    found["soft by sample"] = combine(logits, scope="sample", power=power)
    p = torch.softmax(logits[:, :-1], -1)
    gap = -(p * p.clamp_min(1e-30).log()).sum(-1).mean(0)
    found["permuted"] = combine(logits, power=power, gap=gap.roll(1))
    best = torch.stack([accuracy(p[:, i], label) for i in range(p.shape[1])]).argmax()
    found["best head"] = p[:, best]
    found["drm + coral"] = combine(outputs("drm + coral", x)[1], power=power)
    return found


def _rates(shift):
    return chosen("drm", shift, dict.fromkeys(ARMS, RATES))


@tunes("drm")
def tune_rates(progress=None) -> None:
    """Learning rates of every arm by accuracy on the sources' held items."""
    found = []
    for shift in ("coloured", "rotated"):
        setting = Setting.of(shift=shift)
        seeds = TUNING_SEEDS[:2]
        work = [task for seed in seeds for task in tasks(shifted(shift, setting.size, setting.items, seed), seed)]
        each = len(work) // len(seeds)
        classes = int(max(int(task.target.label.max()) for task in work)) + 1

        def scores(arm, rates, seeds=seeds, work=work, each=each, classes=classes, setting=setting):
            runs = [seed for seed in seeds for _ in range(each)]
            rows = []
            for rate in rates:
                models = fitted(arm, work, runs, rate, setting.epochs, classes, setting.penalty)
                held = []
                for k, task in enumerate(work):
                    model, values = models.model(k), []
                    for part in task.held:
                        with torch.no_grad():
                            logits = model(part.x.flatten(1))[:, WIDTHS[1] :].unflatten(-1, (-1, classes))
                        values.append(accuracy(combine(logits), part.label))
                    held.append(torch.stack(values).mean())
                rows.append(torch.stack(held).reshape(len(seeds), each).mean(1).numpy())
            return rows

        found.append(tune(shift, dict.fromkeys(ARMS, RATES), scores, seeds=seeds, progress=progress))
    record("drm", *found)
