r"""Steps that look for flat minima, and the sharpness of a loss around its parameters.

With gradient g of the loss L at parameters theta, the sharpest point of a ball of radius rho is to first order

.. math:: \varepsilon = \rho \frac{g}{\|g\|} \quad\text{(SAM)}, \qquad
          \varepsilon = \rho \frac{T^2 g}{\|T g\|},\ T = |\theta| + \eta \quad\text{(ASAM)},

and the step follows the gradient there. GSAM also descends the gap between both losses without undoing the descent of the
perturbed one: with g_p the gradient at theta + eps and g_o the part of g orthogonal to g_p, it follows g_p - alpha g_o.

Everything is a function of a dictionary of tensors and of ``loss(parameters) -> scalar``, so that ``torch.func.vmap`` maps it
over models.

Sources: P. Foret, A. Kleiner, H. Mobahi, B. Neyshabur, 'Sharpness-aware minimization for efficiently improving
generalization', ICLR 2021, equations (2) and (3); J. Kwon, J. Kim, H. Park, I. Choi, 'ASAM: adaptive sharpness-aware minimization
for scale-invariant learning of deep neural networks', ICML 2021, equation (8); J. Zhuang et al., 'Surrogate gap minimization
improves sharpness-aware training', ICLR 2022, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.func import grad, grad_and_value

from lab import checks

Parameters = Mapping[str, torch.Tensor]
KINDS = ("sam", "asam", "gsam")


def perturb(
    parameters: Parameters, gradient: Parameters, rho: float, *, adaptive: bool = False, offset: float = 0.01
) -> dict[str, torch.Tensor]:
    """theta + eps: the parameters moved by ``rho`` to where the loss rises fastest; a zero gradient moves nothing.

    Args:
        rho: radius, at least 0.
        adaptive: ASAM's ellipsoid, whose axes are the parameters' sizes plus ``offset`` (its eta).
    """
    rho, offset = checks.number("rho", rho, low=0.0), checks.number("offset", offset, low=0.0)
    _same_names(parameters, gradient)
    scaled = (
        {name: (parameters[name].abs() + offset) * g for name, g in gradient.items()} if adaptive else dict(gradient)
    )
    norm = norm_of(scaled)
    scale = rho / torch.where(norm > 0, norm, 1.0)
    if adaptive:
        return {name: p + scale * (p.abs() + offset) * scaled[name] for name, p in parameters.items()}
    return {name: p + scale * scaled[name] for name, p in parameters.items()}


def sam_gradient(
    loss: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    parameters: Parameters,
    rho: float = 0.05,
    *,
    kind: str = "sam",
    alpha: float = 0.1,
    offset: float = 0.01,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The gradient that a sharpness-aware step follows, and the loss at the parameters themselves; two evaluations.

    Args:
        loss: scalar function of the parameters.
        rho: radius, at least 0; at 0 it is the plain gradient.
        kind: "sam", "asam" or "gsam".
        alpha: weight of the orthogonal part, GSAM only.
        offset: eta, ASAM only.
    """
    checks.choice("kind", kind, KINDS)
    parameters = dict(parameters)
    g, value = grad_and_value(loss)(parameters)
    moved = perturb(
        parameters, {name: one.detach() for name, one in g.items()}, rho, adaptive=kind == "asam", offset=offset
    )
    # the perturbation is a constant: the step's derivative through it is dropped, as in all three papers
    perturbed = grad(loss)(moved)
    if kind != "gsam":
        return perturbed, value
    alpha = checks.number("alpha", alpha, low=0.0)
    square = norm_of(perturbed).square()
    along = sum((g[name] * perturbed[name]).sum() for name in g) / torch.where(square > 0, square, 1.0)
    return {name: perturbed[name] - alpha * (g[name] - along * perturbed[name]) for name in g}, value


def loss_sharpness(
    loss: Callable[[dict[str, torch.Tensor]], torch.Tensor],
    parameters: Parameters,
    rho: float = 0.05,
    *,
    relative: bool = True,
    adaptive: bool = False,
) -> torch.Tensor:
    """L(theta + eps) - L(theta), with ``relative=True`` over L(theta): models are then compared at unequal losses.

    A loss of exactly 0 gives infinity or NaN where it is divided by.
    """
    parameters = dict(parameters)
    g, value = grad_and_value(loss)(parameters)
    rise = loss(perturb(parameters, g, rho, adaptive=adaptive)) - value
    return rise / value if relative else rise


def norm_of(tensors: Parameters) -> torch.Tensor:
    """Euclidean norm of all entries together."""
    return sum(value.square().sum() for value in tensors.values()).sqrt()  # type: ignore[union-attr]


def _same_names(parameters, gradient):
    if set(parameters) != set(gradient):
        names = ", ".join(sorted(set(parameters) ^ set(gradient)))
        raise ValueError(f"gradient must have the names of parameters; only one of them has {names}")
