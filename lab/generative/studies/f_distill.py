"""f-distillation measured: Gaussian students with exact gradients, a critic beside the exact ratio, digits in one evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from lab import study
from lab.claims import tunes
from lab.generative import f_distill as fd
from lab.generative import quality
from lab.generative.f_distill import DIVERGENCES, AffineGenerator, RatioNormalizer
from lab.generative.mixtures import GaussianMixture
from lab.generative.one_step import Networks, OneStep, train_denoiser
from lab.generative.samplers import Noise, grid, kernel
from lab.generative.scores import stacked
from lab.generative.sdes import VP
from lab.generative.studies.common import Images, Kept, images, images_of, points_of
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

KINDS = tuple(DIVERGENCES)
FRAMES = 20
COMPONENTS = 16  # principal components of images in which Frechet distances are taken
RATES = (3e-4, 1e-3, 3e-3)
EVALUATIONS = 100  # of the teacher of digits, a sample


class Setting(study.Setting):
    """Gaussian students of mixtures at several ranges of noise, and networks that draw digits in one evaluation."""

    teacher: Literal["pair", "square"] = Field("pair", title="Teacher")
    distance: float = Field(3.0, ge=0.5, le=10.0, title="Distance of the modes from the centre")
    ranges: tuple[float, ...] = Field((0.5, 2.0, 10.0), title="Largest noise levels")
    steps: int = Field(1000, ge=10, le=100_000, title="Steps of the Gaussian students")
    batch: int = Field(256, ge=8, le=10_000, title="Samples per step")
    rate: float = Field(
        0.02, gt=0.0, le=1.0, title="Learning rate of the Gaussian students", json_schema_extra={"step": 0.005}
    )
    images: Literal["digits", "mnist"] = Field("digits", title="Images")
    training: int = Field(800, ge=2, le=500_000, title="Training steps of teachers and critics")
    distillation: int = Field(500, ge=10, le=1_000_000, title="Steps of the distillation")
    width: int = Field(128, ge=8, le=2048, title="Width of the networks")
    items: int = Field(500, ge=20, le=20_000, title="Samples")

    PROFILES: ClassVar = {
        "smoke": {"steps": 20, "batch": 32, "training": 10, "distillation": 10, "width": 16, "items": 60},
        "full": {
            "steps": 20_000, "batch": 512, "rate": 0.002, "images": "mnist", "training": 50_000, "distillation": 100_000,
            "width": 1024, "items": 5000,
        },
    }  # fmt: skip


def teacher_of(name: str, distance: float, std: float = 0.5) -> GaussianMixture:
    """Two Gaussians on a line or four in the plane, ``distance`` from 0 in each coordinate."""
    if name == "pair":
        return GaussianMixture(torch.tensor([[-distance], [distance]], dtype=torch.float64), std)
    return GaussianMixture(distance * torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]], dtype=torch.float64), std)


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Gaussian students. ``shift`` (frames, divergences, ranges, seeds, d) and ``factor`` (..., d, d) over the training;
    ``coverage`` (divergences, ranges, seeds): exp of the entropy of the modes hit over their number; on students before training,
    (divergences, seeds): ``variance`` of h and ``emphasis``, correlation of h with the teacher's density. ``means``, ``stds``,
    ``weights`` of the teacher; ``ranges``, the largest noise levels."""

    shift: torch.Tensor
    factor: torch.Tensor
    coverage: torch.Tensor
    variance: torch.Tensor
    emphasis: torch.Tensor
    means: torch.Tensor
    stds: torch.Tensor
    weights: torch.Tensor
    ranges: tuple[float, ...]

    @property
    def teacher(self) -> GaussianMixture:
        return GaussianMixture(self.means, self.stds, self.weights)

    def student(self, kind: str, high: int = 0, seed: int = 0, frame: int = -1) -> AffineGenerator:
        """The student of a divergence at one range of noise, for one seed, at one frame of its training."""
        place = (frame, KINDS.index(kind), high, seed)
        return AffineGenerator(self.shift[place], self.factor[place])

    def densities(self, kind: str, high: int = 0, seed: int = 0, frame: int = -1, points: int = 400):
        """Points of a line, the teacher's density and the student's there; for one dimension."""
        spread = float((self.means - self.means.mean(0)).abs().max() + 4 * self.stds.max())
        x = float(self.means.mean()) + torch.linspace(-1.3, 1.3, points, dtype=torch.float64)[:, None] * spread
        return x[:, 0], self.teacher.log_density(x).exp(), self.student(kind, high, seed, frame).noised(x)[0].exp()

    def covered(self, kind: str, high: int = 0, seed: int = 0, frame: int = -1) -> float:
        """Share of the teacher's mass, in one dimension, where the student has at least a tenth of the teacher's density."""
        _, p, q = self.densities(kind, high, seed, frame, 4000)
        return float((p * (q >= 0.1 * p)).sum() / p.sum())

    def to_frame(self):
        """One row a divergence: coverage by range of noise, mean over seeds, and the variance of its weights."""
        import pandas as pd

        mean = self.coverage.mean(-1)
        rows = {f"coverage, noise to {high:g}": mean[:, k].tolist() for k, high in enumerate(self.ranges)}
        return pd.DataFrame({"divergence": KINDS, **rows, "variance of h": self.variance.mean(1).tolist()})


