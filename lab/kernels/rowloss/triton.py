"""rowloss for GPUs: log u of the wrong classes in one read of the scores, its gradient in one read and one write.

Blocks of moderate size in a loop, never one block a row: with 8 warps a block of 32768 needs 200 registers a thread, one of
4096 about 40, whatever the number of classes. Every program writes its rows; nothing is accumulated across programs.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

BLOCK, WARPS = 4096, 8
PIXELS = 256


@triton.jit
def rows_forward(z, y, t, out, margin, classes, stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(y + row)
    inverse = 1.0 / tl.load(t + row)
    line = z + row * stride
    shift = margin - tl.load(line + label).to(tl.float32)
    # Each lane keeps its own maximum and its own sum, scaled to that maximum: one exponential a score.
    top = tl.full([BLOCK], -1.0e38, tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for low in range(0, classes, BLOCK):
        column = low + tl.arange(0, BLOCK)
        value = tl.load(line + column, mask=column < classes, other=-1.0e38).to(tl.float32)
        valid = (column < classes) & (column != label)
        gap = (value - top) * inverse
        e = tl.exp(-tl.abs(gap))
        total = tl.where(valid, tl.where(gap > 0, total * e + 1.0, total + e), total)
        top = tl.where(valid, tl.maximum(top, value), top)
    peak = tl.max(top, 0)
    sum_ = tl.sum(total * tl.exp((top - peak) * inverse), 0)
    tl.store(out + row, (peak + shift) * inverse + tl.log(sum_))


@triton.jit
def rows_backward(z, y, t, log_u, gradient, dz, dt, margin, classes, stride, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    label = tl.load(y + row)
    inverse = 1.0 / tl.load(t + row)
    top = tl.load(log_u + row)
    factor = tl.load(gradient + row) * inverse
    line = z + row * stride
    result = dz + row * classes
    shift = margin - tl.load(line + label).to(tl.float32)
    moment = tl.zeros([BLOCK], tl.float32)
    for low in range(0, classes, BLOCK):
        column = low + tl.arange(0, BLOCK)
        value = tl.load(line + column, mask=column < classes, other=-1.0e38).to(tl.float32)
        a = (value + shift) * inverse
        other = (column < classes) & (column != label)
        q = tl.where(other, tl.exp(a - top), 0.0)
        moment += tl.where(other, q * a, 0.0)
        gradient_z = factor * tl.where(column == label, -1.0, q)
        tl.store(result + column, gradient_z.to(dz.dtype.element_ty), mask=column < classes)
    tl.store(dt + row, -factor * tl.sum(moment, 0))


@triton.jit
def planes_forward(z, y, t, out, margin, classes, pixels, PIXELS: tl.constexpr):
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < pixels
    place = image * pixels + pixel
    label = tl.load(y + place, mask=inside, other=0)
    inverse = 1.0 / tl.load(t + place, mask=inside, other=1.0)
    base = z + image * classes * pixels + pixel
    shift = margin - tl.load(base + label * pixels, mask=inside, other=0.0).to(tl.float32)
    top = tl.full([PIXELS], -1.0e38, tl.float32)
    total = tl.zeros([PIXELS], tl.float32)
    for c in range(0, classes):
        value = tl.load(base + c * pixels, mask=inside, other=0.0).to(tl.float32)
        valid = label != c
        gap = (value - top) * inverse
        e = tl.exp(-tl.abs(gap))
        total = tl.where(valid, tl.where(gap > 0, total * e + 1.0, total + e), total)
        top = tl.where(valid, tl.maximum(top, value), top)
    tl.store(out + place, (top + shift) * inverse + tl.log(total), mask=inside)


@triton.jit
def planes_backward(z, y, t, log_u, gradient, dz, dt, margin, classes, pixels, PIXELS: tl.constexpr):
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < pixels
    place = image * pixels + pixel
    label = tl.load(y + place, mask=inside, other=0)
    inverse = 1.0 / tl.load(t + place, mask=inside, other=1.0)
    top = tl.load(log_u + place, mask=inside, other=0.0)
    factor = tl.load(gradient + place, mask=inside, other=0.0) * inverse
    offset = image * classes * pixels + pixel
    shift = margin - tl.load(z + offset + label * pixels, mask=inside, other=0.0).to(tl.float32)
    moment = tl.zeros([PIXELS], tl.float32)
    for c in range(0, classes):
        value = tl.load(z + offset + c * pixels, mask=inside, other=0.0).to(tl.float32)
        a = (value + shift) * inverse
        q = tl.where(label != c, tl.exp(a - top), 0.0)
        moment += tl.where(label != c, q * a, 0.0)
        gradient_z = factor * tl.where(label == c, -1.0, q)
        tl.store(dz + offset + c * pixels, gradient_z.to(dz.dtype.element_ty), mask=inside)
    tl.store(dt + place, -factor * moment, mask=inside)


def forward(z: torch.Tensor, y: torch.Tensor, t: torch.Tensor, margin: float) -> torch.Tensor:
    """log u (B, S) of z (B, C, S)."""
    size = y.shape
    rows, z, y, t = _prepare(z, y, t)
    out = torch.empty(y.shape, dtype=torch.float32, device=z.device)
    if rows:
        rows_forward[(len(z),)](z, y, t, out, margin, z.shape[1], z.stride(0), BLOCK=_block(z), num_warps=WARPS)
    else:
        grid = (triton.cdiv(z.shape[2], PIXELS), len(z))
        planes_forward[grid](z, y, t, out, margin, z.shape[1], z.shape[2], PIXELS=PIXELS, num_warps=4)
    return out.reshape(size)


def backward(
    z: torch.Tensor, y: torch.Tensor, t: torch.Tensor, margin: float, log_u: torch.Tensor, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients in z and t (per row)."""
    shape, size = z.shape, y.shape
    rows, z, y, t = _prepare(z, y, t)
    log_u, gradient = (x.float().reshape(y.shape).contiguous() for x in (log_u, gradient))
    dz, dt = torch.empty(z.shape, dtype=z.dtype, device=z.device), torch.empty_like(t)
    if rows:
        rows_backward[(len(z),)](
            z, y, t, log_u, gradient, dz, dt, margin, z.shape[1], z.stride(0), BLOCK=_block(z), num_warps=WARPS
        )
        dz = dz.reshape(shape[0], shape[2], shape[1]).transpose(1, 2)
    else:
        grid = (triton.cdiv(z.shape[2], PIXELS), len(z))
        planes_backward[grid](
            z, y, t, log_u, gradient, dz, dt, margin, z.shape[1], z.shape[2], PIXELS=PIXELS, num_warps=4
        )
    return dz, dt.reshape(size)


