r"""Features of volumes as drawings: loops as closed curves, components and cavities as surfaces.

:meth:`lab.topology.Matching.cycle` gives a feature as the set of voxels that the reduction finds. For the eye it is cut
to what a picture needs, each time from the volume and the bar alone, when asked:

- A **loop** is a shortest closed path through the edge with which it begins. All other edges of the path enter before
  this one, so that the loop's first edge is the path's last: no chain of squares that enter before the loop's last
  square bounds such a path, since the boundaries of these squares have other last edges. The path goes around the loop
  for as long as the bar lasts. Among the shortest paths it takes the one that keeps to early values (the middle of a
  vessel).
- A **component** is drawn as it is midway through its life: the voxels joined to its first voxel at the level
  ``birth + at (death - birth)``. Just before its end a component of a mask holds half the background.
- A **cavity** is drawn as what is hollow at that level: the voxels joined, through faces, edges or corners, to the last
  one that is filled.

Surfaces are marching cubes around the voxels. Lengths of a voxel enter here and nowhere else: no matching depends on
them.

Sources: William E. Lorensen, Harvey E. Cline, 'Marching Cubes', SIGGRAPH 1987; on shortest cycles through the edge of a
birth: Tamal K. Dey, Tao Hou, Sayan Mandal, 'Persistent 1-Cycles: Definition, Computation, and Its Application', 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lab import checks
from lab.topology import images
from lab.topology.barcodes import Bar
from lab.topology.matching import Matching

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_FACES = tuple(step for step in product((-1, 0, 1), repeat=3) if sum(map(abs, step)) == 1)
_ALL = tuple(step for step in product((-1, 0, 1), repeat=3) if any(step))


@dataclass(frozen=True, eq=False)
class Curve:
    """A loop as a closed line: ``points[k]`` to ``points[k + 1]``, the last point is the first again.

    ``points`` are centres of voxels times the spacing; ``voxels`` their flat C-order indices in the same order, without
    the repeated one (and without those of a frame).
    """

    bar: Bar
    points: Float[Tensor, "points 3"]
    voxels: Int[Tensor, " voxels"]

    @property
    def length(self) -> float:
        """The line's length in the unit of the spacing."""
        return float((self.points[1:] - self.points[:-1]).norm(dim=1).sum())


@dataclass(frozen=True, eq=False)
class Surface:
    """A component or a cavity as a closed triangle mesh around ``voxels`` (flat C-order indices).

    ``vertices`` are in the unit of the spacing, the centre of voxel (0, 0, 0) at the origin; ``faces`` are rows of three
    vertex indices. ``level`` is the value at which the feature was cut, ``step`` how many voxels an axis one block of the
    mesh has (1: every voxel).
    """

    bar: Bar | None
    vertices: Float[Tensor, "vertices 3"]
    faces: Int[Tensor, "faces 3"]
    voxels: Int[Tensor, " voxels"]
    level: float
    step: int = 1


def drawing(found: Matching, bar: Bar, *, spacing: Sequence[float] = (1.0, 1.0, 1.0), at: float = 0.5,
            most: int = 64) -> Curve | Surface:
    """One bar of a matching of volumes as what is drawn: a :class:`Curve` or a :class:`Surface`.

    Args:
        found: a matching of volumes (three axes).
        bar: a bar of one of its sides.
        spacing: lengths of a voxel along the three axes.
        at: the level at which surfaces are cut, as share of the way from birth to death, in [0, 1).
        most: a surface whose box is longer than this many voxels is made of blocks, so that it is drawn quickly.

    Raises:
        ValueError: no volumes, a bar without a side, an argument out of range.
    """
    side = checks.choice("bar.side", bar.side, ("prediction", "label"))
    x = getattr(found, side)
    if bar.dimension == 1:
        return curve(x, bar, spacing=spacing, filtration=found.filtration, border=found.border)
    return surface(x, bar, spacing=spacing, at=at, most=most, filtration=found.filtration, border=found.border)


