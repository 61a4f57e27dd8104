"""Measurements of the statements about differentiable tactile pads."""

from __future__ import annotations

from dataclasses import replace

import torch

from lab.claims import Effects, measures
from lab.kernels import ElementMesh, element_step
from lab.kernels.element_step import reference
from lab.physics import continuum
from lab.physics import difftactile as dt
from lab.physics.studies import difftactile as study
from lab.physics.studies.difftactile import Setting

DOUBLE = torch.float64


def _normal(trial, *size):
    return torch.randn(*size, generator=torch.Generator().manual_seed(trial.seeds[0]), dtype=DOUBLE)


def _pressures(F, mesh, mu, lam):
    """Stress of one element under F by the compiled step: what its free nodes gain in velocity tells their forces."""
    x = (mesh.points @ F.mT)[None]
    after = element_step(x, torch.zeros_like(x), x[:, :0], mesh=mesh, lame=(mu, lam), dt=1e-4)
    force = after.v[0] * mesh.mass[:, None] / 1e-4
    return -(force[1:].mT / mesh.volume) @ torch.linalg.inv(mesh.inverse[0].mT)


def _simplex(d):
    return ElementMesh.of(
        torch.cat([torch.zeros(1, d), torch.eye(d)]).double(), torch.arange(d + 1)[None], surface=torch.arange(0)
    )


@measures("difftactile.rest-state")
def rest(trial):
    """Stress at rest, and its distance from the numerical gradient of the energy, over mu, in two and three dimensions.

    Control: a = 1, the law without the term that makes rest stress-free.
    """
    mu, lam, worst = 2.0, 5.0, []
    for d in (2, 3):
        mesh, one = _simplex(d), torch.eye(d, dtype=DOUBLE)
        extra = mu * d / (d + 1) if trial.control else 0.0
        F = (one + 0.2 * _normal(trial, d, d)).requires_grad_()
        (exact,) = torch.autograd.grad(reference.energy(F, mu, lam), F)
        F = F.detach()
        worst.append(float((_pressures(one, mesh, mu, lam) + extra * one).abs().max()) / mu)
        for found in (_pressures(F, mesh, mu, lam), reference.stress(F, mu, lam)):
            worst.append(float((found + extra * reference.cofactors(F) - exact).abs().max()) / mu)
    return Effects(max(worst), {"values": worst})


@measures("difftactile.linear-limit")
def linear(trial):
    """Relative distance of the stress at strains of 1e-4 from Hooke's law of the same Young's modulus and Poisson's ratio.

    Control: Lame's constants of Hooke's law put into the law as they are.
    """
    worst = []
    mu, lam = continuum.lame(8e3, 0.43)
    for d in (2, 3):
        strain = 1e-4 * _normal(trial, d, d)
        hooke = mu * (strain + strain.T) + lam * strain.trace() * torch.eye(d, dtype=DOUBLE)
        constants = (mu, lam) if trial.control else dt.stable_lame(8e3, 0.43, d)
        found = _pressures(torch.eye(d, dtype=DOUBLE) + strain, _simplex(d), *constants)
        plain = reference.stress(torch.eye(d, dtype=DOUBLE) + strain, *constants)
        worst += [float((each - hooke).norm() / hooke.norm()) for each in (found, plain)]
    return Effects(max(worst), {"values": worst})


def _touches(trial, depth):
    """Random normals, velocities and parameters (400, ...) and their contact forces at a depth in m."""
    n = torch.nn.functional.normalize(_normal(trial, 400, 3), dim=1)
    u, row = 0.3 * _normal(trial, 400, 6)[:, 3:], 1 + _normal(trial, 400, 4).abs()
    return n, u, row, dt.penalty(torch.full((400,), -depth, dtype=DOUBLE), n, u, row)


@measures("difftactile.contact-dissipates")
def dissipates(trial):
    """Largest power that damping and friction put into a contact, over the mean size of their power. Control: the sign of f_t."""
    n, u, row, force = _touches(trial, 1e-2)
    spring = (row[:, 0] * 1e-2)[:, None] * n
    rest = force - spring
    if trial.control:
        rest = rest - 2 * (rest - (rest * n).sum(1, keepdim=True) * n)
    power = (rest * u).sum(1)
    return Effects(float((power / power.abs().mean()).max()))


