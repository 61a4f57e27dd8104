"""pairwise for GPUs: a block of points x against blocks of points y; the matrix lives in registers only.

Coordinates are differenced one axis at a time, so that near points keep their digits. From 64 axes on, distances come from a
product on tensor cores, |x|^2 + |y|^2 - 2 x.y of centred points, in three TF32 products (about 21 bits); kernels with a kink
at zero are differenced at any number of axes. The work is split over y as well where there are few blocks of x; the partial
results are combined in a second, deterministic step.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

ROWS, COLUMNS, WARPS = 32, 64, 4
KERNELS = ("gaussian", "laplacian", "matern32", "matern52", "imq", "energy", "dot")


@triton.jit
def measure(x, y, i, j, n, m, D: tl.constexpr, CODE: tl.constexpr):
    """Squared distances (products for the dot kernel) of points i and j; x and y are (axes, points)."""
    ROWS: tl.constexpr = i.shape[0]
    COLUMNS: tl.constexpr = j.shape[0]
    UNROLLED: tl.constexpr = D <= 4
    PRODUCT: tl.constexpr = D >= 64 and CODE != 1 and CODE != 5
    squared = tl.zeros([ROWS, COLUMNS], tl.float32)
    # Few axes are unrolled and x stays in registers; many run in a loop, which would not hold them all.
    if PRODUCT:
        squared = by_product(x, y, i, j, n, m, D, CODE)
    elif UNROLLED:
        for axis in tl.static_range(D):
            squared += term(x, y, axis, i, j, n, m, CODE)
    else:
        for axis in range(D):
            squared += term(x, y, axis, i, j, n, m, CODE)
    return squared


@triton.jit
def by_product(x, y, i, j, n, m, D: tl.constexpr, CODE: tl.constexpr):
    """:func:`measure` on tensor cores, 32 axes a step."""
    ROWS: tl.constexpr = i.shape[0]
    COLUMNS: tl.constexpr = j.shape[0]
    products = tl.zeros([ROWS, COLUMNS], tl.float32)
    lengths_x = tl.zeros([ROWS], tl.float32)
    lengths_y = tl.zeros([COLUMNS], tl.float32)
    for low in range(0, D, 32):
        axis = low + tl.arange(0, 32)
        a = tl.load(x + axis[None, :] * n + i[:, None], mask=(axis[None, :] < D) & (i[:, None] < n), other=0.0)
        b = tl.load(y + axis[:, None] * m + j[None, :], mask=(axis[:, None] < D) & (j[None, :] < m), other=0.0)
        products = tl.dot(a, b, products, input_precision="tf32x3")
        lengths_x += tl.sum(a * a, 1)
        lengths_y += tl.sum(b * b, 0)
    if CODE == 6:
        result = products
    else:
        result = tl.maximum(lengths_x[:, None] + lengths_y[None, :] - 2.0 * products, 0.0)
    return result


@triton.jit
def term(x, y, axis, i, j, n, m, CODE: tl.constexpr):
    """What one axis adds to the squared distances, or to the products."""
    a = tl.load(x + axis * n + i, mask=i < n, other=0.0)
    b = tl.load(y + axis * m + j, mask=j < m, other=0.0)
    if CODE == 6:
        result = a[:, None] * b[None, :]
    else:
        difference = a[:, None] - b[None, :]
        result = difference * difference
    return result


@triton.jit
def score(squared, CODE: tl.constexpr):
    """log k, and k itself for energy and dot."""
    if CODE == 0:
        result = -0.5 * squared
    elif CODE == 1 or CODE == 5:
        result = -tl.sqrt(squared)
    elif CODE == 2:
        a = 1.7320508075688772 * tl.sqrt(squared)
        result = tl.log(1.0 + a) - a
    elif CODE == 3:
        a = 2.23606797749979 * tl.sqrt(squared)
        result = tl.log(1.0 + a + a * a * 0.3333333333333333) - a
    elif CODE == 4:
        result = -0.5 * tl.log(1.0 + squared)
    else:
        result = squared
    return result


@triton.jit
def value(squared, CODE: tl.constexpr):
    """k."""
    if CODE == 2:
        a = 1.7320508075688772 * tl.sqrt(squared)
        result = (1.0 + a) * tl.exp(-a)
    elif CODE == 3:
        a = 2.23606797749979 * tl.sqrt(squared)
        result = (1.0 + a + a * a * 0.3333333333333333) * tl.exp(-a)
    elif CODE == 4:
        result = 1.0 / tl.sqrt(1.0 + squared)
    elif CODE == 5:
        result = -tl.sqrt(squared)
    elif CODE == 6:
        result = squared
    else:
        result = tl.exp(score(squared, CODE))
    return result


@triton.jit
def slope(squared, CODE: tl.constexpr, OF_SCORE: tl.constexpr):
    """2 dk/d(r^2), or of the score; 0 where points coincide at a kink; 1 for the dot kernel."""
    if CODE == 0:
        result = tl.full(squared.shape, -1.0, tl.float32)
        if not OF_SCORE:
            result = -tl.exp(-0.5 * squared)
    elif CODE == 1 or CODE == 5:
        r = tl.sqrt(squared)
        top = tl.full(squared.shape, -1.0, tl.float32)
        if CODE == 1 and not OF_SCORE:
            top = -tl.exp(-r)
        result = tl.where(r > 0, top / tl.where(r > 0, r, 1.0), 0.0)
    elif CODE == 2:
        a = 1.7320508075688772 * tl.sqrt(squared)
        if OF_SCORE:
            result = -3.0 / (1.0 + a)
        else:
            result = -3.0 * tl.exp(-a)
    elif CODE == 3:
        a = 2.23606797749979 * tl.sqrt(squared)
        top = -1.6666666666666667 * (1.0 + a)
        if OF_SCORE:
            result = top / (1.0 + a + a * a * 0.3333333333333333)
        else:
            result = top * tl.exp(-a)
    elif CODE == 4:
        inverse = 1.0 / (1.0 + squared)
        if OF_SCORE:
            result = -inverse
        else:
            result = -inverse * tl.sqrt(inverse)
    else:
        result = tl.full(squared.shape, 1.0, tl.float32)
    return result


@triton.jit
def weighted_sum(
    x, y, v, out, n, m, columns, part, D: tl.constexpr, CODE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """out[split, column, i] = sum of k(x_i, y_j) v[column, j] over j of the split."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split, column = tl.program_id(1), tl.program_id(2)
    low, high = split * part, tl.minimum((split + 1) * part, m)
    total = tl.zeros([ROWS], tl.float32)
    for first in range(low, high, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        weight = tl.load(v + column * m + j, mask=j < high, other=0.0)
        k = value(measure(x, y, i, j, n, m, D, CODE), CODE)
        total += tl.sum(k * weight[None, :], 1)
    tl.store(out + (split * columns + column).to(tl.int64) * n + i, total, mask=i < n)


@triton.jit
def logsumexp(
    x, y, bias, out, n, m, part, D: tl.constexpr, CODE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """out[split, i] = log sum exp(score(x_i, y_j) + bias_j) over j of the split."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split = tl.program_id(1)
    low, high = split * part, tl.minimum((split + 1) * part, m)
    top = tl.full([ROWS], -1.0e38, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for first in range(low, high, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        shift = tl.load(bias + j, mask=j < high, other=0.0)
        s = score(measure(x, y, i, j, n, m, D, CODE), CODE) + shift[None, :]
        s = tl.where(j[None, :] < high, s, -1.0e38)
        peak = tl.maximum(top, tl.max(s, 1))
        total = total * tl.exp(top - peak) + tl.sum(tl.exp(s - peak[:, None]), 1)
        top = peak
    tl.store(out + split.to(tl.int64) * n + i, top + tl.log(total), mask=i < n)


@triton.jit
def argmin(
    x, y, bias, out, place, n, m, part, D: tl.constexpr, CODE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """The largest score(x_i, y_j) + bias_j over j of the split, and its first j."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split = tl.program_id(1)
    low, high = split * part, tl.minimum((split + 1) * part, m)
    top = tl.full([ROWS], -3.0e38, tl.float32)
    best = tl.zeros([ROWS], tl.int32)
    for first in range(low, high, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        shift = tl.load(bias + j, mask=j < high, other=0.0)
        s = score(measure(x, y, i, j, n, m, D, CODE), CODE) + shift[None, :]
        s = tl.where(j[None, :] < high, s, -3.0e38)
        peak = tl.max(s, 1)
        at = tl.min(tl.where(s == peak[:, None], j[None, :], 2147483647), 1)
        best = tl.where(peak > top, at, best)
        top = tl.maximum(top, peak)
    tl.store(out + split.to(tl.int64) * n + i, top, mask=i < n)
    tl.store(place + split.to(tl.int64) * n + i, best, mask=i < n)


@triton.jit
def gradient(
    x,
    y,
    g,
    v,
    row,
    column,
    dx,
    da,
    n,
    m,
    columns,
    part,
    D: tl.constexpr,
    WIDTH: tl.constexpr,
    CODE: tl.constexpr,
    OF_SCORE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """dx[split, i, axis] and da[split, i] as in :func:`lab.kernels.pairwise.cpu.gradient`, y padded to WIDTH axes."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split = tl.program_id(1)
    low, high = split * part, tl.minimum((split + 1) * part, m)
    axis = tl.arange(0, WIDTH)
    moved = tl.zeros([ROWS, WIDTH], tl.float32)
    mass = tl.zeros([ROWS], tl.float32)
    weight_sum = tl.zeros([ROWS], tl.float32)
    shift = tl.load(row + i, mask=i < n, other=0.0)
    for first in range(low, high, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        squared = measure(x, y, i, j, n, m, D, CODE)
        a = tl.zeros([ROWS, COLUMNS], tl.float32)
        for c in range(0, columns):
            left = tl.load(g + c * n + i, mask=i < n, other=0.0)
            right = tl.load(v + c * m + j, mask=j < high, other=0.0)
            a += left[:, None] * right[None, :]
        if OF_SCORE:
            other = tl.load(column + j, mask=j < high, other=0.0)
            exponent = score(squared, CODE) + shift[:, None] + other[None, :]
            a = tl.where((j[None, :] < high) & (i[:, None] < n), a * tl.exp(exponent), 0.0)
        weight_sum += tl.sum(a, 1)
        w = a * slope(squared, CODE, OF_SCORE)
        mass += tl.sum(w, 1)
        points = tl.load(y + axis[None, :] * m + j[:, None], mask=(axis[None, :] < D) & (j[:, None] < high), other=0.0)
        moved += tl.dot(w, points, input_precision=PRECISION)
    if CODE == 6:
        result = moved
    else:
        own = tl.load(x + axis[None, :] * n + i[:, None], mask=(axis[None, :] < D) & (i[:, None] < n), other=0.0)
        result = own * mass[:, None] - moved
    place = (split.to(tl.int64) * n + i[:, None]) * D + axis[None, :]
    tl.store(dx + place, result, mask=(axis[None, :] < D) & (i[:, None] < n))
    tl.store(da + split.to(tl.int64) * n + i, weight_sum, mask=i < n)


def _split(n: int, m: int) -> tuple[int, int]:
    """(number of splits of y, points of y in each): enough programs for a large GPU, whole blocks of y."""
    wanted = max(1, min(triton.cdiv(m, 8 * COLUMNS), triton.cdiv(2048, triton.cdiv(n, ROWS))))
    part = triton.cdiv(triton.cdiv(m, wanted), COLUMNS) * COLUMNS
    return triton.cdiv(m, part), part


def _planes(x):
    return x.detach().float().T.contiguous()


def _centred(x, y, code):
    """Both sets moved by the mean of y, which changes no distance; products are left as they are."""
    if code == 6:
        return _planes(x), _planes(y)
    centre = y.detach().float().mean(0)
    return _planes(x.detach().float() - centre), _planes(y.detach().float() - centre)


def reduce_sum(x, y, v, code):
    """(n, c) sums."""
    (n, d), m, columns = x.shape, len(y), v.shape[1]
    splits, part = _split(n, m)
    out = torch.empty(splits, columns, n, device=x.device)
    weighted_sum[(triton.cdiv(n, ROWS), splits, columns)](
        *_centred(x, y, code),
        _planes(v),
        out,
        n,
        m,
        columns,
        part,
        D=d,
        CODE=code,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
        num_warps=WARPS,
    )
    return out.sum(0).T.to(x.dtype)


def reduce_logsumexp(x, y, bias, code):
    """(n,) logsumexps."""
    (n, d), m = x.shape, len(y)
    splits, part = _split(n, m)
    out = torch.empty(splits, n, device=x.device)
    logsumexp[(triton.cdiv(n, ROWS), splits)](
        *_centred(x, y, code),
        bias.float().contiguous(),
        out,
        n,
        m,
        part,
        D=d,
        CODE=code,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
        num_warps=WARPS,
    )
    return torch.logsumexp(out, 0).to(x.dtype)


def reduce_argmin(x, y, bias, code):
    """(n,) indices."""
    (n, d), m = x.shape, len(y)
    splits, part = _split(n, m)
    out = torch.empty(splits, n, device=x.device)
    place = torch.empty(splits, n, dtype=torch.int32, device=x.device)
    argmin[(triton.cdiv(n, ROWS), splits)](
        *_centred(x, y, code),
        bias.float().contiguous(),
        out,
        place,
        n,
        m,
        part,
        D=d,
        CODE=code,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
        num_warps=WARPS,
    )
    # argmax returns the first of equal splits, and splits stand in the order of y.
    first = (out == out.amax(0)).to(torch.int8).argmax(0)
    return place.gather(0, first[None])[0].to(torch.int64)


def reduce_gradient(x, y, g, v, row, column, code, of_score):
    """(dx (n, d), da (n,)). Points are centred first: the result is a difference of two sums."""
    (n, d), m = x.shape, len(y)
    splits, part = _split(n, m)
    dx, da = torch.empty(splits, n, d, device=x.device), torch.empty(splits, n, device=x.device)
    width = max(16, triton.next_power_of_2(d))
    gradient[(triton.cdiv(n, ROWS), splits)](
        *_centred(x, y, code),
        _planes(g),
        _planes(v),
        row.float().contiguous(),
        column.float().contiguous(),
        dx,
        da,
        n,
        m,
        g.shape[1],
        part,
        D=d,
        WIDTH=width,
        CODE=code,
        OF_SCORE=of_score,
        ROWS=ROWS,
        COLUMNS=32,
        PRECISION="ieee",
        num_warps=WARPS,
    )
    da = da.sum(0) if of_score else torch.zeros(n, device=x.device)
    return dx.sum(0).to(x.dtype), da.to(x.dtype)


def gate():
    """Configurations of the compile gate."""
    from lab.kernels.aot import Configuration

    sizes = {"n": "i32", "m": "i32", "part": "i32"}
    points = {"x": "*fp32", "y": "*fp32"}
    blocks = {"D": 3, "CODE": 0, "ROWS": ROWS, "COLUMNS": COLUMNS}
    return [
        Configuration(
            "pairwise gaussian sum, 3 axes",
            weighted_sum,
            {**points, "v": "*fp32", "out": "*fp32", **sizes, "columns": "i32"},
            blocks,
            warps=WARPS,
            registers=168,
            special=True,
        ),
        Configuration(
            "pairwise gaussian logsumexp, 64 axes",
            logsumexp,
            {**points, "bias": "*fp32", "out": "*fp32", **sizes},
            {**blocks, "D": 64},
            warps=WARPS,
            registers=255,
            dot=True,
            special=True,
        ),
        Configuration(
            "pairwise gaussian gradient, 3 axes",
            gradient,
            {
                **points,
                "g": "*fp32",
                "v": "*fp32",
                "row": "*fp32",
                "column": "*fp32",
                "dx": "*fp32",
                "da": "*fp32",
                **sizes,
                "columns": "i32",
            },
            {**blocks, "WIDTH": 16, "OF_SCORE": False, "COLUMNS": 32, "PRECISION": "tf32"},
            warps=WARPS,
            registers=255,
            dot=True,
            special=True,
        ),
    ]
