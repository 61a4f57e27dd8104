r"""Stochastic differential equations that turn data into noise: variance preserving, sub-variance preserving, variance exploding.

.. math:: dx = f(x, t)\,dt + g(t)\,dw, \qquad x(t) \mid x(0) \sim N\bigl(m(t)\,x(0),\ s(t)^2 I\bigr), \qquad 0 \le t \le 1,

with a drift linear in x. With beta(t) = b_0 + t (b_1 - b_0) and B(t) its integral from 0,

======  =================  ============================  ====================  ==================  ==============
        f                  g^2                           m                     s                   p_1 is near
======  =================  ============================  ====================  ==================  ==============
VP      -beta x / 2        beta                          exp(-B/2)             sqrt(1 - exp(-B))   N(0, I)
SubVP   -beta x / 2        beta (1 - exp(-2 B))          exp(-B/2)             1 - exp(-B)         N(0, I)
VE      0                  2 sigma^2 log(s_max/s_min)    1                     sigma               N(0, s_max^2)
======  =================  ============================  ====================  ==================  ==============

and sigma(t) = s_min (s_max/s_min)^t. The reverse process and the flow with the same marginals p_t need the score alone:

.. math:: dx = [f - g^2 \nabla\log p_t]\,dt + g\,d\bar w, \qquad dx/dt = f - \tfrac12 g^2 \nabla\log p_t .

Source: Y. Song, J. Sohl-Dickstein, D. Kingma, A. Kumar, S. Ermon, B. Poole, 'Score-based generative modeling through stochastic
differential equations', ICLR 2021, equations (5), (6), (9), (11), (12), (13), (29) and appendix C. As in the published code, the
kernel of VE has variance sigma(t)^2 and not sigma(t)^2 - sigma(0)^2: p_0 is the data with noise of deviation s_min.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lab import checks

Score = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (x (..., d), t () or x.shape[:-1]) -> (..., d)


def over(value: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``value``, a number or one an item (x.shape[:-1]), ready to multiply ``x`` (..., d)."""
    return value[..., None] if value.ndim else value


@dataclass(frozen=True)
class SDE:
    """What the three processes share. Points are ``x`` (..., d); times ``t`` () or ``x.shape[:-1]``, in [0, 1].

    Attributes:
        last: the time at which sampling, training and likelihoods stop short of 0, where the score may blow up.
    """

    last: float = 1e-3

    def mean(self, t: torch.Tensor) -> torch.Tensor:
        """m(t), what is left of x(0)."""
        raise NotImplementedError

    def std(self, t: torch.Tensor) -> torch.Tensor:
        """s(t), the deviation of the noise."""
        raise NotImplementedError

    def diffusion(self, t: torch.Tensor) -> torch.Tensor:
        """g(t)."""
        raise NotImplementedError

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        """f(x, t) over x."""
        raise NotImplementedError

    def discretized(self, t: torch.Tensor, dt: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The forward step that ends at ``t``: x(t) = a x(t - dt) + G z, as (a, G)."""
        return 1 + self.rate(t) * dt, self.diffusion(t) * math.sqrt(dt)

    @property
    def prior_std(self) -> float:
        """The deviation of the distribution at t = 1, which has mean 0."""
        return 1.0

    def drift(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """f(x, t)."""
        return over(self.rate(t), x) * x

    def noised(self, x: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """m(t) x + s(t) noise."""
        return over(self.mean(t), x) * x + over(self.std(t), x) * noise

    def reverse_drift(self, score: Score, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """f - g^2 score, the drift of the reverse process, to be followed from t = 1 down."""
        return self.drift(x, t) - over(self.diffusion(t) ** 2, x) * score(x, t)

    def flow(self, score: Score, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """f - g^2 score / 2, the probability flow."""
        return self.drift(x, t) - 0.5 * over(self.diffusion(t) ** 2, x) * score(x, t)

    def prior_log_density(self, x: torch.Tensor) -> torch.Tensor:
        """log N(x; 0, prior_std^2 I), one value a point."""
        d, s = x.shape[-1], self.prior_std
        return -0.5 * (x / s).square().sum(-1) - d * math.log(s * math.sqrt(2 * math.pi))


@dataclass(frozen=True)
class VP(SDE):
    """Variance preserving, the limit of DDPM's chain. ``b_0``, ``b_1``: beta at both ends."""

    b_0: float = 0.1
    b_1: float = 20.0

    def __post_init__(self):
        checks.number("b_0", self.b_0, low=0.0)
        checks.number("b_1", self.b_1, low=self.b_0, open_low=True)
        checks.number("last", self.last, low=0.0, high=0.5)

    def beta(self, t: torch.Tensor) -> torch.Tensor:
        return self.b_0 + t * (self.b_1 - self.b_0)

    def integral(self, t: torch.Tensor) -> torch.Tensor:
        """B(t)."""
        return t * self.b_0 + 0.5 * t * t * (self.b_1 - self.b_0)

    def mean(self, t):
        return torch.exp(-0.5 * self.integral(t))

    def std(self, t):
        return torch.sqrt(-torch.expm1(-self.integral(t)))

    def diffusion(self, t):
        return torch.sqrt(self.beta(t))

    def rate(self, t):
        return -0.5 * self.beta(t)

    def discretized(self, t, dt):
        """DDPM's step: a = sqrt(1 - beta dt), G = sqrt(beta dt).

        Raises:
            ValueError: beta(t) dt >= 1, a step too long for the chain.
        """
        share = self.beta(t) * dt
        if float(share.max()) >= 1:
            needed = math.floor(self.b_1) + 1
            raise ValueError(
                f"steps must be at least {needed} for this VP process: a step of {dt:.3g} makes "
                f"beta dt = {float(share.max()):.3g}, and the chain needs it below 1"
            )
        return torch.sqrt(1 - share), torch.sqrt(share)


@dataclass(frozen=True)
class SubVP(VP):
    """Sub-variance preserving: the mean of VP with variance (1 - exp(-B))^2, never above that of VP."""

    def std(self, t):
        return -torch.expm1(-self.integral(t))

    def diffusion(self, t):
        return torch.sqrt(self.beta(t) * -torch.expm1(-2 * self.integral(t)))

    def discretized(self, t, dt):
        """Euler and Maruyama's step, since there is no chain of which this is the limit."""
        return SDE.discretized(self, t, dt)


@dataclass(frozen=True)
class VE(SDE):
    """Variance exploding, the limit of annealed Langevin dynamics (NCSN). ``s_min``, ``s_max``: sigma at both ends."""

    last: float = 1e-5
    s_min: float = 0.01
    s_max: float = 50.0

    def __post_init__(self):
        checks.number("s_min", self.s_min, low=0.0, open_low=True)
        checks.number("s_max", self.s_max, low=self.s_min, open_low=True)
        checks.number("last", self.last, low=0.0, high=0.5)

    def mean(self, t):
        return torch.ones_like(t)

    def std(self, t):
        return self.s_min * torch.exp(t * math.log(self.s_max / self.s_min))

    def diffusion(self, t):
        return self.std(t) * math.sqrt(2 * math.log(self.s_max / self.s_min))

    def rate(self, t):
        return torch.zeros_like(t)

    def discretized(self, t, dt):
        """NCSN's step: a = 1, G^2 = sigma(t)^2 - sigma(t - dt)^2."""
        before = torch.clamp(t - dt, min=0.0)
        return torch.ones_like(t), torch.sqrt(self.std(t) ** 2 - self.std(before) ** 2)

    @property
    def prior_std(self):
        return self.s_max


SDES = {"VP": VP, "sub-VP": SubVP, "VE": VE}
