"""How faithful an explanation is: its risk on fresh draws of a neighbourhood, and every method on every neighbourhood.

``risk = Var(f - g) / Var(f)`` over the law (``1 - R^2``; ``g`` may shift by a constant). 0: ``g`` is ``f`` on the
neighbourhood; 1: no better than a constant; above 1: worse. Several instances are pooled: sum of the missed variances over
sum of the variances, so an instance at which ``f`` is flat does not decide.

Source: T. Han, S. Srinivas, H. Lakkaraju, NeurIPS 2022, Section 4 (faithfulness) and Theorem 2 (no free lunch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lab import checks
from lab.explain import neighbourhoods
from lab.explain.engine import Task, prepare
from lab.explain.explanation import Explanation
from lab.explain.neighbourhoods import Exponential, Gaussian, LeaveOneOut, Masks, Scaling, Shapley
from lab.explain.surrogate import Linear, Link
from lab.explain.weighting import raw_importance

NORMAL = 1.959964


@dataclass(frozen=True)
class Risk:
    """``value`` pooled over instances, its ``standard_error`` and 95 % ``interval``; ``each (N,)`` instance's own."""

    value: float
    standard_error: float
    each: torch.Tensor
    each_standard_error: torch.Tensor
    neighbourhood: object

    @property
    def interval(self) -> tuple[float, float]:
        half = NORMAL * self.standard_error
        return max(self.value - half, 0.0), self.value + half


def risk(explanation: Explanation, neighbourhood, *, n_samples: int = 1000, seed=1) -> Risk:
    """The risk of ``explanation`` on fresh draws of ``neighbourhood`` (any law, not only the one it was fitted on).

    Raises:
        ValueError: the explanation holds no ``f`` (it was loaded), or its weights are for masks of groups and the law is
            additive (or the reverse): a weight converts by ``x - b`` only where every player is one element.
    """
    bench = bench_of(explanation, neighbourhood, n_samples, seed)
    return bench.risk(explanation)


def bench_of(explanation: Explanation, neighbourhood, n_samples: int, seed) -> Bench:
    if explanation.problem is None:
        raise ValueError("this explanation was loaded from a file and holds no f; explain() again to judge it")
    law = neighbourhoods.neighbourhood("neighbourhood", neighbourhood)
    return Bench.draw(explanation.problem.task, law, checks.integer("n_samples", n_samples, low=2), seed)


@dataclass(frozen=True)
class Bench:
    """Fresh draws of one law with ``f`` on them; every method is judged on the same ones.

    ``design (m, K)`` or ``(N, m, K)``, ``share (N, m)`` weights that sum to 1, ``centred (N, m, C)`` outputs around their mean.
    """

    task: Task
    law: Any
    design: torch.Tensor
    share: torch.Tensor
    centred: torch.Tensor
    rounding: float  # variances up to this are those of a constant
    exact: bool

    @classmethod
    def draw(cls, task: Task, law, n_samples: int, seed) -> Bench:
        task.check(law)
        drawn = task.draw(law, n_samples, checks.generator(seed), judge=True)
        outputs = task.box.values(drawn.design, drawn.donor, operator=law.operator)
        weight = raw_importance(law, drawn, task.contrast).expand(task.players.instances, -1)
        share = weight / weight.sum(1, keepdim=True)
        rounding = float(outputs.square().amax()) * torch.finfo(torch.float64).eps
        return cls(task, law, drawn.design, share, _centred(outputs, share), rounding, drawn.exact)

    def missed(self, explanation: Explanation) -> torch.Tensor:
        """``f - g`` around its mean at every draw: ``(N, m, C)``."""
        weights = converted(explanation, self.law.operator, self.task)
        product = "mk,nkc->nmc" if self.design.ndim == 2 else "nmk,nkc->nmc"
        value = torch.einsum(product, self.design, weights)
        if explanation.interactions is not None and explanation.neighbourhood.operator == self.law.operator:
            flat = explanation.interactions.view(*explanation.interactions.shape[:3], -1)
            upper = torch.triu(torch.ones(flat.shape[1:3], dtype=torch.float64))[..., None] * flat
            product = "mi,mj,nijc->nmc" if self.design.ndim == 2 else "nmi,nmj,nijc->nmc"
            value = value + torch.einsum(product, self.design, self.design, upper)
        return self.centred - _centred(value, self.share)

    def risk(self, explanation: Explanation) -> Risk:
        return self.judged(self.missed(explanation))

    def judged(self, missed: torch.Tensor) -> Risk:
        """The risk of what :meth:`missed` returned."""
        left, whole = self._variance(missed), self._variance(self.centred)
        total = float(whole.sum())
        scale = self.rounding
        if total <= scale:
            value = 0.0 if float(left.sum()) <= scale else float("inf")
            zero = torch.zeros_like(left)
            return Risk(value, 0.0, zero + value, zero, self.law)
        value = float(left.sum()) / total
        each = torch.where(whole > scale, left / whole.clamp_min(1e-300), torch.where(left > scale, torch.inf, 0.0))
        within = self._sampling_error(missed, each)
        own = (within * whole).nan_to_num(0.0)
        between = left - value * whole
        count = len(left)
        spread = float(between.square().sum()) * count / (count - 1) if count > 1 else 0.0
        error = max(spread, float(own.square().sum())) ** 0.5 / total
        return Risk(value, error, each, within, self.law)

    def difference(self, first: torch.Tensor, second: torch.Tensor) -> tuple[float, float]:
        """Pooled risk of ``second`` minus that of ``first`` (from :meth:`missed`) and its standard error, paired."""
        whole = float(self._variance(self.centred).sum())
        gain = (second.square() - first.square()).sum(-1)
        each = (self.share * gain).sum(1)
        count = len(each)
        spread = float((each - each.mean()).square().sum()) * count / (count - 1) if count > 1 else 0.0
        own = 0.0 if self.exact else float((self.share * (gain - each[:, None])).square().sum())
        tiny = max(whole, 1e-300)
        return float(each.sum()) / tiny, max(spread, own) ** 0.5 / tiny

    def _variance(self, centred: torch.Tensor) -> torch.Tensor:
        return (self.share[..., None] * centred.square()).sum((1, 2))

    def _sampling_error(self, missed: torch.Tensor, each: torch.Tensor) -> torch.Tensor:
        if self.exact:
            return torch.zeros_like(each)
        influence = missed.square().sum(-1) - each[:, None].nan_to_num(0, 0, 0) * self.centred.square().sum(-1)
        spread = (self.share * influence).square().sum(1).sqrt()
        return spread / self._variance(self.centred).clamp_min(1e-300)


