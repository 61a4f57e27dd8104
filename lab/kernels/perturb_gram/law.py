"""The law of perturbations; any draw comes back from (seed, index)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lab import checks
from lab.kernels import dispatch, philox
from lab.kernels.perturb_gram.names import LAWS, STREAM

SMALL = 4_000


@dataclass(frozen=True)
class Perturbations:
    """Independent perturbations of ``dimension`` coordinates.

    ``gaussian``: N(0, scale^2). ``uniform``: on [low, high]. ``mask``: 1 with probability ``probability``, else 0.
    ``paired``: draws 2k and 2k + 1 mirror each other (-xi; low + high - xi; 1 - xi, which needs probability 1/2).
    """

    law: str
    dimension: int
    scale: float = 1.0
    low: float = 0.0
    high: float = 1.0
    probability: float = 0.5
    paired: bool = False

    def __post_init__(self):
        checks.choice("law", self.law, LAWS)
        checks.integer("dimension", self.dimension, low=1)
        checks.number("scale", self.scale, low=0.0)
        checks.number("low", self.low)
        checks.number("high", self.high, low=self.low)
        checks.number("probability", self.probability, low=0.0, high=1.0)
        if self.law == "mask" and self.paired and self.probability != 0.5:
            raise ValueError(f"probability must be 0.5 for paired masks, got {self.probability}")

    def draw(
        self,
        count: int,
        *,
        seed: int = 0,
        start: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> torch.Tensor:
        """Perturbations ``start``, ..., ``start + count - 1`` under ``seed``: (count, dimension)."""
        count = checks.integer("count", count, low=1)
        seed = checks.integer("seed", seed, low=0, high=2**64 - 1)
        start = checks.integer("start", start, low=0, high=2**63 - 1 - count)
        like = torch.empty(0, dtype=torch.float32, device=device)
        choice = dispatch.choose("perturb_gram", like, work=count * self.dimension, small=SMALL)
        if choice.path == "triton":
            from lab.kernels.perturb_gram import triton

            code, a, b = self._plain()
            out = triton.perturbations(code, count, self.dimension, seed, start, STREAM, self.paired, a, b, device)
            return out.to(dtype)
        if choice.path == "cpu":
            from lab.kernels.perturb_gram import op

            signed = seed - 2**64 if seed >= 2**63 else seed
            code, a, b = self._plain()
            return op.draw(code, count, self.dimension, signed, start, STREAM, self.paired, a, b).to(dtype)
        return self.reference(torch.arange(start, start + count, device=device), seed).to(dtype)

    def _plain(self):
        """The law as plain numbers for the kernels: its place among the laws and two numbers."""
        numbers = {"gaussian": (self.scale, 0.0), "uniform": (self.low, self.high), "mask": (self.probability, 0.0)}
        return LAWS.index(self.law), *map(float, numbers[self.law])

    def reference(self, index: torch.Tensor, seed: int) -> torch.Tensor:
        """float32 perturbations of the given indices by torch operations alone."""
        item = index // 2 if self.paired else index
        draw = philox.normals if self.law == "gaussian" else philox.uniforms
        number = draw(seed, item, self.dimension, stream=STREAM)
        mirrored = ((index % 2 == 1) if self.paired else torch.zeros_like(index, dtype=torch.bool))[:, None]
        if self.law == "gaussian":
            return torch.where(mirrored, -number, number) * self.scale
        if self.law == "uniform":
            value = self.low + (self.high - self.low) * number
            return torch.where(mirrored, self.low + self.high - value, value)
        return ((number <= self.probability) ^ mirrored).to(number.dtype)
