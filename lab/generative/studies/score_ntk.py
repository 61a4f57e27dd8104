"""A wide network and its tangent kernel learn a denoiser side by side; every step's error against the exact one, in four parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field

from lab import study
from lab.generative.mixtures import GaussianMixture
from lab.generative.score_ntk import Draws, Networks, decay, kernel, kernel_path, regression_data, stopping_time, train
from lab.generative.studies.common import Kept

TEST = 400  # held-out triples a seed
PARTS = ("coupling", "label noise", "early stopping", "approximation")


class Setting(study.Setting):
    """Four Gaussians in the plane, one fixed draw of noisy points, plain gradient descent on a two-layer network."""

    items: int = Field(60, ge=5, le=5000, title="Training triples")
    width: int = Field(400, ge=4, le=20_000, title="Hidden units")
    steps: int = Field(2000, ge=10, le=200_000, title="Steps")
    rate: float = Field(0.2, gt=0.0, le=10.0, title="Step size")
    std: float = Field(0.15, ge=0.01, le=1.0, title="Deviation of the Gaussians", json_schema_extra={"step": 0.01})

    PROFILES: ClassVar = {
        "smoke": {"steps": 100, "width": 100, "items": 30},
        "full": {"items": 1000, "width": 8000, "steps": 20_000},
    }


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """At the steps ``at`` (times,): ``train`` loss, ``test`` error against f*, ``weighted`` as the score is, ``movement`` of the
    farthest hidden unit, and root mean squares of the four ``parts`` and of the ``kernel``'s own error, each (times, seeds).

    ``stop`` (seeds,): index of the stopping time in ``at``; ``snapshots`` (times, m, 3), ``signs`` (m, 2), ``points`` (N, 2) are of
    the first seed, for its score field.
    """

    at: torch.Tensor
    train: torch.Tensor
    test: torch.Tensor
    weighted: torch.Tensor
    movement: torch.Tensor
    parts: dict[str, torch.Tensor]
    kernel: torch.Tensor
    stop: torch.Tensor
    snapshots: torch.Tensor
    signs: torch.Tensor
    points: torch.Tensor

    def stopped(self, table: torch.Tensor) -> torch.Tensor:
        """A table's values at each seed's stopping time."""
        return table.gather(0, self.stop[None])[0]

    def field(self, index: int, time: float, grid: int = 13) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Points of a grid, the learned score of the first seed at a snapshot and a time, and the exact score."""
        axis = torch.linspace(-1.5, 1.5, grid, dtype=torch.float64)
        x = torch.cartesian_prod(axis, axis)[None]
        networks = Networks(self.snapshots[index][None], self.snapshots[0][None], self.signs[None])
        t = torch.full(x.shape[:2], time, dtype=torch.float64)
        alpha, h = decay(torch.tensor(time, dtype=torch.float64))
        return x[0], networks.score(x, t)[0], law().score(x[0], float(alpha), float(h.sqrt()))

    def to_frame(self):
        """One row a recorded step: means over seeds."""
        import pandas as pd

        table = {"train": self.train, "test": self.test, "score-weighted": self.weighted, "movement": self.movement}
        table |= self.parts
        return pd.DataFrame({"step": self.at.tolist(), **{name: v.mean(1).tolist() for name, v in table.items()}})


def law(std: float = 0.15) -> GaussianMixture:
    """Four Gaussians at distance .8 from the centre."""
    return GaussianMixture.ring(4, 0.8, std)


@study.remembered(size=12)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Controls: ``"clean"``: labels without noise, f* itself. ``"shuffled"``: labels permuted over the points."""
    seeds, truth = tuple(seeds), law(setting.std)
    draws, test = regression_data(truth, setting.items, seeds), regression_data(truth, TEST, seeds, salt=1)
    if control == "clean":
        draws = Draws(draws.z, draws.truth, draws.truth)
    if control == "shuffled":
        order = torch.randperm(setting.items, generator=torch.Generator().manual_seed(0))
        draws = Draws(draws.z, draws.labels[:, order], draws.truth)
    grid = torch.logspace(0, math.log10(setting.steps), 40).round().long().unique()
    at = torch.cat([torch.zeros(1, dtype=torch.long), grid])
    networks = Networks.drawn(setting.width, 2, seeds)
    gram, cross = kernel(networks, draws.z, draws.z), kernel(networks, test.z, draws.z)
    noise = (draws.labels - draws.truth).square().mean((1, 2)).sqrt().clamp_min(1e-9)
    stop = stopping_time(gram, 2, noise, setting.rate, setting.steps)
    noisy, clean = (kernel_path(gram, cross, y, setting.rate, at.tolist()) for y in (draws.labels, draws.truth))
    limit = kernel_path(gram, cross, draws.truth, setting.rate, [math.inf])[0]
    alpha, h = decay(test.time)
    rows: dict = {name: [] for name in ("train", "test", "weighted", "movement", "snapshots")}
    parts: dict = {name: [] for name in PARTS}
    size = lambda v: v.square().sum(-1).mean(1)  # noqa: E731
    for k, now in enumerate(train(networks, draws, setting.rate, at.tolist(), progress)):
        found = now(test.z)
        rows["train"].append(0.5 * size(now(draws.z) - draws.labels))
        rows["test"].append(size(found - test.truth))
        rows["weighted"].append(((alpha / h).square() * (found - test.truth).square().sum(-1)).mean(1))
        rows["movement"].append((now.weights - now.start).norm(dim=-1).amax(1))
        rows["snapshots"].append(now.weights[0])
        steps = (found - noisy[k], noisy[k] - clean[k], clean[k] - limit, limit - test.truth)
        for name, step in zip(PARTS, steps):
            parts[name].append(size(step).sqrt())
    made = {name: torch.stack(values) for name, values in rows.items()}
    kernel_error = torch.stack([size(one - test.truth) for one in noisy])
    return Result(
        at, made["train"], made["test"], made["weighted"], made["movement"], {n: torch.stack(v) for n, v in parts.items()},
        kernel_error, (at[:, None] <= stop).sum(0) - 1, made["snapshots"], networks.signs[0], draws.z[0, :, :2],
    )  # fmt: skip
