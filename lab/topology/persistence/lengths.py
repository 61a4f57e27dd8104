"""Lengths of edges between points, differentiable in the points: one step of the graph of derivatives, not ten."""

from __future__ import annotations

import math

import torch

from lab.kernels.precision import wide

SAFE = 1e30  # squares of numbers between 1 / SAFE and SAFE neither overflow nor vanish


def edge_lengths(x: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Distances ``|x[first] - x[second]|`` (k,), computed in float64, of the dtype of ``x`` (n, d), at least float32.

    The gradient is the unit vector of the edge, and zero where the points coincide (a subgradient of the norm).
    """
    x = wide(x)
    return _Lengths.apply(x.double(), first, second, power_of_two(x)).to(x.dtype)


def power_of_two(x: torch.Tensor) -> float:
    """A power of two near the largest absolute value of ``x`` where squares would overflow or vanish, else 1; division
    by it is exact."""
    largest = float(x.detach().abs().amax()) if x.numel() else 0.0
    return 1.0 if largest == 0 or 1 / SAFE < largest < SAFE else math.ldexp(1.0, math.frexp(largest)[1])


class _Lengths(torch.autograd.Function):
    @staticmethod
    def forward(context, x, first, second, unit):
        context.save_for_backward(x, first, second)
        context.unit = unit
        return _edges(x, first, second, unit).square_().sum(1).sqrt_().mul_(unit)

    @staticmethod
    def backward(context, upstream):
        # of operations that have derivatives themselves: second derivatives work
        x, first, second = context.saved_tensors
        edge = _edges(x, first, second, context.unit)
        square = edge.square().sum(1)
        push = (upstream * square.clamp_min(torch.finfo(x.dtype).tiny).rsqrt())[:, None] * edge
        # index_add adds rows; assigning through an index would sort them first
        return torch.zeros_like(x).index_add(0, first, push).index_add(0, second, -push), None, None, None


def _edges(x, first, second, unit):
    x = x if unit == 1 else x / unit
    return x.index_select(0, first) - x.index_select(0, second)
