"""Measurements of the statements about self-distilled search."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lab.claims import Effects, measures
from lab.search import sd_darts
from lab.search.studies import sd_darts as study
from lab.search.studies.common import shown


@measures("sd_darts.vote-is-the-mean")
def vote(trial):
    """Largest difference of the voted probabilities from the mean of the teachers' ones. Control: the mean of their logits."""
    z = 3 * torch.randn(4, 30, 5, generator=torch.Generator().manual_seed(trial.seeds[0]), dtype=torch.float64)
    found = z.mean(0) if trial.control else sd_darts.vote(z, 2.0)
    return Effects(float((torch.softmax(found / 2, -1) - torch.softmax(z / 2, -1).mean(0)).abs().max()))


@measures("sd_darts.term-is-a-divergence")
def term(trial):
    """The term at a teacher equal to the student, and its distance from tau^2 times the mean divergence of the items.

    Control: the mean over items and classes.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    z, t = torch.randn(2, 3, 40, 5, generator=generator, dtype=torch.float64)
    teachers = sd_darts.VotingTeachers(temperature=2.0)
    reduced = [
        F.kl_div(torch.log_softmax(a / 2, -1), torch.softmax(b / 2, -1), reduction="batchmean") for a, b in zip(z, t)
    ]
    if trial.control:
        reduced = [value / 5 for value in reduced]
    return Effects(
        [float(teachers.term(z, z).abs().max()), float((teachers.term(z, t) - 4 * torch.stack(reduced)).abs().max())]
    )


def _run(trial):
    return study.run(study.Setting.of(trial.budget), seeds=trial.seeds, data=trial.data, control=trial.control)


def _gap(result, arm):
    return result.measured[f"gap, {arm}"]


@measures("sd_darts.discretization-loses", stacked=True)
def loses(trial):
    """Accuracy of the supernet of DARTS less that of its cut. Control: nothing is cut."""
    result = _run(trial)
    whole = result.measured["supernet, DARTS"]
    return Effects(whole - whole if trial.control else _gap(result, "DARTS"), shown(result))


@measures("sd_darts.gap-halves", stacked=True)
def halves(trial):
    """Gap of SD-DARTS less half the gap of DARTS. Control: teachers of weight zero."""
    result = _run(trial)
    return Effects(_gap(result, "SD-DARTS") - _gap(result, "DARTS") / 2, shown(result))


@measures("sd_darts.flatter-weights", stacked=True)
def flatter(trial):
    """Relative sharpness in the weights of SD-DARTS less that of DARTS. Control: teachers of weight zero."""
    measured = _run(trial).measured
    return Effects(measured["sharpness, SD-DARTS"] - measured["sharpness, DARTS"])


@measures("sd_darts.flatter-alpha", stacked=True)
def flatter_alpha(trial):
    """Relative sharpness in architecture weights of SD-DARTS less that of DARTS. Control: teachers of weight zero."""
    measured = _run(trial).measured
    return Effects(measured["sharpness in alpha, SD-DARTS"] - measured["sharpness in alpha, DARTS"])


@measures("sd_darts.voting-beats-one", stacked=True)
def voting(trial):
    """Gap with one teacher less the gap with a vote. Control: teachers of weight zero."""
    result = _run(trial)
    return Effects(_gap(result, "one teacher") - _gap(result, "SD-DARTS"), shown(result))


@measures("sd_darts.more-accurate", stacked=True)
def accurate(trial):
    """Accuracy of SD-DARTS and its network without retraining, less that of DARTS. Control: teachers of weight zero."""
    result = _run(trial)
    cut = {arm: result.measured[f"supernet, {arm}"] - _gap(result, arm) for arm in ("DARTS", "SD-DARTS")}
    return Effects(
        (result.gain("SD-DARTS", "DARTS") + cut["SD-DARTS"] - cut["DARTS"]) / 2,
        {**shown(result), "gain, retrained": float(result.gain("SD-DARTS", "DARTS").mean())},
    )


@measures("sd_darts.beats-other-means", stacked=True)
def means(trial):
    """The smallest mean gap of label smoothing, a moving average and sharpness-aware steps, less that of SD-DARTS.

    Control: teachers of weight zero.
    """
    result = _run(trial)
    best = min(study.OTHERS, key=lambda arm: float(_gap(result, arm).mean()))
    return Effects(_gap(result, best) - _gap(result, "SD-DARTS"), {**shown(result), "best other": best})
