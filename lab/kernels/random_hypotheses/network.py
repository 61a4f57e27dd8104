"""The law of a random network, and the replay of any one draw from (seed, index)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lab import checks
from lab.kernels import philox

STREAM = 1
ACTIVATIONS = ("relu", "tanh", "identity")
LAWS = ("normal", "uniform")


@dataclass(frozen=True)
class RandomNetwork:
    r"""A fully connected network with independent random parameters.

    Layer l maps :math:`h \mapsto \sigma(W h + b)`, the last one without :math:`\sigma`. ``law = "normal"``:
    :math:`W_{ij} \sim N(0, s_w^2/\text{fan in})`, :math:`b_i \sim N(0, s_b^2)`. ``law = "uniform"``: both uniform on
    :math:`\pm s_w/\sqrt{\text{fan in}}` and :math:`\pm s_b/\sqrt{\text{fan in}}`; with both scales 1 this is the
    default initialization of ``torch.nn.Linear``.

    Network ``index`` under ``seed`` takes its parameters, layer by layer (W row by row, then b), from numbers 0, 1,
    2, ... of item ``index`` of :mod:`lab.kernels.philox`.

    Attributes:
        features: number of inputs.
        widths: hidden widths; () is a random linear function.
        outputs: number of outputs.
        activation: ``"relu"``, ``"tanh"`` or ``"identity"``.
        weight_scale: s_w; sqrt 2 keeps the size of the signal in a ReLU network.
        bias_scale: s_b.
        law: ``"normal"`` or ``"uniform"``.
    """

    features: int
    widths: tuple[int, ...] = (32, 32)
    outputs: int = 1
    activation: str = "relu"
    weight_scale: float = math.sqrt(2.0)
    bias_scale: float = 0.0
    law: str = "normal"

    def __post_init__(self):
        checks.integer("features", self.features, low=1)
        checks.integer("outputs", self.outputs, low=1)
        try:
            widths = tuple(self.widths)
        except TypeError as error:
            raise TypeError(f"widths must be a sequence of integers, got {self.widths!r}") from error
        object.__setattr__(self, "widths", tuple(checks.integer("widths", width, low=1) for width in widths))
        checks.choice("activation", self.activation, ACTIVATIONS)
        checks.choice("law", self.law, LAWS)
        checks.number("weight_scale", self.weight_scale, low=0.0)
        checks.number("bias_scale", self.bias_scale, low=0.0)

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """(fan in, fan out) of each layer."""
        sizes = (self.features, *self.widths, self.outputs)
        return tuple(zip(sizes[:-1], sizes[1:]))

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.layers)

    def parameters(
        self,
        seed: int,
        index: int | torch.Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weights and biases of network ``index``: a list of (W (fan out, fan in), b (fan out,)), one pair a layer.

        With a tensor of n indices W is (n, fan out, fan in) and b (n, fan out).
        """
        seed = checks.integer("seed", seed, low=0, high=2**64 - 1)
        single = not isinstance(index, torch.Tensor)
        if single:
            index = torch.tensor([checks.integer("index", index, low=0, high=2**63 - 1)])
        index = index.to(device=device, dtype=torch.int64)
        draw = philox.normals if self.law == "normal" else philox.uniforms
        flat = draw(seed, index, self.size, stream=STREAM)
        found, place = [], 0
        for (fan_in, fan_out), (ws, bs) in zip(self.layers, self.scales()):
            weight = flat[:, place : place + fan_in * fan_out].reshape(-1, fan_out, fan_in)
            bias = flat[:, place + fan_in * fan_out : place + (fan_in + 1) * fan_out]
            place += (fan_in + 1) * fan_out
            if self.law == "uniform":
                weight, bias = 2.0 * weight - 1.0, 2.0 * bias - 1.0
            weight, bias = (weight * ws).to(dtype), (bias * bs).to(dtype)
            found.append((weight[0], bias[0]) if single else (weight, bias))
        return found

    def scales(self) -> list[tuple[float, float]]:
        """(scale of W, scale of b) of each layer."""
        uniform = self.law == "uniform"
        return [
            (self.weight_scale / math.sqrt(fan_in), self.bias_scale / (math.sqrt(fan_in) if uniform else 1.0))
            for fan_in, _ in self.layers
        ]

    def evaluate(self, x: torch.Tensor, seed: int, index: int | torch.Tensor) -> torch.Tensor:
        """Outputs of network ``index`` at x (n, features): (n, outputs); (k, n, outputs) for a tensor of k indices."""
        parameters = self.parameters(seed, index, dtype=x.dtype, device=x.device)
        h = x.T.expand(len(index), -1, -1) if isinstance(index, torch.Tensor) else x.T
        for layer, (weight, bias) in enumerate(parameters):
            h = weight @ h + bias.unsqueeze(-1)
            if layer < len(parameters) - 1:
                h = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda z: z}[self.activation](h)
        return h.transpose(-1, -2)
