"""Experiments with aggregate responses: linear estimators on simulated bags, on a table, and under privacy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from lab import datasets
from lab.losses.aggregate import asymptotic_risk, interpolated_ridge, make_bags, private_bag_means, private_noise

RHOS = tuple(k / 10 for k in range(11))
WEIGHTS = tuple(k / 200 for k in range(1, 201))
BAG_SIZES = (1, 2, 5, 10, 20, 50, 100)


def simulate(seed, rhos, *, n=400, d=80, k=4, noise=0.5):
    """Squared parameter error, and its parts from signal and from noise alone, of the linear estimator at each rho, (rhos, 3)."""
    generator = torch.Generator().manual_seed(seed)
    x, theta, e = _responses(n, d, noise, generator)
    bags = make_bags(n, k, generator)
    signal, error = (x @ theta)[bags].mean(1), e[bags].mean(1)
    rows = []
    for rho in rhos:
        bias = interpolated_ridge(x, bags, signal, rho) - theta
        variance = interpolated_ridge(x, bags, error, rho)
        rows.append(((bias + variance).square().sum(), bias.square().sum(), variance.square().sum()))
    return torch.tensor(rows, dtype=torch.float64)


def _responses(n, d, noise, generator):
    """Gaussian rows (n, d), coefficients of length one (d,) and the noise of the responses (n,)."""
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    theta = torch.nn.functional.normalize(torch.randn(d, generator=generator, dtype=torch.float64), dim=0)
    return x, theta, noise * torch.randn(n, generator=generator, dtype=torch.float64)


def errors_over_weights(k, noise, rhos, seeds, *, features=80, items_per_feature=5):
    """Squared parameter errors over seeds at each weight, ``{rho: (seeds,)}``; bags of ``k``, noise as a standard deviation."""
    n = features * items_per_feature
    found = torch.stack([simulate(seed, rhos, n=n, d=features, k=k, noise=noise)[:, 0] for seed in seeds])
    return {rho: found[:, i] for i, rho in enumerate(rhos)}


def risk(rho: float, items_per_feature: float, k: int, noise: float) -> float:
    """Asymptotic risk at weight ``rho``; infinite where as many bags as features leave no finite one."""
    beta = items_per_feature / k
    if beta == 1 and (rho == 0 or k == 1):
        return float("inf")
    return asymptotic_risk(rho, items_per_feature=items_per_feature, k=k, noise=noise)["risk"]


def extreme_weight(
    k: int, noise: float, items_per_feature: float, *, weights: Iterable[float] = WEIGHTS, largest: bool = False
) -> tuple[float, float]:
    """Weight of least (or largest) asymptotic risk and that risk."""
    risks = {rho: risk(rho, items_per_feature, k, noise) for rho in weights}
    rho = (max if largest else min)(risks, key=risks.__getitem__)
    return rho, risks[rho]


def reduction_by_interpolation(seeds: Sequence[int], k: int, *, at_end: bool = False):
    """Relative reduction of error by the interior weight of least asymptotic risk against the better end, (seeds,), and the weight.

    Weight and end are chosen by the formula, so that no simulated error decides where it is measured. ``at_end`` puts the
    better end in the interior weight's place.
    """
    end = extreme_weight(k, 0.25, 5.0, weights=RHOS[::10])[0]
    best = end if at_end else extreme_weight(k, 0.25, 5.0, weights=RHOS[1:-1])[0]
    errors = torch.stack([simulate(seed, (best, end), k=k)[:, 0] for seed in seeds])
    return 1 - errors[:, 0] / errors[:, 1], best


def reduction_on_table(data, seeds: Sequence[int], *, k: int = 8, at_end: bool = False):
    """Relative reduction of squared test error by an interior weight against the better end on a table of one's own, (seeds,).

    A seed draws 70 % of the rows for training and their bags. The weight has least bag loss on bags held out from the training
    part; the end is the one that turns out better on the test part, which no choice by bags can beat.
    """
    if not isinstance(data, datasets.Table) or data.target is None:
        raise ValueError("data must be a table with a numeric target column")
    x, y, _ = data.numeric()
    x, y = torch.as_tensor(x, dtype=torch.float64), torch.as_tensor(y, dtype=torch.float64)
    x, y = (x - x.mean(0)) / x.std(0).clamp_min(1e-9), (y - y.mean()) / y.std()
    reductions, weights = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        train, test = torch.randperm(len(x), generator=generator).split([int(0.7 * len(x)), len(x) - int(0.7 * len(x))])
        bags = train[make_bags(len(train), k, generator)]
        held, fitted = bags.split([len(bags) // 4, len(bags) - len(bags) // 4])

        def bag_loss(rho, held=held, fitted=fitted):
            theta = interpolated_ridge(x, fitted, y[fitted].mean(1), rho)
            return float((x[held].mean(1) @ theta - y[held].mean(1)).square().mean())

        def test_error(rho, bags=bags, test=test):
            return float((x[test] @ interpolated_ridge(x, bags, y[bags].mean(1), rho) - y[test]).square().mean())

        ends = {rho: test_error(rho) for rho in RHOS[::10]}
        end = min(ends, key=ends.__getitem__)
        best = end if at_end else min(RHOS[1:-1], key=bag_loss)
        reductions.append(1 - test_error(best) / ends[end])
        weights.append(best)
    return torch.tensor(reductions, dtype=torch.float64), weights


def private_risks(
    seeds: Sequence[int], epsilon: float = 1.0, *, n=2000, d=20, clip=3.0, sizes: Sequence[int] = BAG_SIZES
):
    """Squared parameter errors (seeds, sizes) from private bag means, each bag size at its best weight by the formula."""
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        x, theta, e = _responses(n, d, 0.5, generator)
        row = []
        for k in sizes:
            bags = make_bags(n, k, generator)
            released = private_bag_means(x @ theta + e, bags, epsilon, clip, generator)
            rho = private_weight(k, epsilon, n / d, clip)[0]
            row.append((interpolated_ridge(x, bags, released, rho) - theta).square().sum())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def private_weight(k: int, epsilon: float, items_per_feature: float = 100.0, clip: float = 3.0) -> tuple[float, float]:
    """Weight of least asymptotic risk from private means of bags of ``k``, and that risk."""
    noise = 0.25 + private_noise(k, epsilon, clip)
    return extreme_weight(k, noise, items_per_feature, weights=RHOS if k > 1 else (1.0,))


def log_likelihood_excess(epsilon: float, clip: float, k: int, *, stated: float | None = None, draws: int = 1_000_000):
    """Largest log ratio of the probabilities of tail sets of a release from neighbouring responses, less ``epsilon``.

    The responses differ in one item, which lies beyond -``clip`` in one and beyond ``clip`` in the other: clipped, the farthest
    neighbours. Tails {release > t} and {release < t} down to probability 1/100 in ``draws`` releases each. A mechanism that is
    private for ``epsilon`` exceeds it by sampling alone, about 0.03; Gaussian noise by more, since its ratio grows with t.

    Args:
        epsilon, clip, k: of the privacy that is asked for, the clipping and the bag size.
        stated: the epsilon that the mechanism is run with, ``epsilon`` unless given.

    Returns:
        The excess, and the distance of the mean release from the mean of the clipped responses over the scale 2 clip/(k epsilon).
    """
    stated = epsilon if stated is None else stated
    responses = torch.full((2, k), 0.5 * clip, dtype=torch.float64)
    responses[0, 0], responses[1, 0] = -3 * clip, 3 * clip
    bags = torch.arange(k).expand(draws, k)
    low, high = (private_bag_means(y, bags, stated, clip, seed) for seed, y in enumerate(responses))
    truth = responses.clamp(-clip, clip).mean(1)
    bias = (
        max(abs(float(release.mean() - mean)) for release, mean in zip((low, high), truth)) * k * epsilon / (2 * clip)
    )
    marks = torch.quantile(torch.cat([low, high])[::8], torch.linspace(0.01, 0.99, 99, dtype=torch.float64))
    above_low, above_high = (1 - torch.searchsorted(release.sort().values, marks) / draws for release in (low, high))
    ratios = torch.cat([(above_high / above_low).log(), ((1 - above_low) / (1 - above_high)).log()])
    return float(ratios.abs().max()) - epsilon, bias
