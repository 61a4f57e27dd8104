"""The eight methods as eight choices of neighbourhood and loss (Han, Srinivas, Lakkaraju 2022, Table 1).

======================  ===============================  =========================  =========
method                  xi                               operator                   loss
======================  ===============================  =========================  =========
LIME                    {0, 1}^K, exponential kernel     b + xi (x - b)             squared
KernelSHAP              {0, 1}^K, Shapley kernel         b + xi (x - b)             squared
Occlusion               one player replaced              b + xi (x - b)             squared
C-LIME                  N(0, sigma^2 I)                  x + xi                     squared
SmoothGrad              N(0, sigma^2 I)                  x + xi                     gradient
Vanilla Gradients       N(0, sigma^2 I), sigma -> 0      x + xi                     gradient
Integrated Gradients    a 1, a ~ U(0, 1)                 b + xi (x - b)             gradient
Gradients x Input       a 1, a ~ U(c, 1), c -> 1         b + xi (x - b)             gradient
======================  ===============================  =========================  =========

All take the remaining arguments of :func:`lab.explain.explain` by name.
"""

from __future__ import annotations

from lab.explain.engine import explain
from lab.explain.explanation import Explanation
from lab.explain.neighbourhoods import Exponential, Gaussian, LeaveOneOut, Masks, Scaling, Shapley
from lab.explain.surrogate import Linear


def lime(
    f,
    x,
    *,
    width: float | None = None,
    temper: float = 0.0,
    baseline=None,
    features=None,
    target=None,
    model: Linear = Linear(),
    n_samples: int = 1000,
    until=None,
    seed=0,
    confidence=0.95,
    max_bytes=None,
) -> Explanation:
    """Weighted least squares on random masks, weight ``exp(-|x - x_xi|^2 / width^2)`` (:class:`Exponential`).

    Source: M. Ribeiro, S. Singh, C. Guestrin, '"Why Should I Trust You?"', KDD 2016.
    """
    return explain(
        f,
        x,
        neighbourhood=Masks(Exponential(width), temper),
        model=model,
        baseline=baseline,
        features=features,
        target=target,
        n_samples=n_samples,
        until=until,
        seed=seed,
        confidence=confidence,
        max_bytes=max_bytes,
    )


def kernelshap(
    f,
    x,
    *,
    baseline=None,
    features=None,
    target=None,
    model: Linear = Linear(),
    n_samples: int = 1000,
    until=None,
    seed=0,
    confidence=0.95,
    max_bytes=None,
    proxy: bool = True,
) -> Explanation:
    """Shapley values of the game "which players are present" by weighted least squares under ``g(0) = f(b), g(1) =
    f(x)``.

    Exact where all ``2^K - 2`` masks fit the budget. ``proxy=True``, the default, is not KernelSHAP as published: it adds an
    odd-order regression (single players and products of three, by ridge, on the same draws), explains what that leaves and
    adds its Shapley values in closed form (:mod:`lab.explain.odd_regression`), which needs fewer draws; ``proxy=False`` is
    the published method.

    Source: S. Lundberg, S.-I. Lee, NeurIPS 2017, Theorem 2; of the regression: OddSHAP, arXiv 2602.01399.
    """
    return explain(
        f,
        x,
        neighbourhood=Masks(Shapley()),
        model=model,
        baseline=baseline,
        features=features,
        target=target,
        n_samples=n_samples,
        until=until,
        seed=seed,
        confidence=confidence,
        max_bytes=max_bytes,
        proxy=proxy and model.degree == 1,
    )


def occlusion(
    f, x, *, baseline=None, features=None, target=None, model: Linear = Linear(), max_bytes=None
) -> Explanation:
    """What the output loses when one player is replaced: exact with K calls a row.

    Source: M. Zeiler, R. Fergus, 'Visualizing and Understanding Convolutional Networks', ECCV 2014.
    """
    return explain(
        f,
        x,
        neighbourhood=LeaveOneOut(),
        model=model,
        baseline=baseline,
        features=features,
        target=target,
        max_bytes=max_bytes,
    )


