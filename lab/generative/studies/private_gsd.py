"""Survey tables under a privacy budget: the genetic search beside relaxed gradients, independent columns and the noise itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from lab import study
from lab.claims import tunes
from lab.generative import private_gsd as model
from lab.generative.privacy import zcdp_rho
from lab.generative.queries import Domain, Queries, halfspaces, marginals, prefixes, ranges
from lab.generative.relaxed_tables import independent_tables, relaxed_search
from lab.generative.studies.kept import Kept
from lab.generative.studies.privacy_attack import Attack as Attack
from lab.generative.studies.privacy_attack import attack as attack
from lab.generative.surveys import DOMAINS as DOMAINS
from lab.generative.surveys import domain_of as domain_of
from lab.generative.surveys import private_table as private_table
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

KINDS = ("2-way marginals", "half-spaces", "prefixes", "ranges", "all")
GRIDS = {
    "genetic": (10, 25, 50, 100, 200, 400),  # proposals a generation, at equal numbers of proposals in all
    "relaxed": tuple((rate, form) for rate in (0.1, 0.3, 1.0) for form in ("tempered", "straight-through")),
}


class Setting(study.Setting):
    """A survey, what is asked of it, and the budget; delta is 1/n^2."""

    table: Literal["fair", "anes96", "randhie"] = Field("fair", title="Survey")
    queries: Literal["2-way marginals", "half-spaces", "prefixes", "ranges", "all"] = Field("prefixes", title="Queries")
    epsilon: float = Field(1.0, gt=0, title="Privacy budget ε")
    rows: int = Field(500, ge=10, le=20_000, title="Synthetic rows")
    count: int = Field(100, ge=1, le=5_000, title="Half-spaces or prefixes")
    proposals: int = Field(200_000, ge=100, le=50_000_000, title="Proposals of the genetic search")
    steps: int = Field(400, ge=1, le=20_000, title="Steps of the relaxed search")
    rounds: int = Field(5, ge=1, le=50, title="Rounds of the adaptive arm")

    PROFILES: ClassVar = {
        "smoke": {"rows": 60, "count": 20, "proposals": 20_000, "steps": 15, "rounds": 2},
        "full": {"table": "randhie", "rows": 2000, "count": 1000, "proposals": 5_000_000, "steps": 3000, "rounds": 20},
    }


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Mean |error| of each arm against the private table's answers, (seeds,) an arm, and what stands behind it.

    ``noise`` (seeds,) is the error of the noised answers themselves; ``by_query[arm]`` (queries,) errors of the first seed;
    ``truth`` (queries,) answers; ``kinds`` places by kind; ``spent`` the ledger of budget; ``x`` tables of the genetic arm.
    """

    error: dict[str, np.ndarray]
    worst: dict[str, np.ndarray]
    noise: np.ndarray
    by_query: dict[str, np.ndarray]
    truth: np.ndarray
    kinds: dict[str, np.ndarray]
    spent: list
    x: np.ndarray
    epsilon: float
    delta: float
    rho: float

    def to_frame(self):
        """One row an arm: mean and largest error over queries, means over seeds, and the spread over seeds."""
        import pandas as pd

        spread = lambda v: v.std(ddof=1) if len(v) > 1 else math.nan  # noqa: E731
        rows = [
            {"arm": arm, "mean error": v.mean(), "spread": spread(v), "largest error": self.worst[arm].mean()}
            for arm, v in self.error.items()
        ]  # fmt: skip
        return pd.DataFrame([*rows, {"arm": "noised answers", "mean error": self.noise.mean()}])


def workload(kind: str, domain: Domain, count: int) -> Queries:
    """The queries of a kind over a domain."""
    made = {
        "2-way marginals": lambda: marginals(domain, 2),
        "half-spaces": lambda: halfspaces(domain, count),
        "prefixes": lambda: prefixes(domain, count),
        "ranges": lambda: ranges(domain, 4),
    }
    if kind != "all":
        return made[kind]()
    return made["2-way marginals"]() + made["half-spaces"]() + made["prefixes"]()


