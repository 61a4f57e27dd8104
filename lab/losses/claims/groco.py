"""Measurements of the statements about group ordering constraints."""

from __future__ import annotations

import torch

from lab.claims import measures
from lab.losses.claims.representations import raw_pixel_neighbours, stack, study
from lab.losses.claims.studies import exact, sampled
from lab.losses.groco import group_ordering_loss
from lab.losses.sorting import NETWORKS, SIGMOIDS, soft_sort


@measures("groco.doubly-stochastic")
def doubly_stochastic(data, seeds, budget):
    generator = torch.Generator().manual_seed(seeds[0])
    worst = 0.0
    for network in NETWORKS:
        for sigmoid in SIGMOIDS:
            x = torch.randn(20, 13, generator=generator, dtype=torch.float64)
            _, p = soft_sort(x, 5.0, network=network, sigmoid=sigmoid)
            worst = max(worst, float((p.sum(1) - 1).abs().max()), float((p.sum(2) - 1).abs().max()), float(-p.min()))
            _, steep = soft_sort(x, 1e10, network=network, sigmoid=sigmoid)
            hard = torch.nn.functional.one_hot(x.argsort(1).argsort(1), 13).double()
            worst = max(worst, float((steep - hard).abs().max()))
    return exact(worst, worst <= 1e-5, {"networks": NETWORKS, "sigmoids": SIGMOIDS})


@measures("groco.loss-counts-misordered")
def counts(data, seeds, budget):
    """Smallest decrease of the loss when a misordered pair of neighbouring values is put right."""
    generator = torch.Generator().manual_seed(seeds[0])
    smallest = float("inf")
    for _ in range(100):
        values = torch.randn(12, generator=generator, dtype=torch.float64).sort().values
        positive = torch.zeros(12, dtype=torch.bool)
        positive[torch.randperm(12, generator=generator)[:3]] = True
        for k in range(11):
            if positive[k] and not positive[k + 1]:  # a positive directly below a negative: swap their values
                before = _loss(values, positive)
                swapped = positive.clone()
                swapped[k], swapped[k + 1] = False, True
                smallest = min(smallest, before - _loss(values, swapped))
    return exact(smallest, smallest > 0)


def _loss(values, positive):
    return float(group_ordering_loss(torch.cat([values[~positive], values[positive]])[None], int(positive.sum()), 5.0))


@measures("groco.emphasis-on-strong")
def emphasis(data, seeds, budget):
    """Share of the gradient on the hardest negative and the weakest positive, above their share of the pairs.

    Ten negatives and three positives: two of thirteen pairs without emphasis.
    """
    generator = torch.Generator().manual_seed(seeds[0])
    shares = []
    for _ in range(200):
        negatives = (0.6 * torch.rand(10, generator=generator, dtype=torch.float64) - 0.3).sort().values
        positives = (0.6 * torch.rand(3, generator=generator, dtype=torch.float64)).sort().values
        s = torch.cat([negatives, positives])[None].requires_grad_()
        (g,) = torch.autograd.grad(group_ordering_loss(s, 3, 5.0).sum(), s)
        g = g[0].abs()
        shares.append(float((g[9] + g[10]) / g.sum()))
    mean = sum(shares) / len(shares)
    return exact(mean - 2 / 13, mean > 2 / 13, {"share": mean, "share without emphasis": 2 / 13})


def _against_contrast(field, budget, seeds):
    """GroCo at its best steepness against InfoNCE at its best temperature; three settings tried for each.

    The temperatures hold the one that is best in the study of the temperature (0.05).
    """
    epochs, used, _ = study(budget, seeds)
    temperatures, steepness = (0.05, 0.2, 0.5), (1.0, 3.0, 10.0)
    if budget == "smoke":
        temperatures, steepness = (0.5,), (1.0,)
    ordering = stack("groco", steepness, used, epochs, field)
    contrast = stack("info-nce", temperatures, used, epochs, field)
    best, other = int(ordering.mean(1).argmax()), int(contrast.mean(1).argmax())
    details = {"ordering": dict(zip(map(str, steepness), ordering.mean(1).tolist())),
               "contrast": dict(zip(map(str, temperatures), contrast.mean(1).tolist())),
               "trials of each": len(steepness), "raw pixels, neighbours": raw_pixel_neighbours(used[0])}  # fmt: skip
    return ordering[best] - contrast[other], used, details


@measures("groco.nearest-neighbours")
def neighbours(data, seeds, budget):
    difference, used, details = _against_contrast("neighbours", budget, seeds)
    return sampled(difference, 0.01, details, seeds=used)


@measures("groco.linear-probe")
def probe(data, seeds, budget):
    """Probe accuracy that ordering loses against contrast; competitive if the interval stays below the margin."""
    difference, used, details = _against_contrast("probe", budget, seeds)
    return sampled(-difference, 0.01, details, seeds=used, at_most=True)
