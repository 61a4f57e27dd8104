"""What the fast form of the row losses saves: a whole training run, and the loss of one batch of pixels, with and without it.

Row losses go through :func:`lab.kernels.rowloss`, which has a torch reference and a numba form; ``lab.kernels.backend`` picks one.
Both sides run the same computation on one core in alternation, and are timed only after their results agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lab import checks, kernels, training
from lab.kernels import timing
from lab.losses.registry import BINARY, SEEDED, by_name

if TYPE_CHECKING:
    import pandas


def training_seconds(
    name: str, x: torch.Tensor, y: torch.Tensor, *, models: int = 20, epochs: int = 2, width: int = 128, rounds: int = 5
) -> timing.Ratio:
    """Training of ``models`` networks at once under a loss, the torch reference (``other``) against the numba form (``ours``).

    Args:
        name: one of :func:`lab.losses.names` that is computed by ``lab.kernels.rowloss`` in part or whole.
        x, y: items (n, features...) and labels (n,).
    """
    x, y = checks.tensor("x", x).float().flatten(1), checks.tensor("y", y, shape=(len(x),)).long()
    loss = by_name(name, reduction="none", **({"batches": models} if name in SEEDED else {}))

    def run(form):
        with kernels.backend(form):
            fitted = training.fit(
                lambda seed: training.mlp(x.shape[1], int(y.max()) + 1, widths=(width,), seed=seed), x, y, seeds=models, loss=loss,
                epochs=epochs, batch_size=64, clip=5.0,
            )  # fmt: skip
        return fitted.history.loss

    return timing.alternate(
        lambda: run("cpu"), lambda: run("reference"), compare=_largest, tolerance=1e-3, rounds=rounds, least=0.0
    )


def pixel_seconds(
    name: str, shape: Sequence[int] = (4, 10, 128, 128), *, seed: int | torch.Generator = 0, rounds: int = 5
) -> timing.Ratio:
    """Loss and gradient of one batch of segmentation-shaped scores, torch reference (``other``) against numba (``ours``)."""
    generator = checks.generator(seed)
    z = 3 * torch.randn(tuple(shape), generator=generator)
    y = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    loss = by_name(name)

    def run(form):
        scores = z.clone().requires_grad_()
        with kernels.backend(form):
            loss(scores, y).backward()
        return scores.grad

    return timing.alternate(
        lambda: run("cpu"), lambda: run("reference"), compare=_largest, tolerance=1e-5, rounds=rounds
    )


def with_and_without(names: Sequence[str], x: torch.Tensor, y: torch.Tensor, *, rounds: int = 5) -> pandas.DataFrame:
    """One row a loss: milliseconds of a training run and of a batch of pixels by the reference and by the numba form."""
    import pandas

    rows = []
    for name in names:
        if name in BINARY:
            continue
        whole, pixels = training_seconds(name, x, y, rounds=rounds), pixel_seconds(name, rounds=rounds)
        rows.append({
            "loss": name,
            "training, reference (ms)": 1e3 * whole.other, "training, fast (ms)": 1e3 * whole.ours, "training, ratio": whole.ratio,
            "pixels, reference (ms)": 1e3 * pixels.other, "pixels, fast (ms)": 1e3 * pixels.ours, "pixels, ratio": pixels.ratio,
        })  # fmt: skip
    return pandas.DataFrame(rows)


def _largest(first, second):
    return float((first - second).abs().max())
