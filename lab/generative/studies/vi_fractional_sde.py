"""Fractional noise inferred: Hurst indices of series, a bridge against its exact law, videos of moving digits."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from lab import datasets, study
from lab.generative import vi_fractional_sde as model
from lab.generative.latent_video import LatentVideo, fit, moving_digits
from lab.generative.studies.kept import Kept

ERROR = 0.05
HORIZON, END_ERROR, BRIDGE_STEPS = 2.0, 0.1, 80


class Setting(study.Setting):
    """Series of fractional Brownian motion, a bridge, and videos."""

    hurst: float = Field(0.7, ge=0.1, le=0.9, title="Hurst index", json_schema_extra={"step": 0.05})
    K: int = Field(5, ge=2, le=8, title="Ornstein-Uhlenbeck processes")
    kind: Literal["I", "II"] = Field("II", title="Type")
    series: int = Field(16, ge=1, le=1000, title="Series a data set")
    observations: int = Field(20, ge=8, le=500, title="Observations a series")
    iterations: int = Field(250, ge=1, le=20_000, title="Training steps of the bridge")
    paths: int = Field(32, ge=2, le=1024, title="Paths a step")
    width: int = Field(32, ge=4, le=1024, title="Width of the control")
    videos: int = Field(300, ge=10, le=60_000, title="Videos to learn from")
    video_iterations: int = Field(250, ge=1, le=100_000, title="Training steps of the video model")

    PROFILES: ClassVar = {
        "smoke": {
            "series": 8,
            "observations": 8,
            "iterations": 3,
            "paths": 8,
            "width": 8,
            "videos": 20,
            "video_iterations": 2,
        },
        "full": {
            "series": 100,
            "iterations": 2000,
            "paths": 128,
            "width": 1000,
            "videos": 60_000,
            "video_iterations": 50_000,
        },
    }


def paths_of(hurst: float, series: int, seed: int, kind: str = "II", observations: int = 20, error: float = ERROR):
    """Exact paths (series, observations) at equal times up to 1, with Gaussian errors, and the times."""
    times = torch.arange(1, observations + 1, dtype=torch.float64) / observations
    covariance = model.fractional_covariance(times, hurst, kind) + 1e-12 * torch.eye(observations)
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(2, series, observations, generator=generator, dtype=torch.float64)
    return normal[0] @ torch.linalg.cholesky(covariance).T + error * normal[1], times


def variogram_hurst(x: torch.Tensor) -> float:
    """Hurst index from the slope of log mean squared increments over log lags 1, 2, 4."""
    x = torch.cat([torch.zeros(len(x), 1, dtype=x.dtype), x], 1)
    lags = torch.tensor([1, 2, 4])
    value = torch.stack([(x[:, k:] - x[:, :-k]).square().mean().log() for k in lags.tolist()])
    t = lags.double().log() - lags.double().log().mean()
    return float((t @ value / t.square().sum() / 2).clamp(0.0, 1.0))


def likelihood_hurst(x: torch.Tensor, times: torch.Tensor, error: float = ERROR) -> float:
    """Hurst index of largest exact Gaussian likelihood of type II paths with errors, the scale fitted too."""
    from scipy import optimize

    index = lambda t: 0.03 + 0.94 / (1 + math.exp(-t))  # noqa: E731

    def loss(point):
        size = math.exp(2 * min(max(point[1], -12), 12))
        covariance = size * model.fractional_covariance(times, index(point[0]), "II") + error**2 * torch.eye(len(times))
        law = torch.distributions.MultivariateNormal(torch.zeros(len(times)).double(), covariance)
        return -float(law.log_prob(x).mean())

    start = [0.0, math.log(float(x[:, -1].square().mean().sqrt()))]
    return index(optimize.minimize(loss, start, method="Nelder-Mead", options={"xatol": 2e-3, "fatol": 1e-4}).x[0])


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """Hurst indices, (data sets,) each: true, by evidence bound, exact likelihood and variogram; seconds by estimator.

    ``bound`` (data sets,) mean evidence bound a series with the fitted index, ``ordinary`` that with H = 1/2; ``x`` (series,
    observations) the first data set; ``profile`` (indices, 2) bound over H for it.
    """

    truth: torch.Tensor
    elbo: torch.Tensor
    likelihood: torch.Tensor
    variogram: torch.Tensor
    bound: torch.Tensor
    ordinary: torch.Tensor
    seconds: dict[str, float]
    x: torch.Tensor
    profile: torch.Tensor

    def to_frame(self):
        """One row an estimator: mean absolute error and seconds a data set."""
        import pandas as pd

        found = {"evidence bound": self.elbo, "exact likelihood": self.likelihood, "variogram": self.variogram}
        rows = [
            {
                "estimator": name,
                "mean absolute error": float((v - self.truth).abs().mean()),
                "seconds": self.seconds[name],
            }
            for name, v in found.items()
        ]
        return pd.DataFrame(rows)


@study.remembered(size=24)
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Hurst index of a data set a seed. Controls: ``"shuffled"``: increments in another order; ``"ordinary"``:
    Brownian data; ``"misstated"``: the bound is told ten times the error.
    """
    index = 0.5 if control == "ordinary" else setting.hurst
    columns, seconds = [], {"evidence bound": 0.0, "exact likelihood": 0.0, "variogram": 0.0}
    first = best = None
    for place, seed in enumerate(seeds):
        x, times = (
            paths_of(index, setting.series, seed, observations=setting.observations)
            if data is None
            else (own_series(data), None)
        )
        times = torch.arange(1, x.shape[1] + 1, dtype=torch.float64) / x.shape[1] if times is None else times
        if control == "shuffled":
            steps = torch.diff(x, dim=1, prepend=torch.zeros(len(x), 1).double())
            x = steps[:, torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(seed))].cumsum(1)
        first = x if first is None else first
        began = time.perf_counter()
        std = ERROR * (10 if control == "misstated" else 1)
        fitted = model.fit_hurst(x, std=std, K=setting.K)
        best = fitted if best is None else best
        seconds["evidence bound"] += (time.perf_counter() - began) / len(seeds)
        ordinary = model.fit_hurst(x, std=ERROR, K=setting.K, H=0.5).bound
        began = time.perf_counter()
        exact = likelihood_hurst(x, times)
        seconds["exact likelihood"] += (time.perf_counter() - began) / len(seeds)
        began = time.perf_counter()
        slope = variogram_hurst(x)
        seconds["variogram"] += (time.perf_counter() - began) / len(seeds)
        columns.append((index, fitted.H, exact, slope, float(fitted.bound.mean()), float(ordinary.mean())))
        if progress is not None:
            progress(place + 1, len(seeds))
    assert first is not None  # there is at least one seed
    values = torch.tensor(columns, dtype=torch.float64).T
    grid = torch.linspace(0.1, 0.9, 17, dtype=torch.float64)
    options: dict[str, Any] = {"std": ERROR, "K": setting.K, "scale": best.scale}
    bounds = [float(model.fit_hurst(first, H=float(h), **options).bound.mean()) for h in grid]
    truth, elbo, likelihood, variogram, bound, plain = values
    return Result(
        truth, elbo, likelihood, variogram, bound, plain, seconds, first, torch.stack([grid, torch.tensor(bounds)], 1)
    )


