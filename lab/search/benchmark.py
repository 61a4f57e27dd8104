"""A tabular benchmark: every network of one space trained from scratch, so that a search is judged against the true ranking.

The task is whether the sum of two handwritten digits is even. Seen alone, neither image says anything about it, so networks
without a nonlinear candidate stay near chance and depth pays. The space has eight candidates on three edges, 512 networks, each
trained with three seeds; images of training, validation and test pairs are disjoint. ``python -m lab.search.benchmark`` makes the
table again (a few minutes on one core).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from lab import checks
from lab.search.bilevel import Split, train_paths
from lab.search.space import Space
from lab.search.supernet import Supernet, counts

STEPS, SEEDS = 500, (0, 1, 2)
COLUMNS = ("genotype", "seed", "validation", "test", "parameters", "multiply_adds")


def space(operations="eight", **changes) -> Space:
    """The space of the benchmark, or one of the same shape with other candidates."""
    return Space(operations, 128, 2, **{"nodes": 2, "cells": 2, "width": 16, **changes})


@cache
def digit_pairs(train: int = 2000, validation: int = 1000, test: int = 2000) -> Split:
    """Pairs of digits (items, 128) in [0, 1] and whether their sum is odd; disjoint images behind each part."""
    from lab import datasets

    digits = datasets.load("digits")
    order = torch.randperm(len(digits.x), generator=torch.Generator().manual_seed(0)).split(
        [600, 600, len(digits.x) - 1200]
    )
    parts = []
    for number, (rows, count) in enumerate(zip(order, (train, validation, test))):
        drawn = rows[torch.randint(len(rows), (count, 2), generator=torch.Generator().manual_seed(number + 1))]
        parts.append((digits.x[drawn].flatten(1), digits.label[drawn].sum(1) % 2))
    return Split(*parts)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The table: accuracies (genotypes, seeds) on validation and test pairs, and sizes (genotypes,)."""

    space: Space
    choices: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor
    parameters: torch.Tensor
    multiply_adds: torch.Tensor

    def rows(self, choice: torch.Tensor, within: Space | None = None) -> torch.Tensor:
        """Places in the table of ``choice`` (models, places) of indices into the candidates of ``within``."""
        if within is not None:
            choice = torch.tensor([self.space.names.index(name) for name in within.names])[choice]
        base = len(self.space.names) ** torch.arange(self.space.places - 1, -1, -1)
        return (checks.tensor("choice", choice, shape=(None, self.space.places)) * base).sum(1)

    def accuracy(self, choice: torch.Tensor, within: Space | None = None) -> torch.Tensor:
        """Mean test accuracy over training seeds of each choice."""
        return self.test[self.rows(choice, within)].mean(1)

    def best(self, within: Space | None = None) -> float:
        """The largest mean test accuracy in the space, or among the candidates of ``within``."""
        return float(self.accuracy((within or self.space).all_choices(), within).max())

    def regret(self, choice: torch.Tensor, within: Space | None = None) -> torch.Tensor:
        """How far the test accuracy of each choice lies below the best one's."""
        return self.best(within) - self.accuracy(choice, within)

    def kendall(self, scores: torch.Tensor, within: Space | None = None) -> torch.Tensor:
        """Kendall's tau between scores (models, places, operations), summed over places, and true test accuracy, (models,)."""
        from scipy.stats import kendalltau

        choices = (within or self.space).all_choices()
        truth = self.accuracy(choices, within).numpy()
        places = torch.arange(choices.shape[1])
        return torch.tensor(
            [kendalltau(one[places, choices].sum(1).numpy(), truth).statistic for one in scores]
        ).double()

    def random_search(self, evaluations: int, seeds: Sequence[int], within: Space | None = None) -> torch.Tensor:
        """Choices (seeds, places) of the best validation accuracy among so many random networks, each trained once."""
        found = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(20_000 + seed)
            drawn = (within or self.space).random(evaluations, generator)
            once = torch.randint(self.validation.shape[1], (evaluations,), generator=generator)
            found.append(drawn[self.validation[self.rows(drawn, within), once].argmax()])
        return torch.stack(found)

    def spread(self) -> dict[str, float]:
        """The 10-90 % range of true test accuracy, the spread over seeds, and their ratio."""
        mean = self.test.mean(1)
        wide, noise = float(mean.quantile(0.9) - mean.quantile(0.1)), float(self.test.var(1).mean().sqrt())
        return {"10-90 % range": wide, "spread over seeds": noise, "ratio": wide / noise}


@cache
def table() -> Benchmark:
    """The recorded benchmark, ``data/benchmarks/search_space.csv``."""
    with _path().open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    whole = space()
    column = lambda name, kind=float: torch.tensor([kind(row[name]) for row in rows]).reshape(-1, len(SEEDS))  # noqa: E731
    choices = torch.stack([whole.choice(row["genotype"].split("-")) for row in rows[:: len(SEEDS)]])
    return Benchmark(
        whole, choices, column("validation").double(), column("test").double(), column("parameters", int)[:, 0],
        column("multiply_adds", int)[:, 0],
    )  # fmt: skip


def make(chunk: int = 256, progress=None) -> None:
    """Train every network of the space and write the table."""
    whole, split = space(), digit_pairs()
    supernet, choices = Supernet(whole), whole.all_choices()
    parameters, products = counts(whole, choices)
    rows = []
    for first in range(0, len(choices), chunk):
        part = choices[first : first + chunk]
        seeds = list(SEEDS) * len(part)
        weights, plan = train_paths(
            supernet, part.repeat_interleave(len(SEEDS), 0), *split.train, seeds=seeds, steps=STEPS
        )
        with torch.no_grad():
            held, test = (
                (supernet.planned(weights, plan, x).argmax(2) == y).double().mean(1)
                for x, y in (split.validation, split.test)
            )
        for m, seed in enumerate(seeds):
            k = first + m // len(SEEDS)
            name = str(whole.genotype(choices[k].tolist()))
            rows.append([name, seed, f"{held[m]:.4f}", f"{test[m]:.4f}", int(parameters[k]), int(products[k])])
        if progress is not None:
            progress(min(first + chunk, len(choices)), len(choices))
    with _path().open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    table.cache_clear()


def _path():
    from lab.source import project_root

    return project_root() / "data" / "benchmarks" / "search_space.csv"


if __name__ == "__main__":
    make(progress=lambda done, total: print(f"{done} of {total}", flush=True))
    print(table().spread())
