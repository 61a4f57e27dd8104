"""The published route, step by step: iterative conditioning, drawn functions, SciPy's fit, a tail in linear space.

Kept as what the exact law is compared with. Its steps: RBF of width one and amplitude one; ``alpha = K^-1 Y`` and
``A = K^-1 K_t*`` by Adam on squared residuals (learning rates 1e-2 and 1e-3, batches of rows, many epochs); draws
``K_*t alpha + sqrtm(K_** - K_*t A) z``; ``scipy.stats.ncx2.fit`` with location zero; ``-logcdf``, and Sankaran's normal
approximation where that overflows. Networks are trained one after the other (:func:`train_in_turn`). Three traits of the
kernel route make it fail in silence: Adam does not converge where ``K`` is
ill-conditioned, so that the covariance it implies is not symmetric; SciPy's fit often stops far from the optimum and
changes with the unit of the losses; and ``logcdf`` is ``log(cdf)``, which is ``-inf`` from about 530 nats.

Source: Boopathy, Yue, Hwang, Iyer, Fiete, 'Towards Exact Computation of Inductive Bias', IJCAI 2024; M. Sankaran,
'Approximations to the Non-Central Chi-Square Distribution', Biometrika 1963.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from lab import checks
from lab.inductive_bias.laws import LOG2
from lab.inductive_bias.task import Task


@dataclass(frozen=True)
class PublishedFit:
    """SciPy's ``scale * ncx2(dof, shift)`` with location zero."""

    dof: float
    shift: float
    scale: float

    def bits(self, eps: float) -> float:
        """``-logcdf`` in bits, or Sankaran's form where that is infinite (see :meth:`route`)."""
        nats = self._nats(eps)
        return (nats if math.isfinite(nats) else sankaran_nats(eps / self.scale, self.dof, self.shift)) / LOG2

    def route(self, eps: float) -> str:
        """``"distribution"`` or ``"Sankaran"``."""
        return "distribution" if math.isfinite(self._nats(eps)) else "Sankaran"

    def _nats(self, eps):
        from scipy.stats import ncx2

        eps = checks.number("eps", eps, low=0.0, open_low=True)
        with np.errstate(all="ignore"):
            return -float(ncx2.logcdf(eps, self.dof, self.shift, 0, self.scale))


def scipy_fit(losses) -> PublishedFit:
    """The published fit of drawn losses, with SciPy's optimizer from SciPy's starting point."""
    from scipy.stats import ncx2

    x = checks.tensor("losses", losses, ndim=1).double().numpy()
    with np.errstate(all="ignore"):
        dof, shift, _, scale = ncx2.fit(x, floc=0)
    return PublishedFit(float(dof), float(shift), float(scale))


def sankaran_nats(q: float, dof: float, shift: float) -> float:
    """``z^2 / 2`` of Sankaran's power-normal score: the leading exponent without its prefactor.

    ``(q / (dof + shift))^h`` is nearly normal with ``h = 1 - 2 (dof + shift)(dof + 3 shift) / (3 (dof + 2
    shift)^2)``; as ``q`` falls to zero the score tends to a constant, so that the value saturates where the truth
    diverges.
    """
    total, second, third = dof + shift, dof + 2 * shift, dof + 3 * shift
    h = 1 - 2 * total * third / (3 * second**2)
    p = second / total**2
    m = (h - 1) * (1 - 3 * h)
    mean = 1 + h * p * (h - 1 - 0.5 * (2 - h) * m * p)
    deviation = h * math.sqrt(2 * p) * (1 + 0.5 * m * p)
    return ((q / total) ** h - mean) ** 2 / (2 * deviation**2)


def condition_by_adam(
    task: Task, *, width: float = 1.0, epochs: int = 10_000, batch: int = 5, group: int = 10, seed: int = 0
):
    """``(mean, covariance)`` at the test points as the published route finds them, with Adam in place of a factorization.

    One epoch visits all training rows in batches; for each batch the kernel is evaluated anew against groups of
    training rows, so that no ``n x n`` matrix is ever held. One epoch's cost times ``epochs`` is the route's cost.
    """
    from lab.inductive_bias.covariances import RBF

    checks.integer("epochs", epochs, low=1)
    kernel = RBF(width)
    x, u = task.train_inputs, task.test_inputs
    alpha = _adam_solve(kernel, x, lambda rows: task.train_targets[rows], 1e-2, epochs, batch, group, seed)
    solved = _adam_solve(kernel, x, lambda rows: kernel(x[rows], u), 1e-3, epochs, batch, group, seed)
    cross = kernel(u, x)
    return cross @ alpha, kernel(u, u) - cross @ solved


def train_in_turn(
    network,
    task: Task,
    *,
    networks: int,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> torch.Tensor:
    """Test losses ``(networks,)`` as the published route draws them: one network after the other, data from loaders.

    Each network (``network(seed + i)``) sees shuffled batches, squared error to the targets, Adam, and is tested after
    every epoch; its last test loss is one draw. The loss here is the mean over all points and outputs; the published
    loop divides a sum of batch means by the number of points, so that its unit carries the batch size.
    """
    from torch.utils.data import DataLoader, TensorDataset

    checks.integer("networks", networks, low=1)
    train = TensorDataset(task.train_inputs.float(), task.train_targets.float())
    test = DataLoader(TensorDataset(task.test_inputs.float(), task.test_targets.float()), batch_size)
    losses = []
    for index in range(networks):
        model = network(seed + index)
        optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
        batches = DataLoader(train, batch_size, shuffle=True, generator=checks.generator(seed + index))
        for _ in range(checks.integer("epochs", epochs, low=1)):
            model.train()
            for x, y in batches:
                optimizer.zero_grad()
                torch.nn.functional.mse_loss(model(x), y).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                total = sum(float(torch.nn.functional.mse_loss(model(x), y)) * len(x) for x, y in test)
        losses.append(total / task.n_test)
    return torch.tensor(losses, dtype=torch.float64)


def _adam_solve(kernel, x, right, rate, epochs, batch, group, seed):
    """``K^-1 right`` by Adam on batches of rows of the residual, the product summed over groups of columns."""
    everything = torch.arange(len(x))
    solution = torch.zeros(len(x), right(everything[:1]).shape[1], dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([solution], lr=rate)
    generator = checks.generator(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(batch):
            wanted = right(rows)
            product = torch.zeros_like(wanted)
            for columns in torch.randperm(len(x), generator=generator).split(group):
                product = product + kernel(x[rows], x[columns]) @ solution[columns]
            optimizer.zero_grad()
            ((product - wanted) ** 2).mean().backward()
            optimizer.step()
    return solution.detach()