def own_series(data) -> torch.Tensor:
    """Columns of a table as series (series, rows) that start at 0, over the deviation that Brownian motion would have at the
    end.
    """
    if not isinstance(data, datasets.Table):
        raise ValueError("data must be a table, one column a series and one row a time")
    x = torch.tensor(data.frame.select_dtypes("number").to_numpy(dtype=float)).T
    if x.shape[0] < 1 or not 8 <= x.shape[1] <= 2000 or not bool(x.isfinite().all()):
        raise ValueError(f"data must have 8 to 2000 rows of finite numbers, got {tuple(x.shape[::-1])}")
    x = (x - x[:, :1])[:, 1:]
    steps = torch.diff(x, dim=1).square().mean(1, keepdim=True).sqrt()
    return x / (steps * x.shape[1] ** 0.5).clamp_min(1e-12)


@dataclass(frozen=True, eq=False)
class Bridge(Kept):
    """Deviation curves (stack, steps + 1) of the learned bridge beside the ``exact`` one (steps + 1,); bounds (iterations,
    stack).
    """

    deviation: torch.Tensor
    exact: torch.Tensor
    times: torch.Tensor
    paths: torch.Tensor
    bounds: torch.Tensor

    def largest(self) -> torch.Tensor:
        """Largest difference of the curves over the exact maximum, (stack,)."""
        return (self.deviation - self.exact).abs().amax(1) / self.exact.max()


