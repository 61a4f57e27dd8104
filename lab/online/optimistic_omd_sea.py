r"""Optimistic online mirror descent for losses between stochastic and adversarial, with the bounds on its regret.

The learner trusts the last gradient as a hint, m_t = g_{t-1}, m_1 = 0, and moves twice a round:

.. math:: x_t = \arg\min_{x} \langle m_t, x\rangle + B_t(x, \hat x_t), \qquad
          \hat x_{t+1} = \arg\min_{x} \langle g_t, x\rangle + B_t(x, \hat x_t).

Convex: B_t = |x - y|^2 / (2 eta_t), eta_t = D / sqrt(10 D^2 L^2 + 4 G^2 + V_{t-1}), V_t = sum_{s<=t} |g_s - g_{s-1}|^2. Strongly
convex means: eta_t = 2 / (lambda t). Exp-concave losses: B_t = |x - y|^2_{H_t} / 2 with
H_t = (1 + beta G^2 / 2) I + (beta/2) sum_{s<t} g_s g_s' and beta = min(1 / (4 G D), alpha) / 2.
Changing comparators: :class:`DynamicMirrorDescent`, many step sizes under an optimistic Hedge.

On every path of gradients (:func:`path_bound`), D the diameter, g_0 = 0:

.. math:: \text{convex: } R_T \le \tfrac52 D \sqrt{10 D^2L^2 + 4G^2 + V_T}, \quad
          \text{strongly convex: } R_T \le \tfrac2\lambda \sum_t \tfrac1t \|g_t - g_{t-1}\|^2,

.. math:: \text{exp-concave: } R_T \le \tfrac{D^2}{2}\bigl(1 + \tfrac{\beta G^2}{2}\bigr)
          + \tfrac{8d}{\beta}\ln\bigl(1 + \tfrac{\beta V_T}{8d}\bigr).

In expectation |g_t - g_{t-1}|^2 is at most 4 (sigma_t^2 + sigma_{t-1}^2 + Sigma_t^2 + L^2 |x_t - x_{t-1}|^2), which gives
:func:`expected_bound`. The paper's orders are kept; constants of the strongly convex and exp-concave bounds are derived here.

Source: S. Chen, Y.-J. Zhang, W.-W. Tu, P. Zhao, L. Zhang, 'Optimistic online mirror descent for bridging stochastic and adversarial
online convex optimization', JMLR 25, 2024 (ICML 2023), sections 3 to 5; step size of the convex case: theorem 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from lab import checks
from lab.online.environments import Environment, Quadratic
from lab.online.learners import Played, cautious_rate

KINDS = ("convex", "strongly convex", "exp-concave")
_NEWTON = 8  # iterations of the projection in a metric
HINTS = {"last gradient": 1.0, "none": 0.0, "turned": -1.0}


class Mirror(NamedTuple):
    """State of :class:`OptimisticMirrorDescent`: round, the lower point, last gradient, variation, metric and its inverse."""

    environment: Environment
    t: int
    lower: torch.Tensor
    hint: torch.Tensor
    variation: torch.Tensor
    metric: torch.Tensor | None
    inverse: torch.Tensor | None


@dataclass(frozen=True)
class OptimisticMirrorDescent:
    """Optimistic online mirror descent of the kind of the losses, a learner for :func:`lab.online.play`.

    Args:
        kind: ``"convex"``, ``"strongly convex"`` (of the mean losses) or ``"exp-concave"`` (of single losses; on a ball).
        hint: ``"last gradient"``, ``"none"`` (plain mirror descent with the same step sizes; of the exp-concave kind the online
            Newton step) or ``"turned"`` (minus the last gradient, a hint that misleads).
        scale: multiplies the step size.
        overstated: multiplies lambda and alpha, to see what wrong knowledge costs.
    """

    kind: str = "convex"
    hint: str = "last gradient"
    scale: float = 1.0
    overstated: float = 1.0

    def __post_init__(self):
        checks.choice("kind", self.kind, KINDS)
        checks.choice("hint", self.hint, HINTS)

    def start(self, environment):
        """The state and the point of the first round: the centre of the set."""
        if self.kind == "exp-concave" and not isinstance(environment, Quadratic):
            raise TypeError("kind 'exp-concave' projects in a metric of its own onto a ball; the set is a simplex")
        needed = {"strongly convex": environment.strong, "exp-concave": environment.exp_concave}.get(self.kind)
        if needed is not None and bool((needed <= 0).any()):
            raise ValueError(f"kind {self.kind!r} needs {self.kind} losses, got an environment without")
        x = environment.start()
        metric = inverse = None
        if self.kind == "exp-concave":
            beta = self._beta(environment)
            size, eye = (
                (1 + 0.5 * beta * environment.lipschitz.square())[..., None],
                torch.eye(x.shape[1], dtype=x.dtype),
            )
            metric, inverse = size * eye, eye / size
        return Mirror(environment, 1, x, torch.zeros_like(x), x.new_zeros(len(x), 1), metric, inverse), x

    def step(self, state, gradient):
        """The state and the point of the next round."""
        e, factor = state.environment, HINTS[self.hint]
        lower = self._move(state, gradient)
        variation = state.variation + (gradient - state.hint).square().sum(-1, keepdim=True)
        metric, inverse = state.metric, state.inverse
        if metric is not None:
            half = 0.5 * self._beta(e)
            metric = metric + half[..., None] * gradient[:, :, None] * gradient[:, None, :]
            turned = (inverse @ gradient[..., None])[..., 0]
            size = half / (1 + half * (gradient * turned).sum(-1, keepdim=True))
            inverse = inverse - size[..., None] * turned[:, :, None] * turned[:, None, :]
        state = Mirror(e, state.t + 1, lower, gradient, variation, metric, inverse)
        return state, lower if factor == 0 else self._move(state, factor * gradient)

    def _move(self, state, gradient):
        e = state.environment
        if self.kind == "exp-concave":
            return metric_step(state.lower, self.scale * gradient, state.metric, state.inverse, e.radius)
        if self.kind == "convex":
            rate = cautious_rate(e, state.variation)
        else:
            rate = 2 / (self.overstated * e.strong * state.t)
        return e.project(state.lower - self.scale * rate * gradient)

    def _beta(self, environment):
        return concavity(environment) * self.overstated


def concavity(environment) -> torch.Tensor:
    """beta = min(1 / (4 G D), alpha) / 2, (batch, 1)."""
    return 0.5 * torch.minimum(1 / (4 * environment.lipschitz * environment.diameter), environment.exp_concave)


def metric_step(y, gradient, metric, inverse, radius) -> torch.Tensor:
    """argmin <g, x> + |x - y|^2_H / 2 over the ball, for H and its inverse (batch, d, d).

    Inside the ball it is y - H^-1 g; outside the multiplier solves |(H + mu)^-1 (H y - g)| = radius, by Newton's iteration on
    1 / length, which rises to the root without overshooting.
    """
    x = y - (inverse @ gradient[..., None])[..., 0]
    rows = (x.norm(dim=-1) > radius[:, 0]).nonzero()[:, 0]
    if not len(rows):
        return x
    values, vectors = torch.linalg.eigh(metric[rows])
    z = values * (x[rows][:, None, :] @ vectors)[:, 0]
    limit, mu = radius[rows], torch.zeros(len(rows), 1, dtype=x.dtype)
    for _ in range(_NEWTON):
        near = z / (values + mu)
        length = near.norm(dim=-1, keepdim=True)
        slope = (near.square() / (values + mu)).sum(-1, keepdim=True)
        mu = (mu + (length - limit) / limit * length.square() / slope).clamp_min(0)
    near = z / (values + mu)
    near = near * (limit / near.norm(dim=-1, keepdim=True))
    return x.index_copy(0, rows, (vectors @ near[..., None])[..., 0])


class Layers(NamedTuple):
    """State of :class:`DynamicMirrorDescent`: base points, hints, sums of the experts' losses and of squared surprises."""

    environment: Quadratic
    lower: torch.Tensor
    points: torch.Tensor
    weights: torch.Tensor
    hint: torch.Tensor
    rates: torch.Tensor
    total: torch.Tensor
    guess: torch.Tensor
    surprise: torch.Tensor
    stability: torch.Tensor


