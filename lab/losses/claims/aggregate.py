"""Measurements of the statements about learning from aggregate responses."""

from __future__ import annotations

import torch

from lab import datasets
from lab.claims import Measured, measures
from lab.losses.aggregate import (
    aggregate_loss,
    asymptotic_risk,
    interpolated_ridge,
    make_bags,
    private_bag_means,
    private_noise,
)
from lab.losses.claims.studies import exact, sampled
from lab.losses.comparison import mean_interval

RHOS = tuple(k / 10 for k in range(11))


@measures("aggregate.instance-is-regularized-bag")
def identity(data, seeds, budget):
    generator = torch.Generator().manual_seed(seeds[0])
    f = torch.randn(200, 6, generator=generator, dtype=torch.float64)
    ybar = torch.randn(200, generator=generator, dtype=torch.float64)
    instance, bag = aggregate_loss(f, ybar, 1.0), aggregate_loss(f, ybar, 0.0)
    worst = float((instance - bag - f.var(1, correction=0).mean()).abs() / instance)
    return exact(worst, worst <= 1e-12)


def simulate(seed, rhos, *, n=400, d=80, k=4, noise=0.5):
    """Squared parameter error, and its parts from signal and from noise alone, of the linear estimator at each rho."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    theta = torch.nn.functional.normalize(torch.randn(d, generator=generator, dtype=torch.float64), dim=0)
    e = noise * torch.randn(n, generator=generator, dtype=torch.float64)
    bags = make_bags(n, k, generator)
    signal, error = (x @ theta)[bags].mean(1), e[bags].mean(1)
    rows = []
    for rho in rhos:
        bias = interpolated_ridge(x, bags, signal, rho) - theta
        variance = interpolated_ridge(x, bags, error, rho)
        rows.append(((bias + variance).square().sum(), bias.square().sum(), variance.square().sum()))
    return torch.tensor(rows, dtype=torch.float64)


def errors_over_weights(k, noise, rhos, seeds, *, features=80, items_per_feature=5):
    """Squared parameter errors over seeds at each weight, ``{rho: (seeds,)}``; bags of ``k``, noise as a standard deviation."""
    n = features * items_per_feature
    found = torch.stack([simulate(seed, rhos, n=n, d=features, k=k, noise=noise)[:, 0] for seed in seeds])
    return {rho: found[:, i] for i, rho in enumerate(rhos)}


def _few(seeds, budget):
    return tuple(seeds)[:6] if budget == "smoke" else tuple(seeds)


@measures("aggregate.bias-and-variance")
def bias_and_variance(data, seeds, budget):
    """Instance bias less bag bias, and bag variance less instance variance; the smaller of the two mean differences."""
    seeds = _few(seeds, budget)
    found = torch.stack([simulate(seed, (0.0, 1.0), k=2) for seed in seeds])
    bias, variance = found[:, 1, 1] - found[:, 0, 1], found[:, 0, 2] - found[:, 1, 2]
    smaller = bias if float(bias.mean()) < float(variance.mean()) else variance
    details = {"squared bias, bag and instance": found[:, :, 1].mean(0).tolist(),
               "variance, bag and instance": found[:, :, 2].mean(0).tolist()}  # fmt: skip
    return sampled(smaller, 0.0, details, seeds=seeds)


def _reduction(errors):
    """Relative reduction of error by the best interior weight (chosen on the mean) against the better end, per seed."""
    mean = errors.mean(0)
    best = 1 + int(mean[1:-1].argmin())
    end = 0 if float(mean[0]) < float(mean[-1]) else -1
    return 1 - errors[:, best] / errors[:, end], RHOS[best]


@measures("aggregate.interpolation-wins")
def interpolation(data, seeds, budget):
    """Smallest over bag sizes of the relative reduction of error against the better end; on a user's table, of test error."""
    seeds = _few(seeds, budget)
    if data is not None:
        return _interpolation_on_table(data, seeds)
    found, best = {}, {}
    for k in (2, 4, 8):
        errors = torch.stack([simulate(seed, RHOS, k=k)[:, 0] for seed in seeds])
        found[k], best[k] = _reduction(errors)
    worst = min(found, key=lambda k: float(found[k].mean()))
    details = {"best weight": best, "reduction": {k: float(v.mean()) for k, v in found.items()}}
    return sampled(found[worst], 0.08, details, seeds=seeds)


