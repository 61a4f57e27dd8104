"""What the columns of a frame are to a model: numbers, dates, words, the target, or nothing; each choice is a sentence.

- numbers and booleans stay; decimals are numbers; dates become days since 1970;
- words become indicators, one column for two levels, one a level for more; words that differ in most rows (names, ids) and
  columns without values are left out;
- an index (a column without a name, or called id or index, of whole numbers that differ in every row) is left out: it would tell
  a model the order of the rows;
- the target is classes where it holds words, booleans or at most 20 different whole numbers, and numbers otherwise; empty labels
  do not change that.
"""

from __future__ import annotations

import decimal
import re
from dataclasses import dataclass

import numpy as np

from lab import checks

TARGETS = ("target", "label", "class", "y")
INDEXES = {"id", "index", "idx", "row", "row names", "rownames", "rowname", "row_id", "rowid"}
TARGET_TYPES = ("classes", "numbers")
MOST_CLASSES = 20
MISSING_RULES = ("refuse", "drop", "mean")


@dataclass(frozen=True, eq=False)
class Plan:
    """Columns by name with what they become, and the sentences: ``kinds`` maps to "number", "date", "words" or "" (left out)."""

    kinds: dict
    target_type: str | None
    double: bool
    notes: tuple[str, ...]


def default_target(frame) -> tuple[str | None, str]:
    """The column called target, label, class or y, or else the last, and the sentence; ``None`` for a single column."""
    lower = {str(name).lower(): name for name in reversed(list(frame.columns))}
    named = next((lower[word] for word in TARGETS if word in lower), None)
    if named is not None:
        return named, f"target: {named!r}, by its name"
    if frame.shape[1] < 2:
        return None, "no target: one column"
    return frame.columns[-1], f"target: {frame.columns[-1]!r}, the last column; say target= for another"


def planned(frame, target, told: str | None = None, max_categories: int = 32) -> Plan:
    """The plan of a frame; see the rules above. ``told`` is the type of the target where the user says it."""
    kinds, notes, double = {}, [], False
    for k, name in enumerate(frame.columns):
        if name == target:
            continue
        kind, note = _kind(frame[name], name, first=k == 0, most=max_categories)
        kinds[name] = kind
        notes += [note] if note else []
        if kind in ("number", "date") and (lost := merged(numbers(frame[name], kind))):
            double = True
            notes.append(f"column {name!r}: kept in double precision, single would merge {lost} of its values")
    if target is None:
        return Plan(kinds, None, double, tuple(notes))
    found, why = target_type(frame[target])
    said = told or found
    notes.append(f"target {target!r} is {said}: {'as told' if told else why}")
    return Plan(
        kinds, said, double, tuple([*notes, *_missing(frame, [*(n for n, kind in kinds.items() if kind), target])])
    )


def encoded(frame, plan: Plan, missing: str, what: str):
    """``(x float64, names)``: numbers, days and indicators; words that are missing are NaN in all their indicators."""
    import pandas as pd

    blocks, names = [], []
    for name, kind in plan.kinds.items():
        column = frame[name]
        if kind in ("number", "date"):
            blocks.append(numbers(column, kind)[:, None])
            names.append(str(name))
        elif kind == "words":
            levels = levels_of(column)
            codes = pd.Categorical(column, categories=levels).codes
            shown = levels[1:] if len(levels) == 2 else levels
            block = (codes[:, None] == np.arange(len(levels) - len(shown), len(levels))).astype(float)
            block[codes < 0] = np.nan
            blocks.append(block)
            names += [f"{name} = {level}" for level in shown]
    if not blocks:
        raise ValueError(f"{what} has no numeric column beside its target, and none of words that could be encoded")
    x = np.concatenate(blocks, axis=1)
    if np.isinf(x).any():
        name = names[int(np.isinf(x).any(0).argmax())]
        raise ValueError(f"{what}: column {name!r} holds infinite values")
    return x, names


def kept_rows(x: np.ndarray, labels, missing: str, what: str) -> np.ndarray:
    """Which rows stay under the rule for missing values; ``"mean"`` fills ``x`` in place.

    Raises:
        ValueError: missing values under ``"refuse"``; ``"drop"`` would leave fewer than half of the rows.
    """
    checks.choice("missing", missing, MISSING_RULES)
    gaps, unlabelled = np.isnan(x), np.zeros(len(x), bool) if labels is None else labels.isna().to_numpy()
    bad = gaps.any(1) | unlabelled
    if missing == "refuse" and bad.any():
        raise ValueError(
            f"{what} has {int(bad.sum())} rows with missing values; drop or fill them first, or say missing='drop' or 'mean'"
        )
    if missing == "mean":
        means = np.array([column[~gap].mean() if not gap.all() else 0.0 for column, gap in zip(x.T, gaps.T)])
        np.copyto(x, means, where=gaps)
        return ~unlabelled
    if (~bad).sum() < len(x) / 2:
        raise ValueError(
            f"{what}: {int(bad.sum())} of {len(x)} rows have missing values and would be dropped; leave the emptiest columns out, "
            "or say missing='mean'"
        )
    return ~bad


def class_codes(column) -> tuple[np.ndarray, list]:
    """Codes 0, 1, ... (-1: missing) and the sorted classes that they number."""
    import pandas as pd

    levels = levels_of(column)
    return pd.Categorical(column, categories=levels).codes.astype(np.int64), levels