@study.remembered(size=12)
def bridge(setting, *, seeds, data=None, control=False, progress=None) -> Bridge:
    """Fractional Brownian motion tied to 0 at time 2 (deviation 0.1) by a network, all seeds at once.

    Control: ``"untrained"``: the prior, whose control is zero.
    """
    noise = model.Noise.of(setting.hurst, K=setting.K, horizon=HORIZON)
    net = model.NetworkControl(1, setting.K, width=setting.width, stack=len(seeds), seed=seeds[0])
    generator = torch.Generator().manual_seed(1_000 + seeds[0])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, setting.iterations, 5e-4)
    options: dict[str, Any] = {"horizon": HORIZON, "steps": BRIDGE_STEPS, "generator": generator, "control": net}
    bounds = []
    for k in range(0 if control == "untrained" else setting.iterations):
        found = model.simulate(noise, torch.zeros(len(seeds), setting.paths, 1), **options)
        end = model.log_normal(found.x[:, :, -1, 0], torch.zeros(()), END_ERROR)
        bound = (end - found.kl).mean(1)
        optimizer.zero_grad()
        (-bound.sum()).backward()
        optimizer.step()
        schedule.step()
        bounds.append(bound.detach())
        if progress is not None:
            progress(k + 1, setting.iterations)
    with torch.no_grad():
        found = model.simulate(noise, torch.zeros(len(seeds), 1000, 1), **options)
    times = torch.linspace(0, HORIZON, BRIDGE_STEPS + 1, dtype=torch.float64)
    covariance = model.fractional_covariance(times[1:], setting.hurst, "II")
    tied = covariance.diagonal() - covariance[:, -1].square() / (covariance[-1, -1] + END_ERROR**2)
    exact = torch.cat([torch.zeros(1).double(), tied.clamp_min(0).sqrt()])
    kept = torch.stack(bounds) if bounds else torch.zeros(0, len(seeds))
    return Bridge(found.x[..., 0].double().std(1), exact, times, found.x[0, :12, :, 0], kept)


@dataclass(frozen=True, eq=False)
class Video(Kept):
    """Latent SDEs of moving digits on videos held out, (seeds,) an arm: evidence bound in nats a frame, squared error of the
    next frame after eight, that of the last frame repeated; ``hurst`` learned; example frames (arms + 1, frames, pixels) of the
    first seed."""

    bound: dict[str, torch.Tensor]
    following: dict[str, torch.Tensor]
    repeated: torch.Tensor
    hurst: torch.Tensor
    frames: torch.Tensor


@study.remembered(size=4)
def video(setting, *, seeds, data=None, control=False, progress=None) -> Video:
    """Both noises trained alike on the same videos. Control: ``"shuffled"``: frames of the training videos in another order."""
    bound, following, repeated, hurst, shown = (
        {"fractional": [], "ordinary": []},
        {"fractional": [], "ordinary": []},
        [],
        [],
        [],
    )
    for place, seed in enumerate(seeds):
        train, held = moving_digits(setting.videos, seed=seed), moving_digits(64, seed=10_000 + seed)
        if control == "shuffled":
            order = torch.randperm(train.shape[1], generator=torch.Generator().manual_seed(seed))
            train = train[:, order]
        seen = train.shape[1] // 2
        for arm in bound:
            net = LatentVideo(learn_hurst=arm == "fractional", seed=seed)
            fit(net, train, iterations=setting.video_iterations, seed=seed)
            with torch.no_grad():
                generator = torch.Generator().manual_seed(seed)
                bound[arm].append(net.bound(held, generator).mean() / held.shape[1])
                made = torch.sigmoid(net(held, generator, seen=seen)[0])
                following[arm].append((made[:, seen] - held[:, seen]).square().mean())
            if place == 0:
                shown.append(made[0])
            if arm == "fractional":
                hurst.append(net.hurst.detach())
        repeated.append((held[:, seen - 1] - held[:, seen]).square().mean())
        if place == 0:
            shown.insert(0, held[0])
        if progress is not None:
            progress(place + 1, len(seeds))
    join = lambda found: {arm: torch.stack(values) for arm, values in found.items()}  # noqa: E731
    return Video(join(bound), join(following), torch.stack(repeated), torch.stack(hurst), torch.stack(shown))
