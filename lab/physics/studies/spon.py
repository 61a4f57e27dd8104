"""Operator networks on finite-element spaces: plain and multigrid, over domains, meshes and elements, a flow and a beam."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from pydantic import Field

from lab import study
from lab.claims import tunes
from lab.physics import boundary_problems as problems
from lab.physics.finite_elements import Space, as_tensor, unit_square
from lab.physics.spon import FREE, Spon, spon, train
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

GRID = ((3e-3, 0.5), (6e-3, 0.5), (3e-3, 0.0))
ARMS = {"multigrid": GRID, "plain": GRID}  # step size, and the power of the mesh size in the blocks


class Setting(study.Setting):
    """-Lap u + u^3 = f on an L-shape, from random waves; multigrid and plain networks with as many channels."""

    refinements: int = Field(3, ge=2, le=8, title="Refinements of the L-shape (3: 225 nodes)")
    functions: int = Field(200, ge=4, le=100_000, title="Training functions")
    steps: int = Field(200, ge=5, le=1_000_000, title="Training steps", json_schema_extra={"step": 50})
    channels: int = Field(24, ge=2, le=256, title="Channels")
    batch: int = Field(16, ge=1, le=1000, title="Functions per step")

    PROFILES: ClassVar = {
        "smoke": {"refinements": 2, "functions": 30, "steps": 30, "channels": 8, "batch": 6},
        "full": {"refinements": 6, "functions": 2000, "steps": 20_000, "channels": 64, "batch": 32},
    }


HELD = 40


@dataclass(frozen=True)
class Result:
    """Relative errors on held-out functions in the mean over these: ``errors[arm, norm]`` (seeds,), arms multigrid, plain and
    discretization (the exact discrete solution, against the mesh refined twice), norms L2 and H1.

    ``seconds[arm]`` (seeds,): CPU time of a forward pass of one model on the held-out functions; ``losses[arm]`` (steps, seeds).
    ``mesh`` (points, cells) and ``shown`` (force, solution, both predictions) of the first held-out function, for pictures.
    """

    setting: Setting
    seeds: tuple[int, ...]
    errors: Mapping[tuple[str, str], torch.Tensor]
    seconds: Mapping[str, torch.Tensor]
    losses: Mapping[str, torch.Tensor]
    parameters: Mapping[str, int]
    nodes: tuple[int, ...]
    mesh: tuple[torch.Tensor, torch.Tensor]
    shown: Mapping[str, torch.Tensor]

    def to_frame(self):
        """One row an arm: mean errors, their spread over seeds, forward time, parameters."""
        import pandas as pd

        rows = []
        for arm in self.seconds:
            L2 = self.errors[arm, "L2"]
            rows.append({"arm": arm, "L2 error": float(L2.mean()), "spread": float(L2.std()) if len(L2) > 1 else 0.0,
                         "H1 error": float(self.errors[arm, "H1"].mean()), "forward ms": 1e3 * float(self.seconds[arm].mean()),
                         "parameters": self.parameters[arm]})  # fmt: skip
        return pd.DataFrame(rows)

    def save(self, path) -> None:
        """Write the table as CSV."""
        self.to_frame().to_csv(path, index=False)

    @staticmethod
    def load(path):
        """Read the table that :meth:`save` wrote."""
        import pandas as pd

        return pd.read_csv(path)


@lru_cache(maxsize=16)
def problem(name: str, refinements: int, functions: int, seeds: tuple[int, ...]):
    """The space, forces f and solutions u (seeds, functions + HELD, n); a seed's forces are the same functions on every mesh."""
    space = Space(problems.domain(name, refinements), "P1")
    f = torch.stack([waves_of(space, functions + HELD, seed) for seed in seeds])
    return space, f, problems.diffusion(space, f.flatten(0, 1)).unflatten(0, f.shape[:2])


def waves_of(space: Space, count: int, seed: int) -> torch.Tensor:
    """The forces (count, n) of a seed."""
    return problems.waves(space.points, count, torch.Generator().manual_seed(5000 + seed))


def coarser(name: str, refinements: int, lowest: int = 1) -> list:
    """Meshes below that of a space, each half as fine, down to ``lowest`` refinements."""
    return [problems.domain(name, k) for k in range(refinements - 1, lowest - 1, -1)]


@lru_cache(maxsize=32)
def trained(
    setting: Setting, seeds: tuple[int, ...], arm: str = "multigrid", name: str = "L-shape", hyper: tuple | None = None
):
    """Networks of all seeds, side by side, on one domain; their losses (steps, seeds)."""
    rate, power = hyper or chosen("spon", "networks", ARMS)[arm]
    space, f, u = problem(name, setting.refinements, setting.functions, seeds)
    levels = coarser(name, setting.refinements, 2 if name == "notched" else 1) if arm == "multigrid" else 1
    net = spon(space, space, 0.0, levels, channels=setting.channels, power=power, seeds=seeds)
    return fitted(net, setting, f[:, HELD:], u[:, HELD:], rate)


