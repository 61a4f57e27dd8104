"""Measurements of the statements about set distances for several raters."""

from __future__ import annotations

from dataclasses import replace

import torch

from lab.claims import Measured, measures
from lab.losses.claims.raters import BASELINES, METHOD, TRIALS, TUNING, Setting, evaluate, fitted, slice_by_slice, tuned
from lab.losses.claims.studies import exact, sampled
from lab.losses.pulaski import energy_set_distance

VOLUMES, SIDE = 60, 10  # training volumes and their edge


def plan(seeds, budget) -> tuple[tuple[int, ...], Setting, tuple]:
    """Seeds, setting and trials of a budget."""
    if budget == "smoke":
        return tuple(seeds)[:2], Setting(steps=10), TRIALS[1:2]
    return tuple(seeds), Setting(steps=100 if budget == "default" else 600), TRIALS


def _means(loss, seeds, setting, trial):
    found = [float(distances.mean()) for distances, _ in evaluate(loss, setting, tuple((seed, trial) for seed in seeds))]
    return torch.tensor(found, dtype=torch.float64)


def means(loss: str, seeds, budget: str) -> torch.Tensor:
    """Mean generalized energy distance on the test images of each seed that the budget allows, at the tuned trial."""
    seeds, setting, trials = plan(seeds, budget)
    return _means(loss, seeds, setting, tuned(loss, setting, trials))


def drawn(loss: str, seeds, image: int, budget: str, count: int = 10):
    """A test image (H, W) of the first seed, its raters' masks (R, H, W) and ``count`` samples (count, H, W) of its network."""
    seeds, setting, trials = plan(seeds, budget)
    trial = tuned(loss, setting, trials)
    x, y, _ = setting.draw(2 * seeds[0] + 1, 60)
    model = fitted(loss, setting, tuple((seed, trial) for seed in seeds))[0]
    with torch.no_grad():
        samples = model.sample(x[image : image + 1], count, seed=seeds[0])[0]
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
    gaps = {
        loss: sum(gap for _, gap in evaluate(loss, setting, tuple((s, trial) for s in seeds))) / len(seeds)
        for loss, trial in found.items()
    }
    details = {"gap of the faint blob's frequency from 1/2": gaps, **_tuning(found, trials)}
    return sampled(ratio, 0.5, details, seeds=seeds, at_most=True)


@measures("pulaski.beats-baselines")
def baselines(data, seeds, budget):
    """Largest p value of one-sided Wilcoxon signed-rank tests over seeds against four baselines, all at equal tuning.

    A seed is one training set, network and test set; the test images of one seed share a network and are no replicates. Ranks,
    since a baseline whose training fails on one seed would widen the interval of a mean. The smallest p value of n seeds is
    2^-n: 1/256 with eight. The details carry the paired t-test over seeds and the rank test over images as well.
    """
    seeds, setting, trials = plan(seeds, budget)
    chosen = {loss: tuned(loss, setting, trials) for loss in (METHOD, *BASELINES)}
    images = {
        loss: torch.stack([found for found, _ in evaluate(loss, setting, tuple((s, trial) for s in seeds))]).double()
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
    slices = torch.tensor(slice_by_slice(tuple(seeds), setting, trial), dtype=torch.float64)
    best = int(slices.mean(0).argmin())
    details = {
        "GED of volumes": float(volumes.mean()), "slice by slice, a latent for each slice": float(slices[:, 0].mean()),
        "slice by slice, one latent": float(slices[:, 1].mean()), "volumes": VOLUMES, "steps": setting.steps,
    }  # fmt: skip
    return sampled(slices[:, best] - volumes, 0.0, details, seeds=seeds)