@study.remembered(size=16)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Students of all divergences, ranges of noise and seeds. ``data``: samples in one column or two, whose kernel density is the
    teacher; noise, starts and rate are then scaled by a third of their deviation.

    Control: the ratio inverted, student over teacher.
    """
    law = teacher_of(setting.teacher, setting.distance) if data is None else fd.kernel_density(points_of(data, 2))
    scale = 1.0 if data is None else float((law.means - law.means.mean(0)).square().mean().sqrt()) / 3
    steps = fd.fit_affine(
        law, KINDS, high=[scale * high for high in setting.ranges], steps=setting.steps, rate=scale * setting.rate,
        batch=setting.batch, seeds=seeds, start=scale, scale=1.5 * scale, frames=FRAMES, inverted=bool(control), progress=progress,
    )  # fmt: skip
    shift, factor = torch.stack([one.shift for one in steps]), torch.stack([one.factor for one in steps])
    noise, shape = Noise([seed + 10_000 for seed in seeds]), shift.shape[1:4]
    z = noise(1000, law.dimension)
    x = steps[-1](z.expand(*shape, *z.shape[1:]))
    coverage = quality.class_coverage(law.responsibilities(x).argmax(-1), len(law.means))
    first = AffineGenerator(shift[0, 0, 0], factor[0, 0, 0])
    std, e = scale * setting.ranges[0] * 50 ** (noise.uniform(1000) - 1), noise(1000, law.dimension)
    x = first(z) + std[..., None] * e
    log_p = law.log_density(x, 1.0, std)
    log_r = log_p - first.noised(x, 1.0, std)[0]
    h = torch.stack([fd.f_weight(kind, torch.exp(-log_r if control else log_r)) for kind in KINDS])
    if bool((h < 0).any()):
        raise ArithmeticError("weights of a convex f are never below 0")
    p = log_p.exp()
    off, away = h - h.mean(-1, keepdim=True), p - p.mean(-1, keepdim=True)
    emphasis = (off * away).mean(-1) / (h.std(-1) * p.std(-1)).clamp_min(1e-12)
    return Result(shift, factor, coverage, h.var(-1), emphasis, law.means, law.stds, law.weights, setting.ranges)


@dataclass(frozen=True, eq=False)
class Ratios(Kept):
    """A critic's log ratio beside the ``exact`` one at noised samples of a student, (seeds, items), at times ``t``; ``explained``
    (seeds,), share of the clipped log ratio's variance; ``error`` {stages: (divergences, seeds)} of weights, mean |h - exact h|,
    after the second stage of normalization alone and after both."""

    learned: torch.Tensor
    exact: torch.Tensor
    t: torch.Tensor
    explained: torch.Tensor
    error: dict[str, torch.Tensor]


@study.remembered()
def ratios(setting, *, seeds, data=None, control=False, progress=None) -> Ratios:
    """Controls: ``"clean"`` trains the critic on samples without noise, ``"mixed"`` takes means of bins for other items' times."""
    law, sde, low = teacher_of("pair", 0.97, 0.25), VP(), fd.TIMES
    student = AffineGenerator(torch.tensor([0.3]).double(), torch.tensor([[0.8]]).double())
    critic = Networks(stacked(1, 1, seeds, 64, 2), sde)
    real = lambda n, noise: torch.stack([law.sample(n, one) for one in noise.generators]).float()  # noqa: E731
    fake = lambda n, noise: student(noise(n, 1).double()).float()  # noqa: E731
    fd.train_critic(critic, real, fake, seeds=seeds, steps=setting.training, clean=control == "clean")
    noise = Noise([seed + 10_000 for seed in seeds])
    u, z, e = noise.uniform(2000), noise(2000, 1), noise(2000, 1)
    t = low[0] + (low[1] - low[0]) * u
    x, mean, std = sde.noised(student(z), t, e), sde.mean(t), sde.std(t)
    exact = law.log_density(x, mean, std) - student.noised(x, mean, std)[0]
    with torch.no_grad():
        learned = critic(x, t)[..., 0]
    found, wanted, at = fd.critic_ratio(learned), fd.critic_ratio(exact), u.roll(1000, 1) if control == "mixed" else u
    error: dict[str, list] = {"second stage": [], "both stages": []}
    for kind in KINDS:
        true = fd.normalized_weight(kind, wanted, u, None)
        for name, bins in (("second stage", None), ("both stages", RatioNormalizer())):
            error[name].append((fd.normalized_weight(kind, found, at, bins) - true).abs().mean(-1))
    missed = (found.log() - wanted.log()).square().mean(-1)
    explained = 1 - missed / wanted.log().var(-1)
    return Ratios(learned, exact, t, explained, {name: torch.stack(rows) for name, rows in error.items()})