@dataclass(frozen=True)
class DynamicMirrorDescent:
    """Optimistic gradient descents with step sizes 2^i D / (G sqrt T) up to 1 / (8 L) under one optimistic Hedge.

    Base learner i is charged <g_t, x_{t,i}> + 2 L |x_{t,i} - x_{t-1,i}|^2, its hint puts g_{t-1} for g_t; Hedge's rate is
    min(1 / (8 D^2 L), 1 / sqrt(1 + sum |loss - hint|_inf^2)). Without smoothness (L = 0) step sizes end at D / G.

    Args:
        rounds: T, by which the smallest step size is set; all rounds of the environment if None.
        hint: see :class:`OptimisticMirrorDescent`.
        steps: how many of the step sizes are used, all if None. 1 is a single slow learner.
    """

    rounds: int | None = None
    hint: str = "last gradient"
    steps: int | None = None

    def __post_init__(self):
        checks.choice("hint", self.hint, HINTS)

    def rates(self, environment) -> torch.Tensor:
        """The step sizes (batch, base learners); a batch's own largest one is repeated where it needs fewer."""
        least = environment.diameter / (environment.lipschitz * (self.rounds or environment.rounds) ** 0.5)
        most = torch.minimum(
            environment.diameter / environment.lipschitz, 1 / (8 * environment.smooth).clamp_min(1e-300)
        )
        count = max(1, math.ceil(float((most / least).log2().max()) - 1e-9) + 1)
        grid = least * 2.0 ** torch.arange(count, dtype=least.dtype)
        return torch.minimum(grid, most)[:, : self.steps]

    def start(self, environment):
        """The state and the point of the first round."""
        rates, x = self.rates(environment), environment.start()
        base = x[:, None].expand(-1, rates.shape[1], -1)
        zero = torch.zeros_like(rates)
        weights = torch.full_like(rates, 1 / rates.shape[1])
        state = Layers(environment, base, base, weights, torch.zeros_like(x), rates, zero, zero, zero[:, :1], zero)
        return state, x

    def step(self, state, gradient):
        """The state and the point of the next round."""
        e, factor = state.environment, HINTS[self.hint]
        own = (state.points * gradient[:, None]).sum(-1) + state.stability
        surprise = state.surprise + (own - state.guess).abs().amax(-1, keepdim=True).square()
        total = state.total + own
        lower = e.project(state.lower - state.rates[..., None] * gradient[:, None])
        points = e.project(lower - state.rates[..., None] * factor * gradient[:, None])
        stability = 2 * e.smooth * (points - state.points).square().sum(-1)
        guess = factor * (points * gradient[:, None]).sum(-1) + stability
        weights = torch.softmax(-self.hedge_rate(e, surprise) * (total + guess), -1)
        made = Layers(e, lower, points, weights, gradient, state.rates, total, guess, surprise, stability)
        return made, (weights[..., None] * points).sum(1)

    @staticmethod
    def hedge_rate(environment, surprise):
        """The rate of Hedge after a sum of squared surprises."""
        most = 1 / (8 * environment.diameter.square() * environment.smooth).clamp_min(1e-300)
        return torch.minimum(most, 1 / (1 + surprise).sqrt())


