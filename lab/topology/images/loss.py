r"""The Betti matching loss: a drop-in beside a Dice loss that compares features, place for place.

For one prediction and one label, with the matching of :func:`lab.topology.match` held fixed,

.. math:: \ell = \sum_d \Big( \sum_{\text{matched}} 2 \big[(b - b')^2 + (e - e')^2\big]
          + \sum_{\text{unmatched}} (b - e)^2 \Big),

``b`` and ``e`` the values at which a feature begins and ends, primes for the label. The unmatched term is twice the
squared distance to the nearest bar of length zero. Births and deaths are values of voxels, so the gradient sits exactly
on these voxels; the label receives none.

Source: Nico Stucki, Johannes C. Paetzold, Suprosanna Shit, Bjoern Menze, Ulrich Bauer, 'Topologically Faithful Image
Segmentation via Induced Matching of Persistence Barcodes', ICML 2023, section 4. The paper's text and its first code
count the essential component as well (``essential=True``); the later C++ code and this default do not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lab import checks
from lab.kernels.precision import wide
from lab.topology.eager import eager
from lab.topology.images import batching
from lab.topology.images import convention as images
from lab.topology.images.label_cache import LabelCache

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

REDUCTIONS = ("mean", "sum", "none")
_LEVELS = {"superlevel": ("superlevel",), "sublevel": ("sublevel",), "both": ("superlevel", "sublevel")}


class Pending:
    """A loss on its way: the matching runs on other threads while this one goes on; :meth:`result` waits for it."""

    def __init__(self, finish, futures: list[Future]):
        self._finish, self._futures, self._process = finish, futures, os.getpid()
        self._value: Any = None  # the loss, once it has been asked for

    def done(self) -> bool:
        """Whether :meth:`result` would return at once."""
        return all(future.done() for future in self._futures)

    def result(self) -> Tensor:
        """The loss, attached to the graph of the input; call ``backward()`` on it as on any loss.

        Raises:
            RuntimeError: asked in another process than the one that submitted, whose threads a fork leaves behind.
        """
        if self._finish is not None:
            if self._process != os.getpid():
                raise RuntimeError(
                    "a submitted loss must be asked for in the process that submitted it; submit it anew"
                )
            self._value = self._finish([future.result() for future in self._futures])
            self._finish, self._futures = None, []
        return self._value


class BettiMatchingLoss(nn.Module):
    r"""Betti matching loss of batches of images or volumes, for one or several classes.

    The first arguments mean what they mean in MONAI's ``DiceLoss``.

    Args:
        sigmoid: the input holds logits of independent classes.
        softmax: the input holds logits of exclusive classes.
        include_background: whether channel 0 counts. With a single channel it always does.
        to_onehot_y: the target holds class ids (batch, 1, axes...).
        reduction: ``"mean"`` over items and classes, ``"sum"``, or ``"none"`` for (batch, classes).
        weight: one factor a class that counts.
        matched_weight, unmatched_weight: factors of the two sums.
        dimension_weights: one factor a dimension (components, loops, cavities); ``None`` is one each.
        min_persistence: unmatched bars of the prediction of at most this length are left alone.
        filtration: ``"superlevel"``, ``"sublevel"``, or ``"both"`` (the mean of the two).
        push_unmatched: pull unmatched births to the background's value and deaths to the foreground's,
            :math:`2 [b^2 + (1 - e)^2]` for superlevel, instead of only towards each other.
        border: ``None`` or ``"foreground"`` (see :mod:`lab.topology.images.convention`).
        essential: let the components that never end count as a matched pair of births.
        convention: a published code's choices by name (``lab.topology.images.CONVENTIONS``) instead of ``filtration``,
            ``border`` and ``essential``.
        threads: workers; by default as many as the process may use.
        cache: megabytes in which the label's half of the work is kept, found again by the label's content; 0 is none.

    Shapes: input (batch, classes, axes...) with 1 to 3 axes, any device, floating; target likewise, any real dtype, a mask or
    values in [0, 1]. The target receives no gradient. The loss is computed and returned in the dtype of the input, in float32
    for float16 and bfloat16.

    Raises:
        ValueError: shapes differ, more than one activation, NaN or infinite values, probabilities outside [0, 1]
            (logits without ``sigmoid`` or ``softmax``), a target outside [0, 1], axes that are most likely not (batch, classes,
            axes...), weights of the wrong length. TypeError: an input without
            gradient's dtype.
    """

    def __init__(
        self,
        *,
        sigmoid: bool = False,
        softmax: bool = False,
        include_background: bool = True,
        to_onehot_y: bool = False,
        reduction: str = "mean",
        weight: Sequence[float] | Tensor | None = None,
        matched_weight: float = 1.0,
        unmatched_weight: float = 1.0,
        dimension_weights: Sequence[float] | None = None,
        min_persistence: float = 0.0,
        filtration: str = "superlevel",
        push_unmatched: bool = False,
        border: str | None = None,
        essential: bool = False,
        convention: str | None = None,
        threads: int | None = None,
        cache: float = 256.0,
    ):
        super().__init__()
        if sigmoid and softmax:
            raise ValueError("sigmoid and softmax exclude each other, got both")
        self.sigmoid, self.softmax = bool(sigmoid), bool(softmax)
        self.include_background, self.to_onehot_y = bool(include_background), bool(to_onehot_y)
        self.reduction = checks.choice("reduction", reduction, REDUCTIONS)
        self.matched_weight = checks.number("matched_weight", matched_weight, low=0.0)
        self.unmatched_weight = checks.number("unmatched_weight", unmatched_weight, low=0.0)
        self.min_persistence = checks.number("min_persistence", min_persistence, low=0.0)
        self.filtration = checks.choice("filtration", filtration, _LEVELS)
        self.border = checks.choice("border", border, images.BORDERS)
        self.push_unmatched, self.essential = bool(push_unmatched), bool(essential)
        if convention is not None:
            found = images.chosen(self.filtration, self.border, convention)
            self.filtration, self.border = found.filtration, found.border
            self.essential = self.essential or found.essential
        self.threads = batching.thread_count(threads)
        self.dimension_weights = None
        if dimension_weights is not None:
            self.dimension_weights = tuple(
                checks.number("dimension_weights", each, low=0.0) for each in dimension_weights
            )
        weights = None if weight is None else checks.tensor("weight", weight, ndim=1).to(torch.float32)
        self.register_buffer("weight", weights, persistent=False)
        self.cache = LabelCache(checks.number("cache", cache, low=0.0))

    @eager
    def forward(
        self, input: Float[Tensor, "batch classes *axes"], target: Shaped[Tensor, "batch channels *axes"]
    ) -> Tensor:
        """The loss of a batch."""
        x, y = self._prepare(input, target)
        rows = [self._rows(x, y, level) for level in _LEVELS[self.filtration]]
        return self._reduce(x, y, rows, input.shape[0])

    @eager
    def submit(
        self, input: Float[Tensor, "batch classes *axes"], target: Shaped[Tensor, "batch channels *axes"]
    ) -> Pending:
        """Start the matching on other threads and return at once; ``.result()`` gives the loss."""
        x, y = self._prepare(input, target)
        levels = _LEVELS[self.filtration]
        futures = [batching.background().submit(self._rows, x.detach(), y, level) for level in levels]
        items = input.shape[0]
        return Pending(lambda rows: self._reduce(x, y, rows, items), futures)

    def _prepare(self, input, target):
        """Probabilities and labels with items and classes on one axis, checked."""
        input = checks.tensor("input", input, ndim=(3, 4, 5), floating=True, finite=False)
        target = checks.tensor("target", target, finite=False).detach()
        images.refuse_axes("input", input.shape)
        classes = input.shape[1]
        if self.to_onehot_y:
            target = _one_hot(target, input)
        checks.same_shape("input", input, "target", target)
        if self.softmax and classes == 1:
            raise ValueError("softmax needs at least 2 channels, got 1; use sigmoid")
        if self.dimension_weights is not None and len(self.dimension_weights) != input.ndim - 2:
            raise ValueError(
                f"dimension_weights must have one value for each of {input.ndim - 2} dimensions, "
                f"got {len(self.dimension_weights)}"
            )
        x = wide(input)
        x = x.sigmoid() if self.sigmoid else x.softmax(1) if self.softmax else x
        if not self.include_background and classes > 1:
            x, target = x[:, 1:], target[:, 1:]
        if self.weight is not None and len(self.weight) != x.shape[1]:
            raise ValueError(f"weight must have one value for each of {x.shape[1]} classes, got {len(self.weight)}")
        low, high = torch.aminmax(x.detach())
        if not bool(torch.isfinite(low + high)):
            checks.refuse_nonfinite("input", input)
            checks.refuse_nonfinite("input", x)
        if not (self.sigmoid or self.softmax) and (float(low) < 0 or float(high) > 1):
            raise ValueError(
                f"input must hold probabilities in [0, 1], got values in [{float(low):.4g}, {float(high):.4g}]; "
                "for logits say sigmoid=True or softmax=True"
            )
        checks.refuse_nonfinite("target", target)
        if not self.to_onehot_y:
            images.refuse_target(target)
        return x.flatten(0, 1), target.flatten(0, 1)

    def _rows(self, x, y, level) -> batching.Rows:
        """Matchings of all items; at most ``threads`` run at a time."""
        if x.ndim == 3 and batching.direct(x):
            return batching.direct_rows(x, y, level, self.border)
        stack = _stack(x, level, self.border)
        if self.cache.worthwhile(y):
            return self.cache.match_rows(stack, y, level, self.border, threads=self.threads)
        return batching.match_rows(stack, _stack(y, level, self.border), threads=self.threads)

    def _reduce(self, x, y, rows, batch) -> Tensor:
        items = sum(self._losses(x, y, part, level) for part, level in zip(rows, _LEVELS[self.filtration])) / len(rows)
        items = items.reshape(batch, -1)
        if self.weight is not None:
            items = items * self.weight.to(items)
        return items if self.reduction == "none" else items.mean() if self.reduction == "mean" else items.sum()

    def _losses(self, x, y, rows, level) -> Float[Tensor, " items"]:
        """Two gathers and one scatter: the loss of each item."""
        items, dimensions, _ = rows.counts.shape
        counts = rows.counts.reshape(-1)
        group = np.repeat(np.arange(len(counts)), counts)
        item = group // (3 * dimensions)
        factor = np.where(group % 3 == 0, 2 * self.matched_weight, self.unmatched_weight)
        if self.dimension_weights is not None:
            factor = factor * np.asarray(self.dimension_weights)[group // 3 % dimensions]
        place = torch.from_numpy(rows.voxels).reshape(-1, 2, 2)
        kind, item = torch.from_numpy(group % 3), torch.from_numpy(item)
        weights = torch.from_numpy(factor)
        place, kind, item, weights = (each.to(x.device) for each in (place, kind, item, weights))
        weights = weights.to(x.dtype)
        mine, theirs = (
            _gather(each, place[:, side], item, self.border, level) for side, each in enumerate((x, y.to(x.dtype)))
        )
        lone = torch.where((kind == 2)[:, None], theirs, mine)
        if self.push_unmatched:
            first, last = (0.0, 1.0) if level == "superlevel" else (1.0, 0.0)
            alone = 2 * ((lone[:, 0] - first) ** 2 + (lone[:, 1] - last) ** 2)
        else:
            alone = (lone[:, 0] - lone[:, 1]) ** 2
        if self.min_persistence > 0:
            long = (lone[:, 0] - lone[:, 1]).detach().abs() > self.min_persistence
            alone = torch.where(long | (kind == 2), alone, 0.0)
        each = weights * torch.where(kind == 0, ((mine - theirs) ** 2).sum(1), alone)
        total = torch.zeros(items, dtype=torch.float64, device=x.device).index_add(0, item, each.double()).to(x.dtype)
        if self.essential:
            places = [images.first_voxel(each, level)[:, None] for each in (x, y)]
            births = [each.flatten(1).gather(1, place)[:, 0] for each, place in zip((x, y.to(x.dtype)), places)]
            weight = 2 * self.matched_weight * (1.0 if self.dimension_weights is None else self.dimension_weights[0])
            total = total + weight * (births[0] - births[1]) ** 2
        return total


def _gather(x, place, item, border, level):
    """Values of ``x (items, axes...)`` at flat places (rows, 2) of each row's item; 0 where the place is absent
    (-1)."""
    if border is not None:
        place = images.unframed(place, tuple(x.shape[1:]), border, images.first_voxel(x, level)[item][:, None])
    flat = x.reshape(-1)
    size = flat.numel() // x.shape[0]
    values = flat.index_select(0, (place.clamp(min=0) + item[:, None] * size).reshape(-1)).reshape(-1, 2)
    return torch.where(place >= 0, values, 0.0)


def _stack(x, level, border) -> np.ndarray:
    if border is None:
        return images.sublevel(x, level, None)
    return np.stack([images.sublevel(item, level, border) for item in x])


def _one_hot(target, input) -> Tensor:
    classes = input.shape[1]
    wanted = (input.shape[0], 1, *input.shape[2:])
    if tuple(target.shape) != wanted:
        raise ValueError(f"with to_onehot_y=True target must have shape {wanted}, got {tuple(target.shape)}")
    ids = target.long()
    if bool((ids != target).any()) or int(ids.min()) < 0 or int(ids.max()) >= classes:
        raise ValueError(
            f"target must hold class ids 0 to {classes - 1}, "
            f"got values in [{float(target.min()):.4g}, {float(target.max()):.4g}]"
        )
    result = torch.zeros_like(input, dtype=torch.uint8, requires_grad=False)
    return result.scatter_(1, ids.to(result.device), 1)
