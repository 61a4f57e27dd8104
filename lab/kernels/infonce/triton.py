"""infonce for GPUs: blocks of the matrix of similarities are made on tensor cores, reduced, and forgotten.

log u_i = log sum_{j != i} exp((s_ij - s_ii)/t) with s = a b^T. The gradient blocks are made again from log u.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

ROWS, COLUMNS, DEPTH, WARPS = 64, 64, 64, 4


@triton.jit
def product(a, b, i, j, n, m, d, DEPTH: tl.constexpr, PRECISION: tl.constexpr):
    """a_i . b_j for blocks of rows i of a and j of b."""
    ROWS: tl.constexpr = i.shape[0]
    COLUMNS: tl.constexpr = j.shape[0]
    s = tl.zeros([ROWS, COLUMNS], tl.float32)
    for low in range(0, d, DEPTH):
        k = low + tl.arange(0, DEPTH)
        left = tl.load(
            a + i[:, None].to(tl.int64) * d + k[None, :], mask=(i[:, None] < n) & (k[None, :] < d), other=0.0
        )
        # The second block is loaded in transposed order: a transposed register tile miscompiles on some versions.
        right = tl.load(
            b + j[None, :].to(tl.int64) * d + k[:, None], mask=(j[None, :] < m) & (k[:, None] < d), other=0.0
        )
        s = tl.dot(left, right, s, input_precision=PRECISION)
    return s


@triton.jit
def forward(
    a,
    b,
    own,
    out,
    n,
    m,
    d,
    part,
    inverse,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """out[split, i] = log sum over j of the split, j != i, of exp((s_ij - own_i) inverse)."""
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split = tl.program_id(1)
    low, high = split * part, tl.minimum((split + 1) * part, m)
    positive = tl.load(own + i, mask=i < n, other=0.0)
    top = tl.full([ROWS], -1.0e30, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for first in range(low, high, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        s = (product(a, b, i, j, n, m, d, DEPTH, PRECISION) - positive[:, None]) * inverse
        s = tl.where((j[None, :] < high) & (j[None, :] != i[:, None]), s, -1.0e38)
        peak = tl.maximum(top, tl.max(s, 1))
        total = total * tl.exp(top - peak) + tl.sum(tl.exp(s - peak[:, None]), 1)
        top = peak
    tl.store(out + split.to(tl.int64) * n + i, top + tl.log(total), mask=i < n)


@triton.jit
def backward(
    a,
    b,
    own,
    log_u,
    factor,
    out,
    moment,
    n,
    m,
    d,
    part,
    rows,
    inverse,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    WIDTH: tl.constexpr,
    OF_COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """out[split, i] = sum_j w_ij b_j over j of the split, for one slice of WIDTH features.

    w_ij = factor exp((s_ij - own) inverse - log_u), j != i; own, log_u and factor belong to i, or with OF_COLUMNS to j
    (then a and b have changed places). ``rows`` is the number of anchors; moment[split, i] = sum_j w_ij (s - own) inverse.
    """
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split = tl.program_id(1)
    k = tl.program_id(2) * WIDTH + tl.arange(0, WIDTH)
    low, high = split * part, tl.minimum((split + 1) * part, m)
    total = tl.zeros([ROWS, WIDTH], tl.float32)
    sum_ = tl.zeros([ROWS], tl.float32)
    for first in range(low, high, COLUMNS):
        j = first + tl.arange(0, COLUMNS)
        s = product(a, b, i, j, n, m, d, DEPTH, PRECISION)
        if OF_COLUMNS:
            positive = tl.load(own + j, mask=j < rows, other=0.0)[None, :]
            known = tl.load(log_u + j, mask=j < rows, other=0.0)[None, :]
            scale = tl.load(factor + j, mask=j < rows, other=0.0)[None, :]
            valid = (j[None, :] < tl.minimum(high, rows)) & (j[None, :] != i[:, None])
        else:
            positive = tl.load(own + i, mask=i < rows, other=0.0)[:, None]
            known = tl.load(log_u + i, mask=i < rows, other=0.0)[:, None]
            scale = tl.load(factor + i, mask=i < rows, other=0.0)[:, None]
            valid = (j[None, :] < high) & (j[None, :] != i[:, None])
        exponent = (s - positive) * inverse
        w = tl.where(valid, scale * tl.exp(tl.where(valid, exponent - known, 0.0)), 0.0)
        sum_ += tl.sum(w * exponent, 1)
        right = tl.load(
            b + j[:, None].to(tl.int64) * d + k[None, :], mask=(j[:, None] < high) & (k[None, :] < d), other=0.0
        )
        total = tl.dot(w.to(right.dtype), right, total, input_precision=PRECISION)
    place = (split.to(tl.int64) * n + i[:, None]) * d + k[None, :]
    tl.store(out + place, total, mask=(i[:, None] < n) & (k[None, :] < d))
    if tl.program_id(2) == 0:
        tl.store(moment + split.to(tl.int64) * n + i, sum_, mask=i < n)


def _split(n: int, m: int) -> tuple[int, int]:
    wanted = max(1, min(triton.cdiv(m, 4 * COLUMNS), triton.cdiv(512, triton.cdiv(n, ROWS))))
    part = triton.cdiv(triton.cdiv(m, wanted), COLUMNS) * COLUMNS
    return triton.cdiv(m, part), part


def precision(dtype: torch.dtype) -> str:
    """How float32 blocks are multiplied: in three TF32 products, which keeps about 21 bits."""
    return "tf32x3" if dtype == torch.float32 else "tf32"


def log_others(a: torch.Tensor, b: torch.Tensor, own: torch.Tensor, temperature: float) -> torch.Tensor:
    """log u (n,) from features a (n, d), b (m, d) and the positives' similarities own (n,)."""
    (n, d), m = a.shape, len(b)
    splits, part = _split(n, m)
    out = torch.empty(splits, n, device=a.device)
    forward[(triton.cdiv(n, ROWS), splits)](
        a.contiguous(),
        b.contiguous(),
        own.float().contiguous(),
        out,
        n,
        m,
        d,
        part,
        1.0 / temperature,
        ROWS=ROWS,
        COLUMNS=COLUMNS,
        DEPTH=DEPTH,
        PRECISION=precision(a.dtype),
        num_warps=WARPS,
    )
    return torch.logsumexp(out, 0)


