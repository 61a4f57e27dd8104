"""What an explanation may move: the instances, the baseline, and which elements belong to which player.

A *player* is one coordinate of the perturbation ``xi``: a column, a superpixel, a token, or any group of elements of
``x``. All explanations of the room are linear functions of ``xi``, and all perturbations are one of two operators::

    "add":  x + xi                      "mix":  b + xi (x - b)      (xi = 1 keeps, xi = 0 takes the baseline b)
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from lab import checks


@dataclass(frozen=True)
class Players:
    """Instances ``x (N, E)`` (flattened), a baseline ``(N or 1, E)``, and the player of every element.

    ``index`` is ``None`` where every element is its own player, else ``(E,)`` or ``(N, E)`` with values in
    ``0..count-1`` and ``count`` for elements that never move. ``shape`` is the shape of one instance as ``f`` wants it.
    """

    x: torch.Tensor
    baseline: torch.Tensor
    index: torch.Tensor | None
    count: int
    shape: tuple[int, ...]
    names: tuple[str, ...]
    donors: torch.Tensor | None = None  # (D, E): rows from which replaced elements are taken, instead of the baseline
    counted: bool = False  # distances count the elements that differ: columns of a frame have no common unit

    @property
    def instances(self) -> int:
        return self.x.shape[0]

    @property
    def difference(self) -> torch.Tensor:
        """``x - b`` as float64 ``(N, E)``; undefined values (missing against present) count as 1."""
        gap = self.x.double() - self.baseline.double()
        both_missing = torch.isnan(self.x.double()) & torch.isnan(self.baseline.double())
        return torch.where(both_missing, 0.0, torch.nan_to_num(gap, nan=1.0))

    @cached_property
    def blank(self) -> bool:
        """Whether the baseline is 0 and every value is a number, so that keeping is multiplying."""
        return not self.undefined and not bool(self.baseline.any()) and self.donors is None

    @cached_property
    def undefined(self) -> bool:
        """Whether values may not be blended: tokens, levels, missing values."""
        parts = [self.x, self.baseline] if self.donors is None else [self.x, self.baseline, self.donors]
        return not self.x.is_floating_point() or any(bool(torch.isnan(part).any()) for part in parts)

    def to_players(self, values: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
        """Sum ``values (n, ..., E)`` of the instances ``rows`` over the elements of each player: ``(n, ..., K)``."""
        if self.index is None:
            return values
        index = self.index
        if index.ndim == 2:
            index = index[rows].view(-1, *[1] * (values.ndim - 2), values.shape[-1])
        out = values.new_zeros(*values.shape[:-1], self.count + 1)
        return out.scatter_add_(-1, index.expand_as(values), values)[..., : self.count]

    def to_elements(self, xi: torch.Tensor, rows: slice, fixed: float) -> torch.Tensor:
        """Spread ``xi (m, K)`` or ``(n, m, K)`` to elements; elements that never move get ``fixed``."""
        if self.index is None:
            return xi
        padded = torch.cat([xi, xi.new_full((*xi.shape[:-1], 1), fixed)], -1)
        if self.index.ndim == 1:
            return padded[..., self.index]
        index = self.index[rows]
        padded = padded.expand(len(index), *padded.shape[-2:])
        return padded.gather(-1, index[:, None].expand(-1, padded.shape[1], -1))

    def contrast(self) -> torch.Tensor:
        """``c (N, K)``: the squared distance that replacing one player by the baseline moves the instance."""
        moved = self.difference
        return self.to_players((moved != 0).double() if self.counted else moved.square())

    def single(self) -> bool:
        """Whether every player is one element, so that mask and additive coordinates convert into each other."""
        return self.index is None

    def perturb(self, operator: str, moves: torch.Tensor, rows: slice, donor: torch.Tensor | None) -> torch.Tensor:
        """The perturbed inputs ``(n, m, E)`` of the instances ``rows``; ``moves`` is ``xi`` spread to elements.

        ``moves`` is ``(m, E)`` or ``(n, m, E)`` (:meth:`to_elements`); of the dtype bool where it keeps or replaces.
        """
        x = self.x[rows, None]
        if operator == "add":
            return x + moves
        if self.blank and moves.dtype != torch.bool:
            return x * moves
        base = self.baseline[rows if len(self.baseline) > 1 else slice(None), None]
        if donor is not None:
            base = self.donors[donor] if donor.ndim == 2 else self.donors[donor][None]
        if moves.dtype == torch.bool:
            return torch.where(moves, x, base)
        if self.undefined:
            return torch.where(moves > 0.5, x, base)
        moves = moves if moves.ndim == 3 else moves[None]
        return torch.lerp(*torch.broadcast_tensors(base, x, moves))


def players(x, baseline, features, dtype: torch.dtype | None = None, data=None) -> Players:
    """Check ``x``, ``baseline``, ``features`` and ``data`` and bring them into one form.

    Args:
        x: ``(N, ...)`` instances; floats, or integers (tokens) for mask neighbourhoods. Integers beside a baseline or rows of
            data that their dtype does not hold become a wider one: int64, or floating where those are not whole.
        baseline: a number, one instance, or one baseline an instance; ``None`` is 0.
        features: ``None`` (every element a player), or an integer label map: of the shape of one instance, of its
            trailing axes (superpixels shared by all channels), or with a leading axis of ``N``. Negative labels never
            move.
        dtype: the floating dtype in which ``f`` computes.
        data: rows from which replaced elements are taken, of the shape of one instance each, or ``None``.
    """
    x = checks.tensor("x", x, finite=False)
    if x.ndim < 2:
        raise ValueError(f"x must have a leading axis of instances, got shape {tuple(x.shape)}; pass x[None] for one")
    if x.dtype == torch.bool:
        x = x.float()
    if x.dtype in (torch.uint16, torch.uint32, torch.uint64):  # torch computes with few of its unsigned integers
        if x.dtype == torch.uint64 and x.numel() and int(x.long().min()) < 0:
            raise ValueError("x must hold integers below 2^63, got larger ones in torch.uint64")
        x = x.long()
    if x.is_floating_point():
        checks.refuse_nonfinite("x", x)
        x = x.to(dtype) if dtype is not None else x
    x = x.detach()
    count, shape = len(x), tuple(x.shape[1:])
    base, rows = _baseline(x, baseline), None
    if data is not None:
        rows = checks.tensor("data", data).to(x.device)
        if tuple(rows.shape[1:]) != shape:
            raise ValueError(f"data must hold rows of shape {shape}, got {tuple(rows.shape)}")
        rows = rows.reshape(len(rows), -1)
    common = _common(x, [base] if rows is None else [base, rows], dtype)
    x, base, rows = x.to(common), base.to(common), None if rows is None else rows.to(common)
    index, names = _labels(features, count, shape, x.device)
    size = x[0].numel()
    if index is None:
        return Players(x.reshape(count, size), base, None, size, shape, _default_names(size), rows)
    return Players(x.reshape(count, size), base, index, len(names), shape, names, rows)


def _common(x: torch.Tensor, others: list[torch.Tensor], floating: torch.dtype | None) -> torch.dtype:
    """The dtype that holds ``x`` and all of ``others`` without a loss: that of ``x`` where it does."""
    if x.is_floating_point():
        return x.dtype
    if any(other.is_floating_point() and bool((other != other.round()).any()) for other in others):
        return floating or torch.float64
    limits = torch.iinfo(x.dtype)
    fits = all(limits.min <= float(other.min()) and float(other.max()) <= limits.max for other in others)
    return x.dtype if fits else torch.int64


def _baseline(x: torch.Tensor, baseline) -> torch.Tensor:
    shape = tuple(x.shape[1:])
    if baseline is None:
        baseline = 0
    if getattr(baseline, "ndim", None) == 0:  # a scalar of numpy or torch
        baseline = baseline.item()
    if isinstance(baseline, numbers.Real) and not isinstance(baseline, bool):
        value = checks.number("baseline", baseline)
        return torch.full((1, x[0].numel()), value, dtype=torch.float64, device=x.device)
    base = checks.tensor("baseline", baseline).to(x.device)
    if tuple(base.shape) == shape:
        base = base[None]
    if tuple(base.shape[1:]) != shape or len(base) not in (1, len(x)):
        raise ValueError(
            f"baseline must be a number, one instance of shape {shape} or one for each of the {len(x)} instances, "
            f"got shape {tuple(base.shape)}"
        )
    return base.reshape(len(base), -1)


def _labels(features, count: int, shape: tuple[int, ...], device) -> tuple[torch.Tensor | None, tuple[str, ...]]:
    if features is None:
        return None, ()
    labels = checks.tensor("features", features).to(device)
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"features must hold integer labels, got {labels.dtype}")
    trailing = tuple(labels.shape)
    if trailing == shape[len(shape) - labels.ndim :]:
        labels = labels.expand(shape).reshape(-1)
    elif labels.ndim > 1 and trailing[0] == count and trailing[1:] == shape[len(shape) - labels.ndim + 1 :]:
        labels = labels.view(count, *[1] * (len(shape) - labels.ndim + 1), *trailing[1:]).expand(count, *shape)
        labels = labels.reshape(count, -1)
    else:
        raise ValueError(
            f"features must have the shape of one instance {shape}, of its trailing axes, or with a leading axis of "
            f"{count}, got {trailing}"
        )
    values = torch.unique(labels[labels >= 0])
    if len(values) == 0:
        raise ValueError("features has no label of 0 or more: nothing may move")
    index = torch.searchsorted(values, labels.clamp_min(values[0]).contiguous())
    index = torch.where(labels < 0, len(values), index)
    return index, tuple(f"segment {int(value)}" for value in values)


def _default_names(count: int) -> tuple[str, ...]:
    return tuple(f"x{j}" for j in range(count))


def grid(shape: tuple[int, int], cells: int | tuple[int, int]) -> np.ndarray:
    """A label map that cuts an image of ``shape (H, W)`` into ``cells`` (rows, columns) rectangles."""
    rows, columns = (cells, cells) if isinstance(cells, int) else cells
    rows = checks.integer("cells", rows, low=1, high=shape[0])
    columns = checks.integer("cells", columns, low=1, high=shape[1])
    return (np.arange(shape[0]) * rows // shape[0])[:, None] * columns + np.arange(shape[1]) * columns // shape[1]


def superpixels(image, count: int = 50, *, compactness: float | None = None) -> np.ndarray:
    """A label map ``(H, W)`` of about ``count`` superpixels of an image ``(H, W)``, ``(C, H, W)`` or ``(H, W, 3)``.

    Source: R. Achanta et al., 'SLIC Superpixels Compared to State-of-the-Art Superpixel Methods', TPAMI 2012.
    """
    from skimage.segmentation import slic

    image = checks.tensor("image", image, ndim=(2, 3)).cpu().double().numpy()
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[-1] not in (1, 3):
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    low, high = image.min(), image.max()
    image = (image - low) / (high - low) if high > low else image - low
    axis = -1 if image.ndim == 3 else None
    if compactness is None:  # colours are compared in Lab units (up to 100), grey levels in [0, 1]
        compactness = 10.0 if image.ndim == 3 else 0.1
    count = checks.integer("count", count, low=1)
    return slic(image, n_segments=count, compactness=compactness, channel_axis=axis, start_label=0)
