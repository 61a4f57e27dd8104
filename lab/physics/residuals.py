r"""Derivatives of pointwise networks for residuals of differential equations, and points in boxes.

:func:`forward_laplacian` carries value, gradient and :math:`\sum_i w_i \partial_i^2 u` through the layers of a tanh network in one
pass; with J the Jacobian and l the weighted Laplacian of a layer's input h,

.. math:: y = \tanh h,\quad J' = (1 - y^2) J,\quad l' = (1 - y^2)\, l - 2 y (1 - y^2) \sum_i w_i J_i^2 .

:func:`double_backward` gives the same for any pointwise function. Source of the forward form: R. Li, H. Ye, D. Jiang, X. Wen et
al., 'A computational framework for neural network-based variational Monte Carlo with Forward Laplacian', Nature Machine
Intelligence 6, 2024.

>>> net = Networks(2, width=8, depth=2, seeds=(0, 1))
>>> [tuple(part.shape) for part in forward_laplacian(net, torch.zeros(2, 5, 2))]
[(2, 5), (2, 5, 2), (2, 5)]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from lab import checks


class Derivatives(NamedTuple):
    """Value (..., n), gradient (..., n, d) and weighted Laplacian (..., n) of a function at points (..., n, d)."""

    value: torch.Tensor
    gradient: torch.Tensor
    laplacian: torch.Tensor


class Networks(nn.Module):
    """Fully connected tanh networks side by side: (models, n, inputs) -> (models, n, outputs).

    Args:
        seeds: one network a seed; weights are uniform in +-sqrt(6 / (fan in + fan out)), biases start at 0.
        flat: the last layer starts at 0, and with it the output.
    """

    def __init__(self, inputs: int, outputs: int = 1, *, width: int = 40, depth: int = 3, seeds: Sequence[int] = (0,),
                 flat: bool = False, dtype: torch.dtype = torch.float32):  # fmt: skip
        super().__init__()
        self.form = {"inputs": inputs, "outputs": outputs, "width": width, "depth": depth, "flat": flat}
        sizes = [inputs, *[width] * depth, outputs]
        generators = [checks.generator(seed) for seed in seeds]

        def drawn(fan_in, fan_out, last):
            bound = 0.0 if last and flat else math.sqrt(6 / (fan_in + fan_out))
            parts = [torch.rand(fan_in, fan_out, generator=g, dtype=torch.float64) for g in generators]
            return nn.Parameter((bound * (2 * torch.stack(parts) - 1)).to(dtype))

        pairs = list(zip(sizes[:-1], sizes[1:]))
        self.weights = nn.ParameterList(drawn(a, b, k == depth) for k, (a, b) in enumerate(pairs))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(len(seeds), 1, b, dtype=dtype)) for _, b in pairs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1]):
            x = torch.tanh(torch.baddbmm(bias, x, weight))
        return torch.baddbmm(self.biases[-1], x, self.weights[-1])


def forward_laplacian(net: Networks, x: torch.Tensor, weights: Sequence[float] | None = None) -> Derivatives:
    """Value, gradient and weighted Laplacian of the first output of ``net`` at x (models, n, d), in one pass.

    Args:
        weights: w (d,) of the second derivatives, 1 by default; a heat equation in (x, t) takes (1, 0).

    Raises:
        ValueError: another shape of x or of ``weights``.
    """
    models, d = len(net.weights[0]), net.weights[0].shape[1]
    x = checks.tensor("x", x, shape=(models, None, d), floating=True, finite=False)
    w = _weights(weights, d).to(x)
    n = x.shape[1]
    h = torch.baddbmm(net.biases[0], x, net.weights[0])
    jacobian = net.weights[0][:, :, None, :]  # of the first layer: the same at every point
    laplacian = torch.zeros_like(h)
    for weight, bias in zip(net.weights[1:], net.biases[1:]):
        y = torch.tanh(h)
        slope = 1 - y * y
        square = torch.einsum("mdnw,d->mnw", jacobian * jacobian, w)
        laplacian = slope * (laplacian - 2 * y * square)
        whole = torch.cat([y[:, None], slope[:, None] * jacobian, laplacian[:, None]], 1)
        whole = torch.bmm(whole.reshape(models, (d + 2) * n, -1), weight).reshape(models, d + 2, n, -1)
        h, jacobian, laplacian = whole[:, 0] + bias, whole[:, 1:-1], whole[:, -1]
    if len(net.weights) == 1:
        return Derivatives(h[..., 0], jacobian[..., 0].mT.expand(models, n, d), laplacian[..., 0])
    return Derivatives(h[..., 0], jacobian[..., 0].mT, laplacian[..., 0])


def double_backward(
    f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, weights: Sequence[float] | None = None
) -> Derivatives:
    """The same for any f: (..., d) -> (...) that treats every point alone, by reverse mode twice."""
    w = _weights(weights, x.shape[-1])
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_(True)
        value = f(x)
        (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        laplacian = torch.zeros_like(value)
        for axis, factor in enumerate(w.tolist()):
            if factor and gradient.requires_grad:
                (row,) = torch.autograd.grad(gradient[..., axis].sum(), x, create_graph=True, materialize_grads=True)
                laplacian = laplacian + factor * row[..., axis]
    return Derivatives(value, gradient, laplacian)


def _weights(weights, d):
    if weights is None:
        return torch.ones(d, dtype=torch.float64)
    return checks.tensor("weights", weights, shape=(d,)).double()


@dataclass(frozen=True)
class Box:
    """The box [low_1, high_1] x ... x [low_d, high_d].

    Raises:
        ValueError: unequal numbers of bounds, or one that is not below its partner.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self):
        low, high = tuple(map(float, self.low)), tuple(map(float, self.high))
        if len(low) != len(high) or not low:
            raise ValueError(
                f"box must have as many lower as upper bounds, at least one, got {len(low)} and {len(high)}"
            )
        if not all(math.isfinite(b - a) and a < b for a, b in zip(low, high)):
            raise ValueError(f"box must have finite lower bounds below upper bounds, got {low} and {high}")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @classmethod
    def of(cls, bounds) -> Box:
        """A box from ((low, high), ...), one pair an axis, or a box."""
        if isinstance(bounds, Box):
            return bounds
        pairs = checks.tensor("box", bounds, shape=(None, 2)).double().tolist()
        return cls(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))

    @property
    def d(self) -> int:
        return len(self.low)

    @property
    def size(self) -> tuple[float, ...]:
        """Side lengths."""
        return tuple(b - a for a, b in zip(self.low, self.high))

    def at(self, unit: torch.Tensor) -> torch.Tensor:
        """Points of the unit cube (..., d) in this box."""
        return unit * unit.new_tensor(self.size) + unit.new_tensor(self.low)

    def unit(self, x: torch.Tensor) -> torch.Tensor:
        """Points of this box in the unit cube."""
        return (x - x.new_tensor(self.low)) / x.new_tensor(self.size)

    def uniform(self, n: int, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Uniform points (models, n, d), one generator a model."""
        return self.at(torch.stack([torch.rand(n, self.d, generator=g) for g in generators]))

    def boundary(self, n: int, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Uniform points (models, n, d) on the faces, each face in proportion to its area."""
        unit = torch.stack([torch.rand(n, self.d + 1, generator=g) for g in generators])
        area = torch.tensor([1 / side for side in self.size for _ in range(2)], dtype=torch.float64)
        edges = (area / area.sum()).cumsum(0).to(unit)
        face = torch.searchsorted(edges, unit[..., -1:].contiguous()).clamp_max(2 * self.d - 1)
        return self.at(unit[..., :-1].scatter(-1, face // 2, (face % 2).to(unit)))

    def centres(self, n: int) -> torch.Tensor:
        """Centres (n^d, d) of n cells a side, the last axis fastest."""
        axis = (torch.arange(n) + 0.5) / n
        return self.at(torch.stack(torch.meshgrid(*[axis] * self.d, indexing="ij"), -1).reshape(-1, self.d))


__all__ = ["Box", "Derivatives", "Networks", "double_backward", "forward_laplacian"]
