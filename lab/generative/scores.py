r"""Scores learned by denoising, all seeds at once, and classifiers of noised points.

A network e(x, t) predicts the noise; the score is s(x, t) = -e(x, t) / std(t). It is trained on

.. math:: E_{t \sim U(last, 1),\ z}\ \| e(m(t)\,x_0 + std(t)\,z,\ t) - z \|^2 = E\,\| std(t)\,s + z \|^2,

denoising score matching with weight std^2, and sampled from with an exponential mean of its weights.

Source: P. Vincent, 'A connection between score matching and denoising autoencoders', 2011; Y. Song et al., ICLR 2021, equation
(7) and appendix C. The network is a residual one on vectors; inputs are scaled to unit variance at every time, as is usual for VE.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from lab import checks
from lab.generative.samplers import Noise
from lab.generative.sdes import SDE, SDES, over
from lab.training import PerModel, Stack
from lab.training.networks import initialize, unet

FREQUENCIES = 6


class TimeNetwork(nn.Module):
    """Residual network on rows (x, t), (items, inputs + 1) -> (items, outputs); t enters by sines and cosines in every block."""

    def __init__(self, inputs: int, outputs: int, width: int = 128, blocks: int = 3):
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.times = nn.ModuleList(nn.Linear(2 * FREQUENCIES + 1, width) for _ in range(blocks))
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.last = nn.Linear(width, outputs)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        x, t = rows[..., :-1], rows[..., -1:]
        angle = t * (math.pi * 2.0 ** torch.arange(FREQUENCIES, dtype=rows.dtype, device=rows.device))
        features = torch.cat([t, angle.sin(), angle.cos()], -1)
        h = self.first(x)
        for time, inner, outer in zip(self.times, self.inner, self.outer):
            h = h + outer(F.silu(inner(F.silu(h + time(features)))))
        return self.last(F.silu(h))


class ImageNetwork(nn.Module):
    """A U-net on rows (x, t) whose x are images of ``shape`` (channels, height, width), flat; t enters as constant channels."""

    def __init__(self, shape: Sequence[int], widths: Sequence[int] = (24, 48)):
        super().__init__()
        self.shape = tuple(shape)
        self.net = unet(self.shape[0] + 2 * FREQUENCIES + 1, self.shape[0], widths=widths, activation="silu")

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        x, t = rows[..., :-1].unflatten(-1, self.shape), rows[..., -1:]
        angle = t * (math.pi * 2.0 ** torch.arange(FREQUENCIES, dtype=rows.dtype, device=rows.device))
        features = torch.cat([t, angle.sin(), angle.cos()], -1)[..., None, None].expand(-1, -1, *self.shape[1:])
        return self.net(torch.cat([x, features], -3)).flatten(-3)


class Noised:
    """A stack of networks on noised points: ``outputs(x, t)`` for x (seeds, items, d)."""

    def __init__(self, stack: Stack, sde: SDE, classes: int = 0):
        self.stack, self.sde, self.classes = stack, sde, classes

    def outputs(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """What the networks say of points with unit-variance data, noised to times ``t``: () or x.shape[:-1]."""
        t = t.to(torch.float64)
        scale = 1 / torch.sqrt(self.sde.mean(t) ** 2 + self.sde.std(t) ** 2)
        weights = next(self.stack.parameters())
        times = t.to(weights).expand(x.shape[:-1])[..., None]
        rows = torch.cat([(over(scale, x) * x).to(weights), times], -1)
        return self.stack(PerModel(rows)).to(x.dtype)


class LearnedScore(Noised):
    """A learned score, a function of x (seeds, items, d) and t like any other."""

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return -self.outputs(x, t) / over(self.sde.std(t.to(torch.float64)), x).to(x.dtype)

    def denoised(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """E[x_0 | x_t], by Tweedie's formula."""
        t = t.to(torch.float64)
        mean, std = (over(value, x).to(x.dtype) for value in (self.sde.mean(t), self.sde.std(t)))
        return (x - std * self.outputs(x, t)) / mean

    def save(self, path: str | Path | io.BytesIO) -> None:
        """Write the networks and the process."""
        torch.save(packed(self), path)

    @classmethod
    def load(cls, path: str | Path | io.BytesIO) -> LearnedScore:
        """What :meth:`save` wrote; no code is run from the file."""
        return unpacked(cls, torch.load(path, weights_only=True))


