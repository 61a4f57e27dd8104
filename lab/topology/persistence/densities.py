"""Functions of the points of a cloud that say how dense it is there, differentiable: second axes of bifiltrations."""

from __future__ import annotations

import math

import torch

from lab import checks
from lab.kernels import pairwise
from lab.kernels.precision import wide, without_autocast
from lab.topology.persistence.lengths import power_of_two

DENSE_POINTS = 4096  # up to here the density of float64 points at themselves keeps its kernel matrix for the gradient


def density(x, bandwidth: float = 0.3, at=None) -> torch.Tensor:
    r"""Gaussian kernel density estimate, differentiable.

    .. math:: \hat p(y) = \frac{1}{n (2\pi h^2)^{d/2}} \sum_i \exp\!\big(-\|y - x_i\|^2 / 2h^2\big)

    Args:
        x: points (n, d), floating.
        bandwidth: h > 0, in the unit of the coordinates.
        at: where to evaluate (m, d); the points themselves if ``None``.
    """
    return _log_density(x, bandwidth, at).exp()


def codensity(x, bandwidth: float = 0.3, at=None) -> torch.Tensor:
    """Minus the logarithm of :func:`density`, computed without underflow."""
    return -_log_density(x, bandwidth, at)


@without_autocast
def distance_to_measure(x, neighbours: int = 10) -> torch.Tensor:
    r"""Root mean square distance to the nearest neighbours, the point itself included; differentiable.

    .. math:: d_k(x_i) = \Big(\frac1k \sum_{j \in N_k(i)} \|x_i - x_j\|^2\Big)^{1/2}

    Source: Frederic Chazal, David Cohen-Steiner, Quentin Merigot, 'Geometric inference for probability measures',
    Foundations of Computational Mathematics 2011.
    """
    x = wide(checks.tensor("x", x, ndim=2, floating=True))
    neighbours = checks.integer("neighbours", neighbours, low=1, high=len(x))
    unit = power_of_two(x)
    x = x / unit
    nearest = _square_distances(x.detach(), x.detach()).topk(neighbours, largest=False).indices
    square = (x[:, None] - x[nearest]).square().sum(-1).mean(1)
    positive = square > 0
    return unit * torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


@without_autocast
def _log_density(x, bandwidth, at):
    x = wide(checks.tensor("x", x, ndim=2, floating=True))
    bandwidth = checks.number("bandwidth", bandwidth, low=0.0, open_low=True)
    scale = math.log(len(x)) + 0.5 * x.shape[1] * math.log(2 * math.pi * bandwidth**2)
    if at is None and x.dtype == torch.float64 and len(x) <= DENSE_POINTS:
        return _OwnLogDensity.apply(x, bandwidth) - scale
    y = x if at is None else checks.tensor("at", at, shape=(None, x.shape[1]), floating=True).to(x)
    return pairwise(y, x, kernel="gaussian", reduce="logsumexp", lengthscale=bandwidth) - scale


class _OwnLogDensity(torch.autograd.Function):
    """log sum_j K_ij with K_ij = exp(-|x_i - x_j|^2 / 2h^2), its exponents one product of (x / h, -|x|^2 / 2h^2, 1) and
    (x / h, 1, -|x|^2 / 2h^2).

    With v the upstream gradient over the sums, K 1, the gradient is (v * (K x) + K (v * x) - (v * (K 1) + K v) * x) / h^2,
    since K is symmetric: one product of K and a few columns.
    """

    @staticmethod
    def forward(context, x, bandwidth):
        y = (x - x.mean(0)) / bandwidth
        half, one = -0.5 * y.square().sum(1, keepdim=True), y.new_ones(len(y), 1)
        kernel = (torch.cat([y, half, one], 1) @ torch.cat([y, one, half], 1).T).clamp_max_(0).exp_()
        total = kernel.sum(1, keepdim=True)  # at least one: the point itself
        context.save_for_backward(y, kernel, total)
        context.bandwidth = bandwidth
        return total[:, 0].log()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context, upstream):
        y, kernel, total = context.saved_tensors
        v = upstream[:, None] / total
        near, weighted, mass = (kernel @ torch.cat([y, v * y, v], 1)).split([y.shape[1], y.shape[1], 1], 1)
        return (v * near + weighted - (v * total + mass) * y) / context.bandwidth, None


def _square_distances(y, x):
    """Squared distances through the product of centred coordinates; a KDE needs no exact zero on the diagonal."""
    centre = x.detach().mean(0)
    y, x = y - centre, x - centre
    return (y.square().sum(1)[:, None] + x.square().sum(1) - 2 * (y @ x.T)).clamp_min(0)
