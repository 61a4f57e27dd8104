"""The ledger: every statement of a method's paper as one row.

A method's card stands in its room's ``catalog.toml`` (``[[method]]``), its rows in ``<room>/claims/<method>.toml``
(``[[claim]]``), beside the functions that measure them. Both are read without importing torch. A row says what would count as
true before anything is measured: ``rule``, ``margin`` and ``replicates`` decide, a ``control`` must fail::

    [[claim]]
    id = "groco.doubly-stochastic"
    text = "The relaxed permutation matrices are doubly stochastic."
    kind = "identity"
    setting = "paper"
    rule = "at most"
    margin = 1e-5
    unit = "largest violation"
    control = "rows scaled by their length instead of their sum"
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Literal

from lab import checks
from lab.claims.statistics import STATISTICS

KINDS = ("identity", "theorem", "experiment")
SETTINGS = ("paper", "small")
RULES = ("at least", "at most", "within", "ordered")
FEWEST = 5  # replicates of an experiment: the first number whose sign-flip test can reach 5 %
LAB = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Claim:
    """One statement of a paper.

    Attributes:
        id: ``<method>.<kebab-words>``; ``aliases`` are earlier ids that still find the row.
        text, source: the statement in own words, and where the paper makes it.
        kind: ``identity`` and ``theorem`` are exact, ``experiment`` is sampled.
        setting: ``paper`` (as the paper measures it) or ``small`` (the same effect at laptop scale).
        rule, margin: the effects for which the statement is true, see :meth:`region`. The margin comes from the paper's effect
            or from the statement, in ``unit``. An experiment with margin 0 says in ``why_zero`` why any effect counts, and
            is strict: an effect of exactly 0 is none.
        statistic: how replicates become one effect: ``exact`` (the worst one), ``mean``, ``median``, ``share``.
        replicates, drawn: how many are asked for, and what one is (a seed, a network, a data set).
        control: what is switched off, shuffled or turned so that the statement must fail.
        published: the paper's own number, for comparison by eye only.
        untestable: why the statement cannot be measured here, and what it needs; empty where it can.
        data: the kind of own data that the measurement takes, empty if none.
        sentences: which sentences of the abstract the row covers, see :mod:`lab.claims.coverage`.
        requires: rows on which this one stands.
    """

    id: str
    text: str
    source: str
    kind: Literal["identity", "theorem", "experiment"]
    setting: Literal["paper", "small"]
    rule: Literal["at least", "at most", "within", "ordered"] = "at least"
    margin: float = 0.0
    unit: str = ""
    why_zero: str = ""
    statistic: Literal["exact", "mean", "median", "share"] = "exact"
    replicates: int = 1
    drawn: str = ""
    control: str = ""
    published: str = ""
    untestable: str = ""
    data: str = ""
    sentences: tuple[int, ...] = ()
    requires: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    room: str = ""
    method: str = ""

    def region(self) -> tuple[float, float]:
        """The effects for which the statement is true, a closed interval.

        ``at least`` m: [m, inf); ``at most`` m: (-inf, m]; ``within`` m: [-m, m]; ``ordered``: every step to the next level in
        [m, inf). The margin 0 of an experiment leaves 0 itself out.
        """
        m = float(self.margin)
        least, most = (math.nextafter(0.0, math.inf), math.nextafter(0.0, -math.inf)) if self._strict else (m, m)
        return {"at least": (least, math.inf), "ordered": (least, math.inf), "at most": (-math.inf, most)}.get(
            self.rule, (-m, m)
        )

    @property
    def _strict(self) -> bool:
        return self.kind == "experiment" and self.margin == 0

    @property
    def rule_in_words(self) -> str:
        """The rule as a reader writes it, for example ``accuracy >= 0.01``."""
        unit, sign = self.unit or "effect", "<=" if self.rule in ("at most", "within") else ">="
        if self.rule == "within":
            unit = f"|{unit}|"
        if self.rule == "ordered":
            unit = f"each step of the {unit}"
        return f"{unit} {sign[0] if self._strict else sign} {self.margin:g}"

    def rule_hash(self) -> str:
        """A short hash of what decides: rule, margin, statistic, replicates, unit, setting, control."""
        names = ("rule", "margin", "statistic", "replicates", "drawn", "unit", "kind", "setting", "control")
        text = json.dumps([getattr(self, name) for name in names], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Method:
    """One method of the catalog: where its module, notebook and page stand, and its claims.

    ``entry`` names the objects (``"lab.losses.groco:group_ordering_loss"``) without which no claim of the method may hold.
    """

    id: str
    title: str
    sentence: str
    room: str
    source: str
    module: str = ""
    notebook: str = ""
    page: str = ""
    entry: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()


def methods(room: str | None = None) -> tuple[Method, ...]:
    """All methods of the catalog, or those of one room, in catalog order."""
    found = _catalog()
    if room is None:
        return found
    checks.choice("room", room, sorted({method.room for method in found}))
    return tuple(method for method in found if method.room == room)


def method(id: str) -> Method:
    """The method ``id`` of the catalog (or an earlier name of it); ``ValueError`` with the nearest one if there is none."""
    known = {name: found for found in _catalog() for name in (found.id, *found.aliases)}
    if id not in known:
        hint = checks.did_you_mean(id, [found.id for found in _catalog()])
        raise ValueError(f"no method has the id {id!r}{hint or '; `lab list` names them'}")
    return known[id]


def ledger(room: str | None = None) -> tuple[Claim, ...]:
    """All rows of the ledger, or those of one room."""
    return tuple(claim for found in methods(room) for claim in found.claims)


def by_id(id: str) -> Claim:
    """The row ``id`` (or an earlier id of it); ``ValueError`` with the nearest id if there is none."""
    rows = _by_id()
    if id not in rows:
        hint = checks.did_you_mean(id, rows)
        raise ValueError(f"no claim has the id {id!r}{hint or '; `lab claims` lists them'}")
    return rows[id]


@lru_cache(maxsize=1)
def _by_id() -> dict[str, Claim]:
    return {name: claim for claim in ledger() for name in (claim.id, *claim.aliases)}


@lru_cache(maxsize=1)
def _catalog() -> tuple[Method, ...]:
    found: list[Method] = []
    for path in sorted(LAB.glob("*/catalog.toml")):
        for row in _read(path).get("method", []):
            found.append(_method(path.parent.name, row))
    ids = [name for one in found for claim in one.claims for name in (claim.id, *claim.aliases)]
    twice = sorted({claim_id for claim_id in ids if ids.count(claim_id) > 1})
    if twice:
        raise ValueError(f"claim ids stand twice in the ledger: {', '.join(twice)}")
    unknown = sorted({needed for one in found for claim in one.claims for needed in claim.requires} - set(ids))
    if unknown:
        raise ValueError(f"claims require rows that do not exist: {', '.join(unknown)}")
    return tuple(found)


def _read(path):
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.relative_to(LAB)} is not valid TOML: {error}") from error


def _method(room, row):
    place = f"{room}/catalog.toml, method {row.get('id', '?')!r}"
    _check_keys(place, row, Method, ("id", "title", "sentence", "source"))
    path = LAB / room / "claims" / f"{row['id']}.toml"
    rows = _read(path).get("claim", []) if path.exists() else []
    claims = tuple(_claim(f"{room}/claims/{path.name}", claim, row, room) for claim in rows)
    entry = row.get("entry", ())
    many = {"entry": (entry,) if isinstance(entry, str) else tuple(entry), "aliases": tuple(row.get("aliases", ()))}
    return Method(**{**row, **many, "room": room, "claims": claims})


def _claim(place, row, method, room):
    place = f"{place}, claim {row.get('id', '?')!r}"
    _check_keys(place, row, Claim, ("id", "text", "kind", "setting"))
    checks.choice(f"{place}: kind", row["kind"], KINDS)
    checks.choice(f"{place}: setting", row["setting"], SETTINGS)
    row.setdefault("source", method.get("source", ""))
    for key in ("sentences", "requires", "aliases"):
        row[key] = tuple(row.get(key, ()))
    claim = Claim(**{**row, "room": room, "method": method["id"]})
    _check_rule(place, claim)
    return claim


def _check_rule(place, claim):
    """Refuse a row whose rule cannot decide."""
    if not claim.id.startswith(f"{claim.method}."):
        raise ValueError(f"{place}: the id must begin with {claim.method + '.'!r}; keep earlier ids as aliases")
    checks.choice(f"{place}: rule", claim.rule, RULES)
    checks.choice(f"{place}: statistic", claim.statistic, STATISTICS)
    checks.integer(f"{place}: replicates", claim.replicates, low=1)
    checks.number(f"{place}: margin", claim.margin)
    if claim.untestable:
        return
    if not claim.control:
        raise ValueError(
            f"{place}: control is missing; name what is switched off, shuffled or turned so that it must fail"
        )
    if claim.rule == "within" and claim.margin <= 0:
        raise ValueError(f"{place}: the rule 'within' needs a margin above 0, got {claim.margin:g}")
    if claim.statistic == "exact":
        if claim.kind == "experiment":
            raise ValueError(f"{place}: an experiment is sampled: statistic must be mean, median or share, got 'exact'")
        return
    if claim.replicates < FEWEST:
        raise ValueError(f"{place}: a sampled effect needs at least {FEWEST} replicates, got {claim.replicates}")
    if not claim.drawn:
        raise ValueError(f"{place}: drawn is missing; say what one replicate is (a seed, a network, a data set)")
    if claim.kind == "experiment" and claim.margin == 0 and not claim.why_zero:
        raise ValueError(f"{place}: a margin of 0 needs why_zero: why an effect of any size counts")


def _check_keys(place, row, kind, required):
    known = {field.name for field in fields(kind)} - {"room", "method", "claims"}
    for key in row:
        if key not in known:
            raise ValueError(f"{place}: unknown key {key!r}{checks.did_you_mean(key, known)}")
    missing = [key for key in required if not row.get(key)]
    if missing:
        raise ValueError(f"{place}: {', '.join(missing)} missing")