class NoisyClassifier(Noised):
    """Classes of noised points: ``logits`` (seeds, items, classes)."""

    logits = Noised.outputs

    @torch.no_grad()
    def gradient(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """grad_x log p_t(y | x) for classes ``y``, broadcast over x.shape[:-1]."""
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            chosen = self.logits(at, t).log_softmax(-1).gather(-1, y.expand(x.shape[:-1])[..., None])
            return torch.autograd.grad(chosen.sum(), at)[0]


def packed(found: Noised) -> dict:
    """Networks and process as plain values and tensors."""
    layers = found.stack.template
    if not isinstance(layers, TimeNetwork):
        raise TypeError(f"only networks on vectors have a file, got {type(layers).__name__}; save its state_dict()")
    name = next(key for key, kind in SDES.items() if type(found.sde) is kind)
    sizes = [layers.first.in_features, layers.last.out_features, layers.first.out_features, len(layers.inner)]
    states = {key: value.detach() for key, value in found.stack.parameters_by_name().items()}
    return {"sizes": sizes, "seeds": len(found.stack), "sde": name, "constants": asdict(found.sde), "states": states}


def unpacked(cls, content: dict):
    """The networks of :func:`packed`.

    Raises:
        ValueError: content of another kind.
    """
    try:
        sde = SDES[content["sde"]](**content["constants"])
        sizes = [checks.integer("sizes", one, low=1, high=1 << 16) for one in content["sizes"]]
        stack = stacked(
            sizes[0], sizes[1], range(checks.integer("seeds", content["seeds"], low=1, high=1000)), *sizes[2:]
        )
        with torch.no_grad():
            for name, value in stack.parameters_by_name().items():
                value.copy_(content["states"][name])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"the file holds no networks of noised points: {error}") from None
    return cls(stack.requires_grad_(False), sde)


def stacked(inputs: int, outputs: int, seeds: Sequence[int], width: int = 128, blocks: int = 3) -> Stack:
    """Fresh networks, one a seed."""
    return Stack([initialize(TimeNetwork(inputs, outputs, width, blocks), seed) for seed in seeds])


def descend(
    stack: Stack, loss: Callable[[int], torch.Tensor], steps: int, rate: float, *, average: float = 0.999, progress=None
) -> Stack:
    """Adam on the sum of ``loss(step)``, gradient norm at most 1 a network and step, rate falling to 0 as a cosine; in place.

    Returns:
        The stack with the exponential mean of its weights, frozen.
    """
    weights = [one for one in stack.parameters() if one.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=rate, fused=True)
    mean = [one.detach().clone() for one in weights]
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        loss(step).sum().backward()
        norm = torch.stack([one.grad.flatten(1).square().sum(1) for one in weights]).sum(0).sqrt()
        factor = (1 / norm).clamp(max=1.0)
        for one in weights:
            one.grad.mul_(factor.reshape(-1, *(1,) * (one.ndim - 1)))
        optimizer.step()
        decay = min(average, (1 + step) / (10 + step))
        torch._foreach_lerp_(mean, [one.detach() for one in weights], 1 - decay)
        if progress is not None and step % 50 == 49:
            progress(step + 1, steps)
    with torch.no_grad():
        for one, value in zip(weights, mean):
            one.copy_(value)
    return stack.requires_grad_(False)


def train_score(
    sde: SDE,
    x: torch.Tensor,
    *,
    seeds: Sequence[int] = (0,),
    steps: int = 2000,
    batch: int = 256,
    width: int = 128,
    blocks: int = 3,
    rate: float = 2e-3,
    stack: Stack | None = None,
    shuffled: bool = False,
    progress=None,
) -> LearnedScore:
    """Scores of standardized points ``x`` (items, d), one a seed, trained side by side.

    ``stack``: other networks on rows (x, t). ``shuffled`` pairs points with the noise of others: what is learned then is no score.
    """
    x = checks.tensor("x", x, ndim=2).float()
    noise, sde64 = Noise(seeds, torch.float32, x.device), sde
    stack = stack or stacked(x.shape[1], x.shape[1], seeds, width, blocks).to(x.device)
    found = LearnedScore(stack, sde)

    def loss(step):
        rows = (noise.uniform(batch) * len(x)).long().clamp_max(len(x) - 1)
        t = sde64.last + (1 - sde64.last) * noise.uniform(batch).double()
        z = noise(batch, x.shape[1])
        noised = sde.noised(x[rows].double(), t, z.double()).float()
        wanted = z.roll(1, 1) if shuffled else z
        return (found.outputs(noised, t) - wanted).square().mean((1, 2))

    descend(stack, loss, checks.integer("steps", steps, low=1), checks.number("rate", rate, low=0.0), progress=progress)
    return found


def train_classifier(
    sde: SDE,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    classes: int,
    seeds: Sequence[int] = (0,),
    steps: int = 1000,
    batch: int = 256,
    width: int = 128,
    rate: float = 2e-3,
) -> NoisyClassifier:
    """Classifiers of standardized points at every noise level, one a seed."""
    noise = Noise(seeds, torch.float32, x.device)
    stack = stacked(x.shape[1], classes, seeds, width, 2).to(x.device)
    found = NoisyClassifier(stack, sde, classes)

    def loss(step):
        rows = (noise.uniform(batch) * len(x)).long().clamp_max(len(x) - 1)
        t = sde.last + (1 - sde.last) * noise.uniform(batch).double()
        noised = sde.noised(x[rows].double(), t, noise(batch, x.shape[1]).double()).float()
        each = F.cross_entropy(found.logits(noised, t).flatten(0, 1), y[rows].flatten(), reduction="none")
        return each.reshape(len(noised), -1).mean(1)

    descend(stack, loss, checks.integer("steps", steps, low=1), rate)
    return found