@dataclass(frozen=True, eq=False)
class Pictures(Kept):
    """Images of classes asked for, by arm: the teacher with many evaluations, its denoiser used once, and one student a divergence.

    ``distance`` Frechet in principal components of held-out images, ``recognized`` mean probability that a classifier gives the
    class asked for, ``coverage`` exp of the entropy of its mean probabilities over the number of classes, each {arm: (seeds,)};
    ``floor`` (seeds,) the distance of training images; ``evaluations`` {arm: number}; ``samples`` {arm: (classes, d)} of the first
    seed, standardized, of ``shape``."""

    distance: dict[str, torch.Tensor]
    recognized: dict[str, torch.Tensor]
    coverage: dict[str, torch.Tensor]
    floor: torch.Tensor
    evaluations: dict[str, int]
    samples: dict[str, torch.Tensor]
    shape: tuple[int, ...]

    def to_frame(self):
        """One row an arm."""
        import pandas as pd

        columns = {"Frechet distance": self.distance, "recognized": self.recognized, "class coverage": self.coverage}
        rows = {name: [float(v.mean()) for v in values.values()] for name, values in columns.items()}
        spread = [float(v.std()) if len(v) > 1 else float("nan") for v in self.distance.values()]
        counts = [self.evaluations[arm] for arm in self.distance]
        return pd.DataFrame(
            {"arm": list(self.distance), "evaluations": counts, **rows, "spread of the distance": spread}
        )


def ancestral(teacher: Networks, y: torch.Tensor, seeds, steps: int = EVALUATIONS - 1) -> torch.Tensor:
    """Samples (seeds, items, d) of classes ``y`` (seeds, items) by DDPM's chain, steps + 1 evaluations each."""
    noise, times = Noise(seeds, torch.float32), grid(VP(), steps).float()
    d = int(teacher.stack.template.last.out_features)  # type: ignore[arg-type, union-attr]
    with torch.no_grad():
        x = noise(y.shape[1], d)
        for now, after in zip(times[:-1], times[1:]):
            mean, std = kernel(teacher.sde, x, teacher.denoised(x, now, y), now, after)
            x = mean + std * noise(y.shape[1], d)
        return teacher.denoised(x, times[-1], y)


