"""Accuracy and latency over the trade-off, two devices, a direct search and its proxies; time and memory of one path."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field

from lab import study
from lab.search import benchmark, proxylessnas
from lab.search.bilevel import Split, train_paths
from lab.search.latency import LatencyTable
from lab.search.space import Space
from lab.search.studies.common import items
from lab.search.supernet import Supernet

TRADEOFFS = (0.0, 0.03, 0.1, 0.3, 1.0)
SERIAL = LatencyTable({"skip": 0.0, "mlp4": 1.0, "mlp16": 2.0, "mlp64": 6.0}, "time of a serial device")
PARALLEL = LatencyTable({"skip": 0.0, "mlp4": 3.0, "mlp16": 3.0, "mlp64": 3.0}, "time of a parallel device")


class Setting(study.Setting):
    """A chain of residual blocks on a spiral with three arms."""

    steps: int = Field(1500, ge=1, le=50_000, title="Search steps")
    retraining: int = Field(600, ge=1, le=20_000, title="Training steps of the networks found")
    mode: Literal["full", "two", "reinforce"] = Field("full", title="Gradient of the gates")
    blocks: int = Field(4, ge=1, le=12, title="Blocks")
    noise: float = Field(0.1, ge=0.0, le=0.5, title="Noise of the spiral")

    PROFILES: ClassVar = {"smoke": {"steps": 16, "retraining": 8}, "full": {"steps": 8000, "retraining": 3000}}


@dataclass(frozen=True, eq=False)
class Front:
    """What each trade-off found: expected latency, latency and accuracy of the retrained choice, each (seeds, trade-offs)."""

    tradeoffs: tuple[float, ...]
    space: Space
    choice: torch.Tensor
    expected: torch.Tensor
    latency: torch.Tensor
    accuracy: torch.Tensor
    alpha: torch.Tensor

    def to_frame(self):
        """One row a trade-off: means over seeds."""
        import pandas as pd

        columns = {"expected latency": self.expected, "latency": self.latency, "accuracy": self.accuracy}
        return pd.DataFrame(
            {"trade-off": self.tradeoffs, **{name: values.mean(0).tolist() for name, values in columns.items()}}
        )


def spiral(count: int = 900, *, arms: int = 3, noise: float = 0.1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (count, 2) on ``arms`` arms of a spiral of one and a half turns, and the arm of each."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % arms
    radius = torch.rand(count, generator=generator).sqrt()
    angle = 3 * torch.pi * radius + 2 * torch.pi * y / arms + noise * torch.randn(count, generator=generator)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1) * 2, y


def split_of(setting, data=None) -> Split:
    """The spiral, or the user's table."""
    if data is not None:
        x, y = items(data)
        return Split.of(x, y, train=len(x) // 3, validation=len(x) // 3)
    return Split.of(*spiral(2400, noise=setting.noise), train=600, validation=600)


def _space(setting, split):
    return proxylessnas.chain(split.train[0].shape[1], int(split.train[1].max()) + 1, blocks=setting.blocks)


def _accuracy(setting, space, split, choice, seeds):
    supernet = Supernet(space)
    weights, plan = train_paths(supernet, choice, *split.train, seeds=list(seeds), steps=setting.retraining)
    with torch.no_grad():
        return (supernet.planned(weights, plan, split.test[0]).argmax(2) == split.test[1]).double().mean(1)


@study.remembered()
def run(setting, *, seeds, data=None, control=False, progress=None) -> Front:
    """The front over trade-offs, all searches at once. Control: the latency term is off."""
    split, seeds = split_of(setting, data), tuple(seeds)
    space, levels = _space(setting, split), len(TRADEOFFS)
    models = [seed for seed in seeds for _ in TRADEOFFS]
    trade = torch.tensor(TRADEOFFS).repeat(len(seeds)) * (0.0 if control else 1.0)
    if control:  # the searches of one seed would be the same one
        models = [seed * levels + k for seed in seeds for k in range(levels)]
    found = proxylessnas.search(
        space,
        split,
        seeds=models,
        table=SERIAL,
        tradeoff=trade,
        steps=setting.steps,
        mode=setting.mode,
        progress=progress,
    )
    shape = (len(seeds), levels)
    accuracy = _accuracy(setting, space, split, found.choice, models).reshape(shape)
    return Front(
        TRADEOFFS, space, found.choice.reshape(*shape, -1), found.latency.reshape(shape).double(),
        SERIAL.of(found.choice, space).reshape(shape).double(), accuracy, found.alpha.unflatten(0, shape),
    )  # fmt: skip


@study.remembered()
def run_devices(setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Networks searched for a serial and a parallel device, timed on both, (seeds,). Control: both are searched for the
    serial one."""
    split, seeds = split_of(setting, data), tuple(seeds)
    space, found = _space(setting, split), {}
    for name, table in (("serial", SERIAL), ("parallel", SERIAL if control else PARALLEL)):
        drawn = [seed + 6000 * (control and name == "parallel") for seed in seeds]
        one = proxylessnas.search(
            space, split, seeds=drawn, table=table, tradeoff=0.3, steps=setting.steps, mode=setting.mode
        )
        p = torch.softmax(one.alpha, -1)
        for device, costs in (("serial", SERIAL), ("parallel", PARALLEL)):
            found[f"{name} network on the {device} device"] = costs.expected(p, space).double()
        found[f"accuracy of the {name} network"] = _accuracy(setting, space, split, one.choice, seeds)
        found[f"choice of the {name} network"] = one.choice
    return found


@study.remembered()
def run_proxies(setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Accuracy (seeds,) on the target of a direct search and of three proxies: a tenth of the data, half of the blocks repeated, a
    quarter of the steps. Control: a network by lot in the place of the direct search's."""
    split, seeds = split_of(setting, data), tuple(seeds)
    space = _space(setting, split)
    options = {"seeds": seeds, "table": SERIAL, "tradeoff": 0.1, "mode": setting.mode}
    choices = {"direct": proxylessnas.search(space, split, steps=setting.steps, **options).choice}
    train, held = ((x[: max(30, len(x) // 10)], y[: max(30, len(y) // 10)]) for x, y in (split.train, split.validation))
    part = Split(train, held, split.test)
    choices["a tenth of the data"] = proxylessnas.search(space, part, steps=setting.steps, **options).choice
    short = _space(setting.model_copy(update={"blocks": max(1, setting.blocks // 2)}), split)
    half = proxylessnas.search(short, split, steps=setting.steps, **options).choice
    choices["half of the blocks"] = half.repeat(1, 2 * setting.blocks)[:, : setting.blocks]
    choices["a quarter of the steps"] = proxylessnas.search(
        space, split, steps=max(1, setting.steps // 4), **options
    ).choice
    if control:
        choices["direct"] = torch.stack([space.random(1, 50_000 + seed)[0] for seed in seeds])
    return {name: _accuracy(setting, space, split, choice, seeds) for name, choice in choices.items()}


@study.remembered()
def run_table(setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Regret and Kendall's tau (seeds,) on the tabular benchmark, beside random search. Control: choices by lot."""
    space, table = benchmark.space("eight"), benchmark.table()
    found = proxylessnas.search(
        space, benchmark.digit_pairs(), seeds=tuple(seeds), steps=setting.steps, mode=setting.mode
    )
    drawn = table.random_search(max(1, setting.steps // benchmark.STEPS), seeds)
    choice = torch.stack([space.random(1, 50_000 + seed)[0] for seed in seeds]) if control else found.choice
    return {
        "regret": table.regret(choice),
        "tau": table.kendall(found.alpha),
        "regret of random search": table.regret(drawn),
    }


def saved_bytes(candidates: int, *, mixture: bool = False, seed: int = 0) -> int:
    """Bytes that a step keeps for its backward pass, beside the weights: one path, or the mixture, with so many candidates."""
    split = split_of(Setting.of())
    build = proxylessnas.BLOCKS["mlp64"]
    space = proxylessnas.chain(2, 3, candidates={f"mlp{k}": build for k in range(candidates)})
    supernet = Supernet(space)
    parameters = {name: value.requires_grad_() for name, value in supernet.initialize([seed]).items()}
    choice = space.random(1, seed)
    weights = torch.full((1, space.places, candidates), 1 / candidates)
    x, y = split.train[0][:256], split.train[1][:256]
    own = {value.untyped_storage().data_ptr() for value in parameters.values()}
    kept = []  # alive until counted: no storage is met twice under one address

    def pack(value):
        if len(x) in value.shape and value.untyped_storage().data_ptr() not in own:
            kept.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        logits = supernet(parameters, weights, x) if mixture else supernet.path(parameters, choice, x)
        torch.nn.functional.cross_entropy(logits[0], y)
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in kept}
    return sum(storages.values())


def step_ratio(*, mixture: bool = False, rounds: int = 9, seed: int = 0) -> float:
    """Processor time of a weight step of a search over that of training a fixed network."""
    setting = Setting.of()
    split = split_of(setting)
    space, x = _space(setting, split), split.train[0][:64]
    supernet = Supernet(space)
    parameters = {name: value.requires_grad_() for name, value in supernet.initialize([seed]).items()}
    fixed = supernet.plan(torch.full((1, space.places), 2))
    weights = torch.full((1, space.places, len(space.names)), 0.25)
    times: dict[str, list[float]] = {"search": [], "plain": []}
    for number in range(rounds + 1):
        began = time.process_time()
        logits = supernet(parameters, weights, x) if mixture else supernet.path(parameters, space.random(1, number), x)
        logits.square().mean().backward()
        middle = time.process_time()
        supernet.planned(supernet.take(parameters, fixed), fixed, x).square().mean().backward()
        times["search"].append(middle - began)
        times["plain"].append(time.process_time() - middle)
    median = {name: sorted(values[1:])[rounds // 2] for name, values in times.items()}
    return median["search"] / median["plain"]
