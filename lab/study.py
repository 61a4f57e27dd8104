"""What every study is made of: a :class:`Setting`, typed and frozen, and a ``run`` that is remembered for the process.

A study stands in ``lab/<room>/studies/<method>.py``::

    class Setting(study.Setting):
        \"\"\"Digits in blocks of pixels, quantized and retrained.\"\"\"

        bits: int = Field(4, ge=2, le=8, title="Bits per weight")
        steps: int = Field(600, ge=1, le=20_000, title="Training steps")

        PROFILES: ClassVar = {"smoke": {"steps": 60}, "full": {"steps": 6000}}

    @study.remembered()
    def run(setting, *, seeds, data=None, control=False, progress=None) -> Result: ...

The parameters of its notebook, the controls of its page (``widgets.pages.controls(Setting, "bits")``) and its measuring functions
all use this ``Setting``; claims only read ``Result``. One training serves every row.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from lab import checks

PROFILES = ("smoke", "default", "full")


class Setting(BaseModel):
    """The parameters of a study: frozen, hashable, every field with its range and title.

    ``PROFILES`` names what ``"smoke"`` and ``"full"`` change; ``"default"`` are the defaults of the fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, **values):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_in_words(type(self), error)) from None

    @classmethod
    def of(cls, profile: str = "default", **changes) -> Self:
        """The setting of a profile with ``changes`` to it.

        Raises:
            ValueError: an unknown profile or field, or a value out of its field's range; the message names it.
        """
        checks.choice("profile", profile, PROFILES)
        return cls(**{**cls.PROFILES.get(profile, {}), **changes})

    @classmethod
    def bounds(cls, name: str) -> tuple[Any, Any]:
        """The least and the largest value of a field, ``None`` where it has none."""
        low = high = None
        for rule in cls.field(name).metadata:
            low = getattr(rule, "ge", getattr(rule, "gt", low))
            high = getattr(rule, "le", getattr(rule, "lt", high))
        return low, high

    @classmethod
    def choices(cls, name: str) -> tuple:
        """The values of a field that is a choice, else ``()``."""
        kind = cls.field(name).annotation
        return get_args(kind) if get_origin(kind) is Literal else ()

    @classmethod
    def field(cls, name: str):
        """The pydantic description of a field."""
        if name not in cls.model_fields:
            raise ValueError(
                f"{cls.__module__}.Setting has no field {name!r}{checks.did_you_mean(name, cls.model_fields)}"
            )
        return cls.model_fields[name]


def remembered(size: int = 8) -> Callable:
    """Keep the last ``size`` results of ``run(setting, *, seeds, data=None, control=False, progress=None)`` for the process.

    ``control`` is ``False``, ``True`` or the name of one of several controls. Runs on the user's own ``data`` are not kept. Two
    callers who ask for the same run at the same time wait for one run.
    """

    def decorate(run):
        kept: OrderedDict = OrderedDict()
        lock = threading.Lock()
        running: dict = {}

        @wraps(run)
        def call(setting, *, seeds, data=None, control: bool | str = False, progress=None):
            if not isinstance(setting, Setting):
                raise TypeError(
                    f"setting must be a Setting, for example Setting.of('smoke'), got {type(setting).__name__}"
                )
            seeds = tuple(checks.integer("seeds", seed, low=0) for seed in seeds)
            if not seeds:
                raise ValueError("seeds must name at least one seed, got none")
            if data is not None:
                return run(setting, seeds=seeds, data=data, control=control, progress=progress)
            key = (setting, seeds, control)
            with lock:
                if key in kept:
                    kept.move_to_end(key)
                    return kept[key]
                own = running.setdefault(key, threading.Lock())
            with own:
                with lock:
                    if key in kept:
                        return kept[key]
                try:
                    result = run(setting, seeds=seeds, data=None, control=control, progress=progress)
                finally:
                    with lock:
                        running.pop(key, None)
                with lock:
                    kept[key] = result
                    while len(kept) > size:
                        kept.popitem(last=False)
            return result

        call.cache_clear = kept.clear  # as of functools.lru_cache
        return call

    return decorate


def _in_words(cls, error) -> str:
    """The first fault of a setting as one sentence."""
    first = error.errors()[0]
    name, given = str(first["loc"][0]) if first["loc"] else "setting", first.get("input")
    if first["type"] == "extra_forbidden":
        known = ", ".join(cls.model_fields)
        return f"the study has no parameter {name!r}{checks.did_you_mean(name, cls.model_fields)}; it has {known}"
    return f"{name}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {given!r}"
