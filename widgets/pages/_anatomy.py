"""The parts of a page: figures, tables of numbers, notes, rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd
import panel as pn
import plotly.graph_objects as go

from widgets.pages._glossary import mark
from widgets.pages._metrics import Metric

_COORDINATES = ("x", "y", "z")
PLOT_CONFIG = {
    "displaylogo": False,
    "showSendToCloud": False,  # nothing leaves the machine
    "responsive": True,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
}


class Plot(pn.pane.Plotly):
    """A figure; ``plot.object = figure`` shows another one. Its bar of buttons saves it as PNG and SVG and its data as CSV.

    ``hover_data``, ``click_data``, ``selected_data`` report the visitor's pointer, as for any Plotly pane.
    """

    priority = -1  # never chosen for an object by itself

    def _to_figure(self, obj):
        """A figure as it is; asking whether it is a widget too would import Jupyter."""
        return obj if isinstance(obj, go.Figure) else super()._to_figure(obj)

    @classmethod
    def _plotly_json_wrapper(cls, fig):
        """The figure's content with lists of numbers as arrays, which travel as bytes."""
        content = super()._plotly_json_wrapper(fig)
        for trace in content["data"]:
            for key in _COORDINATES:
                if isinstance(trace.get(key), (list, tuple)):
                    values = np.asarray(trace[key], dtype=object)
                    if values.ndim == 1 and len(values) and all(type(value) in (int, float) for value in values):
                        trace[key] = np.asarray(trace[key], dtype=float)
        return content


class Numbers(pn.pane.HTML):
    """A table of numbers. ``object`` is a ``DataFrame``, a list of rows (dicts) or a dict ``{name: value}``."""

    priority = -1  # never chosen for an object by itself
    metrics: Mapping[str, Metric] = {}

    @classmethod
    def applies(cls, obj):
        return obj is None or isinstance(obj, (pd.DataFrame, Mapping, list, str))

    @property
    def frame(self) -> pd.DataFrame:
        """The numbers as a table, unrounded."""
        return as_frame(self.object)

    def _transform_object(self, obj):
        text = "" if obj is None else obj if isinstance(obj, str) else table_html(as_frame(obj), label=self.name)
        return super()._transform_object(text)


def as_frame(value) -> pd.DataFrame:
    """``value`` (a frame, rows or ``{name: value}``) as a ``DataFrame``."""
    if value is None or isinstance(value, str):
        return pd.DataFrame()
    if isinstance(value, Mapping):
        return pd.DataFrame({"quantity": list(value), "value": list(value.values())})
    return value if isinstance(value, pd.DataFrame) else pd.DataFrame(value)


def table_html(frame: pd.DataFrame, *, glossary: bool = True, label: str = "numbers") -> str:
    """An accessible HTML table: four significant digits, the full number in the cell's title.

    ``label`` names it for screen readers, another name for each table of a page. ``glossary=True`` explains terms, which
    needs the stylesheet of the pages; a notebook's output goes without.
    """
    word = mark if glossary else escape
    numeric = [all(_is_number(value) for value in frame[name]) and len(frame) > 0 for name in frame.columns]
    head = "".join(
        f'<th scope="col"{_number_class(is_numeric)}>{word(str(name))}</th>'
        for name, is_numeric in zip(frame.columns, numeric)
    )
    rows = []
    for record in frame.itertuples(index=False, name=None):
        cells = "".join(_cell(value, word, first=i == 0) for i, value in enumerate(record))
        rows.append(f"<tr>{cells}</tr>")
    return (
        '<div class="lab-table" tabindex="0" role="region" aria-label="' + escape(label) + '">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _is_number(value) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (bool, str))


def _number_class(is_numeric: bool) -> str:
    return ' class="number"' if is_numeric else ""


def _cell(value, word, *, first: bool) -> str:
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if _is_number(value):
        text = number_text(value)
        title = f' title="{float(value)!r}"' if "." in text or "e" in text else ""
        return f'<td class="number"{title}>{text}</td>'
    if value is None:
        return "<td></td>"
    return f'<th scope="row">{word(str(value))}</th>' if first else f"<td>{word(str(value))}</td>"


def number_text(value) -> str:
    """Four significant digits; whole numbers in full with thousands separated; a true minus sign."""
    number = float(value)
    whole = math.isfinite(number) and number == int(number) and abs(number) < 1e15
    text = f"{int(number):,}" if whole else f"{number:.4g}"
    return text.replace("-", "\u2212", 1) if text.startswith("-") else text


def plot(figure: go.Figure | None = None, *, height: int = 420, label: str = "figure", **events) -> Plot:
    """A pane for a figure. ``label`` names it for screen readers.

    ``events`` are parameters of the pane; a figure that is changed in place is followed with ``link_figure=True``.
    """
    return Plot(
        figure,
        config=dict(PLOT_CONFIG),
        height=height,
        sizing_mode="stretch_width",
        css_classes=["lab-plot"],
        margin=0,
        name=label,
        **{"link_figure": False, **events},
    )


def numbers(value=None, *, label: str = "numbers", metrics: Mapping[str, Metric] | None = None) -> Numbers:
    """A pane for a table of numbers: a ``DataFrame``, rows, or ``{name: value}``.

    ``metrics`` says of the page's own numbers what they mean, where :mod:`widgets.pages._metrics` does not or says too little.
    """
    pane = Numbers(value, sizing_mode="stretch_width", css_classes=["lab-numbers"], margin=0, name=label)
    pane.metrics = dict(metrics or {})
    return pane


def note(markdown: str) -> pn.pane.Markdown:
    """A paragraph of explanation; Markdown with glossary terms explained on hover and focus."""
    text = mark(markdown, html=False)
    return pn.pane.Markdown(text, sizing_mode="stretch_width", css_classes=["lab-note"], margin=0)


def row(*items, weights: Sequence[int] | None = None) -> pn.FlexBox:
    """Items side by side on a wide screen, below one another on a phone. ``weights`` share the width."""
    weights = [1] * len(items) if weights is None else list(weights)
    if len(weights) != len(items):
        raise ValueError(f"weights must have one number an item, got {len(weights)} for {len(items)} items")
    cells = [
        pn.Column(
            item,
            sizing_mode="stretch_width",
            css_classes=["lab-cell"],
            margin=0,
            styles={"flex": f"{weight} 1 300px", "min-width": "min(100%, 300px)"},
        )
        for item, weight in zip(items, weights)
    ]
    return pn.FlexBox(*cells, sizing_mode="stretch_width", css_classes=["lab-row"], gap="16px", margin=0)
