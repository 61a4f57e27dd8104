"""A self-tuning network beside its start, its schedule replayed, its last value, random search and Bayesian optimization."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from lab import datasets, study
from lab.search import self_tuning_networks as stn
from lab.search.bilevel import Split
from lab.search.self_tuning_networks import Hyperparameter, Tuned
from lab.search.studies.common import items

REGULARIZERS = (
    Hyperparameter("dropout", start=0.05, layer=0), Hyperparameter("dropout", start=0.05, layer=1),
    Hyperparameter("dropout", start=0.05, layer=2), Hyperparameter("noise", 0.0, 1.0, 0.02),
)  # fmt: skip
NAMES = ("dropout of inputs", "dropout of layer 1", "dropout of layer 2", "noise")


class Setting(study.Setting):
    """A network on a few digits, with three dropouts and noise to tune."""

    train: int = Field(150, ge=20, le=1000, title="Training digits")
    validation: int = Field(400, ge=20, le=1000, title="Validation digits")
    steps: int = Field(1200, ge=10, le=20_000, title="Training steps")
    trials: int = Field(4, ge=2, le=20, title="Configurations of the other searches")
    tuning_rate: float = Field(0.02, gt=0.0, le=0.2, title="Rate of the hyperparameters")

    PROFILES: ClassVar = {
        "smoke": {"steps": 24, "trials": 2},
        "full": {"train": 1000, "validation": 600, "steps": 10_000},
    }


@dataclass(frozen=True, eq=False)
class Result:
    """Test and validation loss (seeds,) of each arm, the self-tuned networks, and their start."""

    test: dict[str, torch.Tensor]
    validation: dict[str, torch.Tensor]
    tuned: Tuned
    seeds: tuple[int, ...]

    def gain(self, over: str, arm: str = "self-tuning") -> torch.Tensor:
        """1 - test loss of an arm over that of another, a seed at a time."""
        return 1 - self.test[arm] / self.test[over]

    def to_frame(self):
        """One row an arm: mean test and validation loss, spread over seeds."""
        import pandas as pd

        return pd.DataFrame(
            {
                "arm": arm,
                "test loss": float(values.mean()),
                "spread": float(values.std()) if len(values) > 1 else float("nan"),
                "validation loss": float(self.validation[arm].mean()),
            }
            for arm, values in self.test.items()
        )


def split_of(setting, data=None) -> Split:
    """Digits, or the user's table."""
    if data is not None:
        x, y = items(data)
        return Split.of(x, y, train=len(x) // 3, validation=len(x) // 3)
    digits = datasets.load("digits")
    return Split.of(digits.x.flatten(1), digits.label, train=setting.train, validation=setting.validation)


@study.remembered()
def run(setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """All arms at equal training steps in all. Control ``"labels"``: validation labels are shuffled for the self-tuning network."""
    split, seeds = split_of(setting, data), tuple(seeds)
    held = split.validation
    if control:
        held = held[0], held[1][torch.randperm(len(held[1]), generator=torch.Generator().manual_seed(0))]
    options = {"seeds": seeds, "steps": setting.steps}
    warm_up = setting.steps // 8
    found = {
        "self-tuning": stn.self_tune(
            REGULARIZERS, split.train, held, warm_up=warm_up, tuning_rate=setting.tuning_rate, **options
        )
    }
    tuned = found["self-tuning"]
    for arm, schedule in (("start", None), ("schedule replayed", tuned.path), ("last value", tuned.path[-1:])):
        found[arm] = stn.self_tune(
            REGULARIZERS, split.train, split.validation, tune=False, schedule=schedule, **options
        )
    losses = {arm: one.validation.min(0).values for arm, one in found.items()}
    test = {arm: one.losses(*split.test) for arm, one in found.items()}

    def evaluate(points):
        one = stn.self_tune(
            REGULARIZERS, split.train, split.validation, tune=False, schedule=points[None], seeds=seeds,
            steps=max(1, setting.steps // setting.trials),
        )  # fmt: skip
        return one.validation.min(0).values, one.losses(*split.test)

    bounds = [(-4.0, 1.5)] * len(REGULARIZERS)
    for arm, first in (("random search", setting.trials), ("Bayesian optimization", max(1, setting.trials // 2))):
        tests = []

        def scored(points, tests=tests):
            held_loss, test_loss = evaluate(points)
            tests.append(test_loss)
            return held_loss

        _, values = stn.bayesian_search(scored, bounds, seeds=seeds, rounds=setting.trials, first=first)
        losses[arm] = values.min(0).values
        test[arm] = torch.stack(tests).gather(0, values.argmin(0)[None])[0]
    return Result(test, {arm: value.double() for arm, value in losses.items()}, tuned, seeds)


@study.remembered()
def run_shift(setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Test loss (seeds,) of digits rolled by a few places, with the integer range of the training shifts tuned, and at its start.

    Control: nothing is tuned.
    """
    digits = datasets.load("digits")
    split = Split.of(digits.x.flatten(1), digits.label, train=setting.train, validation=setting.validation)

    def rolled(part, seed):
        x, y = part
        places = torch.randint(-2, 3, (len(x), 1), generator=torch.Generator().manual_seed(seed))
        return x.gather(1, (torch.arange(x.shape[1]) - places) % x.shape[1]), y

    held, test = rolled(split.validation, 1), rolled(split.test, 2)
    one = (Hyperparameter("shift", 0.0, 5.0, 0.5),)
    options = {"seeds": tuple(seeds), "steps": setting.steps}
    tuned = stn.self_tune(one, split.train, held, warm_up=setting.steps // 8, tune=not control, **options)
    start = stn.self_tune(
        one, split.train, held, tune=False, **{**options, "seeds": tuple(s + 9000 * control for s in seeds)}
    )
    return {"tuned": tuned.losses(*test), "start": start.losses(*test), "range": tuned.values(tuned.u)[:, 0]}


def ridge(seed: int, *, steps: int = 3000, gradient: bool = True) -> dict[str, float]:
    """Self-tuning of a ridge penalty against 161 exact solutions: relative excess of the validation loss, error of the slope."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(20, generator=generator, dtype=torch.float64)
    x, held, noise = (torch.randn(40, n, generator=generator, dtype=torch.float64) for n in (20, 20, 2))
    y, held_y = x @ truth + 1.5 * noise[:, 0], held @ truth + 1.5 * noise[:, 1]
    gram, target, eye = x.T @ x / 40, x.T @ y / 40, torch.eye(20, dtype=torch.float64)

    def exact(u):
        return torch.linalg.solve(gram + math_exp(u) * eye, target)

    def loss(w):
        return float((held @ w - held_y).square().mean())

    u, theta, slope = stn.ridge_response(x, y, held, held_y, steps=steps, rate=0.02 if gradient else 0.0, seed=seed)
    best = min(loss(exact(value)) for value in torch.linspace(-8, 4, 161).tolist())
    w = exact(float(u))
    true = torch.linalg.solve(gram + math_exp(float(u)) * eye, -math_exp(float(u)) * w)
    return {
        "excess": loss(theta) / best - 1,
        "slope error": float((slope - true).norm() / true.norm()),
        "zero slope": float((0 * slope - true).norm() / true.norm()),
    }


def math_exp(u: float) -> float:
    """e^u of a plain number."""
    return float(torch.tensor(u, dtype=torch.float64).exp())


def step_ratio(seed: int, rounds: int = 9) -> float:
    """Processor time of a forward and backward pass of a gated network over that of the plain one."""
    gated = stn.HyperMLP((64, 128, 128, 10), 4, seed)
    plain = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    x, v = torch.zeros(512, 64), torch.zeros(512, 4)
    times: dict[str, list[float]] = {"gated": [], "plain": []}
    for _ in range(rounds + 1):
        for name, call in (("gated", lambda: gated(x, v)), ("plain", lambda: plain(x))):
            began = time.process_time()
            call().sum().backward()
            times[name].append(time.process_time() - began)
    middle = {name: sorted(values[1:])[rounds // 2] for name, values in times.items()}
    return middle["gated"] / middle["plain"]
