"""Where a feature lies: the voxels of a component, the voxels around a loop, the surface of a cavity.

A component that dies at an edge is the set of voxels joined to its birth voxel before that edge. A loop that is filled
by a square encloses the squares which are joined to that square after the loop's first edge; the cycle is the set of
voxels on the outline of these squares. In volumes cavities are enclosed likewise, by cubes; a loop is the cycle of
edges that the squares up to the one that fills it bound, by reduction up to that square. All are computed when asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lab.topology.images import convention
from lab.topology.images.barcodes import Bar

if TYPE_CHECKING:
    from jaxtyping import Int


@dataclass(frozen=True, eq=False)
class Cycle:
    """A feature's voxels as flat C-order indices into the image, sorted.

    ``voxels`` is the cycle itself: the component, the outline of the hole, the surface of the cavity. ``inside`` is
    what it encloses (empty for components, and for loops of volumes).
    """

    bar: Bar
    voxels: Int[Tensor, " voxels"]
    inside: Int[Tensor, " inside"]
    shape: tuple[int, ...]

    def mask(self) -> Tensor:
        """The cycle as a boolean image."""
        mask = torch.zeros(self.shape, dtype=torch.bool)
        mask.view(-1)[self.voxels] = True
        return mask


def cycle(x, bar: Bar, *, filtration: str = "superlevel", border: str | None = None) -> Cycle:
    """The cycle of one bar of the image ``x``, under the options with which the bar was computed.

    Args:
        x: the image whose bar it is, 1 to 3 axes.
        bar: a bar of ``barcode(x)[d]`` or of a matching's side.

    Raises:
        ValueError: a bar that does not belong to ``x`` (its cells lie outside), an unknown option.
    """
    convention.check_options(filtration, border)
    x = convention.image("x", x)
    values = convention.sublevel(x, filtration, border)
    if not 0 <= bar.birth_cell < 3 * values.size or bar.death_cell >= 3 * values.size:
        raise ValueError(
            f"bar must be a bar of x, got cells {bar.birth_cell} and {bar.death_cell} for {values.size} voxels"
        )
    if bar.death_cell < 0:
        voxels, inside = np.arange(values.size), np.empty(0, np.int64)
    elif values.ndim == 3:
        from lab.kernels.cubical.volumes import pipeline

        voxels, inside = pipeline.cycle(values, bar.dimension, bar.birth_cell, bar.death_cell)
    else:
        from lab.kernels.cubical.images import representatives

        plane = values.reshape(-1, values.shape[-1])
        voxels, inside = representatives.cycle(plane, bar.dimension, bar.birth_cell, bar.death_cell)
    return Cycle(bar, _inside(voxels, x.shape, border), _inside(inside, x.shape, border), tuple(x.shape))


def _inside(voxels, shape, border) -> Tensor:
    index = convention.unframed(torch.from_numpy(np.sort(voxels)).long(), tuple(shape), border, torch.tensor([-1]))
    return index[index >= 0]