@lru_cache(maxsize=2)
def _teacher(setting: Setting, where: Images, seeds: tuple[int, ...]) -> Networks:
    return train_denoiser(
        where.x, where.y, classes=where.classes, seeds=seeds, steps=setting.training, width=setting.width, batch=128
    )


def _frechet(where: Images, x: torch.Tensor) -> torch.Tensor:
    centred = where.x.double() - where.x.double().mean(0)
    basis = torch.linalg.svd(centred, full_matrices=False)[2][:COMPONENTS].T
    return quality.frechet(x.double() @ basis, where.test.double() @ basis)


@study.remembered()
def pictures(setting, *, seeds, data=None, control=False, progress=None) -> Pictures:
    """Class-conditional students of all divergences beside their teacher. ``data``: a folder of class folders, as loaded.

    Controls: ``"inverted"`` takes student over teacher, ``"one class"`` asks for the first class alone.
    """
    where = images(setting.images) if data is None else images_of(data)
    teacher = _teacher(setting, where, tuple(seeds))
    rates = list(chosen("f_distill", "digits", {kind: RATES for kind in KINDS}).values())
    students = fd.distill_networks(
        teacher, teacher, where.x, where.y, kinds=KINDS, seeds=seeds, steps=setting.distillation, rate=rates,
        inverted=control == "inverted", progress=progress,
    )  # fmt: skip
    asked = (torch.arange(setting.items) % where.classes).expand(len(seeds), -1)
    given = torch.zeros_like(asked) if control == "one class" else asked
    made = {
        "teacher": ancestral(teacher, given, seeds),
        "its denoiser once": OneStep(teacher, ("",)).sample(setting.items, seeds, given)[0],
    }
    made |= dict(zip(KINDS, students.sample(setting.items, seeds, given.repeat(len(KINDS), 1))))
    seen = {arm: where.judge(x).double() for arm, x in made.items()}
    share = {arm: v.gather(-1, asked[..., None]).mean((-2, -1)) for arm, v in seen.items()}
    halves = [
        where.x[torch.randperm(len(where.x), generator=torch.Generator().manual_seed(s))[: setting.items]]
        for s in seeds
    ]
    spread = {arm: torch.special.entr(v.mean(-2)).sum(-1).exp() / where.classes for arm, v in seen.items()}
    return Pictures(
        {arm: _frechet(where, x) for arm, x in made.items()}, share, spread, _frechet(where, torch.stack(halves)),
        {arm: EVALUATIONS if arm == "teacher" else 1 for arm in made}, {arm: x[0, : where.classes] for arm, x in made.items()},
        where.shape,
    )  # fmt: skip


@tunes("f_distill")
def tune_rates(progress=None) -> None:
    """The students' learning rate for each divergence, by Frechet distance on digits after the default distillation."""
    setting, seeds = Setting.of(), TUNING_SEEDS[:2]
    where = images(setting.images)
    teacher = _teacher(setting, where, seeds)
    y = (torch.arange(setting.items) % where.classes).expand(len(seeds) * len(KINDS), -1)
    found = []
    for place, rate in enumerate(RATES):
        students = fd.distill_networks(
            teacher, teacher, where.x, where.y, kinds=KINDS, seeds=seeds, steps=setting.distillation, rate=rate
        )
        found.append(-_frechet(where, students.sample(setting.items, seeds, y)))
        if progress is not None:
            progress(place + 1, len(RATES))
    table = torch.stack(found).numpy()  # settings, divergences, seeds
    scores = lambda arm, settings, _: np.stack([table[RATES.index(one), KINDS.index(arm)] for one in settings])  # noqa: E731
    record("f_distill", tune("digits", {kind: RATES for kind in KINDS}, scores, seeds=seeds))
