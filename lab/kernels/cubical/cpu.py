"""Betti matching and barcodes of images on the CPU: local contraction first, then union-find on the few cells left.

Sublevel filtration, V-construction: voxels are vertices, a cell's value is the maximum over its vertices, cells of one
dimension are ordered by (value, anchor, type), ``anchor`` the flat C-order index of the lowest corner and ``type`` the
axis of an edge. Cell codes: a vertex is its voxel, an edge is ``2 * anchor + type``, a square is its anchor.

An edge of a planar grid either joins two components of the growing set (it ends a bar of dimension 0) or joins two
components of the shrinking complement (it begins a bar of dimension 1), never both. Both merge forests are found alike:

1. *Pointers.* The smallest edge at a voxel, where its value equals the voxel's, joins the voxel to its component in a
   bar of length zero. The largest edge of a square does the same in the complement. One pass of comparisons finds both.
2. *Survivors.* Edges that no pointer uses; only these are sorted. Their number is about minima plus maxima.
3. *Union-find* over basins (trees of pointers): survivors downwards over the squares give dimension 1, the survivors
   that merged nothing there give dimension 0 upwards over the voxels (planar duality).

Contracting a pointer early is exact, ties included: at every level it concerns creators of that very level only, whose
bars are empty. For image persistence a component also carries its extreme in a second order. Taken over whole basins
this extreme is right whenever it is already attached; where it is not, :func:`_flood_squares` and :func:`_flood_voxels`
walk the component as it stands. When walking costs more than a fixed multiple of the image, everything is repeated
without contraction, which needs no walk.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_UP, _LEFT, _DOWN, _RIGHT = 1, 2, 3, 4  # pointers of voxels, in the order of their edges
_BELOW, _BESIDE, _ABOVE = 1, 2, 3  # pointers of squares, across their bottom, right or top edge
_WALK = 6  # a call may walk this many times the image before it starts again without contraction


@njit(cache=True, nogil=True)
def match_images(predictions, labels):
    """Match every prediction ``(n, height, width)`` with its label, both float64 in sublevel form.

    Returns ``cells`` and ``voxels``, int64 of shape ``(rows, 4)`` with columns prediction birth, prediction death,
    label birth, label death (-1 where a side is absent), and ``counts`` of shape ``(n, 2, 3)``: rows by item, dimension
    and kind (matched, only in the prediction, only in the label), in this order.
    """
    items, height, width = predictions.shape
    counts = np.zeros((items, 2, 3), np.int64)
    cells = np.empty((64, 4), np.int64)
    used = 0
    for item in range(items):
        a, b = predictions[item], labels[item]
        c = np.minimum(a, b)
        done, rows, found = _match_one(a, b, c, True)
        if not done:
            done, rows, found = _match_one(a, b, c, False)
        if used + len(rows) > len(cells):
            grown = np.empty((2 * (used + len(rows)), 4), np.int64)
            grown[:used] = cells[:used]
            cells = grown
        cells[used : used + len(rows)] = rows
        used += len(rows)
        counts[item] = found
    cells = cells[:used].copy()
    voxels = np.full((used, 4), -1, np.int64)
    row = 0
    for item in range(items):
        for dimension in range(2):
            for _ in range(counts[item, dimension].sum()):
                for side in range(2):
                    f = predictions[item].ravel() if side == 0 else labels[item].ravel()
                    birth, death = cells[row, 2 * side], cells[row, 2 * side + 1]
                    if birth >= 0:
                        voxels[row, 2 * side] = birth if dimension == 0 else _edge_voxel(f, width, birth)
                        voxels[row, 2 * side + 1] = (
                            _edge_voxel(f, width, death) if dimension == 0 else _square_voxel(f, width, death)
                        )
                row += 1
    return cells, voxels, counts


@njit(cache=True, nogil=True)
def barcode_images(images):
    """Bars of positive length of every image ``(n, height, width)``: ``cells``, ``voxels`` ``(rows, 2)``, ``counts (n,
    2)``."""
    items, height, width = images.shape
    counts = np.zeros((items, 2), np.int64)
    cells = np.empty((64, 2), np.int64)
    used = 0
    nothing, no_ends = np.empty(0, np.float64), np.empty(0, np.int64)
    for item in range(items):
        f = images[item]
        up, across, edges = _contract(f, True)
        values = f.ravel()
        edges = _sorted_edges(values, width, edges)
        holes, _, rest, _ = _dual_pairs(values, height, width, across, edges, nothing, no_ends, True)
        bars = _primal_pairs(values, height, width, up, rest, True)
        rows = len(holes) + len(bars)
        if used + rows > len(cells):
            grown = np.empty((2 * (used + rows), 2), np.int64)
            grown[:used] = cells[:used]
            cells = grown
        cells[used : used + len(bars)] = bars
        cells[used + len(bars) : used + rows] = holes
        used += rows
        counts[item, 0], counts[item, 1] = len(bars), len(holes)
    cells = cells[:used].copy()
    voxels = np.empty((used, 2), np.int64)
    row = 0
    for item in range(items):
        f = images[item].ravel()
        for dimension in range(2):
            for _ in range(counts[item, dimension]):
                birth, death = cells[row]
                voxels[row, 0] = birth if dimension == 0 else _edge_voxel(f, width, birth)
                voxels[row, 1] = _edge_voxel(f, width, death) if dimension == 0 else _square_voxel(f, width, death)
                row += 1
    return cells, voxels, counts


@njit(cache=True, nogil=True)
def _match_one(a, b, c, contract):
    """``(done, rows, counts)`` of one pair; ``done`` is false where walking became too dear."""
    height, width = a.shape
    fa, fb, fc = a.ravel(), b.ravel(), c.ravel()
    counts = np.zeros((2, 3), np.int64)
    failed = np.empty((0, 4), np.int64)

    up_c, across_c, edges_c = _contract(c, contract)
    edges_c = _sorted_edges(fc, width, edges_c)
    nothing, no_ends = np.empty(0, np.float64), np.empty(0, np.int64)
    holes_c, _, rest_c, _ = _dual_pairs(fc, height, width, across_c, edges_c, nothing, no_ends, contract)
    ends_c = holes_c[:, 1].copy()

    up_a, across_a, edges_a = _contract(a, contract)
    edges_a = _sorted_edges(fa, width, edges_a)
    holes_a, image_a, rest_a, done = _dual_pairs(fa, height, width, across_a, edges_a, fc, ends_c, contract)
    if not done:
        return False, failed, counts
    up_b, across_b, edges_b = _contract(b, contract)
    edges_b = _sorted_edges(fb, width, edges_b)
    holes_b, image_b, rest_b, done = _dual_pairs(fb, height, width, across_b, edges_b, fc, ends_c, contract)
    if not done:
        return False, failed, counts
    partner_a, partner_b = _join_holes(holes_c, image_a, image_b, height * width)

    bars_a = _primal_pairs(fa, height, width, up_a, rest_a, contract)
    bars_b = _primal_pairs(fb, height, width, up_b, rest_b, contract)
    done, mates = _match_components(fa, fb, fc, height, width, up_c, rest_c, bars_a, bars_b, contract)
    if not done:
        return False, failed, counts

    rows = np.full((len(bars_a) + len(bars_b) + len(holes_a) + len(holes_b), 4), -1, np.int64)
    used = _emit(rows, 0, counts[0], bars_a, bars_b, mates[:, 0], mates[:, 1])
    used = _emit(rows, used, counts[1], holes_a, holes_b, partner_a, partner_b)
    return True, rows[:used], counts


@njit(cache=True, nogil=True)
def _emit(rows, used, counts, bars_a, bars_b, mates_a, mates_b):
    taken_a = np.zeros(len(bars_a), np.bool_)
    taken_b = np.zeros(len(bars_b), np.bool_)
    for k in range(len(mates_a)):
        i, j = mates_a[k], mates_b[k]
        taken_a[i] = taken_b[j] = True
        rows[used, 0], rows[used, 1] = bars_a[i]
        rows[used, 2], rows[used, 3] = bars_b[j]
        used += 1
    counts[0] = len(mates_a)
    for i in range(len(bars_a)):
        if not taken_a[i]:
            rows[used, 0], rows[used, 1] = bars_a[i]
            used += 1
    counts[1] = len(bars_a) - len(mates_a)
    for j in range(len(bars_b)):
        if not taken_b[j]:
            rows[used, 2], rows[used, 3] = bars_b[j]
            used += 1
    counts[2] = len(bars_b) - len(mates_b)
    return used


@njit(cache=True, nogil=True)
def _join_holes(holes_c, image_a, image_b, voxels):
    """Indices of the holes of a and of b whose image bars end in the same square as a hole of c."""
    where_a = np.full(voxels, -1, np.int32)
    where_b = np.full(voxels, -1, np.int32)
    for i in range(len(image_a)):
        if image_a[i] >= 0:
            where_a[image_a[i]] = i
    for j in range(len(image_b)):
        if image_b[j] >= 0:
            where_b[image_b[j]] = j
    first = np.empty(len(holes_c), np.int64)
    second = np.empty(len(holes_c), np.int64)
    found = 0
    for k in range(len(holes_c)):
        i, j = where_a[holes_c[k, 1]], where_b[holes_c[k, 1]]
        if i >= 0 and j >= 0:
            first[found], second[found] = i, j
            found += 1
    return first[:found], second[:found]


# --- cells ------------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True, inline="always")
def _edge_end(width, edge):
    return (edge >> 1) + (1 if edge & 1 else width)


@njit(cache=True, nogil=True, inline="always")
def _edge_value(f, width, edge):
    return max(f[edge >> 1], f[_edge_end(width, edge)])


@njit(cache=True, nogil=True, inline="always")
def _square_value(f, width, square):
    return max(max(f[square], f[square + 1]), max(f[square + width], f[square + width + 1]))


@njit(cache=True, nogil=True)
def _edge_voxel(f, width, edge):
    """The voxel that carries the edge's value; of two equal ones the far end."""
    near, far = edge >> 1, _edge_end(width, edge)
    return far if f[far] >= f[near] else near


