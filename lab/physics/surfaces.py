r"""Surfaces s(x) = 0 of fields as triangle meshes, with the derivative that marching cubes has not.

A vertex v on the surface moves with the field by dv = -grad s / |grad s|^2 ds, so that for a loss L of the vertices

.. math:: \frac{dL}{dz} = -\sum_v \frac{\partial L}{\partial v}\cdot\frac{\nabla s(v)}{|\nabla s(v)|^2}\,\frac{ds(v; z)}{dz} .

:func:`isosurface` extracts, :func:`attached` gives vertices with that derivative: their value is v - (s - s.detach()) times the
detached factor, so any loss on them trains the field. Only motion along the normal is possible.

>>> mesh = isosurface(lambda x: x.norm(dim=-1) - 0.6, 24)
>>> round(float(volume(mesh.vertices, mesh.faces)), 2), euler(mesh.faces)
(0.9, 2)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lab import checks

Field = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Mesh:
    """Vertices (n, 3) and faces (m, 3), turned so that normals point to positive values of the field."""

    vertices: torch.Tensor
    faces: torch.Tensor


@dataclass(frozen=True)
class Samples:
    """Values (n, n, n) of a field on a grid over [-size, size]^3, and how many were evaluated for it."""

    values: torch.Tensor
    size: float
    evaluations: int


def grid(resolution: int, size: float = 1.0) -> torch.Tensor:
    """Grid points (n, n, n, 3) over [-size, size]^3."""
    axis = torch.linspace(-size, size, checks.integer("resolution", resolution, low=4))
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)


def sample(
    field: Field, resolution: int, size: float = 1.0, *, before: Samples | None = None, chunk: int = 65_536
) -> Samples:
    """The field on a grid, without gradients; with ``before`` only near its surface, the other values are kept.

    Near are the corners of cells that held surface and of the cells around them: parts that appear elsewhere are missed, so take
    a full pass every few steps.
    """
    points = grid(resolution, size)
    if before is None:
        values, near = torch.empty(points.shape[:3]), torch.ones(points.shape[:3], dtype=torch.bool)
    else:
        if before.values.shape != points.shape[:3] or before.size != size:
            raise ValueError(
                f"before must be of resolution {resolution} and size {size:g}, got {tuple(before.values.shape)}"
            )
        values, near = before.values.clone(), narrow_band(before.values)
    wanted = points[near]
    with torch.no_grad():
        found = [field(part).reshape(-1).to(values) for part in wanted.split(chunk)]
    values[near] = torch.cat(found) if found else values.new_zeros(0)
    checks.refuse_nonfinite("the field", values)
    return Samples(values, size, len(wanted))


def narrow_band(values: torch.Tensor) -> torch.Tensor:
    """Which grid points are corners of cells that hold surface, or of a neighbour of such a cell."""
    inside = (values < 0).float()[None, None]
    low, high = -torch.nn.functional.max_pool3d(-inside, 2, 1), torch.nn.functional.max_pool3d(inside, 2, 1)
    cells = (high != low).float()
    cells = torch.nn.functional.max_pool3d(cells, 3, 1, 1)
    return torch.nn.functional.max_pool3d(torch.nn.functional.pad(cells, [1] * 6), 2, 1)[0, 0] > 0


def isosurface(field: Field, resolution: int, size: float = 1.0) -> Mesh:
    """The surface s = 0 of a field (points, 3) -> (points,) inside [-size, size]^3, s > 0 outside, as a closed mesh."""
    return surface(sample(field, resolution, size))


def surface(samples: Samples) -> Mesh:
    """The surface of sampled values; it is closed at the border of the grid, where the field counts as positive.

    Raises:
        ValueError: no value below zero, or none above: there is no surface.
    """
    from skimage.measure import marching_cubes

    values = samples.values
    if not bool((values < 0).any()) or not bool((values > 0).any()):
        raise ValueError(
            f"the field must change its sign on the grid, got values from {values.min():.4g} to {values.max():.4g}"
        )
    step = 2 * samples.size / (len(values) - 1)
    padded = torch.nn.functional.pad(values[None, None], [1] * 6, value=step)[0, 0]
    vertices, faces, _, _ = marching_cubes(padded.numpy(), 0.0)
    vertices = torch.from_numpy(vertices.copy()) * step - samples.size - step
    return Mesh(vertices, torch.from_numpy(faces.astype("int64")))


def attached(field: Field, mesh: Mesh, *, unit: bool = False, least: float = 1e-2) -> torch.Tensor:
    """The vertices with the derivative of the surface in the field's parameters.

    Args:
        unit: take |grad s| for 1, as for a distance field (the published code); wrong for any other field.
        least: |grad s| counts as at least this much, so that flat places of an occupancy do not fling vertices away.
    """
    points = mesh.vertices.detach().requires_grad_()
    with torch.enable_grad():
        values = field(points).reshape(-1)
        (slope,) = torch.autograd.grad(values.sum(), points, retain_graph=True)
    square = slope.square().sum(1, keepdim=True)
    factor = slope / (square.sqrt() if unit else square).clamp_min(least if unit else least**2)
    at = field(mesh.vertices.detach()).reshape(-1)
    return mesh.vertices.detach() - (at - at.detach())[:, None] * factor.detach()


def normals(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Normals of the faces, as long as twice their area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return torch.linalg.cross(b - a, c - a)


def area(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """The area of a mesh."""
    return normals(vertices, faces).norm(dim=1).sum() / 2


def volume(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """The volume inside a closed mesh whose normals point outwards."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return (a * torch.linalg.cross(b, c)).sum() / 6


def edges(faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges (e, 2) with the smaller vertex first, and how many faces each belongs to."""
    pairs = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    return torch.unique(pairs, dim=0, return_counts=True)


def closed(faces: torch.Tensor) -> bool:
    """Whether every edge belongs to two faces: the mesh is watertight."""
    return bool((edges(faces)[1] == 2).all())


def euler(faces: torch.Tensor) -> int:
    """The Euler characteristic V - E + F: 2 for a sphere, 0 for a torus, added over components."""
    return len(torch.unique(faces)) - len(edges(faces)[0]) + len(faces)


def points_on(vertices: torch.Tensor, faces: torch.Tensor, count: int, seed: int | torch.Generator = 0) -> torch.Tensor:
    """``count`` random points of a mesh, uniform by area, differentiable in the vertices."""
    generator = checks.generator(seed)
    weight = normals(vertices, faces).detach().norm(dim=1)
    chosen = torch.multinomial(weight, count, replacement=True, generator=generator)
    u, v = torch.rand(2, count, 1, generator=generator)
    u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
    a, b, c = (vertices[faces[chosen, k]] for k in range(3))
    return a + u * (b - a) + v * (c - a)


def chamfer(x: torch.Tensor, y: torch.Tensor, power: float = 1.0) -> torch.Tensor:
    """Mean distance, to a ``power``, of each point to the nearest of the other cloud, averaged over both directions."""
    distance = torch.cdist(x, y)
    return (distance.amin(0).pow(power).mean() + distance.amin(1).pow(power).mean()) / 2
