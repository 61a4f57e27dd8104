"""Networks against uniform points and three densities on two peaks, and against a flow in more dimensions; Monte Carlo errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from pydantic import Field

from lab import study
from lab.claims import tunes
from lab.physics import aas
from lab.physics.residuals import Box, Networks, forward_laplacian
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

RATES = {arm: (2e-3, 4e-3, 8e-3) for arm in ("uniform", "more points", "adversary", "residual")}
FLOWS = {
    "uniform": ((2e-3, 0), (4e-3, 0), (8e-3, 0)),
    "flow": ((2e-3, 1e-2), (4e-3, 1e-2), (8e-3, 1e-2)),  # rate of the network, beta
}
NAMES = {
    "uniform": "uniform points",
    "more points": "4 times as many uniform points",
    "adversary": "the adversary's points",
    "residual": "points in proportion to r²",
    "permuted": "the adversary's cells in random order",
    "flow": "points of the flow",
    "mirrored": "points of the flow, reflected",
}


class Setting(study.Setting):
    """-Laplace u = s on [-1, 1]^2 with two Gaussian peaks, and -Laplace u + u - u^3 = s with one in more dimensions."""

    exponent: float = Field(25.0, ge=1, le=1000, title="Exponent of the peaks")
    kappa: float = Field(0.1, gt=0, le=10, title="Smoothness κ (β in units of β₀)")
    steps: int = Field(1200, ge=10, le=100_000, title="Training steps", json_schema_extra={"step": 100})
    points: int = Field(160, ge=8, le=100_000, title="Points per step")
    width: int = Field(32, ge=4, le=512, title="Width of the network")
    grid: int = Field(32, ge=4, le=256, title="Cells a side of the adversary")
    dimensions: int = Field(5, ge=2, le=20, title="Dimensions of the second problem")
    steps_high: int = Field(900, ge=10, le=100_000, title="Training steps in the second problem")
    points_high: int = Field(240, ge=8, le=100_000, title="Points per step in the second problem")
    every: int = Field(40, ge=1, le=1000, title="Steps between two answers of the adversary")

    PROFILES: ClassVar = {
        "smoke": {"exponent": 8.0, "steps": 60, "points": 60, "width": 16, "grid": 12, "steps_high": 40,
                  "points_high": 60, "every": 10},
        "full": {"exponent": 60.0, "steps": 20_000, "points": 1000, "width": 64, "grid": 64, "dimensions": 10, "steps_high": 20_000,
                 "points_high": 2000},
    }  # fmt: skip


@dataclass(frozen=True)
class Result:
    """By arm, of all seeds: ``error`` relative L2 (seeds,), ``rms`` residual over that of u = 0, ``ratio`` Var(r^2) / <r^2>^2.

    ``r2[arm]`` (seeds, n, n) and ``u[arm]``, ``truth`` (n, n) on a grid, in two dimensions alone; ``samples[arm]`` (1000, d) and
    ``losses[arm]`` (steps, seeds). ``zero``: errors of u = 0 are 1.
    """

    setting: Setting
    seeds: tuple[int, ...]
    error: Mapping[str, torch.Tensor]
    rms: Mapping[str, torch.Tensor]
    ratio: Mapping[str, torch.Tensor]
    r2: Mapping[str, torch.Tensor]
    u: Mapping[str, torch.Tensor]
    truth: torch.Tensor
    samples: Mapping[str, torch.Tensor]
    losses: Mapping[str, torch.Tensor]

    def to_frame(self):
        """One row an arm and seed."""
        import pandas as pd

        return pd.DataFrame(
            [{"points": NAMES[arm], "seed": seed, "relative L2 error": float(self.error[arm][k]),
              "residual rms": float(self.rms[arm][k]), "Var(r²) / mean²": float(self.ratio[arm][k])}
             for arm in self.error for k, seed in enumerate(self.seeds)]
        )  # fmt: skip

    def save(self, path) -> None:
        """Write the table as CSV."""
        self.to_frame().to_csv(path, index=False)

    @staticmethod
    def load(path):
        """Read the table that :meth:`save` wrote."""
        import pandas as pd

        return pd.read_csv(path)


def peaks(exponent: float) -> tuple[aas.Problem, object]:
    """-Laplace u = s on [-1, 1]^2, u the sum of exp(-exponent |x - p|^2), p = (0.5, 0.5) and (-0.5, -0.5); and u."""
    places = torch.tensor([[0.5, 0.5], [-0.5, -0.5]])

    def parts(x):
        square = (x[..., None, :] - places.to(x)).square().sum(-1)
        return square, torch.exp(-exponent * square)

    def residual(x, u):
        square, peak = parts(x)
        return -u.laplacian - ((4 * exponent - 4 * exponent**2 * square) * peak).sum(-1)

    def exact(x):
        return parts(x)[1].sum(-1)

    return aas.Problem(Box((-1, -1), (1, 1)), residual, boundary=exact), exact


STEEP, CENTRE = 5.0, 0.25


def high(d: int) -> tuple[aas.Problem, object]:
    """-Laplace u + u - u^3 = s on [-1, 1]^d, u = exp(-5 |x - p|^2), all coordinates of p 0.25; and u."""

    def exact(x):
        return torch.exp(-STEEP * (x - CENTRE).square().sum(-1))

    def residual(x, u):
        peak, square = exact(x), (x - CENTRE).square().sum(-1)
        source = (2 * STEEP * d - 4 * STEEP**2 * square) * peak + peak - peak**3
        return -u.laplacian + u.value - u.value**3 - source

    return aas.Problem(Box((-1,) * d, (1,) * d), residual, boundary=exact), exact


@lru_cache(maxsize=32)
def trained(setting: Setting, seeds: tuple[int, ...], arm: str, rate: float | None = None):
    """Networks of all seeds, side by side, of one arm in two dimensions; its losses (steps, seeds) and sampler."""
    rate = rate or chosen("aas", "two dimensions", RATES)["adversary" if arm == "permuted" else arm]
    problem, _ = peaks(setting.exponent)
    plain = arm in ("uniform", "more points")
    sampler = (
        aas.Uniform(problem.box, seeds) if plain else aas.OnGrid(problem.box, seeds, setting.grid, setting.kappa, arm)
    )
    points = setting.points * (4 if arm == "more points" else 1)
    net, losses = aas.train(problem, sampler, seeds=seeds, steps=setting.steps, rate=rate, points=points, width=setting.width,
                            every=setting.every)  # fmt: skip
    return net, losses, sampler


@lru_cache(maxsize=32)
def trained_high(setting: Setting, seeds: tuple[int, ...], arm: str, choice: tuple[float, float] | None = None):
    """The same in more dimensions: ``uniform``, ``flow`` or ``mirrored``."""
    rate, beta = choice or chosen("aas", "more dimensions", FLOWS)["uniform" if arm == "uniform" else "flow"]
    problem, _ = high(setting.dimensions)
    sampler = aas.Uniform(problem.box, seeds)
    if arm != "uniform":
        sampler = aas.ByFlow(problem.box, seeds, beta=beta, mirrored=arm == "mirrored")
    net, losses = aas.train(problem, sampler, seeds=seeds, steps=setting.steps_high, rate=rate, points=setting.points_high,
                            width=setting.width, every=setting.every)  # fmt: skip
    return net, losses, sampler


def judged(problem: aas.Problem, exact, net: Networks, x: torch.Tensor, weight: torch.Tensor | None = None):
    """Relative L2 error (seeds,) and r^2 (seeds, n) in units of <r^2> of u = 0, at points (n, d) with weights (n,)."""
    models = len(net.weights[0])
    errors, squares = [], []
    for part in x.split(8192):
        part = part.expand(models, *part.shape)
        errors.append(forward_laplacian(net, part).value - exact(part))
        squares.append((problem.of(net, part) / problem.scale()).square())
    weight = torch.ones(len(x)) if weight is None else weight
    error = (weight * torch.cat(errors, 1).square()).sum(1) / (weight * exact(x).square()).sum()
    return error.sqrt(), torch.cat(squares, 1)


def judging_points(d: int, n: int = 8000) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (2 n, d), half of them uniform and half near the peak of :func:`high`, and weights that make them uniform."""
    g, variance = torch.Generator().manual_seed(17), 1 / (4 * STEEP)
    near = CENTRE + variance**0.5 * torch.randn(n, d, generator=g)
    x = torch.cat([2 * torch.rand(n, d, generator=g) - 1, near])
    normal = torch.exp(-(x - CENTRE).square().sum(-1) / (2 * variance)) / (2 * torch.pi * variance) ** (d / 2)
    return x, (x.abs() < 1).all(-1) / (normal + 0.5**d)


