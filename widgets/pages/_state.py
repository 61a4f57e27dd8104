"""What a page remembers and how it answers: state from and to the URL, and a draw function that follows the widgets."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import math
import traceback
import urllib.parse
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from typing import Any

import panel as pn

from lab import checks
from lab.report.store.redaction import scrub

RESERVED = ("theme", "run")
_TEXT_LIMIT = 10_000
_NOTICED_SECONDS = 0.7
_ANSWERED_SECONDS = 0.3
_FLOATING = {"position": "fixed", "width": "0", "height": "0"}
_WORKING = '<div class="lab-working" role="status">Computing …</div>'

# One computation at a time in the whole process: two cores stay responsive, and numba's threading layer, which on some
# platforms may not be entered by two threads at once, is entered by one.
_COMPUTE = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lab-compute")


@dataclass(frozen=True)
class Reaction:
    """What :func:`react` ties together, for whoever shows a page elsewhere: widgets, the function, the panes it fills."""

    widgets: dict
    draw: Callable
    panes: tuple

    def call(self, values: Mapping, shade: str):
        """``draw`` at the values, under the theme ``shade`` if it takes one."""
        if "theme" in inspect.signature(self.draw).parameters:
            return self.draw(**values, theme=shade)
        return self.draw(**values)


class Notice(pn.pane.HTML):
    """Where the refusals of a page's ``draw`` appear."""

    priority = -1  # never chosen for an object by itself
    reaction: Reaction | None = None

    def __init__(self, *arguments, **parameters):
        super().__init__(*arguments, **parameters)
        self.followers: list[Callable[[], None]] = []  # called after every drawing

    def say(self, text: str, *, floats: bool = False) -> None:
        """Show ``text`` (HTML) in the page, or floating over it, where it moves nothing."""
        self.param.update(object=text, visible=True, styles=_FLOATING if floats else {})


def theme() -> str:
    """``"light"`` or ``"dark"``: the address's ``theme=``, else the visitor's own choice, else light."""
    asked = _query_text().get("theme") or (pn.state.cookies.get("lab_theme") if in_session() else None)
    return "dark" if asked == "dark" else "light"


def query(search: str) -> dict:
    """The state that an address holds: ``"?image=coins&threshold=0.5"`` as ``{"image": "coins", "threshold": 0.5}``."""
    state = {}
    for key, text in urllib.parse.parse_qsl(search.lstrip("?"), keep_blank_values=True):
        if key not in RESERVED:
            state[key] = _parsed(text)
    return state


def address(state: Mapping) -> str:
    """The query string of ``state``; the inverse of :func:`query`."""
    return urllib.parse.urlencode({key: _written(value) for key, value in state.items()})


def sync(widgets: Mapping[str, pn.widgets.Widget], state: Mapping) -> None:
    """Set the widgets from ``state``, then keep the URL equal to them, so that a link reproduces the view.

    The URL holds what differs from the widgets' own defaults. An unknown key, a wrong type or a value outside a widget's
    range is refused with ``ValueError`` or ``TypeError`` naming the key before any widget is touched.
    """
    for key in state:
        if key not in widgets:
            listed = ", ".join(widgets)
            raise ValueError(f"the page has no setting {key!r}{checks.did_you_mean(key, widgets)}; settings: {listed}")
    defaults = {key: widget.value for key, widget in widgets.items()}
    accepted = {key: _accepted(key, widgets[key], value) for key, value in state.items()}
    for key, value in accepted.items():
        widgets[key].value = value
    if not in_session() or pn.state.location is None:
        return
    location = pn.state.location

    def write(*_):
        current = {key: widget.value for key, widget in widgets.items() if widget.value != defaults[key]}
        kept = {key: text for key, text in _query_text(location.search).items() if key in RESERVED}
        text = address({**kept, **{key: _plain(widgets[key], value) for key, value in current.items()}})
        search = f"?{text}" if text else ""
        if search != location.search:
            location.search = search

    for widget in widgets.values():
        widget.param.watch(write, "value")


def run_of_address() -> str:
    """The run id that the address names, or an empty string."""
    return _query_text().get("run", "")


