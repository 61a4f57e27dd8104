"""The answer of a page in words, and its numbers as tiles, above the figures."""

from __future__ import annotations

import html as entities
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape

import pandas as pd
import panel as pn

from widgets.pages._metrics import Metric, metric, split_unit

MOST = 8  # tiles
_LONGEST = 28  # characters of a value that is a word
_ARMS = (
    "method",
    "arm",
    "rule",
    "model",
    "optimizer",
    "loss",
    "estimator",
    "algorithm",
    "sampler",
)  # what a table compares
_ARROWS = {"higher": ("↑", "higher is better"), "lower": ("↓", "lower is better")}


class Summary(pn.pane.HTML):
    """A sentence and tiles. :meth:`tell` fills it from titles of figures and tables of numbers."""

    priority = -1  # never chosen for an object by itself

    def __init__(
        self,
        answer: Callable | None = None,
        tiles: Callable | None = None,
        metrics: Mapping | None = None,
        **parameters,
    ):
        super().__init__("", css_classes=["lab-summary"], sizing_mode="stretch_width", margin=0, **parameters)
        self._rules = (answer, tiles, dict(metrics or {}))
        self._shown: dict = {}

    def tell(self, titles: Sequence[str], frames: Sequence[pd.DataFrame]) -> None:
        """Show the answer and the numbers."""
        answer, tiles, metrics = self._rules
        words = answer(frames) if answer else sentence(titles)
        self._shown = dict(tiles(frames) if tiles else entries(frames, metrics))
        self.object = summary_html(words, self._shown, metrics)

    def covers(self, frame: pd.DataFrame) -> bool:
        """Whether the tiles show every row of a table ``quantity, value``, so that it need not stand below once more."""
        named = list(frame.columns) == ["quantity", "value"] and len(frame) > 0
        return named and all(str(name) in self._shown for name in frame["quantity"])


def plain(title: str) -> str:
    """A figure's title as text: no markup, no line breaks, what stands small below it left out."""
    title = re.sub(r"<sub>.*?</sub>", "", title, flags=re.DOTALL)
    title = re.sub(r"-<br>", "-", title)
    title = re.sub(r"(?<!\w)-(?=\d)", "\u2212", title)
    return re.sub(r"\s+", " ", entities.unescape(re.sub(r"<[^>]*>", " ", title))).strip()


def sentence(titles: Sequence[str]) -> str:
    """The answer of a page: the titles of its first two figures, each a sentence."""
    found = []
    for title in map(plain, titles):
        if title and title not in found:
            found.append(title)
    return " ".join(_closed(title) for title in found[:2])


def _closed(text: str) -> str:
    text = text[0].upper() + text[1:] if text[:1].islower() and text[:2].isalpha() else text
    return text if text.endswith((".", "!", "?")) else f"{text}."


def entries(frames: Sequence[pd.DataFrame], metrics: Mapping[str, Metric] | None = None) -> dict:
    """The numbers for tiles, by name.

    Of a table ``quantity, value`` every row that is short; of a table with a row for each of several methods, for each column
    that has a better side, the best one.
    """
    found: dict = {}
    for frame in frames:
        if list(frame.columns) == ["quantity", "value"]:
            found |= {str(name): value for name, value in zip(frame["quantity"], frame["value"]) if _short(value)}
        elif 2 <= len(frame) <= 12 and not found:
            found |= _best(frame, metrics)
    return dict(list(found.items())[:MOST])


def _short(value) -> bool:
    return not isinstance(value, str) or 0 < len(value) <= _LONGEST


def _best(frame: pd.DataFrame, metrics) -> dict:
    name = frame.columns[0]
    if name not in _ARMS or not all(isinstance(value, str) for value in frame[name]):
        return {}
    found = {}
    for column in frame.columns[1:]:
        better = metric(str(column), metrics).better
        if better and pd.api.types.is_numeric_dtype(frame[column]) and frame[column].notna().any():
            place = frame[column].idxmin() if better == "lower" else frame[column].idxmax()
            ties = (frame[column] == frame[column][place]).sum()
            if ties == 1:
                found[f"best {column}"] = (frame[column][place], frame[name][place])
    return dict(list(found.items())[:4])


def summary_html(words: str, tiles: Mapping, metrics: Mapping[str, Metric] | None = None) -> str:
    """The sentence and the tiles. A tile's value is a number, a word, or ``(number, whose)``."""
    body = "".join(_tile(str(name), value, metrics) for name, value in tiles.items())
    listed = f'<dl class="lab-tiles">{body}</dl>' if body else ""
    return f'<p class="lab-answer" aria-live="polite">{escape(words)}</p>{listed}'


def _tile(name: str, value, metrics) -> str:
    from widgets.pages._anatomy import number_text

    meaning = metric(name, metrics)
    value, whose = value if isinstance(value, tuple) else (value, "")
    shown_name, unit = split_unit(name)
    unit = unit or (meaning.unit if not isinstance(value, str) or _looks_numeric(value) else "")
    text = (
        value if isinstance(value, str) else "yes" if value is True else "no" if value is False else number_text(value)
    )
    arrow, better = _ARROWS.get(meaning.better, ("", ""))
    explained = " ".join(
        filter(None, [_closed(meaning.meaning) if meaning.meaning else "", f"{better.capitalize()}." if better else ""])
    )
    full = "" if isinstance(value, (str, bool)) else f' title="{float(value)!r}"'
    side = f'<span class="lab-better" aria-hidden="true">{arrow}</span>' if arrow else ""
    small = f'<small class="lab-unit">{escape(unit)}</small>' if unit else ""
    owner = f'<small class="lab-whose">{escape(str(whose))}</small>' if whose else ""
    label = escape(shown_name)
    if explained:
        spoken = f'<span class="lab-hidden"> ({escape(explained)})</span>'
        label = f'<span class="lab-term" tabindex="0" data-meaning="{escape(explained)}">{label}{spoken}</span>'
    return f'<div class="lab-tile"><dt>{label}</dt><dd{full}><b>{escape(text)}</b>{small}{side}{owner}</dd></div>'


def _looks_numeric(text: str) -> bool:
    return re.fullmatch(r"[-−+]?[\d,.]+(e[-+]?\d+)?", text) is not None
