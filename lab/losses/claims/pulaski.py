"""Measurements of the statements about set distances for several raters."""

from __future__ import annotations

from dataclasses import replace

import torch

from lab.claims import Effects, measures
from lab.losses.pulaski import energy_set_distance
from lab.losses.studies import pulaski as study
from lab.losses.studies.pulaski import BASELINES, METHOD, Setting

REFERENCE = "cross-entropy"


@measures("pulaski.energy-distance")
def energy(trial):
    """Deviations of single masks and of equal sets, and gradients that are not finite. Control: a set against another one."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    s, y = torch.rand(5, 1, 6, 6, generator=generator), torch.rand(5, 1, 6, 6, generator=generator)
    single = float((energy_set_distance(s, y, scale=False) - (s - y).flatten(1).norm(dim=1)).abs().max())
    many, others = torch.rand(2, 5, 4, 6, 6, generator=generator)
    same = float(energy_set_distance(many, others if trial.control else many[:, [3, 1, 0, 2]]).abs().max())
    coincide = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    energy_set_distance(coincide, torch.zeros(1, 2, 4, 4)).sum().backward()
    broken = float((~torch.isfinite(coincide.grad)).sum())
    return Effects([single, same, broken], {"single masks": single, "equal sets": same, "gradients not finite": broken})


def _ours(trial, setting):
    """Distances of the method over seeds; of cross-entropy in its place for a control."""
    return study.distances(REFERENCE if trial.control else METHOD, trial.seeds, setting)


@measures("pulaski.captures-variability", stacked=True)
def variability(trial):
    """Generalized energy distance of the energy loss over that of cross-entropy. Control: cross-entropy for both."""
    setting = Setting.of(trial.budget)
    ours, theirs = _ours(trial, setting), study.distances(REFERENCE, trial.seeds, setting)
    return Effects(ours / theirs, {
        "generalized energy distance": {METHOD: float(ours.mean()), REFERENCE: float(theirs.mean())},
        "gap of the faint blob's frequency from 1/2": {
            loss: study.frequency_gap(loss, trial.seeds, setting) for loss in (METHOD, REFERENCE)
        },
    })  # fmt: skip


@measures("pulaski.beats-baselines", stacked=True)
def baselines(trial):
    """Distance of the best of four baselines less that of the energy loss, seed by seed. Control: cross-entropy as the method.

    A seed is one training set, network and test set; the test images of one seed share a network and are no replicates. The
    best baseline of each seed is at least as hard to beat as any one of them.
    """
    setting = Setting.of(trial.budget)
    theirs = {loss: study.distances(loss, trial.seeds, setting) for loss in BASELINES}
    ours = _ours(trial, setting)
    best = torch.stack(list(theirs.values())).amin(0)
    shown = {METHOD: float(ours.mean()), **{loss: float(found.mean()) for loss, found in theirs.items()}}
    return Effects(best - ours, {"generalized energy distance": shown})


def _reduction(trial, setting):
    """Relative reduction of the distance against cross-entropy, (seeds,)."""
    return 1 - _ours(trial, setting) / study.distances(REFERENCE, trial.seeds, setting)


@measures("pulaski.small-data", stacked=True)
def small_data(trial):
    """Relative reduction against cross-entropy with 40 images and equal gradient steps. Control: cross-entropy for both."""
    images = trial.of(20, 40, 40)
    return Effects(_reduction(trial, replace(Setting.of(trial.budget), images=images)), {"images": images})


@measures("pulaski.class-imbalance", stacked=True)
def imbalance(trial):
    """Relative reduction with small foreground less that with large foreground, each tuned on its own.

    Control: cross-entropy in the place of the energy loss.
    """
    found = {radius: _reduction(trial, replace(Setting.of(trial.budget), radius=radius)) for radius in (1.0, 2.0)}
    return Effects(
        found[1.0] - found[2.0], {f"radius {radius:g}": float(values.mean()) for radius, values in found.items()}
    )


@measures("pulaski.three-dimensions", stacked=True)
def three_dimensions(trial):
    """Relative reduction of the volumes' distance by a volumetric network against slice-wise ones, at equal gradient steps.

    Slice by slice a 2-D network draws either one latent a slice or one for the whole volume; the better of both counts. Balls are
    visible in every slice that they meet, so that little is lost without the third axis. Control: slice by slice for both.
    """
    setting = Setting.of_volumes(trial.budget)
    slices = study.slice_by_slice(trial.seeds, setting, study.tuned(METHOD)).amin(1)
    volumes = slices if trial.control else study.distances(METHOD, trial.seeds, setting)
    details = {"volumes": float(volumes.mean()), "slice by slice": float(slices.mean())}
    return Effects(1 - volumes / slices, {"generalized energy distance": details})
