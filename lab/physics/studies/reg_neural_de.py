"""Neural equations with and without a solver's estimates as penalties: digits, digits under noise, irregular series, spirals.

Every model has steps of its own, so that models are trained one by one and not on a common axis of seeds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from lab import datasets, study
from lab.claims import tunes
from lab.integrate import Solution, dopri5
from lab.physics import reg_neural_de as rn
from lab.training import mlp
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

ARMS = ("none", "error", "stiffness")
STRENGTHS = {"error": (10.0, 100.0, 1000.0, 10_000.0), "stiffness": (0.1, 1.0, 10.0, 100.0)}
OTHERS = {"noise": (0.1, 1.0, 10.0, 100.0), "series": (0.01, 0.1, 1.0, 10.0)}
GRID = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)  # of the page
DROP = 0.01  # of accuracy, or of relative error, that tuning lets pass for fewer evaluations


class Setting(study.Setting):
    """Images as states of a neural equation over [0, 1] with a linear head; smaller equations on series and spirals."""

    data: Literal["digits", "mnist"] = Field("digits", title="Images")
    hidden: int = Field(48, ge=2, le=1000, title="Hidden units")
    tolerance: float = Field(1e-5, gt=1e-12, lt=1.0, title="Tolerance of a step")
    steps: int = Field(120, ge=2, le=100_000, title="Training steps", json_schema_extra={"step": 10})
    batch: int = Field(256, ge=2, le=4096, title="Batch")
    rate: float = Field(1e-2, gt=0.0, lt=1.0, title="Learning rate")
    noisy_tolerance: float = Field(1e-2, gt=1e-6, lt=1.0, title="Tolerance of a step under noise")
    noisy_steps: int = Field(60, ge=2, le=100_000, title="Training steps under noise")
    small_steps: int = Field(200, ge=2, le=100_000, title="Training steps on series and spirals")

    PROFILES: ClassVar = {
        "smoke": {"hidden": 24, "steps": 24, "batch": 64, "noisy_steps": 10, "small_steps": 16, "tolerance": 1e-4},
        "full": {"data": "mnist", "hidden": 100, "tolerance": 1.4e-8, "steps": 600, "batch": 512, "noisy_steps": 600,
                 "small_steps": 2000},
    }  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What each arm came to, ``values[arm][what]`` (seeds,), and the first seed's courses.

    What: ``evaluations`` of one prediction, ``accuracy`` on items held out, ``training evaluations``, ``training seconds`` (CPU),
    ``prediction seconds`` (wall, the least of several). ``courses[arm]`` (steps,): evaluations of each training step;
    ``sizes[arm]``: the steps of the prediction.
    """

    setting: Setting
    seeds: tuple[int, ...]
    values: Mapping[str, Mapping[str, torch.Tensor]]
    courses: Mapping[str, torch.Tensor]
    sizes: Mapping[str, torch.Tensor]

    def to_frame(self):
        """One row an arm: means over seeds."""
        import pandas as pd

        means = {arm: {name: float(v.mean()) for name, v in found.items()} for arm, found in self.values.items()}
        return pd.DataFrame([{"penalty": arm, **row} for arm, row in means.items()])

    def save(self, path) -> None:
        """Write the table as CSV."""
        self.to_frame().to_csv(path, index=False)

    @staticmethod
    def load(path):
        """Read the table that :meth:`save` wrote."""
        import pandas as pd

        return pd.read_csv(path)


@lru_cache(maxsize=64)
def images(setting: Setting, seed: int):
    """Training and held-out items (items, pixels) in [0, 1] with labels; digits are split anew for every seed."""
    found = datasets.mnist() if setting.data == "mnist" else datasets.load("digits")
    x = found.x.flatten(1)
    x = (x / x.max()).to(torch.float64 if setting.tolerance < 5e-7 else torch.float32)
    order, count = torch.arange(len(x)), 4000
    if setting.data == "digits":
        order, count = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)), 1000
    train, test = order[:count], order[count:]
    return x[train], found.label[train], x[test], found.label[test]


class Diffusion(nn.Module):
    """g(t, x) = 0.1 tanh(W x + b)."""

    def __init__(self, width: int, seed: int):
        super().__init__()
        self.layer = mlp(width, width, widths=(), seed=seed)

    def forward(self, t, x):
        return 0.1 * torch.tanh(self.layer(x))


