r"""Gradients of groups of items on many networks at once, how far two of them are apart, and the kernel of a network.

For weights W with rows r (the inputs of one unit each), gradients A and B of one shape have the distance

.. math:: d(A, B) = \sum_r \Bigl(1 - \frac{\langle A_r, B_r\rangle}{\|A_r\|\,\|B_r\| + 10^{-6}}\Bigr),

summed over weights; biases and scales (one axis) do not count.

Fully connected networks take closed forms, in which a leading axis of networks and one of groups are batched products: with
activations h_l, pre-activations z_l and the softmax residual delta_L of the mean cross-entropy of a group,

.. math:: \nabla_{W_l} = \delta_l^\top h_{l-1}, \qquad \delta_{l-1} = (\delta_l W_l) \odot \phi'(z_{l-1}).

Source: B. Zhao, K. Mopuri, H. Bilen, 'Dataset condensation with gradient matching', ICLR 2021, section 3.3 (the distance); S. Fort
et al., 'Deep learning versus kernel learning', NeurIPS 2020, section 3 (distance of kernels and kernel velocity).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import vmap

from lab import checks
from lab.training import gradients, parameters_of

Parameters = dict[str, torch.Tensor]
_SLOPES = {
    nn.ReLU: lambda z, h: (z > 0).to(z),
    nn.Tanh: lambda z, h: 1 - h * h,
    nn.Identity: lambda z, h: torch.ones_like(z),
}


class Networks:
    """Networks of one architecture with stacked weights, whose gradients can be differentiated again.

    Args:
        network: callable seed -> module, such as ``lambda seed: mlp(196, 10, seed=seed)``.

    Weights are dictionaries of tensors (networks, ...), made by :meth:`fresh`. Inputs have axes (networks, groups, items, ...),
    targets (networks, groups, items). Sequences of linear layers with ReLU or tanh between them take closed forms, everything
    else ``torch.func``.

    >>> from lab.training import mlp
    >>> nets = Networks(lambda seed: mlp(4, 3, widths=(5,), seed=seed))
    >>> g = nets.gradients(nets.fresh([0, 1]), torch.randn(2, 3, 7, 4), torch.zeros(2, 3, 7).long())
    >>> tuple(g["0.weight"].shape)
    (2, 3, 5, 4)
    """

    def __init__(self, network: Callable[[int], nn.Module]):
        if isinstance(network, nn.Module) or not callable(network):
            raise TypeError(f"network must be a callable seed -> module, got {type(network).__name__}")
        self.network = network
        self.template = network(0)
        layers = list(self.template) if type(self.template) is nn.Sequential else []
        self.flat = bool(layers) and type(layers[0]) is nn.Flatten
        layers = layers[self.flat :]
        linear, between = layers[::2], layers[1::2]
        self.closed = (
            len(layers) % 2 == 1
            and all(type(layer) is nn.Linear for layer in linear)
            and all(type(layer) in _SLOPES for layer in between)
        )
        self.names = [str(place + self.flat) for place in range(0, len(layers), 2)] if self.closed else []
        self.activations = between if self.closed else []

    def fresh(self, seeds: Sequence[int]) -> Parameters:
        """New weights, one network a seed."""
        drawn = [parameters_of(self.network(seed)) for seed in seeds]
        return {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}

    def gradients(self, parameters: Mapping[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> Parameters:
        """Gradients of the mean cross-entropy of each group, by name (networks, groups, ...), of weights and biases."""
        if not self.closed:
            single = lambda theta, x, y: gradients(self.template, theta, x, y, by="group")  # noqa: E731
            return vmap(single)(dict(parameters), x, y)
        x = x.flatten(3)
        states, slopes = self._forward(parameters, x)
        logits = states.pop()
        delta = (torch.softmax(logits, -1) - F.one_hot(y, logits.shape[-1])) / y.shape[-1]
        found = {}
        for place in reversed(range(len(self.names))):
            name = self.names[place]
            found[f"{name}.weight"] = delta.transpose(-1, -2) @ states[place]
            if f"{name}.bias" in parameters:
                found[f"{name}.bias"] = delta.sum(-2)
            if place:
                delta = (delta @ parameters[f"{name}.weight"][:, None]) * slopes[place - 1]
        return {name: found[name] for name in parameters}

    def logits(self, parameters: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """(networks, items, ...) -> (networks, items, classes)."""
        if not self.closed:
            from torch.func import functional_call

            return vmap(lambda theta, x: functional_call(self.template, theta, (x,)))(dict(parameters), x)
        return self._forward(parameters, x[:, None].flatten(3))[0][-1][:, 0]

    def _forward(self, parameters, x):
        """What enters each linear layer and the logits, and the slopes of the activations between."""
        states, slopes = [x], []
        for place, name in enumerate(self.names):
            z = states[-1] @ parameters[f"{name}.weight"][:, None].transpose(-1, -2)
            if f"{name}.bias" in parameters:
                z = z + parameters[f"{name}.bias"][:, None, None]
            if place < len(self.activations):
                h = self.activations[place](z)
                slopes.append(_SLOPES[type(self.activations[place])](z, h))
                z = h
            states.append(z)
        return states, slopes

    def slopes_of_sum(self, parameters: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """The gradient of the summed logits in the inputs, (networks, items, features), differentiable in the weights."""
        if not self.closed:
            raise TypeError(
                "network must be a sequence of linear layers with ReLU or tanh between them for slopes in closed form"
            )
        states, slopes = self._forward(parameters, x[:, None].flatten(3))
        back = torch.ones_like(states[-1])
        for place in reversed(range(len(self.names))):
            back = back @ parameters[f"{self.names[place]}.weight"][:, None]
            if place:
                back = back * slopes[place - 1]
        return back[:, 0]

    def kernel(self, parameters: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """The tangent kernel sum_k <grad f_k(x_i), grad f_k(x_j)> of each network, (networks, items, items).

        Raises:
            TypeError: networks without the closed form.
        """
        if not self.closed:
            raise TypeError("network must be a sequence of linear layers with ReLU or tanh between them for its kernel")
        states, slopes = self._forward(parameters, x[:, None].flatten(3))
        classes = states[-1].shape[-1]
        # per output k: what a unit of each layer passes on, (networks, outputs, items, units)
        back = torch.eye(classes, dtype=x.dtype, device=x.device)[None, :, None].expand(
            len(x), classes, x.shape[1], classes
        )
        total: torch.Tensor | float = 0.0
        for place in reversed(range(len(self.names))):
            name = self.names[place]
            inputs = states[place][:, 0]
            alike = inputs @ inputs.transpose(1, 2) + (f"{name}.bias" in parameters)
            total = total + (back @ back.transpose(-1, -2)).sum(1) * alike
            if place:
                back = (back @ parameters[f"{name}.weight"][:, None]) * slopes[place - 1]
        return total  # type: ignore[return-value]


def layer_distance(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor], *, leading: int = 2) -> torch.Tensor:
    """The distance above summed over all weights, one value for each of the ``leading`` axes (networks, groups)."""
    if set(a) != set(b):
        raise ValueError(
            f"a and b must hold gradients of the same names; only one has {', '.join(sorted(set(a) ^ set(b)))}"
        )
    total: torch.Tensor | None = None
    for name, first in a.items():
        if first.ndim - leading < 2:
            continue
        first, second = first.flatten(leading + 1), b[name].flatten(leading + 1)
        checks.same_shape(f"a[{name!r}]", first, f"b[{name!r}]", second)
        inner = (first * second).sum(-1)
        # the root of a sum of squares has no derivative at zero: dead units get none
        lengths = _length(first) * _length(second)
        part = (1 - inner / (lengths + 1e-6)).sum(-1)
        total = part if total is None else total + part
    if total is None:
        raise ValueError("gradients must hold at least one weight of two axes or more")
    return total


def _length(x):
    square = x.square().sum(-1)
    dead = square == 0
    return torch.where(dead, 0.0, torch.where(dead, 1.0, square).sqrt())


def kernel_velocity(kernels: torch.Tensor) -> torch.Tensor:
    """1 - cosine of successive kernels (times, networks, n, n) -> (times - 1, networks): how fast the features still change."""
    kernels = checks.tensor("kernels", kernels, ndim=4, floating=True)
    flat = F.normalize(kernels.flatten(2), dim=2)
    return 1 - (flat[1:] * flat[:-1]).sum(2)
