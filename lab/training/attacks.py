"""Adversarial inputs of a classifier within a ball: FGSM, PGD with restarts, APGD.

I. Goodfellow, J. Shlens, C. Szegedy, 'Explaining and harnessing adversarial examples', ICLR 2015 (FGSM); A. Madry et al., 'Towards
deep learning models resistant to adversarial attacks', ICLR 2018 (PGD); F. Croce, M. Hein, 'Reliable evaluation of adversarial
robustness with an ensemble of diverse parameter-free attacks', ICML 2020, Algorithm 1 and equation 6 (APGD-CE, APGD-DLR).

``model(inputs) -> logits (items, classes)``; the items are independent of each other. All attacks return inputs of the same shape
with ``||x' - x|| <= epsilon`` per item and values in ``bounds``; an attack returns for each item the input of highest loss among
those that are misclassified, or the highest loss of all where none is. The model's parameters get no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from lab import checks

NORMS = ("linf", "l2")
LOSSES = ("cross_entropy", "dlr")


def fgsm(
    model: Callable,
    inputs,
    targets,
    *,
    epsilon: float,
    norm: str = "linf",
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> torch.Tensor:
    """One step of size ``epsilon`` along the sign (linf) or the direction (l2) of the cross-entropy's gradient."""
    problem = _Problem(model, inputs, targets, epsilon, norm, bounds, "cross_entropy")
    _, _, gradient = problem.evaluate(problem.inputs)
    return problem.project(problem.inputs + problem.epsilon * problem.direction(gradient))


def pgd(
    model: Callable,
    inputs,
    targets,
    *,
    epsilon: float,
    norm: str = "linf",
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    loss: str = "cross_entropy",
    seed: int | torch.Generator = 0,
) -> torch.Tensor:
    """Projected gradient ascent on the loss, from ``restarts`` starts uniform in the ball.

    ``x <- P(x + step_size * direction(grad))``; ``step_size`` defaults to ``2.5 epsilon / steps``.
    """
    problem = _Problem(model, inputs, targets, epsilon, norm, bounds, loss)
    steps, restarts = checks.integer("steps", steps, low=1), checks.integer("restarts", restarts, low=1)
    step_size = (
        2.5 * problem.epsilon / steps
        if step_size is None
        else checks.number("step_size", step_size, low=0.0, open_low=True)
    )
    generator = checks.generator(seed, problem.inputs.device)
    best = _Best(problem.inputs)
    for _ in range(restarts):
        x = problem.start(generator) if random_start else problem.inputs
        for _ in range(steps):
            values, wrong, gradient = problem.evaluate(x)
            best.update(x, values, wrong)
            x = problem.project(x + step_size * problem.direction(gradient))
        best.update(x, *problem.evaluate(x)[:2])
    return best.inputs


def apgd(
    model: Callable,
    inputs,
    targets,
    *,
    epsilon: float,
    norm: str = "linf",
    steps: int = 100,
    restarts: int = 1,
    loss: str = "cross_entropy",
    bounds: tuple[float, float] | None = (0.0, 1.0),
    seed: int | torch.Generator = 0,
) -> torch.Tensor:
    """APGD: gradient ascent with momentum 0.75 whose step starts at ``2 epsilon`` and halves at checkpoints without progress.

    ``loss="dlr"``: ``-(z_y - max_{i != y} z_i) / (z_(1) - z_(3))`` of the ordered logits, at least three classes.
    """
    problem = _Problem(model, inputs, targets, epsilon, norm, bounds, loss)
    steps, restarts = checks.integer("steps", steps, low=2), checks.integer("restarts", restarts, low=1)
    generator = checks.generator(seed, problem.inputs.device)
    best = _Best(problem.inputs)
    for _ in range(restarts):
        _ascend(problem, problem.start(generator), steps, best)
    return best.inputs


def _ascend(problem, x, steps, best):
    shape = (-1, *[1] * (x.ndim - 1))
    values, wrong, gradient = problem.evaluate(x)
    best.update(x, values, wrong)
    top, top_x, top_gradient = values, x, gradient
    step = torch.full_like(values, 2 * problem.epsilon)
    previous = x
    increases = torch.zeros_like(values)
    step_before, top_before = step.clone(), values.clone()
    checkpoints = _checkpoints(steps)
    last = 0
    for k in range(1, steps + 1):
        momentum = 1.0 if k == 1 else 0.75
        z = problem.project(x + step.view(shape) * problem.direction(gradient))
        new = problem.project(x + momentum * (z - x) + (1 - momentum) * (x - previous))
        previous, x = x, new
        before = values
        values, wrong, gradient = problem.evaluate(x)
        best.update(x, values, wrong)
        increases += (values > before).to(increases.dtype)
        higher = values > top
        top = torch.where(higher, values, top)
        top_x = torch.where(higher.view(shape), x, top_x)
        top_gradient = torch.where(higher.view(shape), gradient, top_gradient)
        if k in checkpoints:
            halve = (increases < 0.75 * (k - last)) | ((step_before == step) & (top_before == top))
            step_before, top_before = step.clone(), top.clone()
            step = torch.where(halve, step / 2, step)
            x = torch.where(halve.view(shape), top_x, x)
            gradient = torch.where(halve.view(shape), top_gradient, gradient)
            previous = torch.where(halve.view(shape), top_x, previous)
            values = torch.where(halve, top, values)
            increases.zero_()
            last = k


