"""Texts to numbers, dates and words, column by column, with a sentence for each choice; what is doubtful is asked.

A column is numbers if every value is one, apart from the words that mean a missing value; decimal commas, grouped digits,
currency and percent signs are read. Digits with leading zeros are words (postal codes), and so are words that only look
missing in a column of words: 'NA' and 'None' stay. Dates are read where day and month cannot be confused.
"""

from __future__ import annotations

import re

import numpy as np

from lab.datasets.text import NUMBER, Dialect

MISSING = {"", "?", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "-", "--", "missing"}
_SIGNS = "$€£¥%"
_SPACES = " '\u2019\u00a0\u202f"
_DATES = {
    "ISO8601": re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"),
    "%Y/%m/%d": re.compile(r"\d{4}/\d{1,2}/\d{1,2}"),
    "%d.%m.%Y": re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}"),
}
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/\d{4}")


def typed(frame, separator: str, dialect: Dialect):
    """``(frame of numbers, booleans, dates and words, sentences)`` of a frame of texts.

    Raises:
        ValueError: a comma that may be a decimal or a thousands sign; both in one file.
    """
    import pandas as pd

    columns = {}
    for name in frame:
        codes, levels = pd.factorize(frame[name])
        columns[name] = codes, [str(level).strip() for level in levels]
    decimal, thousands, notes = _signs(columns, separator, dialect)
    found, said = {}, []
    for name, (codes, levels) in columns.items():
        found[name], more = _column(name, codes, levels, decimal, thousands, dialect.na_values)
        said += more
    return pd.DataFrame(found), notes + said


def _column(name, codes, levels, decimal, thousands, na_values):
    import pandas as pd

    gone = {"", *(na_values or ())}
    words = [level for level in levels if level not in gone]
    usual = set() if na_values is not None else {level for level in words if level.lower() in MISSING}
    kept = [level for level in words if level not in usual]
    numbers = {level: _number(level, decimal, thousands) for level in kept}
    count = sum(value is not None for value in numbers.values())
    zeros = next((level for level in kept if re.fullmatch(r"0\d+", level)), None)
    if kept and count == len(kept) and zeros is None:
        notes = []
        marks = sorted({sign for level in kept for sign in _SIGNS if sign in level})
        if marks:
            notes.append(f"column {name!r}: {', '.join(marks)} removed from its numbers")
        if usual:
            notes.append(f"column {name!r}: {', '.join(map(repr, sorted(usual)))} read as missing")
        return _numbers(codes, [numbers.get(level) for level in levels]), notes
    if kept and not usual and {level.lower() for level in kept} == {"true", "false"} and len(words) == len(levels):
        return np.array([level.lower() == "true" for level in levels])[codes], []
    dates = _dates(kept) if kept else None
    if dates is not None:
        place = dict(zip(kept, dates))
        return pd.Series([place.get(level, pd.NaT) for level in levels]).to_numpy()[codes], [f"column {name!r}: dates"]
    notes = []
    if zeros is not None and count == len(kept):
        notes.append(f"column {name!r}: digits with leading zeros ({zeros!r}) read as words")
    elif count > len(kept) / 2:
        stray = next(level for level in kept if numbers[level] is None)
        notes.append(
            f"column {name!r}: read as words because of {stray!r} among numbers; say na_values=[{stray!r}] where it means missing"
        )
    if usual:
        shown = ", ".join(map(repr, sorted(usual)))
        notes.append(f"column {name!r}: {shown} kept as a word; say na_values=[{shown}] where it means missing")
    values = np.array([None if level in gone else level for level in levels], dtype=object)
    return values[codes], notes


def _numbers(codes, values):
    """int64 where all are whole and none is missing, else float64; whole numbers beyond 2^53 stay exact."""
    import pandas as pd

    there = [value for value in values if value is not None]
    whole = all(isinstance(value, int) for value in there)
    if whole and max(map(abs, there)) >= 2**63:
        return np.array([None if value is None else str(value) for value in values], dtype=object)[codes]
    if whole and len(there) == len(values):
        return np.array(values, dtype=np.int64)[codes]
    if whole and max(map(abs, there)) > 2**53:
        return pd.array(values, dtype="Int64").take(codes)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)[codes]