def values(widgets: Mapping[str, pn.widgets.Widget]) -> dict:
    """The widgets' present values as plain JSON values: the ``state`` that :func:`sync` accepts."""
    return {key: _plain(widget, widget.value) for key, widget in widgets.items()}


def ahead(draw: Callable, widgets: Mapping[str, Any]) -> None:
    """Begin to draw while the visitor's browser still loads, for a ``draw(..., theme)`` that remembers its results.

    What goes wrong is told when :func:`react` draws. In a notebook nothing happens.
    """
    if in_session():
        values = {key: widget.value for key, widget in widgets.items()} | {"theme": theme()}
        loop = asyncio.get_running_loop()  # the answer goes out first
        loop.call_later(_ANSWERED_SECONDS, lambda: _COMPUTE.submit(draw, **values))


def react(widgets: Mapping[str, Any], draw: Callable, *panes: pn.viewable.Viewable) -> Notice:
    """Keep ``panes`` equal to ``draw(**values)``: now, and whenever a widget's value changes.

    ``draw`` takes the widgets' names as keywords, and ``theme`` if it has such an argument; it returns one object a pane (a
    figure for :func:`plot`, a table for :func:`numbers`, text for Markdown), or a single object for a single pane. It runs
    in a worker thread, and of many changes in a row the last one wins; nothing is drawn for a visitor who has left. A
    ``ValueError`` or ``TypeError`` appears in words in the returned notice, any other error as a fault of the page, and the
    figures keep their last good state; so does the word that a longer drawing is under way. In a notebook ``draw`` runs at once.
    """
    notice = Notice("", css_classes=["lab-notice"], sizing_mode="stretch_width", margin=0, visible=False)
    reaction = notice.reaction = Reaction(dict(widgets), draw, panes)
    shade = theme()
    status = {"running": False, "stale": False}

    def compute(arguments):
        return reaction.call(arguments, shade)

    def place(results):
        results = results if isinstance(results, tuple) else (results,)
        if len(results) != len(panes):
            raise RuntimeError(f"draw returned {len(results)} objects for {len(panes)} panes")
        with _together():
            notice.visible = False
            for pane, result in zip(panes, results):
                pane.object = result
            for follower in notice.followers:
                follower()

    def refuse(error):
        with _together():
            notice.say(f'<div role="alert">{escape(scrub(str(error)))}</div>')

    def arguments():
        return {key: widget.value for key, widget in widgets.items()}

    watched = _visitor()

    async def follow(*_):
        if status["running"]:
            status["stale"] = True
            return
        status["running"] = True
        told = asyncio.ensure_future(tell())
        try:
            while True:
                status["stale"] = False

                def turn():
                    # what the visitor has changed while this waited for its turn is drawn, and nothing for who has left
                    status["stale"] = False
                    return compute(arguments()) if watched() else None

                try:
                    results = await asyncio.get_running_loop().run_in_executor(_COMPUTE, turn)
                except (ValueError, TypeError) as error:
                    refuse(error)
                except Exception as error:  # a fault of the page is told too, instead of figures that stay as they are
                    traceback.print_exc()
                    refuse(f"The page has a fault: {type(error).__name__}: {error}")
                else:
                    if results is not None:
                        place(results)
                if not status["stale"]:
                    return
        finally:
            status["running"] = False
            told.cancel()

    async def tell():
        """Say that the answer is being computed where that takes long enough to be noticed."""
        await asyncio.sleep(_NOTICED_SECONDS)
        if status["running"] and not notice.visible:
            notice.say(_WORKING, floats=True)

    if in_session():
        for widget in widgets.values():
            widget.param.watch(follow, "value")
        notice.say(_WORKING, floats=True)
        pn.state.onload(follow)
    else:
        place(compute(arguments()))
        for widget in widgets.values():
            widget.param.watch(lambda *_: place(compute(arguments())), "value")
    return notice


def _together():
    """A context whose changes reach the browser as one message."""
    return pn.io.hold(pn.state.curdoc, freeze=True) if in_session() else contextlib.nullcontext()


