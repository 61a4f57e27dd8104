r"""Neural differential equations that are easy to solve: the solver's own estimates of error and stiffness as penalties.

An adaptive solver of dz/dt = f(t, z) knows at every accepted step n of size h_n what it costs: the scaled error E_n, which must
stay below 1, and the stiffness S_n, an estimate of the largest eigenvalue of the Jacobian (:mod:`lab.integrate`). A training that
adds

.. math:: \lambda R_E, \quad R_E = \mathop{\rm mean}_n E_n |h_n| \qquad\text{or}\qquad
          \lambda R_S, \quad R_S = \mathop{\rm mean}_n S_n / 3.3066

to its loss finds dynamics that need fewer steps. 3.3066 is where the stability of the method of Dormand and Prince ends on the
negative real axis. Gradients go through the operations of the solver (the discrete adjoint) at fixed sizes of steps; a continuous
adjoint cannot give them, since the estimates are no functions of the solution.

**λ belongs to the tolerance and to the reduction.** E_n is the error over the tolerated one: at a tenth of the tolerance the same
step has ten times the E_n, so that a λ for unscaled errors is λ/tolerance. Sum, mean and maximum over steps differ by up to the
number of steps; the paper writes sums, its code takes means of E_n |h_n| and the maximum of S_n. R_E is no measure of progress: the
control of the steps keeps E_n near one, whatever the training does; the number of evaluations is the measure. Steps shorter than a
hundredth of the longest (first and last ones) do not count, since rounding makes their S_n, and S_n = 0 where nothing moves.

For dX = f dt + g dW the step is drift by Heun and noise at its left end, on a Brownian path that is fixed before: sizes are dyadic
parts of the interval, so that rejected steps leave the path as it is, and E_n is the scaled h/2 |f(Z) - f(X)| with Euler's Z.

Source: A. Pal, Y. Ma, V. Shah, C. Rackauckas, 'Opening the Blackbox: Accelerating Neural Differential Equations by Regularizing
Internal Solver Heuristics', ICML 2021, section 3. The penalty on total derivatives (:func:`total_derivative`) is that of J. Kelly,
J. Bettencourt, M. Johnson, D. Duvenaud, 'Learning Differential Equations that are Easy to Solve', NeurIPS 2020.

>>> flow = NeuralODE(lambda t, z: -z, regularize="error")(torch.ones(4, 2))
>>> bool((flow.y - math.exp(-1)).abs().max() < 1e-4), flow.penalty.shape
(True, torch.Size([]))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lab import checks
from lab.integrate import IntegrationError, Solution, dopri5
from lab.training import mlp

STABILITY = 3.3066
REDUCTIONS: dict[str, Callable] = {"mean": torch.mean, "sum": torch.sum, "maximum": torch.amax}
Field = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def counted(solution) -> torch.Tensor:
    """Which steps count, (n,): those of at least a hundredth of the longest."""
    sizes = solution.steps.abs()
    return sizes >= 0.01 * sizes.amax()


@dataclass(frozen=True)
class Regularizer:
    """The ``reduction`` ("mean", "sum", "maximum") over counted steps of what a subclass takes from each."""

    reduction: str = "mean"

    def __post_init__(self):
        checks.choice("reduction", self.reduction, REDUCTIONS)

    def __call__(self, solution) -> torch.Tensor:
        return REDUCTIONS[self.reduction](self.each(solution)[counted(solution)])  # type: ignore[attr-defined]


class ErrorRegularizer(Regularizer):
    """R_E of a solution: the reduction of E_n |h_n|."""

    def each(self, solution) -> torch.Tensor:
        return solution.error * solution.steps.abs()


class StiffnessRegularizer(Regularizer):
    """R_S of a solution: the reduction of S_n / 3.3066."""

    def each(self, solution) -> torch.Tensor:
        return solution.stiffness / STABILITY


REGULARIZERS: dict[str, Callable] = {"error": ErrorRegularizer(), "stiffness": StiffnessRegularizer()}


def regularizer(which: Any) -> Callable[[Any], torch.Tensor]:
    """A regularizer from ``None``, ``"error"``, ``"stiffness"`` or a callable of the solution."""
    if which is None:
        return lambda solution: solution.error.new_zeros(())
    return which if callable(which) else REGULARIZERS[checks.choice("regularize", which, REGULARIZERS)]


@dataclass(frozen=True, eq=False)
class Flow:
    """States at the end (or at all times asked for), the penalty (), differentiable, evaluations of f, and the whole solution."""

    y: torch.Tensor
    penalty: torch.Tensor
    evaluations: int
    solution: Any


class NeuralODE(nn.Module):
    """dz/dt = f(t, z) from ``t[0]`` to its last time, by :func:`lab.integrate.dopri5`; f stays as it is.

    Args:
        f: any module or function of a time () and a state (items, ...).
        regularize: ``None``, "error", "stiffness", or a callable that takes the solution and returns a number.
        t: two times, or more with ``every``.
        tolerance: of a step, relative and absolute.
        every: return the states at all times (times, items, ...) in place of the last.
    """

    def __init__(self, f: Field, *, regularize=None, t=(0.0, 1.0), tolerance: float = 1e-5, every: bool = False):
        super().__init__()
        if not callable(f):
            raise TypeError(f"f must be callable as f(t, z), got {type(f).__name__}")
        self.f, self.regularize, self.t, self.every = f, regularizer(regularize), t, every
        self.tolerance = checks.number("tolerance", tolerance, low=0.0, open_low=True)

    def forward(self, y: torch.Tensor) -> Flow:
        found = dopri5(self.f, y, self.t, self.tolerance, self.tolerance)
        return Flow(found.y if self.every else found.y[-1], self.regularize(found), found.evaluations, found)


class BrownianPath:
    """Increments of Brownian motion over [0, span] on 2^depth equal parts, the sums of which belong to every dyadic part.

    Args:
        like: a state; the path has its shape, dtype and device.
    """

    def __init__(self, like: torch.Tensor, depth: int = 9, span: float = 1.0, seed: int | torch.Generator = 0):
        self.parts = 2 ** checks.integer("depth", depth, low=1, high=20)
        self.span = checks.number("span", span, low=0.0, open_low=True)
        draws = torch.randn(self.parts, *like.shape, generator=checks.generator(seed), dtype=like.dtype)
        sums = torch.cat([torch.zeros(1, *like.shape, dtype=like.dtype), draws.cumsum(0)])
        self.w = (sums * math.sqrt(self.span / self.parts)).to(like.device)

    def increment(self, first: int, last: int) -> torch.Tensor:
        """W(last) - W(first), both counted in parts."""
        return self.w[last] - self.w[first]


def heun(f: Field, g: Field, y: torch.Tensor, path: BrownianPath, rtol: float = 1e-2, atol: float = 1e-2) -> Solution:
    r"""Solve dX = f(t, X) dt + g(t, X) dW (Ito, diagonal noise: g has the state's shape or broadcasts to it) along a path.

    .. math:: Z = X + h f + g \Delta W,\quad X' = X + \tfrac h2 (f(t, X) + f(t + h, Z)) + g \Delta W,\quad
              E = \Bigl\| \frac{h\,|f(t + h, Z) - f(t, X)| / 2}{atol + rtol \max(|X|, |X'|)} \Bigr\|

    Strong order 1 for additive noise, else 1/2. A step with E > 1 is halved; after E < 1/4 the next is doubled where it still is a
    dyadic part. ``y`` of the solution is (2, *state); ``stiffness`` is |f(Z) - f(X)| / |Z - X|.

    Raises:
        IntegrationError: a step of one part is refused, or values are not finite.
    """
    rtol, atol = checks.number("rtol", rtol, low=0.0), checks.number("atol", atol, low=0.0)
    if rtol + atol == 0:
        raise ValueError("rtol and atol must not both be 0: no step could be accepted")
    start = y = checks.tensor("y", y, floating=True)
    if path.w.shape[1:] != y.shape:
        raise ValueError(f"path must have the state's shape {tuple(y.shape)}, got {tuple(path.w.shape[1:])}")
    part, evaluations, rejected, place, size = path.span / path.parts, 1, 0, 0, max(1, path.parts // 8)
    slope = f(y.new_zeros(()), y)
    steps, errors, stiffness = [], [], []
    while place < path.parts:
        h, after = size * part, y.new_tensor((place + size) * part)
        noise = g(y.new_tensor(place * part), y) * path.increment(place, place + size)
        ahead = y + h * slope + noise
        turn = f(after, ahead) - slope
        following = y + h * (slope + turn / 2) + noise
        scale = torch.maximum(y.abs(), following.abs()) * rtol + atol
        error = torch.linalg.vector_norm(h / 2 * turn / scale) / math.sqrt(y.numel())
        evaluations, found = evaluations + 1, float(error.detach())
        if not found <= 1.0:
            if size == 1:
                what = f"the error is {found:.3g} of what is tolerated" if math.isfinite(found) else "it is not finite"
                raise IntegrationError(f"heun stopped at t={place * part:.6g}: the smallest step is refused, {what}")
            size, rejected = size // 2, rejected + 1
            continue
        moved = torch.linalg.vector_norm(ahead - y)
        stiffness.append(torch.where(moved > 0, torch.linalg.vector_norm(turn) / moved.clamp_min(1e-30), 0.0))
        steps.append(h)
        errors.append(error)
        y, place = following, place + size
        if place < path.parts:
            slope, evaluations = f(after, y), evaluations + 1
        if found < 0.25 and place % (2 * size) == 0 and place + 2 * size <= path.parts:
            size *= 2
    ends, sizes = torch.stack([start, y]), y.new_tensor(steps)
    return Solution(ends, sizes, evaluations, torch.stack(errors), torch.stack(stiffness), rejected)


class NeuralSDE(nn.Module):
    """dX = f(t, X) dt + g(t, X) dW over [0, 1] by :func:`heun`; arguments as in :class:`NeuralODE`, called with a seed."""

    def __init__(self, f: Field, g: Field, *, regularize=None, tolerance: float = 1e-2, depth: int = 9):
        super().__init__()
        self.f, self.g, self.regularize, self.depth = f, g, regularizer(regularize), depth
        self.tolerance = checks.number("tolerance", tolerance, low=0.0, open_low=True)

    def forward(self, y: torch.Tensor, seed: int | torch.Generator = 0) -> Flow:
        found = heun(self.f, self.g, y, BrownianPath(y, self.depth, seed=seed), self.tolerance, self.tolerance)
        return Flow(found.y[-1], self.regularize(found), found.evaluations, found)


def total_derivative(f: Field, order: int) -> Field:
    """d^order z / dt^order along the solutions of dz/dt = f(t, z), by ``order - 1`` nested forward derivatives.

    >>> third = total_derivative(lambda t, z: -2 * z, 3)
    >>> third(torch.tensor(0.0), torch.ones(1)).tolist()
    [-8.0]
    """
    if checks.integer("order", order, low=1, high=6) == 1:
        return f
    below = total_derivative(f, order - 1)
    return lambda t, z: torch.func.jvp(below, (t, z), (torch.ones_like(t), f(t, z)))[1]


class TaylorODE(nn.Module):
    """A neural ODE whose penalty is the mean over items of int |d^K z/dt^K|^2 dt / width, integrated along in one more column."""

    def __init__(self, f: Field, *, order: int = 3, t=(0.0, 1.0), tolerance: float = 1e-5):
        super().__init__()
        self.f, self.t, self.tolerance = f, t, tolerance
        self.derivative = total_derivative(f, order)

    def both(self, t, z):
        z = z[:, :-1]
        return torch.cat([self.f(t, z), self.derivative(t, z).square().mean(1, keepdim=True)], 1)

    def forward(self, y: torch.Tensor) -> Flow:
        found = dopri5(self.both, torch.cat([y, y.new_zeros(len(y), 1)], 1), self.t, self.tolerance, self.tolerance)
        return Flow(found.y[-1, :, :-1], found.y[-1, :, -1].mean(), found.evaluations, found)


class TimeMLP(nn.Module):
    """f(t, z) of two layers, the time joined to the input of each: (width + 1) -> hidden, tanh, (hidden + 1) -> width."""

    def __init__(self, width: int, hidden: int = 48, seed: int | torch.Generator = 0):
        super().__init__()
        generator = checks.generator(seed)
        self.first = mlp(width + 1, hidden, widths=(), seed=generator)
        self.second = mlp(hidden + 1, width, widths=(), seed=generator)

    def forward(self, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        time = t.expand(len(z), 1)
        return self.second(torch.cat([torch.tanh(self.first(torch.cat([z, time], 1))), time], 1))


def train(
    flow: nn.Module, head: nn.Module, x: torch.Tensor, y: torch.Tensor, *, steps: int, rate: float = 1e-2,
    batch: int = 256, strength: tuple[float, float] = (100.0, 10.0), penalize: bool = True, seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Train by Adam, in place, on cross entropy of ``head(flow(x).y)`` plus λ times the flow's penalty.

    λ falls exponentially from ``strength[0]`` to ``strength[1]``. Returns the evaluations of f of each step, (steps,).

    Args:
        penalize: ``False`` detaches the penalty: the control.
    """
    generator, weights = checks.generator(seed), [*flow.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(weights, lr=rate)
    high, low = (checks.number("strength", value, low=0.0) for value in strength)
    noisy, evaluations = isinstance(flow, NeuralSDE), []
    for step in range(steps):
        rows = torch.randperm(len(x), generator=generator)[:batch]
        found = flow(x[rows], generator) if noisy else flow(x[rows])
        loss = nn.functional.cross_entropy(head(found.y), y[rows])
        if high:
            strong = high * (low / high) ** (step / max(1, steps - 1))
            loss = loss + strong * (found.penalty if penalize else found.penalty.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        evaluations.append(found.evaluations)
        if progress is not None:
            progress((step + 1) / steps)
    return torch.tensor(evaluations)


STRENGTHS = {"error": (100.0, 10.0), "stiffness": (0.1, 0.1)}


@dataclass(frozen=True, eq=False)
class FittedODE:
    """A trained classifier of the rows of a table: standardized columns flow from t = 0 to 1 and meet a linear head.

    ``columns`` and ``classes`` are those of the table, ``centre`` and ``scale`` (columns,) what rows are standardized by,
    ``evaluations`` (steps,) the calls of f at each training step.
    """

    flow: NeuralODE
    head: nn.Module
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    centre: torch.Tensor
    scale: torch.Tensor
    evaluations: torch.Tensor

    @torch.no_grad()
    def solve(self, x) -> Flow:
        """The flow of rows (items, columns) with its steps and evaluations."""
        x = checks.tensor("x", x, ndim=2, floating=True).to(self.centre)
        if x.shape[1] != len(self.columns):
            raise ValueError(f"x must have the {len(self.columns)} columns {', '.join(self.columns)}, got {x.shape[1]}")
        return self.flow((x - self.centre) / self.scale)

    @torch.no_grad()
    def probabilities(self, x) -> torch.Tensor:
        """Probabilities (items, classes) of rows (items, columns)."""
        return self.head(self.solve(x).y).softmax(1)

    def predict(self, x) -> list[str]:
        """The likeliest class of each row."""
        return [self.classes[k] for k in self.probabilities(x).argmax(1).tolist()]

    def save(self, path: str | Path) -> None:
        """Write weights and names to one file; an own f is given again to :meth:`load`."""
        kept = {name: getattr(self, name) for name in ("columns", "classes", "centre", "scale", "evaluations")}
        hidden = self.flow.f.second[0].in_features - 1 if isinstance(self.flow.f, TimeMLP) else 0
        weights = {"f": getattr(self.flow.f, "state_dict", dict)(), "head": self.head.state_dict()}
        torch.save({**kept, **weights, "hidden": hidden, "tolerance": self.flow.tolerance}, path)

    @classmethod
    def load(cls, path: str | Path, f: nn.Module | None = None) -> FittedODE:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Args:
            f: an untrained module of the user's own class, where one was trained; it takes the weights.
        """
        kept = torch.load(path, weights_only=True)
        if f is None and not kept["hidden"]:
            raise ValueError("f must be given: the file holds the weights of a module that is not TimeMLP")
        width, classes = len(kept["columns"]), len(kept["classes"])
        f = TimeMLP(width, kept["hidden"]) if f is None else f
        head = mlp(width, classes, widths=())
        if isinstance(f, nn.Module):
            f.load_state_dict(kept["f"])
        head.load_state_dict(kept["head"])
        names = {name: kept[name] for name in ("columns", "classes", "centre", "scale", "evaluations")}
        return cls(NeuralODE(f, tolerance=kept["tolerance"]), head, **names)


def fit_neural_ode(
    table, target: str | None = None, *, f: Field | None = None, regularize="error",
    strength: tuple[float, float] | None = None, hidden: int = 48, steps: int = 120, rate: float = 1e-2,
    batch: int = 256, tolerance: float = 1e-5, missing: str = "refuse", seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> FittedODE:  # fmt: skip
    """Train a neural ODE that classifies the rows of a table, with a solver's estimate as penalty.

    Args:
        table: a frame, a file, a name or a :class:`~lab.datasets.Table`; columns become numbers as its notes say, and are
            standardized.
        target: the column of classes; the one that :func:`lab.datasets.as_table` chooses where not given.
        f: any module f(t, z) on states (items, columns), trained in place; a :class:`TimeMLP` of ``hidden`` units if ``None``.
        regularize: "error", "stiffness", ``None``, or a callable of the solution.
        strength: λ at the first and the last step; the paper's values at its tolerance-scaled errors, (100, 10) or (0.1, 0.1).

    Raises:
        ValueError: a target of numbers, a single class, no usable columns.
    """
    from lab import datasets

    table = datasets.as_table(table, target)
    x, y, columns = table.numeric(missing=missing)
    classes = table.classes
    if y is None or len(classes) < 2:
        what = f"{table.target!r} with {len(classes) or 'numbers'}"
        raise ValueError(f"target must be a column of at least two classes, got {what}")
    regularizer(regularize)
    if strength is None:
        strength = STRENGTHS.get(regularize, (1.0, 1.0)) if isinstance(regularize, str) else (1.0, 1.0)
    x = x.float()
    centre, scale = x.mean(0), x.std(0)
    scale = torch.where(scale > 0, scale, 1.0)
    flow = NeuralODE(TimeMLP(x.shape[1], hidden, seed) if f is None else f, regularize=regularize, tolerance=tolerance)
    head = mlp(x.shape[1], len(classes), widths=(), seed=seed + 1)
    told: dict[str, Any] = {"strength": strength, "seed": seed, "progress": progress}
    found = train(flow, head, (x - centre) / scale, y, steps=steps, rate=rate, batch=batch, **told)
    nn.ModuleList([flow, head]).requires_grad_(False)
    return FittedODE(flow, head, tuple(columns), tuple(classes), centre, scale, found)
