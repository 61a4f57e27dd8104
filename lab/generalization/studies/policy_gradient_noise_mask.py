"""Pre-training under proposed, uniform and no masks on three kinds of images, and on classes that were kept away."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn
from torch.func import functional_call, vmap

from lab import datasets, study, training
from lab.claims import tunes
from lab.generalization.policy_gradient_noise_mask import BetaMaskPolicy, together, train_stacked
from lab.generalization.stacked import outputs
from lab.generalization.studies.common import Kept, accuracy, user_points
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

ARMS = ("none", "uniform", "split", "permuted", "coded")
DECAY, WIDTHS, RATES, UNSEEN = 1e-3, (128, 64), (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), (7, 8, 9)


class Setting(study.Setting):
    """Digits, textures and faces at 8 x 8 pixels, or digits alone, three digits kept for the transfer; or patches of stained tissue
    and of cells, with those of a retina for the transfer."""

    kinds: Literal["three", "one", "biomedical"] = Field("three", title="Kinds of images")
    grid: int = Field(4, ge=1, le=8, title="Cells a side")
    items: int = Field(600, ge=60, le=3000, title="Training images")
    epochs: int = Field(25, ge=1, le=500, title="Epochs under masks")
    tuning_epochs: int = Field(5, ge=0, le=500, title="Epochs of fine-tuning")

    PROFILES: ClassVar = {
        "smoke": {"items": 150, "epochs": 4, "tuning_epochs": 1},
        "full": {"items": 3000, "epochs": 200, "tuning_epochs": 30, "grid": 8},
    }


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """By arm (seeds,): ``accuracy`` on fresh images, ``transfer`` of a ridge probe to unseen classes; ``decayed`` accuracy of
    "none" and "uniform" with weight decay; ``met`` loss of the policy's classifier under masks of the policy and uniform ones.

    ``spread`` (seeds,) standard deviation over images of the proposed means; ``images`` and ``masks`` (8, side, side) of the first
    seed, ``alpha`` and ``beta`` (grid, grid) their mean Beta parameters; ``sizes`` numbers of parameters of classifier and policy.
    """

    seeds: tuple[int, ...]
    sizes: tuple[int, ...]
    accuracy: dict[str, torch.Tensor]
    transfer: dict[str, torch.Tensor]
    decayed: dict[str, torch.Tensor]
    met: dict[str, torch.Tensor]
    spread: torch.Tensor
    images: torch.Tensor
    masks: torch.Tensor
    alpha: torch.Tensor
    beta: torch.Tensor

    def to_frame(self):
        """One row per arm and seed."""
        import pandas as pd

        rows = [
            (arm, seed, float(self.accuracy[arm][i]), float(self.transfer[arm][i]))
            for arm in self.accuracy
            for i, seed in enumerate(self.seeds)
        ]
        return pd.DataFrame(rows, columns=["arm", "seed", "accuracy", "transfer"])


@lru_cache(maxsize=2)
def _pool(kinds):
    """``(x, label of the seen classes, unseen x, unseen label)`` at 8 x 8 pixels."""
    if kinds == "biomedical":
        tissue, cells, retina = (_patches(name) for name in ("immunohistochemistry", "cell", "retina"))
        return torch.cat([tissue[0], cells[0]]), torch.cat([tissue[1], cells[1] + 2]), *retina
    digits = datasets.load("digits")
    away = torch.isin(digits.label, torch.tensor(UNSEEN))
    xs, ys = [digits.x[~away]], [digits.label[~away]]
    if kinds == "three":
        textures, faces = datasets.textures(600, size=8, seed=0), datasets.load("faces")
        xs += [textures.x, F.interpolate(faces.x, size=(8, 8), mode="area")]
        ys += [textures.label + 7, faces.label + 10]
    return torch.cat(xs), torch.cat(ys), digits.x[away], digits.label[away] - 7


def _patches(name, most=200):
    """Patches of 16 x 16 pixels that do not overlap, averaged to 8 x 8: (items, 1, 8, 8), and 1 where structure was marked.

    A patch counts where a fifth of it is marked or nothing; equally many of both, drawn once.
    """
    image = datasets.load(name)
    cut = lambda values: F.unfold(values.float()[None, None], 16, stride=16)[0].T  # noqa: E731
    x, share = cut(image.image), cut(image.mask).mean(1)
    marked, plain = torch.nonzero(share >= 0.2).flatten(), torch.nonzero(share == 0).flatten()
    generator = torch.Generator().manual_seed(0)
    count = min(len(marked), len(plain), most)
    rows = torch.cat([part[torch.randperm(len(part), generator=generator)[:count]] for part in (plain, marked)])
    return F.avg_pool2d(x[rows].view(-1, 1, 16, 16), 2), torch.arange(2).repeat_interleave(count)


def network(inputs: int, classes: int, seed: int = 0) -> nn.Module:
    """The classifier of the study."""
    return nn.Sequential(nn.Flatten(), training.mlp(inputs, classes, widths=WIDTHS, seed=seed))


@study.remembered()
def run(setting: Setting, *, seeds, data=None, control: bool | str = False, progress=None) -> Result:
    """Train every arm for all seeds. ``data``: the user's images; the last third of their classes, at least two, are unseen."""
    x, y, away, truth = _pool(setting.kinds) if data is None else _own(data)
    orders = [torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    count = min(setting.items, len(x) * 2 // 3)
    train = torch.stack([order[:count] for order in orders])
    fresh = torch.stack([order[count : count + 500] for order in orders])
    classes, inputs = int(y.max()) + 1, x[0].numel()
    model, policy = network(inputs, classes), BetaMaskPolicy(setting.grid, x.shape[1])
    rates = chosen("policy_gradient_noise_mask", "modes", dict.fromkeys(ARMS, RATES))
    found: dict[str, Any] = {"accuracy": {}, "transfer": {}, "decayed": {}}
    for arm, decay in [(arm, 0.0) for arm in ARMS] + [("none", DECAY), ("uniform", DECAY)]:
        p, q, base = _trained(setting, arm, x[train], y[train], seeds, rates[arm], model, policy, decay, progress)
        right = accuracy(vmap(lambda p, x: functional_call(model, p, (x,)))(p, x[fresh]), y[fresh])
        if decay:
            found["decayed"][arm] = right
            continue
        found["accuracy"][arm], found["transfer"][arm] = right, _transfer(model, p, away, truth)
        if arm == "split":
            shown = _shown(setting, model, policy, p, q, base, x[fresh], y[fresh], seeds)
    sizes = tuple(sum(value.numel() for value in one.parameters()) for one in (model, policy))
    return Result(tuple(seeds), sizes, **found, **shown)


def _own(data):
    data = user_points(data, images=True)
    classes = data.label.unique()
    away = max(2, len(classes) - len(classes) * 2 // 3) if len(classes) > 3 else 0  # fewer leave no two on both sides
    seen = torch.isin(data.label, classes[: len(classes) - away])
    kept, away = data.label[seen], data.label[~seen]
    return data.x[seen], torch.searchsorted(kept.unique(), kept), data.x[~seen], torch.searchsorted(away.unique(), away)


def _trained(setting, arm, x, y, seeds, rate, model, policy, decay=0.0, progress=None):
    classes, inputs = model[1][-1].out_features, x[0, 0].numel()
    start = together(
        [network(inputs, classes, seed) for seed in seeds],
        [BetaMaskPolicy(setting.grid, x.shape[2], seed=seed) for seed in seeds],
    )
    return train_stacked(
        model, policy, start, x, y, seeds=seeds, mode=arm, epochs=setting.epochs, tuning_epochs=setting.tuning_epochs,
        learning_rate=rate, weight_decay=decay, progress=progress,
    )  # fmt: skip


def _transfer(model, p, x, label):
    """Accuracy (models,) of a ridge probe on the last hidden layer, fitted on half of the unseen classes' images; NaN of none."""
    if len(label.unique()) < 2:
        return torch.full((len(next(iter(p.values()))),), torch.nan, dtype=torch.float64)
    body = nn.Sequential(model[0], *model[1][:-1])
    names = {f"{1 + i}.{part}": f"1.{i}.{part}" for i in range(len(model[1]) - 1) for part in ("weight", "bias")}
    inner = {new: p[old] for new, old in names.items() if old in p}
    z = outputs(body, inner, x).double()
    z = torch.cat([z, torch.ones_like(z[..., :1])], -1)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    first, second = order[: len(x) // 2], order[len(x) // 2 :]
    target = F.one_hot(label).double()
    gram = z[:, first].mT @ z[:, first] + 1e-2 * torch.eye(z.shape[-1], dtype=torch.float64)
    probe = torch.linalg.solve(gram, z[:, first].mT @ target[first])
    return accuracy(z[:, second] @ probe, label[second])


def _shown(setting, model, policy, p, q, base, x, y, seeds):
    """What the trained policies propose, and the losses under their masks and under uniform ones."""
    from lab.generalization.policy_gradient_noise_mask import masked, sample_mask

    ab = torch.stack(vmap(lambda q, x: functional_call(policy, q, (x,)))(q, x), 1)
    mixed = (0.9 * base[:, :, None] + 0.1 * ab).exp()
    met = {}
    for name, values in (("policy", mixed), ("uniform", torch.ones_like(mixed))):
        masks = torch.stack(
            [sample_mask(*one, torch.Generator().manual_seed(seed)) for one, seed in zip(values, seeds)]
        )
        inputs = vmap(lambda x, m: masked(x, m, setting.grid))(x, masks)
        logits = vmap(lambda p, x: functional_call(model, p, (x,)))(p, inputs)
        met[name] = F.cross_entropy(logits.transpose(1, 2), y, reduction="none").double().mean(1)
        if name == "policy":
            wide = masked(torch.ones_like(x[0, :8, :1]), masks[0, :8], setting.grid)[:, 0]
    mean = mixed[:, 0] / mixed.sum(1)
    return {
        "met": met, "spread": mean.std(1).mean(1).double(), "images": x[0, :8, 0], "masks": wide,
        "alpha": mixed[0, 0].mean(0).view(setting.grid, -1), "beta": mixed[0, 1].mean(0).view(setting.grid, -1),
    }  # fmt: skip


@tunes("policy_gradient_noise_mask")
def tune_rates(progress=None) -> None:
    """Learning rates of every arm by accuracy on held images of the seen classes."""
    setting, seeds = Setting.of(), TUNING_SEEDS[:2]
    x, y, _, _ = _pool(setting.kinds)
    orders = [torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    train, held = (torch.stack([order[rows] for order in orders]) for rows in (slice(setting.items), slice(-400, None)))
    model, policy = network(64, int(y.max()) + 1), BetaMaskPolicy(setting.grid)

    def scores(arm, rates, seeds):
        rows = []
        for rate in rates:
            p, _, _ = _trained(setting, arm, x[train], y[train], seeds, rate, model, policy)
            rows.append(accuracy(vmap(lambda p, x: functional_call(model, p, (x,)))(p, x[held]), y[held]).numpy())
        return rows

    record(
        "policy_gradient_noise_mask", tune("modes", dict.fromkeys(ARMS, RATES), scores, seeds=seeds, progress=progress)
    )
