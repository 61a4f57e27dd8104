"""Many models of one architecture as one module with stacked weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call, vmap

from lab import checks


@dataclass(frozen=True, eq=False)
class PerModel:
    """Values whose first axis is the model: ``PerModel(inputs)`` with ``inputs`` (models, items, ...)."""

    values: torch.Tensor


class Stack(nn.Module):
    """Models of one architecture, their weights stacked along a first axis.

    ``stack(x)`` gives every model the same inputs (items, ...) and returns (models, items, ...); ``stack(PerModel(x))`` gives
    each its own. ``stack[i]`` is model ``i`` as a plain module (a copy), ``len(stack)`` the number of models.

    Raises:
        ValueError: no model, or models of different architecture (parameter names or shapes).
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
        shapes = [[(name, value.shape, value.dtype, value.device) for name, value in found.items()] for found in parameters]
        for index, shape in enumerate(shapes):
            if shape != shapes[0] or not _same_layers(models[index], models[0]):
                raise ValueError(f"models must share one architecture, but model {index} differs from model 0")
        refused = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
        for layer in models[0].modules():
            if isinstance(layer, refused) and not (isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p == 0):
                raise TypeError(
                    f"models hold {type(layer).__name__}, which keeps statistics or draws global random numbers; "
                    "use group or layer normalization, and no dropout"
                )
        if not shapes[0]:
            raise ValueError("models have no parameters to train")
        self.count = len(models)
        self.names = tuple(parameters[0])
        self.weights = nn.ParameterList(
            nn.Parameter(torch.stack([found[name].detach() for found in parameters])) for name in self.names
        )
        object.__setattr__(self, "template", copy.deepcopy(models[0]).requires_grad_(False))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> nn.Module:
        index = range(self.count)[index]
        model = copy.deepcopy(self.template)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.weights[self.names.index(name)][index])
        return model.requires_grad_(True)

    def parameters_by_name(self) -> dict[str, torch.Tensor]:
        """Stacked parameters (models, ...) under their names in the single model."""
        return dict(zip(self.names, self.weights))

    def forward(self, inputs: torch.Tensor | PerModel) -> torch.Tensor:
        each = isinstance(inputs, PerModel)
        values = inputs.values if each else inputs
        if each:
            checks.tensor("inputs", values, finite=False)
            if len(values) != self.count:
                raise ValueError(f"inputs must have one entry for each of the {self.count} models, got {len(values)}")
        call = lambda weights, x: functional_call(self.template, weights, (x,))  # noqa: E731
        return vmap(call, in_dims=(0, 0 if each else None))(self.parameters_by_name(), values)


def _same_layers(first, second) -> bool:
    """Whether two modules are the same layers with the same options (what a layer prints of itself)."""
    left, right = list(first.modules()), list(second.modules())
    return len(left) == len(right) and all(type(a) is type(b) and a.extra_repr() == b.extra_repr() for a, b in zip(left, right))
