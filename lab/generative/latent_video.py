"""Moving digits and a latent SDE that makes them: a content vector, a state driven by fractional noise, a decoder of frames.

Source of the architecture: R. Daems et al. 2024, section 5 (stochastic moving MNIST), in small: a causal recurrent encoder gives
the context of the control, the state's first value and the content; decoder and networks are perceptrons.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from lab.generative.vi_fractional_sde import NetworkControl, Noise, optimal_weights, rates, simulate

SIZE, FRAMES = 16, 16


def moving_digits(count: int, *, frames: int = FRAMES, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    """Videos (count, frames, size * size) in [0, 1]: an 8 x 8 digit that drifts, bounces at the walls and is pushed at random."""
    from lab import datasets

    generator = torch.Generator().manual_seed(seed)
    digits = datasets.load("digits").x[:, 0]
    image = digits[torch.randint(len(digits), (count,), generator=generator)]
    room = size - 8
    place = room * torch.rand(count, 2, generator=generator)
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    speed = 1.2 * torch.stack([angle.cos(), angle.sin()], 1)
    padded = F.pad(image, (0, room, 0, room))[:, None]
    out = []
    for _ in range(frames):
        theta = torch.eye(2).expand(count, 2, 2)
        shift = -2 * place.flip(1)[:, :, None] / size
        grid = F.affine_grid(torch.cat([theta, shift], 2), [count, 1, size, size], align_corners=False)
        out.append(F.grid_sample(padded, grid, align_corners=False).flatten(1))
        speed = speed + 0.4 * torch.randn(count, 2, generator=generator)
        place = place + speed
        over = (place < 0) | (place > room)
        place = torch.where(place < 0, -place, torch.where(place > room, 2 * room - place, place)).clamp(0, room)
        speed = torch.where(over, -speed, speed)
    return torch.stack(out, 1).clamp(0, 1)


class LatentVideo(nn.Module):
    """A latent SDE for videos (count, frames, pixels), driven by fractional (``learn_hurst``) or ordinary noise (H = 1/2)."""

    def __init__(
        self, pixels: int = SIZE * SIZE, *, dimension: int = 4, content: int = 12, width: int = 48, K: int = 4, learn_hurst: bool
            = True,
        seed: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.dimension, self.K = dimension, K
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(seed)  # the CPU alone, and put back: no device of the user is seeded
            self.feature = nn.Sequential(nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, width))
            self.recurrent = nn.GRU(width, width, batch_first=True)
            self.first = nn.Linear(2 * width, 2 * dimension)
            self.content = nn.Linear(width, content)
            self.drift = nn.Sequential(nn.Linear(dimension, width), nn.Tanh(), nn.Linear(width, dimension))
            self.decoder = nn.Sequential(
                nn.Linear(dimension + content, 2 * width), nn.ReLU(), nn.Linear(2 * width, pixels)
            )
        self.control = NetworkControl(dimension, K, width=width, context=width, seed=seed)
        self.scale = nn.Parameter(torch.full((dimension,), -0.5))
        self.free = nn.Parameter(torch.zeros(()), requires_grad=learn_hurst)

    @property
    def hurst(self) -> torch.Tensor:
        """The Hurst index, 1/2 where it is not learned."""
        return 0.02 + 0.96 * torch.sigmoid(self.free.double())

    def noise(self, horizon: float, steps: int) -> Noise:
        """The noise at the present index, type I."""
        gamma = rates(self.K, min(20.0, 0.5 * steps / horizon))
        return Noise(gamma, optimal_weights(self.hurst, gamma, horizon, "I"), "I")

    def forward(self, video: torch.Tensor, generator: torch.Generator, *, seen: int | None = None, substeps: int = 2):
        """Logits of frames (count, frames, pixels) and the divergences from the prior (count,).

        The control follows the frames up to the next one; after ``seen`` frames the prior runs alone.
        """
        frames = video.shape[1]
        seen = frames if seen is None else seen
        feature = self.feature(video[:, :seen])
        context = self.recurrent(feature)[0]
        mean, log_std = self.first(torch.cat([feature[:, 0], context[:, min(1, seen - 1)]], 1)).chunk(2, 1)
        x0 = mean + log_std.exp() * torch.randn(mean.shape, generator=generator)
        start = (0.5 * (mean.square() + (2 * log_std).exp()) - log_std - 0.5).sum(1)
        steps, horizon = substeps * (frames - 1), 0.2 * (frames - 1)
        dt = horizon / steps

        def control(t, x, y, told):
            frame = int(t / dt + 1e-6) // substeps
            if frame + 1 >= seen:
                return torch.zeros_like(x)
            return self.control(t, x, y, context[None, :, frame + 1])

        paths = simulate(
            self.noise(horizon, steps), x0[None], horizon=horizon, steps=steps, generator=generator, scale=self.scale.exp(),
            drift=lambda x, t: self.drift(x), control=control,
        )  # fmt: skip
        state = paths.x[0, :, ::substeps]
        content = self.content(context[:, -1])[:, None].expand(-1, frames, -1)
        return self.decoder(torch.cat([state, content], -1)), paths.kl[0] + start

    def bound(self, video: torch.Tensor, generator: torch.Generator, weight: float = 1.0) -> torch.Tensor:
        """Evidence bound (count,) in nats, pixels as Bernoulli; ``weight`` of the divergence below one warms the training up."""
        logits, divergence = self(video, generator)
        return -F.binary_cross_entropy_with_logits(logits, video, reduction="none").sum((1, 2)) - weight * divergence


def fit(
    model: LatentVideo,
    videos: torch.Tensor,
    *,
    iterations: int,
    batch: int = 32,
    rate: float = 3e-3,
    seed: int = 0,
    progress=None,
):
    """Adam on the evidence bound, its divergence warmed up over the first half; returns bounds (iterations,)."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    kept = []
    for k in range(iterations):
        rows = torch.randint(len(videos), (batch,), generator=generator)
        loss = -model.bound(videos[rows], generator, min(1.0, 2 * (k + 1) / iterations)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        kept.append(-loss.detach())
        if progress is not None:
            progress(k + 1, iterations)
    return torch.stack(kept)
