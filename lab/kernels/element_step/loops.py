"""The element step in compiled loops, one scene after the other: elements, contact, nodes, rigid bodies, and the adjoint.

Contact is written in three components for triangles too (the third is 0). The adjoint computes the states of all substeps again
from the first one and then goes back through them. A substep whose result is not finite ends its scene, and is reported.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.elementary import FAST

# NaN must be seen where states are compared, so the flag that assumes its absence is left out.
CAREFUL = FAST - {"nnan"}


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def elastic2(x, v, elements, inverse, volume, mu, lam, eta, f):
    """Add the nodal forces -V P B^T of triangles to f."""
    for t in range(len(elements)):
        n0, n1, n2 = elements[t, 0], elements[t, 1], elements[t, 2]
        b00, b01, b10, b11 = inverse[t, 0, 0], inverse[t, 0, 1], inverse[t, 1, 0], inverse[t, 1, 1]
        p0, q0, p1, q1 = x[n1, 0] - x[n0, 0], x[n2, 0] - x[n0, 0], x[n1, 1] - x[n0, 1], x[n2, 1] - x[n0, 1]
        F00, F01, F10, F11 = p0 * b00 + q0 * b10, p0 * b01 + q0 * b11, p1 * b00 + q1 * b10, p1 * b01 + q1 * b11
        k = lam * (F00 * F11 - F01 * F10 - 1.0) - mu * 2.0 / 3.0
        e = mu * (1.0 - 1.0 / (F00 * F00 + F01 * F01 + F10 * F10 + F11 * F11 + 1.0))
        p0, q0, p1, q1 = v[n1, 0] - v[n0, 0], v[n2, 0] - v[n0, 0], v[n1, 1] - v[n0, 1], v[n2, 1] - v[n0, 1]
        P00 = e * F00 + k * F11 + eta * (p0 * b00 + q0 * b10)
        P01 = e * F01 - k * F10 + eta * (p0 * b01 + q0 * b11)
        P10 = e * F10 - k * F01 + eta * (p1 * b00 + q1 * b10)
        P11 = e * F11 + k * F00 + eta * (p1 * b01 + q1 * b11)
        V = volume[t]
        f10, f11 = V * (P00 * b00 + P01 * b01), V * (P10 * b00 + P11 * b01)
        f20, f21 = V * (P00 * b10 + P01 * b11), V * (P10 * b10 + P11 * b11)
        f[n1, 0] -= f10
        f[n1, 1] -= f11
        f[n2, 0] -= f20
        f[n2, 1] -= f21
        f[n0, 0] += f10 + f20
        f[n0, 1] += f11 + f21


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def elastic_adjoint2(x, v, elements, inverse, volume, mu, lam, eta, gf, gx, gv, glame):
    """Add to gx, gv and glame what gradients gf in the nodal forces of triangles make."""
    gmu, glam = 0.0, 0.0
    for t in range(len(elements)):
        n0, n1, n2 = elements[t, 0], elements[t, 1], elements[t, 2]
        b00, b01, b10, b11 = inverse[t, 0, 0], inverse[t, 0, 1], inverse[t, 1, 0], inverse[t, 1, 1]
        p0, q0, p1, q1 = x[n1, 0] - x[n0, 0], x[n2, 0] - x[n0, 0], x[n1, 1] - x[n0, 1], x[n2, 1] - x[n0, 1]
        F00, F01, F10, F11 = p0 * b00 + q0 * b10, p0 * b01 + q0 * b11, p1 * b00 + q1 * b10, p1 * b01 + q1 * b11
        V = -volume[t]
        p0, q0, p1, q1 = gf[n1, 0] - gf[n0, 0], gf[n2, 0] - gf[n0, 0], gf[n1, 1] - gf[n0, 1], gf[n2, 1] - gf[n0, 1]
        G00, G01 = V * (p0 * b00 + q0 * b10), V * (p0 * b01 + q0 * b11)
        G10, G11 = V * (p1 * b00 + q1 * b10), V * (p1 * b01 + q1 * b11)
        r = 1.0 / (F00 * F00 + F01 * F01 + F10 * F10 + F11 * F11 + 1.0)
        J = F00 * F11 - F01 * F10
        along = F00 * G00 + F01 * G01 + F10 * G10 + F11 * G11
        beside = F11 * G00 - F10 * G01 - F01 * G10 + F00 * G11
        gmu += (1.0 - r) * along - 2.0 / 3.0 * beside
        glam += (J - 1.0) * beside
        e, w, s, k = mu * (1.0 - r), 2.0 * mu * r * r * along, lam * beside, lam * (J - 1.0) - mu * 2.0 / 3.0
        D00, D01 = e * G00 + w * F00 + s * F11 + k * G11, e * G01 + w * F01 - s * F10 - k * G10
        D10, D11 = e * G10 + w * F10 - s * F01 - k * G01, e * G11 + w * F11 + s * F00 + k * G00
        a10, a11 = D00 * b00 + D01 * b01, D10 * b00 + D11 * b01
        a20, a21 = D00 * b10 + D01 * b11, D10 * b10 + D11 * b11
        gx[n1, 0] += a10
        gx[n1, 1] += a11
        gx[n2, 0] += a20
        gx[n2, 1] += a21
        gx[n0, 0] -= a10 + a20
        gx[n0, 1] -= a11 + a21
        a10, a11 = eta * (G00 * b00 + G01 * b01), eta * (G10 * b00 + G11 * b01)
        a20, a21 = eta * (G00 * b10 + G01 * b11), eta * (G10 * b10 + G11 * b11)
        gv[n1, 0] += a10
        gv[n1, 1] += a11
        gv[n2, 0] += a20
        gv[n2, 1] += a21
        gv[n0, 0] -= a10 + a20
        gv[n0, 1] -= a11 + a21
    glame[0] += gmu
    glame[1] += glam


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def gradient3(x, nodes, B, F):
    """F = D B with the edge vectors x_j - x_0 of a tetrahedron as columns of D."""
    for a in range(3):
        p, q, r = x[nodes[1], a] - x[nodes[0], a], x[nodes[2], a] - x[nodes[0], a], x[nodes[3], a] - x[nodes[0], a]
        for b in range(3):
            F[a, b] = p * B[0, b] + q * B[1, b] + r * B[2, b]


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def spread3(P, nodes, B, scale, f):
    """Add scale P B^T to the last three nodes, and minus the sum to the first."""
    for a in range(3):
        for j in range(3):
            value = scale * (P[a, 0] * B[j, 0] + P[a, 1] * B[j, 1] + P[a, 2] * B[j, 2])
            f[nodes[j + 1], a] += value
            f[nodes[0], a] -= value


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def crossed3(A, B, C, add):
    """C (+)= rows A_i+1 x B_i+2: the cofactors of A where B is A."""
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        for a in range(3):
            b, c = (a + 1) % 3, (a + 2) % 3
            C[i, a] = (C[i, a] if add else 0.0) + A[j, b] * B[k, c] - A[j, c] * B[k, b]


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def elastic3(x, v, elements, inverse, volume, mu, lam, eta, f):
    """Add the nodal forces -V P B^T of tetrahedra to f."""
    F, C, P, D = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    for t in range(len(elements)):
        gradient3(x, elements[t], inverse[t], F)
        gradient3(v, elements[t], inverse[t], D)
        crossed3(F, F, C, False)
        I, J = 0.0, F[0, 0] * C[0, 0] + F[0, 1] * C[0, 1] + F[0, 2] * C[0, 2]
        for a in range(3):
            for b in range(3):
                I += F[a, b] * F[a, b]
        e, k = mu * (1.0 - 1.0 / (I + 1.0)), lam * (J - 1.0) - 0.75 * mu
        for a in range(3):
            for b in range(3):
                P[a, b] = e * F[a, b] + k * C[a, b] + eta * D[a, b]
        spread3(P, elements[t], inverse[t], -volume[t], f)


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def elastic_adjoint3(x, v, elements, inverse, volume, mu, lam, eta, gf, gx, gv, glame):
    """Add to gx, gv and glame what gradients gf in the nodal forces of tetrahedra make."""
    F, C, G, D = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    gmu, glam = 0.0, 0.0
    for t in range(len(elements)):
        gradient3(x, elements[t], inverse[t], F)
        gradient3(gf, elements[t], inverse[t], G)
        crossed3(F, F, C, False)
        I, J = 0.0, F[0, 0] * C[0, 0] + F[0, 1] * C[0, 1] + F[0, 2] * C[0, 2]
        along, beside = 0.0, 0.0
        for a in range(3):
            for b in range(3):
                G[a, b] *= -volume[t]
                I += F[a, b] * F[a, b]
                along += F[a, b] * G[a, b]
                beside += C[a, b] * G[a, b]
        r = 1.0 / (I + 1.0)
        gmu += (1.0 - r) * along - 0.75 * beside
        glam += (J - 1.0) * beside
        crossed3(G, F, D, False)
        crossed3(F, G, D, True)
        e, w, s, k = mu * (1.0 - r), 2.0 * mu * r * r * along, lam * beside, lam * (J - 1.0) - 0.75 * mu
        for a in range(3):
            for b in range(3):
                D[a, b] = e * G[a, b] + w * F[a, b] + s * C[a, b] + k * D[a, b]
        spread3(D, elements[t], inverse[t], 1.0, gx)
        spread3(G, elements[t], inverse[t], eta, gv)
    glame[0] += gmu
    glame[1] += glam


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def distance(p0, p1, p2, d, shape, layout, field):
    """Signed distance at a point of the body's frame, its gradient (3) and its second derivatives (xx, xy, xz, yy, yz, zz)."""
    if layout[0] < 0:
        s0, s1, s2 = 1.0 if p0 >= 0 else -1.0, 1.0 if p1 >= 0 else -1.0, 1.0 if p2 >= 0 else -1.0
        q0, q1, q2 = abs(p0) - shape[0], abs(p1) - shape[1], abs(p2) - shape[2] if d == 3 else -1e30
        m0, m1, m2 = max(q0, 0.0), max(q1, 0.0), max(q2, 0.0)
        L = np.sqrt(m0 * m0 + m1 * m1 + m2 * m2)
        if L > 0:
            a, b, c = s0 * m0 / L, s1 * m1 / L, s2 * m2 / L
            i0, i1, i2 = 1.0 if m0 > 0 else 0.0, 1.0 if m1 > 0 else 0.0, 1.0 if m2 > 0 else 0.0
            return (L - shape[3], a, b, c, (i0 - a * a) / L, -a * b / L, -a * c / L, (i1 - b * b) / L, -b * c / L,
                    (i2 - c * c) / L)  # fmt: skip
        if q0 >= q1 and q0 >= q2:
            return q0 - shape[3], s0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        if q1 >= q2:
            return q1 - shape[3], 0.0, s1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        return q2 - shape[3], 0.0, 0.0, s2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    h = 1.0 / shape[7]
    t0, t1, t2 = (p0 - shape[4]) * h, (p1 - shape[5]) * h, (p2 - shape[6]) * h if d == 3 else 1.0
    n0, n1, n2 = layout[1], layout[2], layout[3]
    good = t0 >= 0.5 and t0 < n0 - 1.5 and t1 >= 0.5 and t1 < n1 - 1.5
    if not (good and (d == 2 or (t2 >= 0.5 and t2 < n2 - 1.5))):
        return 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    i0, i1, i2 = int(t0 - 0.5), int(t1 - 0.5), int(t2 - 0.5) if d == 3 else 0
    f0, f1, f2 = t0 - i0, t1 - i1, t2 - i2
    value, a, b, c, xx, xy, xz, yy, yz, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k0 in range(3):
        w0, s0, c0 = spline(f0, k0)
        for k1 in range(3):
            w1, s1, c1 = spline(f1, k1)
            for k2 in range(3 if d == 3 else 1):
                w2, s2, c2 = spline(f2, k2) if d == 3 else (1.0, 0.0, 0.0)
                u = field[layout[0] + ((i0 + k0) * n1 + i1 + k1) * n2 + i2 + k2]
                value += w0 * w1 * w2 * u
                a += s0 * w1 * w2 * u
                b += w0 * s1 * w2 * u
                c += w0 * w1 * s2 * u
                xx += c0 * w1 * w2 * u
                xy += s0 * s1 * w2 * u
                xz += s0 * w1 * s2 * u
                yy += w0 * c1 * w2 * u
                yz += w0 * s1 * s2 * u
                zz += w0 * w1 * c2 * u
    return value, a * h, b * h, c * h, xx * h * h, xy * h * h, xz * h * h, yy * h * h, yz * h * h, zz * h * h


