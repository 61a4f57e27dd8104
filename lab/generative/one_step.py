"""Generators of one step: class-conditional networks on noised points, students that turn noise into samples, and their file."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from lab import checks
from lab.generative.samplers import Noise
from lab.generative.scores import LearnedScore, TimeNetwork, descend, packed, stacked, unpacked
from lab.generative.sdes import SDE, VP, over
from lab.training import PerModel, Stack

START = 0.5  # the time at which the teacher's denoiser turns noise into a student's first samples


@dataclass(frozen=True, eq=False)
class Networks:
    """A stack of networks on noised points and, where ``classes`` > 0, their classes; data of unit variance under ``sde``."""

    stack: Stack
    sde: SDE
    classes: int = 0

    def __call__(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Outputs for x (networks, n, d), times () or (networks, n) and classes (networks, n)."""
        t = t.to(torch.float64)
        scale = 1 / torch.sqrt(self.sde.mean(t) ** 2 + self.sde.std(t) ** 2)
        parts = [(over(scale, x) * x).float(), t.float().expand(x.shape[:-1])[..., None]]
        if self.classes:
            if y is None:
                raise ValueError("y must give a class for every point: the networks are class-conditional")
            parts.insert(1, F.one_hot(y, self.classes).float().expand(*x.shape[:-1], -1))
        return self.stack(PerModel(torch.cat(parts, -1))).to(x.dtype)

    def denoised(self, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """E[x_0 | x_t, y] where the outputs estimate the noise."""
        mean, std = (over(value.to(x.dtype), x) for value in (self.sde.mean(t), self.sde.std(t)))
        return (x - std * self(x, t, y)) / mean

    def repeated(self, times: int) -> Networks:
        """Copies of all networks, trainable: (times x networks)."""
        first = self.stack.template
        assert isinstance(first, TimeNetwork)
        inputs, outputs, width = first.first.in_features, first.last.out_features, first.first.out_features
        stack = stacked(inputs, outputs, range(times * len(self.stack)), width, len(first.inner))
        with torch.no_grad():
            for one, other in zip(stack.parameters(), self.stack.parameters()):
                one.copy_(other.repeat(times, *(1,) * (other.ndim - 1)))
        return Networks(stack, self.sde, self.classes)


def train_denoiser(
    x: torch.Tensor, y: torch.Tensor | None = None, *, classes: int = 0, sde: SDE | None = None, seeds=(0,), steps: int = 2000,
    batch: int = 256, width: int = 128, blocks: int = 3, rate: float = 2e-3, progress=None,
) -> Networks:  # fmt: skip
    """Noise estimates of standardized points (items, d), of each class where ``classes`` > 0: a teacher, one a seed."""
    x, noise, d = checks.tensor("x", x, ndim=2).float(), Noise(seeds, torch.float32), x.shape[1]
    found = Networks(stacked(d + classes, d, seeds, width, blocks), sde or VP(), classes)

    def loss(step):
        rows = (noise.uniform(batch) * len(x)).long().clamp_max(len(x) - 1)
        t = found.sde.last + (1 - found.sde.last) * noise.uniform(batch)
        z = noise(batch, d)
        return (found(found.sde.noised(x[rows], t, z), t, None if y is None else y[rows]) - z).square().mean((1, 2))

    descend(found.stack, loss, checks.integer("steps", steps, low=1), rate, progress=progress)
    return found


@dataclass(frozen=True, eq=False)
class OneStep:
    """Distilled students (divergences, seeds) in one stack: x = D(z, t = :data:`START`), one evaluation a sample."""

    networks: Networks
    kinds: tuple[str, ...]

    def __call__(self, z: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Samples of standard normal z (divergences x seeds, n, d)."""
        return self.networks.denoised(z, torch.tensor(START, dtype=torch.float64), y)

    @torch.no_grad()
    def sample(self, count: int, seeds: Sequence[int] = (0,), y: torch.Tensor | None = None) -> torch.Tensor:
        """(divergences, seeds, count, d), float32; ``seeds`` name the draws of each seed's students."""
        first = self.networks.stack.template
        assert isinstance(first, TimeNetwork)
        z = Noise(seeds, torch.float32)(count, first.last.out_features)
        return self(z.repeat(len(self.kinds), 1, 1), y).unflatten(0, (len(self.kinds), len(seeds)))


@dataclass(frozen=True, eq=False)
class OneStepGenerator:
    """A distilled generator in the units of the data: ``location`` (d,) + ``scale`` times one evaluation of a network."""

    student: OneStep
    location: torch.Tensor
    scale: float

    def sample(self, count: int, seed: int = 0) -> torch.Tensor:
        """New points (count, d), float64."""
        made = self.student.sample(checks.integer("count", count, low=1), (seed,))[0, 0]
        return self.location + self.scale * made.double()

    def save(self, path: str | Path) -> None:
        """Write the generator."""
        net = self.student.networks
        content = {**packed(LearnedScore(net.stack, net.sde)), "kind": self.student.kinds[0]}
        torch.save({"one-step generator": content, "location": self.location, "scale": self.scale}, path)

    @classmethod
    def load(cls, path: str | Path) -> OneStepGenerator:
        """What :meth:`save` wrote; no code is run from the file.

        Raises:
            ValueError: a file of another kind.
        """
        try:
            found = torch.load(path, weights_only=True)
            content = found["one-step generator"]
            networks = unpacked(LearnedScore, content)
            location = checks.tensor(
                "location", found["location"], shape=(int(networks.stack.template.first.in_features),)
            )
            student = OneStep(Networks(networks.stack, networks.sde), (str(content["kind"]),))
            return cls(student, location, checks.number("scale", found["scale"], low=0.0, open_low=True))
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise ValueError(f"path holds no one-step generator: {error}") from None