def _prepare(z, y, t):
    t = t.float().expand(y.shape)
    if z.shape[2] == 1 or z.stride(1) == 1:
        z = z.transpose(1, 2).reshape(-1, z.shape[1])
        return True, z if z.stride(1) == 1 else z.contiguous(), y.reshape(-1).contiguous(), t.reshape(-1).contiguous()
    return False, z.contiguous(), y.contiguous(), t.contiguous()


def _block(z):
    return min(BLOCK, max(128, triton.next_power_of_2(z.shape[1])))


def gate():
    """Configurations of the compile gate."""
    from lab.kernels.aot import Configuration

    pointers = {"z": "*bf16", "y": "*i64", "t": "*fp32", "out": "*fp32", "margin": "fp32", "classes": "i32"}
    more = {"log_u": "*fp32", "gradient": "*fp32", "dz": "*bf16", "dt": "*fp32"}
    return [
        Configuration(
            "rowloss forward bf16",
            rows_forward,
            {**pointers, "stride": "i32"},
            {"BLOCK": BLOCK},
            warps=WARPS,
            registers=96,
            wide=True,
        ),
        Configuration(
            "rowloss backward bf16",
            rows_backward,
            {**pointers, **more, "stride": "i32"},
            {"BLOCK": BLOCK},
            warps=WARPS,
            registers=128,
            wide=True,
        ),
        Configuration(
            "rowloss image forward fp32",
            planes_forward,
            {**pointers, "z": "*fp32", "pixels": "i32"},
            {"PIXELS": 512},
            warps=4,
            registers=96,
            wide=True,
        ),
    ]
