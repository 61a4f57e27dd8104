"""Measurements of the statements about smooth expert trajectories."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.compression import smooth_expert_distillation as method
from lab.compression.studies import smooth_expert_distillation as study
from lab.compression.studies.common import shown


@measures("smooth_expert_distillation.loss-is-the-way-left")
def way_left(trial):
    """The matching loss on the straight way from start to target less (1 - s)^2. Control: start and target exchanged."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    start, target = torch.randn(2, 5, 300, generator=generator, dtype=torch.float64)
    errors = []
    for s in (0.0, 0.25, 0.5, 0.9, 1.0):
        end = torch.lerp(start, target, s)
        pair = (start, target) if trial.control else (target, start)
        errors.append(float((method.matching_loss(end, *pair) - (1 - s) ** 2).abs().max()))
    return Effects(errors)


def _run(trial, **changes):
    return study.run(
        study.Setting.of(trial.budget, **changes),
        seeds=trial.seeds,
        data=trial.data,
        control="shuffled" if trial.control else False,
    )


def _plain(trial, **changes):
    """A run whose control is made from its own result."""
    return study.run(study.Setting.of(trial.budget, **changes), seeds=trial.seeds, data=trial.data)


def _gain(trial, arm, over, **changes):
    result = _run(trial, **changes)
    return Effects(result.gain(arm, over), shown(result.accuracy))


def _moved(trial, kind):
    """First-epoch movement of experts over that of plain ones of the same start, one value an expert, as many as seeds."""
    setting = study.Setting.of(
        trial.budget, experts=max(len(trial.seeds), 2), iterations=1, tricks=False, networks=1, judging=1
    )
    result = study.run(setting, seeds=(0,), data=trial.data)
    first = {name: values[: len(trial.seeds), 0].double() for name, values in result.movement.items()}
    details = {name: float(values.mean()) for name, values in result.expert_accuracy.items()}
    return first["plain" if trial.control else kind] / first["plain"], {"expert accuracy": details}


@measures("smooth_expert_distillation.clipping-slows", stacked=True)
def clipping_slows(trial):
    """First-epoch movement of clipped experts over that of plain ones. Control: plain experts in their place."""
    return Effects(*_moved(trial, "clipped"))


@measures("smooth_expert_distillation.penalty-slows", stacked=True)
def penalty_slows(trial):
    """The same for the gradient penalty. Control: plain experts in their place."""
    return Effects(*_moved(trial, "penalized"))


@measures("smooth_expert_distillation.experts-stay-good", stacked=True)
def stay_good(trial):
    """Accuracy of smooth experts less that of plain ones. Control: experts after no epoch in the place of smooth ones."""
    setting = study.Setting.of(
        trial.budget, experts=max(len(trial.seeds), 2), iterations=1, tricks=False, networks=1, judging=1
    )
    result = study.run(setting, seeds=(0,), data=trial.data)
    accuracy = {name: values[: len(trial.seeds)] for name, values in result.expert_accuracy.items()}
    chance = torch.full_like(accuracy["smooth"], 1 / len(result.y.unique()))
    return Effects((chance if trial.control else accuracy["smooth"]) - accuracy["plain"])


@measures("smooth_expert_distillation.smooth-experts-make-better-sets", stacked=True)
def smooth_better(trial):
    """Accuracy on sets along smooth experts less plain ones. Control: labels shuffled."""
    return _gain(trial, "smooth", "plain")


@measures("smooth_expert_distillation.more-than-slow", stacked=True)
def more_than_slow(trial):
    """Accuracy on sets along smooth experts less plain ones of half the learning rate. Control: labels shuffled."""
    return _gain(trial, "smooth", "slow")


@measures("smooth_expert_distillation.easier-to-follow", stacked=True)
def easier(trial):
    """Matching loss at the end, smooth less plain. Control: the two exchanged."""
    result = _plain(trial)
    last = {arm: values[-10:].mean(0).double() for arm, values in result.losses.items()}
    sign = -1 if trial.control else 1
    return Effects(sign * (last["smooth"] - last["plain"]), {arm: float(values.mean()) for arm, values in last.items()})


