"""Measurements of the estimate: what it is, whether it is right, and what it costs."""

from __future__ import annotations

import math

from lab.claims import Effects, measures
from lab.inductive_bias.studies import estimates as study
from lab.inductive_bias.studies.digits import own_or_digits


@measures("inductive_bias.is-information")
def is_information(trial):
    """Distance of the share that the bits promise from the share of drawn hypotheses that pass, in standard errors.

    The largest of 3 comparisons a seed exceeds four standard errors once in 5,000 runs of three seeds. Control: the count
    takes a threshold that is 10 % higher.
    """
    draws = trial.of(4000, 20_000, 200_000)
    factor = 1.1 if trial.control else 1.0
    return Effects([study.against_counts(seed, draws=draws, factor=factor) for seed in trial.seeds], {"draws": draws})


@measures("inductive_bias.exact-tail")
def exact_tail(trial):
    """Largest relative error of central chi-square laws in closed form. Control: Sankaran's normal approximation."""
    errors = study.tail_errors(trial.of(200, 2000, 10_000), sankaran=trial.control)
    return Effects(max(errors), {"cases": len(errors)})


@measures("inductive_bias.efficient")
def efficient(trial):
    """Bits beyond log2 of the draws down to which the fit's answers are within 10 % of the exact ones.

    Control: the same draws are counted.
    """
    draws = study.DRAWS[trial.budget]
    found = [
        study.depth_reached(_task(trial, seed), draws=draws, seed=seed, counted=trial.control) for seed in trial.seeds
    ]
    return Effects([depth - math.log2(draws) for depth in found], {"draws": draws, "right down to": found})


@measures("inductive_bias.loss-distribution", "inductive_bias.loss-distribution-shallow")
def loss_distribution(trial):
    """Relative error of the fitted bits, at the posterior mean's loss or at a depth of log2 of the draws.

    Control: the fit is to losses of hypotheses that do not know the training set.
    """
    draws, deep = study.DRAWS[trial.budget], trial.claim.id == "inductive_bias.loss-distribution"
    found = [
        study.fit_error(_task(trial, seed), draws=draws, seed=seed, deep=deep, untrained=trial.control)
        for seed in trial.seeds
    ]
    return Effects([error for error, _ in found], {"draws": draws, "exact bits": [round(bits, 1) for _, bits in found]})


@measures("inductive_bias.extrapolation-too-low")
def extrapolation_too_low(trial):
    """Share of the bits that the fit misses at 1, 5 and 40 times log2(draws). Control: draws of the family itself."""
    draws = study.DRAWS[trial.budget]
    return Effects([
        study.missed_shares(_task(trial, seed), draws=draws, seed=seed, own_family=trial.control) for seed in trial.seeds
    ])  # fmt: skip


@measures("inductive_bias.sampling-error")
def sampling_error(trial):
    """Slope of the log error against log draws, plus one half. Control: few draws are repeated many times."""
    sizes = trial.of((500, 4000), (500, 2000, 8000), (500, 2000, 8000, 32_000))
    slopes = [
        study.sampling_slope(seed, sizes, repeats=trial.of(3, 8, 8), correlated=trial.control) for seed in trial.seeds
    ]
    return Effects([slope + 0.5 for slope in slopes], {"draws": list(sizes)})


@measures("inductive_bias.large")
def large(trial):
    """Largest relative difference of the law in place from the plain one. Control: the plain law has twice the noise."""
    size = trial.of(250, 1500, 3000)
    noise = 0.02 if trial.control else 0.01
    return Effects([study.in_place_difference(size, seed=seed, noise=noise) for seed in trial.seeds], {"points": size})


@measures("inductive_bias.large-lanczos")
def large_lanczos(trial):
    """Largest relative difference of Lanczos from the exact law. Control: Lanczos takes twice the noise."""
    size = trial.of(250, 1500, 10_000)
    noise = 0.02 if trial.control else 0.01
    return Effects([study.lanczos_difference(size, seed=seed, noise=noise) for seed in trial.seeds], {"points": size})


def _task(trial, seed):
    return own_or_digits(trial.data, seed, trial.budget)
