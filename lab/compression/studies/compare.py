"""All ways to condense a set, at equally many updates of the images, judged by the same fresh networks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from lab import study
from lab.compression import dcc
from lab.compression import smooth_expert_distillation as ast
from lab.compression.smooth_expert_distillation import PENALTY, TRICKS, Arm
from lab.compression.studies import dcc as by_gradients
from lab.compression.studies import smooth_expert_distillation as by_trajectories
from lab.compression.studies.common import Kept, table, task
from lab.compression.synthetic import evaluate, random_items
from lab.training import fit


class Setting(study.Setting):
    """One data set, condensed in every way of the room."""

    per_class: int = Field(1, ge=1, le=50, title="Images a class")
    size: Literal[8, 14, 28] = Field(14, title="Side in pixels")
    updates: int = Field(300, ge=1, le=20_000, title="Updates of the images")
    experts: int = Field(3, ge=1, le=100, title="Experts")
    epochs: int = Field(16, ge=4, le=200, title="Epochs of an expert")
    networks: int = Field(5, ge=1, le=50, title="Networks that judge a set")
    steps: int = Field(300, ge=1, le=5000, title="Steps of their training")

    PROFILES: ClassVar = {
        "smoke": {"updates": 4, "experts": 1, "epochs": 4, "networks": 1, "steps": 20},
        "full": {"size": 28, "updates": 5000, "experts": 20, "epochs": 50, "networks": 20},
    }


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Accuracies (seeds,) by arm, of networks trained on the sets and, as "all items", on everything; CPU seconds by arm; sets."""

    accuracy: dict[str, torch.Tensor]
    seconds: dict[str, float]
    sets: dict[str, torch.Tensor]
    y: torch.Tensor
    shape: tuple[int, ...]
    items: int

    def to_frame(self):
        """One row an arm: accuracy, its spread, CPU seconds a set."""
        frame = table(self.accuracy)
        frame["CPU seconds"] = [self.seconds.get(arm, 0.0) for arm in frame["arm"]]
        return frame


@study.remembered(size=4)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Random and representative items, class-wise and contrastive gradient matching, plain and smooth trajectories."""
    seeds = tuple(seeds)
    where = task(setting.size, data)
    x, y, classes = where.x, where.y, len(where.classes)
    network = ast.student_for(x, classes)
    inner = 5 if setting.updates >= 5 else 1
    matching = {"seeds": seeds, "network": network, "outer": -(-setting.updates // inner), "inner": inner}
    kinds = {"trajectories": {"clip": False, "penalty": 0.0}, "smooth trajectories": {"clip": True, "penalty": PENALTY}}
    sets, seconds, rates = (
        {"random": x[random_items(y, setting.per_class, seeds)]},
        {"random": 0.0},
        {"random": [None] * len(seeds)},
    )

    def made(name, make):
        began = time.process_time()
        sets[name], rate = make()
        seconds[name] = (time.process_time() - began) / len(seeds)
        rates[name] = [None] * len(seeds) if rate is None else rate.tolist()
        if progress is not None:
            progress(len(sets) - 1, 5)

    image_rates = by_gradients.rates() | by_trajectories.rates()

    def along(kind, arm, tricks=()):
        experts = ast.train_experts(
            x, y, seeds=range(setting.experts), network=network, epochs=setting.epochs, batch=128, **kinds[kind]
        )
        options = {"seeds": seeds, "iterations": setting.updates, "latest": max(1, setting.epochs // 2)}
        options["image_rate"] = image_rates[arm]
        found = ast.match_trajectories(x, y, [Arm(experts, tricks)], setting.per_class, **options)
        return found.x[0], found.learning_rate[0]

    for kind in ("dc", "dcc"):
        options = {"method": kind, "image_rate": image_rates[kind], **matching}
        made(kind, lambda options=options: (dcc.condense_all(x, y, setting.per_class, **options).x, None))
    made("trajectories", lambda: along("trajectories", "plain"))
    made("smooth trajectories", lambda: along("smooth trajectories", "smooth"))
    made("smooth, all tricks", lambda: along("smooth trajectories", "smooth, all tricks", TRICKS))
    labels = torch.arange(classes).repeat_interleave(setting.per_class)
    judges = {"network": network, "networks": setting.networks, "steps": setting.steps}
    flat: Any = [rate for name in sets for rate in rates[name]]
    values = evaluate(torch.cat(list(sets.values())), labels, where.test, learning_rate=flat, **judges).mean(1)
    accuracy = dict(zip(sets, values.split(len(seeds))))
    whole = fit(network, x, y, seeds=seeds, epochs=setting.epochs, batch_size=64)
    accuracy["all items"] = (whole.predict(where.test[0]).argmax(2) == where.test[1]).double().mean(1)
    return Result(accuracy, seconds, sets, labels, where.shape, len(x))
