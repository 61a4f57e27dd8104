"""The custom operations behind pairwise: a sum, a logsumexp and an argmin over all pairs, and their gradients."""

from __future__ import annotations

import numpy as np
import torch

from lab.kernels import chunks, dispatch
from lab.kernels.pairwise import reference
from lab.kernels.pairwise.reference import KERNELS


def reduce(x, y, v, kernel, reduction, path):
    """Dispatch to the operation; arguments as in :mod:`lab.kernels.pairwise.reference`."""
    code = KERNELS.index(kernel)
    if reduction == "sum":
        return pair_sum(x, y, v, code)
    return pair_logsumexp(x, y, v, code) if reduction == "logsumexp" else pair_argmin(x, y, v, code)


def _rows(x):
    return np.ascontiguousarray(x.detach().float().numpy())


def _columns(x):
    return np.ascontiguousarray(x.detach().float().numpy().T)


def _cost(x, y, extra=0):
    return len(y) * (x.shape[1] + extra + 6) / 8


@torch.library.custom_op("lab::pair_sum", mutates_args=(), device_types="cpu")
def pair_sum(x: torch.Tensor, y: torch.Tensor, v: torch.Tensor, code: int) -> torch.Tensor:
    if dispatch.current() == "triton":
        return _gpu_pair_sum(x, y, v, code)
    from lab.kernels.pairwise import cpu

    points, others, values = _rows(x), _columns(y), _columns(v)
    out = np.empty((len(x), v.shape[1]), np.float32)
    if code == cpu.GAUSSIAN and x.shape[1] <= 3 and v.shape[1] == 1:
        padding = 3 - x.shape[1]
        points, others = np.pad(points, ((0, 0), (0, padding))), np.pad(others, ((0, padding), (0, 0)))

        def piece(start, stop):
            cpu.gaussian_sum3(points, others, values[0], out, start, stop)
    else:

        def piece(start, stop):
            cpu.weighted_sum(points, others, values, code, out, start, stop)

    chunks.run(piece, len(x), cost=_cost(x, y, v.shape[1]))
    return torch.from_numpy(out).to(x.dtype)


@torch.library.custom_op("lab::pair_logsumexp", mutates_args=(), device_types="cpu")
def pair_logsumexp(x: torch.Tensor, y: torch.Tensor, bias: torch.Tensor, code: int) -> torch.Tensor:
    if dispatch.current() == "triton":
        return _gpu_pair_logsumexp(x, y, bias, code)
    from lab.kernels.pairwise import cpu

    points, others, line = _rows(x), _columns(y), _rows(bias)
    out = np.empty(len(x), np.float32)
    chunks.run(
        lambda start, stop: cpu.logsumexp(points, others, line, code, out, start, stop), len(x), cost=_cost(x, y)
    )
    return torch.from_numpy(out).to(x.dtype)


@torch.library.custom_op("lab::pair_argmin", mutates_args=(), device_types="cpu")
def pair_argmin(x: torch.Tensor, y: torch.Tensor, bias: torch.Tensor, code: int) -> torch.Tensor:
    if dispatch.current() == "triton":
        return _gpu_pair_argmin(x, y, bias, code)
    from lab.kernels.pairwise import cpu

    points, others, line = _rows(x), _columns(y), _rows(bias)
    out = np.empty(len(x), np.int64)
    chunks.run(lambda start, stop: cpu.argmin(points, others, line, code, out, start, stop), len(x), cost=_cost(x, y))
    return torch.from_numpy(out)


