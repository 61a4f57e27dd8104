"""Sets made along expert trajectories: plain, clipped, penalized, smooth and slow experts, and each of the student's tricks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from lab import study
from lab.claims import tunes
from lab.compression import dcc
from lab.compression import smooth_expert_distillation as method
from lab.compression.smooth_expert_distillation import PENALTY, TRICKS, Arm
from lab.compression.studies.common import Kept, table, task
from lab.compression.studies.dcc import rates as dcc_rates
from lab.compression.studies.dcc import scored
from lab.compression.synthetic import evaluate, random_items
from lab.source import project_root
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

EXPERTS: dict[str, dict[str, Any]] = {
    "plain": {"clip": False, "penalty": 0.0},
    "clipped": {"clip": True, "penalty": 0.0},
    "penalized": {"clip": False, "penalty": PENALTY},
    "smooth": {"clip": True, "penalty": PENALTY},
    "slow": {"clip": False, "penalty": 0.0, "learning_rate": 0.5},  # of the common rate
}
STACKS = tuple(stack for count in range(1, 5) for stack in combinations(TRICKS, count))  # with none of them, 2^4
TUNED = tuple(stack for stack in STACKS if len(stack) in (1, 4))
RATES = (0.5, 2.0, 5.0, 20.0, 80.0)  # of the descent on the images
SIZES_RATE = 5.0
SIZES = ((5, 1), (10, 1), (10, 2), (20, 2), (20, 4))  # steps of the student, epochs that they cover
_CURVE = project_root() / "data" / "benchmarks" / "smooth_expert_distillation.npz"


class Setting(study.Setting):
    """Digits condensed along the trajectories of experts, with fresh networks as judges."""

    per_class: int = Field(1, ge=1, le=50, title="Images a class")
    size: Literal[8, 14, 28] = Field(14, title="Side in pixels")
    items: int = Field(2000, ge=50, le=60_000, title="Items that experts learn from")
    experts: int = Field(4, ge=1, le=100, title="Experts")
    epochs: int = Field(16, ge=4, le=200, title="Epochs of an expert")
    batch: int = Field(128, ge=8, le=1024, title="Batch of an expert")
    rate: float = Field(0.05, gt=0.0, le=1.0, title="Learning rate of an expert")
    iterations: int = Field(300, ge=1, le=20_000, title="Matching iterations")
    steps: int = Field(10, ge=2, le=100, title="Steps of the student")
    ahead: int = Field(2, ge=1, le=4, title="Epochs that they cover")
    tricks: bool = Field(True, title="The student's tricks, each alone")
    stacks: bool = Field(False, title="The student's tricks in all sixteen stacks")
    networks: int = Field(3, ge=1, le=50, title="Networks that judge a set")
    judging: int = Field(300, ge=1, le=5000, title="Steps of their training")

    PROFILES: ClassVar = {
        "smoke": {
            "items": 100, "experts": 2, "epochs": 4, "iterations": 3, "steps": 3, "networks": 1, "judging": 20, "batch": 50
        },
        "full": {"size": 28, "items": 4000, "experts": 50, "epochs": 50, "iterations": 5000, "steps": 20, "networks": 20},
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Accuracies (seeds,) by arm, "plain, own steps" being plain matching at the steps that suit it best; ``movement`` (experts,
    epochs) and ``expert_accuracy`` (experts,) by kind of expert; ``losses`` (iterations, seeds) and ``chained`` (seeds,) by arm;
    ``paths`` (epochs + 1, 2) of the first expert of each kind in the plane of the plain one; ``sets`` (seeds, items, ...)
    standardized.
    """

    accuracy: dict[str, torch.Tensor]
    movement: dict[str, torch.Tensor]
    expert_accuracy: dict[str, torch.Tensor]
    losses: dict[str, torch.Tensor]
    chained: dict[str, torch.Tensor]
    paths: dict[str, torch.Tensor]
    sets: dict[str, torch.Tensor]
    y: torch.Tensor
    shape: tuple[int, ...]

    def gain(self, arm: str, over: str) -> torch.Tensor:
        """Accuracy of one arm less that of another, a seed at a time."""
        return self.accuracy[arm] - self.accuracy[over]

    def to_frame(self):
        """One row an arm: accuracy, its spread, and the matching loss at the end."""
        frame = table(self.accuracy)
        frame["matching"] = [
            float(self.losses[arm][-10:].mean()) if arm in self.losses else float("nan") for arm in frame["arm"]
        ]
        return frame


