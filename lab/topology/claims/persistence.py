"""Measurements of the statements about persistence as an objective."""

from __future__ import annotations

import math

import numpy as np

from lab.claims import Effects, measures
from lab.topology.studies import persistence as study
from lab.topology.studies.autoencoder import embed
from lab.topology.studies.clouds import enlarge_loops, grid_errors, localized_loops, share_in_place, transform_race
from lab.topology.studies.graphs import descriptor_scores, learned_accuracy

SIMPLE, COSTLY = ("hilbert", "euler"), ("rank", "landscape")


@measures("persistence.functions-can-be-optimized")
def functions_can_be_optimized(trial):
    """Share of the total persistence of a noisy function on a graph that descent removes. Control: it climbs."""
    side, steps = trial.of((6, 60), (10, 150), (30, 400))
    removed = [study.share_removed(side, steps, seed, sign=-1 if trial.control else 1) for seed in trial.seeds]
    return Effects(removed, {"vertices": side * side, "steps": steps})


@measures("persistence.barcode-is-the-canonical-descriptor")
def barcode_is_canonical(trial):
    """Levels at which ranks read from barcodes are wrong, the most of a case. Control: deaths dealt to other births."""
    wrong = {}
    for seed in trial.seeds:
        for name, case in study.one_parameter(seed).items():
            wrong[name] = max(wrong.get(name, 0), study.wrong_ranks(case, seed, dealt=trial.control))
    return Effects(max(wrong.values()), {"wrong of ten": wrong})


@measures("persistence.barcode-is-differentiable-almost-everywhere")
def barcode_is_differentiable(trial):
    """Largest error of a directional derivative against central differences of gudhi's barcodes. Control: gradients of
    another point."""
    worst = {}
    for seed in trial.seeds:
        for name, case in study.one_parameter(seed).items():
            error = study.directional_error(
                case.loss, case.at, seed, values=case.loss_by_definition, elsewhere=trial.control
            )
            worst[name] = max(worst.get(name, 0.0), error)
    return Effects(max(worst.values()), {"largest error": worst})


@measures("persistence.subgradient-descent-converges")
def subgradient_converges(trial):
    """Last movement with a constant step over that with a vanishing one, logarithm. Control: the vanishing step in both."""
    steps = trial.of(150, 500, 3000)
    other = study.FALLING if trial.control else study.CONSTANT
    calm, rough = (
        [study.last_movement(study.one_parameter_descent(seed, rule, steps).losses) for seed in trial.seeds]
        for rule in (study.FALLING, other)
    )
    ratio = [math.log10(max(b, 1e-15) / max(a, 1e-15)) for a, b in zip(calm, rough)]
    return Effects(ratio, {"vanishing step": calm, "other step": rough, "rules": [str(study.FALLING), str(other)]})


@measures("persistence.no-unique-descriptor")
def no_unique_descriptor(trial):
    """Difference of one rank of two graphs of equal Hilbert function. Control: the same graph twice."""
    first = study.star((2.0, 3.0))
    return Effects(study.rank_difference(first, first if trial.control else study.star((3.0, 2.0))))


@measures("persistence.framework-covers-signed-barcodes")
def signed_barcodes_are_differentiable(trial):
    """Largest error of a directional derivative, and how often the descriptor differs from its definition. Control: gradients of
    another point."""
    worst, wrong = {}, {}
    for seed in trial.seeds:
        for name, case in study.signed_barcodes(seed).items():
            error = study.directional_error(case.loss, case.at, seed, elsewhere=trial.control)
            worst[name] = max(worst.get(name, 0.0), error)
            wrong[name] = wrong.get(name, 0) + case.wrong_values(seed)
    return Effects(max(*worst.values(), *wrong.values()), {"largest error": worst, "wrong values": wrong})


@measures("persistence.framework-covers-the-landscape")
def landscape_is_differentiable(trial):
    """Largest error of a directional derivative of landscapes, and how many of their values are wrong. Control: gradients of
    another point."""
    errors, wrong = [], 0
    for seed in trial.seeds:
        x = study.noisy_circle(20, seed)
        for landscape in (study.Landscape(0), study.Landscape(1)):
            wrong += landscape.wrong_values(x)
            if landscape.values(x).any():
                errors.append(study.directional_error(landscape.loss, x, seed, elsewhere=trial.control))
    return Effects(max(*errors, wrong), {"largest errors": errors, "wrong values": wrong})


@measures("persistence.several-parameters-converge")
def several_parameters_converge(trial):
    """Movement of the loss of a Hilbert measure at the end of a descent. Control: a loss without a minimum."""
    count, steps = trial.of((20, 80), (40, 250), (200, 1500))
    pull = 0.0 if trial.control else 0.5
    runs = [
        study.two_parameter_descent(seed, study.FALLING, count=count, steps=steps, pull=pull) for seed in trial.seeds
    ]
    return Effects([study.last_movement(losses) for losses in runs], {"points": count, "steps": steps})


@measures("persistence.several-parameters-descend")
def several_parameters_descend(trial):
    """Relative decrease of the loss of a Hilbert measure. Control: the sign of the gradient turned."""
    count, steps = trial.of((20, 80), (40, 250), (200, 1500))
    runs = [
        study.two_parameter_descent(seed, study.FALLING, count=count, steps=steps, sign=-1 if trial.control else 1)
        for seed in trial.seeds
    ]
    return Effects([study.decrease(losses) for losses in runs], {"points": count, "steps": steps})


