r"""ProxylessNAS: one sampled path at a time, gradients of the architecture through binary gates, latency in the loss.

With p = softmax(alpha) and a one-hot gate g drawn from it, an edge carries m(x) = sum_i g_i o_i(x), and alpha follows

.. math:: \frac{\partial L}{\partial \alpha_i} = \sum_j \frac{\partial L}{\partial g_j} p_j (\delta_{ij} - p_i), \qquad
          \frac{\partial L}{\partial g_j} = \Bigl\langle \frac{\partial L}{\partial m}, o_j(x) \Bigr\rangle ,

the gates taken for the probabilities (straight-through, biased). In the two-path form a pair is drawn without replacement and
renormalized, only its two weights move, and both are shifted by one offset so that all other probabilities stay. REINFORCE takes
a reward of whole networks instead. The loss adds ``tradeoff`` times the expected latency over a reference.

Source: H. Cai, L. Zhu, S. Han, 'ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware', ICLR 2019, equations
(2) to (7) and section 3.2. The published code leaves alpha alone where the active operation is Zero; here every gate has its
gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lab import checks
from lab.search.bilevel import Split, accuracies, cross_entropies
from lab.search.latency import LatencyTable
from lab.search.space import Residual, Space
from lab.search.supernet import Supernet, one_hot
from lab.training import batch_order
from lab.training.engines import Flat
from lab.training.recipe import SCHEDULES

MODES = ("full", "two", "reinforce")


def _block(hidden):
    from torch import nn

    return lambda w: Residual(
        nn.Linear(w, hidden), nn.ReLU(), nn.Linear(hidden, w), nn.LayerNorm(w, elementwise_affine=False)
    )


BLOCKS = {"skip": lambda w: torch.nn.Identity(), "mlp4": _block(4), "mlp16": _block(16), "mlp64": _block(64)}


def chain(inputs: int, outputs: int, *, blocks: int = 4, width: int = 24, candidates=None) -> Space:
    """A chain of residual blocks with a choice of its own for each: skip, or a perceptron of 4, 16 or 64 hidden units."""
    return Space(
        BLOCKS if candidates is None else candidates, inputs, outputs, nodes=1, cells=blocks, width=width, shared=False
    )


def gate_gradient(p: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """dL/dalpha from probabilities and gate gradients dL/dg, equal shapes (..., candidates)."""
    p, slopes = checks.tensor("p", p, floating=True), checks.tensor("slopes", slopes, floating=True)
    checks.same_shape("p", p, "slopes", slopes)
    return p * (slopes - (p * slopes).sum(-1, keepdim=True))


def rescaled(alpha: torch.Tensor, pair: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """``alpha`` (..., candidates) with the entries ``pair`` (..., 2) set to ``moved`` and shifted together so that the sum of their
    exponentials, and with it every other probability, is as before."""
    before = alpha.gather(-1, pair)
    shift = moved.logsumexp(-1, keepdim=True) - before.logsumexp(-1, keepdim=True)
    return alpha.scatter(-1, pair, moved - shift)


def reinforce_gradient(
    p: torch.Tensor, drawn: torch.Tensor, rewards: torch.Tensor, baseline: torch.Tensor
) -> torch.Tensor:
    """-(1/M) sum_k (R_k - baseline) grad_alpha log p(g_k).

    p is (seeds, places, candidates), drawn (M, seeds, places), rewards (M, seeds), baseline (seeds,).
    """
    hot = torch.nn.functional.one_hot(drawn, p.shape[-1]).to(p)
    return -((rewards - baseline)[..., None, None] * (hot - p)).mean(0)


def step_path(supernet: Supernet, parameters, choice: torch.Tensor, x, y) -> torch.Tensor:
    """Losses (models,) of one path a model; only its operations are computed and get a gradient."""
    return cross_entropies(supernet.path(parameters, choice, x), y)


def gate_slopes(supernet: Supernet, parameters, choice: torch.Tensor, x, y) -> torch.Tensor:
    """dL/dg (models, places, candidates) at the active path, from the outputs of all candidates."""
    gates = one_hot(choice, supernet.space, parameters["head.weight"].dtype).requires_grad_()
    frozen = {name: value.detach() for name, value in parameters.items()}
    return torch.autograd.grad(cross_entropies(supernet(frozen, gates, x), y).sum(), gates)[0]


def pair_slopes(supernet: Supernet, parameters, active: torch.Tensor, other: torch.Tensor, x, y) -> torch.Tensor:
    """dL/dg (models, places, 2) of the active and one other operation, from the outputs of these two."""
    frozen = {name: value.detach() for name, value in parameters.items()}
    plans = [supernet.plan(choice) for choice in (active, other)]
    taken = [supernet.take(frozen, plan) for plan in plans]
    gates = torch.tensor([1.0, 0.0], dtype=frozen["head.weight"].dtype).repeat(*active.shape, 1).requires_grad_()
    logits = supernet.planned(taken[0], plans[0], x, gates=gates, other=(taken[1], plans[1]))
    return torch.autograd.grad(cross_entropies(logits, y).sum(), gates)[0]


@dataclass(frozen=True, eq=False)
class Found:
    """A finished search: ``alpha`` (models, places, candidates), its ``path`` (records, ...) at steps ``at``, what came of it."""

    space: Space
    alpha: torch.Tensor
    at: tuple[int, ...]
    path: torch.Tensor
    latency: torch.Tensor
    validation_accuracy: torch.Tensor

    @property
    def choice(self) -> torch.Tensor:
        """The most probable operation of every place, (models, places)."""
        return self.alpha.argmax(-1)


def search(
    space: Space, split: Split, *, seeds: Sequence[int], table: LatencyTable | None = None,
    tradeoff: float | torch.Tensor = 0.0, steps: int = 1500, warm_up: int | None = None, every: int = 5, mode: str = "full",
    batch_size: int = 64, weight_rate: float = 3e-3, alpha_rate: float = 0.02, samples: int = 4, records: int = 30, progress=None,
) -> Found:  # fmt: skip
    """Search with one path a step, all models at once.

    Args:
        space, split: what is searched, on which items.
        seeds: one model each.
        table: costs of the candidates; multiply-adds if ``None``.
        tradeoff: lambda, a number or one a model, of the expected latency over that of the costliest network.
        warm_up: steps that train weights alone, on uniform paths; a quarter if ``None``.
        every: weight steps between two steps of alpha.
        mode: ``full`` (gates of all candidates), ``two`` (of a drawn pair), ``reinforce`` (rewards of ``samples`` networks).

    Raises:
        ValueError: an unknown mode, a table without one of the candidates, tradeoffs below 0.
    """
    checks.choice("mode", mode, MODES)
    supernet, table = Supernet(space), table or LatencyTable.multiply_adds(space)
    seeds = tuple(checks.integer("seeds", seed, low=0) for seed in seeds)
    trade = torch.as_tensor(tradeoff, dtype=torch.float32).expand(len(seeds))
    if float(trade.min()) < 0:
        raise ValueError(f"tradeoff must be at least 0, got {float(trade.min()):g}")
    warm_up = steps // 4 if warm_up is None else warm_up
    reference = float(table.vector(space).max()) * space.places * (space.cells if space.shared else 1)
    names, values = zip(*supernet.initialize(seeds).items())
    flat = Flat(list(values))
    parameters = dict(zip(names, (value.requires_grad_() for value in flat.values)))
    for leaf, gradient in zip(parameters.values(), flat.gradients):
        leaf.grad = gradient
    draws = [torch.Generator().manual_seed(40_000 + seed) for seed in seeds]
    alpha = 1e-3 * torch.stack([torch.randn(space.places, len(space.names), generator=one) for one in draws])
    alpha.requires_grad_()
    weights, moves = (
        torch.optim.Adam([flat.parameter], weight_rate),
        torch.optim.Adam([alpha], alpha_rate, betas=(0.0, 0.999)),
    )
    baseline, at, path = torch.zeros(len(seeds)), [0], [alpha.detach().clone()]
    for number in range(steps):
        p = torch.softmax(alpha.detach(), -1) if number >= warm_up else torch.full_like(alpha, 1 / alpha.shape[-1])
        x, y = _batch(split.train, seeds, 0, number, batch_size)
        flat.parameter.grad.zero_()
        step_path(supernet, parameters, _draw(p, draws), x, y).sum().backward(inputs=list(parameters.values()))
        weights.param_groups[0]["lr"] = weight_rate * SCHEDULES["cosine"](number / steps)
        before = flat.parameter.detach().clone()
        weights.step()
        with torch.no_grad():  # operations off the path stay where they are, momentum or not
            flat.parameter.copy_(torch.where(flat.parameter.grad.eq(0), before, flat.parameter))
        if number >= warm_up and number % every == 0:
            held = _batch(split.validation, seeds, 500_000, number // every, batch_size)
            cost = table.expected(torch.softmax(alpha, -1), space) / reference
            (latency,) = torch.autograd.grad((trade * cost).sum(), alpha)
            gradient, pair = _alpha_gradient(mode, supernet, parameters, p, held, draws, samples, baseline)
            old = alpha.detach().clone()
            alpha.grad = gradient + latency
            moves.step()
            if pair is not None:
                with torch.no_grad():
                    alpha.copy_(rescaled(old, pair, alpha.gather(-1, pair)))
        if (number + 1) % max(1, steps // records) == 0 or number + 1 == steps:
            at.append(number + 1)
            path.append(alpha.detach().clone())
            if progress is not None:
                progress(number + 1, steps)
    found = alpha.detach()
    accuracy = accuracies(
        supernet, {n: v.detach() for n, v in parameters.items()}, one_hot(found.argmax(-1), space), *split.validation
    )
    return Found(space, found, tuple(at), torch.stack(path), table.expected(torch.softmax(found, -1), space), accuracy)


def _alpha_gradient(mode, supernet, parameters, p, held, draws, samples, baseline):
    """The gradient of alpha by one of the modes, and the pair that alone may move in mode ``two``."""
    if mode == "full":
        return gate_gradient(p, gate_slopes(supernet, parameters, _draw(p, draws), *held)), None
    if mode == "two":
        pair = _draw(p, draws, 2)
        q = torch.softmax(p.log().gather(-1, pair), -1)
        first = _draw(q, draws)[..., None]
        active, other = (pair.gather(-1, place)[..., 0] for place in (first, 1 - first))
        slopes = pair_slopes(supernet, parameters, active, other, *held)
        slopes = torch.where(first == 0, slopes, slopes.flip(-1))
        return torch.zeros_like(p).scatter(-1, pair, gate_gradient(q, slopes)), pair
    drawn = torch.stack([_draw(p, draws) for _ in range(samples)])
    with torch.no_grad():
        rewards = torch.stack([-step_path(supernet, parameters, one, *held) for one in drawn])
    if not bool(baseline.any()):
        baseline.copy_(rewards.mean(0))
    gradient = reinforce_gradient(p, drawn, rewards, baseline)
    baseline.mul_(0.9).add_(0.1 * rewards.mean(0))
    return gradient, None


def _draw(p, draws, count=1):
    found = torch.stack([torch.multinomial(one, count, generator=generator) for one, generator in zip(p, draws)])
    return found[..., 0] if count == 1 else found


def _batch(part, seeds, salt, number, size):
    x, y = part
    size = min(size, len(x))
    epoch, place = divmod(number, len(x) // size)
    rows = torch.stack([batch_order(len(x), seed + salt, epoch)[place * size : (place + 1) * size] for seed in seeds])
    return x[rows], y[rows]
