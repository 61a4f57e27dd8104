r"""DARTS-PT: keep the operation whose removal hurts the supernet most, not the one of the largest architecture weight.

The strength of operation o on edge e is what the trained supernet loses on validation data without it,

.. math:: D(e, o) = L_{val}(S \text{ with } w_{e,o} = 0) - L_{val}(S), \qquad o^*_e = \arg\max_o D(e, o);

the other coefficients of the edge stay as they are. Edges are decided in random order; between two decisions the supernet is
tuned for a while. The largest softmax weight says something else: on an edge with candidates x (skip) and o(x) and target feature
m, the mixture w_s x + w_c o of least variance around m under w_s + w_c = 1 has

.. math:: w_c \propto \mathrm{Var}(x - m) - C, \quad w_s \propto \mathrm{Var}(o - m) - C, \quad C = \mathrm{Cov}(x - m, o - m),

so the nearer x is to m, the larger is the weight of skip, however useful o is.

Source: R. Wang, M. Cheng, X. Chen, X. Tang, C.-J. Hsieh, 'Rethinking Architecture Selection in Differentiable NAS', ICLR 2021,
section 3 and proposition 1 (which leaves out the common C), algorithm 1. The published code takes accuracy; losses have no ties
on small sets, so the loss is the default here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lab import checks
from lab.search.bilevel import Recipe, Search, Searched, Split, accuracies, first_order, validation_losses

CRITERIA = ("loss", "accuracy")


def optimal_mix(x: torch.Tensor, o: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights (w_skip, w_candidate) of the mixture of ``x`` and ``o`` with the least variance around ``m``; scalars.

    Args:
        x, o, m: samples of one feature, equal shapes.

    Raises:
        ValueError: different shapes, or x and o that differ by a constant, where every mixture is as good.
    """
    x, o, m = (checks.tensor(name, value, floating=True) for name, value in (("x", x), ("o", o), ("m", m)))
    checks.same_shape("x", x, "o", o)
    checks.same_shape("x", x, "m", m)
    a, b = (value - value.mean() for value in (x - m, o - m))
    skip, candidate, common = (b * b).mean(), (a * a).mean(), (a * b).mean()
    total = skip + candidate - 2 * common
    if float(total) <= 0:
        raise ValueError("x and o must differ by more than a constant; every mixture of them is as good")
    return (skip - common) / total, (candidate - common) / total


