r"""Gradients as functions of parameters and data, and training unrolled on them, to be differentiated itself.

A model is a function of ``(parameters, inputs)`` with parameters as a dictionary of tensors. Plain descent with momentum,

.. math:: v_{s+1} = \mu v_s + \nabla_\theta \ell(\theta_s), \qquad \theta_{s+1} = \theta_s - \eta v_{s+1},

is a function of the data, the learning rate and the start, and :func:`unroll` keeps its graph.

Sources: D. Maclaurin, D. Duvenaud, R. Adams, 'Gradient-based hyperparameter optimization through reversible learning', ICML
2015; T. Chen, B. Xu, C. Zhang, C. Guestrin, 'Training deep nets with sublinear memory cost', 2016 (recomputation by segments).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from lab import checks

Parameters = dict[str, torch.Tensor]
BY = ("batch", "item", "group")


def function_of(model: nn.Module) -> Callable[[Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor]:
    """``model`` as a pure function ``(parameters, inputs) -> outputs``; its own weights stay as they are."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch module, got {type(model).__name__}")
    return lambda parameters, x: functional_call(model, dict(parameters), (x,))


def parameters_of(model: nn.Module) -> Parameters:
    """The trained parameters of ``model`` by name, as copies without graph."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def gradients(
    model: nn.Module | Callable[[Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor],
    parameters: Mapping[str, torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    loss: str | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = "cross_entropy",
    *,
    by: str = "batch",
) -> Parameters:
    """Gradients of the loss with respect to parameters, differentiable themselves in ``parameters`` and ``x``.

    Args:
        model: a module, or a pure function ``(parameters, inputs) -> logits``.
        parameters: by name; what a module keeps besides them stays as it is.
        x, y: a batch (items, ...) with its targets; with ``by="group"`` (groups, items, ...) and (groups, items).
        loss: "cross_entropy", "squared_error", or a callable ``(outputs, targets) -> scalar`` of one batch.
        by: "batch": one gradient of the batch's loss; "item": one for each item, of the batch that it is alone; "group": one for
            each group. The last two get a leading axis.

    Returns:
        Gradients with the parameters' names and shapes.

    >>> model = nn.Linear(3, 2)
    >>> g = gradients(model, parameters_of(model), torch.ones(5, 3), torch.zeros(5).long(), by="item")
    >>> tuple(g["weight"].shape)
    (5, 2, 3)
    """
    checks.choice("by", by, BY)
    if len(x) != len(y):
        raise ValueError(
            f"x and y must have equally many {'groups' if by == 'group' else 'items'}, got {len(x)} and {len(y)}"
        )
    apply = function_of(model) if isinstance(model, nn.Module) else model
    measure = _loss(loss)
    single = grad(lambda theta, inputs, targets: measure(apply(theta, inputs), targets))
    parameters = dict(parameters)
    if by == "batch":
        return single(parameters, x, y)
    if by == "item":
        x, y = x[:, None], y[:, None]
    return vmap(single, in_dims=(None, 0, 0))(parameters, x, y)


def unroll(
    gradient: Callable[..., Mapping[str, torch.Tensor]],
    parameters: Mapping[str, torch.Tensor],
    *inputs: torch.Tensor,
    steps: int,
    learning_rate: float | torch.Tensor,
    momentum: float = 0.0,
    recompute: bool = False,
) -> list[Parameters]:
    """Descent with momentum, kept in the graph; returns the parameters before and after every step, ``steps + 1`` of them.

    Args:
        gradient: ``(parameters, step, *inputs) -> gradients``, such as a call of :func:`gradients` on the data in ``inputs``.
        parameters: the start, which may have a graph of its own; leading axes (seeds) are the caller's.
        inputs: the tensors that the result is to be differentiated in, such as synthetic data. With ``recompute=True`` other
            tensors that ``gradient`` closes over get no gradient.
        steps: number of steps, at least 0.
        learning_rate: eta; a tensor of shape () gets a gradient, one of any shape must broadcast against every parameter.
        momentum: mu in [0, 1).
        recompute: keep the parameters at about sqrt(steps) of the steps and compute the others again in the backward pass:
            memory of graphs grows with the root of the steps, at the price of one more forward pass. Without it the memory is
            linear in the steps.

    >>> half = unroll(lambda p, step: p, {"w": torch.ones(2)}, steps=1, learning_rate=0.5)
    >>> half[1]["w"].tolist()
    [0.5, 0.5]
    """
    steps, momentum = checks.integer("steps", steps, low=0), checks.number("momentum", momentum, low=0.0)
    if momentum >= 1:
        raise ValueError(f"momentum must be below 1, got {momentum}")
    if not isinstance(learning_rate, torch.Tensor):
        checks.number("learning_rate", learning_rate, low=0.0)
    names = list(parameters)
    rate = torch.as_tensor(learning_rate, dtype=parameters[names[0]].dtype, device=parameters[names[0]].device)
    theta = [parameters[name] for name in names]
    velocity = [torch.zeros_like(value) for value in theta]
    found = [dict(zip(names, theta))]

    def segment(first: int, last: int):
        def run(rate, *tensors):
            theta, velocity, data = (
                tensors[: len(names)],
                tensors[len(names) : 2 * len(names)],
                tensors[2 * len(names) :],
            )
            visited: list[torch.Tensor] = []
            for step in range(first, last):
                g = gradient(dict(zip(names, theta)), step, *data)
                velocity = tuple(momentum * v + g[name] for v, name in zip(velocity, names))
                theta = tuple(p - rate * v for p, v in zip(theta, velocity))
                visited.extend(theta)
            return (*visited, *velocity)

        return run

    size = math.isqrt(max(steps - 1, 0)) + 1 if recompute else max(steps, 1)
    for first in range(0, steps, size):
        run = segment(first, min(first + size, steps))
        tensors = (rate, *theta, *velocity, *inputs)
        out = recomputed(run, *tensors) if recompute else run(*tensors)
        visited, velocity = out[: -len(names)], list(out[-len(names) :])
        found += [dict(zip(names, visited[i : i + len(names)])) for i in range(0, len(visited), len(names))]
        theta = list(visited[-len(names) :])
    return found


def flatten(parameters: Mapping[str, torch.Tensor], leading: int = 0) -> torch.Tensor:
    """All parameters as one vector (..., size), in the order of their names' appearance; ``leading`` axes are kept."""
    if not parameters:
        raise ValueError("parameters is empty; at least one is needed")
    return torch.cat([value.flatten(leading) for value in parameters.values()], dim=-1)


