r"""Barcodes and Betti matching of a batch in dimension 0 and in the top dimension, in torch operations on any device.

Both dimensions are one problem, *elder pairing*: nodes with an age, edges with an order; while edges are added in their
order, components merge, and of two merging components the one whose oldest node is younger ends. The nodes are voxels
(the oldest the smallest by (value, position)) and the edges grid edges in dimension 0; in the top dimension d - 1 the
nodes are squares (cubes of a volume) and the outside, the edges are the cells between them in descending order (duality).

Elder pairing by rounds: every component takes its first outgoing edge. Below that edge the component is complete, and
beyond the edge waits another one, so if that one is older now, it is older when they meet: the component ends at this very
edge. All such components are joined to their elders at once; the rest waits for the next round. The result depends on
the two orders alone, not on how the rounds are scheduled.

A matching needs five pairings a dimension: of the prediction a, of the label b, of c = min(a, b), and two mixed ones
for the images of bars: nodes as old as in a (b) with edges in the order of c in dimension 0, nodes as old as in c with edges
in the order of a (b) in the top dimension. Bars of a and b are matched when their images meet in one bar of c that is not
empty.

Source: Nico Stucki, Johannes C. Paetzold, Suprosanna Shit, Bjoern Menze, Ulrich Bauer, 'Topologically Faithful Image
Segmentation via Induced Matching of Persistence Barcodes', ICML 2023, section 3; the rounds are those of Otakar
Boruvka's spanning tree (1926) with an age.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch

NEVER = torch.iinfo(torch.int64).max
"""The key of a node that does not end."""
CODES = 32
"""A key is a cell's level in its high bits and its code in the low 32; the dual order is that of ``~key``."""

Pairing = Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor]


