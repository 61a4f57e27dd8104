"""The methods of the room side by side: what each leaves of its baseline's error or cost, from small runs of its own study."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from lab import study

# method: what is measured (less is better), its baseline, and (baseline, method), each (seeds,), from a result of its study
METHODS: dict[str, tuple[str, str, Callable[[Any], tuple]]] = {
    "nclaw": (
        "distance to the true motion of a body never seen (m)", "a body without stress",
        lambda r: (r.zero["time"], r.errors["time"]),
    ),
    "active_fluid_closures": (
        "relative error of the fourth moment", "quadratic closure",
        lambda r: (r.errors["quadratic"], r.errors[r.setting.closure]),
    ),
    "deepmesh": (
        "Chamfer distance after a change of genus", "fixed mesh",
        lambda r: (r.final["fixed mesh"], r.final["field"]),
    ),
    "dcdm": (
        "iterations at twice the size of training", "conjugate gradients",
        lambda r: (r.iterations["CG", f"{r.sizes[1]}"], r.iterations["symmetric", f"{r.sizes[1]}"]),
    ),
    "spon": (
        "relative error on held-out forces", "network on one mesh",
        lambda r: (r.errors["plain", "L2"], r.errors["multigrid", "L2"]),
    ),
    "aas": (
        "relative error of the solution", "uniform points",
        lambda r: (r.error["uniform"], r.error["adversary"]),
    ),
    "difftactile": (
        "relative error of the force trace", "first guess of the contact",
        lambda r: (r.losses[0].sqrt(), r.losses[-1].sqrt()),
    ),
    "dgno": (
        "relative error of the flow", "mean solution",
        lambda r: (r.errors["mean solution"], r.errors["DGNO"]),
    ),
    "pi_hc_moe": (
        "relative error of the solution", "soft penalty",
        lambda r: (r.arms["soft"].error, r.arms["overlap"].error),
    ),
    "reg_neural_de": (
        "evaluations of one prediction", "no penalty",
        lambda r: (r.values["none"]["evaluations"], r.values["error"]["evaluations"]),
    ),
}  # fmt: skip


class Setting(study.Setting):
    """Every method runs its own study at one profile."""

    size: Literal["smoke", "default", "full"] = Field("smoke", title="Profile of every study")

    PROFILES: ClassVar = {"full": {"size": "default"}}


@dataclass(frozen=True)
class Comparison:
    """``baseline`` and ``method`` {method: (seeds,)}, and the CPU ``seconds`` of its study."""

    setting: Setting
    seeds: tuple[int, ...]
    baseline: Mapping[str, torch.Tensor]
    method: Mapping[str, torch.Tensor]
    seconds: Mapping[str, float]

    def to_frame(self):
        """One row a method: what is measured, the baseline, both means, and their ratio; the largest effect first."""
        import pandas as pd

        rows = []
        for name, ours in self.method.items():
            what, against, _ = METHODS[name]
            a, b = float(self.baseline[name].double().mean()), float(ours.double().mean())
            row = {"method": name, "measured": what, "baseline": against, "of the baseline": a, "of the method": b}
            rows.append({**row, "ratio": b / a, "CPU seconds": self.seconds[name]})
        return pd.DataFrame(rows).sort_values("ratio", ignore_index=True)

    def save(self, path) -> None:
        """Write the table as CSV."""
        self.to_frame().to_csv(path, index=False)


@study.remembered(size=8)
def run(setting: Setting, *, seeds, data=None, control=False, progress=None) -> Comparison:
    """Run the study of every method on the same seeds."""
    baseline, method, seconds = {}, {}, {}
    for done, (name, (_, _, pick)) in enumerate(METHODS.items(), 1):
        own, begin = import_module(f"lab.physics.studies.{name}"), time.process_time()
        baseline[name], method[name] = pick(own.run(own.Setting.of(setting.size), seeds=seeds))
        seconds[name] = time.process_time() - begin
        if progress is not None:
            progress(done / len(METHODS))
    return Comparison(setting, tuple(seeds), baseline, method, seconds)
