r"""SD-DARTS: the supernet is taught by its own earlier states, which vote.

At step t the last K snapshots (w_k, alpha_k), one taken every ``interval`` steps, give a target for the training batch, and the
weights descend

.. math:: L_w = \mathrm{CE}(f(x; w, \alpha), y) + \gamma \tau^2\,\mathrm{KL}(p_T(x) \,\|\, \sigma(f(x; w, \alpha)/\tau)), \qquad
          p_T(x) = \frac1K \sum_k \sigma(f(x; w_k, \alpha_k)/\tau),

with softmax sigma, the KL a mean over items. Each teacher keeps the alpha of its own time. Alpha itself follows the validation loss
as in DARTS. Sharpness is the rise of a loss at the worst point of a ball to first order, over the loss; the discretization gap is
the accuracy of the supernet less that of its one-hot cut.

Source: X. Zhu, J. Li, Y. Liu, W. Wang, 'Improving Differentiable Architecture Search via Self-Distillation', Neural Networks
2023. The abstract fixes the form (previous supernets as teachers, probabilities aggregated by voting); gamma, tau, K and interval
are choices made here, to be swept, and no defaults of the paper.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.func import vmap

from lab import checks
from lab.search.bilevel import Search, Searched, cross_entropies
from lab.search.supernet import mix
from lab.training.distillation import distillation_loss
from lab.training.sharpness import perturb


def vote(logits: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """Logits t of the voted target: softmax(t / tau) is the mean of softmax(logits / tau) over the first axis.

    Args:
        logits: (teachers, ..., classes).
    """
    logits = checks.tensor("logits", logits, floating=True)
    temperature = checks.number("temperature", temperature, low=0.0, open_low=True)
    if logits.ndim < 2:
        raise ValueError(
            f"logits must have teachers on the first axis and classes on the last, got shape {tuple(logits.shape)}"
        )
    return temperature * (
        torch.log_softmax(logits / temperature, -1).logsumexp(0) - torch.tensor(float(len(logits))).log()
    )


@dataclass(frozen=True)
class VotingTeachers:
    """Self-distillation of a search: ``lab.search.bilevel.run(..., start=VotingTeachers().attach)``.

    Args:
        count: K >= 1 snapshots that vote; 1 is plain self-distillation.
        interval: steps between snapshots.
        weight: gamma; 0 switches the term off.
        temperature: tau.
    """

    count: int = 3
    interval: int = 50
    weight: float = 1.0
    temperature: float = 2.0

    def __post_init__(self):
        checks.integer("count", self.count, low=1)
        checks.integer("interval", self.interval, low=1)
        checks.number("weight", self.weight, low=0.0)
        checks.number("temperature", self.temperature, low=0.0, open_low=True)

    def attach(self, search: Search) -> None:
        """Add the term to the weights' loss of a search; the snapshots are the search's own."""
        snapshots: deque = deque(maxlen=self.count)

        def loss(search, logits, x):
            if search.step_number and search.step_number % self.interval == 0:
                with torch.no_grad():
                    snapshots.append(
                        ({name: value.detach().clone() for name, value in search.parameters.items()}, search.weights())
                    )
            if not snapshots or self.weight == 0:
                return torch.zeros(len(logits))
            with torch.no_grad():
                teachers = torch.stack([search.supernet(parameters, weights, x) for parameters, weights in snapshots])
            return self.weight * self.term(logits, vote(teachers, self.temperature))

        search.extra_loss = loss

    def term(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """tau^2 KL(target || student) of each seed, a mean over items: (seeds, items, classes) twice -> (seeds,)."""
        return distillation_loss(logits, target, temperature=self.temperature, weight=1.0, reduction="none").mean(1)


def moving_teacher(decay: float = 0.99, weight: float = 1.0, temperature: float = 2.0) -> Callable[[Search], None]:
    """The exponential moving average of weights and coefficients as one teacher, an arm of equal cost."""
    checks.number("decay", decay, low=0.0, high=1.0)

    def attach(search: Search) -> None:
        mean: dict = {}

        def loss(search, logits, x):
            with torch.no_grad():
                state = {**search.parameters, "coefficients": search.weights()}
                for name, value in state.items():
                    mean[name] = value.clone() if name not in mean else torch.lerp(mean[name], value, 1 - decay)
                target = search.supernet(
                    {n: v for n, v in mean.items() if n != "coefficients"}, mean["coefficients"], x
                )
            return weight * VotingTeachers(temperature=temperature).term(logits, target)

        search.extra_loss = loss

    return attach


def smoothed_labels(amount: float = 0.1) -> Callable[[Search], None]:
    """Label smoothing of the weights' loss: CE + amount (mean over classes of -log p - CE), up to a constant the usual form."""
    amount = checks.number("amount", amount, low=0.0, high=1.0)

    def attach(search: Search) -> None:
        def loss(search, logits, x):
            log_p = torch.log_softmax(logits, -1)
            y = search.batch("train")[1]
            own = log_p.gather(2, y[..., None])[..., 0]
            return amount * (own - log_p.mean(-1)).mean(1)

        search.extra_loss = loss

    return attach


def flat_step(rho: float = 0.05) -> Callable:
    """First-order DARTS whose weights take a sharpness-aware step (Foret et al., ICLR 2021), an arm of two passes."""

    def step(search: Search, train, validation) -> None:
        if search.moves_alpha:
            (gradient,) = torch.autograd.grad(search.losses(validation).sum(), search.alpha)
            search.move_alpha(gradient)
        with torch.no_grad():
            weights = search.weights()
        moved = _worst(lambda own: search.losses(train, own, weights), search.parameters, rho)
        leaves = {name: value.requires_grad_() for name, value in moved.items()}
        slopes = torch.autograd.grad(search.losses(train, leaves, weights).sum(), list(leaves.values()))
        search.move_weights(sum((value * slope).sum() for value, slope in zip(search.parameters.values(), slopes)))

    return step


def weight_sharpness(found: Searched, x, y, rho: float = 0.05) -> torch.Tensor:
    """(L(w + e) - L(w)) / L(w) of each seed, e of length ``rho`` along the gradient of its cross-entropy on ``x``, ``y``."""

    def losses(own):
        return cross_entropies(found.supernet(own, found.weights, x), y)

    parameters = {name: value.clone().requires_grad_() for name, value in found.parameters.items()}
    with torch.no_grad():
        before = losses(parameters)
    with torch.no_grad():
        return losses(_worst(losses, parameters, rho)) / before - 1


def alpha_sharpness(found: Searched, x, y, rho: float = 0.5) -> torch.Tensor:
    """The same in the architecture weights: (L(alpha + e) - L(alpha)) / L(alpha), (seeds,)."""

    def losses(own):
        return cross_entropies(found.supernet(found.parameters, mix(own["alpha"], found.rule), x), y)

    with torch.no_grad():
        before = losses({"alpha": found.alpha})
    moved = _worst(losses, {"alpha": found.alpha.clone().requires_grad_()}, rho)
    with torch.no_grad():
        return losses(moved) / before - 1


def _worst(losses, parameters, rho):
    """Each seed's parameters moved by ``rho`` along its own gradient."""
    with torch.enable_grad():
        slopes = torch.autograd.grad(losses(parameters).sum(), list(parameters.values()))
    values = {name: value.detach() for name, value in parameters.items()}
    return vmap(lambda p, g: perturb(p, g, rho))(values, dict(zip(parameters, slopes)))
