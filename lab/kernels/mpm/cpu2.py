"""The material point step in compiled loops, one scene after the other: particles to grid, grid, grid to particles.

A grid node holds its d velocity components and its mass side by side. The weights are products over axes, so a gather runs
over rows: sums over the last axis first. The adjoint scatters the gradients of the gathered velocity with the same weights,
and recomputes the grid instead of keeping it. Positions are compared with their range before they become indices; a scene
that holds one outside (NaN included) is left, and its first such particle is reported.
"""

from __future__ import annotations

from numba import njit

from lab.kernels.elementary import FAST

SLIP, STICK = 0, 1
# NaN must be seen where positions are compared, so the flag that assumes its absence is left out.
CAREFUL = FAST - {"nnan"}


@njit(inline="always")
def weights(f, half, three_quarters):
    """Quadratic B-spline weights of the three nodes of one axis; f in [1/2, 3/2) is the offset from the first."""
    one = half + half
    a, b, c = one + half - f, f - one, f - half
    return half * a * a, three_quarters - b * b, half * c * c


@njit(inline="always")
def slopes(f, half):
    """Derivatives of :func:`weights` in f."""
    one = half + half
    return f - one - half, (one - f) * (one + one), f - half


@njit(inline="always")
def stopped(u, index, size, layers, wall, edge):
    """Whether a velocity component is set to 0: ``edge`` tells whether any axis is within the layers."""
    if wall == STICK:
        return edge
    return (index < layers and u < 0) or (index >= size - layers and u > 0)


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def to_grid2(x, v, C, tau, force, mass, volume, size, dx, dt, grid):
    """Momentum and mass of one scene; the first particle outside the range or with a value that is not finite, or -1."""
    real = x.dtype.type
    half, three_quarters = real(0.5), real(0.75)
    inverse = (half + half) / dx
    scale = -real(4.0) * dt * inverse * inverse
    n0, n1 = size[0], size[1]
    low, high0, high1 = half, real(n0) - real(1.5), real(n1) - real(1.5)
    grid[:] = 0
    for p in range(len(x)):
        X, Y = x[p, 0] * inverse, x[p, 1] * inverse
        if not (X >= low and X < high0 and Y >= low and Y < high1):
            return p
        i, j = int(X - half), int(Y - half)
        f, g = X - real(i), Y - real(j)
        m, s = mass[p], scale * volume[p]
        wx0, wx1, wx2 = weights(f, half, three_quarters)
        wy0, wy1, wy2 = weights(g, half, three_quarters)
        a0, a1 = m * v[p, 0] + dt * force[p, 0], m * v[p, 1] + dt * force[p, 1]
        q00, q01 = (m * C[p, 0, 0] + s * tau[p, 0, 0]) * dx, (m * C[p, 0, 1] + s * tau[p, 0, 1]) * dx
        q10, q11 = (m * C[p, 1, 0] + s * tau[p, 1, 0]) * dx, (m * C[p, 1, 1] + s * tau[p, 1, 1]) * dx
        a0 -= q00 * f + q01 * g
        a1 -= q10 * f + q11 * g
        if not abs(a0) + abs(a1) < real(1e38):
            return p
        o = 3 * (i * n1 + j)
        for k in range(3):
            w = wx0 if k == 0 else (wx1 if k == 1 else wx2)
            b0, b1 = w * (a0 + real(k) * q00), w * (a1 + real(k) * q10)
            c0, c1, wm = w * q01, w * q11, w * m
            grid[o] += wy0 * b0
            grid[o + 1] += wy0 * b1
            grid[o + 2] += wy0 * wm
            b0 += c0
            b1 += c1
            grid[o + 3] += wy1 * b0
            grid[o + 4] += wy1 * b1
            grid[o + 5] += wy1 * wm
            b0 += c0
            b1 += c1
            grid[o + 6] += wy2 * b0
            grid[o + 7] += wy2 * b1
            grid[o + 8] += wy2 * wm
            o += 3 * n1
    return -1


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def velocities2(grid, size, gravity, dt, layers, wall):
    """Momentum to velocity in place, with gravity and walls."""
    n0, n1 = size[0], size[1]
    zero, one = grid.dtype.type(0.0), grid.dtype.type(1.0)
    g0, g1 = dt * gravity[0], dt * gravity[1]
    for i in range(n0):
        row = grid[3 * n1 * i : 3 * n1 * (i + 1)]
        inner = i >= layers and i < n0 - layers
        for j in range(n1):
            m = row[3 * j + 2]
            if m > 0:
                r = one / m
                u0, u1 = row[3 * j] * r + g0, row[3 * j + 1] * r + g1
                if not inner or j < layers or j >= n1 - layers:
                    if stopped(u0, i, n0, layers, wall, True):
                        u0 = zero
                    if stopped(u1, j, n1, layers, wall, True):
                        u1 = zero
                row[3 * j] = u0
                row[3 * j + 1] = u1


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def from_grid2(x, F, size, dx, dt, grid, x_new, v_new, C_new, F_new):
    real = x.dtype.type
    zero, half, three_quarters = real(0.0), real(0.5), real(0.75)
    one = half + half
    inverse, k4 = one / dx, real(4.0) / dx
    n1 = size[1]
    for p in range(len(x)):
        X, Y = x[p, 0] * inverse, x[p, 1] * inverse
        i, j = int(X - half), int(Y - half)
        f, g = X - real(i), Y - real(j)
        wx0, wx1, wx2 = weights(f, half, three_quarters)
        wy0, wy1, wy2 = weights(g, half, three_quarters)
        # weights times offsets from the particle, in cells
        e0, e1, e2 = -wy0 * g, wy1 * (one - g), wy2 * (one + one - g)
        v0, v1, c00, c01, c10, c11 = zero, zero, zero, zero, zero, zero
        o = 3 * (i * n1 + j)
        for k in range(3):
            w = wx0 if k == 0 else (wx1 if k == 1 else wx2)
            d = w * (real(k) - f)
            r0 = wy0 * grid[o] + wy1 * grid[o + 3] + wy2 * grid[o + 6]
            r1 = wy0 * grid[o + 1] + wy1 * grid[o + 4] + wy2 * grid[o + 7]
            c01 += w * (e0 * grid[o] + e1 * grid[o + 3] + e2 * grid[o + 6])
            c11 += w * (e0 * grid[o + 1] + e1 * grid[o + 4] + e2 * grid[o + 7])
            v0 += w * r0
            v1 += w * r1
            c00 += d * r0
            c10 += d * r1
            o += 3 * n1
        c00, c01, c10, c11 = k4 * c00, k4 * c01, k4 * c10, k4 * c11
        x_new[p, 0], x_new[p, 1] = x[p, 0] + dt * v0, x[p, 1] + dt * v1
        v_new[p, 0], v_new[p, 1] = v0, v1
        C_new[p, 0, 0], C_new[p, 0, 1], C_new[p, 1, 0], C_new[p, 1, 1] = c00, c01, c10, c11
        A, B, D, E = F[p, 0, 0], F[p, 0, 1], F[p, 1, 0], F[p, 1, 1]
        F_new[p, 0, 0] = A + dt * (c00 * A + c01 * D)
        F_new[p, 0, 1] = B + dt * (c00 * B + c01 * E)
        F_new[p, 1, 0] = D + dt * (c10 * A + c11 * D)
        F_new[p, 1, 1] = E + dt * (c10 * B + c11 * E)


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def gather_adjoint2(x, F, v_new, C_new, gx, gv, gC, gF, size, dx, dt, grid, back, dx_out, dF):
    """Scatter the gradients of the grid velocity into ``back``; gradients in F, and in x of what was gathered."""
    real = x.dtype.type
    zero, half, three_quarters = real(0.0), real(0.5), real(0.75)
    inverse, k4 = (half + half) / dx, real(4.0) / dx
    n1 = size[1]
    back[:] = 0
    for p in range(len(x)):
        X, Y = x[p, 0] * inverse, x[p, 1] * inverse
        i, j = int(X - half), int(Y - half)
        f, g = X - real(i), Y - real(j)
        wx0, wx1, wx2 = weights(f, half, three_quarters)
        wy0, wy1, wy2 = weights(g, half, three_quarters)
        sx0, sx1, sx2 = slopes(f, half)
        sy0, sy1, sy2 = slopes(g, half)
        A, B, D, E = F[p, 0, 0], F[p, 0, 1], F[p, 1, 0], F[p, 1, 1]
        G, H, K, L = gF[p, 0, 0], gF[p, 0, 1], gF[p, 1, 0], gF[p, 1, 1]
        b00, b01 = k4 * (gC[p, 0, 0] + dt * (G * A + H * B)), k4 * (gC[p, 0, 1] + dt * (G * D + H * E))
        b10, b11 = k4 * (gC[p, 1, 0] + dt * (K * A + L * B)), k4 * (gC[p, 1, 1] + dt * (K * D + L * E))
        c00, c01, c10, c11 = dt * C_new[p, 0, 0], dt * C_new[p, 0, 1], dt * C_new[p, 1, 0], dt * C_new[p, 1, 1]
        dF[p, 0, 0], dF[p, 0, 1] = G + c00 * G + c10 * K, H + c00 * H + c10 * L
        dF[p, 1, 0], dF[p, 1, 1] = K + c01 * G + c11 * K, L + c01 * H + c11 * L
        a0, a1 = gv[p, 0] + dt * gx[p, 0], gv[p, 1] + dt * gx[p, 1]
        a0 -= b00 * f + b01 * g
        a1 -= b10 * f + b11 * g
        t0, t1 = zero, zero
        o = 3 * (i * n1 + j)
        for k in range(3):
            w = wx0 if k == 0 else (wx1 if k == 1 else wx2)
            s = sx0 if k == 0 else (sx1 if k == 1 else sx2)
            q0, q1 = a0 + real(k) * b00, a1 + real(k) * b10
            h0 = q0 * grid[o] + q1 * grid[o + 1]
            back[o] += w * wy0 * q0
            back[o + 1] += w * wy0 * q1
            q0 += b01
            q1 += b11
            h1 = q0 * grid[o + 3] + q1 * grid[o + 4]
            back[o + 3] += w * wy1 * q0
            back[o + 4] += w * wy1 * q1
            q0 += b01
            q1 += b11
            h2 = q0 * grid[o + 6] + q1 * grid[o + 7]
            back[o + 6] += w * wy2 * q0
            back[o + 7] += w * wy2 * q1
            t0 += s * (wy0 * h0 + wy1 * h1 + wy2 * h2)
            t1 += w * (sy0 * h0 + sy1 * h1 + sy2 * h2)
            o += 3 * n1
        u0, u1 = v_new[p, 0], v_new[p, 1]
        dx_out[p, 0] = gx[p, 0] + inverse * (t0 - b00 * u0 - b10 * u1)
        dx_out[p, 1] = gx[p, 1] + inverse * (t1 - b01 * u0 - b11 * u1)


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def velocities_adjoint2(grid, back, size, gravity, dt, layers):
    """Gradients in velocity to gradients in momentum and mass, in place in ``back``."""
    n0, n1 = size[0], size[1]
    zero, one = grid.dtype.type(0.0), grid.dtype.type(1.0)
    g0, g1 = dt * gravity[0], dt * gravity[1]
    for i in range(n0):
        inner = i >= layers and i < n0 - layers
        for j in range(n1):
            o = 3 * (i * n1 + j)
            m = grid[o + 2]
            if m > 0:
                r = one / m
                p0, p1 = back[o] * r, back[o + 1] * r
                if not inner or j < layers or j >= n1 - layers:
                    # where a wall stopped a component it is exactly 0
                    if grid[o] == 0:
                        p0 = zero
                    if grid[o + 1] == 0:
                        p1 = zero
                back[o], back[o + 1] = p0, p1
                back[o + 2] = -(p0 * (grid[o] - g0) + p1 * (grid[o + 1] - g1))


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def scatter_adjoint2(x, v, C, tau, force, mass, volume, size, dx, dt, back, dx_out, dv, dC, dtau, dforce):
    """Gradients in what was scattered; those in x are added to ``dx_out``."""
    real = x.dtype.type
    zero, half, three_quarters = real(0.0), real(0.5), real(0.75)
    one = half + half
    inverse = one / dx
    scale = -real(4.0) * dt * inverse * inverse
    n1 = size[1]
    for p in range(len(x)):
        X, Y = x[p, 0] * inverse, x[p, 1] * inverse
        i, j = int(X - half), int(Y - half)
        f, g = X - real(i), Y - real(j)
        m, s = mass[p], scale * volume[p]
        wx0, wx1, wx2 = weights(f, half, three_quarters)
        wy0, wy1, wy2 = weights(g, half, three_quarters)
        sx0, sx1, sx2 = slopes(f, half)
        sy0, sy1, sy2 = slopes(g, half)
        e0, e1, e2 = -wy0 * g, wy1 * (one - g), wy2 * (one + one - g)
        a0, a1 = m * v[p, 0] + dt * force[p, 0], m * v[p, 1] + dt * force[p, 1]
        q00, q01 = (m * C[p, 0, 0] + s * tau[p, 0, 0]) * dx, (m * C[p, 0, 1] + s * tau[p, 0, 1]) * dx
        q10, q11 = (m * C[p, 1, 0] + s * tau[p, 1, 0]) * dx, (m * C[p, 1, 1] + s * tau[p, 1, 1]) * dx
        a0 -= q00 * f + q01 * g
        a1 -= q10 * f + q11 * g
        t0, t1, z0, z1, c00, c01, c10, c11 = zero, zero, zero, zero, zero, zero, zero, zero
        o = 3 * (i * n1 + j)
        for k in range(3):
            w = wx0 if k == 0 else (wx1 if k == 1 else wx2)
            slope = sx0 if k == 0 else (sx1 if k == 1 else sx2)
            d = w * (real(k) - f)
            b0, b1 = a0 + real(k) * q00, a1 + real(k) * q10
            r0 = wy0 * back[o] + wy1 * back[o + 3] + wy2 * back[o + 6]
            r1 = wy0 * back[o + 1] + wy1 * back[o + 4] + wy2 * back[o + 7]
            c01 += w * (e0 * back[o] + e1 * back[o + 3] + e2 * back[o + 6])
            c11 += w * (e0 * back[o + 1] + e1 * back[o + 4] + e2 * back[o + 7])
            z0 += w * r0
            z1 += w * r1
            c00 += d * r0
            c10 += d * r1
            h0 = b0 * back[o] + b1 * back[o + 1] + m * back[o + 2]
            b0 += q01
            b1 += q11
            h1 = b0 * back[o + 3] + b1 * back[o + 4] + m * back[o + 5]
            b0 += q01
            b1 += q11
            h2 = b0 * back[o + 6] + b1 * back[o + 7] + m * back[o + 8]
            t0 += slope * (wy0 * h0 + wy1 * h1 + wy2 * h2)
            t1 += w * (sy0 * h0 + sy1 * h1 + sy2 * h2)
            o += 3 * n1
        dx_out[p, 0] += inverse * (t0 - q00 * z0 - q10 * z1)
        dx_out[p, 1] += inverse * (t1 - q01 * z0 - q11 * z1)
        dv[p, 0], dv[p, 1] = m * z0, m * z1
        dforce[p, 0], dforce[p, 1] = dt * z0, dt * z1
        m, s = m * dx, s * dx
        dC[p, 0, 0], dC[p, 0, 1], dC[p, 1, 0], dC[p, 1, 1] = m * c00, m * c01, m * c10, m * c11
        dtau[p, 0, 0], dtau[p, 0, 1], dtau[p, 1, 0], dtau[p, 1, 1] = s * c00, s * c01, s * c10, s * c11
