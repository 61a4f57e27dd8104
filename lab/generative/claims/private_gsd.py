"""Measurements of the statements about private synthetic tables."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import torch

from lab.claims import Effects, measures
from lab.generative import privacy
from lab.generative import private_gsd as model
from lab.generative.queries import Column, Domain, halfspaces, marginals, prefixes
from lab.generative.relaxed_tables import RelaxedCounts
from lab.generative.studies import private_gsd as study
from lab.kernels.genetic import count_queries, search_tables


def _small():
    """A domain of two categorical columns and a real one, and queries of every kind over it."""
    domain = Domain([Column("a", (0, 1, 2), ordinal=True), Column("b", (0, 1)), Column("c", low=0, high=1)])
    return domain, marginals(domain, 2, bins=4) + marginals(domain, 1, bins=4) + prefixes(domain, 40) + halfspaces(
        domain, 20
    )


@measures("private_gsd.sensitivities")
def sensitivities(trial):
    """All replacements between the rows of a grid. Effects: change less the stated one, and its distance for marginals.

    Control: the sensitivity 1 of added and removed rows.
    """
    domain, queries = _small()
    grid = np.array(list(itertools.product(range(3), range(2), np.linspace(0, 1, 9))))
    counts = count_queries(grid[:, None, :], queries.layout)
    change = counts[:, None] - counts[None]
    excess, distance = -math.inf, 0.0
    for one in queries.workloads:
        largest = float(np.sqrt((change[..., one.start : one.stop] ** 2).sum(-1)).max())
        cells = "marginal" in one.kind
        stated = 1.0 if trial.control and cells else one.sensitivity
        excess = max(excess, largest - stated)
        distance = max(distance, abs(largest - stated) if cells else 0.0)
    return Effects(
        [excess, distance, float(-counts.min())], {"workloads": len(queries.workloads), "replacements": len(grid) ** 2}
    )


@measures("private_gsd.conversion")
def conversion(trial):
    """A search over a fine grid of alpha, refined, beside the infimum; rho and epsilon back again. Control: the closed form."""
    worst = 0.0
    for rho, epsilon in itertools.product((0.1, 0.5, 3.0), (0.1, 1.0, 4.0, 8.0)):
        log_delta = lambda t, rho=rho, epsilon=epsilon: (  # noqa: E731
            torch.exp(t) * ((1 + torch.exp(t)) * rho - epsilon + t - torch.log1p(torch.exp(t)))
            - torch.log1p(torch.exp(t))
        )
        centre, width = torch.tensor(0.0, dtype=torch.float64), 30.0
        for _ in range(6):
            t = centre + torch.linspace(-width, width, 4001, dtype=torch.float64)
            values = log_delta(t)
            centre, width = t[values.argmin()], width / 500
        wanted = min(float(values.min()), 0.0)
        delta = privacy.zcdp_delta(rho, epsilon)
        if trial.control:
            delta = math.exp(-((max(epsilon - rho, 0.0)) ** 2) / (4 * rho))
        if wanted < 0:
            worst = max(worst, abs((math.log(delta) if delta else -math.inf) - wanted) / abs(wanted))
    for epsilon, delta in itertools.product((0.1, 1.0, 8.0), (1e-9, 1e-4)):
        rho = privacy.zcdp_rho(epsilon, delta)
        worst = max(worst, abs(privacy.zcdp_epsilon(rho, delta) / epsilon - 1))
    return Effects(worst)


@measures("private_gsd.accounting-covers-gaussian-curve")
def covers(trial):
    """Exact delta(epsilon) of the Gaussian mechanism with mu = sqrt(2 rho) less the stated one. Control: twice that mu."""
    worst = -math.inf
    for rho, epsilon in itertools.product((1e-4, 1e-2, 0.3, 2.0), (0.05, 0.5, 2.0, 6.0)):
        mu = math.sqrt(2 * rho) * (2 if trial.control else 1)
        upper, lower = (
            torch.special.log_ndtr(torch.tensor(-epsilon / mu + s * mu / 2, dtype=torch.float64)) for s in (1, -1)
        )
        exact = float(upper.exp() - (epsilon + lower).exp())
        worst = max(worst, exact - privacy.zcdp_delta(rho, epsilon))
    return Effects(worst)


@measures("private_gsd.attack-stays-below-epsilon")
def attacked(trial):
    """The largest proved epsilon less the stated one, and a tenth of the stated one less the largest. Control: half the noise."""
    values, details = [], {}
    for epsilon, delta in ((3.0, 0.01),) if trial.budget == "smoke" else ((3.0, 0.01), (1.0, 0.05)):
        found = study.attack(epsilon, delta, seed=trial.seeds[0], factor=0.5 if trial.control else 1.0)
        proved = max(one.epsilon for one in found)
        values += [proved - epsilon, 0.1 * epsilon - proved]
        details |= {f"epsilon {epsilon:g}": {one.mechanism: round(one.epsilon, 3) for one in found}}
    return Effects(values, details)


@measures("private_gsd.threshold-has-no-gradient")
def no_gradient(trial):
    """Answers of all rows moved by 1e-9, per unit of movement, and the share of replaced rows that change no answer.

    Control: the relaxed counts in their place.
    """
    domain, _ = _small()
    queries = prefixes(domain, 60) + halfspaces(domain, 60)
    generator = torch.Generator().manual_seed(trial.seeds[0])
    x = domain.random(50, generator)[0]
    moved = x + 1e-9 * (domain.levels == 0)
    slope = np.abs(queries.answers(moved) - queries.answers(x)).max() / 1e-9
    if trial.control:
        soft = torch.rand(1, 50, int(domain.start[-1]), generator=generator).requires_grad_()
        (gradient,) = torch.autograd.grad(RelaxedCounts(queries)(soft, 0.05, "tempered").square().sum(), soft)
        slope = float(gradient.abs().max())
    other = np.repeat(x[None], 50, 0)
    other[np.arange(50), np.arange(50)] = domain.random(50, generator)[0]
    still = (queries.answers(other) == queries.answers(x)).all(1).mean()
    return Effects([float(slope), float(still), float(-queries.answers(x).min())])


@measures("private_gsd.incremental-counts-exact")
def exact(trial):
    """Carried and recounted counts after a search, objectives, and how far it fell. Control: the counts before the search."""
    domain, queries = _small()
    generator = torch.Generator().manual_seed(trial.seeds[0])
    start = domain.random(60, generator, 2)
    wanted = np.minimum(domain.random(60, generator, 2), domain.random(60, generator, 2))
    targets, active = count_queries(wanted, queries.layout), np.ones((2, len(queries)), bool)
    options = {"generations": 300, "proposals": 20}
    x, counts, report = search_tables(start, queries.layout, targets, active, np.arange(2), **options)
    before, after = (((count_queries(one, queries.layout) - targets) ** 2).sum(1) for one in (start, x))
    recounted = count_queries(start if trial.control else x, queries.layout)
    objective = np.abs(report[:, 0] - after) / np.maximum(after, 1)
    share = after.sum() / before.sum() - 0.5 if before.sum() else math.nan
    return Effects([float(np.abs(counts - recounted).max()), float(objective.max()), float(share)])


@measures("private_gsd.search-sees-noised-answers-only")
def noised_only(trial):
    """A table found again from the noised answers of its release. Control: from the noised answers of another release."""
    domain, queries = _small()
    rows = domain.random(200, torch.Generator().manual_seed(5), 2).min(0)
    truth = queries.answers(rows)

    def made(seed):
        generator = torch.Generator().manual_seed(seed)
        return model.release(queries, truth, 200, 1.0, generator=generator, rows=40, generations=200, proposals=20)

    out = made(trial.seeds[0])
    noised = made(trial.seeds[0] + 1).noised if trial.control else out.noised
    start = domain.random(40, torch.Generator().manual_seed(0))
    options = {"generations": 200, "proposals": 20}
    again = model.genetic_search(queries, noised, start, np.ones(noised.shape, bool), [0], **options)
    errors = [np.abs(queries.answers(one) - truth).mean() for one in (again, start)]
    return Effects([float(np.abs(again - out.x).max()), float(errors[0] / errors[1] - 0.5)])


@measures("private_gsd.incremental-speed")
def speed(trial):
    """Seconds a proposal with recounting over those with incremental statistics, marginals and thresholds of fair, one core.

    Control: recounting in both arms.
    """
    domain = study.domain_of("fair")
    queries = marginals(domain, 2) + prefixes(domain, 50) + halfspaces(domain, 50)
    active = np.ones((1, len(queries)), bool)

    def seconds(incremental, generations, seed):
        x = domain.random(trial.of(200, 500, 1000), torch.Generator().manual_seed(seed))
        targets = count_queries(domain.random(x.shape[1], torch.Generator().manual_seed(seed + 1)), queries.layout)

        def once(count):
            began = time.process_time()
            search_tables(
                x, queries.layout, targets, active, np.array([seed]), generations=count, proposals=10,
                incremental=incremental,
            )  # fmt: skip
            return time.process_time() - began

        return (min(once(generations) for _ in range(2)) - once(0)) / generations

    ratios = [
        seconds(False, 4, seed) / max(seconds(not trial.control, 4 if trial.control else 400, seed), 1e-9)
        for seed in trial.seeds
    ]
    return Effects(ratios)


def _run(trial, kind, control="permuted", **changes):
    setting = study.Setting.of(trial.budget, queries=kind, **changes)
    return study.run(setting, seeds=trial.seeds, data=trial.data, control=control if trial.control else False)


@measures("private_gsd.relaxation-keeps-error", stacked=True)
def keeps_error(trial):
    """Error of the relaxed over that of the genetic search without noise; the smaller ratio of prefixes and half-spaces."""
    ratios, details = [], {}
    for kind in ("prefixes", "half-spaces"):
        error = _run(trial, kind, epsilon=math.inf).error
        ratios.append(error["relaxed"] / error["genetic"])
        details[kind] = {arm: float(f"{value.mean():.3g}") for arm, value in error.items()}
    return Effects(np.minimum(*ratios), details)


LOG_RATIOS = {  # queries, arm whose error stands above, arm whose error stands below, what else is set
    "private_gsd.better-on-half-spaces": ("half-spaces", "relaxed", "genetic", {}),
    "private_gsd.better-on-prefixes": ("prefixes", "relaxed", "genetic", {}),
    "private_gsd.better-on-ranges": ("ranges", "relaxed", "genetic", {"table": "anes96"}),
    "private_gsd.equal-on-marginals": ("2-way marginals", "genetic", "relaxed", {}),
    "private_gsd.better-than-independent": ("2-way marginals", "independent", "genetic", {}),
    "private_gsd.census": ("all", "relaxed", "genetic", {}),
}


@measures(*LOG_RATIOS, stacked=True)
def log_ratio(trial):
    """Log ratio of the mean errors of two arms on one kind of queries. Control: answers permuted."""
    kind, over, under, changes = LOG_RATIOS[trial.claim.id]
    result = _run(trial, kind, **changes)
    details = {arm: float(f"{value.mean():.3g}") for arm, value in result.error.items()}
    return Effects(np.log(result.error[over] / result.error[under]), details | {"noise": float(result.noise.mean())})


@measures("private_gsd.search-is-a-projection", stacked=True)
def projection(trial):
    """Error of the table over that of the noised answers. Control: answers permuted."""
    result = _run(trial, "all", table="anes96")
    return Effects(result.error["genetic"] / result.noise, {"noise": float(result.noise.mean())})


@measures("private_gsd.error-grows-as-epsilon-falls", stacked=True)
def ladder(trial):
    """Errors at three budgets on all queries. Control: the budgets in the opposite order."""
    budgets = (10.0, 1.0, 0.1)
    errors = [_run(trial, "prefixes", False, epsilon=one).error["genetic"] for one in budgets]
    return Effects(np.stack(errors[::-1] if trial.control else errors, 1), {"epsilon": budgets})
