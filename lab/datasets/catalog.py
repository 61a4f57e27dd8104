"""The names of the data sets and what stands on their cards; read without torch or any data package."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lab import checks

KINDS = ("image", "volume", "table", "points", "classification")


@dataclass(frozen=True)
class Card:
    """What a reader must know of a data set.

    ``label`` states how the reference label is made (empty: there is none); ``extra`` names the optional dependency that
    ships the data (empty: none needed); ``predicted`` how the prediction was made where it is not made from the label.
    """

    name: str
    kind: str
    title: str
    source: str
    licence: str
    shape: str
    label: str
    extra: str = ""
    predicted: str = ""

    @property
    def prediction(self) -> str:
        """How the predictions of an image were made; empty where there are none."""
        if self.predicted:
            return self.predicted
        if self.kind not in ("image", "volume") or not self.label:
            return ""
        return (
            "Made from the label: up to six variants of Dice 0.9 with equal numbers of false positives and false negatives "
            "(lab.datasets.predictions)"
        )

    def markdown(self) -> str:
        """The card as a page of ``data/cards``."""
        rows = [
            ("Name", f"`{self.name}`"),
            ("Kind", self.kind),
            ("Shape", self.shape),
            ("Source", self.source),
            ("Licence", self.licence),
            ("Reference label", self.label or "none"),
            ("Predictions", self.prediction or "none"),
        ]
        if self.extra:
            rows.append(("Needs", f"the extra `{self.extra}`"))
        body = "\n".join(f"| {key} | {value} |" for key, value in rows)
        return f"# {self.title}\n\n| | |\n|---|---|\n{body}\n\n```python\nlab.datasets.load({self.name!r})\n```\n"


@lru_cache(maxsize=1)
def _rows() -> dict[str, Card]:
    text = Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8")
    return {name: Card(name, **row) for name, row in tomllib.loads(text).items()}


def cards(kind: str | None = None) -> tuple[Card, ...]:
    """All cards, or those of one kind: "image", "volume", "table", "points", "classification"."""
    if kind is not None:
        checks.choice("kind", kind, KINDS)
    return tuple(card for card in _rows().values() if kind in (None, card.kind))


def names(kind: str | None = None) -> tuple[str, ...]:
    """The names that ``load`` knows, or those of one kind."""
    return tuple(card.name for card in cards(kind))


def describe(name: str) -> Card:
    """The card of a data set."""
    return _rows()[checks.choice("name", name, _rows())]
