"""Score SDEs measured: samplers with exact and learned scores on points, and one learned score of digits used in many ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from lab import checks, study
from lab.claims import tunes
from lab.generative import quality, samplers, score_sde
from lab.generative.mixtures import GaussianMixture
from lab.generative.samplers import Noise, Observed
from lab.generative.scores import ImageNetwork, LearnedScore, train_classifier, train_score
from lab.generative.sdes import SDES, Score
from lab.generative.studies.common import Images, Kept, cloud, images, images_of, table
from lab.training import Stack
from lab.training.comparison import chosen, record, tune
from lab.training.networks import initialize

ARMS = {"predictor": (1.0,), "predictor-corrector": (0.03, 0.08, 0.16, 0.3)}
COMPONENTS = 16  # principal components of digits in which Frechet distances are taken


class Setting(study.Setting):
    """Points in the plane or digits, noised by one of three processes and brought back."""

    sde: Literal["VP", "sub-VP", "VE"] = Field("VP", title="Process")
    points: Literal["ring", "moons"] = Field("ring", title="Points")
    score: Literal["exact", "learned"] = Field("learned", title="Score")
    steps: int = Field(100, ge=21, le=2000, title="Predictor steps")
    tolerance: float = Field(1e-3, ge=1e-7, le=1e-1, title="Tolerance of the flow")
    snr: float = Field(
        0.16, ge=0.01, le=1.0, title="Signal-to-noise ratio of the corrector", json_schema_extra={"step": 0.01}
    )
    items: int = Field(2000, ge=20, le=20_000, title="Samples")
    training: int = Field(2000, ge=1, le=200_000, title="Training steps")
    width: int = Field(128, ge=8, le=2048, title="Width of the network")
    images: Literal["digits", "mnist"] = Field("digits", title="Images")
    network: Literal["mlp", "unet"] = Field("mlp", title="Network on images")

    PROFILES: ClassVar = {
        "smoke": {"steps": 22, "items": 100, "training": 30, "width": 32},
        "full": {
            "steps": 1000, "items": 5000, "training": 20_000, "width": 512, "images": "mnist", "network": "unet",
            "tolerance": 1e-5,
        },
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Samplers on points. ``distance`` {arm: (seeds,)} is sliced Wasserstein to held-out points, ``floor`` that of other fresh
    points, ``evaluations`` {arm: number}; ``samples`` {arm: (items, d)} and ``path`` (frames, items, d) of the first seed;
    ``error`` (seeds,): sum over times of E std^2 |s - true|^2 over that of E std^2 |true|^2, ``error_by_time`` (times, seeds)
    the same for each of ``error_times``, NaN where the law is unknown; ``log_density`` (seeds,) mean on held-out points."""

    distance: dict[str, torch.Tensor]
    evaluations: dict[str, int]
    floor: torch.Tensor
    samples: dict[str, torch.Tensor]
    data: torch.Tensor
    path: torch.Tensor
    times: torch.Tensor
    error: torch.Tensor
    error_by_time: torch.Tensor
    error_times: torch.Tensor
    log_density: torch.Tensor

    def to_frame(self):
        """One row an arm: evaluations and distance."""
        found = table({**self.distance, "fresh data": self.floor}, "distance")
        found.insert(1, "evaluations", [self.evaluations.get(arm, 0) for arm in found["arm"]])
        return found