@dataclass(frozen=True)
class Grid:
    """Codes and positions of the cells of an image or volume ``shape`` (C-order; sizes of at least 1).

    A voxel, a square of an image and a cube of a volume are numbered by their lowest corner; ``outside`` is one more. An
    edge is ``axes * corner + axis``. A square of a volume is ``3 * corner + axis`` with the axis it is orthogonal to.
    """

    shape: tuple[int, ...]

    @property
    def axes(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def outside(self) -> int:
        return self.size

    def steps(self) -> list[int]:
        return [math.prod(self.shape[axis + 1 :]) for axis in range(self.axes)]

    def spans(self, kind: int, dual: bool) -> tuple[int, ...]:
        """Axes along which an edge (with ``dual``: a cell of dimension d - 1) of the ``kind`` lies."""
        if not dual or self.axes == 2:
            return (kind,)
        return tuple(axis for axis in range(3) if axis != kind)

    def across(self, kind: int) -> int:
        """The axis that is orthogonal to a cell of dimension d - 1 of the ``kind``."""
        return 1 - kind if self.axes == 2 else kind

    def corners(self, spans) -> list[int]:
        """Steps from the lowest corner of a cell to its corners, the far one last."""
        steps = self.steps()
        return [
            sum(step for step, used in zip([steps[axis] for axis in spans], bits) if used)
            for bits in product((0, 1), repeat=len(spans))
        ]

    def inside(self, spans, device) -> torch.Tensor:
        """Whether each position is the lowest corner of a cell along ``spans``: (size,)."""
        found = torch.ones(self.shape, dtype=torch.bool, device=device)
        for axis in spans:
            found.narrow(axis, self.shape[axis] - 1, 1).fill_(False)
        return found.flatten()


def levels(*fields: torch.Tensor) -> list[torch.Tensor]:
    """Whole numbers (int32) in the order of the values, on one scale for all ``fields``: the bits of float32, or ranks
    where float32 does not hold the values."""
    narrow = [field.to(torch.float32) + 0.0 for field in fields]
    if all(
        field.dtype in (torch.float32, torch.float16, torch.bfloat16) or bool((one.to(field.dtype) == field).all())
        for one, field in zip(narrow, fields)
    ):
        bits = [one.contiguous().view(torch.int32) for one in narrow]
        return [each ^ ((each >> 31) & 0x7FFFFFFF) for each in bits]
    known, ranks = torch.unique(torch.cat([field.flatten() for field in fields]), return_inverse=True)
    parts = ranks.to(torch.int32).split([field.numel() for field in fields])
    return [part.reshape(field.shape) for part, field in zip(parts, fields)]


def tops(level: torch.Tensor) -> torch.Tensor:
    """Levels of squares (cubes) at their lowest corner, (items, size); meaningless where there is none."""
    found = level
    for axis in range(1, level.ndim):
        found = torch.maximum(found, found.roll(-1, axis))
    return found.flatten(1)


def edges(level: torch.Tensor, dual: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``(one, other, key)`` of every edge of a batch of levels: its nodes (numbered through the batch) and its key."""
    items, grid = len(level), Grid(tuple(level.shape[1:]))
    flat, nodes, steps = level.flatten(1).long(), grid.size + 1, grid.steps()
    everywhere = torch.arange(grid.size, device=level.device)
    found = []
    for kind in range(grid.axes):
        spans = grid.spans(kind, dual)
        place = everywhere[grid.inside(spans, level.device)]
        value = torch.stack([flat[:, place + corner] for corner in grid.corners(spans)]).amax(0)
        key = (value << CODES) | (grid.axes * place + kind)
        if dual:
            step = steps[grid.across(kind)]
            whole = grid.inside(range(grid.axes), level.device)
            first = place // step % grid.shape[grid.across(kind)] == 0
            one = torch.where(whole[place], place, grid.outside)
            other = torch.where(first, grid.outside, place - step)
            key = ~key
        else:
            one, other = place, place + steps[kind]
        offset = nodes * torch.arange(items, device=level.device)[:, None]
        found.append(((one + offset).flatten(), (other + offset).flatten(), key.flatten()))
    one, other, key = (torch.cat(parts) for parts in zip(*found))
    kept = one != other
    return one[kept], other[kept], key[kept]


def ages(level: torch.Tensor, dual: bool) -> torch.Tensor:
    """Keys of all nodes (items * (size + 1),): the smaller the older; the outside is the oldest."""
    items, size = len(level), level[0].numel()
    value = (tops(level) if dual else level.flatten(1)).long()
    key = (value << CODES) | torch.arange(size, device=level.device)
    last = torch.full((items, 1), torch.iinfo(torch.int64).min if dual else NEVER, device=level.device)
    return torch.cat([~key if dual else key, last], 1).flatten()


def pairing(nodes: torch.Tensor, order: torch.Tensor, dual: bool) -> torch.Tensor:
    """The key of the edge at which each node ends, (items, size + 1), :data:`NEVER` for those that do not.

    Args:
        nodes: levels (items, axes...) that give the nodes their age.
        order: levels of the same shape that give the edges their order.
        dual: squares (cubes) and descending edges instead of voxels and ascending ones.
    """
    items, count = len(nodes), nodes[0].numel() + 1
    age = ages(nodes, dual)
    one, other, key = edges(order, dual)
    parent = torch.arange(len(age), device=age.device)
    ends = torch.full_like(age, NEVER)
    while len(key):
        first = torch.full_like(age, NEVER).scatter_reduce_(0, one, key, "amin").scatter_reduce_(0, other, key, "amin")
        for mine, theirs in ((one, other), (other, one)):
            joins = (first[mine] == key) & (age[theirs] < age[mine])
            parent[mine[joins]], ends[mine[joins]] = theirs[joins], key[joins]
        while not torch.equal(parent, parent[parent]):
            parent = parent[parent]
        one, other = parent[one], parent[other]
        open_ = one != other
        one, other, key = one[open_], other[open_], key[open_]
    return ends.reshape(items, count)


@dataclass(frozen=True)
class Bars:
    """Bars that are not empty: ``node`` that ends (numbered through the batch), ``key`` of its edge."""

    node: torch.Tensor
    key: torch.Tensor


def bars(level: torch.Tensor, ends: torch.Tensor, dual: bool) -> Bars:
    """The bars of one pairing of ``level`` with itself."""
    size = level[0].numel()
    value = tops(level) if dual else level.flatten(1)
    mine = ends[:, :size]
    found = torch.nonzero((mine != NEVER) & (((~mine if dual else mine) >> CODES) != value))
    return Bars(found[:, 0] * (size + 1) + found[:, 1], mine[found[:, 0], found[:, 1]])


def barcodes(images: torch.Tensor, pair: Pairing = pairing) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``cells``, ``voxels`` (rows, 2) and ``counts`` (items, 2), birth before death; rows by item and dimension."""
    (level,) = levels(images)
    grid, parts = Grid(tuple(images.shape[1:])), []
    for dual in (False, True):
        found = bars(level, pair(level, level, dual), dual)
        cells, voxels = _located(level, grid, found.node, found.key, dual)
        parts.append((found.node // (grid.size + 1), cells, voxels))
    return _table(len(images), [[part] for part in parts])


def matching(predictions: torch.Tensor, labels: torch.Tensor, pair: Pairing = pairing):
    """``cells``, ``voxels`` (rows, 4) and ``counts`` (items, 2, 3): rows by item, dimension and kind (matched, only in the
    prediction, only in the label), columns prediction birth and death, label birth and death, -1 where a side is absent."""
    a, b = levels(predictions, labels)
    c = torch.minimum(a, b)
    grid, parts = Grid(tuple(a.shape[1:])), []
    for dual in (False, True):
        bars_a, bars_b, bars_c = (bars(x, pair(x, x, dual), dual) for x in (a, b, c))
        mates_a, mates_b = _mates(grid, len(a), (a, bars_a), (b, bars_b), (c, bars_c), dual, pair)
        cells_a, voxels_a = _located(a, grid, bars_a.node, bars_a.key, dual)
        cells_b, voxels_b = _located(b, grid, bars_b.node, bars_b.key, dual)
        alone_a = torch.ones(len(cells_a), dtype=torch.bool, device=a.device)
        alone_b = torch.ones(len(cells_b), dtype=torch.bool, device=a.device)
        alone_a[mates_a], alone_b[mates_b] = False, False
        item_a, item_b = bars_a.node // (grid.size + 1), bars_b.node // (grid.size + 1)

        def side_by_side(one, other):
            rows = max(len(one), len(other))
            missing = torch.full((rows, 2), -1, dtype=torch.int64, device=a.device)
            return torch.cat([one if len(one) else missing, other if len(other) else missing], 1)

        none = cells_a[:0]
        parts.append(
            [
                (
                    item_a[mates_a],
                    side_by_side(cells_a[mates_a], cells_b[mates_b]),
                    side_by_side(voxels_a[mates_a], voxels_b[mates_b]),
                ),
                (item_a[alone_a], side_by_side(cells_a[alone_a], none), side_by_side(voxels_a[alone_a], none)),
                (item_b[alone_b], side_by_side(none, cells_b[alone_b]), side_by_side(none, voxels_b[alone_b])),
            ]
        )
    return _table(len(a), parts)


def _mates(grid, items, side_a, side_b, side_c, dual, pair):
    """Rows of the bars of a and of b whose images meet in one bar of c."""
    (c, bars_c), nodes = side_c, items * (grid.size + 1)
    found = []
    for level, own in (side_a, side_b):
        row_of_node = _places(own.node, nodes)
        if dual:
            # The image of a bar of a ends where a node, as old as in c, ends at the edge at which the bar begins.
            ends = pair(c, level, True).flatten()
            node_of_edge = _by_edge(grid, torch.nonzero(ends != NEVER)[:, 0], ends, dual, items)
            end = node_of_edge[_edge_places(grid, own.node, own.key, dual)]
            found.append(_places(end, nodes)[bars_c.node])
        else:
            # The image of a bar of a ends at the edge of c at which its node, as old as in a, ends.
            ends = pair(level, c, False).flatten()
            node_of_edge = _by_edge(grid, torch.nonzero(ends != NEVER)[:, 0], ends, dual, items)
            node = node_of_edge[_edge_places(grid, bars_c.node, bars_c.key, dual)]
            found.append(torch.where(node >= 0, row_of_node[node.clamp_min(0)], -1))
    both = (found[0] >= 0) & (found[1] >= 0)
    return found[0][both], found[1][both]


def _places(indices, size):
    """The row of every index that stands in ``indices`` (negative ones are left out), -1 for the others."""
    where = torch.full((size,), -1, dtype=torch.int64, device=indices.device)
    rows = torch.arange(len(indices), device=indices.device)
    kept = indices >= 0
    where[indices[kept]] = rows[kept]
    return where


def _edge_places(grid, node, key, dual):
    code = (~key if dual else key) & 0xFFFFFFFF
    return node // (grid.size + 1) * (grid.axes * grid.size) + code


def _by_edge(grid, node, ends, dual, items):
    where = torch.full((items * grid.axes * grid.size,), -1, dtype=torch.int64, device=node.device)
    where[_edge_places(grid, node, ends[node], dual)] = node
    return where


def _located(level, grid, node, key, dual):
    """Cells (rows, 2) and the voxels that carry their values, birth before death."""
    item, place = node // (grid.size + 1), node % (grid.size + 1)
    code = (~key if dual else key) & 0xFFFFFFFF
    corner, kind = code // grid.axes, code % grid.axes
    flat = level.flatten(1)
    between = torch.zeros_like(code)
    for each in range(grid.axes):
        rows = torch.nonzero(kind == each)[:, 0]
        between[rows] = _carrier(flat, item[rows], corner[rows], grid.corners(grid.spans(each, dual)), grid.axes)
    if not dual:
        return torch.stack([place, code], 1), torch.stack([place, between], 1)
    top = _carrier(flat, item, place, grid.corners(range(grid.axes)), grid.axes)
    return torch.stack([code, place], 1), torch.stack([between, top], 1)


def _carrier(flat, item, corner, offsets, axes):
    """The voxel with a cell's value. Of equal ones the far corner, then along the cell's axes in turn, then the lowest;
    of a cube's the first in C-order."""
    if len(offsets) < 8:
        offsets = [offsets[-1], *offsets[1:-1][::-1], offsets[0]]
    places = corner[:, None] + torch.tensor(offsets, device=corner.device)
    values = flat[item[:, None], places]
    chosen = (values == values.amax(1, keepdim=True)).to(torch.uint8).argmax(1)
    return places.gather(1, chosen[:, None])[:, 0]


def _table(items, parts):
    """Rows of all dimensions (and kinds) sorted by item, dimension, kind; ``counts`` (items, dimensions[, kinds])."""
    groups = [(dimension, kind, part) for dimension, kinds in enumerate(parts) for kind, part in enumerate(kinds)]
    kinds = len(parts[0])
    slot = torch.cat([(item * len(parts) + dimension) * kinds + kind for dimension, kind, (item, _, _) in groups])
    order = torch.argsort(slot, stable=True)
    cells, voxels = (torch.cat([part[k] for _, _, part in groups])[order] for k in (1, 2))
    counts = torch.bincount(slot, minlength=items * len(parts) * kinds).reshape(items, len(parts), kinds)
    return cells, voxels, counts[:, :, 0] if kinds == 1 else counts
