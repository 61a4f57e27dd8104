"""Measurements of choosing: no free lunch, the guiding principle, perturbation tests, disagreement, refusal."""

from __future__ import annotations

import numpy as np

from lab.claims import Effects, measures
from lab.explain import studies
from lab.explain.presets import METHODS
from lab.explain.studies import choosing as study


@measures("explanations.no-free-lunch")
def no_free_lunch(trial):
    """The smallest error that an adversarial neighbourhood reaches, in units of ``d(f, G)``, over methods and instances.

    Control: the black box is linear, so that the surrogate is right everywhere.
    """
    least, near, distances = [], [], []
    for seed in trial.seeds:
        for one in studies.subjects(
            trial.data, seed, trial.budget, families=("relu network",), columns=trial.of(8, 12, 0)
        ):
            one = studies.linearized(one) if trial.control else studies.one_output(one)
            found = study.adversaries(one, instances=trial.of(1, 2, 10), seed=seed)
            least.append(found.least)
            near.append(found.near)
            distances.append(found.smallest_distance)
    return Effects(least, {"smallest distance": min(distances), "on their own neighbourhood": float(np.mean(near))})


@measures("explanations.no-uniform-winner")
def no_uniform_winner(trial):
    """Whether every method loses somewhere, one value a model. Control: one method under every name."""
    losses = {}
    for seed in trial.seeds:
        for one in studies.subjects(trial.data, seed, trial.budget, families=studies.NONLINEAR[trial.budget]):
            found = study.matrix(one, budget=trial.budget, seed=seed, one_method=trial.control)
            losses[f"{one.title}, seed {seed}"] = study.loss_of_the_most_even(found)
    return Effects(np.array([loss > 0 for loss in losses.values()], dtype=float), {"R^2 lost": losses})


@measures("explanations.guiding-principle")
def guiding_principle(trial):
    """Share of neighbourhoods on which the matched method is the best, or not significantly different from it.

    Control: the methods matched are those of other neighbourhoods.
    """
    matched = study.MISMATCHED if trial.control else study.MATCHED
    shares, failures = [], []
    for seed in trial.seeds:
        each = []
        for one in studies.subjects(trial.data, seed, trial.budget, families=studies.NONLINEAR[trial.budget]):
            found = study.matrix(one, budget=trial.budget, seed=seed)
            hits = study.matched_hits(found, matched)
            each.append(np.mean(list(hits.values())))
            failures += [f"{label} on {one.title}: {found.best[label]}" for label, hit in hits.items() if not hit]
        shares.append(np.mean(each))
    return Effects(shares, {"failures": failures})


@measures("explanations.perturbation-flip")
def perturbation_flip(trial):
    """The smaller of two relative advantages: of mask methods under removal, of gradient methods under jitter.

    Control: the two families are exchanged.
    """
    families = (study.GRADIENT, study.MASK) if trial.control else (study.MASK, study.GRADIENT)
    both = []
    for seed in trial.seeds:
        each = []
        for one in studies.subjects(trial.data, seed, trial.budget, families=studies.NONLINEAR[trial.budget][-1:]):
            found = study.perturbation(studies.one_output(one), seed=seed, n_samples=trial.of(400, 1000, 1000))
            each.append(study.advantages(found, removal=families[0], jitter=families[1]))
        both.append(np.mean(each, axis=0))
    removal, jitter = np.mean(both, axis=0)
    return Effects(np.min(both, axis=1), {"removal": float(removal), "jitter": float(jitter)})


@measures("explanations.disagreement")
def disagreement(trial):
    """Mean share of the top three features on which two of the eight methods differ. Control: one method, eight times."""
    names = ("Vanilla Gradients",) * len(METHODS) if trial.control else tuple(METHODS)
    found = [
        np.mean([
            study.disagreement(one, names=names)
            for one in studies.subjects(trial.data, seed, trial.budget, families=studies.NONLINEAR[trial.budget][-1:])
        ])
        for seed in trial.seeds
    ]  # fmt: skip
    return Effects(found)


@measures("explanations.refusal")
def refusal(trial):
    """Share of right answers on functions that no linear model follows and on linear ones. Control: nothing is refused."""
    found = [study.right_answers(seed=seed, threshold=10.0 if trial.control else 0.2) for seed in trial.seeds]
    wrong = sorted({question for one in found for question, right in one.items() if not right})
    return Effects([np.mean(list(one.values())) for one in found], {"wrong": wrong})
