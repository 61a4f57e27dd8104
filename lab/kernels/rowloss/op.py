"""The custom operation behind rowloss: log u and its gradient; everything after it is one number a row."""

from __future__ import annotations

import numpy as np
import torch

from lab.kernels import chunks, differentiate, dispatch
from lab.kernels.rowloss import reference


def _shapes(z: torch.Tensor) -> bool:
    """Whether z (B, C, S) is walked by rows (classes side by side, or one pixel)."""
    return z.shape[2] == 1 or (z.stride(1) == 1 and z.shape[1] > 1)


def _arrays(z, y, t):
    f32 = np.float32
    z, t = z.detach().float(), t.detach().float().expand(y.shape)
    if _shapes(z):
        return (
            z.transpose(1, 2).reshape(-1, z.shape[1]).contiguous().numpy(),
            y.reshape(-1).contiguous().numpy(),
            t.reshape(-1).contiguous().numpy(),
            f32,
        )
    return z.contiguous().numpy(), y.contiguous().numpy(), t.contiguous().numpy(), f32


@torch.library.custom_op("lab::log_others", mutates_args=(), device_types="cpu")
def log_others(z: torch.Tensor, y: torch.Tensor, t: torch.Tensor, margin: float) -> torch.Tensor:
    if dispatch.current() == "triton":
        return _gpu(z, y, t, margin)
    from lab.kernels.rowloss import cpu

    scores, labels, temperatures, f32 = _arrays(z, y, t)
    out = np.empty(labels.shape, f32)
    kernel = cpu.rows_forward if scores.ndim == 2 else cpu.planes_forward

    def piece(start, stop):
        kernel(scores, labels, temperatures, f32(margin), out, start, stop)

    chunks.run(piece, len(scores), cost=scores[0].size)
    return torch.from_numpy(out).reshape(y.shape)


@torch.library.custom_op("lab::log_others_backward", mutates_args=(), device_types="cpu")
def log_others_backward(
    z: torch.Tensor, y: torch.Tensor, t: torch.Tensor, margin: float, log_u: torch.Tensor, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    if dispatch.current() == "triton":
        return _gpu_backward(z, y, t, margin, log_u, gradient)
    from lab.kernels.rowloss import cpu

    scores, labels, temperatures, f32 = _arrays(z, y, t)
    known, upstream = (x.detach().float().reshape(labels.shape).contiguous().numpy() for x in (log_u, gradient))
    dz, dt = np.empty(scores.shape, f32), np.empty(labels.shape, f32)
    kernel = cpu.rows_backward if scores.ndim == 2 else cpu.planes_backward

    def piece(start, stop):
        kernel(scores, labels, temperatures, f32(margin), known, upstream, dz, dt, start, stop)

    chunks.run(piece, len(scores), cost=scores[0].size)
    if scores.ndim == 2:
        batch, classes, pixels = z.shape
        result = torch.from_numpy(dz).reshape(batch, pixels, classes).transpose(1, 2)
    else:
        result = torch.from_numpy(dz)
    by_row = torch.from_numpy(dt).reshape(y.shape)
    return result.to(z.dtype), by_row.sum() if t.ndim == 0 else by_row


@log_others.register_kernel("cuda")
def _gpu(z, y, t, margin):
    from lab.kernels.rowloss import triton

    return triton.forward(z.detach(), y, t.detach(), margin)


@log_others_backward.register_kernel("cuda")
def _gpu_backward(z, y, t, margin, log_u, gradient):
    from lab.kernels.rowloss import triton

    dz, dt = triton.backward(z.detach(), y, t.detach(), margin, log_u.detach(), gradient.detach())
    return dz, dt.sum() if t.ndim == 0 else dt


@log_others.register_fake
def _(z, y, t, margin):
    return z.new_empty(y.shape, dtype=torch.float32)


@log_others_backward.register_fake
def _(z, y, t, margin, log_u, gradient):
    if _shapes(z):
        dz = z.new_empty((z.shape[0], z.shape[2], z.shape[1])).transpose(1, 2)
    else:
        dz = z.new_empty(z.shape)
    return dz, t.new_empty(t.shape, dtype=torch.float32)


def _setup(ctx, inputs, output):
    z, y, t, ctx.margin = inputs
    ctx.save_for_backward(z, y, t, output)


def _backward(ctx, gradient):
    z, y, t, log_u = ctx.saved_tensors
    dz, dt = log_others_backward(z, y, t, ctx.margin, log_u, gradient)
    return dz, None, dt, None


def _setup_twice(ctx, inputs, output):
    z, y, t, ctx.margin, log_u, gradient = inputs
    ctx.save_for_backward(z, y, t, gradient)


def _backward_twice(ctx, *cotangents):
    z, y, t, gradient = ctx.saved_tensors

    def function(z, t):
        return reference.log_others(z, y, t, ctx.margin)

    dz, dt, dg = differentiate.twice(function, (z, t), (0, 1), gradient, cotangents)
    return dz, None, dt, None, None, dg


log_others.register_autograd(_backward, setup_context=_setup)
log_others_backward.register_autograd(_backward_twice, setup_context=_setup_twice)
