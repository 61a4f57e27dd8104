"""Flatness at few bits: float, quantized, quantized with SAM, and with step sizes frozen by the disorder of their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import torch
from pydantic import Field

from lab import study, training
from lab.claims import tunes
from lab.datasets.domains import domains, rotated
from lab.generalization.gaqat import quantize_layers, train_stacked
from lab.generalization.stacked import filled, one_of, outputs, stack
from lab.generalization.studies.common import Kept, accuracy, digits, has_domains, user_domains
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

ARMS = ("float", "float sam", "quantized", "quantized sam", "gaqat", "random")
SOURCES, TARGETS, WIDTHS = (15, 30, 45, 60), (0, 75), (64, 64, 64)
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


class Setting(study.Setting):
    """Rotated MNIST, four angles to learn from and two beyond them; networks trained in float, then at few bits."""

    bits: int = Field(3, ge=2, le=8, title="Bits of weights and activations")
    tau: float = Field(0.3, ge=0, le=1, title="Disorder below which a step is frozen", json_schema_extra={"step": 0.05})
    window: int = Field(20, ge=2, le=200, title="Steps K of a window")
    rho: float = Field(0.05, ge=0, le=0.5, title="Radius rho", json_schema_extra={"step": 0.01})
    freeze: Literal["task", "smooth"] = Field("task", title="Gradient that is frozen")
    items: int = Field(1800, ge=120, le=5000, title="Images in all")
    epochs: int = Field(15, ge=1, le=500, title="Epochs in float, and again at few bits")
    size: int = Field(14, ge=7, le=28, title="Side in pixels")

    PROFILES: ClassVar = {
        "smoke": {"items": 480, "epochs": 4, "window": 3},
        "full": {"items": 5000, "epochs": 100, "size": 28, "window": 40},
    }


@dataclass(frozen=True, eq=False)
class Result(Kept):
    """By arm: ``seen`` (seeds,) accuracy on held source images, ``unseen`` (seeds, targets); of the quantized arms with SAM
    ``conflict`` (seeds, quantizers), ``wander`` (seeds,) mean variance of the steps' logarithms over windows, and of the method
    ``disorder`` and ``frozen`` (windows, quantizers), means over the seeds. ``names`` of the quantizers in order."""

    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    names: tuple[str, ...]
    seen: dict[str, torch.Tensor]
    unseen: dict[str, torch.Tensor]
    conflict: dict[str, torch.Tensor]
    wander: dict[str, torch.Tensor]
    disorder: torch.Tensor
    frozen: torch.Tensor

    def to_frame(self):
        """One row per arm, target and seed."""
        import pandas as pd

        rows = [
            (arm, target, seed, float(self.seen[arm][i]), float(values[i, j]))
            for arm, values in self.unseen.items()
            for j, target in enumerate(self.targets)
            for i, seed in enumerate(self.seeds)
        ]
        return pd.DataFrame(rows, columns=["arm", "target", "seed", "seen", "unseen"])


@lru_cache(maxsize=4)
def _data(size, items):
    made = domains(digits(size, items), [rotated(angle) for angle in (*SOURCES, *TARGETS)], seed=0)
    parts = [part.split(0.2, seed=0) for part in made.parts[: len(SOURCES)]]
    x, y = (torch.cat([getattr(first, name) for first, _ in parts]) for name in ("x", "label"))
    held, label = (torch.cat([getattr(second, name) for _, second in parts]) for name in ("x", "label"))
    targets = {part.name: (part.x.flatten(1), part.label) for part in made.parts[len(SOURCES) :]}
    return x.flatten(1), y, held.flatten(1), label, targets


def _own(data):
    """The user's domains, of which the last is the target; of images without domains the angles beyond are."""
    found = user_domains(data, [rotated(angle) for angle in (*SOURCES, *TARGETS)])
    beyond = 1 if has_domains(data) else len(TARGETS)
    sources, targets = found.parts[:-beyond], found.parts[-beyond:]
    parts = [part.split(0.2, seed=0) for part in sources]
    x, y = (torch.cat([getattr(first, name) for first, _ in parts]) for name in ("x", "label"))
    held, label = (torch.cat([getattr(second, name) for _, second in parts]) for name in ("x", "label"))
    return x.flatten(1), y, held.flatten(1), label, {part.name: (part.x.flatten(1), part.label) for part in targets}


