"""Measurements of the statements about compositional likelihood."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from lab import datasets, training
from lab.claims import Measured, measures
from lab.losses.claims.studies import exact, sampled
from lab.losses.comparison import mean_interval
from lab.losses.meco import MECOLoss, estimate_gaussian_mean, gaussian_slopes, nce_loss


@measures("meco.compositional-form")
def compositional(data, seeds, budget):
    """Gradient estimate with the exact partition function as tracker, both expectations by quadrature, against autograd."""
    x = torch.linspace(-30, 30, 40001, dtype=torch.float64)
    step = float(x[1] - x[0])
    noise = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 3.0)
    worst = 0.0
    for value in (-1.0, 0.4, 2.0):
        theta = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        log_density = theta * x - x**2 / 2 - 0.1 * x.abs()
        log_z = torch.logsumexp(log_density, 0) + math.log(step)
        (exact_slope,) = torch.autograd.grad(log_z, theta, retain_graph=True)
        weight = torch.exp(log_density.detach() - noise.log_prob(x) - log_z.detach())
        estimate = (noise.log_prob(x).exp() * weight * x).sum() * step
        composed = (noise.log_prob(x) + log_density.detach() - noise.log_prob(x)).exp().sum() * step
        worst = max(worst, abs(float((estimate - exact_slope).detach())), abs(float((composed.log() - log_z).detach())))
    return exact(worst, worst <= 1e-3)


@measures("meco.landscape")
def landscape(data, seeds, budget):
    """Slope of noise contrast over that of the likelihood at a distance of 0.1 from the optimum."""
    shown = {}
    for mean, scale in ((2.0, 1.0), (4.0, 1.0), (5.0, 1.0), (8.0, 2.0)):
        slopes = gaussian_slopes(mean, scale, mean - 0.1)
        shown[f"R {mean:g}, s {scale:g}"] = {**slopes, "ratio": slopes["noise contrast"] / slopes["likelihood"]}
    ratio = shown["R 5, s 1"]["ratio"]
    falling = shown["R 2, s 1"]["ratio"] > shown["R 4, s 1"]["ratio"] > ratio
    return exact(ratio, ratio < 0.1 and falling, {"slopes": shown})


def mean_errors(mean, scale, seeds, steps):
    """Distances of the estimated mean from ``mean`` over the steps by both methods, ``{"meco", "nce": (seeds, steps)}``."""
    return {
        method: torch.stack([estimate_gaussian_mean(mean, scale, method=method, steps=steps, seed=seed) for seed in seeds])
        for method in ("meco", "nce")
    }


MEAN_STEPS = {"smoke": 600, "default": 2000, "full": 2000}


def _final_errors(mean, scale, method, seeds, steps):
    return torch.tensor([
        float(estimate_gaussian_mean(mean, scale, method=method, steps=steps, seed=seed)[-20:].mean()) for seed in seeds
    ])  # fmt: skip


@measures("meco.faster-mean-estimation")
def faster(data, seeds, budget):
    """Largest over settings of the ratio of final errors, likelihood over noise contrast; the same schedule for both."""
    seeds = seeds[:2] if budget == "smoke" else seeds
    shown, worst = {}, None
    for mean, scale in ((4.0, 2.0), (8.0, 4.0), (8.0, 6.0)):
        meco, nce = (_final_errors(mean, scale, method, seeds, MEAN_STEPS[budget]) for method in ("meco", "nce"))
        ratio = meco / nce
        shown[f"R {mean:g}, s {scale:g}"] = {"likelihood": float(meco.mean()), "noise contrast": float(nce.mean())}
        if worst is None or float(ratio.mean()) > float(worst.mean()):
            worst = ratio
    return sampled(worst, 0.2, {"final error": shown}, seeds=seeds, at_most=True)


@measures("meco.narrow-noise-diverges")
def narrow(data, seeds, budget):
    """Final error of the likelihood less that of noise contrast where the noise is too narrow for the data."""
    seeds = seeds[:2] if budget == "smoke" else seeds
    shown = {}
    for mean in (2.0, 4.0):
        meco, nce = (_final_errors(mean, 1.0, method, seeds, MEAN_STEPS[budget]) for method in ("meco", "nce"))
        shown[f"R {mean:g}, s 1"] = {"likelihood": float(meco.mean()), "noise contrast": float(nce.mean())}
    return sampled(meco - nce, 0.0, {"final error": shown}, seeds=seeds)


@measures("meco.rate")
def rate(data, seeds, budget):
    """Power with which the squared error falls over steps 200 to 8000, for moderate and for wide noise.

    Holds if the fitted power lies below zero and the error is larger with noise of larger inner variance.
    """
    seeds = seeds[:3] if budget == "smoke" else seeds
    steps = 2000 if budget == "smoke" else 8000
    marks = torch.unique(torch.logspace(math.log10(200), math.log10(steps - 1), 12).long())
    powers, last = {}, {}
    for scale in (3.0, 12.0):
        curves = torch.stack([
            estimate_gaussian_mean(2.0, scale, steps=steps, batch=16, learning_rate=0.5, gamma=0.1, seed=seed) for seed in seeds
        ])  # fmt: skip
        logs = curves.square()[:, marks].clamp_min(1e-12).log()
        t = marks.double().log()
        t = t - t.mean()
        powers[scale] = (logs.double() @ t) / (t @ t)
        last[scale] = curves[:, -steps // 4 :].square().mean(1)
    mean, low, high = mean_interval(powers[3.0])
    wider, wider_low, _ = mean_interval(last[12.0] - last[3.0])
    details = {"power, moderate and wide noise": [float(powers[s].mean()) for s in powers],
               "squared error at the end": {s: float(v.mean()) for s, v in last.items()}}  # fmt: skip
    return Measured(mean, (low, high), high < 0 and wider_low > 0, details, seeds=tuple(seeds))


def ring(n, generator):
    """Points on a noisy ring of radius 2 in the plane."""
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    radius = 2 + 0.15 * torch.randn(n, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


@lru_cache(maxsize=4)
def fit_energies(seed: int, steps: int):
    """Two networks 2-64-64-1 for log densities of a ring, by compositional likelihood and by noise contrast, Adam 1e-3."""
    noise = torch.distributions.MultivariateNormal(torch.zeros(2), 9 * torch.eye(2))
    found = {}
    for method in ("meco", "nce"):
        generator = torch.Generator().manual_seed(seed)
        model = training.mlp(2, 1, widths=(64, 64), activation="silu", seed=seed)
        c = torch.zeros((), requires_grad=True)
        loss = MECOLoss(noise, gamma=0.5)
        optimizer = torch.optim.Adam([*model.parameters(), c], lr=1e-3)
        for _ in range(steps):
            x = ring(256, generator)
            z = 3 * torch.randn(256, 2, generator=generator)
            if method == "meco":
                value = loss(lambda v, model=model: log_density(model, v), x, z=z)
            else:
                value = nce_loss(log_density(model, x), noise.log_prob(x), log_density(model, z), noise.log_prob(z), c)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        found[method] = model
    return found


def log_density(model, x):
    """A network's log density with a Gaussian envelope, so that it can be normalized."""
    return model(x)[:, 0] - 0.05 * x.square().sum(1)


