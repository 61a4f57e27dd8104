"""The one anatomy of a page: question, controls, figures and numbers, explanation, claims."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import panel as pn

from lab import claims
from lab.report.store.standing import Row
from widgets.pages import _studies
from widgets.pages._anatomy import Numbers, Plot, note
from widgets.pages._glossary import mark
from widgets.pages._measuring import BUDGETS, claims_list, offered
from widgets.pages._measuring import status_badge as status_badge
from widgets.pages._summary import Summary

_FOLD = '<button type="button" class="lab-fold" data-lab-fold aria-expanded="false">All controls</button>'  # seen on a phone


def layout(
    title: str,
    question: str,
    controls,
    main,
    *,
    notice=None,
    method: str = "",
    explanation: str = "",
    answer=None,
    tiles=None,
) -> pn.Column:
    """The page: a question on top, controls at the left (below on a phone), the answer, figures and numbers, claims.

    The answer is a sentence and tiles: by default the titles of the first figures, and the numbers of the tables with what
    they mean (:mod:`widgets.pages._metrics`).

    Args:
        title: the page's title.
        question: one sentence, what the page answers.
        controls: the widgets, a sequence or the mapping given to :func:`sync`; the main control comes first.
        main: a viewable or a sequence of viewables (figures, numbers, :func:`row`).
        notice: what :func:`react` returned; refusals appear there, above the figures.
        method: the catalog id; its source and its claims, as last measured, are listed at the end.
        explanation: Markdown, a few sentences on how to read the figures.
        answer: a function of the tables of numbers (frames) that returns the answer in words.
        tiles: a function of the tables that returns the numbers to show, ``{name: value or (value, whose)}``.
    """
    controls = list(controls.values()) if isinstance(controls, Mapping) else list(controls)
    main = list(main) if isinstance(main, (list, tuple)) else [main]
    for control in controls:
        if isinstance(control, pn.widgets.Widget) and control.width in (None, 300):
            control.param.update(sizing_mode="stretch_width", margin=(4, 0))
    for control in controls[1:]:
        control = control.__panel__() if isinstance(control, pn.viewable.Viewer) else control
        control.css_classes = [*(control.css_classes or []), "lab-more"]
    fold = [html(_FOLD, "lab-fold-host")] if len(controls) > 1 else []
    side = pn.Column(
        *fold, *controls, css_classes=["lab-controls"], margin=0, styles={"flex": "0 0 300px", "min-width": "0"}
    )
    summary = _summary(notice, main, answer, tiles)
    middle = pn.Column(
        *([notice] if notice is not None else []),
        *([summary] if summary is not None else []),
        *main,
        *([note(explanation)] if explanation else []),
        css_classes=["lab-main"],
        sizing_mode="stretch_width",
        margin=0,
        styles={"flex": "1 1 480px", "min-width": "0"},
    )
    items = [side, middle] if controls else [middle]
    body = pn.FlexBox(*items, css_classes=["lab-body"], sizing_mode="stretch_width", gap="24px", margin=0)
    foot = [claims_pane(method)] if method else []
    return pn.Column(
        head(title, question), body, *foot, css_classes=["lab-page"], sizing_mode="stretch_width", name=title, margin=0
    )


def _summary(notice, main, answer, tiles) -> Summary | None:
    """The answer above the figures, which follows what :func:`react` draws."""
    reaction = getattr(notice, "reaction", None)
    if reaction is None:
        return None
    figures = [pane for pane in reaction.panes if isinstance(pane, Plot)]
    tables = [pane for pane in reaction.panes if isinstance(pane, Numbers)]
    summary = Summary(answer, tiles, {name: metric for pane in tables for name, metric in pane.metrics.items()})

    def follow():
        drawn = [pane.object.layout.title.text or "" for pane in figures if pane.object is not None]
        summary.tell(drawn, [pane.frame for pane in tables])
        for pane in tables:
            pane.visible = not summary.covers(pane.frame)

    notice.followers.append(follow)
    if any(pane.object is not None for pane in reaction.panes):
        follow()
    return summary


def head(title: str, question: str = "", kicker: str = "") -> pn.pane.HTML:
    """Title and question of a page. ``kicker`` is HTML above the title."""
    sentence = f"<p>{mark(question)}</p>" if question else ""
    return html(f"<header>{kicker}<h1>{escape(title)}</h1>{sentence}</header>", "lab-head")


def html(text: str, *classes: str, **parameters) -> pn.pane.HTML:
    """Trusted HTML as wide as its place."""
    return pn.pane.HTML(text, css_classes=list(classes), sizing_mode="stretch_width", margin=0, **parameters)


def claims_pane(method_id: str, rows: Mapping[str, Row] | None = None) -> pn.pane.HTML:
    """The claims of a method and their status: of ``rows`` ``{claim id: row}``, else as last measured on this machine."""
    found = [method for method in claims.methods() if method.id == method_id]
    if not found:
        return html("", visible=False)
    (method,) = found
    if rows is None:
        rows = _studies.index().rows
    source = f'<p class="lab-source">{escape(method.source)}</p>'
    words = f"<section><h2>Claims and measurements</h2>{source}{_budgets()}{claims_list(method, rows)}</section>"
    return html(words, "lab-foot")


def _budgets() -> str:
    """The choice of how thoroughly a claim is measured, where visitors may measure."""
    if not offered["measure"]:
        return ""
    words = {"smoke": "seconds, two replicates; decides nothing", "default": "minutes, all replicates"}
    options = "".join(f'<option value="{budget}">{budget}: {words[budget]}</option>' for budget in BUDGETS)
    return (
        f"<p class=\"lab-budget\"><label>Budget of 'Measure now' <select data-lab-budget>{options}</select></label></p>"
    )
