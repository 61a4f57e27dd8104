"""Neighbourhoods: the law of the perturbations ``xi`` around an instance.

Each law names its operator ("add" or "mix", :mod:`lab.explain.players`), draws one set of perturbations for all
instances, and knows its log density, so that cached outputs can be weighted anew for another law without calling ``f``
again.

==================  ========  ==============================================================================
law                 operator  xi
==================  ========  ==============================================================================
Gaussian(sigma)     add       N(0, sigma^2 I)
Scaling(low, high)  mix       a (1, ..., 1) with a uniform on [low, high]
Masks(kernel)       mix       {0, 1}^K weighted by ``Exponential(width)``, ``Shapley()`` or ``Uniform()``
LeaveOneOut()       mix       all ones but one
Categories(data)    mix       {0, 1}^K; what is not kept comes from a row of ``data``
Sampler(function)   either    your own
==================  ========  ==============================================================================

Source: T. Han, S. Srinivas, H. Lakkaraju, 'Which Explanation Should I Choose? A Function Approximation Perspective to
Characterizing Post Hoc Explanations', NeurIPS 2022, Section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from lab import checks
from lab.explain import coalitions


@dataclass(frozen=True)
class Draws:
    """``design`` (m, K) or (N, m, K); ``log_proposal`` and ``group`` (m,) or (N, m); ``donor`` rows (m,) or (N, m).

    ``group`` is -1 for perturbations that stand for themselves (enumerated); the others are jackknife groups.
    """

    design: torch.Tensor
    log_proposal: torch.Tensor
    group: torch.Tensor
    donor: torch.Tensor | None = None

    @property
    def exact(self) -> bool:
        return bool((self.group < 0).all())

    @property
    def count(self) -> int:
        return self.design.shape[-2]


@dataclass(frozen=True)
class Exponential:
    """The kernel ``exp(-|x - x_xi|^2 / width^2)`` of LIME (Han et al. 2022, Table 1).

    captum and the lime package write ``exp(-d^2 / (2 width^2))``: :meth:`from_captum` converts their width.
    ``width=None`` is ``sqrt(K)``, the typical distance of a standardised instance of K columns to the baseline.
    ``distance="players"`` counts replaced players instead of measuring ``|x - x_xi|``.
    """

    width: float | None = None
    distance: Literal["input", "players"] = "input"

    def __post_init__(self):
        if self.width is not None:
            checks.number("width", self.width, low=0, open_low=True)
        checks.choice("distance", self.distance, ("input", "players"))

    @classmethod
    def from_captum(cls, width: float, distance: Literal["input", "players"] = "input") -> Exponential:
        """The kernel that captum and lime call ``width``: ours is ``sqrt(2)`` times theirs."""
        return cls(math.sqrt(2) * checks.number("width", width, low=0, open_low=True), distance)

    def strength(self, contrast: torch.Tensor) -> torch.Tensor:
        """``beta (N, K)`` such that the log kernel is ``-sum_j beta_j (1 - z_j)``."""
        width = math.sqrt(contrast.shape[-1]) if self.width is None else self.width
        return (torch.ones_like(contrast) if self.distance == "players" else contrast) / width**2

    def log_weight(self, design: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
        beta = self.strength(contrast)
        if design.ndim == 2:
            return beta @ (design - 1).T
        return torch.einsum("nk,nmk->nm", beta, design - 1)


@dataclass(frozen=True)
class Shapley:
    """The kernel ``(K - 1) / (C(K, k) k (K - k))`` of KernelSHAP, infinite (a constraint) at ``k = 0`` and ``k = K``.

    Source: S. Lundberg, S.-I. Lee, 'A Unified Approach to Interpreting Model Predictions', NeurIPS 2017, Theorem 2.
    """

    def log_weight(self, design: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
        count = design.shape[-1]
        size = design.sum(-1)
        inner = size.clamp(1, max(count - 1, 1))
        log = math.log(max(count - 1, 1)) - torch.log(inner) - torch.log((count - inner).clamp_min(1))
        # a law that is judged, not fitted, gives the two ends the mass of the sizes beside them
        ends = (size == 0) | (size == count)
        return torch.where(ends, log, log - coalitions.log_binomial(count, inner))


@dataclass(frozen=True)
class Uniform:
    """All masks equally: linear weights are Banzhaf values."""

    def log_weight(self, design: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
        return torch.zeros(design.shape[:-1], dtype=torch.float64)


@dataclass(frozen=True)
class Gaussian:
    """``xi ~ N(0, sigma^2 I)``, drawn in orthogonal antithetic blocks; ``sigma = 0`` is the limit, taken
    analytically."""

    sigma: float = 0.1
    operator = "add"
    anchor = "none"

    def __post_init__(self):
        checks.number("sigma", self.sigma, low=0)

    def draws(self, contrast: torch.Tensor, number: int, generator) -> Draws:
        count = contrast.shape[1]
        if self.sigma == 0:
            return point(torch.zeros(1, count, dtype=torch.float64))
        unit, group = _orthogonal_pairs(count, number, generator)
        return Draws(self.sigma * unit, self.log_target(self.sigma * unit, contrast), group)

    def judge(self, contrast, number, generator):
        return self.draws(contrast, number, generator)

    def log_target(self, design: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
        if self.sigma == 0:
            return torch.zeros(design.shape[:-1], dtype=torch.float64)
        return -0.5 * design.square().sum(-1) / self.sigma**2 - design.shape[-1] * math.log(self.sigma)


@dataclass(frozen=True)
class Scaling:
    """``xi = a (1, ..., 1)``, ``a ~ U(low, high)``: the straight path from the baseline. ``low = high`` is the
    limit."""

    low: float = 0.0
    high: float = 1.0
    operator = "mix"
    anchor = "none"

    def __post_init__(self):
        checks.number("low", self.low)
        checks.number("high", self.high, low=self.low)

    def draws(self, contrast: torch.Tensor, number: int, generator) -> Draws:
        """Gauss-Legendre nodes; their weights stand in the proposal."""
        count = contrast.shape[1]
        if self.low == self.high:
            return point(torch.full((1, count), float(self.low), dtype=torch.float64))
        node, weight = np.polynomial.legendre.leggauss(number)
        scale = self.low + (self.high - self.low) * (torch.from_numpy(node) + 1) / 2
        design = scale[:, None].expand(number, count).contiguous()
        return Draws(design, -torch.log(torch.from_numpy(weight)), torch.full((number,), -1))

    def judge(self, contrast, number, generator):
        return self.draws(contrast, min(number, 200), generator)

    def log_target(self, design: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
        return torch.zeros(design.shape[:-1], dtype=torch.float64)


@dataclass(frozen=True)
class Masks:
    """``xi`` in ``{0, 1}^K`` weighted by a kernel; all masks if ``2^K`` is within the budget, else antithetic pairs.

    ``temper=t`` in [0, 1] draws each instance's masks at the power ``t`` of an :class:`Exponential` kernel and weights
    by the rest: more masks near the instance where the kernel is narrow (``t = 1`` replaces too few players to learn
    from).
    """

    kernel: Exponential | Shapley | Uniform = field(default_factory=Uniform)
    temper: float = 0.0
    operator = "mix"

    def __post_init__(self):
        if not isinstance(self.kernel, (Exponential, Shapley, Uniform)):
            raise TypeError(f"kernel must be Exponential(...), Shapley() or Uniform(), got {self.kernel!r}")
        checks.number("temper", self.temper, low=0, high=1)
        if self.temper and not isinstance(self.kernel, Exponential):
            raise ValueError(
                "temper is for the Exponential kernel; Shapley() and Uniform() do not depend on the instance"
            )

    @property
    def anchor(self) -> str:
        return "both" if isinstance(self.kernel, Shapley) else "none"

    def draws(self, contrast: torch.Tensor, number: int, generator) -> Draws:
        count = contrast.shape[1]
        shapley = isinstance(self.kernel, Shapley)
        if count < 60 and 2**count - 2 * shapley <= number:
            design = coalitions.every_mask(count)
            design = design[1:-1] if shapley and count > 1 else design
            return Draws(design, torch.zeros(len(design), dtype=torch.float64), torch.full((len(design),), -1))
        if self.temper:
            return self._tempered(contrast, number, generator)
        sample = coalitions.size_strata if shapley else coalitions.uniform_pairs
        return Draws(*sample(count, number, generator))

    def _tempered(self, contrast, number, generator) -> Draws:
        pairs = max(number // 2, 1)
        half = torch.rand(pairs, contrast.shape[1], generator=generator, dtype=torch.float64)
        uniform = torch.stack([half, 1 - half], 1).reshape(2 * pairs, -1)
        tilt = self.temper * self.kernel.strength(contrast)[:, None]
        design = (uniform < torch.sigmoid(tilt)).double()
        log_p = torch.where(design > 0, torch.nn.functional.logsigmoid(tilt), torch.nn.functional.logsigmoid(-tilt))
        return Draws(design, log_p.sum(-1), coalitions._pair_groups(pairs))

    def judge(self, contrast, number, generator) -> Draws:
        """Draws for judging: as for fitting, and with both ends for the Shapley kernel."""
        drawn = self.draws(contrast, number, generator)
        if not isinstance(self.kernel, Shapley):
            return drawn
        count = contrast.shape[1]
        ends = torch.stack([torch.zeros(count), torch.ones(count)]).double()
        return Draws(
            torch.cat([ends, drawn.design]),
            torch.cat([torch.zeros(2, dtype=torch.float64), drawn.log_proposal]),
            torch.cat([torch.full((2,), -1), drawn.group]),
        )

    def log_target(self, design: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
        return self.kernel.log_weight(design, contrast)


@dataclass(frozen=True)
class LeaveOneOut:
    """Each player replaced once: ``K`` perturbations, all of them; ``g`` passes through ``f(x)``."""

    operator = "mix"
    anchor = "start"

    def draws(self, contrast: torch.Tensor, number: int, generator) -> Draws:
        count = contrast.shape[1]
        return point(1 - torch.eye(count, dtype=torch.float64))

    def judge(self, contrast, number, generator):
        return self.draws(contrast, number, generator)

    def log_target(self, design: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
        return torch.zeros(design.shape[:-1], dtype=torch.float64)


@dataclass(frozen=True)
class Categories:
    """Masks over columns of which some are discrete: what is not kept is taken from rows of ``data`` (observed levels).

    ``kernel`` is as in :class:`Masks`; with ``Shapley()`` the weights are Shapley values of the mean over the rows.
    ``pool=k`` takes the rows from the ``k`` nearest neighbours of the instance (columns that differ, then distance), so
    that unlikely combinations stay rare.
    """

    data: Any
    kernel: Exponential | Shapley | Uniform = field(default_factory=Uniform)
    pool: int | None = None
    operator = "mix"

    def __post_init__(self):
        Masks(self.kernel)
        if self.pool is not None:
            checks.integer("pool", self.pool, low=1)
        if len(self.data) == 0:
            raise ValueError("data is empty; Categories needs observed rows")

    @property
    def anchor(self) -> str:
        return "both" if isinstance(self.kernel, Shapley) else "none"

    def draws(self, contrast: torch.Tensor, number: int, generator) -> Draws:
        count, shapley = contrast.shape[1], isinstance(self.kernel, Shapley)
        rows = self.pool or len(self.data)
        if count < 60 and 2**count - 2 * shapley <= number // 4:
            every = coalitions.every_mask(count)
            every = every[1:-1] if shapley and count > 1 else every
            # every repeat is the whole game against one row, so rows are the only thing that is sampled
            repeats = min(number // len(every), rows)
            group = torch.arange(repeats) % coalitions.GROUPS if repeats < rows else torch.full((repeats,), -1)
            donor = torch.randperm(rows, generator=generator)[:repeats]
            proposal = torch.full((repeats * len(every),), math.log(repeats), dtype=torch.float64)
            size = len(every)
            return Draws(
                every.repeat(repeats, 1), proposal, group.repeat_interleave(size), donor.repeat_interleave(size)
            )
        sample = coalitions.size_strata if shapley else coalitions.uniform_pairs
        design, proposal, group = sample(count, number, generator)
        # replaced values are random even where the masks are enumerated
        group = torch.where(group < 0, torch.arange(len(group)) // 2 % coalitions.GROUPS, group)
        donor = _balanced_rows(rows, (len(group) + 1) // 2, generator).repeat_interleave(2)[: len(group)]
        return Draws(design, proposal, group, donor)

    def judge(self, contrast, number, generator):
        return self.draws(contrast, number, generator)

    def log_target(self, design: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
        return self.kernel.log_weight(design, contrast)


@dataclass(frozen=True)
class Sampler:
    """Your own law: ``function(number, players, generator) -> (number, players)`` independent draws of ``xi``."""

    function: Callable[[int, int, torch.Generator], torch.Tensor]
    operator: Literal["add", "mix"] = "add"
    anchor = "none"

    def __post_init__(self):
        checks.choice("operator", self.operator, ("add", "mix"))

    def draws(self, contrast: torch.Tensor, number: int, generator) -> Draws:
        count = contrast.shape[1]
        design = checks.tensor("the sampler's draws", self.function(number, count, generator), shape=(number, count))
        zero = torch.zeros(number, dtype=torch.float64)
        return Draws(design.double(), zero, torch.arange(number) % coalitions.GROUPS)

    def judge(self, contrast, number, generator):
        return self.draws(contrast, number, generator)

    def log_target(self, design: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
        return torch.zeros(design.shape[:-1], dtype=torch.float64)


Neighbourhood = Gaussian | Scaling | Masks | LeaveOneOut | Categories | Sampler
KINDS = (Gaussian, Scaling, Masks, LeaveOneOut, Categories, Sampler)


def neighbourhood(name: str, value) -> Neighbourhood:
    """``value`` as a neighbourhood; a plain function becomes an additive :class:`Sampler`."""
    if isinstance(value, KINDS):
        return value
    if callable(value) and not isinstance(value, type):
        return Sampler(value)
    kinds = ", ".join(kind.__name__ for kind in KINDS)
    raise TypeError(f"{name} must be one of {kinds} or a function (number, players, generator) -> draws, got {value!r}")


def point(design: torch.Tensor) -> Draws:
    """Draws that are the whole law."""
    return Draws(design, torch.zeros(len(design), dtype=torch.float64), torch.full((len(design),), -1))


def _orthogonal_pairs(count: int, number: int, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard Gaussian directions, orthogonal within a block of ``K`` and each with its negative; and their groups."""
    pairs = max(number // 2, 1)
    if count == 1 or pairs < 5 * count:
        half = torch.randn(pairs, count, generator=generator, dtype=torch.float64)
        group = torch.arange(pairs) * min(coalitions.GROUPS, pairs) // pairs
    else:
        blocks = -(-pairs // count)
        raw = torch.randn(blocks, count, count, generator=generator, dtype=torch.float64)
        basis, triangle = torch.linalg.qr(raw)
        basis = basis * torch.sign(torch.diagonal(triangle, dim1=-2, dim2=-1))[:, None]
        length = torch.randn(blocks, count, count, generator=generator, dtype=torch.float64).norm(dim=-1)
        half = (basis.mT * length[..., None]).reshape(-1, count)[:pairs]
        full = pairs // count  # an incomplete last block joins the one before
        block = (torch.arange(pairs) // count).clamp_max(full - 1)
        group = block * min(coalitions.GROUPS, full) // full
    return torch.stack([half, -half], 1).reshape(2 * pairs, count), group.repeat_interleave(2)


def _balanced_rows(rows: int, number: int, generator) -> torch.Tensor:
    """Row numbers in which every row comes equally often (up to one), in random order."""
    rounds = -(-number // rows)
    return torch.cat([torch.randperm(rows, generator=generator) for _ in range(rounds)])[:number]
