"""Measurements of the statements about the policy gradient-driven noise mask."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.generalization import policy_gradient_noise_mask as masks
from lab.generalization.studies import policy_gradient_noise_mask as study
from lab.generalization.studies.policy_gradient_noise_mask import Setting


@measures("policy_gradient_noise_mask.score-function")
def score_function(trial):
    """The policy's gradient under the density against the derivative of the expected loss. Control: without density."""
    values = []
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    for seed in trial.seeds:
        g = torch.Generator().manual_seed(seed)
        losses = torch.sin(4 * torch.rand(1, generator=g, dtype=torch.float64) + 5 * grid)
        a = (0.5 + torch.rand(1, generator=g, dtype=torch.float64)).requires_grad_()

        def density(a):
            return masks.log_density(grid, a.exp(), a.exp() * 0 + 2.5)

        p = density(a).detach().exp() / len(grid)
        weight = torch.full_like(p, 1 / len(grid)) if trial.control else p
        mean = (p * losses).sum()
        # one item a mask: the policy's loss with each item weighed by its probability, len(grid) times
        value = len(grid) * masks.policy_loss((weight * density(a))[:, None], losses - mean, "split")
        centred = value + (losses - mean).mean() * (weight * density(a)).sum()
        (found,) = torch.autograd.grad(centred, a)
        ends = [(density(a.detach() + sign * 1e-5).exp() * losses).mean() for sign in (1, -1)]
        values.append(float((found - (ends[0] - ends[1]) / 2e-5).abs()))
    return Effects(values)


@measures("policy_gradient_noise_mask.light")
def light(trial):
    """Sizes of the study's networks. Control: a policy sixteen times as wide."""
    policy = masks.BetaMaskPolicy(4, width=256 if trial.control else 16)
    return Effects(_size(policy) / _size(study.network(64, 12)))


def _size(model):
    return sum(value.numel() for value in model.parameters())


@measures("policy_gradient_noise_mask.inference-unchanged")
def inference(trial):
    """Parameters beyond the plain classifier's, and answers on an image whose mask would be drawn. Control: with the policy."""
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 3
    plain = study.network(64, 3)
    model = masks.train_masked(plain, x, y, epochs=1, tuning_epochs=1)
    extra, inputs = 0, x
    if trial.control:
        policy = masks.BetaMaskPolicy(4)
        a, b = policy(x)
        extra = _size(policy)
        inputs = masks.masked(x, masks.sample_mask(a.exp(), b.exp(), torch.Generator().manual_seed(1)), 4)
    apart = (model(inputs) - model(x)).detach().abs().max()
    return Effects(float(apart) + abs(_size(model) + extra - _size(plain)))


def _run(trial, **changes):
    return study.run(Setting.of(trial.budget, **changes), seeds=trial.seeds, data=trial.data)


def _shown(found):
    return {arm: round(float(values.mean()), 4) for arm, values in found.items()}


@measures("policy_gradient_noise_mask.image-specific", stacked=True)
def image_specific(trial):
    """Spread over images of the proposed means. Control: no spread, one image."""
    spread = _run(trial).spread
    return Effects(spread * (0.0 if trial.control else 1.0))


@measures("policy_gradient_noise_mask.learns", stacked=True)
def learns(trial):
    """Loss under proposed less that under uniform masks. Control: uniform in both places."""
    met = _run(trial).met
    return Effects(met["uniform" if trial.control else "policy"] - met["uniform"], _shown(met))


@measures("policy_gradient_noise_mask.beats-conventional", stacked=True)
def conventional(trial):
    """Accuracy less that without masks. Control: permuted losses."""
    found = _run(trial).accuracy
    return Effects(found["permuted" if trial.control else "split"] - found["none"], _shown(found))


@measures("policy_gradient_noise_mask.beats-uniform-noise", stacked=True)
def beyond_uniform(trial):
    """Accuracy less that with uniform masks. Control: permuted losses."""
    found = _run(trial).accuracy
    return Effects(found["permuted" if trial.control else "split"] - found["uniform"], _shown(found))


@measures("policy_gradient_noise_mask.transfers", stacked=True)
def transfers(trial):
    """Accuracy of the probe less that without masks. Control: permuted losses."""
    found = _run(trial).transfer
    if bool(found["none"].isnan().any()):
        raise ValueError("own images need at least four classes, of which two are kept away for the transfer")
    return Effects(found["permuted" if trial.control else "split"] - found["none"], _shown(found))


@measures("policy_gradient_noise_mask.several-kinds", stacked=True)
def several_kinds(trial):
    """Gain with three kinds less the gain with one. Control: exchanged."""
    gains = []
    for kinds in ("three", "one"):
        found = _run(trial, kinds=kinds).accuracy
        gains.append(found["split"] - found["none"])
    sign = -1 if trial.control else 1
    return Effects(sign * (gains[0] - gains[1]), {"three": float(gains[0].mean()), "one": float(gains[1].mean())})


@measures("policy_gradient_noise_mask.biomedical", "policy_gradient_noise_mask.biomedical-transfer", stacked=True)
def biomedical(trial):
    """Accuracy on patches, or of the probe on the retina, less that without masks. Control: permuted losses."""
    result = _run(trial, kinds="biomedical")
    found = result.transfer if trial.claim.id.endswith("transfer") else result.accuracy
    return Effects(found["permuted" if trial.control else "split"] - found["none"], _shown(found))


@measures("policy_gradient_noise_mask.noise-and-decay", stacked=True)
def noise_and_decay(trial):
    """Gain of uniform masks with weight decay less their gain without. Control: exchanged."""
    result = _run(trial)
    gains = [found["uniform"] - found["none"] for found in (result.decayed, result.accuracy)]
    sign = -1 if trial.control else 1
    return Effects(
        sign * (gains[0] - gains[1]), {"with decay": float(gains[0].mean()), "without": float(gains[1].mean())}
    )
