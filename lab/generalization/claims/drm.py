"""Measurements of the statements about domain-specific risk minimization."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F

from lab import training
from lab.claims import Effects, measures
from lab.generalization.drm import DRMClassifier, adapt_heads, adaptivity_bound, drm_loss
from lab.generalization.studies import drm as study
from lab.generalization.studies.drm import Setting


def _generator(seed):
    return torch.Generator().manual_seed(seed)


@measures("drm.bound")
def bound(trial):
    """Risk less bound over random finite instances. Control: without the adaptivity gap."""
    values = []
    for seed in trial.seeds:
        g = _generator(seed)
        worst = -1.0
        for _ in range(200):
            draw = lambda *shape: torch.rand(*shape, generator=g, dtype=torch.float64)  # noqa: E731, B023
            sources, target, weights = (one / one.sum(-1, keepdim=True) for one in (draw(3, 8), draw(8), draw(3)))
            labels, truth, hypotheses = (draw(*size).round() for size in ((3, 8), (8,), (3, 8)))
            risk, most, gap = adaptivity_bound(sources, target, labels, truth, hypotheses, weights)
            worst = max(worst, float(risk - most + (gap if trial.control else 0.0)))
        values.append(worst)
    return Effects(values, {"instances": 200 * len(values)})


@measures("drm.gap-is-arbitrary")
def arbitrary(trial):
    """Two sources of three label the target's way wrong, one right. Control: the target is labelled as the two."""
    values = []
    for seed in trial.seeds:
        truth = torch.randint(2, (16,), generator=_generator(seed)).double()
        even = torch.full((16,), 1 / 16, dtype=torch.float64)
        labels = torch.stack([1 - truth, 1 - truth, truth])
        goal = 1 - truth if trial.control else truth
        majority = labels.mean(0).round()
        pooled = adaptivity_bound(even[None], even, majority[None], goal, majority[None], torch.ones(1))[0]
        best = adaptivity_bound(even[None], even, labels[2:], goal, labels[2:], torch.ones(1))[0]
        values.append(float(pooled - best))
    return Effects(values)


@measures("drm.loss")
def loss(trial):
    """Gradients and values of the loss against their parts. Control: other domains in the loss."""
    values = []
    for seed in trial.seeds:
        g = _generator(seed)
        logits = torch.randn(12, 4, 5, generator=g, dtype=torch.float64, requires_grad=True)
        y, d = torch.randint(5, (12,), generator=g), torch.arange(12) % 3
        (slope,) = torch.autograd.grad(drm_loss(logits, y, (d + 1) % 3 if trial.control else d).sum(), logits)
        wanted = torch.softmax(logits.detach(), -1) - F.one_hot(y, 5)[:, None]
        share = 0.5 * (F.one_hot(d, 4) + F.one_hot(torch.full_like(d, 3), 4))
        head = logits.detach()[:, [0, 0]]
        twin = drm_loss(head, y, torch.zeros_like(d)) - F.cross_entropy(head[:, 0], y, reduction="none")
        values += [float((slope - wanted * share[..., None]).abs().max()), float(twin.abs().max())]
    return Effects(values)


@measures("drm.confidence-test")
def confidence(trial):
    """Largest confidence under the released test, on heads of any sharpness. Control: the softmax once."""
    values = []
    for seed in trial.seeds:
        g = _generator(seed)
        weight, z = 5 * torch.randn(30, 8, generator=g), torch.randn(200, 8, generator=g)
        _, share, largest = adapt_heads(weight, torch.zeros(30), z, 10, beta=0.5, coded=not trial.control)
        values += [float(largest), float(share)]
    return Effects(values)


def _runs(trial, **changes):
    """The results of the colours and of the angles, or of the user's domains."""
    if trial.data is not None:
        return [study.run(Setting.of(trial.budget), seeds=trial.seeds, data=trial.data)]
    return [
        study.run(Setting.of(trial.budget, shift=shift, **changes), seeds=trial.seeds)
        for shift in ("coloured", "rotated")
    ]


def _mean(result, part, rule):
    return getattr(result, part)[rule].mean(1)


def _shown(result):
    return {
        part: {name: round(float(v.mean()), 4) for name, v in getattr(result, part).items()}
        for part in ("seen", "unseen")
    }


