r"""Quantized distillation and differentiable quantization: students whose weights take few values.

Quantized distillation trains a small student on a teacher's softened outputs, with every gradient taken at quantized weights and
applied to a full-precision copy,

.. math:: w \leftarrow w - \eta\, \nabla L\bigl(Q(w)\bigr), \qquad
          L = .7\,\tau^2\,\mathrm{KL}\bigl(\sigma(t/\tau)\,\|\,\sigma(z/\tau)\bigr) + .3\,\mathrm{CE}(z, y).

Differentiable quantization keeps the weights of a trained student and moves the points p_1..p_m that represent them instead, by
dL/dp_r, the sum of alpha_i dL/dQ_i over the weights i that p_r represents. Q, its buckets and points stand in
:mod:`lab.training.quantizers`, the loss in :mod:`lab.training.distillation`.

A tensor of n weights takes n b bits and two float32 numbers a bucket; Huffman coding of the levels lowers the first part to
between the entropy of their frequencies and one bit more.

Source: A. Polino, R. Pascanu, D. Alistarh, 'Model compression via distillation and quantization', ICLR 2018, sections 2 to 4,
algorithms 1 and 2. The published code averages the KL over items and classes, which makes the teacher weaker by the number of
classes; here it is the mean over items, as the formula says.
"""

from __future__ import annotations

import copy
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from lab import checks
from lab.training import BucketScale, LearnedPoints, UniformQuantizer, distillation_loss

TEMPERATURE, WEIGHT, BUCKET = 2.0, 0.7, 256


