r"""Learning from aggregate responses: only the mean response of each bag is known.

For bags a = 1..m of k items with mean response ybar_a and predictions f_i

.. math:: L_{bag} = \frac1m \sum_a \ell\bigl(\bar y_a, \tfrac1k\textstyle\sum_{i \in a} f_i\bigr), \quad
          L_{ins} = \frac1{mk} \sum_a \sum_{i \in a} \ell(\bar y_a, f_i), \quad L_\rho = (1 - \rho) L_{bag} + \rho L_{ins}.

For the squared loss L_ins = L_bag + mean over bags of the population variance of f within the bag: the instance loss is the bag
with a penalty on the spread of predictions.

Source: A. Javanmard, L. Chen, V. Mirrokni, A. Badanidiyuru, G. Fu, 'Learning from Aggregate Responses: Instance Level versus Bag
Level Loss Functions', ICLR 2024, equations (1) to (4), Sections 3 and 4.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import nn

from lab import checks
from lab.kernels.precision import wide

BASES = ("squared", "logistic")


def aggregate_loss(
    predictions: Float[torch.Tensor, "bags k"],
    bag_means: Float[torch.Tensor, " bags"],
    rho: float = 0.5,
    *,
    base: str = "squared",
) -> torch.Tensor:
    """The interpolated loss L_rho; ``rho=0`` is the bag loss, ``rho=1`` the instance loss.

    Args:
        predictions: one prediction per item, a row per bag (logits for ``base="logistic"``, averaged as logits).
        bag_means: mean responses, shape (bags,); for ``"logistic"`` mean labels in [0, 1].
        rho: weight of the instance loss in [0, 1].
        base: ``"squared"``: (y - f)^2; ``"logistic"``: log(1 + e^f) - y f.
    """
    predictions = wide(checks.tensor("predictions", predictions, ndim=2, floating=True))
    bag_means = checks.tensor("bag_means", bag_means, shape=(len(predictions),)).to(predictions)
    rho = checks.number("rho", rho, low=0.0, high=1.0)
    checks.choice("base", base, BASES)
    loss = _squared if base == "squared" else _logistic
    bag = loss(bag_means, predictions.mean(1)).mean()
    instance = loss(bag_means[:, None], predictions).mean()
    return (1 - rho) * bag + rho * instance


class AggregateLoss(nn.Module):
    """:func:`aggregate_loss` as a module."""

    def __init__(self, rho: float = 0.5, base: str = "squared"):
        super().__init__()
        self.rho = checks.number("rho", rho, low=0.0, high=1.0)
        self.base = checks.choice("base", base, BASES)

    def forward(self, predictions: torch.Tensor, bag_means: torch.Tensor) -> torch.Tensor:
        return aggregate_loss(predictions, bag_means, self.rho, base=self.base)


def make_bags(n: int, k: int, seed: int | torch.Generator = 0) -> Int[torch.Tensor, "bags k"]:
    """A random partition of n items into n // k bags of k; the n mod k items left over are in none."""
    n, k = checks.integer("n", n, low=1), checks.integer("k", k, low=1)
    if k > n:
        raise ValueError(f"k must be at most n = {n}, got {k}")
    return torch.randperm(n, generator=checks.generator(seed))[: n - n % k].reshape(-1, k)


def interpolated_ridge(
    x: Float[torch.Tensor, "n d"],
    bags: Int[torch.Tensor, "bags k"],
    bag_means: Float[torch.Tensor, " bags"],
    rho: float,
) -> Float[torch.Tensor, " d"]:
    r"""The linear coefficients that minimize L_rho with the squared loss, of least norm where there are several.

    .. math:: A = \frac{1 - \rho}{m} (SX)^\top SX + \frac{\rho}{mk} X^\top X, \qquad \theta = A^{+} \frac{(SX)^\top \bar y}{m},

    with SX the bag means of the rows: the cross term of the instance loss is that of the bag loss.
    """
    x = wide(checks.tensor("x", x, ndim=2, floating=True))
    rho = checks.number("rho", rho, low=0.0, high=1.0)
    rows = x[bags]
    means = rows.mean(1)
    bag_means = checks.tensor("bag_means", bag_means, shape=(len(bags),)).to(means)
    if rho == 0:
        return torch.linalg.lstsq(means, bag_means[:, None], driver="gelsd").solution[:, 0]
    within = (rows - means[:, None]).reshape(-1, x.shape[1]) * math.sqrt(rho / rows.shape[1])
    # L_rho = |SX theta - ybar|^2/m + rho * within-bag variance: one least-squares problem, better conditioned than A
    design = torch.cat([means, within])
    target = torch.cat([bag_means, bag_means.new_zeros(len(within))])
    return torch.linalg.lstsq(design, target[:, None], driver="gelsd").solution[:, 0]


