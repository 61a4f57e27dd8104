"""Operators without labels: forward errors of all arms, inverse problems from sparse noisy sensors, and their posterior bands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from pydantic import Field

from lab import study
from lab.claims import tunes
from lab.physics import dgno
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

RATES = {
    **{arm: ((5e-3, 1.0), (1e-2, 1.0), (5e-3, 5.0), (1e-2, 5.0)) for arm in ("DGNO", "DeepONet", "strong form")},
    "labels": (5e-3, 1e-2, 2e-2, 4e-2),
}  # step size and weight of the residuals; step size
INVERSE = {"latent": (4, 8, 16), "raw": (1e-2, 1e-1, 1.0)}  # starts, and weight of the total variation
FEW = 50

Problem = Literal["two phases", "three phases", "smooth", "Burgers", "line"]


class Setting(study.Setting):
    """Darcy flow through random media (on a line, or a square), or Burgers' equation, learned from inputs alone."""

    problem: Problem = Field("two phases", title="Problem")
    cells: int = Field(32, ge=8, le=128, title="Cells per side")
    items: int = Field(1000, ge=60, le=100_000, title="Unlabelled fields")
    steps: int = Field(300, ge=5, le=1_000_000, title="Training steps", json_schema_extra={"step": 50})
    latent: int = Field(16, ge=2, le=256, title="Latent variables")
    width: int = Field(64, ge=4, le=512, title="Width")
    depth: int = Field(3, ge=1, le=8, title="Layers")
    layers: int = Field(3, ge=1, le=8, title="Layers that enter the product (L)")
    batch: int = Field(16, ge=2, le=512, title="Fields per step")
    points: int = Field(48, ge=8, le=256, title="Quadrature points per side")
    radius: float = Field(0.1, gt=0.01, lt=0.5, title="Radius of the test functions")
    tests: int = Field(30, ge=4, le=1000, title="Test fields")
    cases: int = Field(4, ge=1, le=100, title="Inverse problems")
    sensors: int = Field(64, ge=4, le=4096, title="Sensors")
    noise: float = Field(0.02, ge=0.0, le=1.0, title="Noise (share of the root mean square of u)")
    draws: int = Field(120, ge=4, le=20_000, title="Warm-up and draws of each chain")

    PROFILES: ClassVar = {
        "smoke": {"cells": 8, "items": 80, "steps": 25, "latent": 3, "width": 8, "depth": 2, "layers": 2, "batch": 8,
                  "points": 12, "radius": 0.2, "tests": 4, "cases": 2, "sensors": 16, "draws": 6},
        "full": {"cells": 64, "items": 10_000, "steps": 50_000, "latent": 128, "width": 256, "depth": 5, "layers": 4,
                 "batch": 25, "points": 150, "tests": 200, "cases": 20, "sensors": 100, "draws": 1000},
    }  # fmt: skip

    @property
    def n(self) -> int:
        """Cells along an axis: four times as many on a line."""
        return 4 * self.cells if self.problem == "line" else self.cells


