"""Small self-supervised training on digits, shared by the measurements about contrastive and ordering losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from lab import datasets, training
from lab.losses.contrastive_temperature import hard_info_nce, info_nce, tolerance, uniformity
from lab.losses.groco import GroCoLoss

TEMPERATURES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class Quality:
    """Held-out quality of one trained representation."""

    neighbours: float
    probe: float
    uniformity: float
    tolerance: float


def augment(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A random view of images (N, 1, H, W): rotation to 0.35 rad, scale to 20 %, shift to one pixel, noise 0.1."""
    n, size = len(x), x.shape[-1]
    angle = 0.7 * torch.rand(n, generator=generator) - 0.35
    scale = 1 + 0.4 * torch.rand(n, generator=generator) - 0.2
    shift = (2 * torch.rand(n, 2, generator=generator) - 1) * 2 / size
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    moved = F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)
    return moved + 0.1 * torch.randn(x.shape, generator=generator)


def objective(name: str, value: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """``info-nce`` or ``hard`` at a temperature, ``groco`` at a steepness; symmetric in the two views."""
    if name == "info-nce":
        return lambda a, b: 0.5 * (info_nce(a, b, value) + info_nce(b, a, value))
    if name == "hard":
        return lambda a, b: 0.5 * (hard_info_nce(a, b, value, 0.1) + hard_info_nce(b, a, value, 0.1))
    loss = GroCoLoss(10, value)
    return lambda a, b: loss([a, b])


@lru_cache(maxsize=256)
def train(name: str, value: float, seed: int, epochs: int) -> Quality:
    """Train a network 64-256-256-32 on two views of the digits and evaluate it on held-out digits.

    Adam 1e-3, batch 128. Neighbours: 20 nearest by cosine among the training digits. Probe: logistic regression on centred
    features. Uniformity and tolerance are those of normalized held-out features.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    digits = datasets.load("digits")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(digits.x), generator=generator)
    train_rows, test_rows = order[: len(order) * 2 // 3], order[len(order) * 2 // 3 :]
    x, y = digits.x, digits.label
    model = training.mlp(64, 32, widths=(256, 256), seed=seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss = objective(name, value)
    for _ in range(epochs):
        for rows in train_rows[torch.randperm(len(train_rows), generator=generator)].split(128):
            if len(rows) < 16:
                continue
            first, second = (model(augment(x[rows], generator).flatten(1)) for _ in range(2))
            optimizer.zero_grad()
            loss(first, second).backward()
            optimizer.step()
    with torch.no_grad():
        known, fresh = (F.normalize(model(x[rows].flatten(1)), dim=1) for rows in (train_rows, test_rows))
    nearest = KNeighborsClassifier(20, metric="cosine", weights="distance").fit(known.numpy(), y[train_rows].numpy())
    centre, spread = known.mean(0), known.std(0).clamp_min(1e-8)
    probe = LogisticRegression(max_iter=500).fit(((known - centre) / spread).numpy(), y[train_rows].numpy())
    return Quality(
        float(nearest.score(fresh.numpy(), y[test_rows].numpy())),
        float(probe.score(((fresh - centre) / spread).numpy(), y[test_rows].numpy())),
        float(uniformity(fresh)),
        float(tolerance(fresh, y[test_rows])),
    )


def study(budget: str, seeds) -> tuple[int, tuple[int, ...], tuple[float, ...]]:
    """Epochs, seeds and temperatures of a budget."""
    if budget == "smoke":
        return 2, tuple(seeds)[:2], (0.05, 0.3, 1.0)
    if budget == "default":
        return 20, tuple(seeds), (0.05, 0.2, 0.3, 0.5, 1.0)
    return 60, tuple(seeds), TEMPERATURES


def stack(name: str, values, seeds, epochs, field: str) -> torch.Tensor:
    """One field of the quality, (values, seeds)."""
    found = [[getattr(train(name, value, seed, epochs), field) for seed in seeds] for value in values]
    return torch.tensor(found, dtype=torch.float64)


def raw_pixel_neighbours(seed: int) -> float:
    """The same nearest-neighbour evaluation on raw pixels: how much of it needs no learning."""
    from sklearn.neighbors import KNeighborsClassifier

    digits = datasets.load("digits")
    order = torch.randperm(len(digits.x), generator=torch.Generator().manual_seed(seed))
    train_rows, test_rows = order[: len(order) * 2 // 3], order[len(order) * 2 // 3 :]
    x, y = digits.x.flatten(1), digits.label
    nearest = KNeighborsClassifier(20, metric="cosine", weights="distance").fit(x[train_rows].numpy(), y[train_rows].numpy())
    return float(nearest.score(x[test_rows].numpy(), y[test_rows].numpy()))


