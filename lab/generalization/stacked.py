"""Training of stacked models by a gradient of one's own: perturbed, adversarial or partly frozen steps that no loss has.

Parameters are dictionaries of tensors with a leading axis of models; a step is mapped over them by ``torch.func.vmap`` and
taken by one Adam for all. Equal to a loop over models from equal weights and batch orders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from lab.training.batches import batch_order

Parameters = dict[str, torch.Tensor]

Network = TypeVar("Network", bound=nn.Module)


def stack(models: Sequence[nn.Module]) -> Parameters:
    """The parameters of models of one architecture, (models, ...), without graph."""
    return {name: value.detach().clone() for name, value in stack_module_state(list(models))[0].items()}


def one_of(parameters: Parameters, index: int) -> Parameters:
    """The parameters of one model."""
    return {name: value[index] for name, value in parameters.items()}


def filled(model: Network, parameters: Parameters) -> Network:
    """A copy of ``model`` with these parameters."""
    from copy import deepcopy

    found = deepcopy(model)
    with torch.no_grad():
        for name, value in found.named_parameters():
            value.copy_(parameters[name])
    return found


def outputs(model: nn.Module, parameters: Parameters, x: torch.Tensor) -> torch.Tensor:
    """(models, items, ...) for shared inputs (items, ...)."""
    with torch.no_grad():
        return vmap(lambda p: functional_call(model, p, (x,)))(parameters)


def descend(
    parameters: Parameters,
    step: Callable[..., Parameters],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    seeds: Sequence[int],
    epochs: int,
    batch_size: int,
    learning_rate: float | Sequence[float],
    progress: Callable[[int, int], None] | None = None,
) -> Parameters:
    """Adam on the gradients that ``step(parameters, x, y, number) -> gradients`` returns.

    Args:
        parameters: stacked; they are copied.
        step: handed stacked parameters, batches (models, batch, ...) and the step's number among all.
        x, y: (items, ...) shared, or (models, items, ...) where ``y`` has two axes of models and items.
        learning_rate: one, or one a model.
    """
    now = {name: value.clone() for name, value in parameters.items()}
    rates = torch.as_tensor(learning_rate, dtype=torch.float32).expand(len(seeds))
    first = {name: torch.zeros_like(value) for name, value in now.items()}
    second = {name: torch.zeros_like(value) for name, value in now.items()}
    own = y.shape[:1] == (len(seeds),) and x.shape[:2] == y.shape[:2]
    items, number = x.shape[1 if own else 0], 0
    models = torch.arange(len(seeds))[:, None]
    for epoch in range(epochs):
        order = torch.stack([batch_order(items, seed, epoch) for seed in seeds])
        for rows in order.split(batch_size, dim=1):
            batch = (x[models, rows], y[models, rows]) if own else (x[rows], y[rows])
            found = step(now, *batch, number)
            number += 1
            for name, g in found.items():
                first[name].lerp_(g, 0.1)
                second[name].lerp_(g.square(), 0.001)
                size = (second[name] / (1 - 0.999**number)).sqrt_().add_(1e-8)
                rate = (rates / (1 - 0.9**number)).view(-1, *[1] * (g.ndim - 1))
                now[name] = now[name] - rate * first[name] / size
        if progress is not None:
            progress(epoch + 1, epochs)
    return now
