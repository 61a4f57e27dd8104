"""Condensed sets judged by fresh networks: class-wise and contrastive matching, shared signals, look-alikes, classes in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from lab import study
from lab.claims import tunes
from lab.compression import dcc
from lab.compression.matching import Networks, kernel_velocity
from lab.compression.studies.common import Kept, Task, table, task
from lab.compression.synthetic import evaluate, network_for, random_items
from lab.source import project_root
from lab.training import cnn, fit
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

BLOCK, HIDDEN = 64, 4  # features of the shared signal, and the dimensions in which it varies
_FRAMES = project_root() / "data" / "benchmarks" / "dcc_frames.npz"
ARMS = {"dc": {"method": "dc"}, "dcc": {"method": "dcc"}, "dcc, warm-up": {"method": "dcc", "warm_up": True}}
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the descent on the images
PROBE, TIMES = 20, 8  # items of the tangent kernel, and how often it is taken


class Setting(study.Setting):
    """Digits condensed to a few images a class; networks that never saw them being made are trained on these."""

    per_class: int = Field(1, ge=1, le=50, title="Images a class")
    shared: float = Field(0.0, ge=0.0, le=5.0, title="Strength of the shared signal", json_schema_extra={"step": 0.5})
    group: Literal["all", "look-alikes", "in turn"] = Field("all", title="Classes")
    size: Literal[14, 28] = Field(14, title="Side in pixels")
    network: Literal["mlp", "convnet"] = Field("mlp", title="Network")
    outer: int = Field(60, ge=1, le=5000, title="Networks matched on")
    inner: int = Field(5, ge=1, le=100, title="Matching steps a network")
    batch: int = Field(64, ge=1, le=1024, title="Real images a class and step")
    networks: int = Field(3, ge=1, le=50, title="Networks that judge a set")
    steps: int = Field(300, ge=1, le=5000, title="Steps of their training")

    PROFILES: ClassVar = {
        "smoke": {"outer": 2, "inner": 2, "batch": 8, "networks": 1, "steps": 30},
        "full": {"size": 28, "network": "convnet", "outer": 1000, "inner": 10, "batch": 256, "networks": 20},
    }


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Accuracies (seeds,) of networks trained on each arm's sets, and the sets themselves.

    ``sets[arm]`` (seeds, items, ...) standardized, ``frames[arm]`` (frames, items, ...) of the first seed, ``velocity[arm]``
    (times, seeds); ``stages[arm]`` (stages, seeds) where the classes come in turn.
    """

    accuracy: dict[str, torch.Tensor]
    sets: dict[str, torch.Tensor]
    y: torch.Tensor
    frames: dict[str, torch.Tensor]
    velocity: dict[str, torch.Tensor]
    stages: dict[str, torch.Tensor]
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    mean: float
    scale: float

    def gain(self, arm: str, over: str) -> torch.Tensor:
        """Accuracy of one arm less that of another, a seed at a time."""
        return self.accuracy[arm] - self.accuracy[over]

    def to_frame(self):
        """One row an arm: mean accuracy over seeds and its spread."""
        return table(self.accuracy)


@study.remembered(size=12)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """All arms from the same starts and real batches.

    Controls: ``"shuffled"``: the labels of the real images are permuted before any set is made.
    """
    if setting.shared and setting.network != "mlp":
        raise ValueError("shared needs network='mlp': the shared signal is joined to flat items, got network='convnet'")
    where = task(setting.size, data, flat=setting.network == "mlp")
    if setting.shared:
        where = with_shared_signal(where, setting.shared)
    if setting.group == "look-alikes":
        where = where.of(look_alikes(where))
    y = where.y
    if control == "shuffled":
        y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    network = _network(setting, where)
    if setting.group == "in turn":
        return _in_turn(setting, where, y, seeds, network)
    options: dict[str, Any] = {
        "outer": setting.outer,
        "inner": setting.inner,
        "batch": setting.batch,
        "seeds": seeds,
        "network": network,
    }
    warm = setting.group == "all" and not setting.shared and setting.per_class == 1
    arms: dict[str, Any] = {arm: ARMS[arm] for arm in (ARMS if warm else ("dc", "dcc"))}
    own, found = rates(), {}
    for place, (arm, changes) in enumerate(arms.items()):
        tell = (lambda done, of, place=place: progress(place * of + done, len(arms) * of)) if progress else None
        kept: dict[str, Any] = {"frames": 12, "progress": tell, "image_rate": own[arm]}
        found[arm] = dcc.condense_all(where.x, y, setting.per_class, **kept, **options, **changes)
    labels = found["dc"].y
    sets = {"random": where.x[random_items(y, setting.per_class, seeds)], **{arm: one.x for arm, one in found.items()}}
    velocity = {
        arm: kernel_velocities(
            network, sets[arm], labels, where.test[0][:PROBE], seeds, times=TIMES if setting.outer > 2 else 3
        )
        for arm in ("random", "dc", "dcc")
        if setting.network == "mlp"
    }
    frames = {arm: one.frames[:, 0] for arm, one in found.items()}
    accuracy = judged(sets, labels, where, setting, network)
    return Result(
        accuracy, sets, labels, frames, velocity, {}, where.shape, where.classes, where.mean, where.scale
    )  # fmt: skip


