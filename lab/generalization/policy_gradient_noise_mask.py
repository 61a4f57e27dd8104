r"""Policy gradient-driven noise mask: a small network proposes the noise that a classifier is pre-trained under.

For an image x a policy gives :math:`a(x), b(x)` on a grid of cells. A mask :math:`M_j \sim \mathrm{Beta}(e^{A_j}, e^{B_j})` with

.. math:: A = 0.9\, \bar a + 0.1\, a(x), \qquad B = 0.9\, \bar b + 0.1\, b(x),

and running means :math:`\bar a, \bar b` of the batches multiplies the image, enlarged to its size. The policy follows the score
function, the classifier the loss it meets,

.. math:: \nabla_\phi \mathbb{E}[\ell] = \mathbb{E}\Bigl[(\ell_i - \bar\ell) \sum_j \nabla_\phi \log p_{ij}\Bigr], \qquad
          \nabla_\theta \frac1n \sum_i \ell_i(x_i \odot M_i) .

Then the policy is dropped and the classifier is fine-tuned on clean images. ``mode="coded"`` is the released objective, one
product for both networks whose first factor is the logarithm of a SUM of densities. It may be negative, and the mean loss couples
the batch,

.. math:: \frac1n \sum_i \log \sum_j p_{ij} \cdot \frac1n \sum_k \ell_k .

Source: M. C. Yavuz, Y. Yang, "Policy Gradient-Driven Noise Mask", ICPR 2024 (arXiv 2406.14568), Section 3. Here the score is
averaged over the cells, so that its size does not grow with the grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from lab import checks, training
from lab.generalization.stacked import Parameters, descend, filled, stack

MODES = ("split", "coded", "permuted", "uniform", "none")
EDGE = 1e-4  # masks stay this far from 0 and 1, where densities may be infinite


class BetaMaskPolicy(nn.Module):
    """Beta parameters by cell from the image averaged over the grid: ``x (n, c, h, w) -> (a, b)``, each (n, grid^2).

    Example:
        >>> [part.shape for part in BetaMaskPolicy(grid=4)(torch.rand(3, 1, 8, 8))]
        [torch.Size([3, 16]), torch.Size([3, 16])]
    """

    def __init__(self, grid: int = 4, channels: int = 1, width: int = 16, *, seed: int | torch.Generator = 0):
        super().__init__()
        self.grid = checks.integer("grid", grid, low=1)
        cells = self.grid**2
        self.network = training.mlp(channels * cells, 2 * cells, widths=(width,), seed=seed)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cells = F.adaptive_avg_pool2d(x, self.grid).flatten(1)
        first, second = self.network(cells).chunk(2, dim=1)
        return first, second


def log_density(mask: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """Logarithm of the Beta density by cell."""
    norm = torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta)
    return (alpha - 1) * mask.log() + (beta - 1) * torch.log1p(-mask) - norm


def sample_mask(alpha: torch.Tensor, beta: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A draw from Beta(alpha, beta) by cell as a ratio of Gamma draws, kept inside (0, 1), without gradient."""
    first, second = (torch._standard_gamma(one.detach(), generator=generator) for one in (alpha, beta))
    return (first / (first + second).clamp_min(1e-30)).clamp(EDGE, 1 - EDGE)


def masked(x: torch.Tensor, mask: torch.Tensor, grid: int) -> torch.Tensor:
    """Images (n, c, h, w) times their masks (n, grid^2), each cell enlarged to its share of the image."""
    wide = F.interpolate(mask.view(-1, 1, grid, grid), size=x.shape[2:], mode="nearest")
    return x * wide


def policy_loss(log_p: torch.Tensor, losses: torch.Tensor, mode: str = "split") -> torch.Tensor:
    """What the policy descends; ``losses`` (n,) carry no gradient, ``log_p`` (n, cells).

    Under "split" the mean over cells of log p times the loss less its mean; under "coded" the released product.
    """
    if mode == "coded":
        return torch.logsumexp(log_p, 1).mean() * losses.mean()
    return (log_p.mean(1) * (losses - losses.mean())).mean()


