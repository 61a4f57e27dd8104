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

The frame adds what every page has: a picture of the default state in the page itself (``python -m tests.browser.stills PAGE``
draws it anew; ``STILL = False`` for a page that measures time), the answer in words and tiles of numbers above the figures
(``layout(answer=..., tiles=...)`` and ``numbers(metrics={"name": pages.Metric("meaning", "unit", "lower")})`` where the titles
and :mod:`widgets.pages._metrics` say too little), a menu of what can be taken along, and the claims with 'measure now'.
:func:`at` is the same page without a server.

The last cell of the method's notebook is ``widgets.pages.show("betti_matching", {"image": image})``: it keeps the page's
figures and numbers as static output and a record of page and state, from which ``lab serve RUN`` rebuilds the view.

Modules whose name starts with an underscore hold the frame and are no pages.
"""

from widgets.pages._anatomy import as_frame, note, numbers, plot, row, table_html
from widgets.pages._controls import controls
from widgets.pages._discovery import Page, discover, find, names, survey
from widgets.pages._layout import layout
from widgets.pages._metrics import Metric
from widgets.pages._record import page_of_notebook
from widgets.pages._state import Notice, address, query, react, run_of_address, sync, theme, values
from widgets.pages._static import at, show, static

__all__ = [
    "Metric", "Notice", "Page", "address", "as_frame", "at", "controls", "discover", "find", "layout", "names", "note", "numbers",
    "page_of_notebook", "plot", "query", "react", "row", "run_of_address", "show", "static", "survey", "sync", "table_html",
    "theme", "values",
]  # fmt: skip
