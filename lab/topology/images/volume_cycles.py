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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lab import checks
from lab.topology.images import convention
from lab.topology.images.barcodes import Bar
from lab.topology.images.matching import Matching

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_FACES = tuple(step for step in product((-1, 0, 1), repeat=3) if sum(map(abs, step)) == 1)
_AROUND = tuple(step for step in product((-1, 0, 1), repeat=3) if any(step))
_CORNERS = tuple(product((0, 1), repeat=3))


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


def drawing(
    found: Matching, bar: Bar, *, spacing: Sequence[float] = (1.0, 1.0, 1.0), at: float = 0.5, most: int = 64
) -> Curve | Surface:
    """One bar of a matching of volumes as what is drawn: a :class:`Curve` or a :class:`Surface`.

    Args:
        found: a matching of volumes (three axes).
        bar: a bar of one of its sides.
        spacing: lengths of a voxel along the three axes; they scale points and choose no path.
        at: the level at which surfaces are cut, as share of the way from birth to death, in [0, 1).
        most: a surface whose box is longer than this many voxels is made of blocks, so that it is drawn quickly.

    Raises:
        ValueError: no volumes, a bar without a side, an argument out of range.
    """
    return drawings(found, [bar], spacing=spacing, at=at, most=most)[0]


def drawings(
    found: Matching, bars: Iterable[Bar], *, spacing: Sequence[float] = (1.0, 1.0, 1.0), at: float = 0.5, most: int = 64
) -> list[Curve | Surface]:
    """:func:`drawing` of many bars of one matching; each side's volume is prepared once."""
    sides: dict[str, _Levels] = {}
    result = []
    for bar in bars:
        side = checks.choice("bar.side", bar.side, ("prediction", "label"))
        if side not in sides:
            sides[side] = _Levels(getattr(found, side), found.filtration, found.border, spacing)
        result.append(sides[side].curve(bar) if bar.dimension == 1 else sides[side].surface(bar, at, most))
    return result


def curve(
    x,
    bar: Bar,
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    filtration: str = "superlevel",
    border: str | None = None,
) -> Curve:
    """A loop of the volume ``x`` as a shortest closed path through its first edge.

    Args:
        x: the volume whose bar it is.
        bar: a bar of dimension 1 of ``barcode(x)`` or of a matching's side, under the same options.

    Raises:
        ValueError: ``x`` has not three axes, the bar is no loop of ``x``, a spacing is not positive.
    """
    return _Levels(x, filtration, border, spacing).curve(bar)


def surface(
    x,
    bar: Bar,
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    at: float = 0.5,
    most: int = 64,
    filtration: str = "superlevel",
    border: str | None = None,
) -> Surface:
    """A component or a cavity of the volume ``x`` as a closed mesh, cut at the share ``at`` of its life.

    Arguments and refusals as of :func:`drawing` and :func:`curve`.
    """
    return _Levels(x, filtration, border, spacing).surface(bar, at, most)


