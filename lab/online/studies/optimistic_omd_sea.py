"""Learners on the spectrum between i.i.d. and adversarial losses, all environments and seeds in one batch, with all bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field

from lab import study
from lab.claims.registry import tunes
from lab.online import regret
from lab.online.environments import SPECTRUM, spectrum, stack
from lab.online.learners import AdaGradNorm, GradientDescent, OptimisticFTRL, play
from lab.online.optimistic_omd_sea import (
    DynamicMirrorDescent,
    OptimisticMirrorDescent,
    dynamic_path_bound,
    expected_bound,
    path_bound,
)
from lab.online.studies.common import Kept
from lab.training import comparison

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
TUNED = ("optimistic", "gradient descent", "AdaGrad")
GRIDS = {arm: SCALES for arm in TUNED}
CONTROLS = ("turned", "overstated", "upwards", "one step size")


class Setting(study.Setting):
    """Losses whose mean drifts and whose draws are noisy; each learner meets six environments of the spectrum."""

    loss: Literal["linear", "squared", "regression", "random curvature"] = Field("squared", title="Losses")
    noise: float = Field(0.5, ge=0.0, le=2.0, title="Noise", json_schema_extra={"step": 0.1})
    period: int = Field(20, ge=1, le=1000, title="Rounds between switches")
    rounds: int = Field(4000, ge=20, le=200_000, title="Rounds")
    dimension: int = Field(5, ge=2, le=100, title="Dimension")
    radius: float = Field(1.0, gt=0.0, le=10.0, title="Radius of the set")
    tuned: bool = Field(False, title="Step sizes tuned")

    PROFILES: ClassVar = {"smoke": {"rounds": 100}, "full": {"rounds": 100_000, "dimension": 20}}


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Of each learner: regret, regret of the mean losses against their minimizers, and bounds, at the horizons ``at``.

    ``regret[arm]``, ``dynamic[arm]`` and ``bound[arm]`` (the path's) are (environments, seeds, horizons), in the order of
    ``environments``; ``expected[kind]`` likewise, with ``"FTRL, strongly convex"`` that of Sachs et al.; ``linearized`` and
    ``dynamic_bound`` (environments, seeds) are of the two-layer learner over all rounds; ``risk[arm]`` (environments, seeds,
    horizons) is the excess of the last round's mean loss at the average of the points so far over its minimum.
    """

    environments: tuple[str, ...]
    at: torch.Tensor
    regret: dict[str, torch.Tensor]
    dynamic: dict[str, torch.Tensor]
    bound: dict[str, torch.Tensor]
    expected: dict[str, torch.Tensor]
    linearized: torch.Tensor
    dynamic_bound: torch.Tensor
    risk: dict[str, torch.Tensor]
    noise: torch.Tensor
    drift: torch.Tensor

    def of(self, table: dict, arm: str, environment: str) -> torch.Tensor:
        """One arm's values in one environment, (seeds, horizons)."""
        return table[arm][self.environments.index(environment)]

    def ratio(self, arm: str, bound: torch.Tensor, environments=None) -> torch.Tensor:
        """The largest regret over bound of each seed, over environments and horizons."""
        rows = [self.environments.index(one) for one in environments or self.environments]
        return (self.regret[arm] / bound)[rows].amax((0, 2))

    def to_frame(self):
        """One row an arm and environment: mean regret at the last horizon, its spread over seeds, the mean bound."""
        import pandas as pd

        rows = []
        for arm, values in self.regret.items():
            for k, name in enumerate(self.environments):
                last = values[k, :, -1]
                spread = float(last.std()) if len(last) > 1 else float("nan")
                bound = float(self.bound[arm][k, :, -1].mean()) if arm in self.bound else float("nan")
                rows.append({"learner": arm, "environment": name, "regret": float(last.mean()), "spread": spread,
                             "bound": bound, "dynamic regret": float(self.dynamic[arm][k, :, -1].mean())})  # fmt: skip
        return pd.DataFrame(rows)


KIND = {
    "optimistic": "convex", "no hint": "convex", "optimistic FTRL": "convex",
    "optimistic, strongly convex": "strongly convex", "FTRL, strongly convex": "strongly convex",
    "optimistic, exp-concave": "exp-concave", "Newton step": "exp-concave",
}  # fmt: skip


