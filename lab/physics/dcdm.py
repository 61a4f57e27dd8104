r"""The deep conjugate direction method: a Krylov-like loop whose directions a convolutional network proposes.

With residual r_k and a network f the iteration for A x = b, A symmetric positive definite, is

.. math:: d = f(r_k/|r_k|),\quad d \leftarrow d - \sum_{i<m} \frac{d^T A d_{k-i}}{d_{k-i}^T A d_{k-i}} d_{k-i},\quad
          x_{k+1} = x_k + \frac{d^T r_k}{d^T A d}\, d,\quad r_{k+1} = b - A x_{k+1} .

The step length is exact, so the A-norm of the error falls whatever f says; f = I with m = 2 is the method of conjugate gradients.
f is trained without solutions, to be A^{-1} up to a factor,

.. math:: L = |b - a A f(b)|^2,\qquad a = \frac{b^T A f(b)}{|A f(b)|^2},

on right-hand sides b in which slow modes weigh more: combinations of Ritz vectors of A (:func:`ritz_vectors`). Two previous
directions are enough only where f is nearly symmetric, so :class:`DirectionNet` is f + f^T with a linear U-net f: a learned
multigrid cycle. The paper's network has ReLU and biases, one level, and no transpose; it divides b^T f(b) by f(b)^T A f(b) in
its a, which is the step length of the iteration (``scale="step"``).

Source: A. Kaneda, O. Akar, J. Chen, V. Kala, D. Hyde, J. Teran, 'A Deep Conjugate Direction Method for Iteratively Solving Linear
Systems', ICML 2023, sections 4 and 5.

>>> A = Grid((8, 8))
>>> b = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
>>> solve(A, b, lambda r: r, tolerance=1e-8).iterations.tolist() == [conjugate_gradients(A, b[0], 1e-8).iterations]
True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from lab import checks
from lab.physics.elliptic import Grid, Matrix, conjugate_gradients, read_system

Direction = Callable[[torch.Tensor], torch.Tensor]


class DirectionNet(nn.Module):
    """f + f^T (or f alone) of a linear U-net on grids: (items, models, n1, ..., nd) -> the same, each model on its channel.

    Every level has a 3-point-wide convolution on the way down and one on the way up; between levels means over 2^d cells times 2
    and nearest upsampling, so that coarse corrections have the size that they need. No biases, no activation. Outside the grid
    everything is 0. Sizes that are no multiple of 2^(levels - 1) are padded with zeros.

    Args:
        seeds: one model a seed, side by side.
    """

    def __init__(
        self, d: int = 2, channels: int = 8, levels: int = 4, symmetric: bool = True, seeds: Sequence[int] = (0,)
    ):
        super().__init__()
        self.d, self.channels, self.levels, self.symmetric = d, channels, levels, symmetric
        self.models = len(seeds)
        generators = [checks.generator(seed) for seed in seeds]

        def drawn(outputs, inputs, width=3, scale=1.0):
            size = (outputs, inputs, *[width] * d)
            bound = scale / math.sqrt(inputs * width**d)
            return nn.Parameter(torch.cat([bound * torch.randn(size, generator=g) for g in generators]))

        c = channels
        self.first, self.last = drawn(c, 1), drawn(1, c)
        self.down = nn.ParameterList(drawn(c, c) for _ in range(levels))
        self.up = nn.ParameterList(drawn(c, c) for _ in range(levels))
        self.convolve = (F.conv1d, F.conv2d, F.conv3d)[d - 1]
        self.transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[d - 1]
        self.pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[d - 1]

    @property
    def form(self) -> dict:
        """What builds an untrained network of the same shape."""
        return {"d": self.d, "channels": self.channels, "levels": self.levels, "symmetric": self.symmetric}

    def forward(self, r: torch.Tensor) -> torch.Tensor:
        shape, unit = r.shape, 2 ** (self.levels - 1)
        pads = [n for size in reversed(shape[-self.d :]) for n in (0, -size % unit)]
        x = F.pad(r.reshape(-1, self.models, *shape[-self.d :]), pads)
        y = self.plain(x)
        if self.symmetric:
            y = y + self.transposed(x)
        return y[(..., *(slice(n) for n in shape[-self.d :]))].reshape(shape)

    def plain(self, x: torch.Tensor) -> torch.Tensor:
        """f."""
        m = self.models
        x, skips = self.convolve(x, self.first, padding=1, groups=m), []
        for k, weight in enumerate(self.down):
            x = self.convolve(x, weight, padding=1, groups=m)
            if k < self.levels - 1:
                skips.append(x)
                x = 2 * self.pool(x, 2)
        for k in reversed(range(self.levels)):
            if k < self.levels - 1:
                x = skips[k] + F.interpolate(x, scale_factor=2.0)
            x = self.convolve(x, self.up[k], padding=1, groups=m)
        return self.convolve(x, self.last, padding=1, groups=m)

    def transposed(self, x: torch.Tensor) -> torch.Tensor:
        """f^T: the same weights, every step transposed and in reverse order."""
        m = self.models
        x, skips = self.transpose(x, self.last, padding=1, groups=m), []
        for k in range(self.levels):
            x = self.transpose(x, self.up[k], padding=1, groups=m)
            if k < self.levels - 1:
                skips.append(x)
                x = 2**self.d * self.pool(x, 2)
        for k in reversed(range(self.levels)):
            if k < self.levels - 1:
                x = skips[k] + 2 ** (1 - self.d) * F.interpolate(x, scale_factor=2.0)
            x = self.transpose(x, self.down[k], padding=1, groups=m)
        return self.transpose(x, self.first, padding=1, groups=m)


def loss(A, f: Direction, b: torch.Tensor, scale: str = "least squares") -> torch.Tensor:
    """|b - a A f(b)|^2 / |b|^2 of every right-hand side (..., n1, ..., nd); a is the best factor, or the iteration's step."""
    d = len(A.shape)
    y = f(b)
    image = A(y)
    top, bottom = (b, image) if scale == "least squares" else (b, y)
    a = dot(top, image if scale == "least squares" else y, d) / dot(image, bottom, d).clamp_min(1e-30)
    return dot(b - a * image, b - a * image, d)[(..., *[0] * d)] / dot(b, b, d)[(..., *[0] * d)]


