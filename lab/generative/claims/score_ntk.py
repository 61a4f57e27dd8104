"""Measurements of the statements about score estimation by gradient descent."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.generative.score_ntk import Networks, decay, kernel, kernel_path, regression_data
from lab.generative.studies import score_ntk as study


def _run(trial, control: bool | str = False, **changes):
    setting = study.Setting.of(trial.budget)
    changes = {name: value(getattr(setting, name)) for name, value in changes.items()}
    return study.run(setting.model_copy(update=changes), seeds=trial.seeds, control=control if trial.control else False)


@measures("score_ntk.score-matching-is-regression")
def regression(trial):
    """|s + Z / sqrt h|^2 less (alpha/h)^2 |f - X_0|^2, relative, for a network off its start. Control: weight alpha / h."""
    seed = trial.seeds[0]
    draws = regression_data(study.law(), 200, (seed,))
    start = Networks.drawn(64, 2, (seed,))
    networks = Networks(start.weights + 0.3 * start.weights.flip(1), start.start, start.signs)
    x, t = draws.z[..., :2], draws.time
    alpha, h = (v[..., None] for v in decay(t))
    noise = (x - alpha * draws.labels) / h
    matched = (networks.score(x, t) + noise).square().sum(-1)
    weight = alpha / h if trial.control else (alpha / h).square()
    regressed = (weight * (networks(draws.z) - draws.labels).square()).sum(-1)
    hidden = (draws.z @ networks.weights.mT).relu() - (draws.z @ networks.start.mT).relu()
    if not torch.allclose(networks(draws.z), hidden @ networks.signs / 8):
        raise ArithmeticError("the network differs from its formula")
    return Effects(float(((matched - regressed) / matched).abs().max()))


@measures("score_ntk.kernel-descent-in-closed-form")
def closed(trial):
    """Distance of 30 steps in closed form to the same one by one, relative. Control: exp(-eta k K / N), the form of
    continuous time, in its place."""
    seed = trial.seeds[0]
    draws, networks = regression_data(study.law(), 20, (seed,)), Networks.drawn(200, 2, (seed,))
    gram = kernel(networks, draws.z, draws.z)
    y = draws.labels.flatten(1)[..., None]
    u = torch.zeros_like(y)
    for _ in range(30):
        u = u - 0.2 / 20 * gram @ (u - y)
    if trial.control:
        found = y - torch.linalg.matrix_exp(-0.2 * 30 / 20 * gram) @ y
    else:
        found = kernel_path(gram, gram, draws.labels, 0.2, [30])[0].flatten(1)[..., None]
    return Effects(float((found - u).norm() / u.norm()))


@measures("score_ntk.training-loss-falls", stacked=True)
def falls(trial):
    """Largest rise of the training loss between recorded steps over its fall in all. Control: step size 10."""
    result = _run(trial, rate=lambda rate: 10.0 if trial.control else rate)
    return Effects(float((result.train.diff(dim=0) / (result.train[0] - result.train[-1]).abs()).max()))


@measures("score_ntk.wide-networks-follow-the-kernel", stacked=True)
def follow(trial):
    """Distance to kernel regression at the last step, at four times the width over that at the width. Control: the same width."""
    narrow = _run(trial)
    wide = _run(trial, width=lambda m: m if trial.control else 4 * m)
    return Effects(wide.parts["coupling"][-1] / narrow.parts["coupling"][-1])


@measures("score_ntk.weights-move-less-in-wide-networks", stacked=True)
def move(trial):
    """log of the ratio of the farthest hidden unit's movement, four times the width to the width, plus log 2. Control: the
    same width."""
    narrow = _run(trial)
    wide = _run(trial, width=lambda m: m if trial.control else 4 * m)
    return Effects((2 * wide.movement[-1] / narrow.movement[-1]).log())


@measures("score_ntk.stopping-early-beats-training-on", stacked=True)
def stopping(trial):
    """log of the test error at the stopping time over that at the last step. Control: labels without noise."""
    result = _run(trial, "clean", steps=lambda k: 5 * k)
    return Effects((result.stopped(result.test) / result.test[-1]).log(), {"stop": result.at[result.stop].tolist()})


@measures("score_ntk.stopping-rule-is-near-the-best", stacked=True)
def near(trial):
    """Test error at the stopping time over the least one of all steps. Control: labels permuted over the points."""
    result = _run(trial, "shuffled")
    reference = study.run(study.Setting.of(trial.budget), seeds=trial.seeds)
    return Effects(result.stopped(result.test) / reference.test.amin(0))


@measures("score_ntk.more-data-generalize-better", stacked=True)
def more(trial):
    """Test error at the stopping time with four times the triples over that without. Control: labels permuted over the points."""
    few = study.run(study.Setting.of(trial.budget), seeds=trial.seeds)
    many = _run(trial, "shuffled", items=lambda n: 4 * n)
    return Effects(many.stopped(many.test) / few.stopped(few.test))


@measures("score_ntk.descent-learns-the-score", stacked=True)
def learns(trial):
    """Least score-weighted error over that at the start. Control: labels permuted over the points."""
    result = _run(trial, "shuffled")
    return Effects(result.weighted.amin(0) / result.weighted[0])


@measures("score_ntk.the-score-stops-later", stacked=True)
def later(trial):
    """log of the step of least score-weighted error over that of least error. Control: the two exchanged."""
    result = _run(trial)
    at = result.at.double().clamp_min(1).log()
    gap = at[result.weighted.argmin(0)] - at[result.test.argmin(0)]
    return Effects(-gap if trial.control else gap)