def unflatten(vector: torch.Tensor, like: Mapping[str, torch.Tensor]) -> Parameters:
    """The inverse of :func:`flatten`: ``vector`` (..., size) cut into the names and shapes of ``like``."""
    sizes = [value.numel() for value in like.values()]
    if vector.ndim == 0 or vector.shape[-1] != sum(sizes):
        raise ValueError(f"vector must have {sum(sizes)} entries on its last axis, got shape {tuple(vector.shape)}")
    pieces = vector.split(sizes, dim=-1)
    return {name: piece.reshape(*vector.shape[:-1], *value.shape) for (name, value), piece in zip(like.items(), pieces)}


def recomputed(function: Callable[..., Any], *tensors: torch.Tensor) -> Any:
    """``function(*tensors)`` (a tensor or a tuple of tensors) whose graph is built in the backward pass and not before.

    The function must be pure: tensors that it closes over get no gradient. It may use ``torch.func`` inside, and the result can
    be differentiated more than once.
    """
    return _Recomputed.apply(function, *tensors)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, *tensors):
        ctx.function = function
        ctx.set_materialize_grads(False)  # what nothing depends on is left out in the backward pass
        ctx.save_for_backward(*tensors)
        result = function(*tensors)
        if isinstance(result, torch.Tensor):
            return result
        # an output that is an input would be marked as a view of it
        return tuple(one.clone() if any(one is tensor for tensor in tensors) else one for one in result)

    @staticmethod
    def backward(ctx, *gradients):
        again = torch.is_grad_enabled()
        wanted = [need for need in ctx.needs_input_grad[1:]]
        tensors = [
            tensor if again else tensor.detach().requires_grad_(need) for tensor, need in zip(ctx.saved_tensors, wanted)
        ]
        with torch.enable_grad():
            results = ctx.function(*tensors)
            results = (results,) if isinstance(results, torch.Tensor) else results
            pairs = [(r, g) for r, g in zip(results, gradients) if g is not None and r.requires_grad]
            sources = [tensor for tensor, need in zip(tensors, wanted) if need]
            found = iter(
                torch.autograd.grad(
                    [r for r, _ in pairs], sources, [g for _, g in pairs], create_graph=again, allow_unused=True
                )
                if pairs
                else [None] * len(sources)
            )
        return None, *(next(found) if need else None for need in wanted)


def _loss(loss):
    if callable(loss):
        return loss
    checks.choice("loss", loss, ("cross_entropy", "squared_error"))
    return F.cross_entropy if loss == "cross_entropy" else F.mse_loss
