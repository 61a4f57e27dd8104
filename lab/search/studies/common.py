"""What the studies of the room share: the task, the judge of a choice, and the result of searches side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lab import datasets
from lab.search import benchmark
from lab.search.bilevel import Searched, Split
from lab.search.space import Space
from lab.search.supernet import retrain


@dataclass(frozen=True, eq=False)
class Task:
    """A space, its items, and how good a choice is: from the benchmark table, or by retraining on the user's own items."""

    space: Space
    split: Split
    tabular: bool

    def accuracy(self, choice: torch.Tensor) -> torch.Tensor:
        """True test accuracy (models,) of each choice, a mean over training seeds."""
        if self.tabular:
            return benchmark.table().accuracy(choice, self.space)
        names = [self.space.genotype(one) for one in choice]
        x, y = self.split.test
        trained = retrain(self.space, names, *self.split.train, seeds=3, epochs=30)
        means = {name: float((found.predict(x).argmax(2) == y).double().mean()) for name, found in trained.items()}
        return torch.tensor([means[str(name)] for name in names], dtype=torch.float64)

    def tau(self, scores: torch.Tensor) -> torch.Tensor:
        """Kendall's tau (models,) of summed scores with true accuracy; NaN where there is no table."""
        return (
            benchmark.table().kendall(scores, self.space)
            if self.tabular
            else torch.full((len(scores),), torch.nan).double()
        )

    @property
    def best(self) -> float:
        """The best true accuracy of the space, NaN where there is no table."""
        return benchmark.table().best(self.space) if self.tabular else float("nan")


def task(operations: str, data=None) -> Task:
    """The benchmark's task with a set of candidates, or the same cells on a classification set of the user's."""
    if data is None:
        return Task(benchmark.space(operations), benchmark.digit_pairs(), True)
    x, y = items(data)
    part = len(x) // 5
    split = Split.of(x, y, train=2 * part, validation=2 * part)
    return Task(Space(operations, x.shape[1], int(y.max()) + 1, cells=2, width=16), split, False)


def items(data) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (items, features), standardized, and classes of a table or classification set.

    Raises:
        ValueError: no classes.
    """
    if isinstance(data, datasets.Points) and data.label is not None:
        x, y = data.x.flatten(1).float(), data.label.long()
    elif isinstance(data, datasets.Table) and data.target is not None:
        x, y, _ = data.numeric()
        if y.is_floating_point():
            raise ValueError(f"the target {data.target!r} holds numbers, a search of classifiers needs classes")
        x, y = x.float(), y.long()
    else:
        raise ValueError("data must be a table with a target column of classes or a classification set")
    return (x - x.mean(0)) / x.std(0).clamp_min(1e-6), y


def transferred(
    space: Space, choices: Mapping[str, torch.Tensor], train, test, *, epochs: int
) -> dict[str, torch.Tensor]:
    """Accuracy of each arm's choices (seeds, places) once they are trained on ``train`` and tried on ``test``, {arm: (seeds,)}.

    Networks that several searches chose are trained once, with two seeds.
    """
    names = {arm: [str(space.genotype(one)) for one in choice] for arm, choice in choices.items()}
    wanted = [name.split("-") for name in sorted({name for row in names.values() for name in row})]
    trained = retrain(space, wanted, *train, seeds=2, epochs=epochs)
    x, y = test
    accuracy = {name: float((one.predict(x).argmax(2) == y).double().mean()) for name, one in trained.items()}
    return {arm: torch.tensor([accuracy[name] for name in row], dtype=torch.float64) for arm, row in names.items()}


@dataclass(frozen=True, eq=False)
class Result:
    """Searches side by side: the choice of each arm (seeds, places), its true accuracy (seeds,), and what else was measured.

    ``searched`` holds the searches behind the arms (paths of alpha, supernets), ``best`` the best accuracy of the space.
    """

    space: Space
    choices: dict[str, torch.Tensor]
    accuracy: dict[str, torch.Tensor]
    measured: dict[str, torch.Tensor]
    best: float
    seeds: tuple[int, ...]
    searched: Mapping[str, Searched] = field(default_factory=dict, repr=False)

    def gain(self, arm: str, over: str) -> torch.Tensor:
        """Accuracy of one arm less that of another, a seed at a time."""
        return self.accuracy[arm] - self.accuracy[over]

    def regret(self, arm: str) -> torch.Tensor:
        """How far an arm stays below the best network of the space."""
        return self.best - self.accuracy[arm]

    def genotypes(self, arm: str) -> list[str]:
        """The networks that an arm chose, as words."""
        return [str(self.space.genotype(one)) for one in self.choices[arm]]

    def to_frame(self):
        """One row an arm: mean accuracy, its spread over seeds, regret, the most frequent choice."""
        import pandas as pd

        rows = []
        for arm, values in self.accuracy.items():
            names = self.genotypes(arm)
            rows.append(
                {
                    "arm": arm,
                    "accuracy": float(values.mean()),
                    "spread": float(values.std()) if len(values) > 1 else float("nan"),
                    "regret": float(self.regret(arm).mean()),
                    "chosen most": max(names, key=names.count),
                }
            )
        return pd.DataFrame(rows)

    def save(self, path) -> None:
        """Choices, accuracies and measured numbers as JSON (not the supernets)."""
        plain = {
            "operations": list(self.space.names), "inputs": self.space.inputs, "outputs": self.space.outputs,
            "nodes": self.space.nodes, "cells": self.space.cells, "width": self.space.width, "shared": self.space.shared,
            "best": self.best, "seeds": list(self.seeds),
            **{name: {key: value.tolist() for key, value in getattr(self, name).items()} for name in _PARTS},
        }  # fmt: skip
        Path(path).write_text(json.dumps(plain), encoding="utf-8")

    @classmethod
    def load(cls, path) -> Result:
        """What :meth:`save` wrote; own candidates must stand among the room's names."""
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        names = ("inputs", "outputs", "nodes", "cells", "width", "shared")
        space = Space(tuple(found["operations"]), **{name: found[name] for name in names})
        choices, accuracy, measured = (
            {key: torch.tensor(value) for key, value in found[name].items()} for name in _PARTS
        )
        return cls(space, choices, accuracy, measured, found["best"], tuple(found["seeds"]))


_PARTS = ("choices", "accuracy", "measured")


def shown(result: Result) -> dict:
    """The table of a result for the details of a measurement."""
    return {"table": result.to_frame().round(4).to_dict("records"), "best of the space": result.best}
