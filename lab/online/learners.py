r"""Learners of online convex optimization, pure and in batches, and :func:`play`, which lets one of them face an environment.

A learner has ``start(environment) -> (state, point)`` and ``step(state, gradient) -> (state, point)``; points and gradients are
(batch, dimension). Every state is a value of its own, nothing is changed in place, so that a learner may be replayed from any
round. All step sizes here are those of theory, times ``scale``.

Sources: gradient descent with D / (G sqrt t): M. Zinkevich, ICML 2003; with 1 / (lambda t): E. Hazan, A. Agarwal, S. Kale, Machine
Learning 69, 2007; the norm form of AdaGrad: M. Streeter, H. B. McMahan, 2010; optimistic follow-the-regularized-leader: S. Sachs,
H. Hadiji, T. van Erven, C. Guzman, NeurIPS 2022; optimistic Hedge: A. Rakhlin, K. Sridharan, COLT 2013.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from lab import checks
from lab.online.environments import Environment, Experts


class Learner(Protocol):
    """What :func:`play` asks of a learner."""

    def start(self, environment: Any) -> tuple[Any, torch.Tensor]:
        """The state before the first round and the first point (batch, dimension)."""

    def step(self, state: Any, gradient: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """The state and the point of the next round, given the gradient at the last point."""


@dataclass(frozen=True, eq=False)
class Played:
    """What happened: ``points``, ``gradients`` (batch, rounds, dimension) and ``losses`` (batch, rounds)."""

    points: torch.Tensor
    gradients: torch.Tensor
    losses: torch.Tensor

    def variation(self) -> torch.Tensor:
        """|g_t - g_{t-1}|^2 a round (batch, rounds), with g_0 = 0."""
        before = torch.cat([torch.zeros_like(self.gradients[:, :1]), self.gradients[:, :-1]], 1)
        return (self.gradients - before).square().sum(-1)


@torch.no_grad()
def play(
    learner: Learner,
    environment: Any,
    rounds: int | None = None,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> Played:
    """Let ``learner`` face ``environment`` for ``rounds`` (all it has, if None); all of its batch at once.

    Raises:
        ValueError: more rounds than the environment has; a point that is no finite number (with its round).
    """
    for name in ("start", "step"):
        if not callable(getattr(learner, name, None)):
            raise TypeError(
                f"learner must have start(environment) and step(state, gradient), got {type(learner).__name__}"
            )
    rounds = environment.rounds if rounds is None else checks.integer("rounds", rounds, low=1)
    if rounds > environment.rounds:
        raise ValueError(f"rounds must be at most {environment.rounds}, which the environment has, got {rounds}")
    state, x = learner.start(environment)
    points, gradients = [], []
    for t in range(rounds):
        g = environment.gradient(t, x)
        points.append(x)
        gradients.append(g)
        if t + 1 < rounds:
            state, x = learner.step(state, g)
        if progress is not None and (t + 1) % 100 == 0:
            progress(t + 1, rounds)
    path = torch.stack(points, 1)
    if not bool(torch.isfinite(path.sum())):
        worst = (~torch.isfinite(path)).flatten(2).any(2).any(0).nonzero()[0].item()
        raise ValueError(f"learner played a point that is not finite in round {int(worst) + 1}")
    return Played(path, torch.stack(gradients, 1), environment.losses(path))


class Walk(NamedTuple):
    """State of the simple learners: environment, round, last point, what is accumulated."""

    environment: Environment
    t: int
    x: torch.Tensor
    total: torch.Tensor
    second: torch.Tensor


def _walk(environment) -> tuple[Walk, torch.Tensor]:
    x = environment.start()
    return Walk(environment, 1, x, torch.zeros_like(x), x.new_zeros(len(x), 1)), x


@dataclass(frozen=True)
class GradientDescent:
    """x_{t+1} = P(x_t - eta_t g_t), eta_t = D / (G sqrt t), or 1 / (lambda t) with ``strong=True``."""

    strong: bool = False
    scale: float = 1.0

    def start(self, environment):
        """See :class:`Learner`."""
        if self.strong and bool((environment.strong <= 0).any()):
            raise ValueError("strong needs strongly convex mean losses, got an environment without")
        return _walk(environment)

    def step(self, state, gradient):
        """See :class:`Learner`."""
        e = state.environment
        rate = 1 / (e.strong * state.t) if self.strong else e.diameter / (e.lipschitz * state.t**0.5)
        x = e.project(state.x - self.scale * rate * gradient)
        return state._replace(t=state.t + 1, x=x), x


@dataclass(frozen=True)
class AdaGradNorm:
    """x_{t+1} = P(x_t - eta_t g_t), eta_t = D / sqrt(2 sum_{s <= t} |g_s|^2)."""

    scale: float = 1.0

    def start(self, environment):
        """See :class:`Learner`."""
        return _walk(environment)

    def step(self, state, gradient):
        """See :class:`Learner`."""
        second = state.second + gradient.square().sum(-1, keepdim=True)
        rate = state.environment.diameter / (2 * second).sqrt().clamp_min(1e-12)
        x = state.environment.project(state.x - self.scale * rate * gradient)
        return state._replace(x=x, second=second), x


class Leader(NamedTuple):
    """State of :class:`OptimisticFTRL`: sums of gradients and points, the last gradient as hint, the variation."""

    environment: Environment
    t: int
    x: torch.Tensor
    hint: torch.Tensor
    gradients: torch.Tensor
    points: torch.Tensor
    variation: torch.Tensor


@dataclass(frozen=True)
class OptimisticFTRL:
    """Optimistic follow-the-regularized-leader with the last gradient m_t = g_{t-1} as hint, as Sachs et al. play the SEA model.

    Convex: x_t = argmin <sum_{s<t} g_s + m_t, x> + |x - x_1|^2 / (2 eta_t) with eta_t as in
    :class:`lab.online.OptimisticMirrorDescent`. ``strong=True``: x_t = argmin <m_t, x> + sum_{s<t} <g_s, x> + lambda |x - x_s|^2/2.
    """

    strong: bool = False
    scale: float = 1.0

    def start(self, environment):
        """See :class:`Learner`."""
        if self.strong and bool((environment.strong <= 0).any()):
            raise ValueError("strong needs strongly convex mean losses, got an environment without")
        x = environment.start()
        zero = torch.zeros_like(x)
        return Leader(environment, 1, x, zero, zero, zero, x.new_zeros(len(x), 1)), x

    def step(self, state, gradient):
        """See :class:`Learner`."""
        e = state.environment
        total, points = state.gradients + gradient, state.points + state.x
        variation = state.variation + (gradient - state.hint).square().sum(-1, keepdim=True)
        if self.strong:
            pull = self.scale * (total + gradient) / (e.strong * state.t)
            x = e.project(points / state.t - pull)
        else:
            x = e.project(e.start() - self.scale * cautious_rate(e, variation) * (total + gradient))
        return Leader(e, state.t + 1, x, gradient, total, points, variation), x


def cautious_rate(environment, variation: torch.Tensor) -> torch.Tensor:
    """eta_t = D / sqrt(10 D^2 L^2 + 4 G^2 + V_{t-1}), the step size that follows the variation V of the gradients."""
    d, g, smooth = environment.diameter, environment.lipschitz, environment.smooth
    return d / (10 * (d * smooth).square() + 4 * g.square() + variation).sqrt()


@dataclass(frozen=True)
class Hedge:
    """Exponential weights over experts, p_t ~ exp(-eta_t (sum_{s<t} l_s + m_t)); the hint m_t is l_{t-1} if ``optimistic``, else 0.

    eta_t = sqrt(ln A / (G_inf^2 + V_{t-1})), V the sum of |l_s - m_s|_inf^2 and G_inf the largest size of a loss.
    """

    optimistic: bool = True
    scale: float = 1.0

    def start(self, environment):
        """See :class:`Learner`."""
        if not isinstance(environment, Experts):
            raise TypeError(f"Hedge plays on a simplex; environment must be Experts, got {type(environment).__name__}")
        return _walk(environment)

    def step(self, state, gradient):
        """See :class:`Learner`."""
        hint = state.x if self.optimistic and state.t > 1 else torch.zeros_like(gradient)
        second = state.second + (gradient - hint).abs().amax(-1, keepdim=True).square()
        total = state.total + gradient
        largest = state.environment.table.abs().amax((1, 2)).square().clamp_min(1e-24)[:, None]
        rate = self.scale * (torch.log(torch.tensor(float(gradient.shape[1]))) / (largest + second)).sqrt()
        p = torch.softmax(-rate * (total + gradient if self.optimistic else total), -1)
        return state._replace(t=state.t + 1, x=gradient, total=total, second=second), p
