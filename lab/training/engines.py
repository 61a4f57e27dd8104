"""Forward and backward pass of all stacked models: hand-stacked for fully connected networks, mapped for the rest.

The parameters of all models lie in one flat buffer, their gradients in another, so that one fused optimizer step serves all.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.func import vmap

from lab.training.stacks import Stack

_ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.Identity)


class Flat:
    """Stacked tensors (models, ...) as views of one flat parameter, and the views of its gradient."""

    def __init__(self, tensors: list[torch.Tensor]):
        self.shapes = [value.shape for value in tensors]
        self.parameter = nn.Parameter(torch.cat([value.detach().reshape(-1) for value in tensors]))
        self.parameter.grad = torch.zeros_like(self.parameter)
        self.values = self.views(self.parameter.detach())
        self.gradients = self.views(self.parameter.grad)

    def views(self, buffer: torch.Tensor) -> list[torch.Tensor]:
        """``buffer`` cut into the stacked shapes."""
        pieces = buffer.split([shape.numel() for shape in self.shapes])
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes)]

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """One number per model (models,) repeated for each of its parameters, in the buffer's order."""
        return torch.cat([values.view(-1, *[1] * (len(shape) - 1)).expand(shape).reshape(-1) for shape in self.shapes])

    def norms(self) -> torch.Tensor:
        """Euclidean norm of each model's gradient."""
        return sum(gradient.flatten(1).square().sum(dim=1) for gradient in self.gradients).sqrt()


def engine(stack: Stack, inputs_rank: int, objective) -> Dense | Mapped:
    """The fastest engine for this architecture; ``inputs_rank`` is the rank of a batch of one model."""
    layers = list(stack.template) if type(stack.template) is nn.Sequential else []
    flatten = bool(layers) and isinstance(layers[0], nn.Flatten) and (layers[0].start_dim, layers[0].end_dim) == (1, -1)
    plain = all(type(layer) is nn.Linear or type(layer) in _ELEMENTWISE for layer in layers[flatten:])
    plain = (
        plain
        and all(stack.trained)
        and len(stack.names) == len(list(stack.template.named_parameters(remove_duplicate=False)))
    )
    if (
        objective is None
        and plain
        and any(type(layer) is nn.Linear for layer in layers)
        and (inputs_rank == 2 or flatten)
    ):
        return Dense(stack, layers[flatten:])
    return Mapped(stack, objective)


class Dense:
    """Fully connected networks: batched matrix products with weights kept as (models, in, out), gradients written in place."""

    def __init__(self, stack: Stack, layers: list[nn.Module]):
        weights = stack.parameters_by_name()
        first = len(list(stack.template.children())) - len(layers)
        tensors: list[torch.Tensor] = []
        self.names: list[str] = []
        self.plan: list[tuple[nn.Module | None, int | None, int | None]] = []
        for index, layer in enumerate(layers):
            if type(layer) is not nn.Linear:
                self.plan.append((layer, None, None))
                continue
            places: list[int | None] = []
            for name in ("weight", "bias"):
                full = f"{first + index}.{name}"
                if full not in weights:
                    places.append(None)
                    continue
                places.append(len(tensors))
                self.names.append(full)
                value = weights[full]
                tensors.append(value.transpose(1, 2) if name == "weight" else value[:, None])
            self.plan.append((None, places[0], places[1]))
        self.flat = Flat(tensors)

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """(models, batch, features...) -> (models, batch, outputs)."""
        return self._forward(inputs, None)

    def _forward(self, inputs, tape):
        x = inputs.flatten(2)
        fresh = False
        for layer, weight, bias in self.plan:
            before = x
            if layer is None:
                product = self.flat.values[weight]
                x = torch.bmm(x, product) if bias is None else torch.baddbmm(self.flat.values[bias], x, product)
            elif tape is not None and type(layer) not in _BACKWARD:
                before = x.detach().requires_grad_()
                with torch.enable_grad():
                    x = layer(before)
            elif type(layer) is nn.ReLU:
                x = x.relu_() if fresh else x.relu()
            else:
                x = layer(x)
            fresh = layer is None
            if tape is not None:
                tape.append((before, x))
                x = x.detach()
        return x

    @torch.no_grad()
    def gradients(self, criterion, inputs, targets, weights) -> torch.Tensor:
        """Write the gradients of every model's loss; returns the losses (models,)."""
        tape: list[tuple[torch.Tensor, torch.Tensor]] = []
        logits = self._forward(inputs, tape).requires_grad_()
        with torch.enable_grad():
            losses = criterion(logits, targets, weights)
            (delta,) = torch.autograd.grad(losses.sum(), logits)
        if self.plan[-1][0] is not None:
            delta = delta.clone()
        first = next(index for index, (layer, *_) in enumerate(self.plan) if layer is None)
        for index in reversed(range(len(self.plan))):
            layer, weight, bias = self.plan[index]
            before, after = tape[index]
            if layer is None:
                torch.bmm(before.transpose(1, 2), delta, out=self.flat.gradients[weight])
                if bias is not None:
                    torch.sum(delta, dim=1, keepdim=True, out=self.flat.gradients[bias])
                if index == first:
                    break
                delta = torch.bmm(delta, self.flat.values[weight].transpose(1, 2))
            elif type(layer) in _BACKWARD:
                delta = _BACKWARD[type(layer)](delta, after)
            else:
                (delta,) = torch.autograd.grad(after, before, delta)
        return losses.detach()

    @torch.no_grad()
    def losses(self, criterion, inputs, targets) -> torch.Tensor:
        """Each model's loss, without gradients."""
        return criterion(self.logits(inputs), targets)

    def write(self, stack: Stack, buffer: torch.Tensor) -> None:
        """Copy the parameters in ``buffer`` into ``stack``."""
        weights = stack.parameters_by_name()
        with torch.no_grad():
            for name, value in zip(self.names, self.flat.views(buffer)):
                weights[name].copy_(value.transpose(1, 2) if name.endswith("weight") else value[:, 0])