@njit(inline="always")
def spline(f, k):
    """Weight of node k of a quadratic B-spline at offset f from the first node, its slope and its curvature."""
    if k == 0:
        return 0.5 * (1.5 - f) * (1.5 - f), f - 1.5, 1.0
    if k == 1:
        return 0.75 - (f - 1.0) * (f - 1.0), 2.0 * (1.0 - f), -2.0
    return 0.5 * (f - 0.5) * (f - 0.5), f - 0.5, 1.0


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def touch(x, v, pose, motion, surface, contact, shapes, layouts, field, d, f, push, mean, share):
    """Add contact forces to f (nodes), the wrenches on bodies to push (bodies, 3), and share times the forces to mean."""
    kn, kd, kt, mf = contact[0], contact[1], contact[2], contact[3]
    for b in range(len(pose)):
        c, s = (np.cos(pose[b, 2]), np.sin(pose[b, 2])) if d == 2 else (1.0, 0.0)
        for j in range(len(surface)):
            i = surface[j]
            r0, r1, r2 = x[i, 0] - pose[b, 0], x[i, 1] - pose[b, 1], x[i, 2] - pose[b, 2] if d == 3 else 0.0
            found = distance(c * r0 + s * r1, c * r1 - s * r0, r2, d, shapes[b], layouts[b], field)
            depth, a0, a1, a2 = found[0], found[1], found[2], found[3]
            if depth >= 0:
                continue
            size = 1.0 / np.sqrt(a0 * a0 + a1 * a1 + a2 * a2)
            n0, n1, n2 = (c * a0 - s * a1) * size, (s * a0 + c * a1) * size, a2 * size
            u0, u1, u2 = v[i, 0] - motion[b, 0], v[i, 1] - motion[b, 1], v[i, 2] - motion[b, 2] if d == 3 else 0.0
            if d == 2:
                u0, u1 = u0 + motion[b, 2] * r1, u1 - motion[b, 2] * r0
            un = n0 * u0 + n1 * u1 + n2 * u2
            fn = -(kn + kd * max(-un, 0.0)) * depth
            t0, t1, t2 = u0 - un * n0, u1 - un * n1, u2 - un * n2
            speed = np.sqrt(t0 * t0 + t1 * t1 + t2 * t2)
            slow = kt if kt * speed <= mf * fn else mf * fn / speed
            f0, f1, f2 = fn * n0 - slow * t0, fn * n1 - slow * t1, fn * n2 - slow * t2
            f[i, 0] += f0
            f[i, 1] += f1
            push[b, 0] -= f0
            push[b, 1] -= f1
            mean[b, 0] += share * f0
            mean[b, 1] += share * f1
            if d == 3:
                f[i, 2] += f2
                push[b, 2] -= f2
                mean[b, 2] += share * f2
            else:
                push[b, 2] -= r0 * f1 - r1 * f0


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def touch_adjoint(x, v, pose, motion, surface, contact, shapes, layouts, field, d, share,
                  gf, gpush, gmean, gx, gv, gpose, gmotion, gcontact):  # fmt: skip
    """Add to the last five what gradients in the nodal forces, the wrenches and the mean forces make."""
    kn, kd, kt, mf = contact[0], contact[1], contact[2], contact[3]
    for b in range(len(pose)):
        c, s = (np.cos(pose[b, 2]), np.sin(pose[b, 2])) if d == 2 else (1.0, 0.0)
        for j in range(len(surface)):
            i = surface[j]
            r0, r1, r2 = x[i, 0] - pose[b, 0], x[i, 1] - pose[b, 1], x[i, 2] - pose[b, 2] if d == 3 else 0.0
            p0, p1 = c * r0 + s * r1, c * r1 - s * r0
            depth, a0, a1, a2, xx, xy, xz, yy, yz, zz = distance(p0, p1, r2, d, shapes[b], layouts[b], field)
            if depth >= 0:
                continue
            size = 1.0 / np.sqrt(a0 * a0 + a1 * a1 + a2 * a2)
            n0, n1, n2 = (c * a0 - s * a1) * size, (s * a0 + c * a1) * size, a2 * size
            u0, u1, u2 = v[i, 0] - motion[b, 0], v[i, 1] - motion[b, 1], v[i, 2] - motion[b, 2] if d == 3 else 0.0
            if d == 2:
                u0, u1 = u0 + motion[b, 2] * r1, u1 - motion[b, 2] * r0
            un = n0 * u0 + n1 * u1 + n2 * u2
            k = kn + kd * max(-un, 0.0)
            fn = -k * depth
            t0, t1, t2 = u0 - un * n0, u1 - un * n1, u2 - un * n2
            speed = np.sqrt(t0 * t0 + t1 * t1 + t2 * t2)
            g0, g1, g2 = gf[i, 0] - gpush[b, 0] + share * gmean[b, 0], gf[i, 1] - gpush[b, 1] + share * gmean[b, 1], 0.0
            h0, h1, h2 = 0.0, 0.0, 0.0  # gradient in r
            if d == 3:
                g2 = gf[i, 2] - gpush[b, 2] + share * gmean[b, 2]
            else:
                slow = kt if kt * speed <= mf * fn else mf * fn / speed
                h0, h1 = -gpush[b, 2] * (fn * n1 - slow * t1), gpush[b, 2] * (fn * n0 - slow * t0)
                g0, g1 = g0 + gpush[b, 2] * r1, g1 - gpush[b, 2] * r0
            gfn = g0 * n0 + g1 * n1 + g2 * n2
            across = g0 * t0 + g1 * t1 + g2 * t2
            if kt * speed <= mf * fn:
                w0, w1, w2 = -kt * g0, -kt * g1, -kt * g2
                gcontact[2] -= across
            else:
                q = mf * fn / speed
                e = across / (speed * speed)
                w0, w1, w2 = -q * (g0 - e * t0), -q * (g1 - e * t1), -q * (g2 - e * t2)
                gcontact[3] -= fn * across / speed
                gfn -= mf * across / speed
            wn = w0 * n0 + w1 * n1 + w2 * n2
            gu0, gu1, gu2 = w0 - wn * n0, w1 - wn * n1, w2 - wn * n2
            gn0, gn1, gn2 = fn * g0 - un * w0 - wn * u0, fn * g1 - un * w1 - wn * u1, fn * g2 - un * w2 - wn * u2
            gcontact[0] -= gfn * depth
            if un < 0:
                gcontact[1] += gfn * un * depth
                gun = gfn * kd * depth
                gn0, gn1, gn2 = gn0 + gun * u0, gn1 + gun * u1, gn2 + gun * u2
                gu0, gu1, gu2 = gu0 + gun * n0, gu1 + gun * n1, gu2 + gun * n2
            gd = -gfn * k
            if d == 2:
                gpose[b, 2] += gn1 * n0 - gn0 * n1
            gnn = gn0 * n0 + gn1 * n1 + gn2 * n2
            gn0, gn1, gn2 = (gn0 - gnn * n0) * size, (gn1 - gnn * n1) * size, (gn2 - gnn * n2) * size
            l0, l1 = c * gn0 + s * gn1, c * gn1 - s * gn0
            gp0, gp1 = gd * a0 + xx * l0 + xy * l1 + xz * gn2, gd * a1 + xy * l0 + yy * l1 + yz * gn2
            gp2 = gd * a2 + xz * l0 + yz * l1 + zz * gn2
            h0, h1, h2 = h0 + c * gp0 - s * gp1, h1 + s * gp0 + c * gp1, h2 + gp2
            if d == 2:
                gpose[b, 2] += gp0 * p1 - gp1 * p0
                gmotion[b, 2] += gu0 * r1 - gu1 * r0
                h0, h1 = h0 - motion[b, 2] * gu1, h1 + motion[b, 2] * gu0
            gx[i, 0] += h0
            gx[i, 1] += h1
            gv[i, 0] += gu0
            gv[i, 1] += gu1
            gpose[b, 0] -= h0
            gpose[b, 1] -= h1
            gmotion[b, 0] -= gu0
            gmotion[b, 1] -= gu1
            if d == 3:
                gx[i, 2] += h2
                gv[i, 2] += gu2
                gpose[b, 2] -= h2
                gmotion[b, 2] -= gu2


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def substep(x, v, pose, motion, drive, load, force, lame, contact, elements, inverse, volume, mass, driven, surface,
            shapes, layouts, field, lightness, drag, dt, eta, share, f, push, mean, x2, v2, pose2, motion2):  # fmt: skip
    """The next state of one scene into the last four; the first node that is not finite, or -1."""
    d = x.shape[1]
    f[:] = force
    push[:] = load
    if d == 2:
        elastic2(x, v, elements, inverse, volume, lame[0], lame[1], eta, f)
    else:
        elastic3(x, v, elements, inverse, volume, lame[0], lame[1], eta, f)
    touch(x, v, pose, motion, surface, contact, shapes, layouts, field, d, f, push, mean, share)
    for i in range(len(x)):
        total = 0.0
        for a in range(d):
            v2[i, a] = drive[driven[i], a] if driven[i] >= 0 else v[i, a] + dt * f[i, a] / mass[i]
            x2[i, a] = x[i, a] + dt * v2[i, a]
            total += abs(x2[i, a]) + abs(v2[i, a])
        if not total < 1e12:
            return i
    for b in range(len(pose)):
        for a in range(3):
            step = dt * lightness[b, a]
            motion2[b, a] = (motion[b, a] + step * push[b, a]) / (1.0 + step * drag[b, a])
            pose2[b, a] = pose[b, a] + dt * motion2[b, a]
    return -1


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def forward(x, v, pose, motion, drive, load, force, lame, contact, elements, inverse, volume, mass, driven, surface,
            shapes, layouts, field, lightness, drag, dt, eta, substeps, xs, vs, poses, motions, mean):  # fmt: skip
    """All substeps of one scene; buffers of two states are used in turn, of substeps + 1 one each. (substep, node), or -1."""
    f, push, many = np.empty((len(x), x.shape[1])), np.empty((len(pose), 3)), len(xs)
    xs[0], vs[0], poses[0], motions[0] = x, v, pose, motion
    mean[:] = 0
    for n in range(substeps):
        i, j = n % many, (n + 1) % many
        bad = substep(xs[i], vs[i], poses[i], motions[i], drive, load, force, lame, contact, elements, inverse, volume,
                      mass, driven, surface, shapes, layouts, field, lightness, drag, dt, eta, 1.0 / substeps, f, push,
                      mean, xs[j], vs[j], poses[j], motions[j])  # fmt: skip
        if bad >= 0:
            return n, bad
    return -1, -1