def strengths(
    supernet, parameters: dict[str, torch.Tensor], weights: torch.Tensor, x: torch.Tensor, y: torch.Tensor, *,
    criterion: str = "loss", places: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """How much worse the supernet is without each operation, (seeds, places, operations), larger is stronger.

    Args:
        supernet, parameters, weights: a trained supernet and its coefficients (seeds, places, operations).
        x, y: validation items.
        criterion: ``loss`` (rise of the cross-entropy) or ``accuracy`` (its fall).
        places: (seeds,) one place of each seed; the result is then (seeds, operations).
    """
    checks.choice("criterion", criterion, CRITERIA)
    sign, value = (1, validation_losses) if criterion == "loss" else (-1, accuracies)
    whole, seeds = value(supernet, parameters, weights, x, y), torch.arange(len(weights))

    def without(place, operation):
        masked = weights.clone()
        masked[seeds, place, operation] = 0
        return sign * (value(supernet, parameters, masked, x, y) - whole)

    operations = range(weights.shape[2])
    if places is not None:
        return torch.stack([without(places, o) for o in operations], 1)
    columns = [
        torch.stack([without(torch.full_like(seeds, p), o) for o in operations], 1) for p in range(weights.shape[1])
    ]
    return torch.stack(columns, 1)


def by_perturbation(search: Search, places, criterion, generator) -> torch.Tensor:
    """Scores (seeds, operations) of one undecided edge of each seed: the strengths."""
    with torch.no_grad():
        weights = search.weights()
    x, y = search.split.validation
    return strengths(search.supernet, search.parameters, weights, x, y, criterion=criterion, places=places)


def by_magnitude(search: Search, places, criterion, generator) -> torch.Tensor:
    """The architecture weights: progressive tuning with the old criterion, the control of the authors."""
    return search.alpha.detach()[torch.arange(len(places)), places]


def by_lot(search: Search, places, criterion, generator) -> torch.Tensor:
    """Random scores."""
    return torch.rand(len(places), search.alpha.shape[2], generator=generator)


@dataclass(frozen=True, eq=False)
class Selection:
    """Operations chosen edge by edge: ``choice`` (seeds, places), the scores behind it (seeds, places, operations), the order of
    edges (seeds, places), and the weights at the end."""

    choice: torch.Tensor
    scores: torch.Tensor
    order: torch.Tensor
    parameters: dict[str, torch.Tensor]


def select(
    found: Searched, split: Split, *, score: Callable = by_perturbation, interval: int = 50, criterion: str = "loss",
    recipe: Recipe | None = None, step: Callable = first_order, seed: int = 0, progress=None,
) -> Selection:  # fmt: skip
    """Choose an operation for every edge of a searched supernet.

    Args:
        found: a finished search; it stays as it is.
        split: its items.
        score: :func:`by_perturbation`, :func:`by_magnitude`, :func:`by_lot` or another function of this form.
        interval: tuning steps between decisions, at a tenth of the search's rate with cosine decay; 0 decides all at once.
        criterion: see :func:`strengths`.
        recipe: of the search; its batch size and rates count.
        step: the step of the search, which trains the weights and the alpha of undecided edges.
        seed: draws the orders of edges.
    """
    interval = checks.integer("interval", interval, low=0)
    recipe = recipe or Recipe()
    search = Search(
        found.supernet, split, replace(recipe, steps=max(1, interval), weight_rate=recipe.weight_rate / 10), found.seeds
    )
    with torch.no_grad():
        for name, value in found.parameters.items():
            search.parameters[name].copy_(value)
        search.alpha.copy_(found.alpha)
    seeds, places, operations = found.alpha.shape
    order = torch.stack(
        [torch.randperm(places, generator=torch.Generator().manual_seed(seed * 100_003 + one)) for one in found.seeds]
    )
    generator = torch.Generator().manual_seed(seed)
    search.decided = torch.full((seeds, places), -1)
    rows, scores = torch.arange(seeds), torch.zeros(seeds, places, operations)
    for number in range(places):
        places_now = order[:, number]
        scored = score(search, places_now, criterion, generator).float()
        scores[rows, places_now] = scored
        search.decided[rows, places_now] = scored.argmax(1)
        for done in range(interval if number + 1 < places else 0):
            search.step_number = done
            step(search, search.batch("train"), search.batch("validation"))
        if progress is not None:
            progress(number + 1, places)
    return Selection(
        search.decided, scores, order, {name: value.detach().clone() for name, value in search.parameters.items()}
    )


def smoothed(width: float = 0.03) -> Callable:
    """A step of DARTS with random smoothing: the weights are trained at alpha + uniform noise of this half-width (X. Chen, C.-J.
    Hsieh, 'Stabilizing Differentiable Architecture Search via Perturbation-based Regularization', ICML 2020)."""

    def step(search: Search, train, validation) -> None:
        if search.moves_alpha:
            (gradient,) = torch.autograd.grad(search.losses(validation).sum(), search.alpha)
            search.move_alpha(gradient)
        noise = [
            torch.rand(
                search.alpha.shape[1:], generator=torch.Generator().manual_seed(one * 1_000_003 + search.step_number)
            )
            for one in search.seeds
        ]
        with torch.no_grad():
            weights = search.weights(search.alpha + width * (2 * torch.stack(noise) - 1))
        search.move_weights(search.losses(train, weights=weights))

    return step