def _checkpoints(steps) -> set[int]:
    """``w_j = ceil(p_j steps)`` with ``p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)``."""
    shares = [0.0, 0.22]
    while shares[-1] <= 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return {math.ceil(round(share * steps, 6)) for share in shares[1:] if share <= 1}


class _Problem:
    """A checked attack: loss and gradient at a point, ball and bounds."""

    def __init__(self, model, inputs, targets, epsilon, norm, bounds, loss):
        self.model = model
        self.inputs = checks.tensor("inputs", inputs, floating=True).detach()
        self.targets = checks.tensor("targets", targets, shape=(len(self.inputs),)).to(self.inputs.device)
        if self.targets.is_floating_point() or self.targets.dtype == torch.bool:
            raise TypeError(f"targets must be integer classes, got {self.targets.dtype}")
        self.epsilon = checks.number("epsilon", epsilon, low=0.0, open_low=True)
        self.norm, self.loss = checks.choice("norm", norm, NORMS), checks.choice("loss", loss, LOSSES)
        self.bounds = bounds
        if bounds is not None:
            low, high = float(self.inputs.min()), float(self.inputs.max())
            if low < bounds[0] - 1e-6 or high > bounds[1] + 1e-6:
                raise ValueError(f"inputs must lie in bounds {tuple(bounds)}, got values from {low:.4g} to {high:.4g}")

    def evaluate(self, x):
        """Loss (items,), whether misclassified (items,), gradient at ``x``."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.model(x)
            if logits.ndim != 2 or len(logits) != len(x):
                raise ValueError(
                    f"model must return logits (items, classes), got shape {tuple(logits.shape)} for {len(x)} items"
                )
            values = (
                F.cross_entropy(logits, self.targets, reduction="none")
                if self.loss == "cross_entropy"
                else _dlr(logits, self.targets)
            )
            (gradient,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), logits.argmax(dim=1) != self.targets, gradient

    def direction(self, gradient):
        if self.norm == "linf":
            return gradient.sign()
        length = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
        return gradient / length.view(-1, *[1] * (gradient.ndim - 1))

    def project(self, x):
        """Into the ball, then into the bounds (the bounds are convex and hold the centre, so the ball's bound stays)."""
        offset = x - self.inputs
        if self.norm == "linf":
            offset = offset.clamp(-self.epsilon, self.epsilon)
        else:
            length = offset.flatten(1).norm(dim=1).clamp(min=1e-12)
            offset = offset * (self.epsilon / length).clamp(max=1.0).view(-1, *[1] * (x.ndim - 1))
        x = self.inputs + offset
        return x if self.bounds is None else x.clamp(*self.bounds)

    def start(self, generator):
        x = self.inputs
        if self.norm == "linf":
            offset = self.epsilon * (2 * torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) - 1)
        else:
            offset = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            share = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype) ** (
                x.ndim > 1 and 1 / x[0].numel() or 1.0
            )
            length = offset.flatten(1).norm(dim=1).clamp(min=1e-12)
            offset = offset * (self.epsilon * share / length).view(-1, *[1] * (x.ndim - 1))
        return self.project(x + offset)


class _Best:
    """For each item the misclassified input of highest loss, else the input of highest loss."""

    def __init__(self, inputs):
        self.inputs = inputs.clone()
        self.values = torch.full((len(inputs),), -float("inf"), device=inputs.device, dtype=inputs.dtype)
        self.wrong = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)

    def update(self, x, values, wrong):
        better = (wrong & ~self.wrong) | ((wrong == self.wrong) & (values > self.values))
        self.inputs = torch.where(better.view(-1, *[1] * (x.ndim - 1)), x, self.inputs)
        self.values = torch.where(better, values, self.values)
        self.wrong |= wrong


def _dlr(logits, targets):
    if logits.shape[1] < 3:
        raise ValueError(f"loss 'dlr' needs at least 3 classes, got {logits.shape[1]}; use 'cross_entropy'")
    ordered, places = logits.sort(dim=1, descending=True)
    own = logits.gather(1, targets[:, None])[:, 0]
    other = torch.where(places[:, 0] == targets, ordered[:, 1], ordered[:, 0])
    return -(own - other) / (ordered[:, 0] - ordered[:, 2] + 1e-12)
