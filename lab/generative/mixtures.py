r"""Mixtures of Gaussians whose density, score and posterior mean stay exact when noise is added: the oracle of the room.

For p = sum_k w_k N(mu_k, v_k I) and x_t = m x_0 + s z with z ~ N(0, I),

.. math:: p_t = \sum_k w_k N(m \mu_k,\ (m^2 v_k + s^2) I), \qquad
          \nabla \log p_t(x) = \sum_k r_k(x)\,\frac{m \mu_k - x}{m^2 v_k + s^2}, \qquad
          E[x_0 \mid x] = \sum_k r_k(x) \Bigl(\mu_k + \frac{m v_k}{m^2 v_k + s^2} (x - m \mu_k)\Bigr),

r_k the responsibilities. The last two agree through Tweedie's formula, m E[x_0 | x] = x + s^2 grad log p_t(x). With v_k = 0 the
mixture is a finite set of points, with one v for all it is a kernel density estimate.

Source: elementary; Tweedie's formula: B. Efron, 'Tweedie's formula and selection bias', JASA 2011, equation (1.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lab import checks


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """sum_k w_k N(mu_k, std_k^2 I).

    Args:
        means: (components, d).
        stds: one for all or (components,), at least 0.
        weights: (components,), positive; divided by their sum. Equal where not given.

    All parameters are kept in float64 on the device of ``means`` and everything is computed there; results have the dtype of the
    points asked for.

    Raises:
        ValueError, TypeError: parameters that cannot be.

    >>> pair = GaussianMixture(torch.tensor([[-1.0], [1.0]]), 0.5)
    >>> float(pair.score(torch.zeros(1, 1)))
    0.0
    """

    means: torch.Tensor
    stds: torch.Tensor
    weights: torch.Tensor

    def __init__(self, means, stds, weights=None):
        means = checks.tensor("means", means, ndim=2).double()
        k = len(means)
        stds = torch.as_tensor(stds, device=means.device)
        stds = (
            checks.tensor("stds", stds, ndim=(0, 1)).double().expand(k)
            if stds.ndim == 0
            else checks.tensor("stds", stds, shape=(k,)).double()
        )
        if bool((stds < 0).any()):
            raise ValueError(f"stds must be at least 0, got {float(stds.min()):.4g}")
        weights = means.new_ones(k) if weights is None else checks.tensor("weights", weights, shape=(k,)).double()
        if bool((weights <= 0).any()):
            raise ValueError(f"weights must be positive, got {float(weights.min()):.4g}")
        for name, value in (("means", means), ("stds", stds), ("weights", weights / weights.sum())):
            object.__setattr__(self, name, value)

    @classmethod
    def ring(cls, components: int = 8, radius: float = 1.5, std: float = 0.2) -> GaussianMixture:
        """Equal components on a circle in the plane."""
        angle = torch.arange(checks.integer("components", components, low=1)).double() * (2 * math.pi / components)
        return cls(radius * torch.stack([angle.cos(), angle.sin()], 1), std)

    @property
    def dimension(self) -> int:
        return self.means.shape[1]

    def log_density(self, x: torch.Tensor, mean=1.0, std=0.0) -> torch.Tensor:
        """log p_t at points ``x`` (..., d), one value each, at m = ``mean`` and s = ``std``, numbers or one a point."""
        x, given = self._points(x), x.dtype
        return self._joint(x, mean, std)[0].logsumexp(-1).to(given)

    def responsibilities(self, x: torch.Tensor, mean=1.0, std=0.0) -> torch.Tensor:
        """r_k(x): (..., components), sums to 1."""
        x, given = self._points(x), x.dtype
        return self._joint(x, mean, std)[0].softmax(-1).to(given)

    def score(self, x: torch.Tensor, mean=1.0, std=0.0) -> torch.Tensor:
        """grad log p_t at points ``x`` (..., d)."""
        x, given = self._points(x), x.dtype
        joint, variance, m = self._joint(x, mean, std)
        share = joint.softmax(-1) / variance
        return (m * (share @ self.means) - share.sum(-1, keepdim=True) * x).to(given)

    def posterior_mean(self, x: torch.Tensor, mean=1.0, std=0.0) -> torch.Tensor:
        """E[x_0 | x_t = x] for ``x`` (..., d)."""
        x, given = self._points(x), x.dtype
        joint, variance, m = self._joint(x, mean, std)
        r = joint.softmax(-1)
        gain = m * self.stds.square() / variance
        kept = (r * gain).sum(-1, keepdim=True)
        return ((r * (1 - m * gain)) @ self.means + kept * x).to(given)

    def noised(self, mean: float, std: float) -> GaussianMixture:
        """The mixture p_t itself, for numbers m and s."""
        return GaussianMixture(mean * self.means, torch.sqrt((mean * self.stds) ** 2 + std**2), self.weights)

    def at(self, sde):
        """The exact score of p_t under ``sde`` as a function (x, t)."""
        return lambda x, t: self.score(x, sde.mean(t), sde.std(t))

    def denoiser(self, sde):
        """The exact E[x_0 | x_t] under ``sde`` as a function (x, t)."""
        return lambda x, t: self.posterior_mean(x, sde.mean(t), sde.std(t))

    def sample(self, count: int, seed: int | torch.Generator = 0) -> torch.Tensor:
        """Independent points (count, d), float64."""
        generator = checks.generator(seed, self.means.device)
        count = checks.integer("count", count, low=1)
        k = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.dimension, generator=generator, dtype=torch.float64, device=self.means.device)
        return self.means[k] + self.stds[k, None] * noise

    def condition(self, known: torch.Tensor, values: torch.Tensor) -> GaussianMixture:
        """The law of the other coordinates given those where ``known`` (d,) is true: a mixture in fewer dimensions.

        Args:
            values: (known.sum(),), what was seen.
        """
        known = checks.tensor("known", known, shape=(self.dimension,)).bool()
        values = checks.tensor("values", values, shape=(int(known.sum()),)).double()
        if bool(known.all()) or bool((self.stds == 0).any()):
            raise ValueError("known must leave a coordinate open, and every component needs a positive deviation")
        joint = (
            GaussianMixture(self.means[:, known], self.stds, self.weights)._joint(values, 1.0, 0.0)[0]
            if bool(known.any())
            else self.weights.log()
        )
        weights = joint.softmax(-1)
        return GaussianMixture(self.means[:, ~known], self.stds, weights.clamp_min(1e-300))

    def _points(self, x):
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            raise TypeError(f"x must be a floating-point tensor, got {getattr(x, 'dtype', type(x).__name__)}")
        if x.ndim < 1 or x.shape[-1] != self.dimension:
            raise ValueError(f"x must end in {self.dimension} coordinates, got shape {tuple(x.shape)}")
        return x.double()

    def _joint(self, x, mean, std):
        """log w_k + log N(x; m mu_k, m^2 v_k + s^2), the variances and m, each with a last axis."""
        m, s = (torch.as_tensor(value, dtype=torch.float64, device=x.device)[..., None] for value in (mean, std))
        variance = (m * self.stds) ** 2 + s**2
        centre = self.means.mean(0)
        y, mu = x - m * centre, self.means - centre
        distance = (y.square().sum(-1, keepdim=True) - 2 * m * (y @ mu.T) + m**2 * mu.square().sum(1)).clamp_min(0)
        normal = -0.5 * distance / variance - 0.5 * self.dimension * torch.log(2 * math.pi * variance)
        return normal + self.weights.log(), variance, m
