"""The material point step in torch: the formulas as they stand, two and three dimensions alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def step(
    x: torch.Tensor,
    v: torch.Tensor,
    C: torch.Tensor,
    F: torch.Tensor,
    tau: torch.Tensor,
    force: torch.Tensor,
    mass: torch.Tensor,
    volume: torch.Tensor,
    gravity: torch.Tensor,
    cells: Sequence[int],
    spacing: float,
    dt: float,
    wall: str,
    layers: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, v, C and the trial F of the next step; all tensors (scenes, particles, ...), mass and volume (particles,)."""
    scenes, particles, d = x.shape
    position = x / spacing
    base = (position.detach() - 0.5).floor()
    offset = position - base
    axis = torch.stack([0.5 * (1.5 - offset) ** 2, 0.75 - (offset - 1) ** 2, 0.5 * (offset - 0.5) ** 2])  # (3, S, n, d)
    steps = torch.cartesian_prod(*[torch.arange(3, device=x.device)] * d).reshape(-1, d)  # (3^d, d)
    weight = torch.stack([axis[steps[:, k], :, :, k] for k in range(d)]).prod(0)  # (3^d, S, n)
    away = (steps[:, None, None] - offset) * spacing  # (3^d, S, n, d)
    node = base.long() + steps[:, None, None]
    flat = node[..., 0]
    for k in range(1, d):
        flat = flat * cells[k] + node[..., k]
    nodes = 1
    for size in cells:
        nodes *= size
    flat = flat + nodes * torch.arange(scenes, device=x.device)[:, None]

    Q = mass[:, None, None] * C - (4 * dt / spacing**2) * volume[:, None, None] * tau
    carried = mass[:, None] * v + dt * force + (Q @ away[..., None])[..., 0]
    momentum = x.new_zeros(scenes * nodes, d).index_add(0, flat.flatten(), (weight[..., None] * carried).reshape(-1, d))
    heap = x.new_zeros(scenes * nodes).index_add(0, flat.flatten(), (weight * mass).flatten())
    filled = heap > 0
    u = torch.where(
        filled[:, None], momentum / torch.where(filled, heap, 1.0)[:, None] + dt * gravity, torch.zeros_like(momentum)
    )
    u = walled(u.reshape(scenes, *cells, d), wall, layers).reshape(-1, d)

    near = u[flat] * weight[..., None]
    v = near.sum(0)
    C = 4 / spacing**2 * torch.einsum("ksna,ksnb->snab", near, away)
    return x + dt * v, v, C, F + dt * C @ F


def walled(u: torch.Tensor, wall: str, layers: int) -> torch.Tensor:
    """Grid velocities (scenes, *cells, d) with what a wall stops at 0: all of it ('stick'), or what goes into it ('slip')."""
    d = u.shape[-1]
    low, high = [], []
    for k in range(d):
        index = torch.arange(u.shape[k + 1], device=u.device).reshape([-1 if a == k else 1 for a in range(d)])
        low.append(index < layers)
        high.append(index >= u.shape[k + 1] - layers)
    if wall == "stick":
        edge = low[0] | high[0]
        for a, b in zip(low[1:], high[1:]):
            edge = edge | a | b
        return torch.where(edge[..., None], torch.zeros_like(u), u)
    parts = []
    for k in range(d):
        part = u[..., k]
        part = torch.where(low[k], torch.relu(part), part)
        parts.append(torch.where(high[k], -torch.relu(-part), part))
    return torch.stack(parts, -1)
