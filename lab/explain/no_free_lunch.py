"""The no-free-lunch theorem, computed.

Let ``d(f, G) = min_{g in G} max_{xi in X} |f(xi) - g(xi)|``. Whatever the neighbourhood ``Z1`` on which an explanation
``g*`` is good, there is a neighbourhood ``Z2`` in ``X`` on which its error is at least ``d(f, G)``: the points of ``X`` where
``g*`` errs that much cannot be empty, or ``g*`` would beat the minimum. Unless ``f`` is in ``G``, no explanation is faithful
everywhere.

``d(f, G)`` for linear ``g`` is a Chebyshev approximation: a linear program over points of ``X``, to which the points where
``g`` errs most are added until nothing is gained (an exchange algorithm). ``lower`` is a certified lower bound of
``d(f, G)`` over ``X``; ``upper`` is the largest error of the found ``g`` at any point looked at.

Source: T. Han, S. Srinivas, H. Lakkaraju, NeurIPS 2022, Theorem 2; E. Remez, 'Sur la determination des polynomes
d'approximation', Comptes Rendus 1934 (exchange).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lab import checks
from lab.explain.engine import Task, prepare
from lab.explain.explanation import Explanation
from lab.explain.neighbourhoods import Sampler


@dataclass(frozen=True)
class Distance:
    """``d(f, G)`` at one instance: ``lower <= d``, the best ``weights (K,)`` and ``intercept``, their largest error
    ``upper`` over ``points (P, K)``, where ``f`` is ``outputs (P,)``."""

    lower: float
    upper: float
    weights: torch.Tensor
    intercept: float
    points: torch.Tensor
    outputs: torch.Tensor
    operator: str


@dataclass(frozen=True)
class Adversary:
    """A neighbourhood that breaks a given explanation.

    ``points (A, K)`` are where ``|f - g|`` is at least ``d(f, G)``, ``error (A,)`` that error, ``neighbourhood`` the uniform
    law on them: the mean error there is ``reached >= distance``. ``near`` is the error on the explanation's own
    neighbourhood (root mean square), for contrast.
    """

    points: torch.Tensor
    error: torch.Tensor
    neighbourhood: Sampler
    reached: float
    distance: Distance
    near: float

    @property
    def holds(self) -> bool:
        """Whether the theorem's inequality is seen."""
        return self.reached >= self.distance.lower


def distance(
    f: Callable,
    x,
    *,
    radius: float = 1.0,
    operator: str = "add",
    baseline=None,
    features=None,
    target=None,
    points: int = 512,
    rounds: int = 12,
    tolerance: float = 1e-3,
    seed=0,
) -> Distance:
    """``d(f, G)`` for linear ``g`` at one instance ``x (1, ...)`` over ``X``.

    ``X`` is the box ``[-radius, radius]^K`` for ``operator="add"`` and the masks' cube ``[0, 1]^K`` for ``"mix"``.
    """
    task = prepare(f, x, baseline=baseline, features=features, target=target)
    return distance_task(
        task, radius=radius, operator=operator, points=points, rounds=rounds, tolerance=tolerance, seed=seed
    )


def distance_task(
    task: Task,
    *,
    radius: float = 1.0,
    operator: str = "add",
    points: int = 512,
    rounds: int = 12,
    tolerance: float = 1e-3,
    seed=0,
) -> Distance:
    """:func:`distance` for one instance that is prepared already."""
    checks.choice("operator", operator, ("add", "mix"))
    radius = checks.number("radius", radius, low=0, open_low=True)
    checks.integer("points", points, low=2)
    if task.players.instances != 1 or not task.box.single:
        raise ValueError("distance is for one instance and one output; pass x[:1] and a target")
    low, high = (-radius, radius) if operator == "add" else (0.0, 1.0)
    generator = checks.generator(seed)
    count = task.players.count
    cloud = _cloud(count, points, low, high, generator)
    values = _values(task, cloud, operator)
    for _ in range(rounds):
        weights, intercept, lower = chebyshev(cloud, values)
        worst = _worst(task, operator, weights, intercept, low, high, cloud, values, generator)
        error = (_values(task, worst, operator) - worst @ weights - intercept).abs()
        cloud, values = torch.cat([cloud, worst]), torch.cat([values, _values(task, worst, operator)])
        if float(error.max()) <= lower * (1 + tolerance) + 1e-12:
            break
    weights, intercept, lower = chebyshev(cloud, values)
    upper = float((values - cloud @ weights - intercept).abs().max())
    return Distance(lower, upper, weights, intercept, cloud, values, operator)


