"""The ledger of claims: every statement of a method's paper, and the function that measures it.

The rows stand in each room's ``catalog.toml`` (one ``[[method]]`` a method, one ``[[method.claim]]`` a statement) and are
read without importing torch. The measuring functions stand in each room's ``claims`` module::

    @lab.claims.measures("betti.topology-improves")
    def topology_improves(data, seeds, budget):
        ...
        return Measured(value=difference, interval=(low, high), holds=low > margin)

``measure(id, data=..., seeds=..., budget=...)`` finds the row, imports the room's ``claims`` module and runs the function.
"""

from __future__ import annotations

import importlib
import math
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from lab import checks

KINDS = ("identity", "theorem", "experiment")
SETTINGS = ("paper", "small")
BUDGETS = ("smoke", "default", "full")
STATUSES = ("holds", "holds at small scale", "does not hold", "not testable here", "not run")

_FUNCTIONS: dict[str, Callable[..., Measured]] = {}


@dataclass(frozen=True)
class Claim:
    """One statement of a paper.

    ``margin`` is the size of effect below which the statement is not said to hold, in the unit of the measured value; it
    comes from the paper's effect or from the statement itself. ``seeds`` is the default number of seeds. ``untestable``
    gives the reason why the statement cannot be measured here; it is empty where a function measures it.
    """

    id: str
    text: str
    source: str
    kind: Literal["identity", "theorem", "experiment"]
    setting: Literal["paper", "small"]
    margin: float = 0.0
    seeds: int = 1
    unit: str = ""
    data: str = ""
    untestable: str = ""
    room: str = ""
    method: str = ""


