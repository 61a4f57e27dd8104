"""Sabotage: a method's entry replaced by something broken, to show that its claims notice.

With the entry raising, returning zeros or negated in every loaded namespace, no claim of the method may hold: a claim that
still does measures something else::

    with sabotage("lab.losses.groco:group_ordering_loss", "zeros"):
        assert not measure("groco.loss-counts-misordered", budget="smoke").holds
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

WAYS = ("raise", "zeros", "negated")


class Sabotaged(RuntimeError):
    """Raised by an entry that was told to raise."""


@contextlib.contextmanager
def sabotage(entry: str | Iterable[str], how: Literal["raise", "zeros", "negated"]) -> Iterator[None]:
    """Replace ``entry`` (``"lab.room.module:name"``, or several) everywhere in the loaded ``lab`` while the block runs.

    Functions are replaced in every module, class and table (``dict``, ``list``, ``tuple`` at the top of a module) of ``lab``
    that holds them. Of a class the methods that give results are: ``forward`` of a ``torch.nn.Module``, ``__call__``, else
    every public method and property. What studies remember (``functools.cache``) is forgotten before and after.

    ``raise``: calls raise :class:`Sabotaged`. ``zeros``, ``negated``: the true result with all its numbers multiplied by 0 or
    -1, in tensors, arrays, containers and dataclasses, gradients included.

    Raises:
        ValueError: an entry that is not there, an unknown ``how``.
    """
    if how not in WAYS:
        raise ValueError(f"how must be one of {', '.join(WAYS)}, got {how!r}")
    entries = [entry] if isinstance(entry, str) else list(entry)
    if not entries:
        raise ValueError("entry is empty; name at least one object as 'lab.room.module:name'")
    undo: list[Callable[[], None]] = []
    try:
        for name in entries:
            target = _find(name)
            if inspect.isclass(target):
                _replace_methods(target, how, undo)
            else:
                _replace_everywhere(target, _broken(target, how), undo)
        forget()
        yield
    finally:
        for step in reversed(undo):
            step()
        forget()


def forget() -> None:
    """Empty every ``functools`` cache that a module of a room holds, so that no remembered result outlives its code."""
    for module in _modules():
        for value in list(vars(module).values()):
            if hasattr(value, "cache_clear") and callable(value.cache_clear):
                value.cache_clear()


def _find(name):
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"entry {name!r} is not there: {error}") from error
    if not path or not callable(found):
        raise ValueError(f"entry {name!r} must name a function or a class as 'lab.room.module:name'")
    return found


def _modules():
    return [module for name, module in list(sys.modules.items()) if name.split(".")[0] == "lab" and module is not None]


def _broken(function, how):
    @functools.wraps(function)
    def broken(*arguments, **options):
        if how == "raise":
            raise Sabotaged(f"{getattr(function, '__qualname__', function)} is sabotaged")
        return _scaled(function(*arguments, **options), 0.0 if how == "zeros" else -1.0)

    return broken


def _replace_everywhere(target, replacement, undo):
    for module in _modules():
        for name, value in list(vars(module).items()):
            if value is target:
                setattr(module, name, replacement)
                undo.append(functools.partial(setattr, module, name, target))
            elif isinstance(value, dict) and not name.startswith("__"):
                for key, item in list(value.items()):
                    if item is target:
                        value[key] = replacement
                        undo.append(functools.partial(value.__setitem__, key, target))
                    elif isinstance(item, tuple) and any(part is target for part in item):
                        value[key] = tuple(replacement if part is target else part for part in item)
                        undo.append(functools.partial(value.__setitem__, key, item))
            elif isinstance(value, list):
                for index, item in enumerate(value):
                    if item is target:
                        value[index] = replacement
                        undo.append(functools.partial(value.__setitem__, index, target))
            elif isinstance(value, tuple) and any(item is target for item in value):
                setattr(module, name, tuple(replacement if item is target else item for item in value))
                undo.append(functools.partial(setattr, module, name, value))
            elif inspect.isclass(value) and value.__module__ == module.__name__:
                for key, item in list(vars(value).items()):
                    bare = item.__func__ if isinstance(item, (staticmethod, classmethod)) else item
                    if bare is target:
                        setattr(value, key, type(item)(replacement) if bare is not item else replacement)
                        undo.append(functools.partial(setattr, value, key, item))


def _replace_methods(target, how, undo):
    names = [name for name in ("forward", "__call__") if name in vars(target)]
    if not names:
        names = [name for name, value in vars(target).items() if not name.startswith("_") and _is_method(value)]
    if not names:
        raise ValueError(
            f"entry {target.__module__}:{target.__qualname__} is a class without methods that give results"
        )
    for name in names:
        found = vars(target)[name]
        if isinstance(found, property):
            replacement = property(_broken(found.fget, how), found.fset, found.fdel)
        elif isinstance(found, (staticmethod, classmethod)):
            replacement = type(found)(_broken(found.__func__, how))
        elif isinstance(found, functools.cached_property):
            replacement = functools.cached_property(_broken(found.func, how))
            replacement.__set_name__(target, name)
        else:
            replacement = _broken(found, how)
        setattr(target, name, replacement)
        undo.append(functools.partial(setattr, target, name, found))


def _is_method(value):
    return inspect.isfunction(value) or isinstance(
        value, (property, staticmethod, classmethod, functools.cached_property)
    )


def _scaled(result, factor):
    """``result`` with all numbers multiplied; kinds and shapes stay, counts and truth values become 0 or their negative."""
    import numpy as np

    if result is None or isinstance(result, (str, bytes)):
        return result
    if isinstance(result, (bool, np.bool_)):
        return False if factor == 0 else not result
    if isinstance(result, (int, float, complex, np.number)):
        return type(result)(0) if factor == 0 else -result
    if hasattr(result, "detach"):
        return (result & False if factor == 0 else ~result) if "bool" in str(result.dtype) else result * int(factor)
    if isinstance(result, np.ndarray) and result.dtype.kind in "biufc":
        return (
            (result & False if factor == 0 else ~result)
            if result.dtype.kind == "b"
            else result * result.dtype.type(factor)
        )
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return _scaled_dataclass(result, factor)
    if isinstance(result, dict):
        return type(result)({key: _scaled(item, factor) for key, item in result.items()})
    if isinstance(result, tuple):
        items = [_scaled(item, factor) for item in result]
        return type(result)(*items) if hasattr(result, "_fields") else tuple(items)
    if isinstance(result, list):
        return [_scaled(item, factor) for item in result]
    if type(result).__module__.split(".")[0] == "pandas":
        numeric = result.select_dtypes("number").columns if hasattr(result, "select_dtypes") else None
        return (
            result.assign(**{name: result[name] * factor for name in numeric})
            if numeric is not None
            else result * factor
        )
    return _scaled_object(result, factor)


def _scaled_dataclass(result, factor):
    import copy

    found = copy.copy(result)
    for item in dataclasses.fields(result):
        object.__setattr__(found, item.name, _scaled(getattr(result, item.name), factor))
    return found


def _scaled_object(result, factor):
    """A shallow copy of a plain object of ``lab`` with its attributes scaled; anything else unchanged."""
    import copy

    if type(result).__module__.split(".")[0] != "lab" or not hasattr(result, "__dict__") or callable(result):
        return result
    found = copy.copy(result)
    for name, value in vars(result).items():
        object.__setattr__(found, name, _scaled(value, factor))
    return found
