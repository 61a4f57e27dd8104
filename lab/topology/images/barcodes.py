"""Barcodes of images: components, loops and cavities of the level sets, each with the voxels where it begins and ends.

A feature of dimension ``d`` (0 components, 1 loops, 2 cavities) that appears at level ``birth`` and disappears at level
``death`` is a bar. Both levels are values of voxels, so the derivative of a bar with respect to the image is known: it
is one at these voxels and zero elsewhere. Bars of length zero are not listed; the component that never ends is listed
apart.

Source: Hubert Wagner, Chao Chen, Erald Vucini, 'Efficient Computation of Persistent Homology for Cubical Data', in:
Topological Methods in Data Analysis and Visualization II, 2012 (V-construction).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor

from lab import checks
from lab.kernels.precision import wide
from lab.topology.eager import eager
from lab.topology.images import convention

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    from jaxtyping import Float, Int

    from lab.topology.persistence.diagrams import Diagram
    from lab.topology.persistence.filtrations import Filtration

NAMES = ("components", "loops", "cavities")


@dataclass(frozen=True)
class Bar:
    """One bar; ``birth`` and ``death`` are numbers, the voxels flat C-order indices (-1: no end)."""

    dimension: int
    birth: float
    death: float
    birth_voxel: int
    death_voxel: int
    birth_cell: int
    death_cell: int
    side: str = ""

    @property
    def length(self) -> float:
        return abs(self.death - self.birth)


@dataclass(frozen=True, eq=False)
class Bars:
    """Bars of one dimension of one image.

    ``birth`` and ``death`` are gathered from the image and carry its gradient (integers as float64, half precision as
    float32); ``birth_voxel``
    and ``death_voxel`` are flat C-order indices into it (-1 for voxels of the frame). ``birth_cell`` and ``death_cell``
    number the cells themselves:
    :meth:`lab.topology.Matching.cycle` needs them. ``side`` is ``"prediction"`` or ``"label"`` in a matching.
    """

    dimension: int
    birth: Float[Tensor, " bars"]
    death: Float[Tensor, " bars"]
    birth_voxel: Int[Tensor, " bars"]
    death_voxel: Int[Tensor, " bars"]
    birth_cell: Int[Tensor, " bars"]
    death_cell: Int[Tensor, " bars"]
    side: str = ""

    def __len__(self) -> int:
        return len(self.birth)

    def __getitem__(self, index: int) -> Bar:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be below {len(self)}, got {index}")
        return Bar(
            self.dimension,
            float(self.birth[index]),
            float(self.death[index]),
            int(self.birth_voxel[index]),
            int(self.death_voxel[index]),
            int(self.birth_cell[index]),
            int(self.death_cell[index]),
            self.side,
        )

    def __iter__(self) -> Iterator[Bar]:
        return (self[index] for index in range(len(self)))

    @property
    def length(self) -> Float[Tensor, " bars"]:
        """How long each feature lives, in the unit of the image; positive."""
        return (self.death - self.birth).abs()

    def select(self, keep: Tensor) -> Bars:
        """The bars where the mask (or index) ``keep`` says so."""
        return Bars(
            self.dimension,
            self.birth[keep],
            self.death[keep],
            self.birth_voxel[keep],
            self.death_voxel[keep],
            self.birth_cell[keep],
            self.death_cell[keep],
            self.side,
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a bar: dimension, birth, death, length, birth_voxel, death_voxel."""
        import pandas as pd

        return pd.DataFrame(
            {
                "dimension": self.dimension,
                "birth": checks.array(self.birth),
                "death": checks.array(self.death),
                "length": checks.array(self.length),
                "birth_voxel": self.birth_voxel.cpu().numpy(),
                "death_voxel": self.death_voxel.cpu().numpy(),
            }
        )