def options(setting: Setting, arm: str, strength: float, seed: int) -> dict[str, Any]:
    """Of training: λ for the error falls to a tenth, that for the stiffness stays, as in the paper's code."""
    last = strength if arm == "stiffness" else strength / 10
    return {"rate": setting.rate, "strength": (strength, last), "seed": seed}


@lru_cache(maxsize=256)
def trained(setting: Setting, seed: int, arm: str, strength: float, control: bool | str = False, noisy: bool = False):
    """A flow and its head, the evaluations (steps,) of training and its CPU seconds. Controls as of :func:`run`."""
    x, y, _, _ = images(setting, seed)
    if control == "shuffled":
        y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]
    regularize = None if arm == "none" else rn.ErrorRegularizer("sum") if noisy else arm
    width, steps = x.shape[1], setting.noisy_steps if noisy else setting.steps
    f, head = rn.TimeMLP(width, setting.hidden, seed), mlp(width, 10, widths=(), seed=100 + seed, dtype=x.dtype)
    flow: nn.Module = rn.NeuralODE(f, regularize=regularize, tolerance=setting.tolerance)
    if noisy:
        g, tolerance = Diffusion(width, 50 + seed), setting.noisy_tolerance
        flow = rn.NeuralSDE(f, g, regularize=regularize, tolerance=tolerance, depth=6)
    told = options(setting, arm, strength, seed) | {"batch": setting.batch, "penalize": control is not True}
    flow = flow.to(x.dtype)
    # no arm pays for what the first call of anything costs
    rn.train(deepcopy(flow), deepcopy(head), x, y, steps=1, **told)
    begin = time.process_time()
    count = rn.train(flow, head, x, y, steps=steps, **told)
    return flow, head, count, time.process_time() - begin


@torch.no_grad()
def judged(setting: Setting, seed: int, flow, head, noisy: bool = False) -> dict[str, float]:
    """Evaluations, accuracy and seconds of predicting the held-out items; under noise means over three paths."""
    _, _, x, y = images(setting, seed)
    seconds, found = [], []
    for k in range(3 if noisy else 7):
        begin = time.perf_counter()
        found.append(flow(x, k) if noisy else flow(x))
        seconds.append(time.perf_counter() - begin)
    accuracy = sum(float((head(one.y).argmax(1) == y).double().mean()) for one in found) / len(found)
    evaluations = sum(one.evaluations for one in found) / len(found)
    return {"evaluations": evaluations, "accuracy": accuracy, "prediction seconds": min(seconds)}


def values(setting: Setting, seeds, arm: str, strength: float, control: bool | str = False, noisy: bool = False):
    """What the models of an arm come to, by name, (seeds,)."""
    rows = []
    for seed in seeds:
        flow, head, count, seconds = trained(setting, seed, arm, strength, arm != "none" and control, noisy)
        row = {"training evaluations": float(count.sum()), "training seconds": seconds}
        rows.append({**judged(setting, seed, flow, head, noisy), **row})
    return {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]}


