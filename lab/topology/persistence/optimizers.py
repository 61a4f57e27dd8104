r"""Five ways to turn an objective of persistence into a descent direction.

The gradient of a loss of a barcode touches a handful of points: those that carry its bars. All transforms start from the
same generators and differ in how they spread or enrich that information.

========================  ==============================================================================  ==============
transform                 direction                                                                       cost a step
========================  ==============================================================================  ==============
``Vanilla``               the subgradient itself                                                          1 barcode
``StratifiedSampling``    shortest vector in the convex hull of gradients near x                          m barcodes
``BigStep``               moves every cell that must move for a bar to reach its target                   1 reduction
``Continuation``          least squares: the shortest move of x that moves the bars as asked              1 barcode, SVD
``Diffeomorphic``         Gaussian interpolation of the sparse gradient over all points                   1 barcode, solve
========================  ==============================================================================  ==============

Sources: Carriere and others, ICML 2021 (vanilla); Jacob Leygonie, Mathieu Carriere, Theo Lacombe, Steve Oudot, 'A gradient
sampling algorithm for stratified maps with applications to topological data analysis', Mathematical Programming 2023;
Arnur Nigmetov, Dmitriy Morozov, 'Topological optimization with big steps', Discrete and Computational Geometry 2024;
Marcio Gameiro, Yasuaki Hiraoka, Ippei Obayashi, 'Continuation of point clouds via persistence diagrams', Physica D 2016;
Mathieu Carriere, Marc Theveneau, Theo Lacombe, 'Diffeomorphic interpolation for efficient persistence-based topological
optimization', NeurIPS 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lab import checks
from lab.kernels import pairwise
from lab.topology.persistence.objectives import Objective


def gradient_of(loss, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and subgradient of ``loss`` at ``x``."""
    point = x.detach().clone().requires_grad_()
    value = loss(point)
    if not isinstance(value, torch.Tensor) or value.ndim:
        raise ValueError(f"loss must return a scalar tensor, got {value!r}")
    if not bool(torch.isfinite(value.detach())):
        raise ValueError(f"loss must be finite, got {float(value.detach())}")
    if not value.requires_grad:
        return value.detach(), torch.zeros_like(point)
    (gradient,) = torch.autograd.grad(value, point, allow_unused=True)
    return value.detach(), torch.zeros_like(point) if gradient is None else gradient


@dataclass(frozen=True)
class Vanilla:
    """The subgradient that automatic differentiation selects."""

    def __call__(self, loss, x, generator):
        return gradient_of(loss, x)


@dataclass(frozen=True)
class StratifiedSampling:
    """Shortest vector in the convex hull of the gradients at x and at ``samples`` points within ``radius`` of it.

    Near a wall between two order types the gradients of both sides are seen, so the direction descends on both and its
    length tells how far from critical x is.
    """

    radius: float = 0.02
    samples: int = 8

    def __post_init__(self):
        checks.number("radius", self.radius, low=0.0, open_low=True)
        checks.integer("samples", self.samples, low=1)

    def __call__(self, loss, x, generator):
        value, own = gradient_of(loss, x)
        gradients = [own]
        for _ in range(self.samples):
            shift = torch.randn(x.shape, generator=generator, dtype=x.dtype)
            gradients.append(gradient_of(loss, x + self.radius * shift / shift.norm())[1])
        return value, shortest_in_hull(torch.stack([g.reshape(-1) for g in gradients])).reshape(x.shape)


def shortest_in_hull(vectors: torch.Tensor) -> torch.Tensor:
    """The point of smallest norm in the convex hull of the rows, by non-negative least squares.

    min |V^T a|^2 over a >= 0, sum a = 1, is the solution of min |[V^T; c 1^T] a - (0, c)|^2 over a >= 0, normalized."""
    from scipy.optimize import nnls

    rows = vectors.detach().double().cpu().numpy()
    scale = np.linalg.norm(rows, axis=1).max()
    if scale == 0:
        return vectors[0]
    _, factor = np.linalg.qr(rows.T / scale)
    system = np.concatenate([factor, np.ones((1, len(rows)))])
    target = np.zeros(len(system))
    target[-1] = 1.0
    share, _ = nnls(system, target, maxiter=100 * len(rows))
    return torch.as_tensor(share / share.sum()).to(vectors) @ vectors


def criticality(
    loss, x: torch.Tensor, *, radius: float = 0.01, samples: int = 32, seed: int | torch.Generator = 0
) -> float:
    """Distance of zero from the sampled subdifferential at ``x``: small at a critical point, also where loss has a kink."""
    direction = StratifiedSampling(radius, samples)(loss, x.detach(), checks.generator(seed))[1]
    return float(direction.norm())


