"""The step of :mod:`lab.kernels.mpm.cpu2` in three dimensions: a node holds three velocity components and its mass."""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.mpm.cpu2 import CAREFUL, slopes, stopped, weights


@njit(inline="always")
def pick(k, a, b, c):
    return a if k == 0 else (b if k == 1 else c)


@njit(inline="always")
def place(x, p, inverse, half):
    """First node of the particle on each axis, and its offset from there in cells."""
    real = x.dtype.type
    X, Y, Z = x[p, 0] * inverse, x[p, 1] * inverse, x[p, 2] * inverse
    i, j, k = int(X - half), int(Y - half), int(Z - half)
    return i, j, k, X - real(i), Y - real(j), Z - real(k)


@njit(inline="always")
def load(v, C, tau, force, p, m, s, dt, dx, f, g, h, a, Q):
    """Momentum at the first node and its slopes along the axes: into ``a`` (3,) and ``Q`` (3, 3)."""
    for c in range(3):
        Q[c, 0] = (m * C[p, c, 0] + s * tau[p, c, 0]) * dx
        Q[c, 1] = (m * C[p, c, 1] + s * tau[p, c, 1]) * dx
        Q[c, 2] = (m * C[p, c, 2] + s * tau[p, c, 2]) * dx
        a[c] = m * v[p, c] + dt * force[p, c] - Q[c, 0] * f - Q[c, 1] * g - Q[c, 2] * h


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def to_grid3(x, v, C, tau, force, mass, volume, size, dx, dt, grid):
    real = x.dtype.type
    half, three_quarters = real(0.5), real(0.75)
    inverse = real(1.0) / dx
    scale = -real(4.0) * dt * inverse * inverse
    n1, n2 = size[1], size[2]
    high0, high1, high2 = real(size[0]) - real(1.5), real(n1) - real(1.5), real(n2) - real(1.5)
    a, Q = np.empty(3, x.dtype), np.empty((3, 3), x.dtype)
    grid[:] = 0
    for p in range(len(x)):
        X, Y, Z = x[p, 0] * inverse, x[p, 1] * inverse, x[p, 2] * inverse
        if not (X >= half and X < high0 and Y >= half and Y < high1 and Z >= half and Z < high2):
            return p
        i, j, k, f, g, h = place(x, p, inverse, half)
        m = mass[p]
        wx0, wx1, wx2 = weights(f, half, three_quarters)
        wy0, wy1, wy2 = weights(g, half, three_quarters)
        wz0, wz1, wz2 = weights(h, half, three_quarters)
        load(v, C, tau, force, p, m, scale * volume[p], dt, dx, f, g, h, a, Q)
        if not abs(a[0]) + abs(a[1]) + abs(a[2]) < real(1e38):
            return p
        c0, c1, c2 = Q[0, 2], Q[1, 2], Q[2, 2]
        for r in range(3):
            for t in range(3):
                w = pick(r, wx0, wx1, wx2) * pick(t, wy0, wy1, wy2)
                b0 = a[0] + real(r) * Q[0, 0] + real(t) * Q[0, 1]
                b1 = a[1] + real(r) * Q[1, 0] + real(t) * Q[1, 1]
                b2 = a[2] + real(r) * Q[2, 0] + real(t) * Q[2, 1]
                o = 4 * (((i + r) * n1 + j + t) * n2 + k)
                u = w * wz0
                grid[o] += u * b0
                grid[o + 1] += u * b1
                grid[o + 2] += u * b2
                grid[o + 3] += u * m
                b0, b1, b2, u = b0 + c0, b1 + c1, b2 + c2, w * wz1
                grid[o + 4] += u * b0
                grid[o + 5] += u * b1
                grid[o + 6] += u * b2
                grid[o + 7] += u * m
                b0, b1, b2, u = b0 + c0, b1 + c1, b2 + c2, w * wz2
                grid[o + 8] += u * b0
                grid[o + 9] += u * b1
                grid[o + 10] += u * b2
                grid[o + 11] += u * m
    return -1


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def velocities3(grid, size, gravity, dt, layers, wall):
    n0, n1, n2 = size[0], size[1], size[2]
    zero, one = grid.dtype.type(0.0), grid.dtype.type(1.0)
    o = -4
    for i in range(n0):
        for j in range(n1):
            inner = i >= layers and i < n0 - layers and j >= layers and j < n1 - layers
            for k in range(n2):
                o += 4
                m = grid[o + 3]
                if m > 0:
                    r = one / m
                    edge = not inner or k < layers or k >= n2 - layers
                    for c in range(3):
                        u = grid[o + c] * r + dt * gravity[c]
                        if edge and stopped(u, pick(c, i, j, k), size[c], layers, wall, True):
                            u = zero
                        grid[o + c] = u


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def from_grid3(x, F, size, dx, dt, grid, x_new, v_new, C_new, F_new):
    real = x.dtype.type
    zero, half, three_quarters = real(0.0), real(0.5), real(0.75)
    inverse, k4 = real(1.0) / dx, real(4.0) / dx
    n1, n2 = size[1], size[2]
    for p in range(len(x)):
        i, j, k, f, g, h = place(x, p, inverse, half)
        wx0, wx1, wx2 = weights(f, half, three_quarters)
        wy0, wy1, wy2 = weights(g, half, three_quarters)
        wz0, wz1, wz2 = weights(h, half, three_quarters)
        e0, e1, e2 = -wz0 * h, wz1 * (real(1.0) - h), wz2 * (real(2.0) - h)
        v0, v1, v2, c00, c01, c02 = zero, zero, zero, zero, zero, zero
        c10, c11, c12, c20, c21, c22 = zero, zero, zero, zero, zero, zero
        for r in range(3):
            for t in range(3):
                w = pick(r, wx0, wx1, wx2) * pick(t, wy0, wy1, wy2)
                d0, d1 = w * (real(r) - f), w * (real(t) - g)
                o = 4 * (((i + r) * n1 + j + t) * n2 + k)
                s0 = wz0 * grid[o] + wz1 * grid[o + 4] + wz2 * grid[o + 8]
                s1 = wz0 * grid[o + 1] + wz1 * grid[o + 5] + wz2 * grid[o + 9]
                s2 = wz0 * grid[o + 2] + wz1 * grid[o + 6] + wz2 * grid[o + 10]
                c02 += w * (e0 * grid[o] + e1 * grid[o + 4] + e2 * grid[o + 8])
                c12 += w * (e0 * grid[o + 1] + e1 * grid[o + 5] + e2 * grid[o + 9])
                c22 += w * (e0 * grid[o + 2] + e1 * grid[o + 6] + e2 * grid[o + 10])
                v0 += w * s0
                v1 += w * s1
                v2 += w * s2
                c00 += d0 * s0
                c10 += d0 * s1
                c20 += d0 * s2
                c01 += d1 * s0
                c11 += d1 * s1
                c21 += d1 * s2
        x_new[p, 0], x_new[p, 1], x_new[p, 2] = x[p, 0] + dt * v0, x[p, 1] + dt * v1, x[p, 2] + dt * v2
        v_new[p, 0], v_new[p, 1], v_new[p, 2] = v0, v1, v2
        C_new[p, 0, 0], C_new[p, 0, 1], C_new[p, 0, 2] = k4 * c00, k4 * c01, k4 * c02
        C_new[p, 1, 0], C_new[p, 1, 1], C_new[p, 1, 2] = k4 * c10, k4 * c11, k4 * c12
        C_new[p, 2, 0], C_new[p, 2, 1], C_new[p, 2, 2] = k4 * c20, k4 * c21, k4 * c22
        for a in range(3):
            for b in range(3):
                F_new[p, a, b] = F[p, a, b] + dt * (
                    C_new[p, a, 0] * F[p, 0, b] + C_new[p, a, 1] * F[p, 1, b] + C_new[p, a, 2] * F[p, 2, b]
                )


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def gather_adjoint3(x, F, v_new, C_new, gx, gv, gC, gF, size, dx, dt, grid, back, dx_out, dF):
    real = x.dtype.type
    zero, half, three_quarters = real(0.0), real(0.5), real(0.75)
    inverse, k4 = real(1.0) / dx, real(4.0) / dx
    n1, n2 = size[1], size[2]
    a, B = np.empty(3, x.dtype), np.empty((3, 3), x.dtype)
    back[:] = 0
    for p in range(len(x)):
        i, j, k, f, g, h = place(x, p, inverse, half)
        wx0, wx1, wx2 = weights(f, half, three_quarters)
        wy0, wy1, wy2 = weights(g, half, three_quarters)
        wz0, wz1, wz2 = weights(h, half, three_quarters)
        sx0, sx1, sx2 = slopes(f, half)
        sy0, sy1, sy2 = slopes(g, half)
        sz0, sz1, sz2 = slopes(h, half)
        for c in range(3):
            for d in range(3):
                B[c, d] = k4 * (
                    gC[p, c, d] + dt * (gF[p, c, 0] * F[p, d, 0] + gF[p, c, 1] * F[p, d, 1] + gF[p, c, 2] * F[p, d, 2])
                )
                dF[p, c, d] = gF[p, c, d] + dt * (
                    C_new[p, 0, c] * gF[p, 0, d] + C_new[p, 1, c] * gF[p, 1, d] + C_new[p, 2, c] * gF[p, 2, d]
                )
            a[c] = gv[p, c] + dt * gx[p, c] - B[c, 0] * f - B[c, 1] * g - B[c, 2] * h
        c0, c1, c2 = B[0, 2], B[1, 2], B[2, 2]
        t0, t1, t2 = zero, zero, zero
        for r in range(3):
            for t in range(3):
                wx, wy, sx, sy = (
                    pick(r, wx0, wx1, wx2),
                    pick(t, wy0, wy1, wy2),
                    pick(r, sx0, sx1, sx2),
                    pick(t, sy0, sy1, sy2),
                )
                w = wx * wy
                q0 = a[0] + real(r) * B[0, 0] + real(t) * B[0, 1]
                q1 = a[1] + real(r) * B[1, 0] + real(t) * B[1, 1]
                q2 = a[2] + real(r) * B[2, 0] + real(t) * B[2, 1]
                o = 4 * (((i + r) * n1 + j + t) * n2 + k)
                h0 = q0 * grid[o] + q1 * grid[o + 1] + q2 * grid[o + 2]
                u = w * wz0
                back[o] += u * q0
                back[o + 1] += u * q1
                back[o + 2] += u * q2
                q0, q1, q2, u = q0 + c0, q1 + c1, q2 + c2, w * wz1
                h1 = q0 * grid[o + 4] + q1 * grid[o + 5] + q2 * grid[o + 6]
                back[o + 4] += u * q0
                back[o + 5] += u * q1
                back[o + 6] += u * q2
                q0, q1, q2, u = q0 + c0, q1 + c1, q2 + c2, w * wz2
                h2 = q0 * grid[o + 8] + q1 * grid[o + 9] + q2 * grid[o + 10]
                back[o + 8] += u * q0
                back[o + 9] += u * q1
                back[o + 10] += u * q2
                line = wz0 * h0 + wz1 * h1 + wz2 * h2
                t0 += sx * wy * line
                t1 += wx * sy * line
                t2 += w * (sz0 * h0 + sz1 * h1 + sz2 * h2)
        u0, u1, u2 = v_new[p, 0], v_new[p, 1], v_new[p, 2]
        dx_out[p, 0] = gx[p, 0] + inverse * (t0 - B[0, 0] * u0 - B[1, 0] * u1 - B[2, 0] * u2)
        dx_out[p, 1] = gx[p, 1] + inverse * (t1 - B[0, 1] * u0 - B[1, 1] * u1 - B[2, 1] * u2)
        dx_out[p, 2] = gx[p, 2] + inverse * (t2 - B[0, 2] * u0 - B[1, 2] * u1 - B[2, 2] * u2)


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def velocities_adjoint3(grid, back, size, gravity, dt, layers):
    n0, n1, n2 = size[0], size[1], size[2]
    zero, one = grid.dtype.type(0.0), grid.dtype.type(1.0)
    o = -4
    for i in range(n0):
        for j in range(n1):
            inner = i >= layers and i < n0 - layers and j >= layers and j < n1 - layers
            for k in range(n2):
                o += 4
                m = grid[o + 3]
                if m > 0:
                    r = one / m
                    edge = not inner or k < layers or k >= n2 - layers
                    back[o + 3] = zero
                    for c in range(3):
                        p = zero if edge and grid[o + c] == 0 else back[o + c] * r
                        back[o + c] = p
                        back[o + 3] -= p * (grid[o + c] - dt * gravity[c])


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def scatter_adjoint3(x, v, C, tau, force, mass, volume, size, dx, dt, back, dx_out, dv, dC, dtau, dforce):
    real = x.dtype.type
    zero, half, three_quarters = real(0.0), real(0.5), real(0.75)
    inverse = real(1.0) / dx
    scale = -real(4.0) * dt * inverse * inverse
    n1, n2 = size[1], size[2]
    a, Q, D, z = np.empty(3, x.dtype), np.empty((3, 3), x.dtype), np.empty((3, 3), x.dtype), np.empty(3, x.dtype)
    for p in range(len(x)):
        i, j, k, f, g, h = place(x, p, inverse, half)
        m, s = mass[p], scale * volume[p]
        wx0, wx1, wx2 = weights(f, half, three_quarters)
        wy0, wy1, wy2 = weights(g, half, three_quarters)
        wz0, wz1, wz2 = weights(h, half, three_quarters)
        sx0, sx1, sx2 = slopes(f, half)
        sy0, sy1, sy2 = slopes(g, half)
        sz0, sz1, sz2 = slopes(h, half)
        e0, e1, e2 = -wz0 * h, wz1 * (real(1.0) - h), wz2 * (real(2.0) - h)
        load(v, C, tau, force, p, m, s, dt, dx, f, g, h, a, Q)
        t0, t1, t2 = zero, zero, zero
        for c in range(3):
            z[c] = D[c, 0] = D[c, 1] = D[c, 2] = zero
        for r in range(3):
            for t in range(3):
                wx, wy, sx, sy = (
                    pick(r, wx0, wx1, wx2),
                    pick(t, wy0, wy1, wy2),
                    pick(r, sx0, sx1, sx2),
                    pick(t, sy0, sy1, sy2),
                )
                w = wx * wy
                d0, d1 = w * (real(r) - f), w * (real(t) - g)
                o = 4 * (((i + r) * n1 + j + t) * n2 + k)
                h0, h1, h2 = m * back[o + 3], m * back[o + 7], m * back[o + 11]
                for c in range(3):
                    b = a[c] + real(r) * Q[c, 0] + real(t) * Q[c, 1]
                    u0, u1, u2 = back[o + c], back[o + 4 + c], back[o + 8 + c]
                    line = wz0 * u0 + wz1 * u1 + wz2 * u2
                    z[c] += w * line
                    D[c, 0] += d0 * line
                    D[c, 1] += d1 * line
                    D[c, 2] += w * (e0 * u0 + e1 * u1 + e2 * u2)
                    h0 += b * u0
                    h1 += (b + Q[c, 2]) * u1
                    h2 += (b + Q[c, 2] + Q[c, 2]) * u2
                line = wz0 * h0 + wz1 * h1 + wz2 * h2
                t0 += sx * wy * line
                t1 += wx * sy * line
                t2 += w * (sz0 * h0 + sz1 * h1 + sz2 * h2)
        dx_out[p, 0] += inverse * (t0 - Q[0, 0] * z[0] - Q[1, 0] * z[1] - Q[2, 0] * z[2])
        dx_out[p, 1] += inverse * (t1 - Q[0, 1] * z[0] - Q[1, 1] * z[1] - Q[2, 1] * z[2])
        dx_out[p, 2] += inverse * (t2 - Q[0, 2] * z[0] - Q[1, 2] * z[1] - Q[2, 2] * z[2])
        for c in range(3):
            dv[p, c], dforce[p, c] = m * z[c], dt * z[c]
            for d in range(3):
                dC[p, c, d], dtau[p, c, d] = m * dx * D[c, d], s * dx * D[c, d]
