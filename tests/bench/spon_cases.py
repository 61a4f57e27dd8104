"""Multigrid operator networks against message passing by gather and scatter, at as many channels and blocks."""

from __future__ import annotations

import torch
from torch import nn

from tests.bench import frame


class MessagePassing(nn.Module):
    """The usual graph network on a mesh: messages phi(h_i, h_j, x_i - x_j, |x_i - x_j|) over edges, summed at their ends."""

    def __init__(self, points: torch.Tensor, edges: torch.Tensor, channels: int, blocks: int):
        super().__init__()
        ends = torch.cat([edges, edges.flip(1)])
        self.start, self.end = ends[:, 0].contiguous(), ends[:, 1].contiguous()
        gap = (points[self.end] - points[self.start]).float()
        self.gaps = torch.cat([gap, gap.norm(dim=1, keepdim=True)], 1)
        width = gap.shape[1] + 1
        self.first, self.last = nn.Linear(1, channels), nn.Linear(channels, 1)
        mlp = lambda n: nn.Sequential(nn.Linear(n, channels), nn.GELU(), nn.Linear(channels, channels))  # noqa: E731
        self.edges = nn.ModuleList(mlp(2 * channels + width) for _ in range(blocks))
        self.nodes = nn.ModuleList(mlp(2 * channels) for _ in range(blocks))

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        h = self.first(f[..., None])
        gaps = self.gaps.expand(len(f), -1, -1)
        for edge, node in zip(self.edges, self.nodes):
            message = edge(torch.cat([h[:, self.end], h[:, self.start], gaps], -1))
            total = torch.zeros_like(h).index_add(1, self.end, message)
            h = h + node(torch.cat([h, total], -1))
        return self.last(h)[..., 0]


def message_passing(refinements: int, items: int, channels: int) -> frame.Row:
    """Forward and backward through a multigrid network and through message passing on the L-shape."""
    from lab.physics.boundary_problems import domain
    from lab.physics.finite_elements import Space
    from lab.physics.spon import spon
    from lab.physics.studies.spon import coarser

    space = Space(domain("L-shape", refinements), "P1")
    ours = spon(space, space, 0.0, coarser("L-shape", refinements), channels=channels)
    edges = torch.from_numpy(space.mesh.facets.T.astype("int64"))
    theirs = MessagePassing(space.points, edges, channels, sum(ours.blocks))
    f = torch.randn(items, space.size, generator=torch.Generator().manual_seed(0))

    def both(net):
        value = net(f).square().mean()
        value.backward()
        return value.detach()

    return frame.ratio(
        f"{space.size} nodes, {items} functions, {channels} channels",
        lambda: both(ours),
        lambda: both(theirs),
        compare=lambda a, b: 0.0 if bool(torch.isfinite(a) & torch.isfinite(b)) else float("inf"),
        tolerance=0.0,
        peer="torch",
        target=2.0,
        floor=1.3,
    )
