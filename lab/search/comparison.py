"""All methods on one data set at equal cost, beside random search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lab import checks
from lab.search import benchmark, bilevel
from lab.search.bilevel import Recipe, Split
from lab.search.searching import METHODS
from lab.search.space import Space
from lab.search.supernet import Supernet


@dataclass(frozen=True, eq=False)
class Comparison:
    """``accuracy`` {method: (seeds,)} of the retrained choices, ``choices`` (seeds, places), processor ``seconds`` of each search,
    ``best`` of the space (NaN where it is not known)."""

    space: Space
    choices: dict[str, torch.Tensor]
    accuracy: dict[str, torch.Tensor]
    seconds: dict[str, float]
    best: float

    def genotypes(self, method: str) -> list[str]:
        """What a method chose, as words."""
        return [str(self.space.genotype(one)) for one in self.choices[method]]

    def to_frame(self):
        """One row a method, the most accurate first: mean, spread over seeds, regret, seconds, the most frequent choice."""
        import pandas as pd

        rows = [
            {
                "method": method,
                "accuracy": float(values.mean()),
                "spread": float(values.std()) if len(values) > 1 else float("nan"),
                "regret": self.best - float(values.mean()),
                "seconds": self.seconds[method],
                "chosen most": max(self.genotypes(method), key=self.genotypes(method).count),
            }
            for method, values in self.accuracy.items()
        ]
        return pd.DataFrame(rows).sort_values("accuracy", ascending=False, ignore_index=True)


def compare(
    methods: Sequence[str] = tuple(METHODS), x=None, y=None, *, operations: str = "skip-linear-mlp", seeds: int = 5,
    steps: int = 400, progress=None,
) -> Comparison:  # fmt: skip
    """Run every method with the same supernet, split, seeds and steps.

    Args:
        methods: names of :data:`lab.search.METHODS`.
        x, y: own rows and classes; the benchmark's pairs of digits without them, whose true accuracies are tabulated.
        operations: a named set of candidates.
        seeds, steps: of each search; the chosen networks of own data are trained for as many steps.
    """
    for method in methods:
        checks.choice("methods", method, METHODS)
    own = x is not None
    if own:
        x, y = checks.tensor("x", x, ndim=2), checks.tensor("y", y, ndim=1)
        part = 2 * len(x) // 5
        split = Split.of(x, y, train=part, validation=part)
        space = Space(operations, x.shape[1], int(y.max()) + 1, cells=2, width=16)
    else:
        split, space = benchmark.digit_pairs(), benchmark.space(operations)
    supernet, recipe, drawn = Supernet(space), Recipe(steps=steps), tuple(range(seeds))
    choices, seconds, accuracy = {}, {}, {}
    for number, method in enumerate(methods):
        began = time.process_time()
        choices[method] = METHODS[method](supernet, split, recipe, drawn)
        seconds[method] = time.process_time() - began
        if own:
            weights, plan = bilevel.train_paths(supernet, choices[method], *split.train, seeds=list(drawn), steps=steps)
            with torch.no_grad():
                logits = supernet.planned(weights, plan, split.test[0])
            accuracy[method] = (logits.argmax(2) == split.test[1]).double().mean(1)
        else:
            accuracy[method] = benchmark.table().accuracy(choices[method], space)
        if progress is not None:
            progress(number + 1, len(methods))
    best = float("nan") if own else benchmark.table().best(space)
    return Comparison(space, choices, accuracy, seconds, best)
