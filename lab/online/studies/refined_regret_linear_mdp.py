"""Policies learned from bandit feedback while losses change: regret at three horizons, many seeds and horizons in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field

from lab import checks, study
from lab.claims.registry import tunes
from lab.online.processes import AdversarialMDP, CircleProcess, bandit, linear_process
from lab.online.refined_regret_linear_mdp import METHODS, Learned, learn, learn_circle
from lab.online.studies.common import Kept
from lab.training import comparison

FREE = "log-barrier, no simulator"
WORLDS = {
    "bandit": (*METHODS,),
    "process": (*METHODS, FREE),
    "rare": ("log-barrier", "magnitude-reduced"),
    "circle": ("log-barrier", "exponential"),
}
GRIDS = {
    arm: (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
    if arm.startswith("log-barrier")
    else (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    for arm in (*METHODS, FREE)
}
TUNING_EPISODES = 1000


class Setting(study.Setting):
    """A process whose losses change between episodes; learners see the losses of what they did, nothing else."""

    world: Literal["bandit", "process", "rare", "circle"] = Field("process", title="Process")
    episodes: int = Field(4000, ge=64, le=200_000, title="Episodes")
    actions: int = Field(0, ge=0, le=256, title="Actions (0: ten of the bandit, else four)")
    bonus: float = Field(0.0, ge=0.0, le=10.0, title="Bonus")
    step: float = Field(1.0, ge=0.05, le=20.0, title="Step size over the tuned one", json_schema_extra={"step": 0.05})
    horizons: int = Field(3, ge=1, le=5, title="Horizons, each a quarter of the next")

    PROFILES: ClassVar = {"smoke": {"episodes": 64}, "full": {"episodes": 64_000}}


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """``regret[arm]`` (horizons, seeds) at ``episodes`` (horizons,), ascending; ``paid[arm]`` (seeds, episodes) at the longest.

    ``least[arm]`` (horizons, seeds): the least of eta times an estimate; ``sample[arm]``: some of these numbers; ``policy[arm]``
    (layers, states, actions): the first seed's last policy; ``best`` (seeds,): the best fixed policy's cost at the longest horizon;
    ``random`` (seeds,): the regret of uniform actions there.
    """

    world: str
    episodes: torch.Tensor
    regret: dict[str, torch.Tensor]
    paid: dict[str, torch.Tensor]
    least: dict[str, torch.Tensor]
    sample: dict[str, torch.Tensor]
    policy: dict[str, torch.Tensor]
    best: torch.Tensor
    random: torch.Tensor

    def slope(self, arm: str) -> torch.Tensor:
        """Exponent of regret in the number of episodes, one a seed; regret below 1 counts as 1."""
        x = self.episodes.double().log()
        x = x - x.mean()
        return (self.regret[arm].clamp_min(1.0).log() * x[:, None]).sum(0) / x.square().sum()

    def to_frame(self):
        """One row an arm and horizon: mean regret, spread and worst seed, and the least of eta times an estimate."""
        import pandas as pd

        rows = []
        for arm, values in self.regret.items():
            for k, row in enumerate(values):
                spread = float(row.std()) if len(row) > 1 else float("nan")
                rows.append({"learner": arm, "episodes": int(self.episodes[k]), "regret": float(row.mean()), "spread": spread,
                             "worst seed": float(row.max()), "least eta x estimate": float(self.least[arm][k].min())})  # fmt: skip
        return pd.DataFrame(rows)


def process(setting, seeds, episodes) -> AdversarialMDP:
    """The runs of a setting: every number of ``episodes`` with every seed."""
    if setting.world == "bandit":
        return linear_process(episodes, seeds=seeds, layers=1, states=1, actions=setting.actions or 10)
    kind = "rare" if setting.world == "rare" else "linear"
    return linear_process(episodes, seeds=seeds, actions=setting.actions or 4, kind=kind)


def _learned(setting, arm, eta, seeds, episodes, data=None, control=False) -> list[Learned]:
    """What an arm learned at each number of ``episodes``, ascending."""
    seeds, options = tuple(seeds), {"eta": eta * setting.step, "bonus": setting.bonus, "control": control}
    if setting.world == "circle":
        return [learn_circle(seeds, k, arm, **options) for k in episodes]
    make = (lambda k: bandit(data[: max(k)], seeds)) if data is not None else (lambda k: process(setting, seeds, k))
    if arm == FREE or data is not None:
        name, simulator = ("log-barrier", False) if arm == FREE else (arm, True)
        return [learn(make((k,)), name, seed=seeds[0] + 1, simulator=simulator, **options) for k in episodes]
    found, n = learn(make(episodes), arm, seed=seeds[0] + 1, **options), len(seeds)
    parts = [
        Learned(
            found.regret[i : i + n],
            found.paid[i : i + n],
            found.policy[i : i + n],
            found.least[i : i + n],
            found.sample,
        )
        for i in range(0, n * len(episodes), n)
    ]
    return parts[::-1]


@study.remembered(size=24)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """All learners of the world, with tuned step sizes. ``data``: a table of losses in [0, 1], (rounds, actions), in its place.

    Controls: ``"shuffled"`` gives every estimate to the next action, see :func:`lab.online.learn`.
    """
    seeds = tuple(seeds)
    if data is not None:
        data = checks.tensor("losses", getattr(data, "frame", data), ndim=2, floating=True).double()
        setting = setting.model_copy(update={"world": "bandit", "episodes": len(data)})
    last = setting.episodes
    episodes = [max(4, last // 4**k) for k in range(setting.horizons - 1, -1, -1)]
    eta = comparison.chosen("refined_regret_linear_mdp", "bandit" if setting.world == "bandit" else "process", GRIDS)
    tables: dict = {name: {} for name in ("regret", "paid", "least", "sample", "policy")}
    arms = WORLDS[setting.world]
    for done, arm in enumerate(arms, 1):
        found = _learned(setting, arm, eta[arm], seeds, episodes, data, control)
        tables["regret"][arm] = torch.stack([one.regret for one in found])
        tables["least"][arm] = torch.stack([one.least for one in found])
        tables["paid"][arm], tables["policy"][arm] = found[-1].paid[:, :last], found[-1].policy[0]
        tables["sample"][arm] = found[-1].sample[:5000]
        if progress is not None:
            progress(done, len(arms))
    if setting.world == "circle":
        worlds = [CircleProcess.of(seed, last) for seed in seeds]
        best = torch.tensor([one.best(last) for one in worlds], dtype=torch.float64)
        cost = torch.full_like(best, worlds[0].layers / 2 * last)
    else:
        where = bandit(data, seeds) if data is not None else process(setting, seeds, (last,))
        policy = torch.full_like(where.features[..., 0], 1 / where.features.shape[3])
        pairs = where.occupancy(policy)[..., None] * policy
        if where.table is not None:
            cost = where.table.mean(1).sum().expand(len(seeds))
        else:
            second = sum(where.phase(k) for k in range(last)).double()
            cost = sum(w * (pairs * where.losses[:, j]).sum((1, 2, 3)) for j, w in ((0, last - second), (1, second)))
        best = where.best()
    return Result(setting.world, torch.tensor(episodes), **tables, best=best, random=cost - best)


@tunes("refined_regret_linear_mdp")
def tune(progress=None) -> None:
    """The step size of every learner, on the bandit and on the process, each over as many values, at 1,000 episodes."""

    def score(world):
        setting = Setting.of("default", world=world)

        def evaluate(arm, settings, seeds):
            found = [_learned(setting, arm, eta, seeds, [TUNING_EPISODES])[0].regret for eta in settings]
            return -torch.stack(found).numpy()

        return evaluate

    trials = [
        comparison.tune(world, GRIDS, score(world), seeds=comparison.TUNING_SEEDS, progress=progress)
        for world in ("bandit", "process")
    ]
    comparison.record("refined_regret_linear_mdp", *trials)
