"""Pairs of images or volumes of every kind, and the rows of the C++ code in the layout of the lab; behind the door."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def small_pair(draw, shape: tuple[int, ...], width: float):
    """One pair of any kind: noise, ties, plateaus, binary, 8-bit, 1-ulp gaps, constants; ``width`` of smooth ones."""
    real, binary = draw.random(shape), (draw.random(shape) > draw.random()).astype(float)
    field = ndimage.gaussian_filter(draw.standard_normal(shape), width)
    soft = 1 / (1 + np.exp(-2 * field / (field.std() or 1) - 0.3 * draw.standard_normal(shape)))
    levels = int(draw.integers(2, 7))
    makers = (
        lambda: (real, draw.random(shape)),
        lambda: (draw.integers(0, levels, shape) / 2, draw.integers(0, levels, shape) / 2),
        lambda: (real, binary),
        lambda: (binary, (draw.random(shape) > 0.5).astype(float)),
        lambda: (-soft, -(field > 0).astype(float)),
        lambda: (-np.round(255 * soft) / 255, -(field > 0.02).astype(float)),
        lambda: (np.full(shape, 0.5), binary),
        lambda: (real, real + draw.integers(-1, 2, shape) * np.spacing(real)),
        lambda: (real + 2, real),
        lambda: (draw.integers(0, 256, shape) / 255, -(field > 0).astype(float)),
        lambda: (np.round(field, 2), np.round(soft, 2)),
        lambda: (np.maximum(soft, 0.5), np.minimum(soft, 0.5)),
    )
    a, b = makers[draw.integers(len(makers))]()
    a, b = (b, a) if draw.random() < 0.3 else (a, b)
    return a + 0.0, b + 0.0


def rows_of_peer(result, shape):
    """The C++ code's result as voxel rows by dimension and kind."""
    step = np.cumprod([1, *shape[:0:-1]])[::-1]
    flat = lambda c: np.asarray(c).reshape(-1, len(shape)) @ step if len(c) else np.zeros(0, int)  # noqa: E731
    found = []
    for d in range(len(shape)):
        both = [
            flat(getattr(result, f"input{k}_matched_{end}_coordinates")[d])
            for k in (1, 2)
            for end in ("birth", "death")
        ]
        lone = [
            np.stack(
                [flat(getattr(result, f"input{k}_unmatched_{end}_coordinates")[d]) for end in ("birth", "death")], 1
            )
            for k in (1, 2)
        ]
        found.append((np.stack(both, 1), *lone))
    return found


def differing_rows(ours, theirs, shape) -> int:
    """Rows of voxels that one side has and the other has not."""
    _, voxels, counts = ours
    wrong, start = 0, 0
    wanted = rows_of_peer(theirs, shape)
    for d in range(len(shape)):
        for kind, columns in enumerate((slice(0, 4), slice(0, 2), slice(2, 4))):
            stop = start + counts[0, d, kind]
            mine = sorted(map(tuple, voxels[start:stop, columns].tolist()))
            other = sorted(map(tuple, wanted[d][kind].tolist()))
            wrong += len(set(mine) ^ set(other)) + abs(len(mine) - len(other))
            start = stop
    return wrong
