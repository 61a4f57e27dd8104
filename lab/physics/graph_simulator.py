r"""An end-to-end simulator: particles exchange messages with their neighbours, a network gives the acceleration.

.. math:: a_i = \mathrm{MLP}\Bigl(h_i, \sum_{|x_j - x_i| < r} \mathrm{MLP}(h_i, h_j, (x_j - x_i)/r)\Bigr)

with h_i the velocities of the last frames and the clipped distances to the walls; two rounds. Nothing makes the messages of a
pair equal and opposite, so momentum is not kept. It is the baseline of learned simulators without a known equation.

Source: A. Sanchez-Gonzalez, J. Godwin, T. Pfaff, R. Ying, J. Leskovec, P. W. Battaglia, 'Learning to Simulate Complex Physics
with Graph Networks', ICML 2020, section 3, with fewer rounds and one network of each kind for all models side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lab.physics.nclaw import _Stack, clip


class GraphSimulator(nn.Module):
    """Models side by side on positions (models, particles, d), ``dt`` seconds from frame to frame.

    ``radius`` in m; ``low`` and ``high`` are the walls; ``seeds`` draw one model each.
    """

    def __init__(self, d: int, dt: float, radius: float, low: float, high: float, *, width: int = 32, neighbours: int = 12,
                 seeds: Sequence[int] = (0,)):  # fmt: skip
        super().__init__()
        self.d, self.dt, self.radius, self.low, self.high, self.neighbours = d, dt, radius, low, high, neighbours
        node = 3 * d
        self.message = _Stack([2 * node + d, width, width], seeds, biases=True)
        self.between = _Stack([node + width, width, width], seeds, biases=True)
        self.second = _Stack([2 * width + d, width, width], seeds, biases=True)
        self.update = _Stack([2 * width, width, d], seeds, biases=True, last=0.1)
        self.scale = nn.Parameter(torch.ones(len(seeds), 1, 1), requires_grad=False)

    def acceleration(self, x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Change of velocity a frame in units of ``scale``, (models, particles, d)."""
        models, n, d = x.shape
        with torch.no_grad():
            distance = torch.cdist(x, x)
            near = distance.topk(min(self.neighbours + 1, n), dim=2, largest=False)
            index, inside = near.indices[:, :, 1:], (near.values[:, :, 1:] < self.radius).to(x)[..., None]
        k = index.shape[2]

        def of_neighbours(h):
            return h.gather(1, index.reshape(models, n * k, 1).expand(-1, -1, h.shape[2])).unflatten(1, (n, k))

        walls = torch.cat([((x - self.low) / self.radius).clamp(0, 1), ((self.high - x) / self.radius).clamp(0, 1)], 2)
        h = torch.cat([v, walls], 2)
        apart = (of_neighbours(x) - x[:, :, None]) / self.radius

        def exchanged(network, h):
            pair = torch.cat([h[:, :, None].expand(-1, -1, k, -1), of_neighbours(h), apart], 3)
            return (network(pair.flatten(1, 2)).unflatten(1, (n, k)) * inside).sum(2)

        h = torch.tanh(self.between(torch.cat([h, exchanged(self.message, h)], 2)))
        return self.update(torch.cat([h, exchanged(self.second, h)], 2))

    def roll(self, x: torch.Tensor, v: torch.Tensor, frames: int) -> torch.Tensor:
        """Positions (frames + 1, models, particles, d) from a state; they stay between the walls."""
        seen = [x]
        for _ in range(frames):
            v = v + self.scale * self.acceleration(x, v)
            x = (x + self.dt * v).clamp(self.low, self.high)
            seen.append(x)
        return torch.stack(seen)

    def fit(
        self, x: torch.Tensor, *, epochs: int, noise: float = 1e-3, learning_rate: float = 3e-3, seed: int = 0
    ) -> None:
        """Learn the change of velocity of each frame of trajectories (frames, models, particles, d), all frames a step.

        ``noise`` (in m/s) on the velocities during training teaches a rollout to correct its own errors.
        """
        v = (x[1:] - x[:-1]) / self.dt
        change = v[1:] - v[:-1]
        with torch.no_grad():
            self.scale.copy_(change.square().mean((0, 2, 3)).sqrt().clamp_min(1e-9)[:, None, None])
        parameters = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=learning_rate)
        draw = torch.Generator().manual_seed(seed)
        frames = len(change)
        for _ in range(epochs):
            for k in torch.randperm(frames, generator=draw).tolist():
                blur = noise * torch.randn(v[k].shape, generator=draw)
                found = self.acceleration(x[k + 1], v[k] + blur)
                loss = (found - (change[k] - blur) / self.scale).square().mean((1, 2)).sum()
                optimizer.zero_grad()
                loss.backward()
                clip(parameters, 1.0)
                optimizer.step()