_BACKWARD = {
    nn.ReLU: lambda delta, after: torch.ops.aten.threshold_backward.grad_input(delta, after, 0.0, grad_input=delta),
    nn.Tanh: lambda delta, after: torch.ops.aten.tanh_backward(delta, after),
    nn.Sigmoid: lambda delta, after: torch.ops.aten.sigmoid_backward(delta, after),
    nn.Identity: lambda delta, after: delta,
}


class Mapped:
    """Any architecture: ``torch.func`` maps the single model over the stacked weights."""

    def __init__(self, stack: Stack, objective):
        self.single, self.objective = stack.single, objective
        self.names = [name for name, trained in zip(stack.names, stack.trained) if trained]
        frozen = {name: value for name, value in stack.parameters_by_name().items() if name not in self.names}
        self.constant = {name: value.detach() for name, value in {**frozen, **stack.buffers_by_name()}.items()}
        self.unused: list[str] | None = None
        self.flat = Flat([stack.parameters_by_name()[name] for name in self.names])
        self.leaves = [value.requires_grad_() for value in self.flat.values]
        for leaf, gradient in zip(self.leaves, self.flat.gradients):
            leaf.grad = gradient

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """(models, batch, ...) -> (models, batch, outputs...)."""
        return vmap(self.single)(self._state(), inputs)

    def _state(self):
        return {**dict(zip(self.names, self.leaves)), **self.constant}

    def _losses(self, criterion, inputs, targets, weights=None):
        if self.objective is None:
            return criterion(self.logits(inputs), targets, weights)

        def single(parameters, x, y):
            return self.objective(lambda z: self.single(parameters, z), x, y)

        return vmap(single, in_dims=(0, 0, None if targets is None else 0))(self._state(), inputs, targets)

    def gradients(self, criterion, inputs, targets, weights) -> torch.Tensor:
        """Write the gradients of every model's loss; returns the losses (models,)."""
        self.flat.parameter.grad.zero_()
        losses = self._losses(criterion, inputs, targets, weights)
        if self.unused is None:
            # a parameter that no loss depends on has no gradient in a plain loop: neither decay nor momentum move it
            found = torch.autograd.grad(losses.sum(), self.leaves, allow_unused=True, retain_graph=True)
            self.unused = [name for name, gradient in zip(self.names, found) if gradient is None]
        losses.sum().backward()
        return losses.detach()

    def losses(self, criterion, inputs, targets) -> torch.Tensor:
        """Each model's loss, without gradients."""
        if self.objective is None:
            with torch.no_grad():
                return self._losses(criterion, inputs, targets)
        return self._losses(criterion, inputs, targets).detach()

    def write(self, stack: Stack, buffer: torch.Tensor) -> None:
        """Copy the parameters in ``buffer`` into ``stack``."""
        weights = stack.parameters_by_name()
        with torch.no_grad():
            for name, value in zip(self.names, self.flat.views(buffer)):
                if name not in (self.unused or ()):
                    weights[name].copy_(value)
