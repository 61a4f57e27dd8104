r"""Variational inference for SDEs driven by fractional noise, through a few Ornstein-Uhlenbeck processes on one Brownian motion.

.. math:: dY_k = -\gamma_k Y_k\,dt + dW, \qquad \hat B(t) = \sum_k w_k\,(Y_k(t) - Y_k(0)), \qquad
          1/\gamma_{max} \le \gamma_k \le \gamma_{max}

approximates fractional Brownian motion B of Hurst index H on [0, T]: type II, B(t) = int_0^t (t-s)^{H-1/2} dW(s) / Gamma(H+1/2)
with Y(0) = 0, or type I (Mandelbrot, Van Ness, the same constant) with Y(0) stationary, covariance 1/(gamma_i + gamma_j). The
weights that minimize int_0^T E(Bhat - B)^2 dt solve A w = b (:func:`quadratic`). The system (X, Y) is Markov; under a control u
that replaces dW by u dt + dW, Girsanov's theorem gives

.. math:: \log p(o) \ge E_q\Bigl[\log p(o \mid X) - \tfrac12 \int_0^T |u|^2 dt\Bigr],

maximized over the control, over drift and diffusion, and over H, in which the weights are differentiable.

Source: R. Daems, M. Opper, G. Crevecoeur, T. Birdal, 'Variational Inference for SDEs Driven by Fractional Noise', ICLR 2024,
definitions 2 to 6, propositions 1 to 3. A and b of type I and the constants c of both types are derived here; the published code's
optional cost of type I has other constants. Euler steps; noise is additive, so that Ito and Stratonovich agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from lab import checks

KINDS = ("I", "II")
DOUBLE = torch.float64


def rates(K: int = 5, gamma_max: float = 20.0) -> torch.Tensor:
    """K rates in geometric progression from 1/gamma_max to gamma_max; one rate is 1."""
    K = checks.integer("K", K, low=1, high=10)
    top = math.log(checks.number("gamma_max", gamma_max, low=1.0, open_low=True))
    return torch.linspace(-top, top, K, dtype=DOUBLE).exp() if K > 1 else torch.ones(1, dtype=DOUBLE)


def incomplete_gamma(a: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Regularized lower incomplete gamma function P(a, z), differentiable in both, by its series of positive terms.

    Terms: exp(a log z - z + n log z - log Gamma(a + n + 1)); their number grows with z, which must stay below 500.
    """
    top = float(z.detach().max())
    if top > 500:
        raise ValueError(f"gamma times horizon must be at most 500, got {top:.3g}")
    n = torch.arange(int(1.5 * top) + 80, dtype=DOUBLE)
    log_z = z.log()[..., None]
    return ((a[..., None] + n) * log_z - z[..., None] - torch.lgamma(a[..., None] + n + 1)).exp().sum(-1)