@njit(cache=True, nogil=True)
def _square_voxel(f, width, square):
    """The voxel that carries the square's value; of equal ones the far corner, then along axis 0, then along axis 1."""
    value = _square_value(f, width, square)
    if f[square + width + 1] == value:
        return square + width + 1
    if f[square + width] == value:
        return square + width
    if f[square + 1] == value:
        return square + 1
    return square


# --- contraction ------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _contract(f, contract):
    """Pointers of voxels and of squares as direction codes, and the edges that no pointer uses, in index order."""
    height, width = f.shape
    up = np.zeros((height, width), np.uint8)
    across = np.zeros((height, width), np.uint8)
    if contract:
        for x in range(height):
            _point_voxels(f, x, up[x])
        for x in range(height - 1):
            _point_squares(f[x], f[x + 1], across[x])
    return up.ravel(), across.ravel(), _survivors(up, across)


@njit(cache=True, nogil=True)
def _point_voxels(f, x, out):
    """The first of up, left, down, right whose neighbour is not larger: the smallest edge of value f(v)."""
    height, width = f.shape
    row = f[x]
    above = f[max(x - 1, 0)]
    below = f[min(x + 1, height - 1)]
    has_above = x > 0
    has_below = x < height - 1
    for y in (0, width - 1):
        code = np.uint8(0)
        if y < width - 1 and row[y + 1] <= row[y]:
            code = np.uint8(_RIGHT)
        if has_below and below[y] <= row[y]:
            code = np.uint8(_DOWN)
        if y > 0 and row[y - 1] <= row[y]:
            code = np.uint8(_LEFT)
        if has_above and above[y] <= row[y]:
            code = np.uint8(_UP)
        out[y] = code
    inner = width - 2
    if inner <= 0:
        return
    here, left, right, over, under, target = row[1:], row[0:], row[2:], above[1:], below[1:], out[1:]
    none, one, two, three, four = np.uint8(0), np.uint8(_UP), np.uint8(_LEFT), np.uint8(_DOWN), np.uint8(_RIGHT)
    for y in range(inner):
        v = here[y]
        code = four if right[y] <= v else none
        code = three if (under[y] <= v) & has_below else code
        code = two if left[y] <= v else code
        code = one if (over[y] <= v) & has_above else code
        target[y] = code


