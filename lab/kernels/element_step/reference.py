"""The element step in torch: the formulas as they stand, triangles and tetrahedra alike."""

from __future__ import annotations

import torch

from lab.kernels import dispatch


def cofactors(F: torch.Tensor) -> torch.Tensor:
    """cof F = dJ/dF (..., d, d)."""
    if F.shape[-1] == 2:
        flat = torch.stack([F[..., 1, 1], -F[..., 1, 0], -F[..., 0, 1], F[..., 0, 0]], -1)
        return flat.unflatten(-1, (2, 2))
    a, b, c = F.unbind(-2)
    cross = torch.linalg.cross
    return torch.stack([cross(b, c), cross(c, a), cross(a, b)], -2)


def stress(F: torch.Tensor, mu: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """P = mu ((1 - 1/(I_C + 1)) F - d/(d + 1) cof F) + lambda (J - 1) cof F, first Piola-Kirchhoff (..., d, d)."""
    d, cof = F.shape[-1], cofactors(F)
    J = (F[..., :1, :] * cof[..., :1, :]).sum((-2, -1), keepdim=True)
    I = F.square().sum((-2, -1), keepdim=True)
    return mu * ((1 - 1 / (I + 1)) * F - d / (d + 1) * cof) + lam * (J - 1) * cof


def energy(F: torch.Tensor, mu: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
    """mu/2 (I_C - d - ln((I_C + 1)/(d + 1))) - mu d/(d + 1) (J - 1) + lambda/2 (J - 1)^2, of which P is the gradient (...)."""
    d = F.shape[-1]
    J = (F[..., 0, :] * cofactors(F)[..., 0, :]).sum(-1)
    I = F.square().sum((-2, -1))
    return mu / 2 * (I - d - torch.log((I + 1) / (d + 1))) - mu * d / (d + 1) * (J - 1) + lam / 2 * (J - 1) ** 2


def signed_distance(p, shape, layout, field):
    """Distance (...) and unit normal (..., d) at points of a body's frame (..., d)."""
    d = p.shape[-1]
    if int(layout[0]) < 0:
        sign = torch.where(p >= 0, 1.0, -1.0).to(p.dtype)
        q = p.abs() - shape[:d]
        m = q.clamp_min(0)
        outside = (q > 0).any(-1)
        L = torch.where(outside[..., None], m, torch.ones_like(m)).square().sum(-1).sqrt()
        face = torch.nn.functional.one_hot(q.argmax(-1), d).to(p.dtype)
        distance = torch.where(outside, L, q.amax(-1)) - shape[3]
        return distance, sign * torch.where(outside[..., None], m / L[..., None], face)
    sizes = layout[1 : 1 + d]
    t = (p - shape[4 : 4 + d]) / shape[7]
    inside = ((t >= 0.5) & (t < sizes - 1.5)).all(-1)
    t = torch.where(inside[..., None], t, torch.ones_like(t))
    base = (t.detach() - 0.5).floor()
    f = t - base
    weights = torch.stack([0.5 * (1.5 - f) ** 2, 0.75 - (f - 1) ** 2, 0.5 * (f - 0.5) ** 2])
    slopes = torch.stack([f - 1.5, 2 * (1 - f), f - 0.5])
    value, gradient = torch.zeros_like(t[..., 0]), [torch.zeros_like(t[..., 0]) for _ in range(d)]
    for offset in torch.cartesian_prod(*[torch.arange(3)] * d).tolist():
        flat = torch.full_like(base[..., 0], int(layout[0])).long()
        node = torch.zeros_like(flat)
        for k in range(d):
            node = node * sizes[k] + base[..., k].long() + offset[k]
        u = field[flat + node]
        w = [weights[offset[k], ..., k] for k in range(d)]
        value = value + torch.stack(w).prod(0) * u
        for k in range(d):
            others = [slopes[offset[k], ..., k] if j == k else w[j] for j in range(d)]
            gradient[k] = gradient[k] + torch.stack(others).prod(0) * u
    normal = torch.stack(gradient, -1)
    return torch.where(inside, value, torch.ones_like(value)), normal / normal.norm(dim=-1, keepdim=True)


def penalty(depth, normal, u, contact):
    """Contact force (..., d) on what moves with u relative to the body, at signed distance ``depth`` (...) < 0.

    f_n = -(k_n + k_d max(-n.u, 0)) depth along n, f_t = -u_t min(k_t, mu_f f_n/|u_t|); contact (..., 4) broadcasts.
    """
    kn, kd, kt, friction = contact.unbind(-1)
    un = (normal * u).sum(-1)
    fn = (kn + kd * (-un).clamp_min(0)) * (-depth).clamp_min(0)
    ut = u - un[..., None] * normal
    square = ut.square().sum(-1)
    sticks = kt.square() * square <= (friction * fn).square()
    speed = torch.where(sticks, torch.ones_like(square), square).sqrt()
    return fn[..., None] * normal - torch.where(sticks, kt.expand_as(fn), friction * fn / speed)[..., None] * ut


def step(x, v, pose, motion, drive, load, force, lame, contact, elements, inverse, volume, mass, driven, surface, shapes,
         layouts, field, lightness, drag, dt, viscosity, substeps):  # fmt: skip
    """x, v, pose, motion after ``substeps`` steps of dt, and the mean contact force by body (scenes, bodies, d)."""
    d, bodies = x.shape[2], pose.shape[1]
    fixed = driven >= 0
    told = torch.zeros_like(x).index_copy(1, fixed.nonzero().flatten(), drive[:, driven[fixed]])
    mu, lam = lame[:, 0, None, None, None], lame[:, 1, None, None, None]
    mean = x.new_zeros(x.shape[0], bodies, d)
    for count in range(substeps):
        edges = x[:, elements[:, 1:]] - x[:, elements[:, :1]]  # (S, T, corner, component)
        rates = v[:, elements[:, 1:]] - v[:, elements[:, :1]]
        P = stress(edges.mT @ inverse, mu, lam) + viscosity * rates.mT @ inverse
        H = (-volume[:, None, None] * P @ inverse.mT).mT  # (S, T, corner, component)
        nodal = torch.cat([-H.sum(2, keepdim=True), H], 2).flatten(1, 2)
        f = force.index_add(1, elements.flatten(), nodal)
        pushes, forces = [], []
        for b in range(bodies):
            r = x[:, surface] - pose[:, b, None, :d]
            u = v[:, surface] - motion[:, b, None, :d]
            if d == 2:
                c, s = pose[:, b, 2].cos(), pose[:, b, 2].sin()
                R = torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2))
                u = u - motion[:, b, 2, None, None] * torch.stack([-r[..., 1], r[..., 0]], -1)
                depth, n = signed_distance(r @ R, shapes[b], layouts[b], field)
                n = n @ R.mT
            else:
                depth, n = signed_distance(r, shapes[b], layouts[b], field)
            each = penalty(depth, n, u, contact[:, None])
            each = torch.where((depth < 0)[..., None], each, torch.zeros_like(each))
            f = f.index_add(1, surface, each)
            forces.append(each.sum(1))
            turn = (r[..., 0] * each[..., 1] - r[..., 1] * each[..., 0]).sum(1, keepdim=True)
            pushes.append(load[:, b] - (torch.cat([each.sum(1), turn], 1) if d == 2 else each.sum(1)))
        v = torch.where(fixed[:, None], told, v + dt * f / mass[:, None])
        x = x + dt * v
        size = (x.detach().abs() + v.detach().abs()).sum(-1)
        if dispatch.eager() and not bool(size.max() < 1e12):
            scene, node = (~(size < 1e12)).nonzero()[0].tolist()
            raise ValueError(diverged(scene, count, node))
        if bodies:
            mean = mean + torch.stack(forces, 1) / substeps
            rate = dt * lightness
            motion = (motion + rate * torch.stack(pushes, 1)) / (1 + rate * drag)
            pose = pose + dt * motion
    return x, v, pose, motion, mean


def diverged(scene: int, substep: int, node: int) -> str:
    """The refusal of a simulation that is no longer finite, in words."""
    return (
        f"the simulation diverged in substep {substep} of scene {scene}, first at node {node}: lower dt, the contact "
        "stiffness k_n, k_d, k_t or the speed of the drive"
    )
