"""Value-based decoding measured: points whose tilted law is known, sequences whose law is a table, digits, DNA, RNA, molecules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from lab import study
from lab.claims import tunes
from lab.generative import masked, quality, samplers, svdd
from lab.generative.designs import MOTIF as MOTIF
from lab.generative.designs import base_pairs as base_pairs
from lab.generative.designs import group_logp as group_logp
from lab.generative.designs import motif_score as motif_score
from lab.generative.designs import names_of as names_of
from lab.generative.designs import png_bytes as png_bytes
from lab.generative.designs import sequences_of as sequences_of
from lab.generative.mixtures import GaussianMixture
from lab.generative.scores import train_score
from lab.generative.sdes import VP
from lab.generative.studies.common import Kept, images, table
from lab.training.comparison import chosen, record, tune

DOMAINS = ("points", "staircase", "ink", "png", "dna", "rna", "molecules")
ARMS = {"TDS": (0.03, 0.1, 0.3, 1.0), "DPS": (1.0, 3.0, 10.0, 30.0)}  # temperature of the filter, scale of the gradient


class Setting(study.Setting):
    """A frozen model of points, digits or sequences, steered at sampling time."""

    domain: Literal["points", "staircase", "ink", "png", "dna", "rna", "molecules"] = Field(
        "staircase", title="Domain and reward"
    )
    candidates: int = Field(10, ge=1, le=100, title="Candidates a step (M)")
    alpha: float = Field(0.0, ge=0.0, le=5.0, title="Temperature α", json_schema_extra={"step": 0.05})
    items: int = Field(100, ge=4, le=5000, title="Samples")
    steps: int = Field(50, ge=21, le=1000, title="Steps of a continuous model")
    training: int = Field(1500, ge=5, le=200_000, title="Training steps of the frozen model")
    width: int = Field(128, ge=8, le=2048, title="Width of the frozen model")

    PROFILES: ClassVar = {
        "smoke": {"items": 8, "steps": 22, "training": 20, "width": 16, "candidates": 4},
        "full": {"items": 1000, "steps": 500, "training": 30_000, "width": 512, "candidates": 20},
    }


@dataclass(frozen=True, eq=False)
class Domain:
    """A frozen chain, a reward of finished samples (..., d), log-likelihoods under the frozen model, and real data."""

    chain: svdd.Chain
    reward: svdd.Reward
    likelihood: Callable[[torch.Tensor], torch.Tensor]
    smooth: bool
    unit: str


def staircase(x: torch.Tensor) -> torch.Tensor:
    """floor(4 y) / 4: no gradient almost everywhere."""
    return torch.floor(4 * x[..., 1]) / 4


@lru_cache(maxsize=16)
def domain(name: str, steps: int = 50, training: int = 1500, width: int = 128) -> Domain:
    """The frozen model of a domain; those of digits and sequences are trained once a process, with seed 0."""
    if name in ("points", "staircase"):
        truth = ring()
        reward = staircase if name == "staircase" else (lambda x: x[..., 1])
        return Domain(
            svdd.Diffusion(truth.denoiser(VP()), VP(), 2, steps), reward, truth.log_density, name == "points", "y"
        )
    if name in ("ink", "png"):
        where = images("digits")
        score = train_score(VP(), where.x, steps=training, width=width, batch=128)

        def denoise(x, t):  # one network for all seeds
            return score.denoised(x.flatten(0, 1)[None], t)[0].reshape(x.shape)

        def likelihood(x):
            flat = x.reshape(1, -1, x.shape[-1])[:, :40].float()
            coarse = 5e-2 if training >= 100 else 0.5  # the flow of a network that was hardly trained is stiff
            found, _ = samplers.log_likelihood(score, VP(), flat, rtol=coarse, atol=coarse, probes=1, start=1e-2)
            return found[0]

        pixels = lambda x: where.mean + where.scale * x  # noqa: E731
        ink = lambda x: pixels(x).clamp(0, 1).mean(-1)  # noqa: E731
        reward = ink if name == "ink" else (lambda x: -png_bytes(pixels(x), 8))
        chain = svdd.Diffusion(denoise, VP(), 64, steps, torch.float32)
        return Domain(chain, reward, likelihood, name == "ink", "mean pixel" if name == "ink" else "bytes")
    x, tokens = sequences_of(name)
    denoiser = masked.train_denoiser(x, tokens, steps=training, width=width)
    reward = {"dna": lambda x: motif_score(x, MOTIF), "rna": base_pairs, "molecules": group_logp}[name]
    unit = {"dna": "nats", "rna": "pairs", "molecules": "log P"}[name]
    likelihood = lambda x: masked.log_likelihood(denoiser, x.reshape(-1, x.shape[-1])[:200], tokens)  # noqa: E731
    with torch.no_grad():
        return Domain(svdd.Masked(_frozen(denoiser), tokens, x.shape[1]), reward, likelihood, False, unit)


def _frozen(denoiser):
    @torch.no_grad()
    def call(x):
        return denoiser(x)

    return call


def ring() -> GaussianMixture:
    """Eight Gaussians of deviation 0.12 on a circle of radius 1.5."""
    return GaussianMixture.ring(8, 1.5, 0.12)


def tilted(truth: GaussianMixture, alpha: float) -> GaussianMixture:
    """The law proportional to p(x) exp(y / alpha) in closed form: a mixture with moved means and other weights."""
    lift = torch.tensor([0.0, 1.0], dtype=torch.float64)
    means = truth.means + truth.stds[:, None] ** 2 * lift / alpha
    log = truth.weights.log() + truth.means[:, 1] / alpha + 0.5 * truth.stds**2 / alpha**2
    return GaussianMixture(means, truth.stds, (log - log.max()).exp().clamp_min(1e-300))


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Every way to steer one model. ``reward`` {arm: (seeds, items)}, ``natural`` {arm: number} mean log-likelihood under
    the frozen
    model, ``samples`` {arm: (items, d)} of the first seed, ``calls`` {arm: denoiser calls a sample}; ``unit`` of the reward."""

    reward: dict[str, torch.Tensor]
    natural: dict[str, float]
    samples: dict[str, torch.Tensor]
    calls: dict[str, int]
    unit: str

    def mean(self, arm: str) -> torch.Tensor:
        """Mean reward of an arm, a seed at a time."""
        return self.reward[arm].mean(-1)

    def to_frame(self):
        """One row an arm: mean reward, its spread over seeds, median, log-likelihood, cost."""
        found = table({arm: self.mean(arm) for arm in self.reward}, f"mean reward ({self.unit})")
        found["median"] = [float(self.reward[arm].median()) for arm in found["arm"]]
        found["log-likelihood"] = [self.natural[arm] for arm in found["arm"]]
        found["denoiser calls"] = [self.calls[arm] for arm in found["arm"]]
        return found