def adversary(
    explanation: Explanation,
    *,
    instance: int = 0,
    radius: float = 1.0,
    points: int = 512,
    seed=0,
    known: Distance | None = None,
) -> Adversary:
    """The neighbourhood on which the error of ``explanation`` at one instance reaches ``d(f, G)``.

    ``X`` is as in :func:`distance`, in the operator of the explanation's own neighbourhood. The explanation keeps its own
    intercept: what is judged is ``g`` itself. ``known`` is a :func:`distance` of the same instance, operator and radius, to
    be used again for several methods.
    """
    if explanation.problem is None:
        raise ValueError("this explanation was loaded from a file and holds no f; explain() again")
    checks.integer("instance", instance, low=0, high=len(explanation.weights) - 1)
    if explanation.weights.ndim != 2:
        raise ValueError("adversary is for one output; explain with a target")
    task = explanation.problem.task
    box = task.box.restricted(torch.tensor([instance]))
    one = Task(box, box.players, task.contrast[instance : instance + 1], task.link)
    operator = explanation.neighbourhood.operator
    found = known or distance_task(one, radius=radius, operator=operator, points=points, seed=seed)
    if found.operator != operator:
        raise ValueError(f"known is for the operator {found.operator!r}, the explanation's is {operator!r}")
    weights, intercept = explanation.weights[instance], float(explanation.intercept[instance])
    low, high = (-radius, radius) if operator == "add" else (0.0, 1.0)
    generator = checks.generator(seed)
    worst = _worst(one, operator, weights, intercept, low, high, found.points, found.outputs, generator)
    cloud = torch.cat([found.points, worst])
    error = (torch.cat([found.outputs, _values(one, worst, operator)]) - cloud @ weights - intercept).abs()
    bad = error >= found.lower
    chosen, kept = cloud[bad], error[bad]
    drawn = explanation.problem.drawn
    if drawn is None or explanation.problem.outputs is None:
        near = float("nan")
    else:
        design = drawn.design if drawn.design.ndim == 2 else drawn.design[instance]
        residual = explanation.problem.outputs[instance, :, 0] - design @ weights - intercept
        near = float(residual.square().mean().sqrt())
    return Adversary(chosen, kept, Sampler(_resampled(chosen), operator), float(kept.mean()), found, near)


def chebyshev(points: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, float, float]:
    """``min_{w, c} max_p |values_p - w . points_p - c|`` by linear programming: ``(w, c, error)``."""
    from scipy.optimize import linprog

    a, y = points.numpy(), values.numpy()
    count, size = a.shape
    psi = np.concatenate([a, np.ones((count, 1))], 1)
    slack = -np.ones((count, 1))
    found = linprog(
        np.r_[np.zeros(size + 1), 1.0],
        A_ub=np.block([[psi, slack], [-psi, slack]]),
        b_ub=np.r_[y, -y],
        bounds=[(None, None)] * (size + 1) + [(0, None)],
        method="highs",
    )
    if not found.success:
        raise ArithmeticError(f"the linear program of the minimax fit failed: {found.message}")
    return torch.from_numpy(found.x[:size]), float(found.x[size]), float(found.x[size + 1])


def _cloud(count: int, points: int, low: float, high: float, generator) -> torch.Tensor:
    """The centre or ends, corners (all of them where few) and uniform points of a box."""
    half = points // 2
    if 2**count <= half:
        signs = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * count).view(-1, count).double()
    else:
        signs = (torch.rand(half, count, generator=generator, dtype=torch.float64) < 0.5).double()
    inner = torch.rand(points - len(signs), count, generator=generator, dtype=torch.float64)
    middle = torch.full((1, count), 0.5, dtype=torch.float64) if low < 0 else torch.ones(1, count, dtype=torch.float64)
    return low + (high - low) * torch.cat([signs, inner, middle])


def _values(task: Task, cloud: torch.Tensor, operator: str) -> torch.Tensor:
    return task.box.values(cloud, None, operator=operator)[0, :, 0]


def _worst(task, operator, weights, intercept, low, high, cloud, values, generator, starts: int = 32, steps: int = 24):
    """Points where ``|f - g|`` is large: random local search from the worst points known, shrinking its step."""
    error = (values - cloud @ weights - intercept).abs()
    place = cloud[error.argsort(descending=True)[:starts]].clone()
    best = (_values(task, place, operator) - place @ weights - intercept).abs()
    step = 0.5 * (high - low)
    for _ in range(steps):
        noise = torch.randn(4, *place.shape, generator=generator, dtype=torch.float64)
        sparse = (torch.rand(4, *place.shape, generator=generator, dtype=torch.float64) < 0.5).double()
        tried = (place + step * noise * sparse).clamp(low, high).reshape(-1, place.shape[1])
        got = (_values(task, tried, operator) - tried @ weights - intercept).abs().view(4, -1)
        top, which = got.max(0)
        better = top > best
        place[better] = tried.view(4, *place.shape)[which, torch.arange(len(place))][better]
        best = torch.maximum(best, top)
        step *= 0.8
    return place


def _resampled(points: torch.Tensor):
    def draw(number: int, players: int, generator: torch.Generator) -> torch.Tensor:
        return points[torch.randint(len(points), (number,), generator=generator)]

    return draw