def fitted(net: Spon, setting: Setting, f, u, rate: float):
    """A network after training on (seeds, functions, ...) and its losses (steps, seeds)."""
    losses = net.fit(of(net, f), of(net, u), steps=setting.steps, rate=rate, batch=setting.batch, seed=1)
    return net.requires_grad_(False), losses.reshape(setting.steps, -1)


def of(net: Spon, x: torch.Tensor) -> torch.Tensor:
    """(seeds, ...) as the network takes it: without that axis where there is one model."""
    return x if net.models > 1 else x[0]


def error(net: Spon, f: torch.Tensor, u: torch.Tensor, norm: str = "L2") -> torch.Tensor:
    """The relative error (seeds,) in the mean over functions."""
    with torch.no_grad():
        return net.loss(of(net, f.double()), of(net, u.double()), norm).reshape(len(f), -1).sqrt().mean(1)


def clocked(net: Spon, f: torch.Tensor, repeats: int = 3) -> float:
    """CPU seconds of a forward pass of one of the models on functions (seeds, items, n), the least of some repeats."""
    x, costs = of(net, f).float(), []
    with torch.no_grad():
        for _ in range(repeats + 1):
            begin = time.process_time()
            net(x)
            costs.append(time.process_time() - begin)
    return min(costs[1:]) / net.models