def converted(explanation: Explanation, operator: str, task: Task) -> torch.Tensor:
    """Weights ``(N, K, C)`` in the coordinates of ``operator``: ``w = phi / (x - b)``, 0 where ``x = b``."""
    weights = explanation.weights.view(*explanation.weights.shape[:2], -1)
    own = explanation.neighbourhood.operator
    if own == operator:
        return weights
    if not task.players.single():
        raise ValueError(
            "weights of groups do not convert between masks and additive noise; judge them on a neighbourhood of their own "
            "operator"
        )
    gap = task.players.difference.cpu()[..., None].expand(len(weights), -1, -1)
    if operator == "mix":
        return weights * gap
    return torch.where(gap == 0, 0.0, weights / torch.where(gap == 0, 1.0, gap))


@dataclass(frozen=True)
class Comparison:
    """The no-free-lunch matrix: pooled risk of every method (rows) on every neighbourhood (columns).

    ``value`` and ``standard_error`` ``(M, Z)``; ``behind`` the best method of the column and the paired ``behind_error``
    of that difference; ``each (M, Z, N)``.
    """

    methods: tuple[str, ...]
    neighbourhoods: tuple[str, ...]
    value: torch.Tensor
    standard_error: torch.Tensor
    behind: torch.Tensor
    behind_error: torch.Tensor
    each: torch.Tensor
    explanations: dict[str, Explanation]

    @property
    def best(self) -> dict[str, str]:
        rows = self.value.nan_to_num(nan=torch.inf).argmin(0)
        return {law: self.methods[int(row)] for law, row in zip(self.neighbourhoods, rows)}

    @property
    def ties(self) -> torch.Tensor:
        """``(M, Z)``: whether a method is not significantly different from the best of its column."""
        return self.behind <= NORMAL * self.behind_error + 1e-9

    @property
    def uniform_winner(self) -> str | None:
        """The method that is the best, or not significantly different from it, on every neighbourhood, if there is one."""
        rows = torch.nonzero(self.ties.all(1))[:, 0]
        return self.methods[int(rows[0])] if len(rows) else None

    def to_frame(self):
        """Methods by neighbourhoods."""
        import pandas as pd

        return pd.DataFrame(self.value.numpy(), index=list(self.methods), columns=list(self.neighbourhoods))


def compare(
    f: Callable,
    x,
    methods: Mapping | None = None,
    laws: Mapping | None = None,
    *,
    baseline=None,
    features=None,
    target=None,
    n_samples: int = 1000,
    seed=0,
    link: Link = "identity",
    max_bytes: int | None = None,
) -> Comparison:
    """Fit every method once, judge all of them on fresh draws of every neighbourhood.

    Args:
        methods: ``name -> (neighbourhood, loss)``; the eight presets with three widths of noise if ``None``.
        laws: ``name -> neighbourhood``; seven questions if ``None`` (:func:`questions`).

    Methods that the inputs cannot have (gradients of a tree, noise on a category) are left out.
    """
    task = prepare(f, x, baseline=baseline, features=features, target=target, link=link, max_bytes=max_bytes)
    return compare_task(task, methods, laws, n_samples=n_samples, seed=seed)


