"""Both merge forests of one image: its bars, and the images of its holes in another one.

Survivors of :mod:`lab.kernels.cubical.images.contraction` in ascending order join basins of voxels
(:mod:`lab.kernels.cubical.images.components`), in descending order basins of squares (:mod:`lab.kernels.cubical.images.holes`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.images.cells import edge_value, square_values, stable_order
from lab.kernels.cubical.images.components import edge_voxels, merge_voxels
from lab.kernels.cubical.images.contraction import contract, square_basins, voxel_basins
from lab.kernels.cubical.images.holes import edge_squares, merge_squares, merge_squares_into
from lab.kernels.cubical.inner import inner


@inner
def plain_bars(f):
    """Bars of positive length of the image ``f``: rows (voxel, edge) and rows (edge, square)."""
    height, width = f.shape
    flat = f.ravel()
    up, across, edges = contract(f, np.bool_(True))
    order, levels = ordered(flat, width, edges)
    basin, roots = square_basins(across, height, width)
    sides = edge_squares(edges, basin, width)
    holes, rest = merge_squares(square_values(flat, height, width), edges, order, levels, sides, roots)
    basin, roots = voxel_basins(up, height, width)
    ends = edge_voxels(edges, basin, width)
    return merge_voxels(flat, edges, order, levels, ends, roots, rest), holes


@inner
def bars_and_images(f, c, ends_c, local):
    """Bars of ``f``, the squares in which the image bars of its holes end in ``c`` (-1: in none of ``ends_c``), and
    whether the walk stayed within its budget. ``c`` holds values of squares, ``ends_c`` the squares that end a hole of
    ``c``."""
    height, width = f.shape
    flat = f.ravel()
    up, across, edges = contract(f, local)
    order, levels = ordered(flat, width, edges)
    basin, roots = square_basins(across, height, width)
    sides = edge_squares(edges, basin, width)
    own = square_values(flat, height, width)
    holes, images, rest, done = merge_squares_into(
        flat, own, c, height, width, across, edges, order, levels, sides, basin, roots, ends_c, local
    )
    if not done:
        return holes, holes, images, False
    basin, roots = voxel_basins(up, height, width)
    ends = edge_voxels(edges, basin, width)
    return merge_voxels(flat, edges, order, levels, ends, roots, rest), holes, images, True


@njit(cache=True, nogil=True)
def prepare(f, local):
    """What the side of one image needs before another one is known; last its bars of dimension 0.

    Returns ``(across, edges, order, levels, basin, roots, sides, bars)``.
    """
    height, width = f.shape
    flat = f.ravel()
    up, across, edges = contract(f, local)
    order, levels = ordered(flat, width, edges)
    basin, roots = square_basins(across, height, width)
    sides = edge_squares(edges, basin, width)
    _, rest = merge_squares(square_values(flat, height, width), edges, order, levels, sides, roots)
    basin_0, roots_0 = voxel_basins(up, height, width)
    bars = merge_voxels(flat, edges, order, levels, edge_voxels(edges, basin_0, width), roots_0, rest)
    return across, edges, order, levels, basin, roots, sides, bars


@inner
def ordered(f, width, edges):
    values = np.empty(len(edges), np.float64)
    for k in range(len(edges)):
        values[k] = edge_value(f, width, edges[k])
    return stable_order(values)
