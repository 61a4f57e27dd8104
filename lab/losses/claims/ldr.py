"""Measurements of the statements about label-distributionally robust losses."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from lab.claims import Effects, measures
from lab.losses.ldr import adaptive_temperature, ldr_kl_loss, margin_scores
from lab.losses.studies import ldr as study
from lab.losses.studies.common import shown, table


def _batch(seed, rows=200, classes=6):
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return z, torch.randint(classes, (rows,), generator=generator)


def _largest(difference):
    return float(difference.abs().max())


@measures("ldr.limits")
def limits(trial):
    """Distances from the three limits; those of lambda -> 0 and infinity after taking off lambda log K and the spread/lambda.

    Control: twice the temperature.
    """
    z, y = _batch(trial.seeds[0])
    log_k, factor = math.log(z.shape[1]), 2.0 if trial.control else 1.0
    scores = margin_scores(z, y, 0.1)

    def loss(temperature, c=0.0):
        return ldr_kl_loss(z, y, factor * temperature, margin=c, reduction="none")

    def cross_entropy(temperature):
        return temperature * (F.cross_entropy(z / temperature, y, reduction="none") - log_k)

    found = {
        "lambda 1": _largest(loss(1.0) - cross_entropy(1.0)),
        "temperature-scaled": max(_largest(loss(t) - cross_entropy(t)) for t in (0.1, 0.5, 3.0, 10.0)),
        "lambda to 0": _largest(scores.amax(1) - loss(1e-8, 0.1)) - 1e-8 * log_k,
        "lambda to infinity": _largest(loss(1e8, 0.1) - scores.mean(1))
        - float((scores.var(1, correction=0) / 2e8).max()),
    }
    return Effects(list(found.values()), found)


@measures("ldr.is-the-worst-case")
def worst_case(trial):
    """Loss and maximizer against mirror ascent over the simplex. Control: the uniform distribution, no ascent."""
    z, y = _batch(trial.seeds[0])
    scores, temperature = margin_scores(z, y, 0.1), 0.7
    classes = scores.shape[1]
    p = torch.full_like(scores, 1 / classes)
    for _ in range(0 if trial.control else 400):
        p = torch.softmax(p.log() + 0.5 / temperature * (scores - temperature * (p * classes).log()), 1)
    value = (p * scores).sum(1) - temperature * (p * (p * classes).log()).sum(1)
    loss = ldr_kl_loss(z, y, temperature, reduction="none")
    z.requires_grad_()
    (law,) = torch.autograd.grad(ldr_kl_loss(z, y, temperature, reduction="sum"), z)  # p* less the label's indicator
    found = {"loss": _largest(value - loss), "maximizer": _largest(p - law - F.one_hot(y, classes))}
    return Effects(list(found.values()), found)


def _rank_errors(scores, p):
    """Pairs of classes of each row whose order by score differs from their order by probability, ties included."""
    ahead = scores[:, :, None] - scores[:, None, :] > 1e-9
    likelier = p[:, :, None] - p[:, None, :] > 1e-9
    return (likelier & ~ahead).sum((1, 2))


@measures("ldr.top-k-consistent")
def top_k(trial):
    """Pairs misordered by minimizing scores, found by descent for random class probabilities. Control: those of another class."""
    rows = trial.of(10, 200, 2000)
    generator = torch.Generator().manual_seed(trial.seeds[0])
    p = torch.softmax(1.5 * torch.randn(rows, 6, generator=generator, dtype=torch.float64), 1)
    seen, y, wrong = p.roll(1, 1) if trial.control else p, torch.arange(6).repeat(rows), 0
    for temperature in (0.5, 1.0, 5.0):
        z = torch.zeros(rows, 6, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([z], max_iter=400, tolerance_grad=1e-11, line_search_fn="strong_wolfe")

        def closure(z=z, optimizer=optimizer, temperature=temperature):
            optimizer.zero_grad()
            losses = ldr_kl_loss(z.repeat_interleave(6, 0), y, temperature, margin=0.1, reduction="none").reshape(
                rows, 6
            )
            value = (seen * losses).sum()
            value.backward()
            return value

        optimizer.step(closure)
        wrong += int(_rank_errors(z.detach(), p).sum())
    return Effects(float(wrong), {"distributions": rows, "temperatures": [0.5, 1.0, 5.0]})


@measures("ldr.symmetric-is-not-top-k")
def symmetric(trial):
    """The symmetric limit lambda -> infinity over scores in the simplex: it puts all its weight on one class.

    Its expected loss is linear in the scores, so that a vertex of the simplex minimizes it: the best class is right, the others
    tie. Candidates are the vertices and the scores lambda log p + constant that minimize the loss at lambda = 1/20. Effects:
    shares of random class distributions that are misranked and whose best class is right, and one less the spread over scores
    of the loss summed over labels. Control: lambda = 1/20, which is not symmetric.
    """
    rows, classes, small = 500, 6, 0.05
    temperature = small if trial.control else 1e7
    generator = torch.Generator().manual_seed(trial.seeds[0])
    p = torch.softmax(1.5 * torch.randn(rows, classes, generator=generator, dtype=torch.float64), 1)
    ranked = small * p.log()
    ranked = ranked + (1 - ranked.sum(1, keepdim=True)) / classes
    candidates = torch.cat([torch.eye(classes, dtype=p.dtype).expand(rows, -1, -1), ranked[:, None]], 1)
    flat = candidates.reshape(-1, classes).repeat_interleave(classes, 0)
    losses = ldr_kl_loss(
        flat, torch.arange(classes).repeat(len(flat) // classes), temperature, margin=0.0, reduction="none"
    )
    losses = losses.reshape(rows, classes + 1, classes)
    best = candidates[torch.arange(rows), (losses * p[:, None]).sum(2).argmin(1)]
    found = {
        "misranked": float((_rank_errors(best, p) > 0).double().mean()),
        "best class right": float((best.argmax(1) == p.argmax(1)).double().mean()),
        "symmetry": 1 - float(losses.sum(2).max() - losses.sum(2).min()),
    }
    return Effects(list(found.values()), found)


@measures("ldr.adaptive-temperature-solves-the-inner-problem")
def adaptive(trial):
    """For fixed p the temperature in closed form against a golden-section search in lambda, over lambda_0.

    Control: no step of the fixed point, every row at lambda_0.
    """
    z, y = _batch(trial.seeds[0], rows=50)
    scores, start, alpha = margin_scores(z, y, 0.1), 10.0, 2.0
    classes = scores.shape[1]
    temperature = adaptive_temperature(scores, start, alpha, iterations=0 if trial.control else 60)
    p = torch.softmax(scores / temperature[:, None], 1)
    divergence = (p * (p * classes).log()).sum(1)
    low, high = torch.full_like(temperature, 1e-3), torch.full_like(temperature, 2 * start)
    golden = (5**0.5 - 1) / 2

    def objective(t):
        return -t * divergence - alpha * math.log(classes) / (2 * start) * (t - start) ** 2

    for _ in range(80):
        left, right = high - golden * (high - low), low + golden * (high - low)
        better = objective(left) > objective(right)
        low, high = torch.where(better, low, left), torch.where(better, right, high)
    return Effects(_largest((low + high) / 2 - temperature) / start, {"rows": len(z)})


@measures("ldr.temperature-follows-noise", stacked=True)
def follows_noise(trial):
    """Mean stored temperature of mislabelled less clean rows after training, over lambda_0; the noise of smallest mean counts.

    Control: the rows called mislabelled are exchanged.
    """
    x, y = table(trial.data)
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-6)
    settings = trial.of(study.NOISES[1:2], study.NOISES, study.NOISES)
    epochs = study.EPOCHS[trial.budget]
    found = study.temperature_gaps(x, y, settings, seeds=trial.seeds, epochs=epochs, shuffled=trial.control)
    worst = min(found, key=lambda name: float(found[name].mean()))
    return Effects(
        found[worst], {"noise": worst, "mean of each noise": {name: float(v.mean()) for name, v in found.items()}}
    )


@measures("ldr.robust-under-noise", stacked=True)
def robust(trial):
    """Accuracy at uniform noise 0.6 less that of cross-entropy. Control: clean labels."""
    level = 0.0 if trial.control else 0.6
    result = study.under_noise(("cross-entropy", "ldr-kl"), "uniform", level, trial.seeds, trial.budget, trial.data)
    return Effects(result.accuracy["ldr-kl"] - result.accuracy["cross-entropy"], shown(result))


@measures("ldr.adaptive-is-stable", stacked=True)
def stable(trial):
    """Mean rank of the adaptive loss over noise settings less the best mean rank of any other. Control: the mean absolute error."""
    if trial.data is None:
        ranks = study.ranks_on_digits(trial.seeds, trial.budget)
    else:
        ranks = study.mean_ranks(trial.seeds, trial.budget, trial.data)
    judged = "mean-absolute-error" if trial.control else "aldr-kl"
    mean = {name: float(values.mean()) for name, values in ranks.items()}
    best = min((name for name in mean if name != judged), key=mean.__getitem__)
    return Effects(ranks[judged] - ranks[best], {"mean rank": mean, "best other": best, "losses": len(ranks)})
