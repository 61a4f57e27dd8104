"""Pages found by contract: modules of this package, checked, none taking another with it."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import panel as pn

from lab import checks


@dataclass(frozen=True)
class Page:
    """A page found by contract. ``name`` is its module's name, ``build`` its function."""

    name: str
    title: str
    route: str
    method: str
    build: Callable[[dict], pn.viewable.Viewable]


def names() -> tuple[str, ...]:
    """The names of all page modules; nothing is imported."""
    return tuple(
        sorted(
            item.name
            for item in pkgutil.iter_modules(sys.modules[__package__].__path__)
            if not item.name.startswith("_")
        )
    )


def find(name: str) -> Page:
    """The page of the module ``name``; ``ValueError`` where there is none or it breaks the contract."""
    checks.choice("page", name, names())
    return _checked(importlib.import_module(f"{__package__}.{name}"))


def discover() -> dict[str, Page]:
    """All pages by route.

    Raises:
        ValueError: a module that breaks the contract, or two pages with one route.
    """
    found: dict[str, Page] = {}
    for name in names():
        _add(found, find(name))
    return found


def survey(taken: Sequence[str] = ()) -> tuple[dict[str, Page], dict[str, str]]:
    """The pages that work, by route, and why each other module is none: ``{module: reason}``.

    One broken page takes no other with it. ``taken`` are routes that no page may have.
    """
    found: dict[str, Page] = {}
    broken: dict[str, str] = {}
    for name in names():
        try:
            page = find(name)
            if page.route in taken:
                raise ValueError(f"the ROUTE {page.route!r} belongs to the application")
            _add(found, page)
        except Exception as error:  # whatever a module does when it is imported
            broken[name] = f"{type(error).__name__}: {error}"
    return found, broken


def _add(found: dict[str, Page], page: Page) -> None:
    if page.route in found:
        raise ValueError(f"pages {found[page.route].name} and {page.name} have the same ROUTE {page.route!r}")
    found[page.route] = page


def _checked(module) -> Page:
    name = module.__name__.rpartition(".")[2]
    for constant in ("TITLE", "ROUTE", "METHOD"):
        value = getattr(module, constant, None)
        if not isinstance(value, str) or not value:
            raise ValueError(f"widgets/pages/{name}.py must define {constant} as a non-empty string, got {value!r}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", module.ROUTE):
        raise ValueError(f"widgets/pages/{name}.py: ROUTE must be kebab-case, got {module.ROUTE!r}")
    if not callable(getattr(module, "build", None)):
        raise ValueError(f"widgets/pages/{name}.py must define build(state)")
    return Page(name, module.TITLE, module.ROUTE, module.METHOD, module.build)
