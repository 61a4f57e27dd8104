"""The end of an elder pairing on the CPU: what rounds on a GPU leave over, one edge after the other."""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.cubical.images.cells import find


def finish(one: np.ndarray, other: np.ndarray, key: np.ndarray, nodes: np.ndarray, age: np.ndarray):
    """``(node, key)`` of every component that ends, by union-find over the edges in the order of their keys.

    Args:
        one, other: int64, the two components (their oldest nodes) that each edge joins.
        key: int64, the order of the edges.
        nodes: the components in increasing order, every one that occurs in ``one`` and ``other``.
        age: int64, for each of ``nodes``; the smaller the older.
    """
    order = np.argsort(key, kind="stable")
    first, second = np.searchsorted(nodes, one[order]), np.searchsorted(nodes, other[order])
    ended, edge = join(first, second, age)
    return nodes[ended], key[order[edge]]


@njit(cache=True, nogil=True)
def join(one, other, age):
    """The component that ends at each joining edge, and the edge, for edges in order."""
    parent = np.arange(len(age))
    ended, edge = np.empty(len(age), np.int64), np.empty(len(age), np.int64)
    used = 0
    for k in range(len(one)):
        i, j = find(parent, one[k]), find(parent, other[k])
        if i == j:
            continue
        if age[j] < age[i]:
            i, j = j, i
        parent[j] = i
        ended[used], edge[used] = j, k
        used += 1
    return ended[:used], edge[:used]


def warm():
    """Compile the kernel of this module."""
    one = np.zeros(1, np.int64)
    join(one, one, one)