@study.remembered(size=16)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """All samplers on one set of points.

    Controls: ``"negated"`` turns the sign of the score, ``"shuffled"`` learns it from the
    noise of other points.
    """
    where, sde = cloud(setting.points, data), SDES[setting.sde]()
    d, count = where.train.shape[1], min(setting.items, len(where.test) // 2)
    if setting.score == "exact":
        if where.truth is None:
            raise ValueError("score='exact' needs points='ring', whose law is known")
        base: Score = where.truth.at(sde)
    else:
        options = {"seeds": seeds, "steps": setting.training, "width": setting.width, "progress": progress}
        base = train_score(sde, where.train, shuffled=control == "shuffled", **options)
    score: Score = (lambda x, t: -base(x, t)) if control == "negated" else base
    draws = [torch.randperm(len(where.test), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    held = torch.stack([where.test[rows[:count]] for rows in draws])
    fresh = torch.stack([where.test[rows[count : 2 * count]] for rows in draws])
    call = lambda arm, **more: score_sde.draw(  # noqa: E731
        score, sde, count, d, sampler=arm, seeds=seeds, snr=setting.snr, tolerance=setting.tolerance,
        **{"steps": setting.steps, **more},
    )  # fmt: skip
    found = {"flow": call("flow", frames=40), "predictor": call("predictor", frames=40)}
    found["predictor, twice the steps"] = call("predictor", steps=2 * setting.steps)
    found["predictor, twice the flow"] = call("predictor", steps=max(21, 2 * found["flow"].evaluations))
    found["predictor-corrector"], found["corrector"] = call("predictor-corrector"), call("corrector")
    between = lambda x, y: quality.sliced_wasserstein(x, y, 128)  # noqa: E731
    distance = {arm: between(one.x, held) for arm, one in found.items()}
    distance["prior"] = between(sde.prior_std * Noise(seeds)(count, d), held)
    error, by_time, times = _error(base, sde, where, seeds)
    likelihood = torch.full((len(seeds),), torch.nan).double()
    if d <= 8:
        tested = held[:, : min(count, 200)]
        likelihood = samplers.log_likelihood(score, sde, tested)[0].mean(1) if not control else likelihood
    return Result(
        distance, {arm: one.evaluations for arm, one in found.items()}, between(fresh, held),
        {arm: one.x[0] for arm, one in found.items()}, held[0], found["predictor"].path[:, 0], found["predictor"].times,
        error, by_time, times, likelihood,
    )  # fmt: skip


def _error(score, sde, where, seeds):
    times = torch.tensor([0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0], dtype=torch.float64)
    if where.truth is None:
        return torch.full((len(seeds),), torch.nan), torch.full((len(times), len(seeds)), torch.nan), times
    missed, size, noise = [], [], Noise([seed + 10_000 for seed in seeds])
    for t in times:
        x = where.test[:500].expand(len(seeds), -1, -1)
        x = sde.noised(x, t, noise(*x.shape[1:]))
        true = where.truth.at(sde)(x, t)
        with torch.no_grad():
            missed.append(sde.std(t) ** 2 * (score(x, t) - true).square().mean((1, 2)))
        size.append(sde.std(t) ** 2 * true.square().mean((1, 2)))
    error, norm = torch.stack(missed), torch.stack(size)
    return error.sum(0) / norm.sum(0), error / norm, times


@dataclass(frozen=True, eq=False)
class Pictures(Kept):
    """One learned score of images in many uses.

    ``distance`` {sampler: (seeds,)} Frechet in principal components, ``floor`` (seeds,); ``recognized`` (seeds, items) whether
    the image asked for is the one a classifier of clean images sees, ``unguided`` the same without guidance; pictures of the
    first seed.
    """

    distance: dict[str, torch.Tensor]
    floor: torch.Tensor
    recognized: torch.Tensor
    unguided: torch.Tensor
    score_of_classes: torch.Tensor
    samples: torch.Tensor
    by_class: torch.Tensor
    masked: torch.Tensor
    inpainted: torch.Tensor
    shape: tuple[int, ...]


@study.remembered()
def pictures(setting, *, seeds, data=None, control=False, progress=None) -> Pictures:
    """Samplers on digits, digits of one class, and digits of which the lower half is hidden.

    Controls: ``"equal"`` replaces the corrector's samples by the predictor's own, ``"negated"`` guides away from the class.
    """
    where = images(setting.images) if data is None else images_of(data)
    sde, d, count = SDES[setting.sde](), where.x.shape[1], min(setting.items, 500)
    score = learned(setting, where, seeds, progress)
    ratio = chosen("score_sde", "digits", ARMS)["predictor-corrector"]
    call = lambda arm, **more: score_sde.draw(  # noqa: E731
        score,
        sde,
        count,
        d,
        sampler=arm,
        seeds=seeds,
        snr=ratio,
        dtype=torch.float32,
        **{"steps": setting.steps, **more},
    )
    found = {"predictor": call("predictor"), "predictor, twice the steps": call("predictor", steps=2 * setting.steps)}
    found["predictor-corrector"] = call("predictor-corrector")
    if control == "equal":
        found["predictor-corrector"] = call("predictor", steps=max(21, setting.steps // 4))
    held = where.test.double()
    basis = torch.linalg.svd(where.x.double() - where.x.double().mean(0), full_matrices=False)[2][:COMPONENTS].T
    distance = {arm: quality.frechet(one.x.double() @ basis, held @ basis) for arm, one in found.items()}
    halves = [where.x[torch.randperm(len(where.x), generator=torch.Generator().manual_seed(s))[:count]] for s in seeds]
    floor = quality.frechet(torch.stack(halves).double() @ basis, held @ basis)
    judge = train_classifier(
        sde, where.x, where.y, classes=where.classes, seeds=seeds, steps=max(20, setting.training // 2)
    )
    asked = torch.arange(count) % where.classes
    sign = -1.0 if control == "negated" else 1.0
    pull = score_sde.guided(score, lambda x, t: judge.gradient(x, t, asked), sign)
    guided = score_sde.draw(pull, sde, count, d, seeds=seeds, steps=2 * setting.steps, dtype=torch.float32)
    probabilities = where.judge(guided.x)
    known = torch.arange(d) % (d // where.shape[0]) < d // where.shape[0] // 2
    hidden = where.test[:10]
    seen = Observed(known, hidden.expand(len(seeds), -1, -1))
    filled = score_sde.draw(
        score, sde, len(hidden), d, seeds=seeds, steps=2 * setting.steps, dtype=torch.float32, observed=seen
    )
    pixels = lambda x: (where.mean + where.scale * x).clamp(0, 1)  # noqa: E731
    return Pictures(
        distance, floor, probabilities.argmax(-1) == asked, where.judge(found["predictor"].x).argmax(-1) == asked,
        quality.classifier_score(where.judge(found["predictor"].x)), pixels(found["predictor"].x[0, :40]),
        pixels(guided.x[0, : 4 * where.classes]), pixels(torch.where(known, hidden, hidden.min())), pixels(filled.x[0]),
        where.shape,
    )  # fmt: skip


def learned(setting, where: Images, seeds, progress=None) -> LearnedScore:
    """The setting's networks trained on images."""
    stack = None
    if setting.network == "unet":
        stack = Stack([initialize(ImageNetwork(where.shape), seed) for seed in seeds])
    options = {"seeds": seeds, "steps": setting.training, "width": setting.width, "stack": stack, "batch": 128}
    return train_score(SDES[setting.sde](), where.x, progress=progress, **options)


@tunes("score_sde")
def tune_corrector(progress=None) -> None:
    """The corrector's ratio on digits, by Frechet distance to training digits at the default setting; the predictor has none."""
    setting, where = Setting.of(), images("digits")

    def scores(arm, settings, seeds):
        score, sde = learned(setting, where, seeds), SDES[setting.sde]()
        values = []
        for ratio in settings:
            options = {"sampler": arm, "seeds": seeds, "snr": ratio, "steps": setting.steps, "dtype": torch.float32}
            x = score_sde.draw(score, sde, 500, where.x.shape[1], **options).x.double()
            values.append(-quality.frechet(x, where.x.double()))
        return np.stack([one.numpy() for one in values])

    record("score_sde", tune("digits", ARMS, scores, progress=progress))


@dataclass(frozen=True, eq=False)
class Filled(Kept):
    """Conditions imposed on samples. ``distance`` {arm: (seeds,)}: for points sliced Wasserstein of the joint law of what
    was seen and
    what was filled in; for colours the mean squared error of the chroma. ``shown`` {arm: (items, ...)} of the first seed."""

    distance: dict[str, torch.Tensor]
    shown: dict[str, torch.Tensor]


@study.remembered()
def inpainted(setting, *, seeds, data=None, control=False, progress=None) -> Filled:
    """The second coordinate of points of three Gaussians filled in from the first, beside draws of the exact posterior.

    Control: the first coordinates that are imposed are those of other points.
    """
    truth, sde, count = GaussianMixture.ring(3), SDES[setting.sde](), setting.items
    draws = torch.stack([truth.sample(count, 5000 + seed) for seed in seeds])
    fresh = torch.stack([truth.sample(count, 7000 + seed) for seed in seeds])
    imposed = draws.roll(1, 1) if control else draws
    known = torch.tensor([True, False])
    observed = Observed(known, imposed)
    found = score_sde.draw(truth.at(sde), sde, count, 2, seeds=seeds, steps=max(setting.steps, 22), observed=observed).x
    first = draws[..., :1]
    posterior = torch.stack([_posterior(truth, one, 9000 + seed) for one, seed in zip(draws[..., 0], seeds)])
    arms = {"inpainted": found[..., 1:], "exact posterior": posterior, "ignoring what is seen": fresh[..., 1:]}
    joint = {arm: torch.cat([first, y], -1) for arm, y in arms.items()}
    distance = {arm: quality.sliced_wasserstein(x, fresh, 128) for arm, x in joint.items()}
    return Filled(distance, {arm: x[0] for arm, x in joint.items()})


def _posterior(truth, seen, seed):
    """A draw of the second coordinate for each first one, exact."""
    generator = torch.Generator().manual_seed(seed)
    weights = (truth.weights.log() - 0.5 * ((seen[:, None] - truth.means[:, 0]) / truth.stds) ** 2).softmax(1)
    k = torch.multinomial(weights, 1, generator=generator)[:, 0]
    noise = torch.randn(len(seen), generator=generator, dtype=torch.float64)
    return (truth.means[k, 1] + truth.stds[k] * noise)[:, None]


def tinted(where: Images) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Grey images (n, d) in [0, 1] and classes to colour images (n, 3 d): a hue a class, with the mean of the channels
    unchanged."""

    def paint(grey, y):
        angle = 2 * torch.pi * y.double() / where.classes
        shift = torch.tensor([0.0, 2 * torch.pi / 3, 4 * torch.pi / 3], dtype=torch.float64)
        tint = 1 + 0.8 * torch.cos(angle[:, None] - shift)
        return (tint[:, :, None] * grey.double()[:, None]).flatten(1)

    return paint


@study.remembered()
def colourized(setting, *, seeds, data=None, control=False, progress=None) -> Filled:
    """Held-out digits, each class of one hue, coloured from their grey values by a learned score of colour images.

    Control: the grey values that are imposed are those of other digits.
    """
    where = images("digits")
    paint, pixels = tinted(where), where.x.shape[1]
    grey = lambda x: (where.mean + where.scale * x).clamp(0, 1)  # noqa: E731
    train, test = paint(grey(where.x), where.y), paint(grey(where.test[:100]), where.test_y[:100])
    mean, scale = train.mean(0), float(train.std())
    train, test = (train - mean) / scale, (test - mean) / scale
    sde = SDES[setting.sde]()
    score = train_score(
        sde, train, seeds=seeds, steps=setting.training, width=setting.width, batch=128, progress=progress
    )
    basis, known = score_sde.grey_basis(pixels)
    turned = (test.roll(1, 0) if control else test) @ basis
    observed = Observed(known, turned.expand(len(seeds), -1, -1).float(), basis.float())
    options = {"seeds": seeds, "steps": 2 * setting.steps, "dtype": torch.float32}
    made = score_sde.draw(score, sde, len(test), 3 * pixels, observed=observed, **options).x.double()
    free = score_sde.draw(score, sde, len(test), 3 * pixels, **options).x.double()
    nearest = torch.cdist(turned[:, known], (train @ basis)[:, known]).argmin(1)
    oracle = train[nearest].expand(len(seeds), -1, -1)
    chroma = lambda x: (x @ basis)[..., ~known]  # noqa: E731
    gap = lambda x: (chroma(x) - chroma(test)).square().mean((1, 2))  # noqa: E731
    arms = {"coloured": made, "nearest training digit": oracle, "unconditional": free}
    rgb = lambda x: (mean + scale * x).clamp(0, 1).reshape(-1, 3, pixels)  # noqa: E731
    shown = {
        "grey": rgb(test).mean(1, keepdim=True).expand(-1, 3, -1)[:10],
        "coloured": rgb(made[0])[:10],
        "true": rgb(test)[:10],
    }
    return Filled({arm: gap(x) for arm, x in arms.items()}, shown)


@study.remembered()
def _bits(setting, *, seeds, data=None, control=False, progress=None) -> torch.Tensor:
    where = images(setting.images) if data is None else images_of(data)
    score, generator = learned(setting, where, seeds, progress), torch.Generator().manual_seed(0)
    x = where.test[: min(setting.items, 200)].double()
    x = x + torch.rand(x.shape, generator=generator, dtype=torch.float64) / (where.levels * where.scale)  # dequantized
    many = x.expand(len(seeds), -1, -1)
    found, _ = samplers.log_likelihood(score, score.sde, many, probes=1, rtol=1e-3, atol=1e-3)
    return score_sde.bits_per_dimension(found.mean(1), x.shape[1], where.levels, 1 / where.scale)


def bits(setting, *, seeds, data=None) -> torch.Tensor:
    """Bits a dimension (seeds,) of held-out images, uniformly dequantized, by the flow with one Rademacher probe."""
    return _bits(setting, seeds=seeds, data=data)


@dataclass(frozen=True, eq=False)
class Walk:
    """Particles on their way back from noise: paths (frames, items, 2) of the reverse process and of the flow at ``times``, and the
    exact law ``truth`` they are driven by."""

    reverse: torch.Tensor
    flow: torch.Tensor
    times: torch.Tensor
    truth: GaussianMixture
    sde: str
    evaluations: dict[str, int]

    def field(self, frame: int, cells: int = 48, arrows: int = 13):
        """Axis (cells,), log density (cells, cells), places (arrows^2, 2) and directions of the score at a frame."""
        t, sde = self.times[frame], SDES[self.sde]()
        m, s = sde.mean(t), sde.std(t)
        reach = float(torch.maximum(self.reverse[frame].abs().max(), self.flow[frame].abs().max())) * 1.05
        axis = torch.linspace(-reach, reach, cells, dtype=torch.float64)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        few = torch.linspace(-0.92 * reach, 0.92 * reach, arrows, dtype=torch.float64)
        places = torch.cartesian_prod(few, few)
        score = self.truth.score(places, m, s)
        ahead = score / score.norm(dim=1, keepdim=True).clamp_min(1e-12) * (reach / arrows)
        return axis, self.truth.log_density(torch.stack([x, y], -1), m, s), places, ahead


def walk(
    sde: str = "VP", points=None, *, width: float = 0.2, items: int = 400, steps: int = 120, frames: int = 40
) -> Walk:
    """The reverse process and the flow with the exact score of the ring, or of a kernel density of own ``points`` (items, 2).

    Args:
        width: of the kernels, in standard deviations of the points.
    """
    process = SDES[sde]()
    truth = GaussianMixture.ring(std=width)
    if points is not None:
        x = checks.tensor("points", points).double()
        if x.ndim != 2 or x.shape[1] != 2 or not 2 <= len(x) <= 2000:
            raise ValueError(f"points must be 2 to 2,000 rows of 2 columns, got shape {tuple(x.shape)}")
        x = (x - x.mean(0)) / (x - x.mean(0)).square().mean().sqrt().clamp_min(1e-12)
        truth = GaussianMixture(x, width)
    score = truth.at(process)
    back = score_sde.draw(score, process, items, 2, steps=steps, frames=frames)
    start = back.path[0]
    along = samplers.flow(score, process, start, rtol=1e-4, atol=1e-4, frames=frames + 1)
    rows = [int((back.times - t).abs().argmin()) for t in along.times]
    calls = {"reverse process": back.evaluations, "probability flow": along.evaluations}
    return Walk(back.path[rows, 0], along.path[:, 0], along.times, truth, sde, calls)
