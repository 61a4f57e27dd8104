r"""Doubly robust instance-reweighted adversarial training: the worst weights of the worst perturbations, in closed form.

With cross-entropy :math:`l_i(\theta, \delta)` of item i, perturbations in :math:`\|\delta\|_\infty \le \epsilon` and the simplex of
weights,

.. math:: \min_\theta \max_{w} \sum_i w_i\, l_i(\theta, \delta_i^*(\theta)) - r \sum_i w_i \log(M w_i), \qquad
          w_i^* = \frac{e^{l_i/r}}{\sum_j e^{l_j/r}},

so that the outer problem is :math:`r \log \frac1M \sum_i e^{l_i/r}`. The attack maximizes the loss under a logarithmic barrier,
which keeps it inside and differentiable,

.. math:: \delta_i^* = \arg\min_\delta -l_i(\theta, \delta) - c \sum_p [\log(\epsilon - \delta_p) + \log(\epsilon + \delta_p)],

.. math:: \frac{d l_i}{d\theta} = \nabla_\theta l_i + \nabla_\theta \bigl(v_i^\top \nabla_\delta l_i\bigr), \qquad
          v_i = H_i^{-1} \nabla_\delta l_i,

with v held fixed and H the second derivative of the attack's objective in delta; for a piecewise linear loss it is the barrier's
diagonal :math:`c\,[(\epsilon - \delta)^{-2} + (\epsilon + \delta)^{-2}]`, and the term is one vector-Jacobian product. Coordinates
that the inputs' own bounds hold (a black pixel cannot become darker) do not move and take no part in it. The mean of
:math:`e^{l/r}` is tracked over batches in log space.

Source: D. Sow, S. Lin, Z. Wang, Y. Liang, "Doubly Robust Instance-Reweighted Adversarial Training", ICLR 2024, Section 3.
Weight c of the barrier, r and the tracker's rate are arguments; the abstract names none. At c = 1e-5 an attack of strength 0.08
reaches 98 % of the ball along a coordinate of gradient 0.01.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from lab import checks
from lab.generalization.stacked import Parameters, descend, filled, stack
from lab.kernels import kl_dro_weights
from lab.training.trackers import log_running_mean

ARMS = ("plain", "done", "implicit", "batch", "margin", "geometry", "loss")
INSIDE = 1e-4  # relative distance from the ball's surface at which attacks stay


def worst_weights(losses: torch.Tensor, r: float) -> torch.Tensor:
    """The maximizing weights on the simplex, of sum 1: ``softmax(losses / r)``."""
    return kl_dro_weights(losses, r) / losses.numel()


def eliminated_objective(losses: torch.Tensor, r: float) -> torch.Tensor:
    """``r log mean exp(losses / r)``, what is left of the inner maximum."""
    r = checks.number("r", r, low=0.0, open_low=True)
    return r * (torch.logsumexp(losses / r, -1) - math.log(losses.shape[-1]))


def barrier_optimum(gradient: torch.Tensor, epsilon: float, c: float) -> torch.Tensor:
    """The attack on a loss that is linear in delta: ``(sqrt(c^2 + g^2 eps^2) - c) / g`` by coordinate, 0 where g is 0."""
    root = (c * c + (gradient * epsilon).square()).sqrt()
    return gradient * epsilon**2 / (root + c)


def barrier_curvature(delta: torch.Tensor, epsilon: float, c: float) -> torch.Tensor:
    """The barrier's second derivative, at least ``2 c / eps^2``."""
    return c * ((epsilon - delta) ** -2 + (epsilon + delta) ** -2)


