"""Measurements of the statements about value-based decoding."""

from __future__ import annotations

from itertools import product

import torch

from lab.claims import Effects, measures
from lab.generative import masked, svdd
from lab.generative.studies import svdd as study
from lab.generative.studies.common import shown

DISCRETE = ("dna", "rna", "molecules")


def _run(trial, domain, control="permuted", **changes):
    fewer = {"items": 40} if domain in ("ink", "png") and trial.budget == "default" else {}
    setting = study.Setting.of(trial.budget, domain=domain, **fewer, **changes)
    return study.run(setting, seeds=trial.seeds, control=control if trial.control else False)


def _details(result):
    return {"reward": shown({arm: result.mean(arm) for arm in result.reward}), "log-likelihood": result.natural}


def _over(result, arm, other):
    """Gain in mean reward in standard deviations of the frozen model's reward."""
    return (result.mean(arm) - result.mean(other)) / result.reward["frozen model"].std().clamp_min(1e-9)


@measures("svdd.optimal-policy-samples-the-tilted-law")
def optimal_policy(trial):
    """Three masked bits enumerated: the chain of the soft policy from exact soft values against p exp(r / alpha), total variation.

    Control: the posterior-mean value in the place of the soft value.
    """
    generator, length, alpha = torch.Generator().manual_seed(trial.seeds[0]), 3, 0.5
    law = masked.Enumerated(torch.rand(2**length, generator=generator).double() + 0.1, 2, length)
    reward = 2 * torch.rand(2**length, generator=generator).double()
    soft = law.expectation(torch.exp(reward / alpha))
    chain = svdd.Masked(law, 2, length)
    mean = svdd.posterior_mean_value(chain, lambda x: reward[law.index(x)])
    states = {tuple([2] * length): 1.0}
    for step in range(length):
        after: dict[tuple, float] = {}
        for state, mass in states.items():
            x = torch.tensor(state)
            found = law(x)
            open_sites = [i for i in range(length) if state[i] == 2]
            moves = [(i, k) for i, k in product(open_sites, range(2))]
            nexts = torch.stack([x.index_fill(0, torch.tensor([i]), k) for i, k in moves])
            prior = torch.stack([found[i, k] for i, k in moves]) / len(open_sites)
            value = mean(nexts, step + 1) if trial.control else alpha * soft(nexts).log()
            for to, share in zip(nexts.tolist(), svdd.tilted_policy(prior, value, alpha).tolist()):
                after[tuple(to)] = after.get(tuple(to), 0.0) + mass * share
        states = after
    wanted = law.table * torch.exp(reward / alpha)
    made = torch.tensor([states[tuple(x)] for x in law.sequences().tolist()], dtype=torch.float64)
    return Effects(float(0.5 * (made - wanted / wanted.sum()).abs().sum()), {"sequences": len(made)})


@measures("svdd.looks-ahead", stacked=True)
def looks_ahead(trial):
    """Excess of the histogram of rewards over that of exact draws, SVDD with exact soft values on bits. Control: values of
    others."""
    setting = study.Setting.of(trial.budget, candidates=16)
    found = study.tilted_sequences(setting, seeds=trial.seeds, control=trial.control)
    return Effects(
        found.distance["SVDD, exact value"] - found.floor, shown({**found.distance, "exact draws": found.floor})
    )


@measures("svdd.natural-and-rewarded", stacked=True)
def natural(trial):
    """Distance of points with alpha > 0 to the exact tilted law, over that of the frozen model. Control: one candidate."""
    setting = study.Setting.of(trial.budget, items=trial.of(200, 1000, 5000))
    found = study.tilted_points(setting, seeds=trial.seeds, control=trial.control)
    return Effects(
        found.distance["SVDD"] / found.distance["frozen model"], shown({**found.distance, "exact draws": found.floor})
    )


