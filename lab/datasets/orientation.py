"""Which way a volume lies: the anatomical names of its axes and of its three planes, from a NIfTI affine.

World coordinates of NIfTI grow to the right, to the front and up (R, A, S), so an axis is named by the world axis along
which it runs and the side to which it grows. A volume without an affine is a stack of pages: axis 0 is depth, rows grow
downwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab import checks

SIDES = (("L", "R"), ("P", "A"), ("I", "S"))
WORDS = {"L": "left", "R": "right", "P": "back", "A": "front", "I": "below", "S": "above"}


@dataclass(frozen=True)
class Plane:
    """How one of the three planes through a volume is shown.

    ``axis`` is orthogonal to it, ``across`` runs from left to right and ``up`` from bottom to top of the picture; a
    ``_reversed`` one runs against the index. ``across_label`` and ``up_label`` name both ends.
    """

    name: str
    axis: int
    across: int
    up: int
    across_reversed: bool
    up_reversed: bool
    across_label: str
    up_label: str


def codes(affine) -> tuple[str, str, str]:
    """The side to which each axis grows, as ``("R", "A", "S")``; oblique axes go to the nearest world axis, each to
    another one.

    Args:
        affine: (4, 4) voxel-to-world matrix.

    Raises:
        ValueError: not (4, 4), not finite, or a column without length.
    """
    matrix = np.asarray(checks.tensor("affine", affine, shape=(4, 4)), float)[:3, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    if not (lengths > 0).all() or abs(np.linalg.det(matrix)) < 1e-12 * lengths.prod():
        raise ValueError("affine must be invertible, got axes without length or along each other")
    matrix = matrix / lengths
    found: list[str] = ["", "", ""]
    free_axes, free_sides = {0, 1, 2}, {0, 1, 2}
    while free_axes:
        side, axis = max(((s, a) for s in free_sides for a in free_axes), key=lambda pair: abs(matrix[pair]))
        found[axis] = SIDES[side][int(matrix[side, axis] > 0)]
        free_axes.discard(axis)
        free_sides.discard(side)
    return found[0], found[1], found[2]


def planes(affine=None) -> tuple[Plane, Plane, Plane]:
    """The axial, coronal and sagittal plane: right, front and top of the body are right and top of the picture."""
    if affine is None:
        return (
            Plane("axial", 0, 2, 1, False, True, "column", "row"),
            Plane("coronal", 1, 2, 0, False, True, "column", "slice"),
            Plane("sagittal", 2, 1, 0, False, True, "row", "slice"),
        )
    found = codes(affine)
    axis = [next(a for a, code in enumerate(found) if code in pair) for pair in SIDES]
    against = [found[a] == pair[0] for a, pair in zip(axis, SIDES)]
    label = [f"{WORDS[pair[0]]} to {WORDS[pair[1]]}" for pair in SIDES]
    named = (("axial", 2, 0, 1), ("coronal", 1, 0, 2), ("sagittal", 0, 1, 2))
    axial, coronal, sagittal = (
        Plane(name, axis[k], axis[h], axis[v], against[h], against[v], label[h], label[v]) for name, k, h, v in named
    )
    return axial, coronal, sagittal


def axis_labels(affine=None) -> tuple[str, str, str]:
    """A name for each axis: ``"left to right"`` along its index, or page, row and column."""
    if affine is None:
        return "page", "row", "column"
    opposite = {side: pair[1 - k] for pair in SIDES for k, side in enumerate(pair)}
    first, second, third = (f"{WORDS[opposite[code]]} to {WORDS[code]}" for code in codes(affine))
    return first, second, third