@study.remembered(size=16)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """All arms on one domain. ``data``: a reward function of the user's own, called with samples (..., d).

    Controls: ``"permuted"`` gives the candidates the values of others, ``"one"`` takes the frozen model in the place of the method.
    """
    where = domain(setting.domain, setting.steps, setting.training, setting.width)
    chain, reward, m = where.chain, data if callable(data) else where.reward, setting.candidates
    value = svdd.posterior_mean_value(chain, reward)
    fitted = svdd.monte_carlo_value(chain, reward, steps=max(20, setting.training // 3))
    used, wanted = value, 1 if control == "one" else m
    if control == "permuted":
        used = lambda x, step: value(x, step).roll(1, 1)  # noqa: E731
    shared = {"items": setting.items, "seeds": seeds}
    size = lambda found: float(reward(found).std().clamp_min(1e-6))  # noqa: E731
    base = svdd.decode(chain, value, candidates=1, **shared)
    unit, temperature = size(base), _tuned(setting, "TDS")
    arms = {
        "frozen model": base,
        f"best of {m}": svdd.best_of(chain, reward, count=m, **shared),
        "SVDD, posterior mean": svdd.decode(chain, used, candidates=wanted, alpha=setting.alpha * unit, **shared),
        "SVDD, Monte Carlo": svdd.decode(chain, fitted, candidates=m, alpha=setting.alpha * unit, **shared),
        "TDS": svdd.twisted(chain, value, particles=m, alpha=temperature * unit, **shared),
    }
    if where.smooth and isinstance(chain, svdd.Diffusion):
        arms["DPS"] = svdd.guided(chain, reward, scale=_tuned(setting, "DPS") / unit, **shared)
    steps = chain.steps
    calls = {
        arm: steps * (2 * m if arm.startswith(("SVDD, post", "TDS")) else m if "best" in arm else 1) for arm in arms
    }
    calls["SVDD, Monte Carlo"] = steps * m
    natural = {arm: float(where.likelihood(x).mean()) for arm, x in arms.items()}
    return Result(
        {arm: reward(x).double() for arm, x in arms.items()},
        natural,
        {arm: x[0] for arm, x in arms.items()},
        calls,
        where.unit,
    )


def _tuned(setting, arm: str) -> float:
    return chosen(
        "svdd", setting.domain if setting.domain in ("points", "ink") or arm == "TDS" else "points", {arm: ARMS[arm]}
    )[arm]


@tunes("svdd")
def tune_baselines(progress=None) -> None:
    """Temperature of the particle filter and scale of the gradient, by mean reward, for each domain where they run."""
    found = []
    for place, name in enumerate(DOMAINS):
        setting = Setting.of(domain=name)
        where = domain(name, setting.steps, setting.training, setting.width)
        value = svdd.posterior_mean_value(where.chain, where.reward)

        def scores(arm, settings, seeds, where=where, value=value):
            shared = {"items": 20, "seeds": seeds}
            unit = float(where.reward(svdd.decode(where.chain, value, candidates=1, **shared)).std().clamp_min(1e-6))
            make = {
                "TDS": lambda a: svdd.twisted(where.chain, value, particles=10, alpha=a * unit, **shared),
                "DPS": lambda a: svdd.guided(where.chain, where.reward, scale=a / unit, **shared),
            }[arm]
            return np.stack([where.reward(make(one)).double().mean(-1).numpy() for one in settings])

        arms = ARMS if where.smooth else {"TDS": ARMS["TDS"]}
        found.append(tune(name, arms, scores))
        if progress is not None:
            progress(place + 1, len(DOMAINS))
    record("svdd", *found)


@dataclass(frozen=True, eq=False)
class Tilted(Kept):
    """Samples beside a tilted law that is known. ``distance`` {arm: (seeds,)}: sliced Wasserstein for points, total
    variation of the
    histogram of rewards for sequences; ``floor`` (seeds,) that of exact samples; ``shown`` the first seed's points or
    histograms."""

    distance: dict[str, torch.Tensor]
    floor: torch.Tensor
    shown: dict[str, torch.Tensor]


@study.remembered(size=16)
def tilted_points(setting, *, seeds, data=None, control=False, progress=None) -> Tilted:
    """Points with reward y: SVDD at alpha > 0, the filter and the gradient beside exact draws of the tilted law."""
    where, alpha, truth = domain("points", setting.steps), setting.alpha or 0.5, ring()
    assert isinstance(where.chain, svdd.Diffusion)
    value = svdd.posterior_mean_value(where.chain, where.reward)
    shared = {"items": setting.items, "seeds": seeds}
    law = tilted(truth, alpha)
    arms = {
        "frozen model": svdd.decode(where.chain, value, candidates=1, **shared),
        "SVDD": svdd.decode(where.chain, value, candidates=1 if control else setting.candidates, alpha=alpha, **shared),
        "SVDD, alpha = 0": svdd.decode(where.chain, value, candidates=setting.candidates, **shared),
        "TDS": svdd.twisted(where.chain, value, particles=setting.candidates, alpha=alpha, **shared),
        "DPS": svdd.guided(where.chain, where.reward, scale=1 / alpha, **shared),
    }
    held, fresh = (torch.stack([law.sample(setting.items, k + seed) for seed in seeds]) for k in (3000, 4000))
    between = lambda x: quality.sliced_wasserstein(x, held, 128)  # noqa: E731
    shown = {"exact tilted law": held[0], **{arm: x[0] for arm, x in arms.items()}}
    return Tilted({arm: between(x) for arm, x in arms.items()}, between(fresh), shown)


def points_density(setting, *, seeds) -> torch.Tensor:
    """Mean log density (seeds,) under the frozen model of points steered to large y at the setting's temperature."""
    where = domain("points", setting.steps)
    value = svdd.posterior_mean_value(where.chain, where.reward)
    shared = {"items": setting.items, "candidates": setting.candidates, "alpha": setting.alpha, "seeds": seeds}
    return where.likelihood(svdd.decode(where.chain, value, **shared)).mean(-1)


def against_best_of(setting, *, seeds, equal: str = "denoiser", control: bool = False) -> tuple[torch.Tensor, dict]:
    """Mean reward (seeds,) of SVDD less that of the best of N at equal cost: N = 2 M finished samples at equal calls of the
    denoiser,
    T M at equal calls of the reward."""
    where, m = domain(setting.domain, setting.steps, setting.training, setting.width), setting.candidates
    value = svdd.posterior_mean_value(where.chain, where.reward)
    shared = {"items": setting.items, "seeds": seeds}
    count = 2 * m if equal == "denoiser" else where.chain.steps * m
    made = svdd.decode(where.chain, value, candidates=1 if control else m, **shared)
    best = svdd.best_of(where.chain, where.reward, count=count, **shared)
    means = [where.reward(x).double().mean(-1) for x in (made, best)]
    return means[0] - means[1], {"SVDD": float(means[0].mean()), f"best of {count}": float(means[1].mean())}


def motifs(x: torch.Tensor) -> torch.Tensor:
    """The number of disjoint 1 0 1 in binary sequences (..., L), counted from the left."""
    count, wait = torch.zeros(x.shape[:-1], dtype=torch.long), torch.zeros(x.shape[:-1], dtype=torch.long)
    for k in range(x.shape[-1] - 2):
        found = (wait == 0) & (x[..., k] == 1) & (x[..., k + 1] == 0) & (x[..., k + 2] == 1)
        count, wait = count + found, torch.where(found, 2, (wait - 1).clamp_min(0))
    return count.double()


@lru_cache(maxsize=2)
def binary(length: int = 12) -> tuple[masked.Enumerated, torch.Tensor]:
    """A Markov chain of bits and the reward of all its sequences."""
    start, step = torch.tensor([0.5, 0.5]), torch.tensor([[0.7, 0.3], [0.4, 0.6]])
    law = masked.Enumerated(masked.markov(start, step, length), 2, length)
    return law, motifs(law.sequences())


@study.remembered(size=8)
def tilted_sequences(setting, *, seeds, data=None, control=False, progress=None) -> Tilted:
    """Bits with the exact soft value, and with the posterior-mean value, beside the exact histogram of rewards.

    Control: values of other states.
    """
    alpha, (law, rewards) = setting.alpha or 0.5, binary()
    chain = svdd.Masked(law, 2, law.length)
    soft = law.expectation(torch.exp(rewards / alpha))
    exact = lambda x, step: alpha * soft(x).log()  # noqa: E731
    used = (lambda x, step: exact(x, step).roll(1, 1)) if control else exact
    count = 20 * setting.items
    shared = {"items": count, "seeds": seeds}
    levels = int(rewards.max()) + 1
    weight = law.table * torch.exp(rewards / alpha)
    target = torch.zeros(levels, dtype=torch.float64).index_add(0, rewards.long(), weight / weight.sum())
    histogram = lambda x: torch.nn.functional.one_hot(motifs(x).long(), levels).double().mean(-2)  # noqa: E731
    arms = {
        "frozen model": svdd.decode(chain, exact, candidates=1, **shared),
        "SVDD, exact value": svdd.decode(chain, used, candidates=setting.candidates, alpha=alpha, **shared),
        "SVDD, posterior mean": svdd.decode(
            chain, svdd.posterior_mean_value(chain, motifs), candidates=setting.candidates, alpha=alpha, **shared
        ),
    }
    draws = [torch.multinomial(target, count, True, generator=torch.Generator().manual_seed(s)) for s in seeds]
    fresh = torch.nn.functional.one_hot(torch.stack(draws), levels).double().mean(-2)
    shown = {"exact tilted law": target, **{arm: histogram(x)[0] for arm, x in arms.items()}}
    variation = lambda h: 0.5 * (h - target).abs().sum(-1)  # noqa: E731
    return Tilted({arm: variation(histogram(x)) for arm, x in arms.items()}, variation(fresh), shown)


def sweep(
    setting, counts=(1, 2, 5, 10, 20), alphas=(0.0, 0.1, 0.5), seeds=(0,)
) -> dict[tuple[float, int], tuple[float, float]]:
    """Mean reward and mean log-likelihood on a domain for each temperature (in deviations of the reward) and number of
    candidates."""
    where = domain(setting.domain, setting.steps, setting.training, setting.width)
    value = svdd.posterior_mean_value(where.chain, where.reward)
    base = svdd.decode(where.chain, value, items=setting.items, candidates=1, seeds=seeds)
    unit, found = float(where.reward(base).std().clamp_min(1e-6)), {}
    for alpha in alphas:
        for m in counts:
            x = svdd.decode(where.chain, value, items=setting.items, candidates=m, alpha=alpha * unit, seeds=seeds)
            found[alpha, m] = float(where.reward(x).double().mean()), float(where.likelihood(x).mean())
    return found


REWARDS: dict[str, svdd.Reward] = {
    "height": lambda x: x[..., 1],
    "staircase": staircase,
    "inside a disc": lambda x: ((x - torch.tensor([1.0, 1.0])).norm(dim=-1) < 0.6).double(),
}


@dataclass(frozen=True, eq=False)
class Steered:
    """A cloud before and after: points (items, 2) and their rewards and log densities {"frozen", "steered"}; on a grid
    ``axis`` the log
    of the tilted density, up to a constant."""

    points: dict[str, torch.Tensor]
    reward: dict[str, torch.Tensor]
    density: dict[str, torch.Tensor]
    axis: torch.Tensor
    tilted: torch.Tensor
    candidates: int
    alpha: float


def steered(reward: str, candidates: int = 10, alpha: float = 0.1, *, items: int = 400, steps: int = 60) -> Steered:
    """The ring steered by one of :data:`REWARDS`."""
    truth, r = ring(), REWARDS[reward]
    chain = svdd.Diffusion(truth.denoiser(VP()), VP(), 2, steps)
    value = svdd.posterior_mean_value(chain, r)
    made = {
        "frozen": svdd.decode(chain, value, items=items, candidates=1)[0],
        "steered": svdd.decode(chain, value, items=items, candidates=candidates, alpha=alpha)[0],
    }
    axis = torch.linspace(-2.2, 2.2, 90, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([x, y], -1)
    tilt = truth.log_density(grid) + r(grid).double() / max(alpha, 0.02)
    rewards = {name: r(x).double() for name, x in made.items()}
    density = {name: truth.log_density(x) for name, x in made.items()}
    return Steered(made, rewards, density, axis, tilt, candidates, alpha)
