r"""The Betti matching error and its companions: how wrong is the topology of a segmentation?

For a binary prediction and a binary label all bars begin and end alike, and the Betti matching loss counts features:
the error in dimension ``d`` is the number of features of the prediction unmatched in the label, plus the
reverse. The Betti number error only compares how many there are, :math:`|\beta_d(P) - \beta_d(L)|`, wherever they lie.

Source: Nico Stucki, Johannes C. Paetzold, Suprosanna Shit, Bjoern Menze, Ulrich Bauer, 'Topologically Faithful Image
Segmentation via Induced Matching of Persistence Barcodes', ICML 2023, sections 3.4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lab import checks
from lab.datasets.values import check_options, divisor, outside
from lab.topology.eager import eager
from lab.topology.images import batching, convention
from lab.topology.images.barcodes import NAMES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class MatchingError:
    """Counts by dimension of one binary prediction against one binary label.

    ``matched`` leaves the component that never ends out unless ``essential``; the errors are the same either way where
    both masks hold foreground.
    """

    matched: tuple[int, ...]
    unmatched_prediction: tuple[int, ...]
    unmatched_label: tuple[int, ...]
    betti_prediction: tuple[int, ...]
    betti_label: tuple[int, ...]

    @property
    def error(self) -> tuple[int, ...]:
        """Betti matching error by dimension: unmatched features, of both sides."""
        return tuple(p + l for p, l in zip(self.unmatched_prediction, self.unmatched_label))

    @property
    def betti_number_error(self) -> tuple[int, ...]:
        """Difference of the numbers of features by dimension."""
        return tuple(abs(p - l) for p, l in zip(self.betti_prediction, self.betti_label))

    @property
    def total(self) -> int:
        return sum(self.error)


@eager
def matching_error(
    prediction,
    label,
    *,
    threshold: float = 0.5,
    border: str | None = None,
    scale: float | None = None,
    activation: str | None = None,
) -> MatchingError:
    """The Betti matching error of ``prediction >= threshold`` against ``label > 0``.

    A mask without any foreground has no features; all features of the other one are then unmatched, its first component
    included.

    Args:
        prediction: probabilities (or a mask) with 1 to 3 axes; 8- and 16-bit grey values are read as those of a file
            (:mod:`lab.datasets.values`).
        label: mask or ids of the same shape; positive is foreground.
        scale: what the prediction is divided by: 100 for percentages.
        activation: ``"sigmoid"`` for logits; ``"none"`` compares any values with the threshold as they are.

    Raises:
        ValueError: shapes differ, NaN, infinite values, unknown option; a prediction outside [0, 1], a label that is not whole.
    """
    prediction, label = convention.image("prediction", prediction), convention.image("label", label)
    checks.same_shape("prediction", prediction, "label", label)
    threshold = checks.number("threshold", threshold)
    convention.check_options("superlevel", border)
    mask = foreground("prediction", prediction, threshold, scale, activation)
    return _errors([mask], [positive("label", label)], border, None)[0]


def foreground(
    name: str, x: Tensor, threshold: float, scale: float | None = None, activation: str | None = None
) -> Tensor:
    """Where probabilities reach ``threshold``; see :func:`probabilities`."""
    return probabilities(name, x, scale, activation).detach() >= threshold


def probabilities(name: str, x: Tensor, scale: float | None = None, activation: str | None = None) -> Tensor:
    """``x`` as values in [0, 1]; others are refused unless ``scale`` or ``activation`` says what they are.

    ``activation="none"`` alone leaves them as they are.
    """
    scale = check_options(scale, activation)
    if activation == "none" and scale is None or x.dtype == torch.bool:
        return x
    low, high = (float(each) for each in torch.aminmax(x.detach()))
    whole = not x.is_floating_point()
    if whole and scale is None and activation in (None, "clip"):
        levels = x.unique().tolist() if 1 < high <= 255 and low >= 0 else None
        scale, _ = divisor(name, 8 * x.element_size() if x.dtype == torch.uint8 else 64, low, high, levels, activation)
    if whole or scale is not None:
        x, low, high = (x.double() / (scale or 1.0)).float(), low / (scale or 1.0), high / (scale or 1.0)
    if activation == "sigmoid":
        return x.sigmoid()
    if activation is None and max(-low, high - 1) > 1e-6:
        raise ValueError(outside(name, low, high))
    return x.clamp(0, 1) if activation == "clip" else x


def positive(name: str, label: Tensor) -> Tensor:
    """Where whole ids are positive."""
    if label.is_floating_point() and bool((label != label.round()).any()):
        raise ValueError(
            f"{name} must hold a mask or whole ids, got fractions; threshold soft labels first, label >= 0.5"
        )
    return label > 0


def _errors(masks, labels, border, threads) -> list[MatchingError]:
    """Errors of boolean images; those of one shape go through the kernel as one stack."""
    groups: dict[tuple, list[int]] = {}
    for k, mask in enumerate(masks):
        groups.setdefault(tuple(mask.shape), []).append(k)
    found: dict[int, MatchingError] = {}
    for members in groups.values():
        stacks = [
            np.stack([convention.sublevel(side[k], "superlevel", border) for k in members]) for side in (masks, labels)
        ]
        counts = batching.match_rows(*stacks, threads=threads).counts
        for place, k in enumerate(members):
            found[k] = _error(counts[place], bool(masks[k].any()), bool(labels[k].any()))
    return [found[k] for k in range(len(masks))]


def _error(counts, any_prediction, any_label) -> MatchingError:
    matched, extra, missing = (counts[:, kind].astype(int) for kind in range(3))
    betti_prediction, betti_label = matched + extra, matched + missing
    betti_prediction[0] += any_prediction
    betti_label[0] += any_label
    extra[0] += any_prediction and not any_label
    missing[0] += any_label and not any_prediction
    return MatchingError(
        *(tuple(int(n) for n in each) for each in (matched, extra, missing, betti_prediction, betti_label))
    )


class BettiMatchingMetric:
    """Betti matching error over a data set: ``update`` with each batch, ``compute`` at the end, ``reset`` to start
    anew.

    Args:
        threshold: a probability of at least this is foreground.
        patch: ``None`` compares whole images. A size (or one an axis) cuts every image into tiles of that size, without
            overlap and from the first corner on, the last ones smaller, compares tile by tile and adds up: features cut
            by a tile's border then count in every tile. Numbers with and without patches are not comparable.
        border: ``None`` or ``"foreground"``.
        include_background: whether channel 0 of several counts.
        threads: workers; by default as many as the process may use.
        scale, activation: as of :func:`matching_error`.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        patch: int | tuple[int, ...] | None = None,
        border: str | None = None,
        include_background: bool = True,
        threads: int | None = None,
        scale: float | None = None,
        activation: str | None = None,
    ):
        self.threshold = checks.number("threshold", threshold)
        self.scale, self.activation = check_options(scale, activation), activation
        self.patch = patch if patch is None or isinstance(patch, tuple) else checks.integer("patch", patch, low=1)
        convention.check_options("superlevel", border)
        self.border, self.include_background = border, bool(include_background)
        self.threads = batching.thread_count(threads)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._rows: list[dict] = []
        self._items = 0

    @eager
    def update(self, predictions, labels) -> None:
        """Add a batch: tensors (batch, classes, axes...) or two lists of single images of any shapes."""
        masks, wanted, classes = self._pairs(predictions, labels)
        pieces = [(k, *pair) for k, (mask, label) in enumerate(zip(masks, wanted)) for pair in self._tiles(mask, label)]
        errors = _errors([piece[1] for piece in pieces], [piece[2] for piece in pieces], self.border, self.threads)
        sums: dict[tuple[int, int], np.ndarray] = {}
        for (k, *_), error in zip(pieces, errors):
            for d in range(len(error.matched)):
                row = (
                    error.matched[d],
                    error.unmatched_prediction[d],
                    error.unmatched_label[d],
                    error.error[d],
                    error.betti_number_error[d],
                )
                sums[k, d] = sums.get((k, d), 0) + np.array(row)
        names = ("matched", "unmatched_prediction", "unmatched_label", "matching_error", "betti_number_error")
        for (k, d), values in sums.items():
            item, channel = self._items + k // classes, k % classes
            first = {"item": item, "class": channel, "dimension": d}
            self._rows.append(first | {name: int(value) for name, value in zip(names, values)})
        self._items += len(masks) // classes

    def compute(self) -> pd.DataFrame:
        """Means over items and classes, one row a dimension and one for their sum (``"all"``)."""
        if not self._rows:
            raise ValueError("nothing to compute yet; call update(predictions, labels) first")
        frame = self.to_frame().drop(columns=["item", "class"])
        table = frame.groupby("dimension").mean()
        table.index = [NAMES[d] for d in table.index]
        table.loc["all"] = table.sum()
        return table

    def to_frame(self) -> pd.DataFrame:
        """One row an item, class and dimension."""
        import pandas as pd

        return pd.DataFrame(self._rows)

    def _pairs(self, predictions, labels):
        if isinstance(predictions, (list, tuple)):
            if not isinstance(labels, (list, tuple)) or len(labels) != len(predictions):
                raise ValueError(f"labels must be a list of {len(predictions)} images like predictions")
            masks = [convention.image(f"predictions[{k}]", each) for k, each in enumerate(predictions)]
            wanted = [convention.image(f"labels[{k}]", each) for k, each in enumerate(labels)]
            for k, (mask, label) in enumerate(zip(masks, wanted)):
                checks.same_shape(f"predictions[{k}]", mask, f"labels[{k}]", label)
            classes = 1
        else:
            predictions = checks.tensor("predictions", predictions, ndim=(3, 4, 5))
            labels = checks.tensor("labels", labels)
            checks.same_shape("predictions", predictions, "labels", labels)
            convention.refuse_axes("predictions", predictions.shape)
            if not self.include_background and predictions.shape[1] > 1:
                predictions, labels = predictions[:, 1:], labels[:, 1:]
            classes = predictions.shape[1]
        if isinstance(predictions, Tensor):  # one decision for the batch
            masks = list(
                foreground("predictions", predictions, self.threshold, self.scale, self.activation).flatten(0, 1)
            )
            wanted = list(positive("labels", labels).flatten(0, 1))
        else:
            masks = [
                foreground(f"predictions[{k}]", each, self.threshold, self.scale, self.activation)
                for k, each in enumerate(masks)
            ]
            wanted = [positive(f"labels[{k}]", each) for k, each in enumerate(wanted)]
        return masks, wanted, classes

    def _tiles(self, mask: Tensor, label: Tensor):
        if self.patch is None:
            return [(mask, label)]
        sizes = self.patch if isinstance(self.patch, tuple) else (self.patch,) * mask.ndim
        if len(sizes) != mask.ndim:
            raise ValueError(f"patch must have one size for each of {mask.ndim} axes, got {len(sizes)}")
        tiles = [(mask, label)]
        for axis, size in enumerate(sizes):
            tiles = [pair for both in tiles for pair in zip(*(torch.split(each, size, axis) for each in both))]
        return tiles