def _visitor() -> Callable[[], bool]:
    """A function that says whether the visitor of the present document is still connected."""
    context = pn.state.curdoc.session_context if in_session() else None

    def connected() -> bool:
        session = getattr(context, "session", None)
        return session is None or (not session.destroyed and session.connection_count > 0)

    return connected


def in_session() -> bool:
    """Whether this code runs for a visitor of the served application, not in a notebook or a test."""
    return bool(pn.state.curdoc and pn.state.curdoc.session_context)


def _query_text(search: str | None = None) -> dict[str, str]:
    if search is None:
        search = pn.state.location.search if in_session() and pn.state.location else ""
    return dict(urllib.parse.parse_qsl((search or "").lstrip("?")))


def _parsed(text: str):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _written(value) -> str:
    if isinstance(value, str) and isinstance(_parsed(value), str) and _parsed(value) == value:
        return value
    return json.dumps(value)


def _options(widget) -> dict:
    options = getattr(widget, "options", None)
    return dict(options) if isinstance(options, Mapping) else {str(option): option for option in options or ()}


def _plain(widget, value):
    """A JSON value for the widget's value: itself where it is one, its label where the option is an object."""
    if isinstance(value, (list, tuple)):
        return [_plain(widget, item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    for label, option in _options(widget).items() if hasattr(widget, "options") else ():
        if option is value:
            return label
    return str(value)


def _accepted(key: str, widget, value):
    """``value`` as the widget's own value, or a refusal that names ``key``."""
    if isinstance(
        widget, (pn.widgets.MultiSelect, pn.widgets.CheckBoxGroup, pn.widgets.CheckButtonGroup, pn.widgets.MultiChoice)
    ):
        if not isinstance(value, list):
            raise TypeError(f"{key} must be a list, got {value!r} ({type(value).__name__})")
        return [_option(key, widget, item) for item in value]
    if hasattr(widget, "options"):
        return _option(key, widget, value)
    if isinstance(widget, (pn.widgets.RangeSlider, pn.widgets.IntRangeSlider)):
        if not isinstance(value, list) or len(value) != 2:
            raise TypeError(f"{key} must be a pair [low, high], got {value!r}")
        low, high = (checks.number(key, end, low=widget.start, high=widget.end) for end in value)
        if low > high:
            raise ValueError(f"{key} must be ordered [low, high], got {value!r}")
        return (int(low), int(high)) if isinstance(widget, pn.widgets.IntRangeSlider) else (low, high)
    if isinstance(widget, (pn.widgets.IntSlider, pn.widgets.IntInput, pn.widgets.EditableIntSlider)):
        if isinstance(value, float) and math.isfinite(value) and value == int(value):
            value = int(value)
        return checks.integer(key, value, low=widget.start, high=widget.end)
    if isinstance(widget, (pn.widgets.FloatSlider, pn.widgets.FloatInput, pn.widgets.EditableFloatSlider)):
        return checks.number(key, value, low=widget.start, high=widget.end)
    if isinstance(widget, (pn.widgets.Checkbox, pn.widgets.Switch, pn.widgets.Toggle)):
        if not isinstance(value, bool):
            raise TypeError(f"{key} must be true or false, got {value!r} ({type(value).__name__})")
        return value
    if isinstance(widget, (pn.widgets.TextInput, pn.widgets.TextAreaInput)):
        text = value if isinstance(value, str) else json.dumps(value)
        if len(text) > _TEXT_LIMIT:
            raise ValueError(f"{key} must have at most {_TEXT_LIMIT} characters, got {len(text)}")
        return text
    raise TypeError(f"{key}: a {type(widget).__name__} cannot be kept in a URL; leave it out of sync")


def _option(key: str, widget, value):
    options = _options(widget)
    for label, option in options.items():
        plain = _plain(widget, option)
        if plain == value and isinstance(plain, bool) == isinstance(value, bool):
            return option
        if label == value or (not isinstance(value, str) and isinstance(option, str) and option == json.dumps(value)):
            return option
    return checks.choice(key, value, [_plain(widget, option) for option in options.values()])
