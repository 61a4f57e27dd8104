r"""DeepMesh: fields as meshes that any loss of the vertices can train, through changes of topology.

A field s(x; z) is meshed by marching cubes, without derivative; then every vertex is given the first-order motion of the surface

.. math:: \frac{\partial v}{\partial s(v)} = -\frac{\nabla s(v)}{|\nabla s(v)|^2},

so that a loss of vertices reaches z (:mod:`lab.physics.surfaces`). The published code of the conference version normalizes the
gradient and leaves out the second 1/|grad s|, which is right for distance fields only. Only normal motion is possible.

:class:`IsoSurface` is a field as a differentiable mesh; between full passes it evaluates the field near the old surface only.
:func:`descend` optimizes it, or a :class:`FixedMesh` (the usual explicit mesh) beside it. Losses: :func:`chamfer_to`,
:func:`nearest`, :func:`drag`, :func:`layers` (silhouettes), :func:`eikonal`. Own data: :func:`fit_surface`.

Source: B. Guillard, E. Remelli, A. Lukoianov, S. R. Richter, T. Bagautdinov, P. Baque, P. Fua, 'DeepMesh: Differentiable
Iso-Surface Extraction', arXiv 2106.11795; E. Remelli et al., 'MeshSDF', NeurIPS 2020. Drag is Newton's law of impact, ours.

>>> field = NeuralField(radius=0.5)
>>> mesh = IsoSurface(field, resolution=24)()
>>> round(float(surfaces.area(mesh.vertices, mesh.faces)), 1)
3.1
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from lab import checks
from lab.physics import surfaces
from lab.physics.surfaces import Mesh, Samples

Loss = Callable[["Posed"], torch.Tensor]
FILES = (".obj", ".stl", ".ply", ".npz", ".csv")


class NeuralField(nn.Module):
    """s(x; z) = sqrt(|x|^2 + e^2) - sqrt(radius^2 + e^2) + network, e = radius/2: a sphere before training, smooth inside.

    x (..., 3), z (..., code) -> (...). The network has ``depth`` hidden layers of ``width`` with softplus(10 x)/10; a code
    enters the first two of them.
    """

    def __init__(self, code: int = 0, width: int = 48, depth: int = 3, radius: float = 0.5, seed: int = 0):
        super().__init__()
        generator = checks.generator(seed)
        sizes = [3, *[width] * depth, 1]
        self.radius, self.code = radius, code
        self.form = {"code": code, "width": width, "depth": depth, "radius": radius}

        def drawn(a, b, scale=1.0):
            return nn.Parameter(scale * torch.randn(a, b, generator=generator) / math.sqrt(a))

        last = len(sizes) - 2
        self.weights = nn.ParameterList(
            drawn(a, b, 1e-2 if k == last else 1.4) for k, (a, b) in enumerate(zip(sizes, sizes[1:]))
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.rand(b, generator=generator) - 0.5 if k < last else torch.zeros(b))
            for k, b in enumerate(sizes[1:])
        )
        self.codes = nn.ParameterList(drawn(code, width) for _ in range(2 if code else 0))

    def forward(self, x: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
        if (z is None) != (self.code == 0):
            raise ValueError(f"z must be given exactly where the field has a code; its code has {self.code} numbers")
        h = x
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            h = (F.softplus(h, beta=10) if k else h) @ weight + bias
            if k < len(self.codes):
                h = h + z @ self.codes[k]
        soft = (self.radius / 2) ** 2
        return (x.square().sum(-1) + soft).sqrt() - (self.radius**2 + soft) ** 0.5 + h[..., 0]


class Posed(NamedTuple):
    """A mesh whose vertices carry the derivative of what made them."""

    vertices: torch.Tensor
    faces: torch.Tensor


class IsoSurface:
    """The surface of ``field`` (points, 3) -> (points,), meshed anew at every call, the vertices attached to the field.

    Args:
        resolution, size: the grid over [-size, size]^3. every: a full pass over it each so many calls; in between only points
            near the last surface are evaluated, so that parts that appear elsewhere wait for the next full pass.
        unit: the rule for distance fields, as in the published code.

    ``evaluations`` counts field evaluations on the grid so far.
    """

    def __init__(
        self, field, resolution: int = 32, size: float = 1.0, *, every: int = 10, unit: bool = False, least: float = 0.2
    ):
        self.field, self.resolution, self.size, self.unit, self.least = field, resolution, size, unit, least
        self.every = checks.integer("every", every, low=1)
        self.calls = self.evaluations = 0
        self.samples: Samples | None = None
        self.mesh: Mesh | None = None

    def __call__(self) -> Posed:
        before = self.samples if self.calls % self.every else None
        self.samples = surfaces.sample(self.field, self.resolution, self.size, before=before)
        self.evaluations += self.samples.evaluations
        self.calls += 1
        self.mesh = surfaces.surface(self.samples)
        return Posed(surfaces.attached(self.field, self.mesh, unit=self.unit, least=self.least), self.mesh.faces)


class FixedMesh:
    """The usual explicit mesh: free vertices, faces for good, with a pull towards the mean of the neighbours.

    ``smoothness``: weight of the mean squared distance of a vertex from that mean.
    """

    def __init__(self, mesh: Mesh, smoothness: float = 1.0):
        self.vertices = mesh.vertices.clone().requires_grad_()
        self.faces, self.smoothness = mesh.faces, smoothness
        self.edges = surfaces.edges(mesh.faces)[0]
        self.degree = torch.bincount(self.edges.flatten(), minlength=len(self.vertices)).clamp_min(1)[:, None]

    def __call__(self) -> Posed:
        return Posed(self.vertices, self.faces)

    def rough(self) -> torch.Tensor:
        """Mean squared distance of a vertex from the mean of its neighbours, times ``smoothness``."""
        a, b = self.edges.T
        total = torch.zeros_like(self.vertices).index_add(0, a, self.vertices[b]).index_add(0, b, self.vertices[a])
        return self.smoothness * (total / self.degree - self.vertices).square().sum(1).mean()


@dataclass(frozen=True)
class Trace:
    """Losses and Euler characteristics (steps,), how many field evaluations the grid took, meshes of some steps."""

    losses: torch.Tensor
    euler: tuple[int, ...]
    evaluations: int
    meshes: tuple[Mesh, ...] = field(default=(), repr=False)


def descend(
    shape: IsoSurface | FixedMesh, loss: Loss, parameters, *, steps: int = 150, rate: float = 1e-3,
    prior: Callable[[], torch.Tensor] | None = None, keep: int = 0, progress: Callable[[float], None] | None = None,
) -> Trace:  # fmt: skip
    """Adam with a cosine rate on a loss of the mesh plus ``prior()``, for example :func:`eikonal` or a penalty of codes.

    Args:
        keep: keep the mesh of each so many steps, 0 for none.

    Raises:
        ValueError: a surface that vanishes or a loss that is not finite, with the step.
    """
    optimizer = torch.optim.Adam(list(parameters), lr=rate)
    losses, characters, meshes, faces = [], [], [], None
    for step in range(checks.integer("steps", steps, low=1)):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        try:
            mesh = shape()
        except ValueError as error:
            raise ValueError(f"step {step}: {error}") from None
        value = loss(mesh)
        total = value if prior is None else value + prior()
        if not bool(torch.isfinite(total)):
            raise ValueError(f"step {step}: the loss is {float(total.detach())}")
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(value.detach())
        characters.append(characters[-1] if mesh.faces is faces else surfaces.euler(mesh.faces))
        faces = mesh.faces
        if keep and step % keep == 0:
            meshes.append(Mesh(mesh.vertices.detach().clone(), mesh.faces))
        if progress is not None:
            progress((step + 1) / steps)
    return Trace(torch.stack(losses), tuple(characters), getattr(shape, "evaluations", 0), tuple(meshes))


def demand(s, mesh: Mesh, gradient: torch.Tensor) -> torch.Tensor:
    """How much the field should rise at every vertex (n,) for a gradient dL/dv (n, 3) of a loss: dL/dv . grad s/|grad s|^2."""
    points = mesh.vertices.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(s(points).sum(), points)
    return (gradient * slope).sum(1) / slope.square().sum(1).clamp_min(1e-4)


def chamfer_to(points: torch.Tensor, count: int = 1000, seed: int | torch.Generator = 0, power: float = 1.0) -> Loss:
    """A loss: the Chamfer distance of ``count`` random points of the mesh, uniform by area, to a cloud (n, 3).

    A thin skin across a hole feels mostly forces along itself, which move nothing: it goes when its two sides have come closer
    than the grid, so that a coarse grid opens holes sooner.
    """
    generator = checks.generator(seed)
    return lambda mesh: surfaces.chamfer(surfaces.points_on(*mesh, count, generator), points, power)


def nearest(points: torch.Tensor, count: int = 1500, seed: int | torch.Generator = 0) -> Loss:
    """A loss: the mean distance of the given points (n, 3) to the mesh, not the other way: for scans that miss parts."""
    generator = checks.generator(seed)
    return lambda mesh: torch.cdist(points, surfaces.points_on(*mesh, count, generator)).amin(1).mean()


def drag(mesh: Posed, direction=(1.0, 0.0, 0.0)) -> torch.Tensor:
    """Drag over dynamic pressure in a stream along ``direction`` by Newton's law of impact, int 2 max(-n.d, 0)^3 dA.

    A sphere of radius R has pi R^2.
    """
    twice = surfaces.normals(*mesh)
    along = torch.tensor(direction, dtype=twice.dtype)
    size = twice.norm(dim=1).clamp_min(1e-12)
    facing = (-(twice @ along) / size).clamp_min(0)
    return (size * facing**3).sum()


def layers(mesh: Posed, pixels: int = 24, blur: float = 0.06, *, axis: int = 1, size: float = 1.0):
    """Soft layers and depth (pixels, pixels) of a mesh seen along ``axis``: how many sheets cover a pixel, and the nearest.

    The layers are the projected area smoothed by a Gaussian of width ``blur``, so 2 inside the outline of a convex body and 0
    outside; the depth is the coordinate along ``axis`` averaged over vertices with weights that fall by e each ``blur`` behind
    the front (0 where nothing is).
    """
    vertices, faces = mesh
    twice = surfaces.normals(vertices, faces)[:, axis].abs() / 6
    share = torch.zeros(len(vertices), dtype=vertices.dtype).index_add(0, faces.flatten(), twice.repeat_interleave(3))
    share = share.detach()
    plane = [k for k in range(3) if k != axis]
    centre = torch.linspace(-size, size, pixels, dtype=vertices.dtype)
    a, b = (torch.exp(-((centre[:, None] - vertices[:, k]) ** 2) / (2 * blur**2)) for k in plane)
    sheets = (a * share) @ b.T / (2 * math.pi * blur**2)
    front = share * torch.exp((vertices[:, axis].detach().min() - vertices[:, axis]) / blur)
    weight = (a * front) @ b.T
    depth = (a * (front * vertices[:, axis])) @ b.T / weight.clamp_min(1e-12)
    return sheets, torch.where(weight > 1e-9, depth, 0.0)


def eikonal(s, points: torch.Tensor) -> torch.Tensor:
    """Mean (|grad s| - 1)^2 at points (n, 3), differentiable: keeps a field near a distance field."""
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(s(points).sum(), points, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


def uniform(count: int, generator: torch.Generator, size: float = 1.0) -> torch.Tensor:
    """Random points (count, 3) of [-size, size]^3."""
    return size * (2 * torch.rand(count, 3, generator=generator) - 1)


@dataclass(frozen=True)
class FittedSurface:
    """A field fitted by :func:`fit_surface`, with the place and scale of the user's coordinates: x = centre + scale * own.

    ``mesh()`` gives a closed mesh at any resolution in the user's coordinates, ``export`` writes it as OBJ, STL or PLY.
    """

    field: NeuralField
    centre: torch.Tensor
    scale: float
    trace: Trace
    notes: tuple[str, ...] = ()

    def mesh(self, resolution: int = 48) -> Mesh:
        """The surface as a closed mesh."""
        own = surfaces.isosurface(self.field, resolution)
        return Mesh(own.vertices * self.scale + self.centre, own.faces)

    def distance(self, points: torch.Tensor) -> torch.Tensor:
        """The field at points (n, 3), in the user's lengths: negative inside."""
        with torch.no_grad():
            return self.scale * self.field((points - self.centre) / self.scale)

    def export(self, path: str | Path, resolution: int = 48) -> None:
        """Write the mesh; the ending says how."""
        import trimesh

        mesh = self.mesh(resolution)
        checks.choice("the ending of path", Path(path).suffix.lower(), (".obj", ".stl", ".ply"))
        trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False).export(path)

    def save(self, path: str | Path) -> None:
        """Write weights, place and losses to one file."""
        torch.save({"form": self.field.form, "weights": self.field.state_dict(), "centre": self.centre,
                    "scale": self.scale, "losses": self.trace.losses, "euler": list(self.trace.euler),
                    "evaluations": self.trace.evaluations, "notes": list(self.notes)}, path)  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> FittedSurface:
        """Read what :meth:`save` wrote; nothing in the file is executed."""
        kept = torch.load(path, weights_only=True)
        s = NeuralField(**kept["form"])
        s.load_state_dict(kept["weights"])
        trace = Trace(kept["losses"], tuple(kept["euler"]), kept["evaluations"])
        return cls(s.requires_grad_(False), kept["centre"], kept["scale"], trace, tuple(kept["notes"]))


