"""Networks with widths and depths as arguments, drawn from a seed without touching the global random state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import nn

from lab import checks

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVERAGES = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


Network = TypeVar("Network", bound=nn.Module)


def mlp(
    inputs: int,
    outputs: int,
    *,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    bias: bool = True,
    seed: int | torch.Generator = 0,
    dtype: torch.dtype = torch.float32,
) -> nn.Sequential:
    """Fully connected network ``(items, inputs) -> (items, outputs)`` with one hidden layer per width."""
    sizes = [checks.integer("inputs", inputs, low=1), *_widths(widths, 0), checks.integer("outputs", outputs, low=1)]
    layers: list[nn.Module] = []
    with torch.device("meta"):
        for first, second in zip(sizes[:-1], sizes[1:]):
            layers += [nn.Linear(first, second, bias=bias, dtype=dtype), _activation(activation)]
        module = nn.Sequential(*layers[:-1])
    return initialize(module.to_empty(device="cpu"), seed)


def cnn(
    channels: int,
    outputs: int,
    *,
    widths: Sequence[int] = (16, 32),
    convolutions: int = 1,
    dimension: int = 2,
    activation: str = "relu",
    normalization: str | None = None,
    seed: int | torch.Generator = 0,
    dtype: torch.dtype = torch.float32,
) -> nn.Sequential:
    """Convolutional classifier ``(items, channels, size...) -> (items, outputs)``.

    For each width: ``convolutions`` 3-convolutions (each with normalization and activation), then maximum pooling by 2; at
    the end the mean over space and one linear layer. Inputs need sides of at least ``2 ** len(widths)``.
    ``normalization``: None or "group" (groups of at most 8 channels).
    """
    channels, widths = checks.integer("channels", channels, low=1), _widths(widths, 1)
    dimension = checks.choice("dimension", dimension, (1, 2, 3))
    layers: list[nn.Module] = []
    with torch.device("meta"):
        for width in widths:
            layers += _convolutions(
                channels,
                width,
                checks.integer("convolutions", convolutions, low=1),
                dimension,
                activation,
                normalization,
                dtype,
            )
            layers.append(_POOLS[dimension](2))
            channels = width
        layers += [
            _AVERAGES[dimension](1),
            nn.Flatten(),
            nn.Linear(channels, checks.integer("outputs", outputs, low=1), dtype=dtype),
        ]
        module = nn.Sequential(*layers)
    return initialize(module.to_empty(device="cpu"), seed)


class UNet(nn.Module):
    """Encoder and decoder with skip connections: ``(items, channels, size...) -> (items, outputs, size...)`` for any size.

    O. Ronneberger, P. Fischer, T. Brox, 'U-Net: convolutional networks for biomedical image segmentation', MICCAI 2015; with
    padded convolutions, nearest-neighbour upsampling to the size of the skip, and group normalization.
    """

    def __init__(self, channels, outputs, widths, dimension, activation, normalization, dtype):
        super().__init__()
        sizes = [channels, *widths]
        pairs = [*zip(sizes[:-1], sizes[1:]), *((deep + skip, skip) for skip, deep in zip(widths[:-1], widths[1:]))]
        blocks = [
            nn.Sequential(*_convolutions(first, second, 2, dimension, activation, normalization, dtype))
            for first, second in pairs
        ]
        self.down, self.up = nn.ModuleList(blocks[: len(widths)]), nn.ModuleList(blocks[len(widths) :])
        self.pool = _POOLS[dimension](2, ceil_mode=True)
        self.head = _CONVOLUTIONS[dimension](widths[0], outputs, 1, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for index, block in enumerate(self.down):
            x = block(self.pool(x) if index else x)
            skips.append(x)
        for index in reversed(range(len(self.up))):
            skip = skips[index]
            x = nn.functional.interpolate(x, size=skip.shape[2:], mode="nearest")
            x = self.up[index](torch.cat([x, skip], dim=1))
        return self.head(x)


def unet(
    channels: int,
    outputs: int,
    *,
    widths: Sequence[int] = (16, 32, 64),
    dimension: int = 2,
    activation: str = "relu",
    normalization: str | None = "group",
    seed: int | torch.Generator = 0,
    dtype: torch.dtype = torch.float32,
) -> UNet:
    """A :class:`UNet` with one level per width, 2-D or 3-D; it returns logits of the input's size."""
    channels, outputs = checks.integer("channels", channels, low=1), checks.integer("outputs", outputs, low=1)
    dimension = checks.choice("dimension", dimension, (1, 2, 3))
    with torch.device("meta"):
        module = UNet(channels, outputs, _widths(widths, 1), dimension, activation, normalization, dtype)
    return initialize(module.to_empty(device="cpu"), seed)


def initialize(module: Network, seed: int | torch.Generator) -> Network:
    """Draw the weights of ``module`` in place from ``seed``: PyTorch's initial distributions, in the order of the modules.

    Weights and biases of linear and convolution layers are uniform in ``+-1 / sqrt(fan_in)``; normalization layers start
    at scale 1 and shift 0.

    Raises:
        TypeError: a layer with parameters of another kind, whose initial distribution is not known here.
    """
    generator = checks.generator(seed)
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for parameter in (layer.weight, layer.bias):
                if parameter is not None:
                    nn.init.uniform_(parameter, -bound, bound, generator=generator)
        elif isinstance(layer, (nn.GroupNorm, nn.LayerNorm)):
            if layer.weight is not None:
                nn.init.ones_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(
                f"module: no initial distribution is known for the layer {name or 'itself'} ({type(layer).__name__})"
            )
    return module


def _convolutions(first, second, count, dimension, activation, normalization, dtype):
    checks.choice("normalization", normalization, (None, "group"))
    layers: list[nn.Module] = []
    for index in range(count):
        layers.append(_CONVOLUTIONS[dimension](first if index == 0 else second, second, 3, padding=1, dtype=dtype))
        if normalization == "group":
            groups = next(groups for groups in range(max(1, second // 8), 0, -1) if second % groups == 0)
            layers.append(nn.GroupNorm(groups, second, dtype=dtype))
        layers.append(_activation(activation))
    return layers


def _activation(name) -> nn.Module:
    return ACTIVATIONS[checks.choice("activation", name, ACTIVATIONS)]()


def _widths(widths, least) -> tuple[int, ...]:
    if isinstance(widths, (int, str)):
        raise TypeError(f"widths must be a sequence of integers, got {widths!r}")
    widths = tuple(checks.integer("widths", width, low=1) for width in widths)
    if len(widths) < least:
        raise ValueError(f"widths must hold at least {least} width, got {widths}")
    return widths
