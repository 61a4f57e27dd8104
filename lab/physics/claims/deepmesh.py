"""Measurements of the statements about differentiable iso-surfaces."""

from __future__ import annotations

import math

import torch

from lab.claims import Effects, measures
from lab.physics import deepmesh as d
from lab.physics import surfaces as s
from lab.physics.studies import deepmesh as study
from lab.physics.studies.deepmesh import Setting


def _ellipsoid(draw):
    """Half axes over r, r, and the centre, random."""
    axes = 0.7 + 0.6 * torch.rand(3, generator=draw)
    return axes, 0.5 + 0.1 * float(torch.rand((), generator=draw)), 0.05 * torch.randn(3, generator=draw)


def _sizes(axes, r):
    """Volume and area of the ellipsoid."""
    from scipy.special import elliprg

    a, b, c = (r * axes.double()).tolist()
    return 4 / 3 * math.pi * a * b * c, 4 * math.pi * float(elliprg(a * a * b * b, a * a * c * c, b * b * c * c))


def _derivatives(draw, resolution, unit, occupancy=False):
    """dV/dr and dA/dr of an ellipsoid whose field is no distance, over the exact ones, less one."""
    axes, size, centre = _ellipsoid(draw)
    r = torch.tensor(size, requires_grad=True)

    def field(x):
        apart = ((x - centre) / (r * axes)).norm(dim=-1) - 1
        return 0.5 - torch.sigmoid(-6 * apart) if occupancy else apart

    mesh = s.isosurface(lambda x: field(x).detach(), resolution)
    found = s.attached(field, mesh, unit=unit)
    volume, area = _sizes(axes, size)
    errors = []
    for measure, wanted in ((s.volume, 3 * volume / size), (s.area, 2 * area / size)):
        (slope,) = torch.autograd.grad(measure(found, mesh.faces), r, retain_graph=True)
        errors.append(float(slope) / wanted - 1)
    return errors


@measures("deepmesh.surface-derivative")
def derivative(trial):
    """Largest relative error of dV/dr and dA/dr of four ellipsoids at 64 points a side. Control: |grad s| counts as 1."""
    draw = torch.Generator().manual_seed(trial.seeds[0])
    return Effects([abs(e) for _ in range(4) for e in _derivatives(draw, 64, trial.control)])


@measures("deepmesh.occupancy")
def occupancy(trial):
    """The same of probabilities of being inside. Control: |grad s| counts as 1."""
    draw = torch.Generator().manual_seed(trial.seeds[0])
    return Effects([abs(e) for _ in range(4) for e in _derivatives(draw, 64, trial.control, True)])


@measures("deepmesh.second-order")
def order(trial):
    """The order at which the root mean square error of dV/dr falls from 16 to 64 points. Control: |grad s| counts as 1."""
    errors = []
    for n in (16, 64):
        draw = torch.Generator().manual_seed(trial.seeds[0])
        found = torch.tensor([_derivatives(draw, n, trial.control)[0] for _ in range(6)])
        errors.append(float(found.square().mean().sqrt()))
    return Effects(math.log(errors[0] / errors[1]) / math.log(63 / 15), {"errors": errors})


@measures("deepmesh.any-resolution")
def any_resolution(trial):
    """Largest distance of vertices to a tilted torus at 96 points a side over that at 24.

    Control: the field is known at 24 points a side only and is interpolated to 96.
    """
    draw = torch.Generator().manual_seed(trial.seeds[0])
    turn = torch.linalg.qr(torch.randn(3, 3, generator=draw))[0]
    field = lambda x: study.torus(x @ turn)  # noqa: E731
    coarse, fine = (s.sample(field, n) for n in (24, 96))
    if trial.control:
        values = torch.nn.functional.interpolate(
            coarse.values[None, None], size=(96,) * 3, mode="trilinear", align_corners=True
        )
        fine = s.Samples(values[0, 0], 1.0, 0)
    far = [float(field(s.surface(one).vertices).abs().max()) for one in (coarse, fine)]
    exact = 2 * math.pi**2 * 0.6 * 0.25**2
    mesh = s.surface(fine)
    off = abs(float(s.volume(mesh.vertices, mesh.faces)) / exact - 1)
    return Effects(max(far[1] / far[0], off), {"distances": far, "relative error of the volume": off})  # fmt: skip


@measures("deepmesh.watertight")
def watertight(trial):
    """Open edges, wrong Euler characteristic and relative error of the volume of one to four balls and tori.

    Control: every body meshed with the faces of a sphere.
    """
    draw = torch.Generator().manual_seed(trial.seeds[0])
    found = []
    for count in (1, 2, 3, 4):
        corners = torch.tensor([[-1, -1], [1, 1], [-1, 1], [1, -1]])[:count] * 0.5
        rings = torch.rand(count, generator=draw).round().bool()
        rings[0] = True

        def field(x, corners=corners, rings=rings):
            parts = []
            for (a, b), ring in zip(corners.tolist(), rings.tolist()):
                local = x - torch.tensor([a, b, 0.0])
                parts.append(study.torus(local, 0.28, 0.12) if ring else local.norm(dim=-1) - 0.35)
            return torch.stack(parts).amin(0)

        volume = sum(2 * math.pi**2 * 0.28 * 0.12**2 if ring else 4 / 3 * math.pi * 0.35**3 for ring in rings.tolist())
        mesh = s.isosurface(field, 80)
        expected = 2 * int((~rings).sum())
        if trial.control:
            mesh = s.isosurface(lambda x: x.norm(dim=-1) - 0.35, 80)
        open_edges = int((s.edges(mesh.faces)[1] != 2).sum())
        off = abs(float(s.volume(mesh.vertices, mesh.faces)) / volume - 1)
        found.append(open_edges + abs(s.euler(mesh.faces) - expected) + off)
    return Effects(found)


