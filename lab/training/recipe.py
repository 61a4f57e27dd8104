"""What a training run consists of, checked before any work starts: models, data, loss, optimizer, schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lab import checks
from lab.training.criteria import Criterion
from lab.training.stacks import PerModel, Stack

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad")
SCHEDULES = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "warmup-cosine": lambda done: done / 0.1 if done < 0.1 else 0.5 * (1 + math.cos(math.pi * (done - 0.1) / 0.9)),
}


@dataclass(frozen=True, eq=False)
class Recipe:
    """The checked arguments of ``fit``."""

    stack: Stack
    seeds: tuple[int, ...]
    data: tuple[torch.Tensor | None, ...]
    shared: tuple[bool, ...]
    items: int
    criterion: Criterion | None
    objective: Callable | None
    optimizer: str | Callable
    rates: tuple[float, ...]
    decays: tuple[float, ...]
    schedule: Callable[[float], float]
    epochs: int
    batch_size: int | None
    clip: float | None
    validation: tuple | None
    patience: int | None


def recipe(
    network,
    inputs,
    targets,
    *,
    seeds,
    loss,
    objective,
    optimizer,
    learning_rate,
    weight_decay,
    schedule,
    epochs,
    batch_size,
    sample_weights,
    clip,
    validation,
    patience,
) -> Recipe:
    """Check everything and build the models."""
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        seeds = range(checks.integer("seeds", seeds, low=1))
    seeds = tuple(checks.integer("seeds", seed, low=0) for seed in seeds)
    if isinstance(network, Sequence):
        models = list(network)
        seeds = seeds if len(seeds) == len(models) else tuple(range(len(models))) if len(seeds) == 1 else seeds
        if len(seeds) != len(models):
            raise ValueError(f"seeds must be one for each of the {len(models)} models, got {len(seeds)}")
    elif isinstance(network, nn.Module):
        raise TypeError("network must be a callable seed -> module or a list of modules, got one module; pass [module]")
    elif callable(network):
        models = [network(seed) for seed in seeds]
    else:
        raise TypeError(f"network must be a callable seed -> module or a list of modules, got {type(network).__name__}")
    stack = Stack(models)
    count, like = len(stack), stack.weights[0]
    if objective is not None and not callable(objective):
        raise TypeError(f"objective must be callable (model, inputs, targets), got {type(objective).__name__}")
    if objective is not None and sample_weights is not None:
        raise ValueError("sample_weights have no meaning with an objective; put them into its targets")
    if objective is None and targets is None:
        raise ValueError("targets are needed for a loss; an objective can do without")
    named = objective is None
    data, shared = _data(("inputs", "targets", "sample_weights"), (inputs, targets, sample_weights), count, like)
    items = data[0].shape[0 if shared[0] else 1]
    if data[2] is not None:
        weights = data[2]
        if weights.ndim != (1 if shared[2] else 2) or float(weights.min()) < 0:
            raise ValueError(
                f"sample_weights must be one non-negative weight per item, got shape {tuple(weights.shape)}"
            )
    if validation is not None:
        validation = tuple(zip(*_data(("validation inputs", "validation targets"), validation, count, like)))
    if patience is not None and validation is None:
        raise ValueError("patience needs validation=(inputs, targets)")
    criterion = Criterion(loss, count, sample_weights is not None) if named else None
    if loss == "cross_entropy" and named:
        classes = data[1]
        if classes.dtype != torch.int64:
            raise TypeError(f"targets must be int64 classes for cross_entropy, got {classes.dtype}; call .long() first")
    if not callable(optimizer):
        checks.choice("optimizer", optimizer, OPTIMIZERS)
    rates = _each("learning_rate", learning_rate, count, open_low=True)
    decays = _each("weight_decay", weight_decay, count)
    if callable(optimizer) and (len(set(rates)) > 1 or any(decays)):
        raise ValueError("learning_rate and weight_decay per model need a named optimizer; a callable one sets its own")
    return Recipe(
        stack,
        seeds,
        data,
        shared,
        items,
        criterion,
        objective,
        optimizer,
        rates,
        decays,
        schedule if callable(schedule) else SCHEDULES[checks.choice("schedule", schedule, SCHEDULES)],
        checks.integer("epochs", epochs, low=1),
        None if batch_size is None or batch_size >= items else checks.integer("batch_size", batch_size, low=1),
        None if clip is None else checks.number("clip", clip, low=0.0, open_low=True),
        validation,
        None if patience is None else checks.integer("patience", patience, low=1),
    )


def _data(names, values, count, like):
    """Tensors on the models' device and in their dtype, and whether each is shared by all models."""
    found, shared, items = [], [], None
    for name, value in zip(names, values):
        each = isinstance(value, PerModel)
        shared.append(not each)
        if value is None:
            found.append(None)
            continue
        value = checks.tensor(name, value.values if each else value)
        if value.ndim < 1 + each:
            raise ValueError(
                f"{name} must have an axis of items{' after the axis of models' if each else ''}, got shape {tuple(value.shape)}"
            )
        if each and len(value) != count:
            raise ValueError(f"{name} must have one entry for each of the {count} models, got {len(value)}")
        length = value.shape[int(each)]
        if items is not None and length != items[1]:
            raise ValueError(f"{items[0]} and {name} must have equally many items, got {items[1]} and {length}")
        items = items or (name, length)
        found.append(value.to(like.device, like.dtype) if value.is_floating_point() else value.to(like.device))
    if not found[0].is_floating_point():
        found[0] = found[0].to(like.dtype)
    return tuple(found), tuple(shared)


def _each(name, value, count, open_low=False) -> tuple[float, ...]:
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    values = tuple(value) if isinstance(value, Sequence) else (value,) * count
    if len(values) != count:
        raise ValueError(f"{name} must be one number or one for each of the {count} models, got {len(values)}")
    return tuple(checks.number(name, one, low=0.0, open_low=open_low) for one in values)


def torch_optimizer(name: str | Callable, parameters, rate: float, decay: float) -> torch.optim.Optimizer:
    """The torch optimizer of that name; fused where torch has a fused form."""
    if callable(name):
        return name(parameters)
    if name in ("sgd", "momentum"):
        return torch.optim.SGD(
            parameters, lr=rate, momentum=0.9 if name == "momentum" else 0.0, weight_decay=decay, fused=True
        )
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate, weight_decay=decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adagrad": torch.optim.Adagrad}[name]
    return kind(parameters, lr=rate, weight_decay=decay, fused=True)