def curve(x, bar: Bar, *, spacing: Sequence[float] = (1.0, 1.0, 1.0), filtration: str = "superlevel",
          border: str | None = None) -> Curve:
    """A loop of the volume ``x`` as a shortest closed path through its first edge.

    Args:
        x: the volume whose bar it is.
        bar: a bar of dimension 1 of ``barcode(x)`` or of a matching's side, under the same options.
        spacing: lengths of a voxel; they scale the points and do not choose the path.

    Raises:
        ValueError: ``x`` has not three axes, the bar is no loop of ``x``, a spacing is not positive.
    """
    x, values, spacing = _volume(x, filtration, border, spacing)
    if bar.dimension != 1:
        raise ValueError(f"bar must be a loop (dimension 1), got dimension {bar.dimension}; use surface")
    path = _closed_path(values, bar.birth_cell)
    if path is None:
        raise ValueError(f"bar must be a loop of x, but nothing closes at its first edge {bar.birth_cell}")
    shift = 0 if border is None else 1
    places = np.stack(np.unravel_index(path, values.shape), axis=1) - shift
    points = places[np.r_[: len(places), 0]] * spacing
    inside = ((places >= 0) & (places < np.array(x.shape))).all(axis=1)
    voxels = np.ravel_multi_index(tuple(places[inside].T), tuple(x.shape))
    return Curve(bar, torch.from_numpy(points), torch.from_numpy(voxels))


def surface(x, bar: Bar, *, spacing: Sequence[float] = (1.0, 1.0, 1.0), at: float = 0.5, most: int = 64,
            filtration: str = "superlevel", border: str | None = None) -> Surface:
    """A component or a cavity of the volume ``x`` as a closed mesh, cut at the share ``at`` of its life.

    Args and refusals as of :func:`drawing` and :func:`curve`.
    """
    x, values, spacing = _volume(x, filtration, border, spacing)
    at = checks.number("at", at, low=0.0, high=1.0)
    if at == 1.0:
        raise ValueError("at must be below 1, where the feature has ended; Matching.cycle gives its voxels just before")
    if bar.dimension not in (0, 2) or bar.death_cell < 0:
        raise ValueError(f"bar must be a component that ends or a cavity, got dimension {bar.dimension}; loops are curves")
    level = bar.birth + at * (bar.death - bar.birth)
    cut = -level if filtration == "superlevel" else level
    if bar.dimension == 0:
        inside = _joined(values, bar.birth_cell, values <= cut, _FACES)
    else:
        start = _last_voxel(values, bar.death_cell)
        inside = _joined(values, start, values > cut, _ALL)
    if border is not None:
        inside = inside[1:-1, 1:-1, 1:-1]
    if not inside.any():
        raise ValueError("bar must be a bar of x under these options, but nothing lies at its place")
    vertices, faces, step = mesh(inside, spacing=spacing, most=most)
    return Surface(bar, vertices, faces, torch.from_numpy(np.flatnonzero(inside)), float(level), step)


