"""Many models of one architecture as one module with stacked weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, vmap

from lab import checks


@dataclass(frozen=True, eq=False)
class PerModel:
    """Values whose first axis is the model: ``PerModel(inputs)`` with ``inputs`` (models, items, ...)."""

    values: torch.Tensor


class Stack(nn.Module):
    """Models of one architecture, their weights stacked along a first axis, and so are buffers in which they differ.

    ``stack(x)`` gives every model the same inputs (items, ...) and returns (models, items, ...); ``stack(PerModel(x))`` gives
    each its own. ``stack[i]`` is model ``i`` as a plain module (a copy), ``len(stack)`` the number of models. Parameters
    without ``requires_grad`` stay as they are, parameters that several layers share stay shared.

    Raises:
        ValueError: no model, or models of different architecture (parameter names or shapes, which of them are trained or
            shared, modes, attributes such as tensors that are no buffers), or nothing to train.
        TypeError: layers that keep running statistics or draw random numbers (batch normalization, dropout), whose stacked
            form would not equal the single models; use group or layer normalization.
    """

    def __init__(self, models: Sequence[nn.Module]):
        super().__init__()
        models = list(models)
        if not models:
            raise ValueError("models is empty; at least one is needed")
        for model in models:
            if not isinstance(model, nn.Module):
                raise TypeError(f"models must hold torch modules, got {type(model).__name__}")
        parameters = [dict(model.named_parameters()) for model in models]
        buffers = [dict(model.named_buffers()) for model in models]
        shapes = [_shape(model) for model in models]
        for index, shape in enumerate(shapes):
            if shape != shapes[0] or not _same_layers(models[index], models[0]):
                raise ValueError(f"models must share one architecture, but model {index} differs from model 0")
            _same_attributes(models[index], models[0], index)
        refused = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
        for layer in models[0].modules():
            if isinstance(layer, refused) and not (isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p == 0):
                raise TypeError(
                    f"models hold {type(layer).__name__}, which keeps statistics or draws global random numbers; "
                    "use group or layer normalization, and no dropout"
                )
        self.count = len(models)
        self.template: nn.Module
        self.names = tuple(parameters[0])
        self.trained = tuple(value.requires_grad for value in parameters[0].values())
        if not any(self.trained):
            raise ValueError("models have no parameters to train")
        dtypes = {value.dtype for value in parameters[0].values() if value.requires_grad}
        if len(dtypes) > 1:
            raise ValueError(f"models must train parameters of one dtype, got {', '.join(sorted(map(str, dtypes)))}")
        self.weights = nn.ParameterList(
            nn.Parameter(torch.stack([found[name].detach() for found in parameters]), requires_grad=trained)
            for name, trained in zip(self.names, self.trained)
        )
        self.own = tuple(
            name for name, value in buffers[0].items() if not all(_equal(found[name], value) for found in buffers)
        )
        for place, name in enumerate(self.own):
            self.register_buffer(f"own_{place}", torch.stack([found[name].detach() for found in buffers]))
        self.ties = _ties(models[0])
        object.__setattr__(self, "template", copy.deepcopy(models[0]).requires_grad_(False))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> nn.Module:
        index = range(self.count)[index]
        model = copy.deepcopy(self.template)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.weights[self.names.index(name)][index])
            for name, value in self.buffers_by_name().items():
                model.get_buffer(name).copy_(value[index])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(self.trained[self.names.index(name)])
        return model

    def parameters_by_name(self) -> dict[str, torch.Tensor]:
        """Stacked parameters (models, ...) under their names in the single model."""
        return dict(zip(self.names, self.weights))

    def buffers_by_name(self) -> dict[str, torch.Tensor]:
        """Stacked buffers (models, ...) in which the models differ, under their names in the single model."""
        return {name: getattr(self, f"own_{place}") for place, name in enumerate(self.own)}

    def single(self, states: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of the single model with these parameters and buffers, to be mapped over models."""
        tied = {place: states[name] for place, name in self.ties.items() if name in states}
        # torch's own way of tying writes a layer that stands at two places twice, and leaves its copy behind
        return functional_call(self.template, {**states, **tied}, (inputs,), tie_weights=False)

    def forward(self, inputs: torch.Tensor | PerModel) -> torch.Tensor:
        each = isinstance(inputs, PerModel)
        values = inputs.values if isinstance(inputs, PerModel) else inputs
        if each:
            checks.tensor("inputs", values, finite=False)
            if len(values) != self.count:
                raise ValueError(f"inputs must have one entry for each of the {self.count} models, got {len(values)}")
        states = {**self.parameters_by_name(), **self.buffers_by_name()}
        return vmap(self.single, in_dims=(0, 0 if each else None))(states, values)


def _shape(model):
    """What must agree for models to be stacked: names, shapes, dtypes and places of parameters and buffers, which are trained,
    and which names stand for one parameter."""
    found = [
        (name, value.shape, value.dtype, value.device, value.requires_grad)
        for values in (model.named_parameters(), model.named_buffers())
        for name, value in values
    ]
    first: dict[int, str] = {}
    shared = [
        (name, first.setdefault(id(value), name)) for name, value in model.named_parameters(remove_duplicate=False)
    ]
    return found, shared


def _ties(model) -> dict[str, str]:
    """Names of parameters and buffers that are another one's (its first name), once for each layer that holds them."""
    first: dict[int, str] = {}
    seen, found = set(), {}
    for values in (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)):
        for name, value in values:
            layer, _, attribute = name.rpartition(".")
            place = (id(model.get_submodule(layer)), attribute)
            if place not in seen and first.setdefault(id(value), name) != name:
                found[name] = first[id(value)]
            seen.add(place)
    return found


_KNOWN = set(vars(nn.Module()))  # what torch keeps in every module


def _same_attributes(model, first, index) -> None:
    """Refuse models whose layers hold different numbers, words, tensors or modes outside of parameters and buffers."""
    for (name, layer), other in zip(model.named_modules(), first.modules()):
        mine, theirs = vars(layer), vars(other)
        for key in sorted(set(mine) | set(theirs)):
            if key in _KNOWN - {"training"} or (key in mine and key in theirs and _equal(mine[key], theirs[key])):
                continue
            place = f"{name}.{key}" if name else key
            raise ValueError(
                f"models must agree in what is no parameter and no buffer, but {place} of model {index} differs from that of "
                "model 0; register it as a buffer, or give all models the same"
            )


def _equal(a, b) -> bool:
    """Whether two attributes say the same; what is neither data nor a container of data is taken to."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    return (
        a == b or a != a if isinstance(a, (bool, int, float, complex, str, bytes, torch.dtype, torch.device)) else True
    )


def _same_layers(first, second) -> bool:
    """Whether two modules are the same layers with the same options (what a layer prints of itself)."""
    left, right = list(first.modules()), list(second.modules())
    return len(left) == len(right) and all(
        type(a) is type(b) and a.extra_repr() == b.extra_repr() for a, b in zip(left, right)
    )
