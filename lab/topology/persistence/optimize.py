r"""Minimize a loss of a descriptor: any torch optimizer, five gradient transforms, history, stop criteria, cancellation.

Losses of semilinear descriptors are definable and locally Lipschitz. For them stochastic subgradient descent

.. math:: x_{k+1} = x_k - \alpha_k (g_k + \zeta_k), \qquad g_k \in \partial L(x_k),

converges to critical points almost surely if the steps satisfy :math:`\alpha_k > 0`, :math:`\sum \alpha_k = \infty`,
:math:`\sum \alpha_k^2 < \infty`, the iterates stay bounded and the noise is centred with bounded variance.
:class:`StepRule` states which power laws satisfy this; :func:`lab.topology.criticality` measures the distance to a
critical point.

Source: Damek Davis, Dmitriy Drusvyatskiy, Sham Kakade, Jason Lee, 'Stochastic subgradient method converges on tame
functions', Foundations of Computational Mathematics 2020, theorem 4.2.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from lab import checks
from lab.kernels.precision import wide
from lab.topology.persistence.optimizers import Vanilla

OPTIMIZERS = {
    "sgd": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate),
    "momentum": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, momentum=0.9),
    "adam": lambda parameters, rate: torch.optim.Adam(parameters, lr=rate),
}


@dataclass(frozen=True)
class StepRule:
    r"""Step sizes :math:`\alpha_k = scale / (k + 1)^{power}`, k = 0, 1, ..."""

    scale: float
    power: float = 0.75

    def __post_init__(self):
        checks.number("scale", self.scale, low=0.0, open_low=True)
        checks.number("power", self.power, low=0.0)

    def __call__(self, k: int) -> float:
        return self.scale / (k + 1) ** self.power

    @property
    def converges(self) -> bool:
        """Whether the sum of the steps is infinite and that of their squares finite: 1/2 < power <= 1."""
        return 0.5 < self.power <= 1.0


@dataclass(frozen=True)
class Step:
    """One step: value of the loss before it, length of the direction, step size, seconds."""

    loss: float
    direction: float
    rate: float
    seconds: float


@dataclass(frozen=True)
class Optimized:
    """Result of :func:`minimize`: the last iterate ``x``, the best one seen, the history, and why it ended."""

    x: torch.Tensor
    best: torch.Tensor
    history: tuple[Step, ...]
    path: tuple[torch.Tensor, ...] = ()
    reason: str = ""

    @property
    def losses(self) -> list[float]:
        return [step.loss for step in self.history]

    def to_frame(self):
        """One row a step: loss, direction, rate, seconds."""
        import pandas as pd

        return pd.DataFrame([vars(step) for step in self.history])


@dataclass(eq=False)
class Minimizer:
    """An optimization that is advanced step by step: ``step()`` moves, ``rewind(k)`` goes back to iterate k.

    Arguments as in :func:`minimize`. ``path`` holds all iterates, ``history`` the steps between them.
    """

    loss: Callable
    x: torch.Tensor
    optimizer: str | Callable = "adam"
    learning_rate: float | Callable[[int], float] = 0.01
    transform: Callable = Vanilla()
    project: Callable | None = None
    seed: int | torch.Generator = 0
    history: list[Step] = field(default_factory=list, init=False)
    path: list[torch.Tensor] = field(default_factory=list, init=False)

    def __post_init__(self):
        self.x = wide(checks.tensor("x", self.x, floating=True)).detach().clone()
        if not callable(self.loss):
            raise TypeError(f"loss must be callable, got {type(self.loss).__name__}")
        if not callable(self.transform):
            raise TypeError(f"transform must be callable, got {type(self.transform).__name__}")
        if not callable(self.optimizer):
            checks.choice("optimizer", self.optimizer, tuple(OPTIMIZERS))
        if not callable(self.learning_rate):
            checks.number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        self.generator = checks.generator(self.seed)
        self.path = [self.x.clone()]
        self._start()

    def _start(self):
        self._parameter = torch.nn.Parameter(self.x.clone())
        rate = self._rate(len(self.history))
        make = self.optimizer if callable(self.optimizer) else OPTIMIZERS[self.optimizer]
        self._torch = make([self._parameter]) if callable(self.optimizer) else make([self._parameter], rate)

    def _rate(self, k):
        return float(self.learning_rate(k)) if callable(self.learning_rate) else float(self.learning_rate)

    def step(self) -> Step:
        """Take one step and return what it did."""
        began = time.perf_counter()
        k = len(self.history)
        rate = self._rate(k)
        value, direction = self.transform(self.loss, self._parameter.detach(), self.generator)
        if not bool(torch.isfinite(direction).all()):
            raise ValueError(f"the direction is not finite at step {k}; check the loss and the step size")
        self._parameter.grad = direction.to(self._parameter.dtype)
        if not callable(self.optimizer):
            for group in self._torch.param_groups:
                group["lr"] = rate
        self._torch.step()
        if self.project is not None:
            with torch.no_grad():
                self._parameter.copy_(self.project(self._parameter))
        self.x = self._parameter.detach().clone()
        self.path.append(self.x.clone())
        done = Step(float(value), float(direction.norm()), rate, time.perf_counter() - began)
        self.history.append(done)
        return done

    def rewind(self, k: int) -> None:
        """Go back to iterate ``k``; the optimizer's memory starts anew."""
        k = checks.integer("k", k, low=0, high=len(self.history))
        self.x = self.path[k].clone()
        del self.history[k:]
        del self.path[k + 1 :]
        self._start()


