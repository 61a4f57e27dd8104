"""Experiments with compositional likelihood: means of Gaussians, densities in the plane, digits never seen."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from lab import datasets, training
from lab.losses.meco import MECOLoss, estimate_gaussian_mean, nce_loss

DENSITY_STEPS = {"smoke": 30, "default": 2000, "full": 10000}
METHODS = ("meco", "nce")


def mean_errors(mean, scale, seeds, steps, methods=METHODS):
    """Distances of the estimated mean from ``mean`` over the steps by each method, ``{method: (seeds, steps)}``."""
    return {
        method: torch.stack(
            [estimate_gaussian_mean(mean, scale, method=method, steps=steps, seed=seed) for seed in seeds]
        )
        for method in methods
    }


def final_errors(mean, scale, method, seeds, steps):
    """Mean distance from ``mean`` over the last twenty steps, (seeds,)."""
    return mean_errors(mean, scale, seeds, steps, (method,))[method][:, -20:].double().mean(1)


def squared_error_curves(scale, seeds, steps):
    """Squared distances from a mean of 2 over the steps with small batches and a slow tracker, (seeds, steps)."""
    options = {"steps": steps, "batch": 16, "learning_rate": 0.5, "gamma": 0.1}
    return torch.stack([estimate_gaussian_mean(2.0, scale, seed=seed, **options) for seed in seeds]).double().square()


def fitted_power(curves, first: int = 200):
    """Power of the step with which curves (seeds, steps) fall from step ``first`` on, fitted at twelve steps, (seeds,)."""
    marks = torch.unique(torch.logspace(math.log10(first), math.log10(curves.shape[1] - 1), 12).long())
    t = marks.double().log()
    t = t - t.mean()
    return (curves[:, marks].clamp_min(1e-12).log() @ t) / (t @ t)


def ring(n, generator):
    """Points on a noisy ring of radius 2 in the plane."""
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    radius = 2 + 0.15 * torch.randn(n, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


@lru_cache(maxsize=128)
def fit_ring(method: str, seed: int, steps: int, blind: bool = False):
    """A network 2-64-64-1 for the log density of a ring by ``method``, Adam 1e-3; ``blind`` shows it noise in place of data."""
    noise = torch.distributions.MultivariateNormal(torch.zeros(2), 9 * torch.eye(2))

    def batch(generator):
        x, z = ring(256, generator), 3 * torch.randn(256, 2, generator=generator)
        return (3 * torch.randn(256, 2, generator=generator) if blind else x), z

    return _fit(
        method,
        training.mlp(2, 1, widths=(64, 64), activation="silu", seed=seed),
        noise,
        log_density,
        batch,
        steps,
        seed,
    )


def _fit(method, model, noise, score, batch, steps, seed, weight_decay=0.0):
    generator = torch.Generator().manual_seed(seed)
    c = torch.zeros((), requires_grad=True)
    loss = MECOLoss(noise, gamma=0.5)
    optimizer = torch.optim.Adam([*model.parameters(), c], lr=1e-3, weight_decay=weight_decay)
    for _ in range(steps):
        x, z = batch(generator)
        if method == "meco":
            value = loss(lambda v: score(model, v), x, z=z)
        else:
            value = nce_loss(score(model, x), noise.log_prob(x), score(model, z), noise.log_prob(z), c)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return model


def log_density(model, x):
    """A network's log density with a Gaussian envelope, so that it can be normalized."""
    return model(x)[:, 0] - 0.05 * x.square().sum(1)


def grid_log_z(model, half=8.0, points=321):
    """Log partition function on a grid."""
    axis = torch.linspace(-half, half, points)
    x = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        return float(torch.logsumexp(log_density(model, x).double(), 0)) + 2 * math.log(float(axis[1] - axis[0]))


def held_out_nats(method, seed, steps, blind=False):
    """Mean negative log-likelihood of fresh points of the ring, normalized on a grid."""
    x = ring(5000, torch.Generator().manual_seed(10_000 + seed))
    model = fit_ring(method, seed, steps, blind)
    with torch.no_grad():
        return float(grid_log_z(model) - log_density(model, x).double().mean())


def density_grids(seed, budget, half=4.0, points=81):
    """Normalized densities of both methods on a grid (points, points) of the square of half-width ``half``, and their test nats."""
    axis = torch.linspace(-half, half, points)
    x = torch.cartesian_prod(axis, axis)
    steps = DENSITY_STEPS[budget]
    maps = {}
    for method in METHODS:
        model = fit_ring(method, seed, steps)
        with torch.no_grad():
            maps[method] = (log_density(model, x).double() - grid_log_z(model)).exp().reshape(points, points)
    return maps, {method: held_out_nats(method, seed, steps) for method in METHODS}


@lru_cache(maxsize=128)
def detection(method: str, seed: int, steps: int, weights: int | None = None) -> float:
    """AUROC of log density for digits 0-4 against digits 5-9 in ten components.

    ``seed`` draws the split, ``weights`` (the same unless given) the network and its batches.
    """
    from sklearn.decomposition import PCA
    from sklearn.metrics import roc_auc_score

    digits = datasets.load("digits")
    x, y = digits.x.flatten(1), digits.label
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    inside = order[y[order] < 5]
    train, test = inside[: len(inside) // 2], inside[len(inside) // 2 :]
    outside = order[y[order] >= 5][: len(test)]
    projection = PCA(10, whiten=True, random_state=0).fit(x[train].numpy())
    known, fresh, strange = (
        torch.from_numpy(projection.transform(x[r].numpy())).float() for r in (train, test, outside)
    )
    noise = torch.distributions.MultivariateNormal(torch.zeros(10), 2.25 * torch.eye(10))

    def score(model, v):
        return model(v)[:, 0] - 0.5 * v.square().sum(1)

    def batch(generator):
        return known[torch.randint(len(known), (128,), generator=generator)], 1.5 * torch.randn(
            256, 10, generator=generator
        )

    weights = seed if weights is None else weights
    model = training.mlp(10, 1, widths=(64, 64), activation="silu", seed=weights)
    _fit(method, model, noise, score, batch, steps, weights, weight_decay=1e-4)
    with torch.no_grad():
        scores = score(model, torch.cat([fresh, strange]))
    return float(roc_auc_score([1] * len(fresh) + [0] * len(strange), scores.numpy()))
