"""Networks trained on synthetic images with several raters, all models of a study at once; shared by its measurements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from lab import training
from lab.losses.pulaski import Draw, TinyProbUNet, generalized_energy_distance, pass_loss, samples_drawn

METHOD, DETERMINISTIC = "energy", "cross-entropy, deterministic"
BASELINES = ("cross-entropy", "focal-tversky", "dice", DETERMINISTIC)
TRIALS = ((3e-3, 1e-2), (1e-2, 1e-2), (3e-2, 1e-2), (1e-2, 1e-1))  # learning rate, weight of the latent divergence
TUNING = (1000, 1001, 1002)  # seeds that only choose among the trials

Trial = tuple[float, float]
Run = tuple[int, Trial]  # a seed and its trial


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


def train(
    loss: str, x: torch.Tensor, raters: torch.Tensor, runs: tuple[Run, ...], steps: int, batch: int
) -> list[TinyProbUNet]:
    """One network for each run, all trained at once by Adam for ``steps`` batches.

    Images ``x`` (runs, items, 1, ...space) and masks ``raters`` (runs, items, r, ...space) of each run. Order, rater and noise
    of every pass are drawn from the run's seed beforehand, so that runs of one seed differ in their trial alone.
    """
    distance = "cross-entropy" if loss == DETERMINISTIC else loss
    weights = torch.tensor([0.0 if loss == DETERMINISTIC else weight for _, (_, weight) in runs])
    models = [TinyProbUNet(widths=(8, 16), dimension=x.ndim - 3, seed=seed) for seed, _ in runs]
    rows, chosen, noise = (torch.stack(parts) for parts in zip(*(
        _draws(seed, x.shape[1], steps * batch, raters.shape[2], samples_drawn(distance, raters.shape[2]), models[0].latent)
        for seed, _ in runs
    )))  # fmt: skip
    run = torch.arange(len(runs))[:, None].expand_as(rows)
    place = torch.arange(steps * batch).expand_as(rows)

    def objective(model, images, item):
        run, row, one, place = item.unbind(1)
        masks = raters[run, row]
        draw = Draw(images, raters[run, row, one][:, None], noise[run, place])
        return pass_loss(model, draw, masks, distance, weights[run[0]])

    fitted = training.fit(
        models, training.PerModel(x[run, rows]), training.PerModel(torch.stack([run, rows, chosen, place], 2)),
        seeds=[seed for seed, _ in runs], objective=objective, learning_rate=[rate for _, (rate, _) in runs], epochs=1,
        batch_size=batch,
    )  # fmt: skip
    return [fitted.model(k) for k in range(len(runs))]


def _draws(seed, items, count, raters, samples, latent):
    """Images of ``count`` passes in whole permutations, the rater of each and its noise."""
    generator = torch.Generator().manual_seed(seed)
    passes = [torch.randperm(items, generator=generator) for _ in range(-(-count // items))]
    chosen = torch.randint(raters, (count,), generator=generator)
    return torch.cat(passes)[:count], chosen, torch.randn(count, samples, latent, generator=generator)


@lru_cache(maxsize=64)
def fitted(loss: str, setting: Setting, runs: tuple[Run, ...]) -> list[TinyProbUNet]:
    """A trained network for each run: batches of 20 images or 5 volumes."""
    found = {seed: setting.draw(2 * seed, setting.images)[:2] for seed, _ in runs}
    x, raters = (torch.stack([found[seed][k] for seed, _ in runs]) for k in range(2))
    return train(loss, x, raters, runs, setting.steps, 20 if setting.dimension == 2 else 5)


@lru_cache(maxsize=64)
def evaluate(loss: str, setting: Setting, runs: tuple[Run, ...], count: int = 60) -> list[tuple[torch.Tensor, float]]:
    """For each run GED^2 of ``count`` fresh images, and the gap of the faint blob's frequency from one half."""
    found = []
    for model, (seed, _) in zip(fitted(loss, setting, runs), runs):
        x, y, faint = setting.draw(2 * seed + 1, count)
        with torch.no_grad():
            samples = model.sample(x, 16, seed=torch.Generator().manual_seed(seed))
        if loss == DETERMINISTIC:
            samples = samples.mean(1, keepdim=True)
        seen = ((samples > 0.5) & faint[:, None]).flatten(2).sum(2) > 0.5 * faint.flatten(1).sum(1)[:, None]
        gap = (seen.float().mean(1) - 0.5).abs()[faint.flatten(1).any(1)].mean()
        found.append((generalized_energy_distance(samples, y), float(gap)))
    return found


def tuned(loss: str, setting: Setting, trials: tuple[Trial, ...] = TRIALS) -> Trial:
    """The trial of least generalized energy distance on tuning seeds; the same number of trials for every loss."""
    if loss == DETERMINISTIC:  # has no latent weight: four learning rates instead
        trials = tuple((rate, 0.0) for rate in (1e-3, 3e-3, 1e-2, 3e-2))[-len(trials) :]
    runs = tuple((seed, trial) for trial in trials for seed in TUNING)
    distances = [float(found.mean()) for found, _ in evaluate(loss, setting, runs)]
    total = {trial: sum(d for d, (_, one) in zip(distances, runs) if one == trial) for trial in trials}
    return min(total, key=total.get)


@lru_cache(maxsize=8)
def slice_by_slice(seeds: tuple[int, ...], setting: Setting, trial: Trial, count: int = 60) -> list[list[float]]:
    """GED of volumes segmented slice by slice by 2-D networks, one row a seed: a latent for each slice, and one for all slices."""
    side, runs = setting.size, tuple((seed, trial) for seed in seeds)
    x, raters = (torch.stack([_slices(setting.draw(2 * seed, setting.images)[k]) for seed in seeds]) for k in range(2))
    found = []
    for seed, model in zip(seeds, train(METHOD, x, raters, runs, setting.steps, 5 * side)):
        volumes, y, _ = setting.draw(2 * seed + 1, count)
        flat, generator = _slices(volumes), torch.Generator().manual_seed(seed)
        row = []
        with torch.no_grad():
            mean, log_scale = model.distributions(flat)
            for shared in (False, True):
                noise = torch.randn(count, 1 if shared else side, 16, model.latent, generator=generator)
                noise = noise.expand(-1, side, -1, -1).reshape(count * side, 16, -1)
                z = mean[:, None] + log_scale.exp()[:, None] * noise
                samples = torch.sigmoid(model.decode(flat, z)).reshape(count, side, 16, side, side).transpose(1, 2)
                row.append(float(generalized_energy_distance(samples, y).mean()))
        found.append(row)
    return found


def _slices(volumes):
    """(n, c, D, H, W) as its slices (n * D, c, H, W)."""
    return volumes.transpose(1, 2).flatten(0, 1)