def clime(
    f,
    x,
    *,
    sigma: float = 0.1,
    features=None,
    target=None,
    model: Linear = Linear(),
    n_samples: int = 1000,
    until=None,
    seed=0,
    confidence=0.95,
    max_bytes=None,
) -> Explanation:
    """Least squares on Gaussian noise around ``x``.

    Source: S. Agarwal et al., 'Towards the Unification and Robustness of Perturbation and Gradient Based Explanations',
    ICML 2021.
    """
    return explain(
        f,
        x,
        neighbourhood=Gaussian(sigma),
        model=model,
        features=features,
        target=target,
        n_samples=n_samples,
        until=until,
        seed=seed,
        confidence=confidence,
        max_bytes=max_bytes,
    )


def smoothgrad(
    f,
    x,
    *,
    sigma: float = 0.1,
    features=None,
    target=None,
    model: Linear = Linear(),
    n_samples: int = 1000,
    until=None,
    seed=0,
    confidence=0.95,
    max_bytes=None,
) -> Explanation:
    """The mean gradient under Gaussian noise. Source: D. Smilkov et al., 'SmoothGrad', arXiv 1706.03825, 2017."""
    return explain(
        f,
        x,
        neighbourhood=Gaussian(sigma),
        loss="gradient",
        model=model,
        features=features,
        target=target,
        n_samples=n_samples,
        until=until,
        seed=seed,
        confidence=confidence,
        max_bytes=max_bytes,
    )


def gradients(f, x, *, features=None, target=None, model: Linear = Linear(), max_bytes=None) -> Explanation:
    """The gradient at ``x``: the limit ``sigma -> 0`` of SmoothGrad, taken analytically.

    Source: K. Simonyan, A. Vedaldi, A. Zisserman, 'Deep Inside Convolutional Networks', ICLR Workshop 2014.
    """
    return explain(
        f,
        x,
        neighbourhood=Gaussian(0),
        loss="gradient",
        model=model,
        features=features,
        target=target,
        max_bytes=max_bytes,
    )


def integrated_gradients(
    f,
    x,
    *,
    baseline=None,
    features=None,
    target=None,
    model: Linear = Linear(),
    n_samples: int = 50,
    until=None,
    max_bytes=None,
) -> Explanation:
    """``(x - b)`` times the mean gradient on the way from ``b`` to ``x``; ``until`` bounds the completeness gap.

    Source: M. Sundararajan, A. Taly, Q. Yan, 'Axiomatic Attribution for Deep Networks', ICML 2017.
    """
    return explain(
        f,
        x,
        neighbourhood=Scaling(0, 1),
        loss="gradient",
        model=model,
        baseline=baseline,
        features=features,
        target=target,
        n_samples=n_samples,
        until=until,
        max_bytes=max_bytes,
    )


def gradient_x_input(
    f, x, *, baseline=None, features=None, target=None, model: Linear = Linear(), max_bytes=None
) -> Explanation:
    """``(x - b)`` times the gradient at ``x``: the limit ``c -> 1`` of the path from ``c`` to 1, taken analytically.

    Source: A. Shrikumar, P. Greenside, A. Kundaje, 'Learning Important Features Through Propagating Activation
    Differences', ICML 2017.
    """
    return explain(
        f,
        x,
        neighbourhood=Scaling(1, 1),
        loss="gradient",
        model=model,
        baseline=baseline,
        features=features,
        target=target,
        max_bytes=max_bytes,
    )


METHODS = {
    "LIME": lime,
    "KernelSHAP": kernelshap,
    "Occlusion": occlusion,
    "C-LIME": clime,
    "SmoothGrad": smoothgrad,
    "Vanilla Gradients": gradients,
    "Integrated Gradients": integrated_gradients,
    "Gradients x Input": gradient_x_input,
}