@dataclass(frozen=True)
class Result:
    """Relative L2 errors of u (seeds,) of every arm on test fields, and of the mean of the training solutions.

    ``example``: a, u and each arm's u of the first test field of the first seed; ``losses[arm]`` (steps, seeds).
    """

    setting: Setting
    seeds: tuple[int, ...]
    errors: Mapping[str, torch.Tensor]
    example: Mapping[str, torch.Tensor]
    losses: Mapping[str, torch.Tensor]

    def to_frame(self):
        """One row an arm: mean error of u and its standard deviation over seeds."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"arm": arm, "error of u": float(e.mean()), "spread": float(e.std(correction=0))}
                for arm, e in self.errors.items()
            ]
        )

    def save(self, path) -> None:
        """Write the table as CSV."""
        self.to_frame().to_csv(path, index=False)

    @staticmethod
    def load(path):
        """Read the table that :meth:`save` wrote."""
        import pandas as pd

        return pd.read_csv(path)


def equation(setting: Setting):
    """The problem of a setting."""
    if setting.problem == "Burgers":
        return dgno.Burgers()
    phases = {"line": (0.2, 1.0), "two phases": (0.5, 1.0), "three phases": (0.5, 0.7, 1.0), "smooth": None}
    return dgno.Darcy(1 if setting.problem == "line" else 2, phases[setting.problem])


def fields(setting: Setting, count: int, seed: int, jumps: tuple[int, int] = (1, 2)) -> torch.Tensor:
    """Random inputs (count, n, ...): jumps on a line, level sets of a Gaussian field, its exponential, or sums of four sines."""
    draw, n = torch.Generator().manual_seed(seed), setting.n
    x = (torch.arange(n) + 0.5) / n
    if setting.problem == "line":
        places = 0.05 + 0.9 * torch.rand(count, jumps[1], 1, generator=draw)
        held = torch.arange(jumps[1])[:, None] < torch.randint(jumps[0], jumps[1] + 1, (count, 1, 1), generator=draw)
        crossed = ((x > places) & held).sum(1) + torch.randint(2, (count, 1), generator=draw)
        return torch.tensor(equation(setting).phases)[crossed % 2]
    k = torch.arange(6)
    if setting.problem == "Burgers":
        weight = torch.randn(count, 4, generator=draw) / (k[1:5] ** 1.5)
        return weight @ torch.sin(math.pi * k[1:5, None] * x)
    waves = torch.cos(math.pi * k[:, None] * x)
    spread = (math.pi**2 * (k[:, None] ** 2 + k**2) + 16.0) ** -1.5
    field = torch.einsum("bij,ix,jy->bxy", torch.randn(count, 6, 6, generator=draw) * spread, waves, waves)
    field = (
        field
        / (spread[:, :, None, None] * torch.einsum("ix,jy->ijxy", waves, waves)).square().sum((0, 1)).mean().sqrt()
    )
    if setting.problem == "smooth":
        return torch.exp(0.5 * field)
    phases = torch.tensor(equation(setting).phases)
    return phases[torch.bucketize(field, torch.tensor([0.0] if len(phases) == 2 else [-0.43, 0.43]))]


def reference(setting: Setting, a: torch.Tensor) -> torch.Tensor:
    """u (..., corners) at :func:`lab.physics.dgno.corners` of inputs (..., n, ...)."""
    problem = equation(setting)
    flat = a.flatten(0, -problem.inner - 1)
    u = dgno.burgers(flat, problem.viscosity) if setting.problem == "Burgers" else dgno.reference(flat)
    inside = u[(slice(None), *[slice(1, -1)] * problem.d)].flatten(1)
    return inside.reshape(*a.shape[: -problem.inner], -1).float()


@lru_cache(maxsize=8)
def pool(
    setting: Setting, seeds: tuple[int, ...], jumps: tuple[int, int] = (1, 2)
) -> tuple[torch.Tensor, torch.Tensor]:
    """Test inputs (seeds, tests, n, ...) and their solutions (seeds, tests, corners), each seed's own."""
    a = torch.stack([fields(setting, setting.tests, 50_000 + seed, jumps) for seed in seeds])
    return a, reference(setting, a)


@lru_cache(maxsize=40)
def trained(setting: Setting, seeds: tuple[int, ...], arm: str = "DGNO", how=None):
    """Operators of all seeds, side by side, and their losses (steps, seeds).

    Arms: ``DGNO``; ``DeepONet`` (L = 1); ``strong form``; ``no physics``; ``few fields`` (the first 50); ``few fields again``;
    ``50 labels``, ``500 labels`` (a DeepONet that is shown solutions and no residuals).
    """
    kind = {
        "no physics": "DGNO",
        "few fields": "DGNO",
        "few fields again": "DGNO",
        "50 labels": "labels",
        "500 labels": "labels",
    }
    how = how or chosen("dgno", "operators", RATES)[kind.get(arm, arm)]
    rate, physics = how if isinstance(how, tuple) else (how, 0.0)
    plain = arm == "DeepONet" or arm.endswith("labels")
    model = dgno.DGNO(
        equation(setting), setting.n, latent=setting.latent, width=setting.width, depth=setting.depth,
        layers=1 if plain else setting.layers, seeds=seeds,
    )  # fmt: skip
    a, labels, form = (
        fields(setting, setting.items, 40_000 + min(seeds)),
        None,
        "strong" if arm == "strong form" else "weak",
    )
    if arm.startswith("few fields"):
        a = a[:FEW]
    if arm.endswith("labels"):
        a, form = a[: {"50 labels": FEW}.get(arm, 10 * FEW)], "labels"
        labels = reference(setting, a)
    losses = dgno.train(
        model, a, steps=setting.steps, rate=rate, batch=setting.batch, physics=physics * (arm != "no physics"), form=form,
        points=setting.n if setting.problem == "line" else setting.points, radius=setting.radius, labels=labels, seed=min(seeds),
    )  # fmt: skip
    return model.requires_grad_(False), losses