def dot(x: torch.Tensor, y: torch.Tensor, d: int) -> torch.Tensor:
    """The inner product over the last d axes, which are kept with size 1."""
    return (x * y).sum(tuple(range(-d, 0)), keepdim=True)


def ritz_vectors(A, count: int, seed: int | torch.Generator = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Ritz values (m,), ascending, and vectors (m, n1, ..., nd) after ``count`` Lanczos steps with full orthogonalization."""
    generator = checks.generator(seed)
    count = min(checks.integer("count", count, low=1), int(A.fluid.sum()))
    q = A.project(torch.randn(A.shape, generator=generator, dtype=torch.float64))
    basis, diagonal, beside = [q / q.norm()], [], []
    for _ in range(count):
        w = A.project(A(basis[-1]))
        diagonal.append(float((w * basis[-1]).sum()))
        known = torch.stack(basis).flatten(1)
        for _ in range(2):
            w = w - (known.T @ (known @ w.flatten())).reshape(A.shape)
        size = float(w.norm())
        if size < 1e-9 * max(map(abs, diagonal)) or len(basis) == count:
            break
        beside.append(size)
        basis.append(w / size)
    m = len(diagonal)
    tri = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    off = torch.tensor(beside[: m - 1], dtype=torch.float64)
    values, vectors = torch.linalg.eigh(tri + torch.diag(off, 1) + torch.diag(off, -1))
    found = torch.tensordot(vectors.T, torch.stack(basis[:m]), 1)
    held = values > 1e-8 * values[-1]
    return values[held], found[held]


def right_hand_sides(vectors: torch.Tensor, count: int, generator: torch.Generator, low: float = 9.0) -> torch.Tensor:
    """Random unit combinations (count, n1, ..., nd) of Ritz vectors in ascending order; the lower half weighs ``low`` times."""
    weight = torch.where(torch.arange(len(vectors)) < (len(vectors) + 1) // 2, low, 1.0).to(vectors)
    c = torch.randn(count, len(vectors), generator=generator).to(vectors) * weight
    return torch.tensordot(c / c.norm(dim=1, keepdim=True), vectors, 1)


def train(
    f: DirectionNet, A, vectors: torch.Tensor, *, steps: int, rate: float, batch: int = 16, seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Train on right-hand sides of A alone, in place; returns the mean loss (steps, models)."""
    generator, optimizer = checks.generator(seed), torch.optim.Adam(f.parameters(), lr=rate)
    vectors, losses = vectors.float(), []
    inside = A.fluid
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        b = right_hand_sides(vectors, batch * f.models, generator).unflatten(0, (batch, f.models))
        each = loss(A, lambda r: f(r) * inside, b).mean(0)
        optimizer.zero_grad()
        each.sum().backward()
        nn.utils.clip_grad_norm_(f.parameters(), 1.0 * f.models)
        optimizer.step()
        losses.append(each.detach())
        if progress is not None:
            progress((step + 1) / steps)
    return torch.stack(losses)


@dataclass(frozen=True)
class Solution:
    """Solutions x (..., n1, ..., nd), |r|/|b| (iterations + 1, ...), iterations (...) of each system, and if it got there."""

    x: torch.Tensor
    residuals: torch.Tensor
    iterations: torch.Tensor
    reached: torch.Tensor


def solve(
    A: Grid | Matrix, b: torch.Tensor, f: Direction, *, tolerance: float = 1e-4, iterations: int = 500,
    conjugations: int | str = 2, see: Callable[[int, torch.Tensor, torch.Tensor], None] | None = None,
) -> Solution:  # fmt: skip
    """Solve A x = b for systems (..., n1, ..., nd) side by side, in float64; f is asked in float32 if it has such parameters.

    Args:
        f: residuals of norm 1 -> directions of the same shape; nothing else is assumed of it.
        conjugations: against how many previous directions; ``"all"`` keeps them all.
        see: called with (iteration, x, r).

    Raises:
        ValueError: another shape, not finite, or a direction with d^T A d <= 0: A is not positive definite.
    """
    d = len(A.shape)
    b = checks.tensor("b", b, floating=True)
    if tuple(b.shape[-d:]) != A.shape:
        raise ValueError(f"b must end in the grid {A.shape}, got {tuple(b.shape)}")
    keep = iterations if conjugations == "all" else checks.integer("conjugations", conjugations, low=0)
    b = A.project(b.double())
    kind = next((p.dtype for p in f.parameters()), torch.float64) if isinstance(f, nn.Module) else torch.float64
    norm = dot(b, b, d).sqrt()
    size = norm.clamp_min(1e-300)
    x, r, past = torch.zeros_like(b), b, []
    residuals, count = [norm / size], torch.zeros(norm.shape, dtype=torch.long)
    for step in range(iterations):
        left = dot(r, r, d).sqrt()
        busy = left > tolerance * norm
        if not bool(busy.any()):
            break
        with torch.no_grad():
            direction = A.project(f((r / left.clamp_min(1e-300)).to(kind)).to(b.dtype))
        image = A(direction)
        for p, q, square in past:
            share = dot(direction, q, d) / square
            direction, image = direction - share * p, image - share * q
        square = dot(direction, image, d)
        if bool((square[busy] < 0).any()):
            raise ValueError(f"A must be positive definite: iteration {step} found a direction with d^T A d < 0")
        still = busy & (square > 0)
        if not bool(still.any()):
            break
        past = [(direction, image, square.clamp_min(1e-300)), *past][:keep]
        x = torch.where(still, x + dot(direction, r, d) / square.clamp_min(1e-300) * direction, x)
        r = torch.where(still, A.project(b - A(x)), r)
        count = count + still
        residuals.append(dot(r, r, d).sqrt() / size)
        if see is not None:
            see(step, x, r)
    flat = (..., *[0] * d)
    reached = residuals[-1] <= tolerance
    return Solution(x, torch.stack(residuals)[flat], count[flat], reached[flat])


@dataclass(frozen=True)
class FittedDirection:
    """A trained :class:`DirectionNet` with its losses (steps,); callable as f."""

    net: DirectionNet
    losses: torch.Tensor

    def __call__(self, r: torch.Tensor) -> torch.Tensor:
        return self.net(r.float()).to(r.dtype)

    def save(self, path: str | Path) -> None:
        """Write weights and losses to one file."""
        torch.save({"form": self.net.form, "weights": self.net.state_dict(), "losses": self.losses}, path)

    @classmethod
    def load(cls, path: str | Path) -> FittedDirection:
        """Read what :meth:`save` wrote; nothing in the file is executed."""
        kept = torch.load(path, weights_only=True)
        net = DirectionNet(**kept["form"])
        net.load_state_dict(kept["weights"])
        return cls(net.requires_grad_(False), kept["losses"])


def fit_direction(
    A, grid: Sequence[int] | None = None, *, vectors: int = 200, steps: int = 600, rate: float = 4e-3, channels: int = 8,
    levels: int = 4, seed: int = 0, progress: Callable[[float], None] | None = None,
) -> FittedDirection:  # fmt: skip
    """Train a network for systems like A, without a single solution.

    Args:
        A: a :class:`~lab.physics.elliptic.Grid`, a :class:`~lab.physics.elliptic.Matrix`, or a symmetric positive definite
            matrix (sparse of scipy, dense, or a file for :func:`~lab.physics.elliptic.read_system`) with its ``grid``.
        vectors: Lanczos steps for the Ritz vectors that make right-hand sides.
    """
    A = system(A, grid)
    _, found = ritz_vectors(A, vectors, seed)
    net = DirectionNet(len(A.shape), channels, levels, seeds=(seed,))
    losses = train(net, A, found, steps=steps, rate=rate, seed=seed, progress=progress)[:, 0]
    return FittedDirection(net.requires_grad_(False), losses)


def system(A, grid: Sequence[int] | None = None):
    """A grid operator or matrix from any of the forms that :func:`fit_direction` takes."""
    if isinstance(A, (Grid, Matrix)):
        return A
    if grid is None:
        raise ValueError(
            "grid must say how the unknowns of A lie, for example (24, 24): the network sees them as an image"
        )
    return Matrix(read_system(A)[0] if isinstance(A, (str, Path)) else A, grid)


__all__ = ["DirectionNet", "FittedDirection", "Grid", "Matrix", "Solution", "conjugate_gradients", "fit_direction", "loss",
           "right_hand_sides", "ritz_vectors", "solve", "system", "train"]  # fmt: skip