def fit_surface(
    data, *, steps: int = 200, rate: float = 3e-3, resolution: int = 32, width: int = 48, partial: bool = False,
    seed: int = 0, progress: Callable[[float], None] | None = None,
) -> FittedSurface:  # fmt: skip
    """A closed surface through points, by gradients of its mesh; it starts as a sphere and finds its own topology.

    Args:
        data: points (n, 3), or a file: OBJ, STL or PLY (4000 random points of the triangles are used), ``.npz`` with
            ``points``, or a table (``.csv``) whose first three columns are the coordinates.
        partial: the points miss parts of the surface, so that only their distance to the mesh counts.

    Raises:
        ValueError, TypeError: another file or shape, fewer than 50 points, non-finite values, points all at one place.
    """
    generator = checks.generator(seed)
    points, notes = _points(data, generator)
    points = checks.tensor("data", points, ndim=2, floating=True).float()
    if points.shape[1] != 3 or len(points) < 50:
        raise ValueError(f"data must be at least 50 points (n, 3), got {tuple(points.shape)}")
    low, high = points.amin(0), points.amax(0)
    scale = float((high - low).max()) / 1.5
    if not scale > 0:
        raise ValueError("data must spread in space: all its points lie at one place")
    centre = (low + high) / 2
    own = (points - centre) / scale
    if len(own) > 4000:
        own = own[torch.randperm(len(own), generator=generator)[:4000]]
        notes = (*notes, f"4000 of {len(points)} points are used")
    s = NeuralField(width=width, radius=0.6, seed=seed)
    loss = (nearest if partial else chamfer_to)(own, 1000, generator)
    shape = IsoSurface(s, resolution)
    trace = descend(
        shape, loss, s.parameters(), steps=steps, rate=rate, progress=progress,
        prior=lambda: 0.02 * eikonal(s, uniform(500, generator)),
    )  # fmt: skip
    return FittedSurface(s.requires_grad_(False), centre, scale, trace, notes)


def _points(data, generator):
    if not isinstance(data, (str, Path)):
        return data, ()
    from lab import datasets

    path = Path(data)
    ending = checks.choice("the ending of data", path.suffix.lower(), FILES)
    if ending == ".csv":
        table = datasets.load(path)
        names = list(table.frame.columns)[:3]
        if len(names) < 3 or not all(kind.kind in "iuf" for kind in table.frame[names].dtypes):
            raise ValueError(f"{path.name} must have three columns of numbers, got {', '.join(map(str, names))}")
        return table.frame[names].to_numpy("float64"), (*table.notes, f"coordinates: {', '.join(map(str, names))}")
    if ending == ".npz":
        import numpy as np

        with np.load(path, allow_pickle=False) as file:
            if "points" not in file.files:
                raise ValueError(
                    f"{path.name} must hold an array 'points' (n, 3), got {', '.join(file.files) or 'none'}"
                )
            return file["points"], ()
    mesh = datasets.read_mesh(path)
    points = surfaces.points_on(mesh.vertices, mesh.faces, 4000, generator)
    return points, (*mesh.notes, "4000 random points of the triangles are used")
