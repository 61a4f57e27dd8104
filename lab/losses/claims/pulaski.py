"""Measurements of the statements about set distances for several raters."""

from __future__ import annotations

from functools import lru_cache

import torch

from lab.claims import Measured, measures
from lab.losses.claims.studies import exact, sampled
from lab.losses.pulaski import TinyProbUNet, energy_set_distance, generalized_energy_distance, set_loss

DETERMINISTIC = "cross-entropy, deterministic"
BASELINES = ("cross-entropy", "focal-tversky", "cross-entropy, weighted latent", DETERMINISTIC)
LEARNING_RATE = 1e-2
VOLUMES, SIDE = 60, 10  # training volumes and their edge


def raters_set(n: int, seed: int, *, size: int = 12, radius: float = 2.0, dimension: int = 2, raters: int = 4):
    """Images with a bright blob that every rater marks and a faint one that half of the raters mark.

    Returns images (n, 1, ...), masks (n, raters, ...) and masks of the faint blob (n, ...).
    """
    generator = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*[torch.arange(size, dtype=torch.float32)] * dimension, indexing="ij")
    grid = torch.stack(axes)

    def ball(centre):
        return ((grid - centre.reshape(n, dimension, *[1] * dimension)) ** 2).sum(1) <= radius**2

    low, high = radius + 1, size - radius - 2
    first = low + (high - low) * torch.rand(n, dimension, generator=generator)
    second = low + (high - low) * torch.rand(n, dimension, generator=generator)
    bright, faint = ball(first), ball(second)
    image = 1.0 * bright + 0.4 * (faint & ~bright) + 0.1 * torch.randn(n, *[size] * dimension, generator=generator)
    choice = torch.stack([torch.randperm(raters, generator=generator) < raters // 2 for _ in range(n)])
    masks = bright[:, None] | (faint[:, None] & choice.reshape(n, raters, *[1] * dimension))
    return image[:, None], masks.float(), faint & ~bright


@lru_cache(maxsize=256)
def fitted(distance: str, seed: int, epochs: int, *, images: int = 200, radius: float = 2.0, dimension: int = 2, size: int = 12):
    """A network trained with ``distance``: Adam 1e-2, batches of 20, the same for every loss."""
    loss, weight = distance, 1e-2
    if distance == "cross-entropy, weighted latent":
        loss, weight = "cross-entropy", 1e-1
    if distance == DETERMINISTIC:
        loss, weight = "cross-entropy", 0.0
    x, y, _ = raters_set(images, 2 * seed, size=size, radius=radius, dimension=dimension)
    model = TinyProbUNet(widths=(8, 16), dimension=dimension, seed=seed)
    _descend(model, x, y, epochs, 20, torch.Generator().manual_seed(seed), loss, weight)
    return model


def _descend(model, x, y, epochs, batch, generator, loss="energy", weight=1e-2):
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(batch):
            value = set_loss(model, x[rows], y[rows], distance=loss, latent_weight=weight, seed=generator)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()


@lru_cache(maxsize=256)
def train(distance: str, seed: int, epochs: int, *, images: int = 200, radius: float = 2.0, dimension: int = 2, size: int = 12):
    """(GED^2 per test image, gap of the faint blob's frequency from one half) of a network trained with ``distance``."""
    model = fitted(distance, seed, epochs, images=images, radius=radius, dimension=dimension, size=size)
    x, y, faint = raters_set(60, 2 * seed + 1, size=size, radius=radius, dimension=dimension)
    with torch.no_grad():
        samples = model.sample(x, 16, seed=torch.Generator().manual_seed(seed))
    if distance == DETERMINISTIC:
        samples = samples.mean(1, keepdim=True)
    distances = generalized_energy_distance(samples, y)
    seen = ((samples > 0.5) & faint[:, None]).flatten(2).sum(2) > 0.5 * faint.flatten(1).sum(1)[:, None]
    visible = faint.flatten(1).any(1)
    gap = (seen.float().mean(1) - 0.5).abs()[visible].mean()
    return distances, float(gap)


def _plan(seeds, budget):
    if budget == "smoke":
        return tuple(seeds)[:2], 1
    return tuple(seeds), 15 if budget == "default" else 60


def _means(distance, seeds, epochs, **options):
    return torch.tensor([float(train(distance, s, epochs, **options)[0].mean()) for s in seeds], dtype=torch.float64)


def means(distance: str, seeds, budget: str) -> torch.Tensor:
    """Mean generalized energy distance on the test images of each seed that the budget allows."""
    seeds, epochs = _plan(seeds, budget)
    return _means(distance, seeds, epochs)


def drawn(distance: str, seed: int, image: int, budget: str, count: int = 10):
    """A test image (H, W), its raters' masks (R, H, W) and ``count`` samples (count, H, W) of a trained network."""
    x, y, _ = raters_set(60, 2 * seed + 1)
    model = fitted(distance, seed, _plan((seed,), budget)[1])
    with torch.no_grad():
        samples = model.sample(x[image : image + 1], count, seed=seed)[0]
    return x[image, 0], y[image], samples


@measures("pulaski.energy-distance")
def energy(data, seeds, budget):
    generator = torch.Generator().manual_seed(seeds[0])
    s, y = torch.rand(5, 1, 6, 6, generator=generator), torch.rand(5, 1, 6, 6, generator=generator)
    single = float((energy_set_distance(s, y, scale=False) - (s - y).flatten(1).norm(dim=1)).abs().max())
    many = torch.rand(5, 4, 6, 6, generator=generator)
    same = float(energy_set_distance(many, many[:, [3, 1, 0, 2]]).abs().max())
    coincide = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    energy_set_distance(coincide, torch.zeros(1, 2, 4, 4)).sum().backward()
    worst = max(single, same)
    return exact(worst, worst <= 1e-5 and bool(torch.isfinite(coincide.grad).all()), {"single masks": single, "equal sets": same})


@measures("pulaski.captures-variability")
def variability(data, seeds, budget):
    """Generalized energy distance of the energy loss over that of cross-entropy, at most one half."""
    seeds, epochs = _plan(seeds, budget)
    ratio = _means("energy", seeds, epochs) / _means("cross-entropy", seeds, epochs)
    gaps = {d: sum(train(d, s, epochs)[1] for s in seeds) / len(seeds) for d in ("energy", "cross-entropy")}
    return sampled(ratio, 0.5, {"gap of the faint blob's frequency from 1/2": gaps}, seeds=seeds, at_most=True)


@measures("pulaski.beats-baselines")
def baselines(data, seeds, budget):
    """Largest p value of paired Wilcoxon tests over test images of all seeds against four baselines, at equal tuning (none)."""
    from scipy.stats import wilcoxon

    seeds, epochs = _plan(seeds, budget)

    def images(distance):
        return torch.cat([train(distance, s, epochs)[0] for s in seeds]).double()

    ours = images("energy")
    found = {}
    for name in BASELINES:
        theirs = images(name)
        found[name] = {"p": float(wilcoxon(ours, theirs, alternative="less").pvalue), "GED": float(theirs.mean())}
    worst = max(row["p"] for row in found.values())
    details = {"baselines": found, "GED of the energy loss": float(ours.mean()), "test images": len(ours)}
    return Measured(worst, (worst, worst), worst < 0.05, details, seeds=seeds)


@measures("pulaski.small-data")
def small_data(data, seeds, budget):
    """Reduction of generalized energy distance against cross-entropy with 40 training images and equal gradient steps."""
    seeds, epochs = _plan(seeds, budget)
    options = {"images": 40}
    gain = _means("cross-entropy", seeds, 5 * epochs, **options) - _means("energy", seeds, 5 * epochs, **options)
    return sampled(gain, 0.0, {"images": 40}, seeds=seeds)


@measures("pulaski.class-imbalance")
def imbalance(data, seeds, budget):
    """Relative reduction against cross-entropy with small foreground less that with large foreground."""
    seeds, epochs = _plan(seeds, budget)
    relative = {
        r: 1 - _means("energy", seeds, epochs, radius=r) / _means("cross-entropy", seeds, epochs, radius=r) for r in (1.0, 2.0)
    }
    details = {f"radius {r}": float(v.mean()) for r, v in relative.items()}
    return sampled(relative[1.0] - relative[2.0], 0.0, details, seeds=seeds)


@measures("pulaski.three-dimensions")
def three_dimensions(data, seeds, budget):
    """Reduction of the volumes' generalized energy distance from slice-wise to volumetric networks, equal passes over the data."""
    seeds, epochs = _plan(seeds, budget)
    gains = []
    for seed in seeds:
        volume = float(train("energy", seed, epochs, images=VOLUMES, dimension=3, size=SIDE)[0].mean())
        gains.append(_slices(seed, epochs) - volume)
    return sampled(torch.tensor(gains), 0.0, {"volumes": VOLUMES, "epochs": epochs}, seeds=seeds)


@lru_cache(maxsize=64)
def _slices(seed, epochs):
    """The same volumes segmented slice by slice by a 2-D network, every slice of a volume with its own latent."""
    x, y, _ = raters_set(VOLUMES, 2 * seed, size=SIDE, dimension=3)
    test_x, test_y, _ = raters_set(60, 2 * seed + 1, size=SIDE, dimension=3)
    model = TinyProbUNet(widths=(8, 16), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    flat_x, flat_y = x.transpose(1, 2).reshape(-1, 1, SIDE, SIDE), y.transpose(1, 2).reshape(-1, y.shape[1], SIDE, SIDE)
    # as many steps an epoch as the volumetric network takes
    _descend(model, flat_x, flat_y, epochs, 20 * SIDE, generator)
    with torch.no_grad():
        samples = model.sample(test_x.transpose(1, 2).reshape(-1, 1, SIDE, SIDE), 16, seed=generator)
    volumes = samples.reshape(60, SIDE, 16, SIDE, SIDE).transpose(1, 2)
    return float(generalized_energy_distance(volumes, test_y).mean())
