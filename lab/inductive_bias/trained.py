"""Trained spaces: the law of what an optimizer finds, not the posterior of a prior.

Many networks of one architecture are trained at once from different seeds; each gives one draw of the test loss, and
its training loss says whether it fits. The published loop divides sums of batch means by the number of samples, so
that its losses carry the batch size; here every loss is the mean over all points, in the task's metric.

Source: Boopathy, Yue, Hwang, Iyer, Fiete, 'Towards Exact Computation of Inductive Bias', IJCAI 2024 (network
hypotheses).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from lab import checks
from lab.inductive_bias.laws import SampleLaw
from lab.inductive_bias.networks import check_outputs
from lab.inductive_bias.task import Task


@dataclass(frozen=True, eq=False)
class TrainedSpace:
    """Networks that an optimizer finds from random initial weights.

    Args:
        network: ``seed -> nn.Module``; the module maps ``(n, ...)`` inputs of the task to ``(n, k)`` outputs.
        networks: how many are trained.
        optimizer, learning_rate, weight_decay, batch_size: as in :func:`lab.training.fit`; the loss is squared error.
        epochs: of training, or of one round where ``until_fit``.
        until_fit: train in rounds (the optimizer's state starts anew in each), and stop a network once its training
        loss
            is within ``tolerance``; at most ``rounds`` rounds.
        tolerance: the training loss, in the task's metric, up to which a network counts as fitting; ``None`` keeps all.
        seed: of the first network; the others follow.
        name: a word for tables.
    """

    network: Callable[[int], nn.Module]
    networks: int = 128
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int | None = 32
    epochs: int = 20
    until_fit: bool = False
    rounds: int = 10
    tolerance: float | None = None
    seed: int = 0
    name: str = ""

    def __post_init__(self):
        if not callable(self.network):
            raise TypeError(f"network must be a function of a seed, got {type(self.network).__name__}")
        checks.integer("networks", self.networks, low=1)
        checks.integer("epochs", self.epochs, low=1)
        checks.integer("rounds", self.rounds, low=1)
        checks.integer("seed", self.seed, low=0)
        if self.tolerance is not None:
            checks.number("tolerance", self.tolerance, low=0.0)
        elif self.until_fit:
            raise ValueError("tolerance is needed by until_fit: it says when a network fits")

    @property
    def label(self) -> str:
        return self.name or f"{type(self.network(self.seed)).__name__} by {self.optimizer}, {self.epochs} epochs"

    def loss_law(self, task: Task, *, progress=None, cancel=None) -> SampleLaw:
        """Trains the networks; the law of their test losses, with the training losses that condition it."""
        check_outputs(self.network(self.seed)(task.test_inputs[:1].float()), task)
        models = self.train(task, progress=progress, cancel=cancel)
        test, train = self.losses(models, task)
        meta = {
            "space": self.label,
            "n_train": task.n_train,
            "n_test": task.n_test,
            "outputs": task.outputs,
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "tolerance": self.tolerance,
            "seed": self.seed,
        }
        return SampleLaw(test, train, self.tolerance, optimizer=True, meta=meta)

    def train(self, task: Task, *, progress=None, cancel=None) -> list[nn.Module]:
        """The trained networks, in the order of their seeds."""
        from lab.training import fit

        inputs, targets = task.train_inputs.float(), task.train_targets.float()
        run = partial(
            fit,
            inputs=inputs,
            targets=targets,
            loss="squared_error",
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            batch_size=self.batch_size,
            progress=progress,
            cancel=cancel,
        )
        seeds = list(range(self.seed, self.seed + self.networks))
        fitted = run(self.network, seeds=seeds)
        models = [fitted.model(i) for i in range(self.networks)]
        rest = list(range(self.networks))
        for round_ in range(1, self.rounds if self.until_fit else 1):
            train = self.losses([models[i] for i in rest], task)[1]
            rest = [i for i, loss in zip(rest, train.tolist()) if not loss <= self.tolerance]
            if not rest or fitted.cancelled:
                break
            # a new batch order in each round: other seeds, far from those of the initial weights
            again = [seeds[i] + 1_000_003 * round_ for i in rest]
            fitted = run([models[i] for i in rest], seeds=again)
            for place, i in enumerate(rest):
                models[i] = fitted.model(place)
        return models

    def losses(self, models: list[nn.Module], task: Task) -> tuple[torch.Tensor, torch.Tensor]:
        """Test and training losses ``(models,)`` in the task's metric, means over all points."""
        from lab.training import Stack

        stack = Stack(models)
        with torch.no_grad():
            test, train = stack(task.test_inputs.float()), stack(task.train_inputs.float())
        return task.losses(test.double()), task.train_losses(train.double())
