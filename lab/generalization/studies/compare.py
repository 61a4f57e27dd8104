"""All methods of the room and plain training on one set of domains, at equally many evaluations of the network.

Every arm gets the same grid of learning rates and chooses for each target by accuracy on held items of the sources alone
("training-domain validation" of I. Gulrajani, D. Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021), so that a
user's data are tuned as fairly as the built-in ones. A domain is left out in turn; half of its items are for the oracle, which
trains on them as well, and all arms are judged on the other half.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn
from torch.func import functional_call, grad, vmap

from lab import study, training
from lab.generalization.doubly_robust_irat import attack, tail_accuracy
from lab.generalization.doubly_robust_irat import train_stacked as train_done
from lab.generalization.drm import DRMClassifier, combine, drm_loss
from lab.generalization.gaqat import bytes_of, quantize_layers
from lab.generalization.gaqat import train_stacked as train_gaqat
from lab.generalization.policy_gradient_noise_mask import BetaMaskPolicy, together
from lab.generalization.policy_gradient_noise_mask import train_stacked as train_masked
from lab.generalization.stacked import descend, filled, one_of, stack
from lab.generalization.studies.common import Kept, shifted, tasks, user_domains
from lab.generalization.udim import Classifier
from lab.generalization.udim import train_stacked as train_udim
from lab.training.comparison import best

# of the network, a step: udim takes 2 while it warms up and 5 then; a step of noise mask's fine-tuning takes 1
EVALUATIONS = {"erm": 1, "drm": 1, "udim": 4.4, "doubly robust": 7, "gaqat": 2, "noise mask": 2, "oracle": 1}
RATES, WIDTH = (1e-3, 3e-3, 1e-2, 3e-2), 64


class Setting(study.Setting):
    """MNIST at six angles or in three colours, each left out in turn."""

    shift: Literal["rotated", "coloured"] = Field("rotated", title="Shift")
    size: int = Field(14, ge=7, le=28, title="Side in pixels")
    items: int = Field(900, ge=120, le=5000, title="Images in all")
    budget: int = Field(42, ge=7, le=7000, title="Evaluations of each item")
    epsilon: float = Field(0.05, ge=0.005, le=0.5, title="Strength of the attack", json_schema_extra={"step": 0.005})
    bits: int = Field(4, ge=2, le=8, title="Bits of the quantized network")
    grid: int = Field(4, ge=1, le=8, title="Cells of the noise mask, a side")

    PROFILES: ClassVar = {
        "smoke": {"items": 180, "budget": 7, "shift": "coloured"},
        "full": {"items": 5000, "size": 28, "budget": 700},
    }


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """By arm and (seeds, targets): ``unseen`` accuracy on the left-out domain, its ``tail`` over the worst 30 % of the classes and
    ``robust`` under attack, through the arm's own gradients and through plain training's; ``seen`` on held items of the sources.

    ``rates`` (targets,) are the learning rates chosen; ``bytes`` of the network that answers, ``seconds`` of CPU a network,
    ``evaluations`` of each item; ``notes`` say what was left out.
    """

    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    unseen: dict[str, torch.Tensor]
    tail: dict[str, torch.Tensor]
    robust: dict[str, torch.Tensor]
    seen: dict[str, torch.Tensor]
    rates: dict[str, torch.Tensor]
    bytes: dict[str, int]
    seconds: dict[str, float]
    evaluations: dict[str, int]
    notes: tuple[str, ...]

    def to_frame(self):
        """One row an arm: means over seeds and targets, the spread over seeds, the worst target, and what it costs."""
        import pandas as pd

        rows = [
            {
                "arm": arm, "seen": float(self.seen[arm].mean()), "unseen": float(values.mean()),
                "spread": float(values.mean(1).std()) if len(values) > 1 else float("nan"),
                "worst target": float(values.mean(0).min()), "worst classes": float(self.tail[arm].mean()),
                "under attack": float(self.robust[arm].mean()), "bytes": self.bytes[arm],
                "evaluations": self.evaluations[arm], "CPU seconds": self.seconds[arm],
            }
            for arm, values in self.unseen.items()
        ]  # fmt: skip
        return pd.DataFrame(rows)


def encoder(shape: tuple[int, ...], seed: int) -> nn.Module:
    """Two layers of ReLU on flattened inputs, the same for every arm."""
    inputs = int(torch.Size(shape).numel())
    return nn.Sequential(nn.Flatten(), training.mlp(inputs, WIDTH, widths=(WIDTH,), seed=seed), nn.ReLU())


def network(shape: tuple[int, ...], classes: int, seed: int) -> Classifier:
    """The classifier of every arm but DRM, which has one head a domain on the same encoder."""
    return Classifier(encoder(shape, seed), training.initialize(nn.Linear(WIDTH, classes), seed))


@study.remembered(size=4)
def run(setting: Setting, *, seeds, data=None, control: bool | str = False, progress=None) -> Result:
    """Train every arm on all targets, seeds and rates at once. ``data``: domains, or images, to which the shift is applied."""
    seeds = tuple(seeds)
    made = [
        shifted(setting.shift, setting.size, setting.items, seed)
        if data is None
        else user_domains(data, setting.shift, seed)
        for seed in seeds
    ]
    work = [task for one, seed in zip(made, seeds) for task in tasks(one, seed)]
    shape = tuple(work[0].target.x.shape[1:])
    classes = 1 + max(int(task.targets[:, 0].max()) for task in work)
    classes = max(classes, 1 + max(int(task.target.label.max()) for task in work))
    data_of = _Data(work, shape, len(RATES))
    models = [seed for seed in seeds for _ in range(len(work) // len(seeds) * len(RATES))]
    options = {"seeds": models, "learning_rate": list(RATES) * len(work), "batch_size": 64}
    arms = [arm for arm in EVALUATIONS if arm != "noise mask" or len(shape) == 3]
    found: dict[str, dict] = {name: {} for name in ("unseen", "tail", "robust", "seen", "rates", "bytes", "seconds")}
    spent = {}
    for place, arm in enumerate(arms):
        began = time.process_time()
        epochs = max(1, round(setting.budget / EVALUATIONS[arm]))
        model, p = _trained(arm, setting, data_of, shape, classes, epochs, options)
        found["seconds"][arm] = (time.process_time() - began) / len(models)
        spent[arm] = round(epochs * EVALUATIONS[arm])
        packed = bytes_of(model)[0] if arm == "gaqat" else 4 * sum(value.numel() for value in model.parameters())
        found["bytes"][arm] = packed
        for name, values in _judged(model, p, data_of, setting, len(seeds)).items():
            found[name][arm] = values
        if progress is not None:
            progress(place + 1, len(arms))
    notes = [*made[0].notes] if data is not None else []
    if data is not None and len({len(part) for part in made[0]}) > 1:
        least = min(map(len, made[0]))
        notes.append(
            f"domains have equally many items here: {least} of each, the fewest of any; the others are left out"
        )
    if len(shape) != 3:
        notes.append("no arm 'noise mask': masks are made for images")
    return Result(made[0].names, seeds, **found, evaluations=spent, notes=tuple(notes))


class _Data:
    """The tasks' items with a leading axis of models, one a task and rate."""

    def __init__(self, work, shape, rates):
        self.work, self.rates = work, rates
        many = lambda values: torch.stack(values).repeat_interleave(rates, 0)  # noqa: E731
        self.x, self.y = many([task.x.unflatten(1, shape) for task in work]), many([task.targets for task in work])
        half = len(work[0].target) // 2
        targets = [(task.target.x, task.target.label) for task in work]
        self.extra = many([x[:half] for x, _ in targets]), many([y[:half] for _, y in targets])
        self.tested = many([x[half:] for x, _ in targets]), many([y[half:] for _, y in targets])
        self.held = (
            many([torch.cat([part.x for part in task.held]) for task in work]),
            many([torch.cat([part.label for part in task.held]) for task in work]),
        )
        self.domains = len(work[0].held)
        self.plain = (
            None  # items attacked through plain training's networks: gradients that vanish hide nothing from these
        )


