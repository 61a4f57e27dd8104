r"""Betti matching: which features of a prediction are features of the label, place for place.

Prediction :math:`a` and label :math:`b` are compared through :math:`c = \min(a, b)` (in sublevel form), whose level
sets contain those of both. The inclusions induce matchings of the bars of ``a`` and of ``b`` with bars of ``c``: a bar
of ``a`` and the bar of its image in ``c`` begin in the same cell, the image and the bar of ``c`` end in the same cell.
Two bars, one of ``a`` and one of ``b``, are *matched* when both go to the same bar of ``c``: they are one feature that
both images show in the same place. All other bars are unmatched.

- Cells are ordered by (value, position of the lowest corner, axis), as in the C++ code of the authors; matched and
  unmatched bars and their voxels agree with that code exactly.
- The bars do not depend on the order among equal cells, the matching does: flip an axis of two noise images and other
  bars are matched. Against a binary label this hardly ever happens.

Sources: Nico Stucki, Johannes C. Paetzold, Suprosanna Shit, Bjoern Menze, Ulrich Bauer, 'Topologically Faithful Image
Segmentation via Induced Matching of Persistence Barcodes', ICML 2023, section 3; Ulrich Bauer, Michael Lesnick,
'Induced Matchings and the Algebraic Stability of Persistence Barcodes', 2015; N. Stucki, V. Buergin, J. C. Paetzold, U.
Bauer, 'Efficient Betti Matching Enables Topology-Aware 3D Segmentation via Persistent Homology', 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lab import checks
from lab.topology.eager import eager
from lab.topology.images import batching, large_images
from lab.topology.images import convention as images
from lab.topology.images.barcodes import NAMES, Bar, Bars, endless, gathered, gatherer

if TYPE_CHECKING:
    import pandas as pd

    from lab.topology.images.cycles import Cycle


@dataclass(frozen=True, eq=False)
class Pairs:
    """Matched bars of one dimension: ``prediction[i]`` and ``label[i]`` are the same feature."""

    prediction: Bars
    label: Bars

    def __len__(self) -> int:
        return len(self.prediction)

    def __getitem__(self, index: int) -> tuple[Bar, Bar]:
        return self.prediction[index], self.label[index]

    def __iter__(self) -> Iterator[tuple[Bar, Bar]]:
        return zip(self.prediction, self.label)


@dataclass(frozen=True, eq=False)
class Matching:
    """The Betti matching of one prediction with one label.

    ``matched[d]`` are :class:`Pairs`, ``unmatched_prediction[d]`` and ``unmatched_label[d]`` are :class:`Bars`;
    ``essential`` is the pair of components that never end, matched with each other and in no other list;
    ``counts_essential`` says whether the chosen convention counts it in the loss.
    """

    matched: tuple[Pairs, ...]
    unmatched_prediction: tuple[Bars, ...]
    unmatched_label: tuple[Bars, ...]
    essential: Pairs
    prediction: Tensor
    label: Tensor
    filtration: str = "superlevel"
    border: str | None = None
    counts_essential: bool = False
    rows: batching.Rows = field(repr=False, default=None)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.prediction.shape)

    @property
    def dimensions(self) -> range:
        return range(len(self.matched))

    def counts(self, *, min_length: float = 0.0) -> pd.DataFrame:
        """Matched, unmatched in the prediction, unmatched in the label: counts by dimension.

        ``min_length`` leaves out shorter bars (of a matched pair the prediction's bar counts); the component that never ends is
        in none of the columns.
        """
        import pandas as pd

        shortest = checks.number("min_length", min_length, low=0.0)

        def long(bars):
            return int(((bars.birth - bars.death).detach().abs() >= shortest).sum())

        table = {
            "matched": [long(pairs.prediction) for pairs in self.matched],
            "unmatched in prediction": [long(bars) for bars in self.unmatched_prediction],
            "unmatched in label": [long(bars) for bars in self.unmatched_label],
        }
        return pd.DataFrame(table, index=pd.Index([NAMES[d] for d in self.dimensions], name="features"))

    def loss(self, *, essential: bool | None = None) -> Tensor:
        r"""The Betti matching loss of this pair, differentiable: :math:`\sum_d \sum_{\text{matched}} 2 |\beta -
        \beta'|^2 + \sum_{\text{unmatched}} (\text{birth} - \text{death})^2`; ``essential`` adds the endless pair's
        births; by default the convention decides."""
        total: Any = 0.0
        for d in self.dimensions:
            mine, theirs = self.matched[d].prediction, self.matched[d].label
            total = total + 2 * ((mine.birth - theirs.birth) ** 2 + (mine.death - theirs.death) ** 2).sum()
            for bars in (self.unmatched_prediction[d], self.unmatched_label[d]):
                total = total + ((bars.birth - bars.death) ** 2).sum()
        if self.counts_essential if essential is None else essential:
            total = total + 2 * ((self.essential.prediction.birth - self.essential.label.birth) ** 2).sum()
        return total

    def cycle(self, bar: Bar) -> Cycle:
        """Where a feature lies: its voxels, computed when asked (see :func:`lab.topology.images.cycles.cycle`)."""
        from lab.topology.images.cycles import cycle

        side = checks.choice("bar.side", bar.side, ("prediction", "label"))
        return cycle(getattr(self, side), bar, filtration=self.filtration, border=self.border)

    def to_frame(self) -> pd.DataFrame:
        """One row a bar: side, kind ("matched" or "unmatched"), partner (row in its list), and the bar."""
        import pandas as pd

        parts = []
        for d in self.dimensions:
            for side in ("prediction", "label"):
                frame = getattr(self.matched[d], side).to_frame()
                parts.append(frame.assign(side=side, kind="matched", pair=range(len(frame))))
                frame = getattr(self, f"unmatched_{side}")[d].to_frame()
                parts.append(frame.assign(side=side, kind="unmatched", pair=-1))
        return pd.concat(parts, ignore_index=True)

    def save(self, path: str | Path) -> None:
        """Write images, rows and options to one ``.npz`` file."""
        arrays = {"prediction": checks.array(self.prediction), "label": checks.array(self.label)}
        arrays |= {"cells": self.rows.cells, "voxels": self.rows.voxels, "counts": self.rows.counts}
        options = np.array([self.filtration, self.border or "", "essential" if self.counts_essential else ""])
        target = Path(path).with_suffix(".npz")
        partial = target.with_name(target.name + ".part")
        with partial.open("wb") as stream:
            np.savez_compressed(stream, **arrays, options=options)
        partial.replace(target)

    @staticmethod
    def load(path: str | Path) -> Matching:
        """Read what :meth:`save` wrote."""
        with np.load(Path(path).with_suffix(".npz"), allow_pickle=False) as stored:
            filtration, border, essential = (*(str(word) for word in stored["options"]), "")[:3]
            rows = batching.Rows(stored["cells"], stored["voxels"], stored["counts"])
            prediction, label = torch.from_numpy(stored["prediction"]), torch.from_numpy(stored["label"])
        chosen = images.Convention(filtration, border or None, bool(essential))
        return _matching(prediction, label, rows, chosen, prediction.ndim - 1)


@eager
def match(
    prediction,
    label,
    *,
    filtration: str = "superlevel",
    border: str | None = None,
    max_dimension: int | None = None,
    convention: str | None = None,
    progress: bool | Callable[[float], None] | None = None,
) -> Matching:
    """Match the features of one prediction with those of one label.

    Args:
        prediction: image with 1 to 3 axes, numpy or torch, any real dtype and layout. All axes are space: a batch
            goes to :func:`match_batch`.
        label: image of the same shape; a binary mask, or any other image.
        filtration: ``"superlevel"`` (high values enter first, for probabilities) or ``"sublevel"``.
        border: ``None`` or ``"foreground"`` (see :mod:`lab.topology.images.convention`).
        max_dimension: leave out features of higher dimension (0 components, 1 loops, 2 cavities).
        convention: a published code's choices by name (``lab.topology.images.CONVENTIONS``) instead of ``filtration``
            and ``border``: ``"betti-matching-3d"`` or ``"betti-matching-2d"``, whose loss counts the endless pair.
        progress: for volumes: a bar with an estimate of time and memory on standard error (``True``, and by default
            from :data:`lab.topology.images.large_images.ANNOUNCED` voxels), none (``False``), or a function that is called with the
            fraction done. An interrupt, or an exception of that function, ends the matching.

    Returns:
        ``Matching``; births and deaths are values of the images, differentiable with respect to both.

    Raises:
        ValueError: shapes differ, NaN, infinite values, no voxel, wrong number of axes, unknown option.
        TypeError: complex values, or no numbers.
    """
    chosen = images.chosen(filtration, border, convention)
    filtration, border = chosen.filtration, chosen.border
    prediction, label = images.image("prediction", prediction), images.image("label", label)
    checks.same_shape("prediction", prediction, "label", label)
    top = prediction.ndim - 1
    top = checks.integer("max_dimension", top if max_dimension is None else max_dimension, low=0, high=top)
    rows = _rows(prediction, label, filtration, border, progress)
    return _matching(prediction, label, rows, chosen, top)


@eager
def match_batch(
    predictions,
    labels,
    *,
    threads: int | None = None,
    filtration: str = "superlevel",
    border: str | None = None,
    max_dimension: int | None = None,
    convention: str | None = None,
) -> list[Matching]:
    """Match many pairs: two sequences of images, which may differ in shape from pair to pair, or a leading batch axis.

    Args:
        predictions, labels: lists of images, or tensors (batch, axes...).
        threads: workers, by default as many as the process may use. Memory is that of ``threads`` pairs.

    Returns:
        one ``Matching`` a pair, equal to what :func:`match` gives. Further arguments and refusals as there.
    """
    chosen = images.chosen(filtration, border, convention)
    filtration, border = chosen.filtration, chosen.border
    predictions, labels = _items("predictions", predictions), _items("labels", labels)
    if len(predictions) != len(labels):
        raise ValueError(f"predictions and labels must be as many, got {len(predictions)} and {len(labels)}")
    workers = batching.thread_count(threads)
    tops = []
    for k, (mine, theirs) in enumerate(zip(predictions, labels)):
        checks.same_shape(f"predictions[{k}]", mine, f"labels[{k}]", theirs)
        top = mine.ndim - 1
        tops.append(checks.integer("max_dimension", top if max_dimension is None else max_dimension, low=0, high=top))

    def one(k):
        return _rows(predictions[k], labels[k], filtration, border, False)

    ks = range(len(predictions))
    found = map(one, ks) if workers == 1 else batching.pool(workers).map(one, ks)
    return [_matching(predictions[k], labels[k], rows, chosen, tops[k]) for k, rows in enumerate(found)]


def _rows(prediction, label, filtration, border, progress) -> batching.Rows:
    if prediction.ndim == 2 and batching.direct(prediction):
        return batching.direct_rows(prediction[None], label[None], filtration, border)
    a, b = images.sublevel(prediction, filtration, border), images.sublevel(label, filtration, border)
    if a.ndim == 3:
        return large_images.match_rows(a, b, progress)
    return batching.match_rows(a[None], b[None], threads=1)


def _items(name, value) -> list[Tensor]:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        value = checks.tensor(name, value, ndim=(2, 3, 4))
    elif not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{name} must be a list of images or a tensor with a batch axis, got {type(value).__name__}")
    if len(value) == 0:
        raise ValueError(f"{name} is empty; at least one image is needed")
    return [images.image(f"{name}[{k}]", item) for k, item in enumerate(value)]


def _matching(prediction, label, rows, chosen, top) -> Matching:
    filtration, border = chosen.filtration, chosen.border
    shape = tuple(prediction.shape)
    cells, voxels = torch.from_numpy(rows.cells), torch.from_numpy(rows.voxels).clone()
    first = [images.first_voxel(x[None], filtration).cpu() for x in (prediction, label)]
    for side in range(2):
        columns = slice(2 * side, 2 * side + 2)
        voxels[:, columns] = images.unframed(voxels[:, columns], shape, border, first[side])
    mine, theirs = gatherer(prediction), gatherer(label)
    found = ([], [], [])
    ends = rows.counts[0].reshape(-1).cumsum().reshape(-1, 3)
    for d in range(top + 1):
        for kind in range(3):
            part = slice(ends[d, kind] - rows.counts[0, d, kind], ends[d, kind])
            c, v = cells[part], voxels[part]
            if kind != 2:
                one = gathered(d, c[:, 0], c[:, 1], v[:, 0], v[:, 1], mine, "prediction")
            if kind != 1:
                two = gathered(d, c[:, 2], c[:, 3], v[:, 2], v[:, 3], theirs, "label")
            found[kind].append(Pairs(one, two) if kind == 0 else one if kind == 1 else two)
    matched, extra, missing = found
    sides = ((first[0], mine, "prediction"), (first[1], theirs, "label"))
    cell = (lambda voxel: voxel) if border is None else torch.zeros_like  # a frame's first voxel is its corner
    forever = Pairs(*(endless(cell(voxel), voxel, level, filtration, side) for voxel, level, side in sides))
    return Matching(
        tuple(matched),
        tuple(extra),
        tuple(missing),
        forever,
        prediction,
        label,
        filtration,
        border,
        chosen.essential,
        rows,
    )
