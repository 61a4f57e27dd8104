"""Measurements of the statements about EnsLoss."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import torch

from lab import datasets, training
from lab.claims import Measured, measures
from lab.losses.claims.studies import exact, sampled, scale, shown, table
from lab.losses.comparison import compare, mean_interval
from lab.losses.ensloss import EnsLoss, margins, sample_calibrated_derivatives

FIXED = ("cross-entropy", "multi-margin", "sum-exponential")  # of two classes: the logistic, hinge and exponential losses


@measures("ensloss.derivatives-suffice")
def derivatives(data, seeds, budget):
    generator = torch.Generator().manual_seed(seeds[0])
    f = 3 * torch.randn(500, generator=generator, dtype=torch.float64, requires_grad=True)
    f = f.detach().requires_grad_()
    t = torch.randint(2, (500,), generator=generator)
    s = margins(f, t)
    (surrogate,) = torch.autograd.grad((-torch.sigmoid(-s.detach()) * s).mean(), f)
    (logistic,) = torch.autograd.grad(torch.nn.functional.binary_cross_entropy_with_logits(f, t.double()), f)
    worst = float((surrogate - logistic).abs().max())
    return exact(worst, worst <= 1e-7)


@measures("ensloss.every-draw-is-convex-and-calibrated")
def convex_and_calibrated(data, seeds, budget):
    draws = {"smoke": 200, "default": 2000, "full": 20000}[budget]
    generator = torch.Generator().manual_seed(seeds[0])
    bad = 0
    for k in range(draws):
        s = 3 * torch.randn(128, generator=generator)
        g = sample_calibrated_derivatives(s, generator, box_cox=(k % 9 - 4) / 4, tail=False)
        ordered = g[s.argsort(stable=True)]
        bad += int((ordered.diff() < 0).any() or (g >= 0).any() or (g < -1 - 2e-6).any())
    return exact(float(bad), bad == 0, {"draws": draws, "batch": 128})


def _two_gaussians(n, generator):
    y = torch.randint(2, (n,), generator=generator)
    x = torch.randn(n, 10, generator=generator)
    x[:, :2] += torch.where(y == 1, 1.0, -1.0)[:, None]
    return x, y


BAYES = 0.5 * float(torch.erfc(torch.tensor(2**0.5 / 2**0.5)))  # two coordinates at distance one: Phi(-sqrt(2))


@measures("ensloss.consistency")
def consistency(data, seeds, budget):
    """Excess error over the Bayes classifier of a linear model on two Gaussians, the sample growing by four."""
    sizes = {"smoke": (100, 400), "default": (100, 400, 1600, 6400), "full": (100, 400, 1600, 6400, 25600)}[budget]
    seeds = seeds[:2] if budget == "smoke" else seeds
    curve = {}
    for size in sizes:
        excess = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            x, y = _two_gaussians(size, generator)
            test_x, test_y = _two_gaussians(20000, generator)
            fitted = training.fit(
                lambda s: training.mlp(10, 2, widths=(), seed=s), x, y, seeds=[seed], loss=[EnsLoss(seed=seed, reduction="none")],
                learning_rate=1e-2, epochs=max(20, 20000 // size), batch_size=64, schedule="cosine",
            )  # fmt: skip
            with torch.no_grad():
                wrong = fitted.predict(test_x)[0].argmax(1) != test_y
            excess.append(float(wrong.double().mean()) - BAYES)
        curve[size] = excess
    last = torch.tensor(curve[sizes[-1]])
    details = {"excess error": {k: sum(v) / len(v) for k, v in curve.items()}, "Bayes error": BAYES}
    return sampled(last, 0.01, details, seeds=seeds, at_most=True)


def _overfitting_table(data, budget):
    """The user's binary table, or breast cancer with 200 noise features added."""
    if data is not None:
        return table(data)
    x, y = table(None, "breast_cancer")
    noise = torch.randn(len(x), 200, generator=torch.Generator().manual_seed(0))
    return torch.cat([(x - x.mean(0)) / x.std(0), noise], 1).float(), y


@lru_cache(maxsize=1)
def _table_study(seeds, budget):
    return _compare_tables(None, seeds, budget)


def _compare_tables(data, seeds, budget):
    x, y = _overfitting_table(data, budget)
    if int(y.max()) != 1:
        raise ValueError(f"data must have two classes for binary losses, got {int(y.max()) + 1}")
    settings = scale(budget, seeds)

    def network(seed):
        return training.mlp(x.shape[1], 2, widths=(256, 256, 256), seed=seed)

    return compare((*FIXED, "ensloss"), x, y, network=network, noise=0.1, **settings)


@measures("ensloss.tables")
def tables(data, seeds, budget):
    result = _table_study(seeds, budget) if data is None else _compare_tables(data, seeds, budget)
    best = max(FIXED, key=lambda name: float(result.accuracy[name].mean()))
    difference = result.accuracy["ensloss"] - result.accuracy[best]
    return sampled(difference, 0.0, {"best fixed loss": best, **shown(result)}, seeds=seeds)


@measures("ensloss.prevents-overfitting")
def overfitting(data, seeds, budget):
    """Gap of training and test accuracy of the logistic loss less that of EnsLoss."""
    result = _table_study(seeds, budget) if data is None else _compare_tables(data, seeds, budget)
    gap = {name: result.train_accuracy[name] - result.accuracy[name] for name in ("cross-entropy", "ensloss")}
    return sampled(gap["cross-entropy"] - gap["ensloss"], 0.0, shown(result), seeds=seeds)


@measures("ensloss.digit-pairs")
def digit_pairs(data, seeds, budget):
    """Pairs of digits on which EnsLoss is significantly better less those on which it is worse, over pairs and architectures.

    Better: the 95 % interval of the paired difference of accuracy lies above zero. A pair has 60 training images, so that
    networks overfit.
    """
    digits = datasets.load("digits")
    pairs = list(combinations(range(10), 2))
    pairs = pairs[:: {"smoke": 15, "default": 3, "full": 1}[budget]]
    settings = scale(budget, seeds)
    settings["learning_rates"] = settings["learning_rates"][-2:]
    counts = {name: [0, 0, 0] for name in FIXED}
    for first, second in pairs:
        rows = (digits.label == first) | (digits.label == second)
        x, y = digits.x[rows], (digits.label[rows] == second).long()
        architectures = {
            "mlp": (x.flatten(1), lambda seed: training.mlp(64, 2, widths=(128, 128), seed=seed)),
            "cnn": (x, lambda seed: training.cnn(1, 2, widths=(8, 16), seed=seed)),
        }
        for features, network in architectures.values():
            result = compare(
                (*FIXED, "ensloss"), features, y, network=network, test_fraction=0.6, validation_fraction=0.2, batch_size=32,
                **settings,
            )  # fmt: skip
            for name in FIXED:
                _, low, high = mean_interval(result.accuracy["ensloss"] - result.accuracy[name])
                counts[name][0 if low > 0 else 2 if high < 0 else 1] += 1
    worst = min(counts, key=lambda name: counts[name][0] - counts[name][2])
    value = float(counts[worst][0] - counts[worst][2])
    details = {"better, no difference, worse": counts, "pairs": len(pairs), "architectures": 2}
    return Measured(value, (value, value), value > 0, details, seeds=tuple(settings["seeds"]))