@measures("drm.seen-domains", stacked=True)
def seen(trial):
    """Accuracy on the sources less that of plain training. Control: entropies permuted over heads."""
    result = _runs(trial)[0]
    rule = "permuted" if trial.control else "soft"
    return Effects(_mean(result, "seen", rule) - _mean(result, "seen", "erm"), _shown(result))


@measures("drm.unseen-domains", stacked=True)
def unseen(trial):
    """Accuracy on the left-out domain less that of plain training, over all targets. Control: entropies permuted."""
    results = _runs(trial)
    rule = "permuted" if trial.control else "soft"
    gains = torch.cat([result.unseen[rule] - result.unseen["erm"] for result in results], 1)
    names = [name for result in results for name in result.targets]
    return Effects(gains.mean(1), {"gain by target": dict(zip(names, [round(float(g), 4) for g in gains.mean(0)]))})


@measures("drm.best-head", stacked=True)
def best_head(trial):
    """The best domain head on the left-out domain less plain training. Control: the heads' mean accuracy."""
    gains = []
    for result in _runs(trial):
        best = result.heads.mean(2) if trial.control else result.unseen["best head"]
        gains.append(best - result.unseen["erm"])
    return Effects(torch.cat(gains, 1).mean(1))


@measures("drm.target-samples-steer", stacked=True)
def steer(trial):
    """Weighted heads less equal weights on the sources' held items. Control: entropies permuted over heads."""
    result = _runs(trial)[0]
    rule = "permuted" if trial.control else "soft"
    return Effects(_mean(result, "seen", rule) - _mean(result, "seen", "uniform"), _shown(result))


@measures("drm.gap-entropy", "drm.gap-cosine", "drm.gap-distance", "drm.gap-discriminator", stacked=True)
def gap(trial):
    """Rank correlation of an estimate with the heads' target errors. Control: the estimates of the neighbouring heads."""
    result = _runs(trial)[1]
    name = trial.claim.id.removeprefix("drm.gap-")
    found = result.permuted if trial.control else result.correlation
    return Effects(found[name].mean(1), {key: float(value.mean()) for key, value in found.items()})


@measures("drm.adapts-online", stacked=True)
def adapts(trial):
    """Online accuracy with less without adaptation, over three orders. Control: pseudo-labels exchanged."""
    control = "shuffled" if trial.control else False
    result = study.run(Setting.of(trial.budget, shift="coloured"), seeds=trial.seeds, control=control)
    gain = result.adapted["after"] - result.adapted["before"]
    return Effects(gain.mean(1), {"by target": dict(zip(result.targets, gain.mean(0).tolist()))})


@measures("drm.simple", stacked=True)
def simple(trial):
    """Process time of steps, alternating. Control: four networks instead of four heads."""
    steps, values = trial.of(5, 30, 30), []
    for seed in trial.seeds:
        times = [_seconds(domains, steps, seed, apart=trial.control and domains > 1) for domains in (1, 3)]
        values.append(times[1] / times[0])
    return Effects(values)


def _seconds(domains, steps, seed, apart=False):
    """CPU seconds of steps on batches of 192: one head (cross-entropy) or the heads of several domains."""
    g = _generator(seed)
    x, y = torch.rand(192, 196, generator=g), torch.randint(10, (192,), generator=g)
    d = torch.arange(192) % domains
    networks = [training.mlp(196, 64, widths=(128,), seed=k) for k in range(domains + 1 if apart else 1)]
    models = [DRMClassifier(network, 64, domains, 10) for network in networks]
    optimizer = torch.optim.Adam([p for model in models for p in model.parameters()], 1e-3)
    began = time.process_time()
    for _ in range(steps):
        optimizer.zero_grad()
        for model in models:
            logits = model(x)
            value = drm_loss(logits, y, d).mean() if domains > 1 else F.cross_entropy(logits[:, 0], y)
            value.backward()
        optimizer.step()
    return time.process_time() - began


@measures("drm.complements-invariance", stacked=True)
def complements(trial):
    """The smaller of the gains on seen and unseen colours over CORAL alone. Control: CORAL less plain training."""
    result = _runs(trial)[0]
    first, second = ("coral", "erm") if trial.control else ("drm + coral", "coral")
    gains = [_mean(result, part, first) - _mean(result, part, second) for part in ("seen", "unseen")]
    return Effects(torch.minimum(*gains), {"seen": float(gains[0].mean()), "unseen": float(gains[1].mean())})