def train_stacked(
    model: nn.Module, policy: BetaMaskPolicy, parameters: Parameters, x: torch.Tensor, label: torch.Tensor, *, seeds,
    mode: str = "split", epochs: int = 20, tuning_epochs: int = 5, learning_rate=1e-3, weight_decay: float = 0.0,
    batch_size: int = 64, progress=None,
) -> tuple[Parameters, Parameters, torch.Tensor]:  # fmt: skip
    """Pre-train all classifiers with their policies, then fine-tune on clean images at a tenth of the rate.

    Args:
        parameters: stacked, names beginning with ``model.`` and ``policy.`` (:func:`together`).
        mode: "split", "coded"; "permuted": the losses go to other images of the batch (the control); "uniform": masks uniform on
            (0, 1), no policy; "none": no mask.
        weight_decay: added to the classifier's gradient.

    Returns:
        ``(classifiers, policies, running means (models, 2, cells))``.
    """
    checks.choice("mode", mode, MODES)
    cells, generators = policy.grid**2, [torch.Generator().manual_seed(seed) for seed in seeds]
    base = torch.stack([torch.rand(2, cells, generator=g) for g in generators])
    parts = _parts(parameters)

    def rows(p, inputs, y):
        return F.cross_entropy(functional_call(model, p, (inputs,)), y, reduction="none")

    def step(joined, x, y, number):
        nonlocal base
        now = _parts(joined)
        inputs = x
        if mode != "none":
            with torch.no_grad():
                ab = torch.stack(vmap(lambda p, x: functional_call(policy, p, (x,)))(now["policy"], x), 1)
            mixed = 0.9 * base[:, :, None] + 0.1 * ab if mode != "uniform" else torch.zeros_like(ab)
            masks = torch.stack([sample_mask(*one.exp(), g) for one, g in zip(mixed, generators)])
            inputs = vmap(lambda x, m: masked(x, m, policy.grid))(x, masks)
        losses = vmap(rows)(now["model"], inputs, y).detach()

        def classifier(p, inputs, y, factor):
            g = grad(lambda q: factor * rows(q, inputs, y).mean())(p)
            return {name: one + weight_decay * p[name] for name, one in g.items()}

        def proposals(p, x, mask, base, losses):
            def value(q):
                a, b = functional_call(policy, q, (x,))
                log_p = log_density(mask, (0.9 * base[0] + 0.1 * a).exp(), (0.9 * base[1] + 0.1 * b).exp())
                return policy_loss(log_p, losses, "coded" if mode == "coded" else "split")

            return grad(value)(p)

        factor = torch.ones(len(seeds))
        found = {f"policy.{name}": torch.zeros_like(one) for name, one in now["policy"].items()}
        if mode in ("split", "coded", "permuted"):
            told = losses.roll(1, 1) if mode == "permuted" else losses
            found = {f"policy.{n}": g for n, g in vmap(proposals)(now["policy"], x, masks, base, told).items()}
            if mode == "coded":
                factor = torch.logsumexp(log_density(masks, *mixed.exp().unbind(1)), 2).mean(1)
            base = 0.99 * base + 0.01 * ab.mean(2)
        own = vmap(classifier)(now["model"], inputs, y, factor)
        return {**found, **{f"model.{name}": g for name, g in own.items()}}

    done = descend(
        parameters, step, x, label, seeds=seeds, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        progress=progress,
    )  # fmt: skip
    parts = _parts(done)
    clean = vmap(lambda p, x, y: grad(lambda q: rows(q, x, y).mean())(p))
    tuned = descend(
        parts["model"], lambda p, x, y, number: clean(p, x, y), x, label, seeds=seeds, epochs=tuning_epochs,
        batch_size=batch_size, learning_rate=learning_rate / 10 if isinstance(learning_rate, float) else 1e-4,
    )  # fmt: skip
    return tuned, parts["policy"], base


def together(models, policies) -> Parameters:
    """Parameters of classifiers and policies as one stacked dictionary."""
    return {f"model.{k}": v for k, v in stack(models).items()} | {f"policy.{k}": v for k, v in stack(policies).items()}


def _parts(joined):
    return {
        kind: {name[len(kind) + 1 :]: value for name, value in joined.items() if name.startswith(f"{kind}.")}
        for kind in ("model", "policy")
    }


def train_masked(
    model: nn.Module, x: torch.Tensor, label: torch.Tensor, *, grid: int = 4, mode: str = "split", seed: int = 0, **options
) -> nn.Module:  # fmt: skip
    """A copy of one's own classifier of images (n, c, h, w), pre-trained under masks and fine-tuned; the policy is dropped."""
    x = checks.tensor("x", x, ndim=4, floating=True)
    label = checks.tensor("label", label, shape=(len(x),)).long()
    policy = BetaMaskPolicy(grid, x.shape[1], seed=seed)
    done, _, _ = train_stacked(model, policy, together([model], [policy]), x, label, seeds=[seed], mode=mode, **options)
    return filled(model, {name: value[0] for name, value in done.items()})