def mesh(mask, *, spacing: Sequence[float] = (1.0, 1.0, 1.0), most: int = 64) -> tuple[Tensor, Tensor, int]:
    """``(vertices, faces, step)`` of a closed surface around the true voxels, by marching cubes; faces turn outwards.

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
    return torch.from_numpy(vertices), torch.from_numpy(faces[:, ::-1].astype(np.int64)), step


class _Levels:
    """One volume in sublevel form inside a rim that is never entered; flat indices ``places`` are those of this array."""

    def __init__(self, x, filtration, border, spacing):
        convention.check_options(filtration, border)
        self.x = convention.image("x", x, ndim=3)
        self.spacing = _lengths(spacing)
        self.sign = -1.0 if filtration == "superlevel" else 1.0
        self.frame = int(border is not None)
        inner = convention.sublevel(self.x, filtration, border)
        self.cells = inner.shape
        self.values = np.pad(inner, 1, constant_values=np.inf)
        self.flat = self.values.ravel()
        self.inner = np.pad(np.ones(inner.shape, bool), 1)

    def curve(self, bar: Bar) -> Curve:
        if bar.dimension != 1:
            raise ValueError(f"bar must be a loop (dimension 1), got dimension {bar.dimension}; use surface")
        anchor, axis = divmod(bar.birth_cell, 3)
        path = _closed_path(self.flat, _moves(_AXES, self.values.shape), self.place(anchor), axis)
        if path is None:
            raise ValueError(f"bar must be a loop of x, but nothing closes at its first edge {bar.birth_cell}")
        places = np.stack(np.unravel_index(path, self.values.shape), axis=1) - 1 - self.frame
        points = places[np.r_[: len(places), 0]] * self.spacing
        inside = ((places >= 0) & (places < np.array(self.x.shape))).all(axis=1)
        voxels = np.ravel_multi_index(tuple(places[inside].T), tuple(self.x.shape))
        return Curve(bar, torch.from_numpy(points), torch.from_numpy(voxels))

    def surface(self, bar: Bar, at: float, most: int) -> Surface:
        at = checks.number("at", at, low=0.0, high=1.0)
        if at == 1.0:
            raise ValueError("at must be below 1, where the feature ends; Matching.cycle gives its voxels just before")
        if bar.dimension not in (0, 2) or bar.death_cell < 0:
            raise ValueError(
                f"bar must be a component that ends or a cavity, got dimension {bar.dimension}; loops are curves"
            )
        level = bar.birth + at * (bar.death - bar.birth)
        if bar.dimension == 0:
            inside = _joined(
                self.flat <= self.sign * level, self.place(bar.birth_cell), _moves(_FACES, self.values.shape)
            )
        else:
            corners = self.place(bar.death_cell) + _moves(_CORNERS, self.values.shape)
            hollow = (self.flat > self.sign * level) & self.inner.ravel()
            inside = _joined(hollow, corners[np.argmax(self.flat[corners])], _moves(_AROUND, self.values.shape))
        margin = slice(1 + self.frame, -1 - self.frame)
        inside = inside.reshape(self.values.shape)[margin, margin, margin]
        if not inside.any():
            raise ValueError("bar must be a bar of x under these options, but nothing lies at its place")
        vertices, faces, step = mesh(inside, spacing=self.spacing, most=most)
        return Surface(bar, vertices, faces, torch.from_numpy(np.flatnonzero(inside)), float(level), step)

    def place(self, cell: int) -> int:
        """The flat index, inside the rim, of a voxel or of a cell's anchor."""
        if not 0 <= cell < np.prod(self.cells):
            raise ValueError(
                f"bar must be a bar of x under these options, got cell {cell} for {np.prod(self.cells)} voxels"
            )
        return int(np.ravel_multi_index(tuple(np.array(np.unravel_index(cell, self.cells)) + 1), self.values.shape))


def _lengths(spacing):
    lengths = np.asarray(tuple(spacing), float)
    if lengths.shape != (3,) or not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError(f"spacing must be three positive lengths, got {tuple(spacing)}")
    return lengths


def _ends(line):
    found = np.flatnonzero(line)
    return int(found[0]), int(found[-1]) + 1


def _moves(steps, shape):
    return np.array(steps) @ np.array([shape[1] * shape[2], shape[2], 1])


def _joined(allowed, start, moves):
    """The flat mask of the allowed places that ``moves`` join to ``start``, grown shell by shell."""
    seen = np.zeros(allowed.size, bool)
    front = np.array([start])[allowed[[start]]]
    seen[front] = True
    while len(front):
        front = (front[:, None] + moves).ravel()
        front = np.unique(front[allowed[front] & ~seen[front]])
        seen[front] = True
    return seen


def _closed_path(flat, moves, first, axis):
    """Places of a shortest path between the ends of the edge from ``first`` along ``axis``, along edges before it in the
    order (value, anchor, axis); of several the one of the least sum of values. ``None`` where there is none."""
    last, code = first + int(moves[axis]), 3 * first + axis
    level = max(flat[first], flat[last])
    parent = np.full(flat.size, -1)
    parent[first] = first
    front, cost = np.array([first]), np.zeros(1)
    while len(front) and parent[last] < 0:
        reached, origin, total = [], [], []
        for direction, move in enumerate(moves):
            for there in (front + move, front - move):
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
    return np.array(path)
