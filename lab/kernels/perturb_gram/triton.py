"""perturb_gram for GPUs: perturbations drawn in place, and one program an instance for its weighted normal equations."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from lab.kernels.perturb_gram.names import STREAM
from lab.kernels.philox.triton import numbers4

DRAWS, WARPS = 64, 4


@triton.jit
def draw(
    out,
    seed,
    first,
    count,
    d,
    a,
    b,
    CODE: tl.constexpr,
    PAIRED: tl.constexpr,
    STREAM: tl.constexpr,
    FAST: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """out[s, k] for draws s of one block of rows and four coordinates k at a time."""
    s = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    block = tl.program_id(1) * BLOCKS + tl.arange(0, BLOCKS)
    index = first + s
    mirrored = tl.zeros([ROWS], tl.int1)
    if PAIRED:
        mirrored = index % 2 == 1
        index = index // 2
    item = index[:, None] + tl.zeros([ROWS, BLOCKS], tl.int64)
    at = block[None, :] + tl.zeros([ROWS, BLOCKS], tl.int32)
    n0, n1, n2, n3 = numbers4(seed, item, at, STREAM, CODE != 0, FAST)
    pairs = tl.join(tl.join(n0, n2), tl.join(n1, n3))
    number = tl.reshape(pairs, (ROWS, BLOCKS * 4))
    k = tl.program_id(1) * BLOCKS * 4 + tl.arange(0, BLOCKS * 4)
    if CODE == 0:
        value = tl.where(mirrored[:, None], -number, number) * a
    elif CODE == 1:
        value = a + (b - a) * number
        value = tl.where(mirrored[:, None], a + b - value, value)
    else:
        value = ((number <= a) != mirrored[:, None]).to(tl.float32)
    tl.store(out + s[:, None] * d + k[None, :], value, mask=(s[:, None] < count) & (k[None, :] < d))


@triton.jit
def gram(
    xi,
    w,
    out,
    m,
    d,
    p,
    part,
    INTERCEPT: tl.constexpr,
    WIDTH: tl.constexpr,
    DRAWS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """out[split, n, :, :] = sum of w[n, s] z_s z_s^T over s of the split; z = (1, xi) or xi, padded to WIDTH."""
    instance = tl.program_id(0).to(tl.int64)
    split = tl.program_id(1)
    k = tl.arange(0, WIDTH)
    total = tl.zeros([WIDTH, WIDTH], tl.float32)
    low, high = split * part, tl.minimum((split + 1) * part, m)
    for first in range(low, high, DRAWS):
        s = first + tl.arange(0, DRAWS)
        inside = s < high
        weight = tl.load(w + instance * m + s, mask=inside, other=0.0)
        # The column 0 of z is the constant; both orders are loaded from memory, so that no tile is transposed.
        column = k - 1 if INTERCEPT else k
        known = (column >= 0) & (column < d)
        z = tl.load(xi + s[:, None] * d + column[None, :], mask=inside[:, None] & known[None, :], other=0.0)
        zt = tl.load(xi + s[None, :] * d + column[:, None], mask=inside[None, :] & known[:, None], other=0.0)
        if INTERCEPT:
            z = tl.where(k[None, :] == 0, 1.0, z)
            zt = tl.where(k[:, None] == 0, 1.0, zt)
        total = tl.dot(zt * weight[None, :], z, total, input_precision=PRECISION)
    place = ((split.to(tl.int64) * tl.num_programs(0) + instance) * p + k[:, None]) * p + k[None, :]
    tl.store(out + place, total, mask=(k[:, None] < p) & (k[None, :] < p))


def perturbations(
    code: int, count: int, dimension: int, seed: int, start: int, stream: int, paired: bool, a: float, b: float, device
) -> torch.Tensor:
    """Perturbations start .. start + count - 1 of the law with place ``code`` under ``seed``: (count, dimension)."""
    from lab.kernels import dispatch

    out = torch.empty(count, dimension, device=device)
    blocks = min(16, triton.next_power_of_2(triton.cdiv(dimension, 4)))
    draw[(triton.cdiv(count, DRAWS), triton.cdiv(dimension, 4 * blocks))](
        out,
        seed,
        start,
        count,
        dimension,
        a,
        b,
        CODE=code,
        PAIRED=paired,
        STREAM=stream,
        FAST=not dispatch.interpreting(),
        ROWS=DRAWS,
        BLOCKS=blocks,
        num_warps=WARPS,
    )
    return out


def matrices(xi: torch.Tensor, w: torch.Tensor, intercept: bool) -> torch.Tensor:
    """(n, p, p) weighted products of xi (m, d) under weights (n, m)."""
    (m, d), n = xi.shape, len(w)
    p = d + intercept
    splits = max(1, min(triton.cdiv(m, 4 * DRAWS), triton.cdiv(1024, n)))
    part = triton.cdiv(triton.cdiv(m, splits), DRAWS) * DRAWS
    splits = triton.cdiv(m, part)
    out = torch.empty(splits, n, p, p, device=xi.device)
    gram[(n, splits)](
        xi.contiguous(),
        w.contiguous(),
        out,
        m,
        d,
        p,
        part,
        INTERCEPT=intercept,
        WIDTH=max(16, triton.next_power_of_2(p)),
        DRAWS=DRAWS,
        PRECISION="tf32x3",
        num_warps=WARPS,
    )
    return out.double().sum(0)


def gate():
    """Configurations of the compile gate."""
    from lab.kernels.aot import Configuration

    return [
        Configuration(
            "perturb_gram draw",
            draw,
            {"out": "*fp32", "seed": "i64", "first": "i64", "count": "i32", "d": "i32", "a": "fp32", "b": "fp32"},
            {"CODE": 0, "PAIRED": False, "STREAM": STREAM, "FAST": True, "ROWS": DRAWS, "BLOCKS": 8},
            warps=WARPS,
            registers=168,
            special=True,
        ),
        Configuration(
            "perturb_gram gram, 30 axes",
            gram,
            {"xi": "*fp32", "w": "*fp32", "out": "*fp32", "m": "i32", "d": "i32", "p": "i32", "part": "i32"},
            {"INTERCEPT": True, "WIDTH": 32, "DRAWS": DRAWS, "PRECISION": "tf32"},
            warps=WARPS,
            registers=200,
            dot=True,
        ),
    ]
