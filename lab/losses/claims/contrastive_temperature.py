"""Measurements of the statements about the temperature of the contrastive loss."""

from __future__ import annotations

import torch

from lab.claims import Measured, measures
from lab.losses.claims.representations import raw_pixel_neighbours, stack, study
from lab.losses.claims.studies import exact, sampled
from lab.losses.comparison import mean_interval
from lab.losses.contrastive_temperature import penalty_entropy, relative_penalty


@measures("contrastive-temperature.hardness-aware")
def hardness(data, seeds, budget):
    generator = torch.Generator().manual_seed(seeds[0])
    worst = 0.0
    for temperature in (0.05, 0.07, 0.3, 1.0):
        for _ in range(50):
            s = (2 * torch.rand(16, generator=generator, dtype=torch.float64) - 1).requires_grad_()
            (g,) = torch.autograd.grad(torch.logsumexp(s / temperature, 0) - s[0] / temperature, s)
            ratio = g[1:].abs() / g[0].abs()
            worst = max(worst, float((ratio - relative_penalty(s.detach()[1:], temperature)).abs().max()))
    return exact(worst, worst <= 1e-9)


@measures("contrastive-temperature.entropy-grows")
def entropy(data, seeds, budget):
    generator = torch.Generator().manual_seed(seeds[0])
    s = 2 * torch.rand(1000, 31, generator=generator, dtype=torch.float64) - 1
    temperatures = (0.05, 0.07, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0)
    entropies = torch.stack([penalty_entropy(s, t) for t in temperatures])
    step = float(entropies.diff(dim=0).min())
    return exact(step, step > 0, {"mean entropy": dict(zip(map(str, temperatures), entropies.mean(1).tolist()))})


@measures("contrastive-temperature.limits")
def limits(data, seeds, budget):
    """Share off the hardest negative at temperature 1e-3, and largest distance from equal penalties at 1e5."""
    generator = torch.Generator().manual_seed(seeds[0])
    s = 2 * torch.rand(200, 15, generator=generator, dtype=torch.float64) - 1
    top = s.topk(2, dim=1).values
    s = s[(top[:, 0] - top[:, 1]) > 0.01]  # the limit is about a single hardest negative
    cold = float((1 - relative_penalty(s, 1e-3).gather(1, s.argmax(1, keepdim=True))).max())
    hot = float((relative_penalty(s, 1e5) - 1 / 15).abs().max())
    worst = max(cold, hot)
    return exact(worst, worst <= 1e-3, {"off the hardest": cold, "from uniform": hot})


@measures("contrastive-temperature.uniformity-tolerance")
def dilemma(data, seeds, budget):
    """Smallest mean step of -uniformity downwards and of tolerance upwards over temperatures from 0.2 on, in its own spread."""
    epochs, used, temperatures = study(budget, seeds)
    warm = [t for t in temperatures if t >= 0.2]
    uniform = stack("info-nce", warm, used, epochs, "uniformity")
    tolerant = stack("info-nce", warm, used, epochs, "tolerance")
    steps = [(uniform[k + 1] - uniform[k]) for k in range(len(warm) - 1)]
    steps += [(tolerant[k + 1] - tolerant[k]) for k in range(len(warm) - 1)]
    smallest = min(steps, key=lambda step: float(step.mean()))
    details = {"temperatures": warm, "uniformity": uniform.mean(1).tolist(), "tolerance": tolerant.mean(1).tolist()}
    return sampled(smallest, 0.0, details, seeds=used)


def _interior(field, budget, seeds):
    epochs, used, temperatures = study(budget, seeds)
    quality = stack("info-nce", temperatures, used, epochs, field)
    best = 1 + int(quality[1:-1].mean(1).argmax())
    end = 0 if float(quality[0].mean()) > float(quality[-1].mean()) else -1
    return quality[best] - quality[end], temperatures[best], quality.mean(1).tolist(), used, temperatures


@measures("contrastive-temperature.interior-optimum")
def interior(data, seeds, budget):
    """Accuracy of the best interior temperature above the better end, the smaller of probe and nearest neighbours."""
    found = {field: _interior(field, budget, seeds) for field in ("neighbours", "probe")}
    weaker = min(found, key=lambda field: float(found[field][0].mean()))
    difference, _, _, used, temperatures = found[weaker]
    details = {"temperatures": temperatures, "raw pixels, neighbours": raw_pixel_neighbours(used[0])}
    details |= {field: {"best temperature": row[1], "accuracy": row[2]} for field, row in found.items()}
    return sampled(difference, 0.005, details, seeds=used)


@measures("contrastive-temperature.uniformity-separates")
def separates(data, seeds, budget):
    """From the largest temperature to the best one: gain in probe accuracy, while the features become more uniform."""
    epochs, used, temperatures = study(budget, seeds)
    probe = stack("info-nce", temperatures, used, epochs, "probe")
    uniform = stack("info-nce", temperatures, used, epochs, "uniformity")
    best = int(probe[:-1].mean(1).argmax())
    more_uniform = float((uniform[best] - uniform[-1]).mean()) < 0
    mean, low, high = mean_interval(probe[best] - probe[-1])
    details = {"best temperature": temperatures[best], "uniformity there and at the end": [
        float(uniform[best].mean()), float(uniform[-1].mean())]}  # fmt: skip
    return Measured(mean, (low, high), low > 0 and more_uniform, details, seeds=used)


@measures("contrastive-temperature.hard-negatives")
def hard(data, seeds, budget):
    """Neighbour accuracy that the loss over the hardest tenth loses from its best to the largest temperature."""
    epochs, used, temperatures = study(budget, seeds)
    quality = stack("hard", temperatures, used, epochs, "neighbours")
    plain = stack("info-nce", temperatures, used, epochs, "neighbours")
    best = int(quality.mean(1).argmax())
    lost = quality[best] - quality[-1]
    details = {"temperatures": temperatures, "hard": quality.mean(1).tolist(), "plain": plain.mean(1).tolist(),
               "probe of hard": stack("hard", temperatures, used, epochs, "probe").mean(1).tolist()}  # fmt: skip
    return sampled(lost, 0.01, details, seeds=used, at_most=True)