def rates() -> dict[str, float]:
    """The tuned rate of the descent on the images, by arm."""
    return chosen("dcc", "images", dict.fromkeys(ARMS, RATES))


@tunes("dcc")
def tune_rates(progress=None) -> None:
    """Rates of every arm by accuracy on training images that no set is made from."""
    setting, where = Setting.of(), task(Setting.of().size)
    x, y, held = where.x[:3000], where.y[:3000], (where.x[3000:], where.y[3000:])
    network = _network(setting, where)

    def scores(arm, grid, seeds):
        many = {"seeds": [seed for _ in grid for seed in seeds], "image_rate": [rate for rate in grid for _ in seeds]}
        options = {"outer": setting.outer, "inner": setting.inner, "batch": setting.batch, "network": network}
        found = dcc.condense_all(x, y, setting.per_class, **many, **options, **ARMS[arm])
        judges = {"network": network, "networks": setting.networks, "steps": setting.steps}
        return scored(found.x, found.y, held, judges).view(len(grid), len(seeds)).numpy()

    record("dcc", tune("images", dict.fromkeys(ARMS, RATES), scores, seeds=TUNING_SEEDS[:2], progress=progress))


def scored(sets, y, held, judges) -> torch.Tensor:
    """Accuracy of each set on held items, NaN of a set that its descent threw out of all bounds."""
    finite = sets.flatten(1).isfinite().all(1)
    values = evaluate(sets.where(finite.view(-1, *[1] * (sets.ndim - 1)), 0.0), y, held, **judges).mean(1)
    return values.where(finite, torch.nan)


def judged(sets, y, where: Task, setting, network) -> dict[str, torch.Tensor]:
    """Mean test accuracy (seeds,) of each arm's sets, all in one stacked training."""
    options = {"network": network, "networks": setting.networks, "steps": setting.steps}
    values = evaluate(torch.cat(list(sets.values())), y, where.test, **options).mean(1)
    return dict(zip(sets, values.split([len(one) for one in sets.values()])))


def with_shared_signal(where: Task, strength: float) -> Task:
    """Each item joined with features that say nothing about its class: a direction and noise in a few, times ``strength``."""
    generator = torch.Generator().manual_seed(0)
    centre, basis = torch.randn(BLOCK, generator=generator), torch.randn(HIDDEN, BLOCK, generator=generator)

    def joined(x):
        noise = torch.randn(len(x), HIDDEN, generator=generator) @ basis
        return torch.cat([x, strength * (centre + noise)], 1)

    test = joined(where.test[0]), where.test[1]
    return Task(joined(where.x), where.y, test, where.mean, where.scale, where.shape, where.classes)


def look_alikes(where: Task, count: int = 3) -> list[int]:
    """The ``count`` classes that a network trained on twenty items a class takes for each other most often."""
    classes = len(where.classes)
    rows = random_items(where.y, min(20, int(where.y.bincount().min())), [0])[0]
    x, y = where.x[rows], where.y[rows]
    found = fit(network_for(x, classes), x, y, optimizer="momentum", learning_rate=0.01, epochs=100, batch_size=None)
    wrong = torch.zeros(classes, classes)
    wrong.index_put_((where.y, found.predict(where.x)[0].argmax(1)), torch.ones(len(where.y)), accumulate=True)
    wrong = wrong + wrong.T
    groups = list(combinations(range(classes), min(count, classes)))
    return list(max(groups, key=lambda group: sum(float(wrong[a, b]) for a, b in combinations(group, 2))))


def kernel_velocities(
    network, sets, y, probe, seeds, *, times: int, between: int = 10, rate: float = 0.05
) -> torch.Tensor:
    """Kernel velocity (times - 1, seeds) of fresh networks while each descends on its set."""
    nets = Networks(network)
    theta = nets.fresh([seed + 500 for seed in seeds])
    points = probe.expand(len(sets), *probe.shape)
    kernels = []
    for _ in range(times):
        with torch.no_grad():
            kernels.append(nets.kernel(theta, points))
        theta = dcc.descend(nets, theta, sets[:, None], y.expand(len(sets), 1, -1), between, rate)
    return kernel_velocity(torch.stack(kernels))