def pull(a, b, own, log_u, gradient, temperature, of_columns):
    """(sum_j w_ij b_j (n, d), sum_j w_ij exponent (n,)); see :func:`backward`."""
    (n, d), m = a.shape, len(b)
    splits, part = _split(n, m)
    width = 128 if d > 64 else max(16, triton.next_power_of_2(d))
    out, moment = torch.empty(splits, n, d, device=a.device), torch.empty(splits, n, device=a.device)
    factor = (gradient / temperature).float().contiguous()
    backward[(triton.cdiv(n, ROWS), splits, triton.cdiv(d, width))](
        a.contiguous(),
        b.contiguous(),
        own.float().contiguous(),
        log_u.contiguous(),
        factor,
        out,
        moment,
        n,
        m,
        d,
        part,
        len(own),
        1.0 / temperature,
        ROWS=ROWS,
        COLUMNS=32,
        DEPTH=DEPTH,
        WIDTH=width,
        OF_COLUMNS=of_columns,
        PRECISION=precision(a.dtype),
        num_warps=8,
    )
    return out.sum(0), moment.sum(0)


def gate():
    """Configurations of the compile gate."""
    from lab.kernels.aot import Configuration

    features = {"a": "*bf16", "b": "*bf16", "own": "*fp32"}
    sizes = {"n": "i32", "m": "i32", "d": "i32", "part": "i32"}
    blocks = {"ROWS": ROWS, "COLUMNS": COLUMNS, "DEPTH": DEPTH, "PRECISION": "tf32"}
    return [
        Configuration(
            "infonce forward bf16",
            forward,
            {**features, "out": "*fp32", **sizes, "inverse": "fp32"},
            blocks,
            warps=WARPS,
            registers=255,
            dot=True,
            wide=True,
            special=True,
        ),
        Configuration(
            "infonce backward bf16",
            backward,
            {
                **features,
                "log_u": "*fp32",
                "factor": "*fp32",
                "out": "*fp32",
                "moment": "*fp32",
                **sizes,
                "rows": "i32",
                "inverse": "fp32",
            },
            {**blocks, "COLUMNS": 32, "WIDTH": 128, "OF_COLUMNS": False},
            warps=8,
            registers=255,
            dot=True,
            wide=True,
            special=True,
        ),
    ]