@measures("smooth_expert_distillation.representative-start-stabilizes", stacked=True)
def stabilizes(trial):
    """Distance of a seed's accuracy from its arm's median, representative less random start. Control: the two exchanged."""
    result = _plain(trial)
    spread = {arm: (values - values.median()).abs() for arm, values in result.accuracy.items()}
    sign = -1 if trial.control else 1
    return Effects(sign * (spread["smooth, representative"] - spread["smooth"]), shown(result.accuracy))


@measures("smooth_expert_distillation.balanced-loss-helps", stacked=True)
def balanced(trial):
    """Accuracy with less without the balanced inner loop. Control: labels shuffled."""
    return _gain(trial, "smooth, balanced", "smooth")


@measures("smooth_expert_distillation.tricks-stack", stacked=True)
def stack(trial):
    """Gain of adding one of the four tricks, mean over tricks and all eight stacks of the others. Control: labels shuffled."""
    accuracy = _run(trial, stacks=True).accuracy
    gains = {
        trick: torch.stack(
            [
                accuracy[study.stack_name(tuple(one for one in method.TRICKS if one in (*others, trick)))]
                - accuracy[study.stack_name(others)]
                for others in ((), *study.STACKS)
                if trick not in others
            ]
        ).mean(0)
        for trick in method.TRICKS
    }
    return Effects(
        torch.stack(list(gains.values())).mean(0), {name: float(gain.mean()) for name, gain in gains.items()}
    )


def _errors(trial, trick):
    result = _plain(trial)
    sign = -1 if trial.control else 1
    details = {arm: float(values.mean()) for arm, values in result.chained.items()}
    return Effects(sign * (result.chained[f"smooth, {trick}"] - result.chained["smooth"]), details)


@measures("smooth_expert_distillation.intermediate-matching-holds-the-path", stacked=True)
def intermediate(trial):
    """Error of a student over three segments in a row, with less without intermediate matching. Control: the two exchanged."""
    return _errors(trial, "intermediate")


@measures("smooth_expert_distillation.perturbation-holds-the-path", stacked=True)
def perturbation(trial):
    """The same for perturbed starting weights. Control: the two exchanged."""
    return _errors(trial, "perturbed")


@measures("smooth_expert_distillation.at-another-resolution", stacked=True)
def resolution(trial):
    """Accuracy on sets along smooth experts less plain ones at 8 x 8 pixels. Control: labels shuffled."""
    return _gain(trial, "smooth", "plain", size=8, tricks=False)


@measures("smooth_expert_distillation.at-ten-images", stacked=True)
def at_ten(trial):
    """Accuracy on sets along smooth experts less plain ones, ten images a class. Control: labels shuffled."""
    return _gain(trial, "smooth", "plain", per_class=10, tricks=False)


@measures("smooth_expert_distillation.better-than-gradient-matching", stacked=True)
def better_than_matching(trial):
    """Accuracy with smooth experts and all tricks less that of contrastive gradient matching. Control: labels shuffled."""
    return _gain(trial, "smooth, all tricks", "dcc")


@measures("smooth_expert_distillation.better-than-plain-trajectories", stacked=True)
def better_than_plain(trial):
    """Accuracy with smooth experts and all tricks less that of plain trajectory matching, at the steps of the method or at those
    that suit it best, whichever mean is higher. Control: labels shuffled.
    """
    return _over_plain(trial)


def _over_plain(trial):
    result = _run(trial)
    over = max(("plain", "plain, own steps"), key=lambda arm: float(result.accuracy[arm].mean()))
    return Effects(result.gain("smooth, all tricks", over), {"over": over, **shown(result.accuracy)})


@measures("smooth_expert_distillation.benchmarks", stacked=True)
def benchmarks(trial):
    """Accuracy with smooth experts and all tricks less that of plain trajectory matching, on the user's set."""
    return _over_plain(trial)
