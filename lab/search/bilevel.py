r"""Alternating optimization of weights w and architecture weights alpha, for all seeds of a supernet at once.

.. math:: \min_\alpha L_{val}(w^*(\alpha), \alpha) \quad\text{with}\quad w^*(\alpha) = \arg\min_w L_{train}(w, \alpha)

A step is a function ``step(search, train, validation)`` that moves alpha and w once. :func:`first_order` takes the gradient of
L_val at the present w; :func:`second_order` differentiates through one step of descent,

.. math:: \nabla_\alpha L_{val}(w', \alpha) - \xi\, \nabla^2_{\alpha, w} L_{train}(w, \alpha)\, \nabla_{w'} L_{val}(w', \alpha),
          \qquad w' = w - \xi \nabla_w L_{train}(w, \alpha),

as one product with the mixed second derivative by a backward pass through the gradient: no Hessian is built. :func:`joint` moves
both on all data, the single-level control.

Source: Liu, Simonyan, Yang, 'DARTS: Differentiable Architecture Search', ICLR 2019, equations (5) to (7); the original takes
finite differences for the product, here it is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from lab import checks
from lab.search.supernet import MIXES, Supernet, discretize, mix, one_hot
from lab.training import batch_order
from lab.training.engines import Flat
from lab.training.recipe import SCHEDULES


@dataclass(frozen=True, eq=False)
class Split:
    """Items of a search: training half, validation half and test items, inputs and int64 classes of each."""

    train: tuple[torch.Tensor, torch.Tensor]
    validation: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]

    @classmethod
    def of(cls, x, y, *, train: int, validation: int, seed: int = 0, test: int | None = None) -> Split:
        """Disjoint random parts of ``x``, ``y``; ``test`` is the rest unless a number is given.

        Raises:
            ValueError: fewer items than the parts ask for.
        """
        x, y = checks.tensor("x", x).float(), checks.tensor("y", y).long()
        if len(x) != len(y):
            raise ValueError(f"x and y must have equally many items, got {len(x)} and {len(y)}")
        if train + validation + max(1, test or 0) > len(x):
            raise ValueError(
                f"train, validation and test ask for {train + validation + max(1, test or 0)} items, x has {len(x)}"
            )
        order = torch.randperm(len(x), generator=checks.generator(seed))
        order = order if test is None else order[: train + validation + test]
        parts = order.split([train, validation, len(order) - train - validation])
        return cls(*((x[part], y[part]) for part in parts))


@dataclass(frozen=True)
class Recipe:
    """How a search runs: Adam for weights (with a schedule) and for architecture weights (constant rate).

    ``warm_up`` steps move weights alone; ``frozen`` never moves alpha; ``xi`` is the inner rate of the second order;
    ``rule`` is that of :func:`lab.search.supernet.mix`.
    """

    steps: int = 600
    batch_size: int = 64
    weight_rate: float = 3e-3
    alpha_rate: float = 3e-3
    alpha_decay: float = 1e-3
    warm_up: int = 0
    frozen: bool = False
    xi: float = 3e-3
    rule: str = "softmax"
    schedule: str | Callable[[float], float] = "cosine"
    spread: float = 1e-3

    def __post_init__(self):
        checks.integer("steps", self.steps, low=1)
        checks.integer("batch_size", self.batch_size, low=1)
        checks.choice("rule", self.rule, MIXES)
        if not callable(self.schedule):
            checks.choice("schedule", self.schedule, SCHEDULES)


class Search:
    """The state of a search: weights (one flat buffer), alpha (seeds, places, operations), their optimizers, their batches."""

    def __init__(self, supernet: Supernet, split: Split, recipe: Recipe, seeds: Sequence[int]):
        self.supernet, self.split, self.recipe, self.seeds = supernet, split, recipe, tuple(seeds)
        space = supernet.space
        names, values = zip(*supernet.initialize(self.seeds).items())
        self.flat = Flat(list(values))
        self.parameters = dict(zip(names, (value.requires_grad_() for value in self.flat.values)))
        for leaf, gradient in zip(self.parameters.values(), self.flat.gradients):
            leaf.grad = gradient
        drawn = [
            torch.randn(space.places, len(space.names), generator=checks.generator(10_000 + seed))
            for seed in self.seeds
        ]
        self.alpha = (recipe.spread * torch.stack(drawn)).requires_grad_()
        self.weight_optimizer = torch.optim.Adam([self.flat.parameter], recipe.weight_rate)
        self.alpha_optimizer = torch.optim.Adam(
            [self.alpha], recipe.alpha_rate, betas=(0.5, 0.999), weight_decay=recipe.alpha_decay
        )
        self.step_number = 0
        self.extra_loss: Callable | None = (
            None  # (search, logits, x) -> (seeds,), added to the training loss of weights
        )
        self.decided: torch.Tensor | None = None  # choice (seeds, places), -1 where an edge is still mixed
        self.passes = 0  # backward passes

    @property
    def moves_alpha(self) -> bool:
        """Whether alpha is trained at this step."""
        return not self.recipe.frozen and self.step_number >= self.recipe.warm_up

    def weights(self, alpha: torch.Tensor | None = None) -> torch.Tensor:
        """Coefficients of the candidates at ``alpha``, else at the present one; decided edges carry their operation alone."""
        mixed = mix(self.alpha if alpha is None else alpha, self.recipe.rule, seed=self.step_number)
        if self.decided is None:
            return mixed
        fixed = one_hot(self.decided.clamp_min(0), self.supernet.space, mixed.dtype)
        return torch.where((self.decided >= 0)[..., None], fixed, mixed)

    def logits(self, x, parameters=None, weights=None) -> torch.Tensor:
        """Logits (seeds, items, classes) of the mixture."""
        return self.supernet(
            self.parameters if parameters is None else parameters, self.weights() if weights is None else weights, x
        )

    def losses(self, batch, parameters=None, weights=None) -> torch.Tensor:
        """Cross-entropy (seeds,) of each seed's batch."""
        return cross_entropies(self.logits(batch[0], parameters, weights), batch[1])

    def batch(self, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Each seed's batch of this step from ``train``, ``validation`` or ``both``, (seeds, batch, ...)."""
        x, y = getattr(self.split, part) if part != "both" else self._both()
        size = min(self.recipe.batch_size, len(x))
        per_epoch = len(x) // size
        epoch, place = divmod(self.step_number, per_epoch)
        salt = {"train": 0, "validation": 500_000, "both": 900_000}[part]
        if getattr(self, f"_{part}_epoch", None) != epoch:
            setattr(self, f"_{part}_epoch", epoch)
            setattr(
                self, f"_{part}_order", torch.stack([batch_order(len(x), seed + salt, epoch) for seed in self.seeds])
            )
        rows = getattr(self, f"_{part}_order")[:, place * size : (place + 1) * size]
        return x[rows], y[rows]

    def _both(self):
        (a, b), (c, d) = self.split.train, self.split.validation
        return torch.cat([a, c]), torch.cat([b, d])

    def move_weights(self, losses: torch.Tensor) -> None:
        """One descent step of the weights on the sum of the seeds' losses."""
        self.flat.parameter.grad.zero_()
        losses.sum().backward(inputs=list(self.parameters.values()))
        self.passes += 1
        schedule = self.recipe.schedule if callable(self.recipe.schedule) else SCHEDULES[self.recipe.schedule]
        for group in self.weight_optimizer.param_groups:
            group["lr"] = self.recipe.weight_rate * schedule(self.step_number / self.recipe.steps)
        self.weight_optimizer.step()

    def move_alpha(self, gradient: torch.Tensor) -> None:
        """One step of alpha along a gradient of its shape."""
        self.passes += 1
        self.alpha.grad = gradient
        self.alpha_optimizer.step()

    def train_weights(self, batch) -> None:
        """A step of the weights on a training batch at the present alpha, with the extra loss where there is one."""
        with torch.no_grad():
            weights = self.weights()
        logits = self.logits(batch[0], weights=weights)
        losses = cross_entropies(logits, batch[1])
        self.move_weights(losses if self.extra_loss is None else losses + self.extra_loss(self, logits, batch[0]))


def first_order(search: Search, train, validation) -> None:
    """Alpha on the validation batch at the present weights, then the weights on the training batch."""
    if search.moves_alpha:
        (gradient,) = torch.autograd.grad(search.losses(validation).sum(), search.alpha)
        search.move_alpha(gradient)
    search.train_weights(train)


def second_order(search: Search, train, validation) -> None:
    """As :func:`first_order`, with alpha's gradient through one step of descent of rate ``xi``."""
    if search.moves_alpha:
        search.move_alpha(unrolled_gradient(search, train, validation, search.recipe.xi))
        search.passes += 2
    search.train_weights(train)


def unrolled_gradient(search: Search, train, validation, xi: float) -> torch.Tensor:
    """The gradient of L_val(w - xi grad_w L_train(w, alpha), alpha) with respect to alpha, (seeds, places, operations)."""
    weights = search.weights()
    values = list(search.parameters.values())
    slopes = torch.autograd.grad(search.losses(train, weights=weights).sum(), values, create_graph=True)
    moved = {name: value - xi * slope for name, value, slope in zip(search.parameters, values, slopes)}
    (gradient,) = torch.autograd.grad(search.losses(validation, moved, weights).sum(), search.alpha)
    return gradient


def joint(search: Search, train, validation) -> None:
    """Weights and alpha together on both batches, without a split: the single-level control."""
    batch = tuple(torch.cat(pair, 1) for pair in zip(train, validation))
    losses = search.losses(batch)
    if search.moves_alpha:
        (gradient,) = torch.autograd.grad(losses.sum(), search.alpha, retain_graph=True)
        search.move_alpha(gradient)
        with torch.no_grad():
            weights = search.weights()
        losses = search.losses(batch, weights=weights)
    search.move_weights(losses)


STEPS = {"first": first_order, "second": second_order, "joint": joint}


@dataclass(frozen=True, eq=False)
class Searched:
    """A finished search: alpha (seeds, places, operations), weights, accuracies of the supernet, the path of alpha, the cost.

    ``path`` is (records, seeds, places, operations) with its step numbers in ``at``; ``passes`` counts backward passes.
    """

    supernet: Supernet
    alpha: torch.Tensor
    parameters: dict[str, torch.Tensor]
    rule: str
    seeds: tuple[int, ...]
    at: tuple[int, ...]
    path: torch.Tensor
    validation_accuracy: torch.Tensor
    passes: int
    seconds: float

    @property
    def weights(self) -> torch.Tensor:
        """The coefficients at the end."""
        return mix(self.alpha, self.rule)

    @property
    def choice(self) -> torch.Tensor:
        """Selection by magnitude (seeds, places)."""
        return discretize(self.alpha)

    def genotypes(self, choice: torch.Tensor | None = None) -> tuple:
        """The genotype of each seed, by magnitude unless a choice is given."""
        return tuple(self.supernet.space.genotype(one) for one in (self.choice if choice is None else choice))

    def discretization_gap(self, x, y, choice: torch.Tensor | None = None) -> torch.Tensor:
        """Accuracy of the supernet less that of its one-hot cut without retraining, (seeds,)."""
        choice = self.choice if choice is None else choice
        whole = accuracies(self.supernet, self.parameters, self.weights, x, y)
        return whole - accuracies(self.supernet, self.parameters, one_hot(choice, self.supernet.space), x, y)


def run(
    supernet: Supernet,
    split: Split,
    recipe: Recipe | None = None,
    *,
    seeds: Sequence[int] = (0,),
    step: str | Callable = "first",
    start: Callable[[Search], None] | None = None,
    records: int = 30,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Searched:
    """Search with all seeds at once.

    Args:
        supernet, split, recipe: what is searched, on which items, how long.
        seeds: a seed draws weights, initial alpha and batches.
        step: ``first``, ``second``, ``joint`` or a function ``(search, train, validation)``.
        start: called once with the :class:`Search` before the first step, to set ``extra_loss`` or other state.
        records: how often alpha is kept.
        progress: called with (done, all) at every record.
        cancel: asked at every record; True ends the search there.

    Returns:
        :class:`Searched`.
    """
    import time

    seeds = tuple(checks.integer("seeds", seed, low=0) for seed in seeds)
    recipe = recipe or Recipe()
    move = step if callable(step) else STEPS[checks.choice("step", step, STEPS)]
    began = time.perf_counter()
    search = Search(supernet, split, recipe, seeds)
    if start is not None:
        start(search)
    every = max(1, recipe.steps // max(1, records))
    at, path = [0], [search.alpha.detach().clone()]
    for number in range(recipe.steps):
        search.step_number = number
        move(search, search.batch("train"), search.batch("validation"))
        if (number + 1) % every == 0 or number + 1 == recipe.steps:
            at.append(number + 1)
            path.append(search.alpha.detach().clone())
            if progress is not None:
                progress(number + 1, recipe.steps)
            if cancel is not None and cancel():
                break
    parameters = {name: value.detach().clone() for name, value in search.parameters.items()}
    alpha = search.alpha.detach().clone()
    rule = "softmax" if recipe.rule == "gates" else recipe.rule
    return Searched(
        supernet, alpha, parameters, rule, seeds, tuple(at), torch.stack(path),
        accuracies(supernet, parameters, mix(alpha, rule), *split.validation), search.passes, time.perf_counter() - began,
    )  # fmt: skip


def with_parameters(found: Searched, parameters: dict[str, torch.Tensor]) -> Searched:
    """The same search with other weights."""
    return replace(found, parameters=parameters)


def cross_entropies(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (models,) of logits (models, items, classes) and classes (items,) or (models, items)."""
    y = y.expand(logits.shape[:2])
    return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(1)


@torch.no_grad()
def accuracies(supernet, parameters, weights, x, y) -> torch.Tensor:
    """Accuracy (models,) of the mixture with these coefficients."""
    return (supernet(parameters, weights, x).argmax(2) == y).double().mean(1)


@torch.no_grad()
def validation_losses(supernet, parameters, weights, x, y) -> torch.Tensor:
    """Mean cross-entropy (models,) of the mixture with these coefficients."""
    return cross_entropies(supernet(parameters, weights, x), y)


def train_paths(
    supernet: Supernet, choice: torch.Tensor, x, y, *, seeds: Sequence[int], steps: int = 300, batch_size: int = 64,
    learning_rate: float = 3e-3, progress=None,
):  # fmt: skip
    """Train the networks of many genotypes from scratch, all at once: ``(weights of the paths, plan)``.

    Model m has genotype ``choice[m]`` and draws weights and batches from ``seeds[m]``. The logits are
    ``supernet.planned(weights, plan, x)``. Only chosen candidates have weights and are computed.
    """
    plan = supernet.plan(choice)
    distinct = sorted(set(seeds))
    whole = supernet.initialize(distinct)
    rows = torch.tensor([distinct.index(seed) for seed in seeds])
    taken = supernet.take(whole, plan, rows)
    flat = Flat(list(taken.values()))
    leaves = dict(zip(taken, (value.requires_grad_() for value in flat.values)))
    for leaf, gradient in zip(leaves.values(), flat.gradients):
        leaf.grad = gradient
    optimizer = torch.optim.Adam([flat.parameter], learning_rate, fused=True)
    size = min(batch_size, len(x))
    per_epoch = len(x) // size
    for number in range(steps):
        epoch, place = divmod(number, per_epoch)
        if place == 0:
            order = torch.stack([batch_order(len(x), seed, epoch) for seed in distinct])
        batch = order[:, place * size : (place + 1) * size][rows]
        flat.parameter.grad.zero_()
        cross_entropies(supernet.planned(leaves, plan, x[batch]), y[batch]).sum().backward()
        optimizer.param_groups[0]["lr"] = learning_rate * SCHEDULES["cosine"](number / steps)
        optimizer.step()
        if progress is not None:
            progress(number + 1, steps)
    return {name: value.detach() for name, value in leaves.items()}, plan
