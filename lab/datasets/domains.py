"""Data of several domains: shifts of an image set, a table with a domain column, a folder of folders.

::

    rotated(degrees) noisy(sigma) blurred(sigma) contrast(factor) inverted() coloured(flip, label_noise)      -> Shift
    domains(points, shifts, disjoint=True, seed=0) -> Domains
    own_domains(path or table or frame, column=..., target=...) -> Domains
    Domains.leave_out(name) -> (sources, target)

A set is shifted as in DomainBed (I. Gulrajani, D. Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021): rotated MNIST
has six domains of 0, 15, ..., 75 degrees, coloured MNIST flips of .1, .2, .9, and no image stands in two domains.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from lab import checks
from lab.datasets.loading import as_table
from lab.datasets.moves import moved
from lab.datasets.sets import Domains as Domains
from lab.datasets.sets import Points, Table

ROTATIONS = (0, 15, 30, 45, 60, 75)
FLIPS = (0.1, 0.2, 0.9)


@dataclass(frozen=True)
class Shift:
    """One shift by name: ``apply(x, label, generator) -> (x, label)``."""

    name: str
    apply: Callable[[torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, torch.Tensor]]

    def __call__(self, points: Points, *, seed: int | torch.Generator = 0) -> Points:
        """The shifted set."""
        x = checks.tensor("points.x", points.x, ndim=4)
        if points.label is None:
            raise ValueError(f"{points.name or 'points'} has no labels, which a domain needs")
        x, label = self.apply(x, points.label, checks.generator(seed))
        classes = points.classes if label is points.label else ("first half", "second half")
        return Points(x, label, self.name, classes, (*points.notes, f"shift: {self.name}"))


def rotated(degrees: float) -> Shift:
    """Images turned counterclockwise about their centre."""
    angle = math.radians(checks.number("degrees", degrees, low=-360.0, high=360.0))
    return _of_images(f"{degrees:g} degrees", lambda x, generator: moved(x, angle))


def noisy(sigma: float) -> Shift:
    """White Gaussian noise of that standard deviation, cut at 0 and 1."""
    sigma = checks.number("sigma", sigma, low=0.0)
    noise = lambda x, generator: (x + sigma * torch.randn(x.shape, generator=generator, dtype=x.dtype)).clamp(0, 1)  # noqa: E731
    return _of_images(f"noise {sigma:g}", noise)


def blurred(sigma: float) -> Shift:
    """A Gaussian blur of ``sigma`` pixels, cut at four of them; the border pixel is repeated outside."""
    sigma = checks.number("sigma", sigma, low=0.0, open_low=True, high=50.0)
    radius = max(1, math.ceil(4 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    weights = weights / weights.sum()

    def blur(x, generator):
        flat = F.pad(x.reshape(-1, 1, *x.shape[2:]), [radius] * 4, mode="replicate")
        line = weights.to(x.dtype)
        return F.conv2d(F.conv2d(flat, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1)).reshape(x.shape)

    return _of_images(f"blur {sigma:g}", blur)


def contrast(factor: float) -> Shift:
    """Each image's distances from its own mean times ``factor``, cut at 0 and 1."""
    factor = checks.number("factor", factor, low=0.0)

    def scale(x, generator):
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        return torch.lerp(mean.expand_as(x), x, factor).clamp(0, 1)

    return _of_images(f"contrast {factor:g}", scale)


def inverted() -> Shift:
    """``1 - x``: dark becomes light."""
    return _of_images("inverted", lambda x, generator: 1 - x)


def coloured(flip: float, label_noise: float = 0.25) -> Shift:
    """Two classes (digits 0 to 4, 5 to 9) with a colour that agrees with the label but for a share ``flip`` of the images.

    The label is changed for a share ``label_noise`` first, so that colour predicts it better than shape where ``flip`` is smaller;
    the image stands in channel ``colour``, the other is 0. M. Arjovsky et al., "Invariant Risk Minimization", 2019, Section 5.1.
    """
    flip = checks.number("flip", flip, low=0.0, high=1.0)
    label_noise = checks.number("label_noise", label_noise, low=0.0, high=1.0)

    def colour(x, label, generator):
        if x.shape[1] != 1:
            raise ValueError(f"coloured needs images of one channel, got {x.shape[1]}")
        label = (label >= 5).long()
        label = label ^ (torch.rand(len(x), generator=generator) < label_noise).long()
        channel = label ^ (torch.rand(len(x), generator=generator) < flip).long()
        return x * F.one_hot(channel, 2).to(x.dtype)[:, :, None, None], label

    return Shift(f"colour flip {flip:g}", colour)