def _interpolation_on_table(data, seeds):
    if not isinstance(data, datasets.Table) or data.target is None:
        raise ValueError("data must be a table with a numeric target column")
    x, y, _ = data.numeric()
    x, y = torch.as_tensor(x, dtype=torch.float64), torch.as_tensor(y, dtype=torch.float64)
    x, y = (x - x.mean(0)) / x.std(0).clamp_min(1e-9), (y - y.mean()) / y.std()
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(x), generator=generator)
        train, test = order[: int(0.7 * len(x))], order[int(0.7 * len(x)) :]
        bags = make_bags(len(train), 8, generator)
        means = y[train][bags].mean(1)
        rows.append([
            float((x[test] @ interpolated_ridge(x[train], bags, means, rho) - y[test]).square().mean()) for rho in RHOS
        ])  # fmt: skip
    reduction, best = _reduction(torch.tensor(rows, dtype=torch.float64))
    return sampled(reduction, 0.08, {"best weight": best, "bag size": 8}, seeds=seeds)


@measures("aggregate.risk-curve")
def risk_curve(data, seeds, budget):
    """Largest relative difference of simulated mean risk and theory over weights and bag sizes at 400 features."""
    d = {"smoke": 80, "default": 240, "full": 800}[budget]
    seeds = _few(seeds, budget)
    worst, low, high, shown = 0.0, 0.0, 0.0, {}
    for k in (2, 4):
        rhos = (0.05, 0.2, 0.5, 1.0)
        found = torch.stack([simulate(seed, rhos, n=5 * d, d=d, k=k)[:, 1:].sum(1) for seed in seeds])
        for column, rho in enumerate(rhos):
            theory = asymptotic_risk(rho, items_per_feature=5, k=k, noise=0.25)["risk"]
            mean, left, right = mean_interval(found[:, column] / theory - 1)
            shown[f"k {k}, rho {rho}"] = {"theory": theory, "relative difference": mean}
            if abs(mean) >= abs(worst):
                worst, low, high = mean, left, right
    return Measured(worst, (low, high), abs(worst) <= 0.05, {"features": d, "table": shown}, seeds=seeds)


WEIGHTS = [k / 200 for k in range(1, 201)]


def _best(k, noise, items_per_feature):
    """Weight of least asymptotic risk and that risk."""
    risks = {rho: _risk(rho, items_per_feature, k, noise) for rho in WEIGHTS}
    rho = min(risks, key=risks.get)
    return rho, risks[rho]


def _smallest_step(values):
    return min(after - before for before, after in zip(values, values[1:]))


@measures("aggregate.best-weight")
def best_weight(data, seeds, budget):
    """Smallest step of the risk-minimizing weight, by the asymptotic formula, over noise and over features for each bag."""
    by_noise = {noise: _best(2, noise, 5)[0] for noise in (0.05, 0.25, 1.0, 4.0)}
    by_overlap = {1 / bags: _best(2, 0.25, 2 * bags)[0] for bags in (6, 3, 2, 1.5)}
    smallest = min(_smallest_step(list(found.values())) for found in (by_noise, by_overlap))
    return exact(smallest, smallest > 0, {"best weight by noise variance": by_noise, "by features a bag": by_overlap})


@measures("aggregate.bag-size")
def bag_size(data, seeds, budget):
    """Smallest step of the risk-minimizing weight, by the asymptotic formula, over bag sizes with the other sizes held.

    With the number of items held the weight first falls and then rises slowly, as fewer bags meet as many features; with the
    number of bags held it falls, since a larger bag brings less of both signal and noise.
    """
    sizes = (2, 3, 4, 6, 8)
    items = {k: _best(k, 0.25, 5)[0] for k in sizes}
    bags = {k: _best(k, 0.25, 2 * k)[0] for k in sizes}
    smallest = _smallest_step(list(items.values()))
    return exact(smallest, smallest > 0, {
        "best weight, five items a feature": items, "best weight, two bags a feature": bags,
        "why": "more items in a bag also mean fewer bags; the weight follows features a bag, see aggregate.best-weight",
    })  # fmt: skip