def _core(text: str) -> str:
    """The digits and signs of a number without currency, percent sign, accountants' parentheses and spaces between groups."""
    core = text.strip(_SIGNS + " ")
    if core.startswith("(") and core.endswith(")"):
        core = "-" + core[1:-1].strip(_SIGNS + " ")
    sign = core[:1] if core[:1] in "+-" else ""
    core = sign + core[len(sign) :].strip(_SIGNS + " ")
    return re.sub(rf"(?<=\d)[{_SPACES}](?=\d{{3}}(\D|$))", "", core)


def _number(text: str, decimal: str, thousands: str):
    """int or float, or ``None`` for what is no number."""
    core = text if NUMBER.fullmatch(text) and decimal == "." else _core(text)
    if thousands and thousands in core:
        grouped = rf"[+-]?\d{{1,3}}({re.escape(thousands)}\d{{3}})+({re.escape(decimal)}\d+)?"
        if not re.fullmatch(grouped, core):
            return None
        core = core.replace(thousands, "")
    core = core.replace(decimal, ".") if decimal != "." else core
    if not NUMBER.fullmatch(core):
        return None
    return int(core) if re.fullmatch(r"[+-]?\d+", core) else float(core)


def _signs(columns, separator, dialect):
    """Decimal and thousands sign of the file, told or found from values that allow one reading only."""
    if dialect.decimal is not None or dialect.thousands is not None:
        decimal = dialect.decimal or ("." if dialect.thousands != "." else ",")
        return decimal, dialect.thousands or ("." if decimal == "," else ","), []
    comma = point = either = None
    for _, levels in columns.values():
        cores = {level: _core(level) for level in levels if level.lower() not in MISSING}
        if not cores or sum(bool(re.fullmatch(r"[+-]?[\d.,]*\d", core)) for core in cores.values()) <= len(cores) / 2:
            continue
        for level, core in cores.items():
            if re.fullmatch(r"[+-]?(\d{1,3}(\.\d{3})+,\d+|0,\d+|\d+,(\d{1,2}|\d{4,})|\d{4,},\d+)", core):
                comma = comma or level
            elif re.fullmatch(
                r"[+-]?(\d{1,3}(,\d{3})+\.\d+|\d{1,3}(,\d{3}){2,}|0?\.\d+|\d+\.(\d{1,2}|\d{4,})|\d{4,}\.\d+)", core
            ):
                point = point or level
            elif re.fullmatch(r"[+-]?\d{1,3},\d{3}", core):
                either = either or level
    if comma and point:
        raise ValueError(
            f"numbers are written with a decimal comma ({comma!r}) and a decimal point ({point!r}); say decimal="
        )
    if comma:
        return ",", ".", [f"decimal comma (as in {comma!r})"]
    if either and not point and separator != ",":
        raise ValueError(f"{either!r} may be a decimal comma or a group of thousands; say decimal=',' or thousands=','")
    return ".", ",", [f"commas group thousands (as in {either!r})"] if either else []


def _dates(levels):
    """Timestamps of texts that are all dates in one unmistakable form, or ``None``."""
    import pandas as pd

    form = next((form for form, pattern in _DATES.items() if all(pattern.fullmatch(level) for level in levels)), None)
    slashed = [_SLASHED.fullmatch(level) for level in levels] if form is None else []
    if slashed and all(slashed):
        days, months = (max(int(each[k]) for each in slashed) for k in (1, 2))
        form = "%d/%m/%Y" if days > 12 >= months else "%m/%d/%Y" if months > 12 >= days else None
    if form is None:
        return None
    try:
        found = pd.to_datetime(
            levels, format=form, utc=any(level[-6:-5] in ("+", "-") or level.endswith("Z") for level in levels)
        )
    except ValueError:
        return None
    return list(found.tz_localize(None) if found.tz is not None else found)
