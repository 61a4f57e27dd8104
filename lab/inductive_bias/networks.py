"""Network spaces: random weights conditioned on fitting the training set, and finite sets of functions.

:class:`WeightPriorSpace` has no exact law. Its loss is an energy on the latent normals behind the weights, which
splitting follows to any depth; guess-and-check (:meth:`WeightPriorSpace.draws`) counts millions of networks without
storing one and can replay each. :class:`FiniteSpace` is enumerated.

Source: Boopathy, Yue, Hwang, Iyer, Fiete, 'Towards Exact Computation of Inductive Bias', IJCAI 2024 (network
hypotheses); P. Chiang et al., 'Loss Landscapes are All You Need', ICLR 2023, section 3 (guess and check); G.
Valle-Perez, C. Camargo, A. Louis, 'Deep Learning Generalizes Because the Parameter-Function Map is Biased Towards
Simple Functions', ICLR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from lab import checks
from lab.inductive_bias.laws import LOG2, DiscreteLaw, EnergyLaw, SampleLaw
from lab.inductive_bias.task import Task
from lab.kernels.random_hypotheses import RandomNetwork, random_hypotheses


@dataclass(frozen=True, eq=False)
class WeightPriorSpace:
    """Networks with independent normal weights that fit the training set.

    Args:
        network: a :class:`~lab.kernels.random_hypotheses.RandomNetwork`, or any ``nn.Module`` without buffers that
        change
            (its parameters are drawn: matrices and filters ``N(0, weight_scale^2 / fan_in)``, vectors named bias
            ``N(0, bias_scale^2)``, gains one).
        tolerance: the training loss, in the task's metric, up to which a network counts as fitting.
        weight_scale, bias_scale: for an ``nn.Module``; a RandomNetwork has its own.
        name: a word for tables.
    """

    network: RandomNetwork | nn.Module
    tolerance: float = 0.0
    weight_scale: float = math.sqrt(2)
    bias_scale: float = 0.1
    name: str = ""

    def __post_init__(self):
        if not isinstance(self.network, (RandomNetwork, nn.Module)):
            raise TypeError(f"network must be a RandomNetwork or nn.Module, got {type(self.network).__name__}")
        if isinstance(self.network, RandomNetwork) and self.network.law != "normal":
            raise ValueError("network must have normal weights; a uniform law has no normal latents")
        checks.number("tolerance", self.tolerance, low=0.0)

    @property
    def label(self) -> str:
        if self.name:
            return self.name
        if isinstance(self.network, RandomNetwork):
            return "random network " + "-".join(
                map(str, (self.network.features, *self.network.widths, self.network.outputs))
            )
        return f"random {type(self.network).__name__}"

    def loss_law(self, task: Task) -> EnergyLaw:
        """The test loss as an energy on the latent normals, given that the training loss is within the tolerance."""
        evaluate, dimension = self.function()
        train, test = _shaped(self.network, task.train_inputs), _shaped(self.network, task.test_inputs)
        offset, metric = task.offset, task.metric
        check_outputs(evaluate(torch.zeros(1, dimension), test[:1]), task)

        def energy(latent):
            return task.losses(evaluate(latent.float(), test).double())

        def constraint(latent):
            return task.train_losses(evaluate(latent.float(), train).double())

        meta = {
            "space": self.label,
            "n_train": task.n_train,
            "n_test": task.n_test,
            "outputs": task.outputs,
            "tolerance": self.tolerance,
            "metric": metric,
            "offset": [float(v) for v in offset],
        }
        return EnergyLaw(energy, dimension, constraint, self.tolerance, meta)

    def prior_law(self, task: Task) -> EnergyLaw:
        """The law of the *training* loss of random networks: what the training labels tell at a tolerance."""
        law = self.loss_law(task)
        assert law.constraint is not None  # networks are always conditioned
        return EnergyLaw(law.constraint, law.dimension, meta=law.meta)

    def draws(self, task: Task, count: int, *, seed: int = 0, progress=None) -> SampleLaw:
        """Guess and check: ``count`` random networks, those kept that fit the training set within the tolerance.

        Draw ``i`` of ``seed`` is replayed by :meth:`replay`; nothing is stored but two losses each. About two million
        networks a minute and core for 1,000 weights and 64 points.
        """
        if not isinstance(self.network, RandomNetwork):
            raise TypeError("draws needs a RandomNetwork, whose networks are drawn by index; use loss_law for a module")
        losses = prior_losses(self.network, task, count, seed=seed, progress=progress)
        meta = {"space": self.label, "n_train": task.n_train, "n_test": task.n_test, "seed": seed}
        return SampleLaw(losses[:, 1], losses[:, 0], self.tolerance, meta=meta)

    def replay(self, seed: int, index: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weights and biases of draw ``index``."""
        if not isinstance(self.network, RandomNetwork):
            raise TypeError("replay needs a RandomNetwork, whose networks are drawn by index")
        return self.network.parameters(seed, index)

    def function(self) -> tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], int]:
        """``(evaluate, dimension)``: ``evaluate(latent (batch, dimension), x (n, ...)) -> (batch, n, outputs)``."""
        if isinstance(self.network, RandomNetwork):
            return (lambda latent, x: _multilayer(self.network, latent, x)), self.network.size
        return _module_function(self.network, self.weight_scale, self.bias_scale)