@dataclass(frozen=True, eq=False)
class Barcode:
    """All bars of one image, ``barcode[d]`` for dimension ``d``, and the component that never ends in ``essential``."""

    bars: tuple[Bars, ...]
    essential: Bars
    shape: tuple[int, ...]
    filtration: str = "superlevel"
    border: str | None = None

    def __getitem__(self, dimension: int) -> Bars:
        return self.bars[dimension]

    def __len__(self) -> int:
        return len(self.bars)

    def betti_numbers(self, threshold: float) -> tuple[int, ...]:
        """Number of features of each dimension at ``threshold``: components (the endless one included), loops,
        cavities."""
        threshold = checks.number("threshold", threshold)
        if self.filtration == "superlevel":
            alive = [(bars.birth >= threshold) & (bars.death < threshold) for bars in self.bars]
            endless = (self.essential.birth >= threshold).sum()
        else:
            alive = [(bars.birth <= threshold) & (bars.death > threshold) for bars in self.bars]
            endless = (self.essential.birth <= threshold).sum()
        counts = [int(each.sum()) for each in alive]
        counts[0] += int(endless)
        return tuple(counts)

    def to_frame(self) -> pd.DataFrame:
        """One row a bar, all dimensions."""
        import pandas as pd

        return pd.concat([bars.to_frame() for bars in self.bars], ignore_index=True)


@overload
def barcode(x: Filtration, *, dimension: int | None = None) -> tuple[Diagram, ...]: ...
@overload
def barcode(
    x: torch.Tensor | np.ndarray | Sequence,
    *,
    dimension: int | None = None,
    filtration: str = "superlevel",
    border: str | None = None,
) -> Barcode: ...
@eager
def barcode(x, *, dimension=None, filtration="superlevel", border=None):
    """The barcode of one image, or of a filtration of points or a graph.

    Args:
        x: image with 1 to 3 axes, numpy or torch, any real dtype, read as it is; or a one-parameter filtration, which gives
            a :class:`lab.topology.Diagram` for each degree.
        dimension: leave out the dimensions above this one.
        filtration: ``"superlevel"`` (high values first, for probabilities) or ``"sublevel"``.
        border: ``None`` or ``"foreground"`` (see :mod:`lab.topology.images.convention`).

    Returns:
        ``Barcode``, or a filtration's diagrams by degree; its births and deaths are gathered from ``x`` and are differentiable.

    Raises:
        ValueError: NaN, infinite values, no voxel, wrong number of axes, unknown option. TypeError: complex, not
            numbers.
    """
    from lab.topology.persistence.filtrations import Filtration

    if isinstance(x, Filtration):
        from lab.topology.persistence.diagrams import barcodes

        return barcodes(x, dimension)
    convention.check_options(filtration, border)
    x = convention.image("x", x)
    top = checks.integer("dimension", x.ndim - 1 if dimension is None else dimension, low=0, high=x.ndim - 1)
    from lab.topology.images.batching import barcode_rows

    values = convention.sublevel(x, filtration, border)
    rows = barcode_rows(values[None])
    first = convention.first_voxel(x[None], filtration)
    cells, voxels = torch.from_numpy(rows.cells), torch.from_numpy(rows.voxels)
    voxels = convention.unframed(voxels, tuple(x.shape), border, first)
    ends = rows.counts[0].cumsum()
    level = gatherer(x)
    bars = []
    for d in range(top + 1):
        part = slice(ends[d] - rows.counts[0, d], ends[d])
        bars.append(gathered(d, cells[part, 0], cells[part, 1], voxels[part, 0], voxels[part, 1], level))
    essential = endless(torch.tensor([int(values.argmin())]), first.cpu(), level, filtration)
    return Barcode(tuple(bars), essential, tuple(x.shape), filtration, border)


def gatherer(x: Tensor):
    """The function voxel indices -> values of ``x``, differentiable; integers are read as float64, half precision as
    float32."""
    flat = x.reshape(-1)
    if not x.is_floating_point():
        flat = flat.to(torch.float64)
    return lambda index: wide(flat[index.to(flat.device)])


def gathered(dimension, birth_cell, death_cell, birth_voxel, death_voxel, level, side="") -> Bars:
    """Bars whose values are gathered by ``level`` from the image."""
    return Bars(
        dimension, level(birth_voxel), level(death_voxel), birth_voxel, death_voxel, birth_cell, death_cell, side
    )


def endless(cell, voxel, level, filtration, side="") -> Bars:
    """The component that never ends: it begins at the image's first value and has no last one (infinite death)."""
    birth = level(voxel)
    end = float("-inf") if filtration == "superlevel" else float("inf")
    death = torch.full_like(birth.detach(), end)
    return Bars(0, birth, death, voxel, torch.full_like(voxel, -1), cell, torch.full_like(cell, -1), side)
