"""Measurements of the statements about EnsLoss."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import torch

from lab import datasets, training
from lab.claims import Measured, measures
from lab.losses.claims.studies import exact, sampled
from lab.losses.comparison import compare, mean_interval
from lab.losses.ensloss import EnsLoss, margins, sample_calibrated_derivatives
from lab.losses.registry import by_name
from lab.losses.studies.common import scale, shown, table

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
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        x, y = (torch.stack(parts) for parts in zip(*(_two_gaussians(size, generator) for generator in generators)))
        test_x, test_y = (torch.stack(parts) for parts in zip(*(_two_gaussians(20000, generator) for generator in generators)))
        fitted = training.fit(
            lambda s: training.mlp(10, 2, widths=(), seed=s), training.PerModel(x), training.PerModel(y), seeds=seeds,
            loss=EnsLoss(seed=seeds[0], batches=len(seeds), reduction="none"), learning_rate=1e-2,
            epochs=max(20, 20000 // size), batch_size=64, schedule="cosine",
        )  # fmt: skip
        with torch.no_grad():
            wrong = fitted.predict(training.PerModel(test_x)).argmax(-1) != test_y
        curve[size] = (wrong.double().mean(1) - BAYES).tolist()
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
        return training.mlp(x.shape[1], 2, widths=(128, 128, 128), seed=seed)

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


PAIRS = tuple(combinations(range(10), 2))
BATCH = 32
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
TUNING = (1000, 1001)  # seeds that only choose learning rates


def _mlp(seed):
    return training.mlp(64, 2, widths=(64, 64), seed=seed)


def _cnn(seed):
    return training.cnn(1, 2, widths=(8, 16), seed=seed)


ARCHITECTURES = {"mlp 64-64-64-2": (_mlp, True), "cnn 8-16": (_cnn, False)}


def pair_accuracies(architecture: str, pairs, seeds, rates: dict[str, float], epochs: int) -> dict[str, torch.Tensor]:
    """Test accuracy of a network trained on each pair of digits under each loss, ``{loss: (pairs, seeds)}``; all at once.

    A seed draws its own split: four batches of 32 images to train, the rest (about 220) to test. Adam.
    """
    network, flat = ARCHITECTURES[architecture]
    digits = datasets.load("digits")
    rows = {pair: torch.nonzero((digits.label == pair[0]) | (digits.label == pair[1]))[:, 0] for pair in pairs}
    items = min(len(found) for found in rows.values())
    train = round(0.4 * items) // BATCH * BATCH
    splits = []
    for pair in pairs:
        for seed in seeds:
            order = torch.randperm(len(rows[pair]), generator=torch.Generator().manual_seed(100 * seed + PAIRS.index(pair)))
            splits.append(rows[pair][order[:items]])
    index = torch.stack(splits)  # (pairs x seeds, items)
    second = torch.tensor([pair[1] for pair in pairs]).repeat_interleave(len(seeds))[:, None]
    x, y = digits.x[index], (digits.label[index] == second).long()
    x = x.flatten(2) if flat else x
    models = len(index)
    losses = [by_name(name, reduction="none") for name in FIXED]
    losses.append(EnsLoss(seed=seeds[0], batches=models, reduction="none"))
    names = (*FIXED, "ensloss")
    each = [seed for _ in names for _ in pairs for seed in seeds]
    fitted = training.fit(
        [network(seed) for seed in each],
        training.PerModel(x[:, :train].repeat(len(names), *[1] * (x.ndim - 1))),
        training.PerModel(y[:, :train].repeat(len(names), 1)),
        seeds=each,
        loss=[loss for loss in losses for _ in range(models)],
        learning_rate=[rates[name] for name in names for _ in range(models)],
        schedule="cosine", epochs=epochs, batch_size=BATCH, clip=5.0,
    )  # fmt: skip
    with torch.no_grad():
        predicted = fitted.predict(training.PerModel(x[:, train:].repeat(len(names), *[1] * (x.ndim - 1)))).argmax(-1)
    right = (predicted == y[:, train:].repeat(len(names), 1)).double().mean(1).reshape(len(names), len(pairs), len(seeds))
    return dict(zip(names, right))


def tuned_rates(architecture: str, epochs: int, rates=RATES) -> dict[str, float]:
    """Learning rate of best mean accuracy for each loss on every ninth pair, on seeds of their own."""
    names = (*FIXED, "ensloss")
    found = {
        rate: pair_accuracies(architecture, PAIRS[::9], TUNING, dict.fromkeys(names, rate), epochs) for rate in rates
    }
    return {name: max(rates, key=lambda rate, name=name: float(found[rate][name].mean())) for name in names}


def against(fixed: torch.Tensor, ours: torch.Tensor) -> tuple[int, int, int]:
    """Pairs on which the 95 % interval of the paired difference lies above zero, holds zero, lies below it."""
    count = [0, 0, 0]
    for difference in ours - fixed:
        _, low, high = mean_interval(difference)
        count[0 if low > 0 else 2 if high < 0 else 1] += 1
    return tuple(count)


@lru_cache(maxsize=2)
def pair_study(seeds, budget):
    """Wins, ties and losses of EnsLoss for each architecture and fixed loss, the chosen rates and mean accuracies."""
    pairs, epochs = {"smoke": (PAIRS[::15], 4), "default": (PAIRS, 40), "full": (PAIRS, 150)}[budget]
    counts, chosen, accuracy = {}, {}, {}
    for architecture in ARCHITECTURES:
        rates = tuned_rates(architecture, epochs, RATES if budget != "smoke" else RATES[3:4])
        found: dict[str, list[torch.Tensor]] = {name: [] for name in (*FIXED, "ensloss")}
        for first in range(0, len(pairs), 15):  # as many models at once as fit the cache and the memory
            for name, values in pair_accuracies(architecture, pairs[first : first + 15], seeds, rates, epochs).items():
                found[name].append(values)
        whole = {name: torch.cat(parts) for name, parts in found.items()}
        counts[architecture] = {name: against(whole[name], whole["ensloss"]) for name in FIXED}
        chosen[architecture], accuracy[architecture] = rates, {name: float(values.mean()) for name, values in whole.items()}
    return counts, chosen, accuracy, len(pairs)


@measures("ensloss.digit-pairs")
def digit_pairs(data, seeds, budget):
    """Pairs of digits on which EnsLoss is significantly better less those on which it is worse, over two architectures.

    Better: the 95 % interval of the paired difference of accuracy over seeds lies above zero. All losses are tuned over the
    same learning rates on seeds of their own. 128 training images a pair, so that networks overfit.
    """
    seeds = tuple(seeds)[:2] if budget == "smoke" else tuple(seeds)
    counts, chosen, accuracy, pairs = pair_study(seeds, budget)
    total = {name: [sum(found[name][k] for found in counts.values()) for k in range(3)] for name in FIXED}
    worst = min(total, key=lambda name: total[name][0] - total[name][2])
    value = float(total[worst][0] - total[worst][2])
    details = {
        "better, no difference, worse": total, "by architecture": counts, "accuracy": accuracy, "learning rates": chosen,
        "trials of each": len(RATES), "tuning seeds": TUNING, "pairs": pairs, "architectures": len(ARCHITECTURES),
    }  # fmt: skip
    return Measured(value, (value, value), value > 0, details, seeds=seeds)