@njit(cache=True, nogil=True, fastmath=CAREFUL)
def backward(xs, vs, poses, motions, drive, load, force, lame, contact, elements, inverse, volume, mass, driven, surface,
             shapes, layouts, field, lightness, drag, dt, eta, substeps, gx, gv, gpose, gmotion, gmean,
             gdrive, gload, gforce, glame, gcontact):  # fmt: skip
    """Back through the stored states of one scene: gx, gv, gpose and gmotion become gradients in the first state."""
    count, d = xs.shape[1], xs.shape[2]
    gf, gpush = np.zeros((count, d)), np.zeros((poses.shape[1], 3))
    for n in range(substeps - 1, -1, -1):
        for i in range(count):
            for a in range(d):
                g = gv[i, a] + dt * gx[i, a]
                if driven[i] >= 0:
                    gdrive[driven[i], a] += g
                    gf[i, a] = 0.0
                    gv[i, a] = 0.0
                else:
                    gf[i, a] = dt / mass[i] * g
                    gforce[i, a] += gf[i, a]
                    gv[i, a] = g
        for b in range(len(gpush)):
            for a in range(3):
                step = dt * lightness[b, a]
                gmotion[b, a] = (gmotion[b, a] + dt * gpose[b, a]) / (1.0 + step * drag[b, a])
                gpush[b, a] = step * gmotion[b, a]
                gload[b, a] += gpush[b, a]
        if d == 2:
            elastic_adjoint2(xs[n], vs[n], elements, inverse, volume, lame[0], lame[1], eta, gf, gx, gv, glame)
        else:
            elastic_adjoint3(xs[n], vs[n], elements, inverse, volume, lame[0], lame[1], eta, gf, gx, gv, glame)
        touch_adjoint(xs[n], vs[n], poses[n], motions[n], surface, contact, shapes, layouts, field, d, 1.0 / substeps,
                      gf, gpush, gmean, gx, gv, gpose, gmotion, gcontact)  # fmt: skip
