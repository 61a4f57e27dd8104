r"""RARTS: two copies of the network, one a half of the data, share the architecture weights and are tied by a penalty.

.. math:: L(y, w, \alpha) = L_{val}(y, \alpha) + \lambda L_{train}(w, \alpha) + \tfrac\beta2 \|y - w\|^2

is descended in turn (Gauss-Seidel), each step with what the one before it has moved:

.. math:: w &\leftarrow w - \eta_w [\lambda \nabla_w L_{train}(w, \alpha) + \beta (w - y)] \\
          y &\leftarrow y - \eta_y [\nabla_y L_{val}(y, \alpha) + \beta (y - w)] \\
          \alpha &\leftarrow \alpha - \eta_\alpha [\lambda \nabla_\alpha L_{train}(w, \alpha) + \nabla_\alpha L_{val}(y, \alpha)]

so that all data teach alpha and no mixed second derivative appears. On the solvable model L_train = (w - alpha)^2,
L_val = alpha w - 2 alpha + 1 with bilevel optimum alpha = w = 1 the stationary point is

.. math:: \alpha^* = \frac{2}{2 - 1/(2\lambda) - 1/\beta}, \qquad w^* = \alpha^* \bigl(1 - \tfrac1{2\lambda}\bigr) \to 1
          \quad (\lambda, \beta \to \infty),

where first-order DARTS ends at 2 and second-order DARTS at 2/(1 + 2 xi). Channel gates g of a width search take a soft-thresholded
step, g <- sign(g) max(|g| - eta mu, 0), our reading of the sparsity penalty.

Source: F. Xue, Y. Qi, J. Xin, 'RARTS: An Efficient First-Order Relaxed Architecture Search Method', IEEE Access 2022, section 3
(the relaxed objective and its updates); the model is that of Liu et al., 'DARTS', ICLR 2019, equation (9).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.func import vmap

from lab import checks
from lab.search.bilevel import Search
from lab.training import batch_order
from lab.training.engines import Flat

METHODS = ("first", "second", "relaxed")


def solvable_losses(alpha, w):
    """(L_train, L_val) of the solvable model at ``alpha``, ``w``."""
    return (w - alpha) ** 2, alpha * w - 2 * alpha + 1


def solvable_path(
    method: str, *, steps: int = 2000, rate: float = 0.05, weight: float = 10.0, coupling: float = 10.0, xi: float = 0.1,
    start: tuple[float, float, float] = (2.0, -2.0, 0.0),
) -> torch.Tensor:  # fmt: skip
    """The path (steps + 1, 3) of (alpha, w, y) on the solvable model; y follows w where there is one network.

    Args:
        method: ``first`` or ``second`` order DARTS, or ``relaxed``.
        rate: eta of all three; the relaxed updates are stable below 2/(2 weight + coupling).
        weight, coupling: lambda and beta.
        xi: inner rate of the second order.
        start: alpha, w, y.
    """
    checks.choice("method", method, METHODS)
    for name, value in (("rate", rate), ("weight", weight), ("coupling", coupling)):
        checks.number(name, value, low=0.0, open_low=True)
    alpha, w, y = (checks.number("start", value) for value in start)
    path = [(alpha, w, y)]
    for _ in range(checks.integer("steps", steps, low=0)):
        if method == "relaxed":
            w = w - rate * (2 * weight * (w - alpha) + coupling * (w - y))
            y = y - rate * (alpha + coupling * (y - w))
            alpha = alpha - rate * (2 * weight * (alpha - w) + y - 2)
        else:
            inner = xi if method == "second" else 0.0
            alpha = alpha - rate * (w - 2 * inner * (w - alpha) - 2 + 2 * inner * alpha)
            w = w - rate * 2 * (w - alpha)
            y = w
        path.append((alpha, w, y))
    return torch.tensor(path, dtype=torch.float64)


def solvable_limit(
    method: str, *, weight: float = 10.0, coupling: float = 10.0, xi: float = 0.1
) -> tuple[float, float]:
    """Where (alpha, w) of the solvable model end, in closed form.

    Raises:
        ValueError: weight and coupling for which the relaxed model has no stationary point, 1/(2 weight) + 1/coupling = 2.
    """
    checks.choice("method", method, METHODS)
    if method != "relaxed":
        limit = 2 / (1 + 2 * (xi if method == "second" else 0.0))
        return limit, limit
    rest = 2 - 1 / (2 * weight) - 1 / coupling
    if abs(rest) < 1e-12:
        raise ValueError(
            f"weight={weight:g} and coupling={coupling:g} have no stationary point: 1/(2 weight) + 1/coupling is 2"
        )
    return 2 / rest, 2 / rest * (1 - 1 / (2 * weight))


def relaxed_objective(alpha, w, y, *, weight: float = 10.0, coupling: float = 10.0):
    """L(y, w, alpha) of the solvable model."""
    return solvable_losses(alpha, y)[1] + weight * solvable_losses(alpha, w)[0] + coupling / 2 * (y - w) ** 2


@dataclass
class Relaxed:
    """The step of a relaxed search: ``lab.search.bilevel.run(..., step=Relaxed())``; one instance serves one search.

    ``weight`` is lambda, ``coupling`` beta; ``distance`` holds ||y - w|| of each seed after the last step.
    """

    weight: float = 1.0
    coupling: float = 0.05

    def __post_init__(self):
        checks.number("weight", self.weight, low=0.0, open_low=True)
        checks.number("coupling", self.coupling, low=0.0)
        self.distance = torch.zeros(0)
        self._owner: Search | None = None

    def __call__(self, search: Search, train, validation) -> None:
        if self._owner is not search:
            self._begin(search)
        with torch.no_grad():
            weights = search.weights()
        schedule = search.flat, self.copy
        self._descend(
            search, search.losses(train, weights=weights).sum() * self.weight, *schedule, search.weight_optimizer
        )
        self._descend(search, search.losses(validation, self.second, weights).sum(), *schedule[::-1], self.optimizer)
        if search.moves_alpha:
            search.move_alpha(alpha_gradient(search, self.second, train, validation, self.weight))
            search.passes += 1
        gaps = [
            (a - b).detach().flatten(1).square().sum(1)
            for a, b in zip(search.parameters.values(), self.second.values())
        ]
        self.distance = torch.stack(gaps).sum(0).sqrt()

    def _begin(self, search):
        self._owner = search
        self.copy = Flat([value.detach() for value in search.parameters.values()])
        self.second = dict(zip(search.parameters, (value.requires_grad_() for value in self.copy.values)))
        for leaf, gradient in zip(self.second.values(), self.copy.gradients):
            leaf.grad = gradient
        self.optimizer = torch.optim.Adam([self.copy.parameter], search.recipe.weight_rate)

    def _descend(self, search, loss, own, other, optimizer):
        own.parameter.grad.zero_()
        loss.backward(inputs=list(search.parameters.values() if own is search.flat else self.second.values()))
        own.parameter.grad.add_(own.parameter.detach() - other.parameter.detach(), alpha=self.coupling)
        search.passes += 1
        schedule = search.recipe.schedule if callable(search.recipe.schedule) else _cosine
        for group in optimizer.param_groups:
            group["lr"] = search.recipe.weight_rate * schedule(search.step_number / search.recipe.steps)
        optimizer.step()


def alpha_gradient(search: Search, second, train, validation, weight: float = 1.0) -> torch.Tensor:
    """lambda grad_alpha L_train(w, alpha) + grad_alpha L_val(y, alpha), (seeds, places, operations)."""
    weights = search.weights()
    total = weight * search.losses(train, weights=weights) + search.losses(validation, second, weights)
    return torch.autograd.grad(total.sum(), search.alpha)[0]


def search_width(
    train, validation, *, seeds: Sequence[int], keep: int, width: int = 32, relaxed: bool = True, steps: int = 300,
    weight: float = 1.0, coupling: float = 0.05, sparsity: float = 0.1, batch_size: int = 64, rate: float = 3e-3,
) -> tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor]:  # fmt: skip
    """Two hidden layers with a gate for every unit; the ``keep`` units of the largest |gate| stay.

    Args:
        train, validation: (inputs, classes) of both halves.
        relaxed: two tied networks that share the gates; else one network on both halves, pruned by magnitude (slimming).
        sparsity: mu of the soft threshold.

    Returns:
        the pruned networks ``x -> logits (seeds, items, classes)``, and the gates (seeds, 2 width), zero where pruned.
    """
    keep = checks.integer("keep", keep, low=1, high=2 * width)
    inputs, classes = train[0].shape[1], int(train[1].max()) + 1
    sizes = [(inputs, width), (width, width), (width, classes)]
    first = [_drawn(sizes, seed) for seed in seeds]
    copies = [[torch.stack(parts).requires_grad_() for parts in zip(*first)] for _ in range(1 + relaxed)]
    gates = torch.full((len(seeds), 2, width), 0.5, requires_grad=True)

    def logits(values, x, gate):
        h = x.expand(len(seeds), *x.shape) if x.ndim == 2 else x
        for layer in range(2):
            h = torch.relu(torch.bmm(h, values[2 * layer]) + values[2 * layer + 1]) * gate[:, layer, None]
        return torch.bmm(h, values[4]) + values[5]

    def loss(values, part, salt, number):
        x, y = part
        size = min(batch_size, len(x))
        epoch, place = divmod(number, len(x) // size)
        rows = torch.stack(
            [batch_order(len(x), seed + salt, epoch)[place * size : (place + 1) * size] for seed in seeds]
        )
        return vmap(torch.nn.functional.cross_entropy)(logits(values, x[rows], gates), y[rows]).sum()

    both = tuple(torch.cat(pair) for pair in zip(train, validation))
    parts = [(train, 0, weight), (validation, 500_000, 1.0)] if relaxed else [(both, 0, 1.0)]
    optimizers = [torch.optim.Adam(values, rate) for values in copies]
    move = torch.optim.Adam([gates], rate)
    for number in range(steps):
        for values, optimizer, (part, salt, scale), other in zip(copies, optimizers, parts, copies[::-1]):
            optimizer.zero_grad()
            (scale * loss(values, part, salt, number)).backward(inputs=values)
            for value, tied in zip(values, other):
                value.grad.add_((value - tied).detach(), alpha=coupling)
            optimizer.step()
        move.zero_grad()
        sum(scale * loss(values, part, salt, number) for values, (part, salt, scale) in zip(copies, parts)).backward(
            inputs=[gates]
        )
        move.step()
        with torch.no_grad():
            gates.copy_(gates.sign() * (gates.abs() - rate * sparsity).clamp_min(0))
    flat = gates.detach().flatten(1)
    kept = torch.zeros_like(flat).scatter(1, flat.abs().topk(keep, 1).indices, 1.0)
    pruned, values = (flat * kept).unflatten(1, (2, width)), [value.detach() for value in copies[0]]
    return lambda x: logits(values, x, pruned), flat * kept


def _drawn(sizes, seed):
    generator, found = checks.generator(int(seed)), []
    for rows, columns in sizes:
        bound = rows**-0.5
        found += [(2 * torch.rand(shape, generator=generator) - 1) * bound for shape in ((rows, columns), (1, columns))]
    return found


def _cosine(done):
    from lab.training.recipe import SCHEDULES

    return SCHEDULES["cosine"](done)