def _run(trial):
    return study.run(Setting.of(trial.budget), seeds=trial.seeds)


@measures("deepmesh.topology-changes", stacked=True)
def topology(trial):
    """Handles that are missing or too many at the end, plus the distance to the torus. Control: a mesh with fixed faces."""
    result = _run(trial)
    traces = result.fixed if trial.control else result.field
    wrong = [abs(one.euler[-1]) / 2 for one in traces]
    left = result.final["fixed mesh" if trial.control else "field"]
    return Effects(torch.tensor(wrong) + left, {"wrong handles": wrong})


@measures("deepmesh.closer-than-a-fixed-mesh", stacked=True)
def closer(trial):
    """Distance to the torus over that of the mesh with fixed faces. Control: the fixed mesh in the place of the field."""
    result = _run(trial)
    arm = result.final["fixed mesh" if trial.control else "field"]
    return Effects(arm / result.final["fixed mesh"], {"start": result.start.tolist()})


def _views(trial):
    return study.views(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)


@measures("deepmesh.single-view", stacked=True)
def single_view(trial):
    """Error after refining the code through the mesh over that of the encoder. Control: the next shape's picture."""
    found = _views(trial)
    return Effects(found["refined"] / found["encoder"], {"encoder": found["encoder"].tolist()})


@measures("deepmesh.single-view-explicit", stacked=True)
def single_view_explicit(trial):
    """The same over a sphere whose vertices follow the picture. Control: the next shape's picture."""
    found = _views(trial)
    return Effects(found["refined"] / found["vertices"], {"vertices": found["vertices"].tolist()})


def _shaped(trial):
    return study.shaped(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)


@measures("deepmesh.least-area", stacked=True)
def least_area(trial):
    """A / (36 pi V^2)^(1/3) of what a rounded box becomes. Control: vertices get each other's gradients."""
    found = _shaped(trial)
    return Effects(found["area"], {"at the start": found["box area"].tolist()})


@measures("deepmesh.less-drag", stacked=True)
def less_drag(trial):
    """Drag at equal volume over that of the sphere. Control: vertices get each other's gradients."""
    found = _shaped(trial)
    return Effects(found["drag"], {"volume over the sphere's": found["volume"].tolist()})


@measures("deepmesh.scene-topology", stacked=True)
def scene_topology(trial):
    """Parts and handles missing or too many, plus the distance to the scene. Control: three spheres whose vertices move."""
    found = study.scenes(Setting.of(trial.budget), seeds=trial.seeds)
    arm = "vertices" if trial.control else "codes"
    return Effects(found[f"{arm} wrong"] + found[arm], {"wrong": found[f"{arm} wrong"].tolist()})


@measures("deepmesh.scene-error", stacked=True)
def scene_error(trial):
    """Distance to the true scene over that of three spheres whose vertices move. Control: the scan of another scene."""
    setting = Setting.of(trial.budget)
    found = study.scenes(setting, seeds=trial.seeds, control=trial.control)
    theirs = study.scenes(setting, seeds=trial.seeds)["vertices"]
    return Effects(found["codes"] / theirs, {"vertices": theirs.tolist()})


@measures("deepmesh.end-to-end", stacked=True)
def end_to_end(trial):
    """Error after training with the mesh loss over that without. Control: meshes are compared with the next shape."""
    found = study.ends(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return Effects(found["mesh"] / found["field"], {"before": found["before"].tolist()})


def _moving(seed, steps, every):
    """Evaluations of a field that moves for ``steps`` steps at 64 points a side."""
    draw = torch.Generator().manual_seed(seed)
    turn, shift = torch.linalg.qr(torch.randn(3, 3, generator=draw))[0], torch.zeros(3)
    shape = d.IsoSurface(lambda x: study.torus((x - shift) @ turn, 0.5, 0.2), 64, every=every)
    for _ in range(steps):
        shape()
        shift += torch.tensor([0.003, 0.001, -0.002])
    return shape


@measures("deepmesh.fast-mode")
def fast(trial):
    """Field evaluations of full passes over those with a narrow band, 20 steps. Control: a full pass at every step."""
    shape = _moving(trial.seeds[0], 20, 1 if trial.control else 20)
    area, exact = float(s.area(shape.mesh.vertices, shape.mesh.faces)), 4 * math.pi**2 * 0.5 * 0.2
    saved = 20 * 64**3 / max(1, shape.evaluations)
    return Effects(saved * (abs(area - exact) <= exact / 50), {"area over the exact one": area / exact})


@measures("deepmesh.fast-mode-is-exact")
def fast_exact(trial):
    """Largest distance between vertices of the narrow band and of a full pass after 20 steps.

    Control: a ball has appeared far from the old surface.
    """
    shape = _moving(trial.seeds[0], 20, 20)
    field = shape.field
    if trial.control:
        field = lambda x: torch.minimum(shape.field(x), (x - 0.75).norm(dim=-1) - 0.2)  # noqa: E731
    near = s.surface(s.sample(field, 64, before=shape.samples)).vertices
    full = s.surface(s.sample(field, 64)).vertices
    apart = torch.cdist(full, near, compute_mode="donot_use_mm_for_euclid_dist")
    off = apart.amin(0).max() + apart.amin(1).max()
    exact = (4 * math.pi**2 * 0.5 * 0.2, s.area(s.surface(shape.samples).vertices, shape.mesh.faces))
    return Effects(float(off) if abs(float(exact[1]) / exact[0] - 1) <= 1 / 50 else math.inf)
