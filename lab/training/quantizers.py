r"""Quantizers of weights: straight-through rounding, uniform levels by bucket, learned step, learned points.

A tensor is flattened and cut into buckets of k values, each scaled to [0, 1] by its own minimum beta and range alpha,

.. math:: \hat v = (v - \beta)/\alpha, \qquad Q(v) = \alpha\, q(\hat v) + \beta .

Uniform, s = 2^b - 1 steps: q(u) = round(s u)/s, so that |Q(v) - v| <= alpha/(2s); stochastic rounding goes up with probability
s u - floor(s u) and is unbiased. Learned points p_1..p_m: q(u) = p_c, c the nearest point, with the gradient

.. math:: \frac{\partial L}{\partial p_r} = \sum_{i:\, c(i) = r} \alpha_i \frac{\partial L}{\partial Q(v)_i} .

Learned step s (LSQ), levels -n..m: Q(v) = s round(clip(v/s, -n, m)), with

.. math:: \frac{\partial Q}{\partial s} = \mathrm{round}(v/s) - v/s \ \text{inside},\ -n \text{ or } m \text{ outside}, \qquad
          \frac{\partial Q}{\partial v} = 1 \ \text{inside},\ 0 \text{ outside},

and the gradient of s scaled by 1/sqrt(N m) for N values.

Sources: A. Polino, R. Pascanu, D. Alistarh, 'Model compression via distillation and quantization', ICLR 2018, sections 2.1 and 3,
equation (6) (buckets, uniform and learned points); S. Esser, J. McKinstry, D. Bablani, R. Appuswamy, D. Modha, 'Learned step
size quantization', ICLR 2020, equations (1) to (3) and section 2.2 (LSQ); Y. Bengio, N. Leonard, A. Courville, 'Estimating or
propagating gradients through stochastic neurons for conditional computation', 2013 (straight-through).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from lab import checks


class _StraightThrough(torch.autograd.Function):
    """The second argument's values exactly, the first one's gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, found):
        return found.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def round_straight_through(x: torch.Tensor) -> torch.Tensor:
    """``x`` rounded to integers (ties to even), with the gradient of the identity."""
    return _StraightThrough.apply(x, x.detach().round())


