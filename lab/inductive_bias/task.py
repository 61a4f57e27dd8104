"""A task: training data that every hypothesis fits, test data that the bits are asked for, and the metric.

Continuous targets are ``(n,)`` or ``(n, k)`` floats. Integer, boolean or string targets are classes: with
``metric="mse"`` they become one-hot vectors, from which the training mean is subtracted (``centre=True``), because
the hypotheses of a kernel space are centred at zero and a zero prediction should be the best constant one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from lab import checks

METRICS = ("mse", "error")


@dataclass(frozen=True, eq=False)
class Task:
    """Training pair, test pair and metric.

    Args:
        train: ``(inputs (n, ...), targets (n,) or (n, k))``.
        test: the same for the test set, of any size.
        metric: ``"mse"``, the squared error averaged over test points and outputs, or ``"error"``, the share of test
            points whose class (largest output; the sign where there is one output) is wrong.
        centre: subtract the mean of the training targets from all targets.
        name: a word for tables.
        notes: what reading a table did (:meth:`from_table`).

    Raises:
        ValueError: NaN, infinite or empty data, sizes that do not match, a single class.
        TypeError: targets that are neither numbers nor classes.
    """

    train: tuple
    test: tuple
    metric: str = "mse"
    centre: bool = True
    name: str = ""
    notes: tuple[str, ...] = ()
    train_inputs: torch.Tensor = field(init=False, repr=False)
    train_targets: torch.Tensor = field(init=False, repr=False)
    test_inputs: torch.Tensor = field(init=False, repr=False)
    test_targets: torch.Tensor = field(init=False, repr=False)
    classes: tuple = field(init=False, default=())
    offset: torch.Tensor = field(init=False, repr=False, default=None)

    def __post_init__(self):
        checks.choice("metric", self.metric, METRICS)
        x, y = _pair("train", self.train)
        u, v = _pair("test", self.test)
        if x.shape[1:] != u.shape[1:]:
            raise ValueError(
                f"train and test inputs must have equal features, got {tuple(x.shape)} and {tuple(u.shape)}"
            )
        y, v, classes = _targets(y, v)
        if self.metric == "error" and not classes and y.shape[1] == 1 and not bool((v != 0).all()):
            raise ValueError(
                "metric 'error' with one continuous output needs nonzero targets (their sign is the class)"
            )
        offset = y.mean(0) if self.centre else torch.zeros(y.shape[1], dtype=torch.float64)
        values = {
            "train_inputs": x,
            "test_inputs": u,
            "train_targets": y - offset,
            "test_targets": v - offset,
            "classes": classes,
            "offset": offset,
            "train": None,
            "test": None,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def n_train(self) -> int:
        return len(self.train_inputs)

    @property
    def n_test(self) -> int:
        return len(self.test_inputs)

    @property
    def outputs(self) -> int:
        return self.train_targets.shape[1]

    def constant_loss(self) -> float:
        """The test loss of the best constant guess of the training set (mean, or most frequent class)."""
        if self.metric == "mse":
            return float(((self.test_targets - self.train_targets.mean(0)) ** 2).mean())
        guess = self.train_targets.mean(0).expand_as(self.test_targets)
        return float(self.losses(guess[None])[0])

    def losses(self, predictions: torch.Tensor) -> torch.Tensor:
        """Test loss of each of a batch of predictions ``(batch, n_test, k)``; shape ``(batch,)``."""
        return loss_of(predictions, self.test_targets, self.offset, self.metric)

    def train_losses(self, predictions: torch.Tensor) -> torch.Tensor:
        """Training loss of each of a batch of predictions ``(batch, n_train, k)``; shape ``(batch,)``."""
        return loss_of(predictions, self.train_targets, self.offset, self.metric)

    def subset(self, *, n_train: int | None = None, n_test: int | None = None, seed: int | torch.Generator = 0) -> Task:
        """The same task with fewer training or test points, drawn at random without replacement."""
        generator = checks.generator(seed)
        parts = []
        for name, size, whole in (("n_train", n_train, self.n_train), ("n_test", n_test, self.n_test)):
            size = whole if size is None else checks.integer(name, size, low=1, high=whole)
            order = torch.randperm(whole, generator=generator)[:size]
            parts.append(torch.sort(order).values)
        return self.replaced(
            train_inputs=self.train_inputs[parts[0]],
            train_targets=self.train_targets[parts[0]],
            test_inputs=self.test_inputs[parts[1]],
            test_targets=self.test_targets[parts[1]],
        )

    def replaced(self, **tensors: torch.Tensor) -> Task:
        """A copy with other ``train_inputs``, ``train_targets``, ``test_inputs`` or ``test_targets`` (already centred)."""
        for name in tensors:
            checks.choice("tensors", name, ("train_inputs", "train_targets", "test_inputs", "test_targets"))
        part = {
            name: tensors.get(name, getattr(self, name))
            for name in ("train_inputs", "train_targets", "test_inputs", "test_targets")
        }
        copy = Task(
            (part["train_inputs"], part["train_targets"]),
            (part["test_inputs"], part["test_targets"]),
            metric="mse",
            centre=False,
            name=self.name,
        )
        for name in ("classes", "offset", "metric", "centre", "notes"):
            object.__setattr__(copy, name, getattr(self, name))
        return copy

    @classmethod
    def split(
        cls,
        inputs,
        targets,
        *,
        train: float | int = 0.5,
        metric: str = "mse",
        centre: bool = True,
        standardize: bool = False,
        name: str = "",
        seed: int | torch.Generator = 0,
    ) -> Task:
        """A random split of one data set; ``train`` is a share (float) or a count (int).

        ``standardize`` gives every feature mean zero and variance one over the training part.
        """
        inputs = checks.tensor("inputs", inputs).detach().cpu().double()
        targets = np.asarray(targets)
        if len(inputs) != len(targets):
            raise ValueError(f"inputs and targets must have equal length, got {len(inputs)} and {len(targets)}")
        if len(inputs) < 2:
            raise ValueError("inputs must hold at least two points to be split")
        if isinstance(train, bool) or not isinstance(train, (int, float)):
            raise TypeError(f"train must be a share or a count, got {train!r}")
        if isinstance(train, float):
            count = round(checks.number("train", train, low=0.0, high=1.0) * len(inputs))
            count = min(max(count, 1), len(inputs) - 1)
        else:
            count = checks.integer("train", train, low=1, high=len(inputs) - 1)
        order = torch.randperm(len(inputs), generator=checks.generator(seed))
        first, second = order[:count], order[count:]
        if standardize:
            mean, spread = inputs[first].mean(0), inputs[first].std(0, unbiased=False)
            inputs = (inputs - mean) / torch.where(spread > 0, spread, torch.ones_like(spread))
        return cls(
            (inputs[first], targets[first.numpy()]),
            (inputs[second], targets[second.numpy()]),
            metric=metric,
            centre=centre,
            name=name,
        )

    @classmethod
    def from_table(
        cls,
        table,
        *,
        target: str | None = None,
        train: float | int = 0.5,
        metric: str = "mse",
        max_categories: int = 32,
        missing: str = "drop",
        target_type: str | None = None,
        seed: int | torch.Generator = 0,
        **options,
    ) -> Task:
        """A task from a data frame, a path to a CSV or Parquet file, or a table of :mod:`lab.datasets`.

        Columns become numbers by the rules of :mod:`lab.datasets.columns`, standardized on the training part; numeric targets are
        standardized too. ``notes`` say what was encoded, dropped or left out, and which column is the target.

        Args:
            target: the column to predict; by default the one called target, label, class or y, or else the last.
            missing: ``"drop"`` rows with missing values (refused if fewer than half stay), fill in the column's ``"mean"``, or
                ``"refuse"``.
            target_type: ``"classes"`` or ``"numbers"``; by the target's values where ``None``.
            options: how a text file is written (:func:`lab.datasets.load`).
        """
        from lab.datasets import as_table

        table = as_table(table, target, target_type=target_type, **options)
        if table.frame.shape[1] < 2 or table.target is None:
            raise ValueError(f"table must have a feature and a target column, got {table.frame.shape[1]} column(s)")
        matrix, labels, _ = table.numeric(missing=missing, max_categories=max_categories)
        if len(labels) < 2:
            raise ValueError("table must have at least two rows without missing values")
        if len(labels.unique()) < 2:
            raise ValueError(
                f"target column {table.target!r} holds one value ({table.frame[table.target].iloc[0]!r}); at least two are needed"
            )
        values = labels.numpy()
        if labels.is_floating_point():
            values = labels.double().numpy()
            values = (values - values.mean()) / values.std()
        task = cls.split(
            matrix, values, train=train, metric=metric, standardize=True, name=str(table.target), seed=seed
        )
        object.__setattr__(task, "notes", (*table.notes, f"{len(labels)} of {len(table)} rows used"))
        return task


def loss_of(predictions, targets, offset, metric):
    """Loss of predictions ``(batch, n, k)`` against ``targets (n, k)``, both relative to ``offset``."""
    if metric == "mse":
        return ((predictions - targets) ** 2).mean((-1, -2))
    if targets.shape[-1] == 1:
        wrong = (predictions + offset > 0) != (targets + offset > 0)
        return wrong.squeeze(-1).to(predictions.dtype).mean(-1)
    wrong = (predictions + offset).argmax(-1) != (targets + offset).argmax(-1)
    return wrong.to(predictions.dtype).mean(-1)


def _pair(name, pair):
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"{name} must be a pair (inputs, targets), got {type(pair).__name__}")
    inputs = checks.tensor(f"{name} inputs", pair[0]).detach().cpu().double()
    inputs = inputs[:, None] if inputs.ndim == 1 else inputs
    targets = pair[1]
    if len(inputs) != len(targets):
        raise ValueError(f"{name} inputs and targets must have equal length, got {len(inputs)} and {len(targets)}")
    return inputs, targets


def _targets(y, v):
    """Both target sets as ``(n, k)`` float64, and the classes where they are classes."""
    y, v = (np.asarray(part.detach().cpu() if isinstance(part, torch.Tensor) else part) for part in (y, v))
    if y.dtype.kind == "f" and v.dtype.kind == "f":
        parts = []
        for name, part in (("train targets", y), ("test targets", v)):
            part = checks.tensor(name, part, ndim=(1, 2)).double()
            parts.append(part[:, None] if part.ndim == 1 else part)
        if parts[0].shape[1] != parts[1].shape[1]:
            raise ValueError(
                f"train and test targets must have equal width, got {parts[0].shape[1]}, {parts[1].shape[1]}"
            )
        return *parts, ()
    for name, part in (("train", y), ("test", v)):
        if part.dtype.kind not in "iubUO":
            raise TypeError(f"{name} targets must be numbers or classes, got dtype {part.dtype}")
        if part.ndim != 1:
            raise ValueError(f"{name} targets that are classes must have 1 axis, got shape {part.shape}")
    classes = np.unique(np.concatenate([y, v]))
    if len(classes) < 2:
        raise ValueError(f"targets hold one class ({classes[0]!r}); at least two are needed")
    if len(classes) > 1000:
        raise ValueError(f"targets hold {len(classes)} classes, at most 1000; pass floats for a regression")
    one_hot = [torch.from_numpy((part[:, None] == classes).astype(float)) for part in (y, v)]
    return *one_hot, tuple(classes.tolist())
