"""Shapes whose surfaces are known: balls, tori, rounded boxes with tunnels; parts of meshes, and the distance of surfaces.

>>> round(distance(ball_mesh(0.5, 40), ball_mesh(0.6, 40)), 2)
0.1
"""

from __future__ import annotations

import torch

from lab.physics import surfaces as s


def torus(x: torch.Tensor, big: float = 0.6, small: float = 0.25) -> torch.Tensor:
    """The distance to a torus about the third axis."""
    return ((x[..., :2].norm(dim=-1) - big) ** 2 + x[..., 2] ** 2).sqrt() - small


def ball_mesh(radius: float = 0.5, resolution: int = 20) -> s.Mesh:
    """A sphere as a mesh."""
    return s.isosurface(lambda x: x.norm(dim=-1) - radius, resolution)


def family(count: int, generator: torch.Generator, *, tunnel: float = 0.5) -> torch.Tensor:
    """Shapes (count, 5): half axes a, b, c of superellipsoids, their exponent, the radius of a tunnel along the second axis.

    A share ``tunnel`` of them have one; a radius below zero is none.
    """
    u = torch.rand(count, 6, generator=generator)
    axes = 0.45 + 0.3 * u[:, :3]
    hole = torch.where(u[:, 4] < tunnel, 0.2 + 0.35 * u[:, 5] * (axes[:, [0, 2]].amin(1) - 0.35), -0.2)
    return torch.cat([axes, 2 + 3 * u[:, 3:4], hole[:, None]], 1)


def solid(x: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
    """The distance, to first order, of points (..., n, 3) from shapes (..., 5): a superellipsoid less its tunnel."""
    axes, p, hole = shape[..., None, :3], shape[..., None, 3], shape[..., None, 4]
    q = (x / axes).abs().clamp_min(1e-3)
    e = (q ** p[..., None]).sum(-1) ** (1 / p)
    slope = ((q / e[..., None]) ** (p[..., None] - 1) / axes).norm(dim=-1)
    return torch.maximum((e - 1) / slope, hole - x[..., [0, 2]].norm(dim=-1))


def truth(shape: torch.Tensor, resolution: int = 48) -> s.Mesh:
    """The mesh of a shape of the family."""
    return s.isosurface(lambda x: solid(x, shape), resolution)


def distance(mesh: s.Mesh, other: s.Mesh, seed: int = 0) -> float:
    """The Chamfer distance of two surfaces: 4000 random points of either to the other, which counts as small flat discs.

    A disc lies at each of 4000 random points of the other surface, in its plane, as wide as twice the mean spacing, so that
    equal surfaces are at a distance of about zero, not of the spacing of the points.
    """
    from scipy.spatial import cKDTree

    draw, sides = torch.Generator().manual_seed(seed), []
    for one in (mesh, other):
        normal = torch.nn.functional.normalize(s.normals(one.vertices.detach(), one.faces), dim=1)
        chosen = torch.multinomial(s.normals(one.vertices.detach(), one.faces).norm(dim=1), 4000, True, generator=draw)
        u, v = torch.rand(2, 4000, 1, generator=draw).sort(0).values
        corner = one.vertices.detach()[one.faces[chosen]]
        points = u * corner[:, 0] + (v - u) * corner[:, 1] + (1 - v) * corner[:, 2]
        radius = 2 * (float(s.area(one.vertices.detach(), one.faces)) / 4000) ** 0.5
        sides.append((points, normal[chosen], radius))
    total = 0.0
    for (x, _, _), (y, n, radius) in (sides, sides[::-1]):
        place = torch.from_numpy(cKDTree(y.numpy()).query(x.numpy())[1])
        gap, near = x - y[place], n[place]
        off = (gap * near).sum(1)
        beside = ((gap - off[:, None] * near).norm(dim=1) - radius).clamp_min(0)
        total += float((off**2 + beside**2).sqrt().mean()) / 2
    return total


def parts(mesh: s.Mesh) -> int:
    """The number of connected components."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    used, faces = torch.unique(mesh.faces, return_inverse=True)
    a, b = s.edges(faces)[0].numpy().T
    return int(connected_components(coo_matrix((0 * a + 1, (a, b)), (len(used), len(used))), directed=False)[0])