def grid_log_z(model, half=8.0, points=321):
    """Log partition function on a grid."""
    axis = torch.linspace(-half, half, points)
    x = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        return float(torch.logsumexp(log_density(model, x).double(), 0)) + 2 * math.log(float(axis[1] - axis[0]))


DENSITY_STEPS = {"smoke": 300, "default": 2000, "full": 10000}


def held_out_nats(seed, budget):
    """Mean negative log-likelihood of fresh points, normalized on a grid, of both methods."""
    x = ring(5000, torch.Generator().manual_seed(10_000 + seed))
    models = fit_energies(seed, DENSITY_STEPS[budget])
    with torch.no_grad():
        return {name: float(grid_log_z(m) - log_density(m, x).double().mean()) for name, m in models.items()}


def density_grids(seed, budget, half=4.0, points=81):
    """Normalized densities of both methods on a grid (points, points) of the square of half-width ``half``, and their test nats."""
    axis = torch.linspace(-half, half, points)
    x = torch.cartesian_prod(axis, axis)
    models = fit_energies(seed, DENSITY_STEPS[budget])
    with torch.no_grad():
        maps = {
            name: (log_density(m, x).double() - grid_log_z(m)).exp().reshape(points, points) for name, m in models.items()
        }
    return maps, held_out_nats(seed, budget)