@torch.library.custom_op("lab::pair_gradient", mutates_args=(), device_types="cpu")
def pair_gradient(
    x: torch.Tensor,
    y: torch.Tensor,
    g: torch.Tensor,
    v: torch.Tensor,
    row: torch.Tensor,
    column: torch.Tensor,
    code: int,
    of_score: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient (n, d) in x, and the sums over j of its weights (n,); see :func:`lab.kernels.pairwise.cpu.gradient`."""
    if dispatch.current() == "triton":
        return _gpu_pair_gradient(x, y, g, v, row, column, code, of_score)
    from lab.kernels.pairwise import cpu

    points, others, gt, vt, r, c = _rows(x), _columns(y), _columns(g), _columns(v), _rows(row), _rows(column)
    dx, da = np.empty(x.shape, np.float32), np.empty(len(x), np.float32)
    chunks.run(
        lambda start, stop: cpu.gradient(points, others, gt, vt, r, c, code, of_score, dx, da, start, stop),
        len(x),
        cost=2 * _cost(x, y, v.shape[1]),
    )
    return torch.from_numpy(dx).to(x.dtype), torch.from_numpy(da).to(x.dtype)


@pair_sum.register_kernel("cuda")
def _gpu_pair_sum(x, y, v, code):
    from lab.kernels.pairwise import triton

    return triton.reduce_sum(x.detach(), y.detach(), v.detach(), code)


@pair_sum.register_fake
def _(x, y, v, code):
    return x.new_empty((x.shape[0], v.shape[1]))


@pair_logsumexp.register_kernel("cuda")
def _gpu_pair_logsumexp(x, y, bias, code):
    from lab.kernels.pairwise import triton

    return triton.reduce_logsumexp(x.detach(), y.detach(), bias.detach(), code)


@pair_logsumexp.register_fake
def _(x, y, bias, code):
    return x.new_empty((x.shape[0],))


@pair_argmin.register_kernel("cuda")
def _gpu_pair_argmin(x, y, bias, code):
    from lab.kernels.pairwise import triton

    return triton.reduce_argmin(x.detach(), y.detach(), bias.detach(), code)


@pair_argmin.register_fake
def _(x, y, bias, code):
    return x.new_empty((x.shape[0],), dtype=torch.int64)


@pair_gradient.register_kernel("cuda")
def _gpu_pair_gradient(x, y, g, v, row, column, code, of_score):
    from lab.kernels.pairwise import triton

    return triton.reduce_gradient(
        x.detach(), y.detach(), g.detach(), v.detach(), row.detach(), column.detach(), code, of_score
    )


@pair_gradient.register_fake
def _(x, y, g, v, row, column, code, of_score):
    return x.new_empty(x.shape), x.new_empty((x.shape[0],))


def _setup(ctx, inputs, output):
    x, y, v, ctx.code = inputs
    ctx.save_for_backward(x, y, v, output)


def _backward_sum(ctx, g):
    x, y, v, _ = ctx.saved_tensors
    wanted, code, none = ctx.needs_input_grad, ctx.code, x.new_zeros(1)
    dx = pair_gradient(x, y, g, v, none.expand(len(x)), none.expand(len(y)), code, False)[0] if wanted[0] else None
    dy = pair_gradient(y, x, v, g, none.expand(len(y)), none.expand(len(x)), code, False)[0] if wanted[1] else None
    dv = pair_sum(y, x, g, code) if wanted[2] else None
    return dx, dy, dv, None


def _backward_logsumexp(ctx, g):
    x, y, bias, out = ctx.saved_tensors
    wanted, code = ctx.needs_input_grad, ctx.code
    g, one = g[:, None], y.new_ones(len(y), 1)
    dx = pair_gradient(x, y, g, one, -out, bias, code, True)[0] if wanted[0] else None
    dy, dbias = pair_gradient(y, x, one, g, bias, -out, code, True) if wanted[1] or wanted[2] else (None, None)
    return dx, dy, dbias, None


def _setup_twice(ctx, inputs, output):
    x, y, g, v, row, column, ctx.code, ctx.of_score = inputs
    ctx.save_for_backward(x, y, g, v, row, column)


def _backward_twice(ctx, *cotangents):
    # dx is the gradient in x of P = sum_ij a_ij k_ij with a held; da is its sum over j. Both by the dense reference.
    kernel = KERNELS[ctx.code]

    def function(x, y, g, v, row, column):
        weights = g @ v.T
        scores = reference.scores(x, y, kernel)
        if ctx.of_score:
            weights = weights * torch.exp(scores + row[:, None] + column)
            held, moving = weights, scores
        else:
            held, moving = weights, scores if kernel in ("energy", "dot") else scores.exp()
        return held, moving

    with torch.enable_grad():
        leaves = [value.detach().requires_grad_() for value in ctx.saved_tensors]
        held, moving = function(*leaves)
        frozen = held.detach().requires_grad_()
        (dx,) = torch.autograd.grad(moving, leaves[0], frozen, create_graph=True)
        pairs = [(dx, cotangents[0])] if cotangents[0] is not None else []
        found = [torch.zeros_like(leaf) for leaf in leaves]
        to_held = torch.zeros_like(held)
        if pairs:
            *direct, to_held = torch.autograd.grad(
                dx, [*leaves, frozen], cotangents[0], retain_graph=True, materialize_grads=True
            )
            found = [a + b for a, b in zip(found, direct)]
        if ctx.of_score and cotangents[1] is not None:
            to_held = to_held + cotangents[1][:, None]
        through = torch.autograd.grad(held, leaves, to_held, materialize_grads=True)
        found = [a + b for a, b in zip(found, through)]
    return *found, None, None


pair_sum.register_autograd(_backward_sum, setup_context=_setup)
pair_logsumexp.register_autograd(_backward_logsumexp, setup_context=_setup)
pair_gradient.register_autograd(_backward_twice, setup_context=_setup_twice)