@study.remembered(size=24)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """All arms on the same noised answers (independent columns measure one-way marginals with the whole budget).

    Controls: ``"permuted"``: the genetic search is handed the noised answers in another order.
    """
    domain, x = private_table(setting.table, data)
    queries, n = workload(setting.queries, domain, setting.count), len(x)
    truth, runs = queries.answers(x), len(seeds)
    delta = 1 / n**2
    rho = zcdp_rho(setting.epsilon, delta)
    generator = torch.Generator().manual_seed(1_000_003 * seeds[0] + runs)
    study_name = setting.queries if setting.queries != "all" else "half-spaces"
    taken = chosen("private_gsd", study_name, GRIDS)
    proposals, (rate, form) = taken["genetic"], taken["relaxed"]
    options = {"generations": max(1, setting.proposals // proposals), "proposals": proposals}
    shared = {"generator": generator, "rows": setting.rows, "runs": runs, "search_seed": seeds[0], **options}
    tell = progress or (lambda done, of: None)
    found = model.release(queries, truth, n, rho, **shared)
    tables = {"genetic": found.x}
    tell(1, 4)
    if control == "permuted":
        order = np.random.default_rng(0).permutation(len(queries))
        start = domain.random(setting.rows, torch.Generator().manual_seed(seeds[0]), runs)
        tables["genetic"] = model.genetic_search(
            queries, found.noised[:, order], start, found.active, seeds[0] + np.arange(runs), **options
        )
    tables["relaxed"] = relaxed_search(
        queries, found.noised, rows=setting.rows, steps=setting.steps, rate=rate, form=form, seed=seeds[0]
    )
    tell(2, 4)
    if setting.queries == "all":
        rounds = min(setting.rounds, len(queries.workloads))
        fewer = {**shared, "generations": max(1, options["generations"] // rounds)}
        tables["genetic, adaptive"] = model.release(queries, truth, n, rho, rounds=rounds, **fewer).x
    single = marginals(domain, 1)
    tables["independent"] = independent_tables(
        single, single.answers(x), n, rho, generator=generator, rows=setting.rows, runs=runs
    )
    tables["random table"] = domain.random(setting.rows, torch.Generator().manual_seed(seeds[0]), runs)
    tell(4, 4)
    off = {arm: np.abs(queries.answers(one) - truth) for arm, one in tables.items()}
    return Result(
        {arm: one.mean(1) for arm, one in off.items()}, {arm: one.max(1) for arm, one in off.items()},
        np.abs(found.noised - truth).mean(1), {arm: one[0] for arm, one in off.items()}, truth, queries.kinds(), found.spent,
        found.x, setting.epsilon, delta, rho,
    )  # fmt: skip


@tunes("private_gsd")
def tune_searches(progress=None) -> None:
    """Both searches on fair without noise, kind by kind: proposals a generation; rate and relaxation. Record all trials."""
    setting = Setting.of("default")
    domain, x = private_table(setting.table)
    done = []
    for kind in KINDS[:-1]:
        queries = workload(kind, domain, setting.count)
        truth = queries.answers(x)

        def score(arm, settings, seeds, queries=queries, truth=truth):
            wanted, found = np.repeat(truth[None], len(seeds), 0), []
            start = domain.random(setting.rows, torch.Generator().manual_seed(seeds[0]), len(seeds))
            for one in settings:
                if arm == "genetic":
                    options = {"generations": setting.proposals // one, "proposals": one}
                    x = model.genetic_search(
                        queries, wanted, start, np.ones(wanted.shape, bool), np.array(seeds), **options
                    )
                else:
                    x = relaxed_search(
                        queries, wanted, rows=setting.rows, steps=setting.steps, rate=one[0], form=one[1], seed=seeds[0]
                    )
                found.append(-np.abs(queries.answers(x) - truth).mean(1))
            return np.array(found)

        done.append(tune(kind, GRIDS, score, seeds=TUNING_SEEDS, progress=progress))
    record("private_gsd", *done)
