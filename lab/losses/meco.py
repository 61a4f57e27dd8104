r"""Unnormalized models by compositional optimization: the likelihood itself, with a running average for the partition function.

For an unnormalized density pt_theta with Z(theta) = int pt_theta, and noise q that can be sampled and evaluated,

.. math:: F(\theta) = -\mathbb E_{data} \log \tilde p_\theta(x) + \log \mathbb E_{z \sim q}\frac{\tilde p_\theta(z)}{q(z)}.

The inner expectation is tracked by u <- (1 - gamma) u + gamma mean_z pt/q, in log space, and the gradient estimate is

.. math:: -\nabla \log \tilde p_\theta(x) + \frac{\tilde p_\theta(z)}{u\, q(z)} \nabla \log \tilde p_\theta(z).

Noise contrast for comparison: logistic regression between data and noise on log pt - c - log q, with c learned as log Z.

Source: W. Jiang, J. Qin, L. Wu, C. Chen, T. Yang, L. Zhang, 'Learning Unnormalized Statistical Models via Compositional
Optimization', ICML 2023, equations (2) to (5). Noise contrast: M. Gutmann, A. Hyvarinen, AISTATS 2010.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import nn

from lab import checks
from lab.kernels.precision import wide
from lab.training.trackers import log_running_mean


class MECOLoss(nn.Module):
    """The compositional likelihood loss with its tracker of log Z.

    Args:
        noise: a distribution with ``sample(shape)`` and ``log_prob``, whose draws are items; wider than the data, or the inner
            estimate has infinite variance.
        gamma: weight of the newest batch in the tracker, in (0, 1]; 1 is self-normalized importance sampling.
        noise_samples: draws a call; ``None`` takes as many as data.

    ``forward(log_density, x)``: ``log_density(items) -> log pt`` is called on data and noise. The returned value is the
    likelihood loss with the tracked log Z; its gradient is the estimate above. ``log_u`` estimates log Z; in ``eval()`` the
    batch moves the value as in training, and ``log_u`` stays.
    """

    log_u: torch.Tensor

    def __init__(self, noise: torch.distributions.Distribution, gamma: float = 0.5, noise_samples: int | None = None):
        super().__init__()
        self.noise = noise
        self.gamma = checks.number("gamma", gamma, low=0.0, high=1.0, open_low=True)
        self.noise_samples = None if noise_samples is None else checks.integer("noise_samples", noise_samples, low=1)
        self.register_buffer("log_u", torch.tensor(math.nan, dtype=torch.float64))

    def forward(
        self, log_density: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, *, z: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss at data ``x``; ``z`` are noise draws (drawn from ``noise`` and the global generator where not given).

        Raises:
            ValueError: infinite or NaN densities of data, or a batch of noise whose mean of pt/q is zero or not finite; the
                tracker is then left as it was.
        """
        x = checks.tensor("x", x, floating=True)
        z = self.noise.sample((self.noise_samples or len(x),)).to(x) if z is None else z
        log_z = _density("log_density(z)", log_density(z), len(z))
        log_weight = log_z.detach().double() - self.noise.log_prob(z).reshape(len(z), -1).sum(1).detach().double()
        fresh = torch.logsumexp(log_weight, 0) - math.log(len(z))
        if not bool(torch.isfinite(fresh)):
            raise ValueError(
                f"log_density(z) must give a finite mean of pt/q over {len(z)} draws of noise, got a logarithm of {float(fresh)}"
            )
        data = _density("log_density(x)", log_density(x), len(x))
        checks.refuse_nonfinite("log_density(x)", data)
        log_u = log_running_mean(self.log_u, fresh, self.gamma)
        if self.training:
            self.log_u.copy_(log_u)
        importance = torch.exp(log_weight - log_u).to(log_z)
        # draws outside of the support have density zero and no gradient
        inner = (importance * torch.where(importance > 0, log_z, 0.0)).mean()
        # the value is the tracked likelihood, the gradient that of -data + inner
        return -data.mean() + inner - inner.detach() + log_u.to(data)


