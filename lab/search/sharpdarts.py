r"""sharpDARTS: a rule that keeps the leader whole, a schedule between cosine and exponential, a uniform block, a grid of widths.

Max-W mixes candidates with coefficients 1 - max(w) + w, w = softmax(alpha): the leader's is one, whatever its weight is, so that it
neither shrinks nor gains by growing further (:func:`lab.search.supernet.mix`, rule ``max-w``). Cosine power annealing of order p is

.. math:: c_e = \tfrac12 (1 + \cos(\pi e / E)), \qquad q_e = \frac{p^{c_e} - p^{c_E}}{p^{c_1} - p^{c_E}}, \qquad
          \eta_e = \eta_{min} + (\eta_{max} - \eta_{min})\, q_e, \qquad e = 1, ..., E,

cosine annealing for p -> 1. The separable block is ReLU, depthwise k x k, 1 x 1, normalization, ReLU, depthwise k x k, 1 x 1,
normalization: equally deep for every candidate. The grid (HyperCuboid) has one node for each width of each layer; a network is
a path through it.

Source: A. Hundt, V. Jain, G. D. Hager, 'sharpDARTS: Faster and More Accurate Differentiable Architecture Search', 2019, sections
3 to 5. Group normalization stands for batch normalization. The published code normalizes q by the largest and smallest value of
the slice that it is given; here the whole curve counts, so that a resumed run goes on with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.func import vmap

from lab import checks
from lab.search.supernet import mix
from lab.training import batch_order

VARIANTS = ("sep", "flood", "choke")


def cosine_power_annealing(
    epochs: int, *, highest: float = 0.025, lowest: float = 1e-4, order: float = 2.0, warm_up: int = 0
) -> torch.Tensor:
    """Learning rates (epochs,), the first the largest and the last the smallest.

    Args:
        epochs: E >= 2.
        highest, lowest: ends of the curve, 0 <= lowest < highest.
        order: p >= 1; 1 is cosine annealing, larger values fall faster at first.
        warm_up: W epochs that rise linearly, e/(W + 1) of ``highest``; the curve takes the E - W after them.

    Raises:
        ValueError: fewer than two epochs after the warm-up, p below 1, a lowest rate above the highest.
    """
    epochs, warm_up = checks.integer("epochs", epochs, low=2), checks.integer("warm_up", warm_up, low=0)
    highest = checks.number("highest", highest, low=0.0, open_low=True)
    lowest, order = checks.number("lowest", lowest, low=0.0, high=highest), checks.number("order", order, low=1.0)
    count = checks.integer("epochs - warm_up", epochs - warm_up, low=2)
    c = 0.5 * (1 + torch.cos(math.pi * torch.arange(1, count + 1, dtype=torch.float64) / count))
    q = c if order == 1 else torch.expm1(c * math.log(order)) / (order - 1)
    q = (q - q[-1]) / (q[0] - q[-1])
    rates = lowest + (highest - lowest) * q
    rising = highest * torch.arange(1, warm_up + 1, dtype=torch.float64) / (warm_up + 1)
    return torch.cat([rising, rates])


def power_schedule(order: float = 2.0):
    """The curve as a factor of the done fraction in [0, 1), for ``lab.search.Recipe(schedule=...)`` and ``lab.training.fit``."""
    order = checks.number("order", order, low=1.0)

    def factor(done: float) -> float:
        c = 0.5 * (1 + math.cos(math.pi * done))
        return c if order == 1 else math.expm1(c * math.log(order)) / (order - 1)

    return factor


def half_time(rates: torch.Tensor) -> int:
    """How many epochs pass, from that of the largest rate on, before the rate is at most half of it."""
    after = rates[int(rates.argmax()) :]
    return int((after <= rates.max() / 2).nonzero()[0])


class SharpSepConv(nn.Sequential):
    """Two depthwise separable convolutions, (items, inputs, H, W) -> (items, outputs, H', W').

    ``variant``: the width between them, ``sep`` outputs, ``flood`` four times as many, ``choke`` 32 (at most).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, variant: str = "sep"
    ):
        checks.choice("variant", variant, VARIANTS)
        kernel = checks.integer("kernel", kernel, low=1)
        if kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {kernel}")
        middle = {"sep": outputs, "flood": 4 * outputs, "choke": min(32, outputs)}[variant]
        pad = (kernel - 1) // 2
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, inputs, kernel, stride, pad * dilation, dilation, groups=inputs),
            nn.Conv2d(inputs, middle, 1),
            nn.GroupNorm(1, middle),
            nn.ReLU(),
            nn.Conv2d(middle, middle, kernel, padding=pad, groups=middle),
            nn.Conv2d(middle, outputs, 1),
            nn.GroupNorm(1, outputs),
        )