def compare_task(task: Task, methods=None, laws=None, *, n_samples: int = 1000, seed=0) -> Comparison:
    """:func:`compare` for instances that are prepared already."""
    laws = possible_laws(task, questions() if laws is None else laws)
    methods = possible_methods(task, recipes() if methods is None else methods, laws)
    if not laws or not methods:
        raise ValueError("no method and neighbourhood fits these inputs")
    fitted = {name: fit_recipe(task, recipe, n_samples, seed) for name, recipe in methods.items()}
    columns, behind = [], []
    for number, law in enumerate(laws.values()):
        bench = Bench.draw(task, law, n_samples, _fresh(seed, number))
        missed = [bench.missed(one) for one in fitted.values()]
        risks = [bench.judged(one) for one in missed]
        best = missed[min(range(len(risks)), key=lambda row: risks[row].value)]
        columns.append(risks)
        behind.append([bench.difference(best, one) for one in missed])
    value = torch.tensor([[one.value for one in risks] for risks in columns], dtype=torch.float64).T
    error = torch.tensor([[one.standard_error for one in risks] for risks in columns], dtype=torch.float64).T
    gap, gap_error = torch.tensor(behind, dtype=torch.float64).permute(2, 1, 0)
    each = torch.stack([torch.stack([one.each for one in risks]) for risks in columns], 1)
    return Comparison(tuple(fitted), tuple(laws), value, error, gap, gap_error, each, fitted)


def questions(sigma: tuple[float, ...] = (0.1, 0.5, 1.0), width: float | None = None) -> dict[str, object]:
    """The neighbourhoods that stand for the usual questions."""
    noise = {f"noise {s:g}": Gaussian(s) for s in sigma}
    return noise | {
        "path": Scaling(0, 1),
        "some removed": Masks(Exponential(width)),
        "coalitions": Masks(Shapley()),
        "one removed": LeaveOneOut(),
    }


def recipes(sigma: float | tuple[float, ...] = (0.1, 0.5, 1.0), width: float | None = None) -> dict[str, tuple]:
    """``name -> (neighbourhood, loss)`` of the eight methods, the Gaussian ones at every ``sigma``, which their names then say;
    for a single number the names are those of :data:`lab.explain.METHODS`."""
    several = {f" {s:g}": s for s in sigma} if isinstance(sigma, tuple) else {"": sigma}
    found = {
        "Vanilla Gradients": (Gaussian(0), "gradient"),
        **{f"SmoothGrad{said}": (Gaussian(s), "gradient") for said, s in several.items()},
        **{f"C-LIME{said}": (Gaussian(s), "squared") for said, s in several.items()},
        "Integrated Gradients": (Scaling(0, 1), "gradient"),
        "Gradients x Input": (Scaling(1, 1), "gradient"),
        "LIME": (Masks(Exponential(width)), "squared"),
        "KernelSHAP": (Masks(Shapley()), "squared"),
        "Occlusion": (LeaveOneOut(), "squared"),
    }
    return found


def fit_recipe(task: Task, recipe: tuple, n_samples: int, seed) -> Explanation:
    law, loss = recipe
    nodes = 50 if isinstance(law, Scaling) else n_samples
    return task.explain(law, Linear(link=task.link), loss, n_samples=nodes, seed=seed)


def possible_laws(task: Task, laws: Mapping) -> dict[str, object]:
    """The neighbourhoods that these inputs can have."""

    def fits(law):
        mask_only = not task.players.x.is_floating_point() or getattr(task.box.f, "categorical", None)
        return not (mask_only and (law.operator == "add" or isinstance(law, Scaling)))

    checked = {name: neighbourhoods.neighbourhood("neighbourhoods", law) for name, law in laws.items()}
    return {name: law for name, law in checked.items() if fits(law)}


def possible_methods(task: Task, methods: Mapping, laws: Mapping) -> dict[str, tuple]:
    """The methods that these inputs can have and that every one of ``laws`` can judge."""
    differentiable = task.box.differentiable
    operators = {law.operator for law in laws.values()}
    allowed = possible_laws(task, {name: recipe[0] for name, recipe in methods.items()})

    def fits(name, recipe):
        law, loss = recipe
        needs_gradient = loss == "gradient" or isinstance(law, Scaling)
        convertible = task.players.single() or operators == {law.operator}
        return name in allowed and convertible and (differentiable or not needs_gradient)

    return {name: recipe for name, recipe in methods.items() if fits(name, recipe)}


def _fresh(seed, number: int):
    return seed if isinstance(seed, torch.Generator) else seed + 1_000_003 * (number + 1)


def _centred(values: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return values - (share[..., None] * values).sum(1, keepdim=True)