@measures("persistence.two-parameters-keep-the-cloud-together")
def two_parameters_keep_together(trial):
    """Drift with one parameter less that with two. Control: one parameter in both arms."""
    count, steps = trial.of((60, 60), (120, 300), (400, 600))
    one = [enlarge_loops(1, count=count, steps=steps, seed=seed).drift for seed in trial.seeds]
    second = 1 if trial.control else 2
    two = [enlarge_loops(second, count=count, steps=steps, seed=seed).drift for seed in trial.seeds]
    details = {"one parameter": one, "two parameters": two, "points": count, "steps": steps}
    return Effects(np.subtract(one, two), details)


@measures("persistence.two-parameters-place-loops")
def two_parameters_place_loops(trial):
    """Share of loop length in place with two parameters less that with one. Control: one parameter in both arms."""
    count, steps = trial.of((120, 30), (300, 100), (500, 101))
    one, two = (
        [share_in_place(localized_loops(parameters, count=count, steps=steps, seed=seed).end) for seed in trial.seeds]
        for parameters in (1, 1 if trial.control else 2)
    )
    details = {"one parameter": one, "two parameters": two, "points": count, "steps": steps}
    return Effects(np.subtract(two, one), details)


@measures("persistence.two-parameters-classify-better")
def two_parameters_classify(trial):
    """Test accuracy with two learned parameters less that with one. Control: one parameter in both arms."""
    count, epochs = trial.of((60, 8), (150, 40), (600, 100))
    one, two = (
        [learned_accuracy(parameters, count=count, epochs=epochs, seed=seed) for seed in trial.seeds]
        for parameters in (1, 1 if trial.control else 2)
    )
    return Effects(np.subtract(two, one), {"one parameter": one, "two parameters": two, "graphs": count})


@measures("persistence.two-parameters-embed-better")
def two_parameters_embed(trial):
    """Relative decrease of the distance between the shapes of data and plane. Control: no regularizer in either arm."""
    steps = trial.of(30, 300, 2000)
    gains, runs = [], []
    for seed in trial.seeds:
        plain, two = (embed(p, steps=steps, seed=seed) for p in (0, 0 if trial.control else 2))
        gains.append(1 - two.shape_distance / plain.shape_distance)
        names = ("shape_distance", "trustworthiness", "reconstruction")
        runs.append({name: [getattr(plain, name), getattr(two, name)] for name in names})
    return Effects(gains, {"runs": runs, "steps": steps})


@measures("persistence.regularizer-is-cheap")
def regularizer_is_cheap(trial):
    """Share of the CPU time of a training step that the regularizer takes. Control: the distance over 50 times as many lines."""
    steps, lines = trial.of(30, 300, 2000), 400 if trial.control else 8
    return Effects(
        [embed(2, steps=steps, seed=seed, lines=lines).regularizer_share for seed in trial.seeds], {"steps": steps}
    )


@measures("persistence.simplest-descriptors-suffice")
def simplest_descriptors(trial):
    """Accuracy of the better simple descriptor less that of the better costly one. Control: the simple ones' features are
    dealt to the wrong graphs."""
    differences, tables = [], []
    for found in _scores(trial, SIMPLE if trial.control else ()):
        accuracy = dict(zip(found.names, (float(np.mean(scores)) for scores in found.accuracy)))
        differences.append(max(accuracy[name] for name in SIMPLE) - max(accuracy[name] for name in COSTLY))
        tables.append(accuracy)
    return Effects(differences, {"accuracy": tables})


@measures("persistence.simplest-descriptors-cost-less")
def simplest_descriptors_cost(trial):
    """CPU time of the cheaper costly descriptor over that of the dearer simple one. Control: the two kinds exchanged."""
    simple, costly = (COSTLY, SIMPLE) if trial.control else (SIMPLE, COSTLY)
    seconds = [dict(zip(found.names, found.seconds)) for found in _scores(trial)]
    return Effects(
        [min(s[name] for name in costly) / max(s[name] for name in simple) for s in seconds], {"seconds": seconds}
    )


def _scores(trial, dealt=()):
    count, splits = trial.of((36, 4), (90, 8), (300, 20))
    return [descriptor_scores(count=count, splits=splits, seed=seed, dealt=dealt) for seed in trial.seeds]


@measures("persistence.coarse-grids-bend-gradients")
def coarse_grids(trial):
    """One minus the cosine of the gradient on a grid of 50 quantiles to the exact one. Control: a grid as fine as the data."""
    count = trial.of(100, 200, 500)
    found = [grid_errors((10**6 if trial.control else 50,), count=count, seed=seed) for seed in trial.seeds]
    details = {"relative error of the value": [error.value_error[0] for error in found], "points": count}
    return Effects([1 - error.cosine[0] for error in found], details)


@measures("persistence.transforms-save-steps")
def transforms_save_steps(trial):
    """Share of the plain subgradient's steps that the best of four transforms saves. Control: the best of four subgradients at
    slightly moved points."""
    count, steps = trial.of((24, 30), (40, 60), (100, 150))
    saved, table = [], []
    for seed in trial.seeds:
        race = transform_race(
            study.moved_subgradients() if trial.control else study.transforms(), count=count, steps=steps, seed=seed
        )
        saved.append(study.best_saving(race, steps))
        table.append({name: {"steps": s, "seconds": t} for name, s, t in zip(race.names, race.steps, race.seconds)})
    return Effects(saved, {"by seed": table})
