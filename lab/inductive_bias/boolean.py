"""The Boolean lab: all functions of a few binary inputs, where every number can be enumerated.

With 4 inputs there are 2^16 functions. Under the uniform law the bits that a training set leaves open are a count;
under the law of a random network simple functions are likelier, and the difference in bits is the network's inductive
bias.

Source: G. Valle-Perez, C. Camargo, A. Louis, 'Deep Learning Generalizes Because the Parameter-Function Map is Biased
Towards Simple Functions', ICLR 2019, section 4 (networks over Boolean functions, complexity of a truth table).
"""

from __future__ import annotations

import math

import torch

from lab import checks
from lab.inductive_bias.networks import FiniteSpace
from lab.inductive_bias.task import Task
from lab.kernels.random_hypotheses import RandomNetwork, random_hypotheses


def cube(inputs: int) -> torch.Tensor:
    """The ``2^inputs`` corners of the cube, coordinates -1 and 1."""
    checks.integer("inputs", inputs, low=1, high=12)
    index = torch.arange(2**inputs)
    return (((index[:, None] >> torch.arange(inputs)) & 1) * 2 - 1).double()


def all_functions(inputs: int = 4) -> torch.Tensor:
    """Truth tables of all functions, ``(2^(2^inputs), 2^inputs)`` with values -1 and 1; function ``f`` has code ``f``."""
    checks.integer("inputs", inputs, low=1, high=4)
    corners = 2**inputs
    codes = torch.arange(2**corners)
    return (((codes[:, None] >> torch.arange(corners)) & 1) * 2 - 1).double()


def task(table: torch.Tensor, train: list[int] | torch.Tensor, *, whole: bool = True) -> Task:
    """The task of learning the truth table ``table (2^n,)`` from its rows ``train``; the test set is the whole table.

    ``whole=False`` leaves the training rows out of the test set. The metric is the error rate of the sign.
    """
    table = checks.tensor("table", table, ndim=1).double()
    inputs = int(math.log2(len(table)))
    if 2**inputs != len(table):
        raise ValueError(f"table must have 2^n values, got {len(table)}")
    x = cube(inputs)
    train = torch.as_tensor(train)
    test = torch.arange(len(table))
    if not whole:
        test = test[~torch.isin(test, train)]
    return Task((x[train], table[train]), (x[test], table[test]), metric="error", centre=False)


def space(
    functions: torch.Tensor, task: Task, log_weights: torch.Tensor | None = None, *, name: str = ""
) -> FiniteSpace:
    """A finite space of truth tables, read at the points of ``task``."""
    inputs = task.train_inputs.shape[1]
    place = 2 ** torch.arange(inputs)
    rows, columns = ((points > 0).long() @ place for points in (task.train_inputs, task.test_inputs))
    return FiniteSpace(functions[:, rows], functions[:, columns], log_weights, name=name or "Boolean functions")


def network_prior(network: RandomNetwork, count: int = 1_000_000, *, seed: int = 0, progress=None) -> torch.Tensor:
    """How often each Boolean function is drawn by random networks: counts ``(2^(2^n),)``, ``n = network.features``."""
    if network.features > 4 or network.outputs != 1:
        raise ValueError(
            f"network must have at most 4 inputs and one output, got {network.features} and {network.outputs}"
        )
    x = cube(network.features).float()
    place = 2 ** torch.arange(len(x))
    counts = torch.zeros(2 ** len(x), dtype=torch.long)
    block = 1 << 16
    for start in range(0, checks.integer("count", count, low=1), block):
        size = min(block, count - start)
        values = random_hypotheses(network, x, count=size, seed=seed, start=start, measure="values")
        codes = ((values[:, :, 0] > 0).long() * place).sum(1)
        counts += torch.bincount(codes, minlength=len(counts))
        if progress is not None:
            progress((start + size) / count)
    return counts


def complexity(functions: torch.Tensor) -> torch.Tensor:
    """Lempel-Ziv complexity of each truth table, in bits: ``log2(n) * mean number of words`` in both directions.

    Constant tables have complexity ``log2 n``. Source: Valle-Perez et al. 2019, appendix E.
    """
    functions = checks.tensor("functions", functions, ndim=2) > 0
    length = functions.shape[1]
    found = []
    for row in functions.tolist():
        if len(set(row)) == 1:
            found.append(math.log2(length))
        else:
            found.append(math.log2(length) * (_words(row) + _words(row[::-1])) / 2)
    return torch.tensor(found, dtype=torch.float64)


def threshold_functions(inputs: int = 4) -> torch.Tensor:
    """Mask over :func:`all_functions`: those that a linear threshold unit can compute.

    Integer weights up to 3 and half-integer thresholds reach all of them for up to 4 inputs (1,882 of 65,536).
    """
    checks.integer("inputs", inputs, low=1, high=4)
    levels = torch.arange(-3, 4)
    weights = torch.cartesian_prod(*[levels] * inputs).reshape(-1, inputs).double()
    sums = weights @ cube(inputs).T
    thresholds = torch.arange(-13, 14, dtype=torch.float64)
    outputs = sums[:, None, :] > (thresholds[None, :, None] + 0.5)
    codes = (outputs.long() * 2 ** torch.arange(2**inputs)).sum(-1).unique()
    mask = torch.zeros(2 ** (2**inputs), dtype=torch.bool)
    mask[codes] = True
    return mask


def _words(row):
    """Number of words in the Lempel-Ziv (1976) parsing."""
    text = "".join("1" if value else "0" for value in row)
    words, start, length = 0, 0, 1
    while start + length <= len(text):
        if text[start : start + length] in text[: start + length - 1]:
            length += 1
        else:
            words, start, length = words + 1, start + length, 1
    return words + (1 if start < len(text) else 0)


def table(task: Task, counts: torch.Tensor):
    """Bits to get all but so many rows right, under the uniform law and under a network's ``counts``."""
    import pandas as pd

    from lab.inductive_bias.bit_methods import required_bits

    functions = all_functions(task.train_inputs.shape[1])
    laws = {
        name: space(functions, task, weights).loss_law(task)
        for name, weights in (("all functions", None), ("random networks", counts.double().log()))
    }
    return pd.DataFrame(
        [
            {
                "wrong rows allowed": wrong,
                **{name: required_bits(law, wrong / task.n_test).bits for name, law in laws.items()},
            }
            for wrong in range(5)
        ]
    )
