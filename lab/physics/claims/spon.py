"""Measurements of the statements about structure-preserving operator networks."""

from __future__ import annotations

import math

import torch

from lab.claims import Effects, measures
from lab.physics import boundary_problems as problems
from lab.physics.finite_elements import ELEMENTS, Space, unit_square
from lab.physics.mesh_hierarchy import FREE, constant_fields
from lab.physics.spon import Spon, spon
from lab.physics.studies import spon as study
from lab.physics.studies.spon import HELD, Setting


def _mesh(cell, k=2):
    if cell != "tetrahedron":
        return unit_square(k, cell)
    import skfem

    return skfem.MeshTet().refined(k - 1)


def _pairs():
    return [(element, cell) for element, cells in ELEMENTS.items() for cell in cells]


def _noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@measures("spon.boundary")
def boundary(trial):
    """Largest distance from the boundary values, over all elements. Control: coefficients on the boundary are not overwritten."""
    found = {}
    for element, cell in _pairs():
        space = Space(_mesh(cell), element)
        value = None if space.vector_valued else (lambda x: 1 + x[:, 0] ** 2)
        wanted = torch.zeros(space.size).double() if space.vector_valued else value(space.points)
        given = None if trial.control else value or 0.0
        net = spon(space, space, given, 2, channels=4, seeds=trial.seeds[:1]).requires_grad_(False)
        out = net(_noise(trial.seeds[0], 2, space.size))
        found[f"{element} {cell}"] = float((out - wanted)[:, space.boundary].abs().max())
    return Effects(max(found.values()), found)


@measures("spon.divergence")
def divergence(trial):
    """Largest net flux out of a cell over the largest flux, in 2-D and 3-D; distance of the curl of a linear stream function from
    the constant field that it is. Control: fluxes without the curl.
    """
    found = []
    for cell in ("triangle", "tetrahedron"):
        flux = Space(_mesh(cell, 3 if cell == "triangle" else 2), "RT0")
        net = spon(flux, flux, 0.0 if trial.control else FREE, 2, channels=6, seeds=trial.seeds[:1]).requires_grad_(
            False
        )
        found.append(float(problems.net_flux(flux, net(_noise(trial.seeds[0], 2, flux.size))[None]).max()))
    flux = Space(_mesh("triangle"), "RT0")
    g = spon(flux, flux, FREE, 1, channels=2).geometry
    psi = g.work.interpolate(lambda x: 3 * x[:, 1] - 2 * x[:, 0])
    wanted = flux.project(lambda x: torch.tensor([3.0, 2.0]).double().expand(x.shape))
    gap = (g.decode(psi[None, :, None, None])[0, :, 0, 0] - wanted).norm() / wanted.norm()
    return Effects(max(*found, float(gap)), {"net flux, 2-D and 3-D": found, "distance of the curl": float(gap)})


@measures("spon.orders")
def orders(trial):
    """Distance of the orders from 2 in L2 and 1 in H1, of decoder, encoder and the exact discrete operator between them.

    u = sin(pi x) sin(pi y) on the L-shape. Control: the encoder stays on the coarsest mesh.
    """
    errors = []
    ks = (3, 4) if trial.budget == "smoke" else (3, 4, 5)
    first = Space(problems.domain("L-shape", 1), "P1")

    def exact(x):
        return torch.sin(math.pi * x[..., 0]) * torch.sin(math.pi * x[..., 1])

    def force(x):
        return 2 * math.pi**2 * exact(x) + exact(x) ** 3

    for k in ks:
        space = Space(problems.domain("L-shape", k), "P1")
        f = space.project(force)
        if trial.control:
            f = torch.from_numpy(space.from_coarse(first) @ first.project(force).numpy())
        u = problems.diffusion(space, f[None])
        fine = Space(space.mesh, "P2")
        gap = torch.from_numpy(fine.from_coarse(space) @ u[0].numpy()) - fine.interpolate(exact)
        errors.append([float(fine.norm(gap[None], norm)) for norm in ("L2", "H1")])
    rates = (torch.tensor(errors[-2]) / torch.tensor(errors[-1])).log2()
    return Effects(float((rates - torch.tensor([2.0, 1.0])).abs().max()), {"errors": errors, "orders": rates.tolist()})


@measures("spon.gradients")
def gradients(trial):
    """Distance of derivatives along random directions from central differences, of the loss by input and by all weights.

    Control: derivatives through the last layer alone.
    """
    space = Space(unit_square(2), "P1")
    net = spon(space, space, 0.0, [unit_square(1)], channels=4, seeds=trial.seeds[:1]).double()
    x, y = _noise(trial.seeds[0], 2, 2, space.size)
    values = [x, *net.parameters()]
    with torch.no_grad():
        net.last[0].mul_(10.0)
    ways = [_noise(7 + k, *v.shape) for k, v in enumerate(values)]
    parameters = [v.requires_grad_() for v in values]
    slopes = torch.autograd.grad(net.loss(x, y).sum(), parameters)
    held = {id(v) for v in (net.last if trial.control else values)}
    ours = sum(float((s * w).sum()) for s, w, v in zip(slopes, ways, values) if id(v) in held)
    ends = []
    for sign in (1e-5, -1e-5):
        with torch.no_grad():
            for v, w in zip(values, ways):
                v.add_(sign * w)
            ends.append(float(net.loss(x, y).sum()))
            for v, w in zip(values, ways):
                v.sub_(sign * w)
    wanted = (ends[0] - ends[1]) / 2e-5
    return Effects(abs(ours - wanted) / abs(wanted), {"derivative": ours, "difference": wanted})


