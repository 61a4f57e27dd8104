"""Delaunay triangulations of points in any position, doubled and collinear ones among them, as arrays of simplices."""

from __future__ import annotations

from itertools import combinations

import numpy as np


def simplices(points: np.ndarray) -> list[np.ndarray]:
    """Maximal simplices of a Delaunay triangulation, for any position of the points: arrays (count, vertices)."""
    from scipy.spatial import Delaunay

    unique, first, twin = np.unique(points, axis=0, return_index=True, return_inverse=True)
    twin = first[twin.reshape(-1)]
    double = np.flatnonzero(twin != np.arange(len(points)))
    hairs = [np.stack([twin[double], double], 1)]
    centred = unique - unique.mean(0)
    spread = np.abs(centred).max()
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    rank = int((singular > 1e-12 * len(unique) * spread).sum()) if spread > 0 else 0
    if rank == 0:
        found = first[:1, None]
    elif rank == 1:
        line = first[np.argsort(centred @ axes[0], kind="stable")]
        found = np.stack([line[:-1], line[1:]], 1)
    else:
        flat = centred if rank == points.shape[1] else centred @ axes[:rank].T
        triangulation = Delaunay(flat)
        found = first[triangulation.simplices]
        outside = triangulation.coplanar
        hairs.append(np.stack([first[outside[:, 2]], first[outside[:, 0]]], 1))
    groups = [found, *(hair for hair in hairs if len(hair))]
    return [np.sort(group.astype(np.int64), axis=1) for group in groups]


def faces(groups: list[np.ndarray], size: int) -> np.ndarray:
    """Distinct faces with ``size`` vertices, in lexicographic order."""
    found = [group[:, list(pick)] for group in groups for pick in combinations(range(group.shape[1]), size)]
    if not found:
        return np.zeros((0, size), np.int64)
    return np.unique(np.concatenate(found), axis=0)
