"""Measurements of the unification: the eight methods against their instances of the framework, and one another."""

from __future__ import annotations

import numpy as np

from lab.claims import Effects, measures
from lab.explain import studies
from lab.explain.relations import relations
from lab.explain.studies import unification as study


@measures("explanations.unification")
def unification(trial):
    """Mean share of the rows of the heat maps in which a method is nearest to its own instance.

    Control: every method's instance is exchanged for the next one's.
    """
    maps = [
        [_map(one, trial, seed) for one in studies.subjects(trial.data, seed, trial.budget)] for seed in trial.seeds
    ]
    diagonal = {one.title: [round(float(v), 4) for v in one.distance.diagonal()] for one in maps[0]}
    shares = [np.mean([float(one.own_nearest().double().mean()) for one in row]) for row in maps]
    return Effects(shares, {"diagonal": diagonal, "names": list(maps[0][0].names)})


@measures("explanations.validated-widely")
def validated_widely(trial):
    """The same on trees, a deep network, several classes and a convolutional network on image patches, with its control."""
    few = trial.of(3, 15, 50)
    shares, found = [], {}
    for seed in trial.seeds:
        chosen = [
            studies.table(name, family, seed=seed, instances=few, budget=trial.budget)
            for name, family in (
                ("diabetes", "trees"),
                ("breast_cancer", "deep relu network"),
                ("breast_cancer", "trees"),
                ("wine", "tanh network"),
            )
        ]
        chosen.append(studies.superpixelled(seed=seed, instances=few, budget=trial.budget))
        maps = [_map(studies.one_output(one), trial, seed) for one in chosen]
        each = {one.title: float(one.own_nearest().double().mean()) for one in maps}
        found |= {f"{title}, seed {seed}": share for title, share in each.items()}
        shares.append(np.mean(list(each.values())))
    return Effects(shares, found)


@measures("explanations.closed-forms")
def closed_forms(trial):
    """Largest relative distance between a method and its instance where both have closed forms.

    A smooth network: sums of 1000 steps of a ReLU network are no closed form. Control: the instance of the next method.
    """
    worst = []
    for seed in trial.seeds:
        for one in studies.subjects(trial.data, seed, trial.budget, families=("tanh network",), columns=8):
            found = study.heatmap(one, n_samples=256, seed=seed, switched=trial.control)
            places = [found.names.index(name) for name in study.CLOSED_FORMS]
            worst.append(float(found.distance[places, places].max()))
    return Effects(worst)


@measures("explanations.only-neighbourhood-and-loss")
def only_neighbourhood_and_loss(trial):
    """Largest relative distance between a method's own formula and one function given its neighbourhood and loss alone.

    Control: every method is handed the neighbourhood and loss of the next.
    """
    worst, found = [], {}
    for seed in trial.seeds:
        for one in studies.subjects(trial.data, seed, trial.budget, families=("tanh network",), columns=8):
            found = study.on_same_draws(studies.one_output(one), seed=seed, switched=trial.control)
            worst.append(max(found.values()))
    return Effects(worst, {"of the last model": found})


@measures("explanations.relations")
def measured_relations(trial):
    """Largest deviation of a measured rate from the theory's, over the map of relations on a smooth network.

    Orthogonal pairs and draws without replacement may be faster than independent draws. Control: a ReLU network, which has
    kinks where the rates need derivatives.
    """
    family = "relu network" if trial.control else "tanh network"
    worst, slopes = [], {}
    for seed in trial.seeds:
        one = studies.table("diabetes", family, seed=seed, instances=trial.of(10, 20, 20), budget=trial.budget)
        gaps = []
        for edge in relations(one.f, one.x, seed=seed, draws=trial.of(1024, 4096, 4096)):
            slopes.setdefault(edge.id, []).append(round(edge.slope, 3))
            gap = edge.slope - edge.expected
            gaps.append(np.maximum(gap, 0.0) if edge.parameter == "draws" else abs(gap))
        worst.append(np.max(gaps))
    return Effects(worst, slopes)


def _map(subject, trial, seed):
    return study.heatmap(subject, n_samples=trial.of(400, 2000, 4000), seed=seed, switched=trial.control)