@dataclass(frozen=True, eq=False)
class FiniteSpace:
    """Finitely many functions with weights, known by their values on the training and the test points.

    Args:
        train_predictions: ``(m, n_train, k)`` or ``(m, n_train)``; relative to the task's offset.
        test_predictions: ``(m, n_test, k)`` or ``(m, n_test)``.
        log_weights: ``(m,)``; equal if ``None``.
        tolerance: training loss up to which a function fits.
    """

    train_predictions: torch.Tensor
    test_predictions: torch.Tensor
    log_weights: torch.Tensor | None = None
    tolerance: float = 0.0
    name: str = "finite space"

    def __post_init__(self):
        for name in ("train_predictions", "test_predictions"):
            value = checks.tensor(name, getattr(self, name), ndim=(2, 3)).double()
            object.__setattr__(self, name, value if value.ndim == 3 else value[:, :, None])
        if len(self.train_predictions) != len(self.test_predictions):
            raise ValueError(
                f"train_predictions and test_predictions must hold equally many functions, got "
                f"{len(self.train_predictions)} and {len(self.test_predictions)}"
            )
        size = len(self.train_predictions)
        weights = torch.zeros(size) if self.log_weights is None else self.log_weights
        weights = checks.tensor("log_weights", weights, shape=(size,), finite=False).double()
        object.__setattr__(self, "log_weights", weights - weights.logsumexp(0))

    @property
    def label(self) -> str:
        return self.name

    def loss_law(self, task: Task) -> DiscreteLaw:
        """The law of the test loss among the functions that fit the training set."""
        assert self.log_weights is not None  # set when the space is made
        fits = task.train_losses(self.train_predictions) <= self.tolerance
        if not bool((fits & (self.log_weights > -math.inf)).any()):
            raise ValueError(f"no function of {self.name} fits the training set to {self.tolerance}")
        meta = {"space": self.label, "n_train": task.n_train, "n_test": task.n_test, "fitting": int(fits.sum())}
        return DiscreteLaw(task.losses(self.test_predictions[fits]), self.log_weights[fits], meta)

    def class_bits(self, members: torch.Tensor) -> float:
        """``-log2`` of the mass of a model class given by a mask over the functions."""
        assert self.log_weights is not None  # set when the space is made
        members = checks.tensor("members", members, shape=(len(self.log_weights),))
        if members.dtype != torch.bool:
            raise TypeError(f"members must be a boolean mask, got {members.dtype}")
        return max(0.0, -float(self.log_weights[members].logsumexp(0)) / LOG2) if bool(members.any()) else math.inf


def prior_losses(network: RandomNetwork, task: Task, count: int, *, seed: int = 0, progress=None) -> torch.Tensor:
    """Training and test loss ``(count, 2)`` of random networks that are never stored."""
    points = torch.cat([task.train_inputs, task.test_inputs]).reshape(task.n_train + task.n_test, -1).float()
    targets = torch.cat([task.train_targets, task.test_targets])
    parts = (task.n_train, task.n_test)
    if task.metric == "mse":
        return random_hypotheses(
            network,
            points,
            targets.float(),
            count=count,
            seed=seed,
            measure="squared",
            segments=parts,
            progress=progress,
        ).double()
    if network.outputs != task.outputs:
        raise ValueError(f"network must have {task.outputs} outputs for this task, got {network.outputs}")
    whole = targets + task.offset
    labels = whole[:, 0] if network.outputs == 1 else whole.argmax(1)
    if bool((task.offset != 0).any()):
        raise ValueError(
            "a task with metric 'error' must not be centred for random networks; build it with centre=False"
        )
    return random_hypotheses(
        network, points, labels, count=count, seed=seed, measure="error", segments=parts, progress=progress
    ).double()


def check_outputs(predictions: torch.Tensor, task: Task) -> None:
    """Refuse a network whose outputs do not match the task's."""
    if predictions.shape[-1] != task.outputs:
        raise ValueError(f"network must have {task.outputs} outputs for this task, got {predictions.shape[-1]}")


def _shaped(network, inputs):
    """Points as the network takes them: flat for a multilayer network, as they are for a module."""
    inputs = inputs.float()
    return inputs.reshape(len(inputs), -1) if isinstance(network, RandomNetwork) else inputs


def _multilayer(network, latent, x):
    h = x.expand(len(latent), -1, -1)
    place = 0
    for layer, ((fan_in, fan_out), (weight_scale, bias_scale)) in enumerate(zip(network.layers, network.scales())):
        weight = latent[:, place : place + fan_in * fan_out].reshape(-1, fan_out, fan_in) * weight_scale
        bias = latent[:, place + fan_in * fan_out : place + (fan_in + 1) * fan_out] * bias_scale
        place += (fan_in + 1) * fan_out
        h = torch.baddbmm(bias[:, None, :], h, weight.transpose(1, 2))
        if layer < len(network.layers) - 1:
            h = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda z: z}[network.activation](h)
    return h


def _module_function(module, weight_scale, bias_scale):
    shapes, scales, offsets = {}, {}, {}
    for name, parameter in module.named_parameters():
        shapes[name] = parameter.shape
        if parameter.ndim >= 2:
            scales[name], offsets[name] = weight_scale / math.sqrt(parameter[0].numel()), 0.0
        elif name.endswith("bias"):
            scales[name], offsets[name] = bias_scale, 0.0
        else:
            scales[name], offsets[name] = 0.0, 1.0
    drawn = [name for name in shapes if scales[name] > 0]
    dimension = sum(shapes[name].numel() for name in drawn)
    buffers = {name: buffer.detach() for name, buffer in module.named_buffers()}

    def single(latent, x):
        parameters, place = {}, 0
        for name, shape in shapes.items():
            if scales[name] > 0:
                parameters[name] = latent[place : place + shape.numel()].reshape(shape) * scales[name] + offsets[name]
                place += shape.numel()
            else:
                parameters[name] = torch.full(shape, offsets[name])
        return torch.func.functional_call(module, (parameters, buffers), (x,))

    batched = torch.func.vmap(single, in_dims=(0, None), chunk_size=64)

    def evaluate(latent, x):
        with torch.no_grad():
            return batched(latent, x)

    return evaluate, dimension