def attack(
    rows: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, start: torch.Tensor, *, epsilon: float, c: float, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Projected sign steps on the barrier objective: ``(delta, steps that each item's loss needed to pass log 2)``.

    Args:
        rows: losses of the items at inputs (items, ...).
        start: delta to start from; ``x + delta`` stays in [0, 1].
        steps: each of 2.5 epsilon / steps; the count of an item that is never fooled is ``steps``.
    """
    most = epsilon * (1 - INSIDE)
    delta, needed = start.clamp(-most, most), torch.zeros(len(x), dtype=x.dtype)
    for _ in range(steps):
        up, values = grad(lambda d: (lambda v: (v.sum(), v))(rows(x + d)), has_aux=True)(delta)
        needed = needed + (values < math.log(2))
        pull = c * (1 / (epsilon + delta) - 1 / (epsilon - delta))
        delta = (delta + 2.5 * epsilon / steps * (up + pull).sign()).clamp(-most, most)
        delta = (x + delta).clamp(0, 1) - x
    return delta.detach(), needed.detach()


def hypergradient(
    rows: Callable[[Parameters, torch.Tensor], torch.Tensor], parameters: Parameters, delta: torch.Tensor,
    weights: torch.Tensor, *, epsilon: float, c: float, implicit: bool = True, exact: bool = False,
    free: torch.Tensor | None = None,
) -> Parameters:  # fmt: skip
    """Gradient of ``sum_i weights_i l_i(theta, delta_i*(theta))``, the weights fixed.

    Args:
        rows: ``(parameters, delta) -> losses`` (items,).
        delta: (items, ...), the attacks' optima.
        implicit: with the term through delta*; without it the first-order method.
        exact: H with the loss's own second derivative, item by item, for few coordinates; else the barrier's diagonal.
        free: of delta's shape, False where the inputs' own bounds hold a coordinate: there delta* does not move with theta.
    """
    if not implicit:
        return grad(lambda p: (weights * rows(p, delta)).sum())(parameters)
    slope = lambda p: grad(lambda d: rows(p, d).sum())(delta)  # noqa: E731
    g, diagonal = slope(parameters), barrier_curvature(delta, epsilon, c)
    if exact:
        own = torch.func.hessian(lambda d: rows(parameters, d).sum())(delta)
        n, size = len(delta), delta[0].numel()
        own = own.reshape(n, size, n, size)[torch.arange(n), :, torch.arange(n)]
        v = torch.linalg.solve(torch.diag_embed(diagonal.reshape(n, -1)) - own, g.reshape(n, -1)).reshape(g.shape)
    else:
        v = g / diagonal
    v = v if free is None else v * free
    v = (v * weights.view(-1, *[1] * (delta.ndim - 1))).detach()
    return grad(lambda p: (weights * rows(p, delta)).sum() + (v * slope(p)).sum())(parameters)


def baseline_weights(
    kind: str, logits: torch.Tensor, label: torch.Tensor, losses: torch.Tensor, needed: torch.Tensor, steps: int
):
    """Weights of mean one of three heuristics.

    ``margin``: ``sigmoid(-10 (p_y - max other p - 1/2))`` (F. Liu et al., "Probabilistic margins for instance reweighting in
    adversarial training", 2021); ``geometry``: ``(1 + tanh(5 (1 - 2 needed / steps) - 1)) / 2`` (J. Zhang et al.,
    "Geometry-aware instance-reweighted adversarial training", 2021); ``loss``: proportional to the loss.
    """
    if kind == "margin":
        p = torch.softmax(logits, 1)
        own = p.gather(1, label[:, None])
        other = torch.where(torch.arange(p.shape[1]) == label[:, None], -1.0, p).amax(1)
        weights = torch.sigmoid(-10 * (own[:, 0] - other - 0.5))
    elif kind == "geometry":
        weights = (1 + torch.tanh(5 * (1 - 2 * needed / steps) - 1)) / 2
    else:
        weights = losses
    return (weights / weights.mean().clamp_min(1e-12)).detach()


def tail_accuracy(correct: torch.Tensor, label: torch.Tensor, share: float = 0.3) -> torch.Tensor:
    """Mean accuracy of the worst ``share`` of the classes (rounded up); ``correct`` (..., items)."""
    share = checks.number("share", share, low=0.0, high=1.0, open_low=True)
    by_class = class_accuracy(correct, label)
    worst = max(1, int(-(-share * by_class.shape[-1] // 1)))
    return by_class.sort(-1).values[..., :worst].mean(-1)


def class_accuracy(correct: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Accuracy by class, (..., classes)."""
    member = F.one_hot(label).double()
    return correct.double() @ member / member.sum(0).clamp_min(1)


def train_stacked(
    model: nn.Module, parameters: Parameters, x: torch.Tensor, label: torch.Tensor, arm: str, *, seeds, epsilon: float = 0.1,
    c: float = 1e-5, r: float = 1.0, rate: float = 0.1, steps: int = 5, epochs: int = 25, learning_rate=1e-3,
    batch_size: int = 64, progress=None,
) -> Parameters:  # fmt: skip
    """Adversarial training of all models at once.

    Args:
        arm: "plain" (equal weights), "done" (tracked weights, first order), "implicit" (with the term through the attack), "batch"
            (the batch's own softmax, no tracker), "margin", "geometry", "loss" (:func:`baseline_weights`).
        epsilon, c, r, rate: of the module's formulas; ``rate`` of the tracker.
        steps: of the attack. Gradients are clipped to norm 5.
    """
    checks.choice("arm", arm, ARMS)
    epsilon = checks.number("epsilon", epsilon, low=0.0, open_low=True)
    c, r = checks.number("c", c, low=0.0, open_low=True), checks.number("r", r, low=0.0, open_low=True)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    state = {"log_u": torch.full((len(seeds),), float("nan"))}
    barrier = c if arm in ("done", "implicit", "batch") else 0.0

    def rows(p, inputs, y):
        return F.cross_entropy(functional_call(model, p, (inputs,)), y, reduction="none")

    def find(p, x, y, start):
        delta, needed = attack(lambda inputs: rows(p, inputs, y), x, start, epsilon=epsilon, c=barrier, steps=steps)
        free = torch.ones_like(delta, dtype=torch.bool)
        if arm == "implicit":  # the term through the attack holds at its optimum, here that of the loss's slope
            slope = grad(lambda d: rows(p, x + d, y).sum())(delta)
            optimum = x + barrier_optimum(slope, epsilon, c).detach()
            free, delta = (optimum >= 0) & (optimum <= 1), optimum.clamp(0, 1) - x
        logits = functional_call(model, p, (x + delta,))
        losses = F.cross_entropy(logits, y, reduction="none")
        heuristic = (
            baseline_weights(arm, logits, y, losses, needed, steps) if arm in ARMS[4:] else torch.ones_like(losses)
        )
        return delta, free, losses.detach(), heuristic

    def gradient(p, x, y, delta, free, weights):
        found = hypergradient(
            lambda q, d: rows(q, x + d, y), p, delta, weights / len(y), epsilon=epsilon, c=c, implicit=arm == "implicit",
            free=free,
        )  # fmt: skip
        size = torch.stack([g.square().sum() for g in found.values()]).sum().sqrt()
        return {name: g * (5.0 / size.clamp_min(5.0)) for name, g in found.items()}

    def step(p, x, y, number):
        start = torch.stack([torch.rand(x.shape[1:], generator=g) for g in generators]) * 2 * epsilon - epsilon
        delta, free, losses, weights = vmap(find)(p, x, y, start)
        if arm in ("done", "implicit"):
            fresh = torch.logsumexp(losses / r, 1) - math.log(losses.shape[1])
            state["log_u"] = log_running_mean(state["log_u"], fresh, rate)
            weights = torch.exp(losses / r - state["log_u"][:, None])
        elif arm == "batch":
            weights = torch.softmax(losses / r, 1) * losses.shape[1]
        return vmap(gradient)(p, x, y, delta, free, weights)

    return descend(
        parameters, step, x, label, seeds=seeds, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        progress=progress,
    )  # fmt: skip


def train_done(
    model: nn.Module, x: torch.Tensor, label: torch.Tensor, *, arm: str = "done", seed: int = 0, **options
) -> nn.Module:
    """A copy of one's own classifier of inputs in [0, 1], trained; ``options`` as :func:`train_stacked`.

    Raises:
        ValueError: inputs outside [0, 1], labels that are not one class an item.
    """
    x = checks.tensor("x", x, floating=True)
    if float(x.min()) < 0 or float(x.max()) > 1:
        raise ValueError(
            f"x must lie in [0, 1], where attacks stay, got values from {float(x.min()):.3g} to {float(x.max()):.3g}"
        )
    label = checks.tensor("label", label, shape=(len(x),)).long()
    done = train_stacked(model, stack([model]), x, label, arm, seeds=[seed], **options)
    return filled(model, {name: value[0] for name, value in done.items()})
