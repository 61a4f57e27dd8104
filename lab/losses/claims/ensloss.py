"""Measurements of the statements about EnsLoss."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.losses.ensloss import ens_loss, sample_calibrated_derivatives
from lab.losses.studies import ensloss as study
from lab.losses.studies.common import shown


@measures("ensloss.derivatives-suffice")
def derivatives(trial):
    """Largest difference of the gradient of the surrogate, given the logistic derivatives, from that of the logistic loss.

    Control: drawn derivatives in their place.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    f = (3 * torch.randn(500, generator=generator, dtype=torch.float64)).requires_grad_()
    t = torch.randint(2, (500,), generator=generator)
    given = None if trial.control else lambda margins: -torch.sigmoid(-margins)
    (surrogate,) = torch.autograd.grad(ens_loss(f, t, generator, derivatives=given), f)
    (logistic,) = torch.autograd.grad(torch.nn.functional.binary_cross_entropy_with_logits(f, t.double()), f)
    return Effects((surrogate - logistic).abs().max() * len(f))


@measures("ensloss.every-draw-is-convex-and-calibrated")
def convex_and_calibrated(trial):
    """Draws whose derivatives fall somewhere over the margin, or leave the range below zero.

    Control: the drawn derivatives in random order over the margins.
    """
    draws = trial.of(200, 2000, 20000)
    generator = torch.Generator().manual_seed(trial.seeds[0])
    bad = 0
    for k in range(draws):
        s = 3 * torch.randn(128, generator=generator)
        g = sample_calibrated_derivatives(s, generator, box_cox=(k % 9 - 4) / 4, tail=False)
        if trial.control:
            g = g[torch.randperm(len(g), generator=generator)]
        ordered = g[s.argsort(stable=True)]
        lowest = -1 - 2e-6
        bad += not bool((ordered.diff() >= 0).all() and (g < 0).all() and (g >= lowest).all())
    return Effects(bad, {"draws": draws, "batch": 128})


@measures("ensloss.consistency", stacked=True)
def consistency(trial):
    """Excess error over the Bayes classifier of a linear model at the largest sample. Control: shuffled labels."""
    sizes = trial.of((100, 400), (100, 400, 1600, 6400), (100, 400, 1600, 6400, 25600))
    curve = {size: study.excess_errors(size, trial.seeds, shuffled=trial.control) for size in sizes}
    details = {
        "excess error": {str(size): float(found.mean()) for size, found in curve.items()},
        "Bayes error": study.BAYES,
    }
    return Effects(curve[sizes[-1]], details)


@measures("ensloss.tables", stacked=True)
def tables(trial):
    """Accuracy of EnsLoss less that of the best fixed loss on each seed. Control: the logistic loss in its place."""
    result = study.on_table(trial.data, trial.seeds, trial.budget)
    best = torch.stack([result.accuracy[name] for name in study.FIXED]).amax(0)
    return Effects(result.accuracy["cross-entropy" if trial.control else "ensloss"] - best, shown(result))


@measures("ensloss.prevents-overfitting", stacked=True)
def overfitting(trial):
    """Gap of training and test accuracy of the logistic loss less that of EnsLoss.

    Control: the logistic loss in the place of EnsLoss.
    """
    result = study.on_table(trial.data, trial.seeds, trial.budget)
    gap = {name: result.train_accuracy[name] - result.accuracy[name] for name in study.NAMES}
    return Effects(gap["cross-entropy"] - gap["cross-entropy" if trial.control else "ensloss"], shown(result))


@measures("ensloss.digit-pairs", stacked=True)
def digit_pairs(trial):
    """Share of pairs and architectures on which EnsLoss is the more accurate less that on which it is the less accurate.

    One value a seed, against the fixed loss for which it is smallest. The details count the pairs whose paired difference
    has an interval above, around or below zero. Control: the exponential loss in place of EnsLoss.
    """
    accuracy = study.on_pairs(trial.seeds, trial.budget)
    ours = "sum-exponential" if trial.control else "ensloss"
    net = [
        torch.cat([(found[ours] - found[name]).sign() for found in accuracy.values()]).mean(0) for name in study.FIXED
    ]
    counts = {
        kind: {name: study.against(found[name], found[ours]) for name in study.FIXED}
        for kind, found in accuracy.items()
    }
    total = {name: [sum(found[name][k] for found in counts.values()) for k in range(3)] for name in study.FIXED}
    return Effects(torch.stack(net).amin(0), {
        "better, no difference, worse": total, "by architecture": counts,
        "accuracy": {kind: {name: float(v.mean()) for name, v in found.items()} for kind, found in accuracy.items()},
        "learning rates": {kind: study.rates_of(kind) for kind in accuracy}, "pairs": len(study.PAIRS_OF[trial.budget][0]),
    })  # fmt: skip