def answered(model: dgno.DGNO, a: torch.Tensor) -> torch.Tensor:
    """Predicted u (seeds, tests, corners) of inputs (seeds, tests, n, ...)."""
    return model.solution(model.encode(a)[0], dgno.corners(model.cells, model.problem.d).float())


def error(u: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean relative L2 error (seeds,) of (seeds, tests, corners)."""
    return ((u - truth).norm(dim=-1) / truth.norm(dim=-1)).mean(-1)


def forward_error(setting: Setting, seeds, arm: str = "DGNO", jumps: tuple[int, int] = (1, 2)) -> torch.Tensor:
    """Relative errors (seeds,) of u of one arm on test fields."""
    a, u = pool(setting, tuple(seeds), jumps)
    return error(answered(trained(setting, tuple(seeds), arm)[0], a), u)


ARMS = ("DGNO", "DeepONet", "strong form", "few fields", "50 labels", "500 labels")


@study.remembered(size=6)
def run(setting: Setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Errors of u of all arms; ``strong form`` takes part where the problem is Darcy's."""
    a, u = pool(setting, seeds)
    mean = reference(setting, fields(setting, 20, 40_000 + min(seeds))).mean(0)
    errors, example, losses = {"mean solution": error(mean.expand_as(u), u)}, {"a": a[0, 0], "u": u[0, 0]}, {}
    arms = [arm for arm in ARMS if arm != "strong form" or setting.problem != "Burgers"]
    for k, arm in enumerate(arms):
        model, losses[arm] = trained(setting, seeds, arm)
        found = answered(model, a)
        errors[arm], example[arm] = error(found, u), found[0, 0]
        if progress is not None:
            progress((k + 1) / len(arms))
    return Result(setting, seeds, errors, example, losses)


def observed(setting: Setting, seeds: tuple[int, ...], sensors: int, noise: float, exchanged: bool = False):
    """Inputs (seeds, cases, n, ...), all of u, sensor places (sensors, d), noisy values (seeds, cases, sensors), and the noise.

    ``exchanged``: every medium gets the readings of another one.
    """
    a, u = (each[:, : setting.cases] for each in pool(setting, seeds))
    draw = torch.Generator().manual_seed(60_000 + min(seeds))
    chosen_places = torch.randperm(u.shape[-1], generator=draw)[:sensors]
    x = dgno.corners(setting.n, equation(setting).d)[chosen_places]
    size = noise * float(u.square().mean().sqrt())
    values = u[..., chosen_places] + size * torch.randn(*u.shape[:2], len(x), generator=draw)
    if exchanged:
        values = values.roll(1, 1)
    return a, u, x, values, size


@lru_cache(maxsize=24)
def posterior(
    setting: Setting, seeds: tuple[int, ...], sensors: int, noise: float, prior: bool = True, exchanged: bool = False,
    starts: int | None = None,
) -> dgno.Posterior:  # fmt: skip
    """The posterior of the test fields of all seeds from noisy sensors."""
    starts = starts or chosen("dgno", "inverse", INVERSE)["latent"]
    _, _, x, values, size = observed(setting, seeds, sensors, noise, exchanged)
    return dgno.invert(
        trained(setting, seeds)[0], x, values, noise=size, starts=starts, descent=setting.draws, warmup=setting.draws,
        draws=setting.draws, seed=min(seeds), prior=prior,
    )  # fmt: skip


def wrong(setting: Setting, labels: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Share of cells (seeds,) whose most probable phase, of ``labels`` (seeds, phases, cases, cells), is not that of a."""
    return (labels.argmax(1) != equation(setting).label(a).flatten(2)).double().mean((1, 2))


def phase_error(setting: Setting, seeds, sensors=None, noise=None, **how) -> torch.Tensor:
    """Share of misclassified cells (seeds,) of the posterior's most probable phases."""
    seeds, sensors, noise = tuple(seeds), sensors or setting.sensors, setting.noise if noise is None else noise
    found = posterior(setting, seeds, sensors, noise, **how)
    cells = dgno.lattice(setting.n, equation(setting).d)
    return wrong(setting, found.probabilities(cells), observed(setting, seeds, sensors, noise)[0])


def prior_error(setting: Setting, seeds) -> torch.Tensor:
    """The same of the most frequent phase of every cell over the training fields: what is known without sensors."""
    labels = equation(setting).label(fields(setting, setting.items, 40_000 + min(seeds))).flatten(1)
    count = torch.stack([(labels == k).double().mean(0) for k in range(equation(setting).inputs + 1)])
    a = pool(setting, tuple(seeds))[0][:, : setting.cases]
    return wrong(setting, count[None, :, None].expand(len(seeds), -1, setting.cases, -1), a)


def raw_error(setting: Setting, seeds, weight: float | None = None) -> torch.Tensor:
    """The same of descent on a logit per cell through the same operator, with total variation as the regularizer."""
    seeds = tuple(seeds)
    weight = weight or chosen("dgno", "inverse", INVERSE)["raw"]
    a, _, x, values, size = observed(setting, seeds, setting.sensors, setting.noise)
    model, problem, d = trained(setting, seeds)[0], equation(setting), equation(setting).d
    logits = torch.zeros(len(seeds), problem.inputs, setting.cases, setting.n**d, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(2 * setting.draws):
        share = problem.probabilities(logits)
        labels = (share * torch.arange(problem.inputs + 1.0)[:, None, None]).sum(1).unflatten(-1, (setting.n,) * d)
        u = model.solution(model.encode_labels(labels)[0], x.float())
        rough = sum(labels.diff(dim=-1 - k).abs().flatten(2).mean(2).sum() for k in range(d)) * setting.n
        loss = ((u - values) / size).square().mean(2).sum() / 2 + weight * rough
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return wrong(setting, problem.probabilities(logits.detach()), a)


def coverage(setting: Setting, seeds, prior: bool = True, level: float = 0.8) -> torch.Tensor:
    """Share (seeds,) of points without a sensor at which the posterior band of ``level`` contains u."""
    seeds = tuple(seeds)
    found = posterior(setting, seeds, setting.sensors, setting.noise, prior=prior)
    _, u, x, _, _ = observed(setting, seeds, setting.sensors, setting.noise)
    places = dgno.corners(setting.n, equation(setting).d)
    free = torch.cdist(places, x).amin(1) > 1e-9
    draws = found.solutions(places[free])
    low, high = torch.quantile(draws, torch.tensor([(1 - level) / 2, (1 + level) / 2]), dim=2)
    return ((u[..., free] >= low) & (u[..., free] <= high)).double().mean((1, 2))


@tunes("dgno")
def tune_all(progress=None) -> None:
    """Tune step size and weight of the residuals of every arm, then the two inverses, on a square of 16 x 16 cells."""
    setting, seeds = Setting.of("default", cells=16, points=24, radius=0.15, steps=200, width=32), TUNING_SEEDS[:2]

    def scores(arm, grid, seeds):
        a, u = pool(setting, seeds)
        arm = {"labels": "500 labels"}.get(arm, arm)
        return [(-error(answered(trained(setting, seeds, arm, how)[0], a), u)).tolist() for how in grid]

    operators = tune("operators", RATES, scores, seeds=seeds, progress=progress)
    record("dgno", operators)

    def inverse(arm, grid, seeds):
        if arm == "raw":
            return [(-raw_error(setting, seeds, weight)).tolist() for weight in grid]
        return [(-phase_error(setting, seeds, starts=starts)).tolist() for starts in grid]

    record("dgno", operators, tune("inverse", INVERSE, inverse, seeds=seeds, progress=progress))
