"""``explore(method)``: sliders and figures in JupyterLab for any method of the catalog.

A method with a page brings the page's controls and its draw function. A method with a notebook only brings the notebook's
typed parameters and a button that runs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from html import escape

import ipywidgets
import panel as pn
import plotly.graph_objects as go

from lab import claims
from widgets import pages
from widgets.pages import Notice

_WIDTH = {"width": "340px"}
_STYLE = {"description_width": "130px"}


class Explorer:
    """Controls and figures that follow each other; the last expression of a cell.

    ``controls`` maps names to ipywidgets, ``figures`` holds the ``FigureWidget`` of each figure, ``values`` the present
    state; setting ``explorer.controls[name].value`` moves the figures as the mouse does.
    """

    def __init__(self, title: str, controls: Mapping[str, ipywidgets.Widget], draw: Callable[[dict], list]):
        self.title, self.controls, self._draw = title, dict(controls), draw
        self._message = ipywidgets.HTML()
        self._tables = ipywidgets.HTML()
        shown = self._results()
        self.figures = [live(item) for item in shown if isinstance(item, go.Figure)]
        self._tables.value = _tables(shown)
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        heading = ipywidgets.HTML(f"<b>{escape(title)}</b>")
        side = ipywidgets.VBox([heading, *self.controls.values(), self._message], layout={"min_width": "360px"})
        main = ipywidgets.VBox([*self.figures, self._tables], layout={"flex": "1 1 auto"})
        self.view = ipywidgets.HBox([side, main])

    @property
    def values(self) -> dict:
        """The controls' present values."""
        return {name: control.value for name, control in self.controls.items()}

    def static(self) -> list[go.Figure]:
        """The present figures without their widgets."""
        return [go.Figure(figure) for figure in self.figures]

    def _results(self) -> list:
        return self._draw(self.values)

    def _changed(self, _):
        try:
            shown = self._results()
        except (ValueError, TypeError) as error:
            self._message.value = f'<span style="color:#D55E00">{escape(str(error))}</span>'
            return
        self._message.value = ""
        self._tables.value = _tables(shown)
        for widget, figure in zip(self.figures, (item for item in shown if isinstance(item, go.Figure))):
            _replace(widget, figure)

    def _ipython_display_(self):
        from IPython.display import display

        if os.environ.get("LAB_RUN_FOLDER"):
            for figure in self.static():
                display(figure)
            if self._tables.value:
                display({"text/html": self._tables.value, "text/plain": self.title}, raw=True)
            return
        # a host without widgets (a plain papermill run, a viewer) falls back to the first figure
        bundle = dict(self.view._repr_mimebundle_())
        if self.figures:
            bundle["application/vnd.plotly.v1+json"] = go.Figure(self.figures[0]).to_plotly_json()
        display(bundle, raw=True)


def explore(method: str, **state) -> Explorer | NotebookExplorer:
    """An explorer of a method of the catalog, at ``state``.

    Args:
        method: the catalog id (``"betti_matching"``); ``lab list`` names them.
        state: values of the page's controls or of the notebook's parameters that differ from their defaults.

    Raises:
        ValueError: an unknown method or setting (with the nearest one), or a method that has neither page nor notebook.
    """
    from lab.report.store.layout import project_root

    found = claims.method(method)
    if found.page and found.page in pages.names():
        return of_page(found.page, state)
    if found.notebook and (project_root() / found.notebook).is_file():
        return NotebookExplorer(found.title, project_root() / found.notebook, state)
    raise ValueError(f"method {method!r} has neither a page nor a notebook yet")


def of_page(name: str, state: Mapping | None = None) -> Explorer:
    """The explorer of a page: its controls, its draw function, its figures and numbers.

    Raises:
        ValueError: a page that draws without :func:`widgets.pages.react`, or a state that it refuses.
    """
    page = pages.find(name)
    notices = [pane for pane in page.build(dict(state or {})).select(Notice) if pane.reaction is not None]
    if not notices:
        raise ValueError(f"page {name!r} does not draw through widgets.pages.react and has no explorer")
    reaction = notices[0].reaction
    controls = {key: twin(widget) for key, widget in reaction.widgets.items() if isinstance(widget, pn.widgets.Widget)}
    fixed = {key: widget.value for key, widget in reaction.widgets.items() if key not in controls}

    def draw(values):
        results = reaction.call({**fixed, **values}, "light")
        return list(results) if isinstance(results, tuple) else [results]

    return Explorer(page.title, controls, draw)


