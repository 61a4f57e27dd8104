"""Networks trained on synthetic images with several raters, all models of a study at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from lab import training
from lab.claims import tunes
from lab.losses.pulaski import Draw, TinyProbUNet, generalized_energy_distance, pass_loss, samples_drawn
from lab.training.comparison import chosen, record, tune

METHOD, DETERMINISTIC = "energy", "cross-entropy, deterministic"
BASELINES = ("cross-entropy", "focal-tversky", "dice", DETERMINISTIC)
TRIALS = ((3e-3, 1e-2), (1e-2, 1e-2), (3e-2, 1e-2), (1e-2, 1e-1))  # learning rate, weight of the latent divergence

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

    @classmethod
    def of(cls, budget: str) -> Setting:
        """The images of a budget; the learning rates are tuned at the default number of steps."""
        return cls(images=40, steps=4) if budget == "smoke" else cls(steps=100 if budget == "default" else 600)

    @classmethod
    def of_volumes(cls, budget: str) -> Setting:
        """Volumes of a budget, with half as many steps again as for images."""
        if budget == "smoke":
            return cls(images=10, size=8, dimension=3, steps=2)
        return cls(images=60, size=10, dimension=3, steps=cls.of(budget).steps * 3 // 2)

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


def trials_of(loss: str) -> tuple[Trial, ...]:
    """The trials of a loss, four for each: the deterministic network has no latent weight and gets four learning rates."""
    return tuple((rate, 0.0) for rate in (1e-3, 3e-3, 1e-2, 3e-2)) if loss == DETERMINISTIC else TRIALS


STUDIES = {
    2.0: ("radius 2", (METHOD, *BASELINES)),
    1.0: ("radius 1", (METHOD, "cross-entropy")),
}  # by the blobs' radius


@tunes("pulaski")
def tune_trials(progress=None) -> None:
    """Tune every loss by generalized energy distance at 100 steps and write the record."""
    record("pulaski", *(_tune(radius, progress) for radius in STUDIES))


def _tune(radius, progress):
    study, losses = STUDIES[radius]
    setting = Setting(radius=radius)

    def score(loss, settings, seeds):
        runs = tuple((seed, trial) for trial in settings for seed in seeds)
        distances = [float(found.mean()) for found, _ in evaluate(loss, setting, runs)]
        return -torch.tensor(distances).reshape(len(settings), len(seeds)).numpy()

    return tune(study, {loss: trials_of(loss) for loss in losses}, score, progress=progress)


def tuned(loss: str, radius: float = 2.0) -> Trial:
    """The recorded trial of least generalized energy distance on tuning seeds, for blobs of ``radius``."""
    return tuple(chosen("pulaski", STUDIES[radius][0], {loss: trials_of(loss)})[loss])


def distances(loss: str, seeds, setting: Setting) -> torch.Tensor:
    """Mean generalized energy distance on the test images of each seed at the tuned trial, (seeds,)."""
    runs = tuple((seed, tuned(loss, setting.radius)) for seed in seeds)
    return torch.tensor([float(found.mean()) for found, _ in evaluate(loss, setting, runs)], dtype=torch.float64)


def frequency_gap(loss: str, seeds, setting: Setting) -> float:
    """Mean gap of the faint blob's frequency in samples from that among raters, one half."""
    found = evaluate(loss, setting, tuple((seed, tuned(loss, setting.radius)) for seed in seeds))
    return sum(gap for _, gap in found) / len(found)


def drawn(loss: str, seeds, image: int, setting: Setting, count: int = 10):
    """A test image (H, W) of the first seed, its raters' masks (R, H, W) and ``count`` samples (count, H, W) of its network."""
    x, y, _ = setting.draw(2 * seeds[0] + 1, 60)
    model = fitted(loss, setting, tuple((seed, tuned(loss, setting.radius)) for seed in seeds))[0]
    with torch.no_grad():
        samples = model.sample(x[image : image + 1], count, seed=seeds[0])[0]
    return x[image, 0], y[image], samples


@lru_cache(maxsize=8)
def slice_by_slice(seeds: tuple[int, ...], setting: Setting, trial: Trial, count: int = 60) -> torch.Tensor:
    """GED of volumes segmented slice by slice by 2-D networks, (seeds, 2): a latent for each slice, and one for all slices."""
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
    return torch.tensor(found, dtype=torch.float64)


def _slices(volumes):
    """(n, c, D, H, W) as its slices (n * D, c, H, W)."""
    return volumes.transpose(1, 2).flatten(0, 1)