def _float(x, y, seeds, epochs, rho, rate, classes=10):
    network = training.mlp(x.shape[1], classes, widths=WIDTHS)
    start = stack([training.mlp(x.shape[1], classes, widths=WIDTHS, seed=seed) for seed in seeds])
    return network, train_stacked(network, start, x, y, seeds=seeds, rho=rho, epochs=epochs, learning_rate=rate)[0]


@study.remembered()
def run(setting: Setting, *, seeds, data=None, control: bool | str = False, progress=None) -> Result:
    """Train the float arms, then the quantized ones from the float SAM networks.

    ``data``: the user's domains, of which the last is the target, or images, which are turned.
    """
    x, y, held, label, targets = _data(setting.size, setting.items) if data is None else _own(data)
    classes = int(max(int(y.max()), *(int(one.max()) for _, one in targets.values()))) + 1
    rates = chosen("gaqat", "arms", dict.fromkeys(ARMS[:5], RATES))
    found = {}
    for arm in ARMS[:2]:
        rho = setting.rho if arm.endswith("sam") else 0.0
        found[arm] = _float(x, y, seeds, setting.epochs, rho, rates[arm], classes)
    network, p = found["float sam"]
    started = [quantize_layers(filled(network, one_of(p, k)), x[:256], setting.bits) for k in range(len(seeds))]
    traces = {}
    for arm, rho, freeze in (
        ("quantized", 0.0, "none"), ("quantized sam", setting.rho, "none"), ("gaqat", setting.rho, setting.freeze),
        ("random", setting.rho, "random"),
    ):  # fmt: skip
        share = (
            float(torch.stack(traces["gaqat"].frozen).double().mean())
            if arm == "random" and traces["gaqat"].frozen
            else 0.4
        )
        done, traces[arm] = train_stacked(
            started[0], stack(started), x, y, seeds=seeds, rho=rho, freeze=freeze, window=setting.window, tau=setting.tau,
            share=share, epochs=setting.epochs, learning_rate=rates["gaqat" if arm == "random" else arm], progress=progress,
        )  # fmt: skip
        found[arm] = (started[0], done)
    seen = {arm: accuracy(outputs(one[0], one[1], held), label) for arm, one in found.items()}
    unseen = {
        arm: torch.stack([accuracy(outputs(one[0], one[1], inputs), truth) for inputs, truth in targets.values()], 1)
        for arm, one in found.items()
    }
    names = [name.rsplit(".", 1)[0] for name, _ in started[0].named_parameters() if name.endswith("_step.step")]
    shown = traces["gaqat"]
    return Result(
        tuple(targets), tuple(seeds), tuple(names), seen, unseen,
        {arm: traces[arm].conflicts.double() for arm in ARMS[2:]}, {arm: _wander(traces[arm]) for arm in ARMS[2:]},
        torch.stack(shown.disorder).mean(1), torch.stack(shown.frozen).double().mean(1),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sweep(Kept):
    """The method at several windows K and thresholds tau: ``unseen`` (windows, taus, seeds) mean accuracy on unseen angles, and
    ``frozen`` the share of frozen steps; ``direct`` and ``full`` (seeds,) accuracy of the direct combination and of float SAM."""

    windows: tuple[int, ...]
    taus: tuple[float, ...]
    unseen: torch.Tensor
    frozen: torch.Tensor
    direct: torch.Tensor
    full: torch.Tensor

    def to_frame(self):
        """One row per window and threshold: mean gain over the direct combination, its spread over seeds, share frozen."""
        import pandas as pd

        gain = self.unseen - self.direct
        rows = [
            (window, tau, float(gain[i, j].mean()), float(gain[i, j].std()), float(self.frozen[i, j].mean()))
            for i, window in enumerate(self.windows)
            for j, tau in enumerate(self.taus)
        ]
        return pd.DataFrame(rows, columns=["K", "tau", "gain", "spread", "frozen"])


def sweep(setting: Setting, *, seeds, windows=(20, 40, 80), taus=(0.2, 0.3, 0.4), data=None) -> Sweep:
    """All windows and thresholds from the same float networks; the paper names neither, so that none is the right one."""
    x, y, _, _, targets = _data(setting.size, setting.items) if data is None else _own(data)
    classes = int(max(int(y.max()), *(int(one.max()) for _, one in targets.values()))) + 1
    rates = chosen("gaqat", "arms", dict.fromkeys(ARMS[:5], RATES))
    network, p = _float(x, y, seeds, setting.epochs, setting.rho, rates["float sam"], classes)
    started = [quantize_layers(filled(network, one_of(p, k)), x[:256], setting.bits) for k in range(len(seeds))]

    def unseen(model, parameters):
        each = [accuracy(outputs(model, parameters, inputs), truth) for inputs, truth in targets.values()]
        return torch.stack(each).mean(0)

    def trained(freeze, window, taus):
        many = {"seeds": list(seeds) * len(taus), "tau": [tau for tau in taus for _ in seeds]}
        options = {"rho": setting.rho, "freeze": freeze, "window": window, "epochs": setting.epochs}
        rate = rates["quantized sam" if freeze == "none" else "gaqat"]
        done, trace = train_stacked(started[0], stack(started * len(taus)), x, y, learning_rate=rate, **many, **options)
        shape = (len(taus), len(seeds))
        shares = (
            torch.stack(trace.frozen).double().mean((0, 2)) if trace.frozen else torch.zeros(len(taus) * len(seeds))
        )
        return unseen(started[0], done).view(shape), shares.view(shape)

    found = [trained(setting.freeze, window, taus) for window in windows]
    direct = trained("none", windows[0], taus[:1])[0][0]
    return Sweep(
        tuple(windows), tuple(taus), torch.stack([one for one, _ in found]), torch.stack([share for _, share in found]), direct,
        unseen(network, p),
    )  # fmt: skip


def _wander(trace):
    """Mean variance over the second half of the windows of the steps' logarithms, (models,)."""
    steps = torch.stack(trace.steps).abs().clamp_min(1e-8).log().double()
    return steps[len(steps) // 2 :].var(0, correction=0).mean(1).clamp_min(1e-12)


@tunes("gaqat")
def tune_rates(progress=None) -> None:
    """Learning rates of every arm by accuracy on held images of the sources."""
    setting, seeds = Setting.of(), TUNING_SEEDS[:2]
    x, y, held, label, _ = _data(setting.size, setting.items)
    network, p = _float(x, y, seeds, setting.epochs, setting.rho, 3e-3)
    started = [quantize_layers(filled(network, one_of(p, k)), x[:256], setting.bits) for k in range(len(seeds))]

    def scores(arm, rates, seeds):
        rows = []
        for rate in rates:
            rho = setting.rho if arm.endswith("sam") or arm == "gaqat" else 0.0
            if arm.startswith("float"):
                one = _float(x, y, seeds, setting.epochs, rho, rate)
            else:
                freeze = "task" if arm == "gaqat" else "none"
                options = {
                    "rho": rho,
                    "freeze": freeze,
                    "window": setting.window,
                    "tau": setting.tau,
                    "epochs": setting.epochs,
                }
                one = (
                    started[0],
                    train_stacked(started[0], stack(started), x, y, seeds=seeds, learning_rate=rate, **options)[0],
                )
            rows.append(accuracy(outputs(one[0], one[1], held), label).numpy())
        return rows

    record("gaqat", tune("arms", dict.fromkeys(ARMS[:5], RATES), scores, seeds=seeds, progress=progress))