@study.remembered(size=8)
def run(setting: Setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Two peaks in two dimensions, all arms; the control is the adversary's density with its cells in random order."""
    arms = ["uniform", "permuted" if control else "adversary", *([] if control else ["residual", "more points"])]
    problem, exact = peaks(setting.exponent)
    n = 60
    x = problem.box.centres(n)
    found: dict[str, dict] = {name: {} for name in ("error", "rms", "ratio", "r2", "u", "samples", "losses")}
    for done, arm in enumerate(arms):
        net, losses, sampler = trained(setting, seeds, arm)
        error, r2 = judged(problem, exact, net, x)
        found["error"][arm], found["rms"][arm], found["ratio"][arm] = error, r2.mean(1).sqrt(), spread(r2)
        found["r2"][arm], found["losses"][arm] = r2.reshape(-1, n, n), losses
        found["u"][arm] = net(x.expand(len(seeds), *x.shape))[..., 0].reshape(-1, n, n)
        found["samples"][arm] = sampler.draw(1000, [torch.Generator().manual_seed(s) for s in seeds])[0]
        if progress is not None:
            progress((done + 1) / len(arms))
    return Result(setting, tuple(seeds), truth=exact(x).reshape(n, n), **found)


@study.remembered(size=8)
def more(setting: Setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """One peak in more dimensions: uniform points and the flow; the control reflects the flow's points at the centre."""
    problem, exact = high(setting.dimensions)
    x, weight = judging_points(setting.dimensions)
    found: dict[str, dict] = {name: {} for name in ("error", "rms", "ratio", "r2", "u", "samples", "losses")}
    for arm in ("uniform", "mirrored" if control else "flow"):
        net, losses, sampler = trained_high(setting, seeds, arm)
        error, r2 = judged(problem, exact, net, x, weight)
        share = weight / weight.sum()
        mean = (share * r2).sum(1)
        found["error"][arm], found["rms"][arm], found["losses"][arm] = error, mean.sqrt(), losses
        found["ratio"][arm] = (share * r2.square()).sum(1) / mean.square() - 1
        found["samples"][arm] = sampler.draw(1000, [torch.Generator().manual_seed(s) for s in seeds])[0]
    return Result(setting, tuple(seeds), truth=exact(x), **found)


def spread(r2: torch.Tensor) -> torch.Tensor:
    """Var(r^2) / <r^2>^2 over the last axis."""
    return r2.var(-1, correction=0) / r2.mean(-1).square().clamp_min(1e-30)


def monte_carlo_errors(r2: torch.Tensor, size, points: int, count: int, seed: int, draws: int = 100) -> torch.Tensor:
    """Relative root mean square error (count,) of <r^2 v> from ``points`` uniform points, over random weights v with <v> = 1.

    v = exp(sum of 8 random cosines) / mean, on the cells of r^2 (n, n); ``draws`` samples each.
    """
    n, g = len(r2), torch.Generator().manual_seed(900 + seed)
    y, x = torch.meshgrid(*[(torch.arange(n) + 0.5) / n] * 2, indexing="ij")
    waves = torch.randint(0, 5, (count, 8, 2), generator=g)
    height = 0.5 * torch.randn(count, 8, 1, 1, generator=g)
    v = (
        (height * torch.cos(torch.pi * waves[..., :1, None] * y) * torch.cos(torch.pi * waves[..., 1:, None] * x))
        .sum(1)
        .exp()
    )
    f = (v / v.mean((1, 2), keepdim=True) * r2).flatten(1).double()
    index = torch.randint(0, n * n, (draws, points), generator=g)
    true = f.mean(1)
    return (f[:, index].mean(-1) - true[:, None]).square().mean(1).sqrt() / true.clamp_min(1e-300)


@tunes("aas")
def tune_rates(progress=None) -> None:
    """Tune three settings of every arm by the error after half of the default's steps; record all trials."""
    setting = Setting.of("default", steps=600, steps_high=900)

    def plane(arm, grid, seeds):
        problem, exact = peaks(setting.exponent)
        nets = [trained.__wrapped__(setting, tuple(seeds), arm, rate)[0] for rate in grid]
        return [(-judged(problem, exact, net, problem.box.centres(60))[0]).tolist() for net in nets]

    def space(arm, grid, seeds):
        problem, exact = high(setting.dimensions)
        nets = [trained_high.__wrapped__(setting, tuple(seeds), arm, choice)[0] for choice in grid]
        return [(-judged(problem, exact, net, *judging_points(setting.dimensions))[0]).tolist() for net in nets]

    seeds = TUNING_SEEDS[:2]
    record("aas", tune("two dimensions", RATES, plane, seeds=seeds, progress=progress),
           tune("more dimensions", FLOWS, space, seeds=seeds, progress=progress))  # fmt: skip
