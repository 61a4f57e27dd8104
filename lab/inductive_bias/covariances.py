"""Covariance functions of hypothesis spaces: small objects, ``covariance(a, b)`` is the matrix ``(n, m)``.

A width ``"median"`` is the median distance between training points; :meth:`resolved` puts the number in.

Sources: C. K. I. Rasmussen, C. Williams, 'Gaussian Processes for Machine Learning', MIT Press 2006, ch. 4 (RBF, Matern,
polynomial); Y. Cho, L. Saul, 'Kernel Methods for Deep Learning', NeurIPS 2009, eq. 1-6 (arc-cosine); J. Lee et al.,
'Deep Neural Networks as Gaussian Processes', ICLR 2018, eq. 4-5 (NNGP); A. Jacot, F. Gabriel, C. Hongler, 'Neural
Tangent Kernel', NeurIPS 2018, Theorem 1 (NTK); M. van der Wilk, C. Rasmussen, J. Hensman, 'Convolutional Gaussian
Processes', NeurIPS 2017, eq. 14 (patches).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from lab import checks


def _width(value):
    if value != "median":
        checks.number("width", value, low=0.0, open_low=True)


@dataclass(frozen=True)
class RBF:
    """``exp(-|a - b|^2 / (2 width^2))``."""

    width: float | str = "median"

    def __post_init__(self):
        _width(self.width)

    def resolved(self, inputs):
        return replace(self, width=median_distance(inputs)) if self.width == "median" else self

    def __call__(self, a, b):
        return torch.exp(-_squared_distances(_flat(a), _flat(b)) / (2 * self.width**2))


@dataclass(frozen=True)
class Matern:
    """Matern covariance of smoothness ``nu`` in {1/2, 3/2, 5/2} at distance ``|a - b| / width``."""

    width: float | str = "median"
    nu: float = 1.5

    def __post_init__(self):
        _width(self.width)
        checks.choice("nu", self.nu, (0.5, 1.5, 2.5))

    def resolved(self, inputs):
        return replace(self, width=median_distance(inputs)) if self.width == "median" else self

    def __call__(self, a, b):
        r = math.sqrt(2 * self.nu) * _squared_distances(_flat(a), _flat(b)).sqrt() / self.width
        polynomial = {0.5: 1.0, 1.5: 1 + r, 2.5: 1 + r + r**2 / 3}[self.nu]
        return polynomial * torch.exp(-r)


@dataclass(frozen=True)
class Linear:
    """``a . b / d + bias``: the functions are affine, and most training sets cannot be fitted by one."""

    bias: float = 1.0

    def __post_init__(self):
        checks.number("bias", self.bias, low=0.0)

    def resolved(self, inputs):
        return self

    def __call__(self, a, b):
        return _dot(a, b) + self.bias


@dataclass(frozen=True)
class Polynomial:
    """``(a . b / d + bias)^degree``."""

    degree: int = 3
    bias: float = 1.0

    def __post_init__(self):
        checks.integer("degree", self.degree, low=1)
        checks.number("bias", self.bias, low=0.0)

    def resolved(self, inputs):
        return self

    def __call__(self, a, b):
        return (_dot(a, b) + self.bias) ** self.degree


@dataclass(frozen=True)
class Patch:
    """Sum of one response per image patch: ``mean_p k(a_p, b_p)``, or ``mean_{p, r} k(a_p, b_r)`` where ``pooled``.

    ``k`` is an RBF on ``size x size`` patches. Unpooled, each place has its own filters (locally connected); pooled,
    they are shared and averaged over places (a convolution with global pooling). Inputs are ``(n, h, w)``, ``(n, c,
    h, w)`` or flat squares.
    """

    size: int = 3
    width: float | str = "median"
    pooled: bool = False

    def __post_init__(self):
        checks.integer("size", self.size, low=1)
        _width(self.width)

    def resolved(self, inputs):
        if self.width != "median":
            return self
        patches = self._patches(inputs)
        return replace(self, width=median_distance(patches.reshape(-1, patches.shape[-1])))

    def __call__(self, a, b):
        a, b = self._patches(a), self._patches(b)
        total = torch.zeros(len(a), len(b), dtype=a.dtype)
        places = a.shape[1]
        for p in range(places):
            for r in range(places) if self.pooled else (p,):
                total += torch.exp(-_squared_distances(a[:, p], b[:, r]) / (2 * self.width**2))
        return total / (places**2 if self.pooled else places)

    def _patches(self, x):
        x = _images(x)
        if min(x.shape[-2:]) < self.size:
            raise ValueError(f"size of the patch must be at most {min(x.shape[-2:])}, got {self.size}")
        return torch.nn.functional.unfold(x, self.size).transpose(1, 2)


@dataclass(frozen=True)
class NNGP:
    """Covariance of the outputs of an infinitely wide ReLU network with ``depth`` hidden layers.

    ``K_0 = b + w a.b/d``, ``K_{l+1} = b + w E[relu(u) relu(v)]`` with ``(u, v)`` normal of covariance ``K_l``;
    weights have variance ``w / fan_in`` (2 keeps the scale), biases ``b``.
    """

    depth: int = 3
    weight_variance: float = 2.0
    bias_variance: float = 0.0

    def __post_init__(self):
        _network(self)

    def resolved(self, inputs):
        return self

    def __call__(self, a, b):
        return _relu_kernels(self, a, b)[0]


@dataclass(frozen=True)
class NTK:
    """Tangent kernel of the same network as :class:`NNGP` in its infinite-width limit (all layers trained)."""

    depth: int = 3
    weight_variance: float = 2.0
    bias_variance: float = 0.0

    def __post_init__(self):
        _network(self)

    def resolved(self, inputs):
        return self

    def __call__(self, a, b):
        return _relu_kernels(self, a, b)[1]


@dataclass(frozen=True)
class Sum:
    """Sum of two covariances with weights: functions that are sums of one of each."""

    first: object
    second: object
    weights: tuple[float, float] = (1.0, 1.0)

    def resolved(self, inputs):
        return replace(self, first=self.first.resolved(inputs), second=self.second.resolved(inputs))

    def __call__(self, a, b):
        return self.weights[0] * self.first(a, b) + self.weights[1] * self.second(a, b)


def median_distance(inputs, most: int = 500) -> float:
    """Median distance between different points among the first ``most``."""
    x = _flat(inputs)[:most]
    distances = torch.pdist(x)
    distances = distances[distances > 0]
    return float(distances.median()) if len(distances) else 1.0


def _network(covariance):
    checks.integer("depth", covariance.depth, low=0)
    checks.number("weight_variance", covariance.weight_variance, low=0.0, open_low=True)
    checks.number("bias_variance", covariance.bias_variance, low=0.0)


def _relu_kernels(network, a, b):
    a, b = _flat(a), _flat(b)
    w, v = network.weight_variance, network.bias_variance
    k = v + w * a @ b.T / a.shape[1]
    ka = v + w * (a**2).sum(1) / a.shape[1]
    kb = v + w * (b**2).sum(1) / b.shape[1]
    tangent = k
    for _ in range(network.depth):
        norm = torch.sqrt(ka[:, None] * kb[None, :])
        cosine = torch.where(norm > 0, k / norm.clamp_min(1e-300), torch.zeros_like(k)).clamp(-1, 1)
        angle = torch.acos(cosine)
        # sin from the cosine: acos loses half of the digits near zero
        sine = torch.sqrt(((1 - cosine) * (1 + cosine)).clamp_min(0))
        k = v + w * norm * (sine + (math.pi - angle) * cosine) / (2 * math.pi)
        tangent = k + tangent * w * (math.pi - angle) / (2 * math.pi)
        ka, kb = v + w * ka / 2, v + w * kb / 2
    return k, tangent


def _flat(x):
    return x.reshape(len(x), -1)


def _images(x):
    if x.ndim == 4:
        return x
    if x.ndim == 3:
        return x[:, None]
    side = math.isqrt(x.shape[1])
    if side * side != x.shape[1]:
        raise ValueError(f"inputs must be images or flat squares for a patch covariance, got {tuple(x.shape)}")
    return x.reshape(len(x), 1, side, side)


def _dot(a, b):
    a, b = _flat(a), _flat(b)
    return a @ b.T / a.shape[1]


def _squared_distances(a, b):
    # centring first keeps the digits that the expanded square would lose
    centre = b.mean(0)
    a, b = a - centre, b - centre
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    if a.shape == b.shape and torch.equal(a, b):
        squared.fill_diagonal_(0)
    return squared.clamp_min(0)