@dataclass(frozen=True)
class Method:
    """One method of the catalog: where its module, notebook and page stand, and its claims."""

    id: str
    title: str
    sentence: str
    room: str
    source: str
    module: str = ""
    notebook: str = ""
    page: str = ""
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What one run of a measuring function found.

    ``value`` is the measured effect, ``interval`` its interval (for a deterministic value both ends equal it), ``holds``
    whether this run supports the statement. ``details`` carries what else a reader needs: seeds, trials per method, the
    baselines' values. ``id``, ``setting``, ``budget`` and ``seconds`` are filled in by :func:`measure`.
    """

    value: float
    interval: tuple[float, float]
    holds: bool
    details: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    setting: str = ""
    budget: str = ""
    seeds: tuple[int, ...] = ()
    seconds: float = 0.0

    def __post_init__(self):
        low, high = (float(end) for end in self.interval)
        object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "interval", (low, high))
        object.__setattr__(self, "holds", bool(self.holds))
        if low > high:
            raise ValueError(f"interval must be ordered, got ({low}, {high})")
        if math.isnan(self.value) and self.holds:
            raise ValueError("a claim whose value is NaN cannot hold")

    @property
    def status(self) -> str:
        """``holds`` (in the paper's own setting), ``holds at small scale`` or ``does not hold``."""
        if not self.holds:
            return "does not hold"
        return "holds at small scale" if self.setting == "small" else "holds"

    def to_dict(self) -> dict[str, Any]:
        """The fields and the status as plain values, ready for JSON."""
        return {**asdict(self), "interval": list(self.interval), "seeds": list(self.seeds), "status": self.status}

    def _repr_html_(self) -> str:
        from html import escape

        claim = by_id(self.id) if self.id else None
        colour = "#009E73" if self.holds else "#D55E00"
        unit = f" {escape(claim.unit)}" if claim and claim.unit else ""
        low, high = self.interval
        interval = "" if low == high else f" <span>[{low:.4g}, {high:.4g}]</span>"
        seeds = f" · {len(self.seeds)} seed{'s' * (len(self.seeds) != 1)}" if self.seeds else ""
        text = f"<div>{escape(claim.text)}</div>" if claim else ""
        if self.budget == "smoke" and not self.holds and claim and claim.kind == "experiment":
            text += "<div><i>A smoke run checks that the measurement works; the default budget decides.</i></div>"
        return (
            f'<div style="border-left:4px solid {colour};padding:.3em .8em;margin:.4em 0">'
            f'<b style="color:{colour}">{self.status}</b> <code>{escape(self.id)}</code>{text}'
            f"<div><b>{self.value:.4g}{unit}</b>{interval}{seeds} · {escape(self.budget)} budget</div></div>"
        )


def measures(*ids: str) -> Callable[[Callable[..., Measured]], Callable[..., Measured]]:
    """Register a function ``(data, seeds, budget) -> Measured`` as the measurement of the claims ``ids``.

    A function registered for several ids is called with the keyword ``id`` as well.
    """

    def register(function):
        for claim_id in ids:
            if claim_id in _FUNCTIONS and _FUNCTIONS[claim_id].__qualname__ != function.__qualname__:
                raise ValueError(f"claim {claim_id!r} already has a measuring function")
            _FUNCTIONS[claim_id] = function
        function.claim_ids = ids
        return function

    return register


def measure(
    id: str,
    *,
    data=None,
    seeds: int | Sequence[int] | None = None,
    budget: Literal["smoke", "default", "full"] = "default",
) -> Measured:
    """Measure one claim on this machine, with the built-in data or with ``data``.

    Args:
        id: the claim's id, for example ``"betti.topology-improves"``.
        data: a data set of :func:`lab.datasets.load`, a path or name that it accepts, or ``None`` for the claim's own.
        seeds: how many seeds (0, 1, ...) or which; the claim's default if ``None``.
        budget: ``"smoke"`` (seconds), ``"default"`` (minutes) or ``"full"`` (the paper's scale).

    Raises:
        ValueError: unknown id (with the nearest one), no seeds, a claim that is not testable here (with its reason).
    """
    claim = by_id(id)
    checks.choice("budget", budget, BUDGETS)
    if claim.untestable:
        raise ValueError(f"claim {id!r} is not testable here: {claim.untestable}")
    seeds = _seeds(claim.seeds if seeds is None else seeds)
    function = measuring_function(id)
    if function is None:
        raise ValueError(f"claim {id!r} has no measuring function yet; its status is 'not run'")
    if data is not None and not claim.data:
        raise ValueError(f"claim {id!r} is about its own construction and takes no data")
    if isinstance(data, (str, Path)):
        from lab import datasets

        data = datasets.load(data)
    began = time.perf_counter()
    arguments = {"id": id} if len(function.claim_ids) > 1 else {}
    result = function(data, seeds, budget, **arguments)
    if not isinstance(result, Measured):
        raise TypeError(f"the measuring function of {id!r} must return Measured, got {type(result).__name__}")
    seconds = time.perf_counter() - began
    return replace(result, id=id, setting=claim.setting, budget=budget, seeds=result.seeds or seeds, seconds=seconds)


def measuring_function(id: str) -> Callable[..., Measured] | None:
    """The function that measures the claim ``id``, or ``None`` where there is none yet."""
    claim = by_id(id)
    if (Path(__file__).parent / claim.room / "claims.py").exists() or (
        Path(__file__).parent / claim.room / "claims"
    ).is_dir():
        importlib.import_module(f"lab.{claim.room}.claims")
    return _FUNCTIONS.get(id)


def methods(room: str | None = None) -> tuple[Method, ...]:
    """All methods of the catalog, or those of one room, in catalog order."""
    found = _catalog()
    if room is None:
        return found
    checks.choice("room", room, sorted({method.room for method in found}))
    return tuple(method for method in found if method.room == room)


def ledger(room: str | None = None) -> tuple[Claim, ...]:
    """All rows of the ledger, or those of one room."""
    return tuple(claim for method in methods(room) for claim in method.claims)


def by_id(id: str) -> Claim:
    """The row ``id``; ``ValueError`` with the nearest id if there is none."""
    rows = {claim.id: claim for claim in ledger()}
    if id not in rows:
        hint = checks.did_you_mean(id, rows)
        raise ValueError(f"no claim has the id {id!r}{hint or '; `lab claims` lists them'}")
    return rows[id]


@lru_cache(maxsize=1)
def _catalog() -> tuple[Method, ...]:
    found: list[Method] = []
    for path in sorted(Path(__file__).parent.glob("*/catalog.toml")):
        try:
            rows = tomllib.loads(path.read_text(encoding="utf-8")).get("method", [])
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path.parent.name}/catalog.toml is not valid TOML: {error}") from error
        found.extend(_method(path.parent.name, row) for row in rows)
    ids = [claim.id for method in found for claim in method.claims]
    twice = sorted({claim_id for claim_id in ids if ids.count(claim_id) > 1})
    if twice:
        raise ValueError(f"claim ids stand twice in the catalogs: {', '.join(twice)}")
    return tuple(found)


def _method(room: str, row: dict) -> Method:
    place = f"{room}/catalog.toml, method {row.get('id', '?')!r}"
    claims = []
    for claim in row.pop("claim", []):
        _check_keys(f"{place}, claim {claim.get('id', '?')!r}", claim, Claim, ("id", "text", "kind", "setting"))
        checks.choice(f"{place}: kind of {claim['id']!r}", claim["kind"], KINDS)
        checks.choice(f"{place}: setting of {claim['id']!r}", claim["setting"], SETTINGS)
        claim.setdefault("source", row.get("source", ""))
        claims.append(Claim(**{**claim, "room": room, "method": row["id"]}))
    _check_keys(place, row, Method, ("id", "title", "sentence", "source"))
    return Method(**{**row, "room": room, "claims": tuple(claims)})


def _check_keys(place, row, kind, required):
    known = set(kind.__dataclass_fields__) - {"room", "method", "claims"}
    for key in row:
        if key not in known:
            raise ValueError(f"{place}: unknown key {key!r}{checks.did_you_mean(key, known)}")
    missing = [key for key in required if not row.get(key)]
    if missing:
        raise ValueError(f"{place}: {', '.join(missing)} missing")


def _seeds(seeds) -> tuple[int, ...]:
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        return tuple(range(checks.integer("seeds", seeds, low=1)))
    seeds = tuple(checks.integer("seeds", seed, low=0) for seed in seeds)
    if not seeds:
        raise ValueError("seeds is empty; at least one seed is needed")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must differ, got {list(seeds)}")
    return seeds