@measures("svdd.temperature-preserves-naturalness", stacked=True)
def temperature(trial):
    """Mean log density of points under the frozen model at alpha = 0.5 less that at alpha = 0. Control: alpha = 0 twice,
    seeds rolled."""
    setting = study.Setting.of(trial.budget, items=trial.of(50, 500, 5000))
    found = [study.points_density(setting.model_copy(update={"alpha": a}), seeds=trial.seeds) for a in (0.0, 0.5)]
    other = found[0].roll(1) if trial.control else found[1]
    return Effects(other - found[0], {"alpha 0": found[0].tolist(), "alpha 0.5": found[1].tolist()})


@measures("svdd.non-differentiable-reward", stacked=True)
def staircase(trial):
    """Gain over the frozen model on a staircase, in standard deviations of its reward. Control: candidates get the values of
    others."""
    result = _run(trial, "staircase")
    return Effects(_over(result, "SVDD, posterior mean", "frozen model"), _details(result))


@measures("svdd.beats-best-of-n-at-equal-denoiser-calls", "svdd.beats-best-of-n-at-equal-reward-calls", stacked=True)
def best_of_n(trial):
    """Mean reward on the staircase less that of the best of as many finished samples as the denoiser calls, or the reward
    calls, pay
    for. Control: one candidate."""
    equal = "reward" if trial.claim.id.endswith("reward-calls") else "denoiser"
    setting = study.Setting.of(trial.budget, domain="staircase", items=trial.of(8, 50, 200))
    gain, details = study.against_best_of(setting, seeds=trial.seeds, equal=equal, control=trial.control)
    return Effects(gain, details)


@measures("svdd.discrete-diffusion", stacked=True)
def discrete(trial):
    """The least gain over the frozen model among DNA, RNA and molecules, in its standard deviations. Control: values of others."""
    found = {name: _run(trial, name) for name in DISCRETE}
    gains = {name: _over(one, "SVDD, posterior mean", "frozen model") for name, one in found.items()}
    return Effects(
        torch.stack(list(gains.values())).amin(0), shown(gains) | {name: _details(one) for name, one in found.items()}
    )


@measures("svdd.dna", "svdd.rna", "svdd.molecules", "svdd.images-ink", "svdd.images-png", stacked=True)
def domains(trial):
    """Gain over the best of M finished samples, in standard deviations of the frozen model's reward. Control: values of others."""
    result = _run(trial, trial.claim.id.split(".")[1].removeprefix("images-"))
    best = next(arm for arm in result.reward if arm.startswith("best of"))
    return Effects(_over(result, "SVDD, posterior mean", best), _details(result))


@measures("svdd.against-tds", stacked=True)
def against_tds(trial):
    """Mean over DNA, RNA and molecules of the gain over a tuned particle filter at equal cost. Control: values of others."""
    found = {name: _run(trial, name) for name in DISCRETE}
    gains = torch.stack([_over(one, "SVDD, posterior mean", "TDS") for one in found.values()])
    return Effects(gains.mean(0), {name: _details(one) for name, one in found.items()})


@measures("svdd.against-gradient-guidance", stacked=True)
def against_gradients(trial):
    """Gain over tuned gradient guidance (DPS) on the ink of digits, in its standard deviations. Control: values of others."""
    result = _run(trial, "ink")
    return Effects(_over(result, "SVDD, posterior mean", "DPS"), _details(result))


@measures("svdd.monte-carlo-value", stacked=True)
def monte_carlo(trial):
    """The least gain of SVDD with a fitted value over the frozen model, points and DNA. Control: the frozen model of other
    seeds."""
    found = {name: _run(trial, name, "none") for name in ("staircase", "dna")}
    arm = "frozen model" if trial.control else "SVDD, Monte Carlo"
    gains = {
        name: (one.mean(arm).roll(int(trial.control)) - one.mean("frozen model")) / one.reward["frozen model"].std()
        for name, one in found.items()
    }
    return Effects(torch.stack(list(gains.values())).amin(0), {name: _details(one) for name, one in found.items()})
