r"""The one adaptive integrator of ordinary differential equations: Dormand and Prince, order 5 with an estimate of order 4.

For dy/dt = f(t, y) one step of size h takes seven stages, the last of which is the first of the next step,

.. math:: g_i = y + h \sum_{j<i} a_{ij} k_j, \qquad k_i = f(t + c_i h, g_i), \qquad y' = g_7 .

Two numbers a step say how hard it was, both in the graph, so that a training can penalize them:

.. math:: E = \Bigl\| \frac{h \sum_i (b_i - \hat b_i) k_i}{atol + rtol \max(|y|, |y'|)} \Bigr\|, \qquad
          S = \frac{\| k_7 - k_6 \|}{\| g_7 - g_6 \|}.

E is the estimated error of the step over what is tolerated: a step with E <= 1 is accepted. S is an estimate of the largest
eigenvalue of the Jacobian, since g_6 and g_7 are two states at the same time; for linear f it is at most the Jacobian's norm.

Sources: J. Dormand, P. Prince, 'A family of embedded Runge-Kutta formulae', J. Comput. Appl. Math. 6, 1980 (the table);
L. Shampine, 'Some practical Runge-Kutta formulas', Math. Comp. 46, 1986 (dense output of order 4); E. Hairer, S. Norsett,
G. Wanner, 'Solving Ordinary Differential Equations I', 1993, section II.4 (initial step, control of the step with the error
before, equations (4.13) and (4.14)) and 'II', 1996, equation (2.26) of section IV.2 (S); A. Pal, Y. Ma, V. Shah, C. Rackauckas,
'Opening the blackbox: accelerating neural differential equations by regularizing internal solver heuristics', ICML 2021 (E and S
as penalties).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lab import checks
from lab.training.unrolled import recomputed

_A = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_C = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
# weights of the dense output: row i holds the coefficients of theta, theta^2, theta^3, theta^4 of stage i
_DENSE = (
    (1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
    (0.0, 0.0, 0.0, 0.0),
    (0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
    (0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
    (0.0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632),
    (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
    (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
)
_TINY = {dtype: torch.finfo(dtype).tiny for dtype in (torch.float32, torch.float64)}
_SAFETY, _SHRINK, _GROW, _MEMORY = 0.9, 0.2, 10.0, 0.04


class IntegrationError(ArithmeticError):
    """The integration cannot go on: values that are not finite, too many steps, or steps below the resolution of time."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What :func:`dopri5` returns.

    Attributes:
        y: states at the requested times, (times, *state).
        steps: signed sizes of the accepted steps, (n,); they sum to the interval.
        evaluations: calls of f, with those of rejected steps.
        error: E of every accepted step, (n,), differentiable.
        stiffness: S of every accepted step, (n,), differentiable; 0 where both states of the quotient are equal.
        rejected: steps that were tried and not accepted.
    """

    y: torch.Tensor
    steps: torch.Tensor
    evaluations: int
    error: torch.Tensor
    stiffness: torch.Tensor
    rejected: int


def dopri5(
    f: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    y: torch.Tensor,
    t: torch.Tensor | Sequence[float],
    rtol: float = 1e-6,
    atol: float = 1e-8,
    *,
    norm: str = "mean",
    first_step: float | None = None,
    max_steps: int = 10_000,
) -> Solution:
    """Solve dy/dt = f(t, y) from ``y`` at ``t[0]`` and return the states at all times ``t``.

    Args:
        f: called with a time of shape () and a state; returns the derivative in the state's shape.
        y: initial state of any shape, float32 or float64; the computation has its dtype and device.
        t: at least two times, strictly increasing or strictly decreasing. The steps do not stop at the times between: those
            states come from the dense output, of order 4.
        rtol, atol: tolerated error of a step, relative to the state and absolute.
        norm: of the scaled error: "mean", the root mean square over all numbers of the state, or "items", the largest root mean
            square of the entries along the first axis, so that many easy items cannot hide a hard one.
        first_step: size of the first step; estimated from f, at the cost of one call, where not given.
        max_steps: accepted and rejected steps together.

    Returns:
        :class:`Solution`. Gradients with respect to ``y`` and whatever f depends on are the exact ones of the steps taken (the
        discrete adjoint, by autograd): sizes and acceptance of steps are constants in them. Memory grows with the steps.

    Raises:
        ValueError, TypeError: arguments that cannot be, before f is called a second time.
        IntegrationError: values that are not finite, more than ``max_steps`` steps, a step below the resolution of time.

    >>> decay = dopri5(lambda t, y: -y, torch.ones(1, dtype=torch.float64), [0.0, 1.0])
    >>> abs(float(decay.y[-1]) - math.exp(-1)) < 1e-6
    True
    """
    times = _times(t)
    y = checks.tensor("y", y, floating=True)
    if y.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"y must be float32 or float64, got {y.dtype}; call .float() first")
    rtol, atol = checks.number("rtol", rtol, low=0.0), checks.number("atol", atol, low=0.0)
    if rtol + atol == 0:
        raise ValueError("rtol and atol must not both be 0: no step could be accepted")
    if rtol and rtol < 4 * torch.finfo(y.dtype).eps:
        raise ValueError(
            f"rtol must be 0 or above the resolution of {y.dtype}, {4 * torch.finfo(y.dtype).eps:.2g}, got {rtol:g}"
        )
    measure = _NORMS[checks.choice("norm", norm, tuple(_NORMS))]
    if norm == "items" and y.ndim < 2:
        raise ValueError(
            f"y must have an axis of items and one of entries for norm='items', got shape {tuple(y.shape)}"
        )
    max_steps = checks.integer("max_steps", max_steps, low=1)
    if first_step is not None:
        first_step = checks.number("first_step", first_step, low=0.0, open_low=True)
    return _Integration(f, y, times, rtol, atol, measure, max_steps).run(first_step)


def _root_mean_square(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(x) / math.sqrt(x.numel())


def _largest_item(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1).amax() / math.sqrt(x[0].numel())


_NORMS = {"mean": _root_mean_square, "items": _largest_item}


class _Combine(torch.autograd.Function):
    """y + sum_j w_j k_j for numbers w_j, without a chain of products and sums in the graph."""

    @staticmethod
    def forward(weights, y, *stages):
        return _combined(weights, y, stages)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.weights = inputs[0]

    @staticmethod
    def backward(ctx, gradient):
        wanted = ctx.needs_input_grad[2:]
        return None, gradient, *(gradient * w if w and take else None for w, take in zip(ctx.weights, wanted))


def _combined(weights, y, stages):
    """y + sum_j w_j k_j; y itself stays as it is."""
    (weight, stage), *others = [pair for pair in zip(weights, stages) if pair[0]]
    result = torch.add(y, stage, alpha=weight)
    for weight, stage in others:
        result.add_(stage, alpha=weight)
    return result


class _Integration:
    """One call of :func:`dopri5`: its tables in the state's dtype, its counters and its loop over steps."""

    def __init__(self, f, y, times, rtol, atol, measure, max_steps):
        self.f, self.start, self.times, self.rtol, self.atol, self.measure = f, y, times, rtol, atol, measure
        self.max_steps, self.evaluations, self.rejected = max_steps, 0, 0
        self.sign = 1.0 if times[-1] > times[0] else -1.0
        self.resolution = 16 * math.ulp(max(abs(times[0]), abs(times[-1])))

    def run(self, first_step) -> Solution:
        y, now, end = self.start, self.times[0], self.times[-1]
        first = self.call(now, y)
        checks.refuse_nonfinite("f(t[0], y)", first)
        h = first_step if first_step is not None else self.first_step(y, first)
        found: list[torch.Tensor] = [y]
        sizes, errors, stiffness = [], [], []
        before, tried, waiting = 1e-4, 0, 1
        grows = True
        while waiting < len(self.times):
            left = abs(end - now)
            last = h >= left * (1 - 1e-12)
            h = left if last else min(h, left / 2) if h > left / 2 else h
            if tried == self.max_steps:
                raise IntegrationError(
                    f"dopri5 took max_steps={self.max_steps} steps and reached t={now:.6g} of {end:.6g}; the problem may be "
                    "stiff, or rtol and atol too small"
                )
            tried += 1
            stages, following, scaled, stiff = self.step(now, self.sign * h, y, first)
            size = float(scaled.detach())
            if not math.isfinite(size):
                factor, accepted = _SHRINK, False
            else:
                accepted = size <= 1.0
                factor = _factor(size, before)
            if not accepted:
                self.rejected += 1
                grows = False
                h *= min(factor, 1.0) if math.isfinite(size) else _SHRINK
                if h < self.resolution:
                    raise IntegrationError(self.too_small(now, size))
                continue
            until = end if last else now + self.sign * h
            while waiting < len(self.times) and self.sign * (until - self.times[waiting]) > 0:
                theta = (self.times[waiting] - now) / (until - now)
                found.append(self.between(theta, self.sign * h, y, stages))
                waiting += 1
            if waiting < len(self.times) and self.times[waiting] == until:
                found.append(following)
                waiting += 1
            sizes.append(self.sign * h)
            errors.append(scaled)
            stiffness.append(stiff)
            before = max(size, 1e-4)
            h *= factor if grows else min(factor, 1.0)
            grows = True
            y, first, now = following, stages[-1], until
        return Solution(
            torch.stack(found), torch.tensor(sizes, dtype=y.dtype, device=y.device), self.evaluations, torch.stack(errors),
            torch.stack(stiffness), self.rejected,
        )  # fmt: skip

    def step(self, now, h, y, first):
        """The stages of a step of signed size h, its end, its scaled error and its stiffness."""
        stages, state = [first], y
        for row, c in zip(_A[1:], _C[1:]):
            before, state = state, _Combine.apply([h * a for a in row], y, *stages)
            stages.append(self.call(now + c * h, state))
        scaled, stiff = recomputed(self.estimates(h), y, before, state, *stages[:1], *stages[2:])
        return stages, state, scaled, stiff

    def estimates(self, h):
        """E and S of a step from y, g_6, g_7 and the stages but k_2, which has no weight in the error."""

        def estimate(y, before, state, *stages):
            error = _combined([h * e for e in _ERROR[2:]], _ERROR[0] * h * stages[0], stages[1:])
            scale = torch.maximum(y.abs(), state.abs()) * self.rtol + self.atol
            moved = torch.linalg.vector_norm(state - before)
            turned = torch.linalg.vector_norm(stages[-1] - stages[-2])
            return self.measure(error / scale), torch.where(moved > 0, turned / moved.clamp_min(_TINY[y.dtype]), 0.0)

        return estimate

    def call(self, t, y):
        self.evaluations += 1
        value = self.f(torch.tensor(t, dtype=y.dtype, device=y.device), y)
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"f must return a tensor, got {type(value).__name__}")
        if value.shape != y.shape:
            raise ValueError(f"f must return the state's shape {tuple(y.shape)}, got {tuple(value.shape)}")
        if value.dtype != y.dtype:
            raise TypeError(f"f must return the state's dtype {y.dtype}, got {value.dtype}")
        return value

    def between(self, theta, h, y, stages):
        """The state at the fraction ``theta`` of a step, by its dense output."""
        weights = [h * sum(c * theta**power for power, c in enumerate(row, 1)) for row in _DENSE]
        return _Combine.apply(weights, y, *stages)

    @torch.no_grad()
    def first_step(self, y, first):
        """Hairer's size of the first step: from y, f and one explicit Euler step."""
        y, first = y.detach(), first.detach()
        scale = self.atol + self.rtol * y.abs()
        size, slope = float(self.measure(y / scale)), float(self.measure(first / scale))
        h = 1e-6 if size < 1e-5 or slope < 1e-5 else 0.01 * size / slope
        h = min(h, abs(self.times[-1] - self.times[0]))
        trial = self.call(self.times[0] + self.sign * h, y + self.sign * h * first)
        bend = float(self.measure((trial - first) / scale)) / h
        largest = max(slope, bend)
        if not math.isfinite(largest):
            return h
        return min(100 * h, max(1e-6, 1e-3 * h) if largest <= 1e-15 else (0.01 / largest) ** 0.2)

    def too_small(self, now, size):
        what = (
            "the error estimate is not finite"
            if not math.isfinite(size)
            else f"the error is {size:.3g} of what is tolerated"
        )
        return (
            f"dopri5 stopped at t={now:.6g}: even a step of {self.resolution:.2g}, the resolution of time, is refused, "
            f"since {what}; the solution or f may blow up or jump there"
        )


def _factor(error: float, before: float) -> float:
    """The next step over this one: proportional and integral control, with Hairer's constants."""
    if error == 0:
        return _GROW
    return min(_GROW, max(_SHRINK, _SAFETY * error ** -(0.2 - 0.75 * _MEMORY) * before**_MEMORY))


def _times(t) -> list[float]:
    if isinstance(t, torch.Tensor) and t.requires_grad:
        raise ValueError("t must not require a gradient: times and sizes of steps are constants here; call .detach()")
    times = checks.tensor("t", t, ndim=1).tolist()
    if len(times) < 2:
        raise ValueError(f"t must hold at least two times, the first that of y, got {len(times)}")
    steps = [after - before for before, after in zip(times, times[1:])]
    if not (all(step > 0 for step in steps) or all(step < 0 for step in steps)):
        raise ValueError("t must be strictly increasing or strictly decreasing")
    return [float(one) for one in times]