@measures("difftactile.contact-continuous")
def continuous(trial):
    """Largest force at a depth of 1e-9 m over the mean normal force at 1e-2 m. Control: a dashpot that does not see the depth."""
    n, u, row, force = _touches(trial, 1e-2)
    deep = (force * n).sum(1).mean()
    n, u, row, force = _touches(trial, 1e-9)
    if trial.control:
        force = force + (row[:, 1] * (-(n * u).sum(1)).clamp_min(0))[:, None] * n
    return Effects(float(force.norm(dim=1).max() / deep) if deep > 0 else torch.inf)


@measures("difftactile.contact-modes", stacked=True)
def modes(trial):
    """The least of three shares of the finger's way: stuck, slipped, rolled along. Control: no friction."""
    shares = study.modes(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)["shares"]
    return Effects(shares.amin(1), {"stick, slip, roll": shares.mean(0).tolist()})


@measures("difftactile.stiffness-range", stacked=True)
def stiffness(trial):
    """Logarithms of the peak forces on blocks of 1, 10 and 100 kPa. Control: three blocks of 10 kPa."""
    found = study.materials(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)["peaks"]
    return Effects(found.log(), {"newtons": found.mean(0).tolist()})


@measures("difftactile.plastic-imprint", stacked=True)
def imprint(trial):
    """Height that a plastic block loses for good over that of an elastic one. Control: neither yields."""
    lost = study.materials(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)["lost"]
    return Effects(lost[:, 1] / lost[:, 0].abs(), {"mm": (1e3 * lost.mean(0)).tolist()})


@measures("difftactile.cable-keeps-length", stacked=True)
def cable(trial):
    """Largest relative change of a link of a pushed cable. Control: a compliance of stretch of 0.1 m/N."""
    worst = []
    for seed in trial.seeds:
        one = study.skill("cable", seed)
        thing = one.scene.objects[0]
        if trial.control:
            thing = replace(thing, stretch=0.1)
        y = replace(one.scene, objects=[thing]).roll(3 * one.actions).particles[0][-1, 0]
        links = [(p[1:] - p[:-1]).norm(dim=1) for p in (y, thing.points)]
        worst.append(float((links[0] / links[1] - 1).abs().max()))
    return Effects(worst)


@measures("difftactile.identification", stacked=True)
def identification(trial):
    """The worst relative error of four contact parameters. Control: a trace without sliding."""
    found = study.run(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found.errors.amax(1), {"mean errors": found.errors.mean(0).tolist()})


@measures("difftactile.transfer", stacked=True)
def transfer(trial):
    """Force error on a held-out press before calibration over that after. Control: the forces in a random order."""
    found = study.transfer(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found["before"] / found["after"], {name: found[name].tolist() for name in ("before", "after")})


@measures("difftactile.fewer-evaluations", stacked=True)
def fewer(trial):
    """Evaluations that the better of cross-entropy and random search needs over those of the gradient. Control: it is detached."""
    found = study.control_force(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(study.fewer(found), {arm: float(values[-1].mean()) for arm, values in found.items()})


def _skill(trial, name):
    control = "detached" if trial.control else False
    found = study.skills(Setting.of(trial.budget), seeds=trial.seeds, control=control)
    return Effects(found[f"{name} planned"] / found[f"{name} start"])


def _touch(trial, name):
    found = study.skills(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found[f"{name} with"] / found[f"{name} without"])


@measures("difftactile.grasp", stacked=True)
def grasp(trial):
    """Error of the learned grasp and lift, slip included, over that of the first motion. Control: contact gradient detached."""
    return _skill(trial, "grasp")


@measures("difftactile.push", stacked=True)
def push(trial):
    """Error of the pose of a pushed box over that of the first motion. Control: contact gradient detached."""
    return _skill(trial, "push")


@measures("difftactile.straighten", stacked=True)
def straighten(trial):
    """What is left of a cable's bow over what the first motion leaves. Control: contact gradient detached."""
    return _skill(trial, "cable")


@measures("difftactile.touch-helps-grasp", stacked=True)
def touch_grasp(trial):
    """Error with the tactile term over that without, under weaker friction and more load. Control: neither arm has it."""
    return _touch(trial, "grasp")


@measures("difftactile.touch-helps-push", stacked=True)
def touch_push(trial):
    """The same for the pushed box."""
    return _touch(trial, "push")


@measures("difftactile.touch-helps-cable", stacked=True)
def touch_cable(trial):
    """The same for the cable."""
    return _touch(trial, "cable")


@measures("difftactile.optical-normals", stacked=True)
def normals(trial):
    """Mean angle in degrees between true and inferred normals of unseen shapes. Control: training normals shuffled over pixels."""
    found = study.optics(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found["angle"], {"flat surface": found["flat"].tolist()})