def learners(setting, *, control: bool | str = False) -> dict:
    """The arms of a setting; a control changes the optimistic ones and the followers of the leader.

    ``"turned"``: minus the last gradient is the hint. ``"overstated"``: lambda taken 50 times too large. ``"upwards"``: every step
    goes up the gradient. ``"one step size"``: the two-layer learner keeps its smallest step size alone.
    """
    hint = "turned" if control == "turned" else "last gradient"
    wrong, sign = 50.0 if control == "overstated" else 1.0, -1.0 if control == "upwards" else 1.0
    scale = dict.fromkeys(TUNED, 1.0)
    if setting.tuned:
        scale = comparison.chosen("optimistic_omd_sea", "switching", GRIDS)
    arms = {
        "optimistic": OptimisticMirrorDescent("convex", hint, sign * scale["optimistic"]),
        "no hint": OptimisticMirrorDescent("convex", "none", scale["optimistic"]),
        "gradient descent": GradientDescent(scale=scale["gradient descent"]),
        "AdaGrad": AdaGradNorm(scale=scale["AdaGrad"]),
        "optimistic FTRL": OptimisticFTRL(scale=sign),
        "two layers": DynamicMirrorDescent(setting.rounds, hint, 1 if control == "one step size" else None),
    }
    if setting.loss != "linear":
        arms |= {
            "optimistic, strongly convex": OptimisticMirrorDescent("strongly convex", hint, sign, wrong),
            "FTRL, strongly convex": OptimisticFTRL(True, sign),
            "gradient descent, strongly convex": GradientDescent(True),
        }
    if setting.loss in ("squared", "regression"):
        arms |= {
            "optimistic, exp-concave": OptimisticMirrorDescent("exp-concave", hint, sign),
            "Newton step": OptimisticMirrorDescent("exp-concave", "none"),
        }
    return arms


def environment(setting, seeds, names=SPECTRUM):
    """The environments of a setting as one batch, seeds of the first one first."""
    options = {
        "noise": setting.noise, "period": setting.period, "dimension": setting.dimension, "loss": setting.loss,
        "radius": setting.radius,
    }  # fmt: skip
    return stack([spectrum(name, setting.rounds, seeds=seeds, **options) for name in names])


@study.remembered(size=16)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """All learners in all environments; for the controls see :func:`learners`."""
    seeds = tuple(seeds)
    where, at = environment(setting, seeds), regret.horizons(setting.rounds)
    form = lambda values: values.unflatten(0, (len(SPECTRUM), len(seeds)))  # noqa: E731
    paid, moving, bound, risk = {}, {}, {}, {}
    arms = learners(setting, control=control)
    for done, (arm, learner) in enumerate(arms.items()):
        played = play(learner, where)
        paid[arm] = form(regret.static(where, played.losses, at))
        moving[arm] = form(regret.dynamic(where, played.points)[:, at - 1])
        if arm in KIND:
            wrong = getattr(learner, "overstated", 1.0)
            bound[arm] = form(path_bound(where, played, KIND[arm], at, overstated=wrong))
        if arm == "two layers":
            u = where.minimizers()
            linearized = form((played.gradients * (played.points - u)).sum((1, 2)))
            dynamic = form(dynamic_path_bound(where, played, learner, regret.path_length(u)))
        risk[arm] = form(_risk(where, played.points, at))
        if progress is not None:
            progress(done + 1, len(arms))
    expected = {}
    for kind in sorted({KIND[arm] for arm in paid if arm in KIND}):
        expected[kind] = form(expected_bound(where, kind, at))
    if setting.loss != "linear":
        expected["FTRL, strongly convex"] = form(expected_bound(where, "strongly convex", at, of="FTRL"))
    noise, drift = (form(value.cumsum(1)[:, at - 1]) for value in (where.noise2, where.drift2))
    return Result(SPECTRUM, at, paid, moving, bound, expected, linearized, dynamic, risk, noise, drift)


def _risk(where, points, at):
    average = points.cumsum(1)[:, at - 1] / at[:, None]
    slope, curvature = where.mean_slope[:, -1:], where.mean_curvature
    value = lambda x: 0.5 * curvature * x.square().sum(-1) - (slope * x).sum(-1)  # noqa: E731
    return value(average) - value(where.minimizers()[:, -1:])


@tunes("optimistic_omd_sea")
def tune(progress=None) -> None:
    """The step sizes of the three learners compared under switches, each over the same multiples of theory's."""
    setting = Setting.of("default", loss="linear", noise=0.1)
    make = {"optimistic": OptimisticMirrorDescent, "gradient descent": GradientDescent, "AdaGrad": AdaGradNorm}

    def score(arm, scales, seeds):
        where = environment(setting, seeds, ("switching",))
        played = [play(make[arm](scale=scale), where) for scale in scales]
        return torch.stack([-regret.static(where, one.losses)[:, 0] for one in played]).numpy()

    comparison.record(
        "optimistic_omd_sea",
        comparison.tune("switching", GRIDS, score, seeds=comparison.TUNING_SEEDS, progress=progress),
    )