@measures("aggregate.risk-grows-with-bag-size")
def risk_by_size(data, seeds, budget):
    """Smallest relative step of simulated error from each bag size to the next, each at its best weight by the formula."""
    seeds = _few(seeds, budget)
    sizes = (2, 4, 8)
    weights = {k: _best(k, 0.25, 5) for k in sizes}
    errors = {k: torch.stack([simulate(seed, (weights[k][0],), k=k)[0, 0] for seed in seeds]) for k in sizes}
    steps = [errors[b] / errors[a] - 1 for a, b in zip(sizes, sizes[1:])]
    smallest = min(steps, key=lambda step: float(step.mean()))
    details = {"best weight and risk by the formula": weights, "simulated": {k: float(v.mean()) for k, v in errors.items()}}
    return sampled(smallest, 0.0, details, seeds=seeds)


@measures("aggregate.private-mechanism")
def private(data, seeds, budget):
    """Largest log likelihood ratio of releases from neighbouring responses, less epsilon, over a grid of releases."""
    epsilon, clip, k = 0.7, 1.5, 5
    generator = torch.Generator().manual_seed(seeds[0])
    scale = 2 * clip / (k * epsilon)
    excess = -float("inf")
    bags = torch.arange(k)[None]
    for _ in range(200):
        y = 4 * torch.randn(k, generator=generator, dtype=torch.float64)
        z = y.clone()
        z[0] = 4 * torch.randn((), generator=generator, dtype=torch.float64)
        # infinite epsilon turns the noise off: the centres of the two laws of the release
        centres = [private_bag_means(v, bags, 1e300, clip) for v in (y, z)]
        release = torch.linspace(-20, 20, 2001, dtype=torch.float64)
        ratio = ((release - centres[1]).abs() - (release - centres[0]).abs()) / scale
        excess = max(excess, float(ratio.max()) - epsilon)
    spread = private_bag_means(torch.zeros(200_000, dtype=torch.float64), torch.arange(200_000).reshape(-1, k), epsilon, clip, 1)
    measured = float(spread.abs().mean())
    holds = excess <= 1e-9 and abs(measured / scale - 1) < 0.03
    return exact(excess, holds, {"scale stated and measured": [scale, measured]})


@measures("aggregate.optimal-bag-size")
def optimal_bag_size(data, seeds, budget):
    """Relative reduction of simulated risk by the best bag size strictly inside the range against the better end.

    2000 items, 20 features, responses clipped at 3 with epsilon = 1; each bag size at its best weight by the formula.
    """
    seeds = _few(seeds, budget)
    n, d, epsilon, clip = 2000, 20, 1.0, 3.0
    sizes = (1, 2, 5, 10, 20, 50, 100)
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(n, d, generator=generator, dtype=torch.float64)
        theta = torch.nn.functional.normalize(torch.randn(d, generator=generator, dtype=torch.float64), dim=0)
        y = x @ theta + 0.5 * torch.randn(n, generator=generator, dtype=torch.float64)
        row = []
        for k in sizes:
            bags = make_bags(n, k, generator)
            released = private_bag_means(y, bags, epsilon, clip, generator)
            noise = 0.25 + private_noise(k, epsilon, clip)
            weights = RHOS if k > 1 else (1.0,)
            rho = min(weights, key=lambda r, k=k, noise=noise: _risk(r, n / d, k, noise))
            row.append(float((interpolated_ridge(x, bags, released, rho) - theta).square().sum()))
        rows.append(row)
    risks = torch.tensor(rows, dtype=torch.float64)
    mean = risks.mean(0)
    inside = 1 + int(mean[1:-1].argmin())
    end = 0 if float(mean[0]) < float(mean[-1]) else -1
    details = {"risk by bag size": dict(zip(sizes, mean.tolist())), "best": sizes[inside], "epsilon": epsilon}
    return sampled(1 - risks[:, inside] / risks[:, end], 0.0, details, seeds=seeds)


def _risk(rho, ratio, k, noise):
    try:
        return asymptotic_risk(rho, items_per_feature=ratio, k=k, noise=noise)["risk"]
    except ValueError:
        return float("inf")  # as many bags as features: no finite risk at weight zero