def path_bound(environment, played: Played, kind: str, at: torch.Tensor, *, overstated: float = 1.0) -> torch.Tensor:
    """The bound on regret that the gradients met on the way guarantee, at each horizon of ``at``, (batch, horizons).

    It holds for every path on which single losses are of the ``kind``; for convex means of other losses it bounds
    sum <g_t, x_t - u>. See the module for the formulas.
    """
    checks.choice("kind", kind, KINDS)
    e, steps = environment, played.variation()
    if kind == "convex":
        rest = 10 * (e.diameter * e.smooth).square() + 4 * e.lipschitz.square()
        return (2.5 * e.diameter * (rest + steps.cumsum(1)).sqrt())[:, at - 1]
    if kind == "strongly convex":
        t = torch.arange(1, steps.shape[1] + 1, dtype=steps.dtype)
        return (2 / (overstated * e.strong) * (steps / t).cumsum(1))[:, at - 1]
    beta, d = overstated * concavity(e), e.dimension
    fixed = 0.5 * e.diameter.square() * (1 + 0.5 * beta * e.lipschitz.square())
    return (fixed + 8 * d / beta * (1 + beta * steps.cumsum(1) / (8 * d)).log())[:, at - 1]


@torch.no_grad()
def dynamic_path_bound(
    environment, played: Played, learner: DynamicMirrorDescent, length: torch.Tensor
) -> torch.Tensor:
    """The bound on sum <g_t, x_t - u_t> over all rounds played, (batch,), against comparators of path length (batch,):

    ln N / e_T + sum_t e_t |loss_t - hint_t|_inf^2 + min_i [eta_i V_T + (D^2 + 2 D P_T) / (2 eta_i)], e_t Hedge's rate.
    """
    state, _ = learner.start(environment)
    paid = torch.zeros_like(environment.diameter)
    for t in range(played.gradients.shape[1]):
        g = played.gradients[:, t]
        own = (state.points * g[:, None]).sum(-1) + state.stability
        rate = learner.hedge_rate(environment, state.surprise)
        paid = paid + rate * (own - state.guess).abs().amax(-1, keepdim=True).square()
        state, _ = learner.step(state, g)
    count, d = state.rates.shape[1], environment.diameter
    hedge = math.log(count) / rate + paid
    variation = played.variation().sum(1, keepdim=True)
    base = state.rates * variation + (d.square() + 2 * d * length[:, None]) / (2 * state.rates)
    return (hedge + base.amin(1, keepdim=True))[:, 0]


