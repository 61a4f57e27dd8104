"""Lengths of edges between points, differentiable in the points: one step of the graph of derivatives, not ten."""

from __future__ import annotations

import torch


def edge_lengths(x: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Distances ``|x[first] - x[second]|`` (k,), computed in float64, of the dtype of ``x`` (n, d).

    The gradient is the unit vector of the edge, and zero where the points coincide (a subgradient of the norm).
    """
    return _Lengths.apply(x.double(), first, second).to(x.dtype)


class _Lengths(torch.autograd.Function):
    @staticmethod
    def forward(context, x, first, second):
        context.save_for_backward(x, first, second)
        return (x.index_select(0, first) - x.index_select(0, second)).square_().sum(1).sqrt_()

    @staticmethod
    def backward(context, upstream):
        # of operations that have derivatives themselves: second derivatives work
        x, first, second = context.saved_tensors
        edge = x.index_select(0, first) - x.index_select(0, second)
        square = edge.square().sum(1)
        push = (upstream * square.clamp_min(torch.finfo(x.dtype).tiny).rsqrt())[:, None] * edge
        # index_add adds rows; assigning through an index would sort them first
        return torch.zeros_like(x).index_add(0, first, push).index_add(0, second, -push), None, None