@njit(cache=True, nogil=True)
def _point_squares(top, bottom, out):
    """The largest edge of each square: the bottom one, else the right one, else the top one, if it attains the
    maximum."""
    width = len(top)
    one, two, three = np.uint8(_BELOW), np.uint8(_BESIDE), np.uint8(_ABOVE)
    right_top, right_bottom = top[1:], bottom[1:]
    for y in range(width - 1):
        code = two if right_top[y] >= top[y] else three
        out[y] = one if max(bottom[y], right_bottom[y]) >= max(top[y], right_top[y]) else code


@njit(cache=True, nogil=True)
def _survivors(up, across):
    height, width = up.shape
    free_down = np.empty(width, np.uint8)
    free_right = np.empty(width, np.uint8)
    edges = np.empty(max(64, height * width // 8), np.int64)
    used = 0
    for x in range(height):
        last = x == height - 1
        here, after, before = up[x], up[min(x + 1, height - 1)], across[max(x - 1, 0)]
        squares = across[x]
        free_down[0] = not (last or here[0] == _DOWN or after[0] == _UP)
        for y in range(1, width):
            free_down[y] = (here[y] != _DOWN) & (after[y] != _UP) & (squares[y - 1] != _BESIDE) & (not last)
        for y in range(width - 1):
            free_right[y] = (
                (here[y] != _RIGHT)
                & (here[y + 1] != _LEFT)
                & ((before[y] != _BELOW) | (x == 0))
                & (squares[y] != _ABOVE)
            )
        free_right[width - 1] = 0
        if used + 2 * width > len(edges):
            grown = np.empty(2 * len(edges) + 2 * width, np.int64)
            grown[:used] = edges[:used]
            edges = grown
        base = 2 * x * width
        for y in range(width):
            edges[used] = base + 2 * y
            used += free_down[y]
            edges[used] = base + 2 * y + 1
            used += free_right[y]
    return edges[:used]


@njit(cache=True, nogil=True)
def _sorted_edges(f, width, edges):
    """``edges`` (in index order) by (value, index): stable counting sort of the values' bits, digits that vary only."""
    n = len(edges)
    keys = np.empty(n, np.float64)
    for k in range(n):
        keys[k] = _edge_value(f, width, edges[k])
    bits = keys.view(np.uint64)
    sign = np.uint64(1 << 63)
    varies = np.uint64(0)
    for k in range(n):
        bits[k] = ~bits[k] if bits[k] & sign else bits[k] | sign
        varies |= bits[k] ^ bits[0]
    other_bits, other_edges = np.empty_like(bits), np.empty_like(edges)
    width_bits = 11 if n > 4096 else 8
    mask = np.uint64((1 << width_bits) - 1)
    begins = np.empty((1 << width_bits) + 1, np.int64)
    for shift in range(0, 64, width_bits):
        digit_shift = np.uint64(shift)
        if not (varies >> digit_shift) & mask:
            continue
        begins[:] = 0
        for k in range(n):
            begins[np.int64((bits[k] >> digit_shift) & mask) + 1] += 1
        for d in range(len(begins) - 1):
            begins[d + 1] += begins[d]
        for k in range(n):
            digit = np.int64((bits[k] >> digit_shift) & mask)
            place = begins[digit]
            begins[digit] = place + 1
            other_bits[place] = bits[k]
            other_edges[place] = edges[k]
        bits, other_bits = other_bits, bits
        edges, other_edges = other_edges, edges
    return edges


@njit(cache=True, nogil=True, inline="always")
def _find(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


# --- voxels: dimension 0 ----------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _voxel_basin(v, up, width, basin, roots, count):
    """The basin of voxel ``v`` and the number of basins; labels are kept along the way. The root is its smallest
    voxel."""
    u = v
    while basin[u] < 0:
        code = up[u]
        if code == 0:
            basin[u] = count
            roots[count] = u
            count += 1
            break
        w = _voxel_step(u, code, width)
        back = up[w]
        if (code == _DOWN and back == _UP) or (code == _RIGHT and back == _LEFT):
            basin[u] = count
            roots[count] = u
            count += 1
            break
        u = w
    found = basin[u]
    u = v
    while basin[u] < 0:
        basin[u] = found
        u = _voxel_step(u, up[u], width)
    return found, count


@njit(cache=True, nogil=True, inline="always")
def _voxel_step(v, code, width):
    if code == _UP:
        return v - width
    if code == _LEFT:
        return v - 1
    if code == _DOWN:
        return v + width
    return v + 1


@njit(cache=True, nogil=True)
def _primal_pairs(f, height, width, up, edges, contract):
    """Bars of dimension 0 of positive length, rows (voxel, edge), from the merging edges in order."""
    basin = np.full(height * width, -1, np.int32)
    roots = np.empty(len(edges) + 1 if contract else height * width, np.int64)
    count = 0
    bars = np.empty((len(edges), 2), np.int64)
    used = 0
    ends = np.empty((len(edges), 2), np.int32)
    for k in range(len(edges)):
        edge = edges[k]
        i, count = _voxel_basin(edge >> 1, up, width, basin, roots, count)
        j, count = _voxel_basin(_edge_end(width, edge), up, width, basin, roots, count)
        ends[k, 0], ends[k, 1] = i, j
    parent = np.arange(count).astype(np.int32)
    for k in range(len(edges)):
        i, j = _find(parent, ends[k, 0]), _find(parent, ends[k, 1])
        if i == j:
            continue
        if _before(f, roots[j], roots[i]):
            i, j = j, i
        parent[j] = i
        if f[roots[j]] != _edge_value(f, width, edges[k]):
            bars[used, 0], bars[used, 1] = roots[j], edges[k]
            used += 1
    return bars[:used]


@njit(cache=True, nogil=True, inline="always")
def _before(f, v, w):
    return f[v] < f[w] or (f[v] == f[w] and v < w)


@njit(cache=True, nogil=True)
def _match_components(fa, fb, fc, height, width, up, edges, bars_a, bars_b, contract):
    """Matched pairs of bars of dimension 0: merge c and follow the smallest voxel of every component in a and in b."""
    size = height * width
    basin = np.full(size, -1, np.int32)
    roots = np.empty(len(edges) + 1 if contract else size, np.int64)
    count = 0
    least = np.empty((len(roots), 2), np.int64)
    for v in range(size):
        known = count
        i, count = _voxel_basin(v, up, width, basin, roots, count)
        if count > known:
            least[i, 0] = least[i, 1] = roots[i]
        if _before(fa, v, least[i, 0]):
            least[i, 0] = v
        if _before(fb, v, least[i, 1]):
            least[i, 1] = v
    bar_a = np.full(size, -1, np.int32)
    bar_b = np.full(size, -1, np.int32)
    holds = np.zeros((count, 2), np.bool_)
    for i in range(len(bars_a)):
        bar_a[bars_a[i, 0]] = i
        holds[basin[bars_a[i, 0]], 0] = True
    for j in range(len(bars_b)):
        bar_b[bars_b[j, 0]] = j
        holds[basin[bars_b[j, 0]], 1] = True

    parent = np.arange(count).astype(np.int32)
    mates = np.empty((min(len(bars_a), len(bars_b)), 2), np.int64)
    used = 0
    budget = _WALK * size + 1024
    seen = np.empty(0, np.int32)
    stack = np.empty(0, np.int64)
    walk = 0
    for k in range(len(edges)):
        edge = edges[k]
        near, far = edge >> 1, _edge_end(width, edge)
        i, j = _find(parent, basin[near]), _find(parent, basin[far])
        if i == j:
            continue
        value = max(fc[near], fc[far])
        elder, younger = (j, i) if _before(fc, roots[j], roots[i]) else (i, j)
        if (
            fc[roots[younger]] != value
            and (holds[i, 0] or holds[j, 0])
            and (holds[i, 1] or holds[j, 1])
        ):
            ai, aj, bi, bj = least[i, 0], least[j, 0], least[i, 1], least[j, 1]
            if contract:
                loose_i = not (_voxel_in(fc, up, width, ai, value, edge) and _voxel_in(fc, up, width, bi, value, edge))
                loose_j = not (_voxel_in(fc, up, width, aj, value, edge) and _voxel_in(fc, up, width, bj, value, edge))
                if (loose_i or loose_j) and len(seen) == 0:
                    seen = np.zeros(size, np.int32)
                    stack = np.empty(size, np.int64)
                if loose_i:
                    walk += 1
                    ai, bi, budget = _flood_voxels(
                        fa, fb, fc, height, width, near, edge, value, seen, stack, walk, budget
                    )
                if loose_j:
                    walk += 1
                    aj, bj, budget = _flood_voxels(
                        fa, fb, fc, height, width, far, edge, value, seen, stack, walk, budget
                    )
                if budget < 0:
                    return False, mates[:0]
            a = bar_a[aj if _before(fa, ai, aj) else ai]
            b = bar_b[bj if _before(fb, bi, bj) else bi]
            if a >= 0 and b >= 0:
                mates[used, 0], mates[used, 1] = a, b
                used += 1
        parent[younger] = elder
        if _before(fa, least[younger, 0], least[elder, 0]):
            least[elder, 0] = least[younger, 0]
        if _before(fb, least[younger, 1], least[elder, 1]):
            least[elder, 1] = least[younger, 1]
        holds[elder, 0] |= holds[younger, 0]
        holds[elder, 1] |= holds[younger, 1]
    return True, mates[:used]


@njit(cache=True, nogil=True)
def _voxel_in(fc, up, width, v, value, edge):
    """Whether voxel ``v`` of a basin is attached to it by the edges before ``edge``, which has ``value``."""
    if fc[v] < value or up[v] == 0:
        return True
    if fc[v] > value:
        return False
    code = up[v]
    anchor = v - width if code == _UP else v - 1 if code == _LEFT else v
    return 2 * anchor + (code == _LEFT or code == _RIGHT) < edge


@njit(cache=True, nogil=True)
def _flood_voxels(fa, fb, fc, height, width, start, edge, value, seen, stack, stamp, budget):
    """Smallest voxel in a and in b of the component of ``start`` in c under the edges before ``edge``."""
    best_a = best_b = start
    seen[start] = stamp
    stack[0] = start
    depth = 1
    while depth:
        depth -= 1
        v = stack[depth]
        budget -= 1
        if budget < 0:
            return best_a, best_b, budget
        if _before(fa, v, best_a):
            best_a = v
        if _before(fb, v, best_b):
            best_b = v
        x, y = v // width, v % width
        for code in (_UP, _LEFT, _DOWN, _RIGHT):
            if (
                (code == _UP and x == 0)
                or (code == _LEFT and y == 0)
                or (code == _DOWN and x == height - 1)
                or (code == _RIGHT and y == width - 1)
            ):
                continue
            w = _voxel_step(v, code, width)
            if seen[w] == stamp:
                continue
            between = 2 * min(v, w) + (code == _LEFT or code == _RIGHT)
            level = max(fc[v], fc[w])
            if level < value or (level == value and between < edge):
                seen[w] = stamp
                stack[depth] = w
                depth += 1
    return best_a, best_b, budget


# --- squares: dimension 1 ---------------------------------------------------------------------------------------------
# Arrays over squares have one row before the image; that row, the last row and the last column are the outside, basin
# 0.


@njit(cache=True, nogil=True)
def _square_basin(s, across, width, basin, roots, count):
    """The basin of square ``s`` and the number of basins. The root is its largest square, or the outside."""
    u = s
    while basin[u + width] < 0:
        code = across[u]
        if code == 0:
            basin[u + width] = count
            roots[count] = u
            count += 1
            break
        w = _square_step(u, code, width)
        if code == _ABOVE and w >= 0 and across[w] == _BELOW:
            basin[u + width] = count
            roots[count] = u
            count += 1
            break
        u = w
    found = basin[u + width]
    u = s
    while basin[u + width] < 0:
        basin[u + width] = found
        u = _square_step(u, across[u], width)
    return found, count


@njit(cache=True, nogil=True, inline="always")
def _square_step(s, code, width):
    if code == _BELOW:
        return s + width
    if code == _BESIDE:
        return s + 1
    return s - width


@njit(cache=True, nogil=True)
def _outside(height, width):
    basin = np.full((height + 1) * width, -1, np.int32)
    basin[:width] = 0
    basin[height * width :] = 0
    for x in range(height):
        basin[(x + 2) * width - 1] = 0
    return basin


@njit(cache=True, nogil=True)
def _dual_pairs(f, height, width, across, edges, fc, ends, contract):
    """Bars of dimension 1 of positive length, rows (edge, square), the squares in which their image bars in c end, and
    the edges that merge nothing here.

    ``fc`` and ``ends`` (squares that end a bar of c) are empty for a plain barcode. The last value is false where
    walking became too dear.
    """
    image = len(fc) > 0
    size = height * width
    basin = _outside(height, width)
    roots = np.empty(len(edges) + 2 if contract else size + 1, np.int64)
    roots[0] = -1
    count = 1
    most = np.empty(len(roots) if image else 0, np.int64)
    most_value = np.empty(len(most), np.float64)
    if image:
        most[0], most_value[0] = size, np.inf
        for x in range(height - 1):
            for s in range(x * width, (x + 1) * width - 1):
                known = count
                i, count = _square_basin(s, across, width, basin, roots, count)
                value = _square_value(fc, width, s)
                if count > known or value > most_value[i] or (value == most_value[i] and s > most[i]):
                    most[i], most_value[i] = s, value
    sides = np.empty((len(edges), 2), np.int32)
    for k in range(len(edges)):
        edge = edges[k]
        s = edge >> 1
        before = s - width if edge & 1 else s - 1
        i = j = 0
        if basin[before + width] != 0:
            i, count = _square_basin(before, across, width, basin, roots, count)
        if basin[s + width] != 0:
            j, count = _square_basin(s, across, width, basin, roots, count)
        sides[k, 0], sides[k, 1] = i, j
    holds = np.zeros(count if image else 0, np.bool_)
    if image:
        for k in range(len(ends)):
            holds[basin[ends[k] + width]] = True

    level = np.empty(count, np.float64)
    level[0] = np.inf
    for i in range(1, count):
        level[i] = _square_value(f, width, roots[i])
    parent = np.arange(count).astype(np.int32)
    bars = np.empty((len(edges), 2), np.int64)
    targets = np.empty(len(edges) if image else 0, np.int64)
    rest = np.empty(len(edges), np.int64)
    used = 0
    left = len(edges)
    budget = _WALK * size + 1024
    seen = np.empty(0, np.int32)
    stack = np.empty(0, np.int64)
    walk = 0
    for k in range(len(edges) - 1, -1, -1):
        edge = edges[k]
        i, j = _find(parent, sides[k, 0]), _find(parent, sides[k, 1])
        if i == j:
            left -= 1
            rest[left] = edge
            continue
        value = _edge_value(f, width, edge)
        elder, younger = i, j
        if level[j] > level[i] or (level[j] == level[i] and roots[j] > roots[i]):
            elder, younger = j, i
        if level[younger] != value:
            bars[used, 0], bars[used, 1] = edge, roots[younger]
            if image:
                target = -1
                if holds[elder] or holds[younger]:
                    mi, mj, vi, vj = most[i], most[j], most_value[i], most_value[j]
                    if contract:
                        loose_i = not _square_in(f, across, width, size, mi, value, edge)
                        loose_j = not _square_in(f, across, width, size, mj, value, edge)
                        if (loose_i or loose_j) and len(seen) == 0:
                            seen = np.zeros(size, np.int32)
                            stack = np.empty(size, np.int64)
                        s = edge >> 1
                        if loose_i:
                            walk += 1
                            start = s - width if edge & 1 else s - 1
                            mi, vi, budget = _flood_squares(
                                f, fc, height, width, start, edge, value, seen, stack, walk, budget
                            )
                        if loose_j:
                            walk += 1
                            mj, vj, budget = _flood_squares(
                                f, fc, height, width, s, edge, value, seen, stack, walk, budget
                            )
                        if budget < 0:
                            return bars[:0], targets[:0], rest[:0], False
                    target = mj if vi > vj or (vi == vj and mi > mj) else mi
                targets[used] = target
            used += 1
        parent[younger] = elder
        if image:
            if most_value[younger] > most_value[elder] or (
                most_value[younger] == most_value[elder] and most[younger] > most[elder]
            ):
                most[elder], most_value[elder] = most[younger], most_value[younger]
            holds[elder] |= holds[younger]
    return bars[:used], targets[: used if image else 0], rest[left:], True


@njit(cache=True, nogil=True)
def _square_in(f, across, width, size, s, value, edge):
    """Whether square ``s`` of a basin is attached to it by the edges after ``edge``, which has ``value``."""
    if s >= size or across[s] == 0:
        return True
    own = _square_value(f, width, s)
    if own != value:
        return own > value
    code = across[s]
    by = 2 * (s + width) + 1 if code == _BELOW else 2 * (s + 1) if code == _BESIDE else 2 * s + 1
    return by > edge


@njit(cache=True, nogil=True)
def _flood_squares(f, fc, height, width, start, edge, value, seen, stack, stamp, budget):
    """Largest square in c, and its value, of the component of ``start`` in f under the edges after ``edge``."""
    best, best_value = start, _square_value(fc, width, start)
    seen[start] = stamp
    stack[0] = start
    depth = 1
    while depth:
        depth -= 1
        s = stack[depth]
        budget -= 1
        if budget < 0:
            return best, best_value, budget
        own = _square_value(fc, width, s)
        if own > best_value or (own == best_value and s > best):
            best, best_value = s, own
        for side in range(4):
            if side == 0:
                between, w = 2 * s, s - 1
            elif side == 1:
                between, w = 2 * s + 1, s - width
            elif side == 2:
                between, w = 2 * (s + 1), s + 1
            else:
                between, w = 2 * (s + width) + 1, s + width
            level = _edge_value(f, width, between)
            if level < value or (level == value and between < edge) or between == edge:
                continue
            x, y = s // width, s % width
            if (
                (side == 0 and y == 0)
                or (side == 1 and x == 0)
                or (side == 2 and y == width - 2)
                or (side == 3 and x == height - 2)
            ):
                return height * width, np.inf, budget
            if seen[w] != stamp:
                seen[w] = stamp
                stack[depth] = w
                depth += 1
    return best, best_value, budget
