"""Measurements of the statements about group ordering constraints."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.losses.groco import group_ordering_loss
from lab.losses.sorting import NETWORKS, SIGMOIDS, soft_sort
from lab.losses.studies.representations import EPOCHS, best_setting, raw_pixel_neighbours, stack

STEEPNESS, LIMIT = 5.0, 1e10
NEGATIVES, POSITIVES = 10, 3


@measures("groco.doubly-stochastic")
def doubly_stochastic(trial):
    """Largest violation over networks and sigmoids: sums of rows and columns, signs, and the hard sort in the limit.

    Control: a softmax over the distances to the sorted values, whose rows alone sum to one (S. Prillo, J. Eisenschlos, ICML
    2020).
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    deviations = []
    for network in NETWORKS:
        for sigmoid in SIGMOIDS:
            x = torch.randn(20, 13, generator=generator, dtype=torch.float64)

            def matrix(steepness, x=x, network=network, sigmoid=sigmoid):
                if trial.control:
                    return torch.softmax(-steepness * (x[:, :, None] - x.sort(1).values[:, None]).abs(), 2)
                return soft_sort(x, steepness, network=network, sigmoid=sigmoid)[1]

            p = matrix(STEEPNESS)
            hard = torch.nn.functional.one_hot(x.argsort(1).argsort(1), 13).double()
            parts = (p.sum(1) - 1, p.sum(2) - 1, (-p).clamp_min(0), matrix(LIMIT) - hard)
            deviations += [part.abs().max() for part in parts]
    return Effects(torch.stack(deviations).max(), {"networks": NETWORKS, "sigmoids": SIGMOIDS})


@measures("groco.loss-counts-misordered")
def counts(trial):
    """Smallest decrease of the loss, over the distance of the two values, when a misordered pair of neighbours is put right.

    Control: the groups are exchanged, so that the loss asks for the opposite order.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    decreases = []
    for _ in range(trial.of(100, 400, 2000)):
        values = torch.randn(12, generator=generator, dtype=torch.float64).sort().values
        positive = torch.zeros(12, dtype=torch.bool)
        positive[torch.randperm(12, generator=generator)[:POSITIVES]] = True
        for k in torch.nonzero(positive[:-1] & ~positive[1:])[:, 0].tolist():  # a positive directly below a negative
            right = positive.clone()
            right[k], right[k + 1] = False, True
            before, after = (_loss(values, group, trial.control) for group in (positive, right))
            decreases.append((before - after) / float(values[k + 1] - values[k]))
    return Effects(torch.tensor(decreases).min(), {"pairs": len(decreases)})


def _loss(values, positive, exchanged):
    groups = (values[~positive], values[positive])
    s = torch.cat(groups[::-1] if exchanged else groups)[None]
    return float(group_ordering_loss(s, len(groups[0] if exchanged else groups[1]), STEEPNESS))


@measures("groco.no-order-within-groups")
def no_order_within(trial):
    """Largest change of the loss of a steep sort when the similarities within each group change places.

    A loss that is alike for all orders between the groups says nothing: what the loss of a random order lacks of lying 1 nat
    above that of the right order counts as change. Control: cross-entropy of the whole permutation matrix, which asks for one
    order.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    size = NEGATIVES + POSITIVES
    s = torch.rand(200, size, generator=generator).argsort(1).double() / size  # no two values near each other
    negative, positive = (torch.rand(200, n, generator=generator).argsort(1) for n in (NEGATIVES, POSITIVES))
    places = torch.cat([negative, NEGATIVES + positive], 1)

    def loss(similarity):
        if trial.control:
            return -soft_sort(similarity, LIMIT)[1].diagonal(dim1=1, dim2=2).clamp_min(1e-7).log().mean(1)
        return group_ordering_loss(similarity, POSITIVES, LIMIT)

    first = loss(s)
    change = (loss(s.gather(1, places)) - first).abs().max()
    lacking = 1 - (first - loss(s.sort(1).values)).mean()
    return Effects(torch.maximum(change, lacking), {"change": float(change), "rise of the loss": 1 - float(lacking)})


@measures("groco.emphasis-on-strong")
def emphasis(trial):
    """Share of the gradient that lowers the hardest negative and raises the weakest positive, over their share of the pairs.

    Ten negatives and three positives: two of thirteen pairs. Control: a loss that pulls at every pair alike.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    count = trial.of(200, 2000, 20000)
    negatives = 0.6 * torch.rand(count, NEGATIVES, generator=generator, dtype=torch.float64) - 0.3
    positives = 0.6 * torch.rand(count, POSITIVES, generator=generator, dtype=torch.float64)
    s = torch.cat([negatives.sort(1).values, positives.sort(1).values], 1).requires_grad_()
    if trial.control:
        loss = s[:, :NEGATIVES].sum() - s[:, NEGATIVES:].sum()
    else:
        loss = group_ordering_loss(s, POSITIVES, STEEPNESS).sum()
    (g,) = torch.autograd.grad(loss, s)
    share = (g[:, NEGATIVES - 1].clamp_min(0) + (-g[:, NEGATIVES]).clamp_min(0)) / g.abs().sum(1)
    alike = 2 / (NEGATIVES + POSITIVES)
    return Effects(share.mean() / alike, {"share": float(share.mean()), "share without emphasis": alike})


def _against_contrast(trial, field, instead):
    """Quality of ordering less that of contrast at their recorded settings, one value a seed; ``instead`` makes the control."""
    epochs = EPOCHS[trial.budget]
    steepness, temperature = (best_setting("groco", field, name) for name in ("groco", "info-nce"))
    contrast = stack("info-nce", [temperature], trial.seeds, epochs, field)[0]
    ordering = (
        instead(temperature, epochs) if trial.control else stack("groco", [steepness], trial.seeds, epochs, field)[0]
    )
    return ordering - contrast, {
        "steepness": steepness, "temperature": temperature, "ordering": float(ordering.mean()),
        "contrast": float(contrast.mean()), "raw pixels, neighbours": raw_pixel_neighbours(trial.seeds[0]),
    }  # fmt: skip


@measures("groco.nearest-neighbours")
def neighbours(trial):
    """Neighbour accuracy of ordering less that of contrast. Control: contrast with other initial weights in its place."""

    def contrast_again(temperature, epochs):
        found = [stack("info-nce", [temperature], [s], epochs, "neighbours", weights=s + 10**6) for s in trial.seeds]
        return torch.cat(found, 1)[0]

    return Effects(*_against_contrast(trial, "neighbours", contrast_again))


@measures("groco.linear-probe")
def probe(trial):
    """Probe accuracy that ordering loses against contrast. Control: the network before training in its place."""
    difference, details = _against_contrast(
        trial, "probe", lambda *_: stack("groco", [1.0], trial.seeds, 0, "probe")[0]
    )
    return Effects(-difference, details)
