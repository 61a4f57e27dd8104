"""Numbers with their nouns, for messages and headings."""

from __future__ import annotations


def counted(count: int, one: str) -> str:
    """``count`` with its noun: ``counted(1, "run")`` is ``"1 run"``, ``counted(2, "study")`` is ``"2 studies"``."""
    many = f"{one[:-1]}ies" if one.endswith("y") else f"{one}s"
    return f"{count:,} {one if count == 1 else many}"
