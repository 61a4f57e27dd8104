"""All learners of the room on one data set, a stream to predict or a table of losses, each shown every round once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field

from lab import datasets, study
from lab.online import regret
from lab.online.environments import Experts, stack, stream
from lab.online.learners import AdaGradNorm, GradientDescent, Hedge, OptimisticFTRL, play
from lab.online.optimistic_omd_sea import DynamicMirrorDescent, OptimisticMirrorDescent
from lab.online.processes import bandit
from lab.online.refined_regret_linear_mdp import learn
from lab.online.studies.common import Kept

BANDITS = {"log-barrier": 20.0, "magnitude-reduced": 2.0, "exponential": 2.0}


class Setting(study.Setting):
    """Every learner once through the data, its step sizes those of its theory times one factor for all."""

    kind: Literal["stream", "losses"] = Field("stream", title="Data")
    scale: float = Field(1.0, ge=0.05, le=50.0, title="Step size over that of theory", json_schema_extra={"step": 0.05})
    rounds: int = Field(1797, ge=20, le=200_000, title="Rounds at most")

    PROFILES: ClassVar = {"smoke": {"rounds": 200}, "full": {"rounds": 200_000}}


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """``regret[arm]`` (seeds, horizons) at the horizons ``at``, ``loss[arm]`` (seeds,) a round, CPU ``seconds[arm]`` a run.

    ``best`` (seeds,): the loss a round of the best fixed point in hindsight.
    """

    at: torch.Tensor
    regret: dict[str, torch.Tensor]
    loss: dict[str, torch.Tensor]
    seconds: dict[str, float]
    best: torch.Tensor
    notes: tuple[str, ...]

    def to_frame(self):
        """One row a learner: loss a round, regret, its spread over seeds, CPU seconds of one run."""
        import pandas as pd

        rows = []
        for arm, values in self.regret.items():
            last = values[:, -1]
            spread = float(last.std()) if len(last) > 1 else float("nan")
            rows.append({"learner": arm, "loss a round": float(self.loss[arm].mean()), "regret": float(last.mean()),
                         "spread": spread, "CPU seconds": self.seconds[arm]})  # fmt: skip
        return pd.DataFrame(rows).sort_values("regret", ignore_index=True)


@study.remembered(size=6)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """``data``: a loaded table. With a ``kind`` of "stream" its target is predicted from its other columns, row by row in the order
    of the file; with "losses" all its columns are losses of actions. Without data: the digits (above four or not), ordered by
    each seed, or losses of eight experts whose quality drifts, drawn for each seed.
    """
    seeds = tuple(seeds)
    notes: tuple[str, ...] = ()
    if data is not None:
        notes, seeds = tuple(getattr(data, "notes", ())), seeds if setting.kind == "losses" else seeds[:1]
    if setting.kind == "stream":
        where, arms = _stream(setting, seeds, data), _predictors(setting)
    else:
        tables = _tables(setting, seeds, data)
        where, arms = Experts.of(tables), _mixers(setting)
    at = regret.horizons(where.rounds)
    paid, loss, seconds = {}, {}, {}
    total = len(arms) + len(BANDITS) * (setting.kind == "losses")
    for done, (arm, learner) in enumerate(arms.items(), 1):
        began = time.process_time()
        played = play(learner, where)
        seconds[arm] = (time.process_time() - began) / where.batch
        paid[arm], loss[arm] = regret.static(where, played.losses, at), played.losses.mean(1)
        if progress is not None:
            progress(done, total)
    best = loss[arm] - paid[arm][:, -1] / where.rounds
    if setting.kind == "losses":
        low, high = tables.amin(), tables.amax()
        notes = (
            *notes,
            f"bandits see (loss - {float(low):.3g}) / {float(high - low):.3g}; their regret is scaled back",
        )
        for arm, eta in BANDITS.items():
            began = time.process_time()
            found = [learn(bandit((table - low) / (high - low), (seed,)), arm, eta=eta * setting.scale, seed=seed)
                     for seed, table in zip(seeds, tables)]  # fmt: skip
            name = f"{arm} (bandit)"
            seconds[name] = (time.process_time() - began) / len(seeds)
            costs = torch.cat([one.paid for one in found]) * (high - low) + low
            paid[name], loss[name] = regret.static(where, costs, at), costs.mean(1)
    return Result(at, paid, loss, seconds, best, notes)


def _predictors(setting):
    s = setting.scale
    return {
        "optimistic": OptimisticMirrorDescent(scale=s),
        "optimistic, exp-concave": OptimisticMirrorDescent("exp-concave", scale=s),
        "Newton step": OptimisticMirrorDescent("exp-concave", "none", s),
        "optimistic FTRL": OptimisticFTRL(scale=s),
        "two layers": DynamicMirrorDescent(),
        "gradient descent": GradientDescent(scale=s),
        "AdaGrad": AdaGradNorm(s),
    }


def _mixers(setting):
    s = setting.scale
    return {
        "optimistic Hedge": Hedge(True, s),
        "Hedge": Hedge(False, s),
        "optimistic": OptimisticMirrorDescent(scale=s),
        "two layers": DynamicMirrorDescent(),
        "gradient descent": GradientDescent(scale=s),
        "AdaGrad": AdaGradNorm(s),
    }


def _stream(setting, seeds, data):
    if data is None:
        digits = datasets.load("digits")
        x, y = digits.x.flatten(1).double(), 2.0 * (digits.label > 4).double() - 1
        orders = [
            torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[: setting.rounds] for seed in seeds
        ]
        return stack([stream(x[order], y[order], radius=5.0) for order in orders])
    if not isinstance(data, datasets.Table) or data.target is None:
        raise ValueError(
            "data must be a table with a target column for kind='stream', for example load(path, target='demand')"
        )
    x, y, *_ = data.numeric()
    if not y.is_floating_point() and int(y.max()) > 1:
        raise ValueError(f"the target {data.target!r} holds classes; a stream needs numbers, see target_type='numbers'")
    x = x.double()[: setting.rounds]
    return stream(torch.cat([x, torch.ones(len(x), 1).double()], 1), y.double()[: setting.rounds], radius=5.0)


def _tables(setting, seeds, data):
    if data is not None:
        table = Experts.of(data).table[0, : setting.rounds]
        if not float(table.amax() - table.amin()) > 0:
            raise ValueError("losses must differ somewhere, got one value throughout")
        return table.expand(len(seeds), -1, -1)
    t = torch.arange(setting.rounds, dtype=torch.float64)[:, None] / setting.rounds
    found = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        phase, noise = torch.rand(8, generator=generator), torch.rand(setting.rounds, 8, generator=generator)
        found.append(0.5 + 0.2 * torch.sin(2 * torch.pi * (t + phase)) + 0.3 * (noise.double() - 0.5))
    return torch.stack(found)
