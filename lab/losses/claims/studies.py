"""What the measurements of the room share: data, budgets, intervals."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lab import datasets
from lab.claims import Measured
from lab.losses.comparison import Comparison, mean_interval


def table(data, default: str = "digits") -> tuple[torch.Tensor, torch.Tensor]:
    """Features (items, features) and labels of a classification set; ``default`` where the user passes none.

    Pixels are features, except of textures: a patch may start anywhere in its photograph, so that what it shows stands in the
    :func:`spectra` of the patches.
    """
    chosen = datasets.load(default) if data is None else data
    if isinstance(chosen, datasets.Points):
        if chosen.label is None:
            raise ValueError(f"data {chosen.name!r} has no labels; a classification set is needed")
        if chosen.name == "textures":
            return spectra(chosen.x[:1500, 0, :12, :12]), chosen.label[:1500].long()
        return chosen.x.flatten(1), chosen.label.long()
    if not isinstance(chosen, datasets.Table) or chosen.target is None:
        raise ValueError("data must be a table with a target column or a classification set")
    x, y, _ = chosen.numeric()
    _, labels = torch.as_tensor(y).unique(return_inverse=True)
    return x, labels


def spectra(images: torch.Tensor) -> torch.Tensor:
    """Logarithm of the amplitudes of the discrete Fourier transform of images (items, H, W), (items, H * (W // 2 + 1))."""
    return (torch.fft.rfft2(images).abs() + 1e-3).log().flatten(1)


def scale(budget: str, seeds: Sequence[int]) -> dict:
    """Seeds, epochs and learning rates of a study that trains networks on a table."""
    if budget == "smoke":
        return {"seeds": tuple(seeds)[:2], "epochs": 6, "learning_rates": (3e-3, 1e-2)}
    epochs = 40 if budget == "default" else 100
    return {"seeds": tuple(seeds), "epochs": epochs, "learning_rates": (3e-4, 1e-3, 3e-3, 1e-2)}


def exact(value: float, holds: bool, details: dict | None = None) -> Measured:
    """A measurement without sampling error."""
    return Measured(value, (value, value), holds, details or {})


def sampled(values, margin: float, details: dict | None = None, *, seeds: Sequence[int], at_most: bool = False) -> Measured:
    """Mean over seeds with its 95 % interval; holds if the whole interval is above 0 and the mean reaches ``margin``.

    ``at_most``: holds if the upper end of the interval is at most ``margin`` instead. ``values`` stand for the first of the
    ``seeds``, as many as the budget allowed.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    mean, low, high = mean_interval(values)
    holds = high <= margin if at_most else low > 0 and mean >= margin
    return Measured(mean, (low, high), holds, details or {}, seeds=tuple(seeds)[: len(values)])


def shown(result: Comparison) -> dict:
    """The table and the setting of a comparison, for the details of a measurement."""
    return {"table": result.to_frame().round(4).to_dict("records"), "setting": result.setting}
