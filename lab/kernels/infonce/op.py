"""The custom operation behind infonce on GPUs: log u over the negatives, and its gradient."""

from __future__ import annotations

import torch

from lab.kernels import differentiate


def infonce(a: torch.Tensor, b: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Losses (n,); arguments as in :func:`lab.kernels.infonce.reference.dense`."""
    log_u = negatives(a, b, temperature)
    return torch.logaddexp(log_u, torch.zeros_like(log_u)).to(a.dtype)


def reference(a, b, temperature):
    """log u by the dense matrix."""
    a, b = a.float(), b.float()
    positive = (a * b[: len(a)]).sum(1)
    difference = (a @ b.T - positive[:, None]) / temperature.to(a.dtype)
    others = torch.diagonal_scatter(difference, torch.full_like(positive, -float("inf")))
    return torch.logsumexp(others, dim=1)


def _own(a, b):
    return (a.float() * b[: len(a)].float()).sum(1)


@torch.library.custom_op("lab::infonce", mutates_args=())
def negatives(a: torch.Tensor, b: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    from lab.kernels.infonce import triton

    return triton.log_others(a.detach(), b.detach(), _own(a, b), float(temperature))


@torch.library.custom_op("lab::infonce_backward", mutates_args=())
def negatives_backward(
    a: torch.Tensor, b: torch.Tensor, temperature: torch.Tensor, log_u: torch.Tensor, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    from lab.kernels.infonce import triton

    n, t, own, g = len(a), float(temperature), _own(a, b), gradient.float()
    da, moment = triton.pull(a, b, own, log_u, g, t, False)
    db, _ = triton.pull(b, a, own, log_u, g, t, True)
    da = da - (g / t)[:, None] * b[:n].float()
    db[:n] -= (g / t)[:, None] * a.float()
    dt = -moment.sum()
    return da.to(a.dtype), db.to(b.dtype), dt.to(temperature.dtype)


@negatives.register_fake
def _(a, b, temperature):
    return a.new_empty((a.shape[0],), dtype=torch.float32)


@negatives_backward.register_fake
def _(a, b, temperature, log_u, gradient):
    return torch.empty_like(a), torch.empty_like(b), torch.empty_like(temperature)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs, output)


def _backward(ctx, gradient):
    return negatives_backward(*ctx.saved_tensors, gradient)


def _setup_twice(ctx, inputs, output):
    a, b, temperature, _, gradient = inputs
    ctx.save_for_backward(a, b, temperature, gradient)


def _backward_twice(ctx, *cotangents):
    *inputs, gradient = ctx.saved_tensors
    da, db, dt, dg = differentiate.twice(reference, inputs, (0, 1, 2), gradient, cotangents)
    return da, db, dt, None, dg


negatives.register_autograd(_backward, setup_context=_setup)
negatives_backward.register_autograd(_backward_twice, setup_context=_setup_twice)