def _of_images(name, move) -> Shift:
    return Shift(name, lambda x, label, generator: (move(x, generator), label))


def domains(
    points: Points, shifts: Sequence[Shift], *, disjoint: bool = True, seed: int | torch.Generator = 0
) -> Domains:
    """One domain a shift of an image classification set.

    Args:
        points: images (items, channels, height, width) in [0, 1] with classes.
        shifts: what makes each domain.
        disjoint: every image stands in one domain (parts of equal size up to one item, drawn from ``seed``); else in all.
        seed: draws the parts, then each shift's noise in turn.

    Example:
        >>> from lab.datasets import load
        >>> domains(load("digits"), [rotated(0), rotated(30)]).names
        ('0 degrees', '30 degrees')
    """
    if not isinstance(points, Points):
        raise TypeError(f"points must be lab.datasets.Points, got {type(points).__name__}")
    shifts = tuple(shifts)
    if not all(isinstance(shift, Shift) for shift in shifts):
        raise TypeError("shifts must be made by rotated, noisy, blurred, contrast, inverted or coloured, or be a Shift")
    if points.label is None or len(points) < len(shifts):
        raise ValueError(f"points must have labels and at least {len(shifts)} items, got {len(points)}")
    generator = checks.generator(seed)
    rows: Sequence[torch.Tensor | slice] = [slice(None)] * len(shifts)
    if disjoint:
        rows = torch.randperm(len(points), generator=generator).tensor_split(max(1, len(shifts)))
    parts = tuple(
        shift(Points(points.x[part], points.label[part], points.name, points.classes), seed=generator)
        for shift, part in zip(shifts, rows)
    )
    note = "no image stands in two domains" if disjoint else "every image stands in every domain"
    return Domains(parts, points.name, parts[0].classes if parts else (), (*points.notes, note))


def own_domains(
    source, *, column: str | None = None, target: str | None = None, size: int | None = None, max_bytes: int = 2**30
) -> Domains:
    """A user's own domains: a table whose ``column`` names the domain of each row, or a folder ``<domain>/<class>/<image>``.

    Args:
        source: a path, a frame, or a ``Table``; a folder holds one folder a domain, each of them one folder a class.
        column: of a table: the domain column; it is no feature.
        target: of a table: the column to predict.
        size: of images: the side to which they are brought, by area averaging or bilinear enlargement; needed where they differ.
        max_bytes: refuse to decode more than this.

    Raises:
        ValueError: fewer than two domains, a class that no file stands for, files of different sizes without ``size``, anything
            that :func:`lab.datasets.load` refuses of a file.
    """
    if isinstance(source, (str, os.PathLike)) and Path(source).expanduser().is_dir():
        if column is not None or target is not None:
            raise ValueError("column and target are for tables, got a folder")
        from lab.datasets.classes import read_domains

        size = None if size is None else checks.integer("size", size, low=1, high=4096)
        return read_domains(Path(source).expanduser(), size, checks.integer("max_bytes", max_bytes, low=1))
    if size is not None:
        raise ValueError("size is for a folder of images, got a table")
    return _from_table(as_table(source, target), column)


def _from_table(table: Table, column) -> Domains:
    from dataclasses import replace

    if column is None:
        raise ValueError(f"column must name the domain column, one of {', '.join(map(str, table.frame.columns))}")
    checks.choice("column", column, list(table.frame.columns))
    if column == table.target:
        raise ValueError(f"column must differ from the target, got {column!r} for both")
    site = table.frame[column]
    if site.isna().any():
        raise ValueError(f"column {column!r} has {int(site.isna().sum())} empty cells; every row needs a domain")
    rest = replace(table, frame=table.frame.drop(columns=[column]))
    x, y, names = rest.numeric()
    assert y is not None
    levels = sorted(site.unique().tolist(), key=str)
    if len(levels) > max(2, len(site) // 2):
        raise ValueError(f"column {column!r} has {len(levels)} levels in {len(site)} rows: names of rows, not domains")
    masks = [torch.tensor((site == level).tolist()) for level in levels]
    parts = tuple(Points(x[mask], y[mask], str(level), rest.classes) for level, mask in zip(levels, masks))
    notes = (*rest.notes, f"domains: {column!r}", f"features: {', '.join(names)}")
    return Domains(parts, table.name, rest.classes, notes)
