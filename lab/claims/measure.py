"""Measuring a claim: a function returns effects, the row's rule gives the verdict.

A measuring function is handed a :class:`Trial` and returns :class:`Effects`; it compares nothing with a margin and draws no
interval::

    @measures("groco.nearest-neighbours")
    def neighbours(trial):
        result = study.run(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
        return Effects(result.ordering - result.contrast, {"trials": result.trials})
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lab import checks
from lab.claims import statistics
from lab.claims.ledger import Claim, by_id
from lab.claims.recorded import latest
from lab.claims.registry import measuring_function
from lab.claims.verdict import RISK, Verdict, judge, status

BUDGETS = ("smoke", "default", "full")
Budget = Literal["smoke", "default", "full"]
SMOKE_REPLICATES = 2


@dataclass(frozen=True)
class Trial:
    """What a measuring function is handed.

    ``seeds`` has one entry a replicate. ``control=True`` asks for the same measurement on the same code with the row's
    ``control`` in place. ``data`` is the user's own, loaded, or ``None``.
    """

    claim: Claim
    seeds: tuple[int, ...]
    budget: Budget = "default"
    data: Any = None
    control: bool = False

    def of(self, smoke, default, full):
        """The value of this trial's budget."""
        return {"smoke": smoke, "default": default, "full": full}[self.budget]


@dataclass(frozen=True)
class Effects:
    """What a measuring function returns.

    ``values``: shape () for an exact effect, (n,) one a replicate, (n, k) levels in the order that the claim states. A share
    may hold several 0/1 values a replicate, (n * m,). ``against``: the second group of an unpaired comparison; the effect is
    then mean(values) - mean(against). ``details``: what else a reader needs, as plain values.
    """

    values: Any
    details: Mapping[str, Any] = field(default_factory=dict)
    against: Any = None


@dataclass(frozen=True)
class Measured:
    """What one measurement found: an effect, its interval and the verdict of the row's rule.

    ``values`` are the replicates behind it; ``p`` the p-value of the sign-flip or permutation test, where one applies.
    ``own`` is ``"data"`` or ``"parameters"`` where the measurement left the row's own setting.
    """

    value: float
    interval: tuple[float, float]
    verdict: Verdict
    details: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    setting: str = ""
    budget: str = ""
    seeds: tuple[int, ...] = ()
    seconds: float = 0.0
    values: tuple = ()
    p: float | None = None
    control: bool = False
    own: str = ""

    def __post_init__(self):
        low, high = (float(end) for end in self.interval)
        object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "interval", (low, high))

    @property
    def holds(self) -> bool:
        """Whether the verdict is 'holds', whatever the budget."""
        return self.verdict == "holds"

    @property
    def replicates(self) -> int:
        """How many replicates were drawn."""
        return len(self.seeds)

    @property
    def status(self) -> str:
        """The verdict with what it may be said of, see :func:`lab.claims.verdict.status`."""
        return status(self, by_id(self.id)) if self.id else self.verdict

    @property
    def needed(self) -> int | None:
        """About how many replicates would decide an undecided claim; ``None`` where that cannot be said."""
        if self.verdict != "undecided" or not self.id or np.ndim(self.values) != 1:
            return None
        return statistics.replicates_needed(self.values, by_id(self.id).region())

    def to_dict(self) -> dict[str, Any]:
        """The fields and the status as plain values, ready for JSON."""
        found = {**asdict(self), "interval": list(self.interval), "seeds": list(self.seeds)}
        return {**found, "holds": self.holds, "status": self.status, "replicates": self.replicates}

    def _repr_html_(self) -> str:
        from html import escape

        claim = by_id(self.id) if self.id else None
        colour = {"holds": "#009E73", "refuted": "#D55E00"}.get(self.verdict, "#E69F00")
        if self.budget == "smoke":
            colour = "#999999"
        unit = f" {escape(claim.unit)}" if claim and claim.unit else ""
        low, high = self.interval
        interval = "" if low == high else f" <span>[{low:.4g}, {high:.4g}]</span>"
        lines = [f"<div>{escape(claim.text)}</div>"] if claim else []
        if self.control and claim:
            lines.append(f"<div><i>Negative control: {escape(claim.control)}.</i></div>")
        if self.budget == "smoke":
            lines.append("<div><i>A smoke run only checks that the measurement works; it decides nothing.</i></div>")
        if needed := self.needed:
            lines.append(f"<div><i>About {needed} replicates would be needed to decide.</i></div>")
        if claim and (known := _recorded(claim)):
            lines.append(f"<div><i>{escape(known)}.</i></div>")
        rule = f" · holds if {escape(claim.rule_in_words)}" if claim and not claim.untestable else ""
        count = f" · {self.replicates} replicate{'s' * (self.replicates != 1)}" if self.replicates else ""
        return (
            f'<div style="border-left:4px solid {colour};padding:.3em .8em;margin:.4em 0">'
            f'<b style="color:{colour}">{escape(self.status)}</b> <code>{escape(self.id)}</code>{"".join(lines)}'
            f"<div><b>{self.value:.4g}{unit}</b>{interval}{rule}{count} · {escape(self.budget)} budget</div></div>"
        )


