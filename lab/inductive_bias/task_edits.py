"""Task design: edits of a task, what each costs in bits, and a search for the edit that demands most.

Each edit is a small object, ``edit(task) -> Task``. The threshold is fixed by the rule on the unedited task, so that
the bits before and after ask for the same loss.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lab import checks
from lab.datasets.moves import moved
from lab.inductive_bias.bit_methods import required_bits
from lab.inductive_bias.ranking import Share, threshold
from lab.inductive_bias.task import Task


@dataclass(frozen=True)
class AddDimensions:
    """``count`` coordinates of normal noise with the spread of the inputs."""

    count: int = 4
    seed: int = 0

    def __call__(self, task: Task) -> Task:
        count = checks.integer("count", self.count, low=1)
        generator = checks.generator(self.seed)
        x, u = (part.reshape(len(part), -1) for part in (task.train_inputs, task.test_inputs))
        scale = float(x.std())
        noise = [scale * torch.randn(len(part), count, generator=generator, dtype=torch.float64) for part in (x, u)]
        return task.replaced(train_inputs=torch.cat([x, noise[0]], 1), test_inputs=torch.cat([u, noise[1]], 1))

    def __str__(self):
        return f"add {self.count} noise dimensions"


@dataclass(frozen=True)
class RotateImages:
    """Each test image turned by a random angle up to ``degrees``; the training images stay upright."""

    degrees: float = 30.0
    seed: int = 0

    def __call__(self, task: Task) -> Task:
        angle = math.radians(checks.number("degrees", self.degrees, low=0.0, high=180.0))
        x, restore = _as_images(task.test_inputs)
        angles = angle * (2 * torch.rand(len(x), generator=checks.generator(self.seed), dtype=torch.float64) - 1)
        turned = moved(x, angles)
        return task.replaced(test_inputs=restore(turned))

    def __str__(self):
        return f"rotate test images by up to {self.degrees:g} degrees"


@dataclass(frozen=True)
class ShuffleFeatures:
    """One fixed permutation of the features of all inputs: the order carries no information afterwards."""

    seed: int = 0

    def __call__(self, task: Task) -> Task:
        x, u = (part.reshape(len(part), -1) for part in (task.train_inputs, task.test_inputs))
        order = torch.randperm(x.shape[1], generator=checks.generator(self.seed))
        shape = task.train_inputs.shape[1:]
        return task.replaced(train_inputs=x[:, order].reshape(-1, *shape), test_inputs=u[:, order].reshape(-1, *shape))

    def __str__(self):
        return "shuffle the features"


@dataclass(frozen=True)
class LabelNoise:
    """A share of the training labels exchanged at random among themselves."""

    share: float = 0.1
    seed: int = 0

    def __call__(self, task: Task) -> Task:
        share = checks.number("share", self.share, low=0.0, high=1.0)
        generator = checks.generator(self.seed)
        chosen = torch.randperm(task.n_train, generator=generator)[: round(share * task.n_train)]
        targets = task.train_targets.clone()
        targets[chosen] = targets[chosen.roll(1)]
        return task.replaced(train_targets=targets)

    def __str__(self):
        return f"exchange {100 * self.share:g} % of the training labels"


@dataclass(frozen=True)
class FewerLabels:
    """A random share of the training points."""

    share: float = 0.5
    seed: int = 0

    def __call__(self, task: Task) -> Task:
        share = checks.number("share", self.share, low=0.0, high=1.0, open_low=True)
        return task.subset(n_train=max(1, round(share * task.n_train)), seed=self.seed)

    def __str__(self):
        return f"keep {100 * self.share:g} % of the training points"


def price(space, task: Task, edits: Sequence, eps_rule=Share(0.25), *, seed: int = 0):
    """What each edit costs: ``edit, bits, added_bits, low, high, verdict``, dearest first; the unedited task is a row."""
    import pandas as pd

    eps = threshold(eps_rule, task)
    base = required_bits(space.loss_law(task), eps, seed=seed)
    rows = [
        {
            "edit": "none",
            "bits": base.bits,
            "added_bits": 0.0,
            "low": base.interval[0],
            "high": base.interval[1],
            "verdict": base.verdict,
        }
    ]
    for edit in edits:
        found = required_bits(space.loss_law(edit(task)), eps, seed=seed)
        rows.append(
            {
                "edit": str(edit),
                "bits": found.bits,
                "added_bits": found.bits - base.bits,
                "low": found.interval[0],
                "high": found.interval[1],
                "verdict": found.verdict,
            }
        )
    return pd.DataFrame(rows).sort_values("bits", ascending=False, ignore_index=True)


def hardest(space, task: Task, edits: Sequence, *, steps: int = 2, eps_rule=Share(0.25), seed: int = 0):
    """Greedy search for the sequence of at most ``steps`` different edits that demands most bits.

    Returns:
        ``(edits, table)``: the chosen edits in order, and the bits after each step. Edits that make the task
        unreachable (infinite bits) are passed over: such a task asks for the impossible, not for more prior
        knowledge.
    """
    import pandas as pd

    checks.integer("steps", steps, low=1, high=max(1, len(edits)))
    eps = threshold(eps_rule, task)
    best = required_bits(space.loss_law(task), eps, seed=seed).bits
    chosen, rows, current = [], [{"step": 0, "edit": "none", "bits": best}], task
    for step in range(1, steps + 1):
        tried = [
            (required_bits(space.loss_law(edit(current)), eps, seed=seed).bits, index)
            for index, edit in enumerate(edits)
            if edit not in chosen
        ]
        tried = [pair for pair in tried if math.isfinite(pair[0]) and pair[0] > best]
        if not tried:
            break
        best, index = max(tried)
        chosen.append(edits[index])
        current = edits[index](current)
        rows.append({"step": step, "edit": str(edits[index]), "bits": best})
    return chosen, pd.DataFrame(rows)


def exhaustive(space, task: Task, edits: Sequence, *, steps: int = 2, eps_rule=Share(0.25)) -> tuple:
    """The best ordered sequence of exactly ``steps`` different edits by trying all of them: the oracle of the search."""
    eps = threshold(eps_rule, task)
    best = (-math.inf, ())
    for sequence in itertools.permutations(edits, steps):
        edited = task
        for edit in sequence:
            edited = edit(edited)
        bits = required_bits(space.loss_law(edited), eps).bits
        if math.isfinite(bits) and bits > best[0]:
            best = (bits, sequence)
    return best


def _as_images(inputs):
    """Inputs as ``(n, c, h, w)`` and the way back."""
    shape = inputs.shape
    if inputs.ndim == 2:
        side = math.isqrt(shape[1])
        if side * side != shape[1]:
            raise ValueError(f"inputs must be images or flat squares to be rotated, got {tuple(shape)}")
        return inputs.reshape(-1, 1, side, side), lambda x: x.reshape(shape)
    if inputs.ndim == 3:
        return inputs[:, None], lambda x: x.reshape(shape)
    return inputs, lambda x: x
