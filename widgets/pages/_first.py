"""What a visitor sees at once: the page as plain HTML in the answer itself, until the live one stands.

Walks a built page and writes its words, the labels and values of its controls, and the still pictures of its first figures in
the places where the live ones will come. ``assets/lab.js`` shows the live page in its stead as soon as that is drawn.
"""

from __future__ import annotations

import re
from html import escape

import panel as pn

from widgets.pages._anatomy import Numbers, Plot
from widgets.pages._state import Notice
from widgets.pages._stills import GAP, Still
from widgets.pages._summary import Summary

_STARTING = (
    '<div class="lab-starting" role="status"><span class="lab-starting-bar" aria-hidden="true"></span>'
    "<span>The interactive page is loading …</span></div>"
)
_LIVE = re.compile(r"<input\b[^>]*>")  # files are taken by the live page alone


def first(view: pn.viewable.Viewable, still: Still | None = None) -> str:
    """A built page as plain HTML. ``still``: what it shows at its defaults, for a page that stands at them."""
    pictures = iter(still.pictures if still else ())
    return f'<div class="lab-first" aria-busy="true">{_STARTING}{_walk(view, pictures)}</div>'


def _walk(item, pictures) -> str:
    if not getattr(item, "visible", True):
        return ""
    if isinstance(item, Plot):
        return _figure(item, next(pictures, None))
    if isinstance(item, (Numbers, Notice)):
        return ""
    if isinstance(item, Summary) and not item.object:
        tile = '<div class="lab-tile lab-blank"></div>'
        return f'<div class="lab-summary"><p class="lab-answer lab-blank"></p><div class="lab-tiles">{4 * tile}</div></div>'
    if isinstance(item, pn.pane.HTML):
        return f"<div{_look(item)}>{item.object or ''}</div>"
    if isinstance(item, pn.widgets.Widget):
        return _control(item)
    if isinstance(item, (pn.Column, pn.Row, pn.FlexBox)):
        kind = "lab-row-of" if isinstance(item, pn.FlexBox) else "lab-column-of"
        return f"<div{_look(item, kind)}>{''.join(_walk(part, pictures) for part in item)}</div>"
    return ""


def _look(item, kind: str = "") -> str:
    styles = ";".join(f"{name}:{value}" for name, value in (item.styles or {}).items())
    styles += f";max-width:{item.max_width}px" if item.max_width else ""
    gap = getattr(item, "gap", "")
    styles = ";".join(filter(None, [styles, f"gap:{gap}" if gap else ""]))
    classes = " ".join(filter(None, [kind, *(item.css_classes or [])]))
    return (f' class="{escape(classes)}"' if classes else "") + (f' style="{escape(styles)}"' if styles else "")


def _figure(pane, picture) -> str:
    height = pane.height or 420
    if picture is None:
        return f'<div class="lab-place" style="height:{height}px"></div>'
    shown = "".join(f'<div class="lab-still-{size}">{picture[size]}</div>' for size in ("wide", "phone"))
    return f'<div class="lab-place lab-still" style="height:{height}px" role="img" aria-label="{escape(pane.name)}">{shown}</div>'


def _control(item) -> str:
    label = escape(str(getattr(item, "label", "") or getattr(item, "name", "") or ""))
    more = " lab-more" if "lab-more" in (item.css_classes or []) else ""
    return f'<div class="lab-control{more}">{_shape(item, label)}</div>'


def _shape(item, label: str) -> str:
    if isinstance(item, (pn.widgets.Button, pn.widgets.FileDownload)):
        return f'<div class="lab-box lab-button">{label}</div>'
    if isinstance(item, (pn.widgets.Checkbox, pn.widgets.Switch)):
        return f'<div class="lab-check"><i></i>{label}</div>'
    if isinstance(item, (pn.widgets.FloatSlider, pn.widgets.IntSlider)):
        place = max(0.0, min(1.0, (item.value - item.start) / ((item.end - item.start) or 1)))
        value = f"{item.value:.2f}" if isinstance(item.value, float) else str(item.value)
        track = f'<div class="lab-track"><i style="left:{100 * place:.1f}%"></i></div>'
        return f"<label>{label}: <b>{value}</b></label>{track}"
    value = next((name for name, option in _options(item).items() if option is item.value), item.value)
    shown = escape(str(value)) if isinstance(value, (str, int, float)) else ""
    return f'<label>{label}</label><div class="lab-box">{shown}</div>'


def _options(item) -> dict:
    options = getattr(item, "options", None)
    if isinstance(options, dict):
        return options
    return {str(option): option for option in options or ()}


def widths(item, width: float, narrow: bool = False) -> list[tuple[Plot, float]]:
    """Every figure of a page with the pixels that it gets of ``width``; on a narrow window rows stand below one another."""
    if isinstance(item, Plot):
        return [(item, width)]
    if isinstance(item, pn.FlexBox) and "lab-row" in (item.css_classes or []) and not narrow:
        shares = [float(str(cell.styles.get("flex", "1")).split()[0]) for cell in item]
        left = width - GAP * (len(shares) - 1)
        return [pair for cell, share in zip(item, shares) for pair in widths(cell, left * share / sum(shares))]
    if isinstance(item, (pn.Column, pn.Row, pn.FlexBox)):
        return [pair for part in item for pair in widths(part, width, narrow)]
    return []
