"""A material learned from one throw, judged on bodies, throws, slopes and times that it never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from lab import study
from lab.kernels import MpmState, mpm_roll, mpm_step
from lab.physics import continuum as c
from lab.physics import nclaw
from lab.physics.graph_simulator import GraphSimulator

BOX, LAYERS, SPEED2 = 1.0, 3, 5.0
MATERIALS = {
    "jelly": (c.Corotated.of(1e5, 0.2), None),
    "plasticine": (c.Hencky.of(3e5, 0.25), c.VonMises(c.lame(3e5, 0.25)[0], 5e3)),
    "sand": (c.Hencky.of(1e6, 0.2), c.DruckerPrager(*c.lame(1e6, 0.2), 25.0)),
    "water": (c.Fluid.of(1e5, 0.3), c.Fluidity()),
}
TEACH = (1.0, -2.0)
HELD_OUT = {
    "ring": ("ring", TEACH, 4.0, 0.0),
    "bar": ("bar", TEACH, 4.0, 0.0),
    "velocity": ("square", (-2.0, -1.5), -6.0, 0.0),
    "slope": ("square", TEACH, 4.0, 25.0),
}
"""Body, throw (m/s), spin (1/s) and slope (degrees by which gravity is tilted) of what is judged."""


class Setting(study.Setting):
    """A square thrown into a corner, its motion, and the law that is learned from it."""

    material: Literal["jelly", "plasticine", "sand", "water"] = Field("jelly", title="Material")
    network: Literal["invariant", "symmetric", "raw"] = Field("invariant", title="Network")
    learned: Literal["one", "both"] = Field("one", title="Laws learned")
    dimension: int = Field(2, ge=2, le=3, title="Dimensions")
    side: int = Field(12, ge=4, le=40, title="Particles along a side")
    cells: int = Field(24, ge=16, le=64, title="Grid nodes an axis")
    steps: int = Field(400, ge=20, le=4000, title="Steps of the throw", json_schema_extra={"step": 20})
    epochs: int = Field(150, ge=0, le=2000, title="Epochs")
    width: int = Field(32, ge=4, le=128, title="Width of the network")
    rate: float = Field(1e-2, gt=0, le=1, title="Learning rate")

    PROFILES: ClassVar = {
        "smoke": {"side": 6, "cells": 16, "steps": 60, "epochs": 8, "width": 8},
        "full": {"dimension": 3, "side": 10, "cells": 20, "steps": 1000, "epochs": 300, "width": 64},
    }

    @property
    def dt(self) -> float:
        """Seconds a step: a third of the time in which sound crosses a cell of the stiffest material, at most 5e-4."""
        return 2.5e-4 if self.material == "sand" else 5e-4

    def scene(self, slope: float = 0.0) -> c.Scene:
        """The box: particles as close as in a square of 0.375 m, gravity tilted by ``slope`` degrees."""
        d, angle = self.dimension, math.radians(slope)
        gravity = (9.8 * math.sin(angle), *[0.0] * (d - 2), -9.8 * math.cos(angle))
        spacing = BOX / self.cells
        return c.Scene(self.cells, spacing, self.dt, volume=self.pitch**d, gravity=gravity, layers=LAYERS)

    @property
    def pitch(self) -> float:
        """Distance of particles at rest in m."""
        return 0.375 / self.side


@dataclass(frozen=True)
class Result:
    """What one study found.

    ``errors[scene]``: RMS distance to the true motion in m, one a seed; ``zero[scene]``: that of a body without stress;
    ``stretch``, ``stress``: a uniaxial stretch and Kirchhoff stress (Pa) of the true, learned and untrained law; ``visited``:
    least and greatest stretch in training; ``loss`` (epochs, seeds); ``films[scene]``: true and learned end positions of the
    first seed; ``laws``: the learned (elastic, plastic).
    """

    setting: Setting
    seeds: tuple[int, ...]
    errors: Mapping[str, torch.Tensor]
    zero: Mapping[str, torch.Tensor]
    loss: torch.Tensor
    stretch: torch.Tensor
    stress: Mapping[str, torch.Tensor]
    visited: tuple[float, float]
    films: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    laws: tuple

    def ratio(self, *scenes: str) -> torch.Tensor:
        """The worst error over ``scenes`` in units of the error without stress, one a seed."""
        return torch.stack([self.errors[name] / self.zero[name] for name in scenes]).amax(0)

    def to_frame(self):
        """One row a scene: errors and their ratio, means over seeds."""
        import pandas as pd

        rows = [
            {"scene": name, "error (m)": float(e.mean()), "without stress (m)": float(self.zero[name].mean()),
             "ratio": float(self.ratio(name).mean())}
            for name, e in self.errors.items()
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def save(self, path) -> None:
        """Write the table as CSV."""
        self.to_frame().to_csv(path, index=False)

    @staticmethod
    def load(path):
        """Read the table that :meth:`save` wrote."""
        import pandas as pd

        return pd.read_csv(path)


def body(shape: str, side: int, d: int, pitch: float) -> torch.Tensor:
    """side^d points of a lattice about the origin: those inside a square, ring, bar (twice as long) or disc of that volume."""
    axis = (torch.arange(4 * side, dtype=torch.float64) - 2 * side + 0.5) * pitch
    points = torch.cartesian_prod(*[axis] * d).reshape(-1, d)
    r, a = points.norm(dim=1), points.abs()
    level = {
        "square": a.amax(1),
        "ring": (r - 0.5 * side * pitch).abs(),
        "bar": torch.maximum(a[:, 0] / 2 ** (1 + 1 / (d - 1)), a[:, 1:].amax(1)),
        "disc": r,
    }[shape]
    return points[torch.argsort(level + 1e-9 * (points @ torch.arange(1.0, d + 1, dtype=torch.float64)))[: side**d]]


def thrown(setting: Setting, shape: str, velocity, spin: float) -> MpmState:
    """A body in the middle of the box, 3.5 cm above its floor, with its velocity: one scene."""
    d = setting.dimension
    points = body(shape, setting.side, d, setting.pitch)
    points = points + 0.5 * BOX
    points[:, -1] += LAYERS * BOX / setting.cells + 0.035 - points[:, -1].min()
    x = points.float()[None]
    flat = (velocity[0], *[-0.5] * (d - 2), velocity[1])
    return c.start(x, flat, spin)


def stacked(states) -> MpmState:
    """Scenes one after the other."""
    return MpmState(*(torch.cat(parts) for parts in zip(*states)))


def learned_laws(setting: Setting, seeds):
    """The elastic and the plastic law of the setting before training: modules where they are learned, else the true ones."""
    elastic, plastic = MATERIALS[setting.material]
    unit = 1000 * SPEED2
    options = {"d": setting.dimension, "width": setting.width, "seeds": seeds}
    makers = {
        "invariant": lambda: nclaw.MetaElasticity(**options, unit=unit),
        "symmetric": lambda: nclaw.MetaElasticity(**options, unit=unit, symmetric=True),
        "raw": lambda: nclaw.RawElasticity(**options, unit=unit),
    }
    flows = setting.material in ("plasticine", "sand")
    if setting.learned == "both" or not flows:
        elastic = makers[setting.network]()
    if flows:
        plastic = nclaw.MetaPlasticity(**options)
    return elastic, plastic


def roll(state: MpmState, elastic, plastic, scene: c.Scene, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions (steps + 1, scenes, particles, d) and which scenes broke; a broken one stays where it was."""
    low, high = 0.5 * scene.spacing, (scene.cells - 1.5) * scene.spacing
    lost = torch.zeros(len(state.x), dtype=torch.bool)
    safe, seen = state, [state.x]
    with torch.no_grad():
        for _ in range(steps):
            F = torch.where(lost[:, None, None, None], safe.F, state.F)
            tau = elastic(F)
            bad = ~torch.isfinite(tau).flatten(1).all(1) | (tau.flatten(1).abs().amax(1) > 1e12)
            if bool(bad.any()):
                lost |= bad
                tau = torch.where(lost[:, None, None, None], torch.zeros_like(tau), tau)
            state = MpmState(*(torch.where(lost.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in zip(state, safe)))
            state = mpm_step(*state, tau, **scene.options)
            if plastic is not None:
                state = state._replace(F=plastic(state.F))
            inside = ((state.x > low) & (state.x < high)).flatten(1).all(1)
            finite = torch.stack([torch.isfinite(each).flatten(1).all(1) for each in state]).all(0)
            lost |= ~(inside & finite)
            seen.append(torch.where(lost[:, None, None], seen[-1], state.x))
    return torch.stack(seen), lost


def distances(x: torch.Tensor, truth: torch.Tensor, lost: torch.Tensor) -> torch.Tensor:
    """RMS distance over steps and particles, one a scene; the size of the box where a simulation broke."""
    error = (x - truth).square().sum(-1).mean((0, 2)).sqrt()
    return torch.where(lost, torch.full_like(error, BOX), error)


def throws(setting: Setting, seeds) -> MpmState:
    """The first states of the trajectories that teach, one a seed: velocity and spin vary by a tenth."""
    states = []
    for seed in seeds:
        draw = torch.randn(3, generator=torch.Generator().manual_seed(1000 + seed), dtype=torch.float64).tolist()
        velocity = (TEACH[0] + 0.15 * draw[0], TEACH[1] + 0.15 * draw[1])
        states.append(thrown(setting, "square", velocity, 4.0 + 0.4 * draw[2]))
    return stacked(states)


def none(F: torch.Tensor) -> torch.Tensor:
    """No stress: dust."""
    return torch.zeros_like(F)


@study.remembered(size=32)
def run(setting: Setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Train on one throw a seed, then roll out every held-out scene with the learned law, the true one and none.

    Controls: ``"shuffled"`` (each particle is given another one's path), ``"untrained"`` (no epoch), ``"rigid"`` (the motion
    that teaches never yields), ``True`` is ``"shuffled"``.
    """
    truth = MATERIALS[setting.material]
    elastic, plastic = learned_laws(setting, seeds)
    scene, steps = setting.scene(), setting.steps
    scene.refuse_step(truth[0])
    first = throws(setting, seeds)
    seen = c.record(first, truth[0], None if control == "rigid" else truth[1], scene, steps)
    targets = None
    if control in (True, "shuffled"):
        order = torch.randperm(first.x.shape[1], generator=torch.Generator().manual_seed(0))
        targets = seen.x[:, :, order]
    before = [uniaxial(law, setting) for law in (truth[0], elastic)]
    lengths = tuple(k for k in (5, 10, 20, 40) if k <= steps // 4) if steps >= 100 else (5, 10)
    loss = nclaw.train(
        elastic, plastic, seen, scene, epochs=0 if control == "untrained" else setting.epochs, targets=targets,
        schedule=nclaw.TeacherSchedule(lengths), learning_rate=setting.rate, progress=progress,
    )  # fmt: skip
    for law in (elastic, plastic):
        if isinstance(law, nn.Module):
            law.requires_grad_(False)

    errors, zero, films = {}, {}, {}
    held = 3 * steps // 2
    groups = {0.0: ["ring", "bar", "velocity"], HELD_OUT["slope"][3]: ["slope"]}
    for slope, names in groups.items():
        where, models = setting.scene(slope), len(seeds)
        starts = stacked([thrown(setting, *HELD_OUT[name][:3]) for name in names])
        true = c.record(starts, *truth, where, held).x
        dust = c.record(starts, c.Corotated(1e-6, 0.0), None, where, held).x
        many = MpmState(*(each.repeat(models, *[1] * (each.ndim - 1)) for each in starts))
        x, lost = roll(many, elastic, plastic, where, held)
        for k, name in enumerate(names):
            own = x[:, k :: len(names)]
            errors[name] = distances(own, true[:, k : k + 1], lost[k :: len(names)])
            zero[name] = distances(dust[:, k : k + 1], true[:, k : k + 1], lost[:1] & False).expand(models)
            films[name] = (true[:, k], own[:, 0])
    true = c.record(first, *truth, scene, 2 * steps).x
    x, lost = roll(first, elastic, plastic, scene, 2 * steps)
    dust = c.record(first, c.Corotated(1e-6, 0.0), None, scene, 2 * steps).x
    errors["time"], zero["time"] = distances(x, true, lost), distances(dust, true, lost & False)
    films["time"] = (true[:, 0], x[:, 0])
    stretch = torch.linspace(0.7, 1.3, 61, dtype=torch.float64)
    curves = {"true": before[0], "learned": uniaxial(elastic, setting), "untrained": before[1]}
    values = torch.linalg.svdvals(seen.F)
    visited = float(values.min()), float(values.max())
    return Result(setting, tuple(seeds), errors, zero, loss, stretch, curves, visited, films, (elastic, plastic))


def uniaxial(law, setting: Setting) -> torch.Tensor:
    """Kirchhoff stress along F = diag(s, 1, ...), in Pa, for s from 0.7 to 1.3: the law's first model."""
    d = setting.dimension
    F = torch.eye(d).repeat(61, 1, 1)
    F[:, 0, 0] = torch.linspace(0.7, 1.3, 61)
    models = getattr(law, "models", 1)
    with torch.no_grad():
        return law(F.expand(models, 61, d, d).contiguous())[0, :, 0, 0].double()


@study.remembered(size=8)
def mixed(setting: Setting, *, seeds, data=None, control=False, progress=None) -> torch.Tensor:
    """Two learned materials, jelly beside water, in one scene: the worst of both errors over those without stress, (seeds,)."""
    laws = {}
    for name in ("jelly", "water"):
        found = run(setting.model_copy(update={"material": name}), seeds=seeds, control=control, progress=progress)
        laws[name] = found.laws[0]
    small = setting.model_copy(update={"side": max(4, 2 * setting.side // 3)})
    d, models = setting.dimension, len(seeds)
    points = body("square", small.side, d, setting.pitch)
    apart = torch.zeros(d, dtype=torch.float64)
    apart[0] = 0.55 * small.side * setting.pitch
    x = torch.cat([points - apart, points + apart]).float()[None] + 0.5
    state = c.start(x, (0.0,) * (d - 1) + (-1.5,))
    push = torch.where(torch.arange(x.shape[1]) < len(points), 1.0, -1.0)
    state = state._replace(v=state.v + torch.nn.functional.pad(push[None, :, None], (0, d - 1)))
    n, scene, steps = len(points), setting.scene(), setting.steps
    closed = [c.closed_law(*MATERIALS[name]) for name in ("jelly", "water")]
    true = mpm_roll(*state, closed, steps, material=(torch.arange(2 * n) >= n).long(), **scene.options).x
    dust = c.record(state, c.Corotated(1e-6, 0.0), None, scene, steps).x
    many = MpmState(*(each.repeat(models, *[1] * (each.ndim - 1)) for each in state))
    fluid = c.Fluidity()

    def stress(F):
        return torch.cat([laws["jelly"](F[:, :n].contiguous()), laws["water"](F[:, n:].contiguous())], 1)

    def flow(F):
        return torch.cat([F[:, :n], fluid(F[:, n:])], 1)

    x, lost = roll(many, stress, flow, scene, steps)
    parts = []
    for part in (slice(0, n), slice(n, None)):
        reference = distances(dust[:, :, part], true[:, :, part], lost[:1] & False)
        parts.append(distances(x[:, :, part], true[:, :, part], lost) / reference)
    return torch.stack(parts).amax(0)


@study.remembered(size=8)
def end_to_end(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """The graph simulator of the same throws: errors on the ring (seeds,), and how far it breaks momentum in free flight.

    ``"momentum"``: largest change of the mean velocity over its size while the true body moves without gravity or walls.
    """
    every = 10
    scene = setting.scene()
    seen = c.record(throws(setting, seeds), *MATERIALS[setting.material], scene, setting.steps, every)
    walls = LAYERS * scene.spacing, BOX - LAYERS * scene.spacing
    simulator = GraphSimulator(setting.dimension, every * setting.dt, 2.5 * setting.pitch, *walls, seeds=seeds)
    simulator.fit(seen.x, epochs=0 if control else max(2, setting.epochs // 3))
    start = thrown(setting, *HELD_OUT["ring"][:3])
    held = 3 * setting.steps // 2 // every * every
    true = c.record(start, *MATERIALS[setting.material], scene, held, every).x
    with torch.no_grad():
        many = start.x.expand(len(seeds), -1, -1), start.v.expand(len(seeds), -1, -1)
        x = simulator.roll(*many, held // every)
        x = torch.nan_to_num(x, nan=BOX)
        change = (simulator.scale * simulator.acceleration(*many)).mean(1).norm(dim=1)
    return {
        "error": distances(x, true, torch.zeros(len(seeds), dtype=torch.bool)),
        "momentum": change / start.v.mean(1).norm(),
        "x": x[:, 0],
    }


@study.remembered(size=4)
def filmed(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Laws from a 96 x 96 film of each throw, and from a fifth of the particles with noise: errors on the ring over dust.

    ``control``: the film is shown with its frames in a random order.
    """
    from lab.physics.film import film, tracked

    every, small = 10, setting.model_copy(update={"dimension": 2})
    scene = small.scene()
    frames = max(6, min(30, small.steps // every))
    seen = c.record(throws(small, seeds), *MATERIALS["jelly"], scene, frames * every, every)
    start = thrown(small, *HELD_OUT["ring"][:3])
    held = 3 * small.steps // 2
    true = c.record(start, *MATERIALS["jelly"], scene, held).x
    dust = distances(
        c.record(start, c.Corotated(1e-6, 0.0), None, scene, held).x, true, torch.zeros(1, dtype=torch.bool)
    )
    found: dict[str, list] = {"film": [], "marks": [], "tracking": []}
    for k, seed in enumerate(seeds):
        draw = torch.Generator().manual_seed(seed)
        path, resting = seen.x[:, k].double(), seen.x[0, k].double()
        order = torch.randperm(len(path) - 1, generator=draw) + 1 if control else torch.arange(1, len(path))
        path = torch.cat([path[:1], path[order]])
        marks = torch.randperm(len(resting), generator=draw)[: max(16, len(resting) // 5)]
        tracks = tracked(film(path, BOX, seed=seed), path[0], BOX)
        found["tracking"].append((tracks - path).square().sum(-1).mean().sqrt())
        noise = (
            0.01 * setting.pitch * setting.side * torch.randn(path[:, marks].shape, generator=draw, dtype=torch.float64)
        )
        noise[0] = 0
        for name, seen_marks in (("film", tracks), ("marks", smoothed(path[:, marks] + noise))):
            try:
                law = nclaw.fit_law(seen_marks, every * small.dt, scene, body=resting, epochs=small.epochs, width=small.width,
                                    seed=seed)  # fmt: skip
                x, lost = roll(start, law, None, scene, held)
                found[name].append((distances(x, true, lost) / dust)[0])
            except ValueError:  # tracks that fold the body, or a law that breaks the simulation: no law at all
                found[name].append(torch.tensor(BOX) / dust[0])
    return {name: torch.stack(values) for name, values in found.items()}


def smoothed(tracks: torch.Tensor, width: float = 1.5) -> torch.Tensor:
    """Tracks (frames, marks, d) averaged over neighbouring frames with Gaussian weights; the first frame is kept."""
    frames = torch.arange(len(tracks), dtype=tracks.dtype)
    gap = frames[:, None] - frames
    weight = torch.exp(-((gap / width) ** 2) / 2)
    design = torch.stack([torch.ones_like(gap), gap], 2)  # local lines, so that constant velocity stays
    normal = torch.einsum("ij,ijp,ijq->ipq", weight, design, design)
    hat = torch.linalg.solve(normal, (design * weight[..., None]).mT)[:, 0]
    found = torch.einsum("ij,jmd->imd", hat, tracks)
    found[0] = tracks[0]
    return found