@dataclass(frozen=True)
class Continuation:
    """Shortest move of x that moves the bars, to first order, along minus the gradient of the loss in the bars.

    With J the Jacobian of births and deaths in x and g the gradient of the loss in them, the direction is :math:`J^+ g`;
    ``damping`` adds to the singular values. Needs an :class:`lab.topology.Objective` of one parameter.
    """

    damping: float = 1e-6

    def __call__(self, loss, x, generator):
        _needs_objective(loss, "Continuation")
        point = x.detach().clone().requires_grad_()
        diagram = loss.describe(point)
        value = loss.loss(diagram)
        if not len(diagram.points) or not value.requires_grad:
            return value.detach(), torch.zeros_like(x)
        (wanted,) = torch.autograd.grad(value, diagram.points, retain_graph=True)
        active = torch.nonzero(wanted.reshape(-1))[:, 0]
        flat = diagram.points.reshape(-1)
        rows = [torch.autograd.grad(flat[k], point, retain_graph=True)[0].reshape(-1) for k in active]
        if not rows:
            return value.detach(), torch.zeros_like(x)
        jacobian = torch.stack(rows)
        gram = jacobian @ jacobian.T + self.damping * torch.eye(len(active), dtype=x.dtype)
        direction = (jacobian.T @ torch.linalg.solve(gram, wanted.reshape(-1)[active])).reshape(x.shape)
        if loss.penalty is not None:
            extra, push = gradient_of(loss.penalty, x)
            value, direction = value.detach() + extra, direction + push
        return value.detach(), direction


@dataclass(frozen=True)
class Diffeomorphic:
    """Gaussian interpolation of the sparse gradient: a smooth field that moves all points and agrees on the anchors.

    With anchors I where the gradient g is not zero and :math:`K_{ij} = \\exp(-\\|x_i - x_j\\|^2 / 2\\sigma^2)`, the direction
    is :math:`K_{\\cdot I} K_{II}^{-1} g_I` (``interpolate="solve"``) or the kernel mean of the anchors' gradients
    (``"mean"``, no solve). With ``subsample`` the loss sees that many random points and the field still moves all.
    """

    bandwidth: float = 0.2
    subsample: int | None = None
    interpolate: str = "solve"

    def __post_init__(self):
        checks.number("bandwidth", self.bandwidth, low=0.0, open_low=True)
        checks.choice("interpolate", self.interpolate, ("solve", "mean"))

    def __call__(self, loss, x, generator):
        chosen = torch.arange(len(x))
        if self.subsample is not None:
            size = checks.integer("subsample", self.subsample, low=1, high=len(x))
            chosen = torch.randperm(len(x), generator=generator)[:size]
        value, gradient = gradient_of(loss, x[chosen])
        anchor = gradient.reshape(len(chosen), -1).abs().sum(1) > 0
        if not anchor.any():
            return value, torch.zeros_like(x)
        places, pushes = x[chosen][anchor], gradient[anchor]
        if self.interpolate == "mean":
            ones = torch.ones(len(places), 1, dtype=x.dtype)
            field = pairwise(x, places, torch.cat([pushes, ones], 1), lengthscale=self.bandwidth)
            return value, field[:, :-1] / field[:, -1:].clamp_min(1.0)
        gram = torch.exp(-0.5 * torch.cdist(places, places).square() / self.bandwidth**2)
        gram = gram + 1e-6 * torch.eye(len(places), dtype=x.dtype)
        return value, pairwise(x, places, torch.linalg.solve(gram, pushes), lengthscale=self.bandwidth)


@dataclass(frozen=True)
class BigStep:
    """Moves all cells that stand in the way of a bar's target, not only its two ends.

    The loss asks each birth or death c to move to ``c - size * gradient``. To raise the value of a cell to a target, all
    cells that would take over its role before the target must rise with it; to lower it, all cells that its chain depends
    on must sink (rows and columns of U and V in the reduction R = D V). The direction is the gradient of
    :math:`\\tfrac{1}{2 size}\\sum (f(\\sigma) - target)^2` over these cells. Needs an :class:`lab.topology.Objective` of one
    parameter on a Rips filtration of at most 200 points, a Graph, or an Image.
    """

    size: float = 0.1

    def __post_init__(self):
        checks.number("size", self.size, low=0.0, open_low=True)

    def __call__(self, loss, x, generator):
        from lab.topology.persistence.critical_sets import critical_cells

        _needs_objective(loss, "BigStep")
        point = x.detach().clone().requires_grad_()
        filtration = loss.filtration(point)
        diagram = loss.describe(point)
        value = loss.loss(diagram)
        if not len(diagram.points) or not value.requires_grad:
            return value.detach(), torch.zeros_like(x)
        (wanted,) = torch.autograd.grad(value, diagram.points, retain_graph=True)
        ask = (diagram.points - self.size * wanted).detach()
        cells, targets = critical_cells(filtration, diagram, ask, loss.degree)
        misfit = (filtration.gather(0, cells) - targets.to(x)).square().sum() / (2 * self.size)
        (direction,) = torch.autograd.grad(misfit, point)
        if loss.penalty is not None:
            extra, push = gradient_of(loss.penalty, x)
            value, direction = value.detach() + extra, direction + push
        return value.detach(), direction


def _needs_objective(loss, name):
    if not isinstance(loss, Objective):
        raise TypeError(
            f"{name} looks inside the loss: pass Objective(filtration=..., loss=..., degree=...), got {type(loss).__name__}"
        )