@study.remembered(size=8)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """All arms from the same starts, experts' seeds and epochs drawn.

    Control ``"shuffled"``: the labels that experts learn from, and starts are drawn by, are permuted.
    """
    seeds = tuple(seeds)
    where = task(setting.size, data)
    x, y = where.x[: setting.items], where.y[: setting.items]
    if control == "shuffled":
        y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    experts = {name: _experts(setting, x, y, **changes) for name, changes in EXPERTS.items()}
    stacks = STACKS if setting.stacks else TUNED if setting.tricks else ()
    arms = {name: Arm(one) for name, one in experts.items()}
    arms |= {stack_name(stack): Arm(experts["smooth"], stack) for stack in stacks}
    own = rates()
    options = {
        "seeds": seeds, "iterations": setting.iterations, "steps": setting.steps, "ahead": setting.ahead,
        "latest": max(1, setting.epochs // 2), "image_rate": [own[arm] for arm in arms],
    }  # fmt: skip
    matched = method.match_trajectories(x, y, list(arms.values()), setting.per_class, progress=progress, **options)
    steps, ahead = (min(found) for found in zip(own_steps(), (setting.steps, setting.steps)))
    options |= {"steps": steps, "ahead": ahead, "image_rate": SIZES_RATE}
    alone = method.match_trajectories(x, y, [arms["plain"]], setting.per_class, **options)
    network = method.student_for(x, len(where.classes))
    matching = {
        "method": "dcc",
        "seeds": seeds,
        "network": network,
        "outer": max(1, setting.iterations // 5),
        "inner": 5,
        "image_rate": dcc_rates()["dcc"],
    }
    sets = {
        "random": x[random_items(y, setting.per_class, seeds)],
        "dcc": dcc.condense_all(x, y, setting.per_class, **matching).x,
        **dict(zip(arms, matched.x)),
        "plain, own steps": alone.x[0],
    }
    learned = [None] * (2 * len(seeds)) + torch.cat([matched.learning_rate, alone.learning_rate]).flatten().tolist()
    judges = {"network": network, "networks": setting.networks, "steps": setting.judging, "learning_rate": learned}
    values = evaluate(torch.cat(list(sets.values())), matched.y, where.test, **judges).mean(1).split(len(seeds))
    chained = method.chained_error(matched, list(arms.values()), steps=setting.steps, ahead=setting.ahead)
    return Result(
        dict(zip(sets, values)),
        {name: one.movement() for name, one in experts.items()},
        {name: one.accuracy(*where.test) for name, one in experts.items()},
        dict(zip(arms, matched.losses.unbind(1))), dict(zip(arms, chained)), _paths(experts), sets, matched.y, where.shape,
    )  # fmt: skip


def stack_name(tricks) -> str:
    """The arm of smooth experts with these tricks."""
    return "smooth, all tricks" if len(tricks) == 4 else f"smooth, {' + '.join(tricks)}" if tricks else "smooth"


def rates() -> dict[str, float]:
    """The tuned rate of the descent on the images, by arm; two or three tricks together take that of smooth experts without."""
    found = chosen("smooth_expert_distillation", "images", dict.fromkeys([*EXPERTS, *map(stack_name, TUNED)], RATES))
    return dict.fromkeys(map(stack_name, STACKS), found["smooth"]) | found


def own_steps() -> tuple[int, int]:
    """Steps of the student and epochs that they cover at which plain trajectory matching does best."""
    return chosen("smooth_expert_distillation", "sizes", {"plain": SIZES})["plain"]


@tunes("smooth_expert_distillation")
def tune_rates(progress=None) -> None:
    """Rates of every arm, and the student's steps for plain experts, by accuracy on training images that no set is made from."""
    setting, where, seeds = Setting.of(), task(Setting.of().size), TUNING_SEEDS[:2]
    x, y, held = where.x[: setting.items], where.y[: setting.items], (where.x[3000:], where.y[3000:])
    experts = {name: _experts(setting, x, y, first=seeds[0], **changes) for name, changes in EXPERTS.items()}
    arms = {name: Arm(one) for name, one in experts.items()}
    arms |= {stack_name(stack): Arm(experts["smooth"], stack) for stack in TUNED}
    judges = {"network": method.student_for(x, 10), "networks": setting.networks, "steps": setting.judging}
    known: dict = {}

    def made(arms, rate, seeds, steps, ahead):
        options = {"iterations": setting.iterations, "latest": setting.epochs // 2, "image_rate": rate}
        found = method.match_trajectories(x, y, arms, 1, seeds=seeds, steps=steps, ahead=ahead, **options)
        learned = found.learning_rate.flatten().nan_to_num(1e-3).clamp(1e-6, 10).tolist()
        values = scored(found.x.flatten(0, 1), found.y, held, {"learning_rate": learned, **judges})
        return values.view(len(arms), len(seeds)).numpy()

    def sizes(arm, grid, seeds):
        return np.concatenate([made([arms[arm]], SIZES_RATE, seeds, steps, ahead) for steps, ahead in grid])

    def images(arm, grid, seeds):
        for rate in grid if not known else ():
            values = made(list(arms.values()), rate, seeds, setting.steps, setting.ahead)
            for name, own in zip(arms, values):
                known.setdefault(name, []).append(own)
        return np.stack(known[arm])

    options = {"seeds": seeds, "progress": progress}
    trials = [
        tune("sizes", {"plain": SIZES}, sizes, **options),
        tune("images", dict.fromkeys(arms, RATES), images, **options),
    ]
    record("smooth_expert_distillation", *trials)


def _experts(setting, x, y, *, learning_rate: float = 1.0, first: int = 0, **changes):
    return method.train_experts(
        x, y, seeds=range(first, first + setting.experts), network=method.student_for(x, int(y.max()) + 1), epochs=setting.epochs,
        batch=setting.batch, learning_rate=learning_rate * setting.rate, **changes,
    )  # fmt: skip


def _paths(experts):
    """The first expert of each kind in the two principal components of the plain one's path, from a common start."""
    plain = experts["plain"].path[0]
    centred = plain - plain[0]
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    return {name: (one.path[0] - plain[0]) @ directions[:2].T for name, one in experts.items()}


@lru_cache(maxsize=1)
def curve() -> dict[str, np.ndarray]:
    """The recorded sweep of the page over how smooth experts are: paths, movements, expert and set accuracies, images."""
    with np.load(_CURVE, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def record_curve(seeds=(0, 1, 2), strengths=(0.0, 0.05, 0.1, 0.2, 0.4, 0.8)) -> None:
    """Make sets along experts of several strengths of the penalty, clipped where it is above 0, and write :func:`curve`'s file."""
    setting = Setting.of()
    where = task(setting.size)
    x, y = where.x[: setting.items], where.y[: setting.items]
    experts = [_experts(setting, x, y, clip=strength > 0, penalty=strength) for strength in strengths]
    options = {"seeds": seeds, "iterations": setting.iterations, "steps": setting.steps, "latest": setting.epochs // 2}
    matched = method.match_trajectories(x, y, [Arm(one) for one in experts], 1, **options)
    judges: dict[str, Any] = {"networks": setting.networks, "network": method.student_for(x, 10)}
    rates = matched.learning_rate.flatten().tolist()
    values = evaluate(matched.x.flatten(0, 1), matched.y, where.test, learning_rate=rates, **judges).mean(1)
    paths = _paths({"plain": experts[0], **{str(k): one for k, one in enumerate(experts)}})
    pixels = (matched.x[:, 0] * where.scale + where.mean).clamp(0, 1).mul(255).round().to(torch.uint8)
    np.savez_compressed(
        _CURVE, strengths=np.array(strengths), accuracy=values.unflatten(0, (len(strengths), len(seeds))).numpy(),
        expert=torch.stack([one.accuracy(*where.test) for one in experts]).numpy(),
        movement=torch.stack([one.movement().mean(0) for one in experts]).numpy(),
        paths=torch.stack([paths[str(k)] for k in range(len(experts))]).numpy(),
        images=pixels.unflatten(2, where.shape).numpy(), matching=matched.losses[-10:].mean((0, 2)).numpy(),
    )  # fmt: skip
