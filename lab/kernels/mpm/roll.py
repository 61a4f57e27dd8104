"""The gradient-free loop: closed-form laws as functions of principal stretches, then the step, many times in one call.

Every law here is isotropic: the Kirchhoff stress shares its axes with b = F F^T, and a plastic map changes the principal
stretches alone, F -> N diag(s'/s) N^T F. One diagonalization of b serves both. With det F < 0 the smallest stretch counts as
negative, as in a polar decomposition with a proper rotation.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels import chunks
from lab.kernels.mpm import loops


@njit(cache=True, nogil=True)
def axes(F, A, N, s):
    """Principal axes N (columns) and stretches s of F, det F; A is scratch. Cyclic Jacobi rotations of F F^T."""
    d = len(s)
    for i in range(d):
        for j in range(d):
            N[i, j] = 1.0 if i == j else 0.0
            A[i, j] = 0.0
            for k in range(d):
                A[i, j] += F[i, k] * F[j, k]
    for _ in range(1 if d == 2 else 8):
        off = 0.0
        for p in range(d - 1):
            for q in range(p + 1, d):
                off += A[p, q] * A[p, q]
                if A[p, q] == 0.0:
                    continue
                h = (A[q, q] - A[p, p]) / (2.0 * A[p, q])
                t = (1.0 if h >= 0.0 else -1.0) / (abs(h) + np.sqrt(h * h + 1.0))
                c = 1.0 / np.sqrt(t * t + 1.0)
                e = t * c
                for k in range(d):
                    u, w = A[k, p], A[k, q]
                    A[k, p], A[k, q] = c * u - e * w, e * u + c * w
                for k in range(d):
                    u, w = A[p, k], A[q, k]
                    A[p, k], A[q, k] = c * u - e * w, e * u + c * w
                    u, w = N[k, p], N[k, q]
                    N[k, p], N[k, q] = c * u - e * w, e * u + c * w
        if off < 1e-30:
            break
    least = 0
    for k in range(d):
        s[k] = np.sqrt(max(A[k, k], 0.0))
        if s[k] < s[least]:
            least = k
    if d == 2:
        J = F[0, 0] * F[1, 1] - F[0, 1] * F[1, 0]
    else:
        J = F[0, 0] * (F[1, 1] * F[2, 2] - F[1, 2] * F[2, 1]) - F[0, 1] * (F[1, 0] * F[2, 2] - F[1, 2] * F[2, 0])
        J += F[0, 2] * (F[1, 0] * F[2, 1] - F[1, 1] * F[2, 0])
    if J < 0.0:
        s[least] = -s[least]
    return J


@njit(cache=True, nogil=True)
def compose(N, values, M):
    """M = N diag(values) N^T."""
    d = len(values)
    for i in range(d):
        for j in range(d):
            M[i, j] = 0.0
            for k in range(d):
                M[i, j] += N[i, k] * values[k] * N[j, k]


@njit(cache=True, nogil=True)
def stress(F, law, A, N, s, t, tau):
    """Kirchhoff stress of the elastic law number ``law[0]`` with mu = ``law[2]``, lambda = ``law[3]``."""
    code, mu, lam = law[0], law[2], law[3]
    if code == 3:
        J = axes(F, A, N, s)
        for i in range(len(s)):
            for j in range(len(s)):
                tau[i, j] = lam * J * (J - 1.0) if i == j else 0.0
        return
    J = axes(F, A, N, s)
    for k in range(len(s)):
        if code == 0:
            t[k] = 2.0 * mu * (s[k] * s[k] - s[k]) + lam * J * (J - 1.0)
        elif code == 1:
            t[k] = mu * (s[k] * s[k] - 1.0) + lam * np.log(J)
        else:
            t[k] = 2.0 * mu * np.log(s[k]) + lam * np.log(J)
    compose(N, t, A)
    tau[:, :] = A


@njit(cache=True, nogil=True)
def returned(F, law, A, N, s, t, M):
    """The plastic map number ``law[1]`` of a trial F, in place."""
    code, mu, lam, d = law[1], law[2], law[3], len(s)
    if code == 0:
        return
    J = axes(F, A, N, s)
    if code == 3:
        side = J ** (1.0 / d)
        for i in range(d):
            for j in range(d):
                F[i, j] = side if i == j else 0.0
        return
    mean, size = 0.0, 0.0
    for k in range(d):
        t[k] = np.log(s[k])
        mean += t[k] / d
    for k in range(d):
        size += (t[k] - mean) ** 2
    size = np.sqrt(size)
    if code == 1:
        excess = size - law[4] / (2.0 * mu)
    elif mean >= 0.0:
        for k in range(d):
            t[k] = 1.0 / s[k]
        compose(N, t, A)
        product(A, F, M)
        return
    else:
        excess = size + (d * lam + 2.0 * mu) / (2.0 * mu) * d * mean * law[5]
    if excess > 0.0 and size > 0.0:
        excess = min(excess, size)
        for k in range(d):
            t[k] = np.exp(-excess * (t[k] - mean) / size)
        compose(N, t, A)
        product(A, F, M)


@njit(cache=True, nogil=True)
def product(A, F, M):
    """F <- A F."""
    d = len(A)
    for i in range(d):
        for j in range(d):
            M[i, j] = 0.0
            for k in range(d):
                M[i, j] += A[i, k] * F[k, j]
    F[:, :] = M


@njit(cache=True, nogil=True)
def stresses(F, laws, material, tau):
    d = F.shape[1]
    A, N, s, t = np.empty((d, d)), np.empty((d, d)), np.empty(d), np.empty(d)
    for p in range(len(F)):
        stress(F[p], laws[material[p]], A, N, s, t, tau[p])


@njit(cache=True, nogil=True)
def returns(F, laws, material):
    d = F.shape[1]
    A, N, s, t, M = np.empty((d, d)), np.empty((d, d)), np.empty(d), np.empty(d), np.empty((d, d))
    for p in range(len(F)):
        returned(F[p], laws[material[p]], A, N, s, t, M)


def run(x, v, C, F, laws, material, steps, every, mass, volume, gravity, cells, spacing, dt, wall, layers):
    """States (x, v, C, F) at steps 0, every, 2 every, ...: each (frames, scenes, particles, ...)."""
    to_grid, velocities, from_grid, *_ = loops.kernels(x.shape[2])
    size, (dx, h) = np.array(cells), np.array([spacing, dt]).astype(x.dtype)
    frames = steps // every + 1
    out = tuple(np.empty((frames, *each.shape), each.dtype) for each in (x, v, C, F))
    failed = [None] * len(x)

    def scene(s):
        now = [each[s].copy() for each in (x, v, C, F)]
        later = [np.empty_like(each) for each in now]
        tau, force = np.zeros_like(now[3]), np.zeros_like(now[0])
        grid = np.empty((x.shape[2] + 1) * int(size.prod()), x.dtype)
        for k in range(steps + 1):
            if k % every == 0:
                for all_, one in zip(out, now):
                    all_[k // every, s] = one
            if k == steps:
                return
            stresses(now[3], laws, material, tau)
            bad = to_grid(now[0], now[1], now[2], tau, force, mass, volume, size, dx, h, grid)
            if bad >= 0:
                failed[s] = (k, int(bad), now[0][bad].copy())
                return
            velocities(grid, size, gravity, h, layers, wall)
            from_grid(now[0], now[3], size, dx, h, grid, *later)
            returns(later[3], laws, material)
            now, later = later, now

    def piece(start, stop):
        for s in range(start, stop):
            scene(s)

    chunks.run(piece, len(x), cost=steps * x.shape[1] * (300.0 if x.shape[2] == 2 else 1200.0))
    for s, found in enumerate(failed):
        if found is not None:
            step, particle, position = found
            raise ValueError(f"step {step}: {loops.refused(position, s, particle, cells, spacing)}")
    return out
