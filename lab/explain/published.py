"""The eight methods as their own papers define them, one by one, without the engine.

These are the left-hand sides of the unification: sums, differences and regressions written out, each with its own draws.
They are slow and serve as an independent check. All take ``f: (n, K) -> (n,)`` in torch, instances ``x (N, K)``, a baseline
``(K,)``, and return ``(N, K)``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch

from lab import checks


def lime(f: Callable, x, baseline, *, width: float, n_samples: int = 1000, seed=0, masks=None) -> torch.Tensor:
    """Ridge-free weighted regression on fair random masks, one instance at a time (Ribeiro et al. 2016, Equation 2).

    ``masks (m, K)`` takes the place of the draws.
    """
    generator = checks.generator(seed)
    found = []
    for row in x:
        z = (torch.rand(n_samples, len(row), generator=generator) < 0.5).to(x.dtype) if masks is None else masks
        inputs = torch.where(z > 0, row, baseline)
        root = torch.exp(-(row - inputs).square().sum(1) / width**2).sqrt()[:, None]
        psi = torch.cat([torch.ones(len(z), 1, dtype=x.dtype), z], 1)
        found.append(torch.linalg.lstsq(psi * root, _call(f, inputs)[:, None] * root, driver="gelsd").solution[1:, 0])
    return torch.stack(found)


def clime(f: Callable, x, *, sigma: float, n_samples: int = 1000, seed=0, noise=None) -> torch.Tensor:
    """``Cov(xi)^-1 Cov(xi, f)`` of Gaussian draws (Agarwal et al. 2021, Theorem 1).

    ``noise (m, K)`` of standard deviation 1 takes the place of the draws.
    """
    generator = checks.generator(seed)
    found = []
    for row in x:
        unit = torch.randn(n_samples, len(row), generator=generator, dtype=x.dtype) if noise is None else noise
        xi = sigma * unit
        y = _call(f, row + xi)
        xi = xi - xi.mean(0)
        found.append(torch.linalg.solve(xi.T @ xi, xi.T @ (y - y.mean())))
    return torch.stack(found)


def smoothgrad(f: Callable, x, *, sigma: float, n_samples: int = 1000, seed=0, noise=None) -> torch.Tensor:
    """The mean gradient at noisy copies (Smilkov et al. 2017); ``noise (m, K)`` as in :func:`clime`."""
    generator = checks.generator(seed)
    noise = torch.randn(n_samples, *x.shape[1:], generator=generator, dtype=x.dtype) if noise is None else noise
    return torch.stack([_gradient(f, row + sigma * noise).mean(0) for row in x])


def vanilla_gradients(f: Callable, x) -> torch.Tensor:
    """The gradient (Simonyan et al. 2014)."""
    return _gradient(f, x)


def gradient_x_input(f: Callable, x, baseline) -> torch.Tensor:
    """The gradient times the distance from the baseline (Shrikumar et al. 2017)."""
    return (x - baseline) * _gradient(f, x)


def integrated_gradients(f: Callable, x, baseline, *, steps: int = 1000) -> torch.Tensor:
    """The midpoint sum of gradients on the straight path (Sundararajan et al. 2017, Equation 3)."""
    place = (torch.arange(steps, dtype=x.dtype) + 0.5) / steps
    return torch.stack([
        (row - baseline) * _gradient(f, baseline + place[:, None] * (row - baseline)).mean(0) for row in x
    ])  # fmt: skip


def occlusion(f: Callable, x, baseline) -> torch.Tensor:
    """``f(x) - f(x with one feature replaced)`` (Zeiler, Fergus 2014)."""
    found = torch.empty_like(x)
    for j in range(x.shape[1]):
        without = x.clone()
        without[:, j] = baseline[j]
        found[:, j] = _call(f, x) - _call(f, without)
    return found


def shapley(f: Callable, x, baseline, *, permutations: int = 0, seed=0) -> torch.Tensor:
    """Mean marginal contributions: over all subsets (up to 12 features), or over random orders and their reverses.

    Source: L. Shapley 1953; S. Lundberg, S.-I. Lee, NeurIPS 2017, Equation 4.
    """
    count = x.shape[1]
    if count <= 12:
        return _by_subsets(f, x, baseline)
    generator = checks.generator(seed)
    total = torch.zeros_like(x)
    orders = [torch.randperm(count, generator=generator) for _ in range(max(permutations, 1) // 2 + 1)]
    orders += [order.flip(0) for order in orders]
    for order in orders:
        rank = order.argsort()
        kept = (rank[None] < torch.arange(count + 1)[:, None]).to(x.dtype)
        inputs = baseline + kept * (x[:, None] - baseline)
        values = _call(f, inputs.reshape(-1, count)).view(len(x), count + 1)
        total[:, order] += values.diff(dim=1)
    return total / len(orders)


def _by_subsets(f, x, baseline) -> torch.Tensor:
    count = x.shape[1]
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=count)), dtype=x.dtype)
    values = torch.stack([_call(f, baseline + masks * (row - baseline)) for row in x])
    sizes = masks.sum(1).long()
    place = 2 ** torch.arange(count - 1, -1, -1)
    codes = (masks.long() * place).sum(1)
    share = torch.tensor(
        [math.factorial(s) * math.factorial(count - s - 1) / math.factorial(count) for s in range(count)]
    )
    found = torch.empty_like(x)
    for j in range(count):
        without = masks[:, j] == 0
        rise = values[:, codes[without] + place[j]] - values[:, codes[without]]
        found[:, j] = rise @ share[sizes[without]].to(x.dtype)
    return found


def _call(f, inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return f(inputs).reshape(len(inputs))


def _gradient(f, inputs: torch.Tensor) -> torch.Tensor:
    inputs = inputs.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(f(inputs).sum(), inputs)
    return gradient
