"""Scenes one after the other through the compiled loops, in threads where torch may use several."""

from __future__ import annotations

import numpy as np

from lab.kernels import chunks


def kernels(d: int):
    """The five compiled loops of dimension d: to the grid, its velocities, back, and the three of the adjoint."""
    if d == 2:
        from lab.kernels.mpm import cpu2

        return (
            cpu2.to_grid2,
            cpu2.velocities2,
            cpu2.from_grid2,
            cpu2.gather_adjoint2,
            cpu2.velocities_adjoint2,
            cpu2.scatter_adjoint2,
        )
    from lab.kernels.mpm import cpu3

    return (
        cpu3.to_grid3,
        cpu3.velocities3,
        cpu3.from_grid3,
        cpu3.gather_adjoint3,
        cpu3.velocities_adjoint3,
        cpu3.scatter_adjoint3,
    )


def _cost(x):
    """Elementary operations of one scene."""
    return x.shape[1] * (150.0 if x.shape[2] == 2 else 600.0)


def forward(x, v, C, F, tau, force, mass, volume, gravity, cells, spacing, dt, wall, layers):
    """The next (x, v, C, trial F) of all scenes; ``ValueError`` names the first bad position, scene by scene."""
    to_grid, velocities, from_grid, *_ = kernels(x.shape[2])
    size, (dx, step) = np.array(cells), np.array([spacing, dt]).astype(x.dtype)
    out = tuple(np.empty_like(each) for each in (x, v, C, F))
    bad = np.full(len(x), -1)

    def piece(start, stop):
        grid = np.empty((x.shape[2] + 1) * int(size.prod()), x.dtype)
        for s in range(start, stop):
            bad[s] = to_grid(x[s], v[s], C[s], tau[s], force[s], mass, volume, size, dx, step, grid)
            if bad[s] < 0:
                velocities(grid, size, gravity, step, layers, wall)
                from_grid(x[s], F[s], size, dx, step, grid, *(each[s] for each in out))

    chunks.run(piece, len(x), cost=_cost(x))
    if bad.max() >= 0:
        scene = int(np.flatnonzero(bad >= 0)[0])
        raise ValueError(refused(x[scene, bad[scene]], scene, int(bad[scene]), cells, spacing))
    return out


def refused(position, scene: int, particle: int, cells, spacing: float) -> str:
    """The refusal of a particle, in words: where it is, or that what it carries is not finite."""
    if all(0.5 <= c / spacing < n - 1.5 for c, n in zip(position, cells)):
        return f"v, C, tau and force must be finite, got other values at scene {scene}, particle {particle}"
    where = ", ".join(f"{float(c):.6g}" for c in position)
    high = ", ".join(f"{(n - 1.5) * spacing:.6g}" for n in cells)
    return (
        f"x must lie inside the grid, from {0.5 * spacing:.6g} to below ({high}), where a particle meets three nodes an axis; "
        f"scene {scene}, particle {particle} is at ({where})"
    )


def backward(
    x, v, C, F, tau, force, mass, volume, gravity, cells, spacing, dt, wall, layers, v_new, C_new,
    gx, gv, gC, gF,
):  # fmt: skip
    """Gradients in x, v, C, F, tau and force, from those in the four outputs; grids are computed again."""
    to_grid, velocities, _, gather, middle, scatter = kernels(x.shape[2])
    size, (dx, step) = np.array(cells), np.array([spacing, dt]).astype(x.dtype)
    out = tuple(np.empty_like(each) for each in (x, v, C, F, tau, force))
    dx_out, dv, dC, dF, dtau, dforce = out

    def piece(start, stop):
        grid = np.empty((x.shape[2] + 1) * int(size.prod()), x.dtype)
        back = np.empty_like(grid)
        for s in range(start, stop):
            to_grid(x[s], v[s], C[s], tau[s], force[s], mass, volume, size, dx, step, grid)
            velocities(grid, size, gravity, step, layers, wall)
            upstream = gx[s], gv[s], gC[s], gF[s]
            gather(x[s], F[s], v_new[s], C_new[s], *upstream, size, dx, step, grid, back, dx_out[s], dF[s])
            middle(grid, back, size, gravity, step, layers)
            scattered = x[s], v[s], C[s], tau[s], force[s], mass, volume
            scatter(*scattered, size, dx, step, back, dx_out[s], dv[s], dC[s], dtau[s], dforce[s])

    chunks.run(piece, len(x), cost=2.5 * _cost(x))
    return out


def still(d: int, dtype) -> tuple:
    """x, v, C, F, tau, force of one resting particle in one scene."""
    zero, matrix = np.zeros((1, 1, d), dtype), np.zeros((1, 1, d, d), dtype)
    return zero + dtype(2.2), zero, matrix, matrix + np.eye(d, dtype=dtype), matrix, zero
