"""The field's measures of an explanation, each one line of mathematics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lab import checks
from lab.explain import neighbourhoods
from lab.explain.explanation import Explanation
from lab.explain.neighbourhoods import Gaussian
from lab.explain.risk import converted


def infidelity(explanation: Explanation, neighbourhood, *, n_samples: int = 1000, seed=1) -> torch.Tensor:
    """``E (I . w - (f(x) - f(x - I)))^2`` with ``I = x - x_xi`` under the neighbourhood's law: ``(N,)``.

    In the coordinates of ``xi`` it is the squared error of a ``g`` tied to ``f(x)``: a local risk without its denominator.
    Source: C.-K. Yeh et al., 'On the (In)fidelity and Sensitivity of Explanations', NeurIPS 2019, Definition 2.1.
    """
    task, law = _task(explanation), neighbourhoods.neighbourhood("neighbourhood", neighbourhood)
    drawn = task.draw(law, checks.integer("n_samples", n_samples, low=1), checks.generator(seed), judge=True)
    outputs = task.box.values(drawn.design, drawn.donor, operator=law.operator)
    weights = converted(explanation, law.operator, task)
    moved = drawn.design - (1.0 if law.operator == "mix" else 0.0)
    product = "mk,nkc->nmc" if moved.ndim == 2 else "nmk,nkc->nmc"
    error = outputs - task.box.at_x[:, None] - torch.einsum(product, moved, weights)
    return error.square().sum(-1).mean(1)


def max_sensitivity(
    method: Callable, f: Callable, x, *, radius: float = 0.02, n_samples: int = 10, seed=0
) -> torch.Tensor:
    """``max_{|d|_inf <= radius} |phi(x + d) - phi(x)| / |phi(x)|`` over random ``d``: ``(N,)``.

    ``method(f, x)`` is a preset, or ``functools.partial`` of one with its own arguments.
    Source: C.-K. Yeh et al., NeurIPS 2019, Definition 2.2.
    """
    radius = checks.number("radius", radius, low=0, open_low=True)
    x = checks.tensor("x", x, floating=True)
    generator = checks.generator(seed)
    base = method(f, x).weights.flatten(1)
    worst = torch.zeros(len(x), dtype=torch.float64)
    for _ in range(checks.integer("n_samples", n_samples, low=1)):
        step = (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1) * radius
        moved = method(f, x + step).weights.flatten(1)
        worst = torch.maximum(worst, (moved - base).norm(dim=1) / base.norm(dim=1).clamp_min(1e-300))
    return worst


def prediction_gap(
    explanation: Explanation,
    *,
    top: int = 3,
    important: bool = True,
    neighbourhood=Gaussian(0.1),
    n_samples: int = 200,
    seed=1,
) -> torch.Tensor:
    """Mean ``|f(x) - f(x_xi)|`` when only the ``top`` most (PGI) or least (PGU) important players move: ``(N,)``.

    Source: C. Agarwal et al., 'OpenXAI', NeurIPS Datasets and Benchmarks 2022, Section 3 (PGI, PGU).
    """
    task, law = _task(explanation), neighbourhoods.neighbourhood("neighbourhood", neighbourhood)
    count = task.players.count
    top = checks.integer("top", top, low=1, high=count)
    drawn = task.draw(law, checks.integer("n_samples", n_samples, low=1), checks.generator(seed))
    size = explanation.weights.abs().flatten(2).sum(-1) if explanation.weights.ndim == 3 else explanation.weights.abs()
    order = size.argsort(dim=1, descending=important, stable=True)[:, :top]
    moves = torch.zeros(len(order), 1, count, dtype=torch.float64).scatter_(2, order[:, None], 1.0)
    still = 1.0 if law.operator == "mix" else 0.0
    design = drawn.design if drawn.design.ndim == 3 else drawn.design[None]
    design = torch.where(moves > 0, design, still)
    outputs = task.box.values(design, drawn.donor, operator=law.operator)
    return (outputs - task.box.at_x[:, None]).abs().sum(-1).mean(1)


@dataclass(frozen=True)
class Curve:
    """Output ``(N, K + 1)`` after 0, 1, ..., K players have been taken away or put in, and its ``area (N,)``."""

    outputs: torch.Tensor
    kind: str

    @property
    def area(self) -> torch.Tensor:
        return (self.outputs[:, 1:] + self.outputs[:, :-1]).mean(1) / 2


def deletion(explanation: Explanation) -> Curve:
    """``f`` while players go, the largest weight first: a steep fall (small area) marks a faithful order.

    Source: V. Petsiuk, A. Das, K. Saenko, 'RISE', BMVC 2018, Section 4.
    """
    return _curve(explanation, "deletion")


def insertion(explanation: Explanation) -> Curve:
    """``f`` while players come back into the baseline, the largest weight first (Petsiuk et al. 2018): large is good."""
    return _curve(explanation, "insertion")


def recovery(explanation: Explanation, weights) -> torch.Tensor:
    """``|w* - w|_1`` from the true weights ``(K,)`` or ``(N, K)``: 0 where the method returns the model: ``(N,)``."""
    truth = checks.tensor("weights", weights).double()
    if truth.shape[-1] != explanation.weights.shape[1]:
        raise ValueError(f"weights must have {explanation.weights.shape[1]} columns, got shape {tuple(truth.shape)}")
    return (explanation.weights - truth).abs().sum(1)


def _curve(explanation: Explanation, kind: str) -> Curve:
    task = _task(explanation)
    if explanation.weights.ndim != 2:
        raise ValueError(f"{kind} is for one output; explain with a target")
    count = task.players.count
    rank = explanation.weights.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    step = torch.arange(count + 1)[None, :, None]
    gone = (rank[:, None] < step).double()
    design = 1 - gone if kind == "deletion" else gone
    return Curve(task.box.values(design, None)[..., 0], kind)


def _task(explanation: Explanation):
    if explanation.problem is None:
        raise ValueError("this explanation was loaded from a file and holds no f; explain() again to judge it")
    return explanation.problem.task
