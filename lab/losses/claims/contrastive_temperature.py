"""Measurements of the statements about the temperature of the contrastive loss."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.losses.contrastive_temperature import info_nce, penalty_entropy, relative_penalty
from lab.losses.studies.representations import EPOCHS, FIELDS, TEMPERATURES, best_setting, raw_pixel_neighbours, stack

METHOD = "contrastive_temperature"
APART = 0.01  # of the two most similar negatives: the limit of low temperature is about a single hardest one


@measures("contrastive_temperature.hardness-aware")
def hardness(trial):
    """Largest difference of the penalties from the ratio of the loss's own gradients.

    A unit feature b_j moves by dL/ds_j times the part of the anchor across b_j, of length sqrt(1 - s_j^2). Control: the
    penalties at temperature 1, whatever the loss's.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    differences = []
    for temperature in (0.05, 0.07, 0.3, 2.0):
        for _ in range(trial.of(50, 200, 1000)):
            a, b = (torch.randn(16, 6, generator=generator, dtype=torch.float64) for _ in range(2))
            b = torch.nn.functional.normalize(b, dim=1).requires_grad_()
            (gradient,) = torch.autograd.grad(info_nce(a, b, temperature, reduction="none")[0], b)
            s = (b @ torch.nn.functional.normalize(a[0], dim=0)).detach()
            push = gradient.norm(dim=1) / (1 - s.square()).sqrt()
            penalty = relative_penalty(s[1:], 1.0 if trial.control else temperature)
            differences.append((push[1:] / push[0] - penalty).abs().max())
    return Effects(torch.stack(differences).max())


@measures("contrastive_temperature.entropy-grows")
def entropy(trial):
    """Smallest step of the entropy of the penalties to the next temperature. Control: negatives that are all alike."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    s = 2 * torch.rand(trial.of(1000, 10000, 100000), 31, generator=generator, dtype=torch.float64) - 1
    if trial.control:
        s = s[:, :1].expand_as(s)
    temperatures = (0.05, 0.07, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0)
    entropies = torch.stack([penalty_entropy(s, t) for t in temperatures])
    return Effects(
        entropies.diff(dim=0).min(), {"mean entropy": dict(zip(map(str, temperatures), entropies.mean(1).tolist()))}
    )


@measures("contrastive_temperature.limits")
def limits(trial):
    """Share off the hardest negative at temperature 1e-3, and largest distance from equal penalties at 1e5.

    Control: temperature 1 for both.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    low, high = (1.0, 1.0) if trial.control else (1e-3, 1e5)
    s = 2 * torch.rand(200, 15, generator=generator, dtype=torch.float64) - 1
    top = s.topk(2, dim=1).values
    s = s[(top[:, 0] - top[:, 1]) > APART]
    cold = (1 - relative_penalty(s, low).gather(1, s.argmax(1, keepdim=True))).abs().max()
    hot = (relative_penalty(s, high) - 1 / s.shape[1]).abs().max()
    return Effects(torch.maximum(cold, hot), {"off the hardest": float(cold), "from uniform": float(hot)})


@measures("contrastive_temperature.uniformity-tolerance")
def dilemma(trial):
    """Smallest step of -uniformity downwards and of tolerance upwards over temperatures from 0.2 on, one value a seed.

    Control: the temperatures in falling order.
    """
    warm = sorted((t for t in TEMPERATURES[1:]), reverse=trial.control)
    epochs = EPOCHS[trial.budget]
    found = {field: stack("info-nce", warm, trial.seeds, epochs, field) for field in ("uniformity", "tolerance")}
    steps = torch.cat([values.diff(dim=0) for values in found.values()])
    return Effects(
        steps.min(0).values, {"temperatures": warm, **{name: v.mean(1).tolist() for name, v in found.items()}}
    )


@measures("contrastive_temperature.interior-optimum")
def interior(trial):
    """Accuracy at the recorded best temperature above the better end of the grid, the smaller of probe and neighbours.

    Control: the labels of the evaluation are shuffled.
    """
    gains, details = [], {"raw pixels, neighbours": raw_pixel_neighbours(trial.seeds[0])}
    for field in FIELDS:
        best = best_setting(METHOD, field, "info-nce")
        values = (best, TEMPERATURES[0], TEMPERATURES[-1])
        quality = stack("info-nce", values, trial.seeds, EPOCHS[trial.budget], field, shuffled=trial.control)
        gains.append(quality[0] - quality[1:].amax(0))
        details[field] = {"temperatures": values, "accuracy": quality.mean(1).tolist()}
    return Effects(torch.stack(gains).amin(0), details)


@measures("contrastive_temperature.uniformity-separates")
def separates(trial):
    """Probe accuracy that the recorded best temperature gains over the largest, negative where its features are less uniform.

    Control: the labels of the evaluation are shuffled.
    """
    values = (best_setting(METHOD, "probe", "info-nce"), TEMPERATURES[-1])
    epochs = EPOCHS[trial.budget]
    probe = stack("info-nce", values, trial.seeds, epochs, "probe", shuffled=trial.control)
    uniform = stack("info-nce", values, trial.seeds, epochs, "uniformity")
    gain = probe[0] - probe[1]
    effect = torch.where(uniform[0] < uniform[1], gain, -gain.abs())
    return Effects(
        effect, {"temperatures": values, "probe": probe.mean(1).tolist(), "uniformity": uniform.mean(1).tolist()}
    )


@measures("contrastive_temperature.hard-negatives")
def hard(trial):
    """Neighbour accuracy that the loss over the hardest tenth loses at the largest temperature against the best of any.

    The best is that of its own recorded temperature or of the whole loss at the one recorded for it. Control: the whole loss
    at the largest temperature.
    """
    epochs = EPOCHS[trial.budget]
    best = {name: best_setting(METHOD, "neighbours", name) for name in ("info-nce", "hard")}
    reached = torch.cat([stack(name, [t], trial.seeds, epochs, "neighbours") for name, t in best.items()])
    name = "info-nce" if trial.control else "hard"
    last = stack(name, TEMPERATURES[-1:], trial.seeds, epochs, "neighbours")[0]
    accuracy = {**dict(zip(best, reached.mean(1).tolist())), "at the largest temperature": float(last.mean())}
    return Effects(reached.amax(0) - last, {"best temperatures": best, "accuracy": accuracy})
