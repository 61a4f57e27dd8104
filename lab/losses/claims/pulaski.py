"""Measurements of the statements about set distances for several raters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from lab.claims import Measured, measures
from lab.losses.claims.studies import exact, sampled
from lab.losses.pulaski import TinyProbUNet, energy_set_distance, generalized_energy_distance, set_loss

METHOD, DETERMINISTIC = "energy", "cross-entropy, deterministic"
BASELINES = ("cross-entropy", "focal-tversky", "dice", DETERMINISTIC)
TRIALS = ((3e-3, 1e-2), (1e-2, 1e-2), (3e-2, 1e-2), (1e-2, 1e-1))  # learning rate, weight of the latent divergence
TUNING = (1000,)  # seeds that only choose among the trials
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


@dataclass(frozen=True)
class Setting:
    """Images of a study: how many to train on, their size, the blobs' radius, two or three dimensions, and training steps."""

    images: int = 200
    size: int = 12
    radius: float = 2.0
    dimension: int = 2
    steps: int = 100

    def draw(self, seed: int, count: int):
        return raters_set(count, seed, size=self.size, radius=self.radius, dimension=self.dimension)


@lru_cache(maxsize=256)
def fitted(loss: str, seed: int, setting: Setting, trial: tuple[float, float]):
    """A network trained under ``loss`` at a learning rate and latent weight: Adam, batches of 20 images or 5 volumes."""
    x, y, _ = setting.draw(2 * seed, setting.images)
    model = TinyProbUNet(widths=(8, 16), dimension=setting.dimension, seed=seed)
    _descend(model, x, y, setting.steps, 20 if setting.dimension == 2 else 5, loss, trial, seed)
    return model


def _descend(model, x, y, steps, batch, loss, trial, seed):
    rate, weight = trial
    distance, weight = ("cross-entropy", 0.0) if loss == DETERMINISTIC else (loss, weight)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    done = 0
    while done < steps:
        for rows in torch.randperm(len(x), generator=generator).split(batch)[: steps - done]:
            value = set_loss(model, x[rows], y[rows], distance=distance, latent_weight=weight, seed=generator)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            done += 1


@lru_cache(maxsize=256)
def evaluate(loss: str, seed: int, setting: Setting, trial: tuple[float, float], count: int = 60):
    """(GED^2 for each of ``count`` fresh images, gap of the faint blob's frequency from one half) of a trained network."""
    model = fitted(loss, seed, setting, trial)
    x, y, faint = setting.draw(2 * seed + 1, count)
    with torch.no_grad():
        samples = model.sample(x, 16, seed=torch.Generator().manual_seed(seed))
    if loss == DETERMINISTIC:
        samples = samples.mean(1, keepdim=True)
    distances = generalized_energy_distance(samples, y)
    seen = ((samples > 0.5) & faint[:, None]).flatten(2).sum(2) > 0.5 * faint.flatten(1).sum(1)[:, None]
    visible = faint.flatten(1).any(1)
    return distances, float((seen.float().mean(1) - 0.5).abs()[visible].mean())


@lru_cache(maxsize=64)
def tuned(loss: str, setting: Setting, trials=TRIALS) -> tuple[float, float]:
    """The trial of least generalized energy distance on tuning seeds; the same number of trials for every loss."""
    if loss == DETERMINISTIC:  # has no latent weight: four learning rates instead
        trials = tuple((rate, 0.0) for rate in (1e-3, 3e-3, 1e-2, 3e-2))[-len(trials) :]
    return min(trials, key=lambda trial: sum(float(evaluate(loss, s, setting, trial)[0].mean()) for s in TUNING))


def plan(seeds, budget) -> tuple[tuple[int, ...], Setting, tuple]:
    """Seeds, setting and trials of a budget."""
    if budget == "smoke":
        return tuple(seeds)[:2], Setting(steps=10), TRIALS[1:2]
    return tuple(seeds), Setting(steps=100 if budget == "default" else 600), TRIALS


def _means(loss, seeds, setting, trial):
    found = [float(evaluate(loss, seed, setting, trial)[0].mean()) for seed in seeds]
    return torch.tensor(found, dtype=torch.float64)


def means(loss: str, seeds, budget: str) -> torch.Tensor:
    """Mean generalized energy distance on the test images of each seed that the budget allows, at the tuned trial."""
    seeds, setting, trials = plan(seeds, budget)
    return _means(loss, seeds, setting, tuned(loss, setting, trials))


def drawn(loss: str, seed: int, image: int, budget: str, count: int = 10):
    """A test image (H, W), its raters' masks (R, H, W) and ``count`` samples (count, H, W) of a trained network."""
    _, setting, trials = plan((seed,), budget)
    x, y, _ = setting.draw(2 * seed + 1, 60)
    model = fitted(loss, seed, setting, tuned(loss, setting, trials))
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
    seeds, setting, trials = plan(seeds, budget)
    found = {loss: tuned(loss, setting, trials) for loss in (METHOD, "cross-entropy")}
    ratio = _means(METHOD, seeds, setting, found[METHOD]) / _means("cross-entropy", seeds, setting, found["cross-entropy"])
    gaps = {loss: sum(evaluate(loss, s, setting, trial)[1] for s in seeds) / len(seeds) for loss, trial in found.items()}
    details = {"gap of the faint blob's frequency from 1/2": gaps, **_tuning(found, trials)}
    return sampled(ratio, 0.5, details, seeds=seeds, at_most=True)