def expected_bound(environment: Quadratic, kind: str, at: torch.Tensor, *, of: str = "mirror descent") -> torch.Tensor:
    """The bound on expected regret by noise and drift, at each horizon, (batch, horizons).

    With N = sum sigma_t^2, S = sum Sigma_t^2, their largest n and s, a = 2 n + s, A = 2 N + S, kappa = L / lambda:

    - convex: 5 sqrt(2) D sqrt(N) + 5 D sqrt(S) + 5 sqrt(10) D^2 L + (5/2) sqrt(5) D G;
    - strongly convex: (8 / lambda) a (1 + ln(A / a)) + 2 G^2 / lambda + (8 L^2 D^2 / lambda) sum_{2 <= t < t0} 1/t with
      t0 = 2 + sqrt(1 + 64 kappa^2): from t0 on, the moves of the learner itself are paid by the negative terms of the analysis;
    - exp-concave: (D^2 / 2)(1 + beta G^2 / 2) + (8 d / beta) (ln(1 + beta (4 A + G^2) / (8 d)) + ln max(1, 8 L^2 / r)),
      r = (1 - beta G^2 / 2) / 2.

    ``of="FTRL"`` replaces ln(A / a) by ln T: the bound of Sachs et al. for strongly convex losses with the same constants.
    """
    checks.choice("kind", kind, KINDS)
    checks.choice("of", of, ("mirror descent", "FTRL"))
    e = environment
    noise, drift = e.known("noise2"), e.known("drift2")
    total = lambda v: v.cumsum(1)[:, at - 1]  # noqa: E731
    n, s = total(noise), total(drift)
    d, g, smooth = e.diameter, e.lipschitz, e.smooth
    if kind == "convex":
        rest = 5 * 10**0.5 * d.square() * smooth + 2.5 * 5**0.5 * d * g
        return 5 * 2**0.5 * d * n.sqrt() + 5 * d * s.sqrt() + rest
    if kind == "strongly convex":
        if bool((e.strong <= 0).any()):
            raise ValueError("kind 'strongly convex' needs strongly convex mean losses, got an environment without")
        largest = 2 * noise.cummax(1).values[:, at - 1] + drift.cummax(1).values[:, at - 1]
        inner = at.to(n.dtype) if of == "FTRL" else (2 * n + s) / largest.clamp_min(1e-300)
        until = 1 + (1 + 64 * (smooth / e.strong).square()).sqrt()
        t = torch.arange(2, int(until.max()) + 2, dtype=n.dtype)
        own = torch.where(t < until, 1 / t, torch.zeros_like(t)).sum(-1, keepdim=True)
        rest = 2 * g.square() + 8 * (smooth * d).square() * own
        return (8 * largest * (1 + inner.clamp_min(1).log()) + rest) / e.strong
    beta, size = concavity(e), e.dimension
    room = 0.5 * (1 - 0.5 * beta * g.square())
    logs = (1 + beta * (8 * n + 4 * s + g.square()) / (8 * size)).log() + (8 * smooth.square() / room).clamp_min(
        1
    ).log()
    return 0.5 * d.square() * (1 + 0.5 * beta * g.square()) + 8 * size / beta * logs
