"""Loops of Rips filtrations: strict edge order, collapse, triangles, reduction.

One and two parameters, and vertex births (slices), share everything: edges are ranked once by (value, id), so the
kernels compare integers, every birth and death names exactly one edge even when values tie, and an edge that is
collapsed away can never be named.
"""

from __future__ import annotations

import numpy as np

ROWS = 60_000  # edges left after the collapse; the reduced matrix then takes at most ROWS^2 / 16 bytes (225 MB)
PASSES = 3


def rips_loop_edges(matrix: np.ndarray) -> np.ndarray:
    """Births and deaths (k, 2) of H1 of the flag filtration of ``matrix`` (n, n), as flat positions i * n + j, i < j.

    Loops of length zero in the strict order are left out; loops whose edges have equal values are kept.
    """
    n = len(matrix)
    rank, first, second = ranked(matrix)
    rank, kept = collapsed(rank, first, second, ordered=False)
    columns = sorted_triangles(rank, by_vertex=False)
    from lab.kernels.flag import cpu

    *_, label = cpu.reduce_triangles(len(kept), columns)
    birth = np.flatnonzero(label > np.arange(len(label)))
    cells = first[kept] * n + second[kept]
    return np.stack([cells[birth], cells[label[birth]]], 1)


def collapsed_complex(filtration) -> tuple[np.ndarray, np.ndarray]:
    """Edges (k, 2), in lexicographic order, and triangles (m, 3) of a function-Rips bifiltration after the collapse.

    Homology in degree 1 of every grade, hence of every slice and every map between grades, is that of the whole."""
    from lab.kernels.flag import cpu

    order = np.argsort(filtration.f.detach().double().cpu().numpy(), kind="stable")
    rank, first, second = ranked(filtration.matrix()[np.ix_(order, order)])
    rank, kept = collapsed(rank, first, second, ordered=True)
    ends = np.sort(np.stack([order[first[kept]], order[second[kept]]], 1), axis=1)
    columns = cpu.triangles(rank)[:, :3]
    corners = np.sort(ends[columns].reshape(len(columns), 6), axis=1)[:, ::2]
    return ends[np.lexsort((ends[:, 1], ends[:, 0]))], corners


def ranked(matrix: np.ndarray):
    """Strict order of the edges: ``rank`` (n, n) int32 with -1 on the diagonal, and the ends of the edges in order."""
    n = len(matrix)
    first, second = np.triu_indices(n, 1)
    order = np.argsort(matrix[first, second], kind="stable")
    first, second = first[order], second[order]
    rank = np.full((n, n), -1, np.int32)
    rank[first, second] = rank[second, first] = np.arange(len(first), dtype=np.int32)
    return rank, first, second


def collapsed(rank, first, second, *, ordered: bool):
    """Collapse, then renumber: ``rank`` over the edges that are left, and their positions ``kept`` in the old order."""
    from lab.kernels.flag import cpu

    kept = np.arange(len(first))
    for _ in range(PASSES):
        down = kept[::-1]
        gone = cpu.collapse(rank, first[down], second[down], ordered)
        kept = kept[rank[first[kept], second[kept]] != cpu.ABSENT]
        if gone * 50 < len(kept):
            break
    if len(kept) > ROWS:
        raise ValueError(f"{len(kept)} edges are left after the collapse, more than {ROWS}: use fewer points")
    small = np.full_like(rank, cpu.ABSENT)
    np.fill_diagonal(small, -1)
    number = np.arange(len(kept), dtype=np.int32)
    small[first[kept], second[kept]] = small[second[kept], first[kept]] = number
    return small, kept


def sorted_triangles(rank, *, by_vertex: bool):
    """Triangles in the order of insertion: by longest edge, within each latest vertex if ``by_vertex``."""
    from lab.kernels.flag import cpu

    columns = cpu.triangles(rank)
    keys = (columns[:, 0], columns[:, 3]) if by_vertex else (columns[:, 0],)
    return np.ascontiguousarray(columns[np.lexsort(keys)])