def _run(trial):
    return study.run(Setting.of(trial.budget), seeds=trial.seeds)


@measures("spon.learns", stacked=True)
def learns(trial):
    """Relative error on held-out forces. Control: trained on solutions of other forces."""
    if trial.control:
        return Effects(study.shuffled(Setting.of(trial.budget), seeds=trial.seeds))
    found = _run(trial).errors
    return Effects(found["multigrid", "L2"], {f"{arm}, {norm}": each.tolist() for (arm, norm), each in found.items()})


@measures("spon.geometries", stacked=True)
def geometries(trial):
    """The largest of the errors on three domains. Control: untrained."""
    found = study.geometries(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(torch.stack(list(found.values())).amax(0), {name: each.tolist() for name, each in found.items()})


@measures("spon.multigrid-error", stacked=True)
def multigrid_error(trial):
    """Error of the multigrid network over that of the plain one. Control: the two exchanged."""
    found = _run(trial).errors
    ratio = found["multigrid", "L2"] / found["plain", "L2"]
    return Effects(
        1 / ratio if trial.control else ratio, {arm: found[arm, "L2"].tolist() for arm in ("multigrid", "plain")}
    )


@measures("spon.multigrid-time", stacked=True)
def multigrid_time(trial):
    """CPU time of a forward pass of the multigrid network over that of the plain one. Control: the two exchanged."""
    found = _run(trial).seconds
    ratio = study.credited(_run(trial), found["multigrid"] / found["plain"])
    return Effects(1 / ratio if trial.control else ratio, {arm: each.tolist() for arm, each in found.items()})


@measures("spon.trade-off", stacked=True)
def trade_off(trial):
    """Minus the error on three meshes, in the order of the measured time of a forward pass. Control: the opposite order."""
    found = study.ladder(Setting.of(trial.budget), seeds=trial.seeds)
    values = -found["errors"].gather(1, found["seconds"].argsort(1))
    return Effects(values.flip(1) if trial.control else values, {name: each.tolist() for name, each in found.items()})


@measures("spon.finer-mesh", stacked=True)
def finer_mesh(trial):
    """Error on a mesh never seen, the coarsest mesh as in training. Control: the coarsest mesh refined along."""
    found = study.transfer(Setting.of(trial.budget), seeds=trial.seeds)
    return Effects(
        found["refined" if trial.control else "fixed"], {name: each.tolist() for name, each in found.items()}
    )


@measures("spon.incompressible-step", stacked=True)
def incompressible_step(trial):
    """Error of the flow after a time over that of the flow before. Control: the flow before in place of the network."""
    found = study.flow(Setting.of(trial.budget), seeds=trial.seeds)
    ours = found["persistence" if trial.control else "network"]
    return Effects(
        ours / found["persistence"], {name: found[name].tolist() for name in ("network", "persistence", "divergence")}
    )


@measures("spon.hyperelastic-beam", stacked=True)
def hyperelastic_beam(trial):
    """Relative error of displacements. Control: trained on displacements under other forces."""
    found = study.beam(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found["network"], {name: found[name].tolist() for name in ("network", "linear", "clamped")})


@measures("spon.any-element", stacked=True)
def any_element(trial):
    """Mean square error after a short training over that before, or the distance from the boundary values where that is larger, of
    the worst element. Control: no training.
    """
    found = []
    for seed in trial.seeds:
        ratios = {}
        for element, cell in _pairs():
            space = Space(_mesh(cell, 2), element)
            nodal = Space(space.mesh, "Q1" if cell == "quadrilateral" else "P1")
            f = problems.waves(nodal.points, 16, torch.Generator().manual_seed(seed))
            u = problems.diffusion(nodal, f)
            if space.vector_valued:
                parts = nodal.evaluate(space.points, space.homes)[0] @ u.numpy().T
                weights = constant_fields(space)
                u = torch.from_numpy(parts.T.copy()) * weights.sum(1)
            else:
                u = torch.from_numpy((nodal.evaluate(space.points, space.homes)[0] @ u.numpy().T).T.copy())
            u[:, space.boundary] = 0
            value = 0.0 if space.vector_valued else 1.0
            net: Spon = spon(nodal, space, value, 2, channels=8, blocks=(1, 2, 1), seeds=(seed,))
            losses = net.fit(f, u + value, steps=trial.of(20, 60, 60), rate=1e-12 if trial.control else 1e-2, batch=16)
            gap = float((net(f).detach()[:, space.boundary] - value).abs().max())
            ratios[f"{element} {cell}"] = max(gap, float(losses[-1] / losses[0]))
        found.append(ratios)
    return Effects([max(ratios.values()) for ratios in found], {"first seed": found[0]})


@measures("spon.faster-than-solver", stacked=True)
def faster_than_solver(trial):
    """CPU time per function over that of Newton's method. Control: Newton's method itself, measured twice."""
    setting, found = Setting.of(trial.budget), []
    ours = _run(trial).seconds["multigrid"] / HELD
    for k, seed in enumerate(trial.seeds):
        newton = study.solver_seconds(setting, seed)
        found.append((study.solver_seconds(setting, seed) if trial.control else float(ours[k])) / newton)
    ratio = torch.tensor(found)
    return Effects(ratio if trial.control else study.credited(_run(trial), ratio), {"network": ours.tolist()})
