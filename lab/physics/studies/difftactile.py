"""What a differentiable pad is good for: contact found from forces, transfer, skills with and without touch, materials, optics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from pydantic import Field

from lab import checks, study
from lab.claims import tunes
from lab.kernels import element_step
from lab.physics import difftactile as dt
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

TRUTH, START = (40.0, 200.0, 1.0, 0.5), dt.Contact(20.0, 80.0, 3.0, 0.25)
ARMS = {"gradient": (0.01, 0.02, 0.04), "cross-entropy": (0.02, 0.05, 0.1), "random": (0.02, 0.05, 0.1)}
"""Step size of the gradient, and standard deviation of the first population of both searches, in m/s."""
HOLD = 36
"""Frames for which two fingers hold still at the end when a grasp is judged."""
REACH = 10  # a search gives up after so many times the evaluations of the gradient
SKILLS = ("grasp", "push", "cable")
TOUCH = {"grasp": 0.6, "push": 0.1, "cable": 0.05}
"""Normal force in N that the tactile term asks for: twice what holds the disc, what moves the box at 0.1 m/s, a light touch."""


class Setting(study.Setting):
    """A pad of 6 cm by 2 cm, a disc of 3 cm radius, and what is to be found or learned.

    In two dimensions all is per metre of depth; in three, contact parameters of a node are those times the width of an element.
    """

    dimension: int = Field(2, ge=2, le=3, title="Dimensions")
    cells: int = Field(12, ge=3, le=96, title="Elements along the pad", json_schema_extra={"step": 3})
    frames: int = Field(24, ge=6, le=600, title="Frames of a press", json_schema_extra={"step": 6})
    gradients: int = Field(150, ge=2, le=5000, title="Gradients of the identification")
    skill_gradients: int = Field(40, ge=2, le=2000, title="Gradients of a skill")
    knots: int = Field(6, ge=2, le=60, title="Velocities per skill and component")
    pixels: int = Field(48, ge=12, le=512, title="Pixels a side")

    PROFILES: ClassVar = {
        "smoke": {"cells": 6, "frames": 12, "gradients": 8, "skill_gradients": 2, "knots": 3, "pixels": 24},
        "full": {
            "dimension": 3,
            "cells": 24,
            "frames": 60,
            "gradients": 600,
            "skill_gradients": 200,
            "knots": 12,
            "pixels": 240,
        },
    }

    @property
    def unit(self) -> torch.Tensor:
        """What contact parameters are multiplied by in this dimension, (4,)."""
        width = 1.0 if self.dimension == 2 else 0.06 / self.cells
        return torch.tensor([width, width, width, 1.0], dtype=torch.float64)

    def pad(self, finer: int = 1) -> dt.Pad:
        """The pad, its elements smaller by ``finer``."""
        n, thick = self.cells * finer, max(1, self.cells // 3) * finer
        if self.dimension == 2:
            return dt.Pad.block((0.06, 0.02), (n, thick))
        return dt.Pad.block((0.06, 0.06, 0.02), (n, n, thick))

    def scene(self, contact=START, finer: int = 1) -> dt.Scene:
        """The pad just above a held disc or ball."""
        if isinstance(contact, dt.Contact):
            contact = contact.row() * self.unit
        place = (0.03, -0.03) if self.dimension == 2 else (0.03, 0.03, -0.03)
        return dt.Scene(self.pad(finer), [dt.Rigid((0.03,), place)], contact, 2e-4 / finer, 10 * finer)

    def press(self, seeds, *, slide: float = 0.08, speed: float = 0.15) -> torch.Tensor:
        """Press, slide, press, slide, press, slide: actions (frames, scenes, 1, d)."""
        actions = torch.zeros(self.frames, len(seeds), 1, self.dimension, dtype=torch.float64)
        part = self.frames // 6
        for k in range(6):
            actions[k * part : (k + 1) * part, ..., 0 if k % 2 else -1] = slide if k % 2 else -speed * 4 / part
        return actions


@dataclass(frozen=True)
class Result:
    """Contact parameters (seeds, 4) that were true, found and assumed at first; relative squared errors (steps, seeds); the true,
    first and last force trace (frames, d) of the first seed; its mark displacements (frames + 1, marks, d)."""

    setting: Setting
    seeds: tuple[int, ...]
    truth: torch.Tensor
    found: torch.Tensor
    losses: torch.Tensor
    traces: Mapping[str, torch.Tensor]
    markers: torch.Tensor

    @property
    def errors(self) -> torch.Tensor:
        """Relative errors (seeds, 4)."""
        return (self.found / self.truth - 1).abs()

    def to_frame(self):
        """One row a parameter: true and found value of the first seed, and the mean error."""
        import pandas as pd

        names = ("k_n (N/m)", "k_d (N s/m²)", "k_t (N s/m)", "μ_f")
        rows = zip(names, self.truth[0].tolist(), self.found[0].tolist(), self.errors.mean(0).tolist())
        return pd.DataFrame(rows, columns=["parameter", "true", "found", "mean relative error"])

    def save(self, path) -> None:
        """Write the table as CSV."""
        self.to_frame().to_csv(path, index=False)

    @staticmethod
    def load(path):
        """Read the table that :meth:`save` wrote."""
        import pandas as pd

        return pd.read_csv(path)


def _draw(seed: int, count: int) -> torch.Tensor:
    return 2 * torch.rand(count, generator=torch.Generator().manual_seed(500 + seed), dtype=torch.float64) - 1


def truths(seeds) -> torch.Tensor:
    """Contact parameters (seeds, 4), a fifth around their middle values."""
    return torch.stack([torch.tensor(TRUTH, dtype=torch.float64) * (1 + 0.2 * _draw(seed, 4)) for seed in seeds])


@study.remembered(size=4)
def run(setting: Setting, *, seeds, data=None, control=False, progress=None) -> Result:
    """Contact parameters from a force trace. Control: a trace without sliding."""
    truth, actions = truths(seeds) * setting.unit, setting.press(seeds, slide=0.0 if control else 0.08)
    real = setting.scene(truth).roll(actions)
    forces = real.force.sum(2)
    fitted = dt.fit_contact(setting.scene(), actions, forces, steps=setting.gradients, progress=progress)
    traces = {"true": forces[:, 0]}
    for name, contact in (("assumed", START), ("found", fitted.contact[:1])):
        traces[name] = setting.scene(contact).roll(actions[:, :1]).force[:, 0].sum(1)
    return Result(setting, tuple(seeds), truth, fitted.contact, fitted.losses, traces, real.markers()[:, 0])


def midpoint(scene: dt.Scene, actions: torch.Tensor) -> torch.Tensor:
    """Forces (frames, scenes, d) by another integrator: the midpoint rule, which asks the kernel for accelerations alone."""
    x = scene.pad.mesh.points.expand(actions.shape[1], -1, -1)
    v, h = torch.zeros_like(x), scene.dt
    forces: list[torch.Tensor] = []
    rigid = [each for each in scene.objects if isinstance(each, dt.Rigid)]
    pose = torch.tensor([dt._three(r.place) for r in rigid], dtype=x.dtype).expand(len(x), -1, -1)
    options: dict[str, Any] = {"mesh": scene.pad.mesh, "lame": scene.lame, "contact": scene.contact,
               "viscosity": scene.pad.viscosity, "bodies": dt.bodies(rigid, x.shape[2]), "dt": h, "pose": pose}  # fmt: skip
    for action in actions:
        drive, total = action[:, scene.pad.finger], x.new_zeros(x.shape[0], x.shape[2])
        for _ in range(scene.substeps):
            half = element_step(x, v, drive, **options)
            middle = (half.v + v) / 2
            full = element_step(x + h / 2 * v, middle, drive, **options)
            x, v = x + h * torch.where((scene.pad.mesh.driven >= 0)[:, None], full.v, middle), v + full.v - middle
            v = torch.where((scene.pad.mesh.driven >= 0)[:, None], full.v, v)
            total = total + full.contact_force.sum(1) / scene.substeps
        forces.append(total)
    return torch.stack(forces)


@study.remembered(size=4)
def transfer(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Relative force errors (seeds,) ``before`` and ``after`` fitting contact and pad to forces of another simulator.

    The other one has elements of half the size, the midpoint rule, a pad stiffer or softer by up to a fifth, and 2 % noise;
    errors are those on a press that was not fitted, faster and sliding the other way. Control: the forces in a random order.
    """
    truth, mild = truths(seeds) * setting.unit, torch.stack([1 + 0.2 * _draw(seed, 5)[4:] for seed in seeds])
    coarse = setting.scene()
    lame = torch.tensor(coarse.pad.lame, dtype=torch.float64) * mild
    fine = replace(setting.scene(truth, finer=2), lame=lame)
    seen, held = setting.press(seeds), setting.press(seeds, slide=-0.06, speed=0.18)
    noise = torch.Generator().manual_seed(min(seeds))
    forces, wanted = midpoint(fine, seen), midpoint(fine, held)
    forces = forces + 0.02 * forces.square().mean().sqrt() * torch.randn(
        forces.shape, generator=noise, dtype=forces.dtype
    )
    if control:
        forces = forces[torch.randperm(len(forces), generator=noise)]
    fitted = dt.fit_contact(coarse, seen, forces, fit=("contact", "lame"), steps=setting.gradients, progress=progress)
    found = {"wanted": wanted[:, 0]}
    for name, scene in (("before", coarse), ("after", replace(coarse, contact=fitted.contact, lame=fitted.lame))):
        trace = scene.roll(held).force.sum(2)
        found[f"{name} trace"] = trace[:, 0]
        found[name] = (trace - wanted).norm(dim=(0, 2)) / wanted.norm(dim=(0, 2))
    return found


