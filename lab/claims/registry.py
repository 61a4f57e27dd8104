"""Which function measures a claim, and which tunes what a method compares."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lab.claims.ledger import LAB, by_id
from lab.claims.ledger import method as method_of

if TYPE_CHECKING:
    from lab.claims.measure import Effects, Trial

_FUNCTIONS: dict[str, Callable[..., Effects]] = {}
_TUNERS: dict[str, Callable[..., Any]] = {}


def measures(*ids: str, stacked: bool = False) -> Callable[[Callable[[Trial], Effects]], Callable[[Trial], Effects]]:
    """Register a function ``Trial -> Effects`` as the measurement of the claims ``ids``.

    ``stacked``: the function trains all replicates at once, so that recording hands it all seeds in one piece; otherwise a
    replicate is measured, stored and resumed alone, and its value must not depend on the other seeds.
    """

    def register(function):
        for claim_id in ids:
            if claim_id in _FUNCTIONS and _FUNCTIONS[claim_id].__qualname__ != function.__qualname__:
                raise ValueError(f"claim {claim_id!r} already has a measuring function")
            _FUNCTIONS[claim_id] = function
        function.claim_ids, function.stacked = ids, stacked
        return function

    return register


def tunes(*methods: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function ``progress=None -> None`` that tunes all arms of ``methods`` and writes the record of it.

    See :mod:`lab.training.comparison` for the record.
    """

    def register(function):
        _TUNERS.update(dict.fromkeys(methods, function))
        return function

    return register


def tune(id: str, *, progress=None) -> None:
    """Tune again what the method of the claim (or the method) ``id`` compares, and write the record.

    Raises:
        ValueError: a method whose claims need no tuning.
    """
    method = by_id(id).method if "." in id else method_of(id).id
    _load(method_of(method).room)
    if method not in _TUNERS:
        raise ValueError(f"the claims of {method!r} compare nothing that is tuned")
    _TUNERS[method](progress=progress)


def measuring_function(id: str) -> Callable[..., Effects] | None:
    """The function that measures the claim ``id``, or ``None`` where there is none yet."""
    claim = by_id(id)
    _load(claim.room)
    return next((_FUNCTIONS[name] for name in (claim.id, *claim.aliases) if name in _FUNCTIONS), None)


def _load(room):
    if (LAB / room / "claims").is_dir():
        importlib.import_module(f"lab.{room}.claims")
