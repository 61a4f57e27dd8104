r"""Target-based surrogates: pay once for the gradient in the model's outputs, then take several cheap steps on a bound.

With outputs z = f(theta), current outputs z_t and gradient G = grad_z l(z_t), the surrogate is

.. math:: g_t(\theta) = l(z_t) + \langle G, f(\theta) - z_t\rangle + \frac{1}{2\eta}\|f(\theta) - z_t\|^2.

If l is L-smooth in z and eta <= 1/L, then g_t >= l(f(.)) everywhere and they touch at theta_t. One gradient step on g_t of length a
is one gradient step on the loss; solving it exactly is gradient descent in output space projected onto what the model can output.
The loss l is a sum over the batch; with a mean, eta scales by the batch size.

Source: J. W. Lavington, S. Vaswani, R. Babanezhad, M. Schmidt, N. Le Roux, 'Target-based Surrogates for Stochastic Optimization',
ICML 2023, equations (2) to (5), Algorithm 1. The published code minimizes mean(G z/e + (z - z_t)^2), so that eta = 1/(2 e).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from lab import checks
from lab.kernels.precision import wide

SCHEDULES = ("constant", "decreasing", "exponential")


def target_surrogate(z: torch.Tensor, z_t: torch.Tensor, gradient: torch.Tensor, eta: float) -> torch.Tensor:
    """<G, z - z_t> + ||z - z_t||^2/(2 eta): the surrogate without its constant l(z_t).

    Args:
        z: outputs at the parameters in question.
        z_t, gradient: outputs and gradient of the summed loss at the centre, shape of ``z``.
        eta: step in output space, greater than 0.
    """
    checks.same_shape("z", z, "z_t", z_t)
    checks.same_shape("z", z, "gradient", gradient)
    eta = checks.number("eta", eta, low=0.0, open_low=True)
    change = wide(z) - wide(z_t.detach())
    return (wide(gradient.detach()) * change).sum() + change.square().sum() / (2 * eta)


@dataclass(frozen=True)
class Step:
    """One outer step: the loss before it, the surrogate's decrease, inner steps taken and the norm of the last inner gradient."""

    loss: float
    decrease: float
    inner_steps: int
    gradient_norm: float


class SSO:
    """Surrogate optimizer of a model whose loss gradient in the outputs is expensive.

    Args:
        model: inputs -> outputs; in evaluation mode where it has dropout or batch normalization (the surrogate would not touch).
        eta: step in output space for the summed loss; 1/L guarantees descent (logistic loss: 4; softmax cross-entropy: 2).
        inner_steps: gradient steps on each surrogate.
        inner: ``"armijo"`` (backtracking line search) or a float, the fixed length of inner steps.
        armijo: share c of the promised decrease that a step of the line search must reach. On the surrogate of a linear model,
            which is quadratic, 1/2 accepts the steps that stay on this side of the minimum along the gradient; a smaller c lets
            a single step run up to 2 (1 - c) times as far, which acts like a larger eta (the published code takes 0.1).
        schedule: of eta over outer steps: ``"constant"``, ``"decreasing"`` (1/sqrt(t)) or ``"exponential"`` (T^(-t/T)).
        horizon: T of the exponential schedule.
    """

    def __init__(
        self,
        model: nn.Module,
        eta: float,
        inner_steps: int = 10,
        inner: str | float = "armijo",
        *,
        armijo: float = 0.5,
        schedule: str = "constant",
        horizon: int = 100,
    ):
        self.model = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("model has no parameters that require gradients")
        self.eta = checks.number("eta", eta, low=0.0, open_low=True)
        self.inner_steps = checks.integer("inner_steps", inner_steps, low=1)
        self.inner = inner if inner == "armijo" else checks.number("inner", inner, low=0.0, open_low=True)
        self.armijo = checks.number("armijo", armijo, low=0.0, high=1.0, open_low=True)
        self.schedule = checks.choice("schedule", schedule, SCHEDULES)
        self.horizon = checks.integer("horizon", horizon, low=1)
        self.outer_steps = 0

    def step(self, inputs: torch.Tensor, oracle: Callable[[torch.Tensor], tuple[float, torch.Tensor]]) -> Step:
        """One call of ``oracle(outputs) -> (summed loss, gradient)`` and up to ``inner_steps`` steps on its surrogate."""
        with torch.no_grad():
            z_t = self.model(inputs)
        loss, gradient = oracle(z_t.clone())
        if tuple(gradient.shape) != tuple(z_t.shape):
            raise ValueError(f"oracle must return a gradient of shape {tuple(z_t.shape)}, got {tuple(gradient.shape)}")
        eta = self._eta()
        self.outer_steps += 1
        length, value, norm, taken = 10.0, 0.0, 0.0, 0
        for _ in range(self.inner_steps):
            surrogate = target_surrogate(self.model(inputs), z_t, gradient, eta)
            value = float(surrogate.detach())
            slopes = torch.autograd.grad(surrogate, self.parameters)
            norm = float(sum(s.square().sum() for s in slopes)) ** 0.5
            if norm < 1e-6:
                break
            taken += 1
            if self.inner == "armijo":
                length, value = self._backtrack(inputs, z_t, gradient, eta, slopes, norm, value, length)
            else:
                self._move(slopes, self.inner)
        if self.inner != "armijo":
            with torch.no_grad():
                value = float(target_surrogate(self.model(inputs), z_t, gradient, eta))
        return Step(float(loss), -value, taken, norm)

    def _eta(self):
        if self.schedule == "decreasing":
            return self.eta / (self.outer_steps + 1) ** 0.5
        if self.schedule == "exponential":
            return self.eta * self.horizon ** (-self.outer_steps / self.horizon)
        return self.eta

    @torch.no_grad()
    def _move(self, slopes, length):
        for p, s in zip(self.parameters, slopes):
            p.sub_(length * s)

    @torch.no_grad()
    def _backtrack(self, inputs, z_t, gradient, eta, slopes, norm, value, length):
        """Shrink the step until the surrogate falls by the share ``armijo`` of what its slope promises; grow it for the next."""
        length *= 1.8
        for _ in range(200):
            self._move(slopes, length)
            moved = float(target_surrogate(self.model(inputs), z_t, gradient, eta))
            if moved <= value - self.armijo * length * norm**2:
                return length, moved
            self._move(slopes, -length)
            length *= 0.7
        return length, value


def loss_oracle(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], target: torch.Tensor):
    """An oracle for :meth:`SSO.step` from a loss ``(outputs, target) -> summed loss``."""

    def oracle(z):
        z = z.detach().requires_grad_()
        value = loss(z, target)
        (gradient,) = torch.autograd.grad(value, z)
        return float(value.detach()), gradient

    return oracle
