"""Point clouds and small labelled sets of points, drawn from a seed."""

from __future__ import annotations

import math

import torch

from lab import checks
from lab.datasets.sets import Points


def noisy_circle(
    count: int = 200, *, noise: float = 0.08, circles: int = 1, dimension: int = 2, seed: int | torch.Generator = 0
) -> Points:
    """Points on unit circles (or spheres) side by side, with Gaussian noise; the label says which circle.

    ``dimension=2`` draws circles in the plane, 3 draws spheres; neighbouring centres are 3 apart.
    """
    count, circles = _count(count), checks.integer("circles", circles, low=1, high=100)
    dimension = checks.integer("dimension", dimension, low=2, high=10)
    noise, generator = checks.number("noise", noise, low=0.0), checks.generator(seed)
    x = torch.randn(count, dimension, generator=generator)
    x = x / x.norm(dim=1, keepdim=True) + noise * torch.randn(count, dimension, generator=generator)
    label = torch.arange(count) % circles
    x[:, 0] += 3.0 * label
    return Points(x, label, "noisy_circle", tuple(f"circle {index}" for index in range(circles)))


def spirals(
    count: int = 400, *, classes: int = 2, turns: float = 1.5, noise: float = 0.04, seed: int | torch.Generator = 0
) -> Points:
    """Interleaved spiral arms ``t (cos(2 pi turns t + phase), sin(...))``, ``t`` uniform in [0.1, 1]; one class an arm."""
    count, classes = _count(count), checks.integer("classes", classes, low=1, high=20)
    turns, noise = checks.number("turns", turns, low=0.0), checks.number("noise", noise, low=0.0)
    generator = checks.generator(seed)
    t = 0.1 + 0.9 * torch.rand(count, generator=generator)
    label = torch.arange(count) % classes
    angle = 2 * math.pi * (turns * t + label / classes)
    x = torch.stack([t * angle.cos(), t * angle.sin()], dim=1)
    return Points(x + noise * torch.randn(count, 2, generator=generator), label, "spirals", _named("arm", classes))


def moons(count: int = 400, *, noise: float = 0.1, seed: int | torch.Generator = 0) -> Points:
    """Two half circles of radius 1 that interlock: ``(cos a, sin a)`` and ``(1 - cos a, 1/2 - sin a)``, ``a`` in [0, pi]."""
    count, noise, generator = _count(count), checks.number("noise", noise, low=0.0), checks.generator(seed)
    angle = math.pi * torch.rand(count, generator=generator)
    label = torch.arange(count) % 2
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    x = torch.where(label[:, None] == 0, upper, lower)
    return Points(x + noise * torch.randn(count, 2, generator=generator), label, "moons", ("upper", "lower"))


def blobs(
    count: int = 400, *, classes: int = 4, dimension: int = 2, spread: float = 0.6, seed: int | torch.Generator = 0
) -> Points:
    """Round Gaussian blobs of standard deviation ``spread`` around centres uniform in [-4, 4]^dimension."""
    count, classes = _count(count), checks.integer("classes", classes, low=1, high=1000)
    dimension, spread = checks.integer("dimension", dimension, low=1), checks.number("spread", spread, low=0.0)
    generator = checks.generator(seed)
    centres = 8 * torch.rand(classes, dimension, generator=generator) - 4
    label = torch.arange(count) % classes
    x = centres[label] + spread * torch.randn(count, dimension, generator=generator)
    return Points(x, label, "blobs", _named("blob", classes))


def clusters(count: int = 600, *, classes: int = 5, dimension: int = 2, seed: int | torch.Generator = 0) -> Points:
    """Clusters that differ in size, density and shape: Gaussians with random covariances and unequal weights."""
    count, classes = _count(count), checks.integer("classes", classes, low=1, high=1000)
    dimension, generator = checks.integer("dimension", dimension, low=1), checks.generator(seed)
    centres = 10 * torch.rand(classes, dimension, generator=generator) - 5
    weights = 0.3 + torch.rand(classes, generator=generator)
    label = torch.multinomial(weights, count, replacement=True, generator=generator)
    label[: min(classes, count)] = torch.arange(min(classes, count))
    scales = 0.2 + 0.8 * torch.rand(classes, dimension, generator=generator)
    rotations = torch.linalg.qr(torch.randn(classes, dimension, dimension, generator=generator)).Q
    x = (torch.randn(count, dimension, generator=generator) * scales[label])[:, None] @ rotations[label]
    return Points(centres[label] + x[:, 0], label, "clusters", _named("cluster", classes))


def _count(count) -> int:
    return checks.integer("count", count, low=1, high=10_000_000)


def _named(word, count) -> tuple[str, ...]:
    return tuple(f"{word} {index}" for index in range(count))