def levels_of(column) -> list:
    """The different values in sorted order; values of mixed kinds by their words."""
    values = list(column.dropna().unique())
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=str)


def numbers(column, kind: str) -> np.ndarray:
    """A column of numbers or dates as float64 with NaN where it is missing."""
    import pandas as pd

    if kind == "date":
        stamps = pd.to_datetime(column)
        stamps = stamps.dt.tz_convert(None) if stamps.dt.tz is not None else stamps
        return ((stamps - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)).to_numpy(dtype=float, na_value=np.nan)
    return column.astype(float).to_numpy() if column.dtype == object else column.to_numpy(dtype=float, na_value=np.nan)


def _kind(column, name, *, first: bool, most: int) -> tuple[str, str]:
    """What a feature column becomes, and the sentence where it is not plain numbers."""
    import datetime

    import pandas as pd

    there = column.dropna()
    if not len(there):
        return "", f"column {name!r} left out: it has no values"
    unnamed = bool(re.fullmatch(r"(Unnamed: \d+|)", str(name))) and first
    if _indexing(there, unnamed or str(name).lower() in INDEXES):
        return "", f"column {name!r} left out: it numbers or names the rows"
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        if pd.api.types.is_integer_dtype(there) and max(abs(int(there.min())), abs(int(there.max()))) > 2**53:
            return "", f"column {name!r} left out: whole numbers beyond 2^53, which double precision cannot tell apart"
        return "number", ""
    if pd.api.types.is_datetime64_any_dtype(column):
        return "date", f"column {name!r}: dates, encoded as days since 1970-01-01"
    values = there.to_numpy()
    if all(isinstance(value, (int, float, decimal.Decimal, np.number)) for value in values):
        return "number", f"column {name!r}: {type(values[0]).__name__} values read as numbers"
    if all(isinstance(value, (datetime.date, datetime.datetime)) for value in values):
        return "date", f"column {name!r}: dates, encoded as days since 1970-01-01"
    if not all(isinstance(value, (str, bool, int, float, np.generic)) for value in values):
        return "", f"column {name!r} left out: it holds {type(values[0]).__name__} values"
    return _words(there, name, most)


def _words(there, name, most) -> tuple[str, str]:
    from lab.datasets.text import NUMBER

    levels = there.unique()
    numeric = [level for level in levels if isinstance(level, str) and NUMBER.fullmatch(level.strip())]
    if len(levels) / 2 < len(numeric) < len(levels):
        stray = next(level for level in levels if level not in set(numeric))
        raise ValueError(
            f"column {name!r} holds numbers and {stray!r}; say na_values=[{stray!r}] where it means missing, or leave the column "
            "out"
        )
    if len(levels) > max(len(there) / 2, 2):
        return (
            "",
            f"column {name!r} left out: {len(levels)} different words in {len(there)} rows, names rather than kinds",
        )
    if len(levels) > most:
        raise ValueError(
            f"column {name!r} has {len(levels)} different words; at most {most} become indicators. Drop it or raise max_categories"
        )
    if len(levels) == 2:
        one, two = levels_of(there)
        return "words", f"column {name!r}: two words, encoded as 0 ({one!r}) and 1 ({two!r})"
    return "words", f"column {name!r}: {len(levels)} words, encoded as indicators"


def _indexing(there, called: bool) -> bool:
    import pandas as pd

    return called and there.is_unique and len(there) > 2 and not pd.api.types.is_float_dtype(there)


def merged(values: np.ndarray) -> int:
    """How many different values single precision merges, if it is more than one in a hundred."""
    there = values[~np.isnan(values)]
    if not len(there) or not np.isfinite(there).all():
        return 0
    exact = len(np.unique(there))
    with np.errstate(over="ignore"):
        lost = exact - len(np.unique(there.astype(np.float32)))
    return lost if lost > exact / 100 else 0


def target_type(column) -> tuple[str, str]:
    """``"classes"`` or ``"numbers"`` by the values of a target, and why."""
    import pandas as pd

    there = column.dropna()
    count = there.nunique()
    if pd.api.types.is_bool_dtype(there) or not pd.api.types.is_numeric_dtype(there):
        values = there.to_numpy()
        if len(values) and all(isinstance(value, decimal.Decimal) for value in values):
            return "numbers", "decimals"
        if pd.api.types.is_datetime64_any_dtype(there):
            return "numbers", "dates, as days since 1970-01-01"
        return "classes", f"{count} different words or truth values"
    whole = bool((there == there.round()).all())
    if not whole:
        return "numbers", "it holds fractions"
    listed = f"{count} different whole number{'s' * (count != 1)}"
    if count > MOST_CLASSES or count > max(len(there) / 2, 2):
        return "numbers", f"{listed}; say target_type='classes' where they are names"
    return "classes", f"{listed}; say target_type='numbers' for amounts"


def _missing(frame, names) -> list[str]:
    gaps = frame[names].isna()
    rows = int(gaps.any(axis=1).sum())
    if not rows:
        return []
    worst = gaps.sum().sort_values(ascending=False)
    shown = ", ".join(f"{name!r} {count}" for name, count in worst[worst > 0].head(3).items())
    return [f"{rows} of {len(frame)} rows have missing values ({shown}); say missing='drop', 'mean' or 'refuse'"]
