"""Measurements of what the methods return where the truth is known."""

from __future__ import annotations

from lab.claims import Effects, measures
from lab.explain import studies
from lab.explain.studies import recovery as study


@measures("explanations.recovery-linear")
def linear(trial):
    """Relative L1 distance from the weights (additive noise) and from weights times input (the others), the largest.

    Control: the two answers are exchanged.
    """
    worst, found = [], {}
    for seed in trial.seeds:
        for one in studies.subjects(trial.data, seed, trial.budget, families=("linear",)):
            found = study.of_linear(studies.linearized(one), exchanged=trial.control)
            worst.append(max(found.values()))
    return Effects(worst, found)


@measures("explanations.recovery-logistic")
def logistic(trial):
    """Largest L1 distance of a logistic surrogate from the weights of a trained logistic regression.

    Control: a linear surrogate.
    """
    worst = []
    for seed in trial.seeds:
        one = studies.table(
            "breast_cancer", "linear", seed=seed, instances=studies.INSTANCES[trial.budget], budget=trial.budget
        )
        worst.append(study.of_logistic(one, link="identity" if trial.control else "logit"))
    return Effects(worst)
