"""The one anatomy of a page: question, controls, figures, numbers, explanation, source and claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd
import panel as pn
import plotly.graph_objects as go

from lab import claims
from widgets.pages._glossary import mark

PLOT_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
}
_STATUS_CLASS = {"holds": "holds", "holds at small scale": "holds", "does not hold": "fails"}


class Plot(pn.pane.Plotly):
    """A figure with export to PNG, SVG and CSV under it. ``plot.object = figure`` shows another figure.

    ``hover_data``, ``click_data``, ``selected_data`` report the visitor's pointer, as for any Plotly pane.
    """

    priority = None


class Numbers(pn.pane.HTML):
    """A table of numbers. ``object`` is a ``DataFrame``, a list of rows (dicts) or a dict ``{name: value}``."""

    priority = None

    @classmethod
    def applies(cls, obj):
        return obj is None or isinstance(obj, (pd.DataFrame, Mapping, list, str))

    @property
    def frame(self) -> pd.DataFrame:
        """The numbers as a table, unrounded."""
        return as_frame(self.object)

    def _transform_object(self, obj):
        text = "" if obj is None else obj if isinstance(obj, str) else table_html(as_frame(obj))
        return super()._transform_object(text)


def as_frame(value) -> pd.DataFrame:
    """``value`` (a frame, rows or ``{name: value}``) as a ``DataFrame``."""
    if value is None or isinstance(value, str):
        return pd.DataFrame()
    if isinstance(value, Mapping):
        return pd.DataFrame({"quantity": list(value), "value": list(value.values())})
    return value if isinstance(value, pd.DataFrame) else pd.DataFrame(value)


def table_html(frame: pd.DataFrame) -> str:
    """An accessible HTML table: four significant digits, the full number in the cell's title, glossary terms explained."""
    head = "".join(f'<th scope="col">{mark(str(name))}</th>' for name in frame.columns)
    rows = []
    for record in frame.itertuples(index=False):
        cells = "".join(_cell(value, first=i == 0) for i, value in enumerate(record))
        rows.append(f"<tr>{cells}</tr>")
    body = "".join(rows)
    return (
        '<div class="lab-table" tabindex="0" role="region" aria-label="numbers">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value, *, first: bool) -> str:
    if isinstance(value, bool):
        text, title, kind = ("yes" if value else "no"), "", "text"
    elif isinstance(value, (int, float)) or hasattr(value, "__float__"):
        number = float(value)
        text = f"{int(number):,}" if number == number and number == int(number) and abs(number) < 1e15 and not isinstance(value, float) else f"{number:.4g}"
        title, kind = repr(value if isinstance(value, (int, float)) else number), "number"
    else:
        text, title, kind = (mark(str(value)) if first else escape(str(value))), "", "text"
    text = text.replace("-", "\u2212", 1) if kind == "number" and text.startswith("-") else text
    attribute = f' title="{escape(title)}"' if title and title != text else ""
    return f'<th scope="row">{text}</th>' if first and kind == "text" else f'<td class="{kind}"{attribute}>{text}</td>'


def plot(figure: go.Figure | None = None, *, height: int = 420, label: str = "figure", **events) -> Plot:
    """A pane for a figure. ``label`` names it for screen readers.

    ``events`` are parameters of the pane, for example ``link_figure=False``.
    """
    styles = {"min-height": f"{height}px"}
    return Plot(
        figure, config=dict(PLOT_CONFIG), height=height, sizing_mode="stretch_width", css_classes=["lab-plot"], name=label,
        styles=styles, **events,
    )


def numbers(value=None, *, label: str = "numbers") -> Numbers:
    """A pane for a table of numbers: a ``DataFrame``, rows, or ``{name: value}``."""
    return Numbers(value, sizing_mode="stretch_width", css_classes=["lab-numbers"], name=label)


def note(markdown: str) -> pn.pane.Markdown:
    """A paragraph of explanation; Markdown with glossary terms explained on hover and focus."""
    return pn.pane.Markdown(mark(markdown, html=False), sizing_mode="stretch_width", css_classes=["lab-note"])


def row(*items, weights: Sequence[int] | None = None) -> pn.FlexBox:
    """Items side by side on a wide screen, below one another on a phone. ``weights`` share the width."""
    weights = [1] * len(items) if weights is None else list(weights)
    if len(weights) != len(items):
        raise ValueError(f"weights must have one number an item, got {len(weights)} for {len(items)} items")
    cells = [
        pn.Column(item, sizing_mode="stretch_width", css_classes=["lab-cell"],
                  styles={"flex": f"{weight} 1 {320 if weight > 0 else 0}px", "min-width": "min(100%, 300px)"})
        for item, weight in zip(items, weights)
    ]
    return pn.FlexBox(*cells, sizing_mode="stretch_width", css_classes=["lab-row"], gap="16px")


def layout(title: str, question: str, controls, main, *, notice=None, method: str = "", explanation: str = "") -> pn.Column:
    """The page: a question on top, controls at the left (above on a phone), figures and numbers, explanation, claims.

    Args:
        title: the page's title.
        question: one sentence, what the page answers.
        controls: the widgets, a sequence or the mapping given to :func:`sync`; the main control comes first.
        main: a viewable or a sequence of viewables (figures, numbers, :func:`row`).
        notice: what :func:`react` returned; refusals appear there, above the figures.
        method: the catalog id; its source and its claims are listed at the end.
        explanation: Markdown, a few sentences on how to read the figures.
    """
    controls = list(controls.values()) if isinstance(controls, Mapping) else list(controls)
    main = list(main) if isinstance(main, (list, tuple)) else [main]
    for control in controls:
        if isinstance(control, pn.widgets.Widget) and getattr(control, "width", None) in (None, 300):
            control.sizing_mode = "stretch_width"
    head = pn.pane.HTML(
        f"<header><h1>{escape(title)}</h1><p>{mark(question)}</p></header>", css_classes=["lab-head"], sizing_mode="stretch_width"
    )
    side = pn.Column(*controls, css_classes=["lab-controls"], name="Controls", styles={"flex": "0 0 280px"})
    middle = pn.Column(
        *([notice] if notice is not None else []), *main, *([note(explanation)] if explanation else []),
        css_classes=["lab-main"], sizing_mode="stretch_width", styles={"flex": "1 1 480px", "min-width": "0"},
    )
    body = pn.FlexBox(side, middle, css_classes=["lab-body"], sizing_mode="stretch_width", gap="24px", flex_wrap="wrap")
    foot = [claims_pane(method)] if method else []
    return pn.Column(head, body, *foot, css_classes=["lab-page"], sizing_mode="stretch_width", name=title)


def claims_pane(method_id: str, measured: Mapping[str, dict] | None = None) -> pn.pane.HTML:
    """The claims of a method with their status: from ``measured`` ``{claim id: record}``, else 'not run'."""
    found = [method for method in claims.methods() if method.id == method_id]
    if not found:
        return pn.pane.HTML("", visible=False)
    (method,) = found
    rows = "".join(_claim_row(claim, (measured or {}).get(claim.id)) for claim in method.claims)
    source = f'<p class="lab-source">{escape(method.source)}</p>'
    return pn.pane.HTML(
        f"<section><h2>What is claimed</h2>{source}<ul class='lab-claims'>{rows}</ul></section>",
        css_classes=["lab-foot"], sizing_mode="stretch_width",
    )


def claim_status(claim: claims.Claim, record: Mapping | None) -> str:
    """The status of a claim given its latest record, in the ledger's words."""
    if claim.untestable:
        return "not testable here"
    return str(record["status"]) if record and "status" in record else "not run"


def _claim_row(claim, record) -> str:
    status = claim_status(claim, record)
    number = ""
    if record and isinstance(record.get("value"), (int, float)):
        unit = f" {claim.unit}" if claim.unit else ""
        number = f'<span class="lab-claim-value">{record["value"]:.4g}{escape(unit)}</span>'
    reason = f"<small>{escape(claim.untestable)}</small>" if claim.untestable else ""
    kind = _STATUS_CLASS.get(status, "not-run")
    return (
        f'<li><span class="lab-status {kind}">{escape(status)}</span> {number}'
        f"<span>{mark(claim.text)}</span> <code>{escape(claim.id)}</code>{reason}</li>"
    )
