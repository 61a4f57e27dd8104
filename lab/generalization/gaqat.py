r"""Gradient-adaptive quantization-aware training: step sizes that are torn between task and flatness are held for a while.

A network whose weights and activations lie on the levels of learned step sizes s (:mod:`lab.training.quantizers`) is trained for a
flat minimum. Each step size then receives two gradients,

.. math:: g_{\text{task}} = \nabla_s L(\theta), \qquad g_{\text{smooth}} = \nabla_s L(\theta + \varepsilon) - \nabla_s L(\theta),
          \qquad \varepsilon = \rho \frac{\nabla L}{\|\nabla L\|},

which may point in opposite directions. The disorder of a sequence of gradients over K steps is the share of sign changes,

.. math:: \delta = \frac{1}{K - 1} \#\{t : \operatorname{sign} g_t \ne \operatorname{sign} g_{t-1}\} \in [0, 1].

After each window the step sizes with :math:`\delta(g_{\text{task}}) < \tau` are frozen: in the next one the task's gradient is left
out and flatness alone moves them. Weights are always trained on :math:`\nabla L(\theta + \varepsilon)`.

Source: J. Jiang, Y. Meng, C. Tang, H. Yu, Q. Li, Z. Wang, W. Zhu, "GAQAT: Gradient-Adaptive Quantization-Aware Training for Domain
Generalization", arXiv 2412.05551, 2024, Section 4. Accounts differ on which of both gradients is frozen: ``freeze`` chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from lab import checks
from lab.generalization.stacked import Parameters, descend, filled, stack
from lab.training.quantizers import LearnedStep
from lab.training.sharpness import perturb

FREEZES = ("task", "smooth", "random", "none")


class Quantized(nn.Module):
    """A linear or convolution layer whose weights and inputs lie on the levels of learned steps; biases stay as they are."""

    def __init__(self, layer: nn.Module, bits: int, signed_input: bool = False):
        super().__init__()
        self.layer: Any = layer
        self.weight_step, self.input_step = LearnedStep(bits), LearnedStep(bits, signed=signed_input)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, x = self.weight_step(self.layer.weight), self.input_step(x)
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, weight, self.layer.bias)
        return self.layer._conv_forward(x, weight, self.layer.bias)

    @torch.no_grad()
    def integers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """``(levels int8, step)`` whose product is the quantized weight."""
        levels = self.weight_step.integers(self.layer.weight)
        return levels.to(torch.int8), self.weight_step.step.abs().clamp_min(1e-8)


def quantize_layers(model: nn.Module, x: torch.Tensor, bits: int = 4) -> nn.Module:
    """A copy of one's own trained module with every linear and convolution layer quantized, steps started on ``x``.

    Args:
        model: with ``nn.Linear``, ``nn.Conv1d``, ``nn.Conv2d`` or ``nn.Conv3d`` layers; it stays as it is.
        x: a batch of inputs; a layer whose input is negative anywhere gets signed levels for it.
        bits: 2 to 8.

    Raises:
        ValueError: no layer to quantize.

    Example:
        >>> from lab import training
        >>> quantize_layers(training.mlp(4, 2), torch.rand(8, 4), bits=3)(torch.rand(5, 4)).shape
        torch.Size([5, 2])
    """
    bits = checks.integer("bits", bits, low=2, high=8)
    found = deepcopy(model)
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    places = [name for name, layer in found.named_modules() if isinstance(layer, kinds)]
    if not places:
        raise ValueError(f"model must hold linear or convolution layers, got {type(model).__name__} without any")
    negative, hooks = {}, []
    for name, layer in found.named_modules():
        if name in places:
            note = lambda layer, inputs, name=name: negative.update({name: bool((inputs[0] < 0).any())})  # noqa: E731
            hooks.append(layer.register_forward_pre_hook(note))
    with torch.no_grad():
        found(x)
        for hook in hooks:
            hook.remove()
        for name in places:
            parent, _, last = name.rpartition(".")
            owner = found.get_submodule(parent) if parent else found
            layer = found.get_submodule(name)
            if layer is found:
                found = Quantized(layer, bits, negative.get(name, True))
            else:
                setattr(owner, last, Quantized(layer, bits, negative.get(name, True)))
        found(x)
    return found


def bytes_of(model: nn.Module) -> tuple[int, int]:
    """``(bytes with quantized weights packed by bits, bytes in float32)``; steps and biases count four each."""
    packed = plain = 0
    inside: set[int] = set()
    for layer in model.modules():
        if isinstance(layer, Quantized):
            size = layer.layer.weight.numel()
            packed += -(-size * layer.weight_step.bits // 8) + 8
            plain += 4 * size
            inside |= {id(layer.layer.weight), id(layer.weight_step.step), id(layer.input_step.step)}
    rest = 4 * sum(value.numel() for value in model.parameters() if id(value) not in inside)
    return packed + rest, plain + rest


def disorder(gradients: torch.Tensor) -> torch.Tensor:
    """Share of sign changes between consecutive entries of the first axis (steps, ...); a zero changes nothing."""
    if gradients.shape[0] < 2:
        raise ValueError(f"gradients must hold at least 2 steps, got {gradients.shape[0]}")
    signs = gradients.sign()
    for t in range(1, len(signs)):  # a zero keeps the sign before it
        signs[t] = torch.where(signs[t] == 0, signs[t - 1], signs[t])
    return (signs[1:] * signs[:-1] < 0).double().mean(0)


def two_gradients(loss, parameters: Parameters, rho: float) -> tuple[Parameters, Parameters]:
    """``(gradient of the loss, gradient at the perturbed parameters)``; without a radius twice the first."""
    first = grad(loss)(parameters)
    if rho == 0:
        return first, first
    return first, grad(loss)(perturb(parameters, {name: g.detach() for name, g in first.items()}, rho))


class Trace:
    """What a training leaves: per window the disorder of the task's gradients, which steps were frozen, conflicts, and steps.

    ``disorder``, ``frozen`` and ``steps``: lists of (models, quantizers), one a window; ``conflicts`` (models, quantizers): share
    of steps in which both gradients of a step size have opposite signs.
    """

    def __init__(self):
        self.disorder: list[torch.Tensor] = []
        self.frozen: list[torch.Tensor] = []
        self.steps: list[torch.Tensor] = []
        self.conflicts = torch.zeros(0)


def train_stacked(
    model: nn.Module, parameters: Parameters, x: torch.Tensor, label: torch.Tensor, *, seeds, rho: float = 0.05,
    freeze: str = "task", window: int = 20, tau: float | Sequence[float] = 0.3, share: float = 0.4, epochs: int = 10,
    learning_rate=1e-3, batch_size: int = 64, progress=None,
) -> tuple[Parameters, Trace]:  # fmt: skip
    """All models at once; without a radius plain training.

    Args:
        rho: radius of the perturbation, of weights and steps alike.
        freeze: "task" (the method), "smooth" (the other reading: the flatness part is left out), "random" (a share of the steps at
            random: the control), "none" (SAM and quantization side by side).
        window: K, tau: threshold of the disorder, one or one a model.
        share: of the frozen steps where ``freeze="random"``.
    """
    checks.choice("freeze", freeze, FREEZES)
    window, taus = checks.integer("window", window, low=2), tau if isinstance(tau, Sequence) else [tau] * len(seeds)
    threshold = torch.tensor([checks.number("tau", one, low=0.0, high=1.0) for one in taus], dtype=torch.float64)[
        :, None
    ]
    rho = checks.number("rho", rho, low=0.0)
    names = [name for name in parameters if name.endswith(("weight_step.step", "input_step.step"))]
    trace, generator = Trace(), torch.Generator().manual_seed(0)
    held = torch.zeros(len(seeds), len(names), dtype=torch.bool)
    seen: list[torch.Tensor] = []
    conflicts, steps = torch.zeros(len(seeds), len(names)), 0

    def one(p, x, y):
        return two_gradients(lambda q: F.cross_entropy(functional_call(model, q, (x,)), y), p, rho)

    def step(p, x, y, number):
        nonlocal held, steps
        first, second = vmap(one)(p, x, y)
        if not names:
            return second
        task, full = (torch.stack([g[name] for name in names], 1) for g in (first, second))
        smooth = full - task
        conflicts.add_(task * smooth < 0)
        steps += 1
        left = task if freeze == "smooth" else smooth
        kept = torch.where(held & (freeze != "none"), left, full)
        seen.append(task)
        if len(seen) == window:
            found = disorder(torch.stack(seen))
            held = found < threshold
            if freeze == "random":
                held = torch.rand(held.shape, generator=generator) < share
            trace.disorder.append(found)
            trace.frozen.append(held)
            trace.steps.append(torch.stack([p[name] for name in names], 1))
            seen.clear()
        return {**second, **{name: kept[:, k] for k, name in enumerate(names)}}

    done = descend(
        parameters, step, x, label, seeds=seeds, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
        progress=progress,
    )  # fmt: skip
    trace.conflicts = conflicts / max(1, steps)
    return done, trace


def train_gaqat(
    model: nn.Module, x: torch.Tensor, label: torch.Tensor, *, bits: int = 4, seed: int = 0, **options
) -> nn.Module:
    """One's own float classifier quantized and trained; a new module. ``options`` as :func:`train_stacked`."""
    x = checks.tensor("x", x, floating=True)
    label = checks.tensor("label", label, shape=(len(x),)).long()
    start = quantize_layers(model, x[:256], bits)
    done, _ = train_stacked(start, stack([start]), x, label, seeds=[seed], **options)
    return filled(start, {name: value[0] for name, value in done.items()})