class HyperCuboid:
    """A grid of widths: layer l maps width i to width j for every pair, mixed over all pairs of the layer.

    Nodes are widths after each hidden layer; features of node j of layer l are sum_i w_{l,i,j} relu(norm(W_{l,i,j} h_i)). A path of
    widths is one network. Weights have the seed as first axis.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int] = (4, 8, 16, 32), layers: int = 3):
        self.widths = tuple(checks.integer("widths", width, low=1) for width in widths)
        self.layers = checks.integer("layers", layers, low=1)
        self.inputs, self.outputs = inputs, outputs
        self.pairs = [
            [(i, j) for i in range(1 if layer == 0 else len(self.widths)) for j in range(len(self.widths))]
            for layer in range(self.layers)
        ]

    def initialize(self, seeds: Sequence[int]) -> dict[str, torch.Tensor]:
        """Weights of every layer and pair and of a head for each width, and alpha (seeds, layers, pairs) at zero."""
        shapes = {f"{layer}.{i}.{j}": (self.widths[j], self.inputs if layer == 0 else self.widths[i])
                  for layer, pairs in enumerate(self.pairs) for i, j in pairs}  # fmt: skip
        shapes |= {f"head.{j}": (self.outputs, width) for j, width in enumerate(self.widths)}
        total = sum(math.prod(shape) for shape in shapes.values())
        drawn = torch.stack([torch.rand(total, generator=checks.generator(int(seed))) for seed in seeds])
        parts = drawn.split([math.prod(shape) for shape in shapes.values()], 1)
        return {
            name: ((2 * part - 1) / math.sqrt(shape[1])).reshape(len(seeds), *shape)
            for (name, shape), part in zip(shapes.items(), parts)
        }

    def logits(self, parameters, weights: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Logits (seeds, items, classes) of the mixture; ``weights[l]`` (seeds, pairs of layer l), x (seeds, items, inputs)."""
        nodes = [x]
        for layer, pairs in enumerate(self.pairs):
            after: list = [0.0] * len(self.widths)
            for k, (i, j) in enumerate(pairs):
                h = torch.bmm(nodes[i], parameters[f"{layer}.{i}.{j}"].transpose(1, 2))
                after[j] = after[j] + weights[layer][:, k, None, None] * torch.relu(
                    nn.functional.layer_norm(h, h.shape[-1:])
                )
            nodes = after
        heads = [torch.bmm(h, parameters[f"head.{j}"].transpose(1, 2)) for j, h in enumerate(nodes)]
        return sum(heads[1:], heads[0])

    def path(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """The widths (seeds, layers), as indices, of the path of the largest product of coefficients (dynamic programming)."""
        best = weights[0].log()
        back = []
        for table in weights[1:]:
            scores = best[:, :, None] + table.log().reshape(len(table), len(self.widths), len(self.widths))
            best, before = scores.max(1)
            back.append(before)
        chosen = [best.argmax(1)]
        for before in reversed(back):
            chosen.append(before.gather(1, chosen[-1][:, None])[:, 0])
        return torch.stack(chosen[::-1], 1)


def search_widths(
    grid: HyperCuboid, train, validation, *, seeds: Sequence[int], rule: str = "softmax", steps: int = 300, batch_size: int = 64,
    weight_rate: float = 3e-3, alpha_rate: float = 3e-3,
) -> torch.Tensor:  # fmt: skip
    """First-order search on a grid of widths: the chosen path of each seed, (seeds, layers) of indices into ``widths``."""
    parameters = {name: value.requires_grad_() for name, value in grid.initialize(seeds).items()}
    generators = [checks.generator(10_000 + seed) for seed in seeds]
    alphas = [
        (1e-3 * torch.stack([torch.randn(len(pairs), generator=one) for one in generators])).requires_grad_()
        for pairs in grid.pairs
    ]
    descend = torch.optim.Adam(list(parameters.values()), weight_rate)
    move = torch.optim.Adam(alphas, alpha_rate, betas=(0.5, 0.999), weight_decay=1e-3)

    def loss(part, salt, number):
        x, y = part
        size = min(batch_size, len(x))
        epoch, place = divmod(number, len(x) // size)
        rows = torch.stack(
            [batch_order(len(x), seed + salt, epoch)[place * size : (place + 1) * size] for seed in seeds]
        )
        logits = grid.logits(parameters, [mix(alpha, rule) for alpha in alphas], x[rows])
        return vmap(nn.functional.cross_entropy)(logits, y[rows]).sum()

    for number in range(steps):
        for optimizer, part, salt, leaves in (
            (move, validation, 500_000, alphas),
            (descend, train, 0, list(parameters.values())),
        ):
            optimizer.zero_grad()
            loss(part, salt, number).backward(inputs=leaves)
            optimizer.step()
    with torch.no_grad():
        return grid.path([torch.softmax(alpha, -1) for alpha in alphas])
