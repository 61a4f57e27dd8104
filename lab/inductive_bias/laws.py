"""Loss laws: the distribution of the test loss of a hypothesis drawn from a space, as far as it is known.

:class:`GaussianQuadraticLaw` knows it exactly (kernel spaces, squared error), :class:`DiscreteLaw` lists it,
:class:`SampleLaw` holds draws, :class:`EnergyLaw` can evaluate the loss of any latent normal vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from lab import checks
from lab.kernels.chi_square import Tail, chi_square_tail

LOG2 = math.log(2)


@dataclass(frozen=True, eq=False)
class GaussianQuadraticLaw:
    """Mean squared error of a Gaussian process posterior.

    The prediction errors on ``n`` test points and ``k`` outputs are normal with mean ``d (n, k)`` and, for each output,
    covariance ``S = U diag(lambda) U'``. With ``D_i = |(U'd)_i|^2`` the summed squared error is

        n k loss = floor + sum_i lambda_i chi2'_k(D_i / lambda_i),

    where ``floor`` collects ``D`` of the directions in which ``S`` is zero to rounding: the part of the loss that no
    hypothesis of the space can avoid.

    Args:
        eigenvalues: ``(r,)`` positive ``lambda``.
        shifts: ``(r,)`` the ``D``.
        outputs: ``k``.
        floor: the unavoidable part of the summed squared error.
        count: ``n k``, the number of squared errors that the loss averages.
        modes: ``(n, r)`` the ``U``, for the bit map; ``errors``: ``(n, k)`` the ``d``.
        coarser: the same law with the rank decided at a cut a hundred times coarser; the bits must not depend on it.
        fits_training: whether the space contains a function that fits the training set.
        meta: what the law depends on (sizes, amplitude, width, noise, conditioning).
    """

    eigenvalues: torch.Tensor
    shifts: torch.Tensor
    outputs: int
    floor: float
    count: int
    modes: torch.Tensor | None = None
    errors: torch.Tensor | None = None
    coarser: GaussianQuadraticLaw | None = None
    fits_training: bool = True
    meta: dict = field(default_factory=dict)

    def __post_init__(self):
        values = checks.tensor("eigenvalues", self.eigenvalues, ndim=1, empty=True)
        shifts = checks.tensor("shifts", self.shifts, ndim=1, empty=True)
        checks.same_shape("eigenvalues", values, "shifts", shifts)
        checks.integer("outputs", self.outputs, low=1)
        checks.integer("count", self.count, low=1)
        checks.number("floor", self.floor, low=0.0)
        if bool((values <= 0).any()):
            raise ValueError("eigenvalues must be positive; add the shifts of zero directions to floor")
        object.__setattr__(self, "eigenvalues", values.double())
        object.__setattr__(self, "shifts", shifts.double())

    def tail(self, eps) -> Tail:
        """``log P(loss <= eps)``, its complement and the log density of the loss, at each ``eps``."""
        q = torch.as_tensor(eps, dtype=torch.float64) * self.count - self.floor
        if len(self.eigenvalues) == 0:
            # a space of one function: its loss is the floor; the slack is the rounding of the floor itself
            inside = q >= -1e-12 * self.floor
            zero, minus = torch.zeros_like(q), torch.full_like(q, -math.inf)
            return Tail(torch.where(inside, zero, minus), torch.where(inside, minus, zero), minus, minus)
        tail = chi_square_tail(self.eigenvalues, self.shifts, float(self.outputs), q)
        return tail._replace(log_density=tail.log_density + math.log(self.count))

    def nats(self, eps) -> torch.Tensor:
        """``-log P(loss <= eps)``; infinite below the floor, and everywhere if no function fits the training set."""
        nats = -self.tail(eps).log_cdf
        return nats if self.fits_training else torch.full_like(nats, math.inf)

    @property
    def mean(self) -> float:
        return float((self.outputs * self.eigenvalues + self.shifts).sum() + self.floor) / self.count

    @property
    def standard_deviation(self) -> float:
        variance = 2 * self.outputs * self.eigenvalues**2 + 4 * self.eigenvalues * self.shifts
        return math.sqrt(float(variance.sum())) / self.count

    @property
    def minimum(self) -> float:
        """The smallest loss that the space can reach: the floor per squared error."""
        return self.floor / self.count

    @property
    def posterior_mean_loss(self) -> float:
        """The loss of the posterior mean."""
        return (float(self.shifts.sum()) + self.floor) / self.count

    @property
    def effective_directions(self) -> float:
        """``(sum lambda)^2 / sum lambda^2``: how many directions the loss of a draw averages over."""
        if len(self.eigenvalues) == 0:
            return 0.0
        return float(self.eigenvalues.sum() ** 2 / (self.eigenvalues**2).sum())

    def quantile(self, bits) -> torch.Tensor:
        """The ``eps`` at which the required bits are ``bits`` (bisection on the exact tail)."""
        bits = torch.as_tensor(bits, dtype=torch.float64).reshape(-1)
        low = torch.full_like(bits, self.minimum)
        high = torch.full_like(bits, self.mean + 40 * self.standard_deviation)
        for _ in range(100):
            middle = torch.where(low > 0, torch.sqrt(low * high), 0.5 * (low + high))
            harder = -self.tail(middle).log_cdf > bits * LOG2
            low, high = torch.where(harder, middle, low), torch.where(harder, high, middle)
        return high

    def sample(self, size: int, *, seed: int | torch.Generator = 0) -> torch.Tensor:
        """``size`` independent losses ``(size,)``."""
        generator = checks.generator(seed)
        size = checks.integer("size", size, low=1)
        losses = torch.full((size,), self.floor, dtype=torch.float64)
        offset = (self.shifts / self.eigenvalues).sqrt()
        block = max(1, 2_000_000 // max(1, len(self.eigenvalues)))
        for start in range(0, size, block):
            part = slice(start, min(start + block, size))
            rows = losses[part].shape[0]
            for output in range(self.outputs):
                z = torch.randn(rows, len(self.eigenvalues), generator=generator, dtype=torch.float64)
                losses[part] += ((z + offset * (output == 0)) ** 2) @ self.eigenvalues
        return losses / self.count

    def energy_law(self) -> EnergyLaw:
        """The same law as an energy on ``r k`` latent normals, for rare-event sampling against the known answer."""
        values, k = self.eigenvalues, self.outputs
        offset = (self.shifts / values).sqrt()

        def energy(latent):
            z = latent.reshape(-1, len(values), k).clone()
            z[:, :, 0] += offset
            return ((z**2).sum(2) @ values + self.floor) / self.count

        return EnergyLaw(energy, len(values) * k, meta=dict(self.meta))


@dataclass(frozen=True, eq=False)
class DiscreteLaw:
    """Finitely many hypotheses with known weights.

    Args:
        losses: ``(m,)`` test losses.
        log_weights: ``(m,)`` natural logarithms of weights, normalized here; equal if ``None``.
    """

    losses: torch.Tensor
    log_weights: torch.Tensor | None = None
    meta: dict = field(default_factory=dict)

    def __post_init__(self):
        losses = checks.tensor("losses", self.losses, ndim=1).double()
        if self.log_weights is None:
            weights = torch.full_like(losses, -math.log(len(losses)))
        else:
            weights = checks.tensor("log_weights", self.log_weights, ndim=1, finite=False).double()
            checks.same_shape("losses", losses, "log_weights", weights)
            if bool(torch.isnan(weights).any()) or not math.isfinite(float(weights.logsumexp(0))):
                raise ValueError("log_weights must hold finite values or -inf, at least one finite")
            weights = weights - weights.logsumexp(0)
        object.__setattr__(self, "losses", losses)
        object.__setattr__(self, "log_weights", weights)

    def nats(self, eps) -> torch.Tensor:
        """``-log P(loss <= eps)`` by summation."""
        assert self.log_weights is not None  # set when the law is made
        eps = torch.as_tensor(eps, dtype=torch.float64)
        inside = self.losses <= eps[..., None]
        log_p = torch.where(inside, self.log_weights, torch.full_like(self.log_weights, -math.inf)).logsumexp(-1)
        return (-log_p).clamp_min(0)


@dataclass(frozen=True, eq=False)
class SampleLaw:
    """Independent draws of the test loss, and of the training loss where it was recorded.

    Args:
        losses: ``(m,)`` test losses.
        train_losses: ``(m,)``; with ``tolerance``, draws whose training loss exceeds it do not belong to the law.
        tolerance: the largest training loss at which a hypothesis counts as fitting the training set.
        optimizer: whether the draws come from training runs: the law of an optimizer, not a prior's posterior.
        losses_rejected: test losses of the draws that do not fit (kept for plots).
    """

    losses: torch.Tensor
    train_losses: torch.Tensor | None = None
    tolerance: float | None = None
    optimizer: bool = False
    meta: dict = field(default_factory=dict)
    drawn: int = field(init=False, default=0)

    def __post_init__(self):
        losses = checks.tensor("losses", self.losses, ndim=1).double()
        if bool((losses < 0).any()):
            raise ValueError(f"losses must not be negative, got {float(losses.min())}")
        object.__setattr__(self, "drawn", len(losses))
        if self.train_losses is not None:
            train = checks.tensor("train_losses", self.train_losses, ndim=1).double()
            checks.same_shape("losses", losses, "train_losses", train)
            if self.tolerance is not None:
                keep = train <= checks.number("tolerance", self.tolerance, low=0.0)
                losses, train = losses[keep], train[keep]
            object.__setattr__(self, "train_losses", train)
        object.__setattr__(self, "losses", losses.sort().values if self.train_losses is None else losses)


@dataclass(frozen=True, eq=False)
class EnergyLaw:
    """A loss that can be evaluated at any latent vector of independent standard normals.

    Args:
        energy: maps ``(batch, dimension)`` float64 latents to ``(batch,)`` losses.
        dimension: number of latent normals.
        constraint: maps latents to training losses; the law is that of the energy given ``constraint <= tolerance``.
        tolerance: see ``constraint``.
    """

    energy: Callable[[torch.Tensor], torch.Tensor]
    dimension: int
    constraint: Callable[[torch.Tensor], torch.Tensor] | None = None
    tolerance: float = 0.0
    meta: dict = field(default_factory=dict)

    def __post_init__(self):
        checks.integer("dimension", self.dimension, low=1)
        checks.number("tolerance", self.tolerance, low=0.0)
        if not callable(self.energy):
            raise TypeError(f"energy must be a function of latents, got {type(self.energy).__name__}")

    def sample(self, size: int, *, seed: int | torch.Generator = 0, block: int = 4096) -> torch.Tensor:
        """Losses of ``size`` unconditioned draws ``(size,)``."""
        generator = checks.generator(seed)
        parts = []
        for start in range(0, checks.integer("size", size, low=1), block):
            rows = min(block, size - start)
            parts.append(self.energy(torch.randn(rows, self.dimension, generator=generator, dtype=torch.float64)))
        return torch.cat(parts).double()
