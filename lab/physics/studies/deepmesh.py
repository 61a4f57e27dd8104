"""Fields as meshes: a change of genus, shapes of least area and drag, single views, scans of scenes, training end to end."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from pydantic import Field

from lab import study
from lab.claims import tunes
from lab.physics import deepmesh as d
from lab.physics import surfaces as s
from lab.physics.shapes import ball_mesh, distance, family, parts, solid, torus, truth
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

RATES = {
    "torus": {"field": (1e-3, 3e-3, 1e-2), "fixed mesh": (3e-3, 1e-2, 3e-2)},
    "views": {"codes": (0.01, 0.03, 0.1), "vertices": (3e-3, 0.01, 0.03)},
    "scenes": {"codes": (0.01, 0.03, 0.1), "vertices": (3e-3, 0.01, 0.03)},
    "ends": {"field": (3e-4, 1e-3, 3e-3), "mesh": (3e-4, 1e-3, 3e-3)},
}
BLUR, PIXELS, CODE, SCALE = 0.06, 24, 6, 0.45


class Setting(study.Setting):
    """Surfaces of small networks; shapes are rounded boxes and ellipsoids, half of them with a tunnel."""

    resolution: int = Field(24, ge=12, le=128, title="Grid points a side")
    steps: int = Field(250, ge=4, le=5000, title="Steps of an optimization", json_schema_extra={"step": 10})
    width: int = Field(48, ge=8, le=512, title="Width of the networks")
    family: int = Field(200, ge=8, le=50_000, title="Shapes that teach the decoder")
    decoder_steps: int = Field(1000, ge=10, le=100_000, title="Steps of its training")
    refine: int = Field(60, ge=3, le=2000, title="Steps of a refinement")
    scene_resolution: int = Field(36, ge=16, le=256, title="Grid points a side of a scene")

    PROFILES: ClassVar = {
        "smoke": {"resolution": 14, "steps": 8, "width": 12, "family": 12, "decoder_steps": 30, "refine": 3,
                  "scene_resolution": 18},
        "full": {"resolution": 64, "steps": 1000, "width": 128, "family": 5000, "decoder_steps": 30_000, "refine": 400,
                 "scene_resolution": 96},
    }  # fmt: skip


@dataclass(frozen=True)
class Result:
    """The change of genus: ``field`` and ``fixed`` hold one :class:`~lab.physics.deepmesh.Trace` a seed.

    ``start``, ``final``: Chamfer distances (seeds,) of the sphere and of the last mesh, by arm; ``cloud``: the points.
    """

    setting: Setting
    seeds: tuple[int, ...]
    field: tuple[d.Trace, ...]
    fixed: tuple[d.Trace, ...]
    start: torch.Tensor
    final: Mapping[str, torch.Tensor]
    cloud: torch.Tensor

    def to_frame(self):
        """One row a seed: Chamfer distances and Euler characteristics at the end."""
        import pandas as pd

        return pd.DataFrame([
            {"seed": seed, "at the start": float(self.start[k]), "field": float(self.final["field"][k]),
             "fixed mesh": float(self.final["fixed mesh"][k]), "Euler characteristic, field": self.field[k].euler[-1],
             "Euler characteristic, fixed mesh": self.fixed[k].euler[-1]}
            for k, seed in enumerate(self.seeds)
        ])  # fmt: skip

    def save(self, path) -> None:
        """Write the table as CSV."""
        self.to_frame().to_csv(path, index=False)

    @staticmethod
    def load(path):
        """Read the table that :meth:`save` wrote."""
        import pandas as pd

        return pd.read_csv(path)


@study.remembered(size=4)
def run(setting: Setting, *, seeds, data=None, control=False, progress=None, rates=None) -> Result:
    """A sphere becomes a torus by the Chamfer distance of its mesh to 2000 points; a mesh with fixed faces beside it."""
    fields, fixed, start, final = [], [], [], {"field": [], "fixed mesh": []}
    rates = rates or chosen("deepmesh", "torus", RATES["torus"])
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        big = 0.55 + 0.1 * float(torch.rand((), generator=draw))
        true = s.isosurface(lambda x, big=big: torus(x, big), 48)
        cloud = s.points_on(true.vertices, true.faces, 2000, draw)
        net = d.NeuralField(width=setting.width, seed=seed)
        shape, mesh = d.IsoSurface(net, setting.resolution), d.FixedMesh(ball_mesh())
        start.append(distance(s.Mesh(mesh.vertices.detach(), mesh.faces), true))
        loss = d.chamfer_to(cloud, 800, draw)
        prior = lambda net=net, draw=draw: 0.02 * d.eikonal(net, d.uniform(300, draw))  # noqa: E731
        keep = max(1, setting.steps // 15)
        options: dict[str, Any] = {"steps": setting.steps, "keep": keep}
        field_options = {**options, "rate": rates["field"], "prior": prior, "progress": progress}
        fields.append(d.descend(shape, loss, net.parameters(), **field_options))
        fixed.append(d.descend(mesh, loss, [mesh.vertices], rate=rates["fixed mesh"], prior=mesh.rough, **options))
        final["field"].append(distance(s.isosurface(net, setting.resolution), true))
        final["fixed mesh"].append(distance(s.Mesh(mesh.vertices, mesh.faces), true))
    last = {name: torch.tensor(values) for name, values in final.items()}
    return Result(setting, tuple(seeds), tuple(fields), tuple(fixed), torch.tensor(start), last, cloud)


class Exchanged:
    """A surface whose vertices get each other's gradients, by a fixed random exchange: a control."""

    def __init__(self, shape, seed):
        self.shape, self.draw = shape, torch.Generator().manual_seed(seed)

    def __call__(self):
        mesh = self.shape()
        order = torch.randperm(len(mesh.vertices), generator=self.draw)
        mesh.vertices.register_hook(lambda g: g[order])
        return mesh


