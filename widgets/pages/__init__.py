"""Dashboard pages, one module a method, found by contract.

A page is a module ``widgets/pages/<method>.py`` with

- ``TITLE``: the title that a visitor reads;
- ``ROUTE``: its place in the address, kebab-case;
- ``METHOD``: the catalog id, the prefix of its claims;
- ``build(state) -> Viewable``: the page at a state. ``state`` holds plain JSON values; missing keys are defaults, wrong
  ones are refused in words (``ValueError``, ``TypeError``). :func:`sync` does all of that.

The whole of a page::

    import panel as pn
    from lab import topology
    from widgets import figures, pages

    TITLE, ROUTE, METHOD = "Betti matching", "betti-matching", "betti_matching"
    QUESTION = "Which loops of the prediction exist in the label, and at the same place?"

    def build(state):
        widgets = {
            "threshold": pn.widgets.FloatSlider(label="Threshold", start=0, end=1, step=0.01, value=0.5),   # the main control
            "image": pn.widgets.Select(label="Image", options=["retina", "coins"], value="coins"),
        }
        pages.sync(widgets, state)                                    # from the URL, and back into it
        overlay, bars, table = pages.plot(label="overlay"), pages.plot(label="barcodes"), pages.numbers()
        notice = pages.react(widgets, draw, overlay, bars, table)     # draws now and on every change
        return pages.layout(TITLE, QUESTION, widgets, [pages.row(overlay, bars), table], notice=notice, method=METHOD)

    def draw(threshold, image, theme):                                # plain function: values in, objects out
        result = ...
        return figures.topology.overlay(result, theme=theme), figures.topology.barcodes(result, theme=theme), result.to_frame()

``draw`` runs in a worker thread, the last of many changes wins, and its ``ValueError`` appears in words on the page. Give
:func:`plot` a ``height`` where 420 pixels do not fit. For files of a visitor see :mod:`widgets.server.uploads`; for work beyond a
few seconds submit a notebook instead (``lab.report.submit``). A pointer's position is ``plot.param.watch(f, "hover_data")``.

The last cell of the method's notebook is ``widgets.pages.show("betti_matching", {"image": image})``: it keeps the page's
figures and numbers as static output and a record of page and state, from which ``lab serve RUN`` rebuilds the view.

Modules whose name starts with an underscore hold the frame and are no pages.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import panel as pn

from lab import checks
from widgets.pages._anatomy import as_frame, note, numbers, plot, row, table_html
from widgets.pages._controls import controls
from widgets.pages._layout import layout
from widgets.pages._state import Notice, address, query, react, run_of_address, sync, theme, values
from widgets.pages._static import page_of_notebook, show, static

__all__ = [
    "Notice", "Page", "address", "as_frame", "controls", "discover", "find", "layout", "note", "numbers", "page_of_notebook",
    "plot", "query", "react", "row", "run_of_address", "show", "static", "survey", "sync", "table_html", "theme", "values",
]  # fmt: skip


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
    return tuple(sorted(item.name for item in pkgutil.iter_modules(__path__) if not item.name.startswith("_")))


def find(name: str) -> Page:
    """The page of the module ``name``; ``ValueError`` where there is none or it breaks the contract."""
    checks.choice("page", name, names())
    return _checked(importlib.import_module(f"{__name__}.{name}"))


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