def minimize(
    loss: Callable[[torch.Tensor], torch.Tensor],
    x,
    *,
    steps: int = 100,
    optimizer: str | Callable = "adam",
    learning_rate: float | Callable[[int], float] = 0.01,
    transform: Callable = Vanilla(),
    project: Callable[[torch.Tensor], torch.Tensor] | None = None,
    target: float | None = None,
    tolerance: float = 0.0,
    patience: int | None = None,
    keep_path: bool = False,
    progress: bool | Callable[[int, int, float], None] = False,
    cancel: Callable[[], bool] | None = None,
    seed: int | torch.Generator = 0,
) -> Optimized:
    """Minimize ``loss`` from ``x``.

    Args:
        loss: parameters -> scalar, or an :class:`lab.topology.Objective` (needed by BigStep and Continuation).
        x: start, any shape, floating; not modified. Half precision is optimized, and returned, in float32.
        steps: at most this many.
        optimizer: "sgd", "momentum", "adam", or a callable ``[parameter] -> torch.optim.Optimizer``.
        learning_rate: a number, or a callable k -> step size such as :class:`StepRule`.
        transform: Vanilla(), StratifiedSampling(), BigStep(), Continuation(), Diffeomorphic() or a callable
            ``(loss, x, generator) -> (value, direction)``.
        project: applied to x after each step, for constraints.
        target: stop when the loss is at most this.
        tolerance: stop when the direction is not longer than this.
        patience: stop after so many steps without a new lowest loss.
        keep_path: keep every iterate.
        progress: True for a bar, or a callable (done, steps, loss).
        cancel: asked after each step; True ends the run with what there is.
        seed: for transforms that sample.

    Raises:
        ValueError: NaN in x, a loss that is no finite scalar, a direction that is not finite.
    """
    steps = checks.integer("steps", steps, low=1)
    tolerance = checks.number("tolerance", tolerance, low=0.0)
    run = Minimizer(loss, x, optimizer, learning_rate, transform, project, seed)
    lowest, best, since = float("inf"), run.x.clone(), 0
    reason = "all steps taken"
    bar = _bar(steps) if progress is True else progress
    for k in range(steps):
        before = run.x
        done = run.step()
        if not keep_path:
            run.path[:] = run.path[-1:]
        since += 1
        if done.loss < lowest:
            lowest, best, since = done.loss, before.clone(), 0
        if bar:
            bar(k + 1, steps, done.loss)
        if target is not None and done.loss <= target:
            reason = "target reached"
        elif done.direction <= tolerance:
            reason = "critical point: no direction left"
        elif patience is not None and since >= patience:
            reason = f"no lower loss for {patience} steps"
        elif cancel is not None and cancel():
            reason = "cancelled"
        else:
            continue
        break
    path = tuple(run.path) if keep_path else ()
    return Optimized(run.x, best, tuple(run.history), path, reason)


def _bar(steps):
    from tqdm.auto import tqdm

    bar = tqdm(total=steps, leave=False)

    def show(done, total, loss):
        bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        bar.update(1)
        if done == total:
            bar.close()

    return show
