"""Elder pairing for GPUs: steepest neighbours, pointer jumping, then rounds over the edges between the basins.

The algorithm, and why it is exact, stands in :mod:`lab.kernels.cubical.elder`. The first round looks at every node and needs
no list of edges; on smooth images it leaves a basin for every few hundred pixels. The edges between basins are gathered
(counted first, then written in their places, so that nothing depends on the schedule), and each round joins every component
whose first edge leads to an older one. A last residue, and images on which rounds make little progress (long stairs), are
finished on the CPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from lab.kernels import dispatch
from lab.kernels.cubical import elder

BLOCK, WARPS = 512, 4
ROUNDS = 12
RESIDUE = 1024
NEVER = tl.constexpr(elder.NEVER)


@triton.jit
def pick(kind: tl.constexpr, first, second, third):
    """One of three by a number known when compiling."""
    chosen = first
    if kind == 1:
        chosen = second
    if kind == 2:
        chosen = third
    return chosen


@triton.jit
def edge_key(order, v, one, two, code, live, SQUARE: tl.constexpr, DUAL: tl.constexpr):
    """Key of the cell with lowest corner v along the step ``one`` (and ``two``); NEVER where there is none."""
    level = tl.maximum(tl.load(order + v, mask=live, other=0), tl.load(order + v + one, mask=live, other=0))
    if SQUARE:
        level = tl.maximum(level, tl.load(order + v + two, mask=live, other=0))
        level = tl.maximum(level, tl.load(order + v + one + two, mask=live, other=0))
    key = (level.to(tl.int64) << 32) | code.to(tl.int64)
    if DUAL:
        key = key ^ -1
    return tl.where(live, key, NEVER)


@triton.jit
def steepest(
    nodes,
    order,
    parent,
    ends,
    size,
    n0,
    n1,
    n2,
    s0,
    s1,
    s2,
    AXES: tl.constexpr,
    DUAL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The first edge of every node; nodes whose first edge leads to an older one end there and point at it."""
    item = tl.program_id(1).to(tl.int64)
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = v < size
    nodes += item * size
    order += item * size
    if DUAL:
        live &= (v // s0 % n0 < n0 - 1) & (v // s1 % n1 < n1 - 1)
        if AXES == 3:
            live &= v // s2 % n2 < n2 - 1
    mine = tl.load(nodes + v, mask=live, other=0)
    best = tl.full([BLOCK], NEVER, tl.int64)
    to = v
    for kind in tl.static_range(AXES):
        if DUAL:
            if AXES == 2:
                # The edge along one axis lies between squares that are neighbours along the other.
                one, two, step, extent = pick(kind, s0, s1, s1), 0, pick(kind, s1, s0, s0), pick(kind, n1, n0, n0)
            else:
                one, two = pick(kind, s1, s0, s0), pick(kind, s2, s2, s1)
                step, extent = pick(kind, s0, s1, s2), pick(kind, n0, n1, n2)
            place = v // step % extent
            key = edge_key(order, v, one, two, AXES * v + kind, live, AXES == 3, True)
            nearer = key < best
            best, to = tl.where(nearer, key, best), tl.where(nearer, tl.where(place > 0, v - step, size), to)
            key = edge_key(order, v + step, one, two, AXES * (v + step) + kind, live, AXES == 3, True)
            nearer = key < best
            best, to = tl.where(nearer, key, best), tl.where(nearer, tl.where(place < extent - 2, v + step, size), to)
        else:
            step, extent = pick(kind, s0, s1, s2), pick(kind, n0, n1, n2)
            place = v // step % extent
            key = edge_key(order, v, step, 0, AXES * v + kind, live & (place < extent - 1), False, False)
            nearer = key < best
            best, to = tl.where(nearer, key, best), tl.where(nearer, v + step, to)
            key = edge_key(order, v - step, step, 0, AXES * (v - step) + kind, live & (place > 0), False, False)
            nearer = key < best
            best, to = tl.where(nearer, key, best), tl.where(nearer, v - step, to)
    theirs = tl.load(nodes + to, mask=live & (to < size), other=0)
    if DUAL:
        older = (to == size) | (theirs > mine) | ((theirs == mine) & (to > v))
    else:
        older = (theirs < mine) | ((theirs == mine) & (to < v))
    joins = live & older & (best != NEVER)
    base = item * (size + 1)
    tl.store(parent + base + v, (base + tl.where(joins, to, v)).to(tl.int32), mask=v < size)
    tl.store(ends + base + v, tl.where(joins, best, NEVER), mask=v < size)


@triton.jit
def root(parent, i, live):
    """The root of i; every node points at an older one or at itself."""
    p = tl.load(parent + i, mask=live, other=0)
    q = tl.load(parent + p, mask=live, other=0)
    while tl.max(((p != q) & live).to(tl.int32), 0) > 0:
        p = q
        q = tl.load(parent + p, mask=live, other=0)
    return p


@triton.jit
def flatten(parent, total, BLOCK: tl.constexpr):
    """Every node points at its root; a pointer that another program has already shortened serves as well."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < total
    tl.store(parent + i, root(parent, i, live), mask=live)


@triton.jit
def gather(
    order,
    parent,
    counts,
    keys,
    ones,
    others,
    size,
    one,
    extent_one,
    two,
    extent_two,
    across,
    extent,
    kind,
    AXES: tl.constexpr,
    DUAL: tl.constexpr,
    EMIT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Edges of one kind between different components: counted by program, or with EMIT written behind ``counts``."""
    item = tl.program_id(1).to(tl.int64)
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    base = item * (size + 1)
    live = (v < size) & (v // one % extent_one < extent_one - 1)
    SQUARE: tl.constexpr = DUAL and AXES == 3
    if SQUARE:
        live &= v // two % extent_two < extent_two - 1
    if DUAL:
        place = v // across % extent
        near, far = tl.where(place < extent - 1, v, size), tl.where(place > 0, v - across, size)
    else:
        near, far = v, v + one
    near = tl.load(parent + base + near, mask=live, other=0)
    far = tl.load(parent + base + far, mask=live, other=0)
    live &= near != far
    program = item * tl.num_programs(0) + tl.program_id(0)
    if EMIT:
        place = tl.load(counts + program) + tl.cumsum(live.to(tl.int64), 0) - 1
        tl.store(
            keys + place, edge_key(order + item * size, v, one, two, AXES * v + kind, live, SQUARE, DUAL), mask=live
        )
        tl.store(ones + place, near, mask=live)
        tl.store(others + place, far, mask=live)
    else:
        tl.store(counts + program, tl.sum(live.to(tl.int64), 0))


@triton.jit
def first_edges(keys, ones, others, best, count, BLOCK: tl.constexpr):
    """The smallest key at each component; the result does not depend on the order of the minima."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < count
    key = tl.load(keys + i, mask=live, other=0)
    tl.atomic_min(best + tl.load(ones + i, mask=live, other=0), key, mask=live, sem="relaxed")
    tl.atomic_min(best + tl.load(others + i, mask=live, other=0), key, mask=live, sem="relaxed")


@triton.jit
def level_of(nodes, node, size, live):
    """Level of a node of the batch and whether it is the outside."""
    place = node % (size + 1)
    level = tl.load(nodes + node.to(tl.int64) - node // (size + 1), mask=live & (place < size), other=0)
    return level, place == size


@triton.jit
def hook(keys, ones, others, best, nodes, parent, ends, count, size, DUAL: tl.constexpr, BLOCK: tl.constexpr):
    """Components whose first edge leads to an older one end there and point at it."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < count
    key = tl.load(keys + i, mask=live, other=0)
    a, b = tl.load(ones + i, mask=live, other=0), tl.load(others + i, mask=live, other=0)
    level_a, outside_a = level_of(nodes, a, size, live)
    level_b, outside_b = level_of(nodes, b, size, live)
    if DUAL:
        older_b = outside_b | ((~outside_a) & ((level_b > level_a) | ((level_b == level_a) & (b > a))))
    else:
        older_b = (level_b < level_a) | ((level_b == level_a) & (b < a))
    joins = live & older_b & (tl.load(best + a, mask=live, other=0) == key)
    tl.store(parent + a, b, mask=joins)
    tl.store(ends + a, key, mask=joins)
    joins = live & (~older_b) & (tl.load(best + b, mask=live, other=0) == key)
    tl.store(parent + b, a, mask=joins)
    tl.store(ends + b, key, mask=joins)


@triton.jit
def relabel(ones, others, parent, counts, count, BLOCK: tl.constexpr):
    """Ends of edges become roots; how many edges of each program still lead elsewhere."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < count
    a = root(parent, tl.load(ones + i, mask=live, other=0), live)
    b = root(parent, tl.load(others + i, mask=live, other=0), live)
    tl.store(ones + i, a, mask=live)
    tl.store(others + i, b, mask=live)
    tl.store(counts + tl.program_id(0), tl.sum((live & (a != b)).to(tl.int64), 0))


@triton.jit
def compact(keys, ones, others, offsets, new_keys, new_ones, new_others, count, BLOCK: tl.constexpr):
    """The edges that still lead elsewhere, side by side, in their order."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < count
    a, b = tl.load(ones + i, mask=live, other=0), tl.load(others + i, mask=live, other=0)
    live &= a != b
    place = tl.load(offsets + tl.program_id(0)) + tl.cumsum(live.to(tl.int64), 0) - 1
    tl.store(new_keys + place, tl.load(keys + i, mask=live, other=0), mask=live)
    tl.store(new_ones + place, a, mask=live)
    tl.store(new_others + place, b, mask=live)


def pairing(nodes: torch.Tensor, order: torch.Tensor, dual: bool) -> torch.Tensor:
    """What :func:`lab.kernels.cubical.elder.pairing` gives, for int32 levels (items, axes...) of 2 or 3 axes."""
    items, grid = len(nodes), elder.Grid(tuple(nodes.shape[1:]))
    size, device = grid.size, nodes.device
    if items * (size + 1) >= 2**31 or grid.axes * size >= 2**31:
        raise ValueError(f"a batch must have fewer than 2^31 voxels, got {items} of {size}")
    level = (elder.tops(nodes) if dual else nodes.flatten(1)).contiguous()
    order = order.contiguous()
    parent = torch.empty(items, size + 1, dtype=torch.int32, device=device)
    parent[:, size] = torch.arange(items, device=device) * (size + 1) + size
    ends = torch.empty(items, size + 1, dtype=torch.int64, device=device)
    ends[:, size] = elder.NEVER
    extents, steps = [*grid.shape, 1][:3], [*grid.steps(), 1][:3]
    blocks = triton.cdiv(size, BLOCK)
    steepest[(blocks, items)](
        level, order, parent, ends, size, *extents, *steps, AXES=grid.axes, DUAL=dual, BLOCK=BLOCK, num_warps=WARPS
    )
    _each(flatten, parent.numel())(parent, parent.numel(), BLOCK=BLOCK, num_warps=WARPS)
    keys, ones, others = _gathered(grid, order, parent, dual)
    for _ in range(ROUNDS):
        if len(keys) <= RESIDUE and dispatch.HAS_NUMBA:
            break
        if not len(keys):
            return ends
        keys, ones, others = _round(grid, level, parent, ends, keys, ones, others, dual)
    while len(keys) and not dispatch.HAS_NUMBA:
        keys, ones, others = _round(grid, level, parent, ends, keys, ones, others, dual)
    if len(keys):
        _finish(nodes, ends, keys, ones, others, dual)
    return ends


def _each(kernel, count):
    return kernel[(triton.cdiv(count, BLOCK),)]


def _offsets(counts):
    """First place of each program, and the number of places."""
    sums = torch.cumsum(counts, 0)
    return sums - counts, int(sums[-1])


def _room(count, device):
    return (
        torch.empty(count, dtype=torch.int64, device=device),
        *(torch.empty(count, dtype=torch.int32, device=device) for _ in range(2)),
    )


def _gathered(grid, order, parent, dual):
    items, blocks, device = len(order), triton.cdiv(grid.size, BLOCK), order.device
    counts = torch.empty(grid.axes, items * blocks, dtype=torch.int64, device=device)
    steps, shape = grid.steps(), grid.shape

    def launch(places, keys, ones, others, emit):
        for kind in range(grid.axes):
            first, *more = grid.spans(kind, dual)
            second = more[0] if more else first
            across = grid.across(kind) if dual else first
            gather[(blocks, items)](
                order,
                parent,
                places[kind],
                keys,
                ones,
                others,
                grid.size,
                steps[first],
                shape[first],
                steps[second],
                shape[second],
                steps[across],
                shape[across],
                kind,
                AXES=grid.axes,
                DUAL=dual,
                EMIT=emit,
                BLOCK=BLOCK,
                num_warps=WARPS,
            )

    launch(counts, counts, parent, parent, False)
    offsets, total = _offsets(counts.flatten())
    room = _room(total, device)
    if total:
        launch(offsets.reshape(counts.shape), *room, True)
    return room


def _round(grid, level, parent, ends, keys, ones, others, dual):
    count = len(keys)
    best = torch.full((parent.numel(),), elder.NEVER, dtype=torch.int64, device=keys.device)
    _each(first_edges, count)(keys, ones, others, best, count, BLOCK=BLOCK, num_warps=WARPS)
    _each(hook, count)(
        keys, ones, others, best, level, parent, ends, count, grid.size, DUAL=dual, BLOCK=BLOCK, num_warps=WARPS
    )
    counts = torch.empty(triton.cdiv(count, BLOCK), dtype=torch.int64, device=keys.device)
    _each(relabel, count)(ones, others, parent, counts, count, BLOCK=BLOCK, num_warps=WARPS)
    offsets, total = _offsets(counts)
    room = _room(total, keys.device)
    if total:
        _each(compact, count)(keys, ones, others, offsets, *room, count, BLOCK=BLOCK, num_warps=WARPS)
    return room


def _finish(nodes, ends, keys, ones, others, dual):
    from lab.kernels.cubical import residue

    used = torch.unique(torch.cat([ones, others])).long()
    age = elder.ages(nodes, dual)[used]
    node, key = residue.finish(*(x.long().cpu().numpy() for x in (ones, others, keys, used, age)))
    ends.view(-1)[torch.from_numpy(node).to(ends.device)] = torch.from_numpy(key).to(ends.device)


def gate():
    """Configurations of the compile gate."""
    from lab.kernels.aot import Configuration

    levels = {"nodes": "*i32", "order": "*i32", "parent": "*i32"}
    sizes = {name: "i32" for name in ("size", "n0", "n1", "n2", "s0", "s1", "s2")}
    lists = {"keys": "*i64", "ones": "*i32", "others": "*i32"}
    return [
        Configuration(
            "cubical first round, volumes, top dimension",
            steepest,
            {**levels, "ends": "*i64", **sizes},
            {"AXES": 3, "DUAL": True, "BLOCK": BLOCK},
            warps=WARPS,
            registers=128,
        ),
        Configuration(
            "cubical edges between basins",
            gather,
            {
                **{k: v for k, v in levels.items() if k != "nodes"},
                "counts": "*i64",
                **lists,
                "size": "i32",
                **{name: "i32" for name in ("one", "extent_one", "two", "extent_two", "across", "extent", "kind")},
            },
            {"AXES": 2, "DUAL": False, "EMIT": True, "BLOCK": BLOCK},
            warps=WARPS,
            registers=96,
        ),
        Configuration(
            "cubical later rounds",
            hook,
            {**lists, "best": "*i64", "nodes": "*i32", "parent": "*i32", "ends": "*i64", "count": "i32", "size": "i32"},
            {"DUAL": True, "BLOCK": BLOCK},
            warps=WARPS,
            registers=96,
            wide=True,
        ),
    ]