def _in_turn(setting, where: Task, y, seeds, network) -> Result:
    """Classes arrive two at a time; of each pair a few items are kept, and after each pair networks learn from what is kept."""
    count = len(where.classes)
    starts = [*range(0, max(count - 1, 1), 2), count]  # an odd class joins the last pair
    pairs = [tuple(range(first, last)) for first, last in zip(starts, starts[1:])]
    kept: dict[str, list[torch.Tensor]] = {"random": [], "dcc": []}
    stages: dict[str, list[torch.Tensor]] = {arm: [] for arm in kept}
    options = {
        "outer": setting.outer,
        "inner": setting.inner,
        "batch": setting.batch,
        "seeds": seeds,
        "network": network,
        "image_rate": rates()["dcc"],
    }
    labels: list[torch.Tensor] = []
    for pair in pairs:
        rows = torch.isin(y, torch.tensor(pair))
        x, own = where.x[rows], y[rows] - pair[0]
        kept["dcc"].append(dcc.condense_all(x, own, setting.per_class, method="dcc", **options).x)
        kept["random"].append(x[random_items(own, setting.per_class, seeds)])
        labels.append(torch.arange(pair[0], pair[-1] + 1).repeat_interleave(setting.per_class))
        seen = where.test[1] <= pair[-1]
        tested = Task(
            x, own, (where.test[0][seen], where.test[1][seen]), where.mean, where.scale, where.shape, where.classes
        )
        found = judged(
            {arm: torch.cat(sets, 1) for arm, sets in kept.items()}, torch.cat(labels), tested, setting, network
        )
        for arm, values in found.items():
            stages[arm].append(values)
    sets = {arm: torch.cat(parts, 1) for arm, parts in kept.items()}
    return Result(
        found, sets, torch.cat(labels), {}, {}, {arm: torch.stack(values) for arm, values in stages.items()}, where.shape,
        where.classes, where.mean, where.scale,
    )  # fmt: skip


def _network(setting, where: Task) -> Callable[[int], nn.Module]:
    """The setting's network for the task's items."""
    if setting.network == "mlp":
        return network_for(where.x, len(where.classes))
    options: dict[str, Any] = {"widths": (128, 128, 128), "normalization": "group"}
    return lambda seed: cnn(where.x.shape[1], len(where.classes), seed=seed, **options)


@dataclass(frozen=True, eq=False)
class Growth:
    """Sets while they are condensed: ``images[arm]`` (frames, items, height, width) in [0, 255], ``accuracy[arm]`` (frames,)."""

    images: dict[str, torch.Tensor]
    accuracy: dict[str, torch.Tensor]
    loops: torch.Tensor
    classes: tuple[str, ...]


@lru_cache(maxsize=1)
def growth() -> Growth:
    """The recorded frames of one seed at the default setting, with the accuracy that networks reach on each."""
    with np.load(_FRAMES, allow_pickle=False) as file:
        arms = [str(arm) for arm in file["arms"]]
        images = {arm: torch.from_numpy(file[f"images {k}"]) for k, arm in enumerate(arms)}
        accuracy = {arm: torch.from_numpy(file[f"accuracy {k}"]) for k, arm in enumerate(arms)}
        return Growth(images, accuracy, torch.from_numpy(file["loops"]), tuple(map(str, file["classes"])))


def record_growth(seed: int = 0) -> None:
    """Condense once at the default setting and write the frames that :func:`growth` reads."""
    setting = Setting.of()
    result, where = run(setting, seeds=(seed,)), task(setting.size)
    arrays: dict = {"arms": np.array(list(result.frames)), "classes": np.array(result.classes)}
    for k, (_, frames) in enumerate(result.frames.items()):
        options: dict[str, Any] = {"networks": setting.networks, "steps": setting.steps}
        arrays[f"accuracy {k}"] = evaluate(frames, result.y, where.test, **options).mean(1).numpy()
        pixels = (frames * result.scale + result.mean).clamp(0, 1) * 255
        arrays[f"images {k}"] = pixels.round().to(torch.uint8).reshape(*frames.shape[:2], *result.shape).numpy()
    arrays["loops"] = np.array([round(k * setting.outer / (len(frames) - 1)) for k in range(len(frames))])
    np.savez_compressed(_FRAMES, **arrays)
