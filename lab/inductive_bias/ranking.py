"""Spaces ranked by the bits that a task demands of them, beside what else ranks models; curves of bits.

The threshold is absolute, a share of the best constant guess's loss, or what a given model reaches (the published use).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lab import checks
from lab.inductive_bias import related_measures
from lab.inductive_bias.bit_methods import required_bits
from lab.inductive_bias.bits import Bits
from lab.inductive_bias.kernel_space import KernelSpace
from lab.inductive_bias.laws import LOG2, GaussianQuadraticLaw
from lab.inductive_bias.task import Task

EASY, TELLING = (
    1.0,
    10.0,
)  # bits: below the first a threshold asks for nothing, from the second on it tells spaces apart


@dataclass(frozen=True)
class Absolute:
    """The threshold ``eps`` itself, in the unit of the metric."""

    eps: float

    def of(self, task: Task) -> float:
        return checks.number("eps", self.eps, low=0.0)


@dataclass(frozen=True)
class Share:
    """``share`` times the test loss of the best constant guess."""

    share: float = 0.25

    def of(self, task: Task) -> float:
        return checks.number("share", self.share, low=0.0) * task.constant_loss()


@dataclass(frozen=True, eq=False)
class Reaches:
    """What ``model`` reaches on the test set after training: an object with ``fit(x, y)`` and ``predict(x)``."""

    model: Any

    def of(self, task: Task) -> float:
        x = task.train_inputs.reshape(task.n_train, -1).numpy()
        u = task.test_inputs.reshape(task.n_test, -1).numpy()
        self.model.fit(x, task.train_targets.numpy())
        found = np.asarray(self.model.predict(u), dtype=float).reshape(task.n_test, -1)
        return float(task.losses(torch.from_numpy(found)[None])[0])


def compare(
    spaces: Iterable, task: Task, eps_rule=Share(0.25), *, seed: int = 0, neighbour_columns: bool = True, progress=None
):
    """A table of spaces, fewest bits first.

    Args:
        spaces: kernel, network, trained or finite spaces.
        task: the task; all spaces answer for the same training and test points.
        eps_rule: :class:`Absolute`, :class:`Share`, :class:`Reaches`, or a number.
        seed: for spaces that are sampled.
        neighbour_columns: add marginal likelihood, prequential code length and held-out error for kernel spaces.
        progress: called with the finished fraction.

    Returns:
        A data frame with ``space, law, bits, low, high, verdict, method, bits_per_test_point, n_train, n_test, eps,
        amplitude, width, floor, reasons`` and, for kernel spaces, ``evidence_bits`` (``-log2`` marginal likelihood),
        ``prequential_bits``, ``held_out_loss``. Laws of optimizers are marked in ``law`` and must not be ranked with
        priors' posteriors as if they were the same quantity. Where no space needs ``EASY`` bits the threshold tells none of
        them apart: the verdict is then ``too easy`` instead of ``valid``, and the reasons propose a threshold.
    """
    import pandas as pd

    spaces = list(spaces)
    if not spaces:
        raise ValueError("spaces is empty; at least one space is needed")
    if not isinstance(task, Task):
        raise TypeError(f"task must be a Task, got {type(task).__name__}")
    eps = threshold(eps_rule, task)
    rows, laws = [], []
    for index, space in enumerate(spaces):
        law = space.loss_law(task)
        laws.append(law)
        found = required_bits(law, eps, seed=seed)
        rows.append(_row(space, law, found, task))
        if neighbour_columns and isinstance(space, KernelSpace):
            rows[-1] |= related_measures.kernel_measures(space, task)
        if progress is not None:
            progress((index + 1) / len(spaces))
    if all(row["bits"] < EASY for row in rows):
        _say_too_easy(rows, laws, eps, task)
    return pd.DataFrame(rows).sort_values(["bits", "low"], ignore_index=True)


def _say_too_easy(rows, laws, eps, task) -> None:
    """Verdict and reason of every row where draws of all spaces reach ``eps`` more often than not."""
    harder = _harder(laws, eps)
    constant = task.constant_loss()
    share = f", Share({harder / constant:.4g})" if harder is not None and constant > 0 else ""
    propose = "take a smaller eps" if harder is None else f"try eps_rule={harder:.6g}{share}"
    reason = f"the threshold {eps:.3g} is too easy: no space needs {EASY:g} bit; {propose}"
    for row in rows:
        row["verdict"] = "too easy" if row["verdict"] == "valid" else row["verdict"]
        row["reasons"] = "; ".join(filter(None, (reason, row["reasons"])))


def _harder(laws, eps: float) -> float | None:
    """The largest threshold of which the dearest space with an exact law needs ``TELLING`` bits, by halving and bisection."""
    exact = [law for law in laws if isinstance(law, GaussianQuadraticLaw)]

    def tells(eps):
        return max(required_bits(law, eps).bits for law in exact) >= TELLING

    high, low = eps, eps / 2
    while exact and low > 0 and not tells(low):
        high, low = low, low / 2
    if not exact or low == 0:
        return None
    for _ in range(12):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if tells(middle) else (low, middle)
    return low


def threshold(rule, task: Task) -> float:
    """The threshold that a rule gives for a task."""
    if isinstance(rule, (int, float)) and not isinstance(rule, bool):
        rule = Absolute(float(rule))
    if not hasattr(rule, "of"):
        raise TypeError(f"eps_rule must be a number, Absolute, Share or Reaches, got {type(rule).__name__}")
    return rule.of(task)


def rank_own_table(
    table,
    spaces: Iterable | None = None,
    *,
    target: str | None = None,
    eps_rule=Share(0.25),
    train: float | int = 0.5,
    most: int = 2000,
    missing: str = "drop",
    target_type: str | None = None,
    seed: int = 0,
    **options,
):
    """From a CSV path or data frame to a ranked table of spaces, with the standard list of spaces by default.

    More than ``most`` rows are thinned at random. ``target``, ``missing``, ``target_type`` and ``options`` as in
    :meth:`Task.from_table`; what was done to the table stands in ``.attrs["notes"]`` of the result.
    """
    task = Task.from_table(
        table, target=target, train=train, missing=missing, target_type=target_type, seed=seed, **options
    )
    notes = task.notes
    if task.n_train + task.n_test > most:
        share = most / (task.n_train + task.n_test)
        task = task.subset(
            n_train=max(2, int(share * task.n_train)), n_test=max(2, int(share * task.n_test)), seed=seed
        )
        notes += (f"thinned at random to {task.n_train + task.n_test} rows (most={most})",)
    ranked = compare(standard_spaces() if spaces is None else spaces, task, eps_rule, seed=seed)
    ranked.attrs["notes"] = notes
    return ranked


def standard_spaces(noise: float = 0.05) -> list[KernelSpace]:
    """Ten kernel spaces of different kinds; ``noise`` is the label noise relative to the amplitude, which keeps tables
    with repeated rows and noisy labels reachable."""
    from lab.inductive_bias.covariances import NNGP, NTK, RBF, Linear, Matern, Polynomial

    covariances = {
        "linear": Linear(),
        "quadratic": Polynomial(2),
        "cubic": Polynomial(3),
        "RBF": RBF(),
        "RBF, narrow": _Scaled(0.5),
        "RBF, wide": _Scaled(2.0),
        "Matern 1/2": Matern(nu=0.5),
        "Matern 5/2": Matern(nu=2.5),
        "ReLU network, 1 layer (NNGP)": NNGP(1, bias_variance=0.1),
        "ReLU network, 4 layers (NNGP)": NNGP(4, bias_variance=0.1),
        "ReLU network, 3 layers (NTK)": NTK(3, bias_variance=0.1),
    }
    return [KernelSpace(covariance, noise=noise, name=name) for name, covariance in covariances.items()]


@dataclass(frozen=True)
class _Scaled:
    """An RBF whose width is a multiple of the median distance."""

    factor: float

    def resolved(self, inputs):
        from lab.inductive_bias.covariances import RBF, median_distance

        return RBF(self.factor * median_distance(inputs))

    def __call__(self, a, b):
        raise TypeError("a scaled width must be resolved on the training points first")


def laws_over_n_test(space: KernelSpace, task: Task, sizes: Sequence[int], *, seed: int = 0) -> dict:
    """``{n_test: law}`` on nested random subsets of the test points, one posterior for all."""
    posterior = space.condition(task)
    order = torch.randperm(task.n_test, generator=checks.generator(seed))
    laws = {}
    for size in sizes:
        keep = order[: checks.integer("sizes", size, low=1, high=task.n_test)]
        part = replace(
            posterior,
            task=task.replaced(test_inputs=task.test_inputs[keep], test_targets=task.test_targets[keep]),
            mean=posterior.mean[keep],
            covariance=posterior.covariance[keep][:, keep],
            coarser=None,
            prior_trace=posterior.prior_trace * size / task.n_test,
        )
        laws[size] = part.quadratic_law(modes=False)
    return laws


def bits_over_n_test(space: KernelSpace, task: Task, sizes: Sequence[int], eps: float, *, seed: int = 0, laws=None):
    """Bits against the number of test points: ``n_test, bits, bits_per_point, slope``.

    ``slope = d log bits / d log n_test`` near one means that every further point costs as much as the last: the space
    is white noise at the spacing of the points, and the number says how many points were asked, not how hard the task
    is. ``laws`` takes the result of :func:`laws_over_n_test`, so that a new ``eps`` costs milliseconds.
    """
    import pandas as pd

    laws = laws_over_n_test(space, task, sizes, seed=seed) if laws is None else laws
    rows = []
    for size, law in laws.items():
        bits = required_bits(law, eps).bits
        rows.append({"n_test": size, "bits": bits, "bits_per_point": bits / size})
    frame = pd.DataFrame(rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        frame["slope"] = np.gradient(np.log(frame["bits"]), np.log(frame["n_test"])) if len(frame) > 1 else math.nan
    return frame


def laws_over_n_train(space, task: Task, sizes: Sequence[int], *, seed: int = 0) -> dict:
    """``{n_train: law}`` on nested random subsets of the training points."""
    order = torch.randperm(task.n_train, generator=checks.generator(seed))
    laws = {}
    for size in sorted(sizes):
        keep = order[: checks.integer("sizes", size, low=1, high=task.n_train)]
        laws[size] = space.loss_law(
            task.replaced(train_inputs=task.train_inputs[keep], train_targets=task.train_targets[keep])
        )
    return laws


def bits_over_n_train(space, task: Task, sizes: Sequence[int], eps: float, *, seed: int = 0, laws=None):
    """Bits against the number of training points at a fixed absolute ``eps``: ``n_train, bits, low, high``.

    Also ``evidence_bits``, the prior's code length of the labels where the space has one, and ``bits_per_label``: the
    bits that the last training points saved, per point. ``laws``: from :func:`laws_over_n_train`.
    """
    import pandas as pd

    laws = laws_over_n_train(space, task, sizes, seed=seed) if laws is None else laws
    rows = []
    for size, law in laws.items():
        found = required_bits(law, eps, seed=seed)
        rows.append(
            {
                "n_train": size,
                "bits": found.bits,
                "low": found.interval[0],
                "high": found.interval[1],
                "evidence_bits": -law.meta.get("log_marginal_likelihood", math.nan) / LOG2,
            }
        )
    frame = pd.DataFrame(rows)
    with np.errstate(invalid="ignore"):
        frame["bits_per_label"] = -np.gradient(frame["bits"], frame["n_train"]) if len(frame) > 1 else math.nan
    return frame


def bits_over_dimension(
    dimensions: Sequence[int],
    *,
    space: KernelSpace | None = None,
    n_train: int = 200,
    n_test: int = 400,
    eps: float = 0.1,
    seed: int = 0,
):
    """Bits of the same kind of task in more dimensions: ``dimension, bits, bound`` (the bound of 2023 in log10 bits).

    Points are uniform in the cube, targets the normalized sum of a cosine per coordinate. Independent test points and a
    kernel of width 1/2 by default.
    """
    import pandas as pd

    from lab.inductive_bias.covariances import RBF

    space = KernelSpace(RBF(0.5), amplitude=1.0) if space is None else space
    rows = []
    for dimension in dimensions:
        task = cosine_task(dimension, n_train=n_train, n_test=n_test, seed=seed)
        found = required_bits(space.loss_law(task), eps)
        bound = related_measures.bound_2023(
            dimension=dimension, n_train=n_train, eps=eps, radius=math.sqrt(dimension) / 2, resolution=0.5, outputs=1
        )
        rows.append(
            {
                "dimension": dimension,
                "bits": found.bits,
                "low": found.interval[0],
                "high": found.interval[1],
                "log10_bound": bound.log10_bits,
            }
        )
    return pd.DataFrame(rows)


def cosine_task(dimension: int, *, n_train: int = 200, n_test: int = 400, seed: int | torch.Generator = 0) -> Task:
    """``y = sqrt(2 / d) sum_i cos(2 pi x_i)`` on uniform points of the ``d``-cube: variance one in every dimension."""
    generator = checks.generator(seed)
    dimension = checks.integer("dimension", dimension, low=1)
    x = torch.rand(n_train + n_test, dimension, generator=generator, dtype=torch.float64)
    y = math.sqrt(2 / dimension) * torch.cos(2 * math.pi * x).sum(1)
    return Task(
        (x[:n_train], y[:n_train].numpy()),
        (x[n_train:], y[n_train:].numpy()),
        centre=False,
        name=f"cosines in {dimension} dimensions",
    )


def _row(space, law, found: Bits, task):
    kind = "posterior of a prior"
    if getattr(law, "optimizer", False):
        kind = "law of an optimizer"
    return {
        "space": getattr(space, "label", type(space).__name__),
        "law": kind,
        "bits": found.bits,
        "low": found.interval[0],
        "high": found.interval[1],
        "verdict": found.verdict,
        "method": found.method,
        "bits_per_test_point": found.bits / task.n_test,
        "n_train": task.n_train,
        "n_test": task.n_test,
        "eps": found.eps,
        "amplitude": law.meta.get("amplitude", math.nan),
        "width": law.meta.get("width", math.nan),
        "floor": law.minimum if isinstance(law, GaussianQuadraticLaw) else math.nan,
        "reasons": "; ".join(found.reasons),
    }
