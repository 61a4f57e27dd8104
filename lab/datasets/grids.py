"""Whether two volumes show the same places: orientation, spacing and origin from their headers.

Axes that run in other directions are turned (a permutation and reversals, nothing is interpolated); another spacing, another
origin or a rotation is refused with both values, since voxel by voxel the two would show different places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from lab.datasets.orientation import codes

TOLERANCE = 0.05  # of a voxel, at the corners of the volume


@dataclass(frozen=True, eq=False)
class Placed:
    """An array with what its file says about its place: ``spacing`` is empty and ``affine`` ``None`` where it is silent."""

    values: torch.Tensor
    spacing: tuple[float, ...] = ()
    affine: np.ndarray | None = None
    colour: torch.Tensor | None = None
    notes: tuple[str, ...] = ()


def aligned(
    found: dict[str, Placed], name: str = "", *, turn: bool = True
) -> tuple[dict[str, Placed], tuple[str, ...]]:
    """The same arrays by role on the grid of the first that states one, and what was turned; ``turn=False`` refuses instead.

    Raises:
        ValueError: sizes, spacings, origins or directions that differ (both are named).
    """
    before = f"{name}: " if name else ""
    spatial = [role for role, one in found.items() if one.affine is not None and one.values.ndim == 3]
    notes, result = [], dict(found)
    for role in spatial[1:]:
        first = "".join(codes(found[spatial[0]].affine))
        own = "".join(codes(found[role].affine))
        if own != first and not turn:
            raise ValueError(
                f"{before}{spatial[0]} and {role} must have axes in the same directions, got {first} and {own} in their headers "
                "(R right, A front, S up); save both in one orientation"
            )
        if own != first:
            result[role] = reoriented(found[role], found[spatial[0]].affine)
            notes.append(f"{role}: axes turned from {own} to {first}, those of the {spatial[0]}")
    _same_size(result, before)
    for role in spatial[1:]:
        _same_places(spatial[0], result[spatial[0]], role, result[role], before)
    if spatial:
        said = f"no orientation stated; taken voxel by voxel on the grid of the {spatial[0]}"
        notes += [f"{role}: {said}" for role in found if role not in spatial]
    stated = [role for role, one in result.items() if one.spacing]
    for role in stated[1:]:
        a, b = result[stated[0]].spacing, result[role].spacing
        if role not in spatial and not np.allclose(a, b, rtol=1e-3):
            raise ValueError(
                f"{before}{stated[0]} and {role} must have the same spacing, got {_listed(a)} and {_listed(b)}"
            )
    return result, tuple(notes)


def reoriented(one: Placed, like) -> Placed:
    """``one`` with its axes in the order and directions of the affine ``like``."""
    from nibabel import orientations

    start, goal = (orientations.axcodes2ornt(codes(each)) for each in (one.affine, like))
    turn = orientations.ornt_transform(start, goal)
    shape = tuple(one.values.shape)
    affine = np.asarray(one.affine, float) @ orientations.inv_ornt_aff(turn, shape)
    values = torch.from_numpy(np.ascontiguousarray(orientations.apply_orientation(one.values.numpy(), turn)))
    order = np.argsort(turn[:, 0])  # the old axis behind each new one
    spacing = tuple(one.spacing[int(axis)] for axis in order) if one.spacing else ()
    return replace(one, values=values, affine=affine, spacing=spacing)


def _same_size(found, before) -> None:
    roles = list(found)
    for role in roles[1:]:
        if found[role].values.shape != found[roles[0]].values.shape:
            raise ValueError(
                f"{before}{roles[0]} and {role} must have the same size, got "
                f"{' x '.join(map(str, found[roles[0]].values.shape))} and {' x '.join(map(str, found[role].values.shape))}"
            )


def _same_places(first, one, second, other, before) -> None:
    """Refuse two grids whose corners lie apart by more than a fraction of a voxel, naming the cause."""
    a, b = np.asarray(one.affine, float), np.asarray(other.affine, float)
    lengths = np.linalg.norm(a[:3, :3], axis=0), np.linalg.norm(b[:3, :3], axis=0)
    corners = np.array(np.meshgrid(*((0, size - 1) for size in one.values.shape), indexing="ij")).reshape(3, -1)
    apart = np.linalg.norm((a - b)[:3, :3] @ corners + (a - b)[:3, 3:], axis=0).max()
    if apart <= TOLERANCE * lengths[0].min():
        return
    if not np.allclose(*lengths, rtol=1e-3):
        what, both = "spacing", (lengths[0], lengths[1])
    elif not np.allclose(a[:3, :3] / lengths[0], b[:3, :3] / lengths[1], atol=1e-3):
        raise ValueError(
            f"{before}{first} and {second} must lie in the same directions, but one is rotated against the other (their corners "
            f"lie up to {apart:.3g} mm apart); resample one onto the grid of the other"
        )
    else:
        what, both = "origin", (a[:3, 3], b[:3, 3])
    raise ValueError(
        f"{before}{first} and {second} must have the same {what}, got {_listed(both[0])} and {_listed(both[1])} mm (their corners "
        f"lie up to {apart:.3g} mm apart); resample one onto the grid of the other, or pass arrays to compare voxel by voxel"
    )


def _listed(values) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
