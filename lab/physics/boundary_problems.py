"""Operators to learn, solved by finite elements for many right-hand sides at once, and the domains that they are solved on.

Nonlinear diffusion -Lap u + u^3 = f with u = 0 on the boundary; a step of an incompressible flow between frictionless walls; a
hyperelastic beam clamped at its left end. All are exact solutions of their discrete equations, up to a stated tolerance.
"""

from __future__ import annotations

import math

import torch

from lab import checks
from lab.physics.finite_elements import Space, apply

DOMAINS = ("L-shape", "annulus", "notched")


def domain(name: str, refinements: int):
    """A mesh of triangles: the L-shape [-1, 1]^2 without its upper right quarter, an annulus, or a square with a deep notch."""
    import numpy as np
    import skfem

    checks.choice("name", name, DOMAINS)
    if name == "L-shape":
        return skfem.MeshTri.init_lshaped().refined(refinements)
    if name == "annulus":
        rings, around = 2**refinements // 2 + 1, 2 * 2**refinements
        turn, radius = np.meshgrid(
            2 * np.pi * np.arange(around + 1) / around, np.linspace(0.35, 1, rings), indexing="ij"
        )
        cells = [
            (i * rings + j, (i + 1) % around * rings + j, (i + 1) % around * rings + j + 1, i * rings + j + 1)
            for i in range(around)
            for j in range(rings - 1)
        ]
        a, b, c, d = np.array(cells).T
        p = np.stack([radius * np.cos(turn), radius * np.sin(turn)])[:, :-1].reshape(2, -1)
        return skfem.MeshTri(p, np.concatenate([np.stack([a, b, c]), np.stack([a, c, d])], 1))
    square = skfem.MeshTri().refined(2)
    x, y = square.p[:, square.t].mean(1)
    square = square.remove_elements(np.flatnonzero((abs(x - 0.625) < 0.125) & (y > 0.25)))
    return skfem.MeshTri(2 * square.p - 1, square.t).refined(refinements - 2)


def waves(points: torch.Tensor, count: int, generator: torch.Generator, size: float = 40.0) -> torch.Tensor:
    """Random sums (count, n) of six plane waves with up to one period a unit; the first do not depend on ``count``."""
    d = points.shape[1]
    draw = torch.rand(count, 6, d + 3, generator=generator, dtype=torch.float64)
    k, phase = 2 * math.pi * (2 * draw[..., :d] - 1), 2 * math.pi * draw[..., d : d + 1]
    normal = (-2 * (1 - draw[..., d + 1]).log()).sqrt() * torch.cos(2 * math.pi * draw[..., d + 2])
    return size / 6**0.5 * (normal[..., None] * torch.sin(torch.einsum("cwd,nd->cwn", k, points) + phase)).sum(1)


def diffusion(space: Space, f: torch.Tensor, cubic: float = 1.0, tolerance: float = 1e-10) -> torch.Tensor:
    """u (items, n) with (grad u, grad v) + cubic (u^3, v) = (f, v), u = 0 on the boundary; f (items, n) by nodal coefficients.

    Cubes are taken at the nodes. The iteration u <- u - (A + s M)^{-1} r with s = 3/2 max u^2 solves all items together.

    Raises:
        ArithmeticError: after 500 iterations the largest change is above ``tolerance``.
    """
    b = apply(space.mass, f.double()[..., None])[..., 0]
    u = space.solve(b)
    if cubic == 0:
        return u
    for _ in range(500):
        s = 1.5 * cubic * float(u.square().max())
        r = b - apply(space.stiffness, u[..., None])[..., 0] - cubic * apply(space.mass, u.pow(3)[..., None])[..., 0]
        change = space.solve(r, space.stiffness + s * space.mass)
        u = u + change
        if float(change.abs().max()) <= tolerance * float(u.abs().max()):
            return u
    raise ArithmeticError(f"the iteration still changes by {float(change.abs().max()):.3g} after 500 iterations")


def flow(space: Space, stream: torch.Tensor, *, time: float = 0.1, steps: int = 40, viscosity: float = 0.01):
    """Stream functions (items, n) in P1 after ``time`` of incompressible flow without friction at the walls.

    Vorticity w with M w = A psi is carried along and diffuses, M (w' - w) / dt + nu A w' = -(u . grad w, v), u = curl psi constant
    in each triangle; psi = w = 0 on the boundary.
    """
    dt = time / steps
    cells = torch.from_numpy(space.mesh.t.T.astype("int64"))
    centres = space.points[cells].mean(1)
    number = torch.arange(len(cells))
    curl = space.evaluate(centres, number, "curl")
    area = torch.linalg.det(space.points[cells][:, 1:] - space.points[cells][:, :1]).abs() / 2
    w = space.solve(apply(space.stiffness, stream.double()[..., None])[..., 0], space.mass)
    for _ in range(steps):
        psi = space.solve(apply(space.mass, w[..., None])[..., 0])
        u, v = (apply(G, psi[..., None])[..., 0] for G in curl)
        wy, wx = (apply(G, w[..., None])[..., 0] for G in curl)
        carried = (u * -wx + v * wy) * area / 3
        load = torch.zeros_like(w).index_add(1, cells.flatten(), carried.repeat_interleave(3, 1))
        right = apply(space.mass, w[..., None])[..., 0] - dt * load
        w = space.solve(right, space.mass + dt * viscosity * space.stiffness)
    return space.solve(apply(space.mass, w[..., None])[..., 0])