@study.remembered(size=6)
def run(setting: Setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Train and judge all arms on the images.

    Controls: penalties are detached; ``"shuffled"``: labels of training items change places wherever there is a penalty.
    """
    strengths = {"none": 0.0, **chosen("reg_neural_de", "images", STRENGTHS)}
    found, courses, sizes = {}, {}, {}
    for done, (arm, strength) in enumerate(strengths.items(), 1):
        found[arm] = values(setting, seeds, arm, strength, control)
        flow, _, courses[arm], _ = trained(setting, seeds[0], arm, strength, arm != "none" and control)
        with torch.no_grad():
            sizes[arm] = flow(images(setting, seeds[0])[2]).solution.steps
        if progress is not None:
            progress(done / len(strengths))
    return Result(setting, tuple(seeds), found, courses, sizes)


@study.remembered(size=6)
def noisy(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """``"evaluations, error"`` and so on: under noise, without ("none") and with the penalty on the error. Controls as of run."""
    arms = {"none": 0.0, "error": tuned("noise")}
    found = {arm: values(setting, seeds, arm, strength, control, True) for arm, strength in arms.items()}
    return {f"{name}, {arm}": each for arm, one in found.items() for name, each in one.items()}


def tuned(name: str) -> float:
    """The recorded λ of "noise" or "series"."""
    return chosen("reg_neural_de", name, {name: OTHERS[name]})[name]


class LatentODE(nn.Module):
    """Series at irregular times: the mean over what is seen of a network of (value, time) gives the latent start of an ODE.

    The decoder is linear. Takes values (items, times) and where they are ``seen``; returns values at all times, penalty and
    evaluations. No variational posterior: the start is a number, not a distribution as in the paper.
    """

    def __init__(self, t: torch.Tensor, regularize, seed: int, width: int = 4, tolerance: float = 1e-5):
        super().__init__()
        self.t, draw = t, torch.Generator().manual_seed(seed)
        self.encoder = mlp(2, 48, widths=(48,), activation="tanh", seed=draw)
        self.start = mlp(48, width, widths=(48,), activation="tanh", seed=draw)
        self.decoder = mlp(width, 1, widths=(), seed=draw)
        f = rn.TimeMLP(width, 32, draw)
        self.flow = rn.NeuralODE(f, regularize=regularize, t=t, tolerance=tolerance, every=True)

    def forward(self, values, seen):
        told = self.encoder(torch.stack([values, self.t.expand_as(values)], 2)) * seen[..., None]
        found = self.flow(self.start(told.sum(1) / seen.sum(1, keepdim=True)))
        return self.decoder(found.y)[..., 0].T, found.penalty, found.evaluations


def series(count: int, seed: int):
    """Damped oscillations (items, 30) of random amplitude, phase and rate at irregular times, 12 of 30 seen: t, values, seen."""
    draw = torch.Generator().manual_seed(seed)
    t = torch.cat([torch.zeros(1), torch.rand(29, generator=draw).sort().values * 0.99 + 0.01])
    bounds = ((0.5, 1.5), (0, 6.283), (3, 5))
    size, phase, rate = (low + (high - low) * torch.rand(count, 1, generator=draw) for low, high in bounds)
    values = size * torch.exp(-t) * torch.cos(rate * t + phase)
    seen = torch.rand(count, 30, generator=draw).argsort(1) < 12
    return t, values, seen


@lru_cache(maxsize=128)
def latent(setting: Setting, seed: int, strength: float, control: bool | str = False) -> dict[str, float]:
    """Evaluations and root mean square error at unseen times of held-out series, after training with λ = ``strength``.

    Controls: the penalty is detached; ``"shuffled"``: values of the training series change places.
    """
    t, values, seen = series(300, seed)
    learned = values[:200]
    if control == "shuffled":
        learned = learned.flatten()[torch.randperm(learned.numel(), generator=torch.Generator().manual_seed(seed))]
        learned = learned.view(200, -1)
    net = LatentODE(t, "error" if strength else None, seed)
    optimizer, draw = torch.optim.Adam(net.parameters(), lr=setting.rate), torch.Generator().manual_seed(seed)
    for step in range(setting.small_steps):
        rows = torch.randperm(200, generator=draw)[:100]
        guess, penalty, _ = net(learned[rows], seen[rows])
        weight = strength * 0.1 ** (step / max(1, setting.small_steps - 1))
        penalty = penalty.detach() if control is True else penalty
        loss = (guess - learned[rows]).square()[seen[rows]].mean() + weight * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        guess, _, evaluations = net(values[200:], seen[200:])
    error = float((guess - values[200:])[~seen[200:]].square().mean().sqrt())
    return {"evaluations": float(evaluations), "error": error, "spread": float(values[200:].std())}


def plane(name: str, seed: int) -> tuple[torch.Tensor, Any]:
    """500 points (500, 3) of "spirals" or "moons" with one more coordinate of 0, and their labels."""
    found = datasets.spirals(500, seed=seed) if name == "spirals" else datasets.moons(500, seed=seed)
    return torch.cat([found.x, torch.zeros(500, 1)], 1), found.label


@lru_cache(maxsize=128)
def planar(setting: Setting, name: str, seed: int, arm: str, strength: float):
    """A flow in the plane and one more dimension, trained on "spirals" or "moons"; its head, evaluations and accuracy."""
    x, label = plane(name, seed)
    flow = rn.NeuralODE(rn.TimeMLP(3, 48, seed), regularize=None if arm == "none" else arm)
    head = mlp(3, 2, widths=(), seed=100 + seed)
    told = options(setting, arm, strength, seed)
    rn.train(flow, head, x[:300], label[:300], steps=setting.small_steps, **told)
    with torch.no_grad():
        end = flow(x[300:])
        accuracy = float((head(end.y).argmax(1) == label[300:]).double().mean())
    return flow, head, end.evaluations, accuracy


@dataclass(frozen=True)
class Paths:
    """Held-out items on their way: ``fine`` (points, items, 3), ``dots`` (steps + 1, items, 3) at the ends of accepted steps.

    ``unstable`` (steps,): h S over the stability bound of the method; like the solution's error E it limits a step at 1.
    """

    fine: torch.Tensor
    dots: torch.Tensor
    labels: torch.Tensor
    unstable: torch.Tensor
    solution: Solution
    accuracy: float


@torch.no_grad()
def paths(flow, head, name: str, seed: int = 0, items: int = 24) -> Paths:
    """Solve for the held-out points of "spirals" or "moons"; all of them set the steps, the first ``items`` are kept."""
    x, label = plane(name, seed)
    x, label = x[300:], label[300:]
    whole = flow(x).solution
    ends = [0.0, *whole.steps.double().cumsum(0).clamp_max(1.0).tolist()]
    ends[-1] = 1.0
    times = sorted({*ends, *torch.linspace(0, 1, 41).tolist()})
    every = dopri5(flow.f, x, times, flow.tolerance, flow.tolerance).y[:, :items]
    dots = every[[times.index(t) for t in ends]]
    accuracy = float((head(whole.y[-1]).argmax(1) == label).double().mean())
    return Paths(every, dots, label[:items], whole.steps * whole.stiffness / rn.STABILITY, whole, accuracy)


def step_seconds(setting: Setting, seed: int, repeats: int = 5) -> dict[str, float]:
    """CPU seconds of a training step of equal networks, the least of several, without a penalty and with each."""
    x, y, _, _ = images(setting, seed)
    x, y = x[: setting.batch], y[: setting.batch]
    f = rn.TimeMLP(x.shape[1], setting.hidden, seed).to(x.dtype)
    head = mlp(x.shape[1], 10, widths=(), seed=seed).to(x.dtype)
    flows = {"none": rn.NeuralODE(f, tolerance=setting.tolerance)}
    flows |= {arm: rn.NeuralODE(f, regularize=arm, tolerance=setting.tolerance) for arm in ARMS[1:]}
    flows |= {f"derivative {k}": rn.TaylorODE(f, order=k, tolerance=setting.tolerance) for k in (2, 3)}
    optimizer = torch.optim.SGD([*f.parameters(), *head.parameters()], lr=0.0)
    found = {name: [] for name in flows}
    for _ in range(repeats):
        for name, flow in flows.items():
            begin = time.process_time()
            end = flow(x)
            optimizer.zero_grad()
            (nn.functional.cross_entropy(head(end.y), y) + end.penalty).backward()
            optimizer.step()
            found[name].append(time.process_time() - begin)
    return {name: min(seconds) for name, seconds in found.items()}


@tunes("reg_neural_de")
def tune_strengths(progress=None) -> None:
    """Tune λ, four values an arm: evaluations over those without a penalty, and ten times what is lost beyond 0.01."""
    setting, seeds = Setting.of("default"), TUNING_SEEDS[:2]

    def pair(arm, seed, strength):
        """Evaluations and loss of quality with this λ, and without."""
        if arm == "series":
            both = [latent(setting, seed, strength), latent(setting, seed, 0.0)]
            return [(one["evaluations"], one["error"] / one["spread"]) for one in both]
        kind, under = ("error", True) if arm == "noise" else (arm, False)
        models = [trained(setting, seed, a, s, False, under)[:2] for a, s in ((kind, strength), ("none", 0.0))]
        return [(one["evaluations"], -one["accuracy"]) for one in (judged(setting, seed, *m, under) for m in models)]

    def scores(arm, grid, seeds):
        found = [[pair(arm, seed, strength) for seed in seeds] for strength in grid]
        return [[-n / plain - 10 * max(0.0, q - r - DROP) for (n, q), (plain, r) in row] for row in found]

    studies = {"images": STRENGTHS, "noise": {"noise": OTHERS["noise"]}, "series": {"series": OTHERS["series"]}}
    found = [tune(name, arms, scores, seeds=seeds, progress=progress) for name, arms in studies.items()]
    record("reg_neural_de", *found)