@measures("meco.density")
def density(data, seeds, budget):
    """Test negative log-likelihood, normalized on a grid, of the likelihood less that of noise contrast; at most the margin."""
    seeds = seeds[:2] if budget == "smoke" else seeds
    steps = DENSITY_STEPS[budget]
    found = torch.tensor([list(held_out_nats(seed, budget).values()) for seed in seeds])
    details = {"test nats, likelihood and noise contrast": found.mean(0).tolist(), "steps": steps}
    return sampled(found[:, 0] - found[:, 1], 0.02, details, seeds=seeds, at_most=True)


def detection(seed: int, steps: int) -> tuple[float, float]:
    """AUROC of log density for digits 0-4 against digits 5-9 by the likelihood and by noise contrast, ten components."""
    from sklearn.decomposition import PCA
    from sklearn.metrics import roc_auc_score

    digits = datasets.load("digits")
    x, y = digits.x.flatten(1), digits.label
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    inside = order[y[order] < 5]
    train, test = inside[: len(inside) // 2], inside[len(inside) // 2 :]
    outside = order[y[order] >= 5][: len(test)]
    projection = PCA(10, whiten=True).fit(x[train].numpy())
    known, fresh, strange = (torch.from_numpy(projection.transform(x[r].numpy())).float() for r in (train, test, outside))
    noise = torch.distributions.MultivariateNormal(torch.zeros(10), 2.25 * torch.eye(10))
    found = []
    for method in ("meco", "nce"):
        generator = torch.Generator().manual_seed(seed)
        model = training.mlp(10, 1, widths=(64, 64), activation="silu", seed=seed)
        c = torch.zeros((), requires_grad=True)
        loss = MECOLoss(noise, gamma=0.5)
        optimizer = torch.optim.Adam([*model.parameters(), c], lr=1e-3, weight_decay=1e-4)

        def score(v, model=model):
            return model(v)[:, 0] - 0.5 * v.square().sum(1)

        for _ in range(steps):
            batch = known[torch.randint(len(known), (128,), generator=generator)]
            z = 1.5 * torch.randn(256, 10, generator=generator)
            if method == "meco":
                value = loss(score, batch, z=z)
            else:
                value = nce_loss(score(batch), noise.log_prob(batch), score(z), noise.log_prob(z), c)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        with torch.no_grad():
            scores = torch.cat([score(fresh), score(strange)])
        found.append(roc_auc_score([1] * len(fresh) + [0] * len(strange), scores.numpy()))
    return tuple(found)


@measures("meco.out-of-distribution")
def out_of_distribution(data, seeds, budget):
    """AUROC of the likelihood's energies less that of noise contrast."""
    seeds = seeds[:2] if budget == "smoke" else seeds
    steps = {"smoke": 200, "default": 2000, "full": 10000}[budget]
    found = torch.tensor([detection(seed, steps) for seed in seeds])
    details = {"AUROC, likelihood and noise contrast": found.mean(0).tolist(), "steps": steps}
    return sampled(found[:, 0] - found[:, 1], 0.0, details, seeds=seeds)