def scaled_upper_gamma(a: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """e^z Q(a, z), differentiable: from the series below z = 10, above by Gauss-Laguerre of int e^-v (z + v)^(a-1) dv /
    Gamma(a).
    """
    nodes, weights = (torch.from_numpy(one) for one in np.polynomial.laguerre.laggauss(60))
    large = z.clamp_min(10.0)
    tail = ((large[..., None] + nodes).log() * (a[..., None] - 1)).exp() @ weights / torch.lgamma(a).exp()
    small = z.clamp_max(10.0)
    return torch.where(z < 10, small.exp() * (1 - incomplete_gamma(a, small)), tail)


def quadratic(
    H, gamma: torch.Tensor, horizon: float, kind: str = "II"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A (K, K), b (K,) and c of the error w'Aw - 2b'w + c = int_0^T E(Bhat - B)^2 dt, differentiable in H."""
    checks.choice("kind", kind, KINDS)
    H = _index(H)
    T, g = checks.number("horizon", horizon, low=0.0, open_low=True), gamma.double()
    total = g[:, None] + g
    half, z = (H + 0.5).expand(len(g)), g * T
    power = -(H + 0.5) * g.log()
    gamma_half = torch.lgamma(H + 0.5).exp()
    if kind == "II":
        A = (T + torch.expm1(-total * T) / total) / total
        b = T * power.exp() * incomplete_gamma(half, z) - (H + 0.5) * (power - g.log()).exp() * incomplete_gamma(
            half + 1, z
        )
        return A, b, T ** (2 * H + 1) / (2 * H * (2 * H + 1) * gamma_half.square())
    decay = torch.expm1(-z) / g
    A = (2 * T + decay[:, None] + decay) / total
    b = 2 * T * power.exp() - T ** (H + 0.5) / (g * torch.lgamma(H + 1.5).exp())
    b = b + ((-z).exp() - scaled_upper_gamma(half, z)) * (power - g.log()).exp()
    return A, b, T ** (2 * H + 1) / ((2 * H + 1) * torch.lgamma(2 * H + 1).exp() * torch.sin(math.pi * H))


def optimal_weights(H, gamma: torch.Tensor, horizon: float = 1.0, kind: str = "II") -> torch.Tensor:
    """The weights (K,) of smallest mean square error, in double precision, differentiable in ``H``.

    >>> optimal_weights(0.5, rates(3)).round(decimals=2).abs().sum() > 0
    tensor(True)
    """
    A, b, _ = quadratic(H, gamma, horizon, kind)
    return torch.linalg.solve(A, b)


def quadrature_weights(H: float, gamma: torch.Tensor) -> torch.Tensor:
    """Trapezoid weights of t^(H-1/2)/Gamma(H+1/2) = int e^(-gamma t) gamma^(-H-1/2) dgamma / (Gamma(H+1/2) Gamma(1/2-H)), H <
    1/2.
    """
    H = checks.number("H", H, low=0.0, high=0.5, open_low=True)
    g = gamma.double()
    step = torch.gradient(g.log())[0] if len(g) > 1 else torch.ones_like(g)
    return g ** (0.5 - H) * step / (math.gamma(H + 0.5) * math.gamma(0.5 - H))


def relative_error(
    weights: torch.Tensor, H, gamma: torch.Tensor, horizon: float = 1.0, kind: str = "II"
) -> torch.Tensor:
    """int E(Bhat - B)^2 dt over int E B^2 dt."""
    A, b, c = quadratic(H, gamma, horizon, kind)
    return (weights @ A @ weights - 2 * b @ weights + c) / c


def fractional_covariance(times: torch.Tensor, H: float, kind: str = "I") -> torch.Tensor:
    """Exact covariance (n, n) of fractional Brownian motion at positive ``times`` (n,)."""
    checks.choice("kind", kind, KINDS)
    t = checks.tensor("times", times, ndim=1).double()
    s, u = torch.minimum(t[:, None], t), torch.maximum(t[:, None], t)
    H = float(_index(H))
    if kind == "I":
        scale = 1 / (math.gamma(2 * H + 1) * math.sin(math.pi * H))
        return scale / 2 * (s ** (2 * H) + u ** (2 * H) - (u - s) ** (2 * H))
    from scipy.special import hyp2f1

    shape = torch.from_numpy(hyp2f1(0.5 - H, 1.0, H + 1.5, (s / u).numpy()))
    return s ** (H + 0.5) * u ** (H - 0.5) * shape / ((H + 0.5) * math.gamma(H + 0.5) ** 2)


def _index(H) -> torch.Tensor:
    H = torch.as_tensor(H, dtype=DOUBLE)
    if not 0 < float(H.detach()) < 1:
        raise ValueError(f"H must lie strictly between 0 and 1, got {float(H.detach()):.4g}")
    return H


@dataclass(frozen=True, eq=False)
class Noise:
    """The Markov approximation: ``gamma`` and ``weights`` (K,), ``kind``; ``weights`` may carry a gradient to H."""

    gamma: torch.Tensor
    weights: torch.Tensor
    kind: str = "II"

    @classmethod
    def of(cls, H, *, K: int = 5, gamma_max: float = 20.0, horizon: float = 1.0, kind: str = "II") -> Noise:
        """The approximation of Hurst index ``H`` that is best on [0, horizon]."""
        gamma = rates(K, gamma_max)
        return cls(gamma, optimal_weights(H, gamma, horizon, kind), kind)

    def start(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Y(0) (*shape, K): zero, or jointly Gaussian with the stationary covariance for type I."""
        if self.kind == "II":
            return torch.zeros(*shape, len(self.gamma))
        values, vectors = torch.linalg.eigh(1 / (self.gamma[:, None] + self.gamma))
        z = torch.randn(*shape, len(self.gamma), generator=generator, dtype=DOUBLE)
        return (z * values.clamp_min(0).sqrt() @ vectors.T).float()


class NetworkControl(nn.Module):
    """u(t, x, Y): for each of ``stack`` replicates a tanh network on (sin t, cos t, x, Y, context) whose last layer starts at
    zero.
    """

    def __init__(
        self, dimension: int = 1, K: int = 5, *, width: int = 32, context: int = 0, stack: int = 1, seed: int = 0
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        sizes = [2 + dimension * (1 + K) + context, width, width, dimension]
        self.weights = nn.ParameterList([
            nn.Parameter(torch.randn(stack, a, b, generator=generator) / math.sqrt(a) * (1.0 if b != dimension or a != width else
            0.0)) for a, b in zip(sizes[:-1], sizes[1:])
        ])  # fmt: skip
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(stack, 1, b)) for b in sizes[1:]])

    def forward(self, t: float, x: torch.Tensor, y: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Controls of x (stack, paths, dimension), Y (stack, paths, dimension, K)."""
        clock = x.new_tensor([math.sin(t), math.cos(t)]).expand(*x.shape[:2], 2)
        h = torch.cat([clock, x, y.flatten(2)] + ([] if context is None else [context]), -1)
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            h = torch.baddbmm(bias, h, weight)
            h = torch.tanh(h) if k < len(self.weights) - 1 else h
        return h


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths x (stack, paths, steps + 1, dimension) at ``times`` (steps + 1,), ``kl`` (stack, paths) = half the integral of
    |u|^2.
    """

    x: torch.Tensor
    times: torch.Tensor
    kl: torch.Tensor


def simulate(
    noise: Noise, x0: torch.Tensor, *, horizon: float, steps: int, generator: torch.Generator, drift: Callable | None = None,
    scale: torch.Tensor | float = 1.0, control: Callable | None = None, context: Callable | None = None,
) -> Paths:  # fmt: skip
    """Euler paths of dX = drift(x, t) dt + scale sum_k w_k dY_k under a control, from ``x0`` (stack, paths, dimension).

    One W a dimension drives all its Y_k. ``context(t)`` is handed to the control.

    Raises:
        ValueError: steps so long that the fastest Y would be unstable, dt gamma_max > 0.5.
    """
    x = checks.tensor("x0", x0, ndim=3, floating=True)
    dt = horizon / checks.integer("steps", steps, low=1)
    if dt * float(noise.gamma.max()) > 0.5:
        need = math.ceil(2 * horizon * float(noise.gamma.max()))
        raise ValueError(
            f"steps must be at least {need}, so that dt times the largest rate is at most 0.5, got {steps}"
        )
    y, gamma, w = noise.start(tuple(x.shape), generator), noise.gamma.float(), noise.weights.float()
    kl, kept = torch.zeros(x.shape[:2]), [x]
    for k in range(steps):
        t = k * dt
        dW = math.sqrt(dt) * torch.randn(x.shape, generator=generator)
        if control is not None:
            u = control(t, x, y, None if context is None else context(t))
            kl = kl + 0.5 * dt * u.square().sum(-1)
            dW = dW + dt * u
        dY = -gamma * y * dt + dW[..., None]
        x = x + (0 if drift is None else drift(x, t) * dt) + scale * (dY @ w)
        y = y + dY
        kept.append(x)
    return Paths(torch.stack(kept, 2), torch.linspace(0, horizon, steps + 1), kl)


def log_normal(x: torch.Tensor, mean: torch.Tensor, std: float) -> torch.Tensor:
    """Log density of independent normals."""
    return -0.5 * ((x - mean) / std).square() - math.log(std) - 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class LinearControl:
    """u_n = gain_n (x, Y) + offset_n: ``gain`` (steps, K + 1), ``offset`` (steps, series).

    ``spread`` (steps,) is the deviation of the posterior's dW over that of the prior's. Girsanov's theorem has 1; the best value of
    an Euler step is below and tends to 1 with the step. With it the bound of a Gaussian prior is its evidence.
    """

    gain: torch.Tensor
    offset: torch.Tensor
    spread: torch.Tensor


def linear_system(noise: Noise, horizon: float, steps: int, rate: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """F (K + 1, K + 1) and G (K + 1,) of the Euler step (x, Y) <- F (x, Y) + G (dW + u dt) with dX = -rate x dt + dBhat."""
    dt, K = horizon / steps, len(noise.gamma)
    step = -noise.gamma * dt
    top = torch.cat([torch.tensor([1 - rate * dt], dtype=DOUBLE), noise.weights * step])
    rest = torch.cat([torch.zeros(K, 1, dtype=DOUBLE), torch.diag(1 + step)], 1)
    return torch.cat([top[None], rest]), torch.cat([noise.weights.sum()[None], torch.ones(K, dtype=DOUBLE)])


def exact_elbo(
    noise: Noise, control: LinearControl, observed: torch.Tensor, places, std: float, horizon: float
) -> torch.Tensor:
    """The evidence bound (series,) under a linear control, without sampling: means and covariances of (x, Y) by recursion.

    Args:
        observed: (series, observations) of x(0) = 0 at step numbers ``places``, with Gaussian error ``std``; type II noise.
    """
    steps = control.gain.shape[0]
    F, G = linear_system(noise, horizon, steps)
    dt, size = horizon / steps, len(G)
    mean, P = torch.zeros(size, observed.shape[0], dtype=DOUBLE), torch.zeros(size, size, dtype=DOUBLE)
    at, bound = {int(place): k for k, place in enumerate(places)}, torch.zeros(observed.shape[0], dtype=DOUBLE)
    for n in range(steps):
        gain = control.gain[n]
        u = gain @ mean + control.offset[n]
        square = control.spread[n].square()
        bound = bound - 0.5 * dt * (u.square() + gain @ P @ gain) - 0.5 * (square - 1 - square.log())
        closed = F + dt * G[:, None] * gain
        mean = F @ mean + dt * G[:, None] * u
        P = closed @ P @ closed.T + square * dt * G[:, None] * G
        if n + 1 in at:
            value = observed[:, at[n + 1]]
            bound = bound + log_normal(value, mean[0], std) - 0.5 * P[0, 0] / std**2
    return bound


def evidence(noise: Noise, observed: torch.Tensor, places, std: float, horizon: float, steps: int) -> torch.Tensor:
    """log p (series,) of the observations under the same Euler prior, exactly: a Gaussian with the covariance of its steps."""
    F, G = linear_system(noise, horizon, steps)
    columns = [G]
    for _ in range(steps - 1):
        columns.append(F @ columns[-1])
    response = torch.stack(columns)[:, 0]  # of x to an impulse of dW
    n, m = torch.as_tensor(places)[:, None] - 1, torch.arange(steps)
    rows = torch.where(m <= n, response[(n - m).clamp_min(0)], torch.zeros((), dtype=DOUBLE))
    covariance = rows @ rows.T * (horizon / steps) + std**2 * torch.eye(len(rows), dtype=DOUBLE)
    return torch.distributions.MultivariateNormal(torch.zeros(len(rows), dtype=DOUBLE), covariance).log_prob(
        observed.double()
    )


def optimal_control(
    noise: Noise, observed: torch.Tensor, places, std: float, horizon: float, steps: int, *, free: bool = True
) -> LinearControl:
    """The control of largest evidence bound, by the backward recursion of linear-quadratic control; ``free``: its spread too.

    The cost to go from step n is z'Lz/2 - e'z + const; each step minimizes dt u^2/2 + cost to go over u.
    """
    F, G = linear_system(noise, horizon, steps)
    dt, size = horizon / steps, len(G)
    at = {int(place): k for k, place in enumerate(places)}
    L, e = torch.zeros(size, size, dtype=DOUBLE), torch.zeros(size, observed.shape[0], dtype=DOUBLE)
    unit = torch.zeros(size, dtype=DOUBLE)
    unit[0] = 1.0
    gains, offsets, spreads = [], [], []
    for n in range(steps, 0, -1):
        if n in at:
            L = L + unit[:, None] * unit / std**2
            e = e + unit[:, None] * observed[:, at[n]].double() / std**2
        pull = G @ L
        share = 1 + dt * (pull @ G)
        gains.append(-(pull @ F) / share)
        offsets.append((G @ e) / share)
        spreads.append(share.rsqrt() if free else torch.ones_like(share))
        e = F.T @ (e - dt * pull[:, None] * (G @ e) / share)
        L = F.T @ (L - dt * pull[:, None] * pull / share) @ F
    return LinearControl(torch.stack(gains[::-1]), torch.stack(offsets[::-1]), torch.stack(spreads[::-1]))


class Fitted(NamedTuple):
    """Hurst index, evidence bound (series,) and scale."""

    H: float
    bound: torch.Tensor
    scale: float


@torch.no_grad()
def fit_hurst(
    observed,
    *,
    horizon: float = 1.0,
    steps: int | None = None,
    std: float = 0.05,
    K: int = 5,
    H: float | None = None,
    scale: float | None = None,
) -> Fitted:
    """Hurst index and evidence bound (series,) of series that start at 0, the bound maximized over control, scale and index.

    Args:
        observed: (series, observations) at equal times up to ``horizon``.
        steps: of the Euler scheme, a multiple of the observations; four each if ``None``. Few steps move the index towards 1/2.
        std: of the error of an observation, in the unit of the series.
        H, scale: fixed instead of fitted; dX = scale dB.
    """
    x = checks.tensor("observed", observed, ndim=2, floating=True).double()
    steps = 4 * x.shape[1] if steps is None else checks.integer("steps", steps, low=1)
    if steps % x.shape[1]:
        raise ValueError(f"steps must be a multiple of the {x.shape[1]} observations, got {steps}")
    std = checks.number("std", std, low=0.0, open_low=True)
    places = torch.arange(1, x.shape[1] + 1) * (steps // x.shape[1])
    gamma = rates(K, min(40.0, 0.5 * steps / horizon))

    def bound(index, log_scale):
        noise, size = Noise(gamma, optimal_weights(index, gamma, horizon)), math.exp(log_scale)
        control = optimal_control(noise, x / size, places, std / size, horizon, steps)
        return exact_elbo(noise, control, x / size, places, std / size, horizon) - x.shape[1] * log_scale

    guess = math.log(max(float(x[:, -1].square().mean().sqrt()), 1e-6)) if scale is None else math.log(scale)
    if H is None or scale is None:
        from scipy import optimize

        free = [k for k, given in enumerate((H, scale)) if given is None]
        start = [0.0 if H is None else math.log(H / (1 - H)), guess]
        index = lambda t: 0.03 + 0.94 / (1 + math.exp(-t)) if H is None else H  # noqa: E731

        def loss(point):
            full = list(start)
            for k, value in zip(free, point):
                full[k] = float(np.clip(value, -12, 12))
            return -float(bound(index(full[0]), full[1]).mean())

        found = optimize.minimize(
            loss, [start[k] for k in free], method="Nelder-Mead", options={"xatol": 2e-3, "fatol": 1e-4, "maxfev": 90}
        )
        for k, value in zip(free, found.x):
            start[k] = float(np.clip(value, -12, 12))
        H, guess = index(start[0]), start[1]
    return Fitted(H, bound(H, guess), math.exp(guess))
