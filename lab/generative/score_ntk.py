r"""Scores learned by gradient descent on a wide two-layer network: regression with noisy labels, its kernel, and when to stop.

With X_t = alpha(t) X_0 + sqrt(h(t)) Z, alpha(t) = exp(-t/2), h = 1 - alpha^2, the score is (alpha f*(t, x) - x) / h for the
denoiser f* = E[X_0 | X_t = x]. In the form s = (alpha f_W - x) / h denoising score matching is regression of X_0 on (X_t, t),

.. math:: \Bigl\| s(t, X_t) + \frac{Z}{\sqrt{h}} \Bigr\|^2 = \frac{\alpha^2}{h^2} \| f_W(t, X_t) - X_0 \|^2, \qquad
          f_W(t, x) = \frac{1}{\sqrt m} \sum_r a_r\, \mathrm{relu}(w_r^\top (x, t - T_0)) - f_{W(0)}(t, x),

whose labels X_0 scatter round f*. Only W is trained, a are fixed signs, one draw of N triples (t, X_t, X_0) serves all steps. For
large m the outputs u follow kernel regression, u_k = (I - (I - eta K / N)^k) y, with the tangent kernel K of the start; stopping
early keeps them from the labels' noise.

Source: Y. Han, M. Razaviyayn, R. Xu, 'Neural network-based score estimation in diffusion models: optimization and generalization',
ICLR 2024, sections 3 to 5. The stopping rule is that of G. Raskutti, M. Wainwright, B. Yu, JMLR 2014, for the scalar case; the
paper assumes that one exists. Subtracting the network at the start is a convenience that the paper does not need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lab import checks
from lab.generative.mixtures import GaussianMixture

FIRST, LAST = 0.05, 2.0  # T_0 and T: times are uniform between them


@dataclass(frozen=True, eq=False)
class Draws:
    """Triples side by side: ``z`` (seeds, N, d + 1) noisy points and t - T_0, ``labels`` X_0 and ``truth`` f* (seeds, N, d)."""

    z: torch.Tensor
    labels: torch.Tensor
    truth: torch.Tensor

    @property
    def time(self) -> torch.Tensor:
        """t of every triple, (seeds, N)."""
        return self.z[..., -1] + FIRST


def decay(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """alpha and h at times t."""
    alpha = torch.exp(-0.5 * t)
    return alpha, 1 - alpha.square()


def regression_data(law: GaussianMixture, items: int, seeds: Sequence[int], salt: int = 0) -> Draws:
    """Triples drawn from a mixture whose denoiser is known, one set a seed, float64."""
    items = checks.integer("items", items, low=1)
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(1_000_003 * (seed + 1) + salt)
        clean = law.sample(items, generator)
        t = FIRST + (LAST - FIRST) * torch.rand(items, generator=generator, dtype=torch.float64)
        alpha, h = decay(t)
        noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        x = alpha[:, None] * clean + h.sqrt()[:, None] * noise
        rows.append((torch.cat([x, t[:, None] - FIRST], 1), clean, law.posterior_mean(x, alpha, h.sqrt())))
    return Draws(*(torch.stack(part) for part in zip(*rows)))


@dataclass(frozen=True, eq=False)
class Networks:
    """Two-layer networks side by side: ``weights`` (seeds, m, d + 1) now, ``start`` at first, ``signs`` (seeds, m, d)."""

    weights: torch.Tensor
    start: torch.Tensor
    signs: torch.Tensor

    @classmethod
    def drawn(cls, width: int, dimension: int, seeds: Sequence[int]) -> Networks:
        """w ~ N(0, I), a = +-1."""
        width = checks.integer("width", width, low=1)
        made = []
        for seed in seeds:
            g = torch.Generator().manual_seed(7919 * seed + 11)
            w = torch.randn(width, dimension + 1, generator=g, dtype=torch.float64)
            made.append((w, 2.0 * torch.randint(2, (width, dimension), generator=g).double() - 1))
        w, a = (torch.stack(part) for part in zip(*made))
        return cls(w, w, a)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """The denoiser at z (seeds, n, d + 1): (seeds, n, d)."""
        hidden = (z @ self.weights.mT).relu() - (z @ self.start.mT).relu()
        return hidden @ self.signs / self.weights.shape[1] ** 0.5

    def score(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The score (alpha f - x) / h at points (seeds, n, d) and times (seeds, n)."""
        alpha, h = (v[..., None] for v in decay(t))
        return (alpha * self(torch.cat([x, t[..., None] - FIRST], -1)) - x) / h