@study.remembered(size=4)
def run(setting: Setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Train both networks on the L-shape and judge them on held-out forces. Control: outputs are shuffled among the inputs."""
    space, f, u = problem("L-shape", setting.refinements, setting.functions, seeds)
    test, some = (f[:, :HELD], u[:, :HELD]), slice(0, 10)
    errors, seconds, losses, shown, parameters = {}, {}, {}, {"force": f[0, 0], "solution": u[0, 0]}, {}
    for arm in ("multigrid", "plain"):
        net, losses[arm] = trained(setting, seeds, arm)
        for norm in ("L2", "H1"):
            errors[arm, norm] = error(net, *test, norm)
        seconds[arm] = torch.tensor([clocked(net, test[0]) for _ in seeds])
        parameters[arm] = sum(p[0].numel() for p in net.parameters())
        shown[arm] = net(of(net, test[0])).reshape(len(seeds), HELD, -1)[0, 0]
    finer = Space(problems.domain("L-shape", min(8, setting.refinements + 2)), "P1")
    best = problems.diffusion(finer, torch.stack([waves_of(finer, 10, seed) for seed in seeds]).flatten(0, 1))
    lifted = torch.from_numpy((finer.from_coarse(space) @ u[:, some].flatten(0, 1).numpy().T).T.copy())
    for norm in ("L2", "H1"):
        ratio = finer.norm(lifted - best, norm) / finer.norm(best, norm)
        errors["discretization", norm] = ratio.reshape(len(seeds), -1).mean(1)
    cells = torch.from_numpy(space.mesh.t.T.astype("int64"))
    nodes = tuple(len(level.features) for level in trained(setting, seeds)[0].geometry.levels)
    return Result(setting, seeds, errors, seconds, losses, parameters, nodes, (space.points, cells), shown)


def credited(result: Result, ratio: torch.Tensor) -> torch.Tensor:
    """Ratios of times (seeds,); 1 where the network's error is not below 0.9 of that of predicting 0: its time is worth nothing."""
    return torch.where(result.errors["multigrid", "L2"] < 0.9, ratio, 1.0)


def solver_seconds(setting: Setting, seed: int, count: int = 5) -> float:
    """CPU seconds per function of Newton's method with a sparse factorization, to a relative change of 1e-6."""
    from scipy.sparse import diags
    from scipy.sparse.linalg import splu

    space, f, _ = problem("L-shape", setting.refinements, setting.functions, (seed,))
    inside = torch.ones(space.size, dtype=torch.bool)
    inside[space.boundary] = False
    keep = torch.nonzero(inside)[:, 0].numpy()
    A, M = (B.tocsr()[keep][:, keep].tocsc() for B in (space.stiffness, space.mass))
    right = (space.mass @ f[0, :count].numpy().T)[keep].T
    begin = time.process_time()
    for b in right:
        u = 0 * b
        for _ in range(20):
            change = splu(A + M @ diags(3 * u**2)).solve(b - A @ u - M @ u**3)
            u = u + change
            if abs(change).max() <= 1e-6 * abs(u).max():
                break
    return (time.process_time() - begin) / count


@study.remembered(size=4)
def shuffled(setting: Setting, *, seeds, data=None, control=False, progress=None) -> torch.Tensor:
    """The error (seeds,) of multigrid networks that were trained on solutions of other forces."""
    space, f, u = problem("L-shape", setting.refinements, setting.functions, seeds)
    rate, power = chosen("spon", "networks", ARMS)["multigrid"]
    levels = coarser("L-shape", setting.refinements)
    net = spon(space, space, 0.0, levels, channels=setting.channels, power=power, seeds=seeds)
    net, _ = fitted(net, setting, f[:, HELD:], u[:, HELD:].roll(1, 1), rate)
    return error(net, f[:, :HELD], u[:, :HELD])


@study.remembered(size=4)
def geometries(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """The multigrid network's error (seeds,) on every domain, trained on it. Control: untrained."""
    found = {}
    for name in problems.DOMAINS:
        one = Setting(**{**setting.model_dump(), "refinements": setting.refinements + (name != "L-shape")})
        space, f, u = problem(name, one.refinements, one.functions, seeds)
        if control:
            net = spon(space, space, 0.0, coarser(name, one.refinements, 2), channels=one.channels, seeds=seeds)
        else:
            net = trained(one, seeds, "multigrid", name)[0]
        found[name] = error(net, f[:, :HELD], u[:, :HELD])
    return found


@study.remembered(size=4)
def ladder(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Over three meshes: errors (seeds, meshes) against the solution on a mesh finer by two, CPU seconds (seeds, meshes), nodes."""
    finest = Space(problems.domain("L-shape", setting.refinements + 2), "P1")
    best = problems.diffusion(finest, torch.stack([waves_of(finest, 10, seed) for seed in seeds]).flatten(0, 1))
    errors, seconds, nodes = [], [], []
    for k in range(setting.refinements - 2, setting.refinements + 1):
        space, f, u = problem("L-shape", k, setting.functions, seeds)
        rate, power = chosen("spon", "networks", ARMS)["multigrid"]
        if k == setting.refinements:
            net = trained(setting, seeds)[0]
        else:
            levels = coarser("L-shape", k, min(1, k - 1)) if k else 1
            net = spon(space, space, 0.0, levels, channels=setting.channels, power=power, seeds=seeds)
            net, _ = fitted(net, setting, f[:, HELD:], u[:, HELD:], rate)
        with torch.no_grad():
            out = net(of(net, f[:, :10])).reshape(-1, space.size)
        lifted = torch.from_numpy((finest.from_coarse(space) @ out.numpy().T).T.copy())
        errors.append((finest.norm(lifted - best) / finest.norm(best)).reshape(len(seeds), -1).mean(1))
        seconds.append(torch.tensor([clocked(net, f[:, :HELD]) for _ in seeds]))
        nodes.append(space.size)
    return {"errors": torch.stack(errors, 1), "seconds": torch.stack(seconds, 1), "nodes": torch.tensor(nodes)}


@study.remembered(size=4)
def transfer(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Errors (seeds,) on a mesh refined once more, of weights trained on two meshes; with the coarsest mesh fixed and refined
    along, and of the output on the training mesh, interpolated."""
    k = setting.refinements
    rate, power = chosen("spon", "networks", ARMS)["multigrid"]
    sets = [problem("L-shape", r, setting.functions, seeds) for r in (k - 1, k, k + 1)]
    below = [problems.domain("L-shape", max(0, k - 2))]
    net = spon(sets[1][0], sets[1][0], 0.0, below, channels=setting.channels, power=power, seeds=seeds)
    other = net.on(sets[0][0], sets[0][0], below)
    pairs = [(of(net, f[:, HELD:]), of(net, u[:, HELD:])) for _, f, u in (sets[1], sets[0])]
    train([net, other], pairs, steps=setting.steps // 2, rate=rate, batch=setting.batch, seed=1)
    net.requires_grad_(False)
    space, f, u = sets[2]
    f, u = f[:, :HELD], u[:, :HELD]
    refined = [problems.domain("L-shape", max(0, k - 2) + 1)]
    found = {
        name: error(net.on(space, space, levels), f, u) for name, levels in (("fixed", below), ("refined", refined))
    }
    out = net(of(net, sets[1][1][:, :HELD])).reshape(-1, sets[1][0].size)
    lifted = torch.from_numpy((space.from_coarse(sets[1][0]) @ out.numpy().T).T.copy()).reshape(u.shape)
    ratio = space.norm((lifted - u).flatten(0, 1)) / space.norm(u.flatten(0, 1))
    found["interpolated"] = ratio.reshape(len(seeds), -1).mean(1)
    return found


@study.remembered(size=4)
def flow(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Errors (seeds,) of fluxes in RT0 after a time, of a network with a stream function as decoder and of the fluxes before.

    ``"divergence"``: the largest net flux through the sides of a triangle over the largest flux.
    """
    k = setting.refinements
    mesh = [unit_square(j) for j in range(k, 0, -1)]
    stream, flux = Space(mesh[0], "P1"), Space(mesh[0], "RT0")
    edge = 16 * (stream.points * (1 - stream.points)).prod(1)
    psi = torch.stack([problems.waves(stream.points, setting.functions + HELD, torch.Generator().manual_seed(7000 + s), 0.3) * edge
                       for s in seeds])  # fmt: skip
    after = problems.flow(stream, psi.flatten(0, 1), time=0.3, steps=30).reshape(psi.shape)
    net = spon(flux, flux, FREE, mesh[1:] or 1, channels=setting.channels, power=chosen("spon", "networks", ARMS)["multigrid"][1],
               seeds=seeds)  # fmt: skip
    C = as_tensor(net.geometry.decode._exact.tocsr()[: flux.size, : stream.size])
    c, wanted = (torch.sparse.mm(C, p.reshape(-1, stream.size).T).T.reshape(*p.shape[:2], -1) for p in (psi, after))
    net, losses = fitted(net, setting, c[:, HELD:], wanted[:, HELD:], chosen("spon", "networks", ARMS)["multigrid"][0])
    out = net(of(net, c[:, :HELD])).reshape(len(seeds), HELD, -1)
    gap = flux.norm((c - wanted)[:, :HELD].flatten(0, 1)) / flux.norm(wanted[:, :HELD].flatten(0, 1))
    still = gap.reshape(len(seeds), -1).mean(1)
    return {"network": error(net, c[:, :HELD], wanted[:, :HELD]), "persistence": still,
            "divergence": problems.net_flux(flux, out), "losses": losses,
            "shown": torch.stack([problems.speed(flux, v) for v in (c[0, 0], wanted[0, 0], out[0, 0])])}  # fmt: skip


@study.remembered(size=4)
def beam(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Errors (seeds,) of a hyperelastic beam's displacements by the network and by the linear theory; a picture.

    Control: displacements are shuffled among the forces.
    """
    k, held = setting.refinements - 1, HELD // 2
    space, count = Space(problems.beam_mesh(k), "P1"), setting.functions // 2 + held
    f = torch.stack([torch.stack([problems.waves(space.points / 4, count, torch.Generator().manual_seed(9000 + 2 * s + j), 0.02)
                                  for j in (0, 1)], -1) for s in seeds])  # fmt: skip
    u = problems.beam(space, f.flatten(0, 1)).reshape(f.shape)
    linear = problems.beam(space, f[:, :held].flatten(0, 1), finite=False, stages=1).reshape(len(seeds), held, -1, 2)
    rate, power = chosen("spon", "networks", ARMS)["multigrid"]
    levels = [problems.beam_mesh(j) for j in range(k - 1, -1, -1)] or 1
    net = spon(space, space, 0.0, levels, where=lambda x: x[:, 0] < 1e-9, components=(2, 2), channels=setting.channels,
               power=power, seeds=seeds)  # fmt: skip
    net, losses = fitted(net, setting, f[:, held:], u[:, held:].roll(1, 1) if control else u[:, held:], rate)
    out = net(of(net, f[:, :held])).reshape(len(seeds), held, -1, 2)
    square = [space.norm(v.movedim(3, 2).flatten(0, 2)).square().reshape(len(seeds), held, 2).sum(2)
              for v in (linear - u[:, :held], u[:, :held])]  # fmt: skip
    return {"network": error(net, f[:, :held], u[:, :held]), "linear": (square[0] / square[1]).sqrt().mean(1),
            "clamped": out[:, :, space.points[:, 0] < 1e-9].abs().amax((1, 2, 3)), "points": space.points, "losses": losses,
            "cells": torch.from_numpy(space.mesh.t.T.astype("int64")), "shown": torch.stack([u[0, 0], out[0, 0]])}  # fmt: skip


@tunes("spon")
def tune_networks(progress=None) -> None:
    """Tune step size and power of the mesh size of both networks, three settings each, by the held-out error; record all trials."""
    setting = Setting.of("default")

    def scores(arm, grid, seeds):
        _, f, u = problem("L-shape", setting.refinements, setting.functions, tuple(seeds))
        nets = [trained.__wrapped__(setting, tuple(seeds), arm, hyper=hyper)[0] for hyper in grid]
        return [(-error(net, f[:, :HELD], u[:, :HELD])).tolist() for net in nets]

    record("spon", tune("networks", ARMS, scores, seeds=TUNING_SEEDS[:2], progress=progress))
