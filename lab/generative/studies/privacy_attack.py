"""An attacker against the private releases: what epsilon she proves from 10,000 of them, beside the stated one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from lab.claims import statistics
from lab.generative import private_gsd as model
from lab.generative.privacy import zcdp_rho
from lab.generative.queries import Column, Domain, marginals, prefixes


@dataclass(frozen=True)
class Attack:
    """What an attacker found who knows both tables: the lower bound of epsilon, threshold, shares of alarms."""

    mechanism: str
    stated: float
    epsilon: float
    threshold: float
    right: float
    wrong: float


def attack(epsilon: float, delta: float, *, runs: int = 10_000, seed: int = 0, factor: float = 1.0) -> list[Attack]:
    """Lower bounds of epsilon from ``runs`` releases of each of two neighbouring tables of 20 rows, by mechanism.

    The attacker knows the tables, watches log-likelihood ratios (of released tables: the projection on the difference of answers),
    fixes threshold and direction on 4,000 runs of her own, and is then judged on fresh runs: with the Clopper-Pearson bounds
    (95 %) of the two shares of alarms, epsilon >= log((right - delta)/wrong). ``factor`` multiplies the noise behind the back of
    the accounting.
    """
    domain = Domain(
        [Column("a", (0, 1, 2), ordinal=True), Column("b", (0, 1, 2), ordinal=True), Column("c", low=0, high=1)]
    )
    queries = marginals(domain, 2, bins=2) + prefixes(domain, 6, group=3)
    first = np.zeros((20, 3))
    second = first.copy()
    second[-1] = (2, 2, 1)
    answers = [queries.answers(first), queries.answers(second)]
    rho = zcdp_rho(epsilon, delta) / factor**2
    found = []
    for name, options in (
        ("all at once", {}),
        ("one adaptive round", {"rounds": 1}),
        ("the synthetic table", {"generations": 25, "proposals": 4}),
    ):
        pilot, judged = (
            [
                _statistic(name, queries, answers, truth, rho, size, seed + shift + place, options)
                for place, truth in enumerate(answers)
            ]
            for size, shift in ((4000, 50), (runs, 0))
        )
        best = max(
            (_gain(sign * pilot[1 - flip], sign * pilot[flip], t, delta), t, sign, flip)
            for sign, flip in ((1, 0), (-1, 1))
            for t in np.quantile(sign * np.concatenate(pilot), np.linspace(0.5, 0.9995, 60))
        )
        _, t, sign, flip = best
        value, right, wrong = _bound(sign * judged[1 - flip], sign * judged[flip], t, delta)
        found.append(Attack(name, epsilon, value, float(t), right, wrong))
    return found


def _statistic(name, queries, answers, truth, rho, runs, seed, options):
    """Log-likelihood ratio of the second table over the first, (runs,)."""
    options = {"generations": 0, "proposals": 1, **options}
    generator = torch.Generator().manual_seed(seed)
    out = model.release(queries, truth, 20, rho, generator=generator, rows=10, runs=runs, search_seed=seed, **options)
    step = answers[1] - answers[0]
    if name == "the synthetic table":
        return queries.answers(out.x) @ step
    ratio = np.where(out.active, (out.noised - (answers[0] + answers[1]) / 2) * step / out.sigma**2, 0.0).sum(1)
    if "rounds" in options:  # the choice tells too: its law is exponential in the errors of the known start
        start = queries.domain.random(10, torch.Generator().manual_seed(seed), runs)
        scale = 1 / 20 / math.sqrt(rho)
        for sign, known in ((-1, answers[0]), (1, answers[1])):
            off = np.abs(queries.answers(start) - known)
            worst = torch.from_numpy(np.stack([off[:, w.start : w.stop].max(1) for w in queries.workloads], 1) / scale)
            taken = np.stack([out.active[:, w.start] for w in queries.workloads], 1)
            ratio = ratio + sign * torch.log_softmax(worst, 1).numpy()[taken]
    return ratio


def _gain(alarm, quiet, t, delta):
    """What a threshold seems worth on the attacker's own runs."""
    return ((alarm > t).mean() - delta) / ((quiet > t).mean() + 3 / len(quiet))


def _bound(alarm, quiet, t, delta):
    """Lower bound of epsilon at threshold t, and the shares of alarms on the two tables."""
    right, wrong = (
        np.concatenate([np.ones(k := int((one > t).sum())), np.zeros(len(one) - k)]) for one in (alarm, quiet)
    )
    low, high = statistics.interval(right, "share", 0.95)[1], statistics.interval(wrong, "share", 0.95)[2]
    gain = low - delta
    return (math.log(gain / high) if gain > 0 else -math.inf), float(right.mean()), float(wrong.mean())