@measures("pulaski.beats-baselines")
def baselines(data, seeds, budget):
    """Largest p value of one-sided Wilcoxon signed-rank tests over seeds against four baselines, all at equal tuning.

    A seed is one training set, network and test set; the test images of one seed share a network and are no replicates. Ranks,
    since a baseline whose training fails on one seed would widen the interval of a mean. With five seeds the smallest p value is
    1/32. The details carry the paired t-test over seeds and the rank test over images as well.
    """
    seeds, setting, trials = plan(seeds, budget)
    chosen = {loss: tuned(loss, setting, trials) for loss in (METHOD, *BASELINES)}
    images = {
        loss: torch.stack([evaluate(loss, seed, setting, trial)[0] for seed in seeds]).double()
        for loss, trial in chosen.items()
    }
    return verdict(images, seeds, _tuning(chosen, trials))


def verdict(images: dict[str, torch.Tensor], seeds, details: dict | None = None) -> Measured:
    """The method against each baseline from distances (seeds, images)."""
    from scipy.stats import ttest_rel, wilcoxon

    ours = images[METHOD]
    found = {}
    for name in BASELINES:
        theirs = images[name]
        seeds_of, images_of = (ours.mean(1), theirs.mean(1)), (ours.flatten(), theirs.flatten())
        found[name] = {
            "p": float(wilcoxon(*seeds_of, alternative="less").pvalue),
            "p of a t-test": float(ttest_rel(*seeds_of, alternative="less").pvalue),
            "p over images": float(wilcoxon(*images_of, alternative="less").pvalue), "GED": float(theirs.mean()),
        }  # fmt: skip
    worst = max(row["p"] for row in found.values())
    details = {"baselines": found, "GED of the energy loss": float(ours.mean()), **(details or {})}
    return Measured(worst, (worst, worst), worst < 0.05, details, seeds=tuple(seeds))


def _tuning(chosen, trials):
    return {"learning rate and latent weight": chosen, "trials of each": len(trials), "tuning seeds": TUNING}


def _pair(seeds, setting, tuning, trials):
    """GED over seeds of the energy loss and of cross-entropy in ``setting``, each at its best trial in the setting ``tuning``."""
    return tuple(_means(loss, seeds, setting, tuned(loss, tuning, trials)) for loss in (METHOD, "cross-entropy"))


@measures("pulaski.small-data")
def small_data(data, seeds, budget):
    """Reduction of generalized energy distance against cross-entropy with 40 training images and equal gradient steps."""
    seeds, setting, trials = plan(seeds, budget)
    ours, theirs = _pair(seeds, replace(setting, images=40), setting, trials)
    return sampled(theirs - ours, 0.0, {"images": 40, "GED": [float(ours.mean()), float(theirs.mean())]}, seeds=seeds)


@measures("pulaski.class-imbalance")
def imbalance(data, seeds, budget):
    """Relative reduction against cross-entropy with small foreground less that with large foreground, each tuned on its own."""
    seeds, setting, trials = plan(seeds, budget)
    relative = {}
    for radius in (1.0, 2.0):
        sized = replace(setting, radius=radius)
        ours, theirs = _pair(seeds, sized, sized, trials)
        relative[radius] = 1 - ours / theirs
    details = {f"radius {r}": float(v.mean()) for r, v in relative.items()}
    return sampled(relative[1.0] - relative[2.0], 0.0, details, seeds=seeds)


@measures("pulaski.three-dimensions")
def three_dimensions(data, seeds, budget):
    """Reduction of the volumes' generalized energy distance from slice-wise to volumetric networks, at equal gradient steps.

    Slice by slice a 2-D network draws either one latent a slice or one for the whole volume; the better of both counts. Balls are
    visible in every slice that they meet, so that little is lost without the third axis.
    """
    seeds, main, trials = plan(seeds, budget)
    trial = tuned(METHOD, main, trials)
    setting = Setting(VOLUMES, SIDE, main.radius, 3, main.steps * 3 // 2)
    volumes = _means(METHOD, seeds, setting, trial)
    slices = torch.tensor([_slices(seed, setting, trial) for seed in seeds], dtype=torch.float64)
    best = int(slices.mean(0).argmin())
    details = {
        "GED of volumes": float(volumes.mean()), "slice by slice, a latent for each slice": float(slices[:, 0].mean()),
        "slice by slice, one latent": float(slices[:, 1].mean()), "volumes": VOLUMES, "steps": setting.steps,
    }  # fmt: skip
    return sampled(slices[:, best] - volumes, 0.0, details, seeds=seeds)


@lru_cache(maxsize=64)
def _slices(seed, setting, trial):
    """GED of the same volumes segmented slice by slice by a 2-D network: a latent for each slice, and one for all slices."""
    x, y, _ = setting.draw(2 * seed, setting.images)
    test_x, test_y, _ = setting.draw(2 * seed + 1, 60)
    model = TinyProbUNet(widths=(8, 16), seed=seed)
    flat_x, flat_y = x.transpose(1, 2).reshape(-1, 1, SIDE, SIDE), y.transpose(1, 2).reshape(-1, y.shape[1], SIDE, SIDE)
    _descend(model, flat_x, flat_y, setting.steps, 5 * SIDE, METHOD, trial, seed)
    flat = test_x.transpose(1, 2).reshape(-1, 1, SIDE, SIDE)
    generator = torch.Generator().manual_seed(seed)
    found = []
    with torch.no_grad():
        mean, log_scale = model.distributions(flat)
        for shared in (False, True):
            noise = torch.randn(60, 1 if shared else SIDE, 16, model.latent, generator=generator).expand(-1, SIDE, -1, -1)
            z = mean[:, None] + log_scale.exp()[:, None] * noise.reshape(60 * SIDE, 16, -1)
            samples = torch.sigmoid(model.decode(flat, z)).reshape(60, SIDE, 16, SIDE, SIDE).transpose(1, 2)
            found.append(float(generalized_energy_distance(samples, test_y).mean()))
    return found