def kernel(networks: Networks, z: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The tangent kernel at the start, (seeds, n d, n' d), outputs running fastest:

    K^{ik}(z, z') = (z'z / m) sum_r a_r^i a_r^k 1{w_r'z >= 0} 1{w_r'z' >= 0}.
    """
    m, d = networks.signs.shape[1:]
    active = [(p @ networks.start.mT >= 0).double() for p in (z, other)]
    left, right = ((on[..., None] * networks.signs[:, None]).transpose(2, 3).flatten(1, 2) for on in active)
    inner = (z @ other.mT).repeat_interleave(d, 1).repeat_interleave(d, 2)
    return inner * (left @ right.mT) / m


def kernel_path(gram, cross, labels, rate: float, steps: Sequence[int]) -> torch.Tensor:
    """What gradient descent on the kernel predicts after each of ``steps``: (steps, seeds, n, d).

    ``gram`` (seeds, N d, N d) of the training points, ``cross`` (seeds, n d, N d), ``labels`` (seeds, N, d); math.inf is the limit.
    """
    items, d = labels.shape[1:]
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp_min(0)
    y = vectors.mT @ labels.flatten(1)[..., None]
    rows = []
    for k in steps:
        kept = torch.zeros_like(values) if math.isinf(k) else (1 - rate * values / items).pow(k)
        gain = torch.where(values > 1e-12 * values.amax(), (1 - kept) / values.clamp_min(1e-300), k * rate / items)
        gain = torch.where(
            (values <= 1e-12 * values.amax()) & torch.tensor(math.isinf(k)), torch.zeros_like(gain), gain
        )
        rows.append((cross @ (vectors @ (gain[..., None] * y)))[..., 0].unflatten(1, (-1, d)))
    return torch.stack(rows)


def stopping_time(gram: torch.Tensor, dimension: int, noise: torch.Tensor, rate: float, most: int) -> torch.Tensor:
    """The last step before sqrt(mean_i min(l_i, 1/(rate k))) > 1/(2 e s rate k), l_i the eigenvalues of K / N: (seeds,).

    At least 1, at most ``most``. ``dimension`` d is that of the outputs, N the number of triples.
    ``noise`` s (seeds,): the deviation of the labels' noise a coordinate.
    """
    items = gram.shape[1] // dimension
    values = torch.linalg.eigvalsh(gram).clamp_min(0) / items
    k = torch.arange(1, most + 1, dtype=values.dtype)
    level = 1 / (rate * k)
    size = torch.stack([torch.minimum(row[:, None], level).mean(0).sqrt() for row in values])
    over = size > level / (2 * math.e * noise[:, None])
    first = torch.where(over.any(1), over.int().argmax(1), torch.tensor(most))
    return first.clamp_min(1)


@torch.no_grad()
def train(networks: Networks, draws: Draws, rate: float, steps: Sequence[int], progress=None):
    """Full-batch gradient descent on mean |f - X_0|^2 / 2, all seeds at once; yields them after each of ``steps``, which ascend.

    Raises:
        ValueError: steps that do not ascend, a rate that is not positive, weights that are no longer finite (with the step).
    """
    rate = checks.number("rate", rate, low=0.0, open_low=True)
    wanted = [checks.integer("steps", k, low=0) for k in steps]
    if wanted != sorted(wanted):
        raise ValueError(f"steps must ascend, got {wanted}")
    z, y, w = draws.z, draws.labels, networks.weights
    root, items = w.shape[1] ** 0.5, z.shape[1]
    at_start = (z @ networks.start.mT).relu() @ networks.signs / root
    done = 0
    for goal in wanted:
        while done < goal:
            hidden = z @ w.mT
            residual = hidden.relu() @ networks.signs / root - at_start - y
            slope = (residual @ networks.signs.mT) * (hidden > 0)
            w = w - rate / (items * root) * (slope.mT @ z)
            done += 1
            if progress is not None and done % 200 == 0:
                progress(done, wanted[-1])
        if not bool(torch.isfinite(w.sum())):
            raise ValueError(f"rate {rate:g} is too large: the weights are not finite after {done} steps")
        yield Networks(w, networks.start, networks.signs)