def measure(
    id: str,
    *,
    data=None,
    replicates: int | Sequence[int] | None = None,
    budget: Budget = "default",
    control: bool = False,
    seeds: int | Sequence[int] | None = None,
) -> Measured:
    """Measure one claim on this machine, with the built-in data or with ``data``.

    Args:
        id: the claim's id, for example ``"betti_matching.topology-improves"``.
        data: a data set of :func:`lab.datasets.load`, a path or name that it accepts, or ``None`` for the claim's own.
        replicates: how many (seeds 0, 1, ...) or the seeds themselves; the row's number if ``None`` (two of a sampled effect
            at smoke).
        budget: ``"smoke"`` (seconds), ``"default"`` (minutes) or ``"full"`` (the paper's scale).
        control: measure the row's negative control instead: the same function with the method off.
        seeds: the earlier name of ``replicates``.

    Raises:
        ValueError: unknown id (with the nearest one), no replicates, a claim that is not testable here (with its reason).
    """
    claim = by_id(id)
    checks.choice("budget", budget, BUDGETS)
    function = measuring_function(claim.id)
    if claim.untestable and (data is None or function is None):
        raise ValueError(f"claim {claim.id!r} is not testable here: {claim.untestable}")
    if function is None:
        raise ValueError(f"claim {claim.id!r} has no measuring function yet; its status is 'not run'")
    if control and not claim.control:
        raise ValueError(f"claim {claim.id!r} names no negative control")
    if data is not None and not claim.data:
        raise ValueError(f"claim {claim.id!r} is about its own construction and takes no data")
    seeds = _seeds(
        _default(claim, budget) if seeds is None and replicates is None else replicates if seeds is None else seeds
    )
    if isinstance(data, (str, Path)):
        from lab import datasets

        data = datasets.load(data)
    own = "data" if data is not None else ""
    began = time.perf_counter()
    effects = function(Trial(claim, seeds, budget, data, control))
    if not isinstance(effects, Effects):
        raise TypeError(f"the measuring function of {claim.id!r} must return Effects, got {type(effects).__name__}")
    found = replace(concluded(claim, effects, seeds, budget=budget), control=control, own=own)
    return replace(found, seconds=time.perf_counter() - began)