def nce_loss(
    log_density_x: Float[torch.Tensor, " n"],
    log_noise_x: Float[torch.Tensor, " n"],
    log_density_z: Float[torch.Tensor, " m"],
    log_noise_z: Float[torch.Tensor, " m"],
    c: torch.Tensor | float,
) -> torch.Tensor:
    """Noise-contrastive loss -E_data log sigmoid(r) - E_noise log(1 - sigmoid(r)) with r = log pt - c - log q."""
    log_density_x, log_noise_x, log_density_z, log_noise_z = (
        wide(each) for each in (log_density_x, log_noise_x, log_density_z, log_noise_z)
    )
    data = nn.functional.softplus(-(log_density_x - c - log_noise_x)).mean()
    noise = nn.functional.softplus(log_density_z - c - log_noise_z).mean()
    return data + noise


def gaussian_slopes(mean: float, scale: float, theta: float, *, points: int = 20001) -> dict[str, float]:
    r"""Slopes in theta of both population losses for data N(R, 1), model exp(theta x - x^2/2), noise N(0, s^2), by quadrature.

    Noise contrast is taken along c = log Z(theta), the best it could do. The likelihood's slope is theta - R exactly.

    Args:
        mean: R.
        scale: s > 0.
        theta: where the slope is taken.

    Returns:
        ``likelihood`` and ``noise contrast``.
    """
    scale = checks.number("scale", scale, low=0.0, open_low=True)
    half = 12 * max(1.0, scale) + abs(mean) + abs(theta)
    x = torch.linspace(-half, half, points, dtype=torch.float64)
    step = x[1] - x[0]
    log_data = -0.5 * (x - mean) ** 2 - 0.5 * math.log(2 * math.pi)
    log_noise = -0.5 * (x / scale) ** 2 - 0.5 * math.log(2 * math.pi) - math.log(scale)
    log_model = theta * x - x**2 / 2 - (theta**2 / 2 + 0.5 * math.log(2 * math.pi))
    r = log_model - log_noise
    # d r/d theta = x - theta along c = log Z(theta)
    slope = (log_noise.exp() * torch.sigmoid(r) - log_data.exp() * torch.sigmoid(-r)) * (x - theta)
    return {"likelihood": theta - mean, "noise contrast": float(slope.sum() * step)}


def estimate_gaussian_mean(
    mean: float,
    scale: float,
    *,
    method: str = "meco",
    steps: int = 2000,
    batch: int = 256,
    learning_rate: float = 0.1,
    gamma: float = 0.5,
    clip: float = 0.2,
    seed: int = 0,
) -> torch.Tensor:
    """|theta - R| after every step of stochastic descent from theta = 0 with rate ``learning_rate / sqrt(1 + t/50)``.

    Data N(R, 1), model exp(theta x - x^2/2), noise N(0, s^2), fresh batches; steps are cut to ``clip``. Both methods
    (``"meco"``, ``"nce"``) have the same schedule; the constant c of noise contrast starts at the true log Z.
    """
    checks.choice("method", method, ("meco", "nce"))
    generator = checks.generator(seed)
    theta, c = torch.zeros((), dtype=torch.float64), torch.tensor(0.5 * math.log(2 * math.pi), dtype=torch.float64)
    log_u, errors = torch.tensor(math.nan, dtype=torch.float64), []
    for t in range(checks.integer("steps", steps, low=1)):
        x = mean + torch.randn(batch, generator=generator, dtype=torch.float64)
        z = scale * torch.randn(batch, generator=generator, dtype=torch.float64)
        log_q_z = -0.5 * (z / scale) ** 2 - 0.5 * math.log(2 * math.pi) - math.log(scale)
        rate = learning_rate / math.sqrt(1 + t / 50)
        if method == "meco":
            log_weight = theta * z - z**2 / 2 - log_q_z
            fresh = torch.logsumexp(log_weight, 0) - math.log(batch)
            log_u = log_running_mean(log_u, fresh, gamma)
            gradient = -x.mean() + (torch.exp(log_weight - log_u) * z).mean()
        else:
            log_q_x = -0.5 * (x / scale) ** 2 - 0.5 * math.log(2 * math.pi) - math.log(scale)
            left = torch.sigmoid(-(theta * x - x**2 / 2 - c - log_q_x))
            right = torch.sigmoid(theta * z - z**2 / 2 - c - log_q_z)
            gradient = -(left * x).mean() + (right * z).mean()
            c = c - (rate * (left.mean() - right.mean())).clamp(-clip, clip)
        theta = theta - (rate * gradient).clamp(-clip, clip)
        errors.append(float((theta - mean).abs()))
    return torch.tensor(errors)


def _density(name, value, count):
    if not isinstance(value, torch.Tensor) or value.numel() != count:
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"{name} must hold one value per item ({count}), got {shape}")
    return wide(value.reshape(count))
