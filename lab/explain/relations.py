"""How the eight methods turn into one another, each relation with its rate, measured.

============================================  ======================  ===========================================
relation                                      as                      error falls like
============================================  ======================  ===========================================
C-LIME -> SmoothGrad (Stein's identity)       draws -> infinity       draws^(-1/2) or faster
SmoothGrad -> Vanilla Gradients               sigma -> 0              sigma^2
C-LIME -> Vanilla Gradients                   sigma -> 0              sigma^2
Integrated Gradients on (c, 1) -> Grad x Inp  c -> 1                  1 - c
sampled KernelSHAP -> Shapley values          draws -> infinity       draws^(-1/2) or faster, then 0
LIME -> Banzhaf values                        width -> infinity       width^(-2)
LIME (counting players) -> Occlusion          width -> 0              exp(-1 / width^2)
Occlusion -> Grad x Input                     baseline b -> x         |x - b| (relative)
============================================  ======================  ===========================================

Source: T. Han, S. Srinivas, H. Lakkaraju, NeurIPS 2022, Theorem 1 and Section 3.2 (the first four); the rates are Taylor's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lab import checks
from lab.explain.engine import Task, prepare
from lab.explain.neighbourhoods import Exponential, Gaussian, LeaveOneOut, Masks, Scaling, Shapley, Uniform
from lab.explain.surrogate import Linear


@dataclass(frozen=True)
class Relation:
    """One edge of the map: relative L2 ``errors`` between two methods at ``values`` of ``parameter``.

    ``slope`` is fitted in log-log over the points above rounding, ``expected`` is the theory's.
    """

    id: str
    first: str
    second: str
    parameter: str
    values: tuple[float, ...]
    errors: tuple[float, ...]
    expected: float

    @property
    def slope(self) -> float:
        pairs = [(v, e) for v, e in zip(self.values, self.errors) if e > 1e-11]
        if len(pairs) < 2:
            return float("nan")
        a, b = torch.tensor(pairs, dtype=torch.float64).log().T
        a, b = a - a.mean(), b - b.mean()
        return float((a * b).sum() / a.square().sum())


def relations(f: Callable, x, *, baseline=None, target=None, seed=0, draws: int = 4096) -> tuple[Relation, ...]:
    """Measure every relation on ``f`` (smooth, by torch, best in float64) at the rows of ``x``, averaged over rows.

    The Shapley and Banzhaf relations enumerate masks and are left out beyond 12 players.
    """
    task = prepare(f, x, baseline=baseline, target=target)
    if not task.box.single:
        raise ValueError("relations are for one output; pass a target")
    checks.integer("draws", draws, low=64)
    linear = Linear()

    def fit(law, loss="squared", number=draws, own: Task = task, own_seed=seed):
        return own.explain(law, linear, loss, n_samples=number, seed=own_seed).weights

    vanilla = fit(Gaussian(0), "gradient")
    found = []
    numbers = tuple(draws // 4**k for k in range(3, -1, -1))
    wide = fit(Gaussian(0.5), "gradient", 16 * draws, own_seed=seed + 17)
    spread = [
        _mean([_gap(fit(Gaussian(0.5), "squared", n, own_seed=seed + r), wide) for r in range(4)]) for n in numbers
    ]
    found.append(Relation("clime-smoothgrad", "C-LIME", "SmoothGrad", "draws", numbers, tuple(spread), -0.5))
    widths = (0.4, 0.2, 0.1, 0.05)
    for name, loss, id in (("SmoothGrad", "gradient", "smoothgrad-vanilla"), ("C-LIME", "squared", "clime-vanilla")):
        errors = tuple(_gap(fit(Gaussian(s), loss), vanilla) for s in widths)
        found.append(Relation(id, name, "Vanilla Gradients", "sigma", widths, errors, 2.0))
    product = fit(Scaling(1, 1), "gradient")
    rests = (0.4, 0.2, 0.1, 0.05, 0.025)
    errors = tuple(_gap(fit(Scaling(1 - c, 1), "gradient", 32), product) for c in rests)
    found.append(Relation("path-product", "Integrated Gradients", "Gradients x Input", "1 - c", rests, errors, 1.0))
    if task.players.count <= 12:
        found.extend(_mask_relations(task, fit, seed))
    found.append(_towards_x(task, x, f, target, product))
    return tuple(found)


def _mask_relations(task: Task, fit, seed) -> list[Relation]:
    count = task.players.count
    every = 2**count
    exact, banzhaf = fit(Masks(Shapley()), number=every), fit(Masks(Uniform()), number=every)
    removed = fit(LeaveOneOut())
    found = []
    numbers = tuple(every // k for k in (16, 8, 4) if every // k > 4 * count)
    if len(numbers) > 1:
        errors = tuple(
            _mean([_gap(fit(Masks(Shapley()), "squared", n, own_seed=seed + r), exact) for r in range(6)])
            for n in numbers
        )
        found.append(Relation("kernelshap-shapley", "KernelSHAP", "Shapley values", "draws", numbers, errors, -0.5))
    unit = float(task.contrast.mean().sqrt())
    wide = tuple(unit * s for s in (8.0, 16.0, 32.0, 64.0))
    errors = tuple(_gap(fit(Masks(Exponential(w)), number=every), banzhaf) for w in wide)
    found.append(Relation("lime-banzhaf", "LIME", "Banzhaf values", "width", wide, errors, -2.0))
    narrow = (0.7, 0.55, 0.45, 0.35, 0.25)
    errors = tuple(_gap(fit(Masks(Exponential(w, "players")), number=every), removed) for w in narrow)
    odds = tuple(math.exp(-1 / w**2) for w in narrow)
    found.append(Relation("lime-occlusion", "LIME", "Occlusion", "exp(-1/width^2)", odds, errors, 1.0))
    return found


def _towards_x(task: Task, x, f, target, product) -> Relation:
    steps = (0.4, 0.2, 0.1, 0.05)
    rows = task.players.x.view(-1, *task.players.shape)
    base = task.players.baseline.view(-1, *task.players.shape).expand_as(rows)
    errors = []
    for h in steps:
        near = prepare(f, rows, baseline=rows + h * (base - rows), target=target)
        errors.append(_gap(near.explain(LeaveOneOut(), Linear(), "squared").weights / h, product))
    return Relation("occlusion-product", "Occlusion", "Gradients x Input", "|x - b|", steps, tuple(errors), 1.0)


def _gap(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).norm() / second.norm().clamp_min(1e-300))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