@study.remembered(size=8)
def shaped(setting: Setting, *, seeds, data=None, control=False, progress=None) -> dict[str, torch.Tensor]:
    """Least area from a random rounded box, and least drag from a sphere, volumes held.

    ``"area"``: A / (36 pi V^2)^(1/3) at the end, ``"box area"`` at the start; ``"drag"``: drag / V^(2/3) over that of the
    sphere, ``"volume"``: V over the sphere's. Control: vertices get each other's gradients.
    """
    found = {name: [] for name in ("area", "box area", "drag", "volume")}
    bodies = []
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        box = torch.cat([torch.tensor([0.8]), 0.3 + 0.2 * torch.rand(2, generator=draw), torch.tensor([6.0, -0.2])])
        net = d.NeuralField(width=setting.width, seed=seed)
        imitate(net, lambda x, box=box: solid(x, box), draw, max(20, setting.steps // 2))
        for what in ("area", "drag"):
            if what == "drag":
                net = d.NeuralField(width=setting.width, seed=seed)
            shape = d.IsoSurface(net, setting.resolution)
            first = shape()
            volume = float(s.volume(*first).detach())
            size = float(d.drag(first).detach()) if what == "drag" else float(s.area(*first).detach())
            found["box area" if what == "area" else "volume"].append(size / (36 * math.pi * volume**2) ** (1 / 3))

            def loss(mesh, volume=volume, size=size, what=what):
                held = 20 * (s.volume(*mesh) / volume - 1) ** 2
                out = 10 * (mesh.vertices[:, 0].abs() - 0.85).clamp_min(0).square().mean()
                return (d.drag(mesh) if what == "drag" else s.area(*mesh)) / size + held + out

            prior = lambda net=net, draw=draw: 0.05 * d.eikonal(net, d.uniform(300, draw))  # noqa: E731
            moving: Any = Exchanged(shape, seed) if control else shape
            d.descend(moving, loss, net.parameters(), steps=setting.steps, rate=1e-3, prior=prior, progress=progress)
            last = s.isosurface(net, 2 * setting.resolution)
            now = s.volume(last.vertices, last.faces)
            if what == "area":
                found["area"].append(s.area(last.vertices, last.faces) / (36 * math.pi * now**2) ** (1 / 3))
            else:
                change = d.drag(d.Posed(last.vertices, last.faces)) / now ** (2 / 3) / (size / volume ** (2 / 3))
                found["drag"].append(change)
                found["volume"][-1] = now / volume
                bodies.append(last)
    result = {name: torch.tensor([float(v) for v in values]) for name, values in found.items()}
    return {**result, "body": bodies[0]}


def imitate(net, field, generator, steps: int) -> None:
    """Fit values of a field, for a start other than a sphere."""
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(steps):
        x = d.uniform(1000, generator)
        loss = (net(x) - field(x)).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@lru_cache(maxsize=4)
def decoder(setting: Setting, seed: int = 0):
    """A field with a code for each of ``setting.family`` shapes (an auto-decoder): (shapes, network, codes, losses)."""
    draw = torch.Generator().manual_seed(10_000 + seed)
    shapes = family(setting.family, draw)
    net = d.NeuralField(CODE, setting.width, 4, seed=seed)
    codes = (0.1 * torch.randn(len(shapes), CODE, generator=draw)).requires_grad_()
    groups: list[dict[str, Any]] = [{"params": net.parameters()}, {"params": [codes]}]
    optimizer = torch.optim.Adam(groups)
    losses = []
    for step in range(setting.decoder_steps):
        for group, rate in zip(optimizer.param_groups, (1e-2, 3e-2)):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / setting.decoder_steps))
        taken = torch.randint(len(shapes), (32,), generator=draw)
        loss = field_loss(net, codes[taken], shapes[taken], draw)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return shapes, net.requires_grad_(False), codes.detach(), torch.stack(losses)


