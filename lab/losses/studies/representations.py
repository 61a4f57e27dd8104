"""Small self-supervised training on digits, shared by the studies of contrastive and ordering losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F

from lab import datasets, training
from lab.claims import tunes
from lab.datasets.moves import moved
from lab.losses.contrastive_temperature import hard_info_nce, info_nce, tolerance, uniformity
from lab.losses.groco import GroCoLoss
from lab.training.comparison import TUNING_SEEDS, chosen, record, tune

SETTINGS = {
    "info-nce": (0.05, 0.2, 0.3, 0.5, 1.0),  # temperatures
    "hard": (0.05, 0.2, 0.3, 0.5, 1.0),
    "groco": (0.3, 1.0, 3.0, 10.0, 30.0),  # steepness
}
TEMPERATURES = SETTINGS["info-nce"]
EPOCHS = {"smoke": 2, "default": 20, "full": 60}
ARMS = {"groco": ("groco", "info-nce"), "contrastive_temperature": ("info-nce", "hard")}  # what each method compares
FIELDS = ("neighbours", "probe")


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
    turned = moved(x, angle, scale, shift)
    return turned + 0.1 * torch.randn(x.shape, generator=generator)


def objective(name: str, value: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """``info-nce`` or ``hard`` at a temperature, ``groco`` at a steepness; symmetric in the two views."""
    if name == "info-nce":
        return lambda a, b: 0.5 * (info_nce(a, b, value) + info_nce(b, a, value))
    if name == "hard":
        return lambda a, b: 0.5 * (hard_info_nce(a, b, value, 0.1) + hard_info_nce(b, a, value, 0.1))
    loss = GroCoLoss(10, value)
    return lambda a, b: loss([a, b])


@lru_cache(maxsize=512)
def train(
    name: str, value: float, seed: int, epochs: int, *, weights: int | None = None, shuffled: bool = False
) -> Quality:
    """Train a network 64-256-256-32 on two views of the digits and evaluate it on held-out digits.

    Adam 1e-3, batch 128. Neighbours: 20 nearest by cosine among the training digits. Probe: logistic regression on centred
    features. Uniformity and tolerance are those of normalized held-out features. ``seed`` draws the split and, unless another
    seed is given as ``weights``, the initial weights; ``shuffled``: the labels of the evaluation are shuffled.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    digits: Any = datasets.load("digits")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(digits.x), generator=generator)
    train_rows, test_rows = order[: len(order) * 2 // 3], order[len(order) * 2 // 3 :]
    x, y = digits.x, digits.label
    if shuffled:
        y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]
    model = training.mlp(64, 32, widths=(256, 256), seed=seed if weights is None else weights)
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


def stack(name: str, values: Sequence[float], seeds: Sequence[int], epochs: int, field: str, **options) -> torch.Tensor:
    """One field of the quality, (values, seeds); ``options`` of :func:`train`."""
    found = [[getattr(train(name, value, seed, epochs, **options), field) for seed in seeds] for value in values]
    return torch.tensor(found, dtype=torch.float64)


def best_setting(method: str, field: str, name: str) -> float:
    """The recorded setting of the loss ``name`` that is best in ``field``, ``"neighbours"`` or ``"probe"``."""
    return chosen(method, field, {arm: SETTINGS[arm] for arm in ARMS[method]})[name]


@tunes(*ARMS)
def tune_settings(progress=None) -> None:
    """Score every temperature and steepness on the tuning seeds by both evaluations, and record the trials of both methods."""
    for method, arms in ARMS.items():
        record(method, *(
            tune(
                field, {arm: SETTINGS[arm] for arm in arms},
                lambda name, settings, seeds, field=field: stack(name, settings, seeds, EPOCHS["default"], field),
                seeds=TUNING_SEEDS[:2], progress=progress,
            )
            for field in FIELDS
        ))  # fmt: skip


def raw_pixel_neighbours(seed: int) -> float:
    """The same nearest-neighbour evaluation on raw pixels: how much of it needs no learning."""
    from sklearn.neighbors import KNeighborsClassifier

    digits = datasets.load("digits")
    order = torch.randperm(len(digits.x), generator=torch.Generator().manual_seed(seed))
    train_rows, test_rows = order[: len(order) * 2 // 3], order[len(order) * 2 // 3 :]
    x, y = digits.x.flatten(1), digits.label
    nearest = KNeighborsClassifier(20, metric="cosine", weights="distance").fit(
        x[train_rows].numpy(), y[train_rows].numpy()
    )
    return float(nearest.score(x[test_rows].numpy(), y[test_rows].numpy()))