def twin(widget: pn.widgets.Widget) -> ipywidgets.Widget:
    """The ipywidget with a Panel widget's name, range and value.

    Raises:
        TypeError: a widget that has no twin.
    """
    common = {"description": widget.label or widget.name, "layout": dict(_WIDTH), "style": dict(_STYLE)}
    if isinstance(widget, (pn.widgets.RangeSlider, pn.widgets.IntRangeSlider)):
        kind = (
            ipywidgets.IntRangeSlider if isinstance(widget, pn.widgets.IntRangeSlider) else ipywidgets.FloatRangeSlider
        )
        return kind(
            min=widget.start, max=widget.end, step=widget.step, value=widget.value, continuous_update=False, **common
        )
    if isinstance(widget, pn.widgets.IntSlider):
        return ipywidgets.IntSlider(
            min=widget.start, max=widget.end, step=widget.step, value=widget.value, continuous_update=False, **common
        )
    if isinstance(widget, pn.widgets.FloatSlider):
        return ipywidgets.FloatSlider(
            min=widget.start, max=widget.end, step=widget.step, value=widget.value, continuous_update=False, **common
        )
    if isinstance(widget, pn.widgets.DiscreteSlider):
        return ipywidgets.SelectionSlider(options=_pairs(widget), value=widget.value, continuous_update=False, **common)
    if isinstance(
        widget, (pn.widgets.MultiSelect, pn.widgets.CheckBoxGroup, pn.widgets.CheckButtonGroup, pn.widgets.MultiChoice)
    ):
        return ipywidgets.SelectMultiple(options=_pairs(widget), value=tuple(widget.value), **common)
    if hasattr(widget, "options"):
        return ipywidgets.Dropdown(options=_pairs(widget), value=widget.value, **common)
    if isinstance(widget, (pn.widgets.Checkbox, pn.widgets.Switch, pn.widgets.Toggle)):
        return ipywidgets.Checkbox(value=widget.value, **common)
    if isinstance(widget, pn.widgets.IntInput):
        return _bounded(ipywidgets.IntText, ipywidgets.BoundedIntText, widget, common)
    if isinstance(widget, pn.widgets.FloatInput):
        return _bounded(ipywidgets.FloatText, ipywidgets.BoundedFloatText, widget, common)
    if isinstance(widget, (pn.widgets.TextInput, pn.widgets.TextAreaInput)):
        return ipywidgets.Text(value=widget.value, continuous_update=False, **common)
    raise TypeError(f"a {type(widget).__name__} has no twin in ipywidgets")


def _pairs(widget) -> list[tuple[str, object]]:
    options = widget.options
    return list(options.items()) if isinstance(options, Mapping) else [(str(option), option) for option in options]


def _bounded(free, bounded, widget, common):
    if widget.start is None or widget.end is None:
        return free(value=widget.value, **common)
    return bounded(value=widget.value, min=widget.start, max=widget.end, **common)


def live(figure: go.Figure) -> go.FigureWidget:
    """The figure as a widget that opens its channel to the browser with everything in it.

    A new ``FigureWidget`` opens its channel first and is filled after, and a browser that draws in between shows empty axes
    for good; so the channel is opened once more.
    """
    widget = go.FigureWidget(figure)
    widget._config = {**widget._config, "showSendToCloud": False, "displaylogo": False}
    if widget.comm is not None:
        widget.comm.close()
        widget.comm = None
        widget.open()
    return widget


def _replace(widget: go.FigureWidget, figure: go.Figure) -> None:
    same = [trace.type for trace in widget.data] == [trace.type for trace in figure.data]
    with widget.batch_update():
        if same:
            for old, new in zip(widget.data, figure.data):
                old.update(new.to_plotly_json(), overwrite=True)
        widget.layout.update(figure.layout.to_plotly_json(), overwrite=True)
    if not same:
        widget.data = []
        widget.add_traces(list(figure.data))


def _tables(shown) -> str:
    frames = [pages.as_frame(item) for item in shown if not isinstance(item, (go.Figure, str)) and item is not None]
    return "".join(pages.table_html(frame, glossary=False) for frame in frames if len(frame))


class NotebookExplorer:
    """The typed parameters of a notebook as ipywidgets and a button that runs it; figures of the run appear below."""

    def __init__(self, title: str, notebook, state: Mapping | None = None):
        from widgets.pages._jobs import Form

        self.title, self.notebook = title, notebook
        self._form = Form(notebook, dict(state or {}))
        self.controls = {name: twin(widget) for name, widget in self._form.widgets.items()}
        for name, control in self.controls.items():
            control.description = name
        self._message = ipywidgets.HTML()
        self._output = ipywidgets.Output()
        button = ipywidgets.Button(description="Run", button_style="")
        button.on_click(lambda _: self.run())
        heading = ipywidgets.HTML(f"<b>{escape(title)}</b>")
        side = ipywidgets.VBox([heading, *self.controls.values(), button, self._message], layout={"min_width": "360px"})
        self.view = ipywidgets.HBox([side, self._output])

    @property
    def values(self) -> dict:
        """The parameters that differ from their defaults, accepted; ``ParameterError`` for one that is refused."""
        for name, control in self.controls.items():
            self._form.widgets[name].value = control.value
        return self._form.values()

    def run(self):
        """Run the notebook at the present values, show its figures, and return the run (``None`` if it is refused)."""
        from IPython.display import clear_output, display

        from lab.report import submit

        try:
            job = submit(self.notebook, self.values)
        except ValueError as error:
            self._message.value = f'<span style="color:#D55E00">{escape(str(error))}</span>'
            return None
        for event in job.events():
            self._message.value = f"cell {event.cell} of {event.cells}" if event.cells else event.kind
        run = job.result()
        self._message.value = escape(f"{run.id}: {run.status} {(run.error or {}).get('message', '')}")
        with self._output:
            clear_output(wait=True)
            for path in run.figures():
                display(live(_figure(path)))
        return run

    def _ipython_display_(self):
        from IPython.display import display

        if os.environ.get("LAB_RUN_FOLDER"):
            values = ", ".join(f"{name} = {control.value!r}" for name, control in self.controls.items())
            display({"text/plain": f"{self.title}: {values}"}, raw=True)
            return
        display(self.view)


def _figure(path) -> go.Figure:
    import json

    return go.Figure(json.loads(path.read_text(encoding="utf-8")), skip_invalid=True)
