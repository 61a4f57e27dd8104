"""Measurements of the statements about gradient-adaptive quantization-aware training."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lab import training
from lab.claims import Effects, measures
from lab.generalization import gaqat
from lab.generalization.studies import gaqat as study
from lab.generalization.studies.gaqat import Setting
from lab.training import quantizers


def _generator(seed):
    return torch.Generator().manual_seed(seed)


@measures("gaqat.disorder")
def disorder(trial):
    """Disorder of random, alternating and constant sequences against counting. Control: sorted."""
    values = []
    for seed in trial.seeds:
        g = torch.randn(30, 6, generator=_generator(seed), dtype=torch.float64)
        g[:, 4] = torch.arange(30) % 2 - 0.5
        g[:, 5] = 1.0
        given = g.sort(0).values if trial.control else g
        counted = [sum(a * b < 0 for a, b in zip(column[1:], column[:-1])) / 29 for column in g.T.tolist()]
        values.append(float((gaqat.disorder(given) - torch.tensor(counted, dtype=torch.float64)).abs().max()))
    return Effects(values)


@measures("gaqat.step-gradient")
def step_gradient(trial):
    """Gradient of the step against finite differences, over its scale. Control: values inside the range."""
    values = []
    for seed in trial.seeds:
        v = torch.randn(50, generator=_generator(seed), dtype=torch.float64)
        v = 0.5 * v if trial.control else 10 * v.sign() + v
        step = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(50, generator=_generator(seed + 1), dtype=torch.float64)
        found = lambda s, v=v, w=weight: (w * quantizers.learned_step(v, s, 3)).sum()  # noqa: E731
        (slope,) = torch.autograd.grad(found(step), step)
        with torch.no_grad():
            wanted = (found(step + 1e-7) - found(step - 1e-7)) / 2e-7
        scale = (1 / (50 * 3)) ** 0.5
        values.append(float((slope / scale - wanted).abs() / wanted.abs()))
    return Effects(values)


@measures("gaqat.exports")
def exports(trial):
    """Logits of the quantized network against those from its integers. Control: levels off by one."""
    values = []
    for seed in trial.seeds:
        x = torch.rand(40, 6, generator=_generator(seed))
        network = gaqat.quantize_layers(training.mlp(6, 3, widths=(8,), seed=seed), x, 3)
        z = x
        for layer in network:
            if isinstance(layer, gaqat.Quantized):
                levels, step = layer.integers()
                inputs = layer.input_step.integers(z).float() * layer.input_step.step.abs()
                z = F.linear(inputs, (levels + int(trial.control)).float() * step, layer.layer.bias)
            else:
                z = layer(z)
        values.append(float((network(x) - z).detach().abs().max()))
    return Effects(values)


def _run(trial, **changes):
    return study.run(Setting.of(trial.budget, **changes), seeds=trial.seeds, data=trial.data)


def _shown(result):
    return {arm: round(float(values.mean()), 4) for arm, values in result.unseen.items()}


def _less(result, own, other):
    return Effects((result.unseen[own] - result.unseen[other]).mean(1), _shown(result))


@measures("gaqat.flat-generalizes", stacked=True)
def flat(trial):
    """Float SAM less float plain training. Control: plain training less itself."""
    return _less(_run(trial), "float" if trial.control else "float sam", "float")


@measures("gaqat.degrades", stacked=True)
def degrades(trial):
    """Float SAM less SAM at 3 bits. Control: float SAM less itself."""
    return _less(_run(trial), "float sam", "float sam" if trial.control else "quantized sam")


@measures("gaqat.gradients-conflict", stacked=True)
def conflict(trial):
    """Mean share of steps in conflict. Control: without SAM."""
    found = _run(trial).conflict["quantized" if trial.control else "quantized sam"]
    return Effects(found.mean(1), {"by quantizer": found.mean(0).tolist()})


@measures("gaqat.conflict-by-layer", stacked=True)
def by_layer(trial):
    """Largest less smallest share over quantizers. Control: every quantizer at the mean."""
    result = _run(trial)
    found = result.conflict["quantized sam"]
    found = found.mean(1, keepdim=True).expand_as(found) if trial.control else found
    return Effects(found.amax(1) - found.amin(1), dict(zip(result.names, found.mean(0).tolist())))


@measures("gaqat.conflict-at-few-bits", stacked=True)
def few_bits(trial):
    """Share at 3 bits less that at 8. Control: exchanged."""
    few, many = (_run(trial, bits=bits).conflict["quantized sam"].mean(1) for bits in (3, 8))
    return Effects(
        many - few if trial.control else few - many, {"3 bits": float(few.mean()), "8 bits": float(many.mean())}
    )


@measures("gaqat.freezing-stabilizes", stacked=True)
def stabilizes(trial):
    """Log ratio of the steps' variances. Control: random freezing."""
    found = _run(trial).wander
    return Effects((found["random" if trial.control else "gaqat"] / found["quantized sam"]).log())


@measures("gaqat.freezing-helps", stacked=True)
def helps(trial):
    """The method less the direct combination. Control: random freezing."""
    return _less(_run(trial), "random" if trial.control else "gaqat", "quantized sam")


@measures("gaqat.near-lossless", stacked=True)
def lossless(trial):
    """The method at 4 bits less float SAM. Control: at 2 bits."""
    return _less(_run(trial, bits=2 if trial.control else 4), "gaqat", "float sam")