def search(loss: Callable, start: torch.Tensor, arm: str, spread: float, rounds: int, seed: int, population: int = 16):
    """Least losses (rounds * population, scenes) so far of the cross-entropy method (a quarter are elite) or of random search.

    ``loss`` takes candidates (..., scenes, numbers) and returns (..., scenes); both draw around ``start`` (scenes, numbers).
    """
    generator, mean, deviation, seen = checks.generator(9000 + seed), start, torch.full_like(start, spread), []
    for _ in range(rounds):
        tried = mean + deviation * torch.randn(population, *start.shape, generator=generator, dtype=start.dtype)
        tried[0] = mean
        with torch.no_grad():
            found = loss(tried)
        seen.append(found)
        if arm == "cross-entropy":
            elite = tried.gather(0, found.argsort(0)[: population // 4, :, None].expand(-1, -1, start.shape[1]))
            mean, deviation = elite.mean(0), elite.std(0) + 1e-4
    return torch.cat(seen).cummin(0).values


def _task(setting: Setting, seeds):
    """Pad over a disc, a force trace made by hidden knots, and the loss of knots (scenes, 2 knots) relative to the trace."""
    scene = replace(setting.scene(dt.Contact()), substeps=10)
    count = 2 * setting.knots
    hidden = torch.stack([_draw(seed, count) for seed in seeds]) * 0.06
    hidden[:, setting.knots :] -= 0.09
    start = torch.cat(
        [torch.zeros(len(seeds), setting.knots), torch.full((len(seeds), setting.knots), -0.06)], 1
    ).double()

    def actions(knots):
        spread = knots.unflatten(-1, (2, setting.knots)).mT  # (..., scenes, knots, 2)
        stretched = spread.repeat_interleave(-(-12 // setting.knots), -2)[..., :12, :]
        flat = stretched.reshape(-1, 12, 1, 2).transpose(0, 1)
        return torch.cat(
            [flat[..., :1], *[torch.zeros_like(flat[..., :1])] * (setting.dimension - 2), flat[..., 1:]], -1
        )

    target = scene.roll(actions(hidden)).force.sum(2)

    def loss(knots):
        wanted = target.repeat(1, knots.numel() // hidden.numel(), 1)
        found = scene.roll(actions(knots)).force.sum(2)
        return ((found - wanted).square().sum((0, 2)) / wanted.square().sum((0, 2))).reshape(knots.shape[:-1])

    return start, loss


def descend(loss: Callable, start: torch.Tensor, rate: float, steps: int, detached: bool = False) -> torch.Tensor:
    """Least losses (steps + 1, scenes) so far of Adam; ``detached`` cuts the gradient where contact makes it."""
    knots, seen = start.clone().requires_grad_(), []
    optimizer = torch.optim.Adam([knots], lr=rate)
    for k in range(steps + 1):
        each = loss(knots.detach() if detached else knots)
        seen.append(each.detach())
        if k < steps and not detached:
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * k / steps))
            optimizer.zero_grad()
            each.sum().backward()
            optimizer.step()
    return torch.stack(seen).cummin(0).values


@study.remembered(size=4)
def control_force(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Motions that make a force trace: least relative losses (evaluations, seeds) so far of each arm of ``ARMS``.

    One gradient counts as one evaluation. Control: the contact gradient is detached.
    """
    best = chosen("difftactile", "force control", ARMS)
    start, loss = _task(setting, seeds)
    found = {"gradient": descend(loss, start, best["gradient"], setting.skill_gradients, bool(control))}
    rounds = -(-REACH * setting.skill_gradients // 16)
    for arm in ("cross-entropy", "random"):
        found[arm] = search(loss, start, arm, best[arm], rounds, min(seeds))
    return found


def fewer(found: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """How many times as many evaluations the better search needs for the last loss of the gradient, (seeds,); at most ``REACH``."""
    level, used = found["gradient"][-1], len(found["gradient"]) - 1
    need = [(found[arm] > level).sum(0).double() + 1 for arm in ("cross-entropy", "random")]
    return (torch.stack(need).amin(0) / used).clamp_max(float(REACH))


@tunes("difftactile")
def tune_arms(progress=None) -> None:
    """Tune the step size of the gradient and the spread of both searches, three each, by their last loss; record all trials."""
    setting = Setting.of("default", cells=6)

    def scores(arm, grid, seeds):
        start, loss = _task(setting, seeds)
        if arm == "gradient":
            return [(-descend(loss, start, rate, setting.skill_gradients)[-1]).tolist() for rate in grid]
        rounds = -(-REACH * setting.skill_gradients // 16)
        return [(-search(loss, start, arm, spread, rounds, 1000)[-1]).tolist() for spread in grid]

    record("difftactile", tune("force control", ARMS, scores, seeds=TUNING_SEEDS[:2], progress=progress))


@dataclass(frozen=True)
class Skill:
    """What a skill is: its scene, first actions (frames, fingers, 2), its error (rollout) -> (scenes,), and the normal
    force (rollout) -> (frames, scenes) that the tactile term reads."""

    scene: dt.Scene
    actions: torch.Tensor
    error: Callable
    touch: Callable


def skill(name: str, seed: int) -> Skill:
    """Two pads that lift a disc, a pad that pushes a box to a pose, a pad that straightens a cable."""
    draw = _draw(seed, 3).tolist()
    actions, frames = torch.zeros(12, 2 if name == "grasp" else 1, 2, dtype=torch.float64), 12
    if name == "grasp":
        radius, mass, height = 0.02 + 0.002 * draw[0], 0.05 * (1 + 0.2 * draw[1]), 4e-3
        pads = [dt.Pad.block((0.03, 0.015), (4, 2), place=(side * radius, -0.015), face=face)
                for side, face in ((-1, "right"), (1, "left"))]  # fmt: skip
        load = torch.zeros(frames, 3, dtype=torch.float64)
        load[:, 1] = -9.8 * mass * torch.linspace(0.0, 2.0, frames).clamp_max(1.0)  # the shelf hands its load over
        disc = dt.Rigid((radius,), (0.0, 0.0), mass, 0.5 * mass * radius**2, load=load)
        scene = dt.Scene(pads[0].beside(pads[1]), [disc], dt.Contact(200, 200, 10, 0.8 + 0.1 * draw[2]), 4e-4, 10)
        actions[:, 0, 0], actions[:, 1, 0], actions[6:, :, 1] = 0.02, -0.02, height / (6 * 4e-3)

        def height_error(found):
            rise = found.pose[-1, :, 0, 1]
            finger = (found.x[-1] - found.x[0])[:, (pads[0].mesh.driven >= 0).nonzero()[0, 0], 1]
            return ((rise - height).abs() + (rise - finger).abs()) / height

        def touch(found):  # normal force of a finger from the depth of the marks
            gap = (found.x[1:, :, scene.pad.marks] - found.pose[1:, :, 0, None, :2]).norm(dim=-1)
            return 200.0 * torch.relu(radius - gap).sum(2) / 2

        return Skill(scene, actions, height_error, touch)
    if name == "push":
        target = torch.tensor([2e-3 * draw[0], -6e-3 * (1 + 0.2 * draw[1]), 0.1 * draw[2]], dtype=torch.float64)
        box = dt.Rigid((0.012, 0.006, 0.002), (0.03, -0.0079), 0.02, 2e-6, drag=(1.0, 1.0, 1e-4))
        scene = dt.Scene(dt.Pad.block((0.06, 0.02), (6, 2)), [box], dt.Contact(), 4e-4, 10)
        actions[..., 1] = -0.05

        def pose_error(found):
            moved = found.pose[-1, :, 0] - found.pose[0, :, 0] - target
            return (moved[:, :2].norm(dim=1) + 0.01 * moved[:, 2].abs()) / target[:2].norm()

        return Skill(scene, actions, pose_error, lambda found: found.force[:, :, 0, 1])
    across = torch.linspace(0, 0.06, 7, dtype=torch.float64)
    bow = 4e-3 * (1 + 0.3 * draw[0]) * torch.sin(math.pi * across / 0.06)
    points = torch.stack([across, bow], 1)
    cable = dt.Cable(points, drag=200.0, held=(0,), bend=10.0)
    scene = dt.Scene(
        dt.Pad.block((0.06, 0.02), (6, 2), place=(0.0, 0.0055 + float(bow.max()))), [cable], dt.Contact(), 4e-4, 4
    )
    actions[..., 1] = -0.15

    def error(found):
        last = found.particles[0][-1]
        return last[..., 1].square().mean(1).sqrt() / bow.square().mean().sqrt()

    return Skill(scene, actions, error, lambda found: found.soft_force[0][..., 1])


def judged(one: Skill, actions: torch.Tensor) -> dt.Roll:
    """The rollout that is judged: friction lower, load and drag higher by 30 % than planned, a grasp with ``HOLD`` frames more."""
    scene, things = one.scene, []
    hold = HOLD if one.scene.pad.fingers > 1 else 0
    for each in one.scene.objects:
        drag = (
            [1.3 * float(d) for d in each.drag]
            if isinstance(each, dt.Rigid) and not isinstance(each.drag, float)
            else 1.3 * each.drag
        )
        more: dict[str, Any] = {"drag": drag}
        if isinstance(each, dt.Rigid) and isinstance(each.load, torch.Tensor):
            more["load"] = torch.cat([1.3 * each.load, 1.3 * each.load[-1:].expand(HOLD, 3)])
        things.append(replace(each, **more))  # type: ignore[type-var]
    row = scene.contact.row() * torch.tensor([1.0, 1.0, 1.0, 0.7], dtype=torch.float64)
    with torch.no_grad():
        return replace(scene, objects=things, contact=row).roll(
            torch.cat([actions, torch.zeros_like(actions[:1]).expand(hold, -1, -1, -1)])
        )


@study.remembered(size=8)
def skills(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """For every skill the error (seeds,) of the first motion (``start``), of the one that was learned (``planned``), and under the
    conditions of :func:`judged` the errors ``with`` and ``without`` the tactile term, learned with as many gradients.

    Both arms are scenes of one batch. Controls: ``True``, neither has the term; ``"detached"``, the contact gradient is.
    """
    found = {}
    for name in SKILLS:
        left = []
        for seed in seeds:
            one = skill(name, seed)
            weight = torch.tensor([0.0 if control else 1.0, 0.0], dtype=torch.float64)

            def loss(rolled, actions, one=one, weight=weight, name=name):
                short = torch.relu(1 - one.touch(rolled) / TOUCH[name])[len(actions) // 3 :].square().mean(0)
                total = one.error(rolled) + weight * short
                return total.detach() if control == "detached" else total

            steps = max(2, setting.skill_gradients // (2 if name == "cable" else 1))
            start = one.actions[:, None].expand(-1, 2, -1, -1)
            best, _ = dt.fit_motion(one.scene, start, loss, steps=steps, progress=progress)
            with torch.no_grad():
                first, planned = one.error(one.scene.roll(torch.cat([start[:, :1], best[:, 1:]], 1)))
            left.append(torch.stack([first, planned, *one.error(judged(one, best))]))
        for k, what in enumerate(("start", "planned", "with", "without")):
            found[f"{name} {what}"] = torch.stack(left)[:, k]
    return found


def squeezed(setting: Setting, thing, seeds, back: bool = True) -> dt.Roll:
    """A pad that presses a soft block by 3 mm, a fifth more or less by seed (scenes), and goes back."""
    pad = dt.Pad.block((0.06, 0.02), (6, 2), place=(0.05, 0.0380))
    depth = 0.003 * (1 + 0.2 * torch.cat([_draw(seed, 1) for seed in seeds]))
    actions = torch.zeros(setting.frames, len(seeds), 1, 2, dtype=torch.float64)
    actions[..., 1] = -depth[:, None] / (setting.frames * 5 * 4e-4)
    if back:
        actions = torch.cat([actions, -1.5 * actions, torch.zeros_like(actions)])
    with torch.no_grad():
        return dt.Scene(pad, [thing], dt.Contact(5000, 200, 1, 0.5), 4e-4, 5).roll(actions)


def slab(young: float, yield_stress: float | None = None) -> dt.Soft:
    """A soft block of 6 x 2 cm that lies on the floor of its box."""
    return dt.Soft.block(
        (0.05, 0.015), (0.11, 0.035), pitch=5e-3, young=young, yield_stress=yield_stress, cells=(16, 12), dt=4e-4
    )


@study.remembered(size=8)
def materials(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Peak forces (seeds, 3) in N on blocks of 1, 10 and 100 kPa, and the height (seeds, 2) in m that an elastic and a
    plastic block lose for good. Control: all blocks have 10 kPa and none yields.
    """
    stiff = [1e4] * 3 if control else [1e3, 1e4, 1e5]
    peaks = [squeezed(setting, slab(young), seeds, back=False).soft_force[0][..., 1].amax(0) for young in stiff]
    lost, shown = [], {}
    for name, limit in (("elastic", None), ("plastic", None if control else 100.0)):
        y = squeezed(setting, slab(1e4, limit), seeds).particles[0]
        top = y[0, 0, :, 1] > 0.03
        settled = y[-setting.frames // 2 :, :, top, 1].mean(0)
        lost.append((y[0, :, top, 1] - settled).mean(1))
        shown[name] = (y[..., top, 1] - y[0, :, top, 1]).mean(-1)[:, 0]
    return {"peaks": torch.stack(peaks, 1), "lost": torch.stack(lost, 1), **shown}


@study.remembered(size=8)
def modes(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Shares (seeds, 3) of the finger's way that the marks in contact stick (high mu_f), slip (low mu_f), or that a free disc rolls
    along. Control: no friction at all.
    """
    press, way, speed, found = 24, 1e-3, 0.02, []
    depth = 3e-3 * (1 + 0.1 * torch.cat([_draw(seed, 1) for seed in seeds]))
    actions = torch.zeros(press + round(way / (speed * 2e-3)), len(seeds), 1, 2, dtype=torch.float64)
    actions[:press, ..., 1], actions[press:, ..., 0] = -depth[:, None] / (press * 2e-3), speed
    pad = dt.Pad.block((0.06, 0.02), (6, 2))
    middle = pad.marks[pad.mesh.points[pad.marks, 0].sub(0.03).abs().argmin()]
    for kind, friction, inertia in (("stick", 5.0, None), ("slip", 0.02, None), ("roll", 5.0, 1e-3)):
        disc = dt.Rigid((0.03,), (0.03, -0.03), None, inertia)
        contact = dt.Contact(1000, 200, 0.0 if control else 150.0, 0.0 if control else friction)
        with torch.no_grad():
            rolled = dt.Scene(pad, [disc], contact).roll(actions)
        moved = (rolled.x[-1, :, middle, 0] - rolled.x[press, :, middle, 0]) / way
        turned = -0.03 * (rolled.pose[-1, :, 0, 2] - rolled.pose[press, :, 0, 2]) / way
        found.append({"stick": 1 - moved, "slip": moved, "roll": turned}[kind])
    return {"shares": torch.stack(found, 1)}


def pressed_surface(
    setting: Setting, count: int, generator: torch.Generator, bumps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (count, n, n, 3) and normals of a gel pressed by ``bumps`` balls each: three coloured lamps whose light
    falls off with distance, 1 % noise."""
    n = setting.pixels
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, n)] * 2, indexing="ij")
    height = torch.zeros(count, n, n)
    for _ in range(bumps):
        a, b, r, depth = torch.rand(4, count, 1, 1, generator=generator)
        square = (x - 1.2 * a + 0.6) ** 2 + (y - 1.2 * b + 0.6) ** 2
        height = torch.minimum(height, -(0.2 + 0.15 * depth) * torch.exp(-square / (2 * (0.15 + 0.15 * r) ** 2)))
    slope = torch.stack(torch.gradient(height, spacing=2 / (n - 1), dim=(2, 1)), -1)
    normals = torch.nn.functional.normalize(torch.cat([-slope, torch.ones(count, n, n, 1)], -1), dim=-1)
    colours = []
    for k in range(3):
        angle = 2 * math.pi * k / 3
        lamp = torch.tensor([math.cos(angle) * 0.8, math.sin(angle) * 0.8, 0.6])
        near = 1 / (1 + 0.3 * ((x - 1.5 * math.cos(angle)) ** 2 + (y - 1.5 * math.sin(angle)) ** 2))
        colours.append(near * torch.sigmoid(2.5 * (normals @ lamp)) * 1.2)
    images = torch.stack(colours, -1)
    return (images + 0.01 * torch.randn(images.shape, generator=generator)).clamp(0, 1), normals


@study.remembered(size=8)
def optics(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Mean angle (seeds,) in degrees between true and inferred normals of three bumps, learned on single ones; ``flat``:
    that of a flat surface. Control: the normals of training are shuffled over pixels."""
    found: dict[str, list] = {"angle": [], "flat": []}
    shown = {}
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        images, normals = pressed_surface(setting, 16, generator, 1)
        if control:
            normals = normals.reshape(-1, 3)[torch.randperm(normals.numel() // 3, generator=generator)].reshape(
                normals.shape
            )
        net = dt.fit_optics(images, normals, steps=3 * setting.gradients, seed=seed)
        images, normals = pressed_surface(setting, 4, generator, 3)
        inferred = net(dt.pixels(images))
        for name, guess in (("angle", inferred), ("flat", torch.tensor([0.0, 0.0, 1.0]).expand_as(normals))):
            found[name].append(torch.rad2deg(torch.acos((guess * normals).sum(-1).clamp(-1, 1))).mean())
        shown = shown or {"image": images[0], "true": normals[0], "inferred": inferred[0]}
    return {**{name: torch.stack(values) for name, values in found.items()}, **shown}