def asymptotic_risk(
    rho: float, *, items_per_feature: float, k: int, signal: float = 1.0, noise: float = 1.0
) -> dict[str, float]:
    r"""Squared parameter error of the linear estimator for isotropic Gaussian rows, n and d growing with n/d fixed.

    Put beta = m/d and delta = m(k - 1)/d. Up to rotation the bag means are beta d rows u of covariance I (after scaling by
    sqrt(k)) and the deviations within bags delta d independent rows w, and the estimator has the matrix
    A = (sum u u^T + rho sum w w^T)/d. The normalized trace g of A^{-1} solves

    .. math:: \frac1g = \frac{\beta}{1 + g} + \frac{\delta\rho}{1 + \rho g}, \qquad
              D = \frac{1}{g^2} - \frac{\beta}{(1 + g)^2} - \frac{\delta \rho^2}{(1 + \rho g)^2},

    .. math:: \text{variance} = \frac{\sigma^2 \beta}{(1 + g)^2 D}, \qquad
              \text{bias} = \|\theta_0\|^2 \frac{\rho^2 \delta}{D}
              \Bigl(\frac{1}{(1 + \rho g)^2} + \frac{\delta (1 - \rho g)}{(1 + \rho g)^3}\Bigr).

    The first line is the free sum of two Wishart laws; the variance is -dg/da with a the weight of the first sum, the bias the
    derivative in an added ridge of the trace of W A^{-1} W, found by leaving one row out. At rho = 0: bias 0 and variance
    sigma^2/(beta - 1) for beta > 1; for beta < 1 the least-norm solution has bias (1 - beta)|theta_0|^2 and variance
    sigma^2 beta/(1 - beta), while rho -> 0 picks the interpolator of least spread within bags, another one.

    Args:
        rho: weight of the instance loss in [0, 1].
        items_per_feature: n/d; for rho > 0 above 1.
        k: bag size.
        signal: ||theta_0||^2.
        noise: sigma^2, variance of one response; for the private mechanism add :func:`private_noise`.

    Returns:
        ``bias`` (squared), ``variance`` and their sum ``risk``.

    Raises:
        ValueError: at most as many items as features with rho > 0, exactly as many bags as features with rho = 0.
    """
    from scipy.optimize import brentq

    rho = checks.number("rho", rho, low=0.0, high=1.0)
    ratio = checks.number("items_per_feature", items_per_feature, low=0.0, open_low=True)
    k = checks.integer("k", k, low=1)
    beta, delta = ratio / k, ratio * (k - 1) / k
    if rho == 0 or delta == 0:
        if beta == 1:
            raise ValueError("items_per_feature / k is 1: as many bags as features, where the risk has no finite limit")
        bias = max(0.0, 1 - beta) * signal
        variance = noise / (beta - 1) if beta > 1 else noise * beta / (1 - beta)
        return {"bias": bias, "variance": variance, "risk": bias + variance}
    if ratio <= 1:
        raise ValueError(f"items_per_feature must be greater than 1 for rho > 0, got {ratio}")

    def excess(log_g):
        g = math.exp(log_g)
        return beta * g / (1 + g) + delta * rho * g / (1 + rho * g) - 1

    g = math.exp(brentq(excess, -50.0, 50.0 - math.log(rho), xtol=1e-14, rtol=1e-15))
    determinant = 1 / g**2 - beta / (1 + g) ** 2 - delta * rho**2 / (1 + rho * g) ** 2
    variance = noise * beta / ((1 + g) ** 2 * determinant)
    inner = 1 / (1 + rho * g) ** 2 + delta * (1 - rho * g) / (1 + rho * g) ** 3
    bias = signal * rho**2 * delta * inner / determinant
    return {"bias": bias, "variance": variance, "risk": bias + variance}


def private_bag_means(
    y: Float[torch.Tensor, " n"],
    bags: Int[torch.Tensor, "bags k"],
    epsilon: float,
    clip: float,
    seed: int | torch.Generator = 0,
) -> Float[torch.Tensor, " bags"]:
    """Bag means of responses clipped to [-clip, clip] with Laplace noise of scale 2 clip/(k epsilon).

    Replacing one response moves one bag mean by at most 2 clip/k, so the release is epsilon-differentially private for the
    responses (rows x are public).
    """
    y = wide(checks.tensor("y", y, ndim=1, floating=True))
    epsilon = checks.number("epsilon", epsilon, low=0.0, open_low=True)
    clip = checks.number("clip", clip, low=0.0, open_low=True)
    means = y.clamp(-clip, clip)[bags].mean(1)
    uniform = torch.rand(means.shape, generator=checks.generator(seed), dtype=torch.float64) - 0.5
    noise = -uniform.sign() * torch.log1p(-2 * uniform.abs())
    return means + (2 * clip / (bags.shape[1] * epsilon) * noise).to(means)


def private_noise(k: int, epsilon: float, clip: float) -> float:
    """What the Laplace noise adds to the variance of one response: 8 clip^2/(k epsilon^2)."""
    k = checks.integer("k", k, low=1)
    epsilon = checks.number("epsilon", epsilon, low=0.0, open_low=True)
    return 8 * checks.number("clip", clip, low=0.0, open_low=True) ** 2 / (k * epsilon**2)


def _squared(target, prediction):
    return (target - prediction).square()


def _logistic(target, prediction):
    return nn.functional.softplus(prediction) - target * prediction