def concluded(
    claim: Claim, effects: Effects, seeds: Sequence[int], *, budget: str = "default", risk: float = RISK
) -> Measured:
    """The verdict of the row's rule on measured effects.

    Exact effects take the worst of their values. Sampled ones take the interval of the row's statistic at level 1 - ``risk``
    (1 - 2 ``risk`` for the rule 'within', which is two one-sided tests) and, for means of paired replicates, the sign-flip
    test shifted to the margin. A claim about ordered levels takes its smallest step: all steps must lie in the region.
    """
    values = np.asarray(_plain(effects.values), dtype=float)
    _check_shape(claim, values, len(seeds), effects.against)
    region, exact, p = claim.region(), claim.statistic == "exact", None
    if claim.rule == "ordered":
        values = np.diff(values, axis=-1)
    if exact:
        value = _worst(claim.rule, values)
        low = high = value
    else:
        columns = values.T if claim.rule == "ordered" else values[None]
        level = 1 - (2 * risk if claim.rule == "within" else risk)
        if effects.against is not None:
            against = np.asarray(_plain(effects.against), dtype=float)
            found = [statistics.unpaired(values, against, level)]
            p = _permuted(claim, values, against)
        else:
            found = [statistics.interval(column, claim.statistic, level) for column in columns]
            p = max((_flipped(claim, column) for column in columns), default=None) if _is_tested(claim) else None
        value, low, high = (_smallest(each) for each in zip(*found))
    value, low, high = value + 0.0, low + 0.0, high + 0.0  # no negative zero
    verdict = judge(region, value, low, high, exact=exact, n=len(values) if values.ndim else 1, p=p, risk=risk)
    return Measured(
        value, (low, high), verdict, dict(effects.details), claim.id, claim.setting, budget, tuple(seeds),
        values=tuple(np.asarray(_plain(effects.values), dtype=float).tolist()) if values.ndim else (), p=p,
    )  # fmt: skip


def _recorded(claim):
    """The recorded verdict in words, or an empty text."""
    line = latest(claim.room).get(claim.id)
    if line is None:
        return ""
    interval = "" if line["low"] == line["high"] else f" [{float(line['low']):.3g}, {float(line['high']):.3g}]"
    count = f"{line['replicates']} replicate{'s' * (line['replicates'] != 1)}"
    control = line.get("control") or {}
    word = f"; its control {'holds too' if control['holds'] else 'fails'}" if control else ""
    return f"Recorded {line['date']}: {line['verdict']}, {float(line['value']):.4g}{interval}, {count}{word}"


def _default(claim, budget):
    if budget != "smoke":
        return claim.replicates
    return 1 if claim.statistic == "exact" else min(claim.replicates, SMOKE_REPLICATES)


def _seeds(wanted) -> tuple[int, ...]:
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        return tuple(range(checks.integer("replicates", wanted, low=1)))
    wanted = tuple(checks.integer("replicates", seed, low=0) for seed in wanted)
    if not wanted:
        raise ValueError("replicates is empty; at least one seed is needed")
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"replicates must differ, got {list(wanted)}")
    return wanted


def _plain(values):
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values


def _check_shape(claim, values, count, against):
    """A sampled effect has one value a replicate: more values than replicates would be repetitions taken for evidence."""
    levels = claim.rule == "ordered"
    if claim.statistic == "exact":
        if values.size == 0 or values.ndim > 1 + levels:
            raise ValueError(
                f"an exact effect of {claim.id!r} must be one number or one a replicate, got shape {values.shape}"
            )
        return
    if values.ndim != 1 + levels:
        wanted = "(replicates, levels)" if levels else "(replicates,)"
        raise ValueError(f"effects of {claim.id!r} must have shape {wanted}, got {values.shape}")
    several = claim.statistic == "share" and len(values) % count == 0
    if len(values) != count and not several and against is None:
        raise ValueError(f"effects of {claim.id!r} must have one value a replicate ({count}), got {len(values)}")


def _worst(rule, values):
    if np.isnan(values).any():
        return math.nan
    if rule == "within":
        return float(values.ravel()[np.abs(values).argmax()])
    return float(values.max() if rule == "at most" else values.min())


def _smallest(ends):
    return math.nan if any(math.isnan(end) for end in ends) else float(min(ends))


def _is_tested(claim):
    return claim.statistic == "mean" and claim.rule != "within"


def _flipped(claim, values):
    return (
        statistics.sign_flip(-values, -claim.margin)
        if claim.rule == "at most"
        else statistics.sign_flip(values, claim.margin)
    )


def _permuted(claim, values, against):
    if claim.rule == "within":
        return None
    if claim.rule == "at most":
        return statistics.permutation(against, values, -claim.margin)
    return statistics.permutation(values, against, claim.margin)
