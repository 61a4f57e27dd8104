"""Measurements of the statements about smooth adversarial comp-sum losses: robust and clean accuracy under attack."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch

from lab import training
from lab.claims import Measured, measures
from lab.losses.comp_sum import SmoothAdversarialCompSum
from lab.losses.comparison import mean_interval
from lab.losses.studies.common import table

EPSILON, INNER_STEPS = 0.15, 5
RATES = (1e-3, 3e-3)
METHOD, BASELINES = "smooth comp-sum", ("adversarial training", "TRADES")


def plain(model, inputs, targets):
    """Cross-entropy on clean inputs."""
    return torch.nn.functional.cross_entropy(model(inputs), targets)


def adversarial_training(weight: float) -> Callable:
    """Cross-entropy at inputs moved against it (A. Madry et al., ICLR 2018), a share 1 - ``weight`` of it on clean inputs."""
    generator = torch.Generator().manual_seed(0)

    def objective(model, inputs, targets):
        attacked = inputs + EPSILON * (2 * torch.rand(inputs.shape, generator=generator) - 1)
        attacked = _ascend(inputs, attacked, lambda moved: plain(model, moved, targets))
        return weight * plain(model, attacked, targets) + (1 - weight) * plain(model, inputs, targets)

    return objective


def trades(weight: float) -> Callable:
    """Clean cross-entropy plus ``weight`` times the largest divergence from the clean prediction (H. Zhang et al., ICML 2019)."""
    generator = torch.Generator().manual_seed(0)

    def objective(model, inputs, targets):
        logits = model(inputs)
        reference = torch.log_softmax(logits.detach(), 1)
        start = inputs + 1e-3 * torch.randn(inputs.shape, generator=generator)
        attacked = _ascend(inputs, start, lambda moved: _divergence(reference, torch.log_softmax(model(moved), 1)))
        moved = torch.log_softmax(model(attacked), 1)
        clean = torch.nn.functional.cross_entropy(logits, targets)
        return clean + weight * _divergence(torch.log_softmax(logits, 1), moved)

    return objective


def smooth(weight: float) -> Callable:
    """The smooth adversarial comp-sum loss with tau = 1 and nu = ``weight``."""
    loss = SmoothAdversarialCompSum(1.0, nu=weight, epsilon=EPSILON, steps=INNER_STEPS)
    generator = torch.Generator().manual_seed(0)
    return lambda model, inputs, targets: loss(model, inputs, targets, seed=generator)


# every arm is tuned over three weights and two learning rates; cross-entropy has no weight and only shows what no defence gives
ARMS: dict[str, tuple[Callable, tuple[float, ...]]] = {
    "cross-entropy": (lambda weight: plain, (0.0,)),
    "adversarial training": (adversarial_training, (0.5, 0.8, 1.0)),
    "TRADES": (trades, (1.0, 3.0, 6.0)),
    METHOD: (smooth, (0.1, 0.3, 0.6)),
}


def _ascend(inputs, attacked, loss):
    """Signed gradient ascent of ``loss`` from ``attacked`` within EPSILON of ``inputs`` and [0, 1]."""
    for _ in range(INNER_STEPS):
        attacked = attacked.detach().clamp(0, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(loss(attacked), attacked)
        attacked = inputs + (attacked + 0.5 * EPSILON * gradient.sign() - inputs).clamp(-EPSILON, EPSILON)
    return attacked.detach().clamp(0, 1)


def _divergence(first, second):
    return torch.nn.functional.kl_div(second, first, log_target=True, reduction="batchmean")


def study(x: torch.Tensor, y: torch.Tensor, seeds, *, epochs: int, steps: int, restarts: int, rates=RATES, widest: int = 3):
    """Clean and robust test accuracy of every arm at the weight and learning rate of best robust validation accuracy.

    Robust accuracy counts rows that neither PGD with restarts nor APGD on cross-entropy and on the DLR loss turns. Each seed
    draws its own split, weights and order, and tunes every arm on its own validation rows. Returns ``(clean, robust,
    chosen)``, each a list over seeds for every arm.
    """
    x = ((x - x.amin(0)) / (x.amax(0) - x.amin(0)).clamp_min(1e-6)).float()
    clean, robust, chosen = ({name: [] for name in ARMS} for _ in range(3))
    for seed in seeds:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        quarter = len(x) // 4
        test, validation, train = order.split([quarter, quarter, len(x) - 2 * quarter])
        network = partial(_network, x.shape[1], int(y.max()) + 1)
        for name, (objective, weights) in ARMS.items():
            best = None
            for weight in weights[-widest:]:
                for rate in rates:
                    # one by one: the objectives attack their own model and draw random numbers, which no map over models can
                    fitted = training.fit_loop(
                        network, x[train], y[train], seeds=[seed], objective=objective(weight), epochs=epochs, batch_size=64,
                        learning_rate=rate,
                    )  # fmt: skip
                    model = fitted.model(0).eval()
                    attacked = training.pgd(model, x[validation], y[validation], epsilon=EPSILON, steps=10, seed=seed)
                    score = _accuracy(model, attacked, y[validation])
                    if best is None or score > best[0]:
                        best = (score, weight, rate, model)
            _, weight, rate, model = best
            chosen[name].append((weight, rate))
            clean[name].append(_accuracy(model, x[test], y[test]))
            robust[name].append(_robust(model, x[test], y[test], steps, restarts, seed))
    return clean, robust, chosen


def _network(features, classes, seed):
    return training.mlp(features, classes, widths=(128,), seed=seed)


@torch.no_grad()
def _accuracy(model, x, y):
    return float((model(x).argmax(1) == y).double().mean())


def _robust(model, x, y, steps, restarts, seed):
    attacks = (
        training.pgd(model, x, y, epsilon=EPSILON, steps=steps, restarts=restarts, seed=seed),
        training.apgd(model, x, y, epsilon=EPSILON, steps=steps, loss="cross_entropy", seed=seed),
        training.apgd(model, x, y, epsilon=EPSILON, steps=steps, loss="dlr", seed=seed),
    )
    with torch.no_grad():
        right = model(x).argmax(1) == y
        for attacked in attacks:
            right = right & (model(attacked).argmax(1) == y)
    return float(right.double().mean())


BUDGETS = {
    "smoke": {"epochs": 2, "steps": 5, "restarts": 1, "rates": (1e-3,), "widest": 1},
    "default": {"epochs": 20, "steps": 20, "restarts": 2},
    "full": {"epochs": 60, "steps": 50, "restarts": 5},
}


@lru_cache(maxsize=1)
def _on_digits(seeds, budget):
    return study(*table(None), seeds, **BUDGETS[budget])  # both statements are read off one study


@measures("comp-sum.adversarial-robustness", "comp-sum.adversarial-clean-accuracy")
def adversarial(data, seeds, budget, id):
    """Accuracy of the smooth loss less that of the better of adversarial training and TRADES, under attack or on clean data."""
    seeds = seeds[:1] if budget == "smoke" else seeds
    clean, robust, chosen = _on_digits(seeds, budget) if data is None else study(*table(data), seeds, **BUDGETS[budget])
    return verdict(robust if id.endswith("robustness") else clean, seeds, {
        "clean accuracy": _means(clean), "robust accuracy": _means(robust), "chosen weight and rate": chosen,
        "trials of each": len(RATES) * 3, "weights tried": {name: list(arm[1]) for name, arm in ARMS.items()},
        "epsilon": EPSILON, "epochs": BUDGETS[budget]["epochs"],
    })  # fmt: skip


def verdict(accuracies: dict[str, list[float]], seeds, details: dict | None = None) -> Measured:
    """The method against its better baseline, paired over seeds."""
    best = max(BASELINES, key=lambda name: sum(accuracies[name]))
    mean, low, high = mean_interval(torch.tensor(accuracies[METHOD]) - torch.tensor(accuracies[best]))
    return Measured(mean, (low, high), low > 0, {**(details or {}), "best baseline": best}, seeds=tuple(seeds))


def _means(values):
    return {name: sum(row) / len(row) for name, row in values.items()}