@dataclass(frozen=True, eq=False)
class Quantized:
    """A module's weights as levels: ``levels[name]`` (buckets, size) are places in ``tables[name]`` (levels,), ``scales[name]``
    the low end and the range of each bucket; ``losses`` are those of the training behind them, if there was one.
    """

    levels: dict[str, torch.Tensor]
    tables: dict[str, torch.Tensor]
    scales: dict[str, BucketScale]
    bits: int
    losses: torch.Tensor

    def weights(self) -> dict[str, torch.Tensor]:
        """The quantized weights by name."""
        return {name: self.scales[name].unscale(self.tables[name][level]) for name, level in self.levels.items()}

    def model(self, like: nn.Module) -> nn.Module:
        """A copy of ``like``, a module of the same architecture, with these weights."""
        found = copy.deepcopy(like)
        missing = set(dict(found.named_parameters())) ^ set(self.levels)
        if missing:
            raise ValueError(
                f"like must have the parameters that were quantized; they differ in {', '.join(sorted(missing))}"
            )
        with torch.no_grad():
            for name, value in self.weights().items():
                found.get_parameter(name).copy_(value)
        return found

    def bytes(self, *, huffman: bool = True) -> int:
        """Bytes of levels, scales and tables; levels Huffman coded (with eight bits a level for the code) or at ``bits`` each."""
        total = 0
        for name, level in self.levels.items():
            counts = level.reshape(-1)[: self.scales[name].shape.numel()].bincount(minlength=len(self.tables[name]))
            own = huffman_bits(counts) + 8 * len(counts) if huffman else self.bits * int(counts.sum())
            total += (
                -(-own // 8)
                + 8 * len(level)
                + (4 * len(counts) if self.bits < 16 and not _is_uniform(self.tables[name]) else 0)
            )
        return total

    def save(self, path: str | Path) -> None:
        """Write levels, packed to ``bits`` each, scales and tables as NPZ."""
        arrays: dict = {"bits": self.bits, "names": np.array(list(self.levels))}
        for k, (name, level) in enumerate(self.levels.items()):
            scale = self.scales[name]
            binary = (level.reshape(-1).numpy()[:, None] >> np.arange(self.bits)) & 1
            arrays |= {
                f"levels {k}": np.packbits(binary.astype(np.uint8)), f"table {k}": self.tables[name].numpy(),
                f"low {k}": scale.low.numpy(), f"range {k}": scale.range.numpy(),
                f"shape {k}": np.array([scale.size, *scale.shape]),
            }  # fmt: skip
        np.savez(Path(path), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Quantized:
        """What :meth:`save` wrote.

        Raises:
            ValueError: a file that holds no quantized weights.
        """
        with np.load(Path(path), allow_pickle=False) as file:
            if "bits" not in file.files or "names" not in file.files:
                raise ValueError(f"{Path(path).name} holds no quantized weights")
            bits, names = int(file["bits"]), [str(name) for name in file["names"]]
            levels, tables, scales = {}, {}, {}
            for k, name in enumerate(names):
                size, *shape = (int(one) for one in file[f"shape {k}"])
                low = torch.from_numpy(file[f"low {k}"])
                count = len(low) * size * bits
                binary = np.unpackbits(file[f"levels {k}"])[:count].reshape(-1, bits).astype(np.int64)
                levels[name] = torch.from_numpy((binary << np.arange(bits)).sum(1)).view(len(low), size)
                tables[name] = torch.from_numpy(file[f"table {k}"])
                scales[name] = BucketScale(low, torch.from_numpy(file[f"range {k}"]), torch.Size(shape), size)
        return cls(levels, tables, scales, bits, torch.zeros(0))


def quantize(model: nn.Module, bits: int = 4, *, bucket: int | None = BUCKET, points: str | None = None) -> Quantized:
    """The weights of an own module on few levels, without any training; the module stays as it is.

    Args:
        bits: 1 to 12.
        bucket: weights that share a scale, None for one scale a tensor.
        points: None for uniform levels, "quantile" for points at the quantiles of each tensor.

    >>> found = quantize(nn.Linear(8, 4), bits=2)
    >>> len(found.weights()["weight"].unique()) <= 4
    True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch module, got {type(model).__name__}")
    bits = checks.integer("bits", bits, low=1, high=12)
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    if not parameters:
        raise ValueError("model has no parameters to quantize")
    for name, value in parameters.items():
        checks.refuse_nonfinite(f"parameter {name}", value)
    if points is None:
        return _levels_of(parameters, UniformQuantizer(bits, bucket), torch.zeros(0))
    learned = {name: LearnedPoints(value, bits, bucket, start=points) for name, value in parameters.items()}
    return _on_points(parameters, learned, bits, bucket, torch.zeros(0))


def distill(
    teacher: nn.Module | Callable[[torch.Tensor], torch.Tensor],
    student: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor | None = None,
    *,
    bits: int = 4,
    bucket: int | None = BUCKET,
    learn: str = "weights",
    temperature: float = TEMPERATURE,
    weight: float = WEIGHT,
    steps: int = 1000,
    batch: int = 64,
    learning_rate: float | None = None,
    seed: int | torch.Generator = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Quantized:
    """An own student, trained from where it stands to follow an own teacher with weights of ``bits`` bits; both stay as they are.

    Args:
        teacher: inputs -> logits; called once, on all inputs.
        student: a module of logits; buffers (running statistics) stay as they are.
        x: inputs (items, ...).
        y: int64 classes (items,), not needed where ``weight`` is 1.
        bits, bucket: of the student's weights, all of its parameters.
        learn: "weights" (quantized distillation) or "points" (differentiable quantization of the student's present weights).
        temperature, weight: of the distillation loss.
        steps, batch: steps of descent with momentum 0.9 under a cosine schedule, and items a step.
        learning_rate: 0.05 for weights, 1e-4 for points, whose gradients sum over all weights that they represent.
    """
    if not isinstance(student, nn.Module):
        raise TypeError(f"student must be a torch module, got {type(student).__name__}")
    checks.choice("learn", learn, ("weights", "points"))
    bits, steps = checks.integer("bits", bits, low=1, high=12), checks.integer("steps", steps, low=1)
    batch = checks.integer("batch", batch, low=1)
    x = checks.tensor("x", x)
    with torch.no_grad():
        logits = teacher(x)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(x):
        raise ValueError("teacher must return logits (items, classes) for x")
    if weight < 1 and (y is None or len(y) != len(x)):
        raise ValueError(f"y must hold one class for each of the {len(x)} items where weight is below 1")
    generator = checks.generator(seed)
    parameters = {name: value.detach().clone() for name, value in student.named_parameters()}
    uniform = UniformQuantizer(bits, bucket)
    if learn == "points":
        learned = {name: LearnedPoints(value, bits, bucket) for name, value in parameters.items()}
        scales = {name: BucketScale.of(value, bucket) for name, value in parameters.items()}
        trained = [point.points for point in learned.values()]
    else:
        trained = [value.requires_grad_() for value in parameters.values()]
    rate = checks.number("learning_rate", learning_rate or (1e-4 if learn == "points" else 0.05), low=0.0)
    optimizer = torch.optim.SGD(trained, lr=rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for step in range(steps):
        rows = torch.randint(len(x), (min(batch, len(x)),), generator=generator)
        if learn == "points":
            weights = {name: point(parameters[name], scales[name]) for name, point in learned.items()}
        else:
            weights = {name: uniform(value) for name, value in parameters.items()}
        out = functional_call(student, weights, (x[rows],))
        loss = distillation_loss(out, logits[rows], None if y is None else y[rows], temperature, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if learn == "points":
            for point in learned.values():
                point.sort()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress(step + 1, steps)
    parameters = {name: value.detach() for name, value in parameters.items()}
    if learn == "points":
        return _on_points(parameters, learned, bits, bucket, torch.tensor(losses))
    return _levels_of(parameters, uniform, torch.tensor(losses))


def huffman_bits(counts: torch.Tensor | Sequence[int]) -> int:
    """Bits of the shortest prefix code of symbols with these frequencies, for all of them together; one symbol takes one bit each.

    Source: D. Huffman, 'A method for the construction of minimum-redundancy codes', Proc. IRE 40, 1952.

    >>> huffman_bits([4, 2, 1, 1])
    14
    """
    heap = [int(count) for count in counts if int(count) > 0]
    if len(heap) < 2:
        return sum(heap)
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        pair = heapq.heappop(heap) + heapq.heappop(heap)
        total += pair
        heapq.heappush(heap, pair)
    return total


class QuantizedLinear(nn.Linear):
    """A linear layer that computes with its quantized weights and bias and passes their gradients straight through.

    The gradient at quantized weights is applied to the full-precision copy that the layer holds. ``bits=0`` is the plain layer.
    """

    def __init__(self, inputs: int, outputs: int, *, bits: int, bucket: int | None = BUCKET):
        super().__init__(inputs, outputs)
        self.quantizer = UniformQuantizer(bits, bucket) if bits else None
        self.bits = bits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.quantized(self.weight), self.quantized(self.bias))

    def quantized(self, v: torch.Tensor) -> torch.Tensor:
        """``v`` on the layer's levels."""
        return v if self.quantizer is None else self.quantizer(v)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bits={self.bits}"


class QuantizedConvolution(nn.Conv2d):
    """A 3 x 3 convolution with quantized weights and bias, as :class:`QuantizedLinear`."""

    def __init__(self, inputs: int, outputs: int, *, bits: int, bucket: int | None = BUCKET):
        super().__init__(inputs, outputs, 3, padding=1)
        self.quantizer = UniformQuantizer(bits, bucket) if bits else None
        self.bits = bits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.bias is not None  # it is made with one
        weight, bias = (v if self.quantizer is None else self.quantizer(v) for v in (self.weight, self.bias))
        return F.conv2d(x, weight, bias, padding=1)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bits={self.bits}"


class RecurrentStudent(nn.Module):
    """A gated recurrent unit over the rows of an image, then a linear layer; all weights quantized.

    K. Cho et al., 'Learning phrase representations using RNN encoder-decoder', EMNLP 2014, equations (5) to (8).
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, *, bits: int, bucket: int | None = BUCKET):
        super().__init__()
        self.read, self.gates = (QuantizedLinear(n, 3 * hidden, bits=bits, bucket=bucket) for n in (inputs, hidden))
        self.head = QuantizedLinear(hidden, outputs, bits=bits, bucket=bucket)
        self.hidden = hidden

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read = self.read(x)
        weight, bias = self.gates.quantized(self.gates.weight), self.gates.quantized(self.gates.bias)
        h = x.new_zeros(x.shape[0], self.hidden)
        for row in read.unbind(1):
            update, reset, new = row.chunk(3, 1)
            passed = F.linear(h, weight, bias).chunk(3, 1)
            update, reset = torch.sigmoid(update + passed[0]), torch.sigmoid(reset + passed[1])
            h = update * h + (1 - update) * torch.tanh(new + reset * passed[2])
        return self.head(h)


def _levels_of(parameters, quantizer, losses):
    scales = {name: BucketScale.of(value, quantizer.bucket) for name, value in parameters.items()}
    levels = {name: quantizer.indices(value, scales[name]).long() for name, value in parameters.items()}
    table = torch.arange(quantizer.steps + 1) / quantizer.steps
    return Quantized(levels, {name: table.to(v) for name, v in parameters.items()}, scales, quantizer.bits, losses)


def _on_points(parameters, learned, bits, bucket, losses):
    scales = {name: BucketScale.of(value, bucket) for name, value in parameters.items()}
    levels = {name: point.indices(parameters[name], scales[name]) for name, point in learned.items()}
    return Quantized(levels, {name: point.points.detach() for name, point in learned.items()}, scales, bits, losses)


def _is_uniform(table):
    return bool(torch.allclose(table, torch.linspace(0, 1, len(table), dtype=table.dtype)))