def mesh(mask, *, spacing: Sequence[float] = (1.0, 1.0, 1.0), most: int = 64) -> tuple[Tensor, Tensor, int]:
    """``(vertices, faces, step)`` of a closed surface around the true voxels, by marching cubes.

    ``step > 1`` voxels an axis are one block, foreground if any of them is, where the box of the mask is longer than
    ``most``.
    """
    from skimage.measure import marching_cubes

    mask = checks.tensor("mask", mask, ndim=3).cpu().numpy() > 0
    spacing = _lengths(spacing)
    most = checks.integer("most", most, low=4)
    if not mask.any():
        return torch.zeros(0, 3, dtype=torch.float64), torch.zeros(0, 3, dtype=torch.long), 1
    box = tuple(slice(*_ends(mask.any(axis=tuple(a for a in range(3) if a != axis)))) for axis in range(3))
    low = np.array([part.start for part in box], float)
    mask = mask[box]
    step = int(-(-max(mask.shape) // most))
    if step > 1:
        mask = np.pad(mask, [(0, -length % step) for length in mask.shape])
        blocks = [part for length in mask.shape for part in (length // step, step)]
        mask = mask.reshape(blocks).any(axis=(1, 3, 5))
    vertices, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5, allow_degenerate=False)
    vertices = ((vertices - 1) * step + (step - 1) / 2 + low) * spacing
    return torch.from_numpy(vertices), torch.from_numpy(faces.astype(np.int64)), step


def _volume(x, filtration, border, spacing):
    images.check_options(filtration, border)
    x = images.image("x", x, ndim=3)
    return x, images.sublevel(x, filtration, border), _lengths(spacing)


def _lengths(spacing):
    lengths = np.asarray(tuple(spacing), float)
    if lengths.shape != (3,) or not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError(f"spacing must be three positive lengths, got {tuple(spacing)}")
    return lengths


def _ends(line):
    found = np.flatnonzero(line)
    return int(found[0]), int(found[-1]) + 1


def _last_voxel(values, cube):
    """The voxel of a cube that is filled last."""
    corners = np.array(np.unravel_index(cube, values.shape)) + np.array(list(product((0, 1), repeat=3)))
    return int(np.ravel_multi_index(tuple(corners[np.argmax(values[tuple(corners.T)])]), values.shape))


def _joined(values, start, allowed, steps):
    """The mask of the allowed voxels that ``steps`` join to ``start``, grown shell by shell."""
    padded = np.pad(allowed, 1)
    shape = padded.shape
    moves = _moves(steps, shape)
    free = padded.ravel()
    seed = np.ravel_multi_index(tuple(np.array(np.unravel_index(start, values.shape)) + 1), shape)
    seen = np.zeros(free.size, bool)
    if free[seed]:
        seen[seed] = True
        front = np.array([seed])
        while len(front):
            front = (front[:, None] + moves).ravel()
            front = np.unique(front[free[front] & ~seen[front]])
            seen[front] = True
    return seen.reshape(shape)[1:-1, 1:-1, 1:-1]


def _moves(steps, shape):
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    return np.array(steps) @ strides


def _closed_path(values, edge):
    """Voxels of a shortest path between the ends of ``edge`` along edges before it, or ``None`` where there is none."""
    padded = np.pad(values, 1, constant_values=np.inf)
    shape, flat = padded.shape, padded.ravel()
    moves = _moves(((1, 0, 0), (0, 1, 0), (0, 0, 1)), shape)
    anchor, axis = divmod(int(edge), 3)
    first = int(np.ravel_multi_index(tuple(np.array(np.unravel_index(anchor, values.shape)) + 1), shape))
    last, code = first + int(moves[axis]), 3 * first + axis
    level = max(flat[first], flat[last])
    parent = np.full(flat.size, -1)
    parent[first] = first
    front, cost = np.array([first]), np.zeros(1)
    while len(front) and parent[last] < 0:
        reached, origin, total = [], [], []
        for direction, move in enumerate(moves):
            for sign in (1, -1):
                there = front + sign * move
                value = np.maximum(flat[front], flat[there])
                number = 3 * np.minimum(front, there) + direction
                free = (parent[there] < 0) & ((value < level) | ((value == level) & (number < code)))
                reached.append(there[free])
                origin.append(front[free])
                total.append(cost[free] + flat[there[free]])
        reached, origin, total = (np.concatenate(parts) for parts in (reached, origin, total))
        order = np.lexsort((total, reached))
        front, kept = np.unique(reached[order], return_index=True)
        cost = total[order][kept]
        parent[front] = origin[order][kept]
    if parent[last] < 0:
        return None
    path = [last]
    while path[-1] != first:
        path.append(int(parent[path[-1]]))
    places = np.stack(np.unravel_index(np.array(path), shape), axis=1) - 1
    return np.ravel_multi_index(tuple(places.T), values.shape)