def field_loss(net, codes, shapes, draw, points: int = 192) -> torch.Tensor:
    """Mean |s - t| of distances clamped to 0.15, at random points of every shape, and a penalty of codes."""
    x = 0.9 * d.uniform(len(shapes) * points, draw).unflatten(0, (len(shapes), points))
    x[:, ::2, ::2] *= 0.5  # half of the points near the axis of the tunnels
    gap = net(x, codes[:, None]).clamp(-0.15, 0.15) - solid(x, shapes).clamp(-0.15, 0.15)
    return gap.abs().mean() + 1e-4 * codes.square().sum(1).mean()


def picture(mesh: d.Posed) -> torch.Tensor:
    """One view along the tunnel: silhouette and soft depth (2, pixels, pixels), the depth weighted by the silhouette."""
    sheets, depth = d.layers(mesh, PIXELS, BLUR)
    outline = 1 - torch.exp(-2 * sheets)
    return torch.stack([outline, outline.detach() * depth])


@lru_cache(maxsize=4)
def encoder(setting: Setting):
    """A network from pictures to codes, taught by the decoder's shapes, with 2 % noise."""
    shapes, _, codes, _ = decoder(setting)
    draw = torch.Generator().manual_seed(77)
    pictures = torch.stack([picture(d.Posed(*_pair(truth(one, 24)))) for one in shapes]).flatten(1)
    first, second = torch.nn.Linear(pictures.shape[1], 64), torch.nn.Linear(64, CODE)
    net = torch.nn.Sequential(first, torch.nn.Softplus(), second)
    for layer in (first, second):
        with torch.no_grad():
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=draw) / layer.weight.shape[1] ** 0.5)
            layer.bias.zero_()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-3)
    for _ in range(max(20, setting.decoder_steps // 2)):
        seen = pictures + 0.02 * torch.randn(pictures.shape, generator=draw)
        loss = (net(seen) - codes).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.requires_grad_(False)


def _pair(mesh):
    return mesh.vertices, mesh.faces


def held_out(seed: int) -> torch.Tensor:
    """A shape that taught nobody."""
    return family(1, torch.Generator().manual_seed(500 + seed))[0]


@study.remembered(size=8)
def views(setting: Setting, *, seeds, data=None, control=False, progress=None, rates=None) -> dict[str, torch.Tensor]:
    """Held-out shapes from one silhouette and soft depth: Chamfer distances (seeds,) of three reconstructions.

    ``"encoder"``: the network's guess; ``"refined"``: its code after gradient steps through the mesh; ``"vertices"``: a sphere
    whose vertices follow the same picture. Control: the refinement follows the picture of the next shape.
    """
    _, net, codes, _ = decoder(setting)
    rates = rates or chosen("deepmesh", "views", RATES["views"])
    found = {name: [] for name in ("encoder", "refined", "vertices")}
    meshes = {}
    for seed in seeds:
        true = truth(held_out(seed))
        seen, other = (noisy_picture(held_out(k), k) for k in (seed, seed + 1))
        guess = encoder(setting)(seen.flatten())
        found["encoder"].append(distance(decoded(net, guess, 2 * setting.resolution), true))
        target = other if control else seen
        loss = lambda mesh, target=target: (picture(mesh) - target).square().mean()  # noqa: E731
        z = guess.clone().requires_grad_()
        shape = d.IsoSurface(lambda x, z=z: net(x, z), setting.resolution)
        d.descend(shape, loss, [z], steps=setting.refine, rate=rates["codes"], progress=progress,
                  prior=lambda z=z: 1e-5 * z.square().sum())  # fmt: skip
        found["refined"].append(distance(decoded(net, z.detach(), 2 * setting.resolution), true))
        free = d.FixedMesh(ball_mesh())
        d.descend(free, loss, [free.vertices], steps=setting.refine, rate=rates["vertices"], prior=free.rough)
        found["vertices"].append(distance(s.Mesh(free.vertices, free.faces), true))
        if not meshes:
            meshes = {"true": true, "encoder": decoded(net, guess, setting.resolution),
                      "refined": decoded(net, z.detach(), setting.resolution),
                      "vertices": s.Mesh(free.vertices.detach(), free.faces)}  # fmt: skip
    return {**{name: torch.tensor(values) for name, values in found.items()}, "meshes": meshes}


def noisy_picture(shape: torch.Tensor, seed: int) -> torch.Tensor:
    """The picture of a shape with 2 % noise."""
    seen = picture(d.Posed(*_pair(truth(shape, 40))))
    return seen + 0.02 * torch.randn(seen.shape, generator=torch.Generator().manual_seed(seed))


def decoded(net, z: torch.Tensor, resolution: int) -> s.Mesh:
    """The mesh of a code."""
    return s.isosurface(lambda x: net(x, z), resolution)


@dataclass(frozen=True)
class Scan:
    """A scene of three shapes and what two views saw of it: places (3, 3), shapes (3, 5), points (n, 3), the true mesh."""

    places: torch.Tensor
    shapes: torch.Tensor
    points: torch.Tensor
    mesh: s.Mesh


def scan(seed: int, resolution: int = 72, count: int = 900, noise: float = 0.01) -> Scan:
    """Three shapes of the family, 0.45 as large; points of those sides that face one of two views, with noise."""
    draw = torch.Generator().manual_seed(900 + seed)
    shapes = family(3, draw)
    turn = 2 * math.pi * (torch.arange(3) / 3 + torch.rand((), generator=draw))
    places = torch.stack([0.55 * turn.cos(), 0.1 * torch.randn(3, generator=draw), 0.55 * turn.sin()], 1)
    true = s.isosurface(lambda x: union(x, places, lambda local: solid(local, shapes[:, None])), resolution)
    views = torch.nn.functional.normalize(torch.randn(2, 3, generator=draw), dim=1)
    views[1] -= (views[0] @ views[1]) * views[0] * 0.7
    normals = torch.nn.functional.normalize(s.normals(*_pair(true)), dim=1)
    seen = true.faces[(normals @ torch.nn.functional.normalize(views, dim=1).T > 0.2).any(1)]
    points = s.points_on(true.vertices, seen, count, draw)
    return Scan(places, shapes, points + noise * torch.randn(points.shape, generator=draw), true)


def union(x: torch.Tensor, places: torch.Tensor, field) -> torch.Tensor:
    """The least of three fields (3, ..., n) at points (n, 3), each in its own coordinates (x - place) / 0.45."""
    local = (x.reshape(-1, 3) - places[:, None]) / SCALE
    return SCALE * field(local[:, None]).reshape(len(places), -1).amin(0).reshape(x.shape[:-1])


def centres(points: torch.Tensor) -> torch.Tensor:
    """Three cluster centres of points (n, 3): farthest points first, then ten steps of Lloyd's algorithm."""
    found = [points.mean(0)]
    for _ in range(3):
        found.append(points[torch.cdist(points, torch.stack(found[1:] or found)).amin(1).argmax()])
    places = torch.stack(found[1:])
    for _ in range(10):
        near = torch.cdist(points, places).argmin(1)
        places = torch.stack([points[near == k].mean(0) if bool((near == k).any()) else places[k] for k in range(3)])
    return places


@study.remembered(size=8)
def scenes(setting: Setting, *, seeds, data=None, control=False, progress=None, rates=None) -> dict[str, torch.Tensor]:
    """Three objects from a noisy partial scan: codes and places of a decoder, beside three spheres whose vertices move.

    ``"codes"``, ``"vertices"``: Chamfer distances (seeds,) to the whole true scene; ``"codes wrong"``, ``"vertices wrong"``: how
    many parts and handles are too many or missing. Control: the scan of another scene.
    """
    _, net, _, _ = decoder(setting)
    rates = rates or chosen("deepmesh", "scenes", RATES["scenes"])
    found = {name: [] for name in ("codes", "vertices", "codes wrong", "vertices wrong")}
    kept = {}
    for seed in seeds:
        case = scan(seed)
        points = scan(seed + 1).points if control else case.points
        draw = torch.Generator().manual_seed(seed)
        loss = d.nearest(points, 1200, draw)
        z, t = torch.zeros(3, CODE).requires_grad_(), centres(points).requires_grad_()

        def whole(x, z=z, t=t):
            return union(x, t, lambda local: net(local, z[:, None, None]))

        shape = d.IsoSurface(whole, setting.scene_resolution)
        d.descend(shape, loss, [z, t], steps=setting.refine, rate=rates["codes"], progress=progress,
                  prior=lambda z=z: 2e-4 * z.square().sum())  # fmt: skip
        ours = s.isosurface(lambda x, whole=whole: whole(x).detach(), 2 * setting.scene_resolution)
        ball = ball_mesh(0.25, 28)
        shift = len(ball.vertices) * torch.arange(3)[:, None, None]
        balls = s.Mesh((ball.vertices + centres(points)[:, None]).flatten(0, 1), (ball.faces + shift).flatten(0, 1))
        free = d.FixedMesh(balls)
        d.descend(free, loss, [free.vertices], steps=setting.refine, rate=rates["vertices"], prior=free.rough)
        theirs = s.Mesh(free.vertices.detach(), free.faces)
        for name, mesh in (("codes", ours), ("vertices", theirs)):
            found[name].append(distance(mesh, case.mesh))
            handles = [parts(one) - s.euler(one.faces) / 2 for one in (mesh, case.mesh)]
            found[f"{name} wrong"].append(abs(parts(mesh) - parts(case.mesh)) + abs(handles[0] - handles[1]))
        kept = kept or {"scan": points, "true": case.mesh, "codes": ours, "vertices": theirs}
    return {**{name: torch.tensor(values) for name, values in found.items()}, "meshes": kept}


@study.remembered(size=8)
def ends(setting: Setting, *, seeds, data=None, control=False, progress=None, rates=None) -> dict[str, torch.Tensor]:
    """The decoder and six of its codes trained on, by values of the field alone or with the Chamfer distance of meshes too.

    ``"before"``, ``"field"``, ``"mesh"``: mean Chamfer distances (seeds,) of the six shapes, equally many steps. Control: the
    mesh of a shape is compared with the next shape.
    """
    shapes, start, codes, _ = decoder(setting)
    rates = rates or chosen("deepmesh", "ends", RATES["ends"])
    found = {name: [] for name in ("before", "field", "mesh")}
    for seed in seeds:
        draw = torch.Generator().manual_seed(300 + seed)
        six = torch.randperm(len(shapes), generator=draw)[:6]
        true = [truth(one) for one in shapes[six]]
        clouds = [s.points_on(mesh.vertices, mesh.faces, 2000, draw) for mesh in true]
        if control:
            clouds = clouds[1:] + clouds[:1]

        def error(net, z, true=true):
            return sum(distance(decoded(net, one, 2 * setting.resolution), t) for one, t in zip(z, true)) / 6

        found["before"].append(error(start, codes[six]))
        for arm in ("field", "mesh"):
            draw = torch.Generator().manual_seed(seed)
            net, z = copy.deepcopy(start).requires_grad_(), codes[six].clone().requires_grad_()
            optimizer = torch.optim.Adam([*net.parameters(), z], lr=rates[arm])
            meshed = [
                d.IsoSurface(lambda x, net=net, z=z, k=k: net(x, z[k]), setting.resolution, every=1) for k in range(6)
            ]
            for step in range(2 * setting.refine):
                optimizer.param_groups[0]["lr"] = (
                    rates[arm] * 0.5 * (1 + math.cos(math.pi * step / (2 * setting.refine)))
                )
                loss = field_loss(net, z, shapes[six], draw)
                if arm == "mesh":
                    loss = loss + d.chamfer_to(clouds[step % 6], 600, draw)(meshed[step % 6]())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            found[arm].append(error(net, z.detach()))
    return {name: torch.tensor(values) for name, values in found.items()}


@tunes("deepmesh")
def tune_rates(progress=None) -> None:
    """Tune the step sizes of all arms, three each, on shapes and scenes that no measurement uses; record all trials."""
    setting, trials = Setting.of("default"), []
    for name, study_of in (("torus", run), ("views", views), ("scenes", scenes), ("ends", ends)):
        arms = list(RATES[name])
        keys = {"codes": "refined"} if name == "views" else {}
        runs = [
            study_of.__wrapped__(setting, seeds=TUNING_SEEDS[:2], rates=dict(zip(arms, pair)))
            for pair in zip(*RATES[name].values())
        ]

        def scores(arm, grid, seeds, runs=runs, keys=keys):
            return [(-(one.final if isinstance(one, Result) else one)[keys.get(arm, arm)]).tolist() for one in runs]

        trials.append(tune(name, RATES[name], scores, seeds=TUNING_SEEDS[:2], progress=progress))
    record("deepmesh", *trials)
