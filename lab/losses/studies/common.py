"""What the studies of the room share: tables, budgets of training, tuning of learning rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from lab import datasets
from lab.losses.comparison import LEARNING_RATES, Comparison, compare
from lab.training.comparison import TUNING_SEEDS, Trials, chosen, tune


def table(data, default: str = "digits", *, missing: str = "refuse") -> tuple[torch.Tensor, torch.Tensor]:
    """Features (items, features) and labels of a classification set; ``default`` where the user passes none.

    Pixels are features, except of textures: a patch may start anywhere in its photograph, so that what it shows stands in the
    :func:`spectra` of the patches.
    """
    loaded = datasets.load(default) if data is None else data
    if isinstance(loaded, datasets.Points):
        if loaded.label is None:
            raise ValueError(f"data {loaded.name!r} has no labels; a classification set is needed")
        if loaded.name == "textures":
            return spectra(loaded.x[:1500, 0, :12, :12]), loaded.label[:1500].long()
        return loaded.x.flatten(1), loaded.label.long()
    if not isinstance(loaded, datasets.Table) or loaded.target is None:
        raise ValueError("data must be a table with a target column or a classification set")
    x, labels, _ = loaded.numeric(missing=missing)
    assert labels is not None  # the table has a target
    if labels.is_floating_point():
        raise ValueError(
            f"the target {loaded.target!r} holds numbers, but the losses are for classes; say target_type='classes' where its "
            "numbers are names"
        )
    return x, labels


def spectra(images: torch.Tensor) -> torch.Tensor:
    """Logarithm of the amplitudes of the discrete Fourier transform of images (items, H, W), (items, H * (W // 2 + 1))."""
    return (torch.fft.rfft2(images).abs() + 1e-3).log().flatten(1)


def scale(budget: str, seeds: Sequence[int]) -> dict:
    """Seeds, epochs and learning rates of a study that trains networks on a table and tunes them there."""
    if budget == "smoke":
        return {"seeds": tuple(seeds)[:2], "epochs": 6, "learning_rates": (3e-3, 1e-2)}
    return {"seeds": tuple(seeds), "epochs": EPOCHS[budget], "learning_rates": LEARNING_RATES}


EPOCHS = {
    "smoke": 6,
    "default": 40,
    "full": 100,
}  # of networks on a table; learning rates are tuned at the default ones


def tune_rates(
    study: str, losses: Iterable[str], x: torch.Tensor, y: torch.Tensor, *, rates: Sequence[float] = LEARNING_RATES,
    seeds: Sequence[int] = TUNING_SEEDS, progress=None, **options,
) -> Trials:  # fmt: skip
    """All trials of the ``rates`` for each loss by mean validation accuracy, to be recorded as tuning of ``study``.

    ``options`` are those of :func:`lab.losses.comparison.compare`: the noise, network and epochs of the study itself.
    """

    def evaluate(loss, settings, seeds):
        return compare([loss], x, y, learning_rates=settings, seeds=seeds, **options).validation_accuracy[loss]

    return tune(study, dict.fromkeys(losses, tuple(rates)), evaluate, seeds=seeds, progress=progress)


def tuned_rates(
    method: str, study: str, losses: Iterable[str], *, rates: Sequence[float] = LEARNING_RATES
) -> Mapping[str, float]:
    """The recorded learning rate of each loss, ready for ``compare(..., learning_rates=...)``.

    Raises:
        lab.training.comparison.NotTuned: no record, or one of another grid.
    """
    return chosen(method, study, dict.fromkeys(losses, tuple(rates)))


def shown(result: Comparison) -> dict:
    """The table and the setting of a comparison, for the details of a measurement."""
    return {"table": result.to_frame().round(4).to_dict("records"), "setting": result.setting}
