"""Measurements of the statements about label-distributionally robust losses."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from lab import training
from lab.claims import Measured, measures
from lab.losses.claims.studies import exact, sampled
from lab.losses.comparison import compare, mean_interval, noisy_labels
from lab.losses.ldr import ALDRKLLoss, adaptive_temperature, ldr_kl_loss, margin_scores
from lab.losses.studies.common import scale, shown, table

LOSSES = (
    "cross-entropy", "generalized-cross-entropy", "mean-absolute-error", "sum-exponential", "symmetric-cross-entropy", "focal",
    "label-smoothing", "multi-margin", "ldr-kl", "ldr-kl-small-temperature", "aldr-kl",
)  # fmt: skip


def _batch(seed, rows=200, classes=6):
    generator = torch.Generator().manual_seed(seed)
    z = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return z, torch.randint(classes, (rows,), generator=generator)


@measures("ldr.limits")
def limits(data, seeds, budget):
    """Distances from the three limits; those of lambda -> 0 and infinity after taking off lambda log K and the spread/lambda."""
    z, y = _batch(seeds[0])
    classes = z.shape[1]
    scores = margin_scores(z, y, 0.1)
    cross_entropy = _cross_entropy(z, y) - math.log(classes)
    one = float((ldr_kl_loss(z, y, 1.0, margin=0.0, reduction="none") - cross_entropy).abs().max())
    scaled = max(
        float((ldr_kl_loss(z, y, t, margin=0.0, reduction="none") - t * (_cross_entropy(z / t, y) - math.log(classes))).abs().max())
        for t in (0.1, 0.5, 3.0, 10.0)
    )
    small = ldr_kl_loss(z, y, 1e-8, reduction="none")
    svm = float((scores.amax(1) - small).abs().max()) - 1e-8 * math.log(classes)
    large = ldr_kl_loss(z, y, 1e8, reduction="none")
    mean = float((large - scores.mean(1)).abs().max()) - float((scores.var(1, correction=0) / 2e8).max())
    worst = max(one, scaled, svm, mean)
    details = {"lambda 1": one, "temperature-scaled": scaled, "lambda to 0": svm, "lambda to infinity": mean}
    return exact(worst, worst <= 1e-6, details)


def _cross_entropy(z, y):
    return torch.nn.functional.cross_entropy(z, y, reduction="none")


@measures("ldr.is-the-worst-case")
def worst_case(data, seeds, budget):
    """Loss against its own maximization over the simplex by mirror ascent."""
    z, y = _batch(seeds[0])
    scores, temperature = margin_scores(z, y, 0.1), 0.7
    p = torch.full_like(scores, 1 / scores.shape[1])
    for _ in range(400):
        slope = scores - temperature * (p * scores.shape[1]).log()
        p = torch.softmax(p.log() + 0.5 / temperature * slope, 1)
    value = (p * scores).sum(1) - temperature * (p * (p * scores.shape[1]).log()).sum(1)
    loss_gap = float((value - ldr_kl_loss(z, y, temperature, reduction="none")).abs().max())
    law_gap = float((p - torch.softmax(scores / temperature, 1)).abs().max())
    worst = max(loss_gap, law_gap)
    return exact(worst, worst <= 1e-8, {"loss": loss_gap, "maximizer": law_gap})


def _minimizer(p, temperature):
    """Scores of least expected loss under class probabilities ``p`` (rows, K), without margin: lambda log p in closed form."""
    return temperature * p.log()


def _rank_errors(scores, p):
    """Pairs of classes whose order by score differs from their order by probability."""
    first = scores[:, :, None] - scores[:, None, :]
    second = p[:, :, None] - p[:, None, :]
    return int(((second > 1e-9) & (first <= 1e-9)).sum())


@measures("ldr.top-k-consistent")
def top_k(data, seeds, budget):
    """Order of the minimizing scores against that of random class probabilities, the minimizer found by descent."""
    rows = {"smoke": 20, "default": 200, "full": 2000}[budget]
    generator = torch.Generator().manual_seed(seeds[0])
    p = torch.softmax(1.5 * torch.randn(rows, 6, generator=generator, dtype=torch.float64), 1)
    wrong = 0
    for temperature in (0.5, 1.0, 5.0):
        z = torch.zeros(rows, 6, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([z], max_iter=400, tolerance_grad=1e-11, line_search_fn="strong_wolfe")

        def closure(z=z, optimizer=optimizer, temperature=temperature):
            optimizer.zero_grad()
            y = torch.arange(6).repeat(rows)
            losses = ldr_kl_loss(z.repeat_interleave(6, 0), y, temperature, margin=0.1, reduction="none").reshape(rows, 6)
            value = (p * losses).sum()
            value.backward()
            return value

        optimizer.step(closure)
        wrong += _rank_errors(z.detach(), p)
    return exact(float(wrong), wrong == 0, {"distributions": rows, "temperatures": [0.5, 1.0, 5.0]})


@measures("ldr.symmetric-is-not-top-k")
def symmetric(data, seeds, budget):
    """The symmetric limit lambda -> infinity over scores in the simplex: it puts all its weight on one class.

    Its expected loss is linear in the scores, so its minimizer is a vertex: the best class is right, the others tie.
    """
    generator = torch.Generator().manual_seed(seeds[0])
    p = torch.softmax(1.5 * torch.randn(500, 6, generator=generator, dtype=torch.float64), 1)
    vertices = torch.eye(6, dtype=torch.float64)
    y = torch.arange(6)
    # expected loss of each vertex: rows of vertices against labels
    losses = torch.stack([ldr_kl_loss(v.expand(6, 6), y, 1e9, margin=0.0, reduction="none") for v in vertices])
    symmetric_sum = losses.sum(1)
    best = (p @ losses.T).argmin(1)
    top_one_wrong = int((best != p.argmax(1)).sum())
    misranked = sum(_rank_errors(vertices[b][None], row[None]) > 0 for b, row in zip(best, p))
    is_symmetric = float(symmetric_sum.max() - symmetric_sum.min())
    holds = misranked == len(p) and top_one_wrong == 0 and is_symmetric < 1e-6
    return exact(float(misranked), holds, {"top-1 errors": top_one_wrong, "spread of the sum over labels": is_symmetric})


@measures("ldr.adaptive-temperature-solves-the-inner-problem")
def adaptive(data, seeds, budget):
    """For fixed p the closed-form temperature against a fine search of the objective in lambda."""
    z, y = _batch(seeds[0], rows=50)
    scores, start, alpha = margin_scores(z, y, 0.1), 10.0, 2.0
    classes = scores.shape[1]
    temperature = adaptive_temperature(scores, start, alpha)
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
    worst = float(((low + high) / 2 - temperature).abs().max() / start)
    return exact(worst, worst <= 1e-6, {"rows": len(z)})


NOISES = (("uniform", 0.3), ("uniform", 0.6), ("next", 0.3), ("pairs", 0.3))  # labels redrawn, or taken for another class


@measures("ldr.temperature-follows-noise")
def follows_noise(data, seeds, budget):
    """Mean stored temperature of mislabelled less clean rows after training, over lambda_0; the noise of smallest mean counts."""
    x, y = table(data)
    settings = NOISES[1:2] if budget == "smoke" else NOISES
    found = temperature_gaps((x - x.mean(0)) / x.std(0).clamp_min(1e-6), y, settings, **scale(budget, seeds))
    worst = min(found, key=lambda name: float(found[name].mean()))
    gaps = {name: [float(values.mean()), *mean_interval(values)[1:]] for name, values in found.items()}
    return sampled(found[worst], 0.0, {"noise": worst, "mean and interval of each noise": gaps}, seeds=seeds)


def temperature_gaps(x, y, settings, *, seeds, epochs, learning_rates=()) -> dict[str, torch.Tensor]:
    """Mean temperature of mislabelled less clean rows after training under each noise, one value a seed; all models at once.

    One loss keeps the temperatures of all models: row i of model m has place m * items + i.
    """
    classes, items = int(y.max()) + 1, len(x)
    runs = [(kind, level, seed) for kind, level in settings for seed in seeds]
    noisy = torch.stack([noisy_labels(y, level, kind=kind, classes=classes, seed=seed) for kind, level, seed in runs])
    places = torch.arange(len(runs) * items).reshape(len(runs), items)
    stored = ALDRKLLoss(len(runs) * items, initial_temperature=1.0, reduction="none")

    def loss(logits, target):
        return stored(logits, target[:, 0], target[:, 1])

    loss.reduction = "none"
    training.fit(
        [training.mlp(x.shape[1], classes, widths=(128,), seed=seed) for _, _, seed in runs], x.float(),
        training.PerModel(torch.stack([noisy, places], 2)), seeds=[seed for _, _, seed in runs], loss=loss,
        learning_rate=3e-3, epochs=epochs, batch_size=64,
    )  # fmt: skip
    temperature, wrong = stored.temperatures.reshape(len(runs), items).double(), noisy != y
    gap = (temperature * wrong).sum(1) / wrong.sum(1) - (temperature * ~wrong).sum(1) / (~wrong).sum(1)
    names = [f"{kind} {level:g}" for kind, level in settings]
    return dict(zip(names, gap.reshape(len(settings), len(seeds))))


@measures("ldr.robust-under-noise")
def robust(data, seeds, budget):
    x, y = table(data)
    result = compare(("cross-entropy", "ldr-kl"), x, y, noise=0.6, **rates(budget, seeds))
    return sampled(result.accuracy["ldr-kl"] - result.accuracy["cross-entropy"], 0.02, shown(result), seeds=seeds)


def rates(budget, seeds):
    """The same, wider grid for every loss: normalized scores at a large temperature need rates ten times larger."""
    found = scale(budget, seeds)
    wide = (1e-3, 3e-3, 1e-2, 3e-2)
    return {**found, "learning_rates": wide[1:3] if budget == "smoke" else wide, "epochs": max(6, found["epochs"] * 3 // 4)}


@lru_cache(maxsize=2)
def _suite_on_digits(seeds, budget):
    return _suite(*table(None), seeds, budget)


def _suite(x, y, seeds, budget):
    settings = {
        "smoke": (("uniform", 0.0), ("uniform", 0.6)),
        "default": (("uniform", 0.0), ("uniform", 0.3), ("uniform", 0.6), ("next", 0.3), ("pairs", 0.3)),
        "full": (("uniform", 0.0), ("uniform", 0.3), ("uniform", 0.6), ("uniform", 0.9), ("next", 0.1), ("next", 0.3),
                 ("pairs", 0.1), ("pairs", 0.3)),
    }[budget]  # fmt: skip
    return {
        f"{kind} {level:g}": compare(LOSSES, x, y, noise=level, noise_kind=kind, **rates(budget, seeds))
        for kind, level in settings
    }


@measures("ldr.adaptive-is-stable")
def stable(data, seeds, budget):
    """Mean rank of the adaptive loss over noise settings less the best mean rank of any loss; its interval at most 1 is 'close'."""
    results = _suite_on_digits(tuple(seeds), budget) if data is None else _suite(*table(data), seeds, budget)
    ranks = {name: [] for name in LOSSES}
    for result in results.values():
        count = len(result.seeds)
        for s in range(count):
            order = sorted(LOSSES, key=lambda name, s=s, result=result: -float(result.accuracy[name][s]))
            for name in LOSSES:
                ranks[name].append(1 + order.index(name))
    mean = {name: sum(values) / len(values) for name, values in ranks.items()}
    best = min((name for name in LOSSES if name != "aldr-kl"), key=mean.get)
    difference = torch.tensor(ranks["aldr-kl"], dtype=torch.float64) - torch.tensor(ranks[best], dtype=torch.float64)
    value, low, high = mean_interval(difference)
    details = {"mean rank": mean, "best other": best, "settings": list(results), "losses": len(LOSSES)}
    used = next(iter(results.values())).seeds
    return Measured(value, (low, high), high <= 1.0, details, seeds=used)