def _trained(arm, setting, data, shape, classes, epochs, options):
    """``(model, stacked parameters)`` of an arm."""
    x, label = data.x, data.y[..., 0]
    seeds = options["seeds"]
    if arm == "drm":
        heads = [DRMClassifier(encoder(shape, seed), WIDTH, data.domains, classes, seed=seed) for seed in seeds]
        loss = lambda model: lambda p, x, y: drm_loss(functional_call(model, p, (x,)), y[:, 0], y[:, 1]).mean()  # noqa: E731
        return heads[0], _descended(heads, loss, x, data.y, epochs, options)
    nets = [network(shape, classes, seed) for seed in seeds]
    start, model = stack(nets), nets[0]
    if arm in ("erm", "oracle"):
        if arm == "oracle":
            x, label = torch.cat([x, data.extra[0]], 1), torch.cat([label, data.extra[1]], 1)
        loss = lambda model: lambda p, x, y: F.cross_entropy(functional_call(model, p, (x,)), y)  # noqa: E731
        return model, _descended(nets, loss, x, label, epochs, options)
    if arm == "udim":
        return model, train_udim(model, start, x, label, "udim", epochs=epochs, **options)
    if arm == "doubly robust":
        return model, train_done(model, start, x, label, "done", epochs=epochs, epsilon=setting.epsilon, **options)
    if arm == "noise mask":
        policies = [BetaMaskPolicy(setting.grid, shape[0], seed=seed) for seed in seeds]
        parts = {
            "epochs": max(1, epochs - epochs // 5),
            "tuning_epochs": 2 * (epochs // 5),
        }  # a clean epoch is half as dear
        return model, train_masked(model, policies[0], together(nets, policies), x, label, **parts, **options)[0]
    floats, _ = train_gaqat(model, start, x, label, freeze="none", epochs=max(1, epochs // 2), **options)
    few = [quantize_layers(filled(model, one_of(floats, k)), x[k, :256], setting.bits) for k in range(len(seeds))]
    return few[0], train_gaqat(few[0], stack(few), x, label, epochs=max(1, epochs - epochs // 2), **options)[0]


def _descended(nets, loss, x, y, epochs, options):
    slope = vmap(grad(loss(nets[0])))
    return descend(stack(nets), lambda p, x, y, number: slope(p, x, y), x, y, epochs=epochs, **options)


def _judged(model, p, data, setting, seeds):
    """All accuracies (seeds, targets) at the rates that held items of the sources choose."""

    def scores(p, x):
        logits = functional_call(model, p, (x,))
        return combine(logits).clamp_min(1e-30).log() if logits.ndim == 3 else logits

    def rows(p, x, y):
        return F.cross_entropy(scores(p, x), y, reduction="none")

    def attacked(p, x, y):
        return attack(lambda z: rows(p, z, y), x, torch.zeros_like(x), epsilon=setting.epsilon, c=0.0, steps=10)[0]

    x, y = data.tested
    moved = x + vmap(attacked)(p, x, y)
    data.plain = moved if data.plain is None else data.plain  # plain training comes first

    shape = (seeds, len(data.work) // seeds, data.rates)
    right = lambda x, y: vmap(scores)(p, x).detach().argmax(-1) == y  # noqa: E731
    held = right(*data.held).double().mean(1).view(shape)
    chosen = torch.tensor([best(held[:, k].T.numpy()) for k in range(shape[1])])
    places = torch.arange(len(x)).view(shape)[:, torch.arange(shape[1]), chosen]
    clean = right(x, y)
    robust = (clean & right(moved, y) & right(data.plain, y)).double().mean(1)
    tail = torch.stack([tail_accuracy(one, label) for one, label in zip(clean, y)])
    values = {"unseen": clean.double().mean(1), "tail": tail, "robust": robust, "seen": held.flatten()}
    return {name: one[places] for name, one in values.items()} | {"rates": torch.tensor(RATES)[chosen]}
