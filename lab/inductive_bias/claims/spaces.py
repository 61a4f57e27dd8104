"""Measurements of spaces of models: kinds, classes, architectures, rankings, limits."""

from __future__ import annotations

import numpy as np

from lab.claims import Effects, measures
from lab.inductive_bias.studies import spaces as study
from lab.inductive_bias.studies.digits import digits_task, own_or_digits

PLANNED = 10_000  # pairs and edits are chosen on other seeds than those that judge them


@measures("inductive_bias.diverse-spaces")
def diverse_spaces(trial):
    """Whether each of six kinds of space answers with a finite number that its method supports, six values a seed.

    Control: the published fit to draws answers for all.
    """
    found = {seed: study.answers(seed, trial.budget, published=trial.control) for seed in trial.seeds}
    right = [float(study.reachable(answer)) for one in found.values() for answer in one.values()]
    return Effects(right, {"spaces": found})


@measures("inductive_bias.networks-encode")
def networks_encode(trial):
    """Bits that the median network encodes beyond the median of the other classes, or that the least network encodes at all,
    whichever is less.

    Control: the generic space, against which all are measured, in place of the networks.
    """
    networks = study.GENERIC if trial.control else study.NETWORKS
    least, table = [], []
    for seed in trial.seeds:
        saved = study.encoded(own_or_digits(trial.data, seed, trial.budget), networks=networks, **_threshold(trial))
        own = [saved[name] for name in networks]
        beyond = np.median(own) - np.median([saved[name] for name in study.OTHERS])
        least.append(min(float(beyond), min(own)))
        table.append({name: round(value, 1) for name, value in saved.items()})
    return Effects(least, {"encoded bits": table})


@measures("inductive_bias.architectures")
def architectures(trial):
    """Bits between two architectures: those that need most and least on another sample of the same task.

    Control: one architecture under every name.
    """
    names = tuple(study.ARCHITECTURES)[: 4 if trial.data is None else 3]  # receptive fields need images
    differences, table = [], []
    for seed in trial.seeds:
        planned, found = (
            study.architecture_bits(own_or_digits(trial.data, each, trial.budget), names=names, **_threshold(trial))
            for each in (seed + PLANNED, seed)
        )
        most, least = max(planned, key=planned.get), min(planned, key=planned.get)
        differences.append(found[least if trial.control else most] - found[least])
        table.append({name: round(value, 1) for name, value in found.items()})
    return Effects(differences, {"bits": table})


@measures("inductive_bias.benefits")
def benefits(trial):
    """What local receptive fields save against a dense kernel on images, beyond what they save on shuffled pixels.

    Control: the pixels of both are shuffled.
    """
    found = [
        study.locality(digits_task(seed, trial.budget), seed, shuffled_twice=trial.control) for seed in trial.seeds
    ]
    saved = [[round(value, 1) for value in pair] for pair in found]
    return Effects([images - shuffled for images, shuffled in found], {"saved on images, on shuffled pixels": saved})


@measures("inductive_bias.ranking", "inductive_bias.ranking-of-means")
def ranking(trial):
    """Spearman correlation over twelve spaces between bits and a loss on fresh points, the mean of four data sets.

    The loss is that of the hypotheses themselves or of their mean as one predictor. Control: the labels are shuffled.
    """
    own, other = ("hypotheses", "mean") if trial.claim.id == "inductive_bias.ranking" else ("mean", "hypotheses")
    n = trial.of(60, 150, 300)
    found = [study.rank_correlations(seed, n, shuffled=trial.control) for seed in trial.seeds]
    details = {
        "by data set": [[round(value, 3) for value in one[own]] for one in found],
        "the same with the other loss": round(float(np.mean([one[other] for one in found])), 3),
        "the same with marginal likelihood": round(float(np.mean([one[f"evidence, {own}"] for one in found])), 3),
    }
    return Effects([np.mean(one[own]) for one in found], details)


@measures("inductive_bias.network-limit")
def network_limit(trial):
    """Relative difference of the bits of the widest random networks from the exact law of their limit.

    Control: the limit of networks with a tenth of the weight variance.
    """
    widths = trial.of((2, 128), (2, 16, 128), (2, 16, 128, 1024, 4096))
    found = [
        study.widths_and_limit(
            seed,
            widths=widths,
            particles=trial.of(256, 1024, 2048),
            weight_variance=0.2 if trial.control else 2.0,
        )
        for seed in trial.seeds
    ]
    table = [[round(value, 2) for value in (*bits, exact)] for bits, exact in found]
    return Effects(
        [bits[-1] / exact - 1 for bits, exact in found],
        {"widths": list(widths), "bits by width, then exact": table},
    )


def _threshold(trial):
    """Share of the constant's loss, and noise: own tables hold repeated rows, which only noise lets a space fit."""
    return {"share": 0.25, "noise": 0.0} if trial.data is None else {"share": 0.5, "noise": 0.05}