def speed(flux: Space, c: torch.Tensor) -> torch.Tensor:
    """The speed (cells,) in every triangle of a field of RT0, at its centre."""
    cells = torch.from_numpy(flux.mesh.t.T.astype("int64"))
    parts = flux.evaluate(torch.from_numpy(flux.mesh.p.T.copy())[cells].mean(1), torch.arange(len(cells)))
    return torch.stack([torch.from_numpy(E @ c.numpy()) for E in parts]).norm(dim=0)


def net_flux(flux: Space, c: torch.Tensor) -> torch.Tensor:
    """The largest net flux through the sides of a cell over the largest flux, of fields (seeds, items, n) of RT0: (seeds,)."""
    p, t = torch.from_numpy(flux.mesh.p.T.copy()), torch.from_numpy(flux.mesh.t.T.astype("int64"))
    (D,) = flux.evaluate(p[t].mean(1), torch.arange(len(t)), "divergence")
    volume = torch.linalg.det(p[t][:, 1:] - p[t][:, :1]).abs() / (2 if p.shape[1] == 2 else 6)
    net = torch.from_numpy((D @ c.flatten(0, 1).double().numpy().T).T.copy()).reshape(*c.shape[:2], -1) * volume
    return net.abs().amax((1, 2)) / c.abs().amax((1, 2))


def beam_mesh(refinements: int):
    """The beam [0, 4] x [0, 1] in triangles."""
    import numpy as np
    import skfem

    n = 2**refinements
    return skfem.MeshTri.init_tensor(np.linspace(0, 4, 4 * n + 1), np.linspace(0, 1, n + 1))


def beam(space: Space, force: torch.Tensor, *, finite: bool = True, stages: int = 5) -> torch.Tensor:
    """Displacements (items, n, 2) of a neo-Hookean beam, clamped at x = 0, under nodal forces per area (items, n, 2).

    Minimizes the integral of mu/2 (|F|^2 - 2 - 2 ln J) + lambda/2 (ln J)^2 - force . u with mu = 1, lambda = 1, in P1, by Newton's
    method in ``stages`` of growing load. ``finite=False`` is the linear theory.

    Raises:
        ArithmeticError: the residual does not fall: the load is too large for Newton's method.
    """
    cells = torch.from_numpy(space.mesh.t.T.astype("int64"))
    corners = space.points[cells]
    sides = (corners[:, 1:] - corners[:, :1]).transpose(1, 2)
    area = torch.linalg.det(sides).abs() / 2
    slopes = torch.linalg.inv(sides)
    slopes = torch.cat([-slopes.sum(1, keepdim=True), slopes], 1)  # rows are the gradients of the hat functions

    def tangents(u):
        """P (items, m, 2, 2) and dP/dF (items, m, 2, 2, 2, 2) of displacements (items, n, 2)."""
        G = u[:, cells].transpose(2, 3) @ slopes
        eye = torch.eye(2, dtype=torch.float64)
        one = torch.einsum("ik,jl->ijkl", eye, eye)
        if not finite:
            trace = G.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
            C = one + torch.einsum("il,jk->ijkl", eye, eye) + torch.einsum("ij,kl->ijkl", eye, eye)
            return G + G.mT + trace * eye, C.expand(*G.shape, 2, 2)
        F = eye + G
        inverse = torch.linalg.inv(F).mT
        log_j = torch.linalg.det(F).log()[..., None, None]
        P = F + (log_j - 1) * inverse
        turned = torch.einsum("emil,emkj->emijkl", inverse, inverse)
        C = one + (1 - log_j[..., None, None]) * turned + torch.einsum("emij,emkl->emijkl", inverse, inverse)
        return P, C

    b = apply(space.mass, force.double())
    n, items = space.size, len(b)
    free = torch.nonzero((space.points[:, 0] > 1e-12).repeat_interleave(2))[:, 0]
    dofs = (2 * cells[:, :, None] + torch.arange(2)).flatten(1)
    pairs = (dofs[:, :, None] * 2 * n + dofs[:, None]).flatten()
    u = torch.zeros(items, 2 * n, dtype=torch.float64)
    for stage in range(1, stages + 1):
        load = (stage / stages) * b.flatten(1)
        for _ in range(25):
            P, C = tangents(u.reshape(items, n, 2))
            inner = torch.einsum("emij,maj,m->emai", P, slopes, area)
            r = load.index_add(1, dofs.flatten(), -inner.flatten(1))[:, free]
            if float(r.abs().max()) < 1e-10 * max(float(load.abs().max()), 1e-300):
                break
            K = torch.zeros(items, 4 * n * n, dtype=torch.float64)
            stiff = torch.einsum("emijkl,maj,mbl,m->emaibk", C, slopes, slopes, area)
            K.index_add_(1, pairs, stiff.flatten(1))
            K = K.reshape(items, 2 * n, 2 * n)[:, free][:, :, free]
            u[:, free] += torch.linalg.solve(K, r[..., None])[..., 0]
        if not float(r.abs().max()) < 1e-8 * float(load.abs().max()):
            raise ArithmeticError("force is too large for Newton's method: the residual does not fall")
    return u.reshape(items, n, 2)