@dataclass(frozen=True, eq=False)
class BucketScale:
    """The scale of every bucket of a tensor: ``low`` beta and ``range`` alpha, (buckets, 1); made by :meth:`of`.

    Attributes:
        shape: of the tensor.
        size: values a bucket; the last bucket may hold fewer, and is filled up with its last value.
    """

    low: torch.Tensor
    range: torch.Tensor
    shape: torch.Size
    size: int

    @staticmethod
    def of(v: torch.Tensor, bucket: int | None = None) -> BucketScale:
        """Scales of ``v`` for buckets of ``bucket`` values, or one bucket for the tensor. A constant bucket has range 1."""
        bucket = v.numel() if bucket is None else min(checks.integer("bucket", bucket, low=1), v.numel())
        if v.numel() == 0:
            raise ValueError(f"v is empty (shape {tuple(v.shape)}); at least one value is needed")
        cut = _cut(v.detach(), bucket)
        low, high = torch.aminmax(cut, dim=1, keepdim=True)
        spread = high - low
        return BucketScale(low, torch.where(spread > 1e-10, spread, 1.0), v.shape, bucket)

    def scale(self, v: torch.Tensor) -> torch.Tensor:
        """``v`` in its buckets, (buckets, size), each in [0, 1]."""
        return (_cut(v, self.size) - self.low) / self.range

    def unscale(self, u: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`scale`, in the tensor's shape."""
        return (u * self.range + self.low).reshape(-1)[: math.prod(self.shape)].reshape(self.shape)


def _cut(v, size):
    flat = v.reshape(-1)
    missing = -len(flat) % size
    if missing:
        flat = torch.cat([flat, flat[-1:].expand(missing)])
    return flat.view(-1, size)


class UniformQuantizer:
    """Uniform levels by bucket, ``2 ** bits`` of them; called on a tensor, with the straight-through gradient.

    Args:
        bits: b, 1 to 16.
        bucket: values a bucket, or None for one bucket.
        stochastic: round up with the fraction as probability: unbiased. Draws come from ``seed``.

    >>> len(UniformQuantizer(bits=2)(torch.linspace(0, 1, 100)).unique())
    4
    """

    def __init__(
        self, bits: int, bucket: int | None = None, *, stochastic: bool = False, seed: int | torch.Generator = 0
    ):
        self.bits = checks.integer("bits", bits, low=1, high=16)
        self.bucket = None if bucket is None else checks.integer("bucket", bucket, low=1)
        self.generator = checks.generator(seed) if stochastic else None

    @property
    def steps(self) -> int:
        """s = 2^b - 1."""
        return 2**self.bits - 1

    def __call__(self, v: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            scale = BucketScale.of(v, self.bucket)
            found = scale.unscale(self.indices(v, scale) / self.steps)
        return _StraightThrough.apply(v, found)

    def indices(self, v: torch.Tensor, scale: BucketScale | None = None) -> torch.Tensor:
        """The level of every value, 0 to s, as floating numbers (buckets, size)."""
        scale = BucketScale.of(v, self.bucket) if scale is None else scale
        scaled = scale.scale(v.detach()) * self.steps
        if self.generator is None:
            return scaled.round()
        draws = torch.rand(scaled.shape, generator=self.generator, device=self.generator.device, dtype=scaled.dtype)
        return torch.floor(scaled + draws.to(scaled.device)).clamp_(max=self.steps)


class _LearnedStep(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(v, step, low, high, scale):
        return (v / step).clamp(low, high).round_() * step

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], inputs[1])
        ctx.limits = inputs[2:]

    @staticmethod
    def backward(ctx, gradient):
        v, step = ctx.saved_tensors
        low, high, scale = ctx.limits
        u = v / step
        below, above = u <= low, u >= high
        inside = ~(below | above)
        slope = torch.where(below, float(low), torch.where(above, float(high), u.round() - u))
        by_step = (gradient * slope).sum_to_size(step.shape) * scale
        return gradient * inside, by_step, None, None, None


def learned_step(v: torch.Tensor, step: torch.Tensor, bits: int, *, signed: bool = True) -> torch.Tensor:
    """LSQ as a function: ``v`` on the levels of a positive ``step``, a tensor that broadcasts against it, with LSQ's gradients."""
    low, high = _levels(bits, signed)
    return _LearnedStep.apply(v, step, low, high, (step.numel() / (v.numel() * high)) ** 0.5)


def _levels(bits, signed):
    bits = checks.integer("bits", bits, low=2 if signed else 1, high=16)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


class LearnedStep(nn.Module):
    """LSQ: levels of a learned step.

    Args:
        bits: b, 2 to 16 with signed levels -2^(b-1) .. 2^(b-1) - 1, 1 to 16 with unsigned 0 .. 2^b - 1 (activations after ReLU).
        signed: which of both.
        channels: one step for each entry of the first axis, or None for one step.

    The step starts at 2 mean|v| / sqrt(m) of the first tensor that comes (or of :meth:`start`), and has the gradient of LSQ, scaled
    by 1/sqrt(N m) with N the values a step serves.

    >>> quantizer = LearnedStep(bits=3)
    >>> len(quantizer(torch.randn(1000)).unique()) <= 8
    True
    """

    def __init__(self, bits: int, *, signed: bool = True, channels: int | None = None):
        super().__init__()
        self.bits, self.signed = bits, signed
        self.low, self.high = _levels(bits, signed)
        self.channels = None if channels is None else checks.integer("channels", channels, low=1)
        self.step = nn.Parameter(torch.ones(() if channels is None else (channels,)))
        self.register_buffer("started", torch.tensor(False))

    @torch.no_grad()
    def start(self, v: torch.Tensor) -> None:
        """Set the step from ``v``."""
        size = v.abs().mean() if self.channels is None else v.abs().flatten(1).mean(1)
        self.step.copy_((2 * size / math.sqrt(self.high)).clamp_min(1e-8))
        self.started.fill_(True)

    def forward(self, v: torch.Tensor) -> torch.Tensor:
        if self.channels is not None and (v.ndim < 2 or len(v) != self.channels):
            raise ValueError(
                f"v must have {self.channels} channels on its first of at least 2 axes, got shape {tuple(v.shape)}"
            )
        if not bool(self.started):
            self.start(v)
        return learned_step(v, self._positive(v), self.bits, signed=self.signed)

    def integers(self, v: torch.Tensor) -> torch.Tensor:
        """The levels of ``v`` as int32, to be stored."""
        return (v.detach() / self._positive(v).detach()).clamp(self.low, self.high).round().to(torch.int32)

    def _positive(self, v):
        """The step; one that training has carried to zero or below would turn the levels around."""
        step = self.step.abs().clamp_min(1e-8)
        return step if self.channels is None else step.view(-1, *[1] * (v.ndim - 1))

    def extra_repr(self) -> str:
        return f"bits={self.bits}, levels {self.low} .. {self.high}"


class _NearestPoint(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(points, u):
        middles = (points[1:] + points[:-1]) / 2
        nearest = torch.searchsorted(middles, u, right=False)
        return points[nearest], nearest

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.points = len(inputs[0])

    @staticmethod
    def backward(ctx, gradient, _):
        (nearest,) = ctx.saved_tensors
        by_point = gradient.new_zeros(ctx.points).index_add(0, nearest.reshape(-1), gradient.reshape(-1))
        return by_point, gradient


class LearnedPoints(nn.Module):
    """Quantization points on [0, 1] that a loss can move; called on a tensor.

    Args:
        v: the tensor that they are to represent.
        bits: b, 1 to 12: ``2 ** bits`` points.
        bucket: values a bucket, or None for one bucket.
        start: "quantile" (points at equally spaced quantiles of the scaled values) or "uniform".

    The gradient of a point sums over all values that it represents; values themselves get the straight-through gradient. Points
    are to be in order: call :meth:`sort` after each step of the optimizer. Optimizers with moments then keep the moments of the
    points' earlier places.

    >>> points = LearnedPoints(torch.randn(100), bits=2)
    >>> len(points(torch.randn(100)).unique()) <= 4
    True
    """

    def __init__(self, v: torch.Tensor, bits: int, bucket: int | None = None, *, start: str = "quantile"):
        super().__init__()
        self.bits = checks.integer("bits", bits, low=1, high=12)
        self.bucket = None if bucket is None else checks.integer("bucket", bucket, low=1)
        checks.choice("start", start, ("quantile", "uniform"))
        v = checks.tensor("v", v, floating=True).detach()
        places = torch.linspace(0, 1, 2**self.bits, dtype=v.dtype, device=v.device)
        if start == "quantile":
            scaled = BucketScale.of(v, self.bucket).scale(v).reshape(-1)[: v.numel()].sort().values
            at = places * (len(scaled) - 1)
            below = at.floor().long().clamp_(max=max(len(scaled) - 2, 0))
            places = torch.lerp(scaled[below], scaled[(below + 1).clamp(max=len(scaled) - 1)], at - below)
        self.points = nn.Parameter(places)

    def forward(self, v: torch.Tensor, scale: BucketScale | None = None) -> torch.Tensor:
        """``v`` with every value replaced by its nearest point; ``scale`` where it was taken before, and stays.

        Raises:
            ValueError: points that are out of order.
        """
        if bool((self.points[1:] < self.points[:-1]).any()):
            raise ValueError("points are out of order; call .sort() after each step of the optimizer")
        scale = BucketScale.of(v, self.bucket) if scale is None else scale
        found, _ = _NearestPoint.apply(self.points, scale.scale(v))
        return scale.unscale(found)

    def indices(self, v: torch.Tensor, scale: BucketScale | None = None) -> torch.Tensor:
        """The point of every value, (buckets, size), int64."""
        scale = BucketScale.of(v, self.bucket) if scale is None else scale
        with torch.no_grad():
            return _NearestPoint.apply(self.points, scale.scale(v.detach()))[1]

    @torch.no_grad()
    def sort(self) -> None:
        """Put the points in order, in place."""
        self.points.copy_(self.points.sort().values)

    def extra_repr(self) -> str:
        return f"points={len(self.points)}, bucket={self.bucket}"
